//! `nearness embed`, `embedders`, `words`, `fill`, `next-token` and `classify`: direct use of a server's embedders.

use super::common_args::ServerArgs;
use super::config::{self, EmbedderSpec};
use super::load::read_image;
use super::output::{self, Table, brief};
use super::query::join;
use super::remote::{self, refusal};
use crate::grpc::pb;
use anyhow::Context;
use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use std::path::PathBuf;

/// `embed`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("input").required(true).args(["texts", "images"]),
    after_help = "Examples:\n  nearness embed text 'a sentence' 'another one' --json\n  \
                  nearness embed digits:features --image seven.png"
)]
pub(crate) struct EmbedArgs {
    /// Embedder, optionally followed by a colon and an output.
    #[arg(value_name = "EMBEDDER[:OUTPUT]", value_parser = config::embedder_spec)]
    pub(crate) embedder: EmbedderSpec,
    /// Texts to embed.
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// Image file to embed; may be repeated.
    #[arg(long = "image", value_name = "FILE", conflicts_with = "texts")]
    pub(crate) images: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `embedders`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearness embedders\n  nearness embedders digits")]
pub(crate) struct EmbeddersArgs {
    /// Name of an embedder to show with its model card.
    pub(crate) name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `words`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearness words alligator\n  nearness words king woman --minus man")]
pub(crate) struct WordsArgs {
    /// Words to add.
    #[arg(value_name = "WORD", required = true)]
    pub(crate) plus: Vec<String>,
    /// Word to subtract; may be repeated.
    #[arg(long, value_name = "WORD")]
    pub(crate) minus: Vec<String>,
    /// Number of words.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Word embedder.
    #[arg(long, default_value = "words")]
    pub(crate) embedder: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `fill`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearness fill 'the ___ cat'\n  nearness fill '___ black ___' -k 5")]
pub(crate) struct FillArgs {
    /// Text with one ___, or a word between two.
    pub(crate) pattern: String,
    /// Number of words per blank.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Word embedder.
    #[arg(long, default_value = "words")]
    pub(crate) embedder: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `classify`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness classify seven.png")]
pub(crate) struct ClassifyArgs {
    /// PNG, JPEG, BMP or WebP of any size, or 784 raw bytes.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// Digit embedder.
    #[arg(long, default_value = "digits")]
    pub(crate) embedder: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Prints the vectors of texts or images.
pub(super) fn embed(args: EmbedArgs) -> anyhow::Result<()> {
    let mut inputs = Vec::new();
    for text in &args.texts {
        inputs.push(pb::EmbedInput { form: Some(pb::embed_input::Form::Text(text.clone())) });
    }
    for path in &args.images {
        let image = read_image(path).map_err(anyhow::Error::msg)?;
        inputs.push(pb::EmbedInput { form: Some(pb::embed_input::Form::Image(image.into())) });
    }
    let request = pb::EmbedRequest { embedder: args.embedder.embedder, output: args.embedder.output, inputs };
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.embed(request).await.map_err(refusal)
    })?;
    let vectors = response.vectors.iter().map(|vector| remote::numbers(Some(vector))).collect::<Vec<_>>();
    if args.json {
        output::json(&json!({ "vectors": vectors, "embedder_fingerprint": response.embedder_fingerprint }))?;
    } else {
        for vector in vectors {
            output::line(&join(&vector))?;
        }
    }
    Ok(())
}

/// Prints the embedders of a server, or one of them with its card.
pub(super) fn embedders(args: EmbeddersArgs) -> anyhow::Result<()> {
    let (embedders, one) = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        Ok(match args.name {
            None => (client.list_embedders(pb::ListEmbeddersRequest {}).await.map_err(refusal)?.embedders, false),
            Some(name) => {
                let response = client.embedder(pb::GetEmbedderRequest { name }).await.map_err(refusal)?;
                (vec![response.embedder.context("the response of the server has no embedder")?], true)
            }
        })
    })?;
    if args.json {
        let list = embedders.iter().map(embedder_json).collect::<Vec<_>>();
        output::json(&match (one, list.into_iter().collect::<Vec<_>>()) {
            (true, mut list) => list.pop().unwrap_or(Value::Null),
            (false, list) => Value::Array(list),
        })?;
        return Ok(());
    }
    let mut table = Table::new(&["embedder", "output", "dimension", "reads", "fingerprint", "about"]);
    for embedder in &embedders {
        for output in &embedder.outputs {
            table.row(vec![
                embedder.name.clone(),
                output.name.clone(),
                output.dimension.to_string(),
                embedder.modality.clone(),
                embedder.fingerprint.chars().take(12).collect(),
                output.about.clone(),
            ]);
        }
    }
    table.print()?;
    if one {
        for embedder in &embedders {
            output::lines(&format!("\n{}", output::escaped_json(&embedder.card_json)))?;
        }
    }
    Ok(())
}

pub(super) fn embedder_json(embedder: &pb::Embedder) -> Value {
    json!({
        "name": embedder.name,
        "fingerprint": embedder.fingerprint,
        "modality": embedder.modality,
        "outputs": embedder.outputs.iter().map(|output| json!({
            "name": output.name,
            "dimension": output.dimension,
            "about": output.about,
        })).collect::<Vec<_>>(),
        "card": serde_json::from_str::<Value>(&embedder.card_json).unwrap_or(Value::Null),
    })
}

/// Prints the nearest words.
pub(super) fn words(args: WordsArgs) -> anyhow::Result<()> {
    let request = pb::NearestWordsRequest { embedder: args.embedder, plus: args.plus, minus: args.minus, k: args.k };
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.nearest_words(request).await.map_err(refusal)
    })?;
    if args.json {
        output::json(
            &json!({ "words": scored(&response.words), "embedder_fingerprint": response.embedder_fingerprint }),
        )?;
    } else {
        word_table("score", &response.words).print()?;
    }
    Ok(())
}

