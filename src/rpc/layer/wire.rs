//! Gives the statuses that tonic makes by itself the codes and reasons that are documented.
//!
//! tonic answers a message over the limit with OUT_OF_RANGE and one that cannot be decoded with INTERNAL, and tells them
//! by text alone. Ours never begin like these. An unknown method stays UNIMPLEMENTED.

use http::{HeaderMap, Response};
use tonic::{Code, Status, body::Body};

use crate::rpc::status;

const TOO_LARGE: &str = "Error, decoded message length too large";
const UNDECODABLE: &str = "failed to decode Protobuf message: ";
/// Where these came from a streaming request, its handler has passed them on.
const MALFORMED: [&str; 3] = [
    "Missing request message.",
    "Unexpected EOF decoding stream.",
    "protocol error: received message with invalid compression flag",
];

/// What tonic's statuses become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    message_bytes_max: usize,
}

impl Wire {
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max }
    }

    /// The response, unless its head is a status of tonic's.
    pub(super) fn correct(self, response: Response<Body>) -> Response<Body> {
        match self.corrected(response.headers()) {
            Some(status) => status.into_http(),
            None => response,
        }
    }

    /// The trailers, unless they are a status of tonic's.
    pub(super) fn correct_trailers(self, trailers: HeaderMap) -> HeaderMap {
        match self.corrected(&trailers) {
            Some(status) => trailers_of(&status),
            None => trailers,
        }
    }

    fn corrected(self, headers: &HeaderMap) -> Option<Status> {
        let code = Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes());
        if !matches!(code, Code::OutOfRange | Code::Internal) {
            return None;
        }
        let status = Status::from_header_map(headers)?;
        let message = status.message();
        if code == Code::OutOfRange {
            return message.starts_with(TOO_LARGE).then(|| status::message_too_large(self.message_bytes_max));
        }
        if let Some(detail) = message.strip_prefix(UNDECODABLE) {
            return Some(status::malformed(detail));
        }
        MALFORMED
            .iter()
            .any(|beginning| message.starts_with(beginning))
            .then(|| status::malformed(message.trim_end_matches('.')))
    }
}

/// A status as the end of a body.
pub(super) fn trailers_of(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    match status.add_header(&mut trailers) {
        Ok(()) => trailers,
        Err(status) => unreachable!("a status is escaped into a header: {status}"),
    }
}
