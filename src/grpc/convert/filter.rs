//! Conversion of filters from protobuf. Limits known to the domain types are checked there.

use super::from_proto;
use crate::api::limits::{MAX_FILTER_DEPTH, MAX_FILTER_VALUES};
use crate::api::{Bounds, Error, Filter, GeoBox, GeoPoint, GeoPolygon, Number, Range, Scalar, Timestamp};
use crate::grpc::pb;

/// Remedy for a comparison with null.
const NO_NULL: &str = "to find points without a field, use is_empty, or is_null for those with a null";

/// Converts and checks the filter of the field `at`; returns `None` for `None`.
///
/// # Errors
/// [`Error::Invalid`] naming the invalid part of the filter, and the limit.
pub(crate) fn filter(at: &str, filter: Option<pb::Filter>) -> Result<Option<Filter>, Error> {
    let Some(filter) = filter else { return Ok(None) };
    let filter = part(at, at, filter, MAX_FILTER_DEPTH)?;
    filter.check(at)?;
    Ok(Some(filter))
}

fn part(root: &str, at: &str, filter: pb::Filter, levels: usize) -> Result<Filter, Error> {
    use pb::filter::Form;
    // Also limited here, because the check of the domain runs only after the conversion.
    let Some(levels) = levels.checked_sub(1) else {
        return Err(Error::invalid(root, format!("nests deeper than {MAX_FILTER_DEPTH} levels")));
    };
    let parts = |name: &str, filters: pb::Filters| {
        let each = filters.filters.into_iter().enumerate();
        each.map(|(index, one)| part(root, &format!("{at}.{name}[{index}]"), one, levels)).collect::<Result<_, _>>()
    };
    Ok(match filter.form {
        None => {
            let why = "is empty; give and, or, not, equals, in, range, exists, geo_radius, ids, is_null, is_empty, \
                       values_count, nested, geo_box, geo_polygon or time_range";
            return Err(Error::invalid(at, why));
        }
        Some(Form::And(filters)) => Filter::And(parts("and", filters)?),
        Some(Form::Or(filters)) => Filter::Or(parts("or", filters)?),
        Some(Form::Not(filter)) => Filter::not(part(root, &format!("{at}.not"), *filter, levels)?),
        Some(Form::Equals(pb::Equals { field, value })) => {
            let at = format!("{at}.equals.value");
            let Some(value) = value else { return Err(Error::invalid(at, format!("is missing; {NO_NULL}"))) };
            Filter::Equals { field, value: scalar(&at, value)? }
        }
        Some(Form::In(pb::In { field, values })) => {
            // Counts the values as sent; the domain's set removes duplicates.
            if values.len() > MAX_FILTER_VALUES {
                let why = format!("takes 1 to {MAX_FILTER_VALUES}, got {}", values.len());
                return Err(Error::invalid(format!("{at}.in.values"), why));
            }
            let each = values.into_iter().enumerate();
            let values = each.map(|(index, value)| scalar(&format!("{at}.in.values[{index}]"), value));
            Filter::In { field, values: values.collect::<Result<_, _>>()? }
        }
        Some(Form::Range(pb::Range { field, gt, gte, lt, lte })) => {
            let bound = |name: &str, value: Option<pb::FilterValue>| {
                value.map(|value| scalar(&format!("{at}.range.{name}"), value)).transpose()
            };
            let range =
                Range { gt: bound("gt", gt)?, gte: bound("gte", gte)?, lt: bound("lt", lt)?, lte: bound("lte", lte)? };
            Filter::Range { field, range }
        }
        Some(Form::Exists(pb::Exists { field })) => Filter::Exists { field },
        Some(Form::GeoRadius(pb::GeoRadius { field, lat, lon, meters })) => {
            Filter::GeoRadius { field, lat, lon, meters }
        }
        Some(Form::Ids(pb::Ids { ids })) => {
            // Counts the ids as sent, like the values of `in`.
            if ids.len() > MAX_FILTER_VALUES {
                let why = format!("takes 1 to {MAX_FILTER_VALUES}, got {}", ids.len());
                return Err(Error::invalid(format!("{at}.ids"), why));
            }
            let each = ids.into_iter().enumerate();
            let ids = each.map(|(index, id)| from_proto::id(&format_args!("{at}.ids[{index}]"), id));
            Filter::Ids(ids.collect::<Result<_, _>>()?)
        }
        Some(Form::IsNull(pb::IsNull { field })) => Filter::IsNull { field },
        Some(Form::IsEmpty(pb::IsEmpty { field })) => Filter::IsEmpty { field },
        Some(Form::ValuesCount(pb::ValuesCount { field, gt, gte, lt, lte })) => {
            Filter::ValuesCount { field, count: Bounds { gt, gte, lt, lte } }
        }
        Some(Form::Nested(nested)) => {
            let pb::Nested { field, filter } = *nested;
            let at = format!("{at}.nested.filter");
            let Some(filter) = filter else { return Err(Error::invalid(at, "is missing")) };
            Filter::nested(field, part(root, &at, *filter, levels)?)
        }
        Some(Form::GeoBox(pb::GeoBox { field, north, south, west, east })) => {
            Filter::GeoBox { field, area: GeoBox { north, south, west, east } }
        }
        Some(Form::GeoPolygon(pb::GeoPolygon { field, exterior, holes })) => {
            let exterior = exterior.map(ring).unwrap_or_default();
            Filter::GeoPolygon { field, area: GeoPolygon { exterior, holes: holes.into_iter().map(ring).collect() } }
        }
        Some(Form::TimeRange(pb::TimeRange { field, gt, gte, lt, lte })) => {
            let bound = |name: &str, text: Option<String>| {
                text.map(|text| time(&format!("{at}.time_range.{name}"), &text)).transpose()
            };
            let range =
                Bounds { gt: bound("gt", gt)?, gte: bound("gte", gte)?, lt: bound("lt", lt)?, lte: bound("lte", lte)? };
            Filter::TimeRange { field, range }
        }
    })
}

