//! sled's log, looked through before sled recovers it.
//!
//! sled's file is a row of segments, each with a header and then messages, and each message has a checksum. What its last
//! snapshot covers is checked by sled when it is read. What was written since is read once, at open, and there sled takes
//! a message that does not match its checksum for the end of its segment, and a segment whose header does not match for
//! one that was never written: it goes on without them, and pages silently go back to what they were. So this part is
//! read here first. Only its very end may be torn, by a crash; what was lost there is for the witness to tell.
//!
//! Other things are no damage, although they look like it:
//!
//! * A segment of which a crash left the beginning, while the rest belongs to a newer one that had just been begun in its
//!   place: sled writes pieces side by side, and the second can come before the first, which has the header. It is known by
//!   having nothing in it that is still needed.
//! * Zeros at the end of the file. sled gives up free segments there in the background, one after another and in any order:
//!   the file is cut, and then "cut" once more to what is longer than it is by then.
//! * A free segment that is zeroed in part, where sled was opening when it was killed.

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
/// What a disk writes at least, and a page of memory is made of.
const BLOCK_BYTES: usize = 512;
/// What follows the table of pages in a snapshot: its length and its checksum.
const SNAPSHOT_TRAILER_BYTES: usize = 12;

/// Kinds of messages.
const CANCELED: u8 = 1;
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

impl Message {
    /// Whether it says something of a page.
    fn is_of_page(self) -> bool {
        ![CANCELED, CAP, BATCH_MANIFEST].contains(&self.kind)
    }
}

/// How the messages of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is full.
    Full,
    /// There is no message at this place in it.
    Torn(usize),
}

/// What looks like damage, and where in sled's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doubt {
    offset: u64,
    what: &'static str,
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
    match look(file, from, empty).map_err(OpenError::io("read", &db))? {
        None => Ok(()),
        Some(Doubt { offset, what }) => {
            tracing::warn!(offset, what, "sled's file has what sled does not leave there");
            Err(OpenError::Unreadable { file: db })
        }
    }
}

/// Looks at what a snapshot does not cover.
fn look(file: File, from: Lsn, empty: Option<&BTreeSet<u64>>) -> io::Result<Option<Doubt>> {
    match Log::scan(file, from)? {
        Ok(log) => log.check(empty),
        Err(doubt) => Ok(Some(doubt)),
    }
}

/// The segments of sled's file that are empty, as long as it is open. sled empties some when it is opened, begins with the
/// first, and leaves others at the end of the file when it makes that shorter.
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

    /// Strikes out those that sled has used since, adds those that it has left at the end of the file, and says whether
    /// there are any.
    pub(super) fn update(&mut self) -> io::Result<bool> {
        let used = self.strike_used()?;
        let left = self.add_left()?;
        Ok(used || left)
    }

    fn strike_used(&mut self) -> io::Result<bool> {
        let before = self.numbers.len();
        while let Some(first) = self.numbers.first() {
            let header = read(&mut self.file, first * SEGMENT_BYTES as u64, SEGMENT_HEADER_BYTES)?;
            if is_zero(&header) {
                break;
            }
            self.numbers.pop_first();
        }
        Ok(self.numbers.len() < before)
    }

    fn add_left(&mut self) -> io::Result<bool> {
        let before = self.numbers.len();
        let length = self.file.metadata()?.len();
        for number in (0..length.div_ceil(SEGMENT_BYTES as u64)).rev() {
            if self.numbers.contains(&number) {
                continue;
            }
            let offset = number * SEGMENT_BYTES as u64;
            // Nearly always it ends here.
            if !is_zero(&read(&mut self.file, offset, SEGMENT_HEADER_BYTES)?)
                || !is_zero(&read(&mut self.file, offset, SEGMENT_BYTES)?)
            {
                break;
            }
            self.numbers.insert(number);
        }
        Ok(self.numbers.len() > before)
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
    /// Up to where the snapshot covers the log.
    from: Lsn,
    /// Where segments begin in the file, by their place in the log, from the snapshot's on.
    segments: BTreeMap<Lsn, u64>,
    /// Places in the file that have no header.
    blank: Vec<u64>,
    /// The greatest that a header names.
    stable: Lsn,
}

