//! The log as those who follow it read it: commands, with their events decoded once and kept encoded beside.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::{
    proto::{storage::v1::LogEntry, v1::JobEvent},
    store::{self, JobKey, LogRecord, Sequence},
};

/// What one command did.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// The sequence of its last event.
    pub sequence: Sequence,
    /// The place before its first event.
    pub before: Sequence,
    /// The job it was about.
    pub job: JobKey,
    /// Its events, in order.
    pub events: Vec<LoggedEvent>,
}

/// An event, decoded for filters and encoded for the wire.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct LoggedEvent {
    pub event: Arc<JobEvent>,
    pub bytes: Bytes,
}

impl Logged {
    /// Reads a command back from the log.
    ///
    /// # Errors
    /// The log is damaged.
    pub fn decode(record: &LogRecord) -> store::Result<Self> {
        let entry = decode_entry(record)?;
        let event = |bytes: Bytes| {
            let event = JobEvent::decode(bytes.clone()).map_err(|error| damaged(record.sequence, &error))?;
            Ok(LoggedEvent { event: Arc::new(event), bytes })
        };
        let events = entry.events.into_iter().map(event).collect::<store::Result<Vec<_>>>()?;
        Ok(Self::new(record.sequence, record.job.clone(), events))
    }

    pub(super) fn new(sequence: Sequence, job: JobKey, events: Vec<LoggedEvent>) -> Self {
        let before = Sequence(sequence.0 - sequences_taken(events.len()));
        Self { sequence, before, job, events }
    }

    /// How much of the tail's memory it takes: about twice its encoded size, for it is there decoded as well.
    pub(super) fn weight_bytes(&self) -> usize {
        256 + self.events.iter().map(|event| 2 * event.bytes.len() + 256).sum::<usize>()
    }
}

/// How many sequences a command takes: one for each event, and one if it has none.
pub(super) fn sequences_taken(events: usize) -> u64 {
    events.max(1) as u64
}

/// Reads a log entry, as much of it as there is.
pub(super) fn decode_entry(record: &LogRecord) -> store::Result<LogEntry> {
    let read = || {
        let mut entry = LogEntry::decode(record.bytes.clone())?;
        entry.merge(record.transient.clone())?;
        Ok(entry)
    };
    read().map_err(|error| damaged(record.sequence, &error))
}

fn damaged(sequence: Sequence, error: &prost::DecodeError) -> store::Error {
    store::Error::Corrupt(format!("log entry {sequence}: {error}"))
}
