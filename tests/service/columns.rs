//! Columns: many vectors in one field, written, searched by and returned.

use crate::harness::*;
use crate::streams::send;
use nearness::engine::Node;
use nearness::grpc::pb;
use serde_json::json as j;
use std::sync::Arc;

fn column(dimension: u32, values: &[f32]) -> pb::VectorColumn {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    pb::VectorColumn { dimension, data: data.into(), format: pb::VectorFormat::F32.into() }
}

fn columns(ids: &[&str], values: &[f32], payloads: &[&str]) -> pb::ItemColumns {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    pb::ItemColumns { ids: owned(ids), vectors: Some(column(2, values)), payload_json: owned(payloads) }
}

fn as_column() -> Option<pb::Fields> {
    Some(pb::Fields { payload: true, vector: true, vectors_as_column: true })
}

pub(crate) async fn columns_are_written_searched_and_returned(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let written = columns(&["a", "b", "c"], &[0.0, 0.0, 1.0, 0.0, 2.0, 0.5], &["{\"n\":1}", "", "{\"n\":3}"]);
    let request = pb::UpsertRequest { columns: Some(written), ..upsert("c", vec![]) };
    let done = client.upsert(request.clone()).await.unwrap();
    assert_eq!((done.inserted, done.replaced), (3, 0));
    let insert = pb::UpsertRequest { mode: pb::WriteMode::Insert.into(), ..request };
    assert_eq!(client.upsert(insert).await.unwrap().existing, ["a", "b", "c"]);

    let get = pb::GetPointsRequest {
        collection: "c".into(),
        ids: ["c", "none", "a"].map(str::to_owned).to_vec(),
        fields: as_column(),
        min_sequence: 0,
    };
    let found = client.get_points(get.clone()).await.unwrap();
    assert_eq!(found.vectors, Some(column(2, &[2.0, 0.5, 0.0, 0.0])));
    assert!(found.points.iter().all(|point| point.vector.is_none()), "{found:?}");
    assert_eq!(json(found.points[0].payload.clone()), j!({"n": 3}));
    let fields = Some(pb::Fields { vector: false, ..as_column().unwrap() });
    assert_eq!(client.get_points(pb::GetPointsRequest { fields, ..get }).await.unwrap().vectors, None);
    let scroll = pb::ScrollRequest { collection: "c".into(), limit: 2, fields: as_column(), ..Default::default() };
    let page = client.scroll(scroll.clone()).await.unwrap();
    assert_eq!(page.vectors, Some(column(2, &[0.0, 0.0, 1.0, 0.0])));
    assert!(!page.next_page_token.is_empty() && page.points[1].vector.is_none());
    let sample = pb::SampleRequest { collection: "c".into(), seed: Some(1), fields: as_column(), ..Default::default() };
    let sample = client.sample(sample).await.unwrap();
    assert_eq!(sample.vectors.unwrap().data.len(), 3 * 2 * 4);

    let params = Some(pb::SearchParams { k: 2, fields: as_column(), ..Default::default() });
    let one = pb::SearchRequest { params: params.clone(), ..near_vector("c", &[2.0, 0.0], 2) };
    let hits = client.search(one).await.unwrap();
    assert_eq!(hit_ids(&hits), ["c", "b"]);
    assert_eq!(hits.vectors, Some(column(2, &[2.0, 0.5, 1.0, 0.0])));
    let batch = |vectors| pb::SearchBatchRequest {
        collection: "c".into(),
        params: params.clone(),
        vectors: Some(vectors),
        ..Default::default()
    };
    let found = client.search_batch(batch(column(2, &[0.0, 0.0, 2.0, 0.5]))).await.unwrap();
    assert_eq!(found.responses.iter().map(hit_ids).collect::<Vec<_>>(), [["a", "b"], ["c", "b"]]);
    assert_eq!(found.responses[1].vectors, Some(column(2, &[2.0, 0.5, 1.0, 0.0])));
    let bytes = pb::VectorColumn { data: vec![0, 0, 2, 1].into(), format: pb::VectorFormat::I8.into(), dimension: 2 };
    let found = client.search_batch(batch(bytes)).await.unwrap();
    assert_eq!(found.responses.iter().map(|response| hit_ids(response)[0]).collect::<Vec<_>>(), ["a", "c"]);
}

