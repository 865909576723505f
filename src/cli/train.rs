//! `nearness train`: training of models; creates a model folder with a model card.
//!
//! The folder is written next to `--out` under another name and renamed when it is complete.

use super::args::{ObjectiveArg, StoredAs, TrainCommand, TrainDigitsArgs, TrainWordsArgs};
use super::config;
use super::output;
use super::progress::{Progress, Step, count, duration, in_words, rate};
use super::{train_gpt, train_images, train_text};
use crate::disk;
use crate::embed::digits::{self, DigitNet, LabelledImages};
use crate::embed::words::{self, WordModel, data::STANDARD_INPUT, word2vec};
use crate::embed::{DIGITS, DataSource, Embedder, ModelCard, WORDS, today};
use crate::types::Precision;
use anyhow::{Context, bail};
use serde_json::json;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs a subcommand.
pub(super) fn run(command: TrainCommand, quiet: bool) -> anyhow::Result<()> {
    match command {
        TrainCommand::Words(args) => train_words(&args, quiet),
        TrainCommand::Digits(args) => train_digits(&args, quiet),
        TrainCommand::Images(args) => train_images::run(&args, quiet),
        TrainCommand::Text(args) => train_text::run(&args, quiet),
        TrainCommand::Gpt(args) => train_gpt::run(&args, quiet),
    }
}

fn train_words(args: &TrainWordsArgs, quiet: bool) -> anyhow::Result<()> {
    let folder = ModelFolder::plan(&args.made.out, args.made.force)?;
    let named: Vec<PathBuf> = args.corpus.iter().filter(|path| path.as_os_str() != STANDARD_INPUT).cloned().collect();
    let mut data = data_sources(&named, &args.made.licence)?;
    let threads = config::threads(args.threads);
    let objective = match args.objective {
        ObjectiveArg::SkipGram => words::Objective::SkipGram,
        ObjectiveArg::Cbow => words::Objective::Cbow,
        ObjectiveArg::Glove => words::Objective::Glove,
    };
    let options = words::TrainOptions {
        objective,
        ngrams: args.ngrams.map(|(min, max)| words::Ngrams { min, max, buckets: args.buckets }),
        dimension: args.dim,
        window: args.window,
        negative: args.negative,
        min_count: args.min_count,
        subsample: args.subsample,
        epochs: args.epochs.unwrap_or(objective.epochs()),
        threads,
        seed: args.seed,
        learning_rate: args.learning_rate.unwrap_or(objective.learning_rate()),
        store: precision(args.store),
        noise_power: args.noise_power,
        most_words: args.max_words,
        most_bytes: u64::MAX,
        phrases: args.phrases.map(|passes| words::Phrases {
            passes,
            threshold: args.phrase_threshold,
            discount: args.min_count,
        }),
        pieces: args.pieces,
        blank_epochs: args.blank_epochs,
        refine: words::Refine {
            output: args.output_share,
            spelling: args.spelling,
            spread: args.spread,
            nearest: args.nearest,
        },
        checkpoints: args
            .checkpoint
            .clone()
            .map(|folder| words::Checkpoints { folder, every: Duration::from_secs(args.checkpoint_every) }),
        scratch: folder.beside_it().to_owned(),
    };
    let phases = Phases::new("train words", "words", quiet);
    let trained = words::train(&args.corpus, &options, &|seen| {
        let note = match seen.loss {
            Some(loss) => format!("loss {loss:.4}, learning rate {:.5}", seen.learning_rate),
            None => String::new(),
        };
        phases.step(seen.phase, seen.done, Some(seen.total).filter(|total| *total > 0), &note, seen.loss);
        true
    });
    let measured = phases.finish(trained.is_ok());
    let model = trained?;
    let training = measured.iter().find(|phase| phase.name == "training");
    let words_per_second = training.and_then(|phase| rate(phase.done, phase.seconds));
    let loss = training.and_then(|phase| phase.loss);
    let quality = json!({
        "loss": loss,
        "words_per_second": words_per_second.map(f64::round),
        "training_seconds": training.map(|phase| (phase.seconds * 10.0).round() / 10.0),
        "vocabulary": model.vocabulary().len(),
    });
    let from_input = model.card().data.iter().cloned();
    data.extend(from_input.map(|source| DataSource { licence: args.made.licence.clone(), ..source }));
    let card = ModelCard {
        command: command_line(),
        data,
        seed: args.seed,
        threads,
        date: today(),
        quality: object(quality.clone()),
        ..ModelCard::named(WORDS, &args.name)
    };
    let card = card.completed_by(model.card());
    let warnings = card.warnings.clone();
    let model = model.with_card(card);
    folder.publish(|path| Ok(model.save(path)?))?;
    write_word2vec(args, &model)?;
    if let Some(folder) = &args.checkpoint {
        words::remove_checkpoint(folder)?;
    }
    let seconds = measured.iter().map(|phase| phase.seconds).sum::<f64>();
    if args.made.json {
        output::json(&json!({ "out": args.made.out, "seconds": seconds, "quality": quality, "warnings": warnings }))?;
    } else {
        warn(&warnings)?;
        output::line(&format!(
            "{}: {} words, trained in {}{}",
            args.made.out.display(),
            count(model.vocabulary().len() as u64),
            duration(seconds),
            in_words(words_per_second, "words")
        ))?;
    }
    Ok(())
}

