//! The server: the services of `nearness.v1` with health and reflection on one port, and for browsers on another.

use super::executor::ServiceState;
use super::limits::DEFAULT_RESPONSE_BYTES;
use super::method_table::SMALL_MESSAGE;
use super::metrics::Metrics;
use super::middleware::concurrency_limit::ConcurrencyLimit;
use super::middleware::memory_limit::MemoryLimit;
use super::middleware::request_layer::RequestLayer;
use super::middleware::request_log::RequestLogger;
use super::middleware::response_body::InFlightResponses;
use super::middleware::server_state::{HealthLimits, ServerState};
use super::services::collections::Collections;
use super::services::embedders::Embedders;
use super::services::health::Health;
use super::services::map::Map;
use super::services::points::Points;
use super::services::quality::Quality;
use super::services::search::Search;
use super::services::snapshots::Snapshots;
use super::services::training::Training;
use super::transport::connection::{self, CountRequests, Timeouts};
use super::transport::open_connections::OpenConnections;
use super::transport::tls::{Protocol, Tls};
use super::web_ui::{HostNames, WebUi};
use super::{metrics_endpoint, pb};
use crate::auth::{Access, AuditLog, Reloadable};
use crate::engine::Node;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

/// Flow-control window of a stream: bytes that a client may send before the server reads them.
const STREAM_WINDOW: u32 = 1 << 20;
/// Flow-control window of a connection, for all its streams.
const CONNECTION_WINDOW: u32 = 8 << 20;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum size of the headers of a request, bytes.
const HEADER_BYTES: u32 = 64 << 10;

/// Options of the web page.
#[derive(Clone, Debug)]
pub struct WebOptions {
    /// Address and port; port 0 selects a free one.
    pub address: SocketAddr,
    /// Allowed host names for requests without TLS, in addition to IP addresses and `localhost`.
    pub names: Vec<String>,
    /// Whether the server starts without the page if its port is taken.
    pub optional: bool,
}

/// Addresses and limits of the server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Address and port; port 0 selects a free one.
    pub address: SocketAddr,
    /// Maximum size of a request and of a response, bytes (decompressed), 64 KiB to 1 GiB. Larger ones are
    /// `RESOURCE_EXHAUSTED`.
    pub max_message_bytes: usize,
    /// Maximum response size for clients that do not send their limit, bytes.
    pub default_response_bytes: usize,
    /// Maximum number of concurrent requests, running and waiting. Further ones are `RESOURCE_EXHAUSTED` immediately.
    pub max_concurrent_requests: usize,
    /// Maximum number of concurrent requests per client. Further ones are `RESOURCE_EXHAUSTED` immediately.
    pub max_concurrent_requests_per_client: usize,
    /// Maximum memory of all requests in progress and of all unread responses, bytes; at least `max_message_bytes`.
    /// Further requests are `RESOURCE_EXHAUSTED` immediately.
    pub max_request_memory_bytes: usize,
    /// Maximum number of open connections. Further ones are closed immediately.
    pub max_connections: usize,
    /// Maximum number of open connections per address (IPv6: per /64 network). Further ones are closed immediately.
    pub max_connections_per_address: usize,
    /// Timeout from accepting a connection to the end of the TLS handshake and the first bytes of HTTP.
    pub handshake_timeout: Duration,
    /// Maximum time that a connection stays open without a request.
    pub idle_timeout: Duration,
    /// Maximum number of concurrent searches and embeddings; 0 for the number of cores.
    pub threads: usize,
    /// Maximum time that a client may send nothing within a request that it has begun (including a stream of items), or
    /// leave its response unread. The request then ends with `DEADLINE_EXCEEDED`.
    pub stall_timeout: Duration,
    /// Maximum time that shutdown waits for requests in progress.
    pub drain: Duration,
    /// Certificates; none for plain text.
    pub tls: Option<Reloadable<Tls>>,
    /// Whether plain text is allowed on an address that other machines can reach.
    pub insecure: bool,
    /// Access control.
    pub access: Reloadable<Access>,
    /// Audit log of administrative and write calls.
    pub audit: Option<Arc<AuditLog>>,
    /// Address of the metrics, in plain HTTP; port 0 selects a free one.
    pub metrics: Option<SocketAddr>,
    /// Options of the web page and of gRPC-web for the same services; none to disable both.
    pub web: Option<WebOptions>,
    /// Embedder and output of new collections that name none.
    pub default_embedder: (String, String),
}

