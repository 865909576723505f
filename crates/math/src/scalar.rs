//! Portable kernels, with independent partial sums, so that the compiler can vectorise without changing the result.
//!
//! They also run in production, on every processor without a specialised kernel.

use half::f16;

const LANES: usize = 16;

/// Storage type of a vector component.
pub(super) trait Component: Copy {
    /// Converts the component to a float.
    fn float(self) -> f32;
}

impl Component for f32 {
    #[inline(always)]
    fn float(self) -> f32 {
        self
    }
}

impl Component for f16 {
    #[inline(always)]
    fn float(self) -> f32 {
        self.to_f32()
    }
}

impl Component for u8 {
    #[inline(always)]
    fn float(self) -> f32 {
        f32::from(self)
    }
}

impl Component for i8 {
    #[inline(always)]
    fn float(self) -> f32 {
        f32::from(self)
    }
}

/// Returns the sum of `scale a[i] * b[i]`.
pub(super) fn dot<T: Component>(a: &[T], scale: f32, b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut sums = [0.0_f32; LANES];
    let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (x, y) in left.by_ref().zip(right.by_ref()) {
        for lane in 0..LANES {
            sums[lane] += x[lane].float() * scale * y[lane];
        }
    }
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| x.float() * scale * y).sum();
    fold(sums) + rest
}

/// Returns the sum of `(scale a[i] - b[i])^2`.
pub(super) fn l2_squared<T: Component>(a: &[T], scale: f32, b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut sums = [0.0_f32; LANES];
    let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (x, y) in left.by_ref().zip(right.by_ref()) {
        for lane in 0..LANES {
            let difference = x[lane].float() * scale - y[lane];
            sums[lane] += difference * difference;
        }
    }
    let difference = |(x, y): (&T, &f32)| x.float() * scale - y;
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(difference).map(|d| d * d).sum();
    fold(sums) + rest
}

/// Returns `1 - cos` of `scale a` and `b`, 0 to 2: exactly 0 for equal vectors and 2 for opposite vectors, 1 if a
/// vector is zero, NaN if a component is not finite.
///
/// The three sums are `f64` and use the same order of additions, so they are identical for equal vectors, and the
/// square root of the rounded square of a sum is that sum again. No sum of finite floats overflows, nor does a product
/// of two of the sums.
pub(super) fn cosine_distance<T: Component>(a: &[T], scale: f32, b: &[f32]) -> f64 {
    const WIDE: usize = 8;
    let n = a.len().min(b.len());
    let mut sums = [[0.0_f64; WIDE]; 3];
    for (a, b) in a[..n].chunks(WIDE).zip(b[..n].chunks(WIDE)) {
        for (lane, (x, y)) in a.iter().zip(b).enumerate() {
            let (x, y) = (f64::from(x.float() * scale), f64::from(*y));
            sums[0][lane] += x * y;
            sums[1][lane] += x * x;
            sums[2][lane] += y * y;
        }
    }
    let [dot, a, b] = sums.map(|sums| sums.iter().sum::<f64>());
    let norms = (a * b).sqrt();
    if norms == 0.0 { 1.0 } else { (1.0 - dot / norms).clamp(0.0, 2.0) }
}

/// Returns the exact sum of `a[i] * b[i]` for up to 65,792 components (see [`super::dot_u8_i8`]).
pub(super) fn dot_u8_i8(a: &[u8], b: &[i8]) -> i32 {
    a.iter().zip(b).fold(0_i32, |sum, (&x, &y)| sum.wrapping_add(i32::from(x) * i32::from(y)))
}

/// Returns the pairwise sum of the lanes.
fn fold(sums: [f32; LANES]) -> f32 {
    let mut sums = sums;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}
