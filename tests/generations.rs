//! Tests of re-embedding a collection under concurrent writes, and of rollback.

#[path = "support/letters.rs"]
mod letters;

use base64::Engine as _;
use letters::Letters;
use nearness::api::*;
use nearness::collection::*;
use nearness::embed::{Embedder, Input, Registry};
use nearness::engine::*;
use nearness::types::{CollectionName, Metric, PointId, Precision};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const CONTINUE: Observe<'static> = &|_, _, _| true;

const PARAMS: SearchParams =
    SearchParams::new(1).accuracy(Accuracy::Exact).fields(Fields { payload: false, vector: false });

fn open(dir: &Path) -> Database {
    let mut registry = Registry::default();
    registry.add(Arc::new(Letters::new()));
    Database::options().embedders(registry).open(dir).expect("an engine")
}

fn name() -> CollectionName {
    CollectionName::new("texts").expect("a name")
}

fn id(text: &str) -> PointId {
    PointId::new(text).expect("an id")
}

fn text(id: &str, text: &str) -> Item {
    Item {
        id: self::id(id),
        source: PointInput::Text(text.into()),
        payload: Payload::new(),
        vectors: Default::default(),
    }
}

/// Returns a point with a vector, and with a text in its payload.
fn by_vector(id: &str, vector: Vec<f32>, text: &str) -> Item {
    let payload = [(TEXT_FIELD.to_owned(), text.into())].into_iter().collect();
    Item { id: self::id(id), source: PointInput::Vector(vector), payload, vectors: Default::default() }
}

fn counts(text: &str) -> Vec<f32> {
    let letters = Letters::new();
    letters.embed(letters.output_layer("counts").unwrap(), &Input::Text(text)).unwrap()
}

fn create(engine: &Database, output: &str, seal_rows: u32) {
    let spec =
        CollectionSpec::new(name(), VectorSource::Embedded { embedder: "letters".into(), output: output.into() })
            .metric(Metric::L2)
            .index(IndexSettings::default().seal_rows(seal_rows));
    engine.create_collection(&spec).expect("created");
}

/// Returns the text of every point by id, after checking that its vector is the embedding of the text.
fn texts(engine: &Database, output: &str) -> BTreeMap<String, String> {
    let letters = Letters::new();
    let output = letters.output_layer(output).expect("an output");
    let mut found = BTreeMap::new();
    let mut after = None;
    loop {
        let page = engine.scroll(&name(), after.as_ref(), 1_000, Fields { payload: true, vector: true }, None).unwrap();
        after = page.points.last().map(|point| point.id.clone());
        for point in page.points {
            let text = point.payload.unwrap()["text"].as_str().unwrap().to_owned();
            assert_eq!(
                point.vector.unwrap(),
                letters.embed(output, &Input::Text(&text)).unwrap(),
                "{}: {text}",
                point.id
            );
            found.insert(point.id.to_string(), text);
        }
        if !page.more {
            break;
        }
    }
    assert_eq!(engine.count(&name(), None).unwrap(), found.len() as u64);
    found
}

fn nearest(engine: &Database, query: &str) -> String {
    let answers = engine.search(&name(), &[Query::Text(query.into())], &PARAMS).unwrap();
    answers[0].hits[0].point.id.to_string()
}

fn folders(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("collections")).unwrap().count()
}

#[test]
fn a_damaged_previous_generation_is_repaired_before_it_serves_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    create(&engine, "counts", 2_000);
    let items: Vec<Item> = (0..2_000).map(|n| text(&format!("p{n}"), &"ab".repeat(1 + n % 9))).collect();
    engine.upsert(&name(), items).unwrap();
    engine.compact(&name()).unwrap();
    engine.reembed(&name(), "letters", "vowels", Sources::Proved, CONTINUE).unwrap();
    drop(engine);
    let files = std::fs::read_dir(dir.path().join("collections").join(format!("{:016x}", 0))).unwrap();
    let vectors = files.map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().ends_with(".vectors"));
    let vectors = vectors.expect("a segment");
    let mut bytes = std::fs::read(&vectors).unwrap();
    bytes[4_096] ^= 1;
    std::fs::write(&vectors, bytes).unwrap();
    assert_eq!(check_directory(dir.path()).unwrap().findings.len(), 1);
    let (repaired, result) = repair_directory(dir.path(), CONTINUE);
    result.unwrap();
    assert!(repaired.rewritten == 1 && !repaired.lost.is_empty() && repaired.left.is_empty(), "{repaired:?}");
    let findings = check_directory(dir.path()).unwrap().findings;
    assert!(findings.is_empty(), "{findings:?}");
    let engine = open(dir.path());
    assert_eq!(engine.count(&name(), None).unwrap(), 2_000, "the current generation is intact");
    engine.rollback(&name(), CONTINUE).unwrap();
    assert_eq!(texts(&engine, "counts").len(), 2_000, "the lost points are copied from the current generation");
}

