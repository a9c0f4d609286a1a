//! The desk in a real browser: signing in, an alert that appears by itself, keys, and pages that work without anything a
//! strict policy refuses. With `GATEWATCH_SCREENSHOTS` naming a folder every page is also pictured there.

use gatewatch::desk::config::DatabaseConfig;

use crate::support::desk::{PASSWORD, Room, SHIFT, alert, jpeg};
use crate::support::webdriver::Chromium;

const FIRST: &str = "01JC0000000000000000000001";
const SECOND: &str = "01JC0000000000000000000002";
const THIRD: &str = "01JC0000000000000000000003";
const FOURTH: &str = "01JC0000000000000000000004";

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_appears_by_itself_and_keys_work() {
    gatewatch::install_crypto();
    let Some(browser) = Chromium::start().await else {
        println!("skipped: no browser (Debian packages `chromium` and `chromium-driver`)");
        return;
    };
    let room = Room::start(DatabaseConfig::default(), |_| {}).await;
    let mut admin = room.administrator().await;
    let mut leader = room.account(&mut admin, "binh", "shift_leader", "*").await;
    room.account(&mut admin, "dung", "auditor", "*").await;
    browser.look(1366, 768, false).await;
    sign_in(&browser, &room, "binh").await;
    browser.until("document.querySelector('#alerts')").await;
    browser.is_clean("empty alerts").await;

    let picture = picture();
    let base = "gatewatch/v1/15BB/gate-01";
    let state = (format!("{base}/state"), br#"{"online": true}"#.to_vec());
    let camera = (
        format!("{base}/camera/gate/state"),
        br#"{"camera": "gate", "state": "running", "width": 1920, "height": 1080, "codec": "h264", "reconnects": 0, "clock_offset_ms": 12}"#.to_vec(),
    );
    let snapshot = (format!("{base}/snapshot/{FIRST}"), picture.clone());
    room.say(vec![
        state,
        camera,
        snapshot,
        alert("15BB", FIRST, 1, 4, Some(&picture)),
        alert("15BB", SECOND, 2, 3, None),
    ])
    .await;
    browser.until(&format!("document.getElementById('a-{FIRST}') && document.getElementById('a-{SECOND}')")).await;
    for (name, width, height, dark) in
        [("alerts", 1366, 768, false), ("alerts-dark", 1366, 768, true), ("alerts-phone", 390, 844, false)]
    {
        browser.look(width, height, dark).await;
        browser.picture(name).await;
        browser.is_clean(name).await;
    }
    browser.look(1366, 768, false).await;

    comes_while_the_list_is_fetched(&browser, &room).await;
    the_others_of_a_group_are_not_hidden(&browser, &room).await;
    what_was_missed_rings(&browser, &room).await;

    let watch = "const real = window.fetch; window.kinds = [];
        window.fetch = async (...all) => { const answer = await real(...all); window.kinds.push(answer.type); return answer; };";
    browser.run(watch).await;
    browser.run(&format!("document.getElementById('a-{FIRST}').focus()")).await;
    browser.press("a").await;
    browser.until(&format!("document.getElementById('a-{FIRST}').dataset.state === 'acked'")).await;
    browser.until("window.kinds.includes('opaqueredirect')").await;
    browser.press("d").await;
    browser.until("document.getElementById('dialog-dismiss').open").await;
    browser.until("document.querySelector('#dialog-dismiss [name=facts]').value.length === 64").await;
    browser.picture("dismiss").await;
    browser.press("\u{e00c}").await;
    browser.press("t").await;
    browser.until("location.pathname === '/tips/new'").await;
    browser.picture("tip-new").await;
    browser.is_clean("tip-new").await;
    browser.run("document.querySelector('[name=suspicion]').value = 'unreleased'").await;
    browser.run("document.querySelector('main form button').click()").await;
    browser.until("location.pathname.startsWith('/tips/0')").await;
    browser.run("document.querySelector('.steps form button').click()").await;
    browser.until("document.body.textContent.includes('Đã phát')").await;
    browser.picture("tip").await;
    browser.is_clean("tip").await;
    browser.open(&room.url("/yard")).await;
    room.say(vec![bay()]).await;
    browser.until("document.getElementById('live').textContent.includes('Ô kiểm hóa số 1')").await;
    leader.sees("/yard", "Ô kiểm hóa số 1").await;
    leader.get("/shifts").await;
    let shift = leader.post("/shifts", &SHIFT).await.expect_status(303).to;
    leader.get(&shift).await;
    leader.post(&format!("{shift}/give"), &[("note", "Ô số 1 cần theo dõi")]).await.expect_status(303);
    pages(&browser, &room, &shift).await;
    room.desk.stop().await;
}

/// The page takes its list anew, and an alert comes between the answer and its being shown.
async fn comes_while_the_list_is_fetched(browser: &Chromium, room: &Room) {
    // Each alert by itself, also on a list that is taken anew.
    browser.open(&room.url("/alerts?similar=show")).await;
    browser.until(&format!("document.getElementById('a-{FIRST}')")).await;
    let hold = "const real = window.fetch; window.held = 0; const open = new Promise((resolve) => { window.go = resolve; });
        window.fetch = async (...all) => { const answer = await real(...all); window.held = 1; await open; window.fetch = real; return answer; };
        refresh();";
    browser.run(hold).await;
    browser.until("window.held === 1").await;
    room.say(vec![alert("15BB", THIRD, 3, 2, None)]).await;
    browser.until(&format!("document.getElementById('a-{THIRD}')")).await;
    browser.run("document.getElementById('alerts').children[0].classList.add('old'); window.go()").await;
    browser.until("missed === null && !document.querySelector('.old')").await;
    let there = browser.run(&format!("return Boolean(document.getElementById('a-{THIRD}'))")).await;
    assert_eq!(there, true, "an alert that comes meanwhile stays on the page");
}

/// One card stands for two alerts: news of it leaves the other hidden, a decision about it does not.
async fn the_others_of_a_group_are_not_hidden(browser: &Chromium, room: &Room) {
    room.say(vec![alert("15BB", FOURTH, 4, 2, None)]).await;
    browser.until(&format!("document.getElementById('a-{FOURTH}')")).await;
    browser.open(&room.url("/alerts")).await;
    browser
        .until(&format!("document.querySelector('#a-{FOURTH} .more') && !document.getElementById('a-{THIRD}')"))
        .await;
    let mut news = alert("15BB", FOURTH, 5, 2, None);
    let mut body = crate::support::desk::body_of(&news);
    (body["data"]["revision"], body["data"]["phase"]) = (serde_json::json!(2), serde_json::json!("update"));
    news.1 = body.to_string().into_bytes();
    room.say(vec![news]).await;
    browser.until(&format!("document.getElementById('a-{FOURTH}').textContent.includes('đang tiếp diễn')")).await;
    assert_eq!(browser.run(&format!("return document.querySelectorAll('#a-{FOURTH} .more').length")).await, 1);
    browser.run(&format!("document.getElementById('a-{FOURTH}').focus()")).await;
    browser.press("a").await;
    browser.until(&format!("document.getElementById('a-{FOURTH}').dataset.state === 'acked'")).await;
    browser.until(&format!("document.getElementById('a-{THIRD}')")).await;
}

/// An alert that nobody told the page of rings when the list is taken anew, once; one that is known does not.
async fn what_was_missed_rings(browser: &Chromium, room: &Room) {
    browser.open(&room.url("/alerts?similar=show")).await;
    browser.until(&format!("document.getElementById('a-{FIRST}')")).await;
    let script = format!(
        "window.rung = []; beep = (severity) => window.rung.push(severity); document.getElementById('a-{FIRST}').remove();
         window.taken = 0; refresh().then(() => refresh()).then(() => {{ window.taken = 1; }});"
    );
    browser.run(&script).await;
    browser.until("window.taken === 1").await;
    assert_eq!(browser.run("return window.rung").await, serde_json::json!([4]));
    let said = browser.run("return document.querySelector('#say span').textContent").await;
    assert_eq!(said, "Khẩn cấp: Ra cổng khi chưa được phép");
}

async fn sign_in(browser: &Chromium, room: &Room, name: &str) {
    browser.open(&room.url("/login")).await;
    browser.picture("login").await;
    browser.is_clean("login").await;
    browser.sign_in(name, PASSWORD).await;
}

/// Every page in both languages, light and dark, on the duty room's screen and on a phone.
async fn pages(browser: &Chromium, room: &Room, shift: &str) {
    let paths = [
        "/alerts",
        "/tips",
        "/yard",
        "/shifts",
        "/reports?period=year",
        "/devices",
        "/footage",
        "/declarations/10000001234",
        "/password",
    ];
    let footage = format!("/alerts/{FIRST}/footage");
    let alert = format!("/alerts/{FIRST}");
    for language in ["vi", "en"] {
        for path in paths.iter().copied().chain([alert.as_str(), footage.as_str(), shift]) {
            browser.open(&room.url(path)).await;
            let name = path.trim_start_matches('/').split(['?', '/']).next().unwrap().to_owned();
            let name = match path {
                p if p == alert => "alert".into(),
                p if p == footage => "alert-footage".into(),
                p if p == shift => "shift".into(),
                _ => name,
            };
            for (kind, width, height, dark) in
                [("", 1366, 768, false), ("-dark", 1366, 768, true), ("-phone", 390, 844, false)]
            {
                browser.look(width, height, dark).await;
                browser.picture(&format!("{name}-{language}{kind}")).await;
                browser.is_clean(&format!("{name} {language}{kind}")).await;
            }
        }
        browser.look(1366, 768, false).await;
        browser.run("document.querySelector('form[action=\"/language\"] button').click()").await;
        let other = if language == "vi" { "en" } else { "vi" };
        browser.until(&format!("document.documentElement.lang === '{other}'")).await;
    }
    browser.run("document.querySelector('form[action=\"/logout\"] button').click()").await;
    browser.until("location.pathname === '/login'").await;
    sign_in(browser, room, "dung").await;
    browser.open(&room.url("/audit")).await;
    browser.picture("audit").await;
    browser.is_clean("audit").await;
}

/// A vehicle in a bay.
fn bay() -> (String, Vec<u8>) {
    let mut body = crate::support::desk::body_of(&alert("15BB", "01JC0000000000000000000009", 6, 1, None));
    body["type"] = serde_json::json!("gatewatch.event.bay_occupied.v1");
    body["data"]["area"] = serde_json::json!({"id": "bay-1", "name": "Ô kiểm hóa số 1", "kind": "inspection_bay"});
    ("gatewatch/v1/15BB/gate-01/event".into(), body.to_string().into_bytes())
}

/// A real picture, so that it can be looked at.
fn picture() -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..180_u32 {
        for x in 0..320_u32 {
            pixels.extend([(x / 2) as u8, (y + 40) as u8, if (x / 40 + y / 40) % 2 == 0 { 90 } else { 130 }]);
        }
    }
    let mut out = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut out, 85);
    encoder.encode(&pixels, 320, 180, jpeg_encoder::ColorType::Rgb).unwrap();
    assert!(out.starts_with(&jpeg(0)[..3]));
    out
}
