//! The configuration file: the shipped one is the defaults, the schema and the reference are complete, and every
//! mistake is named exactly. `GATEWATCH_UPDATE=1` rewrites the golden files; review them as a diff.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gatewatch::config::{self, Config};
use gatewatch::desk::DeskConfig;
use serde_json::Value;

use crate::support::generated_file;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The example camera of the shipped file, without its comment marks.
fn example_camera() -> String {
    let text = read("config/gatewatch.toml");
    text.lines()
        .filter_map(|l| l.strip_prefix("#:"))
        .map(|l| l.strip_prefix(' ').unwrap_or(l))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_shipped_file_is_the_defaults() {
    let parsed = config::parse(&read("config/gatewatch.toml"), "config/gatewatch.toml").unwrap();
    assert_eq!(parsed, Config::default());
    assert_eq!(parsed.digest(), config::parse("", "empty").unwrap().digest(), "the digest is of the settings");
}

#[test]
fn the_example_camera_of_the_shipped_file_is_valid() {
    let config = config::parse(&example_camera(), "example").unwrap();
    assert_eq!(config.cameras.len(), 1);
    assert_eq!((config.cameras[0].areas.len(), config.cameras[0].lines.len()), (3, 1));
    assert_ne!(config.digest(), Config::default().digest());
}

/// Names of all keys of the schema.
fn keys(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                found.extend(properties.keys().cloned());
            }
            map.values().for_each(|v| keys(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| keys(v, found)),
        _ => {}
    }
}

#[test]
fn every_key_of_the_schema_stands_in_the_shipped_file_and_in_the_reference() {
    let mut names = Vec::new();
    keys(&config::schema(), &mut names);
    assert!(names.len() > 60, "the schema was understood: {}", names.len());
    for file in ["config/gatewatch.toml", "docs/configuration.md"] {
        let text = read(file);
        let words: std::collections::HashSet<_> =
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        let missing: Vec<_> = names.iter().filter(|n| !words.contains(n.as_str())).collect();
        assert!(missing.is_empty(), "{file} lacks {missing:?}");
    }
}

#[test]
fn the_schema_file_is_the_generated_one() {
    generated_file(
        "config/schema/config.schema.json",
        &(serde_json::to_string_pretty(&config::schema()).unwrap() + "\n"),
    );
}

#[test]
fn the_reference_is_the_generated_one() {
    let agent = Reference { head: AGENT_HEAD, schema: config::schema(), defaults: as_json(&Config::default()) };
    generated_file("docs/configuration.md", &agent.page());
    let desk = Reference { head: DESK_HEAD, schema: DeskConfig::schema(), defaults: as_json(&DeskConfig::default()) };
    generated_file("docs/desk-configuration.md", &desk.page());
}

fn as_json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn the_shipped_file_of_the_desk_is_its_defaults_and_names_every_key() {
    let text = read("config/desk.toml");
    assert_eq!(DeskConfig::parse(&text, "config/desk.toml").unwrap(), DeskConfig::default());
    let mut names = Vec::new();
    keys(&DeskConfig::schema(), &mut names);
    assert!(names.len() > 35, "the schema was understood: {}", names.len());
    let words: std::collections::HashSet<_> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let missing: Vec<_> = names.iter().filter(|n| !words.contains(n.as_str())).collect();
    assert!(missing.is_empty(), "config/desk.toml lacks {missing:?}");
    let schema = serde_json::to_string_pretty(&DeskConfig::schema()).unwrap() + "\n";
    generated_file("config/schema/desk.schema.json", &schema);
}

#[test]
fn every_mistake_is_named_with_its_place_and_what_is_allowed() {
    let file = read("tests/data/bad-config.txt");
    let (mut now, mut count) = (String::new(), 0);
    for case in file.split("=== ").skip(1) {
        let (head, _expected) = case.split_once("---\n").unwrap();
        let (name, text) = head.split_once('\n').unwrap();
        let problems = config::parse(text, "bad.toml").expect_err(name);
        assert!(problems.has_errors() && !problems.to_string().contains("hunter2"), "{name}: {problems}");
        writeln!(now, "=== {head}---\n{problems}").unwrap();
        count += 1;
    }
    assert!(count >= 40, "{count} cases");
    generated_file("tests/data/bad-config.txt", &now);
}

#[test]
fn files_that_are_named_must_exist_except_those_that_may_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let missing = "[detector]\nmodel = \"/nowhere/a.onnx\"\n[register]\nfile = \"/nowhere/b.csv\"\n[pictures]\nfont = \"/nowhere/c.ttf\"\n";
    let missing = write("missing.toml", missing);
    let problems = config::load(&missing).unwrap_err();
    let lines: Vec<_> = problems.list.iter().map(|p| (p.line, p.message.as_str(), p.level)).collect();
    assert_eq!(
        lines,
        [
            (
                2,
                "there is no file /nowhere/a.onnx; pictures are not analysed until it is there: name an ONNX model, such as \
                 models/gate.onnx of the repository",
                config::Level::Warning
            ),
            (4, "there is no file /nowhere/b.csv; it is read when it appears", config::Level::Warning),
            (
                6,
                "there is no file /nowhere/c.ttf; correct it, or leave it out and install the package fonts-dejavu-core",
                config::Level::Error
            ),
        ]
    );
    let model = write("a.onnx", "");
    let good = write("good.toml", &format!("[detector]\nmodel = {:?}\n[register]\nfile = \"/nowhere/b.csv\"\n", model));
    let loaded = config::inspect(&good, true).unwrap();
    assert_eq!((loaded.config.detector.model, loaded.warnings.list.len()), (model, 1));
    assert!(config::load(&dir.path().join("none.toml")).unwrap_err().unreadable);
}

