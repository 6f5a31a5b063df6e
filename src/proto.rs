//! The generated messages, and those that are written by hand.

mod document;

use bytes::Bytes;
use prost::Message;

pub use self::document::{Document, unsign_zeros};

/// `holdpoint.v1`: the API, and the resources that the domain works on.
pub mod v1 {
    #![allow(
        clippy::pedantic,
        clippy::large_enum_variant,
        missing_docs,
        reason = "generated; the protos are where it is documented"
    )]
    tonic::include_proto!("holdpoint.v1");
}

/// What is on disk and inside tokens, and not on the wire.
pub mod storage {
    /// `holdpoint.storage.v1`.
    pub mod v1 {
        #![allow(clippy::pedantic, missing_docs, reason = "generated; the protos are where it is documented")]
        tonic::include_proto!("holdpoint.storage.v1");
    }
}

/// The descriptors of `holdpoint.v1`, encoded, for reflection.
pub const API_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/api.binpb"));

/// `holdpoint.v1.WatchBatch` with its members left encoded.
///
/// On the wire a message and its bytes are the same, so an event that the log holds encoded goes to every watcher as it
/// is. The schema is the proto's.
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
    pub fn decode_snapshots(&self) -> Result<Vec<v1::JobDetails>, prost::DecodeError> {
        self.snapshots.iter().map(|bytes| v1::JobDetails::decode(bytes.clone())).collect()
    }

    /// The events, decoded.
    ///
    /// # Errors
    /// When one of them is not a `JobEvent`.
    pub fn decode_events(&self) -> Result<Vec<v1::JobEvent>, prost::DecodeError> {
        self.events.iter().map(|bytes| v1::JobEvent::decode(bytes.clone())).collect()
    }
}