#[test]
fn a_collection_is_reembedded_and_rolled_back() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    create(&engine, "counts", 100);
    let items: Vec<Item> = (0..3_000)
        .map(|n| text(&format!("p{n}"), &format!("{}e{}", "ab".repeat(n % 7), "xyz".repeat(n % 5))))
        .collect();
    for chunk in items.chunks(500) {
        engine.upsert(&name(), chunk.to_vec()).unwrap();
    }
    engine.upsert(&name(), vec![text("i", "iii"), text("b", "bbb")]).unwrap();
    let before = texts(&engine, "counts");
    let sequence = engine.sequence(&name()).unwrap();

    let phases = std::sync::Mutex::new(Vec::new());
    let observe = |job: Job, done: u64, total: u64| {
        assert!(job != Job::Embedding || done <= total, "{done} of {total}");
        phases.lock().unwrap().push(job);
        true
    };
    let info = engine.reembed(&name(), "letters", "vowels", Sources::Proved, &observe).unwrap();
    assert_eq!((info.generation, info.dimension, info.points), (2, 5, before.len() as u64));
    assert_eq!(info.embedder.unwrap().output, "vowels");
    assert_eq!(
        info.previous.map(|previous| (previous.generation, previous.embedder.output)),
        Some((1, "counts".into()))
    );
    assert!(info.sequence > sequence, "readers that wait for earlier writes are served");
    let phases = phases.into_inner().unwrap();
    assert!(phases.contains(&Job::Embedding) && phases.contains(&Job::Indexing), "{phases:?}");
    assert_eq!(texts(&engine, "vowels"), before);
    assert_eq!((nearest(&engine, "iii").as_str(), folders(dir.path())), ("i", 2));

    // Writes after re-embedding are also in the previous generation after a rollback.
    engine.upsert(&name(), vec![text("i", "uuu"), text("new", "ooo")]).unwrap();
    engine.delete_points(&name(), &[id("b"), id("p7")]).unwrap();
    let after = texts(&engine, "vowels");
    assert_ne!(after, before);
    drop(engine);
    let engine = open(dir.path());
    let info = engine.collection(&name()).unwrap();
    assert_eq!(
        (info.generation, info.previous.map(|previous| previous.generation)),
        (2, Some(1)),
        "the previous generation survives a restart"
    );
    let info = engine.rollback(&name(), CONTINUE).unwrap();
    assert_eq!((info.generation, info.dimension), (1, 26));
    assert_eq!(info.previous.map(|previous| previous.generation), Some(2));
    assert_eq!(texts(&engine, "counts"), after);
    assert_eq!(nearest(&engine, "uuuu"), "i");
    let info = engine.rollback(&name(), CONTINUE).unwrap();
    assert_eq!((info.generation, info.dimension), (2, 5), "rolled back again");
    assert_eq!(texts(&engine, "vowels"), after);

    let info = engine.delete_previous_generation(&name()).unwrap();
    assert_eq!((info.generation, info.previous, folders(dir.path())), (2, None, 1));
    for error in
        [engine.rollback(&name(), CONTINUE).unwrap_err(), engine.delete_previous_generation(&name()).unwrap_err()]
    {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    let info = engine.reembed(&name(), "letters", "", Sources::Proved, CONTINUE).unwrap();
    assert_eq!((info.generation, info.previous.unwrap().generation), (3, 2));
    assert_eq!(texts(&engine, "counts"), after);
    let report = check_directory(dir.path()).unwrap_err();
    assert_eq!(report.kind(), ErrorKind::Unavailable);
    drop(engine);
    assert!(check_directory(dir.path()).unwrap().findings.is_empty());
    let engine = open(dir.path());
    engine.delete_collection(&name()).unwrap();
    assert_eq!(folders(dir.path()), 0, "both generations are deleted");
}

