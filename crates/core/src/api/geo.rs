//! Points and areas on the earth, and their limits.

use super::Error;

/// Maximum points of one ring of a polygon, without a repetition of the first.
pub const MAX_RING_POINTS: usize = 1_000;
/// Maximum points of all polygons of a filter together.
pub const MAX_POLYGON_POINTS: usize = 10_000;
/// Minimum points of a ring.
const MIN_RING_POINTS: usize = 3;

/// A point on the earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoPoint {
    /// Latitude, -90 to 90.
    pub lat: f64,
    /// Longitude, -180 to 180.
    pub lon: f64,
}

/// An area between two parallels and two meridians, with its boundary, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoBox {
    /// Highest latitude, `south` to 90.
    pub north: f64,
    /// Lowest latitude, -90 to `north`.
    pub south: f64,
    /// Western longitude, -180 to 180. A box with `west` above `east` crosses the antimeridian.
    pub west: f64,
    /// Eastern longitude, -180 to 180.
    pub east: f64,
}

/// An area within a ring and outside of others, with its boundary. Its edges are straight lines of latitude and
/// longitude, as in GeoJSON (RFC 7946, section 3.1.1), and span at most 180 degrees of longitude. Where rings
/// intersect themselves, the even-odd rule decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GeoPolygon {
    /// The outer ring: 3 to [`MAX_RING_POINTS`] points in order. The last is connected with the first, and may equal it.
    pub exterior: Vec<GeoPoint>,
    /// Rings whose interior does not belong to the area.
    pub holes: Vec<Vec<GeoPoint>>,
}

impl GeoPoint {
    /// Checks both numbers. `at` is the position of the point in the request.
    pub(super) fn check(self, at: &str) -> Result<(), Error> {
        degrees(at, "lat", self.lat, 90.0)?;
        degrees(at, "lon", self.lon, 180.0)
    }
}

impl GeoBox {
    /// Checks all sides. `at` is the position of the box in the request.
    pub(super) fn check(&self, at: &str) -> Result<(), Error> {
        let Self { north, south, west, east } = *self;
        degrees(at, "north", north, 90.0)?;
        degrees(at, "south", south, 90.0)?;
        degrees(at, "west", west, 180.0)?;
        degrees(at, "east", east, 180.0)?;
        if south > north {
            let why = format!("is {south}, above north, which is {north}; exchange them");
            return Err(Error::invalid(format!("{at}.south"), why));
        }
        Ok(())
    }
}

impl GeoPolygon {
    /// Checks all rings, and subtracts their points from `left`. `at` is the position of the polygon in the request.
    pub(super) fn check(&self, at: &str, left: &mut usize) -> Result<(), Error> {
        check_ring(&format!("{at}.exterior"), &self.exterior, left)?;
        for (index, hole) in self.holes.iter().enumerate() {
            check_ring(&format!("{at}.holes[{index}]"), hole, left)?;
        }
        Ok(())
    }
}

fn check_ring(at: &str, ring: &[GeoPoint], left: &mut usize) -> Result<(), Error> {
    let repeats_first = ring.len() > 1 && ring.first() == ring.last();
    let points = ring.len() - usize::from(repeats_first);
    if !(MIN_RING_POINTS..=MAX_RING_POINTS).contains(&points) {
        let why = format!("takes {MIN_RING_POINTS} to {MAX_RING_POINTS} points, got {points}");
        return Err(Error::invalid(at, why));
    }
    *left = left.checked_sub(points).ok_or_else(|| {
        let why = format!("exceeds the limit of {MAX_POLYGON_POINTS} points for all polygons of a filter");
        Error::invalid(at, why)
    })?;
    for (index, point) in ring.iter().enumerate() {
        point.check(&format!("{at}[{index}]"))?;
    }
    for (index, (from, to)) in ring.iter().zip(ring.iter().cycle().skip(1)).enumerate() {
        let span = (to.lon - from.lon).abs();
        if span > 180.0 {
            let why = format!(
                "is the start of an edge over {span} degrees of longitude, at most 180 are allowed; split a polygon \
                 that crosses the antimeridian into one on each side, combined by or"
            );
            return Err(Error::invalid(format!("{at}[{index}]"), why));
        }
    }
    Ok(())
}

fn degrees(at: &str, name: &str, value: f64, max: f64) -> Result<(), Error> {
    if (-max..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{at}.{name}"), format!("takes -{max} to {max}, got {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(result: Result<(), Error>, position: &str, part: &str) {
        match result {
            Err(Error::Invalid { field, why }) => {
                assert_eq!(field, position, "{why}");
                assert!(why.contains(part), "{why:?} should contain {part:?}");
            }
            other => panic!("{position} should be refused: {other:?}"),
        }
    }

    #[test]
    fn boxes_are_checked() {
        let ok = GeoBox { north: 90.0, south: -90.0, west: 180.0, east: -180.0 };
        ok.check("box").expect("a box across the antimeridian");
        refused(GeoBox { north: 90.5, ..ok }.check("box"), "box.north", "-90 to 90, got 90.5");
        refused(GeoBox { south: f64::NAN, ..ok }.check("box"), "box.south", "NaN");
        refused(GeoBox { west: -181.0, ..ok }.check("box"), "box.west", "-180 to 180");
        refused(GeoBox { east: f64::INFINITY, ..ok }.check("box"), "box.east", "inf");
        refused(GeoBox { north: 1.0, south: 2.0, ..ok }.check("box"), "box.south", "exchange");
    }

    #[test]
    fn polygons_are_checked() {
        let point = |lat: f64, lon: f64| GeoPoint { lat, lon };
        let circle = |points: usize| -> Vec<GeoPoint> {
            (0..points).map(|n| (n as f64 / points as f64 * 6.2).sin_cos()).map(|(lat, lon)| point(lat, lon)).collect()
        };
        let check = |exterior: Vec<GeoPoint>, holes: Vec<Vec<GeoPoint>>| {
            GeoPolygon { exterior, holes }.check("p", &mut MAX_POLYGON_POINTS.clone())
        };
        let closed = |points| [circle(points), vec![circle(points)[0]]].concat();
        for allowed in [circle(3), closed(3), circle(1_000), closed(1_000)] {
            check(allowed, vec![]).expect("allowed");
        }
        refused(check(vec![], vec![]), "p.exterior", "3 to 1000 points, got 0");
        refused(check(closed(2), vec![]), "p.exterior", "got 2");
        refused(check(closed(1_001), vec![]), "p.exterior", "got 1001");
        refused(check(circle(3), vec![circle(3), circle(1)]), "p.holes[1]", "got 1");
        refused(check(circle(1_000), vec![circle(1_000); 10]), "p.holes[9]", "10000 points for all polygons");
        check(circle(1_000), vec![circle(1_000); 9]).expect("as many points as allowed");
        refused(check(vec![point(0.0, 0.0), point(91.0, 0.0), point(0.0, 1.0)], vec![]), "p.exterior[1].lat", "90");
        refused(check(vec![point(0.0, 0.0), point(1.0, 0.0), point(0.0, -181.0)], vec![]), "p.exterior[2].lon", "180");
        let pacific = vec![point(0.0, 170.0), point(10.0, -170.0), point(10.0, 170.0)];
        refused(check(pacific, vec![]), "p.exterior[0]", "340 degrees");
        // The edge from the last point to the first counts too.
        refused(check(vec![point(0.0, -100.0), point(1.0, 0.0), point(0.0, 100.0)], vec![]), "p.exterior[2]", "200");
        check(vec![point(0.0, -90.0), point(1.0, 90.0), point(2.0, 0.0)], vec![]).expect("180 degrees");
    }
}
