//! The parts of a tip's page that reach beyond it: measures with their outcome, stops of its goods with what the boxes say, and the
//! holds that boxes placed for it, with their release. Who decides what: `desk/tip_measures.rs`.

use axum::Extension;
use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts;
use super::tip::{Kept, back, not_taken, typed};
use crate::desk::boxes::BoxError;
use crate::desk::db::measures::Measure;
use crate::desk::db::orders::OrderRow;
use crate::desk::db::tips::TipRow;
use crate::desk::message::{moment, text};
use crate::desk::orders::is_released;
use crate::desk::tip::{MEASURES, State};
use crate::desk::tip_measures;
use crate::desk::tips_duty::{enters, is_seen, may_step};

/// The form of a new measure.
pub(crate) fn form(ctx: &Ctx, t: &TipRow, kept: Option<&Kept<'_>>) -> Markup {
    let was = |name: &str| typed(kept, "measure", name, "");
    html! {
        form.stack method="post" action={ "/tips/" (t.id) "/work/measure" } {
            (token(ctx))
            label { (ctx.t("action")) (parts::select("action", was("action"), Some(ctx.t("choose")), &parts::options(ctx, "action", &MEASURES))) }
            label { (ctx.t("note")) textarea name="note" rows="2" maxlength="2000" { (was("note")) } }
            p.hint { (ctx.t("measure.stop_hint")) }
            p { button { (ctx.t("save")) } }
        }
    }
}

/// What was asked for, by whom, and what came of it.
pub(crate) fn part(ctx: &Ctx, t: &TipRow, measures: &[Measure], orders: &[OrderRow]) -> Markup {
    html! {
        @if !measures.is_empty() {
            h2 { (ctx.t("actions")) }
            div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
                thead { tr { th scope="col" { (ctx.t("when")) } th scope="col" { (ctx.t("action")) } th scope="col" { (ctx.t("note")) }
                    th scope="col" { (ctx.t("outcome")) } } }
                tbody { @for m in measures { (row(ctx, t, m, orders)) } }
            } }
        }
    }
}

fn row(ctx: &Ctx, t: &TipRow, m: &Measure, orders: &[OrderRow]) -> Markup {
    let may = enters(&ctx.user, t);
    let told: Vec<&OrderRow> = orders.iter().filter(|o| o.kind == "stop" && o.about == m.stop_id()).collect();
    let stop = m.action == "stop";
    html! {
        tr { td { (parts::time(ctx, m.at_ms)) " · " (m.account) } td { (ctx.value("action", &m.action)) } td.wrap { (m.note) }
            td.wrap {
                @match (&m.done_by, m.done_ms) {
                    (Some(by), Some(at)) => { (parts::time(ctx, at)) " · " (by) @if stop { " · " (ctx.t("action.release")) } " · " q { (m.outcome) } },
                    _ => span.up { (ctx.t(if stop { "measure.stands" } else { "measure.open" })) },
                }
                @if may && m.done_ms.is_none() { (done_form(ctx, t, m)) }
            } }
        @if stop {
            tr { td colspan="4" {
                @if told.is_empty() { p.up { (ctx.t("measure.no_box")) } }
                ul { @for o in &told { li { (o.box_id) " · " (parts::time(ctx, o.at_ms)) " " (ctx.t(if is_end(o) { "action.release" } else { "action.stop" })) " " (super::orders::answer(ctx, o)) } } }
            } }
        }
    }
}

/// Whether an order ends a stop.
fn is_end(o: &OrderRow) -> bool {
    serde_json::from_str::<Value>(&o.body).is_ok_and(|body| body["to"].is_string())
}

fn done_form(ctx: &Ctx, t: &TipRow, m: &Measure) -> Markup {
    let (button, field) = if m.action == "stop" { ("action.release", "reason") } else { ("measure.done", "outcome") };
    html! {
        form.filters.noprint method="post" action={ "/tips/" (t.id) "/work/done" } {
            (token(ctx)) input type="hidden" name="measure" value=(m.id);
            input name="outcome" required maxlength="2000" aria-label=(ctx.t(field)) placeholder=(ctx.t(field)); button { (ctx.t(button)) }
        }
    }
}

