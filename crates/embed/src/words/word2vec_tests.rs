//! Tests of the word2vec formats.

use super::*;
use crate::{
    Embedder, ErrorKind,
    words::{Notes, data::MAX_WORD_BYTES, model::tests::small},
};

#[test]
fn both_formats_come_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let model = small();
    let (text, binary) = (folder.path().join("v.txt"), folder.path().join("v.bin"));
    write_text(&model, &text).unwrap();
    write_binary(&model, &binary).unwrap();
    for (words, path) in [(read_text(&text).unwrap(), &text), (read_binary(&binary).unwrap(), &binary)] {
        assert_eq!(words.len(), 5);
        for (word, numbers) in &words {
            assert_eq!(model.vector(word).unwrap(), numbers.as_slice(), "{word}");
        }
        let Imported { model: imported, notes } = WordModel::from_word2vec(path).unwrap();
        assert_eq!(notes, Notes::default());
        assert_eq!(imported.vocabulary(), model.vocabulary());
        assert_eq!(imported.nearest(&["king", "woman"], &["man"], 1).unwrap()[0].0, "queen");
        assert!(imported.fill_blank("the ___ king", 1).unwrap_err().to_string().contains("output layer"));
        assert_ne!(imported.fingerprint(), model.fingerprint());
    }
}

#[test]
fn every_truncation_is_an_error_or_noted() {
    let folder = tempfile::tempdir().unwrap();
    let model = small();
    let path = folder.path().join("cut");
    for (format, write) in
        [(Format::Text, write_text as fn(&WordModel, &Path) -> Result<(), Error>), (Format::Binary, write_binary)]
    {
        write(&model, &path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        // A text file has no end mark, so the loss of the last digits of its last number cannot be detected.
        let last = if format == Format::Text { whole.len() - 5 } else { whole.len() - 1 };
        let mut whole_words = 0;
        for length in 0..last {
            std::fs::write(&path, &whole[..length]).unwrap();
            match Reader::open(&path, format).and_then(read_all) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{format:?} cut at {length}: {error}"),
                Ok(ImportedWords { words, notes, .. }) => {
                    assert_eq!(notes.word_counts, Some((5, words.len() as u64)), "{format:?} cut at {length}");
                    whole_words += 1;
                }
            }
            let imported = WordModel::from_word2vec(&path);
            assert!(
                imported.as_ref().map_or(true, |imported| imported.notes.word_counts.is_some()),
                "{format:?} cut at {length}"
            );
        }
        assert!((4..30).contains(&whole_words), "{format:?}: {whole_words} cuts were between words");
    }
}

#[test]
fn hostile_files_are_refused_without_a_large_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad");
    let check = |bytes: &[u8], says: &str| {
        std::fs::write(&path, bytes).unwrap();
        for format in [Format::Text, Format::Binary] {
            let error =
                Reader::open(&path, format).and_then(|reader| reader.collect::<Result<Vec<_>, _>>()).unwrap_err();
            assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(says), "{format:?}: {error}");
        }
        assert!(WordModel::from_word2vec(&path).is_err());
    };
    check(b"", "first line");
    check(b"three 4\n", "first line");
    check(b"1 2 3\n", "first line");
    check(&[b'1'; 500], "first line");
    check(b"99999999999999999999 4\na 1 2 3 4\n", "first line");
    check(b"4000000000 4\na 1 2 3 4\n", "the file has");
    check(b"18446744073709551615 4\n", "possible");
    check(b"1 4000000000\na 1\n", "possible");
    check(b"0 4\n", "possible");
    check(b"1 0\na\n", "possible");
    std::fs::write(&path, b"2 2\na 1 2\nb 1 NaN\n").unwrap();
    assert!(read_text(&path).unwrap_err().to_string().contains("\"NaN\" is not a finite number"));
    std::fs::write(&path, b"2 2\na 1 2 3\nb 1 2 3\n").unwrap();
    assert!(read_text(&path).unwrap_err().to_string().contains("more than the 2 numbers"));
    std::fs::write(&path, b"2 2\na 1 2\nb 1\n").unwrap();
    assert!(read_text(&path).unwrap_err().to_string().contains("has 1 numbers"));
    let mut nan = b"1 2\na ".to_vec();
    nan.extend([f32::INFINITY, 1.0].iter().flat_map(|x| x.to_le_bytes()));
    std::fs::write(&path, &nan).unwrap();
    assert!(read_binary(&path).unwrap_err().to_string().contains("component 0 is inf, it must be finite"));
}