fn ring(ring: pb::GeoRing) -> Vec<GeoPoint> {
    ring.points.into_iter().map(|pb::GeoPoint { lat, lon }| GeoPoint { lat, lon }).collect()
}

fn time(at: &str, text: &str) -> Result<Timestamp, Error> {
    Timestamp::parse(text).ok_or_else(|| {
        let begin: String = text.chars().take(40).collect();
        let why = format!("is {begin:?}; give a date or a time such as 2024-05-01T12:00:00+02:00 (RFC 3339)");
        Error::invalid(at, why)
    })
}

fn scalar(at: &str, value: pb::FilterValue) -> Result<Scalar, Error> {
    use pb::filter_value::Form;
    Ok(match value.form {
        None => {
            return Err(Error::invalid(
                at,
                format!("has no value; give a bool, a number, an integer or a string; {NO_NULL}"),
            ));
        }
        Some(Form::BoolValue(value)) => value.into(),
        Some(Form::IntegerValue(value)) => value.into(),
        Some(Form::UnsignedValue(value)) => Number::from(value).into(),
        Some(Form::StringValue(value)) => value.into(),
        Some(Form::NumberValue(value)) => {
            Number::from_f64(value).ok_or_else(|| Error::invalid(at, format!("is {value}; numbers are finite")))?.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PointId;
    use pb::filter::Form;
    use pb::filter_value::Form as Value;

    fn of(form: Form) -> pb::Filter {
        pb::Filter { form: Some(form) }
    }

    fn value(form: Value) -> Option<pb::FilterValue> {
        Some(pb::FilterValue { form: Some(form) })
    }

    fn and(filters: Vec<pb::Filter>) -> pb::Filter {
        of(Form::And(pb::Filters { filters }))
    }

    fn exists() -> pb::Filter {
        of(Form::Exists(pb::Exists { field: "a".into() }))
    }

    #[track_caller]
    fn check(given: pb::Filter, path: &str, part: &str) {
        match filter("filter", Some(given)) {
            Err(Error::Invalid { field, why }) => {
                assert_eq!(field, path, "{why}");
                assert!(why.contains(part), "{why:?} should contain {part:?}");
            }
            other => panic!("{path} should be refused: {other:?}"),
        }
    }

    #[test]
    fn every_form_is_converted() {
        let field = || "a.b".to_owned();
        let number = |number: f64| Number::from_f64(number).map(Scalar::Number);
        let range = pb::Range { field: field(), gt: value(Value::NumberValue(1.0)), ..Default::default() };
        let corners = |size| [(0.0, 0.0), (size, 0.0), (0.0, size)].map(|(lat, lon)| GeoPoint { lat, lon }).to_vec();
        let ring = |size| {
            let points = corners(size).into_iter().map(|GeoPoint { lat, lon }| pb::GeoPoint { lat, lon }).collect();
            Some(pb::GeoRing { points })
        };
        let both = [
            (exists(), Filter::exists("a")),
            (
                of(Form::Equals(pb::Equals { field: field(), value: value(Value::BoolValue(true)) })),
                Filter::equals("a.b", true),
            ),
            (
                of(Form::In(pb::In {
                    field: field(),
                    values: vec![
                        pb::FilterValue { form: Some(Value::StringValue("x".into())) },
                        pb::FilterValue { form: Some(Value::IntegerValue(i64::MAX)) },
                        pb::FilterValue { form: Some(Value::UnsignedValue(u64::MAX)) },
                    ],
                })),
                Filter::among("a.b", ["x".into(), i64::MAX.into(), Number::from(u64::MAX).into()]),
            ),
            (of(Form::Range(range)), Filter::range("a.b", Range { gt: number(1.0), ..Default::default() })),
            (
                of(Form::GeoRadius(pb::GeoRadius { field: field(), lat: 1.0, lon: 2.0, meters: 3.0 })),
                Filter::GeoRadius { field: field(), lat: 1.0, lon: 2.0, meters: 3.0 },
            ),
            (
                of(Form::Ids(pb::Ids { ids: vec!["x".into(), "x".into()] })),
                Filter::ids([PointId::new("x").expect("id")]),
            ),
            (of(Form::IsNull(pb::IsNull { field: field() })), Filter::IsNull { field: field() }),
            (of(Form::IsEmpty(pb::IsEmpty { field: field() })), Filter::IsEmpty { field: field() }),
            (
                of(Form::ValuesCount(pb::ValuesCount {
                    field: field(),
                    gt: Some(0),
                    lte: Some(2),
                    ..Default::default()
                })),
                Filter::ValuesCount {
                    field: field(),
                    count: Bounds { gt: Some(0), lte: Some(2), ..Default::default() },
                },
            ),
            (
                of(Form::Nested(Box::new(pb::Nested { field: field(), filter: Some(Box::new(exists())) }))),
                Filter::nested("a.b", Filter::exists("a")),
            ),
            (
                of(Form::GeoBox(pb::GeoBox { field: field(), north: 4.0, south: 3.0, west: 2.0, east: 1.0 })),
                Filter::GeoBox { field: field(), area: GeoBox { north: 4.0, south: 3.0, west: 2.0, east: 1.0 } },
            ),
            (
                of(Form::GeoPolygon(pb::GeoPolygon {
                    field: field(),
                    exterior: ring(1.0),
                    holes: ring(0.5).into_iter().collect(),
                })),
                Filter::GeoPolygon {
                    field: field(),
                    area: GeoPolygon { exterior: corners(1.0), holes: vec![corners(0.5)] },
                },
            ),
            (
                of(Form::TimeRange(pb::TimeRange {
                    field: field(),
                    gte: Some("2024-05-01T12:00:00+02:00".into()),
                    lt: Some("2024-05-02".into()),
                    ..Default::default()
                })),
                Filter::TimeRange {
                    field: field(),
                    range: Bounds {
                        gte: Timestamp::parse("2024-05-01T10:00:00Z"),
                        lt: Timestamp::parse("2024-05-02"),
                        ..Default::default()
                    },
                },
            ),
            (of(Form::Not(Box::new(exists()))), Filter::not(Filter::exists("a"))),
            (
                of(Form::Or(pb::Filters { filters: vec![and(vec![exists()]), exists()] })),
                Filter::Or(vec![Filter::And(vec![Filter::exists("a")]), Filter::exists("a")]),
            ),
        ];
        for (given, expected) in both {
            assert_eq!(filter("filter", Some(given)).expect("valid"), Some(expected));
        }
        assert_eq!(filter("filter", None).expect("none"), None);
    }

    #[test]
    fn errors_name_the_invalid_part() {
        check(pb::Filter { form: None }, "filter", "geo_radius");
        check(and(vec![exists(), pb::Filter { form: None }]), "filter.and[1]", "is empty");
        let equals = |value| of(Form::Equals(pb::Equals { field: "a".into(), value }));
        check(equals(None), "filter.equals.value", "missing");
        check(equals(Some(pb::FilterValue { form: None })), "filter.equals.value", "no value");
        check(equals(value(Value::NumberValue(f64::NAN))), "filter.equals.value", "NaN");
        let gte = value(Value::NumberValue(f64::INFINITY));
        let range = of(Form::Range(pb::Range { field: "a".into(), gte, ..Default::default() }));
        check(and(vec![exists(), exists(), range]), "filter.and[2].range.gte", "inf");
        check(and(vec![]), "filter.and", "at least one");
        let ids = |ids: Vec<String>| of(Form::Ids(pb::Ids { ids }));
        check(ids(vec!["a".into(); 10_001]), "filter.ids", "1 to 10000, got 10001");
        check(ids(vec![]), "filter.ids", "got 0");
        check(ids(vec!["a".into(), String::new()]), "filter.ids[1]", "1 to 128 bytes");
        let nested = |filter: Option<pb::Filter>| {
            of(Form::Nested(Box::new(pb::Nested { field: "a".into(), filter: filter.map(Box::new) })))
        };
        check(nested(None), "filter.nested.filter", "missing");
        check(nested(Some(pb::Filter { form: None })), "filter.nested.filter", "is empty");
        check(nested(Some(ids(vec!["a".into()]))), "filter.nested.filter.ids", "no id");
        check((0..1_000).fold(exists(), |inner, _| nested(Some(inner))), "filter", "deeper than 32");
        let time = |text: &str| {
            of(Form::TimeRange(pb::TimeRange { field: "a".into(), lt: Some(text.into()), ..Default::default() }))
        };
        check(time("yesterday"), "filter.time_range.lt", "is \"yesterday\"; give a date");
        check(time(&"x".repeat(1_000)), "filter.time_range.lt", &format!("{:?};", "x".repeat(40)));
        let polygon = |exterior| of(Form::GeoPolygon(pb::GeoPolygon { field: "a".into(), exterior, holes: vec![] }));
        check(polygon(None), "filter.geo_polygon.exterior", "got 0");
        let points = vec![pb::GeoPoint { lat: f64::NAN, lon: 0.0 }; 3];
        check(polygon(Some(pb::GeoRing { points })), "filter.geo_polygon.exterior[0].lat", "NaN");
        let deep = (0..1_000).fold(exists(), |inner, _| of(Form::Not(Box::new(inner))));
        check(deep, "filter", "deeper than 32");
    }
}
