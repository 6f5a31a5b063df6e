//! Reading workflow instances: one, and lists of them.

use prost::Message as _;

use super::{Engine, Error, Target};
use crate::{
    domain::Sequences,
    proto::v1::{ExecutionStatus, WorkflowAttempt, WorkflowInstance},
    store::{self, JobKey, Records},
};

/// How many attempts are told of an instance.
const ATTEMPTS_MAX: usize = 100;

/// How many instances one page looks at before it ends short.
const INSTANCES_PER_PAGE_MAX: usize = 1_000;

/// How many instances are read at once: each may have an attempt with much data.
const INSTANCES_PER_READ: usize = 16;

/// How many attempts are read at once: each may have much data, which is not told of most.
const ATTEMPTS_PER_READ: usize = 8;

/// A page ends before its instances would take more.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Which instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceQuery {
    /// Only those of this job; empty: of all jobs.
    pub job_id: String,
    /// Only those whose newest attempt is closed, or is not.
    pub closed: Option<bool>,
}

/// Where a list of instances goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstancePlace {
    /// The partition it has come to.
    pub partition: u16,
    /// The job it has come to; empty: before the first.
    pub job_id: String,
    /// The instance of that.
    pub workflow_instance_id: String,
}

/// Some of the instances that match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstancePage {
    /// In the order of partitions, jobs and ids.
    pub instances: Vec<WorkflowInstance>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<InstancePlace>,
}

impl Engine {
    /// Reads a workflow instance, with one attempt whole: the one asked for, or the newest. `None`: the instance or the attempt
    /// is not there.
    ///
    /// # Errors
    /// The store's.
    pub async fn workflow_instance(
        &self,
        org: &str,
        job_id: &str,
        workflow_instance_id: &str,
        attempt_id: Option<i64>,
    ) -> Result<Option<WorkflowInstance>, Error> {
        let job = JobKey { org: org.to_owned(), job_id: job_id.to_owned() };
        let found = self.instances_of(&job, vec![workflow_instance_id.to_owned()], attempt_id).await?;
        Ok(found.into_iter().next())
    }

    /// Lists workflow instances that match, after a place, each with its newest attempt whole.
    ///
    /// # Errors
    /// The store's.
    pub async fn workflow_instances(
        &self,
        org: &str,
        query: &InstanceQuery,
        after: Option<InstancePlace>,
        limit: usize,
    ) -> Result<InstancePage, Error> {
        let mut place = after.unwrap_or_default();
        let mut page = InstancePage::default();
        let (mut looked_at, mut bytes) = (0, 0);
        let of_job = (!query.job_id.is_empty()).then(|| self.partition_of(org, Target::Job(&query.job_id)));
        let partitions = self.partitions().filter(|partition| {
            partition.0 >= place.partition && of_job.is_none_or(|of_job| of_job == *partition)
        });
        for partition in partitions.collect::<Vec<_>>() {
            if place.partition != partition.0 {
                place = InstancePlace { partition: partition.0, ..InstancePlace::default() };
            }
            loop {
                let after = (!place.job_id.is_empty())
                    .then_some((place.job_id.as_str(), place.workflow_instance_id.as_str()));
                let records = self.records(partition);
                // One more than fits tells whether there are more.
                let wanted = INSTANCES_PER_READ.min(limit + 1 - page.instances.len());
                let heads = records.instances_after(org, &query.job_id, after, wanted).await?;
                let is_last = heads.len() < wanted;
                let heads: Vec<_> = heads.into_iter().filter_map(|record| record.instance).collect();
                for of_job in heads.chunk_by(|left, right| left.job_id == right.job_id) {
                    let job = JobKey { org: org.to_owned(), job_id: of_job[0].job_id.clone() };
                    let ids = of_job.iter().map(|head| head.workflow_instance_id.clone()).collect();
                    let found = self.instances_of(&job, ids, None).await?;
                    let mut found = found.into_iter().peekable();
                    for head in of_job {
                        let is_it = |instance: &WorkflowInstance| {
                            instance.workflow_instance_id == head.workflow_instance_id
                        };
                        // One whose job was deleted meanwhile is gone.
                        let matching = found.next_if(is_it).filter(|instance| query.matches(instance));
                        let size = matching.as_ref().map_or(0, WorkflowInstance::encoded_len);
                        let is_full = page.instances.len() == limit
                            || !page.instances.is_empty() && bytes + size > PAGE_BYTES_MAX;
                        if is_full || looked_at == INSTANCES_PER_PAGE_MAX {
                            page.next = Some(place);
                            return Ok(page);
                        }
                        looked_at += 1;
                        bytes += size;
                        page.instances.extend(matching);
                        place.job_id.clone_from(&head.job_id);
                        place.workflow_instance_id.clone_from(&head.workflow_instance_id);
                    }
                }
                if is_last {
                    break;
                }
            }
        }
        self.settle().await?;
        Ok(page)
    }

    /// Those of some instances of a job that are there, at one moment.
    async fn instances_of(
        &self,
        job: &JobKey,
        ids: Vec<String>,
        attempt_id: Option<i64>,
    ) -> Result<Vec<WorkflowInstance>, Error> {
        let partition = self.partition_of(&job.org, Target::Job(&job.job_id));
        let key = job.clone();
        self.at_one_revision(partition, job, move |records| {
            let (job, ids) = (key.clone(), ids.clone());
            async move {
                let mut instances = Vec::new();
                for id in ids {
                    instances.extend(read_instance(&records, &job, &id, attempt_id).await?);
                }
                Ok(instances)
            }
        })
        .await
    }
}

impl InstanceQuery {
    fn matches(&self, instance: &WorkflowInstance) -> bool {
        let newest = instance.attempts.last().map(WorkflowAttempt::status);
        self.closed.is_none_or(|closed| closed == (newest == Some(ExecutionStatus::Closed)))
    }
}

async fn read_instance(
    records: &Records,
    job: &JobKey,
    id: &str,
    attempt_id: Option<i64>,
) -> store::Result<Option<WorkflowInstance>> {
    let Some(record) = records.instance(job, id).await? else { return Ok(None) };
    let whole_id = attempt_id.unwrap_or(record.newest_attempt_id);
    let Some(mut whole) = records.attempt(job, id, whole_id).await? else { return Ok(None) };
    let of_attempt = records.attempt_tasks(job, id, whole_id).await?;
    let seen: Sequences = of_attempt.iter().map(|(sequence_id, _)| *sequence_id).collect();
    seen.missing().tell(&mut whole);
    whole.task_ids = of_attempt.into_iter().map(|(_, task_id)| task_id).collect();

    let mut attempts = vec![whole];
    let mut before = None;
    loop {
        let page = records.newest_attempts(job, id, before, ATTEMPTS_PER_READ).await?;
        before = page.last().map(|oldest| oldest.attempt_id);
        let is_last = page.len() < ATTEMPTS_PER_READ;
        let others = page.into_iter().filter(|attempt| attempt.attempt_id != whole_id);
        let others = others.map(|attempt| WorkflowAttempt { data: None, meta: None, ..attempt });
        attempts.extend(others.take(ATTEMPTS_MAX - attempts.len()));
        if is_last || attempts.len() == ATTEMPTS_MAX {
            break;
        }
    }
    attempts.sort_by_key(|attempt| attempt.attempt_id);
    Ok(Some(WorkflowInstance { attempts, ..record.instance.unwrap_or_default() }))
}
