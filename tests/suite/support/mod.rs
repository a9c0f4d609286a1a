//! What several themes need: servers to talk to, waiting with a deadline, generated files of the repository.

pub mod rtsp_server;

use std::path::Path;
use std::time::{Duration, Instant};

/// Waits until `condition` gives a value.
///
/// # Panics
/// After 30 seconds, naming `what`.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let Some(value) = condition() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited 30 s in vain for: {what}");
}

/// The file of the repository must hold `text`; with `GATEWATCH_UPDATE` set it is written first, to be reviewed as a diff.
///
/// # Panics
/// When it does not.
pub fn generated_file(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("GATEWATCH_UPDATE").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == text, "{path} is old: run the tests once with GATEWATCH_UPDATE=1 and review the difference");
}
