//! From a file to a checked [`Config`]: TOML with places, shape against the schema, types, then meaning. Each step adds
//! to one list of problems. The checks themselves are in `shape`, `semantic` and `files`.

use std::path::Path;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::document::Document;
use super::problems::{Level, Problem, Problems};
use super::shape::Shape;
use super::{Config, files, semantic, shape};

static SHAPE: LazyLock<Shape> = LazyLock::new(|| Shape::new(schema()));

/// A usable configuration and what a person should look at nevertheless.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Checked.
    pub config: Config,
    /// Only warnings.
    pub warnings: Problems,
}

/// Reads and checks a file, the files it names included. Warnings are logged.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let loaded = inspect(path, true)?;
    for warning in &loaded.warnings.list {
        tracing::warn!(file = %warning.file, line = warning.line, key = %warning.key, "{}", warning.message);
    }
    Ok(loaded.config)
}

/// As [`load`], with warnings returned. Without `look_at_files` the files and variables that the configuration names
/// need not exist on this machine.
///
/// # Errors
/// Everything that is wrong, at once, warnings included.
pub fn inspect(path: &Path, look_at_files: bool) -> Result<Loaded, Problems> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| Problems::unreadable(&name, &e))?;
    check(&text, &name, look_at_files)
}

/// Checks a text without looking at the machine. `file` is only for messages.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse(text: &str, file: &str) -> Result<Config, Problems> {
    check(text, file, false).map(|loaded| loaded.config)
}

/// Checks the text of another file of ours (a model's side-car, say) against its type: unknown keys, types and ranges,
/// each with its place. `file` is only for messages.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse_as<T: DeserializeOwned + JsonSchema>(text: &str, file: &str) -> Result<T, Problems> {
    let (doc, mut problems) = Document::parse(file, text);
    if problems.is_empty() {
        problems = Shape::new(schemars::schema_for!(T).to_value()).check(&doc);
    }
    if !problems.is_empty() {
        return Err(Problems::new(problems));
    }
    typed(&doc).map_err(|(problem, _)| Problems::new(vec![problem]))
}

/// As [`parse_as`], and then what the values mean together: `check` gives pairs of key and message.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse_checked<T: DeserializeOwned + JsonSchema>(
    text: &str,
    file: &str,
    check: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Result<T, Problems> {
    let value: T = parse_as(text, file)?;
    let (doc, _) = Document::parse(file, text);
    let problems: Vec<_> = check(&value).into_iter().map(|(key, m)| doc.problem(&key, m, Level::Error)).collect();
    if problems.is_empty() { Ok(value) } else { Err(Problems::new(problems)) }
}

/// Reads a file of ours and hands it to [`parse_checked`].
///
/// # Errors
/// When it cannot be read, or everything that is wrong in it.
pub fn load_checked<T: DeserializeOwned + JsonSchema>(
    path: &Path,
    check: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Result<T, Problems> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| Problems::unreadable(&name, &e))?;
    parse_checked(&text, &name, check)
}

/// The JSON Schema of the file, for editors; `config/schema/config.schema.json` is this.
#[must_use]
pub fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

fn check(text: &str, file: &str, look_at_files: bool) -> Result<Loaded, Problems> {
    let (mut doc, mut problems) = Document::parse(file, text);
    // Without a key it is the text that is no TOML, and nothing can be said of what it means.
    if problems.iter().any(|p| p.key.is_empty()) {
        return Err(Problems::new(problems));
    }
    for problem in &problems {
        shape::take_out(&mut doc.value, &problem.key);
    }
    problems.extend(SHAPE.check(&doc));
    problems.extend(semantic::addresses(&doc));
    // What is wrong already is taken out, so that the rest is checked in the same run.
    for problem in &problems {
        shape::take_out(&mut doc.value, &problem.key);
    }
    let mut config = loop {
        match typed::<Config>(&doc) {
            Ok(config) => break config,
            Err((problem, lacks)) => {
                let known = problems.iter().any(|p| p.key.starts_with(&problem.key));
                let mended = shape::stand_in(&mut doc.value, &problem.key, lacks.as_deref());
                if !known {
                    problems.push(problem);
                }
                if !mended {
                    return Err(Problems::new(problems));
                }
            }
        }
    };
    config.expand_groups();
    // What stands in for something that is missing was reported already.
    let told: Vec<String> = problems.iter().map(|p| p.key.clone()).collect();
    problems.extend(semantic::check(&doc, &config).into_iter().filter(|p| !told.contains(&p.key)));
    if look_at_files {
        problems.extend(files::check(&doc, &config));
    }
    let problems = Problems::new(problems);
    if problems.has_errors() { Err(problems) } else { Ok(Loaded { config, warnings: problems }) }
}

/// What the schema cannot say (a whole number written `12.0`, say) is found here; also the key that is missing, if that
/// is what is wrong.
fn typed<T: DeserializeOwned>(doc: &Document<'_>) -> Result<T, (Problem, Option<String>)> {
    serde_path_to_error::deserialize::<_, T>(&doc.value).map_err(|e| {
        let key = e.path().to_string();
        let key = if key == "." { "" } else { &key };
        let why = e.inner().to_string();
        let lacks = why.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()).map(str::to_owned);
        (doc.problem(key, format!("cannot be used: {why}"), Level::Error), lacks)
    })
}

impl Config {
    /// SHA-256 (hex) of the canonical configuration: equal settings, equal digest, however the file is written.
    /// Secrets are only named by it (file or variable), never included.
    #[must_use]
    pub fn digest(&self) -> String {
        let canonical = serde_json::to_vec(self).expect("plain structs with text keys always serialise");
        hex::encode(Sha256::digest(canonical))
    }
}
