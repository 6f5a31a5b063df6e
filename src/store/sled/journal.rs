//! The journal: what is acknowledged is here first, and in sled later.
//!
//! It is a row of files in `journal/`, each named after the first commit in it. A file has a header and then frames, one
//! a commit, each with its number, its length and a checksum. Numbers have no gaps. A commit counts when its frame is
//! durable; a crash can leave a part of the last frame, which then never counted, and no later one after it. Anything else
//! that does not fit is damage.
//!
//! A checkpoint writes what is in the files into sled. Then they go, but for one that is kept to be written over: to make
//! durable what lies over something else costs a disk half of what a file that grows does. So frames of earlier commits may lie
//! behind the last one of a file, and in them whatever clients sent. Each file has a mark of its own, which its frames begin
//! with and nobody outside knows: nothing else in it is taken for a frame.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use uuid::Uuid;

use super::OpenError;
use crate::store::{StoreId, barrier};

/// What a file begins with, and which layout it has.
const MAGIC: &[u8; 4] = b"HPJ2";
/// Magic, the store's id, the number of the first commit, the mark, and the checksum of these.
const HEADER_BYTES: usize = 4 + 16 + 8 + 8 + 4;
/// The checksum of what follows, the length of the changes, the number, and the mark.
const FRAME_HEADER_BYTES: usize = 4 + 4 + 8 + 8;

/// What the frames of one file have in common, by chance.
type Mark = [u8; 8];

/// The name of the file that is to be written over, and of the one that is being begun.
const SPARE: &str = "spare";
const BEGUN: &str = "begun";

const REMOVE: u8 = 0;
const SET: u8 = 1;

/// A key, with its new value or with none.
pub(super) type Change = (Bytes, Option<Bytes>);

/// What a change takes in memory beside its key and its value, about. Small ones are also more work for sled than their bytes.
const CHANGE_BYTES: usize = 256;

/// About what changes take in memory until a checkpoint has them.
pub(super) fn weight(changes: &[Change]) -> u64 {
    let weight = |(key, value): &Change| CHANGE_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
    changes.iter().map(weight).sum::<usize>() as u64
}

/// The files, while commits are added to them.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    store: StoreId,
    file: File,
    mark: Mark,
    /// The number of the last commit.
    number: u64,
    frame: Vec<u8>,
}

impl Journal {
    /// Begins a file after a commit.
    pub(super) fn begin(directory: &Path, store: StoreId, number: u64) -> io::Result<Self> {
        let (file, mark) = create(directory, store, number + 1)?;
        let directory = directory.to_owned();
        Ok(Self { directory, store, file, mark, number, frame: Vec::new() })
    }

    /// The number of the last commit.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Adds a commit, which is not durable yet.
    pub(super) fn add(&mut self, changes: &[Change]) -> io::Result<()> {
        self.number += 1;
        self.frame.clear();
        encode(self.number, self.mark, changes, &mut self.frame);
        self.file.write_all(&self.frame)
    }

    /// Makes durable what was added.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Begins another file; what was added must be durable.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        (self.file, self.mark) = create(&self.directory, self.store, self.number + 1)?;
        Ok(())
    }
}

/// Makes a file for the commits from a number on, of the spare one if there is one. One that is there has none in it.
fn create(directory: &Path, store: StoreId, first: u64) -> io::Result<(File, Mark)> {
    let chance = Uuid::now_v7();
    let mark = *chance.as_bytes().last_chunk().expect("8 of 16 bytes");
    let (path, begun) = (directory.join(name(first)), directory.join(BEGUN));
    // From here on nobody lets go of it.
    match fs::rename(directory.join(SPARE), &begun) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().create(true).truncate(false).write(true).open(&begun)?;
    // It has its name only when it is what that says.
    file.write_all(&header(store, first, mark))?;
    file.sync_all()?;
    fs::rename(&begun, &path)?;
    barrier::sync_directory(directory)?;
    Ok((file, mark))
}

/// Lets go of the files that have nothing after a commit, the oldest first. Nobody else makes a spare one.
pub(super) fn remove_to(directory: &Path, number: u64) -> io::Result<()> {
    let (files, spare) = (list(directory)?, directory.join(SPARE));
    for pair in files.windows(2).take_while(|pair| pair[1].first <= number + 1) {
        if spare.try_exists()? {
            fs::remove_file(&pair[0].path)?;
        } else {
            fs::rename(&pair[0].path, &spare)?;
        }
    }
    Ok(())
}

