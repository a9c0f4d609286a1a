//! Drafts of tips: blank, or filled from an alert. A draft that is not taken comes back as it was typed.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::Value;

use super::declaration::key_of;
use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts::{self, Offices};
use super::span::{self, Place};
use super::tip;
use crate::clock::utc_now;
use crate::desk::db::alerts::AlertRow;
use crate::desk::duty::DutyError;
use crate::desk::message::text;
use crate::desk::tip::SUSPICIONS;
use crate::desk::tips_duty::{self, Draft};

/// A new tip is due after this, unless somebody says otherwise, milliseconds.
const DUE_MS: i64 = 24 * 3_600_000;
/// Footage around the alert that a tip is raised from, milliseconds.
const AROUND_MS: i64 = 30 * 60_000;

/// The alert that a tip is raised from, if it is one.
async fn alert(ctx: &Ctx, id: Option<&str>) -> Answer<Option<AlertRow>> {
    let Some(id) = id else { return Ok(None) };
    let found = ctx.room.db.alert(id).await.or_problem(ctx)?.filter(|a| ctx.user.scope.holds(&a.office));
    found.or_problem(ctx).map(Some)
}

/// The page of a new tip; `?alert=`, or a camera and a time, fill it.
pub(crate) async fn blank(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let alert = alert(&ctx, query.get("alert").map(String::as_str)).await?;
    if let Some(a) = &alert {
        super::audit::viewed_of(&ctx, &a.office, "tip.new", &a.id, "").await.or_problem(&ctx)?;
    }
    let about = query.get("camera").and_then(|c| Place::parse(c)).filter(|p| ctx.user.scope.holds(&p.office));
    let mut draft = match (&alert, &about) {
        (Some(a), _) => from_alert(&ctx, a),
        (None, Some(place)) => from_footage(&ctx, place, &query)?,
        (None, None) => Draft::default(),
    };
    draft.due_ms = Some(utc_now().0 + DUE_MS);
    form(&ctx, alert.as_ref(), None, &of_draft(&ctx, &draft)).await
}

/// The form of a new tip. `why`: it was not taken; key of a sentence.
async fn form(
    ctx: &Ctx,
    alert: Option<&AlertRow>,
    why: Option<&str>,
    value: &(dyn Fn(&str) -> String + Sync),
) -> Answer {
    let offices = Offices::load(ctx).await.or_problem(ctx)?;
    let units = tips_duty::units(&ctx.room, &ctx.user).into_iter();
    let units: Vec<_> = units.map(|u| (u.clone(), offices.name(&u))).collect();
    let content = html! {
        @if let Some(why) = why { p.alarm role="alert" { (ctx.t(why)) } }
        @if let Some(a) = alert {
            p { (ctx.t("tip.alert")) ": " a href={ "/alerts/" (a.id) } { (ctx.value("rule", &a.rule)) } " · " (a.camera) " · " (parts::time(ctx, a.at_ms)) }
        }
        form method="post" action="/tips/new" {
            (token(ctx))
            @if let Some(a) = alert { input type="hidden" name="alert" value=(a.id); }
            @if units.len() > 1 { label { (ctx.t("unit")) (parts::select("unit", &value("unit"), None, &units)) } }
            (fields(ctx, &offices, value))
            p { button.main { (ctx.t("save")) } }
        }
    };
    Ok(page(ctx, ctx.t("tip.new"), "/tips", &content))
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

/// What stands in the fields of a draft, by name.
pub(crate) fn of_draft(ctx: &Ctx, d: &Draft) -> impl Fn(&str) -> String + use<> {
    // Of what was seen no second is left out of the search.
    let exact = |ms: Option<i64>| ms.map_or_else(String::new, |ms| parts::address_time(ctx, ms));
    let fields = HashMap::from([
        ("office", d.office.clone()),
        ("suspicion", d.suspicion.clone()),
        ("decl", d.decl_key.clone().unwrap_or_default()),
        ("containers", d.containers.clone()),
        ("plates", d.plates.clone()),
        ("due", parts::input_time(ctx, d.due_ms)),
        ("from", exact(d.from_ms)),
        ("to", exact(d.to_ms)),
        ("subject", d.subject.clone()),
    ]);
    move |name| fields.get(name).cloned().unwrap_or_default()
}

/// The fields of a draft. `value`: what stands in the field of a name.
pub(crate) fn fields(ctx: &Ctx, offices: &Offices, value: &(dyn Fn(&str) -> String + Sync)) -> Markup {
    html! {
        div.pairs {
            label { (ctx.t("tip.target"))
                input name="office" value=(value("office")) list="offices" maxlength="4" required autocomplete="off";
                datalist #offices { @for (code, name) in offices.options(ctx) { option value=(code) { (name) } } } }
            label { (ctx.t("tip.suspicion")) (parts::select("suspicion", &value("suspicion"), Some(ctx.t("choose")), &parts::options(ctx, "suspicion", &SUSPICIONS))) }
            label { (ctx.t("tip.decl")) input name="decl" value=(value("decl")) inputmode="numeric" autocomplete="off"; }
            label { (ctx.t("tip.containers")) input name="containers" value=(value("containers")) autocomplete="off"; }
            label { (ctx.t("tip.plates")) input name="plates" value=(value("plates")) autocomplete="off"; }
            label { (ctx.t("tip.due")) input type="datetime-local" name="due" value=(value("due")) required; }
            label { (ctx.t("tip.from")) input type="datetime-local" step="1" name="from" value=(value("from")); }
            label { (ctx.t("tip.to")) input type="datetime-local" step="1" name="to" value=(value("to")); }
            label.wide { (ctx.t("tip.subject")) textarea name="subject" rows="3" maxlength="2000" required { (value("subject")) } }
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
        unit: post.get("unit").to_owned(),
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
    let id = Some(post.get("alert")).filter(|a| !a.is_empty());
    let made = match read(&post) {
        Ok(draft) => tips_duty::create(&ctx.room, &ctx.user, draft, id).await,
        Err(key) => Err(DutyError::Refused(key)),
    };
    let error = match made {
        Ok(tip) => return Ok(tip::back(&tip.id)),
        Err(error) => error,
    };
    let problem = Problem::from_duty(ctx.language, &error);
    let Some(why) = problem.refusal() else { return Err(problem) };
    let alert = alert(ctx, id).await?;
    let page = form(ctx, alert.as_ref(), Some(why), &|name| post.get(name).to_owned()).await?;
    Ok((StatusCode::CONFLICT, page).into_response())
}

/// Changes a draft.
pub(crate) async fn change(Path(id): Path<String>, post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let changed = match read(&post) {
        Ok(draft) => tips_duty::edit(&ctx.room, &ctx.user, &id, tip::version_of(&post), draft).await,
        Err(key) => Err(DutyError::Refused(key)),
    };
    match changed {
        Ok(_) => Ok(tip::back(&id)),
        Err(error) => tip::not_taken(&post, &id, "edit", &error).await,
    }
}
