//! JSON lines: an object a line with `text`, `vector` or `image`, and what else belongs to the point.
//!
//! `id` is a string or a whole number, the row number when it is missing. `image` is base64, or the path of an
//! image file relative to this one. The payload is the object `payload` and every field of another name.

use super::images;
use super::lines::Lines;
use super::record::{Place, RecordError, Records};
use super::source::Source;
use crate::collection::{self, Item, Payload};
use crate::embed::picture::has_image_name;
use crate::types::PointId;
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// Longest line, bytes: an image as base64 fits.
const MAX_LINE: usize = 64 << 20;

/// The objects of a file.
pub(crate) struct JsonRecords {
    lines: Lines,
    folder: PathBuf,
    id_prefix: String,
    first_row: u64,
}

impl JsonRecords {
    pub(crate) fn new(source: Source, id_prefix: &str, first_row: u64) -> Self {
        let folder = source.path().parent().map(Path::to_owned).unwrap_or_default();
        Self { lines: Lines::new(source, MAX_LINE), folder, id_prefix: id_prefix.into(), first_row }
    }
}

impl Iterator for JsonRecords {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let object = match self.lines.next_line()? {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => {
                    serde_json::from_str::<Payload>(line).map_err(|error| format!("not a JSON object: {error}"))
                }
                Err(error) => return Some(Err(error)),
            };
            let row_id = format!("{}{}", self.id_prefix, self.first_row + self.lines.number() - 1);
            let item = object.and_then(|object| item(object, row_id, &self.folder));
            return Some(item.map_err(|what| RecordError::record(self.lines.place(), what)));
        }
    }
}

impl Records for JsonRecords {
    fn bytes_read(&self) -> u64 {
        self.lines.source().bytes_read()
    }
    fn bytes_total(&self) -> u64 {
        self.lines.source().bytes_total()
    }
    fn place(&self) -> Place {
        self.lines.place()
    }
    fn rows_seen(&self) -> u64 {
        self.lines.number()
    }
}

fn item(mut object: Payload, row_id: String, folder: &Path) -> Result<Item, String> {
    let id = match object.remove("id") {
        None | Some(Value::Null) => row_id,
        Some(Value::String(id)) => id,
        Some(Value::Number(id)) if id.is_u64() || id.is_i64() => id.to_string(),
        Some(other) => return Err(format!("\"id\" is {}, it must be a string or a whole number", kind(&other))),
    };
    let id = PointId::new(id).map_err(|error| error.to_string())?;
    let mut sources = Vec::new();
    if let Some(text) = object.remove("text") {
        let Value::String(text) = text else { return Err(format!("\"text\" is {}, it must be a string", kind(&text))) };
        sources.push(collection::Source::Text(text));
    }
    if let Some(numbers) = object.remove("vector") {
        sources.push(collection::Source::Vector(vector(&numbers)?));
    }
    if let Some(given) = object.remove("image") {
        let Value::String(given) = given else {
            return Err(format!("\"image\" is {}, it must be a string", kind(&given)));
        };
        sources.push(collection::Source::Image(image(&given, folder)?));
    }
    let found = sources.len();
    // A text beside a vector belongs to the payload: what `scroll --json` prints can be loaded again.
    let source = match (sources.pop(), sources.pop(), found) {
        (Some(source), None, _) => source,
        (Some(vector @ collection::Source::Vector(_)), Some(collection::Source::Text(text)), 2) => {
            object.insert("text".into(), text.into());
            vector
        }
        _ => return Err(format!("one of \"text\", \"vector\", \"image\" is needed, it has {found}")),
    };
    let payload = match object.remove("payload") {
        None | Some(Value::Null) => object,
        Some(Value::Object(mut payload)) => {
            payload.append(&mut object);
            payload
        }
        Some(other) => return Err(format!("\"payload\" is {}, it must be an object", kind(&other))),
    };
    Ok(Item { id, source, payload })
}

fn vector(value: &Value) -> Result<Vec<f32>, String> {
    let Value::Array(numbers) = value else {
        return Err(format!("\"vector\" is {}, it must be an array", kind(value)));
    };
    numbers
        .iter()
        .enumerate()
        .map(|(place, number)| {
            let number = number.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
            number.ok_or_else(|| format!("component {place} of \"vector\" is not a number that fits 32 bits"))
        })
        .collect()
}

fn image(given: &str, folder: &Path) -> Result<Vec<u8>, String> {
    if has_image_name(Path::new(given)) {
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
    use crate::cli::load::fixture;
    use crate::collection::Source as What;

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
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["a", "1", "7", "b"]);
        assert_eq!(items[0].source, What::Text("hello".into()));
        assert_eq!(items[0].payload["lang"], "en");
        assert_eq!(items[1].source, What::Vector(vec![1.0, -2.5]));
        assert_eq!(serde_json::to_string(&items[1].payload).unwrap(), "{\"x\":1,\"y\":[2]}");
        assert_eq!(items[2].source, What::Image(b"hi".to_vec()));
        assert_eq!((&items[3].source, &items[3].payload["text"]), (&What::Vector(vec![1.0]), &Value::from("kept")));
    }

    #[test]
    fn broken_objects_are_named_and_passed_over() {
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
        for (place, error) in errors.iter().enumerate() {
            assert!(error.contains(&format!("line {}: ", place + 2)), "{error}");
        }
    }

    #[test]
    fn an_image_beside_the_file_is_read() {
        let file = fixture::file("a.jsonl", b"{\"image\": \"seven.png\"}\n");
        std::fs::write(file.path.parent().unwrap().join("seven.png"), b"pixels").unwrap();
        let (items, errors) = fixture::items(&file.path);
        assert_eq!((items[0].source.clone(), errors), (What::Image(b"pixels".to_vec()), vec![]));
    }
}
