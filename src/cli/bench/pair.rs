//! Rounds of two servers, or of two kinds of work, in turn.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::{
    Bench, Error,
    bare::{self, ECHO, KEEP},
    load::{self, Caller, Pace, Same},
    report::{Check, Goal, Unit},
    sample::{Sample, Spread},
    server::Server,
    system,
    work::Work,
};

/// How often the disk is asked between two rounds.
const SYNCS: usize = 50;

/// One of the two.
pub struct Side<'a> {
    /// Which server.
    pub server: &'a Server,
    /// Which call.
    pub path: &'static str,
    /// Makes those who call.
    pub callers: Box<dyn Fn() -> Vec<Box<dyn Caller>> + Send + Sync + 'a>,
}

impl<'a> Side<'a> {
    /// Some work on a server, by so many callers.
    pub fn of(server: &'a Server, work: &'a Work, callers: usize) -> Self {
        Self { server, path: work.path, callers: Box::new(move || work.callers(callers, false)) }
    }

    /// The bare echo, for requests and replies of these sizes.
    pub fn echo(server: &'a Server, sizes: (u64, u64), callers: usize) -> Self {
        Self::bare(server, ECHO, sizes, callers)
    }

    /// The same, when the request is durable.
    pub fn keep(server: &'a Server, sizes: (u64, u64), callers: usize) -> Self {
        Self::bare(server, KEEP, sizes, callers)
    }

    fn bare(server: &'a Server, path: &'static str, (request, reply): (u64, u64), callers: usize) -> Self {
        let same = Same(bare::request(request, [reply, 0]));
        let make = move || (0..callers).map(|_| Box::new(same.clone()) as Box<dyn Caller>).collect();
        Self { server, path, callers: Box::new(make) }
    }

    /// A round, with what it takes of the server's processor time.
    pub async fn round(&self, pace: Pace) -> Result<Sample, Error> {
        let before = self.server.cpu_seconds();
        let mut sample = load::run(self.server.channels(), self.path, (self.callers)(), pace).await?;
        sample.cpu_seconds =
            self.server.cpu_seconds().zip(before).map(|(after, before)| (after - before).max(0.0));
        Ok(sample)
    }
}

/// The rounds of both, each with the other that came with it.
#[derive(Default)]
pub struct Pairs {
    /// What is compared with.
    pub base: Vec<Sample>,
    /// What is measured.
    pub ours: Vec<Sample>,
    /// How long the disk took meanwhile to keep a kilobyte, for each pair.
    pub disk: Vec<Duration>,
}

impl Pairs {
    /// What each pair gives.
    pub fn spread(&self, of: impl Fn(&Sample, &Sample) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.base.iter().zip(&self.ours).map(|(base, ours)| of(base, ours)))
    }

    /// How fast, of how fast the other is.
    pub fn rate(&self, what: &str, goal: Option<Goal>) -> Check {
        let ratio = self.spread(|base, ours| Some(ours.rate() / base.rate()));
        Check::new(what, Unit::Percent, ratio, goal)
    }

    /// How much processor time for each call, of what the other takes.
    pub fn cpu(&self, what: &str, goal: Option<Goal>) -> Check {
        let ratio = self
            .spread(|base, ours| ours.cpu_micros().zip(base.cpu_micros()).map(|(ours, base)| ours / base));
        Check::new(what, Unit::Times, ratio, goal)
    }

    /// The median of the latencies, of the other's and an fdatasync together.
    pub fn latency(&self, what: &str, goal: Option<Goal>) -> Check {
        let pairs = self.base.iter().zip(&self.ours).zip(&self.disk);
        let ratios = pairs.map(|((base, ours), disk)| {
            let least = base.millis(50.0) + disk.as_secs_f64() * 1e3;
            Some(ours.millis(50.0) / least)
        });
        Check::new(what, Unit::Times, Spread::of(ratios), goal)
    }

    /// How long the disk took.
    pub fn disk(&self) -> Check {
        let millis = self.disk.iter().map(|disk| Some(disk.as_secs_f64() * 1e3));
        Check::new("fdatasync of 1 KB, the fastest tenth", Unit::Millis, Spread::of(millis), None)
    }
}

impl Bench {
    /// How long a round lasts, at full speed.
    pub(super) fn pace(&self) -> Pace {
        Pace::flat_out(self.arguments.seconds)
    }

    /// A shorter round, for warming up.
    fn warming(&self) -> Pace {
        Pace::flat_out(self.arguments.seconds / 2)
    }

    /// Rounds of both in turn, after one of each that warms up.
    pub(super) async fn alternate(
        &self,
        what: String,
        base: &Side<'_>,
        ours: &Side<'_>,
    ) -> Result<Pairs, Error> {
        self.progress.begin(what, u64::from(self.arguments.rounds));
        base.round(self.warming()).await?;
        ours.round(self.warming()).await?;
        let mut pairs = Pairs::default();
        for _ in 0..self.arguments.rounds {
            let directory = self.directory.path().to_owned();
            let disk = spawn_blocking(move || system::sync_time(&directory, SYNCS)).await;
            pairs.disk.push(disk.expect("the disk is asked without a panic").map_err(Error::Disk)?);
            pairs.base.push(base.round(self.pace()).await?);
            pairs.ours.push(ours.round(self.pace()).await?);
            self.progress.step(1);
        }
        Ok(pairs)
    }

    /// Rounds of some work, and of the bare echo with messages of the same sizes.
    pub(super) async fn beside_echo(
        &self,
        what: String,
        server: &Server,
        work: &Work,
        callers: usize,
    ) -> Result<Pairs, Error> {
        let ours = Side::of(server, work, callers);
        let sizes = ours.round(self.warming()).await?.sizes();
        let echo = Side::echo(&self.bare, sizes, callers);
        self.alternate(what, &echo, &ours).await
    }
}
