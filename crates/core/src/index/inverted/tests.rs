//! Tests of inverted indexes: postings, scores, damaged files.

use super::*;
use crate::index::inverted::bm25::{decode_length, encode_length};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

const TAG: u64 = 7;

/// Rows of words; frequent words are those with small numbers.
fn corpus(rows: usize, vocabulary: u32, seed: u64) -> Vec<Vec<String>> {
    let mut random = StdRng::seed_from_u64(seed);
    let word = |random: &mut StdRng| {
        let x: f64 = random.random();
        format!("w{}", (f64::from(vocabulary).powf(x) - 1.0) as u32)
    };
    let row = |_| {
        let length = if random.random_bool(0.05) { 0 } else { random.random_range(1..120) };
        (0..length).map(|_| word(&mut random)).collect()
    };
    (0..rows).map(row).collect()
}

fn index_of(rows: &[Vec<String>], bm25: Bm25) -> InvertedIndex {
    InvertedIndex::from_bytes(builder_of(rows, bm25).finish(TAG), TAG).expect("an index")
}

fn builder_of(rows: &[Vec<String>], bm25: Bm25) -> Builder {
    let mut builder = Builder::new(bm25);
    for row in rows {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        row.iter().for_each(|term| *counts.entry(term).or_default() += 1);
        builder.add_row(counts, row.len() as u32);
    }
    builder
}

fn stats_of(rows: &[Vec<String>]) -> TextStats {
    let filled = rows.iter().filter(|row| !row.is_empty());
    TextStats { points: filled.clone().count() as u64, tokens: filled.map(|row| row.len() as u64).sum() }
}

/// Scores of all rows by the definition of BM25, in f64.
fn reference(rows: &[Vec<String>], query: &[&str], bm25: Bm25) -> Vec<f64> {
    let stats = stats_of(rows);
    let average = stats.tokens as f64 / stats.points as f64;
    let (k1, b) = (f64::from(bm25.k1), f64::from(bm25.b));
    let frequency = |row: &[String], term: &str| row.iter().filter(|word| *word == term).count() as f64;
    let mut scores = vec![0.0; rows.len()];
    for term in query.iter().collect::<BTreeSet<_>>() {
        let df = rows.iter().filter(|row| frequency(row, term) > 0.0).count() as f64;
        let idf = (1.0 + (stats.points as f64 - df + 0.5) / (df + 0.5)).ln();
        for (score, row) in scores.iter_mut().zip(rows) {
            let tf = frequency(row, term);
            if tf == 0.0 {
                continue;
            }
            let length = f64::from(decode_length(encode_length(row.len() as u32)));
            *score += idf * (k1 + 1.0) * tf / (tf + k1 * (1.0 - b + b * length / average));
        }
    }
    scores
}

/// Returns the scorer of a query with the counts of these rows.
fn scorer(rows: &[Vec<String>], query: &[&str], bm25: Bm25) -> Scorer {
    let frequency = |term: &str| rows.iter().filter(|row| row.iter().any(|word| word == term)).count() as u64;
    let term = |term: &str| QueryTerm { term: term.into(), boost: 1.0, frequency: frequency(term) };
    let query: BTreeSet<&str> = query.iter().copied().collect();
    Scorer::new(&bm25, &stats_of(rows), query.into_iter().map(term).collect())
}

fn best(index: &InvertedIndex, scorer: &Scorer, k: usize) -> Vec<ScoredRow> {
    let mut top = TopRows::new(scorer, k, None);
    top.search(index, 0, 0, |_| true, &|| false);
    top.into_sorted()
}

#[test]
fn lengths_are_exact_up_to_40_and_within_an_eighth_beyond() {
    assert!((0..=40).all(|length| decode_length(encode_length(length)) == length));
    for length in (40..1 << 20).step_by(37).chain([1 << 30, 2_013_265_944]) {
        let coded = decode_length(encode_length(length));
        assert!(coded <= length && f64::from(length - coded) <= f64::from(length) / 8.0, "{length}: {coded}");
    }
    assert!((1..=255).all(|code| decode_length(code) > decode_length(code - 1)));
    assert!((0..=255).all(|code| encode_length(decode_length(code)) == code));
}

