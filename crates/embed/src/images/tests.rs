//! Tests of the residual net: gradients, training, files, hostile data.

use super::architecture::ParameterLayout;
use super::archive::tests_support::{gzip, tar};
use super::backprop::{Packed, ShardState};
use super::layers::{self, Sums};
use super::train::initial_parameters;
use super::*;
use crate::math::convolution::{padded_len, rows, unpadded_len};
use crate::{Embedder, Error, ErrorKind, Input, MODEL_FILES, load_folder};
use ::image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    sync::LazyLock,
};

fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..count).map(|_| (random.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

fn bordered_noise(side: usize, channels: usize, seed: u64) -> Vec<f32> {
    let mut picture = vec![0.0; padded_len(side, channels)];
    let inside = noise(unpadded_len(side, channels), seed);
    for (row, from) in rows(side, channels).zip(inside.chunks(side * channels)) {
        picture[row].copy_from_slice(from);
    }
    picture
}

fn inside(side: usize, channels: usize, picture: &[f32]) -> Vec<f32> {
    rows(side, channels).flat_map(|row| picture[row].to_vec()).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64, what: &str) {
    let far = tolerance * (1.0 + expected.abs());
    assert!((found - expected).abs() <= far, "{what}: {found}, by differences {expected}");
}

// ---- gradients

/// The derivative of `f` by every number, by central differences.
fn slopes(numbers: &[f32], nudge: f32, f: impl Fn(&[f32]) -> f64) -> Vec<f64> {
    let mut moved = numbers.to_vec();
    let mut at = |index: usize, by: f32| {
        moved[index] = numbers[index] + by;
        let value = f(&moved);
        moved[index] = numbers[index];
        value
    };
    (0..numbers.len()).map(|index| (at(index, nudge) - at(index, -nudge)) / (2.0 * f64::from(nudge))).collect()
}

#[test]
fn the_gradient_of_the_loss_agrees_with_finite_differences() {
    for label in 0..4 {
        let logits = noise(4, 3);
        let loss = |logits: &[f32]| 0.5 * layers::cross_entropy(&mut logits.to_vec(), label, 0.1, 0.5);
        let mut found = logits.clone();
        layers::cross_entropy(&mut found, label, 0.1, 0.5);
        for (index, expected) in slopes(&logits, 1e-3, loss).into_iter().enumerate() {
            near(found[index].into(), expected, 1e-3, "by a logit");
        }
        let even = -f64::from(0.25f32).ln();
        near(layers::cross_entropy(&mut [0.0; 4], label, 0.1, 1.0), even, 1e-6, "of even logits");
    }
}

#[test]
fn gradients_of_pooling_relu_and_average_agree_with_finite_differences() {
    for side in [4, 5] {
        let (channels, half) = (3, side / 2);
        // No number is near zero or near another, so that differences do not cross a corner.
        let image: Vec<f32> =
            (0..unpadded_len(side, channels)).map(|i| ((i * 29 + 7) % 97) as f32 / 40.0 - 1.21).collect();
        let to_bordered = |numbers: &[f32]| {
            let mut picture = vec![0.0; padded_len(side, channels)];
            for (row, from) in rows(side, channels).zip(numbers.chunks(side * channels)) {
                picture[row].copy_from_slice(from);
            }
            picture
        };
        let ramped = |numbers: &[f32]| to_bordered(&numbers.iter().map(|number| number.max(0.0)).collect::<Vec<_>>());
        let wanted = noise(unpadded_len(half, channels), 5);
        let pooled = |numbers: &[f32]| {
            let mut pooled = vec![0.0; padded_len(half, channels)];
            layers::pool(side, channels, &ramped(numbers), &mut pooled);
            pooled
        };
        let mut found = vec![7.0; unpadded_len(side, channels)];
        layers::pool_backward(side, channels, &ramped(&image), &pooled(&image), &wanted, &mut found);
        let of_pool = slopes(&image, 1e-3, |numbers| dot(&inside(half, channels, &pooled(numbers)), &wanted));
        (0..found.len()).for_each(|index| near(found[index].into(), of_pool[index], 1e-3, "pooling"));

        let wanted = noise(unpadded_len(side, channels), 6);
        let mut found = wanted.clone();
        layers::relu_backward(side, channels, &ramped(&image), &mut found);
        let of_ramp = slopes(&image, 1e-3, |numbers| dot(&inside(side, channels, &ramped(numbers)), &wanted));
        (0..found.len()).for_each(|index| near(found[index].into(), of_ramp[index], 1e-3, "ramp"));

        let wanted = noise(channels, 7);
        layers::average_backward(side, &wanted, &mut found);
        let of_average = slopes(&image, 1e-2, |numbers| {
            let mut mean = vec![0.0; channels];
            layers::average(side, channels, &to_bordered(numbers), &mut mean);
            dot(&mean, &wanted)
        });
        (0..found.len()).for_each(|index| near(found[index].into(), of_average[index], 1e-3, "average"));
    }
}

#[test]
fn the_gradient_of_the_normalization_agrees_with_finite_differences() {
    let (side, channels, images) = (3, 4, 2);
    let size = unpadded_len(side, channels);
    let (numbers, scale, shift) = (noise(images * size, 1), noise(channels, 2), noise(channels, 3));
    // A skip large enough to keep every ReLU open.
    let (skip, wanted) = (vec![20.0; padded_len(side, channels)], noise(images * size, 4));
    let moments = |numbers: &[f32]| {
        let mut sums = Sums::new(channels);
        numbers.chunks_exact(size).for_each(|image| sums.add_squares(image));
        sums.moments(images * side * side)
    };
    let value = |numbers: &[f32]| {
        let moments = moments(numbers);
        let factor: Vec<f32> = moments.inverse().iter().zip(&scale).map(|(inverse, scale)| inverse * scale).collect();
        let term: Vec<f32> = (0..channels).map(|c| shift[c] - moments.mean[c] * factor[c]).collect();
        let of = |(image, wanted): (&[f32], &[f32])| {
            let mut out = vec![0.0; padded_len(side, channels)];
            layers::normalize_relu(side, image, (&factor, &term), Some(&skip), &mut out);
            dot(&inside(side, channels, &out), wanted)
        };
        numbers.chunks_exact(size).zip(wanted.chunks_exact(size)).map(of).sum::<f64>()
    };
    let moments = moments(&numbers);
    let inverse = moments.inverse();
    let mut sums = Sums::new(channels);
    for (image, wanted) in numbers.chunks_exact(size).zip(wanted.chunks_exact(size)) {
        sums.add_products(wanted, image, &moments.mean, &inverse);
    }
    let expected = slopes(&numbers, 1e-2, value);
    for (image, expected) in expected.chunks_exact(size).enumerate() {
        let of = image * size..(image + 1) * size;
        let mut out = vec![0.0; padded_len(side, channels)];
        let settings = (&moments, &inverse[..], &scale[..]);
        let totals = (sums.totals(), images * side * side);
        layers::normalize_backward(side, &wanted[of.clone()], &numbers[of], settings, totals, &mut out);
        for (found, expected) in inside(side, channels, &out).into_iter().zip(expected) {
            near(found.into(), *expected, 5e-3, "normalisation");
        }
    }
}

/// Along the gradient, and along a direction independent of it, the loss changes as the gradient predicts; for each
/// part of each unit.
#[test]
fn the_gradient_of_every_unit_agrees_with_finite_differences() {
    let shape = Architecture { side: 16, channels: 3, width: 32, blocks: 1, classes: 3 };
    let (units, layout) = (shape.units(), ParameterLayout::of(&shape));
    let mut numbers = initial_parameters(&units, &layout, &shape, &mut Xoshiro256PlusPlus::seed_from_u64(5));
    for unit in &layout.units {
        // Blocks that start as the identity would hide their contents.
        for range in [&unit.scale, &unit.shift] {
            numbers[range.clone()]
                .iter_mut()
                .zip(noise(range.len(), 8))
                .for_each(|(number, by)| *number += 0.4 * by + 0.3);
        }
    }
    let mut state = ShardState::new(shape, 4);
    state.labels = vec![0, 2, 1, 2];
    for (index, input) in state.input.chunks_exact_mut(shape.input()).enumerate() {
        input.copy_from_slice(&bordered_noise(shape.side, 3, 20 + index as u64));
    }
    let mut packed = Packed::new(&units);
    let mut step = |numbers: &[f32]| {
        packed.pack(&units, &layout, numbers);
        state.step(&layout, numbers, &packed, 0.1, 0.25);
        (state.stats.loss * 0.25, state.gradient.clone())
    };
    let (_, gradient) = step(&numbers);
    let mut parts = vec![("linear".to_owned(), layout.linear.clone()), ("bias".to_owned(), layout.bias.clone())];
    for (index, unit) in layout.units.iter().enumerate() {
        let named = |what: &str, range: &std::ops::Range<usize>| (format!("unit {index}, {what}"), range.clone());
        parts.extend([named("weights", &unit.weights), named("scale", &unit.scale), named("shift", &unit.shift)]);
    }
    for (name, range) in parts {
        let own = &gradient[range.clone()];
        let length = dot(own, own).sqrt() as f32;
        assert!(length > 1e-4, "{name}: no gradient");
        let random = noise(range.len(), 9);
        let mixed: Vec<f32> = own
            .iter()
            .zip(&random)
            .map(|(slope, noise)| slope / length + noise / (range.len() as f32).sqrt())
            .collect();
        for direction in [own.iter().map(|slope| slope / length).collect(), mixed] {
            let mut at = |by: f32| {
                let mut moved = numbers.clone();
                moved[range.clone()].iter_mut().zip(&direction).for_each(|(number, along)| *number += by * along);
                step(&moved).0
            };
            let nudge = 4e-3;
            let expected = (at(nudge) - at(-nudge)) / (2.0 * f64::from(nudge));
            let found = dot(own, &direction);
            assert!(
                (found - expected).abs() < 0.03 * f64::from(length) + 1e-3,
                "{name}: {found}, by differences {expected}"
            );
        }
    }
}

// ---- training

/// Noisy stripes in three directions, 16 x 16.
fn stripes(count: usize, channels: usize, seed: u64) -> LabelledPictures {
    let random = noise(count * 256 * channels, seed);
    let label = |image: usize| (image % 3) as u16;
    let pixel = |index: usize| {
        let (image, at) = (index / (256 * channels), index / channels % 256);
        let (x, y, shift) = (at % 16, at / 16, image / 3);
        let along = [x, y, x + y][image % 3] + shift;
        let light = if along / 2 % 2 == 0 { 190.0 } else { 60.0 };
        (light + 40.0 * random[index]) as u8
    };
    let images = (0..count * 256 * channels).map(pixel).collect();
    let classes = ["down", "across", "slanted"].map(String::from).to_vec();
    LabelledPictures::new(16, channels, images, (0..count).map(label).collect(), classes).unwrap()
}

fn quick(threads: usize) -> TrainOptions {
    TrainOptions { epochs: 12, batch: 12, learning_rate: 0.1, augment: false, threads, ..TrainOptions::default() }
}

static TRAINED: LazyLock<PictureNet> = LazyLock::new(|| train(&stripes(24, 3, 1), None, &quick(1), &|_| true).unwrap());

#[test]
fn a_few_images_are_learned_and_new_ones_recognised() {
    let found = evaluate(&TRAINED, &stripes(24, 3, 1)).unwrap();
    assert_eq!(found.accuracy, 1.0, "{found:?}");
    let new = evaluate(&TRAINED, &stripes(60, 3, 2)).unwrap();
    assert!(new.accuracy > 0.9 && new.same_class > 0.7, "{new:?}");
    assert_eq!(new.classes.iter().map(|class| class.0).sum::<u64>(), 60);
    let card = TRAINED.card();
    assert_eq!(card.settings["classes"], serde_json::json!(["down", "across", "slanted"]));
    let losses = card.quality["training_loss_after_each_epoch"].as_array().unwrap();
    assert!(losses.len() == 12 && losses[11].as_f64() < losses[0].as_f64(), "{losses:?}");
}

#[test]
fn a_training_repeats_with_any_number_of_threads() {
    let moved = |threads| {
        let options = TrainOptions { epochs: 2, batch: 40, augment: true, ..quick(threads) };
        train(&stripes(80, 1, 4), None, &options, &|_| true).unwrap()
    };
    let one = moved(1);
    assert_eq!(one.fingerprint(), moved(1).fingerprint());
    assert_eq!(one.fingerprint(), moved(3).fingerprint());
    let options = TrainOptions { epochs: 2, batch: 40, augment: true, seed: 2, ..quick(1) };
    assert_ne!(one.fingerprint(), train(&stripes(80, 1, 4), None, &options, &|_| true).unwrap().fingerprint());
}

#[test]
fn the_observer_can_cancel_the_training() {
    assert!(matches!(train(&stripes(24, 1, 1), None, &quick(1), &|_| false), Err(Error::Cancelled)));
}

#[test]
fn settings_out_of_bounds_are_refused_by_name() {
    let images = stripes(24, 1, 1);
    let refused = |options: TrainOptions, what: &str| {
        let error = train(&images, None, &options, &|_| true).err().unwrap_or_else(|| panic!("{what} was accepted"));
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains(what), "{what}: {error}");
    };
    refused(TrainOptions { epochs: 0, ..quick(1) }, "epochs is 0");
    refused(TrainOptions { batch: 1, ..quick(1) }, "batch is 1");
    refused(TrainOptions { batch: 5000, ..quick(1) }, "batch is 5000");
    refused(TrainOptions { learning_rate: f32::NAN, ..quick(1) }, "learning_rate is NaN");
    refused(TrainOptions { width: 40, ..quick(1) }, "width is 40");
    refused(TrainOptions { width: usize::MAX, ..quick(1) }, "width is");
    refused(TrainOptions { blocks: 9, ..quick(1) }, "blocks per stage is 9");
    let without_b = LabelledPictures::new(16, 1, vec![0; 512], vec![0, 0], vec!["a".into(), "b".into()]).unwrap();
    assert!(train(&without_b, None, &quick(1), &|_| true).err().unwrap().to_string().contains("\"b\" has no image"));
    let other = stripes(24, 3, 1);
    assert!(train(&images, Some(&other), &quick(1), &|_| true).err().unwrap().to_string().contains("unlike"));
    let large = LabelledPictures::new(
        256,
        1,
        vec![0; 40 * 65_536],
        (0..40).map(|i| i % 2).collect(),
        vec!["a".into(), "b".into()],
    );
    let error =
        train(&large.unwrap(), None, &TrainOptions { batch: 4096, width: 256, blocks: 8, ..quick(1) }, &|_| true);
    assert!(error.err().unwrap().to_string().contains("MiB"));
}

// ---- the embedder

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 9) as u8, (y * 7) as u8, ((x + y) * 3) as u8]))
}

