//! Request log: counters, the log line and the audit-log line of a completed request.

use super::request_context::Context;
use super::request_layer::Door;
use crate::auth::{Entry, Role};
use crate::grpc::method_table::Call;
use crate::grpc::status;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Log record of one request; written when the request ends, or when it is dropped before.
pub(crate) struct Tally {
    pub(crate) door: Arc<Door>,
    pub(crate) call: &'static Call,
    pub(crate) request_id: String,
    pub(crate) peer: Option<SocketAddr>,
    /// None until the caller is authenticated.
    pub(crate) context: Option<Arc<Context>>,
    pub(crate) begun: Instant,
    /// Span of the request; its outcome is recorded at the end.
    pub(crate) span: tracing::Span,
    pub(crate) written: bool,
}

impl Tally {
    /// Records the end of the request with this status.
    pub(crate) fn end(&mut self, outcome: &'static str) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        let caller = self.context.as_ref().map(|context| context.caller.name.as_str());
        let collection = self.context.as_ref().and_then(|context| context.collection.get());
        let collection = collection.map(|name| name.as_str());
        self.span.record("outcome", outcome);
        if let Some(collection) = collection {
            self.span.record("collection", collection);
        }
        let (call, request_id) = (self.call.name, self.request_id.as_str());
        let took = self.begun.elapsed();
        self.door.requests.ended(call, outcome, took, self.context.as_deref());
        let ms = took.as_secs_f64() * 1e3;
        tracing::debug!(request_id, call, caller, collection, outcome, ms, "request ended");
        let refused = self.context.is_none() || outcome == "PERMISSION_DENIED";
        if (self.call.role > Some(Role::Read) || refused)
            && (self.context.is_some() || self.door.may_audit_stranger())
            && let Some(audit) = &self.door.audit
        {
            let peer = self.peer.map(|peer| peer.to_string());
            audit.write(Entry { caller, peer: peer.as_deref(), call, collection, outcome, request_id });
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.end(status::CANCELLED);
    }
}
