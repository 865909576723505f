//! Preprocessing of a picture for an image net: `preprocessor.json`, and its import from transformers.

use super::folder;
use super::resample::{Filter, Part, resize};
use crate::Error;
use crate::image_decode::Picture;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Maximum width and height of the net's input, pixels.
const MAX_SIDE: usize = 1_024;
/// Maximum shorter side before the centre crop, pixels.
const MAX_SHORTER: usize = 2_048;
/// Side from which the processor of ConvNeXt and ResNet does not crop.
const MIN_UNCROPPED_SIDE: usize = 384;

/// `preprocessor.json`: the preprocessing of a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Processor {
    /// The picture is resized so that its shorter side has this many pixels, and then centre-cropped. Without it,
    /// the whole picture is resized to `width` and `height`.
    pub(super) shorter_side: Option<usize>,
    /// Size of the net's input.
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) filter: Filter,
    /// Factor for bytes.
    pub(super) factor: f64,
    /// Subtracted after the factor, for red, green and blue.
    pub(super) mean: [f32; 3],
    /// Divisor after the subtraction.
    pub(super) deviation: [f32; 3],
}

impl Processor {
    pub(super) fn parse(path: &Path, json: &[u8]) -> Result<Self, Error> {
        let processor: Self = folder::parse(path, json)?;
        processor.check(path)?;
        Ok(processor)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        (serde_json::to_string_pretty(self).expect("a few plain settings") + "\n").into_bytes()
    }

    fn check(&self, path: &Path) -> Result<(), Error> {
        let (width, height) = (self.width, self.height);
        let corrupt = |what: String| Err(Error::Corrupt { path: path.into(), what });
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return corrupt(format!(
                "the net would see {width} x {height} pixels; width and height are 1 to {MAX_SIDE}"
            ));
        }
        if let Some(shorter) = self.shorter_side
            && !(width.max(height)..=MAX_SHORTER).contains(&shorter)
        {
            return corrupt(format!(
                "the shorter side becomes {shorter} pixels; supported: {} (the crop) to {MAX_SHORTER}",
                width.max(height)
            ));
        }
        let numbers = self.mean.iter().all(|mean| mean.is_finite());
        let valid_deviation = self.deviation.iter().all(|deviation| deviation.is_finite() && *deviation >= 1e-6);
        if !numbers || !valid_deviation || !(1e-6..=1e6).contains(&self.factor) {
            return corrupt(
                "image_mean, image_std and rescale_factor must be finite, the last two 1e-6 or more".into(),
            );
        }
        Ok(())
    }

    /// The size of the resized picture, and the crop.
    fn part(&self, picture: &Picture) -> Part {
        let size = (self.width, self.height);
        let Some(shorter) = self.shorter_side else { return Part { whole: size, at: (0, 0), size } };
        let (width, height) = (picture.width, picture.height);
        let longer = (shorter * width.max(height)) as f64 / width.min(height) as f64;
        let whole = if width <= height { (shorter, longer as usize) } else { (longer as usize, shorter) };
        Part { whole, at: ((whole.0 - size.0) / 2, (whole.1 - size.1) / 2), size }
    }

    /// The normalized red, green and blue of each pixel, row by row.
    pub(super) fn pixels(&self, picture: &Picture) -> Vec<f32> {
        let scaled = |byte: usize| (byte as f64 * self.factor) as f32;
        let table: Vec<[f32; 3]> = (0..256)
            .map(|byte| [0, 1, 2].map(|channel| (scaled(byte) - self.mean[channel]) / self.deviation[channel]))
            .collect();
        let bytes = resize(picture, self.filter, self.part(picture));
        let pixels = bytes.as_chunks::<3>().0.iter();
        pixels.flat_map(|pixel| [0, 1, 2].map(|channel| table[usize::from(pixel[channel])][channel])).collect()
    }
}

/// A size in the notation of transformers.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    Side(usize),
    Sides { height: usize, width: usize },
    Shortest { shortest_edge: usize },
}

