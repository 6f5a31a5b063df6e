//! What can come for a job: random workflows, and random commands by random callers at random times.

use std::sync::Arc;

use proptest::{
    prelude::*,
    sample::{Index, select},
};
use prost_types::Value;

use crate::{
    domain::{
        Definition, Dependency, DependencyState, HoldTerms, Sync, Told,
        execution::tests::kit::{Says, closed, started, workflow_closed, workflow_started},
        fixtures::at,
        workflow_faults,
    },
    proto::{
        storage::v1::SyncHeader,
        v1::{
            Assignee, CompletionStatus, JobActionType, JobStatus, Path, SingleStep, StepDefinition,
            StepEntry, StepJoin, StepKind, SyncMetadata, Workflow, assignee,
        },
    },
};

/// The most steps of a workflow here.
const STEPS_MAX: usize = 7;

/// What a path can ask for, and the same as CEL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    Answered,
    NotAnswered,
    Skipped,
    Succeeded,
    FirstVisits,
    Begun,
    Fails,
}

impl Condition {
    pub(super) const ALL: [Self; 8] = [
        Self::Always,
        Self::Answered,
        Self::NotAnswered,
        Self::Skipped,
        Self::Succeeded,
        Self::FirstVisits,
        Self::Begun,
        Self::Fails,
    ];

    pub(super) fn source(self) -> &'static str {
        match self {
            Self::Always => "",
            Self::Answered => "answer == 'yes'",
            Self::NotAnswered => "answer != 'yes'",
            Self::Skipped => "outcome == 'SKIPPED'",
            Self::Succeeded => "outcome in ['SUCCESS', 'FINISHED']",
            Self::FirstVisits => "visit < 2",
            Self::Begun => "job.status == 'ACTIVE'",
            Self::Fails => "job.metadata.nothing == 1",
        }
    }
}

/// The id of a step; there is no seventh.
pub(super) fn step_id(index: usize) -> String {
    format!("s{index}")
}

fn assignee(kind: assignee::Kind, id: &str) -> Assignee {
    Assignee { kind: kind.into(), id: id.to_owned() }
}

/// Whom a step can be assigned to: mostly nobody.
pub(super) fn some_assignee() -> impl Strategy<Value = Option<Assignee>> {
    prop_oneof![
        4 => Just(None),
        1 => Just(Some(assignee(assignee::Kind::User, "ann"))),
        1 => Just(Some(assignee(assignee::Kind::User, "bob"))),
        1 => Just(Some(assignee(assignee::Kind::Group, "crew"))),
    ]
}

/// Where the paths of a step lead: mostly on, so that there are branches, and sometimes anywhere, so that there are loops.
fn paths(at: usize) -> impl Strategy<Value = Vec<Path>> {
    let target = prop_oneof![4 => Just(at + 1), 3 => Just(at + 2), 2 => 0..STEPS_MAX];
    let condition = prop_oneof![5 => Just(Condition::Always), 4 => select(&Condition::ALL[..])];
    let path = (target, condition).prop_map(|(target, condition)| Path {
        next_step_id: step_id(target),
        condition: condition.source().to_owned(),
        label: None,
    });
    prop::collection::vec(path, 0..4)
}

fn step(at: usize) -> impl Strategy<Value = StepDefinition> {
    let kinds = vec![
        StepKind::Manual,
        StepKind::Manual,
        StepKind::OpenApp,
        StepKind::Question,
        StepKind::Automatic,
        StepKind::Automatic,
    ];
    let joins = vec![StepJoin::All, StepJoin::All, StepJoin::Any];
    (
        select(kinds),
        any::<bool>(),
        any::<bool>(),
        select(joins),
        prop::option::of(0..3),
        some_assignee(),
        paths(at),
    )
        .prop_map(move |(kind, can_skip, proceed_to_next, join, number, default_assignee, paths)| {
            StepDefinition {
                step_id: step_id(at),
                number,
                kind: kind.into(),
                can_skip,
                proceed_to_next,
                default_assignee,
                join: join.into(),
                paths,
                ..StepDefinition::default()
            }
        })
}

