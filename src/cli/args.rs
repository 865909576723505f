//! Command-line arguments: all commands and flags, with an example in the help of each command.
//!
//! Values are parsed by the functions of `config.rs`, so that an invalid one is a usage error (exit code 2). It is
//! one file because it is one table.

use super::check::{CheckArgs, RepairArgs};
use super::config::{self, EfList, Numbers, Tapped};
use super::embed::NextTokenArgs;
use super::eval::text::EvalTextArgs;
use super::export::ExportCommand;
use super::filter::FilterArgs;
use super::import::ImportCommand;
use super::key::KeyCommand;
use super::load::Format;
use super::map::MapArgs;
use super::models::ModelsCommand;
use super::picture;
use super::plot::PlotArgs;
use super::quality::{ExplainArgs, RecallArgs};
use super::settings::{ServeArgs, WebListen};
use super::snapshot::SnapshotCommand;
use super::train_gpt::TrainGptArgs;
use super::train_text::TrainTextArgs;
use crate::embed::words;
use crate::types::{CollectionName, Metric, Precision};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Vector database that trains its own embedders: stores and indexes vectors, and serves nearest-neighbour search over
/// gRPC.
#[derive(Debug, Parser)]
#[command(
    name = "nearness",
    version,
    propagate_version = true,
    after_help = "Start here:\n  nearness quickstart\n\nEach command explains itself with an example: nearness help load"
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
    /// Search a collection by text, image, vector, stored point, or vector arithmetic.
    Query(QueryArgs),
    /// Explain why a point is, or is not, among the hits of a query.
    Explain(ExplainArgs),
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
    /// List the points of a collection, ordered by id.
    Scroll(ScrollArgs),
    /// Fetch points by id.
    Get(GetArgs),
    /// Count the points of a collection.
    Count(CountArgs),
    /// Delete points by id or by filter.
    Delete(DeleteArgs),
    /// Create, list, verify and restore snapshots of a collection with its embedder.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Verify the checksums of a data directory, or of a collection that is being served.
    Check(CheckArgs),
    /// Repair a data directory that is not being served: remove and list lost data, and rebuild all indexes.
    Repair(RepairArgs),
}

/// `quickstart`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness quickstart --once")]
pub(crate) struct QuickstartArgs {
    /// Data directory; created if missing, otherwise reused.
    #[arg(long, value_name = "DIR", default_value = "./nearness-data")]
    pub(crate) data: PathBuf,
    /// Address to serve on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50051")]
    pub(crate) listen: SocketAddr,
    /// Address of the web page, none to disable it [default: 127.0.0.1:7700]
    #[arg(long, value_name = "ADDR|none", env = "NEARNESS_WEB")]
    pub(crate) web: Option<WebListen>,
    /// Exit after the demonstration instead of serving.
    #[arg(long)]
    pub(crate) once: bool,
    /// Train both embedders first instead of using the built-in ones.
    #[arg(long)]
    pub(crate) train: bool,
}

/// `config ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a configuration file and everything it refers to; print errors, or the resulting settings.
    #[command(after_help = "Example:\n  nearness config check /etc/nearness/nearness.toml")]
    Check {
        /// Configuration file.
        file: PathBuf,
    },
}

/// Server that a client command connects to.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// Address of the server [default: http://127.0.0.1:50051]
    #[arg(long, value_name = "URL", env = config::SERVER_VARIABLE)]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

/// Authentication of client and server. API keys and tokens are read only from the environment variable NEARNESS_KEY,
/// because other users of the machine can see command-line flags.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TrustArgs {
    /// Root certificates to verify the server with, PEM [default: those of the system]
    #[arg(long, value_name = "FILE", env = "NEARNESS_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// Client certificate, PEM.
    #[arg(long, value_name = "FILE", env = "NEARNESS_CERTIFICATE", requires = "certificate_key")]
    pub(crate) certificate: Option<PathBuf>,
    /// Private key of the client certificate, PEM.
    #[arg(long, value_name = "FILE", env = "NEARNESS_CERTIFICATE_KEY", requires = "certificate")]
    pub(crate) certificate_key: Option<PathBuf>,
}

/// Read-your-writes option of client commands.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct SeenArgs {
    /// Minimum sequence number to read; waits for it up to 10 s.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    pub(crate) min_sequence: u64,
}

