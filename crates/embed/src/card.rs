//! The model card: training data and their licences, training settings, date and measured quality.

use super::Error;
use crate::types::MAX_NAME_BYTES;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The family of word vectors, and their default name.
pub const WORDS: &str = "words";
/// The family of the digit net, and its default name.
pub const DIGITS: &str = "digits";
/// Prefix of [`DataSource::file`] for the texts of a collection. Older cards name the collection only there.
const TEXTS_OF: &str = "the texts of the collection ";

/// Stored as `card.json` in a model folder. (A separate file format, hence serde here.)
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelCard {
    /// The embedder's name: `words`, `digits`, or one that a user chose.
    pub name: String,
    /// The kind of net, unless the name is the kind: `images`, `bert`, `gpt`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub family: String,
    /// One sentence.
    pub summary: String,
    /// The command that trained it.
    pub command: String,
    /// The training data, each with its size and SHA-256.
    pub data: Vec<DataSource>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Training threads. The result is reproducible only with one.
    pub threads: usize,
    /// Training settings by name.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Day of training, `YYYY-MM-DD`.
    pub date: String,
    /// Measured quality by name.
    pub quality: serde_json::Map<String, serde_json::Value>,
    /// Reasons why the model is of little use, for people; empty for most models.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One source of training data: a file, or the texts of a collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSource {
    /// File name, without folders.
    pub file: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Licence, if known.
    pub licence: String,
    /// The collection whose texts it holds; empty for a file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub collection: String,
}

impl ModelCard {
    /// Returns the names of the collections in the training data.
    pub fn trained_on(&self) -> impl Iterator<Item = &str> {
        self.data.iter().filter_map(DataSource::collection)
    }

    /// Parses a card; `path` is for error messages.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the JSON is not a card.
    pub fn parse(path: &Path, json: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(json)
            .map_err(|error| Error::Corrupt { path: path.into(), what: format!("not a model card: {error}") })
    }

    /// A card with that name. The family is empty if it equals the name, as in older cards.
    pub fn named(family: &str, name: &str) -> Self {
        let family = if name == family { "" } else { family };
        Self { name: name.into(), family: family.into(), ..Self::default() }
    }

    /// This card with the summary, settings, measurements and warnings of `trainer`, the trainer's own card.
    pub fn completed_by(mut self, trainer: &Self) -> Self {
        if !trainer.summary.is_empty() {
            self.summary.clone_from(&trainer.summary);
        }
        for (own, theirs) in [(&mut self.settings, &trainer.settings), (&mut self.quality, &trainer.quality)] {
            own.extend(theirs.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        self.warnings.extend(trainer.warnings.iter().cloned());
        self
    }

    /// The kind of net: the family, or the name if the card has no family.
    pub(super) fn family_or_name(&self) -> &str {
        if self.family.is_empty() { &self.name } else { &self.family }
    }

    /// The name, or `default` for a card without one.
    pub(super) fn name_or<'a>(&'a self, default: &'a str) -> &'a str {
        if self.name.is_empty() { default } else { &self.name }
    }

    /// Refuses a card whose name does not fit into `EMBEDDER:OUTPUT`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming `path`.
    pub(super) fn check_name(&self, path: &Path) -> Result<(), Error> {
        check_name(&self.name).map_err(|what| Error::Corrupt { path: path.into(), what })
    }

    /// The card as indented JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a card has only string keys")
    }
}

/// Refuses an invalid embedder name.
///
/// # Errors
/// The allowed characters and lengths.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        return Err(format!("an embedder's name has 1 to {MAX_NAME_BYTES} of the characters a-z A-Z 0-9 _ - ."));
    }
    Ok(())
}

impl DataSource {
    /// The texts of collection `name`, with the size and hash of `self`.
    pub fn of_collection(self, name: &str) -> Self {
        Self { file: format!("{TEXTS_OF}{name}"), collection: name.into(), ..self }
    }

    /// The collection whose texts it holds.
    pub fn collection(&self) -> Option<&str> {
        match self.collection.as_str() {
            "" => self.file.strip_prefix(TEXTS_OF),
            name => Some(name),
        }
    }

    /// The file at `path`; the name is stored without folders.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn of(path: &Path, licence: &str) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        let mut file = File::open(path).map_err(io)?;
        let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; 1 << 20]);
        loop {
            match file.read(&mut piece).map_err(io)? {
                0 => break,
                got => {
                    hash.update(&piece[..got]);
                    bytes += got as u64;
                }
            }
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Self { file, bytes, sha256, licence: licence.into(), collection: String::new() })
    }
}

/// Today in UTC, `YYYY-MM-DD`.
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    date((seconds / 86_400) as i64)
}

/// The date of a day number, counted from 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", civil_from_days).
pub fn date(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, text) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (20_088, "2024-12-31"),
        ] {
            assert_eq!(date(days), text);
        }
    }

    #[test]
    fn a_card_names_the_collections_it_was_trained_on() {
        let source = DataSource { bytes: 7, ..Default::default() }.of_collection("notes");
        assert_eq!((source.collection(), source.bytes), (Some("notes"), 7));
        let json = serde_json::to_string(&source).unwrap();
        assert_eq!(serde_json::from_str::<DataSource>(&json).unwrap(), source);
        // Older cards name the collection only in `file`.
        let old = DataSource { file: source.file, ..Default::default() };
        assert_eq!(old.collection(), Some("notes"));
        assert_eq!(DataSource { file: "notes".into(), ..Default::default() }.collection(), None);
    }

    #[test]
    fn a_family_is_written_only_if_the_name_does_not_imply_it() {
        let (plain, own) = (ModelCard::named(WORDS, WORDS), ModelCard::named(WORDS, "mine"));
        assert_eq!((plain.family.as_str(), plain.family_or_name()), ("", WORDS));
        assert_eq!((own.name.as_str(), own.family_or_name()), ("mine", WORDS));
    }

    #[test]
    fn data_are_named_with_size_and_hash() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("abc.txt");
        std::fs::write(&path, "abc").unwrap();
        let source = DataSource::of(&path, "CC0").unwrap();
        assert_eq!((source.file.as_str(), source.bytes), ("abc.txt", 3));
        assert!(source.sha256.starts_with("ba7816bf8f01cfea414140de5dae2223"));
        assert!(DataSource::of(&root.path().join("missing"), "").is_err());
    }
}
