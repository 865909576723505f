//! `nearness collections`: list, get, create, update, rename, delete, compact, and change of the embedder: reembed, rollback,
//! drop-previous.

use super::alias::{self, RenameArgs};
use super::common_args::ServerArgs;
use super::config::{self, EmbedderSpec};
use super::fields::{self, AddFieldArgs, DropFieldArgs};
use super::output::{self, Table};
use super::progress::{Progress, Step, bytes, count};
use super::remote::{self, refusal};
use crate::api::{CollectionSpec, IndexSettings, MAX_TTL_SECONDS, Ttl, VectorSource};
use crate::grpc::{GenerationState, ResponseStream, pb};
use crate::types::{CollectionName, Metric, Precision};
use anyhow::Context;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

/// `collections ...`
#[derive(Debug, Subcommand)]
pub(crate) enum CollectionsCommand {
    /// List all collections.
    #[command(after_help = "Example:\n  nearness collections list")]
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one collection: counts, segments, mapped and resident bytes, embedder.
    #[command(after_help = "Example:\n  nearness collections get paragraphs")]
    Get(NamedArgs),
    /// Create an empty collection.
    Create(CreateArgs),
    /// Add a text field for keyword queries, or a vector field.
    AddField(AddFieldArgs),
    /// Drop a field. Payloads stay.
    DropField(DropFieldArgs),
    /// Change settings of a collection: the expiry of its points.
    Update(UpdateArgs),
    /// Delete a collection with all its points.
    #[command(after_help = "Example:\n  nearness collections delete scratch")]
    Delete(NamedArgs),
    /// Flush growing points, merge segments, and wait until every segment has its graph.
    #[command(after_help = "Example:\n  nearness collections compact paragraphs")]
    Compact(NamedArgs),
    /// Re-embed a collection with another embedder while it is being served; the previous generation is kept.
    #[command(after_help = "Example:\n  nearness collections reembed notes --embedder text\n\n\
                      Points are embedded from the field \"text\" of their payload, or \"image\" (base64). `rollback` returns to\n\
                      the previous generation, with all writes since; `drop-previous` deletes it and frees its space.")]
    Reembed(ReembedArgs),
    /// Return to the previous generation, including all later writes.
    #[command(after_help = "Example:\n  nearness collections rollback notes")]
    Rollback(NamedArgs),
    /// Delete the previous generation.
    #[command(after_help = "Example:\n  nearness collections drop-previous notes")]
    DropPrevious(NamedArgs),
    /// Rename a collection.
    Rename(RenameArgs),
}

/// `collections reembed`
#[derive(Debug, Args)]
pub(crate) struct ReembedArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) name: CollectionName,
    /// Embedder of the server: NAME, or NAME@FINGERPRINT with the first 8 digits or more.
    #[arg(long, value_name = "EMBEDDER[:OUTPUT]", value_parser = config::embedder_spec)]
    pub(crate) embedder: EmbedderSpec,
    /// Use the text or image in each payload as the source of its point without verification: for a collection whose
    /// embedder is no longer available.
    #[arg(long)]
    pub(crate) trust_payload: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of a command on one collection.
#[derive(Debug, Args)]
pub(crate) struct NamedArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) name: CollectionName,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Expiry of points.
#[derive(Debug, Args)]
pub(crate) struct TtlArgs {
    /// Delete a point this many seconds after the time in its payload.
    #[arg(long, value_name = "SECONDS", requires = "ttl_path", value_parser = clap::value_parser!(u64).range(1..=MAX_TTL_SECONDS))]
    pub(crate) ttl_seconds: Option<u64>,
    /// Payload path of the time: RFC 3339 text, or microseconds since 1970.
    #[arg(long, value_name = "PATH", requires = "ttl_seconds")]
    pub(crate) ttl_path: Option<String>,
    /// Store the time of the write in items without a time.
    #[arg(long, requires = "ttl_seconds")]
    pub(crate) ttl_stamp: bool,
}

impl TtlArgs {
    fn ttl(&self) -> Option<Ttl> {
        let (path, seconds) = (self.ttl_path.clone()?, self.ttl_seconds?);
        Some(Ttl::new(path, seconds).stamp(self.ttl_stamp))
    }
}

