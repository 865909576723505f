//! `nearness models`: installation, training, listing and deletion of models on a running server.

use super::common_args::ServerArgs;
use super::config;
use super::embed::embedder_json;
use super::output::{self, Table};
use super::progress::{Progress, Step, bytes};
use super::remote::{self, refusal};
use super::train::ObjectiveArg;
use crate::embed::MODEL_FILES;
use crate::grpc::pb;
use crate::training::DIGIT_FILES;
use crate::types::CollectionName;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Size of a file piece, bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// `models ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// List all models of a server, their origin, and the collections that use them.
    #[command(after_help = "Example:\n  nearness models list")]
    List {
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Show one model: training data, settings and quality.
    #[command(after_help = "Example:\n  nearness models get 1f3a9c")]
    Get(ModelRefArgs),
    /// Install a model folder created by `nearness train` or `nearness import`; it is usable immediately and never
    /// replaces another model's name.
    #[command(after_help = "Example:\n  nearness models install ./my-words")]
    Install {
        /// Model folder on this machine.
        folder: PathBuf,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Train word vectors on the server, from files of this machine or the texts of a collection.
    #[command(
        after_help = "Examples:\n  nearness models train-words data/wikipedia/enwiki-featured-2019.txt.gz --name wiki --epochs 3\n  nearness models train-words --collection paragraphs --name paragraph-words\n\n\
                      Training runs at low priority. Ctrl-C cancels it and discards everything."
    )]
    TrainWords(TrainWordsOnServerArgs),
    /// Train the digit net on the server, from files of this machine.
    #[command(
        after_help = "Example:\n  nearness models train-digits --images data/mnist/t10k-images-idx3-ubyte.gz --labels data/mnist/t10k-labels-idx1-ubyte.gz --name my-digits --epochs 2"
    )]
    TrainDigits(TrainDigitsOnServerArgs),
    /// Delete an installed model that no collection uses.
    #[command(after_help = "Example:\n  nearness models delete 1f3a9c")]
    Delete(ModelRefArgs),
}

/// Shared arguments.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// A model.
#[derive(Debug, Args)]
pub(crate) struct ModelRefArgs {
    /// Unambiguous prefix of the model's fingerprint.
    fingerprint: String,
    #[command(flatten)]
    common: CommonArgs,
}

/// Shared training arguments. The server sets the defaults.
#[derive(Debug, Args)]
pub(crate) struct TrainingArgs {
    /// Name of the embedder; must differ from those that the server was started with. A word model also has a text
    /// embedder named NAME-text.
    #[arg(long, value_parser = config::embedder_name)]
    name: String,
    /// Number of threads; 0 for all cores.
    #[arg(long, default_value_t = 0)]
    threads: u32,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Licence of the training data, for the model card.
    #[arg(long, value_name = "TEXT", default_value = "")]
    licence: String,
    #[command(flatten)]
    common: CommonArgs,
}

/// `models train-words`
#[derive(Debug, Args)]
pub(crate) struct TrainWordsOnServerArgs {
    /// Texts: plain, gzip or zstd.
    #[arg(required_unless_present = "collection")]
    files: Vec<PathBuf>,
    /// Collection whose "text" payload fields are used as training texts.
    #[arg(long, value_name = "NAME", value_parser = config::collection_name)]
    collection: Option<CollectionName>,
    /// Training objective.
    #[arg(long, value_enum, default_value_t = ObjectiveArg::SkipGram)]
    objective: ObjectiveArg,
    /// Number of components of a word vector [default: 100]
    #[arg(long)]
    dim: Option<u32>,
    /// Context window: words on each side [default: 5]
    #[arg(long)]
    window: Option<u32>,
    /// Negative samples per context word [default: 5]
    #[arg(long)]
    negative: Option<u32>,
    /// Minimum number of occurrences of a word [default: 5]
    #[arg(long)]
    min_count: Option<u64>,
    /// Number of epochs [default: 5, for glove 25]
    #[arg(long)]
    epochs: Option<u32>,
    /// Initial learning rate [default: 0.02, for cbow and glove 0.05]
    #[arg(long, value_parser = config::positive)]
    learning_rate: Option<f32>,
    /// Subsampling threshold: words with a higher relative frequency are subsampled; 0 keeps all [default: 0.0001]
    #[arg(long, value_parser = config::fraction)]
    subsample: Option<f64>,
    /// Number of phrase-detection passes, which join collocations into one word.
    #[arg(long, value_name = "PASSES", default_value_t = 0)]
    phrases: u32,
    #[command(flatten)]
    training: TrainingArgs,
}

