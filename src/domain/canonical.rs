//! The canonical form of what devices send, so that equal contents are equal bytes.
//!
//! Fields are encoded in the order of their numbers and maps in the order of their keys (the generated structs do both);
//! what is left to do here is that null at a `Value` member is the same as its absence, and that zero has no sign: otherwise one
//! of two equal contents would win a tie and then not be seen to have. A [`Document`](crate::proto::Document) is so already.

use std::cmp::Ordering;

use prost::Message;
use prost_types::{Value, value::Kind};

use crate::proto::{storage::v1::SyncHeader, unsign_zeros, v1::StepEntry};

/// Brings a step entry to its canonical form.
pub fn normalize_entry(entry: &mut StepEntry) {
    for step in [&mut entry.single_step, &mut entry.report_step].into_iter().flatten() {
        drop_null(&mut step.time_events);
        drop_null(&mut step.coordinates);
        let values = step.values.iter_mut().chain(&mut step.time_events).chain(&mut step.coordinates);
        values.for_each(unsign_zeros);
    }
}

/// Brings a header to its canonical form.
pub(super) fn normalize_header(header: &mut SyncHeader) {
    drop_null(&mut header.hierarchy_stack);
    header.job_exclusion.iter_mut().chain(&mut header.hierarchy_stack).for_each(unsign_zeros);
}

/// Orders two messages that are otherwise level: by their bytes.
pub(super) fn compare<M: Message + PartialEq>(left: &M, right: &M) -> Ordering {
    if left == right { Ordering::Equal } else { left.encode_to_vec().cmp(&right.encode_to_vec()) }
}

fn drop_null(value: &mut Option<Value>) {
    let is_null = |value: &mut Value| matches!(value.kind, None | Some(Kind::NullValue(_)));
    *value = value.take_if(|value| !is_null(value));
}
