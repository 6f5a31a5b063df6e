//! What is sled's own: what a restart finds, what is refused, and what is left behind.

mod damage;
mod ranges;
mod stopped;
mod values;

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;
use crate::{
    chance::Chance,
    store::{
        BackupInfo, BackupWriter, Extent, Item,
        conformance::{FIRST, commit, entry, get, head, job, large, log, remove, set},
    },
};

/// A directory that stores come and go in.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn try_open(&self) -> std::result::Result<SledStore, OpenError> {
        SledStore::open(self.directory.path(), &SledOptions::default())
    }

    fn open(&self) -> SledStore {
        self.try_open().unwrap()
    }

    #[track_caller]
    fn refusal(&self) -> OpenError {
        self.try_open().expect_err("the directory is not as it should be")
    }

    /// Closes a store, so that sled has all of it, and opens it again.
    async fn again(&self, store: SledStore) -> SledStore {
        store.close().await.unwrap();
        drop(store);
        self.open()
    }

    /// With something in it, closed.
    async fn written() -> Self {
        let place = Self::new();
        let store = place.open();
        commit(&store, vec![entry("a", 1), entry("a", 3)], vec![set("Ja", "one")]).await.unwrap();
        store.close().await.unwrap();
        place
    }
}

impl SledStore {
    fn fail_at(&self, step: Step) {
        *self.shared.failing.lock().unwrap() = Some(step);
    }

    /// How many keys sled has that begin with a letter.
    fn count(&self, table: u8) -> usize {
        self.shared.view.tree().scan_prefix([table]).count()
    }
}

#[tokio::test]
async fn a_restart_finds_everything() {
    let place = Place::new();
    let store = place.open();
    let id = store.id();
    for sequence in 1..=5 {
        let writes = vec![set("Ja", large(1, 10_000)), set(&format!("S{sequence}"), "x"), remove("S1")];
        commit(&store, vec![entry("a", sequence)], writes).await.unwrap();
    }
    store.trim(FIRST, Sequence(3)).await.unwrap();
    store.close().await.unwrap();
    assert!(commit(&store, vec![entry("a", 6)], Vec::new()).await.is_err());
    drop(store);

    // Once after a close, and once after none.
    for next in 6..8 {
        let store = place.open();
        assert_eq!(store.id(), id);
        assert_eq!(head(&store), Sequence(next - 1));
        assert_eq!(store.oldest(FIRST), Sequence(3));
        assert_eq!(log(&store, 2).await, (3..next).map(|at| entry("a", at)).collect::<Vec<_>>());
        assert_eq!(store.history(FIRST, &job("a"), Sequence(0), 1).await.unwrap(), [entry("a", 1)]);
        assert_eq!(get(&store, "Ja").await, Some(large(1, 10_000)));
        assert_eq!(get(&store, "S1").await, None);
        commit(&store, vec![entry("a", next)], vec![set("Sz", large(2, 9000))]).await.unwrap();
        assert_eq!(get(&store, "Ja").await, Some(large(1, 10_000)));
    }
}

#[tokio::test]
async fn the_witness_follows_each_commit() {
    let place = Place::written().await;
    let shown = || witness::read(&place.path("witness")).unwrap();
    assert_eq!(shown(), Some(1));
    let store = place.open();
    for number in 2..8 {
        commit(&store, Vec::new(), vec![set("Ja", number.to_string())]).await.unwrap();
        assert_eq!(shown(), Some(number));
    }
    drop(store);
    drop(place.open());
    assert_eq!(shown(), Some(7));
}

/// sled makes its file shorter in the background, and two such steps may come in the wrong order: then zeros are left.
#[tokio::test]
async fn zeros_that_sled_leaves_at_the_end_are_no_damage() {
    let place = Place::written().await;
    let store = place.open();
    let db = fs::File::options().write(true).open(place.path("sled/db")).unwrap();
    let length = db.metadata().unwrap().len().next_multiple_of(512 << 10);
    db.set_len(length + (512 << 10)).unwrap();
    commit(&store, vec![entry("a", 4)], Vec::new()).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    assert!(!place.open().is_suspect());
}

