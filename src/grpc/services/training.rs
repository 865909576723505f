//! The service `Training`: training, installation and deletion of models while the server runs.

use super::progress::{RateEstimator, ResponseStream, stream_job};
use crate::api::Error;
use crate::engine::Upload;
use crate::grpc::authorized_engine::AuthorizedEngine;
use crate::grpc::convert::{from_proto, to_proto, training};
use crate::grpc::executor::{Executor, Pool, ServiceState};
use crate::grpc::pb;
use crate::grpc::status::{self, IntoStatus, OrStatus};
use std::sync::{Arc, Mutex, PoisonError};
use tonic::{Request, Response, Status, Streaming};

pub(crate) struct Training(pub(crate) Arc<ServiceState>);

#[tonic::async_trait]
impl pb::training_server::Training for Training {
    type TrainEmbedderStream = ResponseStream<pb::TrainEmbedderResponse>;

    async fn train_embedder(
        &self,
        request: Request<Streaming<pb::TrainEmbedderRequest>>,
    ) -> Result<Response<Self::TrainEmbedderStream>, Status> {
        use pb::train_embedder_request::Part;
        use pb::train_embedder_response::State;
        let executor = self.0.executor(&request);
        let mut incoming = request.into_inner();
        let training = match next(&executor, &mut incoming).await?.and_then(|first| first.part) {
            Some(Part::Settings(settings)) => training::training(settings).or_status()?.into(),
            _ => {
                return Err(Error::invalid(
                    "settings",
                    "are missing: the first request of the stream must contain them",
                )
                .into_status());
            }
        };
        let mut receiver = UploadReceiver::begin(&executor, Upload::begin_data_file).await?;
        while let Some(request) = next(&executor, &mut incoming).await? {
            match request.part {
                Some(Part::Piece(piece)) => receiver.write_piece(piece).await?,
                _ => {
                    return Err(
                        Error::invalid("piece", "is missing: only the first request contains settings").into_status()
                    );
                }
            }
        }
        let upload = receiver.end()?;
        let response = |state| pb::TrainEmbedderResponse { state: Some(state) };
        Ok(stream_job(executor, Pool::Training, move |engine, sender| {
            let (rate_estimator, accuracy) = (RateEstimator::new(), Mutex::new(None));
            let model = engine.train_model(&training, upload, &|step| {
                let mut accuracy = accuracy.lock().unwrap_or_else(PoisonError::into_inner);
                *accuracy = step.test_accuracy.or(*accuracy);
                let (rate, seconds_left) = rate_estimator.update(step.phase, step.done, step.total);
                sender.send(|| {
                    response(State::Progress(pb::TrainProgress {
                        phase: step.phase.into(),
                        done: step.done,
                        total: step.total,
                        rate,
                        seconds_left,
                        loss: step.loss,
                        test_accuracy: *accuracy,
                    }))
                })
            })?;
            Ok(response(State::Model(to_proto::model(&model))))
        }))
    }

    async fn install(
        &self,
        request: Request<Streaming<pb::InstallModelRequest>>,
    ) -> Result<Response<pb::InstallModelResponse>, Status> {
        let executor = self.0.executor(&request);
        let mut incoming = request.into_inner();
        let mut receiver = UploadReceiver::begin(&executor, Upload::begin_model_file).await?;
        while let Some(request) = next(&executor, &mut incoming).await? {
            let piece = request.piece.ok_or_else(|| Error::invalid("piece", "is missing")).or_status()?;
            receiver.write_piece(piece).await?;
        }
        let upload = receiver.end()?;
        let model = executor.run(Pool::Maintenance, move |engine| engine.install_model(upload)).await?;
        executor.response(pb::InstallModelResponse { model: Some(to_proto::model(&model)) })
    }

    async fn list(&self, request: Request<pb::ListModelsRequest>) -> Result<Response<pb::ListModelsResponse>, Status> {
        let executor = self.0.executor(&request);
        let models = executor.run(Pool::Store, |engine| engine.models()).await?;
        executor.response(pb::ListModelsResponse { models: models.iter().map(to_proto::model).collect() })
    }

    async fn get(&self, request: Request<pb::GetModelRequest>) -> Result<Response<pb::GetModelResponse>, Status> {
        let executor = self.0.executor(&request);
        let fingerprint = from_proto::fingerprint("fingerprint", &request.into_inner().fingerprint).or_status()?;
        let models = executor.run(Pool::Store, |engine| engine.models()).await?;
        let found = models.iter().rev().find(|info| info.fingerprint() == fingerprint);
        let model = found.ok_or_else(|| Error::UnknownModel(fingerprint.to_string())).or_status()?;
        executor.response(pb::GetModelResponse { model: Some(to_proto::model(model)) })
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteModelRequest>,
    ) -> Result<Response<pb::DeleteModelResponse>, Status> {
        let executor = self.0.executor(&request);
        let fingerprint = from_proto::fingerprint("fingerprint", &request.into_inner().fingerprint).or_status()?;
        executor.run(Pool::Store, move |engine| engine.delete_model(&fingerprint)).await?;
        executor.response(pb::DeleteModelResponse {})
    }
}

/// Returns the next message of a stream; none after the last.
async fn next<M>(executor: &Executor, incoming: &mut Streaming<M>) -> Result<Option<M>, Status> {
    let mut stopping = executor.stopping();
    tokio::select! {
        message = incoming.message() => message.map_err(|end| status::corrected(end, executor.max_message_bytes())),
        // An error means that the server was dropped, which is equivalent.
        _ = stopping.wait_for(|stopping| *stopping) => Err(status::stopping()),
    }
}

/// Upload of files in pieces.
struct UploadReceiver {
    executor: Executor,
    /// None after a refused piece.
    upload: Option<Upload>,
    /// Begins a file.
    begin: fn(&mut Upload, &str) -> Result<(), Error>,
}

impl UploadReceiver {
    async fn begin(executor: &Executor, begin: fn(&mut Upload, &str) -> Result<(), Error>) -> Result<Self, Status> {
        let upload = executor.run(Pool::Store, |engine: &AuthorizedEngine<'_>| engine.upload()).await?;
        Ok(Self { executor: executor.clone(), upload: Some(upload), begin })
    }

    /// Writes a piece. Returns when the write has completed.
    async fn write_piece(&mut self, piece: pb::FilePiece) -> Result<(), Status> {
        let memory_permit = self.executor.memory_permit();
        memory_permit.add(piece.data.len())?;
        let Some(mut upload) = self.upload.take() else { return Ok(()) };
        if !piece.file.is_empty() {
            (self.begin)(&mut upload, &piece.file).or_status()?;
        }
        let append = move |_: &AuthorizedEngine<'_>| {
            let _until_written = memory_permit;
            upload.append(&piece.data).map(|()| upload)
        };
        self.upload = Some(self.executor.run(Pool::Store, append).await?);
        Ok(())
    }

    /// Completes the upload.
    fn end(self) -> Result<Upload, Status> {
        self.upload.ok_or_else(|| Error::Unavailable("the upload was interrupted".into()).into_status())
    }
}
