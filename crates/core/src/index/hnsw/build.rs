//! Parallel build of a graph from rows (Algorithm 1 of Malkov & Yashunin).
//!
//! The level of every row is a function of the seed and the row, so all levels and the entry exist before the first
//! insert, and nothing is resized. Links are atomic integers: searches read them without locks, writers hold the lock
//! of the node that they change. An insert first finds the row's links on all its levels, then sets them, then adds the
//! links from other rows, lowest level first, so that every search that finds the row can continue from it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::beam_search::{Beam, Links, Scratch, beam_search, greedy};
use super::code_error_bound;
use super::connectivity::Reach;
use super::duplicates::{self, Duplicates};
use super::layout::{MAX_LEVELS, MAX_ROWS, NONE};
use super::reuse::{Reusable, Reuse};
use super::scorer::{CodeScorer, OnLevel};
use super::select_neighbors::{Codes, Selector};
use super::view::FlatLinks;
use crate::index::quantize::Quantizer;
use crate::index::{Error, GraphParams, Rows};
use crate::math::codes::{CodeQuery, CodeRows};
use crate::types::{MAX_DIMENSION, Metric};
use crate::{disk, math};

/// Rows that a thread claims together.
const CHUNK: usize = 32;
/// Rows that one thread inserts before the others start, so that they have a graph to search.
const SERIAL_INSERTS: usize = 512;
/// Maximum locks per level; nodes share them.
const LOCKS: usize = 1 << 14;
/// Maximum cache lines to prefetch per node.
const LINES_AHEAD: usize = 8;
/// `ef` of the searches during repair.
const REPAIR_EF: usize = 64;

/// One cache line; code rows are aligned to it.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Finished upper level, ready to be written.
#[derive(Debug)]
pub(super) struct UpperLevel {
    pub(super) rows: Vec<u32>,
    pub(super) down: Vec<u32>,
    pub(super) links: Vec<u32>,
}

impl UpperLevel {
    /// Returns the parts of a level in file order.
    pub(super) fn parts(&self) -> [&[u32]; 3] {
        [&self.rows, &self.down, &self.links]
    }
}

/// A graph in memory, to be written with [`write_to`](Self::write_to).
pub struct Built {
    pub(super) params: GraphParams,
    pub(super) quantizer: Quantizer,
    pub(super) rows: u32,
    codes: Vec<Line>,
    pub(super) links: Vec<u32>,
    /// Level 1, 2, ...
    pub(super) upper: Vec<UpperLevel>,
    pub(super) entry: u32,
    pub(super) duplicates: Duplicates,
    /// See `code_error_bound.rs`.
    pub(super) code_error_bound: f32,
    repaired: u32,
    reused: u32,
}

impl std::fmt::Debug for Built {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Built").field("rows", &self.rows).field("repaired", &self.repaired).finish_non_exhaustive()
    }
}

impl Built {
    /// Rows of the graph.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Number of rows whose codes equal those of another row, and which are found through it.
    pub fn duplicates(&self) -> usize {
        self.duplicates.rows.len()
    }

    /// Number of rows that the repair linked because the entry did not reach them.
    pub fn repaired(&self) -> u32 {
        self.repaired
    }

    /// Number of rows whose links come from an older graph.
    pub fn reused(&self) -> u32 {
        self.reused
    }

    pub(super) fn codes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.codes)
    }
}

/// One level during the build.
pub(super) struct Level {
    degree: usize,
    /// The row of each node, ascending; empty on level 0, where a node is a row.
    rows: Vec<u32>,
    /// Node of the level below, for each node.
    down: Vec<u32>,
    links: Vec<AtomicU32>,
    /// Distance key of each link, so that nothing is computed twice.
    keys: Vec<AtomicU32>,
    locks: Vec<Mutex<()>>,
}

fn atomics(count: usize, value: u32) -> Vec<AtomicU32> {
    let mut all = disk::vec_with_capacity(count);
    all.resize_with(count, || AtomicU32::new(value));
    all
}

