//! Taking a job up again: SPEC 3.6.

use super::{
    Context, Decision, Existing, JobState, Rejection, advance, decision::Draft, job, steps, tasks,
    time::compare_times,
};
use crate::proto::{
    storage::v1::SyncRecord,
    v1::{CompletionStatus, Job, JobEventType, JobStatus, ReopenJobResponse, Step, StepStatus},
};

/// Takes a job up again that is closed, completed, or has no current step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReopenJob {
    /// The job.
    pub job_id: String,
    /// The steps that shall be current, each once; empty: those that were last.
    pub step_ids: Vec<String>,
    /// The etag the job must have.
    pub etag: Option<String>,
}

impl ReopenJob {
    /// The state must have all steps, the linked tasks, and what the merge keeps.
    ///
    /// # Errors
    /// No such job, or not all of the steps in it; it has moved on; there is nothing to take up again.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<ReopenJobResponse>, Rejection> {
        let state = existing.into_job()?;
        job::check_etag(&state, self.etag.as_deref())?;
        let unknown = self.step_ids.iter().filter(|id| !state.steps.contains_key(*id));
        let unknown: Vec<String> = unknown.cloned().collect();
        if !unknown.is_empty() {
            return Err(Rejection::StepNotFound { job_id: state.job.job_id, step_ids: unknown });
        }
        let is_over = state.job.closed || state.job.status() == JobStatus::Completed;
        if !is_over && !state.job.current_step_ids.is_empty() {
            return Err(Rejection::JobOpen { job_id: state.job.job_id });
        }

        let (kept, taken_up) = self.current(&state);
        let mut draft = Draft::of(state, context);
        record_reopened(&mut draft, kept);
        for step_id in taken_up {
            advance::activate(&mut draft, &step_id);
        }
        if draft.state.sync.is_some() {
            // What devices say from now on has nothing to lose against.
            draft.record_sync(SyncRecord::default());
        }
        Ok(draft.answer(|state| ReopenJobResponse { job: Some(state.job.clone()) }))
    }

    /// The steps that stay current as they are, and those that become current for another visit.
    fn current(&self, state: &JobState) -> (Vec<String>, Vec<String>) {
        let current = &state.job.current_step_ids;
        if !self.step_ids.is_empty() {
            let is_open = |id: &&String| state.steps[*id].is_open();
            return self.step_ids.iter().cloned().partition(|id| is_open(&id));
        }
        if current.is_empty() { (Vec::new(), last_done(state)) } else { (current.clone(), Vec::new()) }
    }
}

/// Tells that the job is open again. Of the steps that were current these stay so.
fn record_reopened(draft: &mut Draft<'_>, kept: Vec<String>) {
    let state = &draft.state;
    let before = &state.job.current_step_ids;
    let is_set_aside = |step: &&Step| {
        before.contains(&step.step_id) && !kept.contains(&step.step_id) || step.awaits_join && kept != *before
    };
    let set_aside: Vec<Step> = state.steps.values().filter(is_set_aside).cloned().collect();
    for step in &set_aside {
        tasks::end(draft, step, CompletionStatus::Terminated);
    }
    let stamp = |step: Step| Step { update_time: Some(draft.context.now), ..step };
    let set_aside: Vec<Step> = set_aside.iter().map(advance::set_aside).map(stamp).collect();
    let state = &draft.state;
    let job = steps::with_current(state, Some(kept), |id| set_aside.iter().find(|step| step.step_id == id));
    let mut job = Job { closed: false, close_time: None, ..job.unwrap_or_else(|| state.job.clone()) };
    job.abandon_reason = None;
    job.objective_code = None;
    job.set_status(JobStatus::Active);
    draft.record(JobEventType::JobReopened, |event| {
        event.job = Some(job.into());
        event.further_steps = set_aside;
    });
}

/// The steps that were done last, all at the same moment.
fn last_done(state: &JobState) -> Vec<String> {
    // One that was done once and is not any more still has the time.
    let is_done = |step: &&Step| matches!(step.status(), StepStatus::Finished | StepStatus::Skipped);
    let done = || state.steps.values().filter(is_done);
    let times = done().map(|step| step.finish_time.as_ref());
    let last = times.max_by(|left, right| compare_times(*left, *right)).flatten();
    steps::by_rank(done().filter(|step| step.finish_time.as_ref() == last))
}
