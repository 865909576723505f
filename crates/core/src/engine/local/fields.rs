//! Adding and dropping fields of a collection that serves.

use super::Inner;
use crate::api::{
    AnalyzedToken, Budget, CancellationToken, CollectionInfo, Error, Field, MAX_KEYWORDS_BYTES, validate_fields,
};
use crate::store::CollectionRecord;
use crate::types::CollectionName;
use std::sync::PoisonError;

/// Terms of an analyzed text between two checks for cancellation.
const TOKENS_PER_CHECK: usize = 4_096;

impl Inner {
    pub(super) fn add_field(&self, name: &CollectionName, field: Field) -> Result<CollectionInfo, Error> {
        self.change_fields(name, |record| {
            let text = record.text_fields.iter().map(|other| other.name.as_str());
            let names = text.chain(record.vector_fields.iter().map(|other| other.name.as_str()));
            if names.into_iter().any(|other| other == field.name()) {
                return Err(Error::FieldExists { collection: name.to_string(), field: field.name().into() });
            }
            match field {
                Field::Text(field) => record.text_fields.push(field),
                Field::Vector(field) => record.add_vector_field(field),
            }
            validate_fields(&record.text_fields, &record.vector_fields)
        })
    }

    pub(super) fn drop_field(&self, name: &CollectionName, field: &str) -> Result<CollectionInfo, Error> {
        self.change_fields(name, |record| {
            let count = |record: &CollectionRecord| record.text_fields.len() + record.vector_fields.len();
            let before = count(record);
            record.text_fields.retain(|other| other.name != field);
            record.vector_fields.retain(|other| other.name != field);
            if count(record) < before {
                return Ok(());
            }
            let text = record.text_fields.iter().map(|field| field.name.as_str());
            let names: Vec<&str> = text.chain(record.vector_fields.iter().map(|field| field.name.as_str())).collect();
            let has = if names.is_empty() { "none".into() } else { names.join(", ") };
            Err(Error::invalid("field", format!("there is no field {field:?}: the collection has {has}")))
        })
    }

    fn change_fields(
        &self,
        name: &CollectionName,
        change: impl FnOnce(&mut CollectionRecord) -> Result<(), Error>,
    ) -> Result<CollectionInfo, Error> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let collection = self.get(name)?;
        let _folder = collection.use_folder()?;
        let mut record = self.entry(&collection.name())?.record;
        change(&mut record)?;
        self.catalog.set_fields(&record)?;
        collection.set_fields(&record);
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
        let (stop, budget) = (CancellationToken::current(), Budget::current());
        let mut tokens = Vec::new();
        field.analyzer().try_for_each(text, |token| {
            if tokens.len().is_multiple_of(TOKENS_PER_CHECK) {
                stop.check()?;
            }
            let token = AnalyzedToken {
                term: token.term.into(),
                position: token.position,
                start: token.range.start as u32,
                end: token.range.end as u32,
            };
            budget.add_token(&token)?;
            tokens.push(token);
            Ok::<_, Error>(())
        })?;
        Ok(tokens)
    }
}
