//! The typed records of jobs over the keys of a store, and the indexes that lists are served from.
//!
//! A [`Records`] reads one partition. The writer's also holds the writes of the batch it is putting together, and of the one
//! before, which may be on its way, and reads through them; nobody else sees those until the batch is committed.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;

use super::{
    Error, Partition, Result, Scan, Store,
    keys::{Key, Table, first, last_text, split_time, texts},
};
use crate::{
    domain::{Counts, Dependency, InstanceState, JobState, joins_attempt, summary, version_number},
    proto::{
        EncodedJobRecord,
        storage::v1::{InstanceRecord, JobRecord, SyncRecord},
        v1::{
            Assignee, Hold, Job, JobEvent, JobEventType, JobStatus, JobSummary, Step, StepReport, TaskStatus,
            Workflow, WorkflowAttempt,
        },
    },
};

/// Keys read in one go when all of a kind are wanted.
const SCAN_KEYS: usize = 256;

/// Names a job: its organization and its id there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    /// The organization.
    pub org: String,
    /// The job's id in it.
    pub job_id: String,
}

/// A run of an index: the jobs that have one value of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Index {
    /// Every job.
    All,
    /// By status, open or closed.
    Status(JobStatus, bool),
    /// By team.
    Team(String),
    /// By user.
    User(String),
    /// By workflow.
    Workflow(String),
    /// By assignee.
    Assignee(Assignee),
}

/// A run of the index of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskRun<'a> {
    /// Every task of an organization.
    All,
    /// Those that have not ended.
    Open,
    /// Those of a job.
    Job(&'a str),
}

/// The place of a job, or of a task, in every index: by when it was made, then by id. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexPlace {
    /// Seconds and nanoseconds of when it was made.
    pub create_time: (i64, i32),
    /// The job's id, or the task's.
    pub id: String,
}

/// Which part of an index run to read.
#[derive(Clone, Debug, Default)]
pub struct IndexPage {
    /// Only places after this one, in the order of reading.
    pub after: Option<IndexPlace>,
    /// From the newest to the oldest.
    pub reverse: bool,
    /// Only jobs made at this time or later.
    pub from: Option<Timestamp>,
    /// Only jobs made before this time.
    pub before: Option<Timestamp>,
    /// At most so many.
    pub limit: usize,
}

/// A job in which something falls due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// When.
    pub time: Timestamp,
    /// Where.
    pub job: JobKey,
    /// The hold that goes, or the task that must have ended.
    pub id: String,
}

/// A hold that waits for something, in the index by what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependent {
    /// What it waits for.
    pub dependency: Dependency,
    /// The job it stands in.
    pub job_id: String,
    /// The hold.
    pub hold_id: String,
    /// The step it stands on.
    pub step_id: String,
}

/// The records of a partition.
pub struct Records {
    store: Arc<dyn Store>,
    partition: Partition,
    /// What may not show in the store yet, in the order of keys.
    pending: Vec<(Bytes, Option<Bytes>)>,
    writes: BTreeMap<Vec<u8>, Option<Bytes>>,
    written_bytes: usize,
}

