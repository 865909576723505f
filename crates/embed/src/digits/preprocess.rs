//! Extraction of the ink of a picture, and its normalization to 28x28 as in MNIST.
//!
//! Ink is what differs from the colour of the border, so its polarity and colour do not matter. The ink is cropped,
//! specks are removed, strokes far thinner than a pen's are thickened, and the result is scaled to 20x20, keeping its
//! aspect ratio, and centred in 28x28 by its centre of mass (LeCun, Bottou, Bengio, Haffner 1998, section III.A).

use super::{PIXELS, SIDE};
use crate::Error;
use crate::image_decode::{Picture, invalid};
use image::{ImageBuffer, Luma, imageops};

/// Maximum rows and columns of the scaled ink.
const BOX_SIDE: usize = 20;
/// Maximum rows and columns of the analysis grid.
const MAX_GRID_SIDE: usize = 256;
/// Minimum contrast of ink against the border, of 255.
const MIN_CONTRAST: u8 = 16;
/// Minimum ink of a solid cell, as a fraction of full ink. Only solid cells count for the outline and connected parts.
const SOLID_INK: f32 = 0.3;
/// Connected parts smaller than this fraction of the largest one, in cells, are specks.
const SPECK_FRACTION: f32 = 0.02;
/// Stroke width in the 20x20 box below which strokes are thickened to [`TARGET_STROKE_WIDTH`]. MNIST's strokes are 2 to
/// 4 wide by the same measure.
const MIN_STROKE_WIDTH: f32 = 2.0;
/// Stroke width after thickening, see [`MIN_STROKE_WIDTH`].
const TARGET_STROKE_WIDTH: f32 = 2.4;

pub(super) fn no_ink_error() -> Error {
    invalid("no ink: the image is of one colour, or nothing in it stands out from its border")
}

/// The picture's ink as 28x28 numbers, from 0 (background) to 1 (ink).
///
/// # Errors
/// [`Error::InvalidInput`] if there is no ink.
pub(super) fn extract_digit(picture: &Picture) -> Result<[f32; PIXELS], Error> {
    let plane = Plane::of(picture)?;
    if let Some(ready) = plane.already_normalized() {
        return Ok(ready);
    }
    let mut region = Region { left: 0, top: 0, width: plane.width, height: plane.height };
    let mut grid = plane.downsampled(&region);
    // Specks may stretch the region far beyond the digit: crop again until the region no longer shrinks.
    loop {
        grid.drop_specks();
        let found = grid.bounding_box().ok_or_else(no_ink_error)?;
        let closer = region.part(&found, grid.width, grid.height);
        let was = region.width.max(region.height);
        let now = closer.width.max(closer.height);
        region = closer;
        if was <= MAX_GRID_SIDE || now * 4 > was * 3 {
            grid = grid.cropped(&found);
            break;
        }
        grid = plane.downsampled(&region);
    }
    Ok(scale_and_centre(&thicken(grid)))
}

/// Distance of each pixel from the border colour, 0 to 255.
struct Plane {
    width: usize,
    height: usize,
    cells: Vec<u8>,
    /// Ink by distance: 0 up to the noise of the border, 1 from full ink on.
    ink: [f32; 256],
}

/// A rectangle of cells.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Region {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Region {
    /// The rectangle of `part`, given in cells of a `width` x `height` grid over this region.
    fn part(&self, part: &Region, width: usize, height: usize) -> Region {
        let from = |index: usize, size: usize, cells: usize| index * size / cells;
        let until = |index: usize, size: usize, cells: usize| (index * size).div_ceil(cells).max(1);
        let (left, top) = (from(part.left, self.width, width), from(part.top, self.height, height));
        let right = until(part.left + part.width, self.width, width).min(self.width);
        let bottom = until(part.top + part.height, self.height, height).min(self.height);
        Region { left: self.left + left, top: self.top + top, width: right - left, height: bottom - top }
    }
}

/// The value at quantile `part` (0 to 1) of a histogram.
fn quantile(histogram: &[u64; 256], part: f64) -> u8 {
    let all: u64 = histogram.iter().sum();
    let mut left = (all as f64 * part) as u64;
    for (value, &count) in histogram.iter().enumerate() {
        if left < count {
            return value as u8;
        }
        left -= count;
    }
    255
}

