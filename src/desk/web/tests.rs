//! Every route by every role, without a socket: who is let in, who is not, and that no form is taken without its token.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use tokio::sync::{Notify, watch};
use tower::ServiceExt;

use super::router;
use crate::clock::utc_now;
use crate::desk::access::{Need, ROUTES, Role};
use crate::desk::boxes::Boxes;
use crate::desk::config::DeskConfig;
use crate::desk::db::Db;
use crate::desk::db::accounts::Account;
use crate::desk::hub::Hub;
use crate::desk::room::{Room, digest};
use crate::desk::tally::Tally;
use crate::desk::throttle::Throttle;
use crate::desk::watched::Watched;
use crate::event::zone::Zone;

pub(crate) async fn room(dir: &std::path::Path) -> Arc<Room> {
    let mut config = DeskConfig::default();
    config.desk.dir = dir.to_owned();
    Arc::new(Room {
        db: Db::open(&config.database, dir).await.unwrap(),
        zone: Zone::new(&config.desk.time_zone).unwrap(),
        prefix: "gatewatch/v1".into(),
        hub: Hub::default(),
        outgoing: Notify::new(),
        connected: watch::channel(true).1,
        throttle: Throttle::default(),
        tally: Tally::default(),
        boxes: Boxes::default(),
        watched: Watched::default(),
        leads: AtomicBool::new(true),
        audited: Mutex::default(),
        stored: AtomicU64::new(0),
        config,
    })
}

/// Somebody with a session: his token is his name, his form token `form-{name}`.
async fn sign_in(room: &Room, role: Role, must_change: i64) -> String {
    sign_in_as(room, role, &format!("{}-{must_change}", role.as_str().replace('_', "-")), must_change).await
}

pub(crate) async fn sign_in_as(room: &Room, role: Role, name: &str, must_change: i64) -> String {
    let account = Account {
        name: name.into(),
        display: "X".into(),
        password: "none".into(),
        must_change,
        role: role.as_str().into(),
        offices: "*".into(),
        disabled: 0,
    };
    let mut tx = room.db.write().await.unwrap();
    tx.add_account(&account, 0).await.unwrap();
    tx.add_session(&digest(name), name, &format!("form-{name}"), utc_now().0).await.unwrap();
    tx.commit().await.unwrap();
    name.into()
}

/// A route's path with something in its places.
fn filled(path: &str) -> String {
    path.replace("{name}", "nobody")
        .replace("{step}", "ack")
        .replace("{key}", "10000001234")
        .replace("{sha256}", "0")
        .replace("{event}", "e")
        .replace("{office}", "15BB")
        .replace("{box}", "gate-01")
        .replace("{camera}", "gate")
        .replace("{id}", "i")
}

pub(crate) async fn ask(
    room: &Arc<Room>,
    method: &str,
    path: &str,
    token: Option<&str>,
    form: &str,
) -> (StatusCode, String) {
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(filled(path));
    if let Some(token) = token {
        request = request.header(header::COOKIE, format!("gw-session={token}"));
    }
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let response = router(room.clone()).oneshot(request.body(Body::from(form.to_owned())).unwrap()).await.unwrap();
    let to = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    (response.status(), to)
}

#[tokio::test]
async fn every_route_is_open_to_the_roles_of_the_table_and_to_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let mut checked = 0;
    for role in Role::ALL {
        for (method, path, need) in ROUTES {
            // Signing out ends the session, so everyone has his own for every route.
            let name = format!("{}-{checked}", role.as_str().replace('_', "-"));
            let who = sign_in_as(&room, role, &name, 0).await;
            let (status, to) = ask(&room, method, path, Some(&who), &format!("csrf=form-{who}")).await;
            let refused = status == StatusCode::FORBIDDEN || status == StatusCode::UNAUTHORIZED || to == "/login";
            let lets_in = role.may(*need);
            if *need == Need::Nobody || *path == "/logout" {
                assert!(status != StatusCode::UNAUTHORIZED, "{role:?} {method} {path}: {status}");
            } else {
                assert_eq!(!refused, lets_in, "{role:?} {method} {path}: {status} {to}");
            }
            assert!(!status.is_server_error(), "{role:?} {method} {path}: {status}");
            if lets_in && *method == "GET" && !path.contains('{') {
                assert!(status.is_success() || status.is_redirection(), "{role:?} {path}: {status}");
            }
            checked += 1;
        }
    }
    assert_eq!(checked, Role::ALL.len() * ROUTES.len());
}