#[test]
fn the_best_rows_are_those_of_the_definition() {
    for (rows, vocabulary, seed) in [(1, 3, 0), (300, 20, 1), (20_000, 3_000, 2), (9_000, 50, 3)] {
        let corpus = corpus(rows, vocabulary, seed);
        let mut random = StdRng::seed_from_u64(seed + 100);
        for bm25 in [Bm25::default(), Bm25 { k1: 0.6, b: 0.0 }, Bm25 { k1: 0.0, b: 1.0 }] {
            let index = index_of(&corpus, bm25);
            for words in [1, 2, 5, 20] {
                let word = |_| format!("w{}", random.random_range(0..vocabulary));
                let query: Vec<String> = (0..words).map(word).collect();
                let query: Vec<&str> = query.iter().map(String::as_str).collect();
                let (expected, scorer) = (reference(&corpus, &query, bm25), scorer(&corpus, &query, bm25));
                for k in [1, 10, 100] {
                    let hits = best(&index, &scorer, k);
                    let mut sorted: Vec<f64> = expected.iter().copied().filter(|score| *score > 0.0).collect();
                    sorted.sort_by(|a, b| b.total_cmp(a));
                    assert_eq!(hits.len(), sorted.len().min(k));
                    for (hit, score) in hits.iter().zip(&sorted) {
                        assert!((f64::from(hit.score) - score).abs() < 1e-4, "{query:?}: {} {score}", hit.score);
                        assert!((f64::from(hit.score) - expected[hit.row as usize]).abs() < 1e-4);
                    }
                    let distinct: BTreeSet<u32> = hits.iter().map(|hit| hit.row).collect();
                    assert_eq!(distinct.len(), hits.len());
                }
            }
        }
    }
}

#[test]
fn pruning_changes_no_result() {
    let corpus = corpus(30_000, 400, 4);
    let index = index_of(&corpus, Bm25::default());
    let mut random = StdRng::seed_from_u64(5);
    for words in [2, 3, 8, 30] {
        let query: Vec<String> = (0..words).map(|_| format!("w{}", random.random_range(0..400))).collect();
        let query: Vec<&str> = query.iter().map(String::as_str).collect();
        let scorer = scorer(&corpus, &query, Bm25::default());
        let all = best(&index, &scorer, corpus.len());
        for k in [1, 5, 10, 200] {
            assert_eq!(best(&index, &scorer, k), all[..k.min(all.len())]);
        }
    }
}

#[test]
fn scores_do_not_depend_on_segments() {
    // Segments with different mean lengths, one of them still growing.
    let mut corpus = corpus(10_000, 300, 6);
    corpus[..2_000].sort_by_key(Vec::len);
    let bm25 = Bm25::default();
    let scorer = scorer(&corpus, &["w1", "w7", "w40", "w250"], bm25);
    let whole = index_of(&corpus, bm25);
    for k in [10, 500, corpus.len()] {
        let expected = best(&whole, &scorer, k);
        let mut top = TopRows::new(&scorer, k, None);
        top.search(&index_of(&corpus[..1_000], bm25), 0, 0, |_| true, &|| false);
        top.search(&index_of(&corpus[1_000..2_000], bm25), 0, 1_000, |_| true, &|| false);
        top.search(&index_of(&corpus[2_000..2_100], bm25), 1, 0, |_| true, &|| false);
        top.search_builder(&builder_of(&corpus[2_100..], bm25), 2, |row| row, |_| true);
        let first = [0, 2_000, 2_100];
        let rows: Vec<ScoredRow> = top
            .into_sorted()
            .into_iter()
            .map(|hit| ScoredRow { segment: 0, row: first[hit.segment as usize] + hit.row, ..hit })
            .collect();
        assert_eq!(rows, expected);
    }
}

#[test]
fn rows_that_are_not_allowed_and_low_scores_are_not_returned() {
    let corpus = corpus(5_000, 100, 8);
    let (index, bm25) = (index_of(&corpus, Bm25::default()), Bm25::default());
    let scorer = scorer(&corpus, &["w1", "w2"], bm25);
    let all = best(&index, &scorer, corpus.len());
    let mut even = TopRows::new(&scorer, 20, None);
    even.search(&index, 0, 0, |row| row % 2 == 0, &|| false);
    let expected: Vec<ScoredRow> = all.iter().copied().filter(|hit| hit.row % 2 == 0).take(20).collect();
    assert_eq!(even.into_sorted(), expected);
    let min = all[all.len() / 2].score;
    let mut high = TopRows::new(&scorer, corpus.len(), Some(min));
    high.search(&index, 0, 0, |_| true, &|| false);
    let high = high.into_sorted();
    let expected = all.iter().filter(|hit| hit.score >= min).count();
    assert_eq!(high.iter().filter(|hit| hit.score >= min).count(), expected);
    assert!(high.len() < all.len(), "rows below the minimum are skipped");
    assert!(best(&index, &scorer, 0).is_empty());
    assert!(best(&index, &super::Scorer::new(&bm25, &stats_of(&corpus), Vec::new()), 5).is_empty());
}

