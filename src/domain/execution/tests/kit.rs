//! What executors say, in the making; jobs that they say it of; and what must hold of every answer they get.

use std::{collections::BTreeSet, sync::Arc};

use expect_test::Expect;
use json_patch::PatchOperation;
use prost_types::{Struct, Value, value::Kind};
use serde_json::json;

use super::super::{InstanceState, Place, Report, ReportTask, ReportWorkflow};
use crate::{
    domain::{
        AbortJob, CloseJob, Context, CreateJob, CreateTask, Decision, Definition, Existing, JobState, Limits,
        NewIds, PerformJobAction, Rejection, ReopenJob, ReviewTask, Sync, UpdateTask,
        fixtures::{JOB_1, at, check_events, context, event_words, status_word},
    },
    proto::{
        Document,
        storage::v1::SyncHeader,
        v1::{
            CompletionStatus, ExecutionStatus, Job, JobActionType, JobEvent, JobStatus, Path, ReportOutcome,
            Reporter, SequenceRange, Step, StepDefinition, StepKind, SyncMetadata, TaskStatus, Workflow,
            WorkflowAttempt, WorkflowReference,
        },
    },
};

/// A report in the making: by default of the first attempt at the instance `i`, by `exe`, with data that names it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::domain) struct Says {
    about: About,
    place: Place,
    report: Report,
}

#[derive(Clone, Debug, PartialEq)]
enum About {
    Task { task_id: String, sequence_id: i64, state_name: String, completion_status: CompletionStatus },
    Workflow { code: String, close_job: bool },
}

pub(in crate::domain) fn data(text: &str) -> Document {
    Struct { fields: [("from".to_owned(), Value::from(text))].into() }.into()
}

pub(in crate::domain) fn reporter(id: &str) -> Reporter {
    let text = |text: &str| Some(text.to_owned());
    Reporter { id: text(id), name: text(&id.to_uppercase()), app_id: text("app") }
}

impl Says {
    fn new(about: About, status: ExecutionStatus, seconds: i64) -> Self {
        let letter = if status == ExecutionStatus::Started { 'S' } else { 'C' };
        let place = Place {
            workflow_instance_id: "i".to_owned(),
            attempt_id: 1,
            dispatch_id: "dispatch-1".to_owned(),
        };
        let report = Report {
            status,
            time: at(seconds),
            data: data(&format!("{letter}{seconds}")),
            meta: Document::default(),
            updated_by: reporter("exe"),
            event_meta: None,
        };
        Self { about, place, report }
    }

    /// A task's place in the attempt follows from its name: `a` is the first.
    fn of_task(task_id: &str, status: ExecutionStatus, seconds: i64) -> Self {
        let completion_status = match status {
            ExecutionStatus::Closed => CompletionStatus::Success,
            _ => CompletionStatus::Unspecified,
        };
        let about = About::Task {
            task_id: task_id.to_owned(),
            sequence_id: task_id.bytes().next().map_or(0, |letter| i64::from(letter) - i64::from(b'a')),
            state_name: task_id.to_uppercase(),
            completion_status,
        };
        Self::new(about, status, seconds)
    }

    pub(in crate::domain) fn by(mut self, id: &str) -> Self {
        self.report.updated_by = reporter(id);
        self
    }

    pub(in crate::domain) fn reporter(mut self, change: impl FnOnce(&mut Reporter)) -> Self {
        change(&mut self.report.updated_by);
        self
    }

    pub(in crate::domain) fn report(mut self, change: impl FnOnce(&mut Report)) -> Self {
        change(&mut self.report);
        self
    }

    /// Another attempt has another dispatch.
    pub(in crate::domain) fn attempt(mut self, attempt_id: i64) -> Self {
        self.place.attempt_id = attempt_id;
        self.dispatch(&format!("dispatch-{attempt_id}"))
    }

    pub(in crate::domain) fn instance(mut self, id: &str) -> Self {
        id.clone_into(&mut self.place.workflow_instance_id);
        self
    }

    pub(in crate::domain) fn dispatch(mut self, id: &str) -> Self {
        id.clone_into(&mut self.place.dispatch_id);
        self
    }

    pub(in crate::domain) fn gives(mut self, given: Document) -> Self {
        self.report.data = given;
        self
    }

