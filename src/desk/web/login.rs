//! Signing in and out, choosing a password and a language.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{ConnectInfo, Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use subtle::ConstantTimeEq;

use super::accounts::is_name;
use super::form::Post;
use super::guard::{address_of, cookie, good_since, is_secure, named_by, session_cookie, user_of};
use super::page::{Answer, Ctx, LANGUAGE_COOKIE, OrProblem, Problem, document, language_of, page, switch, token};
use super::server::Peer;
use crate::clock::utc_now;
use crate::desk::access::Need;
use crate::desk::db::audit::Act;
use crate::desk::db::{DbError, Tx};
use crate::desk::password;
use crate::desk::room::{Room, digest};
use crate::desk::words::term;

/// Cookie that ties a sign-in form to the browser it was sent to: nobody signs somebody else in.
const FORM_COOKIE: &str = "gw-form";
/// In the address of the sign-in page of somebody who has just signed out.
const OUT: &str = "out";

/// The sign-in page. Where a declared proxy has signed somebody in, a session of his account begins instead.
pub(crate) async fn form(
    State(room): State<Arc<Room>>,
    peer: Option<Extension<ConnectInfo<Peer>>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let language = language_of(&room, &headers);
    let Some(header) = &room.config.http.sign_on_header else {
        return sign_in_page(&room, language, StatusCode::OK, None);
    };
    if query.contains_key(OUT) {
        return out_page(language).into_response();
    }
    let Some(name) = named_by(&headers, header) else { return Problem::no_account(language).into_response() };
    let address = address_of(&room, peer.as_ref().map(|e| &e.0), &headers);
    // Who is signed in already gets no second session, however often he opens this page.
    match user_of(&room, &headers).await {
        Ok(Some(_)) => return Redirect::to("/").into_response(),
        Ok(None) => {}
        Err(error) => return Problem::from_db(language, &error).into_response(),
    }
    match begin_named(&room, name, &address).await {
        Ok(Some(cookie)) => (AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to("/")).into_response(),
        Ok(None) => Problem::no_account(language).into_response(),
        Err(error) => Problem::from_db(language, &error).into_response(),
    }
}

/// After signing out, where the proxy would sign in again at once.
fn out_page(language: &'static str) -> Markup {
    let content = html! {
        main #main .narrow tabindex="-1" {
            h1 { (term(language, "login.out")) }
            p { a.button href="/login" { (term(language, "login.title")) } }
        }
    };
    document(language, term(language, "login.out"), &html! { div.who { (switch(language)) } }, &content)
}

fn sign_in_page(room: &Room, language: &'static str, status: StatusCode, problem: Option<&str>) -> Response {
    let t = |key| term(language, key);
    let secret = password::token();
    let content = html! {
        main #main .narrow tabindex="-1" {
            h1 { (t("login.title")) }
            @if let Some(problem) = problem { p.alarm role="alert" { (problem) } }
            form.stack method="post" action="/login" {
                input type="hidden" name="form" value=(secret);
                label { (t("login.name")) input name="name" autocomplete="username" required autofocus; }
                label { (t("login.password")) input name="password" type="password" autocomplete="current-password" required; }
                button.main { (t("login.title")) }
            }
        }
    };
    let menu = html! { div.who { (switch(language)) } };
    let secure = if is_secure(room) { "; Secure" } else { "" };
    let cookie = format!("{FORM_COOKIE}={secret}; Path=/login; HttpOnly; SameSite=Strict{secure}");
    (status, AppendHeaders([(header::SET_COOKIE, cookie)]), document(language, t("login.title"), &menu, &content))
        .into_response()
}

/// Checks name and password; begins a session.
pub(crate) async fn sign_in(
    State(room): State<Arc<Room>>,
    peer: Option<Extension<ConnectInfo<Peer>>>,
    headers: HeaderMap,
    Form(fields): Form<HashMap<String, String>>,
) -> Response {
    let language = language_of(&room, &headers);
    if room.config.http.sign_on_header.is_some() {
        return Problem::denied(language).into_response();
    }
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let (sent, kept) = (field("form"), cookie(&headers, FORM_COOKIE).unwrap_or_default());
    if sent.is_empty() || !bool::from(sent.as_bytes().ct_eq(kept.as_bytes())) {
        return Problem::csrf(language).into_response();
    }
    let name = field("name").trim().to_lowercase();
    let address = address_of(&room, peer.as_ref().map(|e| &e.0), &headers);
    // What cannot be an account is nobody's: it is not looked for, and takes no memory.
    let name = if is_name(&name) { name } else { String::new() };
    let keys = [format!("name {name}"), format!("address {address}")];
    if let Err(seconds) = room.throttle.begin(if name.is_empty() { &keys[1..] } else { &keys[..] }) {
        let says = format!("{} {seconds}", term(language, "login.wait"));
        return sign_in_page(&room, language, StatusCode::TOO_MANY_REQUESTS, Some(&says));
    }
    match begin_session(&room, &name, field("password"), &address).await {
        Ok(Some(cookie)) => {
            room.throttle.succeeded(&keys[0], &keys[1]);
            (AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to("/")).into_response()
        }
        Ok(None) => sign_in_page(&room, language, StatusCode::UNAUTHORIZED, Some(term(language, "login.wrong"))),
        Err(error) => Problem::from_db(language, &error).into_response(),
    }
}

