//! sled's database, which can be dropped whatever its disk does, with the files of its large values; and what is written into
//! it.

use std::{
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use ::sled::{Batch, Db, IVec, Tree};
use bytes::Bytes;

use super::{
    failed,
    value::{Stored, corrupt},
    values::Values,
};
use crate::store::Result;

/// How often a value may be moved or replaced under a reader, who needs far less time to read it than a checkpoint takes.
const ATTEMPTS_MAX: usize = 100;

/// A database. sled panics when it is dropped and its last sync fails; whoever drops it after a failure has been told of
/// that one, and is to end in good order.
pub(super) struct Database {
    tree: Option<Db>,
    values: Arc<Values>,
}

impl Database {
    pub(super) fn new(tree: Db, values: Arc<Values>) -> Self {
        Self { tree: Some(tree), values }
    }

    pub(super) fn values(&self) -> &Arc<Values> {
        &self.values
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::store::Error::Corrupt) when it is not what was written.
    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let Some(raw) = self.get(key).map_err(failed)? else { return Ok(None) };
        self.resolve(key, raw)
    }

    /// The value of a key of which is known what is stored for it; a newer one, or none, if it was replaced or removed since.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::store::Error::Corrupt) when it is not what was written.
    pub(super) fn resolve(&self, key: &[u8], raw: IVec) -> Result<Option<Bytes>> {
        let mut current = raw;
        for _ in 0..ATTEMPTS_MAX {
            let place = match Stored::decode(key, &current)? {
                Stored::Inline(value) => return Ok(Some(Bytes::copy_from_slice(value))),
                Stored::Placed(place) => place,
            };
            if let Some(value) = self.values.read(key, place)? {
                return Ok(Some(value));
            }
            let Some(next) = self.get(key).map_err(failed)? else { return Ok(None) };
            if next == current {
                return Err(corrupt(key, "is in a file that is not there"));
            }
            current = next;
        }
        Err(corrupt(key, "was replaced each time it was read"))
    }
}

impl Deref for Database {
    type Target = Db;

    fn deref(&self) -> &Db {
        self.tree.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let tree = self.tree.take();
        // What was acknowledged was flushed before.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(tree)));
    }
}

/// Applies a batch of no more than a few hundred KiB, and waits until it is in the file.
///
/// sled writes its file on seven threads, and makes it shorter on the same. When all seven have something to write they need a lock
/// which may be held by one who waits for the file to be shorter: then none of them goes on for ever, and neither does any who reads
/// (sled 0.34.7, `SegmentAccountant::bump_tip`). So there are never as many writes on their way, of what is
/// applied here and of what sled moves by itself, to this database and to others.
pub(super) fn apply(tree: &Tree, batch: Batch) -> Result<()> {
    tree.flush().map_err(failed)?;
    tree.apply_batch(batch).map_err(failed)?;
    tree.flush().map_err(failed)?;
    Ok(())
}