impl Level {
    fn new(degree: usize, nodes: usize, rows: Vec<u32>, down: Vec<u32>) -> Self {
        let slots = nodes * degree;
        Self {
            degree,
            rows,
            down,
            links: atomics(slots, NONE),
            keys: atomics(slots, 0),
            locks: std::iter::repeat_with(Mutex::default).take(nodes.clamp(1, LOCKS)).collect(),
        }
    }

    /// Maximum links of a node.
    pub(super) fn degree(&self) -> usize {
        self.degree
    }

    fn row_of(&self, node: u32) -> u32 {
        if self.rows.is_empty() { node } else { self.rows[node as usize] }
    }

    /// Prefetches the memory that [`add`](Self::add) changes.
    fn prefetch_for_change(&self, node: u32) {
        let start = node as usize * self.degree;
        math::prefetch_slice(&self.links[start..start + self.degree], LINES_AHEAD);
        math::prefetch_slice(&self.keys[start..start + self.degree], LINES_AHEAD);
    }

    /// Sets the links of a node that no other thread can find yet.
    pub(super) fn set(&self, node: u32, links: &[(u32, u32)]) {
        let start = node as usize * self.degree;
        for (slot, &(key, to)) in links.iter().enumerate() {
            self.keys[start + slot].store(key, Ordering::Relaxed);
            self.links[start + slot].store(to, Ordering::Release);
        }
    }

    /// Adds a link; if the node is full, selects again among the old links and the new one.
    fn add(&self, codes: &Codes<'_>, from: u32, key: u32, to: u32, context: &mut Context) {
        let lock = &self.locks[from as usize % self.locks.len()];
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let start = from as usize * self.degree;
        let slots = start..start + self.degree;
        let (links, keys) = (&self.links[slots.clone()], &self.keys[slots]);
        if let Some(free) = links.iter().position(|link| link.load(Ordering::Relaxed) == NONE) {
            keys[free].store(key, Ordering::Relaxed);
            links[free].store(to, Ordering::Release);
            return;
        }
        let candidates = &mut context.candidates;
        candidates.clear();
        candidates.push((key, to));
        candidates.extend(keys.iter().zip(links).map(|(k, l)| (k.load(Ordering::Relaxed), l.load(Ordering::Relaxed))));
        for &(_, node) in candidates.iter() {
            math::prefetch_slice(codes.row(self.row_of(node)), LINES_AHEAD);
        }
        candidates.sort_unstable();
        let chosen = &mut context.chosen;
        context.selector.select(codes, candidates.iter().copied(), 0, |n| self.row_of(n), self.degree, chosen);
        self.set(from, chosen);
        links[chosen.len()..].iter().for_each(|link| link.store(NONE, Ordering::Release));
    }
}

impl Links for Level {
    fn nodes(&self) -> usize {
        self.links.len() / self.degree
    }

    #[inline(always)]
    fn visit(&self, node: u32, mut visitor: impl FnMut(u32) -> bool) {
        let start = node as usize * self.degree;
        for link in &self.links[start..start + self.degree] {
            if !visitor(link.load(Ordering::Acquire)) {
                return;
            }
        }
    }

    #[inline(always)]
    fn prefetch(&self, node: u32) {
        let start = node as usize * self.degree;
        math::prefetch_slice(&self.links[start..start + self.degree], usize::MAX);
    }
}

/// State of a thread that inserts rows.
struct Context {
    scratch: Scratch,
    selector: Selector,
    query: Vec<i8>,
    candidates: Vec<(u32, u32)>,
    chosen: Vec<(u32, u32)>,
    /// The links of the new row on each of its levels.
    plan: Vec<Vec<(u32, u32)>>,
}

impl Context {
    fn new(codes: &Codes<'_>, m: usize) -> Self {
        Self {
            scratch: Scratch::default(),
            selector: Selector::new(codes, 2 * m),
            query: vec![0; codes.rows.stride],
            candidates: Vec::new(),
            chosen: Vec::new(),
            plan: vec![Vec::new(); MAX_LEVELS + 1],
        }
    }
}

