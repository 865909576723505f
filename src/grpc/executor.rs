//! Executor for engine calls: blocking threads with limited concurrency and fair queueing.
//!
//! A request that is dropped while it waits (deadline passed, client disconnected) never runs. A running call is
//! cancelled through its [`CancellationToken`], which long reads poll; a running write is completed, so that it is
//! atomic.

use super::authorized_engine::AuthorizedEngine;
use super::limits::{PAGE_BYTES, TOKEN_BYTES};
use super::middleware::fair_queue::FairQueue;
use super::middleware::memory_limit::{MemoryLimit, MemoryPermit};
use super::middleware::request_context::RequestContext;
use super::middleware::response_meter::{ResponseForm, ResponseMeter};
use super::pb;
use super::status::{self, IntoStatus, OrStatus};
use crate::api::{Budget, CancellationToken, Error, Item, Path, PointInput, Query, RecommendTerm, SearchParams};
use crate::engine::Node;
use crate::types::CollectionName;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// The pool that a call runs in.
#[derive(Clone, Copy)]
pub(super) enum Pool {
    /// Searches: as many as there are cores.
    Compute,
    /// Embeddings, and searches with images or many texts: as many as there are cores. Searches do not wait for them.
    Embed,
    /// Writes of texts and images: many, since few threads embed.
    EmbedAndStore,
    /// Reads by id, and writes: many, since writers wait for the disk together and share its flushes.
    Store,
    /// Map layouts: they mostly wait for each other, or for their client.
    Map,
    /// Jobs that take minutes: few, and never blocking the others.
    Maintenance,
    /// Jobs that take hours: one at a time.
    Training,
}

/// Maximum number of texts of a search that runs in the pool of searches.
const MAX_COMPUTE_TEXTS: usize = 16;

impl Pool {
    /// Returns the pool for these queries.
    pub(super) fn of_queries(queries: &[Query]) -> Self {
        let (mut texts, mut images) = (0, 0);
        queries.iter().for_each(|query| count_inputs(query, &mut texts, &mut images));
        if images > 0 || texts > MAX_COMPUTE_TEXTS { Self::Embed } else { Self::Compute }
    }

    /// Returns the pool for these queries and the query of the parameters.
    pub(super) fn of_search(queries: &[Query], params: &SearchParams) -> Self {
        let rerank = params.rerank.as_ref().map(|rerank| Self::of_queries(std::slice::from_ref(&rerank.query)));
        match (Self::of_queries(queries), rerank) {
            (Self::Compute, Some(other)) => other,
            (pool, _) => pool,
        }
    }

    /// Returns the pool for a write of these items.
    pub(super) fn of_items(items: &[Item]) -> Self {
        let embeds = |item: &Item| matches!(item.source, PointInput::Text(_) | PointInput::Image(_));
        if items.iter().any(embeds) { Self::EmbedAndStore } else { Self::Store }
    }
}

/// Counts the texts and images that a query embeds.
fn count_inputs(query: &Query, texts: &mut usize, images: &mut usize) {
    match query {
        Query::Image(_) => *images += 1,
        Query::Text(_) | Query::Hybrid(_) => *texts += 1,
        Query::Arithmetic { plus, minus } => *texts += plus.len() + minus.len(),
        Query::Recommend(recommend) => {
            *texts += recommend.terms().filter(|term| matches!(term, RecommendTerm::Text(_))).count();
        }
        Query::Fusion(fusion) => fusion.queries.iter().for_each(|part| count_inputs(&part.query, texts, images)),
        Query::Vector(_) | Query::Id(_) | Query::Keywords(_) | Query::Field(_) => {}
    }
}

/// Maximum time that a read waits for its sequence number.
const SEQUENCE_TIMEOUT: Duration = Duration::from_secs(10);
const STORE_PERMITS: usize = 64;
const MAINTENANCE_PERMITS: usize = 2;
const MAP_PERMITS: usize = 8;

