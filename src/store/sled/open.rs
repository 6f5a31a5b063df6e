//! Opening: everything that can be known to be wrong with a data directory is found here, before anything is served.

use std::{
    any::Any,
    io, mem,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use ::sled::Db;
use prost::Message as _;

use super::{
    SledOptions,
    checkpoint::{Behind, Checkpoint},
    committer::Writing,
    compaction::Compacting,
    database::Database,
    directory::{Directory, Format},
    failed,
    journal::{self, Journal},
    segments::{self, Empty},
    tables,
    value::{self, corrupt},
    values::{Values, Writer},
    view::{Layer, View},
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
    /// Another version wrote it.
    #[error(
        "the data directory has format {format}, and this version knows format {known}: run the version that wrote it; \
         a backup made with that can be restored with this one"
    )]
    Format {
        /// Its format.
        format: u32,
        /// The format that this version knows.
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
    /// Some files are those of another store.
    #[error(
        "FORMAT names store {expected}, and {part} is of store {found}: \
         the data directory is put together from two, or FORMAT is damaged; restore a backup with holdpoint restore"
    )]
    Foreign {
        /// What is of another.
        part: String,
        /// The id in FORMAT.
        expected: String,
        /// The id in there.
        found: String,
    },
    /// The store had data and has none now.
    #[error("the database is empty, although it was in use before: restore a backup with holdpoint restore")]
    Emptied,
    /// The store had more than it has now.
    #[error(
        "the store ends with commit {last}, although it reached {witness} before: \
         acknowledged changes are lost; restore a backup with holdpoint restore"
    )]
    Behind {
        /// The number of the last commit.
        last: u64,
        /// The number it is known to have reached.
        witness: u64,
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
    pub(super) view: View,
    pub(super) id: StoreId,
    pub(super) head: Sequence,
    pub(super) oldest: Sequence,
    pub(super) writing: Writing,
    pub(super) behind: Behind,
    /// See [`Store::is_suspect`](crate::store::Store::is_suspect).
    pub(super) is_suspect: bool,
}

/// Opens a data directory, ends what a crash left half-done, and checks what can be checked.
pub(super) fn open(path: &Path, options: &SledOptions, barrier: &Barrier) -> Result<Opened, OpenError> {
    let directory = Directory::hold(path)?;
    let Format { id, database } = directory.format()?;
    let reached = directory.witness()?;

    let sled = directory.sled(database);
    directory.remove_unfinished_snapshots(database).map_err(OpenError::io("clean", &sled))?;
    directory.make_synced(database).map_err(OpenError::io("write again", &sled))?;
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
    let values = Arc::new(Values::new(directory.values()));
    let tree = open_tree(&sled, options, Arc::clone(&values))?;
    let checked = guarded(|| &tree, || check(&directory, &tree, Format { id, database }, reached, barrier))
        .unwrap_or_else(|panic| Err(broken(&sled, panic)))?;
    directory.make_values().map_err(OpenError::io("make", &directory.values()))?;
    let mut values = Writer::open(values, id, options.compaction_bytes_min, checked.checkpoint.values)?;

    let Journaled { number, recent, bytes } = read_journal(&directory, id, checked.checkpoint)?;
    if let Some(witness) = reached
        && number < witness
    {
        return Err(OpenError::Behind { last: number, witness });
    }
    // A checkpoint may have been begun, and cut off.
    let has_begun = journal::has_rotated(&directory.journal(), checked.checkpoint.number);
    if has_begun.map_err(OpenError::io("list", &directory.journal()))? {
        values.doubt();
    }
    let view = View::new(tree, recent, options.cache_bytes / 2);
    let (head, oldest) =
        guarded(|| view.tree(), || head(&view).and_then(|head| Ok((head, oldest(&view, head)?))))
            .unwrap_or_else(|panic| Err(Error::Corrupt(panic)))
            .map_err(OpenError::Damaged)?;
    let journal = Journal::begin(&directory.journal(), id, number);
    let writing = Writing {
        journal: journal.map_err(OpenError::io("begin the journal in", path))?,
        gathered: bytes,
        checkpoint_bytes: options.checkpoint_bytes,
        witness: directory.begin_witness(number).map_err(OpenError::io("write the witness in", path))?,
    };
    let behind = Behind {
        checkpoint: checked.checkpoint,
        values,
        empty: checked.empty,
        compacting: Compacting::new(options.clone(), database),
        rest: options.rest,
    };
    // What FORMAT says was seen to be right.
    directory.remove_other_databases(database).map_err(OpenError::io("clean", path))?;
    behind.values.remove_others().map_err(OpenError::io("clean", &directory.values()))?;
    Ok(Opened { directory, view, id, head, oldest, writing, behind, is_suspect })
}

