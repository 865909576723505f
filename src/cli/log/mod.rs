//! Observability of `serve`: a log on standard error, and traces to an OpenTelemetry collector.

use super::output::{escaped, escaped_json};
use super::settings::{LogFormat, Settings};
use anyhow::{Context, ensure};
use std::borrow::Cow;
use std::io::{self, Write};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[cfg(feature = "opentelemetry")]
mod traces;

/// Keeps the log running. Flushes the remaining traces when dropped.
pub(super) struct Log {
    #[cfg(feature = "opentelemetry")]
    _traces: Option<traces::Exporter>,
}

/// Writer to standard error that escapes client input (names, ids, messages), so that it cannot control a terminal;
/// each write is one entry on one line.
struct Plain(fn(&str) -> Cow<'_, str>);

impl Write for Plain {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(entry);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        io::stderr().write_all(format!("{}\n", (self.0)(line)).as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Returns the filter of the log and of the traces.
pub(super) fn filter(settings: &Settings) -> anyhow::Result<Targets> {
    let text = &settings.log_filter;
    let invalid =
        || format!("log.filter: {text:?} is not a list of LEVEL and TARGET=LEVEL, such as info,nearness=debug");
    text.parse().with_context(invalid)
}

/// Returns the endpoint of the traces.
pub(super) fn endpoint(settings: &Settings) -> anyhow::Result<Option<&str>> {
    let Some(url) = settings.traces.as_deref() else { return Ok(None) };
    let host = url.strip_prefix("http://").unwrap_or_default();
    ensure!(!host.is_empty(), "traces.endpoint: {url:?} is not the http://host:port of a collector");
    ensure!(
        cfg!(feature = "opentelemetry"),
        "traces.endpoint: this program was built without OpenTelemetry; build it with the feature opentelemetry (cargo build --release --features opentelemetry)"
    );
    Ok(Some(url))
}

/// Starts logging. Must be called within a runtime, which sends the traces.
pub(super) fn start(settings: &Settings) -> anyhow::Result<Log> {
    let lines = tracing_subscriber::fmt::layer();
    let lines = match settings.log_format {
        LogFormat::Text => lines.with_ansi(false).with_writer(|| Plain(escaped)).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_writer(|| Plain(escaped_json)).boxed(),
    };
    let endpoint = endpoint(settings)?;
    let registry = tracing_subscriber::registry().with(filter(settings)?).with(lines);
    #[cfg(feature = "opentelemetry")]
    let (exporter, registry) = {
        let exporter = endpoint.map(traces::Exporter::new).transpose()?;
        let layer = exporter.as_ref().map(traces::Exporter::layer);
        (exporter, registry.with(layer))
    };
    #[cfg(not(feature = "opentelemetry"))]
    let _ = endpoint;
    registry.try_init().context("the log cannot be set up")?;
    Ok(Log {
        #[cfg(feature = "opentelemetry")]
        _traces: exporter,
    })
}
