//! The data directory beside sled: whose it is, what is in it, and how far it was written.
//!
//! ```text
//! FORMAT    the format of the directory, and the store's id
//! LOCK      held while a process has the directory open
//! witness   a lower bound of each partition's head
//! sled/     sled's
//! ```
//!
//! sled can open a damaged database as an empty or an older one and say nothing. The witness is written apart from it, so
//! that this is noticed.

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::OpenError;
use crate::store::{Sequence, StoreId, barrier};

/// The newest format of the data directory that this version reads and writes.
const FORMAT: u32 = 1;

/// A data directory, held.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Holds the lock while it is open.
    _lock: File,
}

impl Directory {
    /// Takes a directory, and creates it if it is not there.
    pub(super) fn hold(path: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(OpenError::io("create", path))?;
        // Absolute, so that it has a parent.
        let path = path.canonicalize().map_err(OpenError::io("find", path))?;
        let lock_path = path.join("LOCK");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(OpenError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Held { directory: path }),
            Err(TryLockError::Error(source)) => Err(OpenError::io("lock", &lock_path)(source)),
        }
    }

    /// The store's id; a new one where there is no store yet.
    pub(super) fn store_id(&self) -> Result<StoreId, OpenError> {
        let path = self.path.join("FORMAT");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.create(),
            Err(error) => return Err(OpenError::io("read", &path)(error)),
        };
        parse_format(&text)?.ok_or(OpenError::Unreadable { file: path })
    }

    fn create(&self) -> Result<StoreId, OpenError> {
        if self.witness_path().exists() || self.sled().exists() {
            return Err(OpenError::Unformatted { directory: self.path.clone() });
        }
        let id = StoreId(Uuid::now_v7());
        self.write_format(id).map_err(OpenError::io("write", &self.path.join("FORMAT")))?;
        Ok(id)
    }

    /// Makes the directory one of a store.
    pub(super) fn write_format(&self, id: StoreId) -> io::Result<()> {
        self.replace("FORMAT", &format!("format {FORMAT}\nstore {}\n", id.0))
    }

    /// Whether nothing is in it but the lock, and what file systems put there by themselves.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        let is_ours = |name: &OsStr| name == "LOCK" || name == "lost+found";
        for entry in fs::read_dir(&self.path)? {
            if !is_ours(&entry?.file_name()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What its files take.
    pub(super) fn bytes(&self) -> u64 {
        bytes_below(&self.path)
    }

    /// The room beside them, for others than the superuser; none where that cannot be told.
    pub(super) fn room(&self) -> Option<u64> {
        let statistics = rustix::fs::statvfs(&self.path).ok()?;
        Some(statistics.f_bavail.saturating_mul(statistics.f_frsize))
    }

    /// The head that the store has at least; none where no store was ever open here.
    pub(super) fn witness(&self) -> Result<Option<Sequence>, OpenError> {
        let path = self.witness_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io("read", &path)(error)),
        };
        let head = text.trim_end().strip_prefix("partition 0 head ").and_then(|head| head.parse().ok());
        head.map(Sequence).map(Some).ok_or(OpenError::Unreadable { file: path })
    }

    /// Notes that the store has reached a head, which must be durable.
    pub(super) fn write_witness(&self, head: Sequence) -> io::Result<()> {
        self.replace("witness", &format!("partition 0 head {head}\n"))
    }

    /// Where sled's files are.
    pub(super) fn sled(&self) -> PathBuf {
        self.path.join("sled")
    }

    /// Removes the snapshots that sled was writing when it was last stopped: it would take them for whole.
    pub(super) fn remove_unfinished_snapshots(&self) -> io::Result<()> {
        let entries = match fs::read_dir(self.sled()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("snap.") && name.ends_with(".generating") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Makes durable that sled's files are there, which sled itself leaves to the file system.
    pub(super) fn sync_sled(&self) -> io::Result<()> {
        let sled = self.sled();
        barrier::sync_file(&sled.join("db"))?;
        barrier::sync_file(&sled.join("conf"))?;
        barrier::sync_directory(&sled.join("blobs"))?;
        barrier::sync_directory(&sled)?;
        barrier::sync_directory(&self.path)?;
        self.path.parent().map_or(Ok(()), barrier::sync_directory)
    }

    /// Replaces a file: after a crash it is the old one or the new one, whole.
    fn replace(&self, name: &str, text: &str) -> io::Result<()> {
        let new = self.path.join(format!("{name}.new"));
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.path.join(name))?;
        barrier::sync_directory(&self.path)
    }

    fn witness_path(&self) -> PathBuf {
        self.path.join("witness")
    }
}

/// Files come and go meanwhile.
fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// None where the text is not of this format, nor of another.
fn parse_format(text: &str) -> Result<Option<StoreId>, OpenError> {
    let mut lines = text.lines();
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let Some(format) = field("format").and_then(|format| format.parse().ok()) else { return Ok(None) };
    if format > FORMAT {
        return Err(OpenError::Newer { format, known: FORMAT });
    }
    Ok(field("store").and_then(|id| id.parse().ok()).map(StoreId))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let outcome = match parse_format(text) {
            Ok(Some(StoreId(id))) => id.to_string(),
            Ok(None) => "unreadable".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(outcome, expected, "{text:?}");
    }

    #[test]
    fn formats() {
        let newer = "the data directory has format 2, and this version knows formats up to 1: \
                     run the version that wrote it, or a newer one";
        check(&format!("format 1\nstore {ID}\n"), ID);
        check(&format!("format 2\nstore {ID}\n"), newer);
        check("format 2\nwhatever\n", newer);
        check("format 1\n", "unreadable");
        check("format 1\nstore x\n", "unreadable");
        check("format one\n", "unreadable");
        check("", "unreadable");
    }
}
