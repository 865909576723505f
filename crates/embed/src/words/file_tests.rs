//! Tests of saving and loading word models.

use super::*;
use crate::{
    Embedder, ErrorKind,
    types::Precision,
    words::model::tests::{small, small_with},
};

#[test]
fn a_folder_comes_back_in_every_precision() {
    for precision in Precision::ALL {
        let folder = tempfile::tempdir().unwrap();
        let model = small_with(precision);
        model.save(folder.path()).unwrap();
        let back = WordModel::load(folder.path()).unwrap();
        assert_eq!(back.fingerprint(), model.fingerprint(), "{precision:?}");
        assert_eq!(back.rows(), model.rows());
        assert_eq!(back.output, model.output);
        assert_eq!(back.common, model.common);
        assert_eq!((back.vocabulary(), back.count(1)), (model.vocabulary(), 20));
        assert_eq!(back.card(), model.card());
        let max = |row: &[f32]| row.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
        for (stored, exact) in back.rows().chunks(3).zip(small().rows().chunks(3)) {
            let error = stored.iter().zip(exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error <= max(exact) / 250.0, "{precision:?}: {stored:?} {exact:?}");
        }
        assert_eq!(Precision::from_name(precision.name()), Some(precision));
        model.save(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "a second save leaves no temporary file");
    }
    assert_eq!(Precision::from_name("f64"), None);
}

/// The three files of a saved model, to be damaged.
fn files(precision: Precision) -> [Vec<u8>; 3] {
    let folder = tempfile::tempdir().unwrap();
    small_with(precision).save(folder.path()).unwrap();
    [CARD, TENSORS, VOCABULARY].map(|name| fs::read(folder.path().join(name)).unwrap())
}

#[test]
fn every_truncation_is_corrupt() {
    let [card, tensors, vocabulary] = files(Precision::I8);
    let check = |card: &[u8], tensors: &[u8], vocabulary: &[u8]| {
        parse(Path::new("x"), card, tensors, vocabulary, None).map(|_| ()).unwrap_err()
    };
    for length in 0..tensors.len() {
        assert_eq!(check(&card, &tensors[..length], &vocabulary).kind(), ErrorKind::Corrupt, "cut at {length}");
    }
    for length in 0..card.len() - 2 {
        assert_eq!(check(&card[..length], &tensors, &vocabulary).kind(), ErrorKind::Corrupt, "cut at {length}");
    }
    // A count without its last digit is still a valid count.
    for length in 0..vocabulary.len() - 2 {
        assert_eq!(check(&card, &tensors, &vocabulary[..length]).kind(), ErrorKind::Corrupt, "cut at {length}");
    }
}

