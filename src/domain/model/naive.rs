//! What SPEC 3.4 says of an action, written down once more: small, slow, and with nothing of the code that it judges. It
//! is asked before each action what is to come of it.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::{Timestamp, Value, value::Kind};

use super::plan::{Act, Condition, Situation, dependencies};
use crate::{
    domain::{Dependency, DependencyState, JobState},
    proto::v1::{
        Assignee, CompletionStatus, Hold, JobActionType as Action, JobStatus, StepActionStatus as Answer,
        StepJoin, StepKind, StepStatus as Status, TaskStatus, Workflow, assignee,
    },
};

/// A hold that stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stands {
    until: Option<(i64, i32)>,
    dependency: Option<Dependency>,
}

/// The task of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    None,
    Open,
    Ended(CompletionStatus),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) status: Status,
    pub(super) visit: i32,
    pub(super) holds: Vec<Stands>,
    pub(super) task: Task,
    pub(super) answer: Option<String>,
    kind: StepKind,
    can_skip: bool,
    proceeds: bool,
    assignee: Option<Assignee>,
    rank: (bool, i32, String),
}

/// A job, as far as actions go.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    pub(super) status: JobStatus,
    closed: bool,
    pub(super) steps: BTreeMap<String, Step>,
    pub(super) current: BTreeSet<String>,
    pub(super) waiting: BTreeSet<String>,
}

/// What is known beside the job.
pub(super) struct World<'w> {
    pub(super) workflow: Option<&'w Workflow>,
    pub(super) situation: &'w Situation,
    pub(super) now: Timestamp,
}

type Answers = Vec<(String, Answer)>;

fn seconds(time: &Timestamp) -> (i64, i32) {
    (time.seconds, time.nanos)
}

fn text(value: &Value) -> String {
    match &value.kind {
        Some(Kind::StringValue(text)) => text.clone(),
        other => panic!("answers are texts here, not {other:?}"),
    }
}

impl Stands {
    fn of(hold: &Hold) -> Self {
        Self {
            until: hold.scheduled_release_time.as_ref().map(seconds),
            dependency: hold
                .dependent_job_id
                .as_ref()
                .map(|job_id| Dependency { job_id: job_id.clone(), step_id: hold.dependent_step_id.clone() }),
        }
    }

    /// It has gone by itself.
    fn is_over(&self, world: &World<'_>) -> bool {
        let is_met = |dependency: &Dependency| world.state_of(dependency) == DependencyState::Met;
        self.until.is_some_and(|until| until <= seconds(&world.now))
            || self.dependency.as_ref().is_some_and(is_met)
    }
}

impl World<'_> {
    fn state_of(&self, dependency: &Dependency) -> DependencyState {
        let at = dependencies().iter().position(|one| one == dependency).expect("one of the few there are");
        self.situation.dependencies[at]
    }

    fn is_caller(&self, assignee: &Assignee) -> bool {
        match assignee.kind() {
            assignee::Kind::User => assignee.id == self.situation.caller,
            assignee::Kind::Group => self.situation.groups.contains(&assignee.id),
            assignee::Kind::Unspecified => false,
        }
    }

    /// The steps that paths lead to from a step, whatever their conditions.
    fn neighbours(&self, from: &str) -> BTreeSet<&str> {
        let steps = self.workflow.map(|workflow| workflow.steps.as_slice()).unwrap_or_default();
        let of_step = steps.iter().filter(|step| step.step_id == from).flat_map(|step| &step.paths);
        of_step.map(|path| path.next_step_id.as_str()).collect()
    }

    /// Whether paths lead from a step to another, not by way of a third (from which there is no way then either).
    pub(super) fn leads(&self, from: &str, to: &str, not_by: Option<&str>) -> bool {
        let mut seen = BTreeSet::new();
        let mut ends = vec![from];
        while let Some(end) = ends.pop() {
            if Some(end) == not_by {
                continue;
            }
            for next in self.neighbours(end) {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    ends.push(next);
                }
            }
        }
        false
    }

    /// Whether the step is one where paths meet.
    pub(super) fn is_join(&self, step_id: &str) -> bool {
        let Some(workflow) = self.workflow else { return false };
        let is_any = |step: &&crate::proto::v1::StepDefinition| {
            step.step_id == step_id && step.join() == StepJoin::Any
        };
        let before =
            workflow.steps.iter().filter(|step| self.neighbours(&step.step_id).contains(step_id)).count();
        before > 1 && workflow.steps.iter().find(is_any).is_none()
    }
}

