//! Tests of the small image nets in `tests/fixtures/transformers` against the reference implementation, and of
//! invalid folders.

use super::processor::{self, Processor};
use super::tests::{Damage, broken, copy, cut, fixtures, loaded, near, numbers, reference, set, spoil};
use super::*;
use crate::{ErrorKind, Input, Modality, image_decode};
use serde_json::{Value, json};
use std::fs;

/// Tolerance for JPEG decoders other than libjpeg, relative to the vector's length: random nets amplify small
/// differences.
const JPEG_TOLERANCE: f32 = 0.1;

fn picture(name: &str) -> Vec<u8> {
    fs::read(fixtures().join("pictures").join(name)).unwrap()
}

/// A fixture whose processor produces images of that side.
fn of_side(from: &str, side: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures().join(from), folder.path());
    set("preprocessor_config.json", "size", json!({ "shortest_edge": side + 5 }))(folder.path());
    set("preprocessor_config.json", "crop_size", json!({ "height": side, "width": side }))(folder.path());
    folder
}

/// Checks the vectors against the reference: exact for the lossless picture, with tolerance for the JPEG;
/// alone and in a batch.
fn agrees(embedder: &dyn Embedder, pictures: &Value, what: &str) {
    let [wide, tall] = ["wide.png", "tall.jpg"].map(picture);
    for layer in embedder.output_layers() {
        let pictures_only: Vec<Input<'_>> =
            (0..9).map(|index| Input::Image(if index % 3 == 1 { &tall } else { &wide })).collect();
        let mut inputs = pictures_only.clone();
        inputs.insert(4, Input::Image(b"no image"));
        let mut vectors = embedder.embed_batch(layer, &inputs);
        assert_eq!(vectors.remove(4).unwrap_err().kind(), ErrorKind::InvalidInput);
        for (index, vector) in vectors.into_iter().enumerate() {
            let name = if index % 3 == 1 { "tall.jpg" } else { "wide.png" };
            let what = format!("{what}, {name} {index} at {}", layer.name);
            let (vector, expected) = (vector.unwrap(), numbers(&pictures[name][layer.name]));
            assert_eq!(layer.dimension as usize, expected.len(), "{what}");
            if name == "wide.png" {
                near(&vector, &expected, &what);
            } else {
                let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
                let apart: Vec<f32> = vector.iter().zip(&expected).map(|(a, b)| a - b).collect();
                let off = length(&apart) / length(&expected);
                assert!(off < JPEG_TOLERANCE, "{what}: off by {off} of its length");
            }
            near(&embedder.embed(layer, &pictures_only[index]).unwrap(), &vector, &format!("{what}, alone"));
        }
    }
}

