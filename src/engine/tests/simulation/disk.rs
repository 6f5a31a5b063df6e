//! What outlives a process: durable state, and a batch that is on its way to be. Beside it everything that ever became
//! durable is kept, trimmed or not, so that what was promised can be held against it.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex},
};

use futures_util::FutureExt as _;

use crate::{
    chance::Chance,
    engine::{Logged, logged::decode_entry},
    proto::storage::v1::LogEntry,
    store::{Batch, JobKey, MemoryStore, Partition, Records, Sequence, Store as _},
};

/// A command that became durable.
pub(super) struct Archived {
    pub(super) logged: Logged,
    pub(super) entry: LogEntry,
    /// The oldest event that was kept when this became durable.
    pub(super) oldest: Sequence,
}

/// The disk of one seed.
pub(super) struct Disk {
    platters: Vec<Platter>,
    /// A hash of everything that was asked of the disk and of the engine, in order.
    trace: Mutex<DefaultHasher>,
}

struct Platter {
    durable: Arc<MemoryStore>,
    /// What was handed over to be written, and is not known to be.
    left: Mutex<Option<Batch>>,
    archive: Mutex<Vec<Arc<Archived>>>,
}

impl Disk {
    pub(super) fn new(partitions: u16) -> Arc<Self> {
        let platter =
            |_| Platter { durable: Arc::default(), left: Mutex::default(), archive: Mutex::default() };
        let platters = (0..partitions).map(platter).collect();
        Arc::new(Self { platters, trace: Mutex::new(DefaultHasher::new()) })
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..u16::try_from(self.platters.len()).expect("there are a few")).map(Partition)
    }

    pub(super) fn durable(&self, partition: Partition) -> &Arc<MemoryStore> {
        &self.platter(partition).durable
    }

    pub(super) fn records(&self, partition: Partition) -> Records {
        Records::new(Arc::clone(self.durable(partition)) as _, partition)
    }

    pub(super) fn head(&self, partition: Partition) -> Sequence {
        *self.durable(partition).head(partition).borrow()
    }

    pub(super) fn heads(&self) -> Vec<Sequence> {
        self.partitions().map(|partition| self.head(partition)).collect()
    }

    pub(super) fn oldest(&self, partition: Partition) -> Sequence {
        self.durable(partition).oldest(partition)
    }

    /// What became durable in a partition, from a number of commands on.
    pub(super) fn archive(&self, partition: Partition, from: usize) -> Vec<Arc<Archived>> {
        self.platter(partition).archive.lock().unwrap()[from..].to_vec()
    }

    /// What became durable in a partition between two places.
    pub(super) fn between(&self, partition: Partition, after: Sequence, to: Sequence) -> Vec<Arc<Archived>> {
        let archive = self.platter(partition).archive.lock().unwrap();
        let place = |at: Sequence| archive.partition_point(|command| command.logged.sequence <= at);
        archive[place(after)..place(to).max(place(after))].to_vec()
    }

    /// Hands a batch over: whether it becomes durable is open.
    pub(super) fn hand_over(&self, partition: Partition, batch: Batch) {
        let before = self.platter(partition).left.lock().unwrap().replace(batch);
        assert!(before.is_none(), "two commits at once");
    }

    /// Throws away what was handed over.
    pub(super) fn throw_away(&self, partition: Partition) {
        self.platter(partition).left.lock().unwrap().take();
    }

    /// Makes durable what was handed over.
    pub(super) fn keep(&self, partition: Partition) {
        let platter = self.platter(partition);
        let Some(batch) = platter.left.lock().unwrap().take() else { return };
        let oldest = self.oldest(partition);
        let archived = batch.entries.iter().map(|record| {
            let (logged, entry) = (Logged::decode(record).unwrap(), decode_entry(record).unwrap());
            Arc::new(Archived { logged, entry, oldest })
        });
        platter.archive.lock().unwrap().extend(archived);
        platter.durable.commit(partition, batch).now_or_never().expect("memory does not wait").unwrap();
    }

    /// What a crash leaves: of a batch that was under way all or nothing.
    pub(super) fn recover(&self, chance: &mut Chance) {
        for partition in self.partitions() {
            if chance.one_in(2) {
                self.keep(partition);
            } else {
                self.throw_away(partition);
            }
        }
    }

    /// How many keys each table has.
    pub(super) fn table_sizes(&self) -> BTreeMap<char, usize> {
        let mut sizes = BTreeMap::new();
        let all = crate::store::Scan { start: vec![], end: vec![u8::MAX], reverse: false, limit: usize::MAX };
        for partition in self.partitions() {
            let scan = self.durable(partition).scan(partition, all.clone());
            for (key, _) in scan.now_or_never().expect("memory does not wait").unwrap() {
                *sizes.entry(char::from(key[0])).or_default() += 1;
            }
        }
        sizes
    }

    /// Adds to the trace what was asked, or what came of it.
    pub(super) fn note(&self, what: impl std::hash::Hash) {
        let mut trace = self.trace.lock().unwrap();
        what.hash(&mut *trace);
    }

    /// A hash of all that was noted, and of all that became durable.
    pub(super) fn trace(&self) -> u64 {
        let mut trace = self.trace.lock().unwrap().clone();
        for platter in &self.platters {
            for command in platter.archive.lock().unwrap().iter() {
                let JobKey { org, job_id } = &command.logged.job;
                (org, job_id, command.logged.sequence).hash(&mut trace);
                command.logged.events.iter().for_each(|event| event.bytes.hash(&mut trace));
            }
        }
        trace.finish()
    }

    fn platter(&self, partition: Partition) -> &Platter {
        &self.platters[usize::from(partition.0)]
    }
}
