//! Files of facts (declarations, bookings and the others), for boxes without a live feed and for the demo. Good rows are taken, bad rows
//! are listed with their place; only a file that cannot be read at all is an error.
//!
//! * `.json`: `{"declarations": [...], "bookings": [...]}`, also `visits`, `bindings`, `stops`, `observations` and `tips`; items
//!   as in the messages on `in/…`.
//! * `.csv`: first line names the columns, in any order: `type` (`declaration`, `booking`, `visit`, `bind`, `stop`,
//!   `observation` or `tip`) and the fields of the messages. Lists (`decl_keys`, `containers`, `plates`, `seals`, `cameras`) are
//!   separated by `;`. An empty cell is a missing field. Parts and stays of a visit need JSON.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::fields::{MessageError, Parsed};
use super::register::{Fact, FactKind};

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub struct FeedFile {
    /// Good rows, in order.
    pub facts: Vec<Fact>,
    /// Bad rows, in order: where and what.
    pub problems: Vec<RowProblem>,
    /// Odd but taken: where and what.
    pub notes: Vec<RowProblem>,
}

/// Something about one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProblem {
    /// `line 3` in CSV, `bookings[2]` in JSON.
    pub place: String,
    /// What is wrong and what is allowed.
    pub text: String,
}

impl std::fmt::Display for RowProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Why a file as a whole could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Cannot be read.
    #[error("feed file {path}: {source}; check that it exists and may be read", path = path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// Not a feed.
    #[error("feed file {path}: {what}", path = path.display())]
    Form {
        /// File.
        path: PathBuf,
        /// What is wrong and what is allowed.
        what: String,
    },
}

/// Reads a feed file by its ending.
///
/// # Errors
/// When it cannot be read, is neither `.csv` nor `.json`, or is not in that form at all.
pub fn read_feed(path: &Path) -> Result<FeedFile, FeedError> {
    let bytes = std::fs::read(path).map_err(|source| FeedError::Read { path: path.into(), source })?;
    // Spreadsheets write a byte order mark in front.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let parsed = match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("csv") => parse_csv(bytes),
        Some("json") => parse_json(bytes),
        _ => Err("the name must end in .csv or .json".into()),
    };
    parsed.map_err(|what| FeedError::Form { path: path.into(), what })
}

/// Parses the JSON form.
///
/// # Errors
/// A sentence, when it is not JSON or not that object.
pub fn parse_json(bytes: &[u8]) -> Result<FeedFile, String> {
    let root: Value = serde_json::from_slice(bytes).map_err(|e| format!("not JSON: {e}"))?;
    let Value::Object(mut root) = root else {
        return Err("allowed is an object with lists such as `declarations` and `bookings`".into());
    };
    let mut out = FeedFile::default();
    for kind in FactKind::ALL {
        let list = kind.plural();
        let items = match root.remove(list) {
            None => continue,
            Some(Value::Array(items)) => items,
            Some(_) => return Err(format!("`{list}` must be a list")),
        };
        for (i, item) in items.into_iter().enumerate() {
            let place = format!("{list}[{i}]");
            match item {
                Value::Object(map) => out.take(place, map, kind),
                other => out.problems.push(RowProblem { place, text: format!("{other} is not an object") }),
            }
        }
    }
    out.notes
        .extend(root.keys().map(|k| RowProblem { place: k.clone(), text: "not a part of a feed, ignored".into() }));
    Ok(out)
}

/// Parses the CSV form.
///
/// # Errors
/// A sentence, when the first line has no `type` column.
pub fn parse_csv(bytes: &[u8]) -> Result<FeedFile, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(bytes);
    let head = reader.headers().map_err(|e| format!("line 1: {e}"))?.clone();
    if !head.iter().any(|h| h == "type") {
        return Err("line 1 must name the columns, one of them `type` (declaration, booking…)".into());
    }
    let mut out = FeedFile::default();
    for row in reader.records() {
        match row {
            Ok(row) => out.take_csv(&head, &row),
            Err(e) => {
                let place = e.position().map_or_else(|| "a line".into(), |p| format!("line {}", p.line()));
                out.problems.push(RowProblem { place, text: e.to_string() });
            }
        }
    }
    Ok(out)
}

