//! A TOML text as JSON values plus the place of every key, so that whoever finds something wrong can say where.
//! Knows nothing about what keys mean.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::{Level, Problem};

/// A text with its values and places.
pub(super) struct Document<'a> {
    file: &'a str,
    text: &'a str,
    /// The values.
    pub(super) value: Value,
    /// Byte ranges by key path.
    keys: HashMap<String, Range<usize>>,
    values: HashMap<String, Range<usize>>,
    problems: Vec<Problem>,
}

/// `path` extended by a table key; quoted where TOML would quote it.
pub(super) fn child(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// `path` extended by an array index.
pub(super) fn element(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

impl<'a> Document<'a> {
    /// Reads the text as far as it can be read; the second value lists what is not TOML.
    pub(super) fn parse(file: &'a str, text: &'a str) -> (Self, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut doc =
            Self { file, text, value: Value::Null, keys: HashMap::new(), values: HashMap::new(), problems: Vec::new() };
        let syntax = errors.iter().map(|e| {
            let (line, column) = doc.place(e.span().map_or(0, |s| s.start));
            let message = format!("not valid TOML: {}", e.message().replace('\n', ", "));
            doc.problem_at(line, column, "", message, Level::Error)
        });
        let syntax: Vec<_> = syntax.collect();
        doc.value = doc.table("", table.get_ref());
        let mut problems = std::mem::take(&mut doc.problems);
        problems.extend(syntax);
        (doc, problems)
    }

    /// A problem at the value of `key`, or at the nearest table around it that is written in the file.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>, level: Level) -> Problem {
        let (line, column) = self.place(self.nearest(&self.values, key));
        self.problem_at(line, column, key, message.into(), level)
    }

    /// A problem at the key itself.
    pub(super) fn problem_at_key(&self, key: &str, message: impl Into<String>) -> Problem {
        let (line, column) = self.place(self.nearest(&self.keys, key));
        self.problem_at(line, column, key, message.into(), Level::Error)
    }

    fn problem_at(&self, line: usize, column: usize, key: &str, message: String, level: Level) -> Problem {
        Problem { file: self.file.into(), line, column, key: key.into(), message, level }
    }

    fn nearest(&self, places: &HashMap<String, Range<usize>>, key: &str) -> usize {
        let mut path = key;
        loop {
            if let Some(range) = places.get(path).or_else(|| self.values.get(path)) {
                return range.start;
            }
            match path.rfind(['.', '[']) {
                Some(cut) => path = &path[..cut],
                None => return 0,
            }
        }
    }

    /// Line and column from 1, the column in characters.
    fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>) -> Value {
        let mut map = Map::new();
        for (key, value) in table {
            let at = child(path, key.get_ref());
            self.keys.insert(at.clone(), key.span());
            let value = self.node(&at, value);
            map.insert(key.get_ref().to_string(), value);
        }
        Value::Object(map)
    }

    fn node(&mut self, path: &str, value: &Spanned<DeValue<'_>>) -> Value {
        self.values.insert(path.into(), value.span());
        match value.get_ref() {
            DeValue::String(s) => Value::String(s.to_string()),
            DeValue::Boolean(b) => Value::Bool(*b),
            DeValue::Integer(n) => {
                let number = i64::from_str_radix(n.as_str(), n.radix()).ok().map(Value::from);
                number.unwrap_or_else(|| self.refuse(path, "the number is too large"))
            }
            DeValue::Float(n) => {
                let number = n.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number);
                number.unwrap_or_else(|| self.refuse(path, "must be a finite number"))
            }
            DeValue::Datetime(_) => self.refuse(path, "dates and times are not used here; write text in quotes"),
            DeValue::Array(items) => {
                let nodes = items.iter().enumerate();
                Value::Array(nodes.map(|(i, item)| self.node(&element(path, i), item)).collect())
            }
            DeValue::Table(table) => self.table(path, table),
        }
    }

    fn refuse(&mut self, path: &str, why: &str) -> Value {
        let problem = self.problem(path, why, Level::Error);
        self.problems.push(problem);
        Value::Null
    }
}
