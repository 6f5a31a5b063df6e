//! What is sled's own: what a restart finds, what is refused, and what is left behind.

mod damage;
mod stopped;

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;
use crate::store::conformance::{FIRST, commit, entry, get, head, job, large, log, remove, set};

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

    /// How many keys the tables have that begin with a letter.
    fn count(&self, table: u8) -> usize {
        self.shared.tree.scan_prefix([table]).count()
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
    assert_eq!(shown(), Some(Sequence(3)));
    let store = place.open();
    for head in 4..10 {
        commit(&store, vec![entry("a", head)], Vec::new()).await.unwrap();
        assert_eq!(shown(), Some(Sequence(head)));
    }
    drop(store);
    drop(place.open());
    assert_eq!(shown(), Some(Sequence(9)));
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
async fn a_newer_format_is_refused() {
    let place = Place::written().await;
    fs::write(place.path("FORMAT"), "format 2\nwhatever\n").unwrap();
    assert!(matches!(place.refusal(), OpenError::Newer { format: 2, known: 1 }));
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
async fn a_database_behind_its_witness_is_refused() {
    let place = Place::written().await;
    fs::write(place.path("witness"), witness::whole(Sequence(4))).unwrap();
    let refusal = place.refusal();
    let expected = (Sequence(3), Sequence(4));
    assert!(matches!(refusal, OpenError::Behind { head, witness } if (head, witness) == expected));
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
async fn each_commit_reaches_the_barrier() {
    let place = Place::new();
    let store = place.open();
    let barrier = Barrier::of_process();
    for sequence in 1..=20 {
        let runtime = tokio::runtime::Handle::current();
        let batch =
            Batch { first: Sequence(sequence), entries: vec![entry("a", sequence)], writes: Vec::new() };
        let committing = || {
            std::thread::scope(|scope| {
                scope.spawn(|| runtime.block_on(store.commit(FIRST, batch))).join().unwrap()
            })
        };
        assert!(barrier.is_reached_by(committing).unwrap());
    }
}

#[tokio::test]
async fn an_unfinished_snapshot_is_removed() {
    let place = Place::written().await;
    let snapshot = place.path("sled").join("snap.00000000000000FF.generating");
    fs::write(&snapshot, "half").unwrap();
    assert_eq!(head(&place.open()), Sequence(3));
    assert!(!snapshot.exists());
}

/// A batch that takes more than one step, in entries, small records, and a large one.
async fn commit_large(store: &SledStore) -> Result<()> {
    let first = head(store).next().0;
    let entries = (first..first + 300).map(|at| entry("b", at)).collect();
    let small = (0..400).map(|index| set(&format!("S{index}"), large(index, 1000)));
    let writes = small.chain([set("Ja", large(7, 500_000)), remove("Jb")]).collect();
    commit(store, entries, writes).await
}

async fn store_before_a_large_commit(place: &Place) -> SledStore {
    let store = place.open();
    let writes = vec![set("Ja", large(3, 20_000)), set("Jb", "two")];
    commit(&store, vec![entry("a", 1)], writes).await.unwrap();
    store
}

#[tokio::test]
async fn a_commit_staged_in_part_is_removed_at_open() {
    let place = Place::new();
    let store = store_before_a_large_commit(&place).await;
    store.fail_at(Step::Mark);
    commit_large(&store).await.unwrap_err();
    assert!(store.count(b'Z') > 100);
    drop(store);

    let store = place.open();
    assert_eq!(store.count(b'Z'), 0);
    assert_eq!(store.count(b'S'), 0);
    assert_eq!(head(&store), Sequence(1));
    assert_eq!(get(&store, "Ja").await, Some(large(3, 20_000)));
    assert_eq!(get(&store, "Jb").await.as_deref(), Some(&b"two"[..]));
}

#[tokio::test]
async fn a_staged_commit_that_counts_is_applied_at_open() {
    let place = Place::new();
    let store = store_before_a_large_commit(&place).await;
    store.fail_at(Step::Apply);
    commit_large(&store).await.unwrap_err();
    assert_eq!(head(&store), Sequence(1));
    assert_eq!(store.count(b'S'), 0);
    drop(store);

    let store = place.open();
    assert_eq!(store.count(b'Z'), 0);
    assert_eq!(store.count(b'X'), 500_000_usize.div_ceil(4091));
    assert_eq!(head(&store), Sequence(301));
    assert_eq!(log(&store, 0).await.len(), 301);
    assert_eq!(get(&store, "Ja").await, Some(large(7, 500_000)));
    assert_eq!(get(&store, "Jb").await, None);
    for index in 0..400 {
        assert_eq!(get(&store, &format!("S{index}")).await, Some(large(index, 1000)));
    }
    commit_large(&store).await.unwrap();
    assert_eq!(store.count(b'Z'), 0);
}

#[tokio::test]
async fn a_failed_flush_is_the_end() {
    let place = Place::new();
    let store = place.open();
    commit(&store, vec![entry("a", 1)], vec![set("Ja", "one")]).await.unwrap();
    store.fail_at(Step::Flush);
    let batch = |first| Batch {
        first: Sequence(first),
        entries: vec![entry("a", first)],
        writes: vec![set("Ja", "two")],
    };
    assert!(matches!(store.commit(FIRST, batch(2)).await, Err(Error::Failed(_))));
    assert_eq!(head(&store), Sequence(1));
    assert_eq!(log(&store, 0).await.len(), 1);

    // Also when flushing would work again.
    *store.shared.failing.lock().unwrap() = None;
    assert!(matches!(store.commit(FIRST, batch(2)).await, Err(Error::Failed(_))));
    assert!(matches!(store.trim(FIRST, Sequence(1)).await, Err(Error::Failed(_))));
    assert!(matches!(store.settle(FIRST).await, Err(Error::Failed(_))));
    assert!(store.close().await.is_err());
    assert_eq!(head(&store), Sequence(1));
}

#[tokio::test]
async fn chunks_go_with_their_value() {
    let place = Place::new();
    let store = place.open();
    let mut sequence = 0;
    let mut put = async |value: Option<Bytes>| {
        sequence += 1;
        let write = (Bytes::from_static(b"Ja"), value);
        commit(&store, vec![entry("a", sequence)], vec![write]).await.unwrap();
        store.count(b'X')
    };
    assert_eq!(put(Some(large(1, 4091))).await, 0);
    assert_eq!(put(Some(large(2, 4092))).await, 2);
    assert_eq!(put(Some(large(3, 40_910))).await, 10);
    assert_eq!(put(Some(large(4, 1 << 20))).await, 257);
    assert_eq!(put(Some(large(5, 40_911))).await, 11);
    assert_eq!(put(Some(large(6, 1))).await, 0);
    assert_eq!(put(Some(large(7, 9000))).await, 3);
    assert_eq!(put(None).await, 0);
}

#[tokio::test]
async fn a_flipped_bit_is_noticed() {
    let place = Place::new();
    let store = place.open();
    commit(&store, vec![entry("a", 1)], vec![set("Ja", "one"), set("Jb", large(1, 9000))]).await.unwrap();
    let tree = &store.shared.tree;

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
                store.get(FIRST, b"Ja").await.err(),
                store.get(FIRST, b"Jb").await.err(),
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
    let value = store.shared.tree.get("Ja").unwrap().unwrap();
    store.shared.tree.insert("Jb", value).unwrap();
    assert!(matches!(store.get(FIRST, b"Jb").await, Err(Error::Corrupt(_))));
}

#[tokio::test]
async fn a_missing_entry_or_chunk_is_noticed() {
    let place = Place::new();
    let store = place.open();
    commit(&store, vec![entry("a", 1)], vec![set("Ja", large(1, 9000))]).await.unwrap();
    store.shared.tree.remove(tables::chunk(0, 1)).unwrap();
    assert!(matches!(store.get(FIRST, b"Ja").await, Err(Error::Corrupt(_))));
    store.shared.tree.remove(tables::entry(&job("a"), Sequence(1))).unwrap();
    assert!(matches!(store.log(FIRST, Sequence(0), 9).await, Err(Error::Corrupt(_))));
}

/// What a trim leaves when it is cut off after its first step.
#[tokio::test]
async fn a_trim_cut_short_is_no_damage() {
    let place = Place::new();
    let store = place.open();
    for sequence in 1..=3 {
        commit(&store, vec![entry("a", sequence)], Vec::new()).await.unwrap();
    }
    let tree = &store.shared.tree;
    tree.insert(tables::OLDEST, value::encode(tables::OLDEST, &3_u64.to_be_bytes())).unwrap();
    tree.remove(tables::entry(&job("a"), Sequence(2))).unwrap();
    drop(store);

    let store = place.open();
    assert_eq!(store.oldest(FIRST), Sequence(3));
    assert_eq!(log(&store, 2).await, [entry("a", 3)]);
    assert!(matches!(store.log(FIRST, Sequence(1), 9).await, Err(Error::Trimmed { .. })));
    store.trim(FIRST, Sequence(3)).await.unwrap();
    assert_eq!(store.count(b'L'), 1);
}

#[tokio::test]
#[should_panic(expected = "the keys are the caller's")]
async fn the_tables_of_the_backend_are_not_the_callers() {
    let place = Place::new();
    let store = place.open();
    commit(&store, vec![entry("a", 1)], vec![set("Ma", "one")]).await.unwrap();
}
