//! Reports on cameras: how much of the time they were analysed, by office with the list behind it, on the page and in files. What
//! is known of them is noted by `desk/availability.rs`; those that boxes have and of which nothing is known are told as well. Boxes
//! say it in hundredths, so whole per cents are shown, cut off.

use std::collections::{BTreeSet, HashMap};

use axum::Extension;
use axum::extract::Query;
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::page::{Answer, Ctx, OrProblem, page};
use super::parts::Offices;
use super::reports::{Asked, duty_days};
use super::sheet::{Cell, Rows};
use crate::clock::utc_now;
use crate::desk::availability::{HOUR_MS, cameras_of};
use crate::desk::db::alert_figures::Counted;
use crate::desk::db::availability::CameraShare;
use crate::desk::db::places::BoxRow;
use crate::desk::db::{DbError, Scope};

/// Columns about cameras.
const COLUMNS: [&str; 4] = ["report.cameras", "report.watched", "report.hours", "report.all_hours"];

/// How much of the time the cameras of an office were analysed, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cameras {
    pub office: String,
    pub cameras: i64,
    /// Hours of all cameras of which their boxes said it.
    pub hours: i64,
    /// Sum over them, permille.
    pub permille: i64,
    /// Hours that there were for them in the period, until now.
    pub all_hours: i64,
}

impl Cameras {
    /// By office.
    pub(crate) fn of(shares: &[CameraShare], hours_each: i64) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for share in shares {
            // They come in the order of their offices.
            if all.last().is_none_or(|last| last.office != share.office) {
                all.push(Self { office: share.office.clone(), ..Self::default() });
            }
            let Some(last) = all.last_mut() else { continue };
            last.cameras += 1;
            last.hours += share.hours;
            last.permille += share.permille;
            last.all_hours += hours_each;
        }
        all
    }
}

/// What is known of each camera in the period, in the order of their offices; also of those that boxes have now and of which
/// nothing is.
pub(super) async fn camera_shares(ctx: &Ctx, asked: &Asked, scope: &Scope) -> Result<Vec<CameraShare>, DbError> {
    let (from, to) = duty_days(ctx, asked);
    let counted = Counted { scope, office: &asked.office, from: &from, to: &to };
    let mut shares = ctx.room.db.camera_shares(&counted).await?;
    let boxes = ctx.room.db.boxes(scope).await?;
    // One that is out of use has no cameras that anybody misses.
    let boxes: Vec<BoxRow> = boxes.into_iter().filter(|b| b.gone_ms.is_none()).collect();
    let key = |s: &CameraShare| (s.office.clone(), s.box_id.clone(), s.camera.clone());
    let known: BTreeSet<_> = shares.iter().map(key).collect();
    for ((office, box_id), cameras) in cameras_of(&boxes) {
        let all = cameras.into_iter().filter(|_| asked.office.is_empty() || asked.office == office);
        let none = |camera| CameraShare { office: office.into(), box_id: box_id.into(), camera, hours: 0, permille: 0 };
        shares.extend(all.map(none).filter(|s| !known.contains(&key(s))));
    }
    shares.sort_by_cached_key(key);
    Ok(shares)
}

/// Full hours of the period until now.
pub(super) fn hours_of(asked: &Asked) -> i64 {
    (asked.period.to_ms.min(utc_now().0) - asked.period.from_ms).max(0) / HOUR_MS
}

/// How much of the time cameras were analysed, each office with its list. `now`: what it would be now, beside what was printed: that
/// has no list any more.
pub(crate) fn camera_part(
    ctx: &Ctx,
    offices: &Offices,
    asked: &Asked,
    all: &[Cameras],
    now: Option<&[Cameras]>,
) -> Markup {
    html! {
        @if !all.is_empty() {
            h2 { (ctx.t("report.availability")) }
            p.hint { (ctx.t("report.availability_how")) }
            div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
                thead { tr { th scope="col" { (ctx.t("office")) } @for key in COLUMNS { th.num scope="col" { (ctx.t(key)) } }
                    @if now.is_some() { th scope="col" { (ctx.t("report.now")) } } } }
                tbody { @for c in all {
                    @let there = |text: String| html! { @if now.is_some() { (text) } @else { a href={ "/reports/cameras?" (asked.of("office", &c.office)) } { (text) } } };
                    tr { th scope="row" { (offices.name(&c.office)) } td.num { (there(c.cameras.to_string())) }
                        td.num { (there(watched(c.permille, c.hours))) }
                        td.num { (there(c.hours.to_string())) } td.num { (there(c.all_hours.to_string())) }
                        @if let Some(now) = now { td { @if now.contains(c) { (ctx.t("report.same")) } @else { strong { (ctx.t("report.changed")) } } } } }
                } }
            } }
        }
    }
}

/// The part of the known hours that was analysed, per cent.
fn part(permille: i64, hours: i64) -> Option<i64> {
    (permille * 100).checked_div(hours * 1000)
}

fn watched(permille: i64, hours: i64) -> String {
    part(permille, hours).map_or_else(|| "–".into(), |n| format!("{n} %"))
}

/// The same as rows of a file.
pub(crate) fn camera_rows(ctx: &Ctx, offices: &Offices, all: &[Cameras]) -> Rows {
    if all.is_empty() {
        return Rows::new();
    }
    let head = [ctx.t("report.availability")].into_iter().chain(COLUMNS.map(|key| ctx.t(key)));
    let mut rows: Rows = vec![head.map(Cell::from).collect()];
    for c in all {
        let part = part(c.permille, c.hours).map_or_else(|| "–".into(), Cell::from);
        rows.push(vec![offices.name(&c.office).into(), c.cameras.into(), part, c.hours.into(), c.all_hours.into()]);
    }
    rows
}

/// The cameras behind a figure.
pub(crate) async fn list(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let asked = Asked::read(&ctx, &query)?;
    super::audit::viewed(&ctx, "report.cameras", &asked.address(), "").await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let shares = camera_shares(&ctx, &asked, &ctx.user.scope).await.or_problem(&ctx)?;
    let hours = hours_of(&asked);
    let content = html! {
        p { a href={ "/reports?" (asked.address()) } { (asked.title(&ctx)) } " · " strong { (ctx.t("report.cameras")) ": " (shares.len()) } }
        p.hint { (ctx.t("report.availability_how")) }
        div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            thead { tr { th scope="col" { (ctx.t("camera")) } th scope="col" { (ctx.t("box")) } th scope="col" { (ctx.t("office")) }
                @for key in &COLUMNS[1..] { th.num scope="col" { (ctx.t(key)) } } } }
            tbody { @for s in &shares {
                tr { th scope="row" { (s.camera) } td { (s.box_id) } td { (offices.name(&s.office)) }
                    td.num { (watched(s.permille, s.hours)) } td.num { (s.hours) } td.num { (hours) } }
            } }
        } }
    };
    Ok(page(&ctx, ctx.t("report.availability"), "/reports", &content))
}
