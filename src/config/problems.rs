//! What is wrong with a configuration file, all of it at once, each with its place. Finding it is `shape`'s,
//! `semantic`'s and `files`' work.

use std::fmt;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The agent does not start with it.
    Error,
    /// The agent starts; a person should look.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Key path, entries counted from 0, e.g. `camera[1].area[0].polygon`; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what is allowed. Never holds an address or a secret.
    pub message: String,
    /// How bad.
    pub level: Level,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.level == Level::Warning { "warning: " } else { "" };
        write!(f, "{}:{}:{}: {level}", self.file, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong, in the order of the file. `Display` is one line each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    /// In the order of the file.
    pub list: Vec<Problem>,
    /// The file could not be read at all.
    pub unreadable: bool,
}

impl Problems {
    /// A file that cannot be read.
    #[must_use]
    pub(super) fn unreadable(file: &str, why: &std::io::Error) -> Self {
        let message = format!("cannot read the file: {why}");
        let problem =
            Problem { file: file.into(), line: 1, column: 1, key: String::new(), message, level: Level::Error };
        Self { list: vec![problem], unreadable: true }
    }

    /// Sorted by place, without repetitions.
    #[must_use]
    pub(super) fn new(mut list: Vec<Problem>) -> Self {
        list.sort_by(|a, b| (a.line, a.column, &a.key, &a.message).cmp(&(b.line, b.column, &b.key, &b.message)));
        list.dedup();
        Self { list, unreadable: false }
    }

    /// Whether the agent must not start.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|p| p.level == Level::Error)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            let end = if i + 1 == self.list.len() { "" } else { "\n" };
            write!(f, "{problem}{end}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
