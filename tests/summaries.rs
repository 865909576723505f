//! Facets, statistics of fields, ordered scrolls and samples: large growing segments, concurrent writes, limits,
//! uniformity.

use nearness::api::{
    CancellationToken, CollectionSpec, Error, Fields, Filter, IndexSettings, Item, OrderBy, Payload, PayloadAction,
    PayloadUpdate, PointSelection,
};
use nearness::engine::{Admin, Database, Reads, Writes};
use nearness::types::{CollectionName, PointId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod support;
use support::naive;

fn name() -> CollectionName {
    CollectionName::new("c").expect("a name")
}

fn id(number: usize) -> PointId {
    PointId::new(format!("p{number:05}")).expect("an id")
}

fn payload(number: usize) -> Payload {
    let kind = ["a", "b", "c"][number % 3];
    let value = serde_json::json!({
        "kind": kind,
        "number": number,
        "group": number % 100,
        "long": format!("{}{}", "l".repeat(300), number % 4),
    });
    value.as_object().expect("an object").clone()
}

fn open(seal_rows: u32) -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().expect("a folder");
    let database = Database::open(dir.path()).expect("a database");
    let spec = CollectionSpec::vectors(name(), 1).index(IndexSettings::default().seal_rows(seal_rows));
    database.create_collection(&spec).expect("a collection");
    (dir, database)
}

fn fill(database: &Database, points: usize) {
    for from in (0..points).step_by(5_000) {
        let item = |number| Item::vector(id(number), [1.0 + number as f32]).payload(payload(number));
        database.upsert(&name(), (from..points.min(from + 5_000)).map(item).collect()).expect("an upsert");
    }
}

/// Compares all summaries with those of the payloads.
fn compare(database: &Database, points: &BTreeMap<PointId, Payload>) {
    for filter in [None, Some(Filter::equals("kind", "b")), Some(Filter::equals("number", 4_097))] {
        let filter = filter.as_ref();
        let all: Vec<(&PointId, &Payload)> =
            points.iter().filter(|(id, payload)| filter.is_none_or(|filter| filter.matches(id, payload))).collect();
        for field in ["kind", "number", "group", "long"] {
            let facet = database.facet(&name(), field, 7, filter).expect("a facet");
            assert_eq!(facet, naive::facet(&all, field, 7), "{field} under {filter:?}");
            if field == "long" {
                continue; // its own test
            }
            for order in [OrderBy::ascending(field), OrderBy::descending(field)] {
                let expected = naive::ordered(&all, &order, None);
                let page = database.scroll_ordered(&name(), &order, None, 10, Fields::NONE, filter).expect("a page");
                let ids = |page: nearness::api::OrderedPage| page.points.into_iter().map(|point| point.id);
                assert!(ids(page).eq(expected.iter().take(10).map(|(_, id)| id.clone())), "{order:?}");
                if let Some(middle) = expected.get(expected.len() / 2) {
                    let page = database.scroll_ordered(&name(), &order, Some(middle), 10, Fields::NONE, filter);
                    let expected = expected.iter().skip(expected.len() / 2 + 1).take(10).map(|(_, id)| id.clone());
                    assert!(ids(page.expect("a page")).eq(expected), "{order:?} from the middle");
                }
            }
        }
        let described = database.describe_fields(&name(), filter).expect("fields");
        assert_eq!(described.points, all.len() as u64);
        let stats = described.fields.iter().find(|field| field.path == "number").expect("a field");
        assert_eq!((stats.points, stats.distinct), (all.len() as u64, all.len() as u64));
    }
}

#[test]
fn indexed_blocks_of_growing_rows_and_sealed_segments_agree_with_the_payloads() {
    let (_dir, database) = open(1_000_000);
    fill(&database, 4_700);
    let mut points: BTreeMap<PointId, Payload> = (0..4_700).map(|number| (id(number), payload(number))).collect();
    compare(&database, &points);
    let deleted: Vec<PointId> = (0..4_700).filter(|number| number % 7 == 0).map(id).collect();
    for id in &deleted {
        points.remove(id);
    }
    database.delete_points(&name(), &deleted).expect("a delete");
    compare(&database, &points);
    database.compact(&name()).expect("a compaction");
    compare(&database, &points);
    // Sealed rows that are deleted, and growing rows that replace sealed ones.
    fill(&database, 100);
    points.extend((0..100).map(|number| (id(number), payload(number))));
    compare(&database, &points);
}

