//! Why a command is refused.

use super::{Dependency, Instant};

/// A refusal: the state forbids what the command asks. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No job of that id.
    #[error("no such job")]
    JobNotFound,
    /// A new job would take an id that a job has.
    #[error("a job with this id exists already")]
    JobAlreadyExists {
        /// The job that has it.
        job_id: String,
    },
    /// A new job would take an id that a deleted job had.
    #[error("the job with this id was deleted, and its id is never used again")]
    JobIdRetired {
        /// The job that had it.
        job_id: String,
    },
    /// A sync of a job that was deleted.
    #[error("the job was deleted")]
    JobDeleted {
        /// The job that was.
        job_id: String,
    },
    /// The job is closed.
    #[error("the job is closed")]
    JobClosed {
        /// The job.
        job_id: String,
    },
    /// The job is completed, and so cannot be aborted.
    #[error("the job is completed, and a completed job is not aborted")]
    JobCompleted {
        /// The job.
        job_id: String,
    },
    /// Steps of the job are running.
    #[error("{} of the job's steps are running; stop or finish them first", step_ids.len())]
    StepsRunning {
        /// The job.
        job_id: String,
        /// The steps that are.
        step_ids: Vec<String>,
    },
    /// The sync is of another workflow than the job's.
    #[error("the job follows workflow {workflow_id:?}")]
    WorkflowMismatch {
        /// The job.
        job_id: String,
        /// The workflow it follows.
        workflow_id: String,
    },
    /// The workflow is not published.
    #[error("no such version of the workflow is published")]
    WorkflowNotFound {
        /// The workflow asked for.
        workflow_id: String,
        /// The version asked for, if one was.
        version_id: Option<String>,
    },
    /// There is nothing to take up again.
    #[error("the job is open and has current steps")]
    JobOpen {
        /// The job.
        job_id: String,
    },
    /// The job has no such step.
    #[error("the job has no such step")]
    StepNotFound {
        /// The job.
        job_id: String,
        /// The steps that it does not have.
        step_ids: Vec<String>,
    },
    /// What a hold should wait for is not there.
    #[error("what the hold should wait for is not there")]
    DependencyNotFound(Dependency),
    /// What a hold should wait for waits for the step to be held.
    #[error("what the hold should wait for waits, in turn, for the step to be held")]
    DependencyCircle {
        /// The way around, from the step to be held and back to it.
        circle: Vec<String>,
    },
    /// No task of that id.
    #[error("no such task")]
    TaskNotFound,
    /// The task has ended.
    #[error("the task has ended already")]
    TaskAlreadyClosed {
        /// The task.
        task_id: String,
    },
    /// Another executor has claimed the task.
    #[error("another executor, {started_by:?}, has started the task")]
    TaskAlreadyStarted {
        /// The task.
        task_id: String,
        /// Who has.
        started_by: String,
    },
    /// The attempt was closed otherwise.
    #[error("the attempt was closed already, by another report")]
    WorkflowAlreadyClosed {
        /// The instance.
        workflow_instance_id: String,
        /// The attempt.
        attempt_id: i64,
    },
    /// It would have started after it ended.
    #[error("it would have started at {launched}, after it ended at {completed}")]
    TimestampRegression {
        /// When it would have started.
        launched: Instant,
        /// When it would have ended.
        completed: Instant,
    },
    /// A newer attempt has begun.
    #[error("attempt {newest} has begun, and this one is over")]
    StaleAttempt {
        /// The newest.
        newest: i64,
    },
    /// Another task of the attempt has the sequence id.
    #[error("another task of the attempt has the sequence id {sequence_id}")]
    SequenceConflict {
        /// The sequence id.
        sequence_id: i64,
    },
    /// The task or its attempt is known otherwise.
    #[error("the {field} is known as {known:?}")]
    ExecutionMismatch {
        /// The field of the report.
        field: &'static str,
        /// What it is known as.
        known: String,
    },
    /// A `test` of a patch failed.
    #[error("the test that is operation {index} of the patch failed")]
    PatchTestFailed {
        /// Which operation, from 0.
        index: usize,
    },
    /// What an operation of a patch is about is not there.
    #[error("what operation {index} of the patch is about is not there")]
    PatchTargetMissing {
        /// Which operation, from 0.
        index: usize,
    },
    /// What a patch makes of a task is none.
    #[error("what the patch makes of the task is none")]
    TaskInvalid(Vec<(String, String)>),
    /// The caller may not do this.
    #[error("the privilege {privilege} is missing")]
    PrivilegeMissing {
        /// The name of the privilege, or of those of which one would do.
        privilege: &'static str,
    },
    /// The resource has moved on.
    #[error("it has changed since it was read; read it again")]
    EtagMismatch {
        /// The etag it has now.
        etag: String,
    },
    /// A limit of the job would be passed.
    #[error("the limit {limit} of {maximum} would be passed")]
    LimitExceeded {
        /// The limit's name in the configuration.
        limit: &'static str,
        /// What it allows.
        maximum: u64,
    },
}
