//! The database over gRPC: package `nearness.v1`, health and reflection, and a client for the command line.
//!
//! A handler has three steps: convert in (every limit is checked there), call the [`Engine`](crate::collection::Engine)
//! off the async threads, convert out. No protobuf type goes further in than this folder, and no tonic type leaves it.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `pb.rs` | the generated messages, clients and servers, and their descriptors |
//! | `limits.rs` | every number that a request is held to |
//! | `from_proto.rs` | requests to the domain's words, checked, with the path of a wrong field |
//! | `to_proto.rs` | the domain's words to replies |
//! | `filter.rs` | filters to the domain's words |
//! | `payload.rs` | JSON objects to `google.protobuf.Struct` and back |
//! | `page_token.rs` | the opaque token of a scroll |
//! | `status.rs` | errors to status codes with `google.rpc` details; the only file that names `tonic::Code` |
//! | `connection.rs` `tls.rs` | connections with and without TLS |
//! | `calls.rs` | every call, and the role that it needs |
//! | `gate.rs` | lets requests in, keeps deadlines, and corrects the codes of the transport |
//! | `places.rs` `memory.rs` `queue.rs` | how many are inside at once, with how many bytes, and whose turn it is |
//! | `meter.rs` | the size of a response while it is filled |
//! | `reply.rs` | replies on their way, in small pieces; what is not read is let go |
//! | `context.rs` `tally.rs` | what is known of a request, and what is remembered of it |
//! | `metrics.rs` `scrape.rs` | what can be watched, and the port where Prometheus gets it |
//! | `scoped.rs` | the engine as one caller may see it |
//! | `work.rs` | runs engine calls on blocking threads, so many at a time |
//! | `collections.rs` `points.rs` `upsert_stream.rs` `search.rs` `quality.rs` `map.rs` `embedders.rs` | the services |
//! | `progress.rs` | long work whose progress is told as a stream |
//! | `health.rs` | `grpc.health.v1` with the true state of each service |
//! | `page.rs` | the port for browsers: the page's files, and gRPC-web for pages from here |
//! | `server.rs` | binds, serves, drains |
//! | `client.rs` | connects; every call with a readable error |
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
