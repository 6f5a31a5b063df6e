//! Takes connections. A client that is slow to begin holds up nobody: handshakes run beside one another, and each
//! connection has so long to say that it speaks HTTP/2.

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
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{self, Instant, Sleep},
};
use tokio_rustls::server::TlsStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::{gather::Gather, tls::Tls};

#[cfg(test)]
mod tests;

/// How long to wait before accepting again when the system has no descriptors left: it would fail at once.
const PAUSE: Duration = Duration::from_millis(100);
/// What a client begins with in HTTP/2, in bytes.
const PREFACE_BYTES: usize = 24;
/// Handshakes that may be under way. Whoever comes while there are more is turned away.
const HANDSHAKES_MAX: usize = 10_000;

/// The connections of a listener, each once it is ready to be served, and so many at once. Others are closed as they come.
pub(super) fn connections(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    patience: Duration,
    connections_max: usize,
) -> impl Stream<Item = io::Result<Gather<Connection>>> {
    at_most(HANDSHAKES_MAX, listener, tls, patience, connections_max)
        .map(|connection| connection.map(Gather::new))
}

/// The same, with so many handshakes under way.
fn at_most(
    handshakes_max: usize,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    patience: Duration,
    connections_max: usize,
) -> impl Stream<Item = io::Result<Connection>> {
    let door = Door {
        listener,
        tls,
        patience,
        handshakes_max,
        handshakes: JoinSet::new(),
        places: Arc::new(Semaphore::new(connections_max)),
        connections_max,
        resumes: None,
        turns_away: false,
    };
    // It keeps the future between polls, so nothing is lost when who waits for a connection stops waiting. Dropped, it
    // ends the handshakes that are under way.
    futures_util::stream::unfold(door, |mut door| async move {
        let connection = door.next().await;
        Some((Ok(connection), door))
    })
}

struct Door {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    patience: Duration,
    handshakes_max: usize,
    handshakes: JoinSet<Option<Connection>>,
    /// One for each connection that there may be.
    places: Arc<Semaphore>,
    connections_max: usize,
    /// When to accept again, since the system could not.
    resumes: Option<Instant>,
    /// Whether it was said that connections are turned away. It is said once, until there is plenty of room.
    turns_away: bool,
}

impl Door {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(shaken) = self.handshakes.join_next() => match shaken {
                    Ok(Some(connection)) => return connection,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "a handshake broke off");
                    }
                },
                accepted = accept(&self.listener, self.resumes) => match accepted {
                    Ok(tcp) => {
                        self.resumes = None;
                        if let Some(connection) = self.take(tcp) {
                            return connection;
                        }
                    }
                    Err(error) if is_the_clients(&error) => {}
                    Err(error) => {
                        if self.resumes.is_none() {
                            tracing::warn!(
                                error = &error as &dyn std::error::Error,
                                "cannot accept connections; trying again and again"
                            );
                        }
                        self.resumes = Some(Instant::now() + PAUSE);
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
        let Some(place) = self.place() else {
            if !self.turns_away {
                let Self { connections_max, handshakes_max, .. } = self;
                tracing::warn!(
                    connections_max,
                    handshakes_max,
                    "too many connections or handshakes: turning others away"
                );
            }
            self.turns_away = true;
            return None;
        };
        self.turns_away &= self.is_crowded();
        let Some(tls) = &self.tls else { return Some(Connection::new(Io::Plain(tcp), patience, place)) };
        let handshake = tls.acceptor().accept(tcp);
        self.handshakes.spawn(async move {
            match time::timeout(patience, handshake).await {
                Ok(Ok(stream)) => Some(Connection::new(Io::Tls(Box::new(stream)), patience, place)),
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

    /// Room for a connection, and for the handshake that it may need.
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        (self.handshakes.len() < self.handshakes_max).then_some(place)
    }

    fn is_crowded(&self) -> bool {
        self.handshakes.len() > self.handshakes_max / 2
            || self.places.available_permits() < self.connections_max / 2
    }
}

/// The next client, at that time at the earliest. Dropped, it has taken none.
async fn accept(listener: &TcpListener, at: Option<Instant>) -> io::Result<TcpStream> {
    if let Some(at) = at {
        time::sleep_until(at).await;
    }
    listener.accept().await.map(|(tcp, _)| tcp)
}

/// Whether it is only this client that cannot be accepted: it went away before it was its turn.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
    };

    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable
    )
}

/// A connection. What would look after it, the pings of HTTP/2, begins with the client's preface; until then it is ours
/// to end it.
pub(super) struct Connection {
    io: Io,
    /// `None`: it has begun.
    beginning: Option<Beginning>,
    /// Its own, until it is dropped.
    _place: OwnedSemaphorePermit,
}

/// How much of the preface is still to come, and for how long.
struct Beginning {
    bytes: usize,
    end: Pin<Box<Sleep>>,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    fn new(io: Io, patience: Duration, place: OwnedSemaphorePermit) -> Self {
        let beginning = Beginning { bytes: PREFACE_BYTES, end: Box::pin(time::sleep(patience)) };
        Self { io, beginning: Some(beginning), _place: place }
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
        let before = buffer.filled().len();
        let read = io!(self, io => io.poll_read(context, buffer));
        let Some(beginning) = &mut self.beginning else { return read };
        if read.is_ready() {
            beginning.bytes = beginning.bytes.saturating_sub(buffer.filled().len() - before);
            if beginning.bytes == 0 {
                self.beginning = None;
            }
            return read;
        }
        ready!(beginning.end.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not begin")))
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