/// Updates the payloads of points, and does the same to the expected ones.
fn update(
    database: &Database,
    points: &mut BTreeMap<PointId, Payload>,
    numbers: impl Iterator<Item = usize>,
    action: impl Fn(usize) -> PayloadAction,
) {
    for number in numbers {
        let update = PayloadUpdate::new([action(number)]);
        let selected = PointSelection::Ids(vec![id(number)]);
        assert_eq!(database.update_payload(&name(), &selected, &update).expect("an update").updated, 1);
        update.apply(points.get_mut(&id(number)).expect("a point")).expect("valid");
    }
}

#[test]
fn updated_payloads_of_sealed_segments_agree_with_the_payloads() {
    let (dir, database) = open(1_000_000);
    fill(&database, 4_500);
    database.compact(&name()).expect("a compaction");
    let mut points: BTreeMap<PointId, Payload> = (0..4_500).map(|number| (id(number), payload(number))).collect();
    compare(&database, &points);
    let set = |field: &str, value: serde_json::Value| PayloadAction::Set {
        path: None,
        fields: [(field.to_owned(), value)].into_iter().collect(),
    };
    // Values that the index has and has not, nulls, lists, long strings, objects, missing fields.
    update(&database, &mut points, (0..60).step_by(3), |_| set("kind", "b".into()));
    update(&database, &mut points, 60..80, |number| set("kind", format!("new {}", number % 5).into()));
    update(&database, &mut points, 80..100, |_| set("kind", serde_json::Value::Null));
    update(&database, &mut points, 100..120, |number| set("group", serde_json::json!([number, null, number, "x"])));
    update(&database, &mut points, 120..140, |_| set("group", serde_json::json!({"lat": 1, "lon": 2})));
    update(&database, &mut points, 130..150, |_| PayloadAction::Unset(vec!["group".into(), "kind".into()]));
    update(&database, &mut points, 140..160, |number| set("number", (10_000 + number).into()));
    update(&database, &mut points, 4_097..4_098, |_| set("kind", "b".into()));
    update(&database, &mut points, 150..170, |number| set("long", "m".repeat(260 + number % 3).into()));
    // A field that the index of the segment does not have.
    update(&database, &mut points, 150..170, |number| set("added", (number % 2).into()));
    let all: Vec<(&PointId, &Payload)> = points.iter().collect();
    let ids = |points: Vec<nearness::api::Point>| points.into_iter().map(|point| point.id).collect::<Vec<_>>();
    let compare_all = |database: &Database| {
        compare(database, &points);
        assert_eq!(database.facet(&name(), "added", 5, None).expect("a facet"), naive::facet(&all, "added", 5));
        let order = OrderBy::descending("added");
        let page = database.scroll_ordered(&name(), &order, None, 30, Fields::ALL, None).expect("a page");
        assert!(page.points.iter().all(|point| point.payload.as_ref() == points.get(&point.id)));
        assert_eq!(
            ids(page.points),
            naive::ordered(&all, &order, None).into_iter().map(|(_, id)| id).collect::<Vec<_>>()
        );
        let few = Filter::And(vec![Filter::ids([id(150), id(151), id(3_000)]), Filter::exists("added")]);
        let sample = database.sample(&name(), 10, 1, Fields::ALL, Some(&few)).expect("a sample");
        assert!(sample.iter().all(|point| point.payload.as_ref() == points.get(&point.id)));
        assert_eq!(ids(sample).len(), 2);
        assert_eq!(database.facet(&name(), "number", 10, Some(&few)).expect("a facet").points, 2);
        let naive = naive::describe_fields(&all);
        for field in database.describe_fields(&name(), None).expect("fields").fields {
            let expected = naive.fields.iter().find(|other| other.path == field.path).expect("a field");
            assert_eq!(
                (field.points, &field.types, field.numbers),
                (expected.points, &expected.types, expected.numbers)
            );
            assert_eq!(field.distinct, expected.distinct, "{}", field.path);
        }
    };
    compare_all(&database);
    drop(database);
    let database = Database::open(dir.path()).expect("a database");
    compare_all(&database);
    database.compact(&name()).expect("a compaction");
    compare_all(&database);
}