/// Bytes per row during a build, besides codes and links: levels, orders, code hashes, visited marks, flags.
const ROW_BYTES: u64 = 64;

/// Upper bound of the memory of [`build`] beyond the rows, in bytes. Per row: its code row, without reduction; 16 bytes
/// for each of its `m` links, because level 0 has twice as many, each with its key; its share of the upper levels;
/// `ROW_BYTES`; with the links of an older graph, their copy of 8 bytes for each of `m`, and 16 more. Once: the memory
/// of `Quantizer::fit`.
pub fn build_bytes(rows: u64, dimension: usize, metric: Metric, m: u32, with_reuse: bool) -> u64 {
    let width = Quantizer::full_width_of(metric, dimension);
    let m = u64::from(m);
    let upper = (8 * m + 8).div_ceil(m.saturating_sub(1).max(1));
    let reuse = if with_reuse { 8 * m + 16 } else { 0 };
    let row = Quantizer::stride_of(width) as u64 + 16 * m + upper + ROW_BYTES + reuse;
    rows.saturating_mul(row).saturating_add(Quantizer::fit_bytes(rows, width))
}

/// Upper bound of the size of a graph file, in bytes.
pub fn file_bytes(rows: u64, dimension: usize, metric: Metric, m: u32) -> u64 {
    let m = u64::from(m);
    let stride = Quantizer::stride_of(Quantizer::full_width_of(metric, dimension)) as u64;
    let upper = (4 * m + 8).div_ceil(m.saturating_sub(1).max(1));
    rows.saturating_mul(stride + 8 * m + upper + 8)
}

