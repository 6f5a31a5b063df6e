//! Watches: SPEC 3.5.
//!
//! A watch is a place in the log of each partition, and while it takes its snapshot also a place among the jobs. It is
//! pulled: whoever reads it asks for the next delivery when there is room for it, so a slow reader holds nothing but its
//! place.
//!
//! # The snapshot
//! Jobs come in the order of their ids, by chunks. The events of the jobs already sent come between the chunks, so that
//! the watcher's picture is never older than its place. A chunk is read beside the writer, so its jobs may be newer than
//! the place; their revisions are remembered until the place has passed what the chunk can hold, and events up to those
//! revisions are left out: the snapshot has told them.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use prost::Message;
use prost_types::Timestamp;
use tokio::time::Instant;

use super::{
    Engine, Error, Shared, ids,
    logged::{Logged, LoggedEvent, decode_entry},
    read::Views,
    status::Registered,
    tail::{Bell, Subscription, TailRead},
};
use crate::{
    domain::Filter,
    proto::v1::{JobDetails, JobEventType},
    store::{self, JobKey, Partition, Sequence},
};

/// How many jobs one chunk of a snapshot looks at.
const CHUNK_JOBS: usize = 64;

/// About how much one chunk holds, so that a watcher that stalls holds little.
const CHUNK_BYTES: usize = 1 << 20;

/// How many jobs of a chunk are read at once: each waits for the commit that is under way.
const CHUNK_READS: usize = 8;

/// A chunk that has a job ends after about so long. It must be done before the heartbeat of its watch, the shortest of which is a
/// second, or it is begun again.
const CHUNK_LASTS: Duration = Duration::from_millis(500);

/// What a watch is about. The same again for a resume.
#[derive(Debug, Default)]
pub struct WatchScope {
    /// The organization.
    pub org: String,
    /// Which jobs.
    pub filter: Filter,
    /// Which events; empty: all.
    pub event_types: BTreeSet<JobEventType>,
    /// What the snapshot holds beside each job.
    pub views: Views,
}

/// Where a watch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the jobs as they are.
    Snapshot,
    /// With what follows.
    Now,
    /// With the oldest event kept.
    Earliest,
    /// Where another one was.
    At(Position),
}

/// Where a watch is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// How far the log of each partition has been seen.
    pub sequences: Vec<Sequence>,
    /// How far the snapshot has come, while it is under way.
    pub snapshot: Option<SnapshotPosition>,
}

/// A place among the jobs. The partitions before this one are done, those after it not begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotPosition {
    /// The partition that the snapshot is in.
    pub partition: u16,
    /// The last job sent; empty before the first.
    pub job_id: String,
}

/// What a watch has for its reader.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// Jobs of the snapshot, each a `JobDetails`, encoded.
    Snapshot(Vec<Bytes>),
    /// The snapshot is complete.
    SnapshotComplete,
    /// What commands did, in order.
    Events(Vec<Delivered>),
}

/// The events of one command that match.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// In order; at least one.
    pub events: Vec<LoggedEvent>,
    /// Where the watch is after all of them.
    pub position: Position,
}

/// A watch.
pub struct Watch {
    engine: Engine,
    scope: WatchScope,
    position: Position,
    /// What the last chunk of each partition's snapshot told already.
    told: Vec<Told>,
    /// The partition to be read first, so that a busy one does not keep the others waiting.
    turn: u16,
    bell: Arc<Bell>,
    _subscriptions: Vec<Subscription>,
    registered: Registered,
}

#[derive(Default)]
struct Told {
    revisions: HashMap<String, i64>,
    /// Past this place no event is older than what the chunk told.
    until: Sequence,
}

