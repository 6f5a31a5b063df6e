//! Servers, clients and syncs for the tests here.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::File,
    future::Future,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    panic::Location,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use holdpoint::{
    config::Config,
    engine::{Engine, Options, System},
    proto::{
        WatchBatch,
        v1::{
            BasicSyncRequest, JobEvent, JobStatus, SingleStep, StepEntry, SyncMetadata, WatchJobsRequest,
            WatchJobsResponse, WatchMessage, admin_service_client::AdminServiceClient,
            job_service_client::JobServiceClient, sync_service_client::SyncServiceClient,
            task_service_client::TaskServiceClient, watch_message::Kind,
            workflow_service_client::WorkflowServiceClient,
        },
    },
    server,
    store::MemoryStore,
};
use prost_types::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

/// Far longer than anything here takes: what is not there by then never comes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ends a wait that would never end.
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = Location::caller();
    async move {
        let outcome = tokio::time::timeout(PATIENCE, future).await;
        outcome.unwrap_or_else(|_| panic!("waited in vain at {place}"))
    }
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// The binary that was built with the tests, or the one that `HOLDPOINT_BINARY` names, for measurements.
pub fn binary() -> Command {
    let named = std::env::var_os("HOLDPOINT_BINARY");
    Command::new(named.unwrap_or_else(|| env!("CARGO_BIN_EXE_holdpoint").into()))
}

/// What all servers in the directory have logged.
pub fn log_of(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("log.txt")).unwrap()
}

/// How many starts in the directory took the store for one that may be damaged, and looked at all of it. Prints why.
pub fn doubted_starts(directory: &Path) -> u64 {
    let log = log_of(directory);
    log.lines().filter(|line| line.contains("does not leave there")).for_each(|line| println!("  {line}"));
    log.matches("this may be damaged").count() as u64
}

/// Neither kills nor power cuts damage a store. What they leave can look like it, but seldom: a large store is looked at for
/// minutes.
#[track_caller]
pub fn check_doubted_starts(doubted: u64, starts: u64, one_in: u64) {
    assert!(doubted <= 1 + starts / one_in, "{doubted} of {starts} starts took a whole store for damaged");
}

/// A server that ended before it listened.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub log: String,
}

/// The binary, at work on a directory. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub async fn start(directory: &Path, settings: &[&str]) -> Self {
        Self::run(binary(), directory, settings).await
    }

    /// One with more in its environment, which may end before it listens.
    pub async fn launch(
        directory: &Path,
        settings: &[&str],
        environment: Vec<(&'static str, OsString)>,
    ) -> Result<Self, Ended> {
        let mut command = binary();
        command.envs(environment);
        Self::try_run(command, directory, settings).await
    }

    /// One that may have no more than so many files and connections open.
    pub async fn with_descriptors(most: usize, directory: &Path, settings: &[&str]) -> Self {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_holdpoint")]);
        Self::run(command, directory, settings).await
    }

    /// One that has so many files and connections, unless it asks for more.
    pub async fn with_usual_descriptors(usual: usize, directory: &Path, settings: &[&str]) -> Self {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -S -n {usual} && exec \"$0\" \"$@\"");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_holdpoint")]);
        Self::run(command, directory, settings).await
    }

    /// One that may refuse to start: then how it ended, and its log.
    pub async fn attempt(directory: &Path, settings: &[&str]) -> Result<Self, Ended> {
        Self::try_run(Command::new(env!("CARGO_BIN_EXE_holdpoint")), directory, settings).await
    }

    async fn run(command: Command, directory: &Path, settings: &[&str]) -> Self {
        let outcome = Self::try_run(command, directory, settings).await;
        outcome.unwrap_or_else(|ended| panic!("the server did not start: {}\n{}", ended.status, ended.log))
    }

    async fn try_run(mut command: Command, directory: &Path, settings: &[&str]) -> Result<Self, Ended> {
        let log = File::options().create(true).append(true).open(directory.join("log.txt")).unwrap();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--log-filter", "info", "--data-dir"])
            .arg(directory.join("data"))
            // A machine that is busy with other tests is no overload.
            .args(["--set", "limits.waiting_milliseconds=60000"])
            .args(settings)
            // One arena, so that what threads keep for themselves is not taken for growth.
            .env("MALLOC_ARENA_MAX", "1")
            .stdout(Stdio::piped())
            .stderr(log);
        // A variable of the test's own would be taken for a setting.
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("HOLDPOINT_")) {
            command.env_remove(variable);
        }
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let said = soon(tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        }));
        let said = said.await.unwrap().unwrap();
        let Some(address) = said.trim().strip_prefix("holdpoint is listening on ") else {
            let status = soon(tokio::task::spawn_blocking(move || child.wait())).await.unwrap().unwrap();
            return Err(Ended { status, log: log_of(directory) });
        };
        Ok(Self { child, address: address.parse().unwrap() })
    }

    /// SIGKILL, at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn tell_to_stop(&self) {
        self.signal("-TERM");
    }

    pub fn signal(&self, signal: &str) {
        let told = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    pub async fn exit(mut self) -> ExitStatus {
        let exited = tokio::task::spawn_blocking(move || self.child.wait());
        soon(exited).await.unwrap().unwrap()
    }

    /// The memory that is its own, in KiB. Only where the system tells.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    }

    /// How many files and connections it has open. Only where the system tells.
    pub fn descriptors(&self) -> Option<usize> {
        Some(std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).ok()?.count())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server in this process, so that a test can reach its engine.
pub struct InProcess {
    pub engine: Engine,
    pub address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), server::Error>>,
}

