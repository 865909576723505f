//! Tests of nearest words and arithmetic.

use super::*;
use crate::ErrorKind;
use crate::types::Precision;

/// Five words in two dimensions, royalty and gender, and a third dimension for the rest.
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
    WordModel::new(ModelParts {
        words,
        counts: vec![1_000, 20, 20, 10, 10],
        dimension: 3,
        input: Table::encode(precision, rows, 3),
        output: Some(Table::encode(precision, output, 3)),
        subwords: None,
        pieces: None,
        cloze: None,
        tokenizer: Tokenizer::Letters,
        common: Some(vec![0.0, 0.0, 1.0]),
        card: ModelCard { name: "words".into(), ..ModelCard::default() },
    })
    .unwrap()
}

/// `n` equally frequent words with random vectors.
pub(crate) fn toy(n: usize, dimension: usize) -> WordModel {
    let mut random = super::super::sampling::Random::new(7, 7);
    WordModel::new(ModelParts {
        words: (0..n).map(toy_word).collect(),
        counts: vec![10; n],
        dimension,
        input: Table::F32((0..n * dimension).map(|_| random.unit() - 0.5).collect()),
        output: None,
        subwords: None,
        pieces: None,
        cloze: None,
        tokenizer: Tokenizer::Letters,
        common: None,
        card: ModelCard { name: "words".into(), ..ModelCard::default() },
    })
    .unwrap()
}

/// Returns a word of letters for a number below 676.
pub(crate) fn toy_word(n: usize) -> String {
    [n / 26, n % 26].iter().map(|&letter| char::from(b'a' + letter as u8)).chain(['q']).collect()
}

/// Words in the spelling of other programs, each with a vector along its own axis.
pub(crate) fn spelled(tokenizer: Tokenizer) -> WordModel {
    let words = [
        "the",
        "city",
        "Paris",
        "New_York",
        "HIV",
        "café",
        "re\u{301}sume\u{301}",
        "東京",
        "น้ำ",
        "किताब",
        "don't",
        "dog",
    ];
    let n = words.len();
    WordModel::new(ModelParts {
        words: words.map(str::to_owned).to_vec(),
        counts: vec![0; n],
        dimension: n,
        input: Table::F32((0..n * n).map(|at| if at % (n + 1) == 0 { 1.0 } else { 0.0 }).collect()),
        output: None,
        subwords: None,
        pieces: None,
        cloze: None,
        tokenizer,
        common: None,
        card: ModelCard { name: "words".into(), ..ModelCard::default() },
    })
    .unwrap()
}

