//! Opening: everything that can be known to be wrong with a data directory is found here, before anything is served.

use std::{
    any::Any,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use ::sled::Db;
use prost::Message as _;

use super::{
    SledOptions,
    database::Database,
    directory::Directory,
    failed,
    segments::{self, Empty},
    stage, tables,
    value::{self, corrupt},
    witness::Witness,
};
use crate::{
    proto::storage::v1::LogBatch,
    store::{Error, Result as StoreResult, Sequence, StoreId, barrier::Barrier},
};

/// How long sled may leave data in memory that nobody waits for, and how often it cleans up.
const FLUSH_EVERY_MILLISECONDS: u64 = 200;
/// How long to wait for the lock of the database, and how often to look.
const LOCK_ATTEMPTS_MAX: usize = 500;
const LOCK_RETRY_EVERY: Duration = Duration::from_millis(10);

/// Why a data directory was not opened. The texts are for an operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another store in this one, has it open.
    #[error("the data directory {} is in use by another process: stop that one first", directory.display())]
    Held {
        /// The data directory.
        directory: PathBuf,
    },
    /// A newer version wrote it.
    #[error(
        "the data directory has format {format}, and this version knows formats up to {known}: \
         run the version that wrote it, or a newer one"
    )]
    Newer {
        /// Its format.
        format: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// There is data, and nothing that says what it is.
    #[error(
        "the data directory {} has data but no FORMAT file: it is not a data directory, or lost a part of it; \
         restore a backup with holdpoint restore",
        directory.display()
    )]
    Unformatted {
        /// The data directory.
        directory: PathBuf,
    },
    /// A file is not what was written.
    #[error("{} is damaged: restore a backup with holdpoint restore", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
    },
    /// What is flushed does not reach the disk.
    #[error(
        "flushed data does not reach the disk: this build does not replace sync_file_range, \
         so that acknowledged changes could be lost; use another build"
    )]
    NotDurable,
    /// sled's files are those of another store.
    #[error(
        "FORMAT names store {expected}, and the database is of store {found}: \
         the data directory is put together from two, or FORMAT is damaged; restore a backup with holdpoint restore"
    )]
    Foreign {
        /// The id in FORMAT.
        expected: String,
        /// The id in the database.
        found: String,
    },
    /// The store had data and has none now.
    #[error("the database is empty, although it was in use before: restore a backup with holdpoint restore")]
    Emptied,
    /// The store had more than it has now.
    #[error(
        "the database ends at {head}, although it reached {witness} before: \
         acknowledged changes are lost; restore a backup with holdpoint restore"
    )]
    Behind {
        /// The newest sequence in the database.
        head: Sequence,
        /// The sequence it is known to have reached.
        witness: Sequence,
    },
    /// The content is not what was written.
    #[error(transparent)]
    Damaged(Error),
    /// sled's files are not what sled wrote.
    #[error(
        "the database in {} is damaged ({cause}): restore a backup with holdpoint restore",
        directory.display()
    )]
    Broken {
        /// Where sled's files are.
        directory: PathBuf,
        /// What sled says of it.
        cause: String,
    },
    /// The database could not be opened.
    #[error("the database cannot be opened: {0}")]
    Database(Box<dyn std::error::Error + Send + Sync>),
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// A store as it was found.
pub(super) struct Opened {
    pub(super) directory: Directory,
    pub(super) tree: Database,
    pub(super) id: StoreId,
    pub(super) head: Sequence,
    pub(super) oldest: Sequence,
    /// The next generation of chunks.
    pub(super) generation: u64,
    pub(super) witness: Witness,
    pub(super) empty: Empty,
    /// See [`Store::is_suspect`](crate::store::Store::is_suspect).
    pub(super) is_suspect: bool,
}

