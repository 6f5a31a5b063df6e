//! One round of the writer: commands decided one after another, each seeing what those before it did, and then committed
//! together.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;

use super::{
    Error,
    command::{Command, Origin, Reads, RequestStamp, Target},
    environment::Environment,
    ids,
    logged::{Logged, LoggedEvent, decode_entry, sequences_taken},
    requests::{Answered, RequestKey, Requests, request_key},
};
use crate::{
    domain::{Context, Decision, Existing, JobState, Limits},
    proto::{
        storage::v1::{LogEntry, RequestRecord},
        v1::{Job, JobEventType},
    },
    store::{self, Batch, JobKey, LogRecord, Partition, Records, Sequence, Store},
};

/// A batch in the making.
pub(super) struct Round<'w> {
    store: &'w Arc<dyn Store>,
    partition: Partition,
    environment: &'w dyn Environment,
    limits: Limits,
    requests: &'w mut Requests,
    records: Records,
    now: Timestamp,
    first: Sequence,
    head: Sequence,
    entries: Vec<LogRecord>,
    logged: Vec<Arc<Logged>>,
    bytes: usize,
}

impl<'w> Round<'w> {
    pub(super) fn new(
        store: &'w Arc<dyn Store>,
        partition: Partition,
        environment: &'w dyn Environment,
        limits: Limits,
        requests: &'w mut Requests,
        now: Timestamp,
        head: Sequence,
    ) -> Self {
        let records = Records::new(Arc::clone(store), partition);
        let first = head.next();
        let (entries, logged) = (Vec::new(), Vec::new());
        Self {
            store,
            partition,
            environment,
            limits,
            requests,
            records,
            now,
            first,
            head,
            entries,
            logged,
            bytes: 0,
        }
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
        let stamp = origin.request.as_ref().filter(|_| !origin.validate_only);
        let stamp = stamp.map(|stamp| (stamp, request_key(&origin.org, &origin.actor.id, &stamp.id)));
        if let Some((stamp, key)) = &stamp
            && let Some(reply) = self.answered(stamp, key).await?
        {
            return Ok(C::Reply::decode(reply).map_err(|error| store::Error::Corrupt(error.to_string()))?);
        }

        let existing = self.load(&origin.org, command.target(), C::READS).await?;
        let before = match &existing {
            Existing::Job(state) => Some(state.job.clone()),
            Existing::Nothing | Existing::Deleted { .. } => None,
        };
        let context = Context {
            now: self.now,
            actor: origin.actor.clone(),
            request_id: origin.request.as_ref().map(|stamp| stamp.id.clone()).unwrap_or_default(),
            new_job_id: ids::job_id(self.partition, self.environment.new_uuid(&self.now)),
            limits: self.limits,
        };
        // A command that a rule breaks down over must not take the writer along: whoever sent it will send it again.
        let decided = catch_unwind(AssertUnwindSafe(|| command.decide(existing, &context)));
        let decision =
            decided.map_err(|panic| Error::BrokeDown(message(&*panic)))?.map_err(Error::Rejected)?;
        let writes_nothing = decision.events.is_empty() && decision.sync.is_none() && stamp.is_none();
        if origin.validate_only || writes_nothing {
            return Ok(decision.reply);
        }
        Ok(self.add(origin, before.as_ref(), decision, stamp))
    }

    /// The reply of the same request, if it was answered before.
    async fn answered(&self, stamp: &RequestStamp, key: &RequestKey) -> Result<Option<Bytes>, Error> {
        let Some(Answered { body, sequence }) = self.requests.get(key) else { return Ok(None) };
        if body != stamp.body {
            return Err(Error::RequestIdReused);
        }
        let here = self.entries.iter().find(|entry| entry.sequence == sequence).cloned();
        let record = match here {
            Some(record) => Some(record),
            None => match self.store.log(self.partition, Sequence(sequence.0 - 1), 1).await {
                Ok(records) => records.into_iter().next(),
                // The reply went with the old end of the log.
                Err(store::Error::Trimmed { .. }) => None,
                Err(error) => return Err(error.into()),
            },
        };
        let entry = record.as_ref().map(decode_entry).transpose()?;
        Ok(entry.and_then(|entry| entry.request).map(|request| request.reply))
    }

    async fn load(&self, org: &str, target: Target<'_>, reads: Reads) -> store::Result<Existing> {
        let job_id = match target {
            Target::Job(job_id) => Some(job_id.to_owned()),
            Target::Client(client_job_id) => self.records.job_id(org, client_job_id).await?,
        };
        let Some(job_id) = job_id else { return Ok(Existing::Nothing) };
        let key = JobKey { org: org.to_owned(), job_id };
        let Some(record) = self.records.job(&key).await? else { return Ok(Existing::Nothing) };
        if record.deleted {
            return Ok(Existing::Deleted { job_id: key.job_id });
        }
        let mut state = JobState { job: record.job.unwrap_or_default(), ..JobState::default() };
        if reads.sync {
            state.sync = self.records.sync(&key).await?;
        }
        if reads.steps {
            state.steps = self.records.steps(&key).await?;
        }
        if reads.reports {
            state.reports = self.records.reports(&key).await?;
        }
        if reads.holds {
            state.holds = self.records.holds(&key).await?;
        }
        Ok(Existing::Job(Box::new(state)))
    }

    fn add<R: Message>(
        &mut self,
        origin: &Origin,
        before: Option<&Job>,
        decision: Decision<R>,
        stamp: Option<(&RequestStamp, RequestKey)>,
    ) -> R {
        let Decision { events, sync, reply, state } = decision;
        self.records.apply(&origin.org, before, &state, &events, sync.as_ref());

        let sequence = Sequence(self.head.0 + sequences_taken(events.len()));
        let job = JobKey { org: origin.org.clone(), job_id: state.job.job_id };
        let request = stamp.map(|(stamp, key)| {
            self.requests.insert(&self.now, key, Answered { body: stamp.body, sequence });
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
        let entry = LogEntry {
            org: job.org.clone(),
            job_id: job.job_id.clone(),
            time: Some(self.now),
            events: events.iter().map(|event| event.bytes.clone()).collect(),
            sync,
            request,
        };
        let bytes = Bytes::from(entry.encode_to_vec());
        self.bytes += bytes.len();
        self.entries.push(LogRecord { sequence, job: job.clone(), deletes_job, bytes });
        self.logged.push(Arc::new(Logged::new(sequence, job, events)));
        self.head = sequence;
        reply
    }

    /// About how large the batch is.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.records.written_bytes()
    }

    /// Ends the round: what is to be committed, and what is then to be published.
    pub(super) fn finish(mut self) -> (Batch, Vec<Arc<Logged>>) {
        let writes = self.records.take_writes();
        (Batch { first: self.first, entries: self.entries, writes }, self.logged)
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}
