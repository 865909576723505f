//! Keyword and fused queries against plain reference implementations.

use crate::api::{
    AnalyzerConfig, Error, ErrorKind, Fields, Filter, Fusion, FusionMethod, Hybrid, Item, KeywordOperator, Keywords,
    Language, Path, PayloadAction, PayloadUpdate, PointSelection, Query, Reason, SearchParams, SubQuery, TextField,
    TextMatchKind,
};
use crate::engine::{Admin, Database, Reads, Writes};
use crate::prelude::{CollectionName, CollectionSpec, IndexSettings, Metric, PointId};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

/// Texts by id, of at most 30 words, whose lengths are exact.
type Texts = BTreeMap<String, String>;

fn name() -> CollectionName {
    CollectionName::new("c").unwrap()
}

fn id(text: &str) -> PointId {
    PointId::new(text).unwrap()
}

fn database(dir: &std::path::Path) -> Database {
    Database::open(dir).unwrap()
}

fn spec() -> CollectionSpec {
    CollectionSpec::vectors(name(), 2)
        .metric(Metric::L2)
        .index(IndexSettings::default().seal_rows(100))
        .text_fields([TextField::new("body", ["body"])])
}

/// Writes texts; the vector of a point is its number and its length.
fn write(database: &Database, known: &mut Texts, texts: impl IntoIterator<Item = (String, String)>) {
    let items: Vec<Item> = texts
        .into_iter()
        .map(|(key, text)| {
            known.insert(key.clone(), text.clone());
            let number: f32 = key[1..].parse().unwrap();
            Item::vector(id(&key), [number, text.len() as f32]).field("body", text).field("even", number % 2.0 == 0.0)
        })
        .collect();
    database.upsert(&name(), items).unwrap();
}

fn delete(database: &Database, known: &mut Texts, keys: &[String]) {
    keys.iter().for_each(|key| _ = known.remove(key));
    database.delete_points(&name(), &keys.iter().map(|key| id(key)).collect::<Vec<_>>()).unwrap();
}

fn random_text(random: &mut StdRng) -> String {
    let length = random.random_range(0..30);
    let word = |random: &mut StdRng| format!("w{}", (60_f64.powf(random.random::<f64>()) - 1.0) as u32);
    (0..length).map(|_| word(random)).collect::<Vec<_>>().join(" ")
}

/// Scores by the definition of BM25, of the texts with a word of the query.
fn reference(texts: &Texts, query: &str) -> BTreeMap<String, f64> {
    let (k1, b) = (1.2, 0.75);
    let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let documents: Vec<(&String, Vec<String>)> = texts.iter().map(|(key, text)| (key, split(text))).collect();
    let filled = documents.iter().filter(|(_, words)| !words.is_empty());
    let points = filled.clone().count() as f64;
    let average = filled.map(|(_, words)| words.len() as f64).sum::<f64>() / points.max(1.0);
    let mut scores = BTreeMap::new();
    for term in split(query) {
        let frequency = |words: &[String]| words.iter().filter(|word| **word == term).count() as f64;
        let df = documents.iter().filter(|(_, words)| frequency(words) > 0.0).count() as f64;
        let idf = (1.0 + (points - df + 0.5) / (df + 0.5)).ln();
        for (key, words) in &documents {
            let tf = frequency(words);
            if tf > 0.0 {
                let norm = k1 * (1.0 - b + b * words.len() as f64 / average);
                *scores.entry((*key).clone()).or_insert(0.0) += idf * (k1 + 1.0) * tf / (tf + norm);
            }
        }
    }
    scores
}

fn hits(database: &Database, query: Query, params: &SearchParams) -> Vec<(String, f32)> {
    let answer = database.search(&name(), &[query], params).unwrap().remove(0);
    answer.hits.iter().map(|hit| (hit.point.id.to_string(), hit.score)).collect()
}

