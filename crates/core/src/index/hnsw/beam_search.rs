//! Search of one level: greedy for the upper levels, best-first with `ef` candidates for the rest (Algorithm 2 of
//! Malkov & Yashunin).
//!
//! Candidates and results share one sorted array: with a few hundred entries, moving memory is cheaper than two heaps.
//! An entry is one integer, so that comparisons and moves are single instructions:
//!
//! ```text
//! | key: 32 | node: 30 | rejected: 1 | expanded: 1 |
//! ```
//!
//! Rejected nodes (deleted rows, a filter) are traversed but do not count towards `ef`: the array keeps the `ef`
//! nearest accepted nodes and every rejected node that is nearer than the last of them.

use super::scorer::Scorer;

const EXPANDED: u64 = 1;
const REJECTED: u64 = 2;
/// Nodes expanded together: the neighbours of one are scored while those of the others are prefetched.
const EXPANDED_TOGETHER: usize = 2;
/// Longest array with insertion by shifting from the end; a longer array uses binary search.
const SHIFTED: usize = 48;

/// The links of one level.
pub(super) trait Links {
    /// Number of nodes.
    fn nodes(&self) -> usize;
    /// Visits the links of a node. The visitor returns false at the first invalid link, which ends the visit.
    fn visit(&self, node: u32, visitor: impl FnMut(u32) -> bool);
    /// Prefetches a node's links.
    fn prefetch(&self, node: u32);
}

/// Per-thread state of searches, reused from search to search.
#[derive(Default)]
pub(super) struct Scratch {
    /// Visited marks, one bit per node: a search accesses thousands of them in random order.
    bits: Vec<u64>,
    /// The nodes whose bits are set.
    seen: Vec<u32>,
    /// Unvisited neighbours whose memory is prefetched: to be scored next.
    coming: Vec<u32>,
    /// Neighbours that are scored now, and their keys.
    ready: Vec<u32>,
    keys: Vec<u32>,
    pool: Vec<u64>,
    /// Expanded nodes in order, if a trace was requested.
    pub(super) path: Option<Vec<u32>>,
}

/// Cost of a search, and whether it was abandoned.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walked {
    /// Distances computed.
    pub(super) scored: u64,
    /// True if the search exceeded `max_scored`, because of too many rejected nodes.
    pub(super) exhausted: bool,
}

impl Scratch {
    fn begin(&mut self, nodes: usize) {
        for node in self.seen.drain(..) {
            self.bits[node as usize / 64] = 0;
        }
        if self.bits.len() * 64 < nodes {
            self.bits.resize(nodes.div_ceil(64), 0);
        }
        self.coming.clear();
        self.ready.clear();
        self.pool.clear();
    }

    /// Sets candidates that were not found by a graph search: `(key, node)`, nearest first.
    pub(super) fn set_accepted(&mut self, nodes: impl Iterator<Item = (u32, u32)>) {
        self.begin(0);
        self.pool.extend(nodes.map(|(key, node)| entry(key, node, true)));
    }

