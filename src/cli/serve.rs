//! `nearness serve`: serves a data directory over gRPC until SIGINT or SIGTERM. `nearness config check`.

use super::settings::{ServeArgs, Settings};
use super::{local, log, output, remote};
use crate::auth::AuditLog;
use crate::engine::{Database, Node};
use crate::grpc::{Server, ServerOptions};
use crate::snapshot_store::SnapshotStore;
use anyhow::Context;
use clap::Subcommand;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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

/// Polling interval of the certificate and key files.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Opens the data directory, serves it, and closes it.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let settings = Settings::resolve(args)?;
    crate::disk::limit_malloc_arenas();
    // Before creating the data directory.
    settings.options.check()?;
    remote::block_on(async {
        let _log = log::start(&settings)?;
        // Before opening the data directory, which may take long.
        ignore_signals()?;
        let reload = reload_signal()?;
        let audit = settings.audit.as_deref();
        let audit = audit.map(|path| AuditLog::open(path).with_context(|| path.display().to_string())).transpose()?;
        let options = ServerOptions { audit: audit.map(Arc::new), ..settings.options.clone() };
        let snapshots = settings.snapshots.as_deref().map(SnapshotStore::open).transpose()?;
        let open = Database::options()
            .job_memory(settings.background_memory)
            .scrub_rate(settings.scrub_rate)
            .idle_time(settings.collection_idle)
            .max_open_collections(settings.open_collections)
            .snapshots(snapshots);
        let engine: Arc<dyn Node> = Arc::new(local::engine_with(open, &settings.data, &settings.models)?);
        serve(engine, args, &settings, options, reload).await
    })
}

/// Runs `config check`: reads the file as `serve` would.
pub(super) fn check(command: ConfigCommand) -> anyhow::Result<()> {
    let ConfigCommand::Check { file } = command;
    let settings = Settings::resolve(&ServeArgs { config: Some(file.clone()), ..ServeArgs::default() })?;
    log::filter(&settings)?;
    log::endpoint(&settings)?;
    let options = &settings.options;
    options.check()?;
    output::line(&format!("{} is valid", file.display()))?;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let callers = if options.access.get().is_open() { "every client" } else { "the callers listed in it" };
    output::line(&format!("serves {} on {scheme}://{} to {callers}", settings.data.display(), options.address))?;
    if let Some(web) = &options.web {
        output::line(&format!("serves the web page on {scheme}://{}", web.address))?;
    }
    Ok(())
}

/// Serves until a stop signal.
async fn serve(
    engine: Arc<dyn Node>,
    args: &ServeArgs,
    settings: &Settings,
    options: ServerOptions,
    reload: impl AsyncFnMut(),
) -> anyhow::Result<()> {
    // Before the address is announced, so that no signal is missed.
    let stop = stop_signal()?;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let open = options.access.get().is_open();
    let server = Server::bind(engine, options.clone())?;
    let address = server.local_addr();
    if options.insecure && !address.ip().is_loopback() {
        tracing::warn!(%address, tls = options.tls.is_some(), open, "insecure, as configured");
    }
    output::line(&format!(
        "nearness {} serves {} on {scheme}://{address}",
        env!("CARGO_PKG_VERSION"),
        settings.data.display()
    ))
    .context("standard output")?;
    if let Some(address) = server.web_addr() {
        tracing::info!("the page is at {scheme}://{address}");
    }
    if let Some(address) = server.metrics_addr() {
        tracing::info!("metrics are at http://{address}/metrics");
    }
    tokio::select! {
        result = server.serve(stop) => result.context("the server failed"),
        () = reload_on_change(args, settings, options, reload) => Ok(()),
    }
}

/// Reloads certificates and keys on each signal and when their files change. Never returns.
async fn reload_on_change(
    args: &ServeArgs,
    settings: &Settings,
    options: ServerOptions,
    mut reload: impl AsyncFnMut(),
) {
    let mut last_state = settings.file_states();
    loop {
        let requested = tokio::select! {
            () = reload() => true,
            () = tokio::time::sleep(POLL_INTERVAL) => false,
        };
        let state = settings.file_states();
        if !requested && state == last_state {
            continue;
        }
        let reloaded = Settings::resolve(args).and_then(|reloaded| {
            options.check_reload(&reloaded.options)?;
            Ok(reloaded.options)
        });
        match reloaded {
            Ok(reloaded) => {
                last_state = state;
                if let (Some(tls), Some(reloaded)) = (&options.tls, &reloaded.tls) {
                    tls.set(reloaded.get());
                }
                options.access.set(reloaded.access.get());
                tracing::info!("certificates and keys reloaded");
            }
            // Retried at the next poll: files are often replaced one after another.
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "cannot reload certificates and keys; the previous ones stay in use"
                );
            }
        }
        if requested
            && let Some(audit) = &options.audit
            && let Err(error) = audit.reopen()
        {
            tracing::error!(%error, "cannot reopen the audit log; writing continues in the previous file");
        }
    }
}

/// Returns a function that waits for SIGHUP.
fn reload_signal() -> anyhow::Result<impl AsyncFnMut()> {
    #[cfg(unix)]
    {
        let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).context("SIGHUP")?;
        Ok(async move || {
            if hangup.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async || std::future::pending::<()>().await)
}

/// Handles the signals that would otherwise end the process without draining: SIGUSR1, SIGUSR2 and SIGALRM. Each is
/// logged and has no other effect. (The standard library ignores SIGPIPE.)
pub(super) fn ignore_signals() -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        for (name, kind) in [
            ("SIGUSR1", SignalKind::user_defined1()),
            ("SIGUSR2", SignalKind::user_defined2()),
            ("SIGALRM", SignalKind::alarm()),
        ] {
            let mut signals = signal(kind).context(name)?;
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    tracing::info!("{name} is ignored: SIGHUP reloads keys and certificates, SIGTERM stops the server");
                }
            });
        }
    }
    Ok(())
}

/// Completes on SIGINT (Ctrl-C) or SIGTERM.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => tracing::info!("SIGINT: finishing requests in progress"),
                _ = terminate.recv() => tracing::info!("SIGTERM: finishing requests in progress"),
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        // Without a Ctrl-C handler, the system ends the process itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
