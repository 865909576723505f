//! The metrics of a server, over HTTP.

use crate::harness::*;
use nearness::engine::Node;
use nearness::grpc::server::ServerError;
use nearness::grpc::{Client, Server, ServerOptions, pb};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends a request; returns the head of the response, with the status line, and its body.
pub(crate) async fn http(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

/// Returns the value of the metric with this name and labels.
#[track_caller]
pub(crate) fn value(text: &str, line: &str) -> f64 {
    let found = text.lines().find_map(|other| other.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line} in:\n{text}")).parse().unwrap()
}

pub(crate) async fn metrics_count_requests_and_points(engine: Arc<dyn Node>) {
    let options = ServerOptions { metrics: Some(([127, 0, 0, 1], 0).into()), ..options() };
    let server = Server::bind(engine, options).unwrap();
    let (url, watch) = (format!("http://{}", server.local_addr()), server.metrics_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));
    let client = Client::connect(&url, &Default::default()).await.unwrap();
    client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    client.create_collection(plain("deleted", 2, pb::Metric::L2)).await.unwrap();
    let items = (0..20).map(|n| vector_item(&format!("p{n}"), &[n as f32, 1.0])).collect();
    client.upsert(upsert("c", items)).await.unwrap();
    client.upsert(upsert("deleted", vec![vector_item("a", &[1.0, 1.0]), vector_item("b", &[2.0, 1.0])])).await.unwrap();
    for _ in 0..3 {
        let mut exact = near_vector("c", &[1.0, 2.0], 1);
        exact.params.as_mut().unwrap().accuracy = Some(pb::search_params::Accuracy::Exact(true));
        client.search(exact).await.unwrap();
    }
    refused(client.search(near_vector("nowhere", &[1.0, 2.0], 1)).await);
    let measure = |collection: &str| pb::MeasureRecallRequest {
        collection: collection.into(),
        samples: 5,
        k: 1,
        ..Default::default()
    };
    let recall = client.measure_recall(measure("c")).await.unwrap().recall;
    client.measure_recall(measure("deleted")).await.unwrap();
    client.delete_collection(pb::DeleteCollectionRequest { name: "deleted".into() }).await.unwrap();

    let (head, text) = http(watch, &get("/metrics")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(text.ends_with("# EOF\n"));
    let search = "nearness.v1.Search/Search";
    assert_eq!(value(&text, &format!("nearness_requests_total{{call=\"{search}\",code=\"OK\"}}")), 3.0);
    assert_eq!(value(&text, &format!("nearness_requests_total{{call=\"{search}\",code=\"NOT_FOUND\"}}")), 1.0);
    assert_eq!(value(&text, &format!("nearness_request_seconds_count{{call=\"{search}\",path=\"exact\"}}")), 3.0);
    assert_eq!(value(&text, &format!("nearness_request_seconds_count{{call=\"{search}\",path=\"none\"}}")), 1.0);
    assert!(value(&text, &format!("nearness_request_seconds_sum{{call=\"{search}\",path=\"exact\"}}")) > 0.0);
    assert_eq!(value(&text, "nearness_collection_points{collection=\"c\"}"), 20.0);
    assert_eq!(value(&text, "nearness_collection_state{collection=\"c\"}"), 1.0);
    assert_eq!(value(&text, "nearness_collection_problems{collection=\"c\"}"), 0.0);
    assert!(!text.contains("collection=\"deleted\"") && !text.contains("nowhere"), "{text}");
    assert_eq!(value(&text, "nearness_recall_measured{collection=\"c\"}"), recall);
    for queue in ["compute", "store", "maintenance", "map"] {
        assert_eq!(value(&text, &format!("nearness_queue_depth{{queue=\"{queue}\"}}")), 0.0);
    }
    assert_eq!(value(&text, "nearness_requests_in_flight"), 0.0);
    assert_eq!(value(&text, "nearness_connections"), 1.0);
    assert_eq!(value(&text, "nearness_request_memory_bytes"), 0.0);
    for name in ["segments", "growing_points", "mapped_bytes", "segments_without_graph"] {
        value(&text, &format!("nearness_collection_{name}{{collection=\"c\"}}"));
    }
    assert_eq!(value(&text, "nearness_collections_open"), 1.0);
    if cfg!(target_os = "linux") {
        assert!(value(&text, "nearness_resident_file_bytes") > 0.0);
    }
    for name in ["scrub_bytes_total", "scrub_passes_total", "damaged_blocks_total"] {
        value(&text, &format!("nearness_{name}"));
    }
    for name in ["scrub_position_bytes", "scrub_total_bytes", "scrub_last_pass_seconds"] {
        value(&text, &format!("nearness_{name}"));
    }
    for name in ["merges_total", "seals_total", "commit_seconds_count", "commit_seconds_bucket{le=\"+Inf\"}"] {
        value(&text, &format!("nearness_{name}"));
    }

    let shown = dashboard_metrics();
    assert!(shown.len() > 10, "{shown:?}");
    for name in shown {
        assert!(text.lines().any(|line| line.starts_with(&name)), "the dashboard shows {name}, which does not exist");
    }

    assert!(http(watch, &get("/")).await.0.starts_with("HTTP/1.1 404 "));
    assert!(http(watch, &get("/metrics").replace("GET", "POST")).await.0.starts_with("HTTP/1.1 405 "));
    drop(stop);
    serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(watch).await.is_err(), "the port is closed");
}

/// Returns the metrics that the dashboard queries.
fn dashboard_metrics() -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana.json");
    let dashboard: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.filter_map(|target| target["expr"].as_str());
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    expressions.flat_map(|e| e.split(word)).filter(|w| w.starts_with("nearness_")).map(str::to_owned).collect()
}

pub(crate) async fn commits_flushes_and_merges_are_counted(engine: Arc<dyn Node>) {
    let server = start(engine.clone()).await;
    server.client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    for n in 0..4 {
        server.client.upsert(upsert("c", vec![vector_item(&format!("p{n}"), &[1.0, 1.0])])).await.unwrap();
    }
    server.client.compact(pb::CompactCollectionRequest { name: "c".into() }).await.unwrap();
    let activity = engine.activity();
    assert_eq!(activity.commits.counts.iter().sum::<u64>(), 4);
    assert!(!activity.commits.sum.is_zero());
    assert_eq!((activity.flushes, activity.merges), (1, 0));
    server.client.upsert(upsert("c", vec![vector_item("p9", &[1.0, 1.0])])).await.unwrap();
    server.client.compact(pb::CompactCollectionRequest { name: "c".into() }).await.unwrap();
    assert_eq!((engine.activity().flushes, engine.activity().merges), (2, 1));
}

#[test]
fn metrics_are_served_on_loopback_only() {
    let engine = Arc::new(crate::support::memory_engine::MemoryEngine::new(crate::registry()));
    let options = ServerOptions { metrics: Some(([0, 0, 0, 0], 0).into()), ..options() };
    let error = Server::bind(engine.clone(), options.clone()).err();
    assert!(matches!(error, Some(ServerError::OpenMetrics { .. })), "{error:?}");
    Server::bind(engine, ServerOptions { insecure: true, ..options }).unwrap();
}
