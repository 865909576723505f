//! `nearness snapshot`: snapshots through a server, in its configured location, or offline.

use super::common_args::ServerArgs;
use super::output::{self, Table};
use super::progress::{Progress, Step, bytes, count};
use super::remote::{self, refusal};
use super::{config, local};
use crate::api::{CollectionInfo, Job};
use crate::engine::{Database, Snapshots};
use crate::grpc::{listed_message, pb, snapshot_message};
use crate::snapshot::{self, SnapshotName};
use crate::snapshot_store::SnapshotStore;
use crate::types::CollectionName;
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// `snapshot ...`
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Write a collection and its embedder into one file; writes continue meanwhile.
    #[command(
        after_help = "Examples:\n  nearness snapshot create --collection words\n  nearness snapshot create --collection words --data ./nearness-data --to s3://backups/nearness"
    )]
    Create {
        /// Collection.
        #[arg(long, value_name = "NAME", value_parser = config::collection_name)]
        collection: CollectionName,
        /// Data directory that no process serves, instead of a server.
        #[arg(long, value_name = "DIR", requires = "to")]
        data: Option<PathBuf>,
        /// Location of the snapshot, offline: a directory, or s3://, gs://, az:// or file:// (settings in AWS_...,
        /// GOOGLE_..., AZURE_...).
        #[arg(long, value_name = "DIR|URL", requires = "data")]
        to: Option<String>,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// List the snapshots.
    #[command(after_help = "Examples:\n  nearness snapshot list\n  nearness snapshot list --from ./backups")]
    List {
        /// Location to list, instead of a server's.
        #[arg(long, value_name = "DIR|URL")]
        from: Option<String>,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Read every byte of a snapshot and verify the checksums.
    #[command(
        after_help = "Example:\n  nearness snapshot verify 001795530660-42-0f3a9c1b.nearness.tar --from ./backups"
    )]
    Verify {
        /// Name of the snapshot, as listed.
        snapshot: String,
        /// Location of the snapshot, instead of a server's.
        #[arg(long, value_name = "DIR|URL")]
        from: Option<String>,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Create a collection from a snapshot. It is verified before it becomes visible; an error leaves everything
    /// unchanged.
    #[command(
        after_help = "Example:\n  nearness snapshot restore 001795530660-42-0f3a9c1b.nearness.tar --collection words2\n\n\
                      The collection has the sequence number of the snapshot. An embedder that is not loaded is restored\n\
                      from the snapshot and stays with the collection."
    )]
    Restore {
        /// Name of the snapshot, as listed.
        snapshot: String,
        /// Name of the collection to create.
        #[arg(long, value_name = "NAME", value_parser = config::collection_name)]
        collection: CollectionName,
        /// Replace an existing collection of that name.
        #[arg(long)]
        replace: bool,
        /// Data directory that no process serves (created if missing), instead of a server.
        #[arg(long, value_name = "DIR", requires = "from")]
        data: Option<PathBuf>,
        /// Location of the snapshot, offline.
        #[arg(long, value_name = "DIR|URL", requires = "data")]
        from: Option<String>,
        #[command(flatten)]
        common: CommonArgs,
    },
}

/// Shared arguments.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Folder of a model used by the collection (may be repeated); with --data.
    #[arg(long = "model", value_name = "DIR")]
    models: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

fn step(progress: &Progress, checking: bool, done: u64, total: u64) {
    let part = (!checking && total > 0).then(|| done as f64 / total as f64);
    if checking {
        progress.step(Step { part: Some(0.0), ..Step::default() }, "checking");
    } else {
        progress.step(Step { done, total: Some(total), part }, "");
    }
}

/// Reads a progress stream up to its last message.
macro_rules! follow {
    ($responses:expr, $progress:expr, $state:path, $last:ident) => {{
        use $state as State;
        let mut responses = $responses;
        let mut last = None;
        while let Some(response) = responses.next().await.map_err(refusal)? {
            match response.state {
                Some(State::Progress(at)) => step($progress, at.checking, at.done, at.total),
                Some(State::$last(done)) => last = Some(done),
                None => {}
            }
        }
        last.context("the server ended the stream without a result")
    }};
}

