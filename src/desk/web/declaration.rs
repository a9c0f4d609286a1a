//! A declaration: everything that the clearance side, events and tips say about it, on one time line. What the clearance side says
//! is put into words in `declaration_facts.rs`.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::Value;

use super::declaration_facts as facts;
use super::page::{Answer, Ctx, OrProblem, page};
use super::parts::{self, Offices};
use super::span::{Place, Span};
use crate::clock::{UtcMillis, utc_now};
use crate::customs::container::normalise;
use crate::desk::access::Need;
use crate::desk::db::facts::FoundFact;
use crate::desk::db::tips::TipRow;
use crate::desk::fact::Said;
use crate::desk::message::{rule_of, text};

/// First 11 digits of what somebody typed, however he grouped them.
pub(crate) fn key_of(typed: &str) -> Option<String> {
    let digits: String = typed.chars().filter(|c| !matches!(c, ' ' | '.' | '-' | '·')).collect();
    let good = matches!(digits.len(), 11 | 12) && digits.bytes().all(|b| b.is_ascii_digit());
    good.then(|| digits[..11].to_owned())
}

/// Letters and digits of a container, plate or seal that are looked for, at least.
const LEAST: usize = 4;

/// The page to type a number on; what is no number of a declaration is looked for among what declarations carry.
pub(crate) async fn find(
    Extension(ctx): Extension<Ctx>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Response> {
    let typed = query.get("q").map_or("", |v| v.trim());
    if let Some(key) = key_of(typed) {
        return Ok(Redirect::to(&format!("/declarations/{key}")).into_response());
    }
    let words: String = normalise(typed).chars().take(40).collect();
    let found = if words.chars().count() < LEAST {
        Vec::new()
    } else {
        super::audit::viewed(&ctx, "declaration.find", "", &words).await.or_problem(&ctx)?;
        ctx.room.db.declarations_with(&ctx.user.scope, &words).await.or_problem(&ctx)?
    };
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let content = html! {
        @if !typed.is_empty() && found.is_empty() { p.alarm role="alert" { (ctx.t("decl.none")) } }
        (search(&ctx, typed))
        @if !found.is_empty() { (list(&ctx, &offices, &found)) }
    };
    Ok(page(&ctx, ctx.t("decl.title"), "/declarations", &content).into_response())
}

fn list(ctx: &Ctx, offices: &Offices, found: &[FoundFact]) -> Markup {
    let body = |f: &FoundFact| serde_json::from_str::<Value>(&f.body).unwrap_or(Value::Null);
    let of = |body: &Value, key: &str| {
        let list = body.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        list.collect::<Vec<_>>().join(", ")
    };
    html! {
        div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            thead { tr { th scope="col" { (ctx.t("declaration")) } th scope="col" { (ctx.t("office")) }
                th scope="col" { (ctx.t("containers")) } th scope="col" { (ctx.t("plates")) } th scope="col" { (ctx.t("seals")) } } }
            tbody { @for f in found {
                @let said = body(f);
                tr { td { (parts::declaration(&f.key)) " " (parts::channel(ctx, said.get("channel").and_then(Value::as_i64))) }
                    td { (offices.name(&f.owner)) } td.wrap { (of(&said, "containers")) } td.wrap { (of(&said, "plates")) }
                    td.wrap { (of(&said, "seals")) } }
            } }
        } }
    }
}

fn search(ctx: &Ctx, typed: &str) -> Markup {
    html! {
        form.filters method="get" action="/declarations" role="search" {
            label { (ctx.t("decl.find")) input name="q" value=(typed) autofocus autocomplete="off" size="36"; }
            button { (ctx.t("search")) }
        }
    }
}

/// One moment of the line.
pub(super) struct Moment {
    pub at_ms: i64,
    pub what: Markup,
}

/// An event that the reader may see.
pub(super) struct Event {
    pub at_ms: i64,
    pub office: String,
    pub body: Value,
}

