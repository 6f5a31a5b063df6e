//! The log: what goes to stderr, and in which form. Stdout is not ours to write to here.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::config::{LogConfig, LogFormat};

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
    /// A log was set up before.
    #[error("the log was set up before")]
    Again(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sends the log of this process to stderr from here on. `RUST_LOG`, where it is set and not empty, stands over the
/// configured filter.
///
/// # Errors
/// When the directives cannot be read, or it was called before.
pub fn init(config: &LogConfig) -> Result<(), Error> {
    let (origin, directives) = match env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if !directives.is_empty() => (EnvFilter::DEFAULT_ENV, directives),
        Ok(_) | Err(_) => ("log.filter", config.filter.clone()),
    };
    let filter =
        EnvFilter::try_new(&directives).map_err(|source| Error::Filter { origin, directives, source })?;

    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().try_init(),
    }
    .map_err(Error::Again)
}