    pub(in crate::domain) fn nothing(self) -> Self {
        self.gives(Document::default())
    }

    pub(in crate::domain) fn sequence(mut self, number: i64) -> Self {
        if let About::Task { sequence_id, .. } = &mut self.about {
            *sequence_id = number;
        }
        self
    }

    pub(in crate::domain) fn state(mut self, name: &str) -> Self {
        if let About::Task { state_name, .. } = &mut self.about {
            name.clone_into(state_name);
        }
        self
    }

    pub(in crate::domain) fn ended(mut self, status: CompletionStatus) -> Self {
        if let About::Task { completion_status, .. } = &mut self.about {
            *completion_status = status;
        }
        self
    }

    pub(in crate::domain) fn code(mut self, text: &str) -> Self {
        if let About::Workflow { code, .. } = &mut self.about {
            text.clone_into(code);
        }
        self
    }

    pub(in crate::domain) fn close_job(mut self) -> Self {
        if let About::Workflow { close_job, .. } = &mut self.about {
            *close_job = true;
        }
        self
    }

    pub(in crate::domain) fn place(&self) -> &Place {
        &self.place
    }

    /// The ids that the task can have; `None`: it is about the workflow.
    fn task_ids(&self) -> Option<[String; 2]> {
        match &self.about {
            About::Task { task_id, .. } => Some([task_id.clone(), derived_id(&self.place, task_id)]),
            About::Workflow { .. } => None,
        }
    }

    fn closes(&self) -> bool {
        matches!(self.about, About::Workflow { .. }) && self.report.status == ExecutionStatus::Closed
    }

    /// Whether it is to end the job.
    pub(in crate::domain) fn closes_job(&self) -> bool {
        self.closes() && matches!(self.about, About::Workflow { close_job: true, .. })
    }

    /// What comes of it, whatever it is about.
    fn decide(&self, existing: Existing, context: &Context) -> Result<Decision<Answer>, Rejection> {
        let (place, report) = (self.place.clone(), self.report.clone());
        let job_id = JOB_1.to_owned();
        match self.about.clone() {
            About::Task { task_id, sequence_id, state_name, completion_status } => {
                let derived_id = derived_id(&self.place, &task_id);
                let command = ReportTask {
                    job_id,
                    place,
                    task_id,
                    derived_id,
                    sequence_id,
                    state_name,
                    report,
                    completion_status,
                };
                let decision = command.decide(existing, context)?;
                let reply = decision.reply.clone();
                assert_eq!(reply.revision, decision.state.job.revision);
                let task = reply.task.as_ref().expect("a report of a task is answered with it");
                assert_eq!(decision.state.tasks.get(&task.id), Some(task), "as it is afterwards");
                Ok(with_reply(
                    decision,
                    Answer {
                        outcome: reply.outcome(),
                        terminated: Vec::new(),
                        missing: (reply.missing_sequences, reply.missing_sequence_count),
                    },
                ))
            }
            About::Workflow { code, close_job } => {
                let command = ReportWorkflow { job_id, place, report, code, close_job };
                let decision = command.decide(existing, context)?;
                let reply = decision.reply.clone();
                assert_eq!(reply.revision, decision.state.job.revision);
                let instance =
                    reply.workflow_instance.as_ref().expect("a report is answered with the instance");
                let [told] = instance.attempts.as_slice() else { panic!("one attempt is told of") };
                let known = &decision.state.instances[&self.place.workflow_instance_id];
                let told = told.clone();
                let missing = (told.missing_sequences.clone(), told.missing_sequence_count);
                let unset =
                    WorkflowAttempt { missing_sequences: Vec::new(), missing_sequence_count: 0, ..told };
                assert_eq!(known.attempts.get(&self.place.attempt_id), Some(&unset), "as it is afterwards");
                let terminated = reply.terminated_task_ids.clone();
                Ok(with_reply(decision, Answer { outcome: reply.outcome(), terminated, missing }))
            }
        }
    }
}

fn with_reply<R, S>(decision: Decision<R>, reply: S) -> Decision<S> {
    let Decision { events, sync, reply: _, state } = decision;
    Decision { events, sync, reply, state }
}

