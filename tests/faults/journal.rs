//! What a server did to the files below a directory, as the shim wrote it down.

use std::path::Path;

/// What an entry is about; the numbers are the shim's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A file that was not there.
    Create {
        inode: u64,
        path: String,
    },
    Write {
        inode: u64,
        place: usize,
        data: Vec<u8>,
    },
    Truncate {
        inode: u64,
        length: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    /// A directory that was not there.
    Directory {
        path: String,
    },
    /// All that was done to the file in the entries before `before` is durable.
    SyncFile {
        inode: u64,
        before: usize,
        is_data_only: bool,
    },
    /// A sync of the file has failed: what was not durable then will not be, whatever is synced later.
    FailedSync {
        inode: u64,
        before: usize,
    },
    /// All names that were changed in the directory in the entries before `before` are durable.
    SyncDirectory {
        path: String,
        before: usize,
    },
}

const HEADER: usize = 32;

/// All entries, less one at the end that was not written to its end.
pub fn read(path: &Path) -> Vec<Operation> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut operations = Vec::new();
    while let Some((operation, length)) = first(rest) {
        operations.push(operation);
        rest = &rest[length..];
    }
    operations
}

/// The first entry, and how long it is.
fn first(bytes: &[u8]) -> Option<(Operation, usize)> {
    let number = |index: usize| {
        let bytes = bytes.get(8 * index..8 * (index + 1))?;
        usize::try_from(u64::from_ne_bytes(bytes.try_into().unwrap())).ok()
    };
    let [kind, inode, place, length] = [number(0)?, number(1)?, number(2)?, number(3)?];
    let inode = inode as u64;
    let data = bytes.get(HEADER..HEADER + length)?;
    let names: Vec<_> = data.split(|byte| *byte == 0).map(|name| String::from_utf8_lossy(name)).collect();
    let name = |index: usize| names[index].clone().into_owned();
    let operation = match kind {
        1 => Operation::Create { inode, path: name(0) },
        2 => Operation::Write { inode, place, data: data.to_vec() },
        3 => Operation::Truncate { inode, length: place },
        4 => Operation::Rename { from: name(0), to: name(1) },
        5 => Operation::Remove { path: name(0) },
        6 => Operation::Directory { path: name(0) },
        7 | 8 => Operation::SyncFile { inode, before: place, is_data_only: kind == 8 },
        9 => Operation::SyncDirectory { path: name(0), before: place },
        10 => Operation::FailedSync { inode, before: place },
        _ => panic!("no kind of entry: {kind}"),
    };
    Some((operation, HEADER + length))
}
