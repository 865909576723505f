//! A server on a free port, a client, and shorthands for requests.

use nearness::engine::Node;
use nearness::grpc::server::ServerError;
use nearness::grpc::{Client, ClientError, ClientOptions, Server, ServerOptions, pb};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub(crate) struct Running {
    pub(crate) client: Client,
    pub(crate) url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServerError>>,
}

pub(crate) fn options() -> ServerOptions {
    ServerOptions { address: ([127, 0, 0, 1], 0).into(), ..Default::default() }
}

pub(crate) async fn start(engine: Arc<dyn Node>) -> Running {
    start_with(engine, options()).await
}

pub(crate) async fn start_with(engine: Arc<dyn Node>, options: ServerOptions) -> Running {
    let server = Server::bind(engine, options).expect("a free port");
    let url = format!("http://{}", server.local_addr());
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));
    let client = Client::connect(&url, &ClientOptions::default()).await.expect("a listening server");
    Running { client, url, stop, task }
}

impl Running {
    /// Returns a tonic channel, which exposes codes, details and headers.
    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(self.url.clone()).unwrap().connect().await.unwrap()
    }

    /// Signals the server to stop, without waiting.
    pub(crate) fn stop(self) -> JoinHandle<Result<(), ServerError>> {
        let _ = self.stop.send(());
        self.task
    }
}

pub(crate) fn plain(name: &str, dimension: u32, metric: pb::Metric) -> pb::CreateCollectionRequest {
    let space = Some(pb::create_collection_request::Space::Dimension(dimension));
    pb::CreateCollectionRequest { name: name.into(), space, metric: metric.into(), ..Default::default() }
}

pub(crate) fn embedded(name: &str, output: &str) -> pb::CreateCollectionRequest {
    let embedder = pb::EmbedderRef { name: "letters".into(), output: output.into() };
    let space = Some(pb::create_collection_request::Space::Embedder(embedder));
    pb::CreateCollectionRequest { name: name.into(), space, ..Default::default() }
}

pub(crate) fn values(values: &[f32]) -> pb::Vector {
    pb::Vector { form: Some(pb::vector::Form::Values(pb::Values { values: values.to_vec() })) }
}

pub(crate) fn le_f32(values: &[f32]) -> pb::Vector {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    pb::Vector { form: Some(pb::vector::Form::LeF32(bytes.into())) }
}

pub(crate) fn vector_item(id: &str, vector: &[f32]) -> pb::Item {
    pb::Item { id: id.into(), source: Some(pb::item::Source::Vector(values(vector))), ..Default::default() }
}

pub(crate) fn text_item(id: &str, text: &str) -> pb::Item {
    pb::Item { id: id.into(), source: Some(pb::item::Source::Text(text.into())), ..Default::default() }
}

pub(crate) fn payload(json: serde_json::Value) -> Option<prost_types::Struct> {
    Some(nearness::grpc::payload::to_struct(json.as_object().expect("an object").clone()))
}

pub(crate) fn json(payload: Option<prost_types::Struct>) -> serde_json::Value {
    nearness::grpc::payload::from_struct(payload.expect("a payload"), &"payload").expect("a valid payload").into()
}

pub(crate) fn upsert(collection: &str, items: Vec<pb::Item>) -> pb::UpsertRequest {
    pb::UpsertRequest { collection: collection.into(), items, ..Default::default() }
}

pub(crate) fn near(collection: &str, form: pb::query::Form, k: u32) -> pb::SearchRequest {
    pb::SearchRequest {
        collection: collection.into(),
        query: Some(pb::Query { form: Some(form) }),
        params: Some(pb::SearchParams { k, ..Default::default() }),
        min_sequence: 0,
        offset: 0,
    }
}

pub(crate) fn near_vector(collection: &str, vector: &[f32], k: u32) -> pb::SearchRequest {
    near(collection, pb::query::Form::Vector(values(vector)), k)
}

pub(crate) fn hit_ids(reply: &pb::SearchResponse) -> Vec<&str> {
    reply.hits.iter().map(|hit| hit.id.as_str()).collect()
}

pub(crate) async fn count(client: &Client, collection: &str) -> u64 {
    client.count(pb::CountRequest { collection: collection.into(), ..Default::default() }).await.expect("a count").count
}

/// Returns the code and message of a refused call.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (&'static str, String) {
    match result.expect_err("should be refused") {
        ClientError::Refused { code, message, .. } => (code, message),
        other => panic!("{other}"),
    }
}

/// Checks for an invalid argument whose violation names `field` and contains `part`.
#[track_caller]
pub(crate) fn assert_violation(status: &Status, field: &str, part: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let details = status.get_error_details();
    let violation = &details.bad_request().unwrap_or_else(|| panic!("no BadRequest in {status:?}")).field_violations[0];
    assert_eq!(violation.field, field, "{violation:?}");
    assert!(violation.description.contains(part), "{violation:?} should contain {part:?}");
    assert!(status.message().contains(field), "{status}");
}

/// Waits until `holds` returns true, for up to 30 seconds.
pub(crate) async fn until(condition: &str, mut holds: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "{condition}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// Searches, and tries again while the server refuses the request because of its limits: another request of the test
/// may hold the permit for a moment.
pub(crate) async fn search_once_admitted(
    client: Client,
    request: pb::SearchRequest,
) -> Result<pb::SearchResponse, ClientError> {
    loop {
        match client.search(request.clone()).await {
            Err(error) if error.code() == "RESOURCE_EXHAUSTED" => {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            answer => return answer,
        }
    }
}
