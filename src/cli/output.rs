//! Standard output: tables, and JSON. External text (ids, payloads, file names, server messages) is escaped, so that it
//! can neither move a terminal's cursor nor reverse the direction of a line.

use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, Write};

/// Whether a character is invisible: controls (C0, DEL and C1), direction marks, line separators, and zero-width
/// characters (zero-width space, byte order mark, tags). The joiners U+200C and U+200D are allowed, as parts of scripts
/// and emoji.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Escapes the control characters of a text for a terminal, on one line.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return text.into();
    }
    let escape = |c: char| match c {
        '\n' | '\r' | '\t' => c.escape_default().to_string(),
        c if is_control(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect::<String>().into()
}

/// Formats an error of clap for a terminal; user input in it cannot add lines or control the terminal.
pub(crate) fn escaped_usage(mut error: clap::Error) -> String {
    use clap::error::ContextValue;
    let escape = |text: &String| escaped(text).into_owned();
    let typed = error.context().filter_map(|(kind, value)| {
        let safe = match value {
            ContextValue::String(text) => ContextValue::String(escape(text)),
            ContextValue::Strings(texts) => ContextValue::Strings(texts.iter().map(escape).collect()),
            // Tips.
            ContextValue::StyledStrs(tips) => {
                ContextValue::StyledStrs(tips.iter().map(|tip| escape(&tip.to_string()).into()).collect())
            }
            _ => return None,
        };
        Some((kind, safe))
    });
    for (kind, value) in typed.collect::<Vec<_>>() {
        error.insert(kind, value);
    }
    let mut text = error.render().to_string();
    if let Some(cause) = std::error::Error::source(&error).map(ToString::to_string).filter(|cause| cause.contains('\n'))
    {
        text = text.replace(&cause, &escaped(&cause));
    }
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// Escapes the unsafe characters that JSON leaves as they are, for a terminal. The value stays the same.
pub(crate) fn escaped_json(json: &str) -> Cow<'_, str> {
    let unsafe_in_json = |c: char| c >= '\u{7f}' && is_control(c);
    if !json.contains(unsafe_in_json) {
        return json.into();
    }
    let escape = |c: char| match unsafe_in_json(c) {
        true => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        false => c.to_string(),
    };
    json.chars().map(escape).collect::<String>().into()
}

/// Prints a line.
pub(crate) fn line(text: &str) -> io::Result<()> {
    put(&escaped(text))
}

/// Prints several lines. External text in them must already be escaped: it may contain line ends.
pub(crate) fn lines(text: &str) -> io::Result<()> {
    put(&text.split('\n').map(escaped).collect::<Vec<_>>().join("\n"))
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints indented JSON.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    put(&escaped_json(&format!("{value:#}")))
}

/// Prints JSON on one line.
pub(crate) fn json_line(value: &Value) -> io::Result<()> {
    put(&escaped_json(&value.to_string()))
}

/// A table with automatic column widths. Numeric columns are right-aligned.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table without rows.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with one cell per column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.head.len());
        self.rows.push(cells.iter().map(|cell| escaped(cell).into_owned()).collect());
    }

    /// Prints the table.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(self.text().as_bytes())?;
        out.flush()
    }

    fn text(&self) -> String {
        let widths = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                cells.chain([self.head[column].chars().count()]).max().unwrap_or(0)
            })
            .collect::<Vec<_>>();
        let numeric = (0..self.head.len())
            .map(|column| {
                !self.rows.is_empty()
                    && self
                        .rows
                        .iter()
                        .all(|row| row[column].chars().all(|c| c.is_ascii_digit() || "+-.,%e ".contains(c)))
            })
            .collect::<Vec<_>>();
        let mut text = String::new();
        let head = self.head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - cell.chars().count());
                if column > 0 {
                    line += "  ";
                }
                if numeric[column] {
                    line += &padding;
                    line += cell;
                } else {
                    line += cell;
                    line += &padding;
                }
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// Shortens a text to `max` characters on one line; white space becomes spaces, other control characters escapes.
pub(crate) fn brief(text: &str, max: usize) -> String {
    let mut short = text.chars().take(max).map(|c| if c.is_whitespace() { ' ' } else { c }).collect::<String>();
    if text.chars().nth(max).is_some() {
        short.pop();
        short.push('…');
    }
    escaped(&short).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_to_the_right() {
        let mut table = Table::new(&["word", "score"]);
        table.row(vec!["crocodile".into(), "0.9".into()]);
        table.row(vec!["frog".into(), "0.75".into()]);
        assert_eq!(table.text(), "word       score\ncrocodile    0.9\nfrog        0.75\n");
    }

    #[test]
    fn external_text_cannot_control_a_terminal() {
        let hostile =
            "a\u{1b}[2J\r\n\u{7f}\u{9b}31m\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}\u{200b}\u{feff}\u{e0041}é😀";
        let safe = "a\\u{1b}[2J\\r\\n\\u{7f}\\u{9b}31m\\u{202e}\\u{2066}\\u{200f}\\u{61c}\\u{2028}\\u{200b}\\u{feff}\\u{e0041}é😀";
        assert_eq!(escaped(hostile), safe);
        assert!(matches!(escaped("plain é"), Cow::Borrowed(_)));
        let mut table = Table::new(&["id"]);
        table.row(vec![hostile.into()]);
        assert_eq!(table.text(), format!("id\n{safe}\n"));
        assert!(!brief(hostile, 80).contains(is_control));
        let value = Value::from(hostile);
        let json = escaped_json(&value.to_string()).into_owned();
        assert!(!json.contains(is_control), "{json}");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
    }

    #[test]
    fn long_texts_are_truncated_and_stay_on_one_line() {
        assert_eq!(brief("ab\ncd", 10), "ab cd");
        assert_eq!(brief("abcdef", 4), "abc…");
        assert_eq!(brief("\u{1b}[31m", 10), "\\u{1b}[31m");
    }
}
