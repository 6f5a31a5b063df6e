//! What falls due by itself: holds whose time has come or whose dependency is met, and tasks that took too long.

use super::{Context, Decision, Existing, Rejection, decision::Draft, holds, tasks};

/// Brings the holds of a job up to what time and other jobs have done to them. The server asks for it itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewJob {
    /// The job.
    pub job_id: String,
}

impl ReviewJob {
    /// The state must have all steps and the standing holds. A closed job's holds go as any other's; its steps stay.
    ///
    /// # Errors
    /// No such job.
    pub fn decide(&self, existing: Existing, context: &Context) -> Result<Decision<()>, Rejection> {
        let state = existing.into_job()?;
        let step_ids: Vec<String> = state.steps.keys().cloned().collect();
        let mut draft = Draft::of(state, context);
        for step_id in step_ids {
            if !draft.state.steps[&step_id].hold_ids.is_empty() {
                holds::review(&mut draft, &step_id);
            }
        }
        Ok(draft.answer(|_| ()))
    }
}

/// Ends a task that took too long. The server asks for it itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewTask {
    /// The task.
    pub task_id: String,
}

impl ReviewTask {
    /// The state must have the task and, if it does the work of a step, all steps.
    ///
    /// # Errors
    /// No such task.
    pub fn decide(&self, existing: Existing, context: &Context) -> Result<Decision<()>, Rejection> {
        let state = existing.into_job().map_err(|_| Rejection::TaskNotFound)?;
        let mut draft = Draft::of(state, context);
        tasks::end_overdue(&mut draft, &self.task_id);
        Ok(draft.answer(|_| ()))
    }
}