/// Words as in public files, whose spelling is normalized.
const ODD: [&str; 8] = ["king", "\u{a0}", ".\u{a0}.", "\u{85}", "", "area 51", "", "Queen"];

#[test]
fn unusual_words_are_treated_alike_in_all_formats_and_the_folder_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (path, saved) = (folder.path().join("vectors"), folder.path().join("model"));
    let long = "x".repeat(MAX_WORD_BYTES + 1);
    let words: Vec<&[u8]> =
        ODD.iter().map(|word| word.as_bytes()).chain([long.as_bytes(), b"caf\xe9", b"king"]).collect();
    let lines: Vec<u8> = words.iter().flat_map(|word| [word, &b" 1 2\r\n"[..]].concat()).collect();
    let records = |words: &[&[u8]]| -> Vec<u8> {
        words
            .iter()
            .flat_map(|word| [word, &b" "[..], &1_f32.to_le_bytes(), &2_f32.to_le_bytes(), b"\n"].concat())
            .collect()
    };
    let spaceless: Vec<&[u8]> = words.iter().copied().filter(|word| !word.contains(&b' ')).collect();
    let json = |words: &[&[u8]]| {
        let members: Vec<String> = words
            .iter()
            .filter_map(|word| std::str::from_utf8(word).ok())
            .map(|word| format!("{}: [1, 2]", serde_json::Value::from(word)))
            .collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    };
    let mark = &b"\xef\xbb\xbf"[..];
    for (format, bytes, with_space, with_bytes) in [
        ("word2vec", [b"11 2\n", &lines[..]].concat(), true, true),
        ("word2vec", [mark, b"11 2\r\n", &lines].concat(), true, true),
        ("binary", [b"10 2\n", &records(&spaceless)[..]].concat(), false, true),
        ("GloVe", lines.clone(), true, true),
        ("GloVe", [mark, &lines].concat(), true, true),
        ("JSON", json(&words), true, false),
        ("JSON", [mark, &json(&words)].concat(), true, false),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let Imported { model, notes } = WordModel::import(&path).unwrap();
        let expected: Vec<&str> = ["king", "_", "._.", "area_51", "Queen"]
            .into_iter()
            .filter(|word| with_space || !word.contains("51"))
            .collect();
        assert_eq!(model.vocabulary(), expected, "{format}");
        let expected = Notes {
            empty: 2,
            too_long: 1,
            not_utf8: u64::from(with_bytes),
            // The second word of only a space, and the last word.
            duplicates: 2,
            respelled: 2 + u64::from(with_space),
            word_counts: None,
        };
        assert_eq!(notes, expected, "{format}");
        assert!(model.card().summary.contains("2 empty"), "{}", model.card().summary);
        model.save(&saved).unwrap();
        let again = WordModel::load(&saved).unwrap();
        assert_eq!((again.vocabulary(), again.fingerprint()), (model.vocabulary(), model.fingerprint()), "{format}");
    }
}

#[test]
fn an_incorrect_count_in_the_first_line_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors");
    let binary: Vec<u8> =
        ["king", "queen"].iter().flat_map(|word| [word.as_bytes(), b" ", &1_f32.to_le_bytes()].concat()).collect();
    for (promised, noted) in [(1, Some((1, 2))), (2, None), (3, Some((3, 2)))] {
        for body in [b"king 1\nqueen 2\n".to_vec(), binary.clone(), [&binary[..], b"\n"].concat()] {
            std::fs::write(&path, [format!("{promised} 1\n").as_bytes(), &body].concat()).unwrap();
            let Imported { model, notes } = WordModel::import(&path).unwrap();
            assert_eq!(model.vocabulary(), ["king", "queen"]);
            assert_eq!(notes.word_counts, noted);
        }
    }
}
