//! The combined configuration from flags, environment, file and defaults.

use super::args::{LogFormat, ServeArgs, WebListen};
use super::file::ConfigFile;
use crate::auth::{Access, Reloadable};
use crate::cli::config;
use crate::grpc::{ServerOptions, Tls, TlsFiles, WebOptions};
use anyhow::{Context, bail};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Default address of the server.
const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 50_051);
/// Default address of the web page.
const DEFAULT_WEB: ([u8; 4], u16) = ([127, 0, 0, 1], 7_700);
/// Default data directory.
const DEFAULT_DATA: &str = "./nearness-data";
/// Default scrub rate, MiB per second.
const DEFAULT_SCRUB_RATE: u32 = 16;
/// Default log filter.
const DEFAULT_FILTER: &str = "warn,nearness=info";

/// Configuration of a server. All files it refers to have been read and validated once.
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    pub(crate) models: Vec<PathBuf>,
    /// Location of snapshots.
    pub(crate) snapshots: Option<String>,
    /// Scrub rate, bytes per second; 0 disables scrubbing.
    pub(crate) scrub_rate: u64,
    pub(crate) log_filter: String,
    pub(crate) log_format: LogFormat,
    pub(crate) audit: Option<PathBuf>,
    /// OpenTelemetry endpoint for traces.
    pub(crate) traces: Option<String>,
    /// Memory limit of background jobs, bytes; none if not set.
    pub(crate) background_memory: Option<u64>,
    /// Time without a call after which a collection closes; none if not set.
    pub(crate) collection_idle: Option<Duration>,
    /// Number of open collections from which idle ones close; none if not set.
    pub(crate) open_collections: Option<usize>,
    /// Server options, except for the audit log.
    pub(crate) options: ServerOptions,
    /// Files that are reloaded when they change.
    pub(crate) watched: Vec<PathBuf>,
}

impl Settings {
    /// Reads the configuration file, if any, and all files it refers to.
    pub(crate) fn resolve(args: &ServeArgs) -> anyhow::Result<Self> {
        let mut file = args.config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
        let mut watched = Vec::from_iter(args.config.clone());
        let tls = tls_files(args, &mut file)?;
        if let Some(TlsFiles { certificate, key, client_ca }) = &tls {
            watched.extend([certificate.clone(), key.clone()]);
            watched.extend(client_ca.clone());
        }
        let access = match &mut file.access {
            None => Access::open(),
            Some(section) => {
                watched.extend(section.paths().map(|path| path.clone()));
                let verified = tls.as_ref().is_some_and(|files| files.client_ca.is_some());
                section.read(verified).context("the configuration file")?
            }
        };
        let defaults = ServerOptions::default();
        let number = |flag: Option<u32>, file: Option<u32>, default: usize| {
            flag.or(file).map_or(default, |number| number as usize)
        };
        let limits = &file.limits;
        let max = number(args.concurrent_requests, limits.concurrent_requests, defaults.max_concurrent_requests);
        let each = args.concurrent_requests_per_client.or(limits.concurrent_requests_per_client);
        let connections = number(args.connections, limits.connections, defaults.max_connections);
        let of_address = args.connections_per_address.or(limits.connections_per_address);
        let seconds = |flag: Option<u32>, file: Option<u32>, default: Duration| {
            flag.or(file).map_or(default, |seconds| Duration::from_secs(seconds.into()))
        };
        let from_file =
            file.default_embedder.as_deref().map(config::embedder_spec).transpose().map_err(anyhow::Error::msg)?;
        let default_embedder = args.default_embedder.clone().or(from_file);
        let options = ServerOptions {
            default_embedder: default_embedder.map_or(defaults.default_embedder.clone(), |embedder_spec| {
                (embedder_spec.embedder, embedder_spec.output)
            }),
            address: args.listen.or(file.listen).unwrap_or(SocketAddr::from(DEFAULT_LISTEN)),
            max_message_bytes: args
                .max_message
                .or(limits.max_message_mib)
                .map_or(defaults.max_message_bytes, |mib| (mib as usize) << 20),
            default_response_bytes: args
                .default_response
                .or(limits.default_response_mib)
                .map_or(defaults.default_response_bytes, |mib| (mib as usize) << 20),
            max_concurrent_requests: max,
            max_concurrent_requests_per_client: each.map_or(max.div_ceil(2), |number| number as usize),
            max_request_memory_bytes: args
                .request_memory
                .or(limits.request_memory_mib)
                .map_or(defaults.max_request_memory_bytes, |mib| (mib as usize) << 20),
            stall_timeout: seconds(args.patience, limits.patience_seconds, defaults.stall_timeout),
            handshake_timeout: seconds(args.handshake, limits.handshake_seconds, defaults.handshake_timeout),
            idle_timeout: seconds(args.idle, limits.idle_seconds, defaults.idle_timeout),
            max_connections_per_address: of_address.map_or(connections.div_ceil(2), |number| number as usize),
            max_connections: connections,
            threads: number(args.threads, limits.threads, defaults.threads),
            tls: tls.as_ref().map(Tls::read).transpose()?.map(Reloadable::new),
            insecure: args.insecure.or(file.insecure).unwrap_or(false),
            access: Reloadable::new(access),
            metrics: args.metrics.or(file.metrics.listen),
            web: web(
                args.web.or(file.web.listen),
                if args.web_names.is_empty() { file.web.names } else { args.web_names.clone() },
            ),
            ..defaults
        };
        let from_environment = std::env::var(LOG_VARIABLE).ok().filter(|filter| !filter.is_empty());
        Ok(Self {
            data: args.data.clone().or(file.data).unwrap_or_else(|| DEFAULT_DATA.into()),
            models: if args.models.is_empty() { file.models } else { args.models.clone() },
            snapshots: args.snapshots.clone().or(file.snapshots),
            scrub_rate: u64::from(args.scrub_rate.or(file.limits.scrub_rate_mib).unwrap_or(DEFAULT_SCRUB_RATE)) << 20,
            log_filter: from_environment.or(file.log.filter).unwrap_or_else(|| DEFAULT_FILTER.into()),
            log_format: args.log_format.or(file.log.format).unwrap_or(LogFormat::Text),
            audit: args.audit_log.clone().or(file.log.audit),
            traces: args.traces.clone().or(file.traces.endpoint),
            background_memory: args
                .background_memory
                .or(file.limits.background_memory_mib)
                .map(|mib| u64::from(mib) << 20),
            collection_idle: args
                .collection_idle
                .or(file.limits.collection_idle_seconds)
                .map(|seconds| Duration::from_secs(seconds.into())),
            open_collections: args.open_collections.or(file.limits.open_collections).map(|number| number as usize),
            options,
            watched,
        })
    }

