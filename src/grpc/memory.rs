//! How many bytes of requests are inside the server at once: each request has its own bound, and all of them share one.
//!
//! A request is charged for what has arrived of it, and, when it is compressed, for the most that it may become; a large reply for
//! what the client has not taken of it yet. All is given back when the reply ends. A stream of items is charged batch by
//! batch, until each is written.

use super::status;
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Body as HttpBody;

/// The bound, and what is taken of it.
pub(super) struct Memory {
    most: usize,
    taken: AtomicUsize,
}

/// The charge of one request; given back when dropped.
pub(super) struct Charge {
    memory: Arc<Memory>,
    bytes: AtomicUsize,
    /// Of them, those of a response that is being filled.
    reserved: AtomicUsize,
}

impl Memory {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: AtomicUsize::new(0) }
    }

    /// A charge of nothing yet.
    pub(super) fn begin(self: &Arc<Self>) -> Charge {
        Charge { memory: self.clone(), bytes: AtomicUsize::new(0), reserved: AtomicUsize::new(0) }
    }

    /// Bytes that are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Charge {
    /// Takes more, or nothing when that would be too much for all of them together.
    pub(super) fn add(&self, bytes: usize) -> Result<(), Status> {
        let most = self.memory.most;
        let more = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= most);
        let added = self.memory.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        added.map_err(|_| status::memory_full(most))?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Takes bytes for a response that is being filled, or nothing as [`add`](Self::add).
    pub(super) fn reserve(&self, bytes: usize) -> Result<(), Status> {
        self.add(bytes)?;
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what was reserved.
    pub(super) fn release(&self) {
        self.give(self.reserved.swap(0, Ordering::Relaxed));
    }

    /// Takes the bytes of an encoded response; what was reserved for it counts towards them.
    pub(super) fn add_encoded(&self, bytes: usize) -> Result<(), Status> {
        let reserved = self.reserved.swap(0, Ordering::Relaxed);
        if reserved < bytes {
            return self.add(bytes - reserved);
        }
        self.give(reserved - bytes);
        Ok(())
    }

    /// Gives some of it back.
    pub(super) fn give(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.memory.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.taken.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// The body of a request: charged as it arrives, and given up when nothing arrives any more.
pub(super) struct Arriving {
    inner: Body,
    /// None for a stream.
    charge: Option<Arc<Charge>>,
    /// How long the client may be silent.
    patience: Duration,
    /// Its end; none while the client is not waited for.
    silence: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Arriving {
    pub(super) fn new(inner: Body, charge: Option<Arc<Charge>>, patience: Duration) -> Self {
        Self { inner, charge, patience, silence: None }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            let patience = self.patience;
            let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            ready!(silence.as_mut().poll(context));
            return Poll::Ready(Some(Err(status::not_sent(patience))));
        };
        self.silence = None;
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Some(charge) = &self.charge
            && let Err(status) = charge.add(data.len())
        {
            return Poll::Ready(Some(Err(status)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_bounded_and_given_back() {
        let memory = Arc::new(Memory::new(10));
        let (one, two) = (memory.begin(), memory.begin());
        one.add(4).unwrap();
        one.add(2).unwrap();
        assert!(two.add(5).is_err() && two.add(usize::MAX).is_err());
        two.add(4).unwrap();
        one.give(2);
        assert_eq!(memory.taken(), 8);
        drop(one);
        assert_eq!(memory.taken(), 4);
        two.add(6).unwrap();
        drop(two);
        assert_eq!(memory.taken(), 0);
        let response = memory.begin();
        response.reserve(8).unwrap();
        assert!(response.reserve(3).is_err());
        response.add_encoded(5).unwrap();
        assert_eq!(memory.taken(), 5);
        response.reserve(2).unwrap();
        response.add_encoded(4).unwrap();
        assert_eq!(memory.taken(), 9);
        response.release();
        drop(response);
        assert_eq!(memory.taken(), 0);
    }
}
