//! `Points.UpsertStream`: items in, one acknowledgement per item out, in order.
//!
//! ```text
//! client -> read: gather -> prepare: check and embed, on all cores -> write: one upsert -> acks -> client
//! ```
//!
//! The stages are tasks connected by channels of one batch, so that one batch is embedded while another is written, and
//! only a few batches are in memory at any time. A stage that lags delays the previous one, until the server stops
//! reading (HTTP/2 flow control then stops the client). Each batch is charged to the shared memory limit until it is
//! written; if the limit is reached, the stream ends. While the writer is busy, the batch being gathered grows, so that
//! a slow disk gets larger transactions instead of more of them.

use crate::api::limits::MAX_BATCH;
use crate::api::{
    CancellationToken, Error, ErrorKind, Item, PointInput, SkippedItems, Upserted, WriteCondition, WriteMode,
};
use crate::collection::Blocks;
use crate::embed::run_on_embed_pool;
use crate::grpc::authorized_engine::AuthorizedEngine;
use crate::grpc::convert::{columns, from_proto, updates};
use crate::grpc::executor::{Executor, Pool};
use crate::grpc::middleware::memory_limit::MemoryPermit;
use crate::grpc::pb;
use crate::grpc::status::{self, IntoStatus, OrStatus};
use crate::types::{CollectionName, MAX_ID_BYTES, PointId};
use prost::Message;
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// The response stream.
pub(crate) type Acks = ReceiverStream<Result<pb::UpsertStreamResponse, Status>>;

/// Batch size in items from which a batch is passed on as soon as the next stage accepts it.
const TARGET_BATCH_ITEMS: usize = 512;
/// The same in bytes.
const TARGET_BATCH_BYTES: usize = 4 << 20;
/// Maximum batch size in items while the next stage is busy.
const MAX_BATCH_ITEMS: usize = 4_096;
/// The same in bytes.
const MAX_BATCH_BYTES: usize = 16 << 20;
/// Silence of the client after which a smaller batch is passed on.
const FLUSH_AFTER: Duration = Duration::from_millis(2);

/// One item of the stream, or the reason for its refusal.
struct Entry {
    index: u64,
    id: String,
    content: Result<Content, Error>,
}

/// An item and its points: one, or one per block.
struct Content {
    id: PointId,
    points: Vec<Item>,
}

/// Parameters of a stream.
#[derive(Clone)]
struct Target {
    collection: CollectionName,
    blocks: Option<Blocks>,
    condition: Arc<WriteCondition>,
}

impl Target {
    /// Whether items may be left out, which the acknowledgements report.
    fn may_skip(&self) -> bool {
        match self.condition.mode {
            WriteMode::Upsert | WriteMode::Keep => self.condition.only_if.is_some(),
            WriteMode::Insert | WriteMode::Update => true,
        }
    }

    /// Checks a message after the first one: what it repeats must be the same.
    fn check(&self, message: &pb::UpsertStreamRequest, blocks: Option<Blocks>) -> Result<(), Error> {
        let Self { collection, condition, .. } = self;
        if !message.collection.is_empty() && message.collection != collection.as_str() {
            let why = format!("is {:?}; this stream began with {:?}", message.collection, collection.as_str());
            return Err(Error::invalid("collection", why));
        }
        let first =
            |field: &str| Err(Error::invalid(field, "must be in the stream's first message, and the same after it"));
        if blocks.is_some() && blocks != self.blocks {
            return first("blocks");
        }
        if message.keep_existing && condition.mode != WriteMode::Keep {
            return Err(Error::invalid("keep_existing", "must be in the stream's first message"));
        }
        let repeated = updates::condition(message.mode, message.only_if.clone())?;
        if message.mode != pb::WriteMode::Unspecified as i32 && repeated.mode != condition.mode {
            return first("mode");
        }
        if repeated.only_if.is_some() && repeated.only_if != condition.only_if {
            return first("only_if");
        }
        Ok(())
    }
}

