//! Which candidates become links: the heuristic of Algorithm 4 of Malkov & Yashunin, without its extensions.
//!
//! A candidate is kept if it is nearer to the base than to every one that was kept before. Links then spread in all
//! directions, instead of all leading into the nearest cluster.

use super::score::code_distance;
use crate::index::quantize;

/// The code rows that links lead to.
#[derive(Clone, Copy)]
pub(super) struct Codes<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) stride: usize,
    pub(super) width: usize,
    pub(super) compared: usize,
    pub(super) dot: fn(&[u8], &[i8]) -> i32,
}

impl<'a> Codes<'a> {
    #[inline(always)]
    pub(super) fn row(&self, row: u32) -> &'a [u8] {
        let start = row as usize * self.stride;
        &self.bytes[start..start + self.stride]
    }

    /// Writes a row as a query (code - 128, zeros after) and returns the sum of its squared codes.
    #[allow(clippy::cast_possible_wrap)]
    pub(super) fn as_query(&self, row: u32, out: &mut [i8]) -> u32 {
        let mut norm = 0_u32;
        for (to, &code) in out.iter_mut().zip(&self.row(row)[..self.width]) {
            *to = (code ^ 0x80) as i8;
            norm = norm.wrapping_add(u32::from(code) * u32::from(code));
        }
        out[self.width..].fill(0);
        norm
    }
}

/// The rows kept so far, as queries.
pub(super) struct Selector {
    queries: Vec<i8>,
    norms: Vec<u32>,
}

impl Selector {
    pub(super) fn new(codes: &Codes<'_>, most: usize) -> Self {
        Self { queries: vec![0; most * codes.compared], norms: Vec::with_capacity(most) }
    }

    /// Keeps at most `limit` of the candidates `(key, node)`, which come nearest first, in `out`. `row_of` names the row
    /// of a node.
    pub(super) fn select(
        &mut self,
        codes: &Codes<'_>,
        candidates: impl Iterator<Item = (u32, u32)>,
        row_of: impl Fn(u32) -> u32,
        limit: usize,
        out: &mut Vec<(u32, u32)>,
    ) {
        out.clear();
        self.norms.clear();
        for (key, node) in candidates {
            if out.len() >= limit {
                return;
            }
            let row = row_of(node);
            let bytes = codes.row(row);
            let (term, compared) = (quantize::norm_term(bytes), &bytes[..codes.compared]);
            let hidden = self
                .queries
                .chunks_exact(codes.compared)
                .zip(&self.norms)
                .any(|(query, &norm)| code_distance(term, norm, (codes.dot)(compared, query)) < key);
            if !hidden {
                let start = self.norms.len() * codes.compared;
                self.norms.push(codes.as_query(row, &mut self.queries[start..start + codes.compared]));
                out.push((key, node));
            }
        }
    }
}
