//! Tests of contrastive training: learning, reproducibility, cancellation, and loading.

use super::{super::paragraphs, *};
use crate::{Embedder, Error, ErrorKind, Input, Modality, Registry, text::TextEncoder, words::toy_model};
use std::sync::atomic::{AtomicU64, Ordering};

/// Articles of one topic each: each of the three paragraphs has its own topic word, of 60, and words common to all
/// articles.
fn articles() -> Paragraphs {
    let names: Vec<String> =
        (0..20).map(|n| format!("topic {n}")).filter(|name| !paragraphs::is_held_out(name)).collect();
    let texts: Vec<Vec<String>> = (0..names.len())
        .map(|n| {
            let word = |k: usize| toy_word(3 * n + k);
            // No two paragraphs share a word of the topic.
            (0..3).map(|k| format!("{} {} {}", word(k), toy_word(60), toy_word(61 + k))).collect()
        })
        .collect();
    let texts: Vec<Vec<&str>> = texts.iter().map(|texts| texts.iter().map(String::as_str).collect()).collect();
    let all: Vec<(&str, &[&str])> =
        names.iter().zip(&texts).map(|(name, texts)| (name.as_str(), texts.as_slice())).collect();
    paragraphs::of(&all)
}

fn toy_word(n: usize) -> String {
    crate::words::toy_word(n)
}

fn options() -> TrainOptions {
    TrainOptions {
        dimension: 24,
        hashed: 0,
        epochs: 60,
        batch: 8,
        learning_rate: 0.05,
        store: Precision::F32,
        ..TrainOptions::default()
    }
}

/// Returns the mean cosine of paragraphs of the same article, and of different ones.
fn cosines(encoder: &TextEncoder, all: &Paragraphs) -> (f64, f64) {
    let vectors: Vec<Vec<f32>> = all
        .texts()
        .iter()
        .map(|text| encoder.embed(&encoder.output_layers()[0], &Input::Text(text)).unwrap())
        .collect();
    let (mut same, mut other) = ((0.0, 0), (0.0, 0));
    for (a, x) in vectors.iter().enumerate() {
        for (b, y) in vectors.iter().enumerate().take(a) {
            let cosine: f32 = x.iter().zip(y).map(|(x, y)| x * y).sum();
            let sum = if all.articles()[a] == all.articles()[b] { &mut same } else { &mut other };
            *sum = (sum.0 + f64::from(cosine), sum.1 + 1);
        }
    }
    (same.0 / f64::from(same.1), other.0 / f64::from(other.1))
}

#[test]
fn paragraphs_of_an_article_come_together() {
    let (words, all) = (toy_model(64, 8), articles());
    let before =
        train(&words, &all, &TrainOptions { epochs: 1, learning_rate: 0.0, map_rate: 0.0, ..options() }, &|_| true)
            .unwrap();
    let (same, other) = cosines(&before, &all);
    assert!(same - other < 0.3, "untrained: {same} and {other}");
    let after = train(&words, &all, &options(), &|_| true).unwrap();
    let (same, other) = cosines(&after, &all);
    assert!(same > 0.7 && same - other > 0.4, "{same} and {other}");
    assert_eq!(after.output_layers()[0].dimension, 24);
    let loss = |encoder: &TextEncoder| encoder.card().quality["loss"].as_f64().unwrap();
    assert!(loss(&after) < 0.2 && loss(&before) > 1.0, "{} {}", loss(&after), loss(&before));
    // Fewer components than the word vectors.
    let narrow = train(&words, &all, &TrainOptions { dimension: 6, ..options() }, &|_| true).unwrap();
    let (same, other) = cosines(&narrow, &all);
    assert!(same > 0.6 && same - other > 0.3, "{same} and {other}");
}

#[test]
fn the_map_alone_learns_too() {
    let (words, all) = (toy_model(64, 48), articles());
    let still = TrainOptions { dimension: 48, learning_rate: 0.0, map_rate: 0.0, ..options() };
    let (same, other) = cosines(&train(&words, &all, &still, &|_| true).unwrap(), &all);
    let moved = TrainOptions { map_rate: 0.02, ..still };
    let (mapped_same, mapped_other) = cosines(&train(&words, &all, &moved, &|_| true).unwrap(), &all);
    assert!(mapped_same - mapped_other > same - other + 0.2, "{same} {other} {mapped_same} {mapped_other}");
}

#[test]
fn a_training_repeats_with_any_number_of_threads() {
    let (words, all) = (toy_model(64, 8), articles());
    let trained = |threads, seed| {
        let options = TrainOptions { threads, seed, epochs: 3, dropout: 0.2, ..options() };
        train(&words, &all, &options, &|_| true).unwrap().fingerprint()
    };
    assert_eq!(trained(1, 1), trained(1, 1));
    assert_eq!(trained(1, 1), trained(3, 1));
    assert_ne!(trained(1, 1), trained(1, 2));
}

#[test]
fn held_out_articles_are_not_read() {
    let words = toy_model(64, 8);
    let texts = [toy_word(1), toy_word(2), toy_word(3), toy_word(4), toy_word(5)];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let trained = |held: &[&str]| {
        let all = paragraphs::of(&[("A", &texts[..2]), ("Wolf", held), ("B", &texts[2..4])]);
        train(&words, &all, &TrainOptions { batch: 2, epochs: 2, ..options() }, &|_| true).unwrap().fingerprint()
    };
    assert!(paragraphs::is_held_out("Wolf") && !paragraphs::is_held_out("A") && !paragraphs::is_held_out("B"));
    assert_eq!(trained(&texts[3..]), trained(&texts[..2]));
}