/// The page of one declaration.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>, Path(key): Path<String>) -> Answer {
    let key = key_of(&key).or_problem(&ctx)?;
    super::audit::viewed(&ctx, "declaration.view", &key, "").await.or_problem(&ctx)?;
    let db = &ctx.room.db;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let said = Said::of(&db.facts_of(&key).await.or_problem(&ctx)?, &ctx.user.scope);
    let events = db.of_declaration(&key, &ctx.user.scope).await.or_problem(&ctx)?;
    let tips = db.tips_of(&key).await.or_problem(&ctx)?;
    let seen = |office: &str| ctx.user.scope.holds(office);
    let events = events.into_iter().map(|(at_ms, office, body)| {
        let body = serde_json::from_str(&body).unwrap_or(Value::Null);
        Event { at_ms, office, body }
    });
    let events: Vec<Event> = events.collect();
    let mut line: Vec<Moment> = facts::moments(&ctx, &said);
    line.extend(
        events.iter().map(|e| Moment { at_ms: e.at_ms, what: event(&ctx, &offices, &e.office, &e.body, &key) }),
    );
    line.extend(tips.iter().filter(|t| seen(&t.office) || seen(&t.unit)).flat_map(|t| tip_moments(&ctx, t)));
    line.sort_by_key(|m| m.at_ms);
    let content = html! {
        div data-units=(super::alerts::units(&ctx)) {
            (search(&ctx, &key))
            p.line { strong.decl { (key) } (parts::channel(&ctx, channel(&said, &events, &key)))
                @if said.is_stopped(utc_now()) { strong.up { (ctx.t("decl.stopped")) } } }
            (facts::part(&ctx, &offices, &key, &said, &events))
            h2 { (ctx.t("decl.timeline")) }
            @if line.is_empty() { p.hint { (ctx.t("decl.unknown")) } }
            ol.timeline { @for m in &line { li { (parts::time(&ctx, m.at_ms)) div { (m.what) } } } }
        }
    };
    Ok(page(&ctx, &format!("{} {key}", ctx.t("declaration")), "/declarations", &content))
}

/// What the clearance side says; where it says nothing here, what the newest event says that knows it.
fn channel(said: &Said, events: &[Event], key: &str) -> Option<i64> {
    let of_event = |e: &Event| link_of(&e.body, key)?.get("channel").and_then(Value::as_i64);
    let declared = said.declaration.as_ref().and_then(|d| d.channel).map(i64::from);
    declared.or_else(|| events.iter().rev().find_map(of_event))
}

/// What an event says of this declaration.
pub(super) fn link_of<'a>(body: &'a Value, key: &str) -> Option<&'a Value> {
    let links = body.pointer("/data/link/links").and_then(Value::as_array)?;
    links.iter().find(|l| l.get("decl_key").and_then(Value::as_str) == Some(key))
}

fn event(ctx: &Ctx, offices: &Offices, office: &str, body: &Value, key: &str) -> Markup {
    let rule = rule_of(&text(body, "/type").unwrap_or_default());
    let severity = body.pointer("/data/severity").and_then(Value::as_i64).unwrap_or(1);
    let is_alert = text(body, "/type").is_some_and(|k| k.contains(".alert."));
    let place = [text(body, "/data/camera/name"), text(body, "/data/area/name")].into_iter().flatten();
    let place: Vec<String> = place.chain([offices.name(office)]).collect();
    html! {
        p.line { (parts::severity(ctx, severity))
            @if is_alert { a href={ "/alerts/" (text(body, "/id").unwrap_or_default()) } { (ctx.value("rule", &rule)) } }
            @else { span { (ctx.value("rule", &rule)) } }
            (parts::answer(ctx, body)) }
        p.line.soft { (place.join(" · "))
            @if let Some(link) = link_of(body, key) { " · " (super::alerts::how(ctx, link)) }
            @if let Some(address) = footage(ctx, body) { " · " a href=(address) { (ctx.t("camera.around")) } } }
    }
}

/// Where one sees the camera of an event, before and after it.
fn footage(ctx: &Ctx, body: &Value) -> Option<String> {
    let camera = text(body, "/data/camera/id").or_else(|| text(body, "/data/camera"))?;
    let place = Place::of_source(&text(body, "/source")?, &camera)?;
    let at = ["/data/capture/best", "/data/capture/start"].iter().find_map(|p| text(body, p))?;
    let at = UtcMillis::parse_rfc3339(&at).ok()?;
    ctx.may(Need::Footage).then(|| place.address(ctx, Span::around(at.0)))
}

fn tip_moments(ctx: &Ctx, tip: &TipRow) -> Vec<Moment> {
    let times = [
        (Some(tip.created_ms), "draft"),
        (tip.issued_ms, "issued"),
        (tip.received_ms, "received"),
        (tip.reported_ms, "reported"),
        (tip.settled_ms, "settled"),
    ];
    let moment = |at_ms, state: &str| Moment {
        at_ms,
        what: html! {
            p.line { a href={ "/tips/" (tip.id) } { (ctx.t("tip")) " " (tip.number) } span.state { (ctx.value("tip_state", state)) }
                @if state == "settled" { @if let Some(result) = &tip.result { strong { (ctx.value("result", result)) } } } }
        },
    };
    times.iter().filter_map(|(at, state)| at.map(|at| moment(at, state))).collect()
}

#[cfg(test)]
mod tests {
    use super::key_of;

    #[test]
    fn a_number_is_known_by_its_first_eleven_digits() {
        assert_eq!(key_of("1000 0001 2345").as_deref(), Some("10000001234"));
        assert_eq!(key_of("10000001234").as_deref(), Some("10000001234"));
        assert_eq!((key_of("1000"), key_of("1000000123A"), key_of("")), (None, None, None));
    }
}
