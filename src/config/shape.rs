//! Does the file have the shape that the schema of its type asks for: known keys, types, ranges, patterns. The schema
//! comes from the types, so a new field is checked without a line here. What values mean together is in `semantic`.

use jsonschema::error::ValidationErrorKind as Kind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Value, json};

use super::document::{Document, child, element};
use super::problems::{Level, Problem};

/// What a file may hold.
pub(super) struct Shape {
    schema: Value,
    validator: Validator,
}

impl Shape {
    pub(super) fn new(schema: Value) -> Self {
        let validator = jsonschema::validator_for(&schema).expect("the schema of our own types is valid");
        Self { schema, validator }
    }

    /// Everything in the file that does not fit.
    pub(super) fn check(&self, doc: &Document<'_>) -> Vec<Problem> {
        self.validator.iter_errors(&doc.value).flat_map(|e| self.explain(doc, &e)).collect()
    }

    fn explain(&self, doc: &Document<'_>, error: &ValidationError<'_>) -> Vec<Problem> {
        let key = key_path(&doc.value, error.instance_path().as_str());
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                let known = self.known_keys(error.schema_path().as_str());
                unexpected.iter().map(|k| doc.problem_at_key(&child(&key, k), unknown(k, &known))).collect()
            }
            // An optional table: the branch that is not `null` knows what is wrong in it.
            Kind::AnyOf { context } if error.instance().is_object() => {
                context.iter().flatten().filter(|e| !is_null_branch(e)).flat_map(|e| self.explain(doc, e)).collect()
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                vec![doc.problem(&key, format!("`{name}` is missing"), Level::Error)]
            }
            kind => vec![doc.problem(&key, self.message(&key, kind, error), Level::Error)],
        }
    }

    fn message(&self, key: &str, kind: &Kind, error: &ValidationError<'_>) -> String {
        let is = shown(key, error.instance());
        match kind {
            Kind::Type { .. } if [".password", ".token", "_key"].iter().any(|end| key.ends_with(end)) => {
                "must be a table with `file` or `env`: secrets never stand in this file".into()
            }
            Kind::Type { .. } => format!("must be {}{is}", self.expected_type(error.schema_path().as_str())),
            Kind::Minimum { .. } | Kind::Maximum { .. } => {
                format!("must be {}{is}", self.range(error.schema_path().as_str()))
            }
            Kind::Pattern { pattern } => format!("must be {}{is}", in_words(pattern)),
            Kind::OneOfNotValid { context } | Kind::AnyOf { context } => {
                let allowed: Vec<_> = context.iter().flatten().filter_map(constant).collect();
                if allowed.is_empty() {
                    let what = context.iter().flatten().find(|e| !is_null_branch(e));
                    return what.map_or_else(|| "has the wrong form".into(), |e| self.message(key, e.kind(), e));
                }
                format!("must be one of {}{is}", allowed.join(", "))
            }
            Kind::Enum { options } => format!("must be one of {options}{is}"),
            Kind::MinItems { limit } => format!("needs at least {limit} entries{}", count(error.instance())),
            Kind::MaxItems { limit } => format!("may have at most {limit} entries{}", count(error.instance())),
            _ => format!("does not fit the schema ({})", kind.keyword()),
        }
    }

    /// The schema object that holds the keyword at `path`.
    fn around(&self, path: &str) -> Option<&Value> {
        self.schema.pointer(path.rsplit_once('/')?.0)
    }

    fn range(&self, path: &str) -> String {
        let limit = |name| self.around(path).and_then(|s| s.get(name)).and_then(Value::as_f64);
        match (limit("minimum"), limit("maximum")) {
            (Some(low), Some(high)) => format!("between {low} and {high}"),
            (Some(low), None) => format!("at least {low}"),
            (None, Some(high)) => format!("at most {high}"),
            (None, None) => "within its range".into(),
        }
    }

    fn expected_type(&self, path: &str) -> String {
        let types = self.around(path).and_then(|s| s.get("type"));
        let names: Vec<&str> = match types {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let words = names.into_iter().filter(|n| *n != "null").map(|name| match name {
            "object" => "a table",
            "array" => "an array",
            "string" => "text in quotes",
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            other => other,
        });
        words.collect::<Vec<_>>().join(" or ")
    }

    fn known_keys(&self, path: &str) -> Vec<&str> {
        let properties = self.around(path).and_then(|s| s.get("properties")).and_then(Value::as_object);
        properties.map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default()
    }
}

