//! What falls due by itself: holds whose time has come or whose dependency is met, and tasks that took too long.

use super::{Context, Decision, Existing, Rejection, decision::Draft, holds, tasks};
use crate::proto::v1::{CompletionStatus, Step};

/// Brings a job up to what time and other jobs have done to it. The server asks for it itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewJob {
    /// The job.
    pub job_id: String,
}

impl ReviewJob {
    /// The state must have all steps, the standing holds, and the linked tasks. A closed job's holds go as any other's; its
    /// steps stay.
    ///
    /// # Errors
    /// No such job.
    pub fn decide(&self, existing: Existing, context: &Context) -> Result<Decision<()>, Rejection> {
        let state = existing.into_job()?;
        let step_ids: Vec<String> = state.steps.keys().cloned().collect();
        let mut draft = Draft::of(state, context);
        for step_id in step_ids {
            let step = draft.state.steps[&step_id].clone();
            if !step.hold_ids.is_empty() {
                holds::review(&mut draft, &step_id);
            }
            if is_overdue(&draft, &step) {
                tasks::end(&mut draft, &step, CompletionStatus::TempError);
                tasks::follow_if_linked(&mut draft, &step_id, &step.task_id);
            }
        }
        Ok(draft.answer(|_| ()))
    }
}

fn is_overdue(draft: &Draft<'_>, step: &Step) -> bool {
    tasks::linked(&draft.state, step).is_some_and(|task| tasks::is_overdue(task, &draft.context.now))
}
