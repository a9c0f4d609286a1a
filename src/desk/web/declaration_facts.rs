//! What the clearance side says of a declaration, in words: its times, channel, goods, stops and bookings, and where its containers were
//! seen. What counts of it, and for whom, is decided in `desk/fact.rs`.

use maud::{Markup, html};
use serde_json::Value;

use super::declaration::{Event, Moment, link_of};
use super::page::Ctx;
use super::parts::{self, Offices};
use crate::clock::{UtcMillis, utc_now};
use crate::customs::declaration::ChannelChange;
use crate::customs::{BookingState, Declaration, Direction};
use crate::desk::fact::{Said, Standing, Stop};
use crate::desk::message::{rule_of, text};

/// Marks that every declaration may come to, in the order of a clearance; shown also while they are not there.
pub(crate) const MARKS: [&str; 6] = ["registered", "checked", "released", "stored", "cleared", "passed"];
/// Marks that few have.
pub(crate) const ODD_MARKS: [&str; 3] = ["cancelled", "stopped", "stop_lifted"];
pub(crate) const DIRECTIONS: [&str; 4] = ["import", "export", "transit", "unknown"];
pub(crate) const BOOKINGS: [&str; 4] = ["planned", "active", "done", "cancelled"];

fn mark(d: &Declaration, name: &str) -> Option<i64> {
    let at = match name {
        "registered" => d.registered_at,
        "checked" => d.checked_at,
        "released" => d.released_at,
        "stored" => d.stored_at,
        "cleared" => d.cleared_at,
        "passed" => d.passed_kvgs_at,
        "cancelled" => d.cancelled_at,
        "stopped" => d.stopped_at,
        "stop_lifted" => d.stop_lifted_at,
        _ => None,
    };
    at.map(|t| t.0)
}

fn direction(d: Direction) -> &'static str {
    match d {
        Direction::Import => DIRECTIONS[0],
        Direction::Export => DIRECTIONS[1],
        Direction::Transit => DIRECTIONS[2],
        Direction::Unknown => DIRECTIONS[3],
    }
}

fn booking(state: BookingState) -> &'static str {
    match state {
        BookingState::Planned => BOOKINGS[0],
        BookingState::Active => BOOKINGS[1],
        BookingState::Done => BOOKINGS[2],
        BookingState::Cancelled => BOOKINGS[3],
    }
}

/// Everything but the time line.
pub(super) fn part(ctx: &Ctx, offices: &Offices, key: &str, said: &Said, events: &[Event]) -> Markup {
    html! {
        @if let Some(d) = &said.declaration { (declared(ctx, offices, d, said.asked_ms)) (changes(ctx, &d.channel_history)) }
        (containers(ctx, key, said, events))
        (stops(ctx, &said.stops))
    }
}

fn declared(ctx: &Ctx, offices: &Offices, d: &Declaration, asked_ms: i64) -> Markup {
    html! {
        h2 { (ctx.t("decl.said")) }
        p.line.soft { (ctx.t(if d.fetched_at.is_some() { "decl.fetched" } else { "decl.heard" })) " " (parts::time(ctx, asked_ms))
            " · " (ctx.t("age")) " " (parts::age(ctx, asked_ms))
            @if let Some(source) = &d.source { " · " (ctx.t("decl.source")) " " (source) } " · " (ctx.t("decl.version")) " " (d.version) }
        dl.facts {
            dt { (ctx.t("declaration")) } dd { (d.decl_no) " · " (ctx.value("direction", direction(d.direction)))
                @if let Some(code) = &d.type_code { " · " (ctx.t("decl.type")) " " (code) } }
            @if let Some(office) = &d.office { dt { (ctx.t("office")) } dd { (offices.name(office)) } }
            @for name in MARKS { dt { (ctx.value("mark", name)) } dd { (parts::maybe_time(ctx, mark(d, name))) } }
            @for name in ODD_MARKS { @if let Some(at) = mark(d, name) { dt { (ctx.value("mark", name)) } dd { (parts::time(ctx, at)) } } }
            @if !d.plates.is_empty() { dt { (ctx.t("plates")) } dd { (d.plates.join(", ")) } }
            @if !d.seals.is_empty() { dt { (ctx.t("seals")) } dd { (d.seals.join(", ")) } }
        }
    }
}

