//! Collections: parameters, state, generations.

use super::{Error, TextField, Ttl, VectorField};
use crate::embed::Fingerprint;
use crate::types::{CollectionName, Metric, Precision};

/// Settings of a collection's index. A number that is 0, as all are by default, takes its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexSettings {
    /// Maximum links per node on the upper layers (HNSW's M); 2 * `m` on the bottom layer.
    pub m: u32,
    /// Size of the candidate list while building.
    pub ef_construction: u32,
    /// Size of the candidate list while searching, unless the query sets it.
    pub ef_search: u32,
    /// Number of growing points at which a segment is sealed.
    pub seal_rows: u32,
    /// Storage format of vector components.
    pub precision: Precision,
}

impl IndexSettings {
    /// Sets the maximum links per node.
    pub const fn m(mut self, links: u32) -> Self {
        self.m = links;
        self
    }

    /// Sets the size of the candidate list while building.
    pub const fn ef_construction(mut self, candidates: u32) -> Self {
        self.ef_construction = candidates;
        self
    }

    /// Sets the size of the candidate list while searching.
    pub const fn ef_search(mut self, candidates: u32) -> Self {
        self.ef_search = candidates;
        self
    }

    /// Sets the number of growing points at which a segment is sealed.
    pub const fn seal_rows(mut self, rows: u32) -> Self {
        self.seal_rows = rows;
        self
    }

    /// Sets the storage format of vector components.
    pub const fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }
}

/// Source of a collection's vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VectorSource {
    /// None: points have payloads, and vectors in vector fields.
    None,
    /// Vectors supplied by the user.
    Plain {
        /// Number of components.
        dimension: u32,
    },
    /// Vectors computed by an embedder of this process.
    Embedded {
        /// Name of the embedder.
        embedder: String,
        /// Name of the output; empty for the embedder's default output.
        output: String,
    },
}

/// Parameters of a new collection. The metric is cosine and the index has its defaults, unless set.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CollectionSpec {
    /// Name of the collection.
    pub name: CollectionName,
    /// Source of its vectors.
    pub space: VectorSource,
    /// Distance metric.
    pub metric: Metric,
    /// Index settings; a field that is 0 takes its default.
    pub index: IndexSettings,
    /// Text fields for keyword queries. None: a collection with a text embedder has
    /// [one over its texts](TextField::of_embedded_texts), any other has none.
    pub text_fields: Option<Vec<TextField>>,
    /// Vector fields.
    pub vector_fields: Vec<VectorField>,
    /// Whether points may have no vector. They always may in a collection without vectors of its own.
    pub optional_vectors: bool,
    /// Expiry of the points. None: they do not expire.
    pub ttl: Option<Ttl>,
    /// Path of the tenant of a point in its payload: a string or an integer. The points of a tenant are stored together.
    pub tenant: Option<String>,
}

/// A named field of a collection, besides its own vectors.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// Searched by keyword queries.
    Text(TextField),
    /// Searched by queries for a vector.
    Vector(VectorField),
}

impl Field {
    /// Returns its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Text(field) => &field.name,
            Self::Vector(field) => &field.name,
        }
    }
}

impl From<TextField> for Field {
    fn from(field: TextField) -> Self {
        Self::Text(field)
    }
}

impl From<VectorField> for Field {
    fn from(field: VectorField) -> Self {
        Self::Vector(field)
    }
}

/// Checks the fields of a collection.
pub(crate) fn validate_fields(text: &[TextField], vector: &[VectorField]) -> Result<(), Error> {
    super::validate_text_fields(text)?;
    super::validate_vector_fields(vector)?;
    let mut names: Vec<&str> = text.iter().map(|field| field.name.as_str()).collect();
    for (index, field) in vector.iter().enumerate() {
        if names.contains(&field.name.as_str()) {
            let what = format!("there are two fields {:?}", field.name);
            return Err(Error::invalid(format!("vector_fields[{index}].name"), what));
        }
        names.push(&field.name);
    }
    Ok(())
}

impl CollectionSpec {
    /// A collection with vectors of this source.
    pub fn new(name: CollectionName, space: VectorSource) -> Self {
        Self {
            name,
            space,
            metric: Metric::Cosine,
            index: IndexSettings::default(),
            text_fields: None,
            vector_fields: Vec::new(),
            optional_vectors: false,
            ttl: None,
            tenant: None,
        }
    }

    /// A collection of vectors supplied by the user.
    pub fn vectors(name: CollectionName, dimension: u32) -> Self {
        Self::new(name, VectorSource::Plain { dimension })
    }

    /// A collection of texts or images, with vectors computed by this embedder.
    pub fn embedded(name: CollectionName, embedder: impl Into<String>) -> Self {
        Self::new(name, VectorSource::Embedded { embedder: embedder.into(), output: String::new() })
    }

    /// Sets the source of the vectors.
    pub fn space(mut self, space: VectorSource) -> Self {
        self.space = space;
        self
    }

    /// Sets the metric.
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// Sets the text fields for keyword queries.
    pub fn text_fields(mut self, fields: impl Into<Vec<TextField>>) -> Self {
        self.text_fields = Some(fields.into());
        self
    }

    /// Sets whether points may have no vector.
    pub fn optional_vectors(mut self, optional: bool) -> Self {
        self.optional_vectors = optional;
        self
    }

