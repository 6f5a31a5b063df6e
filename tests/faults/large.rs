//! How long a store of some GiB takes to open, to back up, to restore and to check, and what it costs those who work meanwhile.
//!
//! It is a measurement and takes minutes, so it runs when it is asked for, with the binary that people run:
//! `HOLDPOINT_BINARY=target/release/holdpoint HOLDPOINT_LARGE_MIB=2048 cargo test --test faults large -- --ignored --nocapture`

use std::{
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use holdpoint::proto::v1::{
    GetJobRequest, GetServerStatusRequest, JobView, ListJobsRequest, admin_service_client::AdminServiceClient,
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::{
    chance::Chance,
    kit::{Client, Server, binary, setting, sync},
};

const CLIENTS: usize = 64;
const CONNECTIONS: usize = 8;
/// Calls in a sample of latencies.
const SAMPLE: usize = 1_000;

async fn admin(server: &Server) -> AdminServiceClient<Channel> {
    AdminServiceClient::connect(format!("http://{}", server.address)).await.unwrap()
}

async fn disk_mib(server: &Server) -> u64 {
    let status = admin(server).await.get_server_status(GetServerStatusRequest {}).await.unwrap().into_inner();
    status.store.unwrap().disk_bytes.unsigned_abs() >> 20
}

/// A sync of about 6 KB, of a job with eight steps.
fn device(job: usize, updated: i64) -> holdpoint::proto::v1::BasicSyncRequest {
    let reports: Vec<_> = (0..8).map(|step| format!("job-{job}-{step}")).collect();
    sync(&format!("job-{job}"), updated, &reports, 600)
}

/// Has many clients make jobs until the store has a size. Returns how many there are.
async fn fill(server: &Server, mib: u64) -> usize {
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Client::connect(server.address).await);
    }
    loop {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (mut client, next) = (connections[client % CONNECTIONS].clone(), Arc::clone(&next));
            clients.spawn(async move {
                for _ in 0..100 {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    client.syncs.basic_sync(device(job, 1)).await.unwrap();
                }
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        if disk_mib(server).await >= mib {
            return next.load(Ordering::Relaxed);
        }
    }
}

/// The median and the 99th percentile.
fn percentiles(mut taken: Vec<Duration>) -> String {
    taken.sort();
    let at = |hundredth: usize| taken[(taken.len() - 1) * hundredth / 100];
    format!("p50 {:.2?}, p99 {:.2?} of {}", at(50), at(99), taken.len())
}

async fn time_each<F: Future<Output = ()>>(count: usize, mut call: impl FnMut() -> F) -> String {
    let mut taken = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        call().await;
        taken.push(begun.elapsed());
    }
    percentiles(taken)
}

async fn serve(server: &Server, jobs: usize, when: &str) {
    let client = Client::connect(server.address).await;
    let mut chance = Chance::new(7);
    let read = time_each(SAMPLE, || {
        let (mut client, client_job_id) = (client.clone(), format!("job-{}", chance.below(jobs)));
        async move {
            let views = vec![JobView::Steps.into(), JobView::Reports.into()];
            let request = GetJobRequest { client_job_id, views, ..GetJobRequest::default() };
            client.jobs.get_job(request).await.unwrap();
        }
    });
    println!("{when}: GetJob with steps and reports, one caller: {}", read.await);
    let mut updated = 10;
    let mut chance = Chance::new(8);
    let written = time_each(SAMPLE, || {
        updated += 1;
        let (mut client, request) = (client.clone(), device(chance.below(jobs), updated));
        async move {
            client.syncs.basic_sync(request).await.unwrap();
        }
    });
    println!("{when}: BasicSync, one caller: {}", written.await);
    let listed = time_each(20, || {
        let mut client = client.clone();
        async move {
            let request = ListJobsRequest { page_size: 50, ..ListJobsRequest::default() };
            client.jobs.list_jobs(request).await.unwrap();
        }
    });
    println!("{when}: ListJobs, a page of 50: {}", listed.await);
}

fn memory(server: &Server) -> String {
    server.resident_kib().map_or_else(|| "unknown".to_owned(), |kib| format!("{} MiB", kib >> 10))
}

/// Takes a backup into a file, while one caller goes on.
async fn back_up(server: &Server, file: &Path, jobs: usize) {
    let (url, file) = (format!("http://{}", server.address), file.to_str().unwrap().to_owned());
    let taken = tokio::task::spawn_blocking(move || command("backup", &["backup", &file, "--server", &url]));
    let mut client = Client::connect(server.address).await;
    let (mut chance, mut latencies, mut peak) = (Chance::new(9), Vec::new(), 0);
    while !taken.is_finished() {
        let asked = Instant::now();
        client.syncs.basic_sync(device(chance.below(jobs), 1_000_000)).await.unwrap();
        latencies.push(asked.elapsed());
        peak = peak.max(server.resident_kib().unwrap_or_default());
    }
    taken.await.unwrap();
    println!(
        "meanwhile BasicSync, one caller: {}; the server has at most {} MiB of memory",
        percentiles(latencies),
        peak >> 10
    );
}

/// Runs a command of the binary to its end. Tells how long it took, and its memory.
fn command(what: &str, arguments: &[&str]) {
    let begun = Instant::now();
    let mut child = binary().args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or_default());
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = begun.elapsed();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{what}: {output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    println!("{what}: {took:.1?}, at most {} MiB of memory: {}", peak >> 10, said.trim_end());
}

async fn timed_start(what: &str, directory: &Path, settings: &[&str]) -> Server {
    let begun = Instant::now();
    let server = Server::start(directory, settings).await;
    println!("{what}: listens after {:.1?}; {} of memory", begun.elapsed(), memory(&server));
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of minutes"]
async fn a_large_store_opens_serves_and_is_restored() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut server = Server::start(directory.path(), &[]).await;
    let begun = Instant::now();
    let jobs = fill(&server, setting("HOLDPOINT_LARGE_MIB", 64)).await;
    println!(
        "filled: {jobs} jobs of 8 steps in {:.1?}; {} MiB on disk; {} of memory",
        begun.elapsed(),
        disk_mib(&server).await,
        memory(&server)
    );
    server.kill();
    let server = timed_start("start after a kill", directory.path(), &[]).await;
    serve(&server, jobs, "after the start").await;
    back_up(&server, &at("backup"), jobs).await;
    println!("afterwards: {} of memory, {} MiB on disk", memory(&server), disk_mib(&server).await);
    server.tell_to_stop();
    assert!(server.exit().await.success());
    let again = timed_start("start after a stop", directory.path(), &[]).await;
    again.tell_to_stop();
    assert!(again.exit().await.success());

    let restored = at("restored");
    std::fs::create_dir(&restored).unwrap();
    let (backup, data) = (at("backup"), restored.join("data"));
    let [backup, data, original] =
        [&backup, &data, &at("data")].map(|path| path.to_str().unwrap().to_owned());
    command("check of the backup", &["check", "--backup", &backup]);
    command("restore", &["restore", &backup, "--data-dir", &data]);
    command("check of what was restored", &["check", "--data-dir", &data]);
    command("check of the original", &["check", "--data-dir", &original]);
    let server = timed_start("start of what was restored", &restored, &[]).await;
    println!("restored: {} MiB on disk", disk_mib(&server).await);
    serve(&server, jobs, "restored").await;
}
