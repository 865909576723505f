//! Splitting of long texts into overlapping blocks: points with their parent's id and their position in the text.
//!
//! The text `a` becomes the points `a#0`, `a#1` and so on. Each payload is that of the text plus five fields: `parent`
//! (`a`), `block` (0, 1, ...), `start` and `end` (a half-open range of characters in the text), and `text`, the text of
//! the block.
//!
//! A point is a block only if its id agrees with all of `parent`, `block`, `start` and `end` ([`parent_of`]), because
//! users have fields named `parent` of their own.

use super::TEXT_FIELD;
use crate::api::limits::{self, MAX_BATCH};
use crate::api::{Error, FieldVectors, Filter, Item, Payload, PointInput, Scalar};
use crate::types::PointId;
use serde_json::Value;

/// Payload field with the id of the text.
pub const PARENT_FIELD: &str = "parent";
/// Payload field with the number of the block.
pub const BLOCK_FIELD: &str = "block";
/// Payload fields with the first character of the block, and the character after its last.
pub const POSITION_FIELDS: [&str; 2] = ["start", "end"];
/// Maximum words per block.
pub const MAX_WORDS: u32 = 100_000;

/// Maximum total size of the blocks of one write, bytes of text and payload. Each block has a copy of its text's
/// payload, and overlapping texts are stored more than once.
pub const MAX_BYTES: usize = 64 << 20;

/// Splitting parameters: the words per block, and the overlap with the previous block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocks {
    /// Words per block; words are separated by white space.
    pub words: u32,
    /// Words shared by two consecutive blocks.
    pub overlap: u32,
}

/// A block of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// The text from its first word to its last.
    pub text: &'a str,
    /// Index of its first character in the text.
    pub start: usize,
    /// Index of the character after its last.
    pub end: usize,
}

impl Blocks {
    /// Blocks of this many words, without overlap.
    pub const fn new(words: u32) -> Self {
        Self { words, overlap: 0 }
    }

    /// Sets the number of words shared by two consecutive blocks.
    pub const fn overlap(mut self, words: u32) -> Self {
        self.overlap = words;
        self
    }

    /// Checks that `words` is in range and greater than `overlap`.
    ///
    /// # Errors
    /// `InvalidInput` naming the field and the limit.
    pub fn check(self, field: &str) -> Result<(), Error> {
        if !(1..=MAX_WORDS).contains(&self.words) {
            return Err(Error::invalid(
                format!("{field}.words"),
                format!("takes 1 to {MAX_WORDS}, got {}", self.words),
            ));
        }
        if self.overlap >= self.words {
            let (overlap, words) = (self.overlap, self.words);
            return Err(Error::invalid(
                format!("{field}.overlap"),
                format!("must be less than words ({words}), got {overlap}"),
            ));
        }
        Ok(())
    }