#[tokio::test]
async fn nobody_gets_in_without_a_session_and_no_form_is_taken_without_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let leader = sign_in(&room, Role::ShiftLeader, 0).await;
    let admin = sign_in(&room, Role::Administrator, 0).await;
    for (method, path, need) in ROUTES.iter().filter(|(_, _, need)| *need != Need::Nobody) {
        let (status, to) = ask(&room, method, path, None, "").await;
        let sent_away = to == "/login" || status == StatusCode::UNAUTHORIZED;
        assert!(sent_away, "{method} {path}: {status}");
        let who = if *need == Need::Accounts { &admin } else { &leader };
        if *method == "POST" {
            for form in ["", "csrf=", "csrf=wrong", &format!("csrf=form-{}", "someone-else")] {
                assert_eq!(ask(&room, method, path, Some(who), form).await.0, StatusCode::FORBIDDEN, "{path} {form}");
            }
        }
    }
}

#[tokio::test]
async fn who_has_a_one_time_password_can_do_nothing_but_choose_his_own() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let new = sign_in(&room, Role::Officer, 1).await;
    for path in ["/", "/alerts", "/tips", "/alerts/stream"] {
        assert_eq!(
            ask(&room, "GET", path, Some(&new), "").await,
            (StatusCode::SEE_OTHER, "/password".into()),
            "{path}"
        );
    }
    assert_eq!(ask(&room, "GET", "/password", Some(&new), "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_session_ends_with_its_time_and_with_its_account() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let who = sign_in(&room, Role::Officer, 0).await;
    assert_eq!(ask(&room, "GET", "/alerts", Some(&who), "").await.0, StatusCode::OK);
    for column in ["created_ms", "seen_ms"] {
        let update = sqlx::AssertSqlSafe(format!("UPDATE session SET {column} = {column} - 200000000"));
        sqlx::query(update).execute(&room.db.pool).await.unwrap();
        assert_eq!(ask(&room, "GET", "/alerts", Some(&who), "").await.1, "/login", "{column}");
        let update = sqlx::AssertSqlSafe(format!("UPDATE session SET {column} = {column} + 200000000"));
        sqlx::query(update).execute(&room.db.pool).await.unwrap();
    }
    assert_eq!(ask(&room, "GET", "/alerts", Some(&who), "").await.0, StatusCode::OK);
    sqlx::query("UPDATE account SET disabled = 1").execute(&room.db.pool).await.unwrap();
    assert_eq!(ask(&room, "GET", "/alerts", Some(&who), "").await.1, "/login");
}

#[tokio::test]
async fn answers_carry_the_headers_that_keep_a_browser_strict() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let request = Request::builder().uri("/login").body(Body::empty()).unwrap();
    let response = router(room).oneshot(request).await.unwrap();
    let headers = response.headers();
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let cookie = headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
}

#[tokio::test]
async fn a_row_of_the_audit_that_is_changed_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let who = sign_in(&room, Role::Auditor, 0).await;
    for _ in 0..5 {
        ask(&room, "GET", "/audit", Some(&who), "").await;
    }
    assert_eq!(room.db.audit_whole(None).await.unwrap().unwrap().seq, 5);
    sqlx::query("UPDATE audit SET detail = 'x' WHERE seq = 3").execute(&room.db.pool).await.unwrap();
    assert_eq!(room.db.audit_whole(None).await.unwrap(), Err(3));
    sqlx::query("DELETE FROM audit WHERE seq = 3").execute(&room.db.pool).await.unwrap();
    assert_eq!(room.db.audit_whole(None).await.unwrap(), Err(3));
}
