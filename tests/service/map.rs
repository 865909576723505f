//! Maps: streamed layouts, located queries, the change feed.

use crate::harness::*;
use nearness::collection::OnConflict;
use nearness::engine::{Admin, Database, Layouts, Node, Writes};
use nearness::grpc::{Client, ResponseStream, pb};
use pb::compute_layout_response::Part;
use std::sync::Arc;
use std::time::Duration;

/// The contents of a layout stream.
#[derive(Default)]
struct ReceivedLayout {
    start: pb::MapStart,
    ids: Vec<String>,
    fields: Vec<Vec<prost_types::Value>>,
    /// Coordinates of the last frame.
    coordinates: Vec<f32>,
    rounds: Vec<u32>,
    phases: Vec<i32>,
    end: Option<pb::MapEnd>,
}

impl ReceivedLayout {
    fn position(&self, id: &str) -> &[f32] {
        let at = self.ids.iter().position(|other| other == id).unwrap_or_else(|| panic!("no {id}"));
        let width = self.start.dimensions as usize;
        &self.coordinates[at * width..][..width]
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

fn request(method: pb::MapMethod) -> pb::ComputeLayoutRequest {
    pb::ComputeLayoutRequest { collection: "c".into(), method: method.into(), ..Default::default() }
}

async fn compute_layout(client: &Client, request: pb::ComputeLayoutRequest) -> ReceivedLayout {
    let mut stream = client.compute_layout(request).await.expect("a stream");
    let mut layout = ReceivedLayout::default();
    while let Some(reply) = stream.next().await.expect("a part") {
        assert!(layout.end.is_none(), "the end is the last part");
        match reply.part.expect("a part") {
            Part::Start(start) => layout.start = start,
            Part::Points(points) => {
                assert_eq!(points.offset as usize, layout.ids.len());
                layout.ids.extend(points.ids);
                layout.fields.resize(points.fields.len(), Vec::new());
                layout.fields.iter_mut().zip(points.fields).for_each(|(all, field)| all.extend(field.values));
            }
            Part::Frame(frame) => {
                if frame.offset == 0 {
                    assert!(layout.rounds.last().is_none_or(|last| *last < frame.round), "{:?}", layout.rounds);
                    layout.rounds.push(frame.round);
                    layout.coordinates.clear();
                }
                assert_eq!(layout.rounds.last(), Some(&frame.round));
                assert_eq!((frame.offset * layout.start.dimensions) as usize, layout.coordinates.len());
                layout.coordinates.extend(floats(&frame.coordinates));
            }
            Part::Progress(progress) => {
                assert!((0.0..=1.0).contains(&progress.done), "{progress:?}");
                layout.phases.push(progress.phase);
            }
            Part::End(end) => layout.end = Some(end),
        }
    }
    assert!(layout.end.is_some());
    assert_eq!(
        (layout.start.points as usize, layout.ids.len()),
        (
            layout.coordinates.len() / layout.start.dimensions as usize,
            layout.coordinates.len() / layout.start.dimensions as usize
        )
    );
    layout
}

/// Six groups of points in eight dimensions, the group in the payload.
fn grouped(n: usize) -> Vec<pb::Item> {
    let item = |at: usize| {
        let group = at % 6;
        let vector: Vec<f32> =
            (0..8).map(|i| if i == group { 10.0 } else { 0.0 } + ((at * 31 + i * 17) % 101) as f32 / 101.0).collect();
        let json = serde_json::json!({"group": group, "deep": {"name": "é".repeat(200)}, "list": [], "at": at});
        pb::Item { payload: payload(json), ..vector_item(&format!("p{at}"), &vector) }
    };
    (0..n).map(item).collect()
}

async fn with_groups(engine: Arc<dyn Node>, n: usize) -> Running {
    let server = start(engine).await;
    server.client.create_collection(plain("c", 8, pb::Metric::L2)).await.unwrap();
    server.client.upsert(upsert("c", grouped(n))).await.unwrap();
    server
}

pub(crate) async fn the_first_layout_shows_principal_components(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 600).await;
    let fields = ["group", "deep.name", "list", "nothing"].map(str::to_owned).to_vec();
    let with_fields =
        pb::ComputeLayoutRequest { dimensions: 3, payload_fields: fields.clone(), ..request(pb::MapMethod::Pca) };
    let layout = compute_layout(&server.client, with_fields).await;
    assert_eq!((layout.start.total, layout.start.points, layout.start.dimensions), (600, 600, 3));
    assert_eq!((layout.start.sequence, &layout.start.payload_fields), (1, &fields));
    assert_eq!(layout.rounds, [0]);
    let end = layout.end.as_ref().unwrap();
    assert_eq!((end.method(), end.from_cache), (pb::MapMethod::Pca, false));
    // Groups are separated: a point is nearer to another of its group than to the centre.
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
    for at in 0..50 {
        let (here, same) = (layout.position(&format!("p{at}")), layout.position(&format!("p{}", at + 6)));
        assert!(distance(here, same) < 0.5 * distance(here, &[0.0; 3]), "{at}");
    }
    for (index, id) in layout.ids.iter().enumerate() {
        let at: usize = id[1..].parse().unwrap();
        let value = |field: usize| layout.fields[field][index].kind.clone().unwrap();
        use prost_types::value::Kind;
        assert_eq!(value(0), Kind::NumberValue((at % 6) as f64));
        assert_eq!(value(1), Kind::StringValue("é".repeat(128)), "truncated to 256 bytes");
        assert_eq!((value(2), value(3)), (Kind::NullValue(0), Kind::NullValue(0)));
    }
    let sample =
        compute_layout(&server.client, pb::ComputeLayoutRequest { limit: 60, ..request(pb::MapMethod::Pca) }).await;
    assert_eq!((sample.start.total, sample.start.points), (600, 60));
    assert_eq!(sample.ids, layout.ids[..60], "the first points are a sample");
}

pub(crate) async fn invalid_layout_requests_are_refused(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 20).await;
    let refuse = async |request: pb::ComputeLayoutRequest| {
        let mut map = pb::map_client::MapClient::new(server.channel().await);
        match map.compute_layout(request).await {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.expect_err("refused"),
        }
    };
    let valid = || request(pb::MapMethod::Unspecified);
    assert_violation(&refuse(pb::ComputeLayoutRequest { dimensions: 4, ..valid() }).await, "dimensions", "2 or 3");
    assert_violation(&refuse(pb::ComputeLayoutRequest { limit: 200_001, ..valid() }).await, "limit", "1 to 200000");
    assert_violation(&refuse(pb::ComputeLayoutRequest { method: 9, ..valid() }).await, "method", "not a MapMethod");
    let nine = vec!["a".to_owned(); 9];
    assert_violation(
        &refuse(pb::ComputeLayoutRequest { payload_fields: nine, ..valid() }).await,
        "payload_fields",
        "at most 8",
    );
    let empty = vec!["a".to_owned(), String::new()];
    assert_violation(
        &refuse(pb::ComputeLayoutRequest { payload_fields: empty, ..valid() }).await,
        "payload_fields[1]",
        "1 to 512",
    );
    let elsewhere = pb::ComputeLayoutRequest { collection: "nowhere".into(), ..valid() };
    assert_eq!(refuse(elsewhere).await.code(), tonic::Code::NotFound);
    let locate =
        pb::LocateQueriesRequest { collection: "c".into(), queries: vec![pb::Query::default()], ..Default::default() };
    assert_eq!(refused(server.client.locate_queries(locate.clone()).await).0, "INVALID_ARGUMENT");
    let form = Some(pb::query::Form::Id("p1".into()));
    let locate = pb::LocateQueriesRequest { queries: vec![pb::Query { form }], ..locate };
    let (code, message) = refused(server.client.locate_queries(locate).await);
    assert_eq!(code, "FAILED_PRECONDITION");
    assert!(message.contains("Map.ComputeLayout"), "{message}");
}

