//! Recognition of text tables with tabs, commas, semicolons or bars as separators. `load` refuses them with a fitting
//! conversion.

use std::borrow::Cow;

/// Maximum number of records inspected.
const MAX_SAMPLED_RECORDS: usize = 200;

/// A text table.
pub(crate) struct Table {
    separator: char,
    records: Vec<Vec<String>>,
    /// Its last line is the end of COPY output.
    ended: bool,
}

/// End of PostgreSQL's COPY output.
const COPY_END: &str = "\\.";

/// Returns a text without the line that ends COPY output, and whether it had one.
pub(crate) fn without_copy_end(text: &str) -> (&str, bool) {
    let body = text.trim_end().strip_suffix(COPY_END).filter(|body| body.is_empty() || body.ends_with('\n'));
    (body.unwrap_or(text), body.is_some())
}

impl Table {
    /// Parses a text as a table. All records must have the same number of fields, at least two, and no field may begin
    /// with a space, as after a comma in prose. A single record must contain a field that is evidently data. `whole`:
    /// the text is the whole file; `named`: the file name indicates a table with this separator.
    pub(crate) fn of(text: &str, whole: bool, separator: char, named: bool) -> Option<Self> {
        let (text, ended) = without_copy_end(text);
        let table = Self { separator, records: records(text, whole, separator)?, ended };
        (named || table.is_regular()).then_some(table)
    }

    fn is_regular(&self) -> bool {
        let Some(columns) = self.records.first().map(Vec::len).filter(|columns| *columns >= 2) else { return false };
        // Leading tabs are indentation.
        let indented = self.records.iter().all(|record| record[0].is_empty());
        let several = self.records.len() >= 2 || self.is_data(columns);
        several && !indented && self.records.iter().all(|record| record.len() == columns)
    }

    /// Whether a single record is evidently data, not a text with a tab or a bar in it.
    fn is_data(&self, columns: usize) -> bool {
        let record = &self.records[0];
        let begins = is_number(&record[0]) && columns >= 3;
        matches!(self.separator, '\t' | '|') && (self.ended || begins || record.iter().any(|field| is_list(field)))
    }

    /// Describes the table and its conversion.
    pub(crate) fn recognized(&self) -> String {
        let what = match self.separator {
            '\t' => "tabs between columns (TSV, or COPY output of PostgreSQL)",
            ',' => "commas between columns (CSV)",
            ';' => "semicolons between columns (CSV)",
            _ => "bars between columns",
        };
        format!("a table with {what}; in Python: {}, then load x.jsonl", self.conversion_hint())
    }

    /// Returns Python code that converts the table to JSON lines.
    fn conversion_hint(&self) -> String {
        let first = self.records.first().map_or(&[][..], Vec::as_slice);
        let is_header = !first.iter().any(|field| is_number(field) || is_list(field) || is_null(field));
        let body = if is_header { self.records.get(1..).unwrap_or_default() } else { &self.records };
        let lists = (0..first.len()).find(|column| {
            !body.is_empty() && body.iter().all(|record| record.get(*column).is_some_and(|field| is_list(field)))
        });
        let mut options = String::new();
        if self.separator != ',' {
            options += &format!(", sep='{}'", self.separator.escape_default());
        }
        if !is_header {
            let longest = |column: &usize| {
                self.records.iter().filter_map(|record| record.get(*column)).map(String::len).sum::<usize>()
            };
            let text = (0..first.len()).filter(|column| Some(*column) != lists).max_by_key(longest).unwrap_or(0);
            let name = |column: usize| -> Cow<'_, str> {
                match column {
                    column if Some(column) == lists => "vector".into(),
                    column if column == text => "text".into(),
                    0 => "id".into(),
                    other => format!("column{other}").into(),
                }
            };
            let names = (0..first.len()).map(|column| format!("'{}'", name(column))).collect::<Vec<_>>().join(", ");
            options += &format!(", header=None, names=[{names}]");
        }
        if self.separator == '\t' && (self.ended || body.iter().flatten().any(|field| is_null(field))) {
            options += ", quoting=3, na_values=['\\\\N']";
        }
        if self.ended {
            options += ", skipfooter=1, engine='python'";
        }
        let write = "to_json('x.jsonl', orient='records', lines=True)";
        match lists {
            None => format!("import pandas; pandas.read_csv('FILE'{options}).{write}"),
            Some(column) => {
                let column = if is_header { first[column].as_str() } else { "vector" };
                format!(
                    "import json, pandas; t = pandas.read_csv('FILE'{options}); t['vector'] = [json.loads('[' + v[1:-1] + ']') \
                     for v in t.pop({column:?})]; t.{write}"
                )
            }
        }
    }
}