/// Builds the graph of validated rows (finite, with a direction if the metric needs one; other rows do no harm, but are
/// rarely found).
///
/// Rows with links in an older graph keep them (`reuse`); only the other rows search for theirs.
///
/// `progress` receives (rows done, all rows) from any of the threads, and returns false to cancel. With one thread the
/// result depends only on the rows and the parameters. Memory beyond the rows: at most [`build_bytes`].
///
/// # Errors
/// [`Error::Cancelled`]; [`Error::InvalidParams`] naming the limit.
#[allow(clippy::cast_possible_truncation)]
pub fn build(
    rows: Rows<'_>,
    params: GraphParams,
    reuse: Option<Reuse<'_>>,
    progress: &(dyn Fn(u64, u64) -> bool + Sync),
) -> Result<Built, Error> {
    params.check()?;
    let within = |name, got: usize, min: u64, max: u64| {
        if (min..=max).contains(&(got as u64)) {
            Ok(())
        } else {
            Err(Error::InvalidParams { name, min, max, got: got as u64 })
        }
    };
    within("dimension", rows.dimension, 1, MAX_DIMENSION.into())?;
    within("rows", rows.norms.len(), 0, MAX_ROWS.into())?;
    if rows.vectors.len() != rows.norms.len() * rows.dimension {
        let expected = rows.norms.len() * rows.dimension;
        return Err(Error::Dimension { expected, got: rows.vectors.len() });
    }
    let quantizer = Quantizer::fit(rows);
    let stride = quantizer.stride();
    let mut lines = disk::vec_with_capacity(rows.len() * stride / 64);
    lines.resize(rows.len() * stride / 64, Line([0; 64]));
    encode(&quantizer, rows, bytemuck::cast_slice_mut(&mut lines), params.threads);
    let code_rows = CodeRows { bytes: bytemuck::cast_slice(&lines), stride };
    let codes = Codes { rows: code_rows, quantizer: &quantizer, dot: math::kernels().dot_u8_i8 };
    let duplicates = duplicates::find(&codes, rows.len() as u32);

    let mut hidden = vec![false; rows.len()];
    duplicates.rows.iter().for_each(|&row| hidden[row as usize] = true);
    let nodes: Vec<u32> = (0..rows.len() as u32).filter(|&row| !hidden[row as usize]).collect();
    let reusable = reuse.and_then(|reuse| reuse.reusable(params.m, &hidden));
    drop(hidden);
    let mut linked = vec![false; rows.len()];
    reusable.iter().flat_map(Reusable::rows).for_each(|row| linked[row as usize] = true);
    let reused = linked.iter().filter(|&&linked| linked).count() as u32;

    let mut level_of = vec![0_u8; rows.len()];
    nodes.iter().for_each(|&row| level_of[row as usize] = level_by_chance(params.seed, row, params.m));
    let mut entry_row = nodes.iter().copied().max_by_key(|&row| (level_of[row as usize], std::cmp::Reverse(row)));
    // Every search starts at the entry: it must have its links already, or be the first row of all.
    if let Some((entry, first)) = entry_row.zip(reusable.as_ref().and_then(|reusable| reusable.rows().min()))
        && !linked[entry as usize]
    {
        level_of.swap(entry as usize, first as usize);
        entry_row = Some(first);
    }
    let levels = levels(&nodes, rows.len(), &level_of, params.m as usize);
    let entry = entry_row.map_or(0, |row| node_on(&levels[levels.len() - 1], row));
    if let Some(reusable) = &reusable {
        reusable.fill(&levels[0], &codes, params.threads);
    }
    let order: Vec<u32> = nodes.into_iter().filter(|&row| Some(row) != entry_row).collect();
    let (older, newer): (Vec<u32>, Vec<u32>) = order.iter().partition(|&&row| linked[row as usize]);
    let newer = in_rounds(newer, params.seed, params.threads);
    let older: Vec<u32> = older.into_iter().filter(|&row| level_of[row as usize] > 0).collect();
    drop(linked);

    let builder = Builder { codes, levels: &levels, level_of: &level_of, entry, params };
    // Done already: the entry, all duplicates, and level 0 of the older rows.
    let total = rows.len() as u64;
    builder.insert_all(&older, 1, total - (older.len() + newer.len()) as u64, total, progress)?;
    builder.insert_all(&newer, 0, total - newer.len() as u64, total, progress)?;

    let mut flat: Vec<UpperLevel> = Vec::with_capacity(levels.len());
    for level in levels {
        let links = level.links.into_iter().map(AtomicU32::into_inner).collect();
        flat.push(UpperLevel { rows: level.rows, down: level.down, links });
    }
    let mut upper = flat.split_off(1);
    let mut links = flat.pop().map(|level| level.links).unwrap_or_default();
    upper.shrink_to_fit();
    let repaired = match entry_row {
        Some(entry_row) => repair(&codes, &mut links, 2 * params.m as usize, entry_row, &order),
        None => 0,
    };
    let level_zero = FlatLinks { links: &links, degree: 2 * params.m as usize };
    let code_error_bound = code_error_bound::measure(&codes, rows, level_zero, &order);
    let rows = rows.len() as u32;
    Ok(Built {
        params,
        quantizer,
        rows,
        codes: lines,
        links,
        upper,
        entry,
        duplicates,
        code_error_bound,
        repaired,
        reused,
    })
}

/// Encodes all rows with all threads.
fn encode(quantizer: &Quantizer, rows: Rows<'_>, codes: &mut [u8], threads: usize) {
    let stride = quantizer.stride();
    share(codes, stride, threads, |first, out| quantizer.encode_rows(rows, first..first + out.len() / stride, out));
}

/// Divides `all`, which has `each` items per row, among the threads; `work` receives the first row of its part.
pub(super) fn share<T: Send>(all: &mut [T], each: usize, threads: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let rows = (all.len() / each).div_ceil(threads).max(1);
    let work = &work;
    std::thread::scope(|scope| {
        for (part, all) in all.chunks_mut(rows * each).enumerate() {
            scope.spawn(move || work(part * rows, all));
        }
    });
}

