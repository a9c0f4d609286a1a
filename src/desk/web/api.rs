//! What the pages show, as JSON for other programs: the same roles, scopes, filters and audit. Described in `openapi.rs`.

use std::collections::HashMap;

use axum::extract::{Path, Query};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::alerts::wanted;
use super::page::{Answer, Ctx, OrProblem};
use crate::desk::db::alerts::AlertRow;
use crate::desk::db::tips::{TipRow, Wanted as WantedTips};
use crate::desk::message::parsed;

/// Entries at most, unless asked otherwise.
const LIMIT: i64 = 150;
/// And at most however one asks.
const MAX_LIMIT: i64 = 1000;

fn limit(query: &HashMap<String, String>) -> i64 {
    query.get("limit").and_then(|l| l.parse().ok()).unwrap_or(LIMIT).clamp(1, MAX_LIMIT)
}

fn alert_json(a: &AlertRow) -> Value {
    json!({
        "id": a.id, "office": a.office, "box": a.box_id, "camera": a.camera, "place": a.place, "rule": a.rule,
        "severity": a.severity, "state": a.state, "outcome": a.outcome, "phase": a.phase, "at_ms": a.at_ms,
        "opened_ms": a.opened_ms, "duty_day": a.duty_day, "historical": a.historical != 0,
        "escalated_ms": a.escalated_ms, "asked_by": a.asked_by, "closed_ms": a.closed_ms, "picture_sha256": a.picture,
    })
}

/// Alerts, newest first.
pub(crate) async fn alerts(
    Extension(ctx): Extension<Ctx>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Json<Value>> {
    let mut wanted = wanted(&query);
    wanted.limit = limit(&query);
    super::audit::viewed(&ctx, "api.alerts", "", &wanted.words).await.or_problem(&ctx)?;
    let rows = ctx.room.db.alerts(&ctx.user.scope, &wanted).await.or_problem(&ctx)?;
    Ok(Json(json!({"alerts": rows.iter().map(alert_json).collect::<Vec<_>>()})))
}

/// One alert with its newest message, history and orders. Does not count as having looked at it.
pub(crate) async fn alert(Extension(ctx): Extension<Ctx>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let db = &ctx.room.db;
    let found = db.alert(&id).await.or_problem(&ctx)?.filter(|a| ctx.user.scope.holds(&a.office));
    let row = found.or_problem(&ctx)?;
    super::audit::viewed_of(&ctx, &row.office, "api.alert", &id, "").await.or_problem(&ctx)?;
    let history = db.alert_history(&id).await.or_problem(&ctx)?;
    let orders = db.orders(&id).await.or_problem(&ctx)?;
    let mut out = alert_json(&row);
    let body = parsed(&row.body);
    // What a dismissal or a closing must name.
    out["facts"] = crate::desk::duty::facts(&row, &body).into();
    out["message"] = body;
    let acts = history.iter().map(
        |a| json!({"at_ms": a.at_ms, "account": a.account, "action": a.action, "reason": a.reason, "note": a.note}),
    );
    out["history"] = acts.collect();
    let orders = orders.iter().map(|o| {
        json!({"id": o.id, "kind": o.kind, "about": o.about, "account": o.account, "at_ms": o.at_ms,
            "answered_ms": o.answered_ms, "ok": o.ok.map(|ok| ok != 0), "answer": o.answer})
    });
    out["orders"] = orders.collect();
    Ok(Json(out))
}

fn tip_json(t: &TipRow) -> Value {
    json!({
        "id": t.id, "number": t.number, "unit": t.unit, "office": t.office, "alert_id": t.alert_id, "decl_key": t.decl_key,
        "subject": t.subject, "suspicion": t.suspicion, "state": t.state, "version": t.version, "due_ms": t.due_ms, "issued_ms": t.issued_ms,
        "received_ms": t.received_ms, "reported_ms": t.reported_ms, "settled_ms": t.settled_ms, "result": t.result,
    })
}

/// Tips, newest first.
pub(crate) async fn tips(
    Extension(ctx): Extension<Ctx>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Json<Value>> {
    let get = |name: &str| query.get(name).map_or("", |v| v.trim()).to_owned();
    let view = Some(get("view")).filter(|v| !v.is_empty()).unwrap_or_else(|| "open".into());
    let wanted =
        WantedTips { view, office: get("office"), words: get("q").chars().take(100).collect(), limit: limit(&query) };
    super::audit::viewed(&ctx, "api.tips", "", &wanted.words).await.or_problem(&ctx)?;
    let rows = ctx.room.db.tips(&ctx.user.scope, &wanted).await.or_problem(&ctx)?;
    Ok(Json(json!({"tips": rows.iter().map(tip_json).collect::<Vec<_>>()})))
}

/// Inspection bays.
pub(crate) async fn bays(Extension(ctx): Extension<Ctx>) -> Answer<Json<Value>> {
    super::audit::viewed(&ctx, "api.bays", "", "").await.or_problem(&ctx)?;
    let bays = super::yard::load(&ctx).await.or_problem(&ctx)?;
    Ok(Json(json!({"bays": bays.iter().map(super::yard::Bay::json).collect::<Vec<_>>()})))
}

/// Boxes with what they say of themselves, their cameras, missing numbers and chains.
pub(crate) async fn boxes(Extension(ctx): Extension<Ctx>) -> Answer<Json<Value>> {
    super::audit::viewed(&ctx, "api.boxes", "", "").await.or_problem(&ctx)?;
    let (db, scope) = (&ctx.room.db, &ctx.user.scope);
    let cameras = db.cameras(scope).await.or_problem(&ctx)?;
    let missing = db.missing(scope).await.or_problem(&ctx)?;
    let chains = db.chain_states(scope).await.or_problem(&ctx)?;
    let boxes = db.boxes(scope).await.or_problem(&ctx)?;
    let all: Vec<Value> = boxes
        .iter()
        .map(|b| {
            let its = cameras.iter().filter(|c| c.office == b.office && c.box_id == b.id).map(|c| parsed(&c.body));
            let holes = missing.iter().find(|m| m.office == b.office && m.box_id == b.id);
            let chain = chains.iter().find(|c| c.office == b.office && c.box_id == b.id);
            json!({
                "office": b.office, "id": b.id, "online": b.is_there(), "changed_ms": b.changed_ms, "seen_ms": b.seen_ms,
                "status": b.status.as_deref().map(parsed), "status_ms": b.status_ms, "clock_ms": b.clock_ms,
                "cameras": its.collect::<Vec<_>>(), "missing": holes.map_or(0, |m| m.waiting), "lost": holes.map_or(0, |m| m.lost),
                "chain": chain.map(|c| json!({"epoch": c.epoch, "n": c.n, "sha256": c.sha256, "at_ms": c.at_ms, "key": c.signer,
                    "heads": c.heads, "fault": c.fault, "fault_ms": c.fault_ms})),
            })
        })
        .collect();
    Ok(Json(json!({"boxes": all})))
}
