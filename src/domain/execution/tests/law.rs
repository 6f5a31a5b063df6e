//! The law of SPEC 3.2: within one attempt, reports in any order and with any repeats, and then the workflow's CLOSED, end in
//! the same instance; and that is the one that is to be had from all the reports at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::{prelude::*, sample::select};
use prost_types::{Struct, Value, value::Kind};

use super::kit::{
    Says, closed, data, decide, derived_id, of_task, reporter, started, workflow_closed, workflow_started,
};
use crate::{
    domain::{
        Context, CreateJob, CreateTask, Definition, Existing, JobState, NewIds, PerformJobAction, Sequences,
        fixtures::{JOB_1, at, context},
    },
    proto::{
        Document,
        v1::{
            CompletionStatus, ExecutionStatus, Job, JobActionType, JobStatus, Path, ReportOutcome,
            StepDefinition, StepKind, StepStatus, TaskStatus, Workflow, WorkflowReference,
        },
    },
};

/// The AUTOMATIC steps of the job.
const STEPS: usize = 3;

/// What a task does in the attempt.
#[derive(Clone, Debug)]
struct Task {
    /// The seconds at which it is said to have started, each once; by one executor.
    starts: Vec<i64>,
    starter: &'static str,
    /// When it ended, by whom, and how. Not before it started.
    end: Option<(i64, &'static str, CompletionStatus)>,
    sequence_id: i64,
    state_name: &'static str,
    has_data: bool,
    /// What it is the work of.
    kind: Kinds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinds {
    /// An executor's own.
    Own,
    /// A step's.
    Linked(usize),
    /// One that CreateTaskStatus made.
    Made,
}

/// How the attempt is said to go.
#[derive(Clone, Debug)]
struct Attempt {
    tasks: Vec<Task>,
    /// When the workflow is said to have started, each once.
    starts: Vec<i64>,
    closes_with_data: bool,
    close_job: bool,
    proceed_to_next: bool,
}

/// Whatever it ends at, the workflow ends then.
const END: i64 = 50;

fn task(kind: Kinds) -> impl Strategy<Value = Task> {
    let starts = prop::collection::btree_set(1..20_i64, 0..3);
    let outcome = select(vec![
        CompletionStatus::Success,
        CompletionStatus::Success,
        CompletionStatus::Warning,
        CompletionStatus::Error,
        CompletionStatus::Terminated,
        CompletionStatus::TempError,
    ]);
    let who = || select(vec!["exe", "eve"]);
    let end = prop_oneof![1 => Just(None), 5 => (0..4_i64, who(), outcome).prop_map(Some)];
    (starts, who(), end, 0..9_i64, select(vec!["weld", "grind", "paint"]), any::<bool>()).prop_map(
        move |(starts, starter, end, gap, state_name, has_data)| {
            let last = starts.last().copied().unwrap_or(1);
            let end = end.map(|(after, by, outcome)| (last + after, by, outcome));
            let starts =
                if starts.is_empty() && end.is_none() { vec![1] } else { starts.into_iter().collect() };
            Task { starts, starter, end, sequence_id: gap, state_name, has_data, kind }
        },
    )
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let own = prop::collection::vec(task(Kinds::Own), 0..5);
    let linked =
        (0..STEPS).map(|step| prop::option::of(task(Kinds::Linked(step))).boxed()).collect::<Vec<_>>();
    let made = prop::option::of(task(Kinds::Made));
    let starts = prop::collection::btree_set(1..END, 0..3);
    (own, linked, made, starts, any::<[bool; 3]>()).prop_map(|(own, linked, made, starts, flags)| {
        let mut tasks: Vec<Task> = own.into_iter().chain(linked.into_iter().flatten()).chain(made).collect();
        // Each has a sequence id of its own, with gaps, and not in the order of the rest.
        let mut taken = BTreeSet::new();
        for task in &mut tasks {
            while !taken.insert(task.sequence_id) {
                task.sequence_id += 2;
            }
        }
        let starts = starts.into_iter().collect();
        let [closes_with_data, close_job, proceed_to_next] = flags;
        Attempt { tasks, starts, closes_with_data, close_job, proceed_to_next }
    })
}

impl Attempt {
    /// The reports of its tasks and of its start, less those of steps' tasks, whose ids are known once the steps run.
    fn says(&self, begun: &JobState) -> Vec<Says> {
        let mut says: Vec<Says> =
            self.starts.iter().map(|start| workflow_started(*start).by("eve")).collect();
        for (index, task) in self.tasks.iter().enumerate() {
            let name = format!("t{index}");
            let id = task.id(index, begun);
            let of = |says: Says| {
                let says = of_task(&says, if task.kind == Kinds::Own { &name } else { &id });
                let says = says.sequence(task.sequence_id).state(task.state_name);
                if task.has_data { says } else { says.nothing() }
            };
            says.extend(task.starts.iter().map(|start| of(started(&name, *start).by(task.starter))));
            says.extend(
                task.end.iter().map(|(end, by, outcome)| of(closed(&name, *end).by(by).ended(*outcome))),
            );
        }
        says
    }

    fn end(&self) -> Says {
        let says = workflow_closed(END).code("E7");
        let says = if self.close_job { says.close_job() } else { says };
        if self.closes_with_data { says } else { says.nothing() }
    }

    fn definition(&self) -> Arc<Definition> {
        let auto = |step: usize| StepDefinition {
            step_id: step_id(step),
            kind: StepKind::Automatic.into(),
            proceed_to_next: self.proceed_to_next,
            paths: vec![Path { next_step_id: "next".to_owned(), ..Path::default() }],
            ..StepDefinition::default()
        };
        let next = StepDefinition { step_id: "next".to_owned(), ..StepDefinition::default() };
        Arc::new(Definition::new(Workflow {
            workflow_id: "workflow".to_owned(),
            version_id: "1".to_owned(),
            start_step_ids: (0..STEPS).map(step_id).collect(),
            steps: (0..STEPS).map(auto).chain([next]).collect(),
            ..Workflow::default()
        }))
    }

    /// The job, with the steps running whose tasks are reported, and what CreateTaskStatus makes.
    fn begun(&self) -> JobState {
        let context = self.context(100);
        let workflow_id = "workflow".to_owned();
        let workflow = Some(WorkflowReference { workflow_id, ..WorkflowReference::default() });
        let job = Job { workflow, ..Job::default() };
        let created = CreateJob { job_id: None, job }.decide(Existing::Nothing, &context).unwrap().state;
        let linked = self.tasks.iter().filter_map(|task| match task.kind {
            Kinds::Linked(step) => Some(step_id(step)),
            Kinds::Own | Kinds::Made => None,
        });
        let linked: Vec<String> = linked.collect();
        let run = PerformJobAction {
            job_id: JOB_1.to_owned(),
            action: JobActionType::Run,
            step_ids: linked.clone(),
            ..PerformJobAction::default()
        };
        let state = if linked.is_empty() {
            created
        } else {
            run.decide(Existing::Job(Box::new(created)), &self.context(101)).unwrap().state
        };
        if !self.tasks.iter().any(|task| task.kind == Kinds::Made) {
            return state;
        }
        let task = TaskStatus { unique_name: Some("made".to_owned()), ..TaskStatus::default() };
        let made = CreateTask { job_id: JOB_1.to_owned(), task };
        made.decide(Existing::Job(Box::new(state)), &self.context(102)).unwrap().state
    }

    fn context(&self, now: i64) -> Context {
        let unique = if now == 100 { 1 } else { u128::from(now.unsigned_abs()) * 100 };
        let new_ids = NewIds { partition: 0, unique };
        Context { new_ids, workflow: Some(self.definition()), ..context(now) }
    }
}

fn step_id(step: usize) -> String {
    format!("s{step}")
}

impl Task {
    /// Its id with us.
    fn id(&self, index: usize, begun: &JobState) -> String {
        match self.kind {
            Kinds::Own => derived_id(started("any", 1).place(), &format!("t{index}")),
            Kinds::Linked(step) => begun.steps[&step_id(step)].task_id.clone(),
            Kinds::Made => {
                let made = begun.tasks.values().find(|task| task.step_id.is_empty());
                made.expect("it was made").id.clone()
            }
        }
    }

    fn data(&self) -> Document {
        let newest = self.starts.last().map(|start| format!("S{start}"));
        let stands = self.end.map(|(end, ..)| format!("C{end}")).or(newest).unwrap_or_default();
        if self.has_data { data(&stands) } else { Document::default() }
    }
}

/// The attempt with all its reports, and two orders of them in which each occurs at least once.
fn attempts_in_two_orders() -> impl Strategy<Value = (Attempt, Vec<usize>, Vec<usize>)> {
    attempt().prop_flat_map(|attempt| {
        let count = attempt.says(&attempt.begun()).len();
        let order = move || {
            prop::collection::vec(0..count.max(1), 0..=count)
                .prop_map(move |repeats| {
                    (0..count).chain(repeats).filter(|at| *at < count).collect::<Vec<_>>()
                })
                .prop_shuffle()
        };
        (Just(attempt), order(), order())
    })
}

/// The job after the reports in that order, and the workflow's end, beginning at a time of its own.
fn merge(attempt: &Attempt, order: &[usize], begin: i64) -> JobState {
    let mut state = attempt.begun();
    let says = attempt.says(&state);
    let mut known = BTreeSet::new();
    let end = attempt.end();
    let all = order.iter().map(|index| (Some(*index), &says[*index])).chain([(None, &end)]);
    for (now, (index, says)) in (begin..).zip(all) {
        let decision = decide(&Existing::Job(Box::new(state)), says, &attempt.context(now));
        let decision = decision.expect("what agrees is not refused");
        let is_late = decision.reply.outcome == ReportOutcome::RecordedLate;
        assert!(!is_late, "nothing comes late before the end: {says:?}");
        if !known.insert(index) {
            assert_eq!(decision.reply.outcome, ReportOutcome::Unchanged, "what is known is known: {says:?}");
        }
        state = decision.state;
    }
    state
}

/// What tells of arrival is left out.
fn lasting(state: &JobState) -> JobState {
    let mut state = state.clone();
    state.job = Job { revision: 0, etag: String::new(), update_time: None, close_time: None, ..state.job };
    for step in state.steps.values_mut() {
        (step.update_time, step.finish_time) = (None, None);
    }
    for instance in state.instances.values_mut() {
        (instance.instance.create_time, instance.instance.update_time) = (None, None);
    }
    for task in state.tasks.values_mut() {
        (task.created, task.modified, task.etag) = (None, None, String::new());
        let is_reported = task.execution.as_ref().is_some_and(|of| of.status() == ExecutionStatus::Closed);
        if !is_reported {
            // The server ended it.
            task.completed = None;
        }
    }
    state
}

/// What SPEC 3.2 says of the end, written down once more: from all the reports at once, and not one by one.
fn check_against_spec(attempt: &Attempt, begun: &JobState, end: &JobState) {
    let mut collated: BTreeMap<&str, (i64, Document)> = BTreeMap::new();
    for (index, of) in attempt.tasks.iter().enumerate() {
        let task = &end.tasks[&of.id(index, begun)];
        let execution = task.execution.as_ref().expect("it was reported");
        assert_eq!(task.launched, of.starts.first().copied().map(at), "the start is the earliest");
        let starter = (!of.starts.is_empty()).then(|| reporter(of.starter));
        assert_eq!(execution.started_by, starter, "who reports the start has claimed it");
        let outcome = of.end.map_or(CompletionStatus::Terminated, |(_, _, outcome)| outcome);
        assert_eq!(task.completion_status(), outcome, "it has ended as it was said, or with the attempt");
        let teller = of.end.map_or(of.starter, |(_, by, _)| by);
        assert_eq!(task.updated_by, Some(reporter(teller)), "whose report stands");
        assert_eq!(task.data, Some(of.data()), "what the end gave, or else the last start");
        if let Some((ended, ..)) = of.end {
            assert_eq!(task.completed, Some(at(ended)));
            let highest = collated.entry(of.state_name).or_insert((of.sequence_id, of.data()));
            if highest.0 < of.sequence_id {
                *highest = (of.sequence_id, of.data());
            }
        }
        assert_eq!(task.launcher.as_deref(), Some("app"));
        assert!(!execution.late);
        if let Kinds::Linked(step) = of.kind {
            let step = end.steps[&step_id(step)].status();
            let expected = match (of.end, attempt.proceed_to_next) {
                (Some((_, _, CompletionStatus::Success | CompletionStatus::Warning)), true) => {
                    StepStatus::Finished
                }
                (Some((_, _, CompletionStatus::Success | CompletionStatus::Warning)), false) => {
                    StepStatus::Executed
                }
                (None, _) if attempt.close_job => StepStatus::Cancelled,
                _ => StepStatus::Error,
            };
            assert_eq!(step, expected, "the step follows its task");
        }
    }
    let open = end.tasks.values().filter(|task| task.is_open()).count();
    assert_eq!(open, 0, "nothing is open");

    let instance = &end.instances["i"];
    let of_attempt = &instance.attempts[&1];
    assert_eq!(of_attempt.launched, attempt.starts.first().copied().map(at), "the start is the earliest");
    assert_eq!((of_attempt.completed, of_attempt.code()), (Some(at(END)), "E7"));
    let member = |(name, (_, given)): (&str, (i64, Document))| {
        (name.to_owned(), Value { kind: Some(Kind::StructValue(given.members())) })
    };
    let collated = Struct { fields: collated.into_iter().map(member).collect() }.into();
    let given = if attempt.closes_with_data { data(&format!("C{END}")) } else { collated };
    assert_eq!(of_attempt.data, Some(given), "what was given, or what the closed tasks gave");
    assert_eq!(of_attempt.collated, !attempt.closes_with_data);
    let numbers: Sequences = attempt.tasks.iter().map(|task| task.sequence_id).collect();
    assert_eq!(instance.seen.missing(), numbers.missing());

    let expected = if attempt.close_job { (JobStatus::Completed, true) } else { (JobStatus::Active, false) };
    assert_eq!((end.job.status(), end.job.closed), expected);
    assert_eq!(end.job.objective_code.as_deref(), attempt.close_job.then_some("E7"));
}

proptest! {
    #[test]
    fn reports_in_any_order_end_in_the_same_instance((attempt, one, other) in attempts_in_two_orders()) {
        let first = merge(&attempt, &one, 200);
        let second = merge(&attempt, &other, 300);
        prop_assert_eq!(lasting(&first), lasting(&second));
        check_against_spec(&attempt, &attempt.begun(), &first);

        let state = Existing::Job(Box::new(first.clone()));
        for says in attempt.says(&attempt.begun()).iter().chain([&attempt.end()]) {
            let repeated = decide(&state, says, &attempt.context(400)).expect("a repeat is taken");
            prop_assert_eq!(repeated.reply.outcome, ReportOutcome::Unchanged, "{:?}", says);
            prop_assert_eq!(&repeated.state, &first);
        }
    }
}
