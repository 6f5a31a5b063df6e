//! The keys that the backend has for itself, in tables beside those of its caller.
//!
//! A key is a table's letter and then parts that sort as they read: texts end with a zero byte, numbers are big-endian.
//! Changing a key's shape changes the format of the data directory.

use std::ops::RangeInclusive;

use crate::store::{JobKey, Sequence};

/// The entries of the log by job and sequence: also the history of a job.
pub(super) const ENTRIES: u8 = b'E';
/// The batches of the log by the sequence of their last event.
pub(super) const BATCHES: u8 = b'L';
/// Single values about the store.
const META: u8 = b'M';

const RESERVED: [u8; 3] = [ENTRIES, BATCHES, META];

/// The store's id.
pub(super) const STORE_ID: &[u8] = &[META, b'i'];
/// The sequence of the oldest event kept, once the log was trimmed.
pub(super) const OLDEST: &[u8] = &[META, b'o'];
/// How often the store was opened.
pub(super) const STARTS: &[u8] = &[META, b'p'];
/// How far sled has what was committed.
pub(super) const CHECKPOINT: &[u8] = &[META, b'c'];

/// Values that go at about the same time: entries with their jobs, batches as the log is trimmed, records when they are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cohort {
    Entries,
    Batches,
    Records,
}

impl Cohort {
    /// The one that the value of a key is in.
    pub(super) fn of(key: &[u8]) -> Self {
        match key.first() {
            Some(&ENTRIES) => Self::Entries,
            Some(&BATCHES) => Self::Batches,
            _ => Self::Records,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Batches => "batches",
            Self::Records => "records",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        [Self::Entries, Self::Batches, Self::Records].into_iter().find(|cohort| cohort.name() == name)
    }
}

/// Whether a key is in a table of the backend's.
pub(super) fn is_reserved(key: &[u8]) -> bool {
    key.first().is_none_or(|table| RESERVED.contains(table))
}

/// Whether a range of keys, its end without, meets a table of the backend's.
pub(super) fn meets_reserved(start: &[u8], end: &[u8]) -> bool {
    is_reserved(start) || RESERVED.iter().map(std::slice::from_ref).any(|table| start < table && table < end)
}

pub(super) fn entry(job: &JobKey, sequence: Sequence) -> Vec<u8> {
    let mut key = Vec::with_capacity(job.org.len() + job.job_id.len() + 11);
    key.push(ENTRIES);
    for text in [&job.org, &job.job_id] {
        debug_assert!(!text.contains('\0'), "an id has no zero byte");
        key.extend_from_slice(text.as_bytes());
        key.push(0);
    }
    key.extend_from_slice(&sequence.0.to_be_bytes());
    key
}

/// The organization and the job in the key of an entry.
pub(super) fn entry_job(key: &[u8]) -> Option<[&str; 2]> {
    let (job, _) = key.get(1..)?.split_last_chunk::<8>()?;
    let (org, job_id) = std::str::from_utf8(job).ok()?.strip_suffix('\0')?.split_once('\0')?;
    Some([org, job_id])
}

/// Where the keys after a table begin that says nothing of the store's content, if a key is in it.
pub(super) fn after_internal(key: &[u8]) -> Option<Vec<u8>> {
    key.starts_with(&[META]).then(|| vec![META + 1])
}

pub(super) fn batch(last: Sequence) -> Vec<u8> {
    numbered(BATCHES, last.0)
}

/// The batches whose last event is not after `last`.
pub(super) fn batches_to(last: Sequence) -> RangeInclusive<Vec<u8>> {
    batch(Sequence(0))..=batch(last)
}

/// The sequence that ends the key of an entry or a batch.
pub(super) fn sequence(key: &[u8]) -> Option<Sequence> {
    key.last_chunk().map(|bytes| Sequence(u64::from_be_bytes(*bytes)))
}

fn numbered(table: u8, number: u64) -> Vec<u8> {
    let mut key = vec![table];
    key.extend_from_slice(&number.to_be_bytes());
    key
}
