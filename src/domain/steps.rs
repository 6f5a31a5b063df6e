//! The order of a job's steps, and which of them are current.

use super::JobState;
use crate::proto::v1::{JobEvent, JobEventType, SingleStep, Step, StepEntry, StepReport, StepStatus};

impl Step {
    /// Reached, and not done.
    pub(super) fn is_open(&self) -> bool {
        match self.status() {
            StepStatus::Ready
            | StepStatus::Running
            | StepStatus::WaitingForInfo
            | StepStatus::Executed
            | StepStatus::Paused
            | StepStatus::Cancelled
            | StepStatus::Error => true,
            StepStatus::Unspecified | StepStatus::Pending | StepStatus::Finished | StepStatus::Skipped => {
                false
            }
        }
    }

    /// Somebody or something is at it.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.status(), StepStatus::Running | StepStatus::WaitingForInfo)
    }

    /// Where it stands among the steps: by number, those without one last, then by id.
    #[must_use]
    pub fn rank(&self) -> (bool, i32, &str) {
        (self.number.is_none(), self.number.unwrap_or_default(), &self.step_id)
    }
}

impl StepReport {
    /// The report's identity in its job.
    #[must_use]
    pub fn unique_step_id(&self) -> &str {
        self.entry.as_ref().and_then(|entry| entry.step()).map_or("", |step| step.unique_step_id())
    }
}

impl StepEntry {
    /// The step, whichever of the two it came as.
    #[must_use]
    pub fn step(&self) -> Option<&SingleStep> {
        self.single_step.as_ref().or(self.report_step.as_ref())
    }
}

/// The steps that a synced job is at: the one the device says, if that is open; else all that are.
pub(super) fn current_step_ids<'s>(
    device_step_id: Option<&str>,
    steps: impl Iterator<Item = &'s Step> + Clone,
) -> Vec<String> {
    let mut open: Vec<_> = steps.filter(|step| step.is_open()).collect();
    if let Some(device) = open.iter().find(|step| Some(step.step_id.as_str()) == device_step_id) {
        return vec![device.step_id.clone()];
    }
    open.sort_by(|left, right| left.rank().cmp(&right.rank()));
    open.into_iter().map(|step| step.step_id.clone()).collect()
}

/// The steps of the state that are running, by rank.
pub(super) fn running(state: &JobState) -> Vec<Step> {
    let mut running: Vec<_> = state.steps.values().filter(|step| step.is_running()).cloned().collect();
    running.sort_by(|left, right| left.rank().cmp(&right.rank()));
    running
}

/// What an abort does to the running steps.
pub(super) fn cancel_running(draft: &mut super::decision::Draft<'_>) {
    for mut step in running(&draft.state) {
        step.set_status(StepStatus::Cancelled);
        draft.record(JobEventType::StepCancelled, |event: &mut JobEvent| {
            step.update_time = event.time;
            event.step = Some(step);
        });
    }
}
