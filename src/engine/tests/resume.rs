//! A watch that goes on from where another one was: everything after the place, and nothing of a command left behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    chance::Chance,
    domain::Filter,
    engine::{Engine, Options, Position, Start},
    proto::v1::{JobEvent, JobFilter},
    store::{MemoryStore, Sequence},
};

use super::kit::{World, act, events_now, random_filter, soon, start, watch_jobs, whole_log};

const JOBS: usize = 30;

/// Room for a handful of commands: whoever pauses for longer is behind it.
const SMALL_TAIL: Options = Options {
    limits: crate::domain::Limits::DEFAULT,
    commands_waiting_max: 4096,
    waiting_max: std::time::Duration::from_secs(1),
    tail_bytes: 6_000,
    request_window: std::time::Duration::from_secs(60),
    requests_max: 100,
    log_age_max: std::time::Duration::from_secs(1_000_000),
    log_events_max: 1_000_000,
    free_bytes_min: 0,
};

async fn wanted_of_log(store: &MemoryStore, wanted: &JobFilter) -> Vec<(JobEvent, Sequence)> {
    let filter = Filter::new(wanted.clone(), Vec::new(), None);
    let mut log = whole_log(store).await;
    log.retain(|(event, _)| filter.matches_event(event));
    log
}

#[tokio::test]
async fn from_every_place_comes_exactly_what_follows() {
    for seed in 0..4 {
        let store = Arc::new(MemoryStore::new());
        let engine = start(&store, &World::at(1_000), SMALL_TAIL).await;
        let mut chance = Chance::new(seed);
        for _ in 0..250 {
            act(&engine, &mut chance, JOBS).await;
        }
        let wanted = random_filter(&mut chance);
        let expected = wanted_of_log(&store, &wanted).await;
        let ends: BTreeSet<_> = whole_log(store.as_ref()).await.into_iter().map(|(_, end)| end).collect();

        let mut earliest = watch_jobs(&engine, &wanted, Start::Earliest);
        let told = events_now(&mut earliest).await;
        let events = |told: &[(JobEvent, Position)]| -> Vec<(JobEvent, Sequence)> {
            told.iter().map(|(event, position)| (event.clone(), position.sequences[0])).collect()
        };
        assert_eq!(events(&told), expected, "seed {seed}");
        for (place, position) in told.iter().enumerate().map(|(place, (_, position))| (place, position)) {
            assert!(ends.contains(&position.sequences[0]), "seed {seed}: {position:?} is inside a command");
            let mut watch = watch_jobs(&engine, &wanted, Start::At(position.clone()));
            let rest = events_now(&mut watch).await;
            let after = told[place..].iter().position(|(_, later)| later != position);
            let following = after.map_or(&[][..], |after| &expected[place + after..]);
            assert_eq!(events(&rest), following, "seed {seed} at {position:?}");
        }
    }
}

/// Reads for a while, goes away, and comes back with one of the last places.
async fn comes_and_goes(
    engine: Engine,
    wanted: JobFilter,
    from: Position,
    seed: u64,
    is_done: Arc<AtomicBool>,
) -> Vec<JobEvent> {
    let mut chance = Chance::new(seed);
    let mut heard = Vec::new();
    let mut place = from;
    while !is_done.load(Ordering::SeqCst) {
        let mut watch = watch_jobs(&engine, &wanted, Start::At(place.clone()));
        let mut places = vec![place.clone()];
        for _ in 0..chance.below(4) {
            let told = events_now(&mut watch).await;
            places.extend(told.iter().map(|(_, position)| position.clone()));
            heard.extend(told.into_iter().map(|(event, _)| event));
            if chance.one_in(3) {
                watch.pass_on();
            }
            places.push(watch.position().clone());
            for _ in 0..chance.below(30) {
                tokio::task::yield_now().await;
            }
        }
        let last = places.len() - 1;
        place = places.swap_remove(last - chance.below(places.len().min(4)));
    }
    let mut watch = watch_jobs(&engine, &wanted, Start::At(place));
    heard.extend(events_now(&mut watch).await.into_iter().map(|(event, _)| event));
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_comes_and_goes_misses_nothing() {
    for seed in 0..10 {
        let store = Arc::new(MemoryStore::new());
        let engine = start(&store, &World::at(1_000), SMALL_TAIL).await;
        let mut chance = Chance::new(seed);
        let wanted = random_filter(&mut chance);
        let from = watch_jobs(&engine, &wanted, Start::Now).position().clone();
        let is_done = Arc::new(AtomicBool::new(false));
        let watcher = comes_and_goes(engine.clone(), wanted.clone(), from, seed, Arc::clone(&is_done));
        let watcher = tokio::spawn(watcher);
        for _ in 0..600 {
            act(&engine, &mut chance, JOBS).await;
        }
        is_done.store(true, Ordering::SeqCst);
        let heard = soon(watcher).await.unwrap();

        let key = |event: &JobEvent| (event.job_id.clone(), event.revision);
        let expected: BTreeMap<_, _> =
            wanted_of_log(&store, &wanted).await.into_iter().map(|(event, _)| (key(&event), event)).collect();
        let heard: BTreeMap<_, _> = heard.into_iter().map(|event| (key(&event), event)).collect();
        assert_eq!(heard, expected, "seed {seed}");
    }
}
