//! What damage to its files does to a store: it starts right, or refuses, or says that it cannot read, and never gives a
//! wrong answer.
//!
//! A case is a number: which store it is about, and what is done to its files. Each is looked at in a process of its own,
//! since sled has threads that panic and state that stays. `HOLDPOINT_CORRUPTION_CASES` runs more than the usual number,
//! from `HOLDPOINT_CORRUPTION_SEED` on. What a case does is always the same; sled's files differ a little from run to run.

use std::{
    collections::BTreeMap,
    fmt, fs,
    panic::{self, AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use self::files::{Damage, copy};
use super::*;
use crate::store::conformance::{FIRST, entry, job, large};

#[path = "../../../../tests/shared/damage.rs"]
mod files;

/// How many cases are run where nothing else is asked for.
const CASES: u64 = 24;
/// What a process may take, in KiB, and how long: far more than any needs.
const MEMORY_KIB_MAX: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

const DIRECTORY: &str = "HOLDPOINT_DAMAGE_DIRECTORY";
const TASK: &str = "HOLDPOINT_DAMAGE_TASK";
const THIS_TEST: &str = "store::sled::tests::damage::damage_is_never_a_wrong_answer";

/// How a store came to be: it was run once for each letter, and each run ended as the letter says.
///
/// `c` closed, `k` killed. A run that is killed does not begin where nothing was written.
const HISTORIES: [&str; 4] = ["c", "k", "cc", "ck"];
/// How many commits a run makes.
const COMMITS: u64 = 150;
const JOBS: u64 = 60;

/// What a store should hold.
#[derive(Default)]
struct Model {
    records: BTreeMap<Bytes, Bytes>,
    entries: Vec<LogRecord>,
    /// The last sequences of the batches.
    batches: Vec<Sequence>,
    oldest: u64,
}

impl Model {
    fn head(&self) -> Sequence {
        self.batches.last().copied().unwrap_or_default()
    }

    /// The batch that comes next.
    fn next(&mut self, chance: &mut Chance) -> Batch {
        let first = self.head().next();
        let mut writes = BTreeMap::new();
        let mut entries = Vec::new();
        for offset in 0..=chance.below(3) {
            let at = first.0 + offset;
            let job_id = format!("j{:03}", chance.below(JOBS));
            let mut record = entry(&job_id, at);
            record.bytes = large(chance.below(100), 200 + chance.below(3000));
            entries.push(record);
            let value = |chance: &mut Chance, length: usize| {
                let noise = chance.next().to_be_bytes();
                Bytes::from([&noise[..], &large(chance.below(200), length)].concat())
            };
            let length = chance.below(1500);
            writes.insert(format!("J{job_id}"), Some(value(chance, length)));
            for _ in 0..chance.below(3) {
                let key = format!("S{job_id} {}", chance.below(9));
                let length = chance.below(600);
                let removes = chance.below(6) == 0;
                writes.insert(key, (!removes).then(|| value(chance, length)));
            }
            if chance.below(8) == 0 {
                let most = if chance.below(10) == 0 { 300_000 } else { 20_000 };
                let length = 5000 + chance.below(most);
                writes.insert(format!("R{job_id}"), Some(value(chance, length)));
            }
        }
        let writes: Vec<_> = writes.into_iter().map(|(key, value)| (Bytes::from(key), value)).collect();
        for (key, value) in &writes {
            match value {
                Some(value) => self.records.insert(key.clone(), value.clone()),
                None => self.records.remove(key),
            };
        }
        self.batches.push(entries.last().unwrap().sequence);
        self.entries.extend(entries.iter().cloned());
        Batch { first, entries, writes }
    }

    /// The runs up to one, and the batches of each.
    fn run(&mut self, run: u64, mut with: impl FnMut(Batch)) {
        let mut chance = Chance::new(run + 1000);
        for _ in 0..COMMITS {
            with(self.next(&mut chance));
        }
    }

    /// What is trimmed at the end of a run.
    fn trim(&mut self) -> Sequence {
        let before = Sequence(self.head().0 / 2);
        let trimmed = self.batches.iter().filter(|last| **last < before).max();
        self.oldest = trimmed.map_or(1, |last| last.next().0);
        before
    }
}

/// Makes the runs of a history in a directory; ends as its last letter says.
fn build(directory: &Path, history: &str, from: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut model = Model::default();
    for (run, end) in history.chars().enumerate() {
        if run < from {
            model.run(run as u64, |_| ());
            model.trim();
            continue;
        }
        // Some checkpoints in each run, and something left in the journal.
        let options = SledOptions { checkpoint_bytes: 200_000, ..SledOptions::default() };
        let store = SledStore::open(directory, &options).unwrap();
        model.run(run as u64, |batch| runtime.block_on(store.commit(FIRST, batch)).unwrap());
        runtime.block_on(store.trim(FIRST, model.trim())).unwrap();
        match end {
            'c' => runtime.block_on(store.close()).unwrap(),
            // As SIGKILL: nothing is finished first.
            _ => std::process::abort(),
        }
    }
}

/// What a look at a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Findings {
    refused: Option<String>,
    unreadable: Vec<String>,
    panicked: Vec<String>,
    wrong: Vec<String>,
}

impl Findings {
    fn take<T: PartialEq>(&mut self, what: &str, expected: &T, read: impl FnOnce() -> Result<T>) {
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Ok(found)) if found == *expected => {}
            Ok(Ok(_)) => self.wrong.push(what.to_owned()),
            Ok(Err(error)) => self.unreadable.push(format!("{what}: {error}")),
            Err(_) => self.panicked.push(what.to_owned()),
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(refused) = &self.refused {
            return write!(f, "refused {refused}");
        }
        for (word, list) in
            [("WRONG", &self.wrong), ("PANIC", &self.panicked), ("unreadable", &self.unreadable)]
        {
            if let Some(first) = list.first() {
                return write!(f, "{word} {} {first}", list.len());
            }
        }
        write!(f, "right")
    }
}

