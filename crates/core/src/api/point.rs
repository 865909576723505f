//! Points: input items, stored points, results of writes.

use super::{FieldVector, FieldVectors, SkippedItems};
use crate::embed::Fingerprint;
use crate::types::PointId;

/// Maximum size of a point's payload, bytes of JSON.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// A JSON object stored with a point.
pub type Payload = serde_json::Map<String, serde_json::Value>;

/// The input from which a point's vector is computed.
#[derive(Clone, Debug, PartialEq)]
pub enum PointInput {
    /// A vector of the collection's dimension.
    Vector(Vec<f32>),
    /// Text for the collection's embedder.
    Text(String),
    /// An image for the collection's embedder: the bytes of a file, or raw pixels.
    Image(Vec<u8>),
    /// A vector computed by the collection's embedder, with its input. If the collection has a different embedder by
    /// the time of the write, the input is embedded again.
    Embedded {
        /// The vector.
        vector: Vec<f32>,
        /// Fingerprint of the embedder.
        by: Fingerprint,
        /// Output of the embedder.
        output: &'static str,
        /// The text or image.
        source: Box<PointInput>,
    },
    /// Nothing: the point has no vector, which the collection must allow. An
    /// [update of vectors](crate::engine::Writes::update_vectors) keeps the stored vector instead.
    None,
}

/// One point to upsert.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Point id; an existing point with this id is replaced.
    pub id: PointId,
    /// Vector, or input to embed.
    pub source: PointInput,
    /// Payload stored with the point.
    pub payload: Payload,
    /// Vectors in vector fields. A point may have none in a field.
    pub vectors: FieldVectors,
}

impl Item {
    /// A point with this vector.
    pub fn vector(id: PointId, vector: impl Into<Vec<f32>>) -> Self {
        Self { id, source: PointInput::Vector(vector.into()), payload: Payload::new(), vectors: FieldVectors::new() }
    }

    /// A point whose vector is computed from a text, which is stored in the payload.
    pub fn text(id: PointId, text: impl Into<String>) -> Self {
        Self { id, source: PointInput::Text(text.into()), payload: Payload::new(), vectors: FieldVectors::new() }
    }

    /// A point whose vector is computed from an image, which is stored in the payload.
    pub fn image(id: PointId, image: impl Into<Vec<u8>>) -> Self {
        Self { id, source: PointInput::Image(image.into()), payload: Payload::new(), vectors: FieldVectors::new() }
    }

    /// Adds a vector in a vector field.
    pub fn field_vector(mut self, field: impl Into<String>, vector: FieldVector) -> Self {
        self.vectors.insert(field.into(), vector);
        self
    }

    /// Sets the payload.
    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// Sets one field of the payload.
    pub fn field(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.payload.insert(name.into(), value.into());
        self
    }
}

/// Parts of a point to return besides its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Return the payload.
    pub payload: bool,
    /// Return the vector, and the vectors in vector fields.
    pub vector: bool,
}

impl Fields {
    /// The id only.
    pub const NONE: Self = Self { payload: false, vector: false };
    /// The payload.
    pub const PAYLOAD: Self = Self { payload: true, vector: false };
    /// The payload and the vector.
    pub const ALL: Self = Self { payload: true, vector: true };
}

/// A stored point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Point id.
    pub id: PointId,
    /// The vector in its stored precision, if requested, and if the point has one.
    pub vector: Option<Vec<f32>>,
    /// The payload, if requested.
    pub payload: Option<Payload>,
    /// The vectors in vector fields in their stored precision, if vectors are requested.
    pub vectors: FieldVectors,
}

/// One page of a scroll.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Points in the order of their ids.
    pub points: Vec<Point>,
    /// Whether more points follow.
    pub more: bool,
}

/// Result of an upsert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upserted {
    /// Sequence number of the write, which is durable.
    pub sequence: u64,
    /// New points.
    pub inserted: u64,
    /// Points that replaced an existing one.
    pub replaced: u64,
    /// Replaced points whose vector and payload did not change.
    pub unchanged: u64,
    /// Blocks removed because their texts were split again.
    pub removed: u64,
    /// Fingerprint of the collection's embedder; none for plain vectors.
    pub fingerprint: Option<Fingerprint>,
    /// Items that were not written because of the condition of the upsert.
    pub skipped: SkippedItems,
}

/// Result of a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Sequence number of the write, durable by now.
    pub sequence: u64,
    /// Points deleted.
    pub deleted: u64,
    /// Ids without a point.
    pub missing: Vec<PointId>,
}
