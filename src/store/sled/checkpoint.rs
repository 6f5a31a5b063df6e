//! What is in the journal, written into sled by a thread of its own.
//!
//! A checkpoint writes the last change of each key, in the order of keys, in as many steps as it takes, then how far it has
//! come, and makes that durable. Only then does the journal lose the files. One that is cut off is done again after the
//! next start: meanwhile each key that it may have written is read from the journal.
//!
//! The thread is the only one that writes into sled, so it is the one that writes it anew as well
//! ([`compaction`](super::compaction)).

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use ::sled::{Batch, Tree};
use bytes::Bytes;

use super::{
    Shared, Step,
    committer::{Panicked, unwritten},
    compaction::Compacting,
    database, failed, journal, open,
    segments::Empty,
    tables, value,
    view::Layer,
};
use crate::store::{Error, Result};

/// How soon it is noted which segments sled has left empty, or used, meanwhile.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// About the size of one step. sled holds readers up while it applies one.
const STEP_BYTES: usize = 64 * 1024;

/// How far sled has what was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The number of the last commit.
    pub(super) number: u64,
    /// The next generation of chunks.
    pub(super) generation: u64,
    /// What keys and values take, about: what a checkpoint had written when it was cut off is not counted when it is done again.
    /// The next compaction counts all of it anew.
    pub(super) live_bytes: u64,
}

/// The first generation of chunks after so many starts. No two starts have one in common: what an old value says of its chunks,
/// also if it was left by a checkpoint that was cut off, is never said of those of another.
pub(super) fn first_generation(starts: u64) -> u64 {
    starts << 32
}

impl Checkpoint {
    /// The one that sled has; before the first commit where it has none.
    pub(super) fn read(tree: &Tree) -> Result<Self> {
        let Some(bytes) = value::get(tree, tables::CHECKPOINT)? else { return Ok(Self::default()) };
        let (&[number, generation, live_bytes], []) = bytes.as_chunks() else {
            return Err(value::corrupt(tables::CHECKPOINT, "is no checkpoint"));
        };
        let [number, generation, live_bytes] = [number, generation, live_bytes].map(u64::from_be_bytes);
        Ok(Self { number, generation, live_bytes })
    }

    /// Notes it, not durably yet.
    pub(super) fn write(self, tree: &Tree) -> Result<()> {
        let numbers = [self.number, self.generation, self.live_bytes].map(u64::to_be_bytes);
        let stored = value::encode(tables::CHECKPOINT, numbers.as_flattened());
        tree.insert(tables::CHECKPOINT, stored).map_err(failed)?;
        Ok(())
    }

    /// Removes the chunks that a later checkpoint left when it was cut off.
    pub(super) fn sweep(self, tree: &Tree) -> Result<()> {
        let mut steps = Steps::new(tree, self);
        for item in tree.range(tables::chunk(self.generation, 0)..=tables::chunk(u64::MAX, u32::MAX)) {
            let (key, _) = item.map_err(failed)?;
            steps.unit(vec![(key.to_vec(), None)])?;
        }
        steps.finish(self.number).map(drop)
    }
}

/// Values on their way into sled: cut into chunks where they are large, and many in a step.
pub(super) struct Steps<'t> {
    tree: &'t Tree,
    /// Another database that has the keys before one as well.
    mirror: Option<(&'t Tree, &'t [u8])>,
    step: Batch,
    mirrored: Batch,
    mirror_failure: Option<Error>,
    bytes: usize,
    generation: u64,
    live_bytes: u64,
    /// By how much the other database grew.
    mirrored_bytes: i64,
}

/// What steps came to.
pub(super) struct Done {
    /// What is to be noted of the commit that they end with.
    pub(super) checkpoint: Checkpoint,
    /// By how much what is in the other database has grown; or why it does not have all of it.
    pub(super) mirrored: Result<i64>,
}

impl<'t> Steps<'t> {
    /// After a checkpoint.
    pub(super) fn new(tree: &'t Tree, after: Checkpoint) -> Self {
        let Checkpoint { number: _, generation, live_bytes } = after;
        let (step, mirrored) = Default::default();
        Self {
            tree,
            mirror: None,
            step,
            mirrored,
            mirror_failure: None,
            bytes: 0,
            generation,
            live_bytes,
            mirrored_bytes: 0,
        }
    }

    /// Writes the keys before one into another database as well.
    pub(super) fn mirrored(self, mirror: Option<(&'t Tree, &'t [u8])>) -> Self {
        Self { mirror, ..self }
    }

