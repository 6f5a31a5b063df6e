//! Who is woken by what, and that nobody sleeps through what is for him.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    engine::{Delivery, Engine, Options, Start, Watch},
    proto::v1::JobFilter,
    store::Sequence,
};

use super::kit::{create, engine, events_now, move_to, of_job, origin, soon, watch_jobs};

/// Whether something rings for the watch now.
async fn rings(watch: &mut Watch) -> bool {
    tokio::time::timeout(Duration::ZERO, watch.changed()).await.is_ok()
}

async fn done(engine: &Engine, command: impl crate::engine::Command + Sync) {
    soon(engine.execute(origin(), command)).await.unwrap();
}

fn place(watch: &Watch) -> u64 {
    watch.position().sequences[0].0
}

#[tokio::test]
async fn a_bell_rings_for_whom_it_concerns() {
    let engine = engine(Options::default()).await;
    for job_id in ["a", "b"] {
        done(&engine, create(job_id, "red")).await;
    }
    let mut of_a = watch_jobs(&engine, &of_job("a"), Start::Now);
    let mut of_all = watch_jobs(&engine, &JobFilter::default(), Start::Now);
    let elsewhere = crate::engine::WatchScope { org: "other".to_owned(), ..Default::default() };
    let mut of_others = engine.watch(elsewhere, Start::Now).unwrap();
    assert!(!rings(&mut of_a).await && !rings(&mut of_all).await, "nothing has happened");

    for n in 0..10 {
        done(&engine, move_to("b", &format!("team-{n}"))).await;
    }
    assert!(!rings(&mut of_a).await, "nothing is for it");
    assert!(!rings(&mut of_others).await, "nothing is for it");
    assert!(rings(&mut of_all).await);
    assert!(!rings(&mut of_all).await, "ten rings are one");
    assert_eq!(events_now(&mut of_all).await.len(), 10);

    done(&engine, move_to("a", "green")).await;
    done(&engine, move_to("b", "green")).await;
    done(&engine, move_to("a", "blue")).await;
    assert_eq!(place(&of_a), 2);
    assert!(rings(&mut of_a).await);
    assert_eq!(place(&of_a), 12, "what comes before the first that is for it is passed over");
    let revisions: Vec<_> = events_now(&mut of_a).await.iter().map(|(event, _)| event.revision).collect();
    assert_eq!(revisions, [2, 3]);
    assert!(!rings(&mut of_a).await);
}

#[tokio::test]
async fn a_missed_ring_costs_nothing() {
    let engine = engine(Options::default()).await;
    done(&engine, create("a", "red")).await;
    let mut watch = watch_jobs(&engine, &of_job("a"), Start::Now);
    // It rings while nobody listens, and what it rings for is read before anybody does.
    done(&engine, move_to("a", "green")).await;
    assert_eq!(events_now(&mut watch).await.len(), 1);
    let before = place(&watch);
    assert!(rings(&mut watch).await);
    assert_eq!(place(&watch), before, "a late ring does not take it back");
    assert!(events_now(&mut watch).await.is_empty());
    assert!(!rings(&mut watch).await);
    done(&engine, move_to("a", "blue")).await;
    assert!(rings(&mut watch).await);
    assert_eq!(events_now(&mut watch).await.len(), 1);
}

#[tokio::test]
async fn a_watch_passes_on_over_what_is_not_for_it() {
    let engine = engine(Options::default()).await;
    for job_id in ["a", "b"] {
        done(&engine, create(job_id, "red")).await;
    }
    let mut watch = watch_jobs(&engine, &of_job("a"), Start::Now);
    for n in 0..5 {
        done(&engine, move_to("b", &format!("team-{n}"))).await;
    }
    assert_eq!(soon(watch.next()).await.unwrap(), None);
    watch.pass_on();
    assert_eq!(place(&watch), 7);

    done(&engine, move_to("a", "green")).await;
    done(&engine, move_to("b", "green")).await;
    watch.pass_on();
    assert_eq!(place(&watch), 7, "it does not pass over what rings");
    assert!(rings(&mut watch).await);
    assert_eq!(events_now(&mut watch).await.len(), 1);
    watch.pass_on();
    assert_eq!(watch.position().sequences, [Sequence(9)]);
}

#[tokio::test]
async fn a_bell_goes_with_its_watch() {
    let engine = engine(Options::default()).await;
    for _ in 0..100 {
        drop(watch_jobs(&engine, &of_job("a"), Start::Now));
        drop(watch_jobs(&engine, &JobFilter::default(), Start::Snapshot));
    }
    assert_eq!(engine.shared.tails[0].bells_hung(), 0);
}

/// One watcher that sleeps whenever there is nothing, passing on now and then, as a heartbeat does.
async fn sleeper(mut watch: Watch, heard: Arc<AtomicU64>, until: u64, passes_on: bool) {
    let mut count = 0;
    while count < until {
        match soon(watch.next()).await.unwrap() {
            Some(Delivery::Events(delivered)) => {
                count += delivered.iter().map(|command| command.events.len() as u64).sum::<u64>();
                heard.store(count, Ordering::SeqCst);
            }
            Some(other) => panic!("{other:?}"),
            None if passes_on => {
                watch.pass_on();
                soon(watch.changed()).await;
            }
            None => soon(watch.changed()).await,
        }
    }
    assert_eq!(count, until);
}

/// Each change is made only when everybody has heard of the one before: a wake-up that is lost is never made good by
/// the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_sleeps_through_what_is_for_him() {
    const CHANGES: u64 = 3_000;
    let engine = engine(Options::default()).await;
    done(&engine, create("a", "red")).await;
    let heard: Vec<_> = (0..6).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let watchers: Vec<_> = heard
        .iter()
        .enumerate()
        .map(|(n, heard)| {
            let wanted = if n % 2 == 0 { of_job("a") } else { JobFilter::default() };
            let watch = watch_jobs(&engine, &wanted, Start::Now);
            tokio::spawn(sleeper(watch, Arc::clone(heard), CHANGES, n % 3 == 0))
        })
        .collect();
    for n in 1..=CHANGES {
        done(&engine, move_to("a", &format!("team-{n}"))).await;
        let all = async {
            while heard.iter().any(|heard| heard.load(Ordering::SeqCst) < n) {
                tokio::task::yield_now().await;
            }
        };
        soon(all).await;
    }
    for watcher in watchers {
        soon(watcher).await.unwrap();
    }
}