/// A workflow without faults.
pub(super) fn workflow() -> impl Strategy<Value = Workflow> {
    let steps = (0..STEPS_MAX).map(|at| step(at).boxed()).collect::<Vec<_>>();
    (1..=STEPS_MAX, steps, prop::collection::vec(any::<Index>(), 1..3)).prop_map(
        |(count, mut steps, starts)| {
            steps.truncate(count);
            for step in &mut steps {
                step.paths.retain(|path| (0..count).any(|index| step_id(index) == path.next_step_id));
            }
            // Most begin at the first step.
            let mut start_step_ids = vec![step_id(0)];
            for id in starts.iter().skip(1).map(|start| step_id(start.index(count))) {
                if !start_step_ids.contains(&id) {
                    start_step_ids.push(id);
                }
            }
            Workflow {
                workflow_id: "workflow".to_owned(),
                version_id: "1".to_owned(),
                start_step_ids,
                steps,
                ..Workflow::default()
            }
        },
    )
}

/// The workflow, ready to be followed.
pub(super) fn definition(workflow: &Workflow) -> Arc<Definition> {
    debug_assert_eq!(workflow_faults(workflow), vec![]);
    Arc::new(Definition::new(workflow.clone()))
}

/// How a job comes about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// CreateJob of the workflow.
    Created,
    /// CreateJob of none, and the syncs are of one that is not published.
    AdHoc,
    /// CreateJob of none, and the syncs are of the workflow.
    CreatedBare,
    /// The first sync, of the workflow.
    Synced,
}

pub(super) fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        12 => Just(Origin::Created),
        1 => Just(Origin::AdHoc),
        1 => Just(Origin::CreatedBare),
        2 => Just(Origin::Synced),
    ]
}

/// Somebody who asks, at some time, and how far it is then with what holds wait for.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    pub(super) caller: &'static str,
    pub(super) groups: Vec<String>,
    pub(super) may_force_stop: bool,
    pub(super) may_refresh: bool,
    pub(super) seconds_later: i64,
    pub(super) dependencies: Vec<DependencyState>,
}

fn situation() -> impl Strategy<Value = Situation> {
    let dependency = select(vec![
        DependencyState::Open,
        DependencyState::Open,
        DependencyState::Open,
        DependencyState::Met,
        DependencyState::Aborted,
        DependencyState::Deleted,
        DependencyState::Unknown,
    ]);
    (
        prop_oneof![4 => Just("ann"), 1 => Just("bob")],
        prop_oneof![3 => Just(vec!["crew".to_owned()]), 1 => Just(Vec::new())],
        any::<bool>(),
        prop_oneof![3 => Just(true), 1 => Just(false)],
        prop_oneof![4 => Just(0_i64), 4 => Just(1), 1 => Just(100)],
        prop::collection::vec(dependency, dependencies().len()),
    )
        .prop_map(|(caller, groups, may_force_stop, may_refresh, seconds_later, dependencies)| {
            Situation { caller, groups, may_force_stop, may_refresh, seconds_later, dependencies }
        })
}

/// What holds here can wait for.
pub(super) fn dependencies() -> Vec<Dependency> {
    let dependency = |job_id: &str, step_id: Option<&str>| Dependency {
        job_id: job_id.to_owned(),
        step_id: step_id.map(str::to_owned),
    };
    vec![dependency("other", None), dependency("other", Some("a")), dependency("third", Some("a"))]
}

