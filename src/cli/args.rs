//! What was typed: the commands, their flags, and an example in the help of each.
//!
//! Values are parsed by the functions of `config.rs`, so that a wrong one is a usage error (exit code 2). It is
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

/// A vector database that makes its own meaning: it trains its embedders, stores and indexes their
/// vectors, and answers over gRPC what is near.
#[derive(Debug, Parser)]
#[command(
    name = "nearness",
    version,
    propagate_version = true,
    after_help = "Start here:\n  nearness quickstart\n\nEach command explains itself with an example: nearness help load"
)]
pub(crate) struct Cli {
    /// Show no progress; results and errors are still printed.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load the data that comes with nearness, serve it, and show what it finds.
    Quickstart(QuickstartArgs),
    /// Serve a data directory over gRPC.
    Serve(Box<ServeArgs>),
    /// Check the configuration of a server.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make keys for clients.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Find the points of a collection that are near a text, an image, a vector, a point, or a sum of words.
    Query(QueryArgs),
    /// Say why a point is, or is not, among the hits of a query.
    Explain(ExplainArgs),
    /// Measure the recall of a live collection.
    Recall(RecallArgs),
    /// Draw a map of a collection: one file to look at.
    Map(Box<MapArgs>),
    /// Turn texts or images into vectors.
    Embed(EmbedArgs),
    /// List the embedders of a server, or show one with its model card.
    Embedders(EmbeddersArgs),
    /// Install models on a server while it runs, train them there, list and delete them.
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Find the words nearest to a word, or to a sum of words.
    Words(WordsArgs),
    /// Find the words that fit a blank.
    Fill(FillArgs),
    /// What comes next after a text, by a language model?
    NextToken(NextTokenArgs),
    /// Which digit is on this image?
    Classify(ClassifyArgs),
    /// Load files into a collection, offline or through a server.
    Load(LoadArgs),
    /// Train an embedder on your own data.
    #[command(subcommand)]
    Train(TrainCommand),
    /// Make a model folder of a model that was trained elsewhere.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Write a model's vectors in the formats of other programs.
    #[command(subcommand)]
    Export(ExportCommand),
    /// Measure how good an embedder is.
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Measure recall against speed.
    Bench(BenchArgs),
    /// Draw curves of recall against speed that were measured before.
    Plot(PlotArgs),
    /// List, inspect, create, delete and compact collections.
    #[command(subcommand)]
    Collections(CollectionsCommand),
    /// Go through the points of a collection in the order of their ids.
    Scroll(ScrollArgs),
    /// Fetch points by id.
    Get(GetArgs),
    /// Count the points of a collection.
    Count(CountArgs),
    /// Delete points by id, or those that match a filter.
    Delete(DeleteArgs),
    /// Write a collection and its embedder into one file, and make collections from such files.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Compare every checksum of a data directory, or of a collection that is being served.
    Check(CheckArgs),
    /// Take out what is lost of a data directory that is not being served, list it, and build all indexes anew.
    Repair(RepairArgs),
}

/// `quickstart`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness quickstart --once")]
pub(crate) struct QuickstartArgs {
    /// Data directory; created when it is not there, reused when it is.
    #[arg(long, value_name = "DIR", default_value = "./nearness-data")]
    pub(crate) data: PathBuf,
    /// Address to serve on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50051")]
    pub(crate) listen: SocketAddr,
    /// Address of the page for browsers, none for no page [default: 127.0.0.1:7700]
    #[arg(long, value_name = "ADDR|none", env = "NEARNESS_WEB")]
    pub(crate) web: Option<WebListen>,
    /// Exit after the show instead of serving on.
    #[arg(long)]
    pub(crate) once: bool,
    /// Train both embedders first instead of taking those in the binary.
    #[arg(long)]
    pub(crate) train: bool,
}

/// `config ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read a configuration file and all that it names, and say what is wrong with it, or what it sets up.
    #[command(after_help = "Example:\n  nearness config check /etc/nearness/nearness.toml")]
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Which server a client command asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// Address of the server [default: http://127.0.0.1:50051]
    #[arg(long, value_name = "URL", env = config::SERVER_VARIABLE)]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

