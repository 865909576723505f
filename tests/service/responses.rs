//! How large responses become, what their errors say, and integers that a double cannot hold.

use crate::harness::*;
use http_body_util::{BodyExt, Full};
use nearness::collection::{
    Accuracy, Budget, Engine, Error, Fields, Item, LocalEngine, Meter, Payload, Point, Query, SearchParams, Source,
};
use nearness::grpc::payload::{exact_json, from_wire, to_struct};
use nearness::grpc::{ServerOptions, pb};
use nearness::types::{CollectionName, PointId};
use pb::query::Form;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Code, Request};

const LIMIT: &str = "nearness-max-response-bytes";

fn local() -> (Arc<LocalEngine>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    (Arc::new(LocalEngine::open(folder.path(), crate::registry()).expect("an engine")), folder)
}

fn id(number: usize) -> String {
    format!("p{number:04}")
}

/// A thousand points of 6 KB each.
async fn a_thousand(server: &Running) {
    server.client.create_collection(plain("c", 1_536, pb::Metric::L2)).await.unwrap();
    let items = (0..1_000).map(|n| vector_item(&id(n), &[n as f32; 1_536])).collect();
    server.client.upsert(upsert("c", items)).await.unwrap();
}

fn whole() -> Option<pb::Fields> {
    Some(pb::Fields { payload: true, vector: true })
}

fn all_near() -> pb::SearchRequest {
    let mut request = near("c", Form::Id(id(1)), 1_000);
    request.params.as_mut().unwrap().fields = whole();
    request
}

fn all_by_id() -> pb::GetPointsRequest {
    pb::GetPointsRequest { collection: "c".into(), ids: (0..1_000).map(id).collect(), fields: whole(), min_sequence: 0 }
}

