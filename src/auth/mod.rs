//! Authentication and authorization: callers, roles, accessible collections and credentials. Independent of network
//! and protobuf.
//!
//! | file | contents |
//! | --- | --- |
//! | `principal.rs` | callers: name, role, accessible collections |
//! | `api_key.rs` | API keys: shown once, stored as hashes, compared in constant time |
//! | `jwt.rs` | JSON web tokens, signed by a trusted key; with the feature `jwt` |
//! | `access.rs` | the access list; finds the caller of a request |
//! | `audit_log.rs` | the audit log |
//! | `reloadable.rs` | a shared value with atomic replacement |

mod access;
mod api_key;
mod audit_log;
#[cfg(feature = "jwt")]
mod jwt;
mod principal;
mod reloadable;

pub use access::{Access, AuthError, CertificateGrant, KeyGrant, TokenVerifier};
pub use api_key::{InvalidHash, KeyHash, NewKey};
pub use audit_log::{AuditEntry, AuditLog};
#[cfg(feature = "jwt")]
pub use jwt::{InvalidPublicKey, SigningAlgorithm, TrustedIssuer, TrustedKey};
pub use principal::{InvalidScope, Principal, Role, Scope};
pub use reloadable::Reloadable;