#[track_caller]
fn check(database: &Database, texts: &Texts, random: &mut StdRng) {
    for words in [1, 2, 5, 20] {
        let query: Vec<String> = (0..words).map(|_| format!("w{}", random.random_range(0..62))).collect();
        let query = query.join(" ");
        let expected = reference(texts, &query);
        let mut best: Vec<f64> = expected.values().copied().collect();
        best.sort_by(|a, b| b.total_cmp(a));
        for k in [1, 10, 1_000] {
            let found = hits(database, Query::Keywords(Keywords::new(query.as_str())), &SearchParams::new(k));
            assert_eq!(found.len(), best.len().min(k as usize), "{query}");
            for ((key, score), best) in found.iter().zip(&best) {
                assert!((f64::from(*score) - best).abs() < 1e-4, "{query}: {score}, not {best}");
                assert!((f64::from(*score) - expected[key]).abs() < 1e-4, "{key}: {score}, not {}", expected[key]);
            }
        }
    }
}

#[test]
fn scores_cover_the_live_points_however_they_are_spread() {
    let dir = tempfile::tempdir().unwrap();
    let (mut random, mut texts) = (StdRng::seed_from_u64(1), Texts::new());
    let mut database = database(dir.path());
    database.create_collection(&spec()).unwrap();
    for round in 0..6 {
        let some: Vec<(String, String)> = (0..random.random_range(1..250))
            .map(|_| (format!("p{}", random.random_range(0..600)), random_text(&mut random)))
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect();
        write(&database, &mut texts, some);
        check(&database, &texts, &mut random);
        let dead: Vec<String> = texts.keys().filter(|_| random.random_bool(0.2)).cloned().collect();
        delete(&database, &mut texts, &dead);
        check(&database, &texts, &mut random);
        match round % 3 {
            0 => _ = database.compact(&name()).unwrap(),
            1 => {
                drop(database);
                database = self::database(dir.path());
            }
            _ => {}
        }
        check(&database, &texts, &mut random);
    }
    assert!(database.collection(&name()).unwrap().segments.len() + texts.len() > 1);
}

#[test]
fn updated_payloads_are_searched_by_their_new_text() {
    let dir = tempfile::tempdir().unwrap();
    let (mut random, mut texts) = (StdRng::seed_from_u64(9), Texts::new());
    let mut database = database(dir.path());
    database.create_collection(&spec()).unwrap();
    write(&database, &mut texts, (0..400).map(|at| (format!("p{at}"), random_text(&mut random))));
    let update = |database: &Database, keys: Vec<String>, fields: crate::api::Payload| {
        let selection = PointSelection::Ids(keys.iter().map(|key| id(key)).collect());
        let update = PayloadUpdate::new([PayloadAction::Set { path: None, fields }]);
        assert_eq!(database.update_payload(&name(), &selection, &update).unwrap().missing, []);
    };
    for round in 0..5 {
        for _ in 0..20 {
            let (key, text) = (format!("p{}", random.random_range(0..400)), random_text(&mut random));
            texts.insert(key.clone(), text.clone());
            update(&database, vec![key], [("body".to_owned(), text.into())].into_iter().collect());
        }
        check(&database, &texts, &mut random);
        // Another field: the texts stay.
        let all: Vec<String> = texts.keys().cloned().collect();
        update(&database, all, [("round".to_owned(), round.into())].into_iter().collect());
        check(&database, &texts, &mut random);
        match round {
            1 => {
                drop(database);
                database = self::database(dir.path());
            }
            3 => _ = database.compact(&name()).unwrap(),
            _ => {}
        }
        check(&database, &texts, &mut random);
        let key = format!("p{}", random.random_range(0..400));
        let words = texts[&key].clone();
        if !words.is_empty() {
            let query = Query::Keywords(Keywords::new(words).operator(KeywordOperator::All));
            let found = hits(&database, query.clone(), &SearchParams::new(400));
            let score = found.iter().find(|(other, _)| *other == key).unwrap().1;
            let explained = database.explain(&name(), &query, &SearchParams::new(400), &id(&key)).unwrap();
            assert_eq!((explained.reason, explained.score), (Reason::Hit, Some(score)));
        }
    }
}

