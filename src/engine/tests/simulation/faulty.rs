//! A store over the simulated disk, for as long as a process lives. It keeps the promises of [`Store`] and uses the freedom
//! they leave: it takes its time, shows a batch before it is durable, fails, and crashes at any call.

use std::{
    collections::BTreeMap,
    future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    sync::{Notify, watch},
    time,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    chance::Chance,
    store::{self, Batch, Error, JobKey, LogRecord, Partition, Scan, Sequence, Store, StoreId},
};

use super::disk::Disk;

/// How often things go wrong: one in so many calls; 0: never.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) stalls: usize,
    pub(super) failing_reads: usize,
    pub(super) failing_commits: usize,
    /// The call at which the process dies.
    pub(super) crash_at_call: Option<u64>,
}

/// What is wrong on purpose.
#[derive(Debug, thiserror::Error)]
#[error("simulated")]
pub(super) struct Simulated;

pub(super) struct Faulty {
    disk: Arc<Disk>,
    faults: Faults,
    chance: Mutex<Chance>,
    calls: AtomicU64,
    crashed: CancellationToken,
    doors: Vec<Door>,
}

/// Where batches pass into a partition, one after another.
#[derive(Default)]
struct Door {
    state: Mutex<DoorState>,
    settled: Notify,
}

#[derive(Default)]
struct DoorState {
    /// What reads see of the batch that is under way.
    shown: Option<BTreeMap<Bytes, Option<Bytes>>>,
    failure: Option<Error>,
}

/// What becomes of a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Durable,
    /// It fails, and nothing of it is there.
    Lost,
    /// It fails, and whether it is there shows after a restart.
    Open,
}

impl Faulty {
    pub(super) fn new(disk: &Arc<Disk>, faults: Faults, chance: Chance) -> Arc<Self> {
        Arc::new(Self {
            disk: Arc::clone(disk),
            faults,
            chance: Mutex::new(chance),
            calls: AtomicU64::new(0),
            crashed: CancellationToken::new(),
            doors: disk.partitions().map(|_| Door::default()).collect(),
        })
    }

    /// Returns when the process has died. What it was about to do never happens.
    pub(super) async fn crashed(&self) {
        self.crashed.cancelled().await;
    }

    /// Begins a call: it may take a while, and may be the last.
    async fn call(&self, kind: &'static str) {
        self.count(kind).await;
        self.stall().await;
    }

    /// Counts towards the crash.
    async fn count(&self, kind: &'static str) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        self.disk.note((kind, call));
        if self.faults.crash_at_call.is_some_and(|at| call >= at) {
            self.crashed.cancel();
            future::pending::<()>().await;
        }
    }

    async fn stall(&self) {
        let one_in = self.faults.stalls;
        if one_in == 0 {
            return;
        }
        let millis = {
            let mut chance = self.chance();
            match chance.below(one_in) {
                0 if chance.one_in(40) => 1_000,
                0 => 1 + chance.below(25),
                1 => 0,
                _ => return,
            }
        };
        if millis == 0 {
            tokio::task::yield_now().await;
        } else {
            time::sleep(Duration::from_millis(millis)).await;
        }
    }

    fn happens(&self, one_in: usize) -> bool {
        one_in > 0 && self.chance().one_in(one_in)
    }

    async fn read_call(&self, kind: &'static str) -> store::Result<()> {
        self.call(kind).await;
        if self.happens(self.faults.failing_reads) { Err(simulated()) } else { Ok(()) }
    }

    fn fate(&self) -> Fate {
        match self.happens(self.faults.failing_commits) {
            false => Fate::Durable,
            true if self.chance().one_in(2) => Fate::Lost,
            true => Fate::Open,
        }
    }

    fn chance(&self) -> std::sync::MutexGuard<'_, Chance> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn door(&self, partition: Partition) -> &Door {
        &self.doors[usize::from(partition.0)]
    }

    /// A scan at one moment.
    async fn scan_now(&self, partition: Partition, scan: &Scan) -> store::Result<Vec<(Bytes, Bytes)>> {
        let shown = self.door(partition).state.lock().unwrap().shown.clone();
        let Some(shown) = shown else {
            return self.disk.durable(partition).scan(partition, scan.clone()).await;
        };
        let all = Scan { limit: usize::MAX, ..scan.clone() };
        let found = self.disk.durable(partition).scan(partition, all).await?;
        let mut found: BTreeMap<_, _> = found.into_iter().collect();
        for (key, value) in shown {
            if key[..] < scan.start[..] || key[..] >= scan.end[..] {
                continue;
            }
            match value {
                Some(value) => found.insert(key, value),
                None => found.remove(&key),
            };
        }
        let found = found.into_iter();
        Ok(if scan.reverse {
            found.rev().take(scan.limit).collect()
        } else {
            found.take(scan.limit).collect()
        })
    }
}

