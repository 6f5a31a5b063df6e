//! The stream of a device's outbox: syncs one after another, and their answers in the same order.
//!
//! Like a watch it is pulled, and holds no task: a request is read when HTTP/2 has room for an answer, few syncs are in
//! hand and the writers are not busy. So a client that sends and does not read is held up by its own flow control, and
//! costs what is in hand.

use std::{pin::Pin, sync::Arc};

use futures_util::{
    future::BoxFuture,
    stream::{self, FuturesOrdered, Stream, StreamExt as _},
};
use tonic::{Status, Streaming};

use super::{expiry::Expiry, intake::Share, layer, parse, slots::Slot, status, sync, watch::Drain};
use crate::{
    auth::{Caller, Refusal},
    config::Limits,
    engine::Engine,
    proto::v1::{
        BasicSyncRequest, BasicSyncResponse, StreamSyncRequest, StreamSyncResponse,
        stream_sync_response::Result as Outcome,
    },
};

#[cfg(test)]
mod tests;

/// How many syncs of a stream are in hand at once. Each may be as large as a message; a few are enough that a commit is
/// shared and the next sync has arrived when the last is answered.
const IN_HAND_MAX: usize = 8;

/// Each sync of a stream is a change of its own, and has its own line in the audit.
const STREAM_SYNC: &str = "/holdpoint.v1.SyncService/StreamSync";

/// What `StreamSync` answers with.
pub type StreamSyncStream = Pin<Box<dyn Stream<Item = Result<StreamSyncResponse, Status>> + Send>>;

/// One stream. `R` is where its requests come from: [`Streaming`], but for tests.
pub(super) struct Outbox<R = Streaming<StreamSyncRequest>> {
    engine: Engine,
    limits: Limits,
    caller: Caller,
    requests: R,
    /// What of the stream was received, and is not yet in one of the syncs in hand.
    received: Arc<Share>,
    /// In the order of the requests.
    in_hand: FuturesOrdered<BoxFuture<'static, StreamSyncResponse>>,
    /// There may be further requests, and they are wanted.
    is_reading: bool,
    /// When the caller's credentials are no longer good.
    expiry: Expiry,
    /// What the stream ends with, once all that is in hand is answered; `None`: OK.
    end: Option<Status>,
    drain: Drain,
    _slot: Slot,
}

impl<R> Outbox<R>
where
    R: Stream<Item = Result<StreamSyncRequest, Status>> + Send + Unpin + 'static,
{
    pub(super) fn open(
        engine: Engine,
        limits: Limits,
        caller: Caller,
        requests: R,
        received: Arc<Share>,
        slot: Slot,
        drain: Drain,
    ) -> Result<Self, Status> {
        if drain.is_cancelled() {
            return Err(status::shutting_down());
        }
        let in_hand = FuturesOrdered::new();
        let expiry = Expiry::of(&caller, &engine.now());
        Ok(Self {
            engine,
            limits,
            caller,
            requests,
            received,
            in_hand,
            is_reading: true,
            expiry,
            end: None,
            drain,
            _slot: slot,
        })
    }

    pub(super) fn stream(self) -> StreamSyncStream {
        let expiry = self.expiry;
        Box::pin(expiry.bound(stream::unfold(self, |mut outbox| async move {
            let message = outbox.next().await?;
            Some((message, outbox))
        })))
    }

    /// The next answer. `None`: the stream ends.
    async fn next(&mut self) -> Option<Result<StreamSyncResponse, Status>> {
        loop {
            let Self { engine, requests, received, in_hand, drain, expiry, .. } = self;
            let may_read = self.is_reading && in_hand.len() < IN_HAND_MAX;
            let read = async {
                engine.room().await;
                received.room().await;
                requests.next().await
            };
            tokio::select! {
                biased;
                Some(answer) = in_hand.next() => return Some(Ok(answer)),
                () = drain.cancelled(), if may_read => self.finish(Some(status::shutting_down())),
                () = expiry.passed(), if may_read => {
                    self.finish(Some(status::not_let_in(Refusal::Expired)));
                }
                request = read, if may_read => match request {
                    Some(Ok(request)) => self.take(request),
                    Some(Err(broken)) => self.finish(Some(broken)),
                    None => self.finish(None),
                },
                else => return self.end.take().map(Err),
            }
        }
    }

    /// Reads no further. What is in hand is answered.
    fn finish(&mut self, end: Option<Status>) {
        self.is_reading = false;
        self.end = end;
    }

    /// Queues a sync behind those before it. One that cannot be is answered in its turn.
    fn take(&mut self, request: StreamSyncRequest) {
        let share = self.received.split();
        let StreamSyncRequest { mut tag, sync } = request;
        let mut audit = layer::ChangeAudit::begin(&self.caller, STREAM_SYNC);
        let answer = self.submit(&tag, sync.unwrap_or_default(), &mut audit);
        if let Some((end, _)) = tag.char_indices().nth(parse::TAG_CHARACTERS_MAX) {
            tag.truncate(end);
        }
        self.in_hand.push_back(Box::pin(async move {
            let answer = match answer {
                Ok(answer) => answer.await,
                Err(refusal) => Err(refusal),
            };
            drop(share);
            audit.end(answer.as_ref().err());
            let result = match answer {
                Ok(response) => Outcome::Response(response),
                Err(refusal) => Outcome::Error(status::as_message(&refusal)),
            };
            StreamSyncResponse { tag, result: Some(result) }
        }));
    }

    fn submit(
        &self,
        tag: &str,
        message: BasicSyncRequest,
        audit: &mut layer::ChangeAudit,
    ) -> Result<impl Future<Output = Result<BasicSyncResponse, Status>> + Send + use<R>, Status> {
        let origin = sync::origin(&self.caller, &message);
        let sync = parse::tagged_sync(&self.limits, tag, message)?;
        let client_job_id = sync.client_job_id().to_owned();
        let request_id = origin.request.as_ref().map_or("", |request| &request.id);
        audit.note(&client_job_id, request_id, origin.validate_only);
        let answer = self.engine.submit(origin, sync);
        let answer = answer.map_err(|error| status::from_engine(&client_job_id, error))?;
        Ok(async move { answer.await.map_err(|error| status::from_engine(&client_job_id, error)) })
    }
}