    /// Splits a text into blocks; a text without words has none. The last block may be shorter, but no block lies
    /// within another.
    pub fn split(self, text: &str) -> Vec<Block<'_>> {
        // Start byte, end byte, start character and end character of each word.
        let mut words: Vec<(usize, usize, usize, usize)> = Vec::new();
        let mut open: Option<(usize, usize)> = None;
        let mut characters = 0;
        for (byte, c) in text.char_indices() {
            match (c.is_whitespace(), open) {
                (false, None) => open = Some((byte, characters)),
                (true, Some((start, first))) => {
                    words.push((start, byte, first, characters));
                    open = None;
                }
                _ => {}
            }
            characters += 1;
        }
        words.extend(open.map(|(start, first)| (start, text.len(), first, characters)));
        let step = self.words.saturating_sub(self.overlap).max(1) as usize;
        let mut blocks = Vec::new();
        for from in (0..words.len()).step_by(step) {
            let until = words.len().min(from + self.words.max(1) as usize);
            let (first, last) = (words[from], words[until - 1]);
            blocks.push(Block { text: &text[first.0..last.1], start: first.2, end: last.3 });
            if until == words.len() {
                break;
            }
        }
        blocks
    }

    /// Splits all items of a write into blocks.
    ///
    /// # Errors
    /// Those of [`check`](Self::check) and [`items`](Self::items); `InvalidInput` if there are too many blocks for one
    /// write.
    pub fn all(self, items: Vec<Item>) -> Result<Vec<Item>, Error> {
        self.check("blocks")?;
        let (mut points, mut bytes) = (Vec::new(), 0);
        for (index, item) in items.into_iter().enumerate() {
            let field = format!("items[{index}]");
            let (blocks, more) = self.items(&field, item)?;
            points.extend(blocks);
            bytes += more;
            within(&field, "with it the blocks of this write", points.len(), bytes)?;
        }
        Ok(points)
    }

    /// Splits an item into blocks; returns them with their total bytes. `field` names the item in errors.
    ///
    /// # Errors
    /// `InvalidInput` if the item is not a text, has no words, has a payload field with a reserved name, has an id too
    /// long for the block number to be appended, or has more blocks than one write may contain.
    pub fn items(self, field: &str, item: Item) -> Result<(Vec<Item>, usize), Error> {
        let Item { id, source, payload, vectors } = item;
        if let Some(name) = vectors.keys().next() {
            let what = "a text that is split into blocks takes no vectors of fields: write the blocks as items";
            return Err(Error::invalid(format!("{field}.vectors[{name:?}]"), what));
        }
        let PointInput::Text(text) = source else {
            return Err(Error::invalid(field, "only texts are split into blocks"));
        };
        let [start, end] = POSITION_FIELDS;
        if let Some(taken) =
            [PARENT_FIELD, BLOCK_FIELD, start, end, TEXT_FIELD].into_iter().find(|name| payload.contains_key(*name))
        {
            let why = "is a field that each block sets itself; leave it out, or give it another name";
            return Err(Error::invalid(format!("{field}.payload.{taken}"), why));
        }
        let blocks = self.split(&text);
        if blocks.is_empty() {
            return Err(Error::invalid(format!("{field}.text"), "has no word"));
        }
        let payload_bytes = limits::payload(&format!("{field}.payload"), &payload)?.len();
        let bytes = blocks.iter().map(|block| block.text.len() + payload_bytes).sum();
        within(field, "its blocks", blocks.len(), bytes)?;
        let items = blocks.into_iter().enumerate().map(|(number, block)| {
            let mut payload = payload.clone();
            payload.insert(PARENT_FIELD.into(), id.as_str().into());
            payload.insert(BLOCK_FIELD.into(), number.into());
            payload.insert(start.into(), block.start.into());
            payload.insert(end.into(), block.end.into());
            let id = PointId::new(format!("{}#{number}", id.as_str())).map_err(|error| {
                Error::invalid(format!("{field}.id"), format!("with the number of its block: {error}"))
            })?;
            Ok(Item { id, source: PointInput::Text(block.text.into()), payload, vectors: FieldVectors::new() })
        });
        Ok((items.collect::<Result<_, Error>>()?, bytes))
    }
}

/// Returns an error if there are more blocks than one write may contain.
fn within(field: &str, what: &str, blocks: usize, bytes: usize) -> Result<(), Error> {
    if blocks > MAX_BATCH || bytes > MAX_BYTES {
        let limits = format!("at most {MAX_BATCH} and {MAX_BYTES} bytes");
        return Err(Error::invalid(
            field,
            format!("{what} are {blocks} with {bytes} bytes of text and payload, {limits}"),
        ));
    }
    Ok(())
}

/// Returns a filter that matches the blocks of these texts, and also other points whose field `parent` names one of
/// them; callers filter with [`parent_of`].
pub(crate) fn candidates<'a>(texts: impl Iterator<Item = &'a PointId>) -> Filter {
    Filter::among(PARENT_FIELD, texts.map(|id| Scalar::from(id.as_str())))
}

/// Returns the id of the text that a block with this id would belong to.
pub(crate) fn parent_by_id(id: &PointId) -> Option<&str> {
    id.as_str().rsplit_once('#').map(|(parent, _)| parent)
}

