//! Shared memory limit of all requests in progress; each request also has its own limit.
//!
//! A unary request is charged for the bytes received or, if it is compressed, for its maximum decompressed size; a
//! large response for the bytes that the client has not read yet. Everything is released when the response ends. A
//! stream is charged for its decoder's message buffer, which stays as large as the largest message until the stream
//! ends; its handler charges each batch until it is written.

use crate::grpc::status;
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Body as HttpBody;

/// The limit and the current usage.
pub(crate) struct MemoryLimit {
    max: usize,
    used: AtomicUsize,
}

/// Memory permit of one request; released when dropped.
pub(crate) struct MemoryPermit {
    memory_limit: Arc<MemoryLimit>,
    bytes: AtomicUsize,
    /// Part of it that is reserved for a response in construction.
    reserved: AtomicUsize,
}

impl MemoryLimit {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, used: AtomicUsize::new(0) }
    }

    /// Creates an empty permit.
    pub(crate) fn permit(self: &Arc<Self>) -> MemoryPermit {
        MemoryPermit { memory_limit: self.clone(), bytes: AtomicUsize::new(0), reserved: AtomicUsize::new(0) }
    }

    /// Returns the bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl MemoryPermit {
    /// Charges more bytes, or fails if the limit would be exceeded.
    pub(crate) fn add(&self, bytes: usize) -> Result<(), Status> {
        let max = self.memory_limit.max;
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= max);
        let added = self.memory_limit.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        added.map_err(|_| status::memory_full(max))?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Reserves bytes for a response in construction; fails as [`add`](Self::add).
    pub(crate) fn reserve(&self, bytes: usize) -> Result<(), Status> {
        self.add(bytes)?;
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Releases the reservation.
    pub(crate) fn release_reserved(&self) {
        self.release(self.reserved.swap(0, Ordering::Relaxed));
    }

    /// Charges an encoded response; its reservation counts towards it.
    pub(crate) fn add_encoded(&self, bytes: usize) -> Result<(), Status> {
        let reserved = self.reserved.swap(0, Ordering::Relaxed);
        if reserved < bytes {
            return self.add(bytes - reserved);
        }
        self.release(reserved - bytes);
        Ok(())
    }

    /// Releases part of the charge.
    pub(crate) fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.memory_limit.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        self.memory_limit.used.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Maximum expansion factor of DEFLATE.
const MAX_INFLATION: usize = 1_032;
/// Length of the gRPC message prefix: compression flag and message length.
const PREFIX: usize = 5;

/// How a body is charged.
pub(crate) enum BodyMeter {
    /// Unary: every byte, until the response ends. The body has one message of limited size.
    Unary {
        /// Memory permit of the request.
        memory_permit: Arc<MemoryPermit>,
        /// Remaining bytes of the body.
        remaining: usize,
        /// Maximum message size, for the error.
        limit: usize,
    },
    /// Stream: the buffers of its decoder.
    Stream(Buffers),
}

impl BodyMeter {
    /// Meter of a call with one message of at most `limit` bytes.
    pub(crate) fn unary(memory_permit: Arc<MemoryPermit>, limit: usize) -> Self {
        Self::Unary { memory_permit, remaining: limit.saturating_add(PREFIX), limit }
    }

    /// Meter of a stream of messages of at most `limit` bytes.
    pub(crate) fn stream(memory_permit: MemoryPermit, limit: usize) -> Self {
        let prefix = ([0; PREFIX], 0);
        Self::Stream(Buffers {
            memory_permit,
            limit,
            prefix,
            remaining: 0,
            partial: 0,
            held: 0,
            charged: 0,
            inflated: 0,
        })
    }

    /// Called before the body is polled for more.
    fn before_poll(&mut self) {
        if let Self::Stream(buffers) = self {
            buffers.held = buffers.partial;
        }
    }

    /// Called when data has arrived.
    fn on_data(&mut self, data: &[u8]) -> Result<(), Status> {
        match self {
            Self::Unary { memory_permit, remaining, limit } => {
                *remaining = remaining.checked_sub(data.len()).ok_or_else(|| status::request_too_large(*limit))?;
                memory_permit.add(data.len())
            }
            Self::Stream(buffers) => buffers.on_data(data),
        }
    }
}

/// Buffers of a stream decoder. The decoder polls for more bytes only without a complete message, so it then holds
/// exactly the beginning of one. Its buffers never shrink, so neither does the charge.
pub(crate) struct Buffers {
    memory_permit: MemoryPermit,
    /// Maximum message size.
    limit: usize,
    /// Prefix of the next message, as far as received.
    prefix: ([u8; PREFIX], usize),
    /// Bytes of the message still to come.
    remaining: usize,
    /// Bytes of the message received, including its prefix.
    partial: usize,
    /// Bytes in the buffer.
    held: usize,
    /// Bytes charged: the maximum of `held` so far.
    charged: usize,
    /// Bytes charged for the buffer of decompressed messages.
    inflated: usize,
}

impl Buffers {
    fn on_data(&mut self, mut data: &[u8]) -> Result<(), Status> {
        self.held = self.held.saturating_add(data.len());
        if self.held > self.charged {
            self.memory_permit.add(self.held - self.charged)?;
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
                    self.remaining = u32::from_be_bytes(length) as usize;
                    if compressed != 0 {
                        let inflated = self.remaining.saturating_mul(MAX_INFLATION).min(self.limit);
                        self.memory_permit.add(inflated.saturating_sub(self.inflated))?;
                        self.inflated = self.inflated.max(inflated);
                    }
                }
            } else {
                let some = data.len().min(self.remaining);
                self.remaining -= some;
                self.partial += some;
                data = &data[some..];
            }
            if self.remaining == 0 && self.prefix.1 == PREFIX {
                (self.prefix.1, self.partial) = (0, 0);
            }
        }
        Ok(())
    }
}

