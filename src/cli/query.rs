//! `nearness query`: search results as a table or JSON, with the cost of the search.

use super::common_args::{KeywordArgs, LikeArgs, QueryInputArgs, ReadArgs};
use super::config;
use super::load::read_image;
use super::output::{self, Table, brief};
use super::ranking::RankingArgs;
use super::remote::{self, refusal};
use crate::api::FieldVector;
use crate::grpc::pb;
use crate::types::CollectionName;
use clap::{ArgGroup, Args};
use pb::query::Form;
use pb::search_params::Accuracy;
use serde_json::{Map, Value, json};

/// `query`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["text", "keywords", "image", "vector", "id", "plus", "like", "vector_json"]),
    after_help = "Examples:\n  nearness query paragraphs --text 'a war over salt' -k 5\n  \
                  nearness query paragraphs --text 'a war over salt' --hybrid\n  \
                  nearness query paragraphs --keywords 'salt tax' --all-words\n  \
                  nearness query words --plus king --minus man --plus woman\n  \
                  nearness query paragraphs --text 'a war over salt' --diversity 0.3\n  \
                  nearness query paragraphs --like 12:0 --like 80:3 --unlike 7:1 --best-score\n  \
                  nearness query digits --image seven.png --payload\n  \
                  nearness query films --text 'ships at war' --filter '{\"field\": \"year\", \"gte\": 1990}'\n  \
                  nearness query points --vector '0.1,0.2,0.3' --exact --json\n  \
                  nearness query films --using poster --id f7\n  \
                  nearness query films --using splade --vector-json '{\"indices\": [3, 17], \"values\": [0.5, 1.2]}'"
)]
pub(crate) struct QueryArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    #[command(flatten)]
    pub(crate) input: QueryInputArgs,
    #[command(flatten)]
    pub(crate) keywords: KeywordArgs,
    /// Search by the id of a stored point.
    #[arg(long, allow_hyphen_values = true, conflicts_with_all = ["hybrid", "all_words"])]
    pub(crate) id: Option<String>,
    /// Search a vector field by this name, instead of the vectors of the collection; with --vector, --vector-json or --id.
    #[arg(long, value_name = "FIELD", conflicts_with_all = ["text", "keywords", "image", "plus"])]
    pub(crate) using: Option<String>,
    /// Search by a vector of the kind of the field, as JSON: a list of numbers, {"indices": [...], "values": [...]}, or a
    /// list of lists.
    #[arg(long, value_name = "JSON", requires = "using", value_parser = config::field_vector)]
    pub(crate) vector_json: Option<FieldVector>,
    /// Term to add (id of a point, or a text); may be repeated.
    #[arg(long, value_name = "TERM", allow_hyphen_values = true, conflicts_with_all = ["hybrid", "all_words"])]
    pub(crate) plus: Vec<String>,
    /// Term to subtract; may be repeated.
    #[arg(long, value_name = "TERM", requires = "plus", allow_hyphen_values = true)]
    pub(crate) minus: Vec<String>,
    #[command(flatten)]
    pub(crate) like: LikeArgs,
    /// Number of hits.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Candidate list size of the graph search; larger is slower and more accurate.
    #[arg(long, conflicts_with_all = ["exact", "target_recall"], value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) ef: Option<u32>,
    /// Mean recall to reach, 0.5 to 1, instead of an ef.
    #[arg(long, value_name = "RECALL", conflicts_with = "exact", value_parser = config::target_recall)]
    pub(crate) target_recall: Option<f32>,
    /// Exact search: compare with every point.
    #[arg(long)]
    pub(crate) exact: bool,
    /// Minimum score of a hit.
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    pub(crate) min_score: Option<f32>,
    /// Return only the nearest of the points that share a value of this payload field: `parent` for texts in blocks.
    #[arg(long, value_name = "FIELD")]
    pub(crate) group_by: Option<String>,
    /// Number of hits per group, with --group-by; -k is then the number of groups.
    #[arg(long, value_name = "HITS", requires = "group_by", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) group_size: Option<u32>,
    #[command(flatten)]
    pub(crate) ranking: RankingArgs,
    /// Return partial results from a damaged collection, with a note.
    #[arg(long)]
    pub(crate) allow_partial: bool,
    /// Print the whole payload of each hit.
    #[arg(long)]
    pub(crate) payload: bool,
    /// Print the vector of each hit.
    #[arg(long)]
    pub(crate) vector_out: bool,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// Runs the query and prints the hits.
