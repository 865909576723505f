//! Arguments of `nearness bench`.

use crate::cli::common_args::TlsArgs;
use crate::cli::config::{self, EfList};
use crate::cli::picture;
use crate::types::{CollectionName, Metric};
use clap::Args;
use std::path::PathBuf;

/// `bench`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nearness bench --base sift_base.fvecs --queries sift_query.fvecs --truth sift_groundtruth.ivecs --metric l2\n  \
                  nearness bench --base base.npy --queries queries.npy --metric cosine --ef 10,20,40,80 --plot curve.svg --json\n  \
                  nearness bench --base base.fvecs --queries q.fvecs --metric l2 --server http://127.0.0.1:50051 --collection sift --query-threads 16\n\n\
                  Recall is measured by id, and tie-aware: a hit counts when its distance is at most that of the k-th\n\
                  true neighbour (relative tolerance 0.001), so that equal points are interchangeable.\n\
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
    /// Draw the curve: .svg, or .png in a build with the feature png.
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
    pub(crate) tls: TlsArgs,
    /// Collection of the server.
    #[arg(long, value_name = "NAME", requires = "server", value_parser = config::collection_name)]
    pub(crate) collection: Option<CollectionName>,
}