/// Request body that is charged as it arrives and fails if the client is silent for too long.
pub(crate) struct MeteredBody {
    inner: Body,
    meter: BodyMeter,
    /// Maximum silence of the client.
    stall_timeout: Duration,
    /// Timer of the silence; none while nothing is expected from the client.
    stall_timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl MeteredBody {
    pub(crate) fn new(inner: Body, meter: BodyMeter, stall_timeout: Duration) -> Self {
        Self { inner, meter, stall_timeout, stall_timer: None }
    }
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        self.meter.before_poll();
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            let stall_timeout = self.stall_timeout;
            let stall_timer = self.stall_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_timeout)));
            ready!(stall_timer.as_mut().poll(context));
            return Poll::Ready(Some(Err(status::client_send_timeout(stall_timeout))));
        };
        self.stall_timer = None;
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(status) = self.meter.on_data(data)
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
    fn permits_are_bounded_and_released() {
        let memory_limit = Arc::new(MemoryLimit::new(10));
        let (one, two) = (memory_limit.permit(), memory_limit.permit());
        one.add(4).unwrap();
        one.add(2).unwrap();
        assert!(two.add(5).is_err() && two.add(usize::MAX).is_err());
        two.add(4).unwrap();
        one.release(2);
        assert_eq!(memory_limit.used(), 8);
        drop(one);
        assert_eq!(memory_limit.used(), 4);
        two.add(6).unwrap();
        drop(two);
        assert_eq!(memory_limit.used(), 0);
        let response = memory_limit.permit();
        response.reserve(8).unwrap();
        assert!(response.reserve(3).is_err());
        response.add_encoded(5).unwrap();
        assert_eq!(memory_limit.used(), 5);
        response.reserve(2).unwrap();
        response.add_encoded(4).unwrap();
        assert_eq!(memory_limit.used(), 9);
        response.release_reserved();
        drop(response);
        assert_eq!(memory_limit.used(), 0);
    }

    fn stream(memory_limit: &Arc<MemoryLimit>, limit: usize) -> BodyMeter {
        BodyMeter::stream(memory_limit.permit(), limit)
    }

    /// Encodes a gRPC message.
    fn message(compressed: bool, length: usize) -> Vec<u8> {
        let mut bytes = vec![u8::from(compressed)];
        bytes.extend((length as u32).to_be_bytes());
        bytes.resize(PREFIX + length, 7);
        bytes
    }

    #[test]
    fn a_stream_is_charged_for_its_largest_message() {
        let memory_limit = Arc::new(MemoryLimit::new(1_000));
        let mut meter = stream(&memory_limit, 400);
        // For any chunking and any number of messages.
        let many = [message(false, 100), message(false, 0), message(false, 37)].concat().repeat(50);
        for size in [1, 3, 5, 7, 64] {
            for piece in many.chunks(size) {
                meter.before_poll();
                meter.on_data(piece).unwrap();
            }
        }
        let used = memory_limit.used();
        assert!((105..=105 + 64).contains(&used), "{used}");
        // A message that stays incomplete, up to the shared limit.
        let mut other = stream(&memory_limit, 2_000);
        let long = message(false, 1_900);
        let refused = long.chunks(10).position(|piece| {
            other.before_poll();
            other.on_data(piece).is_err()
        });
        assert_eq!(refused, Some((1_000 - used) / 10));
        drop((meter, other));
        assert_eq!(memory_limit.used(), 0);
    }

    #[test]
    fn a_compressed_message_is_charged_its_maximum_size() {
        let memory_limit = Arc::new(MemoryLimit::new(100_000));
        let mut meter = stream(&memory_limit, 50_000);
        for (length, inflated) in [(10, 10_320), (5, 10_320), (1_000, 50_000)] {
            meter.before_poll();
            meter.on_data(&message(true, length)[..PREFIX]).unwrap();
            for byte in &message(true, length)[PREFIX..] {
                meter.before_poll();
                meter.on_data(&[*byte]).unwrap();
            }
            let BodyMeter::Stream(buffers) = &meter else { unreachable!() };
            assert_eq!((buffers.inflated, buffers.partial), (inflated, 0));
            assert_eq!(memory_limit.used(), inflated + buffers.charged);
        }
        let mut second = stream(&memory_limit, 50_000);
        assert!(second.on_data(&message(true, 1_000)[..PREFIX]).is_err());
    }

    #[test]
    fn a_unary_request_is_one_message() {
        let memory_limit = Arc::new(MemoryLimit::new(1_000));
        let mut meter = BodyMeter::unary(Arc::new(memory_limit.permit()), 100);
        meter.on_data(&message(false, 100)).unwrap();
        assert_eq!(memory_limit.used(), 105);
        assert!(meter.on_data(&[0]).is_err(), "a second message");
        drop(meter);
        assert_eq!(memory_limit.used(), 0);
    }
}