#[test]
fn writes_continue_while_generations_change() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    create(&engine, "counts", 200);
    let (stop, writes) = (AtomicBool::new(false), AtomicU32::new(0));
    let words = ["alligator", "crocodile", "turnip", "eagle", "seven", "black", "cat"];
    let model = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let (engine, stop, writes) = (&engine, &stop, &writes);
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(writer);
                    let mut model = BTreeMap::new();
                    while !stop.load(Ordering::Relaxed) {
                        let ids: Vec<String> =
                            (0..20).map(|_| format!("w{writer}-{}", rng.random_range(0..1_000))).collect();
                        if rng.random_bool(0.2) {
                            let ids: Vec<PointId> = ids.iter().map(|text| id(text)).collect();
                            engine.delete_points(&name(), &ids).expect("deleted");
                            ids.iter().for_each(|id| _ = model.remove(id.as_str()));
                        } else {
                            let items = ids.iter().map(|id| {
                                let words: Vec<&str> =
                                    (0..3).map(|_| words[rng.random_range(0..words.len())]).collect();
                                text(id, &words.join(" "))
                            });
                            let items: BTreeMap<String, Item> = items.map(|item| (item.id.to_string(), item)).collect();
                            for (id, item) in &items {
                                let PointInput::Text(text) = &item.source else { unreachable!() };
                                model.insert(id.clone(), text.clone());
                            }
                            engine.upsert(&name(), items.into_values().collect()).expect("written");
                        }
                        writes.fetch_add(1, Ordering::Relaxed);
                    }
                    model
                })
            })
            .collect();
        let searcher = scope.spawn(|| {
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let queries = [Query::Text("black cat".into())];
                answered += engine.search(&name(), &queries, &PARAMS).expect("searched").len();
            }
            answered
        });
        for round in 0..6 {
            let before = writes.load(Ordering::Relaxed);
            while writes.load(Ordering::Relaxed) < before + 30 {
                std::thread::yield_now();
            }
            match round % 3 {
                0 => engine
                    .reembed(&name(), "letters", "vowels", Sources::Proved, CONTINUE)
                    .map(drop)
                    .expect("re-embedded"),
                1 => engine.rollback(&name(), CONTINUE).map(drop).expect("rolled back"),
                _ => engine.delete_previous_generation(&name()).map(drop).expect("deleted"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(searcher.join().unwrap() > 0);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<BTreeMap<_, _>>()
    });
    assert_eq!(texts(&engine, "counts"), model);
    drop(engine);
    assert_eq!(texts(&open(dir.path()), "counts"), model, "after a restart");
}

#[test]
fn unannounced_writes_are_found_by_comparison() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    create(&engine, "counts", 50_000);
    let load = |from: usize, until: usize, word: &str| {
        let mut items = (from..until).map(|n| text(&format!("p{n}"), &format!("{word}{}", "e".repeat(n % 4))));
        engine
            .bulk_load(&name(), &mut items, OnConflict::Replace, &mut |_, error| Err(error), CONTINUE)
            .expect("loaded");
    };
    load(0, 4_000, "ab");
    let reports = AtomicU32::new(0);
    let observe = |_: Job, _: u64, _: u64| {
        // A bulk load does not announce its points.
        if reports.fetch_add(1, Ordering::Relaxed) == 1 {
            load(3_500, 5_000, "uo");
            engine.delete_points(&name(), &[id("p3"), id("p4100")]).expect("deleted");
        }
        true
    };
    let info = engine.reembed(&name(), "letters", "vowels", Sources::Proved, &observe).expect("re-embedded");
    assert_eq!(info.points, 4_998);
    let found = texts(&engine, "vowels");
    assert!(found["p3600"].starts_with("uo") && found["p3400"].starts_with("ab"));
    assert!(!found.contains_key("p3") && !found.contains_key("p4100"));
}

