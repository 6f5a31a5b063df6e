//! The generated messages, and those that are written by hand.

mod codec;
mod document;
mod encoded;

pub use self::{
    codec::BoundedCodec,
    document::{Document, unsign_zeros},
    encoded::{EncodedHead, EncodedJobRecord, GetJobResponse, ListJobsResponse, WatchBatch},
};

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
