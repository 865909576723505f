//! Conversion of requests from protobuf: checks every limit and names an invalid field by its path in the request.
//!
//! Checks that need the collection (its dimension, metric, embedder) are left to the engine.

use super::{filter, formula, fusion, payload, ranking, recommend, vectors};
use crate::api::limits::MAX_COLLECTIONS;
use crate::api::{
    Accuracy, CollectionSpec, Error, Field, Fields, IndexSettings, Item, PointInput, Query, RecallParams, SearchParams,
    Ttl, VectorSource,
};
use crate::collection::Blocks;
use crate::embed::{Fingerprint, image_decode};
use crate::grpc::limits::*;
use crate::grpc::pb;
use crate::types::{CollectionName, MAX_DIMENSION, Metric, PointId, Precision};
use std::fmt::Display;
use std::sync::Arc;

/// Converts a collection name from the field `field`.
pub(crate) fn collection(field: &str, name: &str) -> Result<CollectionName, Error> {
    CollectionName::new(name).map_err(|error| Error::invalid(field, error.to_string()))
}

pub(crate) fn id(field: &dyn Display, id: String) -> Result<PointId, Error> {
    PointId::new(id).map_err(|error| Error::invalid(field.to_string(), error.to_string()))
}

/// Converts the ids of a `Get` or `Delete`.
pub(crate) fn ids(list: Vec<String>) -> Result<Vec<PointId>, Error> {
    count("ids", list.len(), MAX_IDS)?;
    list.into_iter().enumerate().map(|(index, text)| id(&format_args!("ids[{index}]"), text)).collect()
}

pub(super) fn count(field: &str, found: usize, max: usize) -> Result<(), Error> {
    if found == 0 || found > max {
        return Err(Error::invalid(field, format!("takes 1 to {max}, got {found}")));
    }
    Ok(())
}

/// Converts a vector of 1 to [`MAX_DIMENSION`] finite components.
pub(crate) fn vector(field: &dyn Display, vector: pb::Vector) -> Result<Vec<f32>, Error> {
    use pb::vector::Form;
    let (form, components) = match vector.form {
        None => return Err(Error::invalid(field.to_string(), "give values or le_f32")),
        Some(Form::Values(values)) => ("values", values.values),
        Some(Form::LeF32(bytes)) => {
            if !bytes.len().is_multiple_of(4) {
                let why = format!("has {} bytes, which is not a multiple of 4", bytes.len());
                return Err(Error::invalid(format!("{field}.le_f32"), why));
            }
            if bytes.len() / 4 > MAX_DIMENSION as usize {
                let why = format!("takes 1 to {MAX_DIMENSION} components, got {}", bytes.len() / 4);
                return Err(Error::invalid(format!("{field}.le_f32"), why));
            }
            let (fours, _) = bytes.as_chunks::<4>();
            ("le_f32", fours.iter().map(|four| f32::from_le_bytes(*four)).collect())
        }
    };
    if components.is_empty() || components.len() > MAX_DIMENSION as usize {
        let why = format!("takes 1 to {MAX_DIMENSION} components, got {}", components.len());
        return Err(Error::invalid(format!("{field}.{form}"), why));
    }
    if let Some(index) = components.iter().position(|component| !component.is_finite()) {
        let why = format!("is {}; components are finite numbers", components[index]);
        return Err(Error::invalid(format!("{field}.{form}[{index}]"), why));
    }
    Ok(components)
}

/// Checks a text of 1 byte to [`MAX_TEXT_BYTES`].
pub(crate) fn text(field: &dyn Display, text: String) -> Result<String, Error> {
    size(field, text.len(), MAX_TEXT_BYTES)?;
    Ok(text)
}

/// Checks an image of 1 byte to [`MAX_IMAGE_BYTES`].
pub(crate) fn image(field: &dyn Display, image: &[u8]) -> Result<Vec<u8>, Error> {
    size(field, image.len(), MAX_IMAGE_BYTES)?;
    Ok(image.to_vec())
}

