//! What the boxes answer about a tip: times at cameras with how much video there is, and events. The video of each plays in
//! the page when somebody asks for that one.

use std::collections::HashSet;

use maud::{Markup, html};
use serde_json::Value;

use super::alerts::escaped;
use super::page::Ctx;
use super::parts;
use super::span::{Place, Span};
use crate::desk::access::Need;
use crate::desk::db::DbError;
use crate::desk::db::orders::OrderRow;
use crate::desk::db::tips::{Answer, TipRow};
use crate::desk::message::{moment, rule_of, text};

/// Events of one answer on the page.
const SHOWN_EVENTS: usize = 20;
/// Video before and after an event, milliseconds.
const AROUND_MS: i64 = 10_000;

fn data(a: &Answer) -> Value {
    let body: Value = serde_json::from_str(&a.body).unwrap_or(Value::Null);
    body.get("data").cloned().unwrap_or(Value::Null)
}

fn list(data: &Value, key: &str) -> Vec<Value> {
    data.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Which of the shown events are alerts that the reader may open.
pub(crate) async fn alerts_of(ctx: &Ctx, answers: &[Answer]) -> Result<HashSet<String>, DbError> {
    let mut known = HashSet::new();
    for event in answers.iter().flat_map(|a| list(&data(a), "events").into_iter().take(SHOWN_EVENTS)) {
        let Some(id) = text(&event, "/id") else { continue };
        let alert = ctx.room.db.alert(&id).await?;
        if alert.is_some_and(|a| ctx.user.scope.holds(&a.office)) {
            known.insert(id);
        }
    }
    Ok(known)
}

/// All answers.
pub(crate) fn part(
    ctx: &Ctx,
    tip: &TipRow,
    answers: &[Answer],
    alerts: &HashSet<String>,
    orders: &[OrderRow],
) -> Markup {
    html! {
        h2 { (ctx.t("boxes_say")) }
        @if answers.is_empty() { p.hint { (ctx.t("boxes_say.nothing")) } }
        ol.timeline { @for (n, a) in answers.iter().enumerate() {
            li { (parts::time(ctx, a.at_ms)) " · " (a.source) " · " (ctx.value("rule", &rule_of(&a.kind))) (words(ctx, tip, n, a, alerts, orders)) }
        } }
    }
}

/// What one box says in words, its footage by camera, and what it says exactly.
fn words(ctx: &Ctx, tip: &TipRow, n: usize, a: &Answer, alerts: &HashSet<String>, orders: &[OrderRow]) -> Markup {
    let data = data(a);
    let said =
        ["/summary", "/reason"].iter().filter_map(|p| text(&data, p)).map(|s| parts::said(ctx, &s)).collect::<Vec<_>>();
    let ranges_said = list(&data, "ranges");
    let holds = ranges_said.iter().any(|r| text(r, "/hold_id").is_some());
    let total = data.get("events_total").and_then(Value::as_i64);
    html! {
        @if !said.is_empty() { p { (said.join(" · ")) } }
        p.line {
            @if let Some(state) = text(&data, "/state") { span.state { (ctx.value("standing", &state)) } }
            @if let Some(footage) = text(&data, "/footage") { span { (ctx.t("footage")) ": " strong { (ctx.value("footage", &footage)) } } }
            @if let Some(n) = total { span { (n) " " (ctx.t("boxes_say.events")) } }
        }
        (ranges(ctx, tip, n, &a.source, &ranges_said, orders))
        @if let Some(place) = Place::of_source(&a.source, "").filter(|p| holds && p.office == tip.office && ctx.may(Need::Footage)) {
            div.found { a.button href={ "/tips/" (tip.id) "/holds/" (escaped(&place.office)) "/" (escaped(&place.box_id)) } data-footage={ "holds-" (n) } { (ctx.t("hold.ask")) }
                div #{ "holds-" (n) } data-place="" {} }
        }
        @for (i, e) in list(&data, "events").iter().take(SHOWN_EVENTS).enumerate() { (event(ctx, &format!("event-{n}-{i}"), &a.source, e, alerts)) }
        details { summary { "JSON" } pre { (serde_json::to_string_pretty(&data).unwrap_or_default()) } }
    }
}

/// A button with the place in which the script plays what it leads to.
pub(crate) fn play(ctx: &Ctx, address: &str, place: &str) -> Markup {
    html! {
        a.button href=(address) data-footage=(place) { (ctx.t("clip.play")) }
        div id=(place) data-place="" {}
    }
}

/// The camera that a box speaks of, when the reader may see its video.
fn watched(ctx: &Ctx, source: &str, said: &Value) -> Option<Place> {
    let place = Place::of_source(source, &text(said, "/camera")?)?;
    (ctx.may(Need::Footage) && ctx.user.scope.holds(&place.office)).then_some(place)
}

fn ranges(ctx: &Ctx, tip: &TipRow, n: usize, source: &str, ranges: &[Value], orders: &[OrderRow]) -> Markup {
    html! {
        @if !ranges.is_empty() { div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            thead { tr { th scope="col" { (ctx.t("camera")) } th scope="col" { (ctx.t("footage.range")) } th scope="col" { (ctx.t("footage")) }
                th scope="col" { (ctx.t("footage.gaps")) } th scope="col" { (ctx.t("footage.hold")) } } }
            tbody { @for (i, r) in ranges.iter().enumerate() { (range(ctx, tip, &format!("range-{n}-{i}"), source, r, orders)) } }
        } } }
    }
}

