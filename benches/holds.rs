//! What standing holds cost, and whether commands wait for those that are released.
//!
//! `cargo bench --bench holds` starts the server twice, as a process of its own over a sled store in a temporary directory.
//! One gets ten thousand scheduled holds that stand, ten thousand that fall due at one moment, and a thousand that wait
//! for one step; the other none. Rounds of commands alternate between the two, so that what the machine does
//! meanwhile meets both.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::future::{BoxFuture, try_join_all};
use holdpoint::proto::v1::{
    BasicSyncRequest, CreateJobRequest, Job, JobActionType, JobEventType, JobStatus, Path as StepPath,
    PerformJobActionRequest, PublishWorkflowRequest, SingleStep, StepActionStatus, StepDefinition, StepEntry,
    SyncMetadata, WatchJobsRequest, WatchStart, Workflow, WorkflowReference,
    job_service_client::JobServiceClient, sync_service_client::SyncServiceClient, watch_message::Kind,
    workflow_service_client::WorkflowServiceClient,
};
use prost_types::Timestamp;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::{Status, transport::Channel};

const JOBS: usize = 1_000;
const STEPS: usize = 10;
const HOLDS: usize = JOBS * STEPS;
const DEPENDENTS: usize = JOBS;
/// Those who place holds, and those whose commands are measured.
const CALLERS: usize = 8;
const ROUNDS: usize = 6;
const ROUND: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(5);
/// Of commands before holds fall due.
const BEFORE: Duration = Duration::from_secs(3);
const CIRCLE_CHECKS: usize = 20;
/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(120);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let mut with = Server::start(directory.path().join("with")).await?;
    let mut without = Server::start(directory.path().join("without")).await?;
    for server in [&with, &without] {
        prepare(&server.channel).await?;
    }
    println!(
        "{JOBS} jobs of {STEPS} steps; {CALLERS} callers, who place holds or whose commands are measured"
    );
    println!("\n{:<46}{:>12}{:>12}", "", "with holds", "without");
    row("memory before, MiB", [with.memory(), without.memory()]);

    let placing = Instant::now();
    place(&with, in_seconds(30 * 24 * 3600)).await?;
    let placing = placing.elapsed();
    row(
        &format!("placing {HOLDS} scheduled holds, holds a second"),
        [Some(per_second(HOLDS, placing)), None],
    );
    row("memory with them placed, MiB", [with.memory(), without.memory()]);
    let before = [with.processor_seconds(), without.processor_seconds()];
    sleep(IDLE).await;
    let after = [with.processor_seconds(), without.processor_seconds()];
    let idle = |at: usize| Some(100.0 * (after[at]? - before[at]?) / IDLE.as_secs_f64());
    row("processor while nothing happens, % of a core", [idle(0), idle(1)]);
    alternate(&with, &without).await?;

    fall_due(&with, placing).await?;

    // A step of it is what others wait for.
    let hub = "hub".to_owned();
    create(&with.channel, hub.clone()).await?;
    depend(&with, &hub).await?;
    with = with.restart().await?;
    without = without.restart().await?;
    println!("\n{:<46}{:>12}{:>12}", "", "with holds", "without");
    row("from start to the first answer, ms", [Some(with.began), Some(without.began)]);
    row("the same again, ms", {
        with = with.restart().await?;
        without = without.restart().await?;
        [Some(with.began), Some(without.began)]
    });
    // What it does of its own at the start is over by then.
    sleep(Duration::from_secs(2)).await;
    row("memory after a start, MiB", [with.memory(), without.memory()]);
    finish_hub(&with, &hub).await?;
    with.stop().await?;
    without.stop().await
}

fn row(name: &str, columns: [Option<f64>; 2]) {
    let [with, without] =
        columns.map(|value| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}")));
    println!("{name:<46}{with:>12}{without:>12}");
}

