//! What open pages must hear at once. What changed is read from the database, once for all pages of this process: so it
//! does not matter which of several workers changed it. A page that is slow misses changes and loads its list anew.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use super::db::alerts::AlertRow;
use super::db::{DbError, within};
use super::room::Room;
use crate::clock::{MonoMillis, mono_now, utc_now};

/// Changes a page may be behind.
const BEHIND: usize = 1024;
/// More changes than this at once are a backlog: pages take their list anew instead of each of them.
const MANY: usize = 150;
/// While it comes in, they are told so this often, milliseconds.
const MANY_EVERY_MS: i64 = 1000;
/// How often other workers' changes are looked for.
const SHARED_EVERY: Duration = Duration::from_millis(250);
/// The same where there are no others: only in case a nudge was missed.
const ALONE_EVERY: Duration = Duration::from_secs(10);
/// Longest that reading what changed takes.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// Wait after the database refused.
const AGAIN: Duration = Duration::from_secs(1);

/// Something a page must hear.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// An alert is new or changed.
    Alert(Arc<Card>),
    /// So much changed that the list is better taken anew.
    Many,
    /// Tips changed: who may be called by one looks whether it is.
    Tips,
}

/// An alert as pages need it.
#[derive(Debug)]
pub(crate) struct Card {
    pub row: AlertRow,
    /// Just opened and live: worth a sound.
    pub fresh: bool,
    /// Finished, by how it looks.
    made: Mutex<HashMap<Look, Arc<str>>>,
}

/// What makes an alert look different to two readers: their language, and whether they may act on it.
pub(crate) type Look = (&'static str, bool);

impl Card {
    pub(crate) fn new(row: AlertRow, fresh: bool) -> Self {
        Self { row, fresh, made: Mutex::default() }
    }

    /// What `make` makes of it, made once for all pages where it looks the same: the others wait for it.
    pub(crate) fn made(&self, look: Look, make: impl FnOnce() -> String) -> Arc<str> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(made.entry(look).or_insert_with(|| make().into()))
    }
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
    let mut many = Many::default();
    loop {
        // What fails goes on for as long as it did before.
        let _ = room.announcing.compare_exchange(0, utc_now().0, Ordering::Relaxed, Ordering::Relaxed);
        match within(READ_WITHIN, announce_once(&room, seen, &mut many)).await {
            Ok(upto) => {
                room.announcing.store(0, Ordering::Relaxed);
                seen = Some(upto);
            }
            Err(error) => {
                tracing::warn!(%error, "changes cannot be read for open pages; trying again");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        }
        let wait = many.told(&room.hub, mono_now()).map_or(every, |wait| wait.min(every));
        let _ = tokio::time::timeout(wait, room.hub.nudge.notified()).await;
    }
}

/// Pages that shall take their list anew: they are told at once, and while more comes in not oftener than they would do so.
#[derive(Debug, Default)]
struct Many {
    owed: bool,
    told_at: Option<MonoMillis>,
}

impl Many {
    /// Tells what is owed, or says after how long it may be told.
    fn told(&mut self, hub: &Hub, now: MonoMillis) -> Option<Duration> {
        if !self.owed {
            return None;
        }
        let left = self.told_at.map_or(0, |at| MANY_EVERY_MS - now.since(at));
        if left > 0 {
            return Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)));
        }
        // Fails only when nobody listens.
        let _ = hub.told.send(Told::Many);
        *self = Self { owed: false, told_at: Some(now) };
        None
    }
}

/// What changed after transaction `seen`; `None` = nothing is told, only counted from here.
async fn announce_once(room: &Room, seen: Option<i64>, many: &mut Many) -> Result<i64, DbError> {
    // Read first: what comes after it has a higher number and is told next time.
    let newest = room.db.newest_write().await?;
    let Some(seen) = seen.filter(|_| room.hub.told.receiver_count() > 0) else { return Ok(newest) };
    if newest == seen {
        return Ok(seen);
    }
    let limit = i64::try_from(MANY).unwrap_or(i64::MAX);
    let mut upto = newest;
    let mut touched = Vec::new();
    let much = room.db.touched_count(seen, limit + 1).await? > limit;
    if !much {
        touched = room.db.alerts_touched(seen, limit + 1).await?;
    }
    if much || touched.len() > MANY {
        // A backlog comes in: the newest of what is live is shown at once all the same, the rest with the next list.
        many.owed = true;
        touched = room.db.alerts_rang(seen, limit).await?;
    } else if let Some(last) = touched.last() {
        upto = last.touched.max(newest);
    }
    // Asked last: these alerts may be of transactions after `newest`, and the next time begins behind them. A tip that was changed
    // before one of them is seen here, one that was changed after them is told twice at most.
    let tips = room.db.tips_touched(seen).await?;
    for one in touched {
        let fresh = one.rang > seen;
        // Fails only when nobody listens.
        let _ = room.hub.told.send(Told::Alert(Arc::new(Card::new(one.row, fresh))));
    }
    if tips {
        // Fails only when nobody listens.
        let _ = room.hub.told.send(Told::Tips);
    }
    Ok(upto)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn that_changes_cannot_be_read_is_known_until_they_can() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let announcing = || room.announcing.load(Ordering::Relaxed);
        let once = async || tokio::time::timeout(Duration::from_secs(2), announce(room.clone())).await.unwrap_err();
        once().await;
        assert_eq!((announcing(), room.keeps_up()), (0, true));
        room.db.close().await;
        once().await;
        assert!(announcing() > 0 && room.keeps_up(), "it may be back in a moment");
        room.announcing.fetch_sub(11_000, Ordering::Relaxed);
        let since = announcing();
        once().await;
        assert_eq!((announcing(), room.keeps_up()), (since, false));
    }

    #[test]
    fn that_much_changed_is_told_at_once_then_once_in_a_while_and_never_forgotten() {
        let hub = Hub::default();
        let mut page = hub.listen();
        let mut many = Many::default();
        let mut at = |ms, owed: bool| {
            many.owed |= owed;
            let wait = many.told(&hub, MonoMillis(ms));
            (page.try_recv().is_ok(), wait.map(|w| w.as_millis()))
        };
        assert_eq!(at(5, false), (false, None));
        assert_eq!(at(10, true), (true, None));
        assert_eq!(at(20, true), (false, Some(990)), "soon");
        assert_eq!(at(900, false), (false, Some(110)), "still");
        assert_eq!(at(1010, false), (true, None));
        assert_eq!(at(1020, false), (false, None), "and that was all");
    }
}
