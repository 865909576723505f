//! Reader of JSON objects with `text`, `vector` or `image` and further fields: one per line, as elements of an array,
//! or consecutive.
//!
//! `id` (or `_id`) is a string or a whole number; a record without one gets an id derived from its content. `image` is
//! base64, or the path of an image file relative to this one. The vector may also be called `embedding` or `values`,
//! the payload `metadata` beside `values`. The payload consists of the object `payload` and all fields with other
//! names. An object `vectors` holds vectors of vector fields by name: lists of numbers, objects with `indices` and
//! `values`, or lists of lists; with it, or with `"vector": null`, a point may have no vector. A vector with another name beside a text or image is refused.

use super::images;
use super::lines::Lines;
use super::values::Values;
use crate::api::{FieldVectors, Item, Payload, PointInput};
use crate::cli::load::input_stream::InputStream;
use crate::cli::load::record::{FilePosition, RecordError, Records, content_id};
use crate::cli::output::brief;
use crate::collection;
use crate::embed::image_decode::has_image_extension;
use crate::types::PointId;
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// Maximum length of an object, bytes: an image as base64 fits.
const MAX_OBJECT: usize = 64 << 20;

/// Maximum number of fields named in a message.
const MAX_NAMED_FIELDS: usize = 8;

/// The objects of a file.
pub(crate) struct JsonRecords {
    body: Body,
    folder: PathBuf,
    id_prefix: String,
}

enum Body {
    Lines(Lines),
    Values(Values),
}

impl JsonRecords {
    /// Reads one object per line.
    pub(crate) fn lines(source: InputStream, id_prefix: &str) -> Self {
        Self::new(source, id_prefix, |source| Body::Lines(Lines::new(source, MAX_OBJECT)))
    }

    /// Reads elements of an array, or consecutive objects.
    pub(crate) fn values(source: InputStream, id_prefix: &str) -> Self {
        Self::new(source, id_prefix, |source| Body::Values(Values::new(source, MAX_OBJECT)))
    }

    fn new(source: InputStream, id_prefix: &str, body: fn(InputStream) -> Body) -> Self {
        let folder = source.path().parent().map(Path::to_owned).unwrap_or_default();
        Self { body: body(source), folder, id_prefix: id_prefix.into() }
    }

    fn source(&self) -> &InputStream {
        match &self.body {
            Body::Lines(lines) => lines.input(),
            Body::Values(values) => values.input(),
        }
    }

    /// Returns the next object.
    fn object(&mut self) -> Option<Result<Result<Payload, serde_json::Error>, RecordError>> {
        match &mut self.body {
            Body::Lines(lines) => loop {
                match lines.next_line()? {
                    Ok(line) if line.trim().is_empty() => {}
                    Ok(line) => return Some(Ok(serde_json::from_str(line))),
                    Err(error) => return Some(Err(error)),
                }
            },
            Body::Values(values) => Some(values.next_value()?.map(serde_json::from_slice)),
        }
    }
}

impl Iterator for JsonRecords {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.object()?.and_then(|object| {
            let object = object.map_err(|error| format!("not a JSON object: {error}"));
            let item = object.and_then(|object| item(object, &self.id_prefix, &self.folder));
            item.map_err(|what| RecordError::record(self.file_position(), what))
        }))
    }
}

impl Records for JsonRecords {
    fn bytes_read(&self) -> u64 {
        self.source().bytes_read()
    }
    fn bytes_total(&self) -> u64 {
        self.source().bytes_total()
    }
    fn file_position(&self) -> FilePosition {
        match &self.body {
            Body::Lines(lines) => lines.file_position(),
            Body::Values(values) => values.file_position(),
        }
    }
    fn rows_seen(&self) -> u64 {
        0
    }
}

/// Renames a field, if the new name is free and the value fits: other programs use other names.
fn rename(object: &mut Payload, from: &str, to: &str, fits: fn(&Value) -> bool) -> bool {
    if object.contains_key(to) || !object.get(from).is_some_and(fits) {
        return false;
    }
    if let Some(value) = object.remove(from) {
        object.insert(to.into(), value);
    }
    true
}

