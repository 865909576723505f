//! The service `Snapshots`: long work on a maintenance thread, its progress as a stream.

use super::work::{Lane, Shared, Work};
use super::{from_proto, pb, to_proto};
use crate::collection::snapshot::SnapshotName;
use crate::collection::{Engine, Error, Job, Observe};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Time between two messages of progress.
const TOLD_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Snapshots(pub(super) Arc<Shared>);

type Replies<M> = ReceiverStream<Result<M, Status>>;

/// Runs the work; sends what it says of its progress, and at last what it returns. A client that leaves cancels it.
fn stream<M: Send + 'static>(
    work: Work,
    progress: fn(pb::SnapshotProgress) -> M,
    call: impl FnOnce(&dyn Engine, Observe<'_>) -> Result<M, Error> + Send + 'static,
) -> Response<Replies<M>> {
    let (replies, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let told = replies.clone();
        let run = work.run(Lane::Maintenance, move |engine| {
            let last = Mutex::new(None::<Instant>);
            call(engine, &|job, done, total| {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.is_none_or(|last| last.elapsed() >= TOLD_EVERY) {
                    *last = Some(Instant::now());
                    let checking = matches!(job, Job::Checking);
                    // A slow client misses some.
                    let _ = told.try_send(Ok(progress(pb::SnapshotProgress { done, total, checking })));
                }
                !told.is_closed()
            })
        });
        let result = tokio::select! {
            result = run => result,
            () = replies.closed() => return,
        };
        // Nobody listens any more, or it is sent.
        let _ = replies.send(result).await;
    });
    Response::new(ReceiverStream::new(receiver))
}

#[tonic::async_trait]
impl pb::snapshots_server::Snapshots for Snapshots {
    type CreateStream = Replies<pb::CreateSnapshotResponse>;
    type VerifyStream = Replies<pb::VerifySnapshotResponse>;
    type RestoreStream = Replies<pb::RestoreSnapshotResponse>;

    async fn create(
        &self,
        request: Request<pb::CreateSnapshotRequest>,
    ) -> Result<Response<Self::CreateStream>, Status> {
        use pb::create_snapshot_response::State;
        let work = self.0.of(&request);
        let name = from_proto::collection("collection", &request.into_inner().collection)?;
        let reply = |state| pb::CreateSnapshotResponse { state: Some(state) };
        let progress = |progress| pb::CreateSnapshotResponse { state: Some(State::Progress(progress)) };
        Ok(stream(work, progress, move |engine, observe| {
            Ok(reply(State::Snapshot(to_proto::snapshot(engine.create_snapshot(&name, observe)?))))
        }))
    }

    async fn list(
        &self,
        request: Request<pb::ListSnapshotsRequest>,
    ) -> Result<Response<pb::ListSnapshotsResponse>, Status> {
        let work = self.0.of(&request);
        let listed = work.run(Lane::Maintenance, |engine| engine.snapshots()).await?;
        work.reply(pb::ListSnapshotsResponse { snapshots: listed.into_iter().map(to_proto::listed).collect() })
    }

    async fn verify(
        &self,
        request: Request<pb::VerifySnapshotRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        use pb::verify_snapshot_response::State;
        let work = self.0.of(&request);
        let snapshot = SnapshotName::new(&request.into_inner().snapshot)?;
        let progress = |progress| pb::VerifySnapshotResponse { state: Some(State::Progress(progress)) };
        Ok(stream(work, progress, move |engine, observe| {
            let info = engine.verify_snapshot(&snapshot, observe)?;
            Ok(pb::VerifySnapshotResponse { state: Some(State::Snapshot(to_proto::snapshot(info))) })
        }))
    }

    async fn restore(
        &self,
        request: Request<pb::RestoreSnapshotRequest>,
    ) -> Result<Response<Self::RestoreStream>, Status> {
        use pb::restore_snapshot_response::State;
        let work = self.0.of(&request);
        let request = request.into_inner();
        let snapshot = SnapshotName::new(&request.snapshot)?;
        let target = from_proto::collection("collection", &request.collection)?;
        let progress = |progress| pb::RestoreSnapshotResponse { state: Some(State::Progress(progress)) };
        Ok(stream(work, progress, move |engine, observe| {
            let info = engine.restore_snapshot(&snapshot, &target, request.replace, observe)?;
            Ok(pb::RestoreSnapshotResponse { state: Some(State::Collection(to_proto::collection(info))) })
        }))
    }
}
