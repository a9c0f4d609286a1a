//! Changes of alerts as server-sent events: each as a finished card in the reader's language, or as gone. A card is made once
//! for all who see it alike, so it has no token of a session: the page's script has one. Numbers of open alerts come with
//! them, and once more a moment later. So does whether the broker is there, what comes is stored and pictures can be written: a page that
//! stays open must not look calm without.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::Query;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::watch;

use super::alerts::{card, count_words, grouped, ids, is_single, wanted};
use super::page::{Answer, Ctx, OrProblem};
use super::parts::Offices;
use crate::clock::{MonoMillis, mono_now};
use crate::desk::access::Need;
use crate::desk::alert::State;
use crate::desk::db::DbError;
use crate::desk::db::alerts::{AlertRow, Wanted};
use crate::desk::db::finds;
use crate::desk::hub::{Card, Told};
use crate::desk::tally::GOOD_MS;

/// After this the browser connects anew, so that a session that ended elsewhere does not see on; milliseconds.
pub(super) const LIFE_MS: i64 = 5 * 60_000;
/// Kept alive this often, so that a dead line is noticed.
pub(super) const ALIVE: Duration = Duration::from_secs(15);

/// How often it is looked whether what comes is stored.
const LOOK: Duration = Duration::from_secs(2);

struct Reader {
    ctx: Ctx,
    offices: Offices,
    wanted: Wanted,
    told: Receiver<Told>,
    broker: watch::Receiver<bool>,
    /// Whether what comes is stored, and pictures can be written, as the page heard last.
    lamps: Option<(bool, bool)>,
    since: MonoMillis,
    /// The numbers shown may be old: new ones are sent then.
    counts_at: Option<MonoMillis>,
    /// The page is older than this stream: it takes its list anew first.
    behind: bool,
}

/// The stream of one open page. `seen`: the newest change the page was made with.
pub(crate) async fn stream(
    Extension(ctx): Extension<Ctx>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    // Before anything is read, so that nothing falls in between.
    let told = ctx.room.hub.listen();
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let behind = match query.get("seen").and_then(|n| n.parse().ok()) {
        Some(seen) => !ctx.room.db.alerts_touched(seen, 1).await.or_problem(&ctx)?.is_empty(),
        None => false,
    };
    let wanted = wanted(&query);
    super::audit::watched_of(&ctx, "", "alerts.watch", &wanted.view, &wanted.words).await.or_problem(&ctx)?;
    let listed = ctx.room.db.alerts(&ctx.user.scope, &wanted).await.or_problem(&ctx)?;
    ctx.room.watched.still_shows(&ctx.user.name, ids(&grouped(listed, is_single(&query))));
    let mut broker = ctx.room.connected.clone();
    // The page may be older than what is so now.
    broker.mark_changed();
    // The numbers of the list may have been counted before its last change.
    let reader = Reader {
        ctx,
        offices,
        wanted,
        told,
        broker,
        lamps: None,
        since: mono_now(),
        counts_at: Some(counted_anew()),
        behind,
    };
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}

/// How long it is until then.
pub(super) fn wait_for(at: MonoMillis) -> Duration {
    Duration::from_millis(u64::try_from(at.since(mono_now())).unwrap_or(0))
}

/// From when on numbers are of after this moment, whoever else asks for them meanwhile.
fn counted_anew() -> MonoMillis {
    MonoMillis(mono_now().0 + GOOD_MS + 50)
}

/// The page takes its list anew, a little later: much changes, on many pages.
fn refresh() -> Event {
    Event::default().event("refresh").data("")
}

/// The page takes its list anew at once: nobody told it what happened while it was away.
fn missed() -> Event {
    Event::default().event("missed").data("")
}

/// Waits until the broker comes or goes. Without anybody to say so it stays as it is.
async fn turned(broker: &mut watch::Receiver<bool>) -> bool {
    if broker.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    *broker.borrow_and_update()
}