/// Prints the quality warnings of a model.
fn warn(warnings: &[String]) -> anyhow::Result<()> {
    for warning in warnings {
        output::line(&format!("warning: {warning}"))?;
    }
    Ok(())
}

fn write_word2vec(args: &TrainWordsArgs, model: &WordModel) -> anyhow::Result<()> {
    if let Some(path) = &args.word2vec_text {
        word2vec::write_text(model, path).context("--word2vec-text")?;
    }
    if let Some(path) = &args.word2vec_binary {
        word2vec::write_binary(model, path).context("--word2vec-binary")?;
    }
    Ok(())
}

fn train_digits(args: &TrainDigitsArgs, quiet: bool) -> anyhow::Result<()> {
    let folder = ModelFolder::plan(&args.made.out, args.made.force)?;
    let files = [Some(&args.images), Some(&args.labels), args.test_images.as_ref(), args.test_labels.as_ref()];
    let files = files.into_iter().flatten().cloned().collect::<Vec<_>>();
    let data = data_sources(&files, &args.made.licence)?;
    let images = LabelledImages::read(&args.images, &args.labels)?;
    let test = match (&args.test_images, &args.test_labels) {
        (Some(images), Some(labels)) => Some(LabelledImages::read(images, labels)?),
        _ => None,
    };
    let threads = config::threads(args.threads);
    let defaults = digits::TrainOptions::default();
    let options = digits::TrainOptions {
        epochs: args.epochs.unwrap_or(defaults.epochs),
        batch: args.batch.unwrap_or(defaults.batch),
        learning_rate: args.learning_rate.unwrap_or(defaults.learning_rate),
        seed: args.seed,
        threads,
        augment: !args.no_augment,
    };
    let phases = Phases::new("train digits", "images", quiet);
    let trained = digits::train(&images, test.as_ref(), &options, &|seen| {
        phases.epoch(seen, "");
        true
    });
    let measured = phases.finish(trained.is_ok());
    let net = trained?;
    let accuracy = test.as_ref().map(|test| digits::evaluate(&net, test).accuracy);
    let seconds = measured.iter().map(|phase| phase.seconds).sum::<f64>();
    let quality = json!({
        "test_accuracy": accuracy,
        "loss": measured.last().and_then(|phase| phase.loss),
        "training_seconds": (seconds * 10.0).round() / 10.0,
    });
    let card = ModelCard {
        summary: "The 11-layer convolutional net for handwritten digits.".into(),
        command: command_line(),
        data,
        seed: args.seed,
        threads,
        settings: object(json!({
            "epochs": options.epochs, "batch": options.batch, "learning_rate": options.learning_rate,
            "augment": options.augment,
        })),
        date: today(),
        quality: object(quality.clone()),
        ..ModelCard::named(DIGITS, &args.name)
    };
    let card = card.completed_by(net.card());
    let warnings = card.warnings.clone();
    let net: DigitNet = net.with_card(card);
    folder.publish(|path| Ok(net.save(path)?))?;
    if args.made.json {
        output::json(&json!({ "out": args.made.out, "seconds": seconds, "quality": quality, "warnings": warnings }))?;
    } else {
        warn(&warnings)?;
        let accuracy =
            accuracy.map_or(String::new(), |accuracy| format!(", {:.2} % of the test images right", accuracy * 100.0));
        output::line(&format!("{}: trained in {}{accuracy}", args.made.out.display(), duration(seconds)))?;
    }
    Ok(())
}

