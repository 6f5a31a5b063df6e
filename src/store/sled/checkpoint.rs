//! What is in the journal, written into sled by a thread of its own.
//!
//! A checkpoint writes the last change of each key, in the order of keys, in as many steps as it takes, then how far it has
//! come, and makes that durable. Only then does the journal lose the files. One that is cut off is done again after the
//! next start: meanwhile each key that it may have written is read from the journal.
//!
//! The thread is the only one that writes into sled and into the files of values, so it is the one that tidies them up as well
//! ([`compaction`](super::compaction), [`values`](super::values)).

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
    database::{self, Database},
    failed, journal, open,
    segments::Empty,
    tables,
    value::{self, INLINE_BYTES_MAX, Stored},
    values::{Collected, Moved, Noted, Writer},
    view::Layer,
};
use crate::store::{Error, Result};

/// How soon it is noted which segments sled has left empty, or used, meanwhile.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// About the size of one step, and how many keys it has at most. sled holds readers up while it applies one.
const STEP_BYTES: usize = 64 * 1024;
const STEP_KEYS: usize = 256;

/// How far sled has what was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The number of the last commit.
    pub(super) number: u64,
    /// What counts of the files of values.
    pub(super) values: Noted,
    /// What keys take in sled with what is stored for them, about: what a checkpoint had written when it was cut off is not counted
    /// when it is done again. The next compaction counts all of it anew.
    pub(super) live_bytes: u64,
}

impl Checkpoint {
    /// The one that sled has; before the first commit where it has none.
    pub(super) fn read(tree: &Database) -> Result<Self> {
        let Some(bytes) = tree.value(tables::CHECKPOINT)? else { return Ok(Self::default()) };
        let (&[number, inventory, sum, live_bytes], []) = bytes.as_chunks() else {
            return Err(value::corrupt(tables::CHECKPOINT, "is no checkpoint"));
        };
        let [number, inventory, sum, live_bytes] =
            [number, inventory, sum, live_bytes].map(u64::from_be_bytes);
        let sum = u32::try_from(sum).map_err(|_| value::corrupt(tables::CHECKPOINT, "is no checkpoint"))?;
        Ok(Self { number, values: Noted { number: inventory, sum }, live_bytes })
    }

    /// Notes it, not durably yet.
    pub(super) fn write(self, tree: &Tree) -> Result<()> {
        let Self { number, values, live_bytes } = self;
        let numbers = [number, values.number, values.sum.into(), live_bytes].map(u64::to_be_bytes);
        let stored = value::encode(tables::CHECKPOINT, numbers.as_flattened());
        tree.insert(tables::CHECKPOINT, stored).map_err(failed)?;
        Ok(())
    }
}

/// Values on their way into sled, the large ones into files: many in a step.
pub(super) struct Steps<'t> {
    tree: &'t Tree,
    values: &'t mut Writer,
    /// Another database that has the keys before one as well.
    mirror: Option<(&'t Tree, &'t [u8])>,
    step: Batch,
    mirrored: Batch,
    mirror_failure: Option<Error>,
    /// What is in the step, and what was in those before.
    keys: usize,
    bytes: usize,
    written: u64,
    live_bytes: u64,
    /// By how much the other database grew.
    mirrored_bytes: i64,
}

/// What steps came to.
pub(super) struct Done {
    /// What keys take now; see [`Checkpoint::live_bytes`].
    pub(super) live_bytes: u64,
    /// What was written into sled.
    pub(super) written: u64,
    /// By how much what is in the other database has grown; or why it does not have all of it.
    pub(super) mirrored: Result<i64>,
}

impl<'t> Steps<'t> {
    /// Where keys take so much.
    pub(super) fn new(tree: &'t Tree, values: &'t mut Writer, live_bytes: u64) -> Self {
        let (step, mirrored) = Default::default();
        Self {
            tree,
            values,
            mirror: None,
            step,
            mirrored,
            mirror_failure: None,
            keys: 0,
            bytes: 0,
            written: 0,
            live_bytes,
            mirrored_bytes: 0,
        }
    }

    /// Writes the keys before one into another database as well.
    pub(super) fn mirrored(self, mirror: Option<(&'t Tree, &'t [u8])>) -> Self {
        Self { mirror, ..self }
    }

    /// Sets a key or removes it.
    pub(super) fn write(&mut self, key: &[u8], value: Option<&Bytes>) -> Result<()> {
        let before = self.tree.get(key).map_err(failed)?;
        match &before {
            None if value.is_none() => return Ok(()),
            None => {}
            Some(raw) => {
                self.grow(key, -bytes_of(key, raw));
                if let Some(place) = value::place(key, raw)? {
                    self.values.release(place);
                }
            }
        }
        let stored = match value {
            Some(value) if value.len() > INLINE_BYTES_MAX => {
                Some(Stored::Placed(self.values.append(key, value).map_err(unwritten)?))
            }
            value => value.map(|value| Stored::Inline(value)),
        };
        self.put(key, stored.map(|stored| stored.encode(key)))
    }