pub(crate) async fn queries_are_located_in_the_layout(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 300).await;
    let layout = compute_layout(&server.client, request(pb::MapMethod::Pca)).await;
    let forms = [
        pb::query::Form::Id("p7".into()),
        pb::query::Form::Vector(values(&[10.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])),
        pb::query::Form::Arithmetic(pb::Arithmetic { plus: vec!["p8".into()], minus: vec![] }),
    ];
    let queries = forms.into_iter().map(|form| pb::Query { form: Some(form) }).collect();
    let locate = pb::LocateQueriesRequest { collection: "c".into(), queries, ..Default::default() };
    let coordinates = floats(&server.client.locate_queries(locate).await.unwrap().coordinates);
    assert_eq!(coordinates[..2], *layout.position("p7"));
    let near = |a: &[f32], b: &[f32], within: f32| a.iter().zip(b).all(|(a, b)| (a - b).abs() < within);
    assert!(near(&coordinates[2..4], layout.position("p0"), 0.2), "{coordinates:?}");
    assert!(near(&coordinates[4..], layout.position("p8"), 1e-4), "{coordinates:?}");
}

pub(crate) async fn layouts_improve_are_cached_and_follow_writes(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 600).await;
    let default = || request(pb::MapMethod::Unspecified);
    let first = compute_layout(&server.client, default()).await;
    let end = first.end.unwrap();
    assert_eq!((end.method(), end.from_cache), (pb::MapMethod::Tsne, false));
    assert_eq!(first.rounds[0], 0);
    assert!(first.rounds.len() >= 2 && first.phases.contains(&pb::map_progress::Phase::Neighbors.into()));
    let components = compute_layout(&server.client, request(pb::MapMethod::Pca)).await.end.unwrap();
    assert!(components.from_cache);
    assert!(end.neighbors_kept.unwrap() > 0.3, "{end:?}");

    let again = compute_layout(&server.client, default()).await;
    assert!(again.end.unwrap().from_cache);
    assert_eq!((&again.coordinates, &again.ids), (&first.coordinates, &first.ids));
    let recomputed = compute_layout(&server.client, pb::ComputeLayoutRequest { fresh: true, ..default() }).await;
    assert!(!recomputed.end.unwrap().from_cache);
    assert_eq!(recomputed.coordinates, first.coordinates, "the same points, the same seed");
    let other = compute_layout(&server.client, pb::ComputeLayoutRequest { seed: 7, ..default() }).await;
    assert!(!other.end.unwrap().from_cache);

    // Three points are inserted, one changed, one deleted: the other points keep their positions.
    let mut items = grouped(603)[600..].to_vec();
    items.push(pb::Item { id: "p1".into(), ..grouped(1).remove(0) });
    server.client.upsert(upsert("c", items)).await.unwrap();
    let ids = vec!["p599".to_owned()];
    let delete = pb::DeletePointsRequest { collection: "c".into(), ids, ..Default::default() };
    server.client.delete_points(delete).await.unwrap();
    let default = || pb::ComputeLayoutRequest { seed: 7, ..default() };
    let moved = compute_layout(&server.client, default()).await;
    assert!(moved.end.unwrap().from_cache);
    assert_eq!((moved.ids.len(), moved.start.sequence), (602, 3));
    let distance = |a: &[f32], b: &[f32]| (a[0] - b[0]).hypot(a[1] - b[1]);
    for at in 2..500 {
        let id = format!("p{at}");
        assert!(distance(moved.position(&id), other.position(&id)) < 1e-6, "{id}");
    }
    let from = |at: &usize| distance(moved.position("p600"), moved.position(&format!("p{at}")));
    let nearest = (2..500).min_by(|a, b| from(a).total_cmp(&from(b))).unwrap();
    assert_eq!(nearest % 6, 0, "a new point is in its group");
    assert!(distance(moved.position("p1"), other.position("p0")) < 0.05, "a changed point is at its new position");
    assert!(!moved.ids.contains(&"p599".to_owned()));
    // Many inserts.
    server.client.upsert(upsert("c", grouped(800)[603..].to_vec())).await.unwrap();
    assert!(!compute_layout(&server.client, default()).await.end.unwrap().from_cache);
}