#[test]
fn text_conditions_agree_with_and_without_text_fields() {
    let dir = tempfile::tempdir().unwrap();
    let (mut random, mut texts) = (StdRng::seed_from_u64(10), Texts::new());
    let database = database(dir.path());
    let mut stop = TextField::new("stop", ["body"]).language(Language::English);
    stop.analyzer.stop_words = vec!["w1".into()];
    let fields =
        [TextField::new("body", ["body"]), TextField::new("stems", ["x", "body"]).language(Language::English), stop];
    database.create_collection(&spec().text_fields([])).unwrap();
    // Texts longer than the strings of a payload index, which only an inverted index knows.
    let long = |random: &mut StdRng| format!("{} {}", random_text(random), "filler ".repeat(40));
    write(&database, &mut texts, (0..250).map(|at| (format!("p{at}"), long(&mut random))));
    let conditions = |random: &mut StdRng| {
        let words =
            (0..random.random_range(1..3)).map(|_| format!("w{}", random.random_range(0..40))).collect::<Vec<_>>();
        TextMatchKind::ALL.map(|kind| Filter::text("body", kind, words.join(" ")))
    };
    for field in std::iter::once(None).chain(fields.map(Some)) {
        if let Some(field) = &field {
            database.add_field(&name(), field.clone().into()).unwrap();
            hits(&database, Query::Keywords(Keywords::new("w0").field(field.name.as_str())), &SearchParams::new(1));
        }
        let mut found = 0;
        for filter in (0..12).flat_map(|_| conditions(&mut random)) {
            let Filter::Text { matches, .. } = &filter else { unreachable!() };
            let expected = texts.values().filter(|text| matches.matches(text)).count() as u64;
            assert_eq!(database.count(&name(), Some(&filter)).unwrap(), expected, "{filter:?} {field:?}");
            found += expected;
        }
        assert!(found > 200, "{found}");
        if let Some(field) = &field {
            database.drop_field(&name(), &field.name).unwrap();
        }
    }
}

#[test]
fn a_damaged_or_missing_index_is_rebuilt_and_unknown_ones_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut random, mut texts) = (StdRng::seed_from_u64(2), Texts::new());
    let files = || -> Vec<std::path::PathBuf> {
        let folders = std::fs::read_dir(dir.path().join("collections")).unwrap();
        let all = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        let mut files: Vec<_> = all.map(|file| file.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "terms"));
        files
    };
    {
        let database = database(dir.path());
        database.create_collection(&spec()).unwrap();
        write(&database, &mut texts, (0..300).map(|at| (format!("p{at}"), random_text(&mut random))));
        database.compact(&name()).unwrap();
        check(&database, &texts, &mut random);
    }
    let [file] = <[_; 1]>::try_from(files()).unwrap();
    let intact = std::fs::read(&file).unwrap();
    for at in (0..intact.len()).step_by(intact.len() / 7) {
        let mut damaged = intact.clone();
        damaged[at] ^= 1;
        std::fs::write(&file, damaged).unwrap();
        check(&database(dir.path()), &texts, &mut random);
        assert_eq!(std::fs::read(&file).unwrap(), intact, "byte {at}");
    }
    let other = file.with_file_name(file.file_name().unwrap().to_string_lossy().replacen('.', ".0", 1));
    std::fs::copy(&file, &other).unwrap();
    std::fs::remove_file(&file).unwrap();
    check(&database(dir.path()), &texts, &mut random);
    assert_eq!(files(), std::slice::from_ref(&file));
    let report = database(dir.path()).check(&name()).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
    std::fs::write(&file, &intact[1..]).unwrap();
    let report = crate::collection::check_directory(dir.path()).unwrap();
    assert!(report.findings.iter().any(|finding| finding.file.ends_with(".terms")), "{report:?}");
}

