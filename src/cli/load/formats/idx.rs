//! Reader of IDX (the MNIST files): big-endian header, then unsigned bytes; images, and labels in a second file.

use super::rows::{Number, Rows, check_dimension};
use crate::api::{Item, Payload, PointInput};
use crate::cli::load::input_stream::{Fill, InputStream};
use crate::cli::load::record::{FilePosition, RecordError, RecordPosition, Records};
use crate::embed::formats::idx::Header;
use crate::types::PointId;
use anyhow::bail;
use std::io::Cursor;
use std::path::Path;

/// An open image file.
pub(crate) struct Images {
    pub(crate) rows: Rows,
    /// Height and width; none unless there are exactly two axes after the first.
    size: Option<(u32, u32)>,
    count: u64,
}

/// Reads the axes of an IDX file of bytes and checks the length of the file, if it is known; leaves the source after the
/// header.
fn axes(source: &mut InputStream) -> anyhow::Result<Vec<u64>> {
    let path = source.path().clone();
    let header = Header::read(&path, source)?;
    if let Some(bytes) = source.content_bytes() {
        header.check_length(&path, bytes)?;
    }
    Ok(header.dimensions.into_iter().map(u64::from).collect())
}

/// Reads the header and verifies it against the file's length.
pub(crate) fn open(mut input: InputStream) -> anyhow::Result<Images> {
    let path = input.path().clone();
    let axes = axes(&mut input)?;
    let [count, inner @ ..] = axes.as_slice() else { bail!("{}: no axes", path.display()) };
    if inner.is_empty() {
        bail!("{}: a file of labels; pass it with --labels, with its image file", path.display());
    }
    let product = inner.iter().try_fold(1_u64, |product, axis| product.checked_mul(*axis)).unwrap_or(u64::MAX);
    let dimension = check_dimension(&path, product)?;
    let size = match inner {
        [height, width] => Some((*height as u32, *width as u32)),
        _ => None,
    };
    Ok(Images { rows: Rows::new(input, dimension, Number::U8, Some(*count)), size, count: *count })
}

/// Images as items: the id is a prefix with the row number; the label is stored in the payload.
pub(crate) struct ImageRecords {
    images: Images,
    labels: Option<InputStream>,
    as_vectors: bool,
    id_prefix: String,
    first_row: u64,
    row: u64,
    position: FilePosition,
}

impl ImageRecords {
    /// Opens the images and the labels, whose numbers must match.
    pub(crate) fn open(
        path: &Path,
        labels: Option<&Path>,
        as_vectors: bool,
        id_prefix: &str,
        first_row: u64,
    ) -> anyhow::Result<Self> {
        let input = InputStream::open(path)?;
        let position = input.file_position(RecordPosition::Whole);
        let images = open(input)?;
        if images.size.is_none() && !as_vectors {
            bail!(
                "{}: its records are not images (rows, columns); load them as vectors with --embedder none",
                path.display()
            );
        }
        let labels = match labels {
            None => None,
            Some(path) => {
                let mut input = InputStream::open(path)?;
                let axes = axes(&mut input)?;
                if axes != [images.count] {
                    bail!("{}: labels of shape {axes:?} for {} images", path.display(), images.count);
                }
                Some(input)
            }
        };
        Ok(Self { images, labels, as_vectors, id_prefix: id_prefix.into(), first_row, row: 0, position })
    }

    /// Encodes an image: raw bytes in the size of the digit embedder, otherwise a PNG file.
    fn encode(&self, pixels: &[u8]) -> Result<Vec<u8>, String> {
        match self.images.size {
            Some((28, 28)) | None => Ok(pixels.to_vec()),
            Some((height, width)) => {
                let mut file = Cursor::new(Vec::new());
                image::write_buffer_with_format(
                    &mut file,
                    pixels,
                    width,
                    height,
                    image::ExtendedColorType::L8,
                    image::ImageFormat::Png,
                )
                .map_err(|error| error.to_string())?;
                Ok(file.into_inner())
            }
        }
    }
}

