//! The floor of free space: below it nothing is added to the store, while there is still room to end in good order, to
//! read, and to delete.

use std::{sync::atomic::Ordering, time::Duration};

use super::Engine;

/// How often the room is looked at. What can be written in that time must be far less than the floor.
const INTERVAL: Duration = Duration::from_secs(1);

/// Works until the engine stops.
pub(super) async fn run(engine: Engine) {
    let stop = engine.shared.stop.clone();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        engine.look_at_space();
    }
}

impl Engine {
    pub(super) fn look_at_space(&self) {
        let shared = &self.shared;
        let (floor, room) = (shared.options.free_bytes_min, shared.store.room());
        let is_full = room.is_some_and(|room| room < floor);
        if shared.is_full.swap(is_full, Ordering::Relaxed) == is_full {
            return;
        }
        if is_full {
            tracing::error!(free_bytes = room, floor, "THE DISK IS NEARLY FULL: changes are refused");
        } else {
            tracing::info!(free_bytes = room, floor, "there is room again: changes are taken");
        }
    }

    /// Whether what would add to the store is refused for want of room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.is_full.load(Ordering::Relaxed)
    }
}
