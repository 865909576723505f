//! The calls of the service `Points` that summarize, order or sample points.

use crate::api::limits::DEFAULT_FACET_VALUES;
use crate::api::{Error, Filter, OrderBy};
use crate::grpc::authorized_engine::AuthorizedEngine;
use crate::grpc::convert::{columns, filter, from_proto, summaries, to_proto};
use crate::grpc::executor::{Executor, Pool};
use crate::grpc::middleware::response_meter::ResponseForm;
use crate::grpc::status::OrStatus;
use crate::grpc::{page_token, pb};
use crate::types::CollectionName;
use std::hash::{BuildHasher, RandomState};
use tonic::Status;

pub(super) async fn facet(executor: &Executor, request: pb::FacetRequest) -> Result<pb::FacetResponse, Status> {
    let name = from_proto::collection("collection", &request.collection).or_status()?;
    let filter = filter::filter("filter", request.filter).or_status()?;
    let limit = if request.limit == 0 { DEFAULT_FACET_VALUES } else { request.limit };
    executor.wait_for_sequence(&name, request.min_sequence).await?;
    let facet = move |engine: &AuthorizedEngine<'_>| {
        let facet = engine.reads(&name, |reads, name| reads.facet(name, &request.field, limit, filter.as_ref()))?;
        let unknown_fields = unknown_fields(engine, &name, filter.as_ref(), Some(&request.field))?;
        Ok::<_, Error>(summaries::facet(facet, unknown_fields))
    };
    executor.run(Pool::Compute, facet).await
}

pub(super) async fn describe_fields(
    executor: &Executor,
    request: pb::DescribeFieldsRequest,
) -> Result<pb::DescribeFieldsResponse, Status> {
    let name = from_proto::collection("collection", &request.collection).or_status()?;
    let filter = filter::filter("filter", request.filter).or_status()?;
    executor.wait_for_sequence(&name, request.min_sequence).await?;
    let describe = move |engine: &AuthorizedEngine<'_>| {
        let report = engine.reads(&name, |reads, name| reads.describe_fields(name, filter.as_ref()))?;
        Ok::<_, Error>(summaries::fields(report, unknown_fields(engine, &name, filter.as_ref(), None)?))
    };
    executor.run(Pool::Compute, describe).await
}

pub(super) async fn sample(executor: &Executor, request: pb::SampleRequest) -> Result<pb::SampleResponse, Status> {
    let name = from_proto::collection("collection", &request.collection).or_status()?;
    let filter = filter::filter("filter", request.filter).or_status()?;
    let limit = from_proto::page(request.limit).or_status()?;
    let (fields, as_column) = (from_proto::fields(request.fields), columns::wanted(request.fields.as_ref()));
    let seed = request.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
    executor.wait_for_sequence(&name, request.min_sequence).await?;
    let budgets = executor.clone();
    let sample = move |engine: &AuthorizedEngine<'_>| {
        let unknown_fields = unknown_fields(engine, &name, filter.as_ref(), None)?;
        // The seed takes at most 11 bytes.
        let base = 16 + to_proto::unknown_fields_bytes(&unknown_fields) + columns::reserved(as_column);
        let budget = budgets.budget(ResponseForm::Points, base);
        let mut points = budget
            .run(|| engine.reads(&name, |reads, name| reads.sample(name, limit, seed, fields, filter.as_ref())))?;
        let vectors = columns::of_points(&mut points, as_column);
        let points = points.into_iter().map(to_proto::point).collect();
        Ok::<_, Error>(pb::SampleResponse { points, seed, unknown_fields, vectors })
    };
    executor.run(Pool::Store, sample).await
}

/// Returns a page in the order of a field.
pub(super) async fn scroll_ordered(
    executor: &Executor,
    request: pb::ScrollRequest,
    order: pb::OrderBy,
) -> Result<pb::ScrollResponse, Status> {
    let name = from_proto::collection("collection", &request.collection).or_status()?;
    let order = OrderBy { field: order.field, descending: order.descending };
    if !request.after.is_empty() {
        return Err(Error::invalid("after", "excludes order_by; continue by page_token")).or_status();
    }
    let after = page_token::decode_ordered(&name, &order, &request.page_token).or_status()?;
    let limit = from_proto::page(request.limit).or_status()?;
    let (fields, as_column) = (from_proto::fields(request.fields), columns::wanted(request.fields.as_ref()));
    let filter = filter::filter("filter", request.filter).or_status()?;
    executor.wait_for_sequence(&name, request.min_sequence).await?;
    let budgets = executor.clone();
    let scroll = move |engine: &AuthorizedEngine<'_>| {
        let unknown_fields = match &after {
            None => unknown_fields(engine, &name, filter.as_ref(), Some(&order.field))?,
            Some(_) => Vec::new(),
        };
        let base = to_proto::unknown_fields_bytes(&unknown_fields) + columns::reserved(as_column);
        let budget = budgets.page_budget(base);
        let mut page = budget.run(|| {
            engine.reads(&name, |reads, name| {
                reads.scroll_ordered(name, &order, after.as_ref(), limit, fields, filter.as_ref())
            })
        })?;
        let token = page.next.map(|next| page_token::encode_ordered(&name, &order, &next));
        let vectors = columns::of_points(&mut page.points, as_column);
        Ok::<_, Error>(pb::ScrollResponse {
            vectors,
            points: page.points.into_iter().map(to_proto::point).collect(),
            next_page_token: token.unwrap_or_default(),
            unknown_fields,
        })
    };
    executor.run(Pool::Store, scroll).await
}

/// Returns the fields of a filter, and the further field, that no point has.
fn unknown_fields(
    engine: &AuthorizedEngine<'_>,
    name: &CollectionName,
    filter: Option<&Filter>,
    field: Option<&str>,
) -> Result<Vec<String>, Error> {
    let parts: Vec<Filter> = filter.cloned().into_iter().chain(field.map(Filter::exists)).collect();
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    engine.reads(name, |reads, name| reads.unknown_fields(name, &Filter::And(parts)))
}
