//! The duty room through its pages, with real Mosquitto and on both databases: the whole story of an alert that becomes a
//! tip, gaps that are asked back, what no other office sees, and what the auditor finds.

use std::time::Duration;

use futures_util::StreamExt;
use gatewatch::clock::utc_now;
use gatewatch::config::MqttConfig;
use gatewatch::desk::config::DatabaseConfig;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::support::desk::{Boxes, Browser, Room, alert, body_of, jpeg, postgres, sha256};

const FIRST: &str = "01JC0000000000000000000001";
const SECOND: &str = "01JC0000000000000000000002";
const THIRD: &str = "01JC0000000000000000000003";

fn nothing_lost() -> Value {
    json!({"ok": true, "result": {"epoch": 7, "first_seq": 1, "last_seq": 9, "queued": 1, "already_pending": 0, "next_from": null}})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_becomes_a_settled_tip_on_sqlite() {
    story(DatabaseConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_becomes_a_settled_tip_on_postgresql() {
    if let Some((_server, database)) = postgres() {
        story(database).await;
    }
}

struct People {
    officer: Browser,
    leader: Browser,
    field: Browser,
    auditor: Browser,
    other: Browser,
}

async fn story(database: DatabaseConfig) {
    let room = Room::start(database, |c| c.alerts.escalate_critical_after_s = 3).await;
    let boxes = Boxes::start(&room, nothing_lost()).await;
    let mut admin = room.administrator().await;
    let mut people = People {
        officer: room.account(&mut admin, "an", "officer", "15BB").await,
        leader: room.account(&mut admin, "binh", "shift_leader", "*").await,
        field: room.account(&mut admin, "cuong", "field", "15BB").await,
        auditor: room.account(&mut admin, "dung", "auditor", "*").await,
        other: room.account(&mut admin, "giang", "officer", "20BB").await,
    };
    admin.get("/alerts").await.expect_status(403);
    arrives_live(&room, &mut people).await;
    is_dismissed_by_two(&mut people).await;
    goes_up_by_itself(&room, &mut people).await;
    let tip = becomes_a_tip(&boxes, &mut people).await;
    is_checked_and_settled(&room, &boxes, &mut people, &tip).await;
    is_in_the_report(&mut people).await;
    people.auditor.get("/audit").await;
    for text in [
        "tip.settle",
        "tip.file",
        "tip.file_save",
        "alert.dismiss_ask",
        "export",
        "sign_in",
        "Chuỗi nhật ký nguyên vẹn",
    ] {
        people.auditor.sees("/audit", text).await;
    }
    people.auditor.post(&format!("/alerts/{SECOND}/ack"), &[]).await.expect_status(403);
    room.desk.stop().await;
}

/// An alert reaches the open page without a request, with its picture; no other office sees either.
async fn arrives_live(room: &Room, people: &mut People) {
    let stream = people.officer.client.get(room.url("/alerts/stream?view=open"));
    let stream = stream.header("cookie", people.officer.cookie_header()).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let (picture, mut events) = (jpeg(1), stream.bytes_stream());
    let said = alert("15BB", FIRST, 1, 4, Some(&picture));
    let base = "gatewatch/v1/15BB/gate-01";
    let messages = vec![
        (format!("{base}/state"), br#"{"online": true, "epoch": 7, "session": "1"}"#.to_vec()),
        (format!("{base}/camera/gate/state"), br#"{"camera": "gate", "state": "running"}"#.to_vec()),
        (format!("{base}/snapshot/{FIRST}"), picture.clone()),
        said.clone(),
        said,
    ];
    room.say(messages).await;
    let mut text = String::new();
    let seen = async {
        while !(text.contains(FIRST) && text.contains("Ra cổng khi chưa được phép") && text.contains("\"sound\":true"))
        {
            text.push_str(&String::from_utf8_lossy(&events.next().await.unwrap().unwrap()));
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("the alert on the stream");
    let page = people.officer.sees("/alerts", FIRST).await;
    for text in [
        "Khẩn cấp",
        "Cổng ra số 2",
        "10000001234",
        "Luồng đỏ",
        "80 %",
        "CHƯA được phép ra khỏi KVGS",
        &sha256(&picture),
    ] {
        assert!(page.has(text), "the card says {text}");
    }
    assert_eq!(page.text.matches(&format!("id=\"a-{FIRST}\"")).count(), 1, "a repeat is no second alert");
    let address = format!("/pictures/{FIRST}/{}", sha256(&picture));
    people.officer.get(&address).await.expect_status(200);
    people.officer.get("/alerts?q=cong+ra+dong+dang").await.has(FIRST).then_some(()).expect("found without diacritics");
    assert!(!people.other.get("/alerts").await.has(FIRST));
    for path in [address, format!("/alerts/{FIRST}")] {
        people.other.get(&path).await.expect_status(404);
    }
    people.other.get("/alerts").await;
    people.other.post(&format!("/alerts/{FIRST}/ack"), &[]).await.expect_status(404);
}

/// Severity 4 needs a reason and a second person.
async fn is_dismissed_by_two(people: &mut People) {
    let path = format!("/alerts/{FIRST}");
    people.officer.get(&path).await.expect_status(200);
    people.officer.post(&format!("{path}/ack"), &[]).await.expect_status(303);
    let form = [("reason", "false_alarm"), ("note", "bóng cây")];
    people.officer.post(&format!("{path}/dismiss"), &[]).await.expect_status(409);
    people.officer.get(&path).await;
    people.officer.post(&format!("{path}/dismiss"), &form).await.expect_status(303);
    people.officer.get(&path).await;
    let again = people.officer.post(&format!("{path}/dismiss"), &form).await.expect_status(409);
    assert!(again.has("người thứ hai"));
    people.officer.get(&path).await;
    // Nor is there another way to end it alone.
    let closed = people.officer.post(&format!("{path}/close"), &[("note", "đã xem")]).await.expect_status(409);
    assert!(closed.has("người thứ hai"));
    people.leader.get(&path).await;
    people.leader.post(&format!("{path}/dismiss"), &form).await.expect_status(303);
    let page = people.leader.get(&path).await;
    assert!(page.has("đã bỏ qua") && page.has("bóng cây") && page.has("Báo nhầm do mô hình"));
    assert!(!people.officer.get("/alerts").await.has(FIRST), "no longer open");
    assert!(people.officer.get("/alerts?view=closed").await.has(FIRST));
}

/// Nobody looks: it goes to the shift leader. A number that is missing meanwhile is asked back.
async fn goes_up_by_itself(room: &Room, people: &mut People) {
    let mut third = alert("15BB", THIRD, 3, 4, None);
    let mut body = body_of(&third);
    // It began before the duty day did.
    body["data"]["duty_day"] = json!("2026-03-02");
    third.1 = body.to_string().into_bytes();
    room.say(vec![third]).await;
    people.leader.sees("/alerts?view=escalated", THIRD).await;
    let page = people.leader.get(&format!("/alerts/{THIRD}")).await;
    assert!(page.has("tự chuyển cấp vì quá hạn chưa ai xem") && !page.has("hết ngày trực chưa ai xem"));
    people.leader.sees("/devices", "tin còn thiếu").await;
    let status = json!({"time": utc_now(), "uptime_s": 93_784, "outbox": {"waiting": 1234}});
    room.say(vec![("gatewatch/v1/15BB/gate-01/status".into(), status.to_string().into_bytes())]).await;
    let page = people.leader.sees("/devices", "1 ngày 2 giờ").await;
    assert!(page.has("1.234 tin, ảnh chờ gửi") && page.has("so với máy chủ trực ban"), "{}", page.text);
}

async fn becomes_a_tip(boxes: &Boxes, people: &mut People) -> String {
    let (topic, asked) = boxes.heard("/cmd/resync", |_| true).await;
    assert_eq!(
        (topic.as_str(), &asked),
        ("gatewatch/v1/15BB/gate-01/cmd/resync", &json!({"from_seq": 2, "to_seq": 2, "epoch": 7}))
    );
    let form = people.officer.get(&format!("/tips/new?alert={THIRD}")).await.expect_status(200);
    assert!(form.has("10000001234") && form.has("CSQU3054383") && form.has("value=\"15BB\""), "filled from the alert");
    let fields = [
        ("alert", THIRD),
        ("office", "15BB"),
        ("suspicion", "unreleased"),
        ("decl", "1000 0001 2345"),
        ("subject", "Xe ra cổng khi chưa thông quan"),
        ("due", "2099-03-03T10:00"),
    ];
    let path = people.officer.post("/tips/new", &fields).await.expect_status(303).to;
    people.officer.get(&path).await.expect_status(200);
    assert!(people.officer.get("/alerts").await.has(THIRD), "a draft ends no alert");
    people.officer.post(&format!("{path}/lead/issue"), &[]).await.expect_status(403);
    people.other.get(&path).await.expect_status(404);
    people.leader.get(&path).await.expect_status(200);
    people.leader.post(&format!("{path}/lead/issue"), &[]).await.expect_status(303);
    let (topic, tip) = boxes.heard("/in/tip", |t| t["state"] == "open").await;
    assert_eq!((topic.as_str(), tip["decl_no"].as_str()), ("gatewatch/v1/15BB/in/tip", Some("10000001234")));
    assert_eq!(tip["id"].as_str(), path.rsplit('/').next());
    assert!(people.officer.get(&format!("/alerts/{THIRD}")).await.has("đã lập tin báo"));
    path
}

async fn is_checked_and_settled(room: &Room, boxes: &Boxes, people: &mut People, path: &str) {
    // What was missing comes: a box's word about the tip, by its number 2.
    let tip = path.rsplit('/').next().unwrap();
    let mut word = body_of(&alert("15BB", SECOND, 2, 2, None));
    word["type"] = json!("gatewatch.alert.correlation.v1");
    word["data"]["tip_id"] = json!(tip);
    word["data"]["summary"] = json!("xe đã ra lúc 10:17");
    room.say(vec![("gatewatch/v1/15BB/gate-01/alert".into(), word.to_string().into_bytes())]).await;
    people.leader.sees(path, "xe đã ra lúc 10:17").await;
    assert!(!people.leader.get("/devices").await.has("tin còn thiếu"), "the hole is closed");

    people.field.get(path).await.expect_status(200);
    people.field.post(&format!("{path}/lead/settle"), &[]).await.expect_status(403);
    let step = |name: &str| format!("{path}/work/{name}");
    people.field.post(&step("start"), &[]).await.expect_status(409);
    for name in ["receive", "start"] {
        people.field.get(path).await;
        people.field.post(&step(name), &[]).await.expect_status(303);
    }
    people.field.post(&step("measure"), &[("action", "request_sample"), ("note", "2 mẫu")]).await.expect_status(303);
    let stop = [("action", "stop"), ("note", "chờ kết quả")];
    people.field.post(&step("measure"), &stop).await.expect_status(303);
    let (topic, stop) = boxes.heard("/in/stop", |_| true).await;
    assert_eq!((topic.as_str(), &stop["decl_no"]), ("gatewatch/v1/15BB/gate-01/in/stop", &json!("10000001234")));
    let page = people.leader.sees(path, "trạm đã nhận").await;
    assert!(page.has("ĐANG DỪNG"), "{}", page.text);
    let measure = page.text.split("name=\"measure\" value=\"").filter_map(|rest| rest.split('"').next());
    let measure = measure.last().unwrap().to_owned();
    people
        .field
        .post(&step("sample"), &[("code", "M-01"), ("seal", "HQ123"), ("lab", "A3K8")])
        .await
        .expect_status(303);
    people
        .field
        .post(&step("money"), &[("kind", "recovery"), ("amount", "2.500.000.000"), ("decision", "12/QĐ")])
        .await
        .expect_status(303);
    people.field.post(&step("money"), &[("kind", "fine"), ("amount", "abc")]).await.expect_status(409);
    people.field.get(path).await;
    people.field.post(&step("money"), &[("kind", "fine"), ("amount", "457000000")]).await.expect_status(303);
    let decision = [b"%PDF-1.7 ".as_slice(), &[0, 1, 2, 255], "Quyết định".as_bytes()].concat();
    let files = format!("{path}/files");
    people.field.attach(&files, "Quyết định 12.pdf", &decision).await.expect_status(303);
    people.field.attach(&files, "ảnh.jpg", b"GIF89a").await.expect_status(409);
    people.field.get(path).await;
    people.field.post(&step("report"), &[("text", "Khai sai mã số")]).await.expect_status(303);
    people.leader.get(path).await;
    people.leader.post(&format!("{path}/lead/settle"), &[("result", "guilty")]).await.expect_status(409);
    people.leader.get(path).await;
    let settle = [("result", "violation"), ("basis", "Điều 9 Nghị định 128"), ("text", "Khai sai mã số")];
    people.leader.post(&format!("{path}/lead/settle"), &settle).await.expect_status(303);
    boxes.heard("/in/tip", |t| t["state"] == "settled").await;
    let page = people.field.get(path).await;
    assert!(page.has(&sha256(&decision)) && page.has("Quyết định 12.pdf") && !page.has("/withdraw"), "settled");
    let file = page.text.split(&format!("{path}/files/")).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let file = format!("{files}/{file}");
    people.field.post(&format!("{file}/withdraw"), &[("note", "nhầm")]).await.expect_status(409);
    let request = people.leader.client.get(room.url(&file)).header("cookie", people.leader.cookie_header());
    let kept = request.send().await.unwrap();
    assert!(kept.headers()["content-disposition"].to_str().unwrap().starts_with("attachment;"));
    assert!(kept.bytes().await.unwrap() == decision, "every byte comes back");
    people.other.get(&file).await.expect_status(404);
    people.leader.get(path).await;
    let lift = [("measure", measure.as_str()), ("outcome", "đã thu đủ thuế")];
    people.leader.post(&step("done"), &lift).await.expect_status(303);
    boxes.heard("/in/stop", |s| s["id"] == stop["id"] && s["to"].is_string()).await;
    let line = people.leader.get("/declarations/10000001234").await.expect_status(200);
    assert!(line.has("Đã thanh khoản") && line.has("Ra cổng khi chưa được phép") && line.has("Có vi phạm"));
}

async fn is_in_the_report(people: &mut People) {
    let page = people.leader.get("/reports?period=year").await.expect_status(200);
    for text in ["100,00 %", "2.500.000.000 đồng", "2,5 tỷ đồng", "457.000.000 đồng", "cắt bỏ phần sau"]
    {
        assert!(page.has(text), "the report says {text}");
    }
    assert!(people.leader.get("/reports/tips?period=year&list=violating").await.has("Xe ra cổng khi chưa thông quan"));
    people.leader.get("/reports/alerts?period=year&list=dealt").await.expect_status(200);
    people
        .leader
        .get("/tips?view=all&q=th%C3%B4ng+quan+ra+c%E1%BB%95ng")
        .await
        .has("A1K2/")
        .then_some(())
        .expect("found");
    people.leader.post("/reports/csv", &[("period", "year")]).await.expect_status(409);
    people.leader.get("/reports").await;
    let export = [("period", "year"), ("note", "báo cáo tháng cho Cục")];
    let csv = people.leader.post("/reports/csv", &export).await.expect_status(200);
    assert!(csv.has("2500000000") && csv.has("A1K2/"), "{}", csv.text);
    people.leader.post("/reports/xlsx", &export).await.expect_status(200);
    assert!(people.auditor.get("/audit?q=export").await.has("csv: báo cáo tháng cho Cục"));
    people.leader.get("/reports").await;
    let printed = people.leader.post("/reports/print", &[("period", "year")]).await.expect_status(303).to;
    assert!(people.leader.get(&printed).await.expect_status(200).has("Tính lại hiện nay"));
    people.leader.post("/language", &[("language", "en")]).await.expect_status(303);
    let english = people.leader.get("/reports?period=year").await;
    assert!(english.has("Violation rate") && english.has("lang=\"en\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_the_box_has_no_more_are_said_to_be_lost() {
    let room = Room::start(DatabaseConfig::default(), |_| {}).await;
    let gone = json!({"ok": true, "result": {"epoch": 7, "first_seq": 5, "last_seq": 9, "queued": 0, "already_pending": 0, "next_from": null}});
    let _boxes = Boxes::start(&room, gone).await;
    let mut admin = room.administrator().await;
    let mut technician = room.account(&mut admin, "em", "technician", "*").await;
    let state = ("gatewatch/v1/15BB/gate-01/state".to_owned(), br#"{"online": true}"#.to_vec());
    room.say(vec![state, alert("15BB", FIRST, 1, 2, None), alert("15BB", THIRD, 5, 2, None)]).await;
    assert!(technician.sees("/devices", "tin đã mất").await.has(">3 tin đã mất<"));
    room.desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_the_desk_is_away_is_there_when_it_is_back() {
    let room = Room::start(DatabaseConfig::default(), |_| {}).await;
    let mut admin = room.administrator().await;
    let mut officer = room.account(&mut admin, "an", "officer", "*").await;
    let mut config = gatewatch::desk::DeskConfig::default();
    config.desk.dir = room.dir.path().into();
    config.mqtt.url = room.broker.url();
    config.http.listen = ([127, 0, 0, 1], 0).into();
    let Room { desk, broker, dir: _dir, .. } = room;
    desk.stop().await;
    let to = MqttConfig { url: broker.url(), ..MqttConfig::default() };
    gatewatch::mqtt::publish::publish_all(&to, "box", vec![alert("15BB", FIRST, 1, 3, None)]).await.unwrap();
    let again = gatewatch::desk::Desk::start(config).await.unwrap();
    assert!(again.first_password.is_none(), "accounts are kept");
    officer.base = format!("http://{}", again.addr);
    officer.sees("/alerts", FIRST).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_cannot_be_tried_through() {
    let room = Room::start(DatabaseConfig::default(), |_| {}).await;
    let mut admin = room.administrator().await;
    let _ = room.account(&mut admin, "an", "officer", "*").await;
    let mut stranger = admin;
    stranger.cookies.clear();
    let mut statuses = Vec::new();
    // The waits double, so that even a slow machine runs into one.
    while statuses.len() < 20 && !statuses.contains(&429) {
        let page = stranger.get("/login").await.text;
        let form = page.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let done = stranger.post("/login", &[("form", &form), ("name", "an"), ("password", "guess")]).await;
        statuses.push(done.status);
    }
    assert_eq!((statuses[0], *statuses.last().unwrap()), (401, 429), "{statuses:?}");
    assert!(statuses.len() > 5, "some mistakes are free: {statuses:?}");
    assert_eq!(stranger.post("/login", &[("form", "forged"), ("name", "an")]).await.status, 403);
    room.desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_proxy_says_who_has_signed_in_and_nobody_else_does() {
    let room = Room::start(DatabaseConfig::default(), |c| {
        c.http.behind_proxy = true;
        c.http.sign_on_header = Some("X-Remote-User".into());
    })
    .await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let ask = async |path: &str, user: Option<&str>, cookie: &str| {
        let mut request = client.get(room.url(path)).header("cookie", cookie);
        if let Some(user) = user {
            request = request.header("x-remote-user", user);
        }
        request.send().await.unwrap()
    };
    assert_eq!(ask("/login", Some("nobody"), "").await.status(), 403, "who has no account");
    assert_eq!(ask("/login", None, "").await.status(), 403, "nobody is named");
    for _ in 0..20 {
        assert_eq!(ask("/login", Some("nobody"), "").await.status(), 403);
    }
    let signed = ask("/login", Some("admin"), "").await;
    assert_eq!(signed.status(), 303);
    let cookie = signed.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-gw-session="), "{cookie}");
    assert_eq!(ask("/accounts", Some("admin"), &cookie).await.status(), 200, "no password to choose");
    for _ in 0..3 {
        let again = ask("/login", Some("admin"), &cookie).await;
        assert!(again.status() == 303 && !again.headers().contains_key("set-cookie"), "signed in already: {again:?}");
    }
    for other in [None, Some("nobody"), Some("Admin")] {
        let away = ask("/accounts", other, &cookie).await;
        assert_eq!(
            (away.status().as_u16(), &away.headers()["location"]),
            (303, &"/login".parse().unwrap()),
            "{other:?}"
        );
    }
    // Who signs out is not signed in again by the next request.
    let page = ask("/password", Some("admin"), &cookie).await.text().await.unwrap();
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let out = client.post(room.url("/logout")).header("cookie", &cookie).header("x-remote-user", "admin");
    let out = out.header("content-type", "application/x-www-form-urlencoded").body(format!("csrf={csrf}"));
    let out = out.send().await.unwrap().headers()["location"].to_str().unwrap().to_owned();
    let page = ask(&out, Some("admin"), "").await;
    assert!(page.status() == 200 && !page.headers().contains_key("set-cookie"), "{out}: {page:?}");
    assert!(page.text().await.unwrap().contains("Đã đăng xuất"));
    let form = client.post(room.url("/login")).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(form.body("name=admin&password=x").send().await.unwrap().status(), 403, "passwords are the proxy's");
    let dir = room.dir;
    room.desk.stop().await;
    let database = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("desk.db"));
    let mut database = sqlx::SqliteConnection::connect_with(&database).await.unwrap();
    let refused =
        "SELECT COUNT(*), COUNT(CASE WHEN object = '' THEN 1 END) FROM audit WHERE action = 'sign_in.refused'";
    let refused: (i64, i64) = sqlx::query_as(refused).fetch_one(&mut database).await.unwrap();
    assert!((1..=10).contains(&refused.0) && refused.1 == 0, "the audit is not filled: {refused:?}");
    let signed: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM audit WHERE action = 'sign_in'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(signed, 1, "one session, one row");
}
