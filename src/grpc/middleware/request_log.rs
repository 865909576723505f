//! Request log: counters, the log line and the audit-log line of a completed request.

use super::request_context::RequestContext;
use super::request_metrics::RequestMetrics;
use crate::auth::{AuditEntry, AuditLog, Role};
use crate::grpc::method_table::Method;
use crate::grpc::status;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Audit-log entries per second for unauthenticated requests. More would only fill the disk.
const UNAUTHENTICATED_PER_SECOND: u64 = 20;

/// Destinations of the logs of all requests.
pub(crate) struct RequestLogger {
    pub(crate) metrics: RequestMetrics,
    audit: Option<Arc<AuditLog>>,
    started: Instant,
    /// Packed into one number: the second since the start, and the number of unauthenticated requests in it.
    unauthenticated: AtomicU64,
}

impl RequestLogger {
    pub(crate) fn new(audit: Option<Arc<AuditLog>>) -> Self {
        Self { metrics: RequestMetrics::default(), audit, started: Instant::now(), unauthenticated: AtomicU64::new(0) }
    }

    /// Whether another refusal of an unauthenticated request may be logged in this second.
    fn may_audit_unauthenticated(&self) -> bool {
        let second = self.started.elapsed().as_secs() << 32;
        let next = |seen: u64| if seen >> 32 == second >> 32 { seen + 1 } else { second + 1 };
        let seen = self.unauthenticated.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| Some(next(seen)));
        let seen = seen.unwrap_or_else(|seen| seen);
        next(seen) - second <= UNAUTHENTICATED_PER_SECOND
    }
}

/// Log record of one request; written when the request ends, or when it is dropped before.
pub(crate) struct RequestLog {
    pub(crate) logger: Arc<RequestLogger>,
    pub(crate) call: &'static Method,
    pub(crate) request_id: String,
    pub(crate) peer: Option<SocketAddr>,
    /// None until the caller is authenticated.
    pub(crate) context: Option<Arc<RequestContext>>,
    pub(crate) started: Instant,
    /// Span of the request; its outcome is recorded at the end.
    pub(crate) span: tracing::Span,
    pub(crate) written: bool,
}

impl RequestLog {
    /// Records the end of the request with this status.
    pub(crate) fn end(&mut self, outcome: &'static str) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        let caller = self.context.as_ref().map(|context| context.principal.name.as_str());
        let collection = self.context.as_ref().and_then(|context| context.collection.get());
        let collection = collection.map(|name| name.as_str());
        self.span.record("outcome", outcome);
        if let Some(collection) = collection {
            self.span.record("collection", collection);
        }
        let (call, request_id) = (self.call.name, self.request_id.as_str());
        let duration = self.started.elapsed();
        self.logger.metrics.record(call, outcome, duration, self.context.as_deref());
        let ms = duration.as_secs_f64() * 1e3;
        tracing::debug!(request_id, call, caller, collection, outcome, ms, "request ended");
        let refused = self.context.is_none() || outcome == "PERMISSION_DENIED";
        if (self.call.role > Some(Role::Read) || refused)
            && (self.context.is_some() || self.logger.may_audit_unauthenticated())
            && let Some(audit) = &self.logger.audit
        {
            let peer = self.peer.map(|peer| peer.to_string());
            audit.write(AuditEntry { caller, peer: peer.as_deref(), call, collection, outcome, request_id });
        }
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        self.end(status::CANCELLED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unauthenticated_requests_do_not_fill_the_audit_log() {
        let logger = RequestLogger::new(None);
        let written = (0..1_000).filter(|_| logger.may_audit_unauthenticated()).count() as u64;
        // The second may have changed once in between.
        assert!((UNAUTHENTICATED_PER_SECOND..=2 * UNAUTHENTICATED_PER_SECOND).contains(&written), "{written}");
    }
}
