//! A job's life, less what steps do to it: SPEC 3.6.

#[cfg(test)]
mod tests;

use prost_types::Value;

use super::{Context, Decision, Existing, JobState, Rejection, advance, decision::Draft, steps};
use crate::proto::v1::{
    AbortJobResponse, CloseJobResponse, CreateJobResponse, DeleteJobResponse, ExcludeJobResponse, Job,
    JobEventType, JobStatus, Step, UpdateJobResponse,
};

/// What the job ids that the server makes begin with. No caller's own id may, so that the two never meet.
pub const JOB_ID_PREFIX: &str = "job_";

/// The etag of a job at a revision.
#[must_use]
pub fn etag(revision: i64) -> String {
    format!("r{revision}")
}

/// Makes a job.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateJob {
    /// The id the caller chose for it, or that follows from the request; `None`: a new one of ours.
    pub job_id: Option<String>,
    /// The fields the caller set, the others as they are in a new job.
    pub job: Job,
}

/// Changes fields of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateJob {
    /// The job.
    pub job_id: String,
    /// Which fields to take from `job`.
    pub fields: Vec<JobField>,
    /// The new values.
    pub job: Job,
    /// The etag the job must have.
    pub etag: Option<String>,
}

/// Gives a job up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortJob {
    /// The job.
    pub job_id: String,
    /// Why; `None` leaves the reason as it is.
    pub reason: Option<String>,
    /// The etag the job must have.
    pub etag: Option<String>,
}

/// Closes a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseJob {
    /// The job.
    pub job_id: String,
    /// The etag the job must have.
    pub etag: Option<String>,
}

/// Deletes a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteJob {
    /// The job.
    pub job_id: String,
    /// The etag the job must have.
    pub etag: Option<String>,
}

/// Leaves a job out of what is counted, or takes it in again.
#[derive(Clone, Debug, PartialEq)]
pub struct ExcludeJob {
    /// The job.
    pub job_id: String,
    /// Whether it is left out.
    pub excluded: bool,
    /// Why.
    pub job_exclusion: Vec<Value>,
    /// The etag the job must have.
    pub etag: Option<String>,
}

/// The fields of a job that can be updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum JobField {
    Title,
    Team,
    UserId,
    Username,
    Metadata,
    Assignee,
    ParentJobId,
    Priority,
    DueTime,
}

impl JobField {
    /// Every field, by its name in a mask.
    pub const ALL: [(&'static str, Self); 9] = [
        ("title", Self::Title),
        ("team", Self::Team),
        ("user_id", Self::UserId),
        ("username", Self::Username),
        ("metadata", Self::Metadata),
        ("assignee", Self::Assignee),
        ("parent_job_id", Self::ParentJobId),
        ("priority", Self::Priority),
        ("due_time", Self::DueTime),
    ];

    /// Whether the field is set in a job.
    #[must_use]
    pub fn is_set(self, job: &Job) -> bool {
        match self {
            Self::Title => job.title.is_some(),
            Self::Team => job.team.is_some(),
            Self::UserId => job.user_id.is_some(),
            Self::Username => job.username.is_some(),
            Self::Metadata => job.metadata.is_some(),
            Self::Assignee => job.assignee.is_some(),
            Self::ParentJobId => job.parent_job_id.is_some(),
            Self::Priority => job.priority != 0,
            Self::DueTime => job.due_time.is_some(),
        }
    }

    fn copy(self, from: &Job, to: &mut Job) {
        match self {
            Self::Title => to.title.clone_from(&from.title),
            Self::Team => to.team.clone_from(&from.team),
            Self::UserId => to.user_id.clone_from(&from.user_id),
            Self::Username => to.username.clone_from(&from.username),
            Self::Metadata => to.metadata.clone_from(&from.metadata),
            Self::Assignee => to.assignee.clone_from(&from.assignee),
            Self::ParentJobId => to.parent_job_id.clone_from(&from.parent_job_id),
            Self::Priority => to.priority = from.priority,
            Self::DueTime => to.due_time = from.due_time,
        }
    }
}

impl CreateJob {
    /// # Errors
    /// A job has or had one of the ids; the workflow is not published.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<CreateJobResponse>, Rejection> {
        match existing {
            Existing::Nothing => {}
            Existing::Deleted { job_id } => return Err(Rejection::JobIdRetired { job_id }),
            Existing::Job(state) => return Err(Rejection::JobAlreadyExists { job_id: state.job.job_id }),
        }
        let definition = match (&self.job.workflow, &context.workflow) {
            (Some(wanted), None) => {
                let (workflow_id, version_id) = (wanted.workflow_id.clone(), wanted.version_id.clone());
                return Err(Rejection::WorkflowNotFound { workflow_id, version_id });
            }
            (wanted, definition) => definition.as_deref().filter(|_| wanted.is_some()),
        };
        let mut job = Job::default();
        for (_, field) in JobField::ALL {
            field.copy(&self.job, &mut job);
        }
        job.job_id = self.job_id.clone().unwrap_or_else(|| context.new_ids.job_id());
        job.client_job_id = match self.job.client_job_id.as_str() {
            "" => job.job_id.clone(),
            client_job_id => client_job_id.to_owned(),
        };
        job.set_status(JobStatus::NotStarted);
        job.create_time = Some(context.now);

