//! Invalid requests: the status names the field of the request and the limit.

use crate::harness::*;
use nearness::engine::Node;
use nearness::grpc::pb;
use pb::query::Form;
use prost_types::{ListValue, Struct, Value, value::Kind};
use std::sync::Arc;
use tonic::Status;

pub(crate) async fn invalid_requests_name_field_and_limit(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    server.client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let mut search = pb::search_client::SearchClient::new(server.channel().await);
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    let good = || near_vector("c", &[1.0, 2.0], 5);
    let with = |change: &dyn Fn(&mut pb::SearchParams)| {
        let mut request = good();
        change(request.params.as_mut().unwrap());
        request
    };
    let ef = |ef| Some(pb::search_params::Accuracy::Ef(ef));
    let form = |form: pb::vector::Form| near("c", Form::Vector(pb::Vector { form: Some(form) }), 5);
    let arithmetic =
        |plus: usize| near("c", Form::Arithmetic(pb::Arithmetic { plus: vec!["a".into(); plus], minus: vec![] }), 5);
    let cases: Vec<(pb::SearchRequest, &str, &str)> = vec![
        (with(&|params| params.k = 0), "params.k", "1 to 10000"),
        (with(&|params| params.k = 10_001), "params.k", "got 10001"),
        (with(&|params| params.accuracy = ef(4)), "params.ef", "k (here 5) to 65536"),
        (with(&|params| params.accuracy = ef(65_537)), "params.ef", "got 65537"),
        (with(&|params| params.score_threshold = Some(f32::NAN)), "params.score_threshold", "NaN"),
        (pb::SearchRequest { params: None, ..good() }, "params", "missing"),
        (pb::SearchRequest { query: None, ..good() }, "query", "give a vector"),
        (pb::SearchRequest { collection: "a/b".into(), ..good() }, "collection", "1 to 64"),
        (near("c", Form::Vector(pb::Vector { form: None }), 5), "query.vector", "le_f32"),
        (form(pb::vector::Form::LeF32(vec![0; 7].into())), "query.vector.le_f32", "multiple of 4"),
        (near_vector("c", &[], 5), "query.vector.values", "1 to 65536"),
        (near_vector("c", &[0.0, f32::NAN], 5), "query.vector.values[1]", "NaN"),
        (near_vector("c", &[f32::INFINITY, 0.0], 5), "query.vector.values[0]", "inf"),
        (near("c", Form::Text(String::new()), 5), "query.text", "1 to 1048576"),
        (near("c", Form::Text("x".repeat((1 << 20) + 1)), 5), "query.text", "got 1048577"),
        (near("c", Form::Image(vec![0; (16 << 20) + 1].into()), 5), "query.image", "1 to 16777216"),
        (near("c", Form::Id("i".repeat(129)), 5), "query.id", "1 to 128"),
        (arithmetic(0), "query.arithmetic", "1 to 100"),
        (arithmetic(101), "query.arithmetic", "got 101"),
    ];
    for (request, field, part) in cases {
        let status = search.search(request).await.expect_err(field);
        assert_violation(&status, field, part);
    }
    let dimension = search.search(near_vector("c", &[1.0], 5)).await.expect_err("another dimension");
    assert!(dimension.message().contains("query"), "{dimension}");

    let query = |x: f32| pb::Query { form: Some(Form::Vector(values(&[x, 0.0]))) };
    let batch = |queries, k| pb::SearchBatchRequest {
        collection: "c".into(),
        queries,
        params: Some(pb::SearchParams { k, ..Default::default() }),
        min_sequence: 0,
        ..Default::default()
    };
    let second = batch(vec![query(1.0), query(f32::NAN)], 1);
    assert_violation(&search.search_batch(second).await.unwrap_err(), "queries[1].vector.values[0]", "NaN");
    let too_many = batch(vec![query(1.0); 1_001], 1);
    assert_violation(&search.search_batch(too_many).await.unwrap_err(), "queries", "1 to 1000");
    let wide = batch(vec![query(1.0); 101], 10_000);
    assert_violation(&search.search_batch(wide).await.unwrap_err(), "queries", "1000000");

    let mut refuse = async |items: Vec<pb::Item>, field: &str, part: &str| {
        assert_violation(&points.upsert(upsert("c", items)).await.expect_err(field), field, part);
    };
    let item = |id: &str| vector_item(id, &[0.0, 1.0]);
    refuse(vec![], "items", "1 to 10000").await;
    refuse(vec![item("a"); 10_001], "items", "got 10001").await;
    refuse(vec![item("a"), item("")], "items[1].id", "1 to 128").await;
    refuse(vec![item(&"i".repeat(129))], "items[0].id", "129").await;
    let mut long = vec![0.0; 20];
    long[17] = f32::NAN;
    let items = vec![item("a"), item("b"), item("c"), vector_item("d", &long)];
    refuse(items, "items[3].vector.values[17]", "NaN").await;

    let ids = |ids: Vec<String>| pb::GetPointsRequest { collection: "c".into(), ids, fields: None, min_sequence: 0 };
    assert_violation(&points.get(ids(vec![])).await.unwrap_err(), "ids", "1 to 10000");
    assert_violation(&points.get(ids(vec!["a".into(), String::new()])).await.unwrap_err(), "ids[1]", "1 to 128");
    let page = pb::ScrollRequest { collection: "c".into(), limit: 10_001, ..Default::default() };
    assert_violation(&points.scroll(page).await.unwrap_err(), "limit", "1 to 10000");
    let longest = vector_item(&"i".repeat(128), &[0.0, 1.0]);
    points.upsert(upsert("c", vec![longest])).await.expect("128 bytes are allowed");

    let elsewhere = [
        refused(server.client.search(near_vector("nowhere", &[1.0, 2.0], 1)).await),
        refused(server.client.upsert(upsert("nowhere", vec![item("a")])).await),
        refused(server.client.count(pb::CountRequest { collection: "nowhere".into(), ..Default::default() }).await),
        refused(
            server
                .client
                .get_points(pb::GetPointsRequest { collection: "nowhere".into(), ..ids(vec!["a".into()]) })
                .await,
        ),
        refused(server.client.scroll(pb::ScrollRequest { collection: "nowhere".into(), ..Default::default() }).await),
    ];
    for (code, message) in elsewhere {
        assert_eq!((code, message.as_str()), ("NOT_FOUND", "there is no collection named \"nowhere\""));
    }
}

