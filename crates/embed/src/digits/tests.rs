//! Tests of the digit net: gradients, training, files, images, and the default's quality.

use super::layers::{self, Convolution};
use super::train::{ShardState, initial_weights};
use super::*;
use crate::formats::idx;
use crate::image_decode::MAX_FILE_BYTES;
use crate::{Embedder, Error, ErrorKind, Input};
use ::image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage, imageops};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use std::{
    io::{Cursor, Write},
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
};

fn mnist(kind: &str) -> LabelledImages {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/mnist");
    let file = |what: &str| data.join(format!("{kind}-{what}-ubyte.gz"));
    LabelledImages::read(&file("images-idx3"), &file("labels-idx1")).unwrap()
}

static TEST: LazyLock<LabelledImages> = LazyLock::new(|| mnist("t10k"));
static TRAIN: LazyLock<LabelledImages> = LazyLock::new(|| mnist("train"));
static DEFAULT: LazyLock<DigitNet> = LazyLock::new(|| DigitNet::default_model().unwrap());

fn numbers(random: &mut Xoshiro256PlusPlus, count: usize) -> Vec<f32> {
    (0..count).map(|_| (random.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn inner(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[track_caller]
fn near(found: f64, expected: f64, part: f64) {
    assert!((found - expected).abs() <= part * expected.abs().max(1.0), "{found} is not near {expected}");
}

// The linear layers are linear in their weights and in their input, so a finite difference of any step is exact up
// to rounding; the step is as large as the weights.

#[test]
fn gradients_of_a_convolution_agree_with_finite_differences() {
    type Small = Convolution<3, 4, 10, 6>;
    const IMAGES: usize = 2;
    let random = &mut Xoshiro256PlusPlus::seed_from_u64(1);
    let layer: Small = Convolution;
    let input = numbers(random, IMAGES * 3 * 100);
    let (weights, along) = (numbers(random, 4 * 75), numbers(random, 4 * 75));
    let input_along = numbers(random, input.len());
    let slope = numbers(random, IMAGES * Small::RESULT);
    let loss = |input: &[f32], weights: &[f32]| {
        let (mut patches, mut result) = (vec![0.0; IMAGES * Small::PATCHES], vec![0.0; IMAGES * Small::RESULT]);
        layer.gather(input, IMAGES, &mut patches);
        layer.forward(weights, &patches, IMAGES, &mut result);
        (inner(&result, &slope), patches)
    };
    let plus = |a: &[f32], b: &[f32]| -> Vec<f32> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
    let (here, patches) = loss(&input, &weights);
    let (mut by_weights, mut by_bias) = (vec![0.0; weights.len()], vec![0.0; 4]);
    layer.backward(&slope, &patches, IMAGES, &mut by_weights, &mut by_bias);
    near(inner(&by_weights, &along), loss(&input, &plus(&weights, &along)).0 - here, 1e-4);
    for (channel, &found) in by_bias.iter().enumerate() {
        near(
            f64::from(found),
            slope.chunks(IMAGES * 36).nth(channel).unwrap().iter().map(|&s| f64::from(s)).sum(),
            1e-4,
        );
    }
    let (mut by_patches, mut by_input) = (vec![0.0; patches.len()], vec![9.0; input.len()]);
    layer.backward_input(&weights, &slope, IMAGES, &mut by_patches);
    layer.scatter(&by_patches, IMAGES, &mut by_input);
    near(inner(&by_input, &input_along), loss(&plus(&input, &input_along), &weights).0 - here, 1e-4);
}

#[test]
fn gradients_of_pooling_and_relu_agree_with_finite_differences() {
    // All results differ by at least 0.01 from each other and from the ReLU's corner, so a step of 0.001 crosses none.
    const IMAGES: usize = 3;
    let layer: Convolution<1, 2, 8, 4> = Convolution;
    let cells = IMAGES * 2 * 16;
    let mut result: Vec<f32> = (0..cells).map(|i| (i as f32 - 48.0) * 0.02 + 0.005).collect();
    let random = &mut Xoshiro256PlusPlus::seed_from_u64(2);
    for last in (1..cells).rev() {
        result.swap(last, random.next_u64() as usize % (last + 1));
    }
    let bias = [0.1, -0.1];
    let slope = numbers(random, cells / 4);
    let pool = |result: &[f32]| {
        let (mut pooled, mut choice) = (vec![9.0; cells / 4], vec![9; cells / 4]);
        layer.pool(result, &bias, IMAGES, &mut pooled, &mut choice);
        (inner(&pooled, &slope), choice)
    };
    let (here, choice) = pool(&result);
    assert!(choice.contains(&layers::CLOSED) && choice.iter().any(|&pick| pick < 4), "both sides of the ReLU occur");
    let mut found = vec![9.0; cells];
    layer.unpool(&slope, &choice, IMAGES, &mut found);
    for cell in 0..cells {
        let mut moved = result.clone();
        moved[cell] += 1e-3;
        let expected = (pool(&moved).0 - here) / 1e-3;
        assert!((f64::from(found[cell]) - expected).abs() < 1e-3, "cell {cell}: {} and {expected}", found[cell]);
    }
}

#[test]
fn gradients_of_a_linear_layer_agree_with_finite_differences() {
    const IMAGES: usize = 3;
    let random = &mut Xoshiro256PlusPlus::seed_from_u64(3);
    let (input, weights, bias) = (numbers(random, IMAGES * 8), numbers(random, 40), numbers(random, 5));
    let slope = numbers(random, IMAGES * 5);
    let loss = |input: &[f32], weights: &[f32], bias: &[f32]| {
        let mut output = vec![0.0; IMAGES * 5];
        layers::linear(input, weights, bias, IMAGES, &mut output);
        inner(&output, &slope)
    };
    let here = loss(&input, &weights, &bias);
    let (mut by_weights, mut by_bias, mut by_input) = (vec![0.0; 40], vec![0.0; 5], vec![0.0; IMAGES * 8]);
    layers::linear_backward(&slope, &input, IMAGES, &mut by_weights, &mut by_bias);
    layers::linear_backward_input(&slope, &weights, 5, IMAGES, &mut by_input);
    let bump = |values: &[f32], index: usize| {
        let mut values = values.to_vec();
        values[index] += 1.0;
        values
    };
    (0..40).for_each(|i| near(by_weights[i].into(), loss(&input, &bump(&weights, i), &bias) - here, 1e-4));
    (0..5).for_each(|i| near(by_bias[i].into(), loss(&input, &weights, &bump(&bias, i)) - here, 1e-4));
    (0..IMAGES * 8).for_each(|i| near(by_input[i].into(), loss(&bump(&input, i), &weights, &bias) - here, 1e-4));
}

#[test]
fn gradient_of_cross_entropy_agrees_with_finite_differences() {
    let logits = [0.3f32, -1.2, 2.0, 0.0, 0.7, -0.4, 1.1, -2.0, 0.2, 0.9];
    let loss = |logits: &[f32]| layers::cross_entropy(&mut logits.to_vec(), 4, 1.0);
    let mut found = logits;
    layers::cross_entropy(&mut found, 4, 1.0);
    for index in 0..10 {
        let (mut up, mut down) = (logits, logits);
        up[index] += 0.01;
        down[index] -= 0.01;
        assert!((f64::from(found[index]) - (loss(&up) - loss(&down)) / 0.02).abs() < 1e-3, "logit {index}");
    }
}

#[test]
fn gradient_of_the_whole_net_agrees_with_finite_differences_in_every_tensor() {
    let random = &mut Xoshiro256PlusPlus::seed_from_u64(4);
    let mut weights = initial_weights(random);
    // With biases of 0, the first ReLU of every empty patch would be exactly at its corner.
    for (_, _, range) in model::TENSORS.into_iter().filter(|(_, shape, _)| shape.len() == 1) {
        let biases = numbers(random, range.len());
        weights[range].iter_mut().zip(biases).for_each(|(to, from)| *to = from * 0.1);
    }
    let mut state = ShardState::new(6);
    for image in 0..6 {
        let pixels = state.pixels[image * PIXELS..][..PIXELS].iter_mut();
        pixels.zip(TEST.image(image)).for_each(|(to, &from)| *to = f32::from(from) / 255.0);
        state.labels[image] = TEST.label(image);
    }
    state.step(&weights, 1.0);
    let gradient = state.gradient.clone();
    for (name, _, range) in model::TENSORS {
        // A step along the gradient, where the loss changes most; short, so that few ReLUs open or close.
        let length = inner(&gradient[range.clone()], &gradient[range.clone()]).sqrt();
        let mut loss_at = |step: f64| {
            let mut moved = weights.clone();
            for index in range.clone() {
                moved[index] += (step * f64::from(gradient[index]) / length) as f32;
            }
            state.step(&moved, 1.0);
            state.stats.loss
        };
        let slope = (loss_at(2e-3) - loss_at(-2e-3)) / 4e-3;
        assert!(
            (slope - length).abs() < 0.03 * length,
            "{name}: the loss changes by {slope}, the gradient predicts {length}"
        );
    }
}

#[test]
fn training_reaches_the_floor_and_repeats_on_any_number_of_threads() {
    let (images, test) = (TRAIN.first(2000), TEST.first(1000));
    let options = TrainOptions { epochs: 5, threads: 1, ..TrainOptions::default() };
    let reports = Mutex::new(Vec::new());
    let one = train(&images, Some(&test), &options, &|report| {
        reports.lock().unwrap().push(report.clone());
        true
    })
    .unwrap();
    let ended = train(&images, None, &options, &|_| false).err().map(|error| error.kind());
    assert_eq!(ended, Some(ErrorKind::Cancelled));
    let quick = |threads, seed| {
        let options = TrainOptions { epochs: 1, threads, seed, ..options.clone() };
        train(&images.first(600), None, &options, &|_| true).unwrap().fingerprint()
    };
    let first = quick(1, 1);
    assert_eq!(first, quick(1, 1), "the same seed gives the same weights");
    assert_eq!(first, quick(2, 1), "on two threads too");
    assert_ne!(first, quick(1, 2), "another seed does not");

    let found = evaluate(&one, &test);
    assert!(found.accuracy >= 0.93, "seed 1: {}", found.accuracy);
    assert_eq!(found.confusion.iter().flatten().sum::<u64>(), 1000);
    let reports = reports.into_inner().unwrap();
    let ends: Vec<_> = reports.iter().filter(|report| report.test_accuracy.is_some()).collect();
    assert_eq!(ends.len(), 5);
    assert!(ends.windows(2).all(|pair| pair[1].loss < pair[0].loss), "the loss falls: {ends:?}");
    assert!(ends.iter().all(|report| (report.done, report.total) == (2000, 2000)));
    assert_eq!(ends[4].test_accuracy, Some(found.accuracy));
    assert_eq!(one.card().data.len(), 4);
}

#[test]
fn training_refuses_invalid_input() {
    let images = TRAIN.first(10);
    let good = TrainOptions { epochs: 1, ..TrainOptions::default() };
    for (invalid, images) in [
        (good.clone(), LabelledImages::default()),
        (TrainOptions { epochs: 0, ..good.clone() }, images.clone()),
        (TrainOptions { batch: 0, ..good.clone() }, images.clone()),
        (TrainOptions { learning_rate: f32::NAN, ..good.clone() }, images.clone()),
    ] {
        assert_eq!(
            train(&images, None, &invalid, &|_| true).err().map(|e| e.kind()),
            Some(ErrorKind::InvalidInput),
            "{invalid:?}"
        );
    }
    train(&images, None, &good, &|_| true).unwrap();
}

#[test]
fn the_default_recognises_digits() {
    let found = evaluate(&DEFAULT, &TEST.first(1000));
    assert!(found.accuracy >= 0.985, "{}", found.accuracy);
    let [features, logits] = same_digit(&DEFAULT, &TEST.first(1000)).unwrap();
    assert!(features > 0.95 && logits > 0.95, "{features} {logits}");
    assert_eq!(same_digit(&DEFAULT, &TEST.first(1)), None);
    for image in 0..20 {
        let probabilities = DEFAULT.probabilities(TEST.image(image)).unwrap();
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(best(&probabilities), usize::from(TEST.label(image)));
    }
}

fn best(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()
}

#[test]
fn an_image_gives_the_same_bits_alone_and_in_a_batch() {
    let mut inputs: Vec<Input<'_>> = (0..70).map(|image| Input::Image(TEST.image(image))).collect();
    inputs[33] = Input::Image(b"broken");
    inputs[34] = Input::Text("seven");
    for layer in DEFAULT.output_layers() {
        let together = DEFAULT.embed_batch(layer, &inputs);
        assert_eq!(together.len(), inputs.len());
        for (index, (input, vector)) in inputs.iter().zip(together).enumerate() {
            let single = DEFAULT.embed(layer, input);
            match (single, vector) {
                (Ok(single), Ok(vector)) => {
                    assert_eq!(single, vector, "{} of image {index}", layer.name);
                    assert_eq!(single.len(), layer.dimension as usize);
                }
                (Err(single), Err(vector)) => {
                    assert!(index == 33 || index == 34);
                    assert_eq!(single.to_string(), vector.to_string());
                    assert_eq!(single.kind(), ErrorKind::InvalidInput);
                }
                other => panic!("{other:?} at {index}"),
            }
        }
    }
    assert_eq!(DEFAULT.output_layer("").unwrap().name, "features");
}

#[test]
fn a_folder_comes_back_the_same_and_damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("new");
    DEFAULT.save(&folder).unwrap();
    let back = DigitNet::load(&folder).unwrap();
    assert_eq!(back.fingerprint(), DEFAULT.fingerprint());
    assert_eq!(back.card(), DEFAULT.card());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "no other file is left");

    let path = folder.join("model.safetensors");
    let good = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let replaced = |from: &str, to: &str| {
        let text = String::from_utf8(good[8..header].to_vec()).unwrap();
        assert!(text.contains(from) && from.len() == to.len());
        [&good[..8], text.replace(from, to).as_bytes(), &good[header..]].concat()
    };
    let mut not_finite = good.clone();
    not_finite[header..header + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    for (what, bytes) in [
        ("not a safetensors", good[..good.len() / 2].to_vec()),
        ("not a safetensors", Vec::new()),
        ("not a safetensors", [&[0xff; 8], &good[8..]].concat()),
        ("has no tensor", replaced("linear2.bias", "linear3.bias")),
        ("expected F32", replaced("[500,800]", "[800,500]")),
        ("not finite", not_finite),
        ("has more than", vec![0; 5 << 20]),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = DigitNet::load(&folder).err().expect(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(what), "{error}");
    }
    let mut other = good.clone();
    other[header] ^= 1;
    std::fs::write(&path, other).unwrap();
    assert_ne!(DigitNet::load(&folder).unwrap().fingerprint(), DEFAULT.fingerprint(), "one bit of one weight");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(DigitNet::load(&folder), Err(Error::Io { .. })));
}

// ---- IDX

fn idx_bytes(dimensions: &[u32], elements: usize) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend((0..elements).map(|i| (i % 10) as u8));
    bytes
}

#[test]
fn idx_files_are_read_plain_and_gzip_and_damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| -> PathBuf {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name)
    };
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let good = idx_bytes(&[2, 3, 4], 24);
    let plain = idx::read(&put("plain", &good)).unwrap();
    assert_eq!((plain.dimensions.as_slice(), plain.bytes.len()), (&[2, 3, 4][..], 24));
    let packed = gzip(&good);
    assert_eq!(idx::read(&put("packed", &packed)).unwrap(), plain);
    assert_eq!(idx::read(&put("padded", &[&packed[..], &[0; 512]].concat())).unwrap(), plain);

    let huge = idx_bytes(&[u32::MAX, u32::MAX, u32::MAX], 5);
    let promising = idx_bytes(&[60_000, 28, 28], 5);
    for (what, bytes) in [
        ("not an IDX", &b""[..]),
        ("not an IDX", &good[..3]),
        ("not an IDX", &[0, 0, 13, 1, 0, 0, 0, 0]),
        ("within its header", &good[..13]),
        ("only 23", &good[..good.len() - 1]),
        ("holds more", &[&good[..], &[1]].concat()),
        ("declare more", &huge),
        ("only 5", &promising),
        ("other bytes follow", &[&packed[..], b"x"].concat()),
        ("gzip", &packed[..packed.len() / 2]),
        ("gzip", &gzip(&good)[..packed.len() - 4]),
    ] {
        let error = idx::read(&put("damaged", bytes)).unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(what), "{what}: {error}");
    }

    let images = put("images", &idx_bytes(&[3, 28, 28], 3 * PIXELS));
    assert_eq!(LabelledImages::read(&images, &put("labels", &idx_bytes(&[3], 3))).unwrap().labels(), [0, 1, 2]);
    let refused =
        |images: &Path, labels: &[u8]| LabelledImages::read(images, &put("labels", labels)).unwrap_err().to_string();
    assert!(refused(&images, &idx_bytes(&[4], 4)).contains("not the 3 labels"));
    assert!(refused(&images, &[&idx_bytes(&[3], 2)[..], &[10]].concat()).contains("label 2 is 10"));
    assert!(
        refused(&put("small", &idx_bytes(&[3, 27, 28], 3 * 27 * 28)), &idx_bytes(&[3], 3))
            .contains("not count x 28 x 28")
    );
}

