//! Types shared by all layers: metric, precision, point id, collection name, row ordinal.
//!
//! A smaller distance is nearer, a larger score is nearer; [`Metric`] converts between the two.

use std::fmt;

/// Maximum length of a point id, bytes.
pub const MAX_ID_BYTES: usize = 128;
/// Maximum length of a collection name, bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Maximum number of vector components.
pub const MAX_DIMENSION: u32 = 65_536;

/// Random identity of a data directory or collection; files with different identities do not belong together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(pub [u8; 16]);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

/// The distance metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// 1 - cosine of the angle; vectors of zero norm are rejected.
    Cosine,
    /// -(dot product).
    Dot,
    /// Euclidean distance.
    L2,
}

impl Metric {
    /// All metrics, in the order of the wire format.
    pub const ALL: [Self; 3] = [Self::Cosine, Self::Dot, Self::L2];

    /// `cosine`, `dot` or `l2`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::L2 => "l2",
        }
    }

    /// Returns the metric with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// Converts a distance to a score (larger is nearer): the cosine, the dot product, or the negative Euclidean
    /// distance.
    pub fn score(self, distance: f32) -> f32 {
        match self {
            Self::Cosine => 1.0 - distance,
            Self::Dot | Self::L2 => -distance,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Storage precision of vector components.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit float: lossless.
    #[default]
    F32,
    /// Nearest half-precision float: 11 significant bits, up to 65,504.
    F16,
    /// Nearest of 255 uniform steps; all components of a vector share the step size.
    I8,
}

impl Precision {
    /// All precisions, in the order of the wire format.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::I8];

    /// `f32`, `f16` or `i8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
        }
    }

    /// Returns the precision with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Expiry of the points of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ttl {
    /// Payload path of the time of a point: text as in time filters, or a number of microseconds since 1970. A list
    /// counts by its earliest time. Points without a time never expire.
    pub path: String,
    /// Seconds from that time until the point expires.
    pub seconds: u64,
    /// Whether a write stores its own time in an item without one.
    pub stamp: bool,
}

impl Ttl {
    /// Points expire `seconds` after the time at `path`.
    pub fn new(path: impl Into<String>, seconds: u64) -> Self {
        Self { path: path.into(), seconds, stamp: false }
    }

    /// Sets whether a write stores its own time in an item without one.
    pub fn stamp(mut self, stamp: bool) -> Self {
        self.stamp = stamp;
        self
    }
}

/// User-defined id of a point: 1 to [`MAX_ID_BYTES`] bytes of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PointId(Box<str>);

/// Invalid point id or collection name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// A point id that is empty or too long; its length in bytes.
    #[error("a point id has 1 to {MAX_ID_BYTES} bytes, this one has {0}")]
    PointId(usize),
    /// A collection name that is empty, too long, or has invalid characters.
    #[error(
        "a collection name has 1 to {MAX_NAME_BYTES} of the characters a-z A-Z 0-9 _ - . and starts with a letter or digit; got {0:?}"
    )]
    Collection(String),
}

impl PointId {
    /// Creates an id after a check of its length.
    ///
    /// # Errors
    /// [`InvalidName::PointId`] for 0 or more than [`MAX_ID_BYTES`] bytes.
    pub fn new(id: impl Into<Box<str>>) -> Result<Self, InvalidName> {
        let id = id.into();
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(InvalidName::PointId(id.len()));
        }
        Ok(Self(id))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for PointId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Name of a collection. File names are never derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionName(Box<str>);

impl CollectionName {
    /// Creates a name after a check of its length and characters.
    ///
    /// # Errors
    /// [`InvalidName::Collection`].
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let ok = !name.is_empty()
            && name.len() <= MAX_NAME_BYTES
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if ok { Ok(Self(name.into())) } else { Err(InvalidName::Collection(name.chars().take(80).collect())) }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ordinal of a row within one segment (sealed or growing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ordinal(pub u32);

/// A row and its distance to a query, ordered by distance, then by row, so that results are deterministic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor {
    /// The row.
    pub row: Ordinal,
    /// Distance, smaller is nearer; see [`Metric`].
    pub distance: f32,
}

impl Eq for Neighbor {}
impl PartialOrd for Neighbor {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Neighbor {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}
