//! Random lives of jobs: whatever comes, in whatever order, what SPEC 3.4 to 3.6 promise holds after every command; and
//! what an action does is what the naive model says of it.
//!
//! To dig: `PROPTEST_CASES=20000 cargo test --lib domain::model`.

mod naive;
mod plan;
mod stories;

use std::{collections::BTreeSet, sync::Arc};

use proptest::{prelude::*, sample::Index};

use self::{
    naive::{Model, World},
    plan::{Act, Command, Origin, Situation},
};
use super::{
    AbortJob, AssignStep, CloseJob, Context, CreateJob, CreateTask, Decision, Definition, Dependency,
    DependencyState, ExcludeJob, Existing, JobField, JobState, NewIds, PerformJobAction, Rejection,
    ReopenJob, ReviewJob, ReviewTask, Sync, UpdateJob, compare_times, evolve,
    execution::tests::kit::{self, Says},
    fixtures::{JOB_1, at, check_events, context},
    holds::Circle,
    steps,
};
use crate::proto::v1::{
    CompletionStatus, Hold, HoldReleaseCause, Job, JobActionType, JobEvent, JobEventType as Event, JobStatus,
    PerformJobActionResponse, ReportOutcome, Step, StepActionStatus, StepKind, StepStatus as Status,
    TaskStatus, Workflow, WorkflowReference,
};

/// A job on its way through its life.
struct Life {
    workflow: Workflow,
    definition: Arc<Definition>,
    origin: Origin,
    existing: Existing,
    now: i64,
    commands: u32,
}

/// What the engine loads for a command, beside the job's head and its steps.
#[derive(Clone, Copy)]
enum Loads<'l> {
    Head,
    /// The standing holds, and the tasks that do the work of steps.
    Live,
    /// A task; with it the same as for `Live` where it does the work of a step.
    Task(&'l str),
}

/// What a command did, if it was not refused.
struct Done {
    before: JobState,
    after: JobState,
    events: Vec<JobEvent>,
}

impl Life {
    fn new(workflow: Workflow, origin: Origin) -> Self {
        let definition = plan::definition(&workflow);
        let existing = Existing::Nothing;
        let mut life = Self { workflow, definition, origin, existing, now: 100, commands: 0 };
        let workflow = match origin {
            Origin::Synced => return life,
            Origin::Created => Some(WorkflowReference {
                workflow_id: life.workflow.workflow_id.clone(),
                ..WorkflowReference::default()
            }),
            Origin::AdHoc | Origin::CreatedBare => None,
        };
        let job = Job { workflow, client_job_id: "client".to_owned(), ..Job::default() };
        let command = CreateJob { job_id: None, job };
        let context = Context { workflow: Some(Arc::clone(&life.definition)), ..context(life.now) };
        life.carry_out(&context, Loads::Head, |existing, context| command.decide(existing, context));
        life
    }

    fn job(&self) -> Option<&JobState> {
        match &self.existing {
            Existing::Job(state) => Some(state),
            Existing::Nothing | Existing::Deleted { .. } => None,
        }
    }

    /// Whether the job's workflow says what follows on its steps.
    fn is_guided(&self) -> bool {
        self.job().is_some_and(|state| steps::follows_definition(&state.job))
    }

    /// The context of a command, as the engine makes it.
    fn context(&mut self, situation: &Situation, is_sync: bool) -> Context {
        self.now += situation.seconds_later;
        self.commands += 1;
        let follows_none = self.job().is_none_or(|state| state.job.workflow.is_none());
        let is_wanted = is_sync && follows_none && !matches!(self.origin, Origin::AdHoc);
        let has_definition = self.is_guided() || is_wanted;
        let mut context = context(self.now);
        situation.caller.clone_into(&mut context.actor.id);
        context.new_ids = NewIds { partition: 0, unique: u128::from(self.commands) * 10_000 };
        context.workflow = has_definition.then(|| Arc::clone(&self.definition));
        let states = situation.dependencies.iter().copied();
        context.dependencies = plan::dependencies().into_iter().zip(states).collect();
        context
    }

