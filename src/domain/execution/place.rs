//! Where a report belongs: the attempt it is of, and whether that can still be reported.

use crate::{
    domain::{Context, JobState, Rejection, decision::Draft, tasks},
    proto::v1::{CompletionStatus, TaskStatus, WorkflowAttempt, WorkflowInstance},
};

/// Names an attempt at a workflow instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The instance, in its job.
    pub workflow_instance_id: String,
    /// The attempt.
    pub attempt_id: i64,
    /// The dispatch it was sent out with.
    pub dispatch_id: String,
}

/// What is known of the attempt that a report is of.
#[derive(Debug)]
pub(super) enum Known<'s> {
    /// It is the newest.
    Newest(&'s WorkflowAttempt),
    /// The report opens it.
    New,
    /// A newer one has begun.
    Stale { newest: i64 },
}

impl Place {
    /// What is known of the attempt.
    pub(super) fn find<'s>(&self, state: &'s JobState) -> Known<'s> {
        let instance = state.instances.get(&self.workflow_instance_id);
        match instance.and_then(|instance| instance.newest()) {
            Some(newest) if newest.attempt_id > self.attempt_id => Known::Stale { newest: newest.attempt_id },
            Some(newest) if newest.attempt_id == self.attempt_id => Known::Newest(newest),
            Some(_) | None => Known::New,
        }
    }

    /// Whether an attempt that is known was sent out with this dispatch.
    pub(super) fn check_dispatch(&self, attempt: &WorkflowAttempt) -> Result<(), Rejection> {
        same("dispatch_id", &attempt.dispatch_id, &self.dispatch_id)
    }

    /// Whether a task was reported of this attempt.
    pub(super) fn has(&self, task: &TaskStatus) -> bool {
        let attempt_id = task.execution.as_ref().map(|execution| execution.attempt_id);
        self.is_of_instance(task) && attempt_id == Some(self.attempt_id)
    }

    /// Whether a task was reported of any attempt at the instance.
    pub(super) fn is_of_instance(&self, task: &TaskStatus) -> bool {
        let execution = task.execution.as_ref();
        execution.is_some_and(|execution| execution.workflow_instance_id == self.workflow_instance_id)
    }

    /// The attempt, as one that nothing was reported of yet.
    pub(super) fn opened(&self) -> WorkflowAttempt {
        WorkflowAttempt {
            attempt_id: self.attempt_id,
            dispatch_id: self.dispatch_id.clone(),
            ..WorkflowAttempt::default()
        }
    }

    /// The instance as it is when it tells of this attempt.
    pub(super) fn told(&self, draft: &Draft<'_>, attempt: WorkflowAttempt) -> WorkflowInstance {
        let known = draft.state.instances.get(&self.workflow_instance_id);
        let opens = known.is_none_or(|known| !known.attempts.contains_key(&self.attempt_id));
        let before = known.map(|known| known.instance.clone()).unwrap_or_default();
        WorkflowInstance {
            job_id: draft.state.job.job_id.clone(),
            workflow_instance_id: self.workflow_instance_id.clone(),
            attempts: vec![attempt],
            create_time: before.create_time.or(Some(draft.context.now)),
            update_time: Some(draft.context.now),
            attempt_count: before.attempt_count + i64::from(opens),
        }
    }

    /// Ends what older attempts left open, when this one opens: all but a task that the report is about, and those that do
    /// the work of steps, which wait for the newer attempt to report them. Returns those that ended.
    pub(super) fn end_older(&self, draft: &mut Draft<'_>, reported: Option<&str>) -> Vec<String> {
        let is_left = |task: &&TaskStatus| {
            let is_linked = !task.step_id.is_empty();
            self.is_of_instance(task) && task.is_open() && !is_linked && reported != Some(task.id.as_str())
        };
        let mut left: Vec<TaskStatus> = draft.state.tasks.values().filter(is_left).cloned().collect();
        left.sort_by_key(in_sequence);
        let ids = left.iter().map(|task| task.id.clone()).collect();
        for task in left {
            tasks::complete(draft, task, CompletionStatus::Terminated);
        }
        ids
    }
}

/// Whether a job may have one attempt more.
pub(super) fn check_attempts(state: &JobState, context: &Context) -> Result<(), Rejection> {
    let maximum = context.limits.attempts_per_job;
    if state.counts.attempts >= maximum {
        return Err(Rejection::LimitExceeded { limit: "attempts_per_job", maximum });
    }
    Ok(())
}

/// The order of tasks: by attempt and sequence id, those of no execution last, then by id.
pub(super) fn in_sequence(task: &TaskStatus) -> (bool, i64, i64, String) {
    let execution = task.execution.as_ref();
    let (attempt_id, sequence_id) =
        execution.map_or((0, 0), |execution| (execution.attempt_id, execution.sequence_id));
    (execution.is_none(), attempt_id, sequence_id, task.id.clone())
}

/// Whether a field of a report is what is known.
pub(super) fn same(field: &'static str, known: &str, reported: &str) -> Result<(), Rejection> {
    if known == reported {
        return Ok(());
    }
    Err(Rejection::ExecutionMismatch { field, known: known.to_owned() })
}
