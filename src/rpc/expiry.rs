//! When the credentials of a call that lasts are no longer good.

use std::{future, time::Duration};

use prost_types::Timestamp;
use tokio::time::{self, Instant};

use crate::auth::Caller;

/// Credentials are asked for at the beginning of a call; a stream ends when they would be refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry(Option<Instant>);

impl Expiry {
    pub(super) fn of(caller: &Caller, now: &Timestamp) -> Self {
        let left = |expires: Timestamp| {
            let nanos = i64::from(expires.nanos) - i64::from(now.nanos);
            let left = (expires.seconds - now.seconds).saturating_mul(1_000_000_000).saturating_add(nanos);
            Duration::from_nanos(u64::try_from(left).unwrap_or_default())
        };
        Self(caller.expires.and_then(|expires| Instant::now().checked_add(left(expires))))
    }

    /// Returns when they are no longer good.
    pub(super) async fn passed(self) {
        match self.0 {
            Some(at) => time::sleep_until(at).await,
            None => future::pending().await,
        }
    }
}
