//! Reader of fvecs and bvecs (the TEXMEX data sets): every vector preceded by its dimension, a little-endian 32-bit
//! number.

use super::rows::{Number, Rows, check_dimension};
use crate::cli::load::input_stream::{Fill, InputStream};
use anyhow::{Context, bail};

/// Reads the first dimension and rewinds: the vectors follow.
pub(crate) fn open(mut input: InputStream, number: Number) -> anyhow::Result<Rows> {
    let path = input.path().clone();
    let mut header = [0; 4];
    if input.fill(&mut header).with_context(|| path.display().to_string())? != Fill::Full {
        bail!("{}: too short for a vector", path.display());
    }
    let dimension = check_dimension(&path, u32::from_le_bytes(header).into())?;
    // A file whose length is not a whole number of records is read as far as possible; the reader of the rows reports
    // the truncation.
    let stride = 4 + (dimension * number.bytes()) as u64;
    let whole = input.content_bytes().filter(|length| length % stride == 0).map(|length| length / stride);
    Ok(Rows::with_headers(InputStream::open(&path)?, dimension, number, whole))
}

#[cfg(test)]
mod tests {
    use crate::cli::load::formats::files;
    use crate::cli::load::formats::fixture::{self, fvecs, gzip};

    #[test]
    fn vectors_are_read_plain_and_gzip() {
        let bytes = fvecs(&[&[1.0, 2.0], &[3.0, 4.0]]);
        for (name, bytes) in [("a.fvecs", bytes.clone()), ("a.fvecs.gz", gzip(&bytes))] {
            let file = fixture::file(name, &bytes);
            assert_eq!(fixture::vectors(&file.path), Ok(vec![vec![1.0, 2.0], vec![3.0, 4.0]]), "{name}");
        }
        let file = fixture::file("a.bvecs", &[2, 0, 0, 0, 7, 8, 2, 0, 0, 0, 255, 0]);
        assert_eq!(fixture::vectors(&file.path), Ok(vec![vec![7.0, 8.0], vec![255.0, 0.0]]));
    }

    #[test]
    fn a_different_dimension_in_the_middle_ends_the_file() {
        let mut bytes = fvecs(&[&[1.0, 2.0], &[3.0, 4.0], &[5.0, 6.0]]);
        bytes[12] = 3;
        let file = fixture::file("a.fvecs", &bytes);
        let error = fixture::vectors(&file.path).unwrap_err();
        assert!(error.contains("record 1: it has 3 components, the previous records have 2"), "{error}");
    }

    #[test]
    fn the_error_for_a_truncated_file_names_the_record() {
        let bytes = fvecs(&[&[1.0, 2.0], &[3.0, 4.0]]);
        for cut in [1, 5, 8, 11] {
            let file = fixture::file("a.fvecs", &bytes[..bytes.len() - cut]);
            let error = fixture::vectors(&file.path).unwrap_err();
            assert!(error.contains("record 1: the file ends within this record"), "cut {cut}: {error}");
        }
        let file = fixture::file("a.fvecs", &bytes[..3]);
        assert!(files::open_rows(&file.path).is_err());
    }

    #[test]
    fn a_huge_dimension_is_refused_before_memory_is_allocated() {
        let file = fixture::file("a.fvecs", &[0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]);
        let error = format!("{:#}", files::open_rows(&file.path).err().unwrap());
        assert!(error.contains("2147483647 components, 1 to 65536"), "{error}");
    }

    #[test]
    fn a_vector_that_is_not_finite_is_skipped() {
        let file = fixture::file("a.fvecs", &fvecs(&[&[1.0, 2.0], &[f32::NAN, 4.0], &[5.0, 6.0]]));
        let (items, errors) = fixture::items(&file.path);
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["0", "2"]);
        assert!(errors.len() == 1 && errors[0].contains("record 1: component 0 is NaN"), "{errors:?}");
    }
}