#[test]
fn a_password_in_the_path_of_an_address_is_warned_of_and_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let warned = |url: &str| {
        let path = dir.path().join("gatewatch.toml");
        std::fs::write(&path, format!("[[camera]]\nid = \"c\"\nurl = \"{url}\"\n")).unwrap();
        let warnings = config::inspect(&path, false).unwrap().warnings;
        assert!(!warnings.to_string().contains("hunter2"), "{warnings}");
        warnings.list.iter().filter(|w| w.key == "camera[0].url").count()
    };
    for path in ["user=admin&password=hunter2&channel=1", "user=a_password=hunter2_channel=1.sdp", "live?PWD=hunter2"] {
        assert_eq!(warned(&format!("rtsp://192.0.2.1/{path}")), 1, "{path}");
    }
    assert_eq!(warned("rtsp://192.0.2.1/cam/realmonitor?channel=1&subtype=0"), 0);
}

#[test]
fn masks_on_a_stream_that_nobody_draws_on_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let camera = |more: &str| {
        let mask = "[[camera.area]]\nid = \"house\"\nkind = \"privacy_mask\"\npolygon = [[0.0, 0.0], [0.1, 0.0], [0.1, 0.1]]\n";
        let text = format!("[[camera]]\nid = \"bay\"\nurl = \"rtsp://192.0.2.11/sub\"\n{more}{mask}");
        let path = dir.path().join("camera.toml");
        std::fs::write(&path, text).unwrap();
        let loaded = config::inspect(&path, false).unwrap();
        loaded.warnings.list.into_iter().filter(|w| w.key == "camera[0].record_url").count()
    };
    assert_eq!((camera(""), camera("record_url = \"rtsp://192.0.2.11/main\"\n")), (0, 1));
}

/// `docs/configuration.md` from the schema: one table a section.
const AGENT_HEAD: &str = concat!(
    "# Configuration\n\nOne TOML file, read once at start. `gatewatch check FILE` names every mistake at once, each with ",
    "file, line, column, key, what is wrong and what is allowed. Unknown keys are refused. Key paths count from 0: ",
    "`camera[1].area[0]` is the first area of the second camera. Relative paths are relative to the working directory.\n\n",
    "`config/gatewatch.toml` holds every key with its default and an example camera. Editors understand ",
    "`config/schema/config.schema.json`. This page is generated from the same types ",
    "(`GATEWATCH_UPDATE=1 cargo test --test suite config`).\n\n",
    "Files that the configuration names must exist when the agent starts; only `register.file`, the model and its library may appear later (a ",
    "warning). Secrets are never written into this file: `file` or `env` says where they are.\n",
);
const DESK_HEAD: &str = concat!(
    "# Configuration of the desk\n\nOne TOML file of its own, read once at start by `gatewatch desk --config FILE`; with ",
    "`--check` it is only checked. Unknown keys are refused, every mistake is named with its place. `config/desk.toml` ",
    "holds every key with its default, editors understand `config/schema/desk.schema.json`. This page is generated from ",
    "the same types (`GATEWATCH_UPDATE=1 cargo test --test suite config`). How the desk is set up and used: ",
    "[the desk](desk.md).\n\nSecrets are never written into this file: `file` or `env` says where they are.\n",
);

/// A page made from a schema.
struct Reference {
    head: &'static str,
    schema: Value,
    defaults: Value,
}

impl Reference {
    fn page(&self) -> String {
        let mut out = String::from(self.head);
        for (name, property) in self.schema["properties"].as_object().unwrap() {
            let many = property["type"] == "array";
            let title = if many { format!("[[{name}]]") } else { format!("[{name}]") };
            section(self, &title, name, property, &mut out);
        }
        out
    }
}

fn target<'a>(schema: &'a Value, property: &'a Value) -> Option<&'a Value> {
    let branch = |key: &str| property[key].as_array().and_then(|b| b.first());
    let property = branch("anyOf").or_else(|| branch("allOf")).unwrap_or(property);
    let reference = property["$ref"].as_str().or_else(|| property["items"]["$ref"].as_str())?;
    schema.pointer(reference.strip_prefix('#')?)
}

