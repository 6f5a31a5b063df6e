//! The one writer of a partition.
//!
//! It takes whatever commands wait, decides them one after another, makes all they do durable in one step, tells those
//! who follow the log, and only then answers. So there are no locks, no retries, and the order of events is the order of
//! decisions. When a commit fails it stops for good: it does not go on over a store it cannot trust.
//!
//! While one round is made durable, the next is decided, over what that one writes. It is committed when the one before it is
//! durable, so that an answer never tells of what may still be lost.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use prost_types::Timestamp;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, yield_now},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    command::{Command, Origin},
    logged::Logged,
    requests::Requests,
    round::{Pending, Round, Site},
    tail::Tail,
};
use crate::{
    domain::PublishWorkflow,
    proto::v1::PublishWorkflowResponse,
    store::{Batch, Sequence},
};

/// How many commands are taken into one round at most.
const ROUND_COMMANDS_MAX: usize = 256;

/// How often a round that could be committed lets others have their turn first, who may bring more.
const TURNS_GIVEN_MAX: usize = 3;

/// The size at which a round ends early. Commits of more than a few hundred KiB cost the store extra.
const ROUND_BYTES_MAX: usize = 192 * 1024;

pub(super) struct Writer {
    pub(super) site: Site,
    pub(super) requests: Requests,
    pub(super) tail: Arc<Tail>,
    pub(super) head: Sequence,
    /// The time of the newest decision.
    pub(super) last: Timestamp,
    pub(super) queue: Queue,
    /// How long a command may wait for its turn. It bounds what a call takes that is done, however slow the store is.
    pub(super) waiting_max: Duration,
    pub(super) failure: watch::Sender<Option<Arc<crate::store::Error>>>,
}

/// What waits for the writer.
pub(super) struct Queue {
    inbox: mpsc::Receiver<Box<dyn Work>>,
    /// What was taken out of it, and has not had its turn.
    taken: Vec<Box<dyn Work>>,
    turns: VecDeque<Box<dyn Work>>,
    /// Rung when there is room in the inbox again. It goes after the inbox, so that whoever hears it go finds that closed.
    room: watch::Sender<()>,
    stop: CancellationToken,
    /// Nothing comes any more.
    is_over: bool,
}

/// A round that is on its way to the disk.
struct Flight(JoinHandle<Result<(), crate::store::Error>>);

/// Something for the writer to do.
#[async_trait]
pub(super) trait Work: Send {
    /// Nobody waits for it any more: it is left undone.
    fn is_abandoned(&self) -> bool;

    /// Since when it waits, if that may be too long.
    fn queued(&self) -> Option<Instant>;

    /// Nothing may be on its way to the disk while it is done.
    fn wants_rest(&self) -> bool {
        false
    }