#[test]
fn the_observer_can_cancel_the_training() {
    let (words, all) = (toy_model(64, 8), articles());
    let steps = AtomicU64::new(0);
    let ended = train(&words, &all, &options(), &|seen| {
        assert!(seen.done <= seen.total);
        seen.phase != "training" || steps.fetch_add(1, Ordering::Relaxed) < 4
    });
    assert!(matches!(ended, Err(Error::Cancelled)));
    assert_eq!(steps.into_inner(), 5);
}

#[test]
fn a_saved_encoder_is_the_same_embedder() {
    let (words, all) = (toy_model(64, 8), articles());
    for (store, hashed) in [(Precision::F32, 0), (Precision::F16, 40), (Precision::I8, 8)] {
        let options = TrainOptions { epochs: 2, store, hashed, hashed_share: 0.3, ..options() };
        let encoder = train(&words, &all, &options, &|_| true).unwrap();
        let mut card = encoder.card().clone();
        card.name = "mine".into();
        let encoder = encoder.with_card(card);
        let folder = tempfile::tempdir().unwrap();
        encoder.save(folder.path()).unwrap();
        let mut registry = Registry::default();
        registry.add_folder(folder.path()).unwrap();
        let read = registry.by_name("mine").unwrap();
        assert_eq!(
            (read.fingerprint(), read.card(), read.modality()),
            (encoder.fingerprint(), encoder.card(), Modality::Text)
        );
        let input = Input::Text(&all.texts()[0]);
        let layer = &encoder.output_layers()[0];
        assert_eq!(read.embed(layer, &input).unwrap(), encoder.embed(layer, &input).unwrap());
        assert!(
            read.reference_inputs()
                .iter()
                .any(|text| read.embed(layer, &Input::Text(std::str::from_utf8(text).unwrap())).is_ok())
        );
        let error = read.embed(layer, &Input::Text("unicorns")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfVocabulary);
        assert!(error.to_string().contains("\"mine\""), "{error}");
        assert!(matches!(read.embed(layer, &Input::Image(&[])), Err(Error::Modality { .. })));
    }
}

#[test]
fn damaged_folders_are_refused() {
    let (words, all) = (toy_model(64, 8), articles());
    let encoder = train(&words, &all, &TrainOptions { epochs: 1, ..options() }, &|_| true).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str, bytes: &[u8]| {
        encoder.save(folder.path()).unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        Registry::default().add_folder(folder.path()).unwrap_err()
    };
    let files = encoder.files().unwrap();
    let bytes = |name: &str| files.iter().find(|(other, _)| *other == name).unwrap().1.clone();
    let weights = bytes("model.safetensors");
    let mut not_finite = weights.clone();
    let last = not_finite.len() - 4;
    not_finite[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut huge = weights.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for (name, invalid, message) in [
        ("model.safetensors", &weights[..weights.len() - 1], "safetensors"),
        ("model.safetensors", &not_finite, "not finite"),
        ("model.safetensors", &huge, "safetensors"),
        ("model.safetensors", b"", "safetensors"),
        ("vocab.txt", b"one 1\n", "1 words"),
        ("vocab.txt", b"\xff", "UTF-8"),
        ("card.json", b"{\"family\": \"text-contrasts\"}", "text-contrasts"),
        (
            "card.json",
            b"{\"name\": \"t\", \"family\": \"text-contrast\", \"settings\": {\"sketch\": -8}}",
            "settings.sketch is -8",
        ),
        ("card.json", b"{", "not a model card"),
    ] {
        let error = load(name, invalid);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
        assert!(error.to_string().contains(message), "{name}: {error}");
    }
    encoder.save(folder.path()).unwrap();
    std::fs::remove_file(folder.path().join("vocab.txt")).unwrap();
    assert!(matches!(Registry::default().add_folder(folder.path()), Err(Error::Io { .. })));
}

#[test]
fn invalid_settings_and_data_are_refused() {
    let (words, all) = (toy_model(64, 8), articles());
    let refused = |options: TrainOptions, message: &str| {
        let Err(error) = train(&words, &all, &options, &|_| true) else { panic!("accepted: {options:?}") };
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(message), "{error}");
    };
    refused(TrainOptions { dimension: 1, ..options() }, "dimension must be 2 to 4096, got 1");
    refused(TrainOptions { dimension: 1 << 40, ..options() }, "dimension");
    refused(TrainOptions { hashed: 1 << 40, ..options() }, "sketch");
    refused(TrainOptions { epochs: 0, ..options() }, "epochs");
    refused(TrainOptions { batch: 1, ..options() }, "batch");
    refused(TrainOptions { batch: usize::MAX, ..options() }, "batch");
    for number in [f32::NAN, f32::INFINITY, -1.0] {
        refused(TrainOptions { temperature: number, ..options() }, "temperature");
        refused(TrainOptions { learning_rate: number, ..options() }, "learning rate");
        refused(TrainOptions { map_rate: number, ..options() }, "map rate");
        refused(TrainOptions { dropout: number, ..options() }, "dropout");
        refused(TrainOptions { hashed_share: number, ..options() }, "sketch share");
    }
    let single = paragraphs::of(&[("A", &["one", "two"]), ("B", &["three"])]);
    let error = train(&words, &single, &options(), &|_| true).err().unwrap();
    assert!(error.to_string().contains("at least 2"), "{error}");
}
