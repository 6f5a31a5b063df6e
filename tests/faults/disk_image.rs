//! What a disk can hold after a power cut, given what it held before and what was done since.
//!
//! The model is that of a journaling file system that promises no more than it must. What was done to a file is durable
//! once a sync of that file, begun later, has succeeded. Of what was done after that any part may be there: each write or
//! none, each sector of 512 bytes of it or none, the file's length without its content. Names are durable once their
//! directory was synced; a sync of the file itself does nothing for its name. Names of one directory that were not synced
//! come in the order in which they were changed, up to any place in it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use super::{chance::Chance, journal::Operation};

const SECTOR: usize = 512;

/// What is below a directory: directories, and files with their content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    directories: BTreeSet<String>,
    files: BTreeMap<String, Vec<u8>>,
}

/// What becomes of changes to a file that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    Lost,
    Kept,
    /// Those up to some place.
    Beginning,
    /// Each for itself.
    Some,
    /// Each sector of each for itself.
    Torn,
}

impl Unsynced {
    pub fn any(chance: &mut Chance) -> Self {
        [Self::Lost, Self::Kept, Self::Beginning, Self::Some, Self::Torn, Self::Torn][chance.below(6)]
    }
}

/// Which syncs the disk does not do, although it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    None,
    /// `fdatasync`, which is all that our own barrier does.
    DataSyncs,
    All,
}

/// A disk before a process began to write, or more of them, one after another.
pub struct Disk {
    directories: BTreeSet<String>,
    /// The inode of each name.
    names: BTreeMap<String, u64>,
    contents: HashMap<u64, Vec<u8>>,
    /// What processes did that ended since, each for itself.
    earlier: Vec<Vec<Operation>>,
}

impl Image {
    /// What is there.
    pub fn read(root: &Path) -> Self {
        let disk = Disk::read(root);
        let files = disk.names.iter().map(|(path, inode)| (path.clone(), disk.contents[inode].clone()));
        Self { files: files.collect(), directories: disk.directories }
    }

    /// Puts it there, in place of what was.
    pub fn write(&self, root: &Path) {
        for path in top(root) {
            fs::remove_dir_all(path).unwrap();
        }
        for directory in &self.directories {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for (path, content) in &self.files {
            fs::write(root.join(path), content).unwrap();
        }
    }

    pub fn differs_from(&self, other: &Self) -> Option<String> {
        if self.directories != other.directories {
            return Some(format!("{:?} and {:?}", self.directories, other.directories));
        }
        let names: BTreeSet<_> = self.files.keys().chain(other.files.keys()).collect();
        let name = names.into_iter().find(|name| self.files.get(*name) != other.files.get(*name))?;
        let length = |image: &Self| image.files.get(name).map(Vec::len);
        Some(format!("{name}: {:?} and {:?} bytes", length(self), length(other)))
    }
}

/// The directories just below the root. Files there are the test's own.
fn top(root: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
}

impl Disk {
    /// What is there, all of it durable.
    pub fn read(root: &Path) -> Self {
        let mut disk = Self {
            directories: BTreeSet::new(),
            names: BTreeMap::new(),
            contents: HashMap::new(),
            earlier: Vec::new(),
        };
        let mut left: Vec<_> = top(root).collect();
        while let Some(path) = left.pop() {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                disk.directories.insert(name);
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                let inode = fs::metadata(&path).unwrap().ino();
                disk.names.insert(name, inode);
                disk.contents.insert(inode, fs::read(&path).unwrap());
            }
        }
        disk
    }

    /// A process has ended after these operations, and the power is still on: that makes nothing durable.
    pub fn outlives(&mut self, operations: Vec<Operation>) {
        self.earlier.push(operations);
    }

    /// What it can hold when the power is cut after these operations.
    pub fn after(
        &self,
        operations: &[Operation],
        unsynced: Unsynced,
        lies: Lies,
        chance: &mut Chance,
    ) -> Image {
        let mut history = History::new(self);
        for process in self.earlier.iter().map(Vec::as_slice).chain([operations]) {
            let first = history.first;
            for (index, operation) in process.iter().enumerate() {
                history.take(first + index, operation, lies);
            }
            history.first += process.len();
        }
        let History { files, mut names, changes, synced_names, .. } = history;
        let mut directories = self.directories.clone();
        for change in kept_names(changes, &synced_names, unsynced, chance) {
            change.apply(&mut names, &mut directories);
        }
        let files =
            names.into_iter().map(|(path, file)| (path, files[file].after(unsynced, chance))).collect();
        let mut image = Image { directories, files };
        image.drop_orphans();
        image
    }
}

