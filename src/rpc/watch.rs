//! The stream of a watch: what the engine's watch delivers, as messages with tokens.
//!
//! The stream is pulled: tonic asks for a message when HTTP/2 has room for it, so at most one delivery waits here for a
//! client that does not read. It holds no task and no queue.

use std::{collections::BTreeSet, collections::VecDeque, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use prost::Message as _;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::{expiry::Expiry, parse::WatchWish, slots::Slot, status, token};
use crate::{
    auth::Refusal,
    engine::{
        Delivered, Delivery, Engine, LoggedEvent, Position, SnapshotPosition, Start, Target, Views, Watch,
        WatchError,
    },
    proto::{
        WatchBatch,
        storage::v1::{PartitionPosition, ResumeToken, SnapshotProgress},
        v1::{
            JobDetails, JobEvent, JobEventType, JobStatus, WatchCheckpoint, WatchCreated, WatchDraining,
            WatchJobResponse, WatchJobsResponse, WatchMessage, WatchStart, watch_message::Kind,
        },
    },
    store::Sequence,
};

#[cfg(test)]
mod tests;

/// A message holds no more, unless one event or job is larger by itself.
const BATCH_BYTES_MAX: usize = 128 << 10;

/// Cancelled when the server is going away.
pub type Drain = CancellationToken;

/// What `WatchJob` answers with.
pub type WatchJobStream = Pin<Box<dyn Stream<Item = Result<WatchJobResponse, Status>> + Send>>;
/// What `WatchJobs` answers with.
pub type WatchJobsStream = Pin<Box<dyn Stream<Item = Result<WatchJobsResponse, Status>> + Send>>;

pub(super) async fn job_stream(
    engine: &Engine,
    wish: WatchWish,
    slot: Slot,
    drain: Drain,
    expiry: Expiry,
) -> Result<WatchJobStream, Status> {
    let messages = Messages::open(engine, wish, slot, drain, expiry).await?;
    Ok(Box::pin(expiry.bound(messages.stream(|message| WatchJobResponse { message: Some(message) }))))
}

pub(super) async fn jobs_stream(
    engine: &Engine,
    wish: WatchWish,
    slot: Slot,
    drain: Drain,
    expiry: Expiry,
) -> Result<WatchJobsStream, Status> {
    let messages = Messages::open(engine, wish, slot, drain, expiry).await?;
    Ok(Box::pin(expiry.bound(messages.stream(|message| WatchJobsResponse { message: Some(message) }))))
}

/// The messages of one watch.
struct Messages {
    engine: Engine,
    watch: Watch,
    tokens: Tokens,
    ready: VecDeque<WatchMessage>,
    /// The token of the last message made.
    last_token: String,
    is_snapshot_complete: bool,
    /// The one job that is watched, until the snapshot has told it.
    awaited_job_id: Option<String>,
    heartbeat: Duration,
    next_heartbeat: Instant,
    /// Only these events go to the client; empty: all.
    event_types: BTreeSet<JobEventType>,
    end: End,
    /// Where the log was when the job was seen at its end: a watch that ends with the job gets there first.
    end_position: Position,
    drain: Drain,
    /// When the caller's credentials are no longer good.
    expiry: Expiry,
    /// What ends a wait beside the watch, made once and not with each event. The timer may go off for a heartbeat that was put
    /// off since.
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    timer: Pin<Box<Sleep>>,
    _slot: Slot,
}

/// When a watch of one job ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Never.
    Never,
    /// After the job's deletion, for nothing can follow.
    OnDeletion,
    /// After the command that brings the job to its end.
    OnTerminal,
    /// When all there is has been sent: the job is at its end already.
    WhenCaughtUp,
    /// Once what is ready has been sent.
    Now,
    /// With this, once what is ready has been sent: the server is going away.
    Draining,
    /// With this, once what is ready has been sent: the caller's credentials are no longer good.
    Expired,
    /// It has.
    Ended,
}