fn numbers(value: &Value) -> bool {
    value.as_array().and_then(|items| items.first()).is_some_and(Value::is_number)
}

/// Minimum length of a list to be recognized as a vector by its name.
const MIN_VECTOR_LENGTH: usize = 8;

/// Whether a name is a common one for vectors: `embeddings`, `emb`, `vec`, `vector_1`, `dense_vector`.
fn is_vector_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("vector")
        || name.split(|c: char| !c.is_ascii_alphabetic()).any(|word| {
            matches!(word, "emb" | "embs" | "embedding" | "embeddings" | "vec" | "vecs" | "vector" | "vectors")
        })
}

/// A vector in a field with an unsupported name.
struct Unread {
    what: String,
    /// Code that decodes it to numbers.
    decode: &'static str,
}

/// Recognizes values that can only be vectors: a list of numbers, 32-bit floats as base64, or an object containing one.
fn unread_vector(value: &Value) -> Option<Unread> {
    match value {
        Value::Array(numbers) if numbers.len() >= MIN_VECTOR_LENGTH && numbers.iter().all(Value::is_number) => {
            Some(Unread { what: format!("a list of {} numbers", numbers.len()), decode: "" })
        }
        Value::String(text) => {
            let bytes = collection::image_from_base64(text).filter(|bytes| bytes.len().is_multiple_of(4))?;
            // Letters that happen to be base64 decode to numbers of all magnitudes.
            let plausible = |bytes: &[u8; 4]| {
                let number = f32::from_le_bytes(*bytes).abs();
                number == 0.0 || (1e-12..1e6).contains(&number)
            };
            (bytes.len() >= 8 && bytes.as_chunks().0.iter().all(plausible)).then(|| Unread {
                what: format!("{} numbers as base64", bytes.len() / 4),
                decode: "decode it (in Python: numpy.frombuffer(base64.b64decode(x), '<f4').tolist()) and ",
            })
        }
        Value::Object(named) => named.iter().find_map(|(name, value)| {
            let Unread { what, decode } = unread_vector(value)?;
            Some(Unread { what: format!("{what} under {name:?}"), decode })
        }),
        _ => None,
    }
}

/// Refuses a record whose text or image would be embedded although it has a vector under an unsupported name.
fn refuse_unread_vectors(object: &Payload) -> Result<(), String> {
    let mut named = object.iter().filter(|(name, _)| is_vector_name(name));
    match named.find_map(|(name, value)| Some((name, unread_vector(value)?))) {
        None => Ok(()),
        Some((name, Unread { what, decode })) => Err(format!(
            "the field {name:?} is {what}, but is not used as the vector; {decode}rename it to \"vector\", or to a \
             name without \"vector\" and \"embedding\" to keep it as payload"
        )),
    }
}

