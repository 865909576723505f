//! Explanations of failed connections for users of the client: cause and remedy.

use std::error::Error as StdError;
use std::io;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as TlsError};

/// Response of a nearness server to plain text on a TLS port.
pub(crate) const WANTS_TLS: &str = "this port speaks TLS: use https://";
/// Response of a nearness server to TLS on a plain-text port.
pub(crate) const NO_TLS: &str = "this port speaks plain text, not TLS: use http://";

pub(crate) const PLAIN_TEXT_TO_TLS: &str = "the server speaks TLS: use https://";
const TLS_TO_PLAIN_TEXT: &str = "the server does not speak TLS: use http://";
const ANOTHER_NAME: &str =
    "the certificate is not for this name: use a name that it has, or make one whose subjectAltName has this";
const UNKNOWN_ROOT: &str = "no root trusts the certificate: name its root, or a self-signed certificate itself, with --ca FILE (or \
                            NEARNESS_CA)";
const AN_AUTHORITY: &str = "the server shows the certificate of an authority (CA:TRUE): make one for the server with CA:FALSE, as \
                            docs/SECURITY.md shows";
const CLIENT_CERTIFICATE: &str =
    "the server asks for a client certificate: --certificate FILE and --certificate-key FILE";
const REFUSED_CERTIFICATE: &str = "the server refused the certificate of this client: --certificate takes one of an authority \
                                   that the server trusts for clients, and that has not expired";
const OTHER_CERTIFICATE: &str = "the certificate of the server cannot be verified";
const OTHER_ALERT: &str = "the server refused the TLS handshake";

/// Returns the TLS problem behind an error; none if the error has another cause.
pub(crate) fn explain_tls(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref::<TlsError>());
        match tls {
            Some(TlsError::InvalidCertificate(why)) => return Some(explain_certificate(why)),
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
        if text.contains(WANTS_TLS) || text.contains("frame with invalid size") {
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

fn explain_certificate(why: &CertificateError) -> &'static str {
    match why {
        // The signature is wrong if another root has the name of the issuer.
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
