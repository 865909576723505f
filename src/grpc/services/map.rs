//! The service `Map`: streams of layouts and of changes.
//!
//! Messages that the client has not read yet wait in an outbox, which is charged to the shared memory limit, so that a
//! computed layout releases its thread and its permit even if the client does not read it. Optional messages are dropped
//! while several messages wait. If the outbox is full, the layout waits for the client for a limited time, then ends.

use crate::api::{Error, SearchParams};
use crate::collection::ChangeFeed;
use crate::collection::layout::{
    DEFAULT_LAYOUT_POINTS, FieldValues, LayoutKey, LayoutParams, LayoutPart, LayoutPhase, LayoutProgress,
    LayoutSummary, LocatedPoints,
};
use crate::grpc::authorized_engine::AuthorizedEngine;
use crate::grpc::convert::{from_proto, payload};
use crate::grpc::executor::{Executor, Pool, ServiceState};
use crate::grpc::middleware::memory_limit::MemoryPermit;
use crate::grpc::pb;
use crate::grpc::status::{self, IntoStatus, OrStatus};
use crate::layout::Method;
use crate::types::{CollectionName, PointId};
use prost::Message;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

/// Coordinates per message.
const COORDINATES_PER_CHUNK: usize = 1 << 17;
/// Number of waiting messages from which optional messages are dropped.
const MAX_QUEUED_MESSAGES: u64 = 8;
/// Capacity of the outbox, bytes.
const OUTBOX_BYTES: usize = 8 << 20;
/// Maximum time that a layout waits for the client while the outbox is full.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Polling interval of a watcher.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of points per message to a watcher.
const MAX_POINTS_PER_UPDATE: usize = 512;

pub(crate) struct Map(pub(crate) Arc<ServiceState>);

type ResponseStream<M> = ReceiverStream<Result<M, Status>>;
/// The messages of a layout stream.
type LayoutStream = Pin<Box<dyn Stream<Item = Result<pb::ComputeLayoutResponse, Status>> + Send>>;

#[tonic::async_trait]
impl pb::map_server::Map for Map {
    type ComputeLayoutStream = LayoutStream;
    type WatchStream = ResponseStream<pb::WatchResponse>;

    async fn compute_layout(
        &self,
        request: Request<pb::ComputeLayoutRequest>,
    ) -> Result<Response<Self::ComputeLayoutStream>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let params = LayoutParams::default()
            .choice(choice(request.dimensions, request.method).or_status()?)
            .fields(request.payload_fields)
            .limit(if request.limit == 0 { DEFAULT_LAYOUT_POINTS } else { request.limit })
            .fresh(request.fresh)
            .seed(request.seed);
        let (outbox, parts) = Outbox::new(executor.clone());
        tokio::spawn(async move {
            let sender = outbox.clone();
            let run = executor.run(Pool::Map, move |engine| {
                engine.layouts(&name, |layouts, name| {
                    layouts.compute_layout(name, &params, &|part| send_part(&sender, &params, part))
                })
            });
            let result = tokio::select! {
                result = run => result,
                () = outbox.sender.closed() => return,
            };
            if let Err(status) = result {
                outbox.end(status);
            }
        });
        Ok(Response::new(parts))
    }

    async fn locate_queries(
        &self,
        request: Request<pb::LocateQueriesRequest>,
    ) -> Result<Response<pb::LocateQueriesResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let choice = choice(request.dimensions, request.method).or_status()?;
        let queries = from_proto::queries(request.queries, &SearchParams::new(1)).or_status()?;
        let pool = Pool::of_queries(&queries);
        let coordinates = executor
            .run(pool, move |engine| {
                engine.layouts(&name, |layouts, name| layouts.locate_queries(name, choice, &queries))
            })
            .await?;
        executor.response(pb::LocateQueriesResponse { coordinates: le_f32(&coordinates) })
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let choice = choice(request.dimensions, request.method).or_status()?;
        let fields = request.payload_fields;
        // Report invalid arguments before the stream begins.
        let (of, no_point) = (name.clone(), PointId::new("-").map_err(Error::from).or_status()?);
        let feed = executor.run(Pool::Store, {
            let fields = fields.clone();
            move |engine| {
                engine.layouts(&of, |layouts, name| layouts.located_points(name, choice, &[no_point], &fields))?;
                engine.layouts(&of, |layouts, name| layouts.watch(name))
            }
        });
        let feed = feed.await?;
        let (responses, receiver) = mpsc::channel(1);
        tokio::spawn(watch(executor, WatchParams { name, choice, fields }, feed, responses));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn choice(dimensions: u32, method: i32) -> Result<LayoutKey, Error> {
    let method = match pb::MapMethod::try_from(method) {
        Ok(pb::MapMethod::Unspecified) => None,
        Ok(pb::MapMethod::Pca) => Some(Method::Pca),
        Ok(pb::MapMethod::Umap) => Some(Method::Umap),
        Ok(pb::MapMethod::Tsne) => Some(Method::Tsne),
        Err(_) => return Err(Error::invalid("method", format!("{method} is not a MapMethod"))),
    };
    Ok(LayoutKey { dimensions: if dimensions == 0 { 2 } else { dimensions }, method })
}

