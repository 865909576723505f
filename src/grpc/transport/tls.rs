//! TLS of the server: its certificate and the roots of client certificates, read from files and reloaded without a
//! restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

/// Paths of the PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by the chain to its root.
    pub certificate: PathBuf,
    /// Private key of the certificate.
    pub key: PathBuf,
    /// Roots of client certificates. If set, clients without a certificate are refused.
    pub client_ca: Option<PathBuf>,
}

/// Error of reading the TLS files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{}: cannot be read as PEM", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: pem::Error,
    },
    /// A file contains no certificate.
    #[error("{}: has no certificate", .0.display())]
    Empty(PathBuf),
    /// A certificate cannot be used as a root.
    #[error("{}: contains a certificate that cannot be a root", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: rustls::Error,
    },
    /// The roots cannot be used to verify client certificates.
    #[error("{}: cannot be used to verify client certificates", path.display())]
    Verifier {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: VerifierBuilderError,
    },
    /// The certificate and the key do not match, or are of an unsupported type.
    #[error("{}: cannot be served with the key {}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Cause.
        source: rustls::Error,
    },
}

/// Protocol of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    /// HTTP/2.
    Grpc,
    /// HTTP/2 or HTTP/1.1.
    Web,
}

/// Parsed and validated TLS configuration.
#[derive(Clone)]
pub struct Tls {
    grpc: Arc<ServerConfig>,
    browsers: Arc<ServerConfig>,
    /// Whether clients without a certificate are refused.
    pub(crate) requires_client_certificate: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::File { path: path.to_owned(), source };
    let found =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if found.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(found) }
}

impl Tls {
    /// Returns the configuration for connections of a protocol.
    pub(crate) fn config(&self, protocol: Protocol) -> Arc<ServerConfig> {
        match protocol {
            Protocol::Grpc => self.grpc.clone(),
            Protocol::Web => self.browsers.clone(),
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let TlsFiles { certificate, key, client_ca } = files;
        let provider = Arc::new(ring::default_provider());
        let pair = |source| TlsError::Pair { certificate: certificate.clone(), key: key.clone(), source };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(pair)?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(path)? {
                    roots.add(root).map_err(|source| TlsError::Root { path: path.clone(), source })?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|source| TlsError::Verifier { path: path.clone(), source })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let secret =
            PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File { path: key.clone(), source })?;
        let mut config = builder.with_single_cert(certificates(certificate)?, secret).map_err(pair)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut for_browsers = config.clone();
        for_browsers.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let requires_client_certificate = client_ca.is_some();
        Ok(Self { grpc: Arc::new(config), browsers: Arc::new(for_browsers), requires_client_certificate })
    }
}