fn nested(levels: usize, wrap: impl Fn(Value) -> Kind) -> Option<Struct> {
    let mut value = Value { kind: Some(Kind::NumberValue(1.0)) };
    for _ in 1..levels {
        value = Value { kind: Some(wrap(value)) };
    }
    Some(Struct { fields: [("a".to_owned(), value)].into() })
}

pub(crate) async fn payloads_are_limited(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    let mut send = async |payload: Option<Struct>| -> Result<(), Status> {
        let item = pb::Item { payload, ..vector_item("p", &[1.0]) };
        points.upsert(upsert("c", vec![item])).await.map(|_| ())
    };
    let list = |value| Kind::ListValue(ListValue { values: vec![value] });
    let object = |value| Kind::StructValue(Struct { fields: [("in".to_owned(), value)].into() });
    send(nested(32, list)).await.expect("as deep as allowed");
    send(nested(32, object)).await.expect("as deep as allowed");
    let status = send(nested(33, list)).await.expect_err("too deep");
    assert_violation(&status, &format!("items[0].payload.a{}", "[0]".repeat(31)), "at most 32");
    let status = send(nested(70, object)).await.expect_err("deeper than protobuf decoders allow");
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");

    let one = |kind| Some(Struct { fields: [("a".to_owned(), Value { kind })].into() });
    let status = send(one(Some(Kind::NumberValue(f64::NAN)))).await.expect_err("NaN");
    assert_violation(&status, "items[0].payload.a", "NaN");
    let status = send(one(None)).await.expect_err("no value");
    assert_violation(&status, "items[0].payload.a", "no value");
    let status = send(one(Some(Kind::StringValue("x".repeat(1 << 20))))).await.expect_err("too large");
    assert_violation(&status, "items[0].payload", "at most 1048576");
}
