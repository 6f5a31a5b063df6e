//! The one writer of a partition.
//!
//! It takes whatever commands wait, decides them one after another, makes all they do durable in one step, tells those
//! who follow the log, and only then answers. So there are no locks, no retries, and the order of events is the order of
//! decisions. When a commit fails it stops for good: it does not go on over a store it cannot trust.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use prost_types::Timestamp;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    command::{Command, Origin},
    requests::Requests,
    round::{Round, Site},
    tail::Tail,
};
use crate::{
    domain::{PublishWorkflow, compare_times},
    proto::v1::PublishWorkflowResponse,
    store::Sequence,
};

/// How many commands are taken into one round at most.
const ROUND_COMMANDS_MAX: usize = 256;

/// The size at which a round ends early. Commits of more than a few hundred KiB cost the store extra.
const ROUND_BYTES_MAX: usize = 192 * 1024;

pub(super) struct Writer {
    pub(super) site: Site,
    pub(super) requests: Requests,
    pub(super) tail: Arc<Tail>,
    pub(super) head: Sequence,
    /// The time of the newest decision.
    pub(super) last: Timestamp,
    pub(super) inbox: mpsc::Receiver<Box<dyn Work>>,
    /// How long a command may wait for its turn. It bounds what a call takes that is done, however slow the store is.
    pub(super) waiting_max: Duration,
    /// Rung when there is room in the inbox again. It goes after the inbox, so that whoever hears it go finds that closed.
    pub(super) room: watch::Sender<()>,
    pub(super) stop: CancellationToken,
    pub(super) failure: watch::Sender<Option<Arc<crate::store::Error>>>,
}

/// Something for the writer to do.
#[async_trait]
pub(super) trait Work: Send {
    /// Nobody waits for it any more: it is left undone.
    fn is_abandoned(&self) -> bool;

    /// Since when it waits, if that may be too long.
    fn queued(&self) -> Option<Instant>;

    /// Does it, as far as the round goes.
    async fn perform(&mut self, round: &mut Round<'_>);

    /// Tells whoever waits, once the round is durable or has failed.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

impl Writer {
    /// Works until told to stop, and then until nothing waits.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        let mut waiting = Vec::with_capacity(ROUND_COMMANDS_MAX);
        loop {
            tokio::select! {
                biased;
                taken = self.inbox.recv_many(&mut waiting, ROUND_COMMANDS_MAX) => {
                    if taken == 0 {
                        return;
                    }
                    self.room.send_replace(());
                }
                () = stop.cancelled() => {
                    // What was queued before is still done; then `recv_many` finds the inbox closed and empty.
                    self.inbox.close();
                    continue;
                }
            }
            let mut work = std::mem::take(&mut waiting).into_iter();
            while work.len() > 0 {
                if let Err(error) = self.round(&mut work).await {
                    return self.give_up(error, work).await;
                }
            }
        }
    }

    /// Performs some of the work, as much as fits in a commit, and answers it.
    async fn round(
        &mut self,
        work: &mut impl Iterator<Item = Box<dyn Work>>,
    ) -> Result<(), crate::store::Error> {
        let clock = self.site.environment.now();
        if compare_times(Some(&clock), Some(&self.last)).is_gt() {
            self.last = clock;
        }
        self.requests.forget_old(&self.last);
        self.requests.forget_trimmed(self.site.store.oldest(self.site.partition));
        let mut round = Round::new(&self.site, &mut self.requests, self.last, self.head);
        let mut performed = Vec::new();
        for mut one in work {
            if one.is_abandoned() {
                continue;
            }
            if one.queued().is_some_and(|queued| queued.elapsed() > self.waiting_max) {
                one.answer(Err(overdue(self.waiting_max)));
                continue;
            }
            one.perform(&mut round).await;
            performed.push(one);
            if round.bytes() > ROUND_BYTES_MAX {
                break;
            }
        }
        let (batch, logged) = round.finish();
        if let Some(last) = batch.entries.last().map(|entry| entry.sequence) {
            if let Err(error) = self.site.store.commit(self.site.partition, batch).await {
                let failed = Error::Failed(Arc::new(error.clone()));
                for one in performed {
                    one.answer(Err(failed.clone()));
                }
                return Err(error);
            }
            self.head = last;
            self.tail.publish(&logged);
        }
        for one in performed {
            one.answer(Ok(()));
        }
        Ok(())
    }

    async fn give_up(mut self, error: crate::store::Error, left: impl Iterator<Item = Box<dyn Work>>) {
        let error = Arc::new(error);
        // The failure is told first: whoever is answered now can already read why.
        self.failure.send_replace(Some(Arc::clone(&error)));
        left.for_each(|one| one.answer(Err(Error::Failed(Arc::clone(&error)))));
        self.inbox.close();
        // Also those who are about to queue something: the inbox ends when the last of them has.
        while let Some(one) = self.inbox.recv().await {
            one.answer(Err(Error::Failed(Arc::clone(&error))));
        }
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
}

#[async_trait]
impl Work for Rest {
    fn is_abandoned(&self) -> bool {
        false
    }

    fn queued(&self) -> Option<Instant> {
        None
    }

    async fn perform(&mut self, _round: &mut Round<'_>) {
        if let Some(read) = self.read.take() {
            read.await;
        }
    }

    fn answer(self: Box<Self>, _committed: Result<(), Error>) {}
}
