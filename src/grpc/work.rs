//! Runs engine calls on blocking threads, so many at a time; what does not fit waits its turn.
//!
//! A request that is dropped while it waits (its deadline passed, its client left) is never run. One that has begun is told
//! by its [`Stop`], which long reads ask; a write that has begun is finished, so that it is whole.

use super::context::Context;
use super::memory::{Charge, Memory};
use super::queue::Queue;
use super::scoped::Scoped;
use super::{pb, status};
use crate::collection::{Engine, Error, Stop};
use crate::types::CollectionName;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// Which queue a call waits in.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    /// Searches and embeddings: as many as there are cores.
    Compute,
    /// Reads by id and writes: many, since writers wait for the disk together and share its flushes.
    Store,
    /// Layouts of maps: most of their time they wait for one another, or for their client.
    Map,
    /// Work of minutes: few, and never in the way of the others.
    Maintenance,
    /// Work of hours: one at a time.
    Training,
}

/// How long a read waits at most for the sequence number that it asks for.
const SEQUENCE_PATIENCE: Duration = Duration::from_secs(10);
const STORE_CALLS: usize = 64;
const MAINTENANCE_CALLS: usize = 2;
const MAP_CALLS: usize = 8;

/// What the services share.
pub(super) struct Shared {
    engine: Arc<dyn Engine>,
    compute: Arc<Queue>,
    store: Arc<Queue>,
    maintenance: Arc<Queue>,
    map: Arc<Queue>,
    training: Arc<Queue>,
    memory: Arc<Memory>,
    /// Largest message in and out, bytes.
    max_message_bytes: usize,
    /// The embedder and the tap of new collections that name none.
    default_embedder: (String, String),
    /// True from the moment the server stops.
    stopping: watch::Receiver<bool>,
}

/// The work of one request.
#[derive(Clone)]
pub(super) struct Work {
    shared: Arc<Shared>,
    context: Arc<Context>,
}

impl Shared {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        threads: usize,
        memory: Arc<Memory>,
        max_message_bytes: usize,
        default_embedder: (String, String),
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let queue = |places| Arc::new(Queue::new(places));
        Self {
            engine,
            compute: queue(threads),
            store: queue(STORE_CALLS),
            maintenance: queue(MAINTENANCE_CALLS),
            map: queue(MAP_CALLS),
            training: queue(1),
            memory,
            max_message_bytes,
            default_embedder,
            stopping,
        }
    }

    /// The embedder of new collections that name none.
    pub(super) fn default_embedder(&self) -> pb::EmbedderRef {
        let (name, tap) = self.default_embedder.clone();
        pb::EmbedderRef { name, tap }
    }

    /// The work of this request, for its caller.
    pub(super) fn of<T>(self: &Arc<Self>, request: &Request<T>) -> Work {
        let context = request.extensions().get::<Arc<Context>>().cloned();
        Work { shared: self.clone(), context: context.unwrap_or_else(|| Arc::new(Context::nobody())) }
    }

    /// Calls that wait, by the name of their queue.
    pub(super) fn waiting(&self) -> [(&'static str, usize); 5] {
        [
            ("compute", self.compute.waiting()),
            ("store", self.store.waiting()),
            ("maintenance", self.maintenance.waiting()),
            ("map", self.map.waiting()),
            ("training", self.training.waiting()),
        ]
    }
}

impl Work {
    /// Waits for a place in `lane`, then calls the engine on a blocking thread, as far as the caller may see it.
    pub(super) async fn run<T, E>(
        &self,
        lane: Lane,
        call: impl FnOnce(&dyn Engine) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        E: Into<Status> + Send + 'static,
    {
        let queue = match lane {
            Lane::Compute => &self.shared.compute,
            Lane::Store => &self.shared.store,
            Lane::Maintenance => &self.shared.maintenance,
            Lane::Map => &self.shared.map,
            Lane::Training => &self.shared.training,
        };
        let place = queue.enter(&self.context.client).await;
        let waiting = Arc::new(());
        let stop = Stop::without(&waiting);
        let (engine, context, span) = (self.shared.engine.clone(), self.context.clone(), tracing::Span::current());
        let task = tokio::task::spawn_blocking(move || {
            let _place = place; // given back when the work ends, not when its caller leaves
            let _inside = span.entered();
            if stop.is_over() {
                return Err(Error::Abandoned.into());
            }
            stop.run(|| call(&Scoped { engine: engine.as_ref(), context: &context }).map_err(Into::into))
        });
        let result = task.await.unwrap_or_else(|error| Err(status::panicked(&error)));
        drop(waiting);
        result
    }

    /// Waits until the collection has reached a sequence number. Holds no place meanwhile: waiting is cheap, and not
    /// in the way of the writes that it waits for.
    pub(super) async fn reached(&self, name: &CollectionName, least: u64) -> Result<(), Status> {
        if least == 0 {
            return Ok(());
        }
        let mut stopping = self.stopping();
        let until = tokio::time::Instant::now() + SEQUENCE_PATIENCE;
        let mut pause = Duration::from_millis(1);
        loop {
            let reached = Scoped { engine: self.shared.engine.as_ref(), context: &self.context }.sequence(name)?;
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

    /// A charge of nothing yet on the memory that all requests share.
    pub(super) fn charge(&self) -> Charge {
        self.shared.memory.begin()
    }

    /// Largest message in and out, bytes.
    pub(super) fn max_message_bytes(&self) -> usize {
        self.shared.max_message_bytes
    }

    /// True from the moment the server stops.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.shared.stopping.clone()
    }

    /// Fails when a reply of so many bytes may not be sent.
    pub(super) fn fits(&self, bytes: usize) -> Result<(), Status> {
        if bytes > self.shared.max_message_bytes {
            return Err(status::reply_too_large(bytes, self.shared.max_message_bytes));
        }
        Ok(())
    }

    /// The reply, if it may be sent.
    pub(super) fn reply<M: prost::Message>(&self, message: M) -> Result<Response<M>, Status> {
        self.fits(message.encoded_len())?;
        Ok(Response::new(message))
    }
}