fn change(ctx: &Ctx, c: &ChannelChange) -> Markup {
    let said = [c.by.as_deref(), c.reason.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" · ");
    html! { (parts::channel(ctx, c.from.map(i64::from))) " → " (parts::channel(ctx, c.to.map(i64::from))) @if !said.is_empty() { " " (said) } }
}

fn changes(ctx: &Ctx, changes: &[ChannelChange]) -> Markup {
    html! {
        @if !changes.is_empty() {
            h2 { (ctx.t("decl.channels")) }
            ol.history { @for c in changes { li { (parts::time(ctx, c.at.0)) " · " (change(ctx, c)) } } }
        }
    }
}

/// Whether an event shows this container: its number was read, or the declaration was found otherwise and nothing names another one.
fn shows(e: &Event, key: &str, container: &str) -> bool {
    let Some(link) = link_of(&e.body, key) else { return false };
    let sure = matches!(text(link, "/state").as_deref(), Some("linked" | "confirmed"));
    let named = link.get("containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let shown = match text(link, "/container") {
        Some(read) => read == container,
        None => matches!(named, [one] if one == container),
    };
    sure && shown
}

fn is_leaving(e: &Event) -> bool {
    rule_of(&text(&e.body, "/type").unwrap_or_default()).starts_with("gate_out")
}

/// Containers that the declaration names, then those that events name for it.
fn numbers(key: &str, said: &Said, events: &[Event]) -> Vec<String> {
    let mut all = said.declaration.as_ref().map(|d| d.containers.clone()).unwrap_or_default();
    for link in events.iter().filter_map(|e| link_of(&e.body, key)) {
        let named = link.get("containers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for container in named.map(str::to_owned).chain(text(link, "/container")) {
            if !all.contains(&container) {
                all.push(container);
            }
        }
    }
    all
}

fn containers(ctx: &Ctx, key: &str, said: &Said, events: &[Event]) -> Markup {
    let all = numbers(key, said, events);
    let first = |c: &str| events.iter().find(|e| shows(e, key, c) && !is_leaving(e));
    let last = |c: &str| events.iter().rev().find(|e| shows(e, key, c) && is_leaving(e));
    html! {
        @if !all.is_empty() {
            h2 { (ctx.t("containers")) }
            div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
                thead { tr { th scope="col" { (ctx.t("decl.container")) } th scope="col" { (ctx.t("decl.seen_in")) } th scope="col" { (ctx.t("decl.seen_out")) } } }
                tbody { @for c in &all { tr { th scope="row" { (c) } td { (seen(ctx, key, first(c))) } td { (seen(ctx, key, last(c))) } } } }
            } }
        }
    }
}

/// When, where and by what.
fn seen(ctx: &Ctx, key: &str, event: Option<&Event>) -> Markup {
    html! {
        @match event {
            Some(e) => {
                (parts::time(ctx, e.at_ms)) " · "
                (text(&e.body, "/data/area/name").or_else(|| text(&e.body, "/data/camera/name")).unwrap_or_default())
                @if let Some(link) = link_of(&e.body, key) { br; small { (super::alerts::how(ctx, link)) } }
            },
            None => "–",
        }
    }
}

fn stops(ctx: &Ctx, stops: &[Stop]) -> Markup {
    html! {
        @if !stops.is_empty() {
            h2 { (ctx.t("decl.stops")) }
            div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
                thead { tr { th scope="col" { (ctx.t("state")) } th scope="col" { (ctx.t("stop.order")) } th scope="col" { (ctx.t("decl.container")) }
                    th scope="col" { (ctx.t("stop.ordered")) } th scope="col" { (ctx.t("stop.ended")) } } }
                tbody { @for s in stops { (stop(ctx, s)) } }
            } }
        }
    }
}

