//! Messages of ours with members that are left encoded. On the wire a message and its bytes are the same, so what the store has goes
//! to who asks for it as it is. The schemas are the protos'.

use bytes::Bytes;
use prost::{DecodeError, Message, Name};

use super::v1;

/// `holdpoint.v1.WatchBatch` with its members left encoded.
#[derive(Clone, PartialEq, Message)]
pub struct WatchBatch {
    /// Each a `JobDetails`.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub snapshots: Vec<Bytes>,
    /// Each a `JobEvent`.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub events: Vec<Bytes>,
}

impl WatchBatch {
    /// The snapshots, decoded.
    ///
    /// # Errors
    /// When one of them is not a `JobDetails`.
    pub fn decode_snapshots(&self) -> Result<Vec<v1::JobDetails>, DecodeError> {
        self.snapshots.iter().map(|bytes| v1::JobDetails::decode(bytes.clone())).collect()
    }

    /// The events, decoded.
    ///
    /// # Errors
    /// When one of them is not a `JobEvent`.
    pub fn decode_events(&self) -> Result<Vec<v1::JobEvent>, DecodeError> {
        self.events.iter().map(|bytes| v1::JobEvent::decode(bytes.clone())).collect()
    }
}

/// `holdpoint.v1.GetJobResponse` with the job left encoded: a head goes to who asks for it as it is stored.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetJobResponse {
    /// A `JobDetails`.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub details: Option<Bytes>,
    /// Set where there are more reports.
    #[prost(string, tag = "2")]
    pub next_reports_page_token: String,
}

impl Name for GetJobResponse {
    const NAME: &'static str = "GetJobResponse";
    const PACKAGE: &'static str = "holdpoint.v1";
}

impl GetJobResponse {
    /// The job, decoded.
    ///
    /// # Errors
    /// When it is not a `JobDetails`.
    pub fn decode_details(&self) -> Result<v1::JobDetails, DecodeError> {
        v1::JobDetails::decode(self.details.clone().unwrap_or_default())
    }
}

/// `holdpoint.v1.ListJobsResponse` with the jobs left encoded, as they are stored.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListJobsResponse {
    /// Each a `Job`.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub jobs: Vec<Bytes>,
    /// Set where there may be more.
    #[prost(string, tag = "2")]
    pub next_page_token: String,
}

impl Name for ListJobsResponse {
    const NAME: &'static str = "ListJobsResponse";
    const PACKAGE: &'static str = "holdpoint.v1";
}

impl ListJobsResponse {
    /// The jobs, decoded.
    ///
    /// # Errors
    /// When one of them is not a `Job`.
    pub fn decode_jobs(&self) -> Result<Vec<v1::Job>, DecodeError> {
        self.jobs.iter().map(|bytes| v1::Job::decode(bytes.clone())).collect()
    }
}

/// `holdpoint.v1.JobDetails` of a head alone, left encoded.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EncodedHead {
    /// A `Job`.
    #[prost(bytes = "bytes", tag = "1")]
    pub job: Bytes,
}

/// What is read of a `holdpoint.storage.v1.JobRecord` where the job is left encoded.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EncodedJobRecord {
    /// A `Job`.
    #[prost(bytes = "bytes", tag = "1")]
    pub job: Bytes,
    /// The job was deleted.
    #[prost(bool, tag = "2")]
    pub deleted: bool,
}

#[cfg(test)]
mod tests {
    use super::{v1::Job, *};

    #[test]
    fn what_is_left_encoded_is_what_the_schema_says() {
        let job = Job { job_id: "a".to_owned(), revision: 7, ..Job::default() };
        let head = Bytes::from(job.encode_to_vec());
        let details = EncodedHead { job: head.clone() }.encode_to_vec();
        let reply = GetJobResponse { details: Some(details.into()), ..GetJobResponse::default() };
        let expected = v1::JobDetails { job: Some(job.clone()), ..v1::JobDetails::default() };
        assert_eq!(reply.decode_details().unwrap(), expected);

        let reply = ListJobsResponse { jobs: vec![head.clone(), head], ..ListJobsResponse::default() };
        assert_eq!(reply.decode_jobs().unwrap(), [job.clone(), job]);
    }
}