    /// Does it, as far as the round goes.
    async fn perform(&mut self, round: &mut Round<'_>);

    /// Tells whoever waits, once the round is durable or has failed.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

impl Queue {
    pub(super) fn new(
        inbox: mpsc::Receiver<Box<dyn Work>>,
        room: watch::Sender<()>,
        stop: CancellationToken,
    ) -> Self {
        Self { inbox, taken: Vec::new(), turns: VecDeque::new(), room, stop, is_over: false }
    }

    fn has_none(&self) -> bool {
        self.turns.is_empty()
    }

    /// Waits for something to do. Nothing is lost where this is given up.
    async fn wait(&mut self) {
        while self.turns.is_empty() && !self.is_over {
            tokio::select! {
                biased;
                taken = self.inbox.recv_many(&mut self.taken, ROUND_COMMANDS_MAX) => {
                    self.is_over = taken == 0;
                    self.turns.extend(self.taken.drain(..));
                    self.room.send_replace(());
                }
                // What was queued before is still done; then the inbox is closed and empty.
                () = self.stop.cancelled(), if !self.inbox.is_closed() => self.inbox.close(),
            }
        }
    }

    /// Takes what is in the inbox, and waits for nothing.
    fn take_ready(&mut self) {
        let ready = std::iter::from_fn(|| self.inbox.try_recv().ok());
        let before = self.turns.len();
        self.turns.extend(ready.take(ROUND_COMMANDS_MAX));
        if self.turns.len() > before {
            self.room.send_replace(());
        }
    }

    /// Ends the wait of all that is in it, and of all who are about to queue something.
    async fn refuse(mut self, error: Error) {
        self.inbox.close();
        self.turns.drain(..).for_each(|one| one.answer(Err(error.clone())));
        // It ends when the last of those who queue has.
        while let Some(one) = self.inbox.recv().await {
            one.answer(Err(error.clone()));
        }
    }
}

impl Flight {
    /// Makes a round durable, then tells those who follow the log, and answers. That goes on by itself: what is decided
    /// meanwhile may wait for the store, which may wait for this.
    fn begin(
        site: &Site,
        tail: &Arc<Tail>,
        batch: Batch,
        performed: Vec<Box<dyn Work>>,
        logged: Vec<Arc<Logged>>,
    ) -> Self {
        let (store, partition, tail) = (Arc::clone(&site.store), site.partition, Arc::clone(tail));
        Self(tokio::spawn(async move {
            let outcome = store.commit(partition, batch).await;
            if outcome.is_ok() {
                tail.publish(&logged);
            }
            answer(performed, &outcome);
            outcome
        }))
    }

    /// Waits until the round is durable, if one is on its way. Where this is given up, the next call waits on.
    async fn land(flight: &mut Option<Self>) -> Result<(), crate::store::Error> {
        let Some(Self(task)) = flight else { return Ok(()) };
        let outcome = task.await;
        *flight = None;
        outcome.unwrap_or_else(|broken| Err(crate::store::Error::Failed(Arc::new(broken))))
    }
}

/// Answers all of a round.
fn answer(performed: Vec<Box<dyn Work>>, outcome: &Result<(), crate::store::Error>) {
    let committed = outcome.clone().map_err(|error| Error::Failed(Arc::new(error)));
    for one in performed {
        one.answer(committed.clone());
    }
}

impl Writer {
    /// Works until told to stop, and then until nothing waits.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.work().await {
            let error = Arc::new(error);
            // Whoever is answered from now on can already read why.
            self.failure.send_replace(Some(Arc::clone(&error)));
            self.queue.refuse(Error::Failed(error)).await;
        }
    }

    async fn work(&mut self) -> Result<(), crate::store::Error> {
        let Self { site, requests, tail, head, last, queue, waiting_max, failure: _ } = self;
        let mut flight = None;
        let mut pending = Pending::default();
        loop {
            while queue.has_none() && !queue.is_over {
                tokio::select! {
                    biased;
                    landed = Flight::land(&mut flight), if flight.is_some() => landed?,
                    () = queue.wait() => {}
                }
            }
            if queue.has_none() {
                return Flight::land(&mut flight).await;
            }
            requests.forget_trimmed(site.store.oldest(site.partition));
            let mut filling = Filling {
                round: Round::new(site, requests, *last, *head, pending),
                performed: Vec::new(),
                waiting_max: *waiting_max,
            };
            let landed = filling.fill(queue, &mut flight).await;
            let Filling { round, performed, .. } = filling;
            *last = round.now();
            let (batch, logged, written) = round.finish();
            pending = written;
            if landed.is_err() || batch.entries.is_empty() {
                answer(performed, &landed);
                landed?;
                continue;
            }
            *head = batch.entries.last().map_or(*head, |entry| entry.sequence);
            flight = Some(Flight::begin(site, tail, batch, performed, logged));
        }
    }
}

/// A round that commands are taken into.
struct Filling<'w> {
    round: Round<'w>,
    performed: Vec<Box<dyn Work>>,
    waiting_max: Duration,
}