#[allow(clippy::cast_precision_loss)]
fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn in_seconds(seconds: u64) -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Timestamp { seconds: i64::try_from(now + seconds).unwrap_or(i64::MAX), nanos: 0 }
}

/// How long ago a time was.
fn since(time: &Timestamp) -> Duration {
    let time = Duration::from_secs(u64::try_from(time.seconds).unwrap_or_default());
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(time)
}

/// The binary, at work on a directory.
struct Server {
    child: Child,
    directory: PathBuf,
    channel: Channel,
    /// From its start to its first answer, in milliseconds.
    began: f64,
}

impl Server {
    async fn start(directory: PathBuf) -> Outcome<Self> {
        let begin = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdpoint"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--log-filter", "error", "--data-dir"])
            .arg(&directory);
        // A variable of the caller's own would be taken for a setting.
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("HOLDPOINT_")) {
            command.env_remove(variable);
        }
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let line = timeout(PATIENCE, lines.next_line()).await??.ok_or("the server did not start")?;
        let address = line.rsplit(' ').next().unwrap_or_default();
        let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
        SyncServiceClient::new(channel.clone()).basic_sync(sync("first", 1)).await?;
        Ok(Self { child, directory, channel, began: milliseconds(begin.elapsed()) })
    }

    async fn restart(self) -> Outcome<Self> {
        let directory = self.directory.clone();
        self.stop().await?;
        Self::start(directory).await
    }

    async fn stop(mut self) -> Outcome<()> {
        let id = self.child.id().ok_or("it is gone")?.to_string();
        Command::new("kill").args(["-TERM", &id]).status().await?;
        timeout(PATIENCE, self.child.wait()).await??;
        Ok(())
    }

    /// The memory that is its own, in MiB. Only where the system tells, as is the next.
    fn memory(&self) -> Option<f64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib / 1024.0)
    }

    /// The time it has had of the processor.
    fn processor_seconds(&self) -> Option<f64> {
        let stat = self.read("stat")?;
        // The name, in brackets, may hold anything. What follows it begins with the third field.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(ticks / 100.0)
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(Path::new("/proc").join(self.child.id()?.to_string()).join(file)).ok()
    }
}

/// The workflow, the jobs that are held, and those whose commands are measured.
async fn prepare(channel: &Channel) -> Outcome<()> {
    let step = |step: usize| StepDefinition {
        step_id: format!("step-{step}"),
        paths: vec![StepPath { next_step_id: "end".to_owned(), ..StepPath::default() }],
        ..StepDefinition::default()
    };
    let end = StepDefinition { step_id: "end".to_owned(), ..StepDefinition::default() };
    let workflow = Workflow {
        workflow_id: "held".to_owned(),
        start_step_ids: (0..STEPS).map(|step| format!("step-{step}")).collect(),
        steps: (0..STEPS).map(step).chain([end]).collect(),
        ..Workflow::default()
    };
    let request = PublishWorkflowRequest { workflow: Some(workflow), ..PublishWorkflowRequest::default() };
    WorkflowServiceClient::new(channel.clone()).publish_workflow(request).await?;
    each(JOBS, |n| create(channel, format!("held-{n}"))).await?;
    each(CALLERS, |n| create(channel, format!("acted-on-{n}"))).await
}

async fn create(channel: &Channel, job_id: String) -> Result<(), Status> {
    let workflow = WorkflowReference { workflow_id: "held".to_owned(), ..WorkflowReference::default() };
    let job = Some(Job { workflow: Some(workflow), ..Job::default() });
    let request = CreateJobRequest { job_id, job, ..CreateJobRequest::default() };
    JobServiceClient::new(channel.clone()).create_job(request).await.map(|_| ())
}

/// Does something for each number, several at once.
async fn each<F: Future<Output = Result<(), Status>>>(count: usize, one: impl Fn(usize) -> F) -> Outcome<()> {
    let one = &one;
    let callers = (0..CALLERS).map(|caller| async move {
        for n in (caller..count).step_by(CALLERS) {
            one(n).await?;
        }
        Ok::<_, Status>(())
    });
    try_join_all(callers).await?;
    Ok(())
}

