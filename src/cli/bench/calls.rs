//! Single calls, beside the bare echo.

use std::iter;

use super::{
    Bench, Error, Workload,
    messages::SYNC_STEPS,
    pair::{Pairs, Side},
    report::{Check, Goal, Row, Section, Unit, mib},
    server::Server,
    work::{Work, World},
};

/// What is aimed at where many call at once.
const MANY: usize = 64;
const DURABLE_RATE: Goal = Goal::AtLeast(0.75);
const DURABLE_CPU: Goal = Goal::AtMost(2.0);
const DURABLE_LATENCY: Goal = Goal::AtMost(1.5);
const SYNC_RATE: Goal = Goal::AtLeast(0.5);
const GET_RATE: Goal = Goal::AtLeast(0.9);
/// No slower than many; a twentieth is what rounds of the same differ by.
const HOT_RATE: Goal = Goal::AtLeast(0.95);
/// Jobs that devices sync, each of 6 KB.
const SYNC_JOBS_MAX: u64 = 1_000;
const HOT_JOB: &str = "the-hot-one";

const RATE: &str = "calls/s, of the echo's";
const CPU: &str = "server CPU for a call, of the echo's";
const LATENCY: &str = "p50, of echo and fdatasync together";

impl Bench {
    /// Measures the calls that were asked for, on one server.
    pub(super) async fn calls(&self, sections: &mut Vec<Section>) -> Result<(), Error> {
        use Workload::{Action, Get, Hot, List, Sync, Update};

        if !self.arguments.takes_any(&[Update, Action, Sync, Hot, Get, List]) {
            return Ok(());
        }
        let server = self.serve("calls", &[]).await?;
        let world = World::new(self.arguments.jobs);
        self.populate(&server, &world).await?;
        if self.arguments.takes(Update) {
            let title = "UpdateExecutionTaskStatus with 500 B of data; durable: record, event and head";
            let works = [world.report(), world.validate_report()];
            sections.push(self.durable("update", title, &server, &works).await?);
        }
        if self.arguments.takes(Action) {
            let title = "PerformJobAction, which runs or stops a step; durable";
            let works = [world.act(), world.validate_act()];
            sections.push(self.durable("action", title, &server, &works).await?);
        }
        if self.arguments.takes(Sync) {
            self.sync(&server, &world, sections).await?;
        }
        if self.arguments.takes(Hot) {
            sections.push(self.hot(&server, &world).await?);
        }
        if self.arguments.takes(Get) {
            let title = "GetJob, one record";
            sections.push(self.read("get", title, &server, &world.get(), Some(GET_RATE)).await?);
        }
        if self.arguments.takes(List) {
            let title = "ListJobs, the newest 50 jobs of a team (`growth` tells whether it costs more with more jobs)";
            sections.push(self.read("list", title, &server, &world.list(), None).await?);
        }
        if let Some(section) = sections.last_mut() {
            let memory = server.memory();
            let told = |what, bytes: Option<u64>| Check::told(what, Unit::Mib, bytes.map(mib));
            section.checks.extend([
                told("server's own memory after all calls", memory.map(|memory| memory.own)),
                told("server's memory, at most", memory.map(|memory| memory.peak)),
                told("data directory after all calls", server.disk_bytes()),
            ]);
        }
        Ok(())
    }

    /// Changes of many jobs, at each number of callers; the same when they are validated only; and what any server takes that
    /// keeps as many bytes.
    async fn durable(
        &self,
        workload: &'static str,
        title: &str,
        server: &Server,
        [work, validate]: &[Work; 2],
    ) -> Result<Section, Error> {
        let mut section = Section { workload, title: title.to_owned(), ..Section::default() };
        for callers in self.arguments.all_callers() {
            let what = format!("{workload}, {callers} callers");
            let pairs = self.beside_echo(what, server, work, callers).await?;
            echo_rows(&mut section, &pairs, callers);
            let is_many = callers >= MANY;
            let of = |what: &str| format!("{what}, {callers}");
            section.checks.push(pairs.rate(&of(RATE), is_many.then_some(DURABLE_RATE)));
            section.checks.push(pairs.cpu(&of(CPU), is_many.then_some(DURABLE_CPU)));
            if callers == 1 {
                section.checks.push(pairs.latency(LATENCY, Some(DURABLE_LATENCY)));
                section.checks.push(pairs.disk());
            }
        }
        self.validated(&mut section, server, validate).await?;
        self.kept(&mut section, self.arguments.all_callers()).await?;
        Ok(section)
    }

