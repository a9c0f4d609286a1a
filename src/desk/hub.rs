//! What open pages must hear at once. What changed is read from the database, once for all pages of this process: so it
//! does not matter which of several workers changed it. A page that is slow misses changes and loads its list anew.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use super::db::DbError;
use super::db::alerts::AlertRow;
use super::room::Room;

/// Changes a page may be behind.
const BEHIND: usize = 1024;
/// More changes than this at once are a backlog: pages take their list anew instead of each of them.
const MANY: usize = 150;
/// How often other workers' changes are looked for.
const SHARED_EVERY: Duration = Duration::from_millis(250);
/// The same where there are no others: only in case a nudge was missed.
const ALONE_EVERY: Duration = Duration::from_secs(10);
/// Wait after the database refused.
const AGAIN: Duration = Duration::from_secs(1);

/// Something a page must hear.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// An alert is new or changed.
    Alert(Arc<Card>),
    /// So much changed that the list is better taken anew.
    Many,
}

/// An alert as pages need it.
#[derive(Debug)]
pub(crate) struct Card {
    pub row: AlertRow,
    /// Just opened and live: worth a sound.
    pub fresh: bool,
}

/// Tells all open pages.
#[derive(Debug)]
pub(crate) struct Hub {
    told: broadcast::Sender<Told>,
    nudge: Notify,
}

impl Default for Hub {
    fn default() -> Self {
        Self { told: broadcast::channel(BEHIND).0, nudge: Notify::new() }
    }
}

impl Hub {
    /// Something was committed that pages may have to hear.
    pub(crate) fn nudge(&self) {
        self.nudge.notify_one();
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Told> {
        self.told.subscribe()
    }
}

/// Tells pages what changes, until the desk stops.
pub(crate) async fn announce(room: Arc<Room>) {
    let every = if room.config.mqtt.share.is_some() { SHARED_EVERY } else { ALONE_EVERY };
    let mut seen = None;
    loop {
        match announce_once(&room, seen).await {
            Ok(upto) => seen = Some(upto),
            Err(error) => {
                tracing::warn!(%error, "changes cannot be read for open pages; trying again");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        }
        let _ = tokio::time::timeout(every, room.hub.nudge.notified()).await;
    }
}

/// What changed after transaction `seen`; `None` = nothing is told, only counted from here.
async fn announce_once(room: &Room, seen: Option<i64>) -> Result<i64, DbError> {
    // Read first: what comes after it has a higher number and is told next time.
    let newest = room.db.newest_write().await?;
    let Some(seen) = seen.filter(|_| room.hub.told.receiver_count() > 0) else { return Ok(newest) };
    if newest == seen {
        return Ok(seen);
    }
    let limit = i64::try_from(MANY).unwrap_or(i64::MAX) + 1;
    let mut touched = room.db.alerts_touched(seen, limit).await?;
    let mut upto = newest;
    if touched.len() > MANY {
        // A backlog comes in: what is new and live is shown at once all the same, the rest with the next list.
        // Sending fails only when nobody listens.
        let _ = room.hub.told.send(Told::Many);
        touched = room.db.alerts_rang(seen, limit).await?;
        touched.truncate(MANY);
    } else if let Some(last) = touched.last() {
        upto = last.touched.max(newest);
    }
    for one in touched {
        let fresh = one.rang > seen;
        let _ = room.hub.told.send(Told::Alert(Arc::new(Card { row: one.row, fresh })));
    }
    Ok(upto)
}