#[test]
fn an_image_gives_the_same_bits_alone_and_in_a_batch() {
    let net = &*TRAINED;
    let files: Vec<Vec<u8>> = (16..60).map(|side| encoded(gradient(side, 20 + side / 2), ImageFormat::Png)).collect();
    let mut inputs: Vec<Input<'_>> = files.iter().map(|file| Input::Image(file)).collect();
    inputs.insert(7, Input::Image(b"no image"));
    inputs.insert(9, Input::Text("no image"));
    for layer in net.output_layers() {
        let together = net.embed_batch(layer, &inputs);
        for (input, vector) in inputs.iter().zip(&together) {
            match (net.embed(layer, input), vector) {
                (Ok(single), Ok(vector)) => {
                    assert_eq!(single.len(), layer.dimension as usize);
                    assert_eq!(&single, vector);
                }
                (single, vector) => {
                    assert_eq!(single.unwrap_err().to_string(), vector.as_ref().unwrap_err().to_string())
                }
            }
        }
        assert_eq!(together.iter().filter(|vector| vector.is_err()).count(), 2);
    }
    let layer = net.output_layer("probabilities").unwrap();
    let sum: f32 = net.embed(layer, &inputs[0]).unwrap().iter().sum();
    assert!((sum - 1.0).abs() < 1e-5);
    let unknown = crate::OutputLayer { name: "nothing", ..layer.clone() };
    assert!(net.embed_batch(&unknown, &inputs[..1])[0].is_err());
}

