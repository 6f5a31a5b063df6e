//! The server as its clients meet it: real sockets, any free port.

use std::{
    fs::{self, File},
    future,
    path::Path,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use expect_test::expect;
use http::HeaderMap;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus as Told, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt as _;

use super::{
    certificates::{Authority, Pair},
    *,
};
use crate::config::{AuthConfig, TlsConfig};

/// It takes a caller, which health does not.
const GET_JOB: &str = "/holdpoint.v1.JobService/GetJob";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const NEVER: &str = "/test.Never/Answer";

/// A service whose calls are never answered.
#[derive(Clone)]
struct Never;

impl NamedService for Never {
    const NAME: &'static str = "test.Never";
}

impl Service<Request<Body>> for Never {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = future::Pending<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        future::pending()
    }
}

/// A running server.
struct Subject {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), Error>>,
}

impl Subject {
    async fn start(drain_seconds: u64) -> Self {
        let config =
            Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), drain_seconds, ..Config::default() };
        let shutdown = CancellationToken::new();
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::start(store, Arc::new(System), options(&config)).await.unwrap();
        let services = services(&config, &engine, shutdown.clone()).unwrap().with(Never);
        let (listener, address) = listen(config.listen).await.unwrap();
        let serving = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { serve(listener, services, &config, shutdown).await }
        });
        Self { address, shutdown, serving }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    async fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel().await)
    }

    /// A client that sends what it is given, as it is.
    async fn raw(&self) -> h2::client::SendRequest<Bytes> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

/// A message with its gRPC prefix, which says `length` whatever is there.
fn message(length: u32, bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(length);
    message.put_slice(bytes);
    message.freeze()
}

/// The status of a call that is made by hand.
async fn call(
    client: &h2::client::SendRequest<Bytes>,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Bytes,
) -> Status {
    let mut request = Request::post(format!("http://holdpoint{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (key, value) in headers {
        request = request.header(*key, *value);
    }
    let mut client = client.clone().ready().await.unwrap();
    let (response, mut stream) = client.send_request(request.body(()).unwrap(), false).unwrap();
    stream.send_data(body, true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return status;
    }
    while let Some(data) = body.data().await {
        data.unwrap();
    }
    let trailers: HeaderMap = body.trailers().await.unwrap().unwrap();
    Status::from_header_map(&trailers).unwrap()
}

fn describe(status: &Status) -> String {
    let reason = status.get_details_error_info().map_or_else(
        || "-".to_owned(),
        |info| {
            let metadata: std::collections::BTreeMap<_, _> = info.metadata.into_iter().collect();
            format!("{} {metadata:?}", info.reason)
        },
    );
    format!("{:?} {reason}: {}", status.code(), status.message())
}

/// A name, a path, headers, and a body.
type Row<'a> = (&'a str, &'a str, &'a [(&'static str, &'a str)], Bytes);

