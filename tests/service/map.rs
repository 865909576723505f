//! Maps: layouts streamed, queries placed, writes told as they happen.

use crate::harness::*;
use nearness::collection::OnConflict;
use nearness::engine::{Admin, Database, Layouts, Node, Writes};
use nearness::grpc::{Client, ResponseStream, pb};
use pb::compute_layout_response::Part;
use std::sync::Arc;
use std::time::Duration;

/// What a stream of a layout told.
#[derive(Default)]
struct ReceivedLayout {
    start: pb::MapStart,
    ids: Vec<String>,
    fields: Vec<Vec<prost_types::Value>>,
    /// Of the last frame.
    places: Vec<f32>,
    rounds: Vec<u32>,
    phases: Vec<i32>,
    end: Option<pb::MapEnd>,
}

impl ReceivedLayout {
    fn position(&self, id: &str) -> &[f32] {
        let at = self.ids.iter().position(|other| other == id).unwrap_or_else(|| panic!("no {id}"));
        let width = self.start.dimensions as usize;
        &self.places[at * width..][..width]
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

fn request(method: pb::MapMethod) -> pb::ComputeLayoutRequest {
    pb::ComputeLayoutRequest { collection: "c".into(), method: method.into(), ..Default::default() }
}

async fn project(client: &Client, request: pb::ComputeLayoutRequest) -> ReceivedLayout {
    let mut stream = client.compute_layout(request).await.expect("a stream");
    let mut told = ReceivedLayout::default();
    while let Some(reply) = stream.next().await.expect("a part") {
        assert!(told.end.is_none(), "the end is the last part");
        match reply.part.expect("a part") {
            Part::Start(start) => told.start = start,
            Part::Points(points) => {
                assert_eq!(points.offset as usize, told.ids.len());
                told.ids.extend(points.ids);
                told.fields.resize(points.fields.len(), Vec::new());
                told.fields.iter_mut().zip(points.fields).for_each(|(all, field)| all.extend(field.values));
            }
            Part::Frame(frame) => {
                if frame.offset == 0 {
                    assert!(told.rounds.last().is_none_or(|last| *last < frame.round), "{:?}", told.rounds);
                    told.rounds.push(frame.round);
                    told.places.clear();
                }
                assert_eq!(told.rounds.last(), Some(&frame.round));
                assert_eq!((frame.offset * told.start.dimensions) as usize, told.places.len());
                told.places.extend(floats(&frame.coordinates));
            }
            Part::Progress(progress) => {
                assert!((0.0..=1.0).contains(&progress.done), "{progress:?}");
                told.phases.push(progress.phase);
            }
            Part::End(end) => told.end = Some(end),
        }
    }
    assert!(told.end.is_some());
    assert_eq!(
        (told.start.points as usize, told.ids.len()),
        (told.places.len() / told.start.dimensions as usize, told.places.len() / told.start.dimensions as usize)
    );
    told
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

pub(crate) async fn the_first_layout_is_that_of_the_components(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 600).await;
    let fields = ["group", "deep.name", "list", "nothing"].map(str::to_owned).to_vec();
    let asked =
        pb::ComputeLayoutRequest { dimensions: 3, payload_fields: fields.clone(), ..request(pb::MapMethod::Pca) };
    let told = project(&server.client, asked).await;
    assert_eq!((told.start.total, told.start.points, told.start.dimensions), (600, 600, 3));
    assert_eq!((told.start.sequence, &told.start.payload_fields), (1, &fields));
    assert_eq!(told.rounds, [0]);
    let end = told.end.as_ref().unwrap();
    assert_eq!((end.method(), end.from_cache), (pb::MapMethod::Pca, false));
    // Groups lie apart: a point is nearer to the next of its group than to the centre of all.
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
    for at in 0..50 {
        let (here, same) = (told.position(&format!("p{at}")), told.position(&format!("p{}", at + 6)));
        assert!(apart(here, same) < 0.5 * apart(here, &[0.0; 3]), "{at}");
    }
    for (place, id) in told.ids.iter().enumerate() {
        let at: usize = id[1..].parse().unwrap();
        let value = |field: usize| told.fields[field][place].kind.clone().unwrap();
        use prost_types::value::Kind;
        assert_eq!(value(0), Kind::NumberValue((at % 6) as f64));
        assert_eq!(value(1), Kind::StringValue("é".repeat(128)), "cut at 256 bytes");
        assert_eq!((value(2), value(3)), (Kind::NullValue(0), Kind::NullValue(0)));
    }
    let sample = project(&server.client, pb::ComputeLayoutRequest { limit: 60, ..request(pb::MapMethod::Pca) }).await;
    assert_eq!((sample.start.total, sample.start.points), (600, 60));
    assert_eq!(sample.ids, told.ids[..60], "the first points are a sample");
}

pub(crate) async fn wrong_maps_are_refused(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 20).await;
    let refuse = async |request: pb::ComputeLayoutRequest| {
        let mut map = pb::map_client::MapClient::new(server.channel().await);
        match map.compute_layout(request).await {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.expect_err("refused"),
        }
    };
    let asked = || request(pb::MapMethod::Unspecified);
    assert_violation(&refuse(pb::ComputeLayoutRequest { dimensions: 4, ..asked() }).await, "dimensions", "2 or 3");
    assert_violation(&refuse(pb::ComputeLayoutRequest { limit: 200_001, ..asked() }).await, "limit", "1 to 200000");
    assert_violation(&refuse(pb::ComputeLayoutRequest { method: 9, ..asked() }).await, "method", "not a MapMethod");
    let many = vec!["a".to_owned(); 9];
    assert_violation(
        &refuse(pb::ComputeLayoutRequest { payload_fields: many, ..asked() }).await,
        "payload_fields",
        "at most 8",
    );
    let empty = vec!["a".to_owned(), String::new()];
    assert_violation(
        &refuse(pb::ComputeLayoutRequest { payload_fields: empty, ..asked() }).await,
        "payload_fields[1]",
        "1 to 512",
    );
    let elsewhere = pb::ComputeLayoutRequest { collection: "nowhere".into(), ..asked() };
    assert_eq!(refuse(elsewhere).await.code(), tonic::Code::NotFound);
    let place =
        pb::LocateQueriesRequest { collection: "c".into(), queries: vec![pb::Query::default()], ..Default::default() };
    assert_eq!(refused(server.client.locate_queries(place.clone()).await).0, "INVALID_ARGUMENT");
    let form = Some(pb::query::Form::Id("p1".into()));
    let place = pb::LocateQueriesRequest { queries: vec![pb::Query { form }], ..place };
    let (code, message) = refused(server.client.locate_queries(place).await);
    assert_eq!(code, "FAILED_PRECONDITION");
    assert!(message.contains("Map.ComputeLayout"), "{message}");
}

pub(crate) async fn queries_have_places(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 300).await;
    let told = project(&server.client, request(pb::MapMethod::Pca)).await;
    let forms = [
        pb::query::Form::Id("p7".into()),
        pb::query::Form::Vector(values(&[10.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])),
        pb::query::Form::Arithmetic(pb::Arithmetic { plus: vec!["p8".into()], minus: vec![] }),
    ];
    let queries = forms.into_iter().map(|form| pb::Query { form: Some(form) }).collect();
    let asked = pb::LocateQueriesRequest { collection: "c".into(), queries, ..Default::default() };
    let places = floats(&server.client.locate_queries(asked).await.unwrap().coordinates);
    assert_eq!(places[..2], *told.position("p7"));
    let near = |a: &[f32], b: &[f32], within: f32| a.iter().zip(b).all(|(a, b)| (a - b).abs() < within);
    assert!(near(&places[2..4], told.position("p0"), 0.2), "{places:?}");
    assert!(near(&places[4..], told.position("p8"), 1e-4), "{places:?}");
}