/// `models train-digits`
#[derive(Debug, Args)]
pub(crate) struct TrainDigitsOnServerArgs {
    /// IDX file of 28x28 images, plain or gzip.
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// IDX file of the labels.
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// IDX file of test images.
    #[arg(long, value_name = "FILE", requires = "test_labels")]
    test_images: Option<PathBuf>,
    /// IDX file of the test labels.
    #[arg(long, value_name = "FILE", requires = "test_images")]
    test_labels: Option<PathBuf>,
    /// Number of epochs [default: 8]
    #[arg(long)]
    epochs: Option<u32>,
    /// Batch size [default: 64]
    #[arg(long)]
    batch: Option<u32>,
    /// Initial learning rate of Adam [default: 0.002]
    #[arg(long, value_parser = config::positive)]
    learning_rate: Option<f32>,
    /// Disable data augmentation.
    #[arg(long)]
    no_augment: bool,
    #[command(flatten)]
    training: TrainingArgs,
}

/// Runs a subcommand.
pub(super) fn run(command: ModelsCommand, quiet: bool) -> anyhow::Result<()> {
    match command {
        ModelsCommand::List { common } => list(&common),
        ModelsCommand::Get(args) => get(&args),
        ModelsCommand::Install { folder, common } => install(&folder, &common, quiet),
        ModelsCommand::TrainWords(args) => train_words(args, quiet),
        ModelsCommand::TrainDigits(args) => train_digits(args, quiet),
        ModelsCommand::Delete(args) => delete(&args),
    }
}

async fn all(server: &ServerArgs) -> anyhow::Result<(crate::grpc::Client, Vec<pb::Model>)> {
    let client = remote::connect(server).await?;
    let models = client.models(pb::ListModelsRequest {}).await.map_err(refusal)?.models;
    Ok((client, models))
}

/// Returns the model whose fingerprint has this prefix.
fn one(models: Vec<pb::Model>, prefix: &str) -> anyhow::Result<pb::Model> {
    let prefix = prefix.to_ascii_lowercase();
    let begins = |model: &pb::Model| fingerprints(model).iter().any(|one| one.starts_with(&prefix));
    let mut found = models.into_iter().filter(|model| !prefix.is_empty() && begins(model));
    let first = found.next().with_context(|| {
        format!("no model has a fingerprint that begins with {prefix:?}; `nearness models list` lists the models")
    })?;
    if found.any(|other| other.fingerprint != first.fingerprint) {
        bail!("the fingerprints of several models begin with {prefix:?}; give more digits");
    }
    Ok(first)
}

/// Returns the distinct fingerprints of the model and its embedders.
fn fingerprints(model: &pb::Model) -> Vec<&str> {
    let mut all = vec![model.fingerprint.as_str()];
    for one in &model.embedders {
        if !all.contains(&one.fingerprint.as_str()) {
            all.push(&one.fingerprint);
        }
    }
    all
}

fn list(common: &CommonArgs) -> anyhow::Result<()> {
    let (_, models) = remote::block_on(all(&common.server))?;
    if common.json {
        return Ok(output::json(&Value::Array(models.iter().map(model_json).collect()))?);
    }
    table(&models)
}

fn table(models: &[pb::Model]) -> anyhow::Result<()> {
    let mut table = Table::new(&["embedders", "fingerprints", "from", "current", "used by"]);
    for model in models {
        let names: Vec<&str> = model.embedders.iter().map(|one| one.name.as_str()).collect();
        table.row(vec![
            names.join(", "),
            fingerprints(model)
                .iter()
                .map(|one| one.chars().take(12).collect::<String>())
                .collect::<Vec<_>>()
                .join(", "),
            origin(model).into(),
            if model.current { "yes" } else { "no" }.into(),
            model.used_by.join(", "),
        ]);
    }
    Ok(table.print()?)
}

fn origin(model: &pb::Model) -> &'static str {
    match model.origin() {
        pb::ModelOrigin::Program => "program",
        pb::ModelOrigin::Folder => "--model",
        pb::ModelOrigin::Installed => "installed",
        pb::ModelOrigin::Unspecified => "",
    }
}

fn model_json(model: &pb::Model) -> Value {
    json!({
        "fingerprint": model.fingerprint,
        "origin": origin(model),
        "current": model.current,
        "used_by": model.used_by,
        "warnings": model.warnings,
        "embedders": model.embedders.iter().map(embedder_json).collect::<Vec<_>>(),
    })
}

