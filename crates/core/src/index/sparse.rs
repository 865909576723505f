//! Index of sparse vectors: for each window of rows and each dimension, the rows with a non-zero component, in runs of
//! similar components, the largest first; each run has an upper bound of its components, in 8 bits.
//!
//! A query adds up the bounds of a window in an array that fits the cache, as in SINDI (Li et al., "SINDI: an Efficient
//! Index for Approximate Maximum Inner Product Search on Sparse Vectors", 2025, section 3). Here the sums are upper
//! bounds, in 16 bits: the rows with the largest ones are compared exactly, until no bound reaches the k-th score. The
//! result is therefore exact. To leave out the lists with the lowest bounds (MaxScore) saves less than a tenth of the time
//! for learned weights, whose lists are long and whose products are alike.
//!
//! An approximate search leaves out the runs whose products are small: those below a limit, such that the products of a
//! row below the limit are at most a given share of the largest possible score. By how much a row may be underestimated
//! is known, but to allow for it would save nothing; the share that reaches a target recall is measured
//! (`calibration/sparse.rs`).
//!
//! ```text
//! header | windows, each: dimensions u32 | run numbers u32 | scales f32 | run ends u32 | rows u16 | codes u8 | directory
//! ```
//!
//! See docs/FORMAT.md. Only vectors without negative components are indexed: a bound of a product needs its sign.

use super::header::{self, Header};
use crate::disk::{Error as DiskError, FileWriter, Mapping};
use crate::math::TopK;
use crate::types::{Neighbor, Ordinal};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

/// Magic number of the file.
const MAGIC: [u8; 8] = *b"NEARSPRS";
/// Version of the format.
const VERSION: u32 = 2;
/// Length of the header, bytes.
const HEADER: usize = 64;
/// Alignment of windows.
const ALIGNMENT: u64 = 64;
/// Bytes of a window in the directory.
const ENTRY: usize = 28;
/// Maximum rows of a window: rows are stored in 16 bits.
const WINDOW_ROWS: u32 = 1 << 16;
/// Memory of a build per component of a window, bytes: row and value, in lists that may have twice their length reserved.
const BUILD_COMPONENT_BYTES: u64 = 16;
/// Components of a list are of one run if their codes differ in the lowest bits only, this many: 16 runs per list.
const RUN_BITS: u32 = 4;
/// Share of the k-th score that the sum of a row must reach in an approximate search: 1 less this times the share of the
/// scores that is left out. (Of 0.5, 0.7 and 0.9, this needs the least time for a recall of 0.95 and 0.99.)
const ALLOWANCE: f32 = 0.5;
/// Covers the rounding of sums of `f32`.
const SLACK: f32 = 1.000_01;
/// Blocks of rows from which the first candidates are taken, as a multiple of `k`.
const FIRST_ROUND: usize = 4;
/// Growth of that number from round to round.
const ROUND_GROWTH: usize = 4;
/// Rows with a common maximum of their sums.
const BLOCK: usize = 64;
/// Largest sum of the bounds of a row, in units, without what is added for rounding.
const MAX_SUM: f32 = 32_000.0;
/// Largest bound of code 1, with 16 bits after the point: then that of code 255 has 15 bits. A file with scales that are
/// no scales could have a larger one.
const MAX_STEP: u32 = (32_766 << 16) / 255 - 1;
/// Maximum components of a query that is answered by an index. To add up more lists takes as long as to compare all rows.
const MAX_QUERY_COMPONENTS: usize = 4_096;
/// Maximum dimension of a query that is looked up in a table, and not in a map.
const TABLE_DIMENSIONS: u32 = 1 << 16;

/// A sparse query.
pub struct SparseQuery {
    components: Vec<(u32, f32)>,
    /// Components by index, if the indices are small.
    table: Option<Vec<f32>>,
    map: FxHashMap<u32, f32>,
}

impl SparseQuery {
    /// Prepares a query; components of 0 are left out.
    pub fn new(components: impl IntoIterator<Item = (u32, f32)>) -> Self {
        let components: Vec<(u32, f32)> = components.into_iter().filter(|(_, value)| *value != 0.0).collect();
        let dimensions = components.iter().map(|(index, _)| index.saturating_add(1)).max().unwrap_or(0);
        let (mut table, mut map) = (None, FxHashMap::default());
        if dimensions <= TABLE_DIMENSIONS {
            let mut values = vec![0.0; dimensions as usize];
            components.iter().for_each(|(index, value)| values[*index as usize] = *value);
            table = Some(values);
        } else {
            map = components.iter().copied().collect();
        }
        Self { components, table, map }
    }