/// Query of a search.
#[derive(Debug, Args)]
pub(crate) struct NearArgs {
    /// Search by text.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) text: Option<String>,
    /// Search by image file.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// Search by vector: comma-separated numbers.
    #[arg(long, value_name = "NUMBERS", allow_hyphen_values = true, value_parser = config::numbers)]
    pub(crate) vector: Option<Numbers>,
}

/// `query`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["text", "image", "vector", "id", "plus"]),
    after_help = "Examples:\n  nearness query paragraphs --text 'a war over salt' -k 5\n  \
                  nearness query words --plus king --minus man --plus woman\n  \
                  nearness query digits --image seven.png --payload\n  \
                  nearness query films --text 'ships at war' --filter '{\"field\": \"year\", \"gte\": 1990}'\n  \
                  nearness query points --vector '0.1,0.2,0.3' --exact --json"
)]
pub(crate) struct QueryArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    #[command(flatten)]
    pub(crate) near: NearArgs,
    /// Search by the id of a stored point.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) id: Option<String>,
    /// Term to add (id of a point, or a text); may be repeated.
    #[arg(long, value_name = "TERM", allow_hyphen_values = true)]
    pub(crate) plus: Vec<String>,
    /// Term to subtract; may be repeated.
    #[arg(long, value_name = "TERM", requires = "plus", allow_hyphen_values = true)]
    pub(crate) minus: Vec<String>,
    /// Number of hits.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Candidate list size of the graph search; larger is slower and more accurate.
    #[arg(long, conflicts_with_all = ["exact", "target_recall"], value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) ef: Option<u32>,
    /// Mean recall to reach, 0.5 to 1, instead of an ef.
    #[arg(long, value_name = "RECALL", conflicts_with = "exact", value_parser = config::target_recall)]
    pub(crate) target_recall: Option<f32>,
    /// Exact search: compare with every point.
    #[arg(long)]
    pub(crate) exact: bool,
    /// Minimum score of a hit.
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    pub(crate) min_score: Option<f32>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Return only the nearest of the points that share a value of this payload field: `parent` for texts in blocks.
    #[arg(long, value_name = "FIELD")]
    pub(crate) group_by: Option<String>,
    /// Return partial results from a damaged collection, with a note.
    #[arg(long)]
    pub(crate) allow_partial: bool,
    /// Print the whole payload of each hit.
    #[arg(long)]
    pub(crate) payload: bool,
    /// Print the vector of each hit.
    #[arg(long)]
    pub(crate) vector_out: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) seen: SeenArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `embed`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("input").required(true).args(["texts", "images"]),
    after_help = "Examples:\n  nearness embed text 'a sentence' 'another one' --json\n  \
                  nearness embed digits:features --image seven.png"
)]
pub(crate) struct EmbedArgs {
    /// Embedder, optionally followed by a colon and a tap.
    #[arg(value_name = "EMBEDDER[:TAP]", value_parser = config::tapped)]
    pub(crate) embedder: Tapped,
    /// Texts to embed.
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// Image file to embed; may be repeated.
    #[arg(long = "image", value_name = "FILE", conflicts_with = "texts")]
    pub(crate) images: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `embedders`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearness embedders\n  nearness embedders digits")]
pub(crate) struct EmbeddersArgs {
    /// Name of an embedder to show with its model card.
    pub(crate) name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `words`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearness words alligator\n  nearness words king woman --minus man")]
pub(crate) struct WordsArgs {
    /// Words to add.
    #[arg(value_name = "WORD", required = true)]
    pub(crate) plus: Vec<String>,
    /// Word to subtract; may be repeated.
    #[arg(long, value_name = "WORD")]
    pub(crate) minus: Vec<String>,
    /// Number of words.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Word embedder.
    #[arg(long, default_value = "words")]
    pub(crate) embedder: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `fill`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearness fill 'the ___ cat'\n  nearness fill '___ black ___' -k 5")]
pub(crate) struct FillArgs {
    /// Text with one ___, or a word between two.
    pub(crate) pattern: String,
    /// Number of words per blank.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Word embedder.
    #[arg(long, default_value = "words")]
    pub(crate) embedder: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `classify`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness classify seven.png")]
pub(crate) struct ClassifyArgs {
    /// PNG, JPEG, BMP or WebP of any size, or 784 raw bytes.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// Digit embedder.
    #[arg(long, default_value = "digits")]
    pub(crate) embedder: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `load`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").required(true).args(["data", "server"]),
    after_help = "Examples:\n  nearness load --data ./nearness-data --collection paragraphs enwiki.txt.gz\n  \
                  nearness load --server http://127.0.0.1:50051 --collection notes --embedder text notes.jsonl\n  \
                  nearness load --data ./nearness-data --collection sift --metric l2 sift_base.fvecs\n  \
                  nearness load --data ./nearness-data --collection digits train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz\n\n\
                  The format is told from the content; files may be gzip or zstd. A broken record is reported with file and\n\
                  line, counted and skipped. A record without an id gets one made from its content: repeated, a load\n\
                  changes nothing, and another file adds its records beside. Rows of vectors and IDX files have their row\n\
                  number as id, images their path; a load that would change the point of such an id ends with an error,\n\
                  unless --id-prefix or --replace is given. Ids that a file gives itself replace the point that has them."
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
    pub(crate) trust: TrustArgs,
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
    /// Embedder of a new collection; `none` for plain vectors [default: text or digits, by the items]
    #[arg(long, value_name = "NAME")]
    pub(crate) embedder: Option<String>,
    /// Tap of the embedder [default: its first]
    #[arg(long, value_name = "NAME")]
    pub(crate) tap: Option<String>,
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

/// `train ...`
#[derive(Debug, Subcommand)]
pub(crate) enum TrainCommand {
    /// Train word vectors: skip-gram with negative sampling.
    Words(TrainWordsArgs),
    /// Train the digit net.
    Digits(TrainDigitsArgs),
    /// Train a residual network on images of any classes.
    Images(TrainImagesArgs),
    /// Train a text encoder by contrastive learning on paragraphs.
    Text(TrainTextArgs),
    /// Train a small GPT-2 language model.
    Gpt(TrainGptArgs),
}

/// Model folder that a command creates.
#[derive(Debug, Args)]
pub(crate) struct MadeArgs {
    /// Model folder to create.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Licence of the training data, for the model card.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) licence: String,
    /// Replace an existing model folder at --out.
    #[arg(long)]
    pub(crate) force: bool,
    /// Print a JSON summary.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Precision of the stored weights of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoredAs {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers with one scale per row.
    I8,
}

/// `train words`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness train words --corpus data/wikipedia/enwiki-featured-2019.txt.gz --out ./my-words --epochs 5\n\n\
                  The folder is accepted by `serve --model`, `load --model` and `eval words --model`."
)]
pub(crate) struct TrainWordsArgs {
    /// Plain text or WikiExtractor files in UTF-8, plain, gzip or zstd; - is standard input. They are streamed, so they
    /// may be larger than memory; this needs four bytes of disk space per word, next to --out or in --checkpoint. Words
    /// are split by Unicode Standard Annex 29 and lowercased.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) corpus: Vec<PathBuf>,
    /// Training objective: skip-gram predicts the context from a word, cbow a word from its context, glove
    /// co-occurrence counts.
    #[arg(long, value_enum, default_value_t = ObjectiveArg::SkipGram)]
    pub(crate) objective: ObjectiveArg,
    /// Also learn vectors of character n-grams of these lengths, for example 3-6, so that unknown words get vectors
    /// too. Several times slower.
    #[arg(long, value_name = "MIN-MAX", value_parser = config::range)]
    pub(crate) ngrams: Option<(usize, usize)>,
    /// Number of vectors shared by all n-grams (hash buckets).
    #[arg(long, default_value_t = 500_000, requires = "ngrams")]
    pub(crate) buckets: u32,
    /// Split words into subword pieces (byte-pair encoding within words), at most this many different ones, and learn
    /// vectors of the pieces, so that any word of any language gets a vector. Needs a program built with the cargo
    /// feature `transformers`.
    #[arg(long, value_name = "N", conflicts_with_all = ["ngrams", "phrases"])]
    pub(crate) pieces: Option<usize>,
    /// Name of the embedder. With a name other than `words`, the text embedder of the model is called NAME-text.
    #[arg(long, default_value = "words", value_parser = config::embedder_name)]
    pub(crate) name: String,
    /// Number of components of a word vector.
    #[arg(long, default_value_t = 100, value_parser = config::at_least_one)]
    pub(crate) dim: usize,
    /// Context window: words on each side.
    #[arg(long, default_value_t = words::TrainOptions::default().window, value_parser = config::at_least_one)]
    pub(crate) window: usize,
    /// Negative samples per context word.
    #[arg(long, default_value_t = words::TrainOptions::default().negative, value_parser = config::at_least_one)]
    pub(crate) negative: usize,
    /// Minimum number of occurrences of a word.
    #[arg(long, default_value_t = 5)]
    pub(crate) min_count: u64,
    /// Maximum vocabulary size; keeps the most frequent words. At most four times as many words are counted at once;
    /// beyond that, the rarest counts are dropped.
    #[arg(long, default_value_t = 5_000_000, value_parser = config::at_least_one)]
    pub(crate) max_words: usize,
    /// Join words that occur together much more often than expected by chance, such as new_york. The number of passes:
    /// one gives phrases of two words, two give up to four.
    #[arg(long, value_name = "PASSES", num_args = 0..=1, default_missing_value = "1", value_parser = config::at_least_one)]
    pub(crate) phrases: Option<usize>,
    /// Minimum score of a phrase; lower values give more phrases.
    #[arg(long, default_value_t = 100.0, requires = "phrases")]
    pub(crate) phrase_threshold: f64,
    /// Exponent of the word frequencies in negative sampling.
    #[arg(long, default_value_t = 0.75)]
    pub(crate) noise_power: f64,
    /// Subsampling threshold: words with a higher relative frequency are subsampled; 0 keeps all.
    #[arg(long, default_value_t = 1e-4, value_parser = config::fraction)]
    pub(crate) subsample: f64,
    /// Number of epochs; default 5, for glove 25.
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) epochs: Option<usize>,
    /// Initial learning rate; default 0.02, for cbow and glove 0.05.
    #[arg(long, value_parser = config::positive)]
    pub(crate) learning_rate: Option<f32>,
    /// Number of epochs of the cloze layer; 0 uses the model's own output layer to fill blanks.
    #[arg(long, default_value_t = 1)]
    pub(crate) blank_epochs: usize,
    /// Share of the output vector that is added to a word's vector after training, 0 to 1. This and the next three
    /// options have no effect with --ngrams.
    #[arg(long, default_value_t = words::Refine::default().output)]
    pub(crate) output_share: f32,
    /// Share of a word's vector that is predicted from its spelling, 0 to 1.
    #[arg(long, default_value_t = words::Refine::default().spelling)]
    pub(crate) spelling: f32,
    /// Reduction of the dominant directions of all vectors, 0 to 1.
    #[arg(long, default_value_t = words::Refine::default().spread)]
    pub(crate) spread: f32,
    /// Shift of a word's vector towards its three nearest words, 0 to 1.
    #[arg(long, default_value_t = words::Refine::default().nearest)]
    pub(crate) nearest: f32,
    /// Folder for checkpoints. The same command resumes an interrupted or killed training; with one thread the result
    /// is identical. Removed when the model is written.
    #[arg(long, value_name = "DIR")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Seconds between checkpoints.
    #[arg(long, default_value_t = 60, requires = "checkpoint")]
    pub(crate) checkpoint_every: u64,
    /// Number of threads; 0 for all cores. The result is reproducible only with 1.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Precision of the saved weights.
    #[arg(long, value_enum, default_value_t = StoredAs::F16)]
    pub(crate) store: StoredAs,
    /// Also write the vectors in word2vec's text format.
    #[arg(long, value_name = "FILE")]
    pub(crate) word2vec_text: Option<PathBuf>,
    /// Also write the vectors in word2vec's binary format.
    #[arg(long, value_name = "FILE")]
    pub(crate) word2vec_binary: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) made: MadeArgs,
}

/// Training objective of word vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectiveArg {
    /// Predicts the context from a word.
    SkipGram,
    /// Predicts a word from its context.
    Cbow,
    /// Predicts co-occurrence counts.
    Glove,
}