#[test]
fn all_words_filters_thresholds_and_pages() {
    let dir = tempfile::tempdir().unwrap();
    let (mut random, mut texts) = (StdRng::seed_from_u64(3), Texts::new());
    let database = database(dir.path());
    database.create_collection(&spec()).unwrap();
    write(&database, &mut texts, (0..450).map(|at| (format!("p{at}"), random_text(&mut random))));
    let all = Keywords::new("w0 w1 w2").operator(KeywordOperator::All);
    let has = |text: &str, word: &str| text.split(' ').any(|other| other == word);
    let expected: Vec<&String> = texts
        .iter()
        .filter(|(_, text)| ["w0", "w1", "w2"].iter().all(|word| has(text, word)))
        .map(|(key, _)| key)
        .collect();
    assert!((5..200).contains(&expected.len()));
    let mut found = hits(&database, Query::Keywords(all.clone()), &SearchParams::new(1_000));
    let any = hits(&database, Query::Keywords(Keywords::new("w0 w1 w2")), &SearchParams::new(1_000));
    assert!(found.iter().all(|hit| any.contains(hit)), "the scores do not depend on the operator");
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.iter().map(|(key, _)| key).eq(expected));

    let even = SearchParams::new(1_000).filter(Filter::equals("even", true));
    let filtered = hits(&database, Query::Keywords(Keywords::new("w0 w1 w2")), &even);
    let expected: Vec<_> = any.iter().filter(|(key, _)| key[1..].parse::<u32>().unwrap() % 2 == 0).cloned().collect();
    assert_eq!(filtered, expected);
    let high = SearchParams::new(1_000).score_threshold(any[20].1);
    let found = hits(&database, Query::Keywords(Keywords::new("w0 w1 w2")), &high);
    assert_eq!(found, any.iter().filter(|hit| hit.1 >= any[20].1).cloned().collect::<Vec<_>>());
    let page = SearchParams::new(30).offset(10);
    assert_eq!(hits(&database, Query::Keywords(Keywords::new("w0 w1 w2")), &page), any[10..30]);

    let none = hits(&database, Query::Keywords(Keywords::new("... unknown")), &SearchParams::new(3));
    assert!(none.is_empty());
    let grouped = SearchParams::new(10).group_by("even").fields(Fields::PAYLOAD);
    let grouped = hits(&database, Query::Keywords(Keywords::new("w0")), &grouped);
    assert_eq!(grouped.len(), 2);
    let answer = database.search(&name(), &[Query::Keywords(Keywords::new("w0"))], &SearchParams::new(3)).unwrap();
    assert_eq!((answer[0].stats.path, answer[0].stats.expected_recall), (Path::Keywords, Some(1.0)));
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, Error>, kind: ErrorKind, parts: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    parts.iter().for_each(|part| assert!(error.to_string().contains(part), "{error}: no {part:?}"));
}

#[test]
fn fields_are_added_and_dropped_while_the_collection_serves() {
    let dir = tempfile::tempdir().unwrap();
    let (mut random, mut texts) = (StdRng::seed_from_u64(4), Texts::new());
    let database = database(dir.path());
    database.create_collection(&spec().text_fields([])).unwrap();
    write(&database, &mut texts, (0..250).map(|at| (format!("p{at}"), random_text(&mut random))));
    let invalid = ErrorKind::InvalidInput;
    let search = |query: Keywords| database.search(&name(), &[Query::Keywords(query)], &SearchParams::new(3));
    refused(search(Keywords::new("w1")), invalid, &["query.keywords.field", "no text field"]);
    let info = database.add_field(&name(), TextField::new("body", ["body"]).into()).unwrap();
    assert_eq!(info.text_fields.len(), 1);
    check(&database, &texts, &mut random);
    let again = database.add_field(&name(), TextField::new("body", ["other"]).into());
    refused(again, ErrorKind::AlreadyExists, &["body", "drop it"]);
    let config = AnalyzerConfig::default();
    database
        .add_field(&name(), TextField::new("second", ["x", "body"]).analyzer(config).bm25(0.0, 0.0).into())
        .unwrap();
    refused(search(Keywords::new("w1")), invalid, &["body, second"]);
    refused(search(Keywords::new("w1").field("third")), invalid, &["third", "body, second"]);
    let found = search(Keywords::new("w1").field("second")).unwrap().remove(0);
    assert_eq!(found.hits[0].score, found.hits[2].score, "only the presence counts");
    for (field, part) in [
        (TextField::new("", ["a"]), "name"),
        (TextField::new("a b", ["a"]), "name"),
        (TextField::new("x", Vec::<String>::new()), "paths"),
        (TextField::new("x", [""]), "paths[0]"),
        (TextField::new("x", ["a"]).bm25(-1.0, 0.5), "k1"),
        (TextField::new("x", ["a"]).bm25(f32::NAN, 0.5), "k1"),
        (TextField::new("x", ["a"]).bm25(1.0, 1.5), "text_fields[2].b"),
    ] {
        refused(database.add_field(&name(), field.into()), invalid, &[part]);
    }
    refused(database.drop_field(&name(), "none"), invalid, &["none", "body, second"]);
    let info = database.drop_field(&name(), "second").unwrap();
    assert_eq!(info.text_fields, [TextField::new("body", ["body"])]);
    drop(database);
    let database = self::database(dir.path());
    check(&database, &texts, &mut random);
    assert_eq!(database.collection(&name()).unwrap().text_fields, info.text_fields);
    let many = "w ".repeat(600_000);
    refused(
        database.search(&name(), &[Query::Keywords(Keywords::new(many))], &SearchParams::new(1)),
        invalid,
        &["query.keywords.text", "1048576"],
    );
    let many: Vec<String> = (0..1_025).map(|number| format!("v{number}")).collect();
    let many = Query::Keywords(Keywords::new(many.join(" ")));
    refused(database.search(&name(), &[many], &SearchParams::new(1)), invalid, &["1025 distinct terms", "shorten"]);
}