/// A single word whose vector is entirely common component.
pub(crate) fn only_common_model() -> WordModel {
    WordModel::new(ModelParts {
        words: vec!["a".into()],
        counts: vec![1],
        dimension: 2,
        input: Table::encode(Precision::F32, vec![0.6, 0.8], 2),
        output: None,
        subwords: None,
        pieces: None,
        cloze: None,
        tokenizer: Tokenizer::Letters,
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
fn invalid_terms_are_refused_by_name() {
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
    let layer = model.output_layer("").unwrap().clone();
    assert_eq!((layer.name, layer.dimension), ("vector", 3));
    assert_eq!(model.embed(&layer, &Input::Text(" Queen! ")).unwrap(), [1.0, -1.0, 0.1]);
    let error = |input| model.embed(&layer, &input).unwrap_err();
    assert_eq!(error(Input::Text("unicorn")).kind(), ErrorKind::OutOfVocabulary);
    assert!(error(Input::Text("king queen")).to_string().contains("\"text\""));
    assert_eq!(error(Input::Text("")).kind(), ErrorKind::InvalidInput);
    assert!(matches!(error(Input::Image(&[1])), Error::Modality { .. }));
    let batch = model.embed_batch(&layer, &[Input::Text("man"), Input::Text("yeti"), Input::Text("woman")]);
    assert!(batch[0].is_ok() && batch[1].is_err() && batch[2].is_ok());
}

#[test]
fn a_duplicate_word_is_refused_and_a_zero_vector_is_never_returned() {
    let parts = |words: [&str; 2], rows: Vec<f32>| ModelParts {
        words: words.map(str::to_owned).to_vec(),
        counts: vec![1, 1],
        dimension: 1,
        input: Table::encode(Precision::F32, rows, 1),
        output: None,
        subwords: None,
        pieces: None,
        cloze: None,
        tokenizer: Tokenizer::Letters,
        common: None,
        card: ModelCard::default(),
    };
    assert!(WordModel::new(parts(["a", "a"], vec![1.0, 1.0])).is_err());
    let model = WordModel::new(parts(["a", "b"], vec![1.0, 0.0])).unwrap();
    assert!(model.embed(&model.output_layers()[0], &Input::Text("b")).is_err());
    assert!(model.nearest(&["b"], &[], 1).is_err());
    assert!(model.nearest(&["a"], &[], 1).unwrap().is_empty(), "a zero vector is never a neighbour");
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

/// Returns the words of a text: known ones in the vocabulary's spelling, unknown ones in brackets.
fn terms(model: &WordModel, text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    model.terms(text, |term| {
        terms.push(match term {
            Term::Known(number) => model.vocabulary()[number].clone(),
            Term::Unknown(word) => format!("[{word}]"),
        });
    });
    terms
}

#[test]
fn words_of_a_text_are_found_as_written_or_in_lower_case() {
    let model = spelled(Tokenizer::Uax29);
    let check = |text: &str, expected: &[&str]| assert_eq!(terms(&model, text), expected, "{text:?}");
    check("The city of Paris.", &["the", "city", "[of]", "Paris"]);
    check("HIV in New_York, paris", &["HIV", "[in]", "New_York", "[paris]"]);
    check(
        "cafe\u{301} CAFÉ résumé re\u{301}sume\u{301}",
        &["café", "café", "re\u{301}sume\u{301}", "re\u{301}sume\u{301}"],
    );
    check("Don’t don't", &["don't", "don't"]);
    check("Paris's dog's", &["Paris", "[s]", "dog", "[s]"]);
    check("मेरी किताब", &["[मेरी]", "किताब"]);
    // These scripts have no spaces between words: the longest known words match.
    check("我在東京。", &["[我]", "[在]", "東京"]);
    check("ดื่มน้ำ", &["[ดื่ม]", "น้ำ"]);
    check("... --", &[]);
}

#[test]
fn models_that_name_no_rule_keep_the_old_one() {
    let (old, new) = (spelled(Tokenizer::Letters), spelled(Tokenizer::Uax29));
    assert_eq!(terms(&old, "The city of Paris"), ["the", "city", "[of]", "[paris]"]);
    assert_eq!(terms(&old, "dog's"), ["dog", "[s]"]);
    assert_ne!(old.fingerprint(), new.fingerprint());
    assert!(old.card().settings.is_empty());
    let folder = tempfile::tempdir().unwrap();
    for model in [old, new] {
        // The rule is the model's, regardless of the new card.
        let card = ModelCard { name: "words".into(), summary: "another".into(), ..ModelCard::default() };
        let model = model.with_card(card);
        model.save(folder.path()).unwrap();
        let again = WordModel::load(folder.path()).unwrap();
        assert_eq!((again.tokenizer(), again.fingerprint()), (model.tokenizer(), model.fingerprint()));
    }
    let path = folder.path().join("card.json");
    let card = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, card.replace("\"uax29\"", "\"uax99\"")).unwrap();
    let error = WordModel::load(folder.path()).map(drop).unwrap_err().to_string();
    assert!(error.contains("uax99") && error.contains("newer"), "{error}");
}

#[test]
fn one_word_is_found_in_the_spelling_of_the_vocabulary() {
    let model = spelled(Tokenizer::Uax29);
    for (word, found) in [
        ("Paris", "Paris"),
        (" Paris! ", "Paris"),
        ("THE", "the"),
        ("New_York", "New_York"),
        ("東京", "東京"),
        ("น้ำ", "น้ำ"),
        ("resume\u{301}", "resumé"),
        ("Don’t", "don't"),
        ("re\u{301}sume\u{301}", "re\u{301}sume\u{301}"),
        ("résumé", "re\u{301}sume\u{301}"),
        ("Berlin", "Berlin"),
    ] {
        assert_eq!(model.single_word(word).unwrap(), found, "{word:?}");
    }
    assert!(model.single_word("the city").unwrap_err().to_string().contains("has 2"));
    // As written, although the model's own rule would split it.
    assert_eq!(spelled(Tokenizer::Letters).single_word("New_York").unwrap(), "New_York");
    assert!(model.single_word("...").unwrap_err().to_string().contains("no word"));
}