/// Embedder of new collections, if neither the request nor the configuration names one.
const DEFAULT_EMBEDDER: &str = "text";

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 50_051)),
            max_message_bytes: 64 << 20,
            default_response_bytes: DEFAULT_RESPONSE_BYTES,
            max_concurrent_requests: 1_024,
            max_concurrent_requests_per_client: 512,
            max_request_memory_bytes: 1 << 30,
            max_connections: 4_096,
            max_connections_per_address: 2_048,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            threads: 0,
            stall_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(10),
            tls: None,
            insecure: false,
            access: Reloadable::new(Access::open()),
            audit: None,
            metrics: None,
            web: None,
            default_embedder: (DEFAULT_EMBEDDER.into(), String::new()),
        }
    }
}

impl ServerOptions {
    /// Checks whether a server can be started with these options.
    ///
    /// # Errors
    /// [`ServerError::Option`], [`ServerError::Plaintext`], [`ServerError::Open`].
    pub fn check(&self) -> Result<(), ServerError> {
        if !((64 << 10)..=(1 << 30)).contains(&self.max_message_bytes) {
            let found = self.max_message_bytes;
            return Err(ServerError::Option { option: "max_message_bytes", range: "65536 to 1073741824", found });
        }
        if self.max_request_memory_bytes < self.max_message_bytes {
            let found = self.max_request_memory_bytes;
            return Err(ServerError::Option {
                option: "max_request_memory_bytes",
                range: "max_message_bytes or more",
                found,
            });
        }
        for (option, found) in [
            ("max_concurrent_requests", self.max_concurrent_requests),
            ("max_concurrent_requests_per_client", self.max_concurrent_requests_per_client),
            ("max_connections", self.max_connections),
            ("max_connections_per_address", self.max_connections_per_address),
        ] {
            if found == 0 {
                return Err(ServerError::Option { option, range: "1 or more", found });
            }
        }
        for (option, time) in [
            ("patience", self.stall_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("idle_timeout", self.idle_timeout),
        ] {
            if !(Duration::from_millis(100)..=Duration::from_secs(86_400)).contains(&time) {
                let found = time.as_millis() as usize;
                return Err(ServerError::Option { option, range: "100 to 86400000 ms", found });
            }
        }
        if self.threads > 1_024 {
            return Err(ServerError::Option { option: "threads", range: "0 to 1024", found: self.threads });
        }
        if let Some(address) = self.metrics.filter(|address| !address.ip().is_loopback() && !self.insecure) {
            return Err(ServerError::OpenMetrics { address });
        }
        let addresses = [self.address].into_iter().chain(self.web.iter().map(|web| web.address));
        for address in addresses.filter(|address| !address.ip().is_loopback() && !self.insecure) {
            let Some(tls) = &self.tls else { return Err(ServerError::Plaintext { address }) };
            if self.access.get().is_open() && !tls.get().requires_client_certificate {
                return Err(ServerError::Open { address });
            }
        }
        Ok(())
    }

    /// Checks whether a running server may adopt the TLS and access settings of `fresh`. Settings that would remove
    /// authentication are refused, so that a half-written file or a missing section does not open the server.
    ///
    /// # Errors
    /// [`ServerError::WeakerSettings`], and as [`check`](Self::check).
    pub fn check_reload(&self, fresh: &Self) -> Result<(), ServerError> {
        let verifies_clients =
            |options: &Self| options.tls.as_ref().is_some_and(|tls| tls.get().requires_client_certificate);
        for (what, before, after) in [
            ("the list of callers", !self.access.get().is_open(), !fresh.access.get().is_open()),
            ("TLS", self.tls.is_some(), fresh.tls.is_some()),
            ("the roots of clients' certificates", verifies_clients(self), verifies_clients(fresh)),
        ] {
            if before && !after {
                return Err(ServerError::WeakerSettings { what });
            }
        }
        let tls = self.tls.as_ref().and(fresh.tls.clone());
        Self { tls, access: fresh.access.clone(), ..self.clone() }.check()
    }
}

/// Error of starting or running a server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// New settings would weaken the running server's access control.
    #[error("the new settings remove {what}; the running server keeps it until a restart")]
    WeakerSettings {
        /// The protection that would be removed.
        what: &'static str,
    },
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on {address}")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// Cause.
        source: std::io::Error,
    },
    /// Plain text on an address that other machines can reach.
    #[error(
        "{address} is reachable from other machines, but TLS is not configured; give a certificate, listen on a \
         loopback address, or set `insecure`"
    )]
    Plaintext {
        /// The configured address.
        address: SocketAddr,
    },
    /// No authentication on an address that other machines can reach.
    #[error(
        "{address} is reachable from other machines, but access is unrestricted; configure `[access]`, require client \
         certificates, or set `insecure`"
    )]
    Open {
        /// The configured address.
        address: SocketAddr,
    },
    /// Metrics on an address that other machines can reach.
    #[error(
        "the metrics on {address} are reachable from other machines, but have no TLS; listen on a loopback address, \
         or set `insecure`"
    )]
    OpenMetrics {
        /// The configured address.
        address: SocketAddr,
    },
    /// An option out of its range.
    #[error("{option} takes {range}, got {found}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Its valid range.
        range: &'static str,
        /// The configured value.
        found: usize,
    },
    /// The default embedder of new collections is not available.
    #[error("cannot use the default embedder of new collections (--default-embedder): {source}")]
    DefaultEmbedder {
        /// Cause.
        source: crate::embed::Error,
    },
    /// The descriptors in the binary are invalid.
    #[error("the reflection service cannot read its descriptors")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("the server failed")]
    Serve(#[source] tonic::transport::Error),
}

