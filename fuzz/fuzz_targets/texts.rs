//! Fuzz target: text files (lines, WikiExtractor, format detection of `load`, a corpus, the questions of `eval`).
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::cli::fuzzing::{records, vectors};
use nearness::embed::words::{WordModel, data, eval};
use nearness_fuzz::file;
use std::sync::OnceLock;

fn model() -> &'static WordModel {
    static MODEL: OnceLock<WordModel> = OnceLock::new();
    MODEL.get_or_init(|| {
        let words = b"4 2\na 1 0\nb 0 1\nc 1 1\nd -1 0\n";
        WordModel::from_word2vec(&file("model.vec", words)).expect("a model").model
    })
}

fuzz_target!(|data: &[u8]| {
    let model = model();
    let path = file("a.txt", data);
    let _ = (records(&path, "text", None, false), records(&path, "wiki", None, false), vectors(&path));
    let _ = data::for_each_line(&path, &mut |_| {});
    let _ = (eval::similarity(model, &path), eval::analogies(model, &path, 10));
});
