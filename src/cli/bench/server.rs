//! The servers that are measured: each a process of its own, so that what it takes can be told from what the callers take.

use std::{
    env,
    io::{self, BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures_util::future::try_join_all;
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tonic::transport::{Channel, Endpoint};

use super::{
    Error,
    system::{self, Memory},
};

/// The command by which the bare server is started. It is not shown to people.
pub const BARE: &str = "bench-bare";
/// The connections that the callers of a server share.
pub const CHANNELS: usize = 8;
/// What may be read before the address.
const GREETING: &str = "holdpoint is listening on ";
/// How long a start may take: that of a large store, too.
const START: Duration = Duration::from_secs(600);

/// A server, running. Dropping it kills it, as `kill -9` does.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    channels: Vec<Channel>,
    data_dir: Option<PathBuf>,
    binary: PathBuf,
    settings: Vec<String>,
}

impl Server {
    /// This binary's bare server. What it keeps is in a directory.
    ///
    /// # Errors
    /// It does not start.
    pub async fn bare(binary: &Path, directory: &Path) -> Result<Self, Error> {
        let mut command = Command::new(binary);
        command.arg(BARE).arg(directory);
        let (process, address) = start(command).await?;
        let channels = connect(address, CHANNELS).await?;
        Ok(Self {
            process,
            address,
            channels,
            data_dir: None,
            binary: binary.to_owned(),
            settings: Vec::new(),
        })
    }

    /// This binary, serving a data directory, with settings such as `limits.watches=100`; all else is as by default.
    ///
    /// # Errors
    /// It does not start.
    pub async fn holdpoint(binary: &Path, data_dir: &Path, settings: &[String]) -> Result<Self, Error> {
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-filter", "error", "--data-dir"]);
        command.arg(data_dir);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let (process, address) = start(command).await?;
        let channels = connect(address, CHANNELS).await?;
        Ok(Self {
            process,
            address,
            channels,
            data_dir: Some(data_dir.to_owned()),
            binary: binary.to_owned(),
            settings: settings.to_vec(),
        })
    }

    /// Kills it, and starts it again. Also when that was.
    ///
    /// # Errors
    /// It does not start.
    ///
    /// # Panics
    /// On a server that has no data directory.
    pub async fn kill_and_start(mut self) -> Result<(Self, Instant), Error> {
        let data_dir = self.data_dir.take().expect("only a server that keeps something is started again");
        let (binary, settings) = (self.binary.clone(), self.settings.clone());
        drop(self);
        let begin = Instant::now();
        Ok((Self::holdpoint(&binary, &data_dir, &settings).await?, begin))
    }

    /// The connections that callers share.
    #[must_use]
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Further connections.
    ///
    /// # Errors
    /// It takes none.
    pub async fn connect(&self, count: usize) -> Result<Vec<Channel>, Error> {
        connect(self.address, count).await
    }

    /// The processor time that it has had, in seconds; only where the system tells.
    #[must_use]
    pub fn cpu_seconds(&self) -> Option<f64> {
        system::cpu_seconds(self.process.0.id())
    }

    /// What it has of the memory; only where the system tells.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        system::memory(self.process.0.id())
    }

    /// What its files take, in bytes.
    #[must_use]
    pub fn disk_bytes(&self) -> Option<u64> {
        self.data_dir.as_deref().map(system::disk_bytes)
    }
}

/// A process that does not outlive this. What it had open is closed when it is gone.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already where it cannot be killed, and nobody waits for one that cannot be waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server, and reads where it listens.
async fn start(mut command: Command) -> Result<(Process, SocketAddr), Error> {
    // A variable of the caller's own would be taken for a setting.
    for (variable, _) in env::vars_os() {
        if variable.to_string_lossy().starts_with("HOLDPOINT_") {
            command.env_remove(variable);
        }
    }
    command.env_remove("RUST_LOG").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Process(command.spawn().map_err(Error::Child)?);
    let stdout = process.0.stdout.take().expect("it was asked for");
    let read = spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map(|_| line)
    });
    let read = timeout(START, read).await.map_err(|_| Error::Child(io::ErrorKind::TimedOut.into()))?;
    let line = read.expect("reading does not panic").map_err(Error::Child)?;
    let address = line.trim_end().strip_prefix(GREETING).and_then(|address| address.parse().ok());
    Ok((process, address.ok_or(Error::NotServing)?))
}

/// Connections to an address.
///
/// # Errors
/// It takes none.
pub async fn connect(address: SocketAddr, count: usize) -> Result<Vec<Channel>, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(Error::Connect)?;
    try_join_all((0..count).map(|_| endpoint.connect())).await.map_err(Error::Connect)
}
