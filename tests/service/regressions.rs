//! Known failures of other databases: invalid vectors, numbers, texts and pictures, bombs, duplicates, stalled clients.
//! `docs/LIMITS.md` lists the case of each test.

use crate::harness::*;
use crate::support::memory_engine::MemoryEngine;
use bytes::{Buf, BufMut};
use nearness::api::CancellationToken;
use nearness::embed::Registry;
use nearness::engine::{Database, Node};
use nearness::grpc::{ServerOptions, pb};
use pb::query::Form;
use prost::Message;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio_stream::StreamExt;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

/// Sends messages as bytes, including those that no generated client would send.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        *self
    }
    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).into()))
    }
}

const UPSERT: &str = "/nearness.v1.Points/Upsert";
const SEARCH: &str = "/nearness.v1.Search/Search";
const SCROLL: &str = "/nearness.v1.Points/Scroll";

async fn raw(server: &Running) -> tonic::client::Grpc<tonic::transport::Channel> {
    let mut grpc = tonic::client::Grpc::new(server.channel().await);
    grpc.ready().await.unwrap();
    grpc
}

async fn refused_raw(server: &Running, path: &'static str, message: Vec<u8>) -> Status {
    let call = raw(server).await.unary(Request::new(message), PathAndQuery::from_static(path), Raw).await;
    call.map(|_| ()).expect_err("should be refused")
}

/// Encodes a field of type bytes, string or message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

fn digits() -> (Arc<dyn Node>, tempfile::TempDir) {
    let mut registry = Registry::default();
    registry
        .add_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/embed/models/digits"))
        .expect("the digit model");
    let folder = tempfile::tempdir().expect("a folder");
    (Arc::new(Database::options().embedders(registry).open(folder.path()).expect("an engine")), folder)
}

fn local() -> (Arc<dyn Node>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    (Arc::new(Database::options().embedders(crate::registry()).open(folder.path()).expect("an engine")), folder)
}

async fn search(server: &Running, request: pb::SearchRequest) -> Result<pb::SearchResponse, Status> {
    pb::search_client::SearchClient::new(server.channel().await).search(request).await.map(tonic::Response::into_inner)
}

