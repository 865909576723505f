//! Conversion of responses to protobuf.

use super::{columns, fusion, payload, vectors};
use crate::api::{
    AnalyzedToken, Answer, CheckReport, CollectionInfo, CollectionState, Damage, Deleted, Explanation, Field, Hit,
    IndexSettings, Path, Payload, Point, PointLocation, Reason, RecallReport, SearchStats, SegmentInfo, SegmentRecall,
    Ttl,
};
use crate::embed::digits::Activation;
use crate::embed::{EmbedderInfo, Fingerprint, Origin};
use crate::engine::ModelInfo;
use crate::grpc::pb;
use crate::grpc::status::without_directories;
use crate::snapshot::{Listed, SnapshotInfo};
use crate::types::{Metric, PointId, Precision};
use prost::Message;
use std::time::Duration;

/// Formats as 64 hexadecimal digits; empty for none.
pub(crate) fn fingerprint(fingerprint: Option<Fingerprint>) -> String {
    fingerprint.map(|fingerprint| fingerprint.to_string()).unwrap_or_default()
}

pub(crate) fn snapshot(info: SnapshotInfo) -> pb::Snapshot {
    let fingerprint = info.embedder.as_ref().map(|pin| pin.fingerprint.to_string());
    pb::Snapshot {
        name: info.snapshot.to_string(),
        bytes: info.bytes,
        problem: String::new(),
        collection: info.collection.to_string(),
        sequence: info.sequence,
        points: info.points,
        dimension: info.dimension,
        metric: metric(info.metric).into(),
        embedder: info.embedder.map(|pin| pb::EmbedderRef { name: pin.name, output: pin.output }),
        embedder_fingerprint: fingerprint.unwrap_or_default(),
        carries_embedder: info.carries_embedder,
        made_unix: info.created,
        program: info.program,
    }
}

/// Converts an entry of a list of snapshots.
pub(crate) fn listed(listed: Listed) -> pb::Snapshot {
    let Listed { snapshot: name, bytes, info } = listed;
    match info {
        Ok(info) => snapshot(info),
        Err(problem) => {
            let problem = without_directories(&problem);
            pb::Snapshot { name: name.to_string(), bytes, problem, ..Default::default() }
        }
    }
}

pub(super) fn metric(metric: Metric) -> pb::Metric {
    match metric {
        Metric::Cosine => pb::Metric::Cosine,
        Metric::Dot => pb::Metric::Dot,
        Metric::L2 => pb::Metric::L2,
    }
}

impl From<Precision> for pb::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16 => Self::F16,
            Precision::I8 => Self::I8,
        }
    }
}

fn index(index: IndexSettings) -> pb::IndexSettings {
    let IndexSettings { m, ef_construction, ef_search, seal_rows, precision, .. } = index;
    let precision = pb::Precision::from(precision).into();
    pb::IndexSettings { m, ef_construction, ef_search, seal_rows, precision }
}

fn segment(segment: SegmentInfo) -> pb::Segment {
    let SegmentInfo { id, rows, deleted_rows, graph, vector_bytes, graph_bytes } = segment;
    pb::Segment { id, rows, deleted_rows, graph, vector_bytes, graph_bytes }
}

