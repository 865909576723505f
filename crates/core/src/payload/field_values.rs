//! The values of one field and the rows of each: counts for facets, positions for ordered scrolls.
//!
//! Both read the values of an index in order. Rows that the index does not cover are read payload by payload: all rows
//! if the field was left out of the index, otherwise those with a string that is too long for a key.

use super::index::{BOOL, EXISTS, LONG, NUMBER, PayloadIndex, RowsOf, STRING, Values, are_few};
use super::row_set::RowSet;
use super::{builder::key_of, matches};
use crate::api::limits::MAX_FACET_BYTES;
use crate::api::{CancellationToken, Error, Facet, Number, Payload, Scalar, SortKey, ValueCount};
use roaring::RoaringBitmap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Values processed between two checks for cancellation.
const STEP: usize = 4_096;
/// Approximate memory of a counted value besides its bytes.
const VALUE_BYTES: usize = 64;

/// The values of a field in the selected rows of one index.
pub(crate) struct FieldValues<'a> {
    index: &'a PayloadIndex,
    values: Values,
    /// The selected rows. Row 0 is the first of the index.
    selected: RowSet,
    bitmap: RoaringBitmap,
}

/// The source of a field's values in some rows.
pub(crate) enum Source<'a> {
    /// The index. Rows with a long string are also read payload by payload; these are in the list, ascending.
    Index(FieldValues<'a>, Vec<u32>),
    /// The payloads of all selected rows.
    Payloads(RowSet),
    /// No selected row has the field.
    Nothing,
}

impl<'a> Source<'a> {
    /// Returns the source of a field's values in these rows of an index.
    pub(crate) fn of(index: &'a PayloadIndex, field: &str, selected: RowSet) -> Self {
        let values = match index.values(field) {
            _ if selected.count() == 0 => return Self::Nothing,
            Some(values) => values,
            None if index.is_complete() => return Self::Nothing,
            None => return Self::Payloads(selected),
        };
        if are_few(selected.count(), index.cost_of(values.0.clone())) {
            return Self::Payloads(selected);
        }
        let bitmap = selected.bitmap();
        let values = FieldValues { index, values, selected, bitmap };
        let mut long = Vec::new();
        if let Some(value) = index.find(&values.values, &[LONG]) {
            values.each_row(value, &mut |row| long.push(row));
        }
        Self::Index(values, long)
    }
}

impl FieldValues<'_> {
    /// Returns the number of selected rows with a value other than null, including objects.
    pub(crate) fn points(&self) -> u64 {
        self.index.find(&self.values, &[EXISTS]).map_or(0, |value| self.count(value))
    }

    /// Returns the range of the values with a key that is stored: booleans, numbers, and strings that are not long. The
    /// other keys ([`EXISTS`], [`LONG`], nulls, numbers of values) come before and after them.
    fn stored(&self) -> std::ops::Range<usize> {
        let from = self.index.lower_bound(&self.values, &[BOOL]);
        from..self.index.lower_bound(&self.values, &[LONG]).max(from)
    }

    /// Returns the stored values in order with their numbers of selected rows, without those that have none.
    fn counts(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.stored().map(|value| (self.index.key(value), self.count(value))).filter(|(_, count)| *count > 0)
    }

    /// Visits each selected row once, with its smallest value, or, descending, its greatest, in the order of these.
    /// Leaves out the rows of `except`, and those without a stored value. Ends once `visit` returns false for a value
    /// before its first row, or `Ok(None)`.
    ///
    /// # Errors
    /// Those of `visit`; `Abandoned`.
    pub(crate) fn each_in_order(
        &self,
        descending: bool,
        except: &[u32],
        wants: &mut dyn FnMut(&SortKey) -> Wanted,
        visit: &mut dyn FnMut(&SortKey, u32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let stop = CancellationToken::current();
        let mut left = self.bitmap.clone();
        except.iter().for_each(|row| _ = left.remove(*row));
        let stored = self.stored();
        for step in 0..stored.len() {
            if step % STEP == 0 {
                stop.check()?;
            }
            let value = if descending { stored.end - 1 - step } else { stored.start + step };
            let Some(key) = scalar_of(self.index.key(value)).map(|value| SortKey::new(&value)) else { continue };
            let wanted = wants(&key);
            if wanted == Wanted::End || left.is_empty() {
                break;
            }
            let mut failed = Ok(());
            self.each_row(value, &mut |row| {
                if left.remove(row) && wanted == Wanted::Visit && failed.is_ok() {
                    failed = visit(&key, row);
                }
            });
            failed?;
        }
        Ok(())
    }

    fn count(&self, value: usize) -> u64 {
        match self.index.rows_of(value) {
            RowsOf::List(list) => {
                list.iter().filter(|row| self.selected.contains(u32::from_le_bytes(**row))).count() as u64
            }
            RowsOf::Bitmap(rows) => rows.intersection_len(&self.bitmap),
        }
    }

    /// Visits the selected rows of a value, ascending.
    fn each_row(&self, value: usize, visit: &mut dyn FnMut(u32)) {
        match self.index.rows_of(value) {
            RowsOf::List(list) => list
                .iter()
                .map(|row| u32::from_le_bytes(*row))
                .filter(|row| self.selected.contains(*row))
                .for_each(visit),
            RowsOf::Bitmap(rows) => (rows & &self.bitmap).into_iter().for_each(visit),
        }
    }
}

