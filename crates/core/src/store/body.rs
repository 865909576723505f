//! The body of a stored point: its payload, and the vectors of its fields.
//!
//! ```text
//! payload (a JSON object) [ entries | u32 bytes of the entries | 0 ]
//! entry:  u32 number of the field | u32 bytes of the data | data      ascending by number
//! data:   u8 kind | u8 element | u16 zero | u32 dimension | u32 count | ...
//!   1, dense:   f32 scale | components                                count is 1
//!   2, sparse:  count u32 indices, ascending | count f32 weights      element and dimension are 0
//!   3, multi:   count f32 scales, for i8 | count x dimension components
//! ```
//!
//! Numbers are little-endian and unaligned. A body without vectors is its payload. JSON ends with a brace, so that the
//! last byte tells both forms apart. Components are stored in the fewest bytes that hold them exactly, as in a segment;
//! `element` has the numbers of its header.

use super::segment::ELEMENTS;
use crate::math::Element;
use crate::types::MAX_DIMENSION;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Maximum non-zero weights of a sparse vector.
pub const MAX_NONZEROS: usize = 65_536;
/// Maximum vectors of a multi-vector.
pub const MAX_MULTI_VECTORS: usize = 4_096;
/// Maximum components of a multi-vector, over all of its vectors.
pub const MAX_MULTI_COMPONENTS: usize = 1 << 20;

/// Maximum bytes of the encoded vectors of a point.
pub const MAX_FIELDS_BYTES: usize = 4 << 20;

/// Bytes after the entries: their length, and the zero.
const END: usize = 5;
/// Bytes of an entry before its data.
const ENTRY: usize = 8;
/// Bytes of the data before the numbers.
const HEADER: usize = 12;
const DENSE: u8 = 1;
const SPARSE: u8 = 2;
const MULTI: u8 = 3;

/// A vector in a vector field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldVector {
    /// One vector.
    Dense(Vec<f32>),
    // Before `Sparse`, which `serde` also reads from a list of two lists.
    /// Several vectors of one dimension, such as one per token.
    Multi(Vec<Vec<f32>>),
    /// A vector with few non-zero components, such as weights of terms.
    Sparse(SparseVector),
}

impl FieldVector {
    /// Returns the number of stored numbers.
    pub fn numbers(&self) -> usize {
        match self {
            Self::Dense(vector) => vector.len(),
            Self::Sparse(sparse) => 2 * sparse.indices.len(),
            Self::Multi(vectors) => vectors.iter().map(Vec::len).sum(),
        }
    }
}

/// The non-zero components of a sparse vector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SparseVector {
    /// Indices of the components, ascending and distinct.
    pub indices: Vec<u32>,
    /// The component at each index.
    pub values: Vec<f32>,
}

impl SparseVector {
    /// Returns the dot product with another vector.
    pub fn dot(&self, other: &Self) -> f32 {
        let (mut sum, mut at) = (0.0_f64, 0);
        for (index, value) in self.indices.iter().zip(&self.values) {
            while other.indices.get(at).is_some_and(|other| other < index) {
                at += 1;
            }
            if other.indices.get(at) == Some(index) {
                sum += f64::from(*value) * f64::from(other.values[at]);
            }
        }
        sum as f32
    }
}

/// Returns the entries of a body with their end; empty if it has none.
pub fn fields(body: &[u8]) -> &[u8] {
    let Some((length, [0])) = body.last_chunk::<END>().and_then(|end| end.split_last_chunk::<1>()) else { return &[] };
    let length = u32::from_le_bytes(length.try_into().unwrap_or_default()) as usize;
    let from = body.len().checked_sub(length.saturating_add(END));
    from.map_or(&[], |from| &body[from..])
}

/// Returns the payload of a body.
pub fn payload(body: &[u8]) -> &[u8] {
    &body[..body.len() - fields(body).len()]
}

/// Returns the body of a payload and the [`fields`] of another body.
pub fn join(payload: &[u8], fields: &[u8]) -> Box<[u8]> {
    [payload, fields].concat().into()
}

/// Returns the body of a payload and vectors, by ascending number of their field.
pub fn encode<'v>(payload: &[u8], vectors: impl IntoIterator<Item = (u32, &'v FieldVector)>) -> Box<[u8]> {
    let encoded: Vec<(u32, Vec<u8>)> = vectors
        .into_iter()
        .map(|(number, vector)| {
            let mut data = Vec::new();
            encode_vector(vector, &mut data);
            (number, data)
        })
        .collect();
    let mut body = payload.to_vec();
    put_entries(&mut body, encoded.iter().map(|(number, data)| (*number, data.as_slice())));
    body.into()
}

