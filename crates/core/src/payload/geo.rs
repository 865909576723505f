//! Points within circles, boxes and polygons on the earth.

use crate::api::{GeoBox, GeoPoint, GeoPolygon};
use serde_json::Value;

/// Mean radius of the earth, metres.
pub(super) const EARTH_METERS: f64 = 6_371_008.8;
/// Distance from an edge of a polygon within which a point lies on the edge, in degrees (0.1 mm): more than the
/// rounding errors of coordinates.
pub(super) const EDGE_DEGREES: f64 = 1e-9;

/// Returns the point of an object that has both coordinates, within their ranges.
pub(super) fn point(value: &Value) -> Option<GeoPoint> {
    let degrees = |name: &str, max: f64| value.get(name)?.as_f64().filter(|degrees| degrees.abs() <= max);
    Some(GeoPoint { lat: degrees("lat", 90.0)?, lon: degrees("lon", 180.0)? })
}

/// Returns the great-circle distance between two points, in metres (haversine formula).
pub(super) fn distance_meters(a: GeoPoint, b: GeoPoint) -> f64 {
    let half = |x: f64, y: f64| ((y - x).to_radians() / 2.0).sin().powi(2);
    let chord = half(a.lat, b.lat) + a.lat.to_radians().cos() * b.lat.to_radians().cos() * half(a.lon, b.lon);
    2.0 * EARTH_METERS * chord.clamp(0.0, 1.0).sqrt().asin()
}

impl GeoBox {
    /// Whether a point lies inside or on the boundary.
    pub(super) fn contains(&self, point: GeoPoint) -> bool {
        let Self { north, south, west, east } = *self;
        (south..=north).contains(&point.lat)
            && either_side(point, |point| match west <= east {
                true => (west..=east).contains(&point.lon),
                false => point.lon >= west || point.lon <= east,
            })
    }
}

impl GeoPolygon {
    /// Whether a point lies inside or on the boundary, which includes the boundaries of holes.
    pub(super) fn contains(&self, point: GeoPoint) -> bool {
        either_side(point, |point| match side(&self.exterior, point) {
            Side::Outside => false,
            Side::Boundary => true,
            Side::Inside => self.holes.iter().all(|hole| side(hole, point) != Side::Inside),
        })
    }

    /// Returns the smallest box around the exterior. It does not cross the antimeridian.
    pub(super) fn bounds(&self) -> GeoBox {
        let start =
            GeoBox { north: f64::NEG_INFINITY, south: f64::INFINITY, west: f64::INFINITY, east: f64::NEG_INFINITY };
        self.exterior.iter().fold(start, |bounds, point| GeoBox {
            north: bounds.north.max(point.lat),
            south: bounds.south.min(point.lat),
            west: bounds.west.min(point.lon),
            east: bounds.east.max(point.lon),
        })
    }
}

/// Whether a point passes a test. One on the antimeridian may pass it with either longitude, -180 or 180.
fn either_side(point: GeoPoint, test: impl Fn(GeoPoint) -> bool) -> bool {
    test(point) || point.lon.abs() == 180.0 && test(GeoPoint { lon: -point.lon, ..point })
}

#[derive(PartialEq)]
enum Side {
    Inside,
    Boundary,
    Outside,
}

/// Returns where a point lies, by the number of edges west of it (even-odd rule).
fn side(ring: &[GeoPoint], point: GeoPoint) -> Side {
    let Some(&last) = ring.last() else { return Side::Outside };
    let (mut from, mut inside) = (last, false);
    for &to in ring {
        if on_edge(from, to, point) {
            return Side::Boundary;
        }
        if (from.lat > point.lat) != (to.lat > point.lat) {
            let lon = from.lon + (point.lat - from.lat) / (to.lat - from.lat) * (to.lon - from.lon);
            inside ^= lon < point.lon;
        }
        from = to;
    }
    if inside { Side::Inside } else { Side::Outside }
}

