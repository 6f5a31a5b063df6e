//! The engine over a store that stalls, fails and crashes at any call, on a clock that jumps, with clients that ask again
//! after each restart and watchers that come and go: all of it by chance, and the same for the same seed.
//!
//! A seed is a few lives of a process over one disk. Each life has a runtime of its own, on virtual time, that ends with it
//! wherever its tasks are; the disk, the clients and the watchers go on. In the last life nothing fails, and everything is
//! brought to its end. Held against each other all along, and once more after every crash:
//!
//! * what was acknowledged, and what is durable: there, once, at the moment of the answer (`book`);
//! * the log, and all that is kept beside it: the records and the indexes are what the events make of them (`truth`);
//! * the log, and what watchers are told: no event left out, none twice within a stream, none that was taken back
//!   (`watchers`);
//! * the time, and what falls due: holds and deadlines, also over restarts.
//!
//! `HOLDPOINT_SIMULATION_SEEDS` sets how many seeds are run, `HOLDPOINT_SIMULATION_SEED` runs one. Where a seed fails the
//! message has the command that runs it again.

mod asks;
mod book;
mod clients;
mod clock;
mod disk;
mod faulty;
mod truth;
mod watchers;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{task::JoinSet, time};
use tokio_util::sync::CancellationToken;

use self::{
    asks::procedure,
    book::{Book, check_lists, check_simulated},
    clients::{Client, Work},
    clock::Clock,
    disk::Disk,
    faulty::{Faults, Faulty},
    truth::Truth,
    watchers::{Watcher, Watching},
};
use super::kit::{TEAMS, origin};
use crate::{
    chance::Chance,
    engine::{Engine, Options},
    proto::v1::{Assignee, JobFilter, JobStatus, assignee},
    store::Store,
};

/// How many seeds are run unless the environment says otherwise.
const SEEDS: u64 = 1_200;

/// Far longer, in virtual time, than anything here takes.
const LIFE_SECONDS_MAX: u64 = 3_600;

/// How long the last life waits for what falls due: several looks of the sweeper, also where the store stalls for a second
/// now and then.
const SETTLING: Duration = Duration::from_secs(10);

/// What a seed is like.
struct Plan {
    options: Options,
    /// The call at which each life but the last ends, if it ends by a crash; how it fails before.
    faults: Vec<Faults>,
    /// How long each life but the last goes on at most, before the engine is stopped in good order.
    stop_after: Vec<Option<Duration>>,
    trims: bool,
}

/// What goes on from one life to the next.
struct World {
    plan: Plan,
    disk: Arc<Disk>,
    clock: Arc<Clock>,
    book: Arc<Mutex<Book>>,
    clients: Vec<Arc<Mutex<Client>>>,
    watchers: Vec<Arc<Mutex<Watcher>>>,
    chance: Chance,
    /// The workflow that jobs follow is.
    is_published: bool,
}

impl Plan {
    fn random(chance: &mut Chance) -> Self {
        let lives = chance.below(4);
        let fault = |chance: &mut Chance, one_in: usize| if chance.one_in(3) { 0 } else { one_in };
        let faults = (0..lives).map(|_| Faults {
            stalls: if chance.one_in(4) { 0 } else { 3 + chance.below(20) },
            failing_reads: if chance.one_in(2) { 0 } else { 50 + chance.below(400) },
            failing_commits: fault(chance, 20),
            crash_at_call: (!chance.one_in(4)).then(|| chance.below(400)),
        });
        let faults = faults.collect();
        let stop_after =
            (0..lives).map(|_| chance.one_in(4).then(|| Duration::from_millis(chance.below(1_500))));
        let stop_after = stop_after.collect();
        let trims = chance.one_in(3);
        let options = Options {
            commands_waiting_max: if chance.one_in(4) { 2 } else { 64 },
            tail_bytes: *chance.pick(&[1 << 20, 20_000, 4_000]),
            log_events_max: if trims { 10 + chance.below(60) } else { 1_000_000 },
            requests_max: if chance.one_in(6) { 6 } else { 1_000 },
            request_window: Duration::from_secs(if chance.one_in(6) { 5 } else { 1_000_000 }),
            ..Options::default()
        };
        Self { options, faults, stop_after, trims }
    }
}

