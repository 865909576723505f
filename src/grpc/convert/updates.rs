//! Conversion of updates of payloads and vectors, and of the conditions of an upsert.

use super::{filter, from_proto, payload, to_proto};
use crate::api::{
    Error, Item, PayloadAction, PayloadUpdate, PayloadsUpdated, PointSelection, Upserted, WriteCondition, WriteMode,
};
use crate::grpc::pb;
use crate::types::PointId;

/// Converts the selection of points: ids, or a filter.
pub(crate) fn selection(
    ids: Vec<String>,
    filter: Option<pb::Filter>,
    allow_unknown_fields: bool,
) -> Result<PointSelection, Error> {
    match filter::filter("filter", filter)? {
        Some(_) if !ids.is_empty() => Err(Error::invalid("filter", "excludes ids; give one of them")),
        Some(filter) => Ok(PointSelection::Matching { filter, allow_unknown_fields }),
        None => from_proto::ids(ids).map(PointSelection::Ids),
    }
}

/// Converts the actions of an update of payloads; the engine checks their limits.
pub(crate) fn actions(actions: Vec<pb::PayloadAction>) -> Result<PayloadUpdate, Error> {
    use pb::payload_action::Action;
    let convert = |(index, action): (usize, pb::PayloadAction)| {
        let at = format!("actions[{index}]");
        Ok(match action.action {
            None => return Err(Error::invalid(at, "give set, overwrite, unset or clear")),
            Some(Action::Set(set)) => PayloadAction::Set {
                path: (!set.path.is_empty()).then_some(set.path),
                fields: payload::from_wire(set.payload, &set.payload_json, &format_args!("{at}.set.payload"))?,
            },
            Some(Action::Overwrite(over)) => PayloadAction::Overwrite(payload::from_wire(
                over.payload,
                &over.payload_json,
                &format_args!("{at}.overwrite.payload"),
            )?),
            Some(Action::Unset(unset)) => PayloadAction::Unset(unset.paths),
            Some(Action::Clear(_)) => PayloadAction::Clear,
        })
    };
    actions.into_iter().enumerate().map(convert).collect::<Result<Vec<_>, _>>().map(PayloadUpdate::new)
}

pub(crate) fn payloads_updated(done: PayloadsUpdated, unknown_fields: Vec<String>) -> pb::UpdatePayloadResponse {
    let PayloadsUpdated { sequence, updated, unchanged, missing } = done;
    pb::UpdatePayloadResponse { sequence, updated, unchanged, missing: texts(&missing), unknown_fields }
}

/// Converts the condition of an upsert.
pub(crate) fn condition(mode: i32, only_if: Option<pb::Filter>) -> Result<WriteCondition, Error> {
    use pb::WriteMode as Wire;
    let mode = match Wire::try_from(mode) {
        Ok(Wire::Unspecified | Wire::Upsert) => WriteMode::Upsert,
        Ok(Wire::Insert) => WriteMode::Insert,
        Ok(Wire::Update) => WriteMode::Update,
        Err(_) => return Err(Error::invalid("mode", format!("{mode} is no mode of this server's version"))),
    };
    Ok(WriteCondition { mode, only_if: filter::filter("only_if", only_if)? })
}

/// Converts the result of an upsert.
pub(crate) fn upserted(done: Upserted, unknown_fields: Vec<String>) -> pb::UpsertResponse {
    pb::UpsertResponse {
        sequence: done.sequence,
        inserted: done.inserted,
        replaced: done.replaced,
        unchanged: done.unchanged,
        removed: done.removed,
        embedder_fingerprint: to_proto::fingerprint(done.fingerprint),
        existing: texts(&done.skipped.existing),
        missing: texts(&done.skipped.missing),
        unmatched: texts(&done.skipped.unmatched),
        unknown_fields,
    }
}

/// Converts the items of an update of vectors.
pub(crate) fn vectors(items: Vec<pb::Item>) -> Result<Vec<Item>, Error> {
    let items = from_proto::items(items)?;
    match items.iter().position(|item| !item.payload.is_empty()) {
        Some(index) => {
            let why = "must be empty: the payload of the point is kept; change it with UpdatePayload";
            Err(Error::invalid(format!("items[{index}].payload"), why))
        }
        None => Ok(items),
    }
}

pub(crate) fn texts(ids: &[PointId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
