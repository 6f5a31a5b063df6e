//! What is read from the disk, from bytes of any kind.

use prost::Message;

use super::sled;
use crate::proto::{
    storage::v1::{InstanceRecord, JobRecord, LogBatch, LogEntry, SyncRecord},
    v1::{Hold, JobEvent, Step, StepReport, TaskStatus, Workflow, WorkflowAttempt},
};

/// The first byte says what the others are. What can be read is written as it was read, and comes back.
pub fn records(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind {
        0 => record::<JobRecord>(bytes),
        1 => record::<SyncRecord>(bytes),
        2 => record::<InstanceRecord>(bytes),
        3 => record::<LogBatch>(bytes),
        4 => record::<Step>(bytes),
        5 => record::<StepReport>(bytes),
        6 => record::<Hold>(bytes),
        7 => record::<TaskStatus>(bytes),
        8 => record::<WorkflowAttempt>(bytes),
        9 => record::<Workflow>(bytes),
        10 => {
            record::<LogEntry>(bytes);
            let events = LogEntry::decode(bytes).map(|entry| entry.events).unwrap_or_default();
            for event in events {
                record::<JobEvent>(&event);
            }
        }
        kind => sled::fuzzing::files(*kind, bytes),
    }
}

/// Compared as bytes, for not every number is equal to itself.
fn record<M: Message + Default>(bytes: &[u8]) {
    let Ok(read) = M::decode(bytes) else { return };
    let written = read.encode_to_vec();
    let again = M::decode(&*written).expect("what was written can be read");
    assert_eq!(again.encode_to_vec(), written);
    assert_eq!(again.encoded_len(), written.len());
}
