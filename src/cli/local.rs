//! Shared parts of the offline commands: the embedders of this process, and the engine over a data directory.

use super::progress::{Progress, Step};
use crate::api::{Item, Job};
use crate::collection::{BulkOutcome, OnConflict, OnRefused};
use crate::embed::Registry;
use crate::engine::{Database, OpenOptions};
use crate::types::CollectionName;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// Returns the built-in embedders and those of the given model folders, which take precedence by name.
pub(crate) fn registry(models: &[PathBuf]) -> anyhow::Result<Registry> {
    let mut registry = Registry::with_defaults().context("the embedders in the binary cannot be used")?;
    for folder in models {
        registry.add_folder(folder).with_context(|| format!("--model {}", folder.display()))?;
    }
    Ok(registry)
}

/// Opens (or creates) a data directory; it belongs to this process until the engine is dropped.
pub(crate) fn engine(data: &Path, models: &[PathBuf]) -> anyhow::Result<Database> {
    engine_with(Database::options(), data, models)
}

/// As [`engine`], with these options besides the embedders.
pub(crate) fn engine_with(options: OpenOptions, data: &Path, models: &[PathBuf]) -> anyhow::Result<Database> {
    let opened = options.embedders(registry(models)?).open(data);
    opened.with_context(|| format!("--data {}: cannot be opened", data.display()))
}

/// Writes items as sealed segments; calls `on_refused` for each item that the engine refuses.
pub(crate) fn bulk_load(
    engine: &Database,
    name: &CollectionName,
    items: &mut dyn Iterator<Item = Item>,
    on_conflict: OnConflict,
    on_refused: OnRefused<'_>,
    progress: &Progress,
) -> anyhow::Result<BulkOutcome> {
    let observe = |job: Job, done: u64, total: u64| {
        // The reader of the files reports the progress of loading, since it has the total.
        if !matches!(job, Job::Loading) {
            progress.step(Step { done, total: Some(total), part: None }, "indexing");
        }
        true
    };
    let outcome = engine.bulk_load(name, items, on_conflict, on_refused, &observe);
    outcome.with_context(|| format!("the collection {name}"))
}
