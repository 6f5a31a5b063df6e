//! Large values, in files beside sled: what of them goes when, and what is noticed of damage to them.

use super::*;

/// How often something is tried that comes by itself.
const TRIES_MAX: usize = 2000;

impl Place {
    /// A store whose checkpoints and files are small.
    fn open_small(&self) -> SledStore {
        let options =
            SledOptions { checkpoint_bytes: 30_000, compaction_bytes_min: 100_000, ..SledOptions::default() };
        SledStore::open(self.directory.path(), &options).unwrap()
    }

    /// The names of the files of values, in order; or of their inventories.
    fn values(&self, are_inventories: bool) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("values")).unwrap().map(|entry| entry.unwrap().path());
        let is_inventory = |path: &PathBuf| path.to_str().unwrap().contains("inventory-");
        let mut paths: Vec<_> = entries.filter(|path| is_inventory(path) == are_inventories).collect();
        paths.sort();
        paths
    }
}

/// Waits for what comes by itself.
async fn soon(is_there: impl Fn() -> bool) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let there = async {
        while !is_there() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, there).await.expect("it does not come");
}

fn key(number: usize) -> String {
    format!("J{number:04}")
}

fn value(number: usize, version: usize) -> Bytes {
    large(number % 50 + version, if version.is_multiple_of(4) { 4000 } else { 900 })
}

/// A store whose keys are written again and again, each time but some of them; every fourth time far larger.
struct Mixed {
    place: Place,
    versions: [usize; Self::KEYS],
    version: usize,
}

impl Mixed {
    const KEYS: usize = 800;

    fn new() -> Self {
        Self { place: Place::new(), versions: [0; Self::KEYS], version: 0 }
    }

    async fn pass(&mut self, store: &SledStore) -> Result<()> {
        self.version += 1;
        let numbers =
            (0..Self::KEYS).filter(|number| !(number + self.version).is_multiple_of(8) || self.version == 1);
        for some in numbers.collect::<Vec<_>>().chunks(10) {
            let writes = some.iter().map(|number| set(&key(*number), value(*number, self.version)));
            commit(store, Vec::new(), writes.collect()).await?;
            for number in some {
                self.versions[*number] = self.version;
            }
        }
        Ok(())
    }

    /// What writes all keys again but every eighth.
    fn rewrite(&mut self, version: usize) -> Vec<(Bytes, Option<Bytes>)> {
        let rewritten = (0..Self::KEYS).filter(|number| !number.is_multiple_of(8));
        let write = |number| {
            self.versions[number] = version;
            set(&key(number), value(number, version))
        };
        rewritten.map(write).collect()
    }

    /// All of it, in a store that was closed.
    async fn written_once() -> Self {
        let mixed = Self::new();
        let all = (0..Self::KEYS).map(|number| set(&key(number), value(number, 0))).collect();
        let store = mixed.place.open_small();
        commit(&store, Vec::new(), all).await.unwrap();
        store.close().await.unwrap();
        mixed
    }

