//! The agent's own page in a real browser, with a real agent behind it: the token, how parts and cameras are, what a camera sees
//! now, and an area that is drawn, written into the configuration file and in force after a restart.

use gatewatch::camera::Codec;
use gatewatch::config;
use gatewatch::simulate::ServerOptions;
use serde_json::{Value, json};

use crate::support::gate::{self, Gate};
use crate::support::mosquitto::Mosquitto;
use crate::support::until;
use crate::support::webdriver::Chromium;

const TOKEN: &str = "a token for the page";

/// The agent's gate with a token; waits until the agent is there.
async fn gate_with_token(broker: &Mosquitto, url: String) -> Gate {
    let mut camera = gate::camera("bay", url);
    camera.areas = vec![gate::area("bay-1", gate::bay_polygon(), 2.0)];
    let mut gate = Gate::new(gate::own_model(), broker.url(), vec![camera]);
    let file = gate.dir.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    gate.config.http.token.file = Some(file);
    gate
}

async fn ask(gate: &Gate, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Vec<u8>) {
    let url = format!("http://{}{path}", gate.config.http.listen.unwrap());
    let mut request = reqwest::Client::new().request(method, url).bearer_auth(TOKEN);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

async fn areas(gate: &Gate) -> Value {
    serde_json::from_slice(&ask(gate, reqwest::Method::GET, "/api/cameras/bay/areas", None).await.1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_area_is_drawn_on_what_the_camera_sees_and_in_force_after_a_restart() {
    gatewatch::install_crypto();
    let _alone = super::agent::ONE.lock().await;
    let broker = Mosquitto::open();
    let server = gate::serve(gate::bay(), Codec::H264, ServerOptions::default());
    let mut gate = gate_with_token(&broker, server.url("bay")).await;
    gate.start();
    gate.until_ready().await;

    // What is seen: a JPEG that changes, with its privacy masks; refused without the token, and of cameras that are none.
    let look = |notes: bool| format!("/api/cameras/bay/picture?notes={notes}");
    let (code, first) = ask(&gate, reqwest::Method::GET, &look(true), None).await;
    assert_eq!((code, &first[..2]), (200, &[0xff, 0xd8][..]), "{}", String::from_utf8_lossy(&first));
    until("another picture", async || {
        (ask(&gate, reqwest::Method::GET, &look(true), None).await.1 != first).then_some(())
    })
    .await;
    assert_eq!(ask(&gate, reqwest::Method::GET, "/api/cameras/none/picture", None).await.0, 404);
    assert_eq!(gate.get(&look(true)).await.unwrap().0, 401);

    // By hand: refused where the file is another than the drawing began with, or the drawing is none; nothing is written.
    let file = gate.dir.path().join("gatewatch.toml");
    let written = || std::fs::read_to_string(&file).unwrap();
    let (before, known) = (written(), areas(&gate).await);
    assert_eq!((&known["may_write"], &known["restart_needed"]), (&json!(true), &json!(false)));
    let put = async |digest: &str, polygon: Value, write: bool| {
        let area = json!({"id": "table", "name": "Bàn mẫu", "kind": "sampling_table", "polygon": polygon});
        let areas = json!([known["drawn"]["areas"][0], area]);
        let body = json!({"digest": digest, "write": write, "areas": areas, "lines": []});
        ask(&gate, reqwest::Method::PUT, "/api/cameras/bay/areas", Some(body)).await
    };
    let (digest, good) = (known["digest"].as_str().unwrap(), json!([[0.1, 0.1], [0.4, 0.1], [0.4, 0.5]]));
    assert_eq!(put("0123", good.clone(), true).await.0, 409);
    let (code, refused) = put(digest, json!([[0.1, 0.1], [0.4, 0.1]]), true).await;
    let refused = String::from_utf8(refused).unwrap();
    assert!(code == 422 && refused.contains("camera[0].area[1].polygon"), "{code} {refused}");
    let (code, shown) = put(digest, good, false).await;
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    assert!(code == 200 && shown["toml"].as_str().unwrap().contains("id = \"table\""), "{shown}");
    assert_eq!(written(), before, "nothing was to be written");

    if let Some(browser) = Chromium::start().await {
        in_the_browser(&browser, &gate).await;
    } else {
        println!("skipped: no browser (Debian packages `chromium` and `chromium-driver`)");
        let area = json!({"id": "drawn", "kind": "lane", "polygon": [[0.05, 0.6], [0.3, 0.6], [0.3, 0.95]]});
        let all = json!([known["drawn"]["areas"][0], area]);
        let body = json!({"digest": digest, "write": true, "areas": all, "lines": []});
        assert_eq!(ask(&gate, reqwest::Method::PUT, "/api/cameras/bay/areas", Some(body)).await.0, 200);
    }
    let now = config::parse(&written(), "gatewatch.toml").unwrap();
    let drawn = &now.cameras[0].areas[1];
    assert_eq!((drawn.id.0.as_str(), drawn.polygon.0.len(), drawn.has_rule()), ("drawn", 3, true));
    assert_eq!(now.cameras[0].areas[0], gate.config.cameras[0].areas[0], "with its own rules");
    assert_eq!(std::fs::read_to_string(file.with_extension("toml.bak")).unwrap(), before);
    assert_eq!(areas(&gate).await["restart_needed"], json!(true));

    assert!(gate.terminate().success());
    gate.config = now;
    gate.start();
    gate.until_ready().await;
    let known = areas(&gate).await;
    assert_eq!((&known["drawn"]["areas"][1]["id"], &known["restart_needed"]), (&json!("drawn"), &json!(false)));
}

async fn in_the_browser(browser: &Chromium, gate: &Gate) {
    let page = format!("http://{}/?lang=vi", gate.config.http.listen.unwrap());
    browser.look(1366, 900, false).await;
    browser.open(&page).await;
    browser.until("!document.getElementById('login').hidden && document.getElementById('inside').hidden").await;
    browser.type_into("#token", "not the token").await;
    browser.run("document.querySelector('#login button').click()").await;
    browser.until("document.getElementById('refused').textContent").await;
    // The refusals themselves are what the console complains of.
    browser.complaints().await;
    browser.type_into("#token", TOKEN).await;
    browser.run("document.querySelector('#login button').click()").await;
    browser.until("document.getElementById('live').naturalWidth > 0").await;
    browser.until("document.querySelector('#cameras .good')?.textContent === 'Đang nhận hình'").await;
    browser.picture("agent-page").await;
    browser.is_clean("state").await;

    browser.run("document.getElementById('edit').click()").await;
    browser.until("document.getElementById('still').naturalWidth > 0").await;
    browser.until("document.querySelectorAll('#shapes option').length === 1").await;
    browser.run("document.getElementById('new-area').click()").await;
    let click = |x: f32, y: f32| {
        format!(
            "const s = document.getElementById('shapes-on'), b = s.getBoundingClientRect();
             s.dispatchEvent(new PointerEvent('pointerdown', {{bubbles: true, pointerId: 1, clientX: b.left + b.width * {x}, clientY: b.top + b.height * {y}}}));"
        )
    };
    for (x, y) in [(0.05, 0.6), (0.3, 0.6), (0.3, 0.95)] {
        browser.run(&click(x, y)).await;
    }
    browser.run("document.getElementById('done').click()").await;
    browser
        .run("const f = document.getElementById('f-id'); f.value = 'drawn'; f.dispatchEvent(new Event('change'))")
        .await;
    browser.run("document.getElementById('check').click()").await;
    browser.until("document.getElementById('toml').textContent.includes('id = \"drawn\"')").await;
    browser.picture("agent-draw").await;
    browser.run("document.getElementById('save').click()").await;
    browser.until("document.getElementById('answer').textContent.includes('gatewatch.toml')").await;
    browser.until("!document.getElementById('pending').hidden").await;
    browser.look(390, 844, true).await;
    browser.picture("agent-draw-phone").await;
    browser.is_clean("drawing on a phone, dark").await;
}
