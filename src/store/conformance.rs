//! What every [`Store`] must do. A backend is added as one `conformance!`, a promise as a function here and its name in
//! the macro.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    Batch, Error, Extent, Item, JobKey, LogRecord, MemoryStore, Partition, Scan, Sequence, SledOptions,
    SledStore, Store,
};
use crate::proto::storage::v1::LogReference;

/// The partition that each backend has.
pub(super) const FIRST: Partition = Partition(0);

/// A store, and whatever must outlive it.
struct Subject {
    store: Arc<dyn Store>,
    _directory: Option<tempfile::TempDir>,
}

macro_rules! conformance {
    ($backend:ident, $open:expr) => {
        conformance!(@each $backend, $open,
            a_new_store_is_empty,
            a_commit_is_readable,
            keys_are_replaced_and_removed,
            scans_are_ordered_and_bounded,
            values_of_any_size_come_back,
            a_large_batch_comes_back,
            a_batch_must_follow_on_the_head,
            entries_must_follow_on_each_other,
            records_may_be_committed_without_entries,
            an_entry_takes_a_sequence_for_each_event,
            the_log_is_read_in_pages,
            a_visible_head_has_no_gaps_below_it,
            a_batch_is_seen_whole,
            a_history_is_of_one_job,
            a_history_is_read_in_pages,
            trimming_keeps_what_it_says,
            trimming_forgets_deleted_jobs,
            trimming_many_deleted_jobs_ends,
            a_log_read_while_it_is_trimmed_has_no_gaps,
            what_is_transient_goes_with_the_log,
            what_was_read_settles,
            an_export_is_the_store,
            an_export_of_a_busy_store_is_of_one_moment,
            a_closed_store_was_in_order,
        );
    };
    (@each $backend:ident, $open:expr, $($case:ident,)*) => {
        mod $backend {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let subject: Subject = $open;
                    super::$case(&subject.store).await;
                }
            )*
        }
    };
}

conformance!(memory, Subject { store: Arc::new(MemoryStore::new()), _directory: None });
conformance!(sled, sled(&SledOptions::default()));
// Each commit begins a checkpoint, or waits for one, and the database is written anew as often as may be.
conformance!(sled_at_once, {
    sled(&SledOptions { checkpoint_bytes: 1, compaction_bytes_min: 1, ..SledOptions::default() })
});

fn sled(options: &SledOptions) -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let store = SledStore::open(directory.path(), options).unwrap();
    Subject { store: Arc::new(store), _directory: Some(directory) }
}

pub(super) fn job(job_id: &str) -> JobKey {
    JobKey { org: "acme".to_owned(), job_id: job_id.to_owned() }
}

pub(super) fn entry(job_id: &str, sequence: u64) -> LogRecord {
    let bytes = format!("{job_id} at {sequence}").into();
    LogRecord {
        sequence: Sequence(sequence),
        job: job(job_id),
        deletes_job: false,
        bytes,
        transient: Bytes::new(),
    }
}

fn deletion(job_id: &str, sequence: u64) -> LogRecord {
    LogRecord { deletes_job: true, ..entry(job_id, sequence) }
}

pub(super) fn set(key: &str, value: impl Into<Bytes>) -> (Bytes, Option<Bytes>) {
    (Bytes::copy_from_slice(key.as_bytes()), Some(value.into()))
}

pub(super) fn remove(key: &str) -> (Bytes, Option<Bytes>) {
    (Bytes::copy_from_slice(key.as_bytes()), None)
}

/// A value that differs from place to place, so that a mix-up shows.
pub(super) fn large(seed: usize, length: usize) -> Bytes {
    (0..length).map(|index| u8::try_from((index / 7 + index + seed) % 251).unwrap()).collect()
}

/// Commits a batch that follows on the head.
pub(super) async fn commit(
    store: &dyn Store,
    entries: Vec<LogRecord>,
    writes: Vec<(Bytes, Option<Bytes>)>,
) -> super::Result<()> {
    let first = head(store).next();
    store.commit(FIRST, Batch { first, entries, writes }).await
}

