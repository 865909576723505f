//! Conversion of training settings.

use super::from_proto::{between, collection};
use crate::collection::{Error, Lesson, Training};
use crate::embed::{BUILT_IN, check_name, digits, text::TEXT_SUFFIX, words};
use crate::grpc::limits::{MAX_LICENCE_BYTES, MAX_THREADS, MAX_TRAINED_DIMENSION};
use crate::grpc::pb;
use crate::types::{MAX_NAME_BYTES, Precision};

/// Converts the training settings.
pub(crate) fn training(settings: pb::TrainSettings) -> Result<Training, Error> {
    use pb::train_settings::Lesson as Socket;
    between("settings.threads", settings.threads, 1, MAX_THREADS)?;
    if settings.licence.len() > MAX_LICENCE_BYTES {
        let why = format!("takes at most {MAX_LICENCE_BYTES} bytes, got {}", settings.licence.len());
        return Err(Error::invalid("settings.licence", why));
    }
    let (seed, threads) = (settings.seed.max(1), settings.threads as usize);
    let name = model_name(settings.name)?;
    let lesson = match settings.lesson {
        None => return Err(Error::invalid("settings.lesson", "give words or digits")),
        Some(Socket::Words(lesson)) => words_lesson(&lesson, seed, threads)?,
        Some(Socket::Digits(lesson)) => {
            between("settings.digits.epochs", lesson.epochs, 1, 1_000)?;
            between("settings.digits.batch", lesson.batch, 1, 4_096)?;
            let defaults = digits::TrainOptions::default();
            Lesson::Digits(digits::TrainOptions {
                epochs: or(lesson.epochs as usize, defaults.epochs),
                batch: or(lesson.batch as usize, defaults.batch),
                seed,
                threads,
                learning_rate: or(lesson.learning_rate, defaults.learning_rate),
                augment: !lesson.no_augment,
            })
        }
    };
    let training = Training { lesson, name, licence: settings.licence };
    match training.names().into_iter().find(|name| BUILT_IN.contains(&name.as_str())) {
        None => Ok(training),
        Some(name) => Err(Error::invalid(
            "settings.name",
            format!("{name:?} is the name of an embedder that the program carries; give another name"),
        )),
    }
}

/// Checks the name of a model to train, leaving room for the suffix.
fn model_name(name: String) -> Result<String, Error> {
    let max = MAX_NAME_BYTES - TEXT_SUFFIX.len();
    if name.is_empty() {
        return Err(Error::invalid("settings.name", "is missing: a model has a name of its own, such as my-words"));
    }
    if name.len() > max {
        return Err(Error::invalid("settings.name", format!("takes 1 to {max} bytes, got {}", name.len())));
    }
    check_name(&name).map_err(|what| Error::invalid("settings.name", what))?;
    Ok(name)
}

fn words_lesson(lesson: &pb::WordsLesson, seed: u64, threads: usize) -> Result<Lesson, Error> {
    use pb::words_lesson::Objective as Socket;
    let objective = match Socket::try_from(lesson.objective) {
        Ok(Socket::Unspecified | Socket::SkipGram) => words::Objective::SkipGram,
        Ok(Socket::Cbow) => words::Objective::Cbow,
        Ok(Socket::Glove) => words::Objective::Glove,
        Err(_) => {
            return Err(Error::invalid("settings.words.objective", format!("{} is none", lesson.objective)));
        }
    };
    between("settings.words.dimension", lesson.dimension, 1, MAX_TRAINED_DIMENSION as u32)?;
    let defaults = words::TrainOptions::default();
    let min_count = or(lesson.min_count, defaults.min_count);
    let phrases = words::Phrases { passes: lesson.phrases as usize, discount: min_count, ..words::Phrases::default() };
    let options = words::TrainOptions {
        objective,
        dimension: or(lesson.dimension as usize, defaults.dimension),
        window: or(lesson.window as usize, defaults.window),
        negative: or(lesson.negative as usize, defaults.negative),
        min_count,
        epochs: or(lesson.epochs as usize, objective.epochs()),
        learning_rate: or(lesson.learning_rate, objective.learning_rate()),
        subsample: lesson.subsample.unwrap_or(defaults.subsample),
        phrases: (lesson.phrases > 0).then_some(phrases),
        store: Precision::F16,
        seed,
        threads,
        ..defaults
    };
    options.check().map_err(|source| Error::Embed { field: "settings.words".into(), source })?;
    let texts_of = match lesson.collection.as_str() {
        "" => None,
        name => Some(collection("settings.words.collection", name)?),
    };
    Ok(Lesson::Words { options: Box::new(options), texts_of })
}

/// Returns the given value, or the default if it is zero or empty.
fn or<T: Default + PartialEq>(given: T, default: T) -> T {
    if given == T::default() { default } else { given }
}
