//! The service `Collections`.

use super::progress::{ResponseStream, generation_progress, stream_maintenance_job};
use crate::collection::{CollectionInfo, Error, Observe, Sources};
use crate::grpc::authorized_engine::AuthorizedEngine;
use crate::grpc::convert::{from_proto, to_proto};
use crate::grpc::executor::{Executor, Pool, ServiceState};
use crate::grpc::pb;
use crate::grpc::status::OrStatus;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(crate) struct Collections(pub(crate) Arc<ServiceState>);

/// Makes another generation the current one.
fn generation(
    executor: Executor,
    call: impl FnOnce(&AuthorizedEngine<'_>, Observe<'_>) -> Result<CollectionInfo, Error> + Send + 'static,
) -> Response<ResponseStream<pb::GenerationResponse>> {
    use pb::generation_response::State;
    let progress = generation_progress();
    let response = |state| pb::GenerationResponse { state: Some(state) };
    let progress_message = move |job, done, total| response(State::Progress(progress(job, done, total)));
    stream_maintenance_job(executor, progress_message, move |engine, observe| {
        Ok(response(State::Collection(to_proto::collection(call(engine, observe)?))))
    })
}

#[tonic::async_trait]
impl pb::collections_server::Collections for Collections {
    type ReembedStream = ResponseStream<pb::GenerationResponse>;
    type RollbackStream = ResponseStream<pb::GenerationResponse>;

    async fn create(&self, request: Request<pb::CreateRequest>) -> Result<Response<pb::CreateResponse>, Status> {
        let executor = self.0.executor(&request);
        let spec = from_proto::spec(request.into_inner(), self.0.default_embedder()).or_status()?;
        let info = executor.run(Pool::Store, move |engine| engine.create_collection(&spec)).await?;
        executor.response(pb::CreateResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn get(
        &self,
        request: Request<pb::GetCollectionRequest>,
    ) -> Result<Response<pb::GetCollectionResponse>, Status> {
        let executor = self.0.executor(&request);
        let name = from_proto::collection("name", &request.into_inner().name).or_status()?;
        let info = executor.run(Pool::Store, move |engine| engine.reads(&name)?.collection(&name)).await?;
        executor.response(pb::GetCollectionResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn list(&self, request: Request<pb::ListRequest>) -> Result<Response<pb::ListResponse>, Status> {
        let executor = self.0.executor(&request);
        let infos = executor.run(Pool::Store, |engine| engine.collections()).await?;
        executor.response(pb::ListResponse { collections: infos.into_iter().map(to_proto::collection).collect() })
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

    async fn reembed(&self, request: Request<pb::ReembedRequest>) -> Result<Response<Self::ReembedStream>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("name", &request.name).or_status()?;
        let pb::EmbedderRef { name: embedder, tap } =
            from_proto::embedder(request.embedder.unwrap_or_default()).or_status()?;
        let sources = if request.trust_payload { Sources::Trusted } else { Sources::Proved };
        Ok(generation(executor, move |engine, observe| engine.reembed(&name, &embedder, &tap, sources, observe)))
    }

    async fn rollback(&self, request: Request<pb::RollbackRequest>) -> Result<Response<Self::RollbackStream>, Status> {
        let executor = self.0.executor(&request);
        let name = from_proto::collection("name", &request.into_inner().name).or_status()?;
        Ok(generation(executor, move |engine, observe| engine.rollback(&name, observe)))
    }

    async fn drop_previous(
        &self,
        request: Request<pb::DropPreviousRequest>,
    ) -> Result<Response<pb::DropPreviousResponse>, Status> {
        let executor = self.0.executor(&request);
        let name = from_proto::collection("name", &request.into_inner().name).or_status()?;
        let info = executor.run(Pool::Store, move |engine| engine.drop_previous(&name)).await?;
        executor.response(pb::DropPreviousResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn check(&self, request: Request<pb::CheckRequest>) -> Result<Response<pb::CheckResponse>, Status> {
        let executor = self.0.executor(&request);
        let name = from_proto::collection("name", &request.into_inner().name).or_status()?;
        let report = executor.run(Pool::Maintenance, move |engine| engine.check(&name)).await?;
        executor.response(to_proto::check_report(report))
    }

    async fn compact(&self, request: Request<pb::CompactRequest>) -> Result<Response<pb::CompactResponse>, Status> {
        let executor = self.0.executor(&request);
        let name = from_proto::collection("name", &request.into_inner().name).or_status()?;
        let info = executor.run(Pool::Maintenance, move |engine| engine.compact(&name)).await?;
        executor.response(pb::CompactResponse { collection: Some(to_proto::collection(info)) })
    }
}
