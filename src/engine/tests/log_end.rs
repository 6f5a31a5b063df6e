//! The two ends of the log: the oldest entry that is kept, and the head.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::CloseJob,
    engine::{Engine, Options, Position, Start, Views, Watch, WatchError},
    proto::v1::JobFilter,
    store::{MemoryStore, Sequence, Store as _},
};

use super::kit::{
    FIRST, ORG, World, create, delete, events_now, move_to, of_job, origin, scope, soon, start, watch_jobs,
};

fn at(sequence: u64) -> Start {
    Start::At(Position { sequences: vec![Sequence(sequence)], snapshot: None })
}

fn refusal(engine: &Engine, start: Start) -> WatchError {
    match engine.watch(scope(&JobFilter::default()), start) {
        Ok(_) => panic!("the watch began"),
        Err(error) => error,
    }
}

async fn revisions(watch: &mut Watch) -> Vec<i64> {
    events_now(watch).await.iter().map(|(event, _)| event.revision).collect()
}

/// A job of `changes` + 1 revisions, each a second after the one before.
async fn aged(options: Options, changes: i64) -> (Arc<MemoryStore>, Arc<World>, Engine) {
    let store = Arc::new(MemoryStore::new());
    let world = World::at(1_000);
    let engine = start(&store, &world, options).await;
    soon(engine.execute(origin(), create("a", "team-0"))).await.unwrap();
    for n in 1..=changes {
        world.set(1_000 + n);
        soon(engine.execute(origin(), move_to("a", &format!("team-{n}")))).await.unwrap();
    }
    (store, world, engine)
}

#[tokio::test]
async fn the_oldest_kept_is_where_a_watch_can_begin_and_one_before_it_is_expired() {
    let options = Options { log_events_max: 4, ..Options::default() };
    let (store, _, engine) = aged(options, 9).await;
    engine.forget_old().await.unwrap();
    let oldest = store.oldest(FIRST);
    assert_eq!(oldest, Sequence(7), "ten events, four are kept");

    assert_eq!(
        revisions(&mut watch_jobs(&engine, &JobFilter::default(), Start::Earliest)).await,
        [7, 8, 9, 10]
    );
    assert_eq!(revisions(&mut watch_jobs(&engine, &JobFilter::default(), at(6))).await, [7, 8, 9, 10]);
    assert_eq!(revisions(&mut watch_jobs(&engine, &JobFilter::default(), at(9))).await, [10]);
    assert_eq!(revisions(&mut watch_jobs(&engine, &JobFilter::default(), at(10))).await, [0; 0]);
    assert_eq!(revisions(&mut watch_jobs(&engine, &JobFilter::default(), Start::Now)).await, [0; 0]);
    for expired in [0, 3, 5] {
        match refusal(&engine, at(expired)) {
            WatchError::Expired { partition, oldest: found } => {
                assert_eq!((partition, found), (FIRST, oldest));
            }
            other => panic!("at {expired}: {other}"),
        }
    }
    for unknown in [11, u64::MAX - 1] {
        assert!(matches!(refusal(&engine, at(unknown)), WatchError::Unknown), "at {unknown}");
    }
    let of_two = Position { sequences: vec![Sequence(8); 2], snapshot: None };
    assert!(matches!(refusal(&engine, Start::At(of_two)), WatchError::Unknown));
    assert_eq!(engine.oldest_time(FIRST).await.unwrap().unwrap().seconds, 1_006);
}

#[tokio::test]
async fn a_command_is_kept_or_forgotten_whole() {
    let options = Options { log_events_max: 2, ..Options::default() };
    let (store, _, engine) = aged(options, 3).await;
    // Two events: aborted, and closed.
    let close = CloseJob { job_id: "a".to_owned(), etag: None };
    soon(engine.execute(origin(), close)).await.unwrap();
    soon(engine.execute(origin(), create("b", "red"))).await.unwrap();
    engine.forget_old().await.unwrap();
    assert_eq!(store.oldest(FIRST), Sequence(5), "the limit lies inside a command, and that stays");
    assert_eq!(revisions(&mut watch_jobs(&engine, &JobFilter::default(), at(4))).await, [5, 6, 1]);
    assert!(matches!(refusal(&engine, at(3)), WatchError::Expired { .. }));
}

