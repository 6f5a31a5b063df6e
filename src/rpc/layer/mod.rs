//! What every call goes through before and after its handler: one span, one deadline, one caller, and statuses that are
//! all ours. Each concern has its file; this one puts them in order. It looks at no payload.

mod audit;
mod body;
mod deadline;
mod gate;
mod received;
mod trace;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio::time::Instant;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument as _;

pub use self::{
    audit::{ChangeAudit, note},
    body::ResponseBody,
    gate::{Gate, Now},
};
use self::{
    deadline::{Deadline, Passed},
    received::RequestBody,
    trace::Trace,
    wire::Wire,
};
use crate::{
    config::Limits,
    rpc::{access, intake::Share, status},
};

/// Puts the [`RequestService`] around all services of a server.
#[derive(Clone, Debug)]
pub struct RequestLayer {
    wire: Wire,
    gate: Gate,
}

impl RequestLayer {
    /// The services inside must take messages of `limits.message_bytes` at most.
    #[must_use]
    pub fn new(limits: &Limits, gate: Gate) -> Self {
        Self { wire: Wire::new(limits.message_bytes), gate }
    }
}

impl<S> Layer<S> for RequestLayer {
    type Service = RequestService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestService { inner, wire: self.wire, gate: self.gate.clone() }
    }
}

/// Handlers find an `auth::Caller` in the extensions of a request, run in its span, and are dropped at its deadline.
#[derive(Clone, Debug)]
pub struct RequestService<S> {
    inner: S,
    wire: Wire,
    gate: Gate,
}

impl<S> Service<Request<Body>> for RequestService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The deadline starts here and not when the future is first polled: see `deadline`.
        let received = Instant::now();
        let mut trace = Trace::begin(&request, received);
        let deadline = Deadline::of(request.headers(), received);
        let wire = if access::is_open(request.uri().path()) {
            Wire::new(access::OPEN_MESSAGE_BYTES_MAX)
        } else {
            self.wire
        };

        let admitted = if deadline.has_passed() {
            Err(status::deadline_exceeded())
        } else {
            self.gate.admit(&mut request, &mut trace)
        };
        let notes = trace.notes();
        let answer = admitted.map(|slot| {
            let (request, share) = self.count(request);
            (slot, share, audit::noting(notes, self.inner.call(request)))
        });

        let span = trace.span().clone();
        let call = async move {
            let response = match answer {
                // The slot is given back with the head of the answer: streams are counted by themselves. So is what the
                // request took, where it does not go on.
                Ok((_slot, _share, answer)) => match deadline.bound(answer).await {
                    Ok(Ok(response)) => wire.correct(response),
                    Ok(Err(never)) => match never {},
                    Err(Passed) => status::deadline_exceeded().into_http(),
                },
                Err(refusal) => refusal.into_http(),
            };
            Ok(ResponseBody::wrap(response, deadline, wire, trace))
        };
        Box::pin(call.instrument(span))
    }
}

impl<S> RequestService<S> {
    /// Has the bytes of a request count as in hand, those of open RPCs excepted: they are few, and health is told also to
    /// those who ask under overload. Handlers of streams find their [`Share`] in the extensions.
    fn count(&self, mut request: Request<Body>) -> (Request<Body>, Option<Arc<Share>>) {
        if access::is_open(request.uri().path()) {
            return (request, None);
        }
        let share = Arc::new(self.gate.intake().call());
        request.extensions_mut().insert(Arc::clone(&share));
        (request.map(|body| RequestBody::wrap(body, Arc::clone(&share))), Some(share))
    }
}
