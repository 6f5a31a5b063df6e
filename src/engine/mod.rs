//! Takes commands to the one writer of their partition, and reads for everybody else.
//!
//! ```text
//! submit ── queue ─▶ writer: load → decide → commit (one flush for all that waited) ─▶ tail ─▶ bells ─▶ answer
//!                                                                                       ▲
//! watch, list, get ── read the records and the log, and answer only with what is durable ┘
//! ```
//!
//! Nothing here knows gRPC, and nothing here decides what a job may do: that is the domain's.

mod catalogue;
mod check;
mod command;
mod environment;
mod follower;
mod holds;
mod ids;
mod instances;
mod list;
mod logged;
mod pages;
mod read;
mod requests;
mod retention;
mod reviews;
mod round;
mod seek;
mod space;
mod status;
mod sweeper;
mod tail;
mod tasks;
#[cfg(test)]
mod tests;
mod watch;
mod workflows;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use prost_types::Timestamp;
use tokio::{
    sync::{mpsc, oneshot, watch as doorbell},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    catalogue::Catalogue,
    holds::PLACEMENTS,
    pages::Pages,
    requests::Requests,
    round::Site,
    status::Watches,
    tail::Tail,
    writer::{Decide, Execution, Queue, Work, Writer},
};
pub use self::{
    check::{Findings, check},
    command::{Command, Origin, RequestStamp, Target},
    environment::{Environment, System},
    holds::{HoldPage, HoldPlace, HoldQuery},
    instances::{InstancePage, InstancePlace, InstanceQuery},
    list::{ListOrder, ListPage},
    logged::{Logged, LoggedEvent},
    read::{JobParts, ReportPage, Views},
    status::{EngineStatus, PartitionStatus, WatchStatus},
    tasks::TaskPage,
    watch::{Delivered, Delivery, Position, SnapshotPosition, Start, Watch, WatchError, WatchScope},
    workflows::WorkflowList,
};
use crate::{
    domain::{JOB_ID_PREFIX, Limits, Place, Rejection},
    store::{self, Export, ExportError, Partition, Sequence, Store, StoreId},
};

/// How the engine works, beside its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What a job may hold.
    pub limits: Limits,
    /// Commands that may wait for the writer; more are turned away.
    pub commands_waiting_max: usize,
    /// How long a command may wait for its turn; later it is turned away.
    pub waiting_max: Duration,
    /// How much of the log is kept in memory for those who follow it, in each partition.
    pub tail_bytes: usize,
    /// How long answered requests are remembered.
    pub request_window: Duration,
    /// How many answered requests are remembered.
    pub requests_max: u64,
    /// How long the log is kept for watchers.
    pub log_age_max: Duration,
    /// How many events of the log are kept for watchers.
    pub log_events_max: u64,
    /// The room that the store must have, in bytes, for anything to be added to it.
    pub free_bytes_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            commands_waiting_max: 4096,
            waiting_max: Duration::from_secs(5),
            tail_bytes: 32 << 20,
            request_window: Duration::from_secs(24 * 3600),
            requests_max: 10_000_000,
            log_age_max: Duration::from_secs(30 * 24 * 3600),
            log_events_max: 10_000_000,
            free_bytes_min: 0,
        }
    }
}

/// Why the engine did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The state forbids it.
    #[error(transparent)]
    Rejected(Rejection),
    /// The request id stands for another request.
    #[error("this request id was used for another request")]
    RequestIdReused,
    /// More commands wait than are taken on, or the command waited too long for its turn. It was not decided.
    #[error("the limit {limit} of {maximum} would be passed")]
    Overloaded {
        /// The name of a member of `config::Limits`.
        limit: &'static str,
        /// Its value.
        maximum: u64,
    },
    /// The store has too little room for more. What frees some is done still.
    #[error("the disk of the server is nearly full")]
    Full {
        /// The room that there must be.
        free_bytes_min: u64,
    },
    /// The engine is going away. The command was not decided.
    #[error("the server is stopping")]
    Stopping,
    /// The store failed while a command was made durable: it may have happened or not. The engine has stopped.
    #[error("the store failed")]
    Failed(#[source] Arc<store::Error>),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The rule that should have decided the command broke down over it. Nothing was changed.
    #[error("deciding a command broke down: {0}")]
    BrokeDown(String),
}

/// Where commands wait for the writer of a partition.
struct Inbox {
    queue: mpsc::Sender<Box<dyn Work>>,
    /// Rung when the writer has taken some.
    taken: doorbell::Receiver<()>,
}

/// The engine. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    environment: Arc<dyn Environment>,
    options: Options,
    inboxes: Vec<Inbox>,
    tails: Vec<Arc<Tail>>,
    /// What of the log is older, for those who have fallen behind.
    pages: Vec<Pages>,
    failed: doorbell::Sender<Option<Arc<store::Error>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Held while a dependency is placed, each for some organizations.
    placements: Vec<Arc<tokio::sync::Mutex<()>>>,
    watches: Arc<Watches>,
    /// How many answered requests each partition remembers.
    request_ids: Vec<Arc<AtomicU64>>,
    is_full: AtomicBool,
}