impl Model {
    pub(super) fn of(state: &JobState) -> Self {
        let step = |step: &crate::proto::v1::Step| Step {
            status: step.status(),
            visit: step.visit,
            holds: step.hold_ids.iter().map(|id| Stands::of(&state.holds[id])).collect(),
            task: match state.tasks.get(&step.task_id).map(TaskStatus::completion_status) {
                None => Task::None,
                Some(CompletionStatus::Unspecified) => Task::Open,
                Some(outcome) => Task::Ended(outcome),
            },
            answer: step.answer.as_ref().map(text),
            kind: step.kind(),
            can_skip: step.can_skip,
            proceeds: step.proceed_to_next,
            assignee: step.assignee.clone(),
            rank: (step.number.is_none(), step.number.unwrap_or_default(), step.step_id.clone()),
        };
        Self {
            status: state.job.status(),
            closed: state.job.closed,
            steps: state.steps.iter().map(|(id, is)| (id.clone(), step(is))).collect(),
            current: state.job.current_step_ids.iter().cloned().collect(),
            waiting: state
                .steps
                .values()
                .filter(|step| step.awaits_join)
                .map(|step| step.step_id.clone())
                .collect(),
        }
    }

    /// What is answered, and the job afterwards; `None`: the request as a whole is refused.
    pub(super) fn act(mut self, act: &Act, world: &World<'_>) -> Option<(Answers, Self)> {
        let before = self.clone();
        let mut chosen: Vec<String> = act.step_ids.clone();
        if chosen.is_empty() {
            let is_meant = |(id, step): &(&String, &Step)| match act.action {
                Action::ReleaseHold => !step.holds.is_empty(),
                _ => self.current.contains(*id),
            };
            let mut steps: Vec<_> = self.steps.iter().filter(is_meant).collect();
            steps.sort_by(|left, right| left.1.rank.cmp(&right.1.rank));
            chosen = steps.into_iter().map(|(id, _)| id.clone()).collect();
        }
        let mut answers = Vec::new();
        for id in &chosen {
            answers.push((id.clone(), self.act_on(id, act, world)?));
        }
        if chosen.is_empty() {
            let answer = match act.action {
                _ if self.closed => Answer::JobClosed,
                Action::ReleaseHold => Answer::NotHeld,
                _ => Answer::NoActiveStep,
            };
            answers.push((String::new(), answer));
        }
        let all = answers.iter().all(|(_, answer)| *answer == Answer::Success);
        Some((answers, if act.all_or_nothing && !all { before } else { self }))
    }