/// Returns the body of a payload with the vectors of `above`, and those of `below` in other fields.
pub fn overlay(payload: &[u8], below: &[u8], above: &[u8]) -> Box<[u8]> {
    let mut all: BTreeMap<u32, &[u8]> = entries(below).collect();
    all.extend(entries(above));
    let mut body = payload.to_vec();
    put_entries(&mut body, all);
    body.into()
}

/// Returns the body with only the entries of fields that `keep` accepts.
pub fn retain<'b>(body: &'b [u8], keep: impl Fn(u32) -> bool) -> Cow<'b, [u8]> {
    if entries(body).all(|(number, _)| keep(number)) {
        return Cow::Borrowed(body);
    }
    let mut kept = payload(body).to_vec();
    put_entries(&mut kept, entries(body).filter(|(number, _)| keep(*number)));
    Cow::Owned(kept)
}

/// Appends entries to a payload, and their end.
fn put_entries<'e>(body: &mut Vec<u8>, entries: impl IntoIterator<Item = (u32, &'e [u8])>) {
    let before = body.len();
    for (number, data) in entries {
        body.extend_from_slice(&number.to_le_bytes());
        body.extend_from_slice(&(data.len() as u32).to_le_bytes());
        body.extend_from_slice(data);
    }
    if body.len() > before {
        let length = (body.len() - before) as u32;
        body.extend_from_slice(&length.to_le_bytes());
        body.push(0);
    }
}

/// Iterates over the entries of a body: number of the field, and data. Ends at a damaged entry.
fn entries(body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let fields = fields(body);
    let mut rest = &fields[..fields.len().saturating_sub(END)];
    std::iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(ENTRY)?;
        let number = u32::from_le_bytes(head[..4].try_into().ok()?);
        let length = u32::from_le_bytes(head[4..].try_into().ok()?) as usize;
        let (data, after) = after.split_at_checked(length)?;
        rest = after;
        Some((number, data))
    })
}

/// Returns the encoded vector of a field; none if the point has none.
pub fn vector_of(body: &[u8], number: u32) -> Option<EncodedVector<'_>> {
    entries(body).find(|(other, _)| *other == number).map(|(_, data)| EncodedVector(data))
}

/// Returns the vectors of a body with the numbers of their fields.
///
/// # Errors
/// A message that describes the damage.
pub fn vectors(body: &[u8]) -> Result<Vec<(u32, FieldVector)>, String> {
    let end = fields(body);
    let read: usize = entries(body).map(|(_, data)| ENTRY + data.len()).sum();
    if read + END != end.len() && !end.is_empty() {
        return Err("the vectors of the fields are cut off".into());
    }
    entries(body).map(|(number, data)| Ok((number, EncodedVector(data).decode()?))).collect()
}

/// A vector as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct EncodedVector<'a>(&'a [u8]);

/// Parts of an encoded vector.
struct Parts<'a> {
    kind: u8,
    element: u8,
    dimension: usize,
    count: usize,
    rest: &'a [u8],
}

impl<'a> EncodedVector<'a> {
    fn parts(&self) -> Option<Parts<'a>> {
        let (head, rest) = self.0.split_at_checked(HEADER)?;
        let number = |at: usize| Some(u32::from_le_bytes(head[at..at + 4].try_into().ok()?) as usize);
        Some(Parts { kind: head[0], element: head[1], dimension: number(4)?, count: number(8)?, rest })
    }

    /// Appends the components of a dense vector to `out`.
    ///
    /// # Errors
    /// A message if it is not a dense vector of this dimension.
    pub fn append_dense(&self, dimension: u32, out: &mut Vec<f32>) -> Result<(), String> {
        let dense = self.parts().filter(|parts| parts.kind == DENSE && parts.dimension == dimension as usize);
        let decoded = dense.and_then(|parts| {
            let (scale, bytes) = parts.rest.split_first_chunk::<4>()?;
            append_components(parts.element, bytes, f32::from_le_bytes(*scale), parts.dimension, out)
        });
        decoded.ok_or_else(|| format!("a field has no dense vector of {dimension} components"))
    }

    /// Appends the components of a multi-vector to `out`, vector after vector.
    ///
    /// # Errors
    /// A message if it is not a multi-vector of this dimension.
    pub fn append_multi(&self, dimension: u32, out: &mut Vec<f32>) -> Result<(), String> {
        let multi = self.parts().filter(|parts| parts.kind == MULTI && parts.dimension == dimension as usize);
        let read = multi.and_then(|parts| append_multi(&parts, out));
        read.ok_or_else(|| format!("a field has no multi-vector of {dimension} components"))
    }

    /// Calls `each` with the index and the value of every component of a sparse vector.
    ///
    /// # Errors
    /// A message if it is not a sparse vector.
    pub fn for_each_component(&self, mut each: impl FnMut(u32, f32)) -> Result<(), String> {
        let sparse = self.parts().filter(|parts| parts.kind == SPARSE && parts.rest.len() / 8 == parts.count);
        let parts = sparse.ok_or("a field has no sparse vector")?;
        let (indices, values) = parts.rest.split_at(4 * parts.count);
        for (index, value) in indices.as_chunks::<4>().0.iter().zip(values.as_chunks::<4>().0) {
            each(u32::from_le_bytes(*index), f32::from_le_bytes(*value));
        }
        Ok(())
    }

    /// Decodes the vector.
    ///
    /// # Errors
    /// A message that describes the damage.
    pub fn decode(&self) -> Result<FieldVector, String> {
        let damaged = || "the vector of a field is damaged".to_owned();
        let parts = self.parts().ok_or_else(damaged)?;
        match parts.kind {
            DENSE => {
                let mut vector = Vec::new();
                self.append_dense(parts.dimension as u32, &mut vector)?;
                Ok(FieldVector::Dense(vector))
            }
            SPARSE => {
                let mut sparse = SparseVector::default();
                self.for_each_component(|index, value| {
                    sparse.indices.push(index);
                    sparse.values.push(value);
                })?;
                Ok(FieldVector::Sparse(sparse))
            }
            MULTI => {
                let mut components = Vec::new();
                self.append_multi(parts.dimension as u32, &mut components)?;
                let vectors = components.chunks_exact(parts.dimension).map(<[f32]>::to_vec).collect();
                Ok(FieldVector::Multi(vectors))
            }
            _ => Err(damaged()),
        }
    }
}

