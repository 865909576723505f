//! [`ModelHost`] of a [`Database`]: models are installed and trained in its data directory.

use super::{Database, Inner};
use crate::api::Error;
use crate::collection::embedder_pin::EMBEDDER_FOLDER;
use crate::embed::{Embedder, Fingerprint, Registry};
use crate::engine::ModelHost;
use crate::engine::models::{self, ModelInfo, ObserveTraining, Training, Upload};
use crate::store::{CollectionRecord, EmbedderRecord};
use crate::types::CollectionName;
use std::path::Path;
use std::sync::{Arc, PoisonError};

impl ModelHost for Database {
    fn embedders(&self) -> Arc<Registry> {
        self.inner.models.registry()
    }

    fn upload(&self) -> Result<Upload, Error> {
        self.inner.models.upload()
    }

    fn install_model(&self, upload: Upload) -> Result<ModelInfo, Error> {
        self.inner.keep_model(models::load(&upload)?)
    }

    fn train_model(
        &self,
        training: &Training,
        mut upload: Upload,
        observe: ObserveTraining<'_>,
    ) -> Result<ModelInfo, Error> {
        self.inner.models.check_names(training)?;
        if let Some(name) = training.texts_of() {
            if self.resolve_name(name) != *name {
                let why = "is an alias; give the name of the collection: callers that may read it may use the model";
                return Err(Error::invalid("collection", why));
            }
            models::add_texts(&mut upload, self.texts(name)?)?;
        }
        let observe = |step| !self.inner.stopping() && observe(step);
        self.inner.keep_model(models::train(training, &upload, &observe)?)
    }
}

impl Inner {
    /// Checks that the embedder of a new collection still exists, because its model may have been deleted meanwhile.
    /// Requires the `changing` lock.
    pub(super) fn has_embedder(&self, record: &CollectionRecord, dir: &Path) -> Result<(), Error> {
        let Some(pin) = &record.embedder else { return Ok(()) };
        let fingerprint = Fingerprint(pin.fingerprint);
        let known = self.models.registry().by_fingerprint(&pin.name, &fingerprint).is_some();
        if known || dir.join(EMBEDDER_FOLDER).is_dir() {
            return Ok(());
        }
        Err(Error::UnknownModel(fingerprint.to_string()))
    }

    /// Returns all models with their users, and whether all collection records were readable; an unreadable one may
    /// refer to any model.
    pub(super) fn list_models(&self) -> Result<(Vec<ModelInfo>, bool), Error> {
        let (mut entries, mut all) = (Vec::new(), true);
        for (name, entry) in self.catalog.list()? {
            match (CollectionName::new(name.as_str()), entry) {
                (Ok(name), Ok(entry)) => entries.push((name, entry)),
                _ => all = false,
            }
        }
        Ok((self.models.list(&entries), all))
    }

    pub(super) fn keep_model(&self, embedders: Vec<Arc<dyn Embedder>>) -> Result<ModelInfo, Error> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let model = self.models.keep(embedders)?;
        for collection in self.open_collections() {
            collection.bind_embedder(&model);
        }
        let (listed, _) = self.list_models()?;
        let found = listed.into_iter().find(|info| info.origin == model.origin);
        found.ok_or_else(|| Error::UnknownModel(model.fingerprint().to_string()))
    }

    pub(super) fn pin(&self, embedder: &str, output: &str) -> Result<(u32, EmbedderRecord), Error> {
        let refuse = |field: &str, source| Error::Embed { field: field.into(), source };
        let registry = self.models.registry();
        let found = registry.by_name(embedder).map_err(|error| refuse("embedder.name", error))?;
        let output = found.output_layer(output).map_err(|error| refuse("embedder.output", error))?;
        let fingerprint = found.fingerprint().0;
        Ok((output.dimension, EmbedderRecord { name: found.name().into(), output: output.name.into(), fingerprint }))
    }
}
