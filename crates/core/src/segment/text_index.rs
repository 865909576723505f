//! Inverted indexes of segments, one per text field.
//!
//! A sealed segment has an index file per part of its rows, opened or built on first use. The payloads of a part are
//! bounded, and with them the memory of a build. A growing segment has one index in memory, extended on use.

use super::growing::Growing;
use super::index_files::CheckedFile;
use super::sealed::Sealed;
use crate::api::{CancellationToken, Error, Payload};
use crate::disk::{self, FileBytes, Mapping};
use crate::index::inverted::{Bm25, Builder, InvertedIndex, MAX_TERM_BYTES, TextStats};
use crate::payload::strings_at;
use crate::store::Segment;
use crate::text::{Analyzer, TextField, TextMatch, TextMatchKind};
use crate::types::Ordinal;
use rayon::prelude::*;
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

/// Version of the analysis: a new one makes indexes built with another one unusable.
const ANALYSIS_VERSION: u32 = 1;
/// Rows analyzed at a time.
const STEP: u32 = 4_096;
/// Cached frequencies of terms in deleted rows, per segment and field.
const CACHED_TERMS: usize = 4_096;

/// A text field of an open collection.
pub(crate) struct IndexedField {
    pub(crate) spec: TextField,
    analyzer: Analyzer,
    /// Digest of what an index depends on besides the segment.
    settings: u64,
}

impl IndexedField {
    pub(crate) fn new(spec: TextField) -> Self {
        let mut hash = Sha256::new();
        hash.update(ANALYSIS_VERSION.to_le_bytes());
        hash.update(serde_json::to_vec(&(&spec.paths, &spec.analyzer)).unwrap_or_default());
        hash.update(spec.k1.to_le_bytes());
        hash.update(spec.b.to_le_bytes());
        let settings = hash.finalize().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { analyzer: Analyzer::new(&spec.analyzer), spec, settings }
    }

    pub(crate) fn analyzer(&self) -> &Analyzer {
        &self.analyzer
    }

    /// Whether an index file belongs to this field.
    pub(crate) fn owns_file(&self, name: &str) -> bool {
        name.contains(&format!(".{:016x}.", self.settings))
    }

    pub(crate) fn bm25(&self) -> Bm25 {
        Bm25 { k1: self.spec.k1, b: self.spec.b }
    }

    /// Returns the value that an index over a part of the segment with this tag is bound to.
    fn binding(&self, tag: u64, part: usize) -> u64 {
        let mut hash = Sha256::new();
        [tag, self.settings, part as u64].iter().for_each(|number| hash.update(number.to_le_bytes()));
        hash.finalize().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Calls `each` with the texts of a payload.
    pub(crate) fn texts(&self, payload: &Payload, each: &mut dyn FnMut(&str)) {
        self.spec.paths.iter().for_each(|path| strings_at(payload, path, each));
    }

    /// Analyzes the texts of a payload.
    fn analyze(&self, payload: &Payload) -> RowTerms {
        let mut row = RowTerms::default();
        self.texts(payload, &mut |text| {
            self.analyzer.for_each(text, |token| {
                let begin = row.text.len();
                row.text.push_str(token.term);
                row.terms.push((begin..row.text.len(), 1));
            });
        });
        row.length = u32::try_from(row.terms.len()).unwrap_or(u32::MAX);
        let text = &row.text;
        row.terms.sort_unstable_by(|(a, _), (b, _)| text[a.clone()].cmp(&text[b.clone()]));
        row.terms.dedup_by(|(next, count), (first, total)| {
            let same = text[next.clone()] == text[first.clone()];
            *total += if same { *count } else { 0 };
            same
        });
        row
    }
}

/// The distinct terms of a row.
#[derive(Clone, Default)]
struct RowTerms {
    text: String,
    /// Range of a term in `text`, and its frequency.
    terms: Vec<(Range<usize>, u32)>,
    /// Number of tokens.
    length: u32,
}

impl RowTerms {
    fn add_to(&self, builder: &mut Builder) {
        let terms = self.terms.iter().map(|(range, frequency)| (&self.text[range.clone()], *frequency));
        builder.add_row(terms, self.length);
    }
}

/// The inverted indexes of a sealed segment, by the settings of their fields.
#[derive(Default)]
pub(crate) struct SealedTexts {
    fields: Mutex<Vec<(Arc<IndexedField>, Arc<SealedText>)>>,
}

/// The inverted index of one field of a sealed segment.
#[derive(Default)]
pub(crate) struct SealedText {
    parts: OnceLock<Vec<TextPart>>,
    building: Mutex<()>,
    updated: Mutex<Arc<UpdatedTexts>>,
    excluded: Mutex<ExcludedTerms>,
}

/// The index of consecutive rows of a segment.
pub(crate) struct TextPart {
    /// The first row.
    pub(crate) first: u32,
    pub(crate) index: InvertedIndex,
}

/// The rows of a segment whose text was updated: those of its files are outdated.
pub(crate) struct UpdatedTexts {
    /// State of the overlay.
    version: u64,
    /// Terms of each updated payload; none if its text is that of the file.
    analyzed: FxHashMap<u32, (Arc<[u8]>, Option<RowTerms>)>,
    /// The rows with another text, ascending.
    rows: Vec<u32>,
    /// Their index, in that order.
    index: Builder,
}

impl Default for UpdatedTexts {
    fn default() -> Self {
        let index = Builder::new(Bm25::default());
        Self { version: 0, analyzed: FxHashMap::default(), rows: Vec::new(), index }
    }
}

impl UpdatedTexts {
    pub(crate) fn index(&self) -> &Builder {
        &self.index
    }

