//! Row order by tenant, so that the points of one tenant are adjacent in a segment and in memory.
//!
//! The tenant of a point is the first string or integer at a path of its payload. Rows are ordered by a hash of it, which
//! takes a fixed number of bytes per row, whatever the payloads contain. Two tenants with equal hashes are stored as one:
//! the order is no index, and filters compare values.

use super::state::Collection;
use crate::api::Payload;
use crate::payload;
use rayon::prelude::*;
use serde_json::Value;
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};

/// Bytes per row for the order by tenant: the position of the row, and its copy while it is sorted.
pub(super) const ORDER_ROW_BYTES: u64 = 48;
/// Payloads read at a time.
const STEP: usize = 4_096;

/// Position of a point in a segment: points of a tenant have the same, points without one have the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TenantOrder(u64);

impl TenantOrder {
    /// That of a point without a tenant.
    pub(crate) const NONE: Self = Self(u64::MAX);

    /// Returns that of a payload.
    pub(crate) fn of(payload: &Payload, path: &str) -> Self {
        payload::tenant_at(payload, path).map_or(Self::NONE, |tenant| {
            let mut hasher = DefaultHasher::new();
            match &tenant {
                Value::String(text) => hasher.write(text.as_bytes()),
                // Digits, and a byte that no text has.
                other => {
                    hasher.write(other.to_string().as_bytes());
                    hasher.write_u8(0xff);
                }
            }
            // Never that of no tenant.
            Self(hasher.finish() >> 1)
        })
    }
}

impl Collection {
    /// Sorts rows by tenant, keeping the order within each, and returns the number of rows of each; all as one in a
    /// collection without tenants. `payload` returns the payload of a row; one that cannot be read has no tenant.
    /// Returns none, with the rows in their order, as soon as `go_on` returns false.
    pub(crate) fn sort_by_tenant<'a, T: Copy + Send + Sync>(
        &self,
        rows: &mut [T],
        payload: &dyn Fn(T) -> Cow<'a, [u8]>,
        go_on: &dyn Fn() -> bool,
    ) -> Option<Vec<usize>> {
        let Some(path) = &self.tenant else { return Some(vec![rows.len()]) };
        let mut placed: Vec<(TenantOrder, T)> = Vec::with_capacity(rows.len());
        for step in rows.chunks(STEP) {
            if !go_on() {
                return None;
            }
            // On this thread, since it may lock a table.
            let read: Vec<(T, Cow<'_, [u8]>)> = step.iter().map(|&row| (row, payload(row))).collect();
            let place = |(row, payload): &(T, Cow<'_, [u8]>)| {
                let payload: Option<Payload> = serde_json::from_slice(payload).ok();
                (payload.map_or(TenantOrder::NONE, |payload| TenantOrder::of(&payload, path)), *row)
            };
            placed.par_extend(read.par_iter().map(place));
        }
        placed.sort_by_key(|(order, _)| *order);
        rows.iter_mut().zip(&placed).for_each(|(to, (_, row))| *to = *row);
        Some(placed.chunk_by(|(one, _), (other, _)| one == other).map(<[_]>::len).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn points_have_the_order_of_their_first_string_or_integer() {
        let of = |value: Value| TenantOrder::of(value.as_object().unwrap(), "of.id");
        let text = of(json!({"of": {"id": "7"}}));
        let number = of(json!({"of": {"id": 7}}));
        assert_ne!(text, number);
        assert_eq!(number, of(json!({"of.id": [null, 7, "7"]})));
        assert_eq!(text, of(json!({"of": [{"id": [1.5, {"id": 3}, true, "7", 8]}]})));
        assert_ne!(number, of(json!({"of": {"id": -7}})));
        for none in [json!({}), json!({"of": {"id": null}}), json!({"of": {"id": 7.5}}), json!({"of": 7})] {
            assert_eq!(of(none), TenantOrder::NONE);
        }
        assert!(text < TenantOrder::NONE && of(json!({"of": {"id": ""}})) < TenantOrder::NONE);
    }
}