    /// Adds what changes take that are decided and answered, and not made: what is left of them is what it takes to keep them.
    async fn validated(&self, section: &mut Section, server: &Server, work: &Work) -> Result<(), Error> {
        let callers = self.arguments.callers();
        let what = format!("{}, validate_only, {callers} callers", section.workload);
        let pairs = self.beside_echo(what, server, work, callers).await?;
        section.rows.push(Row::new("bare echo", callers, &pairs.base));
        section.rows.push(Row::new("holdpoint, validate_only", callers, &pairs.ours));
        let of = |what: &str| format!("{what}, validate_only");
        section.checks.extend([pairs.rate(&of(RATE), None), pairs.cpu(&of(CPU), None)]);
        Ok(())
    }

    /// Adds what any server takes that keeps such a request before it answers: the bare one, which does nothing else.
    async fn kept(&self, section: &mut Section, callers: impl Iterator<Item = usize>) -> Result<(), Error> {
        let Some(echo) = section.rows.first() else { return Ok(()) };
        let sizes = (echo.request_bytes, echo.reply_bytes);
        for callers in callers {
            let what = format!("{}, bare and durable, {callers} callers", section.workload);
            let (echo, keeper) =
                (Side::echo(&self.bare, sizes, callers), Side::keep(&self.bare, sizes, callers));
            let pairs = self.alternate(what, &echo, &keeper).await?;
            section.rows.push(Row::new("bare echo", callers, &pairs.base));
            section.rows.push(Row::new("bare, durable", callers, &pairs.ours));
            let of = |what: &str| format!("{what}, bare and durable, {callers}");
            section.checks.extend([pairs.rate(&of(RATE), None), pairs.cpu(&of(CPU), None)]);
            if callers == 1 {
                section.checks.push(pairs.latency(&of(LATENCY), None));
            }
        }
        Ok(())
    }

    /// What devices send.
    async fn sync(&self, server: &Server, world: &World, sections: &mut Vec<Section>) -> Result<(), Error> {
        let callers = self.arguments.callers();
        let jobs = self.arguments.jobs.min(SYNC_JOBS_MAX.max(callers as u64));
        self.prepare("jobs of devices", server, &world.sync_first(jobs)).await?;
        let rows = [
            (SYNC_STEPS, "BasicSync of a job of 6 KB, its header and all of its eight steps newer; durable"),
            (1, "BasicSync of a job of 6 KB, its header and one of its eight steps newer; durable"),
        ];
        for (newer, title) in rows {
            let work = world.sync(jobs, newer);
            let mut section = self.read("sync", title, server, &work, Some(SYNC_RATE)).await?;
            self.validated(&mut section, server, &world.validate_sync(jobs, newer)).await?;
            if newer == SYNC_STEPS {
                self.kept(&mut section, iter::once(callers)).await?;
            }
            sections.push(section);
        }
        Ok(())
    }

    /// Calls by one number of callers.
    async fn read(
        &self,
        workload: &'static str,
        title: &str,
        server: &Server,
        work: &Work,
        goal: Option<Goal>,
    ) -> Result<Section, Error> {
        let callers = self.arguments.callers();
        let pairs = self.beside_echo(format!("{workload}, {callers} callers"), server, work, callers).await?;
        let mut section = Section { workload, title: title.to_owned(), ..Section::default() };
        echo_rows(&mut section, &pairs, callers);
        section.checks.push(pairs.rate(RATE, goal));
        section.checks.push(pairs.cpu(CPU, None));
        Ok(section)
    }

    /// Changes of one job, beside changes of many.
    async fn hot(&self, server: &Server, world: &World) -> Result<Section, Error> {
        let callers = self.arguments.callers();
        self.create(server, HOT_JOB).await?;
        let tasks = u32::try_from(callers).unwrap_or(u32::MAX);
        let (many, one) = (world.report(), world.report_of_one_job(HOT_JOB, tasks));
        let sides = (Side::of(server, &many, callers), Side::of(server, &one, callers));
        let pairs = self.alternate(format!("hot, {callers} callers"), &sides.0, &sides.1).await?;
        Ok(Section {
            workload: "hot",
            title: "the same updates of one job, a task of it for each caller".to_owned(),
            rows: vec![
                Row::new("many jobs", callers, &pairs.base),
                Row::new("one job", callers, &pairs.ours),
            ],
            checks: vec![
                pairs.rate("calls/s, of those with many jobs", Some(HOT_RATE)),
                pairs.cpu("server CPU for a call, of that with many", None),
            ],
        })
    }
}

/// The rows of the echo, and of what is measured beside it.
fn echo_rows(section: &mut Section, pairs: &Pairs, callers: usize) {
    section.rows.push(Row::new("bare echo", callers, &pairs.base));
    section.rows.push(Row::new("holdpoint", callers, &pairs.ours));
}
