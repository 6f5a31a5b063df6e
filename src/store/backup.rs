//! The file that a backup is: frames with checksums, from the header to the end, and nothing after it.

use std::io::{self, Read};

use bytes::Bytes;
use prost::Message as _;
use prost_types::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    JobKey, LogRecord, Partition, Sequence, StoreId,
    export::{Extent, Item},
};
use crate::proto::storage::v1::{
    BackupEnd, BackupEntry, BackupExtent, BackupFrame, BackupHeader, BackupItems, BackupRecord,
    backup_frame::Kind,
};

/// The newest format that this version writes and reads.
const FORMAT: u32 = 1;
/// A frame's length and its checksum.
const PREFIX_BYTES: usize = 8;
/// No frame is longer. A page of an export is far shorter, unless it holds one very large entry.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupInfo {
    /// The store it is of.
    pub store: StoreId,
    /// When it was begun.
    pub time: Timestamp,
    /// The version of the server that made it.
    pub version: String,
    /// How many partitions it has.
    pub partitions: u16,
}

/// Why a file is not a backup that can be used. The texts are for an operator.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("it is not a backup")]
    Foreign,
    /// A newer version made it.
    #[error("the backup has format {format}, and this version knows formats up to {FORMAT}: use a newer one")]
    Newer {
        /// Its format.
        format: u32,
    },
    /// It ends before its end.
    #[error("the backup is cut short after {bytes} bytes")]
    Cut {
        /// How much of it is there and whole.
        bytes: u64,
    },
    /// It is not what was written.
    #[error("the backup is damaged after byte {bytes}: {what}")]
    Damaged {
        /// How much of it is whole.
        bytes: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// It could not be read.
    #[error("the backup cannot be read")]
    Io(#[from] io::Error),
}

/// Makes the bytes of a backup.
#[derive(Debug)]
pub struct BackupWriter {
    sum: Sha256,
    bytes: u64,
}

impl BackupWriter {
    /// Begins a backup: itself, and the first bytes.
    #[must_use]
    pub fn begin(info: &BackupInfo) -> (Self, Bytes) {
        let header = BackupHeader {
            format: FORMAT,
            store_id: Bytes::copy_from_slice(info.store.0.as_bytes()),
            create_time: Some(info.time),
            version: info.version.clone(),
            partitions: info.partitions.into(),
        };
        let mut writer = Self { sum: Sha256::new(), bytes: 0 };
        let bytes = writer.frame(Kind::Header(header));
        (writer, bytes)
    }

    /// The bytes of some items.
    pub fn items(&mut self, partition: Partition, items: Vec<Item>) -> Bytes {
        let mut frame = BackupItems { partition: partition.0.into(), ..BackupItems::default() };
        for item in items {
            match item {
                Item::Record(key, value) => frame.records.push(BackupRecord { key, value }),
                Item::Entry(record) => {
                    let reference = Some(record.reference());
                    frame.entries.push(BackupEntry { reference, bytes: record.bytes });
                }
                Item::Batch(batch) => frame.batches.push(batch),
            }
        }
        self.frame(Kind::Items(frame))
    }

    /// The last bytes, and of the whole the SHA-256, in hexadecimal, and the size.
    #[must_use]
    pub fn end(mut self, extents: &[Extent]) -> (Bytes, String, u64) {
        let extents =
            extents.iter().map(|extent| BackupExtent { oldest: extent.oldest.0, head: extent.head.0 });
        let sha256 = Bytes::copy_from_slice(&self.sum.clone().finalize());
        let end = BackupEnd { extents: extents.collect(), bytes: self.bytes, sha256 };
        let bytes = self.frame(Kind::End(end));
        (bytes, format!("{:x}", Bytes::copy_from_slice(&self.sum.finalize())), self.bytes)
    }

    fn frame(&mut self, kind: Kind) -> Bytes {
        let payload = BackupFrame { kind: Some(kind) }.encode_to_vec();
        let length = u32::try_from(payload.len()).expect("a frame is far shorter");
        let mut frame = Vec::with_capacity(PREFIX_BYTES + payload.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&crc32fast::hash(&payload).to_be_bytes());
        frame.extend_from_slice(&payload);
        self.sum.update(&frame);
        self.bytes += frame.len() as u64;
        frame.into()
    }
}

/// Reads a backup, and checks it as it goes.
#[derive(Debug)]
pub struct BackupReader<R> {
    source: R,
    info: BackupInfo,
    sum: Sha256,
    bytes: u64,
    extents: Option<Vec<Extent>>,
}

impl<R: Read> BackupReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is no backup, or one of a newer format.
    pub fn open(source: R) -> Result<Self, BackupError> {
        let info = BackupInfo {
            store: StoreId(Uuid::nil()),
            time: Timestamp::default(),
            version: String::new(),
            partitions: 0,
        };
        let mut reader = Self { source, info, sum: Sha256::new(), bytes: 0, extents: None };
        let first = reader.frame().map_err(|error| match error {
            BackupError::Io(error) => BackupError::Io(error),
            // Whatever else the file is, it does not begin like this.
            _ => BackupError::Foreign,
        })?;
        let Kind::Header(header) = first else { return Err(BackupError::Foreign) };
        if header.format > FORMAT {
            return Err(BackupError::Newer { format: header.format });
        }
        reader.info = BackupInfo {
            store: StoreId(Uuid::from_slice(&header.store_id).map_err(|_| BackupError::Foreign)?),
            time: header.create_time.unwrap_or_default(),
            version: header.version,
            partitions: u16::try_from(header.partitions).map_err(|_| BackupError::Foreign)?,
        };
        Ok(reader)
    }

    /// What it says of itself.
    #[must_use]
    pub fn info(&self) -> &BackupInfo {
        &self.info
    }

    /// The next items; none after the last. Only then is it known that the backup is whole.
    ///
    /// # Errors
    /// It is not, or cannot be read.
    pub fn read(&mut self) -> Result<Option<(Partition, Vec<Item>)>, BackupError> {
        if self.extents.is_some() {
            return Ok(None);
        }
        let (bytes, sum) = (self.bytes, self.sum.clone());
        match self.frame()? {
            Kind::Header(_) => Err(BackupError::Damaged { bytes, what: "it begins again" }),
            Kind::Items(items) => {
                let damaged = || BackupError::Damaged { bytes, what: "an item is not whole" };
                let partition =
                    u16::try_from(items.partition).ok().filter(|number| *number < self.info.partitions);
                let partition = Partition(partition.ok_or_else(damaged)?);
                let items = self::items(items).ok_or_else(damaged)?;
                Ok(Some((partition, items)))
            }
            Kind::End(end) => {
                if end.bytes != bytes || *end.sha256 != *sum.finalize() {
                    return Err(BackupError::Damaged {
                        bytes,
                        what: "the whole does not match its checksum",
                    });
                }
                if end.extents.len() != usize::from(self.info.partitions) {
                    return Err(BackupError::Damaged { bytes, what: "it lacks partitions" });
                }
                if self.source.read(&mut [0])? > 0 {
                    return Err(BackupError::Damaged {
                        bytes: self.bytes,
                        what: "something follows its end",
                    });
                }
                let extent = |extent: BackupExtent| Extent {
                    oldest: Sequence(extent.oldest),
                    head: Sequence(extent.head),
                };
                self.extents = Some(end.extents.into_iter().map(extent).collect());
                Ok(None)
            }
        }
    }

    /// How far the log of each partition reaches; none before the end was read.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        self.extents.as_deref().unwrap_or_default()
    }

    fn frame(&mut self) -> Result<Kind, BackupError> {
        let bytes = self.bytes;
        let mut prefix = [0; PREFIX_BYTES];
        self.fill(&mut prefix)?;
        let [length, sum] = [&prefix[..4], &prefix[4..]]
            .map(|number| u32::from_be_bytes(number.try_into().expect("4 of 8 bytes")));
        let length = length as usize;
        if length > FRAME_BYTES_MAX {
            return Err(BackupError::Damaged { bytes, what: "a frame has no sensible length" });
        }
        // As much as is there, and no more: a wrong length must not take memory.
        let mut payload = Vec::new();
        self.source.by_ref().take(length as u64).read_to_end(&mut payload)?;
        if payload.len() < length {
            return Err(BackupError::Cut { bytes });
        }
        if crc32fast::hash(&payload) != sum {
            return Err(BackupError::Damaged { bytes, what: "a frame does not match its checksum" });
        }
        self.sum.update(prefix);
        self.sum.update(&payload);
        self.bytes += (PREFIX_BYTES + length) as u64;
        let frame = BackupFrame::decode(Bytes::from(payload)).ok().and_then(|frame| frame.kind);
        frame.ok_or(BackupError::Damaged { bytes, what: "a frame cannot be decoded" })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), BackupError> {
        let bytes = self.bytes;
        self.source.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::Cut { bytes },
            _ => BackupError::Io(error),
        })
    }
}

