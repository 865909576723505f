//! The three collections of the quickstart: loaded on the first run, reused on later ones.

use super::drawing;
use crate::api::{CollectionSpec, ErrorKind, IndexSettings, Item, Job, Payload, PointInput};
use crate::cli::load::{Format, ReadOptions, open};
use crate::cli::output;
use crate::cli::progress::{Progress, Step, count};
use crate::collection::{IMAGE_FIELD, OnConflict, Refused, image_to_base64};
use crate::embed::{Input, digits::LabelledImages};
use crate::engine::{Admin, Database, ModelHost, Reads};
use crate::types::{CollectionName, PointId, Precision};
use anyhow::Context;
use std::ops::ControlFlow;
use std::path::Path;

/// The vocabulary of the word embedder.
pub(super) const WORDS: &str = "words";
/// The paragraphs of about 2,000 articles.
pub(super) const PARAGRAPHS: &str = "paragraphs";
/// MNIST's 10,000 test images, which are not in the training set of the net.
pub(super) const DIGITS: &str = "digits";

/// Batch size of the embedding of digits.
const EMBED_BATCH: usize = 1_000;
const ARTICLES: &str = "wikipedia/enwiki-good-sample-2019.txt.gz";

/// The images of the digits collection, for display.
pub(super) struct Digits(LabelledImages);

impl Digits {
    pub(super) fn id(&self, index: usize) -> String {
        format!("digit-{index:05}")
    }

    pub(super) fn image(&self, index: usize) -> &[u8] {
        self.0.image(index)
    }

    pub(super) fn label(&self, index: usize) -> u8 {
        self.0.label(index)
    }

    pub(super) fn image_of(&self, id: &str) -> Option<&[u8]> {
        let index: usize = id.strip_prefix("digit-")?.parse().ok()?;
        (index < self.0.len()).then(|| self.0.image(index))
    }
}

/// Runs another command of the program: its arguments without the program's name.
pub(super) type RunCommand = fn(&[String]) -> anyhow::Result<()>;

/// Trains both embedders with the commands of the model cards, into `models`.
pub(super) fn train(data: &Path, models: &Path, run: RunCommand) -> anyhow::Result<()> {
    let file = |name: &str| data.join(name).display().to_string();
    let folder = |name: &str| models.join(name).display().to_string();
    let words = [
        "train",
        "words",
        "--corpus",
        &file("wikipedia/enwiki-featured-2019.txt.gz"),
        &file(ARTICLES),
        "--out",
        &folder("words"),
        "--force",
    ]
    .map(str::to_owned);
    let digits = [
        "train",
        "digits",
        "--images",
        &file("mnist/train-images-idx3-ubyte.gz"),
        "--labels",
        &file("mnist/train-labels-idx1-ubyte.gz"),
        "--test-images",
        &file("mnist/t10k-images-idx3-ubyte.gz"),
        "--test-labels",
        &file("mnist/t10k-labels-idx1-ubyte.gz"),
        "--out",
        &folder("digits"),
        "--force",
    ]
    .map(str::to_owned);
    for arguments in [words.as_slice(), digits.as_slice()] {
        output::line(&format!("nearness {}", arguments.join(" ")))?;
        run(arguments)?;
    }
    Ok(())
}

/// Loads the missing collections.
pub(super) fn load_all(engine: &Database, data: &Path) -> anyhow::Result<Digits> {
    let embedder = engine.embedders().by_name("words")?.clone();
    let model = embedder.word_model().context("the words embedder has no word model")?;
    let mut words = model.vocabulary().iter().enumerate().filter_map(|(number, word)| {
        let mut payload = Payload::new();
        payload.insert("count".into(), model.count(number).into());
        let vector = model.vector(word)?.to_vec();
        Some(Item {
            id: PointId::new(word.as_str()).ok()?,
            source: PointInput::Vector(vector),
            payload,
            vectors: Default::default(),
        })
    });
    load(engine, WORDS, "words", &mut words)?;

    let records = open(&data.join(ARTICLES), Format::Wiki, None, 0, &ReadOptions::default())?;
    load(engine, PARAGRAPHS, "text", &mut records.filter_map(Result::ok))?;

    let images = LabelledImages::read(
        &data.join("mnist/t10k-images-idx3-ubyte.gz"),
        &data.join("mnist/t10k-labels-idx1-ubyte.gz"),
    )?;
    let digits = Digits(images);
    // Embedded here from the raw pixels: image files, as shown by the page, would be cropped to their ink and scaled.
    let net = engine.embedders().by_name("digits")?.clone();
    let output = net.output_layer("")?.clone();
    let mut items = (0..digits.0.len()).step_by(EMBED_BATCH).flat_map(|first| {
        let indexes = first..digits.0.len().min(first + EMBED_BATCH);
        let inputs: Vec<Input<'_>> = indexes.clone().map(|index| Input::Image(digits.image(index))).collect();
        let vectors = net.embed_batch(&output, &inputs);
        let items = indexes.zip(vectors).filter_map(|(index, vector)| {
            let mut payload = Payload::new();
            payload.insert("label".into(), digits.label(index).into());
            // For display on the page.
            payload.insert(IMAGE_FIELD.into(), image_to_base64(&drawing::png(digits.image(index)).ok()?).into());
            let id = PointId::new(digits.id(index)).ok()?;
            Some(Item { id, source: PointInput::Vector(vector.ok()?), payload, vectors: Default::default() })
        });
        items.collect::<Vec<_>>()
    });
    load(engine, DIGITS, "digits", &mut items)?;
    Ok(digits)
}

/// Fills a collection, unless it is complete and its vectors are those of the current embedder.
fn load(engine: &Database, name: &str, embedder: &str, items: &mut dyn Iterator<Item = Item>) -> anyhow::Result<()> {
    let name = CollectionName::new(name)?;
    let fingerprint = engine.embedders().by_name(embedder)?.fingerprint();
    match engine.collection(&name) {
        // A bulk load of this size is atomic, so any points mean that all exist.
        Ok(info) if info.points > 0 && info.embedder.as_ref().is_some_and(|pin| pin.fingerprint == fingerprint) => {
            output::line(&format!("  {name:<11} {} points, unchanged", count(info.points)))?;
            return Ok(());
        }
        Ok(_) => {
            engine.delete_collection(&name)?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    engine.create_collection(
        &CollectionSpec::embedded(name.clone(), embedder).index(IndexSettings::default().precision(Precision::F32)),
    )?;
    let progress = Progress::start(format!("  {name}"), "points", false);
    let observe = |job, done, total| {
        let note = match job {
            Job::Loading => "embedded and written",
            Job::Embedding => "re-embedded",
            Job::Merging => "merged",
            Job::Indexing => "indexed",
            Job::Calibrating => "calibrated",
            Job::Copying => "copied",
            Job::Checking => "checked",
        };
        progress.step(Step { done, total: Some(total).filter(|&total| total > 0), part: None }, note);
        true
    };
    let mut example = None;
    let mut on_refused = |refused: Refused<'_>, error: crate::api::Error| {
        example.get_or_insert_with(|| format!("{}: {error}", refused.id));
        Ok(ControlFlow::Continue(()))
    };
    let outcome = engine.bulk_load(&name, items, OnConflict::Replace, &mut on_refused, &observe)?;
    progress.finish(&format!("{} points in {:.1} s", count(outcome.loaded), progress.seconds()));
    if let Some(example) = example {
        output::line(&format!("  {name:<11} {} could not be embedded, for example {example}", count(outcome.refused)))?;
    }
    Ok(())
}
