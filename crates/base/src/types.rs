//! The words that several layers speak: how near is measured, how a point is named, where a row lies.
//!
//! A distance is always "smaller is nearer" and a score "larger is nearer"; [`Metric`] turns one into the other.

use std::fmt;

/// Longest point id, bytes.
pub const MAX_ID_BYTES: usize = 128;
/// Longest collection name, bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Most components of a vector.
pub const MAX_DIMENSION: u32 = 65_536;

/// A random identity of a data directory or of a collection: files that carry different ones do not belong together.
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

/// How near is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// 1 - cosine of the angle; vectors of zero norm are refused.
    Cosine,
    /// -(dot product).
    Dot,
    /// Euclidean distance.
    L2,
}

impl Metric {
    /// Every metric, in the order of the wire format.
    pub const ALL: [Self; 3] = [Self::Cosine, Self::Dot, Self::L2];

    /// `cosine`, `dot` or `l2`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::L2 => "l2",
        }
    }

    /// The metric of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// The score (larger is nearer) of a distance: the cosine, the dot product, or the negative Euclidean distance.
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

/// What is kept of each number of a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// A 32-bit float: all of it.
    #[default]
    F32,
    /// The nearest half-precision float: 11 bits, to 65,504.
    F16,
    /// The nearest of 255 even steps, whose size is the same within a vector.
    I8,
}

impl Precision {
    /// Every precision, in the order of the wire format.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::I8];

    /// `f32`, `f16` or `i8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
        }
    }

    /// The precision of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The user's name of a point: 1 to [`MAX_ID_BYTES`] bytes of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PointId(Box<str>);

/// A point id or a collection name that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// A point id of no or too many bytes.
    #[error("a point id has 1 to {MAX_ID_BYTES} bytes, this one has {0}")]
    PointId(usize),
    /// A collection name that is too long, empty, or has other characters.
    #[error(
        "a collection name has 1 to {MAX_NAME_BYTES} of the characters a-z A-Z 0-9 _ - . and starts with a letter or digit; got {0:?}"
    )]
    Collection(String),
}

impl PointId {
    /// Checks the length.
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

    /// The text of the id.
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

/// The name of a collection. File names are never made from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionName(Box<str>);

impl CollectionName {
    /// Checks length and characters.
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

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A row of one segment (sealed or growing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ordinal(pub u32);

/// A row and its distance to a query: ordered by distance, then by row, so that answers are the same on every run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor {
    /// Which row.
    pub row: Ordinal,
    /// Smaller is nearer; see [`Metric`].
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
