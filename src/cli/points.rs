//! `nearness scroll`, `get`, `count` and `delete`: operations on points.

use super::common_args::{ConsistencyArgs, ReadCollectionArgs, ServerArgs};
use super::config;
use super::filter::FilterArgs;
use super::output::{self, Table, brief};
use super::query::join;
use super::remote::{self, refusal};
use crate::grpc::pb;
use crate::types::CollectionName;
use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};

/// `scroll`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearness scroll paragraphs --limit 20\n  \
        nearness scroll films --order-by year --descending\n\nWith --json: one JSON object per line, in the \
        format of `load`.")]
pub(crate) struct ScrollArgs {
    #[command(flatten)]
    pub(crate) from: ReadCollectionArgs,
    /// Start after this id, which need not exist.
    #[arg(long, value_name = "ID", default_value = "", allow_hyphen_values = true)]
    pub(crate) after: String,
    /// Number of points; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
    /// Order by this payload field instead of the id. Points without a value to compare are left out.
    #[arg(long, value_name = "PATH", conflicts_with = "after")]
    pub(crate) order_by: Option<String>,
    /// Print the greatest values first.
    #[arg(long, requires = "order_by")]
    pub(crate) descending: bool,
    /// Print the vectors.
    #[arg(long)]
    pub(crate) vector_out: bool,
}

/// `get`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness get paragraphs 339:1 339:2")]
pub(crate) struct GetArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Ids of points.
    #[arg(required = true, value_name = "ID", allow_negative_numbers = true)]
    pub(crate) ids: Vec<String>,
    /// Print the vectors.
    #[arg(long)]
    pub(crate) vector_out: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) consistency: ConsistencyArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `count`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearness count paragraphs\n  \
                  nearness count films --filter '{\"field\": \"kind\", \"in\": [\"drama\", \"western\"]}'")]
pub(crate) struct CountArgs {
    #[command(flatten)]
    pub(crate) from: ReadCollectionArgs,
}

/// `delete`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").required(true).args(["ids", "filter", "all"]),
    after_help = "Examples:\n  nearness delete paragraphs 339:1 339:2\n  nearness delete paragraphs --all\n  \
                  nearness delete films --filter '{\"not\": {\"field\": \"title\", \"exists\": true}}'"
)]
pub(crate) struct DeleteArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Ids of points.
    #[arg(value_name = "ID", allow_negative_numbers = true)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Delete even if the filter names a field that no point has.
    #[arg(long, requires = "filter")]
    pub(crate) allow_unknown_fields: bool,
    /// Delete all points, and keep the collection.
    #[arg(long)]
    pub(crate) all: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Page size while scrolling.
const PAGE: u64 = 1_000;

/// Prints points in the order of their ids, or of a field.
pub(super) fn scroll(args: ScrollArgs) -> anyhow::Result<()> {
    remote::block_on(async {
        let client = remote::connect(&args.from.read.server).await?;
        let mut left = if args.limit == 0 { u64::MAX } else { args.limit };
        let order =
            args.order_by.as_ref().map(|field| pb::OrderBy { field: field.clone(), descending: args.descending });
        let (mut token, mut after) = (String::new(), args.after.clone());
        loop {
            let request = pb::ScrollRequest {
                collection: args.from.collection.as_str().into(),
                page_token: token,
                limit: left.min(PAGE) as u32,
                fields: Some(pb::Fields { payload: true, vector: args.vector_out, ..Default::default() }),
                filter: args.from.read.filter.filter.clone(),
                min_sequence: args.from.read.consistency.min_sequence,
                after: std::mem::take(&mut after),
                order_by: order.clone(),
            };
            let page = client.scroll(request).await.map_err(refusal)?;
            left = left.saturating_sub(page.points.len() as u64);
            let empty = page.points.is_empty();
            remote::note_unknown_fields(args.from.collection.as_str(), &page.unknown_fields);
            print(page.points, args.from.read.json, args.vector_out)?;
            token = page.next_page_token;
            if left == 0 || token.is_empty() || empty {
                return Ok(());
            }
        }
    })
}

