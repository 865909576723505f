//! Lossless compact storage of vectors, and their distances to a float query.
//!
//! A kernel converts every component to a float, then computes in the same order as the float kernel. Results are
//! bit-identical for all storage types.

use std::borrow::Cow;

use half::f16;

use super::{Kernels, prefetch_slice, scalar};
use crate::types::Precision;

/// Storage type of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// Unsigned integer, 0 to 255.
    U8,
    /// Signed integer, -128 to 127, times a power of two shared by the components of a vector.
    I8,
    /// Half-precision float.
    F16,
    /// 32-bit float.
    F32,
}

impl Element {
    /// All storage types, narrowest first.
    pub const ALL: [Self; 4] = [Self::U8, Self::I8, Self::F16, Self::F32];

    /// Returns the size of a component in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// Appends the encoded vector to `out`. Returns the shared scale (1 except for `I8`). Returns None and appends
    /// nothing if the encoding would change any bit.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn encode(self, vector: &[f32], out: &mut Vec<u8>) -> Option<f32> {
        let before = out.len();
        let mut scale = 1.0;
        let exact = match self {
            Self::F32 => {
                out.extend_from_slice(bytemuck::cast_slice(vector));
                true
            }
            Self::F16 => vector.iter().all(|&x| {
                let half = f16::from_f32(x);
                out.extend_from_slice(&half.to_le_bytes());
                half.to_f32().to_bits() == x.to_bits()
            }),
            Self::U8 => vector.iter().all(|&x| {
                out.push(x as u8);
                f32::from(x as u8).to_bits() == x.to_bits()
            }),
            Self::I8 => {
                scale = shared_scale(vector);
                vector.iter().all(|&x| {
                    let step = (x / scale) as i8;
                    out.push(step.to_le_bytes()[0]);
                    (f32::from(step) * scale).to_bits() == x.to_bits()
                })
            }
        };
        if !exact {
            out.truncate(before);
        }
        exact.then_some(scale)
    }

    /// Decodes a vector of [`encode`](Self::encode), with the scale that it returned, into `out`. `bytes` needs no
    /// alignment.
    pub fn decode(self, bytes: &[u8], scale: f32, out: &mut [f32]) {
        match self {
            Self::U8 => Vector::U8(bytes).copy_to(out),
            Self::I8 => Vector::I8(bytemuck::cast_slice(bytes), scale).copy_to(out),
            Self::F16 => {
                out.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, x)| *to = f16::from_le_bytes(*x).to_f32())
            }
            Self::F32 => out.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, x)| *to = f32::from_le_bytes(*x)),
        }
    }
}

/// Returns the power of two that maps the largest component to 64 to 127 steps; 1 for zero or non-finite vectors.
fn shared_scale(vector: &[f32]) -> f32 {
    let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    if largest < f32::MIN_POSITIVE || !largest.is_finite() {
        return 1.0;
    }
    let floor = f32::from_bits(largest.to_bits() & 0x7f80_0000);
    // largest / floor is 1 to 2, which gives 64 to 128 steps; 127.5 and more would round to 128.
    let scale = floor / 64.0;
    let scale = if largest / scale >= 127.5 { scale * 2.0 } else { scale };
    if scale >= f32::MIN_POSITIVE { scale } else { 1.0 }
}

/// Rounds a vector to a precision. For `I8` the step size is a power of two. Idempotent. For `F16` numbers out of range
/// become infinite.
pub fn round_to(precision: Precision, vector: &mut [f32]) {
    match precision {
        Precision::F32 => {}
        Precision::F16 => vector.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
        Precision::I8 => {
            let scale = shared_scale(vector);
            // Adding 0.0 turns -0.0 into 0.0.
            vector.iter_mut().for_each(|x| *x = (*x / scale).round().clamp(-127.0, 127.0) * scale + 0.0);
        }
    }
}