/// Lets go of the spare one. The next that is begun after that grows again.
pub(super) fn remove_spare(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(SPARE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads the commits after one, which sled has with all before it, gives the changes of each, and says how many there
/// are in the store. What a crash left of a last commit is not looked at; all that is given is durable.
///
/// # Errors
/// [`OpenError::Unreadable`] names a file that is damaged, or the directory where one is missing; [`OpenError::Foreign`],
/// [`OpenError::Io`].
pub(super) fn recover(
    directory: &Path,
    store: StoreId,
    after: u64,
    mut take: impl FnMut(Vec<Change>),
) -> Result<u64, OpenError> {
    let mut files = list_after(directory, after).map_err(OpenError::io("list", directory))?;
    let mut number = after;
    while let Some(Named { first, path }) = files.pop_front() {
        let bytes = fs::read(&path).map_err(OpenError::io("read", &path))?;
        let is_last = files.is_empty();
        let (mark, frames) = frames_of(&bytes, store, first, &path)?;
        if first > number + 1 {
            return Err(OpenError::Unreadable { file: directory.to_owned() });
        }
        let mut next = first;
        let (mut rest, mut last) = (frames, frames);
        while let Some((changes, left)) = decode(rest, next, mark) {
            last = rest;
            if next > number {
                take(changes);
                number = next;
            }
            (next, rest) = (next + 1, left);
        }
        // Behind the last are earlier ones, or a part of one that never counted.
        if has_frame(rest, next, mark) {
            return Err(OpenError::Unreadable { file: path });
        }
        if is_last {
            // A process that was killed may not have synced what it wrote, and all that is read here counts from now on. Where
            // a sync has failed, the system may take for written what is only in its memory: so the last frame is written again.
            let (begins, ends) = (bytes.len() - last.len(), bytes.len() - rest.len());
            write_again(&path, &bytes[begins..ends], begins).map_err(OpenError::io("write", &path))?;
            barrier::sync_file(&path).map_err(OpenError::io("sync", &path))?;
        }
    }
    Ok(number)
}

/// Whether a file was begun after the one in which the next commit after one is.
pub(super) fn has_rotated(directory: &Path, after: u64) -> io::Result<bool> {
    Ok(list_after(directory, after)?.len() > 1)
}

/// Writes what a file has at a place already.
fn write_again(path: &Path, bytes: &[u8], at: usize) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.seek(SeekFrom::Start(at as u64))?;
    file.write_all(bytes)
}

/// The mark of a file, and what is behind its header. A file has a whole one before it has its name.
fn frames_of<'a>(
    bytes: &'a [u8],
    store: StoreId,
    first: u64,
    path: &Path,
) -> Result<(Mark, &'a [u8]), OpenError> {
    let damaged = || OpenError::Unreadable { file: path.to_owned() };
    let (found, frames) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(damaged)?;
    let mark: Mark = found[28..36].try_into().expect("8 bytes");
    if *found == header(store, first, mark) {
        return Ok((mark, frames));
    }
    let (named, sum) = found.split_at(HEADER_BYTES - 4);
    let is_whole = named.starts_with(MAGIC) && crc32fast::hash(named).to_be_bytes() == sum;
    match Uuid::from_slice(&named[4..20]) {
        Ok(other) if is_whole && other != store.0 => Err(OpenError::Foreign {
            part: path.display().to_string(),
            expected: store.0.to_string(),
            found: other.to_string(),
        }),
        _ => Err(damaged()),
    }
}

/// A file and the number of the first commit in it.
struct Named {
    first: u64,
    path: PathBuf,
}

/// The files, the oldest first.
fn list(directory: &Path) -> io::Result<Vec<Named>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Ok(first) = u64::from_str_radix(name, 16) {
            files.push(Named { first, path });
        }
    }
    files.sort_by_key(|file| file.first);
    Ok(files)
}

