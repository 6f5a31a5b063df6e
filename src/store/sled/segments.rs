//! sled's log, looked through before sled recovers it.
//!
//! sled's file is a row of segments, each with a header and then messages, and each message has a checksum. What its last
//! snapshot covers is checked by sled when it is read. What was written since is read once, at open, and there sled takes
//! a message that does not match its checksum for the end of its segment, and a segment whose header does not match for
//! one that was never written: it goes on without them, and pages silently go back to what they were. So this part is
//! read here first. Only its very end may be torn, by a crash; what was lost there is for the witness to tell.
//!
//! One tear elsewhere is no damage: the segment of which a crash left the beginning and the rest belongs to a newer one,
//! which had just been begun in its place. It is known by having nothing in it that is still needed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use super::OpenError;

/// What sled's own configuration says unless it is told otherwise.
const SEGMENT_BYTES: usize = 512 * 1024;
const SEGMENT_HEADER_BYTES: usize = 20;
/// No message begins nearer to the end of a segment.
const MESSAGE_HEADER_BYTES_MAX: usize = 32;
/// What follows the table of pages in a snapshot: its length and its checksum.
const SNAPSHOT_TRAILER_BYTES: usize = 12;

/// Kinds of messages.
const CAP: u8 = 2;
const BATCH_MANIFEST: u8 = 3;
const LINK: u8 = 10;
const BLOB_LINK: u8 = 11;

/// A place in the log. It never falls, while places in the file are used again.
type Lsn = u64;
type Page = u64;

/// A segment as its header describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    lsn: Lsn,
    /// Up to here everything was durable when the segment was begun.
    stable: Lsn,
}

/// A message less its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    kind: u8,
    segment: u64,
    page: Page,
    /// With its header.
    bytes: usize,
}

/// How the messages of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is full.
    Full,
    /// There is no message at this place in it.
    Torn(usize),
}

/// Finds damage that sled would recover from by forgetting something. There may be no file yet. `empty` are the segments
/// that were empty when sled was last opened, if that is known.
///
/// # Errors
/// [`OpenError::Unreadable`] names the file that is damaged; [`OpenError::Io`].
pub(super) fn check(sled: &Path, empty: Option<&BTreeSet<u64>>) -> Result<(), OpenError> {
    let db = sled.join("db");
    let from = check_snapshots(sled)?;
    let file = match File::open(&db) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io("open", &db)(error)),
    };
    let sound = Log::scan(file, from).and_then(|log| log.map_or(Ok(false), |log| log.check(empty)));
    if sound.map_err(OpenError::io("read", &db))? { Ok(()) } else { Err(OpenError::Unreadable { file: db }) }
}

/// The segments of sled's file that are empty, as long as it is open. sled empties some when it is opened and none later,
/// and begins with the first.
#[derive(Debug)]
pub(super) struct Empty {
    file: File,
    numbers: BTreeSet<u64>,
}

impl Empty {
    /// Looks for them.
    pub(super) fn find(sled: &Path) -> io::Result<Self> {
        let db = sled.join("db");
        let log = Log::scan(File::open(&db)?, 0)?;
        let blank = log.map(|log| log.blank).unwrap_or_default();
        Ok(Self { file: File::open(&db)?, numbers: blank.into_iter().map(number).collect() })
    }

    pub(super) fn numbers(&self) -> &BTreeSet<u64> {
        &self.numbers
    }

    /// Strikes out those that sled has used since, and says whether there are any.
    pub(super) fn update(&mut self) -> io::Result<bool> {
        let before = self.numbers.len();
        while let Some(first) = self.numbers.first() {
            let header = read(&mut self.file, first * SEGMENT_BYTES as u64, SEGMENT_HEADER_BYTES)?;
            if header.iter().all(|byte| *byte == 0) {
                break;
            }
            self.numbers.pop_first();
        }
        Ok(self.numbers.len() < before)
    }
}

/// Checks sled's snapshots, and says up to where the newest one covers the log.
fn check_snapshots(sled: &Path) -> Result<Lsn, OpenError> {
    let entries = match fs::read_dir(sled) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(OpenError::io("list", sled)(error)),
    };
    let mut newest: Option<(Lsn, PathBuf)> = None;
    for entry in entries {
        let path = entry.map_err(OpenError::io("list", sled))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(lsn) = name.strip_prefix("snap.").and_then(|lsn| Lsn::from_str_radix(lsn, 16).ok()) else {
            continue;
        };
        if newest.as_ref().is_none_or(|(newest, _)| *newest < lsn) {
            newest = Some((lsn, path));
        }
    }
    let Some((lsn, path)) = newest else { return Ok(0) };
    let bytes = fs::read(&path).map_err(OpenError::io("read", &path))?;
    if is_snapshot(&bytes) { Ok(lsn) } else { Err(OpenError::Unreadable { file: path }) }
}