#[tokio::test]
async fn a_directory_has_one_store_at_a_time() {
    let place = Place::new();
    let store = place.open();
    assert!(matches!(place.refusal(), OpenError::Held { .. }));
    drop(store);
    place.open();
}

#[tokio::test]
async fn another_format_is_refused() {
    let place = Place::written().await;
    for other in [1, 2, 3, 4, 6] {
        fs::write(place.path("FORMAT"), format!("format {other}\nwhatever\n")).unwrap();
        assert!(matches!(place.refusal(), OpenError::Format { format, known: 5 } if format == other));
    }
}

#[tokio::test]
async fn damaged_small_files_are_refused() {
    for name in ["FORMAT", "witness"] {
        let place = Place::written().await;
        fs::write(place.path(name), "").unwrap();
        let refusal = place.refusal();
        assert!(matches!(&refusal, OpenError::Unreadable { file } if file.ends_with(name)), "{refusal}");
    }
}

#[tokio::test]
async fn data_without_a_format_is_refused() {
    let place = Place::written().await;
    fs::remove_file(place.path("FORMAT")).unwrap();
    assert!(matches!(place.refusal(), OpenError::Unformatted { .. }));
}

#[tokio::test]
async fn the_database_of_another_store_is_refused() {
    let place = Place::written().await;
    let other = Place::written().await;
    fs::copy(other.path("FORMAT"), place.path("FORMAT")).unwrap();
    assert!(matches!(place.refusal(), OpenError::Foreign { .. }));
}

#[tokio::test]
async fn an_emptied_database_is_refused() {
    let place = Place::written().await;
    fs::remove_dir_all(place.path("sled")).unwrap();
    assert!(matches!(place.refusal(), OpenError::Emptied));
    // It stays so, although sled has files again.
    assert!(matches!(place.refusal(), OpenError::Emptied));
}

#[tokio::test]
async fn a_store_behind_its_witness_is_refused() {
    let place = Place::written().await;
    fs::write(place.path("witness"), witness::whole(2)).unwrap();
    assert!(matches!(place.refusal(), OpenError::Behind { last: 1, witness: 2 }));
}

#[tokio::test]
async fn a_barrier_that_does_nothing_is_refused() {
    let place = Place::new();
    let opened = SledStore::open_with(place.directory.path(), &SledOptions::default(), &Barrier::unreached());
    assert!(matches!(opened, Err(OpenError::NotDurable)));
    drop(opened);
    place.open();
}

#[tokio::test]
async fn an_unfinished_snapshot_is_removed() {
    let place = Place::written().await;
    let snapshot = place.path("sled").join("snap.00000000000000FF.generating");
    fs::write(&snapshot, "half").unwrap();
    assert_eq!(head(&place.open()), Sequence(3));
    assert!(!snapshot.exists());
}

#[tokio::test]
async fn an_acknowledged_commit_is_in_the_journal() {
    let place = Place::new();
    let store = place.open();
    let journal = |first: u64| place.path("journal").join(format!("{first:016x}"));
    for sequence in 1..=3 {
        let before = fs::metadata(journal(1)).unwrap().len();
        commit(&store, vec![entry("a", sequence)], vec![set("Ja", sequence.to_string())]).await.unwrap();
        assert!(fs::metadata(journal(1)).unwrap().len() > before);
    }
    assert_eq!((store.count(b'J'), store.count(b'E')), (0, 0), "sled hears of it later");
    assert_eq!(get(&store, "Ja").await.as_deref(), Some(&b"3"[..]));
    drop(store);

    // As after a crash.
    let store = place.open();
    assert_eq!(head(&store), Sequence(3));
    assert_eq!(store.count(b'J'), 0);
    let store = place.again(store).await;
    assert_eq!((store.count(b'J'), store.count(b'E')), (1, 3));
    assert!(!journal(1).exists(), "sled has it");
    assert_eq!(log(&store, 0).await.len(), 3);
}

/// A batch with entries, small records, and a large one.
async fn commit_large(store: &SledStore) -> Result<()> {
    let first = head(store).next().0;
    let entries = (first..first + 300).map(|at| entry("b", at)).collect();
    let small = (0..400).map(|index| set(&format!("S{index}"), large(index, 1000)));
    let writes = small.chain([set("Ja", large(7, 500_000)), remove("Jb")]).collect();
    commit(store, entries, writes).await
}

