//! `UpsertStream`: one acknowledgement for each item, in order, whatever the item.

use crate::harness::*;
use nearness::engine::Node;
use nearness::grpc::{Client, ClientError, pb};
use std::sync::Arc;
use tokio_stream::{StreamExt, iter};

pub(crate) fn request(collection: &str, item: Option<pb::Item>) -> pb::UpsertStreamRequest {
    pb::UpsertStreamRequest { collection: collection.into(), item, ..Default::default() }
}

/// Sends all requests; returns the acknowledgements and the result of the stream.
pub(crate) async fn send(
    client: &Client,
    requests: Vec<pb::UpsertStreamRequest>,
) -> (Vec<pb::Ack>, Result<(), ClientError>) {
    let mut acks = client.upsert_stream(iter(requests)).await.expect("a stream");
    let mut all = Vec::new();
    loop {
        match acks.next().await {
            Ok(Some(batch)) => all.extend(batch),
            Ok(None) => return (all, Ok(())),
            Err(end) => return (all, Err(end)),
        }
    }
}

pub(crate) async fn invalid_items_do_not_end_a_stream(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(embedded("c", "vowels")).await.unwrap();
    let requests = vec![
        request("c", Some(vector_item("v", &[1.0; 5]))),
        request("", Some(vector_item("short", &[1.0; 4]))),
        request("", Some(text_item("t", "aeiou"))),
        request("c", Some(text_item("digits", "123"))),
        request("", Some(text_item("", "abc"))),
        request("", None),
        request("", Some(vector_item("nan", &[f32::NAN; 5]))),
        request("", Some(pb::Item { id: "empty".into(), source: None, ..Default::default() })),
        request("", Some(vector_item("v", &[2.0; 5]))),
    ];
    let (acks, end) = send(client, requests).await;
    end.expect("invalid items do not end a stream");
    assert_eq!(acks.iter().map(|ack| ack.index).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_eq!(
        acks.iter().map(|ack| ack.id.as_str()).collect::<Vec<_>>(),
        ["v", "short", "t", "digits", "", "nan", "empty", "v"]
    );
    for (index, ack) in acks.iter().enumerate() {
        let valid = matches!(index, 0 | 2 | 7);
        assert_eq!((ack.error.is_empty(), ack.error_code == 0, ack.sequence > 0), (valid, valid, valid), "{ack:?}");
        assert!(valid || ack.error_code == tonic::Code::InvalidArgument as i32, "{ack:?}");
    }
    for (index, part) in [(1, "item.vector"), (3, "123"), (4, "1 to 128"), (5, "item.vector.values[0]"), (6, "item")] {
        assert!(acks[index].error.contains(part), "{:?} should contain {part}", acks[index]);
    }
    assert_eq!(count(client, "c").await, 2);
    let get = pb::GetPointsRequest {
        collection: "c".into(),
        ids: vec!["v".into()],
        fields: Some(pb::Fields { payload: false, vector: true, ..Default::default() }),
        min_sequence: 0,
    };
    let stored = client.get_points(get).await.unwrap().points.remove(0).vector;
    assert_eq!(stored, Some(values(&[2.0; 5])), "the later of two items with one id remains");
}

pub(crate) async fn acks_come_in_order(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    const ITEMS: u64 = 5_000;
    let requests =
        (0..ITEMS).map(|n| request("c", Some(vector_item(&format!("p{}", n % 3_000), &[n as f32, 0.0])))).collect();
    let (acks, end) = send(client, requests).await;
    end.unwrap();
    assert!(acks.iter().map(|ack| ack.index).eq(0..ITEMS));
    assert!(acks.iter().all(|ack| ack.error.is_empty()));
    assert!(acks.is_sorted_by_key(|ack| ack.sequence) && acks[0].sequence > 0);
    assert_eq!(count(client, "c").await, 3_000);
    let reply = client.search(near_vector("c", &[4_999.0, 0.0], 1)).await.unwrap();
    assert_eq!((hit_ids(&reply), reply.hits[0].distance), (vec!["p1999"], 0.0), "the last write of an id remains");

    // One item at a time: each is acknowledged although no other follows.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver).map(|item| request("c", Some(item)));
    let mut acks = client.upsert_stream(requests).await.unwrap();
    for index in 0..3 {
        sender.send(vector_item("one", &[1.0, 1.0])).await.unwrap();
        let ack = acks.next().await.unwrap().expect("an answer").remove(0);
        assert_eq!((ack.index, ack.error.as_str()), (index, ""));
    }
    drop(sender);
    assert!(acks.next().await.unwrap().is_none());
}

pub(crate) async fn a_stream_writes_to_one_collection(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    for name in ["c", "d"] {
        client.create_collection(plain(name, 1, pb::Metric::L2)).await.unwrap();
    }
    let item = || Some(vector_item("p", &[1.0]));
    let ended = |(acks, end): (Vec<pb::Ack>, Result<(), ClientError>)| (acks.len(), refused(end));
    let (acks, (code, message)) = ended(send(client, vec![request("", item())]).await);
    assert_eq!((acks, code), (0, "INVALID_ARGUMENT"));
    assert!(message.starts_with("collection: "), "{message}");
    let (acks, (code, _)) = ended(send(client, vec![request("nowhere", item())]).await);
    assert_eq!((acks, code), (0, "NOT_FOUND"));
    let changed = vec![request("c", item()), request("d", item())];
    let (acks, (code, message)) = ended(send(client, changed).await);
    assert_eq!((acks, code), (1, "INVALID_ARGUMENT"), "earlier items are written and acknowledged");
    assert!(message.contains("\"d\""), "{message}");
    assert_eq!((count(client, "c").await, count(client, "d").await), (1, 0));
    let (acks, end) = send(client, vec![]).await;
    assert!(acks.is_empty() && end.is_ok(), "an empty stream is valid");
}

pub(crate) async fn a_stream_counts_its_writes(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let first =
        client.upsert(upsert("c", vec![vector_item("a", &[1.0, 0.0]), vector_item("b", &[2.0, 0.0])])).await.unwrap();
    assert_eq!((first.inserted, first.replaced, first.unchanged), (2, 0, 0));
    let again =
        client.upsert(upsert("c", vec![vector_item("a", &[1.0, 0.0]), vector_item("b", &[3.0, 0.0])])).await.unwrap();
    assert_eq!((again.inserted, again.replaced, again.unchanged), (0, 2, 1));

    let items = [("a", 1.0), ("b", 4.0), ("c", 5.0)];
    let requests = items.map(|(id, x)| request("c", Some(vector_item(id, &[x, 0.0]))));
    let mut acks = client.upsert_stream(iter(requests)).await.unwrap();
    while acks.next().await.unwrap().is_some() {}
    let written = acks.written();
    assert_eq!((written.inserted, written.replaced, written.unchanged), (1, 2, 1));
}

pub(crate) async fn existing_points_are_kept_on_request(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    client.upsert(upsert("c", vec![vector_item("0", &[0.0]), vector_item("1", &[1.0])])).await.unwrap();
    let keeping = |items: &[(&str, f32)]| {
        let mut requests: Vec<_> = items.iter().map(|(id, x)| request("c", Some(vector_item(id, &[*x])))).collect();
        requests[0].keep_existing = true;
        requests
    };
    let (acks, end) = send(client, keeping(&[("0", 0.0), ("2", 2.0)])).await;
    end.expect("an equal point is accepted");
    assert!(acks.iter().all(|ack| ack.error.is_empty()), "{acks:?}");

    let (acks, end) = send(client, keeping(&[("1", 7.0), ("3", 3.0)])).await;
    let (code, message) = refused(end);
    assert_eq!(code, "ALREADY_EXISTS");
    assert!(message.contains("\"1\""), "{message}");
    assert_eq!(acks[0].error_code, tonic::Code::AlreadyExists as i32);
    let get = pb::GetPointsRequest {
        collection: "c".into(),
        ids: vec!["1".into()],
        fields: Some(pb::Fields { payload: false, vector: true, ..Default::default() }),
        min_sequence: 0,
    };
    assert_eq!(
        client.get_points(get).await.unwrap().points[0].vector,
        Some(values(&[1.0])),
        "the stored point is unchanged"
    );

    // Only the conflicting item is reported, not the others of its batch.
    let (acks, end) = send(client, keeping(&[("4", 4.0), ("1", 7.0)])).await;
    assert_eq!(refused(end).0, "ALREADY_EXISTS");
    let codes: Vec<i32> = acks.iter().map(|ack| ack.error_code).collect();
    assert!([0, tonic::Code::Aborted as i32].contains(&codes[0]), "{acks:?}");
    assert_eq!(codes[1], tonic::Code::AlreadyExists as i32, "{acks:?}");

    // Two different items with one id, although no point has it.
    let (acks, end) = send(client, keeping(&[("9", 1.0), ("9", 2.0)])).await;
    assert_eq!(refused(end).0, "ALREADY_EXISTS");
    assert_eq!(acks[1].error_code, tonic::Code::AlreadyExists as i32);

    let mut late = keeping(&[("5", 5.0), ("6", 6.0)]);
    late[1].keep_existing = true;
    late[0].keep_existing = false;
    assert_eq!(refused(send(client, late).await.1).0, "INVALID_ARGUMENT");
    let mut both = keeping(&[("5", 5.0)]);
    both[0].blocks = Some(pb::Blocks { words: 2, overlap: 0 });
    assert_eq!(refused(send(client, both).await.1).0, "INVALID_ARGUMENT");
}

pub(crate) async fn a_stream_writes_what_its_condition_permits(engine: Arc<dyn Node>) {
    use pb::WriteOutcome::{Existing, Missing, Unmatched, Written};
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    client.upsert(upsert("c", vec![vector_item("a", &[0.0]), vector_item("b", &[0.0])])).await.unwrap();
    let item =
        |id: &str, x: f32, fields: serde_json::Value| pb::Item { payload: payload(fields), ..vector_item(id, &[x]) };
    let requests = |items: Vec<pb::Item>, first: pb::UpsertStreamRequest| {
        let mut requests: Vec<_> = items.into_iter().map(|item| request("c", Some(item))).collect();
        requests[0] = pb::UpsertStreamRequest { item: requests[0].item.take(), collection: "c".into(), ..first };
        requests
    };
    let mode = |mode: pb::WriteMode| pb::UpsertStreamRequest { mode: mode.into(), ..Default::default() };
    let outcomes = |(acks, end): (Vec<pb::Ack>, Result<(), ClientError>)| {
        end.expect("items that are left out do not end a stream");
        assert!(acks.iter().all(|ack| ack.error.is_empty() && ack.sequence > 0), "{acks:?}");
        acks.iter().map(pb::Ack::outcome).collect::<Vec<_>>()
    };
    let vector = async |id: &str| {
        let fields = Some(pb::Fields { payload: false, vector: true, ..Default::default() });
        let get = pb::GetPointsRequest { collection: "c".into(), ids: vec![id.into()], fields, min_sequence: 0 };
        client.get_points(get).await.unwrap().points.pop().and_then(|point| point.vector)
    };

    let plain = |id: &str, x: f32| item(id, x, serde_json::json!({}));
    let items = || vec![plain("a", 1.0), plain("n", 1.0), plain("n", 2.0), plain("b", 1.0)];
    let insert = send(client, requests(items(), mode(pb::WriteMode::Insert))).await;
    assert_eq!(outcomes(insert), [Existing, Written, Existing, Existing]);
    assert_eq!((vector("a").await, vector("n").await), (Some(values(&[0.0])), Some(values(&[1.0]))));

    let items = vec![plain("a", 3.0), plain("m", 3.0), plain("a", 4.0), plain("m", 4.0)];
    let update = send(client, requests(items, mode(pb::WriteMode::Update))).await;
    assert_eq!(outcomes(update), [Written, Missing, Written, Missing]);
    assert_eq!((vector("a").await, vector("m").await), (Some(values(&[4.0])), None));

    // The first item ends what the condition requires, so that the second is left out.
    client.upsert(upsert("c", vec![item("a", 0.0, serde_json::json!({"open": true}))])).await.unwrap();
    let items = vec![
        item("a", 5.0, serde_json::json!({})),
        item("a", 6.0, serde_json::json!({})),
        item("b", 5.0, serde_json::json!({"open": true})),
        item("k", 5.0, serde_json::json!({"open": true})),
        item("k", 6.0, serde_json::json!({"open": true})),
    ];
    let only_if = pb::UpsertStreamRequest { only_if: Some(crate::filters::exists("open")), ..Default::default() };
    let conditional = send(client, requests(items, only_if.clone())).await;
    assert_eq!(outcomes(conditional), [Written, Unmatched, Unmatched, Written, Written]);
    assert_eq!((vector("a").await, vector("k").await), (Some(values(&[5.0])), Some(values(&[6.0]))));

    let plain_stream = send(client, requests(vec![plain("a", 7.0), plain("a", 8.0)], Default::default())).await;
    assert_eq!(outcomes(plain_stream), [Written, Written]);

    let misspelt = pb::UpsertStreamRequest { only_if: Some(crate::filters::exists("opn")), ..Default::default() };
    let mut acks = client.upsert_stream(iter(requests(vec![plain("a", 9.0)], misspelt))).await.unwrap();
    while acks.next().await.unwrap().is_some() {}
    assert_eq!(acks.unknown_fields(), ["opn"]);

    let late = |late: pb::UpsertStreamRequest| {
        vec![request("c", Some(plain("z", 0.0))), pb::UpsertStreamRequest { item: Some(plain("z", 1.0)), ..late }]
    };
    let blocks = Some(pb::Blocks { words: 2, overlap: 0 });
    for (requests, field) in [
        (requests(vec![plain("z", 0.0)], pb::UpsertStreamRequest { mode: 9, ..Default::default() }), "mode"),
        (
            requests(
                vec![plain("z", 0.0)],
                pb::UpsertStreamRequest { keep_existing: true, ..mode(pb::WriteMode::Update) },
            ),
            "keep_existing",
        ),
        (requests(vec![plain("z", 0.0)], pb::UpsertStreamRequest { blocks, ..mode(pb::WriteMode::Insert) }), "blocks"),
        (
            requests(
                vec![plain("z", 0.0)],
                pb::UpsertStreamRequest { mode: pb::WriteMode::Insert.into(), ..only_if.clone() },
            ),
            "only_if",
        ),
        (late(mode(pb::WriteMode::Insert)), "mode"),
        (late(only_if), "only_if"),
    ] {
        let (code, message) = refused(send(client, requests).await.1);
        assert!(code == "INVALID_ARGUMENT" && message.contains(field), "{message} should contain {field}");
    }
    let once = || mode(pb::WriteMode::Insert);
    let mut repeated = requests(vec![plain("y", 0.0), plain("y", 0.0)], once());
    repeated[1].mode = pb::WriteMode::Insert.into();
    assert_eq!(outcomes(send(client, repeated).await), [Written, Existing], "a repeated mode is accepted");
}
