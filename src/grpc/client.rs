//! gRPC client for the command line, with readable errors.
//!
//! Requests and responses are the messages of [`pb`]; [`super::convert::payload`] converts their payloads to JSON. The API
//! exposes no tonic types.

use super::convert::columns;
use super::limits::MAX_RESPONSE_BYTES;
use super::transport::hints;
use super::transport::probe::{self, Target};
use super::{pb, status};
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

/// A channel that adds the credential and the response limit to every call.
type ClientChannel = InterceptedService<Channel, Metadata>;
type BoxError = Box<dyn StdError + Send + Sync>;

/// Connection options.
#[derive(Clone)]
pub struct ClientOptions {
    /// Compress requests, and request compressed responses.
    pub gzip: bool,
    /// Maximum response size, bytes; sent with every call, since servers otherwise send at most 4 MiB.
    pub max_message_bytes: usize,
    /// Timeout for connecting.
    pub connect_timeout: Duration,
    /// Root certificates to verify the server with, PEM; none for the system's roots.
    pub ca: Option<Vec<u8>>,
    /// Client certificate and private key, PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// API key or token, sent with every call; only over https or to this machine.
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

/// Error of a client call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Invalid server address.
    #[error("{url:?} is not the address of a server; give http://host:port or https://host:port ({why})")]
    Address {
        /// The address given.
        url: String,
        /// Reason.
        why: String,
    },
    /// The connection failed.
    #[error("cannot connect to {url}")]
    Connect {
        /// The address given.
        url: String,
        /// Cause.
        source: BoxError,
    },
    /// The connection succeeded, but the TLS handshake failed.
    #[error("{url}: {why}")]
    Tls {
        /// The address given.
        url: String,
        /// Reason and remedy.
        why: &'static str,
        /// Transport error.
        source: BoxError,
    },
    /// The server refused the call, or the connection broke.
    #[error("{message} ({code})")]
    Refused {
        /// Name of the status code, for example `NOT_FOUND`.
        code: &'static str,
        /// First line of the server's message.
        message: String,
        /// Reason from the error details, for example `OUT_OF_VOCABULARY`; empty if there is none.
        reason: String,
        /// Invalid request fields, each with its description.
        fields: Vec<(String, String)>,
    },
}

impl ClientError {
    /// Returns the name of the status code; `UNAVAILABLE` if there was no connection.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "INVALID_ARGUMENT",
            Self::Connect { .. } | Self::Tls { .. } => "UNAVAILABLE",
            Self::Refused { code, .. } => code,
        }
    }

    /// Builds the error of a transport failure with a known cause; the transport's message would be misleading.
    fn unavailable(why: &str) -> Self {
        Self::Refused { code: "UNAVAILABLE", message: why.to_owned(), reason: String::new(), fields: Vec::new() }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        if let Some(why) = status.source().and_then(|source| hints::explain_tls(source)) {
            return Self::unavailable(why);
        }
        let status::StatusContents { code, message, reason, fields } = status::decode(&status);
        Self::Refused { code, message, reason, fields }
    }
}

/// A connection to a server. Clones share it; it reconnects automatically.
#[derive(Clone, Debug)]
pub struct Client {
    channel: ClientChannel,
    collections: pb::collections_client::CollectionsClient<ClientChannel>,
    points: pb::points_client::PointsClient<ClientChannel>,
    search: pb::search_client::SearchClient<ClientChannel>,
    quality: pb::quality_client::QualityClient<ClientChannel>,
    embedders: pb::embedders_client::EmbeddersClient<ClientChannel>,
    snapshots: pb::snapshots_client::SnapshotsClient<ClientChannel>,
    training: pb::training_client::TrainingClient<ClientChannel>,
    map: pb::map_client::MapClient<ClientChannel>,
    target: Arc<Target>,
    /// Whether the server has ever responded.
    connected: Arc<AtomicBool>,
}

