//! The same update done by Holdpoint, by etcd and by PostgreSQL, beside the bare echo, in rounds that alternate.
//!
//! `benches/peers/run` starts the two others and runs this. The update of Holdpoint is that of `holdpoint bench update`. etcd's is
//! a transaction that writes a record of 1 KB and a log entry of 0.6 KB where the record is still at the version that the caller
//! knows; PostgreSQL's is one statement that does the same. All are durable once they are acknowledged, with settings as shipped.

mod etcd;
mod postgres;

use std::{error::Error, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use holdpoint::cli::bench::{
    bare::{self, ECHO},
    load::{self, Caller, Pace, Same},
    make_directory, prepare,
    progress::Progress,
    publish,
    report::{Check, Goal, Report, Row, Section, Unit},
    sample::{Sample, Spread},
    server::{CHANNELS, Server, connect},
    work::{Work, World},
};
use tokio::signal::unix::{SignalKind, signal};

use self::{etcd::Etcd, postgres::Postgres};

const RECORD_BYTES: usize = 1_024;
const ENTRY_BYTES: usize = 600;
/// Connections to PostgreSQL. The number with which it is fastest is the one that counts.
const POOLS: [usize; 4] = [1, 4, 16, 64];
const ETCD: Goal = Goal::AtLeast(6.0);
const POSTGRES: Goal = Goal::AtLeast(2.0);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What to measure, and where the others are.
#[derive(Clone, Debug, Parser)]
#[command(name = "benches/peers/run")]
struct Arguments {
    /// Where etcd listens for clients.
    #[arg(long, value_name = "ADDRESS")]
    etcd: Option<SocketAddr>,
    /// How to connect to PostgreSQL, such as `host=/tmp/socket user=bench dbname=postgres`.
    #[arg(long, value_name = "PARAMETERS")]
    postgres: Option<String>,
    /// How many records each has.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    jobs: u64,
    /// How many calls are under way at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    callers: u32,
    /// How many rounds are measured, after one that warms up.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long a round lasts, in seconds.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// On which disk Holdpoint's files are.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    let (Some(etcd), Some(postgres)) = (arguments.etcd, arguments.postgres.clone()) else {
        println!("peers: not measured; benches/peers/run starts etcd and PostgreSQL for it");
        return ExitCode::SUCCESS;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let measured = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(measure(&arguments, etcd, &postgres)));
    match measured {
        Ok(report) if arguments.json => println!("{}", report.to_json()),
        Ok(report) => print!("{report}"),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Measures. Told to stop, it takes its servers and their files with it.
async fn measure(arguments: &Arguments, etcd: SocketAddr, postgres: &str) -> Outcome<Report> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        measured = Peers::measure(arguments, etcd, postgres) => measured,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("interrupted".into()),
    }
}

/// What is needed for a round of each.
struct Peers {
    bare: Server,
    server: Server,
    report: Work,
    etcd: Etcd,
    callers: usize,
}

/// A round of each.
#[derive(Default)]
struct Rounds {
    echo: Vec<Sample>,
    holdpoint: Vec<Sample>,
    etcd: Vec<Sample>,
    postgres: Vec<Sample>,
}

impl Peers {
    async fn measure(arguments: &Arguments, etcd: SocketAddr, postgres: &str) -> Outcome<Report> {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_holdpoint"));
        let directory = make_directory(arguments.data_dir.as_deref())?;
        let (world, callers) = (World::new(arguments.jobs), arguments.callers as usize);
        let progress = Progress::new();

        let server = Server::holdpoint(&binary, &directory.path().join("holdpoint"), &[]).await?;
        publish(&server).await?;
        for (what, work) in [("jobs", world.create()), ("tasks", world.report())] {
            progress.begin(format!("preparing {what}"), arguments.jobs);
            prepare(&server, &work, &progress).await?;
        }
        progress.begin("preparing etcd and PostgreSQL".to_owned(), 2);
        let etcd = Etcd::prepare(connect(etcd, CHANNELS).await?, arguments.jobs).await?;
        progress.step(1);
        let postgres = Postgres::prepare(postgres, arguments.jobs).await?;
        progress.step(1);

        let bare = Server::bare(&binary, directory.path()).await?;
        let peers = Self { bare, server, report: world.report(), etcd, callers };
        let (rounds, tried) = peers.rounds(arguments, postgres, &progress).await?;
        drop(progress);
        Ok(peers.told(arguments, &rounds, &tried))
    }