impl Plane {
    fn of(picture: &Picture) -> Result<Self, Error> {
        let (width, height) = (picture.width, picture.height);
        let columns: Vec<usize> = if width > 1 { vec![0, width - 1] } else { vec![0] };
        let rows: Vec<usize> = if height > 1 { vec![0, height - 1] } else { vec![0] };
        let border = || {
            let level = rows.iter().flat_map(|&y| (0..width).map(move |x| y * width + x));
            level.chain(columns.iter().flat_map(|&x| (0..height).map(move |y| y * width + x)))
        };
        let ground: [u8; 3] = std::array::from_fn(|channel| {
            let mut histogram = [0; 256];
            border().for_each(|index| histogram[usize::from(picture.rgb[index * 3 + channel])] += 1);
            quantile(&histogram, 0.5)
        });
        let cells: Vec<u8> = picture
            .rgb
            .chunks_exact(3)
            .map(|pixel| (0..3).map(|channel| pixel[channel].abs_diff(ground[channel])).max().unwrap_or(0))
            .collect();
        let (mut noise, mut all) = ([0; 256], [0; 256]);
        border().for_each(|index| noise[usize::from(cells[index])] += 1);
        cells.iter().for_each(|&cell| all[usize::from(cell)] += 1);
        let noise = quantile(&noise, 0.9);
        let floor = noise.saturating_add(noise / 2).saturating_add(MIN_CONTRAST);
        all[..usize::from(floor)].fill(0);
        if all.iter().sum::<u64>() == 0 {
            return Err(no_ink_error());
        }
        let full = quantile(&all, 0.75);
        let span = f32::from(full - noise);
        let ink = std::array::from_fn(|distance| ((distance as f32 - f32::from(noise)) / span).clamp(0.0, 1.0));
        Ok(Self { width, height, cells, ink })
    }

    /// The picture unchanged, if it is 28x28 and its ink is already scaled and centred as in MNIST.
    fn already_normalized(&self) -> Option<[f32; PIXELS]> {
        let cells: &[u8; PIXELS] = self.cells.as_slice().try_into().ok().filter(|_| self.width == SIDE)?;
        let grid =
            Grid { width: SIDE, height: SIDE, cells: cells.iter().map(|&cell| self.ink[usize::from(cell)]).collect() };
        let bounding_box = grid.bounding_box()?;
        let long = bounding_box.width.max(bounding_box.height);
        let (x, y) = grid.centre_of_mass();
        let middle = SIDE as f32 / 2.0;
        let normalized =
            (BOX_SIDE - 3..=BOX_SIDE).contains(&long) && (x - middle).abs() < 1.5 && (y - middle).abs() < 1.5;
        let max_ink = f32::from(*cells.iter().max()?);
        normalized.then(|| cells.map(|cell| f32::from(cell) / max_ink))
    }

    /// The region on a grid of at most [`MAX_GRID_SIDE`] cells per side. Each cell takes the maximum of its pixels, so
    /// that thin strokes remain.
    fn downsampled(&self, region: &Region) -> Grid {
        let by = region.width.max(region.height).div_ceil(MAX_GRID_SIDE);
        let (width, height) = (region.width.div_ceil(by), region.height.div_ceil(by));
        let mut max_ink = vec![0u8; width * height];
        for y in 0..region.height {
            let line = &self.cells[(region.top + y) * self.width + region.left..][..region.width];
            for (to, from) in max_ink[y / by * width..][..width].iter_mut().zip(line.chunks(by)) {
                *to = from.iter().copied().fold(*to, u8::max);
            }
        }
        Grid { width, height, cells: max_ink.into_iter().map(|cell| self.ink[usize::from(cell)]).collect() }
    }
}

/// Ink on the analysis grid, 0 to 1.
struct Grid {
    width: usize,
    height: usize,
    cells: Vec<f32>,
}

impl Grid {
    /// Bounding box of the solid cells.
    fn bounding_box(&self) -> Option<Region> {
        let solid = |index: &usize| self.cells[*index] >= SOLID_INK;
        let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, usize::MAX, 0);
        for index in (0..self.cells.len()).filter(solid) {
            let (x, y) = (index % self.width, index / self.width);
            (left, right, top, bottom) = (left.min(x), right.max(x), top.min(y), bottom.max(y));
        }
        (left <= right).then(|| Region { left, top, width: right - left + 1, height: bottom - top + 1 })
    }

    fn cropped(&self, region: &Region) -> Grid {
        let rows = self.cells.chunks_exact(self.width).skip(region.top).take(region.height);
        let cells = rows.flat_map(|row| &row[region.left..][..region.width]).copied().collect();
        Grid { width: region.width, height: region.height, cells }
    }

    /// The centre of mass, in cells from the upper left corner.
    fn centre_of_mass(&self) -> (f32, f32) {
        let (mut mass, mut x, mut y) = (f32::MIN_POSITIVE, 0.0, 0.0);
        for (index, &cell) in self.cells.iter().enumerate() {
            mass += cell;
            x += cell * ((index % self.width) as f32 + 0.5);
            y += cell * ((index / self.width) as f32 + 0.5);
        }
        (x / mass, y / mass)
    }

    /// Clears small connected parts, and cells that are neither solid nor adjacent to a remaining solid cell.
    fn drop_specks(&mut self) {
        let mut part_of = vec![0u32; self.cells.len()];
        let mut sizes = vec![0usize];
        let mut open = Vec::new();
        for seed in 0..self.cells.len() {
            if part_of[seed] != 0 || self.cells[seed] < SOLID_INK {
                continue;
            }
            let part = sizes.len() as u32;
            sizes.push(0);
            part_of[seed] = part;
            open.push(seed);
            while let Some(index) = open.pop() {
                sizes[part as usize] += 1;
                for next in neighbours(index, self.width, self.height) {
                    if part_of[next] == 0 && self.cells[next] >= SOLID_INK {
                        part_of[next] = part;
                        open.push(next);
                    }
                }
            }
        }
        let min = sizes.iter().copied().max().unwrap_or(0) as f32 * SPECK_FRACTION;
        let is_kept = |index: usize| part_of[index] != 0 && sizes[part_of[index] as usize] as f32 >= min;
        let (width, height) = (self.width, self.height);
        for (index, cell) in self.cells.iter_mut().enumerate() {
            if !is_kept(index) && (*cell >= SOLID_INK || !neighbours(index, width, height).any(is_kept)) {
                *cell = 0.0;
            }
        }
    }

    /// Stroke width in cells: a long stroke of width w and length l has ink w l and outline 2 l. The outline is the
    /// total variation, which blur does not change; for a stroke with evenly distributed directions it is 4 / pi
    /// times the true outline.
    fn stroke_width(&self) -> f32 {
        let at =
            |x: usize, y: usize| if x < self.width && y < self.height { self.cells[y * self.width + x] } else { 0.0 };
        let (mut ink, mut variation) = (0.0, f32::MIN_POSITIVE);
        for y in 0..=self.height {
            for x in 0..=self.width {
                ink += at(x, y);
                variation += (at(x, y) - at(x.wrapping_sub(1), y)).abs() + (at(x, y) - at(x, y.wrapping_sub(1))).abs();
            }
        }
        2.0 * ink / (variation * std::f32::consts::FRAC_PI_4)
    }

    fn resized(&self, width: usize, height: usize) -> Grid {
        let image = ImageBuffer::<Luma<f32>, _>::from_raw(self.width as u32, self.height as u32, self.cells.clone())
            .expect("as many cells as width times height");
        let image = imageops::resize(&image, width as u32, height as u32, imageops::FilterType::Triangle);
        Grid { width, height, cells: image.into_raw() }
    }
}

