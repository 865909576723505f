//! The service `Quality`.

use super::status::OrStatus;
use super::work::{Lane, Shared};
use super::{from_proto, pb, to_proto};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(super) struct Quality(pub(super) Arc<Shared>);

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
