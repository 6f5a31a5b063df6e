//! `AdminService`.

use std::{collections::VecDeque, pin::Pin, time::Duration};

use bytes::{Buf as _, Bytes};
use futures_util::stream::{self, Stream};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{call, expiry::Expiry, intake::Intake, status, watch::Drain};
use crate::{
    auth::Refusal,
    config::StoreKind,
    engine::{Engine, EngineStatus},
    proto::v1::{
        BackupRequest, BackupResponse, BackupSummary, GetServerStatusRequest, GetServerStatusResponse,
        PartitionStatus, RequestStatus, StoreStatus, WatchStatus, admin_service_server,
    },
    store::{BackupInfo, BackupWriter, EXPORT_WAITING_BYTES_MAX, Export, ExportError, Extent, Partition},
};

/// The most that a message of a backup has of it.
const DATA_BYTES_MAX: usize = 256 << 10;

/// What `Backup` answers with.
pub type BackupStream = Pin<Box<dyn Stream<Item = Result<BackupResponse, Status>> + Send>>;

/// Serves those who run the server.
pub struct AdminService {
    engine: Engine,
    intake: Intake,
    kind: StoreKind,
    drain: Drain,
    started: Instant,
}

impl AdminService {
    /// A service over an engine, whose backups end once `drain` is cancelled.
    #[must_use]
    pub fn new(engine: Engine, intake: Intake, kind: StoreKind, drain: Drain) -> Self {
        Self { engine, intake, kind, drain, started: Instant::now() }
    }
}

#[tonic::async_trait]
impl admin_service_server::AdminService for AdminService {
    type BackupStream = BackupStream;

    async fn get_server_status(
        &self,
        request: Request<GetServerStatusRequest>,
    ) -> Result<Response<GetServerStatusResponse>, Status> {
        let (_, GetServerStatusRequest {}) = call::open(request);
        let engine = self.engine.clone();
        // It walks through the files of the store.
        let read = tokio::task::spawn_blocking(move || engine.status()).await;
        let read = read.map_err(|broken| status::internal(&broken))?;
        Ok(Response::new(self.render(&read)))
    }

    async fn backup(&self, request: Request<BackupRequest>) -> Result<Response<BackupStream>, Status> {
        let (caller, BackupRequest {}) = call::open(request);
        if self.drain.is_cancelled() {
            return Err(status::shutting_down());
        }
        let expiry = Expiry::of(&caller, &self.engine.now());
        let backup = Backup::begin(self.engine.clone()).await?;
        tracing::info!(org = caller.org, user = caller.user, "a backup is begun");
        let drain = self.drain.clone();
        let messages = stream::unfold(Some(backup), move |backup| {
            let drain = drain.clone();
            async move {
                let mut backup = backup?;
                let message = tokio::select! {
                    biased;
                    () = drain.cancelled() => Err(status::shutting_down()),
                    () = expiry.passed() => Err(status::not_let_in(Refusal::Expired)),
                    message = backup.next() => message,
                };
                let is_last = message.as_ref().map_or(true, |message| message.summary.is_some());
                Some((message, (!is_last).then_some(backup)))
            }
        });
        Ok(Response::new(Box::pin(expiry.bound(messages))))
    }
}