pub(super) fn head(store: &dyn Store) -> Sequence {
    *store.head(FIRST).borrow()
}

pub(super) async fn get(store: &dyn Store, key: &str) -> Option<Bytes> {
    store.get(FIRST, key.as_bytes()).await.unwrap()
}

pub(super) async fn log(store: &dyn Store, after: u64) -> Vec<LogRecord> {
    store.log(FIRST, Sequence(after), usize::MAX).await.unwrap()
}

async fn history(store: &dyn Store, job_id: &str) -> Vec<u64> {
    sequences(&store.history(FIRST, &job(job_id), Sequence(0), usize::MAX).await.unwrap())
}

fn sequences(records: &[LogRecord]) -> Vec<u64> {
    records.iter().map(|record| record.sequence.0).collect()
}

/// Commits batches of entries of job `a`, whose last events are at these places.
async fn write_log(store: &dyn Store, batches: &[&[u64]]) {
    for batch in batches {
        let entries = batch.iter().map(|&sequence| entry("a", sequence)).collect();
        commit(store, entries, Vec::new()).await.unwrap();
    }
}

async fn a_new_store_is_empty(store: &Arc<dyn Store>) {
    assert_eq!(store.partitions(), 1);
    assert_eq!(head(&**store), Sequence(0));
    assert_eq!(store.oldest(FIRST), Sequence(1));
    assert_eq!(log(&**store, 0).await, []);
    assert_eq!(get(&**store, "Ja").await, None);
    store.trim(FIRST, Sequence(9)).await.unwrap();
    store.settle(FIRST).await.unwrap();
    assert_eq!(store.oldest(FIRST), Sequence(1));
}

async fn a_commit_is_readable(store: &Arc<dyn Store>) {
    let mut heads = store.head(FIRST);
    let entries = vec![entry("a", 1), entry("b", 2)];
    commit(&**store, entries.clone(), vec![set("Ja", "one"), set("Jb", "")]).await.unwrap();

    assert!(heads.has_changed().unwrap());
    assert_eq!(*heads.borrow_and_update(), Sequence(2));
    assert_eq!(get(&**store, "Ja").await.as_deref(), Some(&b"one"[..]));
    assert_eq!(get(&**store, "Jb").await.as_deref(), Some(&b""[..]));
    assert_eq!(get(&**store, "J").await, None);
    assert_eq!(log(&**store, 0).await, entries);
    assert_eq!(store.oldest(FIRST), Sequence(1));
}

async fn keys_are_replaced_and_removed(store: &Arc<dyn Store>) {
    commit(&**store, vec![entry("a", 1)], vec![set("Ja", "one"), set("Jb", "two")]).await.unwrap();
    let writes = vec![set("Ja", "three"), remove("Jb"), remove("Jc")];
    commit(&**store, vec![entry("a", 2)], writes).await.unwrap();
    assert_eq!(get(&**store, "Ja").await.as_deref(), Some(&b"three"[..]));
    assert_eq!(get(&**store, "Jb").await, None);
    assert_eq!(get(&**store, "Jc").await, None);
}