/// The up to eight neighbours of a cell.
fn neighbours(index: usize, width: usize, height: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (index % width, index / width);
    (y.saturating_sub(1)..=(y + 1).min(height - 1))
        .flat_map(move |y| (x.saturating_sub(1)..=(x + 1).min(width - 1)).map(move |x| y * width + x))
        .filter(move |&next| next != index)
}

/// Draws strokes that would be thinner than [`MIN_STROKE_WIDTH`] in the 20x20 box again, with a round pen.
fn thicken(grid: Grid) -> Grid {
    /// Rows and columns of the canvas: fine enough for a fraction of a pixel of the box.
    const CANVAS: usize = 120;
    let long = grid.width.max(grid.height) as f32;
    let stroke_width = grid.stroke_width() * BOX_SIDE as f32 / long;
    if stroke_width >= MIN_STROKE_WIDTH {
        return grid;
    }
    let scale = CANVAS as f32 / long;
    let size = |cells: usize| ((cells as f32 * scale).round() as usize).max(1);
    // A pale thin stroke would become even paler when scaled down, so the pen draws wherever there is solid ink.
    let fine = grid.resized(size(grid.width), size(grid.height));
    let unit = CANVAS as f32 / BOX_SIDE as f32;
    let reach = (TARGET_STROKE_WIDTH - stroke_width) / 2.0 * unit;
    let margin = reach.ceil() as usize;
    let (width, height) = (fine.width + 2 * margin, fine.height + 2 * margin);
    let mut cells = vec![0.0f32; width * height];
    let pen: Vec<(usize, usize)> = (0..=2 * margin)
        .flat_map(|y| (0..=2 * margin).map(move |x| (x, y)))
        .filter(|&(x, y)| {
            let (dx, dy) = (x as f32 - margin as f32, y as f32 - margin as f32);
            dx * dx + dy * dy <= reach * reach
        })
        .collect();
    let max_ink = fine.cells.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    for (index, ink) in fine.cells.iter().map(|cell| cell / max_ink).enumerate().filter(|(_, ink)| *ink > 0.05) {
        let (x, y) = (index % fine.width, index / fine.width);
        for (dx, dy) in &pen {
            let to = &mut cells[(y + dy) * width + x + dx];
            *to = to.max(ink);
        }
    }
    Grid { width, height, cells }
}

/// Scales the ink to the 20x20 box and centres it in 28x28 by its centre of mass.
fn scale_and_centre(grid: &Grid) -> [f32; PIXELS] {
    let scale = BOX_SIDE as f32 / grid.width.max(grid.height) as f32;
    let size = |cells: usize| ((cells as f32 * scale).round() as usize).clamp(1, BOX_SIDE);
    let small = grid.resized(size(grid.width), size(grid.height));
    let max_ink = small.cells.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let (x, y) = small.centre_of_mass();
    let middle = SIDE as f32 / 2.0;
    let offset = |centre: f32, size: usize| (middle - centre).round().clamp(0.0, (SIDE - size) as f32) as usize;
    let (left, top) = (offset(x, small.width), offset(y, small.height));
    let mut pixels = [0.0; PIXELS];
    for (row, cells) in small.cells.chunks_exact(small.width).enumerate() {
        for (to, cell) in pixels[(top + row) * SIDE + left..].iter_mut().zip(cells) {
            *to = (cell / max_ink).clamp(0.0, 1.0);
        }
    }
    pixels
}
