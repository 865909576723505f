//! Response bodies that are sent in small pieces, and aborted if the client does not read them or the deadline passes.
//!
//! HTTP/2 takes a piece of any size as soon as the client has room for one byte of it. A response sent as a whole would
//! leave our accounting immediately, even if nobody reads it. Sent in pieces, the unread rest stays here, where it can
//! be released.

use super::concurrency_limit::Permit;
use super::memory_limit::MemoryPermit;
use super::request_log::Tally;
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
const PIECE: usize = 64 << 10;
/// Interval of the check for stalled responses.
const LOOK_EVERY: Duration = Duration::from_millis(100);

type Shared = Arc<Mutex<State>>;

/// All responses in flight.
pub(crate) struct Replies {
    open: Mutex<HashMap<u64, Shared>>,
    next: AtomicU64,
    /// Maximum time that a client may leave a response unread.
    patience: Duration,
}

/// A response body, as polled by the transport.
pub(crate) struct Reply {
    state: Shared,
    number: u64,
    replies: Arc<Replies>,
}

struct State {
    /// None after the end.
    inner: Option<Body>,
    /// Remainder of the last frame.
    rest: Bytes,
    /// Status that replaces the rest of an aborted response.
    end: Option<Status>,
    tally: Tally,
    /// Released when the response ends.
    inside: Option<(Permit, Arc<MemoryPermit>)>,
    deadline: Option<Instant>,
    /// Waker of the transport; none while waiting for the client.
    asked: Option<Waker>,
    /// When the client last took a piece.
    taken: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The guarded data is consistent at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replies {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { open: Mutex::default(), next: AtomicU64::new(0), patience }
    }

    /// Creates a response body that holds the permit and the memory charge of its request; `deadline` is the request's.
    pub(crate) fn send(
        self: &Arc<Self>,
        inner: Body,
        tally: Tally,
        inside: (Permit, Arc<MemoryPermit>),
        deadline: Option<Instant>,
    ) -> Reply {
        let state = Arc::new(Mutex::new(State {
            inner: Some(inner),
            rest: Bytes::new(),
            end: None,
            tally,
            inside: Some(inside),
            deadline,
            asked: None,
            taken: Instant::now(),
        }));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(number, state.clone());
        Reply { state, number, replies: self.clone() }
    }

    /// Aborts stalled and late responses. Never returns.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let open: Vec<Shared> = lock(&self.open).values().cloned().collect();
            for state in open {
                lock(&state).look(self.patience);
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let _last_but_for_a_look = lock(&self.replies.open).remove(&self.number);
    }
}

impl State {
    fn look(&mut self, patience: Duration) {
        if self.inner.is_none() {
            return;
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.give_up(status::deadline_passed());
        } else if self.asked.is_none() && self.taken.elapsed() >= patience {
            self.give_up(status::not_read(patience));
        }
    }

    /// Releases everything but the status.
    fn give_up(&mut self, why: Status) {
        self.tally.end(status::name_of(&why));
        self.inside = None;
        self.rest = Bytes::new();
        self.inner = None;
        self.end = Some(why);
        if let Some(waker) = self.asked.take() {
            waker.wake();
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        while self.rest.is_empty() {
            let Some(inner) = &mut self.inner else {
                return Poll::Ready(self.end.take().map(|why| {
                    let mut trailers = HeaderMap::new();
                    why.add_header(&mut trailers).map(|()| Frame::trailers(trailers))
                }));
            };
            self.asked = Some(context.waker().clone());
            let frame = ready!(Pin::new(inner).poll_frame(context));
            self.asked = None;
            self.taken = Instant::now();
            let Some(Ok(frame)) = frame else {
                self.inner = None;
                return Poll::Ready(frame);
            };
            match frame.into_data() {
                Ok(data) if data.len() <= PIECE => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(data) => match self
                    .inside
                    .as_ref()
                    .map_or(Ok(()), |(_, memory_permit)| memory_permit.add_encoded(data.len()))
                {
                    Ok(()) => self.rest = data,
                    Err(full) => self.give_up(full),
                },
                Err(frame) => {
                    if let Some(outcome) = frame.trailers_ref().and_then(status::name_in) {
                        // Released before the client sees the end, so that a retry finds the permit free.
                        self.inside = None;
                        self.tally.end(outcome);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
        }
        // Copied, because a slice would keep the whole buffer alive.
        let piece = self.rest.split_to(PIECE.min(self.rest.len()));
        if let Some((_, memory_permit)) = &self.inside {
            memory_permit.release(piece.len());
        }
        self.taken = Instant::now();
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&piece)))))
    }
}

impl HttpBody for Reply {
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
