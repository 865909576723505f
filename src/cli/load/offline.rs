//! Straight into a data directory: items are checked and embedded many at a time, then written as sealed segments.

use super::files::{Files, ReadOptions};
use super::record::{Place, RecordError, Records};
use super::report::Report;
use super::target::{self, Existing};
use crate::cli::args::LoadArgs;
use crate::cli::local;
use crate::collection::LocalEngine;
use crate::cli::progress::{Progress, Step};
use crate::collection::{CollectionInfo, Engine, ErrorKind, Item, Source};
use crate::embed::{Embedder, Input, Tap};
use anyhow::{Context, bail};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// Items that are embedded together.
const CHUNK: usize = 1_024;
/// Bytes of texts and images that are held at once.
const CHUNK_BYTES: usize = 32 << 20;

/// Opens the data directory (which fails while a server holds it) and loads.
pub(super) fn run(args: &LoadArgs, progress: &Progress) -> anyhow::Result<Report> {
    let data = args.data.as_deref().unwrap_or(Path::new("."));
    // The files first: a wrong name should not cost the opening of an engine.
    Files::new(&args.files, args.format, &args.labels, ReadOptions { pixels_as_vectors: true, ..Default::default() })?;
    let engine = local::engine(data, &args.models)?;
    let existing = match engine.collection(&args.collection) {
        Ok(info) => Some(info),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).context(format!("the collection {}", args.collection)),
    };
    let known = existing.as_ref().map(|info| Existing {
        embedder: info.embedder.as_ref().map(|pin| (pin.name.clone(), pin.tap.clone())),
        metric: Some(info.metric),
    });
    if let Some(known) = &known {
        target::check(args, known)?;
    }
    let options = ReadOptions {
        id_prefix: args.id_prefix.clone(),
        pixels_as_vectors: target::takes_pixels_as_vectors(args, known.as_ref()),
    };
    let files = Files::new(&args.files, args.format, &args.labels, options)?;
    let mut stream =
        Stream { files, first: None, left: args.limit.unwrap_or(u64::MAX), report: Report::new(args.strict), progress };

    let info = match existing {
        Some(info) => info,
        None => {
            let Some((first, place)) = stream.next() else { return Ok(stream.report) };
            let info = engine.create_collection(&target::spec(args, &first)?)?;
            stream.first = Some((first, place));
            info
        }
    };
    let embedder = pinned(&engine, &info)?;
    let mut ready = Ready { engine: &engine, args, embedder, stream, chunk: VecDeque::new(), loaded: 0 };
    local::bulk_load(&engine, &args.collection, &mut ready, progress)?;
    ready.stream.report.loaded = ready.loaded;
    Ok(ready.stream.report)
}

/// The embedder and tap that the collection is pinned to.
fn pinned(engine: &LocalEngine, info: &CollectionInfo) -> anyhow::Result<Option<(Arc<dyn Embedder>, Tap)>> {
    let Some(pin) = &info.embedder else { return Ok(None) };
    let Some(embedder) = engine.embedders().by_fingerprint(&pin.name, &pin.fingerprint) else {
        bail!(
            "the collection {} was made with another {:?} embedder (fingerprint {}); name its folder with --model",
            info.name,
            pin.name,
            pin.fingerprint
        );
    };
    let tap = embedder.tap(&pin.tap)?.clone();
    Ok(Some((embedder.clone(), tap)))
}

/// Sound records with their places; broken ones go to the report.
struct Stream<'a> {
    files: Files,
    /// An item that was read to see what it is.
    first: Option<(Item, Place)>,
    left: u64,
    report: Report,
    progress: &'a Progress,
}

impl Iterator for Stream<'_> {
    type Item = (Item, Place);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            if self.left == 0 || self.report.stopped.is_some() {
                return None;
            }
            match self.files.next()? {
                Ok(item) => {
                    self.left -= 1;
                    return Some((item, self.files.place()));
                }
                Err(error) => {
                    if !self.report.broken(error, self.progress) {
                        return None;
                    }
                }
            }
        }
    }
}

/// Items as the bulk load takes them: vectors that the engine has checked.
struct Ready<'a> {
    engine: &'a LocalEngine,
    args: &'a LoadArgs,
    embedder: Option<(Arc<dyn Embedder>, Tap)>,
    stream: Stream<'a>,
    chunk: VecDeque<Item>,
    loaded: u64,
}

impl Ready<'_> {
    /// Reads, embeds and checks the next items; false when there are none.
    fn refill(&mut self) -> bool {
        while self.chunk.is_empty() {
            let mut bytes = 0;
            let mut chunk = Vec::new();
            while chunk.len() < CHUNK && bytes < CHUNK_BYTES {
                let Some(next) = self.stream.next() else { break };
                bytes += match &next.0.source {
                    Source::Vector(vector) => vector.len() * 4,
                    Source::Text(text) => text.len(),
                    Source::Image(image) => image.len(),
                };
                chunk.push(next);
            }
            if chunk.is_empty() {
                return false;
            }
            let places = chunk.iter().map(|(_, place)| place.clone()).collect::<Vec<_>>();
            let embedded = self.embed(chunk.into_iter().map(|(item, _)| item).collect());
            let (engine, name) = (self.engine, &self.args.collection);
            let checked = embedded
                .into_par_iter()
                .map(|item| engine.prepare(name, item?).map_err(|error| chain(&error)))
                .collect::<Vec<Result<Item, String>>>();
            for (result, place) in checked.into_iter().zip(places) {
                match result {
                    Ok(item) => self.chunk.push_back(item),
                    Err(what) => {
                        if !self.stream.report.broken(RecordError::record(place, what), self.stream.progress) {
                            return !self.chunk.is_empty();
                        }
                    }
                }
            }
        }
        true
    }

    /// Texts and images become vectors, all of a chunk at once; the text stays in the payload.
    fn embed(&self, mut items: Vec<Item>) -> Vec<Result<Item, String>> {
        // Without an embedder the engine's own refusal says what is wrong.
        let Some((embedder, tap)) = &self.embedder else { return items.into_iter().map(Ok).collect() };
        let mut at = Vec::new();
        let mut inputs = Vec::new();
        for (place, item) in items.iter().enumerate() {
            match &item.source {
                Source::Text(text) => inputs.push(Input::Text(text)),
                Source::Image(image) => inputs.push(Input::Image(image)),
                Source::Vector(_) => continue,
            }
            at.push(place);
        }
        let vectors = embedder.embed_batch(tap, &inputs);
        let mut failed = vec![None; items.len()];
        for (place, result) in at.into_iter().zip(vectors) {
            match result {
                Ok(vector) => {
                    let source = std::mem::replace(&mut items[place].source, Source::Vector(vector));
                    if let Source::Text(text) = source {
                        items[place].payload.entry("text").or_insert_with(|| text.into());
                    }
                }
                Err(error) => failed[place] = Some(chain(&error)),
            }
        }
        items.into_iter().zip(failed).map(|(item, failed)| failed.map_or(Ok(item), Err)).collect()
    }
}

impl Iterator for Ready<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if self.chunk.is_empty() {
            let step = Step { done: self.loaded, total: None, part: Some(self.stream.files.part()) };
            self.stream.progress.step(step, "");
            if !self.refill() {
                return None;
            }
        }
        self.loaded += 1;
        self.chunk.pop_front()
    }
}

/// An error with its causes on one line.
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
