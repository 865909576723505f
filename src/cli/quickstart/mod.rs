//! `nearness quickstart`: a demonstration on real data, using the files of the repository.
//!
//! | file | contents |
//! | --- | --- |
//! | `collections.rs` | loading of words, paragraphs and digits |
//! | `show.rs` | queries to the running server over gRPC, with their results |
//! | `drawing.rs` | digits as characters, and a drawn 7 as an image file |

mod collections;
mod drawing;
mod show;

use super::settings;
use crate::cli::output;
use crate::cli::settings::WebListen;
use crate::embed::Registry;
use crate::engine::{Database, Node};
use crate::grpc::{Server, ServerOptions};
use anyhow::{Context, bail};
use clap::Args;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

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

pub(super) fn run(args: QuickstartArgs, run: collections::RunCommand) -> anyhow::Result<()> {
    let start = Instant::now();
    let data = find_data()?;
    let models = args.data.join("models");
    if args.train {
        collections::train(&data, &models, run)?;
    }
    let mut registry = Registry::with_defaults()?;
    for family in ["words", "digits"] {
        let folder = models.join(family);
        if folder.join("card.json").exists() {
            output::line(&format!("using the model in {}", folder.display()))?;
            registry.add_folder(&folder)?;
        }
    }
    output::line(&format!("opening {}", args.data.display()))?;
    let engine = Arc::new(Database::options().embedders(registry).open(&args.data)?);
    let digits = collections::load_all(&engine, &data)?;
    output::line("")?;
    output::line(&format!("loaded and indexed after {:.1} s", start.elapsed().as_secs_f64()))?;

    let runtime = tokio::runtime::Runtime::new().context("the async runtime")?;
    runtime.block_on(async {
        super::serve::ignore_signals()?;
        let web = settings::web(args.web, Vec::new());
        let options = ServerOptions { address: args.listen, web, ..ServerOptions::default() };
        let server = Server::bind(engine as Arc<dyn Node>, options)?;
        let (address, page) = (server.local_addr(), server.web_addr());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));
        output::line(&format!("serving gRPC on {address}; all queries below use it"))?;
        show::run(&format!("http://{address}"), &digits).await?;
        output::line("")?;
        output::line(&format!("quickstart took {:.1} s", start.elapsed().as_secs_f64()))?;
        if args.once {
            drop(stop);
        } else {
            show::next_steps(&address.to_string())?;
            if let Some(page) = page {
                output::line(&format!("open in a browser: http://{page}"))?;
            }
            output::line(&format!("serving on {address}; press Ctrl-C to stop"))?;
            super::serve::stop_signal()?.await;
            drop(stop);
        }
        serving.await.context("the server task")??;
        Ok(())
    })
}

/// Returns the repository's `data/`: below the current folder, or where this binary was built.
fn find_data() -> anyhow::Result<PathBuf> {
    let candidates = [PathBuf::from("data"), Path::new(env!("CARGO_MANIFEST_DIR")).join("data")];
    for candidate in &candidates {
        if candidate.join("mnist").is_dir() && candidate.join("wikipedia").is_dir() {
            return Ok(candidate.clone());
        }
    }
    bail!(
        "the repository's data folder is neither ./data nor {}: run quickstart in a clone of the repository",
        candidates[1].display()
    )
}
