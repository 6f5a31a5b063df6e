//! A watcher that does not read: nobody else notices, the server's memory stays flat, and nothing is lost for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use holdpoint::proto::v1::{WatchJobsRequest, WatchStart};
use tokio::task::JoinSet;

use super::kit::{Client, Server, keys, soon, sync};

/// Syncs beside those who do not read; half as many before, to compare with.
const SYNCS: usize = 2_000;
const REPORTS_PER_SYNC: usize = 3;
const JOBS: usize = 300;
const CALLERS: usize = 32;
const NOTE_BYTES: usize = 12_000;
const STALLED: usize = 4;

/// What those who do not read may cost the server, however much they leave unread: for each a connection's buffers and
/// one delivery. Less than half of what they leave unread here.
const GROWTH_KIB_MAX: u64 = 24 << 10;

fn from_now() -> WatchJobsRequest {
    WatchJobsRequest { start: WatchStart::Now.into(), ..WatchJobsRequest::default() }
}

/// Syncs each with a report of its own, as fast as they are answered. Returns how many events they made.
async fn load(server: &Server, run: usize, syncs: usize) -> usize {
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let mut client = Client::connect(server.address).await;
        let next = Arc::clone(&next);
        callers.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= syncs {
                    return;
                }
                // The header of each is older than that of the job's first, so that only the report is new.
                let job = format!("job-{run}-{}", n % JOBS);
                let updated = i64::try_from(syncs - n).unwrap();
                let reports: Vec<_> =
                    (0..REPORTS_PER_SYNC).map(|part| format!("report-{n}-{part}")).collect();
                let request = sync(&job, updated, &reports, NOTE_BYTES);
                client.sync(request).await;
            }
        });
    }
    while let Some(ended) = soon(callers.join_next()).await {
        ended.unwrap();
    }
    let mut client = Client::connect(server.address).await;
    let mut events = 0;
    for job in 0..JOBS {
        // It tells nothing new, and the answer says how many events the job has.
        let request = sync(&format!("job-{run}-{job}"), 0, &[], 0);
        events += usize::try_from(client.sync(request).await.1).unwrap();
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_costs_nobody_anything() {
    let directory = tempfile::tempdir().unwrap();
    let settings = ["--set", "limits.tail_bytes=1048576", "--set", "store.cache_bytes=1048576"];
    let server = Server::start(directory.path(), &settings).await;
    let mut reading = Client::connect(server.address).await.watch(from_now()).await;

    // The same without anybody who does not read, until what is filled once is full.
    let mut resident = Vec::new();
    for run in 0..2 {
        let events = load(&server, run, SYNCS / 2).await;
        reading.events(events).await;
        resident.push(server.resident_kib());
    }

    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(Client::narrow(server.address).await.watch(from_now()).await);
    }
    let started = Instant::now();
    let reader = tokio::spawn(async move {
        // As many as come, until told how many there are.
        let mut reading = reading;
        let mut events = Vec::new();
        while events.len() < SYNCS {
            events.extend(reading.batch().await);
        }
        (reading, events)
    });
    let events = load(&server, 2, SYNCS).await;
    let loaded = started.elapsed();
    let (mut reading, mut heard) = soon(reader).await.unwrap();
    heard.extend(reading.events(events - heard.len()).await);
    assert!(started.elapsed() < loaded + Duration::from_secs(5), "the one that reads is held up");
    resident.push(server.resident_kib());

    let heard = keys(&heard);
    assert_eq!(heard.len(), events);
    for mut watch in stalled {
        let late = watch.events(events).await;
        assert_eq!(keys(&late), heard, "the same in the same order");
    }
    let per_second = SYNCS as u128 * 1000 / loaded.as_millis().max(1);
    println!("{SYNCS} syncs ({per_second} a second), {events} events; resident KiB {resident:?}");
    if let [Some(_), Some(before), Some(after)] = resident[..] {
        let unread_kib = u64::try_from(SYNCS * REPORTS_PER_SYNC * NOTE_BYTES / 1024).unwrap();
        assert!(
            unread_kib > 2 * GROWTH_KIB_MAX && after < before + GROWTH_KIB_MAX,
            "{unread_kib} KiB were unread"
        );
    }
}