/// What of the journal is in no checkpoint.
struct Journaled {
    /// The number of the last commit.
    number: u64,
    recent: Layer,
    bytes: u64,
}

fn read_journal(directory: &Directory, id: StoreId, checkpoint: Checkpoint) -> Result<Journaled, OpenError> {
    directory.make_journal().map_err(OpenError::io("make", &directory.journal()))?;
    let (mut recent, mut bytes) = (Layer::new(), 0);
    let number = journal::recover(&directory.journal(), id, checkpoint.number, |changes| {
        bytes += journal::weight(&changes);
        recent.extend(changes);
    })?;
    Ok(Journaled { number, recent, bytes })
}

/// Asks sled for something. Where it panics the database is never let go of, since that could wait for ever; what the panic
/// said is the error.
pub(super) fn guarded<T, D: Deref<Target = Database>>(
    tree: impl FnOnce() -> D,
    ask: impl FnOnce() -> T,
) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(|panic| {
        mem::forget(Db::clone(&tree()));
        panic_text(&*panic)
    })
}

/// What is known of a database that is in order.
struct Checked {
    checkpoint: Checkpoint,
    empty: Empty,
}

/// Makes durable what sled left to the file system, and checks that it is the right database and a lasting one.
fn check(
    directory: &Directory,
    tree: &Database,
    Format { id, database }: Format,
    reached: Option<u64>,
    barrier: &Barrier,
) -> Result<Checked, OpenError> {
    let sled = directory.sled(database);
    tree.flush().map_err(|error| OpenError::Database(error.into()))?;
    directory.sync_sled(database).map_err(OpenError::io("sync", &sled))?;
    let empty = Empty::find(&sled).map_err(OpenError::io("read", &sled))?;
    directory.note_empty_segments(empty.numbers()).map_err(OpenError::io("write beside", &sled))?;

    check_id(tree, id, reached)?;
    if !barrier.is_reached_by(|| count_start(tree)).map_err(OpenError::Damaged)? {
        return Err(OpenError::NotDurable);
    }
    let checkpoint = Checkpoint::read(tree).map_err(OpenError::Damaged)?;
    Ok(Checked { checkpoint, empty })
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic").to_owned()
}

pub(super) fn open_tree(
    path: &Path,
    options: &SledOptions,
    values: Arc<Values>,
) -> Result<Database, OpenError> {
    let config = ::sled::Config::new()
        .path(path)
        .cache_capacity(options.cache_bytes)
        .flush_every_ms(Some(FLUSH_EVERY_MILLISECONDS));
    let mut attempts_left = LOCK_ATTEMPTS_MAX;
    loop {
        attempts_left -= 1;
        // sled panics over some kinds of damage.
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(tree)) => return Ok(Database::new(tree, values)),
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
fn check_id(tree: &Database, id: StoreId, witness: Option<u64>) -> Result<(), OpenError> {
    let stored = tree.value(tables::STORE_ID).map_err(OpenError::Damaged)?;
    match stored {
        Some(found) if *found == *id.0.as_bytes() => Ok(()),
        Some(found) => Err(OpenError::Foreign {
            part: "the database".to_owned(),
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

/// Counts the starts of the store, which is a change, flushed.
fn count_start(tree: &Database) -> StoreResult<()> {
    let count = match tree.value(tables::STARTS)?.as_deref() {
        None => 0,
        Some(bytes) => {
            u64::from_be_bytes(bytes.try_into().map_err(|_| corrupt(tables::STARTS, "is not a number"))?)
        }
    };
    let stored = value::encode(tables::STARTS, &(count + 1).to_be_bytes());
    tree.insert(tables::STARTS, stored).map_err(failed)?;
    tree.flush().map_err(failed)?;
    Ok(())
}

fn head(view: &View) -> StoreResult<Sequence> {
    let Some(item) = view.range(tables::batches_to(Sequence(u64::MAX)), true).next() else {
        return Ok(Sequence(0));
    };
    let (key, _) = item?;
    tables::sequence(&key).ok_or_else(|| corrupt(&key, "has no place in the log"))
}

fn oldest(view: &View, head: Sequence) -> StoreResult<Sequence> {
    let trimmed_to = match view.get(tables::OLDEST)? {
        None => Sequence(1),
        Some(bytes) => {
            tables::sequence(&bytes).ok_or_else(|| corrupt(tables::OLDEST, "is not a sequence"))?
        }
    };
    // A trim notes its end first: batches before it may be left, with entries that are gone.
    let Some(item) = view.range(tables::batch(trimmed_to)..=tables::batch(head), false).next() else {
        return Ok(head.next());
    };
    let (key, value) = item?;
    let batch = LogBatch::decode(value).map_err(|_| corrupt(&key, "is no batch of the log"))?;
    Ok(Sequence(batch.first_sequence))
}