/// Refuses images with too many pixels in total, because embedding takes time for each image.
fn pixels<'a>(field: &str, images: impl Iterator<Item = &'a [u8]>) -> Result<(), Error> {
    let pixels: u64 = images.filter_map(image_decode::pixels).sum();
    if pixels > image_decode::MAX_REQUEST_PIXELS {
        let why = format!(
            "the images of a request have at most {} pixels together, got {pixels}; send fewer per request",
            image_decode::MAX_REQUEST_PIXELS
        );
        return Err(Error::invalid(field, why));
    }
    Ok(())
}

fn size(field: &dyn Display, found: usize, max: usize) -> Result<(), Error> {
    if found == 0 || found > max {
        return Err(Error::invalid(field.to_string(), format!("takes 1 to {max} bytes, got {found}")));
    }
    Ok(())
}

/// Converts the items of an `Upsert`.
pub(crate) fn items(items: Vec<pb::Item>) -> Result<Vec<Item>, Error> {
    count("items", items.len(), MAX_ITEMS)?;
    let images = items.iter().filter_map(|item| match &item.source {
        Some(pb::item::Source::Image(image)) => Some(image.as_ref()),
        _ => None,
    });
    pixels("items", images)?;
    items.into_iter().enumerate().map(|(index, one)| item(&format_args!("items[{index}]"), one)).collect()
}

pub(crate) fn item(field: &dyn Display, item: pb::Item) -> Result<Item, Error> {
    use pb::item::Source as Wire;
    let id = id(&format_args!("{field}.id"), item.id)?;
    let source = match item.source {
        None => PointInput::None,
        Some(Wire::Vector(given)) => PointInput::Vector(vector(&format_args!("{field}.vector"), given)?),
        Some(Wire::Text(given)) => PointInput::Text(text(&format_args!("{field}.text"), given)?),
        Some(Wire::Image(given)) => PointInput::Image(image(&format_args!("{field}.image"), &given)?),
    };
    let payload = payload::from_wire(item.payload, &item.payload_json, &format_args!("{field}.payload"))?;
    let vectors = vectors::vectors(&format_args!("{field}.vectors"), item.vectors)?;
    Ok(Item { id, source, payload, vectors })
}

/// Converts the text splitting settings.
pub(crate) fn blocks(given: Option<pb::Blocks>) -> Result<Option<Blocks>, Error> {
    let blocks = given.map(|pb::Blocks { words, overlap }| Blocks::new(words).overlap(overlap));
    blocks.map_or(Ok(()), |blocks| blocks.check("blocks"))?;
    Ok(blocks)
}

/// Checks an embedder reference that must have a name.
pub(crate) fn embedder(given: pb::EmbedderRef) -> Result<pb::EmbedderRef, Error> {
    if given.name.is_empty() {
        return Err(Error::invalid("embedder.name", "is empty; Embedders.List lists the embedders"));
    }
    Ok(given)
}

/// Parses a fingerprint: 64 hexadecimal digits.
pub(crate) fn fingerprint(field: &str, text: &str) -> Result<Fingerprint, Error> {
    Fingerprint::from_hex(text).ok_or_else(|| Error::invalid(field, "is not a fingerprint: 64 hexadecimal digits"))
}

/// Converts the specification of a new collection; uses the embedder `default` if the request names none.
pub(crate) fn ttl(ttl: pb::Ttl) -> Ttl {
    Ttl::new(ttl.path, ttl.seconds).stamp(ttl.stamp)
}

/// Converts a change of settings.
pub(crate) fn expiry(given: Option<pb::update_collection_request::Expiry>) -> Result<Option<Ttl>, Error> {
    use pb::update_collection_request::Expiry as Wire;
    match given {
        Some(Wire::Ttl(given)) => Ok(Some(ttl(given))),
        Some(Wire::NoTtl(true)) => Ok(None),
        Some(Wire::NoTtl(false)) => Err(Error::invalid("no_ttl", "must be true, or absent")),
        None => Err(Error::invalid("expiry", "give ttl or no_ttl: the request changes nothing")),
    }
}

