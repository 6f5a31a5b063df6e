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
    /// The attempts at workflow instances.
    Attempt = b'A',
    /// The tasks of an attempt, by sequence id.
    AttemptTask = b'Q',
    Client = b'C',
    /// What falls due by itself, by time.
    Due = b'D',
    /// Who waits for a job or a step, by what is waited for.
    Dependent = b'P',
    Hold = b'H',
    Index = b'I',
    /// Workflow instances, less their attempts.
    Instance = b'F',
    Job = b'J',
    Report = b'R',
    Step = b'S',
    Sync = b'Y',
    Task = b'T',
    /// The tasks of an organization, by when they were made.
    TaskIndex = b'O',
    /// The job of a task, by the task's id.
    TaskJob = b'N',
    Workflow = b'W',
}

impl Table {
    /// Those whose keys begin with a job, less that of the heads.
    pub(super) const OF_JOB: [Self; 8] = [
        Self::Sync,
        Self::Step,
        Self::Report,
        Self::Hold,
        Self::Task,
        Self::Instance,
        Self::Attempt,
        Self::AttemptTask,
    ];
}

/// What the table of a letter is called where people read of it.
#[must_use]
pub fn table_name(letter: u8) -> &'static str {
    const NAMES: [(Table, &str); 16] = [
        (Table::Attempt, "attempt"),
        (Table::AttemptTask, "task of an attempt"),
        (Table::Client, "client id"),
        (Table::Due, "due time"),
        (Table::Dependent, "dependent"),
        (Table::Hold, "hold"),
        (Table::Index, "index entry"),
        (Table::Instance, "workflow instance"),
        (Table::Job, "job"),
        (Table::Report, "report"),
        (Table::Step, "step"),
        (Table::Sync, "sync record"),
        (Table::Task, "task"),
        (Table::TaskIndex, "index entry of a task"),
        (Table::TaskJob, "task id"),
        (Table::Workflow, "workflow"),
    ];
    NAMES.into_iter().find(|(table, _)| *table as u8 == letter).map_or("record of no table", |(_, name)| name)
}

/// The key of a table's first entry.
pub(super) fn first(table: Table) -> Key {
    Key(vec![table as u8])
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

    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
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

/// Reads a time at the beginning of a piece of a key, and what follows it.
pub(super) fn split_time(key: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (seconds, rest) = key.split_first_chunk::<8>()?;
    let (nanos, rest) = rest.split_first_chunk::<4>()?;
    let seconds = (u64::from_be_bytes(*seconds) ^ (1 << 63)).cast_signed();
    Some((Timestamp { seconds, nanos: i32::from_be_bytes(*nanos) }, rest))
}

/// The texts that a piece of a key is made of.
pub(super) fn texts<const N: usize>(key: &[u8]) -> Option<[&str; N]> {
    let mut texts = std::str::from_utf8(key).ok()?.strip_suffix('\0')?.split('\0');
    let found: [Option<&str>; N] = std::array::from_fn(|_| texts.next());
    let all = found.into_iter().collect::<Option<Vec<_>>>()?;
    if texts.next().is_some() { None } else { all.try_into().ok() }
}

/// The last text of a key.
pub(super) fn last_text(key: &[u8]) -> Option<&str> {
    let body = key.strip_suffix(&[0])?;
    let start = body.iter().rposition(|&byte| byte == 0).map_or(0, |at| at + 1);
    std::str::from_utf8(&body[start..]).ok()
}
