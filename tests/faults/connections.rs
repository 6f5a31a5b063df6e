//! Connections that do not begin, in plaintext and encrypted: nobody else is held up by them, nor is the shutdown, and
//! what they cost is given back.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use holdpoint::proto::v1::{GetJobRequest, job_service_client::JobServiceClient};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time,
};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::{
    certificates::Authority,
    channels::{connect, dial, shake},
    kit::{Server, soon},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// As many as stand idle, where the system lets one process have them.
const IDLE: usize = 1_000;
/// How many files and connections a process has that does not ask.
const USUAL: usize = 64;
/// How often a client that is slow sends a byte.
const DRIP: Duration = Duration::from_millis(50);
/// What is timed: so many calls on a connection, and on connections of their own.
const CALLS: usize = 300;
const CONNECTIONS: usize = 30;
/// How many times as long they may take with a crowd at the door. Held up, they would take for ever; the crowd has its
/// part of a small machine while it is sent away.
const TIMES_MAX: u32 = 20;
/// What one crowd after another may add to the server's memory, all together.
const GROWTH_KIB_MAX: u64 = 16 << 10;

/// A crowd that leaves room for what this process and the server have open beside it.
fn crowd() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(256_usize);
    IDLE.min(most.saturating_sub(200).max(40))
}

/// A server, and how clients reach it.
struct Subject {
    server: Server,
    client: Option<ClientConfig>,
}

impl Subject {
    async fn start(is_encrypted: bool, directory: &Path, settings: &[&str]) -> Self {
        let (client, tls) = Self::tls(is_encrypted, directory);
        let tls = tls.iter().flat_map(|setting| ["--set", setting]);
        let settings: Vec<_> =
            ["--store", "memory"].into_iter().chain(tls).chain(settings.iter().copied()).collect();
        Self { server: Server::start(directory, &settings).await, client }
    }

    fn tls(is_encrypted: bool, directory: &Path) -> (Option<ClientConfig>, Vec<String>) {
        if !is_encrypted {
            return (None, Vec::new());
        }
        let authority = Authority::new("all");
        authority.issue().write(directory);
        let setting = |key: &str, name: &str| format!("tls.{key}={}", directory.join(name).display());
        let settings = vec![setting("cert_file", "cert.pem"), setting("key_file", "key.pem")];
        (Some(authority.client(None)), settings)
    }

    async fn jobs(&self) -> JobServiceClient<Channel> {
        let address = self.server.address;
        let channel = match &self.client {
            None => soon(Endpoint::from_shared(format!("http://{address}")).unwrap().connect()).await,
            Some(client) => soon(connect(address, client.clone())).await,
        };
        JobServiceClient::new(channel.unwrap())
    }

    /// How long calls take on a connection that stands, and on new ones.
    async fn timed(&self, jobs: &mut JobServiceClient<Channel>) -> Duration {
        let started = Instant::now();
        for _ in 0..CALLS {
            call(jobs).await;
        }
        for _ in 0..CONNECTIONS {
            call(&mut self.jobs().await).await;
        }
        started.elapsed()
    }

    /// So many connections, of all kinds in turn. Each stands when this returns.
    async fn crowd(&self, size: usize) -> JoinSet<(Kind, Duration)> {
        let kinds: &[Kind] = if self.client.is_some() { &ENCRYPTED } else { &PLAIN };
        let mut crowd = JoinSet::new();
        for kind in kinds.iter().copied().cycle().take(size) {
            // Before it is there: the server may know of it earlier than this test does.
            let since = Instant::now();
            let standing = soon(kind.stand(self.server.address, self.client.as_ref())).await;
            let standing = standing.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            crowd.spawn(async move {
                standing.until_closed().await;
                (kind, since.elapsed())
            });
        }
        crowd
    }

