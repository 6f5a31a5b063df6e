//! The log as those read it who have fallen behind the tail: a stretch at a time, each read and decoded once for all who
//! come to it soon after one another, as they do when many begin with the oldest event.
//!
//! It is read by the first who comes, in a turn of its stream. Stores answer that read without a pause; one that did not would have
//! all wait for a client that does not read.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OnceCell;

use super::logged::Logged;
use crate::store::{self, Partition, Sequence, Store};

/// How much of the log is read at once.
const READ_BYTES: usize = 1 << 20;

/// How many pages are kept at most, those that are being read included.
const PAGES_MAX: usize = 64;

/// The pages of one partition.
pub(super) struct Pages {
    partition: Partition,
    capacity_bytes: usize,
    kept: Mutex<Kept>,
}

/// The one that was wanted last is the last.
#[derive(Default)]
struct Kept(VecDeque<Page>);

#[derive(Clone)]
struct Page {
    /// It has what comes after this place.
    start: Sequence,
    read: Arc<OnceCell<Read>>,
}

/// What was read of a page.
struct Read {
    /// In order; never empty in a page that is kept.
    entries: Vec<Arc<Logged>>,
    weight_bytes: usize,
}

impl Pages {
    pub(super) fn new(partition: Partition, capacity_bytes: usize) -> Self {
        Self { partition, capacity_bytes, kept: Mutex::default() }
    }

    /// Some of what comes after a place, in order. None where nothing does.
    ///
    /// # Errors
    /// The store's: what comes next is no longer kept, or cannot be read.
    pub(super) async fn after(&self, store: &dyn Store, place: Sequence) -> store::Result<Vec<Arc<Logged>>> {
        let oldest = store.oldest(self.partition);
        if place.next() < oldest {
            self.kept().0.retain(|page| page.start.next() >= oldest);
            return Err(store::Error::Trimmed { oldest });
        }
        let page = self.kept().want(place);
        let read = page.read.get_or_try_init(|| Read::after(store, self.partition, page.start)).await;
        let entries = match read {
            Ok(Read { entries, .. }) if !entries.is_empty() => entries,
            unread => {
                self.kept().0.retain(|kept| !Arc::ptr_eq(&kept.read, &page.read));
                return unread.map(|_| Vec::new());
            }
        };
        self.kept().shrink(self.capacity_bytes);
        let first = entries.partition_point(|entry| entry.sequence <= place);
        Ok(entries[first..].to_vec())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// The page that has what comes after a place, or that is to have it.
    fn want(&mut self, place: Sequence) -> Page {
        let found = self.0.iter().position(|page| page.has(place)).and_then(|found| self.0.remove(found));
        let page = found.unwrap_or_else(|| Page { start: place, read: Arc::default() });
        self.0.push_back(page.clone());
        page
    }

    /// Lets go of those that were not wanted for longest; never of the last.
    fn shrink(&mut self, capacity_bytes: usize) {
        let mut bytes: usize = self.0.iter().map(Page::weight_bytes).sum();
        while (bytes > capacity_bytes || self.0.len() > PAGES_MAX) && self.0.len() > 1 {
            bytes -= self.0.pop_front().map_or(0, |page| page.weight_bytes());
        }
    }
}

impl Page {
    fn has(&self, place: Sequence) -> bool {
        let newest = self.read.get().and_then(|read| read.entries.last());
        place == self.start || place > self.start && newest.is_some_and(|newest| place < newest.sequence)
    }

    fn weight_bytes(&self) -> usize {
        self.read.get().map_or(0, |read| read.weight_bytes)
    }
}

impl Read {
    async fn after(store: &dyn Store, partition: Partition, place: Sequence) -> store::Result<Self> {
        let records = store.log(partition, place, READ_BYTES).await?;
        let entries: store::Result<Vec<_>> =
            records.iter().map(|record| Logged::decode(record).map(Arc::new)).collect();
        let entries = entries?;
        let weight_bytes = entries.iter().map(|entry| entry.weight_bytes()).sum();
        Ok(Self { entries, weight_bytes })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::{Batch, JobKey, LogRecord, MemoryStore};

    const PARTITION: Partition = Partition(0);

    /// Entries of 300 KB, so that three are a page.
    async fn store(entries: u64) -> MemoryStore {
        let store = MemoryStore::new();
        for sequence in 1..=entries {
            let sequence = Sequence(sequence);
            let job = JobKey { org: "org".to_owned(), job_id: "job".to_owned() };
            let entry =
                crate::proto::storage::v1::LogEntry { job_id: "x".repeat(300_000), ..Default::default() };
            let bytes = prost::Message::encode_to_vec(&entry).into();
            let record = LogRecord { sequence, job, deletes_job: false, bytes, transient: Bytes::new() };
            let batch = Batch { first: sequence, entries: vec![record], writes: Vec::new() };
            store.commit(PARTITION, batch).await.unwrap();
        }
        store
    }

    fn sequences(entries: &[Arc<Logged>]) -> Vec<u64> {
        entries.iter().map(|entry| entry.sequence.0).collect()
    }

    #[tokio::test]
    async fn a_page_is_read_once_for_all_who_come_to_it() {
        let (store, pages) = (store(7).await, Pages::new(PARTITION, 1 << 20));
        let first = pages.after(&store, Sequence(0)).await.unwrap();
        assert_eq!(sequences(&first), [1, 2, 3]);
        let again = pages.after(&store, Sequence(0)).await.unwrap();
        assert!(Arc::ptr_eq(&first[0], &again[0]), "it was not read again");
        let within = pages.after(&store, Sequence(2)).await.unwrap();
        assert_eq!(sequences(&within), [3]);
        assert!(Arc::ptr_eq(&first[2], &within[0]));
        assert_eq!(sequences(&pages.after(&store, Sequence(3)).await.unwrap()), [4, 5, 6]);
        assert_eq!(sequences(&pages.after(&store, Sequence(6)).await.unwrap()), [7]);
        assert_eq!(sequences(&pages.after(&store, Sequence(7)).await.unwrap()), [0; 0], "nothing follows");
        assert_eq!(pages.kept().0.len(), 3, "and nothing is no page");
    }

    #[tokio::test]
    async fn those_wanted_last_are_kept_and_what_is_trimmed_is_not() {
        let (store, pages) = (store(9).await, Pages::new(PARTITION, 0));
        let first = pages.after(&store, Sequence(0)).await.unwrap();
        pages.after(&store, Sequence(3)).await.unwrap();
        assert_eq!(pages.kept().0.len(), 1, "the last is kept, however large");
        let again = pages.after(&store, Sequence(0)).await.unwrap();
        assert!(!Arc::ptr_eq(&first[0], &again[0]));
        store.trim(PARTITION, Sequence(3)).await.unwrap();
        let refused = pages.after(&store, Sequence(1)).await;
        assert!(matches!(refused, Err(store::Error::Trimmed { oldest: Sequence(3) })), "{refused:?}");
        assert_eq!(sequences(&pages.after(&store, Sequence(2)).await.unwrap()), [3, 4, 5]);
    }
}