#[test]
fn reference_inputs_can_be_embedded_and_differ() {
    let reference_inputs = TRAINED.reference_inputs();
    let layer = TRAINED.output_layer("").unwrap();
    let vectors: Vec<_> =
        reference_inputs.iter().map(|bytes| TRAINED.embed(layer, &Input::Image(bytes)).unwrap()).collect();
    assert!(vectors.len() == 3 && vectors[0] != vectors[1] && vectors[1] != vectors[2]);
}

#[test]
fn pictures_of_any_size_and_raw_pixels_are_accepted() {
    let square = gradient(16, 16);
    let raw = prepare::pixels(&encoded(square.clone(), ImageFormat::Png), 16, 3).unwrap();
    assert_eq!(raw, square.clone().into_raw());
    assert_eq!(prepare::pixels(&raw, 16, 3).unwrap(), raw, "raw pixels");
    // A wide picture with the square in the middle.
    let mut wide = RgbImage::from_pixel(40, 16, Rgb([255, 0, 0]));
    ::image::imageops::overlay(&mut wide, &square, 12, 0);
    assert_eq!(prepare::pixels(&encoded(wide, ImageFormat::Bmp), 16, 3).unwrap(), raw);
    let grey = prepare::pixels(&encoded(GrayImage::from_pixel(100, 70, Luma([77])), ImageFormat::Png), 16, 1).unwrap();
    assert_eq!(grey, vec![77; 256]);
    for (width, height) in [(1, 1), (8192, 1), (1, 8192), (3, 500)] {
        let picture = encoded(gradient(width, height), ImageFormat::Png);
        assert_eq!(prepare::pixels(&picture, 16, 3).unwrap().len(), 768);
    }
    for (what, bytes) in [("no bytes", vec![]), ("not an image", vec![3; 767]), ("GIF", b"GIF89a......".to_vec())] {
        let error = prepare::pixels(&bytes, 16, 3).unwrap_err();
        assert!(
            error.kind() == ErrorKind::InvalidInput && error.to_string().to_lowercase().contains(&what.to_lowercase()),
            "{error}"
        );
    }
}

