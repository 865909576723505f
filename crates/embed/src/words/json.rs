//! Word vectors as one JSON object of words and number lists, read as a stream:
//! `{"cat": [0.1, 0.2], "dog": [0.3, 0.4]}`.

use super::{
    MAX_DIMENSION, WordModel,
    data::skip_bom,
    imported::{Imported, ImportedWords},
};
use crate::{Error, formats::compressed};
use serde::{
    Deserializer,
    de::{self, MapAccess, Visitor},
};
use std::{fmt, path::Path};

/// The words in file order, and their vectors, row by row.
#[derive(Default)]
struct Read {
    accepted: ImportedWords,
    dimension: usize,
}

impl<'de> Visitor<'de> for Read {
    type Value = Self;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of words and their numbers")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<Self, M::Error> {
        while let Some((word, numbers)) = map.next_entry::<String, Vec<f32>>()? {
            let named = || word.chars().take(60).collect::<String>();
            if self.dimension == 0 {
                self.dimension = numbers.len();
                if !(1..=MAX_DIMENSION).contains(&self.dimension) {
                    return Err(de::Error::custom(format!(
                        "{:?} has {} numbers; 1 to {MAX_DIMENSION} are possible",
                        named(),
                        numbers.len()
                    )));
                }
            }
            if numbers.len() != self.dimension || !numbers.iter().all(|x| x.is_finite()) {
                let expected = self.dimension;
                return Err(de::Error::custom(format!("{:?} has not {expected} finite numbers", named())));
            }
            self.accepted.add(word.as_bytes(), &numbers);
        }
        Ok(self)
    }
}

impl WordModel {
    /// Reads a JSON object of words and number lists as a model without counts and without an output layer; a word that
    /// occurs twice keeps its first vector.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] naming the defect and its position.
    pub fn from_json(path: &Path) -> Result<Imported, Error> {
        let (mut input, _) = compressed::open(path)?;
        skip_bom(&mut input).map_err(|source| Error::Io { path: path.into(), source })?;
        let mut json = serde_json::Deserializer::from_reader(input);
        let read = json.deserialize_map(Read::default()).and_then(|read| json.end().map(|()| read));
        let Read { accepted, dimension } = read.map_err(|error| match error.classify() {
            serde_json::error::Category::Io => Error::Io { path: path.into(), source: error.into() },
            _ => Error::Corrupt { path: path.into(), what: error.to_string() },
        })?;
        accepted.into_model(path, "JSON", dimension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Notes;

    #[test]
    fn an_object_of_words_and_numbers_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.json");
        std::fs::write(&path, "\u{feff}{\n\"New York\":[1, -0.5], \"cat\" : [2e-1,3],\"cat\":[9,9], \"\":[1,1]}\n")
            .unwrap();
        let Imported { model, notes } = WordModel::import(&path).unwrap();
        assert_eq!(notes, Notes { empty: 1, duplicates: 1, respelled: 1, ..Notes::default() });
        assert_eq!(model.vocabulary(), ["New_York", "cat"]);
        assert_eq!(
            (model.vector("New_York").unwrap(), model.vector("cat").unwrap()),
            (&[1.0, -0.5][..], &[0.2, 3.0][..])
        );
        for (bad, expected) in [
            ("{}", "no words"),
            ("{\"cat\":[1,2],\"dog\":[1]}", "\"dog\" has not 2"),
            ("{\"cat\":[]}", "0 numbers"),
            ("{\"cat\":[1,null]}", "line 1"),
            ("{\"cat\":[1e99]}", "finite"),
            ("{\"\":[1]}", "no words; words left out: 1 empty"),
            ("{\"cat\":[1,2]", "EOF"),
            ("{\"cat\":[1,2]} x", "trailing"),
        ] {
            std::fs::write(&path, bad).unwrap();
            let error = WordModel::import(&path).map(drop).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }) && error.to_string().contains(expected), "{bad}: {error}");
        }
    }

    #[test]
    fn the_thousand_words_of_google_news_open() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/googlenews-1000/wordvecs1000.json.gz");
        if !path.exists() {
            #[allow(clippy::print_stderr, reason = "a test that skips says so")]
            {
                eprintln!("SKIPPED: {} is not there", path.display());
            }
            return;
        }
        let Imported { model, .. } = WordModel::import(&path).unwrap();
        assert_eq!((model.vocabulary().len(), model.dimension()), (1_000, 300));
        let near: Vec<String> = model.nearest(&["man"], &[], 5).unwrap().into_iter().map(|(word, _)| word).collect();
        assert!(near.contains(&"woman".to_string()), "{near:?}");
    }
}