/// What both replies have.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::domain) struct Answer {
    pub(in crate::domain) outcome: ReportOutcome,
    pub(in crate::domain) terminated: Vec<String>,
    pub(in crate::domain) missing: (Vec<SequenceRange>, i64),
}

pub(in crate::domain) fn started(task_id: &str, seconds: i64) -> Says {
    Says::of_task(task_id, ExecutionStatus::Started, seconds)
}

pub(in crate::domain) fn closed(task_id: &str, seconds: i64) -> Says {
    Says::of_task(task_id, ExecutionStatus::Closed, seconds)
}

fn of_workflow(status: ExecutionStatus, seconds: i64) -> Says {
    Says::new(About::Workflow { code: "done".to_owned(), close_job: false }, status, seconds)
}

pub(in crate::domain) fn workflow_started(seconds: i64) -> Says {
    of_workflow(ExecutionStatus::Started, seconds)
}

pub(in crate::domain) fn workflow_closed(seconds: i64) -> Says {
    of_workflow(ExecutionStatus::Closed, seconds)
}

/// The id that follows from a task's name, as the engine's does; this one can be read back, where the name is short.
pub(super) fn derived_id(place: &Place, task_id: &str) -> String {
    let name = format!("{}/{}/{task_id}", place.workflow_instance_id, place.attempt_id);
    // A task that is reported by an id of ours needs none.
    let number = name.bytes().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(byte));
    NewIds { partition: 0, unique: number }.task_id()
}

/// The name of a task that an executor named, with the attempt, and the instance where that is another than `i`.
fn name_of(id: &str) -> Option<String> {
    let digits = id.strip_prefix("task_0000_")?;
    let bytes: Option<Vec<u8>> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect();
    let name = String::from_utf8(bytes?).ok()?.trim_start_matches('\0').to_owned();
    let is_name = name.contains('/');
    is_name.then(|| name.strip_prefix("i/").unwrap_or(&name).to_owned())
}

/// Decides as the engine does, and checks what must hold of every decision on a report: its events rebuild its state, it
/// does not depend on what the engine does not load, it leaves no attempt in disorder, and its repeat changes nothing.
#[track_caller]
pub(in crate::domain) fn decide(
    existing: &Existing,
    says: &Says,
    context: &Context,
) -> Result<Decision<Answer>, Rejection> {
    let decision = says.decide(existing.clone(), context);
    let (loaded, context_loaded) = loaded(existing, says, context);
    let of_loaded = says.decide(loaded, &context_loaded);
    let comparable = |decision: &Result<Decision<Answer>, Rejection>| match decision {
        Ok(decision) => Ok((decision.events.clone(), decision.reply.clone(), decision.state.counts)),
        Err(rejection) => Err(rejection.clone()),
    };
    assert_eq!(
        comparable(&decision),
        comparable(&of_loaded),
        "what the engine does not load makes no difference"
    );
    let decision = decision?;
    check_events(existing, &decision, context);
    if let Existing::Job(before) = existing {
        check_executions(before, &decision.state);
    }
    let is_unchanged = decision.reply.outcome == ReportOutcome::Unchanged;
    assert_eq!(is_unchanged, decision.events.is_empty(), "what changes nothing is said to");

    let after = Existing::Job(Box::new(decision.state.clone()));
    let repeated = says.decide(after, context).expect("what was taken once is taken again");
    assert_eq!((repeated.reply.outcome, repeated.events.len()), (ReportOutcome::Unchanged, 0), "a repeat");
    assert_eq!(repeated.state, decision.state);
    Ok(decision)
}