impl Client {
    /// Connects to `http://host:port` (or `host:port`).
    ///
    /// # Errors
    /// [`ClientError::Address`], [`ClientError::Connect`], [`ClientError::Tls`].
    pub async fn connect(url: &str, options: &ClientOptions) -> Result<Self, ClientError> {
        let invalid = |why: String| ClientError::Address { url: url.to_owned(), why };
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let secure = full.starts_with("https://");
        if !secure && !full.starts_with("http://") {
            return Err(invalid("only http and https are supported".to_owned()));
        }
        let mut endpoint = Endpoint::from_shared(full).map_err(|error| invalid(error.to_string()))?;
        if secure {
            endpoint = endpoint.tls_config(tls(options)).map_err(|source| ClientError::Tls {
                url: url.to_owned(),
                why: "cannot use the certificates of this client; --ca names the trusted roots",
                source: source.into(),
            })?;
        } else if options.credential.is_some() && !is_this_machine(endpoint.uri().host().unwrap_or_default()) {
            return Err(invalid("keys and tokens are sent to other machines only over https".to_owned()));
        }
        let metadata = Metadata::new(options).map_err(invalid)?;
        let endpoint = endpoint
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        let channel = endpoint.connect().await.map_err(|source| match hints::explain_tls(&source) {
            Some(why) => ClientError::Tls { url: url.to_owned(), why, source: source.into() },
            None => ClientError::Connect { url: url.to_owned(), source: source.into() },
        })?;
        let channel = InterceptedService::new(channel, metadata);
        let target = Target {
            host: endpoint.uri().host().unwrap_or_default().to_owned(),
            port: endpoint.uri().port_u16().unwrap_or(if secure { 443 } else { 80 }),
            secure,
            identity: options.identity.clone().map(|(certificate, key)| probe::Identity(certificate, key)),
        };
        macro_rules! client {
            ($client:ty) => {{
                let client = <$client>::new(channel.clone()).max_decoding_message_size(options.max_message_bytes);
                if options.gzip { client.send_compressed(Gzip).accept_compressed(Gzip) } else { client }
            }};
        }
        Ok(Self {
            collections: client!(pb::collections_client::CollectionsClient<ClientChannel>),
            points: client!(pb::points_client::PointsClient<ClientChannel>),
            search: client!(pb::search_client::SearchClient<ClientChannel>),
            quality: client!(pb::quality_client::QualityClient<ClientChannel>),
            embedders: client!(pb::embedders_client::EmbeddersClient<ClientChannel>),
            snapshots: client!(pb::snapshots_client::SnapshotsClient<ClientChannel>),
            training: client!(pb::training_client::TrainingClient<ClientChannel>),
            map: client!(pb::map_client::MapClient<ClientChannel>),
            channel,
            target: Arc::new(target),
            connected: Arc::default(),
        })
    }

    /// Returns the response or the error of a call. If the transport failed before the server ever responded, probes
    /// the port for the cause.
    async fn response<T>(&self, called: Result<Response<T>, Status>) -> Result<T, ClientError> {
        let status = match called {
            Ok(response) => {
                self.connected.store(true, Ordering::Relaxed);
                return Ok(response.into_inner());
            }
            Err(status) => status,
        };
        // A status sent by the server has no source. Some transport failures already name TLS.
        match status.source().map(|source| hints::explain_tls(source).is_some()) {
            None => self.connected.store(true, Ordering::Relaxed),
            Some(named) if named || self.connected.load(Ordering::Relaxed) => {}
            Some(_) => {
                if let Some(why) = self.target.probe().await {
                    return Err(ClientError::unavailable(why));
                }
            }
        }
        Err(status.into())
    }

    /// Returns whether the server reports a service as serving. `service` is empty for the whole server, or for example
    /// `nearness.v1.Search`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for an unknown service, or without a response.
    pub async fn serving(&self, service: &str) -> Result<bool, ClientError> {
        use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
        let request = HealthCheckRequest { service: service.to_owned() };
        let response = self.response(HealthClient::new(self.channel.clone()).check(request).await).await?;
        Ok(response.status == i32::from(ServingStatus::Serving))
    }

