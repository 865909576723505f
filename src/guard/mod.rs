//! Who may do what: callers, their roles and collections, and how they prove who they are. No network, no protobuf.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `caller.rs` | a caller: its name, its role, the collections it may touch |
//! | `key.rs` | API keys: made once, kept as hashes, compared in constant time |
//! | `token.rs` | JSON web tokens, signed by a key that the server trusts |
//! | `access.rs` | the list of all who may come in; finds the caller of a request |
//! | `audit.rs` | the log of who did what |
//! | `live.rs` | a value that is replaced while it is used |

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