pub(crate) fn spec(request: pb::CreateCollectionRequest, default: pb::EmbedderRef) -> Result<CollectionSpec, Error> {
    use pb::create_collection_request::Space as Wire;
    let name = collection("name", &request.name)?;
    let space = match request.space {
        None if request.optional_vectors => VectorSource::None,
        None => {
            let what = "give a dimension or an embedder, or optional_vectors for points without vectors";
            return Err(Error::invalid("space", what));
        }
        Some(Wire::Dimension(dimension)) => {
            if dimension == 0 || dimension > MAX_DIMENSION {
                return Err(Error::invalid("dimension", format!("takes 1 to {MAX_DIMENSION}, got {dimension}")));
            }
            VectorSource::Plain { dimension }
        }
        Some(Wire::Embedder(given)) => {
            let given = match given.name.is_empty() && given.output.is_empty() {
                true => default,
                false => embedder(given)?,
            };
            VectorSource::Embedded { embedder: given.name, output: given.output }
        }
    };
    let metric = metric("metric", request.metric)?;
    let index = request.index.unwrap_or_default();
    between("index.m", index.m, 2, 128)?;
    between("index.ef_construction", index.ef_construction, 1, 4_096)?;
    between("index.ef_search", index.ef_search, 1, MAX_EF)?;
    let index = IndexSettings::default()
        .m(index.m)
        .ef_construction(index.ef_construction)
        .ef_search(index.ef_search)
        .seal_rows(index.seal_rows)
        .precision(
            pb::Precision::try_from(index.precision)
                .map(Precision::from)
                .map_err(|_| Error::invalid("index.precision", format!("{} is not a Precision", index.precision)))?,
        );
    let spec = CollectionSpec::new(name, space).metric(metric).index(index).ttl(request.ttl.map(ttl));
    let is_text = |field: &pb::Field| matches!(field.kind, Some(pb::field::Kind::Text(_)));
    if request.no_fields && request.fields.iter().any(is_text) {
        return Err(Error::invalid("no_fields", "cannot be combined with text fields"));
    }
    let (mut text, mut vector) = (Vec::new(), Vec::new());
    for (index, given) in request.fields.into_iter().enumerate() {
        match fusion::field(&format!("fields[{index}]"), Some(given))? {
            Field::Text(field) => text.push(field),
            Field::Vector(field) => vector.push(field),
        }
    }
    let spec = spec.vector_fields(vector).optional_vectors(request.optional_vectors);
    let spec = if request.tenant.is_empty() { spec } else { spec.tenant(request.tenant) };
    Ok(if text.is_empty() && !request.no_fields { spec } else { spec.text_fields(text) })
}

/// Converts a metric; that of a collection is cosine by default.
pub(super) fn metric(field: &str, metric: i32) -> Result<Metric, Error> {
    match pb::Metric::try_from(metric) {
        Ok(pb::Metric::Unspecified | pb::Metric::Cosine) => Ok(Metric::Cosine),
        Ok(pb::Metric::Dot) => Ok(Metric::Dot),
        Ok(pb::Metric::L2) => Ok(Metric::L2),
        Err(_) => Err(Error::invalid(field, format!("{metric} is not a Metric"))),
    }
}

impl From<pb::Precision> for Precision {
    fn from(precision: pb::Precision) -> Self {
        match precision {
            pb::Precision::Unspecified | pb::Precision::F32 => Self::F32,
            pb::Precision::F16 => Self::F16,
            pb::Precision::I8 => Self::I8,
        }
    }
}

/// Checks that a setting is within its range, or 0 for its default.
pub(crate) fn between(field: &str, found: u32, min: u32, max: u32) -> Result<(), Error> {
    if found != 0 && !(min..=max).contains(&found) {
        return Err(Error::invalid(field, format!("takes {min} to {max}, or 0 for the default; got {found}")));
    }
    Ok(())
}

pub(crate) fn fields(fields: Option<pb::Fields>) -> Fields {
    let fields = fields.unwrap_or_default();
    Fields { payload: fields.payload, vector: fields.vector }
}

