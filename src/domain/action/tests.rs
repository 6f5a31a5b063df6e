//! The table of SPEC 3.4, whole, as text. Change it, run with `UPDATE_EXPECT=1`, and review the diff.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use expect_test::{Expect, expect};

use super::PerformJobAction;
use crate::{
    domain::{
        Context, Definition, Existing, HoldTerms, JobState,
        fixtures::{at, check_events, context, event_words},
    },
    proto::v1::{
        Assignee, Hold, HoldKind, Job, JobActionType, JobStatus, Path, Step, StepDefinition, StepKind,
        StepStatus, TaskStatus, Workflow, assignee,
    },
};

const ACTIONS: [JobActionType; 7] = [
    JobActionType::Run,
    JobActionType::Finish,
    JobActionType::Stop,
    JobActionType::SetCurrentStep,
    JobActionType::Hold,
    JobActionType::ReleaseHold,
    JobActionType::RefreshStatus,
];

const KINDS: [StepKind; 4] = [StepKind::Manual, StepKind::Question, StepKind::OpenApp, StepKind::Automatic];

const STATUSES: [StepStatus; 10] = [
    StepStatus::Pending,
    StepStatus::Ready,
    StepStatus::Running,
    StepStatus::WaitingForInfo,
    StepStatus::Executed,
    StepStatus::Paused,
    StepStatus::Cancelled,
    StepStatus::Finished,
    StepStatus::Skipped,
    StepStatus::Error,
];

/// A job of two steps, one after the other, at the first of them.
#[derive(Clone, Copy)]
struct Situation {
    action: JobActionType,
    kind: StepKind,
    status: StepStatus,
    proceed_to_next: bool,
    can_skip: bool,
    answer: bool,
    condition: &'static str,
    setting: Setting,
}

/// What else is so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Setting {
    /// The step is nobody's in particular, the job is open, and no hold stands.
    Plain,
    /// The step is the caller's.
    Mine,
    /// The step is that of a group of the caller's.
    Group,
    /// The step is somebody else's.
    Other,
    /// The step is somebody else's, and the caller may force a stop.
    Forced,
    /// A hold stands on the step.
    Held,
    /// The job is closed.
    Closed,
}

const SETTINGS: [Setting; 7] = [
    Setting::Plain,
    Setting::Mine,
    Setting::Group,
    Setting::Other,
    Setting::Forced,
    Setting::Held,
    Setting::Closed,
];

impl Default for Situation {
    fn default() -> Self {
        Self {
            action: JobActionType::Run,
            kind: StepKind::Manual,
            status: StepStatus::Ready,
            proceed_to_next: false,
            can_skip: false,
            answer: false,
            condition: "",
            setting: Setting::Plain,
        }
    }
}

impl Situation {
    fn definition(self) -> Workflow {
        let first = StepDefinition {
            step_id: "a".to_owned(),
            kind: self.kind.into(),
            can_skip: self.can_skip,
            proceed_to_next: self.proceed_to_next,
            paths: vec![Path {
                next_step_id: "b".to_owned(),
                condition: self.condition.to_owned(),
                label: None,
            }],
            ..StepDefinition::default()
        };
        let second = StepDefinition { step_id: "b".to_owned(), ..StepDefinition::default() };
        Workflow {
            workflow_id: "flow".to_owned(),
            version_id: "1".to_owned(),
            start_step_ids: vec!["a".to_owned()],
            steps: vec![first, second],
            ..Workflow::default()
        }
    }

