//! Encrypted connections: who is let in, what is read again while calls are made, and that nobody notices.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use holdpoint::{
    auth::mint::{Wish, mint},
    config::Config,
    proto::v1::{
        GetJobRequest, JobEvent, WatchJobsRequest, WatchStart, job_service_client::JobServiceClient,
        watch_message::Kind,
    },
};
use rcgen::KeyPair;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::rustls::{ClientConfig, pki_types::CertificateDer};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};

use super::{
    certificates::{Authority, Pair},
    channels::{connect, dial},
    harness::{TestServer, config, create, get, next, run, titled, within},
};

/// Files that a server is configured with.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// A configuration with a certificate.
    fn config(&self, pair: &Pair) -> Config {
        pair.write(self.0.path());
        let mut config = config();
        config.tls.cert_file = self.path("cert.pem");
        config.tls.key_file = self.path("key.pem");
        config
    }

    /// The same, and clients must show one that an authority vouches for.
    fn config_for(&self, pair: &Pair, clients: &Authority) -> Config {
        self.write("clients.pem", &clients.pem());
        let mut config = self.config(pair);
        config.tls.client_ca_file = self.path("clients.pem");
        config
    }
}

/// Makes a call with a token, or without any, on a connection of its own.
async fn call(address: SocketAddr, client: ClientConfig, token: Option<&str>) -> Result<(), Status> {
    let unreachable = |error| Status::from_error(Box::new(error));
    let channel = within(connect(address, client)).await.map_err(unreachable)?;
    let called = within(JobServiceClient::new(channel).get_job(with(token, get("none")))).await;
    called.map(drop)
}

fn with<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

/// What the server shows to those who connect now.
async fn shown(address: SocketAddr, client: ClientConfig) -> CertificateDer<'static> {
    let stream = within(dial(address, client)).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// Connects until the server shows this one. What is shown before that is `old`.
async fn until_shown(address: SocketAddr, client: &ClientConfig, new: &Pair, old: &Pair) {
    within(async {
        loop {
            let shown = shown(address, client.clone()).await;
            if shown == new.chain()[0] {
                return;
            }
            assert_eq!(shown, old.chain()[0]);
        }
    })
    .await;
}

#[tokio::test]
async fn calls_are_made_over_tls_and_over_nothing_else() {
    let authority = Authority::new("all");
    let files = Files::new();
    let server = TestServer::start(files.config(&authority.issue())).await;
    let address = server.address;

    let mut jobs = JobServiceClient::new(within(connect(address, authority.client(None))).await.unwrap());
    let from_now = WatchJobsRequest { start: WatchStart::Now.into(), ..WatchJobsRequest::default() };
    let mut watch = jobs.watch_jobs(from_now).await.unwrap().into_inner();
    jobs.create_job(create("a", titled("told to nobody else"))).await.unwrap();
    loop {
        let message = next(&mut watch).await.unwrap().unwrap().message.unwrap();
        if let Some(Kind::Batch(batch)) = message.kind {
            assert_eq!(batch.decode_events().unwrap()[0].job_id, "a");
            break;
        }
    }

    // Who does not trust the server finds that out; who speaks plaintext is not understood.
    let stranger = Authority::new("another").client(None);
    assert!(is_refused(&call(address, stranger, None).await));
    let plain = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let status = within(JobServiceClient::new(plain).get_job(get("a"))).await.unwrap_err();
    assert!(matches!(status.code(), Code::Unavailable | Code::Unknown), "{status:?}");
    for said in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        assert_eq!(answer(address, said.as_bytes()).await, Some(DECODE_ERROR), "{said}");
    }
    drop(watch);
    server.stop().await;
}

const DECODE_ERROR: u8 = 50;
const HANDSHAKE_FAILURE: u8 = 40;

/// The alert that the server answers with, and nothing else, before it closes the connection.
async fn answer(address: SocketAddr, said: &[u8]) -> Option<u8> {
    const ALERT: u8 = 21;

    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    // It may be cut off after the alert, where the server has not read all.
    let _ = within(stream.read_to_end(&mut answer)).await;
    match answer[..] {
        [ALERT, _, _, 0, 2, _, alert] => Some(alert),
        [] => None,
        _ => panic!("{answer:?} is no alert"),
    }
}

