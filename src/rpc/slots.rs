//! How many calls of a kind are open, in all and for each caller.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tonic::Status;

use super::status;
use crate::{auth::Caller, config::Limits};

/// Counts open calls of a kind against their limits. Clones count together.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    open: Arc<Mutex<Open>>,
    max: Limit,
    max_per_caller: Limit,
}

/// The name of a member of [`Limits`], and its value.
type Limit = (&'static str, usize);

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// By organization and user.
    by_caller: HashMap<(String, String), usize>,
}

/// One open call. Dropping it gives the slot back.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    caller: (String, String),
}

impl Slots {
    pub(super) fn watches(limits: &Limits) -> Self {
        Self::new(("watches", limits.watches), ("watches_per_caller", limits.watches_per_caller))
    }

    pub(super) fn sync_streams(limits: &Limits) -> Self {
        Self::new(
            ("sync_streams", limits.sync_streams),
            ("sync_streams_per_caller", limits.sync_streams_per_caller),
        )
    }

    /// Calls that wait for their answer.
    pub(super) fn calls(limits: &Limits) -> Self {
        Self::new(("calls", limits.calls), ("calls_per_caller", limits.calls_per_caller))
    }

    fn new(max: Limit, max_per_caller: Limit) -> Self {
        Self { open: Arc::default(), max, max_per_caller }
    }

    pub(super) fn take(&self, caller: &Caller) -> Result<Slot, Status> {
        let caller = (caller.org.clone(), caller.user.clone());
        let mut open = self.lock();
        let (limit, max) = self.max;
        if open.total >= max {
            return Err(status::limit_exceeded_for_now(limit, max as u64, None));
        }
        let of_caller = open.by_caller.entry(caller.clone()).or_default();
        let (limit, max) = self.max_per_caller;
        if *of_caller >= max {
            return Err(status::limit_exceeded_for_now(limit, max as u64, None));
        }
        *of_caller += 1;
        open.total += 1;
        drop(open);
        Ok(Slot { slots: self.clone(), caller })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
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
    use tonic_types::StatusExt as _;

    use super::*;

    fn caller_of(org: &str, user: &str) -> Caller {
        Caller {
            user: user.to_owned(),
            name: user.to_owned(),
            org: org.to_owned(),
            groups: Vec::new(),
            privileges: crate::auth::Privileges::All,
            expires: None,
        }
    }

    /// A caller is a user of an organization, whose name another organization's may have too.
    #[test]
    fn a_caller_counts_alone_and_nothing_is_left_of_who_went() {
        let slots = Slots::calls(&Limits { calls_per_caller: 1, ..Limits::default() });
        let callers = [("org", "a"), ("org", "b"), ("other", "a"), ("orga", ""), ("", "orga")];
        let taken = callers.map(|(org, user)| slots.take(&caller_of(org, user)).unwrap());
        for (org, user) in callers {
            let refused = slots.take(&caller_of(org, user)).unwrap_err();
            let retry = refused.get_details_retry_info().and_then(|info| info.retry_delay).unwrap();
            assert!((1..=5).contains(&retry.as_secs()), "{retry:?}");
        }
        assert_eq!(slots.lock().by_caller.len(), callers.len());
        drop(taken);
        let open = slots.lock();
        assert!(open.total == 0 && open.by_caller.is_empty(), "{open:?}");
    }

    #[test]
    fn a_panic_gives_the_slot_back() {
        let slots = Slots::calls(&Limits { calls_per_caller: 1, ..Limits::default() });
        let broken = std::thread::spawn({
            let slots = slots.clone();
            move || {
                let _slot = slots.take(&caller_of("org", "a")).unwrap();
                panic!("the handler broke down");
            }
        });
        assert!(broken.join().is_err());
        assert!(slots.take(&caller_of("org", "a")).is_ok());
    }

    #[test]
    fn slots_run_out_and_come_back() {
        let caller = |user: &str| caller_of("org", user);
        let limit = |taken: Result<Slot, Status>| taken.err().map(|status| status.message().to_owned());
        let slots = Slots::new(("watches", 3), ("watches_per_caller", 2));
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