fn item(mut object: Payload, id_prefix: &str, folder: &Path) -> Result<Item, String> {
    rename(&mut object, "_id", "id", |value| value.is_string() || value.is_u64() || value.is_i64());
    rename(&mut object, "embedding", "vector", numbers);
    let has_source = ["text", "vector", "image"].iter().any(|source| object.contains_key(*source));
    if !has_source && rename(&mut object, "values", "vector", numbers) {
        rename(&mut object, "metadata", "payload", Value::is_object);
    }
    let id = match object.remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id),
        Some(Value::Number(id)) if id.is_u64() || id.is_i64() => Some(id.to_string()),
        Some(other) => return Err(format!("\"id\" is {}, it must be a string or a whole number", kind(&other))),
    };
    let vectors = field_vectors(&mut object)?;
    let mut sources = Vec::new();
    if let Some(text) = object.remove("text") {
        let Value::String(text) = text else { return Err(format!("\"text\" is {}, it must be a string", kind(&text))) };
        sources.push(PointInput::Text(text));
    }
    let no_vector = object.get("vector").is_some_and(Value::is_null);
    if let Some(numbers) = object.remove("vector").filter(|numbers| !numbers.is_null()) {
        sources.push(PointInput::Vector(vector(&numbers)?));
    }
    if let Some(given) = object.remove("image") {
        let Value::String(given) = given else {
            return Err(format!("\"image\" is {}, it must be a string", kind(&given)));
        };
        sources.push(PointInput::Image(image(&given, folder)?));
    }
    let found = sources.len();
    // A text beside a vector belongs to the payload: the output of `scroll --json` can be loaded again.
    let source = match (sources.pop(), sources.pop(), found) {
        (Some(source), None, _) => source,
        (Some(vector @ PointInput::Vector(_)), Some(PointInput::Text(text)), 2) => {
            object.insert("text".into(), text.into());
            vector
        }
        (None, ..) if no_vector || !vectors.is_empty() => PointInput::None,
        (None, ..) => {
            let names = object.keys().take(MAX_NAMED_FIELDS).cloned().collect::<Vec<_>>().join(", ");
            return Err(format!(
                "none of the fields \"text\", \"vector\" and \"image\"; found: {}",
                brief(&names, 200)
            ));
        }
        _ => return Err(format!("needs exactly one of \"text\", \"vector\", \"image\"; found {found}")),
    };
    if !matches!(source, PointInput::Vector(_)) {
        refuse_unread_vectors(&object)?;
    }
    let payload = match object.remove("payload") {
        None | Some(Value::Null) => object,
        Some(Value::Object(mut payload)) => {
            payload.append(&mut object);
            payload
        }
        Some(other) => return Err(format!("\"payload\" is {}, it must be an object", kind(&other))),
    };
    let id = id.unwrap_or_else(|| content_id(id_prefix, &source, &payload));
    Ok(Item { id: PointId::new(id).map_err(|error| error.to_string())?, source, payload, vectors })
}

/// Takes the vectors in vector fields: an object `vectors` whose values are vectors. Any other value belongs to the
/// payload.
fn field_vectors(object: &mut Payload) -> Result<FieldVectors, String> {
    let is_vector = |value: &Value| match value {
        Value::Array(items) => items.iter().all(Value::is_number) || items.iter().all(Value::is_array),
        Value::Object(named) => named.contains_key("indices") && named.contains_key("values") && named.len() == 2,
        _ => false,
    };
    let given = object.get("vectors").and_then(Value::as_object);
    if !given.is_some_and(|given| !given.is_empty() && given.values().all(is_vector)) {
        return Ok(FieldVectors::new());
    }
    let Some(given) = object.remove("vectors") else { return Ok(FieldVectors::new()) };
    serde_json::from_value(given).map_err(|error| format!("\"vectors\" has a value that is no vector: {error}"))
}

fn vector(value: &Value) -> Result<Vec<f32>, String> {
    let Value::Array(numbers) = value else {
        return Err(format!("\"vector\" is {}, it must be an array", kind(value)));
    };
    numbers
        .iter()
        .enumerate()
        .map(|(position, number)| {
            let number = number.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
            number.ok_or_else(|| format!("component {position} of \"vector\" is not a number that fits 32 bits"))
        })
        .collect()
}

