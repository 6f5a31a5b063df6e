//! Whether a store is in order: the log is whole, and what it tells makes the records and indexes that are there, and
//! no others.
//!
//! The history of a job is told again, as it was decided, to nothing but memory; what that writes must be what is stored.
//! Counting says whether there is more. A job is in memory at a time, however many there are.
//!
//! The store is read once, from its first key to its last: what histories make and what is stored are added up, table by
//! table, and the sums compared. Only where those differ is it read again, and each key that a history makes looked for,
//! to say which are wrong: that reads all over the disk.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{Logged, logged::decode_entry};
use crate::{
    domain::{JobState, evolve, summary},
    proto::{storage::v1::LogBatch, v1::JobEventType},
    store::{
        self, ExportError, Extent, Item, JobKey, LogRecord, MemoryStore, Partition, Records, Sequence, Store,
        table_name,
    },
};

/// How many faults are told; further ones are counted.
const FAULTS_MAX: usize = 100;

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Jobs, those that were deleted included.
    pub jobs: u64,
    /// Events in the histories of jobs.
    pub events: u64,
    /// Records and index entries.
    pub records: u64,
    /// How far the log reaches.
    pub extents: Vec<(u64, u64)>,
    /// What is wrong, a sentence each: at most 100.
    pub faults: Vec<String>,
    /// How many more there are.
    pub further_faults: u64,
}

impl Findings {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        } else {
            self.further_faults += 1;
        }
    }
}

/// Looks at all of a store, which must be at rest.
///
/// # Errors
/// The store cannot be read, so that nothing more can be said.
pub async fn check(store: Arc<dyn Store>) -> Result<Findings, ExportError> {
    let findings = check_by(&store, By::Sums).await?;
    if findings.is_in_order() {
        return Ok(findings);
    }
    let told = check_by(&store, By::Keys).await?;
    // What was only met by adding up is told rather than nothing.
    Ok(if told.is_in_order() { findings } else { told })
}

async fn check_by(store: &Arc<dyn Store>, by: By) -> Result<Findings, ExportError> {
    let mut findings = Findings::default();
    for partition in (0..store.partitions()).map(Partition) {
        let mut check = Check {
            store: Arc::clone(store),
            partition,
            by,
            findings: &mut findings,
            expected: BTreeMap::new(),
            found: BTreeMap::new(),
            job: None,
            log: Log {
                entries: Entries { oldest: store.oldest(partition), ..Entries::default() },
                ..Log::default()
            },
        };
        let extent = check.look().await?;
        findings.extents.push((extent.oldest.0, extent.head.0));
    }
    Ok(findings)
}

/// How what histories make is compared with what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Sums,
    Keys,
}

/// What a table has, added up in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    /// Of the digests of keys and values. Two tables that differ have the same one once in 2^128.
    digests: u128,
}

impl Sum {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let length = (key.len() as u64).to_be_bytes();
        let digest = Sha256::new().chain_update(length).chain_update(key).chain_update(value).finalize();
        let (first, _) = digest.split_first_chunk().expect("it has 32 bytes");
        self.count += 1;
        self.digests = self.digests.wrapping_add(u128::from_be_bytes(*first));
    }
}

struct Check<'a> {
    store: Arc<dyn Store>,
    partition: Partition,
    by: By,
    findings: &'a mut Findings,
    /// What each table should have, and what it has.
    expected: BTreeMap<u8, Sum>,
    found: BTreeMap<u8, Sum>,
    /// The job whose history is being told.
    job: Option<Retold>,
    log: Log,
}

/// A job, as far as its history was told.
struct Retold {
    key: JobKey,
    state: JobState,
    records: Records,
    is_deleted: bool,
    /// What cannot follow on what was told before. The rest is not told then.
    broken: Option<String>,
    /// The history does not begin with the job: a trim is removing it.
    is_cut: bool,
    /// The last entry.
    last: Option<(Sequence, bool)>,
}

/// How far the log was looked at.
#[derive(Default)]
struct Log {
    /// The newest event of the last batch.
    end: Option<Sequence>,
    oldest: Option<Sequence>,
    /// Entries of histories that are within the log, and that no batch has led to yet.
    entries: Entries,
}

/// A set of places in the log, a bit each.
#[derive(Default)]
struct Entries {
    oldest: Sequence,
    bits: Vec<u64>,
}

