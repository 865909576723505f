//! The service `Search`.

use super::work::{Lane, Shared};
use super::{from_proto, pb, to_proto};
use crate::collection::Engine;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(super) struct Search(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl pb::search_server::Search for Search {
    async fn search(&self, request: Request<pb::SearchRequest>) -> Result<Response<pb::SearchResponse>, Status> {
        let work = self.0.of(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection)?;
        let query = from_proto::query(&"query", request.query)?;
        let params = from_proto::params(request.params)?;
        work.reached(&name, request.min_sequence).await?;
        let lane = Lane::of_queries(std::slice::from_ref(&query));
        let budget = work.budget();
        let search = move |engine: &dyn Engine| budget.run(|| engine.search(&name, &[query], &params));
        let answers = work.run(lane, search).await?;
        // One query, one answer.
        work.reply(answers.into_iter().next().map(to_proto::answer).unwrap_or_default())
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Result<Response<pb::ExplainResponse>, Status> {
        let work = self.0.of(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection)?;
        let query = from_proto::query(&"query", request.query)?;
        let params = from_proto::params(request.params)?;
        let id = from_proto::id(&"id", request.id)?;
        work.reached(&name, request.min_sequence).await?;
        let lane = Lane::of_queries(std::slice::from_ref(&query));
        let told = work.run(lane, move |engine| engine.explain(&name, &query, &params, &id)).await?;
        work.reply(to_proto::explanation(told))
    }

    async fn search_batch(
        &self,
        request: Request<pb::SearchBatchRequest>,
    ) -> Result<Response<pb::SearchBatchResponse>, Status> {
        let work = self.0.of(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection)?;
        let params = from_proto::params(request.params)?;
        let queries = from_proto::queries(request.queries, params.k)?;
        work.reached(&name, request.min_sequence).await?;
        let lane = Lane::of_queries(&queries);
        let budget = work.budget();
        let search = move |engine: &dyn Engine| budget.run(|| engine.search(&name, &queries, &params));
        let answers = work.run(lane, search).await?;
        work.reply(pb::SearchBatchResponse { responses: answers.into_iter().map(to_proto::answer).collect() })
    }
}