/// Those that have commits after one, or may get some.
fn list_after(directory: &Path, after: u64) -> io::Result<VecDeque<Named>> {
    let mut files: VecDeque<Named> = list(directory)?.into();
    while files.get(1).is_some_and(|second| second.first <= after + 1) {
        files.pop_front();
    }
    Ok(files)
}

fn name(first: u64) -> String {
    format!("{first:016x}")
}

fn header(store: StoreId, first: u64, mark: Mark) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (named, sum) = header.split_at_mut(HEADER_BYTES - 4);
    named[..4].copy_from_slice(MAGIC);
    named[4..20].copy_from_slice(store.0.as_bytes());
    named[20..28].copy_from_slice(&first.to_be_bytes());
    named[28..].copy_from_slice(&mark);
    sum.copy_from_slice(&crc32fast::hash(named).to_be_bytes());
    header
}

/// Puts a frame at the end of `frame`, which is empty.
fn encode(number: u64, mark: Mark, changes: &[Change], frame: &mut Vec<u8>) {
    frame.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    for (key, value) in changes {
        frame.push(if value.is_some() { SET } else { REMOVE });
        put(frame, key);
        if let Some(value) = value {
            put(frame, value);
        }
    }
    let length = length(frame.len() - FRAME_HEADER_BYTES);
    frame[4..8].copy_from_slice(&length);
    frame[8..16].copy_from_slice(&number.to_be_bytes());
    frame[16..24].copy_from_slice(&mark);
    let sum = crc32fast::hash(&frame[4..]);
    frame[..4].copy_from_slice(&sum.to_be_bytes());
}

fn put(frame: &mut Vec<u8>, part: &[u8]) {
    frame.extend_from_slice(&length(part.len()));
    frame.extend_from_slice(part);
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("a commit is far smaller").to_be_bytes()
}

/// The changes in the frame of a commit, and what follows it; none where it is not whole.
fn decode(bytes: &[u8], number: u64, mark: Mark) -> Option<(Vec<Change>, &[u8])> {
    let (content, rest) = frame(bytes, number, mark)?;
    Some((changes(content)?, rest))
}

/// The content of the frame with a number at the beginning of some bytes, and what follows it.
fn frame(bytes: &[u8], number: u64, mark: Mark) -> Option<(&[u8], &[u8])> {
    let (sum, after) = bytes.split_first_chunk::<4>()?;
    let (length, after) = after.split_first_chunk::<4>()?;
    let (found, after) = after.split_first_chunk::<8>()?;
    let (marked, after) = after.split_first_chunk::<8>()?;
    if u64::from_be_bytes(*found) != number || *marked != mark {
        return None;
    }
    let (content, rest) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let summed = &bytes[4..FRAME_HEADER_BYTES + content.len()];
    (crc32fast::hash(summed) == u32::from_be_bytes(*sum)).then_some((content, rest))
}

/// Whether a frame of a commit, or of a later one, is anywhere in some bytes of a file.
fn has_frame(bytes: &[u8], number: u64, mark: Mark) -> bool {
    let places = bytes.windows(FRAME_HEADER_BYTES).enumerate();
    let mut marked = places.filter(|(_, header)| header.ends_with(&mark));
    marked.any(|(at, header)| {
        let found = header[8..].first_chunk().map(|number| u64::from_be_bytes(*number));
        found.is_some_and(|found| found >= number && frame(&bytes[at..], found, mark).is_some())
    })
}

fn changes(mut content: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while let Some((&flag, rest)) = content.split_first() {
        content = rest;
        let key = part(&mut content)?;
        match flag {
            REMOVE => changes.push((key, None)),
            SET => changes.push((key, Some(part(&mut content)?))),
            _ => return None,
        }
    }
    Some(changes)
}

fn part(bytes: &mut &[u8]) -> Option<Bytes> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(Bytes::copy_from_slice(part))
}