impl Log {
    /// Reads the headers.
    fn scan(mut file: File, from: Lsn) -> io::Result<Result<Self, Doubt>> {
        let doubt = |offset, what| Ok(Err(Doubt { offset, what }));
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
                        return doubt(offset, "a segment that is there twice");
                    }
                }
                Some(_) => {}
                None if is_zero(&bytes) => blank.push(offset),
                None => return doubt(offset, "a header that does not match its checksum"),
            }
        }
        Ok(Ok(Self { file, from, segments, blank, stable }))
    }

    /// Finds what a crash does not leave.
    fn check(mut self, empty: Option<&BTreeSet<u64>>) -> io::Result<Option<Doubt>> {
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
        if !self.has_tail() {
            return Ok(Some(Doubt { offset: 0, what: "the segment that was last durable is missing" }));
        }
        // Whether a crash can have left segments that were begun: behind a full one, or where one is missing near the end.
        let newest_is_full = newest.is_none_or(|(_, end)| end == End::Full);
        let newest = newest.map_or(0, |(lsn, _)| number(lsn));
        let begun = newest_is_full || (number(self.stable)..newest).any(|number| self.is_missing(number));
        if let Some(doubt) = self.check_blank(begun, empty)? {
            return Ok(Some(doubt));
        }
        self.check_torn(begun, &torn)
    }

    /// sled begins with this segment when it looks for the end, and takes the log for empty where it is missing. It may not
    /// be begun yet where the one before is full, or nothing was ever written; or be on its way behind others.
    fn has_tail(&self) -> bool {
        let at_border = self.stable.is_multiple_of(SEGMENT_BYTES as Lsn);
        let is_begun = !at_border || (!self.segments.is_empty() && self.stable > self.from);
        !is_begun || self.segments.contains_key(&start_of(self.stable))
    }

    fn is_missing(&self, number: u64) -> bool {
        !self.segments.contains_key(&(number * SEGMENT_BYTES as Lsn))
    }

    /// Whether messages of a segment are at a place whose header, which comes with the first of them, is not written yet.
    fn is_begun_at(&self, message: Message) -> bool {
        message.segment > number(self.stable) && self.is_missing(message.segment)
    }

    /// Whether what has no header had none before: it was empty, or a segment was just begun there.
    fn check_blank(&mut self, begun: bool, empty: Option<&BTreeSet<u64>>) -> io::Result<Option<Doubt>> {
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
            // Not known: sled was emptying it, from its beginning on.
            let is_emptied = empty.is_none() && is_zero(segment.get(..BLOCK_BYTES).unwrap_or(&segment));
            if was_empty && (is_emptied || is_zero(&segment)) {
                continue;
            }
            let found = messages(&segment);
            // What is elsewhere, or too old to be missing, was not begun here.
            if found.iter().any(|(_, message)| !self.is_begun_at(*message)) {
                return Ok(Some(Doubt { offset, what: "a segment without its header" }));
            }
            if !begun && found.is_empty() {
                return Ok(Some(Doubt { offset, what: "zeros where there was a segment" }));
            }
        }
        Ok(None)
    }

    /// Whether torn segments may have been given up: nothing in them is needed any more, and another was begun there.
    fn check_torn(&mut self, begun: bool, torn: &[Lsn]) -> io::Result<Option<Doubt>> {
        if torn.is_empty() {
            return Ok(None);
        }
        let replaced = self.replaced()?;
        for lsn in torn {
            let offset = self.segments[lsn];
            let found = messages(&self.segment(offset)?);
            let is_needed = |message: &Message| {
                let later = replaced.get(&message.page).is_some_and(|later| number(*later) > number(*lsn));
                message.segment == number(*lsn) && message.is_of_page() && !later
            };
            if found.iter().any(|(_, message)| is_needed(message)) {
                return Ok(Some(Doubt { offset, what: "a torn segment that is needed" }));
            }
            if !begun && !found.iter().any(|(_, message)| self.is_begun_at(*message)) {
                return Ok(Some(Doubt { offset, what: "a torn segment, where none was begun" }));
            }
        }
        Ok(None)
    }

    /// Where pages were last written as a whole.
    fn replaced(&mut self) -> io::Result<HashMap<Page, Lsn>> {
        let mut replaced = HashMap::new();
        for (lsn, offset) in self.segments.clone() {
            let segment = self.segment(offset)?;
            walk(&segment, number(lsn), |at, message| {
                if message.is_of_page() && ![LINK, BLOB_LINK].contains(&message.kind) {
                    replaced.insert(message.page, lsn + at as Lsn);
                }
            });
        }
        Ok(replaced)
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

/// All messages that can be found, wherever they begin, and whatever segment they are of.
fn messages(segment: &[u8]) -> Vec<(usize, Message)> {
    let mut found = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES;
    while at < segment.len() {
        match message(segment, at) {
            Some(message) => {
                found.push((at, message));
                at += message.bytes;
            }
            None => at += 1,
        }
    }
    found
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
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

#[cfg(test)]
mod tests;