#[tokio::test]
async fn whatever_comes_over_the_wire_has_its_status() {
    let subject = Subject::start(1).await;
    let client = subject.raw().await;
    let none = &[];
    let empty = message(0, b"");
    let rows: [Row; 15] = [
        ("good", CHECK, none, empty.clone()),
        ("unknown service asked for", CHECK, none, message(3, b"\x0a\x01x")),
        ("not protobuf", CHECK, none, message(3, b"\xff\xff\xff")),
        ("not utf-8", CHECK, none, message(3, b"\x0a\x01\xff")),
        ("no message", CHECK, none, Bytes::new()),
        ("half a message", CHECK, none, message(9, b"\x0a")),
        ("flag of no meaning", CHECK, none, Bytes::from_static(b"\x07\0\0\0\0")),
        ("too large", CHECK, none, message((4 << 20) + 1, b"")),
        ("user", GET_JOB, &[("holdpoint-user", "a b")], empty.clone()),
        ("org", GET_JOB, &[("holdpoint-org", "")], empty.clone()),
        ("unknown method", "/grpc.health.v1.Health/Sing", none, empty.clone()),
        ("unknown service", "/none.Such/Method", none, empty.clone()),
        ("deadline", NEVER, &[("grpc-timeout", "20m")], empty.clone()),
        ("deadline long past", NEVER, &[("grpc-timeout", "0m")], empty.clone()),
        ("malformed deadline", CHECK, &[("grpc-timeout", "soon")], empty),
    ];
    let mut table = String::new();
    for (name, path, headers, body) in rows {
        let status = call(&client, path, headers, body).await;
        table.push_str(&format!("{name}: {}\n", describe(&status)));
    }
    expect![[r#"
        good: Ok -: 
        unknown service asked for: NotFound -: service not registered
        not protobuf: InvalidArgument MESSAGE_MALFORMED {}: the message cannot be decoded: invalid varint
        not utf-8: InvalidArgument MESSAGE_MALFORMED {}: the message cannot be decoded: HealthCheckRequest.service: invalid string value: data is not UTF-8 encoded
        no message: InvalidArgument MESSAGE_MALFORMED {}: the message cannot be decoded: Missing request message
        half a message: InvalidArgument MESSAGE_MALFORMED {}: the message cannot be decoded: Unexpected EOF decoding stream
        flag of no meaning: InvalidArgument MESSAGE_MALFORMED {}: the message cannot be decoded: protocol error: received message with invalid compression flag: 7 (valid flags are 0 and 1), while sending request
        too large: ResourceExhausted LIMIT_EXCEEDED {"limit": "message_bytes", "maximum": "16384"}: the limit message_bytes of 16384 would be passed
        user: InvalidArgument CALLER_INVALID {"key": "holdpoint-user"}: holdpoint-user must be 1 to 64 letters, digits or -_.:@
        org: InvalidArgument CALLER_INVALID {"key": "holdpoint-org"}: holdpoint-org must be 1 to 64 letters, digits or -_.:@
        unknown method: Unimplemented -: 
        unknown service: Unimplemented -: 
        deadline: DeadlineExceeded DEADLINE_EXCEEDED {}: the deadline of the call has passed; a change may have been made
        deadline long past: DeadlineExceeded DEADLINE_EXCEEDED {}: the deadline of the call has passed; a change may have been made
        malformed deadline: Ok -: 
    "#]].assert_eq(&table);
    subject.stop().await;
}

/// tonic has a timer of its own around ours, which answers CANCELLED. It is the first where a thread loses its processor between
/// the two for as long as the call may take, so no call may take very little.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_deadline_is_never_later_than_tonics() {
    let subject = Subject::start(1).await;
    let client = subject.raw().await;
    let mut calls = JoinSet::new();
    for n in 0..500_u32 {
        let client = client.clone();
        calls.spawn(async move {
            let timeout = format!("{}u", 50_000 + 97 * n);
            call(&client, NEVER, &[("grpc-timeout", &timeout)], message(0, b"")).await
        });
    }
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.unwrap().code(), Code::DeadlineExceeded);
    }
    subject.stop().await;
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline() {
    let subject = Subject::start(1).await;
    let mut request = tonic::Request::new(of(""));
    request.metadata_mut().insert("grpc-timeout", "200m".parse().unwrap());
    let mut watch = subject.health().await.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Told::Serving);
    let status = watch.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.get_details_error_info().unwrap().reason, "DEADLINE_EXCEEDED");
    subject.stop().await;
}

