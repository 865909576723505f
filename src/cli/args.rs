//! Command-line arguments: the commands. Each command defines its flags in its own file.
//!
//! Values are parsed by the functions of `config.rs`, so that an invalid one is a usage error (exit code 2).

use super::alias::AliasCommand;
use super::bench::args::BenchArgs;
use super::check::{CheckArgs, RepairArgs};
use super::collections::CollectionsCommand;
use super::embed::{ClassifyArgs, EmbedArgs, EmbeddersArgs, FillArgs, NextTokenArgs, WordsArgs};
use super::eval::args::EvalCommand;
use super::export::ExportCommand;
use super::fields::AnalyzeArgs;
use super::import::ImportCommand;
use super::key::KeyCommand;
use super::load::args::LoadArgs;
use super::map::MapArgs;
use super::models::ModelsCommand;
use super::plot::PlotArgs;
use super::points::{CountArgs, DeleteArgs, GetArgs, ScrollArgs};
use super::quality::{ExplainArgs, RecallArgs};
use super::query::QueryArgs;
use super::quickstart::QuickstartArgs;
use super::serve::ConfigCommand;
use super::settings::ServeArgs;
use super::snapshot::SnapshotCommand;
use super::summaries::{FacetArgs, FieldsArgs, SampleArgs};
use super::train::TrainCommand;
use super::update_payload::UpdatePayloadArgs;
use super::update_vectors::UpdateVectorsArgs;
use clap::{Parser, Subcommand};

/// Vector database that trains its own embedders: stores and indexes vectors, and serves nearest-neighbour search over
/// gRPC.
#[derive(Debug, Parser)]
#[command(
    name = "nearness",
    version,
    propagate_version = true,
    after_help = "Start here:\n  nearness quickstart\n\nThe help of each command has an example: nearness help load"
)]
pub(crate) struct Cli {
    /// Hide progress; results and errors are still printed.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Command to run.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load the bundled data, serve it, and demonstrate searches.
    Quickstart(QuickstartArgs),
    /// Serve a data directory over gRPC.
    Serve(Box<ServeArgs>),
    /// Check the configuration of a server.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Create API keys for clients.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Search a collection by text, keywords, image, vector, stored point, or vector arithmetic.
    Query(QueryArgs),
    /// Explain why a point is, or is not, among the hits of a query.
    Explain(ExplainArgs),
    /// Show the terms of a text, as keyword queries search them.
    Analyze(AnalyzeArgs),
    /// Measure the recall of a live collection.
    Recall(RecallArgs),
    /// Draw a map of a collection into one file.
    Map(Box<MapArgs>),
    /// Embed texts or images as vectors.
    Embed(EmbedArgs),
    /// List the embedders of a server, or show one with its model card.
    Embedders(EmbeddersArgs),
    /// Manage the models of a running server: install, train, list, delete.
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Find the words nearest to a word, or to a sum of words.
    Words(WordsArgs),
    /// Predict the words that fill a blank.
    Fill(FillArgs),
    /// Predict the next tokens of a text with a language model.
    NextToken(NextTokenArgs),
    /// Recognize the digit in an image.
    Classify(ClassifyArgs),
    /// Load files into a collection, offline or through a server.
    Load(LoadArgs),
    /// Train an embedder on your own data.
    #[command(subcommand)]
    Train(TrainCommand),
    /// Import a model trained by another program as a model folder.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Export the vectors of a model in the formats of other programs.
    #[command(subcommand)]
    Export(ExportCommand),
    /// Evaluate the quality of an embedder.
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Measure recall against speed.
    Bench(BenchArgs),
    /// Plot recall against speed from saved measurements.
    Plot(PlotArgs),
    /// List, inspect, create, delete and compact collections.
    #[command(subcommand)]
    Collections(CollectionsCommand),
    /// List, set, rename and delete aliases of collections.
    #[command(subcommand)]
    Alias(AliasCommand),
    /// List the points of a collection, ordered by id or by a payload field.
    Scroll(ScrollArgs),
    /// Fetch points by id.
    Get(GetArgs),
    /// Count the points of a collection.
    Count(CountArgs),
    /// Count the values of a payload field.
    Facet(FacetArgs),
    /// Describe the payload fields of a collection: types, extremes, numbers of distinct values.
    Fields(FieldsArgs),
    /// Print random points.
    Sample(SampleArgs),
    /// Delete points by id or by filter, or all.
    Delete(DeleteArgs),
    /// Change payloads of points, by id or by filter; vectors stay as they are.
    UpdatePayload(UpdatePayloadArgs),
    /// Replace vectors of points; payloads stay as they are.
    UpdateVectors(UpdateVectorsArgs),
    /// Create, list, verify and restore snapshots of a collection with its embedder.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Verify the checksums of a data directory, or of a collection that is being served.
    Check(CheckArgs),
    /// Repair a data directory that is not being served: remove and list lost data, and rebuild all indexes.
    Repair(RepairArgs),
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_table_of_commands_is_consistent() {
        Cli::command().debug_assert();
    }

