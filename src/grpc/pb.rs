//! The generated messages, clients and servers of `proto/nearness/v1`.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]

tonic::include_proto!("nearness.v1");

/// Descriptors of all proto files, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/nearness_v1.bin"));