async fn scans_are_ordered_and_bounded(store: &Arc<dyn Store>) {
    let keys = ["Ia", "Ja", "Ja\0", "Jab", "Jb", "J\u{7f}", "Sa"];
    let writes = keys.iter().rev().map(|key| set(key, *key)).collect();
    commit(&**store, vec![entry("a", 1)], writes).await.unwrap();

    let rows: &[(&str, &str, usize, &[&str])] = &[
        ("J", "K", 9, &["Ja", "Ja\0", "Jab", "Jb", "J\u{7f}"]),
        ("J", "K", 2, &["Ja", "Ja\0"]),
        ("J", "K", 0, &[]),
        ("Ja", "Jb", 9, &["Ja", "Ja\0", "Jab"]),
        ("Ja\0", "Jb\0", 9, &["Ja\0", "Jab", "Jb"]),
        ("Jc", "Jd", 9, &[]),
        ("Jb", "Jb", 9, &[]),
        ("Jb", "Ja", 9, &[]),
        ("S", "T", 9, &["Sa"]),
    ];
    for &(start, end, limit, expected) in rows {
        for reverse in [false, true] {
            let scan = Scan { start: start.into(), end: end.into(), reverse, limit: usize::MAX };
            let mut all = store.scan(FIRST, scan.clone()).await.unwrap();
            let some = store.scan(FIRST, Scan { limit, ..scan }).await.unwrap();
            assert_eq!(some, all[..limit.min(all.len())], "{start:?}..{end:?} reverse: {reverse}");
            if reverse {
                all.reverse();
            }
            let found: Vec<_> = all.iter().take(limit).map(|(key, _)| key.as_ref()).collect();
            let wanted: Vec<_> = expected.iter().map(|key| key.as_bytes()).collect();
            assert_eq!(found, wanted, "{start:?}..{end:?} reverse: {reverse}");
            assert!(all.iter().all(|(key, value)| key == value));
        }
    }
}

async fn values_of_any_size_come_back(store: &Arc<dyn Store>) {
    let sizes = [0, 1, 4090, 4091, 4092, 4095, 4096, 4097, 8182, 8183, 100_000, 1 << 20];
    for (seed, size) in sizes.into_iter().enumerate() {
        // Each replaces a value of another size.
        let value = large(seed, size);
        let sequence = seed as u64 + 1;
        let entry = LogRecord { bytes: value.clone(), ..entry("a", sequence) };
        let writes = vec![set("Ja", value.clone()), set(&format!("Jb{seed:02}"), value.clone())];
        commit(&**store, vec![entry.clone()], writes).await.unwrap();
        assert!(get(&**store, "Ja").await.as_ref() == Some(&value), "{size} bytes");
        assert!(log(&**store, sequence - 1).await == [entry], "{size} bytes");
    }
    let scan = Scan { start: "Jb".into(), end: "Jc".into(), reverse: false, limit: usize::MAX };
    let all = store.scan(FIRST, scan).await.unwrap();
    let lengths: Vec<_> = all.iter().map(|(_, value)| value.len()).collect();
    assert_eq!(lengths, sizes);
    assert!(all.iter().enumerate().all(|(seed, (_, value))| *value == large(seed, sizes[seed])));
}

async fn a_large_batch_comes_back(store: &Arc<dyn Store>) {
    let records = 2048_u64;
    let key = |index: u64| format!("S{index:05}");
    let value = |index: u64| large(usize::try_from(index).unwrap(), 2048);
    for round in 0..2 {
        let base = round * records;
        let entries: Vec<_> = (1..=records).map(|index| entry("a", base + index)).collect();
        let writes = (0..records).map(|index| set(&key(index), value(base + index))).collect();
        commit(&**store, entries.clone(), writes).await.unwrap();
        assert_eq!(head(&**store), Sequence(base + records));
        assert!(log(&**store, base).await == entries);
        for index in 0..records {
            assert_eq!(get(&**store, &key(index)).await, Some(value(base + index)));
        }
    }
}

async fn a_batch_must_follow_on_the_head(store: &Arc<dyn Store>) {
    commit(&**store, vec![entry("a", 1)], Vec::new()).await.unwrap();
    let misplaced = Batch { first: Sequence(3), entries: vec![entry("a", 3)], writes: vec![set("Ja", "x")] };
    assert!(matches!(store.commit(FIRST, misplaced).await, Err(Error::Failed(_))));

    // The caller has lost count: it cannot go on.
    assert!(matches!(commit(&**store, vec![entry("a", 2)], Vec::new()).await, Err(Error::Failed(_))));
    assert!(store.settle(FIRST).await.is_err());
    assert_eq!(head(&**store), Sequence(1));
    assert_eq!(get(&**store, "Ja").await, None);
}

