//! `nearness serve`: a data directory over gRPC, until SIGINT or SIGTERM.

use super::args::ServeArgs;
use super::{local, output, remote};
use crate::collection::Engine;
use crate::grpc::{Server, ServerOptions};
use anyhow::Context;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// The environment variable that sets what is logged.
const LOG_VARIABLE: &str = "NEARNESS_LOG";

/// Opens the data directory, serves it, closes it.
pub(super) fn run(args: ServeArgs) -> anyhow::Result<()> {
    log_to_stderr();
    let engine: Arc<dyn Engine> = Arc::new(local::engine(&args.data, &args.models)?);
    remote::block_on(serve(engine, args.listen, (args.max_message as usize) << 20, |address| {
        output::line(&format!(
            "nearness {} serves {} on http://{address}",
            env!("CARGO_PKG_VERSION"),
            args.data.display()
        ))
        .context("standard output")
    }))
}

/// Logs go to standard error; warnings and what the server does, unless the environment says otherwise.
pub(super) fn log_to_stderr() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("warn,nearness=info"));
    // Set already when a command serves as a part of what it does.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// Serves until a signal; `ready` is told the address once connections are taken.
async fn serve(
    engine: Arc<dyn Engine>,
    listen: SocketAddr,
    max_message_bytes: usize,
    ready: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Before the address is known to anyone, so that no signal is missed.
    let stop = stop_signal()?;
    let options = ServerOptions { address: listen, max_message_bytes, ..ServerOptions::default() };
    let server = Server::bind(engine, options).with_context(|| format!("--listen {listen}"))?;
    ready(server.local_addr())?;
    server.serve(stop).await.context("the server failed")
}

/// Completes at SIGINT (Ctrl-C) or SIGTERM.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => tracing::info!("SIGINT: finishing what is under way"),
                _ = terminate.recv() => tracing::info!("SIGTERM: finishing what is under way"),
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        // Without a way to hear Ctrl-C the system ends the process itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
