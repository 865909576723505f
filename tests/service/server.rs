//! The server: codes, overload, deadlines, oversize messages, health, reflection, shutdown.

use crate::auth::{grant, holder, with_access};
use crate::harness::*;
use crate::support::memory_engine::MemoryEngine;
use crate::{registry, streams};
use nearness::api::Error;
use nearness::auth::{Access, Role};
use nearness::engine::Database;
use nearness::grpc::{ClientError, Server, ServerOptions, pb};
use nearness::{embed, store};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio_stream::{StreamExt, iter};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt;

fn engine() -> Arc<MemoryEngine> {
    Arc::new(MemoryEngine::new(registry()))
}

/// Blocks the calls of one operation until opened, and counts them.
#[derive(Default)]
struct Latch {
    open: Mutex<bool>,
    opened: Condvar,
    arrived: AtomicUsize,
}

impl Latch {
    fn before(self: &Arc<Self>, engine: &MemoryEngine, operation: &'static str) {
        let latch = self.clone();
        engine.set_hook(move |called| {
            if called == operation {
                latch.arrived.fetch_add(1, Ordering::SeqCst);
                latch.wait();
            }
            Ok(())
        });
    }

    /// Times out after 30 seconds, so that a failed test ends.
    fn wait(&self) {
        drop(self.opened.wait_timeout_while(self.open.lock().unwrap(), Duration::from_secs(30), |open| !*open));
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    async fn wait_for(&self, calls: usize) {
        while self.arrived.load(Ordering::SeqCst) < calls {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn every_kind_of_error_has_its_code() {
    let engine = engine();
    let server = start(engine.clone()).await;
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    let pinned = || Error::Fingerprint {
        collection: "c".into(),
        embedder: "words".into(),
        pinned: "00".into(),
        loaded: "not loaded".into(),
    };
    let unknown_words = || Error::Embed {
        field: "items[2].text".into(),
        source: embed::Error::OutOfVocabulary { embedder: "words".into(), words: "qzx".into() },
    };
    let damaged =
        || Error::Store(store::Error::Corrupt { path: "f".into(), what: "a mismatched checksum\nsecond line".into() });
    type Make = Box<dyn Fn() -> Error + Send + Sync>;
    let cases: Vec<(Make, Code, &str)> = vec![
        (Box::new(|| Error::invalid("items[3].vector", "too long")), Code::InvalidArgument, "INVALID_INPUT"),
        (Box::new(unknown_words), Code::InvalidArgument, "OUT_OF_VOCABULARY"),
        (Box::new(|| Error::UnknownCollection("c".into())), Code::NotFound, "NOT_FOUND"),
        (Box::new(|| Error::CollectionExists("c".into())), Code::AlreadyExists, "ALREADY_EXISTS"),
        (Box::new(pinned), Code::FailedPrecondition, "CONFLICT"),
        (Box::new(damaged), Code::DataLoss, "CORRUPT"),
        (Box::new(|| Error::Exhausted("the disk is full".into())), Code::ResourceExhausted, "EXHAUSTED"),
        (Box::new(|| Error::Unavailable("stopping".into())), Code::Unavailable, "UNAVAILABLE"),
    ];
    for (make, code, reason) in cases {
        let text = make().to_string().lines().next().unwrap().to_owned();
        engine.set_hook(move |_| Err(make()));
        let status = points.count(pb::CountRequest { collection: "c".into(), ..Default::default() }).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, text.as_str()));
        let details = status.get_error_details();
        let info = details.error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "nearness"));
        match reason {
            "INVALID_INPUT" => assert_violation(&status, "items[3].vector", "too long"),
            "OUT_OF_VOCABULARY" => {
                assert_violation(&status, "items[2].text", "qzx");
                assert_eq!(info.metadata["words"], "qzx");
            }
            _ => assert!(details.bad_request().is_none()),
        }
    }
    // A panic is answered too, and the server continues.
    engine.set_hook(|_| panic!("a bug, on purpose"));
    let status = points.count(pb::CountRequest { collection: "c".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(
        (status.code(), status.get_error_details().error_info().unwrap().reason.as_str()),
        (Code::Internal, "INTERNAL")
    );
    assert!(!status.message().contains("on purpose"), "{status}");
    engine.set_hook(|_| Ok(()));
    let status = points.count(pb::CountRequest { collection: "c".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn oversize_messages_name_the_limit() {
    let small = ServerOptions { max_message_bytes: 64 << 10, ..options() };
    let server = start_with(engine(), small).await;
    server.client.create_collection(plain("c", 1_000, pb::Metric::L2)).await.unwrap();
    let item = |n: usize| vector_item(&format!("p{n}"), &[n as f32; 1_000]);
    let (code, message) = refused(server.client.upsert(upsert("c", (0..20).map(item).collect())).await);
    assert_eq!(code, "RESOURCE_EXHAUSTED", "{message}");
    assert!(message.contains("limit of 65536 bytes"), "{message}");

    let mut zipped = pb::points_client::PointsClient::new(server.channel().await)
        .send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let bomb = upsert("c", (0..200).map(|n| vector_item(&format!("p{n}"), &[0.0; 1_000])).collect());
    let status = zipped.upsert(bomb).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("limit of 65536 bytes"), "{status}");

    let requests = vec![
        pb::UpsertStreamRequest { collection: "c".into(), item: Some(item(0)), ..Default::default() },
        pb::UpsertStreamRequest {
            collection: "c".into(),
            item: Some(text_item("t", &"x".repeat(70_000))),
            ..Default::default()
        },
    ];
    let (acks, end) = streams::send(&server.client, requests).await;
    assert_eq!((acks.len(), refused(end).0), (1, "RESOURCE_EXHAUSTED"));

    for piece in 0..4 {
        server.client.upsert(upsert("c", (0..10).map(|n| item(10 * piece + n)).collect())).await.unwrap();
    }
    let mut request = near_vector("c", &[0.0; 1_000], 40);
    request.params.as_mut().unwrap().fields = Some(pb::Fields { payload: false, vector: true, ..Default::default() });
    let (code, message) = refused(server.client.search(request).await);
    assert_eq!(code, "RESOURCE_EXHAUSTED");
    assert!(message.contains("the limit is 65536"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_past_its_deadline_is_not_run() {
    let engine = engine();
    let server =
        start_with(engine.clone(), ServerOptions { threads: 1, max_concurrent_requests: 2, ..options() }).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    server.client.upsert(upsert("c", vec![vector_item("p", &[1.0])])).await.unwrap();
    let latch = Arc::new(Latch::default());
    latch.before(&engine, "search");

    let client = server.client.clone();
    let first = tokio::spawn(async move { client.search(near_vector("c", &[1.0], 1)).await });
    latch.wait_for(1).await;
    // The only thread is busy: the second request waits, and its deadline passes.
    let mut raw = pb::search_client::SearchClient::new(server.channel().await);
    let mut late = Request::new(near_vector("c", &[1.0], 1));
    late.metadata_mut().insert("grpc-timeout", "20m".parse().unwrap());
    let status = raw.search(late).await.unwrap_err();
    // tonic's client enforces the deadline too, and reports a cancellation if it is first.
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    // Two requests are admitted concurrently: a third succeeds only while the second permit is free.
    let wait_for_permits = async |in_use: bool| {
        let count = pb::CountRequest { collection: "c".into(), ..Default::default() };
        while server.client.count(count.clone()).await.is_err() != in_use {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    wait_for_permits(false).await;
    // The client of the next request leaves while it waits.
    let next = tokio::spawn(search_once_admitted(server.client.clone(), near_vector("c", &[1.0], 1)));
    wait_for_permits(true).await;
    next.abort();
    wait_for_permits(false).await;

    latch.open();
    assert_eq!(hit_ids(&first.await.unwrap().unwrap()), ["p"]);
    assert_eq!(
        hit_ids(&server.client.search(near_vector("c", &[1.0], 1)).await.unwrap()),
        ["p"],
        "the server continues"
    );
    assert_eq!(latch.arrived.load(Ordering::SeqCst), 2, "neither the late nor the abandoned request was run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_is_refused_immediately() {
    let engine = engine();
    let server = start_with(engine.clone(), ServerOptions { max_concurrent_requests: 2, ..options() }).await;
    let latch = Arc::new(Latch::default());
    latch.before(&engine, "collections");
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let client = server.client.clone();
            tokio::spawn(async move { client.list_collections(pb::ListCollectionsRequest::default()).await })
        })
        .collect();
    latch.wait_for(2).await;
    let (code, message) = refused(server.client.list_collections(pb::ListCollectionsRequest::default()).await);
    assert_eq!(code, "RESOURCE_EXHAUSTED");
    assert!(message.contains("2 requests"), "{message}");
    assert!(server.client.serving("").await.unwrap(), "health answers under load");
    latch.open();
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    server.client.list_collections(pb::ListCollectionsRequest::default()).await.expect("a free permit");
}

#[tokio::test]
async fn a_failed_write_ends_the_stream_after_its_acks() {
    let engine = engine();
    let server = start(engine.clone()).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    engine.set_hook(|called| match called {
        "upsert" => Err(Error::Exhausted("the disk is full".into())),
        _ => Ok(()),
    });
    let request = |id: &str, x| pb::UpsertStreamRequest {
        collection: "c".into(),
        item: Some(vector_item(id, &[x])),
        ..Default::default()
    };
    let (acks, end) = streams::send(&server.client, vec![request("a", 1.0), request("b", f32::NAN)]).await;
    assert_eq!(refused(end), ("RESOURCE_EXHAUSTED", "the disk is full".to_owned()));
    let reported: Vec<_> = acks.iter().map(|ack| (ack.index, ack.sequence, ack.error_code)).collect();
    assert_eq!(reported, [(0, 0, Code::ResourceExhausted as i32), (1, 0, Code::InvalidArgument as i32)]);
    assert_eq!(acks[0].error, "the disk is full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_applies_backpressure() {
    let engine = engine();
    let server = start(engine.clone()).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let (latch, prepared) = (Arc::new(Latch::default()), Arc::new(AtomicUsize::new(0)));
    let (counter, waiting) = (prepared.clone(), latch.clone());
    engine.set_hook(move |called| {
        match called {
            "prepare" => drop(counter.fetch_add(1, Ordering::SeqCst)),
            "upsert" => waiting.wait(),
            _ => {}
        }
        Ok(())
    });
    const ITEMS: usize = 200_000;
    let counter = sent.clone();
    let requests = iter(0..ITEMS).map(move |n| {
        counter.fetch_add(1, Ordering::SeqCst);
        pb::UpsertStreamRequest {
            collection: "c".into(),
            item: Some(vector_item(&n.to_string(), &[n as f32])),
            ..Default::default()
        }
    });
    let mut acks = server.client.upsert_stream(requests).await.unwrap();
    // Writes are blocked, so the sender stops; wait for that.
    loop {
        let before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await;
        if before > 0 && sent.load(Ordering::SeqCst) == before {
            break;
        }
    }
    assert!(sent.load(Ordering::SeqCst) < ITEMS, "no backpressure on the client");
    let prepared = prepared.load(Ordering::SeqCst);
    assert!(prepared <= 4 * 4_096, "{prepared} items are in memory");
    latch.open();
    let mut done = 0;
    while let Some(batch) = acks.next().await.unwrap() {
        done += batch.len();
    }
    assert_eq!((done, count(&server.client, "c").await as usize), (ITEMS, ITEMS));
}

#[tokio::test]
async fn health_reports_orphaned_files() {
    let data = tempfile::tempdir().unwrap();
    let engine = Database::options().embedders(registry()).open(data.path()).unwrap();
    let server = start(Arc::new(engine)).await;
    assert!(server.client.serving("orphans").await.unwrap());
    std::fs::create_dir_all(data.path().join("orphans/0000000000000007")).unwrap();
    assert!(!server.client.serving("orphans").await.unwrap());
    assert!(server.client.serving("").await.unwrap(), "the collections are served");
}

#[tokio::test]
async fn health_is_serving_until_shutdown() {
    let server = start_with(engine(), ServerOptions { drain: Duration::from_secs(3_600), ..options() }).await;
    let names = ["", "nearness.v1.Collections", "nearness.v1.Points", "nearness.v1.Search", "nearness.v1.Embedders"];
    for name in names {
        assert!(server.client.serving(name).await.unwrap(), "{name}");
    }
    assert_eq!(refused(server.client.serving("nearness.v1.Nothing").await).0, "NOT_FOUND");

    let mut health = HealthClient::new(server.channel().await);
    let mut watch =
        async |service: &str| health.watch(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
    let (mut search, mut unknown) = (watch("nearness.v1.Search").await, watch("nearness.v1.Nothing").await);
    assert_eq!(search.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert_eq!(unknown.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    let stopped = server.stop();
    assert_eq!(search.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let ended = async {
        assert!(search.message().await.unwrap().is_none());
        stopped.await.unwrap().expect("a clean end");
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("an open watch does not delay shutdown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_completes_started_requests() {
    let engine = engine();
    let server = start(engine.clone()).await;
    let client = server.client.clone();
    client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver).map(|item| pb::UpsertStreamRequest {
        collection: "c".into(),
        item: Some(item),
        ..Default::default()
    });
    let mut acks = client.upsert_stream(requests).await.unwrap();
    sender.send(vector_item("a", &[1.0])).await.unwrap();
    assert_eq!(acks.next().await.unwrap().unwrap()[0].error, "");

    let latch = Arc::new(Latch::default());
    latch.before(&engine, "search");
    let searching = client.clone();
    let search = tokio::spawn(async move { searching.search(near_vector("c", &[1.0], 1)).await });
    latch.wait_for(1).await;
    let url = server.url.clone();
    let stopped = server.stop();
    match acks.next().await {
        Err(ClientError::Refused { code, message, .. }) => {
            assert_eq!((code, message.as_str()), ("UNAVAILABLE", "the server is stopping"));
        }
        other => panic!("{other:?}"),
    }
    latch.open();
    assert_eq!(hit_ids(&search.await.unwrap().unwrap()), ["a"], "a started request is answered");
    stopped.await.unwrap().expect("a clean end");
    let error = nearness::grpc::Client::connect(&url, &Default::default()).await.unwrap_err();
    assert_eq!(error.code(), "UNAVAILABLE");
}

#[tokio::test]
async fn reflection_names_every_service() {
    use tonic_reflection::pb::{v1, v1alpha};
    let server = start(engine()).await;
    let expected = [
        "grpc.health.v1.Health",
        "nearness.v1.Collections",
        "nearness.v1.Embedders",
        "nearness.v1.Points",
        "nearness.v1.Quality",
        "nearness.v1.Search",
    ];
    macro_rules! check {
        ($version:ident) => {{
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let mut client = $version::server_reflection_client::ServerReflectionClient::new(server.channel().await);
            let request =
                |message| $version::ServerReflectionRequest { host: String::new(), message_request: Some(message) };
            let messages = [
                MessageRequest::ListServices(String::new()),
                MessageRequest::FileContainingSymbol("nearness.v1.Search".into()),
            ];
            let mut replies = client.server_reflection_info(iter(messages.map(request))).await.unwrap().into_inner();
            let Some(MessageResponse::ListServicesResponse(list)) =
                replies.message().await.unwrap().unwrap().message_response
            else {
                panic!("no list of services")
            };
            let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
            assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
            let Some(MessageResponse::FileDescriptorResponse(file)) =
                replies.message().await.unwrap().unwrap().message_response
            else {
                panic!("no descriptor")
            };
            assert!(!file.file_descriptor_proto.is_empty());
        }};
    }
    check!(v1);
    check!(v1alpha);
}

#[tokio::test]
async fn a_port_in_use_and_an_invalid_option_are_errors() {
    let first = Server::bind(engine(), options()).unwrap();
    let taken = ServerOptions { address: first.local_addr(), ..options() };
    let error = Server::bind(engine(), taken).err().expect("the port is taken").to_string();
    assert_eq!(error, format!("cannot listen on {}", first.local_addr()));
    let tiny = ServerOptions { max_message_bytes: 10, ..options() };
    assert!(Server::bind(engine(), tiny).err().expect("too small").to_string().contains("65536"));
    for url in ["ftp://127.0.0.1:1", "http://", "a b"] {
        let error = nearness::grpc::Client::connect(url, &Default::default()).await.unwrap_err();
        assert!(matches!(error, ClientError::Address { .. }), "{error}");
    }
}

/// Calls a method by its path, as a client built from other protos does; returns the last message of the response.
async fn call_path<Q, R>(url: &str, path: &'static str, request: Q, key: &str) -> Result<Option<R>, tonic::Status>
where
    Q: prost::Message + Default + 'static,
    R: prost::Message + Default + 'static,
{
    let channel = tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut request = tonic::Request::new(request);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    let codec = tonic_prost::ProstCodec::<Q, R>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
    let mut messages = grpc.server_streaming(request, path, codec).await?.into_inner();
    let mut last = None;
    while let Some(message) = messages.message().await? {
        last = Some(message);
    }
    Ok(last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn former_method_names_are_served() {
    let (engine, _guard) = crate::local();
    let (admin, admin_grant) = grant("root", Role::Admin, &["*"]);
    let (reader, reader_grant) = grant("page", Role::Read, &["c"]);
    let access = Access::restricted(vec![admin_grant, reader_grant], vec![], None);
    let server = start_with(engine, with_access(access)).await;
    let client = holder(&server.url, &admin).await;
    client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let items = (0..20).map(|n| vector_item(&format!("p{n}"), &[n as f32, 1.0])).collect();
    client.upsert(upsert("c", items)).await.unwrap();

    let compute = pb::ComputeLayoutRequest { collection: "c".into(), ..Default::default() };
    for path in ["/nearness.v1.Map/Project", "/nearness.v1.Map/ComputeLayout"] {
        let last: Option<pb::ComputeLayoutResponse> =
            call_path(&server.url, path, compute.clone(), &reader).await.unwrap();
        let part = last.and_then(|message| message.part);
        assert!(matches!(part, Some(pb::compute_layout_response::Part::End(_))), "{path}: {part:?}");
    }
    let form = Some(pb::query::Form::Id("p3".into()));
    let locate =
        pb::LocateQueriesRequest { collection: "c".into(), queries: vec![pb::Query { form }], ..Default::default() };
    let mut located = Vec::new();
    for path in ["/nearness.v1.Map/Place", "/nearness.v1.Map/LocateQueries"] {
        let response: Option<pb::LocateQueriesResponse> =
            call_path(&server.url, path, locate.clone(), &reader).await.unwrap();
        located.push(response.unwrap().coordinates);
    }
    assert!(located[0].len() == 8 && located[0] == located[1], "{located:?}");

    // The role and the name in the refusal are those of the present method.
    let delete = || pb::DeletePreviousGenerationRequest { name: "c".into() };
    for path in ["/nearness.v1.Collections/DropPrevious", "/nearness.v1.Collections/DeletePreviousGeneration"] {
        type Deleted = pb::DeletePreviousGenerationResponse;
        let status = call_path::<_, Deleted>(&server.url, path, delete(), &reader).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied, "{path}: {status}");
        assert!(status.message().starts_with("Collections/DeletePreviousGeneration "), "{path}: {status}");
        let status = call_path::<_, Deleted>(&server.url, path, delete(), &admin).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{path}: {status}");
    }
    let none = call_path::<_, pb::LocateQueriesResponse>(&server.url, "/nearness.v1.Map/Locate", locate, &admin).await;
    assert_eq!(none.unwrap_err().code(), tonic::Code::Unimplemented);
}
