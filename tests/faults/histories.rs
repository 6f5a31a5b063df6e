//! What clients saw of a job, all of it, is explained by one order: over `kill -9`, with requests that are asked again.
//!
//! Clients write down what they asked and when, what they were answered and when, and that they were not. Linearizability is
//! local: if it holds for each job it holds for all, so each job is checked by itself. The checker knows updates (also those
//! of a certain revision, and repeated ones), holds and their release, tasks that executors begin and close, patches of a
//! task (also those that test what it is), reads and histories. What was in doubt when the server was killed is done before
//! the next one answers, or never.
//!
//! `HOLDPOINT_HISTORY_ROUNDS=100 cargo test --test faults histories` does it for longer, `HOLDPOINT_HISTORY_SEED` otherwise.

mod checker;
mod wire;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use tokio::{sync::watch, task::JoinSet};
use tonic::Code;

use self::{
    checker::{Answered, Asked, Mark, Operation, is_linearizable},
    wire::{Known, ask, create, publish},
};
use super::{
    chance::Chance,
    kit::{Client, Server, soon},
};

const ROUNDS: u64 = 6;
const CLIENTS: usize = 6;
const JOBS: usize = 3;

/// How many operations are answered before a kill.
const OPERATIONS_PER_ROUND: usize = 240;

/// What all clients know and write down.
#[derive(Default)]
struct Book {
    jobs: Vec<Known>,
    /// What each was at first.
    first: Vec<Vec<Mark>>,
    /// By job.
    histories: Vec<Vec<Operation>>,
    /// The tasks of each that were begun.
    begun: Vec<Vec<u64>>,
    /// What a kill left in doubt, and can be asked again.
    in_doubt: Vec<(usize, Asked)>,
    count: usize,
}

/// Orders beginnings and ends. Never gives a number twice.
#[derive(Default)]
struct Times(AtomicU64);

impl Times {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// What a client has seen of a job last.
#[derive(Clone, Copy, Default)]
struct Seen {
    revision: Option<usize>,
    progress: Option<u64>,
}

fn random(chance: &mut Chance, times: &Times, seen: Seen, begun: &[u64]) -> Asked {
    let new = times.next();
    let request = chance.one_in(2).then_some(new);
    match chance.below(20) {
        0..=3 => Asked::Get,
        4 => Asked::Events,
        5 | 6 => Asked::Progress,
        7 | 8 => Asked::Hold { request },
        9 | 10 => Asked::Release { request },
        11 => Asked::Begin { task: new },
        12 | 13 if !begun.is_empty() => {
            // One of the last, so that several close the same.
            let last = &begun[begun.len().saturating_sub(2)..];
            Asked::Close { task: last[chance.below(last.len())], code: new }
        }
        12..=16 => Asked::Patch { progress: new, at: seen.progress.filter(|_| chance.one_in(2)), request },
        kind => Asked::Update { title: new, at_revision: seen.revision.filter(|_| kind < 19), request },
    }
}

/// Works until the server is gone.
async fn work(
    mut client: Client,
    book: Arc<Mutex<Book>>,
    times: Arc<Times>,
    seed: u64,
    done: watch::Sender<usize>,
) {
    let mut chance = Chance::new(seed);
    let mut last_seen = [Seen::default(); JOBS];
    loop {
        let (job, asked, known) = {
            let mut book = book.lock().unwrap();
            let (job, asked) = book.in_doubt.pop().unwrap_or_else(|| {
                let job = chance.below(JOBS);
                (job, random(&mut chance, &times, last_seen[job], &book.begun[job]))
            });
            (job, asked, book.jobs[job].clone())
        };
        let from = times.next();
        let outcome = ask(&mut client, &known, &asked).await;
        let to = times.next();
        let mut book = book.lock().unwrap();
        match outcome {
            Ok(answered) => {
                match (&asked, &answered) {
                    (Asked::Begin { task }, Answered::Made(_)) => book.begun[job].push(*task),
                    (_, Answered::Job { revision, .. } | Answered::Made(revision)) => {
                        last_seen[job].revision = Some(*revision);
                    }
                    (_, Answered::Progress(progress)) => last_seen[job].progress = Some(*progress),
                    _ => {}
                }
                book.histories[job].push(Operation { asked, answered, from, to });
                book.count += 1;
                done.send_replace(book.count);
            }
            Err(status) => {
                let gone = [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled];
                assert!(gone.contains(&status.code()), "{status:?}");
                if asked.can_be_repeated() {
                    book.in_doubt.push((job, asked.clone()));
                }
                // Until the next server answers.
                book.histories[job].push(Operation {
                    asked,
                    answered: Answered::Unknown,
                    from,
                    to: u64::MAX,
                });
                return;
            }
        }
    }
}

impl Book {
    fn add(&mut self, known: Known, first: Vec<Mark>) {
        self.jobs.push(known);
        self.first.push(first);
        self.histories.push(Vec::new());
        self.begun.push(vec![0]);
    }