/// `train digits`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness train digits --images data/mnist/train-images-idx3-ubyte.gz --labels data/mnist/train-labels-idx1-ubyte.gz \\\n    \
                  --test-images data/mnist/t10k-images-idx3-ubyte.gz --test-labels data/mnist/t10k-labels-idx1-ubyte.gz --out ./my-digits --epochs 12"
)]
pub(crate) struct TrainDigitsArgs {
    /// IDX file of 28x28 images, plain or gzip.
    #[arg(long, value_name = "FILE")]
    pub(crate) images: PathBuf,
    /// IDX file of the labels.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: PathBuf,
    /// IDX file of test images.
    #[arg(long, value_name = "FILE", requires = "test_labels")]
    pub(crate) test_images: Option<PathBuf>,
    /// IDX file of the test labels.
    #[arg(long, value_name = "FILE", requires = "test_images")]
    pub(crate) test_labels: Option<PathBuf>,
    /// Name of the embedder.
    #[arg(long, default_value = "digits", value_parser = config::embedder_name)]
    pub(crate) name: String,
    /// Number of epochs [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) epochs: Option<usize>,
    /// Batch size [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) batch: Option<usize>,
    /// Initial learning rate [default: the trainer's]
    #[arg(long, value_parser = config::positive)]
    pub(crate) learning_rate: Option<f32>,
    /// Disable data augmentation (small random rotations, scalings and shifts).
    #[arg(long)]
    pub(crate) no_augment: bool,
    /// Number of threads; 0 for all cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) made: MadeArgs,
}