/// Returns the insertion order: a random half of the rows in the last round, half of the others in the one before, and
/// so on (Amenta, Choi and Rote 2003, "Incremental constructions con BRIO"). Within a round rows keep their order,
/// which may be by proximity: this improves memory locality, and the rounds before have spread links everywhere.
/// (Without rounds, on rows sorted into clumps of 50 near ones, 1 in 10 neighbours was not found.)
///
/// Threads take chunks that are far apart: rows that are inserted at the same time do not see each other.
fn in_rounds(mut rows: Vec<u32>, seed: u64, threads: usize) -> Vec<u32> {
    // A hash independent of the levels.
    let round = |row: u32| std::cmp::Reverse(hash(!seed, row).leading_zeros());
    rows.sort_by_key(|&row| round(row));
    let mut order = Vec::with_capacity(rows.len());
    for of_round in rows.chunk_by(|&a, &b| round(a) == round(b)) {
        let chunks: Vec<&[u32]> = of_round.chunks(CHUNK).collect();
        let each = chunks.len().div_ceil(threads);
        for at in 0..each {
            chunks.iter().skip(at).step_by(each).for_each(|chunk| order.extend_from_slice(chunk));
        }
    }
    order
}

/// Returns the level of a row: geometric with ratio 1/m, from a hash of seed and row.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn level_by_chance(seed: u64, row: u32, m: u32) -> u8 {
    let uniform = ((hash(seed, row) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    (-uniform.ln() / f64::from(m).ln()).min(MAX_LEVELS as f64) as u8
}

/// splitmix64.
fn hash(seed: u64, row: u32) -> u64 {
    let mut z = seed ^ u64::from(row).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Creates all levels, without links.
#[allow(clippy::cast_possible_truncation)]
fn levels(nodes: &[u32], rows: usize, level_of: &[u8], m: usize) -> Vec<Level> {
    let mut levels = vec![Level::new(2 * m, rows, Vec::new(), Vec::new())];
    let mut below: Vec<u32> = nodes.to_vec();
    for level in 1..=MAX_LEVELS {
        let first = level == 1;
        let (mut on_level, mut down) = (Vec::new(), Vec::new());
        for (node, &row) in below.iter().enumerate() {
            if usize::from(level_of[row as usize]) >= level {
                on_level.push(row);
                down.push(if first { row } else { node as u32 });
            }
        }
        if on_level.is_empty() {
            break;
        }
        below.clone_from(&on_level);
        levels.push(Level::new(m, on_level.len(), on_level, down));
    }
    levels
}

/// Returns the node of a row on this level.
#[allow(clippy::cast_possible_truncation)]
fn node_on(level: &Level, row: u32) -> u32 {
    if level.rows.is_empty() { row } else { level.rows.partition_point(|&r| r < row) as u32 }
}

struct Builder<'a> {
    codes: Codes<'a>,
    levels: &'a [Level],
    level_of: &'a [u8],
    entry: u32,
    params: GraphParams,
}

impl Builder<'_> {
    /// Inserts rows on their levels from `lowest` up; `before` of `total` rows are already done.
    fn insert_all(
        &self,
        order: &[u32],
        lowest: usize,
        before: u64,
        total: u64,
        progress: &(dyn Fn(u64, u64) -> bool + Sync),
    ) -> Result<(), Error> {
        let (next, done, cancelled) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let work = |until: usize| {
            let mut context = Context::new(&self.codes, self.params.m as usize);
            while !cancelled.load(Ordering::Relaxed) {
                let start = next.fetch_add(CHUNK, Ordering::Relaxed);
                let Some(chunk) = order.get(start..order.len().min(start + CHUNK)).filter(|c| !c.is_empty()) else {
                    return;
                };
                chunk.iter().for_each(|&row| self.insert(row, lowest, &mut context));
                let done = done.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
                if !progress(before + done as u64, total) {
                    cancelled.store(true, Ordering::Relaxed);
                }
                if start + CHUNK >= until {
                    return;
                }
            }
        };
        if !progress(before, total) {
            return Err(Error::Cancelled { done: before, total });
        }
        work(SERIAL_INSERTS);
        std::thread::scope(|scope| {
            for _ in 1..self.params.threads {
                scope.spawn(|| work(usize::MAX));
            }
            work(usize::MAX);
        });
        if cancelled.into_inner() {
            return Err(Error::Cancelled { done: before + done.into_inner() as u64, total });
        }
        Ok(())
    }

    fn insert(&self, row: u32, lowest: usize, context: &mut Context) {
        let norm = self.codes.as_query(row, &mut context.query);
        let query = std::mem::take(&mut context.query);
        let scorer = scorer(&self.codes, &query, norm);
        let of_row = usize::from(self.level_of[row as usize]);
        let mut node = self.entry;
        for (number, level) in self.levels.iter().enumerate().skip(1).rev() {
            let scorer = OnLevel { rows: &level.rows, inner: scorer };
            node = if number > of_row {
                greedy(level, &scorer, &mut context.scratch, node).0
            } else {
                self.choose(number, &scorer, node, context)
            };
            node = level.down[node as usize];
        }
        if lowest == 0 {
            self.choose(0, &scorer, node, context);
        }
        context.query = query;

        // The row's node on each of its levels: found on the highest, then followed down.
        let mut nodes = [row; MAX_LEVELS + 1];
        if of_row > 0 {
            nodes[of_row] = node_on(&self.levels[of_row], row);
            for number in (1..of_row).rev() {
                nodes[number] = self.levels[number + 1].down[nodes[number + 1] as usize];
            }
        }
        let plan = std::mem::take(&mut context.plan);
        for number in lowest..=of_row {
            self.levels[number].set(nodes[number], &plan[number]);
        }
        for number in lowest..=of_row {
            plan[number].iter().for_each(|&(_, to)| self.levels[number].prefetch_for_change(to));
            for &(key, to) in &plan[number] {
                self.levels[number].add(&self.codes, to, key, nodes[number], context);
            }
        }
        context.plan = plan;
    }

    /// Selects the links of a row on one level; returns the nearest node.
    fn choose(&self, number: usize, scorer: &impl super::scorer::Scorer, start: u32, context: &mut Context) -> u32 {
        let level = &self.levels[number];
        let ef = self.params.ef_construction as usize;
        beam_search(level, scorer, &mut context.scratch, start, Beam::of(ef), |_| true);
        let nearest = context.scratch.accepted().next().map_or(start, |(_, node)| node);
        let plan = &mut context.plan[number];
        let limit = self.params.m as usize;
        context.selector.select(&self.codes, context.scratch.accepted(), 0, |n| level.row_of(n), limit, plan);
        nearest
    }
}

