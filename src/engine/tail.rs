//! The newest part of a partition's log, in memory, shared by all who follow it, and the bells that wake them.
//!
//! A follower is a place in the log. It reads on from there, out of the tail while its place is within it and out of the
//! store when it has fallen behind. A bell says only "there is more for you": a missed ring costs nothing, a thousand
//! rings cost one read.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use super::logged::Logged;
use crate::store::{JobKey, Partition, Sequence};

/// Entries given out in one read, so that nobody holds the lock for long.
const ENTRIES_PER_READ: usize = 256;

/// About how much is given out in one read, so that a follower that stalls holds little.
const BYTES_PER_READ: usize = 1 << 20;

/// The shared tail of one partition.
pub(super) struct Tail {
    partition: Partition,
    capacity_bytes: usize,
    /// Where followers begin, and up to where they may pass on unread: the bells for what is up to here have been rung.
    head: watch::Sender<Sequence>,
    recent: RwLock<Recent>,
    bells: Mutex<Bells>,
}

struct Recent {
    /// Everything after this place, up to the newest, is in `entries`.
    start: Sequence,
    entries: VecDeque<Arc<Logged>>,
    bytes: usize,
}

/// What a tail has after a place.
pub(super) enum TailRead {
    /// These, in order; at least one.
    Entries(Vec<Arc<Logged>>),
    /// Nothing: the place is the newest.
    CaughtUp,
    /// The place is older than the tail: the store has it.
    Behind,
}

/// Rings for one follower.
pub(super) struct Bell {
    notify: Notify,
    /// For each partition the place before the first entry rung for since it was last taken; `SILENT` for none.
    rung: Vec<AtomicU64>,
}

const SILENT: u64 = u64::MAX;

/// Of a job and of an organization in the order in which they were hung, so that a test that repeats rings alike.
#[derive(Default)]
struct Bells {
    next_id: u64,
    by_job: HashMap<JobKey, BTreeMap<u64, Arc<Bell>>>,
    by_org: HashMap<String, BTreeMap<u64, Arc<Bell>>>,
}

/// A follower's registration. Dropping it ends it.
pub(super) struct Subscription {
    tail: Arc<Tail>,
    id: u64,
    org: String,
    /// Empty: every job of the organization.
    job_ids: Vec<String>,
}

impl Tail {
    pub(super) fn new(partition: Partition, head: Sequence, capacity_bytes: usize) -> Self {
        Self {
            partition,
            capacity_bytes,
            head: watch::Sender::new(head),
            recent: RwLock::new(Recent { start: head, entries: VecDeque::new(), bytes: 0 }),
            bells: Mutex::default(),
        }
    }

    /// The newest place. Whoever reads it finds the bells for everything up to it rung.
    pub(super) fn head(&self) -> Sequence {
        *self.head.borrow()
    }

    /// The newest place as it moves, for those who read all. The store's own head moves before the tail has the entry.
    pub(super) fn heads(&self) -> watch::Receiver<Sequence> {
        self.head.subscribe()
    }

    /// Adds what has become durable, and wakes those it may concern.
    pub(super) fn publish(&self, logged: &[Arc<Logged>]) {
        let Some(last) = logged.last() else { return };
        {
            let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
            for entry in logged {
                recent.bytes += entry.weight_bytes();
                recent.entries.push_back(Arc::clone(entry));
            }
            while recent.bytes > self.capacity_bytes {
                let Some(oldest) = recent.entries.pop_front() else { break };
                recent.bytes -= oldest.weight_bytes();
                recent.start = oldest.sequence;
            }
        }
        {
            let bells = self.bells();
            // Only the first ring of a bell tells anything: each is rung once, for the first entry that concerns it.
            let (mut jobs, mut orgs) = (HashSet::new(), HashSet::new());
            for entry in logged.iter().filter(|entry| !entry.events.is_empty()) {
                let of_job = bells.by_job.get(&entry.job).filter(|_| jobs.insert(&entry.job));
                let of_org = bells.by_org.get(&entry.job.org).filter(|_| orgs.insert(&entry.job.org));
                for bell in of_job.into_iter().chain(of_org).flat_map(BTreeMap::values) {
                    bell.ring(self.partition, entry.before);
                }
            }
        }
        self.head.send_replace(last.sequence);
    }

