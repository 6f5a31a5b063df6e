//! Watchers, beside the bare stream.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use prost::Message as _;
use tokio::{sync::watch, time::Instant};
use tonic::transport::Channel;

use super::{
    Bench, Error, Workload,
    bare::{self, FLOOD, FOLLOW, PUBLISH},
    follow::{Follower, Noted, Sent, Told, Whose, delays, open_all, stream},
    load::{self, Caller, Pace, Same},
    pair::{Pairs, Side},
    report::{Check, Goal, Row, Section, Unit, mib, thousands},
    sample::{Sample, Spread, whole},
    server::{CHANNELS, Server},
    template,
    work::{REPORT, Work, World},
};
use crate::proto::v1::{WatchJobRequest, WatchJobsRequest, WatchStart};

const WATCH_JOBS: &str = "/holdpoint.v1.JobService/WatchJobs";
const WATCH_JOB: &str = "/holdpoint.v1.JobService/WatchJob";

/// Of those that watch everything.
const WATCHERS: usize = 100;
const UPDATES_PER_SECOND: u32 = 1_000;
/// So many that the pace is kept also where an update takes long.
const UPDATERS: usize = 64;
const WATCHED_JOBS: u64 = 1_000;
/// Of those that watch one job each.
const JOB_WATCHERS: usize = 1_000;
/// Of those that read all there is.
const READERS: usize = 20;
const READ_JOBS: u64 = 5_000;
/// Of those that are told nothing.
const IDLE: usize = 10_000;
const IDLE_PER_CONNECTION: usize = 100;

const STREAM_CPU: Goal = Goal::AtMost(1.5);
const DELAY: Goal = Goal::AtMost(2.0);
const OTHERS_CPU: Goal = Goal::AtMost(1.25);
const FANOUT_RATE: Goal = Goal::AtLeast(0.5);
const IDLE_KIB: Goal = Goal::AtMost(40.0);

/// What followers were told in a round, and those who told it.
struct Followed {
    /// The calls that told it.
    sample: Sample,
    /// From a change to its delivery.
    delays: Sample,
    /// Events delivered, to all together.
    events: u64,
    /// Their size together.
    bytes: u64,
    followers: Vec<Follower>,
}

impl Bench {
    /// Measures the watches that were asked for, each on a server of its own.
    pub(super) async fn watches(&self, sections: &mut Vec<Section>) -> Result<(), Error> {
        if self.arguments.takes(Workload::Watch) {
            sections.push(self.watch().await?);
        }
        if self.arguments.takes(Workload::Watchers) {
            sections.push(self.watchers().await?);
        }
        if self.arguments.takes(Workload::Fanout) {
            sections.push(self.fanout().await?);
        }
        if self.arguments.takes(Workload::Idle) {
            sections.push(self.idle().await?);
        }
        Ok(())
    }

    /// Watchers of everything, at a given pace.
    async fn watch(&self) -> Result<Section, Error> {
        let world = World::new(WATCHED_JOBS);
        let server = self.serve("watch", &[]).await?;
        self.populate(&server, &world).await?;
        let (ours, theirs) = (server.connect(CHANNELS).await?, self.bare.connect(CHANNELS).await?);
        let mut ours =
            open_all(Whose::Ours, &ours, WATCHERS, WATCH_JOBS, |_| everything(WatchStart::Now)).await?;
        let mut theirs = open_all(Whose::Bare, &theirs, WATCHERS, FOLLOW, |_| Bytes::new()).await?;

        let rounds = self.arguments.rounds;
        self.progress.begin(format!("watch, {WATCHERS} watchers"), rounds.into());
        let mut pairs = Pairs::default();
        let (mut delivered, mut events) = (Vec::new(), (Vec::new(), Vec::new()));
        let mut message = (0, 0, 0);
        // The first round tells the sizes, and warms up.
        for round in 0..=rounds {
            if round > 0 {
                let publish = publisher(message);
                let followed = self.followed(&self.bare, PUBLISH, publish, theirs, None).await?;
                events.0.push(followed.events);
                pairs.base.push(followed.sample);
                theirs = followed.followers;
            }
            let sent = Arc::new(Mutex::new(HashMap::new()));
            let callers = noted(&world.report(), &sent);
            let followed = self.followed(&server, REPORT, callers, ours, Some(&sent)).await?;
            let (request, reply) = followed.sample.sizes();
            message = (request, reply, followed.bytes / followed.events.max(1));
            ours = followed.followers;
            if round > 0 {
                events.1.push(followed.events);
                delivered.push(followed.delays);
                pairs.ours.push(followed.sample);
                self.progress.step(1);
            }
        }
        Ok(watch_section(&pairs, &delivered, &events))
    }