fn section(page: &Reference, title: &str, path: &str, property: &Value, out: &mut String) {
    let schema = &page.schema;
    let Some(table) = target(schema, property) else { return };
    let Some(properties) = table["properties"].as_object() else { return };
    let about = |v: &Value| v["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    write!(
        out,
        "\n## `{title}`\n\n{}\n\n| key | form | default | meaning |\n| --- | --- | --- | --- |\n",
        about(table)
    )
    .unwrap();
    let required = table["required"].as_array().cloned().unwrap_or_default();
    for (name, p) in properties {
        let default = if required.contains(&Value::from(name.as_str())) {
            "compulsory".into()
        } else {
            default_of(page, path, name, p)
        };
        writeln!(out, "| `{name}` | {} | {default} | {} |", form(schema, p), about(p)).unwrap();
    }
    for (name, p) in properties {
        let many = p["type"] == "array";
        let inner = format!("{path}.{name}");
        let title = if many { format!("[[{inner}]]") } else { format!("[{inner}]") };
        if !["password", "token", "access_key", "secret_key"].iter().any(|secret| title.contains(secret)) {
            section(page, &title, &inner, p, out);
        }
    }
}

fn default_of(page: &Reference, path: &str, name: &str, property: &Value) -> String {
    let (schema, written) = (&page.schema, &page.defaults);
    let pointer = format!("/{}/{name}", path.replace('.', "/"));
    match written.pointer(&pointer).or_else(|| property.get("default")) {
        None | Some(Value::Null) => "none".into(),
        Some(Value::Object(_)) if target(schema, property).is_some() => "see below".into(),
        Some(Value::Number(n)) => format!("`{}`", n.as_f64().map_or_else(|| n.to_string(), |f| (f as f32).to_string())),
        Some(value) => format!("`{value}`"),
    }
}

fn form(schema: &Value, property: &Value) -> String {
    if let Some(found) = target(schema, property) {
        if let Some(options) = found["oneOf"].as_array() {
            let names: Vec<_> = options.iter().map(|o| format!("`{}`", o["const"])).collect();
            let many = if property["type"] == "array" { "array of " } else { "" };
            return format!("{many}{}", names.join(", "));
        }
        if found["properties"]["env"].is_object() {
            return "table with `file` or `env`".into();
        }
        if found["type"] == "object" {
            return if property["type"] == "array" { "tables" } else { "table" }.into();
        }
        if found["type"] == "array" {
            return "array of `[x, y]`".into();
        }
        let pattern = found["pattern"].as_str().map_or_else(String::new, |p| format!(" matching `{p}`"));
        return if property["type"] == "array" { "array of text".into() } else { format!("text{pattern}") };
    }
    let kind = match &property["type"] {
        Value::Array(kinds) => kinds[0].as_str().unwrap_or_default(),
        kind => kind.as_str().unwrap_or_default(),
    };
    let kind = match kind {
        "string" => "text",
        "integer" => "whole number",
        other => other,
    };
    match (property["minimum"].as_f64(), property["maximum"].as_f64()) {
        (Some(low), Some(high)) => format!("{kind}, {low} to {high}"),
        (Some(low), None) => format!("{kind}, from {low}"),
        (None, Some(high)) => format!("{kind}, up to {high}"),
        (None, None) => kind.into(),
    }
}

/// Exit code, standard output, standard error of `gatewatch check`.
fn check(args: &[&str]) -> (Option<i32>, String, String) {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_gatewatch")).arg("check").args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

#[test]
fn the_command_prints_every_problem_and_its_exit_status_is_true() {
    let shipped = root().join("config/gatewatch.toml");
    let (code, out, _) = check(&["--text-only", shipped.to_str().unwrap()]);
    assert!(code == Some(0) && out.contains(": ok\n") && out.contains("15BB/gate-01"), "{out}");
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, "[site]\noffice = \"x\"\n[mqtt]\nurl = \"mqtt://u:hunter2@h\"\n").unwrap();
    let (code, out, err) = check(&["--text-only", bad.to_str().unwrap()]);
    assert_eq!((code, out.as_str(), err.lines().count()), (Some(1), "", 2), "{err}");
    assert!(err.contains("bad.toml:2:10: site.office: ") && !err.contains("hunter2"), "{err}");
    assert_eq!(check(&[dir.path().join("none.toml").to_str().unwrap()]).0, Some(2));
}

#[test]
fn groups_stand_for_their_classes_in_areas_and_lines() {
    // Those of the line: a group in the `classes` of a rule is an error.
    let text = example_camera().replace("\nclasses = [\"truck\"]", "\nclasses = [\"vehicle\", \"truck\", \"person\"]")
        + "\n[detector.groups]\nvehicle = [\"car\", \"truck\", \"bus\"]\n";
    let config = config::parse(&text, "example").unwrap();
    let classes: Vec<&str> = config.cameras[0].lines[0].classes.iter().map(|c| c.as_str()).collect();
    assert_eq!(classes, ["car", "truck", "bus", "person"], "each once, itself");
    let area: Vec<&str> = config.cameras[0].areas[0].classes.iter().map(|c| c.as_str()).collect();
    assert_eq!(area, ["truck", "person"]);
}