/// What was done, by file and by name.
struct History<'a> {
    files: Vec<File<'a>>,
    /// The index of the first operation of the process: its operations name others of it.
    first: usize,
    /// The file of each inode: an inode can be used again when its file is gone.
    known: HashMap<u64, usize>,
    /// Before all.
    names: BTreeMap<String, usize>,
    changes: Vec<(usize, Change)>,
    /// Up to which entry the names in each directory are durable.
    synced_names: HashMap<String, usize>,
}

impl<'a> History<'a> {
    fn new(disk: &Disk) -> Self {
        let mut history = Self {
            files: Vec::new(),
            first: 0,
            known: HashMap::new(),
            names: BTreeMap::new(),
            changes: Vec::new(),
            synced_names: HashMap::new(),
        };
        for (path, inode) in &disk.names {
            let file = history.add(*inode, disk.contents[inode].clone());
            history.names.insert(path.clone(), file);
        }
        history
    }

    fn add(&mut self, inode: u64, content: Vec<u8>) -> usize {
        self.known.insert(inode, self.files.len());
        self.files.push(File { content, ..File::default() });
        self.files.len() - 1
    }

    fn file(&mut self, inode: u64) -> &mut File<'a> {
        &mut self.files[self.known[&inode]]
    }

    fn take(&mut self, index: usize, operation: &'a Operation, lies: Lies) {
        let first = self.first;
        let change = match operation {
            Operation::Create { inode, path } => Change::Set(path.clone(), self.add(*inode, Vec::new())),
            Operation::Rename { from, to } => Change::Move(from.clone(), to.clone()),
            Operation::Remove { path } => Change::Remove(path.clone()),
            Operation::Directory { path } => Change::Directory(path.clone()),
            Operation::Write { inode, place, data } => {
                return self.file(*inode).note(index, Edit::Write(*place, data));
            }
            Operation::Truncate { inode, length } => {
                return self.file(*inode).note(index, Edit::Truncate(*length));
            }
            Operation::SyncFile { inode, before, is_data_only } => {
                if lies == Lies::None || (lies == Lies::DataSyncs && !is_data_only) {
                    self.file(*inode).settle(first + before, Fate::Durable);
                }
                return;
            }
            Operation::FailedSync { inode, before } => {
                // Of a directory nothing is known here.
                if self.known.contains_key(inode) {
                    self.file(*inode).settle(first + before, Fate::Lost);
                }
                return;
            }
            Operation::SyncDirectory { path, before } => {
                if lies != Lies::All {
                    let synced = self.synced_names.entry(path.clone()).or_default();
                    *synced = (*synced).max(first + before);
                }
                return;
            }
        };
        self.changes.push((index, change));
    }
}

impl Image {
    /// What is in a directory that is not there is not there either.
    fn drop_orphans(&mut self) {
        let is_there = |directories: &BTreeSet<String>, path: &str| {
            let above = path.match_indices('/').map(|(end, _)| &path[..end]);
            above.into_iter().all(|directory| directories.contains(directory))
        };
        let directories = self.directories.clone();
        self.directories.retain(|path| is_there(&directories, path));
        let directories = self.directories.clone();
        self.files.retain(|path, _| is_there(&directories, path));
    }
}

/// A change of names in a directory.
enum Change {
    Set(String, usize),
    Move(String, String),
    Remove(String),
    Directory(String),
}

impl Change {
    /// Where it happens. A move stays in its directory.
    fn directory(&self) -> String {
        let path = match self {
            Self::Set(path, _) | Self::Remove(path) | Self::Directory(path) | Self::Move(_, path) => path,
        };
        path.rsplit_once('/').map_or(String::new(), |(directory, _)| directory.to_owned())
    }

    fn apply(self, names: &mut BTreeMap<String, usize>, directories: &mut BTreeSet<String>) {
        match self {
            Self::Set(path, file) => {
                names.insert(path, file);
            }
            Self::Move(from, to) => {
                let file = names.remove(&from).expect("what is renamed is there");
                names.insert(to, file);
            }
            Self::Remove(path) => {
                names.remove(&path);
                directories.remove(&path);
            }
            Self::Directory(path) => {
                directories.insert(path);
            }
        }
    }
}

