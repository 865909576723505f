//! Conversion of training settings.

use super::from_proto::{between, collection};
use crate::api::Error;
use crate::embed::{BUILT_IN, check_name, digits, text::TEXT_SUFFIX, words};
use crate::grpc::limits::{MAX_LICENCE_BYTES, MAX_THREADS, MAX_TRAINED_DIMENSION};
use crate::grpc::pb;
use crate::training::{TrainingJob, TrainingRequest};
use crate::types::{MAX_NAME_BYTES, Precision};

/// Converts the training settings.
pub(crate) fn training(settings: pb::TrainSettings) -> Result<TrainingRequest, Error> {
    use pb::train_settings::Config as Proto;
    between("settings.threads", settings.threads, 1, MAX_THREADS)?;
    if settings.licence.len() > MAX_LICENCE_BYTES {
        let why = format!("takes at most {MAX_LICENCE_BYTES} bytes, got {}", settings.licence.len());
        return Err(Error::invalid("settings.licence", why));
    }
    let (seed, threads) = (settings.seed.max(1), settings.threads as usize);
    let name = model_name(settings.name)?;
    let job = match settings.config {
        None => return Err(Error::invalid("settings.config", "give words or digits")),
        Some(Proto::Words(config)) => word_training_config(&config, seed, threads)?,
        Some(Proto::Digits(config)) => {
            between("settings.digits.epochs", config.epochs, 1, 1_000)?;
            between("settings.digits.batch", config.batch, 1, 4_096)?;
            let defaults = digits::TrainOptions::default();
            TrainingJob::Digits(digits::TrainOptions {
                epochs: or(config.epochs as usize, defaults.epochs),
                batch: or(config.batch as usize, defaults.batch),
                seed,
                threads,
                learning_rate: or(config.learning_rate, defaults.learning_rate),
                augment: !config.no_augment,
            })
        }
    };
    let request = TrainingRequest { job, name, licence: settings.licence };
    match request.names().into_iter().find(|name| BUILT_IN.contains(&name.as_str())) {
        None => Ok(request),
        Some(name) => Err(Error::invalid(
            "settings.name",
            format!("{name:?} is the name of a built-in embedder; give another name"),
        )),
    }
}

/// Checks the name of a model to train, leaving room for the suffix.
fn model_name(name: String) -> Result<String, Error> {
    let max = MAX_NAME_BYTES - TEXT_SUFFIX.len();
    if name.is_empty() {
        return Err(Error::invalid("settings.name", "is missing: give the model a name, such as my-words"));
    }
    if name.len() > max {
        return Err(Error::invalid("settings.name", format!("takes 1 to {max} bytes, got {}", name.len())));
    }
    check_name(&name).map_err(|what| Error::invalid("settings.name", what))?;
    Ok(name)
}

fn word_training_config(config: &pb::WordTrainingConfig, seed: u64, threads: usize) -> Result<TrainingJob, Error> {
    use pb::word_training_config::Objective as Proto;
    let objective = match Proto::try_from(config.objective) {
        Ok(Proto::Unspecified | Proto::SkipGram) => words::Objective::SkipGram,
        Ok(Proto::Cbow) => words::Objective::Cbow,
        Ok(Proto::Glove) => words::Objective::Glove,
        Err(_) => {
            return Err(Error::invalid(
                "settings.words.objective",
                format!("{} is not an Objective", config.objective),
            ));
        }
    };
    between("settings.words.dimension", config.dimension, 1, MAX_TRAINED_DIMENSION as u32)?;
    let defaults = words::TrainOptions::default();
    let min_count = or(config.min_count, defaults.min_count);
    let phrases = words::Phrases { passes: config.phrases as usize, discount: min_count, ..words::Phrases::default() };
    let options = words::TrainOptions {
        objective,
        dimension: or(config.dimension as usize, defaults.dimension),
        window: or(config.window as usize, defaults.window),
        negative: or(config.negative as usize, defaults.negative),
        min_count,
        epochs: or(config.epochs as usize, objective.epochs()),
        learning_rate: or(config.learning_rate, objective.learning_rate()),
        subsample: config.subsample.unwrap_or(defaults.subsample),
        phrases: (config.phrases > 0).then_some(phrases),
        store: Precision::F16,
        seed,
        threads,
        ..defaults
    };
    options.check().map_err(|source| Error::Embed { field: "settings.words".into(), source })?;
    let texts_of = match config.collection.as_str() {
        "" => None,
        name => Some(collection("settings.words.collection", name)?),
    };
    Ok(TrainingJob::Words { options: Box::new(options), texts_of })
}

/// Returns the given value, or the default if it is zero or empty.
fn or<T: Default + PartialEq>(given: T, default: T) -> T {
    if given == T::default() { default } else { given }
}
