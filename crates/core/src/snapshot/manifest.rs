//! The manifest of a snapshot: the collection's record, its sequence number, and the ordered parts of the file.

use super::framing;
use crate::api::{EmbedderPin, Error};
use crate::embed::{Fingerprint, MODEL_FILES};
use crate::store::{CollectionRecord, SegmentId};
use crate::types::{CollectionName, Metric};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

/// Version of the manifest.
const VERSION: u32 = 1;
/// Version of a manifest with updated payloads, which a program that does not read them must not restore.
const WITH_UPDATES: u32 = 2;
/// Suffix of every name, so that common tools open the file.
const SUFFIX: &str = ".nearness.tar";
const MAX_NAME_BYTES: usize = 80;

/// The name of a snapshot, generated from time, sequence number and a random number, never from user input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName(String);

impl SnapshotName {
    /// Parses an existing name.
    ///
    /// # Errors
    /// `Invalid` if it is not a snapshot name.
    pub fn new(name: &str) -> Result<Self, Error> {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        match name.strip_suffix(SUFFIX) {
            Some(stem) if !stem.is_empty() && plain(stem) && name.len() <= MAX_NAME_BYTES => Ok(Self(name.into())),
            _ => {
                let why = format!("letters, digits and -, then {SUFFIX}, at most {MAX_NAME_BYTES} bytes; see the list");
                Err(Error::invalid("snapshot", why))
            }
        }
    }

    /// Generates a new name. Names sort by time.
    pub(crate) fn generate(time: u64, sequence: u64) -> Self {
        Self(format!("{time:012}-{sequence}-{:08x}{SUFFIX}", rand::random::<u32>()))
    }

    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Description of a snapshot, from its manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotInfo {
    /// Name of the snapshot.
    pub snapshot: SnapshotName,
    /// Length of the file.
    pub bytes: u64,
    /// Creation time, in seconds since 1970.
    pub created: u64,
    /// Program that created it.
    pub program: String,
    /// Name of the collection.
    pub collection: CollectionName,
    /// Sequence number: the snapshot contains every write up to this one, and none after it.
    pub sequence: u64,
    /// Number of points.
    pub points: u64,
    /// Components of their vectors.
    pub dimension: u32,
    /// The distance metric.
    pub metric: Metric,
    /// The embedder.
    pub embedder: Option<EmbedderPin>,
    /// Whether it contains the embedder's files.
    pub carries_embedder: bool,
}

/// An entry of a list: a description, or why there is none.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Name of the snapshot.
    pub snapshot: SnapshotName,
    /// Length of the file.
    pub bytes: u64,
    /// Description from its manifest, or the error.
    pub info: Result<SnapshotInfo, String>,
}

/// Kind of a part. Determines the part's name, which is parsed back to it; no other names occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Embedder(&'static str),
    Vectors(SegmentId),
    Graph(SegmentId, u32),
    Calibration(SegmentId, u32),
    Dead(SegmentId),
    Updates(SegmentId),
    Canaries,
    Growing,
    SelfTest,
}

impl Kind {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Embedder(file) => format!("embedder/{file}"),
            Self::Vectors(id) => id.vectors_file(),
            Self::Graph(id, generation) => id.graph_file(generation),
            Self::Calibration(id, generation) => format!("{id}.{generation}.calibration"),
            Self::Dead(id) => format!("{id}.dead"),
            Self::Updates(id) => format!("{id}.updates"),
            Self::Canaries => "canaries".into(),
            Self::Growing => "growing".into(),
            Self::SelfTest => "selftest.json".into(),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let kind = match name {
            "canaries" => Self::Canaries,
            "growing" => Self::Growing,
            "selftest.json" => Self::SelfTest,
            _ if name.starts_with("embedder/") => {
                Self::Embedder(MODEL_FILES.into_iter().find(|file| name["embedder/".len()..] == **file)?)
            }
            _ => {
                let mut words = name.split('.');
                let id = SegmentId(u64::from_str_radix(words.next()?, 16).ok()?);
                match (words.next()?, words.next()) {
                    ("vectors", None) => Self::Vectors(id),
                    ("dead", None) => Self::Dead(id),
                    ("updates", None) => Self::Updates(id),
                    (generation, Some("graph")) => Self::Graph(id, generation.parse().ok()?),
                    (generation, Some("calibration")) => Self::Calibration(id, generation.parse().ok()?),
                    _ => return None,
                }
            }
        };
        (kind.name() == name).then_some(kind)
    }

    /// Returns the part for a file of a model folder; `None` for other names.
    pub(crate) fn embedder(name: &str) -> Option<Self> {
        MODEL_FILES.into_iter().find(|file| *file == name).map(Self::Embedder)
    }
}

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
}

/// The manifest of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) record: CollectionRecord,
    pub(crate) created: u64,
    pub(crate) program: String,
    pub(crate) sequence: u64,
    pub(crate) points: u64,
    pub(crate) parts: Vec<Part>,
}

