//! Footage by camera and time, and a tip's footage, with real parts: an agent that records a drawn bay over RTSP, Mosquitto,
//! the desk, and a browser that plays it in both languages.

use gatewatch::camera::Codec;
use gatewatch::clock::{UtcMillis, utc_now};
use gatewatch::desk::config::{BoxConfig, DatabaseConfig};
use gatewatch::simulate::ServerOptions;
use serde_json::{Value, json};

use crate::agent::ONE;
use crate::support::desk::{Browser, PASSWORD, Room};
use crate::support::gate::{Gate, area, bay, bay_polygon, camera, own_model, serve};
use crate::support::until;
use crate::support::webdriver::Chromium;

const CAMERA: &str = "/footage/15BB/gate-01/bay";

/// The duty room's time in an address.
pub fn local(ms: i64) -> String {
    UtcMillis(ms + 7 * 3_600_000).to_rfc3339()[..19].to_owned()
}

/// As somebody types it.
pub fn typed(ms: i64) -> String {
    let iso = local(ms);
    let (day, time) = iso.split_once('T').unwrap();
    format!("{} {time}", day.split('-').rev().collect::<Vec<_>>().join("/"))
}

pub fn address(from: i64, to: i64) -> String {
    format!("{CAMERA}?from={}&to={}", local(from), local(to))
}

async fn bytes_of(browser: &Browser, path: &str) -> (u16, String, Vec<u8>) {
    let request = browser.client.get(format!("{}{path}", browser.base)).header("cookie", browser.cookie_header());
    let answer = request.send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (answer.status().as_u16(), kind, answer.bytes().await.unwrap().to_vec())
}