    /// What is needed of the files, by what was written; and what the inventory says, of a store that was closed.
    fn needed(&self) -> [usize; 2] {
        let record =
            |(number, version): (usize, &usize)| 12 + key(number).len() + value(number, *version).len();
        let [inventory] = &self.place.values(true)[..] else { panic!("one inventory") };
        let text = fs::read_to_string(inventory).unwrap();
        let said = text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap());
        [self.versions.iter().enumerate().map(record).sum(), said.sum()]
    }

    /// No less is said to be needed than is, of a store that was closed.
    fn check_bound(&self) {
        let [needed, said] = self.needed();
        assert!(said >= needed, "{said} where {needed} are needed");
    }

    /// All is there, and when it was counted as much is said to be needed as is.
    async fn check_count(&mut self) {
        let store = self.place.open_small();
        self.look(&store).await;
        let [needed, said] = self.close_counted(store).await;
        assert_eq!(said, needed);
    }

    /// Closes a store when what is needed of each file is counted, and says what [is needed](Self::needed).
    async fn close_counted(&mut self, mut store: SledStore) -> [usize; 2] {
        for _ in 0..TRIES_MAX {
            self.count_all(&store).await;
            store.close().await.unwrap();
            drop(store);
            // One may have been emptied just then, which was cut off.
            if self.is_counted() {
                return self.needed();
            }
            store = self.place.open_small();
        }
        panic!("a file is emptied whenever it is closed");
    }

    fn is_counted(&self) -> bool {
        // One may be gone by now.
        let inventories = self.place.values(true);
        let texts: Vec<_> = inventories.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
        !texts.is_empty() && texts.iter().all(|text| !text.contains("at-most"))
    }

    /// Goes on until what is needed of each file is counted.
    async fn count_all(&mut self, store: &SledStore) {
        for _ in 0..TRIES_MAX {
            self.pass(store).await.unwrap();
            if self.is_counted() {
                return;
            }
        }
        panic!("some are not counted");
    }

    /// Writes noise behind what counts of each file, and loses the files that do not count.
    fn spoil(&self) {
        let inventories = self.place.values(true);
        // The first is the one that counts where the second was not named yet, which is not known here.
        let [inventory] = &inventories[..] else { return };
        let text = fs::read_to_string(inventory).unwrap();
        for file in self.place.values(false) {
            let name = format!("file {} ", file.file_name().unwrap().to_str().unwrap());
            let line = text.lines().find(|line| line.starts_with(&name));
            let Some(line) = line else {
                fs::remove_file(file).unwrap();
                continue;
            };
            let end: usize = line.split(' ').nth(5).unwrap().parse().unwrap();
            let mut bytes = fs::read(&file).unwrap();
            bytes[end..].fill(0xa5);
            fs::write(file, bytes).unwrap();
        }
    }

    async fn look(&self, store: &SledStore) {
        for (number, version) in self.versions.iter().enumerate() {
            let found = get(store, &key(number)).await;
            assert!(found == Some(value(number, *version)), "{number}");
        }
    }
}