/// How a client and an https server prove to each other who they are. An API key or a token is given in the
/// environment variable NEARNESS_KEY only: other users of the machine see what is typed as a flag.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TrustArgs {
    /// Roots of the server's certificate, PEM [default: those of the system]
    #[arg(long, value_name = "FILE", env = "NEARNESS_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// Certificate to show to the server, PEM.
    #[arg(long, value_name = "FILE", env = "NEARNESS_CERTIFICATE", requires = "certificate_key")]
    pub(crate) certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", env = "NEARNESS_CERTIFICATE_KEY", requires = "certificate")]
    pub(crate) certificate_key: Option<PathBuf>,
}

/// Which writes a client command wants to see.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct SeenArgs {
    /// See at least the write of this sequence number; wait for it up to 10 s.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    pub(crate) min_sequence: u64,
}

/// What is brought to be near to.
#[derive(Debug, Args)]
pub(crate) struct NearArgs {
    /// Near this text.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) text: Option<String>,
    /// Near this image file.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// Near this vector: numbers with commas between.
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
    /// The collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    #[command(flatten)]
    pub(crate) near: NearArgs,
    /// Near this stored point.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) id: Option<String>,
    /// A term to add (id of a point, or a text); may be repeated.
    #[arg(long, value_name = "TERM", allow_hyphen_values = true)]
    pub(crate) plus: Vec<String>,
    /// A term to take away; may be repeated.
    #[arg(long, value_name = "TERM", requires = "plus", allow_hyphen_values = true)]
    pub(crate) minus: Vec<String>,
    /// How many hits.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Candidates kept by the graph search; more is slower and finds more.
    #[arg(long, conflicts_with_all = ["exact", "target_recall"], value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) ef: Option<u32>,
    /// The mean recall to reach, 0.5 to 1, instead of an ef.
    #[arg(long, value_name = "RECALL", conflicts_with = "exact", value_parser = config::target_recall)]
    pub(crate) target_recall: Option<f32>,
    /// Compare with every point.
    #[arg(long)]
    pub(crate) exact: bool,
    /// Only hits with at least this score.
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    pub(crate) min_score: Option<f32>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Of the points with the same value in this payload field only the nearest: `parent` for texts in blocks.
    #[arg(long, value_name = "FIELD")]
    pub(crate) group_by: Option<String>,
    /// Of a damaged collection answer from all rows that are sound, and say that some were left out.
    #[arg(long)]
    pub(crate) allow_partial: bool,
    /// Show the payload of each hit whole.
    #[arg(long)]
    pub(crate) payload: bool,
    /// Show the vector of each hit.
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
    /// The embedder, and after a colon which of its taps.
    #[arg(value_name = "EMBEDDER[:TAP]", value_parser = config::tapped)]
    pub(crate) embedder: Tapped,
    /// Texts.
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// Image file; may be repeated.
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
    /// Show this one with its model card.
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
    /// Word to take away; may be repeated.
    #[arg(long, value_name = "WORD")]
    pub(crate) minus: Vec<String>,
    /// How many words.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Which word embedder.
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
    /// How many words for each blank.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Which word embedder.
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
    /// Which digit embedder.
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
    /// The collection; created when it is not there.
    #[arg(long, value_name = "NAME", value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Write straight into this data directory, which no server may hold.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Send the items to this server.
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// What the files are, when the content does not tell.
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// IDX file of the labels of an IDX file of images; once for each of those.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Vec<PathBuf>,
    /// Put before every id that is not in the file: of content, row numbers, paths.
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    pub(crate) id_prefix: String,
    /// Replace the points that have the row numbers or paths of this load as ids, instead of ending with an error.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Embedder of a collection to be created; `none` for plain vectors [default: text or digits, by the items]
    #[arg(long, value_name = "NAME")]
    pub(crate) embedder: Option<String>,
    /// Which tap of the embedder [default: its first]
    #[arg(long, value_name = "NAME")]
    pub(crate) tap: Option<String>,
    /// Model folder for offline embedding, instead of the default of its family; may be repeated.
    #[arg(long = "model", value_name = "DIR", conflicts_with = "server")]
    pub(crate) models: Vec<PathBuf>,
    /// How near is measured in a collection to be created: cosine, dot or l2 [default: cosine]
    #[arg(long, value_parser = config::metric)]
    pub(crate) metric: Option<Metric>,
    /// Links of a graph node in a collection to be created.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=128))]
    pub(crate) m: Option<u32>,
    /// Candidates kept while building, in a collection to be created.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) ef_construction: Option<u32>,
    /// What is kept of each component in a collection to be created: f32, f16 or i8 [default: f32]
    #[arg(long, value_parser = config::precision)]
    pub(crate) precision: Option<Precision>,
    /// Split each text into blocks of so many words, each a point that knows its parent and place.
    #[arg(long, value_name = "WORDS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) block_words: Option<u32>,
    /// Words that a block shares with the one before.
    #[arg(long, value_name = "WORDS", requires = "block_words", default_value_t = 0)]
    pub(crate) block_overlap: u32,
    /// Stop at the first broken record.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Load at most this many items.
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
    /// Train a residual net on images of any classes.
    Images(TrainImagesArgs),
    /// Train an encoder of blocks of text: by contrast of paragraphs.
    Text(TrainTextArgs),
    /// Train a small language model: GPT-2.
    Gpt(TrainGptArgs),
}

