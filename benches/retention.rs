//! What the data directory takes while jobs are changed for minutes, and what comes back.
//!
//! `cargo bench --bench retention` starts the server with a short log, over a sled store in a temporary directory. First jobs come,
//! are changed, and are deleted, so many at once: nothing should grow for ever. Then the same jobs are changed again and again:
//! their histories grow, as they are kept until the job is deleted. At last all are deleted. Beside what the files take stands
//! what a backup takes, which is what lives. `HOLDPOINT_RETENTION_SECONDS` is how long each of the two lasts.

#![allow(clippy::cast_precision_loss, reason = "sizes are shown in MiB")]

use std::{
    error::Error,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use holdpoint::proto::v1::{
    BackupRequest, BasicSyncRequest, DeleteJobRequest, GetServerStatusRequest, GetServerStatusResponse, Job,
    JobStatus, SingleStep, StepEntry, SyncMetadata, UpdateJobRequest,
    admin_service_client::AdminServiceClient, job_service_client::JobServiceClient,
    sync_service_client::SyncServiceClient,
};
use prost_types::Timestamp;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{interval, sleep, timeout},
};
use tonic::transport::Channel;

const CALLERS: usize = 64;
const JOBS_PER_CALLER: u64 = 16;
/// Changes of a job before it is deleted, where jobs come and go.
const CHANGES_PER_JOB: u64 = 20;
const REPORTS_PER_JOB: u64 = 5;
const LOG_EVENTS: &str = "limits.log_events=20000";
const SECONDS: u64 = 180;
const LOOK: Duration = Duration::from_secs(15);
/// The server looks at the old end of its log once a minute.
const TRIMMED_BY: Duration = Duration::from_secs(150);
const PATIENCE: Duration = Duration::from_secs(120);
const MIB: f64 = 1_048_576.0;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Outcome<()> {
    let seconds = std::env::var("HOLDPOINT_RETENTION_SECONDS");
    let lasts = Duration::from_secs(seconds.map_or(Ok(SECONDS), |seconds| seconds.parse())?);
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path()).await?;
    let began = Instant::now();
    println!(
        "{:>20}{:>6}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}",
        "", "s", "events", "in log", "replies", "disk MiB", "live MiB", "ratio"
    );

    let jobs = AtomicU64::new(0);
    change(&server, began, "jobs come and go", lasts, Some(CHANGES_PER_JOB), &jobs).await?;
    server.look("the same, at rest", began, true).await?;
    sleep(TRIMMED_BY).await;
    server.look("and trimmed", began, true).await?;

    change(&server, began, "the same jobs", lasts, None, &jobs).await?;
    sleep(TRIMMED_BY).await;
    server.look("and trimmed", began, true).await?;

    delete_all(&server).await?;
    server.look("all jobs deleted", began, true).await?;
    // The log of the deletions pushes out what was before them, but not themselves.
    change(&server, began, "jobs come and go", lasts, Some(CHANGES_PER_JOB), &jobs).await?;
    delete_all(&server).await?;
    sleep(TRIMMED_BY).await;
    server.look("and trimmed", began, true).await?;
    let server = server.restart(directory.path()).await?;
    server.look("after a restart", began, true).await?;
    server.stop().await
}

/// Has all callers change jobs for so long, and looks at the server now and then.
async fn change(
    server: &Server,
    began: Instant,
    what: &str,
    lasts: Duration,
    changes: Option<u64>,
    jobs: &AtomicU64,
) -> Outcome<()> {
    let over = Arc::new(AtomicBool::new(false));
    let callers = (0..CALLERS).map(|caller| {
        let first = jobs.fetch_add(1 << 32, Ordering::Relaxed);
        let (channel, over) = (server.channel.clone(), Arc::clone(&over));
        async move {
            let caller = tokio::spawn(Caller::new(channel, caller, first).work(over, changes));
            caller.await?
        }
    });
    let looking = async {
        let mut looks = interval(LOOK);
        let start = Instant::now();
        while start.elapsed() < lasts {
            looks.tick().await;
            server.look(what, began, false).await?;
        }
        over.store(true, Ordering::Relaxed);
        Outcome::Ok(())
    };
    let (worked, looked) = tokio::join!(try_join_all(callers), looking);
    worked?;
    looked
}

async fn delete_all(server: &Server) -> Outcome<()> {
    let mut client = JobServiceClient::new(server.channel.clone());
    loop {
        let page = client
            .list_jobs(holdpoint::proto::v1::ListJobsRequest { page_size: 500, ..Default::default() })
            .await?;
        let jobs = page.into_inner().decode_jobs()?;
        if jobs.is_empty() {
            return Ok(());
        }
        let deletions =
            jobs.into_iter().map(|job| {
                let mut client = client.clone();
                async move {
                    client.delete_job(DeleteJobRequest { job_id: job.job_id, ..Default::default() }).await
                }
            });
        try_join_all(deletions).await?;
    }
}

/// Somebody with a few jobs.
struct Caller {
    syncs: SyncServiceClient<Channel>,
    jobs: JobServiceClient<Channel>,
    number: usize,
    next_job: u64,
    count: u64,
}

impl Caller {
    fn new(channel: Channel, number: usize, next_job: u64) -> Self {
        let (syncs, jobs) = (SyncServiceClient::new(channel.clone()), JobServiceClient::new(channel));
        Self { syncs, jobs, number, next_job, count: 0 }
    }

