//! Reading tasks: one, and lists of them.

use prost::Message as _;
use prost_types::Timestamp;

use super::{Engine, Error, ListOrder, Target};
use crate::{
    domain::compare_times,
    proto::v1::{CompletionStatus, TaskFilter, TaskStatus},
    store::{IndexPage, IndexPlace, JobKey, TaskRun},
};

/// How many tasks one page looks at before it ends short.
const TASKS_PER_PAGE_MAX: usize = 5_000;

/// A page ends before its tasks would take more.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// How many index places are read at once.
const PLACES_PER_READ: usize = 256;

/// Some of the tasks that match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskPage {
    /// In order.
    pub tasks: Vec<TaskStatus>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<IndexPlace>,
}

impl Engine {
    /// Reads a task. `None`: there is none of that id.
    ///
    /// # Errors
    /// The store's.
    pub async fn task(&self, org: &str, task_id: &str) -> Result<Option<TaskStatus>, Error> {
        let partition = self.partition_of(org, Target::Task(task_id));
        let records = self.records(partition);
        let task = match records.job_of_task(org, task_id).await? {
            Some(job_id) => records.task(&JobKey { org: org.to_owned(), job_id }, task_id).await?,
            None => None,
        };
        self.shared.store.settle(partition).await?;
        Ok(task)
    }

    /// Lists tasks that match, after a place.
    ///
    /// # Errors
    /// The store's.
    pub async fn tasks(
        &self,
        org: &str,
        filter: &TaskFilter,
        order: ListOrder,
        mut after: Option<IndexPlace>,
        limit: usize,
    ) -> Result<TaskPage, Error> {
        let mut page = TaskPage::default();
        let (mut looked_at, mut bytes) = (0, 0);
        // Where each place has a task that matches, one more than the page has tells whether there are more.
        let mut places_wanted = PLACES_PER_READ.min(limit.saturating_add(1));
        loop {
            let places = self.task_places(org, filter, order, after.clone(), places_wanted).await?;
            let is_last = places.len() < places_wanted;
            places_wanted = PLACES_PER_READ;
            for (place, job) in places {
                let matching = self.task_at(&place, &job).await?.filter(|task| matches(filter, task));
                let size = matching.as_ref().map_or(0, TaskStatus::encoded_len);
                let is_full =
                    page.tasks.len() == limit || !page.tasks.is_empty() && bytes + size > PAGE_BYTES_MAX;
                if is_full || looked_at == TASKS_PER_PAGE_MAX {
                    page.next = after;
                    self.settle().await?;
                    return Ok(page);
                }
                looked_at += 1;
                bytes += size;
                page.tasks.extend(matching);
                after = Some(place);
            }
            if is_last {
                self.settle().await?;
                return Ok(page);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Counts the tasks that match.
    ///
    /// # Errors
    /// The store's.
    pub async fn count_tasks(&self, org: &str, filter: &TaskFilter) -> Result<u64, Error> {
        let (mut count, mut after) = (0, None);
        loop {
            let places =
                self.task_places(org, filter, ListOrder::OldestFirst, after, PLACES_PER_READ).await?;
            let is_last = places.len() < PLACES_PER_READ;
            after = places.last().map(|(place, _)| place.clone());
            for (place, job) in places {
                let task = self.task_at(&place, &job).await?;
                count += u64::from(task.is_some_and(|task| matches(filter, &task)));
            }
            if is_last {
                self.settle().await?;
                return Ok(count);
            }
            tokio::task::yield_now().await;
        }
    }

    /// The next places where tasks can match, in order, each with its job: fewer than `limit` only where there are no more.
    async fn task_places(
        &self,
        org: &str,
        filter: &TaskFilter,
        order: ListOrder,
        after: Option<IndexPlace>,
        limit: usize,
    ) -> Result<Vec<(IndexPlace, JobKey)>, Error> {
        let page = IndexPage {
            after,
            reverse: order == ListOrder::NewestFirst,
            from: filter.create_time_from,
            before: filter.create_time_before,
            limit,
        };
        let run = match (filter.job_id.as_str(), filter.completed) {
            ("", Some(false)) => TaskRun::Open,
            ("", _) => TaskRun::All,
            (job_id, _) => TaskRun::Job(job_id),
        };
        let partitions: Vec<_> = match run {
            TaskRun::Job(job_id) => vec![self.partition_of(org, Target::Job(job_id))],
            TaskRun::All | TaskRun::Open => self.partitions().collect(),
        };
        let mut found = Vec::new();
        for partition in partitions {
            let places = self.records(partition).task_index(org, run, &page).await?;
            let job = |job_id| JobKey { org: org.to_owned(), job_id };
            found.extend(places.into_iter().map(|(place, job_id)| (place, job(job_id))));
        }
        found.sort_by(|(left, _), (right, _)| if page.reverse { right.cmp(left) } else { left.cmp(right) });
        found.truncate(limit);
        Ok(found)
    }

    async fn task_at(&self, place: &IndexPlace, job: &JobKey) -> Result<Option<TaskStatus>, Error> {
        let partition = self.partition_of(&job.org, Target::Job(&job.job_id));
        Ok(self.records(partition).task(job, &place.id).await?)
    }
}

fn matches(filter: &TaskFilter, task: &TaskStatus) -> bool {
    let one_of = |numbers: &[i32], number: i32| numbers.is_empty() || numbers.contains(&number);
    let launcher = task.launcher.as_deref().unwrap_or_default();
    let within = |time: Option<&Timestamp>| {
        let (from, before) = (filter.create_time_from.as_ref(), filter.create_time_before.as_ref());
        (from.is_none() || compare_times(time, from).is_ge())
            && (before.is_none() || compare_times(time, before).is_lt())
    };
    let is_completed = task.completion_status() != CompletionStatus::Unspecified;
    (filter.job_id.is_empty() || filter.job_id == task.job_id)
        && one_of(&filter.types, task.r#type)
        && (filter.launchers.is_empty() || filter.launchers.iter().any(|wanted| wanted == launcher))
        && one_of(&filter.completion_statuses, task.completion_status)
        && filter.completed.is_none_or(|completed| completed == is_completed)
        && within(task.created.as_ref())
}
