//! Published schemas of the clearance messages, and the sample feed.

use std::path::Path;

use gatewatch::customs::correlation::CorrelationMessage;
use gatewatch::customs::feed::read_feed;
use gatewatch::customs::{Binding, Booking, Declaration, Observation, StopOrder, Tip, Visit};

use crate::support::generated_file;

/// The schema on disk is the one the types give.
fn schema_is_current(file: &str, schema: &schemars::Schema) {
    let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
    generated_file(&format!("config/schema/{file}"), &text);
}

#[test]
fn published_schemas_are_current_and_say_what_the_parser_says() {
    let (declaration, booking) = (schemars::schema_for!(Declaration), schemars::schema_for!(Booking));
    schema_is_current("declaration.schema.json", &declaration);
    schema_is_current("booking.schema.json", &booking);
    schema_is_current("visit.schema.json", &schemars::schema_for!(Visit));
    schema_is_current("binding.schema.json", &schemars::schema_for!(Binding));
    schema_is_current("stop_order.schema.json", &schemars::schema_for!(StopOrder));
    schema_is_current("observation.schema.json", &schemars::schema_for!(Observation));
    schema_is_current("tip.schema.json", &schemars::schema_for!(Tip));
    schema_is_current("correlation.schema.json", &schemars::schema_for!(CorrelationMessage));
    let cases = [
        (r#"{"decl_no": "100000012340", "version": 1}"#, true),
        (r#"{"decl_no": 10000001234, "version": 1, "channel": 3}"#, true),
        (r#"{"decl_no": "123", "version": 1}"#, false),
        (r#"{"decl_no": "100000012340"}"#, false),
        (r#"{"decl_no": "100000012340", "version": 1, "channel": 4}"#, false),
    ];
    let validator = jsonschema::validator_for(declaration.as_value()).unwrap();
    for (text, good) in cases {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(validator.is_valid(&json), good, "schema: {text}");
        assert_eq!(Declaration::from_json(text.as_bytes()).is_ok(), good, "parser: {text}");
    }
}

#[test]
fn the_sample_feeds_are_good_and_equal() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let facts = |name: &str| {
        let feed = read_feed(&folder.join(name)).unwrap();
        assert!(feed.problems.is_empty() && feed.notes.is_empty(), "{name}: {:?} {:?}", feed.problems, feed.notes);
        format!("{:?}", feed.facts)
    };
    assert_eq!(facts("sample-feed.csv"), facts("sample-feed.json"));
}