/// Prints a page as text, or as JSON with one object per line.
pub(super) fn print(points: Vec<pb::Point>, json: bool, vectors: bool) -> anyhow::Result<()> {
    if json {
        for point in points {
            output::json_line(&point_json(point)?)?;
        }
        return Ok(());
    }
    let head: &[&str] = if vectors { &["id", "payload", "vector"] } else { &["id", "payload"] };
    let mut table = Table::new(head);
    for point in points {
        let payload = remote::payload_of(point.payload, &point.payload_json)?;
        let mut row = vec![brief(&point.id, 60), brief(&remote::summary(&payload), 100)];
        if vectors {
            row.push(join(&remote::numbers(point.vector.as_ref())));
        }
        table.row(row);
    }
    table.print()?;
    Ok(())
}

fn point_json(point: pb::Point) -> anyhow::Result<Value> {
    let mut object = Map::new();
    object.insert("id".into(), point.id.into());
    remote::add_fields(&mut object, point.payload, &point.payload_json, point.vector.as_ref(), &point.vectors)?;
    Ok(Value::Object(object))
}

/// Prints whole points by id; fails if any is missing, after printing the others.
pub(super) fn get(args: GetArgs) -> anyhow::Result<()> {
    let request = pb::GetPointsRequest {
        collection: args.collection.as_str().into(),
        ids: args.ids,
        fields: Some(pb::Fields { payload: true, vector: args.vector_out, ..Default::default() }),
        min_sequence: args.consistency.min_sequence,
    };
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.get_points(request).await.map_err(refusal)
    })?;
    let points = response.points.into_iter().map(point_json).collect::<anyhow::Result<Vec<_>>>()?;
    if args.json {
        output::json(&json!({ "points": points, "missing": response.missing }))?;
    } else {
        for point in &points {
            output::json(point)?;
        }
    }
    if !response.missing.is_empty() {
        anyhow::bail!("the collection {} has no point {}", args.collection, listed(&response.missing));
    }
    Ok(())
}

/// Joins ids on one line.
pub(super) fn listed(ids: &[String]) -> String {
    ids.iter().map(|id| brief(id, 60)).collect::<Vec<_>>().join(", ")
}

/// Prints the number of points, or of matching points.
pub(super) fn count(args: CountArgs) -> anyhow::Result<()> {
    let request = pb::CountRequest {
        collection: args.from.collection.as_str().into(),
        filter: args.from.read.filter.filter,
        min_sequence: args.from.read.consistency.min_sequence,
    };
    let response = remote::block_on(async {
        let client = remote::connect(&args.from.read.server).await?;
        client.count(request).await.map_err(refusal)
    })?;
    remote::note_unknown_fields(args.from.collection.as_str(), &response.unknown_fields);
    if args.from.read.json {
        output::json(&json!({ "count": response.count, "unknown_fields": response.unknown_fields }))?
    } else {
        output::line(&response.count.to_string())?
    }
    Ok(())
}

/// Deletes points by id, by filter, or all.
pub(super) fn delete(args: DeleteArgs) -> anyhow::Result<()> {
    let request = pb::DeletePointsRequest {
        collection: args.collection.as_str().into(),
        ids: args.ids,
        filter: args.filter.filter,
        allow_unknown_fields: args.allow_unknown_fields,
        all: args.all,
    };
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.delete_points(request).await.map_err(refusal)
    })?;
    remote::note_unknown_fields(args.collection.as_str(), &response.unknown_fields);
    if args.json {
        output::json(&json!({
            "deleted": response.deleted,
            "missing": response.missing,
            "sequence": response.sequence,
            "unknown_fields": response.unknown_fields,
        }))?;
    } else {
        output::line(&format!("deleted {}", response.deleted))?;
        if !response.missing.is_empty() {
            output::line(&format!("not there: {}", listed(&response.missing)))?;
        }
    }
    Ok(())
}
