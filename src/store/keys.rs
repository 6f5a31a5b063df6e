//! The keys of records: one table byte, then parts that sort as they read.
//!
//! Texts end with a zero byte, which no id holds; numbers are big-endian. Changing a key's shape changes the format of
//! the data directory.

use prost_types::Timestamp;

use super::JobKey;

/// The tables. The letter is on disk.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Table {
    Client = b'C',
    Hold = b'H',
    Index = b'I',
    Job = b'J',
    Report = b'R',
    Step = b'S',
    Sync = b'Y',
}

/// Builds a key part by part.
#[derive(Clone, Debug)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn new(table: Table, org: &str) -> Self {
        Self(vec![table as u8]).text(org)
    }

    /// A key of a job in a table.
    pub(super) fn of(table: Table, job: &JobKey) -> Self {
        Self::new(table, &job.org).text(&job.job_id)
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self
    }

    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    /// A time, to the nanosecond, in order also before 1970.
    pub(super) fn time(mut self, time: &Timestamp) -> Self {
        let seconds = time.seconds.cast_unsigned() ^ (1 << 63);
        self.0.extend_from_slice(&seconds.to_be_bytes());
        self.0.extend_from_slice(&time.nanos.to_be_bytes());
        self
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The smallest key greater than all that begin with this one.
    pub(super) fn end(mut self) -> Vec<u8> {
        while let Some(last) = self.0.pop() {
            if last < u8::MAX {
                self.0.push(last + 1);
                break;
            }
        }
        self.0
    }
}

/// The last text of a key.
pub(super) fn last_text(key: &[u8]) -> Option<&str> {
    let body = key.strip_suffix(&[0])?;
    let start = body.iter().rposition(|&byte| byte == 0).map_or(0, |at| at + 1);
    std::str::from_utf8(&body[start..]).ok()
}