/// Converts the condition in the first message of a stream.
fn condition(message: &mut pb::UpsertStreamRequest, blocks: Option<Blocks>) -> Result<WriteCondition, Error> {
    let condition = updates::condition(message.mode, message.only_if.take())?;
    condition.check()?;
    let plain = condition == WriteCondition::default();
    match (message.keep_existing, blocks) {
        (true, Some(_)) => Err(Error::invalid("keep_existing", "cannot be combined with blocks")),
        (true, None) if !plain => {
            Err(Error::invalid("keep_existing", "cannot be combined with a mode or with only_if"))
        }
        (true, None) => Ok(WriteCondition::mode(WriteMode::Keep)),
        (false, Some(_)) if !plain => Err(Error::invalid("blocks", "cannot be combined with a mode or with only_if")),
        (false, _) => Ok(condition),
    }
}

/// Items that are written together.
struct Batch {
    target: Target,
    entries: Vec<Entry>,
    /// Fields of the condition that no point has; empty after the first batch.
    unknown_fields: Vec<String>,
    memory_permit: MemoryPermit,
}

/// Message from one stage to the next.
enum StageMessage {
    Batch(Batch),
    /// The stream ends with this status, after all earlier items are acknowledged.
    End(Status),
}

/// Starts the stages.
pub(crate) fn start(executor: Executor, incoming: Streaming<pb::UpsertStreamRequest>) -> Acks {
    let (read, to_prepare) = mpsc::channel(1);
    let (prepared, to_write) = mpsc::channel(1);
    let (acks, receiver) = mpsc::channel(2);
    tokio::spawn(Reader::new(executor.clone()).run(incoming, read));
    tokio::spawn(prepare(executor.clone(), to_prepare, prepared));
    tokio::spawn(write(executor, to_write, acks));
    ReceiverStream::new(receiver)
}

struct Reader {
    executor: Executor,
    target: Option<Target>,
    /// Fields of the condition that no point has, until a batch reports them.
    unknown_fields: Vec<String>,
    next_index: u64,
    batch: Vec<Entry>,
    bytes: usize,
    /// Number of points in the batch.
    points: usize,
    /// Memory charge of the batch.
    memory_permit: MemoryPermit,
}

impl Reader {
    fn new(executor: Executor) -> Self {
        let memory_permit = executor.memory_permit();
        Self {
            executor,
            target: None,
            unknown_fields: Vec::new(),
            next_index: 0,
            batch: Vec::new(),
            bytes: 0,
            points: 0,
            memory_permit,
        }
    }

    async fn run(mut self, mut incoming: Streaming<pb::UpsertStreamRequest>, next: mpsc::Sender<StageMessage>) {
        let mut stopping = self.executor.stopping();
        let mut idle = false;
        let end = loop {
            let full = self.points.max(self.batch.len()) >= MAX_BATCH_ITEMS || self.bytes >= MAX_BATCH_BYTES;
            let ready =
                idle || self.points.max(self.batch.len()) >= TARGET_BATCH_ITEMS || self.bytes >= TARGET_BATCH_BYTES;
            tokio::select! {
                message = incoming.message(), if !full => match message {
                    Ok(Some(message)) => {
                        idle = false;
                        if let Err(end) = self.add(message).await {
                            break Some(end);
                        }
                    }
                    Ok(None) => break None,
                    Err(end) => break Some(status::corrected(end, self.executor.max_message_bytes())),
                },
                permit = next.reserve(), if ready && !self.batch.is_empty() => {
                    let Ok(permit) = permit else { return };
                    if let Some(message) = self.message() {
                        permit.send(message);
                    }
                }
                () = tokio::time::sleep(FLUSH_AFTER), if !ready && !self.batch.is_empty() => idle = true,
                () = stopped(&mut stopping) => break Some(status::stopping()),
                () = next.closed() => return,
            }
        };
        // The next stage ends only if the client has disconnected.
        if let Some(message) = self.message() {
            let _ = next.send(message).await;
        }
        if let Some(end) = end {
            let _ = next.send(StageMessage::End(end)).await;
        }
    }

