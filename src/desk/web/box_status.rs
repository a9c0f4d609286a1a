//! What a box said of itself last, as a part of the page Devices: how old that is, what waits to be sent, storage, clock,
//! detector, and what is not well. Every mark is a sign and a word; what cannot be read is said not to be known.

use maud::{Markup, html};
use serde_json::Value;

use super::page::Ctx;
use super::parts::{self, MAX_SAID, short};
use crate::clock::utc_now;
use crate::desk::db::places::BoxRow;
use crate::desk::message::{moment, text};

/// A box that is connected says how it is every minute; three times nothing is no chance, milliseconds.
const STALE_MS: i64 = 180_000;
/// From here on a clock is wrong, as it is of a camera.
const CLOCK_OFF_MS: i64 = 2_000;
/// Parts that are shown of what a box may send.
const MAX_PARTS: usize = 50;

/// The part of the page.
pub(super) fn show(ctx: &Ctx, b: &BoxRow) -> Markup {
    let said = b.status.as_ref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(said) = said else { return html! { p.line.soft { (ctx.t("status")) ": " (ctx.t("status.none")) } } };
    html! {
        (age(ctx, b))
        dl.facts {
            dt { (ctx.t("status.uptime")) } dd.line { (uptime(ctx, &said)) }
            dt { (ctx.t("status.outbox")) } dd.line { (outbox(ctx, &said)) }
            dt { (ctx.t("status.storage")) } dd.line { (storage(ctx, &said)) }
            dt { (ctx.t("status.clock")) } dd.line { (clock(ctx, b, &said)) }
            dt { (ctx.t("model")) } dd.line { (detector(ctx, &said)) }
            dt { (ctx.t("status.parts")) } dd { (not_well(ctx, &said)) }
        }
    }
}

/// How much a mark should trouble whoever reads it.
#[derive(Clone, Copy)]
enum Mark {
    Good,
    Look,
    Bad,
}

/// A sign and a word, so that colour is never the only signal.
fn mark(mark: Mark, word: &str) -> Markup {
    let (class, sign) = match mark {
        Mark::Good => ("good", "✓"),
        Mark::Look => ("up", "!"),
        Mark::Bad => ("bad", "✕"),
    };
    html! { span class=(class) { span aria-hidden="true" { (sign) } " " (word) } }
}

fn unknown(ctx: &Ctx) -> Markup {
    html! { span { "? " (ctx.t("status.unknown")) } }
}

fn number(said: &Value, pointer: &str) -> Option<i64> {
    said.pointer(pointer).and_then(Value::as_i64)
}

/// Of when it is, and that it is old where a box that is there should have said more.
fn age(ctx: &Ctx, b: &BoxRow) -> Markup {
    let old_ms = b.status_ms.map(|at| utc_now().0.saturating_sub(at));
    html! {
        p.line.soft {
            (ctx.t("status")) ": "
            @match b.status_ms {
                Some(at) => span { (parts::time(ctx, at)) " (" (parts::age(ctx, at)) " " (ctx.t("status.ago")) ")" },
                None => (unknown(ctx)),
            }
            @if b.online == 0 { span { (ctx.t("status.last_before")) } }
            @else if old_ms.is_none_or(|ms| ms > STALE_MS) { (mark(Mark::Bad, ctx.t("status.stale"))) }
        }
    }
}

fn uptime(ctx: &Ctx, said: &Value) -> Markup {
    match number(said, "/uptime_s") {
        Some(s) => html! { (parts::duration(ctx, s.saturating_mul(1000))) },
        None => unknown(ctx),
    }
}

fn outbox(ctx: &Ctx, said: &Value) -> Markup {
    let Some(waiting) = number(said, "/outbox/waiting") else { return unknown(ctx) };
    let behind = said.pointer("/outbox/behind") == Some(&Value::Bool(true));
    let dropped = number(said, "/outbox/dropped").filter(|n| *n > 0);
    html! {
        @if waiting <= 0 { (mark(Mark::Good, ctx.t("status.nothing_waits"))) }
        @else {
            span { (parts::grouped(waiting)) " " (ctx.t("status.waiting")) @if let Some(n) = number(said, "/outbox/bytes") { " (" (parts::bytes(ctx, n)) ")" } }
            @if let Some(s) = number(said, "/outbox/oldest_s") { span { (ctx.t("status.oldest_waits")) " " (parts::duration(ctx, s.saturating_mul(1000))) } }
            @if behind { (mark(Mark::Look, ctx.t("status.behind"))) }
        }
        @if let Some(n) = dropped { (mark(Mark::Bad, &format!("{} {}", parts::grouped(n), ctx.t("status.dropped")))) }
    }
}

