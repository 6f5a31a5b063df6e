//! What a durable, watched update costs beside the RPC that carries it.
//!
//! `cargo bench` starts the server over a sled store in a temporary directory and, beside it in the same process, a bare
//! tonic echo of the same message. Rounds of the two alternate, so that what the machine does meanwhile meets both; the
//! ratio of each pair is what counts. Every acknowledged update is durable.

use std::{
    convert::Infallible,
    error::Error,
    future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, join_all};
use holdpoint::{
    config::Config,
    engine::{Engine, Options, System},
    proto::v1::{
        BasicSyncRequest, GetJobRequest, JobStatus, SingleStep, StepEntry, SyncMetadata, WatchJobsRequest,
        WatchStart, job_service_client::JobServiceClient, sync_service_client::SyncServiceClient,
        watch_message::Kind,
    },
    server,
    store::{SledOptions, SledStore},
};
use prost::Message as _;
use prost_types::{Struct, Timestamp, Value};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, body::Body, codegen::http, server::NamedService, server::UnaryService,
    transport::Channel,
};
use tonic_prost::ProstCodec;
use tower::Service;

const CALLERS: [usize; 4] = [1, 16, 64, 256];
const CHANNELS: usize = 8;
const JOBS: u64 = 1_000;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_500);
const WATCHED_SYNCS: usize = 2_000;

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
    let store = Arc::new(SledStore::open(directory.path(), &SledOptions::default())?);
    let engine = Engine::start(store, Arc::new(System), Options::default()).await?;
    let address = serve(&engine).await?;
    let mut channels = Vec::new();
    for _ in 0..CHANNELS {
        channels.push(Channel::from_shared(format!("http://{address}"))?.connect().await?);
    }
    for n in 0..JOBS {
        let job = SyncServiceClient::new(channels[0].clone());
        job.clone().basic_sync(update(n)).await?;
    }
    println!("one update: {} bytes; {JOBS} jobs; {ROUNDS} rounds of {ROUND:?}", update(0).encoded_len());

    println!("\n{:<34}{:>11}{:>9}{:>9}  of the echo: median (min to max)", "", "calls/s", "p50 ms", "p99 ms");
    let next = Arc::new(AtomicU64::new(JOBS));
    for callers in CALLERS {
        compare("durable BasicSync", callers, &channels, &next, |channel, n| {
            Box::pin(async move { SyncServiceClient::new(channel).basic_sync(update(n)).await.map(|_| ()) })
        })
        .await?;
    }
    compare("GetJob", 64, &channels, &next, |channel, n| {
        Box::pin(async move {
            let client_job_id = format!("job-{}", n % JOBS);
            let request = GetJobRequest { client_job_id, ..GetJobRequest::default() };
            JobServiceClient::new(channel).get_job(request).await.map(|_| ())
        })
    })
    .await?;
    watch(&channels, &next).await?;
    engine.stop().await?;
    Ok(())
}

/// Rounds of the echo and of a call, in turn.
async fn compare(
    name: &str,
    callers: usize,
    channels: &[Channel],
    next: &Arc<AtomicU64>,
    call: fn(Channel, u64) -> BoxFuture<'static, Result<(), Status>>,
) -> Outcome<()> {
    let (mut ratios, mut echoes, mut calls) = (Vec::new(), Round::default(), Round::default());
    for round in 0..=ROUNDS {
        let echo = round_of(callers, channels, next, echo).await?;
        let ours = round_of(callers, channels, next, call).await?;
        // The first pair warms up.
        if round > 0 {
            ratios.push(ours.rate() / echo.rate());
            echoes.add(echo);
            calls.add(ours);
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!("{:<34}{}", format!("echo, {callers} callers"), echoes.row());
    println!(
        "{:<34}{}  {:.0}% ({:.0}% to {:.0}%)",
        format!("{name}, {callers} callers"),
        calls.row(),
        100.0 * ratios[ROUNDS / 2],
        100.0 * ratios[0],
        100.0 * ratios[ROUNDS - 1],
    );
    Ok(())
}

async fn round_of(
    callers: usize,
    channels: &[Channel],
    next: &Arc<AtomicU64>,
    call: fn(Channel, u64) -> BoxFuture<'static, Result<(), Status>>,
) -> Outcome<Round> {
    let begin = Instant::now();
    let one = |caller: usize| {
        let (channel, next) = (channels[caller % channels.len()].clone(), Arc::clone(next));
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while begin.elapsed() < ROUND {
                let sent = Instant::now();
                call(channel.clone(), next.fetch_add(1, Ordering::Relaxed)).await?;
                latencies.push(sent.elapsed());
            }
            Ok::<_, Status>(latencies)
        })
    };
    let mut round = Round::default();
    for caller in join_all((0..callers).map(one)).await {
        round.latencies.extend(caller??);
    }
    round.elapsed = begin.elapsed();
    Ok(round)
}

#[derive(Default)]
struct Round {
    latencies: Vec<Duration>,
    elapsed: Duration,
}

impl Round {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.elapsed += other.elapsed;
    }

    #[allow(clippy::cast_precision_loss)]
    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    fn row(&mut self) -> String {
        let rate = self.rate();
        let (half, most) = percentiles(&mut self.latencies);
        format!("{rate:>11.0}{half:>9.2}{most:>9.2}")
    }
}

