//! Observability of `serve`: a log on standard error, and traces to an OpenTelemetry collector.

use super::output::{escaped, escaped_json};
use super::settings::{LogFormat, Settings};
use anyhow::{Context, ensure};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::borrow::Cow;
use std::io::{self, Write};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Name of the program in traces.
const SERVICE: &str = "nearness";

/// Flushes the remaining traces when dropped.
pub(super) struct Log(Option<SdkTracerProvider>);

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "cannot send the last traces");
        }
    }
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
pub(super) fn filter(settings: &Settings) -> anyhow::Result<EnvFilter> {
    let text = &settings.log_filter;
    EnvFilter::try_new(text).with_context(|| format!("log.filter: {text:?} is not a log filter"))
}

/// Returns the endpoint of the traces.
pub(super) fn endpoint(settings: &Settings) -> anyhow::Result<Option<&str>> {
    let Some(url) = settings.traces.as_deref() else { return Ok(None) };
    let host = url.strip_prefix("http://").unwrap_or_default();
    ensure!(!host.is_empty(), "traces.endpoint: {url:?} is not the http://host:port of a collector");
    Ok(Some(url))
}

/// Starts logging. Must be called within a runtime, which sends the traces.
pub(super) fn start(settings: &Settings) -> anyhow::Result<Log> {
    let lines = tracing_subscriber::fmt::layer();
    let lines = match settings.log_format {
        LogFormat::Text => lines.with_ansi(false).with_writer(|| Plain(escaped)).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_writer(|| Plain(escaped_json)).boxed(),
    };
    let provider = endpoint(settings)?.map(provider).transpose()?;
    let traces = provider.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(SERVICE)));
    tracing_subscriber::registry()
        .with(filter(settings)?)
        .with(lines)
        .with(traces)
        .try_init()
        .context("the log cannot be set up")?;
    Ok(Log(provider))
}

fn provider(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("traces.endpoint: {endpoint:?}"))?;
    let resource = Resource::builder().with_service_name(SERVICE).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
