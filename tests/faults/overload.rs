//! Ten times what the server can do: it does what it can, turns the rest away at once, stays within its memory, and is as it was
//! when the load ends.
//!
//! The load is an open loop: calls begin at their times, whatever became of those before. `docs/faults.md` has what a run of the
//! release binary shows.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are printed, and calls are few"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdpoint::{cli::bench::wire::Raw, proto::v1::GetServerStatusRequest};
use prost::Message as _;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use super::kit::{Client, Server, reason, setting, soon, sync};

const CONNECTIONS: usize = 16;
const CALLERS: usize = 64;
const JOBS: u64 = 500;
/// How many times what the server does is offered.
const TIMES: f64 = 10.0;
/// Within which every call is answered, or the test fails.
const ANSWER: Duration = Duration::from_secs(300);
const LASTS: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(5);
/// What calls that were not answered may take in this process. Arrivals beyond are held back, and counted.
const UNANSWERED_BYTES_MAX: usize = 384 << 20;
const UNANSWERED_MAX: usize = 6_000;

/// What one call brings.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    reports: usize,
    note_bytes: usize,
}

const SMALL: Shape = Shape { name: "1 KB", reports: 1, note_bytes: 800 };
const LARGE: Shape = Shape { name: "300 KB", reports: 25, note_bytes: 12_000 };
const LARGEST: Shape = Shape { name: "1 MB", reports: 85, note_bytes: 12_000 };

impl Shape {
    /// The `n`th sync, newer than those before it.
    fn message(self, n: u64) -> Bytes {
        let reports: Vec<_> = (0..self.reports).map(|part| format!("report-{part}")).collect();
        let job = format!("{}-{}", self.name, n % JOBS);
        let updated = i64::try_from(n).unwrap();
        sync(&job, updated, &reports, self.note_bytes).encode_to_vec().into()
    }
}

/// One call of a caller. Each connection has one of its own, so that none comes to the limit for one caller.
async fn call(channel: Channel, caller: usize, message: Bytes) -> Result<(), Status> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("holdpoint-user", format!("caller-{caller}").parse().unwrap());
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/holdpoint.v1.SyncService/BasicSync");
    grpc.unary(request, path, Raw).await.map(drop)
}

/// A call, however long it waits in this process for its turn.
async fn patiently<F: Future>(call: F) -> F::Output {
    tokio::time::timeout(ANSWER, call).await.expect("every call is answered")
}

/// What became of the calls.
#[derive(Default)]
struct Tally {
    /// How long each took that was done.
    done: Vec<Duration>,
    /// How long each took that was turned away.
    shed: Vec<Duration>,
    held_back: u64,
    limits: BTreeMap<String, u64>,
}

impl Tally {
    /// A call is done, or turned away in one of the two ways that say so, and when to come back.
    fn note(&mut self, answer: &Result<(), Status>, took: Duration) {
        let Err(status) = answer else { return self.done.push(took) };
        let details = status.get_error_details();
        match status.code() {
            Code::ResourceExhausted => {
                assert!(["OVERLOADED", "LIMIT_EXCEEDED"].contains(&reason(status).as_str()), "{status:?}");
                assert!(details.retry_info().and_then(|info| info.retry_delay).is_some(), "{status:?}");
            }
            Code::Unavailable => {}
            _ => panic!("{status:?}"),
        }
        let info = details.error_info();
        let limit = info.and_then(|info| info.metadata.get("limit").cloned()).unwrap_or_default();
        *self.limits.entry(format!("{:?} {limit}", status.code())).or_default() += 1;
        self.shed.push(took);
    }

    fn print(&mut self, what: &str, lasted: Duration) {
        let rate = |count: usize| count as f64 / lasted.as_secs_f64();
        let quantiles = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            let at = |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1)));
            [50, 99, 100].map(|part| at(part).copied().unwrap_or_default().as_secs_f64() * 1_000.0)
        };
        let (done, shed) = (rate(self.done.len()), rate(self.shed.len()));
        let [p50, p99, most] = quantiles(&mut self.done);
        let [shed_p50, shed_p99, _] = quantiles(&mut self.shed);
        println!(
            "{what}: done {done:.0}/s p50 {p50:.1} p99 {p99:.1} max {most:.1} ms; shed {shed:.0}/s p50 {shed_p50:.1} p99 \
             {shed_p99:.1} ms; held back {:.0}/s; {:?}",
            rate(usize::try_from(self.held_back).unwrap()),
            self.limits
        );
    }
}