/// What an ordered visit does with the rows of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Visit them.
    Visit,
    /// Pass them by: they come before the page.
    Skip,
    /// End: all further values come after the page.
    End,
}

/// Returns the distinct values of a field in a payload, by the keys of their order, and whether the field has a value at
/// all (also an object). Strings are complete.
pub(crate) fn keys_in(payload: &Payload, field: &str) -> (Vec<Vec<u8>>, bool) {
    let mut keys = Vec::new();
    matches::scalars_at(payload, field, &mut |value| keys.push(key_of(&value)));
    keys.sort_unstable();
    keys.dedup();
    let has_value = !keys.is_empty() || matches::has_value(payload, field);
    (keys, has_value)
}

/// Returns the position of a payload in the order of a field; `None` if it has no value to compare.
pub(crate) fn sort_key(payload: &Payload, field: &str, descending: bool) -> Option<SortKey> {
    let mut best: Option<SortKey> = None;
    matches::scalars_at(payload, field, &mut |value| {
        let key = SortKey::new(&value);
        if best.as_ref().is_none_or(|best| if descending { key > *best } else { key < *best }) {
            best = Some(key);
        }
    });
    best
}

/// Returns the value of a key; `None` for a key that no stored value has.
fn scalar_of(key: &[u8]) -> Option<Scalar> {
    match key.split_first()? {
        (&BOOL, value) => Some(Scalar::Bool(*value.first()? != 0)),
        (&NUMBER, value) => value.try_into().ok().map(|key| Scalar::Number(Number::from_key(key))),
        (&STRING, text) => std::str::from_utf8(text).ok().map(|text| Scalar::String(text.into())),
        _ => None,
    }
}

/// Values in order, each with its count.
type Counts<'a> = Box<dyn Iterator<Item = (&'a [u8], u64)> + 'a>;
/// A value that sorts by frequency; of two equally frequent ones, the smaller value is greater.
type Ranked<'a> = (u64, Reverse<&'a [u8]>);

/// Counts the values of a field over several sources.
#[derive(Default)]
pub(crate) struct FacetCounter<'a> {
    indexed: Vec<FieldValues<'a>>,
    /// Counts of the values read from payloads.
    read: BTreeMap<Vec<u8>, u64>,
    read_bytes: usize,
    points: u64,
}

impl<'a> FacetCounter<'a> {
    /// Adds the values of an index.
    pub(crate) fn add_index(&mut self, values: FieldValues<'a>) {
        self.points += values.points();
        self.indexed.push(values);
    }

