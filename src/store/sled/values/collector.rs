//! Getting rid of files of which little is needed.
//!
//! Most files go by themselves: what dies together stands together, and where nothing of a file is needed any more it is not in the next
//! inventory. Of others, what is needed is copied when that is half of it or less. Which records those are is asked of sled, one
//! by one: what leads to its place here is needed, and nothing else.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt as _,
};

use ::sled::Tree;

use super::{HEADER_BYTES, Place, RECORD_HEADER_BYTES, Record, RecordHeader, Writer, inventory::Contents};
use crate::store::{
    Error, Result,
    sled::{committer::unwritten, failed, value},
};

/// So much of what a file can have is too little to be looked at: that of one that grows, and of all that are, at rest.
const SMALL_SHARE: u32 = 16;
/// How much is read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// What was copied: sled is to lead there.
pub(in crate::store::sled) struct Moved {
    pub(in crate::store::sled) key: Vec<u8>,
    pub(in crate::store::sled) to: Place,
}

/// What was done about a file.
pub(in crate::store::sled) enum Collected {
    /// What is needed of it was counted, or cannot be.
    Counted,
    /// All that is needed of it was copied: when that is durable, and sled leads there, it is [empty](Writer::emptied).
    Copied { file: u64, moved: Vec<Moved> },
}

impl Writer {
    /// Whether there is a file to be counted or emptied, with so much room on the disk. While sled may lead to leftovers, there is none.
    pub(in crate::store::sled) fn has_work(&self, room: Option<u64>) -> bool {
        !self.has_leftovers && (self.uncounted().is_some() || self.sparsest(room).is_some())
    }

    /// Counts a file, or copies what is needed of one; none where there is none. Ends with an error where `go_on` does.
    pub(in crate::store::sled) fn collect(
        &mut self,
        tree: &Tree,
        room: Option<u64>,
        go_on: impl Fn() -> Result<()>,
    ) -> Result<Option<Collected>> {
        if !self.has_work(room) {
            return Ok(None);
        }
        if let Some(file) = self.uncounted() {
            self.count(file, tree, go_on)?;
            return Ok(Some(Collected::Counted));
        }
        let Some((file, contents)) = self.sparsest(room) else { return Ok(None) };
        if self.is_growing(file) {
            self.close(contents.cohort).map_err(unwritten)?;
        }
        let moved = self.copy(file, tree, go_on)?;
        Ok(Some(moved.map_or(Collected::Counted, |moved| Collected::Copied { file, moved })))
    }

    /// Sled leads to the copies, and to nothing in the file any more.
    pub(in crate::store::sled) fn emptied(&mut self, file: u64, moved: &[Moved]) {
        if let Some(contents) = self.inventory.0.get_mut(&file) {
            contents.live = 0;
        }
        self.mark_copies(moved, true);
    }

    fn count(&mut self, file: u64, tree: &Tree, go_on: impl Fn() -> Result<()>) -> Result<()> {
        let mut live = 0;
        let walked = self.walk(file, tree, |_, needed| {
            live += needed.map_or(0, |(_, place)| place.length);
            go_on()
        });
        if self.is_whole(file, walked)?
            && let Some(contents) = self.inventory.0.get_mut(&file)
        {
            (contents.live, contents.is_counted) = (live, true);
        }
        Ok(())
    }

    /// None where that cannot be done.
    fn copy(&mut self, file: u64, tree: &Tree, go_on: impl Fn() -> Result<()>) -> Result<Option<Vec<Moved>>> {
        let mut moved = Vec::new();
        let walked = self.walk(file, tree, |writer, needed| {
            if let Some((record, _)) = needed {
                let to = writer.append(record.key, record.value).map_err(unwritten)?;
                moved.push(Moved { key: record.key.to_vec(), to });
            }
            go_on()
        });
        let is_whole = self.is_whole(file, walked)?;
        // Until sled leads to them they may not be needed: a crash can come before.
        self.mark_copies(&moved, false);
        Ok(is_whole.then_some(moved))
    }

    fn mark_copies(&mut self, moved: &[Moved], are_counted: bool) {
        for Moved { to, .. } in moved {
            if let Some(contents) = self.inventory.0.get_mut(&to.file) {
                contents.is_counted = are_counted;
            }
        }
    }