pub(crate) async fn three_dimensions_are_laid_out_by_umap(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 300).await;
    let three = pb::ComputeLayoutRequest { dimensions: 3, ..request(pb::MapMethod::Unspecified) };
    let layout = compute_layout(&server.client, three).await;
    let end = layout.end.as_ref().unwrap();
    assert_eq!(end.method(), pb::MapMethod::Umap);
    assert!(end.neighbors_kept.unwrap() > 0.3, "{end:?}");
    let refused = pb::ComputeLayoutRequest { dimensions: 3, ..request(pb::MapMethod::Tsne) };
    let mut stream = server.client.compute_layout(refused).await.unwrap();
    assert_eq!(stream.next().await.unwrap_err().code(), "INVALID_ARGUMENT");
}

pub(crate) async fn a_few_points_have_a_layout(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    server.client.create_collection(plain("c", 8, pb::Metric::Cosine)).await.unwrap();
    for n in [0, 1, 2, 5] {
        if n > 0 {
            server.client.upsert(upsert("c", grouped(n))).await.unwrap();
        }
        let layout = compute_layout(&server.client, request(pb::MapMethod::Unspecified)).await;
        assert_eq!((layout.ids.len(), layout.rounds.as_slice()), (n, if n > 0 { &[0][..] } else { &[] }));
        assert!(layout.coordinates.iter().all(|x| x.is_finite()));
        let end = layout.end.unwrap();
        assert_eq!((end.method(), end.neighbors_kept), (pb::MapMethod::Pca, None));
    }
}

