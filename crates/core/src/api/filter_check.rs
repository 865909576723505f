//! Validation of filters against their limits.

use super::filter::{
    MAX_FIELD_BYTES, MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH, MAX_FILTER_TEXT_BYTES, MAX_FILTER_VALUES,
};
use super::geo::MAX_POLYGON_POINTS;
use super::{Error, Filter, GeoPoint, Scalar, TextMatch};

impl Filter {
    /// Checks all limits. `at` is the position of the filter in the request.
    ///
    /// # Errors
    /// `InvalidInput` with the invalid part, such as `filter.and[2].range.gte`, and the limit.
    pub fn check(&self, at: &str) -> Result<(), Error> {
        let mut check = Check { root: at, conditions: MAX_FILTER_CONDITIONS, polygon_points: MAX_POLYGON_POINTS };
        check.part(self, at, MAX_FILTER_DEPTH, None)
    }
}

/// A check of a filter, with what is left of the limits for all its parts together.
struct Check<'a> {
    root: &'a str,
    conditions: usize,
    polygon_points: usize,
}

impl Check<'_> {
    /// Checks a part. `inside` is the length of the fields of the nested filters around it, with dots; `None` outside.
    fn part(&mut self, filter: &Filter, at: &str, levels: usize, inside: Option<usize>) -> Result<(), Error> {
        let Some(levels) = levels.checked_sub(1) else {
            return Err(Error::invalid(self.root, format!("nests deeper than {MAX_FILTER_DEPTH} levels")));
        };
        let Some(rest) = self.conditions.checked_sub(1) else {
            return Err(Error::invalid(self.root, format!("has more than {MAX_FILTER_CONDITIONS} conditions")));
        };
        self.conditions = rest;
        let outer = inside.unwrap_or(0);
        match filter {
            Filter::Equals { field, value } => {
                check_field(&format!("{at}.equals"), field, outer)?;
                value.check(&format!("{at}.equals.value"))
            }
            Filter::In { field, values } => {
                check_field(&format!("{at}.in"), field, outer)?;
                check_count(&format!("{at}.in.values"), values.len())?;
                let mut each = values.iter().enumerate();
                each.try_for_each(|(index, value)| value.check(&format!("{at}.in.values[{index}]")))
            }
            Filter::Range { field, range } => {
                check_field(&format!("{at}.range"), field, outer)?;
                range.check_scalars(&format!("{at}.range"))
            }
            Filter::Exists { field } => check_field(&format!("{at}.exists"), field, outer),
            Filter::GeoRadius { field, lat, lon, meters } => {
                let at = format!("{at}.geo_radius");
                check_field(&at, field, outer)?;
                GeoPoint { lat: *lat, lon: *lon }.check(&at)?;
                if !(meters.is_finite() && *meters > 0.0) {
                    return Err(Error::invalid(
                        format!("{at}.meters"),
                        format!("takes a number above 0, got {meters}"),
                    ));
                }
                Ok(())
            }
            Filter::And(parts) | Filter::Or(parts) => {
                let name = if matches!(filter, Filter::And(_)) { "and" } else { "or" };
                if parts.is_empty() {
                    return Err(Error::invalid(format!("{at}.{name}"), "is empty; give at least one filter"));
                }
                let mut each = parts.iter().enumerate();
                each.try_for_each(|(index, part)| self.part(part, &format!("{at}.{name}[{index}]"), levels, inside))
            }
            Filter::Not(part) => self.part(part, &format!("{at}.not"), levels, inside),
            Filter::Ids(ids) => {
                let at = format!("{at}.ids");
                if inside.is_some() {
                    let why = "is inside nested, whose objects have no id; combine it with nested by and";
                    return Err(Error::invalid(at, why));
                }
                check_count(&at, ids.len())
            }
            Filter::IsNull { field } => check_field(&format!("{at}.is_null"), field, outer),
            Filter::IsEmpty { field } => check_field(&format!("{at}.is_empty"), field, outer),
            Filter::ValuesCount { field, count } => {
                check_field(&format!("{at}.values_count"), field, outer)?;
                count.check(&format!("{at}.values_count"))
            }
            Filter::Nested { field, filter } => {
                let at = format!("{at}.nested");
                check_field(&at, field, outer)?;
                self.part(filter, &format!("{at}.filter"), levels, Some(outer + field.len() + ".".len()))
            }
            Filter::GeoBox { field, area } => {
                check_field(&format!("{at}.geo_box"), field, outer)?;
                area.check(&format!("{at}.geo_box"))
            }
            Filter::GeoPolygon { field, area } => {
                check_field(&format!("{at}.geo_polygon"), field, outer)?;
                area.check(&format!("{at}.geo_polygon"), &mut self.polygon_points)
            }
            Filter::TimeRange { field, range } => {
                check_field(&format!("{at}.time_range"), field, outer)?;
                range.check(&format!("{at}.time_range"))
            }
            Filter::Text { field, matches } => {
                check_field(&format!("{at}.text"), field, outer)?;
                matches.check(&format!("{at}.text"))
            }
        }
    }
}

