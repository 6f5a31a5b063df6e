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
        match grouped.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, situations)) => situations.push(situation),
            None => grouped.push((outcome, vec![situation])),
        }
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

/// Every action on every kind of step in every status, each for those who are assigned, are not, and so on.
#[test]
fn every_action_meets_every_step() {
    let mut table = String::new();
    for action in ACTIONS {
        writeln!(table, "{}", action_word(action)).unwrap();
        for kind in KINDS {
            for status in STATUSES {
                let mut outcomes: Vec<(String, Vec<String>)> = Vec::new();
                for setting in SETTINGS {
                    let outcome =
                        Situation { action, kind, status, setting, ..Situation::default() }.outcome();
                    let setting = format!("{setting:?}").to_lowercase();
                    match outcomes.iter_mut().find(|(known, _)| *known == outcome) {
                        Some((_, settings)) => settings.push(setting),
                        None => outcomes.push((outcome, vec![setting])),
                    }
                }
                let (kind, status) =
                    (word(kind.as_str_name(), "STEP_KIND_"), word(status.as_str_name(), "STEP_STATUS_"));
                for (outcome, settings) in outcomes {
                    let settings = settings.join(",");
                    writeln!(table, "  {kind:<10}{status:<17}{settings:<36}{outcome}").unwrap();
                }
            }
        }
    }
    expect![[r#"
        RUN
          MANUAL    PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          MANUAL    PENDING          closed                              =JOB_CLOSED
          MANUAL    READY            plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          MANUAL    READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    READY            held                                =HELD
          MANUAL    READY            closed                              =JOB_CLOSED
          MANUAL    RUNNING          plain,mine,group                    =ALREADY_EXECUTING
          MANUAL    RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    RUNNING          held                                =HELD
          MANUAL    RUNNING          closed                              =JOB_CLOSED
          MANUAL    WAITING_FOR_INFO plain,mine,group                    =WAITING_FOR_INFO
          MANUAL    WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    WAITING_FOR_INFO held                                =HELD
          MANUAL    WAITING_FOR_INFO closed                              =JOB_CLOSED
          MANUAL    EXECUTED         plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          MANUAL    EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    EXECUTED         held                                =HELD
          MANUAL    EXECUTED         closed                              =JOB_CLOSED
          MANUAL    PAUSED           plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          MANUAL    PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    PAUSED           held                                =HELD
          MANUAL    PAUSED           closed                              =JOB_CLOSED
          MANUAL    CANCELLED        plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          MANUAL    CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    CANCELLED        held                                =HELD
          MANUAL    CANCELLED        closed                              =JOB_CLOSED
          MANUAL    FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          MANUAL    FINISHED         closed                              =JOB_CLOSED
          MANUAL    SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          MANUAL    SKIPPED          closed                              =JOB_CLOSED
          MANUAL    ERROR            plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          MANUAL    ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    ERROR            held                                =HELD
          MANUAL    ERROR            closed                              =JOB_CLOSED
          QUESTION  PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          QUESTION  PENDING          closed                              =JOB_CLOSED
          QUESTION  READY            plain,mine,group                    SUCCESS -> WAITING_FOR_INFO [STEP_WAITING_FOR_INFO]
          QUESTION  READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  READY            held                                =HELD
          QUESTION  READY            closed                              =JOB_CLOSED
          QUESTION  RUNNING          plain,mine,group                    =ALREADY_EXECUTING
          QUESTION  RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  RUNNING          held                                =HELD
          QUESTION  RUNNING          closed                              =JOB_CLOSED
          QUESTION  WAITING_FOR_INFO plain,mine,group                    =WAITING_FOR_INFO
          QUESTION  WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  WAITING_FOR_INFO held                                =HELD
          QUESTION  WAITING_FOR_INFO closed                              =JOB_CLOSED
          QUESTION  EXECUTED         plain,mine,group                    SUCCESS -> WAITING_FOR_INFO [STEP_WAITING_FOR_INFO]
          QUESTION  EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  EXECUTED         held                                =HELD
          QUESTION  EXECUTED         closed                              =JOB_CLOSED
          QUESTION  PAUSED           plain,mine,group                    SUCCESS -> WAITING_FOR_INFO [STEP_WAITING_FOR_INFO]
          QUESTION  PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  PAUSED           held                                =HELD
          QUESTION  PAUSED           closed                              =JOB_CLOSED
          QUESTION  CANCELLED        plain,mine,group                    SUCCESS -> WAITING_FOR_INFO [STEP_WAITING_FOR_INFO]
          QUESTION  CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  CANCELLED        held                                =HELD
          QUESTION  CANCELLED        closed                              =JOB_CLOSED
          QUESTION  FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          QUESTION  FINISHED         closed                              =JOB_CLOSED
          QUESTION  SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          QUESTION  SKIPPED          closed                              =JOB_CLOSED
          QUESTION  ERROR            plain,mine,group                    SUCCESS -> WAITING_FOR_INFO [STEP_WAITING_FOR_INFO]
          QUESTION  ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  ERROR            held                                =HELD
          QUESTION  ERROR            closed                              =JOB_CLOSED
          OPEN_APP  PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          OPEN_APP  PENDING          closed                              =JOB_CLOSED
          OPEN_APP  READY            plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          OPEN_APP  READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  READY            held                                =HELD
          OPEN_APP  READY            closed                              =JOB_CLOSED
          OPEN_APP  RUNNING          plain,mine,group                    =ALREADY_EXECUTING
          OPEN_APP  RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  RUNNING          held                                =HELD
          OPEN_APP  RUNNING          closed                              =JOB_CLOSED
          OPEN_APP  WAITING_FOR_INFO plain,mine,group                    =WAITING_FOR_INFO
          OPEN_APP  WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  WAITING_FOR_INFO held                                =HELD
          OPEN_APP  WAITING_FOR_INFO closed                              =JOB_CLOSED
          OPEN_APP  EXECUTED         plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          OPEN_APP  EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  EXECUTED         held                                =HELD
          OPEN_APP  EXECUTED         closed                              =JOB_CLOSED
          OPEN_APP  PAUSED           plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          OPEN_APP  PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  PAUSED           held                                =HELD
          OPEN_APP  PAUSED           closed                              =JOB_CLOSED
          OPEN_APP  CANCELLED        plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          OPEN_APP  CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  CANCELLED        held                                =HELD
          OPEN_APP  CANCELLED        closed                              =JOB_CLOSED
          OPEN_APP  FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          OPEN_APP  FINISHED         closed                              =JOB_CLOSED
          OPEN_APP  SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          OPEN_APP  SKIPPED          closed                              =JOB_CLOSED
          OPEN_APP  ERROR            plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED]
          OPEN_APP  ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  ERROR            held                                =HELD
          OPEN_APP  ERROR            closed                              =JOB_CLOSED
          AUTOMATIC PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          AUTOMATIC PENDING          closed                              =JOB_CLOSED
          AUTOMATIC READY            plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED TASK_CREATED]
          AUTOMATIC READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC READY            held                                =HELD
          AUTOMATIC READY            closed                              =JOB_CLOSED
          AUTOMATIC RUNNING          plain,mine,group                    =ALREADY_EXECUTING
          AUTOMATIC RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC RUNNING          held                                =HELD
          AUTOMATIC RUNNING          closed                              =JOB_CLOSED
          AUTOMATIC WAITING_FOR_INFO plain,mine,group                    =WAITING_FOR_INFO
          AUTOMATIC WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC WAITING_FOR_INFO held                                =HELD
          AUTOMATIC WAITING_FOR_INFO closed                              =JOB_CLOSED
          AUTOMATIC EXECUTED         plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED TASK_CREATED]
          AUTOMATIC EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC EXECUTED         held                                =HELD
          AUTOMATIC EXECUTED         closed                              =JOB_CLOSED
          AUTOMATIC PAUSED           plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED TASK_CREATED]
          AUTOMATIC PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC PAUSED           held                                =HELD
          AUTOMATIC PAUSED           closed                              =JOB_CLOSED
          AUTOMATIC CANCELLED        plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED TASK_CREATED]
          AUTOMATIC CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC CANCELLED        held                                =HELD
          AUTOMATIC CANCELLED        closed                              =JOB_CLOSED
          AUTOMATIC FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          AUTOMATIC FINISHED         closed                              =JOB_CLOSED
          AUTOMATIC SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          AUTOMATIC SKIPPED          closed                              =JOB_CLOSED
          AUTOMATIC ERROR            plain,mine,group                    SUCCESS -> RUNNING [STEP_STARTED TASK_CREATED]
          AUTOMATIC ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC ERROR            held                                =HELD
          AUTOMATIC ERROR            closed                              =JOB_CLOSED
        FINISH
          MANUAL    PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          MANUAL    PENDING          closed                              =JOB_CLOSED
          MANUAL    READY            plain,mine,group                    =NO_STARTED_STEP
          MANUAL    READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    READY            held                                =HELD
          MANUAL    READY            closed                              =JOB_CLOSED
          MANUAL    RUNNING          plain,mine,group                    SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
          MANUAL    RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    RUNNING          held                                =HELD
          MANUAL    RUNNING          closed                              =JOB_CLOSED
          MANUAL    WAITING_FOR_INFO plain,mine,group                    =WAITING_FOR_INFO
          MANUAL    WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    WAITING_FOR_INFO held                                =HELD
          MANUAL    WAITING_FOR_INFO closed                              =JOB_CLOSED
          MANUAL    EXECUTED         plain,mine,group                    SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
          MANUAL    EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    EXECUTED         held                                =HELD
          MANUAL    EXECUTED         closed                              =JOB_CLOSED
          MANUAL    PAUSED           plain,mine,group                    SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
          MANUAL    PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    PAUSED           held                                =HELD
          MANUAL    PAUSED           closed                              =JOB_CLOSED
          MANUAL    CANCELLED        plain,mine,group                    =NO_STARTED_STEP
          MANUAL    CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    CANCELLED        held                                =HELD
          MANUAL    CANCELLED        closed                              =JOB_CLOSED
          MANUAL    FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          MANUAL    FINISHED         closed                              =JOB_CLOSED
          MANUAL    SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          MANUAL    SKIPPED          closed                              =JOB_CLOSED
          MANUAL    ERROR            plain,mine,group                    =NO_STARTED_STEP
          MANUAL    ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    ERROR            held                                =HELD
          MANUAL    ERROR            closed                              =JOB_CLOSED
          QUESTION  PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          QUESTION  PENDING          closed                              =JOB_CLOSED
          QUESTION  READY            plain,mine,group                    =NO_STARTED_STEP
          QUESTION  READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  READY            held                                =HELD
          QUESTION  READY            closed                              =JOB_CLOSED
          QUESTION  RUNNING          plain,mine,group                    =WAITING_FOR_INFO
          QUESTION  RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  RUNNING          held                                =HELD
          QUESTION  RUNNING          closed                              =JOB_CLOSED
          QUESTION  WAITING_FOR_INFO plain,mine,group                    =WAITING_FOR_INFO
          QUESTION  WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  WAITING_FOR_INFO held                                =HELD
          QUESTION  WAITING_FOR_INFO closed                              =JOB_CLOSED
          QUESTION  EXECUTED         plain,mine,group                    =WAITING_FOR_INFO
          QUESTION  EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  EXECUTED         held                                =HELD
          QUESTION  EXECUTED         closed                              =JOB_CLOSED
          QUESTION  PAUSED           plain,mine,group                    =WAITING_FOR_INFO
          QUESTION  PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  PAUSED           held                                =HELD
          QUESTION  PAUSED           closed                              =JOB_CLOSED
          QUESTION  CANCELLED        plain,mine,group                    =NO_STARTED_STEP
          QUESTION  CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  CANCELLED        held                                =HELD
          QUESTION  CANCELLED        closed                              =JOB_CLOSED
          QUESTION  FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          QUESTION  FINISHED         closed                              =JOB_CLOSED
          QUESTION  SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          QUESTION  SKIPPED          closed                              =JOB_CLOSED
          QUESTION  ERROR            plain,mine,group                    =NO_STARTED_STEP
          QUESTION  ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  ERROR            held                                =HELD
          QUESTION  ERROR            closed                              =JOB_CLOSED
          OPEN_APP  PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          OPEN_APP  PENDING          closed                              =JOB_CLOSED
          OPEN_APP  READY            plain,mine,group                    =NO_STARTED_STEP
          OPEN_APP  READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  READY            held                                =HELD
          OPEN_APP  READY            closed                              =JOB_CLOSED
          OPEN_APP  RUNNING          plain,mine,group                    SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
          OPEN_APP  RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  RUNNING          held                                =HELD
          OPEN_APP  RUNNING          closed                              =JOB_CLOSED
          OPEN_APP  WAITING_FOR_INFO plain,mine,group                    =WAITING_FOR_INFO
          OPEN_APP  WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  WAITING_FOR_INFO held                                =HELD
          OPEN_APP  WAITING_FOR_INFO closed                              =JOB_CLOSED
          OPEN_APP  EXECUTED         plain,mine,group                    SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
          OPEN_APP  EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  EXECUTED         held                                =HELD
          OPEN_APP  EXECUTED         closed                              =JOB_CLOSED
          OPEN_APP  PAUSED           plain,mine,group                    SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
          OPEN_APP  PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  PAUSED           held                                =HELD
          OPEN_APP  PAUSED           closed                              =JOB_CLOSED
          OPEN_APP  CANCELLED        plain,mine,group                    =NO_STARTED_STEP
          OPEN_APP  CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  CANCELLED        held                                =HELD
          OPEN_APP  CANCELLED        closed                              =JOB_CLOSED
          OPEN_APP  FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          OPEN_APP  FINISHED         closed                              =JOB_CLOSED
          OPEN_APP  SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          OPEN_APP  SKIPPED          closed                              =JOB_CLOSED
          OPEN_APP  ERROR            plain,mine,group                    =NO_STARTED_STEP
          OPEN_APP  ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  ERROR            held                                =HELD
          OPEN_APP  ERROR            closed                              =JOB_CLOSED
          AUTOMATIC PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          AUTOMATIC PENDING          closed                              =JOB_CLOSED
          AUTOMATIC READY            plain,mine,group                    =NO_STARTED_STEP
          AUTOMATIC READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC READY            held                                =HELD
          AUTOMATIC READY            closed                              =JOB_CLOSED
          AUTOMATIC RUNNING          plain,mine,group                    =ALREADY_EXECUTING
          AUTOMATIC RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC RUNNING          held                                =HELD
          AUTOMATIC RUNNING          closed                              =JOB_CLOSED
          AUTOMATIC WAITING_FOR_INFO plain,mine,group                    =WAITING_FOR_INFO
          AUTOMATIC WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC WAITING_FOR_INFO held                                =HELD
          AUTOMATIC WAITING_FOR_INFO closed                              =JOB_CLOSED
          AUTOMATIC EXECUTED         plain,mine,group                    SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
          AUTOMATIC EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC EXECUTED         held                                =HELD
          AUTOMATIC EXECUTED         closed                              =JOB_CLOSED
          AUTOMATIC PAUSED           plain,mine,group                    SUCCESS -> FINISHED [STEP_FINISHED STEP_ACTIVATED]
          AUTOMATIC PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC PAUSED           held                                =HELD
          AUTOMATIC PAUSED           closed                              =JOB_CLOSED
          AUTOMATIC CANCELLED        plain,mine,group                    =NO_STARTED_STEP
          AUTOMATIC CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC CANCELLED        held                                =HELD
          AUTOMATIC CANCELLED        closed                              =JOB_CLOSED
          AUTOMATIC FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          AUTOMATIC FINISHED         closed                              =JOB_CLOSED
          AUTOMATIC SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          AUTOMATIC SKIPPED          closed                              =JOB_CLOSED
          AUTOMATIC ERROR            plain,mine,group                    =NO_STARTED_STEP
          AUTOMATIC ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC ERROR            held                                =HELD
          AUTOMATIC ERROR            closed                              =JOB_CLOSED
        STOP
          MANUAL    PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          MANUAL    PENDING          closed                              =JOB_CLOSED
          MANUAL    READY            plain,mine,group,forced,held        =NOT_RUNNING
          MANUAL    READY            other                               =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    READY            closed                              =JOB_CLOSED
          MANUAL    RUNNING          plain,mine,group,forced,held        SUCCESS -> PAUSED [STEP_PAUSED]
          MANUAL    RUNNING          other                               =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    RUNNING          closed                              =JOB_CLOSED
          MANUAL    WAITING_FOR_INFO plain,mine,group,forced,held        SUCCESS -> PAUSED [STEP_PAUSED]
          MANUAL    WAITING_FOR_INFO other                               =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    WAITING_FOR_INFO closed                              =JOB_CLOSED
          MANUAL    EXECUTED         plain,mine,group,forced,held        =NOT_RUNNING
          MANUAL    EXECUTED         other                               =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    EXECUTED         closed                              =JOB_CLOSED
          MANUAL    PAUSED           plain,mine,group,forced,held        =NOT_RUNNING
          MANUAL    PAUSED           other                               =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    PAUSED           closed                              =JOB_CLOSED
          MANUAL    CANCELLED        plain,mine,group,forced,held        =NOT_RUNNING
          MANUAL    CANCELLED        other                               =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    CANCELLED        closed                              =JOB_CLOSED
          MANUAL    FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          MANUAL    FINISHED         closed                              =JOB_CLOSED
          MANUAL    SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          MANUAL    SKIPPED          closed                              =JOB_CLOSED
          MANUAL    ERROR            plain,mine,group,forced,held        =NOT_RUNNING
          MANUAL    ERROR            other                               =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    ERROR            closed                              =JOB_CLOSED
          QUESTION  PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          QUESTION  PENDING          closed                              =JOB_CLOSED
          QUESTION  READY            plain,mine,group,forced,held        =NOT_RUNNING
          QUESTION  READY            other                               =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  READY            closed                              =JOB_CLOSED
          QUESTION  RUNNING          plain,mine,group,forced,held        SUCCESS -> CANCELLED [STEP_CANCELLED]
          QUESTION  RUNNING          other                               =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  RUNNING          closed                              =JOB_CLOSED
          QUESTION  WAITING_FOR_INFO plain,mine,group,forced,held        SUCCESS -> CANCELLED [STEP_CANCELLED]
          QUESTION  WAITING_FOR_INFO other                               =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  WAITING_FOR_INFO closed                              =JOB_CLOSED
          QUESTION  EXECUTED         plain,mine,group,forced,held        =NOT_RUNNING
          QUESTION  EXECUTED         other                               =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  EXECUTED         closed                              =JOB_CLOSED
          QUESTION  PAUSED           plain,mine,group,forced,held        =NOT_RUNNING
          QUESTION  PAUSED           other                               =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  PAUSED           closed                              =JOB_CLOSED
          QUESTION  CANCELLED        plain,mine,group,forced,held        =NOT_RUNNING
          QUESTION  CANCELLED        other                               =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  CANCELLED        closed                              =JOB_CLOSED
          QUESTION  FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          QUESTION  FINISHED         closed                              =JOB_CLOSED
          QUESTION  SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          QUESTION  SKIPPED          closed                              =JOB_CLOSED
          QUESTION  ERROR            plain,mine,group,forced,held        =NOT_RUNNING
          QUESTION  ERROR            other                               =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  ERROR            closed                              =JOB_CLOSED
          OPEN_APP  PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          OPEN_APP  PENDING          closed                              =JOB_CLOSED
          OPEN_APP  READY            plain,mine,group,forced,held        =NOT_RUNNING
          OPEN_APP  READY            other                               =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  READY            closed                              =JOB_CLOSED
          OPEN_APP  RUNNING          plain,mine,group,forced,held        SUCCESS -> PAUSED [STEP_PAUSED]
          OPEN_APP  RUNNING          other                               =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  RUNNING          closed                              =JOB_CLOSED
          OPEN_APP  WAITING_FOR_INFO plain,mine,group,forced,held        SUCCESS -> PAUSED [STEP_PAUSED]
          OPEN_APP  WAITING_FOR_INFO other                               =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  WAITING_FOR_INFO closed                              =JOB_CLOSED
          OPEN_APP  EXECUTED         plain,mine,group,forced,held        =NOT_RUNNING
          OPEN_APP  EXECUTED         other                               =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  EXECUTED         closed                              =JOB_CLOSED
          OPEN_APP  PAUSED           plain,mine,group,forced,held        =NOT_RUNNING
          OPEN_APP  PAUSED           other                               =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  PAUSED           closed                              =JOB_CLOSED
          OPEN_APP  CANCELLED        plain,mine,group,forced,held        =NOT_RUNNING
          OPEN_APP  CANCELLED        other                               =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  CANCELLED        closed                              =JOB_CLOSED
          OPEN_APP  FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          OPEN_APP  FINISHED         closed                              =JOB_CLOSED
          OPEN_APP  SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          OPEN_APP  SKIPPED          closed                              =JOB_CLOSED
          OPEN_APP  ERROR            plain,mine,group,forced,held        =NOT_RUNNING
          OPEN_APP  ERROR            other                               =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  ERROR            closed                              =JOB_CLOSED
          AUTOMATIC PENDING          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          AUTOMATIC PENDING          closed                              =JOB_CLOSED
          AUTOMATIC READY            plain,mine,group,forced,held        =NOT_RUNNING
          AUTOMATIC READY            other                               =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC READY            closed                              =JOB_CLOSED
          AUTOMATIC RUNNING          plain,mine,group,forced,held        SUCCESS -> CANCELLED [TASK_COMPLETED STEP_CANCELLED]
          AUTOMATIC RUNNING          other                               =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC RUNNING          closed                              =JOB_CLOSED
          AUTOMATIC WAITING_FOR_INFO plain,mine,group,forced,held        SUCCESS -> CANCELLED [STEP_CANCELLED]
          AUTOMATIC WAITING_FOR_INFO other                               =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC WAITING_FOR_INFO closed                              =JOB_CLOSED
          AUTOMATIC EXECUTED         plain,mine,group,forced,held        =NOT_RUNNING
          AUTOMATIC EXECUTED         other                               =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC EXECUTED         closed                              =JOB_CLOSED
          AUTOMATIC PAUSED           plain,mine,group,forced,held        =NOT_RUNNING
          AUTOMATIC PAUSED           other                               =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC PAUSED           closed                              =JOB_CLOSED
          AUTOMATIC CANCELLED        plain,mine,group,forced,held        =NOT_RUNNING
          AUTOMATIC CANCELLED        other                               =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC CANCELLED        closed                              =JOB_CLOSED
          AUTOMATIC FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          AUTOMATIC FINISHED         closed                              =JOB_CLOSED
          AUTOMATIC SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          AUTOMATIC SKIPPED          closed                              =JOB_CLOSED
          AUTOMATIC ERROR            plain,mine,group,forced,held        =NOT_RUNNING
          AUTOMATIC ERROR            other                               =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC ERROR            closed                              =JOB_CLOSED
        SET_CURRENT_STEP
          MANUAL    PENDING          plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          MANUAL    PENDING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    PENDING          closed                              =JOB_CLOSED
          MANUAL    READY            plain,mine,group,held               =SUCCESS
          MANUAL    READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    READY            closed                              =JOB_CLOSED
          MANUAL    RUNNING          plain,mine,group,held               =ALREADY_EXECUTING
          MANUAL    RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    RUNNING          closed                              =JOB_CLOSED
          MANUAL    WAITING_FOR_INFO plain,mine,group,held               =ALREADY_EXECUTING
          MANUAL    WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    WAITING_FOR_INFO closed                              =JOB_CLOSED
          MANUAL    EXECUTED         plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          MANUAL    EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    EXECUTED         closed                              =JOB_CLOSED
          MANUAL    PAUSED           plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          MANUAL    PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    PAUSED           closed                              =JOB_CLOSED
          MANUAL    CANCELLED        plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          MANUAL    CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    CANCELLED        closed                              =JOB_CLOSED
          MANUAL    FINISHED         plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          MANUAL    FINISHED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    FINISHED         closed                              =JOB_CLOSED
          MANUAL    SKIPPED          plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          MANUAL    SKIPPED          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    SKIPPED          closed                              =JOB_CLOSED
          MANUAL    ERROR            plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          MANUAL    ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          MANUAL    ERROR            closed                              =JOB_CLOSED
          QUESTION  PENDING          plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          QUESTION  PENDING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  PENDING          closed                              =JOB_CLOSED
          QUESTION  READY            plain,mine,group,held               =SUCCESS
          QUESTION  READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  READY            closed                              =JOB_CLOSED
          QUESTION  RUNNING          plain,mine,group,held               =ALREADY_EXECUTING
          QUESTION  RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  RUNNING          closed                              =JOB_CLOSED
          QUESTION  WAITING_FOR_INFO plain,mine,group,held               =ALREADY_EXECUTING
          QUESTION  WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  WAITING_FOR_INFO closed                              =JOB_CLOSED
          QUESTION  EXECUTED         plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          QUESTION  EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  EXECUTED         closed                              =JOB_CLOSED
          QUESTION  PAUSED           plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          QUESTION  PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  PAUSED           closed                              =JOB_CLOSED
          QUESTION  CANCELLED        plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          QUESTION  CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  CANCELLED        closed                              =JOB_CLOSED
          QUESTION  FINISHED         plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          QUESTION  FINISHED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  FINISHED         closed                              =JOB_CLOSED
          QUESTION  SKIPPED          plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          QUESTION  SKIPPED          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  SKIPPED          closed                              =JOB_CLOSED
          QUESTION  ERROR            plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          QUESTION  ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          QUESTION  ERROR            closed                              =JOB_CLOSED
          OPEN_APP  PENDING          plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          OPEN_APP  PENDING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  PENDING          closed                              =JOB_CLOSED
          OPEN_APP  READY            plain,mine,group,held               =SUCCESS
          OPEN_APP  READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  READY            closed                              =JOB_CLOSED
          OPEN_APP  RUNNING          plain,mine,group,held               =ALREADY_EXECUTING
          OPEN_APP  RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  RUNNING          closed                              =JOB_CLOSED
          OPEN_APP  WAITING_FOR_INFO plain,mine,group,held               =ALREADY_EXECUTING
          OPEN_APP  WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  WAITING_FOR_INFO closed                              =JOB_CLOSED
          OPEN_APP  EXECUTED         plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          OPEN_APP  EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  EXECUTED         closed                              =JOB_CLOSED
          OPEN_APP  PAUSED           plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          OPEN_APP  PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  PAUSED           closed                              =JOB_CLOSED
          OPEN_APP  CANCELLED        plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          OPEN_APP  CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  CANCELLED        closed                              =JOB_CLOSED
          OPEN_APP  FINISHED         plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          OPEN_APP  FINISHED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  FINISHED         closed                              =JOB_CLOSED
          OPEN_APP  SKIPPED          plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          OPEN_APP  SKIPPED          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  SKIPPED          closed                              =JOB_CLOSED
          OPEN_APP  ERROR            plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          OPEN_APP  ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          OPEN_APP  ERROR            closed                              =JOB_CLOSED
          AUTOMATIC PENDING          plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          AUTOMATIC PENDING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC PENDING          closed                              =JOB_CLOSED
          AUTOMATIC READY            plain,mine,group,held               =SUCCESS
          AUTOMATIC READY            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC READY            closed                              =JOB_CLOSED
          AUTOMATIC RUNNING          plain,mine,group,held               =ALREADY_EXECUTING
          AUTOMATIC RUNNING          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC RUNNING          closed                              =JOB_CLOSED
          AUTOMATIC WAITING_FOR_INFO plain,mine,group,held               =ALREADY_EXECUTING
          AUTOMATIC WAITING_FOR_INFO other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC WAITING_FOR_INFO closed                              =JOB_CLOSED
          AUTOMATIC EXECUTED         plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          AUTOMATIC EXECUTED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC EXECUTED         closed                              =JOB_CLOSED
          AUTOMATIC PAUSED           plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          AUTOMATIC PAUSED           other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC PAUSED           closed                              =JOB_CLOSED
          AUTOMATIC CANCELLED        plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          AUTOMATIC CANCELLED        other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC CANCELLED        closed                              =JOB_CLOSED
          AUTOMATIC FINISHED         plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          AUTOMATIC FINISHED         other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC FINISHED         closed                              =JOB_CLOSED
          AUTOMATIC SKIPPED          plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          AUTOMATIC SKIPPED          other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC SKIPPED          closed                              =JOB_CLOSED
          AUTOMATIC ERROR            plain,mine,group,held               SUCCESS -> READY [STEP_ACTIVATED]
          AUTOMATIC ERROR            other,forced                        =ASSIGNED_TO_DIFFERENT_USER
          AUTOMATIC ERROR            closed                              =JOB_CLOSED
        HOLD
          MANUAL    PENDING          plain,mine,group,other,forced,held  SUCCESS -> PENDING [HOLD_PLACED]
          MANUAL    PENDING          closed                              =JOB_CLOSED
          MANUAL    READY            plain,mine,group,other,forced,held  SUCCESS -> READY [HOLD_PLACED]
          MANUAL    READY            closed                              =JOB_CLOSED
          MANUAL    RUNNING          plain,mine,group,other,forced,held  =ALREADY_EXECUTING
          MANUAL    RUNNING          closed                              =JOB_CLOSED
          MANUAL    WAITING_FOR_INFO plain,mine,group,other,forced,held  =ALREADY_EXECUTING
          MANUAL    WAITING_FOR_INFO closed                              =JOB_CLOSED
          MANUAL    EXECUTED         plain,mine,group,other,forced,held  SUCCESS -> EXECUTED [HOLD_PLACED]
          MANUAL    EXECUTED         closed                              =JOB_CLOSED
          MANUAL    PAUSED           plain,mine,group,other,forced,held  SUCCESS -> PAUSED [HOLD_PLACED]
          MANUAL    PAUSED           closed                              =JOB_CLOSED
          MANUAL    CANCELLED        plain,mine,group,other,forced,held  SUCCESS -> CANCELLED [HOLD_PLACED]
          MANUAL    CANCELLED        closed                              =JOB_CLOSED
          MANUAL    FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          MANUAL    FINISHED         closed                              =JOB_CLOSED
          MANUAL    SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          MANUAL    SKIPPED          closed                              =JOB_CLOSED
          MANUAL    ERROR            plain,mine,group,other,forced,held  SUCCESS -> ERROR [HOLD_PLACED]
          MANUAL    ERROR            closed                              =JOB_CLOSED
          QUESTION  PENDING          plain,mine,group,other,forced,held  SUCCESS -> PENDING [HOLD_PLACED]
          QUESTION  PENDING          closed                              =JOB_CLOSED
          QUESTION  READY            plain,mine,group,other,forced,held  SUCCESS -> READY [HOLD_PLACED]
          QUESTION  READY            closed                              =JOB_CLOSED
          QUESTION  RUNNING          plain,mine,group,other,forced,held  =ALREADY_EXECUTING
          QUESTION  RUNNING          closed                              =JOB_CLOSED
          QUESTION  WAITING_FOR_INFO plain,mine,group,other,forced,held  =ALREADY_EXECUTING
          QUESTION  WAITING_FOR_INFO closed                              =JOB_CLOSED
          QUESTION  EXECUTED         plain,mine,group,other,forced,held  SUCCESS -> EXECUTED [HOLD_PLACED]
          QUESTION  EXECUTED         closed                              =JOB_CLOSED
          QUESTION  PAUSED           plain,mine,group,other,forced,held  SUCCESS -> PAUSED [HOLD_PLACED]
          QUESTION  PAUSED           closed                              =JOB_CLOSED
          QUESTION  CANCELLED        plain,mine,group,other,forced,held  SUCCESS -> CANCELLED [HOLD_PLACED]
          QUESTION  CANCELLED        closed                              =JOB_CLOSED
          QUESTION  FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          QUESTION  FINISHED         closed                              =JOB_CLOSED
          QUESTION  SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          QUESTION  SKIPPED          closed                              =JOB_CLOSED
          QUESTION  ERROR            plain,mine,group,other,forced,held  SUCCESS -> ERROR [HOLD_PLACED]
          QUESTION  ERROR            closed                              =JOB_CLOSED
          OPEN_APP  PENDING          plain,mine,group,other,forced,held  SUCCESS -> PENDING [HOLD_PLACED]
          OPEN_APP  PENDING          closed                              =JOB_CLOSED
          OPEN_APP  READY            plain,mine,group,other,forced,held  SUCCESS -> READY [HOLD_PLACED]
          OPEN_APP  READY            closed                              =JOB_CLOSED
          OPEN_APP  RUNNING          plain,mine,group,other,forced,held  =ALREADY_EXECUTING
          OPEN_APP  RUNNING          closed                              =JOB_CLOSED
          OPEN_APP  WAITING_FOR_INFO plain,mine,group,other,forced,held  =ALREADY_EXECUTING
          OPEN_APP  WAITING_FOR_INFO closed                              =JOB_CLOSED
          OPEN_APP  EXECUTED         plain,mine,group,other,forced,held  SUCCESS -> EXECUTED [HOLD_PLACED]
          OPEN_APP  EXECUTED         closed                              =JOB_CLOSED
          OPEN_APP  PAUSED           plain,mine,group,other,forced,held  SUCCESS -> PAUSED [HOLD_PLACED]
          OPEN_APP  PAUSED           closed                              =JOB_CLOSED
          OPEN_APP  CANCELLED        plain,mine,group,other,forced,held  SUCCESS -> CANCELLED [HOLD_PLACED]
          OPEN_APP  CANCELLED        closed                              =JOB_CLOSED
          OPEN_APP  FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          OPEN_APP  FINISHED         closed                              =JOB_CLOSED
          OPEN_APP  SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          OPEN_APP  SKIPPED          closed                              =JOB_CLOSED
          OPEN_APP  ERROR            plain,mine,group,other,forced,held  SUCCESS -> ERROR [HOLD_PLACED]
          OPEN_APP  ERROR            closed                              =JOB_CLOSED
          AUTOMATIC PENDING          plain,mine,group,other,forced,held  SUCCESS -> PENDING [HOLD_PLACED]
          AUTOMATIC PENDING          closed                              =JOB_CLOSED
          AUTOMATIC READY            plain,mine,group,other,forced,held  SUCCESS -> READY [HOLD_PLACED]
          AUTOMATIC READY            closed                              =JOB_CLOSED
          AUTOMATIC RUNNING          plain,mine,group,other,forced,held  =ALREADY_EXECUTING
          AUTOMATIC RUNNING          closed                              =JOB_CLOSED
          AUTOMATIC WAITING_FOR_INFO plain,mine,group,other,forced,held  =ALREADY_EXECUTING
          AUTOMATIC WAITING_FOR_INFO closed                              =JOB_CLOSED
          AUTOMATIC EXECUTED         plain,mine,group,other,forced,held  SUCCESS -> EXECUTED [HOLD_PLACED]
          AUTOMATIC EXECUTED         closed                              =JOB_CLOSED
          AUTOMATIC PAUSED           plain,mine,group,other,forced,held  SUCCESS -> PAUSED [HOLD_PLACED]
          AUTOMATIC PAUSED           closed                              =JOB_CLOSED
          AUTOMATIC CANCELLED        plain,mine,group,other,forced,held  SUCCESS -> CANCELLED [HOLD_PLACED]
          AUTOMATIC CANCELLED        closed                              =JOB_CLOSED
          AUTOMATIC FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          AUTOMATIC FINISHED         closed                              =JOB_CLOSED
          AUTOMATIC SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_CURRENT
          AUTOMATIC SKIPPED          closed                              =JOB_CLOSED
          AUTOMATIC ERROR            plain,mine,group,other,forced,held  SUCCESS -> ERROR [HOLD_PLACED]
          AUTOMATIC ERROR            closed                              =JOB_CLOSED
        RELEASE_HOLD
          MANUAL    PENDING          plain,mine,group,other,forced       =NOT_HELD
          MANUAL    PENDING          held                                SUCCESS -> PENDING [HOLD_RELEASED]
          MANUAL    PENDING          closed                              =JOB_CLOSED
          MANUAL    READY            plain,mine,group,other,forced       =NOT_HELD
          MANUAL    READY            held                                SUCCESS -> READY [HOLD_RELEASED]
          MANUAL    READY            closed                              =JOB_CLOSED
          MANUAL    RUNNING          plain,mine,group,other,forced       =NOT_HELD
          MANUAL    RUNNING          held                                SUCCESS -> RUNNING [HOLD_RELEASED]
          MANUAL    RUNNING          closed                              =JOB_CLOSED
          MANUAL    WAITING_FOR_INFO plain,mine,group,other,forced       =NOT_HELD
          MANUAL    WAITING_FOR_INFO held                                SUCCESS -> WAITING_FOR_INFO [HOLD_RELEASED]
          MANUAL    WAITING_FOR_INFO closed                              =JOB_CLOSED
          MANUAL    EXECUTED         plain,mine,group,other,forced       =NOT_HELD
          MANUAL    EXECUTED         held                                SUCCESS -> EXECUTED [HOLD_RELEASED]
          MANUAL    EXECUTED         closed                              =JOB_CLOSED
          MANUAL    PAUSED           plain,mine,group,other,forced       =NOT_HELD
          MANUAL    PAUSED           held                                SUCCESS -> PAUSED [HOLD_RELEASED]
          MANUAL    PAUSED           closed                              =JOB_CLOSED
          MANUAL    CANCELLED        plain,mine,group,other,forced       =NOT_HELD
          MANUAL    CANCELLED        held                                SUCCESS -> CANCELLED [HOLD_RELEASED]
          MANUAL    CANCELLED        closed                              =JOB_CLOSED
          MANUAL    FINISHED         plain,mine,group,other,forced       =NOT_HELD
          MANUAL    FINISHED         held                                SUCCESS -> FINISHED [HOLD_RELEASED]
          MANUAL    FINISHED         closed                              =JOB_CLOSED
          MANUAL    SKIPPED          plain,mine,group,other,forced       =NOT_HELD
          MANUAL    SKIPPED          held                                SUCCESS -> SKIPPED [HOLD_RELEASED]
          MANUAL    SKIPPED          closed                              =JOB_CLOSED
          MANUAL    ERROR            plain,mine,group,other,forced       =NOT_HELD
          MANUAL    ERROR            held                                SUCCESS -> ERROR [HOLD_RELEASED]
          MANUAL    ERROR            closed                              =JOB_CLOSED
          QUESTION  PENDING          plain,mine,group,other,forced       =NOT_HELD
          QUESTION  PENDING          held                                SUCCESS -> PENDING [HOLD_RELEASED]
          QUESTION  PENDING          closed                              =JOB_CLOSED
          QUESTION  READY            plain,mine,group,other,forced       =NOT_HELD
          QUESTION  READY            held                                SUCCESS -> READY [HOLD_RELEASED]
          QUESTION  READY            closed                              =JOB_CLOSED
          QUESTION  RUNNING          plain,mine,group,other,forced       =NOT_HELD
          QUESTION  RUNNING          held                                SUCCESS -> RUNNING [HOLD_RELEASED]
          QUESTION  RUNNING          closed                              =JOB_CLOSED
          QUESTION  WAITING_FOR_INFO plain,mine,group,other,forced       =NOT_HELD
          QUESTION  WAITING_FOR_INFO held                                SUCCESS -> WAITING_FOR_INFO [HOLD_RELEASED]
          QUESTION  WAITING_FOR_INFO closed                              =JOB_CLOSED
          QUESTION  EXECUTED         plain,mine,group,other,forced       =NOT_HELD
          QUESTION  EXECUTED         held                                SUCCESS -> EXECUTED [HOLD_RELEASED]
          QUESTION  EXECUTED         closed                              =JOB_CLOSED
          QUESTION  PAUSED           plain,mine,group,other,forced       =NOT_HELD
          QUESTION  PAUSED           held                                SUCCESS -> PAUSED [HOLD_RELEASED]
          QUESTION  PAUSED           closed                              =JOB_CLOSED
          QUESTION  CANCELLED        plain,mine,group,other,forced       =NOT_HELD
          QUESTION  CANCELLED        held                                SUCCESS -> CANCELLED [HOLD_RELEASED]
          QUESTION  CANCELLED        closed                              =JOB_CLOSED
          QUESTION  FINISHED         plain,mine,group,other,forced       =NOT_HELD
          QUESTION  FINISHED         held                                SUCCESS -> FINISHED [HOLD_RELEASED]
          QUESTION  FINISHED         closed                              =JOB_CLOSED
          QUESTION  SKIPPED          plain,mine,group,other,forced       =NOT_HELD
          QUESTION  SKIPPED          held                                SUCCESS -> SKIPPED [HOLD_RELEASED]
          QUESTION  SKIPPED          closed                              =JOB_CLOSED
          QUESTION  ERROR            plain,mine,group,other,forced       =NOT_HELD
          QUESTION  ERROR            held                                SUCCESS -> ERROR [HOLD_RELEASED]
          QUESTION  ERROR            closed                              =JOB_CLOSED
          OPEN_APP  PENDING          plain,mine,group,other,forced       =NOT_HELD
          OPEN_APP  PENDING          held                                SUCCESS -> PENDING [HOLD_RELEASED]
          OPEN_APP  PENDING          closed                              =JOB_CLOSED
          OPEN_APP  READY            plain,mine,group,other,forced       =NOT_HELD
          OPEN_APP  READY            held                                SUCCESS -> READY [HOLD_RELEASED]
          OPEN_APP  READY            closed                              =JOB_CLOSED
          OPEN_APP  RUNNING          plain,mine,group,other,forced       =NOT_HELD
          OPEN_APP  RUNNING          held                                SUCCESS -> RUNNING [HOLD_RELEASED]
          OPEN_APP  RUNNING          closed                              =JOB_CLOSED
          OPEN_APP  WAITING_FOR_INFO plain,mine,group,other,forced       =NOT_HELD
          OPEN_APP  WAITING_FOR_INFO held                                SUCCESS -> WAITING_FOR_INFO [HOLD_RELEASED]
          OPEN_APP  WAITING_FOR_INFO closed                              =JOB_CLOSED
          OPEN_APP  EXECUTED         plain,mine,group,other,forced       =NOT_HELD
          OPEN_APP  EXECUTED         held                                SUCCESS -> EXECUTED [HOLD_RELEASED]
          OPEN_APP  EXECUTED         closed                              =JOB_CLOSED
          OPEN_APP  PAUSED           plain,mine,group,other,forced       =NOT_HELD
          OPEN_APP  PAUSED           held                                SUCCESS -> PAUSED [HOLD_RELEASED]
          OPEN_APP  PAUSED           closed                              =JOB_CLOSED
          OPEN_APP  CANCELLED        plain,mine,group,other,forced       =NOT_HELD
          OPEN_APP  CANCELLED        held                                SUCCESS -> CANCELLED [HOLD_RELEASED]
          OPEN_APP  CANCELLED        closed                              =JOB_CLOSED
          OPEN_APP  FINISHED         plain,mine,group,other,forced       =NOT_HELD
          OPEN_APP  FINISHED         held                                SUCCESS -> FINISHED [HOLD_RELEASED]
          OPEN_APP  FINISHED         closed                              =JOB_CLOSED
          OPEN_APP  SKIPPED          plain,mine,group,other,forced       =NOT_HELD
          OPEN_APP  SKIPPED          held                                SUCCESS -> SKIPPED [HOLD_RELEASED]
          OPEN_APP  SKIPPED          closed                              =JOB_CLOSED
          OPEN_APP  ERROR            plain,mine,group,other,forced       =NOT_HELD
          OPEN_APP  ERROR            held                                SUCCESS -> ERROR [HOLD_RELEASED]
          OPEN_APP  ERROR            closed                              =JOB_CLOSED
          AUTOMATIC PENDING          plain,mine,group,other,forced       =NOT_HELD
          AUTOMATIC PENDING          held                                SUCCESS -> PENDING [HOLD_RELEASED]
          AUTOMATIC PENDING          closed                              =JOB_CLOSED
          AUTOMATIC READY            plain,mine,group,other,forced       =NOT_HELD
          AUTOMATIC READY            held                                SUCCESS -> READY [HOLD_RELEASED]
          AUTOMATIC READY            closed                              =JOB_CLOSED
          AUTOMATIC RUNNING          plain,mine,group,other,forced       =NOT_HELD
          AUTOMATIC RUNNING          held                                SUCCESS -> RUNNING [HOLD_RELEASED]
          AUTOMATIC RUNNING          closed                              =JOB_CLOSED
          AUTOMATIC WAITING_FOR_INFO plain,mine,group,other,forced       =NOT_HELD
          AUTOMATIC WAITING_FOR_INFO held                                SUCCESS -> WAITING_FOR_INFO [HOLD_RELEASED]
          AUTOMATIC WAITING_FOR_INFO closed                              =JOB_CLOSED
          AUTOMATIC EXECUTED         plain,mine,group,other,forced       =NOT_HELD
          AUTOMATIC EXECUTED         held                                SUCCESS -> EXECUTED [HOLD_RELEASED]
          AUTOMATIC EXECUTED         closed                              =JOB_CLOSED
          AUTOMATIC PAUSED           plain,mine,group,other,forced       =NOT_HELD
          AUTOMATIC PAUSED           held                                SUCCESS -> PAUSED [HOLD_RELEASED]
          AUTOMATIC PAUSED           closed                              =JOB_CLOSED
          AUTOMATIC CANCELLED        plain,mine,group,other,forced       =NOT_HELD
          AUTOMATIC CANCELLED        held                                SUCCESS -> CANCELLED [HOLD_RELEASED]
          AUTOMATIC CANCELLED        closed                              =JOB_CLOSED
          AUTOMATIC FINISHED         plain,mine,group,other,forced       =NOT_HELD
          AUTOMATIC FINISHED         held                                SUCCESS -> FINISHED [HOLD_RELEASED]
          AUTOMATIC FINISHED         closed                              =JOB_CLOSED
          AUTOMATIC SKIPPED          plain,mine,group,other,forced       =NOT_HELD
          AUTOMATIC SKIPPED          held                                SUCCESS -> SKIPPED [HOLD_RELEASED]
          AUTOMATIC SKIPPED          closed                              =JOB_CLOSED
          AUTOMATIC ERROR            plain,mine,group,other,forced       =NOT_HELD
          AUTOMATIC ERROR            held                                SUCCESS -> ERROR [HOLD_RELEASED]
          AUTOMATIC ERROR            closed                              =JOB_CLOSED
        REFRESH_STATUS
          MANUAL    PENDING          plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          MANUAL    PENDING          closed                              =JOB_CLOSED
          MANUAL    READY            plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          MANUAL    READY            closed                              =JOB_CLOSED
          MANUAL    RUNNING          plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          MANUAL    RUNNING          closed                              =JOB_CLOSED
          MANUAL    WAITING_FOR_INFO plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          MANUAL    WAITING_FOR_INFO closed                              =JOB_CLOSED
          MANUAL    EXECUTED         plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          MANUAL    EXECUTED         closed                              =JOB_CLOSED
          MANUAL    PAUSED           plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          MANUAL    PAUSED           closed                              =JOB_CLOSED
          MANUAL    CANCELLED        plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          MANUAL    CANCELLED        closed                              =JOB_CLOSED
          MANUAL    FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          MANUAL    FINISHED         closed                              =JOB_CLOSED
          MANUAL    SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          MANUAL    SKIPPED          closed                              =JOB_CLOSED
          MANUAL    ERROR            plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          MANUAL    ERROR            closed                              =JOB_CLOSED
          QUESTION  PENDING          plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          QUESTION  PENDING          closed                              =JOB_CLOSED
          QUESTION  READY            plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          QUESTION  READY            closed                              =JOB_CLOSED
          QUESTION  RUNNING          plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          QUESTION  RUNNING          closed                              =JOB_CLOSED
          QUESTION  WAITING_FOR_INFO plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          QUESTION  WAITING_FOR_INFO closed                              =JOB_CLOSED
          QUESTION  EXECUTED         plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          QUESTION  EXECUTED         closed                              =JOB_CLOSED
          QUESTION  PAUSED           plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          QUESTION  PAUSED           closed                              =JOB_CLOSED
          QUESTION  CANCELLED        plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          QUESTION  CANCELLED        closed                              =JOB_CLOSED
          QUESTION  FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          QUESTION  FINISHED         closed                              =JOB_CLOSED
          QUESTION  SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          QUESTION  SKIPPED          closed                              =JOB_CLOSED
          QUESTION  ERROR            plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          QUESTION  ERROR            closed                              =JOB_CLOSED
          OPEN_APP  PENDING          plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          OPEN_APP  PENDING          closed                              =JOB_CLOSED
          OPEN_APP  READY            plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          OPEN_APP  READY            closed                              =JOB_CLOSED
          OPEN_APP  RUNNING          plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          OPEN_APP  RUNNING          closed                              =JOB_CLOSED
          OPEN_APP  WAITING_FOR_INFO plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          OPEN_APP  WAITING_FOR_INFO closed                              =JOB_CLOSED
          OPEN_APP  EXECUTED         plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          OPEN_APP  EXECUTED         closed                              =JOB_CLOSED
          OPEN_APP  PAUSED           plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          OPEN_APP  PAUSED           closed                              =JOB_CLOSED
          OPEN_APP  CANCELLED        plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          OPEN_APP  CANCELLED        closed                              =JOB_CLOSED
          OPEN_APP  FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          OPEN_APP  FINISHED         closed                              =JOB_CLOSED
          OPEN_APP  SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          OPEN_APP  SKIPPED          closed                              =JOB_CLOSED
          OPEN_APP  ERROR            plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          OPEN_APP  ERROR            closed                              =JOB_CLOSED
          AUTOMATIC PENDING          plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          AUTOMATIC PENDING          closed                              =JOB_CLOSED
          AUTOMATIC READY            plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          AUTOMATIC READY            closed                              =JOB_CLOSED
          AUTOMATIC RUNNING          plain,mine,group,other,forced,held  =SUCCESS
          AUTOMATIC RUNNING          closed                              =JOB_CLOSED
          AUTOMATIC WAITING_FOR_INFO plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          AUTOMATIC WAITING_FOR_INFO closed                              =JOB_CLOSED
          AUTOMATIC EXECUTED         plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          AUTOMATIC EXECUTED         closed                              =JOB_CLOSED
          AUTOMATIC PAUSED           plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          AUTOMATIC PAUSED           closed                              =JOB_CLOSED
          AUTOMATIC CANCELLED        plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          AUTOMATIC CANCELLED        closed                              =JOB_CLOSED
          AUTOMATIC FINISHED         plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          AUTOMATIC FINISHED         closed                              =JOB_CLOSED
          AUTOMATIC SKIPPED          plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          AUTOMATIC SKIPPED          closed                              =JOB_CLOSED
          AUTOMATIC ERROR            plain,mine,group,other,forced,held  =STEP_NOT_AUTO
          AUTOMATIC ERROR            closed                              =JOB_CLOSED
    "#]].assert_eq(&table);
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
            FINISH MANUAL PAUSED stuck
            FINISH QUESTION RUNNING answer+stuck
            FINISH QUESTION WAITING_FOR_INFO answer+stuck
            FINISH QUESTION PAUSED answer+stuck
            FINISH OPEN_APP RUNNING stuck
            FINISH OPEN_APP WAITING_FOR_INFO answer+stuck
            FINISH OPEN_APP PAUSED stuck
            FINISH AUTOMATIC WAITING_FOR_INFO answer+stuck
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
            FINISH QUESTION EXECUTED answer+stuck
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