/// Components of many vectors, contiguous.
#[derive(Clone, Copy, Debug)]
pub enum Components<'a> {
    /// See [`Element::U8`].
    U8(&'a [u8]),
    /// See [`Element::I8`]; one scale per vector.
    I8(&'a [i8], &'a [f32]),
    /// See [`Element::F16`].
    F16(&'a [f16]),
    /// See [`Element::F32`].
    F32(&'a [f32]),
}

/// Evaluates an expression on the components of any storage type.
macro_rules! for_any_type {
    ($self:expr, $all:ident => $then:expr) => {
        match $self {
            Self::U8($all) => $then,
            Self::I8($all, _) => $then,
            Self::F16($all) => $then,
            Self::F32($all) => $then,
        }
    };
}

impl<'a> Components<'a> {
    /// Returns the number of components of all vectors.
    pub fn len(&self) -> usize {
        for_any_type!(self, all => all.len())
    }

    /// Returns true if there are no components.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the storage type.
    pub fn element(&self) -> Element {
        match self {
            Self::U8(_) => Element::U8,
            Self::I8(..) => Element::I8,
            Self::F16(_) => Element::F16,
            Self::F32(_) => Element::F32,
        }
    }

    /// Returns the vectors `from..until` of `dimension` components; fewer if the range exceeds the end.
    pub fn vectors(&self, dimension: usize, from: usize, until: usize) -> Self {
        let there = self.len().checked_div(dimension).unwrap_or(0);
        let (from, until) = (from.min(there), until.min(there).max(from.min(there)));
        let range = from * dimension..until * dimension;
        match self {
            Self::U8(all) => Self::U8(&all[range]),
            Self::I8(all, scales) => Self::I8(&all[range], scales.get(from..until).unwrap_or(&[])),
            Self::F16(all) => Self::F16(&all[range]),
            Self::F32(all) => Self::F32(&all[range]),
        }
    }

    /// Returns one vector; an empty vector if `at` is out of range.
    #[inline(always)]
    pub fn vector(&self, dimension: usize, at: usize) -> Vector<'a> {
        let range = at * dimension..(at + 1) * dimension;
        match self {
            Self::U8(all) => Vector::U8(all.get(range).unwrap_or(&[])),
            Self::I8(all, scales) => Vector::I8(all.get(range).unwrap_or(&[]), scales.get(at).copied().unwrap_or(1.0)),
            Self::F16(all) => Vector::F16(all.get(range).unwrap_or(&[])),
            Self::F32(all) => Vector::F32(all.get(range).unwrap_or(&[])),
        }
    }
}

/// Components of one vector.
#[derive(Clone, Copy, Debug)]
pub enum Vector<'a> {
    /// See [`Element::U8`].
    U8(&'a [u8]),
    /// See [`Element::I8`]; with its scale.
    I8(&'a [i8], f32),
    /// See [`Element::F16`].
    F16(&'a [f16]),
    /// See [`Element::F32`].
    F32(&'a [f32]),
}

impl<'a> Vector<'a> {
    /// Returns the number of components.
    pub fn len(&self) -> usize {
        for_any_type!(self, all => all.len())
    }

    /// Returns true if there are no components.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the dot product with a query.
    #[inline]
    pub fn dot(&self, query: &[f32], kernels: &Kernels) -> f32 {
        match *self {
            Self::U8(all) => (kernels.dot_u8)(all, 1.0, query),
            Self::I8(all, scale) => (kernels.dot_i8)(all, scale, query),
            Self::F16(all) => (kernels.dot_f16)(all, 1.0, query),
            Self::F32(all) => (kernels.dot)(all, query),
        }
    }

    /// Returns the squared Euclidean distance to a query.
    #[inline]
    pub fn l2_squared(&self, query: &[f32], kernels: &Kernels) -> f32 {
        match *self {
            Self::U8(all) => (kernels.l2_u8)(all, 1.0, query),
            Self::I8(all, scale) => (kernels.l2_i8)(all, scale, query),
            Self::F16(all) => (kernels.l2_f16)(all, 1.0, query),
            Self::F32(all) => (kernels.l2_squared)(all, query),
        }
    }

    /// Returns the cosine distance to a query, from sums in `f64`: 0 to 2, exactly 0 for equal and 2 for opposite
    /// components, 1 if one of the vectors is zero, NaN if a component is not finite. Several times slower than
    /// [`dot`](Self::dot).
    pub fn cosine_distance(&self, query: &[f32]) -> f64 {
        match *self {
            Self::U8(all) => scalar::cosine_distance(all, 1.0, query),
            Self::I8(all, scale) => scalar::cosine_distance(all, scale, query),
            Self::F16(all) => scalar::cosine_distance(all, 1.0, query),
            Self::F32(all) => scalar::cosine_distance(all, 1.0, query),
        }
    }

    /// Prefetches at most `lines` cache lines of the components.
    #[inline(always)]
    pub fn prefetch(&self, lines: usize) {
        for_any_type!(self, all => prefetch_slice(all, lines));
    }

    /// Converts components to floats in `out`, up to the shorter length.
    pub fn copy_to(&self, out: &mut [f32]) {
        match self {
            Self::U8(all) => out.iter_mut().zip(*all).for_each(|(to, &x)| *to = f32::from(x)),
            Self::I8(all, scale) => out.iter_mut().zip(*all).for_each(|(to, &x)| *to = f32::from(x) * scale),
            Self::F16(all) => out.iter_mut().zip(*all).for_each(|(to, x)| *to = x.to_f32()),
            Self::F32(all) => out.iter_mut().zip(*all).for_each(|(to, &x)| *to = x),
        }
    }

    /// Returns the components as floats.
    pub fn to_floats(&self) -> Cow<'a, [f32]> {
        if let Self::F32(all) = *self {
            return Cow::Borrowed(all);
        }
        let mut out = vec![0.0; self.len()];
        self.copy_to(&mut out);
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variants;
    use rand::{RngExt, SeedableRng};

    /// Creates vectors that the storage type holds exactly.
    fn samples(element: Element, dimension: usize) -> Vec<f32> {
        let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(dimension as u64);
        let scale = 2.0_f32.powi(rng.random_range(-20..20));
        (0..dimension)
            .map(|_| match element {
                Element::U8 => f32::from(rng.random::<u8>()),
                Element::I8 => f32::from(rng.random::<i8>().max(-127)) * scale,
                Element::F16 => f16::from_f32(rng.random_range(-9.0..9.0)).to_f32(),
                Element::F32 => rng.random_range(-9.0..9.0),
            })
            .collect()
    }

    /// Calls `then` with the bytes as components, aligned.
    fn with<R>(element: Element, bytes: &[u8], scale: f32, then: impl Fn(Vector<'_>) -> R) -> R {
        match element {
            Element::U8 => then(Vector::U8(bytes)),
            Element::I8 => then(Vector::I8(bytemuck::cast_slice(bytes), scale)),
            Element::F16 => {
                let halves: Vec<f16> = bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b)).collect();
                then(Vector::F16(&halves))
            }
            Element::F32 => {
                let floats: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                then(Vector::F32(&floats))
            }
        }
    }

    #[test]
    fn distances_are_bit_identical_for_every_storage_type() {
        for element in Element::ALL {
            for dimension in (0..=200).chain([784, 1023]) {
                let vector = samples(element, dimension);
                let query: Vec<f32> = samples(Element::F32, dimension + 1)[1..].to_vec();
                let mut bytes = Vec::new();
                let scale = element.encode(&vector, &mut bytes).expect("an exact vector");
                assert_eq!(bytes.len(), dimension * element.bytes());
                let mut decoded = vec![9.0; dimension];
                element.decode(&bytes, scale, &mut decoded);
                assert_eq!(decoded, vector);
                with(element, &bytes, scale, |narrow| {
                    assert_eq!(narrow.to_floats(), vector);
                    for kernels in variants() {
                        let (dot, l2) = (narrow.dot(&query, &kernels), narrow.l2_squared(&query, &kernels));
                        let (name, n) = (kernels.name, dimension);
                        assert_eq!(dot.to_bits(), (kernels.dot)(&vector, &query).to_bits(), "{element:?} {name} {n}");
                        assert_eq!(
                            l2.to_bits(),
                            (kernels.l2_squared)(&vector, &query).to_bits(),
                            "{element:?} {name} {n}"
                        );
                    }
                });
            }
        }
    }

    #[test]
    fn a_lossy_encoding_is_refused() {
        let mut out = vec![9];
        for (element, bad) in [
            (Element::U8, vec![1.0, 256.0]),
            (Element::U8, vec![0.5]),
            (Element::U8, vec![-0.0]),
            (Element::U8, vec![f32::NAN]),
            (Element::I8, vec![127.0, 0.5]),
            (Element::I8, vec![1e-40]),
            (Element::I8, vec![1.0, -0.0]),
            (Element::I8, vec![f32::INFINITY]),
            (Element::F16, vec![0.1]),
            (Element::F16, vec![1e6]),
        ] {
            assert_eq!(element.encode(&bad, &mut out), None, "{element:?} {bad:?}");
            assert_eq!(out, [9]);
        }
        assert!(Element::F16.encode(&[-0.0, f32::INFINITY, 0.5], &mut out).is_some());
        assert!(Element::I8.encode(&[0.0; 5], &mut out).is_some());
        assert!(Element::I8.encode(&[127.0 * 0.125, -0.125], &mut out).is_some());
    }

    #[test]
    fn rounding_is_to_nearest_idempotent_and_exact_in_its_type() {
        for n in 1..300 {
            let scale = 2.0_f32.powi(n % 60 - 30);
            let scaled: Vec<f32> = samples(Element::F32, n as usize).iter().map(|x| x * scale).collect();
            let largest = scaled.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            for (precision, element, error) in [
                (Precision::F32, Element::F32, 0.0),
                (Precision::F16, Element::F16, 2.0_f32.powi(-11)),
                (Precision::I8, Element::I8, 1.0 / 126.0),
            ] {
                if precision == Precision::F16 && !(1e-2..5e3).contains(&scale) {
                    continue;
                }
                let mut rounded = scaled.clone();
                round_to(precision, &mut rounded);
                let apart = scaled.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart <= error * largest, "{precision} {n}: {apart} of {largest}");
                let mut again = rounded.clone();
                round_to(precision, &mut again);
                assert_eq!(again, rounded);
                assert!(element.encode(&rounded, &mut Vec::new()).is_some(), "{precision} {n}: {rounded:?}");
            }
        }
        let mut zeros = [0.0, -0.0];
        round_to(Precision::I8, &mut zeros);
        assert_eq!(zeros.map(f32::to_bits), [0, 0]);
    }

    #[test]
    fn ranges_and_missing_vectors() {
        let numbers: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let all = Components::F32(&numbers);
        assert_eq!(all.vectors(3, 1, 3).len(), 6);
        assert_eq!(all.vectors(3, 3, 9).vector(3, 0).to_floats()[..], [9.0, 10.0, 11.0]);
        assert!(all.vectors(3, 7, 9).is_empty() && all.vectors(0, 0, 2).is_empty());
        assert!(all.vector(3, 4).is_empty());
        let short = Components::I8(&[1, 2, 3, 4], &[0.5]);
        assert_eq!(short.vector(2, 1).to_floats()[..], [3.0, 4.0], "a missing scale is 1");
    }
}