    fn leaves(command: &clap::Command, path: &str, visit: &mut dyn FnMut(&str, &clap::Command)) {
        let mut inner = command.get_subcommands().filter(|sub| sub.get_name() != "help").peekable();
        if inner.peek().is_none() {
            visit(path, command);
        }
        for sub in inner {
            leaves(sub, &format!("{path} {}", sub.get_name()), visit);
        }
    }

    #[test]
    fn every_command_has_an_example_that_parses() {
        let mut seen = 0;
        leaves(&Cli::command(), "nearness", &mut |path, command| {
            let help = command.get_after_help().unwrap_or_else(|| panic!("{path} has no example")).to_string();
            let joined = help.replace("\\\n", " ");
            let examples =
                joined.lines().map(str::trim).filter(|line| line.starts_with("nearness ")).collect::<Vec<_>>();
            assert!(examples.iter().any(|line| line.starts_with(path)), "{path} is in none of its examples: {help}");
            for example in examples {
                // Split as a shell would, as far as the examples need it: single quotes only.
                let words = example.split('\'').enumerate().flat_map(|(index, part)| {
                    if index % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }
                });
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{example}: {error}");
                }
                seen += 1;
            }
        });
        assert!(seen >= 20, "only {seen} examples were seen");
    }

    #[test]
    fn ids_and_texts_may_begin_with_a_hyphen() {
        for line in [
            "query c --id -5",
            "query c --text -a",
            "query c --plus -1 --minus -2",
            "scroll c --after -5",
            "get c -5 6",
            "delete c -5",
            "explain --collection c --id -5 --near -6",
            "load --data d --collection c --id-prefix - f",
        ] {
            let words = std::iter::once("nearness").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn usage_errors_are_refused() {
        for line in [
            "query c",
            "query c --text a --id b",
            "query c --text a --keywords b",
            "query c --hybrid",
            "query c --id a --hybrid",
            "query c --plus a --hybrid",
            "query c --vector 1 --hybrid",
            "explain --collection c --id a --near b --hybrid",
            "query c --text a --all-words",
            "query c --text a --keyword-weight 0.5",
            "query c --vector 1,x",
            "query c --text a --ef 5 --exact",
            "query c --minus man",
            "query .bad --text a",
            "load --collection c file",
            "load --collection c --data d --server http://x file",
            "bench --base b --queries q --metric l1",
            "bench --base b --queries q --metric l2 --ef 0",
            "bench --base b --queries q --metric l2 --server http://x",
            "collections create c",
            "train words --out o",
            "eval words",
            "embed text",
            "query c --text a --filter {}",
            "delete c",
            "update-vectors c",
            "update-vectors c a",
            "update-vectors c --vector 1",
            "update-vectors c a --vector 1 --file f",
            "load --collection c --data d --mode insert f",
            "load --collection c --server http://x --block-words 5 --only-if {\"ids\":[\"a\"]} f",
            "delete c a --filter {\"field\":\"a\",\"exists\":true}",
        ] {
            let words = std::iter::once("nearness").chain(line.split(' '));
            let error = Cli::try_parse_from(words).err().unwrap_or_else(|| panic!("{line} was accepted"));
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