/// Whatever of a checkpoint is in sled when it is cut off, the store is the same, and nothing is left over.
#[tokio::test]
async fn a_checkpoint_that_is_cut_off_is_done_again() {
    let place = Place::new();
    let store = place.open();
    commit(&store, vec![entry("a", 1)], vec![set("Ja", large(3, 20_000)), set("Jb", "two")]).await.unwrap();
    let store = place.again(store).await;
    commit_large(&store).await.unwrap();
    store.fail_at(Step::Checkpoint);
    store.close().await.unwrap_err();
    assert_eq!(store.count(b'S'), 400, "it was written in part");
    drop(store);

    let store = place.open();
    let look = async |store: &SledStore| {
        assert_eq!(head(store), Sequence(301));
        assert_eq!(log(store, 0).await.len(), 301);
        assert_eq!(get(store, "Ja").await, Some(large(7, 500_000)));
        assert_eq!(get(store, "Jb").await, None);
        for index in 0..400 {
            assert_eq!(get(store, &format!("S{index}")).await, Some(large(index, 1000)));
        }
    };
    look(&store).await;
    let taken = place.values_bytes();
    assert!(taken > 900_000, "{taken}");
    let store = place.again(store).await;
    look(&store).await;
    assert!(place.values_bytes() < taken + 10_000, "it is written over");
}

#[tokio::test]
async fn a_failed_sync_is_the_end() {
    let place = Place::new();
    let store = place.open();
    commit(&store, vec![entry("a", 1)], vec![set("Ja", "one")]).await.unwrap();
    store.fail_at(Step::Sync);
    let batch = |first| Batch {
        first: Sequence(first),
        entries: vec![entry("a", first)],
        writes: vec![set("Ja", "two")],
    };
    assert!(matches!(store.commit(FIRST, batch(2)).await, Err(Error::Failed(_))));
    assert_eq!(head(&store), Sequence(1));
    assert_eq!(log(&store, 0).await.len(), 1);

    // Also when syncing would work again.
    *store.shared.failing.lock().unwrap() = None;
    assert!(matches!(store.commit(FIRST, batch(2)).await, Err(Error::Failed(_))));
    assert!(matches!(store.trim(FIRST, Sequence(1)).await, Err(Error::Failed(_))));
    assert!(matches!(store.settle(FIRST).await, Err(Error::Failed(_))));
    assert!(store.close().await.is_err());
    assert_eq!(head(&store), Sequence(1));
}

#[tokio::test]
async fn a_failed_checkpoint_is_the_end() {
    let place = Place::new();
    let store = SledStore::open(
        place.directory.path(),
        &SledOptions { checkpoint_bytes: 1, ..SledOptions::default() },
    );
    let store = store.unwrap();
    store.fail_at(Step::Checkpoint);
    // At the latest the one that would be waited for too long is told.
    let mut outcomes = Vec::new();
    for at in 1..=9 {
        outcomes.push(commit(&store, vec![entry("a", at)], vec![set("Ja", "one")]).await);
    }
    assert!(outcomes[0].is_ok());
    assert!(matches!(outcomes[8], Err(Error::Failed(_))));
    assert!(matches!(store.settle(FIRST).await, Err(Error::Failed(_))));
    drop(store);
    assert_eq!(get(&place.open(), "Ja").await.as_deref(), Some(&b"one"[..]));
}

#[tokio::test]
async fn large_values_are_beside_sled() {
    let place = Place::new();
    let mut store = place.open();
    let mut sequence = 0;
    for value in [
        Some(large(1, 128)),
        Some(large(2, 129)),
        Some(Bytes::new()),
        Some(large(4, 3 << 20)),
        Some(large(5, 4096)),
        None,
    ] {
        sequence += 1;
        let write = (Bytes::from_static(b"Ja"), value.clone());
        commit(&store, vec![entry("a", sequence)], vec![write]).await.unwrap();
        store = place.again(store).await;
        assert_eq!(get(&store, "Ja").await, value);
        let stored = store.shared.view.tree().get("Ja").unwrap();
        let is_beside = value.as_ref().map(|value| value.len() > 128);
        assert_eq!(stored.map(|raw| value::place(b"Ja", &raw).unwrap().is_some()), is_beside);
    }
}

