//! Callers: each makes one call at a time, and all of them together what the server can do, or a given number in a second.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};

use super::{Error, sample::Sample, wire::Raw};

/// How long after its end a round may still wait for answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// The calls of one caller.
pub trait Caller: Send {
    /// The next request; `None` when there is none left.
    fn next(&mut self) -> Option<Bytes>;

    /// Looks at the reply.
    ///
    /// # Errors
    /// It is not what was to be answered: what is wrong.
    fn check(&mut self, reply: &Bytes) -> Result<(), String>;
}

/// How long, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long callers begin new calls.
    pub lasts: Duration,
    /// How many calls all of them begin in a second; as many as they can when unset.
    pub per_second: Option<u32>,
}

impl Pace {
    /// As fast as they can.
    #[must_use]
    pub fn flat_out(lasts: Duration) -> Self {
        Self { lasts, per_second: None }
    }

    /// When a caller begins a call: the `nth` of its own, where callers take turns.
    fn due(&self, begin: Instant, caller: usize, callers: usize, nth: u64) -> Option<Instant> {
        let turn = nth * callers as u64 + caller as u64;
        let nanos = turn.saturating_mul(1_000_000_000) / u64::from(self.per_second?.max(1));
        Some(begin + Duration::from_nanos(nanos))
    }
}

/// Has callers call `path` over shared connections.
///
/// # Errors
/// A call fails, is answered with something else than it should be, or takes far too long.
///
/// # Panics
/// When a caller does.
pub async fn run(
    channels: &[Channel],
    path: &'static str,
    callers: Vec<Box<dyn Caller>>,
    pace: Pace,
) -> Result<Sample, Error> {
    let begin = Instant::now();
    let count = callers.len();
    let tasks = callers.into_iter().enumerate().map(|(number, caller)| {
        let channel = channels[number % channels.len()].clone();
        let one = One { path, number, count, begin, pace };
        tokio::spawn(one.run(channel, caller))
    });
    let tasks: Vec<_> = tasks.collect();
    let aborts: Vec<_> = tasks.iter().map(tokio::task::JoinHandle::abort_handle).collect();
    let joined = timeout(pace.lasts.saturating_add(PATIENCE), join_all(tasks)).await;
    if joined.is_err() {
        aborts.iter().for_each(tokio::task::AbortHandle::abort);
    }
    let mut all = Sample::default();
    for sample in joined.map_err(|_| Error::Silent { path })? {
        all.join(&sample.expect("a caller does not panic")?);
    }
    all.seconds = begin.elapsed().as_secs_f64();
    Ok(all)
}

/// One of several callers.
struct One {
    path: &'static str,
    number: usize,
    count: usize,
    begin: Instant,
    pace: Pace,
}

impl One {
    async fn run(self, channel: Channel, mut caller: Box<dyn Caller>) -> Result<Sample, Error> {
        let path = self.path;
        let refused = |status| Error::Refused { path, status: Box::new(status) };
        let mut client = Grpc::new(channel);
        let mut sample = Sample::default();
        for nth in 0.. {
            let now = match self.pace.due(self.begin, self.number, self.count, nth) {
                None => Instant::now(),
                Some(due) if due - self.begin >= self.pace.lasts => break,
                Some(due) => {
                    sleep_until(due).await;
                    Instant::now()
                }
            };
            if self.pace.per_second.is_none() && now - self.begin >= self.pace.lasts {
                break;
            }
            let Some(request) = caller.next() else { break };
            sample.request_bytes += request.len() as u64;
            client.ready().await.map_err(Error::Connect)?;
            let request = Request::new(request);
            let reply = client.unary(request, PathAndQuery::from_static(path), Raw).await.map_err(refused)?;
            let reply = reply.into_inner();
            sample.record(u64::try_from(now.elapsed().as_micros()).unwrap_or(u64::MAX));
            sample.reply_bytes += reply.len() as u64;
            caller.check(&reply).map_err(|what| Error::Wrong { path, what })?;
        }
        Ok(sample)
    }
}

/// Sends the same again and again, and takes any reply.
#[derive(Clone, Debug)]
pub struct Same(pub Bytes);

impl Caller for Same {
    fn next(&mut self) -> Option<Bytes> {
        Some(self.0.clone())
    }

    fn check(&mut self, _: &Bytes) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_take_turns() {
        let begin = Instant::now();
        let pace = Pace { lasts: Duration::from_secs(1), per_second: Some(100) };
        let rows = [(0, 0, 0), (1, 0, 10), (3, 0, 30), (0, 1, 40), (2, 5, 220)];
        for (caller, nth, millis) in rows {
            assert_eq!(pace.due(begin, caller, 4, nth), Some(begin + Duration::from_millis(millis)));
        }
        assert_eq!(Pace::flat_out(pace.lasts).due(begin, 1, 4, 1), None);
    }
}
