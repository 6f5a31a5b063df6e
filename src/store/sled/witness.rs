//! How far the store was written, noted beside the journal with each commit.
//!
//! A crash may tear the end of the journal, and damage there looks the same: it is cut off. So each commit notes its
//! number, after it is durable and before it is acknowledged: what was acknowledged and is gone is then missed. The note itself is not waited for; it is as safe as the system is after each commit, and safe from
//! a power cut once a second.
//!
//! The file has two lines of 512 bytes, written in turn, each with a checksum: a write that is cut off leaves the other.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::OpenError;

const LINES: u64 = 2;
const LINE_BYTES: usize = 512;

/// The file, while the store is open.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    /// The line to write next.
    next: u64,
}

impl Witness {
    /// Takes up a file whose lines are [`whole`].
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().write(true).open(path)?;
        Ok(Self { file, next: 0 })
    }

    /// Notes that the store has reached a commit, which must be durable.
    pub(super) fn note(&mut self, number: u64) -> io::Result<()> {
        self.file.write_all_at(line(number).as_bytes(), self.next * LINE_BYTES as u64)?;
        self.next = (self.next + 1) % LINES;
        Ok(())
    }

    /// Makes durable what was noted.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The number of a commit that the store has at least; none where there is no file.
pub(super) fn read(path: &Path) -> Result<Option<u64>, OpenError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("read", path)(error)),
    };
    let newest = bytes.chunks(LINE_BYTES).filter_map(parse).max();
    newest.map(Some).ok_or_else(|| OpenError::Unreadable { file: path.to_owned() })
}

/// The text of a file that says one number in both its lines.
pub(super) fn whole(number: u64) -> String {
    line(number).repeat(2)
}

fn line(number: u64) -> String {
    let said = format!("partition 0 commit {number}");
    let sealed = format!("{said} checksum {:08x}", crc32fast::hash(said.as_bytes()));
    format!("{sealed:<width$}\n", width = LINE_BYTES - 1)
}

/// The number in a line; none where it is not what was written.
fn parse(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let number = text.strip_prefix("partition 0 commit ")?.split(' ').next()?;
    let number = number.parse().ok()?;
    (text == line(number)).then_some(number)
}

/// Reads anything as a line.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &[u8]) {
    if let Some(number) = parse(bytes) {
        assert_eq!(line(number).as_bytes(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_line_that_is_whole_counts() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("witness");
        assert_eq!(read(&path).unwrap(), None);
        fs::write(&path, whole(6)).unwrap();
        let mut witness = Witness::open(&path).unwrap();
        for number in 7..12 {
            witness.note(number).unwrap();
            assert_eq!(read(&path).unwrap(), Some(number));

            let good = fs::read(&path).unwrap();
            assert_eq!(good.len(), 2 * LINE_BYTES);
            let mut found = std::collections::BTreeSet::new();
            for index in 0..good.len() {
                let mut bad = good.clone();
                bad[index] ^= 1;
                fs::write(&path, bad).unwrap();
                found.insert(read(&path).unwrap());
            }
            assert_eq!(found, [Some(number - 1), Some(number)].into());
            for length in 0..LINE_BYTES {
                fs::write(&path, &good[..length]).unwrap();
                assert!(read(&path).is_err(), "{length}");
            }
            fs::write(&path, good).unwrap();
        }
    }
}