    fn state(self, definition: &Definition) -> JobState {
        let assignee =
            |kind: assignee::Kind, id: &str| Some(Assignee { kind: kind.into(), id: id.to_owned() });
        let mut steps: BTreeMap<String, Step> =
            definition.steps("job", at(0)).into_iter().map(|step| (step.step_id.clone(), step)).collect();
        let step = steps.get_mut("a").unwrap();
        step.set_status(self.status);
        step.visit = 1;
        step.assignee = match self.setting {
            Setting::Mine => assignee(assignee::Kind::User, "ann"),
            Setting::Group => assignee(assignee::Kind::Group, "night"),
            Setting::Other | Setting::Forced => assignee(assignee::Kind::User, "bob"),
            Setting::Plain | Setting::Held | Setting::Closed => None,
        };
        let mut holds = BTreeMap::new();
        if self.setting == Setting::Held {
            step.hold_ids.push("hold_1".to_owned());
            let hold = Hold {
                hold_id: "hold_1".to_owned(),
                job_id: "job".to_owned(),
                step_id: "a".to_owned(),
                kind: HoldKind::Manual.into(),
                placed_by: "bob".to_owned(),
                ..Hold::default()
            };
            holds.insert(hold.hold_id.clone(), hold);
        }
        let mut tasks = BTreeMap::new();
        if self.kind == StepKind::Automatic && self.status == StepStatus::Running {
            step.task_id = "task_1".to_owned();
            let task =
                TaskStatus { id: "task_1".to_owned(), step_id: "a".to_owned(), ..TaskStatus::default() };
            tasks.insert(task.id.clone(), task);
        }
        let is_current = step.is_open();
        let current_assignees = step.assignee.iter().filter(|_| is_current).cloned().collect();
        let mut job = Job {
            job_id: "job".to_owned(),
            workflow: Some(definition.reference()),
            // Where the step is not the current one, the other is.
            current_step_ids: vec![if is_current { "a" } else { "b" }.to_owned()],
            current_assignees,
            revision: 1,
            closed: self.setting == Setting::Closed,
            ..Job::default()
        };
        job.set_status(JobStatus::Active);
        if !is_current {
            steps.get_mut("b").unwrap().set_status(StepStatus::Ready);
        }
        JobState { job, steps, holds, tasks, ..JobState::default() }
    }

    fn command(self) -> PerformJobAction {
        PerformJobAction {
            job_id: "job".to_owned(),
            action: self.action,
            step_ids: vec!["a".to_owned()],
            terms: HoldTerms::default(),
            answer: self.answer.then(|| prost_types::Value::from("yes")),
            groups: vec!["night".to_owned()],
            may_force_stop: self.setting == Setting::Forced,
            may_refresh: true,
            ..PerformJobAction::default()
        }
    }

    /// What the caller is answered, and where the step is then; `=` where nothing happened.
    fn outcome(self) -> String {
        let definition = Arc::new(Definition::new(self.definition()));
        let existing = Existing::Job(Box::new(self.state(&definition)));
        let context = Context { workflow: Some(definition), ..context(100) };
        let decision = self.command().decide(existing.clone(), &context).unwrap();
        check_events(&existing, &decision, &context);
        let [response] = decision.reply.step_responses.as_slice() else { panic!("one step, one response") };
        let answered = word(response.status().as_str_name(), "STEP_ACTION_STATUS_");
        if decision.events.is_empty() {
            return format!("={answered}");
        }
        let status = word(decision.state.steps["a"].status().as_str_name(), "STEP_STATUS_");
        format!("{answered} -> {status} [{}]", event_words(&decision.events))
    }
}

fn word(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

fn action_word(action: JobActionType) -> &'static str {
    word(action.as_str_name(), "JOB_ACTION_TYPE_")
}

/// Rows that say the same under each other are told once, with all that they are of.
#[track_caller]
fn check(rows: impl Iterator<Item = (String, String)>, expected: Expect) {
    let mut grouped: Vec<(String, Vec<String>)> = Vec::new();
    for (situation, outcome) in rows {
        insert(&mut grouped, outcome).push(situation);
    }
    let mut table = String::new();
    for (outcome, situations) in grouped {
        writeln!(table, "{outcome}").unwrap();
        for situation in situations {
            writeln!(table, "    {situation}").unwrap();
        }
    }
    expected.assert_eq(&table);
}