    fn act_on(&mut self, id: &str, act: &Act, world: &World<'_>) -> Option<Answer> {
        use Action::{Finish, Hold, RefreshStatus, ReleaseHold, Run, SetCurrentStep, Stop};

        let action = act.action;
        if self.closed {
            return Some(Answer::JobClosed);
        }
        let Some(step) = self.steps.get(id).cloned() else { return Some(Answer::StepNotInDiagram) };
        if matches!(action, Run | Finish | Stop | SetCurrentStep) {
            if self.current.is_empty() {
                return Some(Answer::NoActiveStep);
            }
            if action != SetCurrentStep && !self.current.contains(id) {
                return Some(Answer::StepNotCurrent);
            }
            let is_own = step.assignee.as_ref().is_none_or(|assignee| world.is_caller(assignee));
            let may_stop = action == Stop && world.situation.may_force_stop;
            if !is_own && !may_stop {
                return Some(Answer::AssignedToDifferentUser);
            }
        }
        if matches!(action, Run | Finish) {
            let holds = &mut self.steps.get_mut(id)?.holds;
            holds.retain(|hold| !hold.is_over(world));
            if !holds.is_empty() {
                return Some(Answer::Held);
            }
        }
        let answered = act.answer.as_ref().map(text);
        Some(match (action, step.status) {
            (Run | Hold, Status::Running) | (Hold, Status::WaitingForInfo) => Answer::AlreadyExecuting,
            (Run | Finish, Status::WaitingForInfo) if answered.is_none() => Answer::WaitingForInfo,
            (Run, _) => self.run(id, answered, world),
            (Finish, Status::Running | Status::Paused | Status::Executed | Status::WaitingForInfo) => {
                let answer = answered.or(step.answer);
                if step.task == Task::Open {
                    Answer::AlreadyExecuting
                } else if step.kind == StepKind::Question && answer.is_none() {
                    Answer::WaitingForInfo
                } else {
                    let before = self.clone();
                    self.steps.get_mut(id)?.answer = answer;
                    self.begin();
                    let came_of_it = self.finish(id, world);
                    if self.steps == before.steps {
                        *self = before;
                    }
                    came_of_it
                }
            }
            (Finish, _) if !step.can_skip => Answer::NoStartedStep,
            (Finish, _) => self.skip(id, world),
            (Stop, Status::Running | Status::WaitingForInfo) => {
                let stopped = self.steps.get_mut(id)?;
                match step.kind {
                    StepKind::Question | StepKind::Automatic => {
                        stopped.status = Status::Cancelled;
                        if stopped.task == Task::Open {
                            stopped.task = Task::Ended(CompletionStatus::Terminated);
                        }
                    }
                    _ => stopped.status = Status::Paused,
                }
                Answer::Success
            }
            (Stop, _) => Answer::NotRunning,
            (SetCurrentStep, _) => self.set_current(id),
            (Hold, Status::Finished | Status::Skipped) => Answer::StepNotCurrent,
            (Hold, _) => {
                let dependency = act.terms.dependency.clone();
                let state = dependency.as_ref().map(|dependency| world.state_of(dependency));
                if matches!(state, Some(DependencyState::Unknown | DependencyState::Deleted)) {
                    return None;
                }
                let hold = Stands { until: act.terms.scheduled_release.as_ref().map(seconds), dependency };
                let holds = &mut self.steps.get_mut(id)?.holds;
                holds.push(hold);
                holds.retain(|hold| !hold.is_over(world));
                Answer::Success
            }
            (ReleaseHold, _) => {
                let holds = &mut self.steps.get_mut(id)?.holds;
                let before = holds.len();
                holds.retain(|hold| hold.dependency != act.terms.dependency);
                if holds.len() < before { Answer::Success } else { Answer::NotHeld }
            }
            (RefreshStatus, _) if step.kind != StepKind::Automatic || step.task == Task::None => {
                Answer::StepNotAuto
            }
            (RefreshStatus, Status::Running) => self.follow_task(id, world),
            (RefreshStatus, _) => Answer::Success,
            (Action::Unspecified, _) => unreachable!("the edge refuses it"),
        })
    }

    /// The first Run or Finish that does something.
    fn begin(&mut self) {
        if matches!(self.status, JobStatus::NotStarted | JobStatus::Paused) {
            self.status = JobStatus::Active;
        }
    }

    fn run(&mut self, id: &str, answered: Option<String>, world: &World<'_>) -> Answer {
        self.begin();
        let step = self.steps.get_mut(id).expect("it was looked up");
        let has_answer = answered.is_some();
        // A question is asked anew; elsewhere the answer of the visit stands.
        if has_answer || step.kind == StepKind::Question {
            step.answer = answered;
        }
        match step.kind {
            StepKind::Automatic => {
                step.status = Status::Running;
                step.task = Task::Open;
                Answer::Success
            }
            StepKind::Question if !has_answer => {
                step.status = Status::WaitingForInfo;
                Answer::Success
            }
            StepKind::Question => self.work_done(id, world),
            _ if step.proceeds => {
                step.task = Task::None;
                self.finish(id, world)
            }
            _ => {
                step.status = Status::Running;
                Answer::Success
            }
        }
    }

    fn follow_task(&mut self, id: &str, world: &World<'_>) -> Answer {
        match self.steps[id].task {
            Task::None | Task::Open => Answer::Success,
            Task::Ended(CompletionStatus::Success | CompletionStatus::Warning) => self.work_done(id, world),
            Task::Ended(_) => {
                self.steps.get_mut(id).expect("it was looked up").status = Status::Error;
                Answer::Success
            }
        }
    }

    fn work_done(&mut self, id: &str, world: &World<'_>) -> Answer {
        let step = self.steps.get_mut(id).expect("it was looked up");
        step.status = Status::Executed;
        if step.proceeds { self.finish(id, world) } else { Answer::Success }
    }

    fn finish(&mut self, id: &str, world: &World<'_>) -> Answer {
        let outcome = match self.steps[id].task {
            Task::Ended(CompletionStatus::Success) => "SUCCESS",
            Task::Ended(CompletionStatus::Warning) => "WARNING",
            _ => "FINISHED",
        };
        if !self.leave(id, Status::Finished, outcome, world) {
            self.steps.get_mut(id).expect("it was looked up").status = Status::Executed;
            return Answer::NoMatchingPaths;
        }
        Answer::Success
    }