async fn entries_must_follow_on_each_other(store: &Arc<dyn Store>) {
    let entries = vec![entry("a", 2), entry("a", 2)];
    assert!(matches!(commit(&**store, entries, Vec::new()).await, Err(Error::Failed(_))));
    assert_eq!(log(&**store, 0).await, []);
}

async fn records_may_be_committed_without_entries(store: &Arc<dyn Store>) {
    commit(&**store, Vec::new(), vec![set("Ja", "one")]).await.unwrap();
    assert_eq!(head(&**store), Sequence(0));
    commit(&**store, vec![entry("a", 1)], Vec::new()).await.unwrap();
    commit(&**store, Vec::new(), vec![set("Ja", "two")]).await.unwrap();
    assert_eq!(head(&**store), Sequence(1));
    assert_eq!(get(&**store, "Ja").await.as_deref(), Some(&b"two"[..]));
    assert_eq!(sequences(&log(&**store, 0).await), [1]);
}

/// Three events, none, and two.
async fn an_entry_takes_a_sequence_for_each_event(store: &Arc<dyn Store>) {
    let entries = vec![entry("a", 3), LogRecord { bytes: Bytes::new(), ..entry("b", 4) }, entry("a", 6)];
    commit(&**store, entries.clone(), Vec::new()).await.unwrap();
    assert_eq!(head(&**store), Sequence(6));
    assert_eq!(log(&**store, 0).await, entries);
    // A place inside an entry is before the rest of it.
    let rows: [(u64, &[u64]); 7] =
        [(0, &[3, 4, 6]), (1, &[3, 4, 6]), (2, &[3, 4, 6]), (3, &[4, 6]), (4, &[6]), (5, &[6]), (6, &[])];
    for (after, expected) in rows {
        assert_eq!(sequences(&log(&**store, after).await), expected, "after {after}");
    }
}

/// The history never has it.
async fn what_is_transient_goes_with_the_log(store: &Arc<dyn Store>) {
    let transient = |bytes: &str, transient: Bytes, sequence| LogRecord {
        bytes: Bytes::copy_from_slice(bytes.as_bytes()),
        transient,
        ..entry("a", sequence)
    };
    let entries = vec![
        transient("kept", large(1, 20_000), 1),
        transient("", large(2, 20_000), 2),
        transient("also kept", Bytes::new(), 3),
    ];
    commit(&**store, entries.clone(), Vec::new()).await.unwrap();
    commit(&**store, vec![entry("b", 4)], Vec::new()).await.unwrap();
    assert_eq!(log(&**store, 0).await[..3], entries);
    let led_to = store.transient_log(FIRST, Sequence(0), usize::MAX).await.unwrap();
    let without = |record: &LogRecord| LogRecord { bytes: Bytes::new(), ..record.clone() };
    assert_eq!(led_to, log(&**store, 0).await.iter().map(without).collect::<Vec<_>>());
    let page = store.transient_log(FIRST, Sequence(1), 30_000).await.unwrap();
    assert_eq!(page.first().map(|record| record.sequence.0), Some(2), "a page holds one at least");
    let history = async || store.history(FIRST, &job("a"), Sequence(0), usize::MAX).await.unwrap();
    let kept = vec![transient("kept", Bytes::new(), 1), transient("also kept", Bytes::new(), 3)];
    assert_eq!(history().await, kept);
    store.trim(FIRST, Sequence(4)).await.unwrap();
    assert_eq!(sequences(&log(&**store, 3).await), [4]);
    assert_eq!(history().await, kept);
}

async fn the_log_is_read_in_pages(store: &Arc<dyn Store>) {
    // Entries of six bytes each, in batches of one, three and two.
    write_log(&**store, &[&[1], &[2, 3, 4], &[5, 6]]).await;
    for after in 0..=7_u64 {
        for bytes_max in 0..=40 {
            let page = store.log(FIRST, Sequence(after), bytes_max).await.unwrap();
            let count = 6_u64.saturating_sub(after).min((bytes_max as u64 / 6).max(1));
            let expected: Vec<_> = (after + 1..=after + count).collect();
            assert_eq!(sequences(&page), expected, "after {after}, {bytes_max} bytes");
        }
    }
}

