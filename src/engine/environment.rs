//! The wall clock and chance: the one place where they are read.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use uuid::Uuid;

/// What the engine takes from outside that is not a command. A simulation brings its own.
pub trait Environment: Send + Sync + 'static {
    /// The time. It may jump; the engine's own time never falls.
    fn now(&self) -> Timestamp;

    /// A new id, never given before, that sorts by `now`.
    fn new_uuid(&self, now: &Timestamp) -> Uuid;
}

/// The machine's clock and its randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Environment for System {
    fn now(&self) -> Timestamp {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp {
            seconds: i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX),
            nanos: elapsed.subsec_nanos().cast_signed(),
        }
    }

    fn new_uuid(&self, now: &Timestamp) -> Uuid {
        let seconds = u64::try_from(now.seconds).unwrap_or_default();
        Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, now.nanos.cast_unsigned()))
    }
}