/// `collections update`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("expiry").required(true).args(["ttl_seconds", "no_ttl"]),
    after_help = "Examples:\n  nearness collections update sessions --ttl-seconds 86400 --ttl-path seen --ttl-stamp\n  \
                  nearness collections update sessions --no-ttl"
)]
pub(crate) struct UpdateArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) name: CollectionName,
    #[command(flatten)]
    pub(crate) ttl: TtlArgs,
    /// Keep points forever.
    #[arg(long)]
    pub(crate) no_ttl: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `collections create`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("space").required(true).args(["dimension", "embedder", "no_vectors"]),
    after_help = "Examples:\n  nearness collections create notes --embedder text\n  nearness collections create sift --dimension 128 --metric l2 --m 24\n  nearness collections create films --no-vectors"
)]
pub(crate) struct CreateArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) name: CollectionName,
    /// Number of components, for a collection of plain vectors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) dimension: Option<u32>,
    /// Embedder of the collection: EMBEDDER or EMBEDDER:OUTPUT.
    #[arg(long, value_name = "EMBEDDER[:OUTPUT]", value_parser = config::embedder_spec)]
    pub(crate) embedder: Option<EmbedderSpec>,
    /// No vectors of its own: a collection of payloads, and of vectors in vector fields (see `add-field`).
    #[arg(long)]
    pub(crate) no_vectors: bool,
    /// Accept points without a vector.
    #[arg(long)]
    pub(crate) optional_vectors: bool,
    /// Store the points of a tenant together: the path of the tenant, a string or an integer, in the payload.
    #[arg(long, value_name = "PATH")]
    pub(crate) tenant: Option<String>,
    /// Distance metric: cosine, dot or l2.
    #[arg(long, default_value = "cosine", value_parser = config::metric)]
    pub(crate) metric: Metric,
    /// Links per graph node (HNSW M) [default: the server's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=128))]
    pub(crate) m: Option<u32>,
    /// Candidate list size while building (ef_construction) [default: the server's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) ef_construction: Option<u32>,
    /// Candidate list size while searching (ef) [default: the server's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) ef_search: Option<u32>,
    /// Number of growing points that are sealed into a segment [default: the server's]
    #[arg(long, value_name = "N")]
    pub(crate) seal_rows: Option<u32>,
    /// Precision of stored components: f32, f16 or i8 [default: f32]
    #[arg(long, value_parser = config::precision)]
    pub(crate) precision: Option<Precision>,
    /// Create no text field: keyword and hybrid queries are then refused.
    #[arg(long)]
    pub(crate) no_keywords: bool,
    #[command(flatten)]
    pub(crate) ttl: TtlArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Runs a subcommand.
pub(super) fn run(command: CollectionsCommand, quiet: bool) -> anyhow::Result<()> {
    match command {
        CollectionsCommand::List { json, server } => list(json, &server),
        CollectionsCommand::Get(args) => get(&args),
        CollectionsCommand::Create(args) => create(&args),
        CollectionsCommand::AddField(args) => show(fields::add(&args)?, args.json),
        CollectionsCommand::DropField(args) => show(fields::remove(&args)?, args.json),
        CollectionsCommand::Update(args) => update(&args),
        CollectionsCommand::Delete(args) => delete(&args),
        CollectionsCommand::Compact(args) => compact(&args),
        CollectionsCommand::Reembed(args) => reembed(&args, quiet),
        CollectionsCommand::Rollback(args) => rollback(&args, quiet),
        CollectionsCommand::DropPrevious(args) => delete_previous_generation(&args),
        CollectionsCommand::Rename(args) => alias::rename_collection(&args),
    }
}

fn list(json: bool, server: &ServerArgs) -> anyhow::Result<()> {
    let collections = remote::block_on(async {
        let client = remote::connect(server).await?;
        Ok(client.list_collections(pb::ListCollectionsRequest::default()).await.map_err(refusal)?.collections)
    })?;
    if json {
        output::json(&json!(collections.iter().map(remote::collection_json).collect::<Vec<_>>()))?;
        return Ok(());
    }
    let mut table = Table::new(&[
        "collection",
        "points",
        "dimension",
        "metric",
        "embedder",
        "segments",
        "mapped",
        "resident",
        "state",
    ]);
    for collection in &collections {
        table.row(vec![
            collection.name.clone(),
            count(collection.points),
            collection.dimension.to_string(),
            metric(collection),
            embedder(collection),
            collection.segments.len().to_string(),
            bytes(collection.mapped_bytes),
            bytes(collection.resident_bytes),
            remote::state(collection),
        ]);
    }
    table.print()?;
    Ok(())
}

