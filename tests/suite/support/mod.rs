//! What several themes need: servers to talk to, waiting with a deadline, generated files of the repository.

pub mod desk;
pub mod gate;
pub mod listener;
pub mod mosquitto;
pub mod objects;
pub mod postgres;
pub mod rtsp_server;
pub mod webdriver;

use std::path::Path;
use std::time::{Duration, Instant};

/// Waits until `condition` gives a value.
///
/// # Panics
/// After [`LIMIT`], naming `what`.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if let Some(value) = condition() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited {LIMIT:?} in vain for: {what}");
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

/// Longest wait of [`wait_for`] and [`until`]: far longer than anything takes, since the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(180);

/// Waits until `condition` gives a value.
///
/// # Panics
/// After [`LIMIT`], naming `what`.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let Ok(value) = tokio::time::timeout(LIMIT, found).await else { panic!("waited {LIMIT:?} in vain for: {what}") };
    value
}
