//! Limits of the engine, defaults, and validation of requests against them.

pub use super::facet::{
    DEFAULT_FACET_VALUES, MAX_DISTINCT_TOTAL, MAX_DISTINCT_VALUES, MAX_EXTREME_BYTES, MAX_FACET_BYTES,
    MAX_FACET_VALUES, MAX_REPORTED_FIELDS,
};
pub use super::filter::{
    MAX_FIELD_BYTES, MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH, MAX_FILTER_TEXT_BYTES, MAX_FILTER_VALUES,
};
pub use super::geo::{MAX_POLYGON_POINTS, MAX_RING_POINTS};
pub use super::order::MAX_SORT_BYTES;
pub use super::payload_update::MAX_UPDATE_ACTIONS;
pub use super::point::MAX_PAYLOAD_BYTES;
pub use super::vector_field::{
    MAX_FIELDS_BYTES, MAX_MULTI_COMPONENTS, MAX_MULTI_VECTORS, MAX_NONZEROS, MAX_VECTOR_FIELDS,
};

use super::{CollectionSpec, Error, IndexSettings, Item, Payload, PointInput, VectorSource};
use crate::math;
use crate::types::{MAX_DIMENSION, Metric, Precision};

/// Maximum collections per data directory. Each one has an open file and caches, and adds to every round of the
/// background threads.
pub const MAX_COLLECTIONS: usize = 4_096;
/// Maximum aliases per data directory.
pub const MAX_ALIASES: usize = 4_096;
/// Maximum actions of one change of names.
pub const MAX_ALIAS_ACTIONS: usize = 1_000;
/// Maximum hits per query.
pub const MAX_K: u32 = 10_000;
/// Maximum `ef` of a graph search.
pub const MAX_EF: u32 = 65_536;
/// Maximum points per page of a scroll.
pub const MAX_PAGE: u32 = 10_000;
/// Maximum items per batch.
pub const MAX_BATCH: usize = 10_000;
/// Maximum queries per batch.
pub const MAX_QUERIES: usize = 1_000;
/// Maximum plus and minus terms of word arithmetic, together.
pub const MAX_TERMS: usize = 100;

/// Maximum nesting depth of a payload. (The wire format uses three messages per level and ends shortly above it.)
pub const MAX_PAYLOAD_DEPTH: usize = 32;

/// Maximum points deleted or updated by one filter, which is one transaction.
pub const MAX_DELETE_MATCHES: u64 = 1_000_000;

/// Maximum total size of the payloads that one request updates, bytes of JSON after the update. A server with little
/// memory allows less.
pub const MAX_UPDATE_BYTES: usize = 64 << 20;

/// Maximum total size of the files of one upload, bytes.
pub const MAX_UPLOAD_BYTES: u64 = 16 << 30;
/// Maximum size of an installed model's files, bytes; they are read into memory.
pub const MAX_MODEL_BYTES: u64 = 2 << 30;
/// Disk space that uploads and trainings leave free for the collections, bytes.
pub const MIN_FREE_BYTES: u64 = 256 << 20;
/// Maximum vocabulary of a model trained by a server, words.
pub const MAX_TRAINED_WORDS: usize = 1_000_000;
/// Maximum files per upload.
pub const MAX_UPLOAD_FILES: usize = 64;
/// Maximum length of an uploaded file's name, bytes.
pub const MAX_FILE_NAME_BYTES: usize = 255;
/// Maximum dimension of word vectors trained by a server.
pub const MAX_TRAINED_DIMENSION: usize = 1_024;
/// Maximum elements of one table of word vectors. Training uses up to four tables, 512 MB each. The rarest words are
/// left out.
pub const MAX_TRAINED_NUMBERS: usize = 1 << 27;
/// Default index settings.
pub const DEFAULT_INDEX: IndexSettings =
    IndexSettings { m: 16, ef_construction: 200, ef_search: 100, seal_rows: 50_000, precision: Precision::F32 };

/// Fills in the defaults and checks the ranges.
pub(crate) fn index_settings(given: IndexSettings) -> Result<IndexSettings, Error> {
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    let settings = IndexSettings {
        m: or(given.m, DEFAULT_INDEX.m),
        ef_construction: or(given.ef_construction, DEFAULT_INDEX.ef_construction),
        ef_search: or(given.ef_search, DEFAULT_INDEX.ef_search),
        seal_rows: or(given.seal_rows, DEFAULT_INDEX.seal_rows),
        precision: given.precision,
    };
    let ranges = [
        ("index.m", settings.m, 2, 128),
        ("index.ef_construction", settings.ef_construction, 1, 4_096),
        ("index.ef_search", settings.ef_search, 1, MAX_EF),
        ("index.seal_rows", settings.seal_rows, 100, 1_000_000),
    ];
    for (field, value, min, max) in ranges {
        if !(min..=max).contains(&value) {
            return Err(Error::invalid(field, format!("must be {min} to {max}, got {value}")));
        }
    }
    Ok(settings)
}

/// Validates a new collection, except for its embedder.
pub(crate) fn spec(spec: &CollectionSpec) -> Result<IndexSettings, Error> {
    if let VectorSource::Plain { dimension } = spec.space
        && !(1..=MAX_DIMENSION).contains(&dimension)
    {
        return Err(Error::invalid("dimension", format!("must be 1 to {MAX_DIMENSION}, got {dimension}")));
    }
    super::validate_fields(spec.text_fields.as_deref().unwrap_or_default(), &spec.vector_fields)?;
    spec.ttl.as_ref().map_or(Ok(()), |ttl| super::ttl::validate("ttl", ttl))?;
    spec.tenant.as_ref().map_or(Ok(()), |path| super::check_path("tenant", path))?;
    index_settings(spec.index)
}

