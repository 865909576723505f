//! [`ModelHost`] of a [`Database`]: models are installed and trained in its data directory.

use super::Database;
use crate::api::Error;
use crate::embed::Registry;
use crate::engine::ModelHost;
use crate::engine::models::{self, ModelInfo, ObserveTraining, Training, Upload};
use std::sync::Arc;

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
            models::add_texts(&mut upload, self.texts(name)?)?;
        }
        let observe = |step| !self.inner.stopping() && observe(step);
        self.inner.keep_model(models::train(training, &upload, &observe)?)
    }
}