// ---- images

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg(image: &GrayImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    ::image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(image).unwrap();
    bytes
}

/// A test image, enlarged on a canvas: white on black.
fn enlarged(image: usize, by: u32, canvas: u32, left: i64, top: i64) -> GrayImage {
    let small = GrayImage::from_raw(28, 28, TEST.image(image).to_vec()).unwrap();
    let large = imageops::resize(&small, 28 * by, 28 * by, imageops::FilterType::Triangle);
    let mut paper = GrayImage::new(canvas, canvas);
    imageops::overlay(&mut paper, &large, left, top);
    paper
}

fn accuracy(count: usize, render: impl Fn(usize) -> Vec<u8> + Sync) -> f64 {
    use rayon::prelude::*;
    let right =
        |image: &usize| best(&DEFAULT.probabilities(&render(*image)).unwrap()) == usize::from(TEST.label(*image));
    (0..count).into_par_iter().filter(right).count() as f64 / count as f64
}

#[test]
fn pictures_are_recognised_as_well_as_raw_pixels() {
    const COUNT: usize = 300;
    let raw = accuracy(COUNT, |image| TEST.image(image).to_vec());
    let inverted = |mut image: GrayImage| {
        imageops::invert(&mut image);
        image
    };
    let offset = |image: usize| (5 + (image * 37 % 150) as i64, 8 + (image * 53 % 140) as i64);
    let large = |image: usize| enlarged(image, 5, 300, offset(image).0, offset(image).1);
    let blended = |image: usize, ink: [u8; 3], paper: [u8; 3]| {
        let grey = large(image);
        RgbImage::from_fn(300, 300, |x, y| {
            let part = u32::from(grey.get_pixel(x, y).0[0]);
            Rgb([0, 1, 2].map(|c| ((u32::from(ink[c]) * part + u32::from(paper[c]) * (255 - part)) / 255) as u8))
        })
    };
    let transparent = |image: usize, ink: u8| {
        let grey = large(image);
        RgbaImage::from_fn(300, 300, |x, y| Rgba([ink, ink, ink, grey.get_pixel(x, y).0[0]]))
    };
    let small = |image: usize| GrayImage::from_raw(28, 28, TEST.image(image).to_vec()).unwrap();
    let found = [
        ("raw, inverted", accuracy(COUNT, |i| inverted(small(i)).into_raw())),
        ("28x28 PNG", accuracy(COUNT, |i| encoded(small(i), ImageFormat::Png))),
        ("PNG, white on black", accuracy(COUNT, |i| encoded(large(i), ImageFormat::Png))),
        ("BMP, black on white", accuracy(COUNT, |i| encoded(inverted(large(i)), ImageFormat::Bmp))),
        ("JPEG 60, black on white", accuracy(COUNT, |i| jpeg(&inverted(large(i)), 60))),
        (
            "WebP, red on blue",
            accuracy(COUNT, |i| encoded(blended(i, [220, 40, 40], [30, 60, 160]), ImageFormat::WebP)),
        ),
        ("black on nothing", accuracy(COUNT, |i| encoded(transparent(i, 0), ImageFormat::Png))),
        ("white on nothing", accuracy(COUNT, |i| encoded(transparent(i, 255), ImageFormat::Png))),
        ("twice as large", accuracy(COUNT, |i| encoded(enlarged(i, 2, 80, 3, 20), ImageFormat::Png))),
        (
            "with specks",
            accuracy(COUNT, |i| {
                let mut picture = inverted(large(i));
                (0..30).for_each(|n| picture.put_pixel((n * 97 + 31) % 299, (n * 61 + 17) % 299, Luma([0])));
                encoded(picture, ImageFormat::Png)
            }),
        ),
    ];
    for (what, part) in found {
        assert!(part >= raw - 0.02, "{what}: {part}, raw {raw}; all: {found:?}");
    }
}

