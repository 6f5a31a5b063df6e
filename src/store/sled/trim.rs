//! Forgetting the beginning of the log, in pieces that do not hold commits up.
//!
//! The new beginning is shown before anything is removed: a reader who misses something then knows why.

use std::sync::atomic::Ordering;

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

/// The next piece of a trim.
pub(super) fn piece(shared: &Shared, before: Sequence) -> Result<Piece> {
    let mut changes = Vec::new();
    let Some(last) = last_batch_before(shared, before)? else { return Ok(Piece { changes, is_last: true }) };
    let oldest = last.next();
    if shared.oldest() < oldest {
        changes.push((
            Bytes::from_static(tables::OLDEST),
            Some(Bytes::copy_from_slice(&oldest.0.to_be_bytes())),
        ));
        shared.oldest.store(oldest.0, Ordering::SeqCst);
    }

    for item in shared.view.range(tables::batches_to(last), false) {
        let (key, value) = item?;
        let batch = LogBatch::decode(value).map_err(|_| corrupt(&key, "is no batch of the log"))?;
        for reference in batch.entries.into_iter().filter(|reference| reference.deletes_job) {
            remove_history(shared, reference, &mut changes)?;
        }
        if changes.len() >= PIECE_KEYS {
            return Ok(Piece { changes, is_last: false });
        }
        // The batch goes last: it is what leads to the histories.
        changes.push((key, None));
    }
    Ok(Piece { changes, is_last: true })
}

/// The last event of the last batch that is wholly before a place, and not the newest.
fn last_batch_before(shared: &Shared, before: Sequence) -> Result<Option<Sequence>> {
    let head = *shared.head.borrow();
    let Some(end) = before.min(head).0.checked_sub(1) else { return Ok(None) };
    let Some(item) = shared.view.range(tables::batches_to(Sequence(end)), true).next() else {
        return Ok(None);
    };
    let (key, _) = item?;
    tables::sequence(&key).map(Some).ok_or_else(|| corrupt(&key, "has no place in the log"))
}

/// Removes a job's entries up to the one that deletes it, or as many as the piece has room for.
fn remove_history(shared: &Shared, deletion: LogReference, changes: &mut Vec<Change>) -> Result<()> {
    let job = JobKey { org: deletion.org, job_id: deletion.job_id };
    let range = tables::entry(&job, Sequence(0))..=tables::entry(&job, Sequence(deletion.sequence));
    for item in shared.view.range(range, false) {
        if changes.len() >= PIECE_KEYS {
            break;
        }
        changes.push((item?.0, None));
    }
    Ok(())
}