impl DoorState {
    fn outcome(&self) -> store::Result<()> {
        self.failure.clone().map_or(Ok(()), Err)
    }
}

fn simulated() -> Error {
    Error::Failed(Arc::new(Simulated))
}

#[async_trait]
impl Store for Faulty {
    fn id(&self) -> StoreId {
        StoreId(Uuid::nil())
    }

    fn partitions(&self) -> u16 {
        u16::try_from(self.doors.len()).expect("there are a few")
    }

    async fn get(&self, partition: Partition, key: &[u8]) -> store::Result<Option<Bytes>> {
        self.read_call("get").await?;
        let shown = {
            let state = self.door(partition).state.lock().unwrap();
            state.shown.as_ref().and_then(|shown| shown.get(key).cloned())
        };
        match shown {
            Some(value) => Ok(value),
            None => self.disk.durable(partition).get(partition, key).await,
        }
    }

    async fn scan(&self, partition: Partition, scan: Scan) -> store::Result<Vec<(Bytes, Bytes)>> {
        self.read_call("scan").await?;
        let found = self.scan_now(partition, &scan).await?;
        if found.len() < 2 || !self.happens(self.faults.stalls) {
            return Ok(found);
        }
        // Not one moment: the rest is read later.
        let (first, _) = found.split_at(found.len() / 2);
        self.stall().await;
        let last = first.last().map(|(key, _)| key.clone()).unwrap_or_default();
        let rest = if scan.reverse {
            Scan { end: last.to_vec(), limit: scan.limit - first.len(), ..scan }
        } else {
            Scan { start: [&last[..], &[0]].concat(), limit: scan.limit - first.len(), ..scan }
        };
        let rest = self.scan_now(partition, &rest).await?;
        Ok([first, &rest].concat())
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> store::Result<()> {
        self.call("commit").await;
        let door = self.door(partition);
        door.state.lock().unwrap().outcome()?;
        assert_eq!(batch.first, self.disk.head(partition).next(), "a batch follows on the head");
        let writes: BTreeMap<_, _> = batch.writes.iter().cloned().collect();
        self.disk.hand_over(partition, batch);
        let fate = self.fate();
        let is_shown_at_once = fate != Fate::Lost && self.chance().one_in(2);
        if is_shown_at_once {
            door.state.lock().unwrap().shown = Some(writes.clone());
        }
        self.call("write").await;
        if fate != Fate::Lost {
            door.state.lock().unwrap().shown = Some(writes);
        }
        self.call("flush").await;
        if fate != Fate::Durable {
            if fate == Fate::Lost {
                self.disk.throw_away(partition);
            }
            door.state.lock().unwrap().failure = Some(simulated());
            door.settled.notify_waiters();
            return Err(simulated());
        }
        self.disk.keep(partition);
        door.state.lock().unwrap().shown = None;
        door.settled.notify_waiters();
        // The head has moved: who waits for that may well be quicker than the writer. No time passes, for a watch that has
        // seen the head asks again and again until the writer has told the tail.
        self.count("committed").await;
        let turns = self.chance().below(20);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn settle(&self, partition: Partition) -> store::Result<()> {
        let door = self.door(partition);
        loop {
            let settled = door.settled.notified();
            {
                let state = door.state.lock().unwrap();
                state.outcome()?;
                if state.shown.is_none() {
                    return Ok(());
                }
            }
            settled.await;
        }
    }

    fn head(&self, partition: Partition) -> watch::Receiver<Sequence> {
        self.disk.durable(partition).head(partition)
    }

    fn oldest(&self, partition: Partition) -> Sequence {
        self.disk.oldest(partition)
    }

    async fn log(
        &self,
        partition: Partition,
        after: Sequence,
        bytes: usize,
    ) -> store::Result<Vec<LogRecord>> {
        self.read_call("log").await?;
        self.disk.durable(partition).log(partition, after, bytes).await
    }

    async fn history(
        &self,
        partition: Partition,
        job: &JobKey,
        after: Sequence,
        bytes: usize,
    ) -> store::Result<Vec<LogRecord>> {
        self.read_call("history").await?;
        self.disk.durable(partition).history(partition, job, after, bytes).await
    }

    async fn trim(&self, partition: Partition, before: Sequence) -> store::Result<()> {
        self.read_call("trim").await?;
        self.door(partition).state.lock().unwrap().outcome()?;
        // Or fewer.
        let fewer = if self.chance().one_in(3) { self.chance().below(5) } else { 0 };
        self.disk.durable(partition).trim(partition, Sequence(before.0.saturating_sub(fewer))).await
    }

    async fn export(&self, partition: Partition) -> Result<Box<dyn store::Export>, store::ExportError> {
        self.disk.durable(partition).export(partition).await
    }

    async fn close(&self) -> store::Result<()> {
        self.call("close").await;
        Ok(())
    }
}
