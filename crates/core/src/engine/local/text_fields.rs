//! Adding and dropping text fields of a collection that serves.

use super::Inner;
use crate::api::{
    AnalyzedToken, CancellationToken, CollectionInfo, Error, MAX_KEYWORDS_BYTES, TextField, validate_text_fields,
};
use crate::types::CollectionName;
use std::sync::PoisonError;

impl Inner {
    pub(super) fn add_text_field(&self, name: &CollectionName, field: TextField) -> Result<CollectionInfo, Error> {
        self.change_text_fields(name, |fields| {
            if fields.iter().any(|other| other.name == field.name) {
                return Err(Error::TextFieldExists { collection: name.to_string(), field: field.name.clone() });
            }
            fields.push(field);
            validate_text_fields(fields)
        })
    }

    pub(super) fn drop_text_field(&self, name: &CollectionName, field: &str) -> Result<CollectionInfo, Error> {
        self.change_text_fields(name, |fields| {
            let before = fields.len();
            fields.retain(|other| other.name != field);
            if fields.len() < before {
                return Ok(());
            }
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            let what = match names.is_empty() {
                true => format!("there is no text field {field:?}: the collection has none"),
                false => format!("there is no text field {field:?}: the collection has {}", names.join(", ")),
            };
            Err(Error::invalid("field", what))
        })
    }

    fn change_text_fields(
        &self,
        name: &CollectionName,
        change: impl FnOnce(&mut Vec<TextField>) -> Result<(), Error>,
    ) -> Result<CollectionInfo, Error> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let collection = self.get(name)?;
        let _folder = collection.use_folder()?;
        let present = collection.name();
        let mut fields = self.entry(&present)?.record.text_fields;
        change(&mut fields)?;
        self.catalog.set_text_fields(present.as_str(), &fields)?;
        collection.set_text_fields(&fields);
        self.notify(true);
        Ok(collection.info())
    }

    pub(super) fn analyze(&self, name: &CollectionName, field: &str, text: &str) -> Result<Vec<AnalyzedToken>, Error> {
        let collection = self.get(name)?;
        let field = collection.text_field("analyze", field)?;
        if text.len() > MAX_KEYWORDS_BYTES {
            return Err(Error::invalid(
                "text",
                format!("must be at most {MAX_KEYWORDS_BYTES} bytes, got {}", text.len()),
            ));
        }
        let mut tokens = Vec::new();
        field.analyzer().for_each(text, |token| {
            tokens.push(AnalyzedToken {
                term: token.term.into(),
                position: token.position,
                start: token.range.start as u32,
                end: token.range.end as u32,
            });
        });
        CancellationToken::current().check()?;
        Ok(tokens)
    }
}
