//! Text fields on the command line: `nearness collections add-field`, `drop-field`, and `nearness analyze`.

use super::common_args::ServerArgs;
use super::config;
use super::output::{self, Table};
use super::remote::{self, refusal};
use crate::grpc::pb;
use crate::types::CollectionName;
use clap::Args;
use serde_json::{Value, json};

/// `collections add-field`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness collections add-field films plot --path plot --path title --language english\n\n\
                  Keyword queries find words in the field. Its indexes are built in the background."
)]
pub(crate) struct AddFieldArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) name: CollectionName,
    /// Name of the new field.
    pub(crate) field: String,
    /// Payload path of a text; may be repeated.
    #[arg(long = "path", value_name = "PATH", required = true)]
    pub(crate) paths: Vec<String>,
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
    let text = pb::TextField {
        paths: args.paths.clone(),
        language: args.language.clone(),
        stop_words: args.stop_words.clone(),
        fold_accents: args.fold_accents,
        k1: args.k1,
        b: args.b,
    };
    let field = pb::Field { name: args.field.clone(), kind: Some(pb::field::Kind::Text(text)) };
    let request = pb::AddFieldRequest { collection: args.name.as_str().into(), field: Some(field) };
    let response =
        remote::block_on(async { remote::connect(&args.server).await?.add_field(request).await.map_err(refusal) })?;
    Ok(response.collection)
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
    let Some(pb::field::Kind::Text(text)) = &field.kind else { return field.name.clone() };
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

/// Formats a field as JSON.
pub(super) fn field_json(field: &pb::Field) -> Value {
    let Some(pb::field::Kind::Text(text)) = &field.kind else { return json!({ "name": field.name }) };
    json!({
        "name": field.name,
        "paths": text.paths,
        "language": text.language,
        "stop_words": text.stop_words,
        "fold_accents": text.fold_accents,
        "k1": text.k1,
        "b": text.b,
    })
}
