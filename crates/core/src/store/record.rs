//! Record of a collection and its JSON.
//!
//! The stored form is a separate type, so that renaming a field here cannot change the file format.

use super::vector_field::{VectorField, VectorKind};
use super::{Error, identity};
use crate::text::{Language, TextField};
use crate::types::{CollectionName, Identity, MAX_DIMENSION, Metric, Precision, Ttl};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the stored form.
const VERSION: u32 = 1;
/// Version of the stored form of a collection that has, or had, vector fields: its points may hold vectors that a
/// program without them does not read.
const WITH_VECTOR_FIELDS: u32 = 2;

/// Settings fixed when a collection is created.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionRecord {
    /// The name.
    pub name: CollectionName,
    /// Components per vector, 1 to [`MAX_DIMENSION`]; 0 for a collection without vectors of its own.
    pub dimension: u32,
    /// The distance metric.
    pub metric: Metric,
    /// The embedder; none for plain vectors.
    pub embedder: Option<EmbedderRecord>,
    /// Links per graph node.
    pub m: u32,
    /// Candidates kept during graph construction.
    pub ef_construction: u32,
    /// Candidates kept during a search that sets no value.
    pub ef_search: u32,
    /// Growing points that are flushed into one segment.
    pub seal_rows: u32,
    /// Precision of the stored components.
    pub precision: Precision,
    /// Text fields for keyword queries.
    pub text_fields: Vec<TextField>,
    /// Vector fields.
    pub vector_fields: Vec<VectorField>,
    /// Number of the next vector field, from 1; numbers are not used again.
    pub next_field: u32,
    /// Whether points may have no vector. Always true for the dimension 0.
    pub optional_vectors: bool,
    /// Expiry of the points.
    pub ttl: Option<Ttl>,
    /// Path of the tenant of a point in its payload.
    pub tenant: Option<String>,
}

/// The embedder that produced the vectors of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedderRecord {
    /// The name.
    pub name: String,
    /// Name of the output layer.
    pub output: String,
    /// SHA-256 over weights, preprocessing and settings.
    pub fingerprint: [u8; 32],
}

/// A generation of a collection: its settings, its folder, and the previous generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The settings.
    pub record: CollectionRecord,
    /// Number of the folder.
    pub folder: u64,
    /// The identity, also stored in `points.redb`; none in a record of a version without identities.
    pub identity: Option<Identity>,
    /// Number of the generation: starts at 1; each re-embedding adds 1.
    pub generation: u32,
    /// The previous generation, while it is kept. Its own `previous` is none.
    pub previous: Option<Box<Entry>>,
}

impl Entry {
    /// Creates the entry of a collection that was never re-embedded.
    pub(super) fn first(record: CollectionRecord, folder: u64, identity: Option<Identity>) -> Self {
        Self { record, folder, identity, generation: 1, previous: None }
    }
}

impl Entry {
    /// Returns the entry with another name in all generations; `path` is for the error message.
    ///
    /// # Errors
    /// `Refused` for an invalid name.
    pub(super) fn renamed(mut self, name: &str, path: &Path) -> Result<Self, Error> {
        let name = CollectionName::new(name).map_err(|error| Error::refused(path, error.to_string()))?;
        if let Some(previous) = &mut self.previous {
            previous.record.name = name.clone();
        }
        self.record.name = name;
        Ok(self)
    }

    /// Returns the folder numbers of this and of the previous generation.
    pub(super) fn folders(&self) -> Vec<u64> {
        std::iter::once(self.folder).chain(self.previous.as_deref().map(|previous| previous.folder)).collect()
    }
}

impl CollectionRecord {
    /// Takes over the fields of another record.
    pub(crate) fn copy_fields(&mut self, other: &Self) {
        self.text_fields.clone_from(&other.text_fields);
        self.vector_fields.clone_from(&other.vector_fields);
        self.next_field = self.next_field.max(other.next_field);
    }

    /// Adds a vector field, and assigns its number.
    pub(crate) fn add_vector_field(&mut self, field: VectorField) {
        self.vector_fields.push(VectorField { number: self.next_field, ..field });
        self.next_field += 1;
    }

