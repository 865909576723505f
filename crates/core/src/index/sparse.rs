//! Index of sparse vectors: for each window of rows and each dimension, the rows with a non-zero component, and an upper
//! bound of it in 8 bits.
//!
//! A query adds up the bounds of a window in an array that fits the cache, as in SINDI (Li et al., "SINDI: an Efficient
//! Index for Approximate Maximum Inner Product Search on Sparse Vectors", 2025, section 3). Here the sums are upper
//! bounds, in 16 bits: the rows with the largest ones are compared exactly, until no bound reaches the k-th score. The
//! result is therefore exact. To leave out the lists with the lowest bounds (MaxScore) saves less than a tenth of the time
//! for learned weights, whose lists are long and whose products are alike.
//!
//! ```text
//! header | windows, each: dimensions u32 | ends u32 | scales f32 | rows u16 | codes u8 | directory
//! ```
//!
//! See docs/FORMAT.md. Only vectors without negative components are indexed: a bound of a product needs its sign.

use super::header::{self, Header};
use crate::disk::{Error as DiskError, FileWriter, Mapping};
use crate::math::TopK;
use crate::types::{Neighbor, Ordinal};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;

/// Magic number of the file.
const MAGIC: [u8; 8] = *b"NEARSPRS";
/// Version of the format.
const VERSION: u32 = 1;
/// Length of the header, bytes.
const HEADER: usize = 64;
/// Alignment of windows.
const ALIGNMENT: u64 = 64;
/// Bytes of a window in the directory.
const ENTRY: usize = 24;
/// Maximum rows of a window: rows are stored in 16 bits.
const WINDOW_ROWS: u32 = 1 << 16;
/// Memory of a build per component of a window, bytes: row and value, in lists that may have twice their length reserved.
const BUILD_COMPONENT_BYTES: u64 = 16;
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
        let dimensions = write_window(&mut lists, writer)?;
        directory.extend_from_slice(&offset.to_le_bytes());
        for number in [first, row - first, dimensions, components as u32] {
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

/// Writes the lists of a window, and empties them. Returns the number of dimensions.
fn write_window(lists: &mut FxHashMap<u32, Vec<(u16, f32)>>, writer: &mut FileWriter) -> Result<u32, DiskError> {
    let mut sorted: Vec<(u32, Vec<(u16, f32)>)> = lists.drain().collect();
    sorted.sort_unstable_by_key(|(index, _)| *index);
    let mut end = 0_u32;
    let scale = |list: &[(u16, f32)]| list.iter().map(|(_, value)| *value).fold(0.0, f32::max) / 255.0;
    let numbers = |numbers: Vec<u32>| numbers.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
    writer.put(&numbers(sorted.iter().map(|(index, _)| *index).collect()))?;
    let mut ends = Vec::with_capacity(sorted.len());
    for (_, list) in &sorted {
        end += list.len() as u32;
        ends.push(end);
    }
    writer.put(&numbers(ends))?;
    writer.put(&numbers(sorted.iter().map(|(_, list)| scale(list).to_bits()).collect()))?;
    for (_, list) in &sorted {
        writer.put(&list.iter().flat_map(|(row, _)| row.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    for (_, list) in &sorted {
        let scale = scale(list);
        writer.put(&list.iter().map(|(_, value)| code(*value, scale)).collect::<Vec<u8>>())?;
    }
    Ok(sorted.len() as u32)
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
    ends: Range<usize>,
    scales: Range<usize>,
    local_rows: Range<usize>,
    codes: Range<usize>,
}

/// An index of sparse vectors in a mapped file.
pub struct SparseIndex {
    mapping: Arc<Mapping>,
    windows: Vec<Window>,
}

impl SparseIndex {
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
        Ok(Self { mapping, windows })
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
    /// `allowed` decides whether a row may be returned, and `exact` returns its dot product. Returns the number of rows
    /// compared exactly. Ends early, with an incomplete result, when `cancelled` returns true.
    ///
    /// # Errors
    /// Those of `exact`.
    pub fn search<E>(
        &self,
        query: &SparseQuery,
        top: &mut TopK,
        allowed: &dyn Fn(u32) -> bool,
        exact: &dyn Fn(u32) -> Result<f32, E>,
        cancelled: &dyn Fn() -> bool,
        k: usize,
    ) -> Result<u64, E> {
        let file = self.mapping.bytes();
        let mut sums = Sums::new();
        let mut lists = Vec::with_capacity(query.components.len());
        let mut candidates: Vec<(i16, u16)> = Vec::new();
        let mut compared = 0;
        for window in &self.windows {
            if cancelled() {
                break;
            }
            lists.clear();
            lists.extend(query.components.iter().filter_map(|(index, value)| {
                window.list(file, *index).map(|(rows, codes, scale)| (rows, codes, scale * value))
            }));
            if lists.is_empty() {
                continue;
            }
            sums.add(&lists, window.rows as usize);
            // Few of many rows raise the threshold far enough to leave out most of the others.
            let (mut blocks, mut above) = (k.saturating_mul(FIRST_ROUND).max(64), i16::MAX);
            loop {
                let from = sums.least(-top.worst()).max(sums.of_block(blocks));
                blocks = blocks.saturating_mul(ROUND_GROWTH);
                sums.between(from..above, &mut candidates);
                candidates.sort_unstable_by_key(|(sum, _)| std::cmp::Reverse(*sum));
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
}

impl Sums {
    fn new() -> Self {
        let sums = vec![0; WINDOW_ROWS as usize].into();
        Self { sums, rows: 0, peaks: Vec::new(), sorted: Vec::new(), unit: 1.0 }
    }

    /// Adds up the lists of a window: rows, codes, and bound of code 1.
    fn add(&mut self, lists: &[(&[u16], &[u8], f32)], rows: usize) {
        self.sums.fill(0);
        self.rows = rows;
        let largest: f32 = lists.iter().map(|(_, _, factor)| factor * 255.0).sum();
        // Each list adds up to 1 for rounding.
        self.unit = (largest / (MAX_SUM - lists.len() as f32)).max(f32::MIN_POSITIVE);
        for (rows, codes, factor) in lists {
            add(&mut self.sums, rows, codes, &table(factor / self.unit));
        }
        let largest = |block: &[i16]| block.iter().fold(0, |largest: i16, sum| largest.max(*sum));
        self.peaks.clear();
        self.peaks.extend(self.sums[..rows.next_multiple_of(BLOCK)].chunks_exact(BLOCK).map(largest));
    }

    /// Returns the smallest sum of a row whose dot product may reach a threshold, at least 1.
    #[allow(clippy::cast_possible_truncation)]
    fn least(&self, threshold: f32) -> i16 {
        ((threshold / SLACK / self.unit).floor() as i16).max(1)
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

/// Returns the bound of each code in units, rounded up, for the bound of code 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn table(factor: f32) -> [i16; 256] {
    // With 16 bits after the point.
    let step = (factor * 65_536.0) as u32 + 1;
    let mut bounds = [0; 256];
    for (bound, code) in bounds.iter_mut().zip(0..) {
        *bound = ((code * step) >> 16) as i16 + 1;
    }
    bounds
}

/// Adds the bounds of a list to the sums.
fn add(sums: &mut [i16], rows: &[u16], codes: &[u8], bounds: &[i16; 256]) {
    // Every row is within an array of this size.
    let Some(sums) = sums.first_chunk_mut::<{ WINDOW_ROWS as usize }>() else { return };
    for (row, code) in rows.iter().zip(codes) {
        let sum = &mut sums[usize::from(*row)];
        *sum = sum.wrapping_add(bounds[usize::from(*code)]);
    }
}

impl Window {
    /// Reads an entry of the directory.
    fn read(entry: &[u8], file: &[u8]) -> Option<Self> {
        let (offset, numbers) = entry.split_first_chunk::<8>()?;
        let numbers = numbers.as_chunks::<4>().0;
        let [first, rows, dimensions, components] = *<&[[u8; 4]; 4]>::try_from(numbers).ok()?;
        let (dimensions, components) =
            (u32::from_le_bytes(dimensions) as usize, u32::from_le_bytes(components) as usize);
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
            ends: next(dimensions * 4)?,
            scales: next(dimensions * 4)?,
            local_rows: next(components.checked_mul(2)?)?,
            codes: next(components)?,
        };
        let aligned = u64::from_le_bytes(*offset).is_multiple_of(ALIGNMENT);
        (aligned && (1..=WINDOW_ROWS).contains(&window.rows)).then_some(window)
    }

    fn dimensions<'f>(&self, file: &'f [u8]) -> &'f [u32] {
        bytemuck::cast_slice(&file[self.dimensions.clone()])
    }

    fn ends<'f>(&self, file: &'f [u8]) -> &'f [u32] {
        bytemuck::cast_slice(&file[self.ends.clone()])
    }

    /// Whether the lists are within the window, and the dimensions ascend.
    fn is_valid(&self, file: &[u8]) -> bool {
        let ends = self.ends(file);
        let total = self.codes.len() as u32;
        self.dimensions(file).is_sorted_by(|a, b| a < b)
            && ends.is_sorted()
            && ends.last().copied().unwrap_or(0) == total
            && self.first.checked_add(self.rows).is_some()
    }

    /// Returns rows, codes and scale of the list of a dimension.
    fn list<'f>(&self, file: &'f [u8], index: u32) -> Option<(&'f [u16], &'f [u8], f32)> {
        let at = self.dimensions(file).binary_search(&index).ok()?;
        let ends = self.ends(file);
        let begin = at.checked_sub(1).map_or(0, |before| ends[before]) as usize;
        let list = begin..ends[at] as usize;
        let rows: &[u16] = bytemuck::cast_slice(&file[self.local_rows.clone()]);
        let scales: &[f32] = bytemuck::cast_slice(&file[self.scales.clone()]);
        Some((rows.get(list.clone())?, file[self.codes.clone()].get(list)?, scales[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;
    use std::collections::BTreeMap;

    type Vectors = Vec<BTreeMap<u32, f32>>;

    fn publish(dir: &std::path::Path, vectors: &Vectors, build_bytes: u64) -> bool {
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

    fn open(dir: &std::path::Path, binding: u64, rows: usize) -> Result<SparseIndex, String> {
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
            let compared = index.search::<()>(&query, &mut top, &allowed, &|row| Ok(exact(row)), &|| false, k).unwrap();
            assert_eq!(top.into_sorted(), expected.into_sorted(), "query {round}");
            assert!(compared <= 20_000, "{compared}");
        }
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
        let codes: Vec<u8> = (0..=255).collect();
        let rows: Vec<u16> = (0..=255).collect();
        for lists in [1, 3, 40, MAX_QUERY_COMPONENTS] {
            for scale in [1e-38, 1e-10, 1.0, 1e30] {
                let factors: Vec<f32> = (0..lists).map(|_| scale * rng.random_range(0.0..1.0_f32)).collect();
                let mut sums = Sums::new();
                sums.add(&factors.iter().map(|factor| (&*rows, &*codes, *factor)).collect::<Vec<_>>(), 256);
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
