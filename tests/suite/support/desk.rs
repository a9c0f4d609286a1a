//! A desk with its broker, and browsers that walk through its pages over HTTP: cookies, forms and their tokens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gatewatch::config::MqttConfig;
use gatewatch::desk::config::DatabaseConfig;
use gatewatch::desk::{Desk, DeskConfig, FIRST_ACCOUNT};
use gatewatch::mqtt::connect::plain_options;
use gatewatch::mqtt::publish::publish_all;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::mosquitto::Mosquitto;
use super::postgres::Postgres;
use super::until;

pub const PASSWORD: &str = "bốn bức tường xanh";

/// A running desk.
pub struct Room {
    pub desk: Desk,
    pub dir: tempfile::TempDir,
    pub broker: Mosquitto,
    pub first_password: String,
}

impl Room {
    pub async fn start(database: DatabaseConfig, change: impl FnOnce(&mut DeskConfig)) -> Self {
        gatewatch::install_crypto();
        let (broker, dir) = (Mosquitto::open(), tempfile::tempdir().unwrap());
        let mut config = DeskConfig { database, ..DeskConfig::default() };
        config.desk.dir = dir.path().into();
        config.mqtt.url = broker.url();
        config.mqtt.gap_after_s = 1;
        config.http.listen = ([127, 0, 0, 1], 0).into();
        change(&mut config);
        let desk = Desk::start(config).await.unwrap();
        let mut connected = desk.connected();
        until("the desk's subscriptions", async || connected.borrow_and_update().then_some(())).await;
        let first_password = desk.first_password.clone().unwrap();
        Self { desk, dir, broker, first_password }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.desk.addr)
    }

    /// What a box says.
    pub async fn say(&self, messages: Vec<(String, Vec<u8>)>) {
        let config = MqttConfig { url: self.broker.url(), ..MqttConfig::default() };
        publish_all(&config, "test-box", messages).await.unwrap();
    }

    /// An administrator with a password of his own.
    pub async fn administrator(&self) -> Browser {
        Browser::enter(self, FIRST_ACCOUNT, &self.first_password).await
    }

    /// A new account, signed in with a password of its own.
    pub async fn account(&self, admin: &mut Browser, name: &str, role: &str, offices: &str) -> Browser {
        let form = [("name", name), ("display", name), ("role", role), ("offices", offices)];
        let page = admin.post("/accounts", &form).await.expect_status(200);
        let once = page.text.split("class=\"once\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
        Browser::enter(self, name, &once).await
    }
}

/// An answer of the desk.
pub struct Page {
    pub status: u16,
    pub to: String,
    pub text: String,
}

impl Page {
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} {}", self.to, self.text.get(..2000).unwrap_or(&self.text));
        self
    }

    pub fn has(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}

/// One person's browser.
pub struct Browser {
    pub base: String,
    pub client: reqwest::Client,
    pub cookies: BTreeMap<String, String>,
    csrf: String,
    /// What the last alert's page showed, as its forms send it.
    facts: String,
    /// Version that the forms of the last page are about; empty where they name none.
    version: String,
}

fn field(html: &str, name: &str) -> String {
    let after = html.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_default();
    after.split('"').next().unwrap_or_default().to_owned()
}

