//! `nearness eval`: quality of embedders on word pairs, analogies, paragraphs, labelled digits or images.

pub(super) mod args;
mod images;
mod plot;
pub(crate) mod text;

use super::output::{self, Table};
use crate::embed::Embedder;
use crate::embed::digits::{self, DigitNet, LabelledImages};
use crate::embed::words::{WordModel, eval};
use anyhow::{Context, bail};
use args::{EvalCommand, EvalDigitsArgs, EvalWordsArgs};
use serde_json::json;

/// Runs a subcommand.
pub(super) fn run(command: EvalCommand) -> anyhow::Result<()> {
    match command {
        EvalCommand::Words(args) => words(&args),
        EvalCommand::Text(args) => text::run(&args),
        EvalCommand::Digits(args) => digits(&args),
        EvalCommand::Images(args) => images::run(&args),
    }
}

fn words(args: &EvalWordsArgs) -> anyhow::Result<()> {
    let model = match &args.model {
        Some(folder) => WordModel::load(folder).with_context(|| format!("--model {}", folder.display()))?,
        None => WordModel::default_model().context("the model in the binary")?,
    };
    let similarity = args
        .similarity
        .iter()
        .map(|file| eval::similarity(&model, file).with_context(|| format!("--similarity {}", file.display())))
        .collect::<Result<Vec<_>, _>>()?;
    // The correlation of an empty set is NaN, which must not be reported as a result.
    if let Some((file, found)) = args.similarity.iter().zip(&similarity).find(|(_, found)| !found.spearman.is_finite())
    {
        bail!(
            "--similarity {}: the model knows both words of {2} of {1} pairs; needs at least two with different scores",
            file.display(),
            found.pairs + found.missing,
            found.pairs
        );
    }
    let mut sections = Vec::new();
    for file in &args.analogies {
        let found =
            eval::analogies(&model, file, args.restrict).with_context(|| format!("--analogies {}", file.display()))?;
        sections.extend(found.sections);
    }
    let blanks = args.blanks.as_ref().map(|file| {
        eval::blanks(&model, file, args.blank_count, args.seed).with_context(|| format!("--blanks {}", file.display()))
    });
    let blanks = blanks.transpose()?;
    let correct = sections.iter().map(|section| section.correct).sum::<u64>();
    let total = sections.iter().map(|section| section.total).sum::<u64>();
    if !args.analogies.is_empty() && total == 0 {
        bail!(
            "--analogies: no question has all four words among the {} most frequent ones of the model",
            args.restrict
        );
    }
    let accuracy = (total > 0).then(|| correct as f64 / total as f64);
    if args.json {
        output::json(&json!({
            "similarity": similarity.iter().map(|found| json!({
                "file": found.file, "spearman": found.spearman, "pairs": found.pairs, "missing": found.missing,
            })).collect::<Vec<_>>(),
            "analogies": sections.iter().map(|section| json!({
                "section": section.name, "correct": section.correct, "total": section.total,
            })).collect::<Vec<_>>(),
            "accuracy": accuracy,
            "blanks": blanks.map(|found| json!({
                "asked": found.evaluated, "first": found.first, "ten": found.ten,
                "frequent_first": found.frequent_first, "frequent_ten": found.frequent_ten,
            })),
        }))?;
        return Ok(());
    }
    if !similarity.is_empty() {
        let mut table = Table::new(&["similarity", "spearman", "pairs", "missing"]);
        for found in &similarity {
            table.row(vec![
                found.file.to_string(),
                format!("{:.4}", found.spearman),
                found.pairs.to_string(),
                found.missing.to_string(),
            ]);
        }
        table.print()?;
    }
    if let Some(found) = blanks {
        let mut table = Table::new(&["hidden words", "first", "among ten"]);
        let share = |hits: u64| format!("{:.2} %", 100.0 * hits as f64 / found.evaluated as f64);
        for (name, first, ten) in [
            (format!("{} by the net", found.evaluated), found.first, found.ten),
            ("by frequency alone".into(), found.frequent_first, found.frequent_ten),
        ] {
            table.row(vec![name, share(first), share(ten)]);
        }
        table.print()?;
    }
    if !sections.is_empty() {
        let mut table = Table::new(&["analogies", "accuracy", "correct", "total"]);
        let all = [("all", correct, total)];
        for (name, correct, total) in sections.iter().map(|s| (s.name.as_str(), s.correct, s.total)).chain(all) {
            let accuracy =
                if total > 0 { format!("{:.2} %", 100.0 * correct as f64 / total as f64) } else { "-".into() };
            table.row(vec![name.into(), accuracy, correct.to_string(), total.to_string()]);
        }
        table.print()?;
    }
    Ok(())
}

fn digits(args: &EvalDigitsArgs) -> anyhow::Result<()> {
    let net = match &args.model {
        Some(folder) => DigitNet::load(folder).with_context(|| format!("--model {}", folder.display()))?,
        None => DigitNet::default_model().context("the model in the binary")?,
    };
    let images = LabelledImages::read(&args.images, &args.labels)?;
    if images.is_empty() {
        bail!("--images {}: contains no images", args.images.display());
    }
    let found = digits::evaluate(&net, &images);
    let same_digit = digits::same_digit(&net, &images);
    if let Some(path) = &args.plot {
        let title = format!("{:.2} % of {} digits", found.accuracy * 100.0, images.len());
        plot::write(path, &title, &found.confusion, &plot::LearningCurve::of(&net.card().quality))?;
    }
    if args.json {
        let [features, logits] = same_digit.map_or([None, None], |same| same.map(Some));
        output::json(&json!({
            "accuracy": found.accuracy, "confusion": found.confusion,
            "same_digit_at_10": { "features": features, "logits": logits },
        }))?;
        return Ok(());
    }
    if let Some([features, logits]) = same_digit {
        output::line(&format!(
            "of the 10 nearest images {:.2} % show the same digit by features, {:.2} % by logits",
            features * 100.0,
            logits * 100.0
        ))?;
    }
    output::line(&format!("accuracy {:.2} %; rows are true digits, columns predictions:", found.accuracy * 100.0))?;
    let mut table = Table::new(&["", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    for (digit, row) in found.confusion.iter().enumerate() {
        table.row(std::iter::once(digit.to_string()).chain(row.iter().map(u64::to_string)).collect());
    }
    table.print()?;
    Ok(())
}
