//! `holdpoint bench`: what the server can do on this machine, beside the least that any server would take for the same messages.
//!
//! The measured server and the bare one are processes of their own. Rounds of the two alternate, so that what the machine does
//! meanwhile meets both; what counts is the ratio of each pair.

pub mod bare;
mod calls;
mod follow;
mod growth;
mod keeper;
pub mod load;
pub mod messages;
mod pair;
pub mod progress;
pub mod report;
pub mod sample;
pub mod server;
pub mod system;
pub mod template;
mod watch;
pub mod wire;
pub mod work;

use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use prost::Message as _;
use tempfile::TempDir;
use tonic::{Request, Response, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport};

use self::{
    load::Pace,
    progress::Progress,
    report::{Report, thousands},
    sample::whole,
    server::Server,
    wire::Raw,
    work::{Work, World},
};

/// Callers that prepare what is to be measured.
const PREPARING: usize = 64;
/// How long that may take.
const PREPARING_MAX: Duration = Duration::from_secs(6 * 3_600);

/// The flags of `bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArguments {
    /// What to measure; all of it when left out.
    #[arg(value_enum, value_name = "WORKLOAD")]
    workloads: Vec<Workload>,
    /// How many calls are under way at once, separated by commas: `update` and `action` are measured with each of the
    /// numbers, the other calls with the middle one.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "1,64,256",
          value_parser = clap::value_parser!(u32).range(1..=2_000))]
    callers: Vec<u32>,
    /// How many jobs there are. With 1000000, what `growth` and `start` tell is what they are meant to.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=99_999_999))]
    jobs: u64,
    /// How many rounds of each workload are measured, after one that warms up.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// How long a round lasts, in seconds.
    #[arg(long, default_value = "3", value_parser = duration)]
    seconds: Duration,
    /// On which disk: a directory, in which one is made for what is measured, and removed at the end [default: the current
    /// directory].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Any key of the configuration of the servers that are measured, such as `store.cache_bytes=1073741824`; may be given
    /// again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::setting)]
    set: Vec<(String, String)>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// UpdateExecutionTaskStatus with 500 bytes of data, durable, beside a bare echo of the same size. This and the next two also with
    /// `validate_only`, where nothing is written; and with them the bare server that appends each request to a file before it answers.
    Update,
    /// PerformJobAction, durable: a step is run and stopped in turn.
    Action,
    /// BasicSync, durable, of a job of 6 KB with eight steps: all of them newer, and one of them.
    Sync,
    /// The same updates of one job alone, beside those of many jobs.
    Hot,
    /// GetJob.
    Get,
    /// ListJobs: the newest 50 jobs of a team.
    List,
    /// 100 watchers of everything at 1,000 updates a second, beside a bare stream: processor, delay, and that nothing is lost.
    Watch,
    /// 1,000 watchers of one job each, and updates of others: beside a server without watchers.
    Watchers,
    /// Watchers that start at the oldest event and read all there is, beside a bare stream.
    Fanout,
    /// The memory of 10,000 watchers while nothing happens.
    Idle,
    /// Updates and lists with all the jobs, beside a hundredth of them; memory and disk.
    Growth,
    /// From a start after `kill -9`, with all the jobs, to the first answer.
    Start,
}

impl BenchArguments {
    /// Whether JSON is to be printed.
    #[must_use]
    pub fn json(&self) -> bool {
        self.json
    }

    fn takes(&self, workload: Workload) -> bool {
        self.workloads.is_empty() || self.workloads.contains(&workload)
    }

    fn takes_any(&self, workloads: &[Workload]) -> bool {
        workloads.iter().any(|workload| self.takes(*workload))
    }

    fn all_callers(&self) -> impl Iterator<Item = usize> {
        self.callers.iter().map(|callers| *callers as usize)
    }

    /// The number in the middle.
    fn callers(&self) -> usize {
        let mut callers: Vec<_> = self.all_callers().collect();
        callers.sort_unstable();
        callers[callers.len() / 2]
    }

