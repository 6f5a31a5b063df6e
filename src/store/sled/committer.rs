//! The one thread that commits: batches and trims, one after another, each durable in the journal before the next.
//!
//! What the journal has gathered is written into sled by checkpoints ([`checkpoint`](super::checkpoint)). Commits wait for them
//! only where as much has gathered again. After the first error or panic nothing is taken any more: what the files hold then
//! is not known.

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

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::oneshot;

use super::{
    Durable, Shared, Step,
    checkpoint::{Behind, Checkpointer},
    entry,
    journal::{self, Change, Journal},
    open, tables,
    trim::Trimming,
    witness::Witness,
};
use crate::store::{Batch, Error, Result, Sequence, export::log_batch, log::head_after};

/// What was committed is in sled after about so long, however little has gathered.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// How often to look whether what was in the way is not any more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A wait of commits that an operator is told of.
const WAIT_TOLD: Duration = Duration::from_secs(1);

/// How often the witness is made safe from a power cut.
const WITNESS_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
struct Closed;

#[derive(Debug, thiserror::Error)]
#[error("the store panicked: {0}")]
pub(super) struct Panicked(pub(super) String);

#[derive(Debug, thiserror::Error)]
#[error("the journal, or a file beside it, was not written: {0}")]
struct Unwritten(std::io::Error);

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
    pub(super) fn start(shared: Arc<Shared>, writing: Writing, behind: Behind) -> std::io::Result<Self> {
        let (sender, requests) = mpsc::channel();
        let checkpointer = Checkpointer::start(Arc::clone(&shared), behind)?;
        let worker = Worker {
            shared,
            applied: 0,
            failure: None,
            trims: VecDeque::new(),
            trimming: Trimming::default(),
            witnessed: writing.journal.number(),
            witnessed_at: Instant::now(),
            checkpoint_at: Instant::now(),
            checkpointing_bytes: 0,
            checkpointer,
            writing,
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

/// What is written with each commit, and where.
pub(super) struct Writing {
    pub(super) journal: Journal,
    /// How much is in no checkpoint that was begun: at the start, what the journal has.
    pub(super) gathered: u64,
    /// So much gathers until a checkpoint is begun.
    pub(super) checkpoint_bytes: u64,
    pub(super) witness: Witness,
}

/// What the thread owns.
struct Worker {
    shared: Arc<Shared>,
    /// How many commits were begun since the start.
    applied: u64,
    failure: Option<Error>,
    trims: VecDeque<(Sequence, Reply)>,
    trimming: Trimming,
    writing: Writing,
    checkpointer: Checkpointer,
    /// The commit that the witness shows also after a power cut.
    witnessed: u64,
    witnessed_at: Instant,
    /// When the last checkpoint was begun, and how much is in it.
    checkpoint_at: Instant,
    checkpointing_bytes: u64,
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
                    let outcome = self.guarded(Self::close);
                    let _ = reply.send(outcome);
                    return;
                }
                Ok(None) => self.trim(),
                Err(Closed) => return,
            }
            // A failure is told to the next who asks.
            if self.witness_is_due() {
                let _ = self.guarded(Self::sync_witness);
            }
            if self.failure.is_none() {
                let _ = self.guarded(Self::gather);
            }
        }
    }

    /// The next request; none when there is time for something else.
    fn next(&self, requests: &mpsc::Receiver<Request>) -> std::result::Result<Option<Request>, Closed> {
        let is_exporting = self.shared.exporting().as_ref().is_some_and(|exporting| !exporting.is_left());
        if !self.trims.is_empty() && !is_exporting && !self.is_behind() {
            return match requests.try_recv() {
                Ok(request) => Ok(Some(request)),
                Err(TryRecvError::Empty) => Ok(None),
                Err(TryRecvError::Disconnected) => Err(Closed),
            };
        }
        let Some(wait) = self.due_in() else { return requests.recv().map(Some).map_err(|_| Closed) };
        match requests.recv_timeout(wait) {
            Ok(request) => Ok(Some(request)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Closed),
        }
    }

    /// Whether commits may have to wait for a checkpoint: nothing is added then that nobody waits for.
    fn is_behind(&self) -> bool {
        self.checkpointer.is_at_work() && self.writing.gathered > self.writing.checkpoint_bytes / 2
    }

    /// When there is something to do that nobody asks for: the witness, a checkpoint, or a trim that waits for an export.
    fn due_in(&self) -> Option<Duration> {
        let works = self.failure.is_none();
        let witness = (works && self.is_ahead_of_witness())
            .then(|| WITNESS_EVERY.saturating_sub(self.witnessed_at.elapsed()));
        let checkpoint = (works && self.writing.gathered > 0)
            .then(|| CHECKPOINT_EVERY.saturating_sub(self.checkpoint_at.elapsed()).max(LOOK_EVERY));
        let trim = (!self.trims.is_empty()).then_some(LOOK_EVERY);
        [witness, checkpoint, trim].into_iter().flatten().min()
    }

    /// Runs a write, unless one failed before, here or on the thread of checkpoints; its error or panic is the end.
    fn guarded(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.failure.is_none() {
            self.failure.clone_from(&self.shared.durable.borrow().failure);
        }
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let shared = Arc::clone(&self.shared);
        let outcome = open::guarded(|| shared.view.tree(), || write(self))
            .unwrap_or_else(|panic| Err(Error::Failed(Arc::new(Panicked(panic)))));
        outcome.map_err(|failure| {
            let first = self.shared.fail(failure);
            self.failure = Some(first.clone());
            first
        })
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let head = head_after(batch, *shared.head.borrow())?;
        self.write(changes(batch, head))?;
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

    /// Makes changes durable.
    fn write(&mut self, changes: Vec<Change>) -> Result<()> {
        // Counted before it can be seen, so that whoever saw it waits for it.
        self.applied += 1;
        self.shared.applied.store(self.applied, Ordering::SeqCst);
        self.writing.gathered += journal::weight(&changes);
        self.writing.journal.add(&changes).map_err(unwritten)?;
        self.shared.view.show(changes);
        self.shared.reach(Step::Sync)?;
        self.writing.journal.sync().map_err(unwritten)?;
        // Durable, and not yet acknowledged.
        self.writing.witness.note(self.writing.journal.number()).map_err(unwritten)
    }

    /// Begins a checkpoint where enough has gathered, or something long ago.
    fn gather(&mut self) -> Result<()> {
        self.checkpointer.look()?;
        let gathered = self.writing.gathered;
        let is_due =
            gathered >= self.writing.checkpoint_bytes || self.checkpoint_at.elapsed() >= CHECKPOINT_EVERY;
        if gathered == 0 || !is_due {
            return Ok(());
        }
        if self.checkpointer.is_at_work() {
            let bytes = self.writing.checkpoint_bytes;
            // A crash can have left more than one has otherwise.
            if gathered < bytes && gathered + self.checkpointing_bytes < 3 * bytes {
                return Ok(());
            }
            let began = Instant::now();
            self.checkpointer.wait()?;
            if began.elapsed() > WAIT_TOLD {
                tracing::warn!(
                    milliseconds = began.elapsed().as_millis(),
                    "commits waited for sled to keep up"
                );
            }
        }
        self.checkpoint()
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.writing.journal.rotate().map_err(unwritten)?;
        self.checkpointing_bytes = std::mem::take(&mut self.writing.gathered);
        self.checkpoint_at = Instant::now();
        self.checkpointer.begin(self.writing.journal.number());
        Ok(())
    }

    /// Leaves nothing in the journal alone.
    fn close(&mut self) -> Result<()> {
        self.checkpointer.wait()?;
        if self.writing.gathered > 0 {
            self.checkpoint()?;
            self.checkpointer.wait()?;
        }
        self.sync_witness()
    }

    /// Does a piece of the first trim that waits. While the store is exported, none.
    fn trim(&mut self) {
        if self.trims.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let mut exporting = shared.exporting();
        // One that is left is told when it goes on.
        if exporting.take_if(|exporting| exporting.is_left()).is_none() && exporting.is_some() {
            return;
        }
        let Some((before, reply)) = self.trims.pop_front() else { return };
        let mut done = false;
        let outcome = self.guarded(|worker| {
            let piece = worker.trimming.piece(&worker.shared, before)?;
            done = piece.is_last;
            if piece.changes.is_empty() {
                return Ok(());
            }
            worker.write(piece.changes)?;
            worker.shared.durable.send_modify(|durable| durable.applied = worker.applied);
            Ok(())
        });
        if done || outcome.is_err() {
            let _ = reply.send(outcome);
        } else {
            self.trims.push_front((before, reply));
        }
    }

    fn is_ahead_of_witness(&self) -> bool {
        self.witnessed < self.writing.journal.number()
    }

    fn witness_is_due(&self) -> bool {
        self.failure.is_none() && self.is_ahead_of_witness() && self.witnessed_at.elapsed() >= WITNESS_EVERY
    }

    fn sync_witness(&mut self) -> Result<()> {
        self.writing.witness.sync().map_err(unwritten)?;
        self.witnessed = self.writing.journal.number();
        self.witnessed_at = Instant::now();
        Ok(())
    }
}

/// What a batch does, as keys: its entries, what leads to them, and the records.
fn changes(batch: &Batch, head: Sequence) -> Vec<Change> {
    let kept = batch.entries.iter().filter(|entry| !entry.bytes.is_empty());
    let entries = kept.map(|entry| {
        (tables::entry(&entry.job, entry.sequence).into(), Some(Bytes::from(entry::encode(entry))))
    });
    let led_to = log_batch(batch)
        .map(|log_batch| (Bytes::from(tables::batch(head)), Some(Bytes::from(log_batch.encode_to_vec()))));
    entries.chain(led_to).chain(batch.writes.iter().cloned()).collect()
}

pub(super) fn unwritten(error: std::io::Error) -> Error {
    Error::Failed(Arc::new(Unwritten(error)))
}

impl Durable {
    /// Whether everything up to a number of commits is durable, or will never be.
    pub(super) fn has_decided(&self, applied: u64) -> bool {
        self.failure.is_some() || self.applied >= applied
    }
}
