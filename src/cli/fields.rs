//! Fields on the command line: `nearness collections add-field`, `drop-field`, and `nearness analyze`.

use super::common_args::ServerArgs;
use super::config;
use super::output::{self, Table};
use super::remote::{self, refusal};
use crate::api::VectorField;
use crate::grpc::pb;
use crate::types::{CollectionName, Metric, Precision};
use clap::{ArgGroup, Args};
use pb::vector_field::Kind;
use serde_json::{Value, json};

/// Arguments of text fields.
const TEXT_ONLY: [&str; 5] = ["language", "stop_words", "fold_accents", "k1", "b"];

/// `collections add-field`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("kind").required(true).args(["paths", "dense", "sparse", "multi"]),
    after_help = "Examples:\n  nearness collections add-field films plot --path plot --path title --language english\n  \
                  nearness collections add-field films poster --dense 512 --metric dot\n  \
                  nearness collections add-field films splade --sparse\n  \
                  nearness collections add-field films tokens --multi 128 --precision f16\n\n\
                  Keyword queries find words in a text field. Points may have a vector in a vector field, or not. Indexes\n\
                  are built in the background."
)]
pub(crate) struct AddFieldArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) name: CollectionName,
    /// Name of the new field.
    pub(crate) field: String,
    /// A text field: payload path of a text; may be repeated.
    #[arg(long = "path", value_name = "PATH")]
    pub(crate) paths: Vec<String>,
    /// A vector field: one vector per point, with this number of components.
    #[arg(long, value_name = "DIMENSION", conflicts_with_all = TEXT_ONLY)]
    pub(crate) dense: Option<u32>,
    /// A vector field: sparse vectors, compared by the dot product.
    #[arg(long, conflicts_with_all = TEXT_ONLY)]
    pub(crate) sparse: bool,
    /// A vector field: several vectors per point (MaxSim), with this number of components.
    #[arg(long, value_name = "DIMENSION", conflicts_with_all = TEXT_ONLY)]
    pub(crate) multi: Option<u32>,
    /// Metric of a vector field [default: cosine]
    #[arg(long, value_parser = config::metric, conflicts_with_all = ["paths", "sparse"])]
    pub(crate) metric: Option<Metric>,
    /// Precision of the stored components of a vector field [default: f32]
    #[arg(long, value_parser = config::precision, conflicts_with_all = ["paths", "sparse"])]
    pub(crate) precision: Option<Precision>,
    /// Links per graph node of a dense field [default: that of the collection]
    #[arg(long, requires = "dense")]
    pub(crate) m: Option<u32>,
    /// Candidate list size while building the graphs of a dense field [default: that of the collection]
    #[arg(long, requires = "dense")]
    pub(crate) ef_construction: Option<u32>,
    /// Candidate list size of a search of a dense field [default: that of the collection]
    #[arg(long, requires = "dense")]
    pub(crate) ef_search: Option<u32>,
    /// Language of the stemmer, such as english; words are not stemmed without it.
    #[arg(long, value_name = "LANGUAGE", default_value = "")]
    pub(crate) language: String,
    /// Word to leave out; may be repeated.
    #[arg(long = "stop-word", value_name = "WORD")]
    pub(crate) stop_words: Vec<String>,
    /// Remove accents: café and cafe are the same.
    #[arg(long)]
    pub(crate) fold_accents: bool,
    /// Saturation of the term frequency (BM25), 0 to 100 [default: 1.2]
    #[arg(long)]
    pub(crate) k1: Option<f32>,
    /// Normalization by length (BM25), 0 to 1 [default: 0.75]
    #[arg(long)]
    pub(crate) b: Option<f32>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `collections drop-field`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness collections drop-field films plot")]
pub(crate) struct DropFieldArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) name: CollectionName,
    /// Name of the field.
    pub(crate) field: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `analyze`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness analyze paragraphs 'Running in the rain'")]
pub(crate) struct AnalyzeArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Text.
    #[arg(allow_hyphen_values = true)]
    pub(crate) text: String,
    /// Text field [default: the only one]
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) field: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Adds a field; returns the collection.
pub(super) fn add(args: &AddFieldArgs) -> anyhow::Result<Option<pb::Collection>> {
    let field = args.field.clone();
    let vector = match (args.dense, args.sparse, args.multi) {
        (Some(dimension), ..) => Some(VectorField::dense(field, dimension)),
        (_, true, _) => Some(VectorField::sparse(field)),
        (.., Some(dimension)) => Some(VectorField::multi(field, dimension)),
        _ => None,
    };
    let field = match vector {
        None => text_field(args),
        Some(field) => {
            let or_default = |value: Option<u32>| value.unwrap_or(0);
            let field = args.metric.map_or(field.clone(), |metric| field.metric(metric));
            let field = field.precision(args.precision.unwrap_or_default());
            let (m, ef_construction) = (or_default(args.m), or_default(args.ef_construction));
            crate::grpc::field_message(field.graph(m, ef_construction, or_default(args.ef_search)).into())
        }
    };
    let request = pb::AddFieldRequest { collection: args.name.as_str().into(), field: Some(field) };
    let response =
        remote::block_on(async { remote::connect(&args.server).await?.add_field(request).await.map_err(refusal) })?;
    Ok(response.collection)
}

