//! Flags of `serve`. Each can also be set by an environment variable, which the flag overrides.

use crate::cli::config::{self, EmbedderSpec};
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Human-readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

/// Address of the web page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WebListen {
    /// Disabled.
    None,
    /// Address and port.
    At(SocketAddr),
}

impl FromStr for WebListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "none" => Ok(Self::None),
            _ => text.parse().map(Self::At).map_err(|_| format!("{text:?} is neither an address and port nor none")),
        }
    }
}

impl<'de> serde::Deserialize<'de> for WebListen {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `serve`
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  nearness serve --data ./nearness-data --listen 127.0.0.1:50051 --model ./my-words\n  \
                  nearness serve --config /etc/nearness/nearness.toml\n  \
                  nearness serve --listen 0.0.0.0:50051 --tls-certificate server.pem --tls-key server.key --tls-client-ca ca.pem\n\n\
                  Precedence: flag, environment variable, configuration file, default. API keys and tokens are set in the file only.\n\
                  Prints one line with the address when ready. SIGINT and SIGTERM stop it gracefully; certificates,\n\
                  keys and the file's [access] are reloaded on SIGHUP and when the files change.\n\
                  NEARNESS_LOG sets the log filter, for example NEARNESS_LOG=debug."
)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML); see deploy/nearness.toml, and `nearness config check`.
    #[arg(long, value_name = "FILE", env = "NEARNESS_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Data directory; created if missing [default: ./nearness-data]
    #[arg(long, value_name = "DIR", env = "NEARNESS_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Address to serve on; port 0 selects a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR", env = "NEARNESS_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address of the web page, none to disable it [default: 127.0.0.1:7700]
    #[arg(long, value_name = "ADDR|none", env = "NEARNESS_WEB")]
    pub(crate) web: Option<WebListen>,
    /// Allowed host name of the web page without TLS, in addition to IP addresses and localhost; may be repeated.
    #[arg(long = "web-name", value_name = "NAME", env = "NEARNESS_WEB_NAMES", value_delimiter = ',')]
    pub(crate) web_names: Vec<String>,
    /// Model folder of `nearness train`; takes precedence over a built-in model of the same name. May be repeated.
    #[arg(long = "model", value_name = "DIR", env = "NEARNESS_MODELS", value_delimiter = ',')]
    pub(crate) models: Vec<PathBuf>,
    /// Embedder of new collections that name none. Models installed or trained later never replace it [default: text]
    #[arg(long, value_name = "EMBEDDER[:OUTPUT]", env = "NEARNESS_DEFAULT_EMBEDDER", value_parser = config::embedder_spec)]
    pub(crate) default_embedder: Option<EmbedderSpec>,
    /// Allow access from other machines without TLS or without authentication: any client that reaches the address may
    /// read, or do, everything.
    #[arg(long, value_name = "BOOL", env = "NEARNESS_INSECURE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) insecure: Option<bool>,
    /// Certificate of the server, followed by the chain to its root, PEM.
    #[arg(long, value_name = "FILE", env = "NEARNESS_TLS_CERTIFICATE")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, value_name = "FILE", env = "NEARNESS_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Root certificates of clients, PEM; clients without a certificate signed by one of them are refused.
    #[arg(long, value_name = "FILE", env = "NEARNESS_TLS_CLIENT_CA")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Maximum size of requests and responses, MiB [default: 64]
    #[arg(long, value_name = "MIB", env = "NEARNESS_MAX_MESSAGE", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_message: Option<u32>,
    /// Maximum response size for clients that do not send their limit, MiB [default: 4]
    #[arg(long, value_name = "MIB", env = "NEARNESS_DEFAULT_RESPONSE", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) default_response: Option<u32>,
    /// Maximum number of concurrent requests, running and waiting; further ones are refused [default: 1024]
    #[arg(long, value_name = "N", env = "NEARNESS_CONCURRENT_REQUESTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) concurrent_requests: Option<u32>,
    /// Maximum number of concurrent requests per client [default: half of them]
    #[arg(long, value_name = "N", env = "NEARNESS_CONCURRENT_REQUESTS_PER_CLIENT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) concurrent_requests_per_client: Option<u32>,
    /// Maximum memory of all concurrent requests, MiB; at least --max-message [default: 1024]
    #[arg(long, value_name = "MIB", env = "NEARNESS_REQUEST_MEMORY", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) request_memory: Option<u32>,
    /// Maximum time that a client may send nothing within a request, or leave its response unread, seconds [default:
    /// 60]
    #[arg(long, value_name = "SECONDS", env = "NEARNESS_PATIENCE", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) patience: Option<u32>,
    /// Maximum number of open connections [default: 4096]
    #[arg(long, value_name = "N", env = "NEARNESS_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: Option<u32>,
    /// Maximum number of open connections per address (IPv6: per /64 network) [default: half of them]
    #[arg(long, value_name = "N", env = "NEARNESS_CONNECTIONS_PER_ADDRESS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections_per_address: Option<u32>,
    /// Timeout for the TLS handshake and the first bytes of a connection, seconds [default: 10]
    #[arg(long, value_name = "SECONDS", env = "NEARNESS_HANDSHAKE", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) handshake: Option<u32>,
    /// Timeout for connections without a request, seconds [default: 600]
    #[arg(long, value_name = "SECONDS", env = "NEARNESS_IDLE", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) idle: Option<u32>,
    /// Maximum number of concurrent searches and embeddings; 0 for the number of cores [default: 0]
    #[arg(long, value_name = "N", env = "NEARNESS_THREADS", value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub(crate) threads: Option<u32>,
    /// Maximum memory of merges, graph builds and calibrations together, MiB [default: half of the memory limit]
    #[arg(long, value_name = "MIB", env = "NEARNESS_BACKGROUND_MEMORY", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) background_memory: Option<u32>,
    /// Rate of background checksum verification (scrubbing), MiB per second; 0 disables it [default: 16]
    #[arg(long, value_name = "MIB", env = "NEARNESS_SCRUB_RATE", value_parser = clap::value_parser!(u32).range(0..=65_536))]
    pub(crate) scrub_rate: Option<u32>,
    /// Time without a call after which a collection closes; the next call opens it again, seconds [default: 600]
    #[arg(long, value_name = "SECONDS", env = "NEARNESS_COLLECTION_IDLE", value_parser = clap::value_parser!(u32).range(1..=31_536_000))]
    pub(crate) collection_idle: Option<u32>,
    /// Number of open collections from which the least recently used ones close, except those in use [default: 1024]
    #[arg(long, value_name = "N", env = "NEARNESS_OPEN_COLLECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) open_collections: Option<u32>,
    /// Format of the log on standard error [default: text]
    #[arg(long, value_name = "FORMAT", env = "NEARNESS_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Audit log file for administrative and write calls and for refusals, one JSON object per line.
    #[arg(long, value_name = "FILE", env = "NEARNESS_AUDIT_LOG")]
    pub(crate) audit_log: Option<PathBuf>,
    /// Location of snapshots: a directory, or s3://, gs://, az:// or file:// (settings in AWS_..., GOOGLE_...,
    /// AZURE_...) [default: none, snapshots are disabled]
    #[arg(long, value_name = "DIR|URL", env = "NEARNESS_SNAPSHOTS")]
    pub(crate) snapshots: Option<String>,
    /// Address of the Prometheus metrics, at /metrics [default: disabled]
    #[arg(long, value_name = "ADDR", env = "NEARNESS_METRICS")]
    pub(crate) metrics: Option<SocketAddr>,
    /// OpenTelemetry collector to send traces to (OTLP over gRPC), for example http://127.0.0.1:4317
    #[arg(long, value_name = "URL", env = "NEARNESS_TRACES")]
    pub(crate) traces: Option<String>,
}
