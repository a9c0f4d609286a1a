//! Yard and shifts through their pages, on both databases: bays fill and empty with what boxes say; a shift is planned,
//! handed over with what is open, sent back, signed by both.

use gatewatch::desk::config::DatabaseConfig;
use serde_json::{Value, json};

use crate::support::desk::{Room, SHIFT, alert, body_of, postgres};

const FIRST: &str = "01JC0000000000000000000001";
const BAY: &str = "01JC0000000000000000000005";

/// A box's word about a bay.
fn bay(seq: i64, revision: i64, rule: &str, end: Option<&str>) -> (String, Vec<u8>) {
    let mut body = body_of(&alert("15BB", BAY, seq, 1, None));
    body["type"] = json!(format!("gatewatch.event.{rule}.v1"));
    body["data"]["rule"] = json!(rule);
    body["data"]["revision"] = json!(revision);
    body["data"]["area"] = json!({"id": "bay-1", "name": "Ô số 1", "kind": "inspection_bay"});
    body["data"]["capture"]["end"] = json!(end);
    ("gatewatch/v1/15BB/gate-01/event".into(), body.to_string().into_bytes())
}

fn birth() -> (String, Vec<u8>) {
    let areas = json!([{"id": "bay-1", "name": "Ô số 1", "kind": "inspection_bay"}, {"id": "bay-2", "name": "Ô số 2", "kind": "inspection_bay"},
        {"id": "gate", "name": "Cổng", "kind": "gate_out"}]);
    let body = json!({"version": "0.1.0", "cameras": [{"id": "gate", "name": "Cổng", "areas": areas, "lines": []}]});
    ("gatewatch/v1/15BB/gate-01/birth".into(), body.to_string().into_bytes())
}

