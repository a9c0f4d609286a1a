//! What open pages must hear at once. A page that is slow misses changes and loads anew.

use tokio::sync::broadcast;

/// Changes a page may be behind.
const BEHIND: usize = 1024;

/// Something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Whose.
    pub office: String,
    /// Which alert.
    pub alert: String,
    /// Just opened and live: worth a sound.
    pub fresh: bool,
}

/// Tells all open pages.
#[derive(Debug, Clone)]
pub(crate) struct Hub(broadcast::Sender<Change>);

impl Default for Hub {
    fn default() -> Self {
        Self(broadcast::channel(BEHIND).0)
    }
}

impl Hub {
    /// Tells everyone who listens now.
    pub(crate) fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            // Fails only when nobody listens.
            let _ = self.0.send(change);
        }
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Change> {
        self.0.subscribe()
    }
}
