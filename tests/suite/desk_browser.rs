//! The desk in a real browser: signing in, an alert that appears by itself, keys, and pages that work without anything a
//! strict policy refuses. With `GATEWATCH_SCREENSHOTS` naming a folder every page is also pictured there.

use gatewatch::desk::config::DatabaseConfig;

use crate::support::desk::{Browser, PASSWORD, Room, SHIFT, alert, jpeg};
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
    // Nobody waits the minute that a configuration needs at least; and no box of a slow run is silent, which would sound as well.
    let quick = |c: &mut gatewatch::desk::DeskConfig| (c.alerts.box_away_after_s, c.mqtt.keep_alive_s) = (2, 600);
    let room = Room::start(DatabaseConfig::default(), quick).await;
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
        status(base),
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
    let tip = browser.run("return location.pathname").await.as_str().unwrap().to_owned();
    a_tip_calls(&browser, &room, &mut admin).await;
    browser.open(&room.url("/yard")).await;
    room.say(vec![bay()]).await;
    browser.until("document.getElementById('live').textContent.includes('Ô kiểm hóa số 1')").await;
    leader.sees("/yard", "Ô kiểm hóa số 1").await;
    leader.get("/shifts").await;
    let shift = leader.post("/shifts", &SHIFT).await.expect_status(303).to;
    leader.get(&shift).await;
    leader.post(&format!("{shift}/give"), &[("note", "Ô số 1 cần theo dõi")]).await.expect_status(303);
    room.say(facts()).await;
    leader.sees("/declarations/10000001234", "theo tin báo").await;
    leader.get(&tip).await.expect_status(200);
    leader.attach(&format!("{tip}/files"), "Biên bản.pdf", b"%PDF-1.7").await.expect_status(303);
    a_box_goes_away(&browser, &room).await;
    pages(&browser, &room, &[&shift, &tip]).await;
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
    // So does a number that is heard meanwhile; what the page hears after it is kept out here.
    let counts = "const real = window.fetch, hears = counted; window.shown = null;
        window.fetch = async (...all) => { const answer = await real(...all); counted('vừa đếm');
            counted = (words) => { if (words === heard) hears(words); }; window.fetch = real; return answer; };
        refresh().then(() => { counted = hears; window.shown = 1; });";
    browser.run(counts).await;
    browser.until("window.shown === 1").await;
    assert_eq!(browser.run("return document.getElementById('counts').textContent").await, "vừa đếm");
    // The number of older ones may be another when one of them changes, whether or not its card fits here, and only then.
    let older = "document.getElementById('older').hidden = false; const all = [], counts = 'vừa đếm';
        for (const at of [Date.now() + 1e9, 1]) for (const card of [false, true]) {
          clearTimeout(waiting); waiting = 0;
          show({ id: 'x', at, counts, sound: false, html: card ? `<article class=alert id=a-x data-at=${at}></article>` : '' });
          document.getElementById('a-x')?.remove();
          all.push(waiting !== 0);
        }
        clearTimeout(waiting); waiting = 0; document.getElementById('older').hidden = true; return all;";
    assert_eq!(browser.run(older).await, serde_json::json!([false, false, true, true]));
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

/// A box that the broker says is gone: an open page hears it from the desk itself.
async fn a_box_goes_away(browser: &Chromium, room: &Room) {
    browser.open(&room.url("/alerts")).await;
    let state = |online: bool| {
        let said = serde_json::json!({"online": online}).to_string().into_bytes();
        ("gatewatch/v1/15BB/gate-02/state".to_owned(), said)
    };
    // Only of a box that was heard itself anything is told.
    let heard = || status("gatewatch/v1/15BB/gate-02");
    room.say(vec![heard(), state(true), state(false)]).await;
    browser.until("document.getElementById('alerts').textContent.includes('Trạm camera MẤT LIÊN LẠC')").await;
    browser.run("document.querySelector('.alert[id^=\"a-away-\"] strong a').click()").await;
    browser.until("document.querySelector('main').textContent.includes('chưa trở lại')").await;
    for (name, width, height) in [("away", 1366, 768), ("away-phone", 390, 844)] {
        browser.look(width, height, false).await;
        browser.picture(name).await;
        browser.is_clean(name).await;
    }
    browser.look(1366, 768, false).await;
    room.say(vec![heard(), state(true)]).await;
    let until = "(fetch(location.href).then((a) => a.text()).then((t) => { window.back = t.includes('có liên lạc lại lúc'); }), window.back)";
    browser.until(until).await;
}

