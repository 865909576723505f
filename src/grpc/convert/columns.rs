//! Conversion of columns: many vectors in one field.

use super::{from_proto, payload};
use crate::api::{Answer, Error, Item, Point, PointInput, Query, SearchParams};
use crate::grpc::limits::{MAX_ITEMS, MAX_QUERIES};
use crate::grpc::pb;
use crate::types::MAX_DIMENSION;
use bytes::BytesMut;
use half::f16;

/// Maximum encoded size of a column, without its components.
const COLUMN_BYTES: usize = 32;

/// A column of valid shape.
struct Rows {
    dimension: usize,
    data: bytes::Bytes,
    format: pb::VectorFormat,
}

fn component_bytes(format: pb::VectorFormat) -> usize {
    match format {
        pb::VectorFormat::Unspecified | pb::VectorFormat::F32 => 4,
        pb::VectorFormat::F16 => 2,
        pb::VectorFormat::I8 => 1,
    }
}

impl Rows {
    /// Checks the shape: a number of vectors between 1 and `max`.
    fn new(field: &str, column: pb::VectorColumn, max: usize) -> Result<Self, Error> {
        let pb::VectorColumn { dimension, data, format } = column;
        let format = pb::VectorFormat::try_from(format)
            .map_err(|_| Error::invalid(format!("{field}.format"), format!("{format} is not a VectorFormat")))?;
        if !(1..=MAX_DIMENSION).contains(&dimension) {
            let why = format!("takes 1 to {MAX_DIMENSION}, got {dimension}");
            return Err(Error::invalid(format!("{field}.dimension"), why));
        }
        let row = dimension as usize * component_bytes(format);
        if !data.len().is_multiple_of(row) {
            let why = format!(
                "has {} bytes, which is not a multiple of {row}, the bytes of a vector of {dimension} components",
                data.len()
            );
            return Err(Error::invalid(format!("{field}.data"), why));
        }
        let rows = Self { dimension: dimension as usize, data, format };
        from_proto::count(&format!("{field}.data"), rows.len(), max)?;
        Ok(rows)
    }

    fn row_bytes(&self) -> usize {
        self.dimension * component_bytes(self.format)
    }

    fn len(&self) -> usize {
        self.data.len() / self.row_bytes()
    }

    /// Returns the vectors, in order; for one with a component that is not finite, an error.
    fn vectors<'r>(&'r self, field: &'r str) -> impl Iterator<Item = Result<Vec<f32>, Error>> + 'r {
        self.data.chunks_exact(self.row_bytes()).enumerate().map(move |(row, bytes)| {
            let vector: Vec<f32> = match self.format {
                pb::VectorFormat::Unspecified | pb::VectorFormat::F32 => {
                    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
                }
                pb::VectorFormat::F16 => {
                    bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()
                }
                pb::VectorFormat::I8 => bytes.iter().map(|byte| f32::from(byte.cast_signed())).collect(),
            };
            match vector.iter().position(|component| !component.is_finite()) {
                None => Ok(vector),
                Some(index) => {
                    let why = format!("component {index} of vector {row} is {}; components are finite", vector[index]);
                    Err(Error::invalid(format!("{field}.data"), why))
                }
            }
        })
    }
}

/// Returns the additional memory that a column takes as numbers, bytes.
pub(crate) fn added_bytes(column: Option<&pb::VectorColumn>) -> usize {
    column.map_or(0, |column| {
        let bytes = pb::VectorFormat::try_from(column.format).map_or(4, component_bytes);
        column.data.len() * (4 / bytes - 1)
    })
}

/// Converts the items of columns: each with its id as received. The outer error is one of the shape.
#[allow(clippy::type_complexity, reason = "an id and its item, or the reason for its refusal")]
pub(crate) fn each_item(field: &str, columns: pb::ItemColumns) -> Result<Vec<(String, Result<Item, Error>)>, Error> {
    let pb::ItemColumns { ids, vectors, payload_json } = columns;
    let Some(column) = vectors else {
        return Err(Error::invalid(format!("{field}.vectors"), "is missing"));
    };
    let at = format!("{field}.vectors");
    let rows = Rows::new(&at, column, MAX_ITEMS)?;
    let count = rows.len();
    if ids.len() != count {
        let why = format!("takes one id per vector: {count}, got {}", ids.len());
        return Err(Error::invalid(format!("{field}.ids"), why));
    }
    if !payload_json.is_empty() && payload_json.len() != count {
        let why = format!("takes none, or one text per vector: {count}, got {}", payload_json.len());
        return Err(Error::invalid(format!("{field}.payload_json"), why));
    }
    let mut payloads = payload_json.into_iter();
    let items = ids.into_iter().zip(rows.vectors(&at)).enumerate().map(|(index, (id, vector))| {
        let json = payloads.next().unwrap_or_default();
        let given = id.clone();
        let item = from_proto::id(&format_args!("{field}.ids[{index}]"), id).and_then(|id| {
            let payload = payload::from_wire(None, &json, &format_args!("{field}.payload_json[{index}]"))?;
            Ok(Item { id, source: PointInput::Vector(vector?), payload, vectors: Default::default() })
        });
        (given, item)
    });
    Ok(items.collect())
}

