//! Requests that were answered, so that a repeat gets the same answer.
//!
//! The log holds the replies; this is the way to them, in memory, rebuilt from the log at start. It reaches back as far
//! as the window, the limit on its size and the log's retention let it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prost_types::Timestamp;

use super::{Options, ids::digest, logged::decode_entry, seek::first_at};
use crate::store::{self, Partition, Sequence, Store};

/// How much of the log is read at once.
const READ_BYTES: usize = 1 << 20;

/// A hash of (organization, caller, request id).
pub(super) type RequestKey = [u8; 16];

#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// A hash of the method and the body.
    pub(super) body: [u8; 16],
    /// The log entry that has the reply.
    pub(super) sequence: Sequence,
}

pub(super) struct Requests {
    window: Duration,
    max: u64,
    answered: HashMap<RequestKey, Answered>,
    /// By time of answering, which is the order of the log. A request that was answered anew is in it twice.
    order: VecDeque<(i64, RequestKey, Sequence)>,
    /// How many are remembered, for others to see.
    pub(super) count: Arc<AtomicU64>,
}

pub(super) fn request_key(org: &str, caller: &str, request_id: &str) -> RequestKey {
    digest(&["request", org, caller, request_id])
}

impl Requests {
    /// Reads back what the log remembers.
    pub(super) async fn load(
        store: &dyn Store,
        partition: Partition,
        now: &Timestamp,
        options: &Options,
    ) -> store::Result<Self> {
        let mut requests = Self {
            window: options.request_window,
            max: options.requests_max,
            answered: HashMap::new(),
            order: VecDeque::new(),
            count: Arc::default(),
        };
        let oldest = now.seconds.saturating_sub(requests.window_seconds());
        let mut after = first_at(store, partition, oldest).await?;
        loop {
            let records = store.transient_log(partition, after, READ_BYTES).await?;
            let Some(last) = records.last() else { return Ok(requests) };
            after = last.sequence;
            for record in records {
                let entry = decode_entry(&record)?;
                let time = entry.time.unwrap_or_default();
                let Some(request) = entry.request else { continue };
                if let (Ok(key), Ok(body)) = (request.key[..].try_into(), request.body[..].try_into()) {
                    requests.insert(&time, key, Answered { body, sequence: record.sequence });
                }
            }
        }
    }

    pub(super) fn get(&self, key: &RequestKey) -> Option<Answered> {
        self.answered.get(key).copied()
    }

    pub(super) fn insert(&mut self, now: &Timestamp, key: RequestKey, answered: Answered) {
        self.answered.insert(key, answered);
        self.order.push_back((now.seconds, key, answered.sequence));
        self.forget_old(now);
    }

    /// Forgets what is past the window or the limit, as a start at this time would.
    pub(super) fn forget_old(&mut self, now: &Timestamp) {
        let oldest = now.seconds.saturating_sub(self.window_seconds());
        while self.order.len() as u64 > self.max
            || self.order.front().is_some_and(|(time, ..)| *time < oldest)
        {
            self.forget_first();
        }
        self.count.store(self.answered.len() as u64, Ordering::Relaxed);
    }

    /// Forgets those whose replies are no longer in the log, which begins at `oldest`.
    pub(super) fn forget_trimmed(&mut self, oldest: Sequence) {
        while self.order.front().is_some_and(|(.., sequence)| *sequence < oldest) {
            self.forget_first();
        }
        self.count.store(self.answered.len() as u64, Ordering::Relaxed);
    }

    fn forget_first(&mut self) {
        let Some((_, key, sequence)) = self.order.pop_front() else { return };
        if self.answered.get(&key).is_some_and(|answered| answered.sequence == sequence) {
            self.answered.remove(&key);
        }
    }

    fn window_seconds(&self) -> i64 {
        i64::try_from(self.window.as_secs()).unwrap_or(i64::MAX)
    }
}