impl InProcess {
    pub async fn start(options: Options, adapt: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() };
        adapt(&mut config);
        let engine = Engine::start(Arc::new(MemoryStore::new()), Arc::new(System), options).await.unwrap();
        let shutdown = CancellationToken::new();
        let services = server::services(&config, &engine, shutdown.clone()).unwrap();
        let (listener, address) = server::listen(config.listen).await.unwrap();
        let serving = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { server::serve(listener, services, &config, shutdown).await }
        });
        Self { engine, address, shutdown, serving }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        soon(self.serving).await.unwrap().unwrap();
    }
}

/// The services over one connection.
#[derive(Clone)]
pub struct Client {
    pub admin: AdminServiceClient<Channel>,
    pub jobs: JobServiceClient<Channel>,
    pub syncs: SyncServiceClient<Channel>,
    pub tasks: TaskServiceClient<Channel>,
    pub workflows: WorkflowServiceClient<Channel>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(Endpoint::from_shared(format!("http://{address}")).unwrap()).await
    }

    /// One that takes little before it is asked to.
    pub async fn narrow(address: SocketAddr) -> Self {
        const WINDOW: u32 = (1 << 16) - 1;
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self::over(endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW)).await
    }

    async fn over(endpoint: Endpoint) -> Self {
        Self::on(soon(endpoint.connect()).await.unwrap())
    }

    /// One that connects when it is used, and waits for an answer for so long.
    pub fn hurried(address: SocketAddr, timeout: Duration) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self::on(endpoint.timeout(timeout).connect_lazy())
    }

    fn on(channel: Channel) -> Self {
        Self {
            admin: AdminServiceClient::new(channel.clone()),
            jobs: JobServiceClient::new(channel.clone()).max_decoding_message_size(16 << 20),
            syncs: SyncServiceClient::new(channel.clone()),
            tasks: TaskServiceClient::new(channel.clone()),
            workflows: WorkflowServiceClient::new(channel),
        }
    }

    pub async fn sync(&mut self, request: BasicSyncRequest) -> (String, i64) {
        let reply = soon(self.syncs.basic_sync(request)).await.unwrap().into_inner();
        (reply.job_id, reply.revision)
    }

    /// A watch whose first message has come.
    pub async fn watch(&mut self, request: WatchJobsRequest) -> Watch {
        let stream = soon(self.jobs.watch_jobs(request)).await.unwrap().into_inner();
        let mut watch = Watch { stream, token: String::new() };
        let (_, kind) = watch.next().await.unwrap().unwrap();
        assert!(matches!(kind, Kind::Created(_)));
        watch
    }
}

/// Messages of `WatchJobs`.
pub struct Watch {
    stream: Streaming<WatchJobsResponse>,
    /// That of the last message.
    pub token: String,
}

impl Watch {
    /// The next message, with its token.
    pub async fn next(&mut self) -> Option<Result<(String, Kind), Status>> {
        let message = soon(self.stream.message()).await.transpose()?;
        Some(message.map(|message| {
            let (token, kind) = parts(message.message);
            self.token.clone_from(&token);
            (token, kind)
        }))
    }

    /// The events of the next batch.
    pub async fn batch(&mut self) -> Vec<JobEvent> {
        loop {
            match self.next().await.unwrap().unwrap() {
                (_, Kind::Batch(batch)) => return events_of(&batch),
                (_, Kind::Checkpoint(_)) => {}
                (_, other) => panic!("{other:?}"),
            }
        }
    }

    /// The next so many events, where no more than those are to come.
    pub async fn events(&mut self, count: usize) -> Vec<JobEvent> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.batch().await);
        }
        assert_eq!(events.len(), count);
        events
    }
}

pub fn parts(message: Option<WatchMessage>) -> (String, Kind) {
    let message = message.unwrap();
    assert!(!message.resume_token.is_empty(), "every message carries a token");
    (message.resume_token, message.kind.unwrap())
}

pub fn events_of(batch: &WatchBatch) -> Vec<JobEvent> {
    assert!(batch.snapshots.is_empty());
    batch.decode_events().unwrap()
}

/// What tells an event from all others.
pub fn key(event: &JobEvent) -> (String, i64) {
    (event.job_id.clone(), event.revision)
}

pub fn keys(events: &[JobEvent]) -> Vec<(String, i64)> {
    let keys: Vec<_> = events.iter().map(key).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "one came twice");
    keys
}

/// A sync of one job, with reports of these ids, each with a note of some length.
pub fn sync(client_job_id: &str, updated: i64, report_ids: &[String], note_bytes: usize) -> BasicSyncRequest {
    let updated = Some(Timestamp { seconds: updated, nanos: 0 });
    let entry = |id: &String| StepEntry {
        single_step: Some(SingleStep {
            unique_step_id: Some(id.clone()),
            step_id: Some(format!("step-{}", id.len() % 3)),
            updated,
            note: Some("\u{20ac}".repeat(note_bytes / 3)),
            ..SingleStep::default()
        }),
        report_step: None,
    };
    BasicSyncRequest {
        metadata: Some(SyncMetadata {
            client_job_id: Some(client_job_id.to_owned()),
            workflow_id: Some("workflow".to_owned()),
            status: JobStatus::Active.into(),
            updated,
            ..SyncMetadata::default()
        }),
        completed_steps: report_ids.iter().map(entry).collect(),
        ..BasicSyncRequest::default()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it makes an optional member of messages")]
pub fn heartbeat_1s() -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 1, nanos: 0 })
}

/// The reason of a refusal, and what it carries of a key.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

pub fn metadata(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.get(key).cloned()
}

/// A request of a caller of another organization.
pub fn from_org<T>(org: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("holdpoint-org", org.parse().unwrap());
    request
}
