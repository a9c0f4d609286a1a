//! In front of every page: who is it, may he, and headers that keep a browser from doing what no page of ours asks for.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::calls::Glance;
use super::page::{Ctx, Problem, language_of};
use super::server::Peer;
use crate::clock::utc_now;
use crate::desk::access::{Need, Role, User, need_of};
use crate::desk::db::{DbError, Scope, within};
use crate::desk::room::{Room, digest};

/// Name of the session's cookie. The prefix makes browsers insist on `Secure` and on this host; over plain loopback it
/// cannot be used.
const COOKIE: &str = "gw-session";
const SECURE_COOKIE: &str = "__Host-gw-session";
/// `seen` of a session is written this often, milliseconds: not with every picture of a page.
const TOUCH_MS: i64 = 60_000;
/// It is known within this who asks.
const KNOWN_WITHIN: Duration = Duration::from_secs(40);
/// A page begins to come within this: more than the longest report and the slowest box take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(330);
/// Pages take script, styles, pictures and video from here only, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Whether cookies may carry `Secure`: the browser speaks TLS, with us or with the proxy.
pub(crate) fn is_secure(room: &Room) -> bool {
    room.config.http.tls_cert_file.is_some() || room.config.http.behind_proxy
}

/// `Set-Cookie` of a session; an empty token ends it.
pub(crate) fn session_cookie(room: &Room, token: &str) -> String {
    let (name, secure) = if is_secure(room) { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
    let age = if token.is_empty() { 0 } else { room.config.http.session_hours * 3600 };
    format!("{name}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    all.filter_map(|pair| pair.trim().split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value)
}

/// Lets a request through, or says why not.
pub(crate) async fn guard(State(room): State<Arc<Room>>, mut request: Request, next: Next) -> Response {
    let language = language_of(&room, request.headers());
    // A zero byte is in nothing that anybody looks for, and PostgreSQL does not take it.
    if request.uri().path_and_query().is_some_and(|asked| asked.as_str().contains("%00")) {
        return Problem::bad_form(language).into_response();
    }
    let method = if request.method() == Method::HEAD { "GET" } else { request.method().as_str() };
    let path = request.extensions().get::<MatchedPath>().map(|p| p.as_str().to_owned()).unwrap_or_default();
    let Some(need) = need_of(method, &path) else { return Problem::denied(language).into_response() };
    if need == Need::Nobody {
        return next.run(request).await;
    }
    let user = match within(KNOWN_WITHIN, user_of(&room, request.headers())).await {
        Ok(Some(user)) => user,
        Ok(None) if request.method() == Method::GET => return Redirect::to("/login").into_response(),
        Ok(None) => return Problem::signed_out(language).into_response(),
        Err(error) => return Problem::from_db(language, &error).into_response(),
    };
    if user.must_change && !matches!(path.as_str(), "/password" | "/logout") {
        return Redirect::to("/password").into_response();
    }
    if !user.role.may(need) {
        return Problem::denied(language).into_response();
    }
    let calls = if shows_page(&request) { glance(&room, &user).await } else { None };
    request.extensions_mut().insert(Ctx { room, user, language, calls });
    // What waits for a database that is gone keeps its connection from others.
    let answer = tokio::time::timeout(ANSWERED_WITHIN, next.run(request)).await;
    answer.unwrap_or_else(|_| Problem::from_db(language, &DbError::Gone).into_response())
}

/// Whether a browser wants a page to show, and not a picture or a part of a video, nor sends a form.
fn shows_page(request: &Request) -> bool {
    let accepted = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok());
    request.method() == Method::GET && accepted.is_some_and(|a| a.contains("text/html"))
}

/// Tips that call for him. A page without their number is better than none.
async fn glance(room: &Room, user: &User) -> Option<Glance> {
    Glance::of(&room.db, user).await.unwrap_or_else(|error| {
        tracing::warn!(%error, account = user.name, "it cannot be counted which tips call");
        None
    })
}

/// Who the session's cookie says it is.
pub(crate) async fn user_of(room: &Room, headers: &HeaderMap) -> Result<Option<User>, DbError> {
    let name = if is_secure(room) { SECURE_COOKIE } else { COOKIE };
    let Some(token) = cookie(headers, name).filter(|t| !t.is_empty()) else { return Ok(None) };
    let token = digest(token);
    let Some(session) = room.db.session(&token).await? else { return Ok(None) };
    let now = utc_now().0;
    let (began, used) = good_since(room, now);
    let (too_old, idle) = (session.created_ms < began, session.seen_ms < used);
    // Behind a proxy that signs people in, a session is good only while it names the same person.
    let other = room
        .config
        .http
        .sign_on_header
        .as_ref()
        .is_some_and(|h| named_by(headers, h) != Some(session.account.as_str()));
    let Some(role) = Role::parse(&session.role).filter(|_| !too_old && !idle && !other) else { return Ok(None) };
    if now - session.seen_ms > TOUCH_MS {
        room.db.touch_session(&token, now).await?;
    }
    Ok(Some(User {
        name: session.account,
        display: session.display,
        role,
        scope: Scope::parse(&session.offices),
        csrf: session.csrf,
        session: token,
        must_change: session.must_change != 0 && room.config.http.sign_on_header.is_none(),
    }))
}

/// A session is good that began after the first of these moments and was used after the second.
pub(crate) fn good_since(room: &Room, now_ms: i64) -> (i64, i64) {
    let http = &room.config.http;
    (now_ms - i64::from(http.session_hours) * 3_600_000, now_ms - i64::from(http.idle_minutes) * 60_000)
}

/// Whom the proxy names in its header; `None` when it names nobody, or more than one.
pub(crate) fn named_by<'a>(headers: &'a HeaderMap, header: &str) -> Option<&'a str> {
    let mut all = headers.get_all(header).iter();
    let name = all.next()?.to_str().ok()?.trim();
    (all.next().is_none() && !name.is_empty()).then_some(name)
}