/// A server that is bound to its ports; it answers requests while [`serve`](Self::serve) runs.
pub struct Server {
    engine: Arc<dyn Node>,
    options: ServerOptions,
    listener: TcpListener,
    address: SocketAddr,
    metrics: Option<(TcpListener, SocketAddr)>,
    web: Option<(TcpListener, SocketAddr)>,
}

fn listen(requested: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let bind = || {
        let listener = TcpListener::bind(requested)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bind().map_err(|source| ServerError::Bind { address: requested, source })
}

impl Server {
    /// Binds the ports. Clients that connect from now on wait for [`serve`](Self::serve).
    ///
    /// # Errors
    /// [`ServerError::Option`], [`ServerError::Plaintext`], [`ServerError::Open`], [`ServerError::Bind`],
    /// [`ServerError::DefaultEmbedder`].
    pub fn bind(engine: Arc<dyn Node>, options: ServerOptions) -> Result<Self, ServerError> {
        options.check()?;
        let (name, output) = &options.default_embedder;
        if *name != DEFAULT_EMBEDDER || !output.is_empty() {
            // The built-in default may be missing: an engine may have other embedders only.
            let embedders = engine.embedders();
            let found = embedders.by_name(name).and_then(|embedder| embedder.output_layer(output).map(drop));
            found.map_err(|source| ServerError::DefaultEmbedder { source })?;
        }
        let (listener, address) = listen(options.address)?;
        let metrics = options.metrics.map(listen).transpose()?;
        let web = match &options.web {
            None => None,
            Some(web) => match listen(web.address) {
                Ok(listening) => Some(listening),
                Err(error) if web.optional => {
                    let address = web.address;
                    tracing::warn!(error = &error as &dyn std::error::Error, %address, "cannot bind the port of the \
                        web page; the server starts without it");
                    None
                }
                Err(error) => return Err(error),
            },
        };
        Ok(Self { engine, options, listener, address, metrics, web })
    }

    /// Returns the address of the gRPC port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of the metrics.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(_, address)| *address)
    }

    /// Returns the address of the web page.
    pub fn web_addr(&self) -> Option<SocketAddr> {
        self.web.as_ref().map(|(_, address)| *address)
    }

    /// Serves until `shutdown` completes. Then health reports `NOT_SERVING`, new connections are refused, streams end
    /// with `UNAVAILABLE` after their last acknowledgement, and requests in progress have [`ServerOptions::drain`] to
    /// finish. Requests that still run after that are left to the runtime.
    ///
    /// # Errors
    /// [`ServerError::Serve`] if the transport fails, [`ServerError::Bind`] if the port cannot be polled.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let Self { engine, options, listener, address, metrics, web } = self;
        let polled = |(listener, address): (TcpListener, SocketAddr)| {
            tokio::net::TcpListener::from_std(listener).map_err(|source| ServerError::Bind { address, source })
        };
        let limit = Arc::new(ConcurrencyLimit::new(options.max_connections, options.max_connections_per_address));
        let connections = Arc::new(OpenConnections::new(limit.clone()));
        let timeouts = Timeouts {
            handshake: options.handshake_timeout,
            idle: options.idle_timeout,
            stall_timeout: options.stall_timeout,
        };
        let (tls, listener) = (options.tls.clone(), polled((listener, address))?);
        let incoming = connection::accept(listener, tls, Protocol::Grpc, connections.clone(), timeouts);
        let (stop, stopping) = watch::channel(false);
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let bytes = options.max_message_bytes;
        let memory_limit = Arc::new(MemoryLimit::new(options.max_request_memory_bytes));
        let service_state = Arc::new(ServiceState::new(
            engine.clone(),
            threads,
            memory_limit.clone(),
            bytes,
            options.default_embedder,
            stopping.clone(),
        ));
        let responses = Arc::new(InFlightResponses::new(options.stall_timeout));
        let max = options.max_concurrent_requests;
        let state = Arc::new(ServerState {
            access: options.access.clone(),
            concurrency_limit: Arc::new(ConcurrencyLimit::new(max, options.max_concurrent_requests_per_client)),
            logger: Arc::new(RequestLogger::new(options.audit)),
            memory_limit,
            health: HealthLimits::default(),
            responses: responses.clone(),
            stall_timeout: options.stall_timeout,
            max_message_bytes: bytes,
            default_response_bytes: options.default_response_bytes,
        });
        // Ends with this call, at the latest when it is dropped.
        let mut background = tokio::task::JoinSet::new();
        background.spawn(responses.abort_stalled());
        if let Some(listening) = metrics {
            let metrics = Metrics::new(&state, engine.clone(), service_state.clone(), limit);
            background.spawn(metrics_endpoint::serve(polled(listening)?, metrics));
        }

        let mut services = vec![""];
        let mut routes = Routes::default()
            .add_service(RequestLayer::new(
                reflection()?
                    .build_v1()
                    .map_err(ServerError::Reflection)?
                    .max_decoding_message_size(SMALL_MESSAGE.min(bytes)),
                state.clone(),
            ))
            .add_service(RequestLayer::new(
                reflection()?
                    .build_v1alpha()
                    .map_err(ServerError::Reflection)?
                    .max_decoding_message_size(SMALL_MESSAGE.min(bytes)),
                state.clone(),
            ));
        macro_rules! serve {
            ($server:ty, $handler:expr) => {
                let service = <$server>::new($handler)
                    .max_decoding_message_size(bytes)
                    .accept_compressed(Gzip)
                    .send_compressed(Gzip);
                services.push(<$server as NamedService>::NAME);
                routes = routes.add_service(RequestLayer::new(service, state.clone()));
            };
        }
        serve!(pb::collections_server::CollectionsServer<Collections>, Collections(service_state.clone()));
        serve!(pb::points_server::PointsServer<Points>, Points(service_state.clone()));
        serve!(pb::search_server::SearchServer<Search>, Search(service_state.clone()));
        serve!(pb::quality_server::QualityServer<Quality>, Quality(service_state.clone()));
        serve!(pb::map_server::MapServer<Map>, Map(service_state.clone()));
        serve!(pb::snapshots_server::SnapshotsServer<Snapshots>, Snapshots(service_state.clone()));
        serve!(pb::training_server::TrainingServer<Training>, Training(service_state.clone()));
        serve!(pb::embedders_server::EmbeddersServer<Embedders>, Embedders(service_state));
        let health = Health { engine, access: options.access, services, stopping: stopping.clone() };
        let health = HealthServer::new(health).max_decoding_message_size(SMALL_MESSAGE.min(bytes));
        let routes = routes.add_service(RequestLayer::new(health, state));

        let shutdown = async move {
            shutdown.await;
            tracing::info!("stopping: no new requests");
            stop.send_replace(true);
            // Kept until the drain ends: a dropped sender would signal a second stop.
            stop.closed().await;
        };
        let transport = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(HEADER_BYTES);
        let browsers = match (web, options.web) {
            (Some(listening), Some(web)) => {
                let names = web.names.iter().map(|name| name.to_ascii_lowercase()).collect();
                let web_ui = WebUi::new(routes.clone(), HostNames { names, tls: options.tls.is_some() });
                let web_ui = CountRequests(web_ui);
                let incoming =
                    connection::accept(polled(listening)?, options.tls, Protocol::Web, connections, timeouts);
                let stopped_signal = stopped(stopping.clone());
                Some(transport.clone().accept_http1(true).serve_with_incoming_shutdown(
                    web_ui,
                    incoming,
                    stopped_signal,
                ))
            }
            _ => None,
        };
        let stopped_signal = stopped(stopping.clone());
        let grpc = transport.serve_with_incoming_shutdown(CountRequests(routes.prepare()), incoming, stopped_signal);
        let serving = async move {
            let browsers = async move {
                match browsers {
                    Some(browsers) => browsers.await,
                    None => Ok(()),
                }
            };
            tokio::try_join!(grpc, browsers).map(drop)
        };
        let result = drive(serving, shutdown, stopping, options.drain).await;
        background.shutdown().await;
        result
    }
}

/// Completes when the server stops.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Serves until the stop, then for at most `drain`.
async fn drive(
    serving: impl Future<Output = Result<(), tonic::transport::Error>>,
    shutdown: impl Future<Output = ()> + Send,
    stopping: watch::Receiver<bool>,
    drain: Duration,
) -> Result<(), ServerError> {
    let limit = async {
        stopped(stopping).await;
        tokio::time::sleep(drain).await;
    };
    tokio::pin!(serving, limit, shutdown);
    let mut stopped_signal = false;
    loop {
        tokio::select! {
            result = &mut serving => return result.map_err(ServerError::Serve),
            () = &mut limit => {
                tracing::warn!("stopped while requests were still in progress after {drain:?}");
                return Ok(());
            }
            () = &mut shutdown, if !stopped_signal => stopped_signal = true,
        }
    }
}

fn reflection() -> Result<tonic_reflection::server::Builder<'static>, ServerError> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET))
}