/// The job with no more of it than the engine loads, written down once more; and the definition only where there are steps.
fn loaded(existing: &Existing, says: &Says, context: &Context) -> (Existing, Context) {
    let Existing::Job(all) = existing else { return (existing.clone(), context.clone()) };
    let place = says.place();
    let mut some = JobState { job: all.job.clone(), counts: all.counts, ..JobState::default() };
    let mut newest = None;
    if let Some(instance) = all.instances.get(&place.workflow_instance_id) {
        newest = instance.newest().map(|newest| (newest.attempt_id, newest.status()));
        let mut instance = instance.clone();
        let newest_id = newest.map(|(newest_id, _)| newest_id);
        instance.attempts.retain(|id, _| Some(*id) == newest_id || *id == place.attempt_id);
        some.instances.insert(place.workflow_instance_id.clone(), instance);
    }
    let opens = newest.is_some_and(|(newest_id, _)| newest_id < place.attempt_id);
    let is_known = newest.is_some_and(|(newest_id, status)| {
        newest_id > place.attempt_id || newest_id == place.attempt_id && status == ExecutionStatus::Closed
    });
    let (closes, closes_job) = (says.closes() && !is_known, says.closes_job() && !is_known);
    for task in all.tasks.values() {
        let execution = task.execution.as_ref();
        let is_of_instance =
            execution.is_some_and(|of| of.workflow_instance_id == place.workflow_instance_id);
        let is_of = |attempt_id| is_of_instance && execution.is_some_and(|of| of.attempt_id == attempt_id);
        let is_left = opens && task.is_open() && newest.is_some_and(|(newest_id, _)| is_of(newest_id));
        let ends = closes && is_of(place.attempt_id) || closes_job && task.is_open();
        let is_named = says.task_ids().is_some_and(|ids| ids.contains(&task.id));
        if is_named || is_left || ends {
            some.tasks.insert(task.id.clone(), task.clone());
        }
    }
    let mut context = context.clone();
    if says.closes() || some.tasks.values().any(|task| !task.step_id.is_empty()) {
        some.steps = all.steps.clone();
        some.holds = all
            .holds
            .iter()
            .filter(|(_, hold)| hold.is_standing())
            .map(|(id, hold)| (id.clone(), hold.clone()))
            .collect();
        let linked: BTreeSet<&String> = all.steps.values().map(|step| &step.task_id).collect();
        let linked = all.tasks.iter().filter(|(id, _)| linked.contains(id));
        some.tasks.extend(linked.map(|(id, task)| (id.clone(), task.clone())));
    }
    if some.steps.is_empty() {
        context.workflow = None;
    }
    (Existing::Job(Box::new(some)), context)
}

/// What must hold of a job's executions, whatever was reported.
#[track_caller]
pub(in crate::domain) fn check_executions(before: &JobState, after: &JobState) {
    let attempts: usize = after.instances.values().map(|instance| instance.attempts.len()).sum();
    assert_eq!(after.counts.attempts, attempts as u64, "the attempts are counted");
    assert_eq!(after.counts.tasks, after.tasks.len() as u64, "the tasks are counted");
    for (id, instance) in &after.instances {
        assert_eq!(*id, instance.instance.workflow_instance_id);
        assert_eq!(instance.instance.attempt_count, i64::try_from(instance.attempts.len()).unwrap());
        assert_eq!(instance.instance.attempts, vec![], "they are kept beside it");
        check_newest(id, instance, after);
        for attempt in instance.attempts.values() {
            check_attempt(id, attempt, before, after);
        }
    }
    for task in after.tasks.values() {
        let Some(execution) = &task.execution else { continue };
        let instance = &after.instances[&execution.workflow_instance_id];
        let attempt = &instance.attempts[&execution.attempt_id];
        assert_eq!(attempt.dispatch_id, execution.dispatch_id);
        let may_be_open = instance.is_newest(execution.attempt_id) || !task.step_id.is_empty();
        assert!(!task.is_open() || may_be_open, "a newer attempt has ended it: {task:?}");
        let is_closed = execution.status() == ExecutionStatus::Closed;
        let has_end = execution.completion_status() != CompletionStatus::Unspecified;
        assert_eq!(is_closed, has_end, "a closed task says how it ended: {task:?}");
        assert!(!is_closed || !task.is_open(), "a closed task has ended: {task:?}");
        assert!(
            execution.started_by.is_none() || task.launched.is_some(),
            "who claimed it said when: {task:?}"
        );
        assert_eq!(task.is_open(), task.completed.is_none());
    }
}

fn tasks_of<'s>(
    instance_id: &str,
    attempt_id: i64,
    state: &'s JobState,
) -> impl Iterator<Item = &'s TaskStatus> {
    state.tasks.values().filter(move |task| {
        task.execution.as_ref().is_some_and(|execution| {
            execution.workflow_instance_id == instance_id && execution.attempt_id == attempt_id
        })
    })
}

