//! The service `Quality`.

use crate::grpc::convert::{from_proto, to_proto};
use crate::grpc::executor::{Pool, ServiceState};
use crate::grpc::pb;
use crate::grpc::status::OrStatus;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(crate) struct Quality(pub(crate) Arc<ServiceState>);

#[tonic::async_trait]
impl pb::quality_server::Quality for Quality {
    async fn measure_recall(
        &self,
        request: Request<pb::MeasureRecallRequest>,
    ) -> Result<Response<pb::MeasureRecallResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let params = from_proto::recall_params(&request).or_status()?;
        let report = executor
            .run(Pool::Maintenance, move |engine| {
                engine.reads(&name, |reads, name| reads.measure_recall(name, &params))
            })
            .await?;
        executor.record_recall(report.recall);
        executor.response(to_proto::recall_report(report))
    }
}
