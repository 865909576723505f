//! `Points.UpsertStream`: items in, one acknowledgement each out, in order.
//!
//! ```text
//! client -> read: gather -> prepare: check and embed, on all cores -> write: one upsert -> acks -> client
//! ```
//!
//! The stages are tasks joined by channels of one batch, so that one batch is embedded while another is written, and
//! no more than a few batches are ever in memory: when a stage is behind, the one before it waits, and at last the
//! server stops reading (HTTP/2 flow control holds the client back). Each batch is charged to the memory that all requests
//! share until it is written; where that is full, the stream ends. While the writer is busy the batch being gathered
//! grows, so that a slow disk gets larger transactions instead of more of them.

use super::memory::Charge;
use super::work::{Lane, Work};
use super::{from_proto, pb, status};
use crate::collection::{Engine, Error, ErrorKind, Item};
use crate::types::{CollectionName, MAX_ID_BYTES};
use prost::Message;
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// What the client receives.
pub(super) type Acks = ReceiverStream<Result<pb::UpsertStreamResponse, Status>>;

/// Items after which a batch is passed on as soon as the next stage takes it.
const BATCH_ITEMS: usize = 512;
/// Bytes after which it is.
const BATCH_BYTES: usize = 4 << 20;
/// Items that a batch gathers at most while the next stage is busy.
const MOST_ITEMS: usize = 4_096;
/// Bytes that it does.
const MOST_BYTES: usize = 16 << 20;
/// Silence after which a smaller batch is passed on.
const SILENCE: Duration = Duration::from_millis(2);

/// One item of the stream, or why it is refused.
struct Entry {
    index: u64,
    id: String,
    item: Result<Item, Error>,
}

/// What one stage hands to the next.
enum Step {
    Batch(CollectionName, Vec<Entry>, Charge),
    /// The stream ends with this status, after everything before it is acknowledged.
    End(Status),
}

/// Starts the stages.
pub(super) fn start(work: Work, incoming: Streaming<pb::UpsertStreamRequest>) -> Acks {
    let (read, to_prepare) = mpsc::channel(1);
    let (prepared, to_write) = mpsc::channel(1);
    let (acks, receiver) = mpsc::channel(2);
    tokio::spawn(Reader::new(work.clone()).run(incoming, read));
    tokio::spawn(prepare(work.clone(), to_prepare, prepared));
    tokio::spawn(write(work, to_write, acks));
    ReceiverStream::new(receiver)
}

struct Reader {
    work: Work,
    collection: Option<CollectionName>,
    next_index: u64,
    batch: Vec<Entry>,
    bytes: usize,
    /// What the batch is charged.
    charge: Charge,
}

impl Reader {
    fn new(work: Work) -> Self {
        let charge = work.charge();
        Self { work, collection: None, next_index: 0, batch: Vec::new(), bytes: 0, charge }
    }

    async fn run(mut self, mut incoming: Streaming<pb::UpsertStreamRequest>, next: mpsc::Sender<Step>) {
        let mut stopping = self.work.stopping();
        let mut quiet = false;
        let end = loop {
            let full = self.batch.len() >= MOST_ITEMS || self.bytes >= MOST_BYTES;
            let due = quiet || self.batch.len() >= BATCH_ITEMS || self.bytes >= BATCH_BYTES;
            tokio::select! {
                message = incoming.message(), if !full => match message {
                    Ok(Some(message)) => {
                        quiet = false;
                        if let Err(end) = self.take(message).await {
                            break Some(end);
                        }
                    }
                    Ok(None) => break None,
                    Err(end) => break Some(status::corrected(end, self.work.max_message_bytes())),
                },
                place = next.reserve(), if due && !self.batch.is_empty() => {
                    let Ok(place) = place else { return };
                    if let Some(step) = self.step() {
                        place.send(step);
                    }
                }
                () = tokio::time::sleep(SILENCE), if !due && !self.batch.is_empty() => quiet = true,
                () = stopped(&mut stopping) => break Some(status::stopping()),
                () = next.closed() => return,
            }
        };
        // When the next stage is gone, so is the client.
        if let Some(step) = self.step() {
            let _ = next.send(step).await;
        }
        if let Some(end) = end {
            let _ = next.send(Step::End(end)).await;
        }
    }

    /// What was gathered.
    fn step(&mut self) -> Option<Step> {
        let name = self.collection.clone()?;
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let charge = std::mem::replace(&mut self.charge, self.work.charge());
        (!batch.is_empty()).then_some(Step::Batch(name, batch, charge))
    }