/// A hold that a box placed for the tip, with its release: by a leader, once the tip is no longer worked on.
pub(crate) fn hold(ctx: &Ctx, t: &TipRow, source: &str, id: &str, orders: &[OrderRow]) -> Markup {
    let over = State::parse(&t.state).is_some_and(|s| !s.is_open());
    let may = over && may_step(&ctx.user, t, "release_hold") && !is_released(id, orders);
    html! {
        code { (id) }
        @for o in orders.iter().filter(|o| o.kind == "release" && o.about == id) {
            br; (ctx.value("order", "release")) " " strong { (o.account) } " " q { (o.note) } " " (super::orders::answer(ctx, o))
        }
        @if may {
            details.noprint { summary data-act="release" { (ctx.t("release")) }
                form.stack method="post" action={ "/tips/" (t.id) "/lead/release_hold" } {
                    (token(ctx)) input type="hidden" name="source" value=(source); input type="hidden" name="hold" value=(id);
                    label { (ctx.t("reason")) textarea name="note" rows="2" maxlength="200" required {} }
                    p.line { button.main { (ctx.t("release")) } }
                } }
        }
    }
}

/// Releases one.
pub(crate) async fn release(id: &str, post: &Post) -> Answer<Response> {
    let (ctx, note) = (&post.ctx, post.get("note").chars().take(200).collect::<String>());
    let hold = (post.get("source"), post.get("hold"));
    match tip_measures::release(&ctx.room, &ctx.user, id, hold, &note).await {
        Ok(()) => Ok(back(id)),
        Err(error) => not_taken(post, id, "release_hold", &error).await,
    }
}

/// What a box says now of the holds that it placed for a tip. Stands for itself, and is taken into the tip's page by the script.
pub(crate) async fn holds(
    Extension(ctx): Extension<Ctx>,
    Path((id, office, box_id)): Path<(String, String, String)>,
) -> Answer {
    let t = ctx.room.db.tip(&id).await.or_problem(&ctx)?.filter(|t| is_seen(&ctx.user, t)).or_problem(&ctx)?;
    if office != t.office {
        return Err(Problem::not_found(ctx.language));
    }
    super::audit::viewed_of(&ctx, &office, "tip.holds", &format!("tip {}", t.number), &box_id)
        .await
        .or_problem(&ctx)?;
    let query = [("tip", t.id.clone()), ("released", "true".into())];
    let said = ctx.room.boxes.json(&office, &box_id, "/api/holds", &query).await;
    let content = html! {
        p { a href={ "/tips/" (t.id) } { (ctx.t("back")) } }
        section.footage aria-label=(ctx.t("hold.states")) { h3 { (ctx.t("hold.states")) " · " (box_id) } (states(&ctx, &said)) }
    };
    Ok(page(&ctx, &format!("{} {}", ctx.t("tip"), t.number), "/tips", &content))
}

fn states(ctx: &Ctx, said: &Result<Value, BoxError>) -> Markup {
    let holds = match said {
        Ok(said) => said.as_array().cloned().unwrap_or_default(),
        Err(error) => return html! { p.up { (ctx.t(error.key())) } },
    };
    let time = |h: &Value, p: &str| {
        let at = moment(h, p);
        at.map_or_else(|| "…".into(), |at| parts::time_text(ctx, at.0))
    };
    html! {
        @if holds.is_empty() { p.hint { (ctx.t("none")) } }
        ul { @for h in &holds { li {
            (text(h, "/camera").unwrap_or_default()) " · " (time(h, "/from")) " – " (time(h, "/to")) " · "
            strong { (ctx.value("hold_state", &text(h, "/state").unwrap_or_default())) }
            @if let Some(by) = text(h, "/released_by") { " · " (by) " " q { (text(h, "/release_why").unwrap_or_default()) } }
        } } }
    }
}
