//! Values as they were read last, in memory: a value out of sled costs a walk through its tree, and often a read of its file.
//!
//! Only what callers write is here. Histories are read seldom, and would push the rest out.

use bytes::Bytes;
use quick_cache::{Weighter, sync};

use super::tables;

/// A larger value is not kept: it would take the room of many.
const VALUE_BYTES_MAX: usize = 8 * 1024;
/// What an entry takes beside its key and value, about.
const ENTRY_BYTES: usize = 128;
/// For so many bytes there is one entry at first.
const BYTES_FOR_ENTRY: u64 = 4096;

/// What is known of some keys.
pub(super) struct Cache(sync::Cache<Bytes, Known, Weight>);

/// The value of a key, or that it has none.
#[derive(Clone)]
pub(super) struct Known(pub(super) Option<Bytes>);

#[derive(Clone)]
struct Weight;

impl Weighter<Bytes, Known> for Weight {
    fn weight(&self, key: &Bytes, Known(value): &Known) -> u64 {
        (ENTRY_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len)) as u64
    }
}

impl Cache {
    /// It takes about so many bytes at most.
    pub(super) fn new(bytes: u64) -> Self {
        let entries = usize::try_from(bytes / BYTES_FOR_ENTRY).unwrap_or(usize::MAX);
        Self(sync::Cache::with_weighter(entries, bytes, Weight))
    }

    /// What is known of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<Known> {
        self.0.get(key)
    }

    /// Keeps what was read.
    pub(super) fn put(&self, key: &[u8], value: Option<&Bytes>) {
        if !tables::is_reserved(key) && !is_large(value) {
            self.0.insert(Bytes::copy_from_slice(key), Known(value.cloned()));
        }
    }

    /// Takes a value for the one that it has of a key, if it has one.
    pub(super) fn replace(&self, key: &Bytes, value: Option<&Bytes>) {
        if is_large(value) {
            self.0.remove(&**key);
        } else {
            // What nobody has read is not there, and stays away.
            let _ = self.0.replace(key.clone(), Known(value.cloned()), true);
        }
    }
}

fn is_large(value: Option<&Bytes>) -> bool {
    value.is_some_and(|value| value.len() > VALUE_BYTES_MAX)
}