    /// Decides a command, checks what must hold of every decision, and takes it over.
    fn carry_out<R: Clone + std::fmt::Debug + PartialEq>(
        &mut self,
        context: &Context,
        loads: Loads<'_>,
        decide: impl Fn(Existing, &Context) -> Result<Decision<R>, Rejection>,
    ) -> Option<(Done, R)> {
        let decision = decide(self.existing.clone(), context);
        let loaded = decide(self.loaded(loads), context);
        match (&decision, &loaded) {
            (Ok(all), Ok(loaded)) => {
                assert_eq!(all.events, loaded.events, "what the engine does not load makes no difference");
                assert_eq!(all.reply, loaded.reply);
            }
            (all, loaded) => assert_eq!(all.as_ref().err(), loaded.as_ref().err()),
        }
        let decision = decision.ok()?;
        check_events(&self.existing, &decision, context);
        let before = self.job().cloned().unwrap_or_default();
        check_history(&before, &decision.events);
        let after = decision.state.clone();
        check_state(&after, &self.workflow);
        self.existing = Existing::Job(Box::new(decision.state));
        Some((Done { before, after, events: decision.events }, decision.reply))
    }

    /// The job with no more of it than the engine loads.
    fn loaded(&self, loads: Loads<'_>) -> Existing {
        let Existing::Job(state) = &self.existing else { return self.existing.clone() };
        let mut state = state.clone();
        let with_live = match loads {
            Loads::Head => false,
            Loads::Live => true,
            Loads::Task(id) => !state.tasks[id].step_id.is_empty(),
        };
        let steps = &state.steps;
        let is_linked = |id: &String| steps.values().any(|step| step.task_id == *id);
        let is_named = |id: &String| matches!(loads, Loads::Task(task_id) if task_id == id);
        state.tasks.retain(|id, _| with_live && is_linked(id) || is_named(id));
        state.holds.retain(|_, hold| with_live && hold.is_standing());
        state.instances.clear();
        Existing::Job(state)
    }

    fn live(&mut self, situation: &Situation, command: &Command) {
        let context = self.context(situation, matches!(command, Command::Sync(_)));
        let (job_id, etag) = (JOB_1.to_owned(), None);
        let done = match command {
            Command::Act(act) => return self.act(&context, situation, act),
            Command::TaskEnds(which, outcome) => return self.end_task(&context, situation, *which, *outcome),
            Command::Says(says) => return self.says(&context, situation, says),
            Command::SaysOf(which, says) => {
                let ids: Vec<String> =
                    self.job().map(|state| state.tasks.keys().cloned().collect()).unwrap_or_default();
                if !ids.is_empty() {
                    self.says(&context, situation, &kit::of_task(says, &ids[which.index(ids.len())]));
                }
                return;
            }
            Command::CreateTask(deadline) => {
                let task = TaskStatus {
                    unique_name: Some("made".to_owned()),
                    deadline: deadline.map(at),
                    ..TaskStatus::default()
                };
                let command = CreateTask { job_id, task };
                self.carry_out(&context, Loads::Head, |now, context| command.decide(now, context))
                    .map(|done| done.0)
            }
            Command::Assign { step_id, assignee } => {
                let command =
                    AssignStep { job_id, step_id: step_id.clone(), assignee: assignee.clone(), etag };
                self.carry_out(&context, Loads::Head, |now, context| command.decide(now, context))
                    .map(|done| done.0)
            }
            Command::Reopen { step_ids } => {
                let command = ReopenJob { job_id, step_ids: step_ids.clone(), etag };
                let done = self.carry_out(&context, Loads::Live, |now, context| command.decide(now, context));
                if let Some((done, _)) = &done {
                    check_reopened(done, step_ids);
                }
                return;
            }
            Command::Exclude(excluded) => {
                let command = ExcludeJob { job_id, excluded: *excluded, job_exclusion: Vec::new(), etag };
                self.carry_out(&context, Loads::Head, |now, context| command.decide(now, context))
                    .map(|done| done.0)
            }
            Command::Update { title, assignee } => {
                let job = Job { title: title.clone(), assignee: assignee.clone(), ..Job::default() };
                let fields = vec![JobField::Title, JobField::Assignee];
                let command = UpdateJob { job_id, fields, job, etag };
                self.carry_out(&context, Loads::Head, |now, context| command.decide(now, context))
                    .map(|done| done.0)
            }
            Command::Abort => {
                let command = AbortJob { job_id, reason: None, etag };
                self.carry_out(&context, Loads::Live, |now, context| command.decide(now, context))
                    .map(|done| done.0)
            }
            Command::Close => {
                let command = CloseJob { job_id, etag };
                self.carry_out(&context, Loads::Head, |now, context| command.decide(now, context))
                    .map(|done| done.0)
            }
            Command::Review => {
                let command = ReviewJob { job_id };
                let done = self.carry_out(&context, Loads::Live, |now, context| command.decide(now, context));
                self.review_tasks(&context);
                if let Some(state) = self.job() {
                    check_reviewed(state, &context);
                }
                done.map(|done| done.0)
            }
            Command::Sync(sync) => {
                self.sync(&context, sync);
                return;
            }
        };
        if let Some(done) = done {
            check_closed_steps_stay(&done);
        }
    }

