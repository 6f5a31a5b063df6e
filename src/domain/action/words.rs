//! What an action is answered, in words.

use crate::proto::v1::{
    Hold, HoldKind, JobActionType as Action, Step, StepActionStatus as Status, StepStatus,
};

/// How many remarks an answer has.
const REMARKS_MAX: usize = 3;

/// The answer in a sentence, with what the status alone does not tell. `step` is as the action left it.
pub(super) fn description(action: Action, status: Status, step: Option<&Step>, remarks: &[String]) -> String {
    let sentence = match status {
        Status::Success => success(action, step.map(Step::status).unwrap_or_default()),
        Status::NoStartedStep => "The step was not started, and it cannot be skipped",
        Status::NoActiveStep => "The job has no current step",
        Status::AlreadyExecuting if action == Action::SetCurrentStep => "A step of the job is running",
        Status::AlreadyExecuting => "The step is running",
        Status::AssignedToDifferentUser => "The step is assigned to somebody else",
        Status::JobClosed => "The job is closed",
        Status::StepNotCurrent if action == Action::Hold => "The step is done",
        Status::StepNotCurrent => "The step is not a current one",
        Status::NoMatchingPaths => "No path from the step has a condition that is true",
        Status::NotRunning => "The step is not running",
        Status::WaitingForInfo => "The step waits for its answer",
        Status::Held => "The step is on hold",
        Status::NotHeld => "The step has no such hold",
        Status::StepNotInDiagram => "The job has no such step",
        Status::StepNotAuto => "The step is not an automatic one with a task",
        Status::Unspecified => "",
    };
    let mut text = sentence.to_owned();
    for (index, remark) in remarks.iter().take(REMARKS_MAX).enumerate() {
        text.push_str(if index == 0 { ": " } else { "; " });
        text.push_str(remark);
    }
    if remarks.len() > REMARKS_MAX {
        text.push_str(&format!("; and {} more", remarks.len() - REMARKS_MAX));
    }
    text
}

fn success(action: Action, left_as: StepStatus) -> &'static str {
    match (action, left_as) {
        (Action::Run, StepStatus::WaitingForInfo) => "The step was started, and waits for its answer",
        (Action::Run, StepStatus::Executed) => "The step was answered",
        // It can have been reached again already.
        (Action::Run, StepStatus::Finished | StepStatus::Ready) => {
            "The step was started running, and finished"
        }
        (Action::Run, _) => "The step was started running",
        (Action::Finish, StepStatus::Skipped) => "The step was skipped",
        (Action::Finish, _) => "The step was finished",
        (Action::Stop, StepStatus::Paused) => "The step was paused",
        (Action::Stop, _) => "The step was cancelled",
        (Action::SetCurrentStep, _) => "The step is the current one",
        (Action::Hold, _) => "The step was put on hold",
        (Action::ReleaseHold, _) => "The holds were released from the step",
        (Action::RefreshStatus, _) => "The step follows its task",
        (Action::Unspecified, _) => "",
    }
}

/// A hold that stands in the way.
pub(super) fn hold(hold: &Hold) -> String {
    let mut text = format!("hold {} by {}", hold.hold_id, hold.placed_by);
    if let Some(time) = &hold.scheduled_release_time {
        text.push_str(&format!(" until {time}"));
    }
    if hold.kind() == HoldKind::Dependency {
        text.push_str(&format!(" for job {}", hold.dependent_job_id()));
        if let Some(step_id) = &hold.dependent_step_id {
            text.push_str(&format!(", step {step_id}"));
        }
    }
    if hold.orphaned {
        text.push_str(" (orphaned)");
    }
    text
}