    /// Encodes the record as JSON, without a folder.
    pub fn to_json(&self) -> Vec<u8> {
        encode(&Entry::first(self.clone(), 0, None))
    }

    /// Decodes the output of [`to_json`](Self::to_json) for the collection `name`; `path` is for error messages.
    ///
    /// # Errors
    /// `Corrupt`, `Incompatible`.
    pub fn from_json(path: &Path, name: &str, json: &[u8]) -> Result<Self, Error> {
        decode(path, name, json).map(|entry| entry.record)
    }
}

#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    folder: u64,
    name: String,
    dimension: u32,
    metric: String,
    embedder: Option<StoredEmbedder>,
    m: u32,
    ef_construction: u32,
    ef_search: u32,
    seal_rows: u32,
    /// Absent in records of versions with f32 only.
    #[serde(default = "f32_name")]
    precision: String,
    /// Absent in a collection without text fields, and in records of versions without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    text_fields: Vec<StoredTextField>,
    /// Absent in a collection without vector fields, and in records of versions without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vector_fields: Vec<StoredVectorField>,
    /// Absent in a collection that never had a vector field.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    next_field: u32,
    /// Absent if every point has a vector.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    optional_vectors: bool,
    /// Absent in a collection whose points do not expire, and in records of versions without expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<StoredTtl>,
    /// Absent in a collection whose points are not stored by tenant, and in records of versions without tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// 32 hexadecimal digits. Absent in records of versions without identities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    /// Absent in a collection that was never re-embedded.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    generation: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Box<Stored>>,
}

fn first() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_first(generation: &u32) -> bool {
    *generation == 1
}

fn f32_name() -> String {
    Precision::F32.name().into()
}

#[derive(Serialize, Deserialize)]
struct StoredEmbedder {
    name: String,
    #[serde(rename = "tap")]
    output: String,
    fingerprint: String,
}

#[derive(Serialize, Deserialize)]
struct StoredVectorField {
    name: String,
    number: u32,
    kind: String,
    dimension: u32,
    metric: String,
    precision: String,
    m: u32,
    ef_construction: u32,
    ef_search: u32,
}

impl StoredVectorField {
    fn of(field: &VectorField) -> Self {
        Self {
            name: field.name.clone(),
            number: field.number,
            kind: field.kind.name().into(),
            dimension: field.dimension,
            metric: field.metric.name().into(),
            precision: field.precision.name().into(),
            m: field.m,
            ef_construction: field.ef_construction,
            ef_search: field.ef_search,
        }
    }

    fn field(self) -> Result<VectorField, String> {
        let kind = VectorKind::from_name(&self.kind).ok_or_else(|| format!("a field of the kind {:?}", self.kind))?;
        if (kind == VectorKind::Sparse) != (self.dimension == 0) || self.dimension > MAX_DIMENSION {
            return Err(format!("a {} field of dimension {}", self.kind, self.dimension));
        }
        let mut field = match kind {
            VectorKind::Dense => VectorField::dense(self.name, self.dimension),
            VectorKind::Sparse => VectorField::sparse(self.name),
            VectorKind::Multi => VectorField::multi(self.name, self.dimension),
        };
        field.metric = Metric::from_name(&self.metric).ok_or_else(|| format!("metric {:?}", self.metric))?;
        field.precision =
            Precision::from_name(&self.precision).ok_or_else(|| format!("precision {:?}", self.precision))?;
        field.number = self.number;
        Ok(field.graph(self.m, self.ef_construction, self.ef_search))
    }
}

#[derive(Serialize, Deserialize)]
struct StoredTextField {
    name: String,
    paths: Vec<String>,
    /// Absent without stemming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stop_words: Vec<String>,
    #[serde(default)]
    fold_accents: bool,
    k1: f32,
    b: f32,
}

#[derive(Serialize, Deserialize)]
struct StoredTtl {
    path: String,
    seconds: u64,
    #[serde(default)]
    stamp: bool,
}