fn is_snapshot(bytes: &[u8]) -> bool {
    let Some(length) = bytes.len().checked_sub(SNAPSHOT_TRAILER_BYTES) else { return false };
    let (table, trailer) = bytes.split_at(length);
    trailer.ends_with(&crc32fast::hash(table).to_le_bytes())
}

/// What sled will recover from, and what may be newer.
struct Log {
    file: File,
    /// Where segments begin in the file, by their place in the log, from the snapshot's on.
    segments: BTreeMap<Lsn, u64>,
    /// Places in the file that have no header.
    blank: Vec<u64>,
    /// The greatest that a header names.
    stable: Lsn,
}

impl Log {
    /// Reads the headers; none where one is damaged.
    fn scan(mut file: File, from: Lsn) -> io::Result<Option<Self>> {
        let mut segments = BTreeMap::new();
        let mut blank = Vec::new();
        let mut stable = from;
        let length = file.metadata()?.len();
        for offset in (0..length).step_by(SEGMENT_BYTES) {
            let bytes = read(&mut file, offset, SEGMENT_HEADER_BYTES)?;
            match decode_header(&bytes) {
                Some(header) if header.lsn >= start_of(from) => {
                    stable = stable.max(header.stable);
                    if segments.insert(header.lsn, offset).is_some() {
                        return Ok(None);
                    }
                }
                Some(_) => {}
                None if bytes.iter().all(|byte| *byte == 0) => blank.push(offset),
                None => return Ok(None),
            }
        }
        Ok(Some(Self { file, segments, blank, stable }))
    }

    /// Whether nothing is damaged.
    fn check(mut self, empty: Option<&BTreeSet<u64>>) -> io::Result<bool> {
        let mut torn = Vec::new();
        let mut newest = None;
        for (lsn, offset) in self.segments.clone() {
            let segment = self.segment(offset)?;
            let end = walk(&segment, number(lsn), |_, _| ());
            if let End::Torn(at) = end
                && lsn + (at as Lsn) < self.stable
            {
                torn.push(lsn);
            }
            newest = Some((lsn, end));
        }
        // sled begins with this one when it looks for the end, and takes the log for empty where it is missing. It may
        // not be begun yet where the one before is full, or nothing was ever written.
        let is_begun = !self.segments.is_empty() || !self.stable.is_multiple_of(SEGMENT_BYTES as Lsn);
        let has_tail = !is_begun || self.segments.contains_key(&start_of(self.stable));
        // Whether a crash can have left segments that were begun: behind a full one, or where one is missing near the end.
        let newest_is_full = newest.is_none_or(|(_, end)| end == End::Full);
        let newest = newest.map_or(0, |(lsn, _)| number(lsn));
        let is_missing = |number| !self.segments.contains_key(&(number * SEGMENT_BYTES as Lsn));
        let begun = newest_is_full || (number(self.stable)..newest).any(is_missing);
        if !has_tail || (!torn.is_empty() && !begun) {
            return Ok(false);
        }
        Ok(self.blank_are_new(begun, empty)? && self.torn_are_free(&torn)?)
    }

