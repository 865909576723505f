//! Conversion of inputs (vector, text, image) to validated vectors of a collection.

use super::commit::PreparedPoint;
use super::embedder_pin::EmbedderBinding;
use super::embedder_probe;
use super::state::Collection;
use crate::api::{
    CancellationToken, Error, FieldVector, FieldVectors, Item, MAX_FIELDS_BYTES, Payload, PointInput, limits,
};
use crate::embed::{self, Embedder, Input, OutputLayer, embed_in_chunks, image_decode};
use crate::store::body;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::sync::Arc;

/// Payload field that stores the text of a point given as text.
pub const TEXT_FIELD: &str = "text";

/// Payload field that stores the image of a point, as base64.
pub const IMAGE_FIELD: &str = "image";

/// Encodes with padding, decodes with or without it (RFC 4648, section 4).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Encodes the bytes of an image file for [`IMAGE_FIELD`].
pub fn image_to_base64(image: &[u8]) -> String {
    BASE64.encode(image)
}

/// Decodes the bytes of an image file from base64 in the standard or the URL alphabet, with optional padding (RFC
/// 4648). Returns none if the text is not base64 or is empty.
pub fn image_from_base64(text: &str) -> Option<Vec<u8>> {
    let bytes = if text.contains(['-', '_']) {
        BASE64.decode(text.replace('-', "+").replace('_', "/"))
    } else {
        BASE64.decode(text)
    };
    bytes.ok().filter(|bytes| !bytes.is_empty())
}

/// What an item without a vector means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// An error, unless points of the collection may have no vector.
    Refused,
    /// The point keeps its vector.
    Kept,
}

impl Collection {
    /// Fails if the collection has no vectors of its own. `field` is the path of what needs them.
    pub(crate) fn ensure_vectors(&self, field: &str) -> Result<(), Error> {
        if self.dimension > 0 {
            return Ok(());
        }
        let what = "the collection has no vectors of its own: use a vector field, or keywords";
        Err(Error::invalid(field, what))
    }

    /// Returns the embedder, or the reason why there is none.
    pub(crate) fn embedder(&self, field: &str) -> Result<(&Arc<dyn Embedder>, &OutputLayer), Error> {
        let Some(EmbedderBinding { pin, loaded, refused }) = &self.embedder else {
            return Err(Error::invalid(field, "the collection has no embedder: it takes vectors only"));
        };
        loaded.get().map(|(embedder, output)| (embedder, output)).ok_or_else(|| Error::Fingerprint {
            collection: self.name().to_string(),
            embedder: pin.name.clone(),
            pinned: pin.fingerprint.to_string(),
            loaded: refused.get().map_or_else(|| "no embedder of that fingerprint is loaded: install the collection's model (`nearness models install`), or start the server with --model and its folder".into(), |why| format!("the loaded one is refused: {why}")),
        })
    }