impl AdminService {
    fn render(&self, read: &EngineStatus) -> GetServerStatusResponse {
        let (request_bytes, request_bytes_max) = self.intake.bytes();
        let kind = match self.kind {
            StoreKind::Sled => "sled",
            StoreKind::Memory => "memory",
        };
        let partitions = (0..).zip(&read.partitions).map(|(partition, read)| PartitionStatus {
            partition,
            head: signed(read.extent.head.0),
            oldest: signed(read.extent.oldest.0),
            commands_waiting: signed(read.commands_waiting as u64),
            commands_waiting_max: signed(read.commands_waiting_max as u64),
            request_ids: signed(read.request_ids),
        });
        GetServerStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: Some(duration(self.started.elapsed())),
            time: Some(self.engine.now()),
            store: Some(StoreStatus {
                store_id: self.engine.store_id().0.to_string(),
                kind: kind.to_owned(),
                disk_bytes: signed(read.disk_bytes),
                free_bytes: read.free_bytes.map(signed),
                free_bytes_min: signed(read.free_bytes_min),
                full: read.is_full,
            }),
            partitions: partitions.collect(),
            watches: Some(WatchStatus {
                open: signed(read.watches.open as u64),
                behind: signed(read.watches.behind as u64),
                lag_events_max: signed(read.watches.lag_events_max),
            }),
            requests: Some(RequestStatus {
                bytes: signed(request_bytes),
                bytes_max: signed(request_bytes_max),
            }),
        }
    }
}

/// A backup on its way.
struct Backup {
    engine: Engine,
    info: BackupInfo,
    /// Taken at the end.
    writer: Option<BackupWriter>,
    /// The partition that is being copied, and those that are to be.
    export: Option<(Partition, Box<dyn Export>)>,
    partitions: VecDeque<Partition>,
    extents: Vec<Extent>,
    /// Bytes that are made already.
    ready: Bytes,
    summary: Option<BackupSummary>,
}

impl Backup {
    async fn begin(engine: Engine) -> Result<Self, Status> {
        let partitions: VecDeque<_> = engine.partitions().collect();
        let info = BackupInfo {
            store: engine.store_id(),
            time: engine.now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            partitions: u16::try_from(partitions.len()).unwrap_or(u16::MAX),
        };
        let (writer, ready) = BackupWriter::begin(&info);
        let mut backup = Self {
            engine,
            info,
            writer: Some(writer),
            export: None,
            partitions,
            extents: Vec::new(),
            ready,
            summary: None,
        };
        backup.next_partition().await?;
        Ok(backup)
    }

    async fn next_partition(&mut self) -> Result<(), Status> {
        self.export = None;
        if let Some(partition) = self.partitions.pop_front() {
            let export = self.engine.export(partition).await.map_err(refused)?;
            self.export = Some((partition, export));
        }
        Ok(())
    }

    /// The next message; the last has the summary.
    async fn next(&mut self) -> Result<BackupResponse, Status> {
        while self.ready.is_empty() {
            if let Some(summary) = self.summary.take() {
                return Ok(BackupResponse { data: Bytes::new(), summary: Some(summary) });
            }
            self.make().await?;
        }
        let length = self.ready.remaining().min(DATA_BYTES_MAX);
        Ok(BackupResponse { data: self.ready.split_to(length), summary: None })
    }

    /// Makes the next bytes.
    async fn make(&mut self) -> Result<(), Status> {
        let Some((partition, export)) = &mut self.export else {
            self.end();
            return Ok(());
        };
        if let Some(items) = export.next().await.map_err(refused)? {
            if let Some(writer) = &mut self.writer {
                self.ready = writer.items(*partition, items);
            }
            return Ok(());
        }
        self.extents.push(export.extent());
        self.next_partition().await
    }

    fn end(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let (ready, sha256, bytes) = writer.end(&self.extents);
        self.ready = ready;
        tracing::info!(bytes, "a backup is made");
        self.summary = Some(BackupSummary {
            store_id: self.info.store.0.to_string(),
            create_time: Some(self.info.time),
            bytes: signed(bytes),
            sha256,
            heads: self.extents.iter().map(|extent| signed(extent.head.0)).collect(),
        });
    }
}

fn refused(error: ExportError) -> Status {
    match error {
        ExportError::UnderWay => status::limit_exceeded_for_now("backups", 1, None),
        ExportError::Behind => {
            status::limit_exceeded_for_now("backup_bytes_waiting", EXPORT_WAITING_BYTES_MAX as u64, None)
        }
        ExportError::Store(error) => status::internal(&error),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn duration(elapsed: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: signed(elapsed.as_secs()), nanos: elapsed.subsec_nanos().cast_signed() }
}