/// Checks that a vector has the right dimension, finite components, and a norm that the metric can use.
pub(crate) fn vector(field: &str, vector: &[f32], dimension: u32, metric: Metric) -> Result<(), Error> {
    vector_of(field, vector, "the collection", dimension, metric)
}

/// Like [`vector`], for a vector of what `owner` names.
pub(crate) fn vector_of(field: &str, vector: &[f32], owner: &str, dimension: u32, metric: Metric) -> Result<(), Error> {
    if vector.len() != dimension as usize {
        return Err(Error::invalid(
            field,
            format!("{owner} takes vectors of {dimension} components, got {}", vector.len()),
        ));
    }
    if let Some(index) = vector.iter().position(|x| !x.is_finite()) {
        return Err(Error::invalid(field, format!("component {index} is {}, it must be finite", vector[index])));
    }
    let norm = math::norm(vector);
    // Squared norms and distances are f32 sums; the limit keeps them far from overflow.
    if norm > MAX_NORM {
        return Err(Error::invalid(field, format!("its norm is {norm:e}, at most {MAX_NORM:e} is allowed")));
    }
    if metric == Metric::Cosine && norm < MIN_COSINE_NORM {
        return Err(Error::invalid(
            field,
            format!("its norm is {norm:e}; under cosine it must be at least {MIN_COSINE_NORM:e}"),
        ));
    }
    Ok(())
}

/// Rounds a checked vector to its stored precision. Refuses components out of the f16 range.
pub(crate) fn rounded(
    field: &dyn Fn() -> String,
    mut components: Vec<f32>,
    precision: Precision,
    dimension: u32,
    metric: Metric,
) -> Result<Vec<f32>, Error> {
    if precision == Precision::F32 {
        return Ok(components);
    }
    if precision == Precision::F16
        && let Some(index) = components.iter().position(|x| x.abs() > MAX_HALF)
    {
        let what = format!("component {index} is {}, the collection stores f16, at most {MAX_HALF}", components[index]);
        return Err(Error::invalid(field(), what));
    }
    math::round_to(precision, &mut components);
    vector(&field(), &components, dimension, metric)?;
    Ok(components)
}

/// Maximum absolute value of a component stored as f16.
pub const MAX_HALF: f32 = 65_504.0;
/// Maximum norm of a vector.
pub const MAX_NORM: f32 = 1e18;
/// Minimum norm of a vector under cosine.
pub const MIN_COSINE_NORM: f32 = 1e-18;

/// Checks a payload against its limits and returns its stored form.
pub(crate) fn payload(field: &str, payload: &Payload) -> Result<Box<[u8]>, Error> {
    if payload.values().any(|value| deeper_than(value, MAX_PAYLOAD_DEPTH)) {
        return Err(Error::invalid(field, format!("nests deeper than {MAX_PAYLOAD_DEPTH} levels")));
    }
    let bytes = serde_json::to_vec(payload).map_err(|error| Error::invalid(field, error.to_string()))?;
    if bytes.len() > MAX_PAYLOAD_BYTES {
        return Err(Error::invalid(
            field,
            format!("has {} bytes as JSON, at most {MAX_PAYLOAD_BYTES} are allowed", bytes.len()),
        ));
    }
    Ok(bytes.into())
}

/// Checks the number of items in a batch.
pub(crate) fn batch(field: &str, count: usize, max: usize) -> Result<(), Error> {
    if count == 0 || count > max {
        return Err(Error::invalid(field, format!("must hold 1 to {max}, got {count}")));
    }
    Ok(())
}

/// Maximum points sampled by a recall measurement.
pub const MAX_SAMPLES: u32 = 10_000;
/// Range of target recall.
pub const TARGET_RECALL: std::ops::RangeInclusive<f32> = 0.5..=1.0;

/// Validates the field to group hits by.
///
/// # Errors
/// `InvalidInput` with the limit, or with the correct form.
pub fn group_by(field: &str) -> Result<(), Error> {
    super::check_path("params.group_by", field)
}

/// Validates the number of points sampled by a recall measurement.
pub(crate) fn samples(samples: u32) -> Result<(), Error> {
    if !(1..=MAX_SAMPLES).contains(&samples) {
        return Err(Error::invalid("samples", format!("must be 1 to {MAX_SAMPLES}, got {samples}")));
    }
    Ok(())
}

/// Validates the shape of a query; vectors are checked when they are resolved.
pub(crate) fn arithmetic(field: &str, terms: usize) -> Result<(), Error> {
    if terms == 0 || terms > MAX_TERMS {
        return Err(Error::invalid(
            format!("{field}.arithmetic"),
            format!("takes 1 to {MAX_TERMS} terms, got {terms}"),
        ));
    }
    Ok(())
}

/// Returns the name of the item field that holds its source.
pub(crate) fn source_field(item: &Item) -> &'static str {
    match item.source {
        PointInput::Vector(_) | PointInput::Embedded { .. } | PointInput::None => "vector",
        PointInput::Text(_) => "text",
        PointInput::Image(_) => "image",
    }
}

/// Returns whether a JSON value nests deeper than `levels`.
fn deeper_than(value: &serde_json::Value, levels: usize) -> bool {
    let Some(levels) = levels.checked_sub(1) else { return true };
    match value {
        serde_json::Value::Array(items) => items.iter().any(|item| deeper_than(item, levels)),
        serde_json::Value::Object(fields) => fields.values().any(|item| deeper_than(item, levels)),
        _ => false,
    }
}
