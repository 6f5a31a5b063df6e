//! Writing sled's database anew, so that it takes no more than a few times what is in it. What is in files of values stays
//! where it is.
//!
//! sled uses the room of what was replaced again, late and in part, and gives little of it back. So when its files have
//! grown too far, everything in it is copied into a new database, a piece at a time between checkpoints, which meanwhile
//! write what is copied already into both. Then the new one is named in `FORMAT`, and the old one is removed when nobody
//! reads it any more. Cut off before that, the copy is removed at the next start.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ::sled::{Batch, Tree};

use super::{
    Shared, SledOptions, Step,
    checkpoint::Checkpoint,
    committer::unwritten,
    database::{self, Database},
    failed,
    open::{self, OpenError},
    segments::Empty,
};
use crate::store::Result;

/// About how much is copied at once, and how many keys at most: sled holds readers up meanwhile, also those of other databases.
const PIECE_BYTES: usize = 256 * 1024;
const PIECE_KEYS: usize = 512;
/// A new one takes about so many times what is in it, where that is small: sled keeps much beside each key.
const FRESH: u64 = 4;
/// Not before the files take so many times what is in them: while there is other work, and where there is none.
const GROWN: u64 = 2 * FRESH;
const GROWN_AT_REST: u64 = FRESH + 1;
/// How often to look whether the old database is still read.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is being copied, and what is left of the last time.
pub(super) struct Compacting {
    options: SledOptions,
    /// The number of the database in use.
    database: u64,
    copying: Option<Copying>,
    /// The one that was in use before, and where it is.
    retired: Option<(Arc<Database>, PathBuf)>,
    /// No sooner than when the files take so much.
    bytes_min: u64,
    /// What was written since the last time: no sooner than when that is twice as much as would be copied, or at rest as much.
    written: u64,
}

/// A database in the making.
struct Copying {
    path: PathBuf,
    tree: Database,
    /// Keys before this one are there.
    before: Vec<u8>,
    /// What is in it.
    bytes: u64,
    /// How long the last piece took. As long again is left to others.
    took: Duration,
}

/// A database that took the place of another.
pub(super) struct Rewritten {
    pub(super) empty: Empty,
    pub(super) checkpoint: Checkpoint,
}

impl Compacting {
    pub(super) fn new(options: SledOptions, database: u64) -> Self {
        let bytes_min = options.compaction_bytes_min;
        Self { options, database, copying: None, retired: None, bytes_min, written: 0 }
    }

    /// How long to wait for something else to do; none where there is nothing to do here.
    pub(super) fn pause(&self) -> Option<Duration> {
        let copying = self.copying.as_ref().map(|copying| copying.took);
        copying.or(self.retired.is_some().then_some(LOOK_EVERY))
    }

    /// Whether the old database may still be read.
    pub(super) fn has_retired(&self) -> bool {
        self.retired.is_some()
    }

    /// The new database, and the first key that it may not have yet.
    pub(super) fn copied(&self) -> Option<(&Tree, &[u8])> {
        self.copying.as_ref().map(|copying| (&**copying.tree, &*copying.before))
    }

    /// Begins after a checkpoint, where it is time to and there is room.
    pub(super) fn consider(&mut self, shared: &Shared, checkpoint: Checkpoint) {
        self.begin_if(shared, checkpoint, GROWN, 2);
    }

    /// The same where the store is at rest: it is done sooner when it holds nobody up.
    pub(super) fn consider_at_rest(&mut self, shared: &Shared, checkpoint: Checkpoint) {
        self.begin_if(shared, checkpoint, GROWN_AT_REST, 1);
    }

    /// Begins if the files take more than so many times what is in them, and so many times that was written.
    fn begin_if(&mut self, shared: &Shared, checkpoint: Checkpoint, grown: u64, written: u64) {
        let live = checkpoint.live_bytes;
        let bytes = shared.directory.database_bytes(self.database);
        let is_large = bytes > self.bytes_min && bytes > live.saturating_mul(grown);
        if !is_large || self.written < live.saturating_mul(written) || self.pause().is_some() {
            return;
        }
        if shared.room().is_some_and(|room| room < live.saturating_mul(FRESH + 1)) {
            tracing::warn!(bytes, live, "no room to write the database anew");
            self.bytes_min = bytes.saturating_mul(5) / 4;
            return;
        }
        match self.begin(shared) {
            Ok(copying) => self.copying = Some(copying),
            Err(error) => self.leave(shared, &error),
        }
    }

