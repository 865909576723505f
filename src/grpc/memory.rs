//! How many bytes of requests are inside the server at once: each request has its own bound, and all of them share one.
//!
//! A unary request is charged for what has arrived of it, and, when it is compressed, for the most that it may become; a large
//! reply for what the client has not taken of it yet. All is given back when the reply ends. A stream is charged for the buffer
//! that its messages are put together in, which stays as large as its largest message until the stream ends; and by its
//! handler for each batch, until it is written.

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

/// DEFLATE makes a byte into no more than this many.
const MOST_INFLATED: usize = 1_032;
/// The bytes before each message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// How a body is charged.
pub(super) enum Meter {
    /// Unary: every byte, until the reply ends. It has one message of at most so many bytes.
    Whole {
        /// Of the request.
        charge: Arc<Charge>,
        /// What the body may still have.
        left: usize,
        /// The limit of its message, for the refusal.
        limit: usize,
    },
    /// A stream: the buffers of its decoder.
    Stream(Buffers),
}

impl Meter {
    /// Of a call with one message of at most `limit` bytes.
    pub(super) fn whole(charge: Arc<Charge>, limit: usize) -> Self {
        Self::Whole { charge, left: limit.saturating_add(PREFIX), limit }
    }

    /// Of a stream of messages of at most `limit` bytes.
    pub(super) fn stream(charge: Charge, limit: usize) -> Self {
        let prefix = ([0; PREFIX], 0);
        Self::Stream(Buffers { charge, limit, prefix, left: 0, partial: 0, held: 0, charged: 0, inflated: 0 })
    }

    /// Before the body is asked for more.
    fn asked(&mut self) {
        if let Self::Stream(buffers) = self {
            buffers.held = buffers.partial;
        }
    }

    /// More has arrived.
    fn arrived(&mut self, data: &[u8]) -> Result<(), Status> {
        match self {
            Self::Whole { charge, left, limit } => {
                *left = left.checked_sub(data.len()).ok_or_else(|| status::request_too_large(*limit))?;
                charge.add(data.len())
            }
            Self::Stream(buffers) => buffers.arrived(data),
        }
    }
}

/// What the decoder of a stream holds. It asks for more bytes only when it has no whole message, so it then holds the beginning of
/// one and nothing else. Its buffers never become smaller, so neither does the charge.
pub(super) struct Buffers {
    charge: Charge,
    /// Largest message.
    limit: usize,
    /// The prefix of the next message, as far as it has arrived.
    prefix: ([u8; PREFIX], usize),
    /// Bytes of the message that are to come.
    left: usize,
    /// Bytes of the message that have arrived, its prefix among them.
    partial: usize,
    /// Bytes in the buffer.
    held: usize,
    /// Of them charged; the most that were held.
    charged: usize,
    /// Charged for the buffer of decompressed messages.
    inflated: usize,
}

impl Buffers {
    fn arrived(&mut self, mut data: &[u8]) -> Result<(), Status> {
        self.held = self.held.saturating_add(data.len());
        if self.held > self.charged {
            self.charge.add(self.held - self.charged)?;
            self.charged = self.held;
        }
        while !data.is_empty() {
            let (prefix, have) = &mut self.prefix;
            if *have < PREFIX {
                let some = data.len().min(PREFIX - *have);
                prefix[*have..*have + some].copy_from_slice(&data[..some]);
                *have += some;
                self.partial += some;
                data = &data[some..];
                if *have == PREFIX {
                    let [compressed, length @ ..] = *prefix;
                    self.left = u32::from_be_bytes(length) as usize;
                    if compressed != 0 {
                        let inflated = self.left.saturating_mul(MOST_INFLATED).min(self.limit);
                        self.charge.add(inflated.saturating_sub(self.inflated))?;
                        self.inflated = self.inflated.max(inflated);
                    }
                }
            } else {
                let some = data.len().min(self.left);
                self.left -= some;
                self.partial += some;
                data = &data[some..];
            }
            if self.left == 0 && self.prefix.1 == PREFIX {
                (self.prefix.1, self.partial) = (0, 0);
            }
        }
        Ok(())
    }
}

/// The body of a request: charged as it arrives, and given up when nothing arrives any more.
pub(super) struct Arriving {
    inner: Body,
    meter: Meter,
    /// How long the client may be silent.
    patience: Duration,
    /// Its end; none while the client is not waited for.
    silence: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Arriving {
    pub(super) fn new(inner: Body, meter: Meter, patience: Duration) -> Self {
        Self { inner, meter, patience, silence: None }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        self.meter.asked();
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            let patience = self.patience;
            let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            ready!(silence.as_mut().poll(context));
            return Poll::Ready(Some(Err(status::not_sent(patience))));
        };
        self.silence = None;
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(status) = self.meter.arrived(data)
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

    fn stream(memory: &Arc<Memory>, limit: usize) -> Meter {
        Meter::stream(memory.begin(), limit)
    }

    /// A message as gRPC sends it.
    fn message(compressed: bool, length: usize) -> Vec<u8> {
        let mut bytes = vec![u8::from(compressed)];
        bytes.extend((length as u32).to_be_bytes());
        bytes.resize(PREFIX + length, 7);
        bytes
    }

    #[test]
    fn a_stream_is_charged_for_its_largest_message() {
        let memory = Arc::new(Memory::new(1_000));
        let mut meter = stream(&memory, 400);
        // However it is cut, and however many messages come.
        let many = [message(false, 100), message(false, 0), message(false, 37)].concat().repeat(50);
        for size in [1, 3, 5, 7, 64] {
            for piece in many.chunks(size) {
                meter.asked();
                meter.arrived(piece).unwrap();
            }
        }
        let taken = memory.taken();
        assert!((105..=105 + 64).contains(&taken), "{taken}");
        // One that never becomes whole, up to the limit of all.
        let mut other = stream(&memory, 2_000);
        let long = message(false, 1_900);
        let refused = long.chunks(10).position(|piece| {
            other.asked();
            other.arrived(piece).is_err()
        });
        assert_eq!(refused, Some((1_000 - taken) / 10));
        drop((meter, other));
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn a_compressed_message_is_charged_for_what_it_may_become() {
        let memory = Arc::new(Memory::new(100_000));
        let mut meter = stream(&memory, 50_000);
        for (length, inflated) in [(10, 10_320), (5, 10_320), (1_000, 50_000)] {
            meter.asked();
            meter.arrived(&message(true, length)[..PREFIX]).unwrap();
            for byte in &message(true, length)[PREFIX..] {
                meter.asked();
                meter.arrived(&[*byte]).unwrap();
            }
            let Meter::Stream(buffers) = &meter else { unreachable!() };
            assert_eq!((buffers.inflated, buffers.partial), (inflated, 0));
            assert_eq!(memory.taken(), inflated + buffers.charged);
        }
        let mut second = stream(&memory, 50_000);
        assert!(second.arrived(&message(true, 1_000)[..PREFIX]).is_err());
    }

    #[test]
    fn a_unary_request_is_one_message() {
        let memory = Arc::new(Memory::new(1_000));
        let mut meter = Meter::whole(Arc::new(memory.begin()), 100);
        meter.arrived(&message(false, 100)).unwrap();
        assert_eq!(memory.taken(), 105);
        assert!(meter.arrived(&[0]).is_err(), "a second message");
        drop(meter);
        assert_eq!(memory.taken(), 0);
    }
}
