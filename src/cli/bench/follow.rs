//! Watchers, and what they are told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use prost::Message as _;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tonic::{Request, Streaming, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};

use super::{Error, load::Caller, sample::Sample, template, wire::Raw};
use crate::proto::v1::{
    JobEvent, UpdateExecutionTaskStatusRequest, WatchJobsResponse, watch_message::Kind as WatchKind,
};

/// How long a watcher waits for what it knows is to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose messages they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The bare server's: each is one event.
    Bare,
    /// Ours: each has some events, or none.
    Ours,
}

/// What a message tells.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// That the watch stands.
    Created,
    /// These events, encoded.
    Events(Vec<Bytes>),
    /// That there is nothing.
    Silence,
}

impl Whose {
    pub(super) fn read(self, path: &'static str, message: Bytes) -> Result<Told, Error> {
        if self == Self::Bare {
            return Ok(if message.is_empty() { Told::Created } else { Told::Events(vec![message]) });
        }
        let wrong = |what: String| Error::Wrong { path, what };
        let response = WatchJobsResponse::decode(message).map_err(|error| wrong(error.to_string()))?;
        match response.message.and_then(|message| message.kind) {
            Some(WatchKind::Created(_)) => Ok(Told::Created),
            Some(WatchKind::Batch(batch)) => Ok(Told::Events(batch.events)),
            Some(WatchKind::Checkpoint(_)) => Ok(Told::Silence),
            Some(WatchKind::Draining(_)) | None => Err(wrong("the watch ends".to_owned())),
        }
    }
}

/// A watcher that stands.
#[derive(Debug)]
pub(super) struct Follower {
    whose: Whose,
    path: &'static str,
    stream: Streaming<Bytes>,
}

impl Follower {
    /// Begins to watch; returns once the watch stands.
    pub(super) async fn open(
        whose: Whose,
        channel: Channel,
        path: &'static str,
        request: Bytes,
    ) -> Result<Self, Error> {
        let mut follower = Self { whose, path, stream: stream(channel, path, request).await? };
        match follower.next().await? {
            Told::Created => Ok(follower),
            told => Err(Error::Wrong { path, what: format!("it begins with {told:?}") }),
        }
    }

    /// What it is told next.
    pub(super) async fn next(&mut self) -> Result<Told, Error> {
        let path = self.path;
        let message = timeout(PATIENCE, self.stream.message()).await.map_err(|_| Error::Silent { path })?;
        let message = message.map_err(|status| Error::Refused { path, status: Box::new(status) })?;
        let ended = || Error::Wrong { path, what: "the stream ended".to_owned() };
        self.whose.read(path, message.ok_or_else(ended)?)
    }

    /// Reads until it has been told of so many events as are expected, once that is known.
    pub(super) async fn round(mut self, mut expected: watch::Receiver<u64>) -> Result<Round, Error> {
        let mut arrivals = Arrivals::default();
        loop {
            let until = *expected.borrow_and_update();
            let got = arrivals.times.len() as u64;
            if got > until {
                let what = format!("{got} events came of {until}");
                return Err(Error::Wrong { path: self.path, what });
            }
            if got == until {
                return Ok(Round { follower: self, arrivals });
            }
            let told = tokio::select! {
                biased;
                told = self.next() => told,
                changed = expected.changed() => match changed {
                    Ok(()) => continue,
                    // Whoever knew how many there are has failed, and says so.
                    Err(_) => return Err(Error::Lost { got, expected: until }),
                },
            };
            match told {
                Err(Error::Silent { .. }) => return Err(Error::Lost { got, expected: until }),
                Err(error) => return Err(error),
                Ok(Told::Events(events)) => arrivals.add(events),
                Ok(Told::Created | Told::Silence) => {}
            }
        }
    }
}

/// The raw messages of a stream.
pub(super) async fn stream(
    channel: Channel,
    path: &'static str,
    request: Bytes,
) -> Result<Streaming<Bytes>, Error> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(Error::Connect)?;
    let opened = client.server_streaming(Request::new(request), PathAndQuery::from_static(path), Raw).await;
    opened
        .map(tonic::Response::into_inner)
        .map_err(|status| Error::Refused { path, status: Box::new(status) })
}

/// Opens so many watchers, spread over connections.
pub(super) async fn open_all(
    whose: Whose,
    channels: &[Channel],
    count: usize,
    path: &'static str,
    request: impl Fn(usize) -> Bytes,
) -> Result<Vec<Follower>, Error> {
    let request = &request;
    let opened = channels.iter().enumerate().map(|(place, channel)| async move {
        let mut followers = Vec::new();
        for number in (place..count).step_by(channels.len()) {
            followers.push(Follower::open(whose, channel.clone(), path, request(number)).await?);
        }
        Ok::<_, Error>(followers)
    });
    Ok(try_join_all(opened).await?.into_iter().flatten().collect())
}

