//! Fuzz target: inverted index files, unchanged, and with corrected checksums; searched for terms and prefixes. Texts
//! become an index that finds each of their terms.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::index::inverted::{Bm25, Builder, InvertedIndex, QueryTerm, Scorer, TextStats, TopRows};
use nearness::text::{Analyzer, AnalyzerConfig, TextMatch, TextMatchKind};
use nearness_fuzz::fix_terms;

fn scorer(terms: &[&str], stats: &TextStats) -> Scorer {
    let term = |term: &&str| QueryTerm { term: (*term).into(), boost: 1.0, frequency: 1 };
    Scorer::new(&Bm25::default(), stats, terms.iter().map(term).collect())
}

fn read(bytes: Vec<u8>) {
    let tag = bytes.get(16..24).map_or(0, |tag| u64::from_le_bytes(tag.try_into().expect("eight bytes")));
    let Ok(index) = InvertedIndex::from_bytes(bytes, tag) else { return };
    let mut terms = vec![String::new(), "a".into(), "the".into(), "w1".into()];
    index.for_each_term("", |term| {
        if terms.len() < 50 {
            terms.push(term.to_owned());
        }
    });
    let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
    let scorer = scorer(&terms, &index.stats());
    let mut top = TopRows::new(&scorer, 10, None);
    top.search(&index, 0, 0, |row| row % 3 != 0, &|| false);
    let _ = top.into_sorted();
    for term in terms {
        let _ = (index.frequency(term), index.frequencies(term, &[0, 1, 5, 127, 128, 1_000, u32::MAX]));
        let mut rows = 0_u64;
        index.for_each(term, |row, _| rows += u64::from(index.length(row) > 0));
    }
}

fuzz_target!(|data: &[u8]| {
    read(data.to_vec());
    let mut fixed = data.to_vec();
    if fix_terms(&mut fixed) {
        read(fixed);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut config = AnalyzerConfig::default();
    config.fold_accents = text.len() % 2 == 0;
    let analyzer = Analyzer::new(&config);
    let mut builder = Builder::new(Bm25::default());
    for line in text.split('\n').take(300) {
        let mut words: Vec<String> = Vec::new();
        analyzer.for_each(line, |token| {
            assert_eq!(line.get(token.range.clone()).map(str::is_empty), Some(false));
            words.push(token.term.to_owned());
        });
        builder.add_row(words.iter().map(|word| (word.as_str(), 1)).take(1), words.len() as u32);
        for kind in TextMatchKind::ALL {
            let _ = TextMatch::new(kind, line.chars().take(20).collect::<String>()).matches(line);
        }
    }
    let index = InvertedIndex::from_bytes(builder.finish(7), 7).expect("what was just written");
    index.for_each_term("", |term| assert!(index.frequency(term) > 0));
});