    /// Returns the accepted nodes of the last search with their keys, nearest first.
    pub(super) fn accepted(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.pool.iter().filter(|&&entry| entry & REJECTED == 0).map(|&entry| (key(entry), node(entry)))
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
fn key(entry: u64) -> u32 {
    (entry >> 32) as u32
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
fn node(entry: u64) -> u32 {
    entry as u32 >> 2
}

/// Moves from node to nearer node until there is none; returns the last node and the number of distances computed.
pub(super) fn greedy(links: &impl Links, scorer: &impl Scorer, scratch: &mut Scratch, start: u32) -> (u32, u64) {
    let nodes = links.nodes();
    let Scratch { ready, keys, .. } = scratch;
    let (mut best, mut best_key, mut scored) = (start, scorer.key(start), 1);
    loop {
        let from = best;
        ready.clear();
        links.visit(from, |next| {
            if next as usize >= nodes {
                return false;
            }
            scorer.prefetch(next);
            ready.push(next);
            true
        });
        keys.resize(ready.len(), 0);
        scorer.keys(ready, keys);
        scored += ready.len() as u64;
        for (&next, &key) in ready.iter().zip(keys.iter()) {
            if key < best_key {
                (best, best_key) = (next, key);
            }
        }
        if best == from {
            return (best, scored);
        }
    }
}

/// Limits of a search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beam {
    /// Number of nearest accepted nodes to keep.
    pub(super) ef: usize,
    /// Number of nearest accepted nodes to expand; rejected nodes between them are expanded too.
    pub(super) expand: usize,
    /// Number of nodes to keep and expand although they lie beyond the bound.
    pub(super) min_kept: usize,
    /// Greatest useful key.
    pub(super) bound: u32,
    /// Distances after which the search is abandoned because of too many rejected nodes.
    pub(super) max_scored: u64,
}

impl Beam {
    /// Returns limits that keep and expand `ef` nodes, without a bound.
    pub(super) fn of(ef: usize) -> Self {
        Self { ef, expand: ef, min_kept: ef, bound: u32::MAX, max_scored: u64::MAX }
    }

    /// Returns whether a key is beyond the bound and not among the `min_kept` nearest either. (A search approaches the
    /// query from beyond the bound: the nearest nodes are kept, wherever they are.)
    #[inline(always)]
    fn is_beyond(&self, pool: &[u64], found: u32) -> bool {
        found > self.bound && pool.get(self.min_kept.saturating_sub(1)).is_some_and(|&last| found >= key(last))
    }

    /// Returns whether there is an entry at the cursor that is worth expanding.
    #[inline(always)]
    fn can_expand(&self, pool: &[u64], cursor: usize, accepted: usize) -> bool {
        let limit = self.expand + (pool.len() - accepted);
        cursor < limit && pool.get(cursor).is_some_and(|&entry| cursor < self.min_kept || key(entry) <= self.bound)
    }
}

/// Finds the accepted nodes nearest to the scorer's query, starting at `start`; the result is in the scratch.
///
/// Memory has a high latency but serves many requests concurrently: the neighbours of the next nodes are prefetched
/// before those of the last are scored. A node may therefore be expanded that a nearer one would have displaced; that
/// costs less than waiting.
///
/// Rejected nodes are scored and traversed. (The two-hop search of ACORN-1, Patel et al. 2024, which jumps over them to
/// their accepted neighbours, was measured: it reads their links instead of their codes, which costs more.)
pub(super) fn beam_search(
    links: &impl Links,
    scorer: &impl Scorer,
    scratch: &mut Scratch,
    start: u32,
    beam: Beam,
    accept: impl Fn(u32) -> bool,
) -> Walked {
    let nodes = links.nodes();
    scratch.begin(nodes);
    let Scratch { bits, seen, coming, ready, keys, pool, path } = scratch;
    let mut walked = Walked::default();
    if start as usize >= nodes || beam.ef == 0 {
        return walked;
    }
    let ok = accept(start);
    pool.push(entry(scorer.key(start), start, ok));
    bits[start as usize / 64] |= 1 << (start % 64);
    seen.push(start);
    walked.scored = 1;
    let mut accepted = usize::from(ok);
    let mut cursor = 0;
    loop {
        coming.clear();
        let mut expanded = 0;
        while beam.can_expand(pool, cursor, accepted) && expanded < EXPANDED_TOGETHER {
            let current = node(pool[cursor]);
            pool[cursor] |= EXPANDED;
            expanded += 1;
            if let Some(path) = path {
                path.push(current);
            }
            gather(links, current, bits, coming);
            cursor = next_unexpanded(pool, cursor + 1);
        }
        for &next in coming.iter() {
            scorer.prefetch(next);
        }
        seen.extend_from_slice(coming);
        keys.resize(ready.len(), 0);
        scorer.keys(ready, keys);
        walked.scored += ready.len() as u64;
        if walked.scored > beam.max_scored {
            walked.exhausted = true;
            return walked;
        }
        for (&next, &found) in ready.iter().zip(keys.iter()) {
            let full = accepted >= beam.ef && pool.last().is_some_and(|&last| found >= key(last));
            if full || beam.is_beyond(pool, found) {
                continue;
            }
            let ok = accept(next);
            cursor = cursor.min(insert(pool, entry(found, next, ok)));
            // It will probably be expanded.
            links.prefetch(next);
            if ok {
                accepted += 1;
                // Keep `ef` accepted nodes; the last of them ends the array.
                let rejected_last = |pool: &[u64]| pool.last().is_some_and(|last| last & REJECTED != 0);
                while accepted > beam.ef || (accepted == beam.ef && rejected_last(pool)) {
                    match pool.pop() {
                        Some(last) => accepted -= usize::from(last & REJECTED == 0),
                        None => break,
                    }
                }
            }
        }
        cursor = next_unexpanded(pool, cursor);
        std::mem::swap(ready, coming);
        if ready.is_empty() && !beam.can_expand(pool, cursor, accepted) {
            return walked;
        }
    }
}

#[inline(always)]
fn entry(key: u32, node: u32, accepted: bool) -> u64 {
    u64::from(key) << 32 | u64::from(node) << 2 | if accepted { 0 } else { REJECTED }
}

/// Appends the unvisited neighbours of a node to `coming`, and marks them as visited.
#[inline(always)]
fn gather(links: &impl Links, node: u32, bits: &mut [u64], coming: &mut Vec<u32>) {
    let nodes = links.nodes();
    let mut count = coming.len();
    links.visit(node, |next| {
        if next as usize >= nodes {
            return false;
        }
        if count >= coming.len() {
            coming.resize(count + 64, 0);
        }
        // Branch prediction cannot predict whether a node is new: always write, advance only if it is.
        let (word, bit) = (&mut bits[next as usize / 64], 1 << (next % 64));
        coming[count] = next;
        count += usize::from(*word & bit == 0);
        *word |= bit;
        true
    });
    coming.truncate(count);
}

/// Inserts an entry into the sorted array; returns its position.
#[inline(always)]
fn insert(pool: &mut Vec<u64>, new: u64) -> usize {
    if pool.len() > SHIFTED {
        let slot = pool.partition_point(|&old| old < new);
        pool.insert(slot, new);
        return slot;
    }
    let mut slot = pool.len();
    pool.push(new);
    while slot > 0 && pool[slot - 1] > new {
        pool[slot] = pool[slot - 1];
        slot -= 1;
    }
    pool[slot] = new;
    slot
}

#[inline(always)]
fn next_unexpanded(pool: &[u64], from: usize) -> usize {
    let mut at = from;
    while at < pool.len() && pool[at] & EXPANDED != 0 {
        at += 1;
    }
    at
}