#[test]
fn a_failed_reembedding_names_the_cause_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let check_refusal = |error: Error, kind: ErrorKind, part: &str| {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{error} should name {part}");
        let info = engine.collection(&name()).unwrap();
        assert_eq!((info.generation, info.dimension, info.previous, folders(dir.path())), (1, 26, None, 1));
    };
    assert_eq!(
        engine.reembed(&name(), "letters", "", Sources::Proved, CONTINUE).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    create(&engine, "counts", 100);
    engine.upsert(&name(), (0..200).map(|n| text(&format!("p{n}"), "abc")).collect()).unwrap();
    let reembed = |output: &str, observe: Observe<'_>| {
        engine.reembed(&name(), "letters", output, Sources::Proved, observe).unwrap_err()
    };
    check_refusal(
        engine.reembed(&name(), "numbers", "", Sources::Proved, CONTINUE).unwrap_err(),
        ErrorKind::NotFound,
        "letters",
    );
    check_refusal(reembed("consonants", CONTINUE), ErrorKind::InvalidInput, "vowels");
    check_refusal(reembed("vowels", &|_, _, _| false), ErrorKind::Unavailable, "cancelled");
    let bare = Item {
        id: id("bare"),
        source: PointInput::Vector(vec![1.0; 26]),
        payload: Payload::new(),
        vectors: Default::default(),
    };
    engine.upsert(&name(), vec![bare]).unwrap();
    check_refusal(reembed("vowels", CONTINUE), ErrorKind::Conflict, "\"bare\"");
    let unknown = by_vector("bare", vec![1.0; 26], "123");
    engine.upsert(&name(), vec![unknown]).unwrap();
    check_refusal(reembed("vowels", CONTINUE), ErrorKind::Conflict, "\"bare\"");
    // The collection is deleted during re-embedding.
    engine.upsert(&name(), vec![text("bare", "abc")]).unwrap();
    let once = AtomicBool::new(true);
    let delete = |_: Job, _: u64, _: u64| {
        if once.swap(false, Ordering::Relaxed) {
            engine.delete_collection(&name()).expect("deleted");
        }
        true
    };
    let error = engine.reembed(&name(), "letters", "vowels", Sources::Proved, &delete).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(folders(dir.path()), 0);
}

#[test]
fn points_with_unverified_sources_are_listed_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    create(&engine, "counts", 100);
    // More than a page, mostly valid: texts, and vectors computed from their texts.
    engine.upsert(&name(), (0..1_500).map(|n| text(&format!("p{n}"), "abc")).collect()).unwrap();
    engine.upsert(&name(), vec![by_vector("proven", counts("ocean"), "ocean")]).unwrap();
    let contradicting: Vec<Item> =
        (0..12).map(|n| by_vector(&format!("p{}", n * 100), counts("ship"), "alligator")).collect();
    engine.upsert(&name(), contradicting).unwrap();
    let check_refusal = |error: Error, parts: &[&str]| {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        parts.iter().for_each(|part| assert!(error.to_string().contains(part), "{error} should name {part}"));
        let info = engine.collection(&name()).unwrap();
        assert_eq!((info.generation, info.previous, folders(dir.path())), (1, None, 1));
    };
    let error = engine.reembed(&name(), "letters", "vowels", Sources::Proved, CONTINUE).unwrap_err();
    check_refusal(error, &["12 points", "\"p0\"", "\"p100\"", "\"text\""]);
    let nearest_ship = |engine: &Database| {
        let answers = engine.search(&name(), &[Query::Vector(counts("ship"))], &PARAMS).unwrap();
        answers[0].hits[0].distance
    };
    assert_eq!(nearest_ship(&engine), 0.0, "the vectors are unchanged");
    // With `Trusted`, the payloads are used unverified.
    let info = engine.reembed(&name(), "letters", "vowels", Sources::Trusted, CONTINUE).unwrap();
    assert_eq!((info.generation, info.points), (2, 1_501));
    assert_eq!(texts(&engine, "vowels")["p0"], "alligator");
    // A rollback also requires verified sources of later writes.
    engine.upsert(&name(), vec![by_vector("late", vec![1.0; 5], "alligator")]).unwrap();
    let error = engine.rollback(&name(), CONTINUE).unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("\"late\""), "{error}");
    engine.upsert(&name(), vec![text("late", "alligator")]).unwrap();
    engine.rollback(&name(), CONTINUE).unwrap();
    assert_eq!(nearest_ship(&engine), 0.0);
}

#[test]
fn each_block_is_reembedded_from_its_own_text() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    create(&engine, "counts", 100);
    let blocks = Blocks::new(2).overlap(1);
    engine.upsert_blocks(&name(), vec![text("a", "aaa bee ccc ddi"), text("b", "ooo uuu")], blocks).unwrap();
    let before = texts(&engine, "counts");
    assert_eq!((before["a#1"].as_str(), before.len()), ("bee ccc", 4));
    engine.reembed(&name(), "letters", "vowels", Sources::Proved, CONTINUE).unwrap();
    assert_eq!(texts(&engine, "vowels"), before);
}

/// Returns the vectors of all points in their fields.
fn field_vectors(engine: &Database) -> BTreeMap<String, FieldVectors> {
    let page = engine.scroll(&name(), None, 5_000, Fields { payload: false, vector: true }, None).unwrap();
    page.points.into_iter().map(|point| (point.id.to_string(), point.vectors)).collect()
}