pub(super) fn run(args: QueryArgs) -> anyhow::Result<()> {
    let mut params = pb::SearchParams {
        k: args.k,
        accuracy: match args.exact {
            true => Some(Accuracy::Exact(true)),
            false => args.ef.map(Accuracy::Ef).or(args.target_recall.map(Accuracy::TargetRecall)),
        },
        score_threshold: args.min_score,
        fields: Some(pb::Fields { payload: true, vector: args.vector_out, ..Default::default() }),
        filter: args.read.filter.filter.clone(),
        group_by: args.group_by.clone().unwrap_or_default(),
        allow_partial: args.allow_partial,
        group_size: args.group_size.unwrap_or_default(),
        ..Default::default()
    };
    args.ranking.add_to(&mut params)?;
    let request = pb::SearchRequest {
        collection: args.collection.as_str().into(),
        query: Some(pb::Query { form: Some(form(&args)?) }),
        params: Some(params),
        min_sequence: args.read.consistency.min_sequence,
        offset: 0,
    };
    let answer = remote::block_on(async {
        let client = remote::connect(&args.read.server).await?;
        client.search(request).await.map_err(refusal)
    })?;
    remote::note_unknown_fields(args.collection.as_str(), &answer.unknown_fields);
    if args.read.json { print_json(&args, answer) } else { print_table(&args, answer) }
}

fn form(args: &QueryArgs) -> anyhow::Result<Form> {
    if let Some(field) = &args.using {
        use pb::field_query::Target;
        let dense = args.input.vector.as_ref().map(|numbers| FieldVector::Dense(numbers.0.clone()));
        let vector = args.vector_json.clone().or(dense);
        let target = match vector {
            Some(vector) => Target::Vector(crate::grpc::field_vector_message(vector)),
            None => Target::Id(args.id.clone().unwrap_or_default()),
        };
        return Ok(Form::Field(pb::FieldQuery { field: field.clone(), target: Some(target) }));
    }
    Ok(if let Some(form) = keyword_form(&args.keywords, &args.input) {
        form
    } else if let Some(form) = input_form(&args.input)? {
        form
    } else if let Some(id) = &args.id {
        Form::Id(id.clone())
    } else if !args.like.like.is_empty() {
        args.like.form()
    } else {
        Form::Arithmetic(pb::Arithmetic { plus: args.plus.clone(), minus: args.minus.clone() })
    })
}

/// Builds a keyword or hybrid query from the arguments, if one is given.
pub(super) fn keyword_form(args: &KeywordArgs, near: &QueryInputArgs) -> Option<Form> {
    use pb::keywords::Operator;
    let field = args.field.clone();
    if let Some(text) = &args.keywords {
        let operator = if args.all_words { Operator::All } else { Operator::Any };
        return Some(Form::Keywords(pb::Keywords { text: text.clone(), field, operator: operator.into() }));
    }
    let text = near.text.as_ref().filter(|_| args.hybrid)?;
    Some(Form::Hybrid(pb::Hybrid { text: text.clone(), field, keyword_weight: args.keyword_weight }))
}

/// Builds the query from the arguments, if one is given.
pub(super) fn input_form(near: &QueryInputArgs) -> anyhow::Result<Option<Form>> {
    Ok(if let Some(text) = &near.text {
        Some(Form::Text(text.clone()))
    } else if let Some(path) = &near.image {
        Some(Form::Image(read_image(path).map_err(anyhow::Error::msg)?.into()))
    } else {
        near.vector.as_ref().map(|numbers| Form::Vector(remote::vector(&numbers.0)))
    })
}

fn print_table(args: &QueryArgs, answer: pb::SearchResponse) -> anyhow::Result<()> {
    let mut head = vec!["rank", "score", "distance", "id", "payload"];
    if args.vector_out {
        head.push("vector");
    }
    let mut table = Table::new(&head);
    for (rank, hit) in answer.hits.into_iter().enumerate() {
        let payload = remote::payload_of(hit.payload, &hit.payload_json)?;
        let text =
            if args.payload { Value::Object(payload).to_string() } else { brief(&remote::summary(&payload), 80) };
        let mut row = vec![
            (rank + 1).to_string(),
            format!("{:.4}", hit.score),
            format!("{:.4}", hit.distance),
            brief(&hit.id, 60),
            text,
        ];
        if args.vector_out {
            row.push(join(&remote::numbers(hit.vector.as_ref())));
        }
        table.row(row);
    }
    table.print()?;
    if let Some(stats) = answer.stats {
        output::line(&cost(&stats))?;
    }
    Ok(())
}