    /// Returns the number of components other than 0.
    pub fn components(&self) -> usize {
        self.components.len()
    }

    /// Returns the bytes of memory that the query uses.
    pub fn memory_bytes(&self) -> usize {
        let table = self.table.as_ref().map_or(0, |table| size_of_val(table.as_slice()));
        // A map has up to twice as many places as entries, of 9 bytes.
        size_of_val(self.components.as_slice()) + table + self.map.capacity() * 2 * 9
    }

    /// Whether no component is negative: then no score is.
    pub fn is_nonnegative(&self) -> bool {
        self.components.iter().all(|(_, value)| *value >= 0.0)
    }

    /// Whether an index can answer the query.
    pub fn is_indexable(&self) -> bool {
        self.is_nonnegative() && self.components.len() <= MAX_QUERY_COMPONENTS
    }

    /// Returns the component at an index.
    #[inline]
    pub fn at(&self, index: u32) -> f32 {
        match &self.table {
            Some(table) => table.get(index as usize).copied().unwrap_or(0.0),
            None => self.map.get(&index).copied().unwrap_or(0.0),
        }
    }
}

/// Calls back with the components of a vector: index and value.
pub type ForEachComponent<'a> = &'a mut dyn FnMut(u32, f32);

/// Writes an index of `rows` rows, bound to `binding`, with about `build_bytes` of memory: the fewer, the more windows. A
/// window has at least one row. `vector` calls back with the components of a row. Returns false if a
/// component is negative: the file must not be published then.
///
/// # Errors
/// Those of `vector` and of the writer.
pub(crate) fn write<E: From<DiskError>>(
    rows: u32,
    binding: u64,
    build_bytes: u64,
    vector: &mut dyn FnMut(u32, ForEachComponent<'_>) -> Result<(), E>,
    writer: &mut FileWriter,
) -> Result<bool, E> {
    writer.put(&[0; HEADER])?;
    writer.start_section(ALIGNMENT)?;
    let window_components = build_bytes / BUILD_COMPONENT_BYTES;
    let mut directory = Vec::new();
    let mut first = 0;
    let mut lists: FxHashMap<u32, Vec<(u16, f32)>> = FxHashMap::default();
    while first < rows {
        let (mut row, mut components, mut negative) = (first, 0_u64, false);
        while row < rows && row - first < WINDOW_ROWS && (row == first || components < window_components) {
            let local = (row - first) as u16;
            vector(row, &mut |index, value| {
                negative |= value < 0.0;
                if value > 0.0 {
                    components += 1;
                    lists.entry(index).or_default().push((local, value));
                }
            })?;
            row += 1;
        }
        if negative {
            return Ok(false);
        }
        writer.pad_to(ALIGNMENT)?;
        let offset = writer.position();
        let (dimensions, runs) = write_window(&mut lists, writer)?;
        directory.extend_from_slice(&offset.to_le_bytes());
        for number in [first, row - first, dimensions, components as u32, runs] {
            directory.extend_from_slice(&number.to_le_bytes());
        }
        first = row;
    }
    writer.pad_to(ALIGNMENT)?;
    let at = writer.position();
    writer.put(&directory)?;
    let body = writer.section();
    let mut header = [0; HEADER];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &binding.to_le_bytes());
    put(24, &rows.to_le_bytes());
    put(28, &body.crc.to_le_bytes());
    put(32, &(body.offset + body.length).to_le_bytes());
    put(40, &at.to_le_bytes());
    header::seal(&mut header, MAGIC, VERSION);
    writer.patch(0, &header)?;
    Ok(true)
}

