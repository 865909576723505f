//! Training of models on a server: kinds of training, and their settings.
//!
//! The engine runs a training at low priority, and installs the model that it produces.

use crate::api::limits;
use crate::embed::digits::{self, LabelledImages};
use crate::embed::{self, DIGITS, Embedder, ModelCard, WORDS, text::TEXT_SUFFIX, today, word_embedders, words};
use crate::engine::{ObserveTraining, TrainStep, Trainer, Training, Upload};
use crate::types::CollectionName;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// File names of an upload for [`TrainingJob::Digits`]: images and labels, for training and for test accuracy.
pub const DIGIT_FILES: [&str; 4] = ["images", "labels", "test_images", "test_labels"];

/// The kind of a training, with its settings.
#[derive(Clone, Debug)]
pub enum TrainingJob {
    /// Word vectors, from text files or from the texts of a collection.
    Words {
        /// Training settings. The server sets files and checkpoints.
        options: Box<words::TrainOptions>,
        /// The collection whose texts are also trained on.
        texts_of: Option<CollectionName>,
    },
    /// The digit net, from files named as in [`DIGIT_FILES`].
    Digits(digits::TrainOptions),
}

/// A training job with the properties of the model to be trained.
#[derive(Clone, Debug)]
pub struct TrainingRequest {
    /// The job.
    pub job: TrainingJob,
    /// Name of the embedder.
    pub name: String,
    /// Licence of the training data, for the model card.
    pub licence: String,
}

impl TrainingRequest {
    /// Returns the names of the embedders to be trained.
    pub fn names(&self) -> Vec<String> {
        match &self.job {
            TrainingJob::Words { .. } => vec![self.name.clone(), format!("{}{TEXT_SUFFIX}", self.name)],
            TrainingJob::Digits(_) => vec![self.name.clone()],
        }
    }
}

impl From<TrainingRequest> for Training {
    fn from(request: TrainingRequest) -> Self {
        let (threads, texts_of) = match &request.job {
            TrainingJob::Words { options, texts_of } => (options.threads, texts_of.clone()),
            TrainingJob::Digits(options) => (options.threads, None),
        };
        Self { names: request.names(), texts_of, threads, trainer: Box::new(request) }
    }
}

impl Trainer for TrainingRequest {
    fn train(&self, upload: &Upload, observe: ObserveTraining<'_>) -> Result<Vec<Arc<dyn Embedder>>, embed::Error> {
        match &self.job {
            TrainingJob::Words { options, texts_of } => train_words(self, options, texts_of.as_ref(), upload, observe),
            TrainingJob::Digits(options) => train_digits(self, options, upload, observe),
        }
    }
}

fn card(family: &str, request: &TrainingRequest, upload: &Upload, seed: u64) -> Result<ModelCard, embed::Error> {
    Ok(ModelCard {
        command: "Training.TrainEmbedder".into(),
        data: upload.sources(&request.licence)?,
        seed,
        date: today(),
        ..ModelCard::named(family, &request.name)
    })
}

fn train_words(
    request: &TrainingRequest,
    options: &words::TrainOptions,
    texts_of: Option<&CollectionName>,
    upload: &Upload,
    observe: ObserveTraining<'_>,
) -> Result<Vec<Arc<dyn Embedder>>, embed::Error> {
    let max_words = limits::MAX_TRAINED_NUMBERS / options.dimension.max(1);
    let options = words::TrainOptions {
        max_words: options.max_words.min(max_words).min(limits::MAX_TRAINED_WORDS),
        max_bytes: limits::MAX_UPLOAD_BYTES,
        scratch: upload.dir().into(),
        checkpoints: None,
        ..options.clone()
    };
    let files: Vec<PathBuf> = upload.files().iter().map(|(_, path)| path.clone()).collect();
    let started = Instant::now();
    let model = words::train(&files, &options, &|seen| {
        observe(TrainStep {
            phase: seen.phase,
            done: seen.done,
            total: seen.total,
            loss: seen.loss,
            test_accuracy: None,
        })
    })?;
    let mut card = card(WORDS, request, upload, options.seed)?;
    card.threads = options.resolved_threads();
    card.quality.insert("training_seconds".into(), seconds(started).into());
    card.quality.insert("vocabulary".into(), model.vocabulary().len().into());
    if let Some(name) = texts_of {
        let texts = card.data.iter_mut().filter(|source| source.file == Upload::TEXTS);
        texts.for_each(|source| *source = std::mem::take(source).of_collection(name.as_str()));
    }
    let card = card.completed_by(model.card());
    word_embedders(model.with_card(card))
}

fn train_digits(
    request: &TrainingRequest,
    options: &digits::TrainOptions,
    upload: &Upload,
    observe: ObserveTraining<'_>,
) -> Result<Vec<Arc<dyn Embedder>>, embed::Error> {
    if let Some((name, _)) = upload.files().iter().find(|(name, _)| !DIGIT_FILES.contains(&name.as_str())) {
        let known = DIGIT_FILES.join(", ");
        return Err(embed::Error::InvalidInput(format!(
            "the file {name:?} is not one of the files of a digit training: {known}"
        )));
    }
    let [images, labels, test_images, test_labels] = DIGIT_FILES.map(|name| upload.file(name));
    let (Some(images), Some(labels)) = (images, labels) else {
        return Err(embed::Error::InvalidInput("the files \"images\" and \"labels\" are needed".into()));
    };
    let images = LabelledImages::read(images, labels)?;
    let test = match (test_images, test_labels) {
        (Some(images), Some(labels)) => Some(LabelledImages::read(images, labels)?),
        (None, None) => None,
        _ => return Err(embed::Error::InvalidInput("the test images and their labels are needed together".into())),
    };
    let started = Instant::now();
    let net = digits::train(&images, test.as_ref(), options, &|seen| {
        observe(TrainStep {
            phase: "training",
            done: seen.done_in_all(),
            total: seen.total_in_all(),
            loss: Some(seen.loss),
            test_accuracy: seen.test_accuracy,
        })
    })?;
    let mut card = card(DIGITS, request, upload, options.seed)?;
    card.threads = net.card().threads;
    card.quality.insert("training_seconds".into(), seconds(started).into());
    let card = card.completed_by(net.card());
    Ok(vec![Arc::new(net.with_card(card))])
}

fn seconds(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 10.0).round() / 10.0
}
