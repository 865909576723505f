//! Long texts in overlapping blocks, and grouped hits.

use crate::harness::*;
use crate::streams;
use nearness::engine::Node;
use nearness::grpc::{Client, pb};
use serde_json::json as j;
use std::sync::Arc;

fn blocks(items: Vec<pb::Item>, words: u32, overlap: u32) -> pb::UpsertRequest {
    pb::UpsertRequest { blocks: Some(pb::Blocks { words, overlap }), ..upsert("c", items) }
}

fn by(group: &str, text: &str, k: u32) -> pb::SearchRequest {
    let mut request = near("c", pb::query::Form::Text(text.into()), k);
    request.params = Some(pb::SearchParams { k, group_by: group.into(), ..Default::default() });
    request
}

/// Returns the ids and payloads of all points, ordered by id.
async fn all(client: &Client) -> Vec<(String, serde_json::Value)> {
    let request = pb::ScrollRequest {
        collection: "c".into(),
        fields: Some(pb::Fields { payload: true, vector: false, ..Default::default() }),
        ..Default::default()
    };
    let points = client.scroll(request).await.unwrap().points;
    points.into_iter().map(|point| (point.id, json(point.payload))).collect()
}

pub(crate) async fn long_texts_are_split_into_blocks_with_offsets(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(embedded("c", "")).await.unwrap();
    let mut long = text_item("a", "aaa bbb\n ccc ddd eee");
    long.payload = payload(j!({"title": "letters"}));
    let written = client.upsert(blocks(vec![long, text_item("b", "zzz")], 2, 1)).await.unwrap();
    assert_eq!((written.inserted, written.replaced, written.removed), (5, 0, 0));
    let points = all(client).await;
    assert_eq!(points.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a#0", "a#1", "a#2", "a#3", "b#0"]);
    let second = j!({"title": "letters", "text": "bbb\n ccc", "parent": "a", "block": 1, "start": 4, "end": 12});
    assert_eq!(points[1].1, second);
    // A shorter text: the same write removes its surplus blocks, and no blocks of other texts.
    let again = client.upsert(blocks(vec![text_item("a", "aaa bbb ccc")], 2, 1)).await.unwrap();
    assert_eq!((again.inserted, again.replaced, again.removed), (0, 2, 2));
    assert_eq!(again.sequence, written.sequence + 1);
    assert_eq!(all(client).await.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), ["a#0", "a#1", "b#0"]);
    // A batch is atomic.
    let items = vec![text_item("a", "fff"), text_item("b", "\u{6f22}")];
    assert_eq!(refused(client.upsert(blocks(items, 2, 1)).await).0, "INVALID_ARGUMENT");
    assert_eq!(count(client, "c").await, 3);
}

pub(crate) async fn points_that_only_name_a_parent_are_not_removed_with_its_blocks(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(embedded("c", "")).await.unwrap();
    let with = |id: &str, fields| pb::Item { payload: payload(fields), ..text_item(id, "fff") };
    // Points of users: each resembles a block of "a", and none is one.
    let own = vec![
        with("note", j!({"parent": "a"})),
        with("a#9", j!({"parent": "a"})),
        with("a#8", j!({"parent": "a", "block": 8})),
        with("a#7", j!({"parent": "b", "block": 7, "start": 0, "end": 3})),
        with("a#6", j!({"parent": "a", "block": 5, "start": 0, "end": 3})),
        with("a#05", j!({"parent": "a", "block": 5, "start": 0, "end": 3})),
        with("a#4x", j!({"parent": "a", "block": 4, "start": 0, "end": 3})),
        with("b#3", j!({"parent": "a", "block": 3, "start": 0, "end": 3})),
        with("a#2", j!({"parent": "a", "block": 2, "start": 3, "end": 3})),
    ];
    let expected: Vec<String> = own.iter().map(|item| item.id.clone()).collect();
    client.upsert(upsert("c", own)).await.unwrap();
    // A block from an earlier export, written again as a point.
    let old = with("a#10", j!({"parent": "a", "block": 10, "start": 40, "end": 43}));
    client.upsert(upsert("c", vec![old])).await.unwrap();
    let written = client.upsert(blocks(vec![text_item("a", "aaa bbb")], 1, 0)).await.unwrap();
    assert_eq!((written.inserted, written.removed), (2, 1));
    let request = pb::UpsertStreamRequest {
        collection: "c".into(),
        item: Some(text_item("a", "ccc")),
        blocks: Some(pb::Blocks { words: 1, overlap: 0 }),
        ..Default::default()
    };
    let (acks, end) = streams::send(client, vec![request]).await;
    end.unwrap();
    assert!(acks[0].error.is_empty(), "{acks:?}");
    let found: Vec<String> = all(client).await.into_iter().map(|(id, _)| id).collect();
    for id in &expected {
        assert!(found.contains(id), "{id} is missing: {found:?}");
    }
    assert_eq!(found.len(), expected.len() + 1, "one block of \"a\" remains: {found:?}");
}