fn state(online: bool) -> (String, Vec<u8>) {
    ("gatewatch/v1/15BB/gate-01/state".into(), json!({"online": online}).to_string().into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn bays_and_shifts_on_sqlite() {
    both(DatabaseConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bays_and_shifts_on_postgresql() {
    if let Some((_server, database)) = postgres() {
        both(database).await;
    }
}

async fn both(database: DatabaseConfig) {
    let room = Room::start(database, |_| {}).await;
    let mut admin = room.administrator().await;
    let mut leader = room.account(&mut admin, "binh", "shift_leader", "*").await;
    let mut next = room.account(&mut admin, "chi", "shift_leader", "*").await;
    let mut officer = room.account(&mut admin, "an", "officer", "20BB").await;
    let mut auditor = room.account(&mut admin, "dung", "auditor", "*").await;

    room.say(vec![state(true), birth(), bay(2, 1, "bay_occupied", None)]).await;
    let page = leader.sees("/yard", "1</strong> / 2").await;
    for text in ["Ô số 1", "Ô số 2", "1</strong> / 2", "10000001234", "CSQU3054383", "<code>b1</code>"] {
        assert!(page.has(text), "the yard says {text}: {}", page.text);
    }
    assert!(!page.has("aria-label=\"Cổng\""), "no bay");
    assert!(!officer.get("/yard").await.has("Ô số 1"), "another office");
    // The end, overtaken by an older word.
    room.say(vec![bay(4, 3, "bay_occupied", Some("2026-03-02T05:00:00Z")), bay(3, 2, "bay_occupied", None)]).await;
    leader.sees("/yard", "0</strong> / 2").await;
    let bays: Value = serde_json::from_str(&leader.get("/api/bays").await.text).unwrap();
    assert_eq!(
        (&bays["bays"][0]["state"], &bays["bays"][0]["since_ms"]),
        (&json!("empty"), &json!(1_772_427_600_000_i64))
    );
    // An alert about the bay stays there until somebody closes it, also of an event that is over.
    let mut over = body_of(&alert("15BB", FIRST, 5, 4, None));
    over["data"]["area"] = json!({"id": "bay-1", "name": "Ô số 1", "kind": "inspection_bay"});
    over["data"]["capture"]["end"] = over["data"]["capture"]["start"].clone();
    let over = ("gatewatch/v1/15BB/gate-01/alert".to_owned(), over.to_string().into_bytes());
    room.say(vec![state(false), over]).await;
    let yard = leader.sees("/yard", &format!("href=\"/alerts/{FIRST}\"")).await;
    assert!(yard.has("Trạm ngoại tuyến"), "{}", yard.text);

    let plan = [&SHIFT[..], &[("duty1", "night"), ("name1", "Lê Thị Bình")]].concat();
    officer.get("/shifts").await.expect_status(200);
    officer.post("/shifts", &plan).await.expect_status(403);
    leader.get("/shifts").await;
    let wrong: Vec<_> = plan.iter().map(|(k, v)| if *k == "leader" { (*k, "an") } else { (*k, *v) }).collect();
    leader.post("/shifts", &wrong).await.expect_status(409);
    leader.get("/shifts").await;
    let path = leader.post("/shifts", &plan).await.expect_status(303).to;
    let page = leader.get(&path).await.expect_status(200);
    for text in ["Hàng tiêu dùng qua cửa khẩu", "Lê Thị Bình – Trực đêm", "02/03/2026", "Ra cổng khi chưa được phép"]
    {
        assert!(page.has(text), "the shift says {text}: {}", page.text);
    }
    assert!(page.has("Trạm ngoại tuyến: 1") && page.has("Cảnh báo: 1"), "{}", page.text);
    assert!(!officer.get(&path).await.has("Ra cổng khi chưa được phép"), "of another office only the number");
    two_editors(&mut leader, &mut next, &path, &plan).await;
    let to = leader.post("/shifts", &plan).await.expect_status(303).to;
    let mut supervisor = room.account(&mut admin, "giang", "supervisor", "*").await;
    given_by_another(&mut leader, &mut supervisor, &to).await;
    let led: Vec<_> = plan.iter().map(|(k, v)| if *k == "leader" { (*k, "chi") } else { (*k, *v) }).collect();
    next.get("/shifts").await;
    let own = next.post("/shifts", &led).await.expect_status(303).to;
    let id = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    hand_over(&mut leader, &mut next, &path, [&id(&to), &id(&own)]).await;
    let page = auditor.get("/audit?q=shift").await;
    for text in ["shift.add", "shift.give", "shift.send_back", "shift.take"] {
        assert!(page.has(text), "{text}");
    }
    auditor.get(&path).await.expect_status(200);
    auditor.post(&format!("{path}/give"), &[]).await.expect_status(403);
    room.desk.stop().await;
}

type Person<'a> = &'a mut crate::support::desk::Browser;

/// Who saves what he saw before somebody else saved is told so.
async fn two_editors(leader: Person<'_>, next: Person<'_>, path: &str, plan: &[(&str, &str)]) {
    assert!(leader.get(path).await.has("name=\"version\" value=\"1\""));
    next.get(path).await;
    let with = |version| [plan, &[("version", version)]].concat();
    leader.post(&format!("{path}/change"), &with("1")).await.expect_status(303);
    next.post(&format!("{path}/change"), &with("1")).await.expect_status(409);
    next.get(path).await;
    next.post(&format!("{path}/change"), &with("")).await.expect_status(409);
    assert!(next.get(path).await.has("name=\"version\" value=\"2\""));
    next.post(&format!("{path}/change"), &with("2")).await.expect_status(303);
}

/// A supervisor signs for the leader, who then does not take over from himself.
async fn given_by_another(leader: Person<'_>, supervisor: Person<'_>, path: &str) {
    supervisor.get(path).await;
    supervisor.post(&format!("{path}/give"), &[("note", "Thay lãnh đạo ca")]).await.expect_status(303);
    leader.get(path).await;
    let own = leader.post(&format!("{path}/take"), &[]).await.expect_status(409);
    assert!(own.has("người khác"));
}

/// What the forms of a page are about.
fn version(page: &str) -> String {
    page.split("name=\"version\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// `to`: a shift that another one leads, and one of `next`.
async fn hand_over(leader: Person<'_>, next: Person<'_>, path: &str, to: [&str; 2]) {
    next.get(path).await;
    next.post(&format!("{path}/give"), &[]).await.expect_status(409);
    next.get(path).await;
    next.post(&format!("{path}/take"), &[]).await.expect_status(409);
    leader.get(path).await;
    leader.post(&format!("{path}/give"), &[("note", "Ô số 1 cần theo dõi")]).await.expect_status(303);
    leader.get(path).await;
    let own = leader.post(&format!("{path}/take"), &[]).await.expect_status(409);
    assert!(own.has("người khác"));
    let stale = version(&next.get(path).await.text);
    next.post(&format!("{path}/send_back"), &[]).await.expect_status(409);
    next.get(path).await;
    next.post(&format!("{path}/send_back"), &[("note", "Thiếu tin báo")]).await.expect_status(303);
    assert!(next.get("/shifts").await.has("<span class=\"up\">Trả lại</span>"), "the roster says that it came back");
    leader.get(path).await;
    leader.post(&format!("{path}/give"), &[("note", "Đã bổ sung")]).await.expect_status(303);
    // Not from a page that shows the list before it.
    for step in ["take", "send_back"] {
        next.get(path).await;
        let old = [("version", stale.as_str()), ("note", "Thiếu tin báo")];
        let old = next.post(&format!("{path}/{step}"), &old).await.expect_status(409);
        assert!(old.has("vừa thay đổi"), "{}", old.text);
    }
    // Not for a shift that another one leads.
    next.get(path).await;
    let others = next.post(&format!("{path}/take"), &[("to", to[0])]).await.expect_status(409);
    assert!(others.has("lãnh đạo của ca nhận"), "{}", others.text);
    // What comes after the signature is not in the list; the list stays as it was.
    next.get(path).await;
    next.post(&format!("{path}/take"), &[("to", to[1]), ("note", "Đã nhận đủ")]).await.expect_status(303);
    let page = next.get(path).await;
    for text in ["Bên giao đã ký", "Bên nhận đã ký", "Thiếu tin báo", "Trả lại", "Đã nhận đủ", "Danh sách bàn giao (2)"]
    {
        assert!(page.has(text), "the hand-over says {text}: {}", page.text);
    }
    assert!(!page.has("BẢN BÀN GIAO ĐÃ BỊ THAY ĐỔI"));
    next.post(&format!("{path}/take"), &[]).await.expect_status(409);
    leader.get(path).await;
    leader
        .post(
            &format!("{path}/change"),
            &[("from", "2026-03-02T08:00"), ("to", "2026-03-03T08:00"), ("leader", "binh")],
        )
        .await
        .expect_status(409);
    assert!(next.get("/shifts").await.has("Bên nhận đã ký"));
}