/// Returns the page size of a scroll.
pub(crate) fn page(limit: u32) -> Result<u32, Error> {
    match limit {
        0 => Ok(DEFAULT_PAGE),
        1..=MAX_PAGE => Ok(limit),
        _ => Err(Error::invalid("limit", format!("takes 1 to {MAX_PAGE}, or 0 for {DEFAULT_PAGE}; got {limit}"))),
    }
}

/// Returns the page size of a list of collections.
pub(crate) fn collections_page(limit: u32) -> Result<usize, Error> {
    match limit as usize {
        0 => Ok(MAX_COLLECTIONS),
        limit @ 1..=MAX_COLLECTIONS => Ok(limit),
        _ => {
            Err(Error::invalid("limit", format!("takes 1 to {MAX_COLLECTIONS}, or 0 for as many as fit; got {limit}")))
        }
    }
}

/// Checks the number of hits or words.
pub(crate) fn k(field: &str, k: u32) -> Result<u32, Error> {
    if !(1..=MAX_K).contains(&k) {
        return Err(Error::invalid(field, format!("takes 1 to {MAX_K}, got {k}")));
    }
    Ok(k)
}

/// Converts the search parameters.
pub(crate) fn params(params: Option<pb::SearchParams>) -> Result<SearchParams, Error> {
    use pb::search_params::Accuracy as Wire;
    let Some(params) = params else {
        return Err(Error::invalid("params", "is missing; k is the number of hits"));
    };
    let k = k("params.k", params.k)?;
    let accuracy = match params.accuracy {
        None | Some(Wire::Exact(false)) => Accuracy::Default,
        Some(Wire::Exact(true)) => Accuracy::Exact,
        Some(Wire::Ef(given)) => ef("params.ef", given, k)?,
        Some(Wire::TargetRecall(target)) => target_recall("params.target_recall", target)?,
    };
    if params.score_threshold.is_some_and(f32::is_nan) {
        return Err(Error::invalid("params.score_threshold", "is NaN"));
    }
    let group_by = Some(params.group_by).filter(|field| !field.is_empty());
    group_by.as_deref().map_or(Ok(()), crate::api::limits::group_by)?;
    let mut search = SearchParams::new(k).accuracy(accuracy).fields(fields(params.fields));
    search.score_threshold = params.score_threshold;
    search.filter = filter::filter("params.filter", params.filter)?.map(Arc::new);
    search.group_by = group_by;
    search.group_size = params.group_size;
    search.rerank = params.rerank.map(|given| ranking::rerank(given).map(Arc::new)).transpose()?;
    search.formula = params.formula.map(|given| formula::formula(given).map(Arc::new)).transpose()?;
    search.diversity = params.diversity.map(ranking::diversity);
    search.allow_partial = params.allow_partial;
    Ok(search)
}

/// Checks the candidate list size: `k` to [`MAX_EF`].
fn ef(field: &str, ef: u32, k: u32) -> Result<Accuracy, Error> {
    if !(k..=MAX_EF).contains(&ef) {
        return Err(Error::invalid(field, format!("takes k (here {k}) to {MAX_EF}, got {ef}")));
    }
    Ok(Accuracy::Ef(ef))
}

/// Checks a target recall against [`TARGET_RECALL`]; refuses NaN, which is in no range.
fn target_recall(field: &str, target: f32) -> Result<Accuracy, Error> {
    if !TARGET_RECALL.contains(&target) {
        let (min, max) = TARGET_RECALL.into_inner();
        return Err(Error::invalid(field, format!("takes {min} to {max}, got {target}")));
    }
    Ok(Accuracy::TargetRecall(target))
}

/// Converts the parameters of a recall measurement.
pub(crate) fn recall_params(request: &pb::MeasureRecallRequest) -> Result<RecallParams, Error> {
    use pb::measure_recall_request::Accuracy as Wire;
    let k = k("k", if request.k == 0 { DEFAULT_K } else { request.k })?;
    let samples = if request.samples == 0 { DEFAULT_SAMPLES } else { request.samples };
    if samples > MAX_SAMPLES {
        return Err(Error::invalid(
            "samples",
            format!("takes 1 to {MAX_SAMPLES}, or 0 for {DEFAULT_SAMPLES}; got {samples}"),
        ));
    }
    let accuracy = match request.accuracy {
        None => Accuracy::Default,
        Some(Wire::Ef(given)) => ef("ef", given, k)?,
        Some(Wire::TargetRecall(target)) => target_recall("target_recall", target)?,
    };
    Ok(RecallParams::default().samples(samples).k(k).accuracy(accuracy).seed(request.seed))
}