impl Entries {
    fn insert(&mut self, sequence: Sequence) {
        let (word, bit) = self.place(sequence);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= bit;
    }

    /// Whether it was there.
    fn remove(&mut self, sequence: Sequence) -> bool {
        let (word, bit) = self.place(sequence);
        let Some(bits) = self.bits.get_mut(word) else { return false };
        let was_there = *bits & bit != 0;
        *bits &= !bit;
        was_there
    }

    fn count(&self) -> u32 {
        self.bits.iter().map(|bits| bits.count_ones()).sum()
    }

    fn place(&self, sequence: Sequence) -> (usize, u64) {
        let at = sequence.0 - self.oldest.0;
        (usize::try_from(at / 64).expect("the log fits the memory, a bit each"), 1 << (at % 64))
    }
}

impl Check<'_> {
    async fn look(&mut self) -> Result<Extent, ExportError> {
        let oldest = self.store.oldest(self.partition);
        let mut export = self.store.export(self.partition).await?;
        while let Some(items) = export.next().await? {
            for item in items {
                match item {
                    Item::Record(key, value) => self.record(&key, value.as_ref()).await?,
                    Item::Entry(entry) => self.entry(&entry, oldest).await?,
                    Item::Batch(batch) => self.batch(&batch, oldest),
                }
            }
            tokio::task::yield_now().await;
        }
        let extent = export.extent();
        drop(export);
        self.finish_job().await?;
        self.finish_log(extent);
        self.compare_sums();
        Ok(extent)
    }

    async fn record(&mut self, key: &Bytes, value: Option<&Bytes>) -> store::Result<()> {
        let Some(value) = value else { return Ok(()) };
        self.findings.records += 1;
        self.found.entry(key[0]).or_default().add(key, value);
        // Its history went with the old end of the log, or goes when that is trimmed.
        let Some((job, left)) = Records::left_of_deleted(key, value)? else { return Ok(()) };
        let history = self.store.history(self.partition, &job, Sequence(0), 0).await?;
        if history.first().map_or(Ok(true), is_cut)? {
            self.findings.jobs += 1;
            self.compare(left).await?;
        }
        Ok(())
    }

    async fn entry(&mut self, entry: &LogRecord, oldest: Sequence) -> store::Result<()> {
        if self.job.as_ref().is_none_or(|job| job.key != entry.job) {
            self.finish_job().await?;
            self.job = Some(Retold::new(entry.job.clone(), self.partition));
        }
        let head = *self.store.head(self.partition).borrow();
        if entry.sequence > head {
            self.findings.fault(format!("entry {} is past the end of the log at {head}", entry.sequence));
        } else if entry.sequence >= oldest {
            self.log.entries.insert(entry.sequence);
        }
        let Some(job) = &mut self.job else { return Ok(()) };
        match Logged::decode(entry).and_then(|logged| Ok((logged, decode_entry(entry)?))) {
            Ok((logged, decoded)) => {
                self.findings.events += logged.events.len() as u64;
                if let Some(workflow) = &decoded.workflow {
                    job.records.put_workflow(&job.key.org, workflow);
                }
                job.tell(entry, &logged, decoded.sync.as_ref()).await
            }
            Err(error) => {
                job.broken.get_or_insert(error.to_string());
                Ok(())
            }
        }
    }

    /// Compares what a history makes with what is there.
    async fn finish_job(&mut self) -> store::Result<()> {
        let Some(mut job) = self.job.take() else { return Ok(()) };
        let oldest = self.store.oldest(self.partition);
        if job.is_cut && job.last.is_some_and(|(last, deletes)| deletes && last < oldest) {
            return Ok(());
        }
        self.findings.jobs += u64::from(!job.key.job_id.is_empty());
        if let Some(broken) = job.broken {
            let JobKey { org, job_id } = &job.key;
            self.findings.fault(format!("the history of job {job_id} of {org} is broken: {broken}"));
            return Ok(());
        }
        self.compare(job.records.take_writes()).await
    }

    async fn compare(&mut self, written: Vec<(Bytes, Option<Bytes>)>) -> store::Result<()> {
        for (key, value) in written {
            if let Some(value) = &value {
                self.expected.entry(key[0]).or_default().add(&key, value);
            }
            if self.by == By::Sums {
                continue;
            }
            let stored = self.store.get(self.partition, &key).await?;
            if stored == value {
                continue;
            }
            let fault = match (stored, value) {
                (None, _) => "is missing",
                (Some(_), None) => "should be gone",
                (Some(_), Some(_)) => "is not what the history makes of it",
            };
            let table = table_name(key[0]);
            self.findings.fault(format!("{table} {} {fault}", key[1..].escape_ascii()));
        }
        Ok(())
    }

    fn batch(&mut self, batch: &LogBatch, oldest: Sequence) {
        let Some(last) = batch.entries.last().map(|entry| Sequence(entry.sequence)) else { return };
        // What a trim has passed may be left for its next step.
        if last < oldest {
            return;
        }
        let first = Sequence(batch.first_sequence);
        self.log.oldest.get_or_insert(first);
        if let Some(end) = self.log.end.replace(last)
            && first != end.next()
        {
            self.findings.fault(format!("the log has a gap between {end} and {first}"));
        }
        for entry in batch.entries.iter().filter(|entry| !entry.all_transient) {
            if !self.log.entries.remove(Sequence(entry.sequence)) {
                self.findings.fault(format!("the log lacks its entry {}", entry.sequence));
            }
        }
    }

    fn finish_log(&mut self, extent: Extent) {
        let end = self.log.end.unwrap_or_default();
        let oldest = self.log.oldest.unwrap_or(extent.head.next());
        if (oldest, end.max(extent.head)) != (extent.oldest, extent.head) {
            let Extent { oldest: from, head } = extent;
            self.findings.fault(format!("the log has {oldest} to {end} and should have {from} to {head}"));
        }
        let unled = self.log.entries.count();
        if unled > 0 {
            self.findings.fault(format!("the log does not lead to {unled} entries of histories"));
        }
    }

    fn compare_sums(&mut self) {
        let tables =
            self.expected.keys().chain(self.found.keys()).copied().collect::<std::collections::BTreeSet<_>>();
        for table in tables {
            let sum = |sums: &BTreeMap<u8, Sum>| sums.get(&table).copied().unwrap_or_default();
            let (expected, found, name) = (sum(&self.expected), sum(&self.found), table_name(table));
            if expected.count != found.count {
                let (expected, found) = (expected.count, found.count);
                self.findings
                    .fault(format!("there are {found} of {name}, and the histories make {expected}"));
            } else if expected != found && self.by == By::Sums {
                self.findings.fault(format!("{name} are not what the histories make of them"));
            }
        }
    }
}

