//! Tests of `serve` as deployed: configuration file, keys, certificates, reload while running, logs.

#![cfg(unix)]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn nearness(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearness"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NEARNESS_")) {
        command.env_remove(name);
    }
    command.current_dir(folder);
    command
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("the program runs")
}

#[track_caller]
fn out(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(command: &mut Command) -> String {
    let output = run(command);
    assert!(!output.status.success(), "should fail");
    String::from_utf8(output.stderr).unwrap()
}

/// A server that is killed when dropped.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        let mut child = command.arg("serve").stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
        Self { child, address }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Writes the root certificate `<name>-ca.pem`, and a server's certificate and key signed by it.
fn certify(folder: &Path, name: &str) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join(format!("{name}-ca.pem")), root.pem()).unwrap();
    std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

/// Generates a key; returns it and its lines for the configuration file.
fn key(folder: &Path, name: &str, role: &str, collection: &str) -> (String, String) {
    let arguments = ["key", "new", "--name", name, "--role", role, "--collection", collection];
    let text = out(nearness(folder).args(arguments));
    let (key, lines) = text.split_once('\n').unwrap();
    (key.to_owned(), lines.to_owned())
}

const HEAD: &str = "data = 'data'\nlisten = '127.0.0.1:1'\n\
    [tls]\ncertificate = 'server.pem'\nkey = 'server.key'\n[log]\nformat = 'json'\naudit = 'audit.jsonl'\n";

#[test]
fn keys_and_certificates_are_replaced_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certify(folder, "old");
    let (admin, admin_lines) = key(folder, "root", "admin", "*");
    let (reader, reader_lines) = key(folder, "page", "read", "films-*");
    let config = folder.join("nearness.toml");
    std::fs::write(&config, format!("{HEAD}{admin_lines}{reader_lines}")).unwrap();
    assert!(!std::fs::read_to_string(&config).unwrap().contains(&admin), "the file has no key in plain text");
    let report = out(nearness(folder).args(["config", "check", "nearness.toml"]));
    assert!(report.contains("is valid") && report.contains("https://127.0.0.1:1 to the callers listed"), "{report}");

    let log = folder.join("log");
    // The port in the file is not usable; the environment variable has precedence.
    let server = {
        let mut command = nearness(folder);
        command.env("NEARNESS_CONFIG", &config).env("NEARNESS_LISTEN", "127.0.0.1:0");
        Serving::start(&mut command, &log)
    };
    assert!(server.address.starts_with("https://127.0.0.1:"), "{}", server.address);
    let client = |key: &str, ca: &str, arguments: &[&str]| {
        let mut command = nearness(folder);
        command.args(arguments).env("NEARNESS_SERVER", &server.address).env("NEARNESS_CA", format!("{ca}-ca.pem"));
        if !key.is_empty() {
            command.env("NEARNESS_KEY", key);
        }
        command
    };
    let create = |name: &'static str| ["collections", "create", name, "--dimension", "2"];
    out(&mut client(&admin, "old", &create("films-a")));
    out(&mut client(&admin, "old", &create("words")));
    let list = out(&mut client(&reader, "old", &["collections", "list", "--json"]));
    assert!(list.contains("films-a") && !list.contains("words"), "{list}");
    let error = fails(&mut client(&reader, "old", &create("films-b")));
    assert!(error.contains("PERMISSION_DENIED"), "{error}");
    assert!(fails(&mut client("", "old", &["collections", "list"])).contains("UNAUTHENTICATED"));
    certify(folder, "new");
    let error = fails(&mut client(&admin, "new", &["collections", "list"]));
    assert!(error.contains("the certificate has no trusted root") && !error.contains("no server at"), "{error}");

    // SIGHUP loads another key and another certificate.
    let (next, next_lines) = key(folder, "root", "admin", "*");
    std::fs::write(&config, format!("{HEAD}{next_lines}")).unwrap();
    #[allow(clippy::disallowed_methods, reason = "as logrotate does")]
    std::fs::rename(folder.join("audit.jsonl"), folder.join("audit.1")).unwrap();
    server.signal("-HUP");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !run(&mut client(&next, "new", &["collections", "list"])).status.success() {
        assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(&log).unwrap());
    }
    assert!(fails(&mut client(&admin, "new", &["collections", "list"])).contains("UNAUTHENTICATED"));
    assert!(fails(&mut client(&next, "old", &["collections", "list"])).contains("certificate"));
    out(&mut client(&next, "new", &["collections", "delete", "words"]));

    // A file that is invalid, without access keys, or empty changes nothing.
    for (times, invalid) in
        [format!("{HEAD}\n[[access.keys]]\nname = 'x'"), HEAD.to_owned(), String::new()].iter().enumerate()
    {
        std::fs::write(&config, invalid).unwrap();
        server.signal("-HUP");
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(&log).unwrap().matches("cannot reload certificates and keys").count() <= times {
            assert!(Instant::now() < deadline, "{invalid:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        out(&mut client(&next, "new", &["collections", "list"]));
        assert!(fails(&mut client("", "new", &["collections", "list"])).contains("UNAUTHENTICATED"), "{invalid:?}");
    }
    server.signal("-TERM");
    drop(server);

    for line in std::fs::read_to_string(&log).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    assert!(read("audit.1").contains("\"collection\":\"films-a\""), "{}", read("audit.1"));
    let fresh = read("audit.jsonl");
    assert!(fresh.contains("nearness.v1.Collections/Delete") && !fresh.contains("films-a"), "{fresh}");
}

#[test]
fn unused_signals_do_not_stop_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let log = folder.join("log");
    let mut server =
        Serving::start(nearness(folder).env("NEARNESS_LISTEN", "127.0.0.1:0").env("NEARNESS_WEB", "none"), &log);
    let deadline = Instant::now() + Duration::from_secs(20);
    for (signal, message) in [
        ("-USR1", "SIGUSR1 is ignored"),
        ("-USR2", "SIGUSR2 is ignored"),
        ("-ALRM", "SIGALRM is ignored"),
        ("-HUP", "keys reloaded"),
    ] {
        server.signal(signal);
        while !std::fs::read_to_string(&log).unwrap().contains(message) {
            assert!(Instant::now() < deadline, "{signal}: {}", std::fs::read_to_string(&log).unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    server.signal("-PIPE");
    out(nearness(folder).args(["collections", "list", "--server", &server.address]));
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn flags_override_variables_and_variables_override_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("n.toml"), "listen = '0.0.0.0:1'\n[limits]\nthreads = 2000\n").unwrap();
    let error = fails(nearness(folder).args(["serve", "--config", "n.toml"]));
    assert!(error.contains("limits.threads takes 0 to 1024, got 2000"), "{error}");
    std::fs::write(folder.join("n.toml"), "listen = '0.0.0.0:1'\n").unwrap();
    let error = fails(nearness(folder).args(["serve", "--config", "n.toml"]));
    assert!(error.contains("0.0.0.0:1 is reachable from other machines, but TLS is not configured"), "{error}");
    assert!(fails(nearness(folder).args(["config", "check", "n.toml"])).contains("TLS is not configured"));
    let variable = ("NEARNESS_LISTEN", "0.0.0.0:2");
    let error = fails(nearness(folder).args(["serve", "--config", "n.toml"]).env(variable.0, variable.1));
    assert!(error.contains("0.0.0.0:2"), "{error}");
    let flag = ["serve", "--config", "n.toml", "--listen", "0.0.0.0:3"];
    let error = fails(nearness(folder).args(flag).env(variable.0, variable.1));
    assert!(error.contains("0.0.0.0:3"), "{error}");
    assert!(!folder.join("nearness-data").exists(), "no data directory was created");
    let error = fails(nearness(folder).args(["config", "check", "absent.toml"]));
    assert!(error.contains("absent.toml"), "{error}");
}

#[test]
fn the_example_configuration_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let report = out(nearness(root).args(["config", "check", "deploy/nearness.toml"]));
    assert!(report.contains("http://127.0.0.1:50051 to every client"), "{report}");
    // With the commented examples enabled, only the referenced files are missing.
    let text = std::fs::read_to_string(root.join("deploy/nearness.toml")).unwrap();
    let is_key = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let is_example = |rest: &&str| rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| is_key(key));
    let lines = text.lines().map(|line| line.strip_prefix("# ").filter(is_example).unwrap_or(line));
    let full = lines.collect::<Vec<_>>().join("\n").replace("64 hexadecimal digits", &"ab".repeat(32));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("full.toml"), full).unwrap();
    let error = fails(nearness(folder.path()).args(["config", "check", "full.toml"]));
    assert!(error.contains("issuer.pem"), "{error}");
}