impl Browser {
    /// Signs in with a one-time password and chooses [`PASSWORD`].
    pub async fn enter(room: &Room, name: &str, once: &str) -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut this = Self {
            base: room.url(""),
            client,
            cookies: BTreeMap::new(),
            csrf: String::new(),
            facts: String::new(),
            version: String::new(),
        };
        this.sign_in(name, once).await;
        this.get("/password").await.expect_status(200);
        let form = [("now", once), ("new", PASSWORD), ("again", PASSWORD)];
        assert_eq!(this.post("/password", &form).await.expect_status(303).to, "/");
        this
    }

    pub async fn sign_in(&mut self, name: &str, password: &str) {
        let page = self.get("/login").await.expect_status(200);
        let form = field(&page.text, "form");
        let done = self.post("/login", &[("form", &form), ("name", name), ("password", password)]).await;
        assert_eq!(done.expect_status(303).to, "/");
    }

    /// The same person in a second window.
    pub fn twin(&self) -> Self {
        Self {
            base: self.base.clone(),
            client: self.client.clone(),
            cookies: self.cookies.clone(),
            csrf: self.csrf.clone(),
            facts: self.facts.clone(),
            version: self.version.clone(),
        }
    }

    pub fn cookie_header(&self) -> String {
        self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("; ")
    }

    async fn done(&mut self, request: reqwest::RequestBuilder) -> Page {
        let answer = request.header(COOKIE, self.cookie_header()).send().await.unwrap();
        for set in answer.headers().get_all(SET_COOKIE) {
            let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.into(), value.into());
        }
        let to = answer.headers().get(LOCATION).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = answer.status().as_u16();
        let text = String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned();
        let csrf = field(&text, "csrf");
        if !csrf.is_empty() {
            self.csrf = csrf;
            self.version = field(&text, "version");
        }
        let facts = field(&text, "facts");
        if !facts.is_empty() {
            self.facts = facts;
        }
        Page { status, to, text }
    }

    pub async fn get(&mut self, path: &str) -> Page {
        let request = self.client.get(format!("{}{path}", self.base)).header("accept", "text/html");
        self.done(request).await
    }

    /// Sends a form with the token of the last page, what the last alert's page showed, and the version that the form is about.
    pub async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Page {
        let mut fields = vec![("csrf", self.csrf.as_str()), ("facts", self.facts.as_str())];
        if !self.version.is_empty() && form.iter().all(|(name, _)| *name != "version") {
            fields.push(("version", self.version.as_str()));
        }
        fields.extend_from_slice(form);
        let encoded: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={}", escaped(v))).collect();
        let request = self.client.post(format!("{}{path}", self.base));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(encoded.join("&"));
        self.done(request).await
    }

    /// Attaches a file with the token of the last page.
    pub async fn attach(&mut self, path: &str, name: &str, content: &[u8]) -> Page {
        let part = |head: &str| format!("--part\r\nContent-Disposition: form-data; {head}\r\n\r\n");
        let mut body = format!("{}{}\r\n", part("name=\"csrf\""), self.csrf).into_bytes();
        body.extend(part(&format!("name=\"file\"; filename=\"{name}\"")).bytes());
        body.extend(content);
        body.extend(b"\r\n--part--\r\n");
        let request = self.client.post(format!("{}{path}", self.base)).body(body);
        self.done(request.header("content-type", "multipart/form-data; boundary=part")).await
    }

    /// Asks until the page holds `text`.
    pub async fn sees(&mut self, path: &str, text: &str) -> Page {
        until(&format!("{path} to show {text}"), async || Some(self.get(path).await).filter(|p| p.has(text))).await
    }
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// A JPEG, as far as the desk looks.
pub fn jpeg(n: u8) -> Vec<u8> {
    vec![0xff, 0xd8, 0xff, 0xe0, n, 0xff, 0xd9]
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// An alert of box `gate-01` of an office, as an agent publishes it.
pub fn alert(office: &str, id: &str, seq: i64, severity: i64, picture: Option<&[u8]>) -> (String, Vec<u8>) {
    let at = gatewatch::clock::utc_now();
    // Eight hours after midnight, seven hours east.
    let (now, duty_day) = (at.to_rfc3339(), at.plus_ms(-3_600_000).to_rfc3339()[..10].to_owned());
    let topic = format!("gatewatch/v1/{office}/gate-01");
    let snapshot =
        picture.map(|p| json!({"topic": format!("{topic}/snapshot/{id}"), "sha256": sha256(p), "bytes": p.len()}));
    let body = json!({
        "specversion": "1.0", "id": id, "source": format!("/office/{office}/box/gate-01"),
        "type": "gatewatch.alert.gate_out_not_released.v1", "subject": "decl/10000001234", "time": now,
        "datacontenttype": "application/json",
        "data": {
            "revision": 1, "phase": "new", "severity": severity, "rule": "gate_out_not_released", "office": office, "box": "gate-01",
            "camera": {"id": "gate", "name": "Cổng ra số 2"}, "area": {"id": "out", "name": "Vạch Đông Đăng", "kind": "gate_out"},
            "capture": {"start": now, "best": now, "end": null, "time_source": "rtcp_ntp", "uncertainty_ms": 40, "clock_offset_ms": 12},
            "duty_day": duty_day, "dwell_ms": null, "object": {"label": "truck", "score": 0.91},
            "check": {"question": "may_leave", "answer": "no", "feed_age_s": 3, "basis": ["10000001234: not released"]},
            "link": {"verdict": "linked", "reason": "one booking", "feed_stale": false, "links": [
                {"decl_key": "10000001234", "amend_no": 0, "method": "booking", "scope": "container", "confidence": 0.8, "state": "linked",
                 "booking_id": "b1", "containers": ["CSQU3054383"], "channel": 3, "declaration_known": true, "reason": "inside the booking"}]},
            "snapshot": snapshot, "model": {"name": "gate.onnx"}, "sequence": {"epoch": 7, "seq": seq, "historical": false}
        }
    });
    (format!("{topic}/alert"), body.to_string().into_bytes())
}

/// The message that is in a pair made by [`alert`].
pub fn body_of(message: &(String, Vec<u8>)) -> Value {
    serde_json::from_slice(&message.1).unwrap()
}

/// Plays the boxes: sees everything, answers resync with what it is told, and takes every order.
pub struct Boxes {
    pub seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Boxes {
    pub async fn start(room: &Room, answer: Value) -> Self {
        let config = MqttConfig { url: room.broker.url(), ..MqttConfig::default() };
        let mut options = plain_options(&config, "boxes").unwrap();
        options.set_manual_acks(false);
        let (client, mut events) = AsyncClient::new(options, 64);
        client.subscribe("gatewatch/v1/#", QoS::AtLeastOnce).await.unwrap();
        let (seen, into) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<bool>>::default());
        let (kept, ready) = (Arc::clone(&seen), Arc::clone(&into));
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => *ready.lock().unwrap() = true,
                    Event::Incoming(Packet::Publish(p)) => {
                        let topic = String::from_utf8_lossy(&p.topic).into_owned();
                        let asked = p.properties.clone().and_then(|p| Some((p.response_topic?, p.correlation_data)));
                        if let Some((reply, correlation_data)) = asked {
                            let answer = match topic.rsplit('/').next() {
                                Some("resync") => answer.clone(),
                                Some("hold") => json!({"ok": true, "result": {"state": "applied"}}),
                                Some("release") => json!({"ok": false, "error": "there is no hold of this id"}),
                                _ => json!({"ok": true}),
                            };
                            let properties = PublishProperties { correlation_data, ..Default::default() };
                            let _ = client.try_publish_with_properties(
                                reply,
                                QoS::AtLeastOnce,
                                false,
                                answer.to_string(),
                                properties,
                            );
                        }
                        kept.lock().unwrap().push((topic, serde_json::from_slice(&p.payload).unwrap_or(Value::Null)));
                    }
                    _ => {}
                }
            }
        });
        until("the boxes' subscription", async || into.lock().unwrap().then_some(())).await;
        Self { seen }
    }

    pub async fn heard(&self, end: &str, good: impl Fn(&Value) -> bool) -> (String, Value) {
        let found = || self.seen.lock().unwrap().iter().find(|(t, v)| t.ends_with(end) && good(v)).cloned();
        until(&format!("a message on {end}"), async || found()).await
    }
}

/// A PostgreSQL with the desk's configuration for it.
pub fn postgres() -> Option<(Postgres, DatabaseConfig)> {
    configured(Postgres::start())
}

/// One that flushes every commit to the disk, as in use: for figures.
pub fn flushing_postgres() -> Option<(Postgres, DatabaseConfig)> {
    configured(Postgres::start_with("fsync=on"))
}

fn configured(server: Option<Postgres>) -> Option<(Postgres, DatabaseConfig)> {
    let Some(server) = server else {
        println!("skipped: PostgreSQL is not installed (Debian package `postgresql`)");
        return None;
    };
    let url = server.url();
    Some((server, DatabaseConfig { url: Some(url), ..DatabaseConfig::default() }))
}

/// The form of a shift of one day with one officer.
pub const SHIFT: [(&str, &str); 6] = [
    ("from", "2026-03-02T08:00"),
    ("to", "2026-03-03T08:00"),
    ("leader", "binh"),
    ("focus", "Hàng tiêu dùng qua cửa khẩu"),
    ("duty0", "camera"),
    ("name0", "Nguyễn Văn An"),
];
