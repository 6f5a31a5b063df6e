//! The log: what goes to stderr, and in which form; and the audit, which goes to a file of its own. Stdout is not ours to
//! write to here.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    env,
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _},
    panic::{self, PanicHookInfo},
    path::PathBuf,
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, LevelFilter, ParseError, filter_fn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::{AuditConfig, LogConfig, LogFormat};

/// The target of events that tell who changed what: see `config::AuditConfig`.
pub const AUDIT: &str = "audit";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directives cannot be read.
    #[error("{origin} is not log directives such as info,holdpoint=debug: {directives:?}")]
    Filter {
        /// Where the directives came from.
        origin: &'static str,
        /// The directives.
        directives: String,
        /// What is wrong with them.
        source: ParseError,
    },
    /// The audit's file cannot be opened.
    #[error("cannot add to audit.file {}", .0.display())]
    Audit(PathBuf, #[source] io::Error),
    /// A log was set up before.
    #[error("the log was set up before")]
    Again(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sends the log of this process to stderr from here on, and the audit to its file. `RUST_LOG`, where it is set and not
/// empty, stands over the configured filter of the log.
///
/// # Errors
/// When the directives cannot be read, the audit's file cannot be opened, or it was called before.
pub fn init(config: &LogConfig, audit: &AuditConfig) -> Result<(), Error> {
    let (origin, directives) = match env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if !directives.is_empty() => (EnvFilter::DEFAULT_ENV, directives),
        Ok(_) | Err(_) => ("log.filter", config.filter.clone()),
    };
    let filter =
        EnvFilter::try_new(&directives).map_err(|source| Error::Filter { origin, directives, source })?;

    let log = fmt::layer().with_writer(io::stderr);
    let log = match config.format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => log.json().boxed(),
    };
    // With hints of their greatest levels. Without, every event of every crate would be asked about each time.
    let is_audit = filter_fn(|metadata| metadata.target() == AUDIT).with_max_level_hint(LevelFilter::INFO);
    let is_log = filter_fn(|metadata| metadata.target() != AUDIT).with_max_level_hint(LevelFilter::TRACE);
    let log = log.with_filter(filter.and(is_log));
    let audit = audit_file(audit)?.map(|file| {
        let lines = fmt::layer().json().flatten_event(true).with_writer(AuditFile::new(file));
        let lines = lines.with_level(false).with_target(false).with_current_span(false).with_span_list(false);
        lines.with_filter(is_audit)
    });
    tracing_subscriber::registry()
        .with(log)
        .with(audit)
        .try_init()
        .map_err(|error| Error::Again(error.into()))?;
    panic::set_hook(Box::new(report));
    Ok(())
}

/// Logs a panic as one line. The threads of the database's own are not ours to catch, and those who wait for what they were
/// doing would wait for ever: a panic there ends the process.
fn report(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or_default();
    let text = panic.payload().downcast_ref::<&str>().copied();
    let said =
        text.or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let backtrace = matches!(backtrace.status(), BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(thread, place, backtrace, "panicked: {said}");
    if thread == "log flusher" || thread.starts_with("sled-io-") {
        tracing::error!(
            "the database failed beyond repair: the process ends at once, and loses nothing acknowledged"
        );
        process::exit(1);
    }
}

/// Adds the audit's lines to their file. When that fails it says so on stderr, once until it goes again: the changes have
/// been made, and their jobs' histories tell of them.
#[derive(Debug)]
struct AuditFile {
    file: File,
    has_failed: AtomicBool,
}

impl AuditFile {
    fn new(file: File) -> Self {
        Self { file, has_failed: AtomicBool::new(false) }
    }
}

impl<'w> MakeWriter<'w> for AuditFile {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> &'w Self {
        self
    }
}

impl io::Write for &AuditFile {
    /// A line is written in one go, so that lines of several threads do not mix.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let outcome = io::Write::write_all(&mut &self.file, line);
        if let Err(error) = &outcome {
            if !self.has_failed.swap(true, Ordering::Relaxed) {
                let _ = writeln!(io::stderr(), "error: cannot add to the audit's file: {error}");
            }
        } else {
            self.has_failed.store(false, Ordering::Relaxed);
        }
        outcome.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The file that the audit's lines are added to, if there is to be one.
fn audit_file(config: &AuditConfig) -> Result<Option<File>, Error> {
    if config.file.as_os_str().is_empty() {
        return Ok(None);
    }
    let file = OpenOptions::new().create(true).append(true).open(&config.file);
    file.map(Some).map_err(|error| Error::Audit(config.file.clone(), error))
}