// ---- files

#[test]
fn a_model_folder_gives_the_same_net_again() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    TRAINED.save(&folder).unwrap();
    let loaded = load_folder(&folder).unwrap();
    let loaded = &loaded[0];
    assert_eq!((loaded.name(), loaded.fingerprint()), ("images", TRAINED.fingerprint()));
    assert_eq!(loaded.card(), TRAINED.card());
    let picture = encoded(gradient(33, 21), ImageFormat::Jpeg);
    for layer in TRAINED.output_layers() {
        let [was, is] =
            [&*TRAINED as &dyn Embedder, &**loaded].map(|net| net.embed(layer, &Input::Image(&picture)).unwrap());
        assert_eq!(was, is);
    }
    let files = loaded.files().unwrap();
    assert!(
        files.iter().all(|(name, bytes)| MODEL_FILES.contains(name) && fs::read(folder.join(name)).unwrap() == *bytes)
    );
    assert_eq!(files.last().unwrap().0, "card.json");
}

#[test]
fn damaged_model_folders_are_refused_with_a_reason() {
    let root = tempfile::tempdir().unwrap();
    let refused = |name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>, what: &str| {
        let folder = root.path().join("model");
        TRAINED.save(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
        let error = load_folder(&folder).err().unwrap_or_else(|| panic!("{name}: {what} was accepted"));
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(what), "{name}, {what}: {error}");
    };
    let replace = |from: &'static str, to: &'static str| {
        move |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1).into_bytes()
        }
    };
    let weights = "model.safetensors";
    refused(weights, &|bytes| bytes[..bytes.len() / 2].to_vec(), "safetensors");
    refused(weights, &|bytes| bytes[..5].to_vec(), "safetensors");
    refused(weights, &|bytes| [&bytes[..], &vec![0; 3 << 20]].concat(), "more than");
    let last = |number: f32| {
        move |mut bytes: Vec<u8>| {
            let at = bytes.len() - 4;
            bytes[at..].copy_from_slice(&number.to_le_bytes());
            bytes
        }
    };
    refused(weights, &last(f32::NAN), "not finite");
    refused(weights, &last(f32::INFINITY), "not finite");
    refused("config.json", &replace("\"width\": 32", "\"width\": 64"), "expected F32");
    refused("config.json", &replace("\"width\": 32", "\"width\": 18446744073709551615"), "width is");
    refused("config.json", &replace("\"blocks\": 1", "\"blocks\": 2"), "tensors");
    refused("config.json", &replace("\"side\": 16", "\"side\": 1000000"), "side");
    refused("config.json", &replace("\"side\": 16", "\"depth\": 16"), "unknown field");
    refused("config.json", &replace("\"slanted\"", "\"slanted\", \"more\""), "expected F32");
    refused("config.json", &replace("\"slanted\"", "\"down\""), "two classes are called");
    refused("config.json", &replace("\"deviation\": [", "\"deviation\": [0.0,"), "deviation");
    refused("card.json", &replace("\"name\": \"images\"", "\"name\": \"a b\""), "name has");
    refused("card.json", &replace("\"family\": \"images\"", "\"family\": \"pictures\""), "unknown family");
}

