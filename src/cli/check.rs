//! `nearness check` and `nearness repair`: verification of stored data, and removal of damaged data.

use super::common_args::ServerArgs;
use super::config;
use super::output::{self, Table};
use super::progress::{Progress, Step, bytes, count};
use super::remote::{self, refusal};
use crate::api::{CheckReport, Damage, Finding, Job};
use crate::collection::check_directory;
use crate::engine::{LostUnnamed, Repaired, repair_directory};
use crate::grpc::pb;
use crate::types::CollectionName;
use anyhow::Context;
use clap::{ArgGroup, Args};
use serde_json::json;
use std::path::{Path, PathBuf};

/// `check`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").required(true).args(["data", "collection"]),
    after_help = "Examples:\n  nearness check --data ./nearness-data\n  nearness check --collection words --server http://127.0.0.1:50051\n\n\
                  Exit codes: 0 no data is damaged, 1 the check failed, 3 data is damaged. Caches (graphs, payload\n\
                  indexes) and stray files are listed; the server repairs them automatically."
)]
pub(crate) struct CheckArgs {
    /// Data directory that no process serves, instead of a server; it is not changed.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Collection of a running server. Damaged parts are no longer used afterwards.
    #[arg(long, value_name = "NAME", value_parser = config::collection_name)]
    collection: Option<CollectionName>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// `repair`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness repair --data ./nearness-data\n\n\
                  Points whose bytes do not match their checksums are removed and listed, by id where that can be read;\n\
                  all others are kept. Files of segments that lost points are moved to DIR/damaged. All graphs and payload indexes are rebuilt.\n\
                  Copy the directory first.\n\n\
                  Exit codes: 0 no points are lost, 1 the repair failed, 3 points are lost, or problems remain.")]
pub(crate) struct RepairArgs {
    /// Data directory; no process may serve it.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Data is damaged or lost. The report has already been printed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Damaged(String);

/// Prints the findings; fails if data is damaged.
pub(super) fn check(args: CheckArgs) -> anyhow::Result<()> {
    let report = match (&args.data, &args.collection) {
        (Some(data), _) => check_directory(data).with_context(|| data_flag(data))?,
        (None, Some(name)) => check_server(name, &args.server)?,
        (None, None) => return Err(config::UsageError("give --data or --collection".into()).into()),
    };
    let damaged = report.findings.iter().filter(|finding| finding.damage == Damage::Data).count();
    if args.json {
        let findings = report.findings.iter().map(|finding| {
            let Finding { damage, collection, file, what } = finding;
            json!({ "damage": damage.name(), "collection": collection, "file": file, "what": what })
        });
        let findings: Vec<_> = findings.collect();
        output::json(&json!({ "files": report.files, "bytes": report.bytes, "findings": findings }))?;
    } else {
        if !report.findings.is_empty() {
            let mut table = Table::new(&["damage", "collection", "file", "what"]);
            for Finding { damage, collection, file, what } in &report.findings {
                table.row(vec![damage.name().into(), collection.clone(), file.clone(), what.clone()]);
            }
            table.print()?;
        }
        output::line(&format!("{} files, {} checked", count(report.files), bytes(report.bytes)))?;
    }
    match damaged {
        0 => Ok(()),
        _ => Err(Damaged(format!("data is damaged in {damaged} places")).into()),
    }
}

fn data_flag(data: &Path) -> String {
    format!("--data {}", data.display())
}

fn check_server(name: &CollectionName, server: &ServerArgs) -> anyhow::Result<CheckReport> {
    let response = remote::block_on(async {
        let client = remote::connect(server).await?;
        client.check(pb::CheckCollectionRequest { name: name.as_str().into() }).await.map_err(refusal)
    })?;
    let finding = |finding: pb::Finding| Finding {
        damage: match finding.damage() {
            pb::Damage::Cache => Damage::Cache,
            pb::Damage::Stray => Damage::Stray,
            // An unknown kind is treated as the worst.
            pb::Damage::Data | pb::Damage::Unspecified => Damage::Data,
        },
        collection: name.to_string(),
        file: finding.file,
        what: finding.what,
    };
    let findings = response.findings.into_iter().map(finding).collect();
    Ok(CheckReport { files: response.files, bytes: response.bytes, findings })
}

/// Repairs the data directory and prints what was lost.
pub(super) fn repair(args: RepairArgs, quiet: bool) -> anyhow::Result<()> {
    let progress = Progress::start("repair", "rows", quiet);
    let observe = |job: Job, done: u64, total: u64| {
        let what = if matches!(job, Job::Calibrating) { "measuring" } else { "indexing" };
        progress.step(Step { done, total: Some(total), part: None }, what);
        true
    };
    let (done, result) = repair_directory(&args.data, &observe);
    match &result {
        Ok(()) => progress.finish("done"),
        Err(_) => progress.abandon(),
    }
    if result.is_err() && done == Repaired::default() {
        // Nothing was changed.
        return result.with_context(|| data_flag(&args.data));
    }
    let Repaired { rewritten, taken_out, lost, lost_unnamed, rebuilt, left } = &done;
    if args.json {
        let named: Vec<_> = lost.iter().map(|(collection, id)| json!({ "collection": collection, "id": id })).collect();
        let unnamed: Vec<_> = lost_unnamed
            .iter()
            .map(|lost| json!({ "collection": lost.collection, "points": lost.points, "place": lost.location }))
            .collect();
        output::json(&json!({
            "collections": rebuilt,
            "segments_rewritten": rewritten,
            "segments_taken_out": taken_out,
            "lost": named,
            "lost_unnamed": unnamed,
            "left": left,
        }))?;
    } else {
        for file in taken_out {
            output::line(&format!("kept: file of a segment that lost points: {}", file.display()))?;
        }
        for (collection, id) in lost {
            output::line(&format!("lost: {collection} {id}"))?;
        }
        for LostUnnamed { collection, points, location } in lost_unnamed {
            output::line(&format!("lost: {collection}, {points} points whose ids cannot be read ({location})"))?;
        }
        for what in left {
            output::line(&format!("unchanged: {what}"))?;
        }
        output::line(&format!("{rewritten} segments rewritten, all indexes of {rebuilt} collections rebuilt"))?;
    }
    result.with_context(|| data_flag(&args.data))?;
    if lost.is_empty() && lost_unnamed.is_empty() && left.is_empty() {
        return Ok(());
    }
    let points = lost.len() as u64 + lost_unnamed.iter().map(|lost| lost.points).sum::<u64>();
    Err(Damaged(format!("{points} points are lost, {} problems remain", left.len())).into())
}
