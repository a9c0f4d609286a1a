//! Do the files and variables that a configuration names exist on this machine. What the agent cannot start without is
//! an error; the register's file, the model and its library, and what one camera needs, may come later and are warnings.

use std::path::Path;

use super::document::Document;
use super::problems::{Level, Problem};
use super::{Config, SecretSource};

/// What is named and not there.
pub(super) fn check(doc: &Document<'_>, config: &Config) -> Vec<Problem> {
    let mqtt = &config.mqtt;
    let mut needed = vec![
        ("mqtt.ca_file".to_owned(), mqtt.ca_file.as_ref()),
        ("mqtt.client_cert_file".to_owned(), mqtt.client_cert_file.as_ref()),
        ("mqtt.client_key_file".to_owned(), mqtt.client_key_file.as_ref()),
        ("pictures.font".to_owned(), config.pictures.font.as_ref()),
    ];
    needed.extend(config.cameras.iter().enumerate().map(|(i, c)| (format!("camera[{i}].ca_file"), c.ca_file.as_ref())));
    let clips = config.footage.store.as_ref();
    needed.push(("footage.store.ca_file".to_owned(), clips.and_then(|s| s.ca_file.as_ref())));
    let missing = needed.into_iter().filter_map(|(key, path)| {
        let path = path.filter(|p| !p.is_file())?;
        Some(doc.problem(&key, format!("{}; {}", no_file(path), next_step(&key)), level_of(&key)))
    });
    let mut problems: Vec<_> = missing.collect();
    problems.extend(secrets(doc, config));
    let detector = &config.detector;
    for (key, path) in
        [("detector.model", Some(&detector.model)), ("detector.runtime_library", detector.runtime_library.as_ref())]
    {
        if let Some(path) = path.filter(|p| !p.is_file()) {
            let message = format!("{}; pictures are not analysed until it is there: {}", no_file(path), next_step(key));
            problems.push(doc.problem(key, message, Level::Warning));
        }
    }
    if let Some(path) = config.register.file.as_ref().filter(|p| !p.is_file()) {
        problems.push(doc.problem(
            "register.file",
            format!("{}; it is read when it appears", no_file(path)),
            Level::Warning,
        ));
    }
    problems
}

/// One camera that cannot be opened does not keep the others from being watched, nor does a store of clips.
fn level_of(key: &str) -> Level {
    if key.starts_with("camera[") || key.starts_with("footage.store.") { Level::Warning } else { Level::Error }
}

fn no_file(path: &Path) -> String {
    let from = if path.is_relative() { " (relative to the working directory)" } else { "" };
    format!("there is no file {}{from}", path.display())
}

/// What the reader does about a file that is not there.
fn next_step(key: &str) -> &'static str {
    match key {
        "detector.model" => "name an ONNX model, such as models/gate.onnx of the repository",
        "detector.runtime_library" => "correct it, or leave it out and run `make deps`",
        "pictures.font" => "correct it, or leave it out and install the package fonts-dejavu-core",
        _ => "correct the path or put the file there",
    }
}

fn secrets(doc: &Document<'_>, config: &Config) -> Vec<Problem> {
    let mut sources: Vec<(String, &SecretSource)> =
        vec![("mqtt.password".into(), &config.mqtt.password), ("http.token".into(), &config.http.token)];
    sources.extend(config.cameras.iter().enumerate().map(|(i, c)| (format!("camera[{i}].password"), &c.password)));
    if let Some(store) = &config.footage.store {
        sources.push(("footage.store.access_key".into(), &store.access_key));
        sources.push(("footage.store.secret_key".into(), &store.secret_key));
    }
    // Both sources given is said by `semantic` already.
    let single = sources.into_iter().filter(|(_, s)| s.file.is_none() || s.env.is_none());
    single.filter_map(|(key, s)| s.resolve().err().map(|e| doc.problem(&key, e, level_of(&key)))).collect()
}
