//! Tests of reading fastText's files. The fixture was trained by fastText itself (`tests/data/make_fasttext.py`).

use super::*;
use crate::{Embedder, Input};

fn fixture() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fasttext.bin")).unwrap()
}

fn read(bytes: &[u8]) -> Result<WordModel, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    std::fs::write(&path, bytes).unwrap();
    WordModel::import(&path).map(|imported| imported.model)
}

#[test]
fn vectors_agree_with_fasttext() {
    let model = read(&fixture()).unwrap();
    let expected = include_str!("../../tests/data/fasttext.txt");
    let mut unknown = 0;
    for line in expected.lines() {
        let (word, numbers) = line.split_once(' ').unwrap();
        let numbers: Vec<f32> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        let found = model.vector_of_any(word).unwrap();
        unknown += usize::from(model.number(word).is_none());
        assert!(found.iter().zip(&numbers).all(|(a, b)| (a - b).abs() < 1e-5), "{word}: {found:?}, {numbers:?}");
    }
    assert!(unknown > 3, "words that are not in its dictionary are among them");
    let misspelt = model.embed(&model.output_layers()[0], &Input::Text("crocodiel")).unwrap();
    assert_eq!(misspelt.len(), model.dimension());
    assert!(model.has_output_layer());
}

#[test]
fn a_model_with_n_grams_is_saved_and_read_again() {
    let model = read(&fixture()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    let again = WordModel::load(folder.path()).unwrap();
    assert_eq!(again.fingerprint(), model.fingerprint());
    assert_eq!(again.vector_of_any("crocodiel"), model.vector_of_any("crocodiel"));
}

#[test]
fn damaged_files_are_refused() {
    let good = fixture();
    for length in [0, 3, 7, 40, 64, 100, good.len() / 2, good.len() - 1] {
        assert!(read(&good[..length]).is_err(), "{length}");
    }
    // Sets every number of the header to a huge, a negative and a zero value.
    for at in (4..92).step_by(4) {
        for value in [i32::MAX, -1, 0] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            // Unused fields may have any value; no value may cause a panic or unbounded memory use.
            drop(read(&bad));
        }
    }
    let error_with = |at: usize, value: i32| {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        read(&bad).map(drop).unwrap_err().to_string()
    };
    assert!(error_with(4, 11).contains("version 11"));
    assert!(error_with(8, 0).contains("0 components"));
    assert!(error_with(8 + 7 * 4, 3).contains("classifier"));
}
