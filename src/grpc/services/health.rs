//! The service `grpc.health.v1`: the actual state of each service, collection and of the server.
//!
//! The empty name is the whole server. `collection/NAME` is a collection: `SERVING` while all operations are available.
//! (With access control, collections are not reported here; use `Collections.Get`.) `orphans` is `NOT_SERVING` while
//! the folder `orphans/` of the data directory is not empty: it holds points that no record refers to.
//!
//! A server exists only over an open engine, so every service is `SERVING` from the start and `NOT_SERVING` once
//! shutdown begins, permanently. `Watch` ends after that message, so that an open watch does not delay the shutdown.

use crate::api::CollectionState;
use crate::auth::{Access, Reloadable};
use crate::engine::Engine;
use crate::grpc::convert::from_proto;
use crate::grpc::status::OrStatus;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

pub(crate) struct Health {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) access: Reloadable<Access>,
    /// Names of the services, including the empty one.
    pub(crate) services: Vec<&'static str>,
    /// True once shutdown begins.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Prefix of collection names.
const COLLECTION: &str = "collection/";
/// Name for the state of the folder `orphans/`.
const ORPHANS: &str = "orphans";

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn state(stopping: bool) -> ServingStatus {
    if stopping { ServingStatus::NotServing } else { ServingStatus::Serving }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let collection = request.get_ref().service.strip_prefix(COLLECTION);
        if let Some(name) = collection.filter(|_| self.access.get().is_open()) {
            let name = from_proto::collection("service", name).or_status()?;
            let engine = self.engine.clone();
            // It may open the collection, which reads from the disk.
            let info = tokio::task::spawn_blocking(move || engine.collection(&name)).await;
            let info = info.map_err(|_| Status::internal("the state of the collection could not be read"))?;
            let serving = info.or_status()?.state == CollectionState::Serving;
            return Ok(Response::new(response(state(*self.stopping.borrow() || !serving))));
        }
        if request.get_ref().service == ORPHANS {
            return Ok(Response::new(response(state(*self.stopping.borrow() || self.engine.activity().orphans > 0))));
        }
        if !self.services.contains(&request.get_ref().service.as_str()) {
            return Err(Status::not_found("unknown service"));
        }
        Ok(Response::new(response(state(*self.stopping.borrow()))))
    }

    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = self.services.contains(&request.get_ref().service.as_str());
        let mut stopping = self.stopping.clone();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let stop = *stopping.borrow_and_update();
                let status = if known { state(stop) } else { ServingStatus::ServiceUnknown };
                if sender.send(Ok(response(status))).await.is_err() || stop {
                    return;
                }
                tokio::select! {
                    changed = stopping.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