    /// Calls `list` of the service `Collections`, until the list is complete or has `limit` collections: as many calls as
    /// the response limit requires.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's code, message and details.
    pub async fn list_collections(
        &self,
        mut request: pb::ListCollectionsRequest,
    ) -> Result<pb::ListCollectionsResponse, ClientError> {
        let limit = request.limit;
        let mut all = pb::ListCollectionsResponse::default();
        loop {
            let page = self.response(self.collections.clone().list(request.clone()).await).await?;
            all.collections.extend(page.collections);
            let found = all.collections.len() as u32;
            if page.next.is_empty() || (limit != 0 && found >= limit) {
                all.next = page.next;
                return Ok(all);
            }
            advances(page.next > request.after)?;
            (request.after, request.limit) = (page.next, limit.saturating_sub(found));
        }
    }

    /// Calls `get` of the service `Points`, until every id is read: as many calls as the response limit requires.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's code, message and details.
    pub async fn get_points(&self, mut request: pb::GetPointsRequest) -> Result<pb::GetPointsResponse, ClientError> {
        let mut all = pb::GetPointsResponse::default();
        loop {
            let left = request.ids.len();
            let page = pb::GetPointsRequest { ids: std::mem::take(&mut request.ids), ..request.clone() };
            let response = self.response(self.points.clone().get(page).await).await?;
            all.points.extend(response.points);
            all.missing.extend(response.missing);
            columns::extend(&mut all.vectors, response.vectors);
            if response.remaining.is_empty() {
                return Ok(all);
            }
            advances(response.remaining.len() < left)?;
            request.ids = response.remaining;
        }
    }

    /// Calls `search` of the service `Search`, until all hits are received: as many calls as the response limit
    /// requires. The stats are those of all calls together.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's code, message and details.
    pub async fn search(&self, request: pb::SearchRequest) -> Result<pb::SearchResponse, ClientError> {
        let first = self.response(self.search.clone().search(request.clone()).await).await?;
        self.rest_of(request, first).await
    }

    /// Completes the response to a search with the pages that follow it.
    async fn rest_of(
        &self,
        mut request: pb::SearchRequest,
        mut all: pb::SearchResponse,
    ) -> Result<pb::SearchResponse, ClientError> {
        while all.next_offset != 0 {
            advances(all.next_offset > request.offset)?;
            request.offset = std::mem::take(&mut all.next_offset);
            let page = self.response(self.search.clone().search(request.clone()).await).await?;
            all.hits.extend(page.hits);
            columns::extend(&mut all.vectors, page.vectors);
            all.next_offset = page.next_offset;
            if let (Some(all), Some(page)) = (&mut all.stats, page.stats) {
                all.distances_computed += page.distances_computed;
                all.growing_distances += page.growing_distances;
                all.embed_us += page.embed_us;
                all.search_us += page.search_us;
            }
        }
        Ok(all)
    }

    /// Calls `search_batch` of the service `Search`, until all hits of all queries are received: as many calls as the
    /// response limit requires.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's code, message and details.
    pub async fn search_batch(
        &self,
        mut request: pb::SearchBatchRequest,
    ) -> Result<pb::SearchBatchResponse, ClientError> {
        let mut all = pb::SearchBatchResponse::default();
        loop {
            let response = self.response(self.search.clone().search_batch(request.clone()).await).await?;
            for (index, mut response) in response.responses.into_iter().enumerate() {
                if response.next_offset != 0 {
                    let one = pb::SearchRequest {
                        collection: request.collection.clone(),
                        query: match &request.vectors {
                            Some(column) => columns::query_at(column, index),
                            None => request.queries.get(index).cloned(),
                        },
                        params: request.params.clone(),
                        min_sequence: request.min_sequence,
                        offset: 0,
                    };
                    response = self.rest_of(one, response).await?;
                }
                if !all.responses.is_empty() {
                    // Those of the first response are those of the batch.
                    response.unknown_fields.clear();
                }
                all.responses.push(response);
            }
            if response.next_query == 0 {
                return Ok(all);
            }
            let answered = response.next_query as usize;
            match &mut request.vectors {
                Some(column) => {
                    let row = columns::row_bytes(column);
                    advances(answered * row < column.data.len())?;
                    _ = column.data.split_to(answered * row);
                }
                None => {
                    advances(answered < request.queries.len())?;
                    request.queries.drain(..answered);
                }
            }
        }
    }

