//! One round of the writer: commands decided one after another, each seeing what those before it did, and then committed
//! together.

use std::{
    any::Any,
    collections::{BTreeMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;

use super::{
    Error,
    catalogue::{Catalogue, HOME},
    command::{Command, Execution, Origin, Reads, RequestStamp, Target},
    environment::Environment,
    ids,
    logged::{Logged, LoggedEvent, decode_entry, sequences_taken},
    requests::{Answered, RequestKey, Requests, request_key},
};
use crate::{
    domain::{
        Context, Counts, Decision, Definition, Dependencies, Dependency, Existing, InstanceState, JobState,
        Limits, PublishWorkflow, Rejection, compare_times, summary,
    },
    proto::{
        storage::v1::{LogEntry, RequestRecord},
        v1::{
            ExecutionStatus, JobEvent, JobEventType, JobSummary, PublishWorkflowResponse, Step, TaskStatus,
            actor,
        },
    },
    store::{self, Batch, JobKey, LogRecord, Partition, Records, Sequence, Store},
};

/// Where a writer works, and with what.
pub(super) struct Site {
    pub(super) store: Arc<dyn Store>,
    pub(super) partition: Partition,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) limits: Limits,
    pub(super) catalogue: Arc<Catalogue>,
}

/// What a round does, for the next one, which is decided while this one may not show in the store yet.
#[derive(Default)]
pub(super) struct Pending {
    /// What it writes, in the order of keys.
    writes: Vec<(Bytes, Option<Bytes>)>,
    /// Its entries that have the reply to a request id.
    answers: Vec<LogRecord>,
}

/// A batch in the making.
pub(super) struct Round<'w> {
    site: &'w Site,
    requests: &'w mut Requests,
    /// Of the round before.
    pending_answers: Vec<LogRecord>,
    records: Records,
    now: Timestamp,
    first: Sequence,
    head: Sequence,
    entries: Vec<LogRecord>,
    /// Which of them have the reply to a request id.
    answers: HashSet<Sequence>,
    logged: Vec<Arc<Logged>>,
    bytes: usize,
}

impl<'w> Round<'w> {
    /// After a round that ends with a head.
    pub(super) fn new(
        site: &'w Site,
        requests: &'w mut Requests,
        now: Timestamp,
        head: Sequence,
        pending: Pending,
    ) -> Self {
        Self {
            site,
            requests,
            pending_answers: pending.answers,
            records: Records::over(Arc::clone(&site.store), site.partition, pending.writes),
            now,
            first: head.next(),
            head,
            entries: Vec::new(),
            answers: HashSet::new(),
            logged: Vec::new(),
            bytes: 0,
        }
    }

    /// Decides from now on at the time that it is, unless the clock has gone back: a round may take commands in for a while.
    pub(super) fn look_at_clock(&mut self) {
        let clock = self.site.environment.now();
        if compare_times(Some(&clock), Some(&self.now)).is_gt() {
            self.now = clock;
        }
        self.requests.forget_old(&self.now);
    }

    /// The time of its newest decision.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Decides a command, and adds what it does to the batch.
    ///
    /// # Errors
    /// A refusal, or a fault of the store while reading; nothing was added.
    pub(super) async fn execute<C: Command>(
        &mut self,
        origin: &Origin,
        command: &C,
    ) -> Result<C::Reply, Error> {
        let stamp = stamp(origin);
        if let Some(reply) = self.answered(stamp.as_ref()).await? {
            return Ok(reply);
        }

        let existing = self.load(&origin.org, command).await?;
        let before = match &existing {
            Existing::Job(state) => Some(summary(&state.job)),
            Existing::Nothing | Existing::Deleted { .. } => None,
        };
        let mut context = self.context(origin);
        context.workflow = self.definition(&origin.org, &existing, command).await?;
        context.dependencies = self.dependencies(&origin.org, &existing, command).await?;
        let decision = unbroken(|| command.decide(existing, &context))?;
        let bytes: usize = decision.events.iter().map(Message::encoded_len).sum();
        if bytes > C::EVENT_BYTES_MAX && origin.actor.kind() != actor::Kind::Server {
            let (limit, maximum) = ("command_bytes", C::EVENT_BYTES_MAX as u64);
            return Err(Error::Rejected(Rejection::LimitExceeded { limit, maximum }));
        }
        let writes_nothing = decision.events.is_empty() && decision.sync.is_none() && stamp.is_none();
        if origin.validate_only || writes_nothing {
            return Ok(decision.reply);
        }
        if decision.events.last().is_some_and(|event| event.r#type() == JobEventType::JobDeleted) {
            let job_id = decision.state.job.job_id.clone();
            self.records.remove_parts(&JobKey { org: origin.org.clone(), job_id }).await?;
        }
        Ok(self.add(origin, before.as_ref(), decision, stamp))
    }

