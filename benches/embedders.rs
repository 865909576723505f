//! Throughput of a model folder on texts or pictures: the counterpart of `benches/peers/bert.py`,
//! `benches/peers/towers.py` and `benches/peers/digits.py`, which contain the instructions.
//!
//! Arguments: the model folder; a JSON list of texts or, for an image net, of files; and an output file for the
//! vectors (little-endian f32, in order). Each line of standard input then starts a round: the number of inputs per
//! batch, 0 for all. The program prints the seconds of each round.
#![allow(clippy::print_stdout, missing_docs)]

use nearness::embed::{Input, Modality, Registry};
use std::io::BufRead;
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [folder, texts, out] = arguments.as_slice() else {
        println!("needs FOLDER TEXTS OUT; see benches/peers/bert.py");
        return;
    };
    let mut registry = Registry::default();
    let start = Instant::now();
    registry.add_folder(folder.as_ref()).expect("a model folder");
    let loaded = start.elapsed();
    let embedder = registry.models().last().expect("a model").embedders[0].clone();
    let texts: Vec<String> = serde_json::from_slice(&std::fs::read(texts).expect("texts")).expect("a list of texts");
    let files: Vec<Vec<u8>> = match embedder.modality() {
        Modality::Text => Vec::new(),
        Modality::Image => texts.iter().map(|path| std::fs::read(path).expect("a file")).collect(),
    };
    let inputs: Vec<Input<'_>> = match embedder.modality() {
        Modality::Text => texts.iter().map(|text| Input::Text(text)).collect(),
        Modality::Image => files.iter().map(|file| Input::Image(file)).collect(),
    };
    let output = embedder.output_layer("").expect("an output");
    let embed = |batch_size: usize| -> Vec<Vec<f32>> {
        let batch_size = if batch_size == 0 { inputs.len() } else { batch_size };
        inputs
            .chunks(batch_size)
            .flat_map(|some| embedder.embed_batch(output, some))
            .map(|vector| vector.expect("a vector"))
            .collect()
    };
    let bytes: Vec<u8> = embed(0).concat().iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(out, bytes).expect("vectors written");
    println!("{}", loaded.as_secs_f64());
    for line in std::io::stdin().lock().lines() {
        let batch_size = line.expect("a line").trim().parse().expect("a number");
        let start = Instant::now();
        std::hint::black_box(embed(batch_size));
        println!("{}", start.elapsed().as_secs_f64());
    }
}
