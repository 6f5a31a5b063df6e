//! Values as they are on disk: a flag, a checksum, and the payload or where its chunks are.
//!
//! sled moves large values into files that it never syncs, so no value may grow past a few KiB: a larger one is cut into
//! chunks under keys of their own. Each replacement has a new generation of chunks, so that a reader finds all chunks of
//! one value or misses some, and never gets a mix. The checksum covers the key as well: a value cannot be taken for
//! another's.

use std::ops::RangeInclusive;

use ::sled::{IVec, Tree};
use bytes::Bytes;

use super::{failed, tables};
use crate::store::{Error, Result};

/// The most that is kept under one key, with flag and checksum.
const STORED_BYTES_MAX: usize = 4096;
const HEADER_BYTES: usize = 5;
/// The largest payload that is not cut into chunks, and the size of a chunk.
pub(super) const PAYLOAD_BYTES_MAX: usize = STORED_BYTES_MAX - HEADER_BYTES;
/// How often a value may be replaced under a reader, who needs far less time to read it than a commit takes.
const ATTEMPTS_MAX: usize = 100;

const INLINE: u8 = 0;
const CHUNKED: u8 = 1;

/// Where a large value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    generation: u64,
    bytes: u64,
}

/// A stored value, its checksum seen to be right.
#[derive(Clone, Copy, Debug)]
enum Stored<'a> {
    Inline(&'a [u8]),
    Chunked(Chunks),
}

impl Chunks {
    /// Their keys, in order.
    pub(super) fn keys(self) -> impl Iterator<Item = Vec<u8>> {
        (0..self.count()).map(move |index| tables::chunk(self.generation, index))
    }

    /// The key of the first.
    pub(super) fn first_key(self) -> Vec<u8> {
        tables::chunk(self.generation, 0)
    }

    /// What they take, with their keys.
    pub(super) fn stored_bytes(self) -> u64 {
        let each = tables::chunk(0, 0).len() + HEADER_BYTES;
        self.bytes + u64::from(self.count()) * each as u64
    }

    fn count(self) -> u32 {
        u32::try_from(self.bytes.div_ceil(PAYLOAD_BYTES_MAX as u64)).unwrap_or(u32::MAX)
    }

    fn range(self) -> RangeInclusive<Vec<u8>> {
        tables::chunk(self.generation, 0)..=tables::chunk(self.generation, u32::MAX)
    }

    fn encode(self, key: &[u8]) -> Vec<u8> {
        let numbers = [self.generation.to_be_bytes(), self.bytes.to_be_bytes()];
        sealed(key, CHUNKED, numbers.as_flattened())
    }

    /// None where some are gone.
    fn read(self, tree: &Tree) -> Result<Option<Bytes>> {
        let mut keys = self.keys();
        let mut value = Vec::new();
        for item in tree.range(self.range()) {
            let (key, raw) = item.map_err(failed)?;
            if keys.next().is_none_or(|expected| key != expected) {
                return Ok(None);
            }
            value.extend_from_slice(inline(&key, &raw)?);
        }
        value.shrink_to_fit();
        Ok((value.len() as u64 == self.bytes).then(|| value.into()))
    }
}

/// A small value as it is stored.
pub(super) fn encode(key: &[u8], payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a small value");
    sealed(key, INLINE, payload)
}

/// A value of any size as it is stored: chunks first, then what is at the key itself. `generation` gives a number that no
/// chunk ever had.
pub(super) fn encode_any(
    key: Vec<u8>,
    payload: &[u8],
    generation: impl FnOnce() -> u64,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut stored = Vec::new();
    if payload.len() <= PAYLOAD_BYTES_MAX {
        let value = encode(&key, payload);
        stored.push((key, value));
    } else {
        let chunks = Chunks { generation: generation(), bytes: payload.len() as u64 };
        for (chunk_key, chunk) in chunks.keys().zip(payload.chunks(PAYLOAD_BYTES_MAX)) {
            let value = encode(&chunk_key, chunk);
            stored.push((chunk_key, value));
        }
        let value = chunks.encode(&key);
        stored.push((key, value));
    }
    stored
}

/// The chunks of a stored value, if it has any.
///
/// # Errors
/// [`Error::Corrupt`] when it is not what was written.
pub(super) fn chunks_of(key: &[u8], raw: &[u8]) -> Result<Option<Chunks>> {
    match decode(key, raw)? {
        Stored::Inline(_) => Ok(None),
        Stored::Chunked(chunks) => Ok(Some(chunks)),
    }
}

/// The payload of a value that is never chunked.
///
/// # Errors
/// [`Error::Corrupt`] when it is not what was written.
pub(super) fn inline<'a>(key: &[u8], raw: &'a [u8]) -> Result<&'a [u8]> {
    match decode(key, raw)? {
        Stored::Inline(payload) => Ok(payload),
        Stored::Chunked(_) => Err(corrupt(key, "is in chunks where it should not be")),
    }
}

/// The value of a key.
///
/// # Errors
/// [`Error::Corrupt`] when it is not what was written.
pub(super) fn get(tree: &Tree, key: &[u8]) -> Result<Option<Bytes>> {
    let Some(raw) = tree.get(key).map_err(failed)? else { return Ok(None) };
    resolve(tree, key, raw)
}

/// The value of a key whose stored value was read already; a newer one, or none, if it was replaced or removed since.
///
/// # Errors
/// [`Error::Corrupt`] when it is not what was written.
pub(super) fn resolve(tree: &Tree, key: &[u8], raw: IVec) -> Result<Option<Bytes>> {
    let mut current = raw;
    for _ in 0..ATTEMPTS_MAX {
        let chunks = match decode(key, &current)? {
            Stored::Inline(payload) => return Ok(Some(Bytes::copy_from_slice(payload))),
            Stored::Chunked(chunks) => chunks,
        };
        if let Some(value) = chunks.read(tree)? {
            return Ok(Some(value));
        }
        let Some(next) = tree.get(key).map_err(failed)? else { return Ok(None) };
        if next == current {
            return Err(corrupt(key, "lacks some of its chunks"));
        }
        current = next;
    }
    Err(corrupt(key, "was replaced each time it was read"))
}

/// Says what is wrong with the value of a key.
pub(super) fn corrupt(key: &[u8], what: &str) -> Error {
    Error::Corrupt(format!("the value of key {} {what}", key.escape_ascii()))
}

fn decode<'a>(key: &[u8], raw: &'a [u8]) -> Result<Stored<'a>> {
    let Some((header, payload)) = raw.split_first_chunk::<HEADER_BYTES>() else {
        return Err(corrupt(key, "is cut short"));
    };
    let [flag, sum @ ..] = *header;
    if u32::from_be_bytes(sum) != checksum(key, flag, payload) {
        return Err(corrupt(key, "does not match its checksum"));
    }
    match flag {
        INLINE => Ok(Stored::Inline(payload)),
        CHUNKED => match payload.as_chunks() {
            (&[generation, bytes], []) => Ok(Stored::Chunked(Chunks {
                generation: u64::from_be_bytes(generation),
                bytes: u64::from_be_bytes(bytes),
            })),
            _ => Err(corrupt(key, "does not say where its chunks are")),
        },
        _ => Err(corrupt(key, "has an unknown flag")),
    }
}

fn sealed(key: &[u8], flag: u8, payload: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEADER_BYTES + payload.len());
    stored.push(flag);
    stored.extend_from_slice(&checksum(key, flag, payload).to_be_bytes());
    stored.extend_from_slice(payload);
    stored
}

fn checksum(key: &[u8], flag: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&[flag]);
    hasher.update(payload);
    hasher.finalize()
}