#[test]
fn an_analyzed_text_shows_what_is_searched() {
    let dir = tempfile::tempdir().unwrap();
    let database = database(dir.path());
    let mut field = TextField::new("body", ["body"]).language(Language::English);
    field.analyzer.stop_words = vec!["the".into()];
    database.create_collection(&spec().text_fields([field])).unwrap();
    let tokens = database.analyze(&name(), "", "The Runners ran").unwrap();
    let shown: Vec<_> =
        tokens.iter().map(|token| (token.term.as_str(), token.position, token.start..token.end)).collect();
    assert_eq!(shown, [("runner", 1, 4..11), ("ran", 2, 12..15)]);
    let item = Item::vector(id("p0"), [0.0, 0.0]).field("body", "the runners of Ghent");
    database.upsert(&name(), vec![item]).unwrap();
    let found = hits(&database, Query::Keywords(Keywords::new("RUNNER")), &SearchParams::new(1));
    assert_eq!(found[0].0, "p0");
    refused(database.analyze(&name(), "other", "a"), ErrorKind::InvalidInput, &["other"]);
}

/// A collection with texts and vectors, some growing.
fn mixed(dir: &std::path::Path, random: &mut StdRng) -> (Database, Texts) {
    let (database, mut texts) = (database(dir), Texts::new());
    database.create_collection(&spec()).unwrap();
    write(&database, &mut texts, (0..350).map(|at| (format!("p{at}"), random_text(random))));
    (database, texts)
}

/// Returns (id, score) of the fused queries, in f64, best first.
fn fused(lists: &[(f64, Vec<(String, f32)>)], method: FusionMethod) -> Vec<(String, f64)> {
    let mut fused: BTreeMap<String, f64> = BTreeMap::new();
    let weights: f64 = lists.iter().map(|(weight, _)| weight).sum();
    for (weight, list) in lists {
        let scores: Vec<f64> = list.iter().map(|(_, score)| f64::from(*score)).collect();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let deviation = (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / scores.len() as f64).sqrt();
        let (low, high) = match method {
            FusionMethod::Distribution => (mean - 3.0 * deviation, mean + 3.0 * deviation),
            _ => (scores.iter().copied().fold(f64::MAX, f64::min), scores.iter().copied().fold(f64::MIN, f64::max)),
        };
        for (rank, ((key, _), score)) in (1..).zip(list.iter().zip(scores)) {
            *fused.entry(key.clone()).or_default() += match method {
                FusionMethod::ReciprocalRank { k } => weight / (f64::from(k) + f64::from(rank)),
                _ => weight / weights * ((score - low) / (high - low)).clamp(0.0, 1.0),
            };
        }
    }
    let mut fused: Vec<(String, f64)> = fused.into_iter().collect();
    fused.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    fused
}

#[track_caller]
fn same(found: &[(String, f32)], expected: &[(String, f64)]) {
    assert_eq!(found.len(), expected.len());
    for ((key, score), (expected_key, expected_score)) in found.iter().zip(expected) {
        assert!((f64::from(*score) - expected_score).abs() < 1e-5, "{key}: {score}; {expected_key}: {expected_score}");
    }
}