/// Whether a field is a list of numbers as written by PostgreSQL, pgvector and JSON.
fn is_list(field: &str) -> bool {
    let inside = |open: char, close: char| field.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    inside('[', ']')
        .or_else(|| inside('{', '}'))
        .is_some_and(|numbers| !numbers.is_empty() && numbers.split(',').all(|number| is_number(number.trim())))
}

fn is_null(field: &str) -> bool {
    field == "\\N"
}

/// Splits a text into records and fields; none if a field begins with a space.
fn records(text: &str, whole: bool, separator: char) -> Option<Vec<Vec<String>>> {
    let mut records: Vec<Vec<String>> = Vec::new();
    let (mut record, mut field): (Vec<String>, String) = (Vec::new(), String::new());
    let (mut quoted, mut field_start) = (false, true);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '"' && (quoted || field_start) {
            if quoted && chars.peek() == Some(&'"') {
                chars.next();
                field.push('"');
            } else {
                quoted = !quoted;
            }
            field_start = false;
        } else if quoted {
            field.push(c);
        } else if c == separator {
            record.push(std::mem::take(&mut field));
            field_start = true;
            if separator != '\t' && chars.peek() == Some(&' ') {
                return None;
            }
        } else if c == '\n' {
            if !(record.is_empty() && field.is_empty() && field_start) {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            field_start = true;
            if records.len() == MAX_SAMPLED_RECORDS {
                return Some(records);
            }
        } else if c != '\r' {
            field.push(c);
            field_start = false;
        }
    }
    if whole && !quoted && !(record.is_empty() && field.is_empty() && field_start) {
        record.push(field);
        records.push(record);
    }
    Some(records)
}

pub(crate) fn is_number(field: &str) -> bool {
    field.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversion_hint(text: &str, separator: char) -> String {
        Table::of(text, true, separator, false).expect("a table").conversion_hint()
    }

    #[test]
    fn the_conversion_fits_the_table() {
        assert_eq!(
            conversion_hint("id,text\n1,a\n", ','),
            "import pandas; pandas.read_csv('FILE').to_json('x.jsonl', orient='records', lines=True)"
        );
        let copy = conversion_hint("1\ta storm at sea\t{0.1,0.2}\n2\t\\N\t{1,2}\n\\.\n", '\t');
        for part in [
            "sep='\\t', header=None, names=['id', 'text', 'vector'], quoting=3, na_values=['\\\\N'], skipfooter=1",
            "t['vector'] = [json.loads('[' + v[1:-1] + ']') for v in t.pop(\"vector\")]",
        ] {
            assert!(copy.contains(part), "{copy}");
        }
        let named = conversion_hint("id;emb;note\na;[1, 2];x\nb;[3, 4];y\n", ';');
        assert!(named.contains("sep=';'") && named.contains("t.pop(\"emb\")") && !named.contains("header"), "{named}");
    }

    #[test]
    fn one_record_is_a_table_if_it_is_evidently_data() {
        let one = |text: &str, separator| Table::of(text, true, separator, false).is_some();
        assert!(one("1\ta storm, at sea\t[1,2]\n", '\t') && one("1\ta storm, at sea\tx", '\t'));
        assert!(one("a storm\t{0.5,1}\n", '\t') && one("1\ta storm\n\\.\n", '\t') && one("7|title|a storm", '|'));
        assert!(!one("Chapter 1\tThe storm\n", '\t') && !one("\tThe storm\n", '\t') && !one("1\tThe storm", '\t'));
        assert!(!one("1,000,000 ships", ',') && !one("a|b", '|') && !one("", '\t'));
    }
}
