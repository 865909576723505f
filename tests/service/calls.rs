//! The contract of an engine, through the services.

use crate::harness::*;
use nearness::engine::Node;
use nearness::grpc::{Client, ClientError, ClientOptions, pb};
use pb::query::Form;
use serde_json::json as j;
use std::sync::Arc;
use tonic::codec::CompressionEncoding;

pub(crate) async fn collections_are_created_listed_and_deleted(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    let created = client.create_collection(plain("b", 3, pb::Metric::Unspecified)).await.unwrap().collection.unwrap();
    assert_eq!((created.dimension, created.metric(), created.points), (3, pb::Metric::Cosine, 0));
    assert_eq!((created.embedder, created.embedder_fingerprint.as_str()), (None, ""));
    let index = created.index.unwrap();
    assert!(index.m >= 2 && index.ef_construction >= 1 && index.ef_search >= 1 && index.seal_rows >= 1, "{index:?}");

    let created = client.create_collection(embedded("a", "vowels")).await.unwrap().collection.unwrap();
    assert_eq!(created.embedder.unwrap(), pb::EmbedderRef { name: "letters".into(), output: "vowels".into() });
    assert_eq!((created.dimension, created.embedder_fingerprint.len()), (5, 64));

    let (code, message) = refused(client.create_collection(plain("b", 4, pb::Metric::L2)).await);
    assert_eq!(code, "ALREADY_EXISTS");
    assert!(message.contains("\"b\""), "{message}");
    let (code, message) = refused(client.create_collection(embedded("c", "consonants")).await);
    assert_eq!(code, "INVALID_ARGUMENT");
    assert!(message.contains("vowels"), "{message} should name the available outputs");

    let list = client.list_collections(pb::ListCollectionsRequest::default()).await.unwrap().collections;
    assert_eq!(list.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    for (after, limit, expected, next) in [("", 1, "a", "a"), ("a", 1, "b", ""), ("Z", 1, "a", "a"), ("aa", 0, "b", "")]
    {
        let page = client.list_collections(pb::ListCollectionsRequest { after: after.into(), limit }).await.unwrap();
        let names: Vec<&str> = page.collections.iter().map(|it| it.name.as_str()).collect();
        assert_eq!((names, page.next.as_str()), (vec![expected], next));
    }
    client.upsert(upsert("b", vec![vector_item("x", &[1.0, 0.0, 0.0])])).await.unwrap();
    let compacted =
        client.compact(pb::CompactCollectionRequest { name: "b".into() }).await.unwrap().collection.unwrap();
    assert_eq!((compacted.points, compacted.sequence >= 1), (1, true));
    let got = client.collection(pb::GetCollectionRequest { name: "b".into() }).await.unwrap().collection.unwrap();
    assert_eq!(got.points, 1);

    let deleted = client.delete_collection(pb::DeleteCollectionRequest { name: "b".into() }).await.unwrap();
    assert_eq!(deleted.points, 1);
    let (code, message) = refused(client.collection(pb::GetCollectionRequest { name: "b".into() }).await);
    assert_eq!((code, message.as_str()), ("NOT_FOUND", "there is no collection named \"b\""));
}

pub(crate) async fn points_are_written_read_replaced_and_deleted(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let mut first = vector_item("one", &[1.0, 0.0]);
    first.payload = payload(j!({"n": 1, "deep": {"list": [1.5, null, "ä"]}}));
    let second = pb::Item {
        id: "two".into(),
        source: Some(pb::item::Source::Vector(le_f32(&[0.0, 2.0]))),
        ..Default::default()
    };
    let written = client.upsert(upsert("c", vec![first, second])).await.unwrap();
    assert_eq!((written.inserted, written.replaced, written.embedder_fingerprint.as_str()), (2, 0, ""));
    let again = client.upsert(upsert("c", vec![vector_item("two", &[0.0, 3.0])])).await.unwrap();
    assert_eq!((again.inserted, again.replaced), (0, 1));
    assert!(again.sequence > written.sequence);
    assert_eq!(count(client, "c").await, 2);

    let ids = ["two", "none", "one"].map(String::from).to_vec();
    let get = pb::GetPointsRequest { collection: "c".into(), ids: ids.clone(), fields: None, min_sequence: 0 };
    let bare = client.get_points(get.clone()).await.unwrap();
    assert_eq!(bare.points.iter().map(|point| point.id.as_str()).collect::<Vec<_>>(), ["two", "one"]);
    assert!(bare.points.iter().all(|point| point.vector.is_none() && point.payload.is_none()));
    assert_eq!(bare.missing, ["none"]);
    let all =
        pb::GetPointsRequest { fields: Some(pb::Fields { payload: true, vector: true, ..Default::default() }), ..get };
    let full = client.get_points(all).await.unwrap().points;
    assert_eq!(full[0].vector, Some(values(&[0.0, 3.0])));
    assert_eq!(json(full[1].payload.clone()), j!({"n": 1, "deep": {"list": [1.5, null, "ä"]}}));

    let deleted = client
        .delete_points(pb::DeletePointsRequest { collection: "c".into(), ids, ..Default::default() })
        .await
        .unwrap();
    assert_eq!((deleted.deleted, deleted.missing), (2, vec!["none".to_owned()]));
    assert_eq!(count(client, "c").await, 0);
}

pub(crate) async fn searches_find_the_nearest(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let items = (0..20).map(|n| {
        let mut item = vector_item(&format!("p{n:02}"), &[n as f32, 0.0]);
        item.payload = payload(j!({"n": n}));
        item
    });
    client.upsert(upsert("c", items.collect())).await.unwrap();

    let mut request = near_vector("c", &[7.2, 0.0], 3);
    let reply = client.search(request.clone()).await.unwrap();
    assert_eq!(hit_ids(&reply), ["p07", "p08", "p06"]);
    assert!((reply.hits[0].distance - 0.2).abs() < 1e-5 && (reply.hits[0].score + 0.2).abs() < 1e-5);
    assert!(reply.hits[0].payload.is_none() && reply.hits[0].vector.is_none());
    let stats = reply.stats.unwrap();
    assert_ne!(stats.path(), pb::Path::Unspecified);
    assert!(stats.distances_computed >= 3);

    let params = request.params.as_mut().unwrap();
    params.accuracy = Some(pb::search_params::Accuracy::Exact(true));
    params.score_threshold = Some(-1.0);
    params.fields = Some(pb::Fields { payload: true, vector: true, ..Default::default() });
    let reply = client.search(request).await.unwrap();
    assert_eq!(hit_ids(&reply), ["p07", "p08"], "the third is farther than the threshold");
    assert_eq!(reply.hits[1].vector, Some(values(&[8.0, 0.0])));
    assert_eq!(json(reply.hits[1].payload.clone()), j!({"n": 8}));
    let stats = reply.stats.unwrap();
    assert_eq!((stats.path(), stats.distances_computed, stats.ef_used), (pb::Path::Exact, 20, 0));

    let by_id = client.search(near("c", Form::Id("p00".into()), 2)).await.unwrap();
    assert_eq!(hit_ids(&by_id), ["p01", "p02"], "a query by id excludes its point");
    let (code, message) = refused(client.search(near("c", Form::Id("missing".into()), 2)).await);
    assert_eq!(code, "NOT_FOUND");
    assert!(message.contains("missing"), "{message}");

    let query = |x: f32| pb::Query { form: Some(Form::Vector(values(&[x, 0.0]))) };
    let batch = pb::SearchBatchRequest {
        collection: "c".into(),
        queries: (0..5).map(|n| query(4.0 * n as f32)).collect(),
        params: Some(pb::SearchParams { k: 1, ..Default::default() }),
        min_sequence: 0,
        ..Default::default()
    };
    let answered = async || {
        client.collection(pb::GetCollectionRequest { name: "c".into() }).await.unwrap().collection.unwrap().queries
    };
    let before = answered().await;
    let replies = client.search_batch(batch).await.unwrap().responses;
    assert_eq!(replies.iter().flat_map(hit_ids).collect::<Vec<_>>(), ["p00", "p04", "p08", "p12", "p16"]);
    refused(client.search(near("c", Form::Id("missing".into()), 2)).await);
    assert_eq!(answered().await, before + 5);
}

pub(crate) async fn text_is_embedded(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    let created = client.create_collection(embedded("words", "")).await.unwrap().collection.unwrap();
    assert_eq!((created.embedder.unwrap().output.as_str(), created.dimension), ("counts", 26));
    let items = ["aab", "bbc", "xyz", "abc"].map(|text| text_item(text, text)).to_vec();
    let written = client.upsert(upsert("words", items)).await.unwrap();
    assert_eq!(written.embedder_fingerprint, created.embedder_fingerprint);

    let mut request = near("words", Form::Text("zyx".into()), 1);
    request.params.as_mut().unwrap().fields = Some(pb::Fields { payload: true, vector: false, ..Default::default() });
    let reply = client.search(request).await.unwrap();
    assert_eq!(hit_ids(&reply), ["xyz"]);
    assert_eq!(json(reply.hits[0].payload.clone()), j!({"text": "xyz"}), "the payload contains the text");
    assert!((reply.hits[0].score - 1.0).abs() < 1e-5);
    assert_eq!(reply.stats.unwrap().embedder_fingerprint, created.embedder_fingerprint);

    let arithmetic = pb::Arithmetic { plus: vec!["aab".into(), "bc".into()], minus: vec!["a".into()] };
    let reply = client.search(near("words", Form::Arithmetic(arithmetic), 4)).await.unwrap();
    assert_eq!(reply.hits[0].id, "bbc");
    assert!(!hit_ids(&reply).contains(&"aab"), "terms are excluded");

    match client.search(near("words", Form::Text("1234".into()), 1)).await.unwrap_err() {
        ClientError::Refused { code, reason, fields, message } => {
            assert_eq!((code, reason.as_str()), ("INVALID_ARGUMENT", "OUT_OF_VOCABULARY"));
            assert!(message.contains("1234"), "{message}");
            assert!(fields[0].0.contains("text"), "{fields:?}");
        }
        other => panic!("{other}"),
    }
    let (code, _) = refused(client.search(near("words", Form::Image(vec![0; 784].into()), 1)).await);
    assert_eq!(code, "INVALID_ARGUMENT");
    client.create_collection(plain("plain", 2, pb::Metric::Dot)).await.unwrap();
    let (code, _) = refused(client.search(near("plain", Form::Text("abc".into()), 1)).await);
    assert_eq!(code, "INVALID_ARGUMENT", "the collection has no embedder");
}

pub(crate) async fn payloads_that_contradict_their_source_are_refused(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(embedded("c", "")).await.unwrap();
    let with = |id: &str, stored: serde_json::Value| pb::Item { payload: payload(stored), ..text_item(id, "ship") };
    for stored in [j!({"text": "alligator"}), j!({"text": ""}), j!({"text": null}), j!({"text": ["ship"]})] {
        let (code, message) = refused(client.upsert(upsert("c", vec![text_item("a", "ab"), with("b", stored)])).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains("items[1].payload.text"), "{code}: {message}");
    }
    assert_eq!(count(client, "c").await, 0, "no item of a refused batch is written");
    let request = |item| pb::UpsertStreamRequest { collection: "c".into(), item: Some(item), ..Default::default() };
    let items = [with("a", j!({"text": "alligator"})), with("b", j!({"text": "ship", "x": 1})), text_item("c", "boat")];
    let (acks, end) = crate::streams::send(client, items.map(request).to_vec()).await;
    end.unwrap();
    assert!(acks[0].error.contains("item.payload.text"), "{acks:?}");
    assert!(acks[1].error.is_empty() && acks[2].error.is_empty(), "{acks:?}");
    // Each block has its own text.
    let blocks = pb::Blocks { words: 1, overlap: 0 };
    let long = pb::Item { payload: payload(j!({"text": "ship boat"})), ..text_item("d", "ship boat") };
    let (code, message) =
        refused(client.upsert(pb::UpsertRequest { blocks: Some(blocks), ..upsert("c", vec![long]) }).await);
    assert!(code == "INVALID_ARGUMENT" && message.contains("items[0].payload.text"), "{code}: {message}");
    assert_eq!(count(client, "c").await, 2);
}

pub(crate) async fn a_batch_with_an_invalid_item_is_refused(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 2, pb::Metric::Cosine)).await.unwrap();
    let good = || vector_item("good", &[1.0, 0.0]);
    for bad in [
        vector_item("", &[1.0, 0.0]),
        vector_item("long", &[1.0, 0.0, 0.0]),
        vector_item("nan", &[1.0, f32::NAN]),
        vector_item("zero", &[0.0, 0.0]),
        text_item("text", "abc"),
        pb::Item { id: "nothing".into(), source: None, ..Default::default() },
    ] {
        let (code, message) = refused(client.upsert(upsert("c", vec![good(), bad])).await);
        assert_eq!(code, "INVALID_ARGUMENT", "{message}");
        assert!(message.contains("items[1]"), "{message}");
    }
    assert_eq!(count(client, "c").await, 0, "no item of a refused batch is written");
}