/// Lines drawn with a round pen.
fn draw(side: u32, pen: f32, lines: &[&[(f32, f32)]]) -> GrayImage {
    GrayImage::from_fn(side, side, |x, y| {
        let (x, y) = (x as f32 / side as f32, y as f32 / side as f32);
        let distance = lines.iter().flat_map(|line| line.windows(2)).map(|ends| {
            let ((ax, ay), (bx, by)) = (ends[0], ends[1]);
            let (dx, dy) = (bx - ax, by - ay);
            let along = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy).max(1e-9)).clamp(0.0, 1.0);
            (x - ax - along * dx).powi(2) + (y - ay - along * dy).powi(2)
        });
        let nearest = distance.fold(f32::MAX, f32::min).sqrt() * side as f32;
        Luma([(255.0 * (nearest - pen / 2.0 + 0.5).clamp(0.0, 1.0)) as u8])
    })
}

#[test]
fn drawings_of_any_pen_are_recognised() {
    let ring = |cx: f32, cy: f32, rx: f32, ry: f32, from: f32, until: f32| -> Vec<(f32, f32)> {
        let angle = |i: usize| (from + (until - from) * i as f32 / 40.0) * std::f32::consts::TAU;
        (0..=40).map(|i| (cx + rx * angle(i).cos(), cy + ry * angle(i).sin())).collect()
    };
    let zero = ring(0.5, 0.5, 0.17, 0.27, 0.0, 1.0);
    let three = [ring(0.48, 0.35, 0.14, 0.13, -0.45, 0.25), ring(0.48, 0.62, 0.16, 0.14, -0.25, 0.42)].concat();
    let two = [ring(0.5, 0.36, 0.15, 0.14, -0.45, 0.08), vec![(0.35, 0.75), (0.67, 0.75)]].concat();
    let eight = [ring(0.5, 0.36, 0.12, 0.13, 0.25, 1.25), ring(0.5, 0.64, 0.15, 0.15, -0.25, 0.75)].concat();
    let one = [(0.52, 0.2), (0.47, 0.8)];
    let seven = [(0.33, 0.25), (0.67, 0.25), (0.45, 0.8)];
    let four = [vec![(0.4, 0.2), (0.33, 0.52), (0.66, 0.52)], vec![(0.6, 0.2), (0.58, 0.8)]];
    let five = [vec![(0.66, 0.22), (0.4, 0.22), (0.38, 0.47)], ring(0.48, 0.6, 0.16, 0.16, -0.35, 0.4)].concat();
    type Lines<'a> = Vec<&'a [(f32, f32)]>;
    let digits: [(usize, Lines<'_>); 8] = [
        (0, vec![&zero]),
        (1, vec![&one]),
        (2, vec![&two]),
        (3, vec![&three]),
        (4, four.iter().map(Vec::as_slice).collect()),
        (5, vec![&five]),
        (7, vec![&seven]),
        (8, vec![&eight]),
    ];
    let usual = TEST.images().iter().map(|&ink| f64::from(ink) / 255.0).sum::<f64>() / TEST.len() as f64;
    let mut errors = Vec::new();
    for (side, pen) in [(60, 1.0), (100, 8.0), (300, 2.0), (300, 24.0), (700, 2.0)] {
        let mut ink = 0.0;
        for (digit, lines) in &digits {
            let bytes = encoded(draw(side, pen, lines), ImageFormat::Png);
            ink +=
                image::prepare(&bytes).unwrap().iter().map(|&cell| f64::from(cell)).sum::<f64>() / digits.len() as f64;
            let found = DEFAULT.probabilities(&bytes).unwrap();
            if best(&found) != *digit {
                errors.push((side, pen, *digit, best(&found)));
            }
        }
        assert!((0.5..1.7).contains(&(ink / usual)), "a pen of {pen} in {side}: ink {ink}, in MNIST {usual}");
    }
    assert!(errors.len() <= 2, "of 40 (side, pen, digit, found): {errors:?}");
}

#[test]
fn hostile_images_are_refused_with_a_reason() {
    let png = encoded(enlarged(0, 5, 300, 20, 20), ImageFormat::Png);
    let bomb = |width: u32, height: u32| {
        let mut bytes = png.clone();
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let mut check = crc32fast::Hasher::new();
        check.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&check.finalize().to_be_bytes());
        bytes
    };
    let of_one_colour = |side, value| encoded(GrayImage::from_pixel(side, side, Luma([value])), ImageFormat::Png);
    let photo = jpeg(&enlarged(0, 5, 300, 20, 20), 80);
    let lossless = encoded(DynamicImage::from(enlarged(0, 5, 300, 20, 20)).into_rgb8(), ImageFormat::WebP);
    let bitmap = encoded(enlarged(0, 5, 300, 20, 20), ImageFormat::Bmp);
    for (what, bytes) in [
        ("no bytes", Vec::new()),
        ("783 bytes", vec![0; 783]),
        ("785 bytes", vec![7; 785]),
        ("no ink", vec![0; 784]),
        ("no ink", vec![255; 784]),
        ("at most 16777216", vec![0; MAX_FILE_BYTES + 1]),
        ("cannot be decoded", png[..png.len() / 2].to_vec()),
        ("cannot be decoded", png[..20].to_vec()),
        ("cannot be decoded", photo[..photo.len() / 4].to_vec()),
        ("cannot be decoded", photo[..200].to_vec()),
        ("cannot be decoded", lossless[..lossless.len() / 2].to_vec()),
        ("cannot be decoded", bitmap[..bitmap.len() / 2].to_vec()),
        ("at most 8192", bomb(100_000, 10)),
        ("at most 8192", bomb(8, 8_193)),
        ("at most 32000000", bomb(8_192, 8_192)),
        ("GIF", [&b"GIF89a"[..], &[0; 20]].concat()),
        ("no ink", of_one_colour(1, 0)),
        ("no ink", of_one_colour(28, 200)),
        ("no ink", of_one_colour(300, 255)),
        ("no ink", encoded(GrayImage::new(8_192, 1), ImageFormat::Png)),
        ("no ink", encoded(GrayImage::new(1, 8_192), ImageFormat::Png)),
        ("no ink", encoded(RgbaImage::new(40, 40), ImageFormat::Png)),
    ] {
        let error = DEFAULT.probabilities(&bytes).err().unwrap_or_else(|| panic!("{what}: {} bytes", bytes.len()));
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().to_lowercase().contains(&what.to_lowercase()), "{what}: {error}");
    }
}

