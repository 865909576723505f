//! Reader of WikiExtractor files: `<doc id= url= title=>`, the title, one paragraph per line, `</doc>`. One item per
//! paragraph.

use super::lines::{Lines, MAX_LINE};
use crate::api::{Item, Payload, PointInput};
use crate::cli::load::input_stream::InputStream;
use crate::cli::load::record::{FilePosition, RecordError, Records};
use crate::embed::formats::wiki::{Article, WikiLine, WikiParser};
use crate::types::PointId;

/// Minimum length of a paragraph, characters; shorter ones (headings, captions) are skipped.
pub(crate) const MIN_PARAGRAPH: usize = 40;

/// The paragraphs of a file; ids are `<doc id>:<paragraph>`, with paragraphs counted from 1 within their article.
pub(crate) struct WikiRecords {
    lines: Lines,
    parser: WikiParser,
    id_prefix: String,
    /// The article, if it has an id, and its paragraphs so far.
    article: Option<(Article, u32)>,
}

impl WikiRecords {
    pub(crate) fn new(input: InputStream, id_prefix: &str) -> Self {
        Self {
            lines: Lines::new(input, MAX_LINE),
            parser: WikiParser::default(),
            id_prefix: id_prefix.into(),
            article: None,
        }
    }
}

impl Iterator for WikiRecords {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.lines.next_line()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            let line = match self.parser.line(line) {
                WikiLine::Start(article) if article.id.is_empty() => {
                    self.article = None;
                    return Some(Err(RecordError::record(
                        self.lines.file_position(),
                        "a <doc> line without an id; skipped its article",
                    )));
                }
                WikiLine::Start(article) => {
                    self.article = Some((article, 0));
                    continue;
                }
                WikiLine::Paragraph(line) => line,
                WikiLine::Title(_) | WikiLine::End | WikiLine::Other => continue,
            };
            // Lines outside of an article belong to one that was already reported.
            let Some((article, paragraphs)) = &mut self.article else { continue };
            *paragraphs += 1;
            if line.chars().nth(MIN_PARAGRAPH - 1).is_none() {
                continue;
            }
            let text = line.to_owned();
            let mut payload = Payload::new();
            payload.insert("title".into(), article.title.clone().into());
            payload.insert("url".into(), article.url.clone().into());
            let id = format!("{}{}:{}", self.id_prefix, article.id, paragraphs);
            return Some(match PointId::new(id) {
                Ok(id) => Ok(Item { id, source: PointInput::Text(text), payload, vectors: Default::default() }),
                Err(error) => Err(RecordError::record(self.lines.file_position(), error.to_string())),
            });
        }
    }
}

impl Records for WikiRecords {
    fn bytes_read(&self) -> u64 {
        self.lines.input().bytes_read()
    }
    fn bytes_total(&self) -> u64 {
        self.lines.input().bytes_total()
    }
    fn file_position(&self) -> FilePosition {
        self.lines.file_position()
    }
    fn rows_seen(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::load::formats::fixture;

    const LONG: &str = "This paragraph is long enough to be an item of its own.";

    #[test]
    fn a_paragraph_is_an_item_with_its_title() {
        let text = format!(
            "<doc id=\"12\" url=\"https://en.wikipedia.org/wiki?curid=12\" title=\"Salt &amp; \"pepper\"\">\nSalt & \"pepper\"\n\n{LONG}\nHeading.\n{LONG}\n</doc>\n<doc id=\"13\" url=\"u\" title=\"T\">\nT\n\n{LONG}\n</doc>\n"
        );
        let file = fixture::file("w.txt", text.as_bytes());
        let (items, errors) = fixture::items(&file.path);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["12:1", "12:3", "13:1"]);
        assert_eq!(items[0].payload["title"], "Salt & \"pepper\"");
        assert_eq!(items[0].payload["url"], "https://en.wikipedia.org/wiki?curid=12");
        assert_eq!(fixture::text(&items[2]), LONG);
    }

    #[test]
    fn an_article_without_an_id_is_reported_and_skipped() {
        let text = format!(
            "<doc id=\"1\" url=\"\" title=\"a\">\na\n{LONG}\n</doc>\n<doc url=\"\">\n{LONG}\n</doc>\n<doc id=\"3\" url=\"\" title=\"c\">\n{LONG}\n"
        );
        let file = fixture::file("w.txt", text.as_bytes());
        let (items, errors) = fixture::items(&file.path);
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["1:1", "3:1"]);
        assert!(errors.len() == 1 && errors[0].contains("line 5"), "{errors:?}");
    }
}
