//! Fuzz target: model folders of the digit net, with any files, and the built-in files with patches.
//! Loaded models classify.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::embed::Embedder;
use nearness::embed::digits::{DigitNet, PIXELS};
use nearness_fuzz::{choice, folder, parts, patched};
use std::sync::OnceLock;

fn built_in() -> &'static (Vec<u8>, Vec<u8>) {
    static BUILT_IN: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    BUILT_IN.get_or_init(|| {
        let files = DigitNet::default_model().expect("the built-in net").files().expect("its files");
        let of = |end: &str| files.iter().find(|(name, _)| name.ends_with(end)).expect("its file").1.clone();
        (of(".json"), of(".safetensors"))
    })
}

fuzz_target!(|data: &[u8]| {
    let (kind, data) = choice(data);
    let [card, weights] = parts(data);
    let (whole_card, whole_weights) = built_in();
    let card = if kind & 1 == 0 { whole_card.clone() } else { card.to_vec() };
    let weights = if kind & 2 == 0 { patched(whole_weights, weights) } else { weights.to_vec() };
    let folder = folder("model");
    std::fs::write(folder.join("card.json"), card).expect("a file");
    std::fs::write(folder.join("model.safetensors"), weights).expect("a file");
    if let Ok(net) = DigitNet::load(&folder) {
        let image: Vec<u8> = (0..PIXELS).map(|pixel| (pixel % 251) as u8).collect();
        let _ = net.probabilities(&image);
    }
});
