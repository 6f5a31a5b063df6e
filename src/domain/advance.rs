//! Going on: what follows when the work of a step is done: SPEC 3.4.
//!
//! A step that is left leads to all steps whose paths are true. A step where paths of several steps meet (`join` ALL)
//! becomes current when no current step can still lead to it:
//!
//! * Steps that are reached together, or released with them, do not wait for one another, unless paths lead from one to the
//!   other and not back. A way through the step that was just left does not count there: it is the next round of a loop.
//! * From another step that is current, every way counts.
//! * A step that only one step leads to has nothing to wait for.

use std::{
    cell::OnceCell,
    collections::{BTreeSet, HashMap},
};

use super::{decision::Draft, steps, tasks, workflow::Definition};
use crate::proto::v1::{CompletionStatus, JobEventType, JobStatus, Step, StepStatus, TaskStatus};

/// What is left to be said when a step's paths were asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// None of the step's paths is true: it was not left.
    pub(super) is_stuck: bool,
    /// The conditions that could not be evaluated.
    pub(super) failures: Vec<String>,
}

/// Gives a step another status, and tells it.
pub(super) fn set_status(draft: &mut Draft<'_>, mut step: Step, status: StepStatus, kind: JobEventType) {
    step.set_status(status);
    draft.record_step(kind, step, Vec::new(), None);
}

/// The work of a step is done: it waits for Finish, or goes on at once where its definition says so.
pub(super) fn executed(draft: &mut Draft<'_>, mut step: Step) -> Left {
    step.set_status(StepStatus::Executed);
    draft.record_step(JobEventType::StepExecuted, step.clone(), Vec::new(), None);
    if step.proceed_to_next { finish(draft, step) } else { Left::default() }
}

/// Finishes a step and goes on along its paths. Where none is true, its work is done and it stays.
pub(super) fn finish(draft: &mut Draft<'_>, step: Step) -> Left {
    let outcome = match tasks::linked(&draft.state, &step).map(TaskStatus::completion_status) {
        Some(CompletionStatus::Success) => "SUCCESS",
        Some(CompletionStatus::Warning) => "WARNING",
        _ => "FINISHED",
    };
    let left = leave(draft, &step, StepStatus::Finished, outcome);
    let answer = draft.state.steps.get(&step.step_id).and_then(|before| before.answer.as_ref());
    if left.is_stuck && (step.status() != StepStatus::Executed || step.answer.as_ref() != answer) {
        set_status(draft, step, StepStatus::Executed, JobEventType::StepExecuted);
    }
    left
}

/// Skips a step and goes on along its paths. Where none is true, it stays as it was.
pub(super) fn skip(draft: &mut Draft<'_>, step: &Step) -> Left {
    leave(draft, step, StepStatus::Skipped, "SKIPPED")
}

fn leave(draft: &mut Draft<'_>, step: &Step, status: StepStatus, outcome: &str) -> Left {
    let context = draft.context;
    let definition = context.workflow.as_deref().filter(|_| steps::follows_definition(&draft.state.job));
    let begun = draft.begun();
    let job = begun.as_ref().unwrap_or(&draft.state.job);
    let followed = definition.map(|definition| definition.follow(job, step, outcome));
    let followed = followed.unwrap_or_default();
    let is_stuck = definition.is_some() && !followed.is_end && followed.next.is_empty();
    let left = Left { is_stuck, failures: followed.failures };
    if is_stuck {
        return left;
    }

    let mut done = step.clone();
    done.set_status(status);
    done.finish_time = Some(context.now);
    let mut current = draft.state.job.current_step_ids.clone();
    current.retain(|id| *id != step.step_id);
    let (reached, mut waiting) = match definition {
        Some(definition) => reached(draft, definition, &step.step_id, &followed.next, &current),
        None => (Vec::new(), Vec::new()),
    };
    // A step can lead to itself, and wait there for others.
    done.awaits_join |= waiting.iter().any(|waiting| waiting.step_id == done.step_id);
    waiting.retain(|waiting| waiting.step_id != done.step_id);
    let kind =
        if status == StepStatus::Skipped { JobEventType::StepSkipped } else { JobEventType::StepFinished };
    // The job is told once, as it is when all of this has happened.
    current.extend(reached.iter().cloned());
    draft.record_step(kind, done, waiting, Some(current));
    for step_id in reached {
        activate(draft, &step_id);
    }
    // Of a job without a definition only what devices reported is known: they say when it is done.
    let job = &draft.state.job;
    if definition.is_some() && job.current_step_ids.is_empty() && job.status() != JobStatus::Completed {
        let mut job = job.clone();
        job.set_status(JobStatus::Completed);
        draft.record_job(JobEventType::JobCompleted, job);
    }
    left
}