impl Filling<'_> {
    /// Takes in as many as fit in a commit: those who wait, those who come until the round before is durable, and those whom
    /// tasks bring that are ready then. What one command more takes of a commit is far less than a commit.
    async fn fill(
        &mut self,
        queue: &mut Queue,
        flight: &mut Option<Flight>,
    ) -> Result<(), crate::store::Error> {
        let mut turns_given = 0;
        loop {
            while self.has_room()
                && let Some(one) = queue.turns.pop_front()
            {
                if one.wants_rest()
                    && !one.is_abandoned()
                    && let Err(error) = Flight::land(flight).await
                {
                    queue.turns.push_front(one);
                    return Err(error);
                }
                self.take(one).await;
            }
            if flight.is_none() {
                if turns_given == TURNS_GIVEN_MAX || !self.has_room() {
                    return Ok(());
                }
                turns_given += 1;
                yield_now().await;
                queue.take_ready();
                if queue.has_none() {
                    return Ok(());
                }
                continue;
            }
            tokio::select! {
                biased;
                landed = Flight::land(flight) => landed?,
                () = queue.wait(), if self.has_room() && !queue.is_over => {}
            }
        }
    }

    fn has_room(&self) -> bool {
        self.performed.len() < ROUND_COMMANDS_MAX && self.round.bytes() <= ROUND_BYTES_MAX
    }

    async fn take(&mut self, mut one: Box<dyn Work>) {
        if one.is_abandoned() {
            return;
        }
        if one.queued().is_some_and(|queued| queued.elapsed() > self.waiting_max) {
            return one.answer(Err(overdue(self.waiting_max)));
        }
        self.round.look_at_clock();
        one.perform(&mut self.round).await;
        self.performed.push(one);
    }
}

/// The refusal of a command that has waited so long for its turn.
fn overdue(waiting_max: Duration) -> Error {
    let maximum = u64::try_from(waiting_max.as_millis()).unwrap_or(u64::MAX);
    Error::Overloaded { limit: "waiting_milliseconds", maximum }
}

/// Something that is decided in a round.
#[async_trait]
pub(super) trait Decide: Send + Sync + 'static {
    type Reply: Send + 'static;

    /// See [`Command::GOES_ON_WHEN_FULL`].
    const GOES_ON_WHEN_FULL: bool = false;

    async fn decide_in(&self, round: &mut Round<'_>, origin: &Origin) -> Result<Self::Reply, Error>;
}

#[async_trait]
impl<C: Command + Sync> Decide for C {
    type Reply = C::Reply;

    const GOES_ON_WHEN_FULL: bool = C::GOES_ON_WHEN_FULL;

    async fn decide_in(&self, round: &mut Round<'_>, origin: &Origin) -> Result<C::Reply, Error> {
        round.execute(origin, self).await
    }
}

#[async_trait]
impl Decide for PublishWorkflow {
    type Reply = PublishWorkflowResponse;

    async fn decide_in(
        &self,
        round: &mut Round<'_>,
        origin: &Origin,
    ) -> Result<PublishWorkflowResponse, Error> {
        round.publish(origin, self).await
    }
}

/// A command on its way through the writer.
pub(super) struct Execution<C: Decide> {
    pub(super) origin: Origin,
    pub(super) command: C,
    pub(super) queued: Instant,
    pub(super) decided: Option<Result<C::Reply, Error>>,
    pub(super) reply: oneshot::Sender<Result<C::Reply, Error>>,
}

#[async_trait]
impl<C: Decide> Work for Execution<C> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn queued(&self) -> Option<Instant> {
        Some(self.queued)
    }

    async fn perform(&mut self, round: &mut Round<'_>) {
        self.decided = Some(self.command.decide_in(round, &self.origin).await);
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let decided = self.decided.unwrap_or(Err(Error::Stopping));
        // Whoever has gone meanwhile asks again with the same request id.
        let _ = self.reply.send(committed.and(decided));
    }
}

/// A read that must meet the records at rest: between two rounds nothing moves.
pub(super) struct Rest {
    pub(super) read: Option<BoxFuture<'static, ()>>,
    /// Cancelled when nobody waits for it any more.
    pub(super) left: CancellationToken,
}

#[async_trait]
impl Work for Rest {
    fn is_abandoned(&self) -> bool {
        self.left.is_cancelled()
    }

    fn queued(&self) -> Option<Instant> {
        None
    }

    fn wants_rest(&self) -> bool {
        true
    }

    async fn perform(&mut self, _round: &mut Round<'_>) {
        if let Some(read) = self.read.take() {
            read.await;
        }
    }

    fn answer(self: Box<Self>, _committed: Result<(), Error>) {}
}
