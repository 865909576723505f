//! Updates of payloads and vectors, write modes and conditions, and the deletion of all points over gRPC.

use crate::filters::exists;
use crate::harness::*;
use nearness::engine::Node;
use nearness::grpc::pb;
use pb::payload_action::Action;
use serde_json::{Value, json as j};
use std::sync::Arc;

fn set(path: &str, fields: Value) -> Action {
    Action::Set(pb::PayloadSet { path: path.into(), payload: payload(fields), ..Default::default() })
}

fn unset(paths: &[&str]) -> Action {
    Action::Unset(pb::PayloadUnset { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

fn update(ids: &[&str], actions: Vec<Action>) -> pb::UpdatePayloadRequest {
    pb::UpdatePayloadRequest {
        collection: "c".into(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        actions: actions.into_iter().map(|action| pb::PayloadAction { action: Some(action) }).collect(),
        ..Default::default()
    }
}

fn item(id: &str, x: f32, fields: Value) -> pb::Item {
    pb::Item { payload: payload(fields), ..vector_item(id, &[x, 1.0]) }
}

async fn filled(engine: Arc<dyn Node>) -> Running {
    let server = start(engine).await;
    server.client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let items = (0..6).map(|n| item(&format!("p{n}"), n as f32, j!({"n": n, "kind": "old"})));
    server.client.upsert(upsert("c", items.collect())).await.unwrap();
    server
}

/// Returns payload and vector of a point.
async fn point(server: &Running, id: &str) -> (Value, Option<pb::Vector>) {
    let fields = Some(pb::Fields { payload: true, vector: true, ..Default::default() });
    let get = pb::GetPointsRequest { collection: "c".into(), ids: vec![id.into()], fields, min_sequence: 0 };
    let point = server.client.get_points(get).await.unwrap().points.remove(0);
    (json(point.payload), point.vector)
}

pub(crate) async fn payloads_are_updated_by_id_and_by_filter(engine: Arc<dyn Node>) {
    let server = filled(engine).await;
    let client = &server.client;
    let request = update(&["p1", "p2", "none"], vec![unset(&["kind"]), set("", j!({"seen": true}))]);
    let done = client.update_payload(request.clone()).await.unwrap();
    assert_eq!((done.updated, done.unchanged, done.missing), (2, 0, vec!["none".to_owned()]));
    assert_eq!(point(&server, "p1").await, (j!({"n": 1, "seen": true}), Some(values(&[1.0, 1.0]))));
    let again = client.update_payload(request).await.unwrap();
    assert_eq!((again.updated, again.unchanged, again.sequence), (0, 2, done.sequence + 1));
    let by_filter = pb::UpdatePayloadRequest {
        filter: Some(exists("seen")),
        ..update(&[], vec![set("author", j!({"name": "x"}))])
    };
    assert_eq!(client.update_payload(by_filter).await.unwrap().updated, 2);
    assert_eq!(point(&server, "p2").await.0, j!({"n": 2, "seen": true, "author": {"name": "x"}}));
    let exact = pb::PayloadOverwrite { payload_json: r#"{"big":9007199254740993}"#.into(), ..Default::default() };
    client.update_payload(update(&["p3"], vec![Action::Overwrite(exact)])).await.unwrap();
    let get = pb::GetPointsRequest {
        collection: "c".into(),
        ids: vec!["p3".into()],
        fields: Some(pb::Fields { payload: true, vector: false, ..Default::default() }),
        min_sequence: 0,
    };
    assert_eq!(client.get_points(get).await.unwrap().points[0].payload_json, r#"{"big":9007199254740993}"#);
    client.update_payload(update(&["p4"], vec![Action::Clear(pb::PayloadClear {})])).await.unwrap();
    assert_eq!(point(&server, "p4").await.0, j!({}));
}

pub(crate) async fn invalid_updates_are_refused(engine: Arc<dyn Node>) {
    let server = filled(engine).await;
    let one = || vec![set("", j!({"a": 1}))];
    let misspelt = pb::filter::Form::Not(Box::new(exists("knd")));
    let misspelt = pb::Filter { form: Some(misspelt) };
    let cases = [
        (update(&[], one()), "ids"),
        (update(&["p1"], vec![set("kind", j!({"a": 1}))]), "is a text"),
        (pb::UpdatePayloadRequest { filter: Some(exists("n")), ..update(&["p1"], one()) }, "filter"),
        (pb::UpdatePayloadRequest { filter: Some(misspelt), ..update(&[], one()) }, "allow_unknown_fields"),
        (
            pb::UpdatePayloadRequest { actions: vec![pb::PayloadAction { action: None }], ..update(&["p1"], vec![]) },
            "actions[0]",
        ),
    ];
    for (request, part) in cases {
        let (code, message) = refused(server.client.update_payload(request).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains(part), "{message} should contain {part}");
    }
    let unknown = pb::UpdatePayloadRequest { collection: "d".into(), ..update(&["p1"], one()) };
    assert_eq!(refused(server.client.update_payload(unknown).await).0, "NOT_FOUND");
    assert_eq!(point(&server, "p1").await.0, j!({"n": 1, "kind": "old"}));
}

pub(crate) async fn the_actions_of_an_update_are_limited(engine: Arc<dyn Node>) {
    let server = filled(engine).await;
    for (actions, part) in [
        (vec![], "update.actions: must hold 1 to 100"),
        (vec![set("", j!({}))], "update.actions[0].set.payload"),
        (vec![set("", j!({"a": 1})), unset(&["a[0]"])], "update.actions[1].unset.paths[0]"),
        (vec![unset(&[])], "update.actions[0].unset.paths"),
    ] {
        let (code, message) = refused(server.client.update_payload(update(&["p1"], actions)).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains(part), "{message} should contain {part}");
    }
    let filled = "x".repeat((1 << 20) - 40);
    server.client.update_payload(update(&["p1"], vec![set("", j!({"a": filled}))])).await.unwrap();
    let (code, message) =
        refused(server.client.update_payload(update(&["p2", "p1"], vec![set("", j!({"b": filled}))])).await);
    assert!(code == "INVALID_ARGUMENT" && message.contains("\"p1\"") && message.contains("1048576"), "{message}");
    assert_eq!(point(&server, "p2").await.0, j!({"n": 2, "kind": "old"}), "nothing was written");
}

pub(crate) async fn upserts_insert_update_or_replace_what_matches(engine: Arc<dyn Node>) {
    let server = filled(engine).await;
    let client = &server.client;
    let items = || vec![item("p1", 10.0, j!({"kind": "new"})), item("q", 11.0, j!({"kind": "new"}))];
    let insert = pb::UpsertRequest { mode: pb::WriteMode::Insert.into(), ..upsert("c", items()) };
    let done = client.upsert(insert).await.unwrap();
    assert_eq!((done.inserted, done.replaced, done.existing), (1, 0, vec!["p1".to_owned()]));
    assert_eq!(point(&server, "p1").await.1, Some(values(&[1.0, 1.0])));
    let delete = pb::DeletePointsRequest { collection: "c".into(), ids: vec!["q".into()], ..Default::default() };
    client.delete_points(delete).await.unwrap();
    let update = pb::UpsertRequest { mode: pb::WriteMode::Update.into(), ..upsert("c", items()) };
    let done = client.upsert(update).await.unwrap();
    assert_eq!((done.inserted, done.replaced, done.missing), (0, 1, vec!["q".to_owned()]));
    assert_eq!(point(&server, "p1").await, (j!({"kind": "new"}), Some(values(&[10.0, 1.0]))));

    // Only points that still have the field "n" are replaced; a new id is inserted.
    let items = ["p1", "p2", "q"].map(|id| item(id, 20.0, j!({"kind": "newest"}))).to_vec();
    let only_if = pb::UpsertRequest { only_if: Some(exists("n")), ..upsert("c", items.clone()) };
    let done = client.upsert(only_if.clone()).await.unwrap();
    assert_eq!((done.inserted, done.replaced, done.unmatched), (1, 1, vec!["p1".to_owned()]));
    assert_eq!(point(&server, "p2").await.1, Some(values(&[20.0, 1.0])));
    // The payload decides, not the vector: now none of the three matches.
    assert_eq!(client.upsert(only_if).await.unwrap().unmatched, ["p1", "p2", "q"]);
    let misspelt = pb::UpsertRequest { only_if: Some(exists("knd")), ..upsert("c", items.clone()) };
    assert_eq!(client.upsert(misspelt).await.unwrap().unknown_fields, ["knd"]);

    let blocks = Some(pb::Blocks { words: 2, overlap: 0 });
    for request in [
        pb::UpsertRequest { mode: 9, ..upsert("c", items.clone()) },
        pb::UpsertRequest { mode: pb::WriteMode::Update.into(), blocks, ..upsert("c", items.clone()) },
    ] {
        assert_eq!(refused(client.upsert(request).await).0, "INVALID_ARGUMENT");
    }
}

pub(crate) async fn vectors_are_updated_and_payloads_kept(engine: Arc<dyn Node>) {
    let server = filled(engine).await;
    let client = &server.client;
    let items = vec![vector_item("p1", &[7.0, 8.0]), vector_item("none", &[7.0, 8.0])];
    let request = pb::UpdateVectorsRequest { collection: "c".into(), items };
    let done = client.update_vectors(request.clone()).await.unwrap();
    assert_eq!((done.updated, done.unchanged, done.missing), (1, 0, vec!["none".to_owned()]));
    assert_eq!(point(&server, "p1").await, (j!({"n": 1, "kind": "old"}), Some(values(&[7.0, 8.0]))));
    assert_eq!(client.update_vectors(request).await.unwrap().unchanged, 1);
    assert_eq!(count(client, "c").await, 6);
    let items = vec![item("p1", 1.0, j!({"a": 1}))];
    let (code, message) =
        refused(client.update_vectors(pb::UpdateVectorsRequest { collection: "c".into(), items }).await);
    assert!(code == "INVALID_ARGUMENT" && message.contains("items[0].payload"), "{message}");

    client.create_collection(embedded("texts", "counts")).await.unwrap();
    let text = pb::Item { payload: payload(j!({"n": 1})), ..text_item("t", "abba") };
    client.upsert(upsert("texts", vec![text])).await.unwrap();
    let items = vec![text_item("t", "eve")];
    client.update_vectors(pb::UpdateVectorsRequest { collection: "texts".into(), items }).await.unwrap();
    let query = pb::SearchRequest {
        params: Some(pb::SearchParams {
            k: 1,
            fields: Some(pb::Fields { payload: true, vector: false, ..Default::default() }),
            ..Default::default()
        }),
        ..near("texts", pb::query::Form::Text("eve".into()), 1)
    };
    let hit = client.search(query).await.unwrap().hits.remove(0);
    assert_eq!(json(hit.payload), j!({"n": 1, "text": "eve"}));
    assert!(hit.distance.abs() < 1e-6, "{}", hit.distance);
}

pub(crate) async fn all_points_are_deleted_and_the_collection_stays(engine: Arc<dyn Node>) {
    let server = filled(engine).await;
    let client = &server.client;
    let all = pb::DeletePointsRequest { collection: "c".into(), all: true, ..Default::default() };
    let both = pb::DeletePointsRequest { ids: vec!["p1".into()], ..all.clone() };
    assert_eq!(refused(client.delete_points(both).await).0, "INVALID_ARGUMENT");
    assert_eq!(count(client, "c").await, 6);
    assert_eq!(client.delete_points(all.clone()).await.unwrap().deleted, 6);
    assert_eq!(count(client, "c").await, 0);
    assert_eq!(client.delete_points(all).await.unwrap().deleted, 0);
    client.upsert(upsert("c", vec![vector_item("p1", &[1.0, 2.0])])).await.unwrap();
    assert_eq!(count(client, "c").await, 1);
}