    /// Returns the rows, ascending, in the order of the index.
    pub(crate) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Returns the position of a row in the index; none if its text is that of the file.
    pub(crate) fn position(&self, row: u32) -> Option<u32> {
        self.rows.binary_search(&row).ok().map(|position| position as u32)
    }

    fn contains(&self, row: u32) -> bool {
        !self.rows.is_empty() && self.position(row).is_some()
    }
}

/// Counts over the rows of the files of a segment that are deleted or have another text now.
#[derive(Default)]
struct ExcludedTerms {
    /// Number of deleted rows and state of the overlay that the counts cover.
    state: (u32, u64),
    stats: Option<TextStats>,
    frequencies: FxHashMap<Box<str>, u32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values under these locks are consistent at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SealedTexts {
    fn of(&self, field: &Arc<IndexedField>) -> Arc<SealedText> {
        let mut fields = lock(&self.fields);
        if let Some((_, text)) = fields.iter().find(|(other, _)| other.settings == field.settings) {
            return text.clone();
        }
        let text = Arc::<SealedText>::default();
        fields.push((field.clone(), text.clone()));
        text
    }

    /// Forgets the indexes of all other fields.
    pub(crate) fn retain(&self, fields: &[Arc<IndexedField>]) {
        lock(&self.fields).retain(|(known, _)| fields.iter().any(|field| field.settings == known.settings));
    }

    /// Forgets the index of a field if `remove` removes a file of it, while no builder runs.
    pub(super) fn discard_if(&self, field: &Arc<IndexedField>, remove: impl FnOnce() -> bool) {
        let text = self.of(field);
        let _one_builder = lock(&text.building);
        if !remove() {
            return;
        }
        lock(&self.fields).retain(|(known, _)| known.settings != field.settings);
    }

    /// Returns a superset of the rows whose text at a path matches, by the payloads in the file; `None` if no open index
    /// knows them.
    pub(crate) fn rows_with(&self, path: &str, matches: &TextMatch) -> Option<RoaringBitmap> {
        let fields = lock(&self.fields).clone();
        let open = fields
            .iter()
            .filter(|(field, text)| text.parts.get().is_some() && field.spec.paths.iter().any(|other| other == path));
        open.filter_map(|(field, text)| text.rows_with(field, matches)).next()
    }

    /// Returns the mapped bytes.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        let fields = lock(&self.fields);
        fields.iter().filter_map(|(_, text)| text.parts.get()).flatten().map(|part| part.index.mapped_bytes()).sum()
    }

