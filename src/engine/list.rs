//! Lists and counts of jobs, served from the indexes.
//!
//! The typed field of a filter that leaves the fewest jobs picks the index; its runs are merged in the order of
//! (`create_time`, id), which never changes for a job, so that a page goes on exactly where the one before ended. Every
//! job is then asked about by its head: the index proposes, the head decides.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;

use super::{Engine, Error, read::Views};
use crate::{
    domain::Filter,
    proto::v1::{Job, JobFilter, JobStatus},
    store::{self, Index, IndexPage, IndexPlace, JobKey, Partition, Records},
};

/// How many heads one page looks at before it ends short.
const HEADS_PER_PAGE_MAX: usize = 5_000;

/// A page ends before its jobs would take more.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// How many heads are looked at before others get their turn.
const HEADS_PER_TURN: usize = 32;

/// How many index places are read at once at most.
const PLACES_PER_READ: usize = 512;

/// How often runs are read beside the writer before the writer is asked for a moment of rest.
const TRIES: usize = 3;

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ListOrder {
    NewestFirst,
    OldestFirst,
}

/// Some of the jobs that match.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage {
    /// In order; each a `Job`, left encoded.
    pub jobs: Vec<Bytes>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<IndexPlace>,
}

impl Engine {
    /// Lists jobs that match, after a place.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        org: &str,
        filter: &Filter,
        order: ListOrder,
        after: Option<IndexPlace>,
        limit: usize,
    ) -> Result<ListPage, Error> {
        let page = self.page(org, filter, order, after, limit).await?;
        self.settle().await?;
        Ok(page)
    }

    /// A page of what there is, durable or about to be.
    async fn page(
        &self,
        org: &str,
        filter: &Filter,
        order: ListOrder,
        mut after: Option<IndexPlace>,
        limit: usize,
    ) -> Result<ListPage, Error> {
        let mut jobs = Vec::new();
        let mut looked_at = 0;
        let mut bytes = 0;
        // Where each place has a job that matches, one more than the page has tells whether there are more.
        let is_exact = filter.takes_all() || is_served_by_index(filter);
        let mut places_wanted =
            PLACES_PER_READ.min(if is_exact { limit.saturating_add(1) } else { usize::MAX });
        loop {
            let places = self.places(org, filter, order, after.clone(), places_wanted).await?;
            let is_last = places.len() < places_wanted;
            places_wanted = PLACES_PER_READ;
            for place in places {
                if jobs.len() == limit || looked_at == HEADS_PER_PAGE_MAX {
                    return Ok(ListPage { jobs, next: after });
                }
                looked_at += 1;
                if let Some(job) = self.matching(org, filter, &place).await? {
                    bytes += job.len();
                    if bytes > PAGE_BYTES_MAX && !jobs.is_empty() {
                        return Ok(ListPage { jobs, next: after });
                    }
                    jobs.push(job);
                }
                after = Some(place);
                if looked_at % HEADS_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
            if is_last {
                return Ok(ListPage { jobs, next: None });
            }
        }
    }

    /// Counts the jobs that match.
    ///
    /// # Errors
    /// The store's.
    pub async fn count(&self, org: &str, filter: &Filter) -> Result<u64, Error> {
        let by_index_alone = is_served_by_index(filter);
        let mut count = 0;
        let mut after = None;
        loop {
            let places = self.places(org, filter, ListOrder::OldestFirst, after, PLACES_PER_READ).await?;
            let is_last = places.len() < PLACES_PER_READ;
            after = places.last().cloned();
            if by_index_alone {
                count += places.len() as u64;
            } else {
                for (index, place) in places.iter().enumerate() {
                    count += u64::from(self.matching(org, filter, place).await?.is_some());
                    if index % HEADS_PER_TURN == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            }
            if is_last {
                self.settle().await?;
                return Ok(count);
            }
            tokio::task::yield_now().await;
        }
    }

    /// The next places where jobs can match, in order: fewer than the limit only where there are no more.
    async fn places(
        &self,
        org: &str,
        filter: &Filter,
        order: ListOrder,
        after: Option<IndexPlace>,
        limit: usize,
    ) -> Result<Vec<IndexPlace>, Error> {
        let page = IndexPage {
            after,
            reverse: order == ListOrder::NewestFirst,
            from: filter.wanted.create_time_from,
            before: filter.wanted.create_time_before,
            limit,
        };
        let mut places = Vec::new();
        if filter.job_ids().is_empty() {
            let runs = runs(filter);
            for partition in self.partitions() {
                places.extend(self.merged(partition, org, &runs, &page).await?);
            }
        } else {
            for job_id in filter.job_ids() {
                let target = super::Target::Job(job_id);
                places.extend(
                    self.job(org, target, &Views::default()).await?.map(|parts| IndexPlace::of(&parts.job)),
                );
            }
            let is_after = |place: &IndexPlace| match &page.after {
                None => true,
                Some(after) if page.reverse => place < after,
                Some(after) => place > after,
            };
            places.retain(is_after);
        }
        places.sort();
        if page.reverse {
            places.reverse();
        }
        places.truncate(limit);
        Ok(places)
    }

    /// The places of several runs of a partition, each once. A job that moves from one run to another is in one of them at
    /// every moment, so they are read while nothing moves.
    async fn merged(
        &self,
        partition: Partition,
        org: &str,
        runs: &[Index],
        page: &IndexPage,
    ) -> Result<BTreeSet<IndexPlace>, Error> {
        let store = &self.shared.store;
        let records = self.records(partition);
        for _ in 0..TRIES {
            store.settle(partition).await?;
            let before = *store.head(partition).borrow();
            let places = read_runs(&records, org, runs, page).await?;
            store.settle(partition).await?;
            if runs.len() == 1 || *store.head(partition).borrow() == before {
                return Ok(places);
            }
        }
        let (org, runs, page) = (org.to_owned(), runs.to_vec(), page.clone());
        Ok(self
            .at_rest(partition, async move |records| read_runs(&records, &org, &runs, &page).await)
            .await??)
    }

    /// Returns when all that was read is durable.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        for partition in self.partitions() {
            self.shared.store.settle(partition).await?;
        }
        Ok(())
    }

    /// The job at a place, if it matches now.
    async fn matching(&self, org: &str, filter: &Filter, place: &IndexPlace) -> Result<Option<Bytes>, Error> {
        let partition = self.partition_of(org, super::Target::Job(&place.id));
        let job = JobKey { org: org.to_owned(), job_id: place.id.clone() };
        let Some(head) = self.records(partition).encoded_job(&job).await? else { return Ok(None) };
        if filter.takes_all() {
            return Ok(Some(head));
        }
        let decoded = Job::decode(head.clone()).map_err(|error| store::Error::Corrupt(error.to_string()))?;
        Ok(filter.matches_job(&decoded).then_some(head))
    }
}

