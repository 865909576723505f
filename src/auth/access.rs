//! Access list: maps the credentials of a request to a caller. In open mode, which is for loopback,
//! everything is allowed.

use super::api_key::{self, KeyHash};
use super::principal::{Principal, Role, Scope};
use std::sync::Arc;
use subtle::{Choice, ConditionallySelectable};

/// Longest credential that is checked, bytes.
const MAX_CREDENTIAL_BYTES: usize = 8 << 10;

/// Permissions of the holder of an API key.
pub struct KeyGrant {
    /// Hash of the key.
    pub hash: KeyHash,
    /// The caller it identifies.
    pub principal: Principal,
}

/// Permissions of the holder of a client certificate.
pub struct CertificateGrant {
    /// A DNS name among the certificate's subject alternative names.
    pub dns_name: String,
    /// The caller it identifies.
    pub principal: Principal,
}

/// The error for a request that could not be authenticated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthError(
    /// The reason, for the log only; never sent to the client.
    pub String,
);

/// Verifies the tokens of an issuer.
pub trait TokenVerifier: Send + Sync {
    /// Returns the caller that a token identifies. The error is for the log only, not for the client.
    ///
    /// # Errors
    /// The reason for the refusal.
    fn verify(&self, token: &[u8]) -> Result<Principal, String>;
}

/// The known callers and their credentials.
#[derive(Default)]
pub struct Access {
    open: bool,
    keys: Vec<(KeyHash, Arc<Principal>)>,
    certificates: Vec<(String, Arc<Principal>)>,
    tokens: Option<Box<dyn TokenVerifier>>,
}

impl Access {
    /// Allows everything to everyone.
    pub fn open() -> Self {
        Self { open: true, ..Self::default() }
    }

    /// Allows only these callers.
    pub fn restricted(
        keys: Vec<KeyGrant>,
        certificates: Vec<CertificateGrant>,
        tokens: Option<Box<dyn TokenVerifier>>,
    ) -> Self {
        Self {
            open: false,
            keys: keys.into_iter().map(|grant| (grant.hash, Arc::new(grant.principal))).collect(),
            certificates: certificates
                .into_iter()
                .map(|grant| (grant.dns_name.to_ascii_lowercase(), Arc::new(grant.principal)))
                .collect(),
            tokens,
        }
    }

    /// Whether everything is allowed to everyone.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Returns the caller of a request: from the `authorization` header if present, otherwise from the names in the
    /// client certificate, which the connection has verified.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn authenticate(&self, authorization: Option<&[u8]>, names: &[String]) -> Result<Arc<Principal>, AuthError> {
        if self.open {
            let name = names.first().map_or("anyone", String::as_str).to_owned();
            return Ok(Arc::new(Principal { name, role: Role::Admin, scope: Scope::all() }));
        }
        let Some(header) = authorization else {
            let known = |name: &String| {
                let name = name.to_ascii_lowercase();
                self.certificates.iter().find(|(dns_name, _)| *dns_name == name)
            };
            let found = names.iter().find_map(known).map(|(_, principal)| principal.clone());
            return found.ok_or_else(|| AuthError("no credential and no known certificate".into()));
        };
        let credential = bearer(header)
            .ok_or_else(|| AuthError("the authorization header is not Bearer with a credential".into()))?;
        if api_key::is_api_key(credential) {
            return self.find_key(credential).ok_or_else(|| AuthError("unknown API key".into()));
        }
        let tokens =
            self.tokens.as_ref().ok_or_else(|| AuthError("not an API key, and tokens are not configured".into()))?;
        tokens.verify(credential).map(Arc::new).map_err(AuthError)
    }

    /// Compares with every key, even after a match, so that the time does not depend on the position.
    fn find_key(&self, credential: &[u8]) -> Option<Arc<Principal>> {
        let hash = KeyHash::of(credential);
        let (mut found, mut index) = (Choice::from(0), 0_u64);
        for (at, (known, _)) in (0_u64..).zip(&self.keys) {
            let equals = hash.equals(known);
            index.conditional_assign(&at, equals);
            found |= equals;
        }
        bool::from(found).then(|| self.keys.get(index as usize).map(|(_, principal)| principal.clone())).flatten()
    }
}

/// Returns the credential of `Bearer <credential>`.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, credential) = header.split_at_checked(SCHEME.len())?;
    let valid = scheme.eq_ignore_ascii_case(SCHEME) && (1..=MAX_CREDENTIAL_BYTES).contains(&credential.len());
    valid.then_some(credential)
}

#[cfg(test)]
mod tests {
    use super::super::api_key::NewKey;
    use super::*;

    fn principal(name: &str) -> Principal {
        Principal { name: name.into(), role: Role::Read, scope: Scope::all() }
    }

    #[test]
    fn each_key_authenticates_only_its_holder() {
        let keys: Vec<NewKey> = (0..3).map(|_| NewKey::generate().unwrap()).collect();
        let grants = keys.iter().zip(["a", "b", "c"]);
        let grants =
            grants.map(|(key, name)| KeyGrant { hash: key.hash.clone(), principal: principal(name) }).collect();
        let certificate = CertificateGrant { dns_name: "Node.example".into(), principal: principal("node") };
        let access = Access::restricted(grants, vec![certificate], None);
        let authenticate =
            |header: &str| access.authenticate(Some(header.as_bytes()), &[]).map(|principal| principal.name.clone());
        for (key, name) in keys.iter().zip(["a", "b", "c"]) {
            assert_eq!(authenticate(&format!("Bearer {}", key.secret)), Ok(name.to_owned()));
            assert_eq!(authenticate(&format!("bearer {}", key.secret)), Ok(name.to_owned()));
            for invalid in [
                key.secret.clone(),
                format!("Basic {}", key.secret),
                format!("Bearer  {}", key.secret),
                format!("Bearer {}0", key.secret),
                format!("Bearer {}", &key.secret[..67]),
                format!("Bearer {}", key.hash),
                format!("Bearer nrn_{}", key.hash),
                "Bearer ".into(),
                String::new(),
                format!("Bearer {}", "x".repeat(9_000)),
            ] {
                assert!(authenticate(&invalid).is_err(), "{invalid}");
            }
        }
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(access.authenticate(None, &names(&["x", "node.example"])).unwrap().name, "node");
        assert!(
            access.authenticate(None, &names(&["node.example.org"])).is_err()
                && access.authenticate(None, &[]).is_err()
        );
        // A valid certificate does not compensate for an invalid credential.
        assert!(access.authenticate(Some(b"Bearer nrn_x"), &names(&["node.example"])).is_err());
        assert_eq!(Access::open().authenticate(None, &[]).unwrap().role, Role::Admin);
        assert!(Access::default().authenticate(None, &[]).is_err());
    }
}
