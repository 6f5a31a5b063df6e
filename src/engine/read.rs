//! Reading one job: its parts at one revision, and its history.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Engine, Error, command::Target, logged::Logged, writer::Rest};
use crate::{
    proto::v1::{Hold, Job, JobDetails, Step, StepReport, TaskStatus},
    store::{self, JobKey, Partition, Records, Sequence},
};

/// How often a read is tried beside the writer before the writer is asked for a moment of rest.
const TRIES: usize = 3;

/// How much of a job's history, or of its reports, is read at once.
const READ_BYTES: usize = 1 << 20;

/// Parts of a job to read beside its head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// Its steps.
    pub steps: bool,
    /// The holds that stand on them.
    pub holds: bool,
    /// The tasks that do their work.
    pub tasks: bool,
    /// Some of its reports.
    pub reports: Option<ReportPage>,
}

/// Which reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportPage {
    /// Those after this `unique_step_id`; empty: from the first.
    pub after: String,
    /// At most so many.
    pub limit: usize,
}

/// A job and some of its parts, all at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobParts {
    /// The head.
    pub job: Job,
    /// By rank.
    pub steps: Vec<Step>,
    /// By `unique_step_id`.
    pub reports: Vec<StepReport>,
    /// There are reports after these.
    pub more_reports: bool,
    /// By id.
    pub holds: Vec<Hold>,
    /// By id.
    pub tasks: Vec<TaskStatus>,
}

impl Engine {
    /// Reads a job. `None`: there is none of that id.
    ///
    /// # Errors
    /// The store's.
    pub async fn job(&self, org: &str, target: Target<'_>, views: &Views) -> Result<Option<JobParts>, Error> {
        let Some((partition, job)) = self.named(org, target).await? else { return Ok(None) };
        self.job_by_key(partition, &job, views).await
    }

    /// Reads the head of a job, left encoded: a `Job`. `None`: there is none of that id.
    ///
    /// # Errors
    /// The store's.
    pub async fn encoded_job(&self, org: &str, target: Target<'_>) -> Result<Option<Bytes>, Error> {
        let Some((partition, job)) = self.named(org, target).await? else { return Ok(None) };
        let head = self.records(partition).encoded_job(&job).await?;
        self.shared.store.settle(partition).await?;
        Ok(head)
    }

    /// The job that is named so, and where it lives. That there is none is durable.
    async fn named(&self, org: &str, target: Target<'_>) -> Result<Option<(Partition, JobKey)>, Error> {
        let partition = self.partition_of(org, target);
        let records = self.records(partition);
        let job_id = match target {
            Target::Job(job_id) => Some(job_id.to_owned()),
            Target::Client(id) => records.job_id(org, id).await?,
            Target::Task(id) => records.job_of_task(org, id).await?,
        };
        let Some(job_id) = job_id else {
            self.shared.store.settle(partition).await?;
            return Ok(None);
        };
        Ok(Some((partition, JobKey { org: org.to_owned(), job_id })))
    }

    pub(super) async fn job_by_key(
        &self,
        partition: Partition,
        job: &JobKey,
        views: &Views,
    ) -> Result<Option<JobParts>, Error> {
        let (key, views) = (job.clone(), views.clone());
        self.at_one_revision(partition, job, move |records| {
            let (job, views) = (key.clone(), views.clone());
            async move { read_parts(&records, &job, &views).await }
        })
        .await
    }

    /// Reads parts of a job as they are together at one moment.
    pub(super) async fn at_one_revision<T, F, R>(
        &self,
        partition: Partition,
        job: &JobKey,
        read: F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(Records) -> R + Send + 'static,
        R: Future<Output = store::Result<T>> + Send,
    {
        let records = self.records(partition);
        for _ in 0..TRIES {
            let before = records.encoded_job(job).await?;
            let found = read(self.records(partition)).await?;
            // A commit that the parts could have met half-way is whole after this, and shows in the head's revision.
            self.shared.store.settle(partition).await?;
            if before == records.encoded_job(job).await? {
                return Ok(found);
            }
        }
        Ok(self.at_rest(partition, read).await??)
    }

    /// The commands that changed a job, after a place in its partition's log, and perhaps not all of them: read on until
    /// none come.
    ///
    /// # Errors
    /// The store's.
    pub async fn history(&self, org: &str, job_id: &str, after: Sequence) -> Result<Vec<Logged>, Error> {
        let partition = self.partition_of(org, Target::Job(job_id));
        let job = JobKey { org: org.to_owned(), job_id: job_id.to_owned() };
        let records = self.shared.store.history(partition, &job, after, READ_BYTES).await?;
        self.shared.store.settle(partition).await?;
        Ok(records.iter().map(Logged::decode).collect::<store::Result<_>>()?)
    }

    /// Has the writer stand still while something is read.
    pub(super) async fn at_rest<T, F, R>(&self, partition: Partition, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(Records) -> R + Send + 'static,
        R: Future<Output = T> + Send,
    {
        let (reply, answer) = oneshot::channel();
        let records = self.records(partition);
        let read = async move {
            let _ = reply.send(read(records).await);
        };
        let left = CancellationToken::new();
        let _waiting = left.clone().drop_guard();
        self.queue(partition, Box::new(Rest { read: Some(Box::pin(read)), left }))?;
        answer.await.map_err(|_| Error::Stopping)
    }

    pub(super) fn records(&self, partition: Partition) -> Records {
        Records::new(Arc::clone(&self.shared.store), partition)
    }
}

async fn read_parts(records: &Records, job: &JobKey, views: &Views) -> store::Result<Option<JobParts>> {
    let Some(record) = records.job(job).await?.filter(|record| !record.deleted) else { return Ok(None) };
    let mut parts = JobParts { job: record.job.unwrap_or_default(), ..JobParts::default() };
    let steps =
        if views.steps || views.holds || views.tasks { records.steps(job).await? } else { BTreeMap::new() };
    if views.holds {
        parts.holds = records.standing_holds(job, steps.values()).await?.into_values().collect();
    }
    if views.tasks {
        parts.tasks = records.linked_tasks(job, &steps).await?.into_values().collect();
    }
    if views.steps {
        parts.steps = steps.into_values().collect();
        parts.steps.sort_by(|left, right| left.rank().cmp(&right.rank()));
    }
    if let Some(page) = &views.reports {
        parts.reports = records.reports_after(job, &page.after, page.limit + 1).await?;
        let fitting = fitting(&parts.reports).min(page.limit);
        parts.more_reports = parts.reports.len() > fitting;
        parts.reports.truncate(fitting);
    }
    Ok(Some(parts))
}

/// How many of the reports fit in a page's bytes: at least one.
fn fitting(reports: &[StepReport]) -> usize {
    let mut bytes = 0;
    let within = reports.iter().take_while(|report| {
        bytes += prost::Message::encoded_len(*report);
        bytes <= READ_BYTES
    });
    within.count().max(1)
}

impl From<JobParts> for JobDetails {
    fn from(parts: JobParts) -> Self {
        let JobParts { job, steps, reports, holds, tasks, more_reports: _ } = parts;
        Self { job: Some(job), steps, reports, holds, tasks }
    }
}