/// Every action on a step in every status, of every kind, for those who are assigned, are not, and so on.
#[test]
fn every_action_meets_every_step() {
    let mut table = String::new();
    for action in ACTIONS {
        writeln!(table, "{}", action_word(action)).unwrap();
        for status in STATUSES {
            for (outcome, kinds_by_settings) in outcomes(action, status) {
                for (settings, kinds) in kinds_by_settings {
                    let status = word(status.as_str_name(), "STEP_STATUS_");
                    let kinds = if kinds.len() == KINDS.len() { "any".to_owned() } else { kinds.join(",") };
                    writeln!(table, "  {status:<17}{kinds:<20}{settings:<36}{outcome}").unwrap();
                }
            }
        }
    }
    expect![[r#"
        RUN
          PENDING          any                 plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          PENDING          any                 closed                              =JOB_CLOSED
          READY            MANUAL,OPEN_APP     plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          READY            any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          READY            any                 held                                =HELD
          READY            any                 closed                              =JOB_CLOSED
          READY            QUESTION            plain,mine,group                    SUCCESS -> WAITING_FOR_INFO [STEP_WAITING_FOR_INFO]
          READY            AUTOMATIC           plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED TASK_CREATED]
          RUNNING          any                 plain,mine,group                    =ALREADY_EXECUTING
          RUNNING          any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          RUNNING          any                 held                                =HELD
          RUNNING          any                 closed                              =JOB_CLOSED
          WAITING_FOR_INFO any                 plain,mine,group                    =WAITING_FOR_INFO
          WAITING_FOR_INFO any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          WAITING_FOR_INFO any                 held                                =HELD
          WAITING_FOR_INFO any                 closed                              =JOB_CLOSED
          EXECUTED         MANUAL,OPEN_APP     plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          EXECUTED         any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          EXECUTED         any                 held                                =HELD
          EXECUTED         any                 closed                              =JOB_CLOSED
          EXECUTED         QUESTION            plain,mine,group                    SUCCESS -> WAITING_FOR_INFO [STEP_WAITING_FOR_INFO]
          EXECUTED         AUTOMATIC           plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED TASK_CREATED]
          PAUSED           MANUAL,OPEN_APP     plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          PAUSED           any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          PAUSED           any                 held                                =HELD
          PAUSED           any                 closed                              =JOB_CLOSED
          PAUSED           QUESTION            plain,mine,group                    SUCCESS -> WAITING_FOR_INFO [STEP_WAITING_FOR_INFO]
          PAUSED           AUTOMATIC           plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED TASK_CREATED]
          CANCELLED        MANUAL,OPEN_APP     plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          CANCELLED        any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          CANCELLED        any                 held                                =HELD
          CANCELLED        any                 closed                              =JOB_CLOSED
          CANCELLED        QUESTION            plain,mine,group                    SUCCESS -> WAITING_FOR_INFO [STEP_WAITING_FOR_INFO]
          CANCELLED        AUTOMATIC           plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED TASK_CREATED]
          FINISHED         any                 plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          FINISHED         any                 closed                              =JOB_CLOSED
          SKIPPED          any                 plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          SKIPPED          any                 closed                              =JOB_CLOSED
          ERROR            MANUAL,OPEN_APP     plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          ERROR            any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          ERROR            any                 held                                =HELD
          ERROR            any                 closed                              =JOB_CLOSED
          ERROR            QUESTION            plain,mine,group                    SUCCESS -> WAITING_FOR_INFO [STEP_WAITING_FOR_INFO]
          ERROR            AUTOMATIC           plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED TASK_CREATED]
        FINISH
          PENDING          any                 plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          PENDING          any                 closed                              =JOB_CLOSED
          READY            any                 plain,mine,group                    =NO_STARTED_STEP
          READY            any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          READY            any                 held                                =HELD
          READY            any                 closed                              =JOB_CLOSED
          RUNNING          MANUAL,OPEN_APP     plain,mine,group                    SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
          RUNNING          any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          RUNNING          any                 held                                =HELD
          RUNNING          any                 closed                              =JOB_CLOSED
          RUNNING          QUESTION            plain,mine,group                    =WAITING_FOR_INFO
          RUNNING          AUTOMATIC           plain,mine,group                    =ALREADY_EXECUTING
          WAITING_FOR_INFO any                 plain,mine,group                    =WAITING_FOR_INFO
          WAITING_FOR_INFO any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          WAITING_FOR_INFO any                 held                                =HELD
          WAITING_FOR_INFO any                 closed                              =JOB_CLOSED
          EXECUTED         MANUAL,OPEN_APP,AUTOMATICplain,mine,group                    SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
          EXECUTED         any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          EXECUTED         any                 held                                =HELD
          EXECUTED         any                 closed                              =JOB_CLOSED
          EXECUTED         QUESTION            plain,mine,group                    =WAITING_FOR_INFO
          PAUSED           MANUAL,OPEN_APP,AUTOMATICplain,mine,group                    SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
          PAUSED           any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          PAUSED           any                 held                                =HELD
          PAUSED           any                 closed                              =JOB_CLOSED
          PAUSED           QUESTION            plain,mine,group                    =WAITING_FOR_INFO
          CANCELLED        any                 plain,mine,group                    =NO_STARTED_STEP
          CANCELLED        any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          CANCELLED        any                 held                                =HELD
          CANCELLED        any                 closed                              =JOB_CLOSED
          FINISHED         any                 plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          FINISHED         any                 closed                              =JOB_CLOSED
          SKIPPED          any                 plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          SKIPPED          any                 closed                              =JOB_CLOSED
          ERROR            any                 plain,mine,group                    =NO_STARTED_STEP
          ERROR            any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          ERROR            any                 held                                =HELD
          ERROR            any                 closed                              =JOB_CLOSED
        STOP
          PENDING          any                 plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          PENDING          any                 closed                              =JOB_CLOSED
          READY            any                 plain,mine,group,forced,held        =NOT_RUNNING
          READY            any                 other                               =ASSIGNED_TO_DIFFERENT_USER
          READY            any                 closed                              =JOB_CLOSED
          RUNNING          MANUAL,OPEN_APP     plain,mine,group,forced,held        SUCCESS -> PAUSED [STEP_PAUSED]
          RUNNING          any                 other                               =ASSIGNED_TO_DIFFERENT_USER
          RUNNING          any                 closed                              =JOB_CLOSED
          RUNNING          QUESTION            plain,mine,group,forced,held        SUCCESS -> CANCELLED [STEP_CANCELLED]
          RUNNING          AUTOMATIC           plain,mine,group,forced,held        SUCCESS -> CANCELLED [TASK_COMPLETED STEP_CANCELLED]
          WAITING_FOR_INFO MANUAL,OPEN_APP     plain,mine,group,forced,held        SUCCESS -> PAUSED [STEP_PAUSED]
          WAITING_FOR_INFO any                 other                               =ASSIGNED_TO_DIFFERENT_USER
          WAITING_FOR_INFO any                 closed                              =JOB_CLOSED
          WAITING_FOR_INFO QUESTION,AUTOMATIC  plain,mine,group,forced,held        SUCCESS -> CANCELLED [STEP_CANCELLED]
          EXECUTED         any                 plain,mine,group,forced,held        =NOT_RUNNING
          EXECUTED         any                 other                               =ASSIGNED_TO_DIFFERENT_USER
          EXECUTED         any                 closed                              =JOB_CLOSED
          PAUSED           any                 plain,mine,group,forced,held        =NOT_RUNNING
          PAUSED           any                 other                               =ASSIGNED_TO_DIFFERENT_USER
          PAUSED           any                 closed                              =JOB_CLOSED
          CANCELLED        any                 plain,mine,group,forced,held        =NOT_RUNNING
          CANCELLED        any                 other                               =ASSIGNED_TO_DIFFERENT_USER
          CANCELLED        any                 closed                              =JOB_CLOSED
          FINISHED         any                 plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          FINISHED         any                 closed                              =JOB_CLOSED
          SKIPPED          any                 plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          SKIPPED          any                 closed                              =JOB_CLOSED
          ERROR            any                 plain,mine,group,forced,held        =NOT_RUNNING
          ERROR            any                 other                               =ASSIGNED_TO_DIFFERENT_USER
          ERROR            any                 closed                              =JOB_CLOSED
        SET_CURRENT_STEP
          PENDING          any                 plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          PENDING          any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          PENDING          any                 closed                              =JOB_CLOSED
          READY            any                 plain,mine,group,held               =SUCCESS
          READY            any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          READY            any                 closed                              =JOB_CLOSED
          RUNNING          any                 plain,mine,group,held               =ALREADY_EXECUTING
          RUNNING          any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          RUNNING          any                 closed                              =JOB_CLOSED
          WAITING_FOR_INFO any                 plain,mine,group,held               =ALREADY_EXECUTING
          WAITING_FOR_INFO any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          WAITING_FOR_INFO any                 closed                              =JOB_CLOSED
          EXECUTED         any                 plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          EXECUTED         any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          EXECUTED         any                 closed                              =JOB_CLOSED
          PAUSED           any                 plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          PAUSED           any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          PAUSED           any                 closed                              =JOB_CLOSED
          CANCELLED        any                 plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          CANCELLED        any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          CANCELLED        any                 closed                              =JOB_CLOSED
          FINISHED         any                 plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          FINISHED         any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          FINISHED         any                 closed                              =JOB_CLOSED
          SKIPPED          any                 plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          SKIPPED          any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          SKIPPED          any                 closed                              =JOB_CLOSED
          ERROR            any                 plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          ERROR            any                 other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          ERROR            any                 closed                              =JOB_CLOSED
        HOLD
          PENDING          any                 plain,mine,group,other,forced,held  SUCCESS -> PENDING [HOLD_PLACED]
          PENDING          any                 closed                              =JOB_CLOSED
          READY            any                 plain,mine,group,other,forced,held  SUCCESS -> READY [HOLD_PLACED]
          READY            any                 closed                              =JOB_CLOSED
          RUNNING          any                 plain,mine,group,other,forced,held  =ALREADY_EXECUTING
          RUNNING          any                 closed                              =JOB_CLOSED
          WAITING_FOR_INFO any                 plain,mine,group,other,forced,held  =ALREADY_EXECUTING
          WAITING_FOR_INFO any                 closed                              =JOB_CLOSED
          EXECUTED         any                 plain,mine,group,other,forced,held  SUCCESS -> EXECUTED [HOLD_PLACED]
          EXECUTED         any                 closed                              =JOB_CLOSED
          PAUSED           any                 plain,mine,group,other,forced,held  SUCCESS -> PAUSED [HOLD_PLACED]
          PAUSED           any                 closed                              =JOB_CLOSED
          CANCELLED        any                 plain,mine,group,other,forced,held  SUCCESS -> CANCELLED [HOLD_PLACED]
          CANCELLED        any                 closed                              =JOB_CLOSED
          FINISHED         any                 plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          FINISHED         any                 closed                              =JOB_CLOSED
          SKIPPED          any                 plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          SKIPPED          any                 closed                              =JOB_CLOSED
          ERROR            any                 plain,mine,group,other,forced,held  SUCCESS -> ERROR [HOLD_PLACED]
          ERROR            any                 closed                              =JOB_CLOSED
        RELEASE_HOLD
          PENDING          any                 plain,mine,group,other,forced       =NOT_HELD
          PENDING          any                 held                                SUCCESS -> PENDING [HOLD_RELEASED]
          PENDING          any                 closed                              =JOB_CLOSED
          READY            any                 plain,mine,group,other,forced       =NOT_HELD
          READY            any                 held                                SUCCESS -> READY [HOLD_RELEASED]
          READY            any                 closed                              =JOB_CLOSED
          RUNNING          any                 plain,mine,group,other,forced       =NOT_HELD
          RUNNING          any                 held                                SUCCESS -> RUNNING [HOLD_RELEASED]
          RUNNING          any                 closed                              =JOB_CLOSED
          WAITING_FOR_INFO any                 plain,mine,group,other,forced       =NOT_HELD
          WAITING_FOR_INFO any                 held                                SUCCESS -> WAITING_FOR_INFO [HOLD_RELEASED]
          WAITING_FOR_INFO any                 closed                              =JOB_CLOSED
          EXECUTED         any                 plain,mine,group,other,forced       =NOT_HELD
          EXECUTED         any                 held                                SUCCESS -> EXECUTED [HOLD_RELEASED]
          EXECUTED         any                 closed                              =JOB_CLOSED
          PAUSED           any                 plain,mine,group,other,forced       =NOT_HELD
          PAUSED           any                 held                                SUCCESS -> PAUSED [HOLD_RELEASED]
          PAUSED           any                 closed                              =JOB_CLOSED
          CANCELLED        any                 plain,mine,group,other,forced       =NOT_HELD
          CANCELLED        any                 held                                SUCCESS -> CANCELLED [HOLD_RELEASED]
          CANCELLED        any                 closed                              =JOB_CLOSED
          FINISHED         any                 plain,mine,group,other,forced       =NOT_HELD
          FINISHED         any                 held                                SUCCESS -> FINISHED [HOLD_RELEASED]
          FINISHED         any                 closed                              =JOB_CLOSED
          SKIPPED          any                 plain,mine,group,other,forced       =NOT_HELD
          SKIPPED          any                 held                                SUCCESS -> SKIPPED [HOLD_RELEASED]
          SKIPPED          any                 closed                              =JOB_CLOSED
          ERROR            any                 plain,mine,group,other,forced       =NOT_HELD
          ERROR            any                 held                                SUCCESS -> ERROR [HOLD_RELEASED]
          ERROR            any                 closed                              =JOB_CLOSED
        REFRESH_STATUS
          PENDING          any                 plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          PENDING          any                 closed                              =JOB_CLOSED
          READY            any                 plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          READY            any                 closed                              =JOB_CLOSED
          RUNNING          MANUAL,QUESTION,OPEN_APPplain,mine,group,other,forced,held  =STEP_NOT_AUTO
          RUNNING          any                 closed                              =JOB_CLOSED
          RUNNING          AUTOMATIC           plain,mine,group,other,forced,held  =SUCCESS
          WAITING_FOR_INFO any                 plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          WAITING_FOR_INFO any                 closed                              =JOB_CLOSED
          EXECUTED         any                 plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          EXECUTED         any                 closed                              =JOB_CLOSED
          PAUSED           any                 plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          PAUSED           any                 closed                              =JOB_CLOSED
          CANCELLED        any                 plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          CANCELLED        any                 closed                              =JOB_CLOSED
          FINISHED         any                 plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          FINISHED         any                 closed                              =JOB_CLOSED
          SKIPPED          any                 plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          SKIPPED          any                 closed                              =JOB_CLOSED
          ERROR            any                 plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          ERROR            any                 closed                              =JOB_CLOSED
    "#]].assert_eq(&table);
}