/// The model folder that a command makes.
#[derive(Debug, Args)]
pub(crate) struct MadeArgs {
    /// Model folder to make.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Licence of what it is made from, for the model card.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) licence: String,
    /// Replace the model folder that is at --out.
    #[arg(long)]
    pub(crate) force: bool,
    /// Print a JSON summary.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How the numbers of a saved model are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoredAs {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers with a scale for each row.
    I8,
}

/// `train words`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness train words --corpus data/wikipedia/enwiki-featured-2019.txt.gz --out ./my-words --epochs 5\n\n\
                  The folder is accepted by `serve --model`, `load --model` and `eval words --model`."
)]
pub(crate) struct TrainWordsArgs {
    /// Plain text or WikiExtractor files in UTF-8, plain, gzip or zstd; - is standard input. They are read as a stream, so they may
    /// be larger than memory; four bytes a word are needed on disk, beside --out or in --checkpoint. Words lie between the
    /// boundaries of Unicode Standard Annex 29 and are trained in lower case.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) corpus: Vec<PathBuf>,
    /// What the net learns to tell: from a word those around it, or (cbow) from those around it the word.
    #[arg(long, value_enum, default_value_t = ObjectiveArg::SkipGram)]
    pub(crate) objective: ObjectiveArg,
    /// Words also have the vectors of their n-grams of so many characters, for example 3-6, so that unknown words have a
    /// vector too. Several times slower.
    #[arg(long, value_name = "MIN-MAX", value_parser = config::range)]
    pub(crate) ngrams: Option<(usize, usize)>,
    /// How many vectors all n-grams share.
    #[arg(long, default_value_t = 500_000, requires = "ngrams")]
    pub(crate) buckets: u32,
    /// Words are cut into at most so many different pieces (byte-pair encoding within words), and it is the pieces that have vectors:
    /// any word of any language has one then. Needs a program built with the cargo feature `transformers`.
    #[arg(long, value_name = "N", conflicts_with_all = ["ngrams", "phrases"])]
    pub(crate) pieces: Option<usize>,
    /// Name of the embedder; another than `words` gives a second one, of texts, called NAME-text.
    #[arg(long, default_value = "words", value_parser = config::embedder_name)]
    pub(crate) name: String,
    /// Components of a word's vector.
    #[arg(long, default_value_t = 100, value_parser = config::at_least_one)]
    pub(crate) dim: usize,
    /// Words to each side that count as context.
    #[arg(long, default_value_t = words::TrainOptions::default().window, value_parser = config::at_least_one)]
    pub(crate) window: usize,
    /// Noise words drawn for each context word.
    #[arg(long, default_value_t = words::TrainOptions::default().negative, value_parser = config::at_least_one)]
    pub(crate) negative: usize,
    /// Words that occur less often are left out.
    #[arg(long, default_value_t = 5)]
    pub(crate) min_count: u64,
    /// At most so many words, the most frequent ones. Of four times as many the occurrences are counted at once; when there
    /// are more, the rarest are forgotten.
    #[arg(long, default_value_t = 5_000_000, value_parser = config::at_least_one)]
    pub(crate) max_words: usize,
    /// Words that occur together much more often than their frequencies say become one, such as new_york. The number of passes:
    /// after one, phrases have two words, after two up to four.
    #[arg(long, value_name = "PASSES", num_args = 0..=1, default_missing_value = "1", value_parser = config::at_least_one)]
    pub(crate) phrases: Option<usize>,
    /// The least score of a phrase; lower makes more of them.
    #[arg(long, default_value_t = 100.0, requires = "phrases")]
    pub(crate) phrase_threshold: f64,
    /// The power that flattens word frequencies for drawing noise words.
    #[arg(long, default_value_t = 0.75)]
    pub(crate) noise_power: f64,
    /// Words more frequent than this are thinned out; 0 keeps all.
    #[arg(long, default_value_t = 1e-4, value_parser = config::fraction)]
    pub(crate) subsample: f64,
    /// Passes over the corpus; 5 when it is not given, for glove 25.
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) epochs: Option<usize>,
    /// Learning rate at the start; 0.02 when it is not given, for cbow and glove 0.05.
    #[arg(long, value_parser = config::positive)]
    pub(crate) learning_rate: Option<f32>,
    /// Passes over the corpus for the layer that fills blanks; 0 leaves them to the net's own output layer.
    #[arg(long, default_value_t = 1)]
    pub(crate) blank_epochs: usize,
    /// The share of the output layer's row that is added to a word's vector after training, 0 to 1. This and the next three
    /// are not done with --ngrams.
    #[arg(long, default_value_t = words::Refine::default().output)]
    pub(crate) output_share: f32,
    /// How much of a word's vector is what its spelling says of it, 0 to 1.
    #[arg(long, default_value_t = words::Refine::default().spelling)]
    pub(crate) spelling: f32,
    /// How far the directions in which all vectors differ most are drawn in, 0 to 1.
    #[arg(long, default_value_t = words::Refine::default().spread)]
    pub(crate) spread: f32,
    /// How far a word's vector moves towards those of its three nearest words, 0 to 1.
    #[arg(long, default_value_t = words::Refine::default().nearest)]
    pub(crate) nearest: f32,
    /// Save the state of training in this folder every so often. The same command goes on from there when it was interrupted,
    /// even killed; with one thread the result is the same. Removed when the model is written.
    #[arg(long, value_name = "DIR")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Seconds between two checkpoints.
    #[arg(long, default_value_t = 60, requires = "checkpoint")]
    pub(crate) checkpoint_every: u64,
    /// Threads; 0 takes all cores. The result repeats exactly with 1.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How the saved model keeps its numbers.
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