/// The cookie of a new session; `None` for a wrong name, which may be empty, or password.
async fn begin_session(room: &Room, name: &str, secret: String, address: &str) -> Result<Option<String>, DbError> {
    let account = room.db.account(name).await?.filter(|a| a.disabled == 0);
    let right = password::is_right(secret, account.as_ref().map(|a| a.password.clone())).await;
    let mut tx = room.db.write().await?;
    let action = if right { "sign_in" } else { "sign_in.refused" };
    tx.audit(Act { account: if right { name } else { "" }, office: "", action, object: name, detail: address }).await?;
    let cookie = if right { Some(session_cookie(room, &add_session(room, &mut tx, name).await?)) } else { None };
    tx.commit().await?;
    Ok(cookie)
}

/// The token of a new session; those that are over are forgotten with it.
async fn add_session(room: &Room, tx: &mut Tx, name: &str) -> Result<String, DbError> {
    let (now, secret) = (utc_now().0, password::token());
    let (began, used) = good_since(room, now);
    tx.forget_sessions(began, used).await?;
    tx.add_session(&digest(&secret), name, &password::token(), now).await?;
    Ok(secret)
}

/// The cookie of a session of whom the proxy names; `None` when he has no account here. That is written down as often as
/// somebody may try a password, so that a page that asks on and on does not fill the audit.
async fn begin_named(room: &Room, name: &str, address: &str) -> Result<Option<String>, DbError> {
    let known = is_name(name) && room.db.account(name).await?.is_some_and(|a| a.disabled == 0);
    let said: String = name.chars().take(64).collect();
    if !known && room.throttle.begin(&[format!("proxy {said}")]).is_err() {
        return Ok(None);
    }
    let mut tx = room.db.write().await?;
    let action = if known { "sign_in" } else { "sign_in.refused" };
    let detail = format!("proxy {address}");
    tx.audit(Act { account: if known { name } else { "" }, office: "", action, object: &said, detail: &detail })
        .await?;
    let secret = if known { Some(add_session(room, &mut tx, name).await?) } else { None };
    tx.commit().await?;
    Ok(secret.map(|secret| session_cookie(room, &secret)))
}

/// Ends the session.
pub(crate) async fn sign_out(post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let mut tx = ctx.room.db.write().await.or_problem(ctx)?;
    tx.end_session(&ctx.user.session).await.or_problem(ctx)?;
    let act = Act { account: &ctx.user.name, office: "", action: "sign_out", object: &ctx.user.name, detail: "" };
    tx.audit(act).await.or_problem(ctx)?;
    tx.commit().await.or_problem(ctx)?;
    Ok((AppendHeaders([(header::SET_COOKIE, session_cookie(&ctx.room, ""))]), Redirect::to(&format!("/login?{OUT}")))
        .into_response())
}

/// The first page somebody may see.
pub(crate) async fn home(Extension(ctx): Extension<Ctx>) -> Redirect {
    let pages = [("/alerts", Need::ViewAlerts), ("/accounts", Need::Accounts), ("/devices", Need::Devices)];
    let first = pages.into_iter().find(|(_, need)| ctx.may(*need));
    Redirect::to(first.map_or("/password", |(path, _)| path))
}

/// The page to choose a password on.
pub(crate) async fn password_form(Extension(ctx): Extension<Ctx>) -> Markup {
    password_page(&ctx, None)
}

fn password_page(ctx: &Ctx, problem: Option<&'static str>) -> Markup {
    let field = |key: &str, name: &str, auto: &str| {
        html! {
            label { (ctx.t(key)) input name=(name) type="password" autocomplete=(auto) required; }
        }
    };
    let content = html! {
        @if ctx.user.must_change { p { (ctx.t("password.first")) } }
        @if let Some(key) = problem { p.alarm role="alert" { (ctx.t(key)) } }
        form.stack method="post" action="/password" {
            (token(ctx))
            (field("password.now", "now", "current-password"))
            (field("password.new", "new", "new-password"))
            (field("password.again", "again", "new-password"))
            button.main { (ctx.t("save")) }
        }
    };
    page(ctx, ctx.t("password.title"), "/password", &content)
}