/// Converts the items of an upsert, or of its columns.
pub(crate) fn items(items: Vec<pb::Item>, columns: Option<pb::ItemColumns>) -> Result<Vec<Item>, Error> {
    match columns {
        None => from_proto::items(items),
        Some(_) if !items.is_empty() => Err(Error::invalid("columns", "excludes items; give one of them")),
        Some(columns) => each_item("columns", columns)?.into_iter().map(|(_, item)| item).collect(),
    }
}

/// Converts the queries of a batch, or of its column.
pub(crate) fn queries(
    queries: Vec<pb::Query>,
    column: Option<pb::VectorColumn>,
    params: &SearchParams,
) -> Result<Vec<Query>, Error> {
    match column {
        None => from_proto::queries(queries, params),
        Some(_) if !queries.is_empty() => Err(Error::invalid("vectors", "excludes queries; give one of them")),
        Some(column) => {
            let rows = Rows::new("vectors", column, MAX_QUERIES)?;
            from_proto::batch_hits("vectors", rows.len(), params.max_hits())?;
            rows.vectors("vectors").map(|vector| vector.map(Query::Vector)).collect()
        }
    }
}

/// Returns the bytes of one vector of a column, at least 1.
pub(crate) fn row_bytes(column: &pb::VectorColumn) -> usize {
    (column.dimension as usize).saturating_mul(component_bytes(column.format())).max(1)
}

/// Returns the query for one vector of a column.
pub(crate) fn query_at(column: &pb::VectorColumn, index: usize) -> Option<pb::Query> {
    let row = row_bytes(column);
    let start = index.checked_mul(row)?;
    let data = column.data.get(start..start.checked_add(row)?)?;
    let one = pb::VectorColumn { data: bytes::Bytes::copy_from_slice(data), ..column.clone() };
    let values = Rows::new("vectors", one, 1).ok()?.vectors("vectors").next()?.ok()?;
    Some(pb::Query { form: Some(pb::query::Form::Vector(super::to_proto::vector(values))) })
}

/// Appends the column of the next page of a response.
pub(crate) fn extend(all: &mut Option<pb::VectorColumn>, page: Option<pb::VectorColumn>) {
    match (all, page) {
        (Some(all), Some(page)) if !page.data.is_empty() => {
            // Grows in place: the bytes are not shared.
            let mut data = BytesMut::from(std::mem::take(&mut all.data));
            data.extend_from_slice(&page.data);
            all.data = data.freeze();
            all.dimension = page.dimension;
        }
        (all @ None, page) => *all = page,
        _ => {}
    }
}

/// Whether the vectors of a response are returned as a column.
pub(crate) fn wanted(fields: Option<&pb::Fields>) -> bool {
    fields.is_some_and(|fields| fields.vector && fields.vectors_as_column)
}

/// Returns the bytes of a response that are reserved for its column.
pub(crate) fn reserved(wanted: bool) -> usize {
    if wanted { COLUMN_BYTES } else { 0 }
}

/// Moves the vectors of points into a column, if that is `wanted` and all of them have one.
fn taken<'p>(points: impl Iterator<Item = &'p mut Point>, wanted: bool) -> Option<pb::VectorColumn> {
    let points: Vec<&mut Point> = points.collect();
    if !wanted || points.iter().any(|point| point.vector.is_none()) {
        return None;
    }
    let (mut data, mut dimension) = (Vec::new(), 0);
    for vector in points.into_iter().filter_map(|point| point.vector.take()) {
        dimension = vector.len() as u32;
        data.extend(vector.iter().flat_map(|component| component.to_le_bytes()));
    }
    Some(pb::VectorColumn { dimension, data: data.into(), format: pb::VectorFormat::F32.into() })
}

/// Moves the vectors of a list of points into a column.
pub(crate) fn of_points(points: &mut [Point], wanted: bool) -> Option<pb::VectorColumn> {
    taken(points.iter_mut(), wanted)
}

/// Moves the vectors of the points that were found into a column.
pub(crate) fn of_found(points: &mut [Option<Point>], wanted: bool) -> Option<pb::VectorColumn> {
    taken(points.iter_mut().flatten(), wanted)
}