/// How a client of an older version begins: TLS 1.0 is 1, TLS 1.1 is 2.
fn hello(version: u8) -> Vec<u8> {
    let mut body = vec![3, version];
    body.extend([7; 32]);
    // No session, AES-128-CBC with ECDHE and ECDSA or RSA, no compression.
    body.extend([0, 0, 4, 0xc0, 0x09, 0xc0, 0x13, 1, 0]);
    // The curve P-256, and points that are not compressed.
    body.extend([0, 14, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
    let length = |bytes: usize| u8::try_from(bytes).unwrap();
    let mut hello = vec![22, 3, 1, 0, length(body.len() + 4), 1, 0, 0, length(body.len())];
    hello.extend(body);
    hello
}

#[tokio::test]
async fn what_a_client_may_speak() {
    let authority = Authority::new("all");
    let files = Files::new();
    let server = TestServer::start(files.config(&authority.issue())).await;
    let client = |alpn: &[&[u8]]| {
        let mut client = authority.client(None);
        client.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        client
    };

    for alpn in [&[&b"h2"[..]][..], &[b"http/1.1", b"h2"]] {
        let stream = within(dial(server.address, client(alpn))).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(call(server.address, client(alpn), None).await.unwrap_err().code(), Code::NotFound);
    }
    // Who names no protocol speaks what everybody here speaks; who names only others is told so.
    assert_eq!(call(server.address, client(&[]), None).await.unwrap_err().code(), Code::NotFound);
    let error = within(dial(server.address, client(&[b"http/1.1"]))).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");

    for version in [1, 2] {
        assert_eq!(
            answer(server.address, &hello(version)).await,
            Some(HANDSHAKE_FAILURE),
            "TLS 1.{}",
            version - 1
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn where_clients_must_show_certificates_only_the_right_ones_are_let_in() {
    let (servers, clients, others) =
        (Authority::new("servers"), Authority::new("clients"), Authority::new("others"));
    let files = Files::new();
    let mut config = files.config_for(&servers.issue(), &clients);
    let signer = Signer::new(&files, "k1");
    config.auth.jwks_file = files.path("keys.json");
    Signer::publish(&files, &[&signer]);
    let server = TestServer::start(config).await;

    let token = signer.token();
    let rows = [
        ("the right one", Some(clients.issue()), Code::NotFound, Code::Unauthenticated),
        (
            "one that a deputy vouches for, with the deputy's",
            Some(chained(&clients)),
            Code::NotFound,
            Code::Unauthenticated,
        ),
        ("none", None, Code::Unavailable, Code::Unavailable),
        ("a foreign one", Some(others.issue()), Code::Unavailable, Code::Unavailable),
        ("one as the server's", Some(servers.issue()), Code::Unavailable, Code::Unavailable),
        ("an expired one", Some(clients.issue_expired()), Code::Unavailable, Code::Unavailable),
    ];
    for (what, shown, with_token, without) in rows {
        for (token, expected) in [(Some(token.as_str()), with_token), (None, without)] {
            let client = servers.client(shown.as_ref());
            let status = call(server.address, client, token).await.unwrap_err();
            // A refusal may come while connecting, or with the first call: the client does not wait for it.
            let code = if status.code() == Code::Unknown { Code::Unavailable } else { status.code() };
            assert_eq!(
                code,
                expected,
                "{what}, {}: {status:?}",
                if token.is_some() { "token" } else { "no token" }
            );
        }
    }
    server.stop().await;
}

/// A certificate with that of the deputy who vouches for it.
fn chained(authority: &Authority) -> Pair {
    let deputy = authority.deputy("a deputy");
    let Pair { cert, key } = deputy.issue();
    Pair { cert: format!("{cert}{}", deputy.pem()), key }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_ends_the_start_with_1() {
    let authority = Authority::new("all");
    let files = Files::new();
    let (pair, other) = (authority.issue(), authority.issue());
    pair.write(files.0.path());
    files.write("other.pem", &other.key);
    files.write("empty.pem", "");
    files.write("order.pem", &format!("{}{}", authority.pem(), pair.cert));
    files.write("encrypted.pem", &pair.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    let rows = [
        ("cert.pem", "other.pem", "", "cert.pem and the key in DIR/other.pem cannot be used together"),
        ("order.pem", "key.pem", "", "order.pem and the key in DIR/key.pem cannot be used together"),
        ("empty.pem", "key.pem", "", "DIR/empty.pem has no certificate in PEM"),
        ("cert.pem", "empty.pem", "", "DIR/empty.pem has no private key in PEM"),
        ("cert.pem", "encrypted.pem", "", "the private key in DIR/encrypted.pem is encrypted"),
        ("none.pem", "key.pem", "", "cannot read DIR/none.pem"),
        ("cert.pem", "none.pem", "", "cannot read DIR/none.pem"),
        ("cert.pem", "key.pem", "empty.pem", "DIR/empty.pem has no certificate in PEM"),
    ];
    for (cert, key, clients, expected) in rows {
        let name =
            |name: &str| if name.is_empty() { String::new() } else { files.path(name).display().to_string() };
        let cert = format!("tls.cert_file={}", name(cert));
        let key = format!("tls.key_file={}", name(key));
        let clients = format!("tls.client_ca_file={}", name(clients));
        let common = ["serve", "--listen", "127.0.0.1:0", "--store", "memory", "--log-filter", "off"];
        let ended = run(&[&common[..], &["--set", &cert, "--set", &key, "--set", &clients]].concat()).await;
        let said = ended.stderr.replace(&files.0.path().display().to_string(), "DIR");
        // Nobody is told that it listens.
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{said}");
        assert!(said.starts_with("error: cannot encrypt connections: ") && said.contains(expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let (servers, clients, next_clients) =
        (Authority::new("servers"), Authority::new("a"), Authority::new("b"));
    let files = Files::new();
    let (first, second) = (servers.issue(), servers.issue());
    let server = TestServer::start(files.config_for(&first, &clients)).await;
    let address = server.address;
    let shown = clients.issue();
    let client = servers.client(Some(&shown));
    let mut jobs = JobServiceClient::new(within(connect(address, client.clone())).await.unwrap());
    let from_now = WatchJobsRequest { start: WatchStart::Now.into(), ..WatchJobsRequest::default() };
    let mut watch = jobs.watch_jobs(from_now).await.unwrap().into_inner();

    // One file after the other, and each is gone for a while: whoever comes in between finds the one before.
    for file in ["cert.pem", "key.pem"] {
        fs::remove_file(files.path(file)).unwrap();
        assert_eq!(self::shown(address, client.clone()).await, first.chain()[0]);
    }
    files.write("key.pem", &second.key);
    assert_eq!(self::shown(address, client.clone()).await, first.chain()[0]);
    files.write("cert.pem", &second.cert);
    until_shown(address, &client, &second, &first).await;

    // The same for those who vouch for clients: both for a while, then only the new one.
    let next_client = servers.client(Some(&next_clients.issue()));
    assert!(is_refused(&call(address, next_client.clone(), None).await));
    files.write("clients.pem", &format!("{}{}", clients.pem(), next_clients.pem()));
    within(async { while is_refused(&call(address, next_client.clone(), None).await) {} }).await;
    assert!(!is_refused(&call(address, client.clone(), None).await));
    files.write("clients.pem", &next_clients.pem());
    within(async { while !is_refused(&call(address, client.clone(), None).await) {} }).await;
    assert!(!is_refused(&call(address, next_client, None).await));

    // What was open goes on.
    jobs.create_job(create("a", titled("on the connection from before"))).await.unwrap();
    loop {
        let message = next(&mut watch).await.unwrap().unwrap().message.unwrap();
        if let Some(Kind::Batch(batch)) = message.kind {
            assert_eq!(batch.decode_events().unwrap()[0].job_id, "a");
            break;
        }
    }
    drop((watch, jobs));
    server.stop().await;
}

/// Whether somebody was not let in; otherwise the call was made.
fn is_refused(outcome: &Result<(), Status>) -> bool {
    match outcome.as_ref().unwrap_err().code() {
        Code::NotFound => false,
        Code::Unavailable | Code::Unknown => true,
        other => panic!("{other:?}: {outcome:?}"),
    }
}

/// A key that tokens are signed with.
struct Signer {
    id: String,
    key: KeyPair,
    file: PathBuf,
}

impl Signer {
    fn new(files: &Files, id: &str) -> Self {
        let (key, file) = (KeyPair::generate().unwrap(), files.path(id));
        fs::write(&file, key.serialize_pem()).unwrap();
        Self { id: id.to_owned(), key, file }
    }

    /// Puts keys into the server's set, and no others.
    fn publish(files: &Files, signers: &[&Self]) {
        let member = |signer: &&Self| {
            let point = signer.key.public_key_raw();
            let [x, y] = [&point[1..33], &point[33..]].map(|number| URL_SAFE_NO_PAD.encode(number));
            json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": signer.id, "x": x, "y": y })
        };
        let keys: Vec<_> = signers.iter().map(member).collect();
        files.write("keys.json", &json!({ "keys": keys }).to_string());
    }

    fn token(&self) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let wish = Wish {
            sub: "ann".to_owned(),
            org: "acme".to_owned(),
            privileges: vec!["all".to_owned()],
            audience: "holdpoint".to_owned(),
            key_id: Some(self.id.clone()),
            issued: now.as_secs(),
            seconds: 3_600,
            ..Wish::default()
        };
        mint(&self.file, wish).unwrap()
    }
}

const CALLERS: usize = 6;
const CALLS_PER_CONNECTION: usize = 4;
const WATCHERS: usize = 3;
const EVENTS_PER_CONNECTION: usize = 20;
const ROTATIONS: usize = 3;
/// The job that is made when everybody else has stopped.
const LAST: &str = "last";

/// How far somebody has come.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Which token the last call was made with that was answered.
    token: usize,
    connections: usize,
}

/// What everybody goes by.
struct Load {
    address: SocketAddr,
    client: ClientConfig,
    /// Which it is, and the token.
    token: RwLock<(usize, String)>,
}

impl Load {
    fn token(&self) -> (usize, String) {
        self.token.read().unwrap().clone()
    }

    async fn connect(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(within(connect(self.address, self.client.clone())).await.unwrap())
    }

    /// Makes jobs and reads them again, on one connection after the other. Returns what was acknowledged.
    async fn call_on(
        &self,
        name: usize,
        progress: &watch::Sender<Progress>,
        stop: &watch::Receiver<bool>,
    ) -> Vec<String> {
        let mut made = Vec::new();
        while !*stop.borrow() {
            let mut jobs = self.connect().await;
            progress.send_modify(|progress| progress.connections += 1);
            for _ in 0..CALLS_PER_CONNECTION {
                let (number, token) = self.token();
                let job_id = format!("{name}-{}", made.len());
                let created = jobs.create_job(with(Some(&token), create(&job_id, titled("new"))));
                within(created).await.unwrap();
                let read = GetJobRequest { job_id: job_id.clone(), ..GetJobRequest::default() };
                within(jobs.get_job(with(Some(&token), read))).await.unwrap();
                made.push(job_id);
                progress.send_modify(|progress| progress.token = number);
            }
        }
        made
    }

    /// Watches until the last job is made, on one connection after the other. Returns what was told.
    async fn watch_on(
        &self,
        events_per_connection: usize,
        progress: &watch::Sender<Progress>,
    ) -> Vec<JobEvent> {
        let mut events = Vec::new();
        let mut request = WatchJobsRequest { start: WatchStart::Now.into(), ..WatchJobsRequest::default() };
        loop {
            let mut jobs = self.connect().await;
            let (number, token) = self.token();
            let mut stream =
                within(jobs.watch_jobs(with(Some(&token), request.clone()))).await.unwrap().into_inner();
            let mut heard = 0;
            while heard < events_per_connection {
                let message = next(&mut stream).await.unwrap().expect("the watch goes on").message.unwrap();
                request.start = 0;
                request.resume_token = message.resume_token;
                match message.kind.unwrap() {
                    Kind::Created(_) => progress.send_modify(|progress| {
                        progress.connections += 1;
                        progress.token = number;
                    }),
                    Kind::Batch(batch) => {
                        let batch = batch.decode_events().unwrap();
                        heard += batch.len();
                        let is_last = batch.iter().any(|event| event.job_id == LAST);
                        events.extend(batch);
                        if is_last {
                            return events;
                        }
                    }
                    Kind::Checkpoint(_) => {}
                    Kind::Draining(_) => panic!("nobody told it to stop"),
                }
            }
        }
    }
}

/// Waits until everybody has come that far.
async fn all(everybody: &mut [watch::Receiver<Progress>], far: impl Fn(&Progress) -> bool) {
    for somebody in everybody {
        within(somebody.wait_for(|progress| far(progress))).await.expect("nobody has given up");
    }
}

/// Waits until everybody has connected twice more: the second of them certainly after now.
async fn all_reconnect(everybody: &mut [watch::Receiver<Progress>]) {
    let before: Vec<_> = everybody.iter().map(|somebody| somebody.borrow().connections).collect();
    for (somebody, before) in everybody.iter_mut().zip(before) {
        let twice_more = somebody.wait_for(|progress| progress.connections >= before + 2);
        within(twice_more).await.expect("nobody has given up");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_certificates_are_rotated_under_load_and_nobody_notices() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let files = Files::new();
    let mut pair = servers.issue();
    let mut config = files.config_for(&pair, &clients);
    let mut signer = Signer::new(&files, "k0");
    config.auth.jwks_file = files.path("keys.json");
    Signer::publish(&files, &[&signer]);
    let server = TestServer::start(config).await;
    let address = server.address;
    let client = servers.client(Some(&clients.issue()));
    let load = Arc::new(Load { address, client: client.clone(), token: RwLock::new((0, signer.token())) });

    let (mut everybody, mut watching, mut calling) = (Vec::new(), JoinSet::new(), JoinSet::new());
    // The last stays on one connection, with a token whose key is soon gone.
    let (steady, mut steady_progress) = watch::channel(Progress::default());
    for watcher in 0..WATCHERS {
        let (progress, receiver) = watch::channel(Progress::default());
        everybody.push(receiver);
        let load = Arc::clone(&load);
        watching.spawn(async move { load.watch_on(EVENTS_PER_CONNECTION + watcher, &progress).await });
    }
    watching.spawn({
        let load = Arc::clone(&load);
        async move { load.watch_on(usize::MAX, &steady).await }
    });
    all(&mut everybody, |progress| progress.connections > 0).await;
    within(steady_progress.wait_for(|progress| progress.connections > 0)).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    for caller in 0..CALLERS {
        let (progress, receiver) = watch::channel(Progress::default());
        everybody.push(receiver);
        let (load, stopped) = (Arc::clone(&load), stopped.clone());
        calling.spawn(async move { load.call_on(caller, &progress, &stopped).await });
    }

    for rotation in 1..=ROTATIONS {
        // Both keys are known; then everybody changes over; then only the new one is.
        let next = Signer::new(&files, &format!("k{rotation}"));
        Signer::publish(&files, &[&signer, &next]);
        let (old_token, token) = (signer.token(), next.token());
        let probe = async |token: &str| call(address, client.clone(), Some(token)).await.unwrap_err().code();
        within(async { while probe(&token).await != Code::NotFound {} }).await;
        *load.token.write().unwrap() = (rotation, token);
        all(&mut everybody, |progress| progress.token >= rotation).await;
        Signer::publish(&files, &[&next]);
        within(async { while probe(&old_token).await != Code::Unauthenticated {} }).await;
        signer = next;
        all_reconnect(&mut everybody).await;

        // Everybody connects while there is but half a pair, and then the whole.
        let next = servers.issue();
        files.write("cert.pem", &next.cert);
        all_reconnect(&mut everybody).await;
        files.write("key.pem", &next.key);
        until_shown(address, &client, &next, &pair).await;
        pair = next;
        all_reconnect(&mut everybody).await;
    }

    stop.send_replace(true);
    let mut made: Vec<String> = within(calling.join_all()).await.concat();
    let (_, token) = load.token();
    let last = load.connect().await.create_job(with(Some(&token), create(LAST, titled("last")))).await;
    last.unwrap();
    made.push(LAST.to_owned());
    made.sort_unstable();
    for events in within(watching.join_all()).await {
        assert!(events.iter().all(|event| event.revision == 1), "only new jobs");
        let mut told: Vec<_> = events.into_iter().map(|event| event.job_id).collect();
        told.sort_unstable();
        assert!(told == made, "{} told of {}", told.len(), made.len());
    }
    assert_eq!(steady_progress.borrow().connections, 1);
    println!("{} jobs were made meanwhile", made.len());
    drop(load);
    server.stop().await;
}