#[test]
fn an_abandoned_layout_is_cancelled() {
    use nearness::collection::layout::{LayoutKey, LayoutParams, LayoutPart, LayoutPhase};
    let folder = tempfile::tempdir().unwrap();
    let engine = Database::options().embedders(crate::registry()).open(folder.path()).unwrap();
    let spec = nearness::api::CollectionSpec::vectors(nearness::types::CollectionName::new("c").unwrap(), 3)
        .metric(nearness::types::Metric::Dot)
        .index(Default::default());
    engine.create_collection(&spec).unwrap();
    let item = |at: usize| nearness::api::Item {
        id: nearness::types::PointId::new(format!("p{at}")).unwrap(),
        source: nearness::api::PointInput::Vector(vec![at as f32, (at * at % 17) as f32, 1.0]),
        payload: Default::default(),
        vectors: Default::default(),
    };
    engine.upsert(&spec.name, (0..3_000).map(item).collect()).unwrap();
    let choice = LayoutKey { dimensions: 2, method: None };
    let params = LayoutParams::default().choice(choice).limit(100_000);
    for phase in [LayoutPhase::Neighbors, LayoutPhase::Layout, LayoutPhase::Measuring] {
        let observe = |part: LayoutPart| !matches!(part, LayoutPart::Progress(at) if at.phase == phase);
        let error = engine.compute_layout(&spec.name, &params, &observe).unwrap_err();
        assert_eq!(error.kind(), nearness::api::ErrorKind::Abandoned, "{phase:?}");
    }
    let ends = std::sync::Mutex::new(Vec::new());
    let observe = |part: LayoutPart| {
        if let LayoutPart::End(end) = part {
            ends.lock().unwrap().push(end);
        }
        true
    };
    engine.compute_layout(&spec.name, &params, &observe).unwrap();
    assert_eq!(ends.lock().unwrap().len(), 1);
}

/// Returns the next message.
async fn next_change(stream: &mut ResponseStream<pb::WatchResponse>) -> pb::WatchResponse {
    tokio::time::timeout(Duration::from_secs(20), stream.next())
        .await
        .expect("a message")
        .unwrap()
        .expect("an open stream")
}

