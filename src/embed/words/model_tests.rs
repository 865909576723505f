//! Tests of nearest words and arithmetic.

use super::*;
use crate::embed::ErrorKind;
use crate::types::Precision;

/// Five words in two dimensions that mean something: royalty and gender, and a third for the rest.
pub(crate) fn small() -> WordModel {
    small_with(Precision::F32)
}

pub(crate) fn small_with(precision: Precision) -> WordModel {
    let words = ["the", "king", "queen", "man", "woman"].map(str::to_owned).to_vec();
    let rows = vec![
        0.1, 0.1, 1.0, /* the */
        1.0, 1.0, 0.1, /* king */
        1.0, -1.0, 0.1, /* queen */
        0.1, 1.0, 0.1, /* man */
        0.1, -1.0, 0.1, /* woman */
    ];
    let output = vec![0.5, 0.0, 0.2, 1.0, 0.5, 0.0, 1.0, -0.5, 0.0, 0.0, 1.0, 0.0, 0.0, -1.0, 0.0];
    WordModel::new(Parts {
        words,
        counts: vec![1_000, 20, 20, 10, 10],
        dimension: 3,
        input: Table::encode(precision, rows, 3),
        output: Some(Table::encode(precision, output, 3)),
        subwords: None,
        pieces: None,
        told: None,
        common: Some(vec![0.0, 0.0, 1.0]),
        card: ModelCard { name: "words".into(), ..ModelCard::default() },
    })
    .unwrap()
}

/// So many words, equally frequent, with random vectors.
pub(crate) fn toy(n: usize, dimension: usize) -> WordModel {
    let mut random = super::super::draw::Random::new(7, 7);
    WordModel::new(Parts {
        words: (0..n).map(toy_word).collect(),
        counts: vec![10; n],
        dimension,
        input: Table::F32((0..n * dimension).map(|_| random.unit() - 0.5).collect()),
        output: None,
        subwords: None,
        pieces: None,
        told: None,
        common: None,
        card: ModelCard { name: "words".into(), ..ModelCard::default() },
    })
    .unwrap()
}

/// A word of letters for a number below 676.
pub(crate) fn toy_word(n: usize) -> String {
    [n / 26, n % 26].iter().map(|&letter| char::from(b'a' + letter as u8)).chain(['q']).collect()
}

/// One word whose vector is all common component.
pub(crate) fn only_common_model() -> WordModel {
    WordModel::new(Parts {
        words: vec!["a".into()],
        counts: vec![1],
        dimension: 2,
        input: Table::encode(Precision::F32, vec![0.6, 0.8], 2),
        output: None,
        subwords: None,
        pieces: None,
        told: None,
        common: Some(vec![0.6, 0.8]),
        card: ModelCard::default(),
    })
    .unwrap()
}

#[test]
fn neighbours_are_by_cosine_without_the_terms() {
    let model = small();
    let found = model.nearest(&["king", "woman"], &["man"], 2).unwrap();
    assert_eq!(found[0].0, "queen");
    assert!(found[0].1 > found[1].1 && found[0].1 <= 1.0);
    assert_eq!(model.nearest(&["KING"], &[], 10).unwrap().len(), 4, "the word itself is left out");
}

#[test]
fn wrong_terms_are_refused_by_name() {
    let model = small();
    let kind = |plus: &[&str], minus: &[&str], k| {
        let error = model.nearest(plus, minus, k).unwrap_err();
        (error.kind(), error.to_string())
    };
    let (found, message) = kind(&["unicorn", "king"], &["yeti"], 3);
    assert!(found == ErrorKind::OutOfVocabulary && message.contains("unicorn, yeti"), "{message}");
    for (plus, minus, k) in [
        (&[][..], &[][..], 1),
        (&["king"], &[], 0),
        (&["king"], &[], MAX_NEIGHBOURS + 1),
        (&["king queen"], &[], 1),
        (&["..."], &[], 1),
        (&["king"], &["king"], 1),
        (&["king"; 101], &[], 1),
    ] {
        assert_eq!(kind(plus, minus, k).0, ErrorKind::InvalidInput, "{plus:?} {minus:?} {k}");
    }
}

#[test]
fn the_embedder_takes_one_known_word() {
    let model = small();
    let tap = model.tap("").unwrap().clone();
    assert_eq!((tap.name, tap.dimension), ("vector", 3));
    assert_eq!(model.embed(&tap, &Input::Text(" Queen! ")).unwrap(), [1.0, -1.0, 0.1]);
    let error = |input| model.embed(&tap, &input).unwrap_err();
    assert_eq!(error(Input::Text("unicorn")).kind(), ErrorKind::OutOfVocabulary);
    assert!(error(Input::Text("king queen")).to_string().contains("\"text\""));
    assert_eq!(error(Input::Text("")).kind(), ErrorKind::InvalidInput);
    assert!(matches!(error(Input::Image(&[1])), Error::Modality { .. }));
    let batch = model.embed_batch(&tap, &[Input::Text("man"), Input::Text("yeti"), Input::Text("woman")]);
    assert!(batch[0].is_ok() && batch[1].is_err() && batch[2].is_ok());
}

#[test]
fn a_word_twice_is_refused_and_a_zero_vector_is_not_given() {
    let parts = |words: [&str; 2], rows: Vec<f32>| Parts {
        words: words.map(str::to_owned).to_vec(),
        counts: vec![1, 1],
        dimension: 1,
        input: Table::encode(Precision::F32, rows, 1),
        output: None,
        subwords: None,
        pieces: None,
        told: None,
        common: None,
        card: ModelCard::default(),
    };
    assert!(WordModel::new(parts(["a", "a"], vec![1.0, 1.0])).is_err());
    let model = WordModel::new(parts(["a", "b"], vec![1.0, 0.0])).unwrap();
    assert!(model.embed(&model.taps()[0], &Input::Text("b")).is_err());
    assert!(model.nearest(&["b"], &[], 1).is_err());
    assert!(model.nearest(&["a"], &[], 1).unwrap().is_empty(), "a zero vector is nobody's neighbour");
    assert_eq!(model.fill_blank("the ___ a", 1).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn fingerprints_follow_the_numbers_not_the_card() {
    let model = small();
    let (before, again) = (model.fingerprint(), small().fingerprint());
    assert_eq!(before, again);
    let card = ModelCard { summary: "other words".into(), ..ModelCard::default() };
    assert_eq!(model.with_card(card).fingerprint(), before);
    assert_ne!(small_with(Precision::F16).fingerprint(), before);
}
