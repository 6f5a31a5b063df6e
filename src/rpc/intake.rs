//! How much of requests is in hand at once, as they came over the wire: what is being received, what waits, and what is being
//! answered. Without this bound, what callers send would take as much memory as they like.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use tonic::Status;

use super::status;
use crate::config::Limits;

/// Counts the bytes of requests against their limit. Clones count together.
#[derive(Clone)]
pub struct Intake {
    bytes_max: u64,
    bytes: Arc<watch::Sender<u64>>,
}

impl Intake {
    /// Takes in `limits.request_bytes` at once.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { bytes_max: limits.request_bytes as u64, bytes: Arc::new(watch::Sender::new(0)) }
    }

    /// What is in hand now, and what may be.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (*self.bytes.borrow(), self.bytes_max)
    }

    /// A call that has sent nothing yet.
    pub(super) fn call(&self) -> Share {
        Share { intake: self.clone(), bytes: AtomicU64::new(0) }
    }

    fn take(&self, bytes: u64) -> bool {
        self.bytes.send_if_modified(|taken| {
            let fits = bytes <= self.bytes_max.saturating_sub(*taken);
            if fits {
                *taken += bytes;
            }
            fits
        })
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            self.bytes.send_modify(|taken| *taken -= bytes);
        }
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// What is in hand of one call, or of one message of it. Dropping it gives that back.
#[derive(Debug)]
pub(super) struct Share {
    intake: Intake,
    bytes: AtomicU64,
}

impl Share {
    /// More has come.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED: there is too much in hand.
    pub(super) fn add(&self, bytes: usize) -> Result<(), Status> {
        if !self.intake.take(bytes as u64) {
            return Err(status::overloaded("request_bytes", self.intake.bytes_max));
        }
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Splits off what has come so far, when a message of a stream is whole: it is in hand longer than the call goes on to send.
    /// How long the message was on the wire, nobody can tell afterwards. What came behind it in the same frame of HTTP/2 goes
    /// along, and no more: further frames are read when all messages of this one are taken.
    pub(super) fn split(&self) -> Self {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        Self { intake: self.intake.clone(), bytes: AtomicU64::new(bytes) }
    }

    /// Returns when no more than half of what may be is in hand, or some of it is this call's. Who brings much, and can wait
    /// with it, waits for this; but whoever has begun a message must finish it, or all would wait for one another.
    pub(super) async fn room(&self) {
        if self.bytes.load(Ordering::Relaxed) == 0 {
            let mut bytes = self.intake.bytes.subscribe();
            // It cannot close: the sender is ours.
            let _ = bytes.wait_for(|bytes| *bytes <= self.intake.bytes_max / 2).await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.intake.give_back(*self.bytes.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tonic_types::StatusExt as _;

    use super::*;

    fn intake(request_bytes: usize) -> Intake {
        Intake::new(&Limits { request_bytes, ..Limits::default() })
    }

    #[test]
    fn what_is_in_hand_is_bounded_and_comes_back() {
        let intake = intake(10);
        let (one, other) = (intake.call(), intake.call());
        one.add(6).unwrap();
        other.add(4).unwrap();
        let refused = other.add(1).unwrap_err();
        let details = refused.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.metadata["limit"].as_str()), ("OVERLOADED", "request_bytes"));
        assert_eq!(intake.bytes(), (10, 10), "a refusal takes nothing");
        drop(one);
        other.add(6).unwrap();
        drop(other);
        assert_eq!(intake.bytes(), (0, 10));
    }

    /// A message outlives what its call goes on to send, and is given back once.
    #[test]
    fn a_message_is_split_off() {
        let intake = intake(10);
        let call = intake.call();
        call.add(5).unwrap();
        let message = call.split();
        call.add(4).unwrap();
        assert_eq!(intake.bytes().0, 9);
        drop(message);
        assert_eq!(intake.bytes().0, 4);
        let of_nothing_more = [call.split(), call.split()];
        drop(call);
        assert_eq!(intake.bytes().0, 4);
        drop(of_nothing_more);
        assert_eq!(intake.bytes().0, 0);
    }

    #[tokio::test]
    async fn who_can_wait_leaves_half_to_those_who_cannot() {
        let intake = intake(10);
        let (one, other) = (intake.call(), intake.call());
        one.add(5).unwrap();
        assert!(other.room().now_or_never().is_some());
        one.add(1).unwrap();
        assert!(other.room().now_or_never().is_none());
        assert!(one.room().now_or_never().is_some(), "who has begun a message goes on");
        let ((), ()) = tokio::join!(other.room(), async { drop(one) });
    }
}
