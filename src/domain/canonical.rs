//! The canonical form of what devices send, so that equal contents are equal bytes.
//!
//! Fields are encoded in the order of their numbers and maps in the order of their keys (the generated structs do both);
//! what is left to do here is that null at a `Value` member is the same as its absence.

use prost::Message;
use prost_types::{Value, value::Kind};

use crate::proto::{storage::v1::SyncHeader, v1::StepEntry};

/// Brings a step entry to its canonical form.
pub fn normalize_entry(entry: &mut StepEntry) {
    for step in [&mut entry.single_step, &mut entry.report_step].into_iter().flatten() {
        drop_null(&mut step.time_events);
        drop_null(&mut step.coordinates);
    }
}

/// Brings a header to its canonical form.
pub(super) fn normalize_header(header: &mut SyncHeader) {
    drop_null(&mut header.hierarchy_stack);
}

/// The bytes that order two messages that are otherwise level.
pub(super) fn bytes(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}

fn drop_null(value: &mut Option<Value>) {
    let is_null = |value: &mut Value| matches!(value.kind, None | Some(Kind::NullValue(_)));
    *value = value.take_if(|value| !is_null(value));
}