    /// Sets a key or removes it, with the chunks of what is there.
    pub(super) fn write(&mut self, key: &[u8], value: Option<&Bytes>) -> Result<()> {
        let mut unit = Vec::new();
        if let Some(value) = value {
            let generation = &mut self.generation;
            let mut parts = value::encode_any(key.to_vec(), value, || {
                *generation += 1;
                *generation - 1
            });
            for (key, stored) in &parts {
                self.grow(key, (key.len() + stored.len()) as u64);
            }
            let last = parts.pop();
            // Chunks that nothing leads to may come in any step before.
            for (key, stored) in parts {
                self.unit(vec![(key, Some(stored))])?;
            }
            unit.extend(last.map(|(key, stored)| (key, Some(stored))));
        } else {
            unit.push((key.to_vec(), None));
        }
        // A reader who misses chunks finds another value.
        if let Some(raw) = self.tree.get(key).map_err(failed)? {
            let chunks = value::chunks_of(key, &raw)?;
            self.shrink(key, (key.len() + raw.len()) as u64);
            if let Some(chunks) = chunks {
                self.shrink(&chunks.first_key(), chunks.stored_bytes());
            }
            unit.extend(chunks.into_iter().flat_map(value::Chunks::keys).map(|key| (key, None)));
        }
        self.unit(unit)
    }

    /// Whether the other database is to have a key.
    fn is_mirrored(&self, key: &[u8]) -> bool {
        self.mirror.is_some_and(|(_, end)| key < end)
    }

    fn grow(&mut self, key: &[u8], bytes: u64) {
        self.live_bytes += bytes;
        if self.is_mirrored(key) {
            self.mirrored_bytes += bytes.cast_signed();
        }
    }

    fn shrink(&mut self, key: &[u8], bytes: u64) {
        self.live_bytes = self.live_bytes.saturating_sub(bytes);
        if self.is_mirrored(key) {
            self.mirrored_bytes -= bytes.cast_signed();
        }
    }

    /// Changes that are seen together.
    fn unit(&mut self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<()> {
        for (key, stored) in changes {
            self.bytes += key.len() + stored.as_ref().map_or(0, Vec::len);
            if self.is_mirrored(&key) {
                put(&mut self.mirrored, key.clone(), stored.clone());
            }
            put(&mut self.step, key, stored);
        }
        if self.bytes < STEP_BYTES { Ok(()) } else { self.apply() }
    }

    fn apply(&mut self) -> Result<()> {
        self.bytes = 0;
        let mirrored = std::mem::take(&mut self.mirrored);
        if let Some(Err(error)) = self.mirror.map(|(mirror, _)| database::apply(mirror, mirrored)) {
            (self.mirror, self.mirror_failure) = (None, Some(error));
        }
        database::apply(self.tree, std::mem::take(&mut self.step))
    }

    /// Applies what is left.
    pub(super) fn finish(mut self, number: u64) -> Result<Done> {
        self.apply()?;
        let checkpoint = Checkpoint { number, generation: self.generation, live_bytes: self.live_bytes };
        let mirrored = self.mirror_failure.map_or(Ok(self.mirrored_bytes), Err);
        Ok(Done { checkpoint, mirrored })
    }
}

fn put(step: &mut Batch, key: Vec<u8>, stored: Option<Vec<u8>>) {
    match stored {
        Some(stored) => step.insert(key, stored),
        None => step.remove(key),
    }
}

/// A checkpoint to be done: the lower layer of the view, and the last commit in it.
struct Task {
    layer: Arc<Layer>,
    number: u64,
}

/// The thread's handle. Dropping it ends the thread as a crash would: a checkpoint that was begun is not finished.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    tasks: Option<mpsc::Sender<Task>>,
    outcomes: mpsc::Receiver<Result<()>>,
    thread: Option<thread::JoinHandle<()>>,
    is_at_work: bool,
}

impl Checkpointer {
    pub(super) fn start(shared: Arc<Shared>, behind: Behind) -> std::io::Result<Self> {
        let (tasks, waiting) = mpsc::channel();
        let (told, outcomes) = mpsc::channel();
        let journal = shared.directory.journal();
        let work = Work { shared: Arc::clone(&shared), journal, behind, noted: None };
        let thread =
            thread::Builder::new().name("checkpointer".to_owned()).spawn(|| work.run(waiting, told))?;
        Ok(Self { shared, tasks: Some(tasks), outcomes, thread: Some(thread), is_at_work: false })
    }

    /// Whether one was under way when last looked.
    pub(super) fn is_at_work(&self) -> bool {
        self.is_at_work
    }

    /// Looks whether the one that is under way has ended.
    ///
    /// # Errors
    /// It has failed.
    pub(super) fn look(&mut self) -> Result<()> {
        if !self.is_at_work {
            return Ok(());
        }
        match self.outcomes.try_recv() {
            Ok(outcome) => {
                self.is_at_work = false;
                outcome
            }
            Err(TryRecvError::Empty) => Ok(()),
            Err(TryRecvError::Disconnected) => Err(ended()),
        }
    }

    /// Waits for the one that is under way.
    ///
    /// # Errors
    /// It has failed.
    pub(super) fn wait(&mut self) -> Result<()> {
        if !self.is_at_work {
            return Ok(());
        }
        self.is_at_work = false;
        self.outcomes.recv().map_err(|_| ended())?
    }