    /// A collection without vectors of its own: of payloads, and of vectors in vector fields.
    pub fn without_vectors(name: CollectionName) -> Self {
        Self::new(name, VectorSource::None)
    }

    /// Sets the vector fields.
    pub fn vector_fields(mut self, fields: impl Into<Vec<VectorField>>) -> Self {
        self.vector_fields = fields.into();
        self
    }

    /// Sets the expiry of the points.
    pub fn ttl(mut self, ttl: impl Into<Option<Ttl>>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Sets the path of the tenant of a point in its payload.
    pub fn tenant(mut self, path: impl Into<String>) -> Self {
        self.tenant = Some(path.into());
        self
    }

    /// Sets the index settings.
    pub fn index(mut self, index: IndexSettings) -> Self {
        self.index = index;
        self
    }
}

/// The embedder that a collection is pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedderPin {
    /// Name of the embedder.
    pub name: String,
    /// Name of the output.
    pub output: String,
    /// Fingerprint at creation; another embedder of the same name is refused.
    pub fingerprint: Fingerprint,
}

/// The generation kept beside the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousGeneration {
    /// Generation number.
    pub generation: u32,
    /// Embedder of that generation.
    pub embedder: EmbedderPin,
}

/// The state of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionInfo {
    /// Name of the collection.
    pub name: CollectionName,
    /// Its aliases, in byte order.
    pub aliases: Vec<CollectionName>,
    /// Components per vector; 0 for a collection without vectors of its own.
    pub dimension: u32,
    /// Whether points may have no vector.
    pub optional_vectors: bool,
    /// Distance metric.
    pub metric: Metric,
    /// Pinned embedder; none for plain vectors.
    pub embedder: Option<EmbedderPin>,
    /// Generation number: the first is 1, and each re-embedding adds 1.
    pub generation: u32,
    /// The previously served generation, while it is kept.
    pub previous: Option<PreviousGeneration>,
    /// Index settings with defaults filled in.
    pub index: IndexSettings,
    /// Text fields for keyword queries.
    pub text_fields: Vec<TextField>,
    /// Vector fields.
    pub vector_fields: Vec<VectorField>,
    /// Expiry of the points; none if they do not expire.
    pub ttl: Option<Ttl>,
    /// Path of the tenant of a point in its payload; none if points are not stored by tenant.
    pub tenant: Option<String>,
    /// Live points, including expired ones that are not yet deleted.
    pub points: u64,
    /// Live points not yet sealed.
    pub growing_points: u64,
    /// Deleted rows in sealed segments.
    pub deleted_rows: u64,
    /// Sealed segments.
    pub segments: Vec<SegmentInfo>,
    /// Bytes mapped.
    pub mapped_bytes: u64,
    /// Mapped bytes that are resident in memory.
    pub resident_bytes: u64,
    /// Sequence number of the last write.
    pub sequence: u64,
    /// Queries answered since the collection was opened.
    pub queries: u64,
    /// Operations that the collection supports now.
    pub state: CollectionState,
    /// Problems, each with its file; empty if there are none.
    pub problems: Vec<String>,
}

/// Operations that a collection supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionState {
    /// All operations.
    Serving,
    /// Reads only: a disk failure stopped writes until the collection is reopened.
    ReadOnly,
    /// A sealed segment is damaged: points found elsewhere are returned, all other requests fail with `Corrupt`.
    Damaged,
    /// Deletion only: the collection could not be opened.
    Unavailable,
}

/// The state of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Number of the segment within the collection.
    pub id: u64,
    /// Rows, including deleted ones.
    pub rows: u64,
    /// Deleted rows.
    pub deleted_rows: u64,
    /// Whether the segment has a graph now.
    pub graph: bool,
    /// Bytes of the vector file.
    pub vector_bytes: u64,
    /// Bytes of the graph file.
    pub graph_bytes: u64,
}

/// Which source texts and images a re-embedding uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sources {
    /// Sources from which the current embedder reproduces the stored vector.
    Proved,
    /// The payload of each point as it is: for a collection whose embedder is lost.
    Trusted,
}

/// A change of names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AliasAction {
    /// Creates an alias of a collection.
    Create {
        /// The alias.
        alias: CollectionName,
        /// The collection, or another alias of it.
        collection: CollectionName,
    },
    /// Deletes an alias.
    Delete {
        /// The alias.
        alias: CollectionName,
    },
    /// Renames an alias.
    Rename {
        /// The alias.
        alias: CollectionName,
        /// Its new name.
        new_alias: CollectionName,
    },
    /// Renames a collection. Its aliases refer to the new name.
    RenameCollection {
        /// The collection; not an alias.
        collection: CollectionName,
        /// Its new name.
        new_name: CollectionName,
    },
}

impl AliasAction {
    /// Returns the two names of the action; of a deletion, the alias twice.
    pub fn names(&self) -> [&CollectionName; 2] {
        match self {
            Self::Create { alias, collection } => [alias, collection],
            Self::Delete { alias } => [alias, alias],
            Self::Rename { alias, new_alias } => [alias, new_alias],
            Self::RenameCollection { collection, new_name } => [collection, new_name],
        }
    }
}
