//! Changes of alerts as server-sent events: each as a finished card in the reader's language, or as gone.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::Query;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::alerts::{card, wanted};
use super::page::{Answer, Ctx, OrProblem};
use super::parts::Offices;
use crate::clock::{MonoMillis, mono_now};
use crate::desk::alert::State;
use crate::desk::db::DbError;
use crate::desk::db::alerts::{AlertRow, Wanted};
use crate::desk::db::folded;
use crate::desk::hub::Change;

/// After this the browser connects anew, so that a session that ended elsewhere does not see on; milliseconds.
const LIFE_MS: i64 = 5 * 60_000;
/// Kept alive this often, so that a dead line is noticed.
const ALIVE: Duration = Duration::from_secs(15);

struct Reader {
    ctx: Ctx,
    offices: Offices,
    wanted: Wanted,
    changes: Receiver<Change>,
    since: MonoMillis,
}

/// The stream of one open page.
pub(crate) async fn stream(
    Extension(ctx): Extension<Ctx>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    // Before the offices are read, so that nothing falls in between.
    let changes = ctx.room.hub.listen();
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let reader = Reader { ctx, offices, wanted: wanted(&query), changes, since: mono_now() };
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}

impl Reader {
    /// The next event that concerns this page; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let left = LIFE_MS - mono_now().since(self.since);
            let wait = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            let change = match tokio::time::timeout(wait, self.changes.recv()).await {
                Ok(Ok(change)) => change,
                // Too much was missed: the page loads anew.
                Ok(Err(RecvError::Lagged(_))) => return Some(Event::default().event("reload").data("")),
                Ok(Err(RecvError::Closed)) | Err(_) => return None,
            };
            if !self.ctx.user.scope.holds(&change.office) {
                continue;
            }
            match self.event(&change).await {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a change cannot be shown");
                    return None;
                }
            }
        }
    }

    async fn event(&self, change: &Change) -> Result<Option<Event>, DbError> {
        let db = &self.ctx.room.db;
        let Some(row) = db.alert(&change.alert).await? else { return Ok(None) };
        let counts = super::alerts::count_words(&self.ctx, &db.alert_counts(&self.ctx.user.scope).await?);
        let shown = fits(&row, &self.wanted);
        let pictures = db.pictures(&row.id).await?;
        let html = if shown { card(&self.ctx, &self.offices, &row, 0, &pictures).into_string() } else { String::new() };
        let data = json!({
            "id": row.id, "at": row.at_ms, "severity": row.severity, "html": html, "counts": counts,
            "sound": shown && change.fresh && row.severity >= 3 && row.state != State::Closed.as_str(),
            "say": format!("{}: {}", self.ctx.value("severity", &row.severity.to_string()), self.ctx.value("rule", &row.rule)),
        });
        Ok(Some(Event::default().event("alert").data(data.to_string())))
    }
}

/// Whether the page's filters show it; the same as the statement in `db/alerts.rs`.
fn fits(row: &AlertRow, w: &Wanted) -> bool {
    let open = row.state != State::Closed.as_str();
    let view = match w.view.as_str() {
        "open" => open,
        "closed" => !open,
        "escalated" => open && row.escalated_ms.is_some(),
        "new" | "unseen" => row.state == w.view,
        _ => true,
    };
    let words = folded(&w.words);
    view && row.severity >= w.severity
        && (w.office.is_empty() || row.office == w.office)
        && (w.duty_day.is_empty() || row.duty_day == w.duty_day)
        && (w.rule.is_empty() || row.rule == w.rule)
        && words.split_whitespace().all(|word| row.search.contains(word))
}