/// The sequence ids of the newest attempt are those of its tasks, each once.
fn check_newest(id: &str, instance: &InstanceState, state: &JobState) {
    let newest = instance.newest().expect("an instance has an attempt").attempt_id;
    let numbers = tasks_of(id, newest, state).filter_map(|task| task.execution.as_ref());
    let mut numbers: Vec<i64> = numbers.map(|execution| execution.sequence_id).collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|two| two[0] < two[1]), "each has a sequence id of its own: {numbers:?}");
    assert_eq!(instance.seen, numbers.into_iter().collect(), "those that are seen are those of the tasks");
}

/// What was reported of an attempt before it closed is over, and nothing new begins in it.
fn check_attempt(id: &str, attempt: &WorkflowAttempt, before: &JobState, after: &JobState) {
    let is_closed = attempt.status() == ExecutionStatus::Closed;
    assert_eq!(is_closed, attempt.completed.is_some());
    assert!(is_closed || !attempt.close_job && !attempt.collated && attempt.code.is_none());
    let known = before.instances.get(id).and_then(|instance| instance.attempts.get(&attempt.attempt_id));
    let was_closed = known.is_some_and(|attempt| attempt.status() == ExecutionStatus::Closed);
    let open = tasks_of(id, attempt.attempt_id, after).filter(|task| task.is_open());
    for task in open.filter(|_| is_closed) {
        let was_elsewhere = was_closed && before.tasks.contains_key(&task.id);
        assert!(was_elsewhere, "it is open, and its attempt is closed: {task:?}");
    }
}

