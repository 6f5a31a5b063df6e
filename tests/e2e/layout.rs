//! Who may import whom: the layers of ARCHITECTURE.md, looked for in the text of `src`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::harness::project;

/// What each module at the top of the crate may import of the others.
const IMPORTS: [(&str, &[&str]); 13] = [
    // Of the binary.
    ("allocator", &[]),
    ("auth", &["config", "proto"]),
    ("cli", &["config", "engine", "proto", "store"]),
    ("config", &[]),
    ("domain", &["proto"]),
    ("engine", &["domain", "proto", "store"]),
    // For tests, and for fuzzing.
    ("fuzzing", &["auth", "domain", "rpc", "store"]),
    // The binary names the crate `holdpoint`.
    ("main", &["auth", "cli", "config", "engine", "proto", "server", "telemetry"]),
    ("proto", &[]),
    ("rpc", &["auth", "config", "domain", "engine", "proto", "store", "telemetry"]),
    ("server", &["auth", "cli", "config", "domain", "engine", "proto", "rpc", "store", "telemetry"]),
    ("store", &["domain", "proto"]),
    ("telemetry", &["config"]),
];

/// Words that stand only in these places: files, or directories with all that is in them.
const WORDS: [(&str, &[&str]); 8] = [
    ("tikv_jemallocator", &["allocator.rs"]),
    ("tonic", &["auth", "cli", "proto.rs", "proto/codec.rs", "rpc", "server", "server.rs"]),
    // The crate: the store has a module of the same name.
    ("::sled::", &["store/sled"]),
    ("use sled", &[]),
    // Chance and the clock in one. Other than the engine's: what names a store or an incident or marks a file, and decides nothing.
    (
        "now_v7",
        &[
            "rpc/status.rs",
            "store/memory.rs",
            "store/sled/directory.rs",
            "store/sled/journal.rs",
            "store/sled/restore.rs",
        ],
    ),
    ("new_v4", &[]),
    // What is on disk, and what is in a token.
    ("storage::v1", &["domain", "engine", "rpc", "store"]),
    // Tests that say which of many cases they are at.
    ("println!", &["fuzzing/tests.rs", "store/sled/tests"]),
];

/// What is read of the system's clocks, and where: the wall clock in one place. Elsewhere time is given, or tokio's.
const CLOCKS: [(&str, &[&str]); 6] = [
    ("engine/environment.rs", &["SystemTime", "UNIX_EPOCH"]),
    // How long ago the witness was written, on a thread that tokio does not run. It decides nothing.
    ("store/sled/committer.rs", &["Instant"]),
    // How long a checkpoint took, and a piece of a copy: as long again is left to others.
    ("store/sled/checkpoint.rs", &["Instant"]),
    ("store/sled/compaction.rs", &["Instant"]),
    // When an export was last taken, of which that thread asks.
    ("store/sled/export.rs", &["Instant"]),
    // When a process that hangs is given up.
    ("store/sled/tests/damage.rs", &["Instant"]),
];

/// Where the domain's purity would end.
const IMPURE: [&str; 8] = ["tokio", "async ", ".await", "tracing", "std::fs", "std::net", "std::env", "Uuid"];

/// A source file: its path under `src`, and its text without comments.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The module at the top of the crate that it is part of.
    fn module(&self) -> String {
        let first = self.path.iter().next().unwrap();
        Path::new(first).file_stem().unwrap().to_str().unwrap().to_owned()
    }
}

fn sources() -> Vec<Source> {
    let root = project().join("src");
    let mut directories = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = without_comments(&fs::read_to_string(&path).unwrap());
                sources.push(Source { path: path.strip_prefix(&root).unwrap().to_owned(), text });
            }
        }
    }
    assert!(sources.len() > 50, "these are not all");
    sources
}

/// `//` in a text literal would end a line early; an import never stands behind one.
fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect()
}

