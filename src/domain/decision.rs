//! How a decision is put together, event by event.

use std::{fmt, sync::Arc};

use super::{
    Definition, Dependencies, Existing, Instant, JobState, Rejection, evolve, job::etag, steps, summary,
};
use crate::proto::{
    storage::v1::SyncRecord,
    v1::{Actor, Job, JobEvent, JobEventType, JobStatus, JobSummary, Step},
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
    /// The ids of what is made.
    pub new_ids: NewIds,
    /// What a job may hold.
    pub limits: Limits,
    /// The definition that the job follows, or that it is to follow.
    pub workflow: Option<Arc<Definition>>,
    /// How far it is with what holds wait for.
    pub dependencies: Dependencies,
}

/// New ids for all that a decision makes. Each says where it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewIds {
    /// The partition that decides.
    pub partition: u16,
    /// A number never given before, nor the few thousand after it.
    pub unique: u128,
}

/// An id of ours: what it names, the partition, and a number.
pub(super) struct Id(pub(super) &'static str, pub(super) NewIds);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:04x}_{:032x}", self.0, self.1.partition, self.1.unique)
    }
}

impl NewIds {
    /// The id of the job that is made, if one is.
    #[must_use]
    pub fn job_id(self) -> String {
        Id(super::JOB_ID_PREFIX, self).to_string()
    }

    /// The id of a task that is made.
    #[must_use]
    pub fn task_id(self) -> String {
        Id(super::TASK_ID_PREFIX, self).to_string()
    }
}

/// What a job may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Reports in a job, late ones included.
    pub reports_per_job: u64,
    /// Tasks in a job, those that have ended included.
    pub tasks_per_job: u64,
    /// Attempts of all workflow instances of a job.
    pub attempts_per_job: u64,
    /// The longest text, in characters.
    pub text_characters: usize,
    /// The largest free data, encoded.
    pub document_bytes: usize,
    /// How deep free data may be nested.
    pub document_levels: usize,
}

impl Limits {
    /// Unless configured otherwise.
    pub const DEFAULT: Self = Self {
        reports_per_job: 10_000,
        tasks_per_job: 10_000,
        attempts_per_job: 1_000,
        text_characters: 4096,
        document_bytes: 256 << 10,
        document_levels: 24,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
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
    pub(super) context: &'c Context,
    events: Vec<JobEvent>,
    sync: Option<SyncRecord>,
    /// What filters read after the last event; `None` before a new job's first.
    summary: Option<JobSummary>,
    ids_given: u128,
    /// The `item_id` of the request.
    pub(super) item_id: String,
    /// What happens to a step begins the job, where that was not begun or rests.
    pub(super) begins_job: bool,
}

impl<'c> Draft<'c> {
    /// Begins with a job as it is.
    pub(super) fn of(state: JobState, context: &'c Context) -> Self {
        let summary = Some(summary(&state.job));
        Self { state, summary, ..Self::new_job(Job::default(), context) }
    }

    /// Begins with a job that is not there yet.
    pub(super) fn new_job(job: Job, context: &'c Context) -> Self {
        let state = JobState { job, ..JobState::default() };
        let item_id = String::new();
        Self {
            state,
            context,
            events: Vec::new(),
            sync: None,
            summary: None,
            ids_given: 0,
            item_id,
            begins_job: false,
        }
    }

    /// A new id of ours.
    pub(super) fn new_id(&mut self, prefix: &'static str) -> String {
        let unique = self.context.new_ids.unique.wrapping_add(self.ids_given);
        self.ids_given += 1;
        Id(prefix, NewIds { unique, ..self.context.new_ids }).to_string()
    }

    /// The job as it is when a step goes on, where that begins it.
    pub(super) fn begun(&self) -> Option<Job> {
        let rests = matches!(self.state.job.status(), JobStatus::NotStarted | JobStatus::Paused);
        (self.begins_job && rests).then(|| {
            let mut job = self.state.job.clone();
            job.set_status(JobStatus::Active);
            job
        })
    }

    /// Has the job begin, or go on, where it was not begun or rests: somebody works at it.
    pub(super) fn begin_job(&mut self) {
        self.begins_job = !self.state.job.closed;
        if let Some(job) = self.begun() {
            self.record_job(JobEventType::JobUpdated, job);
        }
    }

    /// The job's new head, told by an event.
    pub(super) fn record_job(&mut self, kind: JobEventType, job: Job) {
        self.record(kind, |event| event.job = Some(job.into()));
    }

    /// A step that changed, with others that changed with it. `current` are the current steps from now on, where they are
    /// others than before; the job is told with the step where that, or whose turn it is, changes.
    pub(super) fn record_step(
        &mut self,
        kind: JobEventType,
        step: Step,
        further: Vec<Step>,
        current: Option<Vec<String>>,
    ) {
        if let Some(job) = self.begun() {
            self.record_job(JobEventType::JobUpdated, job);
        }
        let stamp = |step: Step| Step { update_time: Some(self.context.now), ..step };
        let step = stamp(step);
        let further: Vec<Step> = further.into_iter().map(stamp).collect();
        let job = steps::with_current(&self.state, current, |id| {
            further.iter().chain([&step]).find(|step| step.step_id == id)
        });
        self.record(kind, |event| {
            event.step = Some(step.into());
            event.further_steps = further;
            event.job = job.map(Into::into);
        });
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
            item_id: self.item_id.clone(),
            ..JobEvent::default()
        };
        fill(&mut event);
        if let Some(task) = &mut event.task {
            task.modified = Some(self.context.now);
            task.etag = etag(revision);
        }
        if let Some(job) = &mut event.job {
            job.revision = revision;
            job.update_time = Some(self.context.now);
            job.etag = etag(revision);
        }
        evolve(&mut self.state, &event);

        if event.job.is_some() || self.summary.is_none() {
            let before = self.summary.replace(summary(&self.state.job));
            event.previous_summary = before.filter(|before| self.summary.as_ref() != Some(before));
        }
        event.summary.clone_from(&self.summary);
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
