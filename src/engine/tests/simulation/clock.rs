//! The clock of a simulated machine: it runs with the runtime's virtual time, stands, and jumps. Its ids repeat with the seed.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prost_types::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{chance::Chance, engine::Environment};

/// When every simulation begins, in milliseconds.
const BEGINNING_MILLIS: i64 = 1_000_000_000;

pub(super) struct Clock {
    reading: Mutex<Reading>,
    ids: AtomicU64,
}

struct Reading {
    millis: i64,
    /// The runtime's time when it was that; `None`: it stands.
    since: Option<Instant>,
}

impl Clock {
    pub(super) fn new() -> Self {
        let reading = Reading { millis: BEGINNING_MILLIS, since: None };
        Self { reading: Mutex::new(reading), ids: AtomicU64::new(0) }
    }

    /// Runs on, forward or back by so much.
    pub(super) fn jump(&self, millis: i64) {
        let now = self.millis();
        *self.reading.lock().unwrap() = Reading { millis: now + millis, since: Some(Instant::now()) };
    }

    /// Stands still. It must, between two runtimes.
    pub(super) fn stand(&self) {
        let now = self.millis();
        *self.reading.lock().unwrap() = Reading { millis: now, since: None };
    }

    pub(super) fn millis(&self) -> i64 {
        let reading = self.reading.lock().unwrap();
        let run = reading.since.map_or(Duration::ZERO, |since| since.elapsed());
        reading.millis + i64::try_from(run.as_millis()).expect("a simulation is short")
    }
}

/// A time of so many milliseconds.
pub(super) fn time_of(millis: i64) -> Timestamp {
    let nanos = i32::try_from(millis.rem_euclid(1_000) * 1_000_000).expect("less than a second");
    Timestamp { seconds: millis.div_euclid(1_000), nanos }
}

impl Environment for Clock {
    fn now(&self) -> Timestamp {
        time_of(self.millis())
    }

    fn new_uuid(&self, _now: &Timestamp) -> Uuid {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        Uuid::from_u64_pair(Chance::new(id).next(), id)
    }
}
