//! The port for Prometheus: `GET /metrics` over HTTP/1.1, and nothing else.
//!
//! Idle connections do not block others: at the connection limit, a new connection closes the oldest idle one.

use super::metrics::Metrics;
use super::middleware::fair_queue::Client;
use super::transport::connection::client_of;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// Maximum number of connections.
const MAX_CONNECTIONS: usize = 64;
/// Maximum number of connections per address.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 16;
/// Timeout for the head of a request, including the time since the previous request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum lifetime of a connection.
const MAX_LIFETIME: Duration = Duration::from_secs(600);
/// The format written by `prometheus_client`.
const CONTENT_TYPE_OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

struct OpenConnection {
    client: Client,
    /// Whether a request is being answered.
    busy: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Open connections, oldest first.
#[derive(Default)]
struct Connections(Vec<OpenConnection>);

impl Connections {
    /// Makes room for one more connection of this client, by closing an idle one if necessary. False if there is no
    /// room.
    fn make_room(&mut self, client: &Client) -> bool {
        self.0.retain(|open| !open.task.is_finished());
        let of_client = self.0.iter().filter(|open| open.client == *client).count();
        if of_client < MAX_CONNECTIONS_PER_ADDRESS && self.0.len() < MAX_CONNECTIONS {
            return true;
        }
        let idle = |open: &OpenConnection| {
            let closes = of_client < MAX_CONNECTIONS_PER_ADDRESS || open.client == *client;
            closes && !open.busy.load(Ordering::Relaxed)
        };
        let Some(at) = self.0.iter().position(idle) else { return false };
        self.0.remove(at).task.abort();
        true
    }
}

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, metrics: Metrics) {
    let metrics = Arc::new(metrics);
    let mut connections = Connections::default();
    // Dropping the set closes the connections.
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a metrics connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let client = client_of(address.ip());
        if !connections.make_room(&client) {
            tracing::debug!(peer = %address, "closed a metrics connection: too many are open");
            continue;
        }
        let (metrics, busy) = (metrics.clone(), Arc::new(AtomicBool::new(false)));
        let busy_flag = busy.clone();
        let task = tasks.spawn(async move {
            let respond = service_fn(move |request| {
                let (metrics, busy) = (metrics.clone(), busy_flag.clone());
                async move {
                    busy.store(true, Ordering::Relaxed);
                    let response = respond(request, metrics).await;
                    busy.store(false, Ordering::Relaxed);
                    response
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), respond);
            match tokio::time::timeout(MAX_LIFETIME, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a metrics connection failed"),
                Err(_) => {
                    tracing::debug!(peer = %address, "closed a metrics connection: it reached its maximum lifetime")
                }
            }
        });
        connections.0.push(OpenConnection { client, busy, task });
    }
}

async fn respond<B>(request: Request<B>, metrics: Arc<Metrics>) -> Result<Response<Full<Bytes>>, Infallible> {
    let plain = |code: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = code;
        response
    };
    if request.uri().path() != "/metrics" {
        return Ok(plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"));
    }
    if request.method() != Method::GET {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n"));
    }
    let text = tokio::task::spawn_blocking(move || metrics.text()).await;
    let Ok(Ok(text)) = text else {
        return Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot read the metrics; see the log\n"));
    };
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(CONTENT_TYPE, CONTENT_TYPE_OPENMETRICS);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_connection_closes_the_oldest_idle_one() {
        let mut tasks = JoinSet::new();
        let mut connections = Connections::default();
        let mut open = |connections: &mut Connections, client: &str, busy: bool| {
            let room = connections.make_room(&client.into());
            if room {
                let (client, busy) = (client.into(), Arc::new(AtomicBool::new(busy)));
                connections.0.push(OpenConnection { client, busy, task: tasks.spawn(std::future::pending::<()>()) });
            }
            room
        };
        let count = |connections: &Connections, client: &str| {
            connections.0.iter().filter(|open| *open.client == *client).count()
        };
        // One address gets its share, and busy connections stay.
        for at in 0..100 {
            assert!(open(&mut connections, "a", at == 0));
        }
        assert_eq!(count(&connections, "a"), MAX_CONNECTIONS_PER_ADDRESS);
        assert!(connections.0[0].busy.load(Ordering::Relaxed));
        for client in ["b", "c", "d"] {
            for _ in 0..20 {
                assert!(open(&mut connections, client, false));
            }
        }
        assert_eq!(connections.0.len(), MAX_CONNECTIONS);
        // A new address gets a connection, which closes the oldest idle one.
        assert!(open(&mut connections, "e", false));
        assert_eq!((count(&connections, "a"), count(&connections, "e")), (MAX_CONNECTIONS_PER_ADDRESS - 1, 1));
        // An address whose connections are all busy gets no new one.
        for connection in &connections.0 {
            connection.busy.store(true, Ordering::Relaxed);
        }
        assert!(!open(&mut connections, "b", false) && !open(&mut connections, "f", false));
    }
}