    /// Opens a stream of items. The server sends one `Ack` per item, in order; read them while sending, or the stream
    /// stalls once the flow-control windows are full.
    ///
    /// # Errors
    /// [`ClientError::Refused`].
    pub async fn upsert_stream(
        &self,
        requests: impl Stream<Item = pb::UpsertStreamRequest> + Send + 'static,
    ) -> Result<Acks, ClientError> {
        let responses = self.response(self.points.clone().upsert_stream(requests).await).await?;
        Ok(Acks { responses, written: Written::default(), unknown_fields: Vec::new() })
    }

    /// Installs a model folder: uploads its files in pieces.
    ///
    /// # Errors
    /// [`ClientError::Refused`].
    pub async fn install_model(
        &self,
        pieces: impl Stream<Item = pb::InstallModelRequest> + Send + 'static,
    ) -> Result<pb::InstallModelResponse, ClientError> {
        self.response(self.training.clone().install(pieces).await).await
    }

    /// Trains and installs a model from the uploaded settings and files. Returns its progress, then the model. Dropping
    /// the stream cancels the training.
    ///
    /// # Errors
    /// [`ClientError::Refused`].
    pub async fn train_embedder(
        &self,
        parts: impl Stream<Item = pb::TrainEmbedderRequest> + Send + 'static,
    ) -> Result<ResponseStream<pb::TrainEmbedderResponse>, ClientError> {
        Ok(ResponseStream(self.response(self.training.clone().train_embedder(parts).await).await?))
    }
}

macro_rules! streams {
    ($($service:ident { $($name:ident = $method:ident($request:ident) -> $response:ident;)* })*) => {
        impl Client { $($(
            #[doc = concat!("Calls `", stringify!($method), "` of the service `", stringify!($service), "` and streams the responses.")]
            ///
            /// # Errors
            /// [`ClientError::Refused`] with the server's code, message and details.
            pub async fn $name(&self, request: pb::$request) -> Result<ResponseStream<pb::$response>, ClientError> {
                Ok(ResponseStream(self.response(self.$service.clone().$method(request).await).await?))
            }
        )*)* }
    };
}

streams! {
    collections {
        reembed = reembed(ReembedCollectionRequest) -> ReembedCollectionResponse;
        rollback = rollback(RollbackCollectionRequest) -> RollbackCollectionResponse;
    }
    snapshots {
        create_snapshot = create(CreateSnapshotRequest) -> CreateSnapshotResponse;
        verify_snapshot = verify(VerifySnapshotRequest) -> VerifySnapshotResponse;
        restore_snapshot = restore(RestoreSnapshotRequest) -> RestoreSnapshotResponse;
    }
    map {
        compute_layout = compute_layout(ComputeLayoutRequest) -> ComputeLayoutResponse;
        watch = watch(WatchRequest) -> WatchResponse;
    }
}

/// The response messages of a streaming call.
#[derive(Debug)]
pub struct ResponseStream<M>(Streaming<M>);

impl<M> ResponseStream<M> {
    /// Returns the next message; none after the last.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the status that ended the stream.
    pub async fn next(&mut self) -> Result<Option<M>, ClientError> {
        Ok(self.0.message().await?)
    }
}

