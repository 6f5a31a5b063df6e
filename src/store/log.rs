//! What every backend must do alike with the log: which batch may follow, and how much fits a page.

use std::sync::Arc;

use super::{Batch, Error, LogRecord, Result, Sequence};

/// A batch that the log cannot take. The caller's fault, and as bad as a lost one.
#[derive(Debug, thiserror::Error)]
enum Misplaced {
    #[error("a batch begins at {first}, and the log ends at {head}")]
    First { first: Sequence, head: Sequence },
    #[error("an entry ends at {sequence}, and the one before at {previous}")]
    Order { sequence: Sequence, previous: Sequence },
}

/// The head after a batch.
///
/// # Errors
/// [`Error::Failed`] when the batch does not follow on the head, or its entries not on each other.
pub(super) fn head_after(batch: &Batch, head: Sequence) -> Result<Sequence> {
    if batch.first != head.next() {
        return Err(Error::Failed(Arc::new(Misplaced::First { first: batch.first, head })));
    }
    batch.entries.iter().try_fold(head, |previous, entry| {
        if entry.sequence <= previous {
            let sequence = entry.sequence;
            return Err(Error::Failed(Arc::new(Misplaced::Order { sequence, previous })));
        }
        Ok(entry.sequence)
    })
}

/// Log records up to a number of bytes, at least one.
pub(super) struct Page {
    records: Vec<LogRecord>,
    bytes_left: usize,
    /// What each record weighs beside its bytes.
    each: usize,
}

impl Page {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self::weighing_each(bytes_max, 0)
    }

    pub(super) fn weighing_each(bytes_max: usize, each: usize) -> Self {
        Self { records: Vec::new(), bytes_left: bytes_max, each }
    }

    /// Takes the record, or says that the page is full.
    pub(super) fn push(&mut self, record: LogRecord) -> bool {
        let weight = self.each + record.size();
        let fits = weight <= self.bytes_left;
        if !fits && !self.records.is_empty() {
            return false;
        }
        self.bytes_left = self.bytes_left.saturating_sub(weight);
        self.records.push(record);
        fits
    }

    pub(super) fn into_records(self) -> Vec<LogRecord> {
        self.records
    }
}