    /// Returns the modification time and size of each watched file, to detect changes.
    pub(crate) fn file_states(&self) -> Vec<Option<(SystemTime, u64)>> {
        let state = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
        self.watched.iter().map(state).collect()
    }
}

/// Returns the options of the web page. A port that was not requested explicitly may be taken.
pub(crate) fn web(requested: Option<WebListen>, names: Vec<String>) -> Option<WebOptions> {
    match requested {
        Some(WebListen::None) => None,
        Some(WebListen::At(address)) => Some(WebOptions { address, names, optional: false }),
        None => Some(WebOptions { address: DEFAULT_WEB.into(), names, optional: true }),
    }
}

/// Environment variable of the log filter.
const LOG_VARIABLE: &str = "NEARNESS_LOG";

fn tls_files(args: &ServeArgs, file: &mut ConfigFile) -> anyhow::Result<Option<TlsFiles>> {
    let certificate = args.tls_certificate.clone().or(file.tls.certificate.take());
    let key = args.tls_key.clone().or(file.tls.key.take());
    let client_ca = args.tls_client_ca.clone().or(file.tls.client_ca.take());
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_ca })),
        (None, None) if client_ca.is_none() => Ok(None),
        (Some(_), None) => bail!("tls.key is missing: a certificate needs its key"),
        (None, _) => bail!("tls.certificate is missing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use clap::Parser;

    fn serve(words: &[&str]) -> ServeArgs {
        match Cli::try_parse_from([&["nearness", "serve"], words].concat()).unwrap().command {
            crate::cli::args::Command::Serve(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_page_is_on_loopback_unless_configured_otherwise() {
        let web = |words: &[&str]| Settings::resolve(&serve(words)).unwrap().options.web;
        let plain = web(&[]).unwrap();
        assert_eq!((plain.address, plain.optional), (DEFAULT_WEB.into(), true));
        assert!(web(&["--web", "none"]).is_none() && web(&["--web", ""]).is_none());
        let requested = web(&["--web", "[::1]:8", "--web-name", "a.example", "--web-name", "b.example"]).unwrap();
        assert_eq!((requested.address, requested.optional), ("[::1]:8".parse().unwrap(), false));
        assert_eq!(requested.names, ["a.example", "b.example"]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nearness.toml");
        std::fs::write(&path, "[web]\nlisten = 'none'\n").unwrap();
        let path = path.to_str().unwrap();
        assert!(web(&["--config", path]).is_none());
        assert_eq!(web(&["--config", path, "--web", "127.0.0.1:9"]).unwrap().address.port(), 9);
        // On addresses other than loopback it is protected like the services.
        let open = Settings::resolve(&serve(&["--web", "0.0.0.0:7700"])).unwrap();
        let refused = open.options.check().unwrap_err().to_string();
        assert!(refused.contains("0.0.0.0:7700") && refused.contains("TLS"), "{refused}");
    }

    #[test]
    fn a_flag_overrides_the_file_and_the_file_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nearness.toml");
        std::fs::write(
            &path,
            "data = 'd'\ndefault_embedder = 'words'\nlisten = '127.0.0.1:7'\nmodels = ['/m']\n[limits]\nconcurrent_requests = 10\nmax_message_mib = 3\nbackground_memory_mib = 64\nscrub_rate_mib = 2\nconnections = 9\nidle_seconds = 7\ncollection_idle_seconds = 30\nopen_collections = 20\n",
        )
        .unwrap();
        let path = path.to_str().unwrap();
        let plain = Settings::resolve(&ServeArgs::default()).unwrap();
        assert_eq!((plain.data.clone(), plain.options.address.port()), (DEFAULT_DATA.into(), 50_051));
        assert_eq!((plain.background_memory, plain.scrub_rate), (None, 16 << 20));
        let from_file = Settings::resolve(&serve(&["--config", path])).unwrap();
        assert_eq!((from_file.data.clone(), from_file.options.address.port()), (folder.path().join("d"), 7));
        let (each, bytes) = (from_file.options.max_concurrent_requests_per_client, from_file.options.max_message_bytes);
        assert_eq!((from_file.options.max_concurrent_requests, each, bytes), (10, 5, 3 << 20));
        let (connections, of_address) =
            (from_file.options.max_connections, from_file.options.max_connections_per_address);
        assert_eq!((connections, of_address, from_file.options.idle_timeout), (9, 5, Duration::from_secs(7)));
        assert_eq!(
            (from_file.models.clone(), from_file.background_memory),
            (vec![PathBuf::from("/m")], Some(64 << 20))
        );
        assert_eq!(from_file.scrub_rate, 2 << 20);
        assert_eq!((plain.collection_idle, plain.open_collections), (None, None));
        assert_eq!((from_file.collection_idle, from_file.open_collections), (Some(Duration::from_secs(30)), Some(20)));
        let flags = ["--config", path, "--collection-idle", "8", "--open-collections", "3"];
        let flagged = Settings::resolve(&serve(&flags)).unwrap();
        assert_eq!((flagged.collection_idle, flagged.open_collections), (Some(Duration::from_secs(8)), Some(3)));
        let flagged = Settings::resolve(&serve(&["--config", path, "--background-memory", "7"])).unwrap();
        assert_eq!(flagged.background_memory, Some(7 << 20));
        let default = |settings: &Settings| settings.options.default_embedder.clone();
        assert_eq!((default(&plain).0.as_str(), default(&from_file).0.as_str()), ("text", "words"));
        let flags = [
            "--config",
            path,
            "--data",
            "e",
            "--listen",
            "127.0.0.1:8",
            "--max-message",
            "4",
            "--model",
            "n",
            "--scrub-rate",
            "0",
            "--default-embedder",
            "digits:logits",
        ];
        let flagged = Settings::resolve(&serve(&flags)).unwrap();
        assert_eq!(default(&flagged), ("digits".to_owned(), "logits".to_owned()));
        assert_eq!((flagged.data, flagged.options.address.port()), ("e".into(), 8));
        assert_eq!((flagged.options.max_message_bytes, flagged.models), (4 << 20, vec![PathBuf::from("n")]));
        assert_eq!(flagged.scrub_rate, 0);
        for half in [["--tls-certificate", "c"], ["--tls-key", "c"], ["--tls-client-ca", "c"]] {
            let error = Settings::resolve(&serve(&half)).err().unwrap().to_string();
            assert!(error.contains("is missing"), "{error}");
        }
    }
}