/// Runs a subcommand.
pub(super) fn run(command: SnapshotCommand, quiet: bool) -> anyhow::Result<()> {
    let progress = Progress::start("snapshot", "bytes", quiet);
    let observe = |job: Job, done: u64, total: u64| {
        step(&progress, matches!(job, Job::Checking), done, total);
        true
    };
    match command {
        SnapshotCommand::Create { collection, data, to, common } => {
            let created = match (data, to) {
                (Some(data), Some(to)) => {
                    let engine = open(&data, &common.models, &to)?;
                    snapshot_message(engine.create_snapshot(&collection, &observe)?)
                }
                _ => remote::block_on(async {
                    let client = remote::connect(&common.server).await?;
                    let request = pb::CreateSnapshotRequest { collection: collection.as_str().into() };
                    let responses = client.create_snapshot(request).await.map_err(refusal)?;
                    follow!(responses, &progress, pb::create_snapshot_response::State, Snapshot)
                })?,
            };
            progress.finish(&format!("{} in {:.1} s", bytes(created.bytes), progress.seconds()));
            show(&[created], common.json)
        }
        SnapshotCommand::List { from, common } => {
            progress.abandon();
            let all = match from {
                Some(from) => snapshot::list(&SnapshotStore::open(&from)?)?.into_iter().map(listed_message).collect(),
                None => remote::block_on(async {
                    let client = remote::connect(&common.server).await?;
                    Ok(client.list_snapshots(pb::ListSnapshotsRequest {}).await.map_err(refusal)?.snapshots)
                })?,
            };
            show(&all, common.json)
        }
        SnapshotCommand::Verify { snapshot, from, common } => {
            let found = match from {
                Some(from) => {
                    let name = SnapshotName::new(&snapshot)?;
                    snapshot_message(snapshot::verify(&SnapshotStore::open(&from)?, &name, &observe)?)
                }
                None => remote::block_on(async {
                    let client = remote::connect(&common.server).await?;
                    let responses =
                        client.verify_snapshot(pb::VerifySnapshotRequest { snapshot }).await.map_err(refusal)?;
                    follow!(responses, &progress, pb::verify_snapshot_response::State, Snapshot)
                })?,
            };
            progress.finish(&format!("intact, {} in {:.1} s", bytes(found.bytes), progress.seconds()));
            show(&[found], common.json)
        }
        SnapshotCommand::Restore { snapshot, collection, replace, data, from, common } => {
            let (points, sequence) = match (data, from) {
                (Some(data), Some(from)) => {
                    let engine = open(&data, &common.models, &from)?;
                    let name = SnapshotName::new(&snapshot)?;
                    let CollectionInfo { points, sequence, .. } =
                        engine.restore_snapshot(&name, &collection, replace, &observe)?;
                    (points, sequence)
                }
                _ => remote::block_on(async {
                    let client = remote::connect(&common.server).await?;
                    let request =
                        pb::RestoreSnapshotRequest { snapshot, collection: collection.as_str().into(), replace };
                    let responses = client.restore_snapshot(request).await.map_err(refusal)?;
                    let restored = follow!(responses, &progress, pb::restore_snapshot_response::State, Collection)?;
                    Ok((restored.points, restored.sequence))
                })?,
            };
            progress.finish(&format!("restored in {:.1} s", progress.seconds()));
            if common.json {
                let restored = json!({ "collection": collection.as_str(), "points": points, "sequence": sequence });
                output::json(&restored)?;
            } else {
                output::line(&format!("{collection} has {} points, sequence {sequence}", count(points)))?;
            }
            Ok(())
        }
    }
}

fn open(data: &Path, models: &[PathBuf], location: &str) -> anyhow::Result<Database> {
    let snapshots = SnapshotStore::open(location)?;
    local::engine_with(Database::options().snapshots(snapshots), data, models)
}

fn show(snapshots: &[pb::Snapshot], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        output::json(&Value::Array(snapshots.iter().map(snapshot_json).collect()))?;
        return Ok(());
    }
    let mut table = Table::new(&["snapshot", "collection", "created (UTC)", "sequence", "points", "size", "embedder"]);
    for snapshot in snapshots {
        let size = bytes(snapshot.bytes);
        if !snapshot.problem.is_empty() {
            let unknown = || "?".to_owned();
            let row =
                [snapshot.name.clone(), snapshot.problem.clone(), unknown(), unknown(), unknown(), size, unknown()];
            table.row(row.into());
            continue;
        }
        let embedder = snapshot.embedder.as_ref().map_or_else(|| "-".into(), |e| format!("{}:{}", e.name, e.output));
        table.row(vec![
            snapshot.name.clone(),
            snapshot.collection.clone(),
            utc_time(snapshot.made_unix),
            snapshot.sequence.to_string(),
            count(snapshot.points),
            size,
            embedder,
        ]);
    }
    table.print()?;
    Ok(())
}

fn utc_time(seconds: u64) -> String {
    let of_day = seconds % 86_400;
    let day = crate::embed::date((seconds / 86_400).min(1 << 32) as i64);
    format!("{day} {:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

fn snapshot_json(snapshot: &pb::Snapshot) -> Value {
    json!({
        "snapshot": snapshot.name,
        "bytes": snapshot.bytes,
        "problem": snapshot.problem,
        "collection": snapshot.collection,
        "made_unix": snapshot.made_unix,
        "sequence": snapshot.sequence,
        "points": snapshot.points,
        "dimension": snapshot.dimension,
        "embedder": snapshot.embedder.as_ref().map(|embedder| json!({ "name": embedder.name, "output": embedder.output })),
        "embedder_fingerprint": snapshot.embedder_fingerprint,
        "carries_embedder": snapshot.carries_embedder,
        "program": snapshot.program,
    })
}
