//! Ranked and grouped hits against plain reference implementations.

use crate::api::{
    Accuracy, Diversity, Error, ErrorKind, Fields, Filter, Fusion, FusionMethod, Item, Keywords, Payload, Query,
    Reason, Recommend, RecommendStrategy, RecommendTerm, Rerank, SearchParams, SubQuery, TextField,
};
use crate::engine::{Admin, Database, Reads, Writes};
use crate::prelude::{CollectionName, CollectionSpec, IndexSettings, Metric, PointId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DIMENSION: usize = 4;

/// A collection of sealed and growing segments, and what it holds.
struct Filled {
    _dir: tempfile::TempDir,
    database: Database,
    points: BTreeMap<String, (Vec<f32>, Payload)>,
    metric: Metric,
}

fn name() -> CollectionName {
    CollectionName::new("c").unwrap()
}

fn id(text: &str) -> PointId {
    PointId::new(text).unwrap()
}

fn vector(random: &mut StdRng) -> Vec<f32> {
    (0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect()
}

fn payload(number: u32, random: &mut StdRng) -> Payload {
    let group = match number % 10 {
        0 => Value::Null,
        1 => json!({ "x": number % 20 }),
        2 => json!(["g1", "g2"]),
        3 => json!(number % 4),
        _ => json!(format!("g{}", random.random_range(0..12_u32).pow(2) / 12)),
    };
    let words = format!("w{} w{}", number % 7, number % 3);
    let value = json!({ "group": group, "even": number.is_multiple_of(2), "body": words, "n": number });
    value.as_object().unwrap().clone()
}

fn filled(metric: Metric) -> Filled {
    let (dir, mut random) = (tempfile::tempdir().unwrap(), StdRng::seed_from_u64(metric as u64 + 1));
    let database = Database::open(dir.path()).unwrap();
    let spec = CollectionSpec::vectors(name(), DIMENSION as u32)
        .metric(metric)
        .index(IndexSettings::default().seal_rows(100))
        .text_fields([TextField::new("body", ["body"])]);
    database.create_collection(&spec).unwrap();
    let mut points = BTreeMap::new();
    for number in 0..450 {
        let (vector, payload) = (vector(&mut random), payload(number, &mut random));
        let item = Item::vector(id(&format!("p{number}")), vector.clone());
        database.upsert(&name(), vec![Item { payload: payload.clone(), ..item }]).unwrap();
        points.insert(format!("p{number}"), (vector, payload));
    }
    Filled { _dir: dir, database, points, metric }
}

impl Filled {
    fn hits(&self, query: &Query, params: &SearchParams) -> Vec<(String, f32)> {
        let answer = self.database.search(&name(), std::slice::from_ref(query), params).unwrap().remove(0);
        answer.hits.iter().map(|hit| (hit.point.id.to_string(), hit.score)).collect()
    }

    /// Returns all hits of an exact search.
    fn all(&self, query: &Query, params: &SearchParams) -> Vec<(String, f32)> {
        self.hits(query, &SearchParams { k: 10_000, ..params.clone() }.exact())
    }

    #[track_caller]
    fn refused(&self, params: &SearchParams, parts: &[&str]) {
        self.query_refused(&Query::Vector(vec![1.0; DIMENSION]), params, parts);
    }

    #[track_caller]
    fn query_refused(&self, query: &Query, params: &SearchParams, parts: &[&str]) {
        let error: Error = self.database.search(&name(), std::slice::from_ref(query), params).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        parts.iter().for_each(|part| assert!(error.to_string().contains(part), "{error}: no {part:?}"));
    }
}

/// The first value of a field that is not null; of a list, the first element.
fn group_of(payload: &Payload) -> Option<Value> {
    match payload.get("group").cloned()? {
        Value::Null => None,
        Value::Array(items) => items.first().cloned(),
        other => Some(other),
    }
}

#[test]
fn groups_have_their_best_hits() {
    let filled = filled(Metric::L2);
    let keywords = Query::Keywords(Keywords::new("w1 w2"));
    let filter = SearchParams::new(1).filter(Filter::equals("even", true));
    for (query, params) in [
        (Query::Vector(vec![0.1, 0.5, -0.2, 0.0]), SearchParams::new(1)),
        (Query::Id(id("p17")), SearchParams::new(1)),
        (Query::Id(id("p18")), filter.clone()),
        (keywords.clone(), SearchParams::new(1)),
        (keywords, filter.clone().score_threshold(1.0)),
    ] {
        let all = filled.all(&query, &params);
        for (k, size) in [(1, 1), (1, 100), (3, 2), (10, 3), (10, 30), (100, 7), (400, 25)] {
            let grouped = |hits: &[(String, f32)]| {
                let mut groups: Vec<(Option<Value>, Vec<f32>)> = Vec::new();
                for (id, score) in hits {
                    let group = group_of(&filled.points[id].1);
                    match groups.iter_mut().find(|(other, _)| group.is_some() && *other == group) {
                        Some((_, scores)) => scores.push(*score),
                        None => groups.push((group, vec![*score])),
                    }
                }
                groups
            };
            let truth = grouped(&all);
            let params = SearchParams { k: k as u32, ..params.clone() }.group_by("group").group_size(size as u32);
            let hits = filled.hits(&query, &params.clone().exact());
            let found = grouped(&hits);
            // Points and groups of equal scores have no order.
            let best =
                |groups: &[(Option<Value>, Vec<f32>)]| groups.iter().map(|(_, scores)| scores[0]).collect::<Vec<_>>();
            assert_eq!(best(&found), best(&truth[..truth.len().min(k)]), "{query:?}, {k} groups of {size}");
            for (group, scores) in found.iter().filter(|(group, _)| group.is_some()) {
                let (_, expected) = truth.iter().find(|(other, _)| other == group).unwrap();
                assert_eq!(scores[..], expected[..expected.len().min(size)], "{query:?}, {k} groups of {size}");
            }
            let flat: Vec<f32> = found.into_iter().flat_map(|(_, scores)| scores).collect();
            assert!(flat.iter().eq(hits.iter().map(|(_, score)| score)), "a group is not in one piece");
            let page = filled.hits(&query, &params.exact().offset(hits.len() as u32 / 2));
            assert_eq!(page, hits[hits.len() / 2..]);
        }
    }
    let grouped = SearchParams::new(10).group_by("group").fields(Fields::PAYLOAD);
    filled.refused(&grouped.clone().group_size(101), &["params.group_size", "1 to 100", "101"]);
    filled
        .refused(&SearchParams { k: 101, ..grouped.clone() }.group_size(100), &["params.group_size", "10000", "10100"]);
    filled.refused(&grouped.clone().group_size(2).offset(20), &["offset", "params.group_size", "20"]);
    filled.refused(&SearchParams::new(1).group_size(2), &["params.group_size", "params.group_by"]);
}

/// Maximal marginal relevance by its definition, in f64. `candidates` are ids with their scores, best first.
fn diverse(filled: &Filled, query: &[f32], candidates: &[(String, f32)], k: usize, weight: f64) -> Vec<String> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norm = |a: &[f32]| dot(a, a).sqrt();
    let apart = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
    };
    let vector = |id: &String| filled.points[id].0.as_slice();
    let largest = candidates.iter().map(|(id, _)| norm(vector(id))).fold(0.0, f64::max);
    let farthest = candidates.iter().map(|(id, _)| apart(vector(id), query)).fold(0.0, f64::max);
    let similarity = |a: &[f32], b: &[f32]| match filled.metric {
        Metric::Cosine => dot(a, b) / (norm(a) * norm(b)),
        Metric::Dot => dot(a, b) / (largest * largest),
        Metric::L2 => 1.0 - apart(a, b) / (2.0 * farthest),
    };
    let relevance = |id: &String| match filled.metric {
        Metric::Dot => dot(vector(id), query) / (largest * norm(query)),
        Metric::Cosine | Metric::L2 => similarity(vector(id), query),
    };
    let mut left: Vec<&String> = candidates.iter().map(|(id, _)| id).collect();
    let mut selected: Vec<&String> = Vec::new();
    while selected.len() < k && !left.is_empty() {
        let value = |id: &String| {
            let nearest = selected.iter().map(|other| similarity(vector(id), vector(other)));
            let nearest = nearest.reduce(f64::max).unwrap_or(0.0);
            (1.0 - weight) * relevance(id) - weight * nearest
        };
        let best = left.iter().rev().max_by(|a, b| value(a).partial_cmp(&value(b)).unwrap()).copied().unwrap();
        left.retain(|id| *id != best);
        selected.push(best);
    }
    selected.into_iter().cloned().collect()
}

