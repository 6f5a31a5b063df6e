//! What an update is made of, each part by itself and without a server: the decision, the messages, the commit.
//!
//!     cargo bench --bench parts [-- decide|codec|commit]
//!
//! The commits go to the disk of the current directory, and one of them waits for it.

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use holdpoint::{
    cli::bench::messages,
    domain::{
        Context, CreateJob, Decision, Dependencies, Existing, JobState, Limits, NewIds, Place, Report,
        ReportTask, Sync, Told,
    },
    proto::{
        storage::v1::{JobRecord, LogEntry, SyncHeader},
        v1::{
            Actor, BasicSyncRequest, CompletionStatus, ExecutionStatus, Job, JobEvent, JobStatus, TaskStatus,
            UpdateExecutionTaskStatusRequest,
        },
    },
    store::{Batch, JobKey, LogRecord, Partition, Sequence, SledOptions, SledStore, Store as _},
};
use prost::Message;
use prost_types::Timestamp;

const JOB: &str = "job-0000000";
const SECONDS: i64 = 1_700_000_000;
const PARTITION: Partition = Partition(0);

fn context() -> Context {
    Context {
        now: Timestamp { seconds: SECONDS, nanos: 0 },
        actor: Actor { id: "dev".to_owned(), ..Actor::default() },
        request_id: String::new(),
        new_ids: NewIds { partition: 0, unique: 1 },
        limits: Limits::default(),
        workflow: None,
        dependencies: Dependencies::new(),
    }
}

/// The report of `holdpoint bench update`, as a command, of a second after it began.
fn report(second: i64) -> ReportTask {
    let request: UpdateExecutionTaskStatusRequest = decoded(messages::report(false).fill(0, 0));
    ReportTask {
        job_id: JOB.to_owned(),
        place: Place {
            workflow_instance_id: request.workflow_instance_id.unwrap_or_default(),
            attempt_id: 1,
            dispatch_id: request.dispatch_id.unwrap_or_default(),
        },
        task_id: "task".to_owned(),
        derived_id: "task_0000_00000000000000000000000000000002".to_owned(),
        sequence_id: 0,
        state_name: "Measure".to_owned(),
        report: Report {
            status: ExecutionStatus::Started,
            time: Timestamp { seconds: SECONDS + second, nanos: 0 },
            data: request.data.unwrap_or_default(),
            meta: request.meta.unwrap_or_default(),
            updated_by: request.updated_by.unwrap_or_default(),
            event_meta: None,
        },
        completion_status: CompletionStatus::Unspecified,
    }
}

/// The sync of `holdpoint bench sync`, as a command: all of its eight steps are newer.
fn sync() -> Sync {
    let request: BasicSyncRequest = decoded(messages::sync(8, false).fill(0, 0));
    let told = |(index, entry)| Told { entry, undone: false, path: format!("completed_steps[{index}]") };
    let header = SyncHeader { metadata: request.metadata, ..SyncHeader::default() };
    Sync::new(header, JobStatus::Active, request.completed_steps.into_iter().enumerate().map(told).collect())
}

fn decoded<M: Message + Default>(bytes: Bytes) -> M {
    M::decode(bytes).expect("it was encoded")
}

/// A job of which the task was reported.
fn reported() -> JobState {
    let job = Job { client_job_id: JOB.to_owned(), ..Job::default() };
    let made = CreateJob { job_id: Some(JOB.to_owned()), job };
    let made = made.decide(Existing::Nothing, &context()).expect("there is none");
    update(made.state, 0).state
}

