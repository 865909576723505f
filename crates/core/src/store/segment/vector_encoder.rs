//! Vectors of a segment during the write, in the narrowest element type that has held all of them so far.
//!
//! Most vectors need f32 from the start and have no extra cost. Narrower ones go to a spill file, because a later
//! vector may need a wider type. Then all are rewritten: at most three times.

use super::blocks::RowSums;
use crate::disk::{FileWriter, SpillFile};
use crate::math::Element;
use crate::store::Error;
use std::path::{Path, PathBuf};

/// Writer of the vectors section; see the module docs.
pub(super) struct Narrow {
    dir: PathBuf,
    name: String,
    dimension: usize,
    block_rows: usize,
    element: Element,
    /// Checksums of the blocks, for f32.
    sums: RowSums,
    /// Spill file of the vectors; none if they are f32 and already in the segment file.
    side: Option<SpillFile>,
    scales: Vec<f32>,
    encoded: Vec<u8>,
}

impl Narrow {
    /// Creates the spill file in `dir`.
    pub(super) fn create(dir: &Path, name: &str, dimension: usize, block_rows: usize) -> Result<Self, Error> {
        Ok(Self {
            dir: dir.to_owned(),
            name: name.to_owned(),
            dimension,
            block_rows,
            element: Element::ALL[0],
            sums: RowSums::new(block_rows),
            side: Some(SpillFile::create(dir, name)?),
            scales: Vec::new(),
            encoded: Vec::new(),
        })
    }

    /// Appends a vector. `writer` is positioned in the vectors section.
    pub(super) fn append(&mut self, vector: &[f32], writer: &mut FileWriter) -> Result<(), Error> {
        loop {
            let Some(side) = &mut self.side else {
                self.sums.add(bytemuck::cast_slice(vector));
                return Ok(writer.put(bytemuck::cast_slice(vector))?);
            };
            self.encoded.clear();
            if let Some(scale) = self.element.encode(vector, &mut self.encoded) {
                side.put(&self.encoded)?;
                if self.element == Element::I8 {
                    self.scales.push(scale);
                }
                return Ok(());
            }
            self.widen(writer)?;
        }
    }

    /// Copies the spill file to `writer`. Returns the element type, the scales of i8, and the checksum of each block.
    pub(super) fn finish(self, writer: &mut FileWriter) -> Result<(Element, Vec<f32>, Vec<u32>), Error> {
        let Some(mut side) = self.side else { return Ok((self.element, self.scales, self.sums.finish())) };
        if side.is_empty() {
            // Without vectors, use the default type.
            return Ok((Element::F32, Vec::new(), Vec::new()));
        }
        let mut sums = Vec::new();
        side.read_back::<Error>(self.dimension * self.element.bytes() * self.block_rows, |block| {
            sums.push(crc32fast::hash(block));
            writer.put(block)?;
            Ok(true)
        })?;
        Ok((self.element, self.scales, sums))
    }

    /// Switches to the next element type that holds all vectors so far.
    fn widen(&mut self, writer: &mut FileWriter) -> Result<(), Error> {
        let Some(mut old) = self.side.take() else { return Ok(()) };
        let from = self.element;
        let scales = std::mem::take(&mut self.scales);
        for &to in Element::ALL.iter().filter(|&&to| to > from) {
            let mut new = (to != Element::F32).then(|| SpillFile::create(&self.dir, &self.name)).transpose()?;
            let mut new_scales = Vec::new();
            let mut row = 0;
            let mut floats = vec![0.0_f32; self.dimension];
            let encoded = &mut self.encoded;
            let fits = old.read_back::<Error>(self.dimension * from.bytes(), |bytes| {
                let scale = scales.get(row).copied().unwrap_or(1.0);
                row += 1;
                from.decode(bytes, scale, &mut floats);
                encoded.clear();
                let Some(scale) = to.encode(&floats, encoded) else { return Ok(false) };
                match &mut new {
                    Some(new) => new.put(encoded)?,
                    None => {
                        self.sums.add(encoded);
                        writer.put(encoded)?;
                    }
                }
                if to == Element::I8 {
                    new_scales.push(scale);
                }
                Ok(true)
            })?;
            if fits {
                (self.element, self.side, self.scales) = (to, new, new_scales);
                return Ok(());
            }
        }
        Err(Error::refused(&self.dir.join(&self.name), "a vector that f32 does not hold"))
    }
}
