//! Connections of clients.
//!
//! | file | contents |
//! | --- | --- |
//! | `connection.rs` `tls.rs` | connections with and without TLS |
//! | `open_connections.rs` | which connection closes for a new one |
//! | `hints.rs` `probe.rs` | explanations of failed connections |

pub(super) mod connection;
pub(super) mod hints;
pub(super) mod open_connections;
pub(super) mod probe;
pub mod tls;