fn update(state: JobState, second: i64) -> Decision<impl Message> {
    report(second).decide(Existing::Job(Box::new(state)), &context()).expect("it fits")
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    let (context, state, report) = (context(), reported(), report(1));
    let existing = || Existing::Job(Box::new(state.clone()));
    group.bench_function("UpdateExecutionTaskStatus, 500 B", |bencher| {
        bencher.iter_batched(existing, |existing| report.decide(existing, &context), BatchSize::SmallInput);
    });
    let sync = sync();
    let merged = sync.decide(Existing::Nothing, &context).expect("it is new");
    let existing = || Existing::Job(Box::new(merged.state.clone()));
    group.bench_function("BasicSync, 8 steps, all new", |bencher| {
        bencher.iter_batched(
            || Existing::Nothing,
            |existing| sync.decide(existing, &context),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("BasicSync, 8 steps, none newer", |bencher| {
        bencher.iter_batched(existing, |existing| sync.decide(existing, &context), BatchSize::SmallInput);
    });
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let updated = update(reported(), 1);
    let event = updated.events.first().expect("it was told").clone();
    let task = event.task.as_deref().expect("it is of a task").clone();
    let head = JobRecord { job: Some(updated.state.job), ..JobRecord::default() };
    both::<JobEvent>(&mut group, "JobEvent", &event);
    both::<TaskStatus>(&mut group, "TaskStatus", &task);
    both::<JobRecord>(&mut group, "JobRecord", &head);
    both::<BasicSyncRequest>(&mut group, "BasicSyncRequest", &decoded(messages::sync(8, false).fill(0, 0)));
    group.finish();
}

fn both<M: Message + Default>(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    message: &M,
) {
    let bytes = Bytes::from(message.encode_to_vec());
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function(format!("{name}, encoded"), |bencher| bencher.iter(|| message.encode_to_vec()));
    group.bench_function(format!("{name}, decoded"), |bencher| {
        bencher.iter(|| M::decode(black_box(bytes.clone())).expect("it was encoded"));
    });
}

/// What an update writes, of so many jobs, after a place in the log.
fn batch(head: Sequence, jobs: u64, update: &Decision<impl Message>) -> Batch {
    let event = Bytes::from(update.events.first().expect("it was told").encode_to_vec());
    let task = Bytes::from(update.events[0].task.as_deref().expect("it is of a task").encode_to_vec());
    let job = Bytes::from(update.state.job.encode_to_vec());
    let mut batch = Batch { first: head.next(), ..Batch::default() };
    for number in 1..=jobs {
        let key = JobKey { org: "dev".to_owned(), job_id: format!("job-{:05}", (head.0 + number) % 10_000) };
        let entry = LogEntry {
            org: key.org.clone(),
            job_id: key.job_id.clone(),
            events: vec![event.clone()],
            ..LogEntry::default()
        };
        for (table, value) in [("T", &task), ("J", &job)] {
            batch.writes.push((format!("{table}dev\0{}\0", key.job_id).into(), Some(value.clone())));
        }
        batch.entries.push(LogRecord {
            sequence: Sequence(head.0 + number),
            job: key,
            deletes_job: false,
            bytes: entry.encode_to_vec().into(),
            transient: Bytes::new(),
        });
    }
    batch.writes.sort();
    batch
}

fn commit(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(".").expect("a directory can be made here");
    let store = SledStore::open(directory.path(), &SledOptions::default()).expect("it is empty");
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("threads can be started");
    let mut group = criterion.benchmark_group("commit");
    group.measurement_time(Duration::from_secs(5));
    let updated = update(reported(), 1);
    let mut head = Sequence(0);
    for jobs in [1, 64] {
        group.throughput(Throughput::Elements(jobs));
        group.bench_function(format!("{jobs} updates"), |bencher| {
            let next = || {
                let batch = batch(head, jobs, &updated);
                head = Sequence(head.0 + jobs);
                batch
            };
            let commit = |batch| runtime.block_on(store.commit(PARTITION, batch)).expect("the disk takes it");
            bencher.iter_batched(next, commit, BatchSize::PerIteration);
        });
    }
    group.finish();
    runtime.block_on(store.close()).expect("the disk takes it");
}

criterion_group!(benches, decide, codec, commit);
criterion_main!(benches);
