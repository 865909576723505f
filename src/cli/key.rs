//! `nearness key new`: creates an API key, and the lines with its hash for the server's configuration file.

use super::{config, output};
use crate::auth::{NewKey, Role, Scope};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

/// `key ...`
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a key: print it, and the lines to add to the server's configuration file.
    New(NewArgs),
}

/// `key new`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness key new --name ingest --role write --collection 'films-*'\n\n\
                  The first line is the key, which is shown only once: save it. The server stores only its hash.\n\
                  Clients read the key from the environment variable NEARNESS_KEY.")]
pub(crate) struct NewArgs {
    /// Owner of the key, for the log.
    #[arg(long, value_parser = name)]
    pub(crate) name: String,
    /// Role of the key: read, write or admin.
    #[arg(long, value_parser = config::role)]
    pub(crate) role: Role,
    /// Collection that the key may access: a name, a prefix followed by *, or * for all; may be repeated.
    #[arg(long = "collection", value_name = "PATTERN", required = true, value_parser = pattern)]
    pub(crate) collections: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn pattern(text: &str) -> Result<String, String> {
    Scope::new(&[text]).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn name(text: &str) -> Result<String, String> {
    let valid = !text.is_empty() && text.len() <= 256 && !text.chars().any(|c| c.is_control() || "\"\\".contains(c));
    if valid {
        Ok(text.to_owned())
    } else {
        Err("1 to 256 bytes without quotes, backslashes and control characters".into())
    }
}

pub(super) fn run(command: KeyCommand) -> anyhow::Result<()> {
    let KeyCommand::New(args) = command;
    let NewKey { secret, hash } = NewKey::generate().context("the system has no random number generator")?;
    if args.json {
        output::json(&json!({
            "key": secret,
            "name": args.name,
            "sha256": hash.to_string(),
            "role": args.role.name(),
            "collections": args.collections,
        }))?;
        return Ok(());
    }
    // Names and patterns contain no character that TOML would have to escape.
    let collections = args.collections.iter().map(|pattern| format!("\"{pattern}\"")).collect::<Vec<_>>().join(", ");
    output::line(&secret)?;
    output::lines(&format!(
        "\n[[access.keys]]\nname = \"{}\"\nsha256 = \"{hash}\"\nrole = \"{}\"\ncollections = [{collections}]",
        args.name,
        args.role.name()
    ))?;
    Ok(())
}
