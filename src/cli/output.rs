//! What goes to standard output: tables for people, JSON for programs.

use serde_json::Value;
use std::io::{self, Write};

/// Prints a line.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints indented JSON.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    line(&format!("{value:#}"))
}

/// Prints JSON on one line.
pub(crate) fn json_line(value: &Value) -> io::Result<()> {
    line(&value.to_string())
}

/// A table whose columns are as wide as they must be. Columns of numbers are flush right.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with one cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.head.len());
        self.rows.push(cells);
    }

    /// Prints it.
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

/// A text on one line, cut to `most` characters; control characters become spaces.
pub(crate) fn brief(text: &str, most: usize) -> String {
    let mut short = text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    if text.chars().nth(most).is_some() {
        short.pop();
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let mut table = Table::new(&["word", "score"]);
        table.row(vec!["crocodile".into(), "0.9".into()]);
        table.row(vec!["frog".into(), "0.75".into()]);
        assert_eq!(table.text(), "word       score\ncrocodile    0.9\nfrog        0.75\n");
    }

    #[test]
    fn long_texts_are_cut_and_stay_on_one_line() {
        assert_eq!(brief("ab\ncd", 10), "ab cd");
        assert_eq!(brief("abcdef", 4), "abc…");
        assert_eq!(brief("\u{1b}[31m", 10), " [31m");
    }
}
