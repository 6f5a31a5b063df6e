//! The data directory beside sled: whose it is, what is in it, and how far it was written.
//!
//! ```text
//! FORMAT    the format of the directory, the store's id, and which of sled's databases is in use
//! LOCK      held while a process has the directory open
//! empty     which segments of sled's file were empty when it was last opened
//! journal/  what was committed and is not in sled yet
//! values/   the large values that sled leads to
//! suspect   there while the files may be damaged and were not all looked at
//! synced    there where no sync has failed since the last start: what sled's files hold is on the disk, or will be
//! witness   how many commits there are at least
//! sled/     sled's; sled-1/ and so on where it was written anew
//! ```
//!
//! sled can open a damaged database as an empty or an older one and say nothing. The [`witness`] is written apart from it,
//! so that this is noticed.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{
    OpenError,
    witness::{self, Witness},
};
use crate::store::{StoreId, barrier};

/// The format of the data directory that this version reads and writes.
const FORMAT: u32 = 5;

/// The number of a store's first database.
pub(super) const FIRST_DATABASE: u64 = 0;

/// What is in a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) id: StoreId,
    /// The number of the database in use.
    pub(super) database: u64,
}

/// A data directory, held.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Holds the lock.
    lock: File,
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
            Ok(()) => Ok(Self { path, lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Held { directory: path }),
            Err(TryLockError::Error(source)) => Err(OpenError::io("lock", &lock_path)(source)),
        }
    }

    /// What is in it; a new store where there is none yet.
    pub(super) fn format(&self) -> Result<Format, OpenError> {
        let path = self.path.join("FORMAT");
        let Some(text) = read(&path)? else { return self.create() };
        parse_format(&text)?.ok_or(OpenError::Unreadable { file: path })
    }

    fn create(&self) -> Result<Format, OpenError> {
        let parts = [self.witness_path(), self.sled(FIRST_DATABASE), self.journal(), self.values()];
        if parts.iter().any(|path| path.exists()) {
            return Err(OpenError::Unformatted { directory: self.path.clone() });
        }
        let (id, database) = (StoreId(Uuid::now_v7()), FIRST_DATABASE);
        self.write_format(id, database).map_err(OpenError::io("write", &self.path.join("FORMAT")))?;
        Ok(Format { id, database })
    }

    /// Makes the directory one of a store, with a database in use.
    pub(super) fn write_format(&self, id: StoreId, database: u64) -> io::Result<()> {
        self.replace("FORMAT", &format_text(Format { id, database }))
    }

    /// Notes that the files may be damaged, until all of them was looked at.
    pub(super) fn suspect(&self) -> io::Result<()> {
        self.replace("suspect", "")
    }

    /// Whether that is noted.
    pub(super) fn is_suspect(&self) -> bool {
        self.path.join("suspect").exists()
    }

    /// All was looked at.
    pub(super) fn trust(&self) -> io::Result<()> {
        match fs::remove_file(self.path.join("suspect")) {
            Ok(()) => barrier::sync_directory(&self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that syncs do something for all of a database. Where one has failed, the system takes for written what may be in its
    /// memory alone, and syncs that come later succeed: so what is read is written again, as it is. From here on it is noted where one fails.
    pub(super) fn make_synced(&self, database: u64) -> io::Result<()> {
        let (mark, sled) = (self.path.join("synced"), self.sled(database));
        if !mark.exists() && sled.exists() {
            tracing::warn!(directory = %sled.display(), "a sync may have failed: all is written again before it is believed");
            write_again(&sled)?;
        }
        barrier::mark(&mark)
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

    /// The number of a commit that the store has at least; none where no store was ever open here.
    pub(super) fn witness(&self) -> Result<Option<u64>, OpenError> {
        witness::read(&self.witness_path())
    }

    /// Notes that the store has reached a commit, which must be durable, and takes up noting the next ones.
    pub(super) fn begin_witness(&self, number: u64) -> io::Result<Witness> {
        self.replace("witness", &witness::whole(number))?;
        Witness::open(&self.witness_path())
    }

    /// Which segments of sled's file were empty when it was last opened; none where that is not known.
    pub(super) fn empty_segments(&self) -> Result<Option<BTreeSet<u64>>, OpenError> {
        let path = self.path.join("empty");
        let Some(text) = read(&path)? else { return Ok(None) };
        parse_empty(&text).map(Some).ok_or(OpenError::Unreadable { file: path })
    }

    /// Forgets them for good, since sled is about to empty others.
    pub(super) fn forget_empty_segments(&self) -> io::Result<()> {
        match fs::remove_file(self.path.join("empty")) {
            Ok(()) => barrier::sync_directory(&self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Notes which segments of sled's file are empty.
    pub(super) fn note_empty_segments(&self, empty: &BTreeSet<u64>) -> io::Result<()> {
        self.replace("empty", &empty_text(empty))
    }

    /// Where the files of a database are.
    pub(super) fn sled(&self, database: u64) -> PathBuf {
        self.path.join(if database == FIRST_DATABASE {
            "sled".to_owned()
        } else {
            format!("sled-{database}")
        })
    }

    /// What they take.
    pub(super) fn database_bytes(&self, database: u64) -> u64 {
        bytes_below(&self.sled(database))
    }

    /// Removes the databases that are not in use.
    pub(super) fn remove_other_databases(&self, database: u64) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let is_database = name == "sled" || name.starts_with("sled-");
            if is_database && path != self.sled(database) {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }

    /// Where the journal is.
    pub(super) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Makes the place for it, if it is not there.
    pub(super) fn make_journal(&self) -> io::Result<()> {
        fs::create_dir_all(self.journal())?;
        barrier::sync_directory(&self.path)
    }

    /// Where the files of values are.
    pub(super) fn values(&self) -> PathBuf {
        self.path.join("values")
    }

    /// Makes the place for them, if it is not there.
    pub(super) fn make_values(&self) -> io::Result<()> {
        fs::create_dir_all(self.values())?;
        barrier::sync_directory(&self.path)
    }

    /// Removes the snapshots that sled was writing when it was last stopped: it would take them for whole.
    pub(super) fn remove_unfinished_snapshots(&self, database: u64) -> io::Result<()> {
        let entries = match fs::read_dir(self.sled(database)) {
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
    pub(super) fn sync_sled(&self, database: u64) -> io::Result<()> {
        let sled = self.sled(database);
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

impl Drop for Directory {
    /// Lets go of the lock, also where a child that another thread is just starting has inherited the file: it has it
    /// until it runs its own program.
    fn drop(&mut self) {
        // Where this fails, the lock goes when the last of them closes the file.
        let _ = self.lock.unlock();
    }
}

/// Writes what is in the files below a directory to where it is, and syncs it.
fn write_again(directory: &Path) -> io::Result<()> {
    const PIECE_BYTES: usize = 1 << 20;

    let mut piece = vec![0; PIECE_BYTES];
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            write_again(&path)?;
            continue;
        }
        let mut file = File::options().read(true).write(true).open(path)?;
        loop {
            let place = file.stream_position()?;
            let length = file.read(&mut piece)?;
            if length == 0 {
                break;
            }
            file.seek(SeekFrom::Start(place))?;
            file.write_all(&piece[..length])?;
        }
        file.sync_all()?;
    }
    barrier::sync_directory(directory)
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

/// The text of a file; none where it is not there. What is no text is no text of ours.
fn read(path: &Path) -> Result<Option<String>, OpenError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::io("read", path)(error)),
    }
}

fn empty_text(empty: &BTreeSet<u64>) -> String {
    let mut text = String::new();
    for number in empty {
        text.push_str(&format!("{number}\n"));
    }
    let sum = crc32fast::hash(text.as_bytes());
    text.push_str(&format!("checksum {sum:08x}\n"));
    text
}

/// None where it is not what was written.
fn parse_empty(text: &str) -> Option<BTreeSet<u64>> {
    let (numbers, _) = text.rsplit_once("checksum ")?;
    let empty = numbers.lines().map(|number| number.parse().ok()).collect::<Option<_>>()?;
    (empty_text(&empty) == text).then_some(empty)
}

fn format_text(Format { id, database }: Format) -> String {
    let text = format!("format {FORMAT}\nstore {}\ndatabase {database}\n", id.0);
    let sum = crc32fast::hash(text.as_bytes());
    format!("{text}checksum {sum:08x}\n")
}

/// None where the text is not of this format, nor of another.
fn parse_format(text: &str) -> Result<Option<Format>, OpenError> {
    let mut lines = text.lines();
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let Some(format) = field("format").and_then(|format| format.parse().ok()) else { return Ok(None) };
    if format != FORMAT {
        return Err(OpenError::Format { format, known: FORMAT });
    }
    let id = field("store").and_then(|id| id.parse().ok()).map(StoreId);
    let database = field("database").and_then(|database| database.parse().ok());
    let format = id.zip(database).map(|(id, database)| Format { id, database });
    Ok(format.filter(|format| format_text(*format) == text))
}

/// Reads anything as one of the small files.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(empty) = parse_empty(&text) {
        assert_eq!(empty_text(&empty), text);
    }
    if let Ok(Some(format)) = parse_format(&text) {
        assert_eq!(format_text(format), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let outcome = match parse_format(text) {
            Ok(Some(Format { id, database })) => format!("{} {database}", id.0),
            Ok(None) => "unreadable".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(outcome, expected, "{text:?}");
    }

    #[test]
    fn empty_segments_are_read_as_they_were_written() {
        for numbers in [&[][..], &[0], &[3, 17, 4000]] {
            let empty: BTreeSet<u64> = numbers.iter().copied().collect();
            let text = empty_text(&empty);
            assert_eq!(parse_empty(&text), Some(empty));
            for index in 0..text.len() {
                let mut bad = text.clone().into_bytes();
                bad[index] ^= 1;
                assert_eq!(parse_empty(&String::from_utf8(bad).unwrap()), None, "{index} of {text:?}");
                assert_eq!(parse_empty(&text[..index]), None, "{text:?} up to {index}");
            }
        }
    }

    #[test]
    fn a_process_that_has_the_file_open_too_does_not_hold_it() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::hold(place.path()).unwrap();
        let inherited = directory.lock.try_clone().unwrap();
        assert!(matches!(Directory::hold(place.path()), Err(OpenError::Held { .. })));
        drop(directory);
        Directory::hold(place.path()).unwrap();
        drop(inherited);
    }

    #[test]
    fn formats() {
        let other = |format: u32| {
            format!(
                "the data directory has format {format}, and this version knows format 5: run the version that wrote it; \
                 a backup made with that can be restored with this one"
            )
        };
        let whole = format_text(Format { id: StoreId(ID.parse().unwrap()), database: 7 });
        check(&whole, &format!("{ID} 7"));
        check(&whole.replace("database 7", "database 8"), "unreadable");
        check(&format!("format 5\nstore {ID}\n"), "unreadable");
        check(&format!("format 1\nstore {ID}\n"), &other(1));
        check(&format!("format 3\nstore {ID}\n"), &other(3));
        check("format 4\nwhatever\n", &other(4));
        check("format 6\nwhatever\n", &other(6));
        check("format 5\n", "unreadable");
        check("format 5\nstore x\n", "unreadable");
        check("format two\n", "unreadable");
        check("", "unreadable");
    }
}
