use std::{future, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tokio_stream::StreamExt as _;

use super::*;
use crate::{
    config::TlsConfig,
    server::certificates::{Authority, Pair},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LONG: Duration = Duration::from_secs(3_600);
const CONNECTIONS_MAX: usize = 1_000;

/// Waits, but not for ever.
async fn within<F: Future>(future: F) -> F::Output {
    time::timeout(Duration::from_secs(30), future).await.expect("what is waited for comes in time")
}

/// A certificate in its files, and a client that trusts it.
fn encrypted() -> (Arc<Tls>, Arc<ClientConfig>) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("all");
    let pair: Pair = authority.issue();
    pair.write(directory.path());
    let config = TlsConfig {
        cert_file: directory.path().join("cert.pem"),
        key_file: directory.path().join("key.pem"),
        ..TlsConfig::default()
    };
    (Arc::new(Tls::new(&config).unwrap()), Arc::new(authority.client(None)))
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn shake(
    client: &Arc<ClientConfig>,
    tcp: TcpStream,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    within(TlsConnector::from(Arc::clone(client)).connect(name, tcp)).await
}

/// A door that somebody stands at, who hands on whoever comes in.
fn open(
    handshakes_max: usize,
    listener: TcpListener,
    tls: &Arc<Tls>,
) -> (tokio::sync::mpsc::UnboundedReceiver<Connection>, JoinHandle<()>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let connections = at_most(handshakes_max, listener, Some(Arc::clone(tls)), LONG, CONNECTIONS_MAX);
    let standing = tokio::spawn(async move {
        let mut connections = std::pin::pin!(connections);
        while let Some(Ok(connection)) = connections.next().await {
            let _ = sender.send(connection);
        }
    });
    (receiver, standing)
}

/// The end of a connection, whether in good order or not.
async fn is_closed(mut tcp: TcpStream) -> bool {
    !matches!(within(tcp.read(&mut [0])).await, Ok(1..))
}

#[tokio::test]
async fn beyond_so_many_handshakes_others_are_turned_away_and_who_is_in_is_served() {
    let (listener, address) = listener().await;
    let (tls, client) = encrypted();
    let (mut let_in, standing) = open(2, listener, &tls);
    let connect = || async { within(TcpStream::connect(address)).await.unwrap() };

    let silent = connect().await;
    let slow = connect().await;
    for _ in 0..3 {
        assert!(is_closed(connect().await).await, "there is no room for a third");
    }
    // Who had begun goes on, and makes room for one.
    let _slow = shake(&client, slow).await.unwrap();
    within(let_in.recv()).await.unwrap();
    let _next = shake(&client, connect().await).await.unwrap();
    within(let_in.recv()).await.unwrap();
    // Who gives up makes room as well.
    let another = connect().await;
    assert!(is_closed(connect().await).await);
    drop(silent);
    let mut connected = shake(&client, another).await.unwrap();
    let mut connection = within(let_in.recv()).await.unwrap();
    within(connected.write_all(b"hello")).await.unwrap();
    let mut said = [0; 5];
    within(connection.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"hello");

    // With the door, the handshakes end that are under way.
    let last = connect().await;
    let last_but_one = connect().await;
    standing.abort();
    assert!(is_closed(last).await && is_closed(last_but_one).await);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn who_stops_waiting_for_a_connection_loses_none() {
    let (listener, address) = listener().await;
    let (tls, client) = encrypted();
    let mut connections = std::pin::pin!(at_most(100, listener, Some(tls), LONG, CONNECTIONS_MAX));
    let mut shaking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = Arc::clone(&client);
        shaking
            .spawn(async move { shake(&client, TcpStream::connect(address).await.unwrap()).await.unwrap() });
    }
    let mut let_in = Vec::new();
    while let_in.len() < 20 {
        // Each time a future of its own, which is dropped when it was polled once.
        let polled = std::future::poll_fn(|context| {
            let mut next = std::pin::pin!(connections.next());
            Poll::Ready(next.as_mut().poll(context))
        });
        if let Poll::Ready(connection) = polled.await {
            let_in.push(connection.unwrap().unwrap());
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(within(shaking.join_all()).await.len(), 20);
}

/// What becomes of a connection whose client sends a byte as often as that, until so many are sent.
async fn drip(patience: Duration, every: Duration, bytes: usize) -> io::Result<usize> {
    let (listener, address) = listener().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let mut connection = Connection::new(Io::Plain(server), patience, place);
    let sending = async {
        for byte in &PREFACE[..bytes] {
            client.write_all(std::slice::from_ref(byte)).await.unwrap();
            time::sleep(every).await;
        }
        future::pending::<()>().await;
    };
    let reading = async {
        let mut all = Vec::new();
        loop {
            let mut byte = [0];
            match time::timeout(LONG / 2, connection.read(&mut byte)).await {
                Ok(Ok(0)) | Err(_) => return Ok(all.len()),
                Ok(Ok(_)) => all.push(byte[0]),
                Ok(Err(error)) => return Err(error),
            }
        }
    };
    tokio::select! {
        () = sending => unreachable!("it never ends"),
        read = reading => read,
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_preface_is_no_beginning() {
    let second = Duration::from_secs(1);
    for bytes in [0, 1, PREFACE_BYTES - 1] {
        let error = drip(30 * second, second, bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{bytes}");
    }
    let error = drip(10 * second, second, PREFACE_BYTES).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "a byte now and then is no beginning either");
    let read = drip(30 * second, second, PREFACE_BYTES).await.unwrap();
    assert_eq!(read, PREFACE_BYTES, "who has begun may be silent");
}

/// Whoever comes while there are as many as may be is closed at once, and comes in when another has gone.
#[tokio::test]
async fn there_are_so_many_connections_and_no_more() {
    let (listener, address) = listener().await;
    let mut connections = std::pin::pin!(at_most(100, listener, None, LONG, 1));
    let _first = TcpStream::connect(address).await.unwrap();
    let first = within(connections.next()).await.unwrap().unwrap();

    let mut second = TcpStream::connect(address).await.unwrap();
    let mut end = [0];
    tokio::select! {
        _ = connections.next() => panic!("one more than may be"),
        read = within(second.read(&mut end)) => assert!(matches!(read, Ok(0) | Err(_)), "{read:?}"),
    }
    drop(first);
    let _third = TcpStream::connect(address).await.unwrap();
    within(connections.next()).await.unwrap().unwrap();
}
