//! sled's database, which can be dropped whatever its disk does.

use std::{
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
};

use ::sled::Db;

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
