//! Keyword queries, fusions and text fields, from messages and to them.

use super::{filter, from_proto, vectors};
use crate::api::{
    Accuracy, AnalyzedToken, AnalyzerConfig, Error, Field, Fusion, FusionMethod, Hybrid, KeywordOperator, Keywords,
    Language, PartExplanation, PartStats, Query, RRF_K, SubQuery, TermExplanation, TextField,
};
use crate::grpc::pb;
use std::fmt::Display;

pub(super) fn keywords(field: &dyn Display, given: pb::Keywords) -> Result<Query, Error> {
    use pb::keywords::Operator;
    let operator = match Operator::try_from(given.operator) {
        Ok(Operator::Unspecified | Operator::Any) => KeywordOperator::Any,
        Ok(Operator::All) => KeywordOperator::All,
        Err(_) => return Err(Error::invalid(format!("{field}.operator"), format!("{} is none", given.operator))),
    };
    let text = from_proto::text(&format_args!("{field}.text"), given.text)?;
    Ok(Query::Keywords(Keywords::new(text).field(given.field).operator(operator)))
}

pub(super) fn hybrid(field: &dyn Display, given: pb::Hybrid) -> Result<Query, Error> {
    let mut hybrid = Hybrid::new(from_proto::text(&format_args!("{field}.text"), given.text)?).field(given.field);
    hybrid.keyword_weight = given.keyword_weight;
    Ok(Query::Hybrid(hybrid))
}

pub(super) fn fusion(field: &dyn Display, given: pb::Fusion) -> Result<Query, Error> {
    use pb::fusion::Method;
    let method = match Method::try_from(given.method) {
        Ok(Method::Unspecified | Method::Rrf) => {
            FusionMethod::ReciprocalRank { k: if given.rrf_k == 0.0 { RRF_K } else { given.rrf_k } }
        }
        Ok(Method::MinMax) => FusionMethod::MinMax,
        Ok(Method::Distribution) => FusionMethod::Distribution,
        Ok(Method::Convex) => FusionMethod::Convex,
        Err(_) => return Err(Error::invalid(format!("{field}.method"), format!("{} is none", given.method))),
    };
    if given.rrf_k != 0.0 && !matches!(method, FusionMethod::ReciprocalRank { .. }) {
        return Err(Error::invalid(format!("{field}.rrf_k"), "is for the method RRF only"));
    }
    let queries = given.queries.into_iter().enumerate();
    let queries = queries.map(|(index, given)| sub_query(&format_args!("{field}.queries[{index}]"), given));
    Ok(Query::Fusion(Box::new(Fusion::new(queries.collect::<Result<Vec<_>, Error>>()?).method(method))))
}

fn sub_query(field: &dyn Display, given: pb::SubQuery) -> Result<SubQuery, Error> {
    use pb::sub_query::Accuracy as Wire;
    let mut query = SubQuery::new(from_proto::query(&format_args!("{field}.query"), given.query)?);
    query.weight = given.weight.unwrap_or(1.0);
    query.limit = given.limit;
    query.filter = filter::filter(&format!("{field}.filter"), given.filter)?.map(Into::into);
    query.accuracy = match given.accuracy {
        None | Some(Wire::Exact(false)) => None,
        Some(Wire::Exact(true)) => Some(Accuracy::Exact),
        Some(Wire::Ef(ef)) => Some(Accuracy::Ef(ef)),
        Some(Wire::TargetRecall(target)) => Some(Accuracy::TargetRecall(target)),
    };
    query.score_threshold = given.score_threshold;
    Ok(query)
}

/// Returns the images of a query and of those that it fuses.
pub(super) fn images(query: &pb::Query) -> Vec<&[u8]> {
    match &query.form {
        Some(pb::query::Form::Image(image)) => vec![image.as_ref()],
        Some(pb::query::Form::Fusion(fusion)) => {
            fusion.queries.iter().filter_map(|part| part.query.as_ref()).flat_map(images).collect()
        }
        _ => Vec::new(),
    }
}

/// Converts a field of a collection. The engine checks names and numbers.
pub(crate) fn field(field: &str, given: Option<pb::Field>) -> Result<Field, Error> {
    let (name, text) = match given {
        Some(pb::Field { name, kind: Some(pb::field::Kind::Text(text)) }) => (name, text),
        Some(pb::Field { name, kind: Some(pb::field::Kind::Vector(vector)) }) => {
            return vectors::definition(field, name, vector).map(Field::Vector);
        }
        _ => return Err(Error::invalid(field, "give a name and the settings of a text field or a vector field")),
    };
    let language = match text.language.as_str() {
        "" => None,
        name => Some(language(&format!("{field}.text.language"), name)?),
    };
    let mut analyzer = AnalyzerConfig::default();
    analyzer.language = language;
    analyzer.stop_words = text.stop_words;
    analyzer.fold_accents = text.fold_accents;
    let spec = TextField::new(name, text.paths).analyzer(analyzer);
    let (k1, b) = (text.k1.unwrap_or(spec.k1), text.b.unwrap_or(spec.b));
    Ok(Field::Text(spec.bm25(k1, b)))
}

/// Converts the name of a language.
///
/// # Errors
/// `InvalidInput` naming the languages.
pub(crate) fn language(field: &str, name: &str) -> Result<Language, Error> {
    Language::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Language::all().map(Language::name).collect();
        Error::invalid(field, format!("there is no stemmer for {name:?}, only for {}", names.join(", ")))
    })
}

/// Converts a field of a collection.
pub(crate) fn field_message(field: Field) -> pb::Field {
    let field = match field {
        Field::Text(field) => field,
        Field::Vector(field) => return vectors::definition_message(field),
    };
    let text = pb::TextField {
        paths: field.paths,
        language: field.analyzer.language.map_or("", Language::name).into(),
        stop_words: field.analyzer.stop_words,
        fold_accents: field.analyzer.fold_accents,
        k1: Some(field.k1),
        b: Some(field.b),
    };
    pb::Field { name: field.name, kind: Some(pb::field::Kind::Text(text)) }
}

pub(super) fn part_stats(stats: PartStats) -> pb::PartStats {
    let PartStats { query, candidates, path, ef_used, expected_recall, .. } = stats;
    pb::PartStats { query, candidates, path: super::to_proto::path(path).into(), ef_used, expected_recall }
}

pub(super) fn part_explanation(part: PartExplanation) -> pb::PartExplanation {
    let term = |term: TermExplanation| {
        let TermExplanation { term, points, frequency, weight, contribution, .. } = term;
        pb::TermExplanation { term, points, frequency, weight, contribution }
    };
    let PartExplanation { query, rank, candidates, score, contribution, terms, .. } = part;
    pb::PartExplanation { query, rank, candidates, score, contribution, terms: terms.into_iter().map(term).collect() }
}

/// Converts the terms of an analyzed text.
pub(crate) fn analyzed(tokens: Vec<AnalyzedToken>) -> pb::AnalyzeResponse {
    let token = |token: AnalyzedToken| {
        let AnalyzedToken { term, position, start, end } = token;
        pb::AnalyzedToken { term, position, start, end }
    };
    pb::AnalyzeResponse { tokens: tokens.into_iter().map(token).collect() }
}
