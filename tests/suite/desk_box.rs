//! The desk and the box behind an alert: its video is handed through while somebody watches, a declaration is bound,
//! footage is held; on both databases. The box's HTTP API is played here; with a real agent: `desk_story.rs`.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use gatewatch::config::SecretSource;
use gatewatch::desk::config::{BoxConfig, DatabaseConfig};
use serde_json::{Value, json};

use crate::support::desk::{Boxes, Browser, Room, SHIFT, alert, body_of, postgres};
use crate::support::until;

const FIRST: &str = "01JC0000000000000000000001";
const SECOND: &str = "01JC0000000000000000000002";

/// A clip of 1,000 bytes, each its own number modulo 251.
fn clip() -> Vec<u8> {
    (0..1000_u32).map(|i| (i % 251) as u8).collect()
}

type Asked = Arc<Mutex<Vec<String>>>;

/// A box's HTTP API, as far as the desk uses it: its address, and what it runs on, so that it can go away with all its
/// connections.
async fn box_api(asked: Asked) -> (String, tokio::runtime::Runtime) {
    let routes = Router::new()
        .route("/api/events/{id}/clip", get(send_clip))
        .route("/api/events/{id}/footage", get(manifest))
        .route("/api/footage", get(nothing))
        .route("/api/footage/manifest", get(nothing_there))
        .with_state(asked);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let serving = runtime.spawn(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        url
    });
    (serving.await.unwrap(), runtime)
}

async fn send_clip(State(asked): State<Asked>, headers: HeaderMap) -> Response {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    if text(header::AUTHORIZATION) != "Bearer box-token" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let range = text(header::RANGE);
    asked.lock().unwrap().push(range.clone());
    let all = clip();
    let common = [
        (header::CONTENT_TYPE, "text/html".to_owned()),
        (header::ACCEPT_RANGES, "bytes".into()),
        (header::ETAG, "\"x\"".into()),
        (header::SET_COOKIE, "box=1".into()),
    ];
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return (common, all).into_response();
    };
    let first: usize = first.parse().unwrap();
    if first >= all.len() {
        let end = [(header::CONTENT_RANGE, format!("bytes */{}", all.len()))];
        return (StatusCode::RANGE_NOT_SATISFIABLE, end, Json(json!({"error": "range"}))).into_response();
    }
    let last = last.parse().unwrap_or(all.len() - 1);
    let part = [(header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", all.len()))];
    (StatusCode::PARTIAL_CONTENT, common, part, all[first..=last].to_vec()).into_response()
}

async fn manifest() -> Json<Value> {
    let span = |from: &str, to: &str| json!({"from": from, "to": to});
    Json(json!({"camera": "gate", "asked": span("2026-03-02T03:17:30.000Z", "2026-03-02T03:17:50.000Z"),
        "found": span("2026-03-02T03:17:30.000Z", "2026-03-02T03:17:45.000Z"), "complete": false, "growing": false,
        "gaps": [{"from": "2026-03-02T03:17:45.000Z", "to": "2026-03-02T03:17:50.000Z", "reason": "disk_behind"}], "segments": []}))
}

fn gone() -> Value {
    json!([{"from": "2026-03-02T03:17:30.000Z", "to": "2026-03-02T03:17:50.000Z", "reason": "expired"}])
}

async fn nothing() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": "no_footage", "message": "x", "gaps": gone()}))).into_response()
}

async fn nothing_there() -> Json<Value> {
    Json(json!({"camera": "gate", "found": null, "complete": false, "growing": false, "gaps": gone(), "segments": []}))
}

fn with_footage(id: &str, seq: i64) -> (String, Vec<u8>) {
    let said = alert("15BB", id, seq, 3, None);
    let mut body = body_of(&said);
    body["data"]["footage"] =
        json!({"camera": "gate", "from": "2026-03-02T03:17:30.000Z", "to": "2026-03-02T03:17:50.000Z"});
    body["data"]["link"]["links"][0]["sources"] = json!(["booking:b1", "visit:V-7"]);
    (said.0, body.to_string().into_bytes())
}

