//! Tests of filling blanks.

use super::*;
use crate::{ErrorKind, words::model::tests::small};

#[test]
fn a_blank_gets_probabilities_and_two_blanks_two_lists() {
    let model = small();
    let one = model.fill_blank("the ___ king", 5).unwrap();
    assert_eq!((one.len(), one[0].len()), (1, 3), "the pattern's words are left out");
    let sum: f32 = one[0].iter().map(|(_, probability)| probability).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{one:?}");
    assert!(one[0].windows(2).all(|pair| pair[0].1 >= pair[1].1));
    let two = model.fill_blank("___ king _____", 3).unwrap();
    assert_eq!(two.len(), 2);
    assert_eq!(two[0], two[1]);
    assert_eq!(model.fill_blank("king __", 3).unwrap().len(), 1);
    // By hand: scores are in . out + ln count / 2; "queen" beside "king" has 0.5 + ln 20 / 2.
    let king = model.number("king").unwrap();
    let scores = scores(&model, &[&[ContextWord { word: king, position: before(1) }]]).unwrap();
    assert!((scores[2] - (0.5 + 0.5 * 20_f32.ln())).abs() < 1e-5, "{scores:?}");
}

#[test]
fn other_patterns_are_refused_with_the_forms() {
    let model = small();
    for pattern in [
        "",
        "the king",
        "___",
        "___ ___",
        "___ yeti",
        "___ a ___ b ___",
        "the ___ king ___",
        "___ man woman ___",
        "_ king",
    ] {
        let error = model.fill_blank(pattern, 3).unwrap_err();
        assert!(
            error.kind() == ErrorKind::InvalidInput && error.to_string().contains("\"the ___ cat\""),
            "{pattern}: {error}"
        );
    }
    assert!(model.fill_blank("the ___ king", 0).is_err());
    assert!(model.fill_blank(&"a ".repeat(6_000), 3).is_err());
}