impl StoredTextField {
    fn of(field: &TextField) -> Self {
        Self {
            name: field.name.clone(),
            paths: field.paths.clone(),
            language: field.analyzer.language.map(|language| language.name().into()),
            stop_words: field.analyzer.stop_words.clone(),
            fold_accents: field.analyzer.fold_accents,
            k1: field.k1,
            b: field.b,
        }
    }

    fn field(self) -> Result<TextField, String> {
        let language = self.language.map(|name| Language::from_name(&name).ok_or_else(|| format!("language {name:?}")));
        let mut field = TextField::new(self.name, self.paths).bm25(self.k1, self.b);
        field.analyzer.language = language.transpose()?;
        field.analyzer.stop_words = self.stop_words;
        field.analyzer.fold_accents = self.fold_accents;
        Ok(field)
    }
}

/// Encodes an entry as JSON.
pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(&stored(entry)).expect("numbers and text have a JSON form")
}

fn stored(entry: &Entry) -> Stored {
    let record = &entry.record;
    Stored {
        version: if record.next_field > 1 || record.optional_vectors { WITH_VECTOR_FIELDS } else { VERSION },
        folder: entry.folder,
        name: record.name.as_str().into(),
        dimension: record.dimension,
        metric: record.metric.name().into(),
        embedder: record.embedder.as_ref().map(|embedder| StoredEmbedder {
            name: embedder.name.clone(),
            output: embedder.output.clone(),
            fingerprint: embedder.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect(),
        }),
        m: record.m,
        ef_construction: record.ef_construction,
        ef_search: record.ef_search,
        seal_rows: record.seal_rows,
        precision: record.precision.name().into(),
        text_fields: record.text_fields.iter().map(StoredTextField::of).collect(),
        vector_fields: record.vector_fields.iter().map(StoredVectorField::of).collect(),
        next_field: record.next_field,
        optional_vectors: record.optional_vectors,
        ttl: record.ttl.as_ref().map(|ttl| StoredTtl {
            path: ttl.path.clone(),
            seconds: ttl.seconds,
            stamp: ttl.stamp,
        }),
        tenant: record.tenant.clone(),
        identity: entry.identity.map(|identity| identity.to_string()),
        generation: entry.generation,
        previous: entry.previous.as_deref().map(|previous| Box::new(stored(previous))),
    }
}

/// Decodes the output of [`encode`]; `name` is its key in the catalogue.
pub(super) fn decode(path: &Path, name: &str, json: &[u8]) -> Result<Entry, Error> {
    let corrupt = |what: String| Error::corrupt(path, format!("the record of the collection {name:?}: {what}"));
    let AnyVersion { version } = serde_json::from_slice(json).map_err(|error| corrupt(error.to_string()))?;
    if version != VERSION && version != WITH_VECTOR_FIELDS {
        let what = format!(
            "the record of the collection {name:?} has version {version}; this program reads {VERSION} and {WITH_VECTOR_FIELDS}"
        );
        return Err(Error::Incompatible { path: path.into(), what });
    }
    entry(name, serde_json::from_slice(json).map_err(|error| corrupt(error.to_string()))?, &corrupt)
}

