//! Values too large for sled, in files of their own.
//!
//! What sled takes for a key grows with its value, for it writes a value again whenever it moves what stands beside it. So sled
//! has where a value is, and a file in `values/` has the value, written once. Files are only added to ([`writer`]). How far they
//! count is in an inventory ([`inventory`]), which a checkpoint names, so that a crash leaves nothing that counts in part.
//! What is needed of a file is copied when little of it is, and the file goes ([`collector`]).
//!
//! A file has a header and then records, each with its key, its value, and a checksum of both. Where a value is says that
//! checksum again: no other value is taken for it.

mod collector;
mod inventory;
mod writer;

use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;

pub(super) use self::{
    collector::{Collected, Moved},
    inventory::Noted,
    writer::Writer,
};
use super::value::corrupt;
use crate::store::{Result, StoreId};

/// What a file begins with, and which layout it has.
const MAGIC: &[u8; 4] = b"HPV1";
/// Magic, the store's id, the number of the file, and the checksum of these.
const HEADER_BYTES: usize = 4 + 16 + 8 + 4;
/// The checksum of what follows, and the lengths of the key and the value.
const RECORD_HEADER_BYTES: usize = 4 + 4 + 4;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the file.
    file: u64,
    /// Where its record begins there, and how many bytes it has.
    offset: u32,
    length: u32,
    /// The record's checksum.
    sum: u32,
}

impl Place {
    pub(super) const BYTES: usize = 20;

    pub(super) fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.file.to_be_bytes());
        for (part, number) in
            bytes[8..].as_chunks_mut().0.iter_mut().zip([self.offset, self.length, self.sum])
        {
            *part = number.to_be_bytes();
        }
        bytes
    }

    /// None where the bytes are too many or too few.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (file, rest) = bytes.split_first_chunk()?;
        let (&[offset, length, sum], []) = rest.as_chunks() else { return None };
        let [offset, length, sum] = [offset, length, sum].map(u32::from_be_bytes);
        Some(Self { file: u64::from_be_bytes(*file), offset, length, sum })
    }
}

/// The files, as they are read.
#[derive(Debug)]
pub(super) struct Values {
    directory: PathBuf,
    files: RwLock<HashMap<u64, Arc<File>>>,
}

impl Values {
    /// Those in a directory, of which none is known yet.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, files: RwLock::default() }
    }

    /// The value of a key, which was at a place. None where its file is gone: then it was somewhere else by that time.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::store::Error::Corrupt) when it is not what was written.
    pub(super) fn read(&self, key: &[u8], place: Place) -> Result<Option<Bytes>> {
        let Some(file) = self.file(place.file) else { return Ok(None) };
        let mut bytes = vec![0; place.length as usize];
        let read = file.read_exact_at(&mut bytes, place.offset.into());
        read.map_err(|error| corrupt(key, &format!("cannot be read: {error}")))?;
        let Some(record) = Record::decode(&bytes).filter(|record| record.sum == place.sum) else {
            return Err(corrupt(key, "does not match its checksum"));
        };
        if record.key != key || record.length() != bytes.len() {
            return Err(corrupt(key, "is another's"));
        }
        let begins = bytes.len() - record.value.len();
        Ok(Some(Bytes::from(bytes).slice(begins..)))
    }

    fn file(&self, number: u64) -> Option<Arc<File>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    fn insert(&self, number: u64, file: Arc<File>) {
        self.files.write().unwrap_or_else(PoisonError::into_inner).insert(number, file);
    }

    fn remove(&self, number: u64) {
        self.files.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(name(number))
    }
}

fn name(number: u64) -> String {
    format!("{number:016x}")
}

fn header(store: StoreId, number: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (named, sum) = header.split_at_mut(HEADER_BYTES - 4);
    named[..4].copy_from_slice(MAGIC);
    named[4..20].copy_from_slice(store.0.as_bytes());
    named[20..].copy_from_slice(&number.to_be_bytes());
    sum.copy_from_slice(&crc32fast::hash(named).to_be_bytes());
    header
}

/// A key with its value, as it is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record<'a> {
    sum: u32,
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Record<'a> {
    fn new(key: &'a [u8], value: &'a [u8]) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        for part in [&length(key), &length(value), key, value] {
            hasher.update(part);
        }
        Self { sum: hasher.finalize(), key, value }
    }

    /// The one that some bytes begin with; none where it is not whole.
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (lengths, rest) = RecordHeader::decode(bytes)?;
        let (key, rest) = rest.split_at_checked(lengths.key)?;
        let value = rest.get(..lengths.value)?;
        let record = Self::new(key, value);
        (record.sum == lengths.sum).then_some(record)
    }

    fn length(&self) -> usize {
        RECORD_HEADER_BYTES + self.key.len() + self.value.len()
    }

    /// Adds it to the end of some bytes.
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.sum.to_be_bytes());
        for part in [&length(self.key), &length(self.value), self.key, self.value] {
            bytes.extend_from_slice(part);
        }
    }
}

/// What a record begins with.
struct RecordHeader {
    sum: u32,
    key: usize,
    value: usize,
}

impl RecordHeader {
    /// With what follows it.
    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let (&[sum, key, value], []) = header.as_chunks() else { return None };
        let [sum, key, value] = [sum, key, value].map(u32::from_be_bytes);
        Some((Self { sum, key: key as usize, value: value as usize }, rest))
    }
}

fn length(part: &[u8]) -> [u8; 4] {
    u32::try_from(part.len()).expect("a value is far smaller").to_be_bytes()
}

/// Reads anything as a record, as the place of one, and as an inventory.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &[u8]) {
    if let Some(record) = Record::decode(bytes) {
        let mut again = Vec::new();
        record.encode(&mut again);
        assert_eq!(again, bytes[..record.length()]);
    }
    if let Some(place) = Place::decode(bytes) {
        assert_eq!(place.encode(), bytes);
    }
    inventory::fuzz(bytes);
}
