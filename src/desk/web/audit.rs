//! The audit page: who saw, decided and exported what, and whether the chain is whole. Also how pages write down that
//! they were looked at.

use std::collections::HashMap;
use std::sync::PoisonError;

use axum::Extension;
use axum::extract::Query;
use maud::html;

use super::page::{Answer, Ctx, OrProblem, page};
use super::parts;
use crate::desk::db::DbError;
use crate::desk::db::audit::{Act, Checked};

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

/// As [`viewed_of`], once in a while: of what a player or a page asks for again and again.
pub(crate) async fn watched_of(
    ctx: &Ctx,
    office: &str,
    action: &str,
    object: &str,
    detail: &str,
) -> Result<(), DbError> {
    let what = format!("{action} {object} {detail}");
    if !ctx.room.watched.knows(&ctx.user.name, &what) {
        viewed_of(ctx, office, action, object, detail).await?;
        ctx.room.watched.note(&ctx.user.name, &what);
    }
    Ok(())
}

/// What the chain comes to. All of it is read once, and whenever somebody wants; in between what is new.
async fn whole(ctx: &Ctx, anew: bool) -> Result<Result<Checked, i64>, DbError> {
    let known = || ctx.room.audited.lock().unwrap_or_else(PoisonError::into_inner);
    let before = known().clone();
    let mut found = ctx.room.db.audit_whole(before.as_ref()).await?;
    // What this worker had read must still be there, also when all of it is read again.
    let again = anew && before.is_some() && found.is_ok();
    if again {
        found = ctx.room.db.audit_whole(None).await?;
    }
    match &found {
        Ok(checked) => *known() = Some(checked.clone()),
        // The next look has to find it too.
        Err(_) if again => *known() = None,
        Err(_) => {}
    }
    Ok(found)
}

