//! A copy of the store while it changes: a scan from the first key to the last, and beside it whatever is committed
//! meanwhile. What the scan met half-done is completed by the commit, which is given after it.
//!
//! The log is not trimmed while a copy is made: a history that is removed under the scan would be copied in part.

use std::{
    collections::VecDeque,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;

use super::{Shared, entry, tables, value::corrupt};
use crate::{
    proto::storage::v1::LogBatch,
    store::{
        Error, JobKey, Result, Sequence,
        export::{Changed, EXPORT_PAGE_BYTES, Export, ExportError, Extent, Item},
    },
};

/// What is at a key.
fn item_at(key: &Bytes, value: Bytes) -> Result<Item> {
    let sequence = || tables::sequence(key).ok_or_else(|| corrupt(key, "has no place in the log"));
    Ok(match key.first() {
        Some(&tables::ENTRIES) => {
            let [org, job_id] = tables::entry_job(key).ok_or_else(|| corrupt(key, "names no job"))?;
            let job = JobKey { org: org.to_owned(), job_id: job_id.to_owned() };
            Item::Entry(entry::decode(key, job, sequence()?, value)?)
        }
        Some(&tables::BATCHES) => {
            Item::Batch(LogBatch::decode(value).map_err(|_| corrupt(key, "is no batch of the log"))?)
        }
        _ => Item::Record(key.clone(), Some(value)),
    })
}

/// How long a copy that is not taken may keep the log from being trimmed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What is changed while a copy is made.
#[derive(Debug)]
pub(super) struct Exporting {
    /// Which copy it is for: one that is left may go on when there is another.
    copy: Arc<()>,
    pub(super) changed: Changed,
    pub(super) head: Sequence,
    /// When something of it was last taken.
    taken: Instant,
}

impl Exporting {
    /// Whether nobody takes it any more.
    pub(super) fn is_left(&self) -> bool {
        self.taken.elapsed() > IDLE_MAX
    }
}

pub(super) struct SledExport {
    shared: Arc<Shared>,
    /// The same as in what is [`Exporting`] for it.
    copy: Arc<()>,
    /// Where the scan goes on; none once it is done.
    from: Option<Vec<u8>>,
    ready: VecDeque<Item>,
    extent: Extent,
}

impl Shared {
    pub(super) fn exporting(&self) -> MutexGuard<'_, Option<Exporting>> {
        self.exporting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SledExport {
    pub(super) fn begin(shared: Arc<Shared>) -> std::result::Result<Self, ExportError> {
        let mut exporting = shared.exporting();
        if exporting.as_ref().is_some_and(|other| !other.is_left()) {
            return Err(ExportError::UnderWay);
        }
        let (copy, changed, head) = (Arc::default(), Changed::default(), *shared.head.borrow());
        *exporting = Some(Exporting { copy: Arc::clone(&copy), changed, head, taken: Instant::now() });
        drop(exporting);
        Ok(Self { shared, copy, from: Some(Vec::new()), ready: VecDeque::new(), extent: Extent::default() })
    }

    /// The next items of the scan.
    fn scan(&mut self) -> Result<()> {
        let Some(mut from) = self.from.take() else { return Ok(()) };
        let mut bytes = 0;
        'tables: loop {
            for item in self.shared.view.range(from.clone().., false) {
                let (key, value) = item?;
                if let Some(after) = tables::after_internal(&key) {
                    from = after;
                    continue 'tables;
                }
                let is_full = bytes >= EXPORT_PAGE_BYTES;
                if is_full {
                    self.from = Some(key.into());
                    return Ok(());
                }
                let item = item_at(&key, value)?;
                bytes += item.bytes();
                self.ready.push_back(item);
            }
            return Ok(());
        }
    }

    /// What was committed meanwhile.
    fn follow(&mut self) -> std::result::Result<(), ExportError> {
        let mut exporting = self.shared.exporting();
        let own = exporting.as_mut().filter(|exporting| Arc::ptr_eq(&exporting.copy, &self.copy));
        let exporting = own.ok_or(ExportError::Behind)?;
        if exporting.changed.is_too_much() {
            return Err(ExportError::Behind);
        }
        self.ready.extend(exporting.changed.take());
        self.extent = Extent { oldest: self.shared.oldest(), head: exporting.head };
        Ok(())
    }

    /// Somebody takes what there is.
    fn touch(&self) {
        let mut exporting = self.shared.exporting();
        let own = exporting.as_mut().filter(|exporting| Arc::ptr_eq(&exporting.copy, &self.copy));
        if let Some(exporting) = own {
            exporting.taken = Instant::now();
        }
    }

    fn page(&mut self) -> Option<Vec<Item>> {
        let mut bytes = 0;
        let mut page = Vec::new();
        while bytes < EXPORT_PAGE_BYTES
            && let Some(item) = self.ready.pop_front()
        {
            bytes += item.bytes();
            page.push(item);
        }
        (!page.is_empty()).then_some(page)
    }
}

#[async_trait]
impl Export for SledExport {
    async fn next(&mut self) -> std::result::Result<Option<Vec<Item>>, ExportError> {
        self.touch();
        loop {
            if let Some(page) = self.page() {
                return Ok(Some(page));
            }
            if self.from.is_none() {
                return Ok(None);
            }
            self.scan()?;
            if self.from.is_none() {
                // What the scan has seen of commits that are under way must be durable, and be given.
                self.shared.settled().await?;
            }
            self.follow()?;
            tokio::task::yield_now().await;
        }
    }

    fn extent(&self) -> Extent {
        self.extent
    }
}

impl Drop for SledExport {
    fn drop(&mut self) {
        self.shared.exporting().take_if(|exporting| Arc::ptr_eq(&exporting.copy, &self.copy));
    }
}

impl Shared {
    /// Returns when all that reads could have seen before the call is durable.
    pub(super) async fn settled(&self) -> Result<()> {
        let applied = self.applied.load(std::sync::atomic::Ordering::SeqCst);
        let mut durable = self.durable.subscribe();
        let decided = durable.wait_for(|durable| durable.has_decided(applied)).await;
        let decided = decided.expect("the sender lives as long as the store");
        decided.failure.clone().map_or(Ok(()), Err::<(), Error>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        SledOptions, SledStore, Store as _,
        conformance::{FIRST, commit, entry, large, set},
    };

    /// A store of a few MiB, whose directory goes with it.
    async fn filled() -> (tempfile::TempDir, SledStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = SledStore::open(directory.path(), &SledOptions::default()).unwrap();
        for n in 1..=6 {
            let record = set(&format!("J{n}"), large(usize::try_from(n).unwrap(), 400_000));
            commit(&store, vec![entry("a", n)], vec![record]).await.unwrap();
        }
        (directory, store)
    }

    /// Nobody has taken anything of a copy for long.
    fn leave(store: &SledStore) {
        let long_ago = Instant::now().checked_sub(IDLE_MAX + Duration::from_secs(1)).unwrap();
        store.shared.exporting().as_mut().unwrap().taken = long_ago;
    }

    /// A copy that was begun, and then left.
    async fn left(store: &SledStore) -> Box<dyn Export> {
        let mut left = store.export(FIRST).await.unwrap();
        left.next().await.unwrap().unwrap();
        leave(store);
        left
    }

    async fn rest(export: &mut Box<dyn Export>) -> std::result::Result<Vec<Item>, ExportError> {
        let mut items = Vec::new();
        while let Some(page) = export.next().await? {
            items.extend(page);
        }
        Ok(items)
    }

    #[tokio::test]
    async fn a_copy_that_was_left_takes_nothing_from_the_next() {
        let (_directory, store) = filled().await;
        let mut left = left(&store).await;
        let mut next = store.export(FIRST).await.unwrap();
        let is_of_first = |item: &Item| matches!(item, Item::Record(key, _) if key == "J1");
        let mut items = Vec::new();
        while !items.iter().any(is_of_first) {
            items.extend(next.next().await.unwrap().unwrap());
        }
        commit(&store, vec![entry("a", 7)], vec![set("J1", "new")]).await.unwrap();
        assert!(matches!(rest(&mut left).await, Err(ExportError::Behind)));
        items.extend(rest(&mut next).await.unwrap());
        let last = items.into_iter().rfind(is_of_first);
        assert_eq!(last, Some(Item::Record("J1".into(), Some("new".into()))));
        assert_eq!(next.extent().head, Sequence(7));
    }

    #[tokio::test]
    async fn the_log_is_trimmed_under_a_copy_that_was_left() {
        let (_directory, store) = filled().await;
        let mut left = left(&store).await;
        store.trim(FIRST, Sequence(2)).await.unwrap();
        assert!(matches!(rest(&mut left).await, Err(ExportError::Behind)));
    }

    #[tokio::test]
    async fn a_copy_that_is_taken_slowly_is_not_left() {
        let (_directory, store) = filled().await;
        let mut slow = store.export(FIRST).await.unwrap();
        slow.next().await.unwrap().unwrap();
        let records = (1..=6).map(|n| set(&format!("J{n}"), large(n, 400_000))).collect();
        commit(&store, vec![entry("a", 7)], records).await.unwrap();
        let mut pages = 0;
        loop {
            leave(&store);
            let page = slow.next().await.unwrap();
            assert!(matches!(store.export(FIRST).await, Err(ExportError::UnderWay)));
            if page.is_none() {
                break;
            }
            pages += 1;
        }
        assert!(pages > 4, "{pages}");
    }

    #[tokio::test]
    async fn a_copy_that_was_left_ends_no_other_when_it_goes() {
        let (_directory, store) = filled().await;
        let left = left(&store).await;
        let mut next = store.export(FIRST).await.unwrap();
        drop(left);
        assert!(matches!(store.export(FIRST).await, Err(ExportError::UnderWay)));
        rest(&mut next).await.unwrap();
        drop(next);
        store.export(FIRST).await.unwrap();
    }
}