#[test]
fn fused_scores_are_those_of_the_definitions() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(5);
    let (database, _texts) = mixed(dir.path(), &mut random);
    let (words, vector) = (Keywords::new("w1 w5 w9"), vec![120.0, 60.0]);
    let list = |query: Query, limit: u32| hits(&database, query, &SearchParams::new(limit).exact());
    let lists = [(2.0, list(Query::Keywords(words.clone()), 50)), (0.5, list(Query::Vector(vector.clone()), 40))];
    for method in [
        FusionMethod::default(),
        FusionMethod::ReciprocalRank { k: 1.0 },
        FusionMethod::MinMax,
        FusionMethod::Distribution,
    ] {
        let parts = [
            SubQuery::new(Query::Keywords(words.clone())).weight(2.0).limit(50),
            SubQuery::new(Query::Vector(vector.clone())).weight(0.5).limit(40),
        ];
        let query = Query::Fusion(Box::new(Fusion::new(parts).method(method)));
        let mut expected = fused(&lists, method);
        assert!(expected.len() > 60);
        same(&hits(&database, query.clone(), &SearchParams::new(1_000).exact()), &expected);
        expected.truncate(7);
        same(&hits(&database, query, &SearchParams::new(7).exact()), &expected);
    }
    // Without limits: 100 candidates each, or twice k.
    let parts = [SubQuery::new(Query::Keywords(words)), SubQuery::new(Query::Vector(vector))];
    let query = Query::Fusion(Box::new(Fusion::new(parts)));
    let answer = database.search(&name(), &[query], &SearchParams::new(60).exact()).unwrap().remove(0);
    assert_eq!((answer.stats.path, answer.hits.len()), (Path::Fusion, 60));
    let parts: Vec<_> = answer.stats.parts.iter().map(|part| (part.query.as_str(), part.path)).collect();
    assert_eq!(parts, [("queries[0]", Path::Keywords), ("queries[1]", Path::Exact)]);
    assert_eq!(answer.stats.parts[1].candidates, 120);
    assert_eq!(answer.stats.expected_recall, Some(1.0));
}

#[test]
fn a_convex_combination_uses_the_true_scores_of_all_candidates() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(6);
    let (database, texts) = mixed(dir.path(), &mut random);
    let (words, vector) = ("w2 w7", vec![200.0, 50.0]);
    let parts = [
        SubQuery::new(Query::Keywords(Keywords::new(words))).weight(0.7).limit(20),
        SubQuery::new(Query::Vector(vector.clone())).weight(0.3).limit(20),
    ];
    let query = Query::Fusion(Box::new(Fusion::new(parts).method(FusionMethod::Convex)));
    let found = hits(&database, query, &SearchParams::new(1_000).exact());
    let bm25 = reference(&texts, words);
    let near: BTreeMap<String, f64> = hits(&database, Query::Vector(vector), &SearchParams::new(1_000).exact())
        .into_iter()
        .map(|(key, score)| (key, f64::from(score)))
        .collect();
    let top = |scores: &BTreeMap<String, f64>| -> Vec<String> {
        let mut keys: Vec<&String> = scores.keys().collect();
        keys.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then_with(|| a.cmp(b)));
        keys.into_iter().take(20).cloned().collect()
    };
    let candidates: std::collections::BTreeSet<String> = top(&bm25).into_iter().chain(top(&near)).collect();
    assert!(candidates.len() > 25);
    let max = |scores: &BTreeMap<String, f64>| {
        candidates.iter().filter_map(|key| scores.get(key)).copied().fold(f64::MIN, f64::max)
    };
    let min = candidates.iter().map(|key| near[key]).fold(f64::MAX, f64::min);
    let score = |key: &String| {
        0.7 * bm25.get(key).copied().unwrap_or(0.0) / max(&bm25) + 0.3 * (near[key] - min) / (max(&near) - min)
    };
    assert_eq!(found.len(), candidates.len());
    for (key, found) in &found {
        assert!((f64::from(*found) - score(key)).abs() < 1e-4, "{key}: {found}, not {}", score(key));
    }
    assert!(found.windows(2).all(|pair| pair[0].1 >= pair[1].1));
}