pub(crate) async fn layouts_improve_are_kept_and_follow_what_is_written(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 600).await;
    let asked = || request(pb::MapMethod::Unspecified);
    let first = project(&server.client, asked()).await;
    let end = first.end.unwrap();
    assert_eq!((end.method(), end.from_cache), (pb::MapMethod::Tsne, false));
    assert_eq!(first.rounds[0], 0);
    assert!(first.rounds.len() >= 2 && first.phases.contains(&pb::map_progress::Phase::Neighbors.into()));
    let components = project(&server.client, request(pb::MapMethod::Pca)).await.end.unwrap();
    assert!(components.from_cache);
    assert!(end.neighbors_kept.unwrap() > 0.3, "{end:?}");

    let again = project(&server.client, asked()).await;
    assert!(again.end.unwrap().from_cache);
    assert_eq!((&again.places, &again.ids), (&first.places, &first.ids));
    let anew = project(&server.client, pb::ComputeLayoutRequest { fresh: true, ..asked() }).await;
    assert!(!anew.end.unwrap().from_cache);
    assert_eq!(anew.places, first.places, "the same points, the same seed");
    let other = project(&server.client, pb::ComputeLayoutRequest { seed: 7, ..asked() }).await;
    assert!(!other.end.unwrap().from_cache);

    // A few come, one changes, one goes: the others stay where they are.
    let mut items = grouped(603)[600..].to_vec();
    items.push(pb::Item { id: "p1".into(), ..grouped(1).remove(0) });
    server.client.upsert(upsert("c", items)).await.unwrap();
    let ids = vec!["p599".to_owned()];
    let delete = pb::DeletePointsRequest { collection: "c".into(), ids, ..Default::default() };
    server.client.delete_points(delete).await.unwrap();
    let asked = || pb::ComputeLayoutRequest { seed: 7, ..asked() };
    let moved = project(&server.client, asked()).await;
    assert!(moved.end.unwrap().from_cache);
    assert_eq!((moved.ids.len(), moved.start.sequence), (602, 3));
    let apart = |a: &[f32], b: &[f32]| (a[0] - b[0]).hypot(a[1] - b[1]);
    for at in 2..500 {
        let id = format!("p{at}");
        assert!(apart(moved.position(&id), other.position(&id)) < 1e-6, "{id}");
    }
    let from = |at: &usize| apart(moved.position("p600"), moved.position(&format!("p{at}")));
    let nearest = (2..500).min_by(|a, b| from(a).total_cmp(&from(b))).unwrap();
    assert_eq!(nearest % 6, 0, "a new point is in its group");
    assert!(apart(moved.position("p1"), other.position("p0")) < 0.05, "one that changed is where it belongs now");
    assert!(!moved.ids.contains(&"p599".to_owned()));
    // Many do.
    server.client.upsert(upsert("c", grouped(800)[603..].to_vec())).await.unwrap();
    assert!(!project(&server.client, asked()).await.end.unwrap().from_cache);
}

