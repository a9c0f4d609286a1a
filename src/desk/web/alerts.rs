//! The alerts page: newest first, one card for alerts of one situation, filters in the address.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::Query;
use maud::{Markup, html};
use serde_json::Value;

use super::page::{Answer, Ctx, OrProblem, page};
use super::parts::{self, Offices};
use crate::desk::access::Need;
use crate::desk::alert::{REASONS, State};
use crate::desk::db::alerts::{AlertRow, Wanted};
use crate::desk::duty;
use crate::desk::message::text;

/// Alerts on one page.
const LIMIT: i64 = 150;
/// From this severity on an open alert is found however old it is.
const SERIOUS: i64 = 3;
/// Alerts of one place and rule within this are one card, milliseconds.
const TOGETHER_MS: i64 = 30 * 60_000;
/// What may be looked at.
const VIEWS: [&str; 6] = ["open", "new", "escalated", "unseen", "closed", "all"];

/// What the address asks for.
pub(crate) fn wanted(query: &HashMap<String, String>) -> Wanted {
    let get = |name: &str| query.get(name).map_or("", |v| v.trim()).to_owned();
    let view = get("view");
    Wanted {
        view: if VIEWS.contains(&view.as_str()) { view } else { "open".into() },
        severity: get("severity").parse().unwrap_or(1),
        office: get("office"),
        duty_day: get("day"),
        words: get("q").chars().take(100).collect(),
        rule: get("rule"),
        after: get("after").split_once(' ').and_then(|(at_ms, id)| Some((at_ms.parse().ok()?, id.to_owned()))),
        limit: LIMIT,
    }
}

/// Open alerts from Serious up that a list has no room for, as an outage that lasts for days: how they are asked for; `None` where it
/// shows all, or what is done.
fn older(w: &Wanted, rows: &[AlertRow]) -> Option<Wanted> {
    let cut = i64::try_from(rows.len()) == Ok(w.limit);
    let last = rows.last().filter(|_| cut && w.view != "closed")?;
    let view = if w.view == "all" { "open" } else { w.view.as_str() };
    let after = Some((last.at_ms, last.id.clone()));
    Some(Wanted { view: view.to_owned(), severity: w.severity.max(SERIOUS), after, ..w.clone() })
}

/// The page.
pub(crate) async fn list(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let wanted = wanted(&query);
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    // Before the list, so that what changes meanwhile is newer than it.
    let seen = ctx.room.db.newest_write().await.or_problem(&ctx)?;
    let rows = ctx.room.db.alerts(&ctx.user.scope, &wanted).await.or_problem(&ctx)?;
    let counts = ctx.room.tally.counts(&ctx.room.db, &ctx.user.scope).await.or_problem(&ctx)?;
    super::audit::viewed(&ctx, "alerts.list", "", &wanted.words).await.or_problem(&ctx)?;
    let cut = i64::try_from(rows.len()) == Ok(LIMIT);
    let older = older(&wanted, &rows);
    let hidden = match &older {
        Some(older) => ctx.room.db.alerts_wanted(&ctx.user.scope, older).await.or_problem(&ctx)?,
        None => 0,
    };
    let single = is_single(&query);
    let cards = grouped(rows, single);
    ctx.room.watched.shows(&ctx.user.name, ids(&cards));
    let content = html! {
        (filters(&ctx, &offices, &wanted, single))
        div.bar {
            p #counts { (count_words(&ctx, &counts)) }
        }
        p.hint { (ctx.t("alerts.keys")) }
        @if cut { p.up { (ctx.t("alerts.limit")) } }
        @if wanted.after.is_some() { p.up { a href={ "/alerts?" (address(&Wanted { after: None, ..wanted.clone() }, single)) } { (ctx.t("alerts.newest")) } } }
        p #older .up hidden[hidden == 0] {
            @if let Some(older) = older.as_ref().filter(|_| hidden > 0) {
                a href={ "/alerts?" (address(older, single)) } { (parts::grouped(hidden)) " " (ctx.t("alerts.older")) }
            }
        }
        p #say .unseen aria-live="assertive" {}
        section #alerts aria-label=(ctx.t("alerts")) data-units=(units(&ctx)) data-stream={ "/alerts/stream?" (address(&wanted, single)) "&seen=" (seen) } {
            @for (row, similar) in &cards { (card(&ctx, &offices, row, *similar, true)) }
        }
        p #empty .hint { (ctx.t("nothing")) " " (ctx.t("alerts.new_from_now")) }
        (dialogs(&ctx))
    };
    Ok(page(&ctx, ctx.t("alerts"), "/alerts", &content))
}

/// Words for the script that keeps ages ticking.
pub(crate) fn units(ctx: &Ctx) -> String {
    ["unit.day", "unit.hour", "unit.minute", "unit.second"].map(|key| ctx.t(key)).join("|")
}

