//! What several themes need: servers to talk to and waiting with a deadline.

pub mod gate;
pub mod listener;
pub mod mosquitto;
pub mod rtsp_server;

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

/// Longest wait of [`until`].
pub const LIMIT: Duration = Duration::from_secs(60);

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