    /// Returns the mapped bytes that are resident in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let fields = lock(&self.fields);
        fields.iter().filter_map(|(_, text)| text.parts.get()).flatten().map(|part| part.index.resident_bytes()).sum()
    }
}

impl Sealed {
    /// Returns the index of a field: opened from its files, or built and published, in parts of `part_bytes` of
    /// payloads.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload; `Abandoned`.
    pub(crate) fn text(&self, field: &Arc<IndexedField>, part_bytes: u64) -> Result<Arc<SealedText>, Error> {
        let text = self.texts.of(field);
        if text.parts.get().is_none() {
            let _one_builder = lock(&text.building);
            if text.parts.get().is_none() {
                let parts = self.text_parts(field, part_bytes)?;
                text.parts.get_or_init(|| parts);
            }
        }
        Ok(text)
    }

    /// Whether the index of a field is open.
    pub(crate) fn has_text(&self, field: &Arc<IndexedField>) -> bool {
        self.texts.of(field).parts.get().is_some()
    }

    fn text_parts(&self, field: &Arc<IndexedField>, part_bytes: u64) -> Result<Vec<TextPart>, Error> {
        let segment = &self.segment;
        // With damage, a file would differ from the segment: it stays in memory.
        let damaged = !segment.damaged_rows().is_empty();
        let mut parts: Vec<TextPart> = Vec::new();
        let mut first = 0;
        while first < segment.rows() {
            let opened = (!damaged).then(|| open(segment, field, parts.len())).flatten();
            // A file with rows that the segment does not have was written before its damage was noticed.
            let opened = opened.filter(|index| (1..=segment.rows() - first).contains(&index.rows()));
            let index = match opened {
                Some(index) => index,
                None => {
                    let binding = field.binding(segment.tag(), parts.len());
                    let bytes = self.build_text(field, part_rows(segment, first, part_bytes), binding)?;
                    match damaged {
                        true => own(bytes, binding)?,
                        false => publish(segment, field, parts.len(), bytes)?,
                    }
                }
            };
            let rows = index.rows();
            parts.push(TextPart { first, index });
            first += rows;
        }
        Ok(parts)
    }

    fn build_text(&self, field: &Arc<IndexedField>, rows: Range<u32>, binding: u64) -> Result<Vec<u8>, Error> {
        let analyze = |row: u32| -> Result<RowTerms, Error> {
            let row = Ordinal(row);
            let payload = match self.segment.payload_is_sound(row) {
                true => self.segment.payload(row),
                false => b"{}",
            };
            Ok(field.analyze(&super::payload_index::parse(payload, self.segment.point_id(row))?))
        };
        let mut builder = Builder::new(field.bm25());
        let stop = CancellationToken::current();
        for from in rows.clone().step_by(STEP as usize) {
            stop.check()?;
            let until = rows.end.min(from + STEP);
            let terms = (from..until).into_par_iter().map(analyze).collect::<Result<Vec<RowTerms>, _>>()?;
            terms.iter().for_each(|row| row.add_to(&mut builder));
        }
        Ok(builder.finish(binding))
    }
}

impl Sealed {
    /// Returns the updated texts of a field.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload; `Abandoned`.
    pub(crate) fn updated_texts(
        &self,
        field: &Arc<IndexedField>,
        text: &SealedText,
    ) -> Result<Arc<UpdatedTexts>, Error> {
        let updates = self.updates();
        let mut known = lock(&text.updated);
        if known.version >= updates.version() {
            return Ok(known.clone());
        }
        let stop = CancellationToken::current();
        let mut next = UpdatedTexts { version: updates.version(), ..UpdatedTexts::default() };
        for (count, (row, payload)) in updates.iter().enumerate() {
            if count.is_multiple_of(256) {
                stop.check()?;
            }
            let terms = match known.analyzed.get(&row) {
                Some((before, terms)) if Arc::ptr_eq(before, payload) => terms.clone(),
                _ => self.updated_terms(field, row, payload)?,
            };
            if terms.is_some() {
                next.rows.push(row);
            }
            next.analyzed.insert(row, (payload.clone(), terms));
        }
        next.rows.sort_unstable();
        next.index = Builder::new(field.bm25());
        for row in &next.rows {
            if let Some((_, Some(terms))) = next.analyzed.get(row) {
                terms.add_to(&mut next.index);
            }
        }
        *known = Arc::new(next);
        Ok(known.clone())
    }