impl FeedFile {
    fn take(&mut self, place: String, map: Map<String, Value>, kind: FactKind) {
        self.keep(place, Fact::read(kind, map));
    }

    fn keep(&mut self, place: String, parsed: Result<Parsed<Fact>, MessageError>) {
        match parsed {
            Ok(p) => {
                self.notes.extend(p.notes.into_iter().map(|text| RowProblem { place: place.clone(), text }));
                self.facts.push(p.value);
            }
            Err(e) => self.problems.push(RowProblem { place, text: e.to_string() }),
        }
    }

    fn take_csv(&mut self, head: &csv::StringRecord, row: &csv::StringRecord) {
        let place = row.position().map_or_else(|| "a line".into(), |p| format!("line {}", p.line()));
        let mut map: Map<String, Value> =
            head.iter().zip(row).filter(|(_, c)| !c.is_empty()).map(|(h, c)| (h.to_owned(), cell(h, c))).collect();
        let given = map.remove("type");
        match given.as_ref().and_then(Value::as_str).and_then(FactKind::parse) {
            Some(kind) => self.take(place, map, kind),
            None => {
                let given = given.map_or_else(|| "missing".into(), |v| v.to_string());
                let names = FactKind::ALL.map(FactKind::as_str).join(", ");
                self.problems.push(RowProblem { place, text: format!("type: {given} (allowed: {names})") });
            }
        }
    }
}

fn cell(column: &str, text: &str) -> Value {
    if matches!(column, "decl_keys" | "containers" | "plates" | "seals" | "cameras") {
        return text.split(';').map(str::trim).filter(|s| !s.is_empty()).map(Value::from).collect();
    }
    Value::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_rows_are_taken_and_bad_rows_listed_by_line() {
        let csv = "type,decl_no,id,version,area,decl_keys,start,end,channel\n\
            declaration,100000012340,,1,,,,,3\n\
            declaration,12,,1,,,,,\n\
            booking,,b1,1,bay-1,10000001234; 10000001235,2026-03-02T09:00:00+07:00,2026-03-02T10:00:00+07:00,\n\
            lunch,,,,,,,,\n\
            booking,b2\n";
        let feed = parse_csv(csv.as_bytes()).unwrap();
        assert_eq!(feed.facts.len(), 2);
        let Fact::Booking(b) = &feed.facts[1] else { panic!("{:?}", feed.facts) };
        assert_eq!(b.decl_keys.len(), 2);
        let said: Vec<String> = feed.problems.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("line 3: decl_no: \"12\" (allowed: 11 or 12 digits"), "{}", said[0]);
        assert!(said[1].starts_with("line 5: type: \"lunch\" (allowed:"), "{}", said[1]);
        assert!(said[2].starts_with("line 6: "), "{}", said[2]);
    }

    #[test]
    fn json_items_are_named_by_list_and_index() {
        let json = br#"{"declarations": [{"decl_no": 10000001234, "version": 1}, {"version": 1}, 7], "extra": 1}"#;
        let feed = parse_json(json).unwrap();
        assert_eq!((feed.facts.len(), feed.problems.len(), feed.notes.len()), (1, 2, 1));
        assert!(feed.problems[0].to_string().starts_with("declarations[1]: decl_no: missing"));
        assert!(parse_json(b"{").unwrap_err().contains("line 1"));
        assert!(parse_csv(b"a,b\n1,2\n").unwrap_err().contains("`type`"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let err = read_feed(Path::new("no/such/feed.csv")).unwrap_err().to_string();
        assert!(err.contains("no/such/feed.csv"), "{err}");
    }
}