/// Formats as `by graph (ef 100), 1,234 distances, 0.35 ms; text@0123456789ab`.
fn cost(stats: &pb::SearchStats) -> String {
    let path = match stats.path() {
        pb::Path::Graph => format!("by graph (ef {})", stats.ef_used),
        pb::Path::Mixed => format!("by graph and scan (ef {})", stats.ef_used),
        pb::Path::Exact => "by exact scan".into(),
        pb::Path::FilterScan => "by scan of the matches".into(),
        pb::Path::Keywords => "by keywords".into(),
        pb::Path::Fusion => {
            let candidates: u32 = stats.parts.iter().map(|part| part.candidates).sum();
            format!("by fusion of {} queries with {candidates} candidates", stats.parts.len())
        }
        pb::Path::Unspecified => "by an unknown path".into(),
    };
    let mut text = format!(
        "{path}, {} distances, {:.2} ms",
        super::progress::count(stats.distances_computed),
        stats.search_us as f64 / 1e3
    );
    if let Some(recall) =
        stats.expected_recall.filter(|_| !matches!(stats.path(), pb::Path::Exact | pb::Path::Keywords))
    {
        text += &format!(", expected recall {recall:.3}");
    }
    if stats.recall_unmeasured {
        text += ", recall not measured yet";
    }
    if let Some(matches) = stats.filter_matches {
        text += &format!(", {} points match", super::progress::count(matches));
    }
    if stats.lost_segments > 0 {
        text += &format!(", WITHOUT the damaged rows of {} segments", stats.lost_segments);
    }
    if stats.embed_us > 0 {
        text += &format!(" and {:.2} ms to embed", stats.embed_us as f64 / 1e3);
    }
    if let Some(start) = stats.embedder_fingerprint.get(..12) {
        text += &format!("; embedder {start}");
    }
    text
}

fn print_json(args: &QueryArgs, answer: pb::SearchResponse) -> anyhow::Result<()> {
    let hits = answer
        .hits
        .into_iter()
        .map(|hit| {
            let mut object = Map::new();
            object.insert("id".into(), hit.id.into());
            object.insert("distance".into(), json!(hit.distance));
            object.insert("score".into(), json!(hit.score));
            remote::add_fields(&mut object, hit.payload, &hit.payload_json, hit.vector.as_ref(), &hit.vectors)?;
            Ok(Value::Object(object))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let stats = answer.stats.map(|stats| {
        json!({
            "path": path_name(stats.path()),
            "ef_used": stats.ef_used,
            "distances_computed": stats.distances_computed,
            "growing_distances": stats.growing_distances,
            "segments_by_graph": stats.segments_by_graph,
            "segments_by_scan": stats.segments_by_scan,
            "expected_recall": stats.expected_recall,
            "recall_unmeasured": stats.recall_unmeasured,
            "embed_us": stats.embed_us,
            "search_us": stats.search_us,
            "embedder_fingerprint": stats.embedder_fingerprint,
            "filter_matches": stats.filter_matches,
            "lost_segments": stats.lost_segments,
            "parts": stats.parts.iter().map(|part| json!({
                "query": part.query,
                "candidates": part.candidates,
                "path": path_name(part.path()),
                "ef_used": part.ef_used,
                "expected_recall": part.expected_recall,
            })).collect::<Vec<_>>(),
        })
    });
    output::json(&json!({
        "collection": args.collection.as_str(),
        "hits": hits,
        "stats": stats,
        "unknown_fields": answer.unknown_fields,
    }))?;
    Ok(())
}

fn path_name(path: pb::Path) -> String {
    path.as_str_name().trim_start_matches("PATH_").to_ascii_lowercase()
}

/// Formats numbers separated by commas, as `--vector` accepts them.
pub(super) fn join(numbers: &[f32]) -> String {
    numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_search_is_one_line() {
        let stats = pb::SearchStats {
            path: pb::Path::Graph.into(),
            ef_used: 100,
            distances_computed: 1_234,
            search_us: 350,
            embedder_fingerprint: "0123456789abcdef".into(),
            ..Default::default()
        };
        assert_eq!(cost(&stats), "by graph (ef 100), 1,234 distances, 0.35 ms; embedder 0123456789ab");
        let stats = pb::SearchStats { expected_recall: Some(0.9512), embedder_fingerprint: String::new(), ..stats };
        assert_eq!(cost(&stats), "by graph (ef 100), 1,234 distances, 0.35 ms, expected recall 0.951");
        let stats = pb::SearchStats { expected_recall: None, recall_unmeasured: true, ..stats };
        assert_eq!(cost(&stats), "by graph (ef 100), 1,234 distances, 0.35 ms, recall not measured yet");
    }

    #[test]
    fn vectors_are_printed_in_the_input_format() {
        assert_eq!(join(&[1.0, -2.5]), "1,-2.5");
    }
}
