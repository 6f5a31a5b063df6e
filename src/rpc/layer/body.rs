//! The body of a response, which for a stream is most of the call: here it meets its deadline, and here it ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame};
use tonic::{Code, Status, body::Body};

use super::{
    deadline::{Alarm, Deadline},
    trace::Trace,
    wire::{Wire, trailers_of},
};
use crate::rpc::status;

/// What h2 gathers with other frames: it writes longer ones by themselves (see `server/gather.rs`).
const PIECE_BYTES: usize = 1023;
/// Messages of this size and more go as they are.
const CUT_BYTES_MAX: usize = 8 * 1024;

/// The body of a response, bounded by the deadline of its call.
#[derive(Debug)]
pub struct ResponseBody {
    inner: Body,
    /// Of the message that is sent in pieces, what is left.
    rest: Bytes,
    alarm: Alarm,
    wire: Wire,
    trace: Trace,
}

impl ResponseBody {
    pub(super) fn wrap(
        response: Response<Body>,
        deadline: Deadline,
        wire: Wire,
        mut trace: Trace,
    ) -> Response<Self> {
        trace.end_if_told(response.headers());
        response.map(|inner| Self { inner, rest: Bytes::new(), alarm: Alarm::new(deadline), wire, trace })
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // What was begun is sent whole.
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        // A stream that always has more would otherwise never come to its deadline.
        if self.alarm.has_passed() && !self.trace.has_ended() {
            return self.expire();
        }
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(self.pass(frame)))),
            Poll::Ready(Some(Err(status))) => {
                self.trace.end(status.code());
                Poll::Ready(Some(Err(status)))
            }
            Poll::Ready(None) => {
                self.trace.end(Code::Unknown);
                Poll::Ready(None)
            }
            Poll::Pending => match self.alarm.poll(context) {
                Poll::Ready(_) => self.expire(),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_trailers() {
            Ok(trailers) => {
                let trailers = self.wire.correct_trailers(trailers);
                self.trace.end_if_told(&trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => match frame.into_data() {
                Ok(data) if (PIECE_BYTES + 1..CUT_BYTES_MAX).contains(&data.len()) => {
                    self.rest = data;
                    self.piece()
                }
                Ok(data) => Frame::data(data),
                Err(frame) => frame,
            },
        }
    }

    /// The next piece of a message that is sent in pieces.
    fn piece(&mut self) -> Frame<Bytes> {
        let bytes = PIECE_BYTES.min(self.rest.len());
        Frame::data(self.rest.split_to(bytes))
    }

    /// Ends the body, and lets go of what made it.
    fn expire(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.inner = Body::empty();
        self.trace.end(Code::DeadlineExceeded);
        Poll::Ready(Some(Ok(Frame::trailers(trailers_of(&status::deadline_exceeded())))))
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let span = self.trace.span().clone();
        let _entered = span.enter();
        self.next(context)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }
}