pub(crate) async fn a_stream_of_columns_acknowledges_each_item(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let request = |columns| pb::UpsertStreamRequest { columns: Some(columns), ..Default::default() };
    let mut first = request(columns(&["a", "", "nan", "b"], &[0.0, 0.0, 1.0, 1.0, f32::NAN, 0.0, 2.0, 2.0], &[]));
    first.collection = "c".into();
    let one = pb::UpsertStreamRequest { item: Some(vector_item("single", &[3.0, 3.0])), ..Default::default() };
    let last = request(columns(&["a", "c"], &[5.0, 5.0, 4.0, 4.0], &["{\"n\":1}", "{"]));
    let (acks, end) = send(client, vec![first.clone(), one, last]).await;
    end.expect("invalid items do not end a stream");
    assert_eq!(acks.iter().map(|ack| ack.index).collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
    let ids: Vec<&str> = acks.iter().map(|ack| ack.id.as_str()).collect();
    assert_eq!(ids, ["a", "", "nan", "b", "single", "a", "c"]);
    let valid: Vec<bool> = acks.iter().map(|ack| ack.error.is_empty()).collect();
    assert_eq!(valid, [true, false, false, true, true, true, false]);
    assert!(acks[2].error.contains("component 0 of vector 2"), "{:?}", acks[2]);
    assert_eq!(count(client, "c").await, 3);

    // Columns of different lengths have no items.
    let short = request(columns(&["x"], &[0.0, 0.0, 1.0, 1.0], &[]));
    let both = pb::UpsertStreamRequest { item: Some(vector_item("y", &[0.0, 0.0])), ..first.clone() };
    for (request, part) in [(short, "columns.ids"), (both, "excludes item")] {
        let request = pb::UpsertStreamRequest { collection: "c".into(), ..request };
        let (code, message) = refused(send(client, vec![request]).await.1);
        assert!(code == "INVALID_ARGUMENT" && message.contains(part), "{message} should contain {part}");
    }
}

pub(crate) async fn invalid_columns_are_refused(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let good = || columns(&["a", "b"], &[0.0, 0.0, 1.0, 1.0], &[]);
    let with = |change: &dyn Fn(&mut pb::VectorColumn)| {
        let mut columns = good();
        columns.vectors.iter_mut().for_each(change);
        columns
    };
    for (columns, part) in [
        (pb::ItemColumns { vectors: None, ..good() }, "columns.vectors"),
        (with(&|column| column.dimension = 0), "columns.vectors.dimension"),
        (with(&|column| column.dimension = 3), "columns.vectors.data"),
        (with(&|column| column.format = 7), "columns.vectors.format"),
        (with(&|column| column.data = vec![].into()), "1 to 10000"),
        (with(&|column| column.dimension = 1), "columns.ids"),
        (with(&|column| column.format = pb::VectorFormat::F16.into()), "columns.ids"),
        (pb::ItemColumns { payload_json: vec!["{}".into()], ..good() }, "columns.payload_json"),
        (columns(&["a", "b"], &[0.0, 0.0, f32::INFINITY, 1.0], &[]), "component 0 of vector 1"),
        (pb::ItemColumns { ids: vec!["a".into()], vectors: Some(column(1, &[1.0])), ..good() }, "items[0].vector"),
    ] {
        let (code, message) =
            refused(client.upsert(pb::UpsertRequest { columns: Some(columns), ..upsert("c", vec![]) }).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains(part), "{message} should contain {part}");
    }
    let both = pb::UpsertRequest { columns: Some(good()), ..upsert("c", vec![vector_item("a", &[0.0, 0.0])]) };
    assert!(refused(client.upsert(both).await).1.contains("excludes items"));
    let blocks = Some(pb::Blocks { words: 2, overlap: 0 });
    let split = pb::UpsertRequest { columns: Some(good()), blocks, ..upsert("c", vec![]) };
    assert_eq!(refused(client.upsert(split).await).0, "INVALID_ARGUMENT");
    assert_eq!(count(client, "c").await, 0);
    let batch = pb::SearchBatchRequest {
        collection: "c".into(),
        params: Some(pb::SearchParams { k: 1, ..Default::default() }),
        vectors: Some(column(2, &[0.0; 2_002])),
        ..Default::default()
    };
    assert!(refused(client.search_batch(batch).await).1.contains("1 to 1000"));
}
