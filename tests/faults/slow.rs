//! A watcher that does not read: nobody else notices, the server's memory stays flat, and nothing is lost for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use holdpoint::proto::v1::{JobEvent, WatchJobsRequest, WatchStart};
use tokio::{sync::watch, task::JoinSet};

use super::kit::{Client, Server, Watch, keys, soon, sync};

const JOBS: usize = 500;
const SYNCS: usize = 1_500;
const REPORTS_PER_SYNC: usize = 3;
const NOTE_BYTES: usize = 12_000;
const CALLERS: usize = 32;
const STALLED: usize = 4;

/// What those who do not read may cost the server, however much they leave unread: for each a connection's buffers and
/// one delivery. Less than half of what they leave unread here.
const GROWTH_KIB_MAX: u64 = 20 << 10;

/// How long the one that reads may take for the rest, once all is written.
/// Held up, it would take for ever.
const LAG_MAX: Duration = Duration::from_secs(30);

fn from_now() -> WatchJobsRequest {
    WatchJobsRequest { start: WatchStart::Now.into(), ..WatchJobsRequest::default() }
}

/// Syncs with reports of their own, as fast as they are answered.
async fn write(server: &Server, run: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let mut client = Client::connect(server.address).await;
        let next = Arc::clone(&next);
        callers.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= SYNCS {
                    return;
                }
                let reports: Vec<_> =
                    (0..REPORTS_PER_SYNC).map(|part| format!("report-{n}-{part}")).collect();
                // All headers are the same, so that only the reports are new.
                client.sync(sync(&format!("job-{run}-{}", n % JOBS), 1, &reports, NOTE_BYTES)).await;
            }
        });
    }
    // Each call has its end, and all together take as long as the machine needs.
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
}

/// Writes while one watcher reads. Returns what that one heard, and how long it took to write.
async fn write_and_read(server: &Server, run: usize, mut reading: Watch) -> (Watch, Vec<JobEvent>, Duration) {
    const EVENTS: usize = JOBS + SYNCS * REPORTS_PER_SYNC;
    let (told, mut heard_all) = watch::channel(false);
    let reader = tokio::spawn(async move {
        let events = reading.events(EVENTS).await;
        told.send_replace(true);
        (reading, events)
    });
    let started = Instant::now();
    write(server, run).await;
    let wrote = started.elapsed();
    soon(heard_all.wait_for(|all| *all)).await.unwrap();
    let lag = started.elapsed().saturating_sub(wrote);
    assert!(lag < LAG_MAX, "the one that reads is held up by {lag:?}");
    let (reading, events) = soon(reader).await.unwrap();
    (reading, events, wrote)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_costs_nobody_anything() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        "--set",
        "limits.tail_bytes=1048576",
        "--set",
        "store.cache_bytes=1048576",
        "--set",
        "store.checkpoint_bytes=1048576",
    ];
    let server = Server::start(directory.path(), &settings).await;
    let mut reading = Client::connect(server.address).await.watch(from_now()).await;

    // The same without anybody who does not read, until what is filled once is full.
    let mut resident = Vec::new();
    for run in 0..2 {
        (reading, ..) = write_and_read(&server, run, reading).await;
        resident.push(server.resident_kib());
    }
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(Client::narrow(server.address).await.watch(from_now()).await);
    }
    let (reading, heard, wrote) = write_and_read(&server, 2, reading).await;
    resident.push(server.resident_kib());

    let heard = keys(&heard);
    for mut watch in stalled {
        let late = watch.events(heard.len()).await;
        assert_eq!(keys(&late), heard, "the same in the same order");
    }
    drop(reading);
    let unread_kib = u64::try_from(SYNCS * REPORTS_PER_SYNC * NOTE_BYTES / 1024).unwrap();
    let per_second = SYNCS as u128 * 1000 / wrote.as_millis().max(1);
    println!(
        "{STALLED} left {unread_kib} KiB of {SYNCS} syncs ({per_second} a second) unread; resident KiB, the last with \
         them: {resident:?}"
    );
    assert!(unread_kib > 2 * GROWTH_KIB_MAX);
    if let [Some(_), Some(before), Some(after)] = resident[..] {
        assert!(after < before + GROWTH_KIB_MAX, "it grew from {before} to {after} KiB");
    }
}