/// A tip that somebody else issues calls on whatever page is open, in every window, and is counted until it is received.
async fn a_tip_calls(browser: &Chromium, room: &Room, admin: &mut Browser) {
    let mut other = room.account(admin, "chi", "shift_leader", "*").await;
    browser.open(&room.url("/yard")).await;
    // The one that this leader issued himself waits for the office too; nobody tells him of it.
    browser.until("document.getElementById('calls-count').textContent === '1'").await;
    browser.run("window.rung = []; beep = (severity) => window.rung.push(severity);").await;
    other.get("/tips/new").await;
    let form = [
        ("office", "15BB"),
        ("suspicion", "name_code"),
        ("containers", "MSKU0000080"),
        ("subject", "Khai sai mã hàng, nghi là hàng phải kiểm tra chuyên ngành"),
        ("due", "02/03/2026 17:00"),
    ];
    let tip = other.post("/tips/new", &form).await.expect_status(303).to;
    other.get(&tip).await;
    other.post(&format!("{tip}/lead/issue"), &[]).await.expect_status(303);
    browser.until(&format!("document.querySelector('#calls .call a[href=\"{tip}\"]')")).await;
    browser.until("document.getElementById('calls-count').textContent === '2'").await;
    assert_eq!(browser.run("return window.rung").await, serde_json::json!([3]));
    for (name, width, height, dark) in
        [("call", 1366, 768, false), ("call-dark", 1366, 768, true), ("call-phone", 390, 844, false)]
    {
        browser.look(width, height, dark).await;
        browser.picture(name).await;
        browser.is_clean(name).await;
    }
    browser.look(1366, 768, false).await;
    browser.open(&room.url("/devices")).await;
    browser.until("document.getElementById('calls-count').textContent === '2'").await;
    // What another page of the browser heard is shown here too; that one sounds.
    let another = "window.rung = []; beep = (severity) => window.rung.push(severity);
        const page = new BroadcastChannel('gatewatch-calls binh');
        page.postMessage({ what: 'called', said: { count: 7, html: '<p class=\"call\" id=\"call-x\">x</p>' } });
        page.postMessage({ what: 'lost', said: true });";
    browser.run(another).await;
    browser.until("document.getElementById('call-x') && !document.getElementById('lost').hidden").await;
    let shown = "return [document.getElementById('calls-count').textContent, window.rung.length]";
    assert_eq!(browser.run(shown).await, serde_json::json!(["7", 0]));
    browser.open(&room.url("/devices")).await;
    browser.until("document.getElementById('calls-count').textContent === '2'").await;
    // Somebody else signed in on another page: this one is not for him, and what he is told not for it.
    browser.run("window.old = true; document.getElementById('calls').dataset.account = 'ai-khac'").await;
    other.get(&tip).await;
    other.post(&format!("{tip}/work/receive"), &[]).await.expect_status(303);
    browser.until("!window.old && document.getElementById('calls-count').textContent === '1'").await;
    assert_eq!(browser.run("return document.getElementById('calls').dataset.account").await, "binh");
    assert_eq!(browser.run("return localStorage.getItem('gw-calls ai-khac')").await, serde_json::Value::Null);
    // Its stream is open, as the number shows, and what was told is not told again.
    assert_eq!(browser.run("return document.querySelectorAll('#calls .call').length").await, 0);
}

async fn sign_in(browser: &Chromium, room: &Room, name: &str) {
    browser.open(&room.url("/login")).await;
    browser.picture("login").await;
    browser.is_clean("login").await;
    browser.sign_in(name, PASSWORD).await;
}