pub(crate) async fn watchers_receive_writes(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 300).await;
    let watch_request =
        pb::WatchRequest { collection: "c".into(), payload_fields: vec!["group".into()], ..Default::default() };
    let mut watch = server.client.watch(watch_request).await.unwrap();
    let first = next_change(&mut watch).await;
    assert_eq!((first.sequence, first.points.as_ref(), first.missed), (1, None, false));
    // Without a layout, the point is sent without coordinates.
    server.client.upsert(upsert("c", grouped(301)[300..].to_vec())).await.unwrap();
    let bare = next_change(&mut watch).await;
    assert_eq!(bare.points.as_ref().unwrap().ids, ["p300"]);
    assert!(bare.coordinates.is_empty() && bare.sequence == 2);
    let layout = compute_layout(&server.client, request(pb::MapMethod::Pca)).await;
    assert_eq!(layout.start.sequence, 2);
    server.client.upsert(upsert("c", grouped(302)[301..].to_vec())).await.unwrap();
    let point = next_change(&mut watch).await;
    let points = point.points.unwrap();
    assert_eq!((points.ids, point.sequence), (vec!["p301".to_owned()], 3));
    assert_eq!(points.fields[0].values[0].kind, Some(prost_types::value::Kind::NumberValue(1.0)));
    let coordinates = floats(&point.coordinates);
    assert!(coordinates.iter().zip(layout.position("p1")).all(|(a, b)| (a - b).abs() < 0.2), "{coordinates:?}");
    let ids = vec!["p301".to_owned(), "missing".to_owned()];
    let delete = pb::DeletePointsRequest { collection: "c".into(), ids, ..Default::default() };
    server.client.delete_points(delete).await.unwrap();
    let deleted = next_change(&mut watch).await;
    assert_eq!((deleted.gone, deleted.points, deleted.sequence), (vec!["p301".to_owned()], None, 4));
    server.client.delete_collection(pb::DeleteCollectionRequest { name: "c".into() }).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("an end");
    assert_eq!(end.unwrap_err().code(), "NOT_FOUND");
}

pub(crate) async fn a_slow_watcher_misses_changes_and_continues(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 20).await;
    let watch_request = pb::WatchRequest { collection: "c".into(), ..Default::default() };
    let mut watch = server.client.watch(watch_request).await.unwrap();
    assert_eq!(next_change(&mut watch).await.sequence, 1);
    // More changes than the log keeps, faster than this client reads.
    let items: Vec<pb::Item> = (0..10_000).map(|at| vector_item(&format!("w{at:0120}"), &[1.0; 8])).collect();
    for _ in 0..12 {
        server.client.upsert(upsert("c", items.clone())).await.unwrap();
    }
    let (mut missed, mut ids) = (false, 0);
    loop {
        let change = next_change(&mut watch).await;
        missed |= change.missed;
        ids += change.points.map_or(0, |points| points.ids.len());
        if change.sequence == 13 {
            break;
        }
    }
    assert!(missed && ids < 120_000, "{missed} {ids}");
    server.client.upsert(upsert("c", grouped(1))).await.unwrap();
    let next = next_change(&mut watch).await;
    assert_eq!((next.points.unwrap().ids, next.missed), (vec!["p0".to_owned()], false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_miss_a_bulk_load() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Arc::new(Database::options().embedders(crate::registry()).open(folder.path()).unwrap());
    let server = with_groups(engine.clone(), 20).await;
    let watch_request = pb::WatchRequest { collection: "c".into(), ..Default::default() };
    let mut watch = server.client.watch(watch_request).await.unwrap();
    assert!(!next_change(&mut watch).await.missed);
    let name = nearness::types::CollectionName::new("c").unwrap();
    let mut items = (0..10).map(|at| nearness::api::Item {
        id: nearness::types::PointId::new(format!("bulk{at}")).unwrap(),
        source: nearness::api::PointInput::Vector(vec![at as f32; 8]),
        payload: Default::default(),
        vectors: Default::default(),
    });
    engine.bulk_load(&name, &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true).unwrap();
    let change = next_change(&mut watch).await;
    assert!(change.missed && change.points.is_none() && change.sequence == 2, "{change:?}");
}