#[test]
fn invalid_numbers_and_sizes_are_named() {
    let [card, _, vocabulary] = files(Precision::F32);
    let tensor = |parts: &[(&str, Dtype, &[usize], &[u8])]| {
        let views = parts.iter().map(|(name, dtype, shape, bytes)| {
            (name.to_string(), TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
        });
        safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap()
    };
    let floats = |numbers: &[f32]| le_bytes(numbers).into_owned();
    let good = floats(&[0.5; 15]);
    let check = |parts: &[(&str, Dtype, &[usize], &[u8])], vocabulary: &[u8], says: &str| {
        let result = parse(Path::new("x"), &card, &tensor(parts), vocabulary, None);
        match result {
            Ok(_) => assert!(says.is_empty(), "accepted, expected {says:?}"),
            Err(error) => assert!(!says.is_empty() && error.to_string().contains(says), "{error}"),
        }
    };
    let input: (&str, Dtype, &[usize], &[u8]) = ("input", Dtype::F32, &[5, 3], &good);
    check(&[input], &vocabulary, "");
    check(&[("other", Dtype::F32, &[5, 3], &good)], &vocabulary, "no tensor \"input\"");
    check(&[("input", Dtype::F32, &[15], &good)], &vocabulary, "shape [15]");
    check(&[("input", Dtype::F32, &[3, 5], &good)], &vocabulary, "3 rows for 5 words");
    check(&[("input", Dtype::F32, &[5, 0], &[])], &vocabulary, "0 components");
    check(&[("input", Dtype::I32, &[5, 3], &good)], &vocabulary, "I32");
    check(&[("input", Dtype::I8, &[5, 3], &[1; 15])], &vocabulary, "input.scale");
    let mut nan = vec![0.5; 15];
    nan[7] = f32::NAN;
    check(&[("input", Dtype::F32, &[5, 3], &floats(&nan))], &vocabulary, "not finite at 7");
    check(&[input, ("output", Dtype::F32, &[4, 3], &floats(&[0.5; 12]))], &vocabulary, "\"output\" has the shape");
    check(&[input, ("common", Dtype::F32, &[3], &floats(&[3.0; 3]))], &vocabulary, "the norm");
    let codes = ("input", Dtype::I8, &[5, 3][..], &[1; 15][..]);
    let scales = floats(&[1.0, 1.0, -1.0, 1.0, 1.0]);
    check(&[codes, ("input.scale", Dtype::F32, &[5], &scales)], &vocabulary, "scale -1 at 2");
    check(&[input], b"a 5\nb 4\nc 3\nd 2\n", "5 rows for 4 words");
    check(&[input], b"a 5\nb 4\nc 3\nd 2\ne -1\n", "line 5");
    check(&[input], b"a 5\nb 4\nc 9\nd 2\ne 1\n", "line 3");
    check(&[input], b"a 5\nb 4\nc 3\nd 2\na 1\n", "twice");
    check(&[input], b"a 18446744073709551615\nb 4\nc 3\nd 2\ne 1\n", "line 2");
    check(&[input], b"a 5\nb 4\n\xff 3\n", "line 3");
}

#[test]
fn huge_sizes_in_a_header_are_refused() {
    let [card, _, vocabulary] = files(Precision::F32);
    for header in [
        r#"{"input":{"dtype":"F32","shape":[5,3000000000],"data_offsets":[0,60000000000]}}"#,
        r#"{"input":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807],"data_offsets":[0,4]}}"#,
    ] {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        let error = parse(Path::new("x"), &card, &bytes, &vocabulary, None).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    let bytes = [0xff; 64];
    assert!(parse(Path::new("x"), &card, &bytes, &vocabulary, None).is_err());
}

#[test]
fn another_family_and_missing_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(WordModel::load(folder.path()), Err(Error::Io { .. })));
    let [_, tensors, vocabulary] = files(Precision::F32);
    let error = parse(Path::new("x"), b"{\"name\": \"digits\"}", &tensors, &vocabulary, None).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("digits"), "{error}");
}

#[test]
fn the_default_model_has_meaning() {
    let model = WordModel::default_model().unwrap();
    let near = |plus: &[&str], minus: &[&str], k, expected: &str| {
        let found = model.nearest(plus, minus, k).unwrap();
        assert!(found.iter().any(|(word, _)| word == expected), "{plus:?} - {minus:?}: {found:?}");
    };
    near(&["alligator"], &[], 20, "crocodiles");
    near(&["turnip"], &[], 20, "celery");
    near(&["eagle"], &[], 20, "bald");
    near(&["crocodile"], &[], 20, "lizard");
    near(&["king", "woman"], &["man"], 3, "queen");
    near(&["paris", "germany"], &["france"], 1, "berlin");
    let cat = &model.fill_blank("the ___ cat", 20).unwrap()[0];
    assert!(cat.iter().any(|(word, _)| word == "black") && cat.iter().all(|(word, _)| word != "the"), "{cat:?}");
    assert!(model.has_output_layer() && model.common().is_some());
    let card = model.card();
    assert!(card.command.starts_with("nearness train words") && card.data.len() == 2 && card.date.len() == 10);
    let size = include_bytes!("../../models/words/model.safetensors").len()
        + include_bytes!("../../models/words/vocab.txt").len();
    assert!(size < 18_000_000, "{size} bytes in the repository");
}
