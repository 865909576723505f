//! `nearness update-vectors`: replaces vectors of existing points and keeps their payloads.

use super::common_args::{QueryInputArgs, ServerArgs};
use super::config;
use super::load::{Files, Format, ReadOptions, Records, item_message};
use super::output;
use super::points::listed;
use super::query::input_form;
use super::remote::{self, Client, refusal};
use crate::grpc::pb;
use crate::types::CollectionName;
use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use pb::item::Source;
use pb::query::Form;
use prost::Message;
use serde_json::json;
use std::path::PathBuf;

/// `update-vectors`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("source").required(true).args(["text", "image", "vector", "files"]),
    after_help = "Examples:\n  nearness update-vectors points p7 --vector '0.1,0.2,0.3'\n  \
                  nearness update-vectors paragraphs 339:1 --text 'a war over salt'\n  \
                  nearness update-vectors points --file vectors.jsonl\n\n\
                  Ids without a point are listed and not created. A text or an image is embedded and stored in the payload.\n\
                  The files have the formats of `load`; their records have ids, and no fields besides the vector, text or image.\n\
                  The first invalid record ends the command; the batches before it are written."
)]
pub(crate) struct UpdateVectorsArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Id of the point.
    #[arg(
        value_name = "ID",
        allow_negative_numbers = true,
        required_unless_present = "files",
        conflicts_with = "files"
    )]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) new: QueryInputArgs,
    /// Read ids and vectors from this file; can be repeated.
    #[arg(long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Format of the files, if it cannot be detected from the content.
    #[arg(long, value_enum, requires = "files")]
    pub(crate) format: Option<Format>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Maximum number of items per request.
const BATCH: usize = 1_000;
/// Number of bytes from which a request is sent.
const BATCH_BYTES: usize = 2 << 20;
/// Maximum number of missing ids that are listed.
const MAX_MISSING: usize = 1_000;

/// Result of all requests.
#[derive(Default)]
struct Done {
    updated: u64,
    unchanged: u64,
    missing: u64,
    /// The first missing ids.
    missing_ids: Vec<String>,
    sequence: u64,
}

/// Sends one write.
async fn send(client: &Client, collection: &str, items: Vec<pb::Item>, done: &mut Done) -> anyhow::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let request = pb::UpdateVectorsRequest { collection: collection.to_owned(), items };
    let response = client.update_vectors(request).await.map_err(refusal)?;
    done.updated += response.updated;
    done.unchanged += response.unchanged;
    done.missing += response.missing.len() as u64;
    let room = MAX_MISSING - done.missing_ids.len();
    done.missing_ids.extend(response.missing.into_iter().take(room));
    done.sequence = response.sequence;
    Ok(())
}

async fn send_files(client: &Client, args: &UpdateVectorsArgs, done: &mut Done) -> anyhow::Result<()> {
    let name = args.collection.as_str();
    let request = pb::GetCollectionRequest { name: name.to_owned() };
    let collection = client.collection(request).await.map_err(refusal)?.collection.context("no collection")?;
    let options = ReadOptions { pixels_as_vectors: collection.embedder.is_none(), ..ReadOptions::default() };
    let mut files = Files::new(&args.files, args.format, &[], options)?;
    let (mut items, mut bytes) = (Vec::new(), 0);
    while let Some(item) = files.next() {
        let item = match item {
            Ok(item) if !item.payload.is_empty() => {
                let fields = item.payload.keys().take(3).cloned().collect::<Vec<_>>().join(", ");
                bail!(
                    "{}: has fields besides its vector, text or image ({fields}); remove them, or change payloads with \
                     update-payload",
                    files.file_position()
                );
            }
            Ok(item) => item_message(item),
            Err(error) => return Err(error.into()),
        };
        bytes += item.encoded_len();
        items.push(item);
        if items.len() == BATCH || bytes >= BATCH_BYTES {
            bytes = 0;
            send(client, name, std::mem::take(&mut items), done).await?;
        }
    }
    send(client, name, items, done).await
}

pub(super) fn run(args: UpdateVectorsArgs) -> anyhow::Result<()> {
    let mut done = Done::default();
    let result = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        let Some(id) = &args.id else { return send_files(&client, &args, &mut done).await };
        let source = match input_form(&args.new)? {
            Some(Form::Text(text)) => Source::Text(text),
            Some(Form::Image(image)) => Source::Image(image),
            Some(Form::Vector(vector)) => Source::Vector(vector),
            _ => bail!("give --vector, --text or --image"),
        };
        let item = pb::Item { id: id.clone(), source: Some(source), ..Default::default() };
        send(&client, args.collection.as_str(), vec![item], &mut done).await
    });
    if done.sequence == 0 {
        return result;
    }
    let result = result.with_context(|| format!("stopped after {} updated points", done.updated));
    if args.json {
        output::json(&json!({
            "updated": done.updated,
            "unchanged": done.unchanged,
            "missing": done.missing_ids,
            "missing_count": done.missing,
            "sequence": done.sequence,
        }))?;
    } else {
        output::line(&format!("updated {}, of which unchanged {}", done.updated, done.unchanged))?;
        if done.missing > 0 {
            let more = done.missing - done.missing_ids.len() as u64;
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            output::line(&format!("not there: {}{more}", listed(&done.missing_ids)))?;
        }
    }
    result
}
