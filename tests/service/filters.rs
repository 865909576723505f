//! Filters over gRPC: each condition selects, each invalid filter is refused with its field.

use crate::harness::*;
use nearness::engine::Node;
use nearness::grpc::pb;
use pb::filter::Form;
use pb::filter_value::Form as Value;
use pb::text_match::Condition;
use serde_json::json as j;
use std::sync::Arc;

fn of(form: Form) -> pb::Filter {
    pb::Filter { form: Some(form) }
}

fn value(form: Value) -> pb::FilterValue {
    pb::FilterValue { form: Some(form) }
}

fn number(number: f64) -> pb::FilterValue {
    value(Value::NumberValue(number))
}

fn text(text: &str) -> pb::FilterValue {
    value(Value::StringValue(text.into()))
}

fn equals(field: &str, value: pb::FilterValue) -> pb::Filter {
    of(Form::Equals(pb::Equals { field: field.into(), value: Some(value) }))
}

fn range(field: &str, gte: Option<pb::FilterValue>, lt: Option<pb::FilterValue>) -> pb::Filter {
    of(Form::Range(pb::Range { field: field.into(), gte, lt, ..Default::default() }))
}

pub(crate) fn exists(field: &str) -> pb::Filter {
    of(Form::Exists(pb::Exists { field: field.into() }))
}

fn and(filters: Vec<pb::Filter>) -> pb::Filter {
    of(Form::And(pb::Filters { filters }))
}

fn or(filters: Vec<pb::Filter>) -> pb::Filter {
    of(Form::Or(pb::Filters { filters }))
}

fn not(filter: pb::Filter) -> pb::Filter {
    of(Form::Not(Box::new(filter)))
}

fn ids(ids: &[&str]) -> pb::Filter {
    of(Form::Ids(pb::Ids { ids: ids.iter().map(ToString::to_string).collect() }))
}

fn is_null(field: &str) -> pb::Filter {
    of(Form::IsNull(pb::IsNull { field: field.into() }))
}

fn is_empty(field: &str) -> pb::Filter {
    of(Form::IsEmpty(pb::IsEmpty { field: field.into() }))
}

fn nested(field: &str, filter: pb::Filter) -> pb::Filter {
    of(Form::Nested(Box::new(pb::Nested { field: field.into(), filter: Some(Box::new(filter)) })))
}

fn values_count(field: &str, gte: Option<u64>, lt: Option<u64>) -> pb::Filter {
    of(Form::ValuesCount(pb::ValuesCount { field: field.into(), gte, lt, ..Default::default() }))
}

fn time_range(field: &str, gte: &str, lt: &str) -> pb::Filter {
    let (gte, lt) = (Some(gte.into()), Some(lt.into()));
    of(Form::TimeRange(pb::TimeRange { field: field.into(), gte, lt, ..Default::default() }))
}

fn words(field: &str, condition: Condition) -> pb::Filter {
    of(Form::Text(pb::TextMatch { field: field.into(), condition: Some(condition) }))
}

fn geo_box(north: f64, south: f64, west: f64, east: f64) -> pb::Filter {
    of(Form::GeoBox(pb::GeoBox { field: "where".into(), north, south, west, east }))
}

fn geo_polygon(corners: &[(f64, f64)]) -> pb::Filter {
    let points = corners.iter().map(|&(lat, lon)| pb::GeoPoint { lat, lon }).collect();
    let exterior = Some(pb::GeoRing { points });
    of(Form::GeoPolygon(pb::GeoPolygon { field: "where".into(), exterior, holes: vec![] }))
}