/// Reads all that a store should hold; then, if it does, writes to it, and looks once more.
fn look(directory: &Path, history: &str) -> Findings {
    let mut model = Model::default();
    for run in 0..history.len() as u64 {
        model.run(run, |_| ());
        model.trim();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut findings = Findings::default();
    for batches in 0..2 {
        let store = match SledStore::open(directory, &SledOptions::default()) {
            // Whoever opens it looks at all of it before it is believed.
            Ok(store) if store.is_suspect() => {
                return Findings { refused: Some("suspect".to_owned()), ..findings };
            }
            Ok(store) => store,
            Err(error) if batches == 0 => return Findings { refused: Some(error.to_string()), ..findings },
            Err(error) => return Findings { wrong: vec![format!("open again: {error}")], ..findings },
        };
        read_all(&runtime, &store, &model, &mut findings);
        if findings != Findings::default() {
            break;
        }
        let batch = model.next(&mut Chance::new(77 + batches));
        findings.take("commit", &(), || runtime.block_on(store.commit(FIRST, batch)));
        findings.take("close", &(), || runtime.block_on(store.close()));
    }
    findings
}

fn read_all(runtime: &tokio::runtime::Runtime, store: &SledStore, model: &Model, findings: &mut Findings) {
    findings.take("head", &model.head(), || Ok(*store.head(FIRST).borrow()));
    findings.take("oldest", &Sequence(model.oldest), || Ok(store.oldest(FIRST)));
    for (key, value) in &model.records {
        let what = format!("get {}", key.escape_ascii());
        findings.take(&what, &Some(value.clone()), || runtime.block_on(store.get(FIRST, key)));
    }
    for table in *b"JRS" {
        for reverse in [false, true] {
            let records = model.records.iter().filter(|(key, _)| key[0] == table);
            let mut expected: Vec<_> = records.map(|(key, value)| (key.clone(), value.clone())).collect();
            if reverse {
                expected.reverse();
            }
            let scan = Scan { start: vec![table], end: vec![table + 1], reverse, limit: usize::MAX };
            let what = format!("scan {}", table as char);
            findings.take(&what, &expected, || runtime.block_on(store.scan(FIRST, scan)));
        }
    }
    let after = Sequence(model.oldest - 1);
    let kept: Vec<_> = model.entries.iter().filter(|entry| entry.sequence > after).cloned().collect();
    findings.take("log", &kept, || runtime.block_on(store.log(FIRST, after, usize::MAX)));
    for number in 0..JOBS {
        let key = job(&format!("j{number:03}"));
        let expected: Vec<_> = model.entries.iter().filter(|entry| entry.job == key).cloned().collect();
        let history = || runtime.block_on(store.history(FIRST, &key, Sequence(0), usize::MAX));
        findings.take(&format!("history {}", key.job_id), &expected, history);
    }
}

/// The stores that cases begin with.
struct Stores {
    place: tempfile::TempDir,
}

impl Stores {
    fn build() -> Self {
        let place = tempfile::tempdir().unwrap();
        let stores = Self { place };
        for history in HISTORIES {
            let directory = stores.of(history);
            let older = &history[..history.len() - 1];
            if older.is_empty() {
                fs::create_dir_all(&directory).unwrap();
            } else {
                copy(&stores.of(older), &directory);
            }
            run_self(&directory, &format!("build {history}"));
        }
        stores
    }

    fn of(&self, history: &str) -> PathBuf {
        self.place.path().join(history)
    }
}

/// Runs this test in a process of its own, to do one thing; says what it printed last.
fn run_self(directory: &Path, task: &str) -> String {
    let limited = format!("ulimit -v {MEMORY_KIB_MAX}; exec \"$0\" \"$@\"");
    let output = directory.with_extension("out");
    let mut child = Command::new("sh")
        .args(["-c", &limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", THIS_TEST, "--nocapture"])
        .env(DIRECTORY, directory)
        .env(TASK, task)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&output).unwrap())
        .stderr(fs::File::create(directory.with_extension("err")).unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            return "HANG".to_owned();
        }
        thread::sleep(Duration::from_millis(2));
    };
    let said = fs::read_to_string(&output).unwrap();
    let line = said.lines().rev().find_map(|line| line.strip_prefix("found: "));
    line.map_or_else(|| format!("DIED {status}"), str::to_owned)
}