/// Moves the vectors of the hits of an answer into a column.
pub(crate) fn of_answer(answer: &mut Answer, wanted: bool) -> Option<pb::VectorColumn> {
    taken(answer.hits.iter_mut().map(|hit| &mut hit.point), wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PointId;

    fn column(dimension: u32, data: Vec<u8>, format: pb::VectorFormat) -> pb::VectorColumn {
        pb::VectorColumn { dimension, data: data.into(), format: format.into() }
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[track_caller]
    fn check<T: std::fmt::Debug>(result: Result<T, Error>, field: &str, part: &str) {
        let error = result.expect_err("should be refused").to_string();
        assert!(error.contains(field) && error.contains(part), "{error} should contain {field} and {part}");
    }

    fn read(column: pb::VectorColumn) -> Result<Vec<Vec<f32>>, Error> {
        Rows::new("v", column, 10)?.vectors("v").collect()
    }

    #[test]
    fn every_format_is_read() {
        let expected = vec![vec![1.0, -2.5], vec![0.0, 0.125]];
        assert_eq!(read(column(2, f32s(&expected.concat()), pb::VectorFormat::F32)).unwrap(), expected);
        assert_eq!(read(column(2, f32s(&expected.concat()), pb::VectorFormat::Unspecified)).unwrap(), expected);
        let halves = expected.concat().iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        assert_eq!(read(column(2, halves, pb::VectorFormat::F16)).unwrap(), expected);
        let bytes = vec![0, 127, 128, 255];
        assert_eq!(read(column(2, bytes, pb::VectorFormat::I8)).unwrap(), [[0.0, 127.0], [-128.0, -1.0]]);
    }

    #[test]
    fn invalid_columns_name_field_and_limit() {
        let f32 = pb::VectorFormat::F32;
        check(read(column(0, vec![], f32)), "v.dimension", "1 to 65536");
        check(read(column(65_537, vec![], f32)), "v.dimension", "65537");
        check(read(column(2, vec![0; 7], f32)), "v.data", "7 bytes");
        check(read(column(2, vec![0; 12], f32)), "v.data", "multiple of 8");
        check(read(column(2, vec![], f32)), "v.data", "1 to 10");
        check(read(column(1, vec![0; 44], f32)), "v.data", "11");
        check(read(pb::VectorColumn { format: 9, ..column(1, vec![0; 4], f32) }), "v.format", "9");
        check(read(column(2, f32s(&[0.0, 1.0, 2.0, f32::NAN]), f32)), "v.data", "component 1 of vector 1 is NaN");
        let infinite = f16::INFINITY.to_le_bytes().to_vec();
        check(read(column(1, infinite, pb::VectorFormat::F16)), "v.data", "component 0 of vector 0 is inf");
    }

    #[test]
    fn parts_of_columns_have_one_length() {
        let columns = |ids: &[&str], payload_json: &[&str]| pb::ItemColumns {
            ids: ids.iter().map(ToString::to_string).collect(),
            vectors: Some(column(1, f32s(&[1.0, 2.0]), pb::VectorFormat::F32)),
            payload_json: payload_json.iter().map(ToString::to_string).collect(),
        };
        let all = |columns| items(Vec::new(), Some(columns));
        let read = all(columns(&["a", "b"], &["{\"n\":1}", ""])).unwrap();
        let payload = serde_json::from_str("{\"n\":1}").unwrap();
        let source = |value| PointInput::Vector(vec![value]);
        let first = Item { id: PointId::new("a").unwrap(), source: source(1.0), payload, vectors: Default::default() };
        let second = Item {
            id: PointId::new("b").unwrap(),
            source: source(2.0),
            payload: Default::default(),
            vectors: Default::default(),
        };
        assert_eq!(read, [first, second]);
        check(all(columns(&["a"], &[])), "columns.ids", "2, got 1");
        check(all(columns(&["a", "b"], &["{}"])), "columns.payload_json", "2, got 1");
        check(all(columns(&["a", ""], &[])), "columns.ids[1]", "1 to 128");
        check(all(columns(&["a", "b"], &["{}", "[1]"])), "columns.payload_json[1]", "");
        check(all(pb::ItemColumns::default()), "columns.vectors", "missing");
        check(items(vec![pb::Item::default()], Some(columns(&["a", "b"], &[]))), "columns", "excludes items");
        let some = Some(column(1, f32s(&[1.0; 101]), pb::VectorFormat::F32));
        check(queries(vec![], some.clone(), &SearchParams::new(10_000)), "vectors", "1010000");
        check(queries(vec![pb::Query::default()], some, &SearchParams::new(1)), "vectors", "excludes queries");
        let many = column(1, vec![0; 1_001], pb::VectorFormat::I8);
        check(queries(vec![], Some(many), &SearchParams::new(1)), "vectors.data", "1 to 1000");
    }

    #[test]
    fn the_memory_of_numbers_is_counted() {
        for (format, added) in [(pb::VectorFormat::F32, 0), (pb::VectorFormat::F16, 8), (pb::VectorFormat::I8, 24)] {
            assert_eq!(added_bytes(Some(&column(8, vec![0; 8], format))), added, "{format:?}");
        }
        assert_eq!(added_bytes(None), 0);
    }
}