/// Labelled images: class folders, or a pair of IDX files.
#[derive(Debug, Args)]
pub(crate) struct LabelledArgs {
    /// Folder with one subfolder of images per class, or a tar archive of one (plain or gzip).
    #[arg(long, value_name = "DIR|TAR", required_unless_present = "images", conflicts_with_all = ["images", "labels"])]
    pub(crate) data: Option<PathBuf>,
    /// IDX file of grey images, plain or gzip.
    #[arg(long, value_name = "FILE", requires = "labels")]
    pub(crate) images: Option<PathBuf>,
    /// IDX file of the labels.
    #[arg(long, value_name = "FILE", requires = "images")]
    pub(crate) labels: Option<PathBuf>,
}

/// `train images`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nearness train images --data ./photos --test ./photos-held-out --out ./my-images\n  \
                  nearness train images --images train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz --out ./my-clothes\n\n\
                  The folder is accepted by `serve --model`, `load --model`, `models install` and `eval images --model`."
)]
pub(crate) struct TrainImagesArgs {
    #[command(flatten)]
    pub(crate) train: LabelledArgs,
    /// Class folders, or a tar archive of them, for testing.
    #[arg(long, value_name = "DIR|TAR", requires = "data")]
    pub(crate) test: Option<PathBuf>,
    /// IDX file of test images.
    #[arg(long, value_name = "FILE", requires = "test_labels", requires = "images")]
    pub(crate) test_images: Option<PathBuf>,
    /// IDX file of the test labels.
    #[arg(long, value_name = "FILE", requires = "test_images")]
    pub(crate) test_labels: Option<PathBuf>,
    /// Name of the embedder.
    #[arg(long, default_value = "images", value_parser = config::embedder_name)]
    pub(crate) name: String,
    /// Side length that images are scaled to, pixels, 16 to 256 [default: 32; of IDX files their own]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) size: Option<usize>,
    /// Convert images to greyscale; IDX images always are.
    #[arg(long)]
    pub(crate) grey: bool,
    /// Channels of the first of three stages, a multiple of 32; the vectors have four times as many components
    /// [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) width: Option<usize>,
    /// Residual blocks per stage [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) blocks: Option<usize>,
    /// Number of epochs [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) epochs: Option<usize>,
    /// Batch size [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) batch: Option<usize>,
    /// Peak learning rate [default: the trainer's]
    #[arg(long, value_parser = config::positive)]
    pub(crate) learning_rate: Option<f32>,
    /// Disable data augmentation (shifts and mirroring).
    #[arg(long)]
    pub(crate) no_augment: bool,
    /// Do not mirror images: for data where left and right differ, such as writing.
    #[arg(long)]
    pub(crate) no_mirror: bool,
    /// Number of threads; 0 for all cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) made: MadeArgs,
}

