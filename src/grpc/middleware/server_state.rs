//! State and limits that all requests of a server share.

use super::concurrency_limit::ConcurrencyLimit;
use super::memory_limit::MemoryLimit;
use super::request_log::RequestLogger;
use super::response_body::InFlightResponses;
use crate::auth::{Access, Reloadable};
use crate::grpc::method_table;
use std::sync::Arc;
use std::time::Duration;

/// Concurrent health checks, in total and per address. The limits are separate, so that health checks work when the
/// server is full, and so that checks, which need no credential, take no permits from other calls.
pub(crate) const CHECKS: (usize, usize) = (256, 64);
/// Concurrent health watches, in total and per address.
pub(crate) const WATCHES: (usize, usize) = (256, 32);

/// Limits of the health service.
pub(crate) struct HealthLimits {
    pub(crate) checks: Arc<ConcurrencyLimit>,
    pub(crate) watches: Arc<ConcurrencyLimit>,
    /// Large enough for the messages of all concurrent checks and watches, so it is never full.
    pub(crate) memory_limit: Arc<MemoryLimit>,
}

impl Default for HealthLimits {
    fn default() -> Self {
        let bytes = (CHECKS.0 + WATCHES.0) * 2 * method_table::SMALL_MESSAGE;
        Self {
            checks: Arc::new(ConcurrencyLimit::new(CHECKS.0, CHECKS.1)),
            watches: Arc::new(ConcurrencyLimit::new(WATCHES.0, WATCHES.1)),
            memory_limit: Arc::new(MemoryLimit::new(bytes)),
        }
    }
}

/// State shared by the request layers of a server.
pub(crate) struct ServerState {
    pub(crate) access: Reloadable<Access>,
    pub(crate) concurrency_limit: Arc<ConcurrencyLimit>,
    pub(crate) logger: Arc<RequestLogger>,
    pub(crate) memory_limit: Arc<MemoryLimit>,
    pub(crate) health: HealthLimits,
    pub(crate) responses: Arc<InFlightResponses>,
    /// Maximum silence of a client within a request that it has begun.
    pub(crate) stall_timeout: Duration,
    pub(crate) max_message_bytes: usize,
    pub(crate) default_response_bytes: usize,
}
