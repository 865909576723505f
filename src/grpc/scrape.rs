//! The port for Prometheus: `GET /metrics` over HTTP/1.1, and nothing else.

use super::metrics::Metrics;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Most connections at once; more wait.
const CONNECTIONS: usize = 16;
/// How long a client may take to send the head of a request, the time between two requests included.
const PATIENCE: Duration = Duration::from_secs(120);
/// What `prometheus_client` writes.
const FORMAT: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Answers until it is dropped.
pub(super) async fn serve(listener: TcpListener, metrics: Metrics) {
    let metrics = Arc::new(metrics);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Connections end with this.
    let mut open = tokio::task::JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let metrics = metrics.clone();
        open.spawn(async move {
            let _place = place;
            let answer = service_fn(move |request| answer(request, metrics.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection for metrics broke");
            }
        });
    }
}

async fn answer<B>(request: Request<B>, metrics: Arc<Metrics>) -> Result<Response<Full<Bytes>>, Infallible> {
    let plain = |code: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = code;
        response
    };
    if request.uri().path() != "/metrics" {
        return Ok(plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"));
    }
    if request.method() != Method::GET {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "the metrics are got by GET\n"));
    }
    let text = tokio::task::spawn_blocking(move || metrics.text()).await;
    let Ok(Ok(text)) = text else {
        return Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be read; see the log\n"));
    };
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(CONTENT_TYPE, FORMAT);
    Ok(response)
}