#[test]
fn varied_hits_are_those_of_the_definition() {
    for metric in Metric::ALL {
        let filled = filled(metric);
        let query = vec![0.1, 0.5, -0.2, 0.3];
        let all = filled.all(&Query::Vector(query.clone()), &SearchParams::new(1));
        for (k, weight, candidates) in
            [(1, 0.5, 0), (10, 0.0, 0), (10, 0.5, 0), (10, 0.3, 30), (20, 1.0, 50), (40, 0.7, 0)]
        {
            let ranked = if candidates > 0 { candidates } else { (4 * k).max(100) };
            let expected = diverse(&filled, &query, &all[..ranked], k, f64::from(weight));
            let diversity = Diversity::new(weight).candidates(candidates as u32);
            let params = SearchParams::new(k as u32).exact().diversity(diversity);
            let found = filled.hits(&Query::Vector(query.clone()), &params);
            let ids: Vec<&String> = found.iter().map(|(id, _)| id).collect();
            assert!(ids.iter().copied().eq(&expected), "{metric} {k} {weight}: {ids:?}, not {expected:?}");
            for hit in &found {
                assert!(all.contains(hit), "{hit:?} has another score");
            }
            let page = filled.hits(&Query::Vector(query.clone()), &params.clone().offset(k as u32 / 2));
            assert_eq!(page, found[k / 2..]);
            // The threshold applies before the selection.
            let worst = all[k].1;
            let found = filled.hits(&Query::Vector(query.clone()), &params.clone().score_threshold(worst));
            let above = all[..ranked].iter().filter(|hit| hit.1 >= worst).cloned().collect::<Vec<_>>();
            assert_eq!(found.len(), k, "{metric} {k} {weight}");
            if metric != Metric::L2 && metric != Metric::Dot {
                let expected = diverse(&filled, &query, &above, k, f64::from(weight));
                assert!(found.iter().map(|(id, _)| id).eq(&expected), "{metric} {k} {weight}");
            }
        }
        // Keywords have no vector: scores are scaled.
        let keywords = Query::Keywords(Keywords::new("w1 w2"));
        let scores = filled.hits(&keywords, &SearchParams::new(100));
        let found = filled.hits(&keywords, &SearchParams::new(3).diversity(Diversity::new(0.9)));
        assert_eq!((found.len(), found[0].1), (3, scores[0].1));
        assert_ne!(found[..], scores[..3], "{metric}");
        let by_id = filled.hits(&Query::Id(id("p3")), &SearchParams::new(5).diversity(Diversity::new(1.0)));
        assert!(by_id.iter().all(|(id, _)| id != "p3"));
    }
    let (filled, params) = (filled(Metric::L2), SearchParams::new(10));
    for weight in [-0.1, 1.5, f32::NAN] {
        filled.refused(&params.clone().diversity(Diversity::new(weight)), &["params.diversity.weight", "0 to 1"]);
    }
    for candidates in [9, 10_001] {
        let diversity = Diversity::new(0.5).candidates(candidates);
        filled.refused(&params.clone().diversity(diversity), &["params.diversity.candidates", "10) to 10000"]);
    }
    let grouped = params.diversity(Diversity::new(0.5)).group_by("group");
    filled.refused(&grouped, &["params.diversity", "params.group_by"]);
}