        let mut draft = Draft::new_job(Job { revision: 0, ..job.clone() }, context);
        let (mut given, mut starts) = (Vec::new(), Vec::<Step>::new());
        if let Some(definition) = definition {
            job.workflow = Some(definition.reference());
            given = definition.steps(&job.job_id, context.now);
            let is_start = |step: &&Step| definition.start_step_ids().contains(&step.step_id);
            starts = given.iter().filter(is_start).map(advance::visited).collect();
            job.current_step_ids = steps::by_rank(starts.iter());
            job.current_assignees = steps::assignees(starts.iter());
        }
        draft.record(JobEventType::JobCreated, |event| {
            event.job = Some(job.into());
            event.further_steps = given;
        });
        for step in starts {
            draft.record_step(JobEventType::StepActivated, step, Vec::new(), None);
        }
        Ok(draft.answer(|state| CreateJobResponse { job: Some(state.job.clone()) }))
    }
}

impl UpdateJob {
    /// # Errors
    /// No such job; it is closed, or has moved on.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<UpdateJobResponse>, Rejection> {
        let state = existing.into_job()?;
        check_etag(&state, self.etag.as_deref())?;
        if state.job.closed {
            return Err(Rejection::JobClosed { job_id: state.job.job_id });
        }
        let mut job = state.job.clone();
        for field in &self.fields {
            field.copy(&self.job, &mut job);
        }
        let changed = job != state.job;
        let mut draft = Draft::of(state, context);
        if changed {
            draft.record_job(JobEventType::JobUpdated, job);
        }
        Ok(draft.answer(|state| UpdateJobResponse { job: Some(state.job.clone()) }))
    }
}

impl AbortJob {
    /// # Errors
    /// No such job; it is completed, or has moved on.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<AbortJobResponse>, Rejection> {
        let state = existing.into_job()?;
        check_etag(&state, self.etag.as_deref())?;
        let mut draft = match state.job.status() {
            JobStatus::Completed => return Err(Rejection::JobCompleted { job_id: state.job.job_id }),
            JobStatus::Aborted => Draft::of(state, context),
            JobStatus::Unspecified | JobStatus::NotStarted | JobStatus::Active | JobStatus::Paused => {
                let mut draft = Draft::of(state, context);
                steps::cancel_running(&mut draft);
                let mut job = draft.state.job.clone();
                if self.reason.is_some() {
                    job.abandon_reason.clone_from(&self.reason);
                }
                job.set_status(JobStatus::Aborted);
                close(&mut job, context);
                draft.record_job(JobEventType::JobAborted, job);
                draft
            }
        };
        if !draft.state.job.closed {
            let mut job = draft.state.job.clone();
            close(&mut job, context);
            draft.record_job(JobEventType::JobClosed, job);
        }
        Ok(draft.answer(|state| AbortJobResponse { job: Some(state.job.clone()) }))
    }
}

impl CloseJob {
    /// # Errors
    /// No such job; steps of it are running, or it has moved on.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<CloseJobResponse>, Rejection> {
        let state = existing.into_job()?;
        check_etag(&state, self.etag.as_deref())?;
        let running = steps::running(&state);
        if !state.job.closed && !running.is_empty() {
            let step_ids = running.into_iter().map(|step| step.step_id).collect();
            return Err(Rejection::StepsRunning { job_id: state.job.job_id, step_ids });
        }
        let mut draft = Draft::of(state, context);
        if !draft.state.job.closed {
            let mut job = draft.state.job.clone();
            if job.status() != JobStatus::Completed {
                job.set_status(JobStatus::Aborted);
                draft.record_job(JobEventType::JobAborted, job.clone());
            }
            close(&mut job, context);
            draft.record_job(JobEventType::JobClosed, job);
        }
        Ok(draft.answer(|state| CloseJobResponse { job: Some(state.job.clone()) }))
    }
}

impl ExcludeJob {
    /// # Errors
    /// No such job; it has moved on.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<ExcludeJobResponse>, Rejection> {
        let state = existing.into_job()?;
        check_etag(&state, self.etag.as_deref())?;
        let (excluded, job_exclusion) = (Some(self.excluded), self.job_exclusion.clone());
        let job = Job { excluded, job_exclusion, ..state.job.clone() };
        let changed = job != state.job;
        let mut draft = Draft::of(state, context);
        if changed {
            draft.record_job(JobEventType::JobUpdated, job);
        }
        Ok(draft.answer(|state| ExcludeJobResponse { job: Some(state.job.clone()) }))
    }
}

impl DeleteJob {
    /// # Errors
    /// No such job; it has moved on.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<DeleteJobResponse>, Rejection> {
        let state = existing.into_job()?;
        check_etag(&state, self.etag.as_deref())?;
        let job = state.job.clone();
        let mut draft = Draft::of(state, context);
        draft.record_job(JobEventType::JobDeleted, job);
        Ok(draft.answer(|state| DeleteJobResponse { revision: state.job.revision }))
    }
}

/// Marks a job closed, at most once.
pub(super) fn close(job: &mut Job, context: &Context) {
    if !job.closed {
        job.closed = true;
        job.close_time = Some(context.now);
    }
}

pub(super) fn check_etag(state: &JobState, etag: Option<&str>) -> Result<(), Rejection> {
    match etag {
        Some(etag) if etag != state.job.etag => Err(Rejection::EtagMismatch { etag: state.job.etag.clone() }),
        _ => Ok(()),
    }
}