/// Of each directory those that are durable, and of the others the first so many.
fn kept_names(
    changes: Vec<(usize, Change)>,
    synced: &HashMap<String, usize>,
    unsynced: Unsynced,
    chance: &mut Chance,
) -> Vec<Change> {
    let is_synced =
        |index: usize, directory: &String| synced.get(directory).is_some_and(|before| index < *before);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (index, change) in &changes {
        let directory = change.directory();
        if !is_synced(*index, &directory) {
            *counts.entry(directory).or_default() += 1;
        }
    }
    for count in counts.values_mut() {
        *count = match unsynced {
            Unsynced::Lost => 0,
            Unsynced::Kept => *count,
            Unsynced::Beginning | Unsynced::Some | Unsynced::Torn => chance.below(*count + 1),
        };
    }
    let mut kept = Vec::new();
    for (index, change) in changes {
        let directory = change.directory();
        if is_synced(index, &directory) {
            kept.push(change);
        } else if let Some(left) = counts.get_mut(&directory).filter(|left| **left > 0) {
            *left -= 1;
            kept.push(change);
        }
    }
    kept
}

/// A file before, and what was done to it.
#[derive(Default)]
struct File<'a> {
    content: Vec<u8>,
    edits: Vec<(usize, Edit<'a>, Fate)>,
}

#[derive(Clone, Copy)]
enum Edit<'a> {
    Write(usize, &'a [u8]),
    Truncate(usize),
}

/// What syncs have done for an edit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Durable,
    /// No sync will do anything for it any more. It may be there all the same.
    Lost,
}

impl<'a> File<'a> {
    fn note(&mut self, index: usize, edit: Edit<'a>) {
        self.edits.push((index, edit, Fate::Open));
    }

    /// Decides on all edits of entries before one, as far as it is not decided.
    fn settle(&mut self, before: usize, decided: Fate) {
        let open = self.edits.iter_mut().rev().skip_while(|(index, ..)| *index >= before);
        for (_, _, fate) in open.take_while(|(_, _, fate)| *fate == Fate::Open) {
            *fate = decided;
        }
    }

    fn after(&self, unsynced: Unsynced, chance: &mut Chance) -> Vec<u8> {
        let mut content = self.content.clone();
        let mut length = content.len();
        let others = self.edits.iter().filter(|(_, _, fate)| *fate != Fate::Durable).count();
        let mut left = if unsynced == Unsynced::Beginning { chance.below(others + 1) } else { 0 };
        for (_, edit, fate) in &self.edits {
            if *fate == Fate::Durable {
                length = edit.length_after(length);
                edit.apply(&mut content);
                continue;
            }
            match unsynced {
                Unsynced::Lost => continue,
                Unsynced::Beginning if left == 0 => continue,
                Unsynced::Beginning => left -= 1,
                Unsynced::Kept | Unsynced::Some | Unsynced::Torn => {}
            }
            length = edit.length_after(length);
            match unsynced {
                Unsynced::Some if chance.one_in(2) => {}
                Unsynced::Torn => edit.apply_torn(&mut content, chance),
                Unsynced::Lost | Unsynced::Kept | Unsynced::Beginning | Unsynced::Some => {
                    edit.apply(&mut content);
                }
            }
        }
        // The length is kept apart from the content.
        if content.len() < length && chance.one_in(2) {
            content.resize(length, 0);
        }
        content
    }
}

impl Edit<'_> {
    fn length_after(self, before: usize) -> usize {
        match self {
            Self::Write(place, data) => before.max(place + data.len()),
            Self::Truncate(length) => length,
        }
    }

    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Write(place, data) => {
                content.resize(content.len().max(place + data.len()), 0);
                content[place..place + data.len()].copy_from_slice(data);
            }
            Self::Truncate(length) => content.resize(length, 0),
        }
    }

    /// Each of its sectors or not.
    fn apply_torn(self, content: &mut Vec<u8>, chance: &mut Chance) {
        match self {
            Self::Write(mut place, mut data) => {
                while !data.is_empty() {
                    let length = (SECTOR - place % SECTOR).min(data.len());
                    let (sector, rest) = data.split_at(length);
                    if chance.one_in(2) {
                        Self::Write(place, sector).apply(content);
                    }
                    place += length;
                    data = rest;
                }
            }
            Self::Truncate(_) if chance.one_in(2) => {}
            Self::Truncate(_) => self.apply(content),
        }
    }
}
