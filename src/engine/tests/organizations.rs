//! Another organization's resource is looked for as one that is not there: with as many reads, so that the time it takes
//! tells nothing.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::kit::{ORG, World, automatic, create, origin, retitle, start};
use crate::{
    domain::{CreateTask, DeleteJob, Filter},
    engine::{Engine, Error, InstanceQuery, ListOrder, Options, Origin, Target, Views},
    proto::v1::{JobFilter, TaskFilter, TaskStatus, TaskType},
    store::{self, Batch, JobKey, LogRecord, MemoryStore, Partition, Scan, Sequence, Store, StoreId},
};

/// Counts what is read of it.
struct Counting {
    inner: MemoryStore,
    reads: AtomicUsize,
}

impl Counting {
    fn new() -> Arc<Self> {
        Arc::new(Self { inner: MemoryStore::new(), reads: AtomicUsize::new(0) })
    }

    fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Store for Counting {
    fn id(&self) -> StoreId {
        self.inner.id()
    }

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    async fn get(&self, partition: Partition, key: &[u8]) -> store::Result<Option<Bytes>> {
        self.read();
        self.inner.get(partition, key).await
    }

    async fn scan(&self, partition: Partition, scan: Scan) -> store::Result<Vec<(Bytes, Bytes)>> {
        self.read();
        self.inner.scan(partition, scan).await
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> store::Result<()> {
        self.inner.commit(partition, batch).await
    }

    async fn settle(&self, partition: Partition) -> store::Result<()> {
        self.inner.settle(partition).await
    }

    fn head(&self, partition: Partition) -> watch::Receiver<Sequence> {
        self.inner.head(partition)
    }

    fn oldest(&self, partition: Partition) -> Sequence {
        self.inner.oldest(partition)
    }

    async fn log(&self, partition: Partition, after: Sequence, max: usize) -> store::Result<Vec<LogRecord>> {
        self.read();
        self.inner.log(partition, after, max).await
    }

    async fn history(
        &self,
        partition: Partition,
        job: &JobKey,
        after: Sequence,
        max: usize,
    ) -> store::Result<Vec<LogRecord>> {
        self.read();
        self.inner.history(partition, job, after, max).await
    }

    async fn trim(&self, partition: Partition, before: Sequence) -> store::Result<()> {
        self.inner.trim(partition, before).await
    }

    async fn export(&self, partition: Partition) -> Result<Box<dyn store::Export>, store::ExportError> {
        self.inner.export(partition).await
    }

    async fn close(&self) -> store::Result<()> {
        self.inner.close().await
    }
}

/// Looks for a job and for a task in every way, and tells how many reads each took.
async fn look_for(engine: &Engine, store: &Counting, job_id: &str, task_id: &str) -> Vec<usize> {
    let stranger = || Origin { org: "umbra".to_owned(), ..origin() };
    let mut reads = Vec::new();
    let mut count = |what: bool| {
        assert!(what, "nothing is found");
        reads.push(store.reads.swap(0, Ordering::Relaxed));
    };
    store.reads.store(0, Ordering::Relaxed);
    let views = Views { steps: true, holds: true, tasks: true, reports: None };
    for target in [Target::Job(job_id), Target::Client(job_id), Target::Task(task_id)] {
        count(engine.job("umbra", target, &views).await.unwrap().is_none());
    }
    count(engine.task("umbra", task_id).await.unwrap().is_none());
    count(engine.history("umbra", job_id, Sequence::default()).await.unwrap().is_empty());
    count(engine.workflow_instance("umbra", job_id, "run", None).await.unwrap().is_none());
    let query = InstanceQuery { job_id: job_id.to_owned(), closed: None };
    count(engine.workflow_instances("umbra", &query, None, 9).await.unwrap().instances.is_empty());
    let filter = TaskFilter { job_id: job_id.to_owned(), ..TaskFilter::default() };
    count(engine.tasks("umbra", &filter, ListOrder::OldestFirst, None, 9).await.unwrap().tasks.is_empty());
    let wanted = JobFilter { job_ids: vec![job_id.to_owned()], ..JobFilter::default() };
    count(engine.count("umbra", &Filter::new(wanted, Vec::new(), None)).await.unwrap() == 0);
    count(matches!(engine.execute(stranger(), retitle(job_id, "x")).await, Err(Error::Rejected(_))));
    let delete = DeleteJob { job_id: job_id.to_owned(), etag: None };
    count(matches!(engine.execute(stranger(), delete).await, Err(Error::Rejected(_))));
    reads
}

#[tokio::test]
async fn what_another_organization_has_takes_as_many_reads_as_what_is_not_there() {
    let store = Counting::new();
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    engine.publish(origin(), automatic()).await.unwrap();
    engine.execute(origin(), create("theirs", "red")).await.unwrap();
    let task = TaskStatus {
        job_id: "theirs".to_owned(),
        r#type: TaskType::Qpoc.into(),
        unique_name: Some("weld".to_owned()),
        ..TaskStatus::default()
    };
    let made = engine.execute(origin(), CreateTask { job_id: "theirs".to_owned(), task }).await.unwrap();
    let task_id = made.task.unwrap().id;
    assert!(engine.task(ORG, &task_id).await.unwrap().is_some());

    let missing_task = format!("{}{}", &task_id[..task_id.len() - 4], "ffff");
    let theirs = look_for(&engine, &store, "theirs", &task_id).await;
    let missing = look_for(&engine, &store, "nobody", &missing_task).await;
    assert_eq!(theirs, missing);
    assert!(theirs.iter().all(|reads| *reads > 0), "{theirs:?}");
    assert!(engine.task(ORG, &task_id).await.unwrap().is_some());
}