    /// Leads a key to where its value was copied.
    pub(super) fn lead(&mut self, Moved { key, to }: &Moved) -> Result<()> {
        let stored = Stored::Placed(*to).encode(key);
        // It leads elsewhere now, in as many bytes.
        self.grow(key, -bytes_of(key, &stored));
        self.put(key, Some(stored))
    }

    /// Whether the other database is to have a key.
    fn is_mirrored(&self, key: &[u8]) -> bool {
        self.mirror.is_some_and(|(_, end)| key < end)
    }

    fn grow(&mut self, key: &[u8], bytes: i64) {
        self.live_bytes = self.live_bytes.saturating_add_signed(bytes);
        if self.is_mirrored(key) {
            self.mirrored_bytes += bytes;
        }
    }

    fn put(&mut self, key: &[u8], stored: Option<Vec<u8>>) -> Result<()> {
        if let Some(stored) = &stored {
            self.grow(key, bytes_of(key, stored));
        }
        self.keys += 1;
        self.bytes += key.len() + stored.as_ref().map_or(0, Vec::len);
        if self.is_mirrored(key) {
            put(&mut self.mirrored, key, stored.clone());
        }
        put(&mut self.step, key, stored);
        if self.bytes < STEP_BYTES && self.keys < STEP_KEYS { Ok(()) } else { self.apply() }
    }

    fn apply(&mut self) -> Result<()> {
        self.written += std::mem::take(&mut self.bytes) as u64;
        self.keys = 0;
        // Who is led to a value finds it.
        self.values.write_out().map_err(unwritten)?;
        let mirrored = std::mem::take(&mut self.mirrored);
        if let Some(Err(error)) = self.mirror.map(|(mirror, _)| database::apply(mirror, mirrored)) {
            (self.mirror, self.mirror_failure) = (None, Some(error));
        }
        database::apply(self.tree, std::mem::take(&mut self.step))
    }

    /// Applies what is left.
    pub(super) fn finish(mut self) -> Result<Done> {
        self.apply()?;
        let mirrored = self.mirror_failure.map_or(Ok(self.mirrored_bytes), Err);
        Ok(Done { live_bytes: self.live_bytes, written: self.written, mirrored })
    }
}

/// What a key takes, with what is stored for it.
fn bytes_of(key: &[u8], stored: &[u8]) -> i64 {
    i64::try_from(key.len() + stored.len()).unwrap_or(i64::MAX)
}