/// Reads anything as frames.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &[u8]) {
    let mark = bytes.get(16..24).and_then(|mark| mark.try_into().ok()).unwrap_or_default();
    for number in 0..3 {
        if let Some((changes, rest)) = decode(bytes, number, mark) {
            let mut again = Vec::new();
            encode(number, mark, &changes, &mut again);
            assert_eq!([&again, rest].concat(), bytes);
            assert!(has_frame(bytes, number, mark));
        }
    }
    let _ = changes(bytes);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;

    const STORE: StoreId = StoreId(Uuid::from_u128(7));

    fn change(number: u64) -> Vec<Change> {
        vec![
            (Bytes::from(format!("key {number}")), Some(Bytes::from(vec![b'v'; 100]))),
            (Bytes::from("gone"), None),
        ]
    }

    fn add(journal: &mut Journal, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            journal.add(&change(number)).unwrap();
        }
    }

    /// The last number, and how many commits were given.
    fn recovered(place: &TempDir, after: u64) -> Result<(u64, usize), String> {
        let mut taken = Vec::new();
        let number = recover(place.path(), STORE, after, |changes| taken.push(changes));
        let number = number.map_err(|error| error.to_string())?;
        let expected: Vec<_> = (after + 1..=number).map(change).collect();
        assert_eq!(taken, expected);
        Ok((number, taken.len()))
    }

    /// Two files: with the commits 1 to 3, and 4 to 6.
    fn written() -> TempDir {
        let place = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(place.path(), STORE, 0).unwrap();
        add(&mut journal, 1..=3);
        journal.rotate().unwrap();
        add(&mut journal, 4..=6);
        assert_eq!(journal.number(), 6);
        place
    }

    #[test]
    fn what_was_added_is_found() {
        let place = written();
        assert_eq!(recovered(&place, 0), Ok((6, 6)));
        assert_eq!(recovered(&place, 2), Ok((6, 4)));
        assert_eq!(recovered(&place, 6), Ok((6, 0)));
        assert_eq!(recovered(&place, 9), Ok((9, 0)), "a checkpoint may have outlived its files");
        remove_to(place.path(), 2).unwrap();
        assert_eq!(recovered(&place, 0), Ok((6, 6)));
        remove_to(place.path(), 3).unwrap();
        assert_eq!(recovered(&place, 3), Ok((6, 3)));
        let gap = recovered(&place, 2).unwrap_err();
        assert!(gap.contains("is damaged"), "{gap}");
    }

    /// What a sync has failed to write may look written to the system.
    #[test]
    fn the_last_frame_is_written_again_as_it_is() {
        let place = written();
        let [first, last] = [1, 4].map(|number| place.path().join(name(number)));
        let contents = || [&first, &last].map(|path| fs::read(path).unwrap());
        let before = contents();
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let long_ago = modified(&first) - Duration::from_secs(3_600);
        for path in [&first, &last] {
            File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        }
        assert_eq!(recovered(&place, 0), Ok((6, 6)));
        assert_eq!(contents(), before);
        assert_eq!((modified(&first) == long_ago, modified(&last) == long_ago), (true, false));
    }

    #[test]
    fn a_torn_end_never_counted() {
        let last = |place: &TempDir| place.path().join(name(4));
        let whole = fs::read(last(&written())).unwrap();
        let frame = (whole.len() - HEADER_BYTES) / 3;
        // What has a name has a header.
        for length in 0..HEADER_BYTES {
            let place = written();
            fs::write(last(&place), &whole[..length]).unwrap();
            assert!(recovered(&place, 0).is_err(), "{length}");
        }
        for length in HEADER_BYTES..whole.len() {
            let place = written();
            fs::write(last(&place), &whole[..length]).unwrap();
            let number = 3 + ((length - HEADER_BYTES) / frame) as u64;
            assert_eq!(recovered(&place, 0), Ok((number, usize::try_from(number).unwrap())), "{length}");
            // It goes on from there.
            let mut journal = Journal::begin(place.path(), STORE, number).unwrap();
            add(&mut journal, number + 1..=number + 2);
            assert_eq!(recovered(&place, 0), Ok((number + 2, usize::try_from(number).unwrap() + 2)));
        }
    }

    #[test]
    fn what_lies_behind_the_last_in_a_file_that_is_written_over_is_not_read() {
        // The commits 1 to 3 lie under the header of 7, which is torn in all places.
        let written_over = || {
            let place = written();
            remove_to(place.path(), 3).unwrap();
            assert!(place.path().join(SPARE).exists());
            let mut journal = Journal::begin(place.path(), STORE, 6).unwrap();
            assert!(!place.path().join(SPARE).exists());
            let before = fs::read(place.path().join(name(7))).unwrap();
            add(&mut journal, 7..=8);
            let after = fs::read(place.path().join(name(7))).unwrap();
            assert_eq!(before.len(), after.len(), "it does not grow");
            (place, before, after)
        };
        let (place, before, after) = written_over();
        let frame = (before.len() - HEADER_BYTES) / 3;
        assert_eq!(recovered(&place, 3), Ok((8, 5)));
        for written in HEADER_BYTES..=HEADER_BYTES + 2 * frame {
            let (place, ..) = written_over();
            let torn = [&after[..written], &before[written..]].concat();
            fs::write(place.path().join(name(7)), &torn).unwrap();
            let is_whole = |frames: &usize| {
                let end = HEADER_BYTES + frames * frame;
                torn[..end] == after[..end]
            };
            let frames = (1..=2).take_while(is_whole).count() as u64;
            assert_eq!(recovered(&place, 3).map(|(number, _)| number), Ok(6 + frames), "{written}");
        }
        // What is damaged with another after it is no end.
        let mut damaged = after.clone();
        damaged[HEADER_BYTES + 20] ^= 1;
        fs::write(place.path().join(name(7)), &damaged).unwrap();
        assert!(recovered(&place, 3).is_err());
    }

    #[test]
    fn what_clients_sent_is_taken_for_no_frame() {
        let place = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(place.path(), STORE, 0).unwrap();
        // Of the numbers that may come, with marks that can be guessed, and with that of the file in which it is then.
        let mut forged = Vec::new();
        for number in 0..50 {
            for mark in [[0; 8], *b"guessed!", journal.mark] {
                let mut frame = Vec::new();
                encode(number, mark, &[(Bytes::from("a key"), Some(Bytes::from("forged")))], &mut frame);
                forged.extend(frame);
            }
        }
        journal.add(&[(Bytes::from("key"), Some(forged.into()))]).unwrap();
        journal.rotate().unwrap();
        remove_to(place.path(), 1).unwrap();
        drop(Journal::begin(place.path(), STORE, 1).unwrap());
        let mut taken = 0;
        let number = recover(place.path(), STORE, 1, |_| taken += 1).unwrap();
        assert_eq!((number, taken), (1, 0));
        let length = fs::metadata(place.path().join(name(2))).unwrap().len();
        assert!(length > 3_000, "it lies there: {length} bytes");
    }

    #[test]
    fn one_file_is_kept_to_be_written_over() {
        let place = written();
        let mut journal = Journal::begin(place.path(), STORE, 6).unwrap();
        add(&mut journal, 7..=7);
        journal.rotate().unwrap();
        remove_to(place.path(), 7).unwrap();
        let names = |place: &TempDir| {
            let files = fs::read_dir(place.path()).unwrap();
            files
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(&place), [name(8), SPARE.to_owned()].into());
        journal.rotate().unwrap();
        assert_eq!(names(&place), [name(8)].into(), "of the spare one became one that has its name already");
    }

    #[test]
    fn damage_is_refused_or_an_end_that_is_missed() {
        for file in [1, 4] {
            let place = written();
            let path = place.path().join(name(file));
            let whole = fs::read(&path).unwrap();
            let frame = (whole.len() - HEADER_BYTES) / 3;
            let last = whole.len() - frame;
            for index in 0..whole.len() {
                let mut bad = whole.clone();
                bad[index] ^= 1;
                fs::write(&path, &bad).unwrap();
                let found = recovered(&place, 0);
                // The head that the witness has is 6: what ends before it is refused.
                let is_end = file == 4 && index >= last;
                assert_eq!(found, if is_end { Ok((5, 5)) } else { found.clone() }, "{file} {index}");
                assert!(is_end || found.is_err(), "{file} {index}: {found:?}");
                fs::write(&path, &whole).unwrap();
            }
            fs::remove_file(&path).unwrap();
            assert!(file == 4 || recovered(&place, 0).is_err());
        }
    }

    #[test]
    fn the_journal_of_another_store_is_refused() {
        let place = written();
        let refused = recover(place.path(), StoreId(Uuid::from_u128(8)), 0, |_| ());
        assert!(matches!(refused, Err(OpenError::Foreign { .. })), "{refused:?}");
    }
}
