//! The service `Map`: layouts as streams, in pieces, and what is written told as it happens.
//!
//! Whatever a client does not read waits in a channel of a few pieces. What may be missed is left out while that is full; for
//! the rest the work waits, until the reply is given up.

use super::work::{Lane, Shared, Work};
use super::{from_proto, payload, pb, status};
use crate::collection::map::{
    DEFAULT_MAP_POINTS, Feed, FieldValues, MapChoice, MapEnd, MapParams, MapPart, MapPhase, MapProgress, Placed,
};
use crate::collection::{Engine, Error};
use crate::map::Method;
use crate::types::{CollectionName, PointId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Places of one message.
const PIECE_NUMBERS: usize = 1 << 17;
/// Messages that wait for a client.
const PIECES: usize = 8;
/// How often a watcher looks for news.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Points of one message to a watcher.
const NEWS: usize = 512;

pub(super) struct Map(pub(super) Arc<Shared>);

type Replies<M> = ReceiverStream<Result<M, Status>>;

#[tonic::async_trait]
impl pb::map_server::Map for Map {
    type ProjectStream = Replies<pb::ProjectResponse>;
    type WatchStream = Replies<pb::WatchResponse>;

    async fn project(&self, request: Request<pb::ProjectRequest>) -> Result<Response<Self::ProjectStream>, Status> {
        let work = self.0.of(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection)?;
        let params = MapParams {
            choice: choice(request.dimensions, request.method)?,
            fields: request.payload_fields,
            limit: if request.limit == 0 { DEFAULT_MAP_POINTS } else { request.limit },
            fresh: request.fresh,
            seed: request.seed,
        };
        let (replies, receiver) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            let (told, gone) = (replies.clone(), replies.clone());
            let run =
                work.run(Lane::Map, move |engine| engine.project(&name, &params, &|part| tell(&told, &params, part)));
            let result = tokio::select! {
                result = run => result,
                () = gone.closed() => return,
            };
            if let Err(status) = result {
                // Nobody listens any more, or it is sent.
                let _ = replies.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn place(&self, request: Request<pb::PlaceRequest>) -> Result<Response<pb::PlaceResponse>, Status> {
        let work = self.0.of(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection)?;
        let choice = choice(request.dimensions, request.method)?;
        let queries = from_proto::queries(request.queries, 1)?;
        let lane = Lane::of_queries(&queries);
        let places = work.run(lane, move |engine| engine.place(&name, choice, &queries)).await?;
        work.reply(pb::PlaceResponse { places: le_f32(&places) })
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let work = self.0.of(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection)?;
        let choice = choice(request.dimensions, request.method)?;
        let fields = request.payload_fields;
        // Refuses what is wrong before the stream begins.
        let (of, no_point) = (name.clone(), PointId::new("-").map_err(Error::from)?);
        let feed = work.run(Lane::Store, {
            let fields = fields.clone();
            move |engine| engine.placed(&of, choice, &[no_point], &fields).and_then(|_| engine.watch(&of))
        });
        let feed = feed.await?;
        let (replies, receiver) = mpsc::channel(1);
        tokio::spawn(watch(work, Watched { name, choice, fields }, feed, replies));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn choice(dimensions: u32, method: i32) -> Result<MapChoice, Error> {
    let method = match pb::MapMethod::try_from(method) {
        Ok(pb::MapMethod::Unspecified) => None,
        Ok(pb::MapMethod::Pca) => Some(Method::Pca),
        Ok(pb::MapMethod::Umap) => Some(Method::Umap),
        Ok(pb::MapMethod::Tsne) => Some(Method::Tsne),
        Err(_) => return Err(Error::invalid("method", format!("{method} is no method"))),
    };
    Ok(MapChoice { dimensions: if dimensions == 0 { 2 } else { dimensions }, method })
}

/// Sends a part; false when nobody listens any more.
fn tell(replies: &mpsc::Sender<Result<pb::ProjectResponse, Status>>, params: &MapParams, part: MapPart) -> bool {
    use pb::project_response::Part;
    let reply = |part| Ok(pb::ProjectResponse { part: Some(part) });
    let dimensions = params.choice.dimensions;
    let parts = match part {
        MapPart::Start { total, points, sequence } => {
            let payload_fields = params.fields.clone();
            vec![Part::Start(pb::MapStart { total, points, dimensions, sequence, payload_fields })]
        }
        MapPart::Points { offset, ids, fields } => vec![Part::Points(points(offset, ids, fields))],
        MapPart::Frame { round, places, last } => {
            let piece = PIECE_NUMBERS / 6 * dimensions as usize;
            let pieces = places.len().div_ceil(piece);
            if !last && replies.capacity() < pieces.min(PIECES) {
                return !replies.is_closed();
            }
            let frame = |(at, places): (usize, &[f32])| {
                let offset = (at * piece) as u32 / dimensions;
                Part::Frame(pb::MapFrame { round, offset, places: le_f32(places) })
            };
            places.chunks(piece).enumerate().map(frame).collect()
        }
        MapPart::Progress(progress) => {
            let _ = replies.try_send(reply(Part::Progress(progress_message(progress))));
            return !replies.is_closed();
        }
        MapPart::End(end) => vec![Part::End(end_message(end))],
    };
    parts.into_iter().all(|part| replies.blocking_send(reply(part)).is_ok())
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

fn progress_message(progress: MapProgress) -> pb::MapProgress {
    use pb::map_progress::Phase;
    let phase = match progress.phase {
        MapPhase::Indexing => Phase::Indexing,
        MapPhase::Neighbors => Phase::Neighbors,
        MapPhase::Layout => Phase::Layout,
        MapPhase::Measuring => Phase::Measuring,
        MapPhase::Waiting => Phase::Waiting,
    };
    let eta_s = progress.left.map_or(0.0, |left| left.as_secs_f32());
    pb::MapProgress { phase: phase.into(), done: progress.done, eta_s }
}

fn end_message(end: MapEnd) -> pb::MapEnd {
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

/// What a watcher asked for.
#[derive(Clone)]
struct Watched {
    name: CollectionName,
    choice: MapChoice,
    fields: Vec<String>,
}

/// Tells what is written until the client leaves, the collection or the server ends.
async fn watch(work: Work, watched: Watched, mut feed: Feed, replies: mpsc::Sender<Result<pb::WatchResponse, Status>>) {
    let mut stopping = work.stopping();
    let mut told = None;
    let end = loop {
        let news = feed.take(NEWS);
        let empty = news.ids.is_empty() && !news.missed;
        if news.ended {
            break Error::UnknownCollection(watched.name.to_string()).into();
        }
        if empty && told.is_some_and(|told| news.sequence <= told) {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => continue,
                _ = stopping.wait_for(|stopping| *stopping) => break status::stopping(),
                () = replies.closed() => return,
            }
        }
        let mut placed = Placed::default();
        if !news.ids.is_empty() {
            let Watched { name, choice, fields } = watched.clone();
            let place = move |engine: &dyn Engine| engine.placed(&name, choice, &news.ids, &fields);
            placed = match work.run(Lane::Compute, place).await {
                Ok(placed) => placed,
                Err(status) => break status,
            };
        }
        let sequence = told.unwrap_or(0).max(news.sequence);
        told = Some(sequence);
        let reply = pb::WatchResponse {
            places: le_f32(&placed.places),
            gone: placed.gone.iter().map(ToString::to_string).collect(),
            points: (!placed.ids.is_empty()).then(|| points(0, placed.ids, placed.fields)),
            sequence,
            missed: news.missed,
        };
        tokio::select! {
            sent = replies.send(Ok(reply)) => if sent.is_err() { return },
            _ = stopping.wait_for(|stopping| *stopping) => break status::stopping(),
        }
    };
    // Nobody listens any more, or it is sent.
    let _ = replies.send(Err(end)).await;
}
