//! Damage at any byte of a segment file gives an error or the same answer.

use crate::support::*;
use nearness::api::{
    Accuracy, CollectionSpec, ErrorKind, FieldQuery, FieldVector, Fields, Filter, Hit, IndexSettings, Item, OrderBy,
    PointInput, Query, SearchParams, SparseVector, VectorField, VectorSource,
};
use nearness::collection::OnConflict;
use nearness::engine::{Admin, Database, Reads, Writes, repair_directory};
use nearness::types::{PointId, Precision};
use std::path::Path;

/// Number of points in the damaged collection.
const POINTS: u64 = 2_200;
/// Dimension of its vectors.
const DIMENSION: u64 = 32;
/// Rows per block of vectors of this dimension.
const BLOCK_ROWS: usize = 128;

fn wide_point(number: u64) -> Item {
    let payload =
        [("number".to_owned(), number.into()), ("third".to_owned(), (number % 3).into())].into_iter().collect();
    let component = |axis: u64| ((number * 2_654_435_761 + axis * 40_503) % 1_009) as f32 / 7.0;
    let vector = (0..DIMENSION).map(component).collect();
    let item = Item { id: id(number), source: PointInput::Vector(vector), payload, vectors: Default::default() };
    let sparse =
        SparseVector { indices: vec![(number % 20) as u32, 40], values: vec![1.0 + component(1), component(2)] };
    // Some points have one of the vectors only.
    let item = if number.is_multiple_of(5) {
        item
    } else {
        item.field_vector("dense", FieldVector::Dense((3..9).map(component).collect()))
    };
    if number.is_multiple_of(7) { item } else { item.field_vector("sparse", FieldVector::Sparse(sparse)) }
}

/// The query with this number: on the points' own vectors, or on a field.
fn query_vector(number: u64, field: Option<&str>) -> Query {
    let Item { source: PointInput::Vector(vector), mut vectors, .. } = wide_point(number * 70 + 9) else {
        unreachable!("vectors only")
    };
    match field {
        None => Query::Vector(vector.iter().map(|x| x + 0.25).collect()),
        Some(field) => Query::Field(FieldQuery::vector(field, vectors.remove(field).expect("all fields"))),
    }
}

fn query(
    engine: &Database,
    number: u64,
    accuracy: Accuracy,
    third: Option<i64>,
    field: Option<&str>,
    allow_partial: bool,
) -> Result<Vec<Hit>, nearness::api::Error> {
    let mut params = SearchParams::new(20)
        .accuracy(accuracy)
        .fields(Fields { payload: true, vector: true })
        .allow_partial(allow_partial);
    params.filter = third.map(|third| Filter::equals("third", third).into());
    engine.search(&name("c"), &[query_vector(number, field)], &params).map(|mut answers| answers.remove(0).hits)
}

type Summary = Result<String, nearness::api::Error>;

/// Returns results of all calls that summarize, order or sample points, as text.
fn summaries(engine: &Database) -> [Summary; 5] {
    let (collection, none) = (name("c"), Fields::NONE);
    let third = Filter::equals("third", 1);
    [
        engine.facet(&collection, "third", 10, None).map(|facet| format!("{facet:?}")),
        engine.facet(&collection, "number", 10, Some(&third)).map(|facet| format!("{facet:?}")),
        engine.describe_fields(&collection, None).map(|report| format!("{report:?}")),
        engine
            .scroll_ordered(&collection, &OrderBy::descending("number"), None, 3_000, none, None)
            .map(|page| format!("{page:?}")),
        engine.sample(&collection, 100, 1, Fields::ALL, None).map(|points| format!("{points:?}")),
    ]
}

/// Accuracy, filter and field of the queries.
const QUERY_KINDS: [(Accuracy, Option<i64>, Option<&str>); 8] = [
    (Accuracy::Exact, None, None),
    (Accuracy::Ef(40), None, None),
    (Accuracy::Exact, Some(1), None),
    (Accuracy::Ef(40), Some(1), None),
    (Accuracy::Exact, None, Some("dense")),
    (Accuracy::Ef(40), Some(1), Some("dense")),
    (Accuracy::Exact, None, Some("sparse")),
    (Accuracy::Exact, Some(1), Some("sparse")),
];

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy(&path, &to) } else { _ = std::fs::copy(&path, &to).expect("copied") }
    }
}