    /// Removes and returns the gathered batch.
    fn message(&mut self) -> Option<StageMessage> {
        let target = self.target.clone()?;
        (self.bytes, self.points) = (0, 0);
        let entries = std::mem::take(&mut self.batch);
        let memory_permit = std::mem::replace(&mut self.memory_permit, self.executor.memory_permit());
        (!entries.is_empty()).then(|| {
            let unknown_fields = std::mem::take(&mut self.unknown_fields);
            StageMessage::Batch(Batch { target, entries, unknown_fields, memory_permit })
        })
    }

    /// Adds a message to the batch; an error ends the stream.
    async fn add(&mut self, mut message: pb::UpsertStreamRequest) -> Result<(), Status> {
        let blocks = from_proto::blocks(message.blocks).or_status()?;
        let blocks = match &self.target {
            Some(target) => {
                target.check(&message, blocks).or_status()?;
                target.blocks
            }
            None => {
                let collection = from_proto::collection("collection", &message.collection).or_status()?;
                let condition = condition(&mut message, blocks).or_status()?;
                let (known, only_if) = (collection.clone(), condition.only_if.clone());
                let call = move |engine: &AuthorizedEngine<'_>| match &only_if {
                    None => engine.reads(&known, |reads, name| reads.count(name, None)).map(|_| Vec::new()),
                    Some(filter) => engine.reads(&known, |reads, name| reads.unknown_fields(name, filter)),
                };
                self.unknown_fields = self.executor.run(Pool::Store, call).await?;
                self.target = Some(Target { collection, blocks, condition: Arc::new(condition) });
                blocks
            }
        };
        match (message.item, message.columns) {
            (Some(_), Some(_)) => Err(Error::invalid("columns", "excludes item; give one of them").into_status()),
            (None, None) => Ok(()),
            (Some(item), None) => {
                let (bytes, id) = (item.encoded_len(), item.id.clone());
                self.memory_permit.add(bytes)?;
                self.push(id, bytes, from_proto::item(&"item", item), blocks)
            }
            (None, Some(columns)) => {
                let added = columns::added_bytes(columns.vectors.as_ref());
                self.memory_permit.add(columns.encoded_len() + added)?;
                let items = columns::each_item("columns", columns).or_status()?;
                items.into_iter().try_for_each(|(id, item)| {
                    let bytes = id.len() + item.as_ref().map_or(0, source_bytes);
                    self.push(id, bytes, item, blocks)
                })
            }
        }
    }

    /// Adds an item of this many bytes, which are charged, to the batch.
    fn push(
        &mut self,
        mut id: String,
        bytes: usize,
        item: Result<Item, Error>,
        blocks: Option<Blocks>,
    ) -> Result<(), Status> {
        id.truncate(id.floor_char_boundary(MAX_ID_BYTES));
        let content = item.and_then(|item| {
            let id = item.id.clone();
            let (points, bytes) = match blocks {
                None => (vec![item], bytes),
                Some(blocks) => blocks.items("item", item)?,
            };
            Ok((Content { id, points }, bytes))
        });
        // The blocks have more bytes than the item.
        let grown = content.as_ref().map_or(bytes, |(_, grown)| *grown).max(bytes);
        self.memory_permit.add(grown - bytes)?;
        self.bytes += grown;
        self.points += content.as_ref().map_or(0, |(content, _)| content.points.len());
        let content = content.map(|(content, _)| content);
        self.batch.push(Entry { index: self.next_index, id, content });
        self.next_index += 1;
        Ok(())
    }
}

async fn stopped(stopping: &mut tokio::sync::watch::Receiver<bool>) {
    // An error means that the server was dropped, which is equivalent.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn prepare(executor: Executor, mut messages: mpsc::Receiver<StageMessage>, next: mpsc::Sender<StageMessage>) {
    while let Some(message) = messages.recv().await {
        let message = match message {
            StageMessage::End(end) => StageMessage::End(end),
            StageMessage::Batch(mut batch) => {
                let call = move |engine: &AuthorizedEngine<'_>| {
                    let stop = CancellationToken::current();
                    let prepare = |entry: &mut Entry| stop.run(|| prepare_one(engine, &batch.target, entry));
                    run_on_embed_pool(|| batch.entries.par_iter_mut().for_each(prepare));
                    Ok::<_, Error>(StageMessage::Batch(batch))
                };
                executor.run(Pool::Embed, call).await.unwrap_or_else(StageMessage::End)
            }
        };
        let last = matches!(message, StageMessage::End(_));
        if next.send(message).await.is_err() || last {
            return;
        }
    }
}