    /// Ends what is overdue, as the server does.
    fn review_tasks(&mut self, context: &Context) {
        let tasks = self.job().map(|state| state.tasks.clone()).unwrap_or_default();
        let is_overdue = |task: &TaskStatus| {
            let deadline = task.deadline.as_ref();
            task.is_open() && deadline.is_some() && compare_times(deadline, Some(&context.now)).is_le()
        };
        for task_id in tasks.into_values().filter(is_overdue).map(|task| task.id) {
            let command = ReviewTask { task_id: task_id.clone() };
            let done =
                self.carry_out(context, Loads::Task(&task_id), |now, context| command.decide(now, context));
            if let Some((done, ())) = done {
                check_closed_steps_stay(&done);
            }
        }
    }

    fn sync(&mut self, context: &Context, sync: &Sync) {
        let was_closed = self.job().is_some_and(|state| {
            state.job.closed && !state.sync.as_ref().is_some_and(|sync| sync.closed_by_sync)
        });
        let done = self.carry_out(context, Loads::Live, |now, context| sync.decide(now, context));
        if let Some((done, _)) = done.filter(|_| was_closed) {
            check_closed_steps_stay(&done);
        }
    }

    /// Ends an open task, as an executor will, and has its step follow it.
    fn end_task(
        &mut self,
        context: &Context,
        situation: &Situation,
        which: Index,
        outcome: CompletionStatus,
    ) {
        let Existing::Job(state) = &mut self.existing else { return };
        let is_work = |task: &&mut TaskStatus| task.is_open() && !task.step_id.is_empty();
        let mut open: Vec<_> = state.tasks.values_mut().filter(is_work).collect();
        if open.is_empty() {
            return;
        }
        let task = open.swap_remove(which.index(open.len()));
        task.set_completion_status(outcome);
        task.completed = Some(context.now);
        let act = Act::refresh(&task.step_id);
        self.act(context, &Situation { may_refresh: true, ..situation.clone() }, &act);
    }

    /// Takes what an executor says. What comes of it for the steps is what comes of their tasks' ends, as the naive model
    /// has them.
    fn says(&mut self, context: &Context, situation: &Situation, says: &Says) {
        let decision = kit::decide(&self.existing, says, context);
        let Some(before) = self.job().cloned() else {
            assert_eq!(decision.err(), Some(Rejection::JobNotFound));
            return;
        };
        let Ok(Decision { events, reply, state: after, .. }) = decision else { return };
        check_history(&before, &events);
        check_state(&after, &self.workflow);
        let closes_job = says.closes_job() && !before.job.closed && reply.outcome == ReportOutcome::Recorded;
        let ended: Vec<&TaskStatus> =
            after.tasks.values().filter(|task| !task.is_open() && is_open_in(&before, task)).collect();
        let open = after.tasks.values().filter(|task| task.is_open()).count();
        assert!(!closes_job || open == 0, "nothing is left open in a job that is closed with its workflow");
        assert!(reply.terminated.iter().all(|id| ended.iter().any(|task| task.id == *id)));
        let expected = self.expected(&before, &ended, reply.outcome, closes_job, situation, context);
        assert_eq!(Model::of(&after), expected, "what comes of {says:?}");

        let done = Done { before, after: after.clone(), events };
        check_closed_steps_stay(&done);
        self.existing = Existing::Job(Box::new(after));
    }

