//! Conversion of filters from protobuf. Limits known to the domain types are checked there.

use crate::api::limits::{MAX_FILTER_DEPTH, MAX_FILTER_VALUES};
use crate::api::{Error, Filter, Number, Range, Scalar};
use crate::grpc::pb;

/// Remedy for a comparison with null.
const NO_NULL: &str = "to find points without a field, use not with exists";

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
            let why = "is empty; give and, or, not, equals, in, range, exists or geo_radius";
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
        let deep = (0..1_000).fold(exists(), |inner, _| of(Form::Not(Box::new(inner))));
        check(deep, "filter", "deeper than 32");
    }
}