pub(crate) async fn three_dimensions_are_laid_out_by_umap(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 300).await;
    let asked = pb::ComputeLayoutRequest { dimensions: 3, ..request(pb::MapMethod::Unspecified) };
    let told = project(&server.client, asked).await;
    let end = told.end.as_ref().unwrap();
    assert_eq!(end.method(), pb::MapMethod::Umap);
    assert!(end.neighbors_kept.unwrap() > 0.3, "{end:?}");
    let refused = pb::ComputeLayoutRequest { dimensions: 3, ..request(pb::MapMethod::Tsne) };
    let mut stream = server.client.compute_layout(refused).await.unwrap();
    assert_eq!(stream.next().await.unwrap_err().code(), "INVALID_ARGUMENT");
}

pub(crate) async fn few_points_have_a_layout_too(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    server.client.create_collection(plain("c", 8, pb::Metric::Cosine)).await.unwrap();
    for n in [0, 1, 2, 5] {
        if n > 0 {
            server.client.upsert(upsert("c", grouped(n))).await.unwrap();
        }
        let told = project(&server.client, request(pb::MapMethod::Unspecified)).await;
        assert_eq!((told.ids.len(), told.rounds.as_slice()), (n, if n > 0 { &[0][..] } else { &[] }));
        assert!(told.places.iter().all(|x| x.is_finite()));
        let end = told.end.unwrap();
        assert_eq!((end.method(), end.neighbors_kept), (pb::MapMethod::Pca, None));
    }
}

#[test]
fn a_layout_that_nobody_waits_for_is_given_up() {
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
    };
    engine.upsert(&spec.name, (0..3_000).map(item).collect()).unwrap();
    let choice = LayoutKey { dimensions: 2, method: None };
    let params = LayoutParams::default().choice(choice).limit(100_000);
    for phase in [LayoutPhase::Neighbors, LayoutPhase::Layout, LayoutPhase::Measuring] {
        let tell = |part: LayoutPart| !matches!(part, LayoutPart::Progress(at) if at.phase == phase);
        let error = engine.compute_layout(&spec.name, &params, &tell).unwrap_err();
        assert_eq!(error.kind(), nearness::api::ErrorKind::Abandoned, "{phase:?}");
    }
    let ends = std::sync::Mutex::new(Vec::new());
    let tell = |part: LayoutPart| {
        if let LayoutPart::End(end) = part {
            ends.lock().unwrap().push(end);
        }
        true
    };
    engine.compute_layout(&spec.name, &params, &tell).unwrap();
    assert_eq!(ends.lock().unwrap().len(), 1);
}