    /// Returns the terms of an updated payload; none if its text is that of the file.
    fn updated_terms(&self, field: &Arc<IndexedField>, row: u32, payload: &[u8]) -> Result<Option<RowTerms>, Error> {
        let id = self.segment.point_id(Ordinal(row));
        let payload = super::payload_index::parse(payload, id)?;
        let texts = |payload: &Payload| {
            let mut texts = Vec::new();
            field.texts(payload, &mut |text| texts.push(text.to_owned()));
            texts
        };
        if self.segment.payload_is_sound(Ordinal(row)) {
            let before = super::payload_index::parse(self.segment.payload(Ordinal(row)), id)?;
            if texts(&before) == texts(&payload) {
                return Ok(None);
            }
        }
        Ok(Some(field.analyze(&payload)))
    }
}

impl SealedText {
    /// As [`SealedTexts::rows_with`], for one field.
    fn rows_with(&self, field: &IndexedField, matches: &TextMatch) -> Option<RoaringBitmap> {
        let mut terms: Vec<Box<str>> = Vec::new();
        field.analyzer.for_each(matches.text(), |token| terms.push(token.term.into()));
        // A field that leaves a word out, or stems the beginning of one, does not know the rows.
        let complete = terms.len() == matches.terms().len() && terms.iter().all(|term| term.len() <= MAX_TERM_BYTES);
        if !complete || terms.is_empty() {
            return None;
        }
        let with = |term: &str| {
            let mut rows = RoaringBitmap::new();
            for part in self.parts() {
                part.index.for_each(term, |row, _| _ = rows.insert(part.first + row));
            }
            rows
        };
        let all = |terms: &[Box<str>]| terms.iter().map(|term| with(term)).reduce(|rows, other| rows & other);
        match matches.kind() {
            TextMatchKind::All | TextMatchKind::Phrase => all(&terms),
            TextMatchKind::Any => terms.iter().map(|term| with(term)).reduce(|rows, other| rows | other),
            TextMatchKind::Prefix => all(&terms[..terms.len() - 1]),
            TextMatchKind::Substring => None,
        }
    }

    pub(crate) fn parts(&self) -> &[TextPart] {
        self.parts.get().map_or(&[], Vec::as_slice)
    }

    /// Returns the part with a row.
    pub(crate) fn part_of(&self, row: u32) -> Option<&TextPart> {
        let parts = self.parts();
        parts.get(parts.partition_point(|part| part.first <= row).checked_sub(1)?)
    }

    /// Returns the counts over the live rows.
    pub(crate) fn live_stats(&self, sealed: &Sealed, updated: &UpdatedTexts) -> TextStats {
        let mut stats = TextStats::default();
        self.parts().iter().for_each(|part| stats.add(part.index.stats()));
        let of_length = |length: u32| TextStats { points: u64::from(length > 0), tokens: length.into() };
        for (position, row) in (0..).zip(updated.rows()) {
            if sealed.is_live(Ordinal(*row)) {
                stats.add(of_length(updated.index.length(position)));
            }
        }
        let mut excluded = self.excluded(sealed, updated);
        if excluded.state == (0, 0) {
            return stats;
        }
        let of_excluded = *excluded.stats.get_or_insert_with(|| {
            let mut of_excluded = TextStats::default();
            for part in self.parts() {
                let rows = (0..part.index.rows()).filter(|row| !is_current(sealed, updated, part.first + row));
                rows.for_each(|row| of_excluded.add(of_length(part.index.length(row))));
            }
            of_excluded
        });
        TextStats {
            points: stats.points.saturating_sub(of_excluded.points),
            tokens: stats.tokens.saturating_sub(of_excluded.tokens),
        }
    }