/// Converts the query of a `Search` or an `Explain`, whose other parameters are `params`.
pub(crate) fn one_query(given: Option<pb::Query>, params: Option<&pb::SearchParams>) -> Result<Query, Error> {
    let rerank = params.and_then(|params| params.rerank.as_ref()?.query.as_ref());
    pixels("query", given.iter().chain(rerank).flat_map(fusion::images))?;
    query(&"query", given)
}

pub(crate) fn query(field: &dyn Display, query: Option<pb::Query>) -> Result<Query, Error> {
    use pb::query::Form;
    let Some(form) = query.and_then(|query| query.form) else {
        return Err(Error::invalid(
            field.to_string(),
            "give a vector, a text, an image, an id, arithmetic, a recommendation, keywords, a hybrid query, a fusion or a field query",
        ));
    };
    Ok(match form {
        Form::Vector(given) => Query::Vector(vector(&format_args!("{field}.vector"), given)?),
        Form::Text(given) => Query::Text(text(&format_args!("{field}.text"), given)?),
        Form::Image(given) => Query::Image(image(&format_args!("{field}.image"), &given)?),
        Form::Id(given) => Query::Id(id(&format_args!("{field}.id"), given)?),
        Form::Arithmetic(given) => {
            let (plus, minus) = terms(&format_args!("{field}.arithmetic"), given.plus, given.minus)?;
            Query::Arithmetic { plus, minus }
        }
        Form::Recommend(given) => recommend::recommend(&format_args!("{field}.recommend"), given)?,
        Form::Keywords(given) => fusion::keywords(&format_args!("{field}.keywords"), given)?,
        Form::Hybrid(given) => fusion::hybrid(&format_args!("{field}.hybrid"), given)?,
        Form::Fusion(given) => fusion::fusion(&format_args!("{field}.fusion"), given)?,
        Form::Field(given) => vectors::query(&format_args!("{field}.field"), given)?,
    })
}

/// Converts the terms of vector arithmetic: 1 to [`MAX_TERMS`] in total.
pub(crate) fn terms(
    field: &dyn Display,
    plus: Vec<String>,
    minus: Vec<String>,
) -> Result<(Vec<String>, Vec<String>), Error> {
    count(&field.to_string(), plus.len() + minus.len(), MAX_TERMS)?;
    for (side, list) in [("plus", &plus), ("minus", &minus)] {
        for (index, term) in list.iter().enumerate() {
            size(&format_args!("{field}.{side}[{index}]"), term.len(), MAX_TEXT_BYTES)?;
        }
    }
    Ok((plus, minus))
}

/// Converts the queries of a batch.
pub(crate) fn queries(queries: Vec<pb::Query>, params: &SearchParams) -> Result<Vec<Query>, Error> {
    count("queries", queries.len(), MAX_QUERIES)?;
    batch_hits("queries", queries.len(), params.max_hits())?;
    pixels("queries", queries.iter().flat_map(fusion::images))?;
    queries.into_iter().enumerate().map(|(index, one)| query(&format_args!("queries[{index}]"), Some(one))).collect()
}

/// Checks the number of hits of a batch.
pub(super) fn batch_hits(field: &str, queries: usize, k: u32) -> Result<(), Error> {
    let hits = queries * k as usize;
    if hits > MAX_BATCH_HITS {
        return Err(Error::invalid(field, format!("queries times k is at most {MAX_BATCH_HITS}, got {hits}")));
    }
    Ok(())
}

/// An input to embed.
pub(crate) enum EmbedInput {
    Text(String),
    Image(Vec<u8>),
}