/// The promise a watcher's cursor rests on: whoever sees head `n` can read every event up to `n` at once.
async fn a_visible_head_has_no_gaps_below_it(store: &Arc<dyn Store>) {
    const END: u64 = 300;
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut heads = store.head(FIRST);
                let mut read = 0;
                while read < END {
                    let seen = heads.borrow_and_update().0;
                    for record in log(&*store, read).await {
                        assert_eq!(record.sequence.0, read + 1);
                        read = record.sequence.0;
                    }
                    assert!(read >= seen, "head {seen} is visible, and the log ends at {read}");
                    let last = history(&*store, "a").await.last().copied().unwrap_or(0);
                    assert!(last >= seen, "head {seen} is visible, and the history ends at {last}");
                    let record = get(&*store, "Ja").await.map_or(0, |value| number(&value));
                    assert!(record >= seen, "head {seen} is visible, and the record is of {record}");
                    if read < END {
                        heads.changed().await.unwrap();
                    }
                }
            })
        })
        .collect();
    let mut sequence = 0;
    while sequence < END {
        let entries = vec![entry("a", sequence + 1), entry("a", sequence + 2)];
        sequence += 2;
        commit(&**store, entries, vec![set("Ja", sequence.to_string())]).await.unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

/// Two records that only change together never differ between two equal reads of one of them, small batch or large.
async fn a_batch_is_seen_whole(store: &Arc<dyn Store>) {
    const END: u64 = 40;
    let reader = {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut seen = 0;
            while seen < END {
                let before = get(&*store, "Ja").await.map_or(0, |value| number(&value));
                let between = get(&*store, "Sz").await.map_or(0, |value| number(&value));
                let large_value = get(&*store, "Sm").await;
                let after = get(&*store, "Ja").await.map_or(0, |value| number(&value));
                if before == after {
                    assert_eq!(between, before);
                    if let Some(value) = large_value {
                        assert!(value == large(usize::try_from(before).unwrap(), value.len()));
                    }
                }
                assert!(after >= seen, "a record went back");
                seen = after;
                tokio::task::yield_now().await;
            }
        })
    };
    for sequence in 1..=END {
        let length = if sequence % 4 == 0 { 600_000 } else { 20_000 };
        let value = large(usize::try_from(sequence).unwrap(), length);
        let number = sequence.to_string();
        let writes = vec![set("Ja", number.clone()), set("Sm", value), set("Sz", number)];
        commit(&**store, vec![entry("a", sequence)], writes).await.unwrap();
    }
    reader.await.unwrap();
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

async fn a_history_is_of_one_job(store: &Arc<dyn Store>) {
    // Names that are alike, in one organization and in two.
    let elsewhere = LogRecord { job: JobKey { org: "acm".into(), job_id: "ea".into() }, ..entry("x", 5) };
    let batches = [
        vec![entry("a", 1), entry("b", 2), entry("a", 4)],
        vec![elsewhere.clone(), entry("aa", 6)],
        vec![entry("a", 7)],
    ];
    for entries in batches {
        commit(&**store, entries, Vec::new()).await.unwrap();
    }
    for (job_id, expected) in [("a", &[1, 4, 7][..]), ("b", &[2]), ("aa", &[6]), ("c", &[])] {
        assert_eq!(history(&**store, job_id).await, expected, "{job_id}");
    }
    let found = store.history(FIRST, &elsewhere.job, Sequence(0), usize::MAX).await.unwrap();
    assert_eq!(found, [elsewhere]);

    // Trimming the log is nothing to it.
    store.trim(FIRST, Sequence(7)).await.unwrap();
    assert_eq!(store.oldest(FIRST), Sequence(7));
    assert_eq!(history(&**store, "a").await, [1, 4, 7]);
}