/// The fields of `preprocessor_config.json` in use.
#[derive(Deserialize)]
struct TransformersProcessor {
    #[serde(alias = "feature_extractor_type")]
    image_processor_type: String,
    size: Size,
    crop_size: Option<Size>,
    crop_pct: Option<f64>,
    resample: Option<u64>,
    #[serde(default = "yes")]
    do_resize: bool,
    do_center_crop: Option<bool>,
    #[serde(default = "yes")]
    do_rescale: bool,
    rescale_factor: Option<f64>,
    #[serde(default = "yes")]
    do_normalize: bool,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

fn yes() -> bool {
    true
}

/// Converts a `preprocessor_config.json` of transformers, for the processors of CLIP, BiT (DINOv2), ConvNeXt
/// (ResNet) and ViT.
pub(super) fn from_transformers(path: &Path, json: &[u8]) -> Result<Processor, Error> {
    let settings: TransformersProcessor = folder::parse(path, json)?;
    let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
    if !settings.do_resize {
        return Err(corrupt("do_resize is false; supported: processors that resize".into()));
    }
    let full = settings.image_processor_type.as_str();
    let kind = ["FeatureExtractor", "ImageProcessor", "ImageProcessorFast", "ImageProcessorPil"]
        .iter()
        .find_map(|end| full.strip_suffix(end))
        .unwrap_or(full);
    let side_of = |size: Size| match size {
        Size::Side(side) | Size::Shortest { shortest_edge: side } => Ok(side),
        Size::Sides { .. } => {
            Err(corrupt("size has height and width; known for this processor is shortest_edge".into()))
        }
    };
    let (shorter_side, width, height) = match kind {
        "CLIP" | "Bit" => match (settings.size, settings.do_center_crop.unwrap_or(true), settings.crop_size) {
            (Size::Sides { height, width }, false, _) => (None, width, height),
            (size, true, Some(Size::Side(side))) => (Some(side_of(size)?), side, side),
            (size, true, Some(Size::Sides { height, width })) => (Some(side_of(size)?), width, height),
            _ => return Err(corrupt("neither size nor crop_size says how many pixels the net sees".into())),
        },
        "ConvNext" => match (side_of(settings.size)?, settings.crop_pct.unwrap_or(224.0 / 256.0)) {
            (side, _) if side >= MIN_UNCROPPED_SIDE => (None, side, side),
            (side, share) if share > 0.0 && share <= 1.0 => (Some((side as f64 / share) as usize), side, side),
            (_, share) => return Err(corrupt(format!("crop_pct is {share}, not above 0 and at most 1"))),
        },
        "ViT" | "DeiT" if !settings.do_center_crop.unwrap_or(false) => match settings.size {
            Size::Side(side) => (None, side, side),
            Size::Sides { height, width } => (None, width, height),
            Size::Shortest { .. } => return Err(corrupt("size has no height and width".into())),
        },
        _ => {
            let full: String = full.chars().take(60).collect();
            return Err(corrupt(format!(
                "image_processor_type is {full:?}; supported: CLIP, Bit, ConvNext, and ViT and DeiT without do_center_crop"
            )));
        }
    };
    let number = settings.resample.unwrap_or(if kind == "ViT" { 2 } else { 3 });
    let filter = Filter::from_number(number).ok_or_else(|| {
        corrupt(format!("resample is {number}; supported: 1 (Lanczos), 2 (bilinear) and 3 (bicubic)"))
    })?;
    let named = |name: &str, numbers: Option<[f32; 3]>| {
        numbers.ok_or_else(|| corrupt(format!("has no {name}, for red, green and blue")))
    };
    let (mean, deviation) = match settings.do_normalize {
        true => (named("image_mean", settings.image_mean)?, named("image_std", settings.image_std)?),
        false => ([0.0; 3], [1.0; 3]),
    };
    let factor = if settings.do_rescale { settings.rescale_factor.unwrap_or(1.0 / 255.0) } else { 1.0 };
    let processor = Processor { shorter_side, width, height, filter, factor, mean, deviation };
    processor.check(path)?;
    Ok(processor)
}