/// Converts the inputs of an `Embed`.
pub(crate) fn inputs(inputs: Vec<pb::EmbedInput>) -> Result<Vec<EmbedInput>, Error> {
    use pb::embed_input::Form;
    count("inputs", inputs.len(), MAX_INPUTS)?;
    let images = inputs.iter().filter_map(|input| match &input.form {
        Some(Form::Image(image)) => Some(image.as_ref()),
        _ => None,
    });
    pixels("inputs", images)?;
    let one = |(index, input): (usize, pb::EmbedInput)| match input.form {
        None => Err(Error::invalid(format!("inputs[{index}]"), "give a text or an image")),
        Some(Form::Text(given)) => text(&format_args!("inputs[{index}].text"), given).map(EmbedInput::Text),
        Some(Form::Image(given)) => image(&format_args!("inputs[{index}].image"), &given).map(EmbedInput::Image),
    };
    inputs.into_iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pb::vector::Form;

    #[track_caller]
    fn check<T>(result: Result<T, Error>, path: &str, part: &str) {
        match result {
            Err(Error::Invalid { field, why }) => {
                assert_eq!(field, path);
                assert!(why.contains(part), "{why:?} should contain {part:?}");
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{path} should be refused"),
        }
    }

    fn values(values: &[f32]) -> pb::Vector {
        pb::Vector { form: Some(Form::Values(pb::Values { values: values.to_vec() })) }
    }

    fn bytes(bytes: Vec<u8>) -> pb::Vector {
        pb::Vector { form: Some(Form::LeF32(bytes.into())) }
    }

    #[test]
    fn vectors() {
        let at = &"v";
        assert_eq!(vector(at, values(&[1.0, -2.5])).unwrap(), [1.0, -2.5]);
        let le: Vec<u8> = [1.0f32, -2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(vector(at, bytes(le.clone())).unwrap(), [1.0, -2.5]);
        check(vector(at, pb::Vector { form: None }), "v", "values or le_f32");
        check(vector(at, values(&[])), "v.values", "1 to 65536");
        check(vector(at, bytes(vec![])), "v.le_f32", "1 to 65536");
        check(vector(at, bytes(le[..7].to_vec())), "v.le_f32", "7 bytes");
        check(vector(at, bytes(vec![0; 4 * 65_537])), "v.le_f32", "65537");
        check(vector(at, values(&vec![0.0; 65_537])), "v.values", "65537");
        check(vector(at, values(&[0.0, f32::NAN])), "v.values[1]", "NaN");
        check(vector(at, bytes(f32::NEG_INFINITY.to_le_bytes().to_vec())), "v.le_f32[0]", "-inf");
    }

    #[test]
    fn search_params() {
        use pb::search_params::Accuracy as Wire;
        let with = |k, accuracy| params(Some(pb::SearchParams { k, accuracy, ..Default::default() }));
        assert_eq!(with(10, None).unwrap().accuracy, Accuracy::Default);
        assert_eq!(with(10, Some(Wire::Exact(false))).unwrap().accuracy, Accuracy::Default);
        assert_eq!(with(10_000, Some(Wire::Exact(true))).unwrap().accuracy, Accuracy::Exact);
        assert_eq!(with(10, Some(Wire::Ef(10))).unwrap().accuracy, Accuracy::Ef(10));
        assert_eq!(with(10, Some(Wire::Ef(65_536))).unwrap().accuracy, Accuracy::Ef(65_536));
        check(params(None), "params", "missing");
        check(with(0, None), "params.k", "1 to 10000");
        check(with(10_001, None), "params.k", "10001");
        check(with(10, Some(Wire::Ef(9))), "params.ef", "here 10");
        check(with(10, Some(Wire::Ef(65_537))), "params.ef", "65536");
        let target = |target| with(10, Some(Wire::TargetRecall(target)));
        assert_eq!(target(0.5).unwrap().accuracy, Accuracy::TargetRecall(0.5));
        assert_eq!(target(1.0).unwrap().accuracy, Accuracy::TargetRecall(1.0));
        for invalid in [0.499, 1.001, -1.0, f32::NAN, f32::INFINITY] {
            check(target(invalid), "params.target_recall", &format!("0.5 to 1, got {invalid}"));
        }
        let nan = pb::SearchParams { k: 1, score_threshold: Some(f32::NAN), ..Default::default() };
        check(params(Some(nan)), "params.score_threshold", "NaN");
    }

    #[test]
    fn measurements() {
        use pb::measure_recall_request::Accuracy as Wire;
        let of = |samples, k, accuracy| {
            recall_params(&pb::MeasureRecallRequest { samples, k, accuracy, seed: 7, ..Default::default() })
        };
        let default = RecallParams::default().samples(200).k(10).accuracy(Accuracy::Default).seed(7);
        assert_eq!(of(0, 0, None).unwrap(), default);
        assert_eq!(of(10_000, 5, Some(Wire::Ef(5))).unwrap().accuracy, Accuracy::Ef(5));
        check(of(10_001, 0, None), "samples", "1 to 10000");
        check(of(1, 10_001, None), "k", "1 to 10000");
        check(of(1, 0, Some(Wire::Ef(9))), "ef", "here 10");
        check(of(1, 0, Some(Wire::TargetRecall(f32::NAN))), "target_recall", "0.5 to 1");
    }

    #[test]
    fn batches_and_terms() {
        let k = SearchParams::new;
        check(items(vec![]), "items", "1 to 10000");
        check(items(vec![pb::Item::default(); 10_001]), "items", "10001");
        check(queries(vec![], &k(1)), "queries", "1 to 1000");
        check(queries(vec![pb::Query::default(); 1_001], &k(1)), "queries", "1001");
        check(queries(vec![pb::Query::default(); 101], &k(10_000)), "queries", "1010000");
        let grouped = k(101).group_by("a").group_size(99);
        check(queries(vec![pb::Query::default(); 101], &grouped), "queries", "1009899");
        check(queries(vec![pb::Query::default()], &k(1)), "queries[0]", "give a vector");
        check(ids(vec![String::new()]), "ids[0]", "1 to 128");
        check(terms(&"query.arithmetic", vec![], vec![]), "query.arithmetic", "1 to 100");
        check(terms(&"a", vec!["x".into()], vec![String::new()]), "a.minus[0]", "1 to 1048576");
        let two =
            vec![
                pb::Item { id: "a".into(), source: Some(pb::item::Source::Text("b".into())), ..Default::default() };
                2
            ];
        assert_eq!(items(two).unwrap().len(), 2, "ids may repeat");
    }

    #[test]
    fn specs() {
        use pb::create_collection_request::Space as Wire;
        let default = || pb::EmbedderRef { name: "text".into(), output: "vector".into() };
        let spec = |request| spec(request, default());
        let plain =
            pb::CreateCollectionRequest { name: "c".into(), space: Some(Wire::Dimension(3)), ..Default::default() };
        assert_eq!(spec(plain.clone()).unwrap().metric, Metric::Cosine);
        check(spec(pb::CreateCollectionRequest { name: "/".into(), ..plain.clone() }), "name", "a-z");
        check(spec(pb::CreateCollectionRequest { space: None, ..plain.clone() }), "space", "dimension or an embedder");
        check(
            spec(pb::CreateCollectionRequest { space: Some(Wire::Dimension(0)), ..plain.clone() }),
            "dimension",
            "got 0",
        );
        let by = |name: &str, output: &str| {
            let space = Some(Wire::Embedder(pb::EmbedderRef { name: name.into(), output: output.into() }));
            spec(pb::CreateCollectionRequest { space, ..plain.clone() })
        };
        let embedded =
            |embedder: &str, output: &str| VectorSource::Embedded { embedder: embedder.into(), output: output.into() };
        assert_eq!(by("", "").unwrap().space, embedded("text", "vector"));
        assert_eq!(by("words", "").unwrap().space, embedded("words", ""));
        check(by("", "vector"), "embedder.name", "is empty");
        check(spec(pb::CreateCollectionRequest { metric: 9, ..plain.clone() }), "metric", "9");
        let index = Some(pb::IndexSettings { m: 1, ..Default::default() });
        check(spec(pb::CreateCollectionRequest { index, ..plain }), "index.m", "2 to 128");
    }
}