fn storage(ctx: &Ctx, said: &Value) -> Markup {
    let mark_of = |state: &str| match state {
        "ok" => Mark::Good,
        "warning" => Mark::Look,
        _ => Mark::Bad,
    };
    let bytes = |pointer: &str| number(said, pointer).map(|n| parts::bytes(ctx, n));
    let unwritable = said.get("database_writable") == Some(&Value::Bool(false));
    html! {
        @match text(said, "/storage/state") {
            Some(state) => (mark(mark_of(&state), &ctx.value("storage", &state))),
            None => (unknown(ctx)),
        }
        @if let Some(free) = bytes("/storage/free_bytes") {
            span { (free) " " (ctx.t("status.free")) @if let Some(all) = bytes("/storage/disk_bytes") { " / " (all) } }
        }
        @if let Some(video) = bytes("/storage/footage_bytes") {
            span { (ctx.t("status.video")) " " (video) @if let Some(held) = bytes("/storage/held_bytes") { " + " (held) " " (ctx.t("status.held")) } }
        }
        @if let Some(from) = moment(said, "/storage/whole_from").map(|t| t.0) { span { (ctx.t("status.whole_from")) " " (parts::time(ctx, from)) } }
        @if let Some(oldest) = moment(said, "/storage/oldest").map(|t| t.0) { span { (ctx.t("status.oldest")) " " (parts::time(ctx, oldest)) } }
        @if unwritable { (mark(Mark::Bad, ctx.t("status.unwritable"))) }
    }
}

fn clock(ctx: &Ctx, b: &BoxRow, said: &Value) -> Markup {
    let off = |ms: i64| if ms.saturating_abs() > CLOCK_OFF_MS { Mark::Look } else { Mark::Good };
    let cameras = number(said, "/clock/cameras_offset_ms");
    html! {
        @match said.pointer("/clock/synchronised").and_then(Value::as_bool) {
            Some(true) => (mark(Mark::Good, ctx.t("status.synchronised"))),
            Some(false) => (mark(Mark::Bad, ctx.t("status.not_synchronised"))),
            None => span { "? " (ctx.t("status.synchronised_unknown")) },
        }
        @if let Some(at) = moment(said, "/clock/synchronised_at").map(|t| t.0) { span { (ctx.t("status.synchronised_at")) " " (parts::time(ctx, at)) } }
        @if let Some(ms) = b.clock_ms { (mark(off(ms), &format!("{} {}", ctx.t("status.against_desk"), parts::offset(ctx, ms)))) }
        @if let Some(ms) = cameras { span { (ctx.t("status.against_cameras")) " " (parts::offset(ctx, ms)) } }
    }
}

fn detector(ctx: &Ctx, said: &Value) -> Markup {
    let mark_of = |state: &str| match state {
        "running" => Mark::Good,
        "starting" => Mark::Look,
        _ => Mark::Bad,
    };
    let overloaded = said.get("overloaded").and_then(Value::as_array).into_iter().flatten();
    let overloaded: Vec<&str> = overloaded.filter_map(Value::as_str).take(MAX_PARTS).collect();
    html! {
        @match text(said, "/detector/state") {
            Some(state) => (mark(mark_of(&state), &ctx.value("detector", &state))),
            None => (unknown(ctx)),
        }
        @if let Some(name) = text(said, "/detector/model/name") { span { (short(&name, 80)) } }
        @if let Some(digest) = text(said, "/detector/model/sha256") { code title=(ctx.t("status.digest")) { (short(&digest, 12)) } }
        @if !overloaded.is_empty() { (mark(Mark::Look, ctx.t("status.overloaded"))) @for camera in overloaded { code { (short(camera, 40)) } } }
    }
}

fn not_well(ctx: &Ctx, said: &Value) -> Markup {
    let all = said.get("parts").and_then(Value::as_array);
    let Some(all) = all else { return unknown(ctx) };
    let more = number(said, "/parts_more").unwrap_or(0).max(0)
        + i64::try_from(all.len().saturating_sub(MAX_PARTS)).unwrap_or(0);
    html! {
        @if all.is_empty() { (mark(Mark::Good, ctx.t("status.all_well"))) }
        @else {
            ul.gaps {
                @for part in all.iter().take(MAX_PARTS) { (one(ctx, part)) }
                @if more > 0 { li { (parts::grouped(more)) " " (ctx.t("status.more")) } }
            }
        }
    }
}

fn one(ctx: &Ctx, part: &Value) -> Markup {
    let level = text(part, "/level").unwrap_or_else(|| "unknown".into());
    let trouble = if level == "degraded" { Mark::Look } else { Mark::Bad };
    let name = text(part, "/part").unwrap_or_default();
    html! {
        li {
            (mark(trouble, &ctx.value("level", &level))) " " code { (short(&name, 80)) }
            " " (said(ctx, &text(part, "/message").unwrap_or_default()))
        }
    }
}

/// The box's own sentence; what is not known here stays as it said it.
fn said(ctx: &Ctx, sentence: &str) -> Markup {
    let shown = parts::said(ctx, sentence);
    html! { span lang=[(shown == short(sentence, MAX_SAID)).then_some("en")] { (shown) } }
}