/// What a net of words learns to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectiveArg {
    /// From a word, the words around it.
    SkipGram,
    /// From the words around, the word in the middle.
    Cbow,
    /// How often words stand near each other.
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
    /// IDX file of their labels.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: PathBuf,
    /// IDX file of images to test on.
    #[arg(long, value_name = "FILE", requires = "test_labels")]
    pub(crate) test_images: Option<PathBuf>,
    /// IDX file of their labels.
    #[arg(long, value_name = "FILE", requires = "test_images")]
    pub(crate) test_labels: Option<PathBuf>,
    /// Name of the embedder.
    #[arg(long, default_value = "digits", value_parser = config::embedder_name)]
    pub(crate) name: String,
    /// Passes over the images [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) epochs: Option<usize>,
    /// Images of one step [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) batch: Option<usize>,
    /// Learning rate at the start [default: the trainer's]
    #[arg(long, value_parser = config::positive)]
    pub(crate) learning_rate: Option<f32>,
    /// Show every image as it is, not turned, scaled and shifted a little at every visit.
    #[arg(long)]
    pub(crate) no_augment: bool,
    /// Threads; 0 takes all cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) made: MadeArgs,
}

/// Labelled images: class folders, or a pair of IDX files.
#[derive(Debug, Args)]
pub(crate) struct LabelledArgs {
    /// Folder that has one folder of images a class, or a tar archive of such (plain or gzip).
    #[arg(long, value_name = "DIR|TAR", required_unless_present = "images", conflicts_with_all = ["images", "labels"])]
    pub(crate) data: Option<PathBuf>,
    /// IDX file of grey images, plain or gzip.
    #[arg(long, value_name = "FILE", requires = "labels")]
    pub(crate) images: Option<PathBuf>,
    /// IDX file of their labels.
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
    /// Class folders, or a tar archive of such, to test on.
    #[arg(long, value_name = "DIR|TAR", requires = "data")]
    pub(crate) test: Option<PathBuf>,
    /// IDX file of images to test on.
    #[arg(long, value_name = "FILE", requires = "test_labels", requires = "images")]
    pub(crate) test_images: Option<PathBuf>,
    /// IDX file of their labels.
    #[arg(long, value_name = "FILE", requires = "test_images")]
    pub(crate) test_labels: Option<PathBuf>,
    /// What the embedder is called.
    #[arg(long, default_value = "images", value_parser = config::embedder_name)]
    pub(crate) name: String,
    /// Rows and columns that images are scaled to, 16 to 256 [default: 32; of IDX files their own]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) size: Option<usize>,
    /// Take images in grey; IDX files are always.
    #[arg(long)]
    pub(crate) grey: bool,
    /// Channels of the first of three stages, a multiple of 32; the vectors have four times as many components [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) width: Option<usize>,
    /// Residual blocks of each stage [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) blocks: Option<usize>,
    /// Passes over the images [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) epochs: Option<usize>,
    /// Images of one step [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) batch: Option<usize>,
    /// Highest learning rate [default: the trainer's]
    #[arg(long, value_parser = config::positive)]
    pub(crate) learning_rate: Option<f32>,
    /// Show every image as it is, neither moved nor mirrored.
    #[arg(long)]
    pub(crate) no_augment: bool,
    /// Do not mirror images: where left and right mean something, as in writing.
    #[arg(long)]
    pub(crate) no_mirror: bool,
    /// Threads; 0 takes all cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Seed of every random choice.
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
    /// How well paragraphs find those of the same article, beside BM25.
    Text(EvalTextArgs),
    /// Accuracy on labelled images, and what is taken for what.
    Digits(EvalDigitsArgs),
    /// Accuracy on images of any classes, and how many of an image's nearest are of its class.
    Images(EvalImagesArgs),
}

