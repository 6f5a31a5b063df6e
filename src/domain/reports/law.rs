//! The law of SPEC 3.1: syncs of one job, in any order and with any repeats, end in the same synced state. And what holds
//! of every decision, whatever comes between.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;
use prost::Message;
use prost_types::{NullValue, Struct, Timestamp, Value, value::Kind};

use super::{Sync, Told};
use crate::{
    domain::{
        AbortJob, CloseJob, Context, CreateJob, Decision, Definition, DeleteJob, Existing, JobField,
        JobState, NewIds, Rejection, UpdateJob,
        fixtures::{JOB_1, STATUSES, at, check_events, context},
    },
    proto::{
        Document,
        storage::v1::SyncHeader,
        v1::{
            BasicSyncResponse, Job, JobStatus, Path, SingleStep, StepDefinition, StepEntry, StepReport,
            StepStatus, SyncMetadata, SyncOutcome, Workflow, WorkflowReference,
        },
    },
};

/// Few distinct times, so that ties are common; absent ones and nanoseconds among them.
fn time() -> impl Strategy<Value = Option<Timestamp>> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(Timestamp { seconds: 0, nanos: 0 })),
        3 => Just(Some(at(1))),
        1 => Just(Some(Timestamp { seconds: 1, nanos: 1 })),
        3 => Just(Some(at(2))),
    ]
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(words).prop_map(str::to_owned))
}

/// A member of any kind: absent, null in both of its forms, empty, set.
fn value() -> impl Strategy<Value = Option<Value>> {
    prop::sample::select(vec![
        None,
        Some(Value { kind: None }),
        Some(Value { kind: Some(Kind::NullValue(NullValue::NullValue.into())) }),
        Some(Value::from(String::new())),
        Some(Value::from(1.5)),
        Some(Value::from(0.0)),
        Some(Value::from(-0.0)),
    ])
}

fn properties() -> impl Strategy<Value = Option<Document>> {
    let set = |value: Value| -> Option<Document> {
        Some(Struct { fields: BTreeMap::from([("key".to_owned(), value)]) }.into())
    };
    // The two zeros are one value of different bytes.
    let values = [Value::from(true), Value::from(0.0), Value::from(-0.0)].map(set);
    prop::sample::select([vec![None, Some(Document::default())], values.to_vec()].concat())
}

fn header() -> impl Strategy<Value = SyncHeader> {
    let ordered_by = (time(), time());
    let shown = (
        word(&["", "one", "two"]),
        word(&["", "red", "blue"]),
        word(&["s1", "s2", "s3", "s9"]),
        word(&["broken"]),
    );
    let kept = (
        properties(),
        value(),
        prop::collection::vec(Just("packet".to_owned()), 0..2),
        prop::option::of(any::<bool>()),
    );
    (ordered_by, shown, kept).prop_map(|((updated, modified), (title, team, current_step, reason), kept)| {
        let (properties, hierarchy_stack, packet_ids, excluded) = kept;
        let metadata = SyncMetadata {
            client_job_id: Some("client".to_owned()),
            workflow_id: Some("workflow".to_owned()),
            workflow_version_id: Some("v1".to_owned()),
            job_title: title,
            metadata: properties,
            updated,
            modified,
            current_step,
            abandon_reason: reason,
            ..SyncMetadata::default()
        };
        let metadata = Some(metadata);
        SyncHeader { metadata, team, hierarchy_stack, packet_ids, job_exclusion: Vec::new(), excluded }
    })
}

fn told() -> impl Strategy<Value = Told> {
    let ids = (prop::sample::select(vec!["u1", "u2", "u3"]), prop::sample::select(vec!["s1", "s2", "s3"]));
    let body = (time(), prop::option::of(1..3), word(&["", "weld"]), value(), properties());
    (ids, body, any::<bool>(), any::<bool>()).prop_map(
        |((unique_step_id, step_id), body, is_report, undone)| {
            let (updated, step_number, step_title, coordinates, metadata) = body;
            let step = SingleStep {
                unique_step_id: Some(unique_step_id.to_owned()),
                step_id: Some(step_id.to_owned()),
                updated,
                step_number,
                step_title,
                coordinates,
                metadata,
                ..SingleStep::default()
            };
            let entry = if is_report {
                StepEntry { report_step: Some(step), ..StepEntry::default() }
            } else {
                StepEntry { single_step: Some(step), ..StepEntry::default() }
            };
            Told { entry, undone, path: String::new() }
        },
    )
}

