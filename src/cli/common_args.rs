//! Arguments shared by several commands: server, credentials, sequence to read, query.

use super::config::{self, Numbers};
use super::filter::FilterArgs;
use crate::grpc::pb;
use crate::types::CollectionName;
use clap::Args;
use std::path::PathBuf;

/// Server that a client command connects to.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// Address of the server [default: http://127.0.0.1:50051]
    #[arg(long, value_name = "URL", env = config::SERVER_VARIABLE)]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

/// Authentication of client and server. API keys and tokens are read only from the environment variable NEARNESS_KEY,
/// because other users of the machine can see command-line flags.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TlsArgs {
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
pub(crate) struct ConsistencyArgs {
    /// Minimum sequence number to read; waits for it up to 10 s.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    pub(crate) min_sequence: u64,
}

/// Filter, output, sequence and server: what every command that reads points has.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) consistency: ConsistencyArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Collection to read, as the first argument, and the flags of [`ReadArgs`].
#[derive(Debug, Args)]
pub(crate) struct ReadCollectionArgs {
    /// Collection.
    #[arg(value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// Keywords of a search.
#[derive(Debug, Args)]
pub(crate) struct KeywordArgs {
    /// Search by words: rank the points by BM25 in a text field.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(crate) keywords: Option<String>,
    /// Search for the words of --text too, and fuse both results.
    #[arg(long, requires = "text", conflicts_with_all = ["image", "vector", "keywords"])]
    pub(crate) hybrid: bool,
    /// Text field of --keywords or --hybrid [default: the only one]
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) field: String,
    /// Find only points with all words of --keywords.
    #[arg(long, requires = "keywords", conflicts_with_all = ["text", "image", "vector"])]
    pub(crate) all_words: bool,
    /// Weight of the words with --hybrid, 0 to 1 [default: 0.8]
    #[arg(long, value_name = "WEIGHT", requires = "hybrid")]
    pub(crate) keyword_weight: Option<f32>,
}

/// Query of a search.
#[derive(Debug, Args)]
pub(crate) struct QueryInputArgs {
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

/// Examples to search by.
#[derive(Debug, Args)]
pub(crate) struct LikeArgs {
    /// Search for points similar to this stored point; may be repeated.
    #[arg(long, value_name = "ID", allow_hyphen_values = true, conflicts_with_all = ["hybrid", "all_words"])]
    pub(crate) like: Vec<String>,
    /// Text to be similar to, with --like; may be repeated.
    #[arg(long, value_name = "TEXT", requires = "like", allow_hyphen_values = true)]
    pub(crate) like_text: Vec<String>,
    /// Stored point not to be similar to, with --like; may be repeated.
    #[arg(long, value_name = "ID", requires = "like", allow_hyphen_values = true)]
    pub(crate) unlike: Vec<String>,
    /// Text not to be similar to, with --like; may be repeated.
    #[arg(long, value_name = "TEXT", requires = "like", allow_hyphen_values = true)]
    pub(crate) unlike_text: Vec<String>,
    /// Rank by the most similar example, with --like, instead of their mean.
    #[arg(long, requires = "like")]
    pub(crate) best_score: bool,
}

impl LikeArgs {
    /// Returns the query.
    pub(super) fn form(&self) -> pb::query::Form {
        use pb::recommend::Strategy;
        use pb::recommend_term::Form;
        let terms = |ids: &[String], texts: &[String]| {
            let forms = ids.iter().cloned().map(Form::Id).chain(texts.iter().cloned().map(Form::Text));
            forms.map(|form| pb::RecommendTerm { form: Some(form) }).collect()
        };
        let strategy = if self.best_score { Strategy::BestScore } else { Strategy::AverageVector };
        pb::query::Form::Recommend(pb::Recommend {
            positive: terms(&self.like, &self.like_text),
            negative: terms(&self.unlike, &self.unlike_text),
            strategy: strategy.into(),
        })
    }
}