/// `eval words`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("task").required(true).multiple(true).args(["similarity", "analogies", "blanks"]),
    after_help = "Example:\n  nearness eval words --similarity data/word-eval/EN-WS-353-ALL.txt --analogies data/word-eval/questions-words.txt"
)]
pub(crate) struct EvalWordsArgs {
    /// Model folder; the default in the binary when there is none.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Files of word pairs with people's ratings.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) similarity: Vec<PathBuf>,
    /// Files of analogies: four words a line.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) analogies: Vec<PathBuf>,
    /// A text, plain or gzip, of which words are hidden and told from the five to each side.
    #[arg(long, value_name = "FILE")]
    pub(crate) blanks: Option<PathBuf>,
    /// How many words are hidden, drawn from the whole text.
    #[arg(long, default_value_t = 10_000, value_parser = config::at_least_one)]
    pub(crate) blank_count: usize,
    /// Seed of that draw.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Answers to analogies are sought among this many of the most frequent words.
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
    /// Model folder; the default in the binary when there is none.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// IDX file of 28x28 images, plain or gzip.
    #[arg(long, value_name = "FILE")]
    pub(crate) images: PathBuf,
    /// IDX file of their labels.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: PathBuf,
    /// Draw the confusion matrix, and how the net learned: .svg or .png.
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
    /// The vectors to search in: fvecs, bvecs, fbin, u8bin, i8bin, npy or IDX, plain, gzip or zstd.
    #[arg(long, value_name = "FILE")]
    pub(crate) base: PathBuf,
    /// The vectors to search for.
    #[arg(long, value_name = "FILE")]
    pub(crate) queries: PathBuf,
    /// The true neighbours (ivecs); computed exactly when not given.
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
    /// How near is measured: cosine, dot or l2.
    #[arg(long, value_parser = config::metric)]
    pub(crate) metric: Metric,
    /// How many neighbours.
    #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
    /// Links of a graph node.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=128))]
    pub(crate) m: u32,
    /// Candidates kept while building.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) ef_construction: u32,
    /// Candidates kept while searching: one point of the curve for each.
    #[arg(long, value_name = "LIST", default_value = "10,14,20,28,40,56,80,120,160,240,320", value_parser = config::ef_list)]
    pub(crate) ef: EfList,
    /// Threads that build, and that compute the truth; 0 takes all cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Threads (or connections) that search.
    #[arg(long, default_value_t = 1, value_parser = config::at_least_one)]
    pub(crate) query_threads: usize,
    /// Take at most this many queries.
    #[arg(long, value_name = "N", value_parser = config::at_least_one)]
    pub(crate) limit_queries: Option<usize>,
    /// Seed of the build.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where the graph is written for the time of the measurement [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Draw the curve: .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = picture::path)]
    pub(crate) plot: Option<PathBuf>,
    /// Draw the curves of these files beside it: what bench --json printed, or curves of several engines (as for `plot`).
    #[arg(long, value_name = "FILE", requires = "plot", num_args = 1..)]
    pub(crate) beside: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Measure this server instead of building here.
    #[arg(long, value_name = "URL", requires = "collection")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// The server's collection.
    #[arg(long, value_name = "NAME", requires = "server", value_parser = config::collection_name)]
    pub(crate) collection: Option<CollectionName>,
}