fn get(args: &NamedArgs) -> anyhow::Result<()> {
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.collection(pb::GetCollectionRequest { name: args.name.as_str().into() }).await.map_err(refusal)
    })?;
    show(response.collection, args.json)
}

fn create(args: &CreateArgs) -> anyhow::Result<()> {
    let source = match (&args.embedder, args.dimension) {
        (Some(embedder_spec), _) => {
            VectorSource::Embedded { embedder: embedder_spec.embedder.clone(), output: embedder_spec.output.clone() }
        }
        (None, Some(dimension)) => VectorSource::Plain { dimension },
        (None, None) => VectorSource::None,
    };
    let spec = CollectionSpec::new(args.name.clone(), source).metric(args.metric).index(
        IndexSettings::default()
            .m(args.m.unwrap_or(0))
            .ef_construction(args.ef_construction.unwrap_or(0))
            .ef_search(args.ef_search.unwrap_or(0))
            .seal_rows(args.seal_rows.unwrap_or(0))
            .precision(args.precision.unwrap_or_default()),
    );
    let spec = spec.optional_vectors(args.optional_vectors).ttl(args.ttl.ttl());
    let spec = args.tenant.iter().fold(spec, |spec, path| spec.tenant(path));
    let spec = if args.no_keywords { spec.text_fields([]) } else { spec };
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.create_collection(remote::create_collection_request(&spec)).await.map_err(refusal)
    })?;
    show(response.collection, args.json)
}

fn update(args: &UpdateArgs) -> anyhow::Result<()> {
    use pb::update_collection_request::Expiry;
    let expiry = args.ttl.ttl().map_or(Expiry::NoTtl(true), |ttl| Expiry::Ttl(remote::ttl(&ttl)));
    let request = pb::UpdateCollectionRequest { name: args.name.as_str().into(), expiry: Some(expiry) };
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.update_collection(request).await.map_err(refusal)
    })?;
    show(response.collection, args.json)
}

fn delete(args: &NamedArgs) -> anyhow::Result<()> {
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.delete_collection(pb::DeleteCollectionRequest { name: args.name.as_str().into() }).await.map_err(refusal)
    })?;
    if args.json {
        output::json(&json!({ "collection": args.name.as_str(), "points": response.points }))?;
    } else {
        output::line(&format!("deleted {} with {} points", args.name, count(response.points)))?;
    }
    Ok(())
}

fn compact(args: &NamedArgs) -> anyhow::Result<()> {
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.compact(pb::CompactCollectionRequest { name: args.name.as_str().into() }).await.map_err(refusal)
    })?;
    show(response.collection, args.json)
}

/// Re-embeds a collection.
fn reembed(args: &ReembedArgs, quiet: bool) -> anyhow::Result<()> {
    let progress = Progress::start("reembed", "points", quiet);
    let collection = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        let embedder = pb::EmbedderRef { name: args.embedder.embedder.clone(), output: args.embedder.output.clone() };
        let (name, trust_payload) = (args.name.as_str().into(), args.trust_payload);
        let request = pb::ReembedCollectionRequest { name, embedder: Some(embedder), trust_payload };
        follow(client.reembed(request).await.map_err(refusal)?, &progress).await
    })?;
    finish(collection, &progress, args.json)
}

/// Returns to the previous generation.
fn rollback(args: &NamedArgs, quiet: bool) -> anyhow::Result<()> {
    let progress = Progress::start("rollback", "points", quiet);
    let collection = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        let request = pb::RollbackCollectionRequest { name: args.name.as_str().into() };
        follow(client.rollback(request).await.map_err(refusal)?, &progress).await
    })?;
    finish(collection, &progress, args.json)
}

/// Deletes the previous generation.
fn delete_previous_generation(args: &NamedArgs) -> anyhow::Result<()> {
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client
            .delete_previous_generation(pb::DeletePreviousGenerationRequest { name: args.name.as_str().into() })
            .await
            .map_err(refusal)
    })?;
    show(response.collection, args.json)
}

