//! The gRPC services.
pub mod pb;
