//! The server's certificate, and whose certificates it asks for; read again when the files change.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::{VerifierBuilderError, WebPkiClientVerifier},
    },
};

use crate::config::TlsConfig;

#[cfg(test)]
mod tests;

/// What is spoken inside: gRPC is HTTP/2.
const PROTOCOL: &[u8] = b"h2";

/// Why connections cannot be encrypted as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// There is nothing in a file of what should be.
    #[error("{} has no {what} in PEM", .file.display())]
    Nothing {
        /// The file.
        file: PathBuf,
        /// What should be there.
        what: &'static str,
    },
    /// There is nobody to ask for a password.
    #[error("the private key in {} is encrypted, and cannot be used", .0.display())]
    Encrypted(PathBuf),
    /// The certificate and the key do not go together, or one of them cannot be used.
    #[error("the certificate in {} and the key in {} cannot be used together", .cert.display(), .key.display())]
    Pair {
        /// The file of the certificate, which is the first in it.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The clients' certificates cannot be checked.
    #[error("{} cannot be used", .0.display())]
    Clients(PathBuf, #[source] VerifierBuilderError),
}

/// The files, as they were last read. Nothing shows what is in them: one is secret.
#[derive(PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// How connections are encrypted.
pub(super) struct Tls {
    config: TlsConfig,
    current: RwLock<(Files, Arc<ServerConfig>)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(config: &TlsConfig) -> Result<Self, TlsError> {
        let files = Files::read(config)?;
        let server = Arc::new(files.server(config)?);
        Ok(Self { config: config.clone(), current: RwLock::new((files, server)) })
    }

    /// Reads the files again. Whether they have changed; where they cannot be used, those before stay.
    pub(super) fn refresh(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.config)?;
        if files == self.current.read().unwrap_or_else(PoisonError::into_inner).0 {
            return Ok(false);
        }
        let server = Arc::new(files.server(&self.config)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (files, server);
        Ok(true)
    }

    /// For one connection: the next may find another certificate.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).1).into()
    }
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let read = |path: &Path| fs::read(path).map_err(|error| TlsError::Read(path.to_owned(), error));
        let client_ca = Some(&config.client_ca_file).filter(|path| !path.as_os_str().is_empty());
        Ok(Self {
            cert: read(&config.cert_file)?,
            key: read(&config.key_file)?,
            client_ca: client_ca.map(|path| read(path)).transpose()?,
        })
    }

    fn server(&self, config: &TlsConfig) -> Result<ServerConfig, TlsError> {
        let pair =
            |source| TlsError::Pair { cert: config.cert_file.clone(), key: config.key_file.clone(), source };
        let certs = certificates(&config.cert_file, &self.cert)?;
        let key = private_key(&config.key_file, &self.key)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(pair)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(client_ca) => {
                let file = &config.client_ca_file;
                let mut roots = RootCertStore::empty();
                let (added, _) = roots.add_parsable_certificates(certificates(file, client_ca)?);
                if added == 0 {
                    return Err(TlsError::Nothing {
                        file: file.clone(),
                        what: "certificate that can be used",
                    });
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| TlsError::Clients(file.clone(), error))?,
                )
            }
        };
        let mut server = builder.with_single_cert(certs, key).map_err(pair)?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(server)
    }
}

fn certificates(file: &Path, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    let nothing = || TlsError::Nothing { file: file.to_owned(), what: "certificate" };
    certificates.ok().filter(|certificates| !certificates.is_empty()).ok_or_else(nothing)
}

fn private_key(file: &Path, content: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    // How both forms of an encrypted key say so: PKCS #8 in its label, the older one in a header.
    const ENCRYPTED: &[u8] = b"ENCRYPTED";

    PrivateKeyDer::from_pem_slice(content).map_err(|_| {
        if content.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
            TlsError::Encrypted(file.to_owned())
        } else {
            TlsError::Nothing { file: file.to_owned(), what: "private key" }
        }
    })
}
