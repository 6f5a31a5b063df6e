//! The one thread that writes: commits and trims, one after another.
//!
//! sled deadlocks when several tasks flush, and holds readers up while it applies a step; so there is one writer, and its
//! steps are bounded. After the first error or panic it takes nothing any more: what sled holds then is not known.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use prost::Message as _;
use tokio::sync::oneshot;

use super::{
    Durable, Shared, Step,
    export::Exporting,
    failed, open,
    segments::Empty,
    stage::{self, Changes},
    tables, trim, value,
    witness::Witness,
};
use crate::store::{Batch, Error, Result, Sequence, export::log_batch, log::head_after};

/// How often the witness is made safe from a power cut.
const WITNESS_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
struct Closed;

#[derive(Debug, thiserror::Error)]
#[error("the store panicked: {0}")]
struct Panicked(String);

#[derive(Debug, thiserror::Error)]
#[error("the witness of the head was not written: {0}")]
struct Unwitnessed(std::io::Error);

type Reply = oneshot::Sender<Result<()>>;

enum Request {
    Commit(Batch, Reply),
    Trim(Sequence, Reply),
    Close(Reply),
}

/// The thread's handle. Dropping it ends the thread as a crash would: nothing is finished first.
pub(super) struct Committer {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread. `generation` is the next one for chunks.
    pub(super) fn start(
        shared: Arc<Shared>,
        generation: u64,
        witness: Witness,
        empty: Empty,
    ) -> std::io::Result<Self> {
        let (sender, requests) = mpsc::channel();
        let witnessed = *shared.head.borrow();
        let worker = Worker {
            shared,
            generation,
            applied: 0,
            failure: None,
            trims: VecDeque::new(),
            witness,
            empty,
            witnessed,
            witnessed_at: Instant::now(),
        };
        let thread = thread::Builder::new().name("committer".to_owned()).spawn(|| worker.run(requests))?;
        Ok(Self { requests: Some(sender), thread: Some(thread) })
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<()> {
        self.ask(|reply| Request::Commit(batch, reply)).await
    }

    pub(super) async fn trim(&self, before: Sequence) -> Result<()> {
        self.ask(|reply| Request::Trim(before, reply)).await
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.ask(Request::Close).await
    }

    async fn ask(&self, request: impl FnOnce(Reply) -> Request) -> Result<()> {
        let closed = || Error::Failed(Arc::new(Closed));
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        requests.send(request(reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // It catches its panics, and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Worker {
    shared: Arc<Shared>,
    generation: u64,
    /// How many commits were begun.
    applied: u64,
    failure: Option<Error>,
    trims: VecDeque<(Sequence, Reply)>,
    witness: Witness,
    empty: Empty,
    /// The head that the witness shows also after a power cut.
    witnessed: Sequence,
    witnessed_at: Instant,
}

impl Worker {
    #[expect(clippy::needless_pass_by_value, reason = "requests fail once the thread has ended")]
    fn run(mut self, requests: mpsc::Receiver<Request>) {
        loop {
            // Whoever asked may be gone; then nobody wants the answer.
            match self.next(&requests) {
                Ok(Some(Request::Commit(batch, reply))) => {
                    let outcome = self.guarded(|worker| worker.commit(&batch));
                    let _ = reply.send(outcome);
                }
                Ok(Some(Request::Trim(before, reply))) => self.trims.push_back((before, reply)),
                Ok(Some(Request::Close(reply))) => {
                    let outcome = self.guarded(|worker| {
                        worker.flush()?;
                        worker.sync_witness()
                    });
                    let _ = reply.send(outcome);
                    return;
                }
                Ok(None) => self.trim(),
                Err(Closed) => return,
            }
            if self.witness_is_due() {
                // A failure is told to the next who asks.
                let _ = self.guarded(Self::sync_witness);
            }
        }
    }

    /// The next request; none when there is time for something else.
    fn next(&self, requests: &mpsc::Receiver<Request>) -> std::result::Result<Option<Request>, Closed> {
        let may_trim = self.shared.exporting().as_ref().is_none_or(Exporting::is_left);
        if !self.trims.is_empty() && may_trim {
            return match requests.try_recv() {
                Ok(request) => Ok(Some(request)),
                Err(TryRecvError::Empty) => Ok(None),
                Err(TryRecvError::Disconnected) => Err(Closed),
            };
        }
        let is_behind = self.failure.is_none() && self.witnessed < *self.shared.head.borrow();
        if is_behind || !self.trims.is_empty() {
            let wait = WITNESS_EVERY.saturating_sub(self.witnessed_at.elapsed());
            return match requests.recv_timeout(wait) {
                Ok(request) => Ok(Some(request)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err(Closed),
            };
        }
        requests.recv().map(Some).map_err(|_| Closed)
    }

    /// Runs a write, unless one failed before; its error or panic is the end.
    fn guarded(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let shared = Arc::clone(&self.shared);
        let outcome = open::guarded(&shared.tree, || write(self))
            .unwrap_or_else(|panic| Err(Error::Failed(Arc::new(Panicked(panic)))));
        if let Err(failure) = &outcome {
            self.failure = Some(failure.clone());
            self.shared.durable.send_modify(|durable| durable.failure = Some(failure.clone()));
        }
        outcome
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let head = head_after(batch, *shared.head.borrow())?;
        let changes = self.plan(batch, head)?;

        // Counted before it can be seen, so that whoever saw it waits for it.
        self.applied += 1;
        shared.applied.store(self.applied, Ordering::SeqCst);
        if changes.fit_one_step() {
            changes.apply(&shared.tree)?;
            self.flush()?;
        } else {
            let parts = stage::write(&shared.tree, &changes)?;
            shared.reach(Step::Mark)?;
            stage::mark(&shared.tree, parts)?;
            self.flush()?;
            shared.reach(Step::Apply)?;
            // Readers see all of it or nothing.
            let _gate = shared.gate.write();
            stage::apply_marked(&shared.tree, &changes)?;
        }
        // Durable, and not yet acknowledged.
        self.witness.note(head).map_err(unwitnessed)?;
        let mut exporting = shared.exporting();
        if let Some(exporting) = exporting.as_mut() {
            exporting.changed.note(batch);
            exporting.head = head;
        }
        // The head first: whoever has settled finds it past all that was read.
        shared.head.send_replace(head);
        drop(exporting);
        shared.durable.send_modify(|durable| durable.applied = self.applied);
        Ok(())
    }

    fn plan(&mut self, batch: &Batch, head: Sequence) -> Result<Changes> {
        let mut changes = Changes::default();
        let mut replaced = Vec::new();
        for entry in batch.entries.iter().filter(|entry| !entry.bytes.is_empty()) {
            let key = tables::entry(&entry.job, entry.sequence);
            self.set(&mut changes, key, &tables::entry_value(entry));
        }
        for (key, value) in &batch.writes {
            if let Some(raw) = self.shared.tree.get(key).map_err(failed)? {
                replaced.extend(value::chunks_of(key, &raw)?);
            }
            match value {
                Some(value) => self.set(&mut changes, key.to_vec(), value),
                None => changes.remove(key.to_vec()),
            }
        }
        if let Some(log_batch) = log_batch(batch) {
            self.set(&mut changes, tables::batch(head), &log_batch.encode_to_vec());
        }
        replaced.into_iter().flat_map(value::Chunks::keys).for_each(|key| changes.remove(key));
        Ok(changes)
    }

    fn set(&mut self, changes: &mut Changes, key: Vec<u8>, payload: &[u8]) {
        let parts = value::encode_any(key, payload, || {
            self.generation += 1;
            self.generation - 1
        });
        for (key, stored) in parts {
            changes.set(key, stored);
        }
    }

    /// Makes durable what was applied.
    fn flush(&self) -> Result<()> {
        self.shared.reach(Step::Flush)?;
        self.shared.tree.flush().map_err(failed)?;
        Ok(())
    }

    /// Does a piece of the first trim that waits. While the store is exported, none.
    fn trim(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut exporting = shared.exporting();
        // One that is left is told when it goes on.
        if exporting.take_if(|exporting| exporting.is_left()).is_none() && exporting.is_some() {
            return;
        }
        let Some((before, reply)) = self.trims.pop_front() else { return };
        let mut done = false;
        let outcome = self.guarded(|worker| {
            done = trim::step(&worker.shared, before)?;
            if done { worker.flush() } else { Ok(()) }
        });
        if done || outcome.is_err() {
            let _ = reply.send(outcome);
        } else {
            self.trims.push_front((before, reply));
        }
    }

    fn witness_is_due(&self) -> bool {
        self.failure.is_none()
            && self.witnessed < *self.shared.head.borrow()
            && self.witnessed_at.elapsed() >= WITNESS_EVERY
    }

    fn sync_witness(&mut self) -> Result<()> {
        self.witness.sync().map_err(unwitnessed)?;
        if self.empty.update().map_err(unwitnessed)? {
            self.shared.directory.note_empty_segments(self.empty.numbers()).map_err(unwitnessed)?;
        }
        self.witnessed = *self.shared.head.borrow();
        self.witnessed_at = Instant::now();
        Ok(())
    }
}

fn unwitnessed(error: std::io::Error) -> Error {
    Error::Failed(Arc::new(Unwitnessed(error)))
}

impl Durable {
    /// Whether everything up to a number of commits is durable, or will never be.
    pub(super) fn has_decided(&self, applied: u64) -> bool {
        self.failure.is_some() || self.applied >= applied
    }
}
