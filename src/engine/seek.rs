//! Finding a time in the log. Times never fall along it.

use super::logged::decode_entry;
use crate::store::{self, Partition, Sequence, Store};

/// The place before the first entry of a time or later; the head where there is none.
///
/// # Errors
/// The store's.
pub(super) async fn first_at(
    store: &dyn Store,
    partition: Partition,
    seconds: i64,
) -> store::Result<Sequence> {
    let mut low = Sequence(store.oldest(partition).0 - 1);
    let mut high = *store.head(partition).borrow();
    while low < high {
        let middle = Sequence(low.0 + (high.0 - low.0) / 2);
        // The entry that holds the sequence after `middle`.
        let Some(record) = store.log(partition, middle, 1).await?.into_iter().next() else { break };
        let entry = decode_entry(&record)?;
        if entry.time.unwrap_or_default().seconds < seconds {
            low = record.sequence;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