struct Load {
    channels: Vec<Channel>,
    shape: Shape,
    next: AtomicU64,
    tally: Mutex<Tally>,
}

impl Load {
    async fn connect(server: &Server, shape: Shape) -> Arc<Self> {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
            channels.push(soon(endpoint.connect()).await.unwrap());
        }
        Arc::new(Self { channels, shape, next: 1.into(), tally: Mutex::default() })
    }

    async fn one(&self, connection: usize) {
        let caller = connection % CONNECTIONS;
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let message = self.shape.message(n);
        let began = Instant::now();
        let answer = patiently(call(self.channels[caller].clone(), caller, message)).await;
        self.tally.lock().unwrap().note(&answer, began.elapsed());
    }

    fn take_tally(&self) -> Tally {
        std::mem::take(&mut self.tally.lock().unwrap())
    }

    /// As many as wait for one another. Returns how many were done in a second.
    async fn closed(self: &Arc<Self>, lasts: Duration) -> f64 {
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let load = Arc::clone(self);
            callers.spawn(async move {
                while began.elapsed() < lasts {
                    load.one(caller).await;
                }
            });
        }
        all(callers).await;
        let mut tally = self.take_tally();
        let rate = tally.done.len() as f64 / began.elapsed().as_secs_f64();
        tally.print(&format!("{}, {CALLERS} callers in turns", self.shape.name), began.elapsed());
        rate
    }

    /// So many begin in a second, whatever became of those before.
    async fn open(self: &Arc<Self>, rate: f64, lasts: Duration) -> Tally {
        let unanswered_max = (UNANSWERED_BYTES_MAX / self.shape.message(0).len()).min(UNANSWERED_MAX);
        let unanswered = Arc::new(Semaphore::new(unanswered_max));
        let began = Instant::now();
        let mut calls = JoinSet::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut offered = 0_u64;
        while began.elapsed() < lasts {
            ticks.tick().await;
            let due = (began.elapsed().as_secs_f64() * rate) as u64;
            for n in offered..due {
                let Ok(place) = Arc::clone(&unanswered).try_acquire_owned() else {
                    self.tally.lock().unwrap().held_back += 1;
                    continue;
                };
                let load = Arc::clone(self);
                calls.spawn(async move {
                    load.one(usize::try_from(n).unwrap()).await;
                    drop(place);
                });
            }
            offered = due;
            while let Some(ended) = calls.try_join_next() {
                ended.unwrap();
            }
        }
        let load_lasted = began.elapsed();
        all(calls).await;
        let mut tally = self.take_tally();
        println!(
            "{}: {rate:.0}/s offered for {:.1} s, at most {unanswered_max} unanswered; the last answer {:.2} s later",
            self.shape.name,
            load_lasted.as_secs_f64(),
            began.elapsed().saturating_sub(load_lasted).as_secs_f64()
        );
        tally.print(&format!("{}, overload", self.shape.name), load_lasted);
        tally
    }
}

