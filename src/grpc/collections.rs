//! The service `Collections`.

use super::work::{Lane, Work};
use super::{from_proto, pb, to_proto};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(super) struct Collections(pub(super) Arc<Work>);

#[tonic::async_trait]
impl pb::collections_server::Collections for Collections {
    async fn create(&self, request: Request<pb::CreateRequest>) -> Result<Response<pb::CreateResponse>, Status> {
        let spec = from_proto::spec(request.into_inner())?;
        let info = self.0.run(Lane::Store, move |engine| engine.create_collection(&spec)).await?;
        self.0.reply(pb::CreateResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn get(
        &self,
        request: Request<pb::GetCollectionRequest>,
    ) -> Result<Response<pb::GetCollectionResponse>, Status> {
        let name = from_proto::collection("name", &request.into_inner().name)?;
        let info = self.0.run(Lane::Store, move |engine| engine.collection(&name)).await?;
        self.0.reply(pb::GetCollectionResponse { collection: Some(to_proto::collection(info)) })
    }

    async fn list(&self, _: Request<pb::ListRequest>) -> Result<Response<pb::ListResponse>, Status> {
        let infos = self.0.run(Lane::Store, |engine| engine.collections()).await?;
        self.0.reply(pb::ListResponse { collections: infos.into_iter().map(to_proto::collection).collect() })
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteCollectionRequest>,
    ) -> Result<Response<pb::DeleteCollectionResponse>, Status> {
        let name = from_proto::collection("name", &request.into_inner().name)?;
        let points = self.0.run(Lane::Store, move |engine| engine.delete_collection(&name)).await?;
        self.0.reply(pb::DeleteCollectionResponse { points })
    }

    async fn check(&self, request: Request<pb::CheckRequest>) -> Result<Response<pb::CheckResponse>, Status> {
        let name = from_proto::collection("name", &request.into_inner().name)?;
        let report = self.0.run(Lane::Maintenance, move |engine| engine.check(&name)).await?;
        self.0.reply(to_proto::check_report(report))
    }

    async fn compact(&self, request: Request<pb::CompactRequest>) -> Result<Response<pb::CompactResponse>, Status> {
        let name = from_proto::collection("name", &request.into_inner().name)?;
        let info = self.0.run(Lane::Maintenance, move |engine| engine.compact(&name)).await?;
        self.0.reply(pb::CompactResponse { collection: Some(to_proto::collection(info)) })
    }
}
