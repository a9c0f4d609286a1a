//! Figures that were printed: kept whole, with the offices they are of and how rates were cut, for whoever sees those offices; and
//! beside them what they would be now, counted over the same offices in the same way.

use axum::Extension;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, page};
use super::parts::{self, Offices};
use super::report_cameras::camera_part;
use super::report_figures::{Report, alert_lines, lines, mode_words, part_tables};
use super::reports::{Asked, made};
use crate::clock::utc_now;
use crate::desk::config::PercentMode;
use crate::desk::db::audit::Act;
use crate::desk::db::snapshots::Snapshot;
use crate::desk::db::{DbError, Scope};
use crate::desk::room::new_id;

/// Printed reports that are looked through for a period.
const SEARCHED: i64 = 1000;
/// Other ones that are listed.
const LISTED: usize = 30;

/// Keeps the report as it is printed now.
pub(crate) async fn print(post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let asked = Asked::sent(&post)?;
    let (report, _, _) = made(ctx, &asked, &ctx.user.scope).await.or_problem(ctx)?;
    let now = utc_now().0;
    let snapshot = Snapshot {
        id: new_id(now),
        title: asked.title(ctx),
        query: asked.address(),
        printed_ms: now,
        account: ctx.user.name.clone(),
        figures: serde_json::to_string(&report).unwrap_or_default(),
        scope: ctx.user.scope.0.clone(),
    };
    let mut tx = ctx.room.db.write().await.or_problem(ctx)?;
    tx.add_snapshot(&snapshot).await.or_problem(ctx)?;
    let (account, object) = (&ctx.user.name, &snapshot.query);
    let act = Act { account, office: "", action: "report.print", object, detail: &snapshot.id };
    tx.audit(act).await.or_problem(ctx)?;
    tx.commit().await.or_problem(ctx)?;
    Ok(Redirect::to(&format!("/reports/printed/{}", snapshot.id)).into_response())
}

/// Who sees all offices that it is of; where an older desk did not say which, who printed it.
fn is_seen(ctx: &Ctx, s: &Snapshot) -> bool {
    if s.scope.is_empty() { s.account == ctx.user.name } else { ctx.user.scope.covers(&Scope(s.scope.clone())) }
}

/// What a printed report was asked for.
fn asked_of(ctx: &Ctx, s: &Snapshot) -> Answer<Asked> {
    let pairs = s.query.split('&').filter_map(|p| p.split_once('='));
    Asked::read(ctx, &pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
}

/// Printed reports: those of what is shown first, then others.
pub(crate) async fn list(ctx: &Ctx, asked: &Asked) -> Result<Markup, DbError> {
    let all = ctx.room.db.snapshots(SEARCHED).await?;
    let seen = all.iter().filter(|s| is_seen(ctx, s));
    let same = |s: &&Snapshot| asked_of(ctx, s).is_ok_and(|a| a.is_same(asked));
    let (these, others): (Vec<_>, Vec<_>) = seen.partition(same);
    let item = |s: &Snapshot| {
        html! { li { a href={ "/reports/printed/" (s.id) } { (s.title) } " · " (parts::time(ctx, s.printed_ms)) " · " (s.account) } }
    };
    Ok(html! {
        @if !these.is_empty() { p.up { (ctx.t("report.printed_this")) } ul { @for s in &these { (item(s)) } } }
        @if !others.is_empty() {
            h2.noprint { (ctx.t("report.printed")) }
            ul.noprint { @for s in others.iter().take(LISTED) { (item(s)) } }
        }
    })
}

/// A printed report beside what it would be now.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>, Path(id): Path<String>) -> Answer {
    let found = ctx.room.db.snapshot(&id).await.or_problem(&ctx)?.filter(|s| is_seen(&ctx, s));
    let snapshot = found.or_problem(&ctx)?;
    super::audit::viewed(&ctx, "report.printed", &snapshot.query, &snapshot.id).await.or_problem(&ctx)?;
    let asked = asked_of(&ctx, &snapshot)?;
    let scope = if snapshot.scope.is_empty() { ctx.user.scope.clone() } else { Scope(snapshot.scope.clone()) };
    let (now, _, _) = made(&ctx, &asked, &scope).await.or_problem(&ctx)?;
    let then = Report::read(&snapshot.figures);
    let mode = then.mode.unwrap_or(ctx.room.config.reports.percent);
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let content = html! {
        p { (ctx.t("report.printed_at")) " " (parts::time(&ctx, snapshot.printed_ms)) " · " (snapshot.account)
            @if !snapshot.scope.is_empty() { " · " (ctx.t("office")) " " (scope.shown()) }
            " · " a href={ "/reports?" (asked.address()) } { (ctx.t("act.open")) } }
        (compared(&ctx, &asked, mode, &then, &now))
        p.hint { (mode_words(&ctx, mode)) " " (snapshot.id) }
        (part_tables(&ctx, &offices, &then, mode, &asked, Some(&now)))
        (camera_part(&ctx, &offices, &asked, &then.cameras, Some(&now.cameras)))
    };
    Ok(page(&ctx, &snapshot.title, "/reports", &content))
}

/// Every figure then and now; what it is now opens its list.
fn compared(ctx: &Ctx, asked: &Asked, mode: PercentMode, then: &Report, now: &Report) -> Markup {
    let tips = lines(&then.figures).into_iter().zip(lines(&now.figures));
    let tips = tips.map(|(then, now)| {
        let to = format!("/reports/tips?{}&list={}", asked.address(), now.list);
        (ctx.t(then.label).to_owned(), then.value.text(ctx, mode), now.value.text(ctx, mode), to)
    });
    let counted = |r: &Report| r.alerts.as_ref().map(|a| alert_lines(ctx, a)).unwrap_or_default();
    let alerts = counted(then).into_iter().zip(counted(now)).map(|((act, reason, label, then), (.., now))| {
        let to = format!("/reports/alerts?{}&list={act}&reason={reason}", asked.address());
        (label, then.to_string(), now.to_string(), to)
    });
    html! {
        div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            thead { tr { th scope="col" { (ctx.t("report.measure")) } th.num scope="col" { (ctx.t("report.then")) } th.num scope="col" { (ctx.t("report.now")) } } }
            tbody { @for (label, then, now, to) in tips.chain(alerts) {
                tr { th scope="row" { (label) } td.num { (then) } td.num { a href=(to) { @if then == now { (now) } @else { strong { (now) } } } } }
            } }
        } }
    }
}