/// State shared by the services.
pub(super) struct ServiceState {
    engine: Arc<dyn Node>,
    compute: Arc<FairQueue>,
    embed: Arc<FairQueue>,
    embed_and_store: Arc<FairQueue>,
    store: Arc<FairQueue>,
    maintenance: Arc<FairQueue>,
    map: Arc<FairQueue>,
    training: Arc<FairQueue>,
    memory_limit: Arc<MemoryLimit>,
    /// Maximum size of requests and responses, bytes.
    max_message_bytes: usize,
    /// Embedder and output of new collections that name none.
    default_embedder: (String, String),
    /// True once shutdown begins.
    stopping: watch::Receiver<bool>,
}

/// Executor for one request.
#[derive(Clone)]
pub(super) struct Executor {
    state: Arc<ServiceState>,
    context: Arc<RequestContext>,
    /// Memory charge of the request; its response is added to it.
    memory_permit: Arc<MemoryPermit>,
}

impl ServiceState {
    pub(super) fn new(
        engine: Arc<dyn Node>,
        threads: usize,
        memory_limit: Arc<MemoryLimit>,
        max_message_bytes: usize,
        default_embedder: (String, String),
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let queue = |permits| Arc::new(FairQueue::new(permits));
        Self {
            engine,
            compute: queue(threads),
            embed: queue(threads),
            embed_and_store: queue(STORE_PERMITS),
            store: queue(STORE_PERMITS),
            maintenance: queue(MAINTENANCE_PERMITS),
            map: queue(MAP_PERMITS),
            training: queue(1),
            memory_limit,
            max_message_bytes,
            default_embedder,
            stopping,
        }
    }

    /// Returns the embedder of new collections that name none.
    pub(super) fn default_embedder(&self) -> pb::EmbedderRef {
        let (name, output) = self.default_embedder.clone();
        pb::EmbedderRef { name, output }
    }

    /// Returns the executor for a request, with the access rights of its caller.
    pub(super) fn executor<T>(self: &Arc<Self>, request: &Request<T>) -> Executor {
        let context = request.extensions().get::<Arc<RequestContext>>().cloned();
        let memory_permit = request.extensions().get::<Arc<MemoryPermit>>().cloned();
        Executor {
            state: self.clone(),
            context: context.unwrap_or_else(|| Arc::new(RequestContext::unauthenticated())),
            memory_permit: memory_permit.unwrap_or_else(|| Arc::new(self.memory_limit.permit())),
        }
    }

    /// Returns the number of waiting calls by pool.
    pub(super) fn waiting(&self) -> [(&'static str, usize); 7] {
        [
            ("compute", self.compute.waiting()),
            ("embed", self.embed.waiting()),
            ("embed_and_store", self.embed_and_store.waiting()),
            ("store", self.store.waiting()),
            ("maintenance", self.maintenance.waiting()),
            ("map", self.map.waiting()),
            ("training", self.training.waiting()),
        ]
    }
}

impl Executor {
    /// Waits for a permit of `pool`, then calls the engine on a blocking thread, restricted to the access
    /// rights of the caller.
    pub(super) async fn run<T, E>(
        &self,
        pool: Pool,
        call: impl FnOnce(&AuthorizedEngine<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        E: IntoStatus + Send + 'static,
    {
        let queue = match pool {
            Pool::Compute => &self.state.compute,
            Pool::Embed => &self.state.embed,
            Pool::EmbedAndStore => &self.state.embed_and_store,
            Pool::Store => &self.state.store,
            Pool::Maintenance => &self.state.maintenance,
            Pool::Map => &self.state.map,
            Pool::Training => &self.state.training,
        };
        let permit = queue.acquire(&self.context.client).await;
        let waiting = Arc::new(());
        let stop = CancellationToken::without(&waiting);
        let (engine, context, span) = (self.state.engine.clone(), self.context.clone(), tracing::Span::current());
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit; // released when the work ends, not when its caller leaves
            let _inside = span.entered();
            if stop.is_cancelled() {
                return Err(Error::Abandoned.into_status());
            }
            stop.run(|| call(&AuthorizedEngine::new(engine.as_ref(), &context)).or_status())
        });
        let result = task.await.unwrap_or_else(|error| Err(status::panicked(&error)));
        drop(waiting);
        result
    }