    /// The job after some tasks have ended.
    fn expected(
        &self,
        before: &JobState,
        ended: &[&TaskStatus],
        outcome: ReportOutcome,
        closes_job: bool,
        situation: &Situation,
        context: &Context,
    ) -> Model {
        let mut state = before.clone();
        let rests = matches!(before.job.status(), JobStatus::NotStarted | JobStatus::Paused);
        if rests && outcome == ReportOutcome::Recorded {
            state.job.set_status(JobStatus::Active);
        }
        for task in ended {
            state.tasks.insert(task.id.clone(), (*task).clone());
        }
        if closes_job {
            for step in state.steps.values_mut().filter(|step| step.is_running()) {
                step.set_status(Status::Cancelled);
            }
            if state.job.status() != JobStatus::Completed {
                state.job.set_status(JobStatus::Completed);
            }
            state.job.closed = true;
            return Model::of(&state);
        }
        let workflow = steps::follows_definition(&before.job).then(|| self.workflow.clone());
        let situation = Situation { may_refresh: true, ..situation.clone() };
        let world = World { workflow: workflow.as_ref(), situation: &situation, now: context.now };
        let mut model = Model::of(&state);
        for task in ended.iter().filter(|task| !task.step_id.is_empty() && !before.job.closed) {
            let act = Act::refresh(&task.step_id);
            let (_, followed) = model.act(&act, &world).expect("who may refresh is not refused");
            model = followed;
        }
        model
    }

    fn act(&mut self, context: &Context, situation: &Situation, act: &Act) {
        let Act { action, step_ids, terms, answer, task_deadline, all_or_nothing } = act.clone();
        let command = PerformJobAction {
            job_id: JOB_1.to_owned(),
            action,
            is_chosen: false,
            step_ids,
            terms,
            circle: Circle::None,
            answer,
            task_deadline: task_deadline.map(at),
            all_or_nothing,
            item_id: "item".to_owned(),
            etag: None,
            groups: situation.groups.clone(),
            may_force_stop: situation.may_force_stop,
            may_refresh: situation.may_refresh,
        };
        let before = self.job().cloned();
        let done = self.carry_out(context, Loads::Live, |now, context| command.decide(now, context));
        let Some(before) = before else {
            assert!(done.is_none(), "there is no job to act on");
            return;
        };
        if action == JobActionType::RefreshStatus && !may_refresh(&before, situation) {
            assert!(done.is_none(), "who may not refresh is refused");
            return;
        }
        let workflow = steps::follows_definition(&before.job).then(|| self.workflow.clone());
        let world = World { workflow: workflow.as_ref(), situation, now: context.now };
        let expected = Model::of(&before).act(act, &world);
        let (Some((done, reply)), Some((answers, model))) = (&done, &expected) else {
            assert_eq!(done.is_none(), expected.is_none(), "refused as a whole");
            return;
        };
        let told: Vec<_> =
            reply.step_responses.iter().map(|told| (told.step_id.clone(), told.status())).collect();
        assert_eq!(&told, answers, "what is answered to {action:?}");
        assert_eq!(&Model::of(&done.after), model, "what comes of {action:?}");
        check_reply(act, reply, done);
        check_holds_kept(done, context, action);
        check_closed_steps_stay(done);
        check_arrivals(done, &world);
    }
}

fn is_open_in(state: &JobState, task: &TaskStatus) -> bool {
    state.tasks.get(&task.id).is_some_and(TaskStatus::is_open)
}

fn may_refresh(state: &JobState, situation: &Situation) -> bool {
    let assignees = state.steps.values().filter_map(|step| step.assignee.as_ref()).chain(&state.job.assignee);
    situation.may_refresh
        || assignees.into_iter().any(|assignee| match assignee.kind() {
            crate::proto::v1::assignee::Kind::User => assignee.id == situation.caller,
            _ => situation.groups.contains(&assignee.id),
        })
}

