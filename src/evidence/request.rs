//! What somebody asks of the evidence of a box, as it is written into the chain: who, why, what. How it gets there is in
//! `custody.rs`.

use serde::{Deserialize, Serialize};

use super::chain::Sum;
use crate::clock::UtcMillis;

/// Shortest reason that says something.
const MIN_REASON: usize = 8;
const MAX_TEXT: usize = 500;

/// Which evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Selection {
    /// What was found and held for a tip.
    Tip {
        /// Its id.
        tip: String,
    },
    /// One event with the footage around it.
    Event {
        /// Its id.
        event: String,
        /// Footage before it, milliseconds.
        before_ms: i64,
        /// Footage after it, milliseconds.
        after_ms: i64,
    },
    /// Cameras over a time.
    Window {
        /// Their ids.
        cameras: Vec<String>,
        /// First moment.
        from: UtcMillis,
        /// Last moment.
        to: UtcMillis,
    },
}

/// Who and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Who {
    /// Name or number of the person.
    pub operator: String,
    /// For what, e.g. the number of a case.
    pub reason: String,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    /// A bundle of the evidence as the box has it now.
    Export {
        /// Of what.
        selection: Selection,
        /// Also copies of the pictures with the privacy masks burnt in.
        masked: bool,
    },
    /// The bundle of an earlier export once more.
    Repeat {
        /// Entry of the chain with that export.
        of: i64,
    },
    /// A bundle was made and is handed over.
    Exported {
        /// Id of the request it answers.
        request: String,
        /// File name.
        file: String,
        /// SHA-256 of the whole file.
        sha256: Sum,
        /// Its size.
        bytes: u64,
    },
    /// The original video of a camera with privacy masks was looked at over HTTP.
    ViewOriginal {
        /// Its id.
        camera: String,
        /// First moment.
        from: UtcMillis,
        /// Last moment.
        to: UtcMillis,
    },
    /// A new key for the box.
    RotateKey,
}

/// A request: the item of a `custody` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Request {
    /// ULID.
    pub id: String,
    /// Who asks and why.
    #[serde(flatten)]
    pub who: Who,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

impl Request {
    /// A new request.
    #[must_use]
    pub fn new(who: Who, action: Action) -> Self {
        let id = crate::ids::IdSource::random().next_id(crate::clock::utc_now());
        Self { id: id.to_string(), who, action }
    }

    /// What is wrong with it, for the person.
    ///
    /// # Errors
    /// Says what is missing or allowed.
    pub fn check(&self) -> Result<(), String> {
        let ulid = ulid::Ulid::from_string(&self.id);
        ulid.map_err(|_| format!("the request's id {:?} is no ULID", self.id))?;
        let (operator, reason) = (self.who.operator.trim(), self.who.reason.trim());
        if operator.is_empty() || operator.len() > MAX_TEXT {
            return Err(format!("--operator must name the person, in at most {MAX_TEXT} bytes"));
        }
        if reason.chars().count() < MIN_REASON || reason.len() > MAX_TEXT {
            return Err(format!(
                "--reason must say for what in {MIN_REASON} characters to {MAX_TEXT} bytes, e.g. the number of the case"
            ));
        }
        match &self.action {
            Action::Export { selection: Selection::Window { cameras, from, to }, .. }
                if to <= from || cameras.is_empty() =>
            {
                Err("a time needs at least one camera, and --to after --from".into())
            }
            Action::Export { selection: Selection::Event { before_ms, after_ms, .. }, .. }
                if *before_ms < 0 || *after_ms < 0 =>
            {
                Err("the footage before and after an event cannot be negative".into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_needs_a_person_and_a_reason() {
        let request = |operator: &str, reason: &str| {
            Request::new(Who { operator: operator.into(), reason: reason.into() }, Action::RotateKey).check()
        };
        assert_eq!(request("Nguyễn Văn A", "vụ việc 12/2026"), Ok(()));
        assert!(request(" ", "vụ việc 12/2026").unwrap_err().contains("--operator"));
        assert!(request("A", "because").unwrap_err().contains("--reason"));
        let window = Selection::Window { cameras: vec!["c".into()], from: UtcMillis(5), to: UtcMillis(5) };
        let who = Who { operator: "A".into(), reason: "case 12/2026".into() };
        let backwards = Request::new(who, Action::Export { selection: window, masked: false });
        assert!(backwards.check().unwrap_err().contains("--to after --from"));
    }

    #[test]
    fn it_reads_as_it_was_written() {
        let who = Who { operator: "A".into(), reason: "case 12/2026".into() };
        let selection = Selection::Event { event: "01J".into(), before_ms: 1, after_ms: 2 };
        let request = Request::new(who, Action::Export { selection, masked: true });
        let text = serde_json::to_string(&request).unwrap();
        assert!(text.contains(r#""do":"export""#) && text.contains(r#""by":"event""#), "{text}");
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }
}
