//! Arguments of `nearness load`.

use crate::cli::common_args::TlsArgs;
use crate::cli::config;
use crate::cli::filter;
use crate::cli::load::Format;
use crate::grpc::pb;
use crate::types::{CollectionName, Metric, Precision};
use clap::{ArgGroup, Args, ValueEnum};
use std::path::PathBuf;

/// Value of `--mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Insert, and keep existing points as they are.
    Insert,
    /// Replace existing points, and create none.
    Update,
    /// Insert or replace.
    Upsert,
}

/// `load`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").required(true).args(["data", "server"]),
    after_help = "Examples:\n  nearness load --data ./nearness-data --collection paragraphs enwiki.txt.gz\n  \
                  nearness load --server http://127.0.0.1:50051 --collection notes --embedder text notes.jsonl\n  \
                  nearness load --data ./nearness-data --collection sift --metric l2 sift_base.fvecs\n  \
                  nearness load --data ./nearness-data --collection digits train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz\n\n\
                  The format is detected from the content; files may be gzip or zstd. An invalid record is reported with file and\n\
                  line, counted and skipped. A record without an id gets one derived from its content: repeating a load\n\
                  changes nothing, and another file adds its records. Rows of vectors and IDX files have their row number as\n\
                  id, images their path; a load that would change the point of such an id fails, unless --id-prefix or\n\
                  --replace is given. An id in the file replaces the point with that id, unless --mode or --only-if say\n\
                  otherwise; both need --server."
)]
pub(crate) struct LoadArgs {
    /// Files, or folders of images.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Collection; created if missing.
    #[arg(long, value_name = "NAME", value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Write directly into this data directory, which must not be open in a server.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Send the items to this server.
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// Format of the files, if it cannot be detected from the content.
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// IDX file of the labels of an IDX file of images; once per image file.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Vec<PathBuf>,
    /// Prefix of every generated id: content hashes, row numbers, paths.
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    pub(crate) id_prefix: String,
    /// Replace existing points whose ids are row numbers or paths of this load, instead of failing.
    #[arg(long)]
    pub(crate) replace: bool,
    /// What to do with an item, depending on whether its point exists [default: upsert]
    #[arg(long, value_enum, conflicts_with = "data")]
    pub(crate) mode: Option<Mode>,
    /// Replace an existing point only if it matches this filter at the time of the write; JSON, as --filter of `count`.
    #[arg(long, value_name = "JSON", value_parser = filter::parse, conflicts_with_all = ["data", "block_words"])]
    pub(crate) only_if: Option<pb::Filter>,
    /// Embedder of a new collection; `none` for plain vectors [default: text or digits, by the items]
    #[arg(long, value_name = "NAME")]
    pub(crate) embedder: Option<String>,
    /// Output layer of the embedder [default: its first]
    #[arg(long, alias = "tap", value_name = "NAME")]
    pub(crate) output: Option<String>,
    /// Model folder for offline embedding, instead of the default of its family; may be repeated.
    #[arg(long = "model", value_name = "DIR", conflicts_with = "server")]
    pub(crate) models: Vec<PathBuf>,
    /// Distance metric of a new collection: cosine, dot or l2 [default: cosine]
    #[arg(long, value_parser = config::metric)]
    pub(crate) metric: Option<Metric>,
    /// Links per graph node (HNSW M) of a new collection.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=128))]
    pub(crate) m: Option<u32>,
    /// Candidate list size while building (ef_construction) of a new collection.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) ef_construction: Option<u32>,
    /// Precision of stored components in a new collection: f32, f16 or i8 [default: f32]
    #[arg(long, value_parser = config::precision)]
    pub(crate) precision: Option<Precision>,
    /// Create no text field in a new collection: keyword and hybrid queries are then refused.
    #[arg(long)]
    pub(crate) no_keywords: bool,
    /// Split each text into blocks of this many words; each becomes a point with its parent and position.
    #[arg(long, value_name = "WORDS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) block_words: Option<u32>,
    /// Words that consecutive blocks share.
    #[arg(long, value_name = "WORDS", requires = "block_words", default_value_t = 0)]
    pub(crate) block_overlap: u32,
    /// Stop at the first invalid record.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Maximum number of items to load.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Print a JSON summary.
    #[arg(long)]
    pub(crate) json: bool,
}
