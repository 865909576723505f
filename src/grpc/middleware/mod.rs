//! Request middleware: what happens to every request before and after its handler.
//!
//! | file | contents |
//! | --- | --- |
//! | `request_layer.rs` | authentication, limits, deadlines, correction of transport status codes |
//! | `concurrency_limit.rs` `memory_limit.rs` `fair_queue.rs` | concurrency limit, memory limit, fair queueing |
//! | `response_meter.rs` | the size of a response in construction |
//! | `response_body.rs` | response bodies, sent in small pieces; aborts responses that are not read |
//! | `request_context.rs` `request_log.rs` `request_metrics.rs` | per-request context; request log; counters |
//! | `server_state.rs` | state and limits that all requests of a server share |

pub(super) mod concurrency_limit;
pub(super) mod fair_queue;
pub(super) mod memory_limit;
pub(super) mod request_context;
pub(super) mod request_layer;
pub(super) mod request_log;
pub(super) mod request_metrics;
pub(super) mod response_body;
pub(super) mod response_meter;
pub(super) mod server_state;
