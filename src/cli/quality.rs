//! `nearness explain` and `nearness recall`: explanations of search results, and measured recall.

use super::common_args::{KeywordArgs, LikeArgs, QueryInputArgs, ReadArgs, ServerArgs};
use super::config;
use super::output::{self, Table};
use super::query::{input_form, keyword_form};
use super::ranking::RankingArgs;
use super::remote::{self, refusal};
use crate::grpc::pb;
use crate::types::CollectionName;
use clap::{ArgGroup, Args};
use pb::query::Form;
use serde_json::json;

/// `explain`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["text", "keywords", "image", "vector", "near", "like"]),
    after_help = "Examples:\n  nearness explain --collection paragraphs --id 339:1 --text 'a war over salt'\n  \
                  nearness explain --collection points --id p7 --vector '0.1,0.2,0.3' -k 5 --ef 20 --json"
)]
pub(crate) struct ExplainArgs {
    /// Collection.
    #[arg(long, value_name = "NAME", value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Id of the point to explain.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) query: QueryInputArgs,
    #[command(flatten)]
    pub(crate) keywords: KeywordArgs,
    /// Search by the id of a stored point.
    #[arg(long, value_name = "ID", allow_hyphen_values = true, conflicts_with_all = ["hybrid", "all_words"])]
    pub(crate) near: Option<String>,
    #[command(flatten)]
    pub(crate) like: LikeArgs,
    /// Number of hits.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Candidate list size of the graph search.
    #[arg(long, conflicts_with = "target_recall", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) ef: Option<u32>,
    /// Mean recall to reach, 0.5 to 1, instead of an ef.
    #[arg(long, value_name = "RECALL", value_parser = config::target_recall)]
    pub(crate) target_recall: Option<f32>,
    /// Minimum score of a hit.
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    pub(crate) min_score: Option<f32>,
    #[command(flatten)]
    pub(crate) ranking: RankingArgs,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// `recall`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness recall --collection paragraphs --target 0.95 --samples 200\n\n\
                  Searches the neighbours of sampled points, with the given settings and exactly. A stored point is an easier\n\
                  query than a new one; the recall that the tables predict for new queries is printed too.")]
pub(crate) struct RecallArgs {
    /// Collection.
    #[arg(long, value_name = "NAME", value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Number of sampled points.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) samples: u32,
    /// Number of neighbours per point.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Candidate list size of the graph search [default: the collection's]
    #[arg(long, conflicts_with = "target", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) ef: Option<u32>,
    /// Mean recall to reach, 0.5 to 1, instead of an ef.
    #[arg(long, value_name = "RECALL", value_parser = config::target_recall)]
    pub(crate) target: Option<f32>,
    /// Seed of the sample; 0 for a seed that changes with every write.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Explains why a point is, or is not, among the hits.
pub(super) fn explain(args: ExplainArgs) -> anyhow::Result<()> {
    use pb::search_params::Accuracy;
    let form =
        keyword_form(&args.keywords, &args.query).map_or_else(|| input_form(&args.query), |form| Ok(Some(form)))?;
    let form = form.unwrap_or_else(|| match &args.near {
        Some(id) => Form::Id(id.clone()),
        None => args.like.form(),
    });
    let mut params = pb::SearchParams {
        k: args.k,
        accuracy: args.ef.map(Accuracy::Ef).or(args.target_recall.map(Accuracy::TargetRecall)),
        score_threshold: args.min_score,
        filter: args.read.filter.filter.clone(),
        ..Default::default()
    };
    args.ranking.add_to(&mut params)?;
    let request = pb::ExplainRequest {
        collection: args.collection.as_str().into(),
        query: Some(pb::Query { form: Some(form) }),
        params: Some(params),
        id: args.id.clone(),
        min_sequence: args.read.consistency.min_sequence,
    };
    let explanation = remote::block_on(async {
        let client = remote::connect(&args.read.server).await?;
        client.explain(request).await.map_err(refusal)
    })?;
    remote::note_unknown_fields(args.collection.as_str(), &explanation.unknown_fields);
    if args.read.json {
        output::json(&json!({
            "id": args.id,
            "reason": explanation.reason().as_str_name().trim_start_matches("REASON_").to_ascii_lowercase(),
            "rank": Some(explanation.rank).filter(|rank| *rank > 0),
            "true_rank": explanation.true_rank,
            "distance": explanation.distance,
            "score": explanation.score,
            "kth_distance": explanation.kth_distance,
            "segment": explanation.segment,
            "row": explanation.row,
            "ef_used": explanation.ef_used,
            "ef_needed": explanation.ef_needed,
            "walked": explanation.walked,
            "unknown_fields": explanation.unknown_fields,
            "formula": explanation.formula,
            "parts": explanation.parts.iter().map(part_json).collect::<Vec<_>>(),
        }))?;
    } else {
        output::lines(&explanation_text(&args.id, args.k, &explanation))?;
    }
    Ok(())
}

/// Formats an explanation in one or two sentences.
fn explanation_text(id: &str, k: u32, explanation: &pb::ExplainResponse) -> String {
    let (id, true_rank) = (output::escaped(id), explanation.true_rank.unwrap_or(0));
    let mut text = match explanation.reason() {
        pb::Reason::Hit => format!("{id} is hit {} of {k}", explanation.rank),
        pb::Reason::UnknownPoint => return format!("{id} is not a point of this collection"),
        pb::Reason::Deleted => return format!("{id} was deleted"),
        pb::Reason::Excluded => format!("{id} is excluded: it is part of the query"),
        pb::Reason::BelowThreshold if true_rank == 0 => format!("the score of {id} is below the threshold"),
        pb::Reason::BelowThreshold => {
            format!("the rank of {id} is {true_rank}, but its score is below the threshold")
        }
        pb::Reason::Beaten => match explanation.true_rank {
            Some(rank) => format!("{id} is outranked: its rank is {rank}, and {k} hits were requested"),
            None => format!("{id} is outranked by {k} hits or more"),
        },
        pb::Reason::MissedByGraph => {
            let needed = match explanation.ef_needed {
                Some(ef) => format!("with ef {ef} it is found"),
                None => "only a scan finds it".into(),
            };
            format!(
                "the rank of {id} is {true_rank}, but the graph search with ef {} missed it; {needed}",
                explanation.ef_used
            )
        }
        pb::Reason::Filtered => format!("{id} does not match the filter"),
        pb::Reason::NoVector => format!("{id} has no vector in the field of the query"),
        pb::Reason::NoTerms => format!("{id} does not contain the words of the query"),
        pb::Reason::Unspecified => format!("{id}: the server returned a reason unknown to this program"),
    };
    if let Some(distance) = explanation.distance {
        text += &format!("\ndistance {distance:.4}");
    }
    if let Some(kth) = explanation.kth_distance {
        text += &format!(", hit {k} is at {kth:.4}");
    }
    if let Some(formula) = explanation.formula {
        text += &format!("\nthe formula is {formula:.4}");
    }
    for part in &explanation.parts {
        text += &part_text(part);
    }
    text += &match (explanation.segment, explanation.row) {
        (Some(segment), Some(row)) => {
            let way = if explanation.ef_used > 0 {
                format!("by graph (ef {})", explanation.ef_used)
            } else {
                "by scan".into()
            };
            format!("\nrow {row} of segment {segment}, searched {way}")
        }
        _ => "\nnot sealed yet".into(),
    };
    text
}

/// Formats the rank and score in one query, and its terms.
fn part_text(part: &pb::PartExplanation) -> String {
    let mut text = String::new();
    if !part.query.is_empty() {
        text += &format!("\n{}: ", part.query);
        text += &match part.rank {
            Some(rank) => format!("rank {rank} of {} candidates", part.candidates),
            None => format!("not among {} candidates", part.candidates),
        };
        if let Some(score) = part.score {
            text += &format!(", score {score:.4}");
        }
        if let Some(contribution) = part.contribution {
            text += &format!(", contributes {contribution:.4}");
        }
    }
    for term in &part.terms {
        text += &format!(
            "\n  {}: {} times here, in {} points, contributes {:.4}",
            output::escaped(&term.term),
            term.frequency,
            term.points,
            term.contribution
        );
    }
    text
}

fn part_json(part: &pb::PartExplanation) -> serde_json::Value {
    let term = |term: &pb::TermExplanation| {
        json!({
            "term": term.term,
            "points": term.points,
            "frequency": term.frequency,
            "weight": term.weight,
            "contribution": term.contribution,
        })
    };
    json!({
        "query": part.query,
        "rank": part.rank,
        "candidates": part.candidates,
        "score": part.score,
        "contribution": part.contribution,
        "terms": part.terms.iter().map(term).collect::<Vec<_>>(),
    })
}

/// Measures recall and prints it beside the calibrated values.
pub(super) fn recall(args: RecallArgs) -> anyhow::Result<()> {
    use pb::measure_recall_request::Accuracy;
    let request = pb::MeasureRecallRequest {
        collection: args.collection.as_str().into(),
        samples: args.samples,
        k: args.k,
        accuracy: args.ef.map(Accuracy::Ef).or(args.target.map(Accuracy::TargetRecall)),
        seed: args.seed,
    };
    let report = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.measure_recall(request).await.map_err(refusal)
    })?;
    if report.samples == 0 {
        anyhow::bail!("the collection {} has no points to measure", args.collection);
    }
    if args.json {
        let segment = |part: &pb::SegmentRecall| {
            json!({
                "segment": part.segment,
                "ef_used": part.ef_used,
                "found": part.found,
                "of": part.of,
                "calibrated_on": part.calibrated_on,
                "expected_recall": part.expected_recall,
            })
        };
        output::json(&json!({
            "samples": report.samples,
            "recall": report.recall,
            "recall_low": report.recall_low,
            "recall_high": report.recall_high,
            "stored_expected": report.stored_expected,
            "expected_recall": report.expected_recall,
            "search_us": report.search_us,
            "exact_us": report.exact_us,
            "recalibrating": report.recalibrating,
            "segments": report.segments.iter().map(segment).collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    let or_none = |value: Option<f64>| value.map_or_else(|| "not measured".into(), |value| format!("{value:.4}"));
    output::line(&format!(
        "recall {:.4} ({:.4} to {:.4}) of {} stored points; expected by the tables {}",
        report.recall,
        report.recall_low,
        report.recall_high,
        report.samples,
        or_none(report.stored_expected)
    ))?;
    output::line(&format!("expected of new queries: {}", or_none(report.expected_recall)))?;
    output::line(&format!("{} us a search, {} us exactly", report.search_us, report.exact_us))?;
    if report.recalibrating {
        output::line("the recall tables are being recalibrated")?;
    }
    if !report.segments.is_empty() {
        let mut table = Table::new(&["segment", "ef", "found", "of", "expected", "measured on"]);
        for part in &report.segments {
            table.row(vec![
                part.segment.to_string(),
                part.ef_used.to_string(),
                part.found.to_string(),
                part.of.to_string(),
                part.expected_recall.map_or_else(String::new, |recall| format!("{recall:.4}")),
                part.calibrated_on.to_string(),
            ]);
        }
        table.print()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_formatted_as_text() {
        let missed = pb::ExplainResponse {
            reason: pb::Reason::MissedByGraph.into(),
            true_rank: Some(3),
            distance: Some(0.25),
            kth_distance: Some(0.5),
            segment: Some(4),
            row: Some(17),
            ef_used: 10,
            ef_needed: Some(34),
            ..Default::default()
        };
        assert_eq!(
            explanation_text("p", 10, &missed),
            "the rank of p is 3, but the graph search with ef 10 missed it; with ef 34 it is found\n\
             distance 0.2500, hit 10 is at 0.5000\nrow 17 of segment 4, searched by graph (ef 10)"
        );
        let hit = pb::ExplainResponse { reason: pb::Reason::Hit.into(), rank: 2, ..Default::default() };
        assert_eq!(explanation_text("p", 10, &hit), "p is hit 2 of 10\nnot sealed yet");
    }
}
