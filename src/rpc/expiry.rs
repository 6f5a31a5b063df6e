//! When the credentials of a call that lasts are no longer good.

use std::{
    future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use futures_util::stream::{self, Stream};
use prost_types::Timestamp;
use tokio::time::{self, Instant};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::status;
use crate::auth::{Caller, Refusal};

/// How long a stream may take to end by itself once its credentials are no longer good. One that is not read does not.
const GRACE: Duration = Duration::from_secs(5);

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

    /// Whether they are no longer good.
    pub(super) fn has_passed(self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// This moment, or the one when they are no longer good if that is earlier.
    pub(super) fn or_earlier(self, moment: Instant) -> Instant {
        self.0.map_or(moment, |at| at.min(moment))
    }

    /// Returns when they are no longer good.
    pub(super) async fn passed(self) {
        match self.0 {
            Some(at) => time::sleep_until(at).await,
            None => future::pending().await,
        }
    }

    /// A stream that is let go of, with all that it holds, when the credentials have been no good for a while: also where
    /// nobody reads it, so that it cannot end by itself.
    pub(super) fn bound<S, R>(self, stream: S) -> impl Stream<Item = Result<R, Status>> + Send + use<S, R>
    where
        S: Stream<Item = Result<R, Status>> + Send + 'static,
    {
        let held = Arc::new(Mutex::new(Some(Box::pin(stream))));
        let take = move |held: &Mutex<Option<Pin<Box<S>>>>| {
            held.lock().unwrap_or_else(PoisonError::into_inner).take();
        };
        let timer = self.0.and_then(|at| at.checked_add(GRACE)).map(|at| {
            let held = Arc::clone(&held);
            AbortOnDropHandle::new(tokio::spawn(async move {
                time::sleep_until(at).await;
                take(&held);
            }))
        });
        let mut is_told = false;
        stream::poll_fn(move |context| {
            let _ = &timer;
            match held.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                Some(stream) => stream.as_mut().poll_next(context),
                None if is_told => Poll::Ready(None),
                None => {
                    is_told = true;
                    Poll::Ready(Some(Err(status::not_let_in(Refusal::Expired))))
                }
            }
        })
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
    async fn a_stream_that_is_not_read_is_let_go_of() {
        use futures_util::StreamExt as _;

        let held = Arc::new(());
        let kept = Arc::clone(&held);
        let endless = stream::poll_fn(move |_| {
            let _ = &kept;
            Poll::Ready(Some(Ok::<_, Status>(())))
        });
        let expiry = Expiry(Some(Instant::now() + Duration::from_secs(60)));
        let mut bound = Box::pin(expiry.bound(endless));
        assert!(bound.next().await.unwrap().is_ok());
        time::sleep(Duration::from_secs(64)).await;
        assert_eq!(Arc::strong_count(&held), 2);
        time::sleep(Duration::from_secs(2)).await;
        assert_eq!(Arc::strong_count(&held), 1, "nobody has read since");
        assert_eq!(bound.next().await.unwrap().unwrap_err().code(), tonic::Code::Unauthenticated);
        assert!(bound.next().await.is_none());
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