#[test]
fn sums_of_many_terms_do_not_overflow() {
    let words: Vec<String> = (0..3_000).map(|number| format!("w{number}")).collect();
    let rows = [words.clone(), vec!["other".into()]];
    let terms = words.iter().map(|word| QueryTerm { term: word.as_str().into(), boost: 1_000.0, frequency: 1 });
    let scorer = Scorer::new(&Bm25 { k1: 100.0, b: 1.0 }, &stats_of(&rows), terms.collect());
    let hits = best(&index_of(&rows, Bm25::default()), &scorer, 2);
    let most: f64 = scorer.weights().map(f64::from).sum();
    assert_eq!(hits.len(), 1);
    let saturation = f64::from(hits[0].score) / most;
    assert!((0.004..0.006).contains(&saturation), "1 / (1 + 100 * 2) or so: {saturation}");
}

#[test]
fn terms_of_a_prefix_are_listed() {
    let words: Vec<String> = (0..500).map(|number| format!("{number}x")).collect();
    let rows: Vec<Vec<String>> = words.iter().map(|word| vec![word.clone()]).collect();
    let (index, builder) = (index_of(&rows, Bm25::default()), builder_of(&rows, Bm25::default()));
    for prefix in ["", "0", "1", "12", "123x", "499x", "5", "a"] {
        let expected: BTreeSet<String> = words.iter().filter(|word| word.starts_with(prefix)).cloned().collect();
        let (mut listed, mut collected) = (Vec::new(), BTreeSet::new());
        index.for_each_term(prefix, |term| listed.push(term.to_owned()));
        builder.for_each_term(prefix, |term| _ = collected.insert(term.to_owned()));
        assert_eq!(listed, expected.iter().cloned().collect::<Vec<_>>(), "{prefix:?}");
        assert_eq!(collected, expected);
    }
}

#[test]
fn terms_are_found_by_name() {
    let mut words: Vec<String> = (0..2_000).map(|number| format!("{:x}", number * 7_919)).collect();
    words.extend(["", "\u{10ffff}", "日本", "a\0b"].map(String::from));
    words.push("x".repeat(255));
    let rows: Vec<Vec<String>> = words.iter().map(|word| vec![word.clone()]).collect();
    let index = index_of(&rows, Bm25::default());
    assert_eq!(index.terms(), rows.len() as u64);
    for word in &words {
        assert_eq!(index.frequency(word), 1, "{word:?}");
        assert_eq!(index.frequency(&format!("{word}!")), 0);
    }
    assert_eq!(index.frequency(&"x".repeat(254)), 0);
    // Too long a word counts, and is not found.
    let long = index_of(&[vec!["y".repeat(256), "z".into()]], Bm25::default());
    assert_eq!((long.frequency(&"y".repeat(256)), long.frequency("z"), long.stats().tokens), (0, 1, 2));
    assert_eq!((long.length(0), long.length(1)), (2, 0));
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let corpus = corpus(300, 40, 9);
    let file = builder_of(&corpus, Bm25::default()).finish(TAG);
    let open = |bytes: Vec<u8>| InvertedIndex::from_bytes(bytes, TAG).is_ok();
    assert!(open(file.clone()));
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(!open(damaged), "byte {at}");
        assert!(!open(file[..at].to_vec()), "cut at {at}");
    }
    assert!(InvertedIndex::from_bytes(file, TAG + 1).is_err());
}

#[test]
fn a_builder_of_some_rows_is_the_index_of_those_rows() {
    let corpus = corpus(700, 60, 11);
    let rows: Vec<u32> = (0..700).filter(|row| row % 7 != 3 && *row > 20).collect();
    let some: Vec<Vec<String>> = rows.iter().map(|row| corpus[*row as usize].clone()).collect();
    let all = builder_of(&corpus, Bm25::default());
    assert!(all.with_rows(&rows).finish(TAG) == builder_of(&some, Bm25::default()).finish(TAG));
    let backwards: Vec<u32> = rows.iter().rev().copied().collect();
    let turned: Vec<Vec<String>> = some.iter().rev().cloned().collect();
    assert!(all.with_rows(&backwards).finish(TAG) == builder_of(&turned, Bm25::default()).finish(TAG));
    assert!(all.with_rows(&[]).finish(TAG) == Builder::new(Bm25::default()).finish(TAG));
}

#[test]
fn an_empty_index_has_no_terms() {
    for rows in [0, 3] {
        let index = index_of(&vec![Vec::new(); rows], Bm25::default());
        assert_eq!((index.terms(), index.stats().tokens, index.frequency("a")), (0, 0, 0));
        assert!(best(&index, &scorer(&[vec!["a".into()]], &["a"], Bm25::default()), 3).is_empty());
    }
}