/// Shows the progress; returns the collection.
async fn follow<M: Into<Option<GenerationState>>>(
    mut responses: ResponseStream<M>,
    progress: &Progress,
) -> anyhow::Result<pb::Collection> {
    let mut result = None;
    while let Some(response) = responses.next().await.map_err(refusal)? {
        match response.into() {
            Some(GenerationState::Progress(at)) => {
                let indexing = at.phase() == pb::generation_progress::Phase::Indexing;
                let part = (at.total > 0).then(|| at.done as f64 / at.total as f64);
                let step = Step { done: at.done, total: Some(at.total), part };
                progress.step(step, if indexing { "indexing" } else { "" });
            }
            Some(GenerationState::Collection(collection)) => result = Some(collection),
            None => {}
        }
    }
    result.context("the server ended the stream without a result")
}

fn finish(collection: pb::Collection, progress: &Progress, json: bool) -> anyhow::Result<()> {
    progress.finish(&format!("generation {} in {:.1} s", collection.generation, progress.seconds()));
    show(Some(collection), json)
}

fn show(collection: Option<pb::Collection>, json: bool) -> anyhow::Result<()> {
    let collection = collection.context("the response of the server has no collection")?;
    if json {
        output::json(&remote::collection_json(&collection))?;
        return Ok(());
    }
    let index = collection.index.unwrap_or_default();
    let mut table = Table::new(&["", ""]);
    let mut add = |what: &str, value: String| table.row(vec![what.into(), value]);
    add("collection", collection.name.clone());
    if !collection.aliases.is_empty() {
        add("aliases", collection.aliases.join(", "));
    }
    add("points", count(collection.points));
    let dimension = match (collection.dimension, collection.optional_vectors) {
        (0, _) => "no vectors of its own".to_owned(),
        (dimension, true) => format!("{dimension}; points may have no vector"),
        (dimension, false) => dimension.to_string(),
    };
    add("dimension", dimension);
    add("metric", metric(&collection));
    add("embedder", embedder(&collection));
    if !collection.embedder_fingerprint.is_empty() {
        add("fingerprint", collection.embedder_fingerprint.clone());
    }
    add(
        "index",
        format!(
            "m {}, ef_construction {}, ef_search {}, seal_rows {}, precision {}",
            index.m,
            index.ef_construction,
            index.ef_search,
            index.seal_rows,
            remote::precision(&index)
        ),
    );
    collection.fields.iter().for_each(|field| add("field", fields::describe(field)));
    if let Some(ttl) = &collection.ttl {
        let stamp = if ttl.stamp { ", stamped" } else { "" };
        add("expiry", format!("{} s after {}{stamp}", count(ttl.seconds), ttl.path));
    }
    if !collection.tenant.is_empty() {
        add("tenant", collection.tenant.clone());
    }
    add("growing", count(collection.growing_points));
    add("dead rows", count(collection.deleted_rows));
    add("mapped", bytes(collection.mapped_bytes));
    add("resident", bytes(collection.resident_bytes));
    add("sequence", collection.sequence.to_string());
    add("generation", generation(&collection));
    add("queries", count(collection.queries));
    add("state", remote::state(&collection));
    collection.problems.iter().for_each(|problem| add("problem", problem.clone()));
    table.print()?;
    if !collection.segments.is_empty() {
        let mut table = Table::new(&["segment", "rows", "dead", "graph", "vectors", "graph size"]);
        for segment in &collection.segments {
            table.row(vec![
                segment.id.to_string(),
                count(segment.rows),
                count(segment.deleted_rows),
                if segment.graph { "yes" } else { "no" }.into(),
                bytes(segment.vector_bytes),
                bytes(segment.graph_bytes),
            ]);
        }
        table.print()?;
    }
    Ok(())
}

fn generation(collection: &pb::Collection) -> String {
    match &collection.previous {
        None => collection.generation.to_string(),
        Some(previous) => {
            let pb::EmbedderRef { name, output } = previous.embedder.clone().unwrap_or_default();
            format!("{}; {} by {name}:{output} is kept", collection.generation, previous.generation)
        }
    }
}

fn metric(collection: &pb::Collection) -> String {
    remote::metric(collection).map_or_else(|| "?".into(), |metric| metric.name().into())
}

/// Returns the embedder and its output, for example `text:sif`; `-` for plain vectors.
fn embedder(collection: &pb::Collection) -> String {
    collection.embedder.as_ref().map_or_else(
        || "-".into(),
        |embedder| {
            if embedder.output.is_empty() {
                embedder.name.clone()
            } else {
                format!("{}:{}", embedder.name, embedder.output)
            }
        },
    )
}
