//! The gRPC layer: package `nearness.v1`, health and reflection, and a client for the command line.
//!
//! A handler has three steps: convert the request (which checks every limit), call the
//! [`Engine`](crate::collection::Engine) off the async threads, convert the response. Protobuf types do not leave this
//! folder inwards, nor tonic types outwards.
//!
//! | file | contents |
//! | --- | --- |
//! | `pb.rs` | generated messages, clients and servers, and their descriptors |
//! | `limits.rs` | limits of requests |
//! | `from_proto.rs` | conversion and validation of requests; errors name the path of the invalid field |
//! | `to_proto.rs` | conversion of responses |
//! | `filter.rs` | conversion of filters |
//! | `payload.rs` | conversion between JSON objects and `google.protobuf.Struct` |
//! | `page_token.rs` | the opaque token of a scroll |
//! | `status.rs` | errors to status codes with `google.rpc` details; the only file that names `tonic::Code` |
//! | `connection.rs` `tls.rs` | connections with and without TLS |
//! | `calls.rs` | all methods and their required roles |
//! | `gate.rs` | request middleware: authentication, limits, deadlines, correction of transport status codes |
//! | `places.rs` `memory.rs` `queue.rs` | concurrency limit, memory limit, fair queueing |
//! | `meter.rs` | the size of a response in construction |
//! | `reply.rs` | response bodies, sent in small pieces; aborts responses that are not read |
//! | `context.rs` `tally.rs` | per-request context; request log |
//! | `metrics.rs` `scrape.rs` | metrics; the port for Prometheus |
//! | `scoped.rs` | the engine restricted to what one caller may access |
//! | `work.rs` | engine calls on blocking threads with limited concurrency |
//! | `collections.rs` `points.rs` `upsert_stream.rs` `search.rs` `quality.rs` `map.rs` `embedders.rs` | the services |
//! | `progress.rs` | long jobs that stream their progress |
//! | `health.rs` | `grpc.health.v1` with the actual state of each service |
//! | `page.rs` | the port for browsers: static files, and gRPC-web for same-origin pages |
//! | `server.rs` | bind, serve, drain |
//! | `client.rs` | the client, with readable errors |
//! | `hints.rs` `probe.rs` | explanations of failed connections |

mod calls;
pub mod client;
mod collections;
mod connection;
mod context;
mod embedders;
mod filter;
mod from_proto;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod health;
mod hints;
pub mod limits;
mod map;
mod memory;
mod meter;
mod metrics;
mod page;
mod page_token;
pub mod payload;
pub mod pb;
mod places;
mod points;
mod probe;
mod progress;
mod quality;
mod queue;
mod reply;
mod scoped;
mod scrape;
mod search;
pub mod server;
mod snapshots;
mod status;
mod tally;
pub mod tls;
mod to_proto;
mod training;
mod upsert_stream;
mod work;

pub use client::{Client, ClientError, ClientOptions, Replies, Written};
pub use server::{Server, ServerOptions, WebOptions};
pub use tls::{Tls, TlsFiles};
pub(crate) use to_proto::{listed as listed_message, snapshot as snapshot_message};