/// Returns a scorer of rows against a row that is encoded as a query.
pub(super) fn scorer<'a>(codes: &Codes<'a>, query: &'a [i8], norm: u32) -> CodeScorer<'a> {
    CodeScorer { rows: codes.rows, query: CodeQuery { codes: query, norm }, kernels: math::kernels() }
}

/// Links every node that the entry does not reach from reached nodes near it; returns the number of repaired nodes.
fn repair(codes: &Codes<'_>, links: &mut [u32], degree: usize, entry: u32, nodes: &[u32]) -> u32 {
    let lost: Vec<u32> = {
        let reach = Reach::from(links, degree, entry);
        nodes.iter().copied().filter(|&node| !reach.reaches(node)).collect()
    };
    if lost.is_empty() {
        return 0;
    }
    let mut scratch = Scratch::default();
    let mut query = vec![0; codes.rows.stride];
    // Find the near nodes before any link changes.
    let near: Vec<Vec<u32>> = lost
        .iter()
        .map(|&node| {
            let norm = codes.as_query(node, &mut query);
            beam_search(
                &FlatLinks { links, degree },
                &scorer(codes, &query, norm),
                &mut scratch,
                entry,
                Beam::of(REPAIR_EF),
                |_| true,
            );
            scratch.accepted().map(|(_, node)| node).collect()
        })
        .collect();
    let mut reach = Reach::from(links, degree, entry);
    let mut repaired = 0;
    for (&node, near) in lost.iter().zip(near) {
        if !reach.reaches(node) && reach.attach(node, near.into_iter()).is_some() {
            repaired += 1;
        }
    }
    repaired
}
