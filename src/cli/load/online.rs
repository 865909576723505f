//! Online loading through a server: an upsert stream with a limited number of unacknowledged items.
//!
//! A refused item is reported with its file and line; the stream continues. An error that stops the load (an invalid
//! record with `--strict`, an id that belongs to another point) ends the sending; items already sent are still
//! acknowledged and counted. A broken connection ends the load: acknowledged items are durable, and the same load may
//! be repeated.

use super::args::{LoadArgs, Mode};
use super::formats::files::{Files, ReadOptions};
use super::record::{FilePosition, RecordError, Records};
use super::report::{Counts, Report};
use super::target::{self, ExistingCollection};
use crate::api::{Item, PointInput, VectorSource};
use crate::cli::config::UsageError;
use crate::cli::progress::{Progress, Step};
use crate::cli::remote::{self, Client, refusal};
use crate::collection::Blocks;
use crate::grpc::{ClientError, Written, pb};
use anyhow::{anyhow, bail};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// The google.rpc.Code of an item that would change a point.
const ALREADY_EXISTS: i32 = 6;
/// The google.rpc.Code of an item that was not written because of another one.
const ABORTED: i32 = 10;
/// Maximum number of unacknowledged items.
const MAX_UNACKNOWLEDGED: usize = 4_096;

/// Connects, creates the collection if it is missing, and streams the items.
pub(super) fn run(args: &LoadArgs, progress: &Progress) -> anyhow::Result<Report> {
    remote::block_on(async {
        let client = remote::connect_to(args.server.as_deref(), &args.tls).await?;
        let existing = existing(&client, args).await?;
        if let Some(existing) = &existing {
            target::check(args, existing)?;
        }
        let options = ReadOptions {
            id_prefix: args.id_prefix.clone(),
            pixels_as_vectors: target::reads_pixels_as_vectors(args, existing.as_ref()),
            digits_only: target::accepts_digits_only(args, existing.as_ref()),
            // The server splits the texts, and removes their stale blocks.
            blocks: None,
        };
        let blocks = target::blocks(args)?;
        let mut files = Files::new(&args.files, args.format, &args.labels, options)?;
        let condition = condition(args)?;
        // A condition decides about existing points itself.
        let keep_existing = files.ids_are_positions() && !args.replace && condition == Condition::default();
        let mut report = Report::new(args.strict, files.formats());
        let Some(first) = first_item(&mut files, &mut report, progress) else { return Ok(report) };
        if existing.is_none() {
            let mut spec = target::spec(args, &first.0)?;
            if let (None, None, PointInput::Text(_)) = (&args.embedder, &args.output, &first.0.source)
                && let VectorSource::Embedded { embedder, .. } = &mut spec.space
            {
                // The server's default.
                embedder.clear();
            }
            let request = remote::create_collection_request(&spec);
            client.create_collection(request).await.map_err(|error| creation_error(args, error))?;
        }
        let sending = StreamParams {
            collection: args.collection.as_str(),
            limit: args.limit.unwrap_or(u64::MAX),
            blocks,
            keep_existing,
            condition,
        };
        let mut report = stream(client.clone(), sending, files, first, report, progress).await;
        match self::existing(&client, args).await {
            Ok(collection) => report.collection = collection,
            // The error that stopped the load is more important than its consequences.
            Err(error) => report.stop(error),
        }
        Ok(report)
    })
}

/// Explains why a missing collection could not be created, with a remedy if the key lacks the permission.
fn creation_error(args: &LoadArgs, error: ClientError) -> anyhow::Error {
    let remedy = (error.code() == "PERMISSION_DENIED").then(|| {
        let name = args.collection.as_str();
        format!(
            "the collection {name} does not exist, or this key may not access it; creating it (`nearness collections \
             create {name}`) needs an admin key whose collections include it"
        )
    });
    match remedy {
        Some(remedy) => refusal(error).context(remedy),
        None => refusal(error),
    }
}

/// Returns the collection, if it exists on the server.
async fn existing(client: &Client, args: &LoadArgs) -> anyhow::Result<Option<ExistingCollection>> {
    let list = client.list_collections(pb::ListCollectionsRequest::default()).await.map_err(refusal)?;
    Ok(list.collections.into_iter().find(|collection| collection.name == args.collection.as_str()).map(|collection| {
        ExistingCollection {
            metric: remote::metric(&collection),
            dimension: collection.dimension,
            embedder: collection.embedder.map(|embedder| (embedder.name, embedder.output)),
        }
    }))
}