fn get(args: &ModelRefArgs) -> anyhow::Result<()> {
    let (_, models) = remote::block_on(all(&args.common.server))?;
    let model = one(models, &args.fingerprint)?;
    if args.common.json {
        return Ok(output::json(&model_json(&model))?);
    }
    table(std::slice::from_ref(&model))?;
    notes(&model)?;
    let card = model.embedders.first().map_or("", |first| first.card_json.as_str());
    Ok(output::lines(&format!("\n{}", output::escaped_json(card)))?)
}

fn delete(args: &ModelRefArgs) -> anyhow::Result<()> {
    let model = remote::block_on(async {
        let (client, models) = all(&args.common.server).await?;
        let model = one(models, &args.fingerprint)?;
        let request = pb::DeleteModelRequest { fingerprint: model.fingerprint.clone() };
        client.delete_model(request).await.map_err(refusal)?;
        Ok(model)
    })?;
    if args.common.json {
        return Ok(output::json(&json!({ "deleted": model.fingerprint }))?);
    }
    Ok(output::line(&format!("{} deleted", model.fingerprint))?)
}

/// Reads files and sends them in pieces as wrapped messages; stops when the receiver is closed.
fn send<M: Send + 'static>(
    files: Vec<(String, PathBuf)>,
    first: Option<M>,
    wrap: fn(pb::FilePiece) -> M,
    progress: impl Fn(u64) + Send + 'static,
) -> (ReceiverStream<M>, tokio::task::JoinHandle<anyhow::Result<()>>) {
    let (sender, receiver) = mpsc::channel(4);
    let reading = tokio::task::spawn_blocking(move || {
        let mut sent = 0;
        if first.is_some_and(|first| sender.blocking_send(first).is_err()) {
            return Ok(());
        }
        for (file, path) in files {
            let named = || format!("{}: cannot be read", path.display());
            let mut from = File::open(&path).with_context(named)?;
            // An empty file is also sent as one piece.
            let mut name = Some(file);
            loop {
                let mut data = Vec::with_capacity(CHUNK_BYTES);
                from.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut data).with_context(named)?;
                if data.is_empty() && name.is_none() {
                    break;
                }
                sent += data.len() as u64;
                let piece = pb::FilePiece { file: name.take().unwrap_or_default(), data: data.into() };
                if sender.blocking_send(wrap(piece)).is_err() {
                    return Ok(());
                }
                progress(sent);
            }
        }
        Ok(())
    });
    (ReceiverStream::new(receiver), reading)
}

fn size(files: &[(String, PathBuf)]) -> u64 {
    files.iter().filter_map(|(_, path)| path.metadata().ok()).map(|file| file.len()).sum()
}

fn install(folder: &Path, common: &CommonArgs, quiet: bool) -> anyhow::Result<()> {
    let present =
        MODEL_FILES.iter().map(|name| ((*name).to_owned(), folder.join(name))).filter(|(_, path)| path.is_file());
    let files: Vec<_> = present.collect();
    if !folder.join("card.json").is_file() {
        bail!("{}: not a model folder: it has no card.json", folder.display());
    }
    let progress = std::sync::Arc::new(Progress::start("install", "bytes", quiet));
    let (total, shown) = (size(&files), progress.clone());
    let response = remote::block_on(async {
        let client = remote::connect(&common.server).await?;
        let wrap = |piece| pb::InstallModelRequest { piece: Some(piece) };
        let step = move |done| shown.step(Step { done, total: Some(total), part: None }, "");
        let (pieces, reading) = send(files, None, wrap, step);
        let response = client.install_model(pieces).await.map_err(refusal);
        reading.await??;
        response
    });
    let model =
        response.inspect_err(|_| progress.abandon())?.model.context("the response of the server has no model")?;
    progress.finish(&format!("{} in {:.1} s", bytes(total), progress.seconds()));
    show(&model, common)
}

fn show(model: &pb::Model, common: &CommonArgs) -> anyhow::Result<()> {
    if common.json {
        return Ok(output::json(&model_json(model))?);
    }
    table(std::slice::from_ref(model))?;
    notes(model)
}

/// Prints the warnings of a model, and a note if its name resolves to another model.
fn notes(model: &pb::Model) -> anyhow::Result<()> {
    for warning in &model.warnings {
        output::line(&format!("warning: {warning}"))?;
    }
    if let (false, Some(first)) = (model.current, model.embedders.first()) {
        let (name, digits) = (&first.name, first.fingerprint.get(..12).unwrap_or_default());
        output::line(&format!("the name {name} refers to another model; {name}@{digits} refers to this one"))?;
    }
    Ok(())
}

