//! Entry points for the fuzz targets in `fuzz/`; compiled for them only.

use super::convert::{columns, filter as filters, from_proto, payload, training, updates};
use super::middleware::{request_context, request_layer};
use super::transport::connection;
use super::{page_token, pb};
use crate::api::{Error, Filter};
use crate::types::{CollectionName, PointId};
use prost::Message;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// Converts a filter.
///
/// # Errors
/// Why the filter is invalid.
pub fn filter(given: pb::Filter) -> Result<Option<Filter>, Error> {
    filters::filter("filter", Some(given))
}

/// Decodes a page token. Every valid token encodes back to itself.
///
/// # Errors
/// Why the token is invalid.
pub fn page_token(collection: &CollectionName, token: &str) -> Result<Option<PointId>, Error> {
    page_token::decode(collection, token)
}

/// Returns the token of the page after `last`.
pub fn make_page_token(collection: &CollectionName, last: &PointId) -> String {
    page_token::encode(collection, last)
}

/// Parses the deadline and the id in the headers of a request.
pub fn headers(value: &[u8]) {
    if let Some(timeout) = request_layer::grpc_timeout(value) {
        // The deadline is added to the current time.
        let _ = std::time::Instant::now().checked_add(timeout);
    }
    request_context::client_request_id(value);
}

/// Returns the DNS names in a certificate.
pub fn dns_names(certificate: &[u8]) -> Vec<String> {
    connection::dns_names(&CertificateDer::from(certificate.to_vec()))
}

/// Number of request kinds of [`request`].
pub const REQUESTS: u8 = 21;

/// Decodes a request of a kind and converts every part of it. True if all of it was valid.
pub fn request(kind: u8, bytes: &[u8]) -> bool {
    convert(kind % REQUESTS, bytes).is_ok()
}

/// Decodes a message.
fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|error| Error::invalid("message", error.to_string()))
}

fn named(name: &str) -> Result<(), Error> {
    from_proto::collection("collection", name).map(drop)
}

fn convert(kind: u8, bytes: &[u8]) -> Result<(), Error> {
    match kind {
        0 => from_proto::spec(decode(bytes)?, pb::EmbedderRef::default()).map(drop),
        1 => {
            let request: pb::UpsertRequest = decode(bytes)?;
            named(&request.collection)?;
            for item in columns::items(request.items, request.columns)? {
                // A payload that was accepted must also be sendable.
                let sent = payload::to_struct(item.payload.clone());
                let back = payload::from_wire(Some(sent), &payload::exact_json(&item.payload), &"payload")?;
                assert_eq!(back, item.payload);
            }
            Ok(())
        }
        2 => {
            let request: pb::UpsertStreamRequest = decode(bytes)?;
            named(&request.collection)?;
            from_proto::blocks(request.blocks)?;
            request.item.map_or(Ok(()), |item| from_proto::item(&"item", item).map(drop))?;
            request.columns.map_or(Ok(()), |columns| columns::each_item("columns", columns).map(drop))
        }
        3 => {
            let request: pb::GetPointsRequest = decode(bytes)?;
            from_proto::fields(request.fields);
            named(&request.collection)?;
            from_proto::ids(request.ids).map(drop)
        }
        4 => {
            let request: pb::DeletePointsRequest = decode(bytes)?;
            filters::filter("filter", request.filter)?;
            from_proto::ids(request.ids).map(drop)
        }
        5 => {
            let request: pb::ScrollRequest = decode(bytes)?;
            let name = from_proto::collection("collection", &request.collection)?;
            page_token::decode(&name, &request.page_token)?;
            from_proto::page(request.limit)?;
            filters::filter("filter", request.filter).map(drop)
        }
        6 => {
            let request: pb::CountRequest = decode(bytes)?;
            filters::filter("filter", request.filter).map(drop)
        }
        7 => {
            let request: pb::SearchRequest = decode(bytes)?;
            from_proto::one_query(request.query, request.params.as_ref())?;
            from_proto::params(request.params).map(drop)
        }
        8 => {
            let request: pb::SearchBatchRequest = decode(bytes)?;
            let params = from_proto::params(request.params)?;
            columns::queries(request.queries, request.vectors, &params).map(drop)
        }
        9 => {
            let request: pb::ExplainRequest = decode(bytes)?;
            from_proto::one_query(request.query, request.params.as_ref())?;
            from_proto::params(request.params)?;
            from_proto::id(&"id", request.id).map(drop)
        }
        10 => from_proto::recall_params(&decode(bytes)?).map(drop),
        11 => {
            let request: pb::EmbedRequest = decode(bytes)?;
            from_proto::inputs(request.inputs).map(drop)
        }
        12 => {
            let request: pb::ClassifyRequest = decode(bytes)?;
            from_proto::image(&"image", &request.image).map(drop)
        }
        13 => {
            let request: pb::NearestWordsRequest = decode(bytes)?;
            from_proto::k("k", request.k)?;
            from_proto::terms(&"plus", request.plus, request.minus).map(drop)
        }
        14 => {
            let request: pb::FillBlankRequest = decode(bytes)?;
            from_proto::k("k", request.k)?;
            from_proto::text(&"pattern", request.pattern).map(drop)
        }
        15 => {
            let request: pb::RestoreSnapshotRequest = decode(bytes)?;
            let _ = crate::snapshot::SnapshotName::new(&request.snapshot);
            named(&request.collection)
        }
        16 => {
            let request: pb::VerifySnapshotRequest = decode(bytes)?;
            crate::snapshot::SnapshotName::new(&request.snapshot).map(drop)
        }
        17 => training::training(decode(bytes)?).map(drop),
        18 => {
            let request: pb::UpdatePayloadRequest = decode(bytes)?;
            updates::selection(request.ids, request.filter, request.allow_unknown_fields)?;
            updates::actions(request.actions).map(drop)
        }
        19 => updates::vectors(decode::<pb::UpdateVectorsRequest>(bytes)?.items).map(drop),
        _ => {
            let request: pb::GetModelRequest = decode(bytes)?;
            from_proto::fingerprint("fingerprint", &request.fingerprint).map(drop)
        }
    }
}