/// Takes the chosen password; all other sessions of the account end.
pub(crate) async fn change_password(post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let account = ctx.room.db.account(&ctx.user.name).await.or_problem(ctx)?.or_problem(ctx)?;
    let chosen = post.raw("new");
    let mut problem = password::problem(chosen, post.raw("again"), &account.name);
    if problem.is_none() && chosen == post.raw("now") {
        problem = Some("password.same");
    }
    if problem.is_none() && !password::is_right(post.raw("now").to_owned(), Some(account.password)).await {
        problem = Some("password.wrong");
    }
    if problem.is_some() {
        return Ok((StatusCode::BAD_REQUEST, password_page(ctx, problem)).into_response());
    }
    let hash = password::hash(chosen.to_owned()).await.map_err(|error| {
        tracing::error!(error, "a password cannot be hashed");
        Problem::bad_form(ctx.language)
    })?;
    let mut tx = ctx.room.db.write().await.or_problem(ctx)?;
    tx.set_password(&ctx.user.name, &hash, false, &ctx.user.session).await.or_problem(ctx)?;
    let act = Act { account: &ctx.user.name, office: "", action: "password", object: &ctx.user.name, detail: "" };
    tx.audit(act).await.or_problem(ctx)?;
    tx.commit().await.or_problem(ctx)?;
    Ok(Redirect::to("/").into_response())
}

/// Longest that `/readyz` waits for the database.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// Keeps the chosen language in the browser. Harmless, so that it needs no session.
pub(crate) async fn language(headers: HeaderMap, Form(fields): Form<HashMap<String, String>>) -> Response {
    let chosen = if fields.get("language").is_some_and(|l| l == "en") { "en" } else { "vi" };
    let cookie = format!("{LANGUAGE_COOKIE}={chosen}; Path=/; Max-Age=31536000; SameSite=Strict");
    // Back to the page it was chosen on, as far as that is one of ours.
    let from = headers.get(header::REFERER).and_then(|v| v.to_str().ok()).and_then(|v| v.split_once("://"));
    let path = from.and_then(|(_, rest)| rest.find('/').map(|i| &rest[i..])).filter(|p| !p.starts_with("//"));
    (AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to(path.unwrap_or("/"))).into_response()
}

/// Whether alerts arrive: broker and database are there, and what comes is stored and shown. That pictures cannot be written is said and no more: a proxy must not take the
/// pages of alerts away for it.
pub(crate) async fn ready(State(room): State<Arc<Room>>) -> Response {
    // A database that is gone may not even refuse.
    let database = matches!(tokio::time::timeout(READY_WITHIN, room.db.offices()).await, Ok(Ok(_)));
    let (broker, storing) = (*room.connected.borrow(), room.keeps_up());
    let status = if database && broker && storing { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(serde_json::json!({"database": database, "broker": broker, "storing": storing, "pictures": room.pictures.works()})))
        .into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::super::tests::room;
    use super::*;

    async fn tried(room: &Arc<Room>, name: &str) -> StatusCode {
        let request = Request::builder().method("POST").uri("/login").header(header::COOKIE, "gw-form=f");
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Body::from(format!("form=f&name={name}&password=guess"))).unwrap();
        super::super::router(room.clone()).oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn many_tries_at_once_are_no_more_than_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        let all = futures_util::future::join_all((0..30).map(|_| tried(&room, "an"))).await;
        let looked_at = all.iter().filter(|s| **s == StatusCode::UNAUTHORIZED).count();
        assert_eq!(looked_at, 6, "{all:?}");
        assert!(all.iter().all(|s| [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS].contains(s)), "{all:?}");
    }

    #[tokio::test]
    async fn a_new_session_forgets_those_that_are_over() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        super::super::tests::sign_in_as(&room, crate::desk::access::Role::Officer, "an", 0).await;
        let (began, used) = good_since(&room, utc_now().0);
        let mut tx = room.db.write().await.unwrap();
        for (token, created, seen) in
            [("old", began - 1, used + 9_999), ("idle", used, used - 1), ("good", used, used + 9_999)]
        {
            tx.add_session(token, "an", "", created).await.unwrap();
            let update = "UPDATE session SET seen_ms = $2 WHERE token_sha256 = $1";
            sqlx::query(update).bind(token).bind(seen).execute(&mut *tx).await.unwrap();
        }
        add_session(&room, &mut tx, "an").await.unwrap();
        tx.commit().await.unwrap();
        let left = "SELECT token_sha256 FROM session WHERE LENGTH(token_sha256) < 9";
        let left: Vec<String> = sqlx::query_scalar(left).fetch_all(&room.db.pool).await.unwrap();
        assert_eq!(left, ["good"]);
    }

    #[tokio::test]
    async fn what_can_be_no_account_is_wrong_like_any_other() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        for name in ["%00", &"x".repeat(10_000), "a'b"] {
            assert_eq!(tried(&room, name).await, StatusCode::UNAUTHORIZED);
        }
        let said = "SELECT COUNT(*) FROM audit WHERE action = 'sign_in.refused' AND object = ''";
        let said: i64 = sqlx::query_scalar(said).fetch_one(&room.db.pool).await.unwrap();
        assert_eq!(said, 3);
    }
}