impl World {
    fn random(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::random(&mut chance);
        let disk = Disk::new(if chance.one_in(4) { 2 } else { 1 });
        let options = &plan.options;
        let window = i64::try_from(options.request_window.as_secs()).expect("small");
        let requests_max = usize::try_from(options.requests_max).expect("small");
        let truth = Truth::new(&disk, window, requests_max);
        let may_forget = plan.trims || requests_max < 1_000 || window < 1_000_000;
        let book = Arc::new(Mutex::new(Book::new(&disk, truth, may_forget)));
        let clients = 2 + chance.below(2);
        let clients = (0..clients).map(|number| {
            Client::new(format!("client-{number}"), Chance::new(chance.next()), 4 + chance.below(14))
        });
        let clients = clients.collect();
        let watchers = 1 + chance.below(2);
        let watchers =
            (0..watchers).map(|number| Watcher::new(format!("watcher-{number}"), Chance::new(chance.next())));
        let watchers = watchers.collect();
        Self {
            plan,
            disk,
            clock: Arc::new(Clock::new()),
            book,
            clients,
            watchers,
            chance,
            is_published: false,
        }
    }

    /// Lives once, and looks at what is left.
    fn live(&mut self, life: usize) {
        let is_last = life == self.plan.faults.len();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            self.clock.jump(self.chance.below(3_000));
            let life = time::timeout(Duration::from_secs(LIFE_SECONDS_MAX), async {
                if is_last { self.last().await } else { self.fail(life).await }
            });
            life.await.expect("a life comes to its end");
            self.clock.stand();
        });
        // The process is gone, and all its tasks with it.
        drop(runtime);
        self.disk.recover(&mut self.chance);
        let mut book = self.book.lock().unwrap();
        book.truth.catch_up();
        book.truth.check_records().now_or_never().expect("memory does not wait");
    }

    /// A life that ends by a crash, by a failure, or in good order.
    async fn fail(&mut self, life: usize) {
        let store = Faulty::new(&self.disk, self.plan.faults[life], Chance::new(self.chance.next()));
        let stop_after = self.plan.stop_after[life];
        let mut tasks = Tasks::default();
        tokio::select! {
            biased;
            () = store.crashed() => {}
            () = self.run(&store, &mut tasks, stop_after) => {}
        }
        tasks.check();
    }

    async fn run(&mut self, store: &Arc<Faulty>, tasks: &mut Tasks, stop_after: Option<Duration>) {
        let Some(engine) = self.start(store).await else { return };
        self.begin(&engine, tasks, &CancellationToken::new());
        let stop = async {
            match stop_after {
                Some(after) => time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            error = engine.failed() => check_simulated(&error),
            () = all(&mut tasks.clients) => {}
            () = stop => {}
        }
        if let Err(error) = engine.stop().await {
            check_simulated(&error);
        }
        // Whoever still waits is answered now: the process is about to end.
        all(&mut tasks.clients).await;
    }

    /// A life in which nothing fails, until all is done that was begun or falls due.
    async fn last(&mut self) {
        let faults = Faults { stalls: 3 + self.chance.below(30), ..Faults::default() };
        let store = Faulty::new(&self.disk, faults, Chance::new(self.chance.next()));
        let engine = self.start(&store).await.expect("nothing fails");
        let (mut tasks, finish) = (Tasks::default(), CancellationToken::new());
        self.begin(&engine, &mut tasks, &finish);
        tokio::select! {
            biased;
            error = engine.failed() => panic!("nothing fails: {error}"),
            () = all(&mut tasks.clients) => {}
        }
        tasks.others.shutdown().await;
        self.clock.jump(3_600_000);
        time::sleep(SETTLING).await;
        tasks.check();
        {
            let mut book = self.book.lock().unwrap();
            book.truth.catch_up();
            book.truth.check_nothing_is_due(self.clock.millis() / 1_000 - 1);
            book.truth.check_no_circle();
        }
        finish.cancel();
        all(&mut tasks.watchers).await;
        check_lists(&engine, &self.book, &filters()).await;
        engine.stop().await.expect("nothing fails");
    }

    /// `None`: the store could not be read.
    async fn start(&mut self, store: &Arc<Faulty>) -> Option<Engine> {
        for _ in 0..4 {
            let (store, clock) = (Arc::clone(store) as Arc<dyn Store>, Arc::clone(&self.clock));
            match Engine::start(store, clock, self.plan.options).await {
                Ok(engine) => {
                    self.publish(&engine).await;
                    return Some(engine);
                }
                Err(error) => check_simulated(&error),
            }
        }
        None
    }

    async fn publish(&mut self, engine: &Engine) {
        if !self.is_published {
            self.is_published = engine.publish(origin(), procedure()).await.is_ok();
        }
    }

    /// Has the clients and the watchers go on, the clock jump, and the log be trimmed.
    fn begin(&mut self, engine: &Engine, tasks: &mut Tasks, finish: &CancellationToken) {
        for client in &self.clients {
            let (client, book) = (Arc::clone(client), Arc::clone(&self.book));
            tasks.clients.spawn(Work { client, engine: engine.clone(), book }.run());
        }
        for watcher in &self.watchers {
            let (watcher, book) = (Arc::clone(watcher), Arc::clone(&self.book));
            let (engine, disk, finish) = (engine.clone(), Arc::clone(&self.disk), finish.clone());
            tasks.watchers.spawn(Watching { watcher, engine, disk, book, finish }.run());
        }
        tasks.others.spawn(disturb(Arc::clone(&self.clock), Chance::new(self.chance.next())));
        if self.plan.trims {
            tasks.others.spawn(trim(engine.clone(), Chance::new(self.chance.next())));
        }
    }
}

