//! Explanations of failed connections for users of the client: cause and remedy.

use std::error::Error as StdError;
use std::io;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as TlsError};

/// Response of a nearness server to plain text on a TLS port.
pub(crate) const TLS_REQUIRED: &str = "this port requires TLS: use https://";
/// Response of a nearness server to TLS on a plain-text port.
pub(crate) const NO_TLS: &str = "this port does not use TLS: use http://";

pub(crate) const PLAIN_TEXT_TO_TLS: &str = "the server requires TLS: use https://";
const TLS_TO_PLAIN_TEXT: &str = "the server does not use TLS: use http://";
const ANOTHER_NAME: &str = "the certificate is not valid for this host name: use a name in it, or create one whose \
    subjectAltName includes this name";
const UNKNOWN_ROOT: &str = "the certificate has no trusted root: pass its root, or a self-signed certificate itself, \
    with --ca FILE (or NEARNESS_CA)";
const AN_AUTHORITY: &str = "the server uses the certificate of an authority (CA:TRUE): create one for the server with \
    CA:FALSE, see docs/SECURITY.md";
const CLIENT_CERTIFICATE: &str =
    "the server requires a client certificate: --certificate FILE and --certificate-key FILE";
const REFUSED_CERTIFICATE: &str = "the server rejected the certificate of this client: pass with --certificate one \
    that has not expired, of an authority that the server trusts for clients";
const OTHER_CERTIFICATE: &str = "cannot verify the certificate of the server";
const OTHER_ALERT: &str = "the server rejected the TLS handshake";

/// Returns the TLS problem behind an error; none if the error has another cause.
pub(crate) fn explain_tls(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref::<TlsError>());
        match tls {
            Some(TlsError::InvalidCertificate(error)) => return Some(explain_certificate(error)),
            Some(TlsError::AlertReceived(alert)) => return Some(explain_alert(*alert)),
            Some(TlsError::InvalidMessage(_) | TlsError::InappropriateMessage { .. }) => {
                return Some(TLS_TO_PLAIN_TEXT);
            }
            _ => {}
        }
        // Errors that pass through HTTP/2 keep only their text.
        let text = error.to_string();
        if text.contains("received fatal alert: CertificateRequired") {
            return Some(CLIENT_CERTIFICATE);
        }
        if text.contains("tls handshake eof") {
            return Some(TLS_TO_PLAIN_TEXT);
        }
        // An HTTP/2 client parses a TLS alert as a frame with an impossible length.
        if text.contains(TLS_REQUIRED) || text.contains("frame with invalid size") {
            return Some(PLAIN_TEXT_TO_TLS);
        }
        cause = error.source();
    }
    None
}

/// Whether the peer ended the TLS handshake with an alert.
pub(crate) fn is_alert(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(tls, Some(TlsError::AlertReceived(_)))
}

fn explain_certificate(error: &CertificateError) -> &'static str {
    match error {
        // The signature does not match if another root has the issuer's name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => UNKNOWN_ROOT,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => ANOTHER_NAME,
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => AN_AUTHORITY,
        _ => OTHER_CERTIFICATE,
    }
}

fn explain_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => CLIENT_CERTIFICATE,
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => REFUSED_CERTIFICATE,
        _ => OTHER_ALERT,
    }
}