    /// Returns the number of live rows with a term.
    pub(crate) fn live_frequency(&self, sealed: &Sealed, updated: &UpdatedTexts, term: &str) -> u64 {
        let mut all: u64 = self.parts().iter().map(|part| u64::from(part.index.frequency(term))).sum();
        let mut excluded = self.excluded(sealed, updated);
        if excluded.state == (0, 0) {
            return all;
        }
        updated.index.for_each(term, |position, _| {
            let row = updated.rows.get(position as usize);
            all += u64::from(row.is_some_and(|row| sealed.is_live(Ordinal(*row))));
        });
        if let Some(count) = excluded.frequencies.get(term) {
            return all.saturating_sub((*count).into());
        }
        let mut count = 0;
        for part in self.parts() {
            part.index.for_each(term, |row, _| count += u32::from(!is_current(sealed, updated, part.first + row)));
        }
        if excluded.frequencies.len() >= CACHED_TERMS {
            excluded.frequencies.clear();
        }
        excluded.frequencies.insert(term.into(), count);
        all.saturating_sub(count.into())
    }

    /// Returns the counts over excluded rows, emptied if there are more since.
    fn excluded(&self, sealed: &Sealed, updated: &UpdatedTexts) -> MutexGuard<'_, ExcludedTerms> {
        let state = (sealed.segment.rows() - sealed.live_rows(), updated.version);
        let mut excluded = lock(&self.excluded);
        if excluded.state != state {
            *excluded = ExcludedTerms { state, ..ExcludedTerms::default() };
        }
        excluded
    }
}

/// Whether a row is live and has the text of the file.
pub(crate) fn is_current(sealed: &Sealed, updated: &UpdatedTexts, row: u32) -> bool {
    sealed.is_live(Ordinal(row)) && !updated.contains(row)
}

/// The inverted indexes of a growing segment, by the settings of their fields.
#[derive(Default)]
pub(crate) struct GrowingTexts {
    fields: Mutex<Vec<(u64, Arc<RwLock<Builder>>)>>,
    /// Memory used, in bytes. Separate, because writers read it under the lock of the table.
    memory: AtomicUsize,
}

impl GrowingTexts {
    fn of(&self, field: &Arc<IndexedField>) -> Arc<RwLock<Builder>> {
        let mut fields = lock(&self.fields);
        if let Some((_, text)) = fields.iter().find(|(settings, _)| *settings == field.settings) {
            return text.clone();
        }
        let text = Arc::new(RwLock::new(Builder::new(field.bm25())));
        fields.push((field.settings, text.clone()));
        text
    }

    /// Returns the memory used, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    fn measure(&self) {
        let fields: Vec<_> = lock(&self.fields).iter().map(|(_, text)| text.clone()).collect();
        self.memory.store(fields.iter().map(|text| read(text).memory()).sum(), Ordering::Relaxed);
    }

    /// Forgets the indexes of all other fields.
    pub(crate) fn retain(&self, fields: &[Arc<IndexedField>]) {
        lock(&self.fields).retain(|(settings, _)| fields.iter().any(|field| field.settings == *settings));
    }
}

/// Locks an index for reading.
pub(crate) fn read(text: &RwLock<Builder>) -> RwLockReadGuard<'_, Builder> {
    text.read().unwrap_or_else(PoisonError::into_inner)
}

