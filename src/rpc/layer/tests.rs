//! The layer around services that do as they are told, without a socket.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use expect_test::expect;
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

/// Calls `handler` through the layer, and reads the response to its end.
async fn call<F>(
    method: &'static str,
    headers: &[(&'static str, &'static str)],
    handler: impl Fn(Request<Body>) -> F + Clone,
) -> (usize, Status)
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
    let limits = Limits { message_bytes: 4_096, ..Limits::default() };
    let gate = Gate::new(Arc::new(Authenticator::Development), &limits, Arc::new(Timestamp::default));
    let response = RequestLayer::new(&limits, gate).layer(service).oneshot(request).await.unwrap();

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
            let mut span = line["span"].as_object().unwrap().clone();
            assert!(span.remove("duration_ms").is_some_and(|duration| duration.is_f64()));
            assert_eq!(span.remove("name").unwrap(), "request");
            let (level, message) = (&line["level"], &line["fields"]["message"]);
            summary.push_str(&format!("{level} {message} {}\n", serde_json::Value::Object(span)));
        }
        summary
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