/// One alert of the box, and twenty seconds after it are recorded.
async fn recorded(person: &mut Browser) -> Value {
    let found = until("an alert of the box", async || {
        let all: Value = serde_json::from_str(&person.get("/api/alerts?view=all").await.text).unwrap();
        all["alerts"].as_array().unwrap().iter().find(|a| a["rule"] == "dwell").cloned()
    })
    .await;
    let at = found["at_ms"].as_i64().unwrap();
    until("complete files", async || (utc_now().0 > at + 20_000).then_some(())).await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_is_found_by_camera_and_time_played_held_and_saved() {
    let _alone = ONE.lock().await;
    let server = serve(bay(), Codec::H264, ServerOptions::default());
    let mut gate = None;
    let room = Room::start(DatabaseConfig::default(), |c| {
        let mut watched = camera("bay", server.url("bay"));
        watched.name = "Sân kiểm hóa".into();
        watched.areas = vec![area("bay-1", bay_polygon(), 3.0)];
        let made = gate.insert(Gate::new(own_model(), c.mqtt.url.clone(), vec![watched]));
        made.config.footage.segment_s = 5;
        let url = format!("http://{}", made.config.http.listen.unwrap());
        c.boxes = vec![BoxConfig { office: "15BB".into(), id: "gate-01".into(), url, ..BoxConfig::default() }];
    })
    .await;
    let mut gate = gate.unwrap();
    let mut admin = room.administrator().await;
    let mut officer = room.account(&mut admin, "an", "officer", "15BB").await;
    let mut leader = room.account(&mut admin, "binh", "shift_leader", "*").await;
    let mut field = room.account(&mut admin, "cuong", "field", "15BB").await;
    let mut auditor = room.account(&mut admin, "dung", "auditor", "*").await;
    let mut other = room.account(&mut admin, "giang", "officer", "20BB").await;
    gate.start();
    gate.until_ready().await;
    let alert = recorded(&mut officer).await;
    let at = alert["at_ms"].as_i64().unwrap();
    let span = (at - 1_000, at + 10_000);
    let page = address(span.0, span.1);
    let whole = (at + 2_000, at + 9_000);

    // Who chooses a camera and types a time comes to it.
    assert!(officer.get("/footage").await.has("value=\"15BB/gate-01/bay\""));
    assert!(other.get("/footage").await.expect_status(200).has("Không có mục nào"));
    let chosen = format!("/footage?camera=15BB/gate-01/bay&from={}&minutes=2", typed(span.0).replace(' ', "%20"));
    let to = officer.get(&chosen).await.expect_status(303).to;
    assert_eq!(to, address(span.0 / 1000 * 1000, span.0 / 1000 * 1000 + 120_000));
    assert!(officer.get("/footage?camera=15BB/gate-01/bay&from=8h").await.has("Thời gian không đúng dạng"));
    let shown = officer.get(&address(whole.0, whole.1)).await.expect_status(200);
    assert!(shown.has("● Hình ảnh: đầy đủ") && shown.has("Sân kiểm hóa (bay)"), "{}", shown.text);
    let shown = officer.get(&page).await.expect_status(200);
    assert!(shown.has(&format!("/alerts/{}", alert["id"].as_str().unwrap())), "its alerts");
    let day = officer.get(&address(at - 12 * 3_600_000, at + 3_600_000)).await.expect_status(200);
    assert!(day.has("◐ Hình ảnh: một phần") && day.has("chưa có") && day.has("không ghi"), "{}", day.text);
    assert!(!day.has("<video"), "a long time is not played as a whole");
    for (person, status) in [(&mut other, 404), (&mut field, 403)] {
        for path in [page.clone(), page.replace('?', "/clip?"), page.replace('?', "/sheet?"), format!("{CAMERA}/now")] {
            person.get(&path).await.expect_status(status);
        }
    }
    assert_eq!(officer.get("/footage/15BB/gate-09/bay").await.status, 404, "no such box");

    handed(&mut officer, &page).await;
    held(&mut officer, &mut leader, whole).await;
    let tip = tip(&mut officer, &mut leader, span).await;
    assert!(!field.get(&tip).await.expect_status(200).has("data-footage"), "who may not see video is not led to it");
    seen(&room, &page, &address(at - 3_600_000, at + 600_000), &tip, at).await;
    for action in
        ["footage.view", "clip.view", "sheet.view", "camera.view", "clip.save", "footage.hold", "footage.release"]
    {
        let written = auditor.get(&format!("/audit?q={action}")).await;
        assert!(written.has(&format!("<code>{action}</code>")) && written.has("15BB/gate-01/bay"), "{action}");
    }
    assert!(gate.terminate().success());
    let away = officer.sees(&page, "Trạm camera không trả lời").await;
    assert!(away.has("Giữ hình ảnh"), "a hold waits for the box");
    room.desk.stop().await;
}

/// Clip, stills, the picture of now, and the clip as a file for a reason.
async fn handed(officer: &mut Browser, page: &str) {
    let (status, kind, clip) = bytes_of(officer, &page.replace('?', "/clip?")).await;
    assert_eq!((status, kind.as_str(), &clip[4..8]), (200, "video/mp4", &b"ftyp"[..]));
    for path in [page.replace('?', "/sheet?"), format!("{CAMERA}/now")] {
        let (status, kind, jpeg) = bytes_of(officer, &path).await;
        assert_eq!((status, kind.as_str(), &jpeg[..2]), (200, "image/jpeg", &[0xff, 0xd8][..]), "{path}");
    }
    let save = page.replace('?', "/save?");
    officer.get(page).await;
    officer.post(&save, &[]).await.expect_status(409);
    officer.get(page).await;
    let saved = officer.post(&save, &[("note", "kèm biên bản số 7")]).await.expect_status(200);
    assert!(saved.text.chars().take(64).collect::<String>().contains("ftyp"));
}

async fn held(officer: &mut Browser, leader: &mut Browser, (from, to): (i64, i64)) {
    let page = address(from, to);
    officer.get(&page).await;
    let (from, to) = (typed(from), typed(to));
    let hold = [("from", from.as_str()), ("to", to.as_str())];
    officer.post(&format!("{CAMERA}/hold"), &hold).await.expect_status(409);
    officer.get(&page).await;
    officer.post(&format!("{CAMERA}/hold"), &[&hold[..], &[("note", "nghi vấn")]].concat()).await.expect_status(303);
    let shown = officer.sees(&page, "đã giữ đủ").await;
    assert!(shown.has("trong khoảng này") && !shown.has("Bỏ giữ hình ảnh"), "a leader releases");
    officer.sees(&page, "có phần đang được giữ").await;
    let shown = leader.get(&page).await;
    let id = shown.text.split("name=\"hold\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    leader.post(&format!("{CAMERA}/release"), &[("hold", &id), ("note", "xong")]).await.expect_status(303);
    leader.sees(&page, "bỏ giữ <strong>binh</strong>").await;
}

/// A tip from what was seen; the box answers it.
async fn tip(officer: &mut Browser, leader: &mut Browser, (from, to): (i64, i64)) -> String {
    let new = format!("/tips/new?camera=15BB/gate-01/bay&from={}&to={}", local(from), local(to));
    let form = officer.get(&new).await.expect_status(200);
    assert!(form.has("name=\"office\" value=\"15BB\"") && form.has("Camera gate-01 bay"), "{}", form.text);
    // What the form says of its own is what was seen, to the second.
    let value = |name: &str| {
        let (_, rest) = form.text.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    assert_eq!([value("from"), value("to")], [local(from), local(to)]);
    let (from, to) = (value("from"), value("to"));
    let fields = [
        ("office", "15BB"),
        ("suspicion", "quantity"),
        ("subject", "Dỡ hàng không có kiểm tra"),
        ("due", "2099-03-03T10:00"),
        ("from", from.as_str()),
        ("to", to.as_str()),
    ];
    let path = officer.post("/tips/new", &fields).await.expect_status(303).to;
    leader.get(&path).await.expect_status(200);
    leader.post(&format!("{path}/lead/issue"), &[]).await.expect_status(303);
    leader.sees(&path, "data-footage=\"range-0-0\"").await;
    path
}

const VIEWS: [(&str, u32, u32, bool); 3] =
    [("", 1366, 768, false), ("-dark", 1366, 768, true), ("-phone", 390, 844, false)];

/// Everything in a browser, in both languages.
async fn seen(room: &Room, page: &str, hour: &str, tip: &str, at: i64) {
    let Some(browser) = Chromium::start().await else {
        println!("not seen: no browser (Debian packages `chromium` and `chromium-driver`)");
        return;
    };
    browser.look(1366, 768, false).await;
    browser.open(&room.url("/login")).await;
    browser.sign_in("binh", PASSWORD).await;
    for language in ["vi", "en"] {
        browser.open(&room.url("/footage")).await;
        if browser.run("return document.documentElement.lang").await != json!(language) {
            browser.run("document.querySelector('form[action=\"/language\"] button').click()").await;
            browser.until(&format!("document.documentElement.lang === '{language}'")).await;
        }
        for (name, path) in [("footage", "/footage"), ("footage-hour", hour)] {
            browser.open(&room.url(path)).await;
            for (kind, width, height, dark) in VIEWS {
                browser.look(width, height, dark).await;
                browser.until("[...document.querySelectorAll('.sheet[open] img')].every((i) => i.complete && i.naturalWidth > 0)").await;
                browser.picture(&format!("{name}-{language}{kind}")).await;
                browser.is_clean(&format!("{name} {language}{kind}")).await;
            }
            browser.look(1366, 768, false).await;
        }
        by_camera(&browser, room, page, language, at).await;
        of_tip(&browser, room, tip, language).await;
    }
}

async fn by_camera(browser: &Chromium, room: &Room, page: &str, language: &str, at: i64) {
    browser.open(&room.url(page)).await;
    plays(browser, "main").await;
    // The time of the picture is told, and a part of the bar leads there.
    browser.until("/\\d\\d:\\d\\d:\\d\\d/.test(document.querySelector('[data-clock]').textContent)").await;
    browser
        .run("document.querySelector('video').pause(); [...document.querySelectorAll('a[data-at]')].at(-1).click()")
        .await;
    browser.until("document.querySelector('video').currentTime > 5").await;
    let times: Vec<_> = (7..=13).map(|s| local(at + s * 1000)[11..].to_owned()).collect();
    let told = json!(times);
    browser.until(&format!("{told}.some((t) => document.querySelector('[data-clock]').textContent.includes(t))")).await;
    browser.run("document.querySelector('video').pause()").await;
    let before = browser.run("return document.querySelector('video').currentTime").await.as_f64().unwrap();
    browser.run("document.querySelector('[data-seek=\"-1\"]').click()").await;
    browser.until(&format!("document.querySelector('video').currentTime < {before}")).await;
    for open in ["sheet", "live-picture"] {
        browser.run(&format!("const d = document.querySelector('.{open}'); d.open = true; d.scrollIntoView()")).await;
        browser.until(&format!("document.querySelector('.{open} img').naturalWidth > 0")).await;
    }
    browser.run("scrollTo(0, 0)").await;
    for (kind, width, height, dark) in VIEWS {
        browser.look(width, height, dark).await;
        browser.picture(&format!("footage-camera-{language}{kind}")).await;
        browser.is_clean(&format!("footage of a camera {language}{kind}")).await;
    }
    browser.look(1366, 768, false).await;
    let here = browser.run("return location.search").await;
    browser.press("-").await;
    browser.until(&format!("location.search !== {here} && document.readyState === 'complete'")).await;
    browser.press("+").await;
    browser.until(&format!("location.search === {here} && document.readyState === 'complete'")).await;
    assert!(browser.complaints().await.is_empty(), "nothing that the policy refuses");
}

/// On a tip's page nothing is fetched before somebody asks for that one.
async fn of_tip(browser: &Chromium, room: &Room, tip: &str, language: &str) {
    browser.open(&room.url(tip)).await;
    assert_eq!(browser.run("return document.querySelectorAll('video').length").await, json!(0));
    browser.run("document.querySelector('a[data-footage=\"range-0-0\"]').click()").await;
    browser.until("document.querySelector('#range-0-0 section.footage')").await;
    plays(browser, "#range-0-0").await;
    for (kind, width, height, dark) in VIEWS {
        browser.look(width, height, dark).await;
        browser.run("document.querySelector('#range-0-0').scrollIntoView()").await;
        browser.picture(&format!("footage-tip-{language}{kind}")).await;
        browser.is_clean(&format!("footage of a tip {language}{kind}")).await;
    }
    browser.look(1366, 768, false).await;
    // Its links lead on in the same place; an event's clip is another one.
    let before = browser.run("return document.querySelector('#range-0-0 video').getAttribute('src')").await;
    browser.run("document.querySelector('#range-0-0 [data-step=\"back\"]').click()").await;
    browser.until(&format!("!document.querySelector('#range-0-0 video[src={before}]')")).await;
    browser.run("document.querySelector('a[data-footage^=\"event-\"]').click()").await;
    browser.until("document.querySelector('.found video')").await;
    plays(browser, ".found").await;
    assert!(browser.run("return location.pathname").await.as_str().unwrap().starts_with("/tips/"));
    assert!(browser.complaints().await.is_empty(), "nothing that the policy refuses");
}

pub async fn plays(browser: &Chromium, place: &str) {
    browser.until(&format!("document.querySelector('{place} video')")).await;
    browser.run(&format!("const v = document.querySelector('{place} video'); v.muted = true; v.play()")).await;
    browser.until(&format!("document.querySelector('{place} video').currentTime > 0.5")).await;
    let state = format!(
        "const v = document.querySelector('{place} video'); return [v.readyState > 1, v.videoWidth, v.error && v.error.message]"
    );
    assert_eq!(browser.run(&state).await, json!([true, 640, null]));
}
