//! A client for the command line: connects, and gives each call a readable error.
//!
//! Requests and replies are the messages of [`pb`]; [`super::payload`] turns their payloads into JSON. No tonic type
//! is needed to use it.

use super::limits::MAX_RESPONSE_BYTES;
use super::probe::{self, Target};
use super::{hints, pb, status};
use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_stream::Stream;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status, Streaming};

/// A channel that adds credential and response limit to every call.
type Line = InterceptedService<Channel, Metadata>;
type Cause = Box<dyn StdError + Send + Sync>;

/// How to connect.
#[derive(Clone)]
pub struct ClientOptions {
    /// Compress requests, and ask for compressed replies.
    pub gzip: bool,
    /// Largest response that is received, bytes; sent with every call, since servers send at most 4 MiB otherwise.
    pub max_message_bytes: usize,
    /// How long to wait for the connection.
    pub connect_timeout: Duration,
    /// Roots of the server's certificate in PEM; none for those of the system.
    pub ca: Option<Vec<u8>>,
    /// Certificate and private key to show to the server, in PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// API key or token, sent with every call: over https, or to this machine.
    pub credential: Option<String>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            gzip: false,
            max_message_bytes: 1 << 30,
            connect_timeout: Duration::from_secs(5),
            ca: None,
            identity: None,
            credential: None,
        }
    }
}

/// What a call failed with.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address of a server.
    #[error("{url:?} is not the address of a server; give http://host:port or https://host:port ({why})")]
    Address {
        /// As asked.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing answers there.
    #[error("cannot connect to {url}")]
    Connect {
        /// As asked.
        url: String,
        /// Why.
        source: Cause,
    },
    /// Something answers there, and no TLS connection can be made with it.
    #[error("{url}: {why}")]
    Tls {
        /// As asked.
        url: String,
        /// What is wrong, and the remedy.
        why: &'static str,
        /// The error of the transport.
        source: Cause,
    },
    /// The server refused, or the connection broke.
    #[error("{message} ({code})")]
    Refused {
        /// The status code by name, for example `NOT_FOUND`.
        code: &'static str,
        /// The server's first line.
        message: String,
        /// Reason of the error, for example `OUT_OF_VOCABULARY`; empty if the server gave none.
        reason: String,
        /// Fields of the request that are wrong, each with why.
        fields: Vec<(String, String)>,
    },
}

impl ClientError {
    /// The status code by name; `UNAVAILABLE` when there was no connection.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "INVALID_ARGUMENT",
            Self::Connect { .. } | Self::Tls { .. } => "UNAVAILABLE",
            Self::Refused { code, .. } => code,
        }
    }

    /// A failure of the transport whose reason is known: what the transport says of it would mislead.
    fn explained(why: &str) -> Self {
        Self::Refused { code: "UNAVAILABLE", message: why.to_owned(), reason: String::new(), fields: Vec::new() }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        if let Some(why) = status.source().and_then(|source| hints::of_tls(source)) {
            return Self::explained(why);
        }
        let status::Told { code, message, reason, fields } = status::told(&status);
        Self::Refused { code, message, reason, fields }
    }
}

/// A connection to a server. Clones share it; it reconnects by itself.
#[derive(Clone, Debug)]
pub struct Client {
    line: Line,
    collections: pb::collections_client::CollectionsClient<Line>,
    points: pb::points_client::PointsClient<Line>,
    search: pb::search_client::SearchClient<Line>,
    quality: pb::quality_client::QualityClient<Line>,
    embedders: pb::embedders_client::EmbeddersClient<Line>,
    snapshots: pb::snapshots_client::SnapshotsClient<Line>,
    training: pb::training_client::TrainingClient<Line>,
    map: pb::map_client::MapClient<Line>,
    target: Arc<Target>,
    /// Whether the server has ever answered.
    answered: Arc<AtomicBool>,
}

