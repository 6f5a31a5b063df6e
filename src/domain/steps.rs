//! The order of a job's steps, and which of them are current.

use super::{Context, Decision, Existing, JobState, Rejection, decision::Draft, job, tasks};
use crate::proto::v1::{
    AssignStepResponse, Assignee, CompletionStatus, Job, JobEventType, SingleStep, Step, StepEntry,
    StepReport, StepStatus,
};

/// Assigns a step.
#[derive(Clone, Debug, PartialEq)]
pub struct AssignStep {
    /// The job.
    pub job_id: String,
    /// The step.
    pub step_id: String,
    /// Who is to do it; `None`: anyone.
    pub assignee: Option<Assignee>,
    /// The etag the job must have.
    pub etag: Option<String>,
}

impl AssignStep {
    /// # Errors
    /// No such job, or no such step in it; the job is closed, or has moved on.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<AssignStepResponse>, Rejection> {
        let state = existing.into_job()?;
        job::check_etag(&state, self.etag.as_deref())?;
        let Some(step) = state.steps.get(&self.step_id).cloned() else {
            let step_ids = vec![self.step_id.clone()];
            return Err(Rejection::StepNotFound { job_id: state.job.job_id, step_ids });
        };
        if state.job.closed {
            return Err(Rejection::JobClosed { job_id: state.job.job_id });
        }
        let mut draft = Draft::of(state, context);
        if step.assignee != self.assignee {
            let step = Step { assignee: self.assignee.clone(), ..step };
            draft.record_step(JobEventType::StepReassigned, step, Vec::new(), None);
        }
        Ok(draft.answer(|state| AssignStepResponse { step: state.steps.get(&self.step_id).cloned() }))
    }
}

impl Step {
    /// Reached, and not done.
    pub(super) fn is_open(&self) -> bool {
        match self.status() {
            StepStatus::Ready
            | StepStatus::Running
            | StepStatus::WaitingForInfo
            | StepStatus::Executed
            | StepStatus::Paused
            | StepStatus::Cancelled
            | StepStatus::Error => true,
            StepStatus::Unspecified | StepStatus::Pending | StepStatus::Finished | StepStatus::Skipped => {
                false
            }
        }
    }

    /// Somebody or something is at it.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.status(), StepStatus::Running | StepStatus::WaitingForInfo)
    }

    /// Where it stands among the steps: by number, those without one last, then by id.
    #[must_use]
    pub fn rank(&self) -> (bool, i32, &str) {
        (self.number.is_none(), self.number.unwrap_or_default(), &self.step_id)
    }
}

impl StepReport {
    /// The report's identity in its job.
    #[must_use]
    pub fn unique_step_id(&self) -> &str {
        self.entry.as_ref().and_then(|entry| entry.step()).map_or("", |step| step.unique_step_id())
    }
}

impl StepEntry {
    /// The step, whichever of the two it came as.
    #[must_use]
    pub fn step(&self) -> Option<&SingleStep> {
        self.single_step.as_ref().or(self.report_step.as_ref())
    }
}

/// The steps that a synced job is at: the one the device says, if that is open, and those that somebody else is at; else all that are, less those where others
/// are waited for.
pub(super) fn current_step_ids<'s>(
    device_step_id: Option<&str>,
    steps: impl Iterator<Item = &'s Step> + Clone,
) -> Vec<String> {
    let open: Vec<_> = steps.filter(|step| step.is_open()).collect();
    if open.iter().any(|step| Some(step.step_id.as_str()) == device_step_id) {
        let is_there = |step: &&Step| Some(step.step_id.as_str()) == device_step_id || step.is_running();
        return by_rank(open.into_iter().filter(is_there));
    }
    by_rank(open.into_iter().filter(|step| !step.awaits_join))
}

/// The ids of steps, in the order of the steps.
pub(super) fn by_rank<'s>(steps: impl Iterator<Item = &'s Step>) -> Vec<String> {
    let mut steps: Vec<_> = steps.collect();
    steps.sort_by(|left, right| left.rank().cmp(&right.rank()));
    steps.into_iter().map(|step| step.step_id.clone()).collect()
}

/// Whom steps are assigned to, each once, in the order of the steps.
pub(super) fn assignees<'s>(steps: impl Iterator<Item = &'s Step>) -> Vec<Assignee> {
    let mut steps: Vec<_> = steps.collect();
    steps.sort_by(|left, right| left.rank().cmp(&right.rank()));
    let mut assignees: Vec<Assignee> = Vec::new();
    for assignee in steps.into_iter().filter_map(|step| step.assignee.as_ref()) {
        if !assignees.contains(assignee) {
            assignees.push(assignee.clone());
        }
    }
    assignees
}

/// Whether a definition says what follows on the job's steps.
pub(super) fn follows_definition(job: &Job) -> bool {
    job.workflow.as_ref().is_some_and(|workflow| workflow.published)
}

/// The job with other current steps (`None`: the same), some of which are about to change; `None` where the job stays
/// as it is.
pub(super) fn with_current<'s>(
    state: &'s JobState,
    current: Option<Vec<String>>,
    changed: impl Fn(&str) -> Option<&'s Step>,
) -> Option<Job> {
    let before = &state.job;
    let step = |id: &String| changed(id).or_else(|| state.steps.get(id));
    let current = current.as_ref().unwrap_or(&before.current_step_ids);
    let current_step_ids = by_rank(current.iter().filter_map(step));
    let current_assignees = assignees(current_step_ids.iter().filter_map(step));
    let is_same =
        current_step_ids == before.current_step_ids && current_assignees == before.current_assignees;
    (!is_same).then(|| Job { current_step_ids, current_assignees, ..before.clone() })
}

/// The steps of the state that are running, by rank.
pub(super) fn running(state: &JobState) -> Vec<Step> {
    let mut running: Vec<_> = state.steps.values().filter(|step| step.is_running()).cloned().collect();
    running.sort_by(|left, right| left.rank().cmp(&right.rank()));
    running
}

/// What an abort does to the running steps, and to their tasks.
pub(super) fn cancel_running(draft: &mut Draft<'_>) {
    for mut step in running(&draft.state) {
        tasks::end(draft, &step, CompletionStatus::Terminated);
        step.set_status(StepStatus::Cancelled);
        draft.record_step(JobEventType::StepCancelled, step, Vec::new(), None);
    }
}
