//! Boxes and cameras: who is there, how healthy, and which messages are missing.

use axum::Extension;
use maud::{Markup, html};
use serde_json::Value;

use super::page::{Answer, Ctx, OrProblem, page};
use super::parts::{self, Offices};
use crate::desk::db::places::{BoxRow, CameraRow, Missing};
use crate::desk::message::text;

/// The page.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>) -> Answer {
    super::audit::viewed(&ctx, "devices", "", "").await.or_problem(&ctx)?;
    let (db, scope) = (&ctx.room.db, &ctx.user.scope);
    let boxes = db.boxes(scope).await.or_problem(&ctx)?;
    let cameras = db.cameras(scope).await.or_problem(&ctx)?;
    let missing = db.missing(scope).await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let content = html! {
        @if boxes.is_empty() { p.hint { (ctx.t("nothing")) } }
        @for b in &boxes {
            section.device {
                h2 { (offices.name(&b.office)) " · " (b.id) " " (lamp(&ctx, b)) }
                (line(&ctx, b, missing.iter().find(|m| m.office == b.office && m.box_id == b.id)))
                (table(&ctx, cameras.iter().filter(|c| c.office == b.office && c.box_id == b.id)))
            }
        }
    };
    Ok(page(&ctx, ctx.t("devices.title"), "/devices", &content))
}

fn lamp(ctx: &Ctx, b: &BoxRow) -> Markup {
    let (class, key) = if b.online != 0 { ("good", "device.online") } else { ("bad", "device.offline") };
    html! { span class=(class) { (ctx.t(key)) " " (ctx.t("device.since")) " " (parts::time(ctx, b.changed_ms)) } }
}

fn line(ctx: &Ctx, b: &BoxRow, missing: Option<&Missing>) -> Markup {
    let birth: Value = b.birth.as_ref().and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null);
    let version = text(&birth, "/version").or_else(|| text(&birth, "/software/version"));
    html! {
        p.line.soft {
            (ctx.t("device.last")) " " (parts::time(ctx, b.seen_ms))
            @if let Some(version) = version { " · " (ctx.t("device.version")) " " (version) }
            @if let Some(m) = missing.filter(|m| m.waiting > 0) { span.up { (m.waiting) " " (ctx.t("device.missing")) } }
            @if let Some(m) = missing.filter(|m| m.lost > 0) { span.bad { (m.lost) " " (ctx.t("device.lost")) } }
        }
    }
}

fn table<'a>(ctx: &Ctx, cameras: impl Iterator<Item = &'a CameraRow>) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th scope="col" { (ctx.t("camera")) } th scope="col" { (ctx.t("device.state")) } th scope="col" { (ctx.t("device.fps")) }
                th scope="col" { (ctx.t("device.clock")) } th scope="col" { (ctx.t("device.last")) } th scope="col" { (ctx.t("device.error")) } } }
            tbody { @for c in cameras { (camera(ctx, c)) } }
        } }
    }
}

fn camera(ctx: &Ctx, c: &CameraRow) -> Markup {
    let body: Value = serde_json::from_str(&c.body).unwrap_or(Value::Null);
    let state = text(&body, "/state").unwrap_or_default();
    let ok = matches!(state.as_str(), "running" | "streaming");
    let first = |keys: &[&str]| keys.iter().find_map(|k| body.get(*k)).and_then(Value::as_f64);
    let fps = first(&["analysed_fps", "decoded_fps", "fps"]);
    let offset = first(&["clock_offset_ms"]);
    let error = ["/error", "/last_error", "/reason"].iter().find_map(|p| text(&body, p)).unwrap_or_default();
    html! {
        tr {
            td { (c.id) }
            td { span class=(if ok { "good" } else { "bad" }) { (ctx.value("camera_state", &state)) } }
            td.num { @if let Some(fps) = fps { (format!("{fps:.1}")) } @else { "–" } }
            td.num { @if let Some(ms) = offset { (format!("{ms:.0} ms")) } @else { "–" } }
            td { (parts::time(ctx, c.seen_ms)) }
            td.wrap { (error) }
        }
    }
}