async fn a_history_is_read_in_pages(store: &Arc<dyn Store>) {
    write_log(&**store, &[&[1], &[2, 3, 5]]).await;
    let rows: [(u64, usize, &[u64]); 7] = [
        (0, usize::MAX, &[1, 2, 3, 5]),
        (0, 0, &[1]),
        (0, 13, &[1, 2]),
        (1, 12, &[2, 3]),
        (3, 12, &[5]),
        (4, 12, &[5]),
        (5, 12, &[]),
    ];
    for (after, bytes_max, expected) in rows {
        let page = store.history(FIRST, &job("a"), Sequence(after), bytes_max).await.unwrap();
        assert_eq!(sequences(&page), expected, "after {after}, {bytes_max} bytes");
        assert!(page.iter().all(|record| *record == entry("a", record.sequence.0)));
    }
}

async fn trimming_keeps_what_it_says(store: &Arc<dyn Store>) {
    write_log(&**store, &[&[1], &[2, 3, 4], &[5, 6], &[8]]).await;
    let rows =
        [(0, 1), (1, 1), (2, 2), (3, 2), (4, 2), (5, 5), (6, 5), (7, 7), (8, 7), (9, 7), (99, 7), (1, 7)];
    for (before, oldest) in rows {
        store.trim(FIRST, Sequence(before)).await.unwrap();
        assert_eq!(store.oldest(FIRST), Sequence(oldest), "trimmed before {before}");
        for after in 0..=8 {
            let outcome = store.log(FIRST, Sequence(after), usize::MAX).await;
            if after + 1 < oldest {
                let Err(Error::Trimmed { oldest: told }) = outcome else {
                    panic!("after {after}, trimmed before {before}: {outcome:?}");
                };
                assert_eq!(told, Sequence(oldest));
            } else {
                let expected: Vec<_> = [1, 2, 3, 4, 5, 6, 8].into_iter().filter(|&at| at > after).collect();
                assert_eq!(sequences(&outcome.unwrap()), expected, "after {after}, trimmed before {before}");
            }
        }
    }
    // The log goes on.
    write_log(&**store, &[&[9]]).await;
    assert_eq!(sequences(&log(&**store, 6).await), [8, 9]);
}

async fn trimming_forgets_deleted_jobs(store: &Arc<dyn Store>) {
    let batches = [
        vec![entry("a", 1), entry("b", 2), entry("aa", 3)],
        vec![entry("a", 4), deletion("a", 5), entry("b", 6)],
        vec![deletion("b", 7)],
    ];
    for entries in batches {
        commit(&**store, entries, Vec::new()).await.unwrap();
    }
    store.trim(FIRST, Sequence(4)).await.unwrap();
    assert_eq!(history(&**store, "a").await, [1, 4, 5]);
    let last = store.history(FIRST, &job("a"), Sequence(4), usize::MAX).await.unwrap();
    assert_eq!(last, [deletion("a", 5)]);
    assert_eq!(log(&**store, 4).await[0], deletion("a", 5));

    store.trim(FIRST, Sequence(99)).await.unwrap();
    assert_eq!(store.oldest(FIRST), Sequence(7));
    assert_eq!(history(&**store, "a").await, Vec::<u64>::new());
    assert_eq!(history(&**store, "aa").await, [3]);
    // Its deletion is in the newest batch, which stays.
    assert_eq!(history(&**store, "b").await, [2, 6, 7]);
}

/// More than a backend may remove in one go.
async fn trimming_many_deleted_jobs_ends(store: &Arc<dyn Store>) {
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        sequence
    };
    for _ in 0..10 {
        let entries = (0..60).map(|index| entry(if index % 2 == 0 { "a" } else { "b" }, next())).collect();
        commit(&**store, entries, Vec::new()).await.unwrap();
    }
    let large_entry = LogRecord { bytes: large(1, 300_000), ..entry("a", next()) };
    commit(&**store, vec![large_entry, deletion("a", next()), deletion("b", next())], Vec::new())
        .await
        .unwrap();
    commit(&**store, vec![entry("c", next())], Vec::new()).await.unwrap();

    store.trim(FIRST, Sequence(604)).await.unwrap();
    assert_eq!(store.oldest(FIRST), Sequence(604));
    assert_eq!(sequences(&log(&**store, 603).await), [604]);
    for (job_id, expected) in [("a", &[][..]), ("b", &[]), ("c", &[604])] {
        assert_eq!(history(&**store, job_id).await, expected, "{job_id}");
    }
}

