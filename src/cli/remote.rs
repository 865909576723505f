//! Shared parts of the client commands: connecting, server errors as text, points and collections as JSON.

use super::common_args::{ServerArgs, TlsArgs};
use super::config;
use super::output::escaped;
use crate::api::{CollectionSpec, Field, Payload, Ttl, VectorSource};
use crate::grpc::{ClientError, ClientOptions, payload as wire, pb};
use crate::types::{Metric, Precision};
use anyhow::Context;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

pub(crate) use crate::grpc::Client;

/// Runs a client command.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    runtime.block_on(work)
}

/// Connects to the given server, or to the default.
pub(crate) async fn connect(args: &ServerArgs) -> anyhow::Result<Client> {
    connect_to(args.server.as_deref(), &args.tls).await
}

/// Connects with the key from the environment and the certificates from the flags.
pub(crate) async fn connect_to(url: Option<&str>, tls: &TlsArgs) -> anyhow::Result<Client> {
    let url = config::server_url(url);
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
    let identity = match (&tls.certificate, &tls.certificate_key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    let options = ClientOptions {
        ca: tls.ca.as_ref().map(read).transpose()?,
        identity,
        credential: std::env::var(config::KEY_VARIABLE).ok().filter(|key| !key.is_empty()),
        ..ClientOptions::default()
    };
    Client::connect(&url, &options).await.map_err(|error| match error {
        ClientError::Connect { .. } => anyhow::Error::from(error)
            .context(format!("no server at {url} (is `nearness serve` running? --server names another address)")),
        other => other.into(),
    })
}

/// A server error of several lines, escaped for a terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct MultilineError(String);

/// Formats a server error with one line per invalid field.
pub(crate) fn refusal(error: ClientError) -> anyhow::Error {
    let fields = match &error {
        ClientError::Refused { message, fields, .. } => {
            let more = fields
                .iter()
                .filter(|(field, reason)| !(message.contains(field.as_str()) && message.contains(reason.as_str())));
            more.map(|(field, reason)| format!("\n  {}: {}", escaped(field), escaped(reason))).collect::<String>()
        }
        _ => String::new(),
    };
    if fields.is_empty() {
        error.into()
    } else {
        MultilineError(escaped(&error.to_string()).into_owned() + &fields).into()
    }
}

/// Prints a note on standard error about requested fields that no point has.
pub(crate) fn note_unknown_fields(collection: &str, fields: &[String]) {
    for field in fields {
        note(&format!("no point of {collection} has the field {field:?}"));
    }
}

/// Prints a note on standard error.
pub(crate) fn note(text: &str) {
    use std::io::Write;
    // A closed standard error is not a failure.
    let _ = writeln!(std::io::stderr(), "note: {}", escaped(text));
}

/// Encodes numbers as bytes, the compact form.
pub(crate) fn vector(numbers: &[f32]) -> pb::Vector {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    pb::Vector { form: Some(pb::vector::Form::LeF32(bytes.into())) }
}

/// Decodes a vector of either form.
pub(crate) fn numbers(vector: Option<&pb::Vector>) -> Vec<f32> {
    match vector.and_then(|vector| vector.form.as_ref()) {
        Some(pb::vector::Form::Values(values)) => values.values.clone(),
        Some(pb::vector::Form::LeF32(bytes)) => {
            bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        None => Vec::new(),
    }
}

/// Encodes a payload as JSON text, which is exact. The server refuses unsupported values by name.
pub(crate) fn payload(payload: Payload) -> String {
    if payload.is_empty() { String::new() } else { Value::Object(payload).to_string() }
}

/// Decodes a received payload: its text if present, else its `Struct`.
pub(crate) fn payload_of(payload: Option<prost_types::Struct>, json: &str) -> anyhow::Result<Payload> {
    wire::from_wire(payload, json, &"payload").context("the payload of a point")
}

/// Adds the payload, the vector, and the vectors in fields of a point.
pub(crate) fn add_fields(
    object: &mut Map<String, Value>,
    payload: Option<prost_types::Struct>,
    payload_json: &str,
    vector: Option<&pb::Vector>,
    vectors: &HashMap<String, pb::FieldVector>,
) -> anyhow::Result<()> {
    if payload.is_some() {
        object.insert("payload".into(), payload_of(payload, payload_json)?.into());
    }
    if vector.is_some() {
        object.insert("vector".into(), json!(numbers(vector)));
    }
    if !vectors.is_empty() {
        let sorted: BTreeMap<&String, Value> =
            vectors.iter().map(|(name, vector)| (name, field_vector(vector))).collect();
        object.insert("vectors".into(), json!(sorted));
    }
    Ok(())
}

/// Formats a vector in a field as JSON: numbers, an object with indices and values, or lists of numbers.
fn field_vector(vector: &pb::FieldVector) -> Value {
    use pb::field_vector::Form;
    match &vector.form {
        Some(Form::Dense(vector)) => json!(numbers(Some(vector))),
        Some(Form::Sparse(sparse)) => json!({ "indices": sparse.indices, "values": sparse.values }),
        Some(Form::Multi(multi)) => multi.vectors.iter().map(|vector| json!(numbers(Some(vector)))).collect(),
        None => Value::Null,
    }
}

/// Summarizes a payload for a table: its text, its title or label, or any other fields.
pub(crate) fn summary(payload: &Payload) -> String {
    let named =
        |key: &str| payload.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let parts = ["title", "label", "text"].into_iter().filter_map(named).collect::<Vec<_>>();
    if parts.is_empty() && !payload.is_empty() { Value::Object(payload.clone()).to_string() } else { parts.join(" | ") }
}

/// Returns the metric of a collection, if this program supports it.
pub(crate) fn metric(collection: &pb::Collection) -> Option<Metric> {
    metric_of(collection.metric())
}

/// Converts a metric, if this program supports it.
pub(crate) fn metric_of(metric: pb::Metric) -> Option<Metric> {
    match metric {
        pb::Metric::Cosine => Some(Metric::Cosine),
        pb::Metric::Dot => Some(Metric::Dot),
        pb::Metric::L2 => Some(Metric::L2),
        pb::Metric::Unspecified => None,
    }
}

/// Builds the request that creates a collection.
pub(crate) fn create_collection_request(spec: &CollectionSpec) -> pb::CreateCollectionRequest {
    let space = match &spec.space {
        VectorSource::None => None,
        VectorSource::Plain { dimension } => Some(pb::create_collection_request::Space::Dimension(*dimension)),
        VectorSource::Embedded { embedder, output } => {
            Some(pb::create_collection_request::Space::Embedder(pb::EmbedderRef {
                name: embedder.clone(),
                output: output.clone(),
            }))
        }
    };
    let metric = match spec.metric {
        Metric::Cosine => pb::Metric::Cosine,
        Metric::Dot => pb::Metric::Dot,
        Metric::L2 => pb::Metric::L2,
    };
    let index = pb::IndexSettings {
        m: spec.index.m,
        ef_construction: spec.index.ef_construction,
        ef_search: spec.index.ef_search,
        seal_rows: spec.index.seal_rows,
        precision: pb::Precision::from(spec.index.precision).into(),
    };
    pb::CreateCollectionRequest {
        name: spec.name.as_str().into(),
        space,
        optional_vectors: spec.optional_vectors || spec.space == VectorSource::None,
        metric: metric.into(),
        index: Some(index),
        fields: {
            let text = spec.text_fields.iter().flatten().cloned().map(Field::Text);
            text.chain(spec.vector_fields.iter().cloned().map(Field::Vector)).map(crate::grpc::field_message).collect()
        },
        no_fields: spec.text_fields.as_ref().is_some_and(Vec::is_empty),
        ttl: spec.ttl.as_ref().map(ttl),
        tenant: spec.tenant.clone().unwrap_or_default(),
    }
}

/// Encodes the expiry of points.
pub(crate) fn ttl(ttl: &Ttl) -> pb::Ttl {
    pb::Ttl { path: ttl.path.clone(), seconds: ttl.seconds, stamp: ttl.stamp }
}

/// Returns the name of a precision.
pub(crate) fn precision(index: &pb::IndexSettings) -> &'static str {
    Precision::from(index.precision()).name()
}

/// Returns the state of a collection in one word.
pub(crate) fn state(collection: &pb::Collection) -> String {
    collection.state().as_str_name().trim_start_matches("COLLECTION_STATE_").to_ascii_lowercase()
}

/// Formats a collection as JSON.
pub(crate) fn collection_json(collection: &pb::Collection) -> Value {
    let index = collection.index.unwrap_or_default();
    let embedder = |embedder: Option<&pb::EmbedderRef>, fingerprint: &str| {
        embedder.map(|embedder| json!({ "name": embedder.name, "output": embedder.output, "fingerprint": fingerprint }))
    };
    json!({
        "name": collection.name,
        "aliases": collection.aliases,
        "dimension": collection.dimension,
        "optional_vectors": collection.optional_vectors,
        "metric": metric(collection).map(Metric::name),
        "embedder": embedder(collection.embedder.as_ref(), &collection.embedder_fingerprint),
        "index": {
            "m": index.m,
            "ef_construction": index.ef_construction,
            "ef_search": index.ef_search,
            "seal_rows": index.seal_rows,
            "precision": precision(&index),
        },
        "fields": collection.fields.iter().map(super::fields::field_json).collect::<Vec<_>>(),
        "ttl": collection.ttl.as_ref().map(|ttl| json!({ "path": ttl.path, "seconds": ttl.seconds, "stamp": ttl.stamp })),
        "tenant": Some(&collection.tenant).filter(|path| !path.is_empty()),
        "points": collection.points,
        "growing_points": collection.growing_points,
        "deleted_rows": collection.deleted_rows,
        "segments": collection.segments.iter().map(|segment| json!({
            "id": segment.id,
            "rows": segment.rows,
            "deleted_rows": segment.deleted_rows,
            "graph": segment.graph,
            "vector_bytes": segment.vector_bytes,
            "graph_bytes": segment.graph_bytes,
        })).collect::<Vec<_>>(),
        "mapped_bytes": collection.mapped_bytes,
        "resident_bytes": collection.resident_bytes,
        "sequence": collection.sequence,
        "queries": collection.queries,
        "generation": collection.generation,
        "previous": collection.previous.as_ref().map(|previous| json!({
            "generation": previous.generation,
            "embedder": embedder(previous.embedder.as_ref(), &previous.embedder_fingerprint),
        })),
        "state": state(collection),
        "problems": collection.problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_survive_both_forms() {
        let encoded = vector(&[1.5, -2.0]);
        assert_eq!(numbers(Some(&encoded)), [1.5, -2.0]);
        let values = pb::Vector { form: Some(pb::vector::Form::Values(pb::Values { values: vec![3.0] })) };
        assert_eq!(numbers(Some(&values)), [3.0]);
        assert!(numbers(None).is_empty());
    }

    #[test]
    fn a_summary_prefers_title_label_and_text() {
        let payload = |json: Value| json.as_object().cloned().unwrap();
        assert_eq!(summary(&payload(json!({"title": "Salt", "text": "a war", "url": "x"}))), "Salt | a war");
        assert_eq!(summary(&payload(json!({"label": 7}))), "7");
        assert_eq!(summary(&payload(json!({"x": 1}))), "{\"x\":1}");
        assert_eq!(summary(&Payload::new()), "");
    }
}
