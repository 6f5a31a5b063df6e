//! The order of protobuf times.

use std::cmp::Ordering;

use prost_types::Timestamp;

/// The server's time, as a decision sees it.
pub type Instant = Timestamp;

/// Orders times as the merge does: a missing one is the earliest.
#[must_use]
pub fn compare_times(left: Option<&Timestamp>, right: Option<&Timestamp>) -> Ordering {
    let key = |time: &Timestamp| (time.seconds, time.nanos);
    left.map(key).cmp(&right.map(key))
}
