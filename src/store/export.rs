//! A store as a sequence of items: what a backup holds, and what a store is made from again.

use std::{collections::BTreeMap, mem};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Batch, Error, LogRecord, Sequence};
use crate::proto::storage::v1::{LogBatch, LogReference};

/// What may wait for an export that is not taken as fast as the store changes.
pub const EXPORT_WAITING_BYTES_MAX: usize = 64 << 20;

/// About how much an export gives at once.
pub(super) const EXPORT_PAGE_BYTES: usize = 512 << 10;

/// Something that a partition holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The value of a key; `None`: there is none.
    Record(Bytes, Option<Bytes>),
    /// An entry of a job's history. What of it is not in there comes with its batch.
    Entry(LogRecord),
    /// Entries of the log that were committed together.
    Batch(LogBatch),
}

/// How far a partition's log reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The sequence of the oldest event kept.
    pub oldest: Sequence,
    /// The sequence of the newest event.
    pub head: Sequence,
}

/// Why a store is not exported.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExportError {
    /// One at a time.
    #[error("another export is under way")]
    UnderWay,
    /// The store changes faster than the export is taken.
    #[error("the export has fallen behind the changes of the store")]
    Behind,
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A copy of a partition, taken piece by piece while it changes.
///
/// Of several items about one key the last stands; all of them together are the partition as it was when the last was
/// given. Dropping the export ends it.
#[async_trait]
pub trait Export: Send {
    /// The next items, about half a MiB of them; none after the last.
    ///
    /// # Errors
    /// See [`ExportError`]. Nothing more comes then.
    async fn next(&mut self) -> Result<Option<Vec<Item>>, ExportError>;

    /// How far the log reaches in what was given. To be asked after the last item.
    fn extent(&self) -> Extent;
}

/// What has changed in a partition while it is exported, and was not given out yet.
#[derive(Debug, Default)]
pub(super) struct Changed {
    records: BTreeMap<Bytes, Option<Bytes>>,
    entries: Vec<LogRecord>,
    batches: Vec<LogBatch>,
    bytes: usize,
}

impl Changed {
    /// Takes what a batch does. Nothing more once too much waits.
    pub(super) fn note(&mut self, batch: &Batch) {
        if self.is_too_much() {
            return;
        }
        for (key, value) in &batch.writes {
            // What it replaces is counted still: the bound may come early, never late.
            self.bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
            self.records.insert(key.clone(), value.clone());
        }
        if let Some(log_batch) = log_batch(batch) {
            self.bytes += batch.entries.iter().map(LogRecord::size).sum::<usize>();
            self.entries.extend(batch.entries.iter().filter(|entry| !entry.bytes.is_empty()).cloned());
            self.batches.push(log_batch);
        }
    }

    /// Whether more waits than may.
    pub(super) fn is_too_much(&self) -> bool {
        self.bytes > EXPORT_WAITING_BYTES_MAX
    }

    /// All that waits, as items.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Item> + use<> {
        let Self { records, entries, batches, bytes: _ } = mem::take(self);
        let records = records.into_iter().map(|(key, value)| Item::Record(key, value));
        records.chain(entries.into_iter().map(Item::Entry)).chain(batches.into_iter().map(Item::Batch))
    }
}

/// What the log keeps of a batch beside its entries; `None` where it has none.
pub(super) fn log_batch(batch: &Batch) -> Option<LogBatch> {
    let references = batch.entries.iter().map(LogRecord::reference);
    (!batch.entries.is_empty())
        .then(|| LogBatch { first_sequence: batch.first.0, entries: references.collect() })
}

impl LogRecord {
    /// How much it takes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.transient.len()
    }

    /// Where it is, and what of it is not in the job's history.
    pub(super) fn reference(&self) -> LogReference {
        LogReference {
            org: self.job.org.clone(),
            job_id: self.job.job_id.clone(),
            sequence: self.sequence.0,
            deletes_job: self.deletes_job,
            transient: self.transient.clone(),
            all_transient: self.bytes.is_empty(),
        }
    }
}

impl Item {
    /// About how much it takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Record(key, value) => key.len() + value.as_ref().map_or(0, Bytes::len),
            Self::Entry(record) => record.job.org.len() + record.job.job_id.len() + record.bytes.len(),
            Self::Batch(batch) => batch.entries.iter().map(|entry| 64 + entry.transient.len()).sum(),
        }
    }
}
