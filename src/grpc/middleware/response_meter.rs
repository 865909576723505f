//! Size of a response in construction: encoded bytes against the request's limit, memory against the shared limit.

use super::memory_limit::MemoryPermit;
use crate::api::{AnalyzedToken, Error, FieldVector, Meter, Payload, Point};
use crate::grpc::convert::to_proto;
use crate::grpc::{pb, status};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Form of the points in a response.
#[derive(Clone, Copy)]
pub(crate) enum ResponseForm {
    /// A list of points.
    Points,
    /// Points by id. An id without a point is listed instead.
    PointsOfIds,
    /// Hits.
    Hits,
}

/// Counts the points of one response.
pub(crate) struct ResponseMeter {
    limit: usize,
    /// Largest limit that the client may request.
    max: usize,
    form: ResponseForm,
    /// Size of the response without points, bytes.
    base: usize,
    bytes: AtomicUsize,
    memory_permit: Arc<MemoryPermit>,
}

impl ResponseMeter {
    /// Creates a meter for a response of at most `limit` bytes, `base` of them without its points.
    pub(crate) fn new(
        limit: usize,
        max: usize,
        form: ResponseForm,
        base: usize,
        memory_permit: Arc<MemoryPermit>,
    ) -> Self {
        Self { limit, max, form, base, bytes: AtomicUsize::new(base), memory_permit }
    }

    /// Counts bytes; returns whether they fit.
    fn add_bytes(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.limit
    }

    /// Reserves the memory of a part of the response.
    fn reserve(&self, memory: usize) -> Result<(), Error> {
        self.memory_permit.reserve(memory).map_err(|full| Error::Overloaded(full.message().to_owned()))
    }

    /// Counts a collection of the response. Returns false, and counts nothing, if it does not fit after others.
    ///
    /// # Errors
    /// Those of [`add`](Meter::add).
    pub(crate) fn add_collection(&self, collection: &pb::Collection) -> Result<bool, Error> {
        let (bytes, before) = (to_proto::collection_bytes(collection), self.bytes.load(Ordering::Relaxed));
        if before + bytes <= self.limit {
            self.bytes.store(before + bytes, Ordering::Relaxed);
            return self.reserve(to_proto::collection_memory(collection)).map(|()| true);
        }
        if before > self.base {
            return Ok(false);
        }
        let what = format!("the collection {:?}", collection.name);
        let less = "list the collections after it";
        let why = status::part_too_large(&what, bytes, self.base, self.limit, self.max, less);
        Err(Error::ResponseTooLarge(why))
    }
}

impl Meter for ResponseMeter {
    fn add(&self, point: &Point) -> Result<(), Error> {
        let bytes = match self.form {
            ResponseForm::Points => to_proto::point_bytes(point),
            // Its id is in the base.
            ResponseForm::PointsOfIds => to_proto::point_bytes(point).saturating_sub(to_proto::id_bytes(&point.id)),
            ResponseForm::Hits => to_proto::hit_bytes(point),
        };
        if !self.add_bytes(bytes) {
            let less = match self.form {
                ResponseForm::PointsOfIds => "request fewer fields, or fewer ids per request",
                ResponseForm::Points | ResponseForm::Hits => "request fewer fields",
            };
            let what = format!("the point {:?}", point.id.as_str());
            let why = status::part_too_large(&what, bytes, self.base, self.limit, self.max, less);
            return Err(Error::ResponseTooLarge(why));
        }
        self.reserve(memory_of(point))
    }

    fn add_answer(&self, fused: usize) -> Result<(), Error> {
        if self.add_bytes(to_proto::ANSWER_BYTES + fused * to_proto::FUSED_BYTES) {
            return Ok(());
        }
        Err(Error::ResponseTooLarge(status::response_limit(self.limit, self.max)))
    }

    fn add_token(&self, token: &AnalyzedToken) -> Result<(), Error> {
        if !self.add_bytes(to_proto::token_bytes(token)) {
            return Err(Error::ResponseTooLarge(status::terms_limit(self.limit, self.max)));
        }
        // A list has room for up to twice its tokens; an allocation takes at least two pointers more.
        self.reserve(2 * size_of::<AnalyzedToken>() + token.term.len() + 2 * size_of::<usize>())
    }

    fn charge(&self, bytes: usize) -> Result<(), Error> {
        self.memory_permit.add(bytes).map_err(|full| Error::Overloaded(full.message().to_owned()))
    }

    fn left(&self) -> usize {
        self.limit.saturating_sub(self.bytes.load(Ordering::Relaxed))
    }

    fn restart(&self) {
        self.bytes.store(self.base, Ordering::Relaxed);
        self.memory_permit.release_reserved();
    }
}