/// `collections ...`
#[derive(Debug, Subcommand)]
pub(crate) enum CollectionsCommand {
    /// All collections.
    #[command(after_help = "Example:\n  nearness collections list")]
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// One collection: counts, segments, bytes mapped and resident, embedder.
    #[command(after_help = "Example:\n  nearness collections get paragraphs")]
    Get(NamedArgs),
    /// Make a new, empty collection.
    Create(CreateArgs),
    /// Delete a collection with all its points.
    #[command(after_help = "Example:\n  nearness collections delete scratch")]
    Delete(NamedArgs),
    /// Seal what grows, merge segments, and wait until every segment has its graph.
    #[command(after_help = "Example:\n  nearness collections compact paragraphs")]
    Compact(NamedArgs),
    /// Embed a collection anew, by another embedder, while it serves and is written to; the generation before is kept.
    #[command(after_help = "Example:\n  nearness collections reembed notes --embedder text\n\n\
                      Points are embedded from the field \"text\" of their payload, or \"image\" (base64). `rollback` goes back,\n\
                      with everything that was written since; `drop-previous` gives its space free.")]
    Reembed(ReembedArgs),
    /// Make the generation before the present one again, with everything that was written since.
    #[command(after_help = "Example:\n  nearness collections rollback notes")]
    Rollback(NamedArgs),
    /// Remove the generation that is kept beside the present one.
    #[command(after_help = "Example:\n  nearness collections drop-previous notes")]
    DropPrevious(NamedArgs),
}

/// `collections reembed`
#[derive(Debug, Args)]
pub(crate) struct ReembedArgs {
    /// The collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) name: CollectionName,
    /// By which embedder that the server has: NAME, or NAME@FINGERPRINT with the first 8 digits or more.
    #[arg(long, value_name = "EMBEDDER[:TAP]", value_parser = config::tapped)]
    pub(crate) embedder: Tapped,
    /// Take the text or image in each payload for the source of its point, unchecked: for a collection whose embedder is not
    /// available any more.
    #[arg(long)]
    pub(crate) trust_payload: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// A command on one collection.
#[derive(Debug, Args)]
pub(crate) struct NamedArgs {
    /// The collection.
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
    /// The collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) name: CollectionName,
    /// It takes vectors of this many components.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) dimension: Option<u32>,
    /// It embeds what it is given: EMBEDDER or EMBEDDER:TAP.
    #[arg(long, value_name = "EMBEDDER[:TAP]", value_parser = config::tapped)]
    pub(crate) embedder: Option<Tapped>,
    /// How near is measured: cosine, dot or l2.
    #[arg(long, default_value = "cosine", value_parser = config::metric)]
    pub(crate) metric: Metric,
    /// Links of a graph node [default: the server's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=128))]
    pub(crate) m: Option<u32>,
    /// Candidates kept while building [default: the server's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) ef_construction: Option<u32>,
    /// Candidates kept while searching [default: the server's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) ef_search: Option<u32>,
    /// Growing points that are sealed into a segment [default: the server's]
    #[arg(long, value_name = "N")]
    pub(crate) seal_rows: Option<u32>,
    /// What is kept of each component: f32, f16 or i8 [default: f32]
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
    /// The collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Start after this id, which need not exist.
    #[arg(long, value_name = "ID", default_value = "", allow_hyphen_values = true)]
    pub(crate) after: String,
    /// How many points; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Show the vectors.
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
    /// The collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Ids of points.
    #[arg(required = true, value_name = "ID", allow_negative_numbers = true)]
    pub(crate) ids: Vec<String>,
    /// Show the vectors.
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
    /// The collection.
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
    /// The collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Ids of points.
    #[arg(value_name = "ID", allow_negative_numbers = true)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Delete also when the filter names a field that no point has.
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
