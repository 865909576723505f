//! Tests of the word2vec formats.

use super::*;
use crate::embed::{Embedder, ErrorKind, words::model::tests::small};

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
        let imported = WordModel::from_word2vec(path).unwrap();
        assert_eq!(imported.vocabulary(), model.vocabulary());
        assert_eq!(imported.nearest(&["king", "woman"], &["man"], 1).unwrap()[0].0, "queen");
        assert!(imported.fill_blank("the ___ king", 1).unwrap_err().to_string().contains("output layer"));
        assert_ne!(imported.fingerprint(), model.fingerprint());
    }
}

#[test]
fn every_truncation_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let model = small();
    let path = folder.path().join("cut");
    for (format, write) in
        [(Format::Text, write_text as fn(&WordModel, &Path) -> Result<(), Error>), (Format::Binary, write_binary)]
    {
        write(&model, &path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        // A text file's last number may lose digits unnoticed, as in any text without an end mark.
        let last = if format == Format::Text { whole.len() - 5 } else { whole.len() - 1 };
        for length in 0..last {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error =
                Reader::open(&path, format).and_then(|reader| reader.collect::<Result<Vec<_>, _>>()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{format:?} cut at {length}: {error}");
            assert!(WordModel::from_word2vec(&path).is_err(), "{format:?} cut at {length}");
        }
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
    assert!(read_text(&path).unwrap_err().to_string().contains("component 1 of \"b\" is not finite"));
    std::fs::write(&path, b"2 2\na 1 2\nb 1 2 3\n").unwrap();
    assert!(read_text(&path).unwrap_err().to_string().contains("has 3 numbers"));
    std::fs::write(&path, b"1 2\na 1 2\nb 1 2\n").unwrap();
    assert!(read_text(&path).unwrap_err().to_string().contains("more bytes"));
    let mut nan = b"1 2\na ".to_vec();
    nan.extend([f32::INFINITY, 1.0].iter().flat_map(|x| x.to_le_bytes()));
    std::fs::write(&path, &nan).unwrap();
    assert!(read_binary(&path).unwrap_err().to_string().contains("not finite"));
}
