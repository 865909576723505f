//! The self-test of a snapshot: queries with exact answers, repeated and compared after a restore.

use crate::api::{Error, SearchParams};
use crate::collection::resolve::{Resolved, ResolvedQuery};
use crate::collection::state::Collection;
use crate::collection::view::View;
use crate::payload::Selections;
use crate::segment::search_budget::SearchBudget;
use crate::types::Ordinal;
use serde::{Deserialize, Serialize};

/// Queries: evenly spaced stored points.
const QUERIES: u64 = 50;
/// Neighbours per query.
const K: u32 = 10;
/// Tolerance of distances, relative to max(1, distance): another CPU adds in another order.
const TOLERANCE: f32 = 1e-4;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SelfTest {
    queries: Vec<TestQuery>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TestQuery {
    /// Bits of the f32 components.
    vector: Vec<u32>,
    /// Id, and bits of the distance.
    answer: Vec<(String, u32)>,
}

fn search(collection: &Collection, view: &View, vector: Vec<f32>) -> Result<Vec<(String, u32)>, Error> {
    let params = SearchParams::new(K).exact();
    let query = ResolvedQuery::Vector(Resolved { vector, exclude: Vec::new() });
    let answer = collection.answer(view, &query, &params, SearchBudget::Exact, &Selections::default())?;
    Ok(answer.hits.into_iter().map(|hit| (hit.point.id.to_string(), hit.distance.to_bits())).collect())
}

/// Returns vectors of live points, evenly spaced over the rows.
fn sample(view: &View, dimension: usize) -> Vec<Vec<f32>> {
    let step = view.live().div_ceil(QUERIES).max(1) as usize;
    let sealed = view.sealed.iter().flat_map(|sealed| {
        let searched = |row: &Ordinal| sealed.has_vectors() && sealed.is_live(*row);
        let live = (0..sealed.segment.rows()).map(Ordinal).filter(searched);
        live.map(move |row| sealed.segment.vector(row))
    });
    let mut vectors: Vec<Vec<f32>> = sealed.step_by(step).map(|vector| vector.into_owned()).collect();
    let table = view.growing.read();
    let live = (0..table.rows()).filter(|&row| table.is_searched(row) && dimension > 0);
    vectors.extend(live.step_by(step).map(|row| table.vector(row, dimension).to_vec()));
    vectors
}

impl SelfTest {
    /// Runs the queries on an immutable view.
    pub(crate) fn create(collection: &Collection, view: &View) -> Result<Self, Error> {
        let mut queries = Vec::new();
        for vector in sample(view, collection.dimension as usize) {
            let bits = vector.iter().map(|component| component.to_bits()).collect();
            queries.push(TestQuery { vector: bits, answer: search(collection, view, vector)? });
        }
        Ok(Self { queries })
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and text have a JSON form")
    }

    pub(crate) fn from_json(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| format!("the self-test: {error}"))
    }

    /// Runs the queries on a restored collection. The error names a query with a different answer.
    pub(crate) fn pass(&self, collection: &Collection) -> Result<(), String> {
        let view = collection.view();
        for (number, query) in self.queries.iter().enumerate() {
            let vector: Vec<f32> = query.vector.iter().map(|bits| f32::from_bits(*bits)).collect();
            if vector.len() != collection.dimension as usize {
                return Err(format!("query {number} of the self-test has {} components", vector.len()));
            }
            let found = search(collection, &view, vector).map_err(|error| error.to_string())?;
            if !alike(&query.answer, &found) {
                return Err(format!(
                    "query {number} of the self-test returns {:?}; the snapshot expects {:?}",
                    found.first(),
                    query.answer.first()
                ));
            }
        }
        Ok(())
    }
}

/// Whether distances are equal rank by rank, and ids too except where distances tie.
fn alike(expected: &[(String, u32)], found: &[(String, u32)]) -> bool {
    let near = |a: u32, b: u32| {
        let (a, b) = (f32::from_bits(a), f32::from_bits(b));
        a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0)
    };
    let last = expected.last().map_or(0, |(_, distance)| *distance);
    expected.len() == found.len()
        && expected.iter().zip(found).all(|((id, distance), (other, other_distance))| {
            let tied = |(name, at): &(String, u32)| name == other && near(*at, *other_distance);
            near(*distance, *other_distance)
                && (id == other || expected.iter().any(tied) || near(last, *other_distance))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_differ_by_a_point_or_a_distance_but_not_by_the_order_of_ties() {
        let list = |answers: &[(&str, f32)]| -> Vec<(String, u32)> {
            answers.iter().map(|(id, distance)| ((*id).to_owned(), distance.to_bits())).collect()
        };
        let expected = list(&[("a", 0.0), ("b", 1.0), ("c", 1.0), ("d", 2.0)]);
        assert!(alike(&expected, &expected));
        assert!(alike(&expected, &list(&[("a", 0.0), ("c", 1.0), ("b", 1.000_01), ("d", 2.0)])));
        assert!(alike(&expected, &list(&[("a", 0.0), ("b", 1.0), ("c", 1.0), ("e", 2.0)])), "one as near as the last");
        for other in [
            &[("a", 0.0), ("b", 1.0), ("c", 1.0)][..],
            &[("x", 0.0), ("b", 1.0), ("c", 1.0), ("d", 2.0)],
            &[("a", 0.0), ("b", 1.0), ("c", 1.1), ("d", 2.0)],
            &[("b", 0.0), ("a", 1.0), ("c", 1.0), ("d", 2.0)],
        ] {
            assert!(!alike(&expected, &list(other)), "{other:?}");
        }
    }
}
