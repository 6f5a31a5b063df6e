//! Reading: sled answers from memory or with a short read, so it is asked in place and not on a thread of its own.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use prost::Message as _;

use super::{Shared, entry, open, tables, value::corrupt};
use crate::{
    proto::storage::v1::{LogBatch, LogReference},
    store::{Error, JobKey, LogRecord, Result, Scan, Sequence, log::Page},
};

/// About what a reference takes in memory, beside what is transient.
const REFERENCE_BYTES: usize = 128;

impl Shared {
    /// Reads; where sled panics over what it finds, that is an error like any other.
    pub(super) fn reading<T>(&self, read: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        open::guarded(|| self.view.tree(), || read(self)).unwrap_or_else(|panic| Err(Error::Corrupt(panic)))
    }

    pub(super) fn oldest(&self) -> Sequence {
        Sequence(self.oldest.load(Ordering::SeqCst))
    }

    pub(super) fn scan(&self, scan: &Scan) -> Result<Vec<(Bytes, Bytes)>> {
        if scan.start >= scan.end {
            return Ok(Vec::new());
        }
        self.view.range(scan.start.as_slice()..scan.end.as_slice(), scan.reverse).take(scan.limit).collect()
    }

    pub(super) fn log(&self, after: Sequence, bytes_max: usize) -> Result<Vec<LogRecord>> {
        self.read_log(after, Page::new(bytes_max), |reference| self.entry(reference))
    }

    /// Reads no entry, only what leads to them.
    pub(super) fn transient_log(&self, after: Sequence, bytes_max: usize) -> Result<Vec<LogRecord>> {
        let page = Page::weighing_each(bytes_max, REFERENCE_BYTES);
        self.read_log(after, page, |reference| Ok(Some(transient(reference))))
    }

    fn read_log(
        &self,
        after: Sequence,
        mut page: Page,
        read: impl Fn(LogReference) -> Result<Option<LogRecord>>,
    ) -> Result<Vec<LogRecord>> {
        // What is durable; sled may show more.
        let head = *self.head.borrow();
        let oldest = self.oldest();
        if after.next() < oldest {
            return Err(Error::Trimmed { oldest });
        }
        // Every event up to here is on the page, or before it.
        let mut reached = after;
        if after < head {
            for item in self.view.range(tables::batch(after.next())..=tables::batch(head), false) {
                let (key, value) = item?;
                let batch = LogBatch::decode(value).map_err(|_| corrupt(&key, "is no batch of the log"))?;
                if Sequence(batch.first_sequence) > reached.next() {
                    break;
                }
                for reference in batch.entries {
                    let sequence = Sequence(reference.sequence);
                    if sequence <= after {
                        continue;
                    }
                    let Some(record) = read(reference)? else { return Err(self.lost(after)) };
                    if !page.push(record) {
                        return Ok(page.into_records());
                    }
                    reached = sequence;
                }
            }
        }
        if reached < head { Err(self.lost(after)) } else { Ok(page.into_records()) }
    }

    pub(super) fn history(&self, job: &JobKey, after: Sequence, bytes_max: usize) -> Result<Vec<LogRecord>> {
        let head = *self.head.borrow();
        let mut page = Page::new(bytes_max);
        if after >= head {
            return Ok(page.into_records());
        }
        for item in self.view.range(tables::entry(job, after.next())..=tables::entry(job, head), false) {
            let (key, value) = item?;
            let sequence = tables::sequence(&key).ok_or_else(|| corrupt(&key, "has no place in the log"))?;
            if !page.push(entry::decode(&key, job.clone(), sequence, value)?) {
                break;
            }
        }
        Ok(page.into_records())
    }

    /// The entry behind a reference; none if it is gone.
    fn entry(&self, reference: LogReference) -> Result<Option<LogRecord>> {
        let is_kept = !reference.all_transient;
        let led_to = transient(reference);
        if !is_kept {
            return Ok(Some(led_to));
        }
        let LogRecord { sequence, job, transient, .. } = led_to;
        let key = tables::entry(&job, sequence);
        let Some(stored) = self.view.get(&key)? else { return Ok(None) };
        Ok(Some(LogRecord { transient, ..entry::decode(&key, job, sequence, stored)? }))
    }

    /// Why a part of the log after a place is not there.
    fn lost(&self, after: Sequence) -> Error {
        let oldest = self.oldest();
        if after.next() < oldest {
            return Error::Trimmed { oldest };
        }
        Error::Corrupt(format!("the log after {after} has a gap"))
    }
}

/// As much of an entry as its batch has.
fn transient(reference: LogReference) -> LogRecord {
    let LogReference { org, job_id, sequence, deletes_job, transient, all_transient: _ } = reference;
    let (job, sequence) = (JobKey { org, job_id }, Sequence(sequence));
    LogRecord { sequence, job, deletes_job, bytes: Bytes::new(), transient }
}