/// Acts on a step, and expects that it can be done.
async fn act(channel: &Channel, request: PerformJobActionRequest) -> Result<(), Status> {
    let answer = JobServiceClient::new(channel.clone()).perform_job_action(request).await?.into_inner();
    match answer.step_responses.into_iter().find(|response| response.status() != StepActionStatus::Success) {
        None => Ok(()),
        Some(refused) => Err(Status::unknown(refused.status_description)),
    }
}

fn action(job_id: String, action: JobActionType, step_id: String) -> PerformJobActionRequest {
    PerformJobActionRequest {
        job_id,
        r#type: action.into(),
        step_ids: vec![step_id],
        ..PerformJobActionRequest::default()
    }
}

/// Places a scheduled hold on every step of every job, one at a time.
async fn place(server: &Server, release: Timestamp) -> Outcome<()> {
    each(HOLDS, |n| {
        let hold = action(format!("held-{}", n / STEPS), JobActionType::Hold, format!("step-{}", n % STEPS));
        let hold_scheduled_release = Some(release);
        act(&server.channel, PerformJobActionRequest { hold_scheduled_release, ..hold })
    })
    .await
}

/// How long commands took, each with when it was answered.
#[derive(Default)]
struct Latencies {
    actions: Vec<(Instant, Duration)>,
    syncs: Vec<(Instant, Duration)>,
}

impl Latencies {
    fn add(&mut self, other: Self) {
        self.actions.extend(other.actions);
        self.syncs.extend(other.syncs);
    }

    /// Those answered within a time.
    fn within(&self, from: Instant, until: Instant) -> Self {
        let of = |all: &[(Instant, Duration)]| {
            all.iter().filter(|(at, _)| (from..until).contains(at)).copied().collect()
        };
        Self { actions: of(&self.actions), syncs: of(&self.syncs) }
    }

    fn rows(&self, name: &str, elapsed: Duration) {
        for (kind, all) in [("PerformJobAction", &self.actions), ("BasicSync", &self.syncs)] {
            let mut latencies: Vec<Duration> = all.iter().map(|(_, latency)| *latency).collect();
            if latencies.is_empty() {
                continue;
            }
            latencies.sort();
            let at = |percent: usize| milliseconds(latencies[(latencies.len() - 1) * percent / 100]);
            let rate = per_second(latencies.len(), elapsed);
            let name = format!("{kind}, {name}");
            println!("{name:<60}{rate:>9.0}{:>9.2}{:>9.2}{:>9.2}", at(50), at(99), at(100));
        }
    }
}

fn latency_head() {
    println!("\n{:<60}{:>9}{:>9}{:>9}{:>9}", "", "calls/s", "p50 ms", "p99 ms", "max ms");
}

/// Commands of all callers, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Result<Latencies, Status>>>,
}

impl Load {
    fn start(server: &Server) -> Self {
        // Each newer than all before, also in the rounds before.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let stop = Arc::new(AtomicBool::new(false));
        let caller = |caller: usize| {
            let (channel, stop) = (server.channel.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut latencies = Latencies::default();
                while !stop.load(Ordering::Relaxed) {
                    for kind in [JobActionType::Run, JobActionType::Stop] {
                        let request = action(format!("acted-on-{caller}"), kind, "step-0".to_owned());
                        latencies.actions.push(timed(Box::pin(act(&channel, request))).await?);
                        let n = NEXT.fetch_add(1, Ordering::Relaxed);
                        let request = sync(&format!("synced-{caller}"), n);
                        let mut client = SyncServiceClient::new(channel.clone());
                        let call = Box::pin(async move { client.basic_sync(request).await.map(|_| ()) });
                        latencies.syncs.push(timed(call).await?);
                    }
                }
                Ok(latencies)
            })
        };
        Self { callers: (0..CALLERS).map(caller).collect(), stop }
    }

    async fn stop(self) -> Outcome<Latencies> {
        self.stop.store(true, Ordering::Relaxed);
        let mut latencies = Latencies::default();
        for caller in self.callers {
            latencies.add(caller.await??);
        }
        Ok(latencies)
    }
}