/// The median and the 99th percentile, in milliseconds.
fn percentiles(latencies: &mut [Duration]) -> (f64, f64) {
    latencies.sort();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    (at(50), at(99))
}

/// How long after an update was sent its caller and a watcher hear of it, beside an echo's way there and back.
async fn watch(channels: &[Channel], next: &Arc<AtomicU64>) -> Outcome<()> {
    let start = WatchStart::Now.into();
    let request = WatchJobsRequest { start, ..WatchJobsRequest::default() };
    let mut messages = JobServiceClient::new(channels[1].clone()).watch_jobs(request).await?.into_inner();
    messages.message().await?;

    let (mut echoed, mut answered, mut delivered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..WATCHED_SYNCS {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let sent = Instant::now();
        echo(channels[0].clone(), n).await?;
        echoed.push(sent.elapsed());

        let mut client = SyncServiceClient::new(channels[0].clone());
        let sent = Instant::now();
        let call = tokio::spawn(async move {
            client.basic_sync(update(n)).await?;
            Ok::<_, Status>(sent.elapsed())
        });
        loop {
            let message = messages.message().await?.ok_or("the watch ended")?;
            if let Some(Kind::Batch(_)) = message.message.and_then(|message| message.kind) {
                delivered.push(sent.elapsed());
                break;
            }
        }
        answered.push(call.await??);
    }
    println!("\n{:<34}{:>20}{:>9}", "one update at a time, one watcher", "p50 ms", "p99 ms");
    let rows = [
        ("echo, there and back", echoed),
        ("update, sent to acknowledged", answered),
        ("update, sent to the watcher", delivered),
    ];
    for (name, mut latencies) in rows {
        let (half, most) = percentiles(&mut latencies);
        println!("{name:<34}{half:>20.2}{most:>9.2}");
    }
    Ok(())
}

/// The `n`th update: a newer header, and a newer telling of the job's one step.
fn update(n: u64) -> BasicSyncRequest {
    let job = n % JOBS;
    let time = |offset: u64| {
        Some(Timestamp { seconds: 1_700_000_000 + i64::try_from(n + offset).unwrap_or(i64::MAX), nanos: 0 })
    };
    let text = |text: &str| Some(text.to_owned());
    let fields = [("site".to_owned(), Value::from("north".to_owned()))];
    let metadata = SyncMetadata {
        client_job_id: Some(format!("job-{job}")),
        workflow_id: text("b62f2507-b4e7-4248-83d3-29c03a158fbe"),
        workflow_version_id: text("2831f333-af02-4d89-875d-0bceadeb16ed"),
        job_title: text("Inspect the pump"),
        metadata: Some(Struct { fields: fields.into() }),
        created: Some(Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        updated: time(1),
        modified: time(2),
        status: JobStatus::Active.into(),
        user_id: text("5d8cac54860b8103316b1987"),
        username: text("api.user1@example.com"),
        workflow_name: text("Example Workflow"),
        ..SyncMetadata::default()
    };
    let step = SingleStep {
        values: vec![Value::from("ok".to_owned()); 8],
        unique_step_id: Some(format!("c025f569-8148-4a75-a2e8-{job:012}")),
        user_id: text("5d8cac54860b8103316b1987"),
        user_name: text("api.user1@example.com"),
        step_id: text("ec7eee0d-5115-4141-847a-64c28694dde2"),
        step_number: Some(1),
        step_title: text("Instruction"),
        step_description: text(
            "Look at the gauge and write down what it shows. Close the valve before you go on.",
        ),
        step_type: text("ConfirmStep"),
        started: time(0),
        completed: time(1),
        updated: time(1),
        note: text(&"n".repeat(200)),
        ..SingleStep::default()
    };
    BasicSyncRequest {
        metadata: Some(metadata),
        completed_steps: vec![StepEntry { single_step: Some(step), report_step: None }],
        team: text("apiteam"),
        ..BasicSyncRequest::default()
    }
}

async fn serve(engine: &Engine) -> Outcome<SocketAddr> {
    let config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() };
    let shutdown = CancellationToken::new();
    let services = server::services(&config, engine, shutdown.clone())?.with(Echo);
    let (listener, address) = server::listen(config.listen).await?;
    tokio::spawn(async move { server::serve(listener, services, &config, shutdown).await });
    Ok(address)
}

/// Answers with what it was asked.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = ProstCodec::<BasicSyncRequest, BasicSyncRequest>::default();
            Ok(tonic::server::Grpc::new(codec).unary(Echo, request).await)
        })
    }
}

impl UnaryService<BasicSyncRequest> for Echo {
    type Response = BasicSyncRequest;
    type Future = future::Ready<Result<Response<BasicSyncRequest>, Status>>;

    fn call(&mut self, request: Request<BasicSyncRequest>) -> Self::Future {
        future::ready(Ok(Response::new(request.into_inner())))
    }
}

fn echo(channel: Channel, n: u64) -> BoxFuture<'static, Result<(), Status>> {
    Box::pin(async move {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let codec = ProstCodec::<BasicSyncRequest, BasicSyncRequest>::default();
        let path = http::uri::PathAndQuery::from_static("/bench.Echo/Echo");
        client.unary(Request::new(update(n)), path, codec).await.map(|_| ())
    })
}
