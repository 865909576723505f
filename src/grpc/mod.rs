//! The gRPC layer: package `nearness.v1`, health and reflection, and a client for the command line.
//!
//! A handler has three steps: convert the request (which checks every limit), call the
//! [`Engine`](crate::engine::Engine) off the async threads, convert the response. Protobuf types do not leave this
//! folder inwards, nor tonic types outwards.
//!
//! | file | contents |
//! | --- | --- |
//! | `pb.rs` | generated messages, clients and servers, and their descriptors |
//! | `method_table.rs` | all methods and their required roles |
//! | `limits.rs` | limits of requests |
//! | `status.rs` | errors to status codes with `google.rpc` details; the only file that names `tonic::Code` |
//! | `transport/` | connections with and without TLS, and explanations of failed ones |
//! | `middleware/` | authentication, limits, deadlines, accounting and logging of requests |
//! | `convert/` | requests to types of the engine, and back |
//! | `services/` | the services |
//! | `authorized_engine.rs` | the engine restricted to the access rights of one caller |
//! | `executor.rs` | engine calls on blocking threads with limited concurrency |
//! | `page_token.rs` | the opaque token of a scroll |
//! | `metrics.rs` `metrics_endpoint.rs` | metrics; the port for Prometheus |
//! | `web_ui.rs` | the port for browsers: static files, and gRPC-web for same-origin pages |
//! | `generation_state.rs` | messages of the calls that change the generation of a collection |
//! | `server.rs` | bind, serve, drain |
//! | `client.rs` | the client, with readable errors |

mod authorized_engine;
pub mod client;
mod convert;
mod executor;
#[cfg(fuzzing)]
pub mod fuzzing;
mod generation_state;
pub mod limits;
mod method_table;
mod metrics;
mod metrics_endpoint;
mod middleware;
mod page_token;
pub mod pb;
pub mod server;
mod services;
mod status;
mod transport;
mod web_ui;

pub use client::{Client, ClientError, ClientOptions, ResponseStream, Written};
pub(crate) use convert::fusion::field_message;
pub use convert::payload;
pub(crate) use convert::to_proto::{listed as listed_message, snapshot as snapshot_message};
pub(crate) use convert::vectors::message as field_vector_message;
pub use generation_state::GenerationState;
pub use server::{Server, ServerOptions, WebOptions};
pub use transport::tls::{self, Tls, TlsFiles};
