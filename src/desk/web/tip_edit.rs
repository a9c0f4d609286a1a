//! Drafts of tips: blank, or filled from an alert.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::Value;

use super::declaration::key_of;
use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts::{self, Offices};
use super::span::{self, Place};
use crate::clock::utc_now;
use crate::desk::db::alerts::AlertRow;
use crate::desk::message::text;
use crate::desk::tip::SUSPICIONS;
use crate::desk::tips_duty::{self, Draft};

/// A new tip is due after this, unless somebody says otherwise, milliseconds.
const DUE_MS: i64 = 24 * 3_600_000;
/// Footage around the alert that a tip is raised from, milliseconds.
const AROUND_MS: i64 = 30 * 60_000;

/// The page of a new tip; `?alert=`, or a camera and a time, fill it.
pub(crate) async fn blank(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let alert = match query.get("alert") {
        Some(id) => {
            let found = ctx.room.db.alert(id).await.or_problem(&ctx)?.filter(|a| ctx.user.scope.holds(&a.office));
            let alert = found.or_problem(&ctx)?;
            super::audit::viewed_of(&ctx, &alert.office, "tip.new", id, "").await.or_problem(&ctx)?;
            Some(alert)
        }
        None => None,
    };
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let about = query.get("camera").and_then(|c| Place::parse(c)).filter(|p| ctx.user.scope.holds(&p.office));
    let mut draft = match (&alert, &about) {
        (Some(a), _) => from_alert(&ctx, a),
        (None, Some(place)) => from_footage(&ctx, place, &query)?,
        (None, None) => Draft::default(),
    };
    draft.due_ms = Some(utc_now().0 + DUE_MS);
    let content = html! {
        @if let Some(a) = &alert {
            p { (ctx.t("tip.alert")) ": " a href={ "/alerts/" (a.id) } { (ctx.value("rule", &a.rule)) } " · " (a.camera) " · " (parts::time(&ctx, a.at_ms)) }
        }
        form method="post" action="/tips/new" {
            (token(&ctx))
            @if let Some(a) = &alert { input type="hidden" name="alert" value=(a.id); }
            (fields(&ctx, &offices, &draft))
            p { button.main { (ctx.t("save")) } }
        }
    };
    Ok(page(&ctx, ctx.t("tip.new"), "/tips", &content))
}

/// What somebody saw in footage; the kind of suspicion and what it is about are his to say.
fn from_footage(ctx: &Ctx, place: &Place, query: &HashMap<String, String>) -> Answer<Draft> {
    let span = span::of_query(ctx, query).map_err(|key| Problem::refused(ctx.language, key))?;
    Ok(Draft {
        office: place.office.clone(),
        subject: format!("{} {} {}, {}", ctx.t("camera"), place.box_id, place.camera, span.words(ctx)),
        from_ms: Some(span.from),
        to_ms: Some(span.to),
        ..Draft::default()
    })
}

fn from_alert(ctx: &Ctx, a: &AlertRow) -> Draft {
    let body: Value = serde_json::from_str(&a.body).unwrap_or(Value::Null);
    let best = body.pointer("/data/link/links/0").cloned().unwrap_or(Value::Null);
    let containers = best.get("containers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let place = [a.camera.as_str(), a.place.as_str()].join(" ");
    Draft {
        office: a.office.clone(),
        decl_key: text(&best, "/decl_key"),
        containers: containers.collect::<Vec<_>>().join(", "),
        subject: format!("{} – {}, {}", ctx.value("rule", &a.rule), place.trim(), parts::time_text(ctx, a.at_ms)),
        suspicion: if a.rule == "gate_out_not_released" { "unreleased".into() } else { String::new() },
        from_ms: Some(a.at_ms - AROUND_MS),
        to_ms: Some(a.at_ms + AROUND_MS),
        ..Draft::default()
    }
}

/// The fields of a draft.
pub(crate) fn fields(ctx: &Ctx, offices: &Offices, d: &Draft) -> Markup {
    html! {
        div.pairs {
            label { (ctx.t("tip.target"))
                input name="office" value=(d.office) list="offices" maxlength="4" required autocomplete="off";
                datalist #offices { @for (code, name) in offices.options(ctx) { option value=(code) { (name) } } } }
            label { (ctx.t("tip.suspicion")) (parts::select("suspicion", &d.suspicion, Some(ctx.t("choose")), &parts::options(ctx, "suspicion", &SUSPICIONS))) }
            label { (ctx.t("tip.decl")) input name="decl" value=(d.decl_key.as_deref().unwrap_or("")) inputmode="numeric" autocomplete="off"; }
            label { (ctx.t("tip.containers")) input name="containers" value=(d.containers) autocomplete="off"; }
            label { (ctx.t("tip.plates")) input name="plates" value=(d.plates) autocomplete="off"; }
            label { (ctx.t("tip.due")) input type="datetime-local" name="due" value=(parts::input_time(ctx, d.due_ms)) required; }
            label { (ctx.t("tip.from")) input type="datetime-local" name="from" value=(parts::input_time(ctx, d.from_ms)); }
            label { (ctx.t("tip.to")) input type="datetime-local" name="to" value=(parts::input_time(ctx, d.to_ms)); }
            label.wide { (ctx.t("tip.subject")) textarea name="subject" rows="3" maxlength="2000" required { (d.subject) } }
        }
    }
}

fn read(post: &Post) -> Result<Draft, &'static str> {
    let ctx = &post.ctx;
    let time = |name: &str| parts::read_time(ctx, post.get(name)).map_err(|()| "refusal.time");
    let typed = post.get("decl");
    let decl_key = if typed.is_empty() { None } else { Some(key_of(typed).ok_or("refusal.decl")?) };
    let office = post.get("office").to_uppercase();
    if !crate::desk::config::is_office(&office) {
        return Err("refusal.office");
    }
    if !SUSPICIONS.contains(&post.get("suspicion")) {
        return Err("refusal.kind");
    }
    let list = |name: &str| {
        let clean = |t: &str| t.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_uppercase();
        let items = post.get(name).split([',', ';', '\n']).map(clean).filter(|t| !t.is_empty());
        items.take(20).collect::<Vec<_>>().join(", ")
    };
    Ok(Draft {
        office,
        decl_key,
        containers: list("containers"),
        plates: list("plates"),
        subject: post.get("subject").chars().take(2000).collect(),
        suspicion: post.get("suspicion").into(),
        from_ms: time("from")?,
        to_ms: time("to")?,
        due_ms: time("due")?,
    })
}

/// Writes the draft.
pub(crate) async fn create(post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let draft = read(&post).map_err(|key| Problem::refused(ctx.language, key))?;
    let alert = Some(post.get("alert")).filter(|a| !a.is_empty());
    let tip = tips_duty::create(&ctx.room, &ctx.user, draft, alert).await.or_problem(ctx)?;
    Ok(Redirect::to(&format!("/tips/{}", tip.id)).into_response())
}

/// Changes a draft.
pub(crate) async fn change(Path(id): Path<String>, post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let draft = read(&post).map_err(|key| Problem::refused(ctx.language, key))?;
    tips_duty::edit(&ctx.room, &ctx.user, &id, draft).await.or_problem(ctx)?;
    Ok(Redirect::to(&format!("/tips/{id}")).into_response())
}