    /// Adds the values of one payload. `counted`: its row is part of an index, which counts the point and all values but
    /// long strings.
    ///
    /// # Errors
    /// `Exhausted` if the distinct values take too much memory.
    pub(crate) fn add_payload(&mut self, keys: Vec<Vec<u8>>, has_value: bool, counted: bool) -> Result<(), Error> {
        self.points += u64::from(has_value && !counted);
        for key in keys {
            if counted && !is_long(&key) {
                continue;
            }
            let bytes = key.len() + VALUE_BYTES;
            let count = self.read.entry(key).or_insert_with(|| {
                self.read_bytes += bytes;
                0
            });
            *count += 1;
            if self.read_bytes > MAX_FACET_BYTES {
                return Err(Error::Exhausted(format!(
                    "field: its distinct values that no index holds (strings above {} bytes, and fields beyond the \
                     limits of an index) take more than {} MiB; choose another field, or count fewer points by a filter",
                    super::index::MAX_KEY_BYTES,
                    MAX_FACET_BYTES >> 20
                )));
            }
        }
        Ok(())
    }

    /// Returns the counts of the `limit` most frequent values.
    ///
    /// # Errors
    /// `Abandoned`.
    pub(crate) fn finish(self, limit: usize) -> Result<Facet, Error> {
        let stop = CancellationToken::current();
        let read = self.read.iter().map(|(key, count)| (key.as_slice(), *count));
        let mut streams: Vec<Counts<'_>> = vec![Box::new(read)];
        for values in &self.indexed {
            stop.check()?;
            streams.push(Box::new(values.counts()));
        }
        // Merges the streams, each in order, so that the counts of one value arrive together.
        let mut heads: BinaryHeap<Reverse<(&[u8], usize, u64)>> = BinaryHeap::new();
        let mut advance = |stream: usize, heads: &mut BinaryHeap<_>| {
            if let Some((key, count)) = streams[stream].next() {
                heads.push(Reverse((key, stream, count)));
            }
        };
        (0..=self.indexed.len()).for_each(|stream| advance(stream, &mut heads));
        // The worst of the most frequent values is on top.
        let mut top: BinaryHeap<Reverse<Ranked<'_>>> = BinaryHeap::new();
        let mut distinct = 0_usize;
        while let Some(Reverse((key, stream, mut count))) = heads.pop() {
            advance(stream, &mut heads);
            while let Some(Reverse((next, stream, more))) = heads.peek().copied()
                && next == key
            {
                heads.pop();
                advance(stream, &mut heads);
                count += more;
            }
            distinct += 1;
            if distinct.is_multiple_of(STEP) {
                stop.check()?;
            }
            if top.len() < limit || top.peek().is_some_and(|Reverse((least, _))| *least < count) {
                top.push(Reverse((count, Reverse(key))));
                if top.len() > limit {
                    top.pop();
                }
            }
        }
        let values = top
            .into_sorted_vec()
            .into_iter()
            .filter_map(|Reverse((count, Reverse(key)))| scalar_of(key).map(|value| ValueCount { value, count }));
        Ok(Facet { values: values.collect(), distinct: distinct as u64, points: self.points })
    }
}