prop_compose! {
    fn sync()(
        header in header(),
        status in prop::sample::select(&STATUSES[..]),
        reports in prop::collection::vec(told(), 0..5),
    ) -> Sync {
        Sync::new(header, status, reports)
    }
}

/// The workflow of the syncs: unknown here, or published, and then with some of the steps that devices tell of.
fn published() -> impl Strategy<Value = Option<Arc<Definition>>> {
    let some = || prop::sample::subsequence(vec!["s1", "s2", "s3", "s9"], 1..=4);
    let numbers = prop::collection::vec(prop::option::of(1..3), 4);
    let workflow = (some(), some(), numbers).prop_map(|(step_ids, starts, numbers)| {
        let step = |(index, id): (usize, &&str)| StepDefinition {
            step_id: (*id).to_owned(),
            number: numbers[index],
            // Reports never follow paths, wherever these lead.
            paths: vec![Path { next_step_id: step_ids[0].to_owned(), ..Path::default() }],
            ..StepDefinition::default()
        };
        let mut start_step_ids: Vec<String> =
            starts.iter().filter(|id| step_ids.contains(id)).map(|id| (*id).to_owned()).collect();
        if start_step_ids.is_empty() {
            start_step_ids.push(step_ids[0].to_owned());
        }
        Workflow {
            workflow_id: "workflow".to_owned(),
            version_id: "1".to_owned(),
            steps: step_ids.iter().enumerate().map(step).collect(),
            start_step_ids,
            ..Workflow::default()
        }
    });
    let published = workflow.prop_map(|workflow| Some(Arc::new(Definition::new(workflow))));
    prop_oneof![1 => Just(None), 2 => published]
}

/// Syncs, and two orders of them in which each occurs at least once.
fn syncs_in_two_orders() -> impl Strategy<Value = (Vec<Sync>, Vec<usize>, Vec<usize>)> {
    prop::collection::vec(sync(), 1..7).prop_flat_map(|syncs| {
        let count = syncs.len();
        let order = move || {
            prop::collection::vec(0..count, 0..count)
                .prop_map(move |repeats| (0..count).chain(repeats).collect::<Vec<_>>())
                .prop_shuffle()
        };
        (Just(syncs), order(), order())
    })
}

fn decide(existing: &Existing, sync: &Sync, context: &Context) -> Decision<BasicSyncResponse> {
    let decision = sync.decide(existing.clone(), context).expect("syncs that agree are not refused");
    check_events(existing, &decision, context);
    decision
}

/// The state after the syncs in that order, beginning at a time of its own.
fn merge(syncs: &[Sync], order: &[usize], workflow: Option<&Arc<Definition>>, begin: i64) -> JobState {
    let mut existing = Existing::Nothing;
    for (passed, &index) in (begin..).zip(order) {
        let context = Context {
            new_ids: NewIds { partition: 0, unique: begin.unsigned_abs().into() },
            workflow: workflow.cloned(),
            ..context(passed)
        };
        let decision = decide(&existing, &syncs[index], &context);
        existing = Existing::Job(Box::new(decision.state));
    }
    match existing {
        Existing::Job(state) => *state,
        Existing::Nothing | Existing::Deleted { .. } => unreachable!("there is at least one sync"),
    }
}

/// The state less what tells of arrival.
fn synced(state: &JobState) -> JobState {
    let mut synced = state.clone();
    synced.job = Job {
        job_id: String::new(),
        create_time: None,
        update_time: None,
        close_time: None,
        revision: 0,
        etag: String::new(),
        ..synced.job
    };
    for step in synced.steps.values_mut() {
        step.job_id = String::new();
        (step.create_time, step.update_time, step.finish_time) = (None, None, None);
    }
    for report in synced.reports.values_mut() {
        report.job_id = String::new();
        report.record_time = None;
        (report.late, report.overrode_hold) = (false, false);
    }
    synced
}