async fn write(server: &Running, request: pb::UpsertRequest) -> Result<pb::UpsertResponse, Status> {
    pb::points_client::PointsClient::new(server.channel().await).upsert(request).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_vectors_are_refused() {
    let (engine, _folder) = local();
    let server = start(engine).await;
    for (name, metric) in [("l2", pb::Metric::L2), ("cosine", pb::Metric::Cosine), ("dot", pb::Metric::Dot)] {
        server.client.create_collection(plain(name, 3, metric)).await.unwrap();
        let valid = || vector_item("valid", &[1.0, 2.0, 3.0]);
        let zero = ([0.0; 3], "norm");
        let invalid: [(Vec<f32>, &str); 8] = [
            (vec![1.0, f32::NAN, 3.0], "NaN"),
            (vec![1.0, 2.0, f32::INFINITY], "inf"),
            (vec![f32::NEG_INFINITY, 2.0, 3.0], "-inf"),
            (vec![1.0, 2.0], "3"),
            (vec![1.0; 4], "3"),
            (vec![], "1 to 65536"),
            (vec![3e38; 3], "norm"),
            (vec![1e30, 0.0, 0.0], "norm"),
        ];
        let mut invalid = invalid.to_vec();
        if metric == pb::Metric::Cosine {
            invalid.push((zero.0.to_vec(), zero.1));
            invalid.push((vec![1e-30, 0.0, 0.0], "norm"));
        }
        for (vector, part) in &invalid {
            for form in [values(vector), le_f32(vector)] {
                let item = pb::Item {
                    id: "invalid".into(),
                    source: Some(pb::item::Source::Vector(form.clone())),
                    ..Default::default()
                };
                let status = write(&server, upsert(name, vec![valid(), item])).await.expect_err(part);
                assert_eq!(status.code(), Code::InvalidArgument, "{name} {vector:?}: {status}");
                assert!(
                    status.message().contains("items[1].vector") && status.message().contains(part),
                    "{name} {vector:?}: {status}"
                );
                let status = search(&server, near(name, Form::Vector(form), 1)).await.expect_err(part);
                assert_eq!(status.code(), Code::InvalidArgument, "{name} {vector:?}: {status}");
                assert!(
                    status.message().contains("query.vector") && status.message().contains(part),
                    "{name} {vector:?}: {status}"
                );
            }
        }
        assert_eq!(count(&server.client, name).await, 0, "no item of a refused batch is written");
        let uneven = pb::Vector { form: Some(pb::vector::Form::LeF32(vec![0; 13].into())) };
        let status = search(&server, near(name, Form::Vector(uneven), 1)).await.unwrap_err();
        assert_violation(&status, "query.vector.le_f32", "multiple of 4");
        // Large and zero vectors are accepted if they have a distance.
        let mut accepted = vec![vector_item("large", &[1e17, 0.0, 0.0])];
        if metric != pb::Metric::Cosine {
            accepted.push(vector_item("zero", &[0.0; 3]));
        }
        let accepted_count = accepted.len();
        server.client.upsert(upsert(name, accepted)).await.unwrap();
        let reply = server.client.search(near_vector(name, &[1e17, 1e17, 0.0], 10)).await.unwrap();
        assert_eq!(reply.hits.len(), accepted_count);
        assert!(reply.hits.iter().all(|hit| hit.distance.is_finite()), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_k_and_ef_are_limited_or_refused() {
    let (engine, _folder) = local();
    let server = start(engine).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let items = (0..7).map(|n| vector_item(&format!("p{n}"), &[n as f32])).collect();
    server.client.upsert(upsert("c", items)).await.unwrap();
    for accuracy in
        [None, Some(pb::search_params::Accuracy::Exact(true)), Some(pb::search_params::Accuracy::Ef(65_536))]
    {
        let mut request = near_vector("c", &[0.0], 10_000);
        request.params.as_mut().unwrap().accuracy = accuracy;
        let reply = server.client.search(request).await.unwrap();
        assert_eq!(hit_ids(&reply), ["p0", "p1", "p2", "p3", "p4", "p5", "p6"], "k above the count: all points");
    }
    let huge = near_vector("c", &[0.0], u32::MAX);
    assert_violation(&search(&server, huge).await.unwrap_err(), "params.k", "1 to 10000");
    let mut huge = near_vector("c", &[0.0], 1);
    huge.params.as_mut().unwrap().accuracy = Some(pb::search_params::Accuracy::Ef(u32::MAX));
    assert_violation(&search(&server, huge).await.unwrap_err(), "params.ef", "65536");
    let wide = pb::CreateCollectionRequest { name: "wide".into(), ..plain("wide", u32::MAX, pb::Metric::L2) };
    let (code, message) = refused(server.client.create_collection(wide).await);
    assert_eq!(code, "INVALID_ARGUMENT");
    assert!(message.contains("dimension") && message.contains("65536"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_names_are_refused() {
    let (engine, _folder) = local();
    let server = start(engine).await;
    let (code, message) = refused(
        server
            .client
            .create_collection(pb::CreateCollectionRequest {
                space: Some(pb::create_collection_request::Space::Embedder(pb::EmbedderRef {
                    name: "absent".into(),
                    output: String::new(),
                })),
                ..embedded("c", "")
            })
            .await,
    );
    assert_eq!(code, "NOT_FOUND");
    assert!(message.contains("absent") && message.contains("letters"), "{message}");
    let (code, message) = refused(server.client.create_collection(embedded("c", "absent")).await);
    assert!(message.contains("absent") && message.contains("embedder.output"), "{code} {message}");
    server.client.create_collection(embedded("c", "")).await.unwrap();
    let (code, message) = refused(server.client.search(near("c", Form::Id("absent".into()), 1)).await);
    assert_eq!(code, "NOT_FOUND");
    assert!(message.contains("\"absent\"") && message.contains("\"c\""), "{message}");
    let path = pb::VerifySnapshotRequest { snapshot: "../../etc/passwd".into() };
    let end = match server.client.verify_snapshot(path).await {
        Ok(mut replies) => replies.next().await.map(drop),
        Err(error) => Err(error),
    };
    assert_eq!(refused(end).0, "INVALID_ARGUMENT", "a path is not a snapshot name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_utf8_is_refused() {
    let (engine, _folder) = local();
    let server = start(engine).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let invalid = b"a\xff\xfeb";
    let vector = pb::Item { id: "p".into(), ..vector_item("p", &[1.0]) }.encode_to_vec();
    let entry = |key: &[u8]| field(5, &field(1, &[field(1, key), field(2, &field(3, b"x"))].concat()));
    let mut with_invalid_key = vector.clone();
    with_invalid_key.extend(entry(invalid));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (SEARCH, field(1, invalid), "SearchRequest.collection"),
        (UPSERT, field(1, invalid), "UpsertRequest.collection"),
        (UPSERT, [field(1, b"c"), field(2, &field(1, invalid))].concat(), "Item.id"),
        (UPSERT, [field(1, b"c"), field(2, &with_invalid_key)].concat(), "Item.payload"),
        (UPSERT, vec![0xff; 100], "cannot be read"),
        (UPSERT, field(2, b"cut")[..3].to_vec(), "cannot be read"),
    ];
    for (path, message, part) in cases {
        let status = refused_raw(&server, path, message).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{part}: {status}");
        assert!(status.message().contains(part), "{part}: {status}");
    }
    assert_eq!(count(&server.client, "c").await, 0);
    // With valid UTF-8 the request succeeds: the cases above fail only for their bytes.
    let mut valid = vector;
    valid.extend(entry(b"key"));
    let message = [field(1, b"c"), field(2, &valid)].concat();
    raw(&server).await.unary(Request::new(message), PathAndQuery::from_static(UPSERT), Raw).await.unwrap();
    assert_eq!(count(&server.client, "c").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_and_texts_of_ten_megabytes_are_refused() {
    let (engine, _folder) = local();
    const TEN: usize = 10 << 20;
    let server = start(engine).await;
    server.client.create_collection(embedded("c", "")).await.unwrap();
    let long = "x".repeat(TEN);
    let item = |json| pb::Item { payload: payload(json), ..text_item("p", "abc") };
    let status = write(&server, upsert("c", vec![item(serde_json::json!({ "a": long }))])).await.unwrap_err();
    assert_violation(&status, "items[0].payload", "at most 1048576");
    let fields: serde_json::Map<_, _> = (0..400_000).map(|n| (format!("field {n}"), n.into())).collect();
    let status = write(&server, upsert("c", vec![item(fields.into())])).await.unwrap_err();
    assert_violation(&status, "items[0].payload", "at most 1048576");
    let status = write(&server, upsert("c", vec![text_item("p", &long)])).await.unwrap_err();
    assert_violation(&status, "items[0].text", "got 10485760");
    let status = search(&server, near("c", Form::Text(long.clone()), 1)).await.unwrap_err();
    assert_violation(&status, "query.text", "got 10485760");
    let status = search(&server, near("c", Form::Id(long), 1)).await.unwrap_err();
    assert_violation(&status, "query.id", "1 to 128");
    // Lists nested 10,000 deep, built from the inside out, because encoders recurse.
    let mut value = field(6, &[]);
    for _ in 0..10_000 {
        value = field(6, &field(1, &value));
    }
    let payload = field(5, &field(1, &[field(1, b"a"), field(2, &value)].concat()));
    let mut deep = text_item("p", "abc").encode_to_vec();
    deep.extend(payload);
    let status = refused_raw(&server, UPSERT, [field(1, b"c"), field(2, &deep)].concat()).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("recursion limit"), "{status}");
    assert_eq!(count(&server.client, "c").await, 0);
}

/// Returns a grayscale PNG of this size with these compressed pixels.
fn png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    for (kind, content) in [(b"IHDR", &header[..]), (b"IDAT", pixels), (b"IEND", &[])] {
        bytes.extend((content.len() as u32).to_be_bytes());
        let checked = [&kind[..], content].concat();
        bytes.extend(&checked);
        bytes.extend(crc32fast::hash(&checked).to_be_bytes());
    }
    bytes
}

fn deflated(count: usize) -> Vec<u8> {
    use std::io::Write;
    let mut zip = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zip.write_all(&vec![0; count]).unwrap();
    zip.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_images_are_refused() {
    let (engine, _folder) = digits();
    let server = start(engine).await;
    let embedder = pb::EmbedderRef { name: "digits".into(), output: String::new() };
    let space = Some(pb::create_collection_request::Space::Embedder(embedder));
    server
        .client
        .create_collection(pb::CreateCollectionRequest { name: "d".into(), space, ..Default::default() })
        .await
        .unwrap();
    let mut stroke = vec![0_u8; 40 * 41];
    for row in 8..32 {
        stroke[row * 41 + 20..row * 41 + 24].fill(255);
    }
    let valid = {
        use std::io::Write;
        let mut zip = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(&stroke).unwrap();
        png(40, 40, &zip.finish().unwrap())
    };
    let mut bmp = vec![0_u8; 100];
    bmp[..2].copy_from_slice(b"BM");
    bmp[10] = 54;
    bmp[14] = 40;
    bmp[18..22].copy_from_slice(&i32::MAX.to_le_bytes());
    bmp[22..26].copy_from_slice(&i32::MAX.to_le_bytes());
    bmp[26] = 1;
    bmp[28] = 24;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a bomb of 60,000 x 60,000", png(60_000, 60_000, &deflated(1 << 20)), "at most 8192"),
        ("a bomb of 8,000 x 8,000", png(8_000, 8_000, &deflated(8_001 * 8_000)), "at most 32000000"),
        ("the largest number of pixels", png(u32::MAX, u32::MAX, &[]), "image"),
        ("pixels beyond its size", png(4, 4, &deflated(64 << 20)), "image"),
        ("fewer pixels than its size", png(5_000, 5_000, &deflated(100)), "decoded"),
        ("nothing", png(0, 0, &[]), "image"),
        ("cut in the middle", valid[..valid.len() / 2].to_vec(), "decoded"),
        ("cut in its header", valid[..20].to_vec(), "decoded"),
        ("a huge bitmap", bmp, "image"),
        ("no picture", vec![7; 1_000], "supported: PNG"),
        ("a GIF", b"GIF89a\x01\x00\x01\x00\x80\x00\x00".to_vec(), "Gif"),
    ];
    for (case, image, part) in cases {
        let status = search(&server, near("d", Form::Image(image.clone().into()), 1)).await.expect_err(case);
        assert_eq!(status.code(), Code::InvalidArgument, "{case}: {status}");
        assert!(status.message().contains("query.image") && status.message().contains(part), "{case}: {status}");
        let item =
            pb::Item { id: "p".into(), source: Some(pb::item::Source::Image(image.into())), ..Default::default() };
        let status = write(&server, upsert("d", vec![item])).await.expect_err(case);
        assert!(status.message().contains("items[0].image"), "{case}: {status}");
    }
    let item =
        pb::Item { id: "p".into(), source: Some(pb::item::Source::Image(valid.clone().into())), ..Default::default() };
    server.client.upsert(upsert("d", vec![item])).await.expect("the complete image is valid");
    let reply = server.client.search(near("d", Form::Image(valid.into()), 1)).await.unwrap();
    assert_eq!(hit_ids(&reply), ["p"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decompression_bomb_is_refused() {
    let (engine, _folder) = local();
    let server = start_with(engine, ServerOptions { max_message_bytes: 1 << 20, ..options() }).await;
    server.client.create_collection(embedded("c", "")).await.unwrap();
    let mut zipped = pb::points_client::PointsClient::new(server.channel().await)
        .send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let bomb = upsert("c", vec![text_item("p", &"x".repeat(128 << 20))]);
    let status = zipped.upsert(bomb).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("limit of 1048576 bytes"), "{status}");
    zipped.upsert(upsert("c", vec![text_item("p", "abc")])).await.expect("a small message is accepted");
}

/// Inserts `equal` points with one vector and one with another vector; searches, deletes and compacts.
async fn duplicates(server: &Running, equal: usize) {
    const DIMENSION: usize = 8;
    server.client.create_collection(plain("c", DIMENSION as u32, pb::Metric::L2)).await.unwrap();
    let item = |n: usize| pb::Item {
        payload: payload(serde_json::json!({ "odd": n % 2 == 1 })),
        ..vector_item(&format!("p{n:07}"), &[1.0; DIMENSION])
    };
    let other = vector_item("other", &[2.0; DIMENSION]);
    let items = (0..equal).map(item).chain(std::iter::once(other));
    let requests = tokio_stream::iter(items.map(|item| pb::UpsertStreamRequest {
        collection: "c".into(),
        item: Some(item),
        ..Default::default()
    }));
    let mut acks = server.client.upsert_stream(requests).await.unwrap();
    while let Some(batch) = acks.next().await.unwrap() {
        assert!(batch.iter().all(|ack| ack.error.is_empty()));
    }
    let check = async |remaining: usize| {
        for accuracy in
            [None, Some(pb::search_params::Accuracy::Ef(200)), Some(pb::search_params::Accuracy::Exact(true))]
        {
            let search = async |vector: f32| {
                let mut request = near_vector("c", &[vector; DIMENSION], 100);
                request.params.as_mut().unwrap().accuracy = accuracy;
                server.client.search(request).await.unwrap().hits
            };
            let hits = search(1.0).await;
            assert_eq!(hits.len(), 100.min(remaining + 1), "{accuracy:?}");
            let ids: std::collections::BTreeSet<_> = hits.iter().map(|hit| &hit.id).collect();
            assert_eq!(ids.len(), hits.len(), "{accuracy:?}: no id twice");
            assert!(hits.iter().take(remaining).all(|hit| hit.distance == 0.0), "{accuracy:?}");
            assert_eq!(search(2.0).await[0].id, "other", "{accuracy:?}: the other vector is found");
        }
        assert_eq!(count(&server.client, "c").await as usize, remaining + 1);
    };
    check(equal).await;
    server.client.compact(pb::CompactCollectionRequest { name: "c".into() }).await.unwrap();
    check(equal).await;
    use pb::{filter::Form, filter_value};
    let odd = pb::FilterValue { form: Some(filter_value::Form::BoolValue(true)) };
    let filter = pb::Filter { form: Some(Form::Equals(pb::Equals { field: "odd".into(), value: Some(odd) })) };
    let request = pb::DeletePointsRequest { collection: "c".into(), filter: Some(filter), ..Default::default() };
    assert_eq!(server.client.delete_points(request).await.unwrap().deleted as usize, equal / 2);
    check(equal - equal / 2).await;
    server.client.compact(pb::CompactCollectionRequest { name: "c".into() }).await.unwrap();
    check(equal - equal / 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_equal_vectors_are_indexed() {
    let (engine, _folder) = local();
    duplicates(&start(engine).await, 6_000).await;
}

/// Pairs of equal vectors and an opposite one, in growing and in sealed segments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cosine_of_equal_vectors_is_exactly_1() {
    const DIMENSION: usize = 40;
    use pb::search_params::Accuracy;
    let (engine, _folder) = local();
    let server = start(engine).await;
    let vector = |n: usize| -> Vec<f32> {
        // Arbitrary fractions of all sizes.
        (0..DIMENSION).map(|i| ((n * 7_919 + i * 104_729) % 1_009) as f32 / 31.7 - 12.9).collect()
    };
    let opposite = |n: usize| vector(n).iter().map(|x| -x).collect::<Vec<f32>>();
    server.client.create_collection(plain("c", DIMENSION as u32, pb::Metric::Cosine)).await.unwrap();
    for sealed in [false, true] {
        for (from, until) in [(0, 100), (100, 300)] {
            if !sealed {
                for part in (from..until).step_by(100) {
                    let items = (part..part + 100).flat_map(|n| {
                        [("a", vector(n)), ("b", vector(n)), ("z", opposite(n))]
                            .map(|(name, vector)| vector_item(&format!("{name}{n}"), &vector))
                    });
                    server.client.upsert(upsert("c", items.collect())).await.unwrap();
                }
            }
            for n in (0..until).step_by(37) {
                for accuracy in [Accuracy::Exact(true), Accuracy::Ef(300)] {
                    let mut request = near_vector("c", &vector(n), 20);
                    let params = request.params.as_mut().unwrap();
                    params.accuracy = Some(accuracy);
                    let hits = server.client.search(request.clone()).await.unwrap().hits;
                    let within =
                        |hit: &pb::Hit| (0.0..=2.0).contains(&hit.distance) && (-1.0..=1.0).contains(&hit.score);
                    assert!(hits.iter().all(within), "{accuracy:?} {n}: {hits:?}");
                    request.params.as_mut().unwrap().score_threshold = Some(1.0);
                    let equal = server.client.search(request).await.unwrap().hits;
                    assert_eq!(equal.len(), 2, "{accuracy:?} {n}: {hits:?}");
                    assert!(equal.iter().all(|hit| hit.distance == 0.0 && hit.score == 1.0), "{equal:?}");
                }
                let duplicate = Form::Id(format!("a{n}"));
                let mut request = near("c", duplicate.clone(), 20);
                request.params.as_mut().unwrap().score_threshold = Some(1.0);
                let hits = server.client.search(request).await.unwrap().hits;
                assert!(hits.iter().any(|hit| hit.id == format!("b{n}")), "{n}: {hits:?}");
                for (id, distance, score) in [("b", 0.0, 1.0), ("z", 2.0, -1.0)] {
                    let pb::SearchRequest { collection, query, params, .. } = near("c", duplicate.clone(), 20);
                    let id = format!("{id}{n}");
                    let request = pb::ExplainRequest { collection, query, params, id, min_sequence: 0 };
                    let found = server.client.explain(request).await.unwrap();
                    assert_eq!((found.distance, found.score), (Some(distance), Some(score)), "{found:?}");
                }
            }
        }
        server.client.compact(pb::CompactCollectionRequest { name: "c".into() }).await.unwrap();
    }
    let measure = pb::MeasureRecallRequest { collection: "c".into(), samples: 100, k: 5, ..Default::default() };
    assert!(server.client.measure_recall(measure).await.unwrap().recall > 0.9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: minutes"]
async fn a_million_equal_vectors_are_indexed() {
    let (engine, _folder) = local();
    duplicates(&start(engine).await, 1_000_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: minutes"]
async fn collections_beyond_the_limit_are_refused() {
    use nearness::api::limits::MAX_COLLECTIONS;
    let (engine, folder) = local();
    let server = start(engine).await;
    let mut created = 0;
    for number in 0..100_000 {
        match server.client.create_collection(plain(&format!("c{number}"), 4, pb::Metric::L2)).await {
            Ok(_) => created += 1,
            Err(error) => {
                assert_eq!(error.code(), "RESOURCE_EXHAUSTED", "{error}");
                assert!(error.to_string().contains(&MAX_COLLECTIONS.to_string()), "{error}");
            }
        }
    }
    assert_eq!(created, MAX_COLLECTIONS);
    let folders = std::fs::read_dir(folder.path().join("collections")).unwrap().count();
    assert_eq!(folders, MAX_COLLECTIONS, "a refused collection leaves no folder");
    let last = format!("c{}", MAX_COLLECTIONS - 1);
    server
        .client
        .upsert(upsert(&last, vec![vector_item("p", &[1.0; 4])]))
        .await
        .expect("the last collection is usable");
    server.client.delete_collection(pb::DeleteCollectionRequest { name: "c0".into() }).await.unwrap();
    server.client.create_collection(plain("again", 4, pb::Metric::L2)).await.expect("there is space for one again");
}

/// Blocks the first search until it is cancelled; returns the counts of started and cancelled searches.
fn block_first_search(engine: &MemoryEngine) -> (Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (started, cancelled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (on_start, on_cancel) = (started.clone(), cancelled.clone());
    engine.set_hook(move |called| {
        if called == "search" && on_start.fetch_add(1, Ordering::SeqCst) == 0 {
            let since = Instant::now();
            while !CancellationToken::current().is_cancelled() && since.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(1));
            }
            on_cancel.fetch_add(usize::from(CancellationToken::current().is_cancelled()), Ordering::SeqCst);
        }
        Ok(())
    });
    (started, cancelled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_past_its_deadline_is_cancelled() {
    let engine = Arc::new(MemoryEngine::new(crate::registry()));
    let server = start_with(engine.clone(), ServerOptions { threads: 1, ..options() }).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let (started, cancelled) = block_first_search(&engine);
    // Sent as bytes, so that only the server enforces the deadline. Doubled until it passes during the search.
    let mut deadline_ms = 1;
    while started.load(Ordering::SeqCst) == 0 {
        let mut request = Request::new(near_vector("c", &[1.0], 1).encode_to_vec());
        request.metadata_mut().insert("grpc-timeout", format!("{deadline_ms}m").parse().unwrap());
        let status = raw(&server).await.unary(request, PathAndQuery::from_static(SEARCH), Raw).await.unwrap_err();
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
        deadline_ms *= 2;
    }
    // The only thread answers again once the first search has ended.
    server.client.search(near_vector("c", &[1.0], 1)).await.unwrap();
    until("the search is cancelled", || cancelled.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_whose_client_leaves_is_cancelled() {
    let engine = Arc::new(MemoryEngine::new(crate::registry()));
    let server = start_with(engine.clone(), ServerOptions { threads: 1, ..options() }).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let (started, cancelled) = block_first_search(&engine);
    let client = server.client.clone();
    let leaving = tokio::spawn(async move { client.search(near_vector("c", &[1.0], 1)).await });
    until("the search has started", || started.load(Ordering::SeqCst) == 1).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 0);
    leaving.abort();
    server.client.search(near_vector("c", &[1.0], 1)).await.unwrap();
    assert_eq!(cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_stop_when_the_deadline_has_passed() {
    const DIMENSION: usize = 64;
    let (engine, _folder) = local();
    let server = start_with(engine, ServerOptions { threads: 1, ..options() }).await;
    server.client.create_collection(plain("c", DIMENSION as u32, pb::Metric::L2)).await.unwrap();
    let item = |n: usize| {
        let vector: Vec<f32> = (0..DIMENSION).map(|at| ((n * 31 + at * 17) % 1_009) as f32).collect();
        pb::Item { payload: payload(serde_json::json!({ "n": n })), ..vector_item(&format!("p{n}"), &vector) }
    };
    for part in 0..4 {
        let items = (part * 5_000..(part + 1) * 5_000).map(item).collect();
        server.client.upsert(upsert("c", items)).await.unwrap();
    }
    let query = |n: usize| pb::Query { form: Some(Form::Vector(values(&[n as f32; DIMENSION]))) };
    let batch = || pb::SearchBatchRequest {
        collection: "c".into(),
        queries: (0..1_000).map(query).collect(),
        params: Some(pb::SearchParams {
            k: 10,
            accuracy: Some(pb::search_params::Accuracy::Exact(true)),
            ..Default::default()
        }),
        min_sequence: 0,
        ..Default::default()
    };
    let started = Instant::now();
    server.client.search_batch(batch()).await.unwrap();
    let full = started.elapsed();
    let mut durations = Vec::new();
    // Other tests may delay a try, but not all of them; a scan that continues delays each try.
    for _ in 0..5 {
        let mut late = Request::new(batch().encode_to_vec());
        late.metadata_mut().insert("grpc-timeout", "20m".parse().unwrap());
        let path = PathAndQuery::from_static("/nearness.v1.Search/SearchBatch");
        let mut grpc = raw(&server).await;
        let started = Instant::now();
        let status = grpc.unary(late, path, Raw).await.unwrap_err();
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
        server.client.search(near_vector("c", &[1.0; DIMENSION], 1)).await.unwrap();
        durations.push(started.elapsed());
    }
    let fastest = durations.iter().min().unwrap();
    assert!(*fastest < full / 2, "the only thread was free after {durations:?}; the full batch takes {full:?}");
}

/// Requests `limit` points of the collection, with their vectors.
fn all(limit: u32) -> pb::ScrollRequest {
    pb::ScrollRequest {
        collection: "c".into(),
        limit,
        fields: Some(pb::Fields { payload: false, vector: true, ..Default::default() }),
        ..Default::default()
    }
}

/// Returns a response of which the client reads no more than its window holds.
async fn unread(server: &Running, request: &pb::ScrollRequest) -> tonic::Response<tonic::Streaming<Vec<u8>>> {
    let channel =
        tonic::transport::Channel::from_shared(server.url.clone()).unwrap().initial_stream_window_size(65_535);
    let mut grpc = tonic::client::Grpc::new(channel.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static(SCROLL);
    grpc.server_streaming(Request::new(request.encode_to_vec()), path, Raw).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_is_disconnected() {
    let (engine, _folder) = local();
    // One request at a time, so that its permit is observable.
    let limits = ServerOptions { max_concurrent_requests: 1, stall_timeout: Duration::from_secs(2), ..options() };
    let server = start_with(engine, limits).await;
    server.client.create_collection(plain("c", 1_000, pb::Metric::L2)).await.unwrap();
    for part in 0..10 {
        let items = (0..100).map(|n| vector_item(&format!("p{part}-{n}"), &[n as f32; 1_000])).collect();
        server.client.upsert(upsert("c", items)).await.unwrap();
    }
    // A reply of 4 MB.
    let unread = unread(&server, &all(1_000)).await;
    let count = pb::CountRequest { collection: "c".into(), ..Default::default() };
    let (code, _) = refused(server.client.count(count.clone()).await);
    assert_eq!(code, "RESOURCE_EXHAUSTED", "the unread response holds the permit");
    let started = Instant::now();
    while server.client.count(count.clone()).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(30), "the permit is never released");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut unread = unread.into_inner();
    let end = match unread.message().await {
        Ok(Some(_)) => panic!("an abandoned response is incomplete"),
        Ok(None) => panic!("the response should end with a status"),
        Err(status) => status,
    };
    // The client has part of a message; tonic reports that, or the trailers.
    assert!(end.message().contains("did not read its response") || end.code() != Code::Ok, "{end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_with_unread_acks_is_ended() {
    let (engine, _folder) = local();
    let limits = ServerOptions { max_concurrent_requests: 1, stall_timeout: Duration::from_secs(2), ..options() };
    let server = start_with(engine, limits).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    // An endless stream.
    let endless = tokio_stream::iter(0..usize::MAX).map(move |n| {
        counter.fetch_add(1, Ordering::SeqCst);
        let item = vector_item(&format!("{:0>100}", n % 1_000), &[n as f32]);
        pb::UpsertStreamRequest { collection: "c".into(), item: Some(item), ..Default::default() }
    });
    let channel =
        tonic::transport::Channel::from_shared(server.url.clone()).unwrap().initial_stream_window_size(65_535);
    let mut points = pb::points_client::PointsClient::new(channel.connect().await.unwrap());
    let acks = points.upsert_stream(endless).await.unwrap();
    let count = pb::CountRequest { collection: "c".into(), ..Default::default() };
    assert_eq!(refused(server.client.count(count.clone()).await).0, "RESOURCE_EXHAUSTED");
    let started = Instant::now();
    while server.client.count(count.clone()).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "the permit is never released");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = sent.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(sent.load(Ordering::SeqCst) <= before + 20_000, "the client continues to send");
    drop(acks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_sending_is_disconnected() {
    let engine = Arc::new(MemoryEngine::new(crate::registry()));
    let server = start_with(engine, ServerOptions { stall_timeout: Duration::from_secs(1), ..options() }).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    // A call whose message never arrives.
    let path = PathAndQuery::from_static(UPSERT);
    let never = tokio_stream::pending::<Vec<u8>>();
    let status = raw(&server).await.client_streaming(Request::new(never), path, Raw).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("sent nothing for 1s"), "{status}");
    // A stream that falls silent: its items are written and acknowledged first.
    let item =
        pb::UpsertStreamRequest { collection: "c".into(), item: Some(vector_item("p", &[1.0])), ..Default::default() };
    let requests = tokio_stream::iter([item]).chain(tokio_stream::pending());
    let mut acks = server.client.upsert_stream(requests).await.unwrap();
    assert_eq!(acks.next().await.unwrap().unwrap()[0].error, "");
    let (code, message) = refused(acks.next().await);
    assert_eq!(code, "DEADLINE_EXCEEDED");
    assert!(message.contains("sent nothing for 1s"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_stream() {
    let engine = Arc::new(MemoryEngine::new(crate::registry()));
    let server = start(engine).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let first =
        pb::UpsertStreamRequest { collection: "c".into(), item: Some(vector_item("p", &[1.0])), ..Default::default() };
    let mut request = Request::new(tokio_stream::iter([first]).chain(tokio_stream::pending()));
    request.metadata_mut().insert("grpc-timeout", "4S".parse().unwrap());
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    let mut acks = points.upsert_stream(request).await.unwrap().into_inner();
    assert_eq!(acks.message().await.unwrap().unwrap().acks.len(), 1);
    let status = acks.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_responses_share_the_memory_limit() {
    let (engine, _folder) = local();
    let limits = ServerOptions { max_message_bytes: 1 << 20, max_request_memory_bytes: 1 << 20, ..options() };
    let server = start_with(engine, limits).await;
    server.client.create_collection(plain("c", 1_000, pb::Metric::L2)).await.unwrap();
    let items = (0..180).map(|n| vector_item(&format!("p{n}"), &[n as f32; 1_000])).collect();
    server.client.upsert(upsert("c", items)).await.unwrap();
    let all = all(180);
    let unread = unread(&server, &all).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    let status = points.scroll(all.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("use all 1048576 bytes"), "{status}");
    drop(unread);
    let started = Instant::now();
    while let Err(status) = points.scroll(all.clone()).await {
        assert!(started.elapsed() < Duration::from_secs(30), "the memory is not released: {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