impl Client {
    /// Connects to `http://host:port` (or `host:port`).
    ///
    /// # Errors
    /// [`ClientError::Address`], [`ClientError::Connect`], [`ClientError::Tls`].
    pub async fn connect(url: &str, options: &ClientOptions) -> Result<Self, ClientError> {
        let wrong = |why: String| ClientError::Address { url: url.to_owned(), why };
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let secure = full.starts_with("https://");
        if !secure && !full.starts_with("http://") {
            return Err(wrong("only http and https are spoken here".to_owned()));
        }
        let mut endpoint = Endpoint::from_shared(full).map_err(|error| wrong(error.to_string()))?;
        if secure {
            endpoint = endpoint.tls_config(tls(options)).map_err(|source| ClientError::Tls {
                url: url.to_owned(),
                why: "the certificates of this client cannot be used; --ca names the roots to trust",
                source: source.into(),
            })?;
        } else if options.credential.is_some() && !is_this_machine(endpoint.uri().host().unwrap_or_default()) {
            return Err(wrong("a key or token is sent to another machine over https only".to_owned()));
        }
        let metadata = Metadata::new(options).map_err(wrong)?;
        let endpoint = endpoint
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        let channel = endpoint.connect().await.map_err(|source| match hints::of_tls(&source) {
            Some(why) => ClientError::Tls { url: url.to_owned(), why, source: source.into() },
            None => ClientError::Connect { url: url.to_owned(), source: source.into() },
        })?;
        let line = InterceptedService::new(channel, metadata);
        let target = Target {
            host: endpoint.uri().host().unwrap_or_default().to_owned(),
            port: endpoint.uri().port_u16().unwrap_or(if secure { 443 } else { 80 }),
            secure,
            identity: options.identity.clone().map(|(certificate, key)| probe::Identity(certificate, key)),
        };
        macro_rules! client {
            ($client:ty) => {{
                let client = <$client>::new(line.clone()).max_decoding_message_size(options.max_message_bytes);
                if options.gzip { client.send_compressed(Gzip).accept_compressed(Gzip) } else { client }
            }};
        }
        Ok(Self {
            collections: client!(pb::collections_client::CollectionsClient<Line>),
            points: client!(pb::points_client::PointsClient<Line>),
            search: client!(pb::search_client::SearchClient<Line>),
            quality: client!(pb::quality_client::QualityClient<Line>),
            embedders: client!(pb::embedders_client::EmbeddersClient<Line>),
            snapshots: client!(pb::snapshots_client::SnapshotsClient<Line>),
            training: client!(pb::training_client::TrainingClient<Line>),
            map: client!(pb::map_client::MapClient<Line>),
            line,
            target: Arc::new(target),
            answered: Arc::default(),
        })
    }

    /// The reply of a call, or why there is none. Where the transport failed before the server ever answered, the port is
    /// looked at for the reason.
    async fn reply<T>(&self, called: Result<Response<T>, Status>) -> Result<T, ClientError> {
        let status = match called {
            Ok(response) => {
                self.answered.store(true, Ordering::Relaxed);
                return Ok(response.into_inner());
            }
            Err(status) => status,
        };
        // What a server answers has no source; of the transport's failures some name TLS themselves.
        match status.source().map(|source| hints::of_tls(source).is_some()) {
            None => self.answered.store(true, Ordering::Relaxed),
            Some(named) if named || self.answered.load(Ordering::Relaxed) => {}
            Some(_) => {
                if let Some(why) = self.target.probe().await {
                    return Err(ClientError::explained(why));
                }
            }
        }
        Err(status.into())
    }

    /// Whether the server says that it serves; `service` is empty for the whole, or for example `nearness.v1.Search`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a service that is not there, or without an answer.
    pub async fn serving(&self, service: &str) -> Result<bool, ClientError> {
        use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
        let request = HealthCheckRequest { service: service.to_owned() };
        let reply = self.reply(HealthClient::new(self.line.clone()).check(request).await).await?;
        Ok(reply.status == i32::from(ServingStatus::Serving))
    }

