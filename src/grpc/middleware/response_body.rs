//! Response bodies that are sent in small pieces, and aborted if the client does not read them or the deadline passes.
//!
//! HTTP/2 takes a piece of any size as soon as the client has room for one byte of it. A response sent as a whole would
//! leave our accounting immediately, even if it is not read. Sent in pieces, the unread rest stays here, where it can
//! be released.

use super::concurrency_limit::Permit;
use super::memory_limit::MemoryPermit;
use super::request_log::RequestLog;
use crate::grpc::status;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Body as HttpBody;
use tonic::codegen::http::HeaderMap;

/// Maximum piece size.
const MAX_CHUNK_BYTES: usize = 64 << 10;
/// Interval of the check for stalled responses.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

type SharedState = Arc<Mutex<State>>;

/// All responses in flight.
pub(crate) struct InFlightResponses {
    in_flight: Mutex<HashMap<u64, SharedState>>,
    next: AtomicU64,
    /// Maximum time that a client may leave a response unread.
    stall_timeout: Duration,
}

/// A response body, as polled by the transport.
pub(crate) struct ResponseBody {
    state: SharedState,
    number: u64,
    responses: Arc<InFlightResponses>,
}

struct State {
    /// None after the end.
    inner: Option<Body>,
    /// Remainder of the last frame.
    rest: Bytes,
    /// Status that replaces the rest of an aborted response.
    end: Option<Status>,
    log: RequestLog,
    /// Released when the response ends.
    permits: Option<(Permit, Arc<MemoryPermit>)>,
    deadline: Option<Instant>,
    /// Waker of the transport; none while waiting for the client.
    waker: Option<Waker>,
    /// When the client last took a piece.
    last_read: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The guarded data is consistent at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InFlightResponses {
    pub(crate) fn new(stall_timeout: Duration) -> Self {
        Self { in_flight: Mutex::default(), next: AtomicU64::new(0), stall_timeout }
    }

    /// Creates a response body that holds the permit and the memory charge of its request; `deadline` is the request's.
    pub(crate) fn send(
        self: &Arc<Self>,
        inner: Body,
        log: RequestLog,
        permits: (Permit, Arc<MemoryPermit>),
        deadline: Option<Instant>,
    ) -> ResponseBody {
        let state = Arc::new(Mutex::new(State {
            inner: Some(inner),
            rest: Bytes::new(),
            end: None,
            log,
            permits: Some(permits),
            deadline,
            waker: None,
            last_read: Instant::now(),
        }));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.in_flight).insert(number, state.clone());
        ResponseBody { state, number, responses: self.clone() }
    }

    /// Aborts stalled and late responses. Never returns.
    pub(crate) async fn abort_stalled(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        loop {
            ticks.tick().await;
            let in_flight: Vec<SharedState> = lock(&self.in_flight).values().cloned().collect();
            for state in in_flight {
                lock(&state).check(self.stall_timeout);
            }
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let _removed = lock(&self.responses.in_flight).remove(&self.number);
    }
}

impl State {
    fn check(&mut self, stall_timeout: Duration) {
        if self.inner.is_none() {
            return;
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.abort(status::deadline_passed());
        } else if self.waker.is_none() && self.last_read.elapsed() >= stall_timeout {
            self.abort(status::client_read_timeout(stall_timeout));
        }
    }

    /// Releases everything but the status.
    fn abort(&mut self, status: Status) {
        self.log.end(status::code_name_of(&status));
        self.permits = None;
        self.rest = Bytes::new();
        self.inner = None;
        self.end = Some(status);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        while self.rest.is_empty() {
            let Some(inner) = &mut self.inner else {
                return Poll::Ready(self.end.take().map(|status| {
                    let mut trailers = HeaderMap::new();
                    status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))
                }));
            };
            self.waker = Some(context.waker().clone());
            let frame = ready!(Pin::new(inner).poll_frame(context));
            self.waker = None;
            self.last_read = Instant::now();
            let Some(Ok(frame)) = frame else {
                self.inner = None;
                return Poll::Ready(frame);
            };
            match frame.into_data() {
                Ok(data) if data.len() <= MAX_CHUNK_BYTES => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(data) => match self
                    .permits
                    .as_ref()
                    .map_or(Ok(()), |(_, memory_permit)| memory_permit.add_encoded(data.len()))
                {
                    Ok(()) => self.rest = data,
                    Err(full) => self.abort(full),
                },
                Err(frame) => {
                    if let Some(outcome) = frame.trailers_ref().and_then(status::code_name_in) {
                        // Released before the client sees the end, so that a retry finds the permit free.
                        self.permits = None;
                        self.log.end(outcome);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
        }
        // Copied, because a slice would keep the whole buffer alive.
        let chunk = self.rest.split_to(MAX_CHUNK_BYTES.min(self.rest.len()));
        if let Some((_, memory_permit)) = &self.permits {
            memory_permit.release(chunk.len());
        }
        self.last_read = Instant::now();
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&chunk)))))
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        lock(&self.state).poll(context)
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.state);
        state.rest.is_empty() && state.end.is_none() && state.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.state).inner.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
