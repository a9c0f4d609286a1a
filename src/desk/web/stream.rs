//! Changes of alerts as server-sent events: each as a finished card in the reader's language, or as gone. A card is made once
//! for all who see it alike, so it has no token of a session: the page's script has one. Numbers of open alerts come with
//! them, or a moment later.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::Query;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::alerts::{card, count_words, wanted};
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
const LIFE_MS: i64 = 5 * 60_000;
/// Kept alive this often, so that a dead line is noticed.
const ALIVE: Duration = Duration::from_secs(15);

struct Reader {
    ctx: Ctx,
    offices: Offices,
    wanted: Wanted,
    told: Receiver<Told>,
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
    let reader = Reader { ctx, offices, wanted, told, since: mono_now(), counts_at: None, behind };
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}

/// The page takes its list anew.
fn refresh() -> Event {
    Event::default().event("refresh").data("")
}

impl Reader {
    /// The next event that concerns this page; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.behind) {
            return Some(refresh());
        }
        loop {
            let now = mono_now();
            let ends = MonoMillis(self.since.0 + LIFE_MS);
            let until = self.counts_at.map_or(ends, |at| at.min(ends));
            let wait = Duration::from_millis(u64::try_from(until.since(now)).unwrap_or(0));
            let made = match tokio::time::timeout(wait, self.told.recv()).await {
                Ok(Ok(Told::Alert(card))) if self.ctx.user.scope.holds(&card.row.office) => self.alert(&card).await,
                Ok(Ok(Told::Alert(_))) => continue,
                // Much at once, or more than this page could follow.
                Ok(Ok(Told::Many) | Err(RecvError::Lagged(_))) => return Some(refresh()),
                Ok(Err(RecvError::Closed)) => return None,
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
        self.counts_at.get_or_insert(MonoMillis(mono_now().0 + GOOD_MS + 50));
        let shown = fits(row, &self.offices, &self.wanted);
        let sound = shown && told.fresh && row.severity >= 3 && row.state != State::Closed.as_str();
        let said = if shown {
            let look = (self.ctx.language, self.ctx.may(Need::ActAlerts));
            told.made(look, || self.said(row, &card(&self.ctx, &self.offices, row, 0, false).into_string()))
        } else {
            self.said(row, "").into()
        };
        Ok(Event::default().event("alert").data(format!("{{{said},\"counts\":{counts},\"sound\":{sound}}}")))
    }

    /// The members of an event that are the same for all readers who see the alert alike.
    fn said(&self, row: &AlertRow, html: &str) -> String {
        let severity = self.ctx.value("severity", &row.severity.to_string());
        let say = json!(format!("{severity}: {}", self.ctx.value("rule", &row.rule)));
        let (id, html) = (json!(row.id), json!(html));
        format!("\"id\":{id},\"at\":{},\"severity\":{},\"say\":{say},\"html\":{html}", row.at_ms, row.severity)
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
        && finds(&format!("{} {}", row.search, offices.search(&row.office)), &w.words)
}
