//! The service `Collections`.

use super::progress::{ResponseStream, generation_progress, stream_maintenance_job};
use crate::api::{CollectionInfo, Error, Observe, Sources};
use crate::grpc::authorized_engine::AuthorizedEngine;
use crate::grpc::convert::{aliases, from_proto, fusion, to_proto};
use crate::grpc::executor::{Executor, Pool, ServiceState};
use crate::grpc::generation_state::GenerationState;
use crate::grpc::pb;
use crate::grpc::status::OrStatus;
use crate::types::MAX_NAME_BYTES;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Bytes of a list of collections that are reserved for the name that the next page begins after.
const NEXT_BYTES: usize = MAX_NAME_BYTES + 3;

pub(crate) struct Collections(pub(crate) Arc<ServiceState>);

/// Makes another generation the current one.
fn generation<M: From<GenerationState> + Send + 'static>(
    executor: Executor,
    call: impl FnOnce(&AuthorizedEngine<'_>, Observe<'_>) -> Result<CollectionInfo, Error> + Send + 'static,
) -> Response<ResponseStream<M>> {
    let progress = generation_progress();
    let progress_message = move |job, done, total| GenerationState::Progress(progress(job, done, total)).into();
    stream_maintenance_job(executor, progress_message, move |engine, observe| {
        Ok(GenerationState::Collection(to_proto::collection(call(engine, observe)?)).into())
    })
}

#[tonic::async_trait]
impl pb::collections_server::Collections for Collections {
    type ReembedStream = ResponseStream<pb::ReembedCollectionResponse>;
    type RollbackStream = ResponseStream<pb::RollbackCollectionResponse>;

    async fn create(
        &self,
        request: Request<pb::CreateCollectionRequest>,
    ) -> Result<Response<pb::CreateCollectionResponse>, Status> {
        let executor = self.0.executor(&request);
        let spec = from_proto::spec(request.into_inner(), self.0.default_embedder()).or_status()?;
        let info = executor.run(Pool::Store, move |engine| engine.create_collection(&spec)).await?;
        executor.response(pb::CreateCollectionResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn get(
        &self,
        request: Request<pb::GetCollectionRequest>,
    ) -> Result<Response<pb::GetCollectionResponse>, Status> {
        let executor = self.0.executor(&request);
        let name = from_proto::collection("name", &request.into_inner().name).or_status()?;
        let info =
            executor.run(Pool::Store, move |engine| engine.reads(&name, |reads, name| reads.collection(name))).await?;
        executor.response(pb::GetCollectionResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn list(
        &self,
        request: Request<pb::ListCollectionsRequest>,
    ) -> Result<Response<pb::ListCollectionsResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let after = match request.after.as_str() {
            "" => None,
            after => Some(from_proto::collection("after", after).or_status()?),
        };
        let limit = from_proto::collections_page(request.limit).or_status()?;
        let meter = executor.collections_meter(NEXT_BYTES);
        let list = move |engine: &AuthorizedEngine<'_>| {
            let mut page = pb::ListCollectionsResponse::default();
            let mut last = None;
            engine.visit_collections(after.as_ref(), &mut |name, info| {
                if page.collections.len() < limit {
                    let collection = to_proto::collection(info);
                    if meter.add_collection(&collection)? {
                        page.collections.push(collection);
                        last = Some(name.clone());
                        return Ok(true);
                    }
                }
                page.next = last.take().map_or_else(String::new, |last| last.to_string());
                Ok(false)
            })?;
            Ok::<_, Error>(page)
        };
        let page = executor.run(Pool::Store, list).await?;
        executor.response(page)
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteCollectionRequest>,
    ) -> Result<Response<pb::DeleteCollectionResponse>, Status> {
        let executor = self.0.executor(&request);
        let name = from_proto::collection("name", &request.into_inner().name).or_status()?;
        let points = executor.run(Pool::Store, move |engine| engine.delete_collection(&name)).await?;
        executor.response(pb::DeleteCollectionResponse { points })
    }

    async fn reembed(
        &self,
        request: Request<pb::ReembedCollectionRequest>,
    ) -> Result<Response<Self::ReembedStream>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("name", &request.name).or_status()?;
        let pb::EmbedderRef { name: embedder, output } =
            from_proto::embedder(request.embedder.unwrap_or_default()).or_status()?;
        let sources = if request.trust_payload { Sources::Trusted } else { Sources::Proved };
        Ok(generation(executor, move |engine, observe| engine.reembed(&name, &embedder, &output, sources, observe)))
    }

    async fn rollback(
        &self,
        request: Request<pb::RollbackCollectionRequest>,
    ) -> Result<Response<Self::RollbackStream>, Status> {
        let executor = self.0.executor(&request);
        let name = from_proto::collection("name", &request.into_inner().name).or_status()?;
        Ok(generation(executor, move |engine, observe| engine.rollback(&name, observe)))
    }

    async fn delete_previous_generation(
        &self,
        request: Request<pb::DeletePreviousGenerationRequest>,
    ) -> Result<Response<pb::DeletePreviousGenerationResponse>, Status> {
        let executor = self.0.executor(&request);
        let name = from_proto::collection("name", &request.into_inner().name).or_status()?;
        let info = executor.run(Pool::Store, move |engine| engine.delete_previous_generation(&name)).await?;
        executor.response(pb::DeletePreviousGenerationResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn add_field(&self, request: Request<pb::AddFieldRequest>) -> Result<Response<pb::AddFieldResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let field = fusion::field("field", request.field).or_status()?;
        let info = executor.run(Pool::Store, move |engine| engine.add_field(&name, field)).await?;
        executor.response(pb::AddFieldResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn update(
        &self,
        request: Request<pb::UpdateCollectionRequest>,
    ) -> Result<Response<pb::UpdateCollectionResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("name", &request.name).or_status()?;
        let ttl = from_proto::expiry(request.expiry).or_status()?;
        let info = executor.run(Pool::Store, move |engine| engine.set_ttl(&name, ttl)).await?;
        executor.response(pb::UpdateCollectionResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn drop_field(
        &self,
        request: Request<pb::DropFieldRequest>,
    ) -> Result<Response<pb::DropFieldResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let info = executor.run(Pool::Store, move |engine| engine.drop_field(&name, &request.field)).await?;
        executor.response(pb::DropFieldResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn check(
        &self,
        request: Request<pb::CheckCollectionRequest>,
    ) -> Result<Response<pb::CheckCollectionResponse>, Status> {
        let executor = self.0.executor(&request);
        let name = from_proto::collection("name", &request.into_inner().name).or_status()?;
        let report = executor.run(Pool::Maintenance, move |engine| engine.check(&name)).await?;
        executor.response(to_proto::check_report(report))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactCollectionRequest>,
    ) -> Result<Response<pb::CompactCollectionResponse>, Status> {
        let executor = self.0.executor(&request);
        let name = from_proto::collection("name", &request.into_inner().name).or_status()?;
        let info = executor.run(Pool::Maintenance, move |engine| engine.compact(&name)).await?;
        executor.response(pb::CompactCollectionResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn update_aliases(
        &self,
        request: Request<pb::UpdateAliasesRequest>,
    ) -> Result<Response<pb::UpdateAliasesResponse>, Status> {
        let executor = self.0.executor(&request);
        let actions = aliases::actions(request.into_inner().actions).or_status()?;
        let infos = executor.run(Pool::Store, move |engine| engine.update_aliases(&actions)).await?;
        executor
            .response(pb::UpdateAliasesResponse { collections: infos.into_iter().map(to_proto::collection).collect() })
    }
}
