//! The whole story with real parts: two agents that watch a drawn inspection bay over RTSP, Mosquitto, the desk, and a
//! browser. Alerts arrive, a declaration is bound and comes back as a link, footage is held and played, an unseen alert
//! goes up by itself, a tip is answered by the boxes, settled with money, counted, and the auditor sees it all.

use gatewatch::camera::Codec;
use gatewatch::clock::utc_now;
use gatewatch::config::MqttConfig;
use gatewatch::desk::config::{BoxConfig, DatabaseConfig};
use gatewatch::mqtt::publish::publish_all;
use gatewatch::simulate::ServerOptions;
use serde_json::{Value, json};

use crate::agent::ONE;
use crate::support::desk::{Browser, PASSWORD, Room};
use crate::support::gate::{Gate, area, bay, bay_polygon, camera, own_model, serve};
use crate::support::until;
use crate::support::webdriver::Chromium;

const DECLARATION: &str = "10123456789";

fn gate(number: u32, mqtt: &str, rtsp: &str) -> Gate {
    let mut watched = camera("bay", rtsp.to_owned());
    watched.areas = vec![area("bay-1", bay_polygon(), 3.0)];
    watched.areas[0].bay = Some(toml::from_str("after_s = 1.0").unwrap());
    let mut gate = Gate::new(own_model(), mqtt.to_owned(), vec![watched]);
    gate.config.site.box_id = format!("gate-{number:02}");
    gate.config.footage.segment_s = 5;
    gate
}

/// Alerts of a box, as the desk's API gives them.
async fn alerts_of(person: &mut Browser, box_id: &str, good: impl Fn(&Value) -> bool) -> Vec<Value> {
    let all: Value = serde_json::from_str(&person.get("/api/alerts?view=all&limit=1000").await.text).unwrap();
    let alerts = all["alerts"].as_array().unwrap().iter();
    alerts.filter(|a| a["box"] == box_id && good(a)).cloned().collect()
}

