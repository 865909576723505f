//! The flags of `serve`. Each can be given as an environment variable too, which counts less than the flag.

use crate::cli::config::{self, Tapped};
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// An object of JSON a line.
    Json,
}

/// Where the page is, if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WebListen {
    /// Nowhere.
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
                  A flag counts more than its environment variable, that more than the configuration file, that more than\n\
                  the default. API keys and tokens are set in the file only.\n\
                  Prints one line with the address when it is ready. SIGINT and SIGTERM stop it gracefully; certificates,\n\
                  keys and the file's [access] are read again on SIGHUP and when the files change.\n\
                  What it logs is set by NEARNESS_LOG, for example NEARNESS_LOG=debug."
)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML); see deploy/nearness.toml, and `nearness config check`.
    #[arg(long, value_name = "FILE", env = "NEARNESS_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Data directory; created when it is not there [default: ./nearness-data]
    #[arg(long, value_name = "DIR", env = "NEARNESS_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Address to serve on; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR", env = "NEARNESS_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address of the page for browsers, none for no page [default: 127.0.0.1:7700]
    #[arg(long, value_name = "ADDR|none", env = "NEARNESS_WEB")]
    pub(crate) web: Option<WebListen>,
    /// Name under which browsers may ask for the page without TLS, beside IP addresses and localhost; may be repeated.
    #[arg(long = "web-name", value_name = "NAME", env = "NEARNESS_WEB_NAMES", value_delimiter = ',')]
    pub(crate) web_names: Vec<String>,
    /// Model folder made by `nearness train`; its name stands for it, instead of for what the program carries. May be repeated.
    #[arg(long = "model", value_name = "DIR", env = "NEARNESS_MODELS", value_delimiter = ',')]
    pub(crate) models: Vec<PathBuf>,
    /// Embedder of new collections that name none. What is installed or trained later never takes its place [default: text]
    #[arg(long, value_name = "EMBEDDER[:TAP]", env = "NEARNESS_DEFAULT_EMBEDDER", value_parser = config::tapped)]
    pub(crate) default_embedder: Option<Tapped>,
    /// Serve other machines without TLS, or without asking who they are: whoever reaches the address may read, or do, all.
    #[arg(long, value_name = "BOOL", env = "NEARNESS_INSECURE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) insecure: Option<bool>,
    /// The server's certificate and those that lead to its root, PEM.
    #[arg(long, value_name = "FILE", env = "NEARNESS_TLS_CERTIFICATE")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", env = "NEARNESS_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Roots of client certificates, PEM; clients without a certificate of theirs are not let in.
    #[arg(long, value_name = "FILE", env = "NEARNESS_TLS_CLIENT_CA")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Largest message taken and sent, MiB [default: 64]
    #[arg(long, value_name = "MIB", env = "NEARNESS_MAX_MESSAGE", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_message: Option<u32>,
    /// Largest response to a client that does not say how much it can receive, MiB [default: 4]
    #[arg(long, value_name = "MIB", env = "NEARNESS_DEFAULT_RESPONSE", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) default_response: Option<u32>,
    /// Most requests at once, running and waiting; more are turned away [default: 1024]
    #[arg(long, value_name = "N", env = "NEARNESS_CONCURRENT_REQUESTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) concurrent_requests: Option<u32>,
    /// Of them, most of one client [default: half of them]
    #[arg(long, value_name = "N", env = "NEARNESS_CONCURRENT_REQUESTS_PER_CLIENT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) concurrent_requests_per_client: Option<u32>,
    /// Most bytes of requests that are inside, all together, MiB; at least --max-message [default: 1024]
    #[arg(long, value_name = "MIB", env = "NEARNESS_REQUEST_MEMORY", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) request_memory: Option<u32>,
    /// How long a client may send nothing of a request that it has begun, or read nothing of its reply, seconds [default: 60]
    #[arg(long, value_name = "SECONDS", env = "NEARNESS_PATIENCE", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) patience: Option<u32>,
    /// Most open connections [default: 4096]
    #[arg(long, value_name = "N", env = "NEARNESS_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: Option<u32>,
    /// Of them, most of one address (of IPv6: one /64 network) [default: half of them]
    #[arg(long, value_name = "N", env = "NEARNESS_CONNECTIONS_PER_ADDRESS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections_per_address: Option<u32>,
    /// Time limit from a connection to the end of its TLS handshake and its first bytes, seconds [default: 10]
    #[arg(long, value_name = "SECONDS", env = "NEARNESS_HANDSHAKE", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) handshake: Option<u32>,
    /// Close connections that have had no request for this long, seconds [default: 600]
    #[arg(long, value_name = "SECONDS", env = "NEARNESS_IDLE", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) idle: Option<u32>,
    /// Searches and embeddings at the same time; 0 takes all cores [default: 0]
    #[arg(long, value_name = "N", env = "NEARNESS_THREADS", value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub(crate) threads: Option<u32>,
    /// Most memory that merges, graph builds and measurements take together, MiB [default: half of the memory limit]
    #[arg(long, value_name = "MIB", env = "NEARNESS_BACKGROUND_MEMORY", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) background_memory: Option<u32>,
    /// Stored bytes compared with their checksums in the background, MiB a second; 0 for none [default: 16]
    #[arg(long, value_name = "MIB", env = "NEARNESS_SCRUB_RATE", value_parser = clap::value_parser!(u32).range(0..=65_536))]
    pub(crate) scrub_rate: Option<u32>,
    /// How the log is written to standard error [default: text]
    #[arg(long, value_name = "FORMAT", env = "NEARNESS_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Note administrative and write calls, and refusals, in this file, an object of JSON a line.
    #[arg(long, value_name = "FILE", env = "NEARNESS_AUDIT_LOG")]
    pub(crate) audit_log: Option<PathBuf>,
    /// Where snapshots are kept: a directory, or s3://, gs://, az:// or file:// (settings in AWS_..., GOOGLE_...,
    /// AZURE_...) [default: nowhere, none are made]
    #[arg(long, value_name = "DIR|URL", env = "NEARNESS_SNAPSHOTS")]
    pub(crate) snapshots: Option<String>,
    /// Address where Prometheus gets metrics, at /metrics [default: nowhere]
    #[arg(long, value_name = "ADDR", env = "NEARNESS_METRICS")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Send traces to this OpenTelemetry collector (OTLP over gRPC), for example http://127.0.0.1:4317
    #[arg(long, value_name = "URL", env = "NEARNESS_TRACES")]
    pub(crate) traces: Option<String>,
}