/// What must hold of a job whatever came.
fn check_state(state: &JobState, workflow: &Workflow) {
    let job = &state.job;
    let current: Vec<&Step> = job.current_step_ids.iter().map(|id| &state.steps[id]).collect();
    assert!(current.iter().all(|step| step.is_open()), "current steps are open: {current:?}");
    assert!(
        current.windows(2).all(|two| two[0].rank() < two[1].rank()),
        "current steps are in order, each once: {current:?}"
    );
    let mut assignees = Vec::new();
    for assignee in current.iter().filter_map(|step| step.assignee.clone()) {
        if !assignees.contains(&assignee) {
            assignees.push(assignee);
        }
    }
    assert_eq!(job.current_assignees, assignees, "the job says whose turn it is");
    assert_eq!(job.closed, job.close_time.is_some());
    assert!(!job.closed || matches!(job.status(), JobStatus::Completed | JobStatus::Aborted));
    assert!(job.closed || job.status() != JobStatus::Aborted, "an aborted job is closed");

    for step in state.steps.values() {
        assert!(step.visit >= 0, "{step:?}");
        let standing: BTreeSet<&String> = state
            .holds
            .values()
            .filter(|hold| hold.step_id == step.step_id && hold.is_standing())
            .map(|hold| &hold.hold_id)
            .collect();
        assert_eq!(step.hold_ids.iter().collect::<BTreeSet<_>>(), standing, "holds of {}", step.step_id);
        assert_eq!(step.hold_ids.len(), standing.len());
        let has_open = state.tasks.get(&step.task_id).is_some_and(TaskStatus::is_open);
        let works = step.kind() == StepKind::Automatic && step.status() == Status::Running;
        assert_eq!(works, has_open, "an open task is that of a running step: {step:?}");
        assert!(!job.closed || !step.is_running(), "nothing runs in a closed job: {step:?}");
    }
    for task in state.tasks.values().filter(|task| task.is_open() && !task.step_id.is_empty()) {
        assert_eq!(state.steps[&task.step_id].task_id, task.id, "no open task of a step is forgotten");
    }
    for hold in state.holds.values() {
        check_hold(hold, state);
    }

    let situation = Situation {
        caller: "",
        groups: Vec::new(),
        may_force_stop: false,
        may_refresh: false,
        seconds_later: 0,
        dependencies: Vec::new(),
    };
    let world = World { workflow: Some(workflow), situation: &situation, now: at(0) };
    for step in state.steps.values().filter(|step| step.awaits_join) {
        let is_led_to = job.current_step_ids.iter().any(|current| world.leads(current, &step.step_id, None));
        assert!(is_led_to, "what waits, waits for a current step: {step:?}");
        assert!(!job.current_step_ids.contains(&step.step_id), "what waits is not current");
    }
}

fn check_hold(hold: &Hold, state: &JobState) {
    assert_eq!(hold.job_id, state.job.job_id);
    assert_eq!(hold.is_standing(), hold.release_cause() == HoldReleaseCause::Unspecified);
    if hold.is_standing() {
        assert!(state.steps.contains_key(&hold.step_id), "a hold stands on a step: {hold:?}");
        assert_eq!(hold.released_by, "");
    } else {
        let by_person = hold.release_cause() == HoldReleaseCause::Manual;
        assert_eq!(by_person, !hold.released_by.is_empty(), "{hold:?}");
    }
}

