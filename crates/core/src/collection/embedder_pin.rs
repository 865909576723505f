//! The embedder and the generation that a collection is pinned to.

use super::embedder_probe;
use super::state::Collection;
use crate::api::{EmbedderPin, Error, PreviousGeneration};
use crate::embed::{Embedder, Fingerprint, Model, OutputLayer, Registry};
use crate::store::{CollectionDb, EmbedderRecord, Entry};
use crate::sync::Arc;
use crate::types::CollectionName;
use std::path::Path;
use std::sync::OnceLock;

/// Folder of the embedder restored with a collection, used when the server does not have it.
pub(crate) const EMBEDDER_FOLDER: &str = "embedder";

/// Generation of the collection.
#[derive(Clone, Debug)]
pub(crate) struct Lineage {
    pub(crate) generation: u32,
    /// The previous generation, unless deleted.
    pub(crate) previous: Option<PreviousGeneration>,
}

impl Lineage {
    pub(crate) fn of(entry: &Entry) -> Self {
        let previous = entry.previous.as_ref().and_then(|previous| {
            let embedder = previous.record.embedder.as_ref().map(pin_of)?;
            Some(PreviousGeneration { generation: previous.generation, embedder })
        });
        Self { generation: entry.generation, previous }
    }
}

pub(super) fn pin_of(record: &EmbedderRecord) -> EmbedderPin {
    EmbedderPin {
        name: record.name.clone(),
        output: record.output.clone(),
        fingerprint: Fingerprint(record.fingerprint),
    }
}

/// The embedder that a collection is pinned to; `loaded` is empty while the process does not have it.
pub(crate) struct EmbedderBinding {
    pub(crate) pin: EmbedderPin,
    pub(crate) loaded: OnceLock<(Arc<dyn Embedder>, OutputLayer)>,
    /// Reason for refusing the embedder.
    pub(crate) refused: OnceLock<String>,
}

impl EmbedderBinding {
    /// Binds an embedder of this name and fingerprint, if it still produces the reference vectors.
    pub(super) fn try_bind(
        &self,
        collection: &CollectionName,
        db: &CollectionDb,
        embedder: &Arc<dyn Embedder>,
    ) -> Result<(), Error> {
        let Ok(output) = embedder.output_layer(&self.pin.output) else { return Ok(()) };
        match embedder_probe::watch(db, embedder.as_ref(), output)? {
            Ok(()) => drop(self.loaded.set((embedder.clone(), output.clone()))),
            Err(why) => {
                tracing::error!(%collection, embedder = %self.pin.name, why, "the embedder is refused");
                let _ = self.refused.set(why);
            }
        }
        Ok(())
    }
}

impl Collection {
    /// Binds the embedder of a newly installed model, if the collection lacks it.
    pub(crate) fn bind_embedder(&self, model: &Model) {
        let Some(pinned) = &self.embedder else { return };
        let same =
            |one: &&Arc<dyn Embedder>| one.name() == pinned.pin.name && one.fingerprint() == pinned.pin.fingerprint;
        let Some(embedder) = model.embedders.iter().find(same).filter(|_| pinned.loaded.get().is_none()) else {
            return;
        };
        if let Err(error) = pinned.try_bind(&self.name(), &self.db, embedder) {
            tracing::error!(collection = %self.name(), %error, "could not compare the embedder with the reference vectors");
        }
    }
}

/// Loads the embedder that came with a restored collection.
pub(super) fn restored_embedder(dir: &Path, name: &str, fingerprint: &Fingerprint) -> Option<Arc<dyn Embedder>> {
    let folder = dir.join(EMBEDDER_FOLDER);
    if !folder.is_dir() {
        return None;
    }
    let mut registry = Registry::default();
    if let Err(error) = registry.add_folder(&folder) {
        tracing::error!(folder = %folder.display(), %error, "the embedder stored with a collection cannot be loaded");
    }
    registry.by_fingerprint(name, fingerprint).cloned()
}
