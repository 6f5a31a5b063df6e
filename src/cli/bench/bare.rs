//! The least that a gRPC server can do with messages of the same sizes: what the measured one is compared with.
//!
//! It answers with so many bytes as the request asks for, at once or when the request is durable, and hands what is published to all
//! that follow. It decodes nothing and decides nothing. It is a process of its own, like the measured server.

use std::{
    convert::Infallible,
    io::{self, Write as _},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpListener,
    sync::broadcast::{self, Sender},
};
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{BroadcastStream, errors::BroadcastStreamRecvError},
};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
    transport::{self, Server, server::TcpIncoming},
};
use tower::Service;

use super::{keeper::Keeper, wire::Raw};

/// Answers with so many bytes as the request's first number says.
pub const ECHO: &str = "/bench.Bare/Echo";
/// The same, when the request is durable.
pub const KEEP: &str = "/bench.Bare/Keep";
/// As [`ECHO`]; and whoever follows gets so many bytes as the second number says.
pub const PUBLISH: &str = "/bench.Bare/Publish";
/// A message at once, which is empty, and then what is published.
pub const FOLLOW: &str = "/bench.Bare/Follow";
/// So many bytes in a message as the first number says, and so many messages as the second says.
pub const FLOOD: &str = "/bench.Bare/Flood";

/// What it says before its address.
const GREETING: &str = "holdpoint is listening on";
/// The numbers that a request begins with, in bytes.
const NUMBERS_BYTES: usize = 8;
/// The largest message that is asked for, in bytes.
const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// What is published and not yet sent to all that follow: far more than one round publishes in a second.
const PUBLISHED_MAX: usize = 1 << 16;
const ZEROS: &[u8] = &[0; MESSAGE_BYTES_MAX];

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    /// There is no free port, or nobody to tell it to.
    #[error("cannot listen on loopback")]
    Listen(#[from] io::Error),
    /// There is no room for what it is to keep.
    #[error("cannot write a file in {}", directory.display())]
    Keep {
        /// Where.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Serving broke off.
    #[error("cannot serve")]
    Serve(#[from] transport::Error),
}

/// A request of `bytes` that begins with two numbers. It is no shorter than those.
#[must_use]
pub fn request(bytes: u64, numbers: [u64; 2]) -> Bytes {
    let mut request = BytesMut::new();
    for number in numbers {
        request.put_u32(u32::try_from(number).unwrap_or(u32::MAX));
    }
    request.resize(NUMBERS_BYTES.max(usize::try_from(bytes).unwrap_or_default()), 0);
    request.freeze()
}

/// The two numbers that a request begins with; 0 where there is none.
fn numbers(request: &[u8]) -> [usize; 2] {
    let number = |at: usize| {
        let bytes = request.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, |bytes| u32::from_be_bytes(bytes) as usize)
    };
    [number(0), number(4)]
}

fn zeros(bytes: usize) -> Bytes {
    Bytes::from_static(&ZEROS[..bytes.min(MESSAGE_BYTES_MAX)])
}

/// Serves on any free port of loopback, and says which, until stdin ends. What it keeps is in a directory.
///
/// # Errors
/// See [`BareError`].
pub async fn serve(directory: &Path) -> Result<(), BareError> {
    let keeper = Keeper::start(&directory.join("kept"))
        .map_err(|source| BareError::Keep { directory: directory.to_owned(), source })?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    writeln!(io::stdout(), "{GREETING} {address}")?;
    let end = async {
        let mut said = Vec::new();
        // However it ends: whoever started this is gone.
        let _ = tokio::io::stdin().read_to_end(&mut said).await;
    };
    let bare = Bare { published: broadcast::channel(PUBLISHED_MAX).0, keeper };
    let serving = Server::builder()
        .add_service(bare)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    tokio::select! {
        served = serving => Ok(served?),
        () = end => Ok(()),
    }
}

#[derive(Clone, Debug)]
struct Bare {
    published: Sender<Bytes>,
    keeper: Keeper,
}

impl NamedService for Bare {
    const NAME: &'static str = "bench.Bare";
}

impl Service<http::Request<Body>> for Bare {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bare = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Raw);
            Ok(match request.uri().path() {
                ECHO => grpc.unary(Echo, request).await,
                KEEP => grpc.unary(Keep(bare), request).await,
                PUBLISH => grpc.unary(Publish(bare), request).await,
                FOLLOW => grpc.server_streaming(Follow(bare), request).await,
                FLOOD => grpc.server_streaming(Flood, request).await,
                _ => Status::unimplemented("no such call").into_http(),
            })
        })
    }
}

type Answer<T> = BoxFuture<'static, Result<Response<T>, Status>>;
type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

struct Echo;

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let [reply, _] = numbers(request.get_ref());
        std::future::ready(Ok(Response::new(zeros(reply))))
    }
}

struct Keep(Bare);

impl UnaryService<Bytes> for Keep {
    type Response = Bytes;
    type Future = Answer<Bytes>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let keeper = self.0.keeper.clone();
        Box::pin(async move {
            let request = request.into_inner();
            let [reply, _] = numbers(&request);
            keeper.keep(request).await.ok_or_else(|| Status::internal("the disk has failed"))?;
            Ok(Response::new(zeros(reply)))
        })
    }
}

struct Publish(Bare);

impl UnaryService<Bytes> for Publish {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let [reply, message] = numbers(request.get_ref());
        // Nobody need follow.
        let _ = self.0.published.send(zeros(message));
        std::future::ready(Ok(Response::new(zeros(reply))))
    }
}

struct Follow(Bare);

impl ServerStreamingService<Bytes> for Follow {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Answer<Messages>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        let lost = |BroadcastStreamRecvError::Lagged(count)| Status::out_of_range(format!("{count} lost"));
        let published = BroadcastStream::new(self.0.published.subscribe());
        let messages =
            tokio_stream::once(Ok(Bytes::new())).chain(published.map(move |message| message.map_err(lost)));
        Box::pin(async { Ok(Response::new(Box::pin(messages) as Messages)) })
    }
}

struct Flood;

impl ServerStreamingService<Bytes> for Flood {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Answer<Messages>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let [message, count] = numbers(request.get_ref());
        let messages = tokio_stream::iter((0..count).map(move |_| Ok(zeros(message))));
        Box::pin(async { Ok(Response::new(Box::pin(messages) as Messages)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_it_asks_for() {
        for (bytes, given) in [(0, [1, 2]), (8, [70_000, 0]), (700, [3, 4_000_000_000])] {
            let request = request(bytes, given);
            assert_eq!(request.len() as u64, bytes.max(8));
            assert_eq!(numbers(&request).map(|number| number as u64), given);
        }
        assert_eq!(numbers(b"short"), [u32::from_be_bytes(*b"shor") as usize, 0]);
        assert_eq!(zeros(usize::MAX).len(), MESSAGE_BYTES_MAX);
    }
}
