//! Puts the pieces together and serves until told to stop.

use std::{
    convert::Infallible,
    io::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use http::{Request, Response};
use tokio::{net::TcpListener, time};
use tokio_util::sync::CancellationToken;
use tonic::{
    body::Body,
    server::NamedService,
    service::Routes,
    transport::{self, Server},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::Service;

use self::tls::Tls;
pub use self::tls::TlsError;
use crate::{
    auth::{Authenticator, SetupError},
    config::{Config, StoreKind},
    domain,
    engine::{Engine, Options, System, check},
    proto::{
        API_DESCRIPTORS,
        v1::{
            admin_service_server::AdminServiceServer, job_service_server::JobServiceServer,
            sync_service_server::SyncServiceServer, task_service_server::TaskServiceServer,
            workflow_service_server::WorkflowServiceServer,
        },
    },
    rpc::{
        AdminService, JobService, SyncService, TaskService, WorkflowService,
        access::OPEN_MESSAGE_BYTES_MAX,
        layer::{Gate, RequestLayer},
    },
    store::{self, MemoryStore, SledOptions, SledStore, Store},
};

mod accept;
#[cfg(test)]
#[path = "../tests/shared/certificates.rs"]
#[allow(dead_code, reason = "the tests here do not need all of it")]
mod certificates;
mod gather;
#[cfg(test)]
mod tests;
mod tls;

/// The name by which health checks mean the server as a whole.
const WHOLE_SERVER: &str = "";
/// How long those who wait may take to hear that the store has failed.
const FAREWELL: Duration = Duration::from_millis(500);
/// How often keys and certificates are looked at, whether they have changed.
const REFRESH: Duration = Duration::from_millis(500);

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not one of this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Callers cannot be found out as configured.
    #[error("cannot tell callers")]
    Auth(#[from] SetupError),
    /// Connections cannot be encrypted as configured.
    #[error("cannot encrypt connections")]
    Tls(#[from] TlsError),
    /// The descriptors for reflection cannot be read.
    #[error("cannot describe the services")]
    Describe(#[from] tonic_reflection::server::Error),
    /// The data directory cannot be used.
    #[error("cannot open the store")]
    Open(#[from] store::OpenError),
    /// The store was opened, and is not in order.
    #[error("the store is damaged: {cause}: restore a backup with holdpoint restore")]
    Damaged {
        /// What is wrong.
        cause: String,
    },
    /// The store was opened and cannot be read.
    #[error("cannot read the store")]
    Read(#[source] store::Error),
    /// Serving broke off.
    #[error("cannot serve")]
    Serve(#[from] transport::Error),
    /// The store failed while serving. What was acknowledged is kept; the rest happened or not.
    #[error("the store failed while serving")]
    Failed(#[source] Arc<store::Error>),
    /// The store did not close in good order. The next start finds everything that was acknowledged all the same.
    #[error("cannot close the store")]
    Close(#[source] store::Error),
}

/// Serves as configured until `shutdown` is cancelled, and says on stdout in one line where it listens.
///
/// # Errors
/// When something that is needed before the first call is not to be had, serving breaks off, or the store fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    warn_of_what_is_not_safe(&config);
    // A taken port is the commonest fault, and found before the store is touched.
    let (listener, address) = listen(config.listen).await?;
    let store = open_store(&config)?;
    if store.is_suspect() {
        verify(&store).await?;
    }
    let engine = Engine::start(store, Arc::new(System), options(&config)).await.map_err(Error::Read)?;
    let services = services(&config, &engine, shutdown.clone())?;
    announce(address);

    let failed = end_on_failure(engine.clone(), shutdown.clone());
    tokio::select! {
        served = serve(listener, services, &config, shutdown) => served?,
        failure = failed => return Err(failure),
    }
    // All calls may have ended before their time for it was over.
    if let Some(failure) = engine.failed().now_or_never() {
        return Err(Error::Failed(failure));
    }
    engine.stop().await.map_err(Error::Close)?;
    tracing::info!("stopped");
    Ok(())
}

/// Ends the server when the store fails: it does not go on over a store it cannot trust. Those who wait are told first.
async fn end_on_failure(engine: Engine, shutdown: CancellationToken) -> Error {
    let failure = engine.failed().await;
    tracing::error!(error = &*failure as &dyn std::error::Error, "the store failed; stopping");
    shutdown.cancel();
    time::sleep(FAREWELL).await;
    Error::Failed(failure)
}

/// Looks at all of a store whose files may be damaged.
///
/// # Errors
/// It is not in order, or cannot be read.
async fn verify(store: &Arc<dyn Store>) -> Result<(), Error> {
    let found =
        check(Arc::clone(store)).await.map_err(|error| Error::Damaged { cause: error.to_string() })?;
    if let Some(fault) = found.faults.into_iter().next() {
        return Err(Error::Damaged { cause: fault });
    }
    tracing::info!(found.jobs, found.events, "everything was looked at, and is in order");
    store.trust().map_err(Error::Read)
}

/// Opens the store that is configured.
///
/// # Errors
/// When the data directory cannot be used.
pub fn open_store(config: &Config) -> Result<Arc<dyn Store>, Error> {
    Ok(match config.store.kind {
        StoreKind::Memory => Arc::new(MemoryStore::new()),
        StoreKind::Sled => {
            let options = SledOptions {
                cache_bytes: config.store.cache_bytes,
                checkpoint_bytes: config.store.checkpoint_bytes,
                compaction_bytes_min: config.store.compaction_bytes_min,
                ..SledOptions::default()
            };
            Arc::new(SledStore::open(&config.data_dir, &options)?)
        }
    })
}

/// How the engine works as configured.
#[must_use]
pub fn options(config: &Config) -> Options {
    const HOUR_SECONDS: u64 = 3600;
    let limits = &config.limits;
    Options {
        limits: domain::Limits {
            reports_per_job: limits.reports_per_job as u64,
            tasks_per_job: limits.tasks_per_job as u64,
            attempts_per_job: limits.attempts_per_job as u64,
            text_characters: limits.text_characters,
            document_bytes: limits.document_bytes,
            document_levels: limits.document_levels,
        },
        commands_waiting_max: limits.commands_waiting,
        waiting_max: Duration::from_millis(limits.waiting_milliseconds),
        tail_bytes: limits.tail_bytes,
        request_window: Duration::from_secs(limits.request_id_hours * HOUR_SECONDS),
        requests_max: limits.request_ids,
        log_age_max: Duration::from_secs(limits.log_days * 24 * HOUR_SECONDS),
        log_events_max: limits.log_events,
        free_bytes_min: config.store.free_bytes_min,
    }
}

/// Everything that is served, and how connections to it are encrypted. Watches and streams of syncs end once `drain` is cancelled.
///
/// # Errors
/// When the descriptors for reflection cannot be read, or a key or the certificate cannot be used.
pub fn services(config: &Config, engine: &Engine, drain: CancellationToken) -> Result<Services, Error> {
    let limits = &config.limits;
    let message_bytes = limits.message_bytes;
    let jobs = JobService::new(engine.clone(), limits.clone(), drain.clone());
    let tasks = TaskService::new(engine.clone(), limits.clone());
    let workflows = WorkflowService::new(engine.clone(), limits.clone());
    let syncs = SyncService::new(engine.clone(), limits.clone(), drain.clone());
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(API_DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Without these, tools show the details of an error as bytes.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let authenticator = Arc::new(Authenticator::new(&config.auth)?);
    let tls = if config.tls.is_on() { Some(Arc::new(Tls::new(&config.tls)?)) } else { None };
    let now = {
        let engine = engine.clone();
        Arc::new(move || engine.now())
    };
    let gate = Gate::new(Arc::clone(&authenticator), limits, now);
    let admin = AdminService::new(engine.clone(), gate.intake().clone(), config.store.kind, drain);
    let services = Services::new(health, gate, authenticator, tls)
        .with(AdminServiceServer::new(admin).max_decoding_message_size(message_bytes))
        .with(JobServiceServer::new(jobs).max_decoding_message_size(message_bytes))
        .with(TaskServiceServer::new(tasks).max_decoding_message_size(message_bytes))
        .with(WorkflowServiceServer::new(workflows).max_decoding_message_size(message_bytes))
        .with(SyncServiceServer::new(syncs).max_decoding_message_size(message_bytes))
        .with(health_service.max_decoding_message_size(OPEN_MESSAGE_BYTES_MAX));
    if !config.reflection {
        return Ok(services);
    }
    Ok(services
        .with(reflection().build_v1()?.max_decoding_message_size(OPEN_MESSAGE_BYTES_MAX))
        // What older tools ask, grpcurl among them.
        .with(reflection().build_v1alpha()?.max_decoding_message_size(OPEN_MESSAGE_BYTES_MAX)))
}

/// Services, and the health of each.
#[derive(Debug)]
pub struct Services {
    routes: Routes,
    health: HealthReporter,
    names: Vec<&'static str>,
    gate: Gate,
    authenticator: Arc<Authenticator>,
    tls: Option<Arc<Tls>>,
}

impl Services {
    fn new(
        health: HealthReporter,
        gate: Gate,
        authenticator: Arc<Authenticator>,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        Self { routes: Routes::default(), health, names: vec![WHOLE_SERVER], gate, authenticator, tls }
    }

    /// Adds a service, and its name to those whose health is told.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self.names.push(S::NAME);
        self
    }
}

/// Tells who asks how the services are.
struct Health {
    reporter: HealthReporter,
    names: Vec<&'static str>,
}

impl Health {
    async fn serving(&self) {
        self.tell(ServingStatus::Serving).await;
    }

    /// Says so to those who watch, and ends their streams, which would otherwise last as long as the drain may.
    async fn draining(&mut self) {
        self.tell(ServingStatus::NotServing).await;
        for name in &self.names {
            self.reporter.clear_service_status(name).await;
        }
    }

    async fn tell(&self, status: ServingStatus) {
        for name in &self.names {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// Takes the address, and tells which one it is where the port was left open.
///
/// # Errors
/// When the address is taken, or not one of this machine's.
pub async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Serves on `listener` until `shutdown` is cancelled, then gives open calls `drain_seconds` to finish.
///
/// The bound matters: a client that ignores GOAWAY, or a connection that never said anything, can hold a graceful
/// shutdown open for ever (hyperium/hyper#4170). Connections that outlive it end with the process.
///
/// # Errors
/// When serving breaks off.
pub async fn serve(
    listener: TcpListener,
    services: Services,
    config: &Config,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Services { routes, health: reporter, names, gate, authenticator, tls } = services;
    let patience = Duration::from_secs(config.tls.handshake_seconds);
    let connections = accept::connections(listener, tls.clone(), patience, config.limits.connections);
    let _refreshing = tokio::spawn(refresh(authenticator, tls, shutdown.clone()));
    let mut health = Health { reporter, names };
    health.serving().await;

    let serving = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(config.keepalive.interval_seconds)))
        .http2_keepalive_timeout(Some(Duration::from_secs(config.keepalive.timeout_seconds)))
        .max_concurrent_streams(config.limits.streams_per_connection)
        .layer(RequestLayer::new(&config.limits, gate))
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, shutdown.clone().cancelled_owned());
    tokio::pin!(serving);

    tokio::select! {
        result = &mut serving => return Ok(result?),
        () = shutdown.cancelled() => health.draining().await,
    }
    match time::timeout(Duration::from_secs(config.drain_seconds), serving).await {
        Ok(result) => result?,
        Err(time::error::Elapsed { .. }) => {
            tracing::warn!(config.drain_seconds, "open calls outlived the drain; dropping them");
        }
    }
    Ok(())
}

/// Reads keys and certificates again when their files have changed. Those that cannot be used change nothing, and are said
/// once.
async fn refresh(authenticator: Arc<Authenticator>, tls: Option<Arc<Tls>>, shutdown: CancellationToken) {
    let mut told = [String::new(), String::new()];
    while shutdown.run_until_cancelled(time::sleep(REFRESH)).await.is_some() {
        let (authenticator, tls) = (Arc::clone(&authenticator), tls.clone());
        let read = tokio::task::spawn_blocking(move || {
            let keys = match &*authenticator {
                Authenticator::Tokens(tokens) => tokens.refresh().map_err(|error| described(&error)),
                Authenticator::Development => Ok(false),
            };
            let certificate = tls.map_or(Ok(false), |tls| tls.refresh());
            [("keys", keys), ("certificate", certificate.map_err(|error| described(&error)))]
        });
        let Ok(read) = read.await else {
            tracing::error!("reading keys and certificates broke down: those before stay");
            continue;
        };
        for ((what, outcome), told) in read.into_iter().zip(&mut told) {
            match outcome {
                Ok(true) => tracing::info!(what, "read again"),
                Ok(false) => {}
                Err(error) if error == *told => continue,
                Err(error) => {
                    tracing::error!(what, error, "cannot be read again: those before stay");
                    *told = error;
                    continue;
                }
            }
            told.clear();
        }
    }
}

fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn warn_of_what_is_not_safe(config: &Config) {
    if config.auth.is_development() {
        tracing::warn!(
            "DEVELOPMENT MODE: every caller on this machine is believed to be who it says, and may do everything"
        );
    }
    if !config.listen.ip().is_loopback() && !config.tls.is_on() {
        tracing::warn!(
            "PLAINTEXT: whoever is between the server and its callers can read tokens, and use them"
        );
    }
    if config.store.kind == StoreKind::Memory {
        tracing::warn!("THE STORE IS IN MEMORY: everything is lost when the server stops");
    }
}

/// One line for who started the server, and nothing else ever on stdout.
fn announce(address: SocketAddr) {
    // Somebody who closed stdout does not want to know.
    let _ = writeln!(io::stdout(), "holdpoint is listening on {address}");
    tracing::info!(%address, "listening");
}