fn prepare_one(engine: &AuthorizedEngine<'_>, target: &Target, entry: &mut Entry) {
    // The error is only a placeholder during the exchange.
    let content = std::mem::replace(&mut entry.content, Err(Error::Unavailable(String::new())));
    entry.content = content.and_then(|Content { id, points }| {
        let prepare = |item| engine.writes(&target.collection, |writes, name| writes.prepare(name, item));
        Ok(Content { id, points: points.into_par_iter().map(prepare).collect::<Result<_, _>>()? })
    });
}

async fn write(
    executor: Executor,
    mut messages: mpsc::Receiver<StageMessage>,
    acks: mpsc::Sender<Result<pb::UpsertStreamResponse, Status>>,
) {
    while let Some(message) = messages.recv().await {
        let end = match message {
            StageMessage::End(end) => Some(end),
            StageMessage::Batch(Batch { target, entries, unknown_fields, memory_permit }) => {
                let call = move |engine: &AuthorizedEngine<'_>| {
                    let _until_written = memory_permit;
                    let (response, end) = write_batch(engine, &target, entries);
                    Ok::<_, Error>((pb::UpsertStreamResponse { unknown_fields, ..response }, end))
                };
                match executor.run(Pool::Store, call).await {
                    Ok((response, end)) => {
                        if acks.send(Ok(response)).await.is_err() {
                            return;
                        }
                        end
                    }
                    Err(end) => Some(end),
                }
            }
        };
        if let Some(end) = end {
            let _ = acks.send(Err(end)).await;
            return;
        }
    }
}

/// Writes the valid entries, in one upsert unless they have too many blocks. Returns the acknowledgements in order with
/// the counts of the write, and the status that ends the stream.
fn write_batch(
    engine: &AuthorizedEngine<'_>,
    target: &Target,
    entries: Vec<Entry>,
) -> (pb::UpsertStreamResponse, Option<Status>) {
    let mut response = pb::UpsertStreamResponse::default();
    let mut acks = Vec::with_capacity(entries.len());
    let mut end = None;
    // Each item once, with the positions of its acknowledgements; if items may be left out, all of them in order.
    let mut contents: Vec<(Content, Vec<usize>)> = Vec::with_capacity(entries.len());
    let mut positions: FxHashMap<PointId, usize> = FxHashMap::default();
    for Entry { index, id, content } in entries {
        match content {
            Ok(content) => {
                match positions.entry(content.id.clone()) {
                    // The write decides about each of them.
                    Occupied(_) if target.may_skip() => contents.push((content, vec![acks.len()])),
                    // Of two items with the same id, the later one wins.
                    Occupied(entry) => {
                        let (before, acks_of) = &mut contents[*entry.get()];
                        let points = before.points.len() as u64;
                        if before.points == content.points {
                            response.unchanged += points;
                        } else if target.condition.mode == WriteMode::Keep {
                            let error = Error::PointAgain { id: content.id.to_string() };
                            acks.push(status::item_refused(index, id, &error));
                            end.get_or_insert_with(|| error.into_status());
                            continue;
                        }
                        response.replaced += points;
                        *before = content;
                        acks_of.push(acks.len());
                    }
                    Vacant(entry) => {
                        entry.insert(contents.len());
                        contents.push((content, vec![acks.len()]));
                    }
                }
                acks.push(pb::Ack { index, id, ..Default::default() });
            }
            Err(error) => {
                acks.push(status::item_refused(index, id, &error));
                if ends_stream(&error) && end.is_none() {
                    end = Some(error.into_status());
                }
            }
        }
    }
    let mut contents = contents.into_iter().peekable();
    while contents.peek().is_some() {
        let (mut points, mut texts, mut ack_indexes) = (Vec::new(), Vec::new(), Vec::new());
        while let Some((content, acks_of)) = contents.next_if(|(next, _)| points.len() + next.points.len() <= MAX_BATCH)
        {
            texts.push(content.id);
            points.extend(content.points);
            ack_indexes.extend(acks_of);
        }
        match write_points(engine, target, points, &texts) {
            Ok(written) => {
                response.inserted += written.inserted;
                response.replaced += written.replaced;
                response.unchanged += written.unchanged;
                let mut outcomes = Outcomes::new(&written.skipped);
                for index in ack_indexes.into_iter().rev() {
                    acks[index].sequence = written.sequence;
                    acks[index].outcome = outcomes.take_last(&acks[index].id).into();
                }
            }
            Err(error) => {
                // The error may be caused by one of the items written together.
                let failed_id = match &error {
                    Error::PointTaken { id, .. } => Some(id.as_str()),
                    _ => None,
                };
                // Later items are not attempted: they would be written without the items before them.
                for index in ack_indexes.into_iter().chain(contents.by_ref().flat_map(|(_, acks_of)| acks_of)) {
                    let ack = &mut acks[index];
                    let id = std::mem::take(&mut ack.id);
                    *ack = match failed_id {
                        Some(failed_id) if failed_id != id => status::item_not_written(ack.index, id, &error),
                        _ => status::item_refused(ack.index, id, &error),
                    };
                }
                end = Some(error.into_status());
            }
        }
    }
    response.acks = acks;
    (response, end)
}

