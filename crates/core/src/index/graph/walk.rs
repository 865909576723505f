//! The search of one level: greedy for the upper levels, best first with `ef` candidates for the rest (Algorithm 2 of
//! Malkov & Yashunin).
//!
//! Candidates and results share one sorted array: for the few hundred entries that there are, moving memory is cheaper
//! than two heaps. An entry is one number, so that comparing and moving are single instructions:
//!
//! ```text
//! | key: 32 | node: 30 | rejected: 1 | expanded: 1 |
//! ```
//!
//! Rejected nodes (deleted rows, a filter) are walked through but do not count towards `ef`: the array keeps the `ef`
//! nearest accepted nodes and every rejected one that is nearer than the last of them.

use super::score::Scorer;

const EXPANDED: u64 = 1;
const REJECTED: u64 = 2;
/// Nodes expanded at once: while one's neighbours are scored, the memory of the others' is on its way.
const EXPANDED_AT_ONCE: usize = 2;
/// Entries up to which a new one is shifted into its place from the end; beyond, its place is looked up first.
const SHIFTED: usize = 48;

/// The links of one level.
pub(super) trait Links {
    /// How many nodes there are.
    fn nodes(&self) -> usize;
    /// Visits the links of a node. The visitor returns false at the first that leads nowhere, which ends the visit.
    fn visit(&self, node: u32, visitor: impl FnMut(u32) -> bool);
    /// Asks for the memory of a node's links.
    fn prefetch(&self, node: u32);
}

/// What a thread needs to walk, kept from walk to walk.
#[derive(Default)]
pub(super) struct Scratch {
    /// One bit a node: seen in this walk. A bit, because a walk asks for thousands of them in no order.
    bits: Vec<u64>,
    /// The nodes whose bits are set.
    seen: Vec<u32>,
    /// Neighbours not seen before, whose memory was asked for: to be scored next.
    coming: Vec<u32>,
    /// Those that are scored now, and their keys.
    ready: Vec<u32>,
    keys: Vec<u32>,
    pool: Vec<u64>,
    /// The expanded nodes in order, where somebody wants to know.
    pub(super) path: Option<Vec<u32>>,
}

/// What a walk cost, and whether it gave up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walked {
    /// Distances computed.
    pub(super) scored: u64,
    /// True if too many rejected nodes were in the way.
    pub(super) gave_up: bool,
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

    /// Makes candidates of nodes that were found otherwise than by a walk: `(key, node)`, nearest first.
    pub(super) fn set_accepted(&mut self, nodes: impl Iterator<Item = (u32, u32)>) {
        self.begin(0);
        self.pool.extend(nodes.map(|(key, node)| entry(key, node, true)));
    }

    /// The accepted nodes of the last walk with their keys, nearest first.
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

/// Goes from node to nearer node until there is none; returns it and the distances computed.
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

/// What a walk keeps, and when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beam {
    /// Accepted nodes that are kept: the nearest ones.
    pub(super) ef: usize,
    /// So many of them are expanded, the nearest ones; those between them that are not accepted are, too.
    pub(super) expand: usize,
    /// So many of them are kept and expanded although they lie beyond the bound.
    pub(super) least: usize,
    /// Nodes of a greater key are of no use.
    pub(super) bound: u32,
    /// Distances computed before the walk gives up: too many rejected nodes are in its way.
    pub(super) max_scored: u64,
}

impl Beam {
    /// Keeps `ef` nodes, expands all of them, knows no bound.
    pub(super) fn of(ef: usize) -> Self {
        Self { ef, expand: ef, least: ef, bound: u32::MAX, max_scored: u64::MAX }
    }

    /// Whether a key is beyond the bound and not even among those that are kept all the same. (On its way to the query a
    /// walk comes from beyond: the nearest are kept, wherever they are.)
    #[inline(always)]
    fn is_beyond(&self, pool: &[u64], found: u32) -> bool {
        found > self.bound && pool.get(self.least.saturating_sub(1)).is_some_and(|&last| found >= key(last))
    }

    /// Whether there is an entry at the cursor, and it is worth expanding.
    #[inline(always)]
    fn wants(&self, pool: &[u64], cursor: usize, accepted: usize) -> bool {
        let most = self.expand + (pool.len() - accepted);
        cursor < most && pool.get(cursor).is_some_and(|&entry| cursor < self.least || key(entry) <= self.bound)
    }
}

/// Finds the accepted nodes nearest to the scorer's query, starting at `start`; they are in the scratch afterwards.
///
/// Memory answers slowly but many questions at once: the neighbours of the next nodes are asked for before those of
/// the last are scored, so a node may be expanded that a nearer one would have pushed aside; it costs less than waiting.
///
/// Rejected nodes are scored and walked through. (Jumping over them to their accepted neighbours, the two-hop search of
/// ACORN-1, Patel et al. 2024, was measured: it reads their links instead of their codes, which costs more.)
pub(super) fn walk(
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
        while beam.wants(pool, cursor, accepted) && expanded < EXPANDED_AT_ONCE {
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
            walked.gave_up = true;
            return walked;
        }
        for (&next, &found) in ready.iter().zip(keys.iter()) {
            let full = accepted >= beam.ef && pool.last().is_some_and(|&last| found >= key(last));
            if full || beam.is_beyond(pool, found) {
                continue;
            }
            let ok = accept(next);
            cursor = cursor.min(insert(pool, entry(found, next, ok)));
            // It is likely to be expanded.
            links.prefetch(next);
            if ok {
                accepted += 1;
                // Keep `ef` accepted ones, the last of which ends the array.
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
        if ready.is_empty() && !beam.wants(pool, cursor, accepted) {
            return walked;
        }
    }
}

#[inline(always)]
fn entry(key: u32, node: u32, accepted: bool) -> u64 {
    u64::from(key) << 32 | u64::from(node) << 2 | if accepted { 0 } else { REJECTED }
}

/// Appends the neighbours of a node that were not seen before to `coming`, and marks them.
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
        // Whether a node is new is a coin toss that no branch prediction wins: write always, advance if new.
        let (word, bit) = (&mut bits[next as usize / 64], 1 << (next % 64));
        coming[count] = next;
        count += usize::from(*word & bit == 0);
        *word |= bit;
        true
    });
    coming.truncate(count);
}

/// Inserts an entry into the sorted array; returns its place.
#[inline(always)]
fn insert(pool: &mut Vec<u64>, new: u64) -> usize {
    if pool.len() > SHIFTED {
        let place = pool.partition_point(|&old| old < new);
        pool.insert(place, new);
        return place;
    }
    let mut place = pool.len();
    pool.push(new);
    while place > 0 && pool[place - 1] > new {
        pool[place] = pool[place - 1];
        place -= 1;
    }
    pool[place] = new;
    place
}

#[inline(always)]
fn next_unexpanded(pool: &[u64], from: usize) -> usize {
    let mut at = from;
    while at < pool.len() && pool[at] & EXPANDED != 0 {
        at += 1;
    }
    at
}