    /// Publishes a workflow. Only in the partition that workflows live in.
    ///
    /// # Errors
    /// As for [`execute`](Self::execute).
    pub(super) async fn publish(
        &mut self,
        origin: &Origin,
        command: &PublishWorkflow,
    ) -> Result<PublishWorkflowResponse, Error> {
        let stamp = stamp(origin);
        if let Some(reply) = self.answered(stamp.as_ref()).await? {
            return Ok(reply);
        }
        let newest = self.records.newest_workflow(&origin.org, &command.workflow.workflow_id).await?;
        let context = self.context(origin);
        let (workflow, reply) = unbroken(|| command.decide(newest.as_ref(), &context))?;
        if !origin.validate_only {
            self.records.put_workflow(&origin.org, &workflow);
            let entry = LogEntry { workflow: Some(workflow), ..LogEntry::default() };
            // It is in the history of no job.
            let job = JobKey { org: origin.org.clone(), job_id: String::new() };
            self.log(job, entry, Vec::new(), stamp, &reply);
        }
        Ok(reply)
    }

    fn context(&self, origin: &Origin) -> Context {
        Context {
            now: self.now,
            actor: origin.actor.clone(),
            request_id: origin.request.as_ref().map(|stamp| stamp.id.clone()).unwrap_or_default(),
            new_ids: ids::new_ids(self.site.partition, self.site.environment.new_uuid(&self.now)),
            limits: self.site.limits,
            workflow: None,
            dependencies: Dependencies::new(),
        }
    }

    /// The definition that the job follows, or that a job without a workflow is to follow.
    async fn definition<C: Command>(
        &self,
        org: &str,
        existing: &Existing,
        command: &C,
    ) -> store::Result<Option<Arc<Definition>>> {
        let followed = match existing {
            Existing::Deleted { .. } => return Ok(None),
            Existing::Nothing => None,
            Existing::Job(state) => state.job.workflow.as_ref(),
        };
        let elsewhere = self.elsewhere(HOME);
        let records = elsewhere.as_ref().unwrap_or(&self.records);
        let found = match (followed, command.workflow()) {
            (Some(reference), _) if reference.published && has_steps(existing) => {
                self.site.catalogue.followed(records, org, reference).await?
            }
            (None, Some(wish)) => self.site.catalogue.wished(records, org, wish).await?,
            _ => None,
        };
        if elsewhere.is_some() && found.is_some() {
            self.site.store.settle(HOME).await?;
        }
        Ok(found)
    }

    /// How far it is with what the command's hold is to wait for, and with what standing holds do.
    async fn dependencies<C: Command>(
        &self,
        org: &str,
        existing: &Existing,
        command: &C,
    ) -> store::Result<Dependencies> {
        let mut dependencies = Dependencies::new();
        let Existing::Job(state) = existing else { return Ok(dependencies) };
        if !command.reads().dependencies {
            return Ok(dependencies);
        }
        let standing = state.holds.values().filter(|hold| hold.is_standing()).filter_map(Dependency::of);
        for dependency in standing.chain(command.dependency().cloned()) {
            if !dependencies.contains_key(&dependency) {
                let other = self.load_dependency(org, &dependency).await?;
                dependencies.insert(dependency.clone(), dependency.state(&other));
            }
        }
        Ok(dependencies)
    }

