//! The layer around services that do as they are told, without a socket.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use expect_test::expect;
use futures_util::FutureExt as _;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use prost_types::Timestamp;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::{
    auth::{Authenticator, Caller},
    config::Limits,
};

/// A body that hands out its frames and then ends, or never does.
struct Script {
    frames: VecDeque<Frame<Bytes>>,
    ends: bool,
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

fn data() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(b"payload"))
}

fn trailers(status: &Status) -> Frame<Bytes> {
    Frame::trailers(wire::trailers_of(status))
}

fn reply(frames: impl Into<VecDeque<Frame<Bytes>>>, ends: bool) -> Response<Body> {
    Response::new(Body::new(Script { frames: frames.into(), ends }))
}

const MESSAGE_BYTES_MAX: usize = 4_096;

fn gate(limits: &Limits) -> Gate {
    Gate::new(Arc::new(Authenticator::Development), limits, Arc::new(Timestamp::default))
}

/// Calls `handler` through the layer, and reads the response to its end.
async fn call<F>(
    method: &'static str,
    headers: &[(&'static str, &'static str)],
    handler: impl Fn(Request<Body>) -> F + Clone,
) -> (usize, Status)
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    read(begin(&gate(&Limits::default()), method, headers, handler).await).await
}

/// Calls `handler` through the layer and a gate that others go through as well, up to the head of the response.
async fn begin<F>(
    gate: &Gate,
    method: &'static str,
    headers: &[(&'static str, &'static str)],
    handler: impl Fn(Request<Body>) -> F + Clone,
) -> Response<ResponseBody>
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = method.parse().unwrap();
    for (key, value) in headers {
        request.headers_mut().insert(*key, value.parse().unwrap());
    }
    let service = tower::service_fn(move |request| {
        let response = handler(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let limits = Limits { message_bytes: MESSAGE_BYTES_MAX, ..Limits::default() };
    RequestLayer::new(&limits, gate.clone()).layer(service).oneshot(request).await.unwrap()
}

/// Reads a response to its end: how many frames it has before, and the status.
async fn read(response: Response<ResponseBody>) -> (usize, Status) {
    if let Some(status) = Status::from_header_map(response.headers()) {
        return (0, status);
    }
    let mut body = response.into_body();
    let (mut frames, mut end) = (0, HeaderMap::new());
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame.unwrap().into_trailers() {
            Ok(trailers) => end = trailers,
            Err(_) => frames += 1,
        }
    }
    (frames, Status::from_header_map(&end).unwrap_or_else(|| Status::unknown("no trailers")))
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map_or_else(String::new, |info| info.reason)
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_ends_at_its_deadline() {
    let (frames, status) = call("/s/m", &[("grpc-timeout", "3S")], |_| std::future::pending()).await;
    assert_eq!(
        (frames, status.code(), reason(&status).as_str()),
        (0, Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
}

/// See `server/gather.rs`.
#[tokio::test]
async fn messages_go_in_pieces_that_are_gathered_unless_they_are_large() {
    let gate = gate(&Limits::default());
    let rows: [(usize, &[usize]); 5] =
        [(1, &[1]), (1023, &[1023]), (1024, &[1023, 1]), (2500, &[1023, 1023, 454]), (8192, &[8192])];
    for (bytes, expected) in rows {
        let message: Bytes = (0..=u8::MAX).cycle().take(bytes).collect();
        let sent = message.clone();
        let response = begin(&gate, "/s/m", &[], move |_| {
            let frames = [Frame::data(sent.clone()), data(), trailers(&Status::ok(""))];
            async { reply(frames, true) }
        });
        let mut body = response.await.into_body();
        let mut pieces = Vec::new();
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
        {
            pieces.extend(frame.unwrap().into_data());
        }
        assert_eq!(pieces.pop().unwrap(), "payload", "the next message is one of its own");
        assert_eq!(pieces.concat(), message);
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_its_deadline_with_what_it_had_sent() {
    let started = Instant::now();
    let (frames, status) = call("/s/m", &[("grpc-timeout", "3S")], |_| async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        reply([data(), data()], false)
    })
    .await;
    assert_eq!(
        (frames, status.code(), reason(&status).as_str()),
        (2, Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    assert_eq!(started.elapsed().as_secs(), 3, "the head's time counts");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_always_has_more_still_ends_at_its_deadline() {
    let (frames, status) = call("/s/m", &[("grpc-timeout", "1m")], |_| async {
        tokio::time::advance(Duration::from_millis(1)).await;
        reply((0..9).map(|_| data()).collect::<VecDeque<_>>(), true)
    })
    .await;
    assert_eq!((frames, status.code()), (0, Code::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_too_late_is_not_made() {
    let (_, status) =
        call("/s/m", &[("grpc-timeout", "0n")], |_| -> std::future::Ready<_> { panic!("the handler ran") })
            .await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_status_of_tonics_own_is_corrected_wherever_it_stands() {
    let rows = [
        (
            Status::out_of_range("Error, decoded message length too large: found 9 bytes"),
            Code::ResourceExhausted,
            "LIMIT_EXCEEDED",
        ),
        (
            Status::internal("failed to decode Protobuf message: invalid varint"),
            Code::InvalidArgument,
            "MESSAGE_MALFORMED",
        ),
        (Status::internal("Missing request message."), Code::InvalidArgument, "MESSAGE_MALFORMED"),
        (Status::internal("Unexpected EOF decoding stream."), Code::InvalidArgument, "MESSAGE_MALFORMED"),
        (Status::out_of_range("the token is too old"), Code::OutOfRange, ""),
        (Status::internal("internal fault"), Code::Internal, ""),
        (Status::unimplemented(""), Code::Unimplemented, ""),
    ];
    for (status, code, expected) in rows {
        let head = status.clone();
        let (_, answered) = call("/s/m", &[], move |_| std::future::ready(head.clone().into_http())).await;
        assert_eq!((answered.code(), reason(&answered).as_str()), (code, expected), "{status:?}");

        let end = status.clone();
        let (frames, answered) =
            call("/s/m", &[], move |_| std::future::ready(reply([data(), trailers(&end)], true))).await;
        assert_eq!(frames, 1);
        assert_eq!((answered.code(), reason(&answered).as_str()), (code, expected), "{status:?}");
    }
}

#[tokio::test]
async fn the_handler_finds_the_caller() {
    let headers = [("holdpoint-user", "ann"), ("holdpoint-org", "acme"), ("holdpoint-groups", "night")];
    let (_, status) = call("/s/m", &headers, |request| {
        let caller = request.extensions().get::<Caller>().cloned();
        std::future::ready(Status::not_found(format!("{caller:?}")).into_http())
    })
    .await;
    expect![[r#"Some(Caller { user: "ann", name: "ann", org: "acme", groups: ["night"], privileges: All, expires: None })"#]]
    .assert_eq(status.message());
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Level, message and span of each line; of the duration only that it is there.
    fn summary(&self) -> String {
        let lines = String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap();
        let mut summary = String::new();
        for line in lines.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if line["target"] == "audit" {
                continue;
            }
            let mut span = line["span"].as_object().unwrap().clone();
            assert!(span.remove("duration_ms").is_some_and(|duration| duration.is_f64()));
            assert_eq!(span.remove("name").unwrap(), "request");
            let (level, message) = (&line["level"], &line["fields"]["message"]);
            summary.push_str(&format!("{level} {message} {}\n", serde_json::Value::Object(span)));
        }
        summary
    }

    /// The lines of the audit, less their times.
    fn audit(&self) -> String {
        let lines = String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let audit = lines.filter(|line| line["target"] == "audit");
        audit.map(|line| line["fields"].to_string() + "\n").collect()
    }
}

/// Every way in which a call can end.
async fn calls_of_every_kind() {
    let ann = [("holdpoint-user", "ann"), ("holdpoint-org", "acme")];
    let ok = || trailers(&Status::ok(""));
    call("/s/unary", &ann, |_| async move {
        note("job-1", "request-1", false);
        reply([data(), ok()], true)
    })
    .await;
    call("/s/refused", &ann, |_| async { Status::not_found("no such job").into_http() }).await;
    call("/s/broken", &ann, |_| async { Status::internal("private").into_http() }).await;
    call("/s/stream", &ann, |_| async { reply([data(), trailers(&Status::aborted("moved on"))], true) })
        .await;
    call("/s/truncated", &ann, |_| async { reply([data()], true) }).await;
    call("/s/late", &[("grpc-timeout", "1S")], |_| std::future::pending()).await;
    call("/s/late-stream", &[("grpc-timeout", "1S")], |_| async { reply([data()], false) }).await;
    call("/s/stranger", &[("holdpoint-user", "a b")], |_| std::future::pending()).await;

    let head = call("/s/gone-before-the-head", &ann, |_| std::future::pending());
    assert!(tokio::time::timeout(Duration::from_secs(1), head).await.is_err());
    let body = call("/s/gone-in-the-body", &ann, |_| async { reply([data()], false) });
    assert!(tokio::time::timeout(Duration::from_secs(1), body).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn every_call_leaves_one_line_that_holds_no_payload() {
    let lines = Lines::default();
    let log =
        tracing_subscriber::fmt().json().with_max_level(Level::DEBUG).with_writer(lines.clone()).finish();
    let _log = tracing::subscriber::set_default(log);

    // Another test may be the first to reach one of the places that log, and then has it noted that nobody listens.
    calls_of_every_kind().await;
    tracing::callsite::rebuild_interest_cache();
    lines.clear();

    calls_of_every_kind().await;
    expect![[r#"
        "DEBUG" "call ended" {"code":"OK","org":"acme","request_id":"request-1","rpc.method":"/s/unary","user":"ann"}
        "INFO" "call refused" {"code":"NOT_FOUND","org":"acme","rpc.method":"/s/refused","user":"ann"}
        "WARN" "call failed" {"code":"INTERNAL","org":"acme","rpc.method":"/s/broken","user":"ann"}
        "INFO" "call refused" {"code":"ABORTED","org":"acme","rpc.method":"/s/stream","user":"ann"}
        "WARN" "call failed" {"code":"UNKNOWN","org":"acme","rpc.method":"/s/truncated","user":"ann"}
        "INFO" "call refused" {"code":"DEADLINE_EXCEEDED","org":"dev","rpc.method":"/s/late","user":"dev"}
        "INFO" "call refused" {"code":"DEADLINE_EXCEEDED","org":"dev","rpc.method":"/s/late-stream","user":"dev"}
        "INFO" "call refused" {"code":"INVALID_ARGUMENT","rpc.method":"/s/stranger"}
        "DEBUG" "call ended" {"code":"CANCELLED","org":"acme","rpc.method":"/s/gone-before-the-head","user":"ann"}
        "DEBUG" "call ended" {"code":"CANCELLED","org":"acme","rpc.method":"/s/gone-in-the-body","user":"ann"}
    "#]].assert_eq(&lines.summary());
}

const UPDATE: &str = "/holdpoint.v1.JobService/UpdateJob";
const GET: &str = "/holdpoint.v1.JobService/GetJob";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const ANN: [(&str, &str); 2] = [("holdpoint-user", "ann"), ("holdpoint-org", "acme")];

/// Every way in which a call that changes something can end, and some that change nothing.
async fn changes_of_every_kind() {
    let ok = || reply([data(), trailers(&Status::ok(""))], true);
    call(UPDATE, &ANN, |_| async move {
        note("job-1", "request-1", false);
        ok()
    })
    .await;
    call(UPDATE, &ANN, |_| async move {
        note("job-1", "", true);
        // Of what is said twice the first stands.
        note("other", "request-2", true);
        ok()
    })
    .await;
    call(UPDATE, &ANN, |_| async {
        note("job-2", "request-3", false);
        status::job_not_found("jobId", "job-2").into_http()
    })
    .await;
    call(UPDATE, &ANN, |_| async { reply([trailers(&status::overloaded("calls", 1))], true) }).await;
    call(UPDATE, &ANN, |_| async { Status::unimplemented("without details").into_http() }).await;
    let may_read = [ANN[0], ANN[1], ("holdpoint-privileges", "jobRead")];
    call(UPDATE, &may_read, |_| async move { ok() }).await;
    call(UPDATE, &[("holdpoint-user", "a b")], |_| async move { ok() }).await;
    call(UPDATE, &[ANN[0], ("grpc-timeout", "1S")], |_| std::future::pending()).await;
    call(UPDATE, &[ANN[0], ("grpc-timeout", "0n")], |_| std::future::pending()).await;
    let gone = call(UPDATE, &ANN, |_| async {
        note("job-3", "", false);
        std::future::pending().await
    });
    assert!(tokio::time::timeout(Duration::from_secs(1), gone).await.is_err());
    let broken = call(UPDATE, &ANN, |_| async {
        note("job-4", "", false);
        panic!("the handler broke down")
    });
    assert!(std::panic::AssertUnwindSafe(broken).catch_unwind().await.is_err());

    call(GET, &ANN, |_| async move { ok() }).await;
    call(GET, &ANN, |_| async { Status::not_found("").into_http() }).await;
    call(HEALTH, &[], |_| async move { ok() }).await;
    call("/holdpoint.v1.JobService/Sing", &ANN, |_| async move { Status::unimplemented("").into_http() })
        .await;
}

#[tokio::test(start_paused = true)]
async fn every_change_that_is_asked_for_leaves_one_line_in_the_audit() {
    let lines = Lines::default();
    let log =
        tracing_subscriber::fmt().json().with_max_level(Level::TRACE).with_writer(lines.clone()).finish();
    let _log = tracing::subscriber::set_default(log);

    changes_of_every_kind().await;
    tracing::callsite::rebuild_interest_cache();
    lines.clear();

    changes_of_every_kind().await;
    expect![[r#"
        {"code":"OK","org":"acme","reason":"","request_id":"request-1","resource":"job-1","rpc":"/holdpoint.v1.JobService/UpdateJob","user":"ann","validate_only":false}
        {"code":"OK","org":"acme","reason":"","request_id":"","resource":"job-1","rpc":"/holdpoint.v1.JobService/UpdateJob","user":"ann","validate_only":true}
        {"code":"NOT_FOUND","org":"acme","reason":"JOB_NOT_FOUND","request_id":"request-3","resource":"job-2","rpc":"/holdpoint.v1.JobService/UpdateJob","user":"ann","validate_only":false}
        {"code":"RESOURCE_EXHAUSTED","org":"acme","reason":"OVERLOADED","request_id":"","resource":"","rpc":"/holdpoint.v1.JobService/UpdateJob","user":"ann","validate_only":false}
        {"code":"UNIMPLEMENTED","org":"acme","reason":"","request_id":"","resource":"","rpc":"/holdpoint.v1.JobService/UpdateJob","user":"ann","validate_only":false}
        {"code":"PERMISSION_DENIED","org":"acme","reason":"PRIVILEGE_MISSING","request_id":"","resource":"","rpc":"/holdpoint.v1.JobService/UpdateJob","user":"ann","validate_only":false}
        {"code":"INVALID_ARGUMENT","org":"","reason":"CALLER_INVALID","request_id":"","resource":"","rpc":"/holdpoint.v1.JobService/UpdateJob","user":"","validate_only":false}
        {"code":"DEADLINE_EXCEEDED","org":"dev","reason":"DEADLINE_EXCEEDED","request_id":"","resource":"","rpc":"/holdpoint.v1.JobService/UpdateJob","user":"ann","validate_only":false}
        {"code":"DEADLINE_EXCEEDED","org":"","reason":"DEADLINE_EXCEEDED","request_id":"","resource":"","rpc":"/holdpoint.v1.JobService/UpdateJob","user":"","validate_only":false}
        {"code":"CANCELLED","org":"acme","reason":"","request_id":"","resource":"job-3","rpc":"/holdpoint.v1.JobService/UpdateJob","user":"ann","validate_only":false}
        {"code":"INTERNAL","org":"acme","reason":"","request_id":"","resource":"job-4","rpc":"/holdpoint.v1.JobService/UpdateJob","user":"ann","validate_only":false}
    "#]].assert_eq(&lines.audit());
}

/// What a refusal says of a limit: its name, and that there is a time after which to come again.
fn limit(status: &Status) -> String {
    assert_eq!((status.code(), reason(status).as_str()), (Code::ResourceExhausted, "LIMIT_EXCEEDED"));
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    status.get_details_error_info().unwrap().metadata["limit"].clone()
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_limited_for_each_caller() {
    let gate = gate(&Limits { calls_per_caller: 2, ..Limits::default() });
    let ok = || reply([data(), trailers(&Status::ok(""))], true);
    let stalled =
        |headers: &'static [(&str, &str)]| Box::pin(begin(&gate, GET, headers, |_| std::future::pending()));
    let answered = async |headers: &[(&'static str, &'static str)]| {
        read(begin(&gate, GET, headers, |_| async move { ok() }).await).await.1
    };

    let (mut first, mut second) = (stalled(&ANN), stalled(&ANN));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    assert_eq!(limit(&answered(&ANN).await), "calls_per_caller");
    for other in [[("holdpoint-user", "bob"), ANN[1]], [ANN[0], ("holdpoint-org", "umbra")]] {
        assert_eq!(answered(&other).await.code(), Code::Ok, "{other:?}");
    }
    let health = begin(&gate, HEALTH, &ANN, |_| async move { ok() }).await;
    assert_eq!(read(health).await.1.code(), Code::Ok, "health is asked for without limit");

    // It comes back when a call goes, ends, is refused, is too late, or breaks down.
    drop(first);
    for _ in 0..3 {
        assert_eq!(answered(&ANN).await.code(), Code::Ok);
        let may_nothing = [ANN[0], ANN[1], ("holdpoint-privileges", "")];
        assert_eq!(answered(&may_nothing).await.code(), Code::PermissionDenied);
        let late =
            begin(&gate, GET, &[ANN[0], ANN[1], ("grpc-timeout", "1S")], |_| std::future::pending()).await;
        assert_eq!(read(late).await.1.code(), Code::DeadlineExceeded);
        let broken = begin(&gate, GET, &ANN, |_| async { panic!("the handler broke down") });
        assert!(std::panic::AssertUnwindSafe(broken).catch_unwind().await.is_err());
    }

    // A stream counts until it has begun.
    let mut streams = Vec::new();
    for _ in 0..9 {
        let stream = begin(&gate, GET, &ANN, |_| async { reply([data()], false) }).await;
        assert!(Status::from_header_map(stream.headers()).is_none());
        streams.push(stream);
    }
    drop(second);
    assert_eq!(answered(&ANN).await.code(), Code::Ok);
}

/// Who is refused for the rate has not taken a slot, and is let in after the time that was told.
#[tokio::test]
async fn calls_in_a_second_are_limited_for_each_caller() {
    let gate = gate(&Limits { calls_per_second_per_caller: 2, calls_per_caller: 1, ..Limits::default() });
    let answered = async |method: &'static str, headers: &[(&'static str, &'static str)]| {
        let ok = |_| async { reply([data(), trailers(&Status::ok(""))], true) };
        read(begin(&gate, method, headers, ok).await).await.1
    };
    let refused = loop {
        let status = answered(GET, &ANN).await;
        if status.code() != Code::Ok {
            break status;
        }
    };
    assert_eq!(limit(&refused), "calls_per_second_per_caller");
    let retry = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(retry <= Duration::from_millis(500), "{retry:?}");
    for other in [[("holdpoint-user", "bob"), ANN[1]], [ANN[0], ("holdpoint-org", "umbra")]] {
        assert_eq!(answered(GET, &other).await.code(), Code::Ok, "{other:?}");
    }
    for _ in 0..20 {
        assert_eq!(answered(HEALTH, &ANN).await.code(), Code::Ok);
    }
    // The time that a client is told is the clock's, which no test can set.
    tokio::time::sleep(retry).await;
    assert_eq!(answered(GET, &ANN).await.code(), Code::Ok);
}

/// What of a request has come is in hand until its call ends, and one that would be too much is let go of at once.
#[tokio::test]
async fn a_request_ends_where_too_much_is_in_hand() {
    let limits = Limits { request_bytes: 2 * data().into_data().unwrap().len(), ..Limits::default() };
    let gate = gate(&limits);
    let send = |frames: usize| {
        let mut request =
            Request::new(Body::new(Script { frames: (0..frames).map(|_| data()).collect(), ends: true }));
        *request.uri_mut() = UPDATE.parse().unwrap();
        let service = tower::service_fn(|request: Request<Body>| async {
            let mut body = request.into_body();
            while let Some(frame) =
                std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
            {
                if let Err(status) = frame {
                    return Ok::<_, Infallible>(reply([trailers(&status)], true));
                }
            }
            Ok(reply([trailers(&Status::ok(""))], true))
        });
        RequestLayer::new(&limits, gate.clone()).layer(service).oneshot(request)
    };
    for (frames, expected) in [(2, ""), (3, "OVERLOADED"), (2, "")] {
        let (_, status) = read(send(frames).await.unwrap()).await;
        assert_eq!(reason(&status), expected, "{frames}");
        assert_eq!(gate.intake().bytes().0, 0, "{frames}");
    }
}
