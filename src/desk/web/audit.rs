//! The audit page: who saw, decided and exported what, and whether the chain is whole. Also how pages write down that
//! they were looked at.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::Query;
use maud::html;

use super::page::{Answer, Ctx, OrProblem, page};
use super::parts;
use crate::desk::db::DbError;
use crate::desk::db::audit::Act;

/// Writes down that something was looked at that belongs to no office in particular.
pub(crate) async fn viewed(ctx: &Ctx, action: &str, object: &str, detail: &str) -> Result<(), DbError> {
    viewed_of(ctx, "", action, object, detail).await
}

/// Writes down that something of an office was looked at.
pub(crate) async fn viewed_of(
    ctx: &Ctx,
    office: &str,
    action: &str,
    object: &str,
    detail: &str,
) -> Result<(), DbError> {
    ctx.room.db.audit(Act { account: &ctx.user.name, office, action, object, detail }).await
}

/// The page.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let words = query.get("q").map_or("", |v| v.trim());
    let before = query.get("before").and_then(|b| b.parse().ok()).unwrap_or(i64::MAX);
    viewed(&ctx, "audit", "", words).await.or_problem(&ctx)?;
    let db = &ctx.room.db;
    let rows = db.audit_rows(&ctx.user.scope, words, before).await.or_problem(&ctx)?;
    let whole = db.audit_whole().await.or_problem(&ctx)?;
    let oldest = rows.last().map(|r| r.seq);
    let content = html! {
        @match whole {
            Ok(n) => p.good { (ctx.t("audit.whole")) " " (n) },
            Err(n) => p.alarm role="alert" { (ctx.t("audit.broken")) " " (n) },
        }
        form.filters method="get" action="/audit" role="search" {
            label { (ctx.t("search")) input type="search" name="q" value=(words); }
            button { (ctx.t("search")) }
        }
        div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            thead { tr { th scope="col" { "#" } th scope="col" { (ctx.t("when")) } th scope="col" { (ctx.t("who")) }
                th scope="col" { (ctx.t("what")) } th scope="col" { (ctx.t("audit.object")) } th scope="col" { (ctx.t("office")) }
                th scope="col" { (ctx.t("audit.detail")) } } }
            tbody { @for r in &rows {
                tr { td.num { (r.seq) } td { (parts::time(&ctx, r.at_ms)) }
                    td { @if r.account.is_empty() { (ctx.t("desk_itself")) } @else { (r.account) } }
                    td { code { (r.action) } } td { code { (r.object) } } td { (r.office) } td.wrap { (r.detail) } }
            } }
        } }
        @if let Some(oldest) = oldest.filter(|_| rows.len() >= 300) {
            p { a href={ "/audit?before=" (oldest) "&q=" (super::alerts::escaped(words)) } { (ctx.t("audit.older")) } }
        }
    };
    Ok(page(&ctx, ctx.t("audit"), "/audit", &content))
}