fn train_words(args: TrainWordsOnServerArgs, quiet: bool) -> anyhow::Result<()> {
    use pb::word_training_config::Objective;
    let objective = match args.objective {
        ObjectiveArg::SkipGram => Objective::SkipGram,
        ObjectiveArg::Cbow => Objective::Cbow,
        ObjectiveArg::Glove => Objective::Glove,
    };
    let config = pb::WordTrainingConfig {
        objective: objective.into(),
        dimension: args.dim.unwrap_or(0),
        window: args.window.unwrap_or(0),
        negative: args.negative.unwrap_or(0),
        min_count: args.min_count.unwrap_or(0),
        epochs: args.epochs.unwrap_or(0),
        learning_rate: args.learning_rate.unwrap_or(0.0),
        subsample: args.subsample,
        phrases: args.phrases,
        collection: args.collection.map_or_else(String::new, |name| name.to_string()),
    };
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let files: Vec<_> = args.files.iter().map(|path| (name(path), path.clone())).collect();
    if let Some((twice, _)) = files
        .iter()
        .enumerate()
        .find(|(index, (one, _))| files[..*index].iter().any(|(other, _)| other == one))
        .map(|(_, file)| file)
    {
        bail!("two files have the name {twice:?}; the model card identifies files by name");
    }
    train(pb::train_settings::Config::Words(config), files, args.training, "words", quiet)
}

fn train_digits(args: TrainDigitsOnServerArgs, quiet: bool) -> anyhow::Result<()> {
    let config = pb::DigitTrainingConfig {
        epochs: args.epochs.unwrap_or(0),
        batch: args.batch.unwrap_or(0),
        learning_rate: args.learning_rate.unwrap_or(0.0),
        no_augment: args.no_augment,
    };
    let given = [Some(args.images), Some(args.labels), args.test_images, args.test_labels];
    let files = DIGIT_FILES.into_iter().zip(given).filter_map(|(name, path)| Some((name.to_owned(), path?))).collect();
    train(pb::train_settings::Config::Digits(config), files, args.training, "images", quiet)
}

fn train(
    config: pb::train_settings::Config,
    files: Vec<(String, PathBuf)>,
    args: TrainingArgs,
    unit: &'static str,
    quiet: bool,
) -> anyhow::Result<()> {
    use pb::train_embedder_request::Part;
    use pb::train_embedder_response::State;
    let wrap = |part| pb::TrainEmbedderRequest { part: Some(part) };
    let settings = pb::TrainSettings {
        config: Some(config),
        seed: args.seed,
        threads: args.threads,
        licence: args.licence,
        name: args.name,
    };
    let progress = Progress::start("train", unit, quiet);
    let trained = remote::block_on(async {
        let client = remote::connect(&args.common.server).await?;
        let first = Some(wrap(Part::Settings(settings)));
        let (parts, reading) =
            send(files, first, |piece| pb::TrainEmbedderRequest { part: Some(Part::Piece(piece)) }, |_| {});
        let responses = client.train_embedder(parts).await.map_err(refusal);
        reading.await??;
        let (mut responses, mut trained) = (responses?, None);
        while let Some(response) = responses.next().await.map_err(refusal)? {
            match response.state {
                Some(State::Progress(at)) => {
                    let total = Some(at.total).filter(|total| *total > 0);
                    let loss = at.loss.map(|loss| format!(", loss {loss:.4}"));
                    let right = at.test_accuracy.map(|share| format!(", {:.2} % of the test images", share * 100.0));
                    let note = [Some(at.phase), loss, right].into_iter().flatten().collect::<String>();
                    progress.step(Step { done: at.done, total, part: None }, &note);
                }
                Some(State::Model(model)) => trained = Some(model),
                None => {}
            }
        }
        trained.context("the server ended the stream without a result")
    });
    let model = trained.inspect_err(|_| progress.abandon())?;
    progress.finish(&format!("trained in {:.1} s", progress.seconds()));
    show(&model, &args.common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_the_fingerprint_identifies_a_model() {
        let models = || {
            ["ab12", "ab34", "cd56"]
                .map(|fingerprint| pb::Model { fingerprint: fingerprint.into(), ..Default::default() })
                .to_vec()
        };
        assert_eq!(one(models(), "AB1").unwrap().fingerprint, "ab12");
        assert_eq!(one(models(), "c").unwrap().fingerprint, "cd56");
        for invalid in ["", "ab", "x"] {
            one(models(), invalid).unwrap_err();
        }
    }
}
