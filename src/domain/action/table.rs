//! The table of SPEC 3.4: what an action does to a step, by where the step is. The columns that are not here come before
//! it (whether the step may be acted on at all) or after it (what going on along the paths does).

use crate::proto::v1::{
    JobActionType::{self, Finish, Hold, RefreshStatus, ReleaseHold, Run, SetCurrentStep, Stop},
    StepActionStatus::{self, AlreadyExecuting, NoStartedStep, NotRunning, StepNotCurrent, WaitingForInfo},
    StepKind,
    StepStatus::{
        self, Cancelled, Error, Executed, Finished, Paused, Pending, Ready, Running, Skipped,
        WaitingForInfo as Waiting,
    },
};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Begin the step's work, as its kind has it: see [`Start`].
    Start,
    /// Take the answer that a question waits for.
    TakeAnswer,
    /// Finish the step, and go on. Not while its task is open, nor without the answer of a question.
    Finish,
    /// Skip the step, and go on.
    Skip,
    /// Break the step's work off, as its kind has it: see [`Break`].
    Break,
    /// Make the step the only current one.
    SetCurrent,
    /// Place one more hold.
    PlaceHold,
    /// Release the holds that are meant.
    ReleaseHolds,
    /// Have the step follow its task.
    FollowTask,
    /// Nothing: this is the answer.
    Answer(StepActionStatus),
}

/// How the work of a step begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// RUNNING; with `proceed_to_next` on to FINISHED.
    Work,
    /// With the answer EXECUTED, or with `proceed_to_next` on to FINISHED; without it WAITING_FOR_INFO.
    Ask,
    /// RUNNING, with a task of its own.
    Dispatch,
}

/// How the work of a step is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// PAUSED.
    Pause,
    /// CANCELLED, and its task TERMINATED.
    Cancel,
}

/// What the action meets, and what it does. The first row that fits holds.
const TABLE: &[(JobActionType, &[StepStatus], Rule)] = &[
    (Run, &[Ready, Paused, Cancelled, Error, Executed], Rule::Start),
    (Run, &[Waiting], Rule::TakeAnswer),
    (Run, &[Running], Rule::Answer(AlreadyExecuting)),
    (Run, &[Pending, Finished, Skipped], Rule::Answer(StepNotCurrent)),
    (Finish, &[Running, Paused, Executed], Rule::Finish),
    (Finish, &[Waiting], Rule::TakeAnswer),
    (Finish, &[Ready, Cancelled, Error], Rule::Skip),
    (Finish, &[Pending, Finished, Skipped], Rule::Answer(StepNotCurrent)),
    (Stop, &[Running, Waiting], Rule::Break),
    (Stop, ALL, Rule::Answer(NotRunning)),
    (SetCurrentStep, ALL, Rule::SetCurrent),
    (Hold, &[Pending, Ready, Paused, Executed, Cancelled, Error], Rule::PlaceHold),
    (Hold, &[Running, Waiting], Rule::Answer(AlreadyExecuting)),
    (Hold, &[Finished, Skipped], Rule::Answer(StepNotCurrent)),
    (ReleaseHold, ALL, Rule::ReleaseHolds),
    (RefreshStatus, ALL, Rule::FollowTask),
];

const ALL: &[StepStatus] =
    &[Pending, Ready, Running, Waiting, Executed, Paused, Cancelled, Finished, Skipped, Error];

/// The answer to Finish of a step that was not begun, and may not be skipped.
pub(super) const NOT_BEGUN: StepActionStatus = NoStartedStep;

/// The answer for a question that is to go on without its answer.
pub(super) const UNANSWERED: StepActionStatus = WaitingForInfo;

/// The rule for an action on a step.
pub(super) fn rule(action: JobActionType, status: StepStatus) -> Rule {
    let row = TABLE.iter().find(|(of, statuses, _)| *of == action && statuses.contains(&status));
    row.map_or(Rule::Answer(StepNotCurrent), |(_, _, rule)| *rule)
}

/// How the work of a step of that kind begins.
pub(super) fn start(kind: StepKind) -> Start {
    match kind {
        StepKind::Manual | StepKind::OpenApp | StepKind::Unspecified => Start::Work,
        StepKind::Question => Start::Ask,
        StepKind::Automatic => Start::Dispatch,
    }
}

/// How the work of a step of that kind is broken off.
pub(super) fn break_off(kind: StepKind) -> Break {
    match kind {
        StepKind::Manual | StepKind::OpenApp | StepKind::Unspecified => Break::Pause,
        StepKind::Question | StepKind::Automatic => Break::Cancel,
    }
}
