//! Holds: what one waits for, and how it is placed and released: SPEC 3.4.

use std::collections::BTreeMap;

use prost_types::Timestamp;

use super::{Context, Existing, JobState, Rejection, decision::Draft, time::compare_times};
use crate::proto::v1::{Hold, HoldKind, HoldReleaseCause, JobEventType, JobStatus, Step, StepStatus, actor};

/// The most holds that may stand on a step.
pub const HOLDS_PER_STEP_MAX: usize = 100;

/// The most holds that may stand in a job: one command may release them all.
pub const HOLDS_PER_JOB_MAX: usize = 1000;

/// What a hold can wait for: a job, or a step of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dependency {
    /// The job.
    pub job_id: String,
    /// The step of it; `None`: the whole job.
    pub step_id: Option<String>,
}

/// How far it is with what a hold waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependencyState {
    /// There is no such job, or no such step in it.
    Unknown,
    /// It is not done.
    Open,
    /// It is done: the job is COMPLETED, or the step FINISHED or SKIPPED.
    Met,
    /// The job was aborted before it was done.
    Aborted,
    /// The job was deleted.
    Deleted,
}

/// How far it is with everything that a decision asks about.
pub type Dependencies = BTreeMap<Dependency, DependencyState>;

/// What lifts a hold that is to be placed, beside a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldTerms {
    /// The time at which it goes.
    pub scheduled_release: Option<Timestamp>,
    /// What it waits for.
    pub dependency: Option<Dependency>,
}

/// Whether what a hold is to wait for waits, in turn, for the step to be held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Circle {
    /// It does not.
    #[default]
    None,
    /// It does, by this way: from the step to be held and back to it.
    Way(Vec<String>),
    /// More steps wait for one another than are looked at.
    Unknown {
        /// How many are.
        looked_at_max: u64,
    },
}

impl Dependency {
    /// What a hold waits for, if it waits for anything but time and people.
    #[must_use]
    pub fn of(hold: &Hold) -> Option<Self> {
        let job_id = hold.dependent_job_id.clone()?;
        Some(Self { job_id, step_id: hold.dependent_step_id.clone() })
    }

    /// How far it is with it. Of the job, no more than the step that is named need be known.
    #[must_use]
    pub fn state(&self, existing: &Existing) -> DependencyState {
        match existing {
            Existing::Nothing => DependencyState::Unknown,
            Existing::Deleted { .. } => DependencyState::Deleted,
            Existing::Job(state) => self.state_in(state),
        }
    }

    fn state_in(&self, state: &JobState) -> DependencyState {
        let step = self.step_id.as_ref().map(|step_id| state.steps.get(step_id).map(Step::status));
        match (state.job.status(), step) {
            (_, Some(None)) => DependencyState::Unknown,
            (_, Some(Some(StepStatus::Finished | StepStatus::Skipped))) | (JobStatus::Completed, _) => {
                DependencyState::Met
            }
            (JobStatus::Aborted, _) => DependencyState::Aborted,
            (JobStatus::Unspecified | JobStatus::NotStarted | JobStatus::Active | JobStatus::Paused, _) => {
                DependencyState::Open
            }
        }
    }
}

impl HoldTerms {
    fn kind(&self) -> HoldKind {
        match (&self.dependency, self.scheduled_release) {
            (Some(_), _) => HoldKind::Dependency,
            (None, Some(_)) => HoldKind::Scheduled,
            (None, None) => HoldKind::Manual,
        }
    }
}

impl Hold {
    /// Not released yet.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.release_time.is_none()
    }
}

/// The holds that stand on a step, by id. They must be loaded.
pub(super) fn standing<'s>(state: &'s JobState, step_id: &str) -> Vec<&'s Hold> {
    let ids = state.steps.get(step_id).map(|step| step.hold_ids.as_slice()).unwrap_or_default();
    ids.iter().filter_map(|id| state.holds.get(id)).collect()
}

/// How far it is with what a hold waits for, as far as the decision has come; `None`: it waits for nothing.
fn dependency_state(
    state: &JobState,
    context: &Context,
    dependency: Option<&Dependency>,
) -> Option<DependencyState> {
    let dependency = dependency?;
    if dependency.job_id == state.job.job_id {
        return Some(dependency.state_in(state));
    }
    context.dependencies.get(dependency).copied()
}

