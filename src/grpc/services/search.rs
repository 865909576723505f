//! The service `Search`.

use crate::api::{Answer, Error, Filter, Query, SearchParams};
use crate::grpc::authorized_engine::AuthorizedEngine;
use crate::grpc::convert::{columns, from_proto, fusion, to_proto};
use crate::grpc::executor::{Executor, Pool, ServiceState};
use crate::grpc::middleware::response_meter::ResponseForm;
use crate::grpc::pb;
use crate::grpc::status::OrStatus;
use crate::types::CollectionName;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(crate) struct Search(pub(crate) Arc<ServiceState>);

/// Runs the queries. Returns the answers that fit into the response, and the requested fields that no point has.
fn search(
    engine: &AuthorizedEngine<'_>,
    executor: &Executor,
    name: &CollectionName,
    queries: &[Query],
    params: &SearchParams,
    vectors_as_column: bool,
) -> Result<(Vec<Answer>, Vec<String>), Error> {
    // Errors of the search take precedence over this one.
    let unknown = unknown_fields(engine, name, queries, params);
    let base = unknown.as_ref().map_or(0, |unknown| to_proto::unknown_fields_bytes(unknown));
    let columns = queries.len() * columns::reserved(vectors_as_column);
    let answers = executor
        .budget(ResponseForm::Hits, base + columns)
        .run(|| engine.reads(name, |reads, name| reads.search(name, queries, params)))?;
    if let Some(answer) = answers.first() {
        executor.record_path(answer.stats.path);
    }
    Ok((answers, unknown?))
}

/// Returns the fields named by a search that no point has.
fn unknown_fields(
    engine: &AuthorizedEngine<'_>,
    name: &CollectionName,
    queries: &[Query],
    params: &SearchParams,
) -> Result<Vec<String>, Error> {
    let mut filters: Vec<Filter> = params.filter.as_deref().cloned().into_iter().collect();
    filters.extend(params.group_by.as_ref().map(Filter::exists));
    filters.extend(params.formula.iter().flat_map(|formula| formula.filters()));
    queries.iter().for_each(|query| fused_filters(query, &mut filters));
    let mut unknown = Vec::new();
    for filter in filters {
        unknown.extend(engine.reads(name, |reads, name| reads.unknown_fields(name, &filter))?);
    }
    unknown.sort_unstable();
    unknown.dedup();
    Ok(unknown)
}

/// Collects the filters of fused queries.
fn fused_filters(query: &Query, filters: &mut Vec<Filter>) {
    if let Query::Fusion(fusion) = query {
        for part in &fusion.queries {
            filters.extend(part.filter.as_deref().cloned());
            fused_filters(&part.query, filters);
        }
    }
}

#[tonic::async_trait]
impl pb::search_server::Search for Search {
    async fn search(&self, request: Request<pb::SearchRequest>) -> Result<Response<pb::SearchResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let query = from_proto::one_query(request.query, request.params.as_ref()).or_status()?;
        let as_column = columns::wanted(request.params.as_ref().and_then(|params| params.fields.as_ref()));
        let params = from_proto::params(request.params).or_status()?;
        let params = params.offset(request.offset);
        executor.wait_for_sequence(&name, request.min_sequence).await?;
        let pool = Pool::of_search(std::slice::from_ref(&query), &params);
        let within = executor.clone();
        let search = move |engine: &AuthorizedEngine<'_>| search(engine, &within, &name, &[query], &params, as_column);
        let (answers, unknown_fields) = executor.run(pool, search).await?;
        // One query, one answer.
        let answer = answers.into_iter().next();
        let answer = answer.map(|answer| to_proto::answer(answer, as_column)).unwrap_or_default();
        executor.response(pb::SearchResponse { unknown_fields, ..answer })
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Result<Response<pb::ExplainResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let query = from_proto::one_query(request.query, request.params.as_ref()).or_status()?;
        let params = from_proto::params(request.params).or_status()?;
        let id = from_proto::id(&"id", request.id).or_status()?;
        executor.wait_for_sequence(&name, request.min_sequence).await?;
        let pool = Pool::of_search(std::slice::from_ref(&query), &params);
        let explain = move |engine: &AuthorizedEngine<'_>| {
            let explanation = engine.reads(&name, |reads, name| reads.explain(name, &query, &params, &id))?;
            Ok::<_, Error>(to_proto::explanation(
                explanation,
                unknown_fields(engine, &name, std::slice::from_ref(&query), &params)?,
            ))
        };
        let explanation = executor.run(pool, explain).await?;
        executor.response(explanation)
    }

    async fn analyze(&self, request: Request<pb::AnalyzeRequest>) -> Result<Response<pb::AnalyzeResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let budget = executor.budget(ResponseForm::Points, 0);
        let analyze = move |engine: &AuthorizedEngine<'_>| {
            let analyze = || engine.reads(&name, |reads, name| reads.analyze(name, &request.field, &request.text));
            budget.run(analyze).map(fusion::analyzed)
        };
        let analyzed = executor.run(Pool::Compute, analyze).await?;
        executor.response(analyzed)
    }

    async fn search_batch(
        &self,
        request: Request<pb::SearchBatchRequest>,
    ) -> Result<Response<pb::SearchBatchResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let as_column = columns::wanted(request.params.as_ref().and_then(|params| params.fields.as_ref()));
        let params = from_proto::params(request.params).or_status()?;
        let numbers = executor.memory_permit();
        numbers.add(columns::added_bytes(request.vectors.as_ref()))?;
        let queries = columns::queries(request.queries, request.vectors, &params).or_status()?;
        executor.wait_for_sequence(&name, request.min_sequence).await?;
        let pool = Pool::of_search(&queries, &params);
        let all = queries.len();
        let within = executor.clone();
        let search = move |engine: &AuthorizedEngine<'_>| {
            let _until_answered = numbers;
            search(engine, &within, &name, &queries, &params, as_column)
        };
        let (answers, unknown_fields) = executor.run(pool, search).await?;
        let mut responses: Vec<pb::SearchResponse> =
            answers.into_iter().map(|answer| to_proto::answer(answer, as_column)).collect();
        let next_query = if responses.len() < all { responses.len() as u32 } else { 0 };
        if let Some(first) = responses.first_mut() {
            first.unknown_fields = unknown_fields;
        }
        executor.response(pb::SearchBatchResponse { responses, next_query })
    }
}