/// Damages a segment file at one position at a time, and compares every answer with that of the intact file. After
/// every `repair_every`-th damage, repairs the collection and checks the remaining points.
fn damage_everywhere(damages: u64, repair_every: u64) {
    let base = tempfile::tempdir().expect("a folder");
    let engine = open(base.path());
    let index =
        IndexSettings::default().m(4).ef_construction(32).ef_search(32).seal_rows(5_000).precision(Precision::F32);
    let space = VectorSource::Plain { dimension: DIMENSION as u32 };
    let fields = [VectorField::dense("dense", 6), VectorField::sparse("sparse")];
    engine
        .create_collection(&CollectionSpec::new(name("c"), space).index(index).vector_fields(fields))
        .expect("created");
    let mut items = (0..POINTS).map(wide_point);
    engine
        .bulk_load(&name("c"), &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
    engine.build_indexes(&name("c"), &|_, _, _| true).expect("indexed");
    let deleted = [id(3), id(5)];
    engine.delete_points(&name("c"), &deleted).expect("deleted");
    let live: Vec<PointId> = (0..POINTS).map(id).filter(|id| !deleted.contains(id)).collect();
    let baseline: Vec<Vec<Vec<Hit>>> = (0..12)
        .map(|number| {
            QUERY_KINDS
                .map(|(accuracy, third, field)| {
                    query(&engine, number, accuracy, third, field, false).expect("an answer")
                })
                .into()
        })
        .collect();
    let summaries_before = summaries(&engine).map(|summary| summary.expect("a summary"));
    drop(engine);
    let path = file(base.path(), 0, "vectors").strip_prefix(base.path()).expect("below the base").to_owned();
    let intact = std::fs::read(base.path().join(&path)).expect("a file");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut correct, mut refused, mut partial, mut lost_rows, mut max_lost, mut harmless) = (0, 0, 0, 0, 0, 0);
    for damage in 0..damages {
        let dir = tempfile::tempdir().expect("a folder");
        copy(base.path(), dir.path());
        // Anywhere in the file, or in each section in turn.
        let at = if damage % 2 == 0 {
            random(intact.len())
        } else {
            let entry = 64 + 24 * (damage as usize / 2 % 9);
            let number = |at: usize| u64::from_le_bytes(intact[at..at + 8].try_into().expect("8 bytes")) as usize;
            let length = number(entry + 8);
            // First the low bytes of 32-bit numbers, then any byte.
            let step = if damage < 18 { 4 } else { 1 };
            if length == 0 { random(HEADER) } else { number(entry) + random(length) / step * step }
        };
        let mut bytes = intact.clone();
        // 18 damages of each kind reach each section.
        let kind = damage / 18 % 4;
        match kind {
            // Not the highest bit, so that text stays valid UTF-8.
            0 => bytes[at] ^= 1 << random(7),
            1 => bytes[at] = bytes[at].wrapping_add(1 + random(255) as u8),
            _ => {
                // Up to 8 bytes, or a sector.
                let until = bytes.len().min(at + if kind == 2 { 1 + random(8) } else { 512 });
                bytes[at..until].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        std::fs::remove_file(dir.path().join(&path)).expect("removed");
        std::fs::write(dir.path().join(&path), &bytes).expect("written");
        let context = |problem: &str| format!("damage {damage} at byte {at}: {problem}");
        let engine = open(dir.path());
        let corrupt = |error: nearness::api::Error| {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", context(&error.to_string()));
        };
        let fields = Fields { payload: true, vector: true };
        let is_intact = |id: &PointId, point: &nearness::api::Point| {
            let Item { source, payload, vectors, .. } = wide_point(id.as_str()[1..].parse().expect("a number"));
            point.vector.clone().map(PointInput::Vector) == Some(source)
                && point.payload.as_ref() == Some(&payload)
                && point.vectors == vectors
        };
        let compare_summaries = || {
            for (found, before) in summaries(&engine).into_iter().zip(&summaries_before) {
                match found {
                    Ok(found) => assert_eq!(&found, before, "{}", context("another summary")),
                    Err(error) => corrupt(error),
                }
            }
        };
        // In some rounds, the summaries detect the damage; in the others, the queries.
        if damage % 3 == 0 {
            compare_summaries();
        }
        for (number, of_number) in baseline.iter().enumerate() {
            for ((accuracy, third, field), before) in QUERY_KINDS.into_iter().zip(of_number) {
                match query(&engine, number as u64, accuracy, third, field, false) {
                    Ok(hits) => {
                        assert_eq!(&hits, before, "{}", context("another answer"));
                        correct += 1;
                    }
                    Err(error) => {
                        corrupt(error);
                        refused += 1;
                    }
                }
                let hits = query(&engine, number as u64, accuracy, third, field, true).expect("a partial answer");
                assert!(hits.iter().all(|hit| is_intact(&hit.point.id, &hit.point)), "{}", context("a damaged hit"));
                assert_eq!(hits.len(), before.len(), "{}", context("too few hits"));
                if &hits == before {
                    continue;
                }
                partial += 1;
                if accuracy == Accuracy::Exact {
                    // Every missing hit that is nearer than the last is damaged.
                    let missing = before.iter().filter(|hit| !hits.contains(hit));
                    for hit in missing.filter(|hit| hits.last().is_some_and(|last| hit.distance < last.distance)) {
                        let got = engine.get(&name("c"), std::slice::from_ref(&hit.point.id), fields);
                        corrupt(got.expect_err("only damaged points are missing"));
                    }
                }
            }
        }
        compare_summaries();
        match engine.scroll(&name("c"), None, 10_000, fields, None) {
            Ok(page) => {
                let mut expected = live.clone();
                expected.sort();
                assert!(page.points.iter().map(|point| &point.id).eq(&expected), "{}", context("other points"));
                assert!(page.points.iter().all(|point| is_intact(&point.id, point)), "{}", context("a damaged point"));
            }
            Err(error) => corrupt(error),
        }
        let mut damaged = 0;
        for id in &live {
            match engine.get(&name("c"), std::slice::from_ref(id), fields) {
                Ok(points) => {
                    assert!(
                        points[0].as_ref().is_some_and(|point| is_intact(id, point)),
                        "{}",
                        context("a damaged point")
                    )
                }
                Err(error) => {
                    corrupt(error);
                    damaged += 1;
                }
            }
        }
        // A sector may span two sections.
        assert!(damaged <= if kind == 3 { 4 } else { 2 } * BLOCK_ROWS, "{}", context(&format!("{damaged} points")));
        lost_rows += damaged;
        max_lost = max_lost.max(damaged);
        harmless += u32::from(damaged == 0);
        drop(engine);
        if damage % repair_every != 0 {
            continue;
        }
        let (done, result) = repair_directory(dir.path(), &|_, _, _| true);
        result.expect("repaired");
        let unnamed: u64 = done.lost_unnamed.iter().map(|lost| lost.points).sum();
        assert!(done.lost.len() + unnamed as usize <= damaged, "{}", context(&format!("{done:?} of {damaged}")));
        let engine = open(dir.path());
        let points = engine.get(&name("c"), &live, fields).expect("intact points");
        let intact = live.iter().zip(&points).filter(|(id, point)| {
            let named = done.lost.iter().any(|(_, lost)| lost == id.as_str());
            assert!(!named || point.is_none(), "{}", context("a lost point is there"));
            point.as_ref().is_some_and(|point| is_intact(id, point))
        });
        assert_eq!(
            intact.count(),
            live.len() - done.lost.len() - unnamed as usize,
            "{}",
            context("points after the repair")
        );
    }
    let answers = correct + refused;
    println!(
        "{damages} damages, {harmless} without loss: of {answers} answers {correct} are correct, {refused} refused; {partial} \
         partial answers differ; {lost_rows} of {} rows lost, at most {max_lost} by one damage",
        damages as usize * live.len()
    );
    assert!(correct > 0 && refused > 0 && partial > 0 && harmless > 0);
}

#[test]
fn damage_anywhere_in_a_segment_gives_no_wrong_answer() {
    damage_everywhere(72, 24);
}

#[test]
#[ignore = "slow: a few minutes"]
fn damage_at_hundreds_of_positions_gives_no_wrong_answer() {
    damage_everywhere(288, 3);
}