impl Place {
    /// The databases that are there.
    fn databases(&self) -> Vec<String> {
        let names = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name.starts_with("sled"));
        names.sort();
        names
    }

    /// What the files of values take.
    fn values_bytes(&self) -> u64 {
        let entries = fs::read_dir(self.path("values")).unwrap();
        // One may be gone by now.
        entries.map(|entry| entry.unwrap().metadata().map_or(0, |file| file.len())).sum()
    }

    fn database_bytes(&self) -> u64 {
        // One may be gone by now.
        let bytes = |name: &String| fs::metadata(self.path(name).join("db")).map_or(0, |file| file.len());
        self.databases().iter().map(bytes).sum()
    }
}

#[tokio::test]
async fn the_room_of_what_is_removed_comes_back() {
    let place = Place::new();
    let options =
        SledOptions { checkpoint_bytes: 100_000, compaction_bytes_min: 4 << 20, ..SledOptions::default() };
    let open = || SledStore::open(place.directory.path(), &options).unwrap();
    let store = open();
    let kept: Vec<_> = (0..3000).map(|index| set(&format!("K{index}"), large(index, 100))).collect();
    commit(&store, vec![entry("a", 1)], kept).await.unwrap();
    for index in 0..200 {
        let writes = (0..500).map(|key| set(&format!("R{index} {key}"), large(key, 100))).collect();
        commit(&store, Vec::new(), writes).await.unwrap();
    }
    assert!(place.database_bytes() > 15 << 20, "{}", place.database_bytes());
    for index in 0..200 {
        let writes = (0..500).map(|key| remove(&format!("R{index} {key}"))).collect();
        commit(&store, Vec::new(), writes).await.unwrap();
    }
    // It comes back while others write, and nothing else is lost with it.
    for round in 0..3000 {
        if place.database_bytes() < 10 << 20 {
            break;
        }
        let writes = (0..50).map(|index| set(&format!("J{index}"), large(round + index, 120))).collect();
        commit(&store, Vec::new(), writes).await.unwrap();
    }
    assert!(place.database_bytes() < 10 << 20, "{:?}: {}", place.databases(), place.database_bytes());
    let look = async |store: &SledStore| {
        for index in 0..3000 {
            assert_eq!(get(store, &format!("K{index}")).await, Some(large(index, 100)));
        }
        assert_eq!(get(store, "R7 7").await, None);
        assert_eq!(log(store, 0).await, [entry("a", 1)]);
    };
    look(&store).await;
    store.close().await.unwrap();
    drop(store);
    assert_ne!(place.databases(), ["sled"]);
    look(&open()).await;
}

/// Where less was written than it takes otherwise.
#[tokio::test]
async fn at_rest_it_comes_back_sooner() {
    const PATIENCE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);
    for (rest, has_another_commit) in [(HOUR, false), (SECOND, true), (SECOND, false)] {
        let comes_back = rest < HOUR;
        let place = Place::new();
        let options = SledOptions {
            checkpoint_bytes: 4096,
            compaction_bytes_min: 1 << 20,
            rest,
            ..SledOptions::default()
        };
        let store = SledStore::open(place.directory.path(), &options).unwrap();
        let key = |index| format!("J{index:04}");
        for some in 0..120 {
            let keys = (0..50).map(|index| set(&key(index * 120 + some), large(index, 100))).collect();
            commit(&store, Vec::new(), keys).await.unwrap();
        }
        // Less than half of it goes: of what is left, not twice as much was written.
        let gone = |index: &usize| index % 5 < 2;
        commit(&store, Vec::new(), (0..6000).filter(gone).map(|index| remove(&key(index))).collect())
            .await
            .unwrap();
        if has_another_commit {
            commit(&store, Vec::new(), vec![set("K", "waits for the next checkpoint")]).await.unwrap();
        }
        let is_as_it_was = || place.databases().contains(&"sled".to_owned());
        let has_spare = || place.directory.path().join("journal/spare").exists();
        let coming_back = async {
            while comes_back && (is_as_it_was() || (has_spare() && !has_another_commit)) {
                assert_eq!(get(&store, "J0003").await, Some(large(0, 100)));
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, coming_back).await.expect("nothing came back");
        assert!(has_spare() || !has_another_commit, "the next file of the journal is not written over it");
        store.close().await.unwrap();
        assert_eq!(has_spare(), !comes_back || has_another_commit);
        drop(store);
        let store = SledStore::open(place.directory.path(), &options).unwrap();
        assert_eq!(is_as_it_was(), !comes_back);
        for index in 0..6000 {
            let expected = (!gone(&index)).then(|| large(index / 120, 100));
            assert_eq!(get(&store, &key(index)).await, expected);
        }
    }
}

