//! `SyncService`.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use super::{
    call,
    intake::Share,
    outbox::{Outbox, StreamSyncStream},
    parse,
    slots::Slots,
    status,
    watch::Drain,
};
use crate::{
    auth::Caller,
    config::Limits,
    engine::{Engine, Origin},
    proto::v1::{BasicSyncRequest, BasicSyncResponse, StreamSyncRequest, sync_service_server},
};

/// Serves devices.
pub struct SyncService {
    engine: Engine,
    limits: Limits,
    slots: Slots,
    drain: Drain,
}

impl SyncService {
    /// A service over an engine. Its streams end once `drain` is cancelled.
    #[must_use]
    pub fn new(engine: Engine, limits: Limits, drain: Drain) -> Self {
        let slots = Slots::sync_streams(&limits);
        Self { engine, limits, slots, drain }
    }
}

/// The origin of a sync. A request id stands for the same sync, whichever way it comes.
pub(super) fn origin(caller: &Caller, sync: &BasicSyncRequest) -> Origin {
    call::origin(caller, "BasicSync", sync, &sync.request_id, sync.validate_only)
}

#[tonic::async_trait]
impl sync_service_server::SyncService for SyncService {
    type StreamSyncStream = StreamSyncStream;

    async fn basic_sync(
        &self,
        request: Request<BasicSyncRequest>,
    ) -> Result<Response<BasicSyncResponse>, Status> {
        let (caller, message) = call::open(request);
        let origin = origin(&caller, &message);
        let sync = parse::sync(&self.limits, message)?;
        call::trace(&origin, sync.client_job_id());
        let client_job_id = sync.client_job_id().to_owned();
        let reply = self.engine.execute(origin, sync).await;
        reply.map(Response::new).map_err(|error| status::from_engine(&client_job_id, error))
    }

    async fn stream_sync(
        &self,
        request: Request<Streaming<StreamSyncRequest>>,
    ) -> Result<Response<StreamSyncStream>, Status> {
        let share = request.extensions().get::<Arc<Share>>().cloned();
        let share = share.expect("the layer around all services counts what comes");
        let (caller, requests) = call::open(request);
        let slot = self.slots.take(&caller)?;
        let (engine, limits, drain) = (self.engine.clone(), self.limits.clone(), self.drain.clone());
        let outbox = Outbox::open(engine, limits, caller, requests, share, slot, drain)?;
        Ok(Response::new(outbox.stream()))
    }
}