#[test]
fn fusions_nest_and_have_filters_thresholds_and_limits() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let (database, _) = mixed(dir.path(), &mut random);
    let words = |text: &str| Query::Keywords(Keywords::new(text));
    let inner = Fusion::new([SubQuery::new(words("w1")), SubQuery::new(words("w2"))]);
    let inner = SubQuery::new(Query::Fusion(Box::new(inner))).filter(Filter::equals("even", true));
    let query = Query::Fusion(Box::new(Fusion::new([inner, SubQuery::new(Query::Id(id("p11")))])));
    let answer = database.search(&name(), std::slice::from_ref(&query), &SearchParams::new(350)).unwrap().remove(0);
    let names: Vec<&str> = answer.stats.parts.iter().map(|part| part.query.as_str()).collect();
    assert_eq!(names, ["queries[0]", "queries[0].queries[0]", "queries[0].queries[1]", "queries[1]"]);
    assert!(answer.hits.iter().all(|hit| hit.point.id.as_str() != "p11"), "the query point is excluded");
    let alone = SubQuery::new(words("w1")).filter(Filter::equals("even", true)).score_threshold(0.5);
    let params = SearchParams::new(100).filter(Filter::exists("nothing"));
    let of =
        |part: SubQuery, params: &SearchParams| hits(&database, Query::Fusion(Box::new(Fusion::new([part]))), params);
    assert!(of(alone.clone(), &params).is_empty(), "both filters hold");
    let found = of(alone, &SearchParams::new(100));
    let expected: Vec<String> = hits(&database, words("w1"), &SearchParams::new(1_000))
        .into_iter()
        .filter(|(key, score)| key[1..].parse::<u32>().unwrap() % 2 == 0 && *score >= 0.5)
        .map(|(key, _)| key)
        .collect();
    assert!(!found.is_empty());
    assert!(found.iter().map(|(key, _)| key).eq(expected.iter().take(100)));

    let invalid = |query: Query, parts: &[&str]| {
        refused(database.search(&name(), &[query], &SearchParams::new(3)), ErrorKind::InvalidInput, parts);
    };
    let fusion = |parts: Vec<SubQuery>| Query::Fusion(Box::new(Fusion::new(parts)));
    let one = || SubQuery::new(words("w1"));
    invalid(fusion(Vec::new()), &["query.fusion.queries", "1 to 16"]);
    invalid(fusion(vec![one(); 17]), &["17"]);
    invalid(fusion(vec![one().weight(f32::NAN)]), &["query.fusion.queries[0].weight"]);
    invalid(fusion(vec![one().limit(10_001)]), &["limit", "10000"]);
    invalid(
        fusion(vec![SubQuery::new(Query::Vector(vec![1.0]))]),
        &["query.fusion.queries[0].query.vector", "2 components"],
    );
    let deep =
        fusion(vec![SubQuery::new(fusion(vec![SubQuery::new(fusion(vec![SubQuery::new(fusion(vec![one()]))]))]))]);
    invalid(deep, &["nested", "3"]);
    let wide = fusion(vec![SubQuery::new(fusion(vec![one(); 15])); 5]);
    invalid(wide, &["80 queries", "64"]);
    let filtered = fusion(vec![SubQuery::new(fusion(vec![one().filter(Filter::exists("a")); 15])); 4]);
    let batch = database.search(&name(), &[filtered.clone(), filtered], &SearchParams::new(3));
    refused(batch, ErrorKind::InvalidInput, &["queries[1].fusion", "64 filters"]);
    let rrf = Fusion::new([one()]).method(FusionMethod::ReciprocalRank { k: 0.0 });
    invalid(Query::Fusion(Box::new(rrf)), &["rrf.k"]);
    invalid(Query::Hybrid(Hybrid::new("w1")), &["no embedder"]);
    invalid(Query::Hybrid(Hybrid::new("w1").keyword_weight(2.0)), &["keyword_weight"]);
}