/// Whether each alert has a card of its own.
pub(crate) fn is_single(query: &HashMap<String, String>) -> bool {
    query.get("similar").is_some_and(|s| s == "show")
}

/// Of which alerts these are cards.
pub(crate) fn ids(cards: &[(AlertRow, usize)]) -> impl Iterator<Item = &str> {
    cards.iter().map(|(row, _)| row.id.as_str())
}

/// The filters as in an address.
fn address(w: &Wanted, single: bool) -> String {
    let after = w.after.as_ref().map(|(at_ms, id)| format!("{at_ms} {id}")).unwrap_or_default();
    let pairs = [
        ("view", w.view.as_str()),
        ("severity", &w.severity.to_string()),
        ("office", &w.office),
        ("day", &w.duty_day),
        ("q", &w.words),
        ("rule", &w.rule),
        ("after", &after),
        ("similar", if single { "show" } else { "" }),
    ]
    .map(|(k, v)| format!("{k}={}", escaped(v)));
    pairs.join("&")
}

/// A text within an address.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Newest of each situation with how many more there are. It stands for none that is graver than itself.
pub(crate) fn grouped(rows: Vec<AlertRow>, single: bool) -> Vec<(AlertRow, usize)> {
    let mut out: Vec<(AlertRow, usize, i64)> = Vec::new();
    for row in rows {
        let open = row.state != State::Closed.as_str();
        let same = |(first, _, oldest): &(AlertRow, usize, i64)| {
            let alike = first.group_key == row.group_key && first.state == row.state;
            alike && row.severity <= first.severity && oldest - row.at_ms <= TOGETHER_MS
        };
        match out.iter_mut().find(|o| same(o)).filter(|_| open && !single) {
            Some(group) => {
                group.1 += 1;
                group.2 = row.at_ms;
            }
            None => {
                let at = row.at_ms;
                out.push((row, 0, at));
            }
        }
    }
    out.into_iter().map(|(row, more, _)| (row, more)).collect()
}

pub(crate) fn count_words(ctx: &Ctx, counts: &[(String, i64, i64)]) -> String {
    let of = |wanted: &str| counts.iter().filter(|(s, _, _)| s == wanted).map(|(_, _, n)| n).sum::<i64>();
    let states = [State::New, State::Seen, State::Acked, State::Unseen].map(State::as_str);
    states.map(|s| format!("{}: {}", ctx.value("state", s), of(s))).join(" · ")
}

fn filters(ctx: &Ctx, offices: &Offices, w: &Wanted, single: bool) -> Markup {
    let levels: Vec<_> = ["1", "2", "3", "4"].map(|s| (s.to_owned(), ctx.value("severity", s))).into();
    html! {
        form.filters method="get" action="/alerts" role="search" {
            label { (ctx.t("view")) (parts::select("view", &w.view, None, &parts::options(ctx, "view", &VIEWS))) }
            label { (ctx.t("severity.from")) (parts::select("severity", &w.severity.to_string(), None, &levels)) }
            label { (ctx.t("office")) (parts::select("office", &w.office, Some(ctx.t("all")), &offices.options(ctx))) }
            label { (ctx.t("duty_day")) input type="date" name="day" value=(w.duty_day); }
            label { (ctx.t("search")) input type="search" name="q" value=(w.words); }
            label.tick { input type="checkbox" name="similar" value="show" checked[single]; (ctx.t("alerts.similar")) }
            button { (ctx.t("filter")) }
        }
    }
}

/// One alert on the page. `own`: its form has the token of the reader's session; else nothing in it is his alone.
pub(crate) fn card(ctx: &Ctx, offices: &Offices, row: &AlertRow, similar: usize, own: bool) -> Markup {
    let body: Value = serde_json::from_str(&row.body).unwrap_or(Value::Null);
    let title = ctx.value("rule", &row.rule);
    let open = row.state != State::Closed.as_str();
    html! {
        article.alert #{ "a-" (row.id) } tabindex="0" data-id=(row.id) data-severity=(row.severity) data-at=(row.at_ms)
            data-state=(row.state) data-group=(row.group_key) data-facts=[open.then(|| duty::facts(row, &body))] data-call=[calls_since(row)] aria-label={ (title) " – " (row.place) } {
            (thumbnail(ctx, row))
            div.text {
                p.line { (parts::severity(ctx, row.severity)) strong { a href={ "/alerts/" (row.id) } { (title) } }
                    span.state data-state=(row.state) { (ctx.value("state", &row.state)) }
                    @if let Some(outcome) = &row.outcome { span { (ctx.value("outcome", outcome)) } }
                    @if row.escalated_ms.is_some() && open { span.up { (ctx.t("escalated")) } }
                    @if row.historical != 0 { span.late { (ctx.t("historical")) } }
                }
                (declarations(ctx, &body))
                p.line { (parts::answer(ctx, &body)) }
                (parts::away(ctx, &body))
                p.line.soft { @if !row.camera.is_empty() { (row.camera) " · " } @if !row.place.is_empty() { (row.place) " · " } (offices.name(&row.office)) " · " (row.box_id) }
                p.line.soft { (parts::time(ctx, row.at_ms)) " · " (ctx.t("age")) " " (parts::age(ctx, row.at_ms))
                    " · " (ctx.value("phase", &row.phase))
                    @if similar > 0 { span.more { "+" (similar) " " (ctx.t("alerts.similar")) } }
                }
                @if let Some(who) = row.asked_by.as_ref().filter(|_| open) { p.line.up { (ctx.t("asked_by")) " " (who) } }
                @if open && ctx.may(Need::ActAlerts) { (quick(ctx, row, own)) }
            }
        }
    }
}