/// `eval ...`
#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Word similarity (Spearman) and analogies (3CosAdd).
    Words(EvalWordsArgs),
    /// Retrieval of paragraphs of the same article, compared with BM25.
    Text(EvalTextArgs),
    /// Accuracy on labelled images, and the confusion matrix.
    Digits(EvalDigitsArgs),
    /// Accuracy on images of any classes, and the fraction of an image's nearest neighbours of the same class.
    Images(EvalImagesArgs),
}

/// `eval words`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("task").required(true).multiple(true).args(["similarity", "analogies", "blanks"]),
    after_help = "Example:\n  nearness eval words --similarity data/word-eval/EN-WS-353-ALL.txt --analogies data/word-eval/questions-words.txt"
)]
pub(crate) struct EvalWordsArgs {
    /// Model folder; the built-in model if omitted.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Files of word pairs with human ratings.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) similarity: Vec<PathBuf>,
    /// Files of analogies: four words per line.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) analogies: Vec<PathBuf>,
    /// Text, plain or gzip, in which words are hidden and predicted from the five words on each side.
    #[arg(long, value_name = "FILE")]
    pub(crate) blanks: Option<PathBuf>,
    /// Number of hidden words, sampled from the whole text.
    #[arg(long, default_value_t = 10_000, value_parser = config::at_least_one)]
    pub(crate) blank_count: usize,
    /// Seed of the sample.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Number of most frequent words among which analogy answers are searched.
    #[arg(long, default_value_t = 30_000, value_parser = config::at_least_one)]
    pub(crate) restrict: usize,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `eval digits`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness eval digits --images data/mnist/t10k-images-idx3-ubyte.gz --labels data/mnist/t10k-labels-idx1-ubyte.gz"
)]
pub(crate) struct EvalDigitsArgs {
    /// Model folder; the built-in model if omitted.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// IDX file of 28x28 images, plain or gzip.
    #[arg(long, value_name = "FILE")]
    pub(crate) images: PathBuf,
    /// IDX file of the labels.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: PathBuf,
    /// Draw the confusion matrix and the learning curve: .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = picture::path)]
    pub(crate) plot: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `eval images`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness eval images --model ./my-images --data ./photos-held-out")]
pub(crate) struct EvalImagesArgs {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) images: LabelledArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bench`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nearness bench --base sift_base.fvecs --queries sift_query.fvecs --truth sift_groundtruth.ivecs --metric l2\n  \
                  nearness bench --base base.npy --queries queries.npy --metric cosine --ef 10,20,40,80 --plot curve.svg --json\n  \
                  nearness bench --base base.fvecs --queries q.fvecs --metric l2 --server http://127.0.0.1:50051 --collection sift --query-threads 16\n\n\
                  Recall is measured by id, and tie-aware: a hit counts when its distance is at most that of the k-th\n\
                  true neighbour (relative tolerance 0.001), so that equal points may stand for one another.\n\
                  With --server, row i of the base file must be the point whose id is i (as `load` names rows of vectors)."
)]
pub(crate) struct BenchArgs {
    /// Vectors to search in: fvecs, bvecs, fbin, u8bin, i8bin, npy or IDX, plain, gzip or zstd.
    #[arg(long, value_name = "FILE")]
    pub(crate) base: PathBuf,
    /// Query vectors.
    #[arg(long, value_name = "FILE")]
    pub(crate) queries: PathBuf,
    /// Ground truth (ivecs); computed exactly if omitted.
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
    /// Distance metric: cosine, dot or l2.
    #[arg(long, value_parser = config::metric)]
    pub(crate) metric: Metric,
    /// Number of neighbours.
    #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Links per graph node (HNSW M).
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=128))]
    pub(crate) m: u32,
    /// Candidate list size while building (ef_construction).
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) ef_construction: u32,
    /// Candidate list sizes while searching (ef), one point of the curve each.
    #[arg(long, value_name = "LIST", default_value = "10,14,20,28,40,56,80,120,160,240,320", value_parser = config::ef_list)]
    pub(crate) ef: EfList,
    /// Number of threads for the build and the ground truth; 0 for all cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Number of threads (or connections) that search.
    #[arg(long, default_value_t = 1, value_parser = config::at_least_one)]
    pub(crate) query_threads: usize,
    /// Maximum number of queries.
    #[arg(long, value_name = "N", value_parser = config::at_least_one)]
    pub(crate) limit_queries: Option<usize>,
    /// Seed of the build.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder for the graph during the measurement [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Draw the curve: .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = picture::path)]
    pub(crate) plot: Option<PathBuf>,
    /// Files with curves to draw for comparison: output of bench --json, or curves of several engines (as for `plot`).
    #[arg(long, value_name = "FILE", requires = "plot", num_args = 1..)]
    pub(crate) beside: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Measure this server instead of building an index here.
    #[arg(long, value_name = "URL", requires = "collection")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// Collection of the server.
    #[arg(long, value_name = "NAME", requires = "server", value_parser = config::collection_name)]
    pub(crate) collection: Option<CollectionName>,
}

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
    /// Delete a collection with all its points.
    #[command(after_help = "Example:\n  nearness collections delete scratch")]
    Delete(NamedArgs),
    /// Flush growing points, merge segments, and wait until every segment has its graph.
    #[command(after_help = "Example:\n  nearness collections compact paragraphs")]
    Compact(NamedArgs),
    /// Re-embed a collection with another embedder while it is being served; the previous generation is kept.
    #[command(after_help = "Example:\n  nearness collections reembed notes --embedder text\n\n\
                      Points are embedded from the field \"text\" of their payload, or \"image\" (base64). `rollback` goes back,\n\
                      with everything that was written since; `drop-previous` gives its space free.")]
    Reembed(ReembedArgs),
    /// Return to the previous generation, including all writes made since.
    #[command(after_help = "Example:\n  nearness collections rollback notes")]
    Rollback(NamedArgs),
    /// Delete the previous generation.
    #[command(after_help = "Example:\n  nearness collections drop-previous notes")]
    DropPrevious(NamedArgs),
}

/// `collections reembed`
#[derive(Debug, Args)]
pub(crate) struct ReembedArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) name: CollectionName,
    /// Embedder of the server: NAME, or NAME@FINGERPRINT with the first 8 digits or more.
    #[arg(long, value_name = "EMBEDDER[:TAP]", value_parser = config::tapped)]
    pub(crate) embedder: Tapped,
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

/// `collections create`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("space").required(true).args(["dimension", "embedder"]),
    after_help = "Examples:\n  nearness collections create notes --embedder text\n  nearness collections create sift --dimension 128 --metric l2 --m 24"
)]
pub(crate) struct CreateArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) name: CollectionName,
    /// Number of components, for a collection of plain vectors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) dimension: Option<u32>,
    /// Embedder of the collection: EMBEDDER or EMBEDDER:TAP.
    #[arg(long, value_name = "EMBEDDER[:TAP]", value_parser = config::tapped)]
    pub(crate) embedder: Option<Tapped>,
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
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `scroll`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness scroll paragraphs --limit 20\n\nWith --json: one JSON object a line, as `load` reads them."
)]
pub(crate) struct ScrollArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Start after this id, which need not exist.
    #[arg(long, value_name = "ID", default_value = "", allow_hyphen_values = true)]
    pub(crate) after: String,
    /// Number of points; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Print the vectors.
    #[arg(long)]
    pub(crate) vector_out: bool,
    /// Print JSON lines.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) seen: SeenArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
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
    pub(crate) seen: SeenArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `count`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearness count paragraphs\n  \
                  nearness count films --filter '{\"field\": \"kind\", \"in\": [\"drama\", \"western\"]}'")]
pub(crate) struct CountArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) seen: SeenArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `delete`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").required(true).args(["ids", "filter"]),
    after_help = "Examples:\n  nearness delete paragraphs 339:1 339:2\n  \
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
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
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
            assert!(examples.iter().any(|line| line.starts_with(path)), "{path} has no example of its own: {help}");
            for example in examples {
                // Split as a shell would, as far as the examples need it: single quotes only.
                let words = example.split('\'').enumerate().flat_map(|(place, part)| {
                    if place % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }
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
            "delete c a --filter {\"field\":\"a\",\"exists\":true}",
        ] {
            let words = std::iter::once("nearness").chain(line.split(' '));
            let error = Cli::try_parse_from(words).err().unwrap_or_else(|| panic!("{line} was accepted"));
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