/// A step changes its status by the event that says so, and events tell what happened.
fn check_history(before: &JobState, events: &[JobEvent]) {
    let mut state = before.clone();
    for event in events {
        let last = state.clone();
        evolve(&mut state, event);
        let kind = event.r#type();
        for (id, step) in &state.steps {
            let is_subject = event.step.as_ref().is_some_and(|subject| subject.step_id == *id);
            let is_same = last.steps.get(id).is_some_and(|was| was.status() == step.status());
            if is_same && !(is_subject && kind == Event::StepActivated) {
                continue;
            }
            let rides = event.further_steps.iter().any(|further| further.step_id == *id);
            let fits = match step.status() {
                Status::Pending if rides => matches!(
                    kind,
                    Event::JobCreated | Event::JobUpdated | Event::JobReopened | Event::StepActivated
                ),
                Status::Pending => kind == Event::ReportRecorded,
                Status::Ready => matches!(kind, Event::StepActivated | Event::ReportRecorded) && is_subject,
                Status::Running => kind == Event::StepStarted && is_subject,
                Status::WaitingForInfo => kind == Event::StepWaitingForInfo && is_subject,
                Status::Executed => kind == Event::StepExecuted && is_subject,
                Status::Paused => kind == Event::StepPaused && is_subject,
                Status::Cancelled => kind == Event::StepCancelled && is_subject,
                Status::Finished => matches!(kind, Event::StepFinished | Event::ReportRecorded) && is_subject,
                Status::Skipped => kind == Event::StepSkipped && is_subject,
                Status::Error => kind == Event::StepError && is_subject,
                Status::Unspecified => false,
            };
            assert!(fits, "{id} became {:?} by {kind:?}", step.status());
        }
        let status = |state: &JobState| state.job.status();
        let is_told = match (status(&last), status(&state)) {
            (was, is) if was == is => kind != Event::JobCompleted || last.job.closed,
            (_, JobStatus::Completed) => kind == Event::JobCompleted,
            (_, JobStatus::Aborted) => kind == Event::JobAborted,
            (JobStatus::Completed | JobStatus::Aborted, _) => kind == Event::JobReopened,
            (JobStatus::Unspecified, _) => kind == Event::JobCreated,
            _ => matches!(kind, Event::JobUpdated | Event::JobReopened),
        };
        assert!(is_told, "{:?} became {:?} by {kind:?}", status(&last), status(&state));
    }
}

fn check_reply(act: &Act, reply: &PerformJobActionResponse, done: &Done) {
    let all = reply.step_responses.iter().all(|told| told.status() == StepActionStatus::Success);
    assert_eq!(reply.success, all);
    assert_eq!(reply.applied, all || !act.all_or_nothing);
    assert!(reply.applied || done.events.is_empty(), "all or nothing");
    assert_eq!((reply.revision, &reply.etag), (done.after.job.revision, &done.after.job.etag));
    assert!(reply.step_responses.iter().all(|told| !told.status_description.is_empty()));
    assert!(done.events.iter().all(|event| event.item_id == "item"));
    let is_complete = done.after.job.status() == JobStatus::Completed;
    if is_complete && done.before.job.status() != JobStatus::Completed {
        assert_eq!(done.after.job.current_step_ids, Vec::<String>::new());
        assert!(!done.after.job.closed, "a job that is done is not closed");
    }
}

/// A hold that stands bars the way; holds that go stay listed, with what made them go.
fn check_holds_kept(done: &Done, context: &Context, action: JobActionType) {
    let is_over = |hold: &Hold| is_due(hold, context) || is_met(hold, context);
    for (id, step) in &done.after.steps {
        let Some(before) = done.before.steps.get(id) else { continue };
        let bars = before.hold_ids.iter().any(|hold_id| !is_over(&done.before.holds[hold_id]));
        let moved = before.status() != step.status() || before.visit != step.visit;
        let ahead = matches!(
            step.status(),
            Status::Running | Status::WaitingForInfo | Status::Executed | Status::Finished | Status::Skipped
        );
        assert!(!(bars && moved && ahead), "{action:?} moved {id}, which is on hold: {step:?}");
    }
    for (id, hold) in &done.before.holds {
        let is = &done.after.holds[id];
        if hold.is_standing() && !is.is_standing() {
            assert_eq!(is.release_time, Some(context.now));
            let fits = match is.release_cause() {
                HoldReleaseCause::Manual => action == JobActionType::ReleaseHold,
                HoldReleaseCause::Schedule => is_due(hold, context),
                HoldReleaseCause::Dependency => is_met(hold, context),
                HoldReleaseCause::Unspecified => false,
            };
            assert!(fits, "{is:?}");
        } else if !hold.is_standing() {
            assert_eq!(is, hold, "a hold goes once");
        }
    }
}

