//! What becomes of it with all the jobs: how fast it is, what it takes, and how long a start takes.

use super::{
    Bench, Error, Workload, call,
    load::Pace,
    pair::Side,
    report::{Check, Goal, Row, Section, Unit, mib, thousands},
    sample::{Spread, whole},
    server::Server,
    work::World,
};
use crate::proto::v1::{BackupRequest, admin_service_client::AdminServiceClient};

/// The other server has so many times fewer jobs.
const FEWER: u64 = 100;
const RATE: Goal = Goal::AtLeast(0.8);
const DISK: Goal = Goal::AtMost(4.0);
const START: Goal = Goal::AtMost(5.0);

impl Bench {
    /// Measures what was asked for, on a server with all the jobs.
    pub(super) async fn growth(&self, sections: &mut Vec<Section>) -> Result<(), Error> {
        if !self.arguments.takes_any(&[Workload::Growth, Workload::Start]) {
            return Ok(());
        }
        let world = World::new(self.arguments.jobs);
        let server = self.serve("all", &[]).await?;
        self.populate(&server, &world).await?;
        if self.arguments.takes(Workload::Growth) {
            sections.push(self.grown(&server, &world).await?);
        }
        if self.arguments.takes(Workload::Start) {
            sections.push(self.started(server, &world).await?);
        }
        Ok(())
    }

    /// Beside a server with a hundredth of the jobs.
    async fn grown(&self, server: &Server, world: &World) -> Result<Section, Error> {
        let callers = self.arguments.callers();
        let jobs = world.jobs;
        let fewer = World::new((jobs / FEWER).max(callers as u64));
        let other = self.serve("fewer", &[]).await?;
        self.populate(&other, &fewer).await?;

        let title = format!("{} jobs, beside {}", thousands(whole(jobs)), thousands(whole(fewer.jobs)));
        let mut section = Section { workload: "growth", title, ..Section::default() };
        let works = [
            ("update", world.report(), fewer.report(), "updates/s"),
            ("list", world.list(), fewer.list(), "pages/s"),
        ];
        for (name, many, few, rate) in works {
            let (base, ours) = (Side::of(&other, &few, callers), Side::of(server, &many, callers));
            let pairs = self.alternate(format!("growth, {name}, {callers} callers"), &base, &ours).await?;
            section.rows.push(Row::new(
                format!("{name}, {} jobs", thousands(whole(fewer.jobs))),
                callers,
                &pairs.base,
            ));
            section.rows.push(Row::new(
                format!("{name}, {} jobs", thousands(whole(jobs))),
                callers,
                &pairs.ours,
            ));
            section.checks.push(pairs.rate(&format!("{rate}, of those with fewer jobs"), Some(RATE)));
        }
        let memory = server.memory();
        let told = |what, bytes: Option<u64>| Check::told(what, Unit::Mib, bytes.map(mib));
        section.checks.push(told("server's own memory", memory.map(|memory| memory.own)));
        section.checks.push(told("server's memory, at most", memory.map(|memory| memory.peak)));
        let (disk, live) = (server.disk_bytes().unwrap_or_default(), live_bytes(server).await?);
        section.checks.push(told("data directory", Some(disk)));
        section.checks.push(told("live data: what a backup takes", Some(live)));
        let ratio = Spread::one(whole(disk) / whole(live.max(1)));
        section.checks.push(Check::new("data directory, of live data", Unit::Times, Some(ratio), Some(DISK)));
        Ok(section)
    }

    /// From a start after a kill to the first answer.
    async fn started(&self, mut server: Server, world: &World) -> Result<Section, Error> {
        let rounds = u64::from(self.arguments.rounds);
        self.progress.begin("start after kill -9".to_owned(), rounds);
        let mut seconds = Vec::new();
        let callers = self.arguments.callers();
        let work = world.report();
        for _ in 0..rounds {
            // It is killed with changes that are not old.
            Side::of(&server, &work, callers).round(Pace::flat_out(self.arguments.seconds)).await?;
            let (started, begin) = server.kill_and_start().await?;
            get(&started, world).await?;
            seconds.push(Some(begin.elapsed().as_secs_f64()));
            server = started;
            self.progress.step(1);
        }
        Ok(Section {
            workload: "start",
            title: format!(
                "from a start after kill -9, with {} jobs, to the first answer of GetJob",
                thousands(whole(world.jobs)),
            ),
            checks: vec![Check::new("to the first answer", Unit::Seconds, Spread::of(seconds), Some(START))],
            ..Section::default()
        })
    }
}

/// Reads a job.
async fn get(server: &Server, world: &World) -> Result<(), Error> {
    let work = world.get();
    let path = work.path;
    let mut caller = work.caller(0, 1, true);
    let request = caller.next().expect("there is a job");
    let reply = call(server, path, request).await?;
    caller.check(&reply).map_err(|what| Error::Wrong { path, what })
}

/// What a backup takes, in bytes.
async fn live_bytes(server: &Server) -> Result<u64, Error> {
    let refused =
        |status| Error::Refused { path: "/holdpoint.v1.AdminService/Backup", status: Box::new(status) };
    let mut client = AdminServiceClient::new(server.channels()[0].clone());
    let mut messages = client.backup(BackupRequest {}).await.map_err(refused)?.into_inner();
    let mut bytes = 0;
    while let Some(message) = messages.message().await.map_err(refused)? {
        bytes += message.data.len() as u64;
    }
    Ok(bytes)
}