/// A store that writes what it has again and again, so that its database is written anew every so often.
struct Churn {
    place: Place,
    options: SledOptions,
    version: usize,
}

impl Churn {
    const KEYS: usize = 2000;
    const PASSES_MAX: usize = 500;

    fn new() -> Self {
        let options =
            SledOptions { checkpoint_bytes: 50_000, compaction_bytes_min: 1 << 20, ..SledOptions::default() };
        Self { place: Place::new(), options, version: 0 }
    }

    fn open(&self) -> SledStore {
        SledStore::open(self.place.directory.path(), &self.options).unwrap()
    }

    fn value(version: usize, index: usize) -> Bytes {
        large(index % 7 + version, 120)
    }

    /// Writes all keys anew.
    async fn pass(&mut self, store: &SledStore) -> crate::store::Result<()> {
        self.version += 1;
        let writes: Vec<_> = (0..Self::KEYS)
            .map(|index| set(&format!("J{index}"), Self::value(self.version, index)))
            .collect();
        for some in writes.chunks(50) {
            commit(store, Vec::new(), some.to_vec()).await?;
        }
        Ok(())
    }
}

/// Cut off at any moment, it leaves a store that is whole, and nothing else.
#[tokio::test]
async fn a_compaction_that_is_cut_off_leaves_nothing() {
    let mut churn = Churn::new();
    for round in 0..10 {
        let store = churn.open();
        assert_eq!(churn.place.databases().len(), 1, "{:?}", churn.place.databases());
        for index in (0..Churn::KEYS).filter(|_| round > 0) {
            let expected = Churn::value(churn.version, index);
            assert_eq!(get(&store, &format!("J{index}")).await, Some(expected), "round {round}");
        }
        let mut is_begun = false;
        for _ in 0..Churn::PASSES_MAX {
            churn.pass(&store).await.unwrap();
            is_begun = churn.place.databases().len() > 1;
            if is_begun {
                break;
            }
        }
        assert!(is_begun, "none was begun in round {round}");
    }
}

#[tokio::test]
async fn a_failed_compaction_is_the_end_and_says_why() {
    let mut churn = Churn::new();
    let store = churn.open();
    store.fail_at(Step::Compaction);
    let mut outcome = Ok(());
    for _ in 0..Churn::PASSES_MAX {
        outcome = churn.pass(&store).await;
        if outcome.is_err() {
            break;
        }
    }
    assert!(outcome.unwrap_err().to_string().contains("injected"));
    drop(store);
    churn.open();
}

/// Nothing more is acknowledged, whoever of the store has failed.
#[tokio::test]
async fn what_fails_between_checkpoints_is_the_end_for_commits() {
    let mut churn = Churn::new();
    let store = churn.open();
    store.fail_at(Step::Compaction);
    for _ in 0..Churn::PASSES_MAX {
        let _ = churn.pass(&store).await;
        if store.shared.durable.borrow().failure.is_some() {
            break;
        }
    }
    assert!(store.settle(FIRST).await.is_err());
    let outcome = commit(&store, Vec::new(), vec![set("Ja", "one")]).await;
    assert!(outcome.unwrap_err().to_string().contains("injected"));
}