fn range(ctx: &Ctx, tip: &TipRow, place: &str, source: &str, r: &Value, orders: &[OrderRow]) -> Markup {
    let why = |v: &Value| text(v, "/why").map(|why| ctx.value("why", &why)).unwrap_or_default();
    let has = text(r, "/footage").is_some_and(|f| f != "none");
    let span = at(r, "/from").zip(at(r, "/to")).map(|(from, to)| Span::new(from, to));
    let watched = watched(ctx, source, r).zip(span).filter(|_| has);
    html! {
        tr { td { (text(r, "/camera").unwrap_or_default()) } td { (said_time(ctx, r, "/from")) " – " (said_time(ctx, r, "/to")) }
            td { (ctx.value("footage", &text(r, "/footage").unwrap_or_default())) " " (why(r)) }
            td { @for gap in r.get("gaps").and_then(Value::as_array).into_iter().flatten() {
                (said_time(ctx, gap, "/from")) " – " (said_time(ctx, gap, "/to")) " " (why(gap)) br; } }
            td { @match text(r, "/hold_id") {
                Some(id) => (super::tip_measures::hold(ctx, tip, source, &id, orders)),
                None => "–",
            } } }
        @if let Some((camera, span)) = watched {
            tr { td colspan="5" { (play(ctx, &camera.address(ctx, span), place)) } }
        }
    }
}

fn event(ctx: &Ctx, place: &str, source: &str, e: &Value, alerts: &HashSet<String>) -> Markup {
    let rule = ctx.value("rule", &text(e, "/rule").unwrap_or_default());
    let places = [text(e, "/camera"), text(e, "/area")].into_iter().flatten().collect::<Vec<_>>();
    let alert = text(e, "/id").filter(|id| alerts.contains(id));
    let start = at(e, "/start");
    let span = start.map(|from| Span::new(from - AROUND_MS, at(e, "/end").unwrap_or(from) + AROUND_MS));
    let address = watched(ctx, source, e).zip(span).map(|(camera, span)| match &alert {
        Some(id) => format!("/alerts/{id}/footage"),
        None => camera.address(ctx, span),
    });
    html! {
        div.found { p.line.soft { (said_time(ctx, e, "/start")) " · "
            @if let Some(id) = &alert { a href={ "/alerts/" (id) } { (rule) } } @else { (rule) } " · " (places.join(" · ")) }
            @if let Some(address) = address { (play(ctx, &address, place)) } }
    }
}

fn at(value: &Value, pointer: &str) -> Option<i64> {
    moment(value, pointer).map(|t| t.0)
}

/// A time as a box says it, in the duty room's time.
fn said_time(ctx: &Ctx, value: &Value, pointer: &str) -> String {
    at(value, pointer).map_or_else(|| "…".into(), |at| parts::time_text(ctx, at))
}
