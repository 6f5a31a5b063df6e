//! The body of a request, whose bytes count as in hand from when they come.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

use crate::rpc::intake::Share;

/// The body of a request. It ends with a refusal where too much is in hand.
pub(super) struct RequestBody {
    inner: Body,
    share: Arc<Share>,
}

impl RequestBody {
    pub(super) fn wrap(inner: Body, share: Arc<Share>) -> Body {
        Body::new(Self { inner, share })
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(refusal) = self.share.add(data.len())
        {
            // What came is let go of at once.
            self.inner = Body::empty();
            return Poll::Ready(Some(Err(refusal)));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