fn token(dir: &std::path::Path) -> SecretSource {
    let file = dir.join("token");
    std::fs::write(&file, "box-token\n").unwrap();
    SecretSource { file: Some(file), env: None }
}

async fn bytes_of(browser: &Browser, path: &str, range: Option<&str>) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
    let mut request = browser.client.get(format!("{}{path}", browser.base)).header("cookie", browser.cookie_header());
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_is_handed_through_and_its_absence_is_explained() {
    let asked = Asked::default();
    let (url, serving) = box_api(Arc::clone(&asked)).await;
    let secrets = tempfile::tempdir().unwrap();
    let token = token(secrets.path());
    let room = Room::start(DatabaseConfig::default(), |c| {
        c.boxes = vec![BoxConfig { office: "15BB".into(), id: "gate-01".into(), url, token, ca_file: None }];
    })
    .await;
    let mut admin = room.administrator().await;
    let mut officer = room.account(&mut admin, "an", "officer", "15BB").await;
    let mut other = room.account(&mut admin, "giang", "officer", "20BB").await;
    let mut field = room.account(&mut admin, "cuong", "field", "15BB").await;
    let mut auditor = room.account(&mut admin, "dung", "auditor", "*").await;
    room.say(vec![with_footage(FIRST, 1), alert("15BB", SECOND, 2, 2, None)]).await;
    officer.sees(&format!("/alerts/{FIRST}"), "Xem video").await;

    let page = officer.get(&format!("/alerts/{FIRST}/footage")).await.expect_status(200);
    assert!(page.has("<video") && page.has("ổ đĩa chậm") && page.has("một phần"), "{}", page.text);
    let path = format!("/alerts/{FIRST}/clip");
    let (status, headers, whole) = bytes_of(&officer, &path, None).await;
    assert_eq!((status, whole), (200, clip()));
    assert_eq!(headers["content-type"], "video/mp4", "whatever the box says");
    assert!(headers["content-security-policy"].to_str().unwrap().contains("media-src 'self'"));
    assert!(!headers.contains_key("set-cookie"), "nothing else of the box comes through");
    let (status, headers, part) = bytes_of(&officer, &path, Some("bytes=100-199")).await;
    assert_eq!((status, part), (206, clip()[100..200].to_vec()));
    assert_eq!(headers["content-range"], "bytes 100-199/1000");
    assert_eq!(headers["etag"], "\"x\"");
    let (status, headers, _) = bytes_of(&officer, &path, Some("bytes=5000-")).await;
    assert_eq!(status, 416);
    assert_eq!(headers["content-range"], "bytes */1000");
    assert_eq!(*asked.lock().unwrap(), ["", "bytes=100-199", "bytes=5000-"]);

    // Saved for a reason only, which is written down.
    let save = format!("/alerts/{FIRST}/save");
    officer.get(&format!("/alerts/{FIRST}/footage")).await;
    officer.post(&save, &[]).await.expect_status(409);
    officer.get(&format!("/alerts/{FIRST}/footage")).await;
    officer.post(&save, &[("note", "kèm biên bản")]).await.expect_status(200);
    field.get("/alerts").await;
    field.post(&save, &[("note", "x")]).await.expect_status(403);
    assert!(auditor.get("/audit?q=clip.save").await.has("kèm biên bản"));

    other.get(&path).await.expect_status(404);
    other.get(&format!("/alerts/{FIRST}/footage")).await.expect_status(404);
    field.get(&path).await.expect_status(403);
    let seen = auditor.get("/audit?q=clip.view").await;
    assert_eq!(seen.text.matches("<code>clip.view</code>").count(), 1, "many pieces are one look");

    let page = officer.get(&format!("/alerts/{SECOND}/footage")).await.expect_status(200);
    assert!(page.has("không còn video") && page.has("đã quá hạn lưu") && !page.has("<video"), "{}", page.text);
    assert_eq!(bytes_of(&officer, &format!("/alerts/{SECOND}/clip"), None).await.0, 404);
    serving.shutdown_background();
    until("the box to be away", async || {
        let page = officer.get(&format!("/alerts/{FIRST}/footage")).await;
        page.has("Trạm camera không trả lời").then_some(())
    })
    .await;
    assert_eq!(bytes_of(&officer, &path, None).await.0, 502);
    room.desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_without_an_address_or_an_answer_is_said_so() {
    let room = Room::start(DatabaseConfig::default(), |_| {}).await;
    let mut admin = room.administrator().await;
    let mut officer = room.account(&mut admin, "an", "officer", "*").await;
    room.say(vec![with_footage(FIRST, 1)]).await;
    officer.sees(&format!("/alerts/{FIRST}"), "Xem video").await;
    assert!(officer.get(&format!("/alerts/{FIRST}/footage")).await.has("Chưa khai báo địa chỉ"));
    // Nor does it answer orders; the page says that, and when it was asked last.
    let path = format!("/alerts/{FIRST}");
    officer.get(&path).await;
    officer.post(&format!("{path}/bind"), &[("decl", "300000012345"), ("action", "bind")]).await.expect_status(303);
    let page = officer.get(&path).await;
    assert!(page.has("chờ trạm trả lời · hỏi lần cuối"), "{}", page.text);
    room.desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn declarations_are_bound_and_footage_is_held_on_sqlite() {
    orders(DatabaseConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn declarations_are_bound_and_footage_is_held_on_postgresql() {
    if let Some((_server, database)) = postgres() {
        orders(database).await;
    }
}

async fn orders(database: DatabaseConfig) {
    let room = Room::start(database, |_| {}).await;
    let boxes = Boxes::start(&room, json!({"ok": true, "result": {}})).await;
    let mut admin = room.administrator().await;
    let mut officer = room.account(&mut admin, "an", "officer", "15BB").await;
    let mut leader = room.account(&mut admin, "binh", "shift_leader", "*").await;
    let mut other = room.account(&mut admin, "giang", "officer", "20BB").await;
    let state = ("gatewatch/v1/15BB/gate-01/state".to_owned(), br#"{"online": true}"#.to_vec());
    room.say(vec![state, with_footage(FIRST, 1)]).await;
    let path = format!("/alerts/{FIRST}");
    let page = officer.sees(&path, "Gắn tờ khai").await;
    assert!(page.has("cả lượt xe V-7"), "the visit may be bound too");
    other.get("/alerts").await;
    other.post(&format!("{path}/bind"), &[("decl", "10000001234")]).await.expect_status(404);

    officer.get(&path).await;
    officer.post(&format!("{path}/bind"), &[("decl", "12")]).await.expect_status(409);
    officer.get(&path).await;
    officer.post(&format!("{path}/bind"), &[("decl", "3000 0001 2345"), ("action", "bind")]).await.expect_status(303);
    let (topic, first) = boxes.heard("/in/bind", |_| true).await;
    assert_eq!(topic, "gatewatch/v1/15BB/gate-01/in/bind");
    assert_eq!(
        (&first["decl_no"], &first["event_id"], &first["officer"]),
        (&json!("30000001234"), &json!(FIRST), &json!("an"))
    );
    officer.sees(&path, "trạm đã nhận").await;
    // A correction has a reason, names what it corrects, and may be about the whole visit.
    let again = [("decl", "10000001234"), ("action", "bind"), ("visit", "V-7")];
    officer.post(&format!("{path}/bind"), &again).await.expect_status(409);
    officer.get(&path).await;
    officer.post(&format!("{path}/bind"), &[&again[..], &[("note", "gõ nhầm số")]].concat()).await.expect_status(303);
    let (_, second) = boxes.heard("/in/bind", |b| b["visit_id"] == "V-7").await;
    assert_eq!((&second["supersedes"], &second["reason"]), (&first["id"], &json!("gõ nhầm số")));

    let span = [("from", "2026-03-02T10:00"), ("to", "2026-03-02T10:30")];
    officer.get(&path).await;
    officer.post(&format!("{path}/hold"), &span).await.expect_status(409);
    officer.get(&path).await;
    officer.post(&format!("{path}/hold"), &[&span[..], &[("note", "nghi vấn")]].concat()).await.expect_status(303);
    let (topic, hold) = boxes.heard("/cmd/hold", |_| true).await;
    assert_eq!(
        (topic.as_str(), &hold["camera"], &hold["by"]),
        ("gatewatch/v1/15BB/gate-01/cmd/hold", &json!("gate"), &json!("an"))
    );
    assert_eq!((&hold["from"], &hold["to"]), (&json!("2026-03-02T03:00:00.000Z"), &json!("2026-03-02T03:30:00.000Z")));
    officer.sees(&path, "đã giữ đủ").await;
    let id = hold["id"].as_str().unwrap().to_owned();
    officer.post(&format!("{path}/release"), &[("hold", &id), ("note", "xong")]).await.expect_status(403);
    leader.get(&path).await;
    leader.post(&format!("{path}/release"), &[("hold", "01J"), ("note", "xong")]).await.expect_status(404);
    leader.get(&path).await;
    leader.post(&format!("{path}/release"), &[("hold", &id), ("note", "xong")]).await.expect_status(303);
    boxes.heard("/cmd/release", |r| r["id"] == id.as_str() && r["reason"] == "xong").await;
    let page = leader.sees(&path, "trạm từ chối").await;
    assert!(page.has("there is no hold of this id") && page.has("gắn tờ khai") && page.has("gõ nhầm số"));
    let api: Value = serde_json::from_str(&leader.get(&format!("/api/alerts/{FIRST}")).await.text).unwrap();
    assert_eq!(api["orders"].as_array().unwrap().len(), 4, "{api}");
    held_without_an_alert(&mut officer, &mut leader, &mut other, &boxes).await;
    room.desk.stop().await;
}

/// A camera and a time are held as such; who hands over finds it on its camera's page.
async fn held_without_an_alert(officer: &mut Browser, leader: &mut Browser, other: &mut Browser, boxes: &Boxes) {
    let page = "/footage/15BB/gate-01/gate?from=2026-03-02T11:00:00&to=2026-03-02T11:10:00";
    assert!(officer.get(page).await.expect_status(200).has("Chưa khai báo địa chỉ"), "no box to ask");
    let hold = "/footage/15BB/gate-01/gate/hold";
    let of = |to: &'static str| [("from", "02/03/2026 11:00"), ("to", to), ("note", "xe lạ ở cổng")];
    for wrong in ["02/03/2026 10:00", "02/04/2026 11:00", "trưa"] {
        officer.post(hold, &of(wrong)).await.expect_status(409);
        officer.get(page).await;
    }
    other.get("/alerts").await;
    other.post(hold, &of("02/03/2026 11:10")).await.expect_status(404);
    officer.post(hold, &of("02/03/2026 11:10")).await.expect_status(303);
    let (topic, held) = boxes.heard("/cmd/hold", |b| b["reason"] == "xe lạ ở cổng").await;
    assert_eq!((topic.as_str(), &held["camera"]), ("gatewatch/v1/15BB/gate-01/cmd/hold", &json!("gate")));
    assert_eq!((&held["from"], &held["to"]), (&json!("2026-03-02T04:00:00.000Z"), &json!("2026-03-02T04:10:00.000Z")));
    officer.sees(page, "đã giữ đủ").await;
    leader.get("/shifts").await;
    let shift = leader.post("/shifts", &SHIFT).await.expect_status(303).to;
    assert!(leader.get(&shift).await.has("/footage?camera=15BB%2Fgate-01%2Fgate"), "what is open at a hand-over");
    let release = [("hold", held["id"].as_str().unwrap()), ("note", "xong")];
    leader.get(page).await;
    leader.post("/footage/15BB/gate-01/gate/release", &release).await.expect_status(303);
    boxes.heard("/cmd/release", |r| r["id"] == held["id"]).await;
    leader.sees(page, "trạm từ chối").await;
}