/// Size of a leaf node of a `BTreeMap<String, Value>`, which has room for 11 entries, bytes.
const NODE_BYTES: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 16;
/// Minimum number of entries per node, if there are several nodes.
const MIN_NODE_ENTRIES: usize = 5;

/// Estimates the memory of a point, bytes.
fn memory_of(point: &Point) -> usize {
    let vector = point.vector.as_ref().map_or(0, |vector| vector.len() * size_of::<f32>());
    let field = |(name, vector): (&String, &FieldVector)| NODE_BYTES + name.len() + 4 * vector.numbers();
    let vectors: usize = point.vectors.iter().map(field).sum();
    size_of::<Point>() + vectors + point.id.as_str().len() + vector + point.payload.as_ref().map_or(0, object)
}

fn object(object: &Payload) -> usize {
    let nodes = object.len().div_ceil(MIN_NODE_ENTRIES) * NODE_BYTES;
    nodes + object.iter().map(|(name, value)| name.len() + heap(value)).sum::<usize>()
}

/// Heap memory of a value, excluding the value itself, bytes.
fn heap(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(|value| size_of::<Value>() + heap(value)).sum(),
        Value::Object(fields) => object(fields),
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory_limit::MemoryLimit;
    use super::*;
    use crate::types::PointId;

    fn point(payload: Value) -> Point {
        let payload = payload.as_object().cloned();
        Point { id: PointId::new("point").unwrap(), vector: Some(vec![1.0; 100]), payload, vectors: Default::default() }
    }

    #[test]
    fn a_response_ends_at_its_limit_and_is_charged_to_the_shared_memory() {
        let memory_limit = Arc::new(MemoryLimit::new(1 << 20));
        let memory_permit = Arc::new(memory_limit.permit());
        let meter = ResponseMeter::new(1_000, 2_000, ResponseForm::Points, 50, memory_permit.clone());
        let small = point(serde_json::json!({ "a": 1 }));
        meter.add(&small).unwrap();
        meter.add(&small).unwrap();
        assert!(memory_limit.used() >= 800, "{}", memory_limit.used());
        match meter.add(&small) {
            Err(Error::ResponseTooLarge(why)) => {
                assert!(["1000", "2000", "\"point\"", "50"].iter().all(|part| why.contains(part)), "{why}");
            }
            other => panic!("{other:?}"),
        }
        meter.restart();
        assert_eq!(memory_limit.used(), 0);
        meter.add(&small).unwrap();
        drop((meter, memory_permit));
        assert_eq!(memory_limit.used(), 0);
    }

    #[test]
    fn a_list_of_collections_ends_at_its_limit_and_is_charged() {
        let memory_limit = Arc::new(MemoryLimit::new(10_000));
        let meter = |limit| ResponseMeter::new(limit, 2_000, ResponseForm::Points, 50, Arc::new(memory_limit.permit()));
        let collection = pb::Collection { name: "long".repeat(50), ..Default::default() };
        let list = meter(500);
        assert!(list.add_collection(&collection).unwrap() && list.add_collection(&collection).unwrap());
        assert!(memory_limit.used() >= 2 * (size_of::<pb::Collection>() + 200), "{}", memory_limit.used());
        let used = memory_limit.used();
        assert!(!list.add_collection(&collection).unwrap(), "the list ends");
        assert!(list.add_collection(&pb::Collection::default()).unwrap(), "what does not fit is not counted");
        assert_eq!(memory_limit.used() - used, size_of::<pb::Collection>());
        drop(list);
        match meter(200).add_collection(&collection) {
            Err(Error::ResponseTooLarge(why)) => {
                assert!(["200", "2000", "\"long", "50"].iter().all(|part| why.contains(part)), "{why}");
            }
            other => panic!("{other:?}"),
        }
        let many = pb::Collection { segments: vec![pb::Segment::default(); 10_000], ..Default::default() };
        let large = ResponseMeter::new(1 << 30, 1 << 30, ResponseForm::Points, 0, Arc::new(memory_limit.permit()));
        assert!(matches!(large.add_collection(&many), Err(Error::Overloaded(why)) if why.contains("10000")));
        assert_eq!(memory_limit.used(), 0);
    }

    #[test]
    fn small_objects_are_charged_their_memory() {
        let memory_limit = Arc::new(MemoryLimit::new(1 << 20));
        let meter = ResponseMeter::new(1 << 30, 1 << 30, ResponseForm::Hits, 0, Arc::new(memory_limit.permit()));
        // 8 bytes of JSON each, and one map node.
        let many = point(serde_json::json!({ "a": vec![serde_json::json!({ "a": 1 }); 10_000] }));
        assert!(matches!(meter.add(&many), Err(Error::Overloaded(why)) if why.contains("1048576")));
    }
}
