//! Facets, statistics of fields, ordered scrolls and samples over gRPC.

use crate::filters::exists;
use crate::harness::*;
use nearness::engine::Node;
use nearness::grpc::pb;
use pb::filter_value::Form as Value;
use serde_json::json as j;
use std::sync::Arc;

/// Creates ten points, p0 to p9.
async fn fill(server: &Running) {
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let items = (0..10_u64).map(|n| {
        let mut item = vector_item(&format!("p{n}"), &[n as f32 + 1.0]);
        let kind = if n < 6 { "fruit" } else { "nut" };
        let mut fields = j!({"kind": kind, "tags": ["x", n % 2], "rank": 9 - n, "big": u64::MAX - n % 2});
        if n == 0 {
            fields["rare"] = j!(true);
        }
        item.payload_json = fields.to_string();
        item
    });
    server.client.upsert(upsert("c", items.collect())).await.unwrap();
}

fn facet(field: &str) -> pb::FacetRequest {
    pb::FacetRequest { collection: "c".into(), field: field.into(), ..Default::default() }
}

fn counts(response: &pb::FacetResponse) -> Vec<(Value, u64)> {
    let form = |value: &pb::ValueCount| value.value.clone().and_then(|value| value.form).expect("a value");
    response.values.iter().map(|value| (form(value), value.count)).collect()
}

pub(crate) async fn values_are_counted(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    fill(&server).await;
    let kinds = server.client.facet(facet("kind")).await.unwrap();
    let text = |text: &str| Value::StringValue(text.into());
    assert_eq!(counts(&kinds), [(text("fruit"), 6), (text("nut"), 4)]);
    assert_eq!((kinds.distinct, kinds.points, kinds.unknown_fields.len()), (2, 10, 0));
    let tags = server.client.facet(pb::FacetRequest { limit: 2, ..facet("tags") }).await.unwrap();
    assert_eq!(counts(&tags), [(text("x"), 10), (Value::IntegerValue(0), 5)], "the second of two equal counts");
    assert_eq!(tags.distinct, 3);
    let big = server.client.facet(facet("big")).await.unwrap();
    assert_eq!(counts(&big), [u64::MAX - 1, u64::MAX].map(|value| (Value::UnsignedValue(value), 5)));
    let rare = server.client.facet(pb::FacetRequest { filter: Some(exists("rare")), ..facet("kind") }).await.unwrap();
    assert_eq!((counts(&rare), rare.points), (vec![(text("fruit"), 1)], 1));
    let unknown = server.client.facet(facet("knid")).await.unwrap();
    assert_eq!((unknown.unknown_fields, unknown.points), (vec!["knid".to_owned()], 0));
    let beyond = pb::FacetRequest { min_sequence: 1 << 40, ..facet("kind") };
    assert_eq!(refused(server.client.facet(beyond).await).0, "UNAVAILABLE");
    let elsewhere = pb::FacetRequest { collection: "nowhere".into(), ..facet("kind") };
    assert_eq!(refused(server.client.facet(elsewhere).await).0, "NOT_FOUND");
}

pub(crate) async fn fields_are_described(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    fill(&server).await;
    let request = pb::DescribeFieldsRequest { collection: "c".into(), ..Default::default() };
    let all = server.client.describe_fields(request.clone()).await.unwrap();
    assert_eq!((all.points, all.truncated), (10, false));
    let paths: Vec<&str> = all.fields.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(paths, ["big", "kind", "rank", "rare", "tags"]);
    let tags = &all.fields[4];
    let types = pb::TypeCounts { list: 10, string: 10, integer: 10, ..Default::default() };
    assert_eq!((tags.points, tags.types, tags.distinct), (10, Some(types), 3));
    let number = |number| Some(pb::FilterValue { form: Some(Value::IntegerValue(number)) });
    assert_eq!((tags.min_number.clone(), tags.max_number.clone()), (number(0), number(1)));
    let text = |text: &str| Some(pb::BoundingString { text: text.into(), truncated: false });
    assert_eq!((all.fields[1].min_string.clone(), all.fields[1].max_string.clone()), (text("fruit"), text("nut")));
    let some = pb::DescribeFieldsRequest { filter: Some(exists("rare")), ..request };
    let some = server.client.describe_fields(some).await.unwrap();
    assert_eq!((some.points, some.fields[3].points), (1, 1));
}

