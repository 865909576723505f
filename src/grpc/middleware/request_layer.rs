//! Request middleware: authenticates, authorizes, limits, applies deadlines, corrects transport status codes, logs.
//!
//! tonic answers some requests before a handler sees them, with misleading status codes (see
//! `status::corrected`), and reports a passed deadline as a cancellation. The layer corrects both.

use super::concurrency_limit::Permit;
use super::fair_queue::Client;
use super::memory_limit::{BodyMeter, MemoryLimit, MemoryPermit, MeteredBody};
use super::request_context::{RequestContext, client_request_id, generate_id, response_bytes};
use super::request_log::RequestLog;
use super::server_state::ServerState;
use crate::auth::{Principal, Role, Scope};
use crate::grpc::method_table::{self, Method};
use crate::grpc::status::{self, OrStatus};
use crate::grpc::transport::connection::{Peer, client_of};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tracing::Instrument;
use tracing::field::Empty;

/// Header with the request id, in requests and responses.
const REQUEST_ID: &str = "x-request-id";
/// Timeout for a health check, and for the request of a health watch.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);

/// A service with the middleware.
#[derive(Clone)]
pub(crate) struct RequestLayer<S> {
    inner: S,
    state: Arc<ServerState>,
}

impl<S> RequestLayer<S> {
    pub(crate) fn new(inner: S, state: Arc<ServerState>) -> Self {
        Self { inner, state }
    }
}

impl<S: NamedService> NamedService for RequestLayer<S> {
    const NAME: &'static str = S::NAME;
}

/// Returns the memory limit that applies to a call.
fn memory_limit_of<'s>(state: &'s ServerState, call: &Method) -> &'s Arc<MemoryLimit> {
    if call.role.is_some() { &state.memory_limit } else { &state.health.memory_limit }
}

/// Returns the initial memory charge of a request: the maximum message size if it is compressed.
fn memory_permit<B>(
    state: &ServerState,
    request: &http::Request<B>,
    call: &Method,
) -> Result<Arc<MemoryPermit>, Status> {
    let memory_permit = memory_limit_of(state, call).permit();
    let compressed = request.headers().get("grpc-encoding").is_some_and(|encoding| encoding != "identity");
    if compressed && !call.is_stream() {
        memory_permit.add(call.max_message_bytes(state.max_message_bytes))?;
    }
    Ok(Arc::new(memory_permit))
}

/// Authenticates and admits a request: returns its permit, or the status to answer with.
fn admit<B>(state: &ServerState, request: &http::Request<B>, log: &mut RequestLog) -> Result<Permit, Status> {
    let peer = request.extensions().get::<Peer>();
    let address = || peer.map_or_else(|| "".into(), |peer| client_of(peer.address.ip()));
    let Some(role) = log.call.role else {
        let caller = Principal { name: String::new(), role: Role::Read, scope: Scope::default() };
        let (client, health) = (address(), &state.health);
        log.context =
            Some(Arc::new(RequestContext::new(Arc::new(caller), client.clone(), state.default_response_bytes)));
        let concurrency_limit = if log.call.is_health_watch() { &health.watches } else { &health.checks };
        return concurrency_limit.acquire(&client).map_err(status::overloaded);
    };
    let access = state.access.get();
    let mut given = request.headers().get_all(http::header::AUTHORIZATION).iter();
    let authorization = given.next().map(|value| value.as_bytes());
    let caller = if given.next().is_some() {
        Err(crate::auth::AuthError("more than one authorization header".into()))
    } else {
        access.authenticate(authorization, peer.map(|peer| &*peer.names).unwrap_or_default())
    };
    let caller = caller.map_err(|why| {
        tracing::debug!(%why, "authentication failed");
        status::unauthenticated()
    })?;
    // If authentication is off, clients are distinguished by their address.
    let client: Client = match peer {
        Some(_) if access.is_open() => address(),
        _ => caller.name.as_str().into(),
    };
    let has = caller.role;
    let requested = response_bytes(request.headers());
    let bytes = requested.as_ref().map_or(None, |bytes| *bytes).unwrap_or(state.default_response_bytes);
    log.context = Some(Arc::new(RequestContext::new(caller, client.clone(), bytes)));
    if has < role {
        return Err(status::insufficient_role(log.call.name, role, has));
    }
    requested.or_status()?;
    state.concurrency_limit.acquire(&client).map_err(status::overloaded)
}

