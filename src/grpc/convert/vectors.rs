//! Vector fields and the vectors in them, from messages and to them.

use super::from_proto::{self, metric};
use super::{payload, to_proto};
use crate::api::{
    Error, FieldQuery, FieldTarget, FieldVector, FieldVectors, MAX_MULTI_VECTORS, MAX_NONZEROS, MAX_VECTOR_FIELDS,
    Query, SparseVector, VectorField, VectorKind,
};
use crate::grpc::pb;
use crate::types::Precision;
use pb::field_vector::Form;
use std::collections::HashMap;
use std::fmt::Display;

/// Converts the definition of a vector field. The engine checks names and numbers.
pub(super) fn definition(field: &str, name: String, given: pb::VectorField) -> Result<VectorField, Error> {
    use pb::vector_field::Kind;
    let spec = match Kind::try_from(given.kind) {
        Ok(Kind::Unspecified | Kind::Dense) => VectorField::dense(name, given.dimension),
        Ok(Kind::Sparse) => VectorField::sparse(name),
        Ok(Kind::Multi) => VectorField::multi(name, given.dimension),
        Err(_) => return Err(Error::invalid(format!("{field}.vector.kind"), format!("{} is none", given.kind))),
    };
    if spec.kind == VectorKind::Sparse && given.dimension != 0 {
        return Err(Error::invalid(format!("{field}.vector.dimension"), "a sparse field has none: leave it out"));
    }
    let spec = match given.metric {
        0 => spec,
        number => spec.metric(metric(&format!("{field}.vector.metric"), number)?),
    };
    let precision = pb::Precision::try_from(given.precision).map(Precision::from).map_err(|_| {
        Error::invalid(format!("{field}.vector.precision"), format!("{} is not a Precision", given.precision))
    })?;
    Ok(spec.precision(precision).graph(given.m, given.ef_construction, given.ef_search))
}

pub(super) fn definition_message(field: VectorField) -> pb::Field {
    use pb::vector_field::Kind;
    let kind = match field.kind {
        VectorKind::Dense => Kind::Dense,
        VectorKind::Sparse => Kind::Sparse,
        VectorKind::Multi => Kind::Multi,
    };
    let vector = pb::VectorField {
        kind: kind.into(),
        dimension: field.dimension,
        metric: to_proto::metric(field.metric).into(),
        precision: pb::Precision::from(field.precision).into(),
        m: field.m,
        ef_construction: field.ef_construction,
        ef_search: field.ef_search,
    };
    pb::Field { name: field.name, kind: Some(pb::field::Kind::Vector(vector)) }
}

/// Converts the vectors of an item.
pub(super) fn vectors(field: &dyn Display, given: HashMap<String, pb::FieldVector>) -> Result<FieldVectors, Error> {
    if given.len() > MAX_VECTOR_FIELDS {
        let what = format!("has vectors in {} fields, at most {MAX_VECTOR_FIELDS} are allowed", given.len());
        return Err(Error::invalid(field.to_string(), what));
    }
    let convert = |(name, given)| {
        let vector = vector(&format_args!("{field}[{name:?}]"), given)?;
        Ok((name, vector))
    };
    given.into_iter().map(convert).collect()
}

/// Converts a vector in a field.
fn vector(field: &dyn Display, given: pb::FieldVector) -> Result<FieldVector, Error> {
    match given.form {
        None => Err(Error::invalid(field.to_string(), "give a dense, a sparse or a multi-vector")),
        Some(Form::Dense(given)) => Ok(FieldVector::Dense(from_proto::vector(&format_args!("{field}.dense"), given)?)),
        Some(Form::Sparse(pb::SparseVector { indices, values })) => {
            if indices.len() > MAX_NONZEROS {
                let what = format!("has {} components, at most {MAX_NONZEROS} are allowed", indices.len());
                return Err(Error::invalid(format!("{field}.sparse"), what));
            }
            Ok(FieldVector::Sparse(SparseVector { indices, values }))
        }
        Some(Form::Multi(pb::MultiVector { vectors })) => {
            if vectors.len() > MAX_MULTI_VECTORS {
                let what = format!("has {} vectors, at most {MAX_MULTI_VECTORS} are allowed", vectors.len());
                return Err(Error::invalid(format!("{field}.multi"), what));
            }
            let each = vectors.into_iter().enumerate();
            let convert = |(index, given)| from_proto::vector(&format_args!("{field}.multi.vectors[{index}]"), given);
            Ok(FieldVector::Multi(each.map(convert).collect::<Result<_, Error>>()?))
        }
    }
}

/// Converts a query for a vector field.
pub(super) fn query(field: &dyn Display, given: pb::FieldQuery) -> Result<Query, Error> {
    use pb::field_query::Target;
    let target = match given.target {
        None => return Err(Error::invalid(field.to_string(), "give a vector or an id")),
        Some(Target::Vector(given)) => FieldTarget::Vector(vector(&format_args!("{field}.vector"), given)?),
        Some(Target::Id(given)) => FieldTarget::Id(from_proto::id(&format_args!("{field}.id"), given)?),
    };
    Ok(Query::Field(FieldQuery { field: given.field, target }))
}

/// Converts the vectors of a point.
pub(crate) fn messages(vectors: FieldVectors) -> HashMap<String, pb::FieldVector> {
    vectors.into_iter().map(|(name, vector)| (name, message(vector))).collect()
}

/// Converts a vector in a field.
pub(crate) fn message(vector: FieldVector) -> pb::FieldVector {
    let form = match vector {
        FieldVector::Dense(vector) => Form::Dense(to_proto::vector(vector)),
        FieldVector::Sparse(SparseVector { indices, values }) => Form::Sparse(pb::SparseVector { indices, values }),
        FieldVector::Multi(vectors) => {
            Form::Multi(pb::MultiVector { vectors: vectors.into_iter().map(to_proto::vector).collect() })
        }
    };
    pb::FieldVector { form: Some(form) }
}

/// Returns the encoded size of the vectors of a point in its message.
pub(super) fn encoded_len(vectors: &FieldVectors) -> usize {
    let field_len = payload::field_len;
    let numbers = |count: usize| if count == 0 { 0 } else { field_len(4 * count) };
    let dense = |vector: &Vec<f32>| field_len(field_len(numbers(vector.len())));
    let form = |vector: &FieldVector| match vector {
        FieldVector::Dense(vector) => dense(vector),
        FieldVector::Sparse(sparse) => field_len(numbers(sparse.indices.len()) + numbers(sparse.values.len())),
        FieldVector::Multi(vectors) => field_len(vectors.iter().map(dense).sum()),
    };
    // The number of the map takes two bytes.
    let entry =
        |(name, vector): (&String, &FieldVector)| 1 + field_len(field_len(name.len()) + field_len(form(vector)));
    vectors.iter().map(entry).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn the_size_of_vectors_in_a_response_is_known() {
        let multi = FieldVector::Multi(vec![vec![1.0; 100], vec![2.0; 100]]);
        let sparse = |count: u32| {
            FieldVector::Sparse(SparseVector { indices: (0..count).collect(), values: vec![1.0; count as usize] })
        };
        let vectors: FieldVectors = [
            ("d".into(), FieldVector::Dense(vec![0.5; 300])),
            ("empty".into(), sparse(0)),
            ("s".into(), sparse(7)),
            ("m".into(), multi),
        ]
        .into();
        let message = pb::Point { vectors: messages(vectors.clone()), ..Default::default() };
        assert_eq!(encoded_len(&vectors), message.encoded_len());
    }
}