/// Opens a data directory, ends what a crash left half-done, and checks what can be checked.
pub(super) fn open(path: &Path, options: &SledOptions, barrier: &Barrier) -> Result<Opened, OpenError> {
    let directory = Directory::hold(path)?;
    let id = directory.store_id()?;
    let reached = directory.witness()?;

    let sled = directory.sled();
    directory.remove_unfinished_snapshots().map_err(OpenError::io("clean", &sled))?;
    // A crash can leave what looks like damage: then all of it is looked at before it is believed. Noted first, for sled
    // tidies up what it finds.
    let is_suspect = match segments::check(&sled, directory.empty_segments()?.as_ref()) {
        Ok(()) => directory.is_suspect(),
        Err(OpenError::Unreadable { file }) => {
            tracing::warn!(file = %file.display(), "this may be damaged: everything is looked at before it is served");
            directory.suspect().map_err(OpenError::io("write in", path))?;
            true
        }
        Err(error) => return Err(error),
    };
    directory.forget_empty_segments().map_err(OpenError::io("clean", path))?;
    let tree = open_tree(&sled, options)?;
    let empty = guarded(&tree, || check(&directory, &tree, id, reached, barrier))
        .unwrap_or_else(|panic| Err(broken(&sled, panic)))?;

    let Found { head, oldest, generation } = guarded(&tree, || find(&tree))
        .unwrap_or_else(|panic| Err(Error::Corrupt(panic)))
        .map_err(OpenError::Damaged)?;
    if let Some(witness) = reached
        && head < witness
    {
        return Err(OpenError::Behind { head, witness });
    }
    // What is noted as reached must be durable first.
    tree.flush().map_err(|error| OpenError::Database(error.into()))?;
    let witness = directory.begin_witness(head).map_err(OpenError::io("write the witness in", path))?;
    Ok(Opened { directory, tree, id, head, oldest, generation, witness, empty, is_suspect })
}

/// Asks sled for something. Where it panics the database is never let go of, since that could wait for ever; what the panic
/// said is the error.
pub(super) fn guarded<T>(tree: &Db, ask: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(|panic| {
        mem::forget(tree.clone());
        panic_text(&*panic)
    })
}

/// Makes durable what sled left to the file system, and checks that it is the right database and a lasting one.
fn check(
    directory: &Directory,
    tree: &Db,
    id: StoreId,
    reached: Option<Sequence>,
    barrier: &Barrier,
) -> Result<Empty, OpenError> {
    let sled = directory.sled();
    tree.flush().map_err(|error| OpenError::Database(error.into()))?;
    directory.sync_sled().map_err(OpenError::io("sync", &sled))?;
    let empty = Empty::find(&sled).map_err(OpenError::io("read", &sled))?;
    directory.note_empty_segments(empty.numbers()).map_err(OpenError::io("write beside", &sled))?;

    check_id(tree, id, reached)?;
    if !barrier.is_reached_by(|| probe(tree)).map_err(OpenError::Damaged)? {
        return Err(OpenError::NotDurable);
    }
    Ok(empty)
}

/// What is in a database.
struct Found {
    head: Sequence,
    oldest: Sequence,
    generation: u64,
}

/// Ends what a crash left half-done, and looks how far the store is.
fn find(tree: &Db) -> StoreResult<Found> {
    stage::recover(tree)?;
    let head = head(tree)?;
    Ok(Found { head, oldest: oldest(tree, head)?, generation: next_generation(tree)? })
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic").to_owned()
}

pub(super) fn open_tree(path: &Path, options: &SledOptions) -> Result<Database, OpenError> {
    let config = ::sled::Config::new()
        .path(path)
        .cache_capacity(options.cache_bytes)
        .flush_every_ms(Some(FLUSH_EVERY_MILLISECONDS));
    let mut attempts_left = LOCK_ATTEMPTS_MAX;
    loop {
        attempts_left -= 1;
        // sled panics over some kinds of damage.
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(tree)) => return Ok(Database::new(tree)),
            Ok(Err(error)) if is_locked(&error) && attempts_left > 0 => thread::sleep(LOCK_RETRY_EVERY),
            Ok(Err(error @ ::sled::Error::Io(_))) => return Err(OpenError::Database(error.into())),
            Ok(Err(error)) => return Err(broken(path, error.to_string())),
            Err(panic) => return Err(broken(path, panic_text(&*panic))),
        }
    }
}