/// Prints the words that fill a blank.
pub(super) fn fill(args: FillArgs) -> anyhow::Result<()> {
    let request = pb::FillBlankRequest { embedder: args.embedder, pattern: args.pattern, k: args.k };
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.fill_blank(request).await.map_err(refusal)
    })?;
    if args.json {
        let blanks = response.blanks.iter().map(|blank| scored(&blank.words)).collect::<Vec<_>>();
        output::json(&json!({ "blanks": blanks, "embedder_fingerprint": response.embedder_fingerprint }))?;
        return Ok(());
    }
    let several = response.blanks.len() > 1;
    for (index, blank) in response.blanks.iter().enumerate() {
        if several {
            output::line(&format!("blank {}:", index + 1))?;
        }
        word_table("probability", &blank.words).print()?;
    }
    Ok(())
}

fn scored(words: &[pb::ScoredWord]) -> Vec<Value> {
    words.iter().map(|word| json!({ "word": word.word, "score": word.score })).collect()
}

fn word_table(score: &'static str, words: &[pb::ScoredWord]) -> Table {
    let mut table = Table::new(&["word", score]);
    for word in words {
        table.row(vec![brief(&word.word, 60), format!("{:.4}", word.score)]);
    }
    table
}

/// `next-token`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness next-token 'The ship was sunk by a' --embedder gpt -k 5\n\n\
                  The server needs a language model: `serve --model` with a folder of `train gpt` or `import gpt`.")]
pub(crate) struct NextTokenArgs {
    /// Text to continue.
    pub(crate) text: String,
    /// Number of tokens.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Language model.
    #[arg(long, default_value = "gpt")]
    pub(crate) embedder: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Prints the most probable next tokens.
pub(super) fn next_token(args: NextTokenArgs) -> anyhow::Result<()> {
    let request = pb::NextTokenRequest { embedder: args.embedder, text: args.text, k: args.k };
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.next_token(request).await.map_err(refusal)
    })?;
    if args.json {
        let tokens = response
            .tokens
            .iter()
            .map(|token| json!({ "text": token.text, "token": token.token, "probability": token.probability }))
            .collect::<Vec<_>>();
        output::json(&json!({ "tokens": tokens, "embedder_fingerprint": response.embedder_fingerprint }))?;
        return Ok(());
    }
    let mut table = Table::new(&["text", "token", "probability"]);
    for token in &response.tokens {
        // Most tokens begin with a space; quotes make it visible.
        table.row(vec![format!("{:?}", token.text), token.token.to_string(), format!("{:.4}", token.probability)]);
    }
    table.print()?;
    Ok(())
}

/// Prints the probabilities of the digits.
pub(super) fn classify(args: ClassifyArgs) -> anyhow::Result<()> {
    let image = read_image(&args.image).map_err(anyhow::Error::msg)?;
    let request = pb::ClassifyRequest { embedder: args.embedder, image: image.into() };
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.classify(request).await.map_err(refusal)
    })?;
    if args.json {
        let classes = response
            .classes
            .iter()
            .map(|class| json!({ "label": class.label, "probability": class.probability }))
            .collect::<Vec<_>>();
        output::json(&json!({ "classes": classes, "embedder_fingerprint": response.embedder_fingerprint }))?;
        return Ok(());
    }
    let mut classes = response.classes;
    classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let mut table = Table::new(&["digit", "probability"]);
    for class in &classes {
        table.row(vec![class.label.clone(), format!("{:.4}", class.probability)]);
    }
    table.print()?;
    Ok(())
}