#[expect(clippy::missing_errors_doc, reason = "said once, at `job`: every read has the same")]
impl Records {
    /// The records as the store has them.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, partition: Partition) -> Self {
        Self::over(store, partition, Vec::new())
    }

    /// The records as they are after a batch that may not show in the store yet. What it writes is in the order of keys.
    #[must_use]
    pub fn over(store: Arc<dyn Store>, partition: Partition, pending: Vec<(Bytes, Option<Bytes>)>) -> Self {
        Self { store, partition, pending, writes: BTreeMap::new(), written_bytes: 0 }
    }

    /// The head of a job, also of a deleted one.
    ///
    /// # Errors
    /// The store's, as for every read here.
    pub async fn job(&self, job: &JobKey) -> Result<Option<JobRecord>> {
        self.read(Key::of(Table::Job, job)).await
    }

    /// The head of a job that is not deleted, left encoded. It is another one where anything of the job has changed.
    pub async fn encoded_job(&self, job: &JobKey) -> Result<Option<Bytes>> {
        let record: Option<EncodedJobRecord> = self.read(Key::of(Table::Job, job)).await?;
        Ok(record.filter(|record| !record.deleted).map(|record| record.job))
    }

    /// The id of the job that a client knows under an id of its own.
    pub async fn job_id(&self, org: &str, client_job_id: &str) -> Result<Option<String>> {
        let key = Key::new(Table::Client, org).text(client_job_id).into_bytes();
        let Some(value) = self.get(&key).await? else { return Ok(None) };
        match String::from_utf8(value.to_vec()) {
            Ok(job_id) => Ok(Some(job_id)),
            Err(_) => Err(Error::Corrupt("a client id leads to no job id".to_owned())),
        }
    }

    /// What the merge of syncs keeps.
    pub async fn sync(&self, job: &JobKey) -> Result<Option<SyncRecord>> {
        self.read(Key::of(Table::Sync, job)).await
    }

    /// A job's steps, by id.
    pub async fn steps(&self, job: &JobKey) -> Result<BTreeMap<String, Step>> {
        self.read_all(Key::of(Table::Step, job)).await
    }

    /// A job's reports, by `unique_step_id`.
    pub async fn reports(&self, job: &JobKey) -> Result<BTreeMap<String, StepReport>> {
        self.read_all(Key::of(Table::Report, job)).await
    }

    /// Some of a job's reports: those after an id, in the order of ids.
    pub async fn reports_after(&self, job: &JobKey, after: &str, limit: usize) -> Result<Vec<StepReport>> {
        self.of_job_after(Key::of(Table::Report, job), after, limit).await
    }

    /// What a table has of a job: that after an id, in the order of ids.
    async fn of_job_after<M: Message + Default>(
        &self,
        all: Key,
        after: &str,
        limit: usize,
    ) -> Result<Vec<M>> {
        let start = if after.is_empty() { all.clone() } else { all.clone().text(after).byte(0) };
        let scan = Scan { start: start.into_bytes(), end: all.end(), reverse: false, limit };
        let found = self.store.scan(self.partition, scan).await?;
        found.into_iter().map(|(_, value)| decode(value)).collect()
    }

    /// A job's holds, by id, released ones included.
    pub async fn holds(&self, job: &JobKey) -> Result<BTreeMap<String, Hold>> {
        self.read_all(Key::of(Table::Hold, job)).await
    }

    /// A job's holds that stand on these steps, by id.
    pub async fn standing_holds(
        &self,
        job: &JobKey,
        steps: impl Iterator<Item = &Step>,
    ) -> Result<BTreeMap<String, Hold>> {
        let mut holds = BTreeMap::new();
        for hold_id in steps.flat_map(|step| &step.hold_ids) {
            if let Some(hold) = self.read(Key::of(Table::Hold, job).text(hold_id)).await? {
                holds.insert(hold_id.clone(), hold);
            }
        }
        Ok(holds)
    }

    /// Holds of an organization, or of one job of it: those after a place, by job and by id.
    pub async fn holds_after(
        &self,
        org: &str,
        job_id: &str,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Hold>> {
        self.of_jobs_after(Key::new(Table::Hold, org), job_id, after, limit).await
    }

    /// What a table has of an organization, or of one job of it: that after a place, by job and by id.
    async fn of_jobs_after<M: Message + Default>(
        &self,
        table: Key,
        job_id: &str,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<M>> {
        let all = if job_id.is_empty() { table.clone() } else { table.clone().text(job_id) };
        let start = match after {
            None => all.clone(),
            Some((job_id, id)) => table.text(job_id).text(id).byte(0),
        };
        let scan = Scan { start: start.into_bytes(), end: all.end(), reverse: false, limit };
        let found = self.store.scan(self.partition, scan).await?;
        found.into_iter().map(|(_, value)| decode(value)).collect()
    }

    /// One hold.
    pub async fn hold(&self, job: &JobKey, hold_id: &str) -> Result<Option<Hold>> {
        self.read(Key::of(Table::Hold, job).text(hold_id)).await
    }

    /// One step.
    pub async fn step(&self, job: &JobKey, step_id: &str) -> Result<Option<Step>> {
        self.read(Key::of(Table::Step, job).text(step_id)).await
    }

    /// A job's tasks, by id.
    pub async fn tasks(&self, job: &JobKey) -> Result<BTreeMap<String, TaskStatus>> {
        self.read_all(Key::of(Table::Task, job)).await
    }

    /// The tasks that do the work of these steps, by id.
    pub async fn linked_tasks(
        &self,
        job: &JobKey,
        steps: &BTreeMap<String, Step>,
    ) -> Result<BTreeMap<String, TaskStatus>> {
        let mut tasks = BTreeMap::new();
        for task_id in steps.values().map(|step| &step.task_id).filter(|task_id| !task_id.is_empty()) {
            if let Some(task) = self.read(Key::of(Table::Task, job).text(task_id)).await? {
                tasks.insert(task_id.clone(), task);
            }
        }
        Ok(tasks)
    }

    /// Those of a job's tasks that have not ended, by id.
    pub async fn open_tasks(&self, job: &JobKey) -> Result<BTreeMap<String, TaskStatus>> {
        self.read_where(Key::of(Table::Task, job), TaskStatus::is_open).await
    }

    /// The tasks that reports of an attempt are about, by sequence id: the ids of both.
    pub async fn attempt_tasks(
        &self,
        job: &JobKey,
        instance_id: &str,
        attempt_id: i64,
    ) -> Result<Vec<(i64, String)>> {
        let all = attempt_key(Table::AttemptTask, job, instance_id, attempt_id);
        let head = all.clone().into_bytes().len();
        let found = self.scan_all(all).await?;
        let ids = found.iter().map(|(key, task_id)| {
            let sequence_id = i64::from_be_bytes(key.get(head..)?.try_into().ok()?);
            Some((sequence_id, std::str::from_utf8(task_id).ok()?.to_owned()))
        });
        ids.collect::<Option<_>>()
            .ok_or_else(|| Error::Corrupt("the key of an attempt's task is cut".to_owned()))
    }

    /// One task.
    pub async fn task(&self, job: &JobKey, task_id: &str) -> Result<Option<TaskStatus>> {
        self.read(Key::of(Table::Task, job).text(task_id)).await
    }

    /// A workflow instance, less its attempts.
    pub async fn instance(&self, job: &JobKey, instance_id: &str) -> Result<Option<InstanceRecord>> {
        self.read(Key::of(Table::Instance, job).text(instance_id)).await
    }

    /// A workflow instance with its newest attempt, and with another one if that is there.
    pub async fn instance_with(
        &self,
        job: &JobKey,
        instance_id: &str,
        attempt_id: i64,
    ) -> Result<Option<InstanceState>> {
        let Some(record) = self.instance(job, instance_id).await? else { return Ok(None) };
        let mut attempts = BTreeMap::new();
        for attempt_id in BTreeSet::from([record.newest_attempt_id, attempt_id]) {
            let attempt = self.attempt(job, instance_id, attempt_id).await?;
            attempts.extend(attempt.map(|attempt| (attempt_id, attempt)));
        }
        Ok(Some(instance_state(record, attempts)))
    }

    /// Workflow instances of an organization, or of one job of it, less their attempts: those after a place, by job and by
    /// id.
    pub async fn instances_after(
        &self,
        org: &str,
        job_id: &str,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<InstanceRecord>> {
        self.of_jobs_after(Key::new(Table::Instance, org), job_id, after, limit).await
    }

    /// An attempt at a workflow instance.
    pub async fn attempt(
        &self,
        job: &JobKey,
        instance_id: &str,
        attempt_id: i64,
    ) -> Result<Option<WorkflowAttempt>> {
        self.read(attempt_key(Table::Attempt, job, instance_id, attempt_id)).await
    }

    /// The newest attempts at a workflow instance, the newest first: those before one, if that is given.
    pub async fn newest_attempts(
        &self,
        job: &JobKey,
        instance_id: &str,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<WorkflowAttempt>> {
        let all = Key::of(Table::Attempt, job).text(instance_id);
        let end = before.map_or_else(
            || all.clone().end(),
            |before| attempt_key(Table::Attempt, job, instance_id, before).into_bytes(),
        );
        let scan = Scan { start: all.into_bytes(), end, reverse: true, limit };
        let found = self.store.scan(self.partition, scan).await?;
        found.into_iter().map(|(_, value)| decode(value)).collect()
    }

    /// The job that a task belongs to.
    pub async fn job_of_task(&self, org: &str, task_id: &str) -> Result<Option<String>> {
        let key = Key::new(Table::TaskJob, org).text(task_id).into_bytes();
        let Some(value) = self.get(&key).await? else { return Ok(None) };
        match String::from_utf8(value.to_vec()) {
            Ok(job_id) => Ok(Some(job_id)),
            Err(_) => Err(Error::Corrupt("a task's id leads to no job".to_owned())),
        }
    }

    /// The places of tasks in a run of their index, in order; each with the task's job. The ids of the places are the
    /// tasks'.
    pub async fn task_index(
        &self,
        org: &str,
        run: TaskRun<'_>,
        page: &IndexPage,
    ) -> Result<Vec<(IndexPlace, String)>> {
        let run = task_run(org, run);
        let found = self.store.scan(self.partition, page.scan(&run)).await?;
        let run_len = run.into_bytes().len();
        let places = found.iter().map(|(key, job_id)| {
            Some((IndexPlace::of_key(key, run_len)?, std::str::from_utf8(job_id).ok()?.to_owned()))
        });
        places.collect::<Option<_>>().ok_or_else(|| Error::Corrupt("a task's index key is cut".to_owned()))
    }

    /// A version of a workflow.
    pub async fn workflow(&self, org: &str, workflow_id: &str, version: u64) -> Result<Option<Workflow>> {
        self.read(Key::new(Table::Workflow, org).text(workflow_id).number(version)).await
    }

    /// The newest version of a workflow.
    pub async fn newest_workflow(&self, org: &str, workflow_id: &str) -> Result<Option<Workflow>> {
        let all = Key::new(Table::Workflow, org).text(workflow_id);
        let range = all.clone().into_bytes()..all.clone().end();
        if let Some((_, Some(written))) = self.unsettled(range).pop_last() {
            return decode(written).map(Some);
        }
        let scan = Scan { start: all.clone().into_bytes(), end: all.end(), reverse: true, limit: 1 };
        let found = self.store.scan(self.partition, scan).await?;
        found.into_iter().next().map(|(_, value)| decode(value)).transpose()
    }

    /// Versions of a workflow, the newest first: those older than one, if that is given.
    pub async fn workflow_versions(
        &self,
        org: &str,
        workflow_id: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Workflow>> {
        let all = Key::new(Table::Workflow, org).text(workflow_id);
        let end = before.map_or_else(|| all.clone().end(), |before| all.clone().number(before).into_bytes());
        let scan = Scan { start: all.into_bytes(), end, reverse: true, limit };
        let found = self.store.scan(self.partition, scan).await?;
        found.into_iter().map(|(_, value)| decode(value)).collect()
    }

    /// The next workflow after an id, in its newest version.
    pub async fn next_workflow(&self, org: &str, after: &str) -> Result<Option<Workflow>> {
        let all = Key::new(Table::Workflow, org);
        let start = if after.is_empty() { all.clone().into_bytes() } else { all.clone().text(after).end() };
        let scan = Scan { start, end: all.end(), reverse: false, limit: 1 };
        let Some((_, oldest)) = self.store.scan(self.partition, scan).await?.into_iter().next() else {
            return Ok(None);
        };
        let oldest: Workflow = decode(oldest)?;
        self.newest_workflow(org, &oldest.workflow_id).await
    }

    /// Whether a version of a workflow is not written by what may not show in the store yet.
    #[must_use]
    pub fn is_settled(&self, org: &str, workflow: &Workflow) -> bool {
        let version =
            Key::new(Table::Workflow, org).text(&workflow.workflow_id).number(version_number(workflow));
        let version = version.into_bytes();
        let is_pending = self.pending.binary_search_by(|(pending, _)| (**pending).cmp(&version)).is_ok();
        !is_pending && !self.writes.contains_key(&version)
    }

    /// Publishes a version of a workflow.
    pub fn put_workflow(&mut self, org: &str, workflow: &Workflow) {
        let key = Key::new(Table::Workflow, org).text(&workflow.workflow_id).number(version_number(workflow));
        self.put(key, workflow);
    }

    /// What is due at a time, of all organizations: that after a place, what is due longest first.
    pub async fn due(&self, now: &Timestamp, after: Option<&Due>, limit: usize) -> Result<Vec<Due>> {
        let all = first(Table::Due);
        let end = all.clone().time(now).end();
        let start = after.map_or(all, |due| due_key(&due.time, &due.job, &due.id).byte(0));
        let scan = Scan { start: start.into_bytes(), end, reverse: false, limit };
        let found = self.store.scan(self.partition, scan).await?;
        let due = found.iter().map(|(key, _)| {
            let (time, rest) = split_time(key.get(1..)?)?;
            let [org, job_id, id] = texts(rest)?;
            let job = JobKey { org: org.to_owned(), job_id: job_id.to_owned() };
            Some(Due { time, job, id: id.to_owned() })
        });
        due.collect::<Option<_>>().ok_or_else(|| Error::Corrupt("a due key is cut".to_owned()))
    }

    /// Holds of an organization that stand in this partition and wait for a job, or for one step of it (an empty id: for
    /// the job itself). Those after a place, in the order of what they wait for.
    pub async fn dependents(
        &self,
        org: &str,
        job_id: &str,
        step_id: Option<&str>,
        after: Option<&Dependent>,
        limit: usize,
    ) -> Result<Vec<Dependent>> {
        let of_job = Key::new(Table::Dependent, org).text(job_id);
        let all = step_id.map_or(of_job.clone(), |step_id| of_job.text(step_id));
        let start = after.map_or_else(|| all.clone(), |place| dependent_key(org, place).byte(0));
        self.scan_dependents(start, all.end(), limit)
            .await
            .map(|found| found.into_iter().map(|(_, dependent)| dependent).collect())
    }

    /// All holds that stand in this partition and wait for something, with their organizations: those after a place.
    pub async fn all_dependents(
        &self,
        after: Option<&(String, Dependent)>,
        limit: usize,
    ) -> Result<Vec<(String, Dependent)>> {
        let all = first(Table::Dependent);
        let start = after.map_or_else(|| all.clone(), |(org, place)| dependent_key(org, place).byte(0));
        self.scan_dependents(start, all.end(), limit).await
    }

    async fn scan_dependents(
        &self,
        start: Key,
        end: Vec<u8>,
        limit: usize,
    ) -> Result<Vec<(String, Dependent)>> {
        let scan = Scan { start: start.into_bytes(), end, reverse: false, limit };
        let found = self.store.scan(self.partition, scan).await?;
        let dependents = found.iter().map(|(key, value)| {
            let [org, on_job, on_step, job_id, hold_id] = texts(key.get(1..)?)?;
            let step_id = Some(on_step.to_owned()).filter(|step_id| !step_id.is_empty());
            let dependent = Dependent {
                dependency: Dependency { job_id: on_job.to_owned(), step_id },
                job_id: job_id.to_owned(),
                hold_id: hold_id.to_owned(),
                step_id: std::str::from_utf8(value).ok()?.to_owned(),
            };
            Some((org.to_owned(), dependent))
        });
        dependents.collect::<Option<_>>().ok_or_else(|| Error::Corrupt("a dependent's key is cut".to_owned()))
    }

    /// Heads of an organization's jobs: those after an id, in the order of ids; deleted ones included.
    pub async fn jobs_after(&self, org: &str, after: &str, limit: usize) -> Result<Vec<JobRecord>> {
        let all = Key::new(Table::Job, org);
        let start = if after.is_empty() { all.clone() } else { all.clone().text(after).byte(0) };
        let scan = Scan { start: start.into_bytes(), end: all.end(), reverse: false, limit };
        let found = self.store.scan(self.partition, scan).await?;
        found.into_iter().map(|(_, value)| decode(value)).collect()
    }

    /// The places of jobs in a run of an index, in order.
    pub async fn index(&self, org: &str, index: &Index, page: &IndexPage) -> Result<Vec<IndexPlace>> {
        let run = index_run(org, index);
        let found = self.store.scan(self.partition, page.scan(&run)).await?;
        let run_len = run.into_bytes().len();
        let places = found.iter().map(|(key, _)| IndexPlace::of_key(key, run_len));
        places.collect::<Option<_>>().ok_or_else(|| Error::Corrupt("an index key is cut".to_owned()))
    }

    /// Writes what a decision changes: the records its events carry, what the merge keeps, and the indexes.
    pub fn apply(
        &mut self,
        org: &str,
        before: Option<&JobSummary>,
        after: &JobState,
        events: &[JobEvent],
        sync: Option<&SyncRecord>,
    ) {
        let job = JobKey { org: org.to_owned(), job_id: after.job.job_id.clone() };
        if events.last().is_some_and(|event| event.r#type() == JobEventType::JobDeleted) {
            return self.bury(&job, before, after);
        }
        if before.is_none() {
            let key = Key::new(Table::Client, org).text(&after.job.client_job_id);
            self.write(key.into_bytes(), Some(Bytes::copy_from_slice(job.job_id.as_bytes())));
        }
        for event in events {
            for step in event.step.as_deref().into_iter().chain(&event.further_steps) {
                self.put(Key::of(Table::Step, &job).text(&step.step_id), step);
            }
            for step_id in &event.removed_step_ids {
                self.remove(Key::of(Table::Step, &job).text(step_id));
            }
            if let Some(report) = &event.report {
                self.put(Key::of(Table::Report, &job).text(report.unique_step_id()), report);
            }
            if let Some(hold) = &event.hold {
                self.put(Key::of(Table::Hold, &job).text(&hold.hold_id), hold);
                self.write_hold_index(&job, hold, hold.is_standing());
            }
            if let Some(task) = &event.task {
                self.put(Key::of(Table::Task, &job).text(&task.id), task);
                self.write_due(&job, task.deadline.as_ref(), &task.id, task.is_open());
                self.write_task_index(&job, task, event.r#type());
            }
            let told = event.workflow_instance.as_ref();
            for attempt in told.iter().flat_map(|instance| &instance.attempts) {
                let instance_id = told.map_or("", |instance| &instance.workflow_instance_id);
                self.put(attempt_key(Table::Attempt, &job, instance_id, attempt.attempt_id), attempt);
            }
            let told = told.map(|instance| instance.workflow_instance_id.as_str());
            let changed = told.or(joins_attempt(event).map(|(instance_id, _)| instance_id));
            if let Some((instance_id, sequence_id)) = joins_attempt(event)
                && let Some(task) = &event.task
            {
                let attempt_id = task.execution.as_ref().map_or(0, |execution| execution.attempt_id);
                let key = attempt_key(Table::AttemptTask, &job, instance_id, attempt_id)
                    .number(sequence_id.cast_unsigned());
                self.write(key.into_bytes(), Some(Bytes::copy_from_slice(task.id.as_bytes())));
            }
            if let Some((instance_id, instance)) = changed.and_then(|id| after.instances.get_key_value(id)) {
                let record = InstanceRecord {
                    instance: Some(instance.instance.clone()),
                    seen: instance.seen.ranges(),
                    newest_attempt_id: instance.newest().map_or(0, |newest| newest.attempt_id),
                };
                self.put(Key::of(Table::Instance, &job).text(instance_id), &record);
            }
        }
        if let Some(sync) = sync {
            self.put(Key::of(Table::Sync, &job), sync);
        }
        if !events.is_empty() {
            let Counts { tasks, attempts } = after.counts;
            let head = JobRecord { job: Some(after.job.clone()), deleted: false, tasks, attempts };
            self.put(Key::of(Table::Job, &job), &head);
            self.write_index(&job, before, Some(&summary(&after.job)));
        }
    }

    /// Removes all that a job has beside its head and what indexes say of it: see [`apply`](Self::apply).
    pub async fn remove_parts(&mut self, job: &JobKey) -> Result<()> {
        let mut gone = Vec::new();
        for table in Table::OF_JOB {
            let prefix = Key::of(table, job);
            let (mut start, end) = (prefix.clone().into_bytes(), prefix.end());
            gone.extend(self.unsettled(start.clone()..end.clone()).into_keys());
            loop {
                let scan = Scan { start, end: end.clone(), reverse: false, limit: SCAN_KEYS };
                let page = self.store.scan(self.partition, scan).await?;
                gone.extend(page.iter().map(|(key, _)| key.to_vec()));
                match after(&page) {
                    Some(next) => start = next,
                    None => break,
                }
            }
        }
        // All of it or, where it cannot be read, nothing: other commands are in the same batch.
        for key in gone {
            self.write(key, None);
        }
        Ok(())
    }

    /// Has the ids of a job left behind, and no more: its parts are removed already.
    fn bury(&mut self, job: &JobKey, before: Option<&JobSummary>, after: &JobState) {
        self.put(Key::of(Table::Job, job), &buried_head(&after.job));
        for hold in after.holds.values() {
            self.write_hold_index(job, hold, false);
        }
        for (task_id, task) in &after.tasks {
            self.write_due(job, task.deadline.as_ref(), task_id, false);
            self.write_task_index(job, task, JobEventType::JobDeleted);
        }
        self.write_index(job, before, None);
    }

    /// What is left of a job that was deleted, where a record is its head: its ids, and nothing else.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: it cannot be decoded.
    #[expect(clippy::type_complexity, reason = "writes, as `take_writes` gives them")]
    pub fn left_of_deleted(
        key: &[u8],
        value: &Bytes,
    ) -> Result<Option<(JobKey, Vec<(Bytes, Option<Bytes>)>)>> {
        if key.first() != Some(&(Table::Job as u8)) {
            return Ok(None);
        }
        let head: JobRecord = decode(value.clone())?;
        let (true, Some(ids), Some([org, _])) = (head.deleted, &head.job, texts(&key[1..])) else {
            return Ok(None);
        };
        let job = JobKey { org: org.to_owned(), job_id: ids.job_id.clone() };
        let client = Key::new(Table::Client, org).text(&ids.client_job_id).into_bytes();
        let left = vec![
            (Bytes::copy_from_slice(key), Some(buried_head(ids).encode_to_vec().into())),
            (client.into(), Some(job.job_id.clone().into())),
        ];
        Ok(Some((job, left)))
    }

    /// Has a hold found by when it goes, and by what it waits for; or no more.
    fn write_hold_index(&mut self, job: &JobKey, hold: &Hold, is_standing: bool) {
        self.write_due(job, hold.scheduled_release_time.as_ref(), &hold.hold_id, is_standing);
        if let Some(dependency) = Dependency::of(hold) {
            let (job_id, hold_id) = (job.job_id.clone(), hold.hold_id.clone());
            let place = Dependent { dependency, job_id, hold_id, step_id: hold.step_id.clone() };
            let step_id = is_standing.then(|| Bytes::copy_from_slice(hold.step_id.as_bytes()));
            self.write(dependent_key(&job.org, &place).into_bytes(), step_id);
        }
    }

    /// Has a task found by its id and in lists, from when it is made until its job is deleted; and among the open ones
    /// until it has ended.
    fn write_task_index(&mut self, job: &JobKey, task: &TaskStatus, kind: JobEventType) {
        let job_id = |is_there: bool| is_there.then(|| Bytes::copy_from_slice(job.job_id.as_bytes()));
        let at = |run| {
            let time = task.created.unwrap_or_default();
            task_run(&job.org, run).time(&time).text(&task.id).into_bytes()
        };
        let (is_new, is_gone) = (kind == JobEventType::TaskCreated, kind == JobEventType::JobDeleted);
        if is_new || is_gone {
            self.write(Key::new(Table::TaskJob, &job.org).text(&task.id).into_bytes(), job_id(!is_gone));
            self.write(at(TaskRun::All), job_id(!is_gone));
            self.write(at(TaskRun::Job(&job.job_id)), job_id(!is_gone));
        }
        if is_new || is_gone || !task.is_open() {
            self.write(at(TaskRun::Open), job_id(!is_gone && task.is_open()));
        }
    }

    fn write_due(&mut self, job: &JobKey, time: Option<&Timestamp>, id: &str, is_due: bool) {
        if let Some(time) = time {
            self.write(due_key(time, job, id).into_bytes(), is_due.then(Bytes::new));
        }
    }

    fn write_index(&mut self, job: &JobKey, before: Option<&JobSummary>, after: Option<&JobSummary>) {
        if before == after {
            return;
        }
        let keys = |read: Option<&JobSummary>| read.map(|read| index_keys(job, read)).unwrap_or_default();
        let (old, new) = (keys(before), keys(after));
        for gone in old.difference(&new) {
            self.write(gone.clone(), None);
        }
        for added in new.difference(&old) {
            self.write(added.clone(), Some(Bytes::new()));
        }
    }

    /// About how large the writes so far are.
    #[must_use]
    pub fn written_bytes(&self) -> usize {
        self.written_bytes
    }

    /// The writes so far, in the order of keys.
    pub fn take_writes(&mut self) -> Vec<(Bytes, Option<Bytes>)> {
        std::mem::take(&mut self.writes).into_iter().map(|(key, value)| (key.into(), value)).collect()
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        self.written_bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        self.writes.insert(key, value);
    }

    fn put(&mut self, key: Key, record: &impl Message) {
        self.write(key.into_bytes(), Some(record.encode_to_vec().into()));
    }

    fn remove(&mut self, key: Key) {
        self.write(key.into_bytes(), None);
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        if let Some(written) = self.writes.get(key) {
            return Ok(written.clone());
        }
        match self.pending.binary_search_by(|(pending, _)| (**pending).cmp(key)) {
            Ok(place) => Ok(self.pending[place].1.clone()),
            Err(_) => self.store.get(self.partition, key).await,
        }
    }

    /// What of a range may not show in the store yet.
    fn unsettled(&self, range: Range<Vec<u8>>) -> BTreeMap<Vec<u8>, Option<Bytes>> {
        let place = |end: &Vec<u8>| self.pending.partition_point(|(key, _)| **key < **end);
        let pending = &self.pending[place(&range.start)..place(&range.end)];
        let pending = pending.iter().map(|(key, value)| (key.to_vec(), value.clone()));
        let mut unsettled: BTreeMap<_, _> = pending.collect();
        unsettled.extend(self.writes.range(range).map(|(key, value)| (key.clone(), value.clone())));
        unsettled
    }

    async fn read<M: Message + Default>(&self, key: Key) -> Result<Option<M>> {
        self.get(&key.into_bytes()).await?.map(decode).transpose()
    }

    /// All records whose keys begin alike, by the last part of the key.
    async fn read_all<M: Message + Default>(&self, prefix: Key) -> Result<BTreeMap<String, M>> {
        self.read_where(prefix, |_: &M| true).await
    }

    /// Those of them that are wanted.
    async fn read_where<M: Message + Default>(
        &self,
        prefix: Key,
        is_wanted: impl Fn(&M) -> bool,
    ) -> Result<BTreeMap<String, M>> {
        let (mut start, end) = (prefix.clone().into_bytes(), prefix.end());
        let mut wanted = BTreeMap::new();
        let mut look_at = |key: &[u8], value: &Bytes| {
            let name = last_text(key).ok_or_else(|| Error::Corrupt("a key has no name".to_owned()))?;
            let record = decode(value.clone())?;
            if is_wanted(&record) {
                wanted.insert(name.to_owned(), record);
            }
            Ok(())
        };
        let unsettled = self.unsettled(start.clone()..end.clone());
        for (key, value) in &unsettled {
            value.iter().try_for_each(|value| look_at(key, value))?;
        }
        loop {
            let scan = Scan { start, end: end.clone(), reverse: false, limit: SCAN_KEYS };
            let page = self.store.scan(self.partition, scan).await?;
            for (key, value) in page.iter().filter(|(key, _)| !unsettled.contains_key(&key[..])) {
                look_at(key, value)?;
            }
            match after(&page) {
                Some(next) => start = next,
                None => return Ok(wanted),
            }
        }
    }

    /// All that is there, or about to be, under keys that begin alike.
    async fn scan_all(&self, prefix: Key) -> Result<BTreeMap<Bytes, Bytes>> {
        let (mut start, end) = (prefix.clone().into_bytes(), prefix.end());
        let mut found: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        let unsettled = self.unsettled(start.clone()..end.clone());
        loop {
            let scan = Scan { start, end: end.clone(), reverse: false, limit: SCAN_KEYS };
            let page = self.store.scan(self.partition, scan).await?;
            let next = after(&page);
            found.extend(page);
            match next {
                Some(next) => start = next,
                None => break,
            }
        }
        for (key, value) in unsettled {
            match value {
                Some(value) => found.insert(key.into(), value),
                None => found.remove(key.as_slice()),
            };
        }
        Ok(found)
    }
}

impl IndexPage {
    fn scan(&self, run: &Key) -> Scan {
        let at = |time: &Timestamp| run.clone().time(time).into_bytes();
        let mut start = self.from.as_ref().map_or_else(|| run.clone().into_bytes(), at);
        let mut end = self.before.as_ref().map_or_else(|| run.clone().end(), at);
        if let Some(place) = &self.after {
            let key = run.clone().time(&place.time()).text(&place.id);
            if self.reverse {
                end = end.min(key.into_bytes());
            } else {
                start = start.max(key.byte(0).into_bytes());
            }
        }
        Scan { start, end, reverse: self.reverse, limit: self.limit }
    }
}

impl IndexPlace {
    /// The place of a job.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let time = job.create_time.unwrap_or_default();
        Self { create_time: (time.seconds, time.nanos), id: job.job_id.clone() }
    }

    /// The place of a task.
    #[must_use]
    pub fn of_task(task: &TaskStatus) -> Self {
        let time = task.created.unwrap_or_default();
        Self { create_time: (time.seconds, time.nanos), id: task.id.clone() }
    }

    /// When it was made.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        Timestamp { seconds: self.create_time.0, nanos: self.create_time.1 }
    }

    fn of_key(key: &[u8], run_len: usize) -> Option<Self> {
        let (time, rest) = split_time(key.get(run_len..)?)?;
        Some(Self { create_time: (time.seconds, time.nanos), id: last_text(rest)?.to_owned() })
    }
}

/// The head of a job that was deleted: its ids.
fn buried_head(job: &Job) -> JobRecord {
    let ids = Job {
        job_id: job.job_id.clone(),
        client_job_id: job.client_job_id.clone(),
        revision: job.revision,
        ..Job::default()
    };
    JobRecord { job: Some(ids), deleted: true, ..JobRecord::default() }
}

fn due_key(time: &Timestamp, job: &JobKey, id: &str) -> Key {
    first(Table::Due).time(time).text(&job.org).text(&job.job_id).text(id)
}

fn dependent_key(org: &str, place: &Dependent) -> Key {
    let Dependent { dependency, job_id, hold_id, step_id: _ } = place;
    Key::new(Table::Dependent, org)
        .text(&dependency.job_id)
        .text(dependency.step_id.as_deref().unwrap_or_default())
        .text(job_id)
        .text(hold_id)
}

fn instance_state(record: InstanceRecord, attempts: BTreeMap<i64, WorkflowAttempt>) -> InstanceState {
    let InstanceRecord { instance, seen, newest_attempt_id: _ } = record;
    InstanceState { instance: instance.unwrap_or_default(), attempts, seen: seen.into_iter().collect() }
}

/// Attempt ids and sequence ids are never negative, so that their keys sort as they do.
fn attempt_key(table: Table, job: &JobKey, instance_id: &str, attempt_id: i64) -> Key {
    Key::of(table, job).text(instance_id).number(attempt_id.cast_unsigned())
}

/// The head of an index of tasks; places follow it.
fn task_run(org: &str, run: TaskRun<'_>) -> Key {
    let all = Key::new(Table::TaskIndex, org);
    match run {
        TaskRun::All => all.byte(b'a'),
        TaskRun::Open => all.byte(b'o'),
        TaskRun::Job(job_id) => all.byte(b'j').text(job_id),
    }
}

/// The head of an index run; places follow it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the numbers of kinds are small")]
fn index_run(org: &str, index: &Index) -> Key {
    let run = Key::new(Table::Index, org);
    match index {
        Index::All => run.byte(b'a'),
        Index::Status(status, closed) => run.byte(b's').byte(u8::from(*closed)).byte(*status as u8),
        Index::Team(team) => run.byte(b't').text(team),
        Index::User(user_id) => run.byte(b'u').text(user_id),
        Index::Workflow(workflow_id) => run.byte(b'w').text(workflow_id),
        Index::Assignee(assignee) => run.byte(b'g').byte(assignee.kind as u8).text(&assignee.id),
    }
}

/// Where lists find a job of which they read this.
fn index_keys(job: &JobKey, read: &JobSummary) -> BTreeSet<Vec<u8>> {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mut runs = vec![Index::All, Index::Status(read.status(), read.closed)];
    runs.extend(some(&read.team).map(Index::Team));
    runs.extend(some(&read.user_id).map(Index::User));
    runs.extend(some(&read.workflow_id).map(Index::Workflow));
    runs.extend(read.assignees.iter().cloned().map(Index::Assignee));
    let time = read.create_time.unwrap_or_default();
    runs.iter().map(|index| index_run(&job.org, index).time(&time).text(&job.job_id).into_bytes()).collect()
}

/// Where to go on after a page of a scan; none where it was the last.
fn after(page: &[(Bytes, Bytes)]) -> Option<Vec<u8>> {
    let (last, _) = page.last().filter(|_| page.len() == SCAN_KEYS)?;
    Some([last, &[0][..]].concat())
}

fn decode<M: Message + Default>(value: Bytes) -> Result<M> {
    M::decode(value).map_err(|error| Error::Corrupt(error.to_string()))
}