/// Converts the state of a collection.
pub(crate) fn collection(info: CollectionInfo) -> pb::Collection {
    let (embedder, pinned) = match info.embedder {
        Some(pin) => (Some(pb::EmbedderRef { name: pin.name, output: pin.output }), Some(pin.fingerprint)),
        None => (None, None),
    };
    pb::Collection {
        name: info.name.to_string(),
        dimension: info.dimension,
        optional_vectors: info.optional_vectors,
        metric: metric(info.metric).into(),
        embedder,
        embedder_fingerprint: fingerprint(pinned),
        index: Some(index(info.index)),
        fields: {
            let text = info.text_fields.into_iter().map(Field::Text);
            text.chain(info.vector_fields.into_iter().map(Field::Vector)).map(fusion::field_message).collect()
        },
        points: info.points,
        growing_points: info.growing_points,
        deleted_rows: info.deleted_rows,
        segments: info.segments.into_iter().map(segment).collect(),
        mapped_bytes: info.mapped_bytes,
        resident_bytes: info.resident_bytes,
        sequence: info.sequence,
        queries: info.queries,
        generation: info.generation,
        previous: info.previous.map(|previous| pb::PreviousGeneration {
            generation: previous.generation,
            embedder_fingerprint: fingerprint(Some(previous.embedder.fingerprint)),
            embedder: Some(pb::EmbedderRef { name: previous.embedder.name, output: previous.embedder.output }),
        }),
        state: match info.state {
            CollectionState::Serving => pb::CollectionState::Serving,
            CollectionState::ReadOnly => pb::CollectionState::ReadOnly,
            CollectionState::Damaged => pb::CollectionState::Damaged,
            CollectionState::Unavailable => pb::CollectionState::Unavailable,
        }
        .into(),
        problems: info.problems.iter().map(|problem| without_directories(problem)).collect(),
        aliases: info.aliases.iter().map(ToString::to_string).collect(),
        ttl: info.ttl.map(ttl),
        tenant: info.tenant.unwrap_or_default(),
    }
}

/// Returns the encoded size of a collection in a list.
pub(crate) fn collection_bytes(collection: &pb::Collection) -> usize {
    payload::field_len(collection.encoded_len())
}

/// Returns the approximate memory of a collection in a list, bytes.
pub(crate) fn collection_memory(collection: &pb::Collection) -> usize {
    let pb::Collection { segments, fields, problems, aliases, .. } = collection;
    let lists = size_of_val(segments.as_slice()) + size_of_val(fields.as_slice());
    let texts = size_of_val(problems.as_slice()) + size_of_val(aliases.as_slice());
    // The texts are part of the encoded length, most with a pointer of their own.
    size_of::<pb::Collection>() + lists + texts + 4 * collection.encoded_len()
}

/// Converts the expiry of points.
pub(crate) fn ttl(ttl: Ttl) -> pb::Ttl {
    pb::Ttl { path: ttl.path, seconds: ttl.seconds, stamp: ttl.stamp }
}

/// Converts the result of a check.
pub(crate) fn check_report(report: CheckReport) -> pb::CheckCollectionResponse {
    let damage = |damage| match damage {
        Damage::Data => pb::Damage::Data,
        Damage::Cache => pb::Damage::Cache,
        Damage::Stray => pb::Damage::Stray,
    };
    let findings = report.findings.into_iter().map(|finding| pb::Finding {
        damage: damage(finding.damage).into(),
        file: finding.file,
        what: finding.what,
    });
    pb::CheckCollectionResponse { files: report.files, bytes: report.bytes, findings: findings.collect() }
}

/// Converts a vector to numbers.
pub(crate) fn vector(values: Vec<f32>) -> pb::Vector {
    pb::Vector { form: Some(pb::vector::Form::Values(pb::Values { values })) }
}

/// Converts the vector and the payload, with the payload as text if necessary.
fn parts(
    vector: Option<Vec<f32>>,
    payload: Option<Payload>,
) -> (Option<pb::Vector>, Option<prost_types::Struct>, String) {
    let json = payload.as_ref().map(payload::exact_json).unwrap_or_default();
    (vector.map(self::vector), payload.map(payload::to_struct), json)
}

/// Returns the encoded size of a term of an analyzed text.
pub(crate) fn token_bytes(token: &AnalyzedToken) -> usize {
    let number = |number: u32| if number == 0 { 0 } else { 1 + prost::length_delimiter_len(number as usize) };
    let numbers = number(token.position) + number(token.start) + number(token.end);
    payload::field_len(payload::field_len(token.term.len()) + numbers)
}