async fn timed(call: BoxFuture<'_, Result<(), Status>>) -> Result<(Instant, Duration), Status> {
    let sent = Instant::now();
    call.await?;
    Ok((Instant::now(), sent.elapsed()))
}

/// Rounds of commands with standing holds and without, in turn.
async fn alternate(with: &Server, without: &Server) -> Outcome<()> {
    let mut latencies = [Latencies::default(), Latencies::default()];
    for round in 0..=ROUNDS {
        for (server, latencies) in [with, without].into_iter().zip(&mut latencies) {
            let load = Load::start(server);
            sleep(ROUND).await;
            let found = load.stop().await?;
            // The first pair warms up.
            if round > 0 {
                latencies.add(found);
            }
        }
    }
    latency_head();
    let elapsed = ROUND * u32::try_from(ROUNDS)?;
    let [with, without] = latencies;
    with.rows(&format!("{HOLDS} holds standing"), elapsed);
    without.rows("none standing", elapsed);
    Ok(())
}

/// Releases as a watcher sees them.
async fn releases(server: &Server) -> Outcome<mpsc::UnboundedReceiver<Instant>> {
    let request = WatchJobsRequest {
        start: WatchStart::Now.into(),
        event_types: vec![JobEventType::HoldReleased.into()],
        ..WatchJobsRequest::default()
    };
    let mut messages = JobServiceClient::new(server.channel.clone()).watch_jobs(request).await?.into_inner();
    messages.message().await?;
    let (seen, releases) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(message)) = messages.message().await {
            let Some(Kind::Batch(batch)) = message.message.and_then(|message| message.kind) else { continue };
            // Nobody waits any more once the last was seen.
            let all_sent = batch.events.iter().try_for_each(|_| seen.send(Instant::now()));
            if all_sent.is_err() {
                return;
            }
        }
    });
    Ok(releases)
}

/// When the first of so many releases was seen, and the last.
async fn first_and_last(
    mut releases: mpsc::UnboundedReceiver<Instant>,
    count: usize,
) -> Outcome<(Instant, Instant)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.push(timeout(PATIENCE, releases.recv()).await?.ok_or("the watch ended")?);
    }
    Ok((seen[0], seen[count - 1]))
}

/// As many holds again, which all fall due at one moment, while commands go on.
async fn fall_due(server: &Server, placing: Duration) -> Outcome<()> {
    let due = in_seconds(2 * placing.as_secs() + 5 + BEFORE.as_secs());
    place(server, due).await?;
    if since(&due) > Duration::ZERO {
        return Err("they fell due while they were placed".into());
    }
    let releases = releases(server).await?;
    let load = Load::start(server);
    let start = Instant::now();
    let (first, last) = first_and_last(releases, HOLDS).await?;
    let latencies = load.stop().await?;
    let fell_due = Instant::now().checked_sub(since(&due)).ok_or("it was before all time")?;
    latency_head();
    latencies.within(start, fell_due).rows("before they fall due", fell_due - start);
    latencies.within(fell_due, last).rows("while they are released", last - fell_due);
    println!(
        "{HOLDS} holds fall due at once: the first is released after {:.0} ms, the last after {:.2} s",
        milliseconds(first - fell_due),
        (last - fell_due).as_secs_f64(),
    );
    Ok(())
}

fn wait_for(job_id: String, step_id: &str, dependent_job_id: &str) -> PerformJobActionRequest {
    PerformJobActionRequest {
        dependent_job_id: Some(dependent_job_id.to_owned()),
        dependent_step_id: Some("step-0".to_owned()),
        ..action(job_id, JobActionType::Hold, step_id.to_owned())
    }
}