impl Engine {
    /// Begins a watch. It has taken up its place when this returns: nothing that happens afterwards is missed.
    ///
    /// # Errors
    /// The place is not one of this store's any more, or not yet.
    pub fn watch(&self, scope: WatchScope, start: Start) -> Result<Watch, WatchError> {
        let bell = Arc::new(Bell::new(self.shared.store.partitions()));
        let job_ids: Vec<String> = scope.filter.job_ids().iter().cloned().collect();
        let subscribe = |partition| self.tail(partition).subscribe(&scope.org, job_ids.clone(), &bell);
        let subscriptions: Vec<_> = self.partitions().map(subscribe).collect();

        let heads: Vec<_> = self.partitions().map(|partition| self.tail(partition).head()).collect();
        let position = match start {
            Start::Snapshot => Position { sequences: heads, snapshot: Some(SnapshotPosition::default()) },
            Start::Now => Position { sequences: heads, snapshot: None },
            Start::Earliest => {
                let oldest = |partition| Sequence(self.shared.store.oldest(partition).0 - 1);
                Position { sequences: self.partitions().map(oldest).collect(), snapshot: None }
            }
            Start::At(position) => {
                // The store's head, for what was delivered may lie ahead of the tail's for a moment.
                let is_known = |(partition, place): (Partition, &Sequence)| {
                    *place <= *self.shared.store.head(partition).borrow()
                };
                if position.sequences.len() != heads.len()
                    || !self.partitions().zip(&position.sequences).all(is_known)
                {
                    return Err(WatchError::Unknown);
                }
                for (partition, place) in self.partitions().zip(&position.sequences) {
                    let oldest = self.shared.store.oldest(partition);
                    if place.next() < oldest {
                        return Err(WatchError::Expired { partition, oldest });
                    }
                }
                position
            }
        };
        if position
            .snapshot
            .as_ref()
            .is_some_and(|snapshot| usize::from(snapshot.partition) >= position.sequences.len())
        {
            return Err(WatchError::Unknown);
        }
        let told = self.partitions().map(|_| Told::default()).collect();
        let registered = self.shared.watches.register(&bell, &position.sequences);
        Ok(Watch {
            engine: self.clone(),
            scope,
            position,
            told,
            turn: 0,
            bell,
            _subscriptions: subscriptions,
            registered,
        })
    }
}

impl Engine {
    /// The place of the newest durable event of each partition.
    #[must_use]
    pub fn durable_position(&self) -> Position {
        let head = |partition| *self.shared.store.head(partition).borrow();
        Position { sequences: self.partitions().map(head).collect(), snapshot: None }
    }

    /// Some of what comes after a place that is behind the tail.
    async fn log_after(&self, partition: Partition, place: Sequence) -> store::Result<Vec<Arc<Logged>>> {
        let Shared { store, pages, .. } = &*self.shared;
        pages[usize::from(partition.0)].after(store.as_ref(), place).await
    }

    /// The time of the oldest entry that is kept.
    ///
    /// # Errors
    /// The store's.
    pub async fn oldest_time(&self, partition: Partition) -> Result<Option<Timestamp>, Error> {
        let oldest = self.shared.store.oldest(partition);
        let found = self.shared.store.log(partition, Sequence(oldest.0 - 1), 1).await?;
        Ok(found.first().map(decode_entry).transpose()?.and_then(|entry| entry.time))
    }
}

