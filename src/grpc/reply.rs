//! Replies on their way: sent in small pieces, counted while they wait, and given up when their client does not read them
//! or their deadline passes.
//!
//! HTTP/2 takes a piece as soon as the client has room for a byte of it, whatever its size. Sent whole, a reply would leave
//! our count at once although nobody reads it. In pieces, what was not taken stays here, where it can be let go.

use super::memory::Charge;
use super::places::Place;
use super::status;
use super::tally::Tally;
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

/// Most bytes that are handed on at a time.
const PIECE: usize = 64 << 10;
/// How often replies are looked at that nobody asks for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

type Shared = Arc<Mutex<State>>;

/// All replies that are on their way.
pub(super) struct Replies {
    open: Mutex<HashMap<u64, Shared>>,
    next: AtomicU64,
    /// How long a client may leave a reply unread.
    patience: Duration,
}

/// One of them, as the transport reads it.
pub(super) struct Reply {
    state: Shared,
    number: u64,
    replies: Arc<Replies>,
}

struct State {
    /// None once it has ended.
    inner: Option<Body>,
    /// Of its last frame, what was not handed on.
    rest: Bytes,
    /// What is told instead of the rest of a reply that was given up.
    end: Option<Status>,
    tally: Tally,
    /// Given back when the reply ends.
    inside: Option<(Place, Arc<Charge>)>,
    deadline: Option<Instant>,
    /// Who waits for us; none when we wait for the client.
    asked: Option<Waker>,
    /// When the client last took a piece.
    taken: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is whole at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replies {
    pub(super) fn new(patience: Duration) -> Self {
        Self { open: Mutex::default(), next: AtomicU64::new(0), patience }
    }

    /// A reply with its request's place and charge; `deadline` is the request's.
    pub(super) fn send(
        self: &Arc<Self>,
        inner: Body,
        tally: Tally,
        inside: (Place, Arc<Charge>),
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

    /// Gives up those that nobody reads and those that are late. Ends never.
    pub(super) async fn watch(self: Arc<Self>) {
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

    /// Lets go of everything but the words why.
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
                Ok(data) => match self.inside.as_ref().map_or(Ok(()), |(_, charge)| charge.add_encoded(data.len())) {
                    Ok(()) => self.rest = data,
                    Err(full) => self.give_up(full),
                },
                Err(frame) => {
                    if let Some(outcome) = frame.trailers_ref().and_then(status::name_in) {
                        // Before the client learns of it, so that it finds the place free when it comes again.
                        self.inside = None;
                        self.tally.end(outcome);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
        }
        // Copied, because a piece of the whole would keep the whole.
        let piece = self.rest.split_to(PIECE.min(self.rest.len()));
        if let Some((_, charge)) = &self.inside {
            charge.give(piece.len());
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