#[test]
fn a_fused_rank_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(8);
    let (database, texts) = mixed(dir.path(), &mut random);
    let params = SearchParams::new(5);
    let explain = |query: &Query, key: &str| database.explain(&name(), query, &params, &id(key)).unwrap();
    let words = Query::Keywords(Keywords::new("w0 w3"));
    let found = hits(&database, words.clone(), &SearchParams::new(1_000));
    for (rank, (key, score)) in found.iter().enumerate() {
        let explanation = explain(&words, key);
        let terms = &explanation.parts[0].terms;
        assert_eq!(explanation.true_rank, Some(rank as u64 + 1));
        assert_eq!(explanation.reason, if rank < 5 { Reason::Hit } else { Reason::Beaten });
        assert_eq!(explanation.score, Some(*score));
        let sum: f32 = terms.iter().map(|term| term.contribution).sum();
        assert!((sum - score).abs() < 1e-5);
        for term in terms {
            let here = texts[key].split(' ').filter(|word| *word == term.term).count();
            assert_eq!(term.frequency as usize, here);
            let points = texts.values().filter(|text| text.split(' ').any(|word| word == term.term)).count();
            assert_eq!(term.points as usize, points);
            assert!(term.contribution <= term.weight);
        }
    }
    let without = texts.iter().find(|(_, text)| !text.split(' ').any(|word| word == "w0" || word == "w3")).unwrap().0;
    assert_eq!(explain(&words, without).reason, Reason::NoTerms);
    assert_eq!(explain(&words, "none").reason, Reason::UnknownPoint);

    let parts = [SubQuery::new(words), SubQuery::new(Query::Id(id("p9")))];
    let fusion = Query::Fusion(Box::new(Fusion::new(parts)));
    let found = hits(&database, fusion.clone(), &params);
    for (rank, (key, score)) in (1..).zip(&found) {
        let explanation = explain(&fusion, key);
        assert_eq!((explanation.rank, explanation.reason), (Some(rank), Reason::Hit));
        let sum: f32 = explanation.parts.iter().filter_map(|part| part.contribution).sum();
        assert!((sum - score).abs() < 1e-6 && explanation.score.is_some_and(|found| (found - score).abs() < 1e-6));
        for part in &explanation.parts {
            assert_eq!(part.rank.is_some(), part.contribution > Some(0.0));
            assert!(part.score.is_some(), "known without being a candidate, too");
        }
        assert_eq!(explanation.kth_distance.map(|kth| -kth), Some(found[4].1));
    }
    assert_eq!(explain(&fusion, "p9").reason, Reason::Excluded);
}

#[test]
fn growing_points_are_found_at_once_by_many_threads() {
    let dir = tempfile::tempdir().unwrap();
    let database = database(dir.path());
    database.create_collection(&spec()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let database = &database;
            scope.spawn(move || {
                for number in 0..120 {
                    let (key, word) = (format!("p{}", thread * 1_000 + number), format!("x{thread}y{number}"));
                    write(database, &mut Texts::new(), [(key.clone(), format!("w0 {word}"))]);
                    let found = hits(database, Query::Keywords(Keywords::new(word)), &SearchParams::new(5));
                    assert_eq!(found.iter().map(|hit| &hit.0).collect::<Vec<_>>(), [&key]);
                }
            });
        }
    });
    let all = hits(&database, Query::Keywords(Keywords::new("w0")), &SearchParams::new(1_000));
    assert_eq!(all.len(), 360);
}

#[test]
fn any_text_is_searched_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let database = database(dir.path());
    let mut field = TextField::new("body", ["body"]).language(Language::Turkish);
    field.analyzer.fold_accents = true;
    database.create_collection(&spec().text_fields([field])).unwrap();
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 200, failure_persistence: None, ..Config::default() },
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    runner
        .run(&proptest::prelude::any::<String>(), |text| {
            let item = Item::vector(id("p"), [0.0, 0.0]).field("body", text.as_str());
            database.upsert(&name(), vec![item]).unwrap();
            if !text.is_empty() && !database.analyze(&name(), "", &text).unwrap().is_empty() {
                let found = hits(&database, Query::Keywords(Keywords::new(text)), &SearchParams::new(1));
                assert_eq!(found.len(), 1);
            }
            Ok(())
        })
        .unwrap();
}
