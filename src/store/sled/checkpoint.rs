//! What is in the journal, written into sled by a thread of its own.
//!
//! A checkpoint writes the last change of each key, in the order of keys, in as many steps as it takes, then how far it has
//! come, and makes that durable. Only then does the journal lose the files. One that is cut off is done again after the
//! next start: meanwhile each key that it may have written is read from the journal.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, TryRecvError},
    },
    thread,
};

use ::sled::{Batch, Tree};
use bytes::Bytes;

use super::{Shared, Step, committer::Panicked, failed, journal, open, tables, value, view::Layer};
use crate::store::{Error, Result};

/// About the size of one step. sled holds readers up while it applies one.
const STEP_BYTES: usize = 64 * 1024;

/// How far sled has what was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The number of the last commit.
    pub(super) number: u64,
    /// The next generation of chunks.
    pub(super) generation: u64,
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
        let (&[number, generation], []) = bytes.as_chunks() else {
            return Err(value::corrupt(tables::CHECKPOINT, "is no checkpoint"));
        };
        Ok(Self { number: u64::from_be_bytes(number), generation: u64::from_be_bytes(generation) })
    }

    /// Notes it, not durably yet.
    pub(super) fn write(self, tree: &Tree) -> Result<()> {
        let numbers = [self.number.to_be_bytes(), self.generation.to_be_bytes()];
        let stored = value::encode(tables::CHECKPOINT, numbers.as_flattened());
        tree.insert(tables::CHECKPOINT, stored).map_err(failed)?;
        Ok(())
    }

    /// Removes the chunks that a later checkpoint left when it was cut off.
    pub(super) fn sweep(self, tree: &Tree) -> Result<()> {
        let mut steps = Steps::new(tree, self.generation);
        for item in tree.range(tables::chunk(self.generation, 0)..=tables::chunk(u64::MAX, u32::MAX)) {
            let (key, _) = item.map_err(failed)?;
            steps.unit(vec![(key.to_vec(), None)])?;
        }
        steps.finish().map(drop)
    }
}

/// Values on their way into sled: cut into chunks where they are large, and many in a step.
pub(super) struct Steps<'t> {
    tree: &'t Tree,
    step: Batch,
    bytes: usize,
    generation: u64,
}

impl<'t> Steps<'t> {
    /// `generation` is the next one for chunks.
    pub(super) fn new(tree: &'t Tree, generation: u64) -> Self {
        Self { tree, step: Batch::default(), bytes: 0, generation }
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
            let replaced = value::chunks_of(key, &raw)?;
            unit.extend(replaced.into_iter().flat_map(value::Chunks::keys).map(|key| (key, None)));
        }
        self.unit(unit)
    }

    /// Changes that are seen together.
    fn unit(&mut self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<()> {
        for (key, stored) in changes {
            self.bytes += key.len() + stored.as_ref().map_or(0, Vec::len);
            match stored {
                Some(stored) => self.step.insert(key, stored),
                None => self.step.remove(key),
            }
        }
        if self.bytes < STEP_BYTES { Ok(()) } else { self.apply() }
    }

    fn apply(&mut self) -> Result<()> {
        self.bytes = 0;
        self.tree.apply_batch(std::mem::take(&mut self.step)).map_err(failed)
    }

    /// Applies what is left, and says which generation of chunks is next.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.apply()?;
        Ok(self.generation)
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
    pub(super) fn start(shared: Arc<Shared>, generation: u64) -> std::io::Result<Self> {
        let (tasks, waiting) = mpsc::channel();
        let (told, outcomes) = mpsc::channel();
        let journal = shared.directory.journal();
        let work = Work { shared: Arc::clone(&shared), journal, generation };
        let thread =
            thread::Builder::new().name("checkpointer".to_owned()).spawn(|| work.run(waiting, told))?;
        Ok(Self { shared, tasks: Some(tasks), outcomes, thread: Some(thread), is_at_work: false })
    }

    /// Whether one is under way.
    ///
    /// # Errors
    /// The last one has failed.
    pub(super) fn is_at_work(&mut self) -> Result<bool> {
        if self.is_at_work {
            match self.outcomes.try_recv() {
                Ok(outcome) => {
                    self.is_at_work = false;
                    outcome?;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(ended()),
            }
        }
        Ok(self.is_at_work)
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
        // Where the thread has ended, `wait` and `is_at_work` say so.
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

/// What the thread owns.
struct Work {
    shared: Arc<Shared>,
    journal: PathBuf,
    generation: u64,
}

impl Work {
    #[expect(clippy::needless_pass_by_value, reason = "who waits is told that the thread has ended")]
    fn run(mut self, tasks: mpsc::Receiver<Task>, told: mpsc::Sender<Result<()>>) {
        while let Ok(task) = tasks.recv() {
            let shared = Arc::clone(&self.shared);
            let outcome = open::guarded(&shared.view.tree, || self.checkpoint(task))
                .unwrap_or_else(|panic| Err(Error::Failed(Arc::new(Panicked(panic)))));
            if let Err(failure) = &outcome {
                self.shared.fail(failure);
            }
            if told.send(outcome).is_err() {
                return;
            }
        }
    }

    fn checkpoint(&mut self, Task { layer, number }: Task) -> Result<()> {
        let tree = &self.shared.view.tree;
        let mut steps = Steps::new(tree, self.generation);
        for (key, value) in layer.iter() {
            if self.shared.is_closing.load(Ordering::Relaxed) {
                return Err(ended());
            }
            steps.write(key, value.as_ref())?;
        }
        self.generation = steps.finish()?;
        self.shared.reach(Step::Checkpoint)?;
        // All before it must be durable first, since sled does not keep the order of steps that it was not asked to flush.
        tree.flush().map_err(failed)?;
        Checkpoint { number, generation: self.generation }.write(tree)?;
        tree.flush().map_err(failed)?;
        self.shared.view.thaw();
        journal::remove_to(&self.journal, number).map_err(|error| Error::Failed(Arc::new(error)))
    }
}