fn put(step: &mut Batch, key: &[u8], stored: Option<Vec<u8>>) {
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
        let work = Work {
            shared: Arc::clone(&shared),
            journal,
            behind,
            collected: Duration::ZERO,
            noted: None,
            ended: Some(Instant::now()),
        };
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

impl Shared {
    /// Whether the store is still held: where it is not, nothing that takes long is finished first.
    fn go_on(&self) -> Result<()> {
        if self.is_closing.load(Ordering::Relaxed) { Err(ended()) } else { Ok(()) }
    }
}

/// Where checkpoints go.
pub(super) struct Behind {
    /// The last one.
    pub(super) checkpoint: Checkpoint,
    pub(super) values: Writer,
    pub(super) empty: Empty,
    pub(super) compacting: Compacting,
    /// See [`SledOptions::rest`](super::SledOptions::rest).
    pub(super) rest: Duration,
}

/// What the thread owns.
struct Work {
    shared: Arc<Shared>,
    journal: PathBuf,
    behind: Behind,
    /// How long the last file of values took that was looked at. As long again is left to others.
    collected: Duration,
    /// Since when sled may have used empty segments, or left some, which is not noted yet.
    noted: Option<Instant>,
    /// When the last checkpoint ended, or the store was opened, until it has come to rest since.
    ended: Option<Instant>,
}

impl Work {
    /// Works until it is let go of, or has failed: whoever waits then is told that the thread has ended.
    #[expect(clippy::needless_pass_by_value, reason = "see above")]
    fn run(mut self, tasks: mpsc::Receiver<Task>, told: mpsc::Sender<Result<()>>) {
        self.work(&tasks, &told);
        if self.shared.is_closing.load(Ordering::SeqCst) {
            // Nobody is left to tell.
            let _ = self.guarded(Self::note_empty_segments);
        }
    }

    fn work(&mut self, tasks: &mpsc::Receiver<Task>, told: &mpsc::Sender<Result<()>>) {
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
                    self.guarded(|work| work.tidy_beside(began.elapsed()))
                }
                Err(RecvTimeoutError::Timeout) => self.guarded(|work| {
                    work.rest()?;
                    work.tidy()
                }),
                Err(RecvTimeoutError::Disconnected) => return,
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
        let rest = self.ended.map(|ended| self.behind.rest.saturating_sub(ended.elapsed()));
        self.tidying().into_iter().chain(note).chain(rest).min()
    }

    /// Looks once whether there is more to tidy up, when the store has come to rest.
    fn rest(&mut self) -> Result<()> {
        if self.ended.is_none_or(|ended| ended.elapsed() < self.behind.rest) {
            return Ok(());
        }
        self.ended = None;
        self.behind.compacting.consider_at_rest(&self.shared, self.behind.checkpoint);
        self.behind.values.set_at_rest(true);
        // Where commits come, be it one by one, the next file is to be written over it.
        if self.shared.view.is_in_sled() {
            journal::remove_spare(&self.journal).map_err(unwritten)
        } else {
            Ok(())
        }
    }

    /// The same, where there is something to tidy up.
    fn tidying(&self) -> Option<Duration> {
        let has_work = || self.behind.values.has_work(self.shared.room());
        self.behind.compacting.pause().or_else(|| has_work().then_some(self.collected))
    }

    /// Tidies up for half as long as a checkpoint took: where one follows on another there is no time between.
    fn tidy_beside(&mut self, took: Duration) -> Result<()> {
        let began = Instant::now();
        while self.tidying().is_some() && self.shared.go_on().is_ok() {
            self.tidy()?;
            let is_retiring = self.behind.compacting.has_retired();
            if is_retiring || began.elapsed() >= took / 2 {
                break;
            }
        }
        Ok(())
    }

    /// Some of a compaction, or else one file of values: while two databases are there none goes.
    fn tidy(&mut self) -> Result<()> {
        let behind = &mut self.behind;
        if behind.compacting.pause().is_none() {
            return self.collect();
        }
        if let Some(rewritten) = behind.compacting.go_on(&self.shared, behind.checkpoint)? {
            (behind.empty, behind.checkpoint) = (rewritten.empty, rewritten.checkpoint);
            self.noted = Some(Instant::now());
        }
        if !behind.compacting.has_retired() {
            behind.values.clean();
        }
        Ok(())
    }

    /// Looks at one file of values.
    fn collect(&mut self) -> Result<()> {
        let began = Instant::now();
        let (tree, shared) = (self.shared.view.tree(), Arc::clone(&self.shared));
        let collected = self.behind.values.collect(&tree, shared.room(), || shared.go_on())?;
        match collected {
            // Sled is told once of all that were.
            Some(Collected::Counted) if !self.behind.values.has_uncounted() => self.note(&tree)?,
            Some(Collected::Counted) | None => {}
            Some(Collected::Copied { file, moved }) => self.lead(&tree, file, &moved)?,
        }
        self.collected = began.elapsed();
        Ok(())
    }

    /// Has sled lead to copies, in place of what they are of.
    fn lead(&mut self, tree: &Tree, file: u64, moved: &[Moved]) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        if !moved.is_empty() {
            // They are durable before sled leads to them.
            self.note(tree)?;
            shared.reach(Step::Copied)?;
            self.write(tree, |steps| {
                moved.iter().try_for_each(|moved| shared.go_on().and_then(|()| steps.lead(moved)))
            })?;
        }
        shared.reach(Step::Led)?;
        self.behind.values.emptied(file, moved);
        self.note(tree)
    }

    fn checkpoint(&mut self, Task { layer, number }: Task) -> Result<()> {
        let tree = self.shared.view.tree();
        let shared = Arc::clone(&self.shared);
        self.behind.values.set_at_rest(false);
        self.write(&tree, |steps| {
            layer.iter().try_for_each(|(key, value)| {
                shared.go_on()?;
                steps.write(key, value.as_ref())
            })
        })?;
        self.shared.reach(Step::Checkpoint)?;
        self.behind.checkpoint.number = number;
        self.note(&tree)?;
        self.shared.view.thaw();
        journal::remove_to(&self.journal, number).map_err(unwritten)?;
        self.behind.compacting.consider(&self.shared, self.behind.checkpoint);
        self.note_empty_segments()?;
        self.noted = Some(Instant::now());
        self.ended = Some(Instant::now());
        Ok(())
    }

    /// Writes in steps.
    fn write(&mut self, tree: &Tree, write: impl FnOnce(&mut Steps<'_>) -> Result<()>) -> Result<()> {
        let Behind { checkpoint, values, compacting, .. } = &mut self.behind;
        let mut steps = Steps::new(tree, values, checkpoint.live_bytes).mirrored(compacting.copied());
        write(&mut steps)?;
        let Done { live_bytes, written, mirrored } = steps.finish()?;
        checkpoint.live_bytes = live_bytes;
        compacting.note(&self.shared, written, mirrored);
        Ok(())
    }

    /// Makes durable what was written, and says that it is.
    fn note(&mut self, tree: &Tree) -> Result<()> {
        let Behind { checkpoint, values, compacting, .. } = &mut self.behind;
        checkpoint.values = values.note().map_err(unwritten)?;
        // What it covers must be durable before it is.
        tree.flush().map_err(failed)?;
        checkpoint.write(tree)?;
        tree.flush().map_err(failed)?;
        // sled tidies up after it.
        self.noted = Some(Instant::now());
        if !compacting.has_retired() {
            values.clean();
        }
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