pub(crate) async fn a_scroll_follows_a_field(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    fill(&server).await;
    let order = |field: &str, descending| Some(pb::OrderBy { field: field.into(), descending });
    let first = |order_by| pb::ScrollRequest { collection: "c".into(), limit: 4, order_by, ..Default::default() };
    for (by, expected) in [
        (order("rank", false), "p9 p8 p7 p6 p5 p4 p3 p2 p1 p0"),
        (order("rank", true), "p0 p1 p2 p3 p4 p5 p6 p7 p8 p9"),
        (order("kind", true), "p6 p7 p8 p9 p0 p1 p2 p3 p4 p5"),
        (order("tags", false), "p0 p2 p4 p6 p8 p1 p3 p5 p7 p9"),
        (order("rare", false), "p0"),
    ] {
        let (mut ids, mut request) = (Vec::new(), first(by));
        loop {
            let page = server.client.scroll(request.clone()).await.unwrap();
            assert!(page.points.len() <= 4 && page.unknown_fields.is_empty());
            ids.extend(page.points.into_iter().map(|point| point.id));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(ids.join(" "), expected);
    }
    let unknown = server.client.scroll(first(order("knar", false))).await.unwrap();
    assert_eq!((unknown.points.len(), unknown.unknown_fields), (0, vec!["knar".to_owned()]));
    let token = server.client.scroll(first(order("rank", false))).await.unwrap().next_page_token;
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    for by in [order("rank", true), order("kind", false), None] {
        let request = pb::ScrollRequest { page_token: token.clone(), ..first(by) };
        assert_violation(&points.scroll(request).await.unwrap_err(), "page_token", "is not a next_page_token");
    }
    let after = pb::ScrollRequest { after: "p1".into(), ..first(order("rank", true)) };
    assert_violation(&points.scroll(after).await.unwrap_err(), "after", "excludes order_by");
}

pub(crate) async fn samples_are_repeatable(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    fill(&server).await;
    let request = |limit, seed| pb::SampleRequest { collection: "c".into(), limit, seed, ..Default::default() };
    let ids = |response: &pb::SampleResponse| response.points.iter().map(|point| point.id.clone()).collect::<Vec<_>>();
    let sample = server.client.sample(request(5, None)).await.unwrap();
    assert_eq!(sample.points.len(), 5);
    let again = server.client.sample(request(5, Some(sample.seed))).await.unwrap();
    assert_eq!(ids(&again), ids(&sample), "the seed is in the response");
    let mut all = ids(&server.client.sample(request(0, Some(3))).await.unwrap());
    all.sort();
    assert_eq!(all.join(" "), "p0 p1 p2 p3 p4 p5 p6 p7 p8 p9");
    let some = pb::SampleRequest { filter: Some(exists("rare")), ..request(10, None) };
    assert_eq!(ids(&server.client.sample(some).await.unwrap()), ["p0"]);
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    assert_violation(&points.sample(request(10_001, None)).await.unwrap_err(), "limit", "1 to 10000");
}

/// Requests with invalid parameters, and a sample larger than the response limit.
pub(crate) async fn invalid_summaries_are_refused(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    fill(&server).await;
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    assert_violation(&points.facet(facet("")).await.unwrap_err(), "field", "1 to 512 bytes");
    assert_violation(&points.facet(facet("a[0]")).await.unwrap_err(), "field", "write \"a\"");
    let many = pb::FacetRequest { limit: 10_001, ..facet("a") };
    assert_violation(&points.facet(many).await.unwrap_err(), "limit", "1 to 10000");
    let order_by = Some(pb::OrderBy::default());
    let scroll = pb::ScrollRequest { collection: "c".into(), order_by, ..Default::default() };
    assert_violation(&points.scroll(scroll).await.unwrap_err(), "order_by.field", "1 to 512 bytes");
    let large = |n: u32| pb::Item {
        payload_json: j!({"x": "x".repeat(900_000)}).to_string(),
        ..vector_item(&format!("q{n}"), &[1.0])
    };
    server.client.upsert(upsert("c", (0..6).map(large).collect())).await.unwrap();
    let fields = Some(pb::Fields { payload: true, vector: false, ..Default::default() });
    let sample = |filter| pb::SampleRequest { collection: "c".into(), fields, filter, ..Default::default() };
    let (code, message) = refused(points.sample(sample(Some(exists("x")))).await.map_err(Into::into));
    assert_eq!(code, "RESOURCE_EXHAUSTED", "{message}");
    assert!(message.contains("fewer points"), "{message}");
    assert_eq!(points.sample(sample(Some(exists("kind")))).await.unwrap().into_inner().points.len(), 10);
}