fn items(frame: BackupItems) -> Option<Vec<Item>> {
    let records = frame.records.into_iter().map(|BackupRecord { key, value }| Some(Item::Record(key, value)));
    let entries = frame.entries.into_iter().map(|BackupEntry { reference, bytes }| {
        let reference = reference?;
        Some(Item::Entry(LogRecord {
            sequence: Sequence(reference.sequence),
            job: JobKey { org: reference.org, job_id: reference.job_id },
            deletes_job: reference.deletes_job,
            bytes,
            transient: Bytes::new(),
        }))
    });
    let batches = frame.batches.into_iter().map(|batch| Some(Item::Batch(batch)));
    records.chain(entries).chain(batches).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::storage::v1::LogBatch;

    fn sample() -> Vec<Item> {
        let job = JobKey { org: "acme".to_owned(), job_id: "job".to_owned() };
        let record = LogRecord {
            sequence: Sequence(7),
            job,
            deletes_job: true,
            bytes: "entry".into(),
            transient: Bytes::new(),
        };
        vec![
            Item::Record("key".into(), Some("value".into())),
            Item::Record("gone".into(), None),
            Item::Record("empty".into(), Some(Bytes::new())),
            Item::Batch(LogBatch { first_sequence: 6, entries: vec![record.reference()] }),
            Item::Entry(record),
        ]
    }

    fn info() -> BackupInfo {
        BackupInfo {
            store: StoreId(Uuid::from_u128(42)),
            time: Timestamp { seconds: 3, nanos: 4 },
            version: "1.2.3".to_owned(),
            partitions: 1,
        }
    }

    const EXTENT: Extent = Extent { oldest: Sequence(6), head: Sequence(7) };

    fn backup() -> Vec<u8> {
        let (mut writer, mut bytes) = BackupWriter::begin(&info());
        let mut whole = Vec::new();
        for item in sample() {
            whole.extend_from_slice(&bytes);
            bytes = writer.items(Partition(0), vec![item]);
        }
        whole.extend_from_slice(&bytes);
        let (end, sha256, length) = writer.end(&[EXTENT]);
        whole.extend_from_slice(&end);
        assert_eq!(length, whole.len() as u64);
        assert_eq!(sha256, format!("{:x}", Bytes::copy_from_slice(&Sha256::digest(&whole))));
        whole
    }

    fn read(backup: &[u8]) -> Result<Vec<Item>, BackupError> {
        let mut reader = BackupReader::open(backup)?;
        assert_eq!(*reader.info(), info());
        let mut all = Vec::new();
        while let Some((partition, items)) = reader.read()? {
            assert_eq!(partition, Partition(0));
            all.extend(items);
        }
        assert_eq!(reader.extents(), [EXTENT]);
        Ok(all)
    }

    #[test]
    fn what_was_written_is_read() {
        let mut read = read(&backup()).unwrap();
        let mut written = sample();
        for items in [&mut read, &mut written] {
            items.sort_by_key(|item| format!("{item:?}"));
        }
        assert_eq!(read, written);
    }

    /// Wherever it is cut.
    #[test]
    fn a_part_is_no_backup() {
        let whole = backup();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(matches!(read(&longer), Err(BackupError::Damaged { .. })));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let whole = backup();
        let told = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert_eq!(told(b""), "it is not a backup");
        assert_eq!(told(b"SQLite format 3\0 and more"), "it is not a backup");
        let cut = told(&whole[..whole.len() - 1]);
        assert!(cut.starts_with("the backup is cut short after "), "{cut}");
    }

    proptest! {
        #[test]
        fn no_bit_can_be_changed(at in 0..backup().len(), bit in 0..8_u8) {
            let mut changed = backup();
            changed[at] ^= 1 << bit;
            prop_assert!(read(&changed).is_err());
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).is_err());
        }
    }
}