    /// Opens a stream of items. The server answers each by one `Ack`, in order; read them while sending, or the
    /// stream stands still once the windows are full.
    ///
    /// # Errors
    /// [`ClientError::Refused`].
    pub async fn upsert_stream(
        &self,
        requests: impl Stream<Item = pb::UpsertStreamRequest> + Send + 'static,
    ) -> Result<Acks, ClientError> {
        let replies = self.reply(self.points.clone().upsert_stream(requests).await).await?;
        Ok(Acks { replies, written: Written::default() })
    }

    /// Sends the files of a model folder, piece by piece, and has it installed.
    ///
    /// # Errors
    /// [`ClientError::Refused`].
    pub async fn install_model(
        &self,
        pieces: impl Stream<Item = pb::InstallRequest> + Send + 'static,
    ) -> Result<pb::InstallResponse, ClientError> {
        self.reply(self.training.clone().install(pieces).await).await
    }

    /// Sends settings and files, and has a model trained and installed: its progress, then the model. Dropping the replies ends it.
    ///
    /// # Errors
    /// [`ClientError::Refused`].
    pub async fn train_embedder(
        &self,
        parts: impl Stream<Item = pb::TrainEmbedderRequest> + Send + 'static,
    ) -> Result<Replies<pb::TrainEmbedderResponse>, ClientError> {
        Ok(Replies(self.reply(self.training.clone().train_embedder(parts).await).await?))
    }
}

macro_rules! streams {
    ($($service:ident { $($name:ident = $method:ident($request:ident) -> $reply:ident;)* })*) => {
        impl Client { $($(
            #[doc = concat!("Calls `", stringify!($method), "` of the service `", stringify!($service), "`: replies as they come.")]
            ///
            /// # Errors
            /// [`ClientError::Refused`] with the server's code, message and details.
            pub async fn $name(&self, request: pb::$request) -> Result<Replies<pb::$reply>, ClientError> {
                Ok(Replies(self.reply(self.$service.clone().$method(request).await).await?))
            }
        )*)* }
    };
}

streams! {
    collections {
        reembed = reembed(ReembedRequest) -> GenerationResponse;
        rollback = rollback(RollbackRequest) -> GenerationResponse;
    }
    snapshots {
        create_snapshot = create(CreateSnapshotRequest) -> CreateSnapshotResponse;
        verify_snapshot = verify(VerifySnapshotRequest) -> VerifySnapshotResponse;
        restore_snapshot = restore(RestoreSnapshotRequest) -> RestoreSnapshotResponse;
    }
    map {
        project = project(ProjectRequest) -> ProjectResponse;
        watch = watch(WatchRequest) -> WatchResponse;
    }
}

/// The replies of a stream.
#[derive(Debug)]
pub struct Replies<M>(Streaming<M>);

impl<M> Replies<M> {
    /// The next reply; none after the last.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the status that ended the stream.
    pub async fn next(&mut self) -> Result<Option<M>, ClientError> {
        Ok(self.0.message().await?)
    }
}

fn tls(options: &ClientOptions) -> ClientTlsConfig {
    let config = ClientTlsConfig::new();
    let config = match &options.ca {
        Some(pem) => config.ca_certificate(Certificate::from_pem(pem)),
        None => config.with_native_roots(),
    };
    match &options.identity {
        Some((certificate, key)) => config.identity(Identity::from_pem(certificate, key)),
        None => config,
    }
}

/// Whether what is sent to this host does not leave the machine.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What is sent with every call.
#[derive(Clone)]
struct Metadata {
    authorization: Option<MetadataValue<Ascii>>,
    response_bytes: MetadataValue<Ascii>,
}

impl Metadata {
    fn new(options: &ClientOptions) -> Result<Self, String> {
        let authorization = |credential: &str| {
            let mut value: MetadataValue<Ascii> =
                format!("Bearer {credential}").parse().map_err(|_| "the key or token has characters that none has")?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        };
        Ok(Self {
            authorization: options.credential.as_deref().map(authorization).transpose()?,
            response_bytes: (options.max_message_bytes.max(1) as u64).into(),
        })
    }
}