/// Places one more hold on a step. One whose time has come already, or whose dependency is met, is released at once.
/// `circle` tells whether what it would wait for waits for the step.
///
/// # Errors
/// What it should wait for is not there, or waits for the step; too many stand on the step, or in the job.
pub(super) fn place(
    draft: &mut Draft<'_>,
    step_id: &str,
    terms: &HoldTerms,
    circle: &Circle,
) -> Result<(), Rejection> {
    let context = draft.context;
    let dependency =
        match (&terms.dependency, dependency_state(&draft.state, context, terms.dependency.as_ref())) {
            (None, _) => DependencyState::Open,
            (Some(dependency), None | Some(DependencyState::Unknown | DependencyState::Deleted)) => {
                return Err(Rejection::DependencyNotFound(dependency.clone()));
            }
            (Some(_), Some(state)) => state,
        };
    let time = terms.scheduled_release.as_ref();
    let goes_at_once = dependency == DependencyState::Met || is_past(time, context);
    match circle {
        Circle::Way(circle) if !goes_at_once => {
            return Err(Rejection::DependencyCircle { circle: circle.clone() });
        }
        Circle::Unknown { looked_at_max } if !goes_at_once => {
            return Err(Rejection::LimitExceeded { limit: "dependencies", maximum: *looked_at_max });
        }
        Circle::None | Circle::Way(_) | Circle::Unknown { .. } => {}
    }
    let of_job: usize = draft.state.steps.values().map(|step| step.hold_ids.len()).sum();
    if of_job >= HOLDS_PER_JOB_MAX && !goes_at_once {
        return Err(Rejection::LimitExceeded { limit: "holds_per_job", maximum: HOLDS_PER_JOB_MAX as u64 });
    }
    let mut step = draft.state.steps.get(step_id).cloned().unwrap_or_default();
    if step.hold_ids.len() >= HOLDS_PER_STEP_MAX && !goes_at_once {
        return Err(Rejection::LimitExceeded { limit: "holds_per_step", maximum: HOLDS_PER_STEP_MAX as u64 });
    }
    let hold = Hold {
        hold_id: draft.new_id("hold_"),
        job_id: draft.state.job.job_id.clone(),
        step_id: step_id.to_owned(),
        kind: terms.kind().into(),
        placed_by: context.actor.id.clone(),
        place_time: Some(context.now),
        scheduled_release_time: terms.scheduled_release,
        dependent_job_id: terms.dependency.as_ref().map(|dependency| dependency.job_id.clone()),
        dependent_step_id: terms.dependency.as_ref().and_then(|dependency| dependency.step_id.clone()),
        orphaned: dependency == DependencyState::Aborted,
        ..Hold::default()
    };
    step.hold_ids.push(hold.hold_id.clone());
    record(draft, JobEventType::HoldPlaced, hold, step);
    review(draft, step_id);
    Ok(())
}

/// Releases from a step the holds that ReleaseHold means: those that wait for exactly this, or the manual and the
/// scheduled ones. Tells whether there were any.
pub(super) fn release(draft: &mut Draft<'_>, step_id: &str, dependency: Option<&Dependency>) -> bool {
    let is_meant = |hold: &&Hold| match hold.kind() {
        HoldKind::Dependency => dependency.is_some() && Dependency::of(hold).as_ref() == dependency,
        HoldKind::Manual | HoldKind::Scheduled | HoldKind::Unspecified => dependency.is_none(),
    };
    let meant: Vec<Hold> = standing(&draft.state, step_id).into_iter().filter(is_meant).cloned().collect();
    let any = !meant.is_empty();
    for hold in meant {
        lift(draft, hold, HoldReleaseCause::Manual);
    }
    any
}

/// Releases from a step the holds whose time has come or whose dependency is met, and marks those that nothing but a
/// person can release.
pub(super) fn review(draft: &mut Draft<'_>, step_id: &str) {
    let standing: Vec<Hold> = standing(&draft.state, step_id).into_iter().cloned().collect();
    for mut hold in standing {
        let context = draft.context;
        let dependency = dependency_state(&draft.state, context, Dependency::of(&hold).as_ref());
        if is_due(&hold, context) {
            lift(draft, hold, HoldReleaseCause::Schedule);
        } else if dependency == Some(DependencyState::Met) {
            lift(draft, hold, HoldReleaseCause::Dependency);
        } else if let Some(dependency) = dependency {
            let orphaned = dependency != DependencyState::Open;
            if hold.orphaned != orphaned {
                hold.orphaned = orphaned;
                let step = draft.state.steps.get(step_id).cloned().unwrap_or_default();
                record(draft, JobEventType::HoldUpdated, hold, step);
            }
        }
    }
}

/// Its time has come.
pub(super) fn is_due(hold: &Hold, context: &Context) -> bool {
    is_past(hold.scheduled_release_time.as_ref(), context)
}

/// Its time has come, or what it waits for is done: it is gone, whether or not that is told already.
pub(super) fn is_over(hold: &Hold, state: &JobState, context: &Context) -> bool {
    let dependency = dependency_state(state, context, Dependency::of(hold).as_ref());
    is_due(hold, context) || dependency == Some(DependencyState::Met)
}

fn is_past(time: Option<&Timestamp>, context: &Context) -> bool {
    time.is_some() && compare_times(time, Some(&context.now)).is_le()
}

fn lift(draft: &mut Draft<'_>, mut hold: Hold, cause: HoldReleaseCause) {
    let context = draft.context;
    let mut step = draft.state.steps.get(&hold.step_id).cloned().unwrap_or_default();
    step.hold_ids.retain(|id| *id != hold.hold_id);
    hold.release_time = Some(context.now);
    hold.set_release_cause(cause);
    if cause == HoldReleaseCause::Manual && context.actor.kind() != actor::Kind::Server {
        hold.released_by.clone_from(&context.actor.id);
    }
    record(draft, JobEventType::HoldReleased, hold, step);
}

fn record(draft: &mut Draft<'_>, kind: JobEventType, hold: Hold, mut step: Step) {
    draft.record(kind, |event| {
        step.update_time = event.time;
        event.hold = Some(hold.into());
        event.step = Some(step.into());
    });
}
