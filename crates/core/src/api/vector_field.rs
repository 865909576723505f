//! Limits and validation of vector fields, and of the vectors in them.

use super::Error;
use super::limits::{self, MAX_EF};
use super::text_field::check_name;
pub use crate::store::body::{
    FieldVector, MAX_FIELDS_BYTES, MAX_MULTI_COMPONENTS, MAX_MULTI_VECTORS, MAX_NONZEROS, SparseVector,
};
pub use crate::store::{VectorField, VectorKind};
use crate::types::{MAX_DIMENSION, Metric, PointId, Precision};
use std::collections::BTreeMap;

/// Maximum vector fields of a collection.
pub const MAX_VECTOR_FIELDS: usize = 16;

/// Vectors of a point, by the names of their fields.
pub type FieldVectors = BTreeMap<String, FieldVector>;

/// A query for points with a near vector in a vector field. Points without a vector there are not found.
///
/// The score of a hit is the similarity by the metric of the field; for a sparse field, the dot product; for a
/// multi-vector field, the sum over the vectors of the query of their best similarity to one of the point (MaxSim). For
/// the last two, the distance is the negated score.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldQuery {
    /// Name of the field.
    pub field: String,
    /// What to find.
    pub target: FieldTarget,
}

/// The target of a [`FieldQuery`].
#[derive(Clone, Debug, PartialEq)]
pub enum FieldTarget {
    /// A vector of the kind of the field. A dense vector is also accepted by a multi-vector field.
    Vector(FieldVector),
    /// A stored point with a vector in the field; it is excluded from the hits.
    Id(PointId),
}

impl FieldQuery {
    /// A query for a vector.
    pub fn vector(field: impl Into<String>, vector: FieldVector) -> Self {
        Self { field: field.into(), target: FieldTarget::Vector(vector) }
    }

    /// A query for the vector of a stored point.
    pub fn id(field: impl Into<String>, id: PointId) -> Self {
        Self { field: field.into(), target: FieldTarget::Id(id) }
    }
}

impl VectorField {
    /// Checks the name and the numbers. `root` is the path of the field in the request, for errors.
    pub(crate) fn validate(&self, root: &str) -> Result<(), Error> {
        let invalid = |part: &str, what: String| Err(Error::invalid(format!("{root}.{part}"), what));
        check_name(root, &self.name)?;
        let kind = self.kind.name();
        match self.kind {
            VectorKind::Sparse if self.dimension != 0 => return invalid("dimension", "a sparse field has none".into()),
            VectorKind::Sparse if self.metric != Metric::Dot => {
                return invalid("metric", "a sparse field is always compared by the dot product".into());
            }
            VectorKind::Sparse if self.precision != Precision::F32 => {
                return invalid("precision", "a sparse field always stores f32".into());
            }
            VectorKind::Multi if self.metric == Metric::L2 => {
                return invalid("metric", "a multi-vector field takes cosine or dot".into());
            }
            VectorKind::Dense | VectorKind::Multi if !(1..=MAX_DIMENSION).contains(&self.dimension) => {
                return invalid("dimension", format!("must be 1 to {MAX_DIMENSION}, got {}", self.dimension));
            }
            _ => {}
        }
        let ranges = [
            ("m", self.m, 2, 128),
            ("ef_construction", self.ef_construction, 1, 4_096),
            ("ef_search", self.ef_search, 1, MAX_EF),
        ];
        for (part, value, min, max) in ranges {
            if value != 0 && self.kind != VectorKind::Dense {
                return invalid(part, format!("a {kind} field has no graph"));
            }
            if value != 0 && !(min..=max).contains(&value) {
                return invalid(part, format!("must be {min} to {max}, or 0 for that of the collection, got {value}"));
            }
        }
        Ok(())
    }

    /// Checks a vector for this field, and rounds it to the stored precision. `root` is its path, for errors.
    pub(crate) fn prepare(&self, root: &str, vector: FieldVector) -> Result<FieldVector, Error> {
        let dense = |root: &str, vector: Vec<f32>| {
            limits::vector_of(root, &vector, &format!("the field {:?}", self.name), self.dimension, self.metric)?;
            limits::rounded(&|| root.to_owned(), vector, self.precision, self.dimension, self.metric)
        };
        match (self.kind, vector) {
            (VectorKind::Dense, FieldVector::Dense(vector)) => Ok(FieldVector::Dense(dense(root, vector)?)),
            (VectorKind::Sparse, FieldVector::Sparse(sparse)) => {
                check_sparse(root, &sparse)?;
                Ok(FieldVector::Sparse(sparse))
            }
            (VectorKind::Multi, FieldVector::Multi(vectors)) => {
                let components = vectors.len().saturating_mul(self.dimension as usize);
                if !(1..=MAX_MULTI_VECTORS).contains(&vectors.len()) || components > MAX_MULTI_COMPONENTS {
                    let what = format!(
                        "must have 1 to {MAX_MULTI_VECTORS} vectors and at most {MAX_MULTI_COMPONENTS} components in all, \
                         got {} vectors: split the input",
                        vectors.len()
                    );
                    return Err(Error::invalid(root, what));
                }
                let each = vectors.into_iter().enumerate();
                let vectors = each.map(|(index, vector)| dense(&format!("{root}[{index}]"), vector));
                Ok(FieldVector::Multi(vectors.collect::<Result<_, _>>()?))
            }
            (VectorKind::Multi, FieldVector::Dense(vector)) => Ok(FieldVector::Multi(vec![dense(root, vector)?])),
            (kind, vector) => {
                let given = match vector {
                    FieldVector::Dense(_) => "dense",
                    FieldVector::Sparse(_) => "sparse",
                    FieldVector::Multi(_) => "multi",
                };
                let what = format!("the field {:?} takes {} vectors, got a {given} one", self.name, kind.name());
                Err(Error::invalid(root, what))
            }
        }
    }
}

