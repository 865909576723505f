//! Conversion of queries by examples.

use super::from_proto;
use crate::api::{Error, Query, Recommend, RecommendStrategy, RecommendTerm};
use crate::grpc::limits::MAX_TERMS;
use crate::grpc::pb;
use std::fmt::Display;

pub(super) fn recommend(field: &dyn Display, given: pb::Recommend) -> Result<Query, Error> {
    use pb::recommend::Strategy;
    let strategy = match Strategy::try_from(given.strategy) {
        Ok(Strategy::Unspecified | Strategy::AverageVector) => RecommendStrategy::AverageVector,
        Ok(Strategy::BestScore) => RecommendStrategy::BestScore,
        Err(_) => return Err(Error::invalid(format!("{field}.strategy"), format!("{} is none", given.strategy))),
    };
    let count = given.positive.len() + given.negative.len();
    if count > MAX_TERMS {
        return Err(Error::invalid(field.to_string(), format!("takes 1 to {MAX_TERMS} examples, got {count}")));
    }
    let terms = |side: &str, terms: Vec<pb::RecommendTerm>| {
        let each = terms.into_iter().enumerate();
        each.map(|(index, given)| term(&format_args!("{field}.{side}[{index}]"), given)).collect::<Result<Vec<_>, _>>()
    };
    let recommend = Recommend::new(terms("positive", given.positive)?).negative(terms("negative", given.negative)?);
    Ok(Query::Recommend(recommend.strategy(strategy)))
}

fn term(field: &dyn Display, given: pb::RecommendTerm) -> Result<RecommendTerm, Error> {
    use pb::recommend_term::Form;
    Ok(match given.form {
        None => return Err(Error::invalid(field.to_string(), "give an id, a vector or a text")),
        Some(Form::Id(id)) => RecommendTerm::Id(from_proto::id(&format_args!("{field}.id"), id)?),
        Some(Form::Vector(given)) => RecommendTerm::Vector(from_proto::vector(&format_args!("{field}.vector"), given)?),
        Some(Form::Text(text)) => RecommendTerm::Text(from_proto::text(&format_args!("{field}.text"), text)?),
    })
}
