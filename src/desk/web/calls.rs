//! Tips that call for the reader, on every page of his: their number beside the menu's entry, and a notice for each that comes,
//! as server-sent events. Each says for whom: a page may still be open of somebody who had the browser before. A page says which
//! transaction it was made after, or the browser what it was told last, so that nothing is missed between two pages.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::Extension;
use axum::extract::Query;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use maud::{Markup, html};
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::page::{Answer, Ctx, OrProblem};
use super::parts::Offices;
use super::stream::{ALIVE, LIFE_MS, wait_for};
use super::tips::CALLS;
use crate::clock::{MonoMillis, mono_now};
use crate::desk::access::User;
use crate::desk::calls::called;
use crate::desk::db::calls::CallRow;
use crate::desk::db::{Db, DbError};
use crate::desk::hub::Told;

/// Notices at once; of more, the newest. All are counted.
const AT_ONCE: i64 = 5;

/// What a page shows of it when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glance {
    /// Tips that call for the reader.
    count: i64,
    /// Newest change before that.
    seen: i64,
}

impl Glance {
    /// `None` for somebody for whom no tip ever calls.
    pub(crate) async fn of(db: &Db, user: &User) -> Result<Option<Self>, DbError> {
        let Some(who) = called(user) else { return Ok(None) };
        // Before the number, so that what changes meanwhile is newer than it.
        let seen = db.newest_write().await?;
        Ok(Some(Self { count: db.calling(&who).await?, seen }))
    }
}

/// Beside the menu's entry.
pub(crate) fn badge(ctx: &Ctx) -> Markup {
    html! {
        @if let Some(glance) = ctx.calls {
            a #calls-count .count href={ "/tips?view=" (CALLS) } title=(ctx.t("calls.count")) hidden[glance.count == 0] { (glance.count) }
        }
    }
}

/// Where notices appear.
pub(crate) fn place(ctx: &Ctx) -> Markup {
    html! {
        @if let Some(glance) = ctx.calls {
            section #calls aria-live="assertive" aria-label=(ctx.t("calls")) data-account=(ctx.user.name) data-seen=(glance.seen) {}
        }
    }
}

fn notice(ctx: &Ctx, offices: &Offices, call: &CallRow) -> Markup {
    html! {
        p.call #{ "call-" (call.id) } {
            strong { (ctx.value("call", &call.called)) } " " a href={ "/tips/" (call.id) } { (call.number) }
            span { (offices.name(&call.unit)) " → " (offices.name(&call.office)) } span { (call.subject) }
            button type="button" data-close="" { (ctx.t("calls.close")) }
        }
    }
}

struct Reader {
    ctx: Ctx,
    offices: Offices,
    told: Receiver<Told>,
    since: MonoMillis,
    seen: i64,
    /// Number that the page shows.
    shown: Option<i64>,
    due: bool,
}

/// The stream of the pages of one browser. `seen`: the newest change that it was told of.
pub(crate) async fn stream(
    Extension(ctx): Extension<Ctx>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    // Before anything is read, so that nothing falls in between.
    let told = ctx.room.hub.listen();
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    super::audit::watched_of(&ctx, "", "tips.watch", "", "").await.or_problem(&ctx)?;
    let newest = ctx.room.db.newest_write().await.or_problem(&ctx)?;
    // More than there is was told by another database: it says nothing of this one.
    let seen = query.get("seen").and_then(|n| n.parse().ok()).map_or(newest, |seen: i64| seen.min(newest));
    let reader = Reader { ctx, offices, told, since: mono_now(), seen, shown: None, due: true };
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}