    /// Returns one vector per input, in order. `field` names an input in errors. Returns the first error in order and
    /// embeds nothing after it.
    pub(crate) fn embed(&self, inputs: &[Input<'_>], field: impl Fn(usize) -> String) -> Result<Vec<Vec<f32>>, Error> {
        if let [input @ Input::Text(_)] = inputs {
            // A cancelled call embeds nothing.
            CancellationToken::current().check()?;
            let (embedder, output) = self.embedder(&field(0))?;
            return Ok(vec![self.embedded(&field(0), embedder.embed(output, input))?]);
        }
        self.embed_each(inputs, field, true).into_iter().collect()
    }

    /// Returns one vector or error per input, in order; with `together`, up to the first error. After a cancellation
    /// the remaining inputs are `Abandoned`.
    pub(crate) fn embed_each(
        &self,
        inputs: &[Input<'_>],
        field: impl Fn(usize) -> String,
        together: bool,
    ) -> Vec<Result<Vec<f32>, Error>> {
        if inputs.is_empty() {
            return Vec::new();
        }
        let (embedder, output) = match self.embedder(&field(0)) {
            Ok(found) => found,
            Err(first) => {
                let others = (1..inputs.len()).map(|index| self.embedder(&field(index)).map(|_| Vec::new()));
                return std::iter::once(Err(first)).chain(others).collect();
            }
        };
        let stop = CancellationToken::current();
        let go_on = |last: &[Result<Vec<f32>, embed::Error>]| {
            !(stop.is_cancelled() || together && last.iter().any(Result::is_err))
        };
        let vectors = embed_in_chunks(embedder.as_ref(), output, inputs, go_on);
        let left = (vectors.len()..inputs.len()).map(|_| Err(Error::Abandoned));
        let each = vectors.into_iter().enumerate();
        each.map(|(index, result)| self.embedded(&field(index), result)).chain(left).collect()
    }

    /// Validates the vector returned by an embedder.
    fn embedded(&self, field: &str, result: Result<Vec<f32>, embed::Error>) -> Result<Vec<f32>, Error> {
        let vector = result.map_err(|source| Error::Embed { field: field.into(), source })?;
        limits::vector(field, &vector, self.dimension, self.metric)?;
        Ok(vector)
    }

    /// Returns the original item if another embedder, since replaced, embedded it.
    fn given(&self, mut item: Item) -> Item {
        let pinned = self.embedder.as_ref().map(|pinned| &pinned.pin);
        match item.source {
            PointInput::Embedded { by, output, source, .. }
                if !pinned.is_some_and(|pin| pin.fingerprint == by && pin.output == output) =>
            {
                item.source = *source;
            }
            other => item.source = other,
        }
        item
    }

    /// Validates and embeds items independently. `root` returns the field path of an item, for errors.
    ///
    /// Refuses an item whose payload field [`TEXT_FIELD`] or [`IMAGE_FIELD`] differs from its source, because
    /// re-embedding reads these fields.
    pub(crate) fn prepare_each(&self, items: Vec<Item>, root: &dyn Fn(usize) -> String) -> Vec<Result<Item, Error>> {
        self.prepare_items(items, root, false)
    }

    /// Like [`prepare_each`](Self::prepare_each); with `together`, embeds nothing after the first refused item.
    fn prepare_items(
        &self,
        items: Vec<Item>,
        root: &dyn Fn(usize) -> String,
        together: bool,
    ) -> Vec<Result<Item, Error>> {
        let items: Vec<Item> = items.into_iter().map(|item| self.given(item)).collect();
        let field = |(index, item)| format!("{}.{}", root(index), limits::source_field(item));
        let fields: Vec<String> = items.iter().enumerate().map(field).collect();
        let to_embed: Vec<usize> = (0..items.len())
            .filter(|&index| matches!(items[index].source, PointInput::Text(_) | PointInput::Image(_)))
            .collect();
        let inputs: Vec<Input<'_>> = to_embed
            .iter()
            .filter_map(|&index| match &items[index].source {
                PointInput::Text(text) => Some(Input::Text(text)),
                PointInput::Image(bytes) => Some(Input::Image(bytes)),
                PointInput::Vector(_) | PointInput::Embedded { .. } | PointInput::None => None,
            })
            .collect();
        let mut embedded = self.embed_each(&inputs, |index| fields[to_embed[index]].clone(), together).into_iter();
        // Different bytes may be the same image: a BMP and a PNG of it give the same vector.
        let others: Vec<(usize, Vec<u8>)> =
            items.iter().enumerate().filter_map(|(index, item)| Some((index, other_image(item)?))).collect();
        // Beyond the limit of a request they are not compared, so that their items are refused.
        let mut left = image_decode::MAX_REQUEST_PIXELS;
        let inputs: Vec<Input<'_>> = others
            .iter()
            .map_while(|(_, image)| {
                left = left.checked_sub(image_decode::pixels(image).unwrap_or(0))?;
                Some(Input::Image(image.as_slice()))
            })
            .collect();
        let of_others = self.embed_each(&inputs, |index| fields[others[index].0].clone(), together);
        let of_others = of_others.into_iter().chain(std::iter::repeat_with(|| Err(Error::Abandoned)));
        let mut of_others = others.iter().map(|(index, _)| *index).zip(of_others).peekable();
        items
            .into_iter()
            .zip(fields)
            .enumerate()
            .map(|(index, (mut item, field))| {
                let of_other = of_others.next_if(|(of, _)| *of == index).map(|(_, vector)| vector);
                let mut next = || embedded.next().unwrap_or_else(|| Err(Error::invalid(&field, "was not embedded")));
                let prepared = |vector: Vec<f32>, source: PointInput| {
                    let (embedder, output) = self.embedder(&field)?;
                    let (by, source) = (embedder.fingerprint(), Box::new(source));
                    Ok::<_, Error>(PointInput::Embedded { vector, by, output: output.name, source })
                };
                let source = match item.source {
                    PointInput::Vector(vector) => {
                        self.ensure_vectors(&field)?;
                        limits::vector(&field, &vector, self.dimension, self.metric)?;
                        PointInput::Vector(vector)
                    }
                    other @ (PointInput::Embedded { .. } | PointInput::None) => other,
                    PointInput::Text(text) => {
                        let vector = next();
                        keep_text(&root(index), &mut item.payload, &text)?;
                        prepared(vector?, PointInput::Text(text))?
                    }
                    image @ PointInput::Image(_) => {
                        let vector = next()?;
                        let same = |other: &[f32]| embedder_probe::off(other, &vector) <= embedder_probe::ROUNDING;
                        if of_other.is_some_and(|other| !other.is_ok_and(|other| same(&other))) {
                            return Err(ambiguous(&root(index), IMAGE_FIELD));
                        }
                        prepared(vector, image)?
                    }
                };
                let vectors = self.ready_vectors(&root(index), item.vectors)?;
                let vectors = vectors.into_iter().map(|(_, name, vector)| (name, vector)).collect();
                Ok(Item { id: item.id, source, payload: item.payload, vectors })
            })
            .collect()
    }

    /// Converts a prepared item to its stored form. The vector is empty if the item has none.
    pub(crate) fn ready(&self, root: &str, item: &Item, absent: Absent) -> Result<PreparedPoint, Error> {
        let payload = limits::payload(&format!("{root}.payload"), &item.payload)?;
        let part = limits::source_field(item);
        let field = || format!("{root}.{part}");
        let vector = match &item.source {
            PointInput::Vector(vector) | PointInput::Embedded { vector, .. } => {
                limits::rounded(&field, vector.clone(), self.settings.precision, self.dimension, self.metric)?
            }
            PointInput::None if absent == Absent::Kept || self.optional_vectors => Vec::new(),
            PointInput::None => {
                let what = "give a vector, a text or an image: every point of this collection has a vector";
                return Err(Error::invalid(root, what));
            }
            PointInput::Text(_) | PointInput::Image(_) => return Err(Error::invalid(field(), "was not embedded")),
        };
        // A field may have been dropped since the item was prepared.
        let mut vectors = self.ready_vectors(root, item.vectors.clone())?;
        vectors.sort_by_key(|(number, ..)| *number);
        let body = body::encode(&payload, vectors.iter().map(|(number, _, vector)| (*number, vector)));
        let encoded = body::fields(&body).len();
        if encoded > MAX_FIELDS_BYTES {
            let what =
                format!("take {encoded} bytes, at most {MAX_FIELDS_BYTES} are allowed: write fewer or shorter vectors");
            return Err(Error::invalid(format!("{root}.vectors"), what));
        }
        Ok(PreparedPoint { id: item.id.clone(), vector, body })
    }

    /// Checks the vectors of an item, and rounds them to their stored precision. Returns the number and the name of their
    /// fields with them.
    fn ready_vectors(&self, root: &str, vectors: FieldVectors) -> Result<Vec<(u32, String, FieldVector)>, Error> {
        let ready = |(name, vector): (String, FieldVector)| {
            let root = format!("{root}.vectors[{name:?}]");
            let field = self.vector_field(&root, &name)?;
            Ok((field.spec.number, name, field.spec.prepare(&root, vector)?))
        };
        vectors.into_iter().map(ready).collect()
    }

    /// Validates, embeds and stamps a batch; returns the first error in order.
    pub(crate) fn ready_all(&self, items: Vec<Item>) -> Result<Vec<PreparedPoint>, Error> {
        self.ready_items(items, true)
    }

    /// Like [`ready_all`](Self::ready_all), for an update of vectors: points keep their time, and those without a new
    /// vector their vector.
    pub(crate) fn ready_for_update(&self, items: Vec<Item>) -> Result<Vec<PreparedPoint>, Error> {
        self.ready_items(items, false)
    }

    fn ready_items(&self, items: Vec<Item>, is_new: bool) -> Result<Vec<PreparedPoint>, Error> {
        let root = |index: usize| format!("items[{index}]");
        let prepared = self.prepare_items(items, &root, true).into_iter().enumerate();
        let absent = if is_new { Absent::Refused } else { Absent::Kept };
        prepared
            .map(|(index, item)| {
                let (root, mut item) = (root(index), item?);
                if is_new {
                    self.stamp(&root, &mut item)?;
                }
                self.ready(&root, &item, absent)
            })
            .collect()
    }
}

/// Stores the text of an item in its payload. Refuses a payload with a different text.
fn keep_text(root: &str, payload: &mut Payload, text: &str) -> Result<(), Error> {
    match payload.get(TEXT_FIELD) {
        None => drop(payload.insert(TEXT_FIELD.into(), text.into())),
        Some(stored) if stored.as_str() == Some(text) => {}
        Some(_) => return Err(ambiguous(root, TEXT_FIELD)),
    }
    Ok(())
}

/// Returns the image in the payload of an item that is embedded from an image with other bytes. Ignores a field that is
/// not a base64 image, such as a URL.
fn other_image(item: &Item) -> Option<Vec<u8>> {
    let PointInput::Image(image) = &item.source else { return None };
    let stored = item.payload.get(IMAGE_FIELD).and_then(serde_json::Value::as_str).and_then(image_from_base64)?;
    (stored != *image).then_some(stored)
}

fn ambiguous(root: &str, field: &str) -> Error {
    Error::invalid(
        format!("{root}.payload.{field}"),
        format!(
            "is not the {field} that the item is embedded from, and re-embedding reads this payload field; leave it out, or give it another name"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_in_both_alphabets_with_and_without_padding() {
        for (text, bytes) in [("TQ==", "M"), ("TWE=", "Ma"), ("TWFu", "Man"), ("TWFuTQ", "ManM")] {
            assert_eq!(image_from_base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(image_from_base64("-_-_"), Some(vec![0xfb, 0xff, 0xbf]));
        assert_eq!(image_from_base64("-_-_"), image_from_base64("+/+/"));
        assert_eq!(image_from_base64(&image_to_base64(&[0, 255, 7, 8])).as_deref(), Some([0, 255, 7, 8].as_slice()));
        for invalid in ["", "A", "AB*D", "====", "AB CD", "TR=="] {
            assert_eq!(image_from_base64(invalid), None, "{invalid}");
        }
    }
}