impl Iterator for ImageRecords {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.position.at = RecordPosition::Record(self.row);
        let mut numbers = Vec::new();
        if let Err(error) = self.images.rows.next_row(&mut numbers)? {
            return Some(Err(error));
        }
        let mut payload = Payload::new();
        if let Some(labels) = &mut self.labels {
            let mut label = [0];
            match labels.fill(&mut label) {
                Ok(Fill::Full) => payload.insert("label".into(), label[0].into()),
                Ok(Fill::End | Fill::Short(_)) => {
                    return Some(Err(RecordError::fatal(
                        labels.file_position(RecordPosition::Record(self.row)),
                        "the file ends here",
                    )));
                }
                Err(error) => {
                    return Some(Err(RecordError::fatal(
                        labels.file_position(RecordPosition::Record(self.row)),
                        error.to_string(),
                    )));
                }
            };
        }
        let id = PointId::new(format!("{}{}", self.id_prefix, self.first_row + self.row));
        self.row += 1;
        let invalid = |what: String| RecordError::record(self.position.clone(), what);
        let input = if self.as_vectors {
            Ok(PointInput::Vector(numbers))
        } else {
            self.encode(self.images.rows.raw_bytes().unwrap_or_default()).map(PointInput::Image)
        };
        Some(match (id, input) {
            (Ok(id), Ok(source)) => Ok(Item { id, source, payload, vectors: Default::default() }),
            (Err(error), _) => Err(invalid(error.to_string())),
            (_, Err(what)) => Err(invalid(what)),
        })
    }
}

impl Records for ImageRecords {
    fn bytes_read(&self) -> u64 {
        self.images.rows.bytes().0
    }
    fn bytes_total(&self) -> u64 {
        self.images.rows.bytes().1
    }
    fn file_position(&self) -> FilePosition {
        self.position.clone()
    }
    fn rows_seen(&self) -> u64 {
        self.row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PointInput;
    use crate::cli::load::formats::fixture::{self, gzip, idx};

    #[test]
    fn images_carry_their_labels() {
        let images = fixture::file("i.gz", &gzip(&idx(&[2, 28, 28], &[7; 2 * 784])));
        let labels = fixture::file("l", &idx(&[2], &[3, 9]));
        let records = ImageRecords::open(&images.path, Some(&labels.path), false, "mnist-", 5).unwrap();
        let items = records.collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(items[1].id.as_str(), "mnist-6");
        assert_eq!(items[1].payload["label"], 9);
        assert_eq!(items[0].source, PointInput::Image(vec![7; 784]));
    }

    #[test]
    fn other_sizes_become_png_and_vectors_stay_numbers() {
        let images = fixture::file("i", &idx(&[1, 2, 3], &[0, 50, 100, 150, 200, 250]));
        let mut records = ImageRecords::open(&images.path, None, false, "", 0).unwrap();
        let PointInput::Image(png) = records.next().unwrap().unwrap().source else { panic!("not an image") };
        assert!(png.starts_with(b"\x89PNG"));
        let mut records = ImageRecords::open(&images.path, None, true, "", 0).unwrap();
        assert_eq!(
            records.next().unwrap().unwrap().source,
            PointInput::Vector(vec![0.0, 50.0, 100.0, 150.0, 200.0, 250.0])
        );
        assert!(records.next().is_none());
    }

    #[test]
    fn false_headers_are_refused() {
        for bytes in [
            idx(&[3, 28, 28], &[0; 784]),
            idx(&[u32::MAX, u32::MAX, u32::MAX], &[0; 784]),
            idx(&[1, 0, 28], &[]),
            idx(&[4], &[0; 4]),
            idx(&[1, 28, 28], &[0; 784])[..10].to_vec(),
            vec![0, 0, 13, 3],
        ] {
            let file = fixture::file("i", &bytes);
            assert!(ImageRecords::open(&file.path, None, true, "", 0).is_err());
        }
        let images = fixture::file("i", &idx(&[2, 28, 28], &[7; 2 * 784]));
        let labels = fixture::file("l", &idx(&[3], &[3, 9, 1]));
        assert!(ImageRecords::open(&images.path, Some(&labels.path), false, "", 0).is_err());
    }

    #[test]
    fn the_error_for_a_truncated_gzip_file_names_the_record() {
        // Incompressible bytes, so that the truncation falls into the images.
        let noise = (0..30 * 784_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>();
        let whole = gzip(&idx(&[30, 28, 28], &noise));
        let file = fixture::file("i.gz", &whole[..whole.len() / 2]);
        let (items, errors) = fixture::items(&file.path);
        assert!(items.len() < 30);
        assert!(errors.len() == 1 && errors[0].contains("gzip") && errors[0].contains("record"), "{errors:?}");
    }
}