/// Returns the precision of the saved weights.
pub(super) fn precision(store: StoredAs) -> Precision {
    match store {
        StoredAs::F32 => Precision::F32,
        StoredAs::F16 => Precision::F16,
        StoredAs::I8 => Precision::I8,
    }
}

/// A model folder in construction.
pub(super) struct ModelFolder {
    out: PathBuf,
    replaces: bool,
}

impl ModelFolder {
    /// Checks before the training that the folder can be published afterwards.
    pub(super) fn plan(out: &Path, force: bool) -> anyhow::Result<Self> {
        let taken = out.symlink_metadata().is_ok();
        let empty = out.is_dir() && fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
        if taken && !empty {
            if !force {
                bail!("--out {}: exists already; --force replaces a model folder", out.display());
            }
            if !out.join("card.json").is_file() {
                bail!("--out {}: is not a model folder, so --force does not replace it", out.display());
            }
        }
        if out.file_name().is_none() {
            bail!("--out {}: needs a name of its own", out.display());
        }
        let parent = Self::parent(out);
        disk::create_private_dirs(parent)
            .with_context(|| format!("--out {}: its folder cannot be made", out.display()))?;
        Ok(Self { out: out.to_owned(), replaces: taken })
    }

    fn parent(out: &Path) -> &Path {
        out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Returns the parent folder.
    pub(super) fn beside_it(&self) -> &Path {
        Self::parent(&self.out)
    }

    /// Returns an unused path next to the folder.
    fn beside(&self, what: &str) -> PathBuf {
        let name = self.out.file_name().unwrap_or_default().to_string_lossy();
        Self::parent(&self.out).join(format!(".{name}.{what}.{}", std::process::id()))
    }

    /// Saves next to the folder, then renames; deletes the old folder last.
    #[allow(clippy::disallowed_methods, reason = "a folder is renamed, its files are durable by then")]
    pub(super) fn publish(self, save: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let fresh = self.beside("new");
        let named = || format!("--out {}: cannot be written", self.out.display());
        let saved = fs::DirBuilder::new().mode(0o700).create(&fresh).with_context(named).and_then(|()| save(&fresh));
        if let Err(error) = saved {
            let _ = fs::remove_dir_all(&fresh);
            return Err(error);
        }
        let old = self.beside("old");
        if self.replaces {
            fs::rename(&self.out, &old).with_context(named)?;
        }
        if let Err(error) = fs::rename(&fresh, &self.out) {
            if self.replaces {
                let _ = fs::rename(&old, &self.out);
            }
            return Err(error).with_context(|| format!("{}; the model is in {}", named(), fresh.display()));
        }
        if self.replaces {
            fs::remove_dir_all(&old).with_context(|| format!("{}: cannot be removed", old.display()))?;
        }
        Ok(())
    }
}

/// The phases of a training, each with its own rate.
pub(super) struct Phases {
    label: &'static str,
    unit: &'static str,
    quiet: bool,
    state: Mutex<State>,
}

/// The current phase and the completed ones.
struct State {
    now: Option<(Phase, Progress)>,
    before: Vec<Phase>,
    /// Time of the last event; the next phase begins there, not at its own first event.
    last: Instant,
}

/// Measurements of a phase.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) done: u64,
    pub(super) seconds: f64,
    pub(super) loss: Option<f64>,
}

impl Phases {
    pub(super) fn new(label: &'static str, unit: &'static str, quiet: bool) -> Self {
        let state = State { now: None, before: Vec::new(), last: Instant::now() };
        Self { label, unit, quiet, state: Mutex::new(state) }
    }

