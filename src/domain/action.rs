//! PerformJobAction: SPEC 3.4. What an action does to a step is in `table.rs`; here is what comes before and after it.

mod table;
#[cfg(test)]
mod tests;
mod words;

use prost_types::{Timestamp, Value};

use self::table::{Break, Rule, Start};
use super::{
    Circle, Context, Decision, Existing, HoldTerms, JobState, Rejection, advance, decision::Draft, holds,
    job, steps, tasks,
};
use crate::proto::v1::{
    Assignee, CompletionStatus, Job, JobActionType, JobEventType, PerformJobActionResponse, Step,
    StepActionStatus, StepKind, StepResponse, StepStatus, TaskStatus, assignee,
};

/// Acts on steps of a job.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "two are asked for, two are the asker's, each by itself")]
pub struct PerformJobAction {
    /// The job.
    pub job_id: String,
    /// What to do.
    pub action: JobActionType,
    /// The steps, each once; empty: the current ones, or for ReleaseHold those on hold. SetCurrentStep has exactly one.
    pub step_ids: Vec<String>,
    /// The steps are those, also where they are none.
    pub is_chosen: bool,
    /// What lifts the hold that is placed; of ReleaseHold, which holds are meant.
    pub terms: HoldTerms,
    /// Whether what the hold would wait for waits for the step.
    pub circle: Circle,
    /// The answer, for the only step.
    pub answer: Option<Value>,
    /// When the task of an AUTOMATIC step must have ended.
    pub task_deadline: Option<Timestamp>,
    /// All of the steps or none.
    pub all_or_nothing: bool,
    /// Kept on the events.
    pub item_id: String,
    /// The etag the job must have.
    pub etag: Option<String>,
    /// The groups of whoever asks.
    pub groups: Vec<String>,
    /// Whoever asks may stop what is assigned to others.
    pub may_force_stop: bool,
    /// Whoever asks may refresh any step.
    pub may_refresh: bool,
}

/// What became of the action on one step.
struct Outcome {
    status: StepActionStatus,
    remarks: Vec<String>,
}

impl From<StepActionStatus> for Outcome {
    fn from(status: StepActionStatus) -> Self {
        Self { status, remarks: Vec::new() }
    }
}

impl PerformJobAction {
    /// The state must have all steps, the standing holds, and the linked tasks.
    ///
    /// # Errors
    /// No such job, or it has moved on; a hold cannot be placed; the caller may not refresh.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<PerformJobActionResponse>, Rejection> {
        let state = existing.into_job()?;
        job::check_etag(&state, self.etag.as_deref())?;
        self.check_refresh(&state, context)?;
        let before = self.all_or_nothing.then(|| state.clone());
        let mut draft = Draft::of(state, context);
        draft.item_id.clone_from(&self.item_id);
        // The first Run or Finish that does something begins the job.
        draft.begins_job = matches!(self.action, JobActionType::Run | JobActionType::Finish);

        let mut step_responses = Vec::new();
        let step_ids = self.chosen(&draft.state);
        for step_id in &step_ids {
            let Outcome { status, remarks } = self.act(&mut draft, step_id)?;
            let step = draft.state.steps.get(step_id);
            step_responses.push(StepResponse {
                step_id: step_id.clone(),
                status: status.into(),
                status_description: words::description(self.action, status, step, &remarks),
            });
        }
        if step_ids.is_empty() {
            let status = self.nothing_to_act_on(&draft.state);
            step_responses.push(StepResponse {
                step_id: String::new(),
                status: status.into(),
                status_description: words::description(self.action, status, None, &[]),
            });
        }