/// A hold on a step of every job, which waits for the hub's step; and what it costs to look for a circle.
async fn depend(server: &Server, hub: &str) -> Outcome<()> {
    let alone = circle_checks(server, hub).await?;
    let placing = Instant::now();
    each(DEPENDENTS, |n| act(&server.channel, wait_for(format!("held-{n}"), "step-0", hub))).await?;
    let placing = placing.elapsed();
    let entangled = circle_checks(server, hub).await?;
    let load = Load::start(server);
    let begin = Instant::now();
    sleep(BEFORE).await;
    let start = Instant::now();
    circle_checks(server, hub).await?;
    let end = Instant::now();
    let latencies = load.stop().await?;
    latency_head();
    latencies.within(begin, start).rows("before circles are looked for", start - begin);
    latencies.within(start, end).rows("while circles are looked for", end - start);
    println!(
        "{DEPENDENTS} dependents of one step, placed at {:.0} a second; to hold that step in turn, with its look for a \
         circle, takes {alone:.2} ms before them and {entangled:.2} ms after",
        per_second(DEPENDENTS, placing),
    );
    Ok(())
}

/// How long it takes to have what all wait for wait for something itself: the median, in milliseconds.
async fn circle_checks(server: &Server, hub: &str) -> Outcome<f64> {
    let mut latencies = Vec::new();
    for _ in 0..CIRCLE_CHECKS {
        let hold = wait_for(hub.to_owned(), "step-0", "acted-on-0");
        latencies.push(timed(Box::pin(act(&server.channel, hold.clone()))).await?.1);
        let release = PerformJobActionRequest { r#type: JobActionType::ReleaseHold.into(), ..hold };
        act(&server.channel, release).await?;
    }
    latencies.sort();
    Ok(milliseconds(latencies[CIRCLE_CHECKS / 2]))
}

/// Finishes the step that others wait for, while commands go on.
async fn finish_hub(server: &Server, hub: &str) -> Outcome<()> {
    act(&server.channel, action(hub.to_owned(), JobActionType::Run, "step-0".to_owned())).await?;
    let releases = releases(server).await?;
    let load = Load::start(server);
    let begin = Instant::now();
    sleep(BEFORE).await;
    let start = Instant::now();
    act(&server.channel, action(hub.to_owned(), JobActionType::Finish, "step-0".to_owned())).await?;
    let finished = Instant::now();
    let (first, last) = first_and_last(releases, DEPENDENTS).await?;
    let latencies = load.stop().await?;
    latency_head();
    latencies.within(begin, start).rows("before the step is finished", start - begin);
    latencies.within(start, last).rows("while those that waited are released", last - start);
    println!(
        "{DEPENDENTS} dependents of one step: the first is released {:.1} ms after its Finish is answered, the last {:.2} s",
        milliseconds(first.saturating_duration_since(finished)),
        (last - finished).as_secs_f64(),
    );
    Ok(())
}

/// A newer header, and a newer telling of the job's one step.
fn sync(client_job_id: &str, n: u64) -> BasicSyncRequest {
    let updated = Some(Timestamp { seconds: 1_700_000_000 + i64::try_from(n).unwrap_or_default(), nanos: 0 });
    let metadata = SyncMetadata {
        client_job_id: Some(client_job_id.to_owned()),
        workflow_id: Some("on-devices".to_owned()),
        status: JobStatus::Active.into(),
        updated,
        ..SyncMetadata::default()
    };
    let step = SingleStep {
        unique_step_id: Some("report".to_owned()),
        step_id: Some("step".to_owned()),
        step_title: Some("Look at the gauge and write down what it shows.".to_owned()),
        updated,
        ..SingleStep::default()
    };
    BasicSyncRequest {
        metadata: Some(metadata),
        completed_steps: vec![StepEntry { single_step: Some(step), report_step: None }],
        ..BasicSyncRequest::default()
    }
}