impl Engine {
    /// Starts the writers over a store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn start(
        store: Arc<dyn Store>,
        environment: Arc<dyn Environment>,
        options: Options,
    ) -> Result<Self, store::Error> {
        let (failed, _) = doorbell::channel(None);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let catalogue = Arc::new(Catalogue::default());
        let (mut inboxes, mut tails, mut request_ids) = (Vec::new(), Vec::new(), Vec::new());
        for partition in (0..store.partitions()).map(Partition) {
            let head = *store.head(partition).borrow();
            let now = environment.now();
            let requests = Requests::load(store.as_ref(), partition, &now, &options).await?;
            request_ids.push(Arc::clone(&requests.count));
            let tail = Arc::new(Tail::new(partition, head, options.tail_bytes));
            let (queue, waiting) = mpsc::channel(options.commands_waiting_max);
            let (room, taken) = doorbell::channel(());
            let writer = Writer {
                site: Site {
                    store: Arc::clone(&store),
                    partition,
                    environment: Arc::clone(&environment),
                    limits: options.limits,
                    catalogue: Arc::clone(&catalogue),
                },
                requests,
                tail: Arc::clone(&tail),
                head,
                last: last_time(store.as_ref(), partition, head).await?,
                queue: Queue::new(waiting, room, stop.clone()),
                waiting_max: options.waiting_max,
                failure: failed.clone(),
            };
            tasks.spawn(supervise(writer, failed.clone()));
            inboxes.push(Inbox { queue, taken });
            tails.push(tail);
        }
        let page = |partition| Pages::new(Partition(partition), options.tail_bytes);
        let pages = (0..store.partitions()).map(page).collect();
        let placements = (0..PLACEMENTS).map(|_| Arc::default()).collect();
        let shared = Shared {
            store,
            environment,
            options,
            inboxes,
            tails,
            pages,
            failed,
            stop,
            tasks,
            placements,
            watches: Arc::default(),
            request_ids,
            is_full: AtomicBool::new(false),
        };
        let engine = Self { shared: Arc::new(shared) };
        engine.look_at_space();
        engine.shared.tasks.spawn(space::run(engine.clone()));
        engine.shared.tasks.spawn(retention::run(engine.clone()));
        // All places are taken before the first is left, so that what ends in one partition while another is looked at is
        // not missed.
        let places: Vec<_> =
            engine.partitions().map(|partition| (partition, engine.tail(partition).head())).collect();
        for (partition, place) in places {
            engine.shared.tasks.spawn(follower::run(engine.clone(), partition, place));
            engine.shared.tasks.spawn(sweeper::run(engine.clone(), partition));
        }
        Ok(engine)
    }

    /// Has a command decided, and returns its answer once what it did is durable.
    ///
    /// Dropping the future before the command's turn comes leaves it undone; after that it happens all the same.
    ///
    /// # Errors
    /// See [`Error`]. Unless it is [`Error::Failed`], nothing was changed.
    pub async fn execute<C: Command + Sync>(&self, origin: Origin, command: C) -> Result<C::Reply, Error> {
        self.submit(origin, command)?.await
    }

    /// The same in two steps: the command is queued at once, and its answer is waited for whenever the caller likes. The
    /// commands of a job are decided in the order in which they were submitted.
    ///
    /// # Errors
    /// See [`Error`]: the command was not queued, or what [`Engine::execute`] ends with.
    pub fn submit<C: Command + Sync>(
        &self,
        origin: Origin,
        command: C,
    ) -> Result<impl Future<Output = Result<C::Reply, Error>> + Send + 'static + use<C>, Error> {
        let partition = self.partition_of(&origin.org, command.target());
        self.decide(partition, origin, command)
    }

    /// Queues something to be decided in a partition, at once.
    fn decide<C: Decide>(
        &self,
        partition: Partition,
        origin: Origin,
        command: C,
    ) -> Result<impl Future<Output = Result<C::Reply, Error>> + Send + 'static + use<C>, Error> {
        if self.is_full() && !C::GOES_ON_WHEN_FULL {
            return Err(Error::Full { free_bytes_min: self.shared.options.free_bytes_min });
        }
        let (reply, answer) = oneshot::channel();
        let queued = Instant::now();
        self.queue(partition, Box::new(Execution { origin, command, queued, decided: None, reply }))?;
        let engine = self.clone();
        Ok(async move {
            match answer.await {
                Ok(reply) => reply,
                Err(_) if engine.shared.stop.is_cancelled() => Err(Error::Stopping),
                // The writer broke down, perhaps after the command was made durable.
                Err(_) => Err(Error::Failed(engine.failed().await)),
            }
        })
    }

    /// Returns when no more than half of the commands that may wait do. Who brings many, and can wait with them, waits
    /// for this, so that there is room for those who bring one.
    pub async fn room(&self) {
        for Inbox { queue, taken } in &self.shared.inboxes {
            let mut taken = taken.clone();
            loop {
                taken.mark_unchanged();
                let is_there = 2 * queue.capacity() >= queue.max_capacity();
                // A writer that has gone takes nothing any more: whoever submits now hears why.
                if is_there || taken.changed().await.is_err() {
                    break;
                }
            }
        }
    }

    /// A new job id of ours, for a job without a client's id.
    #[must_use]
    pub fn new_job_id(&self, org: &str) -> String {
        let unique = self.shared.environment.new_uuid(&self.shared.environment.now());
        self.job_id(org, unique)
    }

    /// The job id of ours that follows from a request: the same for the same request.
    #[must_use]
    pub fn derived_job_id(&self, org: &str, caller: &str, request_id: &str) -> String {
        self.job_id(org, ids::derived_uuid(org, caller, request_id))
    }

    /// The id of a task of a job that an executor knows under an id of its own: the same whenever it is reported.
    #[must_use]
    pub fn derived_task_id(&self, org: &str, job_id: &str, place: &Place, task_id: &str) -> String {
        let partition = self.partition_of(org, Target::Job(job_id));
        ids::derived_task_id(partition, org, job_id, place, task_id)
    }

    fn job_id(&self, org: &str, unique: uuid::Uuid) -> String {
        let partition = ids::partition_of_id(org, &unique.to_string(), self.shared.store.partitions());
        ids::job_id(partition, unique)
    }

    /// Names the store, for tokens that hold positions in it.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.shared.store.id()
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.environment.now()
    }

    /// Begins to copy a partition of the store while it changes: see [`Export`].
    ///
    /// # Errors
    /// The store is being copied already.
    pub async fn export(&self, partition: Partition) -> Result<Box<dyn Export>, ExportError> {
        self.shared.store.export(partition).await
    }

    /// The partitions of the store.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.shared.store.partitions()).map(Partition)
    }

    /// Returns, with the reason, when the store has failed: the server must stop.
    pub async fn failed(&self) -> Arc<store::Error> {
        let mut failure = self.shared.failed.subscribe();
        loop {
            if let Some(error) = failure.borrow_and_update().clone() {
                return error;
            }
            if failure.changed().await.is_err() {
                // Every writer has ended in good order.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops taking commands, does those that wait, and closes the store.
    ///
    /// # Errors
    /// The store could not be closed in good order.
    pub async fn stop(&self) -> store::Result<()> {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.store.close().await
    }

    fn queue(&self, partition: Partition, work: Box<dyn Work>) -> Result<(), Error> {
        let inbox = &self.shared.inboxes[usize::from(partition.0)];
        inbox.queue.try_send(work).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::Overloaded { limit: "commands_waiting", maximum: inbox.queue.max_capacity() as u64 }
            }
            mpsc::error::TrySendError::Closed(_) => match self.shared.failed.borrow().clone() {
                Some(error) => Error::Failed(error),
                None => Error::Stopping,
            },
        })
    }

    fn partition_of(&self, org: &str, target: Target<'_>) -> Partition {
        let partitions = self.shared.store.partitions();
        match target {
            Target::Job(job_id) => ids::partition_of_job(org, job_id, partitions),
            Target::Task(task_id) => ids::partition_of_task(org, task_id, partitions),
            // An id of ours that stands for a client's as well.
            Target::Client(id) if id.starts_with(JOB_ID_PREFIX) => ids::partition_of_job(org, id, partitions),
            Target::Client(id) => ids::partition_of_id(org, id, partitions),
        }
    }

    fn tail(&self, partition: Partition) -> &Arc<Tail> {
        &self.shared.tails[usize::from(partition.0)]
    }
}

/// Sees to it that a writer which breaks down ends the server: without one, nothing would be decided any more.
async fn supervise(writer: Writer, failed: doorbell::Sender<Option<Arc<store::Error>>>) {
    if let Err(broken) = tokio::spawn(writer.run()).await {
        failed.send_replace(Some(Arc::new(store::Error::Failed(Arc::new(broken)))));
    }
}

/// The time of the newest entry, below which the engine's time does not fall.
async fn last_time(store: &dyn Store, partition: Partition, head: Sequence) -> store::Result<Timestamp> {
    if head == Sequence::default() {
        return Ok(Timestamp::default());
    }
    let newest = store.log(partition, Sequence(head.0 - 1), 1).await?;
    let entry = newest.first().map(logged::decode_entry).transpose()?;
    Ok(entry.and_then(|entry| entry.time).unwrap_or_default())
}