/// Wherever a change is, in the journal alone, on its way, or in sled, it is read the same.
#[tokio::test]
async fn what_is_written_behind_is_read_as_if_it_were_there() {
    let place = Place::new();
    let options = SledOptions { checkpoint_bytes: 3000, compaction_bytes_min: 1, ..SledOptions::default() };
    let mut store = SledStore::open(place.directory.path(), &options).unwrap();
    let model = crate::store::MemoryStore::new();
    let mut chance = Chance::new(1);
    for round in 0..400 {
        let mut writes = std::collections::BTreeMap::new();
        for _ in 0..chance.below(30) {
            let value = (chance.below(3) > 0).then(|| large(chance.below(50), chance.below(200)));
            writes.insert(Bytes::from(format!("J{:03}", chance.below(300))), value);
        }
        let batch = Batch { first: Sequence(1), entries: Vec::new(), writes: writes.into_iter().collect() };
        model.commit(FIRST, batch.clone()).await.unwrap();
        store.commit(FIRST, batch).await.unwrap();
        if round % 40 == 39 {
            drop(store);
            store = SledStore::open(place.directory.path(), &options).unwrap();
        }
        let mut key = || format!("J{:03}", chance.below(300)).into_bytes();
        let (start, end) = (key(), key());
        let (reverse, limit) = (round % 2 == 0, if round % 3 == 0 { 7 } else { 1000 });
        let scan = Scan { start, end, reverse, limit };
        let found = store.scan(FIRST, scan.clone()).await.unwrap();
        assert_eq!(found, model.scan(FIRST, scan).await.unwrap(), "round {round}");
        for key in [key(), key()] {
            assert_eq!(store.get(FIRST, &key).await.unwrap(), model.get(FIRST, &key).await.unwrap());
        }
    }
}

/// A value as sled has it, and not the cache.
async fn read_of_sled(store: &SledStore, key: &str) -> Result<Vec<(Bytes, Bytes)>> {
    let (start, end) = (key.into(), [key.as_bytes(), &[0]].concat());
    store.scan(FIRST, Scan { start, end, reverse: false, limit: 1 }).await
}