/// Writes the lists of a window, and empties them. Returns the number of dimensions, and of runs.
fn write_window(lists: &mut FxHashMap<u32, Vec<(u16, f32)>>, writer: &mut FileWriter) -> Result<(u32, u32), DiskError> {
    let mut sorted: Vec<(u32, Vec<(u16, f32)>)> = lists.drain().collect();
    sorted.sort_unstable_by_key(|(index, _)| *index);
    let numbers = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let (mut run_numbers, mut scales) = (Vec::with_capacity(sorted.len()), Vec::with_capacity(sorted.len()));
    let (mut ends, mut codes, mut end) = (Vec::new(), Vec::new(), 0_u32);
    for (_, list) in &mut sorted {
        let scale = list.iter().map(|(_, value)| *value).fold(0.0, f32::max) / 255.0;
        let run_of = |value: f32| code(value, scale) >> RUN_BITS;
        list.sort_by_key(|(row, value)| (Reverse(run_of(*value)), *row));
        for run in list.chunk_by(|a, b| run_of(a.1) == run_of(b.1)) {
            end += run.len() as u32;
            ends.push(end);
            codes.push(run.iter().map(|(_, value)| code(*value, scale)).fold(0, u8::max));
        }
        run_numbers.push(codes.len() as u32);
        scales.push(scale.to_bits());
    }
    writer.put(&numbers(&sorted.iter().map(|(index, _)| *index).collect::<Vec<u32>>()))?;
    writer.put(&numbers(&run_numbers))?;
    writer.put(&numbers(&scales))?;
    writer.put(&numbers(&ends))?;
    for (_, list) in &sorted {
        writer.put(&list.iter().flat_map(|(row, _)| row.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    writer.put(&codes)?;
    Ok((sorted.len() as u32, codes.len() as u32))
}

/// Returns the smallest code whose bound is not below the value: 1 to 255.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn code(value: f32, scale: f32) -> u8 {
    if scale < f32::MIN_POSITIVE {
        return 255;
    }
    let code = (value / scale).ceil().clamp(1.0, 255.0) as u8;
    // The quotient may be rounded down.
    if f32::from(code) * scale < value { code.saturating_add(1) } else { code }
}

/// One window of a file.
struct Window {
    first: u32,
    rows: u32,
    dimensions: Range<usize>,
    run_numbers: Range<usize>,
    scales: Range<usize>,
    ends: Range<usize>,
    local_rows: Range<usize>,
    codes: Range<usize>,
}

/// The list of a dimension in a window.
#[derive(Clone, Copy)]
struct List<'f> {
    /// The rows of all lists.
    rows: &'f [u16],
    /// Begin of the first run in `rows`.
    begin: u32,
    /// End of each run in `rows`.
    ends: &'f [u32],
    /// Bound of each run, descending.
    codes: &'f [u8],
    /// Bound of the product for the code 1.
    factor: f32,
}

/// An index of sparse vectors in a mapped file.
pub struct SparseIndex {
    mapping: Arc<Mapping>,
    windows: Vec<Window>,
    tag: u64,
}

impl SparseIndex {
    /// Whether a file is an index of an earlier version, which is rebuilt.
    pub(crate) fn is_outdated(file: &[u8]) -> bool {
        header::is_outdated(file, MAGIC, VERSION)
    }

    /// Reads and verifies every byte. The index must be bound to `binding`, and have `rows` rows.
    ///
    /// # Errors
    /// A description of the failed check.
    pub fn open(mapping: Arc<Mapping>, binding: u64, rows: u32) -> Result<Self, String> {
        let file = mapping.bytes();
        let (header, body) = Header::<HEADER>::read(file, MAGIC, VERSION, "an index of sparse vectors")?;
        if header.u64_at(16) != binding || header.u32_at(24) != rows {
            return Err("it belongs to another segment or field".into());
        }
        if header.u64_at(32) != file.len() as u64 || crc32fast::hash(body) != header.u32_at(28) {
            return Err("the checksum does not match".into());
        }
        let directory = usize::try_from(header.u64_at(40)).ok().and_then(|at| file.get(at..)).ok_or("no directory")?;
        let mut windows = Vec::new();
        let mut next = 0;
        for entry in directory.chunks(ENTRY) {
            let window = Window::read(entry, file).filter(|window| window.first == next && window.is_valid(file));
            let window = window.ok_or_else(|| format!("window {} is invalid", windows.len()))?;
            next = window.first + window.rows;
            windows.push(window);
        }
        if next != rows {
            return Err(format!("{next} rows, not {rows}"));
        }
        let tag = u64::from(VERSION) << 32 | u64::from(header.u32_at(28));
        Ok(Self { mapping, windows, tag })
    }

    /// Returns a number that differs between indexes of different content.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Returns the number of components.
    pub fn components(&self) -> u64 {
        self.windows.iter().map(|window| window.local_rows.len() as u64 / 2).sum()
    }

    /// Returns the mapped bytes.
    pub fn mapped_bytes(&self) -> u64 {
        self.mapping.len()
    }

    /// Returns the mapped bytes that are resident in memory.
    pub fn resident_bytes(&self) -> u64 {
        self.mapping.resident_bytes()
    }

    /// Adds the rows with the largest dot products to `top`, as negated distances; only rows with a product above 0.
    /// `allowed` decides whether a row may be returned, and `exact` returns its dot product. Leaves out products that are
    /// together at most the share `omitted` of the largest possible score; with 0 the result is exact, and so it is if
    /// fewer than `k` rows are found. Returns the number of rows compared exactly. Ends early, with an incomplete result,
    /// when `cancelled` returns true.
    ///
    /// # Errors
    /// Those of `exact`.
    #[allow(clippy::too_many_arguments)]
    pub fn search<E>(
        &self,
        query: &SparseQuery,
        top: &mut TopK,
        allowed: &dyn Fn(u32) -> bool,
        exact: &dyn Fn(u32) -> Result<f32, E>,
        cancelled: &dyn Fn() -> bool,
        k: usize,
        omitted: f32,
    ) -> Result<u64, E> {
        let mut compared = 0;
        if omitted > 0.0 {
            let mut found = TopK::new(k);
            compared = self.search_windows(query, &mut found, allowed, exact, cancelled, k, omitted)?;
            if found.worst() < f32::INFINITY || cancelled() {
                found.into_sorted().into_iter().for_each(|neighbor| top.push(neighbor));
                return Ok(compared);
            }
            // Few rows are allowed, or have a large product.
        }
        Ok(compared + self.search_windows(query, top, allowed, exact, cancelled, k, 0.0)?)
    }

    #[allow(clippy::too_many_arguments)]
    fn search_windows<E>(
        &self,
        query: &SparseQuery,
        top: &mut TopK,
        allowed: &dyn Fn(u32) -> bool,
        exact: &dyn Fn(u32) -> Result<f32, E>,
        cancelled: &dyn Fn() -> bool,
        k: usize,
        omitted: f32,
    ) -> Result<u64, E> {
        let file = self.mapping.bytes();
        let mut largest = Vec::new();
        let mut sums = Sums::new();
        let mut lists = Vec::with_capacity(query.components.len());
        let mut candidates: Vec<(i16, u16)> = Vec::new();
        let mut compared = 0;
        for window in &self.windows {
            if cancelled() {
                break;
            }
            lists.clear();
            lists.extend(query.components.iter().filter_map(|(index, value)| window.list(file, *index, *value)));
            if lists.is_empty() {
                continue;
            }
            if omitted > 0.0 {
                omit(&mut lists, omitted, &mut largest);
            }
            sums.add(&lists, window.rows as usize);
            sums.scale = 1.0 - ALLOWANCE * omitted;
            // Few of many rows raise the threshold far enough to leave out most of the others.
            let (mut blocks, mut above) = (k.saturating_mul(FIRST_ROUND).max(64), i16::MAX);
            loop {
                let from = sums.least(-top.worst()).max(sums.of_block(blocks));
                blocks = blocks.saturating_mul(ROUND_GROWTH);
                sums.between(from..above, &mut candidates);
                candidates.sort_unstable_by_key(|(sum, _)| Reverse(*sum));
                for (sum, row) in &candidates {
                    if *sum < sums.least(-top.worst()) {
                        break;
                    }
                    let row = window.first + u32::from(*row);
                    if allowed(row) {
                        compared += 1;
                        let score = exact(row)?;
                        if score > 0.0 {
                            top.push(Neighbor { row: Ordinal(row), distance: -score });
                        }
                    }
                }
                above = from;
                if above <= sums.least(-top.worst()) || cancelled() {
                    break;
                }
            }
        }
        Ok(compared)
    }
}

/// Leaves out the runs whose bounds are below a limit, such that the products below the limit are at most the share
/// `omitted` of the sum of the largest products. Overwrites `largest`.
fn omit(lists: &mut [List<'_>], omitted: f32, largest: &mut Vec<f32>) {
    largest.clear();
    largest.extend(lists.iter().map(|list| list.factor));
    largest.sort_unstable_by(f32::total_cmp);
    let mut mass = omitted * largest.iter().sum::<f32>();
    let mut limit = f32::INFINITY;
    for (left, factor) in (1..=largest.len()).rev().zip(&*largest) {
        limit = mass / left as f32;
        if limit <= *factor {
            break;
        }
        mass -= factor;
    }
    for list in lists {
        // The largest product is the factor times 255.
        let kept = list.codes.partition_point(|code| f32::from(*code) * list.factor >= limit * 255.0);
        (list.ends, list.codes) = (&list.ends[..kept], &list.codes[..kept]);
    }
}

/// Upper bounds of the dot products of the rows of a window.
struct Sums {
    /// In units, by row; 0 for a row without a common index.
    sums: Box<[i16]>,
    /// Number of rows.
    rows: usize,
    /// The largest sum of each block of rows.
    peaks: Vec<i16>,
    /// The same, in the order of the last selection.
    sorted: Vec<i16>,
    unit: f32,
    /// Share of a threshold that a sum must reach.
    scale: f32,
}

impl Sums {
    fn new() -> Self {
        let sums = vec![0; WINDOW_ROWS as usize].into();
        Self { sums, rows: 0, peaks: Vec::new(), sorted: Vec::new(), unit: 1.0, scale: 1.0 }
    }

    /// Adds up the lists of a window.
    fn add(&mut self, lists: &[List<'_>], rows: usize) {
        self.sums[..rows.next_multiple_of(BLOCK)].fill(0);
        self.rows = rows;
        let largest: f32 = lists.iter().map(|list| list.factor * 255.0).sum();
        // Each list adds up to 1 for rounding.
        self.unit = (largest / (MAX_SUM - lists.len() as f32)).max(f32::MIN_POSITIVE);
        for list in lists {
            add(&mut self.sums, list, list.factor / self.unit);
        }
        let largest = |block: &[i16]| block.iter().fold(0, |largest: i16, sum| largest.max(*sum));
        self.peaks.clear();
        self.peaks.extend(self.sums[..rows.next_multiple_of(BLOCK)].chunks_exact(BLOCK).map(largest));
    }

    /// Returns the smallest sum of a row whose dot product may reach a threshold, at least 1.
    #[allow(clippy::cast_possible_truncation)]
    fn least(&self, threshold: f32) -> i16 {
        ((threshold / SLACK / self.unit * self.scale).floor() as i16).max(1)
    }

    /// Returns a sum that the peaks of `blocks` blocks reach; 0 if there are fewer blocks.
    fn of_block(&mut self, blocks: usize) -> i16 {
        if blocks >= self.peaks.len() {
            return 0;
        }
        self.sorted.clone_from(&self.peaks);
        *self.sorted.select_nth_unstable_by(blocks, |a, b| b.cmp(a)).1
    }

    /// Writes the rows with a sum in the range to `out`, with their sums.
    fn between(&self, range: Range<i16>, out: &mut Vec<(i16, u16)>) {
        out.clear();
        for (block, _) in self.peaks.iter().enumerate().filter(|(_, peak)| **peak >= range.start) {
            let rows = block * BLOCK..self.rows.min((block + 1) * BLOCK);
            let sums = self.sums[rows.clone()].iter().zip(rows);
            out.extend(sums.filter(|(sum, _)| range.contains(*sum)).map(|(sum, row)| (*sum, row as u16)));
        }
    }
}

/// Adds the bounds of a list to the sums, in units and rounded up, for the bound of code 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn add(sums: &mut [i16], list: &List<'_>, factor: f32) {
    // Every row is within an array of this size.
    let Some(sums) = sums.first_chunk_mut::<{ WINDOW_ROWS as usize }>() else { return };
    // With 16 bits after the point.
    let step = ((factor * 65_536.0) as u32).min(MAX_STEP) + 1;
    let mut begin = list.begin as usize;
    for (end, code) in list.ends.iter().zip(list.codes) {
        let bound = ((u32::from(*code) * step) >> 16) as i16 + 1;
        let Some(rows) = list.rows.get(begin..*end as usize) else { return };
        for row in rows {
            let sum = &mut sums[usize::from(*row)];
            *sum = sum.wrapping_add(bound);
        }
        begin = *end as usize;
    }
}

impl Window {
    /// Reads an entry of the directory.
    fn read(entry: &[u8], file: &[u8]) -> Option<Self> {
        let (offset, numbers) = entry.split_first_chunk::<8>()?;
        let numbers = numbers.as_chunks::<4>().0;
        let [first, rows, dimensions, components, runs] = *<&[[u8; 4]; 5]>::try_from(numbers).ok()?;
        let [dimensions, components, runs] =
            [dimensions, components, runs].map(|number| u32::from_le_bytes(number) as usize);
        let mut at = usize::try_from(u64::from_le_bytes(*offset)).ok()?;
        let mut next = |bytes: usize| {
            let from = at;
            at = at.checked_add(bytes)?;
            (at <= file.len()).then_some(from..at)
        };
        let window = Self {
            first: u32::from_le_bytes(first),
            rows: u32::from_le_bytes(rows),
            dimensions: next(dimensions.checked_mul(4)?)?,
            run_numbers: next(dimensions * 4)?,
            scales: next(dimensions * 4)?,
            ends: next(runs.checked_mul(4)?)?,
            local_rows: next(components.checked_mul(2)?)?,
            codes: next(runs)?,
        };
        let aligned = u64::from_le_bytes(*offset).is_multiple_of(ALIGNMENT);
        (aligned && (1..=WINDOW_ROWS).contains(&window.rows)).then_some(window)
    }

    fn dimensions<'f>(&self, file: &'f [u8]) -> &'f [u32] {
        bytemuck::cast_slice(&file[self.dimensions.clone()])
    }

    fn run_numbers<'f>(&self, file: &'f [u8]) -> &'f [u32] {
        bytemuck::cast_slice(&file[self.run_numbers.clone()])
    }

    fn ends<'f>(&self, file: &'f [u8]) -> &'f [u32] {
        bytemuck::cast_slice(&file[self.ends.clone()])
    }

    /// Whether the lists are within the window, and the dimensions ascend.
    fn is_valid(&self, file: &[u8]) -> bool {
        let (runs, ends) = (self.run_numbers(file), self.ends(file));
        let last = |numbers: &[u32]| numbers.last().copied().unwrap_or(0) as usize;
        self.dimensions(file).is_sorted_by(|a, b| a < b)
            && runs.is_sorted()
            && last(runs) == self.codes.len()
            && ends.is_sorted()
            && last(ends) == self.local_rows.len() / 2
            && self.first.checked_add(self.rows).is_some()
    }

    /// Returns the list of a dimension, for a query with this component.
    fn list<'f>(&self, file: &'f [u8], index: u32, value: f32) -> Option<List<'f>> {
        let at = self.dimensions(file).binary_search(&index).ok()?;
        let (runs, ends) = (self.run_numbers(file), self.ends(file));
        let run = at.checked_sub(1).map_or(0, |before| runs[before]) as usize;
        let list = run..runs[at] as usize;
        let scales: &[f32] = bytemuck::cast_slice(&file[self.scales.clone()]);
        Some(List {
            rows: bytemuck::cast_slice(&file[self.local_rows.clone()]),
            begin: run.checked_sub(1).map_or(0, |before| ends[before]),
            ends: ends.get(list.clone())?,
            codes: file[self.codes.clone()].get(list)?,
            factor: scales[at] * value,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::disk;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;
    use std::collections::BTreeMap;

    pub(crate) type Vectors = Vec<BTreeMap<u32, f32>>;

    pub(crate) fn publish(dir: &std::path::Path, vectors: &Vectors, build_bytes: u64) -> bool {
        let mut indexed = true;
        disk::publish::<DiskError>(&disk::real_fs(), dir, "s", |file| {
            indexed = write(
                vectors.len() as u32,
                7,
                build_bytes,
                &mut |row, each| {
                    vectors[row as usize].iter().for_each(|(index, value)| each(*index, *value));
                    Ok(())
                },
                file,
            )?;
            Ok::<(), DiskError>(())
        })
        .unwrap();
        indexed
    }

    pub(crate) fn open(dir: &std::path::Path, binding: u64, rows: usize) -> Result<SparseIndex, String> {
        let mapping = Mapping::open(&dir.join("s")).map_err(|error| error.to_string())?;
        SparseIndex::open(mapping, binding, rows as u32)
    }

    fn random(rng: &mut Xoshiro256PlusPlus, rows: usize) -> Vectors {
        let index = |rng: &mut Xoshiro256PlusPlus| (300_f64.powf(rng.random::<f64>()) as u32 - 1) * 1_000;
        let vector = |rng: &mut Xoshiro256PlusPlus| -> BTreeMap<u32, f32> {
            let count = rng.random_range(0..30);
            (0..count).map(|_| (index(rng), 2.5_f32.powf(rng.random_range(-3.0..1.0)))).collect()
        };
        (0..rows).map(|_| vector(rng)).collect()
    }

    #[test]
    fn the_best_rows_are_those_of_a_scan() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        // More than one window.
        let vectors = random(&mut rng, 70_000);
        for (build_bytes, windows) in [(u64::MAX, 2..3), (2 << 20, 7..10)] {
            assert!(publish(dir.path(), &vectors, build_bytes));
            let index = open(dir.path(), 7, vectors.len()).unwrap();
            assert!(windows.contains(&index.windows.len()), "{}", index.windows.len());
            compare_with_a_scan(&index, &vectors, &mut rng);
        }
        // A window has at least one row.
        assert!(publish(dir.path(), &vectors[..3].to_vec(), 0));
        assert_eq!(open(dir.path(), 7, 3).unwrap().windows.len(), 3);
    }

    fn compare_with_a_scan(index: &SparseIndex, vectors: &Vectors, rng: &mut Xoshiro256PlusPlus) {
        for (round, query) in random(rng, 40).into_iter().enumerate() {
            let query = SparseQuery::new(query);
            let exact =
                |row: u32| vectors[row as usize].iter().map(|(index, value)| query.at(*index) * value).sum::<f32>();
            let allowed = |row: u32| round.is_multiple_of(2) || row % 10 == 3;
            let k = [1, 10, 500][round % 3];
            let (mut expected, mut top) = (TopK::new(k), TopK::new(k));
            for row in (0..vectors.len() as u32).filter(|row| allowed(*row)) {
                if exact(row) > 0.0 {
                    expected.push(Neighbor { row: Ordinal(row), distance: -exact(row) });
                }
            }
            let compared =
                index.search::<()>(&query, &mut top, &allowed, &|row| Ok(exact(row)), &|| false, k, 0.0).unwrap();
            assert_eq!(top.into_sorted(), expected.into_sorted(), "query {round}");
            assert!(compared <= 20_000, "{compared}");
        }
    }

    #[test]
    fn at_most_the_share_is_left_out_and_few_hits_are_found_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
        let vectors = random(&mut rng, 5_000);
        assert!(publish(dir.path(), &vectors, u64::MAX));
        let index = open(dir.path(), 7, vectors.len()).unwrap();
        let (file, window) = (index.mapping.bytes(), &index.windows[0]);
        let (mut left_out, mut missed) = (0, 0);
        for (round, components) in random(&mut rng, 40).into_iter().enumerate() {
            let (query, omitted) = (SparseQuery::new(components), [0.05, 0.3, 0.6, 1.0][round % 4]);
            let list = |(index, value): &(u32, f32)| window.list(file, *index, *value);
            let all: Vec<List<'_>> = query.components.iter().filter_map(list).collect();
            let mut kept = all.clone();
            omit(&mut kept, omitted, &mut Vec::new());
            let mut lost = vec![0.0_f32; vectors.len()];
            for (all, kept) in all.iter().zip(&kept) {
                let begin = kept.ends.last().copied().unwrap_or(all.begin);
                let at = kept.codes.len();
                for (row, code) in all.ends[at..]
                    .iter()
                    .zip(&all.codes[at..])
                    .scan(begin, |from, (end, code)| Some((std::mem::replace(from, *end)..*end, *code)))
                    .flat_map(|(rows, code)| rows.map(move |row| (row, code)))
                {
                    lost[usize::from(all.rows[row as usize])] += f32::from(code) * all.factor;
                    left_out += 1;
                }
            }
            let limit = omitted * all.iter().map(|list| 255.0 * list.factor).sum::<f32>();
            assert!(lost.iter().all(|lost| *lost <= limit * SLACK), "query {round}");
            let exact =
                |row: u32| vectors[row as usize].iter().map(|(index, value)| query.at(*index) * value).sum::<f32>();
            let search = |k: usize, allowed: &dyn Fn(u32) -> bool, omitted: f32| {
                let mut top = TopK::new(k);
                index.search::<()>(&query, &mut top, allowed, &|row| Ok(exact(row)), &|| false, k, omitted).unwrap();
                top.into_sorted()
            };
            let found = search(10, &|_| true, omitted);
            let best = search(10, &|_| true, 0.0);
            missed += usize::from(found != best);
            assert!(found.iter().zip(&best).all(|(found, best)| found.distance >= best.distance));
            let few = |row: u32| row % 400 == 3;
            assert_eq!(search(100, &few, omitted), search(100, &few, 0.0), "query {round}");
        }
        assert!(left_out > 10_000 && missed > 0, "{left_out} components, {missed} queries");
    }

    #[test]
    fn negative_components_are_not_indexed_and_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!publish(dir.path(), &vec![[(1, 1.0)].into(), [(3, -0.5)].into()], u64::MAX));
        assert!(!SparseQuery::new([(1, 1.0), (2, -1.0)]).is_indexable());
        assert!(publish(dir.path(), &vec![[(1, 1.0), (u32::MAX, 2.0)].into(), BTreeMap::new()], u64::MAX));
        let intact = std::fs::read(dir.path().join("s")).unwrap();
        assert!(open(dir.path(), 7, 2).is_ok());
        assert!(open(dir.path(), 8, 2).is_err() && open(dir.path(), 7, 3).is_err());
        for at in 0..intact.len() {
            let mut damaged = intact.clone();
            damaged[at] ^= 1;
            std::fs::write(dir.path().join("s"), &damaged).unwrap();
            assert!(open(dir.path(), 7, 2).is_err(), "byte {at}");
            std::fs::write(dir.path().join("s"), &intact[..at.max(1)]).unwrap();
            assert!(open(dir.path(), 7, 2).is_err(), "cut at {at}");
        }
        // No rows.
        assert!(publish(dir.path(), &Vec::new(), u64::MAX));
        assert!(open(dir.path(), 7, 0).unwrap().windows.is_empty());
    }

    #[test]
    fn sums_are_upper_bounds_within_their_range() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let codes: Vec<u8> = (0..=255).rev().collect();
        let rows: Vec<u16> = (0..=255).rev().collect();
        let ends: Vec<u32> = (1..=256).collect();
        for lists in [1, 3, 40, MAX_QUERY_COMPONENTS] {
            for scale in [1e-38, 1e-10, 1.0, 1e30] {
                let factors: Vec<f32> = (0..lists).map(|_| scale * rng.random_range(0.0..1.0_f32)).collect();
                let mut sums = Sums::new();
                let list = |factor: &f32| List { rows: &rows, begin: 0, ends: &ends, codes: &codes, factor: *factor };
                sums.add(&factors.iter().map(list).collect::<Vec<_>>(), 256);
                for (row, sum) in sums.sums[..256].iter().enumerate() {
                    let product: f64 = factors.iter().map(|factor| f64::from(*factor) * row as f64).sum();
                    assert!(
                        *sum >= 1 && *sum >= sums.least(product as f32),
                        "{lists} lists, {scale}, row {row}: {sum}"
                    );
                }
                assert!(sums.peaks.len() == 4 && sums.peaks[3] == sums.sums[255] && sums.of_block(1) == sums.sums[191]);
                let mut found = Vec::new();
                let range = sums.sums[100]..sums.sums[200];
                sums.between(range.clone(), &mut found);
                assert_eq!(found.len(), sums.sums[..256].iter().filter(|sum| range.contains(*sum)).count());
            }
        }
    }

    #[test]
    fn a_code_is_an_upper_bound() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        for _ in 0..10_000 {
            let largest = 10_f32.powf(rng.random_range(-30.0..30.0));
            let value = largest * rng.random_range(0.0..1.0_f32);
            let scale = largest / 255.0;
            assert!(f32::from(code(value, scale)) * scale * SLACK >= value, "{value} of {largest}");
        }
    }
}
