//! The files of WikiExtractor: `<doc id="..." url="..." title="...">`, the title, one paragraph per line, `</doc>`.

/// An article, from its `<doc ...>` line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Article {
    /// The id; empty if the line has none.
    pub id: String,
    /// The title.
    pub title: String,
    /// The address.
    pub url: String,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WikiLine<'a> {
    /// The start of an article.
    Start(Article),
    /// The first line of an article, if it repeats the title.
    Title(&'a str),
    /// A paragraph or a heading, without surrounding white space.
    Paragraph(&'a str),
    /// The end of an article.
    End,
    /// An empty line, or a line outside of articles.
    Other,
}

/// Recognizes the lines of a file, one after another.
#[derive(Debug, Default)]
pub struct WikiParser {
    inside: bool,
    /// The title, until the first line of the article.
    title: Option<String>,
}

impl WikiParser {
    /// Classifies the next line.
    pub fn line<'a>(&mut self, line: &'a str) -> WikiLine<'a> {
        let line = line.trim();
        if line.is_empty() {
            return WikiLine::Other;
        }
        if line.starts_with(START) {
            let attribute = |key| attribute(line, key).unwrap_or_default();
            let article = Article { id: attribute("id"), title: attribute("title"), url: attribute("url") };
            (self.inside, self.title) = (true, Some(article.title.clone()));
            return WikiLine::Start(article);
        }
        if line.starts_with(END) {
            self.inside = false;
            return WikiLine::End;
        }
        if !self.inside {
            return WikiLine::Other;
        }
        match self.title.take() {
            Some(title) if title == line => WikiLine::Title(line),
            _ => WikiLine::Paragraph(line),
        }
    }
}

const START: &str = "<doc ";
const END: &str = "</doc>";

/// Returns whether a line starts or ends an article.
pub(crate) fn is_tag(line: &str) -> bool {
    line.starts_with(START) || line.starts_with(END)
}

/// Returns the attribute `key` of a line `<doc id="..." url="..." title="...">`.
fn attribute(line: &str, key: &str) -> Option<String> {
    let start = line.find(&format!(" {key}=\""))? + key.len() + 3;
    let rest = &line[start..];
    // A title may contain a bare quotation mark: its value extends to the end of the tag.
    let end = if key == "title" { rest.rfind("\">").or_else(|| rest.find('"'))? } else { rest.find('"')? };
    Some(unescape(&rest[..end]))
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_recognized_by_their_position_in_an_article() {
        let mut parser = WikiParser::default();
        assert_eq!(parser.line("before any article"), WikiLine::Other);
        let start = parser.line("<doc id=\"12\" url=\"u?a&amp;b\" title=\"Salt &amp; \"pepper\"\">");
        let article = Article { id: "12".into(), title: "Salt & \"pepper\"".into(), url: "u?a&b".into() };
        assert_eq!(start, WikiLine::Start(article));
        assert_eq!(parser.line(""), WikiLine::Other);
        assert_eq!(parser.line("Salt & \"pepper\" "), WikiLine::Title("Salt & \"pepper\""));
        assert_eq!(parser.line(" Salt & \"pepper\""), WikiLine::Paragraph("Salt & \"pepper\""));
        assert_eq!(parser.line("</doc>"), WikiLine::End);
        assert_eq!(parser.line("between articles"), WikiLine::Other);
        assert_eq!(parser.line("<doc title=\"\">"), WikiLine::Start(Article::default()));
        assert_eq!(parser.line("a </doc> in a line"), WikiLine::Paragraph("a </doc> in a line"));
    }
}