impl Interceptor for Metadata {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(MAX_RESPONSE_BYTES, self.response_bytes.clone());
        if let Some(value) = &self.authorization {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Without the values.
impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metadata")
    }
}

/// The acknowledgements of a stream.
#[derive(Debug)]
pub struct Acks {
    replies: Streaming<pb::UpsertStreamResponse>,
    written: Written,
}

/// What the acknowledged writes of a stream did, in points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// New points.
    pub inserted: u64,
    /// Points that replaced an older one.
    pub replaced: u64,
    /// Of those, points whose vector and payload are as before.
    pub unchanged: u64,
}

impl Acks {
    /// The next acknowledgements; none after the last.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the status that ended the stream.
    pub async fn next(&mut self) -> Result<Option<Vec<pb::Ack>>, ClientError> {
        let Some(reply) = self.replies.message().await? else { return Ok(None) };
        self.written.inserted += reply.inserted;
        self.written.replaced += reply.replaced;
        self.written.unchanged += reply.unchanged;
        Ok(Some(reply.acks))
    }

    /// What the writes acknowledged so far did. All 0 of a server that does not say.
    pub fn written(&self) -> Written {
        self.written
    }
}

macro_rules! calls {
    ($($service:ident { $($name:ident = $method:ident($request:ident) -> $reply:ident;)* })*) => {
        impl Client { $($(
            #[doc = concat!("Calls `", stringify!($method), "` of the service `", stringify!($service), "`.")]
            ///
            /// # Errors
            /// [`ClientError::Refused`] with the server's code, message and details.
            pub async fn $name(&self, request: pb::$request) -> Result<pb::$reply, ClientError> {
                self.reply(self.$service.clone().$method(request).await).await
            }
        )*)* }
    };
}

calls! {
    collections {
        create_collection = create(CreateRequest) -> CreateResponse;
        collection = get(GetCollectionRequest) -> GetCollectionResponse;
        list_collections = list(ListRequest) -> ListResponse;
        delete_collection = delete(DeleteCollectionRequest) -> DeleteCollectionResponse;
        compact = compact(CompactRequest) -> CompactResponse;
        drop_previous = drop_previous(DropPreviousRequest) -> DropPreviousResponse;
        check = check(CheckRequest) -> CheckResponse;
    }
    points {
        upsert = upsert(UpsertRequest) -> UpsertResponse;
        get_points = get(GetPointsRequest) -> GetPointsResponse;
        delete_points = delete(DeletePointsRequest) -> DeletePointsResponse;
        scroll = scroll(ScrollRequest) -> ScrollResponse;
        count = count(CountRequest) -> CountResponse;
    }
    search {
        search = search(SearchRequest) -> SearchResponse;
        search_batch = search_batch(SearchBatchRequest) -> SearchBatchResponse;
        explain = explain(ExplainRequest) -> ExplainResponse;
    }
    quality {
        measure_recall = measure_recall(MeasureRecallRequest) -> MeasureRecallResponse;
    }
    map {
        place = place(PlaceRequest) -> PlaceResponse;
    }
    snapshots {
        list_snapshots = list(ListSnapshotsRequest) -> ListSnapshotsResponse;
    }
    embedders {
        list_embedders = list(ListEmbeddersRequest) -> ListEmbeddersResponse;
        embedder = get(GetEmbedderRequest) -> GetEmbedderResponse;
        embed = embed(EmbedRequest) -> EmbedResponse;
        classify = classify(ClassifyRequest) -> ClassifyResponse;
        activations = activations(ActivationsRequest) -> ActivationsResponse;
        nearest_words = nearest_words(NearestWordsRequest) -> NearestWordsResponse;
        fill_blank = fill_blank(FillBlankRequest) -> FillBlankResponse;
        next_token = next_token(NextTokenRequest) -> NextTokenResponse;
    }
    training {
        models = list(ListModelsRequest) -> ListModelsResponse;
        model = get(GetModelRequest) -> GetModelResponse;
        delete_model = delete(DeleteModelRequest) -> DeleteModelResponse;
    }
}