/// Fails if a page does not end after the one before it, so that a faulty server cannot keep a client in a loop.
fn advances(later: bool) -> Result<(), ClientError> {
    if later {
        return Ok(());
    }
    let message = "the server ended a response early, and the next page would not begin after it".to_owned();
    Err(ClientError::Refused { code: "INTERNAL", message, reason: String::new(), fields: Vec::new() })
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

/// Whether traffic to this host stays on the machine.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Metadata sent with every call.
#[derive(Clone)]
struct Metadata {
    authorization: Option<MetadataValue<Ascii>>,
    response_bytes: MetadataValue<Ascii>,
}

impl Metadata {
    fn new(options: &ClientOptions) -> Result<Self, String> {
        let authorization = |credential: &str| {
            let mut value: MetadataValue<Ascii> =
                format!("Bearer {credential}").parse().map_err(|_| "the key or token has invalid characters")?;
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

/// Omits the values, which are secret.
impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metadata")
    }
}

/// The acknowledgements of an upsert stream.
#[derive(Debug)]
pub struct Acks {
    responses: Streaming<pb::UpsertStreamResponse>,
    written: Written,
    unknown_fields: Vec<String>,
}

/// Counts of the acknowledged writes of a stream, in points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// New points.
    pub inserted: u64,
    /// Points that replaced an existing one.
    pub replaced: u64,
    /// Of the replaced points, those whose vector and payload did not change.
    pub unchanged: u64,
}

impl Acks {
    /// Returns the next acknowledgements; none after the last.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the status that ended the stream.
    pub async fn next(&mut self) -> Result<Option<Vec<pb::Ack>>, ClientError> {
        let Some(response) = self.responses.message().await? else { return Ok(None) };
        self.written.inserted += response.inserted;
        self.written.replaced += response.replaced;
        self.written.unchanged += response.unchanged;
        self.unknown_fields.extend(response.unknown_fields);
        Ok(Some(response.acks))
    }

    /// Returns the counts of the writes acknowledged so far; all 0 if the server does not report them.
    pub fn written(&self) -> Written {
        self.written
    }

    /// Returns the fields of `only_if` that no point had before the first write; known after the first acknowledgement.
    pub fn unknown_fields(&self) -> &[String] {
        &self.unknown_fields
    }
}

macro_rules! calls {
    ($($service:ident { $($name:ident = $method:ident($request:ident) -> $response:ident;)* })*) => {
        impl Client { $($(
            #[doc = concat!("Calls `", stringify!($method), "` of the service `", stringify!($service), "`.")]
            ///
            /// # Errors
            /// [`ClientError::Refused`] with the server's code, message and details.
            pub async fn $name(&self, request: pb::$request) -> Result<pb::$response, ClientError> {
                self.response(self.$service.clone().$method(request).await).await
            }
        )*)* }
    };
}

calls! {
    collections {
        create_collection = create(CreateCollectionRequest) -> CreateCollectionResponse;
        collection = get(GetCollectionRequest) -> GetCollectionResponse;
        delete_collection = delete(DeleteCollectionRequest) -> DeleteCollectionResponse;
        compact = compact(CompactCollectionRequest) -> CompactCollectionResponse;
        update_collection = update(UpdateCollectionRequest) -> UpdateCollectionResponse;
        add_field = add_field(AddFieldRequest) -> AddFieldResponse;
        drop_field = drop_field(DropFieldRequest) -> DropFieldResponse;
        delete_previous_generation = delete_previous_generation(DeletePreviousGenerationRequest) -> DeletePreviousGenerationResponse;
        check = check(CheckCollectionRequest) -> CheckCollectionResponse;
        update_aliases = update_aliases(UpdateAliasesRequest) -> UpdateAliasesResponse;
    }
    points {
        upsert = upsert(UpsertRequest) -> UpsertResponse;
        delete_points = delete(DeletePointsRequest) -> DeletePointsResponse;
        scroll = scroll(ScrollRequest) -> ScrollResponse;
        count = count(CountRequest) -> CountResponse;
        facet = facet(FacetRequest) -> FacetResponse;
        describe_fields = describe_fields(DescribeFieldsRequest) -> DescribeFieldsResponse;
        sample = sample(SampleRequest) -> SampleResponse;
        update_payload = update_payload(UpdatePayloadRequest) -> UpdatePayloadResponse;
        update_vectors = update_vectors(UpdateVectorsRequest) -> UpdateVectorsResponse;
    }
    search {
        explain = explain(ExplainRequest) -> ExplainResponse;
        analyze = analyze(AnalyzeRequest) -> AnalyzeResponse;
    }
    quality {
        measure_recall = measure_recall(MeasureRecallRequest) -> MeasureRecallResponse;
    }
    map {
        locate_queries = locate_queries(LocateQueriesRequest) -> LocateQueriesResponse;
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
