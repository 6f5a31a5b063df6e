//! The store of one machine: sled, made durable.
//!
//! A commit is durable once the journal has it ([`journal`], [`committer`]). It is read from memory ([`view`]) until a
//! checkpoint has written it into sled ([`checkpoint`]): a key that changes often is written there once, and what sled
//! leaves half-done in a crash is done again. Where sled's files have grown too far they are written anew ([`compaction`]).
//!
//! sled's flush is made real by [`barrier`](super::barrier); large values are in files beside it ([`values`]); and what it lost without
//! saying so is found when it is opened ([`open`], [`segments`], [`witness`]). Nothing outside this module knows of sled.

mod cache;
mod checkpoint;
mod committer;
mod compaction;
mod database;
mod directory;
mod entry;
mod export;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod journal;
mod open;
mod read;
mod restore;
mod segments;
mod tables;
#[cfg(test)]
mod tests;
mod trim;
mod value;
mod values;
mod view;
mod witness;

use std::{
    fmt,
    io::Read,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use self::{
    committer::Committer,
    directory::Directory,
    export::{Exporting, SledExport},
    open::Opened,
    view::View,
};
pub use self::{
    open::OpenError,
    restore::{RestoreError, Restored},
};
use super::{
    BackupReader, Batch, Error, Export, ExportError, JobKey, LogRecord, Partition, Result, Scan, Sequence,
    Store, StoreId, barrier::Barrier,
};

/// How sled is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SledOptions {
    /// The size of sled's cache, which takes 3 to 4 times as much under reads. Half as much more is for records as they are read.
    pub cache_bytes: u64,
    /// How much gathers in the journal, and in memory, until it is written into sled: keys, values and 256 bytes for each. At most twice as much is there, or after
    /// a crash three times: a start reads it, and commits wait where sled does not keep up. More of it writes less: of several changes of one key in
    /// between, the last.
    pub checkpoint_bytes: u64,
    /// sled's files are written anew when they take more than this, and eight times what is in them, or at [`rest`](Self::rest)
    /// five times. Meanwhile they take about four times what is in them beside. A file of values gets no more when it has so much;
    /// and what is needed of some is copied when all of them have this and twice what is needed, or at rest a sixteenth of this.
    /// For files of values it is 256 MiB at most.
    pub compaction_bytes_min: u64,
    /// The store is at rest when nothing was written into sled for so long. Where nothing waits to be either, the journal keeps no
    /// file to be written over.
    pub rest: Duration,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            checkpoint_bytes: 64 << 20,
            compaction_bytes_min: 64 << 20,
            rest: Duration::from_secs(10),
        }
    }
}

/// A store in a directory, with one partition.
///
/// Dropping it without [`close`](Store::close) is as safe as a crash. Keys whose first letter is one of `E`, `L` and
/// `M`, and the empty key, are its own: a caller that uses them is wrong, and panics.
pub struct SledStore {
    // Ends its thread before the rest goes.
    committer: Committer,
    shared: Arc<Shared>,
}

/// What reads and the committer share.
struct Shared {
    id: StoreId,
    view: View,
    head: watch::Sender<Sequence>,
    oldest: AtomicU64,
    /// How many commits may show in reads.
    applied: AtomicU64,
    durable: watch::Sender<Durable>,
    /// Set when the store is let go of.
    is_closing: AtomicBool,
    /// Set while the store is exported.
    exporting: Mutex<Option<Exporting>>,
    is_suspect: AtomicBool,
    #[cfg(test)]
    failing: Mutex<Option<Step>>,
    /// The disk has no room.
    #[cfg(test)]
    crowded: AtomicBool,
    // Let go after the database.
    directory: Directory,
}

/// How far the store is durable.
#[derive(Clone, Debug, Default)]
struct Durable {
    /// How many commits are.
    applied: u64,
    /// Why no more will be.
    failure: Option<Error>,
}

/// Where a test can make a commit fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Before a commit is durable in the journal.
    Sync,
    /// Before a checkpoint counts.
    Checkpoint,
    /// Before a database that was written anew is named.
    Compaction,
    /// When values are copied, before sled leads to the copies.
    Copied,
    /// When it does, before that is noted.
    Led,
}

impl SledStore {
    /// Opens the store in a directory, or creates it.
    ///
    /// # Errors
    /// When the directory cannot be used, or is not what was left there; see [`OpenError`].
    pub fn open(directory: &Path, options: &SledOptions) -> std::result::Result<Self, OpenError> {
        Self::open_with(directory, options, &Barrier::of_process())
    }