/// The modules that a text names after `root`, as in `crate::a::B` and `crate::{a::B, c}`.
fn named_after(root: &str, text: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (at, _) in text.match_indices(root) {
        let is_word = text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let rest = &text[at + root.len()..];
        if is_word {
            continue;
        }
        match rest.strip_prefix('{') {
            None => modules.extend(first_word(rest)),
            Some(group) => modules.extend(members(group).into_iter().filter_map(first_word)),
        }
    }
    modules
}

/// The members of a group of imports, whose opening brace has been read.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start) = (0, 0);
    let mut members = Vec::new();
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&group[start..at]);
                return members;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    panic!("a group of imports ends");
}

/// What a text names of `std::time`, by itself or among other imports of `std`.
fn clocks(text: &str) -> BTreeSet<String> {
    let grouped = text.split("use std::{").skip(1).flat_map(members);
    let times = grouped.filter_map(|member| member.trim().strip_prefix("time::"));
    let grouped = times.map(|rest| format!("std::time::{rest};")).collect::<Vec<_>>().concat();
    named_after("std::time::", &(text.to_owned() + &grouped))
}

fn first_word(text: &str) -> Option<String> {
    let word: String =
        text.trim_start().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "use crate::{\n    a::{b, c},\n    d,\n    e::F as G,\n};\nuse crate::h::i;\npub(in crate::j) fn \
                f(k: crate::l::M) {}\nuse mycrate::n;";
    let expected = ["a", "d", "e", "h", "j", "l"].map(str::to_owned);
    assert_eq!(named_after("crate::", text), BTreeSet::from(expected));
    let text = "use std::{\n    a::B,\n    time::{Duration, Instant},\n};\nuse std::time::SystemTime;";
    assert_eq!(clocks(text), BTreeSet::from(["Duration", "Instant", "SystemTime"].map(str::to_owned)));
}

#[test]
fn modules_import_only_what_they_may() {
    let allowed = BTreeMap::from(IMPORTS);
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources() {
        let module = source.module();
        if module == "lib" {
            continue;
        }
        seen.insert(module.clone());
        let Some(allowed) = allowed.get(module.as_str()) else {
            faults.push(format!("{module} is not in the table"));
            continue;
        };
        let root = if module == "main" { "holdpoint::" } else { "crate::" };
        for imported in named_after(root, &source.text) {
            let is_module = imported == "main" || IMPORTS.iter().any(|(name, _)| *name == imported);
            if is_module && imported != module && !allowed.contains(&imported.as_str()) {
                faults.push(format!("{} imports {imported}", source.path.display()));
            }
        }
    }
    assert_eq!(faults, [""; 0]);
    assert_eq!(
        seen,
        IMPORTS.map(|(module, _)| module.to_owned()).into(),
        "the table is of modules that are there"
    );
}

#[test]
fn words_stand_only_where_they_belong() {
    let mut faults = Vec::new();
    for source in sources() {
        for (word, places) in WORDS {
            let is_allowed = places.iter().any(|place| source.path.starts_with(place));
            if source.text.contains(word) && !is_allowed {
                faults.push(format!("{} has {word}", source.path.display()));
            }
        }
        let allowed = CLOCKS.iter().find(|(path, _)| source.path == Path::new(path));
        let allowed = allowed.map_or(&[][..], |(_, names)| names);
        let read = clocks(&source.text);
        let read = read.iter().filter(|name| *name != "Duration" && !allowed.contains(&name.as_str()));
        faults.extend(read.map(|name| format!("{} reads a clock: {name}", source.path.display())));
        let is_test = source.path.iter().any(|part| part == "tests" || part == "tests.rs");
        if source.module() == "domain" && !is_test {
            let text = source.text.split("#[cfg(test)]").next().unwrap_or_default();
            // `awaits` is another word.
            let text = text.replace(".awaits_", ".");
            let impure = IMPURE.into_iter().filter(|word| text.contains(word));
            faults.extend(impure.map(|word| format!("{} has {word}", source.path.display())));
        }
    }
    assert_eq!(faults, [""; 0]);
}