impl Messages {
    /// Takes up the watch's place, so that nothing after the first message is missed.
    async fn open(
        engine: &Engine,
        wish: WatchWish,
        slot: Slot,
        drain: Drain,
        expiry: Expiry,
    ) -> Result<Self, Status> {
        let WatchWish { mut scope, token_scope, start, resume_token, heartbeat, job_id, end_on_terminal } =
            wish;
        if drain.is_cancelled() {
            return Err(status::shutting_down());
        }
        let tokens = Tokens { store_id: engine.store_id().0.as_bytes().to_vec(), scope: token_scope };
        let start = match (resume_token.as_str(), start) {
            ("", WatchStart::Unspecified | WatchStart::Snapshot) => Start::Snapshot,
            ("", WatchStart::Now) => Start::Now,
            ("", WatchStart::Earliest) => Start::Earliest,
            (token, _) => Start::At(tokens.open(token)?),
        };
        let is_snapshot_complete = match &start {
            Start::Snapshot => false,
            Start::Now | Start::Earliest => true,
            Start::At(position) => position.snapshot.is_none(),
        };
        // Whether the job is at its end can only be seen where no event is left out before.
        let event_types = std::mem::take(&mut scope.event_types);
        if job_id.is_none() {
            scope.event_types.clone_from(&event_types);
        }
        let is_awaited = |job_id: &String| match &start {
            Start::Snapshot => true,
            Start::Now | Start::Earliest => false,
            Start::At(position) => position.snapshot.as_ref().is_some_and(|place| place.job_id < *job_id),
        };
        let awaited_job_id = job_id.clone().filter(is_awaited);
        let org = scope.org.clone();
        let may_outlive_job = matches!(start, Start::Earliest | Start::At(_));
        let watch = engine.watch(scope, start);
        let watch = match watch {
            Ok(watch) => watch,
            Err(error) => return Err(refusal(engine, error).await),
        };
        let end = match &job_id {
            None => End::Never,
            Some(job_id) => {
                let job = engine.job(&org, Target::Job(job_id), &Views::default()).await;
                match job.map_err(|error| status::from_engine(job_id, error))? {
                    None if !may_outlive_job => return Err(status::job_not_found("jobId", job_id)),
                    None => {
                        let history = engine.history(&org, job_id, Sequence::default()).await;
                        if history.map_err(|error| status::from_engine(job_id, error))?.is_empty() {
                            return Err(status::job_not_found("jobId", job_id));
                        }
                        End::WhenCaughtUp
                    }
                    Some(parts) if end_on_terminal && is_terminal(parts.job.status(), parts.job.closed) => {
                        End::WhenCaughtUp
                    }
                    Some(_) if end_on_terminal => End::OnTerminal,
                    Some(_) => End::OnDeletion,
                }
            }
        };
        let next_heartbeat = Instant::now() + heartbeat;
        let mut messages = Self {
            engine: engine.clone(),
            watch,
            tokens,
            ready: VecDeque::new(),
            last_token: String::new(),
            is_snapshot_complete,
            awaited_job_id,
            heartbeat,
            next_heartbeat,
            event_types,
            end,
            end_position: engine.durable_position(),
            drained: Box::pin(drain.clone().cancelled_owned()),
            drain,
            expiry,
            timer: Box::pin(sleep_until(expiry.or_earlier(next_heartbeat))),
            _slot: slot,
        };
        messages.last_token = messages.tokens.seal(messages.watch.position());
        let created = WatchCreated { time: Some(engine.now()) };
        messages.push(Kind::Created(created));
        Ok(messages)
    }

    fn stream<R>(self, wrap: fn(WatchMessage) -> R) -> impl Stream<Item = Result<R, Status>> {
        stream::unfold(self, move |mut messages| async move {
            let message = messages.next().await?;
            Some((message.map(wrap), messages))
        })
    }