    /// The rounds of all, and the first of PostgreSQL with each number of connections.
    async fn rounds(
        &self,
        arguments: &Arguments,
        postgres: Postgres,
        progress: &Progress,
    ) -> Outcome<(Rounds, Vec<(usize, Sample)>)> {
        let pace = Pace::flat_out(Duration::from_secs(arguments.seconds));
        progress.begin("warming up".to_owned(), 2 + POOLS.len() as u64);
        let sizes = self.holdpoint(pace).await?.sizes();
        progress.step(1);
        self.etcd.round(self.callers, pace).await?;
        progress.step(1);
        let mut tried = Vec::new();
        for pool in POOLS {
            // Twice, so that what the first one does only once is not measured.
            let pool = postgres.pool(pool).await?;
            pool.round(self.callers, Duration::from_millis(500)).await?;
            tried.push((pool.connections(), pool.round(self.callers, pace.lasts).await?));
            progress.step(1);
        }
        let best = tried.iter().max_by(|(_, one), (_, other)| one.rate().total_cmp(&other.rate()));
        let pool = postgres.pool(best.map_or(1, |(connections, _)| *connections)).await?;

        let mut rounds = Rounds::default();
        progress.begin("echo, holdpoint, etcd and PostgreSQL".to_owned(), arguments.rounds.into());
        for _ in 0..arguments.rounds {
            rounds.echo.push(self.echo(sizes, pace).await?);
            rounds.holdpoint.push(self.holdpoint(pace).await?);
            rounds.etcd.push(self.etcd.round(self.callers, pace).await?);
            rounds.postgres.push(pool.round(self.callers, pace.lasts).await?);
            progress.step(1);
        }
        Ok((rounds, tried))
    }

    async fn echo(&self, (request, reply): (u64, u64), pace: Pace) -> Outcome<Sample> {
        let same = Same(bare::request(request, [reply, 0]));
        let callers = (0..self.callers).map(|_| Box::new(same.clone()) as Box<dyn Caller>).collect();
        Ok(load::run(self.bare.channels(), ECHO, callers, pace).await?)
    }

    async fn holdpoint(&self, pace: Pace) -> Outcome<Sample> {
        let callers = self.report.callers(self.callers, false);
        let before = self.server.cpu_seconds();
        let mut sample = load::run(self.server.channels(), self.report.path, callers, pace).await?;
        sample.cpu_seconds = self.server.cpu_seconds().zip(before).map(|(after, before)| after - before);
        Ok(sample)
    }

    fn told(&self, arguments: &Arguments, rounds: &Rounds, tried: &[(usize, Sample)]) -> Report {
        let times = |peer: &[Sample]| {
            let pairs = rounds.holdpoint.iter().zip(peer);
            Spread::of(pairs.map(|(ours, theirs)| Some(ours.rate() / theirs.rate())))
        };
        let row = |name: &str, rounds: &[Sample]| Row::new(name, self.callers, rounds);
        let pools = tried.iter().map(|(connections, sample)| {
            Check::told(
                format!("PostgreSQL with {connections} connections"),
                Unit::PerSecond,
                Some(sample.rate()),
            )
        });
        let section = Section {
            workload: "peers",
            title: "a durable update of a record, with an entry of it in a log".to_owned(),
            rows: vec![
                row("bare echo", &rounds.echo),
                row("holdpoint", &rounds.holdpoint),
                row("etcd", &rounds.etcd),
                row("PostgreSQL at its best", &rounds.postgres),
            ],
            checks: pools
                .chain([
                    Check::new("calls/s, of the echo's", Unit::Percent, times(&rounds.echo), None),
                    Check::new("calls/s, times etcd's", Unit::Times, times(&rounds.etcd), Some(ETCD)),
                    Check::new(
                        "calls/s, times PostgreSQL's",
                        Unit::Times,
                        times(&rounds.postgres),
                        Some(POSTGRES),
                    ),
                ])
                .collect(),
        };
        let setup = format!(
            "holdpoint {}: {} records; {} rounds of {} s, and one before to warm up; servers and callers share {} processors",
            env!("CARGO_PKG_VERSION"),
            arguments.jobs,
            arguments.rounds,
            arguments.seconds,
            std::thread::available_parallelism().map_or(1, usize::from),
        );
        Report { setup, sections: vec![section] }
    }
}

/// Of what is kept: bytes that do not all look the same.
fn filler(bytes: usize) -> Vec<u8> {
    (0_u8..=250).cycle().take(bytes).collect()
}
