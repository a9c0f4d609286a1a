//! Every route by every role, without a socket: who is let in, who is not, and that no form is taken without its token.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tower::ServiceExt;

use super::router;
use crate::clock::utc_now;
use crate::desk::access::{Need, ROUTES, Role};
use crate::desk::boxes::Boxes;
use crate::desk::clips::Clips;
use crate::desk::config::DeskConfig;
use crate::desk::db::accounts::Account;
use crate::desk::db::{Db, Scope};
use crate::desk::hub::Hub;
use crate::desk::pictures::Folder;
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
        clips: Clips::default(),
        pictures: Folder::default(),
        watched: Watched::default(),
        leads: AtomicBool::new(true),
        audited: Mutex::default(),
        stored: AtomicU64::new(0),
        storing: AtomicI64::new(0),
        announcing: AtomicI64::new(0),
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
        .replace("{file}", "f")
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

/// What a page shows to somebody.
pub(super) async fn page(room: &Arc<Room>, path: &str, token: &str) -> String {
    let request = Request::builder().uri(path).header(header::COOKIE, format!("gw-session={token}"));
    let response = router(room.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
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
async fn nothing_is_exported_without_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let who = sign_in(&room, Role::ShiftLeader, 0).await;
    for path in ["/reports/csv", "/reports/xlsx"] {
        assert_eq!(
            ask(&room, "GET", path, Some(&who), "").await.0,
            StatusCode::FORBIDDEN,
            "{path}: by its address alone"
        );
        for (note, status) in [("", StatusCode::CONFLICT), ("%20", StatusCode::CONFLICT), ("cho%20Cuc", StatusCode::OK)]
        {
            let form = format!("csrf=form-{who}&period=year&note={note}");
            assert_eq!(ask(&room, "POST", path, Some(&who), &form).await.0, status, "{path} {note:?}");
        }
    }
    let rows = room.db.audit_rows(&Scope::all(), "export", i64::MAX).await.unwrap().rows;
    let said: Vec<&str> = rows.iter().map(|r| r.detail.as_str()).collect();
    assert_eq!(said, ["xlsx: cho Cuc", "csv: cho Cuc"]);
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

/// The page Devices when the only box said this, so long ago.
async fn devices(room: &Arc<Room>, said: &str, ago_ms: i64, online: bool) -> String {
    let now = utc_now().0;
    let mut tx = room.db.write().await.unwrap();
    tx.boxes_seen(&BTreeMap::from([(("15BB", "gate-01"), None)]), now, now).await.unwrap();
    tx.box_online("15BB", "gate-01", online, (now, now), now).await.unwrap();
    tx.set_box_status("15BB", "gate-01", said, Some(now - ago_ms), Some(-6_250)).await.unwrap();
    tx.commit().await.unwrap();
    page(room, "/devices", "technician-0").await
}

#[tokio::test]
async fn what_a_box_says_of_itself_is_shown_with_words_and_signs() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    sign_in(&room, Role::Technician, 0).await;
    let good = json!({"uptime_s": 93_784, "outbox": {"waiting": 0, "bytes": 0, "oldest_s": null, "behind": false, "dropped": 0},
        "storage": {"state": "ok", "free_bytes": 12_345_678_901_i64, "disk_bytes": 100_000_000_000_i64, "footage_bytes": 5_000_000,
            "held_bytes": 0, "whole_from": "2026-03-02T03:17:45.212Z", "oldest": null},
        "database_writable": true, "clock": {"synchronised": true, "synchronised_at": null, "cameras_offset_ms": 40, "cameras": 2},
        "detector": {"state": "running", "model": {"name": "gate.onnx", "sha256": "0123456789abcdef"}}, "overloaded": [], "parts": []});
    let shown = devices(&room, &good.to_string(), 5_000, true).await;
    for text in [
        "1 ngày 2 giờ",
        "không có gì chờ gửi",
        "đủ chỗ",
        "12,3 GB còn trống / 100,0 GB",
        "đủ hình từ",
        "02/03/2026 10:17:45",
        "đã đồng bộ",
        "so với máy chủ trực ban −6,2 s",
        "đang phân tích",
        "gate.onnx",
        ">0123456789ab<",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(!shown.contains("CŨ:") && !shown.contains("✕"), "{shown}");

    let bad = json!({"outbox": {"waiting": 1234, "bytes": 9_000, "oldest_s": 240, "behind": true, "dropped": 3},
        "storage": {"state": "full"}, "database_writable": false, "clock": {"synchronised": false},
        "detector": {"state": "failed"}, "overloaded": ["bay-1"],
        "parts": [{"part": "camera/bay-1", "level": "failed", "message": "refuses <the> password"},
            {"part": "footage", "level": "degraded", "message": "9 bytes are held, 5 are foreseen; release holds"}], "parts_more": 2});
    let shown = devices(&room, &bad.to_string(), 200_000, true).await;
    for text in [
        "CŨ: trạm trực tuyến",
        "1.234 tin, ảnh chờ gửi (9,0 kB)",
        "cũ nhất đã chờ 4 phút",
        "gửi không kịp",
        "3 tin phải bỏ",
        "HẾT CHỖ",
        "KHÔNG ghi được cơ sở dữ liệu",
        "CHƯA đồng bộ giờ",
        "LỖI: không phân tích được hình",
        "quá tải",
        "HỎNG",
        "refuses &lt;the&gt; password",
        "đang giữ 9 byte, dự kiến 5; bỏ bớt lệnh giữ hình ảnh",
        "2 bộ phận khác",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let shown = devices(&room, &good.to_string(), 200_000, false).await;
    assert!(shown.contains("đây là lần báo cuối") && !shown.contains("CŨ:"), "{shown}");
    // Of what is said at length 400 characters are looked at.
    let long = json!({"parts": [{"part": "camera/x", "message": format!("pictures arrive; {}", "x".repeat(3000))}]});
    let shown = devices(&room, &long.to_string(), 0, true).await;
    assert!(shown.contains(&format!(">đang có hình; {}<", "x".repeat(400 - 17))), "{shown}");
}

#[tokio::test]
async fn what_a_box_does_not_say_or_says_oddly_is_not_known_and_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    sign_in(&room, Role::Technician, 0).await;
    let most = i64::MAX;
    for (odd, says) in [
        (json!({}), "không rõ"),
        (
            json!({"uptime_s": "long", "outbox": [], "storage": {"state": 7}, "clock": 1, "detector": null, "parts": "all"}),
            "không rõ",
        ),
        (
            json!({"uptime_s": most, "outbox": {"waiting": most, "bytes": -5, "oldest_s": most}, "parts": [1, null, {"part": []}],
            "storage": {"state": "\u{0}x", "free_bytes": most, "oldest": "9999-99-99"}, "overloaded": [null, {}], "parts_more": -1,
            "clock": {"cameras_offset_ms": i64::MIN}}),
            "9.223.372.036.854.775.807",
        ),
        (
            json!({"parts": (0..5000).map(|n| json!({"part": "p".repeat(500), "message": "m".repeat(n % 50)})).collect::<Vec<_>>()}),
            "không rõ",
        ),
        (json!(["not", "an", "object"]), "không rõ"),
    ] {
        let shown = devices(&room, &odd.to_string(), i64::MIN / 4, true).await;
        assert!(shown.contains("gate-01") && shown.len() < 100_000, "{odd}: {}", shown.len());
        assert!(shown.contains(says), "{odd}: {shown}");
    }
    assert!(devices(&room, "not JSON", 0, true).await.contains("trạm chưa báo"));
}