fn append_multi(parts: &Parts<'_>, out: &mut Vec<f32>) -> Option<()> {
    if !(1..=MAX_MULTI_VECTORS).contains(&parts.count) || parts.dimension == 0 {
        return None;
    }
    let signed = element_of(parts.element)? == Element::I8;
    let (scales, bytes) = parts.rest.split_at_checked(if signed { 4 * parts.count } else { 0 })?;
    let each = parts.dimension.checked_mul(element_of(parts.element)?.bytes())?;
    if bytes.len() != each.checked_mul(parts.count)? {
        return None;
    }
    for (index, bytes) in bytes.chunks_exact(each).enumerate() {
        let scale = scales.as_chunks::<4>().0.get(index).map_or(1.0, |scale| f32::from_le_bytes(*scale));
        append_components(parts.element, bytes, scale, parts.dimension, out)?;
    }
    Some(())
}

fn element_of(number: u8) -> Option<Element> {
    ELEMENTS.get(usize::from(number)).copied()
}

fn append_components(element: u8, bytes: &[u8], scale: f32, dimension: usize, out: &mut Vec<f32>) -> Option<()> {
    let element = element_of(element)?;
    if dimension > MAX_DIMENSION as usize || bytes.len() != dimension * element.bytes() {
        return None;
    }
    let from = out.len();
    out.resize(from + dimension, 0.0);
    element.decode(bytes, scale, &mut out[from..]);
    Some(())
}

fn encode_vector(vector: &FieldVector, out: &mut Vec<u8>) {
    let mut header = |kind: u8, element: u8, dimension: usize, count: usize| {
        out.extend_from_slice(&[kind, element, 0, 0]);
        out.extend_from_slice(&(dimension as u32).to_le_bytes());
        out.extend_from_slice(&(count as u32).to_le_bytes());
    };
    match vector {
        FieldVector::Dense(vector) => {
            let (element, scales, bytes) = narrowest(std::slice::from_ref(vector));
            header(DENSE, element, vector.len(), 1);
            out.extend_from_slice(&scales.first().copied().unwrap_or(1.0).to_le_bytes());
            out.extend_from_slice(&bytes);
        }
        FieldVector::Sparse(SparseVector { indices, values }) => {
            header(SPARSE, 0, 0, indices.len());
            indices.iter().for_each(|index| out.extend_from_slice(&index.to_le_bytes()));
            values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        }
        FieldVector::Multi(vectors) => {
            let (element, scales, bytes) = narrowest(vectors);
            header(MULTI, element, vectors.first().map_or(0, Vec::len), vectors.len());
            if element_of(element) == Some(Element::I8) {
                scales.iter().for_each(|scale| out.extend_from_slice(&scale.to_le_bytes()));
            }
            out.extend_from_slice(&bytes);
        }
    }
}