/// Where a request comes from: the peer, or whom a declared proxy names.
pub(crate) fn address_of(room: &Room, peer: Option<&ConnectInfo<Peer>>, headers: &HeaderMap) -> String {
    // The proxy adds the last one; what stands before it anybody may have written, also into a line of its own.
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    let forwarded = last.and_then(|v| v.to_str().ok()).and_then(|v| v.rsplit(',').next());
    match forwarded.filter(|_| room.config.http.behind_proxy) {
        Some(address) => address.trim().to_owned(),
        None => peer.map_or_else(|| "unknown".into(), |p| p.0.0.ip().to_string()),
    }
}

/// Headers of every answer.
pub(crate) async fn headers(State(room): State<Arc<Room>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if is_secure(&room) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ask, room, sign_in_as};
    use super::*;

    #[tokio::test]
    async fn an_address_is_what_the_proxy_added_and_nothing_that_was_there_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut room = Arc::into_inner(room(dir.path()).await).unwrap();
        let mut headers = HeaderMap::new();
        for line in ["192.0.2.1", "192.0.2.2, 192.0.2.3"] {
            headers.append("x-forwarded-for", HeaderValue::from_static(line));
        }
        assert_eq!(address_of(&room, None, &headers), "unknown", "no proxy is declared");
        room.config.http.behind_proxy = true;
        assert_eq!(address_of(&room, None, &headers), "192.0.2.3");
    }

    #[tokio::test]
    async fn calls_are_counted_for_pages_that_are_shown_and_no_request_fails_with_them() {
        let asks = |method: Method, accept: &str| {
            let request = Request::builder().method(method).uri("/tips").header(header::ACCEPT, accept);
            shows_page(&request.body(axum::body::Body::empty()).unwrap())
        };
        assert!(asks(Method::GET, "text/html,application/xhtml+xml"));
        assert!(!asks(Method::GET, "image/avif,*/*") && !asks(Method::POST, "text/html"));
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        let user = User { role: Role::Field, ..crate::desk::access::tests::user() };
        assert!(glance(&room, &user).await.is_some());
        room.db.close().await;
        assert!(glance(&room, &user).await.is_none());
    }

    #[tokio::test]
    async fn a_zero_byte_is_refused_before_anything_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        let who = sign_in_as(&room, Role::Officer, "an", 0).await;
        for path in ["/alerts?q=%00", "/alerts?office=15BB%00", "/alerts/%00", "/tips?q=a%00b"] {
            assert_eq!(ask(&room, "GET", path, Some(&who), "").await.0, 400, "{path}");
        }
        assert_eq!(ask(&room, "GET", "/alerts?q=%2500", Some(&who), "").await.0, 200);
    }
}
