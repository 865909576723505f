//! Tests of the small nets in `tests/fixtures/transformers` against the reference implementation,
//! and of invalid folders.

use super::*;
use crate::{ErrorKind, Input, Registry};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const TOLERANCE: f32 = 1e-4;

pub(super) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/transformers")
}

pub(super) fn reference(family: &str) -> Value {
    serde_json::from_slice(&fs::read(fixtures().join(family).join("reference.json")).unwrap()).unwrap()
}

pub(super) fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn texts(reference: &Value) -> Vec<&str> {
    reference["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &to) } else { assert!(fs::copy(path, to).is_ok()) }
    }
}

/// The folder in the layout of sentence-transformers; the fixture stores common files only once.
fn sentence_transformers(kind: &str, to: &Path) {
    copy(&fixtures().join("bert/plain"), to);
    copy(&fixtures().join("bert").join(kind), to);
}

pub(super) fn card(name: &str) -> ModelCard {
    ModelCard { name: name.into(), ..ModelCard::default() }
}

pub(super) fn loaded(family: Family, from: &Path) -> Result<Arc<dyn Embedder>, Error> {
    let out = tempfile::tempdir().unwrap();
    import(family, from, &out.path().join("m"), card("mine"))?;
    let mut registry = Registry::default();
    registry.add_folder(&out.path().join("m"))?;
    registry.by_name("mine").cloned()
}

pub(super) fn near(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let max = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(max < TOLERANCE, "{what}: off by {max}");
}

/// A change to a folder before it is loaded.
pub(super) type Damage = Box<dyn FnOnce(&Path)>;

#[test]
fn bert_agrees_with_the_reference() {
    let reference = reference("bert");
    let texts = texts(&reference);
    for kind in ["mean", "cls"] {
        let folder = tempfile::tempdir().unwrap();
        sentence_transformers(kind, folder.path());
        let embedder = loaded(Family::Bert, folder.path()).unwrap();
        let layer = embedder.output_layer("").unwrap();
        assert_eq!((layer.dimension, embedder.card().family.as_str()), (32, "bert"));
        // In one batch: lengths differ widely, so there is padding, and two texts are truncated to 24 tokens.
        let mut inputs: Vec<Input<'_>> = texts.iter().map(|text| Input::Text(text)).collect();
        inputs.insert(2, Input::Image(&[]));
        let mut vectors = embedder.embed_batch(layer, &inputs);
        assert!(matches!(vectors.remove(2), Err(Error::Modality { .. })));
        for ((text, vector), expected) in texts.iter().zip(vectors).zip(reference[kind].as_array().unwrap()) {
            near(&vector.unwrap(), &numbers(expected), &format!("{kind}, {text}"));
            near(
                &embedder.embed(layer, &Input::Text(text)).unwrap(),
                &numbers(expected),
                &format!("{kind}, alone, {text}"),
            );
        }
        for text in ["", "  \t"] {
            assert_eq!(embedder.embed(layer, &Input::Text(text)).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}

#[test]
fn batch_results_are_in_input_order() {
    let folder = tempfile::tempdir().unwrap();
    sentence_transformers("mean", folder.path());
    let embedder = loaded(Family::Bert, folder.path()).unwrap();
    let layer = embedder.output_layer("").unwrap();
    let texts: Vec<String> = (0..100).map(|i| format!("salt {}", "storm harbour dog ".repeat(i * 7 % 11))).collect();
    let inputs: Vec<Input<'_>> = texts.iter().map(|text| Input::Text(text)).collect();
    for (text, vector) in texts.iter().zip(embedder.embed_batch(layer, &inputs)) {
        near(&vector.unwrap(), &embedder.embed(layer, &Input::Text(text)).unwrap(), text);
    }
}

#[test]
fn gpt_agrees_with_the_reference() {
    let reference = reference("gpt");
    let old = tempfile::tempdir().unwrap();
    copy(&fixtures().join("gpt"), old.path());
    fs::remove_file(old.path().join("tokenizer.json")).unwrap();
    for folder in [fixtures().join("gpt"), old.path().to_owned()] {
        let embedder = loaded(Family::Gpt, &folder).unwrap();
        let (last, token) = (embedder.output_layer("last").unwrap(), embedder.output_layer("token").unwrap());
        let texts = texts(&reference);
        let inputs: Vec<Input<'_>> = texts.iter().map(|text| Input::Text(text)).collect();
        let together = embedder.embed_batch(last, &inputs);
        let model = embedder.language_model().unwrap();
        for (index, (text, vector)) in texts.iter().zip(together).enumerate() {
            near(&vector.unwrap(), &numbers(&reference["last"][index]), text);
            near(&embedder.embed(last, &inputs[index]).unwrap(), &numbers(&reference["last"][index]), text);
            let next = model.next_tokens(text, 5).unwrap();
            for (next, expected) in next.iter().zip(reference["next"][index].as_array().unwrap()) {
                assert_eq!((&json!(next.text), &json!(next.token)), (&expected[0], &expected[1]), "{text}");
                assert!((f64::from(next.probability) - expected[2].as_f64().unwrap()).abs() < f64::from(TOLERANCE));
            }
            let ids = reference["ids"][index].as_array().unwrap();
            assert!(ids.len() > 1 && embedder.embed(token, &inputs[index]).is_err(), "{text} is one token");
        }
        let all = model.next_tokens("Salt", usize::MAX).unwrap();
        assert!((all.iter().map(|next| f64::from(next.probability)).sum::<f64>() - 1.0).abs() < 1e-4);
        // The embedding of a token, for a single-token text: the first letter of the first text.
        assert_eq!(&texts[0][..2], "A ");
        near(&embedder.embed(token, &Input::Text("A")).unwrap(), &numbers(&reference["token"][0]), "the token A");
        assert_eq!(model.next_tokens("", 1).unwrap_err().kind(), ErrorKind::InvalidInput);
        // A text longer than the context keeps its end: here, 64 tokens " dog".
        let state = |count: usize| embedder.embed(last, &Input::Text(&" dog".repeat(count))).unwrap();
        near(&state(200), &state(64), "a text that is too long");
        assert!(state(63).iter().zip(state(64)).any(|(a, b)| (a - b).abs() > 1e-3));
    }
}

/// Changes one file of a valid folder and returns the error message.
pub(super) fn broken(family: Family, change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    match family {
        Family::Bert => sentence_transformers("mean", folder.path()),
        Family::Gpt => copy(&fixtures().join("gpt"), folder.path()),
        Family::Clip => copy(&fixtures().join("clip"), folder.path()),
        Family::Dinov2 => copy(&fixtures().join("dinov2/plain"), folder.path()),
        Family::Resnet => copy(&fixtures().join("resnet/basic"), folder.path()),
    }
    change(folder.path());
    match loaded(family, folder.path()) {
        Ok(_) => panic!("a broken folder was loaded"),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Internal), "{error}");
            error.to_string()
        }
    }
}