/// Encodes vectors in the narrowest element type that holds all of them: its number, the scales, and the components.
fn narrowest(vectors: &[Vec<f32>]) -> (u8, Vec<f32>, Vec<u8>) {
    let mut bytes = Vec::new();
    for element in Element::ALL {
        bytes.clear();
        let scales: Option<Vec<f32>> = vectors.iter().map(|vector| element.encode(vector, &mut bytes)).collect();
        if let Some(scales) = scales {
            let number = ELEMENTS.iter().position(|other| *other == element).expect("every element has a number");
            return (number as u8, scales, bytes);
        }
    }
    unreachable!("f32 holds every vector")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vector() -> impl Strategy<Value = FieldVector> {
        let floats = |n| prop::collection::vec(prop_oneof![-4.0..4.0_f32, Just(3.0), Just(0.5)], n);
        prop_oneof![
            floats(1..20).prop_map(FieldVector::Dense),
            prop::collection::btree_map(any::<u32>(), -9.0..9.0_f32, 0..20).prop_map(|map| {
                let (indices, values) = map.into_iter().unzip();
                FieldVector::Sparse(SparseVector { indices, values })
            }),
            (1..6_usize, 1..5_usize)
                .prop_flat_map(move |(dimension, count)| prop::collection::vec(
                    floats(dimension..dimension + 1),
                    count..count + 1
                ))
                .prop_map(FieldVector::Multi),
        ]
    }

    proptest! {
        #[test]
        fn a_body_reads_back(vectors_in in prop::collection::btree_map(0..9_u32, vector(), 0..4)) {
            let json = br#"{"a":1}"#;
            let body = encode(json, vectors_in.iter().map(|(number, vector)| (*number, vector)));
            prop_assert_eq!(payload(&body), json);
            let read: Vec<(u32, FieldVector)> = vectors(&body).unwrap();
            prop_assert_eq!(read, vectors_in.clone().into_iter().collect::<Vec<_>>());
            let other = join(b"{}", fields(&body));
            prop_assert_eq!(payload(&other), b"{}");
            prop_assert_eq!(fields(&other), fields(&body));
            let even = retain(&body, |number| number % 2 == 0);
            let left: Vec<u32> = vectors(&even).unwrap().into_iter().map(|(number, _)| number).collect();
            prop_assert_eq!(left, vectors_in.keys().copied().filter(|number| number % 2 == 0).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(mut body in prop::collection::vec(any::<u8>(), 0..80), length in 0..90_u32) {
            body.extend_from_slice(&length.to_le_bytes());
            body.push(0);
            prop_assert_eq!(payload(&body).len() + fields(&body).len(), body.len());
            let _ = vectors(&body);
            let _ = retain(&body, |number| number > 3);
            if let Some(vector) = entries(&body).next().map(|(_, data)| EncodedVector(data)) {
                let _ = vector.decode();
            }
        }
    }

    #[test]
    fn the_bytes_of_a_body_are_those_of_the_format() {
        let dense = FieldVector::Dense(vec![1.0, 255.0]);
        let sparse = FieldVector::Sparse(SparseVector { indices: vec![7, 9], values: vec![0.5, -1.0] });
        let multi = FieldVector::Multi(vec![vec![-64.0, 0.5], vec![3.0, 0.25]]);
        let halves = FieldVector::Dense(vec![0.1_f32, 2.0]);
        let body = encode(b"{}", [(1, &dense), (4, &sparse), (5, &multi), (6, &halves)]);
        let mut expected = b"{}".to_vec();
        let mut put = |bytes: &[u8]| expected.extend_from_slice(bytes);
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        put(&words(&[1, 18, 0x02_01, 2, 1]));
        put(&1.0_f32.to_le_bytes());
        put(&[1, 255]);
        put(&words(&[4, 28, 2, 0, 2, 7, 9, 0.5_f32.to_bits(), (-1.0_f32).to_bits()]));
        put(&words(&[5, 20, 0x01_03, 2, 2]));
        [-64.0, 0.5, 3.0, 0.25].iter().for_each(|x| put(&half::f16::from_f32(*x).to_le_bytes()));
        put(&words(&[6, 24, 0x00_01, 2, 1, 1.0_f32.to_bits(), 0.1_f32.to_bits(), 2.0_f32.to_bits()]));
        let length = expected.len() as u32 - 2;
        expected.extend_from_slice(&length.to_le_bytes());
        expected.push(0);
        assert_eq!(*body, *expected);
        // An empty list of vectors, and one of no components, are damaged.
        for forged in [[3, 2, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], [3, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]] {
            assert!(EncodedVector(&forged).decode().is_err());
        }
    }

    #[test]
    fn the_dot_product_of_sparse_vectors_covers_common_indices() {
        let a = SparseVector { indices: vec![1, 4, 9], values: vec![2.0, 3.0, 5.0] };
        let b = SparseVector { indices: vec![0, 4, 9, 10], values: vec![7.0, 0.5, 2.0, 1.0] };
        assert_eq!((a.dot(&b), b.dot(&a)), (11.5, 11.5));
        assert_eq!(a.dot(&SparseVector::default()), 0.0);
    }
}
