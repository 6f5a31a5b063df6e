//! `SyncService`.

use tonic::{Request, Response, Status};

use super::{call, parse, status};
use crate::{
    config::Limits,
    engine::Engine,
    proto::v1::{BasicSyncRequest, BasicSyncResponse, sync_service_server},
};

/// Serves devices.
pub struct SyncService {
    engine: Engine,
    limits: Limits,
}

impl SyncService {
    /// A service over an engine.
    #[must_use]
    pub fn new(engine: Engine, limits: Limits) -> Self {
        Self { engine, limits }
    }
}

#[tonic::async_trait]
impl sync_service_server::SyncService for SyncService {
    async fn basic_sync(
        &self,
        request: Request<BasicSyncRequest>,
    ) -> Result<Response<BasicSyncResponse>, Status> {
        let (caller, message) = call::open(request);
        let origin = call::origin(&caller, "BasicSync", &message, &message.request_id, message.validate_only);
        let sync = parse::sync(&self.limits, message)?;
        call::trace(&origin);
        let client_job_id = sync.client_job_id().to_owned();
        let reply = self.engine.execute(origin, sync).await;
        reply.map(Response::new).map_err(|error| status::from_engine(&client_job_id, error))
    }
}
