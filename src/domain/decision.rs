//! How a decision is put together, event by event.

use super::{Existing, Instant, JobState, Rejection, evolve, job::etag, summary};
use crate::proto::{
    storage::v1::SyncRecord,
    v1::{Actor, Job, JobEvent, JobEventType, JobSummary},
};

/// What a decision knows beside the state and the command.
#[derive(Clone, Debug)]
pub struct Context {
    /// The server's time. Never falls from one decision of a partition to the next.
    pub now: Instant,
    /// Who asks.
    pub actor: Actor,
    /// The request's id; empty where it has none.
    pub request_id: String,
    /// The id of the job that is made, if one is.
    pub new_job_id: String,
    /// What a job may hold.
    pub limits: Limits,
}

/// What a job may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Reports in a job, late ones included.
    pub reports_per_job: u64,
}

/// What a command does: the events it makes, and what it answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<R> {
    /// What happens, in order. Empty: the job is so already.
    pub events: Vec<JobEvent>,
    /// What the merge of syncs keeps from now on, where that changes.
    pub sync: Option<SyncRecord>,
    /// The answer, once the events are durable.
    pub reply: R,
    /// The state after the events.
    pub state: JobState,
}

/// A decision in the making: the state as it is after the events so far.
pub(super) struct Draft<'c> {
    pub(super) state: JobState,
    context: &'c Context,
    events: Vec<JobEvent>,
    sync: Option<SyncRecord>,
    /// What filters read after the last event; `None` before a new job's first.
    summary: Option<JobSummary>,
}

impl<'c> Draft<'c> {
    /// Begins with a job as it is.
    pub(super) fn of(state: JobState, context: &'c Context) -> Self {
        let summary = Some(summary(&state.job));
        Self { state, context, events: Vec::new(), sync: None, summary }
    }

    /// Begins with a job that is not there yet.
    pub(super) fn new_job(job: Job, context: &'c Context) -> Self {
        let state = JobState { job, ..JobState::default() };
        Self { state, context, events: Vec::new(), sync: None, summary: None }
    }

    /// The job's new head, told by an event.
    pub(super) fn record_job(&mut self, kind: JobEventType, job: Job) {
        self.record(kind, |event| event.job = Some(job));
    }

    /// Something that happens; `fill` puts the changed resources, as they are afterwards, into the event.
    pub(super) fn record(&mut self, kind: JobEventType, fill: impl FnOnce(&mut JobEvent)) {
        let revision = self.state.job.revision + 1;
        let mut event = JobEvent {
            job_id: self.state.job.job_id.clone(),
            revision,
            time: Some(self.context.now),
            r#type: kind.into(),
            actor: Some(self.context.actor.clone()),
            request_id: self.context.request_id.clone(),
            ..JobEvent::default()
        };
        fill(&mut event);
        if let Some(job) = &mut event.job {
            job.revision = revision;
            job.update_time = Some(self.context.now);
            job.etag = etag(revision);
        }
        evolve(&mut self.state, &event);

        let now = summary(&self.state.job);
        event.previous_summary = self.summary.take().filter(|before| *before != now);
        event.summary = Some(now.clone());
        self.summary = Some(now);
        self.events.push(event);
    }

    /// What the merge of syncs keeps from now on.
    pub(super) fn record_sync(&mut self, sync: SyncRecord) {
        self.state.sync = Some(sync.clone());
        self.sync = Some(sync);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Ends the decision with an answer drawn from the state it leads to.
    pub(super) fn answer<R>(self, reply: impl FnOnce(&JobState) -> R) -> Decision<R> {
        let reply = reply(&self.state);
        Decision { events: self.events, sync: self.sync, reply, state: self.state }
    }
}

impl Existing {
    /// The job, for a command that needs one.
    ///
    /// # Errors
    /// [`Rejection::JobNotFound`], also for a deleted job.
    pub(super) fn into_job(self) -> Result<JobState, Rejection> {
        match self {
            Self::Job(state) => Ok(*state),
            Self::Nothing | Self::Deleted { .. } => Err(Rejection::JobNotFound),
        }
    }
}