fn check_sparse(root: &str, sparse: &SparseVector) -> Result<(), Error> {
    let (indices, values) = (&sparse.indices, &sparse.values);
    if indices.len() != values.len() || indices.len() > MAX_NONZEROS {
        let what = format!(
            "must have as many indices as values, at most {MAX_NONZEROS}, got {} and {}",
            indices.len(),
            values.len()
        );
        return Err(Error::invalid(root, what));
    }
    if let Some(at) = (1..indices.len()).find(|&at| indices[at - 1] >= indices[at]) {
        let what = format!("must ascend without repetition, got {} after {}: sort them", indices[at], indices[at - 1]);
        return Err(Error::invalid(format!("{root}.indices[{at}]"), what));
    }
    // The limit keeps sums far from overflow.
    if let Some(at) = values.iter().position(|value| value.is_nan() || value.abs() > limits::MAX_NORM) {
        let what = format!("must be a number of at most {:e}, got {}", limits::MAX_NORM, values[at]);
        return Err(Error::invalid(format!("{root}.values[{at}]"), what));
    }
    Ok(())
}

/// Checks the vector fields of a collection, without the names of others.
pub(crate) fn validate(fields: &[VectorField]) -> Result<(), Error> {
    if fields.len() > MAX_VECTOR_FIELDS {
        let what = format!("a collection has at most {MAX_VECTOR_FIELDS} vector fields, got {}", fields.len());
        return Err(Error::invalid("vector_fields", what));
    }
    fields.iter().enumerate().try_for_each(|(index, field)| field.validate(&format!("vector_fields[{index}]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_checked_against_their_field() {
        let dense = VectorField::dense("d", 2);
        let sparse = VectorField::sparse("s");
        let multi = VectorField::multi("m", 2);
        let sparse_of = |indices: &[u32], values: &[f32]| {
            FieldVector::Sparse(SparseVector { indices: indices.to_vec(), values: values.to_vec() })
        };
        let error = |field: &VectorField, vector: FieldVector| field.prepare("v", vector).unwrap_err().to_string();
        assert!(error(&dense, FieldVector::Dense(vec![1.0])).contains("\"d\" takes vectors of 2 components"));
        assert!(error(&dense, FieldVector::Dense(vec![0.0, 0.0])).contains("cosine"));
        assert!(error(&dense, sparse_of(&[], &[])).contains("takes dense vectors, got a sparse one"));
        assert!(error(&sparse, sparse_of(&[1, 2], &[1.0])).contains("as many indices as values"));
        assert!(error(&sparse, sparse_of(&[2, 2], &[1.0, 1.0])).contains("v.indices[1]"));
        assert!(error(&sparse, sparse_of(&[1, 2], &[1.0, f32::NAN])).contains("v.values[1]"));
        assert!(error(&multi, FieldVector::Multi(Vec::new())).contains("1 to 4096 vectors"));
        assert!(error(&multi, FieldVector::Multi(vec![vec![1.0, 0.0], vec![1.0]])).contains("v[1]"));
        let one = multi.prepare("v", FieldVector::Dense(vec![1.0, 2.0])).unwrap();
        assert_eq!(one, FieldVector::Multi(vec![vec![1.0, 2.0]]));
        sparse.prepare("v", sparse_of(&[0, u32::MAX], &[-1.0, 0.0])).unwrap();
        let i8 = dense.precision(Precision::I8).prepare("v", FieldVector::Dense(vec![0.3, 1.0])).unwrap();
        assert_eq!(i8, FieldVector::Dense(vec![0.296_875, 1.0]));
    }

    #[test]
    fn definitions_out_of_range_are_refused() {
        let error = |field: VectorField| field.validate("f").unwrap_err().to_string();
        assert!(error(VectorField::dense("a b", 2)).contains("f.name"));
        assert!(error(VectorField::dense("a", 0)).contains("f.dimension"));
        assert!(error(VectorField::multi("a", 2).metric(Metric::L2)).contains("f.metric"));
        assert!(error(VectorField::sparse("a").metric(Metric::Cosine)).contains("f.metric"));
        assert!(error(VectorField::dense("a", 2).graph(1, 0, 0)).contains("f.m"));
        assert!(error(VectorField::multi("a", 2).graph(0, 100, 0)).contains("no graph"));
        VectorField::dense("a", 2).graph(16, 200, 0).validate("f").unwrap();
    }
}
