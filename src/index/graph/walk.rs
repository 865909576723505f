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
/// Nodes whose memory is asked for before the first is scored.
const AHEAD: usize = 6;

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
    /// `stamps[node] == epoch`: seen in this walk.
    stamps: Vec<u16>,
    epoch: u16,
    fresh: Vec<u32>,
    pool: Vec<u64>,
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
        if self.stamps.len() < nodes {
            self.stamps.resize(nodes, self.epoch);
        }
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.stamps.fill(0);
            self.epoch = 1;
        }
        self.pool.clear();
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
pub(super) fn greedy(links: &impl Links, scorer: &impl Scorer, start: u32) -> (u32, u64) {
    let nodes = links.nodes();
    let (mut best, mut best_key, mut scored) = (start, scorer.key(start), 1);
    loop {
        let from = best;
        links.visit(from, |next| {
            if next as usize >= nodes {
                return false;
            }
            scorer.prefetch(next);
            true
        });
        links.visit(from, |next| {
            if next as usize >= nodes {
                return false;
            }
            let key = scorer.key(next);
            scored += 1;
            if key < best_key {
                (best, best_key) = (next, key);
            }
            true
        });
        if best == from {
            return (best, scored);
        }
    }
}

/// Finds the `ef` accepted nodes nearest to the scorer's query, starting at `start`; they are in the scratch
/// afterwards. Gives up once more than `max_rejected` rejected nodes are in the way.
pub(super) fn walk(
    links: &impl Links,
    scorer: &impl Scorer,
    scratch: &mut Scratch,
    start: u32,
    ef: usize,
    max_rejected: usize,
    accept: impl Fn(u32) -> bool,
) -> Walked {
    let nodes = links.nodes();
    scratch.begin(nodes);
    let Scratch { stamps, epoch, fresh, pool } = scratch;
    let epoch = *epoch;
    let mut walked = Walked::default();
    if start as usize >= nodes || ef == 0 {
        return walked;
    }
    stamps[start as usize] = epoch;
    let entry =
        |key: u32, node: u32, ok: bool| u64::from(key) << 32 | u64::from(node) << 2 | if ok { 0 } else { REJECTED };
    let ok = accept(start);
    pool.push(entry(scorer.key(start), start, ok));
    walked.scored = 1;
    let mut accepted = usize::from(ok);
    let mut cursor = 0;
    while cursor < pool.len() {
        let current = node(pool[cursor]);
        pool[cursor] |= EXPANDED;
        fresh.clear();
        links.visit(current, |next| {
            let Some(stamp) = stamps.get_mut(next as usize).filter(|_| (next as usize) < nodes) else { return false };
            if *stamp != epoch {
                *stamp = epoch;
                fresh.push(next);
            }
            true
        });
        for &next in fresh.iter().take(AHEAD) {
            scorer.prefetch(next);
        }
        cursor = next_unexpanded(pool, cursor + 1);
        if let Some(&likely) = pool.get(cursor) {
            links.prefetch(node(likely));
        }
        walked.scored += fresh.len() as u64;
        for at in 0..fresh.len() {
            if let Some(&ahead) = fresh.get(at + AHEAD) {
                scorer.prefetch(ahead);
            }
            let found = scorer.key(fresh[at]);
            if accepted >= ef && pool.last().is_some_and(|&last| found >= key(last)) {
                continue;
            }
            let ok = accept(fresh[at]);
            let new = entry(found, fresh[at], ok);
            let place = pool.partition_point(|&old| old < new);
            pool.insert(place, new);
            cursor = cursor.min(place);
            if ok {
                accepted += 1;
                // Keep `ef` accepted ones, the last of which ends the array.
                while accepted > ef || (accepted == ef && pool.last().is_some_and(|last| last & REJECTED != 0)) {
                    match pool.pop() {
                        Some(last) => accepted -= usize::from(last & REJECTED == 0),
                        None => break,
                    }
                }
            } else if pool.len() - accepted > max_rejected {
                walked.gave_up = true;
                return walked;
            }
        }
        cursor = next_unexpanded(pool, cursor);
    }
    walked
}

#[inline(always)]
fn next_unexpanded(pool: &[u64], from: usize) -> usize {
    let mut at = from;
    while at < pool.len() && pool[at] & EXPANDED != 0 {
        at += 1;
    }
    at
}
