//! Offline loading into a data directory: the engine validates and embeds the items, and writes them as sealed
//! segments.

use super::args::LoadArgs;
use super::formats::files::{Files, ReadOptions};
use super::record::{FilePosition, RecordError, Records};
use super::report::{Counts, Report};
use super::target::{self, ExistingCollection};
use crate::api::{CollectionInfo, Error, ErrorKind, Item};
use crate::cli::local;
use crate::cli::progress::{Progress, Step};
use crate::collection::{OnConflict, Refused};
use crate::engine::{Admin, Database, Reads};
use anyhow::Context;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;

/// Number of items whose positions are remembered; more than the engine buffers.
const MAX_POSITIONS: usize = 16_384;
/// Number of items between progress updates.
const PROGRESS_INTERVAL: u64 = 256;

/// Opens the data directory (which fails while a server holds it) and loads.
pub(super) fn run(args: &LoadArgs, progress: &Progress) -> anyhow::Result<Report> {
    let data = args.data.as_deref().unwrap_or(Path::new("."));
    // Before opening the engine: an invalid file name must not create a data directory.
    Files::new(
        &args.files,
        args.format,
        &args.labels,
        ReadOptions { pixels_as_vectors: true, ..ReadOptions::default() },
    )?;
    let engine = local::engine(data, &args.models)?;
    let existing = match engine.collection(&args.collection) {
        Ok(info) => Some(existing_collection(info)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).context(format!("the collection {}", args.collection)),
    };
    if let Some(existing) = &existing {
        target::check(args, existing)?;
    }
    let options = ReadOptions {
        id_prefix: args.id_prefix.clone(),
        pixels_as_vectors: target::reads_pixels_as_vectors(args, existing.as_ref()),
        digits_only: target::accepts_digits_only(args, existing.as_ref()),
        blocks: target::blocks(args)?,
    };
    let files = Files::new(&args.files, args.format, &args.labels, options)?;
    let on_conflict = if files.ids_are_positions() && !args.replace { OnConflict::Keep } else { OnConflict::Replace };
    let report = Report::new(args.strict, files.formats());
    let state = RefCell::new(LoadState { report, positions: VecDeque::new(), discarded: 0, unreadable: None });
    let mut stream =
        Stream { files, first: None, items_read: 0, limit: args.limit.unwrap_or(u64::MAX), state: &state, progress };
    let before = match &existing {
        Some(_) => engine.count(&args.collection, None)?,
        None => {
            stream.first = stream.next();
            let Some(first) = &stream.first else { return Ok(state.into_inner().finish(progress)) };
            engine.create_collection(&target::spec(args, first)?)?;
            0
        }
    };
    let mut refused = |refused: Refused<'_>, error: Error| {
        let mut state = state.borrow_mut();
        let position = state.file_position(refused);
        if error.kind() == ErrorKind::AlreadyExists {
            state.report.stop(target::id_conflict(&position, &error.to_string()));
            return Err(error);
        }
        let proceed = state.report.invalid(RecordError::record(position, chain(&error)), progress);
        Ok(if proceed { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    };
    let outcome = local::bulk_load(&engine, &args.collection, &mut stream, on_conflict, &mut refused, progress);
    let notes = stream.files.take_notes();
    let mut report = state.into_inner().finish(progress);
    report.note(notes, progress);
    match outcome {
        Ok(outcome) => {
            let (replaced, unchanged) = (outcome.replaced, outcome.unchanged);
            let inserted = outcome.loaded.saturating_sub(replaced + unchanged);
            report.loaded = outcome.loaded;
            report.counts = Some(Counts { inserted, replaced, unchanged });
        }
        Err(error) => {
            let is_conflict = |error: &Error| error.kind() == ErrorKind::AlreadyExists;
            if !error.downcast_ref::<Error>().is_some_and(is_conflict) {
                // The error that stopped the load is more important than one of the cleanup.
                let _ = delete_if_empty(&engine, args, existing.as_ref());
                return Err(error);
            }
            // The segments before the abandoned one remain.
            let inserted = engine.count(&args.collection, None)?.saturating_sub(before);
            report.loaded = inserted;
            report.counts = Some(Counts { inserted, ..Counts::default() });
        }
    }
    report.collection = Some(existing_collection(engine.collection(&args.collection)?));
    delete_if_empty(&engine, args, existing.as_ref())?;
    Ok(report)
}

/// Deletes the collection created by this load, if nothing was loaded into it.
fn delete_if_empty(engine: &Database, args: &LoadArgs, existing: Option<&ExistingCollection>) -> Result<(), Error> {
    if existing.is_none() && engine.count(&args.collection, None)? == 0 {
        engine.delete_collection(&args.collection)?;
    }
    Ok(())
}

fn existing_collection(info: CollectionInfo) -> ExistingCollection {
    let embedder = info.embedder.map(|pin| (pin.name, pin.output));
    ExistingCollection { embedder, metric: Some(info.metric), dimension: info.dimension }
}

/// Outcome of the records, shared between the stream and the engine's refusals.
struct LoadState {
    report: Report,
    /// Positions of the most recent items, oldest first.
    positions: VecDeque<FilePosition>,
    /// Number of discarded positions, all of earlier items.
    discarded: u64,
    /// The record that ended a strict load. Earlier records may still be refused.
    unreadable: Option<RecordError>,
}

impl LoadState {
    /// Returns the position of an item. The engine refuses items in their order, so older positions
    /// are discarded.
    fn file_position(&mut self, item: Refused<'_>) -> FilePosition {
        while self.discarded < item.index && self.positions.pop_front().is_some() {
            self.discarded += 1;
        }
        let unknown =
            || FilePosition { path: Path::new(item.id.as_str()).into(), at: super::record::RecordPosition::Whole };
        self.positions.front().cloned().unwrap_or_else(unknown)
    }

    /// Returns the report, once all items are loaded or refused.
    fn finish(self, progress: &Progress) -> Report {
        let Self { mut report, unreadable, .. } = self;
        if let Some(error) = unreadable.filter(|_| report.stopped.is_none()) {
            report.invalid(error, progress);
        }
        report
    }
}

/// Stream of valid records; invalid ones go to the report. Ends where a strict load stops.
struct Stream<'a> {
    files: Files,
    /// The first item, which was read to determine its kind.
    first: Option<Item>,
    items_read: u64,
    limit: u64,
    state: &'a RefCell<LoadState>,
    progress: &'a Progress,
}

impl Iterator for Stream<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let ended = |state: &LoadState| state.report.stopped.is_some() || state.unreadable.is_some();
            if self.items_read == self.limit || ended(&self.state.borrow()) {
                return None;
            }
            let next = self.files.next()?;
            let mut state = self.state.borrow_mut();
            match next {
                Ok(item) => {
                    self.items_read += 1;
                    state.positions.push_back(self.files.file_position());
                    if state.positions.len() > MAX_POSITIONS {
                        state.positions.pop_front();
                        state.discarded += 1;
                    }
                    if self.items_read.is_multiple_of(PROGRESS_INTERVAL) {
                        let step = Step { done: self.items_read, total: None, part: Some(self.files.part()) };
                        self.progress.step(step, "");
                    }
                    return Some(item);
                }
                Err(error) if state.report.strict => state.unreadable = Some(error),
                Err(error) => {
                    state.report.invalid(error, self.progress);
                }
            }
        }
    }
}

/// Formats an error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text += &format!(": {more}");
        }
        cause = error.source();
    }
    text
}
