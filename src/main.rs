//! The binary: flags, log, signals. Everything else is the library.

#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
mod allocator;

use std::{
    error::Error,
    io::{self, Write as _},
    path::PathBuf,
    process::{self, ExitCode},
};

use clap::Parser as _;
use holdpoint::{
    auth::{self, mint::Wish},
    cli::{
        Arguments, BackupArguments, CheckArguments, Command, MintArguments, RestoreArguments, ServeArguments,
        TokenCommand,
        bench::{self, BenchArguments},
        local,
        remote::{self, ServerArguments},
    },
    config::{self, Config},
    engine::{Environment as _, Findings, System},
    proto::v1::BackupSummary,
    server, telemetry,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell reports for a process that an interrupt ended.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(arguments) => serve(&arguments),
        Command::Token(TokenCommand::Mint(arguments)) => mint(arguments),
        Command::Status(server) => status(&server),
        Command::Backup(arguments) => backup(&arguments),
        Command::Restore(arguments) => restore(&arguments),
        Command::Check(arguments) => check(&arguments),
        Command::Bench(arguments) => measure(arguments),
        Command::BenchBare { directory } => bare(directory),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn serve(arguments: &ServeArguments) -> Result<(), Failure> {
    let config = Config::load(&arguments.sources(config::environment())).map_err(Failure::usage)?;
    if arguments.print_config() {
        return io::stdout().write_all(config.to_toml().as_bytes()).map_err(Failure::other);
    }
    telemetry::init(&config.log, &config.audit).map_err(Failure::usage)?;
    lift_open_files();
    run(config)
}

/// As many connections and files as the system lets a process have, if it asks: less is usual for those that do not.
fn lift_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let lifted = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, lifted) {
        tracing::info!(%error, open_files = limit.current, "there cannot be more connections and files than this");
    }
}

fn mint(arguments: MintArguments) -> Result<(), Failure> {
    let now = System.now().seconds;
    let wish = Wish {
        sub: arguments.sub,
        name: arguments.name,
        org: arguments.org,
        groups: arguments.groups,
        privileges: arguments.privileges,
        roles: arguments.roles,
        issuer: arguments.issuer,
        audience: arguments.audience,
        key_id: arguments.key_id,
        issued: u64::try_from(now).unwrap_or_default(),
        seconds: arguments.expires_in,
    };
    let token = auth::mint::mint(&arguments.key, wish).map_err(Failure::usage)?;
    say(&token)
}

#[tokio::main(flavor = "current_thread")]
async fn status(server: &ServerArguments) -> Result<(), Failure> {
    let status = remote::status(server).await.map_err(Failure::other)?;
    say(&status)
}

#[tokio::main(flavor = "current_thread")]
async fn backup(arguments: &BackupArguments) -> Result<(), Failure> {
    let made = remote::backup(&arguments.server, &arguments.file).await.map_err(Failure::other)?;
    let BackupSummary { store_id, bytes, sha256, heads, .. } = made;
    say(&format!(
        "backed up store {store_id} up to event {} into {}: {bytes} bytes, SHA-256 {sha256}",
        heads.iter().max().copied().unwrap_or_default(),
        arguments.file.display(),
    ))
}

fn restore(arguments: &RestoreArguments) -> Result<(), Failure> {
    let (of, made) = local::restore(&arguments.file, &arguments.data_dir).map_err(Failure::other)?;
    say(&format!(
        "restored store {} up to event {} into {}: {} items; its name is now {}",
        of.store.0,
        made.extent.head,
        arguments.data_dir.display(),
        made.items,
        made.store.0,
    ))
}

#[tokio::main(flavor = "current_thread")]
async fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    if let Some(file) = &arguments.backup {
        let (of, items) = local::check_backup(file).map_err(Failure::other)?;
        return say(&format!(
            "OK: a backup of store {} by version {}, {items} items",
            of.store.0, of.version
        ));
    }
    let Some(data_dir) = &arguments.data_dir else { return Ok(()) };
    let found = local::check_directory(data_dir).await.map_err(Failure::other)?;
    for fault in &found.faults {
        say(fault)?;
    }
    if found.is_in_order() {
        let Findings { jobs, events, records, .. } = found;
        return say(&format!("OK: {jobs} jobs, {events} events, {records} records"));
    }
    let faults = found.faults.len() as u64 + found.further_faults;
    Err(Failure::other(NotInOrder { faults, data_dir: data_dir.clone() }))
}

/// Measures. Told to stop, it takes its servers and their files with it.
#[tokio::main]
async fn measure(arguments: BenchArguments) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    tokio::spawn(cancel_on_signal(stop.clone()).map_err(Failure::other)?);
    let is_json = arguments.json();
    let report = stop.run_until_cancelled(bench::run(arguments)).await;
    let report = report.ok_or(Failure::other(Interrupted))?.map_err(Failure::other)?;
    say(if is_json { report.to_json() } else { report.to_string() }.trim_end())
}

#[tokio::main]
async fn bare(directory: PathBuf) -> Result<(), Failure> {
    bench::bare::serve(&directory).await.map_err(Failure::other)
}

/// It was told to stop before there was anything to say.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

/// What was looked at is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("{} is not in order: {faults} faults; restore a backup that is", data_dir.display())]
struct NotInOrder {
    faults: u64,
    data_dir: PathBuf,
}

fn say(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(Failure::other)
}

#[tokio::main]
async fn run(config: Config) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()).map_err(Failure::other)?);
    server::run(config, shutdown).await.map_err(Failure::other)
}

/// The first signal asks for a graceful stop, the second insists.
fn cancel_on_signal(shutdown: CancellationToken) -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        for again in [false, true] {
            let signal = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if again {
                tracing::warn!(signal, "told twice to stop: not waiting for open calls");
                process::exit(INTERRUPTED);
            }
            tracing::info!(signal, "told to stop: letting open calls finish");
            shutdown.cancel();
        }
    })
}

/// Why the process ends, and what it says to whoever started it.
struct Failure {
    code: u8,
    error: Box<dyn Error>,
}

impl Failure {
    /// The command line or the configuration is wrong. The same code as for flags that cannot be read.
    fn usage(error: impl Error + 'static) -> Self {
        Self { code: 2, error: error.into() }
    }

    fn other(error: impl Error + 'static) -> Self {
        Self { code: 1, error: error.into() }
    }

    fn report(&self) -> ExitCode {
        let mut line = format!("error: {}", self.error);
        let mut cause = self.error.source();
        while let Some(error) = cause {
            line.push_str(&format!(": {error}"));
            cause = error.source();
        }
        // There is nobody left to tell when stderr is gone.
        let _ = writeln!(io::stderr(), "{line}");
        ExitCode::from(self.code)
    }
}
