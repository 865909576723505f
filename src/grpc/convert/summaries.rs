//! Conversion of facets and statistics of fields to protobuf.

use crate::api::{Extreme, Facet, FieldReport, FieldStats, Number, Scalar};
use crate::grpc::pb;

/// Converts a value: a number becomes an integer if it is one of 64 bits, otherwise a double.
pub(crate) fn value(value: Scalar) -> pb::FilterValue {
    use pb::filter_value::Form;
    let form = match value {
        Scalar::Bool(value) => Form::BoolValue(value),
        Scalar::String(value) => Form::StringValue(value),
        Scalar::Number(number) => {
            let number = number.to_json();
            match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Form::IntegerValue(value),
                (None, Some(value)) => Form::UnsignedValue(value),
                (None, None) => Form::NumberValue(number.as_f64().unwrap_or_default()),
            }
        }
    };
    pb::FilterValue { form: Some(form) }
}

pub(crate) fn facet(facet: Facet, unknown_fields: Vec<String>) -> pb::FacetResponse {
    let counts = facet.values.into_iter();
    pb::FacetResponse {
        values: counts.map(|count| pb::ValueCount { value: Some(value(count.value)), count: count.count }).collect(),
        distinct: facet.distinct,
        points: facet.points,
        unknown_fields,
    }
}

pub(crate) fn fields(report: FieldReport, unknown_fields: Vec<String>) -> pb::DescribeFieldsResponse {
    pb::DescribeFieldsResponse {
        points: report.points,
        fields: report.fields.into_iter().map(field).collect(),
        truncated: report.truncated,
        unknown_fields,
    }
}

fn field(stats: FieldStats) -> pb::FieldDescription {
    let number = |number: Number| value(Scalar::Number(number));
    let string = |string: Extreme| pb::BoundingString { text: string.text, truncated: string.truncated };
    let (min_number, max_number) = stats.numbers.map(|(min, max)| (number(min), number(max))).unzip();
    let (min_string, max_string) = stats.strings.map(|(min, max)| (string(min), string(max))).unzip();
    let types = stats.types;
    pb::FieldDescription {
        path: stats.path,
        points: stats.points,
        types: Some(pb::TypeCounts {
            null: types.null,
            boolean: types.boolean,
            integer: types.integer,
            float: types.float,
            string: types.string,
            list: types.list,
            object: types.object,
            geo_point: types.geo_point,
        }),
        min_number,
        max_number,
        min_string,
        max_string,
        distinct: stats.distinct,
        distinct_is_lower_bound: stats.distinct_at_least,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pb::filter_value::Form;

    #[test]
    fn numbers_keep_all_their_digits() {
        for (number, form) in [
            (Number::from(i64::MIN), Form::IntegerValue(i64::MIN)),
            (Number::from(u64::MAX), Form::UnsignedValue(u64::MAX)),
            (Number::from_f64(3.0).unwrap(), Form::IntegerValue(3)),
            (Number::from_f64(0.5).unwrap(), Form::NumberValue(0.5)),
        ] {
            assert_eq!(value(Scalar::Number(number)).form, Some(form));
        }
    }
}
