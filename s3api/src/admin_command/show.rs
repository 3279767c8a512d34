//! How an answer is shown: as a table, or as the JSON that it is.
//!
//! Invariant: a control character of a name (of an object, say) reaches no terminal; JSON has them
//! escaped anyway.

use std::io::{self, Write};

use serde_json::Value;

use crate::start_error::StartError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Table,
    Json,
}

#[derive(Debug)]
pub(super) struct Printer {
    output: Output,
    /// Rows were shown before.
    has_begun: bool,
}

impl Printer {
    pub(super) fn new(output: Output) -> Self {
        Self { output, has_begun: false }
    }

    /// Every field of an answer on a line of its own.
    pub(super) fn fields(&self, answer: &Value) -> Result<(), StartError> {
        match (self.output, answer) {
            (Output::Table, Value::Object(fields)) => {
                let width = fields.keys().map(String::len).max().unwrap_or(0);
                let line =
                    |(name, value): (&String, &Value)| format!("{name:width$}  {}\n", cell(value));
                say(&fields.iter().map(line).collect::<String>())
            }
            _ => say(&format!("{answer:#}\n")),
        }
    }

    /// One field alone, for people.
    pub(super) fn field(&self, answer: &Value, name: &str) -> Result<(), StartError> {
        match self.output {
            Output::Table => say(&format!("{}\n", cell(&answer[name]))),
            Output::Json => say(&format!("{answer:#}\n")),
        }
    }

    pub(super) fn begin_rows(&self) -> Result<(), StartError> {
        if self.output == Output::Json { say("[") } else { Ok(()) }
    }

    /// One page of a list.
    pub(super) fn rows(&mut self, columns: &[&str], rows: &[Value]) -> Result<(), StartError> {
        let text = match self.output {
            Output::Json => json_rows(rows, self.has_begun),
            Output::Table => table(columns, rows, !self.has_begun),
        };
        self.has_begun |= self.output == Output::Table || !rows.is_empty();
        say(&text)
    }

    pub(super) fn end_rows(&self) -> Result<(), StartError> {
        if self.output == Output::Json { say("\n]\n") } else { Ok(()) }
    }
}

fn json_rows(rows: &[Value], follow_others: bool) -> String {
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        text.push_str(if follow_others || at > 0 { ",\n" } else { "\n" });
        text.push_str(&row.to_string());
    }
    text
}

/// Columns as wide as the page needs them. `a.b` is the field `b` of the field `a`.
fn table(columns: &[&str], rows: &[Value], with_head: bool) -> String {
    let find = |row: &Value, column: &str| {
        cell(column.split('.').fold(row, |value, name| value.get(name).unwrap_or(&Value::Null)))
    };
    let head = |column: &&str| column.rsplit('.').next().unwrap_or(column).to_uppercase();
    let mut lines: Vec<Vec<String>> = Vec::with_capacity(rows.len() + 1);
    lines.push(columns.iter().map(head).collect());
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| find(row, column)).collect()));
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in lines.iter().skip(usize::from(!with_head)) {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => harmless(text),
        // A list of names; anything larger is better read as JSON.
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let names: Vec<String> = items.iter().map(cell).collect();
            if names.is_empty() { "-".to_owned() } else { names.join(", ") }
        }
        Value::Array(items) => format!("{} (see --output json)", items.len()),
        other => other.to_string(),
    }
}

/// A text with its control characters escaped.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // What turns the direction of writing can make one name look like another.
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c.is_control() || turns {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    shown
}

fn say(text: &str) -> Result<(), StartError> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| StartError::io("write to standard output", source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_as_wide_as_its_page() {
        let rows = [
            json!({"key": "a", "size": 5, "state": {"work": "none"}}),
            json!({"key": "bär\u{1b}[2J", "size": null}),
        ];
        let columns = ["key", "size", "state.work"];
        let expected = "KEY           SIZE  WORK\n\
                        a             5     none\n\
                        bär\\u{1b}[2J  -     -\n";
        assert_eq!(table(&columns, &rows, true), expected);
        assert_eq!(table(&columns, &rows[..1], false), "a    5     none\n");
    }

    #[test]
    fn pages_of_rows_make_one_array() {
        let text = format!(
            "[{}{}{}\n]",
            json_rows(&[json!(1), json!(2)], false),
            json_rows(&[], true),
            json_rows(&[json!(3)], true)
        );
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(json!([1, 2, 3])));
    }
}
