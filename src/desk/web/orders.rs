//! The part of an alert's page about its box: binding a declaration, holding footage, and what the box answered.

use maud::{Markup, html};
use serde_json::Value;

use super::declaration::key_of;
use super::footage::around;
use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, token};
use super::parts;
use crate::clock::UtcMillis;
use crate::desk::access::Need;
use crate::desk::db::alerts::AlertRow;
use crate::desk::db::orders::OrderRow;
use crate::desk::message::text;
use crate::desk::orders::{Ask, is_released, visit_of};

/// Footage held around an alert, unless somebody says otherwise, milliseconds.
const BEFORE_MS: i64 = 5 * 60_000;
const AFTER_MS: i64 = 10 * 60_000;
/// Longest hold that boxes take, milliseconds.
const MAX_HOLD_MS: i64 = 7 * 86_400_000;

/// Forms and answers.
pub(crate) fn part(ctx: &Ctx, row: &AlertRow, body: &Value, given: &[OrderRow]) -> Markup {
    let place = around(row, body);
    let is_event = body.pointer("/data/link").is_some();
    html! {
        @if ctx.may(Need::ActAlerts) && (is_event || place.is_some()) {
            section.steps {
                @if is_event { details #bind { summary data-act="bind" { (ctx.t("bind")) } (bind_form(ctx, row, body)) } }
                @if let Some((camera, from, to)) = &place {
                    details #hold { summary data-act="hold" { (ctx.t("act.hold")) } (hold_form(ctx, row, camera, *from, *to)) }
                }
            }
        }
        @if !given.is_empty() {
            h2 { (ctx.t("orders")) }
            ol.history { @for o in given { li { (order(ctx, row, o, given)) } } }
        }
    }
}

fn bind_form(ctx: &Ctx, row: &AlertRow, body: &Value) -> Markup {
    let best = text(body, "/data/link/links/0/decl_key").unwrap_or_default();
    html! {
        form.stack method="post" action={ "/alerts/" (row.id) "/bind" } {
            (token(ctx))
            label { (ctx.t("tip.decl")) input name="decl" value=(best) inputmode="numeric" autocomplete="off" required; }
            label { (ctx.t("bind.what")) select name="action" {
                option value="bind" { (ctx.t("bind.belongs")) }
                option value="reject" { (ctx.t("bind.not")) } } }
            @if let Some(visit) = visit_of(body) {
                label { (ctx.t("bind.scope")) select name="visit" {
                    option value="" { (ctx.t("bind.event")) }
                    option value=(visit) { (ctx.t("bind.visit")) " " (visit) } } }
            }
            label { (ctx.t("bind.reason")) textarea name="note" rows="2" maxlength="1000" {} }
            p.hint { (ctx.t("bind.hint")) }
            p.line { button.main { (ctx.t("bind")) } button type="button" data-close="" { (ctx.t("back")) } }
        }
    }
}

fn hold_form(ctx: &Ctx, row: &AlertRow, camera: &str, from: UtcMillis, to: UtcMillis) -> Markup {
    html! {
        form.stack method="post" action={ "/alerts/" (row.id) "/hold" } {
            (token(ctx))
            p.line { (ctx.t("camera")) ": " code { (camera) } }
            label { (ctx.t("tip.from")) input type="datetime-local" step="1" name="from" value=(parts::address_time(ctx, from.0 - BEFORE_MS)) required; }
            label { (ctx.t("tip.to")) input type="datetime-local" step="1" name="to" value=(parts::address_time(ctx, to.0 + AFTER_MS)) required; }
            label { (ctx.t("reason")) textarea name="note" rows="2" maxlength="1000" required {} }
            p.line { button.main { (ctx.t("act.hold")) } button type="button" data-close="" { (ctx.t("back")) } }
        }
    }
}

fn order(ctx: &Ctx, row: &AlertRow, o: &OrderRow, all: &[OrderRow]) -> Markup {
    let released = is_released(&o.id, all);
    let free = o.kind == "hold" && o.ok != Some(0) && !released;
    html! {
        (parts::time(ctx, o.at_ms)) " · " strong { (o.account) } " " (ctx.value("order", &o.kind)) " "
        @if o.kind == "bind" { (parts::declaration(&o.about)) } @else { code { (o.about) } }
        @if !o.note.is_empty() { " · " q { (o.note) } }
        " " (answer(ctx, o))
        @if free && ctx.may(Need::IssueTips) {
            details { summary data-act="release" { (ctx.t("release")) }
                form.stack method="post" action={ "/alerts/" (row.id) "/release" } {
                    (token(ctx)) input type="hidden" name="hold" value=(o.id);
                    label { (ctx.t("reason")) textarea name="note" rows="2" maxlength="1000" required {} }
                    p.line { button.main { (ctx.t("release")) } }
                } }
        }
    }
}

/// What the box said.
pub(crate) fn answer(ctx: &Ctx, o: &OrderRow) -> Markup {
    let said = o.answer.as_deref().unwrap_or_default();
    let result: Value = serde_json::from_str(said).unwrap_or(Value::Null);
    html! {
        @match o.ok {
            None => span.up { (ctx.t("order.waits")) " · " (ctx.t("order.asked")) " " (parts::time(ctx, o.asked_ms)) },
            Some(0) => span.bad { (ctx.t("order.refused")) ": " (parts::said(ctx, said)) },
            Some(_) => span.good { (ctx.t("order.done")) @if let Some(state) = text(&result, "/state") { ": " (ctx.value("hold_state", &state)) } },
        }
    }
}

/// Reads the form of an order.
pub(crate) async fn read(post: &Post, kind: &str, alert: &str, note: String) -> Answer<Ask> {
    let ctx = &post.ctx;
    let refused = |key| Problem::refused(ctx.language, key);
    match kind {
        "bind" => {
            let decl_key = key_of(post.get("decl")).ok_or_else(|| refused("refusal.decl"))?;
            let visit = Some(post.get("visit").to_owned()).filter(|v| !v.is_empty());
            Ok(Ask::Bind { decl_key, reject: post.get("action") == "reject", visit, note })
        }
        "hold" => {
            let found = ctx.room.db.alert(alert).await.or_problem(ctx)?.filter(|a| ctx.user.scope.holds(&a.office));
            let row = found.or_problem(ctx)?;
            let body: Value = serde_json::from_str(&row.body).unwrap_or(Value::Null);
            let (camera, _, _) = around(&row, &body).or_problem(ctx)?;
            let time = |name: &str| parts::read_time(ctx, post.get(name)).ok().flatten();
            let (Some(from), Some(to)) = (time("from"), time("to")) else { return Err(refused("refusal.time")) };
            if to <= from || to - from > MAX_HOLD_MS {
                return Err(refused("refusal.range"));
            }
            Ok(Ask::Hold { camera, from: UtcMillis(from), to: UtcMillis(to), note })
        }
        _ => Ok(Ask::Release { hold: post.get("hold").to_owned(), note }),
    }
}