/// What happens to the job of a story.
pub(super) enum Happens {
    Says(Says),
    Run,
    /// Of the step's work.
    RunUntil(i64),
    Stop,
    Close,
    Abort,
    Reopen,
    Synced(JobStatus),
    CreateTask(&'static str, Option<i64>),
    /// A patch ends the task so.
    Patch(&'static str, &'static str),
    /// A report of the task that has this name in the text: `<auto>` is that of the step `auto`.
    OfTask(&'static str, Says),
    /// The clock goes on so far, and what is overdue is ended.
    Overdue(&'static str, i64),
}

impl From<Says> for Happens {
    fn from(says: Says) -> Self {
        Self::Says(says)
    }
}

/// A job's life, told line by line.
#[derive(Clone)]
pub(super) struct Story {
    existing: Existing,
    now: i64,
    limits: Limits,
    definition: Option<Arc<Definition>>,
}

/// A workflow whose AUTOMATIC step `auto` leads on to `next`.
pub(super) fn automatic() -> Arc<Definition> {
    let path = Path { next_step_id: "next".to_owned(), ..Path::default() };
    let auto = StepDefinition {
        step_id: "auto".to_owned(),
        kind: StepKind::Automatic.into(),
        proceed_to_next: true,
        paths: vec![path],
        ..StepDefinition::default()
    };
    let next = StepDefinition { step_id: "next".to_owned(), ..StepDefinition::default() };
    Arc::new(Definition::new(Workflow {
        workflow_id: "workflow".to_owned(),
        version_id: "1".to_owned(),
        start_step_ids: vec!["auto".to_owned()],
        steps: vec![auto, next],
        ..Workflow::default()
    }))
}

impl Story {
    /// Of a job without steps that has not begun.
    pub(super) fn bare() -> Self {
        Self::of(None)
    }

    /// Of a job whose AUTOMATIC step is READY.
    pub(super) fn automatic() -> Self {
        Self::of(Some(automatic()))
    }

    pub(super) fn of(definition: Option<Arc<Definition>>) -> Self {
        let (existing, limits) = (Existing::Nothing, Limits::DEFAULT);
        let mut story = Self { existing, now: 100, limits, definition };
        let workflow_id = "workflow".to_owned();
        let workflow = story
            .definition
            .is_some()
            .then(|| WorkflowReference { workflow_id, ..WorkflowReference::default() });
        let job = Job { workflow, client_job_id: "client".to_owned(), ..Job::default() };
        let context = story.context();
        let context = Context { new_ids: NewIds { partition: 0, unique: 1 }, ..context };
        let decision = CreateJob { job_id: None, job }.decide(Existing::Nothing, &context).unwrap();
        story.existing = Existing::Job(Box::new(decision.state));
        story
    }

    /// The same, of a job that may hold so much.
    pub(super) fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    fn context(&mut self) -> Context {
        self.now += 1;
        let new_ids = NewIds { partition: 0, unique: self.now.unsigned_abs().into() };
        Context { limits: self.limits, workflow: self.definition.clone(), new_ids, ..context(self.now) }
    }

    pub(super) fn job(&self) -> &JobState {
        match &self.existing {
            Existing::Job(state) => state,
            Existing::Nothing | Existing::Deleted { .. } => panic!("there is no job"),
        }
    }

    /// The id of the task of that name.
    fn task_id(&self, name: &str) -> String {
        let task = self.job().tasks.values().rfind(|task| task_name(task) == name);
        task.unwrap_or_else(|| panic!("no task {name}")).id.clone()
    }

    #[track_caller]
    fn follow<R>(&mut self, context: &Context, decision: Result<Decision<R>, Rejection>) -> String {
        let decision = decision.expect("the story goes on");
        check_events(&self.existing, &decision, context);
        let line = event_words(&decision.events);
        self.existing = Existing::Job(Box::new(decision.state));
        line
    }

    #[track_caller]
    pub(super) fn says(&mut self, says: &Says) -> (String, Vec<JobEvent>) {
        let context = self.context();
        let decision = match decide(&self.existing, says, &context) {
            Err(rejection) => return (format!("! {}", refusal_words(&rejection, self.job())), Vec::new()),
            Ok(decision) => decision,
        };
        let Answer { outcome, terminated, missing: (ranges, count) } = &decision.reply;
        let outcome = outcome.as_str_name().trim_start_matches("REPORT_OUTCOME_");
        let mut line = format!("{outcome:<14}{}", event_words(&decision.events));
        if !terminated.is_empty() {
            let names = terminated.iter().map(|id| task_name(&decision.state.tasks[id]));
            line.push_str(&format!("; terminated {}", names.collect::<Vec<_>>().join(" ")));
        }
        if *count > 0 {
            let ranges = ranges.iter().map(|range| format!("{}..{}", range.first, range.last));
            line.push_str(&format!("; {count} missing: {}", ranges.collect::<Vec<_>>().join(" ")));
        }
        self.existing = Existing::Job(Box::new(decision.state));
        (line, decision.events)
    }

    #[track_caller]
    fn act(&mut self, action: JobActionType, deadline: Option<i64>) -> String {
        let (existing, context) = (self.existing.clone(), self.context());
        let command = PerformJobAction {
            job_id: JOB_1.to_owned(),
            action,
            task_deadline: deadline.map(at),
            ..PerformJobAction::default()
        };
        self.follow(&context, command.decide(existing, &context))
    }

    #[track_caller]
    pub(super) fn happens(&mut self, happens: Happens) -> String {
        let (job_id, etag) = (JOB_1.to_owned(), None);
        let existing = self.existing.clone();
        match happens {
            Happens::Says(says) => self.says(&says).0,
            Happens::OfTask(name, says) => {
                let id = self.task_id(name);
                self.says(&of_task(&says, &id)).0
            }
            Happens::Run => self.act(JobActionType::Run, None),
            Happens::RunUntil(deadline) => self.act(JobActionType::Run, Some(deadline)),
            Happens::Stop => self.act(JobActionType::Stop, None),
            Happens::Close => {
                let context = self.context();
                self.follow(&context, CloseJob { job_id, etag }.decide(existing, &context))
            }
            Happens::Abort => {
                let context = self.context();
                self.follow(&context, AbortJob { job_id, reason: None, etag }.decide(existing, &context))
            }
            Happens::Reopen => {
                let context = self.context();
                let step_ids = Vec::new();
                self.follow(&context, ReopenJob { job_id, step_ids, etag }.decide(existing, &context))
            }
            Happens::Synced(status) => {
                let context = self.context();
                let metadata = SyncMetadata {
                    client_job_id: Some("client".to_owned()),
                    workflow_id: Some("workflow".to_owned()),
                    updated: Some(at(self.now)),
                    ..SyncMetadata::default()
                };
                let header = SyncHeader { metadata: Some(metadata), ..SyncHeader::default() };
                let sync = Sync::new(header, status, Vec::new());
                self.follow(&context, sync.decide(existing, &context))
            }
            Happens::CreateTask(name, launched) => {
                let context = self.context();
                let launched = launched.map(at);
                let task =
                    TaskStatus { unique_name: Some(name.to_owned()), launched, ..TaskStatus::default() };
                self.follow(&context, CreateTask { job_id, task }.decide(existing, &context))
            }
            Happens::Patch(name, word) => {
                let context = self.context();
                let operations = json!([{"op": "replace", "path": "/completionStatus", "value": word}]);
                let operations: Vec<PatchOperation> = serde_json::from_value(operations).unwrap();
                let command = UpdateTask { task_id: self.task_id(name), operations, etag: None };
                self.follow(&context, command.decide(existing, &context))
            }
            Happens::Overdue(name, seconds) => {
                self.now += seconds;
                let context = self.context();
                self.follow(&context, ReviewTask { task_id: self.task_id(name) }.decide(existing, &context))
            }
        }
    }

    /// Everything there is to see, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let state = self.job();
        let job = &state.job;
        let code = job.objective_code.as_ref().map(|code| format!(" code={code:?}")).unwrap_or_default();
        let head = format!("job {}{}{code}", status_word(job.status()), if job.closed { "!" } else { "" });
        let steps = state.steps.values().map(step_words);
        let head = std::iter::once(head).chain(steps).collect::<Vec<_>>().join(" ");
        let attempts = state.instances.values().flat_map(|instance| {
            let id = &instance.instance.workflow_instance_id;
            instance.attempts.values().map(move |attempt| attempt_words(id, attempt))
        });
        let mut tasks: Vec<String> = state.tasks.values().map(task_words).collect();
        tasks.sort();
        std::iter::once(head).chain(attempts).chain(tasks).collect()
    }
}

/// The same said of a task by an id that it has here.
pub(in crate::domain) fn of_task(says: &Says, id: &str) -> Says {
    let mut says = says.clone();
    if let About::Task { task_id, .. } = &mut says.about {
        id.clone_into(task_id);
    }
    says
}

/// Tells a story: for each thing that happens what came of it, and what is otherwise since.
#[track_caller]
pub(super) fn check(
    mut story: Story,
    happenings: impl IntoIterator<Item = (&'static str, Happens)>,
    expected: Expect,
) {
    let (mut text, mut known) = (String::new(), story.lines());
    for (name, happens) in happenings {
        let line = story.happens(happens);
        text.push_str(&format!("{name}: {}\n", line.trim_end()));
        let lines = story.lines();
        for line in lines.iter().filter(|line| !known.contains(line)) {
            text.push_str(&format!("    {line}\n"));
        }
        known = lines;
    }
    expected.assert_eq(&text);
}

pub(super) fn task_name(task: &TaskStatus) -> String {
    if !task.step_id.is_empty() {
        return format!("<{}>", task.step_id);
    }
    name_of(&task.id).unwrap_or_else(|| format!("<{}>", task.unique_name()))
}

fn step_words(step: &Step) -> String {
    format!("{}:{}", step.step_id, step.status().as_str_name().trim_start_matches("STEP_STATUS_"))
}

fn completion_word(status: CompletionStatus) -> &'static str {
    match status {
        CompletionStatus::Unspecified => "open",
        status => status.as_str_name().trim_start_matches("COMPLETION_STATUS_"),
    }
}

fn status_name(status: ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Unspecified => "-",
        ExecutionStatus::Started => "STARTED",
        ExecutionStatus::Closed => "CLOSED",
    }
}

/// What was given: the text that names the report, or what was put together.
fn data_words(data: Option<&Document>) -> String {
    let members = data.map(Document::members).unwrap_or_default();
    if members.fields.is_empty() { "{}".to_owned() } else { member_words(&members) }
}

fn member_words(data: &Struct) -> String {
    let word = |value: &Value| match &value.kind {
        Some(Kind::StringValue(text)) => text.clone(),
        Some(Kind::StructValue(inner)) if inner.fields.is_empty() => "{}".to_owned(),
        Some(Kind::StructValue(inner)) => member_words(inner),
        other => panic!("no word for {other:?}"),
    };
    match data.fields.get("from") {
        Some(from) if data.fields.len() == 1 => word(from),
        _ => {
            let members = data.fields.iter().map(|(name, value)| format!("{name}:{}", word(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(" "))
        }
    }
}

fn span(launched: Option<prost_types::Timestamp>, completed: Option<prost_types::Timestamp>) -> String {
    let word =
        |time: Option<prost_types::Timestamp>| time.map_or(String::new(), |time| time.seconds.to_string());
    format!("{}..{}", word(launched), word(completed))
}

/// `1/a #0 CLOSED 10..20 SUCCESS C20 by exe`: its attempt, name and sequence id; what was reported of it; when it ran by the
/// clock of whoever said so, and how it ended, with `(…)` how the report said it did where that is otherwise; whose data.
pub(super) fn task_words(task: &TaskStatus) -> String {
    let mut words = vec![task_name(task)];
    let times = span(task.launched, task.completed);
    let Some(execution) = &task.execution else {
        words.extend([times, completion_word(task.completion_status()).to_owned()]);
        return words.join(" ");
    };
    if !words[0].contains('/') {
        words.push(format!("{}/{}", execution.workflow_instance_id, execution.attempt_id));
    }
    words.push(format!("#{}", execution.sequence_id));
    words.push(status_name(execution.status()).to_owned());
    words.push(times);
    if !task.is_open() {
        words.push(completion_word(task.completion_status()).to_owned());
    }
    if execution.status() == ExecutionStatus::Closed && execution.completion_status != task.completion_status
    {
        words.push(format!("({})", completion_word(execution.completion_status())));
    }
    words.push(data_words(task.data.as_ref()));
    let id = |by: &Option<Reporter>| by.as_ref().map_or("-".to_owned(), |by| by.id().to_owned());
    let (claimed, told) = (id(&execution.started_by), id(&task.updated_by));
    words.push(if claimed == told { format!("by {told}") } else { format!("by {claimed},{told}") });
    if execution.late {
        words.push("late".to_owned());
    }
    words.join(" ")
}

fn attempt_words(instance_id: &str, attempt: &WorkflowAttempt) -> String {
    let mut words = vec![
        format!("attempt {instance_id}/{}", attempt.attempt_id),
        status_name(attempt.status()).to_owned(),
        span(attempt.launched, attempt.completed),
        data_words(attempt.data.as_ref()),
    ];
    words.extend(attempt.updated_by.as_ref().map(|by| format!("by {}", by.id())));
    words.extend(attempt.code.as_ref().map(|code| format!("code={code:?}")));
    let flags = [(attempt.collated, "collated"), (attempt.close_job, "close_job"), (attempt.late, "late")];
    words.extend(flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1.to_owned()));
    words.join(" ")
}

fn refusal_words(rejection: &Rejection, state: &JobState) -> String {
    let name = |id: &String| task_name(&state.tasks[id]);
    match rejection {
        Rejection::TaskAlreadyStarted { task_id, started_by } => {
            format!("TASK_ALREADY_STARTED {} by {started_by}", name(task_id))
        }
        Rejection::TaskAlreadyClosed { task_id } => format!("TASK_ALREADY_CLOSED {}", name(task_id)),
        Rejection::WorkflowAlreadyClosed { workflow_instance_id, attempt_id } => {
            format!("WORKFLOW_ALREADY_CLOSED {workflow_instance_id}/{attempt_id}")
        }
        Rejection::TimestampRegression { launched, completed } => {
            format!("TIMESTAMP_REGRESSION {}>{}", launched.seconds, completed.seconds)
        }
        Rejection::StaleAttempt { newest } => format!("STALE_ATTEMPT newest {newest}"),
        Rejection::SequenceConflict { sequence_id } => format!("SEQUENCE_CONFLICT #{sequence_id}"),
        Rejection::ExecutionMismatch { field, known } => format!("EXECUTION_MISMATCH {field} is {known}"),
        Rejection::LimitExceeded { limit, maximum } => format!("LIMIT_EXCEEDED {limit} {maximum}"),
        Rejection::TaskNotFound => "TASK_NOT_FOUND".to_owned(),
        Rejection::JobNotFound => "JOB_NOT_FOUND".to_owned(),
        other => panic!("no refusal of a report: {other:?}"),
    }
}