/// What goes on in a life beside the engine's own tasks.
#[derive(Default)]
struct Tasks {
    clients: JoinSet<()>,
    watchers: JoinSet<()>,
    others: JoinSet<()>,
}

impl Tasks {
    /// None of them has found anything wrong so far.
    fn check(&mut self) {
        for tasks in [&mut self.clients, &mut self.watchers, &mut self.others] {
            while let Some(done) = tasks.try_join_next() {
                passed(done);
            }
        }
    }
}

/// Returns when all are done.
async fn all(tasks: &mut JoinSet<()>) {
    while let Some(done) = tasks.join_next().await {
        passed(done);
    }
}

fn passed(done: Result<(), tokio::task::JoinError>) {
    match done {
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Ok(()) | Err(_) => {}
    }
}

/// Has the clock stand, go on, and jump, also back.
async fn disturb(clock: Arc<Clock>, mut chance: Chance) {
    loop {
        time::sleep(Duration::from_millis(20 + chance.below(400))).await;
        match chance.below(8) {
            0 => clock.stand(),
            1 => clock.jump(-chance.below(5_000)),
            2 | 3 => clock.jump(chance.below(8_000)),
            _ => clock.jump(0),
        }
    }
}

/// Forgets the log's old end, far more often than a server does.
async fn trim(engine: Engine, mut chance: Chance) {
    loop {
        time::sleep(Duration::from_millis(10 + chance.below(200))).await;
        if let Err(error) = engine.forget_old().await {
            check_simulated(&error);
        }
    }
}

/// Filters that every index serves.
fn filters() -> Vec<JobFilter> {
    let user = Assignee { kind: assignee::Kind::User.into(), id: "user-0".to_owned() };
    vec![
        JobFilter::default(),
        JobFilter { teams: vec![TEAMS[0].to_owned()], ..JobFilter::default() },
        JobFilter { statuses: vec![JobStatus::Active.into()], ..JobFilter::default() },
        JobFilter { closed: Some(true), ..JobFilter::default() },
        JobFilter { user_ids: vec!["user-1".to_owned()], ..JobFilter::default() },
        JobFilter { assignees: vec![user], ..JobFilter::default() },
        JobFilter { workflow_ids: vec!["workflow".to_owned()], ..JobFilter::default() },
    ]
}

/// Runs a seed. Returns its trace.
fn simulate(seed: u64) -> u64 {
    let mut world = World::random(seed);
    for life in 0..=world.plan.faults.len() {
        world.live(life);
    }
    world.disk.trace()
}

/// Runs seeds, and says how to run again the first that fails.
fn check(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            panic!(
                "seed {seed}: {text}\n\n    HOLDPOINT_SIMULATION_SEED={seed} cargo test --lib simulation\n"
            );
        }
    }
}

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

/// The seeds that one of two threads runs.
fn seeds(remainder: u64) -> Box<dyn Iterator<Item = u64>> {
    let is_ours = move |seed: &u64| seed % 2 == remainder;
    match number_of("HOLDPOINT_SIMULATION_SEED") {
        Some(seed) => Box::new(Some(seed).into_iter().filter(is_ours)),
        None => Box::new((0..number_of("HOLDPOINT_SIMULATION_SEEDS").unwrap_or(SEEDS)).filter(is_ours)),
    }
}

#[test]
fn even_seeds_hold() {
    check(seeds(0));
}

#[test]
fn odd_seeds_hold() {
    check(seeds(1));
}

#[test]
fn a_seed_repeats_to_the_letter() {
    for seed in 0..40 {
        assert_eq!(simulate(seed), simulate(seed), "seed {seed}");
    }
}
