//! The published JSON Schema of the event message, generated from the types that are sent.

use serde_json::{Map, Value};

use super::EventMessage;

/// JSON Schema (draft 2020-12) of [`EventMessage`]; the same as `config/schema/event.schema.json`.
#[must_use]
pub fn event_schema() -> Value {
    let mut schema = schemars::schema_for!(EventMessage).to_value();
    seal(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("$id".into(), "urn:gatewatch:schema:event:v1".into());
        root.insert("title".into(), "gatewatch event message".into());
    }
    if let Some(defs) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        refine(defs);
    }
    schema
}

/// An object names all its properties: what is not named is refused, so that a typing error is seen by tests and
/// receivers. New properties need a new version of `type`, or receivers that take the new schema first.
fn seal(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object) {
                map.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            map.values_mut().for_each(seal);
        }
        Value::Array(items) => items.iter_mut().for_each(seal),
        _ => {}
    }
}

/// What the types of other parts cannot say of themselves.
fn refine(defs: &mut Map<String, Value>) {
    for id in ["EventId", "TrackId"] {
        if let Some(def) = defs.get_mut(id).and_then(Value::as_object_mut) {
            def.insert("pattern".into(), "^[0-7][0-9A-HJKMNP-TV-Z]{25}$".into());
        }
    }
    if let Some(confidence) = defs.get_mut("Link").and_then(|d| d.pointer_mut("/properties/confidence")) {
        confidence["minimum"] = 0.into();
        confidence["maximum"] = 1.into();
    }
}