#[tokio::test]
async fn the_log_is_forgotten_by_age() {
    let options = Options { log_age_max: Duration::from_secs(5), ..Options::default() };
    let (store, world, engine) = aged(options, 9).await;
    engine.forget_old().await.unwrap();
    assert_eq!(store.oldest(FIRST), Sequence(5), "made at 1,004, five seconds ago");
    world.set(2_000);
    engine.forget_old().await.unwrap();
    assert_eq!(store.oldest(FIRST), Sequence(10), "the newest stays");
    assert_eq!(revisions(&mut watch_jobs(&engine, &JobFilter::default(), Start::Earliest)).await, [10]);
}

#[tokio::test]
async fn a_watch_that_is_passed_by_the_log_hears_so() {
    let options = Options { log_events_max: 4, tail_bytes: 1, ..Options::default() };
    let (_, _, engine) = aged(options, 2).await;
    let mut watch = watch_jobs(&engine, &JobFilter::default(), Start::Now);
    let mut in_time = watch_jobs(&engine, &JobFilter::default(), Start::Now);
    for n in 0..4 {
        soon(engine.execute(origin(), move_to("a", &format!("late-{n}")))).await.unwrap();
    }
    engine.forget_old().await.unwrap();
    assert_eq!(revisions(&mut in_time).await, [4, 5, 6, 7], "exactly the oldest kept is next for it");
    soon(engine.execute(origin(), move_to("a", "later"))).await.unwrap();
    engine.forget_old().await.unwrap();
    match soon(watch.next()).await {
        Err(WatchError::Expired { oldest, .. }) => assert_eq!(oldest, Sequence(5)),
        other => panic!("{other:?}"),
    }
    assert_eq!(watch.position().sequences, [Sequence(3)], "it was not moved silently");
}

#[tokio::test]
async fn a_snapshot_that_is_passed_by_the_log_hears_so() {
    let options = Options { log_events_max: 4, tail_bytes: 1, ..Options::default() };
    let (_, _, engine) = aged(options, 1).await;
    for n in 0..100 {
        soon(engine.execute(origin(), create(&format!("b-{n}"), "red"))).await.unwrap();
    }
    let mut watch = watch_jobs(&engine, &JobFilter::default(), Start::Snapshot);
    assert!(matches!(soon(watch.next()).await.unwrap(), Some(crate::engine::Delivery::Snapshot(_))));
    for n in 0..5 {
        soon(engine.execute(origin(), move_to("a", &format!("late-{n}")))).await.unwrap();
    }
    engine.forget_old().await.unwrap();
    assert!(matches!(soon(watch.next()).await, Err(WatchError::Expired { .. })));
    assert!(matches!(refusal(&engine, Start::At(watch.position().clone())), WatchError::Expired { .. }));
}

/// A job's history is not the log: it stays until the job is deleted and the log has forgotten that.
#[tokio::test]
async fn a_history_outlives_the_log() {
    let options = Options { log_events_max: 1, ..Options::default() };
    let (_, _, engine) = aged(options, 5).await;
    engine.forget_old().await.unwrap();
    let history = engine.history(ORG, "a", Sequence(0)).await.unwrap();
    assert_eq!(history.len(), 6);
    soon(engine.execute(origin(), delete("a"))).await.unwrap();
    assert_eq!(engine.history(ORG, "a", Sequence(0)).await.unwrap().len(), 7);
    assert_eq!(revisions(&mut watch_jobs(&engine, &of_job("a"), Start::Earliest)).await, [6, 7]);
    soon(engine.execute(origin(), create("b", "red"))).await.unwrap();
    engine.forget_old().await.unwrap();
    assert!(engine.history(ORG, "a", Sequence(0)).await.unwrap().is_empty());
    let gone = engine.job(ORG, crate::engine::Target::Job("a"), &Views::default()).await.unwrap();
    assert_eq!(gone, None);
}