fn broken(path: &Path, cause: String) -> OpenError {
    OpenError::Broken { directory: path.to_owned(), cause }
}

/// Whether sled's own lock is taken. The directory is ours, so it can only be the threads of a store that this process had
/// open before: sled ends some of them after it is dropped.
fn is_locked(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

/// Compares the id in the database with the one it should have; gives it one if it is new.
fn check_id(tree: &Db, id: StoreId, witness: Option<Sequence>) -> Result<(), OpenError> {
    let stored = value::get(tree, tables::STORE_ID).map_err(OpenError::Damaged)?;
    match stored {
        Some(found) if *found == *id.0.as_bytes() => Ok(()),
        Some(found) => Err(OpenError::Foreign {
            expected: id.0.to_string(),
            found: uuid::Uuid::from_slice(&found)
                .map_or_else(|_| found.escape_ascii().to_string(), |id| id.to_string()),
        }),
        None if witness.is_some() || !tree.is_empty() => Err(OpenError::Emptied),
        None => {
            let stored = value::encode(tables::STORE_ID, id.0.as_bytes());
            tree.insert(tables::STORE_ID, stored).map_err(|error| OpenError::Database(error.into()))?;
            Ok(())
        }
    }
}

/// A change, flushed.
fn probe(tree: &Db) -> StoreResult<()> {
    let count = match value::get(tree, tables::PROBE)?.as_deref() {
        None => 0,
        Some(bytes) => {
            u64::from_be_bytes(bytes.try_into().map_err(|_| corrupt(tables::PROBE, "is not a number"))?)
        }
    };
    let stored = value::encode(tables::PROBE, &count.wrapping_add(1).to_be_bytes());
    tree.insert(tables::PROBE, stored).map_err(failed)?;
    tree.flush().map_err(failed)?;
    Ok(())
}

fn head(tree: &Db) -> StoreResult<Sequence> {
    let Some(item) = tree.range(tables::batches_to(Sequence(u64::MAX))).next_back() else {
        return Ok(Sequence(0));
    };
    let (key, raw) = item.map_err(failed)?;
    let head = tables::sequence(&key).ok_or_else(|| corrupt(&key, "has no place in the log"))?;
    value::resolve(tree, &key, raw)?;
    Ok(head)
}

fn oldest(tree: &Db, head: Sequence) -> StoreResult<Sequence> {
    let trimmed_to = match value::get(tree, tables::OLDEST)? {
        None => Sequence(1),
        Some(bytes) => {
            tables::sequence(&bytes).ok_or_else(|| corrupt(tables::OLDEST, "is not a sequence"))?
        }
    };
    // A trim notes its end first: batches before it may be left, with entries that are gone.
    let Some(item) = tree.range(tables::batch(trimmed_to)..=tables::batch(head)).next() else {
        return Ok(head.next());
    };
    let (key, raw) = item.map_err(failed)?;
    let stored = value::resolve(tree, &key, raw)?.ok_or_else(|| corrupt(&key, "is gone"))?;
    let batch = LogBatch::decode(stored).map_err(|_| corrupt(&key, "is no batch of the log"))?;
    Ok(Sequence(batch.first_sequence))
}

fn next_generation(tree: &Db) -> StoreResult<u64> {
    let Some(item) = tree.range(tables::chunks()).next_back() else { return Ok(0) };
    let (key, _) = item.map_err(failed)?;
    let last = tables::generation(&key).ok_or_else(|| corrupt(&key, "has no generation"))?;
    Ok(last + 1)
}