/// Runs one case, and says what was done and what came of it.
fn run_case(stores: &Stores, case: u64) -> (String, String) {
    let mut chance = Chance::new(case << 20);
    let history = HISTORIES[chance.below(HISTORIES.len())];
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("data");
    copy(&stores.of(history), &directory);
    let older = &history[..history.len() - 1];
    let (file, damage) = Damage::choose(&mut |bound| chance.below(bound), &directory, !older.is_empty());
    damage.apply(&directory, &stores.of(older), &file);
    let found = run_self(&directory, &format!("look {history}"));
    (format!("{history} {} {damage:?}", file.display()), found)
}

#[test]
fn damage_is_never_a_wrong_answer() {
    if let (Some(directory), Ok(task)) = (std::env::var_os(DIRECTORY), std::env::var(TASK)) {
        let directory = Path::new(&directory);
        // As the server does: nobody can wait for what those threads were doing.
        panic::set_hook(Box::new(|panic| {
            let thread = thread::current();
            if thread.name().is_some_and(|name| name == "log flusher" || name.starts_with("sled-io-")) {
                println!("found: unreadable, and sled gave up: {}", panic.to_string().replace('\n', " "));
                std::process::exit(1);
            }
        }));
        match task.split_once(' ').unwrap() {
            ("build", history) => build(directory, history, history.len() - 1),
            (_, history) => println!("found: {}", look(directory, history).to_string().replace('\n', " ")),
        }
        return;
    }
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("HOLDPOINT_CORRUPTION_SEED").unwrap_or(0);
    let cases = seed..seed + number("HOLDPOINT_CORRUPTION_CASES").unwrap_or(CASES);
    let stores = Stores::build();
    for history in HISTORIES {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("data");
        copy(&stores.of(history), &directory);
        assert_eq!(run_self(&directory, &format!("look {history}")), "right", "{history}, undamaged");
    }
    let next = AtomicU64::new(cases.start);
    let bad: Vec<String> = thread::scope(|scope| {
        let work = || {
            let mut bad = Vec::new();
            loop {
                let case = next.fetch_add(1, Ordering::SeqCst);
                if !cases.contains(&case) {
                    return bad;
                }
                let (done, found) = run_case(&stores, case);
                println!("case {case} {done}: {found}");
                if !["right", "refused", "unreadable"].iter().any(|good| found.starts_with(good)) {
                    bad.push(format!(
                        "{done}: {found}\n  HOLDPOINT_CORRUPTION_SEED={case} HOLDPOINT_CORRUPTION_CASES=1 \
                         cargo test --lib {THIS_TEST} -- --nocapture"
                    ));
                }
            }
        };
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