async fn a_log_read_while_it_is_trimmed_has_no_gaps(store: &Arc<dyn Store>) {
    const END: u64 = 400;
    let reader = {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut read = 0;
            while read < END {
                match store.log(FIRST, Sequence(read), 200).await {
                    Ok(records) => {
                        for record in records {
                            assert_eq!(record.sequence.0, read + 1);
                            read = record.sequence.0;
                        }
                    }
                    // Its beginning is not always the oldest by now, but it never lies.
                    Err(Error::Trimmed { oldest }) => {
                        assert!(oldest.0 > read + 1 && oldest <= store.oldest(FIRST));
                        read = oldest.0 - 1;
                    }
                    Err(error) => panic!("{error}"),
                }
                tokio::task::yield_now().await;
            }
        })
    };
    for sequence in 1..=END {
        let value = if sequence % 3 == 0 { deletion("a", sequence) } else { entry("a", sequence) };
        commit(&**store, vec![value], vec![set("Ja", sequence.to_string())]).await.unwrap();
        if sequence % 8 == 0 {
            store.trim(FIRST, Sequence(sequence - 2)).await.unwrap();
        }
    }
    reader.await.unwrap();
}

async fn what_was_read_settles(store: &Arc<dyn Store>) {
    const END: u64 = 1_000;
    let reader = {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut seen = 0;
            while seen < END {
                seen = get(&*store, "Ja").await.map_or(0, |value| number(&value));
                store.settle(FIRST).await.unwrap();
                // One commit is one sequence here.
                let head = store.head(FIRST).borrow().0;
                assert!(head >= seen, "{seen} has settled, and the head is {head}");
                tokio::task::yield_now().await;
            }
        })
    };
    for sequence in 1..=END {
        commit(&**store, vec![entry("a", sequence)], vec![set("Ja", sequence.to_string())]).await.unwrap();
    }
    reader.await.unwrap();
}

async fn a_closed_store_was_in_order(store: &Arc<dyn Store>) {
    commit(&**store, vec![entry("a", 1)], vec![set("Ja", "one")]).await.unwrap();
    store.close().await.unwrap();
}

/// What is made of a store's items.
#[derive(Debug, Default, PartialEq)]
struct Picture {
    records: BTreeMap<Bytes, Bytes>,
    histories: BTreeMap<(JobKey, Sequence), LogRecord>,
    log: BTreeMap<Sequence, LogReference>,
    extent: Extent,
}

impl Picture {
    /// Each page is waited for beside `meanwhile`.
    async fn of(store: &dyn Store, mut meanwhile: impl AsyncFnMut()) -> Self {
        let mut export = store.export(FIRST).await.unwrap();
        let mut picture = Self::default();
        while let Some(items) = export.next().await.unwrap() {
            for item in items {
                match item {
                    Item::Record(key, Some(value)) => drop(picture.records.insert(key, value)),
                    Item::Record(key, None) => drop(picture.records.remove(&key)),
                    Item::Entry(entry) => {
                        picture.histories.insert((entry.job.clone(), entry.sequence), entry);
                    }
                    Item::Batch(batch) => picture
                        .log
                        .extend(batch.entries.into_iter().map(|entry| (Sequence(entry.sequence), entry))),
                }
            }
            meanwhile().await;
        }
        picture.extent = export.extent();
        picture
    }
}

