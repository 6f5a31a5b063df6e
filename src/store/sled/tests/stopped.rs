//! A store at work, stopped at any moment and looked at as the next start would: what it has left by then is what a kill
//! leaves, and is not taken for damage. Now and then it is killed, also while it opens, and must be whole.
//!
//! `HOLDPOINT_STOPS` sets how often it is stopped. Needs Linux, which tells when all threads of a process stand still.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use futures_util::future::join;

use super::*;

const STOPS: u64 = 60;
const STOPS_PER_KILL: u64 = 20;
/// sled leaves some zeros that are noted within a second. In so many looks they must be.
const LOOKS_MAX: usize = 100;
/// How often a process is asked whether it stands still.
const ASKED_MAX: usize = 50_000;

const DIRECTORY: &str = "HOLDPOINT_STOPPED_DIRECTORY";
const THIS_TEST: &str = "store::sled::tests::stopped::what_a_kill_leaves_is_not_taken_for_damage";

/// Jobs that come, change and go, in batches.
#[derive(Default)]
struct Load {
    head: u64,
    made: u64,
    jobs: Vec<u64>,
    records: BTreeMap<Bytes, Bytes>,
}

impl Load {
    fn next(&mut self, chance: &mut Chance) -> Batch {
        let first = Sequence(self.head + 1);
        let mut writes = BTreeMap::new();
        let mut entries = Vec::new();
        for _ in 0..=chance.below(24) {
            self.head += 1;
            let (number, deletes_job) = self.choose(chance);
            // Spread over the keys.
            let id = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let bytes = large(0, 300 + chance.below(3000));
            entries.push(LogRecord { deletes_job, bytes, ..entry(&id, self.head) });
            let mut write = |key: String, one_in: u64, length: usize| {
                if deletes_job || chance.below(one_in) == 0 {
                    let value =
                        (!deletes_job).then(|| large(chance.below(250), length + chance.below(length)));
                    writes.insert(Bytes::from(key), value);
                }
            };
            write(format!("J{id}"), 1, 500);
            (0..8).for_each(|step| write(format!("S{id} {step}"), 3, 300));
            write(format!("R{id}"), 20, 10_000);
        }
        for (key, value) in &writes {
            match value {
                Some(value) => self.records.insert(key.clone(), value.clone()),
                None => self.records.remove(key),
            };
        }
        Batch { first, entries, writes: writes.into_iter().collect() }
    }

    /// A job, and whether it goes.
    fn choose(&mut self, chance: &mut Chance) -> (u64, bool) {
        let lot = chance.below(10);
        if self.jobs.len() < 20 || (lot < 3 && self.jobs.len() < 600) {
            self.made += 1;
            self.jobs.push(self.made);
            return (self.made, false);
        }
        let at = chance.below(self.jobs.len());
        if lot < 6 { (self.jobs.swap_remove(at), true) } else { (self.jobs[at], false) }
    }
}

/// Opens a store, looks whether it is whole, and works on it without end.
fn work(directory: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // sled is written without a pause, and stays where it is.
    let options =
        SledOptions { checkpoint_bytes: 100_000, compaction_bytes_min: u64::MAX, ..SledOptions::default() };
    let store = SledStore::open(directory, &options).unwrap();
    let (mut load, mut chance) = (Load::default(), Chance::new(1));
    let reached = head(&store).0;
    while load.head < reached {
        load.next(&mut chance);
    }
    assert_eq!(load.head, reached, "commits are there as a whole");
    let scan =
        |table: u8| Scan { start: vec![table], end: vec![table + 1], reverse: false, limit: usize::MAX };
    let records = b"JRS".iter().flat_map(|table| runtime.block_on(store.scan(FIRST, scan(*table))).unwrap());
    assert!(records.eq(load.records.clone()), "records are lost or old");
    println!("\nopen at {reached}");
    // Not longer than whoever began it.
    thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
    runtime.block_on(async {
        loop {
            let before = Sequence(load.head.saturating_sub(300));
            let commits = async {
                for _ in 0..20 {
                    store.commit(FIRST, load.next(&mut chance)).await.unwrap();
                }
            };
            join(commits, async { store.trim(FIRST, before).await.unwrap() }).await;
        }
    });
}

/// A process that works on a store. Dropping it kills it.
struct Worker(Child);

impl Worker {
    fn spawn(directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", THIS_TEST, "--nocapture"]).env(DIRECTORY, directory);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until the store is open.
    fn opened(&mut self) {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        assert!(lines.map_while(std::io::Result::ok).any(|line| line.starts_with("open at")), "it is whole");
    }

    fn signal(&self, signal: &str) {
        let told = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    fn stop(&self) {
        self.signal("-STOP");
        assert!((0..ASKED_MAX).any(|_| self.stands_still()), "it does not stop");
    }

    fn stands_still(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        threads.flatten().all(|thread| {
            let state = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            state.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a start would take what is there for damaged.
fn is_doubted(directory: &Path) -> bool {
    // What is noted, apart: the directory itself is held.
    let noted = tempfile::tempdir().unwrap();
    // It is not there while sled is opened.
    let _ = fs::copy(directory.join("empty"), noted.path().join("empty"));
    let empty = Directory::hold(noted.path()).unwrap().empty_segments().unwrap();
    match segments::check(&directory.join("sled"), empty.as_ref()) {
        Ok(()) => false,
        Err(OpenError::Unreadable { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_a_kill_leaves_is_not_taken_for_damage() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return work(Path::new(&directory));
    }
    if !cfg!(target_os = "linux") {
        println!("skipped: it needs Linux");
        return;
    }
    let stops = std::env::var("HOLDPOINT_STOPS").map_or(STOPS, |text| text.parse().unwrap());
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("data");
    let mut chance = Chance::new(stops);
    let (mut doubts, mut kills, mut killed_in_doubt) = (0, 0, 0);
    let mut kill = |worker: Worker| {
        drop(worker);
        kills += 1;
        killed_in_doubt += u64::from(is_doubted(&directory));
    };
    for _ in 0..stops.div_ceil(STOPS_PER_KILL) {
        let mut worker = Worker::spawn(&directory);
        worker.opened();
        for _ in 0..STOPS_PER_KILL {
            let settled = (0..LOOKS_MAX).find(|_| {
                thread::sleep(Duration::from_micros(chance.below(20_000)));
                worker.stop();
                let is_doubted = is_doubted(&directory);
                worker.signal("-CONT");
                !is_doubted
            });
            doubts += u64::from(settled.expect("what sled leaves is known after a while") > 0);
        }
        kill(worker);
        let opening = Worker::spawn(&directory);
        thread::sleep(Duration::from_micros(chance.below(400_000)));
        kill(opening);
    }
    println!(
        "stopped {stops} times, {doubts} times in doubt for a while; {kills} kills, {killed_in_doubt} in doubt"
    );
    assert!(
        killed_in_doubt <= 1 + kills / 50,
        "{killed_in_doubt} of {kills} kills left what is taken for damage"
    );
}