    /// What comes after a place. That may be more than [`head`](Self::head) shows: who is woken before the head moves finds
    /// here what the bell rang for, for it does not ring again.
    pub(super) fn after(&self, place: Sequence) -> TailRead {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        if place < recent.start {
            return TailRead::Behind;
        }
        let first = recent.entries.partition_point(|entry| entry.sequence <= place);
        if first == recent.entries.len() {
            return TailRead::CaughtUp;
        }
        let mut bytes = 0;
        let fits = |entry: &&Arc<Logged>| {
            let is_first = bytes == 0;
            bytes += entry.weight_bytes();
            is_first || bytes <= BYTES_PER_READ
        };
        let entries = recent.entries.range(first..).take(ENTRIES_PER_READ).take_while(fits);
        TailRead::Entries(entries.cloned().collect())
    }

    /// Has a bell rung for what happens to some jobs of an organization, or to all. Register first, then take up a place.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        org: &str,
        job_ids: Vec<String>,
        bell: &Arc<Bell>,
    ) -> Subscription {
        let mut bells = self.bells();
        let id = bells.next_id;
        bells.next_id += 1;
        if job_ids.is_empty() {
            bells.by_org.entry(org.to_owned()).or_default().insert(id, Arc::clone(bell));
        }
        for job_id in &job_ids {
            let job = JobKey { org: org.to_owned(), job_id: job_id.clone() };
            bells.by_job.entry(job).or_default().insert(id, Arc::clone(bell));
        }
        drop(bells);
        Subscription { tail: Arc::clone(self), id, org: org.to_owned(), job_ids }
    }

    fn bells(&self) -> MutexGuard<'_, Bells> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bells there are, a follower's under each of its jobs.
    #[cfg(test)]
    pub(super) fn bells_hung(&self) -> usize {
        let bells = self.bells();
        bells.by_job.values().chain(bells.by_org.values()).map(BTreeMap::len).sum()
    }
}

impl Bell {
    pub(super) fn new(partitions: u16) -> Self {
        Self { notify: Notify::new(), rung: (0..partitions).map(|_| AtomicU64::new(SILENT)).collect() }
    }

    fn ring(&self, partition: Partition, before: Sequence) {
        let rung = &self.rung[usize::from(partition.0)];
        let _ = rung.compare_exchange(SILENT, before.0, Ordering::AcqRel, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// Whether a partition rang since it was last taken.
    pub(super) fn is_silent(&self, partition: Partition) -> bool {
        self.rung_for(partition).is_none()
    }

    /// The place before the first entry that a partition rang for since it was last taken, if it did.
    pub(super) fn rung_for(&self, partition: Partition) -> Option<Sequence> {
        let before = self.rung[usize::from(partition.0)].load(Ordering::Acquire);
        (before != SILENT).then_some(Sequence(before))
    }

    /// The same, and silences it.
    pub(super) fn take(&self, partition: Partition) -> Option<Sequence> {
        let before = self.rung[usize::from(partition.0)].swap(SILENT, Ordering::AcqRel);
        (before != SILENT).then_some(Sequence(before))
    }

    /// Returns when any partition has rung since the last return.
    pub(super) async fn rung(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        fn remove<K: std::hash::Hash + Eq>(
            bells: &mut HashMap<K, BTreeMap<u64, Arc<Bell>>>,
            key: &K,
            id: u64,
        ) {
            if let Some(others) = bells.get_mut(key) {
                others.remove(&id);
                if others.is_empty() {
                    bells.remove(key);
                }
            }
        }
        let mut bells = self.tail.bells();
        if self.job_ids.is_empty() {
            remove(&mut bells.by_org, &self.org, self.id);
        }
        for job_id in &self.job_ids {
            let job = JobKey { org: self.org.clone(), job_id: job_id.clone() };
            remove(&mut bells.by_job, &job, self.id);
        }
    }
}
