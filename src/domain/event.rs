//! What events do to a job's state.

use super::{JobState, job::etag};
use crate::proto::v1::{Assignee, Job, JobEvent, JobEventType, JobSummary};

/// Brings the state forward by one event of the job.
///
/// This is the only way in which a job's state changes, when a command is decided as well as when the state is rebuilt
/// from the log. What the merge of syncs keeps (`state.sync`) is no event's: the log holds it beside them.
///
/// # Panics
/// When the event does not follow on the state's revision: a gap would be a lost event.
pub fn evolve(state: &mut JobState, event: &JobEvent) {
    assert_eq!(event.revision, state.job.revision + 1, "the events of a job follow on one another");
    if let Some(job) = event.job.as_deref() {
        state.job = job.clone();
    }
    for step in event.step.as_deref().into_iter().chain(&event.further_steps) {
        state.steps.insert(step.step_id.clone(), step.clone());
    }
    for step_id in &event.removed_step_ids {
        state.steps.remove(step_id);
    }
    if let Some(report) = event.report.as_deref() {
        state.reports.insert(report.unique_step_id().to_owned(), report.clone());
    }
    if let Some(hold) = event.hold.as_deref() {
        state.holds.insert(hold.hold_id.clone(), hold.clone());
    }
    if let Some(told) = &event.workflow_instance {
        let instance = state.instances.entry(told.workflow_instance_id.clone()).or_default();
        state.counts.attempts += u64::from(instance.evolve(told));
    }
    if let Some(task) = event.task.as_deref() {
        state.counts.tasks += u64::from(event.r#type() == JobEventType::TaskCreated);
        state.tasks.insert(task.id.clone(), task.clone());
    }
    if let Some((instance_id, sequence_id)) = joins_attempt(event)
        && let Some(instance) = state.instances.get_mut(instance_id)
    {
        instance.seen.insert(sequence_id);
    }
    state.job.revision = event.revision;
    state.job.update_time = event.time;
    state.job.etag = etag(event.revision);
}

/// The instance whose newest attempt has another task now, and that one's sequence id.
#[must_use]
pub fn joins_attempt(event: &JobEvent) -> Option<(&str, i64)> {
    let execution = event.task.as_ref()?.execution.as_ref()?;
    let joins = event.r#type() == JobEventType::TaskCreated || event.workflow_instance.is_some();
    joins.then_some((execution.workflow_instance_id.as_str(), execution.sequence_id))
}

/// What filters read of a job.
#[must_use]
pub fn summary(job: &Job) -> JobSummary {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut assignees: Vec<Assignee> = Vec::new();
    for assignee in job.assignee.iter().chain(&job.current_assignees) {
        if !assignees.contains(assignee) {
            assignees.push(assignee.clone());
        }
    }
    JobSummary {
        client_job_id: job.client_job_id.clone(),
        status: job.status,
        closed: job.closed,
        team: text(&job.team),
        user_id: text(&job.user_id),
        workflow_id: job.workflow.as_ref().map(|workflow| workflow.workflow_id.clone()).unwrap_or_default(),
        assignees,
        create_time: job.create_time,
    }
}
