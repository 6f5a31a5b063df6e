//! What clients saw of a job, all of it, is explained by one order: over `kill -9`, with requests that are asked again.
//!
//! Clients write down what they asked and when, what they were answered and when, and that they were not. Linearizability is
//! local: if it holds for each job it holds for all, so each job is checked by itself. The checker knows updates (also those
//! of a certain revision, and repeated ones), reads and histories; what other commands do to a job takes the same way
//! through the same writer, and is held against the log by the simulation of the engine. What was in doubt when the server
//! was killed is done before the next one answers, or never.
//!
//! `HOLDPOINT_HISTORY_ROUNDS=100 cargo test --test faults histories` does it for longer, `HOLDPOINT_HISTORY_SEED` otherwise.

mod checker;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use holdpoint::proto::v1::{CreateJobRequest, GetJobRequest, Job, ListJobEventsRequest, UpdateJobRequest};
use tokio::{sync::watch, task::JoinSet};
use tonic::{Code, Status};

use self::checker::{Answered, Asked, Operation, is_linearizable};
use super::kit::{Chance, Client, Server, soon};

const ROUNDS: u64 = 6;
const CLIENTS: usize = 6;
const JOBS: usize = 3;

/// How many operations are answered before a kill.
const OPERATIONS_PER_ROUND: usize = 240;

/// What all clients know and write down.
#[derive(Default)]
struct Book {
    jobs: Vec<String>,
    /// By job.
    histories: Vec<Vec<Operation>>,
    /// Updates with a request id that a kill left in doubt.
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

async fn ask(client: &mut Client, job_id: &str, asked: &Asked) -> Result<Answered, Status> {
    let job_id = job_id.to_owned();
    match asked {
        Asked::Get => {
            let request = GetJobRequest { job_id, ..GetJobRequest::default() };
            let reply = soon(client.jobs.get_job(request)).await?.into_inner();
            let job = reply.details.unwrap().job.unwrap();
            Ok(Answered::Job(revision(&job), title(&job)))
        }
        Asked::Events => {
            let request = ListJobEventsRequest { job_id, page_size: 1000, ..ListJobEventsRequest::default() };
            let page = soon(client.jobs.list_job_events(request)).await?.into_inner();
            assert_eq!(page.next_page_token, "", "it fits on one page");
            Ok(Answered::Events(page.events.iter().map(|event| title(event.job.as_ref().unwrap())).collect()))
        }
        Asked::Update { title, at_revision, request } => {
            let request = UpdateJobRequest {
                job_id,
                job: Some(Job { title: Some(title.to_string()), ..Job::default() }),
                etag: at_revision.map(etag).unwrap_or_default(),
                request_id: request.map(|request| format!("request-{request}")).unwrap_or_default(),
                ..UpdateJobRequest::default()
            };
            match soon(client.jobs.update_job(request)).await {
                Ok(reply) => Ok(Answered::Updated(revision(&reply.into_inner().job.unwrap()))),
                Err(status) if status.code() == Code::Aborted => Ok(Answered::Mismatch),
                Err(status) => Err(status),
            }
        }
    }
}

fn revision(job: &Job) -> usize {
    let revision = usize::try_from(job.revision).unwrap();
    assert_eq!(job.etag, etag(revision));
    revision
}

/// As every job has it. What the server makes of a revision is no promise, so each is checked before it is relied on.
fn etag(revision: usize) -> String {
    format!("r{revision}")
}

fn title(job: &Job) -> u64 {
    job.title.as_deref().unwrap().parse().unwrap()
}

fn random(chance: &mut Chance, times: &Times, known: Option<usize>) -> Asked {
    match chance.below(10) {
        0..=3 => Asked::Get,
        4 => Asked::Events,
        kind => {
            let title = times.next();
            let at_revision = known.filter(|_| kind < 8);
            Asked::Update { title, at_revision, request: chance.one_in(2).then_some(title) }
        }
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
    let mut known = [None; JOBS];
    loop {
        let in_doubt = book.lock().unwrap().in_doubt.pop();
        let (job, asked) = in_doubt.unwrap_or_else(|| {
            let job = chance.below(JOBS);
            (job, random(&mut chance, &times, known[job]))
        });
        let job_id = book.lock().unwrap().jobs[job].clone();
        let from = times.next();
        let outcome = ask(&mut client, &job_id, &asked).await;
        let to = times.next();
        let mut book = book.lock().unwrap();
        match outcome {
            Ok(answered) => {
                if let Answered::Job(revision, _) | Answered::Updated(revision) = &answered {
                    known[job] = Some(*revision);
                }
                book.histories[job].push(Operation { asked, answered, from, to });
                book.count += 1;
                done.send_replace(book.count);
            }
            Err(status) => {
                let gone = [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled];
                assert!(gone.contains(&status.code()), "{status:?}");
                if matches!(asked, Asked::Update { request: Some(_), .. }) {
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
    /// The server is gone: what is in doubt is done by now, or never.
    fn close(&mut self, now: u64) {
        for operation in self.histories.iter_mut().flatten() {
            operation.to = operation.to.min(now);
        }
    }

    fn check(&self, seed: u64) {
        for (job, history) in self.histories.iter().enumerate() {
            assert!(
                is_linearizable(0, history),
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
                create(&mut Client::connect(server.address).await, &book).await;
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

/// Makes the jobs of a round, each at revision 1 and with title 0.
async fn create(client: &mut Client, book: &Mutex<Book>) {
    for _ in 0..JOBS {
        let job = Some(Job { title: Some("0".to_owned()), ..Job::default() });
        let reply =
            soon(client.jobs.create_job(CreateJobRequest { job, ..CreateJobRequest::default() })).await;
        let job = reply.unwrap().into_inner().job.unwrap();
        let mut book = book.lock().unwrap();
        book.jobs.push(job.job_id);
        book.histories.push(Vec::new());
    }
}
