//! Reader of NumPy's .npy, versions 1 to 3: a magic, a Python dictionary as text, the numbers.
//!
//! Supported: C order, `<f2`, `<f4`, `<f8` and `|u1`, of shape (rows, dimension); further axes are flattened.

use super::rows::{Number, Rows, check_dimension};
use crate::cli::load::input_stream::{Fill, InputStream};
use anyhow::{Context, bail};

/// Maximum length of the header, bytes; NumPy itself refuses above 10,000 by default.
const MAX_HEADER: usize = 64 << 10;

/// Reads the header and verifies it against the file's length.
pub(crate) fn open(mut input: InputStream) -> anyhow::Result<Rows> {
    let path = input.path().clone();
    let named = || path.display().to_string();
    let mut start = [0; 10];
    if input.fill(&mut start).with_context(named)? != Fill::Full || !start.starts_with(b"\x93NUMPY") {
        bail!("{}: not an npy file", path.display());
    }
    let (header_bytes, before) = match start[6] {
        1 => (usize::from(u16::from_le_bytes([start[8], start[9]])), 10),
        2 | 3 => {
            let mut rest = [0; 2];
            if input.fill(&mut rest).with_context(named)? != Fill::Full {
                bail!("{}: truncated header", path.display());
            }
            (u32::from_le_bytes([start[8], start[9], rest[0], rest[1]]) as usize, 12)
        }
        other => bail!("{}: npy version {other}; 1 to 3 can be read", path.display()),
    };
    if header_bytes > MAX_HEADER {
        bail!("{}: its header has {header_bytes} bytes, at most {MAX_HEADER} are allowed", path.display());
    }
    let mut header = vec![0; header_bytes];
    if input.fill(&mut header).with_context(named)? != Fill::Full && header_bytes > 0 {
        bail!("{}: truncated header", path.display());
    }
    let header = String::from_utf8_lossy(&header).into_owned();
    let invalid = |what: &str| format!("{}: {what} in its header: {}", path.display(), header.trim());

    let number = match field(&header, "descr").with_context(|| invalid("no 'descr'"))?.trim_matches(['\'', '"']) {
        "|u1" | "<u1" | "u1" => Number::U8,
        "<f2" => Number::F16,
        "<f4" => Number::F32,
        "<f8" => Number::F64,
        other => bail!("{}: numbers of type {other:?}; <f2, <f4, <f8 and |u1 can be read", path.display()),
    };
    match field(&header, "fortran_order").with_context(|| invalid("no 'fortran_order'"))? {
        "False" => {}
        _ => bail!("{}: in Fortran order; save it with np.ascontiguousarray(...)", path.display()),
    }
    let shape = field(&header, "shape").with_context(|| invalid("no 'shape'"))?;
    let axes = shape
        .trim_matches(['(', ')'])
        .split(',')
        .map(str::trim)
        .filter(|axis| !axis.is_empty())
        .map(|axis| axis.trim_end_matches('L').parse::<u64>())
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| invalid("an invalid 'shape'"))?;
    let [rows, rest @ ..] = axes.as_slice() else { bail!("{}", invalid("an empty 'shape'")) };
    if rest.is_empty() {
        bail!("{}: its shape is {shape}; (rows, dimension) is needed", path.display());
    }
    let dimension = rest.iter().try_fold(1_u64, |product, axis| product.checked_mul(*axis)).unwrap_or(u64::MAX);
    let dimension = check_dimension(&path, dimension)?;
    let data =
        rows.checked_mul((dimension * number.bytes()) as u64).with_context(|| invalid("an impossible 'shape'"))?;
    let expected = data.saturating_add((before + header_bytes) as u64);
    if let Some(found) = input.content_bytes().filter(|found| *found != expected) {
        bail!(
            "{}: its header declares {rows} rows of {dimension} numbers, {expected} bytes in all; the file has {found}",
            path.display()
        );
    }
    Ok(Rows::new(input, dimension, number, Some(*rows)))
}

/// Returns the value of a key in the header's dictionary, as text. Values are strings, words, or one tuple.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let after = [format!("'{key}'"), format!("\"{key}\"")]
        .iter()
        .find_map(|quoted| Some(&header[header.find(quoted.as_str())? + quoted.len()..]))?;
    let value = after.trim_start().strip_prefix(':')?.trim_start();
    let end = if value.starts_with('(') { value.find(')')? + 1 } else { value.find([',', '}'])? };
    Some(value[..end].trim())
}

#[cfg(test)]
mod tests {
    use crate::cli::load::formats::files;
    use crate::cli::load::formats::fixture::{self, gzip, npy};

    fn floats(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn each_version_and_type_is_read() {
        let expected = Ok(vec![vec![1.0, 2.0], vec![3.0, 4.0]]);
        let data = floats(&[1.0, 2.0, 3.0, 4.0]);
        let doubles = [1.0_f64, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
        for bytes in [
            npy(1, "<f4", "(2, 2)", &data),
            npy(2, "<f4", "(2, 2)", &data),
            npy(3, "<f4", "(2, 1, 2)", &data),
            npy(1, "<f8", "(2, 2)", &doubles),
            npy(1, "|u1", "(2, 2)", &[1, 2, 3, 4]),
            gzip(&npy(1, "<f4", "(2, 2)", &data)),
        ] {
            let file = fixture::file("a.npy", &bytes);
            assert_eq!(fixture::vectors(&file.path), expected);
        }
    }

    #[track_caller]
    fn refused(bytes: &[u8], part: &str) {
        let file = fixture::file("a.npy", bytes);
        let error = format!("{:#}", files::open_rows(&file.path).err().expect("it was opened"));
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn hostile_headers_are_refused() {
        let data = floats(&[1.0, 2.0, 3.0, 4.0]);
        let whole = npy(1, "<f4", "(2, 2)", &data);
        refused(&whole[..whole.len() - 1], "the file has");
        refused(&whole[..40], "truncated header");
        refused(&whole[..7], "not an npy file");
        refused(&npy(1, "<f4", "(3, 2)", &data), "declares 3 rows");
        refused(&npy(1, "<f4", "(18446744073709551615, 2)", &data), "impossible");
        refused(&npy(1, "<f4", "(2, 18446744073709551615, 9)", &data), "components");
        refused(&npy(1, "<f4", "(2, 0)", &data), "0 components");
        refused(&npy(1, "<f4", "(4,)", &data), "(rows, dimension)");
        refused(&npy(1, "<f4", "(-1, 2)", &data), "shape");
        refused(&npy(1, ">f4", "(2, 2)", &data), "\">f4\"");
        refused(&npy(1, "|O", "(2, 2)", &data), "\"|O\"");
        refused(&npy(9, "<f4", "(2, 2)", &data), "version 9");
        refused(b"\x93NUMPY\x02\x00\xff\xff\xff\xffx", "at most 65536 are allowed");
        let fortran = String::from_utf8_lossy(&npy(1, "<f4", "(2, 2)", b"")).replace("False", "True ");
        assert!(fortran.contains("True"));
        let mut bytes = npy(1, "<f4", "(2, 2)", &data);
        let position = bytes.windows(5).position(|part| part == b"False").unwrap();
        bytes[position..position + 5].copy_from_slice(b"True ");
        refused(&bytes, "Fortran");
    }
}
