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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Privileges;

    fn caller(expires: Option<Timestamp>) -> Caller {
        Caller {
            user: "a".to_owned(),
            name: "a".to_owned(),
            org: "org".to_owned(),
            groups: Vec::new(),
            privileges: Privileges::All,
            expires,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_passes_to_the_moment() {
        let time = |seconds, nanos| Timestamp { seconds, nanos };
        let year_9999 = time(253_402_300_799, 999_999_999);
        let rows = [
            (time(10, 0), time(10, 0), 0),
            (time(10, 0), time(11, 0), 0),
            (time(10, 5_000_000), time(10, 6_000_000), 0),
            (time(-10, 0), time(10, 0), 0),
            (time(11, 0), time(10, 0), 1_000),
            (time(11, 0), time(10, 250_000_000), 750),
            (time(11, 250_000_000), time(10, 0), 1_250),
            (time(10, 250_000_000), time(10, 0), 250),
            (time(7_200, 0), time(0, 0), 7_200_000),
        ];
        for (expires, now, milliseconds) in rows {
            let started = Instant::now();
            Expiry::of(&caller(Some(expires)), &now).passed().await;
            // Timers go by whole milliseconds.
            let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap();
            assert!((milliseconds..=milliseconds + 1).contains(&elapsed), "{expires:?} {now:?}: {elapsed}");
        }
        for never in [None, Some(year_9999)] {
            let expiry = Expiry::of(&caller(never), &time(0, 0));
            let century = Duration::from_secs(100 * 365 * 24 * 3_600);
            assert!(time::timeout(century, expiry.passed()).await.is_err(), "{never:?}");
        }
    }
}