fn image(given: &str, folder: &Path) -> Result<Vec<u8>, String> {
    if has_image_extension(Path::new(given)) {
        let inside = Path::new(given).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(format!("the image {given:?} must be a path below the folder of this file"));
        }
        return images::read(&folder.join(given));
    }
    let base64 =
        given.split_once(";base64,").filter(|(head, _)| head.starts_with("data:")).map_or(given, |(_, data)| data);
    collection::image_from_base64(base64)
        .ok_or_else(|| "\"image\" is neither base64 nor the path of an image file".into())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PointInput;
    use crate::cli::load::formats::fixture;

    #[test]
    fn objects_become_items() {
        let lines = concat!(
            "{\"id\": \"a\", \"text\": \"hello\", \"lang\": \"en\"}\n",
            "{\"vector\": [1, -2.5], \"payload\": {\"x\": 1}, \"y\": [2]}\n",
            "\n",
            "{\"id\": 7, \"image\": \"aGk=\"}\n",
            "{\"id\": \"b\", \"text\": \"kept\", \"vector\": [1]}\n",
        );
        let file = fixture::file("a.jsonl", lines.as_bytes());
        let (items, errors) = fixture::items(&file.path);
        assert!(errors.is_empty(), "{errors:?}");
        let ids = items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>();
        assert_eq!((ids[0], ids[1].len(), ids[2], ids[3]), ("a", 24, "7", "b"));
        assert_eq!(items[0].source, PointInput::Text("hello".into()));
        assert_eq!(items[0].payload["lang"], "en");
        assert_eq!(items[1].source, PointInput::Vector(vec![1.0, -2.5]));
        assert_eq!(serde_json::to_string(&items[1].payload).unwrap(), "{\"x\":1,\"y\":[2]}");
        assert_eq!(items[2].source, PointInput::Image(b"hi".to_vec()));
        assert_eq!(
            (&items[3].source, &items[3].payload["text"]),
            (&PointInput::Vector(vec![1.0]), &Value::from("kept"))
        );
    }

    #[test]
    fn field_names_of_other_programs_are_accepted() {
        let lines = concat!(
            "{\"_id\": \"1\", \"title\": \"t\", \"text\": \"a storm\"}\n",
            "{\"id\": \"a\", \"embedding\": [1, 0], \"text\": \"x\"}\n",
            "{\"id\": \"b\", \"values\": [1, 0], \"metadata\": {\"n\": 1}}\n",
            "{\"id\": \"c\", \"_id\": \"d\", \"text\": \"x\", \"values\": [1], \"embedding\": \"none\"}\n",
            "{\"_id\": {\"$oid\": \"5\"}, \"document\": \"x\"}\n",
        );
        let file = fixture::file("a.jsonl", lines.as_bytes());
        let (items, errors) = fixture::items(&file.path);
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["1", "a", "b", "c"]);
        assert_eq!((&items[0].source, &items[0].payload["title"]), (&PointInput::Text("a storm".into()), &"t".into()));
        assert_eq!((&items[1].source, &items[1].payload["text"]), (&PointInput::Vector(vec![1.0, 0.0]), &"x".into()));
        assert_eq!((&items[2].source, &items[2].payload["n"]), (&PointInput::Vector(vec![1.0, 0.0]), &1.into()));
        assert_eq!((&items[3].source, items[3].payload.len()), (&PointInput::Text("x".into()), 3));
        assert!(errors.len() == 1 && errors[0].contains("line 5: none of the fields \"text\""), "{errors:?}");
        assert!(errors[0].contains("_id, document"), "{errors:?}");
    }

    #[test]
    fn a_vector_under_an_unsupported_name_is_refused_beside_a_text() {
        let read = |field: &str| {
            let file =
                fixture::file("a.jsonl", format!("{{\"id\": \"a\", \"text\": \"a storm\", {field}}}\n").as_bytes());
            fixture::items(&file.path)
        };
        let numbers = "[0.1, 2, -3, 4e-3, 5, 6, 7, 8]";
        for (name, value, part) in [
            ("embeddings", numbers, "a list of 8 numbers"),
            ("emb", numbers, "rename it to \"vector\""),
            ("vec", numbers, "list"),
            ("vector_1", numbers, "list"),
            ("Dense_Vector", numbers, "list"),
            ("text-embedding", numbers, "list"),
            ("embedding", "\"AACAPwAAAEA=\"", "2 numbers as base64, but is not used as the vector; decode it"),
        ] {
            let (items, errors) = read(&format!("\"{name}\": {value}"));
            assert!(items.is_empty() && errors.len() == 1, "{name}: {items:?}");
            assert!(errors[0].contains(&format!("{name:?}")) && errors[0].contains(part), "{errors:?}");
        }
        let (items, errors) = read(&format!("\"vectors\": {{\"default\": {numbers}}}"));
        assert!(errors.is_empty() && items[0].vectors.contains_key("default"), "the vector of a field: {items:?}");
        for field in [
            format!("\"scores\": {numbers}"),
            format!("\"values\": {numbers}"),
            format!("\"payload\": {{\"embeddings\": {numbers}}}"),
            format!("\"vector\": [1, 2], \"embeddings\": {numbers}"),
            "\"emb\": [1, 2, 3]".into(),
            "\"vectorizer\": \"tfidfcharacters1\"".into(),
            "\"embedding\": \"none\"".into(),
            "\"vec\": [\"a\", 2, 3, 4, 5, 6, 7, 8]".into(),
            format!("\"invector\": {numbers}"),
        ] {
            let (items, errors) = read(&field);
            assert_eq!((items.len(), errors), (1, vec![]), "{field}");
        }
    }

    #[test]
    fn elements_of_an_array_and_objects_over_several_lines_become_items() {
        let text = "[\n  {\"id\": \"a\", \"text\": \"x\"},\n  {\"id\": \"b\",\n   \"tex\": 1},\n  [1],\n  {\"text\": \"y\"}\n]\n";
        for (name, bytes) in [("a.json", text.as_bytes().to_vec()), ("a.json.gz", fixture::gzip(text.as_bytes()))] {
            let file = fixture::file(name, &bytes);
            let (items, errors) = fixture::items(&file.path);
            assert_eq!(items.iter().map(fixture::text).collect::<Vec<_>>(), ["x", "y"]);
            assert!(errors.len() == 2 && errors[0].contains("line 3: none of the fields"), "{errors:?}");
            assert!(errors[1].contains("line 5: not a JSON object"), "{errors:?}");
        }
        let file = fixture::file("a.json", b"{\n  \"text\": \"x\"\n}\n{\n  \"text\": \"y\"\n}\n");
        assert_eq!(fixture::items(&file.path).0.iter().map(fixture::text).collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn invalid_objects_are_reported_and_skipped() {
        let deep = format!("{{\"text\": {}", "[".repeat(5_000));
        let long_id = format!("{{\"id\": \"{}\", \"text\": \"x\"}}", "i".repeat(129));
        let lines = [
            "{\"text\": \"good\"}",
            "{\"text\": \"cut",
            "[1, 2]",
            "{\"text\": 1}",
            "{}",
            "{\"vector\": [1, \"x\"]}",
            "{\"vector\": [1e99]}",
            "{\"id\": 1.5, \"text\": \"x\"}",
            "{\"id\": \"\", \"text\": \"x\"}",
            "{\"image\": \"../../etc/passwd.png\"}",
            "{\"image\": \"/etc/passwd.png\"}",
            "{\"image\": \"missing.png\"}",
            "{\"image\": \"not base64!\"}",
            "{\"text\": \"a\", \"image\": \"aGk=\"}",
            "{\"text\": \"x\", \"payload\": 3}",
            &deep,
            &long_id,
        ];
        let file = fixture::file("a.jsonl", lines.join("\n").as_bytes());
        let (items, errors) = fixture::items(&file.path);
        assert_eq!(items.len(), 1);
        assert_eq!(errors.len(), lines.len() - 1, "{errors:#?}");
        for (position, error) in errors.iter().enumerate() {
            assert!(error.contains(&format!("line {}: ", position + 2)), "{error}");
        }
    }

    #[test]
    fn an_image_beside_the_file_is_read() {
        let file = fixture::file("a.jsonl", b"{\"image\": \"seven.png\"}\n");
        std::fs::write(file.path.parent().unwrap().join("seven.png"), b"pixels").unwrap();
        let (items, errors) = fixture::items(&file.path);
        assert_eq!((items[0].source.clone(), errors), (PointInput::Image(b"pixels".to_vec()), vec![]));
    }
}
