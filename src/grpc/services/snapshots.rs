//! The service `Snapshots`: jobs on a maintenance thread that stream their progress.

use super::progress::{ResponseStream, stream_maintenance_job};
use crate::api::Job;
use crate::grpc::convert::{from_proto, to_proto};
use crate::grpc::executor::{Pool, ServiceState};
use crate::grpc::pb;
use crate::grpc::status::OrStatus;
use crate::snapshot::SnapshotName;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(crate) struct Snapshots(pub(crate) Arc<ServiceState>);

fn progress(job: Job, done: u64, total: u64) -> pb::SnapshotProgress {
    pb::SnapshotProgress { done, total, checking: job == Job::Checking }
}

#[tonic::async_trait]
impl pb::snapshots_server::Snapshots for Snapshots {
    type CreateStream = ResponseStream<pb::CreateSnapshotResponse>;
    type VerifyStream = ResponseStream<pb::VerifySnapshotResponse>;
    type RestoreStream = ResponseStream<pb::RestoreSnapshotResponse>;

    async fn create(
        &self,
        request: Request<pb::CreateSnapshotRequest>,
    ) -> Result<Response<Self::CreateStream>, Status> {
        use pb::create_snapshot_response::State;
        let executor = self.0.executor(&request);
        let name = from_proto::collection("collection", &request.into_inner().collection).or_status()?;
        let response = |state| pb::CreateSnapshotResponse { state: Some(state) };
        let progress_message =
            |job, done, total| pb::CreateSnapshotResponse { state: Some(State::Progress(progress(job, done, total))) };
        Ok(stream_maintenance_job(executor, progress_message, move |engine, observe| {
            Ok(response(State::Snapshot(to_proto::snapshot(engine.create_snapshot(&name, observe)?))))
        }))
    }

    async fn list(
        &self,
        request: Request<pb::ListSnapshotsRequest>,
    ) -> Result<Response<pb::ListSnapshotsResponse>, Status> {
        let executor = self.0.executor(&request);
        let listed = executor.run(Pool::Maintenance, |engine| engine.snapshots()).await?;
        executor.response(pb::ListSnapshotsResponse { snapshots: listed.into_iter().map(to_proto::listed).collect() })
    }

    async fn verify(
        &self,
        request: Request<pb::VerifySnapshotRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        use pb::verify_snapshot_response::State;
        let executor = self.0.executor(&request);
        let snapshot = SnapshotName::new(&request.into_inner().snapshot).or_status()?;
        let progress_message =
            |job, done, total| pb::VerifySnapshotResponse { state: Some(State::Progress(progress(job, done, total))) };
        Ok(stream_maintenance_job(executor, progress_message, move |engine, observe| {
            let info = engine.verify_snapshot(&snapshot, observe)?;
            Ok(pb::VerifySnapshotResponse { state: Some(State::Snapshot(to_proto::snapshot(info))) })
        }))
    }

    async fn restore(
        &self,
        request: Request<pb::RestoreSnapshotRequest>,
    ) -> Result<Response<Self::RestoreStream>, Status> {
        use pb::restore_snapshot_response::State;
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let snapshot = SnapshotName::new(&request.snapshot).or_status()?;
        let target = from_proto::collection("collection", &request.collection).or_status()?;
        let progress_message =
            |job, done, total| pb::RestoreSnapshotResponse { state: Some(State::Progress(progress(job, done, total))) };
        Ok(stream_maintenance_job(executor, progress_message, move |engine, observe| {
            let info = engine.restore_snapshot(&snapshot, &target, request.replace, observe)?;
            Ok(pb::RestoreSnapshotResponse { state: Some(State::Collection(to_proto::collection(info))) })
        }))
    }
}