/// Every page in both languages, light and dark, on the duty room's screen and on a phone.
async fn pages(browser: &Chromium, room: &Room, [shift, tip]: &[&str; 2]) {
    let paths = [
        "/alerts",
        "/tips",
        "/yard",
        "/shifts",
        "/reports?period=year",
        "/devices",
        "/footage",
        "/declarations/10000001234",
        "/declarations?q=csqu305438",
        "/password",
    ];
    let footage = format!("/alerts/{FIRST}/footage");
    let alert = format!("/alerts/{FIRST}");
    for language in ["vi", "en"] {
        for path in paths.iter().copied().chain([alert.as_str(), footage.as_str(), shift, tip]) {
            browser.open(&room.url(path)).await;
            let name = path.trim_start_matches('/').split(['?', '/']).next().unwrap().to_owned();
            let name = match path {
                p if p == alert => "alert".into(),
                p if p == footage => "alert-footage".into(),
                p if p == *shift => "shift".into(),
                p if p == *tip => "tip".into(),
                "/declarations?q=csqu305438" => "declarations-found".into(),
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

/// A box that is well in part, so that every mark is seen.
fn status(base: &str) -> (String, Vec<u8>) {
    let now = gatewatch::clock::utc_now();
    let body = serde_json::json!({
        "time": now, "uptime_s": 93_784, "database_writable": true, "overloaded": ["gate"],
        "outbox": {"waiting": 1234, "bytes": 9_000_000, "oldest_s": 240, "behind": true, "dropped": 3},
        "storage": {"state": "full", "free_bytes": 1_345_678_901_i64, "disk_bytes": 100_000_000_000_i64,
            "footage_bytes": 39_000_000_000_i64, "held_bytes": 2_000_000_000, "whole_from": now.plus_ms(-200_000_000),
            "oldest": now.plus_ms(-900_000_000)},
        "clock": {"synchronised": true, "synchronised_at": now.plus_ms(-600_000), "cameras_offset_ms": 40, "cameras": 1},
        "detector": {"state": "running", "model": {"name": "gate.onnx", "sha256": "0123456789abcdef"}},
        "parts": [{"part": "footage", "level": "degraded", "message": "1345678901 bytes are free and nothing may be deleted: recording is stopped"},
            {"part": "camera/gate", "level": "failed", "message": "cannot reach rtsp://192.0.2.11:554/stream1; check address, path, cable and power"}],
    });
    (format!("{base}/status"), body.to_string().into_bytes())
}

/// What the clearance side says of the alerts' declaration.
fn facts() -> Vec<(String, Vec<u8>)> {
    let of =
        |kind: &str, body: serde_json::Value| (format!("gatewatch/v1/15BB/in/{kind}"), body.to_string().into_bytes());
    let declaration = serde_json::json!({"decl_no": "100000012340", "version": 2, "direction": "import", "office": "15BB",
        "type_code": "A11", "channel": 3, "containers": ["CSQU3054383", "MSKU0000080"], "seals": ["VN123456"], "plates": ["15C-123.45"],
        "channel_history": [{"at": "2026-03-02T01:20:00Z", "from": 2, "to": 3, "by": "15BB", "reason": "nghi vấn"}],
        "registered_at": "2026-03-02T08:10:00+07:00", "fetched_at": "2026-03-02T09:00:00+07:00", "source": "vcis"});
    let stop = serde_json::json!({"id": "S-4", "decl_no": "10000001234", "container": "CSQU3054383", "by": "Trần Bình",
        "reason": "theo tin báo", "from": "2026-03-02T10:30:00+07:00", "tip_id": "TB-0107"});
    let booking = serde_json::json!({"id": "b1", "version": 1, "area": "bay-1", "decl_keys": ["10000001234"], "state": "active",
        "start": "2026-03-02T10:00:00+07:00", "end": "2026-03-02T11:00:00+07:00"});
    vec![of("declaration", declaration), of("stop", stop), of("booking", booking)]
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
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, 85);
    encoder.encode(&pixels, 320, 180, image::ExtendedColorType::Rgb8).unwrap();
    assert!(out.starts_with(&jpeg(0)[..3]));
    out
}