#[cfg(feature = "opentelemetry")]
mod traces {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;

    /// A trace collector that forwards the requests it receives.
    struct Collector(tokio::sync::mpsc::UnboundedSender<ExportTraceServiceRequest>);

    #[tonic::async_trait]
    impl TraceService for Collector {
        async fn export(
            &self,
            request: tonic::Request<ExportTraceServiceRequest>,
        ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
            self.0.send(request.into_inner()).map_err(|_| tonic::Status::aborted("the test has ended"))?;
            Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn traces_reach_a_collector() {
        let (sender, mut sent) = tokio::sync::mpsc::unbounded_channel();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = format!("http://{}", listener.local_addr().unwrap());
        let service = TraceServiceServer::new(Collector(sender));
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let calls = tokio::task::spawn_blocking(move || {
            let mut command = nearness(&path);
            command.env("NEARNESS_LISTEN", "127.0.0.1:0").env("NEARNESS_TRACES", collector);
            let mut server = Serving::start(&mut command, &path.join("log"));
            out(nearness(&path).args(["collections", "create", "c", "--dimension", "2", "--server", &server.address]));
            server.signal("-TERM");
            assert!(server.child.wait().unwrap().success());
        });
        calls.await.unwrap();
        let mut seen = Vec::new();
        while let Ok(request) = sent.try_recv() {
            for resource in request.resource_spans {
                for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    let text = |name: &str| {
                        let found = span.attributes.iter().find(|attribute| attribute.key == name);
                        found.and_then(|attribute| match attribute.value.clone()?.value? {
                            Any::StringValue(text) => Some(text),
                            _ => None,
                        })
                    };
                    seen.push((span.name.clone(), text("call"), text("collection"), text("outcome")));
                }
            }
        }
        let some = |text: &str| Some(text.to_owned());
        let expected = ("request".to_owned(), some("nearness.v1.Collections/Create"), some("c"), some("OK"));
        assert!(seen.contains(&expected), "{seen:?}");
    }
}

#[cfg(not(feature = "opentelemetry"))]
#[test]
fn traces_without_the_feature_are_refused_and_the_feature_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("traces.toml"), "[traces]\nendpoint = 'http://127.0.0.1:4317'\n").unwrap();
    let error = fails(nearness(folder.path()).args(["config", "check", "traces.toml"]));
    assert!(error.contains("traces.endpoint") && error.contains("--features opentelemetry"), "{error}");
}