fn is_due(hold: &Hold, context: &Context) -> bool {
    let time = hold.scheduled_release_time.as_ref();
    time.is_some() && compare_times(time, Some(&context.now)).is_le()
}

fn is_met(hold: &Hold, context: &Context) -> bool {
    let dependency = Dependency::of(hold);
    dependency.is_some_and(|dependency| context.dependencies.get(&dependency) == Some(&DependencyState::Met))
}

/// Where paths meet nobody arrives whom others can still follow.
fn check_arrivals(done: &Done, world: &World<'_>) {
    let left: Vec<_> = done
        .events
        .iter()
        .filter(|event| matches!(event.r#type(), Event::StepFinished | Event::StepSkipped))
        .collect();
    // Where several are left at once, what was current in between is not to be seen from outside.
    let ([left], Some(_)) = (left.as_slice(), world.workflow) else { return };
    let left = &left.step.as_ref().expect("a step's event has it").step_id;
    let stayed = done.before.job.current_step_ids.iter().filter(|id| *id != left);
    let arrived = done.events.iter().filter(|event| event.r#type() == Event::StepActivated);
    for step in arrived.filter_map(|event| event.step.as_ref()) {
        for other in stayed.clone().filter(|_| world.is_join(&step.step_id)) {
            assert!(!world.leads(other, &step.step_id, None), "{} came before {other}", step.step_id);
        }
    }
}

fn check_closed_steps_stay(done: &Done) {
    if !done.before.job.closed {
        return;
    }
    let lasting = |state: &JobState| -> Vec<Step> {
        let lasting = |step: &Step| Step { hold_ids: Vec::new(), update_time: None, ..step.clone() };
        state.steps.values().map(lasting).collect()
    };
    assert_eq!(lasting(&done.before), lasting(&done.after), "the steps of a closed job stay");
}

fn check_reviewed(state: &JobState, context: &Context) {
    for hold in state.holds.values().filter(|hold| hold.is_standing()) {
        assert!(!is_due(hold, context) && !is_met(hold, context), "a review leaves none that is over");
        let state = Dependency::of(hold).map(|dependency| context.dependencies[&dependency]);
        let is_gone = state.is_some_and(|state| state != DependencyState::Open);
        assert_eq!(hold.orphaned, is_gone, "{hold:?}");
    }
    for task in state.tasks.values().filter(|task| task.is_open()) {
        let deadline = task.deadline.as_ref();
        let is_over = deadline.is_some() && compare_times(deadline, Some(&context.now)).is_le();
        assert!(!is_over, "a review leaves no task that is overdue: {task:?}");
    }
}

fn check_reopened(done: &Done, asked: &[String]) {
    let job = &done.after.job;
    assert_eq!((job.status(), job.closed), (JobStatus::Active, false));
    let current: BTreeSet<&String> = job.current_step_ids.iter().collect();
    if !asked.is_empty() {
        assert_eq!(current, asked.iter().collect(), "those that were asked for are current");
    } else if !done.before.job.current_step_ids.is_empty() {
        assert_eq!(job.current_step_ids, done.before.job.current_step_ids, "those that were are current");
    } else {
        let is_done = |step: &&Step| matches!(step.status(), Status::Finished | Status::Skipped);
        let finished: Vec<&Step> = done.before.steps.values().filter(is_done).collect();
        let time = |step: &&&Step| step.finish_time.map(|time| (time.seconds, time.nanos));
        let last = finished.iter().map(|step| time(&step)).max();
        let last: BTreeSet<_> =
            finished.iter().filter(|step| Some(time(step)) == last).map(|step| &step.step_id).collect();
        assert_eq!(current, last, "those that were done last are current");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn a_job_keeps_its_rules_whatever_comes(
        workflow in plan::workflow(),
        origin in plan::origin(),
        first in plan::sync(),
        commands in plan::commands(),
    ) {
        let mut life = Life::new(workflow, origin);
        if !matches!(origin, Origin::Created) {
            let context = Context {
                workflow: (!matches!(origin, Origin::AdHoc)).then(|| Arc::clone(&life.definition)),
                ..context(life.now)
            };
            life.sync(&context, &first);
        }
        for (situation, command) in &commands {
            life.live(situation, command);
        }
    }
}
