//! The configuration file and all its keys. Paths in it are relative to its folder.

use super::access::AccessSection;
use super::args::{LogFormat, WebListen};
use crate::cli::config;
use anyhow::Context;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Maximum size of the file, bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConfigFile {
    pub(super) data: Option<PathBuf>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) models: Vec<PathBuf>,
    /// `EMBEDDER` or `EMBEDDER:OUTPUT`.
    pub(super) default_embedder: Option<String>,
    /// A directory, or the URL of an object store.
    pub(super) snapshots: Option<String>,
    pub(super) insecure: Option<bool>,
    pub(super) tls: TlsSection,
    pub(super) limits: LimitsSection,
    pub(super) log: LogSection,
    pub(super) metrics: MetricsSection,
    pub(super) web: WebSection,
    pub(super) traces: TracesSection,
    pub(super) access: Option<AccessSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsSection {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsSection {
    pub(super) max_message_mib: Option<u32>,
    pub(super) default_response_mib: Option<u32>,
    pub(super) concurrent_requests: Option<u32>,
    pub(super) concurrent_requests_per_client: Option<u32>,
    pub(super) request_memory_mib: Option<u32>,
    pub(super) patience_seconds: Option<u32>,
    pub(super) connections: Option<u32>,
    pub(super) connections_per_address: Option<u32>,
    pub(super) handshake_seconds: Option<u32>,
    pub(super) idle_seconds: Option<u32>,
    pub(super) threads: Option<u32>,
    pub(super) background_memory_mib: Option<u32>,
    pub(super) scrub_rate_mib: Option<u32>,
    pub(super) collection_idle_seconds: Option<u32>,
    pub(super) open_collections: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogSection {
    pub(super) filter: Option<String>,
    pub(super) format: Option<LogFormat>,
    pub(super) audit: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetricsSection {
    pub(super) listen: Option<SocketAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebSection {
    pub(super) listen: Option<WebListen>,
    pub(super) names: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TracesSection {
    pub(super) endpoint: Option<String>,
}

impl ConfigFile {
    /// Reads and parses the file. Errors name the line and the key.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let named = || path.display().to_string();
        let bytes = std::fs::metadata(path).with_context(named)?.len();
        anyhow::ensure!(bytes <= MAX_FILE_BYTES, "{} has {bytes} bytes; at most {MAX_FILE_BYTES} are allowed", named());
        let text = std::fs::read_to_string(path).with_context(named)?;
        let mut file = Self::parse(&text).with_context(named)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let paths = [
            &mut file.data,
            &mut file.tls.certificate,
            &mut file.tls.key,
            &mut file.tls.client_ca,
            &mut file.log.audit,
        ];
        let tokens = file.access.iter_mut().flat_map(AccessSection::paths);
        for path in paths.into_iter().flatten().chain(&mut file.models).chain(tokens) {
            *path = folder.join(&*path);
        }
        if let Some(location) = &mut file.snapshots
            && !location.contains("://")
            && let Some(path) = folder.join(&*location).to_str()
        {
            *location = path.to_owned();
        }
        Ok(file)
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let file: Self = toml::from_str(text)?;
        if let Some(named) = &file.default_embedder {
            config::embedder_spec(named).map_err(|reason| anyhow::anyhow!("default_embedder: {reason}"))?;
        }
        let limits = &file.limits;
        for (key, value, range) in [
            ("limits.max_message_mib", limits.max_message_mib, 1..=1_024),
            ("limits.default_response_mib", limits.default_response_mib, 1..=1_024),
            ("limits.concurrent_requests", limits.concurrent_requests, 1..=1_000_000),
            ("limits.concurrent_requests_per_client", limits.concurrent_requests_per_client, 1..=1_000_000),
            ("limits.request_memory_mib", limits.request_memory_mib, 1..=1_048_576),
            ("limits.patience_seconds", limits.patience_seconds, 1..=86_400),
            ("limits.connections", limits.connections, 1..=1_000_000),
            ("limits.connections_per_address", limits.connections_per_address, 1..=1_000_000),
            ("limits.handshake_seconds", limits.handshake_seconds, 1..=3_600),
            ("limits.idle_seconds", limits.idle_seconds, 1..=86_400),
            ("limits.threads", limits.threads, 0..=1_024),
            ("limits.background_memory_mib", limits.background_memory_mib, 1..=1_048_576),
            ("limits.collection_idle_seconds", limits.collection_idle_seconds, 1..=31_536_000),
            ("limits.open_collections", limits.open_collections, 1..=1_000_000),
        ] {
            if let Some(value) = value
                && !range.contains(&value)
            {
                anyhow::bail!("{key} takes {} to {}, got {value}", range.start(), range.end());
            }
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_invalid_key() {
        for (text, named) in [
            ("lisen = '127.0.0.1:1'", "unknown field `lisen`"),
            ("listen = 'here'", "listen"),
            ("default_embedder = 'text:'", "default_embedder: expected EMBEDDER"),
            ("[tls]\ncert = 'a'", "unknown field `cert`"),
            ("[limits]\nmax_message_mib = 0", "limits.max_message_mib takes 1 to 1024, got 0"),
            ("[limits]\nconnections_per_address = 0", "limits.connections_per_address takes 1 to 1000000, got 0"),
            ("[limits]\nidle_seconds = 86401", "limits.idle_seconds takes 1 to 86400, got 86401"),
            ("[limits]\nthreads = -1", "threads = -1"),
            ("[limits]\nbackground_memory_mib = 0", "limits.background_memory_mib takes 1 to 1048576, got 0"),
            ("[limits]\ncollection_idle_seconds = 0", "limits.collection_idle_seconds takes 1 to 31536000, got 0"),
            ("[limits]\nopen_collections = 0", "limits.open_collections takes 1 to 1000000, got 0"),
            ("[log]\nformat = 'xml'", "format = 'xml'"),
            ("[web]\nlisten = 'off'", "neither an address and port nor none"),
            ("[web]\nport = 1", "unknown field `port`"),
            ("[access]\nkey = []", "unknown field `key`"),
            ("[[access.keys]]\nname = 'a'\nrole = 'read'\ncollections = ['*']", "missing field `sha256`"),
            ("insecure = 'no'", "insecure = 'no'"),
            ("data = 'a'\ndata = 'b'", "duplicate key"),
        ] {
            let error = format!("{:#}", ConfigFile::parse(text).expect_err(text));
            assert!(error.contains(named), "{text}: {error}");
        }
        assert!(ConfigFile::parse("").is_ok());
    }
}