async fn an_export_is_the_store(store: &Arc<dyn Store>) {
    let store = &**store;
    assert_eq!(
        Picture::of(store, async || {}).await,
        Picture { extent: Extent { oldest: Sequence(1), head: Sequence(0) }, ..Picture::default() }
    );
    let long = large(3, 300_000);
    let half = LogRecord { transient: long.clone(), ..entry("a", 1) };
    commit(store, vec![half, entry("b", 3)], vec![set("Ja", long.clone()), set("Jb", "x")]).await.unwrap();
    commit(
        store,
        vec![LogRecord { bytes: long.clone(), ..entry("a", 4) }],
        vec![remove("Jb"), set("Wz", "")],
    )
    .await
    .unwrap();
    commit(store, vec![entry("a", 5)], Vec::new()).await.unwrap();
    for trimmed in [false, true] {
        if trimmed {
            store.trim(FIRST, Sequence(5)).await.unwrap();
        }
        let picture = Picture::of(store, async || {}).await;
        let records = [("Ja", long.clone()), ("Wz", Bytes::new())];
        assert_eq!(picture.records, records.map(|(key, value)| (key.into(), value)).into());
        let oldest = Sequence(if trimmed { 5 } else { 1 });
        assert_eq!(picture.extent, Extent { oldest, head: Sequence(5) });
        assert_eq!(
            picture.log.keys().map(|at| at.0).collect::<Vec<_>>(),
            if trimmed { vec![5] } else { vec![1, 3, 4, 5] }
        );
        for name in ["a", "b"] {
            let history = store.history(FIRST, &job(name), Sequence(0), usize::MAX).await.unwrap();
            let of_job = picture.histories.iter().filter(|((of, _), _)| *of == job(name));
            assert_eq!(of_job.map(|(_, entry)| entry.clone()).collect::<Vec<_>>(), history);
        }
        if !trimmed {
            let logged = log(store, 0).await;
            assert_eq!(
                picture.log.into_values().collect::<Vec<_>>(),
                logged.iter().map(LogRecord::reference).collect::<Vec<_>>()
            );
        }
    }
}

/// Every commit adds one to each of many counters, at both ends of the keys; a trim waits meanwhile.
async fn an_export_of_a_busy_store_is_of_one_moment(store: &Arc<dyn Store>) {
    const KEYS: usize = 40;
    let stop = CancellationToken::new();
    let writer = {
        let (store, stop) = (Arc::clone(store), stop.clone());
        tokio::spawn(async move {
            let mut count = 0_usize;
            while !stop.is_cancelled() {
                count += 1;
                let counter = |index: usize| {
                    // Some large, some small, and now and then one is not there.
                    let value = (count % 7 != index % 7)
                        .then(|| Bytes::from(count.to_string().repeat(1 + 200 * index)));
                    (
                        Bytes::from(format!("{}{index}", if index.is_multiple_of(2) { 'A' } else { 'Y' })),
                        value,
                    )
                };
                let mut writes: Vec<_> = (0..KEYS).map(counter).collect();
                writes.push(set("W", count.to_string()));
                commit(&*store, vec![entry("a", count as u64)], writes).await.unwrap();
            }
        })
    };
    let mut heads = store.head(FIRST);
    heads.wait_for(|head| head.0 > 3).await.unwrap();
    let mut last = 0;
    for _ in 0..5 {
        let mut heads = store.head(FIRST);
        let picture = Picture::of(&**store, async || {
            let now = heads.borrow_and_update().0;
            heads.wait_for(|head| head.0 > now).await.unwrap();
        })
        .await;
        let count = picture.extent.head.0;
        assert!(count > last, "it goes on");
        last = count;
        assert_eq!(picture.log.keys().map(|at| at.0).collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
        assert_eq!(picture.histories.len() as u64, count);
        assert_eq!(picture.records[&b"W"[..]], count.to_string());
        for (key, value) in picture.records.iter().filter(|(key, _)| key.len() > 1) {
            let index: usize = std::str::from_utf8(&key[1..]).unwrap().parse().unwrap();
            assert_eq!(*value, count.to_string().repeat(1 + 200 * index), "{key:?}");
        }
        let there = (0..KEYS).filter(|index| count % 7 != (index % 7) as u64).count();
        assert_eq!(picture.records.len(), there + 1);
    }
    stop.cancel();
    writer.await.unwrap();
}
