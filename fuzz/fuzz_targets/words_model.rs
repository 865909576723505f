//! Fuzz target: model folders of word and text embedders. A loaded model embeds a text, finds words, predicts a
//! masked word.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::embed::text::TextEmbedder;
use nearness::embed::words::WordModel;
use nearness::embed::{Embedder, Input, Registry};
use nearness_fuzz::{folder, parts};
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let [card, vocabulary, text, tensors] = parts(data);
    let folder = folder("model");
    for (name, bytes) in [("card.json", card), ("vocab.txt", vocabulary), ("model.safetensors", tensors)] {
        std::fs::write(folder.join(name), bytes).expect("a file");
    }
    let mut registry = Registry::default();
    let _ = registry.add_folder(&folder);
    let Ok(model) = WordModel::load(&folder) else { return };
    let text = String::from_utf8_lossy(text);
    let mut words = text.split(' ');
    let (one, other) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let _ = (model.nearest(&[one], &[other], 3), model.nearest(&[one], &[], 1), model.fill_blank(&text, 2));
    if let Some(Ok(files)) = Some(model.files()) {
        assert!(files.iter().any(|(name, _)| *name == "card.json"));
    }
    let Ok(embedder) = TextEmbedder::new(Arc::new(model)) else { return };
    for output in embedder.output_layers() {
        if let Ok(vector) = embedder.embed(output, &Input::Text(&text)) {
            assert_eq!(vector.len(), output.dimension as usize);
            assert!(vector.iter().all(|x| x.is_finite()));
        }
    }
});
