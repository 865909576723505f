//! Executor for engine calls: blocking threads with limited concurrency and fair queueing.
//!
//! A request that is dropped while it waits (deadline passed, client gone) never runs. A running call is cancelled
//! through its [`Stop`], which long reads poll; a running write is completed, so that it is atomic.

use super::authorized_engine::Scoped;
use super::limits::{PAGE_BYTES, TOKEN_BYTES};
use super::middleware::fair_queue::FairQueue;
use super::middleware::memory_limit::{MemoryLimit, MemoryPermit};
use super::middleware::request_context::Context;
use super::middleware::response_meter::ResponseMeter;
use super::status::{IntoStatus, OrStatus};
use super::{pb, status};
use crate::collection::{Budget, Engine, Error, Item, Query, Source, Stop};
use crate::types::CollectionName;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// The pool that a call runs in.
#[derive(Clone, Copy)]
pub(super) enum Lane {
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
const FEW_TEXTS: usize = 16;

impl Lane {
    /// Returns the pool for these queries.
    pub(super) fn of_queries(queries: &[Query]) -> Self {
        let mut texts = 0;
        for query in queries {
            match query {
                Query::Image(_) => return Self::Embed,
                Query::Text(_) => texts += 1,
                Query::Arithmetic { plus, minus } => texts += plus.len() + minus.len(),
                Query::Vector(_) | Query::Id(_) => {}
            }
        }
        if texts > FEW_TEXTS { Self::Embed } else { Self::Compute }
    }

    /// Returns the pool for a write of these items.
    pub(super) fn of_items(items: &[Item]) -> Self {
        let embeds = |item: &Item| matches!(item.source, Source::Text(_) | Source::Image(_));
        if items.iter().any(embeds) { Self::EmbedAndStore } else { Self::Store }
    }
}

/// Maximum time that a read waits for its sequence number.
const SEQUENCE_PATIENCE: Duration = Duration::from_secs(10);
const STORE_CALLS: usize = 64;
const MAINTENANCE_CALLS: usize = 2;
const MAP_CALLS: usize = 8;

/// State shared by the services.
pub(super) struct Shared {
    engine: Arc<dyn Engine>,
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
    /// Embedder and tap of new collections that name none.
    default_embedder: (String, String),
    /// True once shutdown begins.
    stopping: watch::Receiver<bool>,
}

/// Executor for one request.
#[derive(Clone)]
pub(super) struct Work {
    shared: Arc<Shared>,
    context: Arc<Context>,
    /// Memory charge of the request; its response is added to it.
    memory_permit: Arc<MemoryPermit>,
}

impl Shared {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
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
            embed_and_store: queue(STORE_CALLS),
            store: queue(STORE_CALLS),
            maintenance: queue(MAINTENANCE_CALLS),
            map: queue(MAP_CALLS),
            training: queue(1),
            memory_limit,
            max_message_bytes,
            default_embedder,
            stopping,
        }
    }

    /// Returns the embedder of new collections that name none.
    pub(super) fn default_embedder(&self) -> pb::EmbedderRef {
        let (name, tap) = self.default_embedder.clone();
        pb::EmbedderRef { name, tap }
    }

    /// Returns the executor for a request, with the access rights of its caller.
    pub(super) fn of<T>(self: &Arc<Self>, request: &Request<T>) -> Work {
        let context = request.extensions().get::<Arc<Context>>().cloned();
        let memory_permit = request.extensions().get::<Arc<MemoryPermit>>().cloned();
        Work {
            shared: self.clone(),
            context: context.unwrap_or_else(|| Arc::new(Context::nobody())),
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

impl Work {
    /// Waits for a permit of `lane`, then calls the engine on a blocking thread, restricted to what the caller may
    /// access.
    pub(super) async fn run<T, E>(
        &self,
        lane: Lane,
        call: impl FnOnce(&dyn Engine) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        E: IntoStatus + Send + 'static,
    {
        let queue = match lane {
            Lane::Compute => &self.shared.compute,
            Lane::Embed => &self.shared.embed,
            Lane::EmbedAndStore => &self.shared.embed_and_store,
            Lane::Store => &self.shared.store,
            Lane::Maintenance => &self.shared.maintenance,
            Lane::Map => &self.shared.map,
            Lane::Training => &self.shared.training,
        };
        let permit = queue.acquire(&self.context.client).await;
        let waiting = Arc::new(());
        let stop = Stop::without(&waiting);
        let (engine, context, span) = (self.shared.engine.clone(), self.context.clone(), tracing::Span::current());
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit; // released when the work ends, not when its caller leaves
            let _inside = span.entered();
            if stop.is_over() {
                return Err(Error::Abandoned.into_status());
            }
            stop.run(|| call(&Scoped { engine: engine.as_ref(), context: &context }).or_status())
        });
        let result = task.await.unwrap_or_else(|error| Err(status::panicked(&error)));
        drop(waiting);
        result
    }

    /// Waits until the collection has reached a sequence number. Holds no permit meanwhile: waiting is cheap and must
    /// not block the writes that it waits for.
    pub(super) async fn reached(&self, name: &CollectionName, least: u64) -> Result<(), Status> {
        if least == 0 {
            return Ok(());
        }
        let mut stopping = self.stopping();
        let until = tokio::time::Instant::now() + SEQUENCE_PATIENCE;
        let mut pause = Duration::from_millis(1);
        loop {
            let reached =
                Scoped { engine: self.shared.engine.as_ref(), context: &self.context }.sequence(name).or_status()?;
            if reached >= least {
                return Ok(());
            }
            if *stopping.borrow_and_update() {
                return Err(status::stopping());
            }
            if tokio::time::Instant::now() >= until {
                return Err(status::not_reached(name.as_str(), least, reached, SEQUENCE_PATIENCE));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(20)),
                _ = stopping.changed() => {}
            }
        }
    }

    /// Creates an empty charge on the shared memory limit.
    pub(super) fn memory_permit(&self) -> MemoryPermit {
        self.shared.memory_limit.permit()
    }

    /// Returns the maximum size of requests and responses, bytes.
    pub(super) fn max_message_bytes(&self) -> usize {
        self.shared.max_message_bytes
    }

    /// Returns the shutdown signal: true once shutdown begins.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.shared.stopping.clone()
    }

    /// Returns the maximum size of the response, bytes: the smaller of the client's and the server's limit.
    pub(super) fn response_limit(&self) -> usize {
        self.context.response_bytes.min(self.shared.max_message_bytes)
    }

    /// Returns the budget for the points of the response.
    pub(super) fn budget(&self) -> Budget {
        self.budget_of(self.response_limit())
    }

    /// Returns the budget for the points of a page, which leaves room for a token.
    pub(super) fn page_budget(&self) -> Budget {
        self.budget_of(self.response_limit().saturating_sub(TOKEN_BYTES).min(PAGE_BYTES))
    }

    fn budget_of(&self, limit: usize) -> Budget {
        Budget::new(Arc::new(ResponseMeter::new(limit, self.shared.max_message_bytes, self.memory_permit.clone())))
    }

    /// Fails if a response of this size may not be sent.
    pub(super) fn fits(&self, bytes: usize) -> Result<(), Status> {
        let limit = self.response_limit();
        if bytes > limit {
            return Err(status::response_too_large(limit, self.shared.max_message_bytes));
        }
        Ok(())
    }

    /// Builds the response, if it may be sent.
    pub(super) fn reply<M: prost::Message>(&self, message: M) -> Result<Response<M>, Status> {
        self.fits(message.encoded_len())?;
        Ok(Response::new(message))
    }
}
