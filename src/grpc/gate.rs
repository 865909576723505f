//! The gate in front of a service: admits requests, keeps their deadlines, corrects the codes of the transport.
//!
//! tonic answers some requests before a handler sees them, with codes that blame the wrong side (see
//! `status::corrected`), and calls a passed deadline a cancellation. The gate is where both are put right.

use super::status;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

/// A service behind the gate.
#[derive(Clone)]
pub(super) struct Gate<S> {
    inner: S,
    admitted: Arc<Semaphore>,
    most: usize,
    max_message_bytes: usize,
}

impl<S> Gate<S> {
    /// Puts `inner` behind a gate. `admitted` has `most` places and is shared by all services.
    pub(super) fn new(inner: S, admitted: Arc<Semaphore>, most: usize, max_message_bytes: usize) -> Self {
        Self { inner, admitted, most, max_message_bytes }
    }
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Ok(place) = self.admitted.clone().try_acquire_owned() else {
            let refused = status::overloaded(self.most).into_http();
            return Box::pin(async move { Ok(refused) });
        };
        let deadline = request.headers().get("grpc-timeout").and_then(|value| grpc_timeout(value.as_bytes()));
        let limit = self.max_message_bytes;
        let answer = self.inner.call(request);
        Box::pin(async move {
            let _place = place;
            let response = match deadline {
                Some(deadline) => match tokio::time::timeout(deadline, answer).await {
                    Ok(response) => response?,
                    Err(_) => return Ok(status::deadline_passed().into_http()),
                },
                None => answer.await?,
            };
            // A refusal without a body carries its status in the headers.
            Ok(match Status::from_header_map(response.headers()) {
                Some(status) => status::corrected(status, limit).into_http(),
                None => response,
            })
        })
    }
}

/// The value of `grpc-timeout`: at most 8 digits and a unit.
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers in its own time: never, or at once with a status.
    #[derive(Clone)]
    struct Fake(Option<Status>);

    impl Service<http::Request<Body>> for Fake {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<Self::Response, Infallible>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            match self.0.clone() {
                Some(status) => Box::pin(async { Ok(status.into_http()) }),
                None => Box::pin(std::future::pending()),
            }
        }
    }

    async fn through(gate: &mut Gate<Fake>) -> Status {
        let request = http::Request::builder().header("grpc-timeout", "5m").body(Body::empty()).unwrap();
        Status::from_header_map(gate.call(request).await.unwrap().headers()).unwrap()
    }

    #[tokio::test]
    async fn a_passed_deadline_has_its_code_and_frees_its_place() {
        let mut gate = Gate::new(Fake(None), Arc::new(Semaphore::new(1)), 1, 100);
        for _ in 0..2 {
            assert_eq!(through(&mut gate).await.code(), status::deadline_passed().code());
        }
        let full = Gate::new(Fake(None), Arc::new(Semaphore::new(0)), 0, 100);
        assert_eq!(through(&mut full.clone()).await.code(), status::overloaded(0).code());
    }

    #[tokio::test]
    async fn codes_of_the_transport_are_corrected() {
        let answer =
            async |inner: Status| through(&mut Gate::new(Fake(Some(inner)), Arc::new(Semaphore::new(1)), 1, 100)).await;
        let large = answer(Status::out_of_range("too large")).await;
        assert_eq!(large.code(), status::request_too_large(100).code());
        assert!(large.message().contains("100 bytes"), "{large}");
        let broken = answer(Status::internal("failed to decode Protobuf message: x")).await;
        assert_eq!(broken.code(), Status::invalid_argument("").code());
        let ours = answer(Status::internal("a fault")).await;
        assert_eq!((ours.code(), ours.message()), (Status::internal("").code(), "a fault"));
    }

    #[test]
    fn timeouts_of_the_header() {
        assert_eq!(grpc_timeout(b"5S"), Some(Duration::from_secs(5)));
        assert_eq!(grpc_timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(grpc_timeout(b"250m"), Some(Duration::from_millis(250)));
        for wrong in [&b""[..], b"S", b"5", b"5s", b"-5S", b"123456789S", b"5.0S"] {
            assert_eq!(grpc_timeout(wrong), None);
        }
    }
}