    /// Whether what has no header had none before: it was empty, or a segment was just begun there.
    fn blank_are_new(&mut self, begun: bool, empty: Option<&BTreeSet<u64>>) -> io::Result<bool> {
        let length = self.file.metadata()?.len();
        let offset_of = |segment: u64| segment * SEGMENT_BYTES as u64;
        // The first are used first: before one that was used since, none is empty.
        let is_used =
            |segment: &&u64| offset_of(**segment) < length && !self.blank.contains(&offset_of(**segment));
        let last_used = empty.and_then(|empty| empty.iter().rfind(is_used)).copied();
        for offset in self.blank.clone() {
            let segment = self.segment(offset)?;
            let was_empty = empty.is_none_or(|empty| {
                empty.contains(&number(offset)) && last_used.is_none_or(|used| used < number(offset))
            });
            if was_empty && segment.iter().all(|byte| *byte == 0) {
                continue;
            }
            // What is elsewhere, or too old to be missing, was not begun here.
            let is_other = |at| {
                message(&segment, at).is_some_and(|message| {
                    message.segment < number(self.stable)
                        || self.segments.contains_key(&offset_of(message.segment))
                })
            };
            if !begun || (SEGMENT_HEADER_BYTES..segment.len()).any(is_other) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether nothing in torn segments is needed any more, so that they may have been given up.
    fn torn_are_free(&mut self, torn: &[Lsn]) -> io::Result<bool> {
        if torn.is_empty() {
            return Ok(true);
        }
        let mut replaced: HashMap<Page, Lsn> = HashMap::new();
        for (lsn, offset) in self.segments.clone() {
            let segment = self.segment(offset)?;
            walk(&segment, number(lsn), |at, message| {
                if ![LINK, BLOB_LINK].contains(&message.kind) {
                    replaced.insert(message.page, lsn + at as Lsn);
                }
            });
        }
        for lsn in torn {
            let segment = self.segment(self.segments[lsn])?;
            let mut at = SEGMENT_HEADER_BYTES;
            while at < segment.len() {
                let Some(message) = message(&segment, at).filter(|message| message.segment == number(*lsn))
                else {
                    at += 1;
                    continue;
                };
                let is_of_page = ![CAP, BATCH_MANIFEST].contains(&message.kind);
                let later = replaced.get(&message.page).is_some_and(|later| number(*later) > number(*lsn));
                if is_of_page && !later {
                    return Ok(false);
                }
                at += message.bytes;
            }
        }
        Ok(true)
    }

    fn segment(&mut self, offset: u64) -> io::Result<Vec<u8>> {
        read(&mut self.file, offset, SEGMENT_BYTES)
    }
}

fn start_of(lsn: Lsn) -> Lsn {
    number(lsn) * SEGMENT_BYTES as Lsn
}

/// The number of the segment that a place is in.
fn number(lsn: Lsn) -> u64 {
    lsn / SEGMENT_BYTES as Lsn
}

/// So many bytes at a place, or fewer at the file's end.
fn read(file: &mut File, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(count);
    file.seek(SeekFrom::Start(offset))?;
    file.take(count as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// None where the header is not one.
fn decode_header(bytes: &[u8]) -> Option<Header> {
    let (sum, rest) = bytes.split_first_chunk::<4>()?;
    let (lsn, stable) = rest.split_first_chunk::<8>()?;
    let stable = stable.first_chunk::<8>()?;
    if u32::from_le_bytes(*sum) != !crc32fast::hash(rest) {
        return None;
    }
    // Kept so that a header of zeros is none. Before anything is durable, -1.
    let place = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes) ^ 0x7fff_ffff_ffff_ffff;
    let stable = place(stable);
    let header = Header { lsn: place(lsn), stable: if stable.cast_signed() < 0 { 0 } else { stable } };
    header.lsn.is_multiple_of(SEGMENT_BYTES as u64).then_some(header)
}

/// Goes from message to message.
fn walk(segment: &[u8], number: u64, mut with: impl FnMut(usize, Message)) -> End {
    let mut at = SEGMENT_HEADER_BYTES;
    while at + MESSAGE_HEADER_BYTES_MAX <= SEGMENT_BYTES {
        let Some(message) = message(segment, at).filter(|message| message.segment == number) else {
            return End::Torn(at);
        };
        if message.kind == CAP {
            break;
        }
        with(at, message);
        at += message.bytes;
    }
    End::Full
}

/// The message at a place in a segment, if there is one and it matches its checksum.
fn message(segment: &[u8], at: usize) -> Option<Message> {
    let bytes = segment.get(at..)?;
    let (sum, mut rest) = bytes.split_first_chunk::<4>()?;
    let (&kind, after) = rest.split_first()?;
    rest = after;
    if !(1..=BLOB_LINK).contains(&kind) {
        return None;
    }
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let (segment, page) = (varint(&mut rest)?, varint(&mut rest)?);
    let content = rest.get(..length)?;
    let header = &bytes[4..bytes.len() - rest.len()];
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(content);
    hasher.update(header);
    let matches = !hasher.finalize() == u32::from_le_bytes(*sum);
    matches.then_some(Message { kind, segment, page, bytes: 4 + header.len() + length })
}

/// A number as sled writes it.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    let (number, rest) = match first {
        0..=240 => (u64::from(first), rest),
        241..=248 => {
            let (&low, rest) = rest.split_first()?;
            (240 + 256 * (u64::from(first) - 241) + u64::from(low), rest)
        }
        249 => {
            let ([high, low], rest) = rest.split_first_chunk()?;
            (2288 + 256 * u64::from(*high) + u64::from(*low), rest)
        }
        _ => {
            let (little, rest) = rest.split_at_checked(usize::from(first) - 247)?;
            let mut wide = [0; 8];
            wide[..little.len()].copy_from_slice(little);
            (u64::from_le_bytes(wide), rest)
        }
    };
    *bytes = rest;
    Some(number)
}

/// Reads anything as a segment, and as the file of a snapshot.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &[u8]) {
    if let Some(header) = decode_header(bytes) {
        assert_eq!(start_of(header.lsn), header.lsn);
    }
    let mut end = SEGMENT_HEADER_BYTES;
    let found = walk(bytes, 0, |at, message| {
        assert_eq!(at, end, "messages follow on each other");
        end += message.bytes;
        assert!(end <= bytes.len());
    });
    assert!(found == End::Full || found == End::Torn(end));
    for at in 0..bytes.len().min(64) {
        assert!(message(bytes, at).is_none_or(|message| at + message.bytes <= bytes.len()));
    }
    is_snapshot(bytes);
}