impl Growing {
    /// Returns the index of a field, extended to all rows.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload; `Abandoned`.
    pub(crate) fn text(&self, field: &Arc<IndexedField>) -> Result<Arc<RwLock<Builder>>, Error> {
        let text = self.texts.of(field);
        let stop = CancellationToken::current();
        loop {
            stop.check()?;
            let from = read(&text).rows();
            let payloads: Vec<Box<[u8]>> = {
                let table = self.read();
                let until = table.rows().min(from + STEP);
                // Copied, because a thread must not hold the table while it waits for others.
                (from..until.max(from)).map(|row| Box::from(table.payload(row))).collect()
            };
            if payloads.is_empty() {
                return Ok(text);
            }
            let analyze = |index: usize, payload: &[u8]| {
                let id = || self.read().ids[from as usize + index].to_string();
                let payload =
                    serde_json::from_slice(payload).map_err(|error| super::payload_index::damaged(&id(), &error))?;
                Ok(field.analyze(&payload))
            };
            // A few rows are analyzed faster here than by other threads.
            let terms = match payloads.len() {
                0..64 => payloads.iter().enumerate().map(|(index, payload)| analyze(index, payload)).collect::<Result<
                    Vec<RowTerms>,
                    Error,
                >>(
                )?,
                _ => payloads.par_iter().enumerate().map(|(index, payload)| analyze(index, payload)).collect::<Result<
                    Vec<RowTerms>,
                    Error,
                >>(
                )?,
            };
            let mut builder = text.write().unwrap_or_else(PoisonError::into_inner);
            if builder.rows() == from {
                terms.iter().for_each(|row| row.add_to(&mut builder));
                drop(builder);
                self.texts.measure();
            }
        }
    }
}

impl Growing {
    /// Publishes the index of a field for the segment that these rows were flushed to, so that no query waits for it.
    ///
    /// # Errors
    /// Those of [`text`](Self::text).
    pub(crate) fn publish_text(&self, field: &Arc<IndexedField>, rows: &[u32], segment: &Segment) -> Result<(), Error> {
        let text = self.text(field)?;
        let bytes = read(&text).with_rows(rows).finish(field.binding(segment.tag(), 0));
        super::payload_index::publish_cache(segment, &segment.id().terms_file(field.settings, 0), &bytes);
        Ok(())
    }
}

/// Returns the rows of a new part that begins at row `first`: at least one.
fn part_rows(segment: &Segment, first: u32, part_bytes: u64) -> Range<u32> {
    let mut bytes = 0;
    let until = (first..segment.rows()).find(|row| {
        bytes += segment.payload_len(Ordinal(*row));
        bytes > part_bytes && *row > first
    });
    first..until.unwrap_or(segment.rows())
}

/// Opens the index file of a part, if it exists and is intact.
fn open(segment: &Segment, field: &Arc<IndexedField>, part: usize) -> Option<InvertedIndex> {
    let (path, _, opened) = from_file(segment, field, part)?;
    opened
        .inspect_err(|error| {
            tracing::error!(path = %path.display(), %error, "an inverted index cannot be used; it is rebuilt");
        })
        .ok()
}

/// Returns path, length and index of a part's file; `None` without a file.
fn from_file(
    segment: &Segment,
    field: &Arc<IndexedField>,
    part: usize,
) -> Option<(PathBuf, u64, Result<InvertedIndex, String>)> {
    let path = segment.path().with_file_name(segment.id().terms_file(field.settings, part));
    let bytes = disk::file_len(&path).ok()??;
    let opened = Mapping::open(&path).map_err(|error| error.to_string());
    let binding = field.binding(segment.tag(), part);
    Some((path, bytes, opened.and_then(|file| InvertedIndex::open(FileBytes::Mapped(file), binding))))
}

/// Reads the index files of a field of a segment in full.
pub(super) fn check_texts(segment: &Segment, field: &Arc<IndexedField>) -> Vec<CheckedFile> {
    let checked = (0..).map_while(|part| from_file(segment, field, part));
    checked.map(|(path, bytes, opened)| (path, bytes, opened.map(drop))).collect()
}

/// Publishes an index as the file of a part. If that fails (full disk), it is used from memory.
fn publish(segment: &Segment, field: &Arc<IndexedField>, part: usize, bytes: Vec<u8>) -> Result<InvertedIndex, Error> {
    super::payload_index::publish_cache(segment, &segment.id().terms_file(field.settings, part), &bytes);
    match open(segment, field, part) {
        Some(index) => Ok(index),
        None => own(bytes, field.binding(segment.tag(), part)),
    }
}

/// Opens an index in memory.
fn own(bytes: Vec<u8>, binding: u64) -> Result<InvertedIndex, Error> {
    InvertedIndex::open(FileBytes::Memory(bytes), binding)
        .map_err(|what| Error::Unavailable(format!("a newly built inverted index is invalid: {what}")))
}