    fn skip(&mut self, id: &str, world: &World<'_>) -> Answer {
        let before = self.clone();
        self.begin();
        if self.leave(id, Status::Skipped, "SKIPPED", world) {
            return Answer::Success;
        }
        // It stays as it was, and so does the job.
        *self = before;
        Answer::NoMatchingPaths
    }

    /// Whether there was a way on.
    fn leave(&mut self, id: &str, to: Status, outcome: &str, world: &World<'_>) -> bool {
        let step = self.steps[id].clone();
        let Some(workflow) = world.workflow else {
            self.steps.get_mut(id).expect("it was looked up").status = to;
            self.current.remove(id);
            return true;
        };
        let is_true = |source: &str| {
            let condition = Condition::ALL.into_iter().find(|condition| condition.source() == source);
            let answer = step.answer.as_deref();
            match condition.expect("one of the few there are") {
                Condition::Always => true,
                Condition::Answered => answer == Some("yes"),
                Condition::NotAnswered => answer != Some("yes"),
                Condition::Skipped => outcome == "SKIPPED",
                Condition::Succeeded => outcome == "SUCCESS" || outcome == "FINISHED",
                Condition::FirstVisits => step.visit < 2,
                Condition::Begun => self.status == JobStatus::Active,
                Condition::Fails => false,
            }
        };
        let paths: Vec<_> =
            workflow.steps.iter().filter(|step| step.step_id == id).flat_map(|step| &step.paths).collect();
        let next: BTreeSet<&str> = paths
            .iter()
            .filter(|path| is_true(&path.condition))
            .map(|path| path.next_step_id.as_str())
            .collect();
        if next.is_empty() && !paths.is_empty() {
            return false;
        }
        self.steps.get_mut(id).expect("it was looked up").status = to;
        self.current.remove(id);
        self.reach(id, &next, world);
        if self.current.is_empty() {
            self.status = JobStatus::Completed;
        }
        true
    }

    /// Going on to some steps from one that is left: see the rules in `advance.rs`.
    fn reach(&mut self, left: &str, next: &BTreeSet<&str>, world: &World<'_>) {
        let arrived: BTreeSet<String> = next
            .iter()
            .filter(|id| !self.current.contains(**id) && !self.waiting.contains(**id))
            .map(|id| (*id).to_owned())
            .collect();
        self.waiting.extend(arrived.iter().cloned());
        // Those that arrive now are asked first: what they lead to, others that wait go on waiting for.
        for may_go in [arrived, self.waiting.clone()] {
            let is_free = |id: &&String| {
                let comes = self.current.iter().any(|current| world.leads(current, id, None));
                let is_before = |one: &str, other: &str| world.leads(one, other, Some(left));
                let yields = self.waiting.iter().any(|other| is_before(other, id) && !is_before(id, other));
                !world.is_join(id) || !comes && !yields
            };
            let free: Vec<String> =
                may_go.iter().filter(|id| self.waiting.contains(*id)).filter(is_free).cloned().collect();
            for id in free {
                self.waiting.remove(&id);
                self.visit(&id);
            }
        }
    }

    fn visit(&mut self, id: &str) {
        let step = self.steps.get_mut(id).expect("a workflow's steps are the job's");
        step.status = Status::Ready;
        step.visit += 1;
        step.answer = None;
        step.task = Task::None;
        self.current.insert(id.to_owned());
    }

    fn set_current(&mut self, id: &str) -> Answer {
        let runs = |step: &Step| matches!(step.status, Status::Running | Status::WaitingForInfo);
        if self.steps.values().any(runs) {
            return Answer::AlreadyExecuting;
        }
        let was_reached =
            !matches!(self.steps[id].status, Status::Pending | Status::Finished | Status::Skipped);
        for other in std::mem::take(&mut self.current).iter().filter(|other| *other != id) {
            let other = self.steps.get_mut(other).expect("current steps exist");
            other.status = Status::Pending;
            other.visit = (other.visit - 1).max(0);
            other.answer = None;
            other.task = Task::None;
        }
        self.waiting.clear();
        self.visit(id);
        if was_reached {
            self.steps.get_mut(id).expect("it was looked up").visit -= 1;
        }
        Answer::Success
    }
}