    /// Makes a store in a directory, which must be empty or not be there, from a backup. It has a name of its own. Cut off
    /// at any moment, it leaves a directory that no server opens.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub fn restore(
        directory: &Path,
        options: &SledOptions,
        backup: BackupReader<impl Read>,
    ) -> std::result::Result<Restored, RestoreError> {
        restore::restore(directory, options, backup)
    }

    fn open_with(
        path: &Path,
        options: &SledOptions,
        barrier: &Barrier,
    ) -> std::result::Result<Self, OpenError> {
        let Opened { directory, view, id, head, oldest, writing, behind, is_suspect } =
            open::open(path, options, barrier)?;
        let shared = Arc::new(Shared {
            id,
            view,
            head: watch::Sender::new(head),
            oldest: AtomicU64::new(oldest.0),
            applied: AtomicU64::new(0),
            durable: watch::Sender::new(Durable::default()),
            is_closing: AtomicBool::new(false),
            exporting: Mutex::new(None),
            is_suspect: AtomicBool::new(is_suspect),
            #[cfg(test)]
            failing: Mutex::new(None),
            #[cfg(test)]
            crowded: AtomicBool::new(false),
            directory,
        });
        let committer = Committer::start(Arc::clone(&shared), writing, behind)
            .map_err(OpenError::io("start a thread for", path))?;
        Ok(Self { committer, shared })
    }
}

impl Shared {
    /// Says that nothing more will be durable. Gives the reason that was there first.
    fn fail(&self, failure: Error) -> Error {
        let mut first = failure;
        self.durable.send_modify(|durable| first = durable.failure.get_or_insert(first.clone()).clone());
        first
    }

    /// See [`Store::room`].
    fn room(&self) -> Option<u64> {
        #[cfg(test)]
        if self.crowded.load(Ordering::SeqCst) {
            return Some(0);
        }
        self.directory.room()
    }

    #[cfg(test)]
    fn reach(&self, step: Step) -> Result<()> {
        match *self.failing.lock().unwrap() {
            Some(failing) if failing == step => Err(failed(::sled::Error::Unsupported("injected".into()))),
            _ => Ok(()),
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "a test makes it fail")]
    fn reach(&self, _step: Step) -> Result<()> {
        Ok(())
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SledStore {
    fn id(&self) -> StoreId {
        self.shared.id
    }

    fn partitions(&self) -> u16 {
        1
    }

    async fn get(&self, _partition: Partition, key: &[u8]) -> Result<Option<Bytes>> {
        assert!(!tables::is_reserved(key), "the key is the caller's");
        self.shared.reading(|shared| shared.view.get(key))
    }

    async fn scan(&self, _partition: Partition, scan: Scan) -> Result<Vec<(Bytes, Bytes)>> {
        assert!(!tables::meets_reserved(&scan.start, &scan.end), "the keys are the caller's");
        self.shared.reading(|shared| shared.scan(&scan))
    }

    async fn commit(&self, _partition: Partition, batch: Batch) -> Result<()> {
        let reserved = batch.writes.iter().any(|(key, _)| tables::is_reserved(key));
        assert!(!reserved, "the keys are the caller's");
        self.committer.commit(batch).await
    }

    async fn settle(&self, _partition: Partition) -> Result<()> {
        self.shared.settled().await
    }

    fn head(&self, _partition: Partition) -> watch::Receiver<Sequence> {
        self.shared.head.subscribe()
    }

    fn oldest(&self, _partition: Partition) -> Sequence {
        self.shared.oldest()
    }

    async fn log(&self, _partition: Partition, after: Sequence, bytes_max: usize) -> Result<Vec<LogRecord>> {
        self.shared.reading(|shared| shared.log(after, bytes_max))
    }

    async fn transient_log(
        &self,
        _partition: Partition,
        after: Sequence,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>> {
        self.shared.reading(|shared| shared.transient_log(after, bytes_max))
    }

    async fn history(
        &self,
        _partition: Partition,
        job: &JobKey,
        after: Sequence,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>> {
        self.shared.reading(|shared| shared.history(job, after, bytes_max))
    }

    async fn trim(&self, _partition: Partition, before: Sequence) -> Result<()> {
        self.committer.trim(before).await
    }

    async fn export(&self, _partition: Partition) -> std::result::Result<Box<dyn Export>, ExportError> {
        Ok(Box::new(SledExport::begin(Arc::clone(&self.shared))?))
    }

    fn is_suspect(&self) -> bool {
        self.shared.is_suspect.load(Ordering::SeqCst)
    }

    fn trust(&self) -> Result<()> {
        self.shared.directory.trust().map_err(|error| Error::Failed(Arc::new(error)))?;
        self.shared.is_suspect.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn room(&self) -> Option<u64> {
        self.shared.room()
    }

    fn disk_bytes(&self) -> u64 {
        self.shared.directory.bytes()
    }

    async fn close(&self) -> Result<()> {
        self.committer.close().await
    }
}

/// An error of sled as one of the store.
fn failed(error: ::sled::Error) -> Error {
    match error {
        ::sled::Error::Corruption { .. } => Error::Corrupt(error.to_string()),
        ::sled::Error::CollectionNotFound(_)
        | ::sled::Error::Unsupported(_)
        | ::sled::Error::ReportableBug(_)
        | ::sled::Error::Io(_) => Error::Failed(Arc::new(error)),
    }
}