/// Size of a point in a response; for a hit, accurate to a few bytes.
pub(crate) fn point_bytes(point: &Point) -> usize {
    payload::field_len(point_len(point))
}

/// Returns the maximum encoded size of a hit in a response.
pub(crate) fn hit_bytes(point: &Point) -> usize {
    // The distance and the score take 5 bytes each, the other fields as many as in a point.
    payload::field_len(point_len(point) + 10)
}

/// Returns the encoded size of an id in a list.
pub(crate) fn id_bytes(id: &PointId) -> usize {
    payload::field_len(id.as_str().len())
}

/// Returns the encoded size of the list of unknown fields.
pub(crate) fn unknown_fields_bytes(fields: &[String]) -> usize {
    // The field number takes two bytes.
    fields.iter().map(|field| 1 + payload::field_len(field.len())).sum()
}

/// Maximum encoded size of an answer in a batch, without hits and unknown fields; with the numbers of its response.
pub(crate) const ANSWER_BYTES: usize = 192;
/// Maximum size of the stats of a fused query, bytes.
pub(crate) const FUSED_BYTES: usize = 96;

fn point_len(point: &Point) -> usize {
    let field_len = payload::field_len;
    let vector = point.vector.as_ref().map_or(0, |vector| {
        let values = if vector.is_empty() { 0 } else { field_len(4 * vector.len()) };
        field_len(field_len(values))
    });
    let payload = point.payload.as_ref().map_or(0, |payload| {
        let json = payload::exact_json(payload);
        // The field number of the text takes two bytes.
        let json = if json.is_empty() { 0 } else { 1 + field_len(json.len()) };
        field_len(payload::encoded_len(payload)) + json
    });
    field_len(point.id.as_str().len()) + vector + payload + vectors::encoded_len(&point.vectors)
}

pub(crate) fn point(point: Point) -> pb::Point {
    let (vector, payload, payload_json) = parts(point.vector, point.payload);
    pb::Point { id: point.id.to_string(), vector, payload, payload_json, vectors: vectors::messages(point.vectors) }
}

/// Converts the result of a delete.
pub(crate) fn deleted(deleted: Deleted, unknown_fields: Vec<String>) -> pb::DeletePointsResponse {
    let Deleted { sequence, deleted, missing } = deleted;
    let missing = missing.iter().map(ToString::to_string).collect();
    pb::DeletePointsResponse { sequence, deleted, missing, unknown_fields }
}

fn hit(hit: Hit) -> pb::Hit {
    let (vector, payload, payload_json) = parts(hit.point.vector, hit.point.payload);
    let (id, distance, score) = (hit.point.id.to_string(), hit.distance, hit.score);
    let vectors = vectors::messages(hit.point.vectors);
    pb::Hit { id, distance, score, payload, vector, payload_json, vectors }
}

pub(super) fn path(path: Path) -> pb::Path {
    match path {
        Path::Exact => pb::Path::Exact,
        Path::Graph => pb::Path::Graph,
        Path::Mixed => pb::Path::Mixed,
        Path::FilterScan => pb::Path::FilterScan,
        Path::Keywords => pb::Path::Keywords,
        Path::Fusion => pb::Path::Fusion,
    }
}