fn stop(ctx: &Ctx, s: &Stop) -> Markup {
    let standing = s.standing(utc_now());
    html! {
        tr { td { @if standing == Standing::Holds { strong.up { (ctx.value("stop", standing.as_str())) } } @else { (ctx.value("stop", standing.as_str())) } }
            td { (s.now.id) @if let Some(tip) = &s.now.tip_id { br; small { (ctx.t("tip")) " " (tip) } } }
            td { (s.now.container.as_deref().unwrap_or(ctx.t("all"))) }
            td.wrap { (parts::time(ctx, s.now.from.0)) (why(&s.ordered.by, &s.ordered.reason)) }
            td.wrap { (parts::maybe_time(ctx, s.now.to.map(|t| t.0))) @if let Some(lift) = s.lifted_by() { (why(&lift.by, &lift.reason)) } } }
    }
}

/// Who, and why.
fn why(by: &Option<String>, reason: &Option<String>) -> Markup {
    html! {
        @if let Some(by) = by { " · " (by) }
        @if let Some(reason) = reason { " · " q { (reason) } }
    }
}

/// Facts as moments of the time line.
pub(super) fn moments(ctx: &Ctx, said: &Said) -> Vec<Moment> {
    let at = |at: UtcMillis, what: Markup| {
        let what = html! { p.line { span.state { (ctx.t("decl.customs")) } (what) } };
        Moment { at_ms: at.0, what }
    };
    let mut line = Vec::new();
    if let Some(d) = &said.declaration {
        let marks = MARKS.iter().chain(&ODD_MARKS).filter_map(|name| mark(d, name).map(|ms| (UtcMillis(ms), name)));
        line.extend(marks.map(|(ms, name)| at(ms, html! { strong { (ctx.value("mark", name)) } })));
        line.extend(d.channel_history.iter().map(|c| at(c.at, change(ctx, c))));
    }
    for s in &said.stops {
        let order = html! { strong { (ctx.t("mark.stopped")) } " " (s.now.id) (why(&s.ordered.by, &s.ordered.reason)) };
        line.push(at(s.now.from, order));
        if let Some(to) = s.now.to {
            let lift = s.lifted_by().map_or_else(|| html! {}, |lift| why(&lift.by, &lift.reason));
            line.push(at(to, html! { strong { (ctx.t("mark.stop_lifted")) } " " (s.now.id) (lift) }));
        }
    }
    for b in &said.bookings {
        let what = html! { strong { (ctx.t("bay.booking")) } " " (b.area) " · " (ctx.t("until")) " " (parts::time(ctx, b.end.0)) " · "
        (ctx.value("booking", booking(b.state))) };
        line.push(at(b.start, what));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, link: &Value) -> Event {
        let mut body = crate::desk::message::tests::body("E1", 1, 1, 4);
        body["type"] = json!(format!("gatewatch.event.{kind}.v1"));
        body["data"]["link"]["links"] = json!([link]);
        Event { at_ms: 1, office: "15BB".into(), body }
    }

    #[test]
    fn a_container_is_seen_where_it_was_read_or_where_it_goes_alone() {
        let link = |more: Value| {
            let mut link =
                json!({"decl_key": "10000001234", "state": "linked", "containers": ["CSQU3054383", "MSKU0000080"]});
            link.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            event("enter", &link)
        };
        let shown = |e: &Event| ["CSQU3054383", "MSKU0000080"].map(|c| shows(e, "10000001234", c));
        assert_eq!(shown(&link(json!({"container": "CSQU3054383"}))), [true, false]);
        assert_eq!(shown(&link(json!({}))), [false, false], "nobody knows which of the two");
        assert_eq!(shown(&link(json!({"containers": ["MSKU0000080"]}))), [false, true], "the only one");
        assert_eq!(shown(&link(json!({"container": "CSQU3054383", "state": "ambiguous"}))), [false, false]);
        let all = numbers("10000001234", &Said::default(), &[link(json!({"container": "OTHU1234567"}))]);
        assert_eq!(all, ["CSQU3054383", "MSKU0000080", "OTHU1234567"]);
        assert!(is_leaving(&event("gate_out", &json!({}))) && !is_leaving(&event("enter", &json!({}))));
    }
}
