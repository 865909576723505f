//! The server's certificate and whose client certificates it takes; read from files, replaced without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

/// Where the parts are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The roots of client certificates; with them, a client without a certificate is not let in.
    pub client_ca: Option<PathBuf>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or is not PEM.
    #[error("{}: cannot be read as PEM", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file without a certificate.
    #[error("{}: has no certificate", .0.display())]
    Empty(PathBuf),
    /// A root that is not one.
    #[error("{}: has a certificate that cannot be a root", path.display())]
    Root {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Roots that cannot be used.
    #[error("{}: client certificates cannot be verified with it", path.display())]
    Verifier {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
    /// A certificate and a key that do not belong together, or are of a kind that is not spoken.
    #[error("{}: cannot be served with the key {}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Speech {
    /// HTTP/2.
    Grpc,
    /// HTTP/2 or HTTP/1.1.
    Web,
}

/// What a TLS server needs: read, and checked to fit together.
#[derive(Clone)]
pub struct Tls {
    grpc: Arc<ServerConfig>,
    browsers: Arc<ServerConfig>,
    /// Whether a client without a certificate is turned away.
    pub(super) asks_clients: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let broken = |source| TlsError::File { path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(broken)?.collect::<Result<Vec<_>, _>>().map_err(broken)?;
    if found.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(found) }
}

impl Tls {
    /// What a connection is made with.
    pub(super) fn config(&self, speech: Speech) -> Arc<ServerConfig> {
        match speech {
            Speech::Grpc => self.grpc.clone(),
            Speech::Web => self.browsers.clone(),
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let TlsFiles { certificate, key, client_ca } = files;
        let provider = Arc::new(aws_lc_rs::default_provider());
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
        let asks_clients = client_ca.is_some();
        Ok(Self { grpc: Arc::new(config), browsers: Arc::new(for_browsers), asks_clients })
    }
}