impl Retold {
    fn new(key: JobKey, partition: Partition) -> Self {
        let records = Records::new(Arc::new(MemoryStore::new()), partition);
        Self {
            key,
            state: JobState::default(),
            records,
            is_deleted: false,
            broken: None,
            is_cut: false,
            last: None,
        }
    }

    async fn tell(
        &mut self,
        entry: &LogRecord,
        logged: &Logged,
        sync: Option<&crate::proto::storage::v1::SyncRecord>,
    ) -> store::Result<()> {
        self.last = Some((entry.sequence, entry.deletes_job));
        if self.broken.is_some() || logged.events.is_empty() && sync.is_none() {
            return Ok(());
        }
        let before = (self.state.job.revision > 0).then(|| summary(&self.state.job));
        for event in &logged.events {
            let (event, revision) = (&event.event, self.state.job.revision);
            self.is_cut |= revision == 0 && event.revision > 1;
            if self.is_deleted || event.revision != revision + 1 || event.job_id != self.key.job_id {
                let what = format!("revision {} of {} follows on {revision}", event.revision, event.job_id);
                self.broken = Some(what);
                return Ok(());
            }
            evolve(&mut self.state, event);
            self.is_deleted |= event.r#type() == JobEventType::JobDeleted;
        }
        if self.is_deleted != entry.deletes_job {
            self.broken = Some(format!("entry {} does not say whether it is the last", entry.sequence));
            return Ok(());
        }
        if let Some(sync) = sync {
            self.state.sync = Some(sync.clone());
        }
        if self.is_deleted {
            self.records.remove_parts(&self.key).await?;
        }
        let events: Vec<_> = logged.events.iter().map(|event| (*event.event).clone()).collect();
        self.records.apply(&self.key.org, before.as_ref(), &self.state, &events, sync);
        Ok(())
    }
}

/// Whether the first entry of a history is not the job's first.
fn is_cut(first: &LogRecord) -> store::Result<bool> {
    Ok(Logged::decode(first)?.events.first().is_some_and(|event| event.event.revision > 1))
}