/// Returns the id of the text that a point is a block of; none unless its id and all fields of a block agree.
pub fn parent_of<'a>(id: &PointId, payload: &'a Payload) -> Option<&'a str> {
    let whole = |field: &str| {
        let value = payload.get(field)?;
        // Numbers from the wire may be floats.
        value
            .as_u64()
            .or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..1e15).contains(x)).map(|x| x as u64))
    };
    let parent = payload.get(PARENT_FIELD).and_then(Value::as_str)?;
    let [start, end] = POSITION_FIELDS.map(whole);
    let is_block = start? < end? && id.as_str() == format!("{parent}#{}", whole(BLOCK_FIELD)?);
    is_block.then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Payload;

    fn split(words: u32, overlap: u32, text: &str) -> Vec<(&str, usize, usize)> {
        Blocks { words, overlap }.split(text).into_iter().map(|block| (block.text, block.start, block.end)).collect()
    }

    #[test]
    fn blocks_overlap_and_the_last_one_ends_the_text() {
        let text = "a b  c\nd é";
        assert_eq!(split(2, 1, text), [("a b", 0, 3), ("b  c", 2, 6), ("c\nd", 5, 8), ("d é", 7, 10)]);
        assert_eq!(split(3, 1, text), [("a b  c", 0, 6), ("c\nd é", 5, 10)]);
        assert_eq!(split(2, 0, text), [("a b", 0, 3), ("c\nd", 5, 8), ("é", 9, 10)]);
        assert_eq!(split(9, 3, "  漢字 b "), [("漢字 b", 2, 6)]);
        assert_eq!(split(5, 4, " \n "), []);
        for (block, start, end) in split(2, 1, text) {
            assert_eq!(text.chars().skip(start).take(end - start).collect::<String>(), block);
        }
    }

    #[test]
    fn every_word_is_in_a_block_and_neighbours_share_the_overlap() {
        let words: Vec<String> = (0..97).map(|i| format!("w{i}")).collect();
        let text = words.join(" ");
        for (size, overlap) in [(1, 0), (10, 0), (10, 3), (10, 9), (97, 5), (200, 1)] {
            let blocks = split(size, overlap, &text);
            let numbers =
                |block: &str| -> Vec<usize> { block.split(' ').map(|word| word[1..].parse().unwrap()).collect() };
            let mut next = 0;
            for (index, (block, ..)) in blocks.iter().enumerate() {
                let numbers = numbers(block);
                assert!(numbers.len() == size as usize || index + 1 == blocks.len());
                assert_eq!(numbers[0], next, "{size} {overlap}");
                next = numbers[numbers.len() - 1] + 1 - overlap as usize;
            }
            assert_eq!(next + overlap as usize, 97);
        }
    }

    #[test]
    fn a_text_that_cannot_be_split_is_refused_by_name() {
        let item = |source, payload| Item {
            id: PointId::new("x".repeat(127)).unwrap(),
            source,
            payload,
            vectors: Default::default(),
        };
        let blocks = Blocks { words: 1, overlap: 0 };
        let refused = |item| blocks.items("items[3]", item).unwrap_err().to_string();
        assert!(refused(item(PointInput::Vector(vec![1.0]), Payload::new())).contains("items[3]"));
        assert!(refused(item(PointInput::Text(" ".into()), Payload::new())).contains("items[3].text"));
        let taken = Payload::from_iter([("block".to_owned(), 7.into())]);
        assert!(refused(item(PointInput::Text("a".into()), taken)).contains("items[3].payload.block"));
        assert!(refused(item(PointInput::Text("a".into()), Payload::new())).contains("items[3].id"));
        let with_vector = item(PointInput::Text("a".into()), Payload::new())
            .field_vector("title", crate::api::FieldVector::Dense(vec![1.0]));
        assert!(refused(with_vector).contains("items[3].vectors[\"title\"]"));
        // A payload of 1 MB in each of 100 blocks.
        let short = |id: &str, text: &str, payload: &str| Item {
            id: PointId::new(id).unwrap(),
            source: PointInput::Text(text.into()),
            payload: Payload::from_iter([("x".to_owned(), payload.into())]),
            vectors: Default::default(),
        };
        let (text, large) = ("a ".repeat(100), "x".repeat(1_000_000));
        let error = blocks.items("items[3]", short("a", &text, &large)).unwrap_err().to_string();
        assert!(error.contains("its blocks are 100 with 100000900 bytes") && error.contains("67108864"), "{error}");
        let error = blocks.items("items[3]", short("a", &"a ".repeat(10_001), "")).unwrap_err().to_string();
        assert!(error.contains("are 10001 with") && error.contains("at most 10000 and"), "{error}");
        let half = "a ".repeat(50);
        assert!(blocks.all(vec![short("a", &half, &large)]).is_ok());
        let error = blocks.all(vec![short("a", &half, &large), short("b", &half, &large)]).unwrap_err().to_string();
        assert!(error.contains("items[1]"), "{error}");
        assert!(Blocks { words: 0, overlap: 0 }.check("blocks").is_err());
        assert!(Blocks { words: 5, overlap: 5 }.check("blocks").is_err());
        assert!(Blocks { words: 5, overlap: 4 }.check("blocks").is_ok());
    }
}
