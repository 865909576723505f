//! `nearness update-payload`: changes payloads of existing points and keeps their vectors.

use super::common_args::ServerArgs;
use super::config;
use super::filter::FilterArgs;
use super::output;
use super::points::listed;
use super::remote::{self, refusal};
use crate::api::Payload;
use crate::grpc::pb;
use crate::types::CollectionName;
use clap::{ArgGroup, Args};
use pb::payload_action::Action;
use serde_json::json;

/// `update-payload`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").required(true).args(["ids", "filter"]),
    group = ArgGroup::new("change").required(true).multiple(true).args(["set", "overwrite", "unset", "clear"]),
    after_help = "Examples:\n  nearness update-payload films 12 17 --set '{\"seen\": true}'\n  \
                  nearness update-payload films --filter '{\"field\": \"year\", \"lt\": 1930}' --set '{\"era\": \"silent\"}'\n  \
                  nearness update-payload films 12 --unset seen --unset author.age\n\n\
                  Fields are first overwritten or cleared, then unset, then set. Vectors stay as they are."
)]
pub(crate) struct UpdatePayloadArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Ids of points.
    #[arg(value_name = "ID", allow_negative_numbers = true)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Update even if the filter names a field that no point has.
    #[arg(long, requires = "filter")]
    pub(crate) allow_unknown_fields: bool,
    /// Set the fields of this JSON object, and keep the others.
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(crate) set: Option<Payload>,
    /// Set them in the object at this path: "author" or "author.address".
    #[arg(long, value_name = "PATH", requires = "set", default_value = "")]
    pub(crate) path: String,
    /// Replace the whole payload by this JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(crate) overwrite: Option<Payload>,
    /// Remove a field, by name or path; can be repeated.
    #[arg(long, value_name = "PATH")]
    pub(crate) unset: Vec<String>,
    /// Remove all fields.
    #[arg(long, conflicts_with = "overwrite")]
    pub(crate) clear: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

fn object(text: &str) -> Result<Payload, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

/// Returns the actions in the order in which they are executed.
fn actions(args: &UpdatePayloadArgs) -> anyhow::Result<Vec<pb::PayloadAction>> {
    let overwrite = args.overwrite.as_ref().map(|payload| {
        let payload_json = serde_json::to_string(payload)?;
        anyhow::Ok(Action::Overwrite(pb::PayloadOverwrite { payload_json, ..Default::default() }))
    });
    let clear = args.clear.then_some(Action::Clear(pb::PayloadClear {}));
    let unset = (!args.unset.is_empty()).then(|| Action::Unset(pb::PayloadUnset { paths: args.unset.clone() }));
    let set = args.set.as_ref().map(|payload| {
        let (path, payload_json) = (args.path.clone(), serde_json::to_string(payload)?);
        anyhow::Ok(Action::Set(pb::PayloadSet { path, payload_json, ..Default::default() }))
    });
    let all = [overwrite.transpose()?, clear, unset, set.transpose()?];
    Ok(all.into_iter().flatten().map(|action| pb::PayloadAction { action: Some(action) }).collect())
}

pub(super) fn run(args: UpdatePayloadArgs) -> anyhow::Result<()> {
    let request = pb::UpdatePayloadRequest {
        actions: actions(&args)?,
        collection: args.collection.as_str().into(),
        ids: args.ids,
        filter: args.filter.filter,
        allow_unknown_fields: args.allow_unknown_fields,
    };
    let response = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.update_payload(request).await.map_err(refusal)
    })?;
    remote::note_unknown_fields(args.collection.as_str(), &response.unknown_fields);
    if args.json {
        return Ok(output::json(&json!({
            "updated": response.updated,
            "unchanged": response.unchanged,
            "missing": response.missing,
            "sequence": response.sequence,
            "unknown_fields": response.unknown_fields,
        }))?);
    }
    output::line(&format!("updated {}, unchanged {}", response.updated, response.unchanged))?;
    if !response.missing.is_empty() {
        output::line(&format!("not there: {}", listed(&response.missing)))?;
    }
    Ok(())
}