impl<S> Service<http::Request<Body>> for RequestLayer<S>
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

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let given = request.headers().get(REQUEST_ID).and_then(|value| client_request_id(value.as_bytes()));
        let request_id = given.map_or_else(generate_id, str::to_owned);
        let Some(call) = method_table::find(request.uri().path()) else {
            return Box::pin(async move { Ok(with_id(status::unknown_method().into_http(), &request_id)) });
        };
        // The service accepts only the current name of a method.
        if request.uri().path().strip_prefix('/') != Some(call.name) {
            *request.uri_mut() = with_path(request.uri(), call.name);
        }
        let mut log = RequestLog {
            logger: self.state.logger.clone(),
            call,
            request_id: request_id.clone(),
            peer: request.extensions().get::<Peer>().map(|peer| peer.address),
            context: None,
            started: Instant::now(),
            span: tracing::Span::none(),
            written: false,
        };
        let admitted = admit(&self.state, &request, &mut log)
            .and_then(|permit| Ok((permit, memory_permit(&self.state, &request, call)?)));
        let (permit, memory_permit) = match admitted {
            Ok(admitted) => admitted,
            Err(status) => {
                let refused = with_id(status.into_http(), &request_id);
                log.end(status::code_name_in(refused.headers()).unwrap_or(status::CANCELLED));
                return Box::pin(async move { Ok(refused) });
            }
        };
        if let Some(context) = &log.context {
            request.extensions_mut().insert(context.clone());
            request.extensions_mut().insert(memory_permit.clone());
        }
        let caller = log.context.as_ref().map(|context| context.principal.name.clone());
        let span =
            tracing::info_span!("request", request_id, call = call.name, caller, collection = Empty, outcome = Empty);
        log.span = span.clone();
        let deadline = request.headers().get("grpc-timeout").and_then(|value| grpc_timeout(value.as_bytes()));
        // The deadline may exceed the range of the clock.
        let deadline = deadline.and_then(|time| log.started.checked_add(time));
        // A health check has the server's own deadline; a health watch has it until its response begins.
        let own_deadline = call.role.is_none().then(|| log.started.checked_add(HEALTH_TIMEOUT)).flatten();
        let response_deadline = deadline.into_iter().chain(own_deadline).min();
        let deadline = if call.is_health_watch() { deadline } else { response_deadline };
        let limit = call.max_message_bytes(self.state.max_message_bytes);
        let meter = if call.is_stream() {
            BodyMeter::stream(memory_limit_of(&self.state, call).permit(), limit)
        } else {
            BodyMeter::unary(memory_permit.clone(), limit)
        };
        let (stall_timeout, responses) = (self.state.stall_timeout, self.state.responses.clone());
        request = request.map(|inner| Body::new(MeteredBody::new(inner, meter, stall_timeout)));
        let future = span.in_scope(|| self.inner.call(request));
        let future = async move {
            let response = match response_deadline {
                Some(deadline) => match tokio::time::timeout_at(deadline.into(), future).await {
                    Ok(response) => response?,
                    Err(_) => status::deadline_passed().into_http(),
                },
                None => future.await?,
            };
            // A refusal without a body carries its status in the headers.
            let response = match Status::from_header_map(response.headers()) {
                Some(status) => status::corrected(status, limit).into_http(),
                None => response,
            };
            let response = with_id(response, &request_id);
            if let Some(outcome) = status::code_name_in(response.headers()) {
                log.end(outcome);
                return Ok(response);
            }
            Ok(response.map(|inner| Body::new(responses.send(inner, log, (permit, memory_permit), deadline))))
        };
        Box::pin(future.instrument(span))
    }
}

/// Returns the URI with the path of another method.
fn with_path(uri: &http::Uri, method: &str) -> http::Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = format!("/{method}").parse().ok();
    http::Uri::from_parts(parts).unwrap_or_default()
}