        let success = step_responses.iter().all(|response| response.status() == StepActionStatus::Success);
        let applied = success || !self.all_or_nothing;
        if let Some(before) = before.filter(|_| !applied) {
            draft = Draft::of(before, context);
        }
        Ok(draft.answer(|state| PerformJobActionResponse {
            success,
            step_responses,
            applied,
            revision: state.job.revision,
            etag: state.job.etag.clone(),
        }))
    }

    fn check_refresh(&self, state: &JobState, context: &Context) -> Result<(), Rejection> {
        if self.action != JobActionType::RefreshStatus || self.may_refresh {
            return Ok(());
        }
        let assignees =
            state.steps.values().map(|step| step.assignee.as_ref()).chain([state.job.assignee.as_ref()]);
        if assignees.flatten().any(|assignee| self.is_named_by(assignee, context)) {
            return Ok(());
        }
        Err(Rejection::PrivilegeMissing { privilege: "adminBasic, adminAdvanced" })
    }

    /// The steps to act on; `None`: those on hold.
    #[must_use]
    pub fn chosen_in<'c>(&'c self, job: &'c Job) -> Option<&'c [String]> {
        if self.is_chosen || !self.step_ids.is_empty() {
            Some(&self.step_ids)
        } else if self.action == JobActionType::ReleaseHold {
            None
        } else {
            Some(&job.current_step_ids)
        }
    }

    /// The steps to act on. The list is fixed before the first is.
    fn chosen(&self, state: &JobState) -> Vec<String> {
        let on_hold = || steps::by_rank(state.steps.values().filter(|step| !step.hold_ids.is_empty()));
        self.chosen_in(&state.job).map_or_else(on_hold, <[String]>::to_vec)
    }

    fn nothing_to_act_on(&self, state: &JobState) -> StepActionStatus {
        if state.job.closed {
            StepActionStatus::JobClosed
        } else if self.action == JobActionType::ReleaseHold {
            StepActionStatus::NotHeld
        } else {
            StepActionStatus::NoActiveStep
        }
    }

    fn act(&self, draft: &mut Draft<'_>, step_id: &str) -> Result<Outcome, Rejection> {
        if let Err(outcome) = self.check(draft, step_id) {
            return Ok(outcome);
        }
        let step = draft.state.steps[step_id].clone();
        let outcome = match table::rule(self.action, step.status()) {
            Rule::Start => self.start(draft, step)?,
            Rule::TakeAnswer => self.take_answer(draft, step),
            Rule::Finish => self.finish(draft, step),
            Rule::Skip => skip(draft, &step),
            Rule::Break => break_off(draft, step),
            Rule::SetCurrent => set_current(draft, &step),
            Rule::PlaceHold => {
                holds::place(draft, step_id, &self.terms, &self.circle)?;
                StepActionStatus::Success.into()
            }
            Rule::ReleaseHolds => {
                let any = holds::release(draft, step_id, self.terms.dependency.as_ref());
                if any { StepActionStatus::Success } else { StepActionStatus::NotHeld }.into()
            }
            Rule::FollowTask => follow_task(draft, &step),
            Rule::Answer(status) => status.into(),
        };
        Ok(outcome)
    }

    /// Whether the step may be acted on at all, in the order that SPEC 3.4 gives.
    fn check(&self, draft: &mut Draft<'_>, step_id: &str) -> Result<(), Outcome> {
        use JobActionType as Action;
        use StepActionStatus as Status;

        let refuse = |status: Status| Err(status.into());
        let job = &draft.state.job;
        if job.closed {
            return refuse(Status::JobClosed);
        }
        let Some(step) = draft.state.steps.get(step_id) else { return refuse(Status::StepNotInDiagram) };
        let moves_step = matches!(self.action, Action::Run | Action::Finish | Action::Stop);
        if (moves_step || self.action == Action::SetCurrentStep) && job.current_step_ids.is_empty() {
            return refuse(Status::NoActiveStep);
        }
        if moves_step && !job.current_step_ids.iter().any(|id| id == step_id) {
            return refuse(Status::StepNotCurrent);
        }
        let may_act = step.assignee.as_ref().is_none_or(|assignee| self.is_named_by(assignee, draft.context));
        let is_forced = self.action == Action::Stop && self.may_force_stop;
        if (moves_step || self.action == Action::SetCurrentStep) && !may_act && !is_forced {
            return refuse(Status::AssignedToDifferentUser);
        }
        if matches!(self.action, Action::Run | Action::Finish) {
            holds::review(draft, step_id);
            let standing = holds::standing(&draft.state, step_id);
            if !standing.is_empty() {
                return Err(Outcome {
                    status: Status::Held,
                    remarks: standing.into_iter().map(words::hold).collect(),
                });
            }
        }
        Ok(())
    }

    fn is_named_by(&self, assignee: &Assignee, context: &Context) -> bool {
        match assignee.kind() {
            assignee::Kind::User => assignee.id == context.actor.id,
            assignee::Kind::Group => self.groups.contains(&assignee.id),
            assignee::Kind::Unspecified => false,
        }
    }

    fn start(&self, draft: &mut Draft<'_>, step: Step) -> Result<Outcome, Rejection> {
        let start_time = step.start_time.or(Some(draft.context.now));
        let kind = table::start(step.kind());
        // A question is asked anew; of other steps an answer stands for the visit.
        let kept = step.answer.clone().filter(|_| kind != Start::Ask);
        let answer = self.answer.clone().or(kept);
        let mut step = Step { start_time, answer, task_id: String::new(), ..step };
        Ok(match kind {
            Start::Work => {
                advance::set_status(draft, step.clone(), StepStatus::Running, JobEventType::StepStarted);
                step.set_status(StepStatus::Running);
                if step.proceed_to_next {
                    left(advance::finish(draft, step))
                } else {
                    StepActionStatus::Success.into()
                }
            }
            Start::Ask if self.answer.is_some() => left(advance::executed(draft, step)),
            Start::Ask => {
                let (waiting, event) = (StepStatus::WaitingForInfo, JobEventType::StepWaitingForInfo);
                advance::set_status(draft, step, waiting, event);
                StepActionStatus::Success.into()
            }
            Start::Dispatch => {
                tasks::check_limit(&draft.state, draft.context)?;
                let task = tasks::new(draft, &step, self.task_deadline);
                step.task_id.clone_from(&task.id);
                advance::set_status(draft, step, StepStatus::Running, JobEventType::StepStarted);
                tasks::open(draft, task);
                StepActionStatus::Success.into()
            }
        })
    }

    fn take_answer(&self, draft: &mut Draft<'_>, step: Step) -> Outcome {
        if self.answer.is_none() {
            return table::UNANSWERED.into();
        }
        let step = Step { answer: self.answer.clone(), ..step };
        if self.action == JobActionType::Finish {
            left(advance::finish(draft, step))
        } else {
            left(advance::executed(draft, step))
        }
    }

    fn finish(&self, draft: &mut Draft<'_>, step: Step) -> Outcome {
        if tasks::linked(&draft.state, &step).is_some_and(TaskStatus::is_open) {
            return StepActionStatus::AlreadyExecuting.into();
        }
        let answer = self.answer.clone().or_else(|| step.answer.clone());
        if step.kind() == StepKind::Question && answer.is_none() {
            return table::UNANSWERED.into();
        }
        left(advance::finish(draft, Step { answer, ..step }))
    }
}

