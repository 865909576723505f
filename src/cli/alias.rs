//! `nearness alias`: aliases of collections, and renaming.

use super::common_args::ServerArgs;
use super::config;
use super::output::{self, Table};
use super::remote::{self, refusal};
use crate::grpc::pb;
use crate::types::CollectionName;
use clap::{Args, Subcommand};
use pb::alias_action::Form;
use serde_json::json;

/// `alias ...`
#[derive(Debug, Subcommand)]
pub(crate) enum AliasCommand {
    /// List the aliases, each with its collection.
    #[command(after_help = "Example:\n  nearness alias list")]
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make an alias refer to a collection; an existing alias is moved to it in one step.
    #[command(after_help = "Example:\n  nearness alias set films films-2026")]
    Set {
        /// Alias.
        #[arg(value_parser = config::collection_name)]
        alias: CollectionName,
        /// Collection.
        #[arg(value_parser = config::collection_name)]
        collection: CollectionName,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete an alias; its collection stays.
    #[command(after_help = "Example:\n  nearness alias delete films")]
    Delete {
        /// Alias.
        #[arg(value_parser = config::collection_name)]
        alias: CollectionName,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Rename an alias.
    #[command(after_help = "Example:\n  nearness alias rename films movies")]
    Rename {
        /// Alias.
        #[arg(value_parser = config::collection_name)]
        alias: CollectionName,
        /// New alias.
        #[arg(value_parser = config::collection_name)]
        new_alias: CollectionName,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Server and output format.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// `collections rename`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness collections rename films films-2025 --keep-alias\n\nIts aliases refer to the new \
        name. Jobs that run on it continue."
)]
pub(crate) struct RenameArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    name: CollectionName,
    /// New name.
    #[arg(value_parser = config::collection_name)]
    new_name: CollectionName,
    /// Make the former name an alias, in the same step.
    #[arg(long)]
    keep_alias: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs a subcommand.
pub(super) fn run(command: AliasCommand) -> anyhow::Result<()> {
    match command {
        AliasCommand::List { output } => list(&output),
        AliasCommand::Set { alias, collection, output } => set(&alias, &collection, &output),
        AliasCommand::Delete { alias, output } => {
            let action = Form::DeleteAlias(pb::DeleteAlias { alias: alias.as_str().into() });
            remote::block_on(async { update(&remote::connect(&output.server).await?, vec![action]).await })?;
            done(&output, &format!("deleted the alias {alias}"))
        }
        AliasCommand::Rename { alias, new_alias, output } => {
            let (from, to) = (alias.as_str().into(), new_alias.as_str().into());
            let action = Form::RenameAlias(pb::RenameAlias { alias: from, new_alias: to });
            remote::block_on(async { update(&remote::connect(&output.server).await?, vec![action]).await })?;
            done(&output, &format!("renamed the alias {alias} to {new_alias}"))
        }
    }
}

/// Renames a collection.
pub(super) fn rename_collection(args: &RenameArgs) -> anyhow::Result<()> {
    let (from, to): (String, String) = (args.name.as_str().into(), args.new_name.as_str().into());
    let rename = pb::RenameCollection { collection: from.clone(), new_name: to.clone() };
    let mut actions = vec![Form::RenameCollection(rename)];
    if args.keep_alias {
        actions.push(Form::CreateAlias(pb::CreateAlias { alias: from, collection: to }));
    }
    remote::block_on(async { update(&remote::connect(&args.output.server).await?, actions).await })?;
    done(&args.output, &format!("renamed the collection {} to {}", args.name, args.new_name))
}

async fn update(client: &crate::grpc::Client, forms: Vec<Form>) -> anyhow::Result<()> {
    let actions = forms.into_iter().map(|form| pb::AliasAction { form: Some(form) }).collect();
    client.update_aliases(pb::UpdateAliasesRequest { actions }).await.map(drop).map_err(refusal)
}

/// Returns the visible aliases, each with its collection.
async fn aliases(client: &crate::grpc::Client) -> anyhow::Result<Vec<(String, String)>> {
    let list = client.list_collections(pb::ListCollectionsRequest::default()).await.map_err(refusal)?.collections;
    let of =
        |collection: pb::Collection| collection.aliases.into_iter().map(move |alias| (alias, collection.name.clone()));
    let mut aliases: Vec<(String, String)> = list.into_iter().flat_map(of).collect();
    aliases.sort();
    Ok(aliases)
}

fn list(output: &OutputArgs) -> anyhow::Result<()> {
    let aliases = remote::block_on(async { aliases(&remote::connect(&output.server).await?).await })?;
    if output.json {
        let each = aliases.iter().map(|(alias, collection)| json!({ "alias": alias, "collection": collection }));
        output::json(&json!(each.collect::<Vec<_>>()))?;
        return Ok(());
    }
    let mut table = Table::new(&["alias", "collection"]);
    aliases.into_iter().for_each(|(alias, collection)| table.row(vec![alias, collection]));
    table.print()?;
    Ok(())
}

fn set(alias: &CollectionName, collection: &CollectionName, output: &OutputArgs) -> anyhow::Result<()> {
    remote::block_on(async {
        let client = remote::connect(&output.server).await?;
        let known = aliases(&client).await?.iter().any(|(known, _)| known == alias.as_str());
        let delete = known.then(|| Form::DeleteAlias(pb::DeleteAlias { alias: alias.as_str().into() }));
        let create = pb::CreateAlias { alias: alias.as_str().into(), collection: collection.as_str().into() };
        update(&client, delete.into_iter().chain([Form::CreateAlias(create)]).collect()).await
    })?;
    done(output, &format!("{alias} is an alias of {collection}"))
}

/// Prints the result of a change.
fn done(output: &OutputArgs, text: &str) -> anyhow::Result<()> {
    if output.json {
        output::json(&json!({ "done": text }))?;
    } else {
        output::line(text)?;
    }
    Ok(())
}
