//! JSON web tokens: verification of signature, issuer, audience and expiry.
//!
//! Each trusted key has one algorithm, and tokens are verified with it regardless of the header. This prevents the
//! algorithm `none`, and a public key used as a shared secret.

use super::access::TokenVerifier;
use super::principal::{InvalidScope, Principal, Role, Scope};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

/// Maximum clock difference between the issuer and this machine, seconds.
const LEEWAY_SECONDS: u64 = 30;
/// Longest accepted subject, bytes, because it appears in logs.
const MAX_SUBJECT_BYTES: usize = 256;
/// Maximum collection patterns per token.
const MAX_PATTERNS: usize = 256;

/// Signature algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// RSA with SHA-256, keys of at least 2,048 bits.
    Rs256,
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl SigningAlgorithm {
    /// All algorithms.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// `RS256`, `ES256` or `EdDSA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Returns the algorithm with that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// The error for a PEM public key that does not match its algorithm.
#[derive(Debug, thiserror::Error)]
#[error("is not a public key for {algorithm} in PEM")]
pub struct InvalidPublicKey {
    /// The requested algorithm.
    pub algorithm: &'static str,
    /// The cause.
    source: jsonwebtoken::errors::Error,
}

/// A public key that tokens are verified with.
pub struct TrustedKey {
    /// The `kid` of its tokens; `None` accepts any `kid`.
    id: Option<String>,
    key: DecodingKey,
    algorithm: Algorithm,
}

impl TrustedKey {
    /// Parses a public key in PEM.
    ///
    /// # Errors
    /// [`InvalidPublicKey`].
    pub fn from_pem(id: Option<String>, algorithm: SigningAlgorithm, pem: &[u8]) -> Result<Self, InvalidPublicKey> {
        let (key, used) = match algorithm {
            SigningAlgorithm::Rs256 => (DecodingKey::from_rsa_pem(pem), Algorithm::RS256),
            SigningAlgorithm::Es256 => (DecodingKey::from_ec_pem(pem), Algorithm::ES256),
            SigningAlgorithm::EdDsa => (DecodingKey::from_ed_pem(pem), Algorithm::EdDSA),
        };
        let key = key.map_err(|source| InvalidPublicKey { algorithm: algorithm.name(), source })?;
        Ok(Self { id, key, algorithm: used })
    }
}

/// A trusted token issuer.
pub struct TrustedIssuer {
    /// The required `iss`.
    pub issuer: String,
    /// The required `aud` (or an element of its list).
    pub audience: String,
    /// The issuer's keys.
    pub keys: Vec<TrustedKey>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    nearness_role: String,
    nearness_collections: Vec<String>,
}

/// Whether the token header has the field `crit`, with any value, even `null`, which `decode_header` reads as
/// absent. An unreadable header counts as yes.
fn has_critical_extensions(token: &[u8]) -> bool {
    let header = token.split(|&byte| byte == b'.').next().unwrap_or_default();
    let fields = BASE64_URL_SAFE_NO_PAD.decode(header).ok().and_then(|json| serde_json::from_slice(&json).ok());
    fields.is_none_or(|fields: serde_json::Map<String, serde_json::Value>| fields.contains_key("crit"))
}

impl TokenVerifier for TrustedIssuer {
    fn verify(&self, token: &[u8]) -> Result<Principal, String> {
        let header = decode_header(token).map_err(|error| format!("invalid token header: {error}"))?;
        // RFC 7515, 4.1.11: a token with unknown critical extensions must be refused. No extension is known here.
        if has_critical_extensions(token) {
            return Err("the token header has crit, but no extension is supported".into());
        }
        let mut reason = "no trusted key has the token's kid and algorithm".to_owned();
        for trusted in &self.keys {
            let named = trusted.id.is_none() || trusted.id == header.kid;
            if !named || trusted.algorithm != header.alg {
                continue;
            }
            let mut validation = Validation::new(trusted.algorithm);
            validation.leeway = LEEWAY_SECONDS;
            validation.validate_nbf = true;
            validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            validation.set_issuer(&[&self.issuer]);
            validation.set_audience(&[&self.audience]);
            match decode::<Claims>(token, &trusted.key, &validation) {
                Ok(data) => return principal(data.claims),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }
}

fn principal(claims: Claims) -> Result<Principal, String> {
    if claims.sub.is_empty() || claims.sub.len() > MAX_SUBJECT_BYTES {
        return Err(format!("sub has {} bytes; allowed are 1 to {MAX_SUBJECT_BYTES}", claims.sub.len()));
    }
    let role = Role::from_name(&claims.nearness_role)
        .ok_or_else(|| format!("nearness_role is {:?}, not read, write or admin", claims.nearness_role))?;
    if claims.nearness_collections.len() > MAX_PATTERNS {
        return Err(format!("nearness_collections has more than {MAX_PATTERNS} patterns"));
    }
    let scope = Scope::new(&claims.nearness_collections)
        .map_err(|error: InvalidScope| format!("nearness_collections: {error}"))?;
    Ok(Principal { name: claims.sub, role, scope })
}