/// A message with the resources that it holds until it is read.
struct QueuedMessage {
    response: pb::ComputeLayoutResponse,
    _capacity: OwnedSemaphorePermit,
    _memory_permit: MemoryPermit,
}

/// Messages of a layout that its client has not read yet.
struct Outbox {
    sender: mpsc::UnboundedSender<Result<QueuedMessage, Status>>,
    /// Remaining capacity, KiB.
    capacity: Arc<Semaphore>,
    sent: AtomicU64,
    read: Arc<AtomicU64>,
    executor: Executor,
    runtime: tokio::runtime::Handle,
    /// The error that stopped sending.
    failed: Mutex<Option<Status>>,
}

impl Outbox {
    fn new(executor: Executor) -> (Arc<Self>, LayoutStream) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let read = Arc::new(AtomicU64::new(0));
        let outbox = Self {
            sender,
            capacity: Arc::new(Semaphore::new(OUTBOX_BYTES >> 10)),
            sent: AtomicU64::new(0),
            read: read.clone(),
            executor,
            runtime: tokio::runtime::Handle::current(),
            failed: Mutex::new(None),
        };
        let read = move |queued: QueuedMessage| {
            read.fetch_add(1, Ordering::Relaxed);
            queued.response
        };
        let parts = UnboundedReceiverStream::new(receiver).map(move |part| part.map(&read));
        (Arc::new(outbox), Box::pin(parts))
    }

    /// Returns the number of unread messages.
    fn queued(&self) -> u64 {
        self.sent.load(Ordering::Relaxed).saturating_sub(self.read.load(Ordering::Relaxed))
    }

    /// Sends a message; false if the client has disconnected, memory is full, or the outbox stays full. Blocks; not for
    /// async threads.
    fn send(&self, part: pb::compute_layout_response::Part) -> bool {
        let response = pb::ComputeLayoutResponse { part: Some(part) };
        let bytes = response.encoded_len();
        let memory_permit = self.executor.memory_permit();
        let capacity = memory_permit.add(bytes).and_then(|()| self.capacity(bytes));
        let capacity = match capacity {
            Ok(capacity) => capacity,
            Err(why) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                return false;
            }
        };
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.sender.send(Ok(QueuedMessage { response, _capacity: capacity, _memory_permit: memory_permit })).is_ok()
    }

    fn capacity(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let kib = bytes.div_ceil(1 << 10).clamp(1, OUTBOX_BYTES >> 10) as u32;
        if let Ok(capacity) = self.capacity.clone().try_acquire_many_owned(kib) {
            return Ok(capacity);
        }
        loop {
            let read = self.read.load(Ordering::Relaxed);
            let acquire = self.capacity.clone().acquire_many_owned(kib);
            match self.runtime.block_on(async { tokio::time::timeout(STALL_TIMEOUT, acquire).await }) {
                Ok(Ok(capacity)) => return Ok(capacity),
                Err(_) if self.read.load(Ordering::Relaxed) > read => {}
                Ok(Err(_)) | Err(_) => return Err(status::client_read_timeout(STALL_TIMEOUT)),
            }
        }
    }

    /// Ends the stream with this status, or with the reason why sending stopped.
    fn end(&self, status: Status) {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Fails only if the client has disconnected.
        let _ = self.sender.send(Err(failed.unwrap_or(status)));
    }
}

/// Sends a part of a layout; false if the client has disconnected.
fn send_part(outbox: &Outbox, params: &LayoutParams, part: LayoutPart) -> bool {
    use pb::compute_layout_response::Part;
    let dimensions = params.choice.dimensions;
    match part {
        LayoutPart::Start { total, points, sequence } => {
            let payload_fields = params.fields.clone();
            outbox.send(Part::Start(pb::MapStart { total, points, dimensions, sequence, payload_fields }))
        }
        LayoutPart::Points { offset, ids, fields } => outbox.send(Part::Points(points(offset, ids, fields))),
        LayoutPart::Frame { round, coordinates, last } => {
            let chunk = COORDINATES_PER_CHUNK / 6 * dimensions as usize;
            let chunks = coordinates.len().div_ceil(chunk) as u64;
            if !last && outbox.queued() + chunks.min(MAX_QUEUED_MESSAGES) > MAX_QUEUED_MESSAGES {
                return !outbox.sender.is_closed();
            }
            coordinates.chunks(chunk).enumerate().all(|(at, coordinates)| {
                let offset = (at * chunk) as u32 / dimensions;
                outbox.send(Part::Frame(pb::MapFrame { round, offset, coordinates: le_f32(coordinates) }))
            })
        }
        LayoutPart::Progress(progress) => {
            if outbox.queued() < MAX_QUEUED_MESSAGES {
                return outbox.send(Part::Progress(progress_message(progress)));
            }
            !outbox.sender.is_closed()
        }
        LayoutPart::End(end) => outbox.send(Part::End(end_message(end))),
    }
}

