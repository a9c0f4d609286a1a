//! What the clearance side says of a declaration, on its page at the desk: over real Mosquitto, in both databases, and for nobody
//! but those of its office.

use gatewatch::desk::config::DatabaseConfig;
use serde_json::{Value, json};

use crate::support::desk::{Room, alert, body_of, postgres};

const OUT: &str = "01JC0000000000000000000001";
const IN: &str = "01JC0000000000000000000002";
const PAGE: &str = "/declarations/10000001234";

fn fact(topic: &str, body: &Value) -> (String, Vec<u8>) {
    (format!("gatewatch/v1/{topic}"), body.to_string().into_bytes())
}

fn declaration(version: i64, channel: i64) -> Value {
    json!({"decl_no": "100000012340", "version": version, "direction": "import", "office": "15BB", "type_code": "A11", "channel": channel,
        "containers": ["CSQU3054383"], "seals": ["VN123456"], "plates": ["15C-123.45"], "source": "vcis",
        "registered_at": "2026-03-02T08:10:00+07:00", "checked_at": "2026-03-02T09:10:00+07:00",
        "fetched_at": format!("2026-03-02T0{}:00:00Z", version + 2)})
}

/// A container that was read as the vehicle came in.
fn came_in() -> (String, Vec<u8>) {
    let mut body = body_of(&alert("15BB", IN, 1, 1, None));
    body["type"] = json!("gatewatch.event.line_cross.v1");
    body["data"]["link"]["links"][0]["container"] = json!("CSQU3054383");
    body["data"]["link"]["links"][0]["method"] = json!("container_ocr");
    fact("15BB/gate-01/event", &body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_shows_what_the_clearance_side_says_on_sqlite() {
    shown(DatabaseConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_shows_what_the_clearance_side_says_on_postgresql() {
    if let Some((_server, database)) = postgres() {
        shown(database).await;
    }
}

async fn shown(database: DatabaseConfig) {
    let room = Room::start(database, |_| {}).await;
    let mut admin = room.administrator().await;
    let mut officer = room.account(&mut admin, "an", "officer", "15BB").await;
    let mut other = room.account(&mut admin, "giang", "officer", "20BB").await;
    let stop = json!({"id": "S-4", "version": 1, "decl_no": "10000001234", "from": "2026-03-02T10:30:00+07:00",
        "by": "Trần Bình", "reason": "theo tin báo", "tip_id": "TB-0107"});
    let mut lifted = stop.clone();
    (lifted["version"], lifted["to"]) = (json!(2), json!("2026-03-02T11:30:00+07:00"));
    (lifted["by"], lifted["reason"]) = (json!("Lê Dung"), json!("đã kiểm tra xong"));
    let booking = json!({"id": "b1", "version": 1, "area": "bay-1", "decl_keys": ["10000001234"], "state": "active",
        "start": "2026-03-02T10:00:00+07:00", "end": "2026-03-02T11:00:00+07:00"});
    // The boxes of 20BB hear of it too; whose it is, it says itself.
    room.say(vec![
        fact("15BB/in/declaration", &declaration(1, 2)),
        fact("20BB/in/declaration", &declaration(1, 2)),
        ("gatewatch/v1/15BB/in/stop".into(), b"\xff no JSON".to_vec()),
        fact("15BB/gate-07/in/stop", &stop),
        fact("15BB/in/booking", &booking),
        came_in(),
        alert("15BB", OUT, 2, 4, None),
    ])
    .await;
    let page = officer.sees(PAGE, "Trần Bình").await;
    assert!(page.has("ĐANG BỊ DỪNG") && page.has("theo tin báo") && page.has("TB-0107"), "{}", page.text);
    room.say(vec![
        fact("15BB/in/declaration", &declaration(2, 3)),
        fact("15BB/gate-01/in/declaration", &declaration(1, 2)),
        fact("15BB/in/stop", &lifted),
        fact("15BB/in/declaration", &json!({"decl_no": "100000012340", "version": 2, "channel": 1})),
    ])
    .await;
    officer.sees(PAGE, OUT).await;
    let page = officer.sees(PAGE, "Lê Dung").await;
    for text in [
        "02/03/2026 08:10:00",
        "Hoàn thành kiểm tra",
        "Luồng đỏ",
        "Luồng vàng",
        "VN123456",
        "15C12345",
        "vcis",
        "02/03/2026 11:00:00",
        "đã kiểm tra xong",
        "Nhập khẩu",
        "bay-1",
        "đọc số container",
    ] {
        assert!(page.has(text), "the page says {text}: {}", page.text);
    }
    assert!(!page.has("ĐANG BỊ DỪNG") && !page.has("Luồng xanh"), "{}", page.text);
    assert!(officer.get("/declarations?q=csqu+305438-3").await.expect_status(200).has(PAGE));
    assert!(!officer.get("/devices").await.has("gate-07"), "a fact makes no box");

    let strange = other.get(PAGE).await.expect_status(200);
    for text in ["VN123456", "vcis", "Trần Bình", "Đăng ký tờ khai"] {
        assert!(!strange.has(text), "another office's {text}");
    }
    assert!(!other.get("/declarations?q=CSQU3054383").await.has(PAGE));
    room.desk.stop().await;
}