/// A command, less whoever asks.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Act(Act),
    Assign {
        step_id: String,
        assignee: Option<Assignee>,
    },
    Reopen {
        step_ids: Vec<String>,
    },
    Exclude(bool),
    Update {
        title: Option<String>,
        assignee: Option<Assignee>,
    },
    Abort,
    Close,
    Review,
    Sync(Box<Sync>),
    /// One of the open tasks ends so, and its step is asked to follow.
    TaskEnds(Index, CompletionStatus),
    /// What an executor says of a task of its own, or of a workflow.
    Says(Says),
    /// What it says of one of the tasks that are there.
    SaysOf(Index, Says),
    /// A task that is the work of no step, with a deadline.
    CreateTask(Option<i64>),
}

/// An action, less whoever asks.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) action: JobActionType,
    pub(super) step_ids: Vec<String>,
    pub(super) terms: HoldTerms,
    pub(super) answer: Option<Value>,
    pub(super) task_deadline: Option<i64>,
    pub(super) all_or_nothing: bool,
}

impl Act {
    /// Has a step follow its task.
    pub(super) fn refresh(step_id: &str) -> Self {
        Self {
            action: JobActionType::RefreshStatus,
            step_ids: vec![step_id.to_owned()],
            terms: HoldTerms::default(),
            answer: None,
            task_deadline: None,
            all_or_nothing: false,
        }
    }
}

fn ids(max: usize) -> impl Strategy<Value = Vec<String>> {
    // The last is of no step.
    prop::sample::subsequence((0..=STEPS_MAX).map(step_id).collect::<Vec<_>>(), 0..=max).prop_shuffle()
}

fn act() -> impl Strategy<Value = Act> {
    let action = prop_oneof![
        8 => Just(JobActionType::Run),
        8 => Just(JobActionType::Finish),
        3 => Just(JobActionType::Stop),
        2 => Just(JobActionType::SetCurrentStep),
        3 => Just(JobActionType::Hold),
        2 => Just(JobActionType::ReleaseHold),
        1 => Just(JobActionType::RefreshStatus),
    ];
    let step_ids = prop_oneof![5 => Just(Vec::new()), 3 => ids(1), 2 => ids(4)];
    let terms = (
        prop_oneof![3 => Just(None), 1 => (0_i64..40).prop_map(Some), 1 => Just(Some(100_000))],
        prop_oneof![2 => Just(None), 1 => select(dependencies()).prop_map(Some)],
    );
    let terms = terms.prop_map(|(seconds, dependency)| HoldTerms {
        scheduled_release: seconds.map(|seconds| at(100 + seconds)),
        dependency,
    });
    let answer = prop_oneof![2 => Just(None), 1 => Just(Some("yes")), 1 => Just(Some("no"))];
    let deadline = prop_oneof![2 => Just(None), 1 => (0_i64..60).prop_map(|seconds| Some(100 + seconds))];
    let all_or_nothing = prop_oneof![4 => Just(false), 1 => Just(true)];
    (action, step_ids, terms, answer, deadline, all_or_nothing).prop_map(
        |(action, mut step_ids, terms, answer, task_deadline, all_or_nothing)| {
            // What the edge refuses does not come here.
            if action == JobActionType::SetCurrentStep {
                step_ids.truncate(1);
                if step_ids.is_empty() {
                    step_ids.push(step_id(0));
                }
            }
            let answer = answer.filter(|_| step_ids.len() < 2).map(|text| Value::from(text.to_owned()));
            Act { action, step_ids, terms, answer, task_deadline, all_or_nothing }
        },
    )
}

fn told() -> impl Strategy<Value = Told> {
    let step_ids: Vec<String> = (0..=STEPS_MAX).map(step_id).collect();
    (0..5_u8, select(step_ids), 0_i64..6, any::<bool>()).prop_map(|(unique, step_id, updated, undone)| {
        let step = SingleStep {
            unique_step_id: Some(format!("u{unique}")),
            step_id: Some(step_id),
            updated: Some(at(updated)),
            ..SingleStep::default()
        };
        let entry = StepEntry { single_step: Some(step), ..StepEntry::default() };
        Told { entry, undone, path: String::new() }
    })
}

