//! The documents say what is: the file map is complete, every reference of the topics document leads somewhere, the
//! published schemas are those of the types, and the examples of the README are valid.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gatewatch::camera::CameraStatus;
use gatewatch::config;
use gatewatch::customs::feed::parse_csv;
use gatewatch::event::health::HealthMessage;
use gatewatch::evidence::manifest::Manifest;
use gatewatch::mqtt::BoxStatus;
use gatewatch::rules::RuleKind;
use gatewatch::store::{OutboxDropped, ResyncReply};
use gatewatch::vision::sidecar::SideCar;

use crate::support::generated_file;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn files_under(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_under(&path, found);
        } else {
            found.insert(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
        }
    }
}

#[test]
fn the_file_map_lists_every_file_and_only_those() {
    let text = read("ARCHITECTURE.md");
    let rows = text.lines().filter_map(|l| l.strip_prefix("| `src/")?.split_once("` | "));
    let mut listed = BTreeSet::new();
    for (file, what) in rows {
        assert!(what.len() > 5, "src/{file} says nothing");
        assert!(listed.insert(format!("src/{file}")), "src/{file} is listed twice");
    }
    let mut there = BTreeSet::new();
    files_under(&root().join("src"), &mut there);
    let missing: Vec<_> = there.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&there).collect();
    assert!(missing.is_empty() && gone.is_empty(), "ARCHITECTURE.md lacks {missing:?} and lists {gone:?} for nothing");
}

/// The text behind each `$ref:`, without quotes.
fn references(yaml: &str) -> Vec<String> {
    let after = yaml.split("$ref: ").skip(1);
    after.map(|rest| rest.split(['}', '\n']).next().unwrap().trim().trim_matches('\'').to_owned()).collect()
}

/// Does the block document have these keys below each other? Enough for a file we write ourselves in block style.
fn has_path(yaml: &str, pointer: &str) -> bool {
    let mut lines = yaml.lines();
    pointer.split('/').enumerate().all(|(depth, key)| {
        let start = format!("{}{key}:", "  ".repeat(depth));
        let parent = "  ".repeat(depth);
        lines.by_ref().take_while(|l| l.is_empty() || l.starts_with(&parent)).any(|l| l.starts_with(&start))
    })
}

#[test]
fn every_reference_of_the_topics_document_leads_somewhere() {
    let yaml = read("config/schema/asyncapi.yaml");
    let references = references(&yaml);
    assert!(references.len() > 40, "the document was understood: {}", references.len());
    for reference in &references {
        match reference.strip_prefix("#/") {
            Some(pointer) => assert!(has_path(&yaml, pointer), "{reference} leads nowhere"),
            None => {
                let file = format!("config/schema/{}", reference.trim_start_matches("./"));
                let schema: serde_json::Value = serde_json::from_str(&read(&file)).unwrap();
                assert!(schema["$schema"].is_string(), "{reference} is no schema");
            }
        }
    }
    for pointer in ["components/messages/Nothing", "channels/State", "components/event"] {
        assert!(!has_path(&yaml, pointer), "{pointer} is not there, yet found");
    }
    for topic in gatewatch::customs::FactKind::ALL.map(gatewatch::customs::FactKind::as_str) {
        assert!(yaml.contains(&format!("address: gatewatch/v1/{{office}}/in/{topic}\n")), "office-wide {topic}");
    }
}

#[test]
fn the_schemas_of_states_and_replies_are_those_of_the_types() {
    let all = [
        ("camera_status.schema.json", schemars::schema_for!(CameraStatus)),
        ("box_status.schema.json", schemars::schema_for!(BoxStatus)),
        ("coverage.schema.json", schemars::schema_for!(gatewatch::coverage::Answer)),
        ("evidence_manifest.schema.json", schemars::schema_for!(Manifest)),
        ("stored_clip.schema.json", schemars::schema_for!(gatewatch::objects::clip::ClipNote)),
        ("camera_health.schema.json", schemars::schema_for!(HealthMessage)),
        ("outbox_dropped.schema.json", schemars::schema_for!(OutboxDropped)),
        ("resync_reply.schema.json", schemars::schema_for!(ResyncReply)),
    ];
    for (file, schema) in all {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        generated_file(&format!("config/schema/{file}"), &text);
    }
}

#[test]
fn the_openapi_document_of_the_desk_is_the_generated_one() {
    let text = serde_json::to_string_pretty(&gatewatch::desk::api_document()).unwrap() + "\n";
    generated_file("config/schema/desk-openapi.json", &text);
}