    fn begin(&self, shared: &Shared) -> std::result::Result<Copying, OpenError> {
        let path = shared.directory.sled(self.database + 1);
        remove(&path).map_err(OpenError::io("remove", &path))?;
        let values = Arc::clone(shared.view.tree().values());
        let tree = open::open_tree(&path, &self.options, values)?;
        Ok(Copying { path, tree, before: Vec::new(), bytes: 0, took: Duration::ZERO })
    }

    /// Does a piece of it. What cannot be copied stays as it is.
    ///
    /// # Errors
    /// It is not known which database will be found at the next start.
    pub(super) fn go_on(&mut self, shared: &Shared, checkpoint: Checkpoint) -> Result<Option<Rewritten>> {
        self.retire();
        let Some(copying) = &mut self.copying else { return Ok(None) };
        match copying.piece(&shared.view.tree()) {
            Ok(false) => Ok(None),
            Ok(true) => self.complete(shared, checkpoint).map(Some),
            Err(error) => {
                self.leave(shared, &error);
                Ok(None)
            }
        }
    }

    /// Removes the old database if nobody reads it.
    fn retire(&mut self) {
        let Some((old, path)) = self.retired.take() else { return };
        match Arc::try_unwrap(old) {
            Ok(old) => {
                drop(old);
                // What is left is removed at the next start.
                let _ = remove(&path);
            }
            Err(old) => self.retired = Some((old, path)),
        }
    }

    /// So much was written; and by how much that has changed what is copied already, or why it could not.
    pub(super) fn note(&mut self, shared: &Shared, written: u64, mirrored: Result<i64>) {
        self.written += written;
        match (mirrored, &mut self.copying) {
            (Ok(bytes), Some(copying)) => copying.bytes = copying.bytes.saturating_add_signed(bytes),
            (Ok(_), None) => {}
            (Err(error), _) => self.leave(shared, &error),
        }
    }

    /// Gives it up until the files have grown further.
    fn leave(&mut self, shared: &Shared, error: &dyn std::error::Error) {
        tracing::warn!(%error, "the database was not written anew");
        self.copying = None;
        // Where this fails, it goes when the next one begins, or at the next start.
        let _ = remove(&shared.directory.sled(self.database + 1));
        self.bytes_min = shared.directory.database_bytes(self.database).saturating_mul(5) / 4;
    }

    fn complete(&mut self, shared: &Shared, checkpoint: Checkpoint) -> Result<Rewritten> {
        let copying = self.copying.take().expect("it is under way");
        let checkpoint = Checkpoint { live_bytes: copying.bytes, ..checkpoint };
        checkpoint.write(&copying.tree)?;
        copying.tree.flush().map_err(failed)?;
        let Copying { path, tree, .. } = copying;
        let (directory, database) = (&shared.directory, self.database + 1);
        shared.reach(Step::Compaction)?;
        directory.sync_sled(database).map_err(unwritten)?;
        let empty = Empty::find(&path).map_err(unwritten)?;
        directory.forget_empty_segments().map_err(unwritten)?;
        directory.write_format(shared.id, database).map_err(unwritten)?;
        directory.note_empty_segments(empty.numbers()).map_err(unwritten)?;

        let before = directory.database_bytes(self.database);
        let after = directory.database_bytes(database);
        tracing::info!(before, after, live = checkpoint.live_bytes, "the database was written anew");
        self.retired = Some((shared.view.replace(tree), directory.sled(self.database)));
        self.database = database;
        self.bytes_min = self.options.compaction_bytes_min;
        self.written = 0;
        Ok(Rewritten { empty, checkpoint })
    }
}

impl Copying {
    /// Copies some keys, and says whether they were the last.
    fn piece(&mut self, from: &Tree) -> Result<bool> {
        let began = Instant::now();
        let mut piece = Batch::default();
        let (mut bytes, mut keys) = (0, 0);
        let mut last = None;
        for item in from.range(self.before.as_slice()..) {
            let (key, stored) = item.map_err(failed)?;
            bytes += key.len() + stored.len();
            piece.insert(&key, &stored);
            last = Some(key);
            keys += 1;
            if bytes >= PIECE_BYTES || keys >= PIECE_KEYS {
                break;
            }
        }
        database::apply(&self.tree, piece)?;
        self.bytes += bytes as u64;
        self.took = began.elapsed();
        if let Some(last) = last {
            self.before = [&*last, &[0]].concat();
        }
        Ok(bytes < PIECE_BYTES && keys < PIECE_KEYS)
    }
}

fn remove(path: &std::path::Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
