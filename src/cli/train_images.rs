//! `nearness train images`: training of a residual network on images of any classes, and reading of labelled images.

use super::progress::{Progress, count, duration, in_words, rate};
use super::train_common::{LabelledImageArgs, ModelFolder, ModelOutputArgs, PhaseProgress, command_line, object};
use super::{config, output};
use crate::embed::images::{self, LabelledPictures, PictureOptions};
use crate::embed::{DataSource, Embedder, ModelCard, today};
use anyhow::bail;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// `train images`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nearness train images --data ./photos --test ./photos-held-out --out ./my-images\n  \
                  nearness train images --images train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz --out ./my-clothes\n\n\
                  The folder is accepted by `serve --model`, `load --model`, `models install` and `eval images --model`."
)]
pub(crate) struct TrainImagesArgs {
    #[command(flatten)]
    pub(crate) train: LabelledImageArgs,
    /// Class folders, or a tar archive of them, for testing.
    #[arg(long, value_name = "DIR|TAR", requires = "data")]
    pub(crate) test: Option<PathBuf>,
    /// IDX file of test images.
    #[arg(long, value_name = "FILE", requires = "test_labels", requires = "images")]
    pub(crate) test_images: Option<PathBuf>,
    /// IDX file of the test labels.
    #[arg(long, value_name = "FILE", requires = "test_images")]
    pub(crate) test_labels: Option<PathBuf>,
    /// Name of the embedder.
    #[arg(long, default_value = "images", value_parser = config::embedder_name)]
    pub(crate) name: String,
    /// Side length that images are scaled to, pixels, 16 to 256 [default: 32; of IDX files their own]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) size: Option<usize>,
    /// Convert images to greyscale; IDX images always are.
    #[arg(long)]
    pub(crate) grey: bool,
    /// Channels of the first of three stages, a multiple of 32; the vectors have four times as many components
    /// [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) width: Option<usize>,
    /// Residual blocks per stage [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) blocks: Option<usize>,
    /// Number of epochs [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) epochs: Option<usize>,
    /// Batch size [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) batch: Option<usize>,
    /// Peak learning rate [default: the trainer's]
    #[arg(long, value_parser = config::positive)]
    pub(crate) learning_rate: Option<f32>,
    /// Disable data augmentation (shifts and mirroring).
    #[arg(long)]
    pub(crate) no_augment: bool,
    /// Do not mirror images: for data where left and right differ, such as writing.
    #[arg(long)]
    pub(crate) no_mirror: bool,
    /// Number of threads; 0 for all cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) output: ModelOutputArgs,
}

/// Runs the training.
pub(super) fn run(args: &TrainImagesArgs, quiet: bool) -> anyhow::Result<()> {
    let folder = ModelFolder::plan(&args.output.out, args.output.force)?;
    let grey = args.grey || args.train.images.is_some();
    let requested = PictureOptions { side: args.size, channels: if grey { 1 } else { 3 }, classes: None };
    let images = read(&args.train, requested, quiet)?;
    let requested = PictureOptions { side: Some(images.side()), classes: Some(images.classes()), ..requested };
    let test = match (&args.test, &args.test_images, &args.test_labels) {
        (None, None, None) => None,
        (data, images, labels) => {
            let labelled = LabelledImageArgs { data: data.clone(), images: images.clone(), labels: labels.clone() };
            Some(read(&labelled, requested, quiet)?)
        }
    };
    let threads = config::threads(args.threads);
    let defaults = images::TrainOptions::default();
    let options = images::TrainOptions {
        epochs: args.epochs.unwrap_or(defaults.epochs),
        batch: args.batch.unwrap_or(defaults.batch),
        learning_rate: args.learning_rate.unwrap_or(defaults.learning_rate),
        width: args.width.unwrap_or(defaults.width),
        blocks: args.blocks.unwrap_or(defaults.blocks),
        augment: !args.no_augment,
        mirror: !args.no_mirror,
        seed: args.seed,
        threads,
    };
    let phases = PhaseProgress::new("train images", "images", quiet);
    let trained = images::train(&images, test.as_ref(), &options, &|seen| {
        phases.epoch(seen, &format!(", {:.1} % right", seen.train_accuracy * 100.0));
        true
    });
    let measured = phases.finish(trained.is_ok());
    let net = trained?;
    let seconds = measured.iter().map(|phase| phase.seconds).sum::<f64>();
    let rate = rate(measured.iter().map(|phase| phase.done).sum(), seconds);
    let found = test.as_ref().map(|test| images::evaluate(&net, test)).transpose()?;
    let quality = json!({
        "test_accuracy": found.as_ref().map(|found| found.accuracy),
        "test_same_class_at_10": found.as_ref().map(|found| found.same_class),
        "loss": measured.last().and_then(|phase| phase.loss),
        "training_seconds": (seconds * 10.0).round() / 10.0,
        "images_per_second": rate.map(f64::round),
    });
    let trainer = net.card();
    let licensed = |source: &DataSource| DataSource { licence: args.output.licence.clone(), ..source.clone() };
    let card = ModelCard {
        name: args.name.clone(),
        command: command_line(),
        data: trainer.data.iter().map(licensed).collect(),
        seed: args.seed,
        threads,
        date: today(),
        quality: object(quality.clone()),
        ..ModelCard::default()
    };
    let card = card.completed_by(trainer);
    let net = net.with_card(card);
    folder.publish(|path| Ok(net.save(path)?))?;
    if args.output.json {
        output::json(&json!({ "out": args.output.out, "seconds": seconds, "quality": quality }))?;
    } else {
        let found = found.map_or(String::new(), |found| {
            let (right, same) = (found.accuracy * 100.0, found.same_class * 100.0);
            format!(
                "; {right:.2} % of the test images right, {same:.2} % of the {} nearest of the same class",
                images::NEIGHBOURS
            )
        });
        let out = args.output.out.display();
        let rate = in_words(rate, "images");
        output::line(&format!("{out}: trained in {}{rate}{found}", duration(seconds)))?;
    }
    Ok(())
}

/// Reads labelled images; warns about skipped files.
pub(super) fn read(
    args: &LabelledImageArgs,
    requested: PictureOptions<'_>,
    quiet: bool,
) -> anyhow::Result<LabelledPictures> {
    let progress = Progress::start("reading images", "images", quiet);
    let images = match (&args.data, &args.images, &args.labels) {
        (Some(data), None, None) => LabelledPictures::read_classes(data, requested)?,
        (None, Some(images), Some(labels)) => LabelledPictures::read_idx(images, labels, requested)?,
        _ => bail!("either class folders or IDX files of images and labels"),
    };
    let skipped = images.skipped();
    if skipped.count > 0 {
        let what = format!("{} files are not valid images and were skipped:", count(skipped.count as u64));
        progress.warn(&what);
        skipped.first.iter().for_each(|file| progress.warn(&format!("  {file}")));
    }
    progress.finish(&format!("{} of {} classes", count(images.len() as u64), images.classes().len()));
    Ok(images)
}