pub(super) fn set(file: &'static str, key: &'static str, value: Value) -> impl FnOnce(&Path) {
    move |folder| {
        let path = folder.join(file);
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        json[key] = value;
        fs::write(path, json.to_string()).unwrap();
    }
}

pub(super) fn cut(file: &'static str) -> impl FnOnce(&Path) {
    move |folder| {
        let bytes = fs::read(folder.join(file)).unwrap();
        fs::write(folder.join(file), &bytes[..bytes.len() * 2 / 3]).unwrap();
    }
}

/// Removes a tensor, or sets all its numbers to `with`.
pub(super) fn spoil(name: &'static str, with: Option<f32>) -> impl FnOnce(&Path) {
    move |folder| {
        let bytes = fs::read(folder.join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut numbers = Vec::new();
        let mut views = Vec::new();
        for (other, view) in file.iter() {
            if other != name {
                views
                    .push((other.to_owned(), TensorView::new(view.dtype(), view.shape().into(), view.data()).unwrap()));
            } else if let Some(with) = with {
                let count: usize = view.shape().iter().product();
                numbers = (0..count).flat_map(|_| with.to_le_bytes()).collect();
            }
        }
        if with.is_some() {
            let shape = file.tensor(name).unwrap().shape().to_vec();
            views.push((name.to_owned(), TensorView::new(Dtype::F32, shape, &numbers).unwrap()));
        }
        fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    }
}

#[test]
fn invalid_folders_are_refused_with_the_reason() {
    let remove = |file: &'static str| move |folder: &Path| fs::remove_file(folder.join(file)).unwrap();
    let huge = || json!(1_000_000_000_000_u64);
    let bert: Vec<(&str, Damage)> = vec![
        ("config.json", Box::new(remove("config.json"))),
        ("model.safetensors", Box::new(remove("model.safetensors"))),
        ("tokenizer.json", Box::new(remove("tokenizer.json"))),
        ("not a whole safetensors file", Box::new(cut("model.safetensors"))),
        ("not JSON", Box::new(cut("tokenizer.json"))),
        ("not understood", Box::new(cut("config.json"))),
        ("not understood", Box::new(cut("modules.json"))),
        ("not a usable tokenizer", Box::new(set("tokenizer.json", "model", json!({"type": "Oracle"})))),
        ("hidden_size", Box::new(set("config.json", "hidden_size", huge()))),
        ("hidden_size", Box::new(set("config.json", "hidden_size", json!(0)))),
        ("the settings require [193, 64]", Box::new(set("config.json", "hidden_size", json!(64)))),
        ("num_attention_heads", Box::new(set("config.json", "num_attention_heads", json!(5)))),
        ("encoder.layer.2", Box::new(set("config.json", "num_hidden_layers", huge()))),
        ("intermediate", Box::new(set("config.json", "intermediate_size", huge()))),
        ("word_embeddings", Box::new(set("config.json", "vocab_size", huge()))),
        ("position_embeddings", Box::new(set("config.json", "max_position_embeddings", huge()))),
        ("token_type", Box::new(set("config.json", "type_vocab_size", huge()))),
        ("not understood", Box::new(set("config.json", "hidden_size", json!(-3)))),
        ("not understood", Box::new(set("config.json", "hidden_size", json!(1e300)))),
        ("layer_norm_eps", Box::new(set("config.json", "layer_norm_eps", json!(-1.0)))),
        ("model_type", Box::new(set("config.json", "model_type", json!("roberta")))),
        ("hidden_act", Box::new(set("config.json", "hidden_act", json!("wavelet")))),
        ("absolute positions", Box::new(set("config.json", "position_embedding_type", json!("relative_key")))),
        ("pools otherwise", Box::new(set("1_Pooling/config.json", "pooling_mode_max_tokens", json!(true)))),
        ("special tokens", Box::new(set("sentence_bert_config.json", "max_seq_length", json!(2)))),
        ("no tensor", Box::new(spoil("encoder.layer.1.output.dense.bias", None))),
        ("not finite", Box::new(spoil("encoder.layer.0.output.dense.bias", Some(f32::NAN)))),
        (
            "is not a folder below",
            Box::new(|folder: &Path| {
                let path = folder.join("modules.json");
                let text = fs::read_to_string(&path).unwrap().replace("1_Pooling", "../1_Pooling");
                fs::write(path, text).unwrap();
            }),
        ),
        (
            "module 2",
            Box::new(|folder: &Path| {
                let path = folder.join("modules.json");
                let text = fs::read_to_string(&path).unwrap().replace("normalize.Normalize", "dense.Dense");
                fs::write(path, text).unwrap();
            }),
        ),
        (
            "times as long",
            Box::new(set(
                "tokenizer.json",
                "normalizer",
                json!({"type": "Sequence", "normalizers": [
                    {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaaaa"},
                    {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaaaa"},
                ]}),
            )),
        ),
        (
            "the net has 193 tokens",
            Box::new(|folder: &Path| {
                let path = folder.join("tokenizer.json");
                let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                json["model"]["vocab"]["zebra"] = json!(193);
                fs::write(path, json.to_string()).unwrap();
            }),
        ),
    ];
    for (index, (reason, change)) in bert.into_iter().enumerate() {
        let error = broken(Family::Bert, change);
        assert!(error.contains(reason), "case {index}: {error:?} does not contain {reason:?}");
    }
    let gpt: Vec<(&str, Damage)> = vec![
        ("n_embd", Box::new(set("config.json", "n_embd", huge()))),
        ("h.2.ln_1", Box::new(set("config.json", "n_layer", huge()))),
        ("n_positions", Box::new(set("config.json", "n_positions", huge()))),
        ("wpe", Box::new(set("config.json", "n_positions", json!(65)))),
        ("c_fc", Box::new(set("config.json", "n_inner", huge()))),
        ("n_head", Box::new(set("config.json", "n_head", json!(0)))),
        ("lm_head", Box::new(set("config.json", "tie_word_embeddings", json!(false)))),
        ("not a whole safetensors file", Box::new(cut("model.safetensors"))),
        (
            "vocab.json",
            Box::new(|folder: &Path| {
                fs::remove_file(folder.join("tokenizer.json")).unwrap();
                fs::write(folder.join("vocab.json"), "[1, 2]").unwrap();
            }),
        ),
        (
            "merges.txt",
            Box::new(|folder: &Path| {
                fs::remove_file(folder.join("tokenizer.json")).unwrap();
                fs::write(folder.join("merges.txt"), "a b\nlonely\n").unwrap();
            }),
        ),
        (
            "merges.txt",
            Box::new(|folder: &Path| {
                fs::remove_file(folder.join("tokenizer.json")).unwrap();
                fs::write(folder.join("merges.txt"), "zebra stripes\n").unwrap();
            }),
        ),
    ];
    for (index, (reason, change)) in gpt.into_iter().enumerate() {
        let error = broken(Family::Gpt, change);
        assert!(error.contains(reason), "case {index}: {error:?} does not contain {reason:?}");
    }
}

#[test]
fn a_fingerprint_covers_every_file_that_determines_the_vectors() {
    let folder = tempfile::tempdir().unwrap();
    sentence_transformers("mean", folder.path());
    let fingerprint = || loaded(Family::Bert, folder.path()).unwrap().fingerprint();
    let first = fingerprint();
    assert_eq!(first, fingerprint());
    let mut seen = vec![first];
    for change in [
        Box::new(set("config.json", "hidden_act", json!("relu"))) as Box<dyn FnOnce(&Path)>,
        Box::new(set("sentence_bert_config.json", "max_seq_length", json!(20))),
        Box::new(set("1_Pooling/config.json", "pooling_mode", json!("cls"))),
        Box::new(set("tokenizer.json", "normalizer", json!({"type": "Lowercase"}))),
        Box::new(spoil("embeddings.LayerNorm.bias", Some(0.5))),
    ] {
        change(folder.path());
        let now = fingerprint();
        assert!(!seen.contains(&now), "a change has no effect");
        seen.push(now);
    }
}

#[test]
fn a_snapshot_contains_the_files_unless_they_changed_on_disk() {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sentence_transformers("cls", folder.path());
    import(Family::Bert, folder.path(), out.path(), card("mine")).unwrap();
    let mut registry = Registry::default();
    registry.add_folder(out.path()).unwrap();
    let embedder = registry.by_name("mine").unwrap();
    let again = tempfile::tempdir().unwrap();
    for (name, bytes) in embedder.files().unwrap() {
        fs::write(again.path().join(name), bytes).unwrap();
    }
    let mut other = Registry::default();
    other.add_folder(again.path()).unwrap();
    assert_eq!(other.by_name("mine").unwrap().fingerprint(), embedder.fingerprint());
    set("config.json", "hidden_act", json!("relu"))(out.path());
    assert_eq!(embedder.files().unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn invalid_names_are_refused() {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sentence_transformers("cls", folder.path());
    for name in ["", "a:b", "a b", "../x", &"x".repeat(65)] {
        assert!(import(Family::Bert, folder.path(), out.path(), card(name)).is_err(), "{name:?}");
    }
}

#[test]
fn a_small_gpt_learns_and_is_loaded_again() {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let corpus = folder.path().join("corpus.txt");
    fs::write(&corpus, "the black cat sat on the mat\n".repeat(1_000)).unwrap();
    let options = TrainOptions {
        vocabulary: 300,
        hidden: 16,
        layers: 1,
        heads: 2,
        context: 12,
        batch: 8,
        steps: 150,
        learning_rate: 1e-2,
        ..TrainOptions::default()
    };
    let mut losses = Vec::new();
    let card =
        train(std::slice::from_ref(&corpus), &options, card("gpt"), out.path(), &mut |seen| losses.extend(seen.loss))
            .unwrap();
    assert_eq!(losses.len(), 150);
    let held_out = card.quality["held_out_loss_nats_per_token"].as_f64().unwrap();
    assert!(held_out < 0.3 && held_out < losses[0] / 10.0, "{held_out} after {}", losses[0]);
    let mut registry = Registry::default();
    registry.add_folder(out.path()).unwrap();
    let embedder = registry.by_name("gpt").unwrap();
    let next = embedder.language_model().unwrap().next_tokens("the black cat sat on the", 1).unwrap();
    assert!(" mat".starts_with(&next[0].text) && next[0].probability > 0.5, "{next:?}");
    let layer = embedder.output_layer("").unwrap();
    assert_eq!(embedder.embed(layer, &Input::Text("the black")).unwrap().len(), 16);
    fs::write(&corpus, "too little").unwrap();
    assert!(train(&[corpus], &options, ModelCard::default(), out.path(), &mut |_| ()).is_err());
}