    /// Reports the progress of a training on images; appends `more` to the loss.
    pub(super) fn epoch(&self, seen: &digits::TrainProgress, more: &str) {
        let mut note = format!("epoch {} of {}, loss {:.4}{more}", seen.epoch, seen.epochs, seen.loss);
        if let Some(accuracy) = seen.test_accuracy {
            note += &format!(", {:.2} % of the test images", accuracy * 100.0);
        }
        self.step("training", seen.done_in_all(), Some(seen.total_in_all()), &note, Some(seen.loss));
    }

    pub(super) fn step(&self, name: &'static str, done: u64, total: Option<u64>, note: &str, loss: Option<f64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.now.as_ref().is_none_or(|(phase, _)| phase.name != name) {
            Self::close(&mut state);
            let phase = Phase { name, done: 0, seconds: 0.0, loss: None };
            let progress = Progress::since(state.last, format!("{}, {name}", self.label), self.unit, self.quiet);
            state.now = Some((phase, progress));
        }
        state.last = Instant::now();
        if let Some((phase, progress)) = &mut state.now {
            phase.done = phase.done.max(done);
            phase.seconds = progress.seconds();
            phase.loss = loss.or(phase.loss);
            progress.step(Step { done, total, part: None }, note);
        }
    }

    fn close(state: &mut State) {
        if let Some((phase, progress)) = state.now.take() {
            progress.finish(&format!("{} in {}", count(phase.done), duration(phase.seconds)));
            state.before.push(phase);
        }
    }

    pub(super) fn finish(self, well: bool) -> Vec<Phase> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if well {
            Self::close(&mut state);
        } else if let Some((_, progress)) = state.now.take() {
            progress.abandon();
        }
        state.before
    }
}

/// Describes the training files for the model card.
pub(super) fn data_sources(paths: &[PathBuf], licence: &str) -> Result<Vec<DataSource>, crate::embed::Error> {
    paths.iter().map(|path| DataSource::of(path, licence)).collect()
}

/// Returns the command line as typed, with the program by its name alone, quoted for a shell.
pub(super) fn command_line() -> String {
    let plain = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./:=,+@%".contains(c));
    let quote = |word: String| if plain(&word) { word } else { format!("'{}'", word.replace('\'', "'\\''")) };
    let words = std::env::args_os().skip(1).map(|word| quote(word.to_string_lossy().into_owned()));
    std::iter::once("nearness".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Returns the fields of a JSON object.
pub(super) fn object(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_begins_before_it_is_first_heard_of() {
        let phases = Phases::new("train", "images", true);
        let begun = phases.state.lock().unwrap().last;
        phases.state.lock().unwrap().last = begun.checked_sub(std::time::Duration::from_secs(10)).unwrap_or(begun);
        phases.step("training", 80, None, "", None);
        let measured = phases.finish(true);
        assert!(measured[0].seconds >= 10.0, "{measured:?}");
    }

    #[test]
    fn a_model_appears_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("deep/model");
        let names = || {
            fs::read_dir(root.path().join("deep")).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
        };
        let write = |text: &'static str| {
            move |path: &Path| {
                fs::write(path.join("card.json"), text)?;
                anyhow::Ok(())
            }
        };
        let failed = ModelFolder::plan(&out, false).unwrap().publish(|path| {
            fs::write(path.join("card.json"), "half")?;
            bail!("disk full")
        });
        assert!(failed.is_err() && names().is_empty());
        ModelFolder::plan(&out, false).unwrap().publish(write("1")).unwrap();
        assert!(ModelFolder::plan(&out, false).is_err(), "replaced without --force");
        ModelFolder::plan(&out, true).unwrap().publish(write("2")).unwrap();
        assert_eq!(fs::read_to_string(out.join("card.json")).unwrap(), "2");
        assert_eq!(names(), ["model"]);
        fs::remove_file(out.join("card.json")).unwrap();
        fs::write(out.join("thesis.txt"), "precious").unwrap();
        assert!(ModelFolder::plan(&out, true).is_err(), "a folder that is no model was to be replaced");
    }
}