/// The next message that says anything.
async fn news(stream: &mut ResponseStream<pb::WatchResponse>) -> pb::WatchResponse {
    tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("news").unwrap().expect("no end")
}

pub(crate) async fn what_is_written_is_told(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 300).await;
    let asked = pb::WatchRequest { collection: "c".into(), payload_fields: vec!["group".into()], ..Default::default() };
    let mut watch = server.client.watch(asked).await.unwrap();
    let first = news(&mut watch).await;
    assert_eq!((first.sequence, first.points.as_ref(), first.missed), (1, None, false));
    // No layout yet: the point is told without a place.
    server.client.upsert(upsert("c", grouped(301)[300..].to_vec())).await.unwrap();
    let bare = news(&mut watch).await;
    assert_eq!(bare.points.as_ref().unwrap().ids, ["p300"]);
    assert!(bare.coordinates.is_empty() && bare.sequence == 2);
    let told = project(&server.client, request(pb::MapMethod::Pca)).await;
    assert_eq!(told.start.sequence, 2);
    server.client.upsert(upsert("c", grouped(302)[301..].to_vec())).await.unwrap();
    let point = news(&mut watch).await;
    let points = point.points.unwrap();
    assert_eq!((points.ids, point.sequence), (vec!["p301".to_owned()], 3));
    assert_eq!(points.fields[0].values[0].kind, Some(prost_types::value::Kind::NumberValue(1.0)));
    let there = floats(&point.coordinates);
    assert!(there.iter().zip(told.position("p1")).all(|(a, b)| (a - b).abs() < 0.2), "{there:?}");
    let ids = vec!["p301".to_owned(), "nobody".to_owned()];
    let delete = pb::DeletePointsRequest { collection: "c".into(), ids, ..Default::default() };
    server.client.delete_points(delete).await.unwrap();
    let gone = news(&mut watch).await;
    assert_eq!((gone.gone, gone.points, gone.sequence), (vec!["p301".to_owned()], None, 4));
    server.client.delete_collection(pb::DeleteCollectionRequest { name: "c".into() }).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("an end");
    assert_eq!(end.unwrap_err().code(), "NOT_FOUND");
}

pub(crate) async fn a_slow_watcher_misses_and_goes_on(engine: Arc<dyn Node>) {
    let server = with_groups(engine, 20).await;
    let asked = pb::WatchRequest { collection: "c".into(), ..Default::default() };
    let mut watch = server.client.watch(asked).await.unwrap();
    assert_eq!(news(&mut watch).await.sequence, 1);
    // More than is remembered, faster than this client reads.
    let items: Vec<pb::Item> = (0..10_000).map(|at| vector_item(&format!("w{at:0120}"), &[1.0; 8])).collect();
    for _ in 0..12 {
        server.client.upsert(upsert("c", items.clone())).await.unwrap();
    }
    let (mut missed, mut ids) = (false, 0);
    loop {
        let told = news(&mut watch).await;
        missed |= told.missed;
        ids += told.points.map_or(0, |points| points.ids.len());
        if told.sequence == 13 {
            break;
        }
    }
    assert!(missed && ids < 120_000, "{missed} {ids}");
    server.client.upsert(upsert("c", grouped(1))).await.unwrap();
    let after = news(&mut watch).await;
    assert_eq!((after.points.unwrap().ids, after.missed), (vec!["p0".to_owned()], false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_load_is_missed_by_watchers() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Arc::new(Database::options().embedders(crate::registry()).open(folder.path()).unwrap());
    let server = with_groups(engine.clone(), 20).await;
    let asked = pb::WatchRequest { collection: "c".into(), ..Default::default() };
    let mut watch = server.client.watch(asked).await.unwrap();
    assert!(!news(&mut watch).await.missed);
    let name = nearness::types::CollectionName::new("c").unwrap();
    let mut items = (0..10).map(|at| nearness::api::Item {
        id: nearness::types::PointId::new(format!("bulk{at}")).unwrap(),
        source: nearness::api::PointInput::Vector(vec![at as f32; 8]),
        payload: Default::default(),
    });
    engine.bulk_load(&name, &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true).unwrap();
    let told = news(&mut watch).await;
    assert!(told.missed && told.points.is_none() && told.sequence == 2, "{told:?}");
}