impl TextMatch {
    /// Checks the length of the text, and that it has a word.
    fn check(&self, at: &str) -> Result<(), Error> {
        let at = format!("{at}.{}", self.kind().name());
        match self.text().len() {
            0 => Err(Error::invalid(at, "is empty")),
            1..=MAX_FILTER_TEXT_BYTES if self.terms().is_empty() => {
                let why = format!("{:?} has no word; use substring for other characters", self.text());
                Err(Error::invalid(at, why))
            }
            1..=MAX_FILTER_TEXT_BYTES => Ok(()),
            bytes => Err(Error::invalid(at, format!("must be 1 to {MAX_FILTER_TEXT_BYTES} bytes, got {bytes}"))),
        }
    }
}

/// Checks the number of values or ids of a condition.
fn check_count(at: &str, count: usize) -> Result<(), Error> {
    if count == 0 || count > MAX_FILTER_VALUES {
        return Err(Error::invalid(at, format!("takes 1 to {MAX_FILTER_VALUES}, got {count}")));
    }
    Ok(())
}

impl Scalar {
    /// Checks the length of a string. `at` is the position of the value in the request.
    pub(super) fn check(&self, at: &str) -> Result<(), Error> {
        use super::point::MAX_PAYLOAD_BYTES;
        match self {
            // No stored string is longer.
            Self::String(text) if text.len() > MAX_PAYLOAD_BYTES => {
                Err(Error::invalid(at, format!("takes at most {MAX_PAYLOAD_BYTES} bytes, got {}", text.len())))
            }
            _ => Ok(()),
        }
    }
}

/// Checks the field of a condition, below `outer` bytes of the fields of nested filters.
fn check_field(at: &str, field: &str, outer: usize) -> Result<(), Error> {
    let at = format!("{at}.field");
    check_path(&at, field)?;
    if outer + field.len() > MAX_FIELD_BYTES {
        let length = outer + field.len();
        let why =
            format!("takes {MAX_FIELD_BYTES} bytes with the fields of the nested filters around it, got {length}");
        return Err(Error::invalid(at, why));
    }
    Ok(())
}

/// Checks the path of a field. `at` is its position in the request.
///
/// # Errors
/// `InvalidInput` with the limit, or with the correct form.
pub(crate) fn check_path(at: &str, path: &str) -> Result<(), Error> {
    if path.is_empty() || path.len() > MAX_FIELD_BYTES {
        return Err(Error::invalid(at, format!("takes 1 to {MAX_FIELD_BYTES} bytes, got {}", path.len())));
    }
    if let Some(plain) = without_indices(path) {
        let why = format!("is {path:?}: a path has no list indices and selects every element; write {plain:?}");
        return Err(Error::invalid(at, why));
    }
    Ok(())
}

