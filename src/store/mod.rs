//! Where a job's record and the log of its events are kept.
//!
//! [`Store`] is the whole of what the engine asks of a backend: ordered keys, an append-only log, and one atomic durable
//! step for both. It knows nothing of jobs. [`Records`] lays the typed records over it and is the only place that knows
//! the keys and the encodings. What every backend promises is written as tests in `conformance.rs`.
//!
//! This module must not decide anything about a job, and must not know who asks.

mod backup;
mod barrier;
#[cfg(test)]
mod conformance;
mod export;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
mod log;
mod memory;
mod records;
mod sled;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::{
    backup::{BackupError, BackupInfo, BackupReader, BackupWriter},
    export::{EXPORT_WAITING_BYTES_MAX, Export, ExportError, Extent, Item},
    keys::table_name,
    memory::MemoryStore,
    records::{Dependent, Due, Index, IndexPage, IndexPlace, JobKey, Records, TaskRun},
    sled::{OpenError, RestoreError, Restored, SledOptions, SledStore},
};

/// Names a store. A new store gets a new one, also a restored copy, so that a position in the old one is not taken for a
/// position in the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId(pub Uuid);

/// A part of the store with a writer and a log of its own. A job lives in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

/// A place in a partition's log: the number of an event, from 1. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One command's worth of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The sequence of its last event. The entry takes one sequence for each event, and one if it has none; its first is
    /// the one after the entry before.
    pub sequence: Sequence,
    /// The job that the command was about.
    pub job: JobKey,
    /// The command deletes the job: the job's history goes when the log is trimmed past this entry.
    pub deletes_job: bool,
    /// What the job's history keeps: a `storage.v1.LogEntry`, encoded. At most a few MiB. Where it is empty the entry is in
    /// no history.
    pub bytes: Bytes,
    /// What is forgotten when the log is trimmed past the entry: more of the `LogEntry`, to be merged into it.
    pub transient: Bytes,
}

/// What is made durable in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The sequence of the first event: one after the head.
    pub first: Sequence,
    /// The new end of the log, in order. Empty: only records are written.
    pub entries: Vec<LogRecord>,
    /// The records to write (`Some`) and to remove (`None`), each key once.
    pub writes: Vec<(Bytes, Option<Bytes>)>,
}

/// Which keys to read, in which order, and how many.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The smallest key, within.
    pub start: Vec<u8>,
    /// The greatest key, without.
    pub end: Vec<u8>,
    /// From the greatest down.
    pub reverse: bool,
    /// At most so many keys; where fewer are found there are no more.
    pub limit: usize,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Entries after the asked place are trimmed already. The caller begins anew, from a snapshot.
    #[error("the log begins at {oldest}, and older entries are no longer kept")]
    Trimmed {
        /// The sequence of the oldest event kept.
        oldest: Sequence,
    },
    /// What was read is not what was written. The caller must not use it, and must not write on top of it.
    #[error("the store is damaged: {0}; restore a backup with holdpoint restore")]
    Corrupt(String),
    /// The backend failed. A commit that ends so may or may not have happened: the caller must stop deciding.
    #[error("the store failed: {0}")]
    Failed(Arc<dyn std::error::Error + Send + Sync>),
}

/// A result of the store.
pub type Result<T> = std::result::Result<T, Error>;

/// What the engine asks of a backend.
///
/// # Promises
/// * A batch is atomic: after a crash all of it is there or nothing, and never a later one without an earlier one.
/// * [`commit`](Store::commit) returns after the batch is durable, and only then does [`head`](Store::head) show it and
///   [`log`](Store::log) return it.
/// * [`get`](Store::get) and [`scan`](Store::scan) see each batch as soon as `commit` was called, or later; whoever
///   must not see what a crash could take back calls [`settle`](Store::settle) before using what was read.
/// * After an error of `commit` every further `commit` fails.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Names this store.
    fn id(&self) -> StoreId;

    /// How many partitions there are; they are numbered from 0.
    fn partitions(&self) -> u16;

    /// The value of a key.
    async fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>>;

    /// Keys with their values, in order. A scan is not one moment: batches committed meanwhile may show in part.
    async fn scan(&self, partition: Partition, scan: Scan) -> Result<Vec<(Bytes, Bytes)>>;

    /// Makes a batch durable. Only one may be under way in a partition, and `batch.first` must follow on the head.
    async fn commit(&self, partition: Partition, batch: Batch) -> Result<()>;

    /// Returns when all that reads could have seen before the call is durable, and the head is past it.
    async fn settle(&self, partition: Partition) -> Result<()>;

    /// The sequence of the newest durable event. Changes after each commit.
    fn head(&self, partition: Partition) -> watch::Receiver<Sequence>;

    /// The sequence of the oldest event kept; one past the head where there is none.
    fn oldest(&self, partition: Partition) -> Sequence;

    /// The log's entries after a place, in order: at least one if there is one, and no more than about `bytes_max`.
    /// [`Error::Trimmed`] where `after` lies before `oldest - 1`.
    async fn log(&self, partition: Partition, after: Sequence, bytes_max: usize) -> Result<Vec<LogRecord>>;

    /// The same, of what histories do not keep: `bytes` is empty in each. There may be far less to read.
    async fn transient_log(
        &self,
        partition: Partition,
        after: Sequence,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>> {
        let records = self.log(partition, after, bytes_max).await?;
        Ok(records.into_iter().map(|record| LogRecord { bytes: Bytes::new(), ..record }).collect())
    }

    /// The log's entries of one job after a place, in order: at least one if there is one, and no more than about
    /// `bytes_max`. Trimming the log leaves them, until it passes one that `deletes_job`.
    async fn history(
        &self,
        partition: Partition,
        job: &JobKey,
        after: Sequence,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>>;

    /// Forgets log entries before a place, or fewer: the newest batch always stays.
    async fn trim(&self, partition: Partition, before: Sequence) -> Result<()>;

    /// Begins to copy a partition while it changes.
    async fn export(&self, partition: Partition) -> std::result::Result<Box<dyn Export>, ExportError>;

    /// Whether the files look as if they were damaged, which a crash can leave as well. Then the backend may have recovered from
    /// damage by forgetting something: nothing may be served before all of it was looked at, and found to fit.
    fn is_suspect(&self) -> bool {
        false
    }

    /// All of it was looked at, and fits.
    ///
    /// # Errors
    /// That cannot be noted.
    fn trust(&self) -> Result<()> {
        Ok(())
    }

    /// How many bytes more could be written; `None` where that is not known, or does not matter.
    fn room(&self) -> Option<u64> {
        None
    }

    /// How much its files take. It asks the file system: not to be called for each command.
    fn disk_bytes(&self) -> u64 {
        0
    }

    /// Ends the store in good order. Nothing may be asked of it afterwards.
    async fn close(&self) -> Result<()>;
}