    /// Waits until the server has no more open than before.
    async fn until_given_back(&self, before: Option<usize>) {
        soon(async {
            while self.server.descriptors() > before {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

async fn call(jobs: &mut JobServiceClient<Channel>) {
    let request = GetJobRequest { job_id: "none".to_owned(), ..GetJobRequest::default() };
    assert_eq!(soon(jobs.get_job(request)).await.unwrap_err().code(), Code::NotFound);
}

/// How a client does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It connects, and says nothing.
    Silent,
    /// It sends what it begins with a byte at a time, and never all of it.
    Slow,
    /// It connects, and closes its half.
    Half,
    /// It has an encrypted connection, and says nothing on it.
    Shaken,
    /// The same, and begins on it a byte at a time.
    ShakenSlow,
    /// It says that it speaks HTTP/2, and nothing more.
    Preface,
}

const PLAIN: [Kind; 4] = [Kind::Silent, Kind::Slow, Kind::Half, Kind::Preface];
/// Most are silent: of the others each costs a handshake, which takes its time where nothing is optimized.
const ENCRYPTED: [Kind; 12] = [
    Kind::Silent,
    Kind::Shaken,
    Kind::Silent,
    Kind::Slow,
    Kind::Silent,
    Kind::ShakenSlow,
    Kind::Silent,
    Kind::Half,
    Kind::Silent,
    Kind::Preface,
    Kind::Silent,
    Kind::Slow,
];

impl Kind {
    async fn stand(self, address: SocketAddr, client: Option<&ClientConfig>) -> io::Result<Standing> {
        let mut stream: Box<dyn Stream> = match (self, client) {
            (Self::Shaken | Self::ShakenSlow | Self::Preface, Some(client)) => {
                Box::new(dial(address, client.clone()).await?)
            }
            (_, _) => Box::new(TcpStream::connect(address).await?),
        };
        let mut slowly = Vec::new();
        match self {
            Self::Silent | Self::Shaken => {}
            Self::Slow => slowly = client.map_or_else(|| PREFACE.to_vec(), hello_of),
            Self::ShakenSlow => slowly = PREFACE.to_vec(),
            Self::Half => stream.shutdown().await?,
            Self::Preface => stream.write_all(PREFACE).await?,
        }
        // The last byte never comes.
        slowly.pop();
        Ok(Standing { stream, slowly })
    }
}

/// What a client of TLS begins with.
fn hello_of(client: &ClientConfig) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(client.clone()), name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that stands, and what is still sent on it.
struct Standing {
    stream: Box<dyn Stream>,
    slowly: Vec<u8>,
}

impl Standing {
    async fn until_closed(self) {
        let (mut read, mut write) = tokio::io::split(self.stream);
        let slowly = async {
            for byte in self.slowly {
                time::sleep(DRIP).await;
                if write.write_all(&[byte]).await.is_err() || write.flush().await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        // It may be cut off, where the server has not read all.
        let closed = async { while let Ok(1..) = read.read(&mut [0; 1_024]).await {} };
        tokio::select! {
            () = slowly => {}
            () = closed => {}
        }
    }
}

/// A crowd for as long as it likes: calls are made as before, and told to stop the server does.
async fn a_crowd_holds_up_nobody(is_encrypted: bool) {
    let directory = tempfile::tempdir().unwrap();
    let patient = ["tls.handshake_seconds=600", "keepalive.interval_seconds=600"];
    let settings = ["--drain-seconds", "1", "--set", patient[0], "--set", patient[1]];
    let subject = Subject::start(is_encrypted, directory.path(), &settings).await;
    let mut jobs = subject.jobs().await;
    subject.timed(&mut jobs).await;
    let alone = subject.timed(&mut jobs).await;

    let size = crowd();
    let mut crowd = subject.crowd(size).await;
    let crowded = subject.timed(&mut jobs).await;
    let left = still_there(&mut crowd);
    println!(
        "{CALLS} calls: {alone:?} alone, {crowded:?} with {size} at the door, {left} of whom stay there"
    );
    assert!(crowded < alone * TIMES_MAX, "{crowded:?} instead of {alone:?}");
    assert!(left > size / 2, "the crowd is still there");

    let told = Instant::now();
    subject.server.tell_to_stop();
    assert!(soon(subject.server.exit()).await.success());
    // A second of drain, and a generous while for the rest.
    assert!(told.elapsed() < Duration::from_secs(40), "{:?}", told.elapsed());
    while soon(crowd.join_next()).await.is_some() {}
}

/// How many have not been sent away. Only those have who closed their half.
fn still_there(crowd: &mut JoinSet<(Kind, Duration)>) -> usize {
    while let Some(gone) = crowd.try_join_next() {
        let (kind, after) = gone.unwrap();
        assert_eq!(kind, Kind::Half, "it was sent away after {after:?}");
    }
    crowd.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_in_plaintext_holds_up_nobody() {
    a_crowd_holds_up_nobody(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_crowd_holds_up_nobody() {
    a_crowd_holds_up_nobody(true).await;
}

/// One crowd after another: each is sent away when its time is over, and what it cost is given back.
async fn who_does_not_begin_is_sent_away(is_encrypted: bool) {
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        "--drain-seconds",
        "3600",
        "--set",
        "tls.handshake_seconds=1",
        // By these those are found who begin and do nothing more.
        "--set",
        "keepalive.interval_seconds=1",
        "--set",
        "keepalive.timeout_seconds=1",
    ];
    let subject = Subject::start(is_encrypted, directory.path(), &settings).await;
    let mut jobs = subject.jobs().await;
    call(&mut jobs).await;
    let before = subject.server.descriptors();

    let mut resident = Vec::new();
    for _ in 0..4 {
        let mut crowd = subject.crowd(crowd() / 2).await;
        while let Some(gone) = soon(crowd.join_next()).await {
            let (kind, after) = gone.unwrap();
            let is_given_time = after > Duration::from_millis(900);
            assert!(is_given_time || kind == Kind::Half, "{kind:?} was sent away after {after:?}");
        }
        subject.until_given_back(before).await;
        resident.push(subject.server.resident_kib());
        call(&mut jobs).await;
    }
    println!("resident KiB after each crowd: {resident:?}");
    if let [Some(first), .., Some(last)] = resident[..] {
        assert!(last < first + GROWTH_KIB_MAX, "it grew: {resident:?}");
    }

    // The drain may take an hour, and takes no longer than they have to begin.
    let mut crowd = subject.crowd(20).await;
    subject.server.tell_to_stop();
    assert!(soon(subject.server.exit()).await.success());
    while soon(crowd.join_next()).await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_begin_in_plaintext_is_sent_away() {
    who_does_not_begin_is_sent_away(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_begin_encrypted_is_sent_away() {
    who_does_not_begin_is_sent_away(true).await;
}

/// A process has fewer than the system lets it have, unless it asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_may_be_more_connections_than_is_usual() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with_usual_descriptors(USUAL, directory.path(), &["--store", "memory"]).await;
    let subject = Subject { server, client: None };
    let mut clients = Vec::new();
    for _ in 0..2 * USUAL {
        let mut jobs = subject.jobs().await;
        call(&mut jobs).await;
        clients.push(jobs);
    }
}

/// The system has no descriptors left: who is in is served, handshakes that are under way go on, it is said once, and
/// those at the door are let in when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_who_is_in_is_served() {
    const DESCRIPTORS: usize = 64;
    const UNDER_WAY: usize = 10;
    const SAID: &str = "cannot accept connections";

    let directory = tempfile::tempdir().unwrap();
    let (client, tls) = Subject::tls(true, directory.path());
    let client = Arc::new(client.unwrap());
    let tls = tls.iter().flat_map(|setting| ["--set", setting]);
    let settings = ["--store", "memory", "--set", "tls.handshake_seconds=600", "--drain-seconds", "0"];
    let settings: Vec<_> = settings.into_iter().chain(tls).collect();
    let server = Server::with_descriptors(DESCRIPTORS, directory.path(), &settings).await;
    let subject = Subject { client: Some(client.as_ref().clone()), server };
    let address = subject.server.address;
    let said = || std::fs::read_to_string(directory.path().join("log.txt")).unwrap().matches(SAID).count();

    let mut jobs = subject.jobs().await;
    call(&mut jobs).await;
    let mut under_way = Vec::new();
    for _ in 0..UNDER_WAY {
        under_way.push(soon(TcpStream::connect(address)).await.unwrap());
    }
    let mut crowd = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        crowd.push(soon(TcpStream::connect(address)).await.unwrap());
    }
    soon(async {
        while said() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    for tcp in under_way {
        let mut stream = soon(shake(Arc::clone(&client), tcp)).await.unwrap();
        soon(stream.write_all(PREFACE)).await.unwrap();
        let mut settings = [0; 9];
        soon(stream.read_exact(&mut settings)).await.unwrap();
        assert_eq!(settings[3], 4, "it is served: the server sends its settings");
        // Held, so that it makes no room.
        crowd.push(stream.into_inner().0);
    }
    for _ in 0..CALLS {
        call(&mut jobs).await;
    }
    assert_eq!(said(), 1);

    drop(crowd);
    call(&mut subject.jobs().await).await;
    subject.server.tell_to_stop();
    assert!(soon(subject.server.exit()).await.success());
}