pub(crate) async fn a_stream_of_long_texts_is_acknowledged_text_by_text(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(embedded("c", "")).await.unwrap();
    let first = pb::UpsertStreamRequest {
        collection: "c".into(),
        item: Some(text_item("a", "aaa bbb ccc ddd")),
        blocks: Some(pb::Blocks { words: 2, overlap: 1 }),
        ..Default::default()
    };
    let next = |item| pb::UpsertStreamRequest { item: Some(item), ..Default::default() };
    // A text with a block of unknown words is refused as a whole; so is an item without a text.
    let requests = vec![
        first.clone(),
        next(text_item("b", "zzz")),
        next(text_item("bad", "aaa bbb \u{6f22} \u{6f22} ccc")),
        next(vector_item("v", &[1.0; 26])),
        next(text_item("many", &"a ".repeat(10_002))),
    ];
    let (acks, end) = streams::send(client, requests).await;
    end.unwrap();
    let names: Vec<(&str, bool)> = acks.iter().map(|ack| (ack.id.as_str(), ack.sequence > 0)).collect();
    assert_eq!(names, [("a", true), ("b", true), ("bad", false), ("v", false), ("many", false)]);
    assert!(acks[3].error.contains("only texts are split"), "{}", acks[3].error);
    assert!(acks[4].error.contains("its blocks are 10001"), "{}", acks[4].error);
    let ids = |points: Vec<(String, serde_json::Value)>| points.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    let points = all(client).await;
    assert_eq!(points[1].1, j!({"text": "bbb ccc", "parent": "a", "block": 1, "start": 4, "end": 11}));
    assert_eq!(ids(points), ["a#0", "a#1", "a#2", "b#0"]);
    // Two shorter versions: only the blocks of the last one remain.
    let mut shorter = first.clone();
    shorter.item = Some(text_item("a", "aaa bbb ccc"));
    let (acks, end) = streams::send(client, vec![shorter, next(text_item("a", "eee"))]).await;
    end.unwrap();
    assert!(acks.iter().all(|ack| ack.error.is_empty()), "{acks:?}");
    assert_eq!(ids(all(client).await), ["a#0", "b#0"]);
    // More blocks than a write may have: several writes, each with complete texts.
    let long = "aaaa ".repeat(4_001);
    let mut requests = vec![first.clone()];
    requests.extend((0..5).map(|n| next(text_item(&format!("long{n}"), &long))));
    let (acks, end) = streams::send(client, requests).await;
    end.unwrap();
    assert!(acks.iter().all(|ack| ack.error.is_empty()), "{acks:?}");
    assert_eq!(count(client, "c").await, 3 + 1 + 5 * 4_000);
    // The settings of blocks cannot change within a stream.
    let mut other = next(text_item("x", "aaa"));
    other.blocks = Some(pb::Blocks { words: 3, overlap: 1 });
    let (acks, end) = streams::send(client, vec![first.clone(), first.clone(), other]).await;
    assert_eq!((acks.len(), refused(end).0), (2, "INVALID_ARGUMENT"));
    let mut invalid = first;
    invalid.blocks = Some(pb::Blocks { words: 2, overlap: 2 });
    let (acks, end) = streams::send(client, vec![invalid]).await;
    assert_eq!((acks.len(), refused(end).0), (0, "INVALID_ARGUMENT"));
}

pub(crate) async fn the_best_block_of_each_text_is_found(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(embedded("c", "")).await.unwrap();
    // Every block of "much" is nearer to "aaa" than any of the others.
    let much = vec!["aaaa"; 100].join(" ");
    let items = vec![
        text_item("much", &much),
        text_item("some", "bbbb aaab bbbb"),
        text_item("less", "aabb cccc"),
        text_item("none", "zzzz"),
    ];
    let written = client.upsert(blocks(items, 1, 0)).await.unwrap();
    assert_eq!(written.inserted, 106);
    let plain = client.search(by("", "aaa", 3)).await.unwrap();
    assert!(plain.hits.iter().all(|hit| hit.id.starts_with("much#")));
    let grouped = client.search(by("parent", "aaa", 3)).await.unwrap();
    let parents: Vec<&str> = grouped.hits.iter().map(|hit| hit.id.as_str()).collect();
    assert_eq!((&parents[0][..5], &parents[1..]), ("much#", &["some#1", "less#0"][..]));
    assert!(grouped.hits.iter().all(|hit| hit.payload.is_none()), "payloads were not requested");
    // Fewer groups than k: all of them.
    assert_eq!(client.search(by("parent", "aaa", 50)).await.unwrap().hits.len(), 4);
    // A point without the field is its own group.
    client.upsert(upsert("c", vec![text_item("p", "aaa"), text_item("q", "aaa")])).await.unwrap();
    let with = client.search(by("parent", "aaa", 50)).await.unwrap();
    assert_eq!(with.hits.len(), 6);
    let mut threshold = by("parent", "aaa", 50);
    threshold.params.as_mut().unwrap().score_threshold = Some(0.9);
    assert_eq!(client.search(threshold).await.unwrap().hits.len(), 4, "much, some, p and q");
}

pub(crate) async fn invalid_blocks_and_groups_are_refused(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(embedded("c", "")).await.unwrap();
    let text = || vec![text_item("a", "abc")];
    for (request, part) in [
        (blocks(text(), 0, 0), "blocks.words"),
        (blocks(text(), 5, 5), "blocks.overlap"),
        (blocks(vec![vector_item("a", &[0.0; 26])], 5, 1), "items[0]"),
        (blocks(vec![text_item(&"x".repeat(127), "abc")], 5, 1), "items[0].id"),
        (blocks(vec![text_item("b", &"a ".repeat(10_001))], 1, 0), "items[0]"),
    ] {
        let (code, message) = refused(client.upsert(request).await);
        assert_eq!(code, "INVALID_ARGUMENT", "{message}");
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(count(client, "c").await, 0);
    let (code, message) = refused(client.search(by(&"x".repeat(600), "abc", 3)).await);
    assert!(code == "INVALID_ARGUMENT" && message.contains("group_by"), "{message}");
}