fn is_null_branch(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), Kind::Type { .. }) && error.schema_path().as_str().ends_with("/anyOf/1/type")
}

fn constant(error: &ValidationError<'_>) -> Option<String> {
    match error.kind() {
        Kind::Constant { expected_value } => Some(expected_value.to_string()),
        _ => None,
    }
}

/// ` (is …)` for values that hold no secret and no address.
fn shown(key: &str, value: &Value) -> String {
    let private = ["url", "password", "token", "username", "secret"].iter().any(|word| key.contains(word));
    match value {
        Value::Array(_) | Value::Object(_) | Value::Null => String::new(),
        _ if private => String::new(),
        scalar => format!(" (is {scalar})"),
    }
}

fn count(value: &Value) -> String {
    value.as_array().map_or_else(String::new, |a| format!(" (has {})", a.len()))
}

fn in_words(pattern: &str) -> String {
    match pattern {
        "^[0-9A-Z]{4}$" => "four characters 0-9 or A-Z, like \"15BB\"".into(),
        "^[a-z0-9][a-z0-9-]{0,31}$" => "1 to 32 characters a-z, 0-9 or \"-\", not starting with \"-\"".into(),
        "^[0-9a-f]{64}$" => "64 digits 0-9 or a-f".into(),
        other => format!("text that matches {other}"),
    }
}

fn unknown(key: &str, known: &[&str]) -> String {
    let near = |k: &&&str| strsim::damerau_levenshtein(k, key) <= 1 + key.len() / 4;
    let best = known.iter().filter(near).min_by_key(|k| strsim::damerau_levenshtein(k, key));
    match best {
        Some(best) => format!("unknown key; did you mean `{best}`?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// `/camera/0/url` of the validator as `camera[0].url`.
fn key_path(root: &Value, pointer: &str) -> String {
    let (mut node, mut path) = (Some(root), String::new());
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        path = match node {
            Some(Value::Array(_)) => element(&path, part.parse().unwrap_or_default()),
            _ => child(&path, &part),
        };
        node = match node {
            Some(Value::Array(items)) => part.parse::<usize>().ok().and_then(|i| items.get(i)),
            Some(Value::Object(map)) => map.get(&part),
            _ => None,
        };
    }
    path
}

/// Removes what `key` names from the values; arrays keep their indices, so the key around an entry goes instead.
pub(super) fn take_out(root: &mut Value, key: &str) {
    remove(root, "", key);
}

fn remove(node: &mut Value, path: &str, key: &str) {
    match node {
        Value::Object(map) => {
            let holder = map.keys().find(|k| leads_to(&child(path, k), key)).cloned();
            let Some(name) = holder else { return };
            let at = child(path, &name);
            let is_tables = map[&name].as_array().is_some_and(|a| a.iter().any(Value::is_object));
            if at == key || (map[&name].is_array() && !is_tables) {
                map.remove(&name);
            } else if let Some(inner) = map.get_mut(&name) {
                remove(inner, &at, key);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                let at = element(path, i);
                if leads_to(&at, key) {
                    remove(item, &at, key);
                }
            }
        }
        _ => {}
    }
}

/// Lets the rest be read in spite of something that is missing in the table `key` (`lacks`) or wrong at `key`: a value
/// that offends nobody stands in for the one, the other goes. `false` when neither can be done.
pub(super) fn stand_in(root: &mut Value, key: &str, lacks: Option<&str>) -> bool {
    let before = root.clone();
    let Some(name) = lacks else {
        take_out(root, key);
        return *root != before;
    };
    let value = match name {
        "id" => json!(format!("missing-{}", key.bytes().map(usize::from).sum::<usize>())),
        "url" => json!("rtsp://missing.invalid/"),
        "polygon" => json!([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]),
        "points" => json!([[0.0, 0.0], [1.0, 1.0]]),
        _ => return false,
    };
    let pointer: String = key.split(['.', '[', ']']).filter(|part| !part.is_empty()).map(|p| format!("/{p}")).collect();
    let Some(Value::Object(table)) = root.pointer_mut(&pointer) else { return false };
    table.insert(name.into(), value).is_none()
}

fn leads_to(path: &str, key: &str) -> bool {
    key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