pub(crate) async fn scrolls_reach_the_end(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    for name in ["c", "other"] {
        client.create_collection(plain(name, 1, pb::Metric::L2)).await.unwrap();
    }
    let mut ids: Vec<String> = (0..1_000).map(|n| format!("{}-ä-{n}", n % 7)).collect();
    let items = ids.iter().enumerate().map(|(n, id)| vector_item(id, &[n as f32])).collect();
    client.upsert(upsert("c", items)).await.unwrap();
    ids.sort_unstable();

    for (limit, pages) in [(0, 10), (1_000, 1), (999, 2), (300, 4)] {
        let mut request = pb::ScrollRequest { collection: "c".into(), limit, ..Default::default() };
        let (mut found, mut read) = (Vec::new(), 0);
        loop {
            let page = client.scroll(request.clone()).await.unwrap();
            found.extend(page.points.into_iter().map(|point| point.id));
            read += 1;
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!((found == ids, read), (true, pages), "limit {limit}");
    }

    let first = pb::ScrollRequest { collection: "c".into(), limit: 10, ..Default::default() };
    let token = client.scroll(first.clone()).await.unwrap().next_page_token;
    let broken = format!("{}0", &token[..token.len() - 1]);
    for (collection, page_token) in [("c", &broken), ("c", &"x".to_owned()), ("other", &token)] {
        let request =
            pb::ScrollRequest { collection: collection.into(), page_token: page_token.clone(), ..first.clone() };
        let (code, message) = refused(client.scroll(request).await);
        assert_eq!(code, "INVALID_ARGUMENT");
        assert!(message.starts_with("page_token: "), "{message}");
    }
    let removed = pb::DeletePointsRequest { collection: "c".into(), ids: ids[5..15].to_vec(), ..Default::default() };
    client.delete_points(removed).await.unwrap();
    let next = client.scroll(pb::ScrollRequest { page_token: token, ..first }).await.unwrap();
    assert_eq!(next.points[0].id, ids[15], "a token remains valid after its point is deleted");
}

pub(crate) async fn embedders_are_listed_and_embed(engine: Arc<dyn Node>) {
    let server = start(engine.clone()).await;
    let client = &server.client;
    let list = client.list_embedders(pb::ListEmbeddersRequest {}).await.unwrap().embedders;
    let letters = list.iter().find(|it| it.name == "letters").expect("letters");
    assert_eq!((letters.modality.as_str(), letters.outputs.len(), letters.outputs[1].dimension), ("text", 2, 5));
    assert!(letters.card_json.contains("counts letters"));
    let got = client.embedder(pb::GetEmbedderRequest { name: "letters".into() }).await.unwrap().embedder.unwrap();
    assert_eq!(&got, letters);

    let text = |text: &str| pb::EmbedInput { form: Some(pb::embed_input::Form::Text(text.into())) };
    let embed = |output: &str, inputs| pb::EmbedRequest { embedder: "letters".into(), output: output.into(), inputs };
    let reply = client.embed(embed("vowels", vec![text("aia"), text("ou")])).await.unwrap();
    assert_eq!(reply.vectors, [values(&[3.0, 1.0, 2.0, 1.0, 1.0]), values(&[1.0, 1.0, 1.0, 2.0, 2.0])]);
    assert_eq!(reply.embedder_fingerprint, letters.fingerprint);
    let (code, message) = refused(client.embed(embed("", vec![text("a"), text("7")])).await);
    assert_eq!(code, "INVALID_ARGUMENT");
    assert!(message.starts_with("inputs[1].text: "), "{message}");
    let (code, message) = refused(client.embed(embed("q", vec![text("a")])).await);
    assert!(code == "INVALID_ARGUMENT" && message.starts_with("output: "), "{message}");

    let missing = || "missing".to_owned();
    let (code, message) = refused(client.embedder(pb::GetEmbedderRequest { name: missing() }).await);
    assert_eq!(code, "NOT_FOUND");
    assert!(message.contains("letters"), "{message} should name the embedders");
    let classify = pb::ClassifyRequest { embedder: "letters".into(), image: vec![0; 784].into() };
    assert_eq!(refused(client.classify(classify).await).0, "INVALID_ARGUMENT");
    let activations = pb::ActivationsRequest { embedder: "letters".into(), image: vec![0; 784].into() };
    assert_eq!(refused(client.activations(activations).await).0, "INVALID_ARGUMENT");
    let words =
        pb::NearestWordsRequest { embedder: "letters".into(), plus: vec!["a".into()], k: 1, ..Default::default() };
    assert_eq!(refused(client.nearest_words(words.clone()).await).0, "INVALID_ARGUMENT");
    let none = pb::NearestWordsRequest { plus: vec![], ..words.clone() };
    assert!(refused(client.nearest_words(none).await).1.starts_with("plus: "));
    assert!(refused(client.nearest_words(pb::NearestWordsRequest { k: 0, ..words }).await).1.starts_with("k: "));
    let blank = pb::FillBlankRequest { embedder: missing(), pattern: "the ___ cat".into(), k: 3 };
    assert_eq!(refused(client.fill_blank(blank).await).0, "NOT_FOUND");
}

pub(crate) async fn gzip_works_in_both_directions(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let zipped = ClientOptions { gzip: true, ..Default::default() };
    let client = Client::connect(server.url.strip_prefix("http://").unwrap(), &zipped).await.unwrap();
    client.create_collection(plain("c", 64, pb::Metric::Dot)).await.unwrap();
    let items = (0..500).map(|n| vector_item(&format!("p{n}"), &[1.0 + n as f32; 64])).collect();
    client.upsert(upsert("c", items)).await.unwrap();
    assert_eq!(hit_ids(&client.search(near_vector("c", &[1.0; 64], 2)).await.unwrap()), ["p499", "p498"]);

    let mut raw = pb::points_client::PointsClient::new(server.channel().await)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let reply = raw.count(pb::CountRequest { collection: "c".into(), ..Default::default() }).await.unwrap();
    assert_eq!(reply.metadata().get("grpc-encoding").expect("a compressed reply"), "gzip");
    let mut raw = pb::points_client::PointsClient::new(server.channel().await);
    let reply = raw.count(pb::CountRequest { collection: "c".into(), ..Default::default() }).await.unwrap();
    assert!(reply.metadata().get("grpc-encoding").is_none(), "only on request");
}

pub(crate) async fn reads_wait_for_their_minimum_sequence(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let first = client.upsert(upsert("c", vec![vector_item("a", &[1.0])])).await.unwrap().sequence;
    let count = |min_sequence| pb::CountRequest { collection: "c".into(), filter: None, min_sequence };
    assert_eq!(client.count(count(first)).await.unwrap().count, 1, "acknowledged writes are visible immediately");

    // The next write has the next number; a reader that waits for it sees the write.
    let other = client.clone();
    let request = count(first + 1);
    let waiting = tokio::spawn(async move { other.count(request).await });
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    assert!(!waiting.is_finished(), "no write yet");
    let second = client.upsert(upsert("c", vec![vector_item("b", &[2.0])])).await.unwrap().sequence;
    assert_eq!(second, first + 1);
    assert_eq!(waiting.await.unwrap().unwrap().count, 2);

    // Every read method honours the number, and none waits beyond its deadline.
    let late = |message| {
        let mut request = tonic::Request::new(message);
        request.set_timeout(std::time::Duration::from_millis(30));
        request
    };
    let beyond = second + 1;
    let mut search = pb::search_client::SearchClient::new(server.channel().await);
    let mut near = near_vector("c", &[2.0], 1);
    near.min_sequence = second;
    assert_eq!(hit_ids(&search.search(near.clone()).await.unwrap().into_inner()), ["b"]);
    near.min_sequence = beyond;
    let passed = |status: tonic::Status| {
        assert!(matches!(status.code(), tonic::Code::DeadlineExceeded | tonic::Code::Cancelled), "{status}");
    };
    let mut request = tonic::Request::new(near);
    request.set_timeout(std::time::Duration::from_millis(30));
    passed(search.search(request).await.unwrap_err());
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    passed(points.count(late(count(beyond))).await.unwrap_err());
    let scroll = pb::ScrollRequest { collection: "c".into(), min_sequence: beyond, ..Default::default() };
    let mut request = tonic::Request::new(scroll);
    request.set_timeout(std::time::Duration::from_millis(30));
    passed(points.scroll(request).await.unwrap_err());
    let get =
        pb::GetPointsRequest { collection: "c".into(), ids: vec!["a".into()], fields: None, min_sequence: beyond };
    let mut request = tonic::Request::new(get);
    request.set_timeout(std::time::Duration::from_millis(30));
    passed(points.get(request).await.unwrap_err());

    // Health reports collections too.
    assert!(client.serving("collection/c").await.unwrap());
    assert!(client.serving("collection/missing").await.is_err());
    // A check too.
    let report = client.check(pb::CheckCollectionRequest { name: "c".into() }).await.unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
}

pub(crate) async fn a_scroll_begins_after_an_id(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let items = ["a", "b", "c"].map(|id| vector_item(id, &[1.0])).to_vec();
    client.upsert(upsert("c", items)).await.unwrap();
    let scroll = |after: &str, page_token: &str| {
        let request = pb::ScrollRequest {
            collection: "c".into(),
            after: after.into(),
            page_token: page_token.into(),
            limit: 1,
            ..Default::default()
        };
        client.scroll(request)
    };
    for (after, next) in [("", "a"), ("a", "b"), ("aa", "b"), ("b", "c")] {
        assert_eq!(scroll(after, "").await.unwrap().points[0].id, next, "after {after:?}");
    }
    assert!(scroll("c", "").await.unwrap().points.is_empty());
    let token = scroll("", "").await.unwrap().next_page_token;
    assert!(refused(scroll("a", &token).await).1.contains("page_token"));
    assert_eq!(refused(scroll(&"x".repeat(129), "").await).0, "INVALID_ARGUMENT");
}

pub(crate) async fn terms_that_cancel_are_refused(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    for (name, metric) in [("l", pb::Metric::L2), ("d", pb::Metric::Dot), ("s", pb::Metric::Cosine)] {
        client.create_collection(plain(name, 2, metric)).await.unwrap();
        let items = vec![vector_item("a", &[1.0, 0.3]), vector_item("b", &[0.7, 1.0]), vector_item("z", &[1e-9, 0.0])];
        client.upsert(upsert(name, items)).await.unwrap();
        let sum = |plus: &[&str], minus: &[&str]| {
            let owned = |terms: &[&str]| terms.iter().map(|term| (*term).to_owned()).collect();
            near(name, pb::query::Form::Arithmetic(pb::Arithmetic { plus: owned(plus), minus: owned(minus) }), 1)
        };
        for (plus, minus) in
            [(&["a"][..], &["a"][..]), (&["a", "b"], &["b", "a"]), (&["a", "a", "b"], &["a", "b", "a"])]
        {
            let (code, message) = refused(client.search(sum(plus, minus)).await);
            assert_eq!(code, "INVALID_ARGUMENT", "{name}");
            assert!(message.contains("cancel"), "{name}: {message}");
        }
        client.search(sum(&["a", "b"], &["b"])).await.expect("a is left");
        client.search(sum(&["z"], &[])).await.expect("small, but not cancelled");
    }
}
