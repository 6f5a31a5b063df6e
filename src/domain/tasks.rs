//! The tasks that do the work of AUTOMATIC steps, and how a step follows its task: SPEC 3.4.

use prost_types::Timestamp;

use super::{
    Context, Decision, Existing, JobState, Rejection, advance, decision::Draft, time::compare_times,
};
use crate::proto::v1::{
    CompletionStatus, CreateTaskStatusResponse, JobEventType, Step, StepStatus, TaskStatus, TaskType,
};

/// Makes a task of a job that does the work of no step.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTask {
    /// The job.
    pub job_id: String,
    /// What the creator says of the task.
    pub task: TaskStatus,
}

impl CreateTask {
    /// # Errors
    /// No such job, or it is closed.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<CreateTaskStatusResponse>, Rejection> {
        let state = existing.into_job()?;
        if state.job.closed {
            return Err(Rejection::JobClosed { job_id: state.job.job_id });
        }
        check_limit(&state, context)?;
        let mut draft = Draft::of(state, context);
        let id = draft.new_id(TASK_ID_PREFIX);
        let job_id = draft.state.job.job_id.clone();
        open(
            &mut draft,
            TaskStatus { id: id.clone(), job_id, created: Some(context.now), ..self.task.clone() },
        );
        Ok(draft.answer(|state| CreateTaskStatusResponse { task: state.tasks.get(&id).cloned() }))
    }
}

/// What the ids of tasks begin with.
pub const TASK_ID_PREFIX: &str = "task_";

/// Whether an id has the form of those that tasks are given here.
#[must_use]
pub fn is_id_of_ours(id: &str) -> bool {
    let is_hex = |text: &str, len| text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = id.strip_prefix(TASK_ID_PREFIX).and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(partition, number)| is_hex(partition, 4) && is_hex(number, 32))
}

/// Whether a job may have one task more.
pub(super) fn check_limit(state: &JobState, context: &Context) -> Result<(), Rejection> {
    let maximum = context.limits.tasks_per_job;
    if state.counts.tasks >= maximum {
        return Err(Rejection::LimitExceeded { limit: "tasks_per_job", maximum });
    }
    Ok(())
}

impl TaskStatus {
    /// Not ended yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.completion_status() == CompletionStatus::Unspecified
    }
}

/// The task that does the work of a step. It must be loaded.
pub(super) fn linked<'s>(state: &'s JobState, step: &Step) -> Option<&'s TaskStatus> {
    Some(&step.task_id).filter(|id| !id.is_empty()).and_then(|id| state.tasks.get(id))
}

/// A new task for a step's work, not told yet.
pub(super) fn new(draft: &mut Draft<'_>, step: &Step, deadline: Option<Timestamp>) -> TaskStatus {
    let workflow = draft.state.job.workflow.clone().unwrap_or_default();
    TaskStatus {
        id: draft.new_id(TASK_ID_PREFIX),
        r#type: TaskType::QueuedTask.into(),
        unique_name: Some(step.title.clone().unwrap_or_else(|| step.step_id.clone())),
        description: step.description.clone(),
        parent_name: Some(workflow.workflow_id).filter(|id| !id.is_empty()),
        created: Some(draft.context.now),
        job_id: step.job_id.clone(),
        step_id: step.step_id.clone(),
        deadline,
        ..TaskStatus::default()
    }
}

/// Tells of a new task.
pub(super) fn open(draft: &mut Draft<'_>, task: TaskStatus) {
    draft.record(JobEventType::TaskCreated, |event| event.task = Some(task.into()));
}

/// Ends the open task of a step, if it has one. The step is not told: that is the caller's.
pub(super) fn end(draft: &mut Draft<'_>, step: &Step, outcome: CompletionStatus) {
    if let Some(task) = linked(&draft.state, step).filter(|task| task.is_open()).cloned() {
        complete(draft, task, outcome);
    }
}

/// Ends a task that had to have ended by now, if it has not. It may do the work of a step, and need not.
pub(super) fn end_overdue(draft: &mut Draft<'_>, task_id: &str) {
    let now = Some(&draft.context.now);
    let is_overdue = |task: &&TaskStatus| {
        let deadline = task.deadline.as_ref();
        task.is_open() && deadline.is_some() && compare_times(deadline, now).is_le()
    };
    let Some(task) = draft.state.tasks.get(task_id).filter(is_overdue).cloned() else { return };
    let step_id = task.step_id.clone();
    complete(draft, task, CompletionStatus::TempError);
    follow_if_linked(draft, &step_id, task_id);
}

/// Ends an open task. A step whose work it does is not told: that is the caller's.
pub(super) fn complete(draft: &mut Draft<'_>, mut task: TaskStatus, outcome: CompletionStatus) {
    task.set_completion_status(outcome);
    task.completed = Some(draft.context.now);
    draft.record(JobEventType::TaskCompleted, |event| event.task = Some(task.into()));
}

/// Has the step follow a task that has ended, if the task does its work now.
pub(super) fn follow_if_linked(draft: &mut Draft<'_>, step_id: &str, task_id: &str) {
    let step = draft.state.steps.get(step_id);
    let does_its_work =
        step.is_some_and(|step| step.task_id == task_id && step.status() == StepStatus::Running);
    if does_its_work && !draft.state.job.closed {
        follow(draft, step_id);
    }
}

/// Brings a running step in line with its task; one that does not run has ended its task, or followed it. Tells what
/// following the step's paths left to be said.
pub(super) fn follow(draft: &mut Draft<'_>, step_id: &str) -> advance::Left {
    let state = &draft.state;
    let is_running = |step: &&Step| step.status() == StepStatus::Running;
    let Some(step) = state.steps.get(step_id).filter(is_running).cloned() else {
        return advance::Left::default();
    };
    let Some(task) = linked(state, &step) else { return advance::Left::default() };
    match task.completion_status() {
        CompletionStatus::Unspecified => advance::Left::default(),
        CompletionStatus::Success | CompletionStatus::Warning => advance::executed(draft, step),
        CompletionStatus::Error | CompletionStatus::Terminated | CompletionStatus::TempError => {
            advance::set_status(draft, step, StepStatus::Error, JobEventType::StepError);
            advance::Left::default()
        }
    }
}
