//! Messages that are encoded once and sent many times, each for another job and with a later time.

use bytes::Bytes;

/// The id that stands in a template where the job's is to be. The last eight characters are its number.
pub const JOB: &str = "job-87654321";
/// The time that stands in a template where a later one is to be: in milliseconds, or in seconds, of 1970.
pub const MILLIS: i64 = 1_712_345_678_901;
/// See [`MILLIS`].
pub const SECONDS: i64 = 2_012_345_678;

/// The first times of those that are filled in. Each is encoded in as many bytes as the template's, for long enough.
const FIRST_MILLIS: u64 = 1_700_000_000_000;
const FIRST_SECONDS: u64 = 1_700_000_000;

/// The id of the job of a number.
#[must_use]
pub fn job_id(number: u64) -> String {
    format!("job-{number:08}")
}

/// The time, in milliseconds, of the change of a number.
#[must_use]
pub fn millis(change: u64) -> u64 {
    FIRST_MILLIS + change
}

/// The number of the change with that time.
#[must_use]
pub fn change_at(millis: u64) -> Option<u64> {
    millis.checked_sub(FIRST_MILLIS)
}

/// An encoded message, and where in it stands what differs from one to the next.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    jobs: Vec<usize>,
    millis: Vec<usize>,
    seconds: Vec<usize>,
}

impl Template {
    /// Of a message that has [`JOB`], [`MILLIS`] and [`SECONDS`] where others are to be.
    #[must_use]
    pub fn new(message: &impl prost::Message) -> Self {
        let bytes = message.encode_to_vec();
        Self {
            jobs: places(&bytes, JOB.as_bytes()),
            millis: places(&bytes, &varint(MILLIS.unsigned_abs())),
            seconds: places(&bytes, &varint(SECONDS.unsigned_abs())),
            bytes,
        }
    }

    /// The message for a job, and a change. Changes of higher numbers are later.
    #[must_use]
    pub fn fill(&self, job: u64, change: u64) -> Bytes {
        let mut bytes = self.bytes.clone();
        let mut put = |places: &[usize], value: &[u8]| {
            for at in places {
                bytes[*at..at + value.len()].copy_from_slice(value);
            }
        };
        put(&self.jobs, job_id(job).as_bytes());
        put(&self.millis, &varint(FIRST_MILLIS + change));
        put(&self.seconds, &varint(FIRST_SECONDS + change));
        bytes.into()
    }
}

/// Where in `bytes` a part of them begins, each time.
fn places(bytes: &[u8], part: &[u8]) -> Vec<usize> {
    let is_there = |at: &usize| &bytes[*at..at + part.len()] == part;
    (0..(bytes.len() + 1).saturating_sub(part.len())).filter(is_there).collect()
}

/// A number as Protobuf writes it.
fn varint(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(number, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::Timestamp;

    use super::*;
    use crate::proto::v1::{BasicSyncRequest, SyncMetadata, UpdateExecutionTaskStatusRequest};

    #[test]
    fn a_filled_template_is_the_message_of_the_job_and_the_change() {
        let message = UpdateExecutionTaskStatusRequest {
            job_id: Some(JOB.to_owned()),
            task_id: Some("task".to_owned()),
            timestamp: Some(MILLIS),
            ..UpdateExecutionTaskStatusRequest::default()
        };
        let template = Template::new(&message);
        for change in [0, 1, 127, 128, 4_000_000_000] {
            let filled = UpdateExecutionTaskStatusRequest::decode(template.fill(42, change)).unwrap();
            let time = i64::try_from(millis(change)).unwrap();
            let expected = UpdateExecutionTaskStatusRequest {
                job_id: Some("job-00000042".to_owned()),
                timestamp: Some(time),
                ..message.clone()
            };
            assert_eq!(filled, expected);
            assert_eq!(change_at(millis(change)), Some(change));
        }
    }

    #[test]
    fn every_place_is_filled() {
        let time = || Some(Timestamp { seconds: SECONDS, nanos: 0 });
        let metadata = |job: String, seconds: Option<Timestamp>| SyncMetadata {
            client_job_id: Some(job),
            updated: seconds,
            modified: seconds,
            ..SyncMetadata::default()
        };
        let message = BasicSyncRequest {
            metadata: Some(metadata(JOB.to_owned(), time())),
            ..BasicSyncRequest::default()
        };
        let filled = BasicSyncRequest::decode(Template::new(&message).fill(7, 9)).unwrap();
        let time = Some(Timestamp { seconds: 1_700_000_009, nanos: 0 });
        assert_eq!(filled.metadata, Some(metadata("job-00000007".to_owned(), time)));
    }
}