// ---- data

fn put(root: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

const COLOUR: PictureOptions<'static> = PictureOptions { side: Some(16), channels: 3, classes: None };

fn reason(result: Result<LabelledPictures, Error>) -> String {
    result.map(|found| format!("{} images were accepted", found.len())).unwrap_or_else(|error| error.to_string())
}

#[test]
fn class_folders_and_archives_give_the_same_images() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("pets");
    let mut entries = Vec::new();
    let long = format!("{}/", "deep".repeat(40));
    for (index, name) in
        ["cat/1.png", "cat/2.png", "dog/1.png", "dog/more/2.PNG", "cat/note.txt", "stray.png"].into_iter().enumerate()
    {
        let bytes = encoded(gradient(16 + index as u32, 16), ImageFormat::Png);
        put(&folder, name, &bytes);
        // In an archive, the class is the folder that contains the file, at any depth.
        entries.push((format!("train/{long}{}", name.replace("more/", "")), bytes));
    }
    let found = LabelledPictures::read_classes(&folder, COLOUR).unwrap();
    assert_eq!(
        (found.len(), found.classes(), found.labels()),
        (4, &["cat".to_owned(), "dog".to_owned()][..], &[0, 0, 1, 1][..])
    );
    assert_eq!((found.sources()[0].file.as_str(), found.sources()[0].sha256.len()), ("pets/", 64));
    let (last, entries) = entries.split_last().unwrap();
    assert!(last.0.ends_with("stray.png"));
    let plain = tar(&entries.iter().rev().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect::<Vec<_>>());
    for archive in [put(root.path(), "a.tar", &plain), put(root.path(), "a.tar.gz", &gzip(&plain))] {
        let unpacked = LabelledPictures::read_classes(&archive, COLOUR).unwrap();
        assert_eq!((unpacked.classes(), unpacked.labels()), (found.classes(), &[1, 1, 0, 0][..]));
        assert_eq!(unpacked.image(3), found.image(0));
    }
    let classes = ["dog".to_owned(), "cat".to_owned(), "eel".to_owned()];
    let wanted = PictureOptions { classes: Some(&classes), ..COLOUR };
    assert_eq!(LabelledPictures::read_classes(&folder, wanted).unwrap().labels(), [1, 1, 0, 0]);
    let wanted = PictureOptions { classes: Some(&classes[..2]), ..COLOUR };
    put(&folder, "owl/1.png", &entries[0].1);
    assert!(reason(LabelledPictures::read_classes(&folder, wanted)).contains("\"owl\" is none of the 2"));
    assert_ne!(LabelledPictures::read_classes(&folder, COLOUR).unwrap().sources(), found.sources());
}