/// Since when it calls for somebody, by the desk's clock: for a page that takes its list anew and rings for what it missed.
fn calls_since(row: &AlertRow) -> Option<i64> {
    let waits = matches!(State::parse(&row.state), State::New | State::Unseen);
    (waits && row.severity >= 3 && row.historical == 0).then(|| row.opened_ms.max(row.escalated_ms.unwrap_or(0)))
}

fn thumbnail(ctx: &Ctx, row: &AlertRow) -> Markup {
    let here = row.picture.as_ref().filter(|_| row.pictured != 0);
    html! {
        a.thumb href={ "/alerts/" (row.id) } tabindex="-1" aria-hidden="true" {
            @match (here, &row.picture) {
                (Some(sha), _) => img src={ "/pictures/" (row.id) "/" (sha) "?list" } alt="" loading="lazy" width="320" height="180";,
                (None, Some(_)) => span { (ctx.t("picture.waiting")) },
                (None, None) => span { (ctx.t("picture.none")) },
            }
        }
    }
}

/// Which declarations, by what and how surely.
pub(crate) fn declarations(ctx: &Ctx, body: &Value) -> Markup {
    let verdict = text(body, "/data/link/verdict");
    let links = body.pointer("/data/link/links").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    html! {
        @if let Some(verdict) = verdict {
            p.line.decls {
                @for link in links.iter().take(3) {
                    span.pair {
                        @if let Some(key) = text(link, "/decl_key") { (parts::declaration(&key)) }
                        (parts::channel(ctx, link.get("channel").and_then(Value::as_i64)))
                        small { (how(ctx, link)) }
                    }
                }
                @if links.len() > 3 { span { "+" (links.len() - 3) } }
                span.verdict data-verdict=(verdict) { (ctx.value("verdict", &verdict)) }
            }
        }
    }
}

/// `lịch đặt ô kiểm tra, 80 %`.
pub(crate) fn how(ctx: &Ctx, link: &Value) -> String {
    let method = text(link, "/method").map(|m| ctx.value("method", &m)).unwrap_or_default();
    let confidence = link.get("confidence").and_then(Value::as_f64).unwrap_or(0.0);
    format!("{method}, {:.0} %", (confidence * 100.0).floor())
}

fn quick(ctx: &Ctx, row: &AlertRow, own: bool) -> Markup {
    let acked = row.state == State::Acked.as_str();
    html! {
        form.quick method="post" action={ "/alerts/" (row.id) "/ack" } {
            @if own { (super::page::token(ctx)) }
            input type="hidden" name="back" value="list";
            @if !acked { button name="act" value="ack" { (ctx.t("act.ack")) kbd { "A" } } }
            a.button href={ "/alerts/" (row.id) "#dismiss" } data-act="dismiss" { (ctx.t("act.dismiss")) kbd { "D" } }
            a.button href={ "/alerts/" (row.id) "#escalate" } data-act="escalate" { (ctx.t("act.escalate")) kbd { "E" } }
            a.button href={ "/tips/new?alert=" (row.id) } data-act="tip" { (ctx.t("act.tip")) kbd { "T" } }
        }
    }
}

/// What the keys D and E open; without script the links lead to the same forms on the alert's page.
fn dialogs(ctx: &Ctx) -> Markup {
    html! {
        @if ctx.may(Need::ActAlerts) {
            dialog #dialog-dismiss aria-labelledby="h-dismiss" { h2 #h-dismiss { (ctx.t("act.dismiss")) } (dismiss_form(ctx, "", "")) }
            dialog #dialog-escalate aria-labelledby="h-escalate" { h2 #h-escalate { (ctx.t("act.escalate")) } (escalate_form(ctx, "")) }
        }
    }
}

/// What he who decides knows; see [`duty::facts`].
pub(crate) fn facts_field(known: &str) -> Markup {
    html! { input type="hidden" name="facts" value=(known); }
}

