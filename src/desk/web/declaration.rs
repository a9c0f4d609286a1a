//! A declaration: everything that events and tips say about it, on one time line.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::Value;

use super::page::{Answer, Ctx, OrProblem, page};
use super::parts::{self, Offices};
use super::span::{Place, Span};
use crate::clock::UtcMillis;
use crate::desk::access::Need;
use crate::desk::db::tips::TipRow;
use crate::desk::message::{rule_of, text};

/// First 11 digits of what somebody typed, however he grouped them.
pub(crate) fn key_of(typed: &str) -> Option<String> {
    let digits: String = typed.chars().filter(|c| !matches!(c, ' ' | '.' | '-' | '·')).collect();
    let good = matches!(digits.len(), 11 | 12) && digits.bytes().all(|b| b.is_ascii_digit());
    good.then(|| digits[..11].to_owned())
}

/// The page to type a number on.
pub(crate) async fn find(
    Extension(ctx): Extension<Ctx>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Response> {
    let typed = query.get("q").map_or("", |v| v.trim());
    if let Some(key) = key_of(typed) {
        return Ok(Redirect::to(&format!("/declarations/{key}")).into_response());
    }
    let content = html! {
        @if !typed.is_empty() { p.alarm role="alert" { (ctx.t("refusal.decl")) } }
        (search(&ctx, typed))
    };
    Ok(page(&ctx, ctx.t("decl.title"), "/declarations", &content).into_response())
}

fn search(ctx: &Ctx, typed: &str) -> Markup {
    html! {
        form.filters method="get" action="/declarations" role="search" {
            label { (ctx.t("tip.decl")) input name="q" value=(typed) inputmode="numeric" autofocus; }
            button { (ctx.t("search")) }
        }
    }
}

/// One moment of the line.
struct Moment {
    at_ms: i64,
    what: Markup,
}

/// The page of one declaration.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>, Path(key): Path<String>) -> Answer {
    let key = key_of(&key).or_problem(&ctx)?;
    super::audit::viewed(&ctx, "declaration.view", &key, "").await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let events = ctx.room.db.of_declaration(&key, &ctx.user.scope).await.or_problem(&ctx)?;
    let tips = ctx.room.db.tips_of(&key).await.or_problem(&ctx)?;
    let seen = |office: &str| ctx.user.scope.holds(office);
    let mut line: Vec<Moment> = Vec::new();
    let mut channel = None;
    for (at_ms, office, body) in &events {
        let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        channel = link_of(&body, &key).and_then(|l| l.get("channel")).and_then(Value::as_i64).or(channel);
        line.push(Moment { at_ms: *at_ms, what: event(&ctx, &offices, office, &body, &key) });
    }
    for tip in tips.iter().filter(|t| seen(&t.office) || seen(&t.unit)) {
        line.extend(tip_moments(&ctx, tip));
    }
    line.sort_by_key(|m| m.at_ms);
    let content = html! {
        (search(&ctx, &key))
        p.line { strong.decl { (key) } (parts::channel(&ctx, channel)) }
        h2 { (ctx.t("decl.timeline")) }
        @if line.is_empty() { p.hint { (ctx.t("decl.unknown")) } }
        ol.timeline { @for m in &line { li { (parts::time(&ctx, m.at_ms)) div { (m.what) } } } }
    };
    Ok(page(&ctx, &format!("{} {key}", ctx.t("declaration")), "/declarations", &content))
}

fn link_of<'a>(body: &'a Value, key: &str) -> Option<&'a Value> {
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