impl Reader {
    /// The next event that concerns this page; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.behind) {
            return Some(missed());
        }
        loop {
            let ends = MonoMillis(self.since.0 + LIFE_MS);
            let until = self.counts_at.map_or(ends, |at| at.min(ends));
            let wait = wait_for(until).min(LOOK);
            let lamps = (self.ctx.room.keeps_up(), self.ctx.room.pictures.works());
            let told = tokio::select! {
                biased;
                there = turned(&mut self.broker) => {
                    return Some(Event::default().event("broker").data(if there { "1" } else { "0" }));
                }
                () = std::future::ready(()), if self.lamps != Some(lamps) => {
                    self.lamps = Some(lamps);
                    let words = json!({"storing": lamps.0, "pictures": lamps.1});
                    return Some(Event::default().event("lamps").data(words.to_string()));
                }
                told = tokio::time::timeout(wait, self.told.recv()) => told,
            };
            let made = match told {
                Ok(Ok(Told::Alert(card))) if self.ctx.user.scope.holds(&card.row.office) => self.alert(&card).await,
                Ok(Ok(Told::Alert(_) | Told::Tips)) => continue,
                // Much at once, or more than this page could follow.
                Ok(Ok(Told::Many) | Err(RecvError::Lagged(_))) => {
                    self.counts_at = Some(counted_anew());
                    return Some(refresh());
                }
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) if until.since(mono_now()) > 0 => continue,
                Err(_) if until < ends => self.counts().await,
                Err(_) => return None,
            };
            match made {
                Ok(event) => return Some(event),
                Err(error) => {
                    tracing::warn!(%error, "a change cannot be shown");
                    return None;
                }
            }
        }
    }

    async fn words(&self) -> Result<String, DbError> {
        let room = &self.ctx.room;
        Ok(count_words(&self.ctx, &room.tally.counts(&room.db, &self.ctx.user.scope).await?))
    }

    /// Numbers alone, when those sent with the last alert may have been too old for it.
    async fn counts(&mut self) -> Result<Event, DbError> {
        self.counts_at = None;
        Ok(Event::default().event("counts").data(self.words().await?))
    }

    async fn alert(&mut self, told: &Card) -> Result<Event, DbError> {
        let row = &told.row;
        let counts = json!(self.words().await?);
        // After the last change. While they go on each brings numbers that are a second old at most.
        self.counts_at = Some(counted_anew());
        let shown = fits(row, &self.offices, &self.wanted);
        let sound = shown && told.fresh && row.severity >= 3 && row.state != State::Closed.as_str();
        let said = if shown {
            let look = (self.ctx.language, self.ctx.may(Need::ActAlerts));
            self.ctx.room.watched.shows(&self.ctx.user.name, [row.id.as_str()]);
            told.made(look, || self.said(row, &card(&self.ctx, &self.offices, row, 0, false).into_string()))
        } else {
            self.said(row, "").into()
        };
        Ok(Event::default().event("alert").data(format!("{{{said},\"counts\":{counts},\"sound\":{sound}}}")))
    }

    /// The members of an event that are the same for all readers who see the alert alike.
    fn said(&self, row: &AlertRow, html: &str) -> String {
        let (id, html) = (json!(row.id), json!(html));
        format!("\"id\":{id},\"at\":{},\"severity\":{},\"html\":{html}", row.at_ms, row.severity)
    }
}

