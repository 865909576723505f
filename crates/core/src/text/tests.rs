//! Tests of text analysis.

use super::*;

fn terms(config: &AnalyzerConfig, text: &str) -> Vec<(String, u32)> {
    let mut terms = Vec::new();
    Analyzer::new(config).for_each(text, |token| {
        assert!(text.is_char_boundary(token.range.start) && text.is_char_boundary(token.range.end));
        terms.push((token.term.to_owned(), token.position));
    });
    terms
}

fn words(config: &AnalyzerConfig, text: &str) -> Vec<String> {
    terms(config, text).into_iter().map(|(term, _)| term).collect()
}

#[test]
fn words_are_those_of_uax_29_in_nfkc_with_folded_case() {
    let plain = AnalyzerConfig::default();
    assert_eq!(words(&plain, "The 3.14 can't-do LIST, №5!"), ["the", "3.14", "can't", "do", "list", "5"]);
    assert_eq!(words(&plain, "ﬁne Ａｂ Straße ΣΊΣΥΦΟΣ"), ["fine", "ab", "strasse", "σίσυφοσ"]);
    assert_eq!(words(&plain, "e\u{301}t\u{e9} ıI"), ["été", "ıi"]);
    assert!(words(&plain, " \t... --- \u{1f600} ").is_empty());
}

#[test]
fn stop_words_leave_a_gap_in_the_positions() {
    let config = AnalyzerConfig { stop_words: vec!["The".into(), "of".into()], ..Default::default() };
    assert_eq!(terms(&config, "The King of THE hill"), [("king".into(), 1), ("hill".into(), 4)]);
}

#[test]
fn words_are_stemmed_before_accents_are_folded() {
    let english = AnalyzerConfig { language: Some(Language::English), ..Default::default() };
    assert_eq!(words(&english, "Running runners ran"), ["run", "runner", "ran"]);
    let french = AnalyzerConfig { language: Some(Language::French), fold_accents: true, ..Default::default() };
    assert_eq!(words(&french, "Élèves élève"), ["elev", "elev"]);
    let folded = AnalyzerConfig { fold_accents: true, ..Default::default() };
    assert_eq!(words(&folded, "Łódź Ærø Þór naïve"), ["lodz", "aero", "thor", "naive"]);
}

#[test]
fn scripts_without_spaces_become_pairs_of_characters() {
    let plain = AnalyzerConfig::default();
    assert_eq!(words(&plain, "東京都に行く"), ["東京", "京都", "都に", "に行", "行く"]);
    assert_eq!(
        terms(&plain, "I ate 魚 today"),
        [("i".into(), 0), ("ate".into(), 1), ("魚".into(), 2), ("today".into(), 3)]
    );
    assert_eq!(words(&plain, "データ"), ["デー", "ータ"]);
    assert_eq!(words(&plain, "猫。犬"), ["猫", "犬"]);
    assert_eq!(words(&plain, "한국어 문서"), ["한국어", "문서"]);
    // Each word of two or more characters is found in a longer text.
    let thai = words(&plain, "ภาษาไทย");
    assert!(words(&plain, "ไทย").iter().all(|pair| thai.contains(pair)), "{thai:?}");
}

#[test]
fn long_and_odd_texts_are_analyzed() {
    let config = AnalyzerConfig { language: Some(Language::English), fold_accents: true, ..Default::default() };
    assert_eq!(words(&config, &"a".repeat(100_000)).len(), 1);
    assert_eq!(words(&config, &"漢".repeat(1_000)).len(), 999);
    words(&config, "\u{0}\u{200d}\u{fdfa}\u{1d504}\u{e0001}\u{301}");
}
