//! The service `Quality`.

use crate::grpc::convert::{from_proto, to_proto};
use crate::grpc::executor::{Lane, Shared};
use crate::grpc::pb;
use crate::grpc::status::OrStatus;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(crate) struct Quality(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl pb::quality_server::Quality for Quality {
    async fn measure_recall(
        &self,
        request: Request<pb::MeasureRecallRequest>,
    ) -> Result<Response<pb::MeasureRecallResponse>, Status> {
        let work = self.0.of(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let params = from_proto::recall_params(&request).or_status()?;
        let report = work.run(Lane::Maintenance, move |engine| engine.measure_recall(&name, &params)).await?;
        work.reply(to_proto::recall_report(report))
    }
}
