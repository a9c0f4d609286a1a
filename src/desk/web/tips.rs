//! The list of tips.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::Query;
use maud::{Markup, html};

use super::page::{Answer, Ctx, OrProblem, page};
use super::parts::{self, Offices};
use crate::clock::utc_now;
use crate::desk::access::Need;
use crate::desk::calls::called;
use crate::desk::db::tips::{TipRow, Wanted};
use crate::desk::tip::State;

/// Tips on one page.
const LIMIT: i64 = 300;
/// View of those that call for the reader, whatever else is asked: as many as the number beside the menu's entry says.
pub(crate) const CALLS: &str = "calls";

/// The page.
pub(crate) async fn list(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let get = |name: &str| query.get(name).map_or("", |v| v.trim()).to_owned();
    let who = called(&ctx.user);
    let known = |v: &String| v == "all" || (v == CALLS && who.is_some());
    let view = Some(get("view")).filter(|v| known(v) || State::parse(v).is_some()).unwrap_or_else(|| "open".into());
    let wanted = Wanted { view, office: get("office"), words: get("q").chars().take(100).collect(), limit: LIMIT };
    super::audit::viewed(&ctx, "tips.list", "", &wanted.words).await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let db = &ctx.room.db;
    let tips = match who.as_ref().filter(|_| wanted.view == CALLS) {
        Some(who) => db.tips_calling(who, LIMIT).await.or_problem(&ctx)?,
        None => db.tips(&ctx.user.scope, &wanted).await.or_problem(&ctx)?,
    };
    let mut views = vec![("open".to_owned(), ctx.value("view", "open")), ("all".to_owned(), ctx.t("all").to_owned())];
    if who.is_some() {
        views.insert(0, (CALLS.to_owned(), ctx.t("calls").to_owned()));
    }
    views.extend(parts::options(&ctx, "tip_state", &State::ALL.map(State::as_str)));
    let content = html! {
        form.filters method="get" action="/tips" role="search" {
            label { (ctx.t("state")) (parts::select("view", &wanted.view, None, &views)) }
            label { (ctx.t("tip.target")) (parts::select("office", &wanted.office, Some(ctx.t("all")), &offices.options(&ctx))) }
            label { (ctx.t("search")) input type="search" name="q" value=(wanted.words); }
            button { (ctx.t("filter")) }
            @if ctx.may(Need::DraftTips) { a.button href="/tips/new" { (ctx.t("tip.new")) } }
        }
        @if tips.is_empty() { p.hint { (ctx.t("nothing")) } } @else { (table(&ctx, &offices, &tips)) }
    };
    Ok(page(&ctx, ctx.t("tips"), "/tips", &content))
}

/// Tips as a table; also behind the figures of a report.
pub(crate) fn table(ctx: &Ctx, offices: &Offices, tips: &[TipRow]) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            thead { tr { th scope="col" { (ctx.t("tip.number")) } th scope="col" { (ctx.t("state")) } th scope="col" { (ctx.t("declaration")) }
                th scope="col" { (ctx.t("tip.subject")) } th scope="col" { (ctx.t("tip.target")) } th scope="col" { (ctx.t("tip.issued")) }
                th scope="col" { (ctx.t("tip.due")) } th scope="col" { (ctx.t("result")) } } }
            tbody { @for t in tips {
                tr { td { a href={ "/tips/" (t.id) } { (t.number) } }
                    td { (ctx.value("tip_state", &t.state)) " " (late(ctx, t)) }
                    td { @if let Some(key) = &t.decl_key { (parts::declaration(key)) } @else { (t.containers) " " (t.plates) } }
                    td.wrap { (t.subject) }
                    td { (offices.name(&t.office)) }
                    td { (parts::maybe_time(ctx, t.issued_ms)) }
                    td { (parts::maybe_time(ctx, t.due_ms)) }
                    td { @if let Some(result) = &t.result { (ctx.value("result", result)) } } }
            } }
        } }
    }
}

/// What is late about a tip, in words.
pub(crate) fn late(ctx: &Ctx, t: &TipRow) -> Markup {
    let now = utc_now().0;
    let within = i64::from(ctx.room.config.tips.receive_within_minutes) * 60_000;
    let waits = t.state == State::Issued.as_str() && t.issued_ms.is_some_and(|ms| now - ms > within);
    let open = State::parse(&t.state).is_some_and(State::is_open);
    let over = open && t.due_ms.is_some_and(|due| due < now);
    html! {
        @if waits { span.up { (ctx.t("tip.not_received")) } }
        @if over { span.up { (ctx.t("tip.overdue")) } }
    }
}