/// What SPEC 3.1 says of the end, written down once more: from all the syncs at once, and not one by one.
fn check_against_spec(syncs: &[Sync], workflow: Option<&Workflow>, end: &JobState) {
    let time = |time: &Option<Timestamp>| time.map(|time| (time.seconds, time.nanos));
    let step =
        |entry: &StepEntry| entry.single_step.clone().or(entry.report_step.clone()).expect("one is set");
    let key = |entry: &StepEntry, undone: bool| (time(&step(entry).updated), undone, entry.encode_to_vec());

    let mut greatest = BTreeMap::new();
    for told in syncs.iter().flat_map(|sync| &sync.reports) {
        let key = key(&told.entry, told.undone);
        let standing =
            greatest.entry(step(&told.entry).unique_step_id().to_owned()).or_insert_with(|| key.clone());
        *standing = key.max(standing.clone());
    }
    let entry = |report: &StepReport| report.entry.clone().expect("a report has its entry");
    let reports = end.reports.iter().map(|(id, report)| (id.clone(), key(&entry(report), report.undone)));
    assert_eq!(reports.collect::<BTreeMap<_, _>>(), greatest, "of each report the greatest stands");

    let metadata = |sync: &Sync| sync.header.metadata.clone().expect("a header has metadata");
    let newest = syncs.iter().max_by_key(|sync| {
        let metadata = metadata(sync);
        (time(&metadata.updated), time(&metadata.modified), sync.header.encode_to_vec(), sync.status as i32)
    });
    let newest = newest.expect("there is at least one sync");
    let device_is_at = metadata(newest).current_step;

    let step_ids: BTreeSet<String> = match workflow {
        Some(workflow) => workflow.steps.iter().map(|step| step.step_id.clone()).collect(),
        None => end.reports.values().map(|report| step(&entry(report)).step_id().to_owned()).collect(),
    };
    assert_eq!(
        end.steps.keys().cloned().collect::<BTreeSet<_>>(),
        step_ids,
        "the steps are those published, or else those reported"
    );
    let starts = workflow.map(|workflow| workflow.start_step_ids.as_slice()).unwrap_or_default();
    for (id, has) in &end.steps {
        let of_step = end.reports.values().filter(|report| step(&entry(report)).step_id() == id);
        let undone: Vec<bool> = of_step.map(|report| report.undone).collect();
        let visits = undone.iter().filter(|undone| !**undone).count();
        let is_reached = starts.contains(id) || device_is_at.as_ref() == Some(id);
        let expected = match (undone.is_empty(), visits) {
            (true, _) if is_reached => (StepStatus::Ready, 1),
            (true, _) => (StepStatus::Pending, 0),
            (false, 0) => (StepStatus::Ready, 0),
            (false, visits) => (StepStatus::Finished, visits),
        };
        assert_eq!((has.status(), usize::try_from(has.visit).unwrap()), expected, "step {id}");
    }
    assert_eq!(end.job.title, metadata(newest).job_title, "the newest header stands");
    assert_eq!(end.job.team, newest.header.team, "the newest header stands");

    let is_terminal = |sync: &&Sync| matches!(sync.status, JobStatus::Completed | JobStatus::Aborted);
    let terminal = syncs.iter().filter(is_terminal).min_by_key(|sync| {
        let aborted = sync.status == JobStatus::Aborted;
        let reason = metadata(sync).abandon_reason.filter(|_| aborted);
        (time(&metadata(sync).updated), !aborted, std::cmp::Reverse(reason))
    });
    let status = match (terminal, newest.status) {
        (Some(terminal), _) => terminal.status,
        (None, JobStatus::NotStarted) if !end.reports.is_empty() => JobStatus::Active,
        (None, status) => status,
    };
    assert_eq!(end.job.status(), status, "the smallest terminal status stands, else the header's");
    assert_eq!(end.job.closed, status == JobStatus::Aborted, "an abort closes");
    let of_abort =
        terminal.filter(|_| status == JobStatus::Aborted).and_then(|sync| metadata(sync).abandon_reason);
    let reason = of_abort.or(metadata(newest).abandon_reason);
    assert_eq!(end.job.abandon_reason, reason, "the reason of the abort stands, else the header's");

    let mut open: Vec<_> = end.steps.values().filter(|step| step.status() == StepStatus::Ready).collect();
    open.sort_by_key(|step| (step.number.is_none(), step.number, step.step_id.clone()));
    let open: Vec<_> = open.into_iter().map(|step| step.step_id.clone()).collect();
    let current = match device_is_at {
        Some(device) if open.contains(&device) => vec![device],
        _ => open,
    };
    assert_eq!(
        end.job.current_step_ids, current,
        "the device says where it is, if it is at an unfinished step"
    );
}

