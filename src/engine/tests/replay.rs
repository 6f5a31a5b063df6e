//! The log is the truth: what it says of a job makes the records of the job.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    chance::Chance,
    domain::{Counts, InstanceState, JobState, evolve},
    engine::{Logged, Options, ReportPage, Target, Views},
    proto::v1::JobEventType,
    store::{JobKey, MemoryStore, Records, Scan, Sequence, Store},
};

use super::kit::{FIRST, ORG, World, act, automatic, delete, origin, soon, start};

const JOBS: usize = 6;

async fn check(seed: u64, commands: usize) {
    let store = Arc::new(MemoryStore::new());
    let world = World::at(1_000);
    let engine = start(&store, &world, Options::default()).await;
    let mut chance = Chance::new(seed);
    engine.publish(origin(), automatic()).await.unwrap();
    for _ in 0..commands {
        // It stands still, goes on and jumps, also back.
        world.set(1_000 + chance.below(50));
        act(&engine, &mut chance, JOBS).await;
    }

    let mut jobs: BTreeMap<String, (JobState, bool)> = BTreeMap::new();
    let mut after = Sequence(0);
    let mut last_time = (0, 0);
    loop {
        let records = store.log(FIRST, after, 1 << 16).await.unwrap();
        let Some(last) = records.last() else { break };
        let next = last.sequence;
        for record in &records {
            let entry = crate::engine::logged::decode_entry(record).unwrap();
            let time = entry.time.map(|time| (time.seconds, time.nanos)).unwrap();
            assert!(time >= last_time, "seed {seed}: time fell");
            last_time = time;
            let logged = Logged::decode(record).unwrap();
            if entry.workflow.is_some() {
                after = logged.sequence;
                continue;
            }
            assert_eq!(logged.before, after, "seed {seed}: the log has a gap");
            after = logged.sequence;
            let (state, is_deleted) = jobs.entry(record.job.job_id.clone()).or_default();
            assert!(!*is_deleted, "seed {seed}: something came after the end");
            for event in &logged.events {
                assert_eq!(event.event.job_id, record.job.job_id);
                evolve(state, &event.event);
                *is_deleted |= event.event.r#type() == JobEventType::JobDeleted;
            }
            assert_eq!(*is_deleted, record.deletes_job);
            check_over(state, &logged);
            if let Some(sync) = entry.sync {
                state.sync = Some(sync);
            }
        }
        assert_eq!(after, next);
    }
    assert_eq!(after, *store.head(FIRST).borrow());

    let records = Records::new(Arc::clone(&store) as _, FIRST);
    let mut living = Vec::new();
    for (job_id, (state, is_deleted)) in jobs {
        let key = JobKey { org: ORG.to_owned(), job_id: job_id.clone() };
        let head = records.job(&key).await.unwrap().unwrap();
        assert_eq!(head.deleted, is_deleted, "seed {seed}");
        let stored = JobState {
            job: head.job.unwrap(),
            sync: records.sync(&key).await.unwrap(),
            steps: records.steps(&key).await.unwrap(),
            reports: records.reports(&key).await.unwrap(),
            holds: records.holds(&key).await.unwrap(),
            tasks: records.tasks(&key).await.unwrap(),
            instances: instances(&records, &key).await,
            counts: Counts { tasks: head.tasks, attempts: head.attempts },
        };
        if is_deleted {
            assert_eq!(stored.job.revision, state.job.revision, "seed {seed}");
            let ids = crate::proto::v1::Job {
                job_id,
                client_job_id: state.job.client_job_id,
                revision: state.job.revision,
                ..Default::default()
            };
            assert_eq!(stored, JobState { job: ids, ..JobState::default() }, "seed {seed}");
            assert_eq!(left_of(&store, &key.job_id).await, LEFT, "seed {seed}");
            continue;
        }
        living.push(job_id.clone());
        assert_eq!(stored, state, "seed {seed}");
        let views = Views {
            steps: true,
            reports: Some(ReportPage { after: String::new(), limit: 99 }),
            ..Views::default()
        };
        let parts = engine.job(ORG, Target::Job(&job_id), &views).await.unwrap().unwrap();
        assert_eq!(parts.job, state.job);
        assert_eq!(parts.steps.len(), state.steps.len());
        assert_eq!(parts.reports, state.reports.into_values().collect::<Vec<_>>());
    }

    for job_id in living {
        soon(engine.execute(origin(), delete(&job_id))).await.unwrap();
        assert_eq!(left_of(&store, &job_id).await, LEFT, "seed {seed}");
    }
    let mut tables: Vec<u8> = everything(&store).await.iter().map(|(key, _)| key[0]).collect();
    tables.dedup();
    assert!(
        tables.iter().all(|table| b"CJW".contains(table)),
        "seed {seed}: of jobs that are gone: {tables:?}"
    );
}

