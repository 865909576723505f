//! Reader of fbin, u8bin and i8bin (billion-scale data sets): number of vectors, dimension, then the numbers.

use super::rows::{Number, Rows, check_dimension};
use crate::cli::load::input_stream::{Fill, InputStream};
use anyhow::{Context, bail};

/// Reads the header and verifies it against the file's length.
pub(crate) fn open(mut input: InputStream, number: Number) -> anyhow::Result<Rows> {
    let path = input.path().clone();
    let mut header = [0; 8];
    if input.fill(&mut header).with_context(|| path.display().to_string())? != Fill::Full {
        bail!("{}: too short for its header of 8 bytes", path.display());
    }
    let [a, b, c, d, e, f, g, h] = header;
    let rows = u64::from(u32::from_le_bytes([a, b, c, d]));
    let dimension = check_dimension(&path, u32::from_le_bytes([e, f, g, h]).into())?;
    let expected = 8 + rows * (dimension * number.bytes()) as u64;
    if let Some(found) = input.content_bytes().filter(|found| *found != expected) {
        bail!(
            "{}: its header declares {rows} vectors of {dimension} components, {expected} bytes in all; the file has \
             {found}",
            path.display()
        );
    }
    Ok(Rows::new(input, dimension, number, Some(rows)))
}

#[cfg(test)]
mod tests {
    use crate::cli::load::formats::files;
    use crate::cli::load::formats::fixture::{self, gzip};

    fn fbin(rows: u32, dimension: u32, numbers: &[f32]) -> Vec<u8> {
        let mut bytes = [rows.to_le_bytes(), dimension.to_le_bytes()].concat();
        bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        bytes
    }

    #[test]
    fn vectors_are_read_plain_and_gzip() {
        let bytes = fbin(2, 2, &[1.0, 2.0, 3.0, 4.0]);
        for (name, bytes) in [("a.fbin", bytes.clone()), ("b.fbin.gz", gzip(&bytes))] {
            let file = fixture::file(name, &bytes);
            assert_eq!(fixture::vectors(&file.path), Ok(vec![vec![1.0, 2.0], vec![3.0, 4.0]]), "{name}");
        }
        let file = fixture::file("a.u8bin", &[1, 0, 0, 0, 3, 0, 0, 0, 9, 8, 7]);
        assert_eq!(fixture::vectors(&file.path), Ok(vec![vec![9.0, 8.0, 7.0]]));
        let file = fixture::file("a.i8bin", &[1, 0, 0, 0, 3, 0, 0, 0, 255, 128, 7]);
        assert_eq!(fixture::vectors(&file.path), Ok(vec![vec![-1.0, -128.0, 7.0]]));
    }

    #[test]
    fn a_false_header_is_refused() {
        for (declared_rows, dimension) in [(3, 2), (u32::MAX, 2), (2, 3), (1, 2), (2, 0), (2, u32::MAX)] {
            let file = fixture::file("a.fbin", &fbin(declared_rows, dimension, &[1.0, 2.0, 3.0, 4.0]));
            assert!(files::open_rows(&file.path).is_err(), "{declared_rows} x {dimension}");
        }
    }

    #[test]
    fn in_gzip_a_false_header_is_found_at_the_end_of_the_data() {
        let file = fixture::file("a.fbin.gz", &gzip(&fbin(3, 2, &[1.0, 2.0, 3.0, 4.0])));
        let error = fixture::vectors(&file.path).unwrap_err();
        assert!(error.contains("record 2: the file ends here, but its header declares 3"), "{error}");
        let file = fixture::file("a.fbin.gz", &gzip(&fbin(1, 2, &[1.0, 2.0, 3.0, 4.0])));
        let error = fixture::vectors(&file.path).unwrap_err();
        assert!(error.contains("data after the records"), "{error}");
    }
}