#[test]
fn the_schema_of_side_cars_is_that_of_the_type_and_their_examples_are_valid() {
    let schema = SideCar::schema();
    generated_file("config/schema/model.schema.json", &(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
    let text = read("docs/models.md");
    for key in schema["properties"].as_object().unwrap().keys() {
        assert!(
            text.contains(&format!("`{key}`")) || text.contains(&format!("`[{key}]`")),
            "docs/models.md lacks {key}"
        );
    }
    let examples = blocks(&text, "toml");
    assert_eq!(examples.len(), 3);
    for example in examples {
        SideCar::parse(&example, "docs/models.md").unwrap();
    }
}

/// The fenced blocks of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_of_the_readme_are_valid() {
    let readme = read("README.md");
    let toml = blocks(&readme, "toml");
    assert!(!toml.is_empty());
    for example in toml {
        let config = config::parse(&example, "README.md").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config.cameras.len(), 1);
    }
    let csv = blocks(&readme, "csv");
    assert!(!csv.is_empty());
    for example in csv {
        let feed = parse_csv(example.as_bytes()).unwrap();
        assert!(feed.problems.is_empty() && feed.notes.is_empty(), "{:?} {:?}", feed.problems, feed.notes);
        assert_eq!(feed.facts.len(), 2);
    }
    for json in blocks(&readme, "json") {
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
}

/// The examples of the integrator's guide: `json in/KIND` are read as that kind, the others are JSON.
#[test]
fn every_rule_has_a_section_with_a_valid_example() {
    let text = read("docs/rules.md");
    let headed: BTreeSet<_> = text.lines().filter_map(|l| l.strip_prefix("### `")?.strip_suffix('`')).collect();
    assert_eq!(headed, RuleKind::ALL.iter().map(|rule| rule.as_str()).collect());
    let examples = blocks(&text, "toml");
    assert_eq!(examples.len(), RuleKind::ALL.len());
    let camera = "[[camera]]\nid = \"gate\"\nurl = \"rtsp://camera.invalid/1\"\n";
    config::parse(&format!("{camera}{}", examples.concat()), "docs/rules.md").unwrap();
}

#[test]
fn the_examples_for_integrators_are_valid() {
    let text = read("docs/integration.md");
    let mut kinds = BTreeSet::new();
    for part in text.split("```json").skip(1) {
        let (head, rest) = part.split_once('\n').unwrap();
        let body = rest.split("```").next().unwrap();
        let json: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
        let Some(kind) = head.trim().strip_prefix("in/") else { continue };
        let kind = gatewatch::customs::FactKind::parse(kind).unwrap_or_else(|| panic!("{kind}"));
        let parsed = gatewatch::customs::Fact::from_json(kind, json.to_string().as_bytes())
            .unwrap_or_else(|e| panic!("{e}: {body}"));
        assert!(parsed.notes.is_empty(), "{:?}", parsed.notes);
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), gatewatch::customs::FactKind::ALL.len(), "an example of every kind");
}

#[test]
fn links_between_documents_lead_to_files() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "docs/install.md",
        "docs/configuration.md",
        "docs/coverage.md",
        "docs/evidence.md",
        "docs/desk.md",
        "docs/desk-configuration.md",
        "docs/models.md",
        "docs/rules.md",
        "docs/integration.md",
    ] {
        let text = read(document);
        let folder = root().join(document).parent().map(PathBuf::from).unwrap();
        for target in text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap()) {
            let here = !target.is_empty() && !target.contains("://");
            assert!(!here || folder.join(target).exists(), "{document}: {target} is not there");
        }
    }
}

#[test]
fn every_metric_that_is_named_is_counted_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let own = root.join("telemetry/metrics.rs");
    let elsewhere: String =
        files_below(&root).iter().filter(|f| **f != own).map(|f| std::fs::read_to_string(f).unwrap()).collect();
    let named = std::fs::read_to_string(&own).unwrap();
    let names: Vec<&str> = named.lines().filter_map(|l| l.strip_prefix("pub const ")?.split(':').next()).collect();
    assert!(names.len() > 15, "{names:?}");
    // Those of the process itself are set where they are named.
    let unused: Vec<_> = names
        .iter()
        .filter(|n| !n.starts_with("PROCESS_") && **n != "BUILD_INFO")
        .filter(|n| !elsewhere.contains(**n))
        .collect();
    assert!(unused.is_empty(), "described and never set: {unused:?}");
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { files_below(&p) } else { vec![p] }).collect()
}