    /// The settings of the servers that are measured, as `serve` takes them.
    fn settings(&self) -> Vec<String> {
        self.set.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    fn check(&self) -> Result<(), Error> {
        let most = self.all_callers().max().unwrap_or_default() as u64;
        if most > self.jobs { Err(Error::TooFewJobs { jobs: self.jobs, callers: most }) } else { Ok(()) }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is not a number of seconds".to_owned())?;
    if (0.05..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("it is not from 0.05 to 86400".to_owned())
    }
}

/// Why nothing was measured. The texts are for whoever typed the command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two callers would have to share a job.
    #[error("--jobs {jobs} is less than the {callers} callers, each of which needs a job")]
    TooFewJobs {
        /// How many jobs were asked for.
        jobs: u64,
        /// How many callers at most.
        callers: u64,
    },
    /// The directory cannot be used.
    #[error("cannot make a directory in {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk cannot be measured.
    #[error("cannot write a file")]
    Disk(#[source] io::Error),
    /// A server cannot be started.
    #[error("cannot start a server")]
    Child(#[source] io::Error),
    /// A server ended before it served; it has said why.
    #[error("the server did not begin to serve")]
    NotServing,
    /// A connection broke, or there was none.
    #[error("cannot reach the server")]
    Connect(#[source] transport::Error),
    /// A call failed.
    #[error("{path} was answered {:?}: {}", status.code(), status.message())]
    Refused {
        /// Which call.
        path: &'static str,
        /// How it ended.
        status: Box<Status>,
    },
    /// A call was answered with something else than it should be.
    #[error("{path} was not answered as it should be: {what}")]
    Wrong {
        /// Which call.
        path: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Calls were not answered for a minute.
    #[error("{path} was not answered")]
    Silent {
        /// Which call.
        path: &'static str,
    },
    /// What watchers were to be told did not come.
    #[error("a watcher was told {got} of {expected} events within a minute")]
    Lost {
        /// How many came.
        got: u64,
        /// How many there were.
        expected: u64,
    },
}

/// What a run has at hand.
struct Bench {
    arguments: BenchArguments,
    binary: PathBuf,
    directory: TempDir,
    bare: Server,
    progress: Progress,
}

/// Measures what the arguments say.
///
/// # Errors
/// See [`Error`]: any call that fails ends the run.
pub async fn run(arguments: BenchArguments) -> Result<Report, Error> {
    arguments.check()?;
    let binary = env::current_exe().map_err(Error::Child)?;
    let directory = make_directory(arguments.data_dir.as_deref())?;
    let bare = Server::bare(&binary, directory.path()).await?;
    let setup = format!(
        "holdpoint {}: {} jobs; {} rounds of {} s, and one before to warm up; server, bare server and callers share {} \
         processors",
        env!("CARGO_PKG_VERSION"),
        thousands(whole(arguments.jobs)),
        arguments.rounds,
        arguments.seconds.as_secs_f64(),
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    let setup = [vec![setup], arguments.settings()].concat().join("; ");
    let bench = Bench { arguments, binary, directory, bare, progress: Progress::new() };
    let mut sections = Vec::new();
    bench.calls(&mut sections).await?;
    bench.watches(&mut sections).await?;
    bench.growth(&mut sections).await?;
    Ok(Report { setup, sections })
}

/// A directory that is removed when it is dropped.
///
/// # Errors
/// It cannot be made.
pub fn make_directory(place: Option<&Path>) -> Result<TempDir, Error> {
    let path = place.unwrap_or(Path::new("."));
    // The servers are given it from wherever they are.
    let made = path
        .canonicalize()
        .and_then(|path| tempfile::Builder::new().prefix("holdpoint-bench-").tempdir_in(path));
    made.map_err(|source| Error::Directory { path: path.to_owned(), source })
}

impl Bench {
    /// A server of its own for what is to be measured, with a data directory of that name. What was asked for comes before
    /// what the workload needs.
    async fn serve(&self, name: &str, settings: &[String]) -> Result<Server, Error> {
        let settings = [&self.arguments.settings(), settings].concat();
        Server::holdpoint(&self.binary, &self.directory.path().join(name), &settings).await
    }

    /// Has each job of some work taken once.
    async fn prepare(&self, what: &str, server: &Server, work: &Work) -> Result<(), Error> {
        self.progress.begin(format!("preparing {} {what}", work.jobs), work.jobs);
        prepare(server, work, &self.progress).await
    }

    /// Jobs that follow a workflow, each with a task.
    async fn populate(&self, server: &Server, world: &World) -> Result<(), Error> {
        publish(server).await?;
        self.prepare("jobs", server, &world.create()).await?;
        self.prepare("tasks", server, &world.report()).await
    }

    /// One job more.
    async fn create(&self, server: &Server, job_id: &str) -> Result<(), Error> {
        let request = messages::new_job(job_id).encode_to_vec();
        call(server, "/holdpoint.v1.JobService/CreateJob", request.into()).await.map(|_| ())
    }
}

/// Has each job of some work taken once.
///
/// # Errors
/// A call fails.
pub async fn prepare(server: &Server, work: &Work, progress: &Progress) -> Result<(), Error> {
    let callers = (0..PREPARING).map(|number| {
        let caller = work.caller(number, PREPARING, true);
        Box::new(Told { caller, bar: progress.handle() }) as Box<dyn load::Caller>
    });
    load::run(server.channels(), work.path, callers.collect(), Pace::flat_out(PREPARING_MAX)).await?;
    Ok(())
}

/// Publishes the workflow that jobs follow.
///
/// # Errors
/// It is refused.
pub async fn publish(server: &Server) -> Result<(), Error> {
    let path = "/holdpoint.v1.WorkflowService/PublishWorkflow";
    call(server, path, messages::workflow().encode_to_vec().into()).await.map(|_| ())
}

/// One call.
///
/// # Errors
/// It is refused.
pub async fn call(server: &Server, path: &'static str, request: Bytes) -> Result<Bytes, Error> {
    let mut client = Grpc::new(server.channels()[0].clone());
    client.ready().await.map_err(Error::Connect)?;
    let answered = client.unary(Request::new(request), PathAndQuery::from_static(path), Raw).await;
    answered.map(Response::into_inner).map_err(|status| Error::Refused { path, status: Box::new(status) })
}

/// A caller whose calls are told of.
struct Told {
    caller: Box<dyn load::Caller>,
    bar: indicatif::ProgressBar,
}

impl load::Caller for Told {
    fn next(&mut self) -> Option<Bytes> {
        self.caller.next()
    }

    fn check(&mut self, reply: &Bytes) -> Result<(), String> {
        self.bar.inc(1);
        self.caller.check(reply)
    }
}
