//! The service `Points` (`UpsertStream` is in `upsert_stream.rs`, facets and samples in `summaries.rs`).

use super::{summaries, upsert_stream};
use crate::api::{Error, Fields, Page, PointSelection, WriteCondition};
use crate::grpc::authorized_engine::AuthorizedEngine;
use crate::grpc::convert::{columns, filter, from_proto, to_proto, updates};
use crate::grpc::executor::{Pool, ServiceState};
use crate::grpc::middleware::response_meter::ResponseForm;
use crate::grpc::status::{IntoStatus, OrStatus};
use crate::grpc::{page_token, pb};
use crate::types::{CollectionName, PointId};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

pub(crate) struct Points(pub(crate) Arc<ServiceState>);

#[tonic::async_trait]
impl pb::points_server::Points for Points {
    async fn upsert(&self, request: Request<pb::UpsertRequest>) -> Result<Response<pb::UpsertResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let numbers = executor.memory_permit();
        numbers.add(columns::added_bytes(request.columns.as_ref().and_then(|columns| columns.vectors.as_ref())))?;
        let items = columns::items(request.items, request.columns).or_status()?;
        let blocks = from_proto::blocks(request.blocks).or_status()?;
        let condition = updates::condition(request.mode, request.only_if).or_status()?;
        if blocks.is_some() && condition != WriteCondition::default() {
            return Err(Error::invalid("blocks", "cannot be combined with a mode or with only_if").into_status());
        }
        let pool = Pool::of_items(&items);
        let upsert = move |engine: &AuthorizedEngine<'_>| {
            let _until_written = numbers;
            let unknown_fields = match &condition.only_if {
                Some(filter) => engine.reads(&name, |reads, name| reads.unknown_fields(name, filter))?,
                None => Vec::new(),
            };
            let done = match blocks {
                None => engine.writes(&name, |writes, name| writes.upsert_if(name, items, &condition))?,
                Some(blocks) => engine.writes(&name, |writes, name| writes.upsert_blocks(name, items, blocks))?,
            };
            Ok::<_, Error>(updates::upserted(done, unknown_fields))
        };
        let done = executor.run(pool, upsert).await?;
        executor.response(done)
    }

    type UpsertStreamStream = upsert_stream::Acks;

    async fn upsert_stream(
        &self,
        request: Request<Streaming<pb::UpsertStreamRequest>>,
    ) -> Result<Response<Self::UpsertStreamStream>, Status> {
        let executor = self.0.executor(&request);
        Ok(Response::new(upsert_stream::start(executor, request.into_inner())))
    }

    async fn get(&self, request: Request<pb::GetPointsRequest>) -> Result<Response<pb::GetPointsResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let ids = from_proto::ids(request.ids).or_status()?;
        executor.wait_for_sequence(&name, request.min_sequence).await?;
        let (fields, as_column) = (from_proto::fields(request.fields), columns::wanted(request.fields.as_ref()));
        let base: usize = ids.iter().map(to_proto::id_bytes).sum();
        let budget = executor.budget(ResponseForm::PointsOfIds, base + columns::reserved(as_column));
        let get = move |engine: &AuthorizedEngine<'_>| budget.run(|| get(engine, &name, &ids, fields, as_column));
        let response = executor.run(Pool::Store, get).await?;
        executor.response(response)
    }

    async fn delete(
        &self,
        request: Request<pb::DeletePointsRequest>,
    ) -> Result<Response<pb::DeletePointsResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        if request.all && (request.filter.is_some() || !request.ids.is_empty()) {
            return Err(Error::invalid("all", "excludes ids and filter; give one of them").into_status());
        }
        let deleted = match filter::filter("filter", request.filter).or_status()? {
            None if request.all => {
                let delete = move |engine: &AuthorizedEngine<'_>| {
                    engine.writes(&name, |writes, name| writes.delete_all_points(name))
                };
                to_proto::deleted(executor.run(Pool::Store, delete).await?, Vec::new())
            }
            Some(_) if !request.ids.is_empty() => {
                return Err(Error::invalid("filter", "excludes ids; give one of them").into_status());
            }
            Some(filter) => {
                let delete = move |engine: &AuthorizedEngine<'_>| {
                    let unknown_fields = engine.reads(&name, |reads, name| reads.unknown_fields(name, &filter))?;
                    let deleted = engine.writes(&name, |writes, name| {
                        writes.delete_matching(name, &filter, request.allow_unknown_fields)
                    })?;
                    Ok::<_, Error>(to_proto::deleted(deleted, unknown_fields))
                };
                executor.run(Pool::Store, delete).await?
            }
            None => {
                let ids = from_proto::ids(request.ids).or_status()?;
                let deleted = executor
                    .run(Pool::Store, move |engine| {
                        engine.writes(&name, |writes, name| writes.delete_points(name, &ids))
                    })
                    .await?;
                to_proto::deleted(deleted, Vec::new())
            }
        };
        executor.response(deleted)
    }

    async fn scroll(&self, request: Request<pb::ScrollRequest>) -> Result<Response<pb::ScrollResponse>, Status> {
        let executor = self.0.executor(&request);
        let mut request = request.into_inner();
        if let Some(order) = request.order_by.take() {
            let response = summaries::scroll_ordered(&executor, request, order).await?;
            return executor.response(response);
        }
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let after = match page_token::decode(&name, &request.page_token).or_status()? {
            Some(_) if !request.after.is_empty() => {
                return Err(Error::invalid("after", "excludes page_token; give one of them").into_status());
            }
            None if !request.after.is_empty() => Some(from_proto::id(&"after", request.after).or_status()?),
            token => token,
        };
        let first = request.page_token.is_empty();
        let limit = from_proto::page(request.limit).or_status()?;
        let (fields, as_column) = (from_proto::fields(request.fields), columns::wanted(request.fields.as_ref()));
        let filter = filter::filter("filter", request.filter).or_status()?;
        executor.wait_for_sequence(&name, request.min_sequence).await?;
        let budgets = executor.clone();
        let scroll = move |engine: &AuthorizedEngine<'_>| {
            let unknown_fields = match &filter {
                Some(filter) if first => engine.reads(&name, |reads, name| reads.unknown_fields(name, filter))?,
                _ => Vec::new(),
            };
            let base = to_proto::unknown_fields_bytes(&unknown_fields) + columns::reserved(as_column);
            let budget = budgets.page_budget(base);
            let page = budget.run(|| {
                engine.reads(&name, |reads, name| reads.scroll(name, after.as_ref(), limit, fields, filter.as_ref()))
            })?;
            Ok::<_, Error>(pb::ScrollResponse { unknown_fields, ..scrolled(page, &name, as_column) })
        };
        let response = executor.run(Pool::Store, scroll).await?;
        executor.response(response)
    }

    async fn count(&self, request: Request<pb::CountRequest>) -> Result<Response<pb::CountResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let filter = filter::filter("filter", request.filter).or_status()?;
        executor.wait_for_sequence(&name, request.min_sequence).await?;
        let count = move |engine: &AuthorizedEngine<'_>| {
            let count = engine.reads(&name, |reads, name| reads.count(name, filter.as_ref()))?;
            let unknown_fields = filter
                .map(|filter| engine.reads(&name, |reads, name| reads.unknown_fields(name, &filter)))
                .transpose()?;
            Ok::<_, Error>(pb::CountResponse { count, unknown_fields: unknown_fields.unwrap_or_default() })
        };
        let response = executor.run(Pool::Store, count).await?;
        executor.response(response)
    }

    async fn facet(&self, request: Request<pb::FacetRequest>) -> Result<Response<pb::FacetResponse>, Status> {
        let executor = self.0.executor(&request);
        let response = summaries::facet(&executor, request.into_inner()).await?;
        executor.response(response)
    }

    async fn describe_fields(
        &self,
        request: Request<pb::DescribeFieldsRequest>,
    ) -> Result<Response<pb::DescribeFieldsResponse>, Status> {
        let executor = self.0.executor(&request);
        let response = summaries::describe_fields(&executor, request.into_inner()).await?;
        executor.response(response)
    }

    async fn sample(&self, request: Request<pb::SampleRequest>) -> Result<Response<pb::SampleResponse>, Status> {
        let executor = self.0.executor(&request);
        let response = summaries::sample(&executor, request.into_inner()).await?;
        executor.response(response)
    }

    async fn update_payload(
        &self,
        request: Request<pb::UpdatePayloadRequest>,
    ) -> Result<Response<pb::UpdatePayloadResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let points = updates::selection(request.ids, request.filter, request.allow_unknown_fields).or_status()?;
        let update = updates::actions(request.actions).or_status()?;
        let call = move |engine: &AuthorizedEngine<'_>| {
            let unknown_fields = match &points {
                PointSelection::Matching { filter, .. } => {
                    engine.reads(&name, |reads, name| reads.unknown_fields(name, filter))?
                }
                PointSelection::Ids(_) => Vec::new(),
            };
            let done = engine.writes(&name, |writes, name| writes.update_payload(name, &points, &update))?;
            Ok::<_, Error>(updates::payloads_updated(done, unknown_fields))
        };
        let response = executor.run(Pool::Store, call).await?;
        executor.response(response)
    }

    async fn update_vectors(
        &self,
        request: Request<pb::UpdateVectorsRequest>,
    ) -> Result<Response<pb::UpdateVectorsResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let name = from_proto::collection("collection", &request.collection).or_status()?;
        let items = updates::vectors(request.items).or_status()?;
        let pool = Pool::of_items(&items);
        let call = move |engine: &AuthorizedEngine<'_>| {
            engine.writes(&name, |writes, name| writes.update_vectors(name, items))
        };
        let done = executor.run(pool, call).await?;
        executor.response(pb::UpdateVectorsResponse {
            sequence: done.sequence,
            updated: done.replaced,
            unchanged: done.unchanged,
            missing: updates::texts(&done.skipped.missing),
            embedder_fingerprint: to_proto::fingerprint(done.fingerprint),
        })
    }
}

fn get(
    engine: &AuthorizedEngine<'_>,
    name: &CollectionName,
    ids: &[PointId],
    fields: Fields,
    as_column: bool,
) -> Result<pb::GetPointsResponse, Error> {
    let mut read = engine.reads(name, |reads, name| reads.get(name, ids, fields))?;
    let remaining = ids.iter().skip(read.len()).map(PointId::to_string).collect();
    let vectors = columns::of_found(&mut read, as_column);
    let mut response = pb::GetPointsResponse { remaining, vectors, ..Default::default() };
    for (id, point) in ids.iter().zip(read) {
        match point {
            Some(point) => response.points.push(to_proto::point(point)),
            None => response.missing.push(id.to_string()),
        }
    }
    Ok(response)
}

/// Converts a page.
fn scrolled(mut page: Page, name: &CollectionName, as_column: bool) -> pb::ScrollResponse {
    let last = page.points.last().filter(|_| page.more);
    let next_page_token = last.map_or_else(String::new, |last| page_token::encode(name, &last.id));
    let vectors = columns::of_points(&mut page.points, as_column);
    pb::ScrollResponse {
        points: page.points.into_iter().map(to_proto::point).collect(),
        next_page_token,
        vectors,
        ..Default::default()
    }
}