#[test]
fn clip_agrees_with_the_reference_on_images_and_texts() {
    let reference = reference("clip");
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures().join("clip"), folder.path());
    // As in older files: the token with the largest id.
    for end in [553, 2] {
        set_in("text_config", "eos_token_id", json!(end))(folder.path());
        let embedder = loaded(Family::Clip, folder.path()).unwrap();
        assert!(embedder.reads(Modality::Image) && embedder.reads(Modality::Text));
        agrees(embedder.as_ref(), &reference["pictures"], "clip");
        let layer = embedder.output_layer("vector").unwrap();
        let texts = reference["texts"].as_object().unwrap();
        let wide = picture("wide.png");
        let inputs: Vec<Input<'_>> = texts.keys().flat_map(|text| [Input::Text(text), Input::Image(&wide)]).collect();
        let vectors = embedder.embed_batch(layer, &inputs);
        for ((text, expected), both) in texts.iter().zip(vectors.chunks(2)) {
            near(both[0].as_ref().unwrap(), &numbers(expected), text);
            near(both[1].as_ref().unwrap(), &numbers(&reference["pictures"]["wide.png"]["vector"]), "beside a text");
            near(&embedder.embed(layer, &Input::Text(text)).unwrap(), &numbers(expected), &format!("alone, {text}"));
        }
        assert_eq!(embedder.embed(layer, &Input::Text("")).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn dinov2_agrees_with_the_reference_at_any_size() {
    for kind in ["dinov2/plain", "dinov2/gated"] {
        let reference = reference(kind);
        for side in [28, 35, 21] {
            let embedder = loaded(Family::Dinov2, of_side(kind, side).path()).unwrap();
            agrees(embedder.as_ref(), &reference["pictures"][side.to_string()], &format!("{kind} at {side}"));
            let refused = embedder.embed(embedder.output_layer("").unwrap(), &Input::Text("a red ball")).unwrap_err();
            assert!(matches!(refused, Error::Modality { expected: "image", .. }) && !embedder.reads(Modality::Text));
        }
    }
}

#[test]
fn residual_nets_agree_with_the_reference() {
    for (kind, output_layers) in [("resnet/basic", vec!["features", "logits"]), ("resnet/bottleneck", vec!["features"])]
    {
        let embedder = loaded(Family::Resnet, &fixtures().join(kind)).unwrap();
        assert_eq!(embedder.output_layers().iter().map(|layer| layer.name).collect::<Vec<_>>(), output_layers);
        agrees(embedder.as_ref(), &reference(kind)["pictures"], kind);
    }
}

#[test]
fn pixels_are_those_of_the_reference() {
    for kind in ["clip", "dinov2/plain", "resnet/basic"] {
        let path = fixtures().join(kind).join("preprocessor_config.json");
        let processor = processor::from_transformers(&path, &fs::read(&path).unwrap()).unwrap();
        assert_eq!(Processor::parse(&path, &processor.to_json()).unwrap(), processor);
        let expected = fs::read(fixtures().join(kind).join("wide.f32")).unwrap();
        let expected: Vec<f32> = expected.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let pixels = processor.pixels(&image_decode::decode_rgb(&picture("wide.png")).unwrap());
        assert_eq!(pixels.len(), expected.len(), "{kind}");
        // One byte step is 1/255 / 0.27 = 0.0145, so no byte differs.
        let off = pixels.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-6, "{kind}: off by {off}");
    }
}

#[test]
fn settings_of_older_and_other_processors_are_read() {
    let read = |json: Value| processor::from_transformers(Path::new("p.json"), json.to_string().as_bytes());
    let statistics = json!({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]});
    let with = |mut json: Value| {
        json.as_object_mut().unwrap().extend(statistics.as_object().unwrap().clone());
        read(json).map(|it| (it.shorter_side, it.width, it.height))
    };
    for (json, expected) in [
        (
            json!({"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224}),
            (Some(224), 224, 224),
        ),
        (
            json!({"image_processor_type": "BitImageProcessorFast", "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 200}}),
            (Some(256), 200, 224),
        ),
        (
            json!({"image_processor_type": "CLIPImageProcessor", "size": {"height": 64, "width": 48}, "do_center_crop": false}),
            (None, 48, 64),
        ),
        (
            json!({"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875}),
            (Some(256), 224, 224),
        ),
        (
            json!({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "crop_pct": 0.875}),
            (None, 384, 384),
        ),
        (json!({"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}}), (None, 224, 224)),
    ] {
        assert_eq!(with(json.clone()).unwrap(), expected, "{json}");
    }
    for (json, reason) in [
        (json!({"image_processor_type": "BlipImageProcessor", "size": 224}), "image_processor_type"),
        (json!({"image_processor_type": "CLIPImageProcessor", "size": 224}), "crop_size"),
        (json!({"image_processor_type": "CLIPImageProcessor", "size": 224, "crop_size": 256}), "224"),
        (json!({"image_processor_type": "CLIPImageProcessor", "size": 224, "crop_size": 0}), "0 x 0"),
        (json!({"image_processor_type": "CLIPImageProcessor", "size": 100_000, "crop_size": 224}), "100000"),
        (json!({"image_processor_type": "ViTImageProcessor", "size": 1_000_000_000_000_u64}), "1000000000000"),
        (json!({"image_processor_type": "ConvNextImageProcessor", "size": 224, "crop_pct": 0.0}), "crop_pct"),
        (json!({"image_processor_type": "ConvNextImageProcessor", "size": 224, "crop_pct": 1e-300}), "shorter side"),
        (json!({"image_processor_type": "ViTImageProcessor", "size": 224, "resample": 0}), "resample"),
        (json!({"image_processor_type": "ViTImageProcessor", "size": 224, "do_resize": false}), "do_resize"),
        (json!({"image_processor_type": "ViTImageProcessor", "size": 224, "rescale_factor": 0.0}), "rescale_factor"),
        (json!({"image_processor_type": "ViTImageProcessor", "size": -224}), "not understood"),
    ] {
        let error = with(json.clone()).expect_err(reason).to_string();
        assert!(error.contains(reason), "{json}: {error}");
    }
    let bare = read(json!({"image_processor_type": "ViTImageProcessor", "size": 224, "image_mean": [0.5, 0.5, 0.5]}));
    assert!(bare.unwrap_err().to_string().contains("image_std"));
    for mean in [json!([0.5, 0.5, 1e300]), json!([0.5, 0.5])] {
        let json = json!({"image_processor_type": "ViTImageProcessor", "size": 224, "image_mean": mean, "image_std": [1, 1, 1]});
        assert!(read(json).is_err(), "{mean}");
    }
}

fn set_in(part: &'static str, key: &'static str, value: Value) -> impl FnOnce(&Path) {
    move |folder| {
        let path = folder.join("config.json");
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        json[part][key] = value;
        fs::write(path, json.to_string()).unwrap();
    }
}

#[test]
fn invalid_folders_are_refused_with_the_reason() {
    let remove = |file: &'static str| move |folder: &Path| fs::remove_file(folder.join(file)).unwrap();
    let huge = || json!(1_000_000_000_000_u64);
    let vision = |key, value| set_in("vision_config", key, value);
    let text = |key, value| set_in("text_config", key, value);
    let clip: Vec<(&str, Damage)> = vec![
        ("preprocessor_config.json", Box::new(remove("preprocessor_config.json"))),
        ("tokenizer.json", Box::new(remove("tokenizer.json"))),
        ("model.safetensors", Box::new(remove("model.safetensors"))),
        ("not a whole safetensors file", Box::new(cut("model.safetensors"))),
        ("not understood", Box::new(cut("preprocessor_config.json"))),
        ("not understood", Box::new(cut("config.json"))),
        ("model_type", Box::new(set("config.json", "model_type", json!("siglip")))),
        ("projection_dim", Box::new(set("config.json", "projection_dim", json!(0)))),
        ("projection_dim", Box::new(set("config.json", "projection_dim", huge()))),
        ("visual_projection", Box::new(set("config.json", "projection_dim", json!(25)))),
        ("vision_config: hidden_size", Box::new(vision("hidden_size", json!(0)))),
        ("vision_config: hidden_size", Box::new(vision("hidden_size", huge()))),
        ("num_attention_heads 0", Box::new(vision("num_attention_heads", json!(0)))),
        ("num_attention_heads 7", Box::new(vision("num_attention_heads", json!(7)))),
        ("patch_size 0", Box::new(vision("patch_size", json!(0)))),
        ("patch_size 5", Box::new(vision("patch_size", json!(5)))),
        ("position_embedding", Box::new(vision("patch_size", json!(16)))),
        ("too much for memory", Box::new(vision("intermediate_size", huge()))),
        ("mlp.fc1", Box::new(vision("intermediate_size", json!(65)))),
        ("image_size is 1000000000000", Box::new(vision("image_size", huge()))),
        ("num_channels", Box::new(vision("num_channels", json!(4)))),
        ("layer_norm_eps", Box::new(vision("layer_norm_eps", json!(-1.0)))),
        ("hidden_act", Box::new(vision("hidden_act", json!("wavelet")))),
        ("encoder.layers.2", Box::new(vision("num_hidden_layers", huge()))),
        ("text_config: hidden_size", Box::new(text("num_attention_heads", json!(3)))),
        ("too much for memory", Box::new(text("max_position_embeddings", huge()))),
        ("position_embedding", Box::new(text("max_position_embeddings", json!(2)))),
        ("token_embedding", Box::new(text("vocab_size", huge()))),
        ("eos_token_id", Box::new(text("eos_token_id", json!(7)))),
        ("the preprocessor gives 24 x 24", Box::new(set("preprocessor_config.json", "crop_size", json!(24)))),
        ("no tensor", Box::new(spoil("vision_model.pre_layrnorm.weight", None))),
        ("not finite", Box::new(spoil("text_projection.weight", Some(f32::NAN)))),
    ];
    let dinov2: Vec<(&str, Damage)> = vec![
        ("num_attention_heads", Box::new(set("config.json", "num_attention_heads", json!(0)))),
        ("hidden_size", Box::new(set("config.json", "hidden_size", huge()))),
        ("patch_size", Box::new(set("config.json", "patch_size", json!(0)))),
        ("patch_size 6", Box::new(set("config.json", "patch_size", json!(6)))),
        ("too much for memory", Box::new(set("config.json", "image_size", json!(7_000_000_000_u64)))),
        ("position_embeddings", Box::new(set("config.json", "image_size", json!(35)))),
        ("too much for memory", Box::new(set("config.json", "mlp_ratio", huge()))),
        ("weights_in", Box::new(set("config.json", "use_swiglu_ffn", json!(true)))),
        ("qkv_bias", Box::new(set("config.json", "qkv_bias", json!(false)))),
        ("encoder.layer.2", Box::new(set("config.json", "num_hidden_layers", huge()))),
        ("lambda1", Box::new(spoil("encoder.layer.0.layer_scale1.lambda1", None))),
        ("not finite", Box::new(spoil("embeddings.position_embeddings", Some(f32::INFINITY)))),
        ("does not divide into patches", Box::new(set("preprocessor_config.json", "crop_size", json!(20)))),
    ];
    let resnet: Vec<(&str, Damage)> = vec![
        ("hidden_sizes", Box::new(set("config.json", "hidden_sizes", json!([])))),
        ("hidden_sizes", Box::new(set("config.json", "hidden_sizes", json!([8, 0])))),
        ("hidden_sizes", Box::new(set("config.json", "hidden_sizes", json!([8, 1_000_000_000_000_u64])))),
        ("classifier.1.weight", Box::new(set("config.json", "hidden_sizes", json!([8, 16])))),
        ("normalization", Box::new(set("config.json", "hidden_sizes", json!([9, 12])))),
        ("depths", Box::new(set("config.json", "depths", json!([1])))),
        ("depths", Box::new(set("config.json", "depths", json!([2, 0])))),
        ("stages.1.layers.1", Box::new(set("config.json", "depths", json!([2, 1_000_000_000_000_u64])))),
        ("embedding_size", Box::new(set("config.json", "embedding_size", json!(0)))),
        ("not understood", Box::new(set("config.json", "layer_type", json!("spiral")))),
        ("the settings require", Box::new(set("config.json", "layer_type", json!("bottleneck")))),
        ("hidden_act", Box::new(set("config.json", "hidden_act", json!("gelu")))),
        ("model_type", Box::new(set("config.json", "model_type", json!("regnet")))),
        ("running_var", Box::new(spoil("resnet.embedder.embedder.normalization.running_var", Some(-1.0)))),
        ("not finite", Box::new(spoil("classifier.1.weight", Some(f32::NAN)))),
        ("has no tensor", Box::new(spoil("resnet.encoder.stages.1.layers.0.shortcut.convolution.weight", None))),
        ("classifier.1.weight", Box::new(spoil("classifier.1.weight", None))),
    ];
    for (family, cases) in [(Family::Clip, clip), (Family::Dinov2, dinov2), (Family::Resnet, resnet)] {
        for (index, (reason, change)) in cases.into_iter().enumerate() {
            let error = broken(family, change);
            assert!(error.contains(reason), "{family:?}, case {index}: {error:?} does not contain {reason:?}");
        }
    }
}

#[test]
fn a_fingerprint_covers_the_preprocessing() {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures().join("clip"), folder.path());
    let fingerprint = || loaded(Family::Clip, folder.path()).unwrap().fingerprint();
    let mut seen = vec![fingerprint()];
    assert_eq!(seen[0], fingerprint());
    for change in [
        Box::new(set("preprocessor_config.json", "resample", json!(2))) as Damage,
        Box::new(set("preprocessor_config.json", "image_mean", json!([0.5, 0.5, 0.5]))),
        Box::new(set("preprocessor_config.json", "size", json!({"shortest_edge": 40}))),
        Box::new(set("tokenizer.json", "normalizer", json!({"type": "Lowercase"}))),
        Box::new(set_in("vision_config", "hidden_act", json!("gelu"))),
        Box::new(spoil("visual_projection.weight", Some(0.5))),
    ] {
        change(folder.path());
        let now = fingerprint();
        assert!(!seen.contains(&now), "a change has no effect");
        seen.push(now);
    }
}

#[test]
fn a_model_folder_is_checked_when_it_is_loaded() {
    for (key, value, reason) in [
        ("width", json!(0), "0 x 32"),
        ("shorter_side", json!(31), "31"),
        ("deviation", json!([0.0, 1.0, 1.0]), "image_std"),
        ("colour", json!("blue"), "not understood"),
        ("filter", json!("nearest"), "not understood"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let card = ModelCard { name: "mine".into(), ..ModelCard::default() };
        import(Family::Clip, &fixtures().join("clip"), folder.path(), card).unwrap();
        set("preprocessor.json", key, value)(folder.path());
        let error = crate::load_folder(folder.path()).err().expect(reason).to_string();
        assert!(error.contains("preprocessor.json") && error.contains(reason), "{error}");
    }
}

#[test]
fn pictures_of_extreme_aspect_ratios_cost_only_their_crop() {
    let embedder = loaded(Family::Clip, &fixtures().join("clip")).unwrap();
    for (width, height) in [(8_192, 1), (1, 8_192), (1, 1), (3_000, 2)] {
        let mut file = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 9]));
        picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
        let vector = embedder.embed(embedder.output_layer("").unwrap(), &Input::Image(file.get_ref())).unwrap();
        assert!(vector.iter().all(|x| x.is_finite()), "{width} x {height}");
    }
}

#[test]
fn each_net_reproduces_its_reference_vectors() {
    for (family, from) in [(Family::Clip, "clip"), (Family::Dinov2, "dinov2/plain"), (Family::Resnet, "resnet/basic")] {
        let embedder = loaded(family, &fixtures().join(from)).unwrap();
        for layer in embedder.output_layers() {
            let vectors: Vec<Vec<f32>> = embedder
                .reference_inputs()
                .iter()
                .map(|bytes| embedder.embed(layer, &Input::Image(bytes)).unwrap())
                .collect();
            assert!(vectors.len() == 3 && vectors[0] != vectors[1] && vectors[1] != vectors[2], "{family:?}");
        }
    }
}