    /// Adds a message to the batch; the error ends the stream.
    async fn take(&mut self, message: pb::UpsertStreamRequest) -> Result<(), Status> {
        match &self.collection {
            Some(name) if message.collection.is_empty() || message.collection == name.as_str() => {}
            Some(name) => {
                let why = format!("is {:?}; this stream began with {:?}", message.collection, name.as_str());
                return Err(Error::invalid("collection", why).into());
            }
            None => {
                let name = from_proto::collection("collection", &message.collection)?;
                let known = name.clone();
                self.work.run(Lane::Store, move |engine| engine.count(&known, None)).await?;
                self.collection = Some(name);
            }
        }
        let Some(item) = message.item else { return Ok(()) };
        let bytes = item.encoded_len();
        self.charge.add(bytes)?;
        self.bytes += bytes;
        let id = item.id[..item.id.floor_char_boundary(MAX_ID_BYTES)].to_owned();
        self.batch.push(Entry { index: self.next_index, id, item: from_proto::item(&"item", item) });
        self.next_index += 1;
        Ok(())
    }
}

async fn stopped(stopping: &mut tokio::sync::watch::Receiver<bool>) {
    // An error means that the server is gone, which is the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn prepare(work: Work, mut steps: mpsc::Receiver<Step>, next: mpsc::Sender<Step>) {
    while let Some(step) = steps.recv().await {
        let step = match step {
            Step::End(end) => Step::End(end),
            Step::Batch(name, mut entries, charge) => {
                let call = move |engine: &dyn Engine| {
                    entries.par_iter_mut().for_each(|entry| prepare_one(engine, &name, entry));
                    Ok::<_, Error>(Step::Batch(name, entries, charge))
                };
                work.run(Lane::Compute, call).await.unwrap_or_else(Step::End)
            }
        };
        let last = matches!(step, Step::End(_));
        if next.send(step).await.is_err() || last {
            return;
        }
    }
}

fn prepare_one(engine: &dyn Engine, name: &CollectionName, entry: &mut Entry) {
    // The error is only a place holder for the moment of the exchange.
    let item = std::mem::replace(&mut entry.item, Err(Error::Unavailable(String::new())));
    entry.item = item.and_then(|item| engine.prepare(name, item));
}

async fn write(
    work: Work,
    mut steps: mpsc::Receiver<Step>,
    acks: mpsc::Sender<Result<pb::UpsertStreamResponse, Status>>,
) {
    while let Some(step) = steps.recv().await {
        let end = match step {
            Step::End(end) => Some(end),
            Step::Batch(name, entries, charge) => {
                let call = move |engine: &dyn Engine| {
                    let _until_written = charge;
                    Ok::<_, Error>(write_batch(engine, &name, entries))
                };
                match work.run(Lane::Store, call).await {
                    Ok((batch, end)) => {
                        if acks.send(Ok(pb::UpsertStreamResponse { acks: batch })).await.is_err() {
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

/// Writes the good entries in one upsert. Returns the acknowledgements in order, and the status that ends the stream.
fn write_batch(engine: &dyn Engine, name: &CollectionName, entries: Vec<Entry>) -> (Vec<pb::Ack>, Option<Status>) {
    let mut acks = Vec::with_capacity(entries.len());
    let mut end = None;
    let mut items: Vec<Item> = Vec::with_capacity(entries.len());
    let mut places = FxHashMap::default();
    let mut good = Vec::with_capacity(entries.len());
    for Entry { index, id, item } in entries {
        match item {
            Ok(item) => {
                good.push(acks.len());
                acks.push(pb::Ack { index, id, ..Default::default() });
                match places.entry(item.id.clone()) {
                    // The later of two items of one id is the one that stays.
                    std::collections::hash_map::Entry::Occupied(place) => items[*place.get()] = item,
                    std::collections::hash_map::Entry::Vacant(place) => {
                        place.insert(items.len());
                        items.push(item);
                    }
                }
            }
            Err(error) => {
                acks.push(status::refused(index, id, &error));
                if ends_stream(&error) && end.is_none() {
                    end = Some(error.into());
                }
            }
        }
    }
    if items.is_empty() {
        return (acks, end);
    }
    match engine.upsert(name, items) {
        Ok(done) => good.into_iter().for_each(|place| acks[place].sequence = done.sequence),
        Err(error) => {
            for place in good {
                let ack = &mut acks[place];
                *ack = status::refused(ack.index, std::mem::take(&mut ack.id), &error);
            }
            end = Some(error.into());
        }
    }
    (acks, end)
}

/// Whether an item's error is about the collection or the machine, and not about the item.
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
