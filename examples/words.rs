//! Words: trains word vectors on a sample of Wikipedia, stores them, and finds neighbors. `cargo run --release --example words`.
#![allow(clippy::print_stdout, missing_docs)]

use flate2::read::GzDecoder;
use nearness::embed::words::TrainOptions;
use nearness::prelude::*;
use nearness::training::{TrainingJob, TrainingRequest};
use std::fs::File;
use std::io::Read;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/wikipedia/enwiki-good-sample-2019.txt.gz");
/// A sixth of the sample, so that the training takes seconds. The words of the models in `crates/embed/models/` are much better.
const TEXT_BYTES: u64 = 6 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let database = Database::open(folder.path())?;

    // The training data is uploaded, as to a server, in pieces.
    let mut text = Vec::new();
    GzDecoder::new(File::open(SAMPLE)?).take(TEXT_BYTES).read_to_end(&mut text)?;
    let mut upload = database.upload()?;
    upload.begin_data_file("sample.txt")?;
    for piece in text.chunks(1 << 20) {
        upload.append(piece)?;
    }
    let options =
        TrainOptions { dimension: 50, negative: 5, min_count: 20, epochs: 3, cloze_epochs: 0, ..Default::default() };
    let request = TrainingRequest {
        job: TrainingJob::Words { options: Box::new(options), texts_of: None },
        name: "wiki".into(),
        licence: "CC BY-SA 3.0".into(),
    };
    // Returning false cancels the training.
    let trained = database.train_model(&request.into(), upload, &|_| true)?.embedders.remove(0);
    let embedders = database.embedders();
    let embedder = embedders.by_name(&trained.name)?;
    let Some(words) = embedder.word_model() else { return Err("not a word model".into()) };
    println!("trained {} words", words.vocabulary().len());

    // Creates a collection that embeds texts with the new embedder.
    let name = CollectionName::new("words")?;
    database.create_collection(&CollectionSpec::embedded(name.clone(), "wiki"))?;
    for batch in words.vocabulary().chunks(1_000) {
        let item = |word: &String| Ok(Item::text(PointId::new(word.as_str())?, word));
        database.upsert(&name, batch.iter().map(item).collect::<Result<_, Error>>()?)?;
    }

    for word in ["army", "song", "river"] {
        let answer = database.search(&name, &[Query::Id(PointId::new(word)?)], &SearchParams::new(5))?.remove(0);
        let near: Vec<&str> = answer.hits.iter().map(|hit| hit.point.id.as_str()).collect();
        println!("{word}: {near:?}");
        assert_eq!(near.len(), 5);
    }
    Ok(())
}