    /// What is waited for, wherever it lives.
    async fn load_dependency(&self, org: &str, dependency: &Dependency) -> store::Result<Existing> {
        let partition = ids::partition_of_job(org, &dependency.job_id, self.site.store.partitions());
        let elsewhere = self.elsewhere(partition);
        let existing = load_dependency(elsewhere.as_ref().unwrap_or(&self.records), org, dependency).await?;
        if elsewhere.is_some() {
            self.site.store.settle(partition).await?;
        }
        Ok(existing)
    }

    /// The records of another partition. What is read there must be settled before it is relied on.
    fn elsewhere(&self, partition: Partition) -> Option<Records> {
        (partition != self.site.partition).then(|| Records::new(Arc::clone(&self.site.store), partition))
    }

    /// The reply of the same request, if it was answered before.
    async fn answered<R: Message + Default>(
        &self,
        stamp: Option<&(&RequestStamp, RequestKey)>,
    ) -> Result<Option<R>, Error> {
        let Some((stamp, key)) = stamp else { return Ok(None) };
        let Some(Answered { body, sequence }) = self.requests.get(key) else { return Ok(None) };
        if body != stamp.body {
            return Err(Error::RequestIdReused);
        }
        let here = self
            .entries
            .iter()
            .chain(&self.pending_answers)
            .find(|entry| entry.sequence == sequence)
            .cloned();
        let record = match here {
            Some(record) => Some(record),
            None => match self.site.store.log(self.site.partition, Sequence(sequence.0 - 1), 1).await {
                Ok(records) => records.into_iter().next(),
                // The reply went with the old end of the log.
                Err(store::Error::Trimmed { .. }) => None,
                Err(error) => return Err(error.into()),
            },
        };
        let entry = record.as_ref().map(decode_entry).transpose()?;
        let reply = entry.and_then(|entry| entry.request).map(|request| R::decode(request.reply));
        Ok(reply.transpose().map_err(|error| store::Error::Corrupt(error.to_string()))?)
    }

    async fn load<C: Command>(&self, org: &str, command: &C) -> store::Result<Existing> {
        let (target, reads) = (command.target(), command.reads());
        let job_id = match target {
            Target::Job(job_id) => Some(job_id.to_owned()),
            Target::Client(client_job_id) => self.records.job_id(org, client_job_id).await?,
            Target::Task(task_id) => self.records.job_of_task(org, task_id).await?,
        };
        let Some(job_id) = job_id else { return Ok(Existing::Nothing) };
        let key = JobKey { org: org.to_owned(), job_id };
        let mut existing = load_head(&self.records, &key).await?;
        let Existing::Job(state) = &mut existing else { return Ok(existing) };
        let mut tasks = match (target, command.execution()) {
            (Target::Task(task_id), _) => self.tasks(&key, [task_id].into_iter()).await?,
            (_, Some(execution)) => self.load_execution(&key, execution, &mut state.instances).await?,
            _ => BTreeMap::new(),
        };
        let reads = if tasks.values().any(|task| !task.step_id.is_empty()) { Reads::LIVE } else { reads };
        if reads.sync {
            state.sync = self.records.sync(&key).await?;
        }
        if reads.steps {
            state.steps = self.records.steps(&key).await?;
        }
        if reads.reports {
            state.reports = self.records.reports(&key).await?;
        }
        if reads.past {
            state.holds = self.records.holds(&key).await?;
            state.tasks = self.records.tasks(&key).await?;
        } else if reads.live {
            let looked_at = command.looks_at(&state.job);
            let is_looked_at = |step: &&Step| looked_at.is_none_or(|ids| ids.contains(&step.step_id));
            let steps = state.steps.values().filter(is_looked_at);
            state.holds = self.records.standing_holds(&key, steps).await?;
            state.tasks = self.records.linked_tasks(&key, &state.steps).await?;
        }
        state.tasks.append(&mut tasks);
        Ok(existing)
    }

