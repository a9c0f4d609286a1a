//! The inspection yard: every bay that the boxes know, with its booking, vehicle, state and elapsed time, from the newest
//! word of its box. A bay of a box that is away is shown as it was, and says so.

use axum::Extension;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::alerts::{declarations, units};
use super::page::{Answer, Ctx, OrProblem, page};
use super::parts::{self, Offices};
use crate::desk::db::DbError;
use crate::desk::db::bays::BayRow;
use crate::desk::db::places::BoxRow;
use crate::desk::message::text;

/// A bay on the page.
pub(crate) struct Bay {
    pub office: String,
    pub box_id: String,
    pub area: String,
    pub name: String,
    /// Whether its box is there: neither offline, nor silent for long, nor out of use.
    pub there: bool,
    /// What is known of it; `None` = no vehicle was ever reported.
    pub row: Option<BayRow>,
    /// Open alerts about it: id, rule, severity.
    pub alerts: Vec<(String, String, i64)>,
}

impl Bay {
    pub(crate) fn state(&self) -> &'static str {
        match &self.row {
            Some(row) if row.event_id.is_some() => "occupied",
            _ => "empty",
        }
    }

    /// The message that says so.
    pub(crate) fn body(&self) -> Value {
        self.row.as_ref().and_then(|r| serde_json::from_str(&r.body).ok()).unwrap_or(Value::Null)
    }

    /// For the HTTP API.
    pub(crate) fn json(&self) -> Value {
        let body = self.body();
        json!({
            "office": self.office, "box": self.box_id, "area": self.area, "name": self.name, "box_online": self.there,
            "state": self.state(), "since_ms": self.row.as_ref().map(|r| r.since_ms),
            "event_id": self.row.as_ref().and_then(|r| r.event_id.clone()), "link": body.pointer("/data/link"),
            "object": body.pointer("/data/object/label"), "alerts": self.alerts.iter().map(|(id, _, _)| id).collect::<Vec<_>>(),
        })
    }
}

/// Areas that a box's birth names as bays: id and name.
fn of_birth(b: &BoxRow) -> Vec<(String, String)> {
    let birth: Value = b.birth.as_ref().and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null);
    let cameras = birth.get("cameras").and_then(Value::as_array).into_iter().flatten();
    let areas = cameras.filter_map(|c| c.get("areas").and_then(Value::as_array)).flatten();
    let bays = areas.filter(|a| text(a, "/kind").as_deref() == Some("inspection_bay"));
    let named = |a: &Value| {
        let id = text(a, "/id")?;
        Some((id.clone(), text(a, "/name").filter(|n| !n.is_empty()).unwrap_or(id)))
    };
    bays.filter_map(named).collect()
}

/// All bays of the reader's offices: those that boxes name, and those that were ever reported.
pub(crate) async fn load(ctx: &Ctx) -> Result<Vec<Bay>, DbError> {
    let (db, scope) = (&ctx.room.db, &ctx.user.scope);
    let mut rows = db.bays(scope).await?;
    let mut bays: Vec<Bay> = Vec::new();
    for b in db.boxes(scope).await? {
        for (area, name) in of_birth(&b) {
            let at = rows.iter().position(|r| r.office == b.office && r.box_id == b.id && r.area == area);
            let row = at.map(|i| rows.remove(i));
            let known = bays.iter().any(|y| y.office == b.office && y.box_id == b.id && y.area == area);
            if !known {
                bays.push(Bay {
                    office: b.office.clone(),
                    box_id: b.id.clone(),
                    area,
                    name,
                    there: b.is_there(),
                    row,
                    alerts: Vec::new(),
                });
            }
        }
        let (mine, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|r| r.office == b.office && r.box_id == b.id);
        rows = others;
        bays.extend(mine.into_iter().map(|r| Bay {
            office: r.office.clone(),
            box_id: r.box_id.clone(),
            area: r.area.clone(),
            name: r.name.clone(),
            there: b.is_there(),
            row: Some(r),
            alerts: Vec::new(),
        }));
    }
    let mut offices: Vec<String> = bays.iter().map(|b| b.office.clone()).collect();
    offices.dedup();
    for office in offices {
        for (id, rule, severity, key) in db.open_alerts_of(&office).await? {
            // Office, box, camera, area: see `message::describe`.
            let mut key = key.split('|').skip(1);
            let (box_id, area) = (key.next(), key.nth(1));
            let about =
                |b: &&mut Bay| b.office == office && Some(b.area.as_str()) == area && Some(b.box_id.as_str()) == box_id;
            if let Some(bay) = bays.iter_mut().find(about) {
                bay.alerts.push((id, rule, severity));
            }
        }
    }
    Ok(bays)
}

/// The page.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>) -> Answer {
    // The page is taken anew every few seconds while somebody looks.
    super::audit::watched_of(&ctx, "", "yard", "", "").await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let bays = load(&ctx).await.or_problem(&ctx)?;
    let used = bays.iter().filter(|b| b.state() == "occupied").count();
    let bays = html! {
        p { (ctx.t("bay.occupied")) ": " strong { (used) } " / " (bays.len()) }
        @if bays.is_empty() { p.hint { (ctx.t("yard.nothing")) } }
        div data-units=(units(&ctx)) {
            @for (i, b) in bays.iter().enumerate() {
                @if i == 0 || bays[i - 1].office != b.office { h2 { (offices.name(&b.office)) } }
                (card(&ctx, b))
            }
        }
    };
    let content = html! { div #live { (bays) } p.hint { (ctx.t("yard.hint")) } };
    Ok(page(&ctx, ctx.t("yard"), "/yard", &content))
}

fn card(ctx: &Ctx, b: &Bay) -> Markup {
    let body = b.body();
    let occupied = b.state() == "occupied";
    let booking = text(&body, "/data/link/links/0/booking_id").filter(|_| occupied);
    let containers = body.pointer("/data/link/links").and_then(Value::as_array).into_iter().flatten();
    let containers: Vec<&str> = containers
        .filter_map(|l| l.get("containers").and_then(Value::as_array))
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    html! {
        section.bay data-state=(b.state()) aria-label=(b.name) {
            h3 { (b.name) small { " " (b.box_id) } }
            p.line { span.state data-state=(b.state()) { (ctx.value("bay", b.state())) }
                @if let Some(row) = &b.row { (parts::age(ctx, row.since_ms)) small.soft { (parts::time(ctx, row.since_ms)) } } }
            @if !b.there { p.up { (ctx.t("yard.away")) } }
            @if occupied {
                (declarations(ctx, &body))
                p.line.soft { (ctx.t("bay.booking")) ": " @if let Some(id) = &booking { code { (id) } } @else { (ctx.t("none")) } }
                p.line.soft { (ctx.t("bay.vehicle")) ": " (parts::object(ctx, &text(&body, "/data/object/label").unwrap_or_default()))
                    @if !containers.is_empty() { " · " (containers.join(", ")) } }
            }
            @for (id, rule, severity) in &b.alerts { p.line { (parts::severity(ctx, *severity)) a href={ "/alerts/" (id) } { (ctx.value("rule", rule)) } } }
        }
    }
}