pub(super) fn sync() -> impl Strategy<Value = Sync> {
    let statuses = prop_oneof![
        8 => Just(JobStatus::Active),
        2 => Just(JobStatus::NotStarted),
        2 => Just(JobStatus::Paused),
        1 => Just(JobStatus::Completed),
        1 => Just(JobStatus::Aborted),
    ];
    let current = prop::option::of(select((0..=STEPS_MAX).map(step_id).collect::<Vec<_>>()));
    (statuses, 0_i64..20, current, prop::option::of(Just("rain")), prop::collection::vec(told(), 0..3))
        .prop_map(|(status, updated, current_step, reason, reports)| {
            let metadata = SyncMetadata {
                client_job_id: Some("client".to_owned()),
                workflow_id: Some("workflow".to_owned()),
                updated: Some(at(updated)),
                current_step,
                abandon_reason: reason.map(str::to_owned),
                ..SyncMetadata::default()
            };
            let header = SyncHeader { metadata: Some(metadata), ..SyncHeader::default() };
            Sync::new(header, status, reports)
        })
}

/// Few distinct names, times and places, so that reports meet.
fn says() -> impl Strategy<Value = Says> {
    let about = (0..12_u8, select(vec!["a", "b", "c", "d"]), 1..40_i64, ends());
    let place = (
        prop_oneof![4 => Just("i"), 1 => Just("k")],
        prop_oneof![6 => Just(1_i64), 2 => Just(2), 1 => Just(3)],
    );
    let told = (prop_oneof![3 => Just("exe"), 1 => Just("eve")], any::<bool>(), 0..8_u8);
    (about, place, told).prop_map(
        |((kind, name, seconds, ends), (instance, attempt_id), (by, gives, rare))| {
            let says = match kind {
                0..=3 => started(name, seconds),
                4..=8 => closed(name, seconds).ended(ends),
                9 => workflow_started(seconds),
                _ => workflow_closed(seconds),
            };
            let says = if rare == 0 { says.close_job() } else { says };
            let says = if rare == 1 { says.sequence(7) } else { says };
            let says = if gives { says } else { says.nothing() };
            says.instance(instance).attempt(attempt_id).by(by)
        },
    )
}

fn ends() -> impl Strategy<Value = CompletionStatus> {
    select(vec![
        CompletionStatus::Success,
        CompletionStatus::Success,
        CompletionStatus::Warning,
        CompletionStatus::Error,
        CompletionStatus::TempError,
        CompletionStatus::Terminated,
    ])
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        48 => act().prop_map(Command::Act),
        12 => (any::<Index>(), ends()).prop_map(|(which, outcome)| Command::TaskEnds(which, outcome)),
        3 => ((0..=STEPS_MAX).prop_map(step_id), some_assignee())
            .prop_map(|(step_id, assignee)| Command::Assign { step_id, assignee }),
        4 => ids(2).prop_map(|step_ids| Command::Reopen { step_ids }),
        1 => any::<bool>().prop_map(Command::Exclude),
        1 => (prop::option::of(Just("title".to_owned())), some_assignee())
            .prop_map(|(title, assignee)| Command::Update { title, assignee }),
        1 => Just(Command::Abort),
        2 => Just(Command::Close),
        4 => Just(Command::Review),
        5 => sync().prop_map(|sync| Command::Sync(Box::new(sync))),
        12 => says().prop_map(Command::Says),
        12 => (any::<Index>(), says()).prop_map(|(which, says)| Command::SaysOf(which, says)),
        2 => prop::option::of(100_i64..160).prop_map(Command::CreateTask),
    ]
}

/// Commands one after another, each in a situation of its own.
pub(super) fn commands() -> impl Strategy<Value = Vec<(Situation, Command)>> {
    prop::collection::vec((situation(), command()), 1..30)
}
