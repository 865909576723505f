//! JSON web tokens: signed by a key that the server trusts, for this server, and not expired.
//!
//! Each trusted key has one algorithm, and a token is checked with that one, whatever its header says: `none`, or a
//! public key taken for a shared secret, cannot come up.

use super::caller::{Caller, InvalidScope, Role, Scope};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

/// How far the clocks of the issuer and of this machine may be apart, seconds.
const LEEWAY_SECONDS: u64 = 30;
/// Longest subject that is taken, bytes: it goes into logs.
const MAX_SUBJECT_BYTES: usize = 256;
/// Most patterns of collections in one token.
const MAX_PATTERNS: usize = 256;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// RSA with SHA-256, keys of 2,048 bits and more.
    Rs256,
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl SigningAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// `RS256`, `ES256` or `EdDSA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// A public key in PEM that does not fit its algorithm.
#[derive(Debug, thiserror::Error)]
#[error("is not a public key for {algorithm} in PEM")]
pub struct InvalidTrust {
    /// As asked.
    pub algorithm: &'static str,
    /// Why.
    source: jsonwebtoken::errors::Error,
}

/// A public key whose signatures are believed.
pub struct TrustedKey {
    /// The `kid` that tokens name; none tries the key on tokens of any `kid`.
    id: Option<String>,
    key: DecodingKey,
    algorithm: Algorithm,
}

impl TrustedKey {
    /// From the PEM of a public key.
    ///
    /// # Errors
    /// [`InvalidTrust`].
    pub fn from_pem(id: Option<String>, algorithm: SigningAlgorithm, pem: &[u8]) -> Result<Self, InvalidTrust> {
        let (key, used) = match algorithm {
            SigningAlgorithm::Rs256 => (DecodingKey::from_rsa_pem(pem), Algorithm::RS256),
            SigningAlgorithm::Es256 => (DecodingKey::from_ec_pem(pem), Algorithm::ES256),
            SigningAlgorithm::EdDsa => (DecodingKey::from_ed_pem(pem), Algorithm::EdDSA),
        };
        let key = key.map_err(|source| InvalidTrust { algorithm: algorithm.name(), source })?;
        Ok(Self { id, key, algorithm: used })
    }
}

/// Whose tokens are taken.
pub struct Trust {
    /// The `iss` that a token must have.
    pub issuer: String,
    /// The `aud` that a token must have (or hold in its list).
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

/// Whether the header of a token has the field `crit`, whatever is in it: `null` too, which `decode_header` takes for none.
fn has_extensions(token: &[u8]) -> bool {
    let header = token.split(|&byte| byte == b'.').next().unwrap_or_default();
    let fields = BASE64_URL_SAFE_NO_PAD.decode(header).ok().and_then(|json| serde_json::from_slice(&json).ok());
    fields.is_none_or(|fields: serde_json::Map<String, serde_json::Value>| fields.contains_key("crit"))
}

impl Trust {
    /// The caller that a token speaks for. Why a token is refused is for the log, not for the caller.
    pub(super) fn caller(&self, token: &[u8]) -> Result<Caller, String> {
        let header = decode_header(token).map_err(|error| format!("the header of the token: {error}"))?;
        // RFC 7515, 4.1.11: a token is refused when it has extensions that are not understood, and none are understood here.
        if has_extensions(token) {
            return Err("the header of the token has crit, and no extension is known here".into());
        }
        let mut why = "no trusted key has the token's kid and algorithm".to_owned();
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
                Ok(data) => return caller(data.claims),
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }
}

fn caller(claims: Claims) -> Result<Caller, String> {
    if claims.sub.is_empty() || claims.sub.len() > MAX_SUBJECT_BYTES {
        return Err(format!("sub has {} bytes, 1 to {MAX_SUBJECT_BYTES} are taken", claims.sub.len()));
    }
    let role = Role::from_name(&claims.nearness_role)
        .ok_or_else(|| format!("nearness_role is {:?}, not read, write or admin", claims.nearness_role))?;
    if claims.nearness_collections.len() > MAX_PATTERNS {
        return Err(format!("nearness_collections has more than {MAX_PATTERNS} patterns"));
    }
    let scope = Scope::new(&claims.nearness_collections)
        .map_err(|error: InvalidScope| format!("nearness_collections: {error}"))?;
    Ok(Caller { name: claims.sub, role, scope })
}