#[test]
fn candidates_are_ordered_by_another_query() {
    for metric in Metric::ALL {
        let filled = filled(metric);
        let query = Query::Vector(vec![0.1, 0.5, -0.2, 0.3]);
        let candidates = filled.hits(&query, &SearchParams::new(100).exact());
        for other in
            [Query::Vector(vec![-0.5, 0.5, 0.9, 0.3]), Query::Id(id("p8")), Query::Keywords(Keywords::new("w1 w2"))]
        {
            let exact = filled.all(&other, &SearchParams::new(1));
            let keywords = matches!(other, Query::Keywords(_));
            let mut expected: Vec<(String, f32)> = candidates
                .iter()
                .filter_map(|(id, _)| match exact.iter().find(|(other, _)| other == id) {
                    Some(hit) => Some(hit.clone()),
                    None => keywords.then(|| (id.clone(), 0.0)),
                })
                .collect();
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            let params = SearchParams::new(10).exact().rerank(Rerank::new(other.clone()));
            let found = filled.hits(&query, &params);
            assert_eq!(found, expected[..10], "{metric} {other:?}");
            let threshold = expected[4].1;
            let count = expected.iter().filter(|hit| hit.1 >= threshold).count().min(10);
            assert_eq!(filled.hits(&query, &params.clone().score_threshold(threshold)), expected[..count]);
            // Groups, in the new order.
            let grouped = filled.hits(&query, &params.clone().group_by("group"));
            let groups: Vec<_> = grouped.iter().map(|(id, _)| group_of(&filled.points[id].1)).collect();
            assert_eq!((grouped.len(), &grouped[0]), (10, &expected[0]));
            assert!(groups.iter().enumerate().all(|(at, group)| group.is_none() || !groups[..at].contains(group)));
            // Varied hits of the new order, without and with weight.
            let same = filled.hits(&query, &params.clone().diversity(Diversity::new(0.0)));
            assert_eq!(same, expected[..10]);
            let varied = filled.hits(&query, &params.diversity(Diversity::new(0.8)));
            assert!(varied[0] == expected[0] && varied != same, "{metric} {other:?}");
        }
    }
    let filled = filled(Metric::Cosine);
    let params = |query: Query| SearchParams::new(10).rerank(Rerank::new(query));
    let hybrid = Query::Hybrid(crate::api::Hybrid::new("w1"));
    filled.refused(&params(hybrid), &["params.rerank.query", "hybrid"]);
    filled.refused(&params(Query::Vector(vec![1.0])), &["params.rerank.query.vector", "4 components"]);
    filled.refused(&params(Query::Keywords(Keywords::new(""))), &["params.rerank.query.keywords.text"]);
    let rerank = Rerank::new(Query::Id(id("p1"))).candidates(3);
    filled.refused(&SearchParams::new(10).rerank(rerank), &["params.rerank.candidates", "10) to 10000"]);
}