#[test]
fn results_are_of_one_state_while_payloads_are_updated() {
    let (_dir, database) = open(2_000);
    fill(&database, 2_000);
    database.compact(&name()).expect("a compaction");
    let (database, done) = (Arc::new(database), Arc::new(AtomicBool::new(false)));
    let set = |round: u32| PayloadUpdate::set([("round".to_owned(), round.into())].into_iter().collect());
    let half = Filter::equals("kind", "a");
    let selected = PointSelection::Matching { filter: half.clone(), allow_unknown_fields: false };
    database.update_payload(&name(), &selected, &set(0)).expect("an update");
    let writer = {
        let (database, done, selected) = (database.clone(), done.clone(), selected.clone());
        std::thread::spawn(move || {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                database.update_payload(&name(), &selected, &set(round)).expect("an update");
            }
            round
        })
    };
    let points = (0..2_000).filter(|number| number % 3 == 0).count() as u64;
    for _ in 0..8 {
        let facet = database.facet(&name(), "round", 10, Some(&half)).expect("a facet");
        assert_eq!((facet.values.len(), facet.points), (1, points), "{facet:?}");
        let described = database.describe_fields(&name(), None).expect("fields").fields;
        let round = described.iter().find(|field| field.path == "round").expect("a field");
        assert_eq!((round.points, round.distinct), (points, 1));
        let order = OrderBy::descending("round");
        let page = database.scroll_ordered(&name(), &order, None, 2_000, Fields::ALL, None).expect("a page");
        let rounds: BTreeSet<String> =
            page.points.iter().map(|point| point.payload.as_ref().expect("a payload")["round"].to_string()).collect();
        assert_eq!((page.points.len() as u64, rounds.len()), (points, 1), "{rounds:?}");
        let of_round = Filter::equals("round", rounds.first().expect("one").parse::<i64>().expect("a number"));
        let facet = database.facet(&name(), "round", 10, Some(&of_round)).expect("a facet");
        assert!(facet.points == 0 || facet.points == points && facet.values.len() == 1, "{facet:?}");
    }
    done.store(true, Ordering::Relaxed);
    assert!(writer.join().expect("the writer") > 2, "updates ran meanwhile");
}

#[test]
fn every_long_string_is_returned_once_by_an_ordered_scroll() {
    let (_dir, database) = open(1_000);
    fill(&database, 3_000);
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let order = OrderBy::descending("long");
        let page = database.scroll_ordered(&name(), &order, next.as_ref(), 700, Fields::NONE, None).expect("a page");
        found.extend(page.points.into_iter().map(|point| point.id));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    // All strings begin with the same 256 bytes: the ids decide.
    assert_eq!(found, (0..3_000).map(id).collect::<Vec<_>>());
}

#[test]
fn results_are_of_one_state_while_points_are_replaced() {
    let (_dir, database) = open(2_000);
    fill(&database, 3_000);
    let (database, done) = (Arc::new(database), Arc::new(AtomicBool::new(false)));
    let writer = {
        let (database, done) = (database.clone(), done.clone());
        std::thread::spawn(move || {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                // Moves every point of a batch to another segment, with the same payload.
                let batch = (round * 500) % 3_000;
                let item = |number| Item::vector(id(number), [2.0 + round as f32]).payload(payload(number));
                database.upsert(&name(), (batch..batch + 500).map(item).collect()).expect("an upsert");
                round += 1;
            }
            round
        })
    };
    let filter = Filter::equals("kind", "a");
    for _ in 0..4 {
        let facet = database.facet(&name(), "kind", 10, None).expect("a facet");
        assert_eq!(facet.values.iter().map(|value| value.count).collect::<Vec<_>>(), [1_000; 3]);
        let facet = database.facet(&name(), "group", 10, Some(&filter)).expect("a facet");
        assert_eq!((facet.points, facet.distinct), (1_000, 100));
        assert_eq!(database.describe_fields(&name(), Some(&filter)).expect("fields").points, 1_000);
        let order = OrderBy::ascending("number");
        let page = database.scroll_ordered(&name(), &order, None, 3_000, Fields::NONE, None).expect("a page");
        assert_eq!(
            page.points.into_iter().map(|point| point.id).collect::<Vec<_>>(),
            (0..3_000).map(id).collect::<Vec<_>>()
        );
        let sample = database.sample(&name(), 3_000, 1, Fields::NONE, None).expect("a sample");
        assert_eq!(sample.len(), 3_000);
    }
    done.store(true, Ordering::Relaxed);
    assert!(writer.join().expect("the writer") > 2, "writes ran meanwhile");
}