#[test]
fn vectors_in_fields_are_kept_by_all_generations() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    create(&engine, "counts", 100);
    engine.add_field(&name(), VectorField::dense("gone", 2).into()).unwrap();
    engine.add_field(&name(), VectorField::dense("dense", 2).precision(Precision::F16).into()).unwrap();
    engine.add_field(&name(), VectorField::sparse("sparse").into()).unwrap();
    engine.add_field(&name(), VectorField::multi("multi", 2).into()).unwrap();
    let item = |number: u32| {
        let n = number as f32 + 1.0;
        let all = [
            ("gone", FieldVector::Dense(vec![n, n])),
            ("dense", FieldVector::Dense(vec![n, 0.5])),
            ("sparse", FieldVector::Sparse(SparseVector { indices: vec![number], values: vec![n] })),
            ("multi", FieldVector::Multi(vec![vec![n, 1.0]; 1 + number as usize % 3])),
        ];
        let present = all.into_iter().zip([2, 3, 5, 7]).filter(|(_, step)| !number.is_multiple_of(*step));
        let item = text(&format!("p{number:03}"), &format!("{}e", "ab".repeat(number as usize % 7)));
        present.fold(item, |item, ((field, vector), _)| item.field_vector(field, vector))
    };
    engine.upsert(&name(), (0..250).map(item).collect()).unwrap();
    engine.drop_field(&name(), "gone").unwrap();
    let before = field_vectors(&engine);
    assert_eq!(before["p001"].len(), 3);
    let nearest = |engine: &Database| {
        let query = FieldQuery::vector("dense", FieldVector::Dense(vec![100.0, 0.5]));
        engine.search(&name(), &[Query::Field(query)], &PARAMS).unwrap()[0].hits[0].point.id.to_string()
    };
    let found = nearest(&engine);

    let info = engine.reembed(&name(), "letters", "vowels", Sources::Proved, CONTINUE).unwrap();
    assert_eq!((info.generation, info.vector_fields.len()), (2, 3));
    assert_eq!((field_vectors(&engine), nearest(&engine)), (before.clone(), found));

    // Changes of vectors and of fields are in the previous generation after a rollback.
    engine.add_field(&name(), VectorField::dense("gone", 2).into()).unwrap();
    let change = Item { source: PointInput::None, ..text("p001", "") };
    let change = change.field_vector("gone", FieldVector::Dense(vec![1.0, 2.0]));
    engine.update_vectors(&name(), vec![change.field_vector("dense", FieldVector::Dense(vec![-1.0, 3.0]))]).unwrap();
    engine.drop_field(&name(), "multi").unwrap();
    let mut after = before;
    after.values_mut().for_each(|vectors| _ = vectors.remove("multi"));
    let changed = after.get_mut("p001").unwrap();
    changed.insert("gone".into(), FieldVector::Dense(vec![1.0, 2.0]));
    changed.insert("dense".into(), FieldVector::Dense(vec![-1.0, 3.0]));
    assert_eq!(field_vectors(&engine), after);
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(field_vectors(&engine), after);
    let info = engine.rollback(&name(), CONTINUE).unwrap();
    let names: Vec<&str> = info.vector_fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!((info.generation, names), (1, vec!["dense", "sparse", "gone"]));
    assert_eq!(field_vectors(&engine), after);
}

#[test]
fn rounded_vectors_prove_their_texts() {
    for precision in [Precision::F16, Precision::I8] {
        let dir = tempfile::tempdir().unwrap();
        let engine = Database::options().embedders(Registry::with_defaults().unwrap()).open(dir.path()).unwrap();
        let spec = CollectionSpec::embedded(name(), "text").index(IndexSettings::default().precision(precision));
        engine.create_collection(&spec).unwrap();
        let items = ["the ship was sunk by a storm", "alligator and crocodile", "a war of salt"];
        engine.upsert(&name(), items.iter().map(|item| text(item, item)).collect()).unwrap();
        let info = engine.reembed(&name(), "text", "", Sources::Proved, CONTINUE).unwrap();
        assert_eq!((info.generation, info.points), (2, 3), "{precision:?}");
    }
}