    /// Changes its jobs in turn until it is over. Each is deleted after so many changes, and another takes its place.
    async fn work(mut self, over: Arc<AtomicBool>, changes: Option<u64>) -> Outcome<()> {
        let mut own = Vec::new();
        for _ in 0..JOBS_PER_CALLER {
            own.push(self.begin().await?);
        }
        while !over.load(Ordering::Relaxed) {
            for job in &mut own {
                self.change(job).await?;
                if changes.is_some_and(|changes| job.changes >= changes) {
                    let request = DeleteJobRequest { job_id: job.id.clone(), ..DeleteJobRequest::default() };
                    timeout(PATIENCE, self.jobs.delete_job(request)).await??;
                    *job = self.begin().await?;
                }
            }
        }
        Ok(())
    }

    async fn begin(&mut self) -> Outcome<OwnJob> {
        self.next_job += 1;
        let mut job = OwnJob {
            client_id: format!("job-{}-{}", self.number, self.next_job),
            id: String::new(),
            changes: 0,
        };
        self.change(&mut job).await?;
        Ok(job)
    }

    /// A sync with a report that stands already, most times; else new properties. Each can be repeated.
    async fn change(&mut self, job: &mut OwnJob) -> Outcome<()> {
        self.count += 1;
        job.changes += 1;
        let request_id = format!("{}-{}-{}", self.number, self.next_job, self.count);
        let title = format!("{request_id} {}", "x".repeat(200));
        if job.changes.is_multiple_of(4) {
            let changed = Job { title: Some(title), ..Job::default() };
            let request = UpdateJobRequest {
                job_id: job.id.clone(),
                job: Some(changed),
                request_id,
                ..UpdateJobRequest::default()
            };
            timeout(PATIENCE, self.jobs.update_job(request)).await??;
            return Ok(());
        }
        let updated = Some(Timestamp { seconds: i64::try_from(self.count)?, nanos: 0 });
        let report = SingleStep {
            unique_step_id: Some(format!("report-{}", job.changes % REPORTS_PER_JOB)),
            step_id: Some("step".to_owned()),
            updated,
            note: Some("x".repeat(400)),
            ..SingleStep::default()
        };
        let request = BasicSyncRequest {
            metadata: Some(SyncMetadata {
                client_job_id: Some(job.client_id.clone()),
                workflow_id: Some("workflow".to_owned()),
                job_title: Some(title),
                status: JobStatus::Active.into(),
                updated,
                ..SyncMetadata::default()
            }),
            completed_steps: vec![StepEntry { single_step: Some(report), report_step: None }],
            request_id,
            ..BasicSyncRequest::default()
        };
        job.id = timeout(PATIENCE, self.syncs.basic_sync(request)).await??.into_inner().job_id;
        Ok(())
    }
}

struct OwnJob {
    client_id: String,
    id: String,
    changes: u64,
}

/// The binary, at work on a directory.
struct Server {
    child: Child,
    channel: Channel,
}

impl Server {
    async fn start(directory: &Path) -> Outcome<Self> {
        let other = std::env::var_os("HOLDPOINT_BINARY");
        let mut child = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_holdpoint").into()))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--log-filter",
                "warn",
                "--set",
                LOG_EVENTS,
                "--data-dir",
            ])
            .arg(directory.join("data"))
            .env_remove("HOLDPOINT_BINARY")
            .env_remove("HOLDPOINT_RETENTION_SECONDS")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        timeout(PATIENCE, BufReader::new(stdout).read_line(&mut line)).await??;
        let address =
            line.trim().strip_prefix("holdpoint is listening on ").ok_or("the server did not start")?;
        let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
        Ok(Self { child, channel })
    }

    async fn restart(self, directory: &Path) -> Outcome<Self> {
        self.stop().await?;
        Self::start(directory).await
    }

    async fn stop(mut self) -> Outcome<()> {
        let id = self.child.id().ok_or("the server has ended")?;
        Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        let status = timeout(PATIENCE, self.child.wait()).await??;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }

    async fn status(&self) -> Outcome<GetServerStatusResponse> {
        let mut client = AdminServiceClient::new(self.channel.clone());
        Ok(timeout(PATIENCE, client.get_server_status(GetServerStatusRequest {})).await??.into_inner())
    }

    /// What a backup takes.
    async fn live_bytes(&self) -> Outcome<f64> {
        let mut client = AdminServiceClient::new(self.channel.clone());
        let mut messages = client.backup(BackupRequest {}).await?.into_inner();
        let mut bytes = 0;
        while let Some(message) = timeout(PATIENCE, messages.message()).await?? {
            bytes += message.data.len();
        }
        Ok(bytes as f64)
    }

    async fn look(&self, what: &str, began: Instant, with_backup: bool) -> Outcome<()> {
        let status = self.status().await?;
        let partition = &status.partitions[0];
        let disk = status.store.as_ref().map_or(0.0, |store| store.disk_bytes as f64);
        let kept = partition.head + 1 - partition.oldest;
        print!(
            "{what:>20}{:>6}{:>10}{kept:>10}{:>10}{:>10.1}",
            began.elapsed().as_secs(),
            partition.head,
            partition.request_ids,
            disk / MIB
        );
        if with_backup {
            let live = self.live_bytes().await?;
            print!("{:>10.1}{:>8.1}", live / MIB, disk / live);
        }
        println!();
        Ok(())
    }
}