/// Returns the version of a manifest with these parts.
fn version_of(parts: &[Part]) -> u32 {
    let updates = parts.iter().any(|part| matches!(part.kind, Kind::Updates(_)));
    if updates { WITH_UPDATES } else { VERSION }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    program: String,
    made: u64,
    sequence: u64,
    points: u64,
    collection: serde_json::Value,
    parts: Vec<StoredPart>,
}

#[derive(Serialize, Deserialize)]
struct StoredPart {
    name: String,
    bytes: u64,
}

impl Manifest {
    pub(crate) fn now() -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let stored = Stored {
            version: version_of(&self.parts),
            program: self.program.clone(),
            made: self.created,
            sequence: self.sequence,
            points: self.points,
            collection: serde_json::from_slice(&self.record.to_json()).expect("a record's form is JSON"),
            parts: self.parts.iter().map(|part| StoredPart { name: part.kind.name(), bytes: part.bytes }).collect(),
        };
        let mut json = serde_json::to_vec_pretty(&stored).expect("numbers and text have a JSON form");
        json.push(b'\n');
        json
    }

    /// Parses the output of [`to_json`](Self::to_json), and checks that the parts are consistent.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if ![VERSION, WITH_UPDATES].contains(&stored.version) {
            let version = stored.version;
            return Err(format!("its version is {version}; this program reads {VERSION} and {WITH_UPDATES}"));
        }
        let name = stored.collection.get("name").and_then(|name| name.as_str()).ok_or("the collection has no name")?;
        let record = CollectionRecord::from_json(
            Path::new(framing::MANIFEST),
            name,
            &stored.collection.to_string().into_bytes(),
        )
        .map_err(|error| error.to_string())?;
        let part = |stored: &StoredPart| {
            let kind = Kind::parse(&stored.name).ok_or_else(|| format!("there is no part {:?}", stored.name))?;
            Ok::<_, String>(Part { kind, bytes: stored.bytes })
        };
        let parts = stored.parts.iter().map(part).collect::<Result<Vec<_>, _>>()?;
        if stored.version != version_of(&parts) {
            return Err(format!("its version is {}, and that of its parts {}", stored.version, version_of(&parts)));
        }
        let Stored { program, made: created, sequence, points, .. } = stored;
        let manifest = Self { record, created, program: program.chars().take(80).collect(), sequence, points, parts };
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let mut names = std::collections::BTreeSet::new();
        let mut segment = None;
        let mut graph = None;
        for Part { kind, .. } in &self.parts {
            let follows = match kind {
                Kind::Vectors(id) => {
                    (segment, graph) = (Some(*id), None);
                    // The largest number is reserved.
                    id.0 < u64::MAX
                }
                Kind::Dead(id) | Kind::Updates(id) => segment == Some(*id),
                Kind::Graph(id, generation) => {
                    graph = Some((*id, *generation));
                    segment == Some(*id)
                }
                Kind::Calibration(id, generation) => graph == Some((*id, *generation)),
                Kind::Embedder(_) | Kind::Canaries | Kind::Growing | Kind::SelfTest => true,
            };
            if !follows || !names.insert(kind.name()) {
                return Err(format!("the part {:?} is out of order or repeated", kind.name()));
            }
        }
        let last = self.parts.iter().rev().map(|part| part.kind).take(2).collect::<Vec<_>>();
        if last != [Kind::SelfTest, Kind::Growing] {
            return Err("the growing points and the self-test are not its last parts".into());
        }
        self.file_bytes().map(drop).ok_or_else(|| "the total size of its parts overflows".into())
    }

    /// Returns the length of the whole file; `None` on overflow.
    pub(crate) fn file_bytes(&self) -> Option<u64> {
        let mut sum = framing::frame(self.to_json().len() as u64, self.parts.iter().map(|part| part.kind.name()))?;
        for part in &self.parts {
            sum = sum.checked_add(framing::entry_bytes(part.bytes)?)?;
        }
        Some(sum)
    }

    pub(crate) fn carries_embedder(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.kind, Kind::Embedder(_)))
    }

    pub(crate) fn info(&self, snapshot: &SnapshotName, bytes: u64) -> SnapshotInfo {
        let pin = |embedder: &crate::store::EmbedderRecord| EmbedderPin {
            name: embedder.name.clone(),
            output: embedder.output.clone(),
            fingerprint: Fingerprint(embedder.fingerprint),
        };
        SnapshotInfo {
            snapshot: snapshot.clone(),
            bytes,
            created: self.created,
            program: self.program.clone(),
            collection: self.record.name.clone(),
            sequence: self.sequence,
            points: self.points,
            dimension: self.record.dimension,
            metric: self.record.metric,
            embedder: self.record.embedder.as_ref().map(pin),
            carries_embedder: self.carries_embedder(),
        }
    }
}