fn with_id(mut response: http::Response<Body>, request_id: &str) -> http::Response<Body> {
    if let Ok(value) = request_id.parse() {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Parses `grpc-timeout`: at most 8 digits and a unit.
pub(crate) fn grpc_timeout(value: &[u8]) -> Option<Duration> {
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
    use super::super::concurrency_limit::ConcurrencyLimit;
    use super::super::request_log::RequestLogger;
    use super::super::response_body::InFlightResponses;
    use super::super::server_state::{CHECKS, HealthLimits, WATCHES};
    use super::*;
    use crate::auth::{Access, Reloadable};

    /// Answers with a status immediately, or never.
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

    fn layer(status: Option<Status>, concurrency_limit: usize) -> RequestLayer<Fake> {
        let state = ServerState {
            access: Reloadable::new(Access::open()),
            concurrency_limit: Arc::new(ConcurrencyLimit::new(concurrency_limit, concurrency_limit)),
            logger: Arc::new(RequestLogger::new(None)),
            memory_limit: Arc::new(MemoryLimit::new(1 << 20)),
            health: HealthLimits::default(),
            responses: Arc::new(InFlightResponses::new(Duration::from_secs(60))),
            stall_timeout: Duration::from_secs(60),
            max_message_bytes: 100,
            default_response_bytes: 100,
        };
        RequestLayer::new(Fake(status), Arc::new(state))
    }

    async fn through(layer: &mut RequestLayer<Fake>) -> Status {
        let request = http::Request::builder().uri("/nearness.v1.Points/Count").header("grpc-timeout", "5m");
        let response = layer.call(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()[REQUEST_ID].len(), 32);
        Status::from_header_map(response.headers()).unwrap()
    }

    #[tokio::test]
    async fn a_passed_deadline_has_its_code_and_frees_its_permit() {
        let mut layer_of_one = layer(None, 1);
        for _ in 0..2 {
            assert_eq!(through(&mut layer_of_one).await.code(), status::deadline_passed().code());
        }
        let full = through(&mut layer(None, 0)).await;
        assert_eq!(full.code(), status::overloaded(super::super::concurrency_limit::LimitReached::Total(0)).code());
    }

    #[test]
    fn the_path_of_a_uri_is_replaced() {
        for (uri, expected) in [
            ("http://host:1/nearness.v1.Map/Place", "http://host:1/nearness.v1.Map/LocateQueries"),
            ("/nearness.v1.Map/Place", "/nearness.v1.Map/LocateQueries"),
        ] {
            assert_eq!(with_path(&uri.parse().unwrap(), "nearness.v1.Map/LocateQueries").to_string(), expected);
        }
    }

    #[tokio::test]
    async fn codes_of_the_transport_are_corrected() {
        let answer = async |inner: Status| through(&mut layer(Some(inner), 1)).await;
        let large = answer(Status::out_of_range("too large")).await;
        assert_eq!(large.code(), status::request_too_large(100).code());
        assert!(large.message().contains("100 bytes"), "{large}");
        let broken = answer(Status::internal("failed to decode Protobuf message: x")).await;
        assert_eq!(broken.code(), Status::invalid_argument("").code());
        let unchanged = answer(Status::internal("a fault")).await;
        assert_eq!((unchanged.code(), unchanged.message()), (Status::internal("").code(), "a fault"));
    }

    #[tokio::test]
    async fn a_path_that_is_not_in_the_table_is_unimplemented() {
        let request = http::Request::builder().uri("/nearness.v1.Points/Drop").body(Body::empty()).unwrap();
        let response = layer(None, 1).call(request).await.unwrap();
        assert_eq!(status::code_name_in(response.headers()), Some("UNIMPLEMENTED"));
    }

    #[tokio::test]
    async fn health_has_separate_permits() {
        let mut layer = layer(Some(Status::ok("")), 0);
        let call_health = async |layer: &mut RequestLayer<Fake>, name: &str| {
            let request = http::Request::builder().uri(format!("/grpc.health.v1.Health/{name}"));
            let response = layer.call(request.body(Body::empty()).unwrap()).await.unwrap();
            status::code_name_in(response.headers())
        };
        let client: Client = "".into();
        let watches: Vec<_> =
            (0..WATCHES.1).map(|_| layer.state.health.watches.acquire(&client).ok().unwrap()).collect();
        assert_eq!(call_health(&mut layer, "Watch").await, Some("RESOURCE_EXHAUSTED"));
        assert_eq!(call_health(&mut layer, "Check").await, Some("OK"), "watches use no permits of checks");
        drop(watches);
        assert_eq!(call_health(&mut layer, "Watch").await, Some("OK"));
        let checks: Vec<_> = (0..CHECKS.1).map(|_| layer.state.health.checks.acquire(&client).ok().unwrap()).collect();
        assert_eq!(call_health(&mut layer, "Check").await, Some("RESOURCE_EXHAUSTED"));
        drop(checks);
        // A separate memory limit, too.
        let full = layer.state.memory_limit.permit();
        full.add(1 << 20).unwrap();
        let compressed = http::Request::builder().uri("/grpc.health.v1.Health/Check").header("grpc-encoding", "gzip");
        let response = layer.call(compressed.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(status::code_name_in(response.headers()), Some("OK"));
    }

    #[test]
    fn the_timeout_header_is_parsed() {
        assert_eq!(grpc_timeout(b"5S"), Some(Duration::from_secs(5)));
        assert_eq!(grpc_timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(grpc_timeout(b"250m"), Some(Duration::from_millis(250)));
        for invalid in [&b""[..], b"S", b"5", b"5s", b"-5S", b"123456789S", b"5.0S"] {
            assert_eq!(grpc_timeout(invalid), None);
        }
    }
}
