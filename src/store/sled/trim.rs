//! Forgetting the beginning of the log, in pieces that do not hold commits up.
//!
//! The new beginning is noted, and shown, before anything is removed: a reader who misses something then knows why, and
//! after a crash the batches that are left are not taken for the log.

use std::sync::atomic::Ordering;

use prost::Message as _;

use super::{
    Shared, failed,
    stage::Changes,
    tables,
    value::{self, corrupt},
};
use crate::{
    proto::storage::v1::{LogBatch, LogReference},
    store::{JobKey, Result, Sequence},
};

/// About how many keys one piece removes: a few milliseconds' work.
const PIECE_KEYS: usize = 128;

/// Does one piece of a trim, and says whether it was the last.
pub(super) fn step(shared: &Shared, before: Sequence) -> Result<bool> {
    let Some(last) = last_batch_before(shared, before)? else { return Ok(true) };
    let oldest = last.next();
    if Sequence(shared.oldest.load(Ordering::SeqCst)) < oldest {
        let stored = value::encode(tables::OLDEST, &oldest.0.to_be_bytes());
        shared.tree.insert(tables::OLDEST, stored).map_err(failed)?;
        shared.oldest.store(oldest.0, Ordering::SeqCst);
    }

    let mut removals = Changes::default();
    for item in shared.tree.range(tables::batches_to(last)) {
        let (key, raw) = item.map_err(failed)?;
        let chunks = value::chunks_of(&key, &raw)?;
        let stored = value::resolve(&shared.tree, &key, raw)?.ok_or_else(|| corrupt(&key, "is gone"))?;
        let batch = LogBatch::decode(stored).map_err(|_| corrupt(&key, "is no batch of the log"))?;
        for reference in batch.entries.into_iter().filter(|reference| reference.deletes_job) {
            remove_history(shared, reference, &mut removals)?;
        }
        // The batch goes last: it is what leads to the histories.
        if removals.len() < PIECE_KEYS {
            removals.remove(key.to_vec());
            chunks.into_iter().flat_map(value::Chunks::keys).for_each(|key| removals.remove(key));
        }
        if removals.len() >= PIECE_KEYS {
            removals.apply(&shared.tree)?;
            return Ok(false);
        }
    }
    removals.apply(&shared.tree)?;
    Ok(true)
}

/// The last event of the last batch that is wholly before a place, and not the newest.
fn last_batch_before(shared: &Shared, before: Sequence) -> Result<Option<Sequence>> {
    let head = *shared.head.borrow();
    let Some(end) = before.min(head).0.checked_sub(1) else { return Ok(None) };
    let Some(item) = shared.tree.range(tables::batches_to(Sequence(end))).next_back() else {
        return Ok(None);
    };
    let (key, _) = item.map_err(failed)?;
    tables::sequence(&key).map(Some).ok_or_else(|| corrupt(&key, "has no place in the log"))
}

/// Removes a job's entries up to the one that deletes it, or as many as the piece has room for.
fn remove_history(shared: &Shared, deletion: LogReference, removals: &mut Changes) -> Result<()> {
    let job = JobKey { org: deletion.org, job_id: deletion.job_id };
    let range = tables::entry(&job, Sequence(0))..=tables::entry(&job, Sequence(deletion.sequence));
    for item in shared.tree.range(range) {
        if removals.len() >= PIECE_KEYS {
            break;
        }
        let (key, raw) = item.map_err(failed)?;
        let chunks = value::chunks_of(&key, &raw)?;
        removals.remove(key.to_vec());
        chunks.into_iter().flat_map(value::Chunks::keys).for_each(|key| removals.remove(key));
    }
    Ok(())
}