#[test]
fn hidden_folders_are_not_classes_and_trailing_bytes_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("pets");
    let good = encoded(gradient(16, 16), ImageFormat::Png);
    let names = ["cat/1.png", "dog/1.png", ".git/1.png", "cat/.ipynb_checkpoints/1.png", "cat/._1.png"];
    names.iter().for_each(|name| drop(put(&folder, name, &good)));
    fs::create_dir(folder.join(".ipynb_checkpoints")).unwrap();
    let found = LabelledPictures::read_classes(&folder, COLOUR).unwrap();
    assert_eq!((found.len(), found.classes()), (2, &["cat".to_owned(), "dog".to_owned()][..]));
    let plain = tar(&names.map(|name| (name, &good[..])));
    let read = |bytes: &[u8]| LabelledPictures::read_classes(&put(root.path(), "a.tar.gz", bytes), COLOUR);
    let unpacked = read(&[gzip(&plain), vec![0; 512]].concat()).unwrap();
    assert_eq!((unpacked.len(), unpacked.classes()), (2, found.classes()));
    assert!(reason(read(&[gzip(&plain), b"more".to_vec()].concat())).contains("other bytes follow"));
}

#[test]
fn hostile_folders_and_archives_are_refused_with_a_reason() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("set");
    fs::create_dir(&folder).unwrap();
    let read = |wanted| reason(LabelledPictures::read_classes(&folder, wanted));
    let good = encoded(gradient(16, 16), ImageFormat::Png);
    assert!(read(COLOUR).contains("no images in class folders"));
    (0..20).for_each(|i| drop(put(&folder, &format!("a/{i}.png"), &good)));
    assert!(read(COLOUR).contains("\"a\" is the only class"));
    put(&folder, "b/1.png", &good);
    put(&folder, "b/broken.png", &good[..good.len() / 2]);
    let found = LabelledPictures::read_classes(&folder, COLOUR).unwrap();
    assert_eq!((found.len(), found.skipped().count), (21, 1));
    assert!(found.skipped().first[0].contains("broken.png") && found.skipped().first[0].contains("cannot be decoded"));
    (0..9).for_each(|i| drop(put(&folder, &format!("b/broken{i}.jpg"), b"nothing")));
    assert!(read(COLOUR).contains("10 of 31 files are not valid images"));
    assert!(read(PictureOptions { side: Some(1_000_000), ..COLOUR }).contains("side of the images is 1000000"));
    assert!(read(PictureOptions { side: Some(0), ..COLOUR }).contains("side of the images is 0"));
    let missing = LabelledPictures::read_classes(Path::new("/nonexistent/set"), COLOUR);
    assert!(matches!(missing, Err(Error::Io { .. })));

    fs::remove_dir_all(folder.join("b")).unwrap();
    fs::create_dir(folder.join("b")).unwrap();
    let empty = LabelledPictures::read_classes(&folder, COLOUR).unwrap();
    assert_eq!(train(&empty, None, &quick(1), &|_| true).err().unwrap().to_string(), "the class \"b\" has no image");

    let whole = tar(&[("x/a/1.png", &good), ("x/b/1.png", &good)]);
    let archive =
        |name: &str, bytes: &[u8]| reason(LabelledPictures::read_classes(&put(root.path(), name, bytes), COLOUR));
    assert!(archive("ok.tar", &whole).contains("2 images"));
    assert!(archive("cut.tar", &whole[..700]).contains("not a whole tar archive"));
    let packed = gzip(&whole);
    assert!(archive("cut.tar.gz", &packed[..packed.len() / 2]).contains("not a whole tar archive"));
    assert!(archive("noise.tar", &[7; 2000]).contains("not a whole tar archive"));
    assert!(archive("nothing.tar", b"").contains("no images in class folders"));
}