#[test]
fn samples_are_uniform_and_independent_of_segments() {
    let (_dir, database) = open(150);
    fill(&database, 400);
    let (mut counts, mut pairs) = (vec![0_u32; 400], 0);
    let sample = |seed| -> Vec<PointId> {
        let points = database.sample(&name(), 40, seed, Fields::NONE, None).expect("a sample");
        points.into_iter().map(|point| point.id).collect()
    };
    for seed in 0..1_000 {
        let ids = sample(seed);
        for id in &ids {
            counts[id.as_str()[1..].parse::<usize>().expect("a number")] += 1;
        }
        pairs += u32::from(ids.contains(&id(0)) && ids.contains(&id(1)));
    }
    // Each point is in a tenth of the samples: 100 of 1,000, with a standard deviation of 9.5.
    let chi_squared: f64 = counts.iter().map(|count| (f64::from(*count) - 100.0).powi(2) / 90.0).sum();
    // Chi squared with 399 degrees of freedom has a standard deviation of 28.
    assert!((300.0..500.0).contains(&chi_squared), "{chi_squared}");
    // Expected 9.8, standard deviation 3.1.
    assert!((1..25).contains(&pairs), "neighbouring ids are in {pairs} samples together");
    let before = sample(7);
    database.compact(&name()).expect("a compaction");
    assert_eq!(sample(7), before);
    assert_ne!(sample(8), before);
}

#[test]
fn invalid_parameters_are_refused_with_the_limit() {
    let (_dir, database) = open(1_000);
    let field = |result: Result<(), Error>| match result {
        Err(Error::Invalid { field, why }) => format!("{field}: {why}"),
        other => panic!("should be refused: {other:?}"),
    };
    let facet = |path: &str, limit| field(database.facet(&name(), path, limit, None).map(drop));
    assert!(facet("", 10).starts_with("field: takes 1 to 512 bytes"));
    assert!(facet("a[0]", 10).contains("write \"a\""));
    assert!(facet("a", 0).contains("1 to 10000") && facet("a", 10_001).starts_with("limit"));
    let scroll = |path: &str, limit| {
        field(database.scroll_ordered(&name(), &OrderBy::ascending(path), None, limit, Fields::NONE, None).map(drop))
    };
    assert!(scroll("", 10).starts_with("order_by.field") && scroll("a", 10_001).starts_with("limit"));
    assert!(field(database.sample(&name(), 0, 0, Fields::NONE, None).map(drop)).starts_with("limit"));
    let filter = Filter::And(Vec::new());
    assert!(field(database.describe_fields(&name(), Some(&filter)).map(drop)).starts_with("filter.and"));
    let other = CollectionName::new("other").expect("a name");
    assert!(matches!(database.facet(&other, "a", 1, None), Err(Error::UnknownCollection(_))));
}

#[test]
fn cancelled_calls_end() {
    let (_dir, database) = open(1_000);
    fill(&database, 5_000);
    let stop = CancellationToken::without(&Arc::new(()));
    stop.run(|| {
        assert!(matches!(database.describe_fields(&name(), None), Err(Error::Abandoned)));
        assert!(matches!(database.facet(&name(), "number", 10, None), Err(Error::Abandoned)));
        assert!(matches!(database.sample(&name(), 10, 0, Fields::NONE, None), Err(Error::Abandoned)));
        let order = OrderBy::ascending("number");
        assert!(matches!(
            database.scroll_ordered(&name(), &order, None, 10, Fields::NONE, None),
            Err(Error::Abandoned)
        ));
    });
}
