//! Takes connections. A client that is slow to begin holds up nobody: handshakes run beside one another, and each
//! connection has so long to say something.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{self, Sleep},
};
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::tls::Tls;

/// How long to wait before accepting again when the system has no descriptors left: it would fail at once.
const PAUSE: Duration = Duration::from_millis(100);
/// Handshakes that may be under way. Whoever comes while there are more is turned away.
const HANDSHAKES_MAX: usize = 10_000;

/// The connections of a listener, each once it is ready to be served.
pub(super) fn connections(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    patience: Duration,
) -> impl Stream<Item = io::Result<Connection>> {
    let door = Door { listener, tls, patience, handshakes: JoinSet::new() };
    futures_util::stream::unfold(door, |mut door| async move {
        let connection = door.next().await;
        Some((Ok(connection), door))
    })
}

struct Door {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    patience: Duration,
    handshakes: JoinSet<Option<Connection>>,
}

impl Door {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(shaken) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = shaken {
                        return connection;
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((tcp, _)) => {
                        if let Some(connection) = self.take(tcp) {
                            return connection;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                        time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    /// A connection that is ready as it is; for another one the handshake begins.
    fn take(&mut self, tcp: TcpStream) -> Option<Connection> {
        // Without it small messages wait for one another; a connection that refuses it is about to fail anyway.
        let _ = tcp.set_nodelay(true);
        let patience = self.patience;
        let Some(tls) = &self.tls else { return Some(Connection::new(Io::Plain(tcp), patience)) };
        if self.handshakes.len() >= HANDSHAKES_MAX {
            tracing::warn!("too many handshakes are under way: a connection was turned away");
            return None;
        }
        let handshake = tls.acceptor().accept(tcp);
        self.handshakes.spawn(async move {
            match time::timeout(patience, handshake).await {
                Ok(Ok(stream)) => Some(Connection::new(Io::Tls(Box::new(stream)), patience)),
                Ok(Err(error)) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a handshake failed");
                    None
                }
                Err(_) => {
                    tracing::debug!("a handshake took too long");
                    None
                }
            }
        });
        None
    }
}

/// A connection, and how long it may still say nothing before it has said anything.
pub(super) struct Connection {
    io: Io,
    silence: Option<Pin<Box<Sleep>>>,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    fn new(io: Io, patience: Duration) -> Self {
        Self { io, silence: Some(Box::pin(time::sleep(patience))) }
    }
}

/// The stream, whichever it is.
macro_rules! io {
    ($connection:expr, $io:ident => $done:expr) => {
        match &mut $connection.io {
            Io::Plain($io) => {
                let $io = Pin::new($io);
                $done
            }
            Io::Tls($io) => {
                let $io = Pin::new($io.as_mut());
                $done
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = io!(self, io => io.poll_read(context, buffer)) {
            self.silence = None;
            return Poll::Ready(read);
        }
        let Some(silence) = &mut self.silence else { return Poll::Pending };
        ready!(silence.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client said nothing")))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        io!(self, io => io.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        io!(self, io => io.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        io!(self, io => io.poll_shutdown(context))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        io!(self, io => io.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match &self.io {
            Io::Plain(tcp) => tcp.connect_info(),
            Io::Tls(stream) => stream.get_ref().0.connect_info(),
        }
    }
}
