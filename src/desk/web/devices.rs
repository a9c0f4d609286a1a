//! Boxes and cameras: who is there, how healthy, and which messages are missing. What a box says of itself every minute is in
//! `box_status.rs`.

use axum::Extension;
use maud::{Markup, html};
use serde_json::Value;

use super::box_status;
use super::page::{Answer, Ctx, OrProblem, page};
use super::parts::{self, Offices};
use super::span::{Place, Span};
use crate::desk::access::Need;
use crate::desk::db::chain::StateRow;
use crate::desk::db::places::{BoxRow, CameraRow, Missing};
use crate::desk::message::text;
use crate::evidence::keys::PublicKey;

/// The page.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>) -> Answer {
    super::audit::viewed(&ctx, "devices", "", "").await.or_problem(&ctx)?;
    let (db, scope) = (&ctx.room.db, &ctx.user.scope);
    let boxes = db.boxes(scope).await.or_problem(&ctx)?;
    let cameras = db.cameras(scope).await.or_problem(&ctx)?;
    let missing = db.missing(scope).await.or_problem(&ctx)?;
    let chains = db.chain_states(scope).await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let content = html! {
        @if boxes.is_empty() { p.hint { (ctx.t("nothing")) } }
        @for b in &boxes {
            section.device {
                h2 { (offices.name(&b.office)) " · " (b.id) " " (lamp(&ctx, b)) }
                (line(&ctx, b, missing.iter().find(|m| m.office == b.office && m.box_id == b.id)))
                (box_status::show(&ctx, b))
                (chain(&ctx, chains.iter().find(|c| c.office == b.office && c.box_id == b.id)))
                (table(&ctx, b, &birth(b), cameras.iter().filter(|c| c.office == b.office && c.box_id == b.id)))
            }
        }
    };
    Ok(page(&ctx, ctx.t("devices.title"), "/devices", &content))
}

fn lamp(ctx: &Ctx, b: &BoxRow) -> Markup {
    let (class, key, since) = match (b.gone_ms, b.online != 0, b.away_ms) {
        (Some(at), ..) => ("soft", "device.gone", at),
        (None, false, _) => ("bad", "device.offline", b.changed_ms),
        // The broker has not noticed.
        (None, true, Some(from)) => ("bad", "device.silent", from),
        (None, true, None) => ("good", "device.online", b.changed_ms),
    };
    html! { span class=(class) { (ctx.t(key)) " " (ctx.t("device.since")) " " (parts::time(ctx, since)) } }
}

/// What the box said of itself when it connected.
fn birth(b: &BoxRow) -> Value {
    b.birth.as_ref().and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null)
}

fn line(ctx: &Ctx, b: &BoxRow, missing: Option<&Missing>) -> Markup {
    let birth = birth(b);
    // Who says how it is every minute names the model there.
    let model = text(&birth, "/model/name").filter(|_| b.status.is_none());
    html! {
        p.line.soft {
            @if let Some(name) = text(&birth, "/name") { (name) " · " }
            (ctx.t("device.last")) " " (parts::time(ctx, b.seen_ms))
            @if let Some(version) = text(&birth, "/version") { " · " (ctx.t("device.version")) " " (version) }
            @if let Some(model) = model { " · " (ctx.t("model")) " " (model) }
            @if let Some(m) = missing.filter(|m| m.waiting > 0) { span.up { (m.waiting) " " (ctx.t("device.missing")) } }
            @if let Some(m) = missing.filter(|m| m.lost > 0) { span.bad { (m.lost) " " (ctx.t("device.lost")) } }
        }
    }
}

/// Where the box's chain of evidence ends, and whether its heads continued each other.
fn chain(ctx: &Ctx, state: Option<&StateRow>) -> Markup {
    let Some(s) = state else { return html! { p.line.soft { (ctx.t("chain")) ": " (ctx.t("chain.none")) } } };
    let key = PublicKey::parse(&s.signer).map(|k| k.id()).unwrap_or_default();
    html! {
        p.line.soft {
            (ctx.t("chain")) ": " (ctx.t("chain.entry")) " " (s.n) " · " (parts::time(ctx, s.at_ms)) " · " (ctx.t("chain.key")) " " code { (key) }
            @match (&s.fault, s.fault_ms) {
                (Some(fault), at) => span.bad { (ctx.value("rule", &format!("chain_{fault}"))) " · " (ctx.t("device.since")) " " (parts::maybe_time(ctx, at)) },
                (None, _) => span.good { (ctx.t("chain.whole")) " (" (s.heads) ")" },
            }
        }
    }
}

fn table<'a>(ctx: &Ctx, b: &BoxRow, birth: &Value, cameras: impl Iterator<Item = &'a CameraRow>) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            thead { tr { th scope="col" { (ctx.t("camera")) } th scope="col" { (ctx.t("device.state")) } th scope="col" { (ctx.t("picture")) }
                th.num scope="col" { (ctx.t("device.reconnects")) } th.num scope="col" { (ctx.t("device.clock")) }
                th.num scope="col" { (ctx.t("device.coverage")) } th scope="col" { (ctx.t("device.last")) } th scope="col" { (ctx.t("reason")) }
                @if ctx.may(Need::Footage) { th scope="col" { (ctx.t("footage")) } } } }
            tbody { @for c in cameras { (camera(ctx, b, birth, c)) } }
        } }
    }
}

fn camera(ctx: &Ctx, b: &BoxRow, birth: &Value, c: &CameraRow) -> Markup {
    let body: Value = serde_json::from_str(&c.body).unwrap_or(Value::Null);
    let state = text(&body, "/state").unwrap_or_default();
    let number = |key: &str| body.get(key).and_then(Value::as_i64);
    let known = birth.get("cameras").and_then(Value::as_array).into_iter().flatten();
    let name = known.filter(|k| text(k, "/id").as_deref() == Some(c.id.as_str())).find_map(|k| text(k, "/name"));
    let size = number("width").zip(number("height")).filter(|(w, h)| *w > 0 && *h > 0);
    let lasts = body["conditions"].as_array().into_iter().flatten().filter_map(|c| text(c, "/condition"));
    let mut reasons: Vec<String> = lasts.map(|c| ctx.value("rule", &format!("camera_{c}"))).collect();
    reasons.extend(["/reason", "/not_analysed"].iter().filter_map(|p| text(&body, p)).map(|r| parts::said(ctx, &r)));
    let watched = body.pointer("/coverage/last_hour").and_then(Value::as_f64);
    let class = if state == "running" && reasons.is_empty() { "good" } else { "bad" };
    html! {
        tr {
            td { (name.unwrap_or_default()) " " code { (c.id) } }
            td { span class=(class) { (ctx.value("camera_state", &state)) } }
            td { @if let Some((w, h)) = size { (w) "×" (h) } " " (text(&body, "/codec").unwrap_or_default()) }
            td.num { @if let Some(n) = number("reconnects") { (n) } @else { "–" } }
            td.num { @if let Some(ms) = number("clock_offset_ms") { (ms) " ms" } @else { "–" } }
            td.num { @if let Some(part) = watched { (format!("{:.0} %", part * 100.0)) } @else { "–" } }
            td { (parts::maybe_time(ctx, Some(c.seen_ms).filter(|at| *at > 0))) }
            td.wrap { (reasons.join(" · ")) }
            @if ctx.may(Need::Footage) {
                td { a href=(Place::new(&b.office, &b.id, &c.id).address(ctx, Span::last(10))) { (ctx.t("camera.newest")) " " (parts::duration(ctx, 600_000)) } }
            }
        }
    }
}
