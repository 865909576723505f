//! The result of a measurement.

use super::curve::Point;

/// Measurements in addition to the curve.
pub(super) struct Measured {
    pub(super) curve: Vec<Point>,
    /// Time to build, write and map; none for a server's collection.
    pub(super) build_seconds: Option<f64>,
    pub(super) index_bytes: u64,
    pub(super) resident_bytes: u64,
    /// Meaning of `resident_bytes`.
    pub(super) resident_is: &'static str,
}
