//! sled's database, which can be dropped whatever its disk does, and what is written into it.

use std::{
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
};

use ::sled::{Batch, Db, Tree};

use super::failed;
use crate::store::Result;

/// A database. sled panics when it is dropped and its last sync fails; whoever drops it after a failure has been told of
/// that one, and is to end in good order.
pub(super) struct Database(Option<Db>);

impl Database {
    pub(super) fn new(tree: Db) -> Self {
        Self(Some(tree))
    }
}

impl Deref for Database {
    type Target = Db;

    fn deref(&self) -> &Db {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let tree = self.0.take();
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
