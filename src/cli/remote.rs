//! What the binary asks of a server that runs elsewhere.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use sha2::{Digest as _, Sha256};
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{self, Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::proto::{
    API_DESCRIPTORS,
    v1::{BackupRequest, BackupSummary, GetServerStatusRequest, admin_service_client::AdminServiceClient},
};

/// Which server, and who asks.
#[derive(Debug, Args)]
pub struct ServerArguments {
    /// Where the server listens; `https` where it encrypts.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7070")]
    server: String,
    /// Certificates, as PEM: for `https`, one of them must vouch for the server's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A file with the bearer token to show; none is needed in development mode.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Why the server was asked in vain. The texts are for an operator.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address is none.
    #[error("{server} is not a URL such as http://127.0.0.1:7070")]
    Url {
        /// What was given.
        server: String,
    },
    /// Nobody answers.
    #[error("cannot reach {server}")]
    Connect {
        /// Where.
        server: String,
        /// Why not.
        source: transport::Error,
    },
    /// The token is not one that can be sent.
    #[error("{} does not hold one bearer token", file.display())]
    Token {
        /// The file.
        file: PathBuf,
    },
    /// The server refused, or broke off.
    #[error("the server answered {:?}: {}", .0.code(), .0.message())]
    Refused(#[from] Box<Status>),
    /// What came is not what the server sent.
    #[error("the backup is not what the server sent: it has {found}, and should have {expected}")]
    Garbled {
        /// The size and the checksum of what came.
        found: String,
        /// The same of what was sent.
        expected: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Shows the token.
#[derive(Clone)]
struct Bearer(Option<AsciiMetadataValue>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

type Admin = AdminServiceClient<InterceptedService<Channel, Bearer>>;

impl ServerArguments {
    async fn connect(&self) -> Result<Admin, RemoteError> {
        let url = || RemoteError::Url { server: self.server.clone() };
        let mut endpoint = Endpoint::from_shared(self.server.clone()).map_err(|_| url())?;
        if let Some(file) = &self.ca_file {
            let pem = fs::read(file).map_err(io_error("read", file))?;
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            let connect = |source| RemoteError::Connect { server: self.server.clone(), source };
            endpoint = endpoint.tls_config(tls).map_err(connect)?;
        }
        let bearer = self.token_file.as_deref().map(read_token).transpose()?;
        let connected = endpoint.connect().await;
        let channel =
            connected.map_err(|source| RemoteError::Connect { server: self.server.clone(), source })?;
        Ok(AdminServiceClient::with_interceptor(channel, Bearer(bearer)))
    }
}

fn read_token(file: &Path) -> Result<AsciiMetadataValue, RemoteError> {
    let text = fs::read_to_string(file).map_err(io_error("read", file))?;
    format!("Bearer {}", text.trim()).parse().map_err(|_| RemoteError::Token { file: file.to_owned() })
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RemoteError {
    let path = path.to_owned();
    move |source| RemoteError::Io { action, path, source }
}

/// Asks the server how it is. The answer as JSON.
///
/// # Errors
/// See [`RemoteError`].
pub async fn status(server: &ServerArguments) -> Result<String, RemoteError> {
    let mut admin = server.connect().await?;
    let answer = admin.get_server_status(GetServerStatusRequest {}).await.map_err(Box::new)?;
    Ok(json("holdpoint.v1.GetServerStatusResponse", &answer.into_inner()))
}

/// A message in the JSON form of Protobuf, with all its members.
///
/// # Panics
/// When it is not of that name in the API.
fn json(name: &str, message: &impl Message) -> String {
    let pool = DescriptorPool::decode(API_DESCRIPTORS).expect("the build made the descriptors");
    let descriptor = pool.get_message_by_name(name).expect("it is in the API");
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice());
    let message = message.expect("a message decodes as what it is");
    let mut text = serde_json::Serializer::pretty(Vec::new());
    let options = SerializeOptions::new().skip_default_fields(false);
    message.serialize_with_options(&mut text, &options).expect("the message is JSON");
    String::from_utf8(text.into_inner()).expect("JSON is text")
}

/// Writes a backup of the server's store to a file, which is there only once it is whole and on the disk.
///
/// # Errors
/// See [`RemoteError`].
pub async fn backup(server: &ServerArguments, path: &Path) -> Result<BackupSummary, RemoteError> {
    let mut admin = server.connect().await?;
    let mut stream = admin.backup(BackupRequest {}).await.map_err(Box::new)?.into_inner();
    let mut partial = Partial::create(path)?;
    let (mut sum, mut bytes) = (Sha256::new(), 0_u64);
    let summary = loop {
        let Some(message) = stream.message().await.map_err(Box::new)? else {
            return Err(Box::new(Status::data_loss("the backup ended before its end")).into());
        };
        sum.update(&message.data);
        bytes += message.data.len() as u64;
        partial.write(&message.data)?;
        if let Some(summary) = message.summary {
            break summary;
        }
    };
    let found = format!("{bytes} bytes and SHA-256 {:x}", Bytes::copy_from_slice(&sum.finalize()));
    let expected = format!("{} bytes and SHA-256 {}", summary.bytes, summary.sha256);
    if found != expected {
        return Err(RemoteError::Garbled { found, expected });
    }
    partial.finish()?;
    Ok(summary)
}

/// A file that is being written beside the place where it is to be. Dropping it removes it.
struct Partial<'a> {
    path: &'a Path,
    beside: PathBuf,
    file: File,
}

impl<'a> Partial<'a> {
    fn create(path: &'a Path) -> Result<Self, RemoteError> {
        if path.exists() {
            let there = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(io_error("write", path)(there));
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".partial");
        let beside = PathBuf::from(beside);
        let file = File::create(&beside).map_err(io_error("create", &beside))?;
        Ok(Self { path, beside, file })
    }

    fn write(&mut self, data: &[u8]) -> Result<(), RemoteError> {
        self.file.write_all(data).map_err(io_error("write", &self.beside))
    }

    fn finish(self) -> Result<(), RemoteError> {
        self.file.sync_all().map_err(io_error("sync", &self.beside))?;
        fs::rename(&self.beside, self.path).map_err(io_error("rename", &self.beside))?;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_error("sync", directory))
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        // Renamed already, or to be forgotten.
        let _ = fs::remove_file(&self.beside);
    }
}
