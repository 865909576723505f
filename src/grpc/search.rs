//! The service `Search`.

use super::meter::Form;
use super::status::OrStatus;
use super::work::{Lane, Shared, Work};
use super::{from_proto, pb, to_proto};
use crate::collection::{Answer, Engine, Error, Filter, Query, SearchParams};
use crate::types::CollectionName;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(super) struct Search(pub(super) Arc<Shared>);

/// Runs the queries. Returns the answers that the response has room for, and the requested fields that no point has.
fn search(
    engine: &dyn Engine,
    work: &Work,
    name: &CollectionName,
    queries: &[Query],
    params: &SearchParams,
) -> Result<(Vec<Answer>, Vec<String>), Error> {
    // The errors of the search come first.
    let unknown = unknown_fields(engine, name, params);
    let base = unknown.as_ref().map_or(0, |unknown| to_proto::unknown_fields_bytes(unknown));
    let answers = work.budget(Form::Hits, base).run(|| engine.search(name, queries, params))?;
    Ok((answers, unknown?))
}

/// Returns the fields named by a search that no point has.
fn unknown_fields(engine: &dyn Engine, name: &CollectionName, params: &SearchParams) -> Result<Vec<String>, Error> {
    let mut unknown = match &params.filter {
        Some(filter) => engine.unknown_fields(name, filter)?,
        None => Vec::new(),
    };
    if let Some(field) = &params.group_by {
        unknown.extend(engine.unknown_fields(name, &Filter::exists(field))?);
        unknown.sort_unstable();
        unknown.dedup();
    }
    Ok(unknown)
}

#[tonic::async_trait]
impl pb::search_server::Search for Search {
    async fn search(&self, request: Request<pb::SearchRequest>) -> Result<Response<pb::SearchResponse>, Status> {
        let work = self.0.of(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let query = from_proto::query(&"query", request.query).or_status()?;
        let params = from_proto::params(request.params).or_status()?;
        let params = SearchParams { offset: from_proto::offset(request.offset, params.k).or_status()?, ..params };
        work.reached(&name, request.min_sequence).await?;
        let lane = Lane::of_queries(std::slice::from_ref(&query));
        let within = work.clone();
        let search = move |engine: &dyn Engine| search(engine, &within, &name, &[query], &params);
        let (answers, unknown_fields) = work.run(lane, search).await?;
        // One query, one answer.
        let answer = answers.into_iter().next().map(to_proto::answer).unwrap_or_default();
        work.reply(pb::SearchResponse { unknown_fields, ..answer })
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Result<Response<pb::ExplainResponse>, Status> {
        let work = self.0.of(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let query = from_proto::query(&"query", request.query).or_status()?;
        let params = from_proto::params(request.params).or_status()?;
        let id = from_proto::id(&"id", request.id).or_status()?;
        work.reached(&name, request.min_sequence).await?;
        let lane = Lane::of_queries(std::slice::from_ref(&query));
        let explain = move |engine: &dyn Engine| {
            let told = engine.explain(&name, &query, &params, &id)?;
            Ok::<_, Error>(to_proto::explanation(told, unknown_fields(engine, &name, &params)?))
        };
        let told = work.run(lane, explain).await?;
        work.reply(told)
    }

    async fn search_batch(
        &self,
        request: Request<pb::SearchBatchRequest>,
    ) -> Result<Response<pb::SearchBatchResponse>, Status> {
        let work = self.0.of(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let params = from_proto::params(request.params).or_status()?;
        let queries = from_proto::queries(request.queries, params.k).or_status()?;
        work.reached(&name, request.min_sequence).await?;
        let lane = Lane::of_queries(&queries);
        let all = queries.len();
        let within = work.clone();
        let search = move |engine: &dyn Engine| search(engine, &within, &name, &queries, &params);
        let (answers, unknown_fields) = work.run(lane, search).await?;
        let mut responses: Vec<pb::SearchResponse> = answers.into_iter().map(to_proto::answer).collect();
        let next_query = if responses.len() < all { responses.len() as u32 } else { 0 };
        if let Some(first) = responses.first_mut() {
            first.unknown_fields = unknown_fields;
        }
        work.reply(pb::SearchBatchResponse { responses, next_query })
    }
}