async fn read_runs(
    records: &Records,
    org: &str,
    runs: &[Index],
    page: &IndexPage,
) -> store::Result<BTreeSet<IndexPlace>> {
    let mut places = BTreeSet::new();
    for run in runs {
        places.extend(records.index(org, run, page).await?);
    }
    Ok(places)
}

/// The runs of the index that serves a filter best.
fn runs(filter: &Filter) -> Vec<Index> {
    let wanted = &filter.wanted;
    if !filter.mine.is_empty() {
        filter.mine.iter().cloned().map(Index::Assignee).collect()
    } else if !wanted.assignees.is_empty() {
        wanted.assignees.iter().cloned().map(Index::Assignee).collect()
    } else if !wanted.user_ids.is_empty() {
        wanted.user_ids.iter().cloned().map(Index::User).collect()
    } else if !wanted.teams.is_empty() {
        wanted.teams.iter().cloned().map(Index::Team).collect()
    } else if !wanted.workflow_ids.is_empty() {
        wanted.workflow_ids.iter().cloned().map(Index::Workflow).collect()
    } else if !wanted.statuses.is_empty() || wanted.closed.is_some() {
        status_runs(wanted)
    } else {
        vec![Index::All]
    }
}

fn status_runs(wanted: &JobFilter) -> Vec<Index> {
    const STATUSES: [JobStatus; 5] = [
        JobStatus::NotStarted,
        JobStatus::Active,
        JobStatus::Paused,
        JobStatus::Completed,
        JobStatus::Aborted,
    ];
    let is_wanted =
        |status: &JobStatus| wanted.statuses.is_empty() || wanted.statuses.contains(&(*status).into());
    let closed: &[bool] = match wanted.closed {
        None => &[false, true],
        Some(false) => &[false],
        Some(true) => &[true],
    };
    let statuses = STATUSES.into_iter().filter(is_wanted);
    statuses.flat_map(|status| closed.iter().map(move |&closed| Index::Status(status, closed))).collect()
}

/// Whether the runs hold exactly the jobs that match, so that no head needs to be read.
fn is_served_by_index(filter: &Filter) -> bool {
    let wanted = &filter.wanted;
    let by_status = !wanted.statuses.is_empty() || wanted.closed.is_some();
    let fields = [
        by_status,
        !filter.mine.is_empty(),
        !wanted.assignees.is_empty(),
        !wanted.user_ids.is_empty(),
        !wanted.teams.is_empty(),
        !wanted.workflow_ids.is_empty(),
    ];
    filter.job_ids().is_empty()
        && !filter.has_expression()
        && fields.iter().filter(|&&is_set| is_set).count() <= 1
}