#[test]
fn ranked_points_are_explained() {
    let filled = filled(Metric::L2);
    let query = Query::Vector(vec![0.1, 0.5, -0.2, 0.3]);
    let all = filled.all(&query, &SearchParams::new(1));
    let other = Query::Vector(vec![-0.5, 0.5, 0.9, 0.3]);
    let params = SearchParams::new(10).exact().rerank(Rerank::new(other.clone()));
    let found = filled.hits(&query, &params);
    let explain = |point: &str| filled.database.explain(&name(), &query, &params, &id(point)).unwrap();
    for (rank, (point, score)) in (1..).zip(&found) {
        let explained = explain(point);
        assert_eq!((explained.reason, explained.rank, explained.score), (Reason::Hit, Some(rank), Some(*score)));
        let at = all.iter().position(|(id, _)| id == point).unwrap();
        let [part] = explained.parts.as_slice() else { panic!("{explained:?}") };
        assert_eq!((part.rank, part.candidates, part.score), (Some(at as u32 + 1), 100, Some(all[at].1)));
    }
    let far = explain(&all[200].0);
    assert_eq!((far.reason, far.rank, far.parts[0].rank), (Reason::Beaten, None, None));
    let (_, score) = filled.all(&other, &SearchParams::new(1)).into_iter().find(|(id, _)| *id == all[200].0).unwrap();
    assert_eq!((far.score, far.parts[0].score), (Some(score), Some(all[200].1)));
}