#[test]
fn odd_images_never_panic_and_give_finite_numbers() {
    let mut images = Vec::new();
    for (width, height) in [(1, 2), (2, 1), (3, 3), (28, 28), (8192, 1), (1, 8192), (8192, 7), (700, 2)] {
        let mut image = GrayImage::new(width, height);
        image.put_pixel(width / 2, height / 2, Luma([255]));
        image.put_pixel(width - 1, 0, Luma([90]));
        images.push(encoded(image, ImageFormat::Png));
        let noise = GrayImage::from_fn(width, height, |x, y| Luma([((x * 7919 + y * 104_729) % 251) as u8]));
        images.push(encoded(noise, ImageFormat::Png));
    }
    let random = &mut Xoshiro256PlusPlus::seed_from_u64(9);
    let png = encoded(enlarged(1, 2, 60, 2, 2), ImageFormat::Png);
    for _ in 0..200 {
        let mut damaged = png.clone();
        let index = random.next_u64() as usize % damaged.len();
        damaged[index] = random.next_u64() as u8;
        images.push(damaged);
    }
    for bytes in images {
        if let Ok(pixels) = image::prepare(&bytes) {
            assert!(pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)) && pixels.iter().any(|&pixel| pixel > 0.0));
        }
    }
}

#[test]
fn activations_agree_with_the_net() {
    let images = &*TEST;
    for index in [0, 1, 17] {
        let raw = images.image(index);
        let layers = DEFAULT.activations(raw).unwrap();
        let layer = |name: &str| layers.iter().find(|layer| layer.name == name).unwrap();
        for layer in &layers {
            assert_eq!(layer.values.len(), layer.channels * layer.rows * layer.columns, "{}", layer.name);
        }
        let shapes: Vec<_> = layers.iter().map(|layer| (layer.channels, layer.rows)).collect();
        let expected =
            [(1, 28), (20, 24), (20, 24), (20, 12), (50, 8), (50, 8), (50, 4), (500, 1), (500, 1), (10, 1), (10, 1)];
        assert_eq!(shapes, expected);
        for output in DEFAULT.output_layers() {
            assert_eq!(
                layer(output.name).values,
                DEFAULT.embed(output, &Input::Image(raw)).unwrap(),
                "{}",
                output.name
            );
        }
        // The first convolution computed by its definition, cell by cell.
        let pixels = &layer("image").values;
        let (weights, bias) = DEFAULT.weights()[..520].split_at(500);
        for (index, &found) in layer("convolution1").values.iter().enumerate() {
            let (channel, y, x) = (index / 576, index % 576 / 24, index % 24);
            let cells = (0..25).map(|offset| {
                f64::from(weights[channel * 25 + offset]) * f64::from(pixels[(y + offset / 5) * 28 + x + offset % 5])
            });
            near(f64::from(found), f64::from(bias[channel]) + cells.sum::<f64>(), 1e-5);
        }
        for (before, after) in [("convolution1", "ramp1"), ("convolution2", "ramp2"), ("linear1", "features")] {
            let mut ramped = layer(before).values.clone();
            layers::relu(&mut ramped);
            assert_eq!(ramped, layer(after).values, "{after}");
        }
        for (before, after) in [("ramp1", "pool1"), ("ramp2", "pool2")] {
            let (from, to) = (layer(before), layer(after));
            for (index, &found) in to.values.iter().enumerate() {
                let (channel, y, x) = (index / to.rows.pow(2), index / to.rows % to.rows, index % to.rows);
                let cell = |dy, dx| from.values[(channel * from.rows + 2 * y + dy) * from.rows + 2 * x + dx];
                assert_eq!(found, cell(0, 0).max(cell(0, 1)).max(cell(1, 0)).max(cell(1, 1)), "{after} {index}");
            }
        }
    }
    assert!(matches!(DEFAULT.activations(&[]), Err(Error::InvalidInput(_))));
}
