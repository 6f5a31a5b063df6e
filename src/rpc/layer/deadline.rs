//! When a call must end.
//!
//! tonic enforces `grpc-timeout` by itself, but outside of us, with CANCELLED, and only until the response head. Ours
//! must therefore never be the later one: it is parsed by the same rules, starts before tonic's, and is asked before
//! tonic's each time the call is polled. It holds for the body of the response as well, so that a stream ends with
//! DEADLINE_EXCEEDED. A client that stops reading also stops the polling, and is left to reset the stream itself.

use std::{
    future,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderValue};
use tokio::time::{self, Instant, Sleep};

const HEADER: &str = "grpc-timeout";
const DIGITS_MAX: usize = 8;

/// When a call must end, if ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline(Option<Instant>);

/// The deadline has passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed;

impl Deadline {
    /// A malformed timeout is none, as for tonic.
    pub(super) fn of(headers: &HeaderMap, received: Instant) -> Self {
        let timeout = headers.get(HEADER).and_then(parse);
        Self(timeout.and_then(|timeout| received.checked_add(timeout)))
    }

    pub(super) fn has_passed(self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// Runs `future`, and drops it at the deadline.
    pub(super) async fn bound<F: Future>(self, future: F) -> Result<F::Output, Passed> {
        let mut future = pin!(future);
        let mut alarm = Alarm::new(self);
        future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => alarm.poll(context).map(Err),
        })
        .await
    }
}

/// Wakes at a deadline. Its timer is only made once somebody has to wait: most calls are answered at once.
#[derive(Debug)]
pub(super) struct Alarm {
    deadline: Deadline,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    pub(super) fn new(deadline: Deadline) -> Self {
        Self { deadline, timer: None }
    }

    pub(super) fn has_passed(&self) -> bool {
        self.deadline.has_passed()
    }

    /// Ready once the deadline has passed. The clock is asked as well as the timer, since the timer may fire late and
    /// tonic's must not be the first.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Passed> {
        let Some(at) = self.deadline.0 else { return Poll::Pending };
        if !self.has_passed() {
            let timer = self.timer.get_or_insert_with(|| Box::pin(time::sleep_until(at)));
            ready!(timer.as_mut().poll(context));
        }
        Poll::Ready(Passed)
    }
}

/// At most eight digits and a unit, by the gRPC specification.
fn parse(value: &HeaderValue) -> Option<Duration> {
    let (digits, unit) = value.to_str().ok()?.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.len() > DIGITS_MAX {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 60 * 60)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_tonic_reads_them() {
        let rows = [
            ("1H", Some(Duration::from_secs(3_600))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("0n", Some(Duration::ZERO)),
            ("+7S", Some(Duration::from_secs(7))),
            ("", None),
            ("S", None),
            ("10", None),
            ("1s", None),
            ("-1S", None),
            ("1.5S", None),
            ("123456789S", None),
            ("é", None),
        ];
        for (text, expected) in rows {
            let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
            assert_eq!(parse(&value), expected, "{text:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_ready_in_time_is_dropped() {
        let deadline = Deadline(Some(Instant::now() + Duration::from_secs(3)));
        let started = Instant::now();
        assert_eq!(deadline.bound(future::pending::<()>()).await, Err(Passed));
        assert_eq!(started.elapsed().as_secs(), 3);
        assert!(deadline.has_passed());

        assert_eq!(deadline.bound(future::ready(1)).await, Ok(1), "what is there is handed over");
        assert_eq!(Deadline(None).bound(time::sleep(Duration::from_secs(9))).await, Ok(()));
    }
}