    /// The next message. `None`: the stream ends.
    async fn next(&mut self) -> Option<Result<WatchMessage, Status>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                self.next_heartbeat = Instant::now() + self.heartbeat;
                return Some(Ok(message));
            }
            match self.end {
                End::Now => self.end = End::Ended,
                End::Draining => {
                    self.end = End::Ended;
                    return Some(Err(status::shutting_down()));
                }
                End::Expired => {
                    self.end = End::Ended;
                    return Some(Err(status::not_let_in(Refusal::Expired)));
                }
                End::Ended => return None,
                End::Never | End::OnDeletion | End::OnTerminal | End::WhenCaughtUp => {
                    if let Err(error) = self.fill().await {
                        self.end = End::Ended;
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// Waits for something to send, and makes it ready.
    async fn fill(&mut self) -> Result<(), Status> {
        if self.drain.is_cancelled() {
            self.last_token = self.tokens.seal(self.watch.position());
            self.push(Kind::Draining(WatchDraining {}));
            self.end = End::Draining;
            return Ok(());
        }
        if self.expiry.has_passed() {
            self.checkpoint();
            self.end = End::Expired;
            return Ok(());
        }
        let delivery = tokio::select! {
            biased;
            delivery = self.watch.next() => delivery,
            // A long stretch of the log in which nothing matches. These two are looked at on the next turn.
            () = self.drain.cancelled() => return Ok(()),
            () = self.expiry.passed() => return Ok(()),
            // The client hears that the stream is alive.
            () = sleep_until(self.next_heartbeat) => {
                self.checkpoint();
                return Ok(());
            }
        };
        match delivery {
            Ok(Some(Delivery::Snapshot(jobs))) => self.push_snapshot(jobs),
            Ok(Some(Delivery::SnapshotComplete)) => {
                // It was deleted after the watch was opened and before the snapshot came to it, so that neither the
                // snapshot nor an event tells of it.
                if let Some(job_id) = &self.awaited_job_id {
                    return Err(status::job_not_found("jobId", job_id));
                }
                self.is_snapshot_complete = true;
                self.checkpoint();
            }
            Ok(Some(Delivery::Events(delivered))) => self.push_events(delivered),
            Ok(None) if self.end == End::WhenCaughtUp => {
                if self.watch.has_passed(&self.end_position) {
                    self.end = End::Now;
                } else {
                    // What brought the job to its end is durable, and about to be told.
                    self.watch.pass_on();
                    tokio::task::yield_now().await;
                }
            }
            Ok(None) => self.wait().await,
            Err(error) => return Err(refusal(&self.engine, error).await),
        }
        Ok(())
    }

    async fn wait(&mut self) {
        if self.timer.is_elapsed() {
            self.timer.as_mut().reset(self.expiry.or_earlier(self.next_heartbeat));
        }
        tokio::select! {
            () = self.watch.changed() => {}
            () = self.drained.as_mut() => {}
            () = self.timer.as_mut() => {
                if self.next_heartbeat <= Instant::now() {
                    self.watch.pass_on();
                    self.checkpoint();
                }
            }
        }
    }

    fn checkpoint(&mut self) {
        self.last_token = self.tokens.seal(self.watch.position());
        let checkpoint =
            WatchCheckpoint { time: Some(self.engine.now()), snapshot_complete: self.is_snapshot_complete };
        self.push(Kind::Checkpoint(checkpoint));
    }

    fn push_snapshot(&mut self, jobs: Vec<Bytes>) {
        self.awaited_job_id = None;
        // The job may have come to its end since the watch was opened: the snapshot tells it then, and no event will.
        if self.end == End::OnTerminal && jobs.iter().any(is_terminal_snapshot) {
            self.end = End::WhenCaughtUp;
            self.end_position = self.engine.durable_position();
        }
        let after = self.tokens.seal(self.watch.position());
        let mut batches = split(jobs).peekable();
        while let Some(snapshots) = batches.next() {
            if batches.peek().is_none() {
                self.last_token.clone_from(&after);
            }
            self.push(Kind::Batch(WatchBatch { snapshots, events: Vec::new() }));
        }
    }

    /// Commands are put together in messages of up to [`BATCH_BYTES_MAX`]. One that does not fit with those before it begins a new
    /// message; one that fits in none is split, and all its messages but the last carry the token before it.
    fn push_events(&mut self, delivered: Vec<Delivered>) {
        let mut batch: Vec<Bytes> = Vec::new();
        let mut batch_bytes = 0;
        let mut after = None;
        for command in delivered {
            let is_last = self.is_last(&command.events);
            let events: Vec<Bytes> = command
                .events
                .into_iter()
                .filter(|event| self.is_wanted(&event.event))
                .map(|event| event.bytes)
                .collect();
            let bytes: usize = events.iter().map(wire_bytes).sum();
            if batch_bytes + bytes > BATCH_BYTES_MAX {
                self.push_batch(std::mem::take(&mut batch), after.take());
                batch_bytes = 0;
            }
            if bytes > BATCH_BYTES_MAX {
                let mut parts: Vec<_> = split(events).collect();
                batch = parts.pop().unwrap_or_default();
                for part in parts {
                    self.push_batch(part, None);
                }
            } else {
                batch.extend(events);
            }
            batch_bytes += bytes;
            after = Some(command.position);
            if is_last {
                self.end = End::Now;
                break;
            }
        }
        self.push_batch(batch, after);
    }

    /// `after`: where the watch is after the batch, unless more of the same command follows.
    fn push_batch(&mut self, events: Vec<Bytes>, after: Option<Position>) {
        if let Some(after) = after {
            self.last_token = self.tokens.seal(&after);
        }
        if !events.is_empty() {
            self.push(Kind::Batch(WatchBatch { snapshots: Vec::new(), events }));
        }
    }

    fn push(&mut self, kind: Kind) {
        self.ready.push_back(WatchMessage { resume_token: self.last_token.clone(), kind: Some(kind) });
    }

    fn is_wanted(&self, event: &JobEvent) -> bool {
        self.event_types.is_empty() || self.event_types.contains(&event.r#type())
    }

    /// Whether the stream ends after a command.
    fn is_last(&self, events: &[LoggedEvent]) -> bool {
        let brings_to_end = |event: &LoggedEvent| {
            let summary = event.event.summary.as_ref();
            summary.is_some_and(|summary| is_terminal(summary.status(), summary.closed))
        };
        let deletes = |event: &LoggedEvent| event.event.r#type() == JobEventType::JobDeleted;
        match self.end {
            End::OnTerminal => events.iter().any(|event| deletes(event) || brings_to_end(event)),
            End::OnDeletion | End::WhenCaughtUp => events.iter().any(deletes),
            End::Never | End::Now | End::Draining | End::Expired | End::Ended => false,
        }
    }
}

fn is_terminal(job_status: JobStatus, closed: bool) -> bool {
    closed || matches!(job_status, JobStatus::Completed | JobStatus::Aborted)
}

fn is_terminal_snapshot(details: &Bytes) -> bool {
    let job = JobDetails::decode(details.clone()).ok().and_then(|details| details.job);
    job.is_some_and(|job| is_terminal(job.status(), job.closed))
}

/// What a member of a batch takes in it: its tag, its length and itself.
fn wire_bytes(member: &Bytes) -> usize {
    1 + prost::length_delimiter_len(member.len()) + member.len()
}

/// Cuts a list into runs of up to [`BATCH_BYTES_MAX`], or of one that is larger.
fn split(items: Vec<Bytes>) -> impl Iterator<Item = Vec<Bytes>> {
    let mut rest = VecDeque::from(items);
    std::iter::from_fn(move || {
        let mut run = vec![rest.pop_front()?];
        let mut bytes = wire_bytes(&run[0]);
        while let Some(next) = rest.front() {
            bytes += wire_bytes(next);
            if bytes > BATCH_BYTES_MAX {
                break;
            }
            run.extend(rest.pop_front());
        }
        Some(run)
    })
}

async fn refusal(engine: &Engine, error: WatchError) -> Status {
    match error {
        WatchError::Unknown => status::resume_token_foreign(),
        WatchError::Expired { partition, .. } => {
            status::resume_token_expired(engine.oldest_time(partition).await.ok().flatten())
        }
        WatchError::Failed(error) => status::from_engine("", error),
    }
}

/// Makes and reads the resume tokens of one watch.
struct Tokens {
    store_id: Vec<u8>,
    scope: Vec<u8>,
}

impl Tokens {
    fn seal(&self, position: &Position) -> String {
        let sequences = position.sequences.iter().enumerate();
        token::seal(&ResumeToken {
            store_id: self.store_id.clone().into(),
            scope: self.scope.clone().into(),
            positions: sequences
                .map(|(partition, sequence)| PartitionPosition {
                    partition: u32::try_from(partition).unwrap_or(u32::MAX),
                    sequence: sequence.0,
                })
                .collect(),
            snapshot: position.snapshot.as_ref().map(|snapshot| SnapshotProgress {
                partition: snapshot.partition.into(),
                job_id: snapshot.job_id.clone(),
            }),
        })
    }

    fn open(&self, text: &str) -> Result<Position, Status> {
        let token = token::open::<ResumeToken>(text).ok_or_else(status::resume_token_invalid)?;
        if token.scope != self.scope {
            return Err(status::resume_token_invalid());
        }
        if token.store_id != self.store_id {
            return Err(status::resume_token_foreign());
        }
        let snapshot = token.snapshot.map(|snapshot| SnapshotPosition {
            partition: u16::try_from(snapshot.partition).unwrap_or(u16::MAX),
            job_id: snapshot.job_id,
        });
        let mut positions = token.positions;
        positions.sort_by_key(|position| position.partition);
        let sequences = positions.into_iter().map(|position| Sequence(position.sequence)).collect();
        Ok(Position { sequences, snapshot })
    }
}

/// Reads a resume token that a client made for itself.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(token: ResumeToken) {
    let tokens = Tokens { store_id: token.store_id.to_vec(), scope: token.scope.to_vec() };
    let position = tokens.open(&token::seal(&token)).expect("it is of this store and this filter");
    assert_eq!(position.sequences.len(), token.positions.len());
    let text = tokens.seal(&position);
    if let Ok(again) = tokens.open(&text) {
        assert_eq!(again, position, "a place is written as it was read");
    }
}