    /// Waits until the collection has reached a sequence number. Holds no permit between two looks: waiting must
    /// not block the writes that it waits for.
    pub(super) async fn wait_for_sequence(&self, name: &CollectionName, min: u64) -> Result<(), Status> {
        if min == 0 {
            return Ok(());
        }
        let mut stopping = self.stopping();
        let deadline = tokio::time::Instant::now() + SEQUENCE_TIMEOUT;
        let mut pause = Duration::from_millis(1);
        loop {
            // On a blocking thread: the first call may open the collection.
            let of = name.clone();
            let reached =
                self.run(Pool::Store, move |engine| engine.reads(&of, |reads, name| reads.sequence(name))).await?;
            if reached >= min {
                return Ok(());
            }
            if *stopping.borrow_and_update() {
                return Err(status::stopping());
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(status::sequence_timeout(name.as_str(), min, reached, SEQUENCE_TIMEOUT));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(20)),
                _ = stopping.changed() => {}
            }
        }
    }

    /// Records how the search of the request was executed.
    pub(super) fn record_path(&self, path: Path) {
        let _ = self.context.path.set(path);
    }

    /// Records the recall that the request measured.
    pub(super) fn record_recall(&self, recall: f64) {
        let _ = self.context.recall.set(recall);
    }

    /// Creates an empty permit on the shared memory limit.
    pub(super) fn memory_permit(&self) -> MemoryPermit {
        self.state.memory_limit.permit()
    }

    /// Returns the maximum size of requests and responses, bytes.
    pub(super) fn max_message_bytes(&self) -> usize {
        self.state.max_message_bytes
    }

    /// Returns the shutdown signal: true once shutdown begins.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.state.stopping.clone()
    }

    /// Returns the maximum size of the response, bytes: the smaller of the client's and the server's limit.
    pub(super) fn response_limit(&self) -> usize {
        self.context.response_bytes.min(self.state.max_message_bytes)
    }

    /// Returns the budget for the points of the response, which takes `base` bytes without them.
    pub(super) fn budget(&self, form: ResponseForm, base: usize) -> Budget {
        self.budget_of(self.response_limit(), form, base)
    }

    /// Returns the budget for the points of a page, which leaves room for a token.
    pub(super) fn page_budget(&self, base: usize) -> Budget {
        self.budget_of(self.response_limit().min(PAGE_BYTES + TOKEN_BYTES), ResponseForm::Points, base + TOKEN_BYTES)
    }

    fn budget_of(&self, limit: usize, form: ResponseForm, base: usize) -> Budget {
        Budget::new(Arc::new(self.meter_of(limit, form, base)))
    }

    /// Returns the meter of a list of collections, which takes `base` bytes without them.
    pub(super) fn collections_meter(&self, base: usize) -> ResponseMeter {
        self.meter_of(self.response_limit(), ResponseForm::Points, base)
    }

    fn meter_of(&self, limit: usize, form: ResponseForm, base: usize) -> ResponseMeter {
        ResponseMeter::new(limit, self.state.max_message_bytes, form, base, self.memory_permit.clone())
    }

    /// Fails if a response of this size may not be sent.
    pub(super) fn check_size(&self, bytes: usize) -> Result<(), Status> {
        let limit = self.response_limit();
        if bytes > limit {
            return Err(status::response_too_large(limit, self.state.max_message_bytes));
        }
        Ok(())
    }

    /// Builds the response, if it may be sent.
    pub(super) fn response<M: prost::Message>(&self, message: M) -> Result<Response<M>, Status> {
        self.check_size(message.encoded_len())?;
        Ok(Response::new(message))
    }
}