#[test]
fn recommendations_are_those_of_the_definition() {
    for metric in Metric::ALL {
        let filled = filled(metric);
        let like = |ids: &[&str]| ids.iter().map(|one| RecommendTerm::Id(id(one))).collect::<Vec<_>>();
        let extra = vec![0.9, -0.4, 0.3, 0.2];
        for (positive, negative, with_vector) in [
            (vec!["p1"], vec![], false),
            (vec!["p1", "p2", "p3"], vec![], true),
            (vec!["p1", "p20"], vec!["p30"], false),
            (vec!["p5", "p1", "p77"], vec!["p30", "p31", "p449"], true),
        ] {
            let mut terms = like(&positive);
            terms.extend(with_vector.then(|| RecommendTerm::Vector(extra.clone())));
            let recommend = Recommend::new(terms).negative(like(&negative));
            let stored = |name: &&str| filled.points[*name].0.clone();
            let mut examples: Vec<Vec<f32>> = positive.iter().map(stored).collect();
            examples.extend(with_vector.then(|| extra.clone()));
            let against: Vec<Vec<f32>> = negative.iter().map(stored).collect();
            let named = |id: &str| positive.contains(&id) || negative.contains(&id);
            let unit = |vector: &Vec<f32>| -> Vec<f64> {
                let norm = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                let norm = if metric == Metric::Cosine { norm } else { 1.0 };
                vector.iter().map(|x| f64::from(*x) / norm).collect()
            };
            let mean = |vectors: &[Vec<f32>], at: usize| {
                vectors.iter().map(|vector| unit(vector)[at]).sum::<f64>() / vectors.len() as f64
            };
            let sum = |at: usize| match against.is_empty() {
                true => mean(&examples, at),
                false => 2.0 * mean(&examples, at) - mean(&against, at),
            };
            let vector: Vec<f32> = (0..DIMENSION).map(|at| sum(at) as f32).collect();
            let mut expected = filled.all(&Query::Vector(vector), &SearchParams::new(1));
            expected.retain(|(id, _)| !named(id));
            let average = Query::Recommend(recommend.clone());
            let found = filled.hits(&average, &SearchParams::new(20).exact());
            assert_close(&found, &expected[..20]);

            // By the best score.
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let similarity = |a: &Vec<f32>, b: &Vec<f32>| {
                let (a, b) = (unit(a), unit(b));
                match metric {
                    Metric::Cosine => (1.0 + dot(&a, &b)) / 2.0,
                    Metric::Dot => (1.0 + dot(&a, &b) / (1.0 + dot(&a, &b).abs())) / 2.0,
                    Metric::L2 => 1.0 / (1.0 + a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()),
                }
            };
            let best = |point: &Vec<f32>, vectors: &[Vec<f32>]| {
                vectors.iter().map(|vector| similarity(point, vector)).fold(f64::NEG_INFINITY, f64::max)
            };
            let mut expected: Vec<(String, f32)> = filled
                .points
                .iter()
                .filter(|(id, _)| !named(id))
                .map(|(id, (point, _))| {
                    let (p, n) = (best(point, &examples), best(point, &against));
                    (id.clone(), if p > n { p } else { -n * n } as f32)
                })
                .collect();
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            let query = Query::Recommend(recommend.strategy(RecommendStrategy::BestScore));
            for k in [1, 20, 440] {
                let found = filled.hits(&query, &SearchParams::new(k).exact());
                assert_close(&found, &expected[..expected.len().min(k as usize)]);
            }
            let all = filled.all(&query, &SearchParams::new(1));
            for at in [0, 7, 300] {
                let params = SearchParams::new(5).accuracy(Accuracy::Ef(400));
                let explained = filled.database.explain(&name(), &query, &params, &id(&all[at].0)).unwrap();
                assert_eq!((explained.true_rank, explained.score), (Some(at as u64 + 1), Some(all[at].1)));
                assert_eq!(explained.reason, if at == 0 { Reason::Hit } else { Reason::Beaten });
            }
            // The best hits are near a positive example, so that the searches find them.
            assert_close(&filled.hits(&query, &SearchParams::new(5).accuracy(Accuracy::Ef(400))), &expected[..5]);
            let even = |hit: &&(String, f32)| hit.0[1..].parse::<u32>().unwrap().is_multiple_of(2);
            let filtered: Vec<_> = expected.iter().filter(even).cloned().collect();
            let params = SearchParams::new(200).filter(Filter::equals("even", true));
            assert_close(&filled.hits(&query, &params.clone().exact()), &filtered[..200.min(filtered.len())]);
            assert_eq!(filled.hits(&query, &params).len(), 200.min(filtered.len()));
            let threshold = expected[30].1;
            let above = expected.iter().filter(|hit| hit.1 >= threshold).count();
            let found = filled.hits(&query, &SearchParams::new(100).exact().score_threshold(threshold));
            assert!(found.len().abs_diff(above) <= 1, "rounding");
            let grouped = filled.hits(&query, &SearchParams::new(3).exact().group_by("group").group_size(4));
            assert_eq!(grouped[0].0, expected[0].0);
        }
        let fused = Fusion::new([
            SubQuery::new(Query::Recommend(Recommend::new(like(&["p1"])).strategy(RecommendStrategy::BestScore))),
            SubQuery::new(Query::Recommend(Recommend::new(like(&["p2"])))),
        ]);
        let found = filled.hits(&Query::Fusion(Box::new(fused.method(FusionMethod::Convex))), &SearchParams::new(10));
        assert!(found.len() == 10 && found.iter().all(|(id, _)| id != "p1" && id != "p2"));
    }
    let filled = filled(Metric::Cosine);
    let refused = |recommend: Recommend, parts: &[&str]| {
        filled.query_refused(&Query::Recommend(recommend), &SearchParams::new(1), parts);
    };
    let term = |x: f32| RecommendTerm::Vector(vec![x; DIMENSION]);
    refused(Recommend::new([]), &["query.recommend.positive", "at least one"]);
    refused(Recommend::new(vec![term(1.0); 60]).negative(vec![term(1.0); 41]), &["query.recommend", "1 to 100", "101"]);
    refused(Recommend::new([term(1.0), term(-1.0)]), &["query.recommend", "cancel"]);
    refused(Recommend::new([term(0.0)]), &["query.recommend.positive[0].vector", "norm"]);
    refused(Recommend::new([term(1.0)]).negative([term(f32::NAN)]), &["query.recommend.negative[0].vector", "NaN"]);
    refused(Recommend::new([RecommendTerm::Text("x".into())]), &["query.recommend.positive[0].text", "embedder"]);
}

#[track_caller]
fn assert_close(found: &[(String, f32)], expected: &[(String, f32)]) {
    assert_eq!(found.len(), expected.len());
    for ((id, score), (_, other)) in found.iter().zip(expected) {
        assert!((score - other).abs() < 1e-5, "{id}: {score}, not {other}");
    }
    let ids = |hits: &[(String, f32)]| hits.iter().map(|(id, _)| id.clone()).collect::<std::collections::BTreeSet<_>>();
    assert!(ids(found).symmetric_difference(&ids(expected)).count() <= 2, "{found:?}, not {expected:?}");
}
