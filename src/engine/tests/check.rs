//! `check` finds a store in order that the engine made, and nothing in order that somebody changed.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;
use prost_types::Timestamp;

use crate::{
    chance::Chance,
    domain::{Dependency, HoldTerms, PerformJobAction},
    engine::{Findings, Options, check},
    proto::v1::JobActionType,
    store::{Batch, MemoryStore, Scan, Store},
};

use super::kit::{FIRST, World, act, automatic, create_automatic, delete, origin, soon, start};

const JOBS: usize = 6;
/// A job beside those.
const HELD: &str = "held";

async fn worked(seed: u64, commands: usize) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let world = World::at(1_000);
    let options = Options { log_events_max: 40, ..Options::default() };
    let engine = start(&store, &world, options).await;
    let mut chance = Chance::new(seed);
    engine.publish(origin(), automatic()).await.unwrap();
    engine.execute(origin(), create_automatic(HELD)).await.unwrap();
    for _ in 0..commands {
        world.set(1_000 + chance.below(50));
        act(&engine, &mut chance, JOBS).await;
        if chance.one_in(6) {
            // It may be refused: what it is to wait for may not be there.
            let _ = engine.execute(origin(), hold(&mut chance)).await;
        }
        if chance.one_in(20) {
            let _ = engine.execute(origin(), delete(&format!("chosen-{}", chance.below(JOBS)))).await;
        }
        if chance.one_in(20) {
            engine.forget_old().await.unwrap();
        }
    }
    soon(engine.stop()).await.unwrap();
    store
}

/// A hold on a step of a job, for a day or until another job is done.
fn hold(chance: &mut Chance) -> PerformJobAction {
    let terms = if chance.one_in(2) {
        HoldTerms { scheduled_release: Some(Timestamp { seconds: 90_000, nanos: 0 }), dependency: None }
    } else {
        let dependency = Dependency { job_id: format!("chosen-{}", chance.below(JOBS)), step_id: None };
        HoldTerms { scheduled_release: None, dependency: Some(dependency) }
    };
    PerformJobAction {
        job_id: HELD.to_owned(),
        action: JobActionType::Hold,
        terms,
        ..PerformJobAction::default()
    }
}

async fn findings(store: &Arc<MemoryStore>) -> Findings {
    check(Arc::clone(store) as _).await.unwrap()
}

async fn everything(store: &MemoryStore) -> Vec<(Bytes, Bytes)> {
    let scan = Scan { start: Vec::new(), end: vec![u8::MAX], reverse: false, limit: usize::MAX };
    store.scan(FIRST, scan).await.unwrap()
}

async fn write(store: &MemoryStore, key: &Bytes, value: Option<Bytes>) {
    let first = store.head(FIRST).borrow().next();
    let writes = vec![(key.clone(), value)];
    store.commit(FIRST, Batch { first, entries: Vec::new(), writes }).await.unwrap();
}

async fn looked_at(seed: u64, commands: usize) {
    let store = worked(seed, commands).await;
    let found = findings(&store).await;
    assert_eq!(found.faults, Vec::<String>::new(), "seed {seed}");
    assert_eq!(found.records, everything(&store).await.len() as u64);
    assert!(found.jobs > 0 && found.events > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_the_engine_made_is_in_order(seed: u64, commands in 20_usize..150) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(looked_at(seed, commands));
    }
}

/// One key of each table at a time: removed, changed, and there under another name.
#[tokio::test]
async fn whatever_is_changed_is_found() {
    let mut tables = BTreeSet::new();
    for seed in 0..4 {
        let store = worked(seed, 300).await;
        let all = everything(&store).await;
        let mut chance = Chance::new(seed);
        for table in all.iter().map(|(key, _)| key[0]).collect::<BTreeSet<_>>() {
            tables.insert(table);
            let of_table: Vec<_> = all.iter().filter(|(key, _)| key[0] == table).collect();
            let (key, value) = chance.pick(&of_table);
            let another: Bytes = [&key[..], b"z\0"].concat().into();
            let longer: Bytes = [&value[..], &[0x78, 1]].concat().into();
            for (key, changed, before) in [
                (key, None, Some(value)),
                (key, Some(longer), Some(value)),
                (&another, Some(value.clone()), None),
            ] {
                write(&store, key, changed).await;
                let found = check(Arc::clone(&store) as _).await;
                assert!(
                    found.as_ref().map_or(true, |found| !found.is_in_order()),
                    "{} of seed {seed}: {found:?}",
                    key.escape_ascii()
                );
                write(&store, key, before.cloned()).await;
            }
        }
        assert!(findings(&store).await.is_in_order());
    }
    assert_eq!(tables, BTreeSet::from(*b"ACDFHIJNOPQRSTWY"));
}