/// Whether the page's filters show it; the same as the statement in `db/alerts.rs`.
fn fits(row: &AlertRow, offices: &Offices, w: &Wanted) -> bool {
    let open = row.state != State::Closed.as_str();
    let view = match w.view.as_str() {
        "open" => open,
        "closed" => !open,
        "escalated" => open && row.escalated_ms.is_some(),
        "new" | "unseen" => row.state == w.view,
        _ => true,
    };
    view && row.severity >= w.severity
        && (w.office.is_empty() || row.office == w.office)
        && (w.duty_day.is_empty() || row.duty_day == w.duty_day)
        && (w.rule.is_empty() || row.rule == w.rule)
        && w.after.as_ref().is_none_or(|(at_ms, id)| (row.at_ms, &row.id) < (*at_ms, id))
        && finds(&format!("{} {}", row.search, offices.search(&row.office)), &w.words)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use axum::body::Body;
    use axum::http::{Request, header};
    use futures_util::StreamExt;
    use futures_util::stream::BoxStream;
    use tower::ServiceExt;

    use super::super::tests::{room, sign_in_as};
    use super::*;
    use crate::desk::access::Role;
    use crate::desk::room::Room;

    /// What an open page hears, piece by piece.
    async fn open(room: &Arc<Room>, query: &str) -> BoxStream<'static, String> {
        let request = Request::builder().uri(format!("/alerts/stream?view=open{query}"));
        let request = request.header(header::COOKIE, "gw-session=an").body(Body::empty()).unwrap();
        let response = super::super::router(room.clone()).oneshot(request).await.unwrap();
        let pieces = response.into_body().into_data_stream();
        pieces.map(|piece| String::from_utf8_lossy(&piece.unwrap()).into_owned()).boxed()
    }

    #[tokio::test]
    async fn an_open_page_hears_that_the_broker_is_gone_and_that_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let (broker, connected) = watch::channel(true);
        let mut room = Arc::into_inner(room(dir.path()).await).unwrap();
        room.connected = connected;
        let room = Arc::new(room);
        sign_in_as(&room, Role::Officer, "an", 0).await;
        let mut page = open(&room, "").await;
        let mut hears = async |what: &str| {
            let mut said = page.next().await.unwrap();
            while said.starts_with("event: counts") || said.starts_with("event: lamps") {
                said = page.next().await.unwrap();
            }
            assert_eq!(said.trim(), format!("event: broker\ndata: {what}"));
        };
        hears("1").await;
        broker.send_replace(false);
        hears("0").await;
        broker.send_replace(true);
        hears("1").await;
    }

    #[tokio::test]
    async fn an_open_page_hears_that_nothing_is_stored_and_that_it_is_again() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        sign_in_as(&room, Role::Officer, "an", 0).await;
        let mut page = open(&room, "").await;
        let mut hears = async || {
            loop {
                let said = tokio::time::timeout(Duration::from_secs(20), page.next()).await.unwrap().unwrap();
                if let Some(said) = said.strip_prefix("event: lamps\ndata: ") {
                    return said.trim().to_owned();
                }
            }
        };
        let ready = async || super::super::tests::ask(&room, "GET", "/readyz", None, "").await.0.as_u16();
        assert_eq!((hears().await.as_str(), ready().await), (r#"{"pictures":true,"storing":true}"#, 200));
        room.storing.store(crate::clock::utc_now().0 - 9_000, Ordering::Relaxed);
        assert_eq!(ready().await, 200, "not at once");
        assert_eq!((hears().await.as_str(), ready().await), (r#"{"pictures":true,"storing":false}"#, 503));
        let shown = super::super::tests::page(&room, "/alerts", "an").await;
        assert!(shown.contains("id=\"storing\" role=\"alert\">"), "also a page that is opened: {shown}");
        room.storing.store(0, Ordering::Relaxed);
        room.pictures.broke(&"full");
        assert_eq!((hears().await.as_str(), ready().await), (r#"{"pictures":false,"storing":true}"#, 200));
    }

    #[tokio::test]
    async fn a_page_that_was_away_is_told_so_first() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        sign_in_as(&room, Role::Officer, "an", 0).await;
        let seen = format!("&seen={}", room.db.newest_write().await.unwrap());
        assert!(open(&room, &seen).await.next().await.unwrap().starts_with("event: broker"));
        let m = crate::desk::message::tests::body("E1", 1, 1, 4);
        let m = crate::desk::message::read(m.to_string().as_bytes(), "15BB", "gate-01").unwrap();
        let mut tx = room.db.write().await.unwrap();
        tx.add_alert(&crate::desk::message::alert(&m, &room.zone, m.at_ms, 60_000)).await.unwrap();
        tx.touch("E1", true).await.unwrap();
        tx.commit().await.unwrap();
        assert!(open(&room, &seen).await.next().await.unwrap().starts_with("event: missed"));
    }

    /// An alert of the office that every page of the tests sees.
    fn row(room: &Room) -> AlertRow {
        let m = crate::desk::message::tests::body("E1", 1, 1, 4);
        let m = crate::desk::message::read(m.to_string().as_bytes(), "15BB", "gate-01").unwrap();
        crate::desk::message::alert(&m, &room.zone, m.at_ms, 60_000)
    }

    #[tokio::test]
    async fn a_page_comes_to_show_how_many_are_open_whenever_they_were_counted() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        sign_in_as(&room, Role::Officer, "an", 0).await;
        // Another page had them counted just before.
        assert!(room.tally.counts(&room.db, &crate::desk::db::Scope::all()).await.unwrap().is_empty());
        let mut tx = room.db.write().await.unwrap();
        tx.add_alert(&row(&room)).await.unwrap();
        tx.commit().await.unwrap();
        let mut page = open(&room, "").await;
        let counted = async {
            loop {
                let said = page.next().await.unwrap();
                if let Some(said) = said.strip_prefix("event: counts") {
                    return said.to_owned();
                }
            }
        };
        let said = tokio::time::timeout(Duration::from_secs(20), counted).await.unwrap();
        assert!(said.starts_with("\ndata: Mới: 1 "), "{said}");
    }

    #[tokio::test]
    async fn numbers_are_counted_after_the_last_change() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        let (tell, told) = tokio::sync::broadcast::channel(9);
        let user = crate::desk::access::tests::user();
        let ctx = Ctx { room: room.clone(), user, language: "vi", calls: None };
        let soon = MonoMillis(mono_now().0 + 5);
        let mut reader = Reader {
            offices: Offices::load(&ctx).await.unwrap(),
            wanted: wanted(&HashMap::new()),
            broker: room.connected.clone(),
            lamps: Some((true, true)),
            since: mono_now(),
            counts_at: Some(soon),
            behind: false,
            told,
            ctx,
        };
        let counted_at = |reader: &Reader| reader.counts_at.unwrap().since(mono_now());
        drop(reader.alert(&Card::new(row(&room), true)).await.unwrap());
        assert!(counted_at(&reader) > GOOD_MS / 2, "not those of before it");
        reader.counts_at = None;
        tell.send(Told::Many).unwrap();
        assert!(reader.next().await.is_some());
        assert!(counted_at(&reader) > GOOD_MS / 2);
    }
}