    /// A round of calls, of each of which all followers are told.
    async fn followed(
        &self,
        server: &Server,
        path: &'static str,
        callers: Vec<Box<dyn Caller>>,
        followers: Vec<Follower>,
        sent: Option<&Sent>,
    ) -> Result<Followed, Error> {
        let before = server.cpu_seconds();
        let (tell, expected) = watch::channel(u64::MAX);
        let following: Vec<_> =
            followers.into_iter().map(|follower| tokio::spawn(follower.round(expected.clone()))).collect();
        let pace = Pace { lasts: self.arguments.seconds, per_second: Some(UPDATES_PER_SECOND) };
        let mut sample = load::run(server.channels(), path, callers, pace).await?;
        tell.send_replace(sample.calls());
        let mut told = Vec::new();
        for follower in following {
            told.push(follower.await.expect("a watcher does not panic")?);
        }
        sample.cpu_seconds = server.cpu_seconds().zip(before).map(|(after, before)| after - before);
        let delays = sent.map_or_else(Sample::default, |sent| {
            delays(&told, &sent.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let (events, bytes) = told.iter().fold((0, 0), |(events, bytes), round| {
            (events + round.arrivals.count(), bytes + round.arrivals.bytes())
        });
        let followers = told.into_iter().map(|round| round.follower).collect();
        Ok(Followed { sample, delays, events, bytes, followers })
    }

    /// Updates that nobody is told of, while many watch something else.
    async fn watchers(&self) -> Result<Section, Error> {
        // The first half is updated, and the second half is watched.
        let (world, other_world) = (World::new(2 * WATCHED_JOBS), World::new(2 * WATCHED_JOBS));
        let (server, other) = (self.serve("watchers", &[]).await?, self.serve("no-watchers", &[]).await?);
        self.populate(&server, &world).await?;
        self.populate(&other, &other_world).await?;
        let channels = server.connect(CHANNELS).await?;
        let request = |number: usize| {
            let job_id = template::job_id(WATCHED_JOBS + number as u64);
            let start = WatchStart::Now.into();
            WatchJobRequest { job_id, start, ..WatchJobRequest::default() }.encode_to_vec().into()
        };
        let watching = open_all(Whose::Ours, &channels, JOB_WATCHERS, WATCH_JOB, request).await?;

        let callers = self.arguments.callers();
        let (ours, theirs) = (world.report_of_first(WATCHED_JOBS), other_world.report_of_first(WATCHED_JOBS));
        let sides = (Side::of(&other, &theirs, callers), Side::of(&server, &ours, callers));
        let pairs = self.alternate(format!("watchers, {callers} callers"), &sides.0, &sides.1).await?;
        drop(watching);
        Ok(Section {
            workload: "watchers",
            title: format!(
                "updates of some jobs, while {} watchers watch another each",
                thousands(whole(JOB_WATCHERS as u64))
            ),
            rows: vec![
                Row::new("nobody watches", callers, &pairs.base),
                Row::new("others are watched", callers, &pairs.ours),
            ],
            checks: vec![
                pairs.cpu("server CPU for a call, of that without", Some(OTHERS_CPU)),
                pairs.rate("calls/s, of those without", None),
            ],
        })
    }

    /// Watchers that read all there is, as fast as they can.
    async fn fanout(&self) -> Result<Section, Error> {
        let world = World::new(READ_JOBS);
        let server = self.serve("fanout", &[]).await?;
        self.populate(&server, &world).await?;
        self.prepare("updates", &server, &world.report()).await?;
        let channels = (server.connect(CHANNELS).await?, self.bare.connect(CHANNELS).await?);
        let log = read_log(channels.0[0].clone()).await?;

        let rounds = self.arguments.rounds;
        self.progress.begin(format!("fanout, {READERS} watchers"), rounds.into());
        let mut pairs = Pairs::default();
        for round in 0..=rounds {
            let base = log.flood(&self.bare, &channels.1).await?;
            let ours = log.read(&server, &channels.0).await?;
            if round > 0 {
                pairs.base.push(base);
                pairs.ours.push(ours);
                self.progress.step(1);
            }
        }
        let events = whole(log.events);
        let rate = pairs.ours.iter().map(|round| Some(round.rate() * events));
        Ok(Section {
            workload: "fanout",
            title: format!(
                "{READERS} watchers read {} events, {:.1} MiB, from the oldest on; a call is all that one of them reads",
                thousands(whole(log.events)),
                mib(log.bytes),
            ),
            rows: vec![
                Row::new("bare stream", READERS, &pairs.base),
                Row::new("holdpoint", READERS, &pairs.ours),
            ],
            checks: vec![
                pairs.rate("bytes/s, of the bare stream's", Some(FANOUT_RATE)),
                pairs.cpu("server CPU for a byte, of the bare stream's", None),
                Check::new("events delivered", Unit::PerSecond, Spread::of(rate), None),
            ],
        })
    }

    /// Watchers that are told nothing.
    async fn idle(&self) -> Result<Section, Error> {
        let limits = ["watches", "watches_per_caller", "calls", "calls_per_caller"];
        let settings = limits.map(|limit| format!("limits.{limit}={}", 2 * IDLE));
        let server = self.serve("idle", &settings).await?;
        super::publish(&server).await?;
        self.progress.begin(format!("idle, {IDLE} watchers"), 2);
        let request = |_| everything(WatchStart::Now);
        let ours = self.idle_kib(Whose::Ours, &server, WATCH_JOBS, request).await?;
        let theirs = self.idle_kib(Whose::Bare, &self.bare, FOLLOW, |_| Bytes::new()).await?;
        Ok(Section {
            workload: "idle",
            title: format!(
                "{} watchers of everything, {IDLE_PER_CONNECTION} on a connection, while nothing happens",
                thousands(whole(IDLE as u64)),
            ),
            checks: vec![
                Check::new("memory for each", Unit::Kib, ours.map(Spread::one), Some(IDLE_KIB)),
                Check::told("the same of the bare stream", Unit::Kib, theirs),
            ],
            ..Section::default()
        })
    }

    /// By how much the memory grows for each watcher, in KiB.
    async fn idle_kib(
        &self,
        whose: Whose,
        server: &Server,
        path: &'static str,
        request: impl Fn(usize) -> Bytes,
    ) -> Result<Option<f64>, Error> {
        let before = server.memory();
        let channels = server.connect(IDLE / IDLE_PER_CONNECTION).await?;
        let watching = open_all(whose, &channels, IDLE, path, request).await?;
        let grown = server.memory().zip(before).map(|(after, before)| after.own.saturating_sub(before.own));
        self.progress.step(1);
        Ok(grown.map(|bytes| whole(bytes) / 1_024.0 / whole(watching.len() as u64)))
    }
}

fn everything(start: WatchStart) -> Bytes {
    WatchJobsRequest { start: start.into(), ..WatchJobsRequest::default() }.encode_to_vec().into()
}

/// Callers that update jobs, and note when.
fn noted(work: &Work, sent: &Sent) -> Vec<Box<dyn Caller>> {
    let noted = |caller| Box::new(Noted { caller, sent: Arc::clone(sent) }) as Box<dyn Caller>;
    work.callers(UPDATERS, false).into_iter().map(noted).collect()
}

/// Callers that publish, with messages of these sizes: a request's, a reply's and an event's.
fn publisher((request, reply, event): (u64, u64, u64)) -> Vec<Box<dyn Caller>> {
    let same = Same(bare::request(request, [reply, event]));
    (0..UPDATERS).map(|_| Box::new(same.clone()) as Box<dyn Caller>).collect()
}

fn watch_section(pairs: &Pairs, delivered: &[Sample], (base, ours): &(Vec<u64>, Vec<u64>)) -> Section {
    let cpu_for_each = |rounds: &[Sample], events: &[u64]| -> Vec<Option<f64>> {
        let each = |(round, events): (&Sample, &u64)| round.cpu_seconds.map(|cpu| cpu * 1e6 / whole(*events));
        rounds.iter().zip(events).map(each).collect()
    };
    let cpu = (cpu_for_each(&pairs.base, base), cpu_for_each(&pairs.ours, ours));
    let ratio = cpu.0.iter().zip(&cpu.1).map(|(base, ours)| ours.zip(*base).map(|(ours, base)| ours / base));
    let arrived = pairs
        .ours
        .iter()
        .zip(ours)
        .map(|(round, events)| Some(whole(*events) / whole(round.calls()) / whole(WATCHERS as u64)));
    let delay = |percent| Spread::of(delivered.iter().map(|delays| Some(delays.millis(percent))));
    let commit = Spread::of(pairs.ours.iter().map(|round| Some(round.millis(99.0))));
    let delays = delivered.iter().zip(&pairs.ours);
    let delays = delays.map(|(delays, round)| Some(delays.millis(99.0) / round.millis(99.0)));
    Section {
        workload: "watch",
        title: format!(
            "{WATCHERS} watchers of everything, at {} updates a second",
            thousands(UPDATES_PER_SECOND.into())
        ),
        rows: vec![
            Row::new("bare stream", UPDATERS, &pairs.base),
            Row::new("holdpoint", UPDATERS, &pairs.ours),
        ],
        checks: vec![
            Check::new(
                "delivered, of all events",
                Unit::Percent,
                Spread::of(arrived),
                Some(Goal::AtLeast(1.0)),
            ),
            Check::new(
                "server CPU for an event, of the bare's",
                Unit::Times,
                Spread::of(ratio),
                Some(STREAM_CPU),
            ),
            Check::new("server CPU for an event", Unit::Micros, Spread::of(cpu.1), None),
            Check::new("from sent to acknowledged, p99", Unit::Millis, commit, None),
            Check::new("from sent to delivered, p50", Unit::Millis, delay(50.0), None),
            Check::new("from sent to delivered, p99", Unit::Millis, delay(99.0), None),
            Check::new("p99 delivered, of p99 acknowledged", Unit::Times, Spread::of(delays), Some(DELAY)),
        ],
    }
}

/// What there is to read, and how it comes.
struct Log {
    events: u64,
    messages: u64,
    bytes: u64,
}

/// Reads all there is, once, until nothing comes any more.
async fn read_log(channel: Channel) -> Result<Log, Error> {
    let heartbeat = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let start = WatchStart::Earliest.into();
    let request = WatchJobsRequest { start, heartbeat, ..WatchJobsRequest::default() };
    let request = request.encode_to_vec().into();
    let mut follower = Follower::open(Whose::Ours, channel, WATCH_JOBS, request).await?;
    let mut log = Log { events: 0, messages: 0, bytes: 0 };
    loop {
        match follower.next().await? {
            Told::Events(events) => {
                log.messages += 1;
                log.events += events.len() as u64;
                log.bytes += events.iter().map(|event| event.len() as u64).sum::<u64>();
            }
            Told::Silence => return Ok(log),
            Told::Created => {}
        }
    }
}

impl Log {
    /// A round of watchers that read all of it.
    async fn read(&self, server: &Server, channels: &[Channel]) -> Result<Sample, Error> {
        readers(server, channels, |channel| async {
            let request = everything(WatchStart::Earliest);
            let mut follower = Follower::open(Whose::Ours, channel, WATCH_JOBS, request).await?;
            let mut got = 0;
            while got < self.events {
                match follower.next().await? {
                    Told::Events(events) => got += events.len() as u64,
                    Told::Silence => return Err(Error::Lost { got, expected: self.events }),
                    Told::Created => {}
                }
            }
            Ok(())
        })
        .await
    }

    /// A round of as many bare streams, of as many messages of the same size.
    async fn flood(&self, server: &Server, channels: &[Channel]) -> Result<Sample, Error> {
        let request = bare::request(0, [self.bytes / self.messages.max(1), self.messages]);
        readers(server, channels, |channel| async {
            let mut messages = stream(channel, FLOOD, request.clone()).await?;
            let refused = |status| Error::Refused { path: FLOOD, status: Box::new(status) };
            let mut got = 0;
            while messages.message().await.map_err(refused)?.is_some() {
                got += 1;
            }
            if got == self.messages { Ok(()) } else { Err(Error::Lost { got, expected: self.messages }) }
        })
        .await
    }
}

/// Readers at once; each is one call of the sample.
async fn readers<F: Future<Output = Result<(), Error>>>(
    server: &Server,
    channels: &[Channel],
    read: impl Fn(Channel) -> F,
) -> Result<Sample, Error> {
    let (read, before, begin) = (&read, server.cpu_seconds(), Instant::now());
    let reading = (0..READERS).map(|number| async move {
        read(channels[number % channels.len()].clone()).await?;
        Ok::<_, Error>(begin.elapsed())
    });
    let mut sample = Sample::default();
    for taken in try_join_all(reading).await? {
        sample.record(u64::try_from(taken.as_micros()).unwrap_or(u64::MAX));
    }
    sample.seconds = begin.elapsed().as_secs_f64();
    sample.cpu_seconds = server.cpu_seconds().zip(before).map(|(after, before)| after - before);
    Ok(sample)
}