fn page(token: String) -> pb::ScrollRequest {
    pb::ScrollRequest { collection: "c".into(), limit: 1_000, page_token: token, fields: whole(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_with_the_default_limit_read_everything_in_pages() {
    let server = start(local().0).await;
    a_thousand(&server).await;
    // As generated: it receives 4 MiB at most, and does not say so.
    let mut stock = pb::points_client::PointsClient::new(server.channel().await);
    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let reply = stock.scroll(page(token)).await.expect("a page that the client can receive").into_inner();
        seen.extend(reply.points.into_iter().map(|point| point.id));
        pages += 1;
        token = reply.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, (0..1_000).map(id).collect::<Vec<_>>());
    assert_eq!(pages, 2, "6 MB");
    let refusals = [
        stock.get(all_by_id()).await.map(drop).unwrap_err(),
        pb::search_client::SearchClient::new(server.channel().await).search(all_near()).await.map(drop).unwrap_err(),
    ];
    for status in refusals {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("4194304 bytes") && status.message().contains(LIMIT), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_can_receive_more_get_more() {
    let server = start_with(local().0, ServerOptions { max_message_bytes: 8 << 20, ..options() }).await;
    a_thousand(&server).await;
    assert_eq!(server.client.search(all_near()).await.expect("the client says what it receives").hits.len(), 999);
    assert_eq!(server.client.get_points(all_by_id()).await.unwrap().points.len(), 1_000);
    assert_eq!(server.client.scroll(page(String::new())).await.unwrap().points.len(), 1_000);
    let mut points = pb::points_client::PointsClient::new(server.channel().await).max_decoding_message_size(usize::MAX);
    let mut get = async |limit: &str| {
        let mut request = Request::new(all_by_id());
        request.metadata_mut().insert(LIMIT, limit.parse().unwrap());
        points.get(request).await.map(|reply| reply.into_inner().points.len())
    };
    assert_eq!(get("7000000").await.unwrap(), 1_000);
    // What the server sends at most counts all the same.
    assert_eq!(get("18446744073709551615").await.unwrap(), 1_000);
    let status = get("5000000").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("5000000") && status.message().contains("at most 8388608"), "{status}");
    assert_violation(&get("4 MiB").await.unwrap_err(), LIMIT, "decimal digits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_limit_gives_small_pages_and_one_point_that_does_not_fit_is_an_error() {
    let server = start(local().0).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let item = |n: usize, bytes: usize| pb::Item {
        payload: payload(serde_json::json!({ "x": "x".repeat(bytes) })),
        ..vector_item(&id(n), &[n as f32])
    };
    server.client.upsert(upsert("c", vec![item(0, 800), item(1, 800), item(2, 3_000)])).await.unwrap();
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    let mut scroll = async |token: String| {
        let mut request = Request::new(page(token));
        request.metadata_mut().insert(LIMIT, "3000".parse().unwrap());
        points.scroll(request).await.map(tonic::Response::into_inner)
    };
    let first = scroll(String::new()).await.unwrap();
    assert_eq!(first.points.len(), 2);
    let status = scroll(first.next_page_token).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

/// Refuses the points after the first `0`; counts how many it was asked for.
struct AtMost(usize, AtomicUsize);

impl Meter for AtMost {
    fn add(&self, _: &Point) -> Result<(), Error> {
        let asked = self.1.fetch_add(1, Ordering::SeqCst) + 1;
        if asked > self.0 { Err(Error::ResponseTooLarge("full".into())) } else { Ok(()) }
    }
    fn restart(&self) {
        self.1.store(0, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_not_read_beyond_its_limit() {
    let (engine, _folder) = local();
    let name = CollectionName::new("c").unwrap();
    let server = start(engine.clone()).await;
    server.client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let point = |n: usize| Item {
        id: PointId::new(id(n)).unwrap(),
        source: Source::Vector(vec![n as f32, 1.0]),
        payload: Payload::from_iter([("group".to_owned(), (n % 10).into())]),
    };
    engine.upsert(&name, (0..500).map(point).collect()).unwrap();
    let params = |k: u32, group_by: Option<&str>| SearchParams {
        k,
        accuracy: Accuracy::Default,
        score_threshold: None,
        fields: Fields { payload: true, vector: true },
        filter: None,
        group_by: group_by.map(str::to_owned),
        allow_partial: false,
    };
    let limited = |most: usize, call: &dyn Fn() -> Result<usize, Error>| {
        let meter = Arc::new(AtMost(most, AtomicUsize::new(0)));
        (Budget::new(meter.clone()).run(call), meter.1.load(Ordering::SeqCst))
    };
    let queries: Vec<Query> = (0..200).map(|n| Query::Vector(vec![n as f32, 0.0])).collect();
    let (answers, read) = limited(1_000, &|| engine.search(&name, &queries, &params(100, None)).map(|all| all.len()));
    assert!(matches!(answers, Err(Error::ResponseTooLarge(_))), "{answers:?}");
    // Each thread may be reading one more.
    assert!((1_001..1_200).contains(&read), "{read} of 20,000 points were read");
    let ids = vec![PointId::new(id(7)).unwrap(); 10_000];
    let whole = Fields { payload: true, vector: true };
    let (points, read) = limited(50, &|| engine.get(&name, &ids, whole).map(|all| all.len()));
    assert!(matches!(points, Err(Error::ResponseTooLarge(_))) && read == 51, "{points:?} {read}");
    // Of groups only those that are returned are counted.
    let (groups, read) =
        limited(10, &|| engine.search(&name, &queries[..1], &params(10, Some("group"))).map(|all| all[0].hits.len()));
    assert_eq!((groups.unwrap(), read), (10, 10));
    let (page, read) = limited(50, &|| {
        let page = engine.scroll(&name, None, 400, whole, None)?;
        assert!(page.more);
        Ok(page.points.len())
    });
    assert_eq!((page.unwrap(), read), (50, 51));
}

/// The status of a call whose body is `body`, in headers or trailers.
async fn status_of(server: &Running, path: &str, encoding: Option<&str>, body: Vec<u8>) -> (String, String) {
    let mut request = http::Request::post(format!("{}/{path}", server.url)).header("content-type", "application/grpc");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let request = request.body(Body::new(Full::from(body))).unwrap();
    let mut channel = server.channel().await;
    std::future::poll_fn(|context| Service::<http::Request<Body>>::poll_ready(&mut channel, context)).await.unwrap();
    let (head, body) = channel.call(request).await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let get = |name: &str| {
        let value = head.headers.get(name).or_else(|| trailers.get(name));
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    };
    (get("grpc-status"), get("grpc-message"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_cut_or_garbled_are_invalid_arguments() {
    let server = start(local().0).await;
    let cut = [&[0, 0, 0, 0, 100][..], &[1; 50]].concat();
    let no_gzip = [&[1, 0, 0, 0, 4][..], b"junk"].concat();
    for path in ["nearness.v1.Points/Upsert", "nearness.v1.Points/UpsertStream"] {
        for (encoding, body, part) in [
            (None, cut.clone(), "within its message"),
            (None, cut[..3].to_vec(), "within its message"),
            (None, vec![7, 0, 0, 0, 0], "first%20byte"),
            (Some("gzip"), no_gzip.clone(), "decompressed"),
        ] {
            let (code, message) = status_of(&server, path, encoding, body).await;
            assert_eq!(code, "3", "{path} {part}: {message}");
            assert!(message.contains(part), "{path} {part}: {message}");
        }
    }
    let (code, message) = status_of(&server, "nearness.v1.Points/Upsert", None, Vec::new()).await;
    assert_eq!((code.as_str(), message.contains("no%20message")), ("3", true), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_do_not_see_the_directories_of_the_server() {
    let (engine, folder) = local();
    let running = start(engine).await;
    running.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    running.stop().await.unwrap().unwrap();
    for collection in std::fs::read_dir(folder.path().join("collections")).unwrap() {
        std::fs::write(collection.unwrap().path().join("points.redb"), b"no database").unwrap();
    }
    let engine = LocalEngine::open(folder.path(), crate::registry()).expect("damage stops no other collection");
    let server = start(Arc::new(engine)).await;
    let directory = folder.path().to_str().unwrap();
    let (code, message) = refused(server.client.search(near_vector("c", &[1.0], 1)).await);
    assert_eq!(code, "DATA_LOSS");
    let info = server.client.collection(pb::GetCollectionRequest { name: "c".into() }).await.unwrap();
    let problems = info.collection.unwrap().problems;
    for text in problems.iter().chain([&message]) {
        assert!(text.contains("points.redb") && !text.contains(directory), "{text}");
    }
}

fn equals(form: pb::filter_value::Form) -> Option<pb::Filter> {
    let equals = pb::Equals { field: "n".into(), value: Some(pb::FilterValue { form: Some(form) }) };
    Some(pb::Filter { form: Some(pb::filter::Form::Equals(equals)) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn integers_keep_all_their_digits() {
    use pb::filter_value::Form::{IntegerValue, UnsignedValue};
    let server = start(local().0).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let payloads = [
        serde_json::json!({ "n": 9_007_199_254_740_992i64 }),
        serde_json::json!({ "n": 9_007_199_254_740_993i64, "a": [i64::MIN, { "b": u64::MAX }] }),
        serde_json::json!({ "n": u64::MAX }),
        serde_json::json!({ "n": -9_223_372_036_854_775_807i64 }),
    ];
    let payloads = payloads.map(|payload| payload.as_object().unwrap().clone());
    let items: Vec<pb::Item> = payloads
        .iter()
        .enumerate()
        .map(|(n, payload)| pb::Item {
            payload: (n % 2 == 0).then(|| to_struct(payload.clone())),
            payload_json: exact_json(payload),
            ..vector_item(&id(n), &[n as f32])
        })
        .collect();
    server.client.upsert(upsert("c", items.clone())).await.unwrap();
    let reply = server.client.scroll(page(String::new())).await.unwrap();
    let back = reply.points.into_iter().map(|point| from_wire(point.payload, &point.payload_json, &"payload").unwrap());
    assert_eq!(back.collect::<Vec<_>>(), payloads);
    let mut request = near_vector("c", &[1.0], 1);
    request.params.as_mut().unwrap().fields = whole();
    let hit = server.client.search(request).await.unwrap().hits.remove(0);
    assert_eq!(from_wire(hit.payload, &hit.payload_json, &"payload").unwrap(), payloads[1]);
    for (form, expected) in [
        (IntegerValue(9_007_199_254_740_992), 1),
        (IntegerValue(9_007_199_254_740_993), 1),
        (IntegerValue(9_007_199_254_740_994), 0),
        (IntegerValue(-9_223_372_036_854_775_807), 1),
        (UnsignedValue(u64::MAX), 1),
        (UnsignedValue(u64::MAX - 1), 0),
    ] {
        let counting = pb::CountRequest { collection: "c".into(), filter: equals(form.clone()), min_sequence: 0 };
        assert_eq!(server.client.count(counting).await.unwrap().count, expected, "{form:?}");
    }
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    let wrong = pb::Item { payload_json: r#"{"n": 18446744073709551616}"#.into(), ..items[0].clone() };
    let status = points.upsert(upsert("c", vec![wrong])).await.unwrap_err();
    assert_violation(&status, "items[0].payload_json", "18446744073709551616");
}