#[tokio::test]
async fn what_is_needed_is_kept_and_the_rest_goes() {
    let mut mixed = Mixed::new();
    let store = mixed.place.open_small();
    for _ in 0..41 {
        mixed.pass(&store).await.unwrap();
    }
    mixed.look(&store).await;
    store.close().await.unwrap();
    drop(store);
    // What is needed is some 1.2 MB, and 40 passes wrote 30.
    let taken = mixed.place.values_bytes();
    assert!(taken < 4_000_000, "{taken}");
    let store = mixed.place.open_small();
    mixed.look(&store).await;

    for some in (0..Mixed::KEYS).collect::<Vec<_>>().chunks(100) {
        let writes = some.iter().map(|number| remove(&key(*number))).collect();
        commit(&store, Vec::new(), writes).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    assert_eq!(mixed.place.values(false), [] as [PathBuf; 0], "nothing is needed any more");
    assert_eq!(mixed.place.values(true).len(), 1);
}

/// Wherever emptying a file is cut off, nothing is lost, and what it left does not stay.
#[tokio::test]
async fn a_file_that_is_emptied_in_part_is_emptied_again() {
    for step in [Step::Copied, Step::Led] {
        let mut mixed = Mixed::new();
        let store = mixed.place.open_small();
        mixed.pass(&store).await.unwrap();
        drop(store);
        for _ in 0..5 {
            let store = mixed.place.open_small();
            mixed.look(&store).await;
            store.fail_at(step);
            let mut passes = 0;
            while mixed.pass(&store).await.is_ok() {
                passes += 1;
                assert!(passes < TRIES_MAX, "no file was emptied");
            }
            // A commit that failed may be there or not: all are written again.
            mixed.version = 0;
            drop(store);
            let store = mixed.place.open_small();
            mixed.pass(&store).await.unwrap();
        }
        let store = mixed.place.open_small();
        for _ in 0..40 {
            mixed.pass(&store).await.unwrap();
        }
        mixed.look(&store).await;
        let [needed, said] = mixed.close_counted(store).await;
        assert_eq!(said, needed, "{step:?}");
        let taken = mixed.place.values_bytes();
        assert!(taken < 4_000_000, "{step:?}: {taken}");
    }
}

/// What a checkpoint has left that was cut off is behind what counts, where others would be put: so none are before it is gone.
#[tokio::test]
async fn no_file_is_emptied_while_sled_leads_to_leftovers() {
    let mut mixed = Mixed::written_once().await;
    // Some files could be emptied, and are not; then a checkpoint is cut off.
    for (step, version) in [(Step::Copied, 1), (Step::Checkpoint, 2)] {
        let store = mixed.place.open_small();
        store.fail_at(step);
        commit(&store, Vec::new(), mixed.rewrite(version)).await.unwrap();
        store.shared.durable.subscribe().wait_for(|durable| durable.failure.is_some()).await.unwrap();
    }

    let options = SledOptions { compaction_bytes_min: 100_000, ..SledOptions::default() };
    let store = SledStore::open(mixed.place.directory.path(), &options).unwrap();
    // Time for what must not be: none of it makes a checkpoint.
    for _ in 0..TRIES_MAX {
        commit(&store, Vec::new(), vec![remove("K")]).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    mixed.check_bound();
    mixed.check_count().await;
}

#[tokio::test]
async fn no_file_is_emptied_where_there_is_no_room_for_copies() {
    let mut mixed = Mixed::written_once().await;
    let store = mixed.place.open_small();
    store.shared.crowded.store(true, Ordering::SeqCst);
    commit(&store, Vec::new(), mixed.rewrite(1)).await.unwrap();
    let before = mixed.place.values(false);
    // Time for what must not be.
    for number in 0..TRIES_MAX / 4 {
        commit(&store, Vec::new(), vec![set("K", value(number, 1))]).await.unwrap();
    }
    let is_there = |path: &&PathBuf| path.exists();
    assert_eq!(before.iter().filter(is_there).count(), before.len());
    mixed.look(&store).await;

    store.shared.crowded.store(false, Ordering::SeqCst);
    for number in 0..TRIES_MAX {
        if before.iter().filter(is_there).count() < before.len() / 2 {
            return mixed.look(&store).await;
        }
        commit(&store, Vec::new(), vec![set("K", value(number, 1))]).await.unwrap();
    }
    panic!("no file is emptied");
}

/// Also where nothing is written after a start.
#[tokio::test]
async fn at_rest_files_are_emptied_sooner() {
    let mut mixed = Mixed::written_once().await;
    let options = |rest| SledOptions {
        checkpoint_bytes: 30_000,
        compaction_bytes_min: 4 << 20,
        rest,
        ..SledOptions::default()
    };
    let store = SledStore::open(mixed.place.directory.path(), &options(Duration::from_secs(3600))).unwrap();
    for version in 1..=3 {
        commit(&store, Vec::new(), mixed.rewrite(version)).await.unwrap();
    }
    let mut most = 0;
    // Time for what must not be.
    for _ in 0..TRIES_MAX {
        commit(&store, Vec::new(), vec![remove("K")]).await.unwrap();
        let bytes = mixed.place.values_bytes();
        most = most.max(bytes);
        assert!(bytes >= most * 2 / 3, "{bytes} of {most}");
    }
    store.close().await.unwrap();
    drop(store);

    let store = SledStore::open(mixed.place.directory.path(), &options(Duration::from_secs(1))).unwrap();
    soon(|| mixed.place.values_bytes() < most * 2 / 3).await;
    mixed.look(&store).await;
    store.close().await.unwrap();
    drop(store);
    mixed.check_bound();
}

/// What is counted after a start is said at once, and not with the next checkpoint, which may not come.
#[tokio::test]
async fn what_was_counted_is_noted() {
    let mut mixed = Mixed::written_once().await;
    let store = mixed.place.open_small();
    store.fail_at(Step::Checkpoint);
    commit(&store, Vec::new(), mixed.rewrite(1)).await.unwrap();
    store.shared.durable.subscribe().wait_for(|durable| durable.failure.is_some()).await.unwrap();
    drop(store);

    let before = mixed.place.values(true);
    let options = SledOptions { checkpoint_bytes: 30_000, ..SledOptions::default() };
    let store = SledStore::open(mixed.place.directory.path(), &options).unwrap();
    commit(&store, Vec::new(), mixed.rewrite(2)).await.unwrap();
    soon(|| mixed.place.values(true) != before && mixed.is_counted()).await;
    mixed.look(&store).await;
    store.close().await.unwrap();
    drop(store);
    let [needed, said] = mixed.needed();
    assert_eq!(said, needed);
}

/// Also where nothing is in the journal that would say so.
#[tokio::test]
async fn copies_that_sled_does_not_lead_to_are_not_counted() {
    let mut mixed = Mixed::new();
    let store = mixed.place.open_small();
    let at_once = |numbers: &mut dyn Iterator<Item = usize>, version| {
        numbers.map(|number| set(&key(number), value(number, version))).collect::<Vec<_>>()
    };
    commit(&store, Vec::new(), at_once(&mut (0..Mixed::KEYS), 0)).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = mixed.place.open_small();
    store.fail_at(Step::Copied);
    let numbers = || (0..Mixed::KEYS).filter(|number| number % 8 > 0);
    commit(&store, Vec::new(), at_once(&mut numbers(), 1)).await.unwrap();
    numbers().for_each(|number| mixed.versions[number] = 1);
    store.shared.durable.subscribe().wait_for(|durable| durable.failure.is_some()).await.unwrap();
    drop(store);

    let store = mixed.place.open_small();
    mixed.look(&store).await;
    mixed.version = 1;
    let [needed, said] = mixed.close_counted(store).await;
    assert_eq!(said, needed);
}

/// Cut off anywhere, by a failure or by being let go of, it has what was committed, and knows how much it needs, or more.
#[tokio::test]
async fn whatever_is_cut_off_is_there_again() {
    let mut chance = Chance::new(1);
    let mut mixed = Mixed::new();
    for life in 0..30 {
        let store = mixed.place.open_small();
        if life > 0 {
            mixed.look(&store).await;
        }
        let steps = [Step::Checkpoint, Step::Copied, Step::Led, Step::Compaction, Step::Sync];
        if let Some(step) = steps.get(chance.below(2 * steps.len())) {
            store.fail_at(*step);
        }
        for _ in 0..=chance.below(4) {
            if mixed.pass(&store).await.is_err() {
                break;
            }
        }
        drop(store);
        // What a power cut may leave where nothing counts.
        mixed.spoil();
        let store = mixed.place.open_small();
        // A commit that failed may be there or not: all are written again.
        mixed.version = 0;
        mixed.pass(&store).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let [needed, said] = mixed.needed();
        assert!(said >= needed, "{said} where {needed} are needed");
    }
}

/// What is needed to know when sled is to be written anew.
#[tokio::test]
async fn what_sled_has_is_counted() {
    let mut mixed = Mixed::new();
    for _ in 0..5 {
        let store = mixed.place.open_small();
        for _ in 0..7 {
            mixed.pass(&store).await.unwrap();
        }
        store.close().await.unwrap();
        let tree = store.shared.view.tree();
        let items = tree.iter().map(std::result::Result::unwrap);
        let bytes: usize =
            items.filter(|(key, _)| key[0] != b'M').map(|(key, stored)| key.len() + stored.len()).sum();
        let said = checkpoint::Checkpoint::read(&tree).unwrap().live_bytes;
        // The store's id, how often it was opened, and the checkpoint itself may be in it after a compaction.
        assert!((bytes..bytes + 200).contains(&usize::try_from(said).unwrap()), "{said} for {bytes}");
    }
}

/// A place on the disk that cannot be read is the end for what is there, and for nothing else.
#[tokio::test]
async fn a_file_that_cannot_be_read_is_left() {
    let mut mixed = Mixed::new();
    let store = mixed.place.open_small();
    mixed.pass(&store).await.unwrap();
    commit(&store, Vec::new(), vec![set("Ka", large(1, 900))]).await.unwrap();
    let store = mixed.place.again(store).await;
    drop(store);
    let store = mixed.place.open_small();
    let file = mixed.place.values(false).pop().unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_len(100).unwrap();
    for _ in 0..12 {
        mixed.pass(&store).await.unwrap();
    }
    assert!(file.exists());
    assert!(matches!(store.get(FIRST, b"Ka").await, Err(Error::Corrupt(_))));
    mixed.look(&store).await;
}

/// Who reads a database that another has taken the place of finds all that it leads to.
#[tokio::test]
async fn no_file_goes_while_a_former_database_is_read() {
    let mut mixed = Mixed::new();
    let store = mixed.place.open_small();
    mixed.pass(&store).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = mixed.place.open_small();
    let before = mixed.place.databases();
    let mut range = store.shared.view.range("J".."K", false);
    range.next().unwrap().unwrap();
    for _ in 0..TRIES_MAX {
        if mixed.place.databases().len() > 1
            && !fs::read_to_string(mixed.place.path("FORMAT")).unwrap().contains("database 0")
        {
            break;
        }
        mixed.pass(&store).await.unwrap();
    }
    assert_ne!(mixed.place.databases(), before);
    for _ in 0..3 {
        mixed.pass(&store).await.unwrap();
    }
    let rest: Vec<_> = range.map(std::result::Result::unwrap).collect();
    assert_eq!(rest.len(), Mixed::KEYS - 1);
}

/// What is said to be needed of a file is too much after a checkpoint that was cut off, until it is counted; and never too little.
#[tokio::test]
async fn what_a_crash_left_uncounted_is_counted() {
    let mut mixed = Mixed::new();
    let store = mixed.place.open_small();
    mixed.pass(&store).await.unwrap();
    for _ in 0..3 {
        mixed.pass(&store).await.unwrap();
    }
    let [needed, said] = mixed.close_counted(store).await;
    assert_eq!(said, needed, "each is known while nothing is cut off");

    for _ in 0..3 {
        let store = mixed.place.open_small();
        store.fail_at(Step::Checkpoint);
        // Written in part, and not noted.
        while mixed.pass(&store).await.is_ok() {}
        drop(store);
        // A commit that failed may be there or not: all are written again.
        mixed.version = 0;
        let store = mixed.place.open_small();
        mixed.pass(&store).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        mixed.check_bound();
    }
    mixed.check_count().await;
}

#[tokio::test]
async fn what_is_damaged_is_told_of_the_keys_that_have_it() {
    let place = Place::new();
    let store = place.open();
    let writes = (0..20).map(|number| set(&key(number), value(number, 1))).collect();
    commit(&store, Vec::new(), writes).await.unwrap();
    let store = place.again(store).await;
    let [file] = &place.values(false)[..] else { panic!("one file") };
    let good = fs::read(file).unwrap();
    for at in (32..good.len()).step_by(97) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(file, &bad).unwrap();
        let mut damaged = Vec::new();
        for number in 0..20 {
            match read_of_sled(&store, &key(number)).await {
                Ok(found) => assert_eq!(found[0].1, value(number, 1)),
                Err(error) => damaged.push((number, error.to_string())),
            }
        }
        let [(number, text)] = &damaged[..] else { panic!("{at}: {damaged:?}") };
        assert!(text.contains(&key(*number)), "{text}");
    }
}

/// A history goes by its keys: reading what goes would be most of the work.
#[tokio::test]
async fn a_history_that_is_damaged_goes_with_its_job() {
    let place = Place::new();
    let store = place.open();
    for sequence in 1..=20 {
        let bytes = large(usize::try_from(sequence).unwrap(), 900);
        let entry = LogRecord { bytes, deletes_job: sequence == 20, ..entry("a", sequence) };
        commit(&store, vec![entry], Vec::new()).await.unwrap();
    }
    commit(&store, vec![entry("b", 21)], Vec::new()).await.unwrap();
    let store = place.again(store).await;
    for file in place.values(false) {
        let header = fs::read(&file).unwrap()[..32].to_vec();
        let length = fs::metadata(&file).unwrap().len();
        fs::write(&file, header).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_len(length).unwrap();
    }
    let history = async || store.history(FIRST, &job("a"), Sequence(0), 1 << 20).await;
    assert!(matches!(history().await, Err(Error::Corrupt(_))));
    store.trim(FIRST, Sequence(21)).await.unwrap();
    assert_eq!(history().await.unwrap(), []);
}

/// What was at a place before, or in an older copy of the file, is whole by itself.
#[tokio::test]
async fn another_value_of_the_same_key_at_the_same_place_is_noticed() {
    let written = async |seed| {
        let place = Place::new();
        let store = place.open();
        commit(&store, Vec::new(), vec![set("Ja", large(seed, 900))]).await.unwrap();
        let store = place.again(store).await;
        (place, store)
    };
    let (place, store) = written(1).await;
    let (other, _) = written(2).await;
    let [file, other] = [&place, &other].map(|place| place.values(false)[0].clone());
    let header = 32;
    let bytes = [&fs::read(&file).unwrap()[..header], &fs::read(other).unwrap()[header..]].concat();
    fs::write(&file, bytes).unwrap();
    assert!(matches!(store.get(FIRST, b"Ja").await, Err(Error::Corrupt(_))));
}

/// Whoever needs it is told; nobody else is held up by it.
#[tokio::test]
async fn a_damaged_file_is_not_emptied() {
    let mut mixed = Mixed::new();
    let store = mixed.place.open_small();
    mixed.pass(&store).await.unwrap();
    let kept = vec![set("Ka", large(1, 900)), set("Kb", large(2, 900))];
    commit(&store, Vec::new(), kept).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let is_kept = |bytes: &[u8]| bytes.windows(2).any(|window| window == b"Ka");
    let files = mixed.place.values(false).into_iter();
    let mut files = files.map(|file| (fs::read(&file).unwrap(), file)).filter(|(bytes, _)| is_kept(bytes));
    let (mut bytes, file) = files.next().unwrap();
    let at = bytes.windows(2).position(|window| window == b"Ka").unwrap();
    // The length of the key, and what is behind it cannot be found by it.
    bytes[at - 6] ^= 0x40;
    fs::write(&file, bytes).unwrap();
    let store = mixed.place.open_small();
    for _ in 0..41 {
        mixed.pass(&store).await.unwrap();
    }
    assert!(file.exists());
    assert!(matches!(store.get(FIRST, b"Ka").await, Err(Error::Corrupt(_))));
    assert_eq!(get(&store, "Kb").await, Some(large(2, 900)));
    mixed.look(&store).await;
}

#[tokio::test]
async fn files_that_are_not_what_was_written_are_refused() {
    type Damage = fn(&std::path::Path);

    let written = async || {
        let place = Place::new();
        let store = place.open();
        commit(&store, Vec::new(), vec![set("Ja", large(1, 900))]).await.unwrap();
        place.again(store).await.close().await.unwrap();
        place
    };
    let damages: [(&str, Damage); 4] = [
        ("gone", |file| fs::remove_file(file).unwrap()),
        ("cut", |file| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("its beginning changed", |file| {
            let mut bytes = fs::read(file).unwrap();
            bytes[6] ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        ("empty", |file| fs::write(file, "").unwrap()),
    ];
    for are_inventories in [false, true] {
        for (what, damage) in damages {
            let place = written().await;
            let [file] = &place.values(are_inventories)[..] else { panic!("one file") };
            damage(file);
            let refusal = place.refusal();
            assert!(
                matches!(&refusal, OpenError::Unreadable { file: named } if named == file),
                "{what}: {refusal}"
            );
        }
    }
}

#[tokio::test]
async fn what_no_inventory_names_is_removed() {
    let place = Place::written().await;
    let others = ["values/inventory-99", "values/00000000000000ff", "values/1"].map(|name| place.path(name));
    for other in &others {
        fs::write(other, "left").unwrap();
    }
    assert_eq!(head(&place.open()), Sequence(3));
    assert!(others.iter().all(|other| !other.exists()));
}
