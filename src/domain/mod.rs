//! What a job is and how it may change: plain functions of the state, a command, the time and new ids.
//!
//! Nothing here knows a clock, randomness, a store, a network or a log. A command that gets here is well-formed: parsing
//! is the edge's. A decision is a list of events, or a refusal; an empty decision means "already so". The state after a
//! decision is what [`evolve`] makes of its events, and nothing else.
//!
//! | SPEC | file |
//! |---|---|
//! | a job's life | `job.rs`, `reopen.rs` |
//! | the merge of syncs | `reports.rs` |
//! | what a workflow is, and where its paths lead | `workflow.rs` |
//! | actions on steps, and the table of them | `action.rs`, `action/table.rs` |
//! | going on when a step is done | `advance.rs` |
//! | holds | `holds.rs` |
//! | tasks, and the AUTOMATIC steps that follow them | `tasks.rs` |
//! | what executors report of tasks and workflows | `execution.rs` |
//! | a task's JSON form, and patches of it | `form.rs`, `patch.rs` |
//! | what falls due by itself | `review.rs` |
//! | which steps are current, and whose | `steps.rs` |
//! | events and what they do to the state | `event.rs`, `decision.rs` |
//! | filters of lists and watches | `filter.rs`, `expression.rs` |
//! | refusals | `rejection.rs` |

mod action;
mod advance;
mod canonical;
mod decision;
mod event;
mod execution;
mod expression;
mod filter;
#[cfg(test)]
mod fixtures;
pub mod form;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod holds;
mod job;
#[cfg(test)]
mod model;
mod patch;
mod rejection;
mod reopen;
mod reports;
mod review;
mod sequences;
mod steps;
mod tasks;
mod time;
mod workflow;

pub use self::{
    action::PerformJobAction,
    canonical::normalize_entry,
    decision::{Context, Decision, Limits, NewIds},
    event::{evolve, joins_attempt, summary},
    execution::{InstanceState, Place, Report, ReportTask, ReportWorkflow},
    expression::{EXPRESSION_BYTES_MAX, Expression, ExpressionError},
    filter::{Filter, Subject},
    holds::{Circle, Dependencies, Dependency, DependencyState, HoldTerms},
    job::{AbortJob, CloseJob, CreateJob, DeleteJob, ExcludeJob, JOB_ID_PREFIX, JobField, UpdateJob, etag},
    patch::UpdateTask,
    rejection::Rejection,
    reopen::ReopenJob,
    reports::{Sync, Told},
    review::{ReviewJob, ReviewTask},
    sequences::{Missing, Sequences},
    steps::AssignStep,
    tasks::{CreateTask, TASK_ID_PREFIX, is_id_of_ours as is_task_id_of_ours},
    time::{Instant, compare_times},
    workflow::{
        Definition, PATHS_MAX, PublishWorkflow, STEPS_MAX, faults as workflow_faults, version_number,
        without_steps,
    },
};

use std::collections::BTreeMap;

use crate::proto::{
    storage::v1::SyncRecord,
    v1::{Hold, Job, Step, StepReport, TaskStatus},
};

/// What is known under a job's id.
#[derive(Clone, Debug, PartialEq)]
pub enum Existing {
    /// Nothing, ever.
    Nothing,
    /// A job that was deleted. Its ids stay used.
    Deleted {
        /// The id it had.
        job_id: String,
    },
    /// A job.
    Job(Box<JobState>),
}

/// A job, and the parts of it that a decision reads. Which parts are loaded is the command's to say; the others are
/// empty here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobState {
    /// The head of the record.
    pub job: Job,
    /// What the merge of syncs keeps; `None` before the first sync.
    pub sync: Option<SyncRecord>,
    /// By step id.
    pub steps: BTreeMap<String, Step>,
    /// By `unique_step_id`.
    pub reports: BTreeMap<String, StepReport>,
    /// By hold id.
    pub holds: BTreeMap<String, Hold>,
    /// By task id.
    pub tasks: BTreeMap<String, TaskStatus>,
    /// By workflow instance id.
    pub instances: BTreeMap<String, InstanceState>,
    /// How many there are of what is not always loaded.
    pub counts: Counts,
}

/// How much a job has of what can be without end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Its tasks.
    pub tasks: u64,
    /// The attempts of its workflow instances.
    pub attempts: u64,
}