/// While checkpoints end one after another, readers race to have what they read cached.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_read_is_never_older_than_what_was() {
    const VERSIONS: u64 = 601;
    let place = Place::new();
    // Databases and files come and go as well.
    let options = SledOptions { checkpoint_bytes: 1, compaction_bytes_min: 1, ..SledOptions::default() };
    let store = Arc::new(SledStore::open(place.directory.path(), &options).unwrap());
    let version =
        |value: Option<Bytes>| value.map_or(0, |value| u64::from_be_bytes(*value.first_chunk().unwrap()));
    let durable = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let (store, durable) = (Arc::clone(&store), Arc::clone(&durable));
            tokio::spawn(async move {
                let mut newest = 0;
                while newest < VERSIONS {
                    let at_least = newest.max(durable.load(Ordering::SeqCst));
                    newest = if reader < 2 {
                        version(store.get(FIRST, b"Ja").await.unwrap())
                    } else {
                        version(read_of_sled(&store, "Ja").await.unwrap().pop().map(|(_, value)| value))
                    };
                    assert!(newest >= at_least, "{newest} was read after {at_least}");
                }
            })
        })
        .collect();
    for at in 1..=VERSIONS {
        // Now and then the key is in no layer any more, only in sled.
        let key = if at % 3 == 1 { "Ja" } else { "Jother" };
        let value = Bytes::from([&at.to_be_bytes()[..], &[7; 300]].concat());
        commit(&*store, vec![entry("a", at)], vec![set(key, value)]).await.unwrap();
        if key == "Ja" {
            durable.store(at, Ordering::SeqCst);
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn a_flipped_bit_is_noticed() {
    let place = Place::new();
    let store = place.open();
    commit(&store, vec![entry("a", 1)], vec![set("Ja", "one"), set("Jb", large(1, 9000))]).await.unwrap();
    let store = place.again(store).await;
    let tree = store.shared.view.tree();

    let keys: Vec<_> = tree.iter().keys().map(std::result::Result::unwrap).collect();
    for key in keys.iter().filter(|key| key[0] != b'M') {
        let good = tree.get(key).unwrap().unwrap();
        let mut copies: Vec<_> = [0, 1, 5, good.len() - 1]
            .into_iter()
            .map(|index| {
                let mut bad = good.to_vec();
                bad[index] ^= 4;
                bad
            })
            .collect();
        copies.push(good[..4].to_vec());
        copies.push(Vec::new());
        for bad in copies {
            tree.insert(key, bad).unwrap();
            let outcomes = [
                read_of_sled(&store, "Ja").await.err(),
                read_of_sled(&store, "Jb").await.err(),
                store.log(FIRST, Sequence(0), 9).await.err(),
            ];
            let text: Vec<_> = outcomes.into_iter().flatten().map(|error| error.to_string()).collect();
            assert!(
                matches!(&text[..], [text] if text.contains(&key.escape_ascii().to_string())),
                "{}: {text:?}",
                key.escape_ascii(),
            );
        }
        tree.insert(key, good).unwrap();
    }
    assert_eq!(get(&store, "Jb").await, Some(large(1, 9000)));
}

#[tokio::test]
async fn a_value_is_not_taken_for_that_of_another_key() {
    let place = Place::new();
    let store = place.open();
    commit(&store, vec![entry("a", 1)], vec![set("Ja", "one"), set("Jb", "two")]).await.unwrap();
    let store = place.again(store).await;
    let value = store.shared.view.tree().get("Ja").unwrap().unwrap();
    store.shared.view.tree().insert("Jb", value).unwrap();
    assert!(matches!(store.get(FIRST, b"Jb").await, Err(Error::Corrupt(_))));
}

#[tokio::test]
async fn a_missing_entry_is_noticed() {
    let place = Place::new();
    let store = place.open();
    commit(&store, vec![entry("a", 1)], Vec::new()).await.unwrap();
    let store = place.again(store).await;
    store.shared.view.tree().remove(tables::entry(&job("a"), Sequence(1))).unwrap();
    assert!(matches!(store.log(FIRST, Sequence(0), 9).await, Err(Error::Corrupt(_))));
}

/// What a trim leaves when it is cut off after its first piece.
#[tokio::test]
async fn a_trim_cut_short_is_no_damage() {
    let place = Place::new();
    let store = place.open();
    for sequence in 1..=3 {
        commit(&store, vec![entry("a", sequence)], Vec::new()).await.unwrap();
    }
    let store = place.again(store).await;
    let tree = store.shared.view.tree();
    tree.insert(tables::OLDEST, value::encode(tables::OLDEST, &3_u64.to_be_bytes())).unwrap();
    tree.remove(tables::entry(&job("a"), Sequence(2))).unwrap();
    drop((store, tree));

    let store = place.open();
    assert_eq!(store.oldest(FIRST), Sequence(3));
    assert_eq!(log(&store, 2).await, [entry("a", 3)]);
    assert!(matches!(store.log(FIRST, Sequence(1), 9).await, Err(Error::Trimmed { .. })));
    store.trim(FIRST, Sequence(3)).await.unwrap();
    assert_eq!(place.again(store).await.count(b'L'), 1);
}

#[tokio::test]
#[should_panic(expected = "the keys are the caller's")]
async fn the_tables_of_the_backend_are_not_the_callers() {
    let place = Place::new();
    let store = place.open();
    commit(&store, vec![entry("a", 1)], vec![set("Ma", "one")]).await.unwrap();
}

/// A backup may have a key twice: as the scan met it, and as a commit left it.
#[tokio::test]
async fn of_what_a_backup_says_again_the_last_counts() {
    let (time, version) = (prost_types::Timestamp::default(), "1".to_owned());
    let info = BackupInfo { store: StoreId(uuid::Uuid::from_u128(7)), time, version, partitions: 1 };
    let (mut writer, begin) = BackupWriter::begin(&info);
    let record = |seed| Item::Record("Ja".into(), Some(large(seed, 20_000)));
    let items = writer.items(FIRST, vec![record(1), record(2)]);
    let again = writer.items(FIRST, vec![record(3)]);
    let (end, ..) = writer.end(&[Extent { oldest: Sequence(1), head: Sequence(0) }]);
    let backup = [&begin[..], &items[..], &again[..], &end[..]].concat();
    let place = Place::new();
    let reader = BackupReader::open(&*backup).unwrap();
    SledStore::restore(place.directory.path(), &SledOptions::default(), reader).unwrap();
    let inventory = fs::read_to_string(place.path("values/inventory-1")).unwrap();
    assert!(inventory.contains(" end 40060 live counted 20014\n"), "{inventory}");
    assert_eq!(get(&place.open(), "Ja").await, Some(large(3, 20_000)));
}