/// Why a watch cannot begin or go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WatchError {
    /// The position is not one that this store has had.
    #[error("the position lies ahead of this store")]
    Unknown,
    /// Events after the position are no longer kept.
    #[error("events after the position are no longer kept")]
    Expired {
        /// Where.
        partition: Partition,
        /// The sequence of the oldest event kept there.
        oldest: Sequence,
    },
    /// The store could not be read.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<store::Error> for WatchError {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Watch {
    /// Where the watch is: everything it has delivered is behind it, and so is everything else up to there.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Whether everything up to a position has been delivered, or was not for this watch.
    #[must_use]
    pub fn has_passed(&self, position: &Position) -> bool {
        self.position.sequences.iter().zip(&position.sequences).all(|(place, other)| place >= other)
    }

    /// The next delivery, if there is one now. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The log was trimmed past the watch, or the store failed.
    pub async fn next(&mut self) -> Result<Option<Delivery>, WatchError> {
        self.registered.note(&self.position.sequences, false);
        let delivery = self.look().await?;
        self.registered.note(&self.position.sequences, delivery.is_none());
        Ok(delivery)
    }

    async fn look(&mut self) -> Result<Option<Delivery>, WatchError> {
        loop {
            let mut is_caught_up = true;
            let partitions = self.engine.shared.store.partitions();
            for turn in 0..partitions {
                let partition = Partition((self.turn + turn) % partitions);
                if self.has_begun(partition) {
                    let (delivered, is_all) = self.follow(partition).await?;
                    if !delivered.is_empty() {
                        self.turn = (partition.0 + 1) % partitions;
                        return Ok(Some(Delivery::Events(delivered)));
                    }
                    is_caught_up &= is_all;
                }
            }
            if self.is_chunk_due() {
                if let Some(delivery) = self.chunk().await? {
                    return Ok(Some(delivery));
                }
            } else if is_caught_up && self.position.snapshot.is_none() {
                return Ok(None);
            }
            // A long stretch of the log in which nothing matches is no reason to keep others from this thread. Nor is a
            // chunk that met a commit which the tail is about to tell.
            tokio::task::yield_now().await;
        }
    }

    /// Returns when there may be more. Only to be called when [`next`](Self::next) had nothing.
    pub async fn changed(&mut self) {
        self.bell.rung().await;
        for partition in self.engine.partitions() {
            if let Some(before) = self.bell.take(partition) {
                // Nothing before this entry was for us: no bell rang for it.
                let place = self.place(partition);
                *place = before.max(*place);
            }
        }
    }

    /// Moves on over what is not for this watch. Only to be called when [`next`](Self::next) had nothing.
    pub fn pass_on(&mut self) {
        for partition in self.engine.partitions() {
            let head = self.engine.tail(partition).head();
            if self.bell.is_silent(partition) {
                let place = self.place(partition);
                *place = head.max(*place);
            }
        }
    }

    /// Reads a stretch of a partition's log. Returns what of it is for this watch, and whether there was none left.
    async fn follow(&mut self, partition: Partition) -> Result<(Vec<Delivered>, bool), WatchError> {
        let mut delivered = Vec::new();
        let place = *self.place(partition);
        match self.engine.tail(partition).after(place) {
            TailRead::CaughtUp => return Ok((delivered, true)),
            TailRead::Entries(entries) => {
                for entry in &entries {
                    self.pass(partition, entry, &mut delivered);
                }
            }
            TailRead::Behind => match self.engine.log_after(partition, place).await {
                Ok(entries) => {
                    for entry in &entries {
                        self.pass(partition, entry, &mut delivered);
                    }
                }
                Err(store::Error::Trimmed { oldest }) => {
                    return Err(WatchError::Expired { partition, oldest });
                }
                Err(error) => return Err(error.into()),
            },
        }
        let told = &mut self.told[usize::from(partition.0)];
        if self.position.sequences[usize::from(partition.0)] >= told.until {
            told.revisions.clear();
        }
        Ok((delivered, false))
    }

    /// Passes one command of the log, and delivers of it what matches.
    fn pass(&mut self, partition: Partition, entry: &Logged, delivered: &mut Vec<Delivered>) {
        *self.place(partition) = entry.sequence;
        if entry.job.org != self.scope.org || !self.is_sent(partition, &entry.job.job_id) {
            return;
        }
        let told = self.told[usize::from(partition.0)].revisions.get(&entry.job.job_id).copied().unwrap_or(0);
        let matches = |event: &&LoggedEvent| {
            event.event.revision > told
                && (self.scope.event_types.is_empty()
                    || self.scope.event_types.contains(&event.event.r#type()))
                && self.scope.filter.matches_event(&event.event)
        };
        let events: Vec<_> = entry.events.iter().filter(matches).cloned().collect();
        if !events.is_empty() {
            delivered.push(Delivered { events, position: self.position.clone() });
        }
    }

    /// Whether the snapshot has come to a partition.
    fn has_begun(&self, partition: Partition) -> bool {
        self.position.snapshot.as_ref().is_none_or(|snapshot| partition.0 <= snapshot.partition)
    }

    /// Whether the snapshot has come past a job.
    fn is_sent(&self, partition: Partition, job_id: &str) -> bool {
        self.position.snapshot.as_ref().is_none_or(|snapshot| {
            partition.0 < snapshot.partition
                || partition.0 == snapshot.partition && job_id <= snapshot.job_id.as_str()
        })
    }

    /// Whether the snapshot can go on: the place has passed what the chunk before could hold.
    fn is_chunk_due(&self) -> bool {
        self.position.snapshot.as_ref().is_some_and(|snapshot| {
            let partition = usize::from(snapshot.partition);
            self.position.sequences[partition] >= self.told[partition].until
        })
    }

    /// Reads the next jobs of the snapshot. `None`: none of them matched.
    async fn chunk(&mut self) -> Result<Option<Delivery>, WatchError> {
        let Some(snapshot) = self.position.snapshot.clone() else { return Ok(None) };
        let partition = Partition(snapshot.partition);
        let job_ids = self.chunk_job_ids(partition, &snapshot.job_id).await?;
        if job_ids.is_empty() {
            return Ok(self.next_partition(partition));
        }

        let read = async |job_id| {
            let key = JobKey { org: self.scope.org.clone(), job_id };
            let parts = self.engine.job_by_key(partition, &key, &self.scope.views).await;
            (key.job_id, parts)
        };
        let mut reads = pin!(stream::iter(job_ids).map(read).buffered(CHUNK_READS));
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        let mut revisions = HashMap::new();
        let mut last = String::new();
        let began = Instant::now();
        while bytes < CHUNK_BYTES
            && (last.is_empty() || began.elapsed() < CHUNK_LASTS)
            && let Some((job_id, parts)) = reads.next().await
        {
            last.clone_from(&job_id);
            let Some(parts) = parts? else { continue };
            revisions.insert(job_id, parts.job.revision);
            if self.scope.filter.matches_snapshot(&parts.job) {
                let job = Bytes::from(JobDetails::from(parts).encode_to_vec());
                bytes += job.len();
                jobs.push(job);
            }
        }
        // What was read is durable, so the head is past all of it.
        let until = *self.engine.shared.store.head(partition).borrow();
        self.told[usize::from(partition.0)] = Told { revisions, until };
        self.position.snapshot = Some(SnapshotPosition { partition: partition.0, job_id: last });
        Ok((!jobs.is_empty()).then_some(Delivery::Snapshot(jobs)))
    }

    async fn chunk_job_ids(&self, partition: Partition, after: &str) -> Result<Vec<String>, WatchError> {
        let wanted = self.scope.filter.job_ids();
        if wanted.is_empty() {
            let records = self.engine.records(partition);
            let found = records.jobs_after(&self.scope.org, after, CHUNK_JOBS).await?;
            return Ok(found.into_iter().filter_map(|record| record.job).map(|job| job.job_id).collect());
        }
        let partitions = self.engine.shared.store.partitions();
        let here = |job_id: &&String| ids::partition_of_job(&self.scope.org, job_id, partitions) == partition;
        let rest = wanted.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        Ok(rest.filter(here).take(CHUNK_JOBS).cloned().collect())
    }

    fn next_partition(&mut self, done: Partition) -> Option<Delivery> {
        let next = done.0 + 1;
        if next == self.engine.shared.store.partitions() {
            self.position.snapshot = None;
            return Some(Delivery::SnapshotComplete);
        }
        // What happened there until now is in its records.
        *self.place(Partition(next)) = self.engine.tail(Partition(next)).head();
        self.position.snapshot = Some(SnapshotPosition { partition: next, job_id: String::new() });
        None
    }

    fn place(&mut self, partition: Partition) -> &mut Sequence {
        &mut self.position.sequences[usize::from(partition.0)]
    }
}