#[test]
fn a_collection_without_its_embedder_is_reembedded_only_from_trusted_payloads() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    create(&engine, "counts", 100);
    engine.upsert(&name(), vec![text("a", "the ship"), text("b", "alligator")]).unwrap();
    drop(engine);
    let engine = Database::options().embedders(Registry::with_defaults().unwrap()).open(dir.path()).unwrap();
    let error = engine.reembed(&name(), "text", "", Sources::Proved, CONTINUE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("letters") && error.to_string().contains("models install"), "{error}");
    assert_eq!(engine.collection(&name()).unwrap().generation, 1);
    let info = engine.reembed(&name(), "text", "", Sources::Trusted, CONTINUE).unwrap();
    assert_eq!((info.generation, info.points), (2, 2));
}

#[test]
fn an_image_that_differs_from_its_payload_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Database::options().embedders(Registry::with_defaults().unwrap()).open(dir.path()).unwrap();
    let spec = CollectionSpec::embedded(name(), "digits");
    engine.create_collection(&spec).unwrap();
    let bar = |from: usize| -> Vec<u8> {
        (0..784).map(|at| if (from..from + 4).contains(&(at % 28)) { 255 } else { 0 }).collect()
    };
    let file = |pixels: &[u8], format: image::ImageFormat| {
        let mut file = std::io::Cursor::new(Vec::new());
        let drawn = image::GrayImage::from_raw(28, 28, pixels.to_vec()).unwrap();
        drawn.write_to(&mut file, format).unwrap();
        file.into_inner()
    };
    let item = |id: &str, pixels: Vec<u8>, stored: String| {
        let payload = [(IMAGE_FIELD.to_owned(), stored.into())].into_iter().collect();
        Item { id: self::id(id), source: PointInput::Image(pixels), payload, vectors: Default::default() }
    };
    let other = item("a", bar(10), image_to_base64(&bar(3)));
    let error = engine.upsert(&name(), vec![other]).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("items[0].payload.image"), "{error}");
    let unreadable = item("a", bar(10), image_to_base64(b"no image at all"));
    assert_eq!(engine.upsert(&name(), vec![unreadable]).unwrap_err().kind(), ErrorKind::InvalidInput);
    // The same image in another file, and base64 data that is not an image.
    let [png, bmp] = [image::ImageFormat::Png, image::ImageFormat::Bmp].map(|format| file(&bar(10), format));
    let same = item("same", png, image_to_base64(&bmp));
    let url = item("url", bar(10), "https://example.org/a.png".into());
    engine.upsert(&name(), vec![item("good", bar(3), image_to_base64(&bar(3))), same, url]).unwrap();
    let error = engine.reembed(&name(), "digits", "logits", Sources::Proved, CONTINUE).unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("1 points"), "{error}");
    assert!(error.to_string().contains("\"url\""), "{error}");
    engine.delete_points(&name(), &[id("url")]).unwrap();
    assert_eq!(engine.reembed(&name(), "digits", "logits", Sources::Proved, CONTINUE).unwrap().points, 2);
}

#[test]
fn plain_vectors_are_not_reembedded() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let (space, index) = (VectorSource::Plain { dimension: 2 }, IndexSettings::default());
    engine.create_collection(&CollectionSpec::new(name(), space).metric(Metric::L2).index(index)).unwrap();
    let error = engine.reembed(&name(), "letters", "", Sources::Proved, CONTINUE).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("plain vectors"), "{error}");
}

#[test]
fn images_are_reembedded_from_their_payloads() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Database::options().embedders(Registry::with_defaults().unwrap()).open(dir.path()).unwrap();
    let spec =
        CollectionSpec::new(name(), VectorSource::Embedded { embedder: "digits".into(), output: "features".into() });
    engine.create_collection(&spec).unwrap();
    let pixels: Vec<u8> = (0..784).map(|at| if (10..14).contains(&(at % 28)) { 255 } else { 0 }).collect();
    let stored = base64::engine::general_purpose::STANDARD.encode(&pixels);
    let payload: Payload = [("image".to_owned(), stored.into())].into_iter().collect();
    engine
        .upsert(
            &name(),
            vec![Item {
                id: id("one"),
                source: PointInput::Image(pixels.clone()),
                payload,
                vectors: Default::default(),
            }],
        )
        .unwrap();
    let info = engine.reembed(&name(), "digits", "logits", Sources::Proved, CONTINUE).unwrap();
    assert_eq!(info.dimension, 10);
    let point = engine.get(&name(), &[id("one")], Fields { payload: false, vector: true }).unwrap().remove(0).unwrap();
    let digits = engine.embedders().by_name("digits").unwrap().clone();
    let logits = digits.embed(digits.output_layer("logits").unwrap(), &Input::Image(&pixels)).unwrap();
    assert_eq!(point.vector.unwrap(), logits);
}