async fn one(person: &mut Browser, id: &str) -> Value {
    serde_json::from_str(&person.get(&format!("/api/alerts/{id}")).await.expect_status(200).text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_two_cameras_to_a_settled_tip() {
    let _alone = ONE.lock().await;
    let server = serve(bay(), Codec::H264, ServerOptions::default());
    let mut gates: Vec<Gate> = Vec::new();
    let room = Room::start(DatabaseConfig::default(), |c| {
        gates.extend([1, 2].map(|n| gate(n, &c.mqtt.url, &server.url("bay"))));
        c.boxes = gates
            .iter()
            .map(|g| BoxConfig {
                office: "15BB".into(),
                id: g.config.site.box_id.clone(),
                url: format!("http://{}", g.config.http.listen.unwrap()),
                ..BoxConfig::default()
            })
            .collect();
        c.alerts.escalate_after_s = 20;
    })
    .await;
    let mut admin = room.administrator().await;
    let mut officer = room.account(&mut admin, "an", "officer", "15BB").await;
    let mut leader = room.account(&mut admin, "binh", "shift_leader", "*").await;
    let mut field = room.account(&mut admin, "cuong", "field", "15BB").await;
    let mut auditor = room.account(&mut admin, "dung", "auditor", "*").await;
    for gate in &mut gates {
        gate.start();
    }
    for gate in &gates {
        gate.until_ready().await;
    }
    book(&room).await;
    for gate in &gates {
        gate.until_registered("declarations", 1).await;
        gate.until_registered("bookings", 1).await;
    }

    // Alerts of both boxes; one nobody looks at.
    let dwell = |a: &Value| a["rule"] == "dwell" && a["historical"] == false;
    let first =
        until("an alert of the first box", async || alerts_of(&mut officer, "gate-01", dwell).await.pop()).await;
    let unseen =
        until("an alert of the second box", async || alerts_of(&mut leader, "gate-02", dwell).await.pop()).await;
    let id = first["id"].as_str().unwrap().to_owned();
    let path = format!("/alerts/{id}");
    officer.get(&path).await.expect_status(200);
    officer.post(&format!("{path}/ack"), &[]).await.expect_status(303);
    bound_and_held(&mut officer, &path, &id).await;
    played(&room, &officer, &path).await;
    let escalated = unseen["id"].as_str().unwrap();
    leader.sees("/alerts?view=escalated&similar=show", &format!("a-{escalated}")).await;

    let devices = leader.get("/devices").await;
    assert_eq!(devices.text.matches("nối tiếp, chữ ký đúng").count(), 2, "both boxes sign: {}", devices.text);
    let yard = leader.sees("/yard", "gate-02").await;
    assert!(yard.has("gate-01"), "both bays");

    let tip = tip(&mut officer, &mut leader, &id).await;
    settled(&mut field, &mut leader, &tip).await;
    let report = leader.get("/reports?period=year").await;
    assert!(report.has("100,00 %") && report.has("2.500.000.000 đồng"));
    leader.post("/language", &[("language", "en")]).await.expect_status(303);
    assert!(leader.get(&path).await.has("bound a declaration"));
    for action in ["clip.view", "alert.bind", "alert.hold", "alert.ack", "tip.issue", "tip.settle"] {
        assert!(auditor.get(&format!("/audit?q={action}")).await.has(&format!("<code>{action}</code>")), "{action}");
    }

    for gate in &mut gates {
        assert!(gate.terminate().success());
    }
    leader.sees("/devices", "OFFLINE").await;
    let page = leader.get(&format!("{path}/footage")).await.expect_status(200);
    assert!(page.has("The box does not answer"), "{}", page.text);
    room.desk.stop().await;
}

/// The clearance side: a declaration and its booking of the bay.
async fn book(room: &Room) {
    let now = utc_now();
    let number = format!("{DECLARATION}0");
    let declaration = json!({"decl_no": number, "version": 1, "direction": "import", "office": "15BB", "type_code": "A11",
        "channel": 3, "registered_at": now.plus_ms(-3_600_000)});
    let booking = json!({"id": "b1", "version": 1, "area": "bay-1", "decl_keys": [number], "start": now.plus_ms(-60_000),
        "end": now.plus_ms(3_600_000), "state": "planned"});
    let config = MqttConfig { url: room.broker.url(), ..MqttConfig::default() };
    let of = |kind: &str, body: Value| (format!("gatewatch/v1/15BB/in/{kind}"), body.to_string().into_bytes());
    publish_all(&config, "clearance", vec![of("declaration", declaration), of("booking", booking)]).await.unwrap();
}

/// The officer binds another declaration: the box links the event anew and says so. Footage is held.
async fn bound_and_held(officer: &mut Browser, path: &str, id: &str) {
    officer.get(path).await;
    officer.post(&format!("{path}/bind"), &[("decl", "302222222220"), ("action", "bind")]).await.expect_status(303);
    let linked = async || {
        let alert = one(officer, id).await;
        let link = alert["message"]["data"]["link"]["links"][0].clone();
        (link["method"] == "officer" && link["decl_key"] == "30222222222").then_some(alert)
    };
    let alert = until("the event linked by the officer", linked).await;
    assert_eq!(alert["orders"][0]["ok"], true, "{}", alert["orders"]);
    let page = officer.get(path).await;
    assert!(page.has("cán bộ gắn, 99 %") || page.has("cán bộ gắn, 98 %"), "{}", page.text);
    // A time that is over and written: the box says how much of it there is.
    let start = alert["at_ms"].as_i64().unwrap();
    until("complete files", async || (utc_now().0 > start + 20_000).then_some(())).await;
    let local = |ms: i64| gatewatch::clock::UtcMillis(ms + 7 * 3_600_000).to_rfc3339()[..19].to_owned();
    let form = [("from", local(start)), ("to", local(start + 5_000)), ("note", "nghi vấn hàng hóa".to_owned())];
    let form: Vec<_> = form.iter().map(|(k, v)| (*k, v.as_str())).collect();
    officer.post(&format!("{path}/hold"), &form).await.expect_status(303);
    officer.sees(path, "giữ hình ảnh").await;
    until("how much is held", async || {
        let alert = one(officer, id).await;
        let hold = alert["orders"].as_array().unwrap().iter().find(|o| o["kind"] == "hold" && o["ok"] == true).cloned();
        let answer: Value = serde_json::from_str(hold?["answer"].as_str()?).unwrap();
        assert_ne!(answer["state"], "failed", "it was recorded: {answer}");
        ["applied", "partly"].contains(&answer["state"].as_str()?).then_some(())
    })
    .await;
}

/// The clip comes through the desk, and a browser plays it in the alert's page.
async fn played(room: &Room, officer: &Browser, path: &str) {
    let request = officer.client.get(room.url(&format!("{path}/clip"))).header("cookie", officer.cookie_header());
    let answer = request.header("range", "bytes=0-63").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (206, &"video/mp4".parse().unwrap()));
    let head = answer.bytes().await.unwrap();
    assert_eq!(&head[4..8], b"ftyp", "an MP4");
    let Some(browser) = Chromium::start().await else {
        println!("not played: no browser (Debian packages `chromium` and `chromium-driver`)");
        return;
    };
    browser.look(1366, 768, false).await;
    browser.open(&room.url("/login")).await;
    browser.sign_in("an", PASSWORD).await;
    browser.until("location.pathname === '/alerts'").await;
    browser.picture("story-alerts").await;
    browser.open(&room.url(path)).await;
    browser.run("document.querySelector('a[data-footage]').click()").await;
    browser.until("document.querySelector('#footage video')").await;
    browser.run("const v = document.querySelector('#footage video'); v.muted = true; v.play()").await;
    browser.until("document.querySelector('#footage video').currentTime > 0.5").await;
    browser.picture("story-played").await;
    let state = browser
        .run("const v = document.querySelector('#footage video'); return [v.videoWidth, v.error && v.error.message]")
        .await;
    assert_eq!(state, json!([640, null]));
    assert!(browser.complaints().await.is_empty(), "nothing that the policy refuses");
    browser.open(&room.url("/yard")).await;
    browser.picture("story-yard").await;
    browser.open(&room.url("/devices")).await;
    browser.picture("story-devices").await;
}

/// A tip from the alert; the boxes answer it.
async fn tip(officer: &mut Browser, leader: &mut Browser, alert: &str) -> String {
    officer.get(&format!("/tips/new?alert={alert}")).await.expect_status(200);
    let fields = [
        ("alert", alert),
        ("office", "15BB"),
        ("suspicion", "quantity"),
        ("decl", DECLARATION),
        ("subject", "Số lượng không khớp"),
        ("due", "2099-03-03T10:00"),
    ];
    let path = officer.post("/tips/new", &fields).await.expect_status(303).to;
    leader.get(&path).await.expect_status(200);
    leader.post(&format!("{path}/lead/issue"), &[]).await.expect_status(303);
    leader.sees(&path, "gate-01").await;
    leader.sees(&path, "gate-02").await;
    path
}

async fn settled(field: &mut Browser, leader: &mut Browser, path: &str) {
    field.get(path).await.expect_status(200);
    for step in ["receive", "start"] {
        field.post(&format!("{path}/work/{step}"), &[]).await.expect_status(303);
        field.get(path).await;
    }
    let stop = [("action", "stop"), ("note", "chờ kết quả kiểm tra")];
    field.post(&format!("{path}/work/measure"), &stop).await.expect_status(303);
    let taken = async |person: &mut Browser| person.get(path).await.text.matches("trạm đã nhận").count();
    until("both boxes to take the stop", async || (taken(leader).await == 2).then_some(())).await;
    field.get(path).await;
    let money = [("kind", "recovery"), ("amount", "2.500.000.000"), ("decision", "12/QĐ")];
    field.post(&format!("{path}/work/money"), &money).await.expect_status(303);
    field.get(path).await;
    field.post(&format!("{path}/work/report"), &[("text", "Thiếu 20 kiện")]).await.expect_status(303);
    leader.get(path).await;
    let settle = [("result", "violation"), ("basis", "Điều 9"), ("text", "Thiếu 20 kiện")];
    leader.post(&format!("{path}/lead/settle"), &settle).await.expect_status(303);
}