    /// Whether all of a file was gone through. One that is damaged is left as it is: who needs what is damaged will be told.
    fn is_whole(&mut self, file: u64, walked: Result<()>) -> Result<bool> {
        match walked {
            Err(error @ Error::Corrupt(_)) => {
                tracing::warn!(%error, "a file of values is left as it is, with what is not needed of it");
                self.damaged.insert(file);
                // Nothing more is put behind what is damaged.
                if self.is_growing(file) {
                    self.close(self.inventory.0[&file].cohort).map_err(unwritten)?;
                }
                Ok(false)
            }
            walked => walked.map(|()| true),
        }
    }

    /// Whether it is not known of some file how much of it is needed.
    pub(in crate::store::sled) fn has_uncounted(&self) -> bool {
        self.uncounted().is_some()
    }

    fn uncounted(&self) -> Option<u64> {
        self.looked_at().find(|(_, contents)| !contents.is_counted).map(|(file, _)| file)
    }

    /// Where files have far more than is needed, of those of which little is needed the one with least. Any earlier, and much would be
    /// copied that is about to go; at rest nothing is.
    fn sparsest(&self, room: Option<u64>) -> Option<(u64, Contents)> {
        let small = self.file_bytes_min / SMALL_SHARE;
        let left = if self.is_at_rest { small } else { self.file_bytes_min };
        if self.inventory.bytes() <= 2 * self.inventory.live() + u64::from(left) {
            return None;
        }
        let part =
            |contents: &Contents| u64::from(contents.live) * u64::from(u32::MAX) / u64::from(contents.end);
        let room_min = |contents: &Contents| u64::from(contents.live) + u64::from(self.file_bytes_min);
        self.looked_at()
            .filter(|(_, contents)| contents.is_counted && contents.live <= contents.end / 2)
            .filter(|(_, contents)| room.is_none_or(|room| room_min(contents) <= room))
            .filter(|(file, contents)| !self.is_growing(*file) || contents.end >= small)
            .min_by_key(|(_, contents)| part(contents))
    }

    fn looked_at(&self) -> impl Iterator<Item = (u64, Contents)> {
        let files = self.inventory.0.iter().map(|(file, contents)| (*file, *contents));
        files.filter(|(file, _)| !self.damaged.contains(file))
    }

    fn is_growing(&self, file: u64) -> bool {
        self.growing.values().any(|growing| growing.number == file)
    }

    /// Goes through the records of a file, and gives those that are needed.
    fn walk(
        &mut self,
        number: u64,
        tree: &Tree,
        mut with: impl FnMut(&mut Self, Option<(Record<'_>, Place)>) -> Result<()>,
    ) -> Result<()> {
        self.write_out().map_err(unwritten)?;
        let file = self.values.file(number).expect("what is in the inventory is there");
        let end = self.inventory.0[&number].end;
        let mut offset = u32::try_from(HEADER_BYTES).expect("it is small");
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, At { file: &file, at: offset.into() });
        let mut bytes = Vec::new();
        while offset < end {
            let damaged = |what: &str| {
                Error::Corrupt(format!("file {} of values {what} at {offset}", super::name(number)))
            };
            let (record, length) = next(&mut reader, end - offset, &mut bytes)
                .map_err(|error| damaged(&format!("cannot be read ({error})")))?
                .ok_or_else(|| damaged("has no record"))?;
            let place = Place { file: number, offset, length, sum: record.sum };
            let leads_to = match tree.get(record.key).map_err(failed)? {
                Some(raw) => value::place(record.key, &raw)?,
                None => None,
            };
            with(self, (leads_to == Some(place)).then_some((record, place)))?;
            offset += length;
        }
        Ok(())
    }
}

/// The next record, in `bytes`, and its length; none where it is not whole.
fn next<'b>(
    reader: &mut impl Read,
    length_max: u32,
    bytes: &'b mut Vec<u8>,
) -> io::Result<Option<(Record<'b>, u32)>> {
    bytes.resize(RECORD_HEADER_BYTES, 0);
    reader.read_exact(bytes)?;
    let Some((header, _)) = RecordHeader::decode(bytes) else { return Ok(None) };
    let length = RECORD_HEADER_BYTES + header.key + header.value;
    let Some(counted) = u32::try_from(length).ok().filter(|length| *length <= length_max) else {
        return Ok(None);
    };
    bytes.resize(length, 0);
    reader.read_exact(&mut bytes[RECORD_HEADER_BYTES..])?;
    Ok(Record::decode(bytes).map(|record| (record, counted)))
}

/// A file, read on from a place.
struct At<'f> {
    file: &'f File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(bytes, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