    /// Some tasks of a job, those of them that are there.
    async fn tasks<'i>(
        &self,
        job: &JobKey,
        ids: impl Iterator<Item = &'i str>,
    ) -> store::Result<BTreeMap<String, TaskStatus>> {
        let mut tasks = BTreeMap::new();
        for id in ids {
            tasks.extend(self.records.task(job, id).await?.map(|task| (task.id.clone(), task)));
        }
        Ok(tasks)
    }

    /// The tasks that reports of an attempt are about.
    async fn attempt_tasks(
        &self,
        job: &JobKey,
        instance_id: &str,
        attempt_id: i64,
    ) -> store::Result<BTreeMap<String, TaskStatus>> {
        let ids = self.records.attempt_tasks(job, instance_id, attempt_id).await?;
        self.tasks(job, ids.iter().map(|(_, task_id)| task_id.as_str())).await
    }

    /// What a report of a workflow execution is decided by: the instance, and the tasks that it is about.
    async fn load_execution(
        &self,
        job: &JobKey,
        execution: Execution<'_>,
        instances: &mut BTreeMap<String, InstanceState>,
    ) -> store::Result<BTreeMap<String, TaskStatus>> {
        let Execution { place, task_ids, closes, closes_job } = execution;
        let instance_id = &place.workflow_instance_id;
        let instance = self.records.instance_with(job, instance_id, place.attempt_id).await?;
        let known = instance.as_ref().and_then(|instance| instance.newest());
        let newest = known.map(|newest| (newest.attempt_id, newest.status()));
        instances.extend(instance.map(|instance| (instance_id.clone(), instance)));
        let mut tasks = BTreeMap::new();
        if let Some((newest_id, _)) = newest.filter(|(newest_id, _)| *newest_id < place.attempt_id) {
            // It opens: what the one before left open ends.
            let mut left = self.attempt_tasks(job, instance_id, newest_id).await?;
            left.retain(|_, task| task.is_open());
            tasks.append(&mut left);
        }
        let is_known = newest.is_some_and(|(newest_id, status)| {
            newest_id > place.attempt_id || newest_id == place.attempt_id && status == ExecutionStatus::Closed
        });
        if closes && !is_known {
            tasks.append(&mut self.attempt_tasks(job, instance_id, place.attempt_id).await?);
            if closes_job {
                tasks.append(&mut self.records.open_tasks(job).await?);
            }
        }
        tasks.append(&mut self.tasks(job, task_ids.into_iter().flatten()).await?);
        Ok(tasks)
    }

    fn add<R: Message>(
        &mut self,
        origin: &Origin,
        before: Option<&JobSummary>,
        decision: Decision<R>,
        stamp: Option<(&RequestStamp, RequestKey)>,
    ) -> R {
        let Decision { events, sync, reply, state } = decision;
        self.records.apply(&origin.org, before, &state, &events, sync.as_ref());
        let job = JobKey { org: origin.org.clone(), job_id: state.job.job_id };
        self.log(job, LogEntry { sync, ..LogEntry::default() }, events, stamp, &reply);
        reply
    }

    /// Adds to the log what a command did: `entry` has what is neither an event nor the answered request. The latter, and a
    /// command that changed nothing, are forgotten with the log; the rest is the job's history.
    fn log(
        &mut self,
        job: JobKey,
        entry: LogEntry,
        events: Vec<JobEvent>,
        stamp: Option<(&RequestStamp, RequestKey)>,
        reply: &impl Message,
    ) {
        let sequence = Sequence(self.head.0 + sequences_taken(events.len()));
        let request = stamp.map(|(stamp, key)| {
            self.requests.insert(&self.now, key, Answered { body: stamp.body, sequence });
            self.answers.insert(sequence);
            RequestRecord {
                key: Bytes::copy_from_slice(&key),
                body: Bytes::copy_from_slice(&stamp.body),
                reply: reply.encode_to_vec().into(),
            }
        });
        let deletes_job = events.last().is_some_and(|event| event.r#type() == JobEventType::JobDeleted);
        let events: Vec<LoggedEvent> = events
            .into_iter()
            .map(|event| LoggedEvent { bytes: event.encode_to_vec().into(), event: Arc::new(event) })
            .collect();
        let changes_nothing = events.is_empty() && entry == LogEntry::default();
        let entry = LogEntry {
            org: job.org.clone(),
            job_id: job.job_id.clone(),
            time: Some(self.now),
            events: events.iter().map(|event| event.bytes.clone()).collect(),
            ..entry
        };
        let answered = request.map(|request| {
            let (time, request) = (Some(self.now), Some(request));
            LogEntry { time, request, ..LogEntry::default() }
        });
        let answered = answered.unwrap_or_default();
        let (bytes, transient) = if changes_nothing {
            (Bytes::new(), LogEntry { request: answered.request, ..entry }.encode_to_vec().into())
        } else {
            (entry.encode_to_vec().into(), Bytes::from(answered.encode_to_vec()))
        };
        self.bytes += bytes.len() + transient.len();
        self.entries.push(LogRecord { sequence, job: job.clone(), deletes_job, bytes, transient });
        self.logged.push(Arc::new(Logged::new(sequence, job, events)));
        self.head = sequence;
    }

    /// About how large the batch is.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.records.written_bytes()
    }

    /// Ends the round: what is to be committed, what is then to be published, and what the next one sees of it.
    pub(super) fn finish(mut self) -> (Batch, Vec<Arc<Logged>>, Pending) {
        let writes = self.records.take_writes();
        let has_answer = |entry: &&LogRecord| self.answers.contains(&entry.sequence);
        let answers = self.entries.iter().filter(has_answer).cloned().collect();
        let pending = Pending { writes: writes.clone(), answers };
        (Batch { first: self.first, entries: self.entries, writes }, self.logged, pending)
    }
}