fn entry(name: &str, stored: Stored, corrupt: &dyn Fn(String) -> Error) -> Result<Entry, Error> {
    if stored.name != name {
        return Err(corrupt(format!("it names {:?}", stored.name)));
    }
    let smallest = u32::from(stored.version == VERSION);
    if !(smallest..=MAX_DIMENSION).contains(&stored.dimension) {
        return Err(corrupt(format!("dimension {}, not {smallest} to {MAX_DIMENSION}", stored.dimension)));
    }
    let embedder = match stored.embedder {
        None => None,
        Some(StoredEmbedder { name, output, fingerprint }) => {
            let fingerprint = parse_hex(&fingerprint).ok_or_else(|| corrupt("not a fingerprint".into()))?;
            Some(EmbedderRecord { name, output, fingerprint })
        }
    };
    let record = CollectionRecord {
        name: CollectionName::new(name).map_err(|error| corrupt(error.to_string()))?,
        dimension: stored.dimension,
        metric: Metric::from_name(&stored.metric).ok_or_else(|| corrupt(format!("metric {:?}", stored.metric)))?,
        embedder,
        m: stored.m,
        ef_construction: stored.ef_construction,
        ef_search: stored.ef_search,
        seal_rows: stored.seal_rows,
        precision: Precision::from_name(&stored.precision)
            .ok_or_else(|| corrupt(format!("precision {:?}", stored.precision)))?,
        text_fields: stored
            .text_fields
            .into_iter()
            .map(|field| field.field().map_err(corrupt))
            .collect::<Result<_, Error>>()?,
        vector_fields: stored
            .vector_fields
            .into_iter()
            .map(|field| field.field().map_err(corrupt))
            .collect::<Result<_, Error>>()?,
        next_field: stored.next_field,
        optional_vectors: stored.optional_vectors,
        ttl: stored.ttl.map(|ttl| Ttl::new(ttl.path, ttl.seconds).stamp(ttl.stamp)),
        tenant: stored.tenant,
    };
    if record.dimension == 0 && !record.optional_vectors {
        return Err(corrupt("dimension 0, but every point has a vector".into()));
    }
    if record.next_field == 0 {
        return Err(corrupt("the number 0 for the next vector field".into()));
    }
    if record.vector_fields.iter().any(|field| !(1..record.next_field).contains(&field.number)) {
        return Err(corrupt(format!("a vector field with a number from {} on", record.next_field)));
    }
    let previous = match stored.previous {
        Some(previous) if previous.previous.is_some() => return Err(corrupt("more than two generations".into())),
        Some(previous) => Some(Box::new(entry(name, *previous, corrupt)?)),
        None => None,
    };
    let identity = match stored.identity {
        Some(text) => Some(identity::parse(&text).ok_or_else(|| corrupt(format!("not an identity: {text:?}")))?),
        None => None,
    };
    Ok(Entry { record, folder: stored.folder, identity, generation: stored.generation, previous })
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ErrorKind;

    fn record() -> CollectionRecord {
        CollectionRecord {
            name: CollectionName::new("words").unwrap(),
            dimension: 100,
            metric: Metric::Cosine,
            embedder: Some(EmbedderRecord { name: "words".into(), output: "word".into(), fingerprint: [0xa5; 32] }),
            m: 16,
            ef_construction: 200,
            ef_search: 64,
            seal_rows: 50_000,
            precision: Precision::F16,
            text_fields: vec![TextField::of_embedded_texts(), TextField::new("title", ["title", "a.b"])],
            vector_fields: Vec::new(),
            next_field: 1,
            optional_vectors: false,
            ttl: Some(Ttl::new("at", 60).stamp(true)),
            tenant: Some("customer.id".into()),
        }
    }

    #[test]
    fn vector_fields_read_back_in_a_version_of_their_own() {
        let path = Path::new("catalogue.redb");
        let dense = VectorField::dense("title", 8).metric(Metric::L2).precision(Precision::I8).graph(8, 50, 60);
        let mut record = CollectionRecord { next_field: 4, ..record() };
        for (number, field) in [(1, dense), (2, VectorField::sparse("s")), (3, VectorField::multi("m", 4))] {
            record.vector_fields.push(VectorField { number, ..field });
        }
        let entry = Entry::first(record, 7, None);
        let json = String::from_utf8(encode(&entry)).unwrap();
        assert!(json.contains("\"version\":2"), "{json}");
        assert_eq!(decode(path, "words", json.as_bytes()).unwrap(), entry);
        for (from, to) in [
            ("dense", "tense"),
            ("\"dimension\":8", "\"dimension\":0"),
            ("\"number\":3", "\"number\":4"),
            ("\"next_field\":4", "\"next_field\":0"),
        ] {
            assert!(json.contains(from), "{json}");
            let error = decode(path, "words", json.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        // Points may still hold vectors of a dropped field.
        let dropped = CollectionRecord { vector_fields: Vec::new(), ..entry.record };
        let json = String::from_utf8(encode(&Entry::first(dropped.clone(), 7, None))).unwrap();
        assert!(json.contains("\"version\":2"), "{json}");
        assert_eq!(decode(path, "words", json.as_bytes()).unwrap().record, dropped);
    }

    #[test]
    fn a_record_reads_back_and_damage_is_named() {
        let path = Path::new("catalogue.redb");
        let json = String::from_utf8(encode(&Entry::first(record(), 7, None))).unwrap();
        assert!(!json.contains("generation") && !json.contains("previous"), "{json}");
        assert_eq!(decode(path, "words", json.as_bytes()).unwrap(), Entry::first(record(), 7, None));
        let plain = Entry::first(CollectionRecord { embedder: None, ..record() }, 8, None);
        assert_eq!(decode(path, "words", &encode(&plain)).unwrap(), plain);
        let known = Entry { identity: Some(Identity([0xab; 16])), ..plain.clone() };
        assert_eq!(decode(path, "words", &encode(&known)).unwrap(), known);
        let damaged = String::from_utf8(encode(&known)).unwrap().replacen("abab", "abag", 1);
        assert_eq!(decode(path, "words", damaged.as_bytes()).unwrap_err().kind(), ErrorKind::Corrupt, "{damaged}");
        let second = Entry { generation: 2, previous: Some(Box::new(plain)), ..Entry::first(record(), 9, None) };
        let both = encode(&second);
        assert_eq!(decode(path, "words", &both).unwrap(), second);
        let third = Entry { generation: 3, previous: Some(Box::new(second)), ..Entry::first(record(), 10, None) };
        assert_eq!(decode(path, "words", &encode(&third)).unwrap_err().kind(), ErrorKind::Corrupt);
        let damaged = String::from_utf8(both).unwrap().replacen(
            "\"dimension\":100,\"metric\":\"cosine\",\"embedder\":null",
            "\"dimension\":0,\"metric\":\"cosine\",\"embedder\":null",
            1,
        );
        assert_eq!(decode(path, "words", damaged.as_bytes()).unwrap_err().kind(), ErrorKind::Corrupt, "{damaged}");

        #[track_caller]
        fn check(json: &str, from: &str, to: &str, kind: ErrorKind) {
            assert!(json.contains(from), "{json}");
            let error = decode(Path::new("c"), "words", json.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains("words"), "{error}");
        }
        check(&json, "\"version\":1", "\"version\":3,\"new\":0", ErrorKind::Incompatible);
        check(&json, "\"dimension\":100", "\"dimension\":0", ErrorKind::Corrupt);
        check(&json, "\"dimension\":100", "\"dimension\":70000", ErrorKind::Corrupt);
        check(&json, "cosine", "cosmic", ErrorKind::Corrupt);
        check(&json, "\"precision\":\"f16\"", "\"precision\":\"f17\"", ErrorKind::Corrupt);
        let older = json.replace(",\"precision\":\"f16\"", "");
        let read = decode(path, "words", older.as_bytes()).unwrap();
        assert_eq!(read.record, CollectionRecord { precision: Precision::F32, ..record() }, "{older}");
        let older = json.replace(r#","ttl":{"path":"at","seconds":60,"stamp":true}"#, "");
        let read = decode(path, "words", older.as_bytes()).unwrap();
        assert_eq!(read.record, CollectionRecord { ttl: None, ..record() }, "{older}");
        let older = json.replace(r#","tenant":"customer.id""#, "");
        let read = decode(path, "words", older.as_bytes()).unwrap();
        assert_eq!(read.record, CollectionRecord { tenant: None, ..record() }, "{older}");
        check(&json, "a5a5", "a5+5", ErrorKind::Corrupt);
        check(&json, "\"name\":\"words\"", "\"name\":\"other\"", ErrorKind::Corrupt);
        for cut in 0..json.len() {
            assert_eq!(decode(path, "words", &json.as_bytes()[..cut]).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
