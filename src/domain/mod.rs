//! What a job is and how it may change: plain functions of the state, a command, the time and new ids.
//!
//! Nothing here knows a clock, randomness, a store, a network or a log. A command that gets here is well-formed: parsing
//! is the edge's. A decision is a list of events, or a refusal; an empty decision means "already so". The state after a
//! decision is what [`evolve`] makes of its events, and nothing else.
//!
//! | SPEC | file |
//! |---|---|
//! | a job's life | `job.rs` |
//! | the merge of syncs | `reports.rs` |
//! | which steps are current | `steps.rs` |
//! | events and what they do to the state | `event.rs`, `decision.rs` |
//! | filters of lists and watches | `filter.rs`, `expression.rs` |
//! | refusals | `rejection.rs` |

mod canonical;
mod decision;
mod event;
mod expression;
mod filter;
#[cfg(test)]
mod fixtures;
mod job;
mod rejection;
mod reports;
mod steps;
mod time;

pub use self::{
    canonical::normalize_entry,
    decision::{Context, Decision, Limits},
    event::{evolve, summary},
    expression::{EXPRESSION_BYTES_MAX, Expression, ExpressionError},
    filter::{Filter, Subject},
    job::{AbortJob, CloseJob, CreateJob, DeleteJob, JOB_ID_PREFIX, JobField, UpdateJob, etag},
    rejection::Rejection,
    reports::{Sync, Told},
    time::{Instant, compare_times},
};

use std::collections::BTreeMap;

use crate::proto::{
    storage::v1::SyncRecord,
    v1::{Hold, Job, Step, StepReport},
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
    /// By hold id, released ones included.
    pub holds: BTreeMap<String, Hold>,
}