async fn all(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// The most memory that the server had while something went on, in KiB. 0 where the system does not tell.
async fn peak_kib<T>(server: &Server, what: impl Future<Output = T>) -> (T, u64) {
    const EVERY: Duration = Duration::from_millis(20);
    let mut peak = 0;
    let mut samples = interval(EVERY);
    tokio::pin!(what);
    loop {
        tokio::select! {
            done = &mut what => return (done, peak),
            _ = samples.tick() => peak = peak.max(server.resident_kib().unwrap_or_default()),
        }
    }
}

/// What may wait for the writer, and what may be in hand at once, are set low, so that the one bound is met by many small calls,
/// and the other by few large ones.
const COMMANDS_WAITING: u64 = 64;
const REQUEST_BYTES: u64 = 8 << 20;
const CACHE_BYTES: u64 = 1 << 20;
const CHECKPOINT_BYTES: u64 = 1 << 20;
const TAIL_BYTES: u64 = 1 << 20;
const CALLS: u64 = 1_024;
/// At least so many calls are offered in a second: large ones are more than the memory if they are not turned away.
const RATE_MIN: f64 = 400.0;

/// The most memory that the server may have beyond what it has at rest: see "Overload" in `docs/faults.md`.
fn growth_kib_max() -> u64 {
    const REQUEST_TIMES: u64 = 4;
    const CONNECTION_BYTES: u64 = 2 << 20;
    const CALL_BYTES: u64 = 16 << 10;
    let bytes = 5 * CACHE_BYTES
        + 4 * CHECKPOINT_BYTES
        + 2 * TAIL_BYTES
        + REQUEST_TIMES * REQUEST_BYTES
        + CONNECTION_BYTES * CONNECTIONS as u64
        + CALL_BYTES * CALLS;
    bytes >> 10
}

/// The server as it is when nobody calls, and how long it took to be so. The one request in hand is the one that asks.
async fn at_rest(client: &mut Client) -> Duration {
    const OWN_BYTES: i64 = 5;
    let began = Instant::now();
    let rest = async {
        loop {
            // It may be turned away itself.
            let Ok(status) = client.admin.get_server_status(GetServerStatusRequest {}).await else {
                continue;
            };
            let status = status.into_inner();
            let waiting: i64 = status.partitions.iter().map(|partition| partition.commands_waiting).sum();
            if waiting == 0 && status.requests.unwrap().bytes == OWN_BYTES {
                return;
            }
        }
    };
    soon(rest).await;
    began.elapsed()
}

/// Offers a shape in turns, and then as an open loop ten times as often, and at least at some rate; checks that the server is as it was afterwards.
/// Returns what became of the calls, and how much the server grew.
async fn overload(shape: Shape, lasts: Duration, rate_min: f64, settings: &[&str]) -> (Tally, u64) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), settings).await;
    let load = Load::connect(&server, shape).await;
    let mut client = Client::connect(server.address).await;
    let before = server.resident_kib().unwrap_or_default();
    let (rate, in_turns) = peak_kib(&server, load.closed(lasts)).await;
    let (tally, peak) = peak_kib(&server, load.open((rate * TIMES).max(rate_min), lasts)).await;

    let recovery = at_rest(&mut client).await;
    let asked = Instant::now();
    client.sync(sync("plain", 1, &["report".to_owned()], 10)).await;
    println!(
        "{}: {before} KiB before, {in_turns} in turns, {peak} at the peak, {} after; at rest after {:.1} ms, and a call done in \
         {:.1} ms",
        shape.name,
        server.resident_kib().unwrap_or_default(),
        recovery.as_secs_f64() * 1_000.0,
        asked.elapsed().as_secs_f64() * 1_000.0
    );
    (tally, peak.saturating_sub(before))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overloaded_server_sheds_and_stays_within_its_memory() {
    let limits = [
        format!("limits.commands_waiting={COMMANDS_WAITING}"),
        format!("limits.request_bytes={REQUEST_BYTES}"),
        "limits.waiting_milliseconds=1000".to_owned(),
        format!("limits.calls={CALLS}"),
        format!("limits.tail_bytes={TAIL_BYTES}"),
        format!("store.cache_bytes={CACHE_BYTES}"),
        format!("store.checkpoint_bytes={CHECKPOINT_BYTES}"),
    ];
    let settings: Vec<_> = limits.iter().flat_map(|limit| ["--set", limit]).collect();
    for (shape, limit) in [(SMALL, "commands_waiting"), (LARGE, "request_bytes")] {
        let (tally, growth) = overload(shape, LASTS, RATE_MIN, &settings).await;
        assert!(!tally.done.is_empty(), "{}: it does what it can", shape.name);
        assert!(tally.limits.keys().any(|met| met.ends_with(limit)), "{}: {:?}", shape.name, tally.limits);
        let max = growth_kib_max();
        assert!(growth <= max, "{}: {growth} KiB more than before, and not {max}", shape.name);
    }
}

/// `HOLDPOINT_OVERLOAD_SECONDS=10 HOLDPOINT_BINARY=… cargo test --test faults overload -- --nocapture`: the figures of
/// `docs/faults.md`, with the limits as they are by themselves. Without the variable it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_of_overload() {
    let lasts = Duration::from_secs(setting("HOLDPOINT_OVERLOAD_SECONDS", 0));
    if lasts.is_zero() {
        return;
    }
    for shape in [SMALL, LARGE, LARGEST] {
        let (tally, _) = overload(shape, lasts, 0.0, &[]).await;
        assert!(!tally.done.is_empty() && !tally.shed.is_empty(), "{}", shape.name);
    }
}
