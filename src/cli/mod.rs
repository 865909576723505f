//! The command line: argument parsing, command dispatch, error output, exit codes.
//!
//! | file | contents |
//! | --- | --- |
//! | `args.rs` | all commands |
//! | `common_args.rs` | flags that several commands share |
//! | `formula.rs` | `--formula`: expressions as JSON |
//! | `ranking.rs` | flags that rank the candidates of a query |
//! | `filter.rs` | `--filter`: conditions on payloads as JSON |
//! | `config.rs` | value parsers and defaults |
//! | `settings/` | server configuration: flags, environment, file, defaults |
//! | `log/` | log and traces of a server |
//! | `output.rs` | tables and JSON on standard output |
//! | `picture/` | SVG and PNG files |
//! | `progress.rs` | progress on standard error |
//! | `remote.rs` | shared by client commands: connecting, errors, points as JSON |
//! | `local.rs` | shared by offline commands: embedders, the engine over a data directory |
//! | `quickstart/` | demonstration on real data |
//! | `serve.rs` `key.rs` `query.rs` `quality.rs` `embed.rs` `collections.rs` `alias.rs` `points.rs` `update_payload.rs` `update_vectors.rs` `summaries.rs` | one command each |
//! | `load/` | file formats, and loading offline or online |
//! | `train.rs` `train_*.rs` `import.rs` `export.rs` `eval/` | training, import, export and evaluation of embedders |
//! | `models.rs` | installation and training of models on a server |
//! | `check.rs` | check and repair of a data directory |
//! | `snapshot.rs` | snapshots, through a server or offline |
//! | `map/` | map of a collection in one file |
//! | `bench/` `plot.rs` | recall against speed: measurement and plots |
//!
//! Exit codes: 0 success, 1 failure, 2 usage error, 3 checked or repaired, and data is damaged or lost.

mod alias;
mod args;
mod bench;
mod check;
mod collections;
mod common_args;
mod config;
mod embed;
mod eval;
mod export;
mod fields;
mod filter;
mod formula;
#[cfg(fuzzing)]
pub mod fuzzing;
mod import;
mod key;
mod load;
mod local;
mod log;
mod map;
mod models;
mod output;
mod picture;
mod plot;
mod points;
mod progress;
mod quality;
mod query;
mod quickstart;
mod ranking;
mod remote;
mod serve;
mod settings;
mod snapshot;
mod summaries;
mod train;
mod train_common;
mod train_gpt;
mod train_images;
mod train_text;
mod update_payload;
mod update_vectors;
mod work_folder;

use args::{Cli, Command};
use clap::Parser;
use std::io::{self, Write};
use std::process::ExitCode;

/// Parses the arguments, runs the command, and prints an error with its causes.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = error.exit_code();
            // Help and version also arrive here, with code 0.
            let _ = match code {
                0 => error.print(),
                _ => io::stderr().write_all(output::escaped_usage(error).as_bytes()),
            };
            return ExitCode::from(u8::try_from(code).unwrap_or(2));
        }
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// Checks whether a command line (without the program's name) is valid; runs nothing.
///
/// # Errors
/// The usage error as text.
pub fn parses(arguments: &[String]) -> Result<(), String> {
    let all = std::iter::once("nearness").chain(arguments.iter().map(String::as_str));
    Cli::try_parse_from(all).map(drop).map_err(|error| error.to_string())
}

/// Parses and runs a command line, without the program's name.
fn run_command(arguments: &[String]) -> anyhow::Result<()> {
    dispatch(Cli::try_parse_from(std::iter::once("nearness").chain(arguments.iter().map(String::as_str)))?)
}

fn dispatch(cli: Cli) -> anyhow::Result<()> {
    let quiet = cli.quiet;
    match cli.command {
        Command::Quickstart(args) => quickstart::run(args, run_command),
        Command::Serve(args) => serve::run(&args),
        Command::Config(command) => serve::check(command),
        Command::Key(command) => key::run(command),
        Command::Query(args) => query::run(args),
        Command::Explain(args) => quality::explain(args),
        Command::Analyze(args) => fields::analyze(args),
        Command::Recall(args) => quality::recall(args),
        Command::Map(args) => map::run(*args, quiet),
        Command::Embed(args) => embed::embed(args),
        Command::Embedders(args) => embed::embedders(args),
        Command::Models(command) => models::run(command, quiet),
        Command::Words(args) => embed::words(args),
        Command::Fill(args) => embed::fill(args),
        Command::NextToken(args) => embed::next_token(args),
        Command::Classify(args) => embed::classify(args),
        Command::Load(args) => load::run(args, quiet),
        Command::Import(command) => import::run(command),
        Command::Export(command) => export::run(command),
        Command::Train(command) => train::run(command, quiet),
        Command::Eval(command) => eval::run(command),
        Command::Bench(args) => bench::run(args, quiet),
        Command::Plot(args) => plot::run(args),
        Command::Collections(command) => collections::run(command, quiet),
        Command::Alias(command) => alias::run(command),
        Command::Scroll(args) => points::scroll(args),
        Command::Get(args) => points::get(args),
        Command::Count(args) => points::count(args),
        Command::Facet(args) => summaries::facet(args),
        Command::Fields(args) => summaries::fields(args),
        Command::Sample(args) => summaries::sample(args),
        Command::Delete(args) => points::delete(args),
        Command::UpdatePayload(args) => update_payload::run(args),
        Command::UpdateVectors(args) => update_vectors::run(args),
        Command::Snapshot(command) => snapshot::run(command, quiet),
        Command::Check(args) => check::check(args),
        Command::Repair(args) => check::repair(args, quiet),
    }
}

/// Prints one line for the error and one for each cause.
fn report(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        // The reader has closed the output: not an error.
        return ExitCode::SUCCESS;
    }
    // Server messages and names in errors are untrusted.
    let plain = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<remote::MultilineError>() {
        Some(refusal) => refusal.to_string(),
        None => output::escaped(&cause.to_string()).into_owned(),
    };
    let mut causes = error.chain().map(plain);
    let mut last = causes.next().unwrap_or_default();
    let mut text = format!("error: {last}\n");
    for cause in causes {
        // Some errors repeat their cause in their own text.
        if !last.contains(&cause) {
            text += &format!("  because: {cause}\n");
        }
        last = cause;
    }
    let _ = io::stderr().write_all(text.as_bytes());
    if error.chain().any(|cause| cause.is::<config::UsageError>()) {
        ExitCode::from(2)
    } else if error.is::<check::Damaged>() {
        ExitCode::from(3)
    } else {
        ExitCode::FAILURE
    }
}