proptest! {
    #[test]
    fn syncs_in_any_order_end_in_the_same_state(
        (syncs, one, other) in syncs_in_two_orders(),
        published in published(),
    ) {
        let first = merge(&syncs, &one, published.as_ref(), 100);
        let second = merge(&syncs, &other, published.as_ref(), 200);
        prop_assert_eq!(synced(&first), synced(&second));
        check_against_spec(&syncs, published.as_ref().map(|published| published.workflow()), &first);

        for sync in &syncs {
            let existing = Existing::Job(Box::new(first.clone()));
            let context = Context { workflow: published.clone(), ..context(300) };
            let repeated = decide(&existing, sync, &context);
            prop_assert_eq!(repeated.reply.outcome(), SyncOutcome::Unchanged);
            prop_assert_eq!(repeated.events, vec![]);
            prop_assert_eq!(repeated.sync, None);
            prop_assert_eq!(repeated.state, first.clone());
        }
    }
}

/// Anything that can come for a job.
#[derive(Clone, Debug)]
enum Command {
    Sync(Sync),
    Create(CreateJob),
    Update(UpdateJob),
    Abort(AbortJob),
    Close(CloseJob),
    Delete(DeleteJob),
}

fn command() -> impl Strategy<Value = Command> {
    let job_id = || JOB_1.to_owned();
    let title = (word(&["", "server's"]), word(&["red"]));
    let job = title.prop_map(|(title, team)| Job { title, team, ..Job::default() }).boxed();
    let update = job.clone().prop_map(move |job| {
        let fields = vec![JobField::Title, JobField::Team];
        Command::Update(UpdateJob { job_id: job_id(), fields, job, etag: None })
    });
    prop_oneof![
        12 => sync().prop_map(Command::Sync),
        2 => (job, any::<bool>()).prop_map(|(job, follows)| {
            let workflow_id = "workflow".to_owned();
            let workflow = follows.then(|| WorkflowReference { workflow_id, ..WorkflowReference::default() });
            Command::Create(CreateJob { job_id: None, job: Job { workflow, ..job } })
        }),
        4 => update,
        1 => word(&["lost"]).prop_map(move |reason| Command::Abort(AbortJob { job_id: job_id(), reason, etag: None })),
        1 => Just(Command::Close(CloseJob { job_id: job_id(), etag: None })),
        1 => Just(Command::Delete(DeleteJob { job_id: job_id(), etag: None })),
    ]
}

/// The state after a command, if it is not refused; a deleted job is left as it was before.
fn apply(existing: &Existing, command: &Command, context: &Context) -> Result<JobState, Rejection> {
    fn state<R>(
        existing: &Existing,
        decision: Result<Decision<R>, Rejection>,
        context: &Context,
    ) -> Result<JobState, Rejection> {
        let decision = decision?;
        check_events(existing, &decision, context);
        Ok(decision.state)
    }
    let now = existing.clone();
    match command {
        Command::Sync(command) => state(existing, command.decide(now, context), context),
        Command::Create(command) => state(existing, command.decide(now, context), context),
        Command::Update(command) => state(existing, command.decide(now, context), context),
        Command::Abort(command) => state(existing, command.decide(now, context), context),
        Command::Close(command) => state(existing, command.decide(now, context), context),
        Command::Delete(command) => state(existing, command.decide(now, context), context),
    }
}

fn is_closed_by_command(state: &JobState) -> bool {
    state.job.closed && !state.sync.as_ref().is_some_and(|sync| sync.closed_by_sync)
}

/// The head of a job, less what every event changes.
fn lasting(state: &JobState) -> Job {
    Job { revision: 0, etag: String::new(), update_time: None, ..state.job.clone() }
}

proptest! {
    #[test]
    fn events_rebuild_the_state_whatever_comes(
        commands in prop::collection::vec(command(), 1..12),
        published in published(),
    ) {
        let mut existing = Existing::Nothing;
        for (now, command) in (100..).zip(&commands) {
            let context = Context { workflow: published.clone(), ..context(now) };
            let Ok(state) = apply(&existing, command, &context) else { continue };
            if let (Existing::Job(before), Command::Sync(_)) = (&existing, command) {
                prop_assert_eq!(is_closed_by_command(&state), is_closed_by_command(before));
                if is_closed_by_command(&state) {
                    prop_assert_eq!(lasting(&state), lasting(before), "a sync leaves such a job as it is");
                    prop_assert_eq!(&state.steps, &before.steps);
                }
            }
            prop_assert_eq!(state.job.closed, state.job.close_time.is_some());
            existing = match command {
                Command::Delete(_) => Existing::Deleted { job_id: state.job.job_id },
                _ => Existing::Job(Box::new(state)),
            };
        }
    }
}
