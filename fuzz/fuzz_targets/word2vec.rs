//! Fuzz target: word2vec files, text and binary, in the readers of `load` and of models.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::cli::fuzzing::records;
use nearness::embed::formats::word2vec::{Format, Reader};
use nearness::embed::words::WordModel;
use nearness::embed::words::word2vec::{read_binary, read_text};
use nearness_fuzz::file;

fuzz_target!(|data: &[u8]| {
    let path = file("a.vec", data);
    for format in ["word2vec", "word2vec-binary"] {
        let _ = records(&path, format, None, false);
    }
    for words in [read_text(&path), read_binary(&path)].into_iter().flatten() {
        assert!(words.iter().all(|(word, vector)| !word.is_empty() && vector.iter().all(|x| x.is_finite())));
    }
    let _ =
        (Reader::detect(&path).map(Iterator::count), Reader::open(&path, Format::Text).map(|reader| reader.words()));
    let _ = WordModel::from_word2vec(&path);
});
