//! What several themes need: servers to talk to and waiting with a deadline.

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
