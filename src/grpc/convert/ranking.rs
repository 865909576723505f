//! Conversion of what is done with the candidates of a query.

use super::from_proto;
use crate::api::{Diversity, Error, Rerank};
use crate::grpc::pb;

/// Weight of the diversity, unless the request sets another.
const DIVERSITY_WEIGHT: f32 = 0.5;

pub(super) fn rerank(given: pb::Rerank) -> Result<Rerank, Error> {
    let query = from_proto::query(&"params.rerank.query", given.query)?;
    Ok(Rerank::new(query).candidates(given.candidates))
}

pub(super) fn diversity(given: pb::Diversity) -> Diversity {
    Diversity::new(given.weight.unwrap_or(DIVERSITY_WEIGHT)).candidates(given.candidates)
}
