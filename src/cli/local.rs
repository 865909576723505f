//! What the offline commands share: the embedders of this process, and the engine over a data directory.

use crate::collection::{LocalEngine, Options};
use super::progress::{Progress, Step};
use crate::collection::Item;
use crate::embed::Registry;
use crate::types::CollectionName;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// The defaults in the binary, then the given model folders, which win by name.
pub(crate) fn registry(models: &[PathBuf]) -> anyhow::Result<Registry> {
    let mut registry = Registry::with_defaults().context("the embedders in the binary cannot be used")?;
    for folder in models {
        registry.add_folder(folder).with_context(|| format!("--model {}", folder.display()))?;
    }
    Ok(registry)
}

/// Opens (or creates) a data directory; it belongs to this process until the engine is dropped.
pub(crate) fn engine(data: &Path, models: &[PathBuf]) -> anyhow::Result<LocalEngine> {
    LocalEngine::open(data, registry(models)?, Options::default())
        .with_context(|| format!("--data {}: cannot be opened", data.display()))
}

/// Writes items, already checked and embedded, as sealed segments.
pub(crate) fn bulk_load(
    engine: &LocalEngine,
    name: &CollectionName,
    items: &mut dyn Iterator<Item = Item>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let observe = |done: u64, total: u64| {
        progress.step(Step { done, total: Some(total), part: None }, "indexing");
        true
    };
    engine.bulk_load(name, items, &observe).with_context(|| format!("the collection {name}"))?;
    Ok(())
}