/// Whether this is the key of a string that no index holds.
fn is_long(key: &[u8]) -> bool {
    key.first() == Some(&STRING) && key.len() > 1 + super::index::MAX_KEY_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::builder::{BUDGET, Builder};
    use super::*;
    use crate::disk::FileBytes;
    use serde_json::json;

    fn payloads() -> Vec<Payload> {
        let long = "z".repeat(300);
        [
            json!({"kind": "a", "n": 1, "tags": ["x", "y", "x"]}),
            json!({"kind": "b", "n": 1.0, "tags": []}),
            json!({"kind": "b", "n": true, "tags": [3, long]}),
            json!({"kind": {"of": 1}, "n": null}),
            json!({"kind": "c", "n": -5, "tags": [long, "x"]}),
        ]
        .into_iter()
        .map(|value| value.as_object().unwrap().clone())
        .collect()
    }

    fn index(payloads: &[Payload], budget: usize) -> PayloadIndex {
        let mut builder = Builder::new(budget);
        payloads.iter().enumerate().for_each(|(row, payload)| builder.add(row as u32, payload));
        let rows = payloads.len() as u32;
        PayloadIndex::open(FileBytes::Memory(builder.finish(0, rows)), 0, rows).unwrap()
    }

    fn facet(field: &str, rows: u64, limit: usize, budget: usize) -> Facet {
        let (payloads, mut counter) = (payloads(), FacetCounter::default());
        let index = index(&payloads, budget);
        let read = |counter: &mut FacetCounter<'_>, row: u32, counted: bool| {
            let (keys, has_value) = keys_in(&payloads[row as usize], field);
            counter.add_payload(keys, has_value, counted).unwrap();
        };
        match Source::of(&index, field, RowSet::new(vec![rows])) {
            Source::Index(values, long) => {
                counter.add_index(values);
                long.into_iter().for_each(|row| read(&mut counter, row, true));
            }
            Source::Payloads(rows) => rows.rows().for_each(|row| read(&mut counter, row.0, false)),
            Source::Nothing => {}
        }
        counter.finish(limit).unwrap()
    }

    fn counts(facet: &Facet) -> Vec<(Scalar, u64)> {
        facet.values.iter().map(|value| (value.value.clone(), value.count)).collect()
    }

    #[test]
    fn an_index_and_the_payloads_give_the_same_counts() {
        for budget in [BUDGET, 0] {
            let kinds = facet("kind", 0b11111, 10, budget);
            assert_eq!(counts(&kinds), [("b".into(), 2), ("a".into(), 1), ("c".into(), 1)]);
            assert_eq!((kinds.distinct, kinds.points), (3, 5), "an object is a value that is not listed");
            let tags = facet("tags", 0b11111, 10, budget);
            let long = Scalar::from("z".repeat(300));
            let all = [("x".into(), 2), (long, 2), (3_i64.into(), 1), ("y".into(), 1)];
            assert_eq!(counts(&tags), all, "a point counts once per value, long strings are exact");
            assert_eq!((tags.distinct, tags.points), (4, 3));
            let numbers = facet("n", 0b11111, 2, budget);
            assert_eq!(counts(&numbers), [(1_i64.into(), 2), (true.into(), 1)], "ties in value order");
            assert_eq!((numbers.distinct, numbers.points), (3, 4));
            assert_eq!(counts(&facet("n", 0b10000, 2, budget)), [((-5_i64).into(), 1)]);
            assert_eq!(facet("nothing", 0b11111, 10, budget), Facet::default());
        }
    }

    #[test]
    fn too_many_values_without_an_index_are_refused() {
        let mut counter = FacetCounter::default();
        let value = |number: u32| key_of(&Scalar::from(format!("{number}{}", "z".repeat(1_000_000))));
        let added: Result<Vec<()>, Error> =
            (0..100).map(|number| counter.add_payload(vec![value(number)], true, false)).collect();
        assert!(matches!(added, Err(Error::Exhausted(why)) if why.contains("64 MiB") && why.contains("filter")));
    }

    #[test]
    fn rows_are_visited_once_in_the_order_of_their_first_value() {
        let payloads = payloads();
        let index = index(&payloads, BUDGET);
        let visited = |field: &str, descending: bool| {
            let Source::Index(values, long) = Source::of(&index, field, RowSet::new(vec![0b11111])) else {
                panic!("not indexed")
            };
            let mut rows = Vec::new();
            let mut visit = |_: &SortKey, row: u32| {
                rows.push(row);
                Ok(())
            };
            values.each_in_order(descending, &long, &mut |_| Wanted::Visit, &mut visit).unwrap();
            for row in 0..5 {
                let key = sort_key(&payloads[row as usize], field, descending);
                assert_eq!(key.is_some(), rows.contains(&row) || long.contains(&row), "{field} of row {row}");
            }
            rows
        };
        assert_eq!(visited("n", false), [2, 4, 0, 1]);
        assert_eq!(visited("n", true), [0, 1, 4, 2]);
        assert_eq!(visited("tags", false), [0], "rows with a long string are read from their payloads");
        assert_eq!(visited("kind", true), [4, 1, 2, 0]);
    }
}
