//! How the engine is: what its store takes, how far its logs reach, and how far behind its watches are.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{Engine, tail::Bell};
use crate::store::{Extent, Partition, Sequence};

/// How the engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStatus {
    /// What the files of the store take.
    pub disk_bytes: u64,
    /// How many bytes more could be written; `None` where that is not known, or there are no files.
    pub free_bytes: Option<u64>,
    /// The room that there must be for anything to be added.
    pub free_bytes_min: u64,
    /// There is less, and so it is refused.
    pub is_full: bool,
    /// By number.
    pub partitions: Vec<PartitionStatus>,
    /// Of all organizations.
    pub watches: WatchStatus,
}

/// How a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// How far its log reaches.
    pub extent: Extent,
    /// Commands that wait for the writer.
    pub commands_waiting: usize,
    /// How many may.
    pub commands_waiting_max: usize,
    /// Answered requests that are remembered.
    pub request_ids: u64,
}

/// How the watches are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchStatus {
    /// How many are open.
    pub open: usize,
    /// How many have events before them that they have not looked at.
    pub behind: usize,
    /// The most that one has before it.
    pub lag_events_max: u64,
}

impl Engine {
    /// How it is now.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        let shared = &self.shared;
        let partitions = self.partitions().map(|partition| {
            let number = usize::from(partition.0);
            let queue = &shared.inboxes[number].queue;
            let (oldest, head) = (shared.store.oldest(partition), *shared.store.head(partition).borrow());
            PartitionStatus {
                extent: Extent { oldest, head },
                commands_waiting: queue.max_capacity() - queue.capacity(),
                commands_waiting_max: queue.max_capacity(),
                request_ids: shared.request_ids[number].load(Ordering::Relaxed),
            }
        });
        let heads: Vec<_> = self.partitions().map(|partition| self.tail(partition).head()).collect();
        EngineStatus {
            disk_bytes: shared.store.disk_bytes(),
            free_bytes: shared.store.room(),
            free_bytes_min: shared.options.free_bytes_min,
            is_full: self.is_full(),
            partitions: partitions.collect(),
            watches: shared.watches.status(&heads),
        }
    }
}

/// The watches that are open.
#[derive(Default)]
pub(super) struct Watches {
    next_id: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Gauge>>>,
}

/// Where a watch is, for others to see.
struct Gauge {
    places: Vec<AtomicU64>,
    /// It has looked at everything that a bell rang for.
    is_idle: AtomicBool,
    bell: Arc<Bell>,
}

/// A watch among those that are open. Dropping it takes it out.
pub(super) struct Registered {
    watches: Arc<Watches>,
    id: u64,
    gauge: Arc<Gauge>,
}

impl Watches {
    pub(super) fn register(self: &Arc<Self>, bell: &Arc<Bell>, places: &[Sequence]) -> Registered {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let places = places.iter().map(|place| AtomicU64::new(place.0)).collect();
        let gauge = Arc::new(Gauge { places, is_idle: AtomicBool::new(false), bell: Arc::clone(bell) });
        self.open().insert(id, Arc::clone(&gauge));
        Registered { watches: Arc::clone(self), id, gauge }
    }

    fn status(&self, heads: &[Sequence]) -> WatchStatus {
        let open = self.open();
        let lags = || open.values().map(|gauge| gauge.lag(heads));
        WatchStatus {
            open: open.len(),
            behind: lags().filter(|lag| *lag > 0).count(),
            lag_events_max: lags().max().unwrap_or_default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Gauge>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gauge {
    /// How many events it has before it.
    fn lag(&self, heads: &[Sequence]) -> u64 {
        let is_idle = self.is_idle.load(Ordering::Relaxed);
        let lag = |(number, (place, head)): (u16, (&AtomicU64, &Sequence))| match self
            .bell
            .rung_for(Partition(number))
        {
            Some(before) if is_idle => head.0.saturating_sub(before.0),
            // Nothing that came since is for it.
            None if is_idle => 0,
            _ => head.0.saturating_sub(place.load(Ordering::Relaxed)),
        };
        (0..).zip(self.places.iter().zip(heads)).map(lag).sum()
    }
}

impl Registered {
    /// The watch has come to these places, and has nothing more to look at or may have.
    pub(super) fn note(&self, places: &[Sequence], is_idle: bool) {
        for (noted, place) in self.gauge.places.iter().zip(places) {
            noted.store(place.0, Ordering::Relaxed);
        }
        self.gauge.is_idle.store(is_idle, Ordering::Relaxed);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.watches.open().remove(&self.id);
    }
}
