//! From the snapshot to what follows, without a gap and without anything twice: SPEC 3.5.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    chance::Chance,
    engine::{Engine, Options, Position, Start},
    proto::v1::JobFilter,
};

use super::kit::{
    Picture, act, create, durable_engine, engine, listed, move_to, origin, random_filter, soon, watch_jobs,
};

/// So many that a snapshot takes several chunks.
const JOBS: usize = 400;

/// Commands before the watch begins, and while it takes its snapshot.
const COMMANDS: usize = 700;

/// Two writers at work, and a watch that begins in between. Returns the picture at every place that the watch was at.
async fn watched(engine: &Engine, seed: u64, wanted: &JobFilter) -> Vec<(Position, Picture)> {
    let is_done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let engine = engine.clone();
            let mut chance = Chance::new(seed * 10 + writer);
            tokio::spawn(async move {
                for _ in 0..COMMANDS / 2 {
                    act(&engine, &mut chance, JOBS).await;
                }
            })
        })
        .collect();
    let watcher = tokio::spawn({
        let (engine, wanted, is_done) = (engine.clone(), wanted.clone(), Arc::clone(&is_done));
        let mut chance = Chance::new(seed);
        async move {
            for _ in 0..chance.below(200) {
                tokio::task::yield_now().await;
            }
            let mut watch = watch_jobs(&engine, &wanted, Start::Snapshot);
            let mut picture = Picture::new(&wanted);
            let mut places = vec![(watch.position().clone(), picture.clone())];
            loop {
                // What is done by now is seen by the reading that follows.
                let is_last = is_done.load(Ordering::SeqCst);
                let keep = |picture: &Picture, position: &Position| {
                    if position.snapshot.is_some() || chance.one_in(40) {
                        places.push((position.clone(), picture.clone()));
                    }
                };
                picture.take(&mut watch, keep).await;
                if is_last {
                    places.push((watch.position().clone(), picture));
                    return places;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    for writer in writers {
        soon(writer).await.unwrap();
    }
    is_done.store(true, Ordering::SeqCst);
    soon(watcher).await.unwrap()
}

/// Watches while others write, and then once more from every place that the watch was at.
async fn check(engine: &Engine, seed: u64) {
    let mut chance = Chance::new(seed);
    for _ in 0..COMMANDS {
        act(engine, &mut chance, JOBS).await;
    }
    let wanted = random_filter(&mut chance);
    let places = watched(engine, seed, &wanted).await;
    let truth = listed(engine, &wanted).await;
    let (_, last) = places.last().unwrap();
    assert_eq!(last.jobs, truth, "seed {seed}: what was watched is not what is");
    for (place, picture) in &places {
        let mut picture = picture.resumed();
        let mut watch = watch_jobs(engine, &wanted, Start::At(place.clone()));
        picture.take(&mut watch, |_, _| {}).await;
        assert_eq!(picture.jobs, truth, "seed {seed}: resumed at {place:?}");
    }
}

#[tokio::test]
async fn a_snapshot_and_what_follows_are_the_jobs_as_they_are() {
    for seed in 0..6 {
        check(&engine(Options::default()).await, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn so_they_are_when_writers_are_on_other_threads() {
    for seed in 100..106 {
        // Small enough that the watch falls out of the tail, now and then.
        check(&engine(Options { tail_bytes: 20_000, ..Options::default() }).await, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn so_they_are_on_disk() {
    for seed in 200..202 {
        let directory = tempfile::tempdir().unwrap();
        let engine = durable_engine(&directory, Options::default()).await;
        check(&engine, seed).await;
        engine.stop().await.unwrap();
    }
}

/// On disk a commit shows before it is durable, and a snapshot is mostly of jobs that are being changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_job_that_changes_all_the_time_is_told_once_at_each_revision() {
    let directory = tempfile::tempdir().unwrap();
    let engine = durable_engine(&directory, Options::default()).await;
    engine.execute(origin(), create("busy", "team-0")).await.unwrap();
    let writer = tokio::spawn({
        let engine = engine.clone();
        async move {
            for n in 1..=1_500 {
                soon(engine.execute(origin(), move_to("busy", &format!("team-{n}")))).await.unwrap();
            }
        }
    });
    let wanted = JobFilter::default();
    while !writer.is_finished() {
        let mut watch = watch_jobs(&engine, &wanted, Start::Snapshot);
        let mut picture = Picture::new(&wanted);
        for _ in 0..5 {
            picture.take(&mut watch, |_, _| {}).await;
            tokio::task::yield_now().await;
        }
    }
    soon(writer).await.unwrap();
    engine.stop().await.unwrap();
}