/// The form behind D. On the list the script says of which card.
pub(crate) fn dismiss_form(ctx: &Ctx, id: &str, known: &str) -> Markup {
    html! {
        form.stack method="post" action={ "/alerts/" (id) "/dismiss" } {
            (super::page::token(ctx)) (facts_field(known))
            label { (ctx.t("reason")) (parts::select("reason", "", Some(ctx.t("choose")), &parts::options(ctx, "dismiss", &REASONS))) }
            label { (ctx.t("note")) textarea name="note" rows="2" maxlength="1000" {} }
            p.hint { (ctx.t("act.needs_second")) }
            p.line { button.main { (ctx.t("act.dismiss")) } button type="button" data-close="" { (ctx.t("back")) } }
        }
    }
}

/// The form behind E.
pub(crate) fn escalate_form(ctx: &Ctx, id: &str) -> Markup {
    html! {
        form.stack method="post" action={ "/alerts/" (id) "/escalate" } {
            (super::page::token(ctx))
            label { (ctx.t("reason")) textarea name="note" rows="2" maxlength="1000" required {} }
            p.line { button.main { (ctx.t("act.escalate")) } button type="button" data-close="" { (ctx.t("back")) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_open_and_grave_is_found_behind_however_many_newer_ones() {
        use super::super::tests::{room, sign_in_as};
        use crate::desk::access::Role;
        use tower::ServiceExt;
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        sign_in_as(&room, Role::Officer, "an", 0).await;
        let mut tx = room.db.write().await.unwrap();
        // Two old ones of the same moment, a harmless one between, and a page full of newer ones.
        let old =
            [("OLD-1", 3, 5), ("OLD-2", 3, 5), ("OLD-3", 2, 6)].map(|(id, severity, at)| (id.to_owned(), severity, at));
        let new = (0..LIMIT).map(|n| (format!("NEW-{n}"), 2, 1000 + n));
        for (id, severity, at_ms) in old.into_iter().chain(new) {
            let body = crate::desk::message::tests::body(&id, 1, 1, severity);
            let m = crate::desk::message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
            let row = crate::desk::message::alert(&m, &room.zone, m.at_ms, 60_000);
            tx.add_alert(&AlertRow { at_ms, group_key: id, ..row }).await.unwrap();
        }
        tx.commit().await.unwrap();
        let get = async |address: &str| {
            let request = axum::http::Request::builder().uri(address).header("cookie", "gw-session=an");
            let request = request.body(axum::body::Body::empty()).unwrap();
            let answer = super::super::router(room.clone()).oneshot(request).await.unwrap();
            let bytes = axum::body::to_bytes(answer.into_body(), 1 << 22).await.unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        let newest = get("/alerts").await;
        assert!(!newest.contains("a-OLD-1") && newest.contains("2 cảnh báo chưa xong từ mức Nghiêm trọng"), "{newest}");
        let link = newest.split("id=\"older\"").nth(1).unwrap().split("href=\"").nth(1).unwrap();
        let link = link.split('"').next().unwrap().replace("&amp;", "&");
        let older = get(&link).await;
        assert!(older.contains("a-OLD-1") && older.contains("a-OLD-2"), "{older}");
        assert!(!older.contains("a-OLD-3") && !older.contains("a-NEW-0") && older.contains("về danh sách mới nhất"));
        // Who looks at each alert by itself does so behind the link too, and on the way back.
        let single = get("/alerts?similar=show").await;
        let links = |page: &str| page.matches("similar=show\"").count();
        assert_eq!((links(&single), links(&newest)), (1, 0), "{single}");
        let back = get(&format!("{link}show")).await;
        assert_eq!(links(&back), 1, "{back}");
        let behind = Wanted { after: Some((5, "OLD-2".into())), ..wanted(&HashMap::new()) };
        let rows = room.db.alerts(&crate::desk::db::Scope::all(), &behind).await.unwrap();
        assert_eq!(rows.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(), ["OLD-1"]);
    }

    #[test]
    fn a_card_stands_for_others_of_its_situation_that_are_no_graver() {
        let row = |severity| {
            let body = crate::desk::message::tests::body(&format!("E{severity}"), 1, 1, severity);
            let m = crate::desk::message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
            let zone = crate::event::zone::Zone::new("Asia/Ho_Chi_Minh").unwrap();
            crate::desk::message::alert(&m, &zone, m.at_ms, 60_000)
        };
        let shown = |rows: &[i64]| {
            let cards = grouped(rows.iter().map(|s| row(*s)).collect(), false);
            cards.iter().map(|(row, more)| (row.severity, *more)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&[3, 3, 2, 3]), [(3, 3)]);
        assert_eq!(shown(&[2, 4, 2, 3]), [(2, 1), (4, 1)]);
    }
}