fn le_f32(numbers: &[f32]) -> bytes::Bytes {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()
}

fn points(offset: u32, ids: Vec<PointId>, fields: FieldValues) -> pb::MapPoints {
    let field = |values: Vec<serde_json::Value>| {
        let digits = |(at, value): (usize, &serde_json::Value)| {
            Some((at as u32, value.as_number().and_then(payload::rounded_integer)?))
        };
        let integers = values.iter().enumerate().filter_map(digits).collect();
        pb::MapField { values: values.into_iter().map(payload::to_value).collect(), integers }
    };
    pb::MapPoints {
        offset,
        ids: ids.iter().map(ToString::to_string).collect(),
        fields: fields.into_iter().map(field).collect(),
    }
}

fn progress_message(progress: LayoutProgress) -> pb::MapProgress {
    use pb::map_progress::Phase;
    let phase = match progress.phase {
        LayoutPhase::Indexing => Phase::Indexing,
        LayoutPhase::Neighbors => Phase::Neighbors,
        LayoutPhase::Layout => Phase::Layout,
        LayoutPhase::Measuring => Phase::Measuring,
        LayoutPhase::Waiting => Phase::Waiting,
    };
    let eta_s = progress.left.map_or(0.0, |left| left.as_secs_f32());
    pb::MapProgress { phase: phase.into(), done: progress.done, eta_s }
}

fn end_message(end: LayoutSummary) -> pb::MapEnd {
    let method = match end.method {
        Method::Pca => pb::MapMethod::Pca,
        Method::Umap => pb::MapMethod::Umap,
        Method::Tsne => pb::MapMethod::Tsne,
    };
    pb::MapEnd {
        method: method.into(),
        seconds: end.time.as_secs_f64(),
        neighbors_kept: end.neighbors_kept,
        from_cache: end.from_cache,
    }
}

/// Parameters of a watch.
#[derive(Clone)]
struct WatchParams {
    name: CollectionName,
    choice: LayoutKey,
    fields: Vec<String>,
}

/// Streams changes until the client disconnects, the collection is deleted or the server stops.
async fn watch(
    executor: Executor,
    params: WatchParams,
    mut feed: Box<dyn ChangeFeed>,
    responses: mpsc::Sender<Result<pb::WatchResponse, Status>>,
) {
    let mut stopping = executor.stopping();
    let mut sent = None;
    let end = loop {
        let changes = feed.take(MAX_POINTS_PER_UPDATE);
        let empty = changes.ids.is_empty() && !changes.missed;
        if changes.ended {
            break Error::UnknownCollection(params.name.to_string()).into_status();
        }
        if empty && sent.is_some_and(|sent| changes.sequence <= sent) {
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => continue,
                _ = stopping.wait_for(|stopping| *stopping) => break status::stopping(),
                () = responses.closed() => return,
            }
        }
        let mut located = LocatedPoints::default();
        if !changes.ids.is_empty() {
            let WatchParams { name, choice, fields } = params.clone();
            let locate = move |engine: &AuthorizedEngine<'_>| {
                engine.layouts(&name, |layouts, name| layouts.located_points(name, choice, &changes.ids, &fields))
            };
            located = match executor.run(Pool::Compute, locate).await {
                Ok(located) => located,
                Err(status) => break status,
            };
        }
        let sequence = sent.unwrap_or(0).max(changes.sequence);
        sent = Some(sequence);
        let response = pb::WatchResponse {
            coordinates: le_f32(&located.coordinates),
            gone: located.removed.iter().map(ToString::to_string).collect(),
            points: (!located.ids.is_empty()).then(|| points(0, located.ids, located.fields)),
            sequence,
            missed: changes.missed,
        };
        tokio::select! {
            sent = responses.send(Ok(response)) => if sent.is_err() { return },
            _ = stopping.wait_for(|stopping| *stopping) => break status::stopping(),
        }
    };
    // Fails only if the client has disconnected.
    let _ = responses.send(Err(end)).await;
}