#[tokio::test]
async fn a_message_that_really_is_too_large_is_refused_by_the_limits_name() {
    let subject = Subject::start(1).await;
    let status = subject.health().await.check(of(&"x".repeat(5 << 20))).await.unwrap_err();
    expect![[r#"ResourceExhausted LIMIT_EXCEEDED {"limit": "message_bytes", "maximum": "16384"}: the limit message_bytes of 16384 would be passed"#]].assert_eq(&describe(&status));
    subject.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let subject = Subject::start(1).await;
    let err = listen(subject.address).await.unwrap_err();
    assert_eq!(err.to_string(), format!("cannot listen on {}", subject.address));
    let source = std::error::Error::source(&err).unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
    subject.stop().await;
}

#[tokio::test]
async fn every_service_has_its_health() {
    let subject = Subject::start(1).await;
    let mut health = subject.health().await;
    let names = [
        "",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "test.Never",
    ];
    for name in names {
        let told = health.check(of(name)).await.unwrap().into_inner();
        assert_eq!(told.status(), Told::Serving, "{name}");
    }
    assert_eq!(health.check(of("none")).await.unwrap_err().code(), Code::NotFound);
    subject.stop().await;
}

/// One question to each version of reflection; their messages are alike and not the same.
macro_rules! reflect {
    ($version:ident, $channel:expr, $question:expr) => {{
        use $version::{ServerReflectionRequest, server_reflection_request::MessageRequest};
        let question = ServerReflectionRequest {
            message_request: Some(MessageRequest::FileContainingSymbol($question.to_owned())),
            ..Default::default()
        };
        $version::server_reflection_client::ServerReflectionClient::new($channel)
            .server_reflection_info(tokio_stream::once(question))
            .await
            .unwrap()
            .into_inner()
            .message()
            .await
            .map(|answer| answer.unwrap().message_response.is_some())
    }};
}

#[tokio::test]
async fn reflection_knows_the_services_and_the_details_of_errors() {
    let subject = Subject::start(1).await;
    let channel = subject.channel().await;
    for symbol in [
        "holdpoint.v1.JobService",
        "holdpoint.v1.ErrorReason",
        "google.rpc.ErrorInfo",
        "google.rpc.BadRequest",
        // It comes with our own descriptors and with those of the details.
        "google.rpc.Status",
        "grpc.health.v1.Health",
    ] {
        assert!(reflect!(v1, channel.clone(), symbol).unwrap(), "{symbol}");
        assert!(reflect!(v1alpha, channel.clone(), symbol).unwrap(), "{symbol}");
    }
    assert!(reflect!(v1, channel, "holdpoint.storage.v1.JobRecord").is_err());
    subject.stop().await;
}

#[tokio::test]
async fn a_drain_without_open_calls_ends_at_once() {
    let subject = Subject::start(3_600).await;
    let mut health = subject.health().await;
    health.check(of("")).await.unwrap();
    subject.stop().await;
    assert_eq!(health.check(of("")).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn who_watches_the_health_is_told_and_does_not_hold_up_the_drain() {
    let subject = Subject::start(3_600).await;
    let mut watch = subject.health().await.watch(of("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Told::Serving);
    subject.shutdown.cancel();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Told::NotServing);
    assert_eq!(watch.message().await.unwrap(), None);
    drop(watch);
    subject.stop().await;
}

#[tokio::test]
async fn a_drain_is_bounded_whoever_holds_on() {
    let subject = Subject::start(1).await;
    let idle = TcpStream::connect(subject.address).await.unwrap();
    let (questions, held) = mpsc::channel::<v1::ServerReflectionRequest>(1);
    let answers = v1::server_reflection_client::ServerReflectionClient::new(subject.channel().await)
        .server_reflection_info(ReceiverStream::new(held))
        .await
        .unwrap();

    let started = time::Instant::now();
    let bound = Duration::from_secs(1)..Duration::from_secs(5);
    subject.stop().await;
    assert!(bound.contains(&started.elapsed()), "{:?}", started.elapsed());
    drop((idle, questions, answers));
}

/// A look at files in this directory, time after time, and what it puts into the log.
struct Looking {
    directory: tempfile::TempDir,
    log: File,
    _log: tracing::subscriber::DefaultGuard,
    shutdown: CancellationToken,
    ended: JoinHandle<()>,
}

impl Looking {
    fn start(pair: &Pair, secret: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        pair.write(directory.path());
        fs::write(path("secret"), secret).unwrap();
        let auth = AuthConfig { key_files: vec![path("secret")], ..AuthConfig::default() };
        let tls =
            TlsConfig { cert_file: path("cert.pem"), key_file: path("key.pem"), ..TlsConfig::default() };
        let authenticator = Arc::new(Authenticator::new(&auth).unwrap());
        let tls = Arc::new(Tls::new(&tls).unwrap());

        let written = Arc::new(tempfile::tempfile().unwrap());
        let log = written.try_clone().unwrap();
        let log_of_this_thread = tracing::subscriber::set_default(
            tracing_subscriber::fmt()
                .without_time()
                .with_target(false)
                .with_ansi(false)
                .with_writer(written)
                .finish(),
        );
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(refresh(authenticator, Some(tls), shutdown.clone()));
        Self { directory, log, _log: log_of_this_thread, shutdown, ended }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What is said in so many looks, by a clock that does not wait.
    async fn said(&mut self, looks: u32) -> String {
        use io::{Read as _, Seek as _};

        time::sleep(REFRESH * looks + REFRESH / 2).await;
        let mut said = String::new();
        self.log.rewind().unwrap();
        self.log.read_to_string(&mut said).unwrap();
        self.log.set_len(0).unwrap();
        self.log.rewind().unwrap();
        said.replace(&self.path().display().to_string(), "DIR")
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_again_is_said_once() {
    let authority = Authority::new("all");
    let (first, second) = (authority.issue(), authority.issue());
    let secrets = ["0".repeat(32), "1".repeat(32)];
    let mut looking = Looking::start(&first, &secrets[0]);
    let directory = looking.path().to_owned();
    let write = |name: &str, content: &str| fs::write(directory.join(name), content).unwrap();

    let mut table = String::new();
    let mut row = async |what: &str| table.push_str(&format!("{what}:\n{}", looking.said(5).await));
    row("as it was").await;
    write("cert.pem", &second.cert);
    row("one half of a pair").await;
    write("cert.pem", &second.cert[..99]);
    row("what is wrong is another thing").await;
    fs::remove_file(directory.join("cert.pem")).unwrap();
    row("gone").await;
    write("cert.pem", &second.cert);
    row("one half of a pair again").await;
    write("key.pem", &second.key);
    row("both halves").await;
    write("cert.pem", &first.cert);
    row("one half of another").await;
    write("cert.pem", &second.cert);
    row("back again").await;
    write("cert.pem", &first.cert);
    row("one half once more").await;
    write("secret", "short");
    row("no key, either").await;
    write("secret", &secrets[1]);
    row("a key").await;
    first.write(&directory);
    row("a pair").await;
    expect![[r#"
        as it was:
        one half of a pair:
        ERROR cannot be read again: those before stay what="certificate" error="the certificate in DIR/cert.pem and the key in DIR/key.pem cannot be used together: keys may not be consistent: KeyMismatch"
        what is wrong is another thing:
        ERROR cannot be read again: those before stay what="certificate" error="DIR/cert.pem has no certificate in PEM"
        gone:
        ERROR cannot be read again: those before stay what="certificate" error="cannot read DIR/cert.pem: No such file or directory (os error 2)"
        one half of a pair again:
        ERROR cannot be read again: those before stay what="certificate" error="the certificate in DIR/cert.pem and the key in DIR/key.pem cannot be used together: keys may not be consistent: KeyMismatch"
        both halves:
         INFO read again what="certificate"
        one half of another:
        ERROR cannot be read again: those before stay what="certificate" error="the certificate in DIR/cert.pem and the key in DIR/key.pem cannot be used together: keys may not be consistent: KeyMismatch"
        back again:
        one half once more:
        ERROR cannot be read again: those before stay what="certificate" error="the certificate in DIR/cert.pem and the key in DIR/key.pem cannot be used together: keys may not be consistent: KeyMismatch"
        no key, either:
        ERROR cannot be read again: those before stay what="keys" error="DIR/secret: is neither PEM nor a secret: one line of printable ASCII, of 32 bytes or more"
        a key:
         INFO read again what="keys"
        a pair:
         INFO read again what="certificate"
    "#]].assert_eq(&table);

    looking.shutdown.cancel();
    looking.ended.await.unwrap();
}
