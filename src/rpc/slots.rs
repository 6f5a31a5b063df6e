//! How many watches are open, in all and for each caller.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tonic::Status;

use super::status;
use crate::auth::Caller;

/// Counts open watches against their limits. Clones count together.
#[derive(Clone)]
pub struct WatchSlots {
    open: Arc<Mutex<Open>>,
    max: usize,
    max_per_caller: usize,
}

#[derive(Default)]
struct Open {
    total: usize,
    /// By organization and user.
    by_caller: HashMap<(String, String), usize>,
}

/// One open watch. Dropping it gives the slot back.
pub(super) struct WatchSlot {
    slots: WatchSlots,
    caller: (String, String),
}

impl WatchSlots {
    /// Slots for so many watches in all, and so many of one caller.
    #[must_use]
    pub fn new(max: usize, max_per_caller: usize) -> Self {
        Self { open: Arc::default(), max, max_per_caller }
    }

    pub(super) fn take(&self, caller: &Caller) -> Result<WatchSlot, Status> {
        let caller = (caller.org.clone(), caller.user.clone());
        let mut open = self.lock();
        if open.total >= self.max {
            return Err(status::limit_exceeded("watches", self.max as u64));
        }
        let of_caller = open.by_caller.entry(caller.clone()).or_default();
        if *of_caller >= self.max_per_caller {
            return Err(status::limit_exceeded("watches_per_caller", self.max_per_caller as u64));
        }
        *of_caller += 1;
        open.total += 1;
        drop(open);
        Ok(WatchSlot { slots: self.clone(), caller })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WatchSlot {
    fn drop(&mut self) {
        let mut open = self.slots.lock();
        open.total -= 1;
        if let Some(of_caller) = open.by_caller.get_mut(&self.caller) {
            *of_caller -= 1;
            if *of_caller == 0 {
                open.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_run_out_and_come_back() {
        let caller = |user: &str| Caller {
            user: user.to_owned(),
            name: user.to_owned(),
            org: "org".to_owned(),
            groups: Vec::new(),
            privileges: crate::auth::Privileges::All,
        };
        let limit = |taken: Result<WatchSlot, Status>| taken.err().map(|status| status.message().to_owned());
        let slots = WatchSlots::new(3, 2);
        let first = slots.take(&caller("a")).unwrap();
        let _second = slots.take(&caller("a")).unwrap();
        let refused = limit(slots.take(&caller("a"))).unwrap();
        assert!(refused.contains("watches_per_caller of 2"), "{refused}");
        let _third = slots.take(&caller("b")).unwrap();
        let refused = limit(slots.take(&caller("c"))).unwrap();
        assert!(refused.contains("watches of 3"), "{refused}");
        drop(first);
        assert_eq!(limit(slots.take(&caller("c"))), None);
    }
}