impl Reader {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if std::mem::take(&mut self.due) {
                match self.look().await {
                    Ok(Some(event)) => return Some(event),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%error, "it cannot be read which tips call");
                        return None;
                    }
                }
            }
            let wait = wait_for(MonoMillis(self.since.0 + LIFE_MS));
            match tokio::time::timeout(wait, self.told.recv()).await {
                Ok(Ok(Told::Tips) | Err(RecvError::Lagged(_))) => self.due = true,
                Ok(Ok(Told::Alert(_) | Told::Many)) => {}
                Ok(Err(RecvError::Closed)) | Err(_) => return None,
            }
        }
    }

    /// What the pages have to hear, if anything.
    async fn look(&mut self) -> Result<Option<Event>, DbError> {
        let db = &self.ctx.room.db;
        let Some(who) = called(&self.ctx.user) else { return Ok(None) };
        let upto = db.newest_write().await?;
        let calls = db.called_since(&who, self.seen, AT_ONCE).await?;
        let count = db.calling(&who).await?;
        self.seen = calls.iter().map(|c| c.rang).max().unwrap_or(0).max(upto);
        if calls.is_empty() && self.shown == Some(count) {
            return Ok(None);
        }
        self.shown = Some(count);
        let html: String = calls.iter().map(|c| notice(&self.ctx, &self.offices, c).into_string()).collect();
        let data = json!({"account": self.ctx.user.name, "seen": self.seen, "count": count, "html": html});
        Ok(Some(Event::default().event("calls").data(data.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::http::{Request, header};
    use futures_util::StreamExt;
    use futures_util::stream::BoxStream;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::super::tests::{room, sign_in_as};
    use super::*;
    use crate::desk::access::Role;
    use crate::desk::access::tests::user;
    use crate::desk::hub;
    use crate::desk::room::Room;
    use crate::desk::tip::Step;
    use crate::desk::tips_duty::{self, Draft};

    fn request(path: &str) -> Request<Body> {
        let request = Request::builder().uri(path).header(header::COOKIE, "gw-session=cuong");
        request.header(header::ACCEPT, "text/html").body(Body::empty()).unwrap()
    }

    async fn open(room: &Arc<Room>, seen: i64) -> BoxStream<'static, Value> {
        let response = super::super::router(room.clone()).oneshot(request(&format!("/tips/stream?seen={seen}"))).await;
        let pieces = response.unwrap().into_body().into_data_stream();
        let said = pieces.map(|piece| String::from_utf8_lossy(&piece.unwrap()).into_owned());
        said.map(|text| serde_json::from_str(text.split_once("data: ").unwrap().1.trim()).unwrap()).boxed()
    }

    async fn shown(room: &Arc<Room>, path: &str) -> String {
        let response = super::super::router(room.clone()).oneshot(request(path)).await.unwrap();
        String::from_utf8(axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
    }

    async fn issue(room: &Room) -> String {
        let leader = User { role: Role::Supervisor, name: "dao".into(), ..user() };
        let draft = Draft {
            office: "15BB".into(),
            containers: "CSQU3054383".into(),
            subject: "Khai <sai> mã".into(),
            due_ms: Some(1),
            ..Draft::default()
        };
        let tip = tips_duty::create(room, &leader, draft, None).await.unwrap();
        tips_duty::step(room, &leader, &tip.id, tip.version, Step::Issue).await.unwrap().id
    }

    #[tokio::test]
    async fn a_page_that_is_open_hears_of_a_tip_and_one_that_opens_later_of_what_the_browser_was_not_told() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        let announcing = tokio::spawn(hub::announce(room.clone()));
        sign_in_as(&room, Role::Field, "cuong", 0).await;
        sign_in_as(&room, Role::Officer, "an", 0).await;
        let page = shown(&room, "/tips").await;
        assert!(page.contains("id=\"calls\"") && page.contains("class=\"count\""), "{page}");
        let seen = room.db.newest_write().await.unwrap();
        let mut stream = open(&room, seen).await;
        let first = stream.next().await.unwrap();
        assert_eq!((&first["count"], &first["html"]), (&json!(0), &json!("")));
        let tip = issue(&room).await;
        let told = stream.next().await.unwrap();
        let html = told["html"].as_str().unwrap();
        assert_eq!((&told["count"], &told["account"]), (&json!(1), &json!("cuong")));
        assert!(html.contains(&format!("/tips/{tip}")) && html.contains("Khai &lt;sai&gt; mã"), "{html}");
        assert!(html.contains("Tin báo mới"), "{html}");
        assert!(shown(&room, "/alerts").await.contains(">1</a>"), "on every page");
        assert!(shown(&room, "/tips?view=calls").await.contains("Khai &lt;sai&gt; mã"), "it leads to the list");
        // The next page, whose browser was told nothing since, and one that was told.
        assert!(open(&room, seen).await.next().await.unwrap()["html"].as_str().unwrap().contains(&tip));
        let after = told["seen"].as_i64().unwrap();
        let again = open(&room, after).await.next().await.unwrap();
        assert_eq!((&again["count"], &again["html"]), (&json!(1), &json!("")));
        let other = open(&room, i64::MAX).await.next().await.unwrap();
        assert_eq!(other["html"], "", "numbers of another database");
        // Somebody receives it: the number goes down by itself.
        let field = User { role: Role::Field, ..user() };
        tips_duty::step(&room, &field, &tip, 2, Step::Receive).await.unwrap();
        assert_eq!(stream.next().await.unwrap()["count"], 0);
        announcing.abort();
    }
}
