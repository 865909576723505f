//! Slow embeddings: their threads, and their cancellation.

use crate::harness::*;
use nearness::embed::{Embedder, Error, Fingerprint, Fingerprinter, Input, Modality, ModelCard, OutputLayer, Registry};
use nearness::engine::Database;
use nearness::grpc::{ServerOptions, pb};
use pb::query::Form;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::{Code, Request};

/// Counts and delays embeddings.
#[derive(Default)]
struct Slow {
    count: AtomicUsize,
    /// Whether embeddings are blocked.
    blocked: AtomicBool,
    /// Whether each text takes 5 ms.
    slow: AtomicBool,
    threads: Mutex<Vec<String>>,
}

struct SlowEmbedder(Arc<Slow>, [OutputLayer; 1], ModelCard);

impl Embedder for SlowEmbedder {
    fn name(&self) -> &str {
        "slow"
    }
    fn modality(&self) -> Modality {
        Modality::Text
    }
    fn output_layers(&self) -> &[OutputLayer] {
        &self.1
    }
    fn fingerprint(&self) -> Fingerprint {
        Fingerprinter::new("slow").finish()
    }
    fn card(&self) -> &ModelCard {
        &self.2
    }
    fn embed(&self, _: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, Error> {
        let slow = &self.0;
        slow.count.fetch_add(1, Ordering::SeqCst);
        slow.threads.lock().unwrap().push(std::thread::current().name().unwrap_or_default().to_owned());
        let started = Instant::now();
        while slow.blocked.load(Ordering::SeqCst) && started.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if slow.slow.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        match input {
            Input::Text("refuse") => Err(Error::InvalidInput("refused text".into())),
            Input::Text(text) => Ok(vec![text.len() as f32, 1.0]),
            Input::Image(_) => Err(Error::Modality { embedder: "slow".into(), expected: "text", found: "an image" }),
        }
    }
}

/// Starts a server with one thread for searches and two collections; returns it and its embedder.
async fn slow() -> (Running, Arc<Slow>, tempfile::TempDir) {
    let slow = Arc::new(Slow::default());
    let mut registry = Registry::default();
    let output = OutputLayer { name: "length", dimension: 2, about: "" };
    registry.add(Arc::new(SlowEmbedder(slow.clone(), [output], ModelCard::default())));
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Arc::new(Database::options().embedders(registry).open(folder.path()).expect("an engine"));
    let server = start_with(engine, ServerOptions { threads: 1, ..options() }).await;
    let embedder = pb::EmbedderRef { name: "slow".into(), output: String::new() };
    let space = Some(pb::create_collection_request::Space::Embedder(embedder));
    server
        .client
        .create_collection(pb::CreateCollectionRequest { name: "t".into(), space, ..Default::default() })
        .await
        .unwrap();
    server.client.create_collection(plain("v", 1, pb::Metric::L2)).await.unwrap();
    server.client.upsert(upsert("v", vec![vector_item("p", &[1.0])])).await.unwrap();
    slow.count.store(0, Ordering::SeqCst);
    slow.threads.lock().unwrap().clear();
    (server, slow, folder)
}

fn texts(first: &str, count: usize) -> pb::EmbedRequest {
    use pb::embed_input::Form;
    let text = |text: &str| pb::EmbedInput { form: Some(Form::Text(text.into())) };
    let inputs = (0..count).map(|n| text(if n == 0 { first } else { "abc" })).collect();
    pb::EmbedRequest { embedder: "slow".into(), output: String::new(), inputs }
}

/// Unblocks embeddings when dropped, also when the test fails: the runtime waits for the embedding threads.
struct UnblockOnDrop(Arc<Slow>);

impl Drop for UnblockOnDrop {
    fn drop(&mut self) {
        self.0.blocked.store(false, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_do_not_wait_for_embeddings() {
    let (server, slow, _folder) = slow().await;
    slow.blocked.store(true, Ordering::SeqCst);
    let _unblock = UnblockOnDrop(slow.clone());
    let (embedding, writing) = (server.client.clone(), server.client.clone());
    let embedding = tokio::spawn(async move { embedding.embed(texts("abc", 100)).await });
    let items = (0..100).map(|n| text_item(&format!("t{n}"), "abc")).collect();
    let writing = tokio::spawn(async move { writing.upsert(upsert("t", items)).await });
    until("it starts", || slow.count.load(Ordering::SeqCst) > 0).await;
    let search = server.client.search(near_vector("v", &[1.0], 1));
    let reply = tokio::time::timeout(Duration::from_secs(20), search).await.expect("the thread for searches is free");
    assert_eq!(hit_ids(&reply.unwrap()), ["p"]);
    slow.blocked.store(false, Ordering::SeqCst);
    assert_eq!(embedding.await.unwrap().unwrap().vectors.len(), 100);
    assert_eq!(writing.await.unwrap().unwrap().inserted, 100);
    let request = |id: &str| pb::UpsertStreamRequest {
        collection: "t".into(),
        item: Some(text_item(id, "abc")),
        ..Default::default()
    };
    let (acks, end) = crate::streams::send(&server.client, vec![request("s0"), request("s1")]).await;
    assert!(acks.len() == 2 && end.is_ok());
    let threads = slow.threads.lock().unwrap();
    assert!(threads.iter().all(|name| name.starts_with("embed-")), "{threads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedding_stops_at_the_first_invalid_input() {
    let (server, slow, _folder) = slow().await;
    let (code, message) = refused(server.client.embed(texts("refuse", 1_000)).await);
    assert_eq!((code, message.as_str()), ("INVALID_ARGUMENT", "inputs[0].text: refused text"));
    let embedded = slow.count.swap(0, Ordering::SeqCst);
    assert!(embedded < 500, "{embedded} of 1,000 were embedded");
    let items = (0..1_000).map(|n| text_item(&format!("t{n}"), if n == 3 { "refuse" } else { "abc" })).collect();
    let (code, message) = refused(server.client.upsert(upsert("t", items)).await);
    assert_eq!((code, message.as_str()), ("INVALID_ARGUMENT", "items[3].text: refused text"));
    let embedded = slow.count.swap(0, Ordering::SeqCst);
    assert!(embedded < 500, "{embedded} of 1,000 were embedded");
    let query = |n: usize| pb::Query { form: Some(Form::Text(if n == 3 { "refuse" } else { "abc" }.into())) };
    let params = Some(pb::SearchParams { k: 1, ..Default::default() });
    let queries = (0..1_000).map(query).collect();
    let batch =
        pb::SearchBatchRequest { collection: "t".into(), queries, params, min_sequence: 0, ..Default::default() };
    let (code, message) = refused(server.client.search_batch(batch).await);
    assert_eq!((code, message.as_str()), ("INVALID_ARGUMENT", "queries[3].text: refused text"));
    let embedded = slow.count.load(Ordering::SeqCst);
    assert!(embedded < 500, "{embedded} of 1,000 were embedded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedding_stops_when_the_client_leaves() {
    let (server, slow, _folder) = slow().await;
    slow.slow.store(true, Ordering::SeqCst);
    let mut embedders = pb::embedders_client::EmbeddersClient::new(server.channel().await);
    let mut request = Request::new(texts("abc", 1_000));
    request.set_timeout(Duration::from_millis(100));
    let status = embedders.embed(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    // There is one permit for embeddings: the next one runs after the end of the first.
    server.client.embed(texts("abc", 1)).await.unwrap();
    let embedded = slow.count.load(Ordering::SeqCst);
    assert!(embedded < 800, "{embedded} of 1,000 were embedded after the client left");
}

/// Returns the head of a PNG of this size: it states the number of pixels, but cannot be decoded.
fn head_of_png(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend([width.to_be_bytes(), height.to_be_bytes()].concat());
    png.extend([8, 0, 0, 0, 0]);
    png.extend(crc32fast::hash(&png[12..]).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    png
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pixels_of_a_request_are_limited() {
    let (server, slow, _folder) = slow().await;
    let image = || bytes::Bytes::from(head_of_png(8_000, 4_000));
    let part = "at most 512000000 pixels together, got 544000000";
    let mut embedders = pb::embedders_client::EmbeddersClient::new(server.channel().await);
    let inputs = |count| {
        let input = pb::EmbedInput { form: Some(pb::embed_input::Form::Image(image())) };
        pb::EmbedRequest { embedder: "slow".into(), output: String::new(), inputs: vec![input; count] }
    };
    assert_violation(&embedders.embed(inputs(17)).await.unwrap_err(), "inputs", part);
    let item = || pb::Item { id: "p".into(), source: Some(pb::item::Source::Image(image())), ..Default::default() };
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    assert_violation(&points.upsert(upsert("t", vec![item(); 17])).await.unwrap_err(), "items", part);
    let query = pb::Query { form: Some(Form::Image(image())) };
    let batch = pb::SearchBatchRequest {
        collection: "t".into(),
        queries: vec![query; 17],
        params: Some(pb::SearchParams { k: 1, ..Default::default() }),
        min_sequence: 0,
        ..Default::default()
    };
    let mut search = pb::search_client::SearchClient::new(server.channel().await);
    assert_violation(&search.search_batch(batch).await.unwrap_err(), "queries", part);
    // The images of a fusion, and that of the second query.
    let part_of = || pb::SubQuery { query: Some(pb::Query { form: Some(Form::Image(image())) }), ..Default::default() };
    let fusion = |parts| pb::Query {
        form: Some(Form::Fusion(pb::Fusion { queries: vec![part_of(); parts], ..Default::default() })),
    };
    let rerank = pb::Rerank { query: Some(pb::Query { form: Some(Form::Image(image())) }), candidates: 0 };
    let params = pb::SearchParams { k: 1, rerank: Some(rerank), ..Default::default() };
    let request = pb::SearchRequest {
        collection: "t".into(),
        query: Some(fusion(16)),
        params: Some(params.clone()),
        ..Default::default()
    };
    assert_violation(&search.search(request).await.unwrap_err(), "query", part);
    let request = pb::ExplainRequest {
        collection: "t".into(),
        query: Some(fusion(16)),
        params: Some(params),
        id: "p".into(),
        ..Default::default()
    };
    assert_violation(&search.explain(request).await.unwrap_err(), "query", part);
    assert_eq!(slow.count.load(Ordering::SeqCst), 0);
    let status = embedders.embed(inputs(16)).await.unwrap_err();
    assert!(status.message().contains("inputs[0].image"), "within the limit, so it is decoded: {status}");
}