/// What a watcher was told in a round.
pub(super) struct Round {
    /// Who was.
    pub(super) follower: Follower,
    /// When, and what.
    pub(super) arrivals: Arrivals,
}

/// When events came. What they were is kept too, and read once the round is over.
#[derive(Default)]
pub(super) struct Arrivals {
    times: Vec<Instant>,
    events: Vec<Bytes>,
    bytes: u64,
}

impl Arrivals {
    fn add(&mut self, events: Vec<Bytes>) {
        let now = Instant::now();
        for event in events {
            self.times.push(now);
            self.bytes += event.len() as u64;
            self.events.push(event);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.times.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of each event the change that it tells, where it tells one of a caller's.
    fn changes(&self) -> Vec<Option<u64>> {
        self.events.iter().map(change_of).collect()
    }
}

/// The number of the change that an event tells.
fn change_of(event: &Bytes) -> Option<u64> {
    let time = JobEvent::decode(event.clone()).ok()?.task?.execution?.report_time?;
    let millis = time.seconds.checked_mul(1_000)? + i64::from(time.nanos / 1_000_000);
    template::change_at(u64::try_from(millis).ok()?)
}

/// How long after its change was sent each watcher was told of it. All of them are told the same in the same order.
pub(super) fn delays(told: &[Round], sent: &HashMap<u64, Instant>) -> Sample {
    let mut delays = Sample::default();
    let Some(first) = told.first() else { return delays };
    for (place, change) in first.arrivals.changes().into_iter().enumerate() {
        let Some(sent) = change.and_then(|change| sent.get(&change)) else { continue };
        for round in told {
            let delay = round.arrivals.times[place] - *sent;
            delays.record(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX));
        }
    }
    delays
}

/// When which change was sent.
pub(super) type Sent = Arc<Mutex<HashMap<u64, Instant>>>;

/// Notes when its changes are sent.
pub(super) struct Noted {
    /// Who sends them.
    pub(super) caller: Box<dyn Caller>,
    /// Where it is noted.
    pub(super) sent: Sent,
}

impl Caller for Noted {
    fn next(&mut self) -> Option<Bytes> {
        let request = self.caller.next()?;
        let time = UpdateExecutionTaskStatusRequest::decode(request.clone()).ok()?.timestamp?;
        let change = template::change_at(u64::try_from(time).ok()?)?;
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(change, Instant::now());
        Some(request)
    }

    fn check(&mut self, reply: &Bytes) -> Result<(), String> {
        self.caller.check(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{
        WatchBatch,
        v1::{TaskExecution, TaskStatus, WatchCheckpoint, WatchCreated, WatchDraining, WatchMessage},
    };

    #[test]
    fn an_event_tells_its_change() {
        let millis = template::millis(12_345);
        let seconds = i64::try_from(millis / 1_000).unwrap();
        let nanos = i32::try_from(millis % 1_000).unwrap() * 1_000_000;
        let report_time = Some(prost_types::Timestamp { seconds, nanos });
        let execution = Some(TaskExecution { report_time, ..TaskExecution::default() });
        let task = Some(TaskStatus { execution, ..TaskStatus::default() });
        let event = JobEvent { task: task.map(Into::into), ..JobEvent::default() };
        assert_eq!(change_of(&event.encode_to_vec().into()), Some(12_345));
        assert_eq!(change_of(&JobEvent::default().encode_to_vec().into()), None);
    }

    #[test]
    fn messages_are_told_apart() {
        let ours = |kind| {
            let message = Some(WatchMessage { kind, ..WatchMessage::default() });
            Whose::Ours.read("", WatchJobsResponse { message }.encode_to_vec().into())
        };
        let event = Bytes::from_static(b"event");
        let batch = WatchBatch { events: vec![event.clone(); 2], ..WatchBatch::default() };
        assert_eq!(ours(Some(WatchKind::Created(WatchCreated::default()))).unwrap(), Told::Created);
        assert_eq!(ours(Some(WatchKind::Batch(batch))).unwrap(), Told::Events(vec![event.clone(); 2]));
        assert_eq!(ours(Some(WatchKind::Checkpoint(WatchCheckpoint::default()))).unwrap(), Told::Silence);
        assert!(ours(Some(WatchKind::Draining(WatchDraining {}))).is_err());
        assert!(ours(None).is_err());
        assert_eq!(Whose::Bare.read("", Bytes::new()).unwrap(), Told::Created);
        assert_eq!(Whose::Bare.read("", event.clone()).unwrap(), Told::Events(vec![event]));
    }
}