fn stats(stats: SearchStats) -> pb::SearchStats {
    pb::SearchStats {
        path: path(stats.path).into(),
        ef_used: stats.ef_used,
        distances_computed: stats.distances_computed,
        segments_by_graph: stats.segments_by_graph,
        segments_by_scan: stats.segments_by_scan,
        growing_distances: stats.growing_distances,
        embed_us: micros(stats.embed_time),
        search_us: micros(stats.search_time),
        embedder_fingerprint: fingerprint(stats.fingerprint),
        expected_recall: stats.expected_recall,
        recall_unmeasured: stats.recall_unmeasured,
        lost_segments: stats.lost_segments,
        filter_matches: stats.filter_matches,
        parts: stats.parts.into_iter().map(fusion::part_stats).collect(),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Converts the answer to one query.
pub(crate) fn answer(mut answer: Answer, vectors_as_column: bool) -> pb::SearchResponse {
    let vectors = columns::of_answer(&mut answer, vectors_as_column);
    let hits = answer.hits.into_iter().map(hit).collect();
    let next_offset = answer.next_offset.unwrap_or_default();
    pb::SearchResponse { hits, stats: Some(stats(answer.stats)), next_offset, unknown_fields: Vec::new(), vectors }
}

/// Converts an embedder and its card.
pub(crate) fn embedder(embedder: &EmbedderInfo) -> pb::Embedder {
    let output = |output: &crate::embed::OutputLayer| pb::OutputLayer {
        name: output.name.into(),
        dimension: output.dimension,
        about: output.about.into(),
    };
    pb::Embedder {
        name: embedder.name.clone(),
        fingerprint: embedder.fingerprint.to_string(),
        outputs: embedder.output_layers.iter().map(output).collect(),
        modality: embedder.modality.name().into(),
        card_json: embedder.card.to_json(),
    }
}

pub(crate) fn model(info: &ModelInfo) -> pb::Model {
    let origin = match info.origin {
        Origin::Program => pb::ModelOrigin::Program,
        Origin::Folder => pb::ModelOrigin::Folder,
        Origin::Installed(_) => pb::ModelOrigin::Installed,
    };
    pb::Model {
        fingerprint: info.fingerprint().to_string(),
        origin: origin.into(),
        embedders: info.embedders.iter().map(embedder).collect(),
        current: info.current,
        used_by: info.used_by.iter().map(ToString::to_string).collect(),
        warnings: info.embedders[0].card.warnings.clone(),
    }
}

/// Converts the activations of a layer.
pub(crate) fn layer(layer: Activation) -> pb::Layer {
    pb::Layer {
        name: layer.name.into(),
        about: layer.about.into(),
        channels: layer.channels as u32,
        rows: layer.rows as u32,
        columns: layer.columns as u32,
        values: layer.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// Converts words and their scores.
pub(crate) fn words(words: Vec<(String, f32)>) -> Vec<pb::ScoredWord> {
    words.into_iter().map(|(word, score)| pb::ScoredWord { word, score }).collect()
}

/// Converts the explanation of a point.
pub(crate) fn explanation(explanation: Explanation, unknown_fields: Vec<String>) -> pb::ExplainResponse {
    let reason = match explanation.reason {
        Reason::Hit => pb::Reason::Hit,
        Reason::UnknownPoint => pb::Reason::UnknownPoint,
        Reason::Deleted => pb::Reason::Deleted,
        Reason::Excluded => pb::Reason::Excluded,
        Reason::BelowThreshold => pb::Reason::BelowThreshold,
        Reason::Beaten => pb::Reason::Beaten,
        Reason::MissedByGraph => pb::Reason::MissedByGraph,
        Reason::Filtered => pb::Reason::Filtered,
        Reason::NoTerms => pb::Reason::NoTerms,
        Reason::NoVector => pb::Reason::NoVector,
    };
    let (segment, row) = match explanation.residence {
        Some(PointLocation::Sealed { segment, row }) => (Some(segment), Some(row)),
        Some(PointLocation::Growing) | None => (None, None),
    };
    pb::ExplainResponse {
        reason: reason.into(),
        rank: explanation.rank.unwrap_or(0),
        true_rank: explanation.true_rank,
        distance: explanation.distance,
        score: explanation.score,
        kth_distance: explanation.kth_distance,
        segment,
        row,
        ef_used: explanation.ef_used,
        ef_needed: explanation.ef_needed,
        walked: explanation.walked.iter().map(ToString::to_string).collect(),
        unknown_fields,
        parts: explanation.parts.into_iter().map(fusion::part_explanation).collect(),
        formula: explanation.formula,
    }
}

/// Converts the result of a recall measurement.
pub(crate) fn recall_report(report: RecallReport) -> pb::MeasureRecallResponse {
    let segment = |part: SegmentRecall| {
        let SegmentRecall { segment, ef_used, found, of, calibrated_on, expected } = part;
        pb::SegmentRecall { segment, ef_used, found, of, calibrated_on, expected_recall: expected }
    };
    pb::MeasureRecallResponse {
        samples: report.samples,
        recall: report.recall,
        recall_low: report.low,
        recall_high: report.high,
        stored_expected: report.stored_expected,
        expected_recall: report.expected,
        search_us: micros(report.search_time),
        exact_us: micros(report.exact_time),
        recalibrating: report.recalibrating,
        segments: report.segments.into_iter().map(segment).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_bytes_is_the_encoded_length() {
        for (term, position, start, end) in
            [("a", 0, 0, 1), ("long".repeat(50).as_str(), 127, 128, 1 << 20), ("ä", 300, 70_000, 70_002)]
        {
            let token = AnalyzedToken { term: term.into(), position, start, end };
            let bytes = token_bytes(&token);
            assert_eq!(bytes, fusion::analyzed(vec![token]).encoded_len());
        }
    }

    #[test]
    fn point_bytes_is_the_encoded_length() {
        for (vector, payload) in [
            (None, None),
            (Some(vec![]), None),
            (Some(vec![1.0; 1_536]), Some(serde_json::json!({ "a": [1, "x"] }))),
            (Some(vec![1.0]), Some(serde_json::json!({ "n": u64::MAX, "long": "x".repeat(300) }))),
            (None, Some(serde_json::json!({}))),
        ] {
            let payload = payload.map(|payload| payload.as_object().expect("an object").clone());
            let point =
                Point { id: PointId::new("an id").expect("an id"), vector, payload, vectors: Default::default() };
            let (bytes, as_hit) = (point_bytes(&point), hit_bytes(&point));
            let response = pb::ScrollResponse { points: vec![super::point(point.clone())], ..Default::default() };
            assert_eq!(bytes, response.encoded_len());
            let hits = vec![hit(Hit { point, distance: 1.0, score: -1.0 })];
            assert_eq!(as_hit, pb::SearchResponse { hits, ..Default::default() }.encoded_len());
        }
    }

    #[test]
    fn an_answer_without_hits_fits_into_answer_bytes() {
        let stats = SearchStats {
            path: Path::FilterScan,
            ef_used: u32::MAX,
            distances_computed: u64::MAX,
            growing_distances: u64::MAX,
            segments_by_graph: u32::MAX,
            segments_by_scan: u32::MAX,
            expected_recall: Some(1.0),
            recall_unmeasured: true,
            filter_matches: Some(u64::MAX),
            lost_segments: u32::MAX,
            embed_time: Duration::MAX,
            search_time: Duration::MAX,
            fingerprint: Some(Fingerprint([255; 32])),
            parts: Vec::new(),
        };
        let responses = vec![answer(Answer { hits: Vec::new(), stats, next_offset: Some(u32::MAX) }, false)];
        let mut reply = pb::SearchBatchResponse { responses, next_query: u32::MAX };
        // The length of a response with hits takes 5 bytes, that of one without takes 2.
        assert!(reply.encoded_len() + 3 <= ANSWER_BYTES, "{}", reply.encoded_len());
        let part = pb::PartStats {
            query: "queries[15].queries[15].queries[15]".into(),
            candidates: u32::MAX,
            path: pb::Path::Fusion.into(),
            ef_used: u32::MAX,
            expected_recall: Some(1.0),
        };
        // The length of the stats takes up to 4 more bytes.
        assert!(part.encoded_len() + 6 <= FUSED_BYTES, "{}", part.encoded_len());
        let response = &mut reply.responses[0];
        let before = response.encoded_len();
        response.unknown_fields = vec!["a".repeat(200), "b".into()];
        assert_eq!(unknown_fields_bytes(&response.unknown_fields), response.encoded_len() - before);
    }
}