fn text_field(args: &AddFieldArgs) -> pb::Field {
    let text = pb::TextField {
        paths: args.paths.clone(),
        language: args.language.clone(),
        stop_words: args.stop_words.clone(),
        fold_accents: args.fold_accents,
        k1: args.k1,
        b: args.b,
    };
    pb::Field { name: args.field.clone(), kind: Some(pb::field::Kind::Text(text)) }
}

/// Drops a field; returns the collection.
pub(super) fn remove(args: &DropFieldArgs) -> anyhow::Result<Option<pb::Collection>> {
    let request = pb::DropFieldRequest { collection: args.name.as_str().into(), field: args.field.clone() };
    let response =
        remote::block_on(async { remote::connect(&args.server).await?.drop_field(request).await.map_err(refusal) })?;
    Ok(response.collection)
}

/// Prints the terms of a text.
pub(super) fn analyze(args: AnalyzeArgs) -> anyhow::Result<()> {
    let request =
        pb::AnalyzeRequest { collection: args.collection.as_str().into(), field: args.field, text: args.text };
    let response =
        remote::block_on(async { remote::connect(&args.server).await?.analyze(request).await.map_err(refusal) })?;
    if args.json {
        let token = |token: &pb::AnalyzedToken| json!({ "term": token.term, "position": token.position, "start": token.start, "end": token.end });
        output::json(&Value::Array(response.tokens.iter().map(token).collect()))?;
        return Ok(());
    }
    let mut table = Table::new(&["position", "term", "bytes"]);
    for token in response.tokens {
        let bytes = format!("{}..{}", token.start, token.end);
        table.row(vec![token.position.to_string(), output::escaped(&token.term).into_owned(), bytes]);
    }
    table.print()?;
    Ok(())
}

/// Formats a field in one line.
pub(super) fn describe(field: &pb::Field) -> String {
    let text = match &field.kind {
        Some(pb::field::Kind::Text(text)) => text,
        Some(pb::field::Kind::Vector(vector)) => return describe_vector(&field.name, vector),
        None => return field.name.clone(),
    };
    let mut line = format!("{}: text of {}", field.name, text.paths.join(", "));
    if !text.language.is_empty() {
        line += &format!(", {} stems", text.language);
    }
    if !text.stop_words.is_empty() {
        line += &format!(", {} stop words", text.stop_words.len());
    }
    if text.fold_accents {
        line += ", without accents";
    }
    line + &format!(", k1 {}, b {}", text.k1.unwrap_or_default(), text.b.unwrap_or_default())
}

fn kind_name(kind: Kind) -> String {
    kind.as_str_name().to_ascii_lowercase()
}

fn describe_vector(name: &str, field: &pb::VectorField) -> String {
    let kind = kind_name(field.kind());
    if field.kind() == Kind::Sparse {
        return format!("{name}: {kind} vectors");
    }
    let mut line = format!("{name}: {kind} vectors of {}", field.dimension);
    if let Some(metric) = remote::metric_of(field.metric()) {
        line += &format!(", {}", metric.name());
    }
    line += &format!(", {}", Precision::from(field.precision()).name());
    for (part, value) in [("m", field.m), ("ef_construction", field.ef_construction), ("ef_search", field.ef_search)] {
        if value > 0 {
            line += &format!(", {part} {value}");
        }
    }
    line
}

/// Formats a field as JSON.
pub(super) fn field_json(field: &pb::Field) -> Value {
    let text = match &field.kind {
        Some(pb::field::Kind::Text(text)) => text,
        Some(pb::field::Kind::Vector(vector)) => {
            return json!({
                "name": field.name,
                "kind": kind_name(vector.kind()),
                "dimension": vector.dimension,
                "metric": remote::metric_of(vector.metric()).map(Metric::name),
                "precision": Precision::from(vector.precision()).name(),
                "m": vector.m,
                "ef_construction": vector.ef_construction,
                "ef_search": vector.ef_search,
            });
        }
        None => return json!({ "name": field.name }),
    };
    json!({
        "name": field.name,
        "kind": "text",
        "paths": text.paths,
        "language": text.language,
        "stop_words": text.stop_words,
        "fold_accents": text.fold_accents,
        "k1": text.k1,
        "b": text.b,
    })
}