/// The stamp by which a repeat of a request is known. A request that writes nothing leaves none.
fn stamp(origin: &Origin) -> Option<(&RequestStamp, RequestKey)> {
    let stamp = origin.request.as_ref().filter(|_| !origin.validate_only)?;
    Some((stamp, request_key(&origin.org, &origin.actor.id, &stamp.id)))
}

/// Whether the decision looks at steps.
fn has_steps(existing: &Existing) -> bool {
    matches!(existing, Existing::Job(state) if !state.steps.is_empty())
}

/// The job that is waited for, with no more than the step that is.
pub(super) async fn load_dependency(
    records: &Records,
    org: &str,
    dependency: &Dependency,
) -> store::Result<Existing> {
    let job = JobKey { org: org.to_owned(), job_id: dependency.job_id.clone() };
    let mut existing = load_head(records, &job).await?;
    if let (Existing::Job(state), Some(step_id)) = (&mut existing, &dependency.step_id) {
        let step = records.step(&job, step_id).await?;
        state.steps.extend(step.map(|step| (step_id.clone(), step)));
    }
    Ok(existing)
}

/// A job's head, as a decision begins with it.
async fn load_head(records: &Records, job: &JobKey) -> store::Result<Existing> {
    let Some(record) = records.job(job).await? else { return Ok(Existing::Nothing) };
    if record.deleted {
        return Ok(Existing::Deleted { job_id: job.job_id.clone() });
    }
    let counts = Counts { tasks: record.tasks, attempts: record.attempts };
    Ok(Existing::Job(Box::new(JobState {
        job: record.job.unwrap_or_default(),
        counts,
        ..JobState::default()
    })))
}

/// Decides. A command that a rule breaks down over must not take the writer along: whoever sent it will send it again.
fn unbroken<T>(decide: impl FnOnce() -> Result<T, Rejection>) -> Result<T, Error> {
    let decided = catch_unwind(AssertUnwindSafe(decide));
    decided.map_err(|panic| Error::BrokeDown(message(&*panic)))?.map_err(Error::Rejected)
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}
