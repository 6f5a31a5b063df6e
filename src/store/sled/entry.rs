//! Entries of the log as they are stored: a byte of flags, and the entry, which is compressed where that makes it smaller.
//!
//! Histories are most of what a store has. An entry is written once and read seldom, and what it takes is written three times: into
//! the journal, into sled, and again whenever sled moves it. LZ4 is quick enough to gain time by that.

use bytes::{Buf as _, Bytes};

use super::value::corrupt;
use crate::store::{JobKey, LogRecord, Result, Sequence};

/// The entry deletes its job.
const DELETES_JOB: u8 = 1;
/// What follows is how many bytes it was (4 bytes, little-endian), and an LZ4 block.
const COMPRESSED: u8 = 2;

/// A smaller entry has little that stands in it twice.
const COMPRESSED_BYTES_MIN: usize = 256;
/// So many times as much can come out of a block, at most.
const GROWTH_MAX: usize = 255;

/// An entry as it is stored.
pub(super) fn encode(record: &LogRecord) -> Vec<u8> {
    let deletes_job = if record.deletes_job { DELETES_JOB } else { 0 };
    if record.bytes.len() >= COMPRESSED_BYTES_MIN {
        let compressed = lz4_flex::compress_prepend_size(&record.bytes);
        if compressed.len() < record.bytes.len() {
            return [&[deletes_job | COMPRESSED], &*compressed].concat();
        }
    }
    [&[deletes_job], &*record.bytes].concat()
}

/// An entry as a history has it.
///
/// # Errors
/// [`Error::Corrupt`](crate::store::Error::Corrupt) when it is not what was written.
pub(super) fn decode(key: &[u8], job: JobKey, sequence: Sequence, mut stored: Bytes) -> Result<LogRecord> {
    let flags = stored.try_get_u8().map_err(|_| corrupt(key, "is no entry of the log"))?;
    if flags & !(DELETES_JOB | COMPRESSED) != 0 {
        return Err(corrupt(key, "has unknown flags"));
    }
    let bytes = if flags & COMPRESSED == 0 {
        stored
    } else {
        expand(&stored).ok_or_else(|| corrupt(key, "cannot be decompressed"))?
    };
    Ok(LogRecord { sequence, job, deletes_job: flags & DELETES_JOB != 0, bytes, transient: Bytes::new() })
}

fn expand(stored: &[u8]) -> Option<Bytes> {
    let (size, block) = lz4_flex::block::uncompressed_size(stored).ok()?;
    // No room is made for what cannot come.
    if size / GROWTH_MAX > block.len() {
        return None;
    }
    let bytes = lz4_flex::decompress(block, size).ok()?;
    (bytes.len() == size).then(|| bytes.into())
}

/// Reads anything as an entry. What can be read is written so that the same comes back.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &[u8]) {
    let read = |stored: Bytes| {
        let job = JobKey { org: String::new(), job_id: String::new() };
        decode(b"E", job, Sequence(1), stored)
    };
    if let Ok(record) = read(Bytes::copy_from_slice(bytes)) {
        assert_eq!(read(encode(&record).into()).expect("it was just written"), record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Error;

    const KEY: &[u8] = b"Ea";

    fn record(bytes: impl Into<Bytes>, deletes_job: bool) -> LogRecord {
        let job = JobKey { org: "acme".to_owned(), job_id: "a".to_owned() };
        LogRecord { sequence: Sequence(7), job, deletes_job, bytes: bytes.into(), transient: Bytes::new() }
    }

    fn read(stored: impl Into<Bytes>) -> Result<LogRecord> {
        decode(KEY, record("", false).job, Sequence(7), stored.into())
    }

    /// Bytes of which none follows from those before.
    fn noise(length: usize) -> Vec<u8> {
        let seed = 0x9e37_79b9_7f4a_7c15_u64;
        let next = |state: &u64| Some(state.wrapping_mul(seed).rotate_left(29) ^ seed);
        std::iter::successors(Some(1), next).flat_map(u64::to_le_bytes).take(length).collect()
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let text = |length| "the gauge sticks a little ".bytes().cycle().take(length).collect::<Vec<u8>>();
        for length in [0, 1, 255, 256, 300, 4_000, 70_000, 3 << 20] {
            for bytes in [text(length), noise(length)] {
                for deletes_job in [false, true] {
                    let record = record(bytes.clone(), deletes_job);
                    assert_eq!(read(encode(&record)).unwrap(), record, "{length}");
                }
            }
        }
    }

    #[test]
    fn an_entry_takes_no_more_than_a_byte_more_and_far_less_where_it_says_the_same_again() {
        for length in [0, 255, 256, 4_000] {
            assert_eq!(encode(&record(noise(length), true)).len(), length + 1);
        }
        let stored = encode(&record("x".repeat(4_000), false));
        assert!(stored.len() < 100, "{}", stored.len());
    }

    #[test]
    fn what_was_not_written_is_refused() {
        let stored = encode(&record("x".repeat(4_000), false));
        let with_size = |size: u32| [&stored[..1], &size.to_le_bytes(), &stored[5..]].concat();
        assert_eq!(with_size(4_000), stored);
        let bad = [
            Vec::new(),
            vec![4],
            [&[stored[0] | 0x80], &stored[1..]].concat(),
            stored[..4].to_vec(),
            stored[..stored.len() - 1].to_vec(),
            with_size(3_999),
            with_size(4_001),
            with_size(u32::MAX),
        ];
        for stored in bad {
            assert!(matches!(read(stored.clone()), Err(Error::Corrupt(_))), "{stored:?}");
        }
    }
}