/// The steps that become current when one is left, and those that from now on wait for others as well.
fn reached(
    draft: &Draft<'_>,
    definition: &Definition,
    left: &str,
    next: &[String],
    current: &[String],
) -> (Vec<String>, Vec<Step>) {
    let steps = &draft.state.steps;
    let is_new = |id: &&String| !current.contains(id) && steps.get(*id).is_some_and(|step| !step.awaits_join);
    let new: Vec<&str> = next.iter().filter(is_new).map(String::as_str).collect();
    let already = steps.values().filter(|step| step.awaits_join).map(|step| step.step_id.as_str());
    let mut waiting: Vec<&str> = already.chain(new.iter().copied()).collect();
    let mut reached = ready(definition, &new, &waiting, current, Some(left));

    waiting.retain(|id| !reached.contains(*id));
    let going: Vec<String> = current.iter().cloned().chain(reached.iter().cloned()).collect();
    reached.extend(ready(definition, &waiting, &waiting, &going, Some(left)));

    let newly_waiting = new.iter().filter(|id| !reached.contains(**id)).filter_map(|id| steps.get(*id));
    let newly_waiting = newly_waiting.map(|step| Step { awaits_join: true, ..step.clone() }).collect();
    (steps::by_rank(reached.iter().filter_map(|id| steps.get(id))), newly_waiting)
}

/// Makes current the steps that waited for others which, by something else than going on, are current no more; and one that
/// waited where the device is now.
pub(super) fn settle(draft: &mut Draft<'_>) {
    let context = draft.context;
    let Some(definition) = context.workflow.as_deref() else { return };
    let state = &draft.state;
    let waiting = state.steps.values().filter(|step| step.awaits_join).map(|step| step.step_id.as_str());
    let waiting: Vec<&str> = waiting.collect();
    let current = &state.job.current_step_ids;
    let mut reached = ready(definition, &waiting, &waiting, current, None);
    reached.extend(current.iter().filter(|id| waiting.contains(&id.as_str())).cloned());
    for step_id in reached {
        activate(draft, &step_id);
    }
}

/// Those of some steps that have nothing to wait for: neither a current step, nor another one that waits or is reached,
/// themselves among those.
fn ready(
    definition: &Definition,
    steps: &[&str],
    others: &[&str],
    current: &[String],
    left: Option<&str>,
) -> BTreeSet<String> {
    let known: HashMap<&str, OnceCell<_>> =
        others.iter().map(|step_id| (*step_id, OnceCell::new())).collect();
    let before = |step_id: &str| known[step_id].get_or_init(|| definition.before(step_id, left));
    let is_ready = |step_id: &&&str| {
        let step_id = **step_id;
        let waits_for_current = || current.iter().any(|current| definition.leads_to(current, step_id));
        let waits_for_other = || {
            let mut others = others.iter().filter(|other| before(step_id).contains(*other));
            others.any(|other| !before(other).contains(step_id))
        };
        !definition.joins(step_id) || !waits_for_current() && !waits_for_other()
    };
    steps.iter().filter(is_ready).map(|step_id| (*step_id).to_owned()).collect()
}

/// Makes a step current, for another visit.
pub(super) fn activate(draft: &mut Draft<'_>, step_id: &str) {
    let Some(step) = draft.state.steps.get(step_id).cloned() else { return };
    // It can run without being current: a device said that it is elsewhere.
    tasks::end(draft, &step, CompletionStatus::Terminated);
    let step = visited(&step);
    let mut current = draft.state.job.current_step_ids.clone();
    if !current.contains(&step.step_id) {
        current.push(step.step_id.clone());
    }
    draft.record_step(JobEventType::StepActivated, step, Vec::new(), Some(current));
}

/// A step at the beginning of another visit. What an earlier one left goes; holds stay.
pub(super) fn visited(step: &Step) -> Step {
    let mut step = Step { visit: step.visit + 1, ..cleared(step) };
    step.set_status(StepStatus::Ready);
    step
}

/// A step that another one is taken up instead of. If it was reached and not done, it is as before its visit; if it waited
/// for others, to be reached again, no more than the waiting goes.
pub(super) fn set_aside(step: &Step) -> Step {
    if step.awaits_join || !step.is_open() {
        return Step { awaits_join: false, ..step.clone() };
    }
    let mut step = Step { visit: (step.visit - 1).max(0), ..cleared(step) };
    step.set_status(StepStatus::Pending);
    step
}

fn cleared(step: &Step) -> Step {
    Step { answer: None, task_id: String::new(), start_time: None, awaits_join: false, ..step.clone() }
}
