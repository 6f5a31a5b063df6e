//! Encrypted connections to a server on this machine.

use std::{io, net::SocketAddr, sync::Arc};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tonic::transport::{self, Channel, Endpoint};

/// One on which nothing was said yet.
pub async fn dial(address: SocketAddr, client: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    shake(Arc::new(client), TcpStream::connect(address).await?).await
}

/// The handshake of a client that has connected.
pub async fn shake(client: Arc<ClientConfig>, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    // As tonic's own connections: otherwise small messages wait for one another.
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").expect("it is a name");
    TlsConnector::from(client).connect(name, tcp).await
}

/// One that calls are made on.
pub async fn connect(address: SocketAddr, client: ClientConfig) -> Result<Channel, transport::Error> {
    let client = Arc::new(client);
    let connector = tower::service_fn(move |_| {
        let client = Arc::clone(&client);
        async move {
            let stream = shake(client, TcpStream::connect(address).await?).await?;
            io::Result::Ok(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("it is an address");
    endpoint.connect_with_connector(connector).await
}