fn write_points(
    engine: &AuthorizedEngine<'_>,
    target: &Target,
    points: Vec<Item>,
    texts: &[PointId],
) -> Result<Upserted, Error> {
    let name = &target.collection;
    match target.blocks {
        None => engine.writes(name, |writes, name| writes.upsert_if(name, points, &target.condition)),
        Some(_) => engine.writes(name, |writes, name| writes.upsert_instead(name, points, texts)),
    }
}

/// The outcomes of the items of one write.
///
/// Of the items with one id, the last ones are left out, and for one reason: an item that is left out changes nothing,
/// so that the condition has the same result for those after it.
struct Outcomes<'w>(FxHashMap<&'w str, (pb::WriteOutcome, usize)>);

impl<'w> Outcomes<'w> {
    fn new(skipped: &'w SkippedItems) -> Self {
        let mut left_out = FxHashMap::default();
        let reasons = [
            (&skipped.existing, pb::WriteOutcome::Existing),
            (&skipped.missing, pb::WriteOutcome::Missing),
            (&skipped.unmatched, pb::WriteOutcome::Unmatched),
        ];
        for (ids, outcome) in reasons {
            for id in ids {
                left_out.entry(id.as_str()).or_insert((outcome, 0)).1 += 1;
            }
        }
        Self(left_out)
    }

    /// Returns the outcome of the last item with this id that was not taken yet.
    fn take_last(&mut self, id: &str) -> pb::WriteOutcome {
        match self.0.get_mut(id) {
            Some((outcome, left)) if *left > 0 => {
                *left -= 1;
                *outcome
            }
            _ => pb::WriteOutcome::Written,
        }
    }
}

/// Returns the bytes of the vector of an item.
fn source_bytes(item: &Item) -> usize {
    match &item.source {
        PointInput::Vector(vector) | PointInput::Embedded { vector, .. } => vector.len() * size_of::<f32>(),
        PointInput::Text(_) | PointInput::Image(_) | PointInput::None => 0,
    }
}

/// Whether an item's error concerns the collection or the machine rather than the item.
fn ends_stream(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::OutOfVocabulary | ErrorKind::AlreadyExists => false,
        ErrorKind::NotFound => matches!(error, Error::UnknownCollection(_)),
        ErrorKind::Conflict
        | ErrorKind::Forbidden
        | ErrorKind::Corrupt
        | ErrorKind::Exhausted
        | ErrorKind::Unavailable
        | ErrorKind::Abandoned
        | ErrorKind::Internal => true,
    }
}