/// The page.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let words = query.get("q").map_or("", |v| v.trim());
    let before = query.get("before").and_then(|b| b.parse().ok()).unwrap_or(i64::MAX);
    viewed(&ctx, "audit", "", words).await.or_problem(&ctx)?;
    let found = ctx.room.db.audit_rows(&ctx.user.scope, words, before).await.or_problem(&ctx)?;
    let whole = whole(&ctx, query.contains_key("whole")).await.or_problem(&ctx)?;
    let content = html! {
        @match whole {
            Ok(checked) => {
                p.good { (ctx.t("audit.whole")) " " (checked.seq) }
                p.line.soft { (ctx.t("audit.checked")) " " (parts::time(&ctx, checked.at_ms)) a.button href="/audit?whole=1" { (ctx.t("audit.check")) } }
            },
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
            tbody { @for r in &found.rows {
                tr { td.num { (r.seq) } td { (parts::time(&ctx, r.at_ms)) }
                    td { @if r.account.is_empty() { (ctx.t("desk_itself")) } @else { (r.account) } }
                    td { code { (r.action) } } td { code { (r.object) } } td { (r.office) } td.wrap { (r.detail) } }
            } }
        } }
        @if let Some(oldest) = found.older {
            p { (ctx.t("audit.searched")) " " (oldest) ". "
                a href={ "/audit?before=" (oldest) "&q=" (super::alerts::escaped(words)) } { (ctx.t("audit.older")) } }
        }
    };
    Ok(page(&ctx, ctx.t("audit"), "/audit", &content))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::StatusCode;

    use super::super::tests::{ask, room, sign_in_as};
    use crate::desk::access::Role;
    use crate::desk::db::Scope;
    use crate::desk::room::Room;

    /// What the audit says that somebody did, oldest first, without how he came in.
    async fn did(room: &Arc<Room>, who: &str) -> Vec<String> {
        let mut rows = room.db.audit_rows(&Scope::all(), "", i64::MAX).await.unwrap().rows;
        rows.reverse();
        rows.retain(|r| r.account == who);
        rows.into_iter().map(|r| format!("{} {} {}", r.action, r.object, r.detail).trim_end().to_owned()).collect()
    }

    async fn an_alert_with_its_picture(room: &Arc<Room>) -> String {
        let picture = [0xff, 0xd8, 0xff, 0xe0];
        let sha256 = crate::desk::room::digest(picture);
        let mut body = crate::desk::message::tests::body("E1", 1, 1, 4);
        body["data"]["snapshot"] = serde_json::json!({"sha256": sha256});
        let m = crate::desk::message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
        crate::desk::pictures::write(&room.config.desk.dir, &sha256, &picture).await.unwrap();
        let mut tx = room.db.write().await.unwrap();
        tx.add_alert(&crate::desk::message::alert(&m, &room.zone, m.at_ms, 60_000)).await.unwrap();
        tx.add_messages(&[&m], 0).await.unwrap();
        tx.keep_picture("E1", &sha256, 4, 0).await.unwrap();
        tx.commit().await.unwrap();
        format!("/pictures/E1/{sha256}")
    }

    #[tokio::test]
    async fn every_look_at_an_alert_is_written_down_once() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        let picture = an_alert_with_its_picture(&room).await;
        for name in ["an", "binh", "chi"] {
            sign_in_as(&room, Role::Officer, name, 0).await;
        }
        let get = async |who: &str, path: &str| {
            assert_eq!(ask(&room, "GET", path, Some(who), "").await.0, 200, "{path}");
        };
        // By an address that somebody gave him.
        for _ in 0..2 {
            get("an", &picture).await;
        }
        assert_eq!(did(&room, "an").await, [format!("picture.view E1 {}", picture.rsplit('/').next().unwrap())]);
        // With a list whose cards show it, small; and a page that stays open.
        let small = format!("{picture}?list");
        for path in ["/alerts?q=cong", &small, "/alerts/stream?q=cong", "/alerts/stream?q=cong"] {
            get("binh", path).await;
        }
        assert_eq!(did(&room, "binh").await, ["alerts.list  cong", "alerts.watch open cong"]);
        // By itself, or on the alert's page, it is a look of its own.
        let look = format!("picture.view E1 {}", picture.rsplit('/').next().unwrap());
        for path in [&*picture, "/alerts/E1", &picture] {
            get("binh", path).await;
        }
        let looks = did(&room, "binh").await.into_iter().filter(|d| d.starts_with("picture")).collect::<Vec<_>>();
        assert_eq!(looks, std::slice::from_ref(&look));
        // A list's picture without the list.
        sign_in_as(&room, Role::Officer, "dung", 0).await;
        get("dung", &small).await;
        assert_eq!(did(&room, "dung").await, std::slice::from_ref(&look));
        // With a list and an open page that do not show it.
        sign_in_as(&room, Role::Officer, "em", 0).await;
        for path in ["/alerts?q=khong-co", "/alerts/stream?view=open", &small] {
            get("em", path).await;
        }
        assert_eq!(did(&room, "em").await, ["alerts.list  khong-co", "alerts.watch open", &*look]);
        for path in ["/alerts/E1/footage", "/tips/new?alert=E1"] {
            get("chi", path).await;
        }
        assert_eq!(did(&room, "chi").await, ["footage.view E1", "tip.new E1"]);
        // With a list whose card shows a newer one by now.
        let mut tx = room.db.write().await.unwrap();
        tx.keep_picture("E1", &"7".repeat(64), 5, 1).await.unwrap();
        sqlx::query("UPDATE alert SET picture = $1").bind("7".repeat(64)).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        sign_in_as(&room, Role::Officer, "giang", 0).await;
        for path in ["/alerts?q=cong", &small] {
            get("giang", path).await;
        }
        assert_eq!(did(&room, "giang").await, ["alerts.list  cong", &*look]);
    }

    #[tokio::test]
    async fn what_was_changed_is_in_the_audit_with_what_was_before() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        let admin = sign_in_as(&room, Role::Administrator, "admin", 0).await;
        let officer = sign_in_as(&room, Role::Officer, "an", 0).await;
        let seen = version_of_an(&room, &admin).await;
        let form = format!("csrf=form-{admin}&version={seen}&display=X&role=field&offices=15BB&what=save");
        assert_eq!(ask(&room, "POST", "/accounts/an", Some(&admin), &form).await.0, 200);
        let changed = did(&room, "admin").await;
        assert_eq!(changed[1..], ["account.change an role: officer → field; offices: * → ,15BB,"]);
        let role = "UPDATE account SET role = 'officer', offices = '*'";
        sqlx::query(role).execute(&room.db.pool).await.unwrap();
        let officer = sign_in_as(&room, Role::Officer, &format!("{officer}-2"), 0).await;
        let draft = |office: &str| {
            format!("csrf=form-{officer}&version=1&office={office}&suspicion=value&subject=Xe&due=2099-03-03T10:00")
        };
        let to = ask(&room, "POST", "/tips/new", Some(&officer), &draft("15BB")).await.1;
        assert_eq!(ask(&room, "POST", &format!("{to}/edit"), Some(&officer), &draft("20BB")).await.0, 303);
        let did = did(&room, &officer).await;
        assert!(did[0].starts_with("tip.create tip ") && did[0].contains("office:  → 15BB; "), "{did:?}");
        assert!(did[1].starts_with("tip.edit tip ") && did[1].ends_with(" office: 15BB → 20BB"), "{did:?}");
    }

    /// As the form of the account `an` names it.
    async fn version_of_an(room: &Arc<Room>, admin: &str) -> String {
        let page = super::super::tests::page(room, "/accounts", admin).await;
        let (_, form) = page.split_once("action=\"/accounts/an\"").unwrap();
        let (_, version) = form.split_once("name=\"version\" value=\"").unwrap();
        version.split('"').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_form_from_before_an_account_was_disabled_does_not_let_it_in_again() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        let admin = sign_in_as(&room, Role::Administrator, "admin", 0).await;
        sign_in_as(&room, Role::Officer, "an", 0).await;
        let (old, same) = (version_of_an(&room, &admin).await, version_of_an(&room, &admin).await);
        assert_eq!(old, same);
        let save = async |version: &str, more: &str| {
            let form = format!("csrf=form-{admin}&version={version}&display=An&role=officer&offices=*&what=save{more}");
            let status = ask(&room, "POST", "/accounts/an", Some(&admin), &form).await.0;
            (status, room.db.account("an").await.unwrap().unwrap().disabled)
        };
        assert_eq!(save(&old, "&disabled=1").await, (StatusCode::OK, 1));
        assert_eq!(save(&old, "").await, (StatusCode::CONFLICT, 1), "another window");
        assert_eq!(save("", "").await, (StatusCode::CONFLICT, 1));
        assert_eq!(save(&version_of_an(&room, &admin).await, "").await, (StatusCode::OK, 0));
    }

    #[tokio::test]
    async fn a_whole_chain_is_read_in_full_when_somebody_wants() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        let who = sign_in_as(&room, Role::Auditor, "dung", 0).await;
        for path in ["/audit", "/audit"] {
            ask(&room, "GET", path, Some(&who), "").await;
        }
        let checked = || room.audited.lock().unwrap().clone();
        assert_eq!(checked().unwrap().seq, 2);
        sqlx::query("UPDATE audit SET detail = 'x' WHERE seq = 1").execute(&room.db.pool).await.unwrap();
        ask(&room, "GET", "/audit", Some(&who), "").await;
        assert_eq!(checked().unwrap().seq, 3, "only what is new");
        ask(&room, "GET", "/audit?whole=1", Some(&who), "").await;
        assert!(checked().is_none(), "the next look finds it again");
    }
}