fn first_item(files: &mut Files, report: &mut Report, progress: &Progress) -> Option<(Item, FilePosition)> {
    loop {
        match files.next()? {
            Ok(item) => return Some((item, files.file_position())),
            Err(error) => {
                if !report.invalid(error, progress) {
                    return None;
                }
            }
        }
    }
}

/// State shared by the reading thread and the receiver of acknowledgements.
struct SharedState {
    /// Positions of the unacknowledged items, oldest first.
    unacknowledged: VecDeque<FilePosition>,
    report: Report,
    /// Fraction of the files read.
    part: f64,
    /// The record that ended a strict load. Earlier records may still be refused.
    unreadable: Option<RecordError>,
}

/// Parameters of the stream.
struct StreamParams<'a> {
    collection: &'a str,
    limit: u64,
    blocks: Option<Blocks>,
    /// Items that would change a point end the load.
    keep_existing: bool,
    condition: Condition,
}

/// Whether an item is written, depending on its point.
#[derive(Debug, Default, PartialEq)]
struct Condition {
    mode: pb::WriteMode,
    only_if: Option<pb::Filter>,
}

/// Returns the condition of the arguments.
fn condition(args: &LoadArgs) -> Result<Condition, UsageError> {
    let mode = match args.mode {
        None | Some(Mode::Upsert) => pb::WriteMode::Unspecified,
        Some(Mode::Insert) => pb::WriteMode::Insert,
        Some(Mode::Update) => pb::WriteMode::Update,
    };
    if mode == pb::WriteMode::Insert && args.only_if.is_some() {
        return Err(UsageError(
            "--only-if has no effect with --mode insert, which replaces no point; remove it".into(),
        ));
    }
    if mode != pb::WriteMode::Unspecified && args.block_words.is_some() {
        return Err(UsageError("--mode cannot be combined with --block-words: stale blocks are removed".into()));
    }
    Ok(Condition { mode, only_if: args.only_if.clone() })
}

async fn stream(
    client: Client,
    StreamParams { collection, limit, blocks, keep_existing, mut condition }: StreamParams<'_>,
    mut files: Files,
    first: (Item, FilePosition),
    report: Report,
    progress: &Progress,
) -> Report {
    let shared = Mutex::new(SharedState { unacknowledged: VecDeque::new(), report, part: 0.0, unreadable: None });
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let window = Arc::new(Semaphore::new(MAX_UNACKNOWLEDGED));
    let (sender, receiver) = mpsc::channel(256);
    let handle = tokio::runtime::Handle::current();

    let acked = std::thread::scope(|scope| {
        // File I/O blocks, so the reader has its own thread. It ends when its channel or the window closes.
        let reader_window = window.clone();
        scope.spawn({
            let handle = handle.clone();
            move || {
                let mut next = Some(first);
                let mut sent = 0;
                while let Some((item, position)) = next.take() {
                    if sent == limit {
                        break;
                    }
                    let Ok(permit) = handle.block_on(reader_window.acquire()) else { break };
                    permit.forget();
                    {
                        let mut shared = lock();
                        if shared.report.stopped.is_some() {
                            break;
                        }
                        shared.unacknowledged.push_back(position);
                        shared.part = files.part();
                    }
                    let mut message = pb::UpsertStreamRequest { item: Some(item_message(item)), ..Default::default() };
                    if sent == 0 {
                        message.collection = collection.to_owned();
                        message.keep_existing = keep_existing;
                        message.mode = condition.mode.into();
                        message.only_if = condition.only_if.take();
                        message.blocks = blocks.map(|Blocks { words, overlap, .. }| pb::Blocks { words, overlap });
                    }
                    if sender.blocking_send(message).is_err() {
                        break;
                    }
                    sent += 1;
                    next = loop {
                        match files.next() {
                            None => break None,
                            Some(Ok(item)) => break Some((item, files.file_position())),
                            Some(Err(error)) => {
                                let mut shared = lock();
                                if shared.report.strict {
                                    shared.unreadable = Some(error);
                                    break None;
                                }
                                shared.report.invalid(error, progress);
                            }
                        }
                    };
                }
                let notes = files.take_notes();
                lock().report.note(notes, progress);
            }
        });
        let result = tokio::task::block_in_place(|| {
            handle.block_on(async {
                let mut acks = client.upsert_stream(ReceiverStream::new(receiver)).await.map_err(refusal)?;
                let (mut index, mut noted) = (0, false);
                while let Some(batch) = acks.next().await.map_err(refusal)? {
                    for ack in batch {
                        acknowledge(&mut lock(), &ack, index, keep_existing, progress)?;
                        index += 1;
                        window.add_permits(1);
                    }
                    if !std::mem::replace(&mut noted, true) {
                        remote::note_unknown_fields(collection, acks.unknown_fields());
                    }
                    let mut shared = lock();
                    let Written { inserted, replaced, unchanged } = acks.written();
                    let counts = Counts { inserted, replaced: replaced.saturating_sub(unchanged), unchanged };
                    shared.report.counts = Some(counts).filter(|counts| *counts != Counts::default());
                    let step = Step { done: shared.report.loaded, total: None, part: Some(shared.part) };
                    progress.step(step, "");
                }
                anyhow::Ok(())
            })
        });
        // In any case, the reading thread must not wait for permits that never come.
        window.close();
        result
    });
    let SharedState { unacknowledged, mut report, unreadable, .. } =
        shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = unreadable.filter(|_| report.stopped.is_none()) {
        report.invalid(error, progress);
    }
    let loaded = report.loaded;
    match acked {
        Err(error) => report.stop(error.context(format!(
            "the stream to the server broke after {loaded} acknowledged items; run the same load again"
        ))),
        Ok(()) if !unacknowledged.is_empty() => report.stop(anyhow!(
            "the server ended the stream with {} items unacknowledged ({loaded} are loaded); run the same load again",
            unacknowledged.len()
        )),
        Ok(()) => {}
    }
    report
}

