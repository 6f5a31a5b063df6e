//! Values as sled has them: a flag, a checksum, and the value itself or, where it is large, its place in a file of
//! [`values`](super::values).
//!
//! The checksum covers the key as well: a value cannot be taken for another's.

use super::values::Place;
use crate::store::{Error, Result};

/// The largest that sled has itself.
pub(super) const INLINE_BYTES_MAX: usize = 128;

const HEADER_BYTES: usize = 5;

const INLINE: u8 = 0;
const PLACED: u8 = 1;

/// A value as it is stored, its checksum seen to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    Inline(&'a [u8]),
    Placed(Place),
}

impl<'a> Stored<'a> {
    /// What is stored for a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not what was written.
    pub(super) fn decode(key: &[u8], raw: &'a [u8]) -> Result<Self> {
        let Some((header, payload)) = raw.split_first_chunk::<HEADER_BYTES>() else {
            return Err(corrupt(key, "is cut short"));
        };
        let [flag, sum @ ..] = *header;
        if u32::from_be_bytes(sum) != checksum(key, flag, payload) {
            return Err(corrupt(key, "does not match its checksum"));
        }
        match flag {
            INLINE => Ok(Self::Inline(payload)),
            PLACED => {
                let place = Place::decode(payload).ok_or_else(|| corrupt(key, "does not say where it is"))?;
                Ok(Self::Placed(place))
            }
            _ => Err(corrupt(key, "has an unknown flag")),
        }
    }

    /// As it is stored for a key.
    pub(super) fn encode(self, key: &[u8]) -> Vec<u8> {
        match self {
            Self::Inline(value) => sealed(key, INLINE, value),
            Self::Placed(place) => sealed(key, PLACED, &place.encode()),
        }
    }
}

/// A small value as it is stored.
pub(super) fn encode(key: &[u8], value: &[u8]) -> Vec<u8> {
    debug_assert!(value.len() <= INLINE_BYTES_MAX, "a small value");
    Stored::Inline(value).encode(key)
}

/// Where the value of a key is; none where sled has it itself.
///
/// # Errors
/// [`Error::Corrupt`] when it is not what was written.
pub(super) fn place(key: &[u8], raw: &[u8]) -> Result<Option<Place>> {
    match Stored::decode(key, raw)? {
        Stored::Inline(_) => Ok(None),
        Stored::Placed(place) => Ok(Some(place)),
    }
}

/// Says what is wrong with the value of a key.
pub(super) fn corrupt(key: &[u8], what: &str) -> Error {
    Error::Corrupt(format!("the value of key {} {what}", key.escape_ascii()))
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