/// Whether a point is within [`EDGE_DEGREES`] of an edge.
fn on_edge(from: GeoPoint, to: GeoPoint, point: GeoPoint) -> bool {
    let (lat, lon) = (to.lat - from.lat, to.lon - from.lon);
    let (point_lat, point_lon) = (point.lat - from.lat, point.lon - from.lon);
    let squared = lat * lat + lon * lon;
    // The nearest point of the edge; the edges of a closed ring include one without length.
    let along = if squared > 0.0 { ((point_lat * lat + point_lon * lon) / squared).clamp(0.0, 1.0) } else { 0.0 };
    let (off_lat, off_lon) = (point_lat - along * lat, point_lon - along * lon);
    off_lat * off_lat + off_lon * off_lon <= EDGE_DEGREES * EDGE_DEGREES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(lat: f64, lon: f64) -> GeoPoint {
        GeoPoint { lat, lon }
    }

    fn polygon(exterior: &[(f64, f64)], holes: &[&[(f64, f64)]]) -> GeoPolygon {
        let ring = |points: &[(f64, f64)]| points.iter().map(|&(lat, lon)| at(lat, lon)).collect::<Vec<_>>();
        GeoPolygon { exterior: ring(exterior), holes: holes.iter().map(|hole| ring(hole)).collect() }
    }

    #[test]
    fn boxes_include_their_sides_and_may_cross_the_antimeridian() {
        let plain = GeoBox { north: 10.0, south: -5.0, west: 20.0, east: 30.0 };
        for (point, expected) in [
            (at(0.0, 25.0), true),
            (at(10.0, 20.0), true),
            (at(-5.0, 30.0), true),
            (at(10.1, 25.0), false),
            (at(0.0, 31.0), false),
            (at(0.0, -25.0), false),
        ] {
            assert_eq!(plain.contains(point), expected, "{point:?}");
        }
        let fiji = GeoBox { north: -10.0, south: -20.0, west: 175.0, east: -178.0 };
        for (lon, expected) in [
            (175.0, true),
            (180.0, true),
            (-180.0, true),
            (-178.0, true),
            (174.9, false),
            (-177.9, false),
            (0.0, false),
        ] {
            assert_eq!(fiji.contains(at(-15.0, lon)), expected, "{lon}");
        }
        let west_of_it = GeoBox { north: 1.0, south: 0.0, west: 170.0, east: 180.0 };
        assert!(west_of_it.contains(at(0.5, -180.0)) && !west_of_it.contains(at(0.5, -179.9)));
    }

    #[test]
    fn polygons_include_their_boundary_and_exclude_their_holes() {
        let shape = polygon(
            &[(0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (5.0, 5.0), (10.0, 0.0)],
            &[&[(1.0, 1.0), (1.0, 3.0), (3.0, 3.0), (3.0, 1.0)]],
        );
        for (lat, lon, expected) in [
            (4.0, 5.0, true),
            (6.0, 5.0, false),
            (8.0, 1.0, true),
            (8.0, 9.0, true),
            // Corners and edges.
            (0.0, 0.0, true),
            (5.0, 5.0, true),
            (7.5, 7.5, true),
            (10.0, 0.0, true),
            (10.0, 5.0, false),
            // The hole, its edge and its corner.
            (2.0, 2.0, false),
            (1.0, 2.0, true),
            (3.0, 3.0, true),
            (-1.0, 5.0, false),
            (5.0, -0.001, false),
        ] {
            assert_eq!(shape.contains(at(lat, lon)), expected, "{lat}, {lon}");
            let mut closed = shape.clone();
            closed.exterior.push(closed.exterior[0]);
            assert_eq!(closed.contains(at(lat, lon)), expected, "closed: {lat}, {lon}");
            closed.exterior.reverse();
            assert_eq!(closed.contains(at(lat, lon)), expected, "reversed: {lat}, {lon}");
        }
        // A point on an oblique edge that no double represents exactly.
        let oblique = polygon(&[(0.1, 0.1), (0.7, 0.4), (0.9, -0.3)], &[]);
        assert!(oblique.contains(at(0.1 + 0.6 / 3.0, 0.1 + 0.3 / 3.0)));
        assert!(!oblique.contains(at(0.1 + 0.6 / 3.0, 0.1 + 0.3 / 3.0 + 1e-8)));
        let east = polygon(&[(0.0, 170.0), (10.0, 170.0), (10.0, 180.0), (0.0, 180.0)], &[]);
        assert!(east.contains(at(5.0, -180.0)) && east.contains(at(5.0, 180.0)) && !east.contains(at(5.0, -179.0)));
    }

    proptest! {
        /// The winding number, from the sum of angles, is another algorithm for a triangle.
        #[test]
        fn a_point_in_a_triangle_sees_its_corners_all_around(
            corners in prop::collection::vec((-50..50_i32, -50..50_i32), 3), point in (-50..50_i32, -50..50_i32),
        ) {
            let corners: Vec<(f64, f64)> = corners.into_iter().map(|(lat, lon)| (f64::from(lat), f64::from(lon))).collect();
            let (lat, lon) = (f64::from(point.0), f64::from(point.1));
            // Exact, because all numbers are small integers: the signs of three areas.
            let area = |a: (f64, f64), b: (f64, f64)| (b.0 - a.0) * (lon - a.1) - (b.1 - a.1) * (lat - a.0);
            let areas = [area(corners[0], corners[1]), area(corners[1], corners[2]), area(corners[2], corners[0])];
            let within = areas.iter().all(|area| *area >= 0.0) || areas.iter().all(|area| *area <= 0.0);
            let total = (corners[1].0 - corners[0].0) * (corners[2].1 - corners[0].1)
                - (corners[1].1 - corners[0].1) * (corners[2].0 - corners[0].0);
            prop_assume!(total != 0.0);
            prop_assert_eq!(polygon(&corners, &[]).contains(at(lat, lon)), within);
        }
    }
}