/// Processes one acknowledgement; they arrive in the order of the items.
fn acknowledge(
    shared: &mut SharedState,
    ack: &pb::Ack,
    index: u64,
    keep_existing: bool,
    progress: &Progress,
) -> anyhow::Result<()> {
    let Some(position) = shared.unacknowledged.pop_front().filter(|_| ack.index == index) else {
        bail!("the server acknowledged item {}, expected item {index}", ack.index);
    };
    let left_out = &mut shared.report.left_out;
    match ack.outcome() {
        pb::WriteOutcome::Existing => left_out.existing += 1,
        pb::WriteOutcome::Missing => left_out.missing += 1,
        pb::WriteOutcome::Unmatched => left_out.unmatched += 1,
        // A server that reports no outcomes has written what it does not refuse.
        pb::WriteOutcome::Written | pb::WriteOutcome::Unspecified if ack.error.is_empty() => shared.report.loaded += 1,
        pb::WriteOutcome::Written | pb::WriteOutcome::Unspecified => {
            refused(shared, position, ack, keep_existing, progress)
        }
    }
    Ok(())
}

/// Reports an item that the server refused.
fn refused(shared: &mut SharedState, position: FilePosition, ack: &pb::Ack, keep_existing: bool, progress: &Progress) {
    if keep_existing && ack.error_code == ALREADY_EXISTS {
        shared.report.stop(target::id_conflict(&position, &ack.error));
    } else if keep_existing && ack.error_code == ABORTED {
        // The item that caused the error stops the load.
    } else {
        shared.report.invalid(RecordError::record(position, ack.error.clone()), progress);
    }
}

/// Converts an item to its message.
pub(in crate::cli) fn item_message(item: Item) -> pb::Item {
    let source = match item.source {
        PointInput::None => None,
        PointInput::Vector(vector) | PointInput::Embedded { vector, .. } => {
            Some(pb::item::Source::Vector(remote::vector(&vector)))
        }
        PointInput::Text(text) => Some(pb::item::Source::Text(text)),
        PointInput::Image(image) => Some(pb::item::Source::Image(image.into())),
    };
    let payload_json = remote::payload(item.payload);
    let vectors = item.vectors.into_iter().map(|(name, vector)| (name, crate::grpc::field_vector_message(vector)));
    pb::Item { id: item.id.as_str().into(), source, payload: None, payload_json, vectors: vectors.collect() }
}