/// What is answered when a step's paths were asked.
fn left(left: advance::Left) -> Outcome {
    let status = if left.is_stuck { StepActionStatus::NoMatchingPaths } else { StepActionStatus::Success };
    Outcome { status, remarks: left.failures }
}

fn skip(draft: &mut Draft<'_>, step: &Step) -> Outcome {
    if !step.can_skip {
        return table::NOT_BEGUN.into();
    }
    left(advance::skip(draft, step))
}

fn break_off(draft: &mut Draft<'_>, step: Step) -> Outcome {
    match table::break_off(step.kind()) {
        Break::Pause => advance::set_status(draft, step, StepStatus::Paused, JobEventType::StepPaused),
        Break::Cancel => {
            tasks::end(draft, &step, CompletionStatus::Terminated);
            advance::set_status(draft, step, StepStatus::Cancelled, JobEventType::StepCancelled);
        }
    }
    StepActionStatus::Success.into()
}

fn set_current(draft: &mut Draft<'_>, step: &Step) -> Outcome {
    let running = steps::running(&draft.state);
    if !running.is_empty() {
        let remarks = running.into_iter().map(|step| format!("step {:?} is running", step.step_id)).collect();
        return Outcome { status: StepActionStatus::AlreadyExecuting, remarks };
    }
    let job = &draft.state.job;
    let others = draft.state.steps.values().filter(|other| other.step_id != step.step_id);
    let others = others.filter(|other| other.awaits_join || job.current_step_ids.contains(&other.step_id));
    let others: Vec<Step> = others.map(advance::set_aside).collect();
    // A step that was reached and not done is still at the same visit.
    let visit = step.visit + i32::from(!step.is_open());
    let current = Step { visit, ..advance::visited(step) };
    let current_step_ids = vec![step.step_id.clone()];
    if current != *step || current_step_ids != job.current_step_ids || !others.is_empty() {
        draft.record_step(JobEventType::StepActivated, current, others, Some(current_step_ids));
    }
    StepActionStatus::Success.into()
}

fn follow_task(draft: &mut Draft<'_>, step: &Step) -> Outcome {
    if step.kind() != StepKind::Automatic || tasks::linked(&draft.state, step).is_none() {
        return StepActionStatus::StepNotAuto.into();
    }
    left(tasks::follow(draft, &step.step_id))
}