/// A workflow that closes leaves none of its tasks open, and none of the job's where it closes that with it; of an attempt
/// that a newer one has ended only the work of steps is open. The engine has loaded all that are.
pub(super) fn check_over(state: &JobState, command: &Logged) {
    for task in state.tasks.values().filter(|task| task.is_open() && task.step_id.is_empty()) {
        let Some(execution) = &task.execution else { continue };
        let newest =
            state.instances[&execution.workflow_instance_id].newest().map(|newest| newest.attempt_id);
        assert_eq!(newest, Some(execution.attempt_id), "it is open: {task:?}");
    }
    let closed = command.events.iter().find(|event| event.event.r#type() == JobEventType::WorkflowClosed);
    let Some(closed) = closed.and_then(|event| event.event.workflow_instance.as_ref()) else { return };
    let closes_job = command.events.iter().any(|event| event.event.r#type() == JobEventType::JobClosed);
    for task in state.tasks.values().filter(|task| task.is_open()) {
        let is_of = task.execution.as_ref().is_some_and(|execution| {
            execution.workflow_instance_id == closed.workflow_instance_id
                && execution.attempt_id == closed.attempts[0].attempt_id
        });
        assert!(!is_of && !closes_job, "it is left open: {task:?}");
    }
}

/// The tables that a deleted job stays in: its ids are never used again.
const LEFT: &[u8] = b"CJ";

async fn everything(store: &MemoryStore) -> Vec<(Bytes, Bytes)> {
    let scan = Scan { start: Vec::new(), end: vec![u8::MAX], reverse: false, limit: usize::MAX };
    store.scan(FIRST, scan).await.unwrap()
}

/// The tables in which something is of a job: by its key, or because it leads to the job.
async fn left_of(store: &MemoryStore, job_id: &str) -> Vec<u8> {
    let is_of = |(key, value): &(Bytes, Bytes)| {
        key[1..].split(|byte| *byte == 0).any(|text| text.ends_with(job_id.as_bytes())) || value == job_id
    };
    everything(store).await.iter().filter(|entry| is_of(entry)).map(|(key, _)| key[0]).collect()
}

/// The workflow instances of a job, with all their attempts.
pub(super) async fn instances(records: &Records, job: &JobKey) -> BTreeMap<String, InstanceState> {
    let mut instances = BTreeMap::new();
    for record in records.instances_after(&job.org, &job.job_id, None, usize::MAX).await.unwrap() {
        let id = record.instance.as_ref().unwrap().workflow_instance_id.clone();
        let mut state = records.instance_with(job, &id, record.newest_attempt_id).await.unwrap().unwrap();
        let attempts = records.newest_attempts(job, &id, None, usize::MAX).await.unwrap();
        state.attempts = attempts.into_iter().map(|attempt| (attempt.attempt_id, attempt)).collect();
        instances.insert(id, state);
    }
    instances
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_log_makes_the_records(seed: u64, commands in 1_usize..150) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(check(seed, commands));
    }
}