    /// The server is gone: what is in doubt is done by now, or never.
    fn close(&mut self, now: u64) {
        for operation in self.histories.iter_mut().flatten() {
            operation.to = operation.to.min(now);
        }
    }

    fn check(&self, seed: u64) {
        for (job, history) in self.histories.iter().enumerate() {
            assert!(
                is_linearizable(&self.first[job], history),
                "no order explains what was seen of job {job}; HOLDPOINT_HISTORY_SEED={seed}: {history:#?}"
            );
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_order_explains_what_clients_saw() {
    let (rounds, seed) = (setting("HOLDPOINT_HISTORY_ROUNDS", ROUNDS), setting("HOLDPOINT_HISTORY_SEED", 1));
    let directory = tempfile::tempdir().unwrap();
    let times = Arc::new(Times::default());
    let (mut operations, mut in_doubt) = (0, 0);
    for round in 0..rounds {
        let mut chance = Chance::new(seed * 1_000_003 + round);
        let book = Arc::new(Mutex::new(Book::default()));
        // New jobs in every round, and two servers for them: the second goes on where the first was killed.
        for life in 0..2 {
            let mut server = Server::start(directory.path(), &[]).await;
            book.lock().unwrap().close(times.next());
            if life == 0 {
                let mut client = Client::connect(server.address).await;
                if round == 0 {
                    publish(&mut client).await;
                }
                for _ in 0..JOBS {
                    let (known, first) = create(&mut client).await;
                    book.lock().unwrap().add(known, first);
                }
            }
            let (done, mut answered) = watch::channel(0);
            let mut tasks = JoinSet::new();
            for worker in 0..CLIENTS {
                let client = Client::connect(server.address).await;
                let seed = (seed * 1_000_003 + round) * 100 + life * 10 + worker as u64;
                tasks.spawn(work(client, Arc::clone(&book), Arc::clone(&times), seed, done.clone()));
            }
            let until = book.lock().unwrap().count + 1 + chance.below(OPERATIONS_PER_ROUND);
            tokio::select! {
                reached = soon(answered.wait_for(|count| *count >= until)) => {
                    reached.unwrap();
                }
                Some(ended) = tasks.join_next() => {
                    ended.unwrap();
                    panic!("a client lost the server before it was killed");
                }
            }
            server.kill();
            while let Some(ended) = soon(tasks.join_next()).await {
                ended.unwrap();
            }
        }
        let book = book.lock().unwrap();
        book.check(seed);
        operations += book.count;
        let unknown = |operation: &&Operation| operation.answered == Answered::Unknown;
        in_doubt += book.histories.iter().flatten().filter(unknown).count();
    }
    assert!(in_doubt > 0, "no kill left anything in doubt");
    println!("{} kills, {operations} operations answered and {in_doubt} in doubt, all explained", 2 * rounds);
}