    /// Begins one with all that was committed, up to a number. None is under way.
    pub(super) fn begin(&mut self, number: u64) {
        let layer = self.shared.view.freeze();
        let task = Task { layer, number };
        // Where the thread has ended, `wait` and `look` say so.
        self.is_at_work = true;
        if let Some(tasks) = &self.tasks {
            let _ = tasks.send(task);
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::SeqCst);
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            // It catches its panics, and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the thread of checkpoints has ended")]
struct Ended;

fn ended() -> Error {
    Error::Failed(Arc::new(Ended))
}

/// Where checkpoints go.
pub(super) struct Behind {
    /// The last one.
    pub(super) checkpoint: Checkpoint,
    pub(super) empty: Empty,
    pub(super) compacting: Compacting,
}

/// What the thread owns.
struct Work {
    shared: Arc<Shared>,
    journal: PathBuf,
    behind: Behind,
    /// Since when sled may have used empty segments, or left some, which is not noted yet.
    noted: Option<Instant>,
}

impl Work {
    /// Works until it is let go of, or has failed: whoever waits then is told that the thread has ended.
    #[expect(clippy::needless_pass_by_value, reason = "see above")]
    fn run(mut self, tasks: mpsc::Receiver<Task>, told: mpsc::Sender<Result<()>>) {
        loop {
            let task = match self.pause() {
                None => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(pause) => tasks.recv_timeout(pause),
            };
            let outcome = match task {
                Ok(task) => {
                    let began = Instant::now();
                    let outcome = self.guarded(|work| work.checkpoint(task));
                    let has_failed = outcome.is_err();
                    if told.send(outcome).is_err() || has_failed {
                        return;
                    }
                    self.guarded(|work| work.compact_beside(began.elapsed()))
                }
                Err(RecvTimeoutError::Timeout) => self.guarded(Self::compact),
                Err(RecvTimeoutError::Disconnected) => {
                    // Nobody is left to tell.
                    let _ = self.guarded(Self::note_empty_segments);
                    return;
                }
            };
            let is_due = self.noted.is_some_and(|noted| noted.elapsed() >= NOTE_EVERY);
            let noted = if is_due { self.guarded(Self::note_empty_segments) } else { Ok(()) };
            if outcome.and(noted).is_err() {
                return;
            }
        }
    }

    fn guarded(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let outcome = open::guarded(|| shared.view.tree(), || write(self))
            .unwrap_or_else(|panic| Err(Error::Failed(Arc::new(Panicked(panic)))));
        outcome.map_err(|failure| self.shared.fail(failure))
    }

    /// How long to wait for a checkpoint to do; none where there is nothing else.
    fn pause(&self) -> Option<Duration> {
        let note = self.noted.map(|noted| NOTE_EVERY.saturating_sub(noted.elapsed()));
        self.behind.compacting.pause().into_iter().chain(note).min()
    }

    /// Some of a compaction, for half as long as a checkpoint took: where one follows on another there is no time between.
    fn compact_beside(&mut self, took: Duration) -> Result<()> {
        let began = Instant::now();
        while self.behind.compacting.pause().is_some() {
            self.compact()?;
            if self.behind.compacting.copied().is_none() || began.elapsed() >= took / 2 {
                break;
            }
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<()> {
        let behind = &mut self.behind;
        if let Some(rewritten) = behind.compacting.go_on(&self.shared, behind.checkpoint)? {
            (behind.empty, behind.checkpoint) = (rewritten.empty, rewritten.checkpoint);
        }
        Ok(())
    }

    fn checkpoint(&mut self, Task { layer, number }: Task) -> Result<()> {
        let tree = self.shared.view.tree();
        let behind = &mut self.behind;
        let mut steps = Steps::new(&tree, behind.checkpoint).mirrored(behind.compacting.copied());
        for (key, value) in layer.iter() {
            if self.shared.is_closing.load(Ordering::Relaxed) {
                return Err(ended());
            }
            steps.write(key, value.as_ref())?;
        }
        let Done { checkpoint, mirrored } = steps.finish(number)?;
        behind.checkpoint = checkpoint;
        behind.compacting.note(&self.shared, mirrored);
        self.shared.reach(Step::Checkpoint)?;
        // What it covers must be durable before it is.
        tree.flush().map_err(failed)?;
        behind.checkpoint.write(&tree)?;
        tree.flush().map_err(failed)?;
        self.shared.view.thaw();
        journal::remove_to(&self.journal, number).map_err(unwritten)?;
        let size = |(key, value): (&Bytes, &Option<Bytes>)| key.len() + value.as_ref().map_or(0, Bytes::len);
        let written = layer.iter().map(size).sum::<usize>() as u64;
        behind.compacting.consider(&self.shared, behind.checkpoint, written);
        self.note_empty_segments()?;
        // sled tidies up after it.
        self.noted = Some(Instant::now());
        Ok(())
    }

    fn note_empty_segments(&mut self) -> Result<()> {
        let empty = &mut self.behind.empty;
        let has_changed = empty.update().map_err(unwritten)?;
        if has_changed {
            self.shared.directory.note_empty_segments(empty.numbers()).map_err(unwritten)?;
        }
        self.noted = has_changed.then(Instant::now);
        Ok(())
    }
}