#[test]
fn idx_files_of_any_size_are_read_and_damage_is_found() {
    let root = tempfile::tempdir().unwrap();
    let idx = |dimensions: &[u32], bytes: &[u8]| {
        let mut file = vec![0, 0, 8, dimensions.len() as u8];
        dimensions.iter().for_each(|size| file.extend(size.to_be_bytes()));
        [&file[..], bytes].concat()
    };
    let grey = PictureOptions { side: None, channels: 1, classes: None };
    let pixels: Vec<u8> = (0..3 * 400).map(|i| (i % 251) as u8).collect();
    let images = put(root.path(), "images", &idx(&[3, 20, 20], &pixels));
    let labels = put(root.path(), "labels", &idx(&[3], &[0, 4, 2]));
    let found = LabelledPictures::read_idx(&images, &labels, grey).unwrap();
    assert_eq!((found.side(), found.images(), found.classes().len()), (20, &pixels[..], 5));
    assert_eq!(
        LabelledPictures::read_idx(&images, &labels, PictureOptions { side: Some(24), ..grey }).unwrap().image(0).len(),
        576
    );
    let oblong = put(root.path(), "oblong", &idx(&[3, 10, 40], &pixels));
    assert_eq!(LabelledPictures::read_idx(&oblong, &labels, grey).unwrap().side(), 32);
    let refused = |images: &Path, labels: &Path| reason(LabelledPictures::read_idx(images, labels, grey));
    assert!(refused(&labels, &labels).contains("not count x rows x columns"));
    assert!(refused(&images, &put(root.path(), "few", &idx(&[2], &[0, 1]))).contains("not the 3 labels"));
    assert!(refused(&put(root.path(), "none", &idx(&[0, 20, 20], &[])), &labels).contains("they are empty"));
    assert!(refused(&images, &put(root.path(), "one", &idx(&[3], &[0, 0, 0]))).contains("only class"));
    let classes = ["a".to_owned(), "b".to_owned()];
    let wanted = PictureOptions { classes: Some(&classes), ..grey };
    assert!(reason(LabelledPictures::read_idx(&images, &labels, wanted)).contains("label 1 is 4"));
}