/// Removes list indices from a path such as `a[0].b` or `a[].b`; `None` if there are none.
fn without_indices(field: &str) -> Option<String> {
    let index = |name: &str| -> Option<usize> {
        let inner = name.strip_suffix(']')?;
        let begin = inner.rfind('[').filter(|begin| *begin > 0)?;
        inner[begin + 1..].bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'*' | b'-')).then_some(begin)
    };
    let mut found = false;
    let names = field.split('.').map(|name| {
        let mut rest = name;
        while let Some(begin) = index(rest) {
            (rest, found) = (&rest[..begin], true);
        }
        rest
    });
    let plain = names.collect::<Vec<_>>().join(".");
    found.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::TextMatchKind;
    use crate::api::{Bounds, GeoBox, GeoPolygon, Number, Range};
    use crate::types::PointId;

    #[track_caller]
    fn refused(filter: &Filter, index: &str, part: &str) {
        match filter.check("filter") {
            Err(Error::Invalid { field, why }) => {
                assert_eq!(field, index, "{why}");
                assert!(why.contains(part), "{why:?} should contain {part:?}");
            }
            other => panic!("{index} should be refused: {other:?}"),
        }
    }

    fn nested(levels: usize) -> Filter {
        (1..levels).fold(Filter::exists("a"), |inner, level| match level % 3 {
            0 => Filter::not(inner),
            1 => Filter::And(vec![inner]),
            _ => Filter::Or(vec![inner]),
        })
    }

    #[test]
    fn a_path_has_no_list_indices() {
        for (field, plain) in [("a[0]", "\"a\""), ("a[].b", "\"a.b\""), ("x.a[1][*]", "\"x.a\""), ("a[-1]", "\"a\"")] {
            refused(&Filter::exists(field), "filter.exists.field", plain);
        }
        for field in ["a[x]", "[0]", "a]", "a.0", "a[0]b"] {
            Filter::exists(field).check("filter").expect("a name");
        }
    }

    #[test]
    fn every_limit_is_named_in_its_error() {
        let ok = |filter: Filter| filter.check("filter").expect("allowed");
        let number = |value: f64| Number::from_f64(value).map(Scalar::Number);
        ok(nested(MAX_FILTER_DEPTH));
        refused(&nested(MAX_FILTER_DEPTH + 1), "filter", "deeper than 32");
        ok(Filter::And(vec![Filter::exists("a"); MAX_FILTER_CONDITIONS - 1]));
        refused(&Filter::And(vec![Filter::exists("a"); MAX_FILTER_CONDITIONS]), "filter", "more than 1000");
        let among = |count: usize| Filter::among("a", (0..count as i64).map(Scalar::from));
        ok(among(MAX_FILTER_VALUES));
        refused(&among(MAX_FILTER_VALUES + 1), "filter.in.values", "1 to 10000, got 10001");
        refused(&among(0), "filter.in.values", "got 0");
        ok(Filter::exists("x".repeat(MAX_FIELD_BYTES)));
        refused(&Filter::exists("x".repeat(MAX_FIELD_BYTES + 1)), "filter.exists.field", "1 to 512 bytes, got 513");
        refused(
            &Filter::And(vec![Filter::exists("a"), Filter::equals("", true)]),
            "filter.and[1].equals.field",
            "got 0",
        );
        refused(&Filter::And(vec![]), "filter.and", "empty");
        refused(&Filter::not(Filter::Or(vec![])), "filter.not.or", "empty");
        let range = |range| Filter::Or(vec![Filter::exists("a"), Filter::range("a", range)]);
        ok(range(Range { gt: number(2.0), lte: number(1.0), ..Default::default() }));
        refused(&range(Range::default()), "filter.or[1].range", "no bound");
        let both = Range { gt: number(1.0), gte: number(1.0), ..Default::default() };
        refused(&range(both), "filter.or[1].range", "both gt and gte");
        let mixed = Range { gt: number(1.0), lt: Some("x".into()), ..Default::default() };
        refused(&range(mixed), "filter.or[1].range.lt", "numbers or strings");
        refused(
            &range(Range { gte: Some(true.into()), ..Default::default() }),
            "filter.or[1].range.gte",
            "true or false",
        );
        let around = |lat, lon, meters| Filter::GeoRadius { field: "a".into(), lat, lon, meters };
        ok(around(-90.0, 180.0, 1.0));
        refused(&around(90.1, 0.0, 1.0), "filter.geo_radius.lat", "-90 to 90");
        refused(&around(0.0, f64::NAN, 1.0), "filter.geo_radius.lon", "NaN");
        refused(&around(0.0, 0.0, f64::INFINITY), "filter.geo_radius.meters", "above 0");
        refused(&Filter::equals("a", "x".repeat((1 << 20) + 1)), "filter.equals.value", "at most 1048576");
    }

    #[test]
    fn ids_and_nested_filters_are_limited() {
        let ok = |filter: &Filter| filter.check("filter").expect("allowed");
        let ids = |count: usize| Filter::ids((0..count).map(|n| PointId::new(n.to_string()).expect("an id")));
        ok(&ids(MAX_FILTER_VALUES));
        refused(&ids(MAX_FILTER_VALUES + 1), "filter.ids", "1 to 10000, got 10001");
        refused(&Filter::not(ids(0)), "filter.not.ids", "got 0");
        refused(&Filter::nested("a", Filter::not(ids(1))), "filter.nested.filter.not.ids", "by and");
        // Nested filters count as a level, and their parts as conditions.
        let nested = |levels: usize| (1..levels).fold(Filter::exists("a"), |inner, _| Filter::nested("a", inner));
        ok(&nested(MAX_FILTER_DEPTH));
        refused(&nested(MAX_FILTER_DEPTH + 1), "filter", "deeper than 32");
        let many = |count: usize| Filter::nested("a", Filter::Or(vec![Filter::exists("a"); count]));
        ok(&many(MAX_FILTER_CONDITIONS - 2));
        refused(&many(MAX_FILTER_CONDITIONS - 1), "filter", "more than 1000");
        // The full path of a field has the length of one.
        let long = |outer: usize, inner: usize| Filter::nested("x".repeat(outer), Filter::exists("x".repeat(inner)));
        ok(&long(255, 256));
        refused(&long(255, 257), "filter.nested.filter.exists.field", "nested filters around it, got 513");
        let twice = |inner: usize| Filter::nested("y", long(255, inner));
        ok(&twice(254));
        refused(&twice(255), "filter.nested.filter.nested.filter.exists.field", "got 513");
        refused(&Filter::nested("", Filter::exists("a")), "filter.nested.field", "got 0");
        refused(&Filter::nested("a[0]", Filter::exists("a")), "filter.nested.field", "\"a\"");
    }

    #[test]
    fn counts_times_and_areas_are_checked() {
        let field = || "a".to_owned();
        let count = |count| Filter::ValuesCount { field: field(), count };
        refused(&count(Bounds::default()), "filter.values_count", "no bound");
        let both = Bounds { lt: Some(1), lte: Some(1), ..Default::default() };
        refused(&count(both), "filter.values_count", "both lt and lte");
        let text = |kind, text: &str| Filter::text("a", kind, text);
        refused(&text(TextMatchKind::All, "..."), "filter.text.all", "no word");
        refused(&text(TextMatchKind::Any, ""), "filter.text.any", "empty");
        refused(&text(TextMatchKind::Prefix, &"x".repeat(4_097)), "filter.text.prefix", "4096");
        assert!(text(TextMatchKind::Substring, "...").check("filter").is_ok());
        refused(&Filter::TimeRange { field: field(), range: Bounds::default() }, "filter.time_range", "no bound");
        let area = GeoBox { north: 0.0, south: 1.0, west: 0.0, east: 0.0 };
        refused(&Filter::GeoBox { field: field(), area }, "filter.geo_box.south", "above north");
        let polygon = |points: usize| {
            let exterior = (0..points).map(|n| GeoPoint { lat: 0.0, lon: n as f64 / 10.0 }).collect();
            Filter::GeoPolygon { field: field(), area: GeoPolygon { exterior, holes: vec![] } }
        };
        refused(&polygon(2), "filter.geo_polygon.exterior", "3 to 1000 points, got 2");
        // All polygons of a filter share a limit, in nested filters too.
        let all =
            |last: usize| Filter::Or([vec![polygon(1_000); 9], vec![Filter::nested("a", polygon(last))]].concat());
        all(1_000).check("filter").expect("allowed");
        let more = Filter::And(vec![all(1_000), polygon(3)]);
        refused(&more, "filter.and[1].geo_polygon.exterior", "10000 points for all polygons");
        for named in ["is_null", "is_empty", "values_count", "geo_box", "geo_polygon", "time_range"] {
            let field = String::new();
            let filter = match named {
                "is_null" => Filter::IsNull { field },
                "is_empty" => Filter::IsEmpty { field },
                "values_count" => Filter::ValuesCount { field, count: Bounds { gt: Some(1), ..Default::default() } },
                "geo_box" => Filter::GeoBox { field, area },
                "geo_polygon" => Filter::GeoPolygon { field, area: GeoPolygon::default() },
                _ => Filter::TimeRange { field, range: Bounds::default() },
            };
            refused(&filter, &format!("filter.{named}.field"), "got 0");
        }
    }
}