type KindsBySettings = Vec<(String, Vec<&'static str>)>;

/// What comes of an action on a step in a status, in the order in which it is met; each with the settings that lead to it,
/// and the kinds that they do so for.
fn outcomes(action: JobActionType, status: StepStatus) -> Vec<(String, KindsBySettings)> {
    let mut found: Vec<(String, KindsBySettings)> = Vec::new();
    for kind in KINDS {
        let mut of_kind: Vec<(String, Vec<String>)> = Vec::new();
        for setting in SETTINGS {
            let outcome = Situation { action, kind, status, setting, ..Situation::default() }.outcome();
            insert(&mut of_kind, outcome).push(format!("{setting:?}").to_lowercase());
        }
        for (outcome, settings) in of_kind {
            let kinds = insert(insert(&mut found, outcome), settings.join(","));
            kinds.push(word(kind.as_str_name(), "STEP_KIND_"));
        }
    }
    found
}

/// What is kept under a key, in the order of keys as they came.
fn insert<T: Default>(entries: &mut Vec<(String, T)>, key: String) -> &mut T {
    let at = entries.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
        entries.push((key, T::default()));
        entries.len() - 1
    });
    &mut entries[at].1
}

/// What `proceed_to_next`, `can_skip`, an answer and the paths make of it.
#[test]
fn every_definition_has_its_say() {
    let mut rows = Vec::new();
    for action in [JobActionType::Run, JobActionType::Finish] {
        for kind in KINDS {
            for status in STATUSES {
                for bits in 0..16_u8 {
                    let bit = |at: u8| bits & (1 << at) != 0;
                    let [proceed_to_next, can_skip, answer, stuck] = [bit(0), bit(1), bit(2), bit(3)];
                    let condition = if stuck { "false" } else { "" };
                    let situation = Situation {
                        action,
                        kind,
                        status,
                        proceed_to_next,
                        can_skip,
                        answer,
                        condition,
                        ..Situation::default()
                    };
                    if !matches!(status, StepStatus::Pending | StepStatus::Finished | StepStatus::Skipped) {
                        let flags = [
                            (proceed_to_next, "proceed"),
                            (can_skip, "skip"),
                            (answer, "answer"),
                            (stuck, "stuck"),
                        ];
                        let flags: Vec<_> =
                            flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
                        let head = [
                            action_word(action),
                            word(kind.as_str_name(), "STEP_KIND_"),
                            word(status.as_str_name(), "STEP_STATUS_"),
                        ];
                        rows.push((head.join(" "), flags.join("+"), situation.outcome()));
                    }
                }
            }
        }
    }
    // Flags that change nothing are left out: a row is told with the fewest that give its outcome.
    let mut told = Vec::new();
    for (head, flags, outcome) in &rows {
        let of_head = rows.iter().filter(|(other, ..)| other == head);
        let fewer = |other: &str| {
            other.len() < flags.len() && other.split('+').all(|flag| flag.is_empty() || flags.contains(flag))
        };
        let is_told = of_head.clone().any(|(_, other, same)| fewer(other) && same == outcome);
        if !is_told {
            told.push((format!("{head} {flags}").trim_end().to_owned(), outcome.clone()));
        }
    }
    check(
        told.into_iter(),
        expect![[r#"
            SUCCESS -> RUNNING [STEP_STARTED]
                RUN MANUAL READY
                RUN MANUAL EXECUTED
                RUN MANUAL PAUSED
                RUN MANUAL CANCELLED
                RUN MANUAL ERROR
                RUN OPEN_APP READY
                RUN OPEN_APP EXECUTED
                RUN OPEN_APP PAUSED
                RUN OPEN_APP CANCELLED
                RUN OPEN_APP ERROR
            SUCCESS -> FINISHED [STEP_STARTED STEP_FINISHED STEP_ACTIVATED]
                RUN MANUAL READY proceed
                RUN MANUAL EXECUTED proceed
                RUN MANUAL PAUSED proceed
                RUN MANUAL CANCELLED proceed
                RUN MANUAL ERROR proceed
                RUN OPEN_APP READY proceed
                RUN OPEN_APP EXECUTED proceed
                RUN OPEN_APP PAUSED proceed
                RUN OPEN_APP CANCELLED proceed
                RUN OPEN_APP ERROR proceed
            NO_MATCHING_PATHS -> EXECUTED [STEP_STARTED STEP_EXECUTED]
                RUN MANUAL READY proceed+stuck
                RUN MANUAL EXECUTED proceed+stuck
                RUN MANUAL PAUSED proceed+stuck
                RUN MANUAL CANCELLED proceed+stuck
                RUN MANUAL ERROR proceed+stuck
                RUN OPEN_APP READY proceed+stuck
                RUN OPEN_APP EXECUTED proceed+stuck
                RUN OPEN_APP PAUSED proceed+stuck
                RUN OPEN_APP CANCELLED proceed+stuck
                RUN OPEN_APP ERROR proceed+stuck
            =ALREADY_EXECUTING
                RUN MANUAL RUNNING
                RUN QUESTION RUNNING
                RUN OPEN_APP RUNNING
                RUN AUTOMATIC RUNNING
                FINISH AUTOMATIC RUNNING
            =WAITING_FOR_INFO
                RUN MANUAL WAITING_FOR_INFO
                RUN QUESTION WAITING_FOR_INFO
                RUN OPEN_APP WAITING_FOR_INFO
                RUN AUTOMATIC WAITING_FOR_INFO
                FINISH MANUAL WAITING_FOR_INFO
                FINISH QUESTION RUNNING
                FINISH QUESTION WAITING_FOR_INFO
                FINISH QUESTION EXECUTED
                FINISH QUESTION PAUSED
                FINISH OPEN_APP WAITING_FOR_INFO
                FINISH AUTOMATIC WAITING_FOR_INFO
            SUCCESS -> EXECUTED [STEP_EXECUTED]
                RUN MANUAL WAITING_FOR_INFO answer
                RUN QUESTION READY answer
                RUN QUESTION WAITING_FOR_INFO answer
                RUN QUESTION EXECUTED answer
                RUN QUESTION PAUSED answer
                RUN QUESTION CANCELLED answer
                RUN QUESTION ERROR answer
                RUN OPEN_APP WAITING_FOR_INFO answer
                RUN AUTOMATIC WAITING_FOR_INFO answer
            SUCCESS -> FINISHED [STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED]
                RUN MANUAL WAITING_FOR_INFO proceed+answer
                RUN QUESTION READY proceed+answer
                RUN QUESTION WAITING_FOR_INFO proceed+answer
                RUN QUESTION EXECUTED proceed+answer
                RUN QUESTION PAUSED proceed+answer
                RUN QUESTION CANCELLED proceed+answer
                RUN QUESTION ERROR proceed+answer
                RUN OPEN_APP WAITING_FOR_INFO proceed+answer
                RUN AUTOMATIC WAITING_FOR_INFO proceed+answer
            NO_MATCHING_PATHS -> EXECUTED [STEP_EXECUTED]
                RUN MANUAL WAITING_FOR_INFO proceed+answer+stuck
                RUN QUESTION READY proceed+answer+stuck
                RUN QUESTION WAITING_FOR_INFO proceed+answer+stuck
                RUN QUESTION EXECUTED proceed+answer+stuck
                RUN QUESTION PAUSED proceed+answer+stuck
                RUN QUESTION CANCELLED proceed+answer+stuck
                RUN QUESTION ERROR proceed+answer+stuck
                RUN OPEN_APP WAITING_FOR_INFO proceed+answer+stuck
                RUN AUTOMATIC WAITING_FOR_INFO proceed+answer+stuck
                FINISH MANUAL RUNNING stuck
                FINISH MANUAL WAITING_FOR_INFO answer+stuck
                FINISH MANUAL EXECUTED answer+stuck
                FINISH MANUAL PAUSED stuck
                FINISH QUESTION RUNNING answer+stuck
                FINISH QUESTION WAITING_FOR_INFO answer+stuck
                FINISH QUESTION EXECUTED answer+stuck
                FINISH QUESTION PAUSED answer+stuck
                FINISH OPEN_APP RUNNING stuck
                FINISH OPEN_APP WAITING_FOR_INFO answer+stuck
                FINISH OPEN_APP EXECUTED answer+stuck
                FINISH OPEN_APP PAUSED stuck
                FINISH AUTOMATIC WAITING_FOR_INFO answer+stuck
                FINISH AUTOMATIC EXECUTED answer+stuck
                FINISH AUTOMATIC PAUSED stuck
            SUCCESS -> WAITING_FOR_INFO [STEP_WAITING_FOR_INFO]
                RUN QUESTION READY
                RUN QUESTION EXECUTED
                RUN QUESTION PAUSED
                RUN QUESTION CANCELLED
                RUN QUESTION ERROR
            SUCCESS -> RUNNING [STEP_STARTED TASK_CREATED]
                RUN AUTOMATIC READY
                RUN AUTOMATIC EXECUTED
                RUN AUTOMATIC PAUSED
                RUN AUTOMATIC CANCELLED
                RUN AUTOMATIC ERROR
            =NO_STARTED_STEP
                FINISH MANUAL READY
                FINISH MANUAL CANCELLED
                FINISH MANUAL ERROR
                FINISH QUESTION READY
                FINISH QUESTION CANCELLED
                FINISH QUESTION ERROR
                FINISH OPEN_APP READY
                FINISH OPEN_APP CANCELLED
                FINISH OPEN_APP ERROR
                FINISH AUTOMATIC READY
                FINISH AUTOMATIC CANCELLED
                FINISH AUTOMATIC ERROR
            SUCCESS -> SKIPPED [STEP_SKIPPED STEP_ACTIVATED]
                FINISH MANUAL READY skip
                FINISH MANUAL CANCELLED skip
                FINISH MANUAL ERROR skip
                FINISH QUESTION READY skip
                FINISH QUESTION CANCELLED skip
                FINISH QUESTION ERROR skip
                FINISH OPEN_APP READY skip
                FINISH OPEN_APP CANCELLED skip
                FINISH OPEN_APP ERROR skip
                FINISH AUTOMATIC READY skip
                FINISH AUTOMATIC CANCELLED skip
                FINISH AUTOMATIC ERROR skip
            =NO_MATCHING_PATHS
                FINISH MANUAL READY skip+stuck
                FINISH MANUAL EXECUTED stuck
                FINISH MANUAL CANCELLED skip+stuck
                FINISH MANUAL ERROR skip+stuck
                FINISH QUESTION READY skip+stuck
                FINISH QUESTION CANCELLED skip+stuck
                FINISH QUESTION ERROR skip+stuck
                FINISH OPEN_APP READY skip+stuck
                FINISH OPEN_APP EXECUTED stuck
                FINISH OPEN_APP CANCELLED skip+stuck
                FINISH OPEN_APP ERROR skip+stuck
                FINISH AUTOMATIC READY skip+stuck
                FINISH AUTOMATIC EXECUTED stuck
                FINISH AUTOMATIC CANCELLED skip+stuck
                FINISH AUTOMATIC ERROR skip+stuck
            SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
                FINISH MANUAL RUNNING
                FINISH MANUAL WAITING_FOR_INFO answer
                FINISH MANUAL EXECUTED
                FINISH MANUAL PAUSED
                FINISH QUESTION RUNNING answer
                FINISH QUESTION WAITING_FOR_INFO answer
                FINISH QUESTION EXECUTED answer
                FINISH QUESTION PAUSED answer
                FINISH OPEN_APP RUNNING
                FINISH OPEN_APP WAITING_FOR_INFO answer
                FINISH OPEN_APP EXECUTED
                FINISH OPEN_APP PAUSED
                FINISH AUTOMATIC WAITING_FOR_INFO answer
                FINISH AUTOMATIC EXECUTED
                FINISH AUTOMATIC PAUSED
        "#]],
    );
}
