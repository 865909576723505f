//! Probe of a port's response to a TLS handshake, after a call failed without an error that names TLS.
//!
//! A server that rejects a client sends an alert and closes. If the client has sent data meanwhile, the system may
//! report a broken connection instead of the alert. The probe sends nothing after its handshake, so that the alert
//! always arrives.

use super::hints;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// Timeout for a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The address and the connection options of the client.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether the client uses TLS.
    pub(crate) secure: bool,
    /// Client certificate and private key, PEM.
    pub(crate) identity: Option<Identity>,
}

/// Certificate and private key, PEM.
pub(crate) struct Identity(pub(crate) Vec<u8>, pub(crate) Vec<u8>);

/// Omits the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl Target {
    /// Returns the TLS problem of the connection and its remedy; none if no problem is visible.
    pub(crate) async fn probe(&self) -> Option<&'static str> {
        tokio::time::timeout(PROBE_TIMEOUT, self.handshake()).await.ok().flatten()
    }

    async fn handshake(&self) -> Option<&'static str> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).ok()?;
        let connector = TlsConnector::from(Arc::new(self.config()?));
        let socket = TcpStream::connect((host, self.port)).await.ok()?;
        match connector.connect(name, socket).await {
            Ok(_) if !self.secure => Some(hints::PLAIN_TEXT_TO_TLS),
            Ok(mut stream) => {
                // With TLS 1.3 the server verifies the client certificate after the client has finished its handshake.
                let mut buffer = [0; 64];
                let mut buffer = ReadBuf::new(&mut buffer);
                let read =
                    std::future::poll_fn(|context| std::pin::Pin::new(&mut stream).poll_read(context, &mut buffer));
                hints::explain_tls(&read.await.err()?)
            }
            Err(error) if self.secure => hints::explain_tls(&error),
            // A plain-text server does not send an alert.
            Err(error) => hints::is_alert(&error).then_some(hints::PLAIN_TEXT_TO_TLS),
        }
    }

    fn config(&self) -> Option<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(AnyCertificate::new(&provider));
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match &self.identity {
            Some(Identity(certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().ok()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key).ok()?).ok()?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Some(config)
    }
}

/// Accepts any server certificate: the probe sends no data and uses only how the handshake ends.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
