//! A store that is gone with the process: the reference that the other backends are held against, and what tests and
//! simulations run on.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Batch, Error, Export, ExportError, Extent, Item, JobKey, LogRecord, Partition, Result, Scan, Sequence,
    Store, StoreId,
    log::{Page, head_after},
};
use crate::proto::storage::v1::LogBatch;

/// A store in memory, with one partition.
pub struct MemoryStore {
    id: StoreId,
    state: RwLock<State>,
    head: watch::Sender<Sequence>,
}

struct State {
    records: BTreeMap<Bytes, Bytes>,
    /// The batches that have entries, by the sequence of their last event.
    batches: BTreeMap<Sequence, Vec<LogRecord>>,
    history: BTreeMap<(JobKey, Sequence), LogRecord>,
    oldest: Sequence,
    /// Why no further batch is taken.
    failure: Option<Error>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            records: BTreeMap::new(),
            batches: BTreeMap::new(),
            history: BTreeMap::new(),
            oldest: Sequence(1),
            failure: None,
        };
        Self { id: StoreId(Uuid::now_v7()), state: RwLock::new(state), head: watch::Sender::new(Sequence(0)) }
    }

    /// No change of the state can panic half-way, so that a poisoned lock holds a whole state.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("id", &self.id).finish_non_exhaustive()
    }
}

impl State {
    fn apply(&mut self, batch: Batch, end: Sequence) {
        for (key, value) in batch.writes {
            match value {
                Some(value) => self.records.insert(key, value),
                None => self.records.remove(&key),
            };
        }
        for entry in batch.entries.iter().filter(|entry| !entry.bytes.is_empty()) {
            // As much of it as outlives the log.
            let entry = LogRecord { transient: Bytes::new(), ..entry.clone() };
            self.history.insert((entry.job.clone(), entry.sequence), entry);
        }
        if !batch.entries.is_empty() {
            self.batches.insert(end, batch.entries);
        }
    }

    fn items(&self) -> Vec<Item> {
        let records = self.records.iter().map(|(key, value)| Item::Record(key.clone(), Some(value.clone())));
        let entries = self.history.values().cloned().map(Item::Entry);
        let mut first = self.oldest;
        let batches = self.batches.iter().map(|(end, entries)| {
            let entries = entries.iter().map(LogRecord::reference).collect();
            let batch = LogBatch { first_sequence: first.0, entries };
            first = end.next();
            Item::Batch(batch)
        });
        records.chain(entries).chain(batches).collect()
    }

    fn trim(&mut self, before: Sequence) {
        while self.batches.len() > 1
            && let Some(batch) = self.batches.first_entry()
            && *batch.key() < before
        {
            let (end, entries) = batch.remove_entry();
            self.oldest = end.next();
            for entry in entries.into_iter().filter(|entry| entry.deletes_job) {
                self.history.retain(|(job, sequence), _| *job != entry.job || *sequence > entry.sequence);
            }
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn id(&self) -> StoreId {
        self.id
    }

    fn partitions(&self) -> u16 {
        1
    }

    async fn get(&self, _partition: Partition, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.read().records.get(key).cloned())
    }

    async fn scan(&self, _partition: Partition, scan: Scan) -> Result<Vec<(Bytes, Bytes)>> {
        let Scan { start, end, reverse, limit } = scan;
        if start >= end {
            return Ok(Vec::new());
        }
        let state = self.read();
        let bounds = (Bound::Included(start.as_slice()), Bound::Excluded(end.as_slice()));
        let range = state.records.range::<[u8], _>(bounds);
        let owned = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
        Ok(if reverse {
            range.rev().take(limit).map(owned).collect()
        } else {
            range.take(limit).map(owned).collect()
        })
    }

    async fn commit(&self, _partition: Partition, batch: Batch) -> Result<()> {
        let mut state = self.write();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let end = head_after(&batch, *self.head.borrow())
            .inspect_err(|failure| state.failure = Some(failure.clone()))?;
        state.apply(batch, end);
        self.head.send_replace(end);
        Ok(())
    }

    async fn settle(&self, _partition: Partition) -> Result<()> {
        self.read().failure.clone().map_or(Ok(()), Err)
    }

    fn head(&self, _partition: Partition) -> watch::Receiver<Sequence> {
        self.head.subscribe()
    }

    fn oldest(&self, _partition: Partition) -> Sequence {
        self.read().oldest
    }

    async fn log(&self, _partition: Partition, after: Sequence, bytes_max: usize) -> Result<Vec<LogRecord>> {
        let state = self.read();
        let oldest = state.oldest;
        if after.next() < oldest {
            return Err(Error::Trimmed { oldest });
        }
        let mut page = Page::new(bytes_max);
        let batches = state.batches.range((Bound::Excluded(after), Bound::Unbounded));
        for entry in batches.flat_map(|(_, entries)| entries).filter(|entry| entry.sequence > after) {
            if !page.push(entry.clone()) {
                break;
            }
        }
        Ok(page.into_records())
    }

    async fn history(
        &self,
        _partition: Partition,
        job: &JobKey,
        after: Sequence,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>> {
        let state = self.read();
        let mut page = Page::new(bytes_max);
        let start = (job.clone(), after.next());
        for (_, entry) in state.history.range(start..).take_while(|((of, _), _)| of == job) {
            if !page.push(entry.clone()) {
                break;
            }
        }
        Ok(page.into_records())
    }

    async fn trim(&self, _partition: Partition, before: Sequence) -> Result<()> {
        self.write().trim(before);
        Ok(())
    }

    async fn export(&self, _partition: Partition) -> std::result::Result<Box<dyn Export>, ExportError> {
        let state = self.read();
        let extent = Extent { oldest: state.oldest, head: *self.head.borrow() };
        Ok(Box::new(MemoryExport { items: Some(state.items()), extent }))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

struct MemoryExport {
    items: Option<Vec<Item>>,
    extent: Extent,
}

#[async_trait]
impl Export for MemoryExport {
    async fn next(&mut self) -> std::result::Result<Option<Vec<Item>>, ExportError> {
        Ok(self.items.take())
    }

    fn extent(&self) -> Extent {
        self.extent
    }
}
