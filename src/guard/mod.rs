//! Authentication and authorization: callers, roles, accessible collections and credentials. Independent of network
//! and protobuf.
//!
//! | file | contents |
//! | --- | --- |
//! | `caller.rs` | callers: name, role, accessible collections |
//! | `key.rs` | API keys: shown once, stored as hashes, compared in constant time |
//! | `token.rs` | JSON web tokens, signed by a trusted key |
//! | `access.rs` | the access list; finds the caller of a request |
//! | `audit.rs` | the audit log |
//! | `live.rs` | a shared value with atomic replacement |

mod access;
mod audit;
mod caller;
mod key;
mod live;
mod token;

pub use access::{Access, CertificateGrant, KeyGrant, Refused};
pub use audit::{Audit, Entry};
pub use caller::{Caller, InvalidScope, Role, Scope};
pub use key::{InvalidHash, KeyHash, NewKey};
pub use live::Live;
pub use token::{InvalidTrust, SigningAlgorithm, Trust, TrustedKey};
