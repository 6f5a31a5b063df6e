//! Forgetting the beginning of the log, in pieces that do not hold commits up.
//!
//! The new beginning is shown before anything is removed: a reader who misses something then knows why.

use std::{
    ops::{Bound, RangeInclusive},
    sync::atomic::Ordering,
};

use bytes::Bytes;
use prost::Message as _;

use super::{Shared, journal::Change, tables, value::corrupt};
use crate::{
    proto::storage::v1::{LogBatch, LogReference},
    store::{JobKey, Result, Sequence},
};

/// About how many keys one piece removes: a few milliseconds' work.
const PIECE_KEYS: usize = 128;

/// A piece of a trim.
pub(super) struct Piece {
    pub(super) changes: Vec<Change>,
    pub(super) is_last: bool,
}

/// How far trims have come since the start. What they removed may show for as long as it is in no checkpoint, and is not looked at
/// again.
#[derive(Default)]
pub(super) struct Trimming {
    /// The last batch that was removed.
    batch: Sequence,
    /// In the one after it, how many histories were removed.
    histories: usize,
    /// And of the next one, the last entry that was.
    entry: Option<Bytes>,
}

impl Trimming {
    /// The next piece of a trim.
    pub(super) fn piece(&mut self, shared: &Shared, before: Sequence) -> Result<Piece> {
        let mut changes = Vec::new();
        let Some(last) = self.last_batch_before(shared, before)? else {
            return Ok(Piece { changes, is_last: true });
        };
        let oldest = last.next();
        if shared.oldest() < oldest {
            changes.push((
                Bytes::from_static(tables::OLDEST),
                Some(Bytes::copy_from_slice(&oldest.0.to_be_bytes())),
            ));
            shared.oldest.store(oldest.0, Ordering::SeqCst);
        }

        for item in shared.view.range(self.batches_to(last), false) {
            let (key, value) = item?;
            let batch = LogBatch::decode(value).map_err(|_| corrupt(&key, "is no batch of the log"))?;
            let deletions = batch.entries.into_iter().filter(|reference| reference.deletes_job);
            for deletion in deletions.skip(self.histories) {
                self.remove_history(shared, deletion, &mut changes)?;
                if changes.len() >= PIECE_KEYS {
                    return Ok(Piece { changes, is_last: false });
                }
            }
            let removed = tables::sequence(&key).ok_or_else(|| corrupt(&key, "has no place in the log"))?;
            *self = Self { batch: removed, ..Self::default() };
            // The batch goes last: it is what leads to the histories.
            changes.push((key, None));
            if changes.len() >= PIECE_KEYS {
                return Ok(Piece { changes, is_last: false });
            }
        }
        Ok(Piece { changes, is_last: true })
    }

    /// Removes a job's entries up to the one that deletes it, or as many as the piece has room for.
    fn remove_history(
        &mut self,
        shared: &Shared,
        deletion: LogReference,
        changes: &mut Vec<Change>,
    ) -> Result<()> {
        let job = JobKey { org: deletion.org, job_id: deletion.job_id };
        let first = || Bound::Included(Bytes::from(tables::entry(&job, Sequence(0))));
        let start = self.entry.take().map_or_else(first, Bound::Excluded);
        let end = Bound::Included(Bytes::from(tables::entry(&job, Sequence(deletion.sequence))));
        for key in shared.view.keys((start, end)) {
            let key = key?;
            changes.push((key.clone(), None));
            if changes.len() >= PIECE_KEYS {
                self.entry = Some(key);
                return Ok(());
            }
        }
        self.histories += 1;
        Ok(())
    }

    /// The last event of the last batch that is wholly before a place, and not the newest.
    fn last_batch_before(&self, shared: &Shared, before: Sequence) -> Result<Option<Sequence>> {
        let head = *shared.head.borrow();
        let Some(end) = before.min(head).0.checked_sub(1) else { return Ok(None) };
        let Some(item) = shared.view.range(self.batches_to(Sequence(end)), true).next() else {
            return Ok(None);
        };
        let (key, _) = item?;
        tables::sequence(&key).map(Some).ok_or_else(|| corrupt(&key, "has no place in the log"))
    }

    /// The batches that are left, to one.
    fn batches_to(&self, last: Sequence) -> RangeInclusive<Vec<u8>> {
        tables::batch(self.batch.next())..=tables::batch(last)
    }
}