/// Creates twelve points on a line, p00 to p11.
async fn fill(server: &Running) {
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let items = (0..12_i64).map(|n| {
        let mut item = vector_item(&format!("p{n:02}"), &[n as f32]);
        let kind = ["animal", "plant", "stone"][n as usize % 3];
        let mut fields = j!({
            "n": n, "half": n as f64 / 2.0, "even": n % 2 == 0, "kind": kind,
            "author": {"name": format!("a{n}"), "tags": [n % 4, "all"]}, "where": {"lat": 50.0, "lon": n},
            "at": format!("2024-05-{:02}T01:00:00+02:00", n + 1), "counted": vec![n; n as usize % 4],
            "reviews": [{"by": "ann", "stars": n % 5}, {"by": "bob", "stars": (n + 1) % 5}],
        });
        if n < 3 {
            fields["rare"] = j!(if n == 0 { None } else { Some("here") });
        }
        item.payload = payload(fields);
        item
    });
    server.client.upsert(upsert("c", items.collect())).await.unwrap();
}

pub(crate) async fn every_condition_selects(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    fill(&server).await;
    let near_berlin = pb::GeoRadius { field: "where".into(), lat: 50.0, lon: 5.0, meters: 100_000.0 };
    let among = |field: &str, values| of(Form::In(pb::In { field: field.into(), values }));
    let cases: Vec<(pb::Filter, Vec<u32>)> = vec![
        (equals("n", number(7.0)), vec![7]),
        (equals("n", value(Value::IntegerValue(7))), vec![7]),
        (equals("half", number(2.5)), vec![5]),
        (equals("even", value(Value::BoolValue(true))), vec![0, 2, 4, 6, 8, 10]),
        (equals("kind", text("stone")), vec![2, 5, 8, 11]),
        (equals("author.name", text("a10")), vec![10]),
        (equals("author.tags", number(3.0)), vec![3, 7, 11]),
        (equals("n", text("7")), vec![]),
        (among("n", vec![number(1.0), number(11.0), number(99.0), text("x")]), vec![1, 11]),
        (range("n", Some(number(3.0)), Some(number(5.5))), vec![3, 4, 5]),
        (range("half", None, Some(number(1.0))), vec![0, 1]),
        (range("kind", Some(text("b")), Some(text("s"))), vec![1, 4, 7, 10]),
        (exists("rare"), vec![1, 2]),
        (exists("author.name.x"), vec![]),
        (of(Form::GeoRadius(near_berlin)), vec![4, 5, 6]),
        (and(vec![equals("kind", text("animal")), range("n", Some(number(1.0)), None)]), vec![3, 6, 9]),
        (or(vec![equals("n", number(0.0)), exists("rare")]), vec![0, 1, 2]),
        (not(or(vec![range("n", Some(number(2.0)), None), exists("rare")])), vec![0]),
        (ids(&["p03", "p11", "nobody"]), vec![3, 11]),
        (and(vec![not(ids(&["p03", "p05"])), range("n", Some(number(2.0)), Some(number(6.0)))]), vec![2, 4]),
        (or(vec![ids(&["p10"]), equals("n", number(1.0))]), vec![1, 10]),
        (is_null("rare"), vec![0]),
        (not(is_empty("rare")), vec![1, 2]),
        (is_empty("counted"), vec![0, 4, 8]),
        (values_count("counted", Some(2), None), vec![2, 3, 6, 7, 10, 11]),
        (values_count("counted", None, Some(1)), vec![0, 4, 8]),
        (values_count("reviews", Some(2), Some(3)), (0..12).collect()),
        (nested("reviews", and(vec![equals("by", text("bob")), equals("stars", number(3.0))])), vec![2, 7]),
        (and(vec![equals("reviews.by", text("bob")), equals("reviews.stars", number(3.0))]), vec![2, 3, 7, 8]),
        (geo_box(50.0, 49.0, 3.0, 5.0), vec![3, 4, 5]),
        (geo_box(51.0, 49.0, 10.0, -179.0), vec![10, 11]),
        (geo_polygon(&[(49.0, 1.5), (51.0, 1.5), (51.0, 4.0), (49.0, 4.0)]), vec![2, 3, 4]),
        (time_range("at", "2024-05-02T23:00:00Z", "2024-05-05T01:00:00+02:00"), vec![2, 3]),
        (time_range("at", "2024-05-11", "2024-06-01"), vec![11]),
        (time_range("kind", "0000-01-01", "9999-12-31"), vec![]),
        (words("kind", Condition::All("PLANT".into())), vec![1, 4, 7, 10]),
        (words("kind", Condition::Any("stone animal".into())), vec![0, 2, 3, 5, 6, 8, 9, 11]),
        (words("author.name", Condition::Prefix("a1".into())), vec![1, 10, 11]),
        (words("kind", Condition::Substring("LAN".into())), vec![1, 4, 7, 10]),
        (words("author.tags", Condition::Phrase("all".into())), (0..12).collect()),
        (not(words("rare", Condition::All("here".into()))), vec![0, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (words("n", Condition::All("7".into())), vec![]),
    ];
    for (filter, expected) in cases {
        let mut request = near_vector("c", &[0.0], 12);
        request.params.as_mut().unwrap().filter = Some(filter.clone());
        let reply = server.client.search(request).await.unwrap();
        let found: Vec<u32> = hit_ids(&reply).iter().map(|id| id[1..].parse().unwrap()).collect();
        assert_eq!(found, expected, "{filter:?}");
        let stats = reply.stats.unwrap();
        assert_eq!(stats.filter_matches, Some(expected.len() as u64), "{filter:?}");
        assert_eq!(stats.path(), pb::Path::FilterScan);
        assert_eq!(stats.distances_computed, expected.len() as u64, "only matches are compared: {filter:?}");
    }
    let unfiltered = server.client.search(near_vector("c", &[0.0], 1)).await.unwrap();
    assert_eq!(unfiltered.stats.unwrap().filter_matches, None);

    // One filter for all queries of a batch; a query by id still excludes its point.
    let query = |form| pb::Query { form: Some(form) };
    let replies = server.client.search_batch(pb::SearchBatchRequest {
        collection: "c".into(),
        queries: vec![query(pb::query::Form::Id("p05".into())), query(pb::query::Form::Vector(values(&[9.0])))],
        params: Some(pb::SearchParams { k: 2, filter: Some(equals("kind", text("stone"))), ..Default::default() }),
        min_sequence: 0,
        ..Default::default()
    });
    let replies = replies.await.unwrap().responses;
    let mut first = hit_ids(&replies[0]);
    first.sort_unstable();
    assert_eq!((first, hit_ids(&replies[1])), (vec!["p02", "p08"], vec!["p08", "p11"]));
}

pub(crate) async fn invalid_filters_are_refused(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    fill(&server).await;
    let mut search = pb::search_client::SearchClient::new(server.channel().await);
    let deep = |levels: usize| (1..levels).fold(exists("n"), |inner, _| not(inner));
    let cases: Vec<(pb::Filter, &str, &str)> = vec![
        (pb::Filter { form: None }, "params.filter", "is empty"),
        (and(vec![]), "params.filter.and", "at least one"),
        (exists(""), "params.filter.exists.field", "1 to 512 bytes, got 0"),
        (exists(&"x".repeat(513)), "params.filter.exists.field", "got 513"),
        (or(vec![exists("a"), range("n", None, None)]), "params.filter.or[1].range", "no bound"),
        (not(range("n", Some(number(f64::NAN)), None)), "params.filter.not.range.gte", "NaN"),
        (range("n", Some(number(1.0)), Some(text("x"))), "params.filter.range.lt", "numbers or strings"),
        (of(Form::In(pb::In { field: "n".into(), values: vec![] })), "params.filter.in.values", "1 to 10000"),
        (
            of(Form::In(pb::In { field: "n".into(), values: vec![number(1.0); 10_001] })),
            "params.filter.in.values",
            "got 10001",
        ),
        (and(vec![exists("a"); 1_000]), "params.filter", "more than 1000"),
        (deep(33), "params.filter", "deeper than 32"),
        (
            of(Form::GeoRadius(pb::GeoRadius { field: "w".into(), lat: 0.0, lon: 0.0, meters: -1.0 })),
            "params.filter.geo_radius.meters",
            "above 0",
        ),
        (ids(&[]), "params.filter.ids", "1 to 10000, got 0"),
        (ids(&vec!["p01"; 10_001]), "params.filter.ids", "got 10001"),
        (not(ids(&["p01", ""])), "params.filter.not.ids[1]", "1 to 128 bytes"),
        (is_null(""), "params.filter.is_null.field", "got 0"),
        (values_count("n", None, None), "params.filter.values_count", "no bound"),
        (nested("reviews", ids(&["p01"])), "params.filter.nested.filter.ids", "inside nested"),
        (nested("reviews", exists(&"x".repeat(505))), "params.filter.nested.filter.exists.field", "got 513"),
        ((0..32).fold(exists("n"), |inner, _| nested("a", inner)), "params.filter", "deeper than 32"),
        (geo_box(91.0, 0.0, 0.0, 0.0), "params.filter.geo_box.north", "-90 to 90, got 91"),
        (geo_box(0.0, 1.0, 0.0, 0.0), "params.filter.geo_box.south", "above north"),
        (geo_polygon(&[(0.0, 0.0), (1.0, 1.0)]), "params.filter.geo_polygon.exterior", "3 to 1000 points, got 2"),
        (
            geo_polygon(&[(0.0, 170.0), (1.0, -170.0), (1.0, 170.0)]),
            "params.filter.geo_polygon.exterior[0]",
            "antimeridian",
        ),
        (time_range("at", "2024-05-01", "soon"), "params.filter.time_range.lt", "RFC 3339"),
    ];
    let with = |filter| {
        let mut request = near_vector("c", &[0.0], 3);
        request.params.as_mut().unwrap().filter = Some(filter);
        request
    };
    for (filter, field, part) in cases {
        assert_violation(&search.search(with(filter)).await.expect_err(field), field, part);
    }
    search.search(with(deep(32))).await.expect("as deep as allowed");
    let nested = (1..32).fold(exists("n"), |inner, _| nested("a", inner));
    search.search(with(nested)).await.expect("nested as deep as allowed");
    search.search(with(and(vec![exists("n"); 999]))).await.expect("as many as allowed");

    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    let count = pb::CountRequest { collection: "c".into(), filter: Some(and(vec![])), min_sequence: 0 };
    assert_violation(&points.count(count).await.unwrap_err(), "filter.and", "at least one");
    let scroll = pb::ScrollRequest { collection: "c".into(), filter: Some(exists("")), ..Default::default() };
    assert_violation(&points.scroll(scroll).await.unwrap_err(), "filter.exists.field", "got 0");
    let delete = |ids: &[&str], filter| pb::DeletePointsRequest {
        collection: "c".into(),
        ids: ids.iter().map(ToString::to_string).collect(),
        filter,
        ..Default::default()
    };
    assert_violation(&points.delete(delete(&[], Some(and(vec![])))).await.unwrap_err(), "filter.and", "at least one");
    let both = points.delete(delete(&["p01"], Some(exists("n")))).await.unwrap_err();
    assert_violation(&both, "filter", "one of them");
    assert_eq!(count_all(&server).await, 12, "nothing was deleted");
}

async fn count_all(server: &Running) -> u64 {
    count(&server.client, "c").await
}

pub(crate) async fn points_are_counted_scrolled_and_deleted_by_filter(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    fill(&server).await;
    let client = &server.client;
    let stones = || Some(equals("kind", text("stone")));
    let counted =
        client.count(pb::CountRequest { collection: "c".into(), filter: stones(), min_sequence: 0 }).await.unwrap();
    assert_eq!(counted.count, 4);
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let request = pb::ScrollRequest {
            collection: "c".into(),
            page_token: token,
            limit: 3,
            fields: None,
            filter: stones(),
            ..Default::default()
        };
        let page = client.scroll(request).await.unwrap();
        found.extend(page.points.into_iter().map(|point| point.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(found, ["p02", "p05", "p08", "p11"]);
    let delete = || pb::DeletePointsRequest { collection: "c".into(), filter: stones(), ..Default::default() };
    let first = client.delete_points(delete()).await.unwrap();
    assert_eq!((first.deleted, first.missing.len()), (4, 0));
    let again = client.delete_points(delete()).await.unwrap();
    assert_eq!(again.deleted, 0);
    assert!(again.sequence > first.sequence);
    assert_eq!(count_all(&server).await, 8);
    let filter = and(vec![ids(&["p00", "p01", "p02"]), not(equals("kind", text("plant")))]);
    let delete = pb::DeletePointsRequest { collection: "c".into(), filter: Some(filter), ..Default::default() };
    assert_eq!(client.delete_points(delete).await.unwrap().deleted, 1);
    assert_eq!(count_all(&server).await, 7);
}

pub(crate) async fn a_field_that_no_point_has_is_named(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    fill(&server).await;
    let client = &server.client;
    let count = |filter| async {
        let request = pb::CountRequest { collection: "c".into(), filter: Some(filter), ..Default::default() };
        client.count(request).await.unwrap()
    };
    let misspelt = || equals("knd", text("stone"));
    let reply = count(misspelt()).await;
    assert_eq!((reply.count, reply.unknown_fields), (0, vec!["knd".to_owned()]));
    let reply = count(equals("kind", text("nothing"))).await;
    assert_eq!((reply.count, reply.unknown_fields.len()), (0, 0), "the field exists, the value does not");

    let scroll = pb::ScrollRequest { collection: "c".into(), filter: Some(misspelt()), ..Default::default() };
    assert_eq!(client.scroll(scroll).await.unwrap().unknown_fields, ["knd"]);
    let mut search = near_vector("c", &[0.0], 3);
    search.params.as_mut().unwrap().filter = Some(misspelt());
    assert_eq!(client.search(search).await.unwrap().unknown_fields, ["knd"]);
    let delete = pb::DeletePointsRequest { collection: "c".into(), filter: Some(misspelt()), ..Default::default() };
    let deleted = client.delete_points(delete).await.unwrap();
    assert_eq!((deleted.deleted, deleted.unknown_fields), (0, vec!["knd".to_owned()]));
    let (code, message) = refused(
        client
            .count(pb::CountRequest {
                collection: "c".into(),
                filter: Some(exists("author.tags[0]")),
                ..Default::default()
            })
            .await,
    );
    assert!(code == "INVALID_ARGUMENT" && message.contains("author.tags"), "{message}");

    let mut grouped = near_vector("c", &[0.0], 3);
    grouped.params.as_mut().unwrap().group_by = "knd".into();
    assert_eq!(client.search(grouped.clone()).await.unwrap().unknown_fields, ["knd"]);
    grouped.params.as_mut().unwrap().group_by = "author.tags[0]".into();
    let (code, message) = refused(client.search(grouped).await);
    assert!(code == "INVALID_ARGUMENT" && message.contains("params.group_by") && message.contains("\"author.tags\""));
    let explain = pb::ExplainRequest {
        collection: "c".into(),
        query: near_vector("c", &[0.0], 3).query,
        params: Some(pb::SearchParams { k: 3, filter: Some(misspelt()), ..Default::default() }),
        id: "p01".into(),
        min_sequence: 0,
    };
    assert_eq!(client.explain(explain).await.unwrap().unknown_fields, ["knd"]);

    // Fields of nested filters are named with their full path; ids are no fields.
    assert_eq!(count(nested("reviews", equals("star", number(1.0)))).await.unknown_fields, ["reviews.star"]);
    assert_eq!(count(nested("review", exists("stars"))).await.unknown_fields, ["review", "review.stars"]);
    let reply = count(or(vec![ids(&["p01"]), is_empty("knd")])).await;
    assert_eq!((reply.count, reply.unknown_fields), (12, vec!["knd".to_owned()]));
    let reply = count(ids(&["p01", "nobody"])).await;
    assert_eq!((reply.count, reply.unknown_fields.len()), (1, 0));

    // A field without a value exists.
    let mut item = vector_item("none", &[0.0]);
    item.payload = payload(j!({"nothing": null, "list": [], "nested": {"none": null}}));
    client.upsert(upsert("c", vec![item])).await.unwrap();
    for field in ["nothing", "list", "nested.none"] {
        let reply = count(equals(field, number(1.0))).await;
        assert_eq!((reply.count, reply.unknown_fields.len()), (0, 0), "{field}");
    }
}

pub(crate) async fn a_delete_by_an_unknown_field_is_refused(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    fill(&server).await;
    let delete = |filter, allow_unknown_fields| {
        server.client.delete_points(pb::DeletePointsRequest {
            collection: "c".into(),
            filter: Some(filter),
            allow_unknown_fields,
            ..Default::default()
        })
    };
    let misspelt = || equals("knd", text("stone"));
    for (filter, matches) in [
        (not(misspelt()), "12"),
        (or(vec![misspelt(), equals("kind", text("stone"))]), "4"),
        (and(vec![not(exists("knd")), equals("even", value(Value::BoolValue(true)))]), "6"),
    ] {
        let (code, message) = refused(delete(filter, false).await);
        assert_eq!(code, "INVALID_ARGUMENT");
        for part in ["filter: ", "knd", &format!("{matches} points match"), "allow_unknown_fields"] {
            assert!(message.contains(part), "{message} should contain {part}");
        }
    }
    assert_eq!(count_all(&server).await, 12, "nothing was deleted");
    assert_eq!(delete(misspelt(), false).await.unwrap().deleted, 0, "nothing matches");
    let allowed = delete(or(vec![misspelt(), equals("kind", text("stone"))]), true).await.unwrap();
    assert_eq!((allowed.deleted, allowed.unknown_fields), (4, vec!["knd".to_owned()]));
    assert_eq!(delete(not(equals("kind", text("plant"))), false).await.unwrap().deleted, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_declares_a_tenant() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(Arc::new(nearness::engine::Database::open(folder.path()).expect("an engine"))).await;
    let client = &server.client;
    let create = |path: &str| pb::CreateCollectionRequest { tenant: path.into(), ..plain("c", 1, pb::Metric::L2) };
    for (path, expected) in [("a[0]", "\"a\""), (&*"x".repeat(513), "1 to 512 bytes")] {
        let (code, message) = refused(client.create_collection(create(path)).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains("tenant") && message.contains(expected), "{message}");
    }
    let created = client.create_collection(create("of")).await.unwrap().collection.unwrap();
    assert_eq!(created.tenant, "of");
    let of = |id: &str, tenant| pb::Item { payload: payload(j!({"of": tenant})), ..vector_item(id, &[1.0]) };
    let items = vec![of("a", j!("x")), of("b", j!(5)), of("c", j!("x")), of("d", j!(["y", 5])), of("e", j!(null))];
    client.upsert(upsert("c", items)).await.unwrap();
    for (tenant, expected) in [(text("x"), 2), (number(5.0), 2), (text("y"), 1), (text("z"), 0)] {
        let filter = Some(equals("of", tenant));
        let request = pb::CountRequest { collection: "c".into(), filter, ..Default::default() };
        assert_eq!(client.count(request).await.unwrap().count, expected);
    }
    let listed = client.list_collections(pb::ListCollectionsRequest::default()).await.unwrap().collections;
    assert_eq!(listed[0].tenant, "of");
}
