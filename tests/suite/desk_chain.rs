//! Boxes' chains of evidence at the desk, with real stores and keys: heads that continue, a key that is handed over, a
//! store put back to an earlier day, a past written anew, a store begun anew, and a head that somebody else signed.

use std::path::Path;

use gatewatch::clock::UtcMillis;
use gatewatch::desk::config::DatabaseConfig;
use gatewatch::evidence::chain::Sum;
use gatewatch::evidence::keys::KeyFolder;
use gatewatch::evidence::request::{Action, Request, Who};
use gatewatch::evidence::signer::Signer;
use gatewatch::evidence::statement::Head;
use gatewatch::mqtt::Topics;
use gatewatch::store::{Part, Store};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::store::{event_of, message, options};
use crate::support::desk::{Boxes, Browser, Room, postgres};
use crate::support::until;

fn topics() -> Topics {
    Topics::new("gatewatch/v1", "15BB", "gate-01")
}

/// A box as far as its store and its key.
struct Gate {
    store: Store,
    signer: Signer,
}

impl Gate {
    async fn open(dir: &Path) -> Self {
        let store = Store::open(options(dir)).await.unwrap();
        let signer = Signer::start(store.clone(), topics().chain()).await.unwrap();
        Self { store, signer }
    }

    /// Something happens, and the head is published.
    async fn goes_on(&self) {
        let event = event_of(ulid::Ulid::generate(), 1, "end", UtcMillis(1_772_000_000_000));
        self.store.record(message(event, 2, None)).await.unwrap();
        self.signer.publish().await.unwrap().unwrap();
    }

    /// Everything that waits goes to the desk.
    async fn sends(&self, room: &Room) -> Vec<Value> {
        let items = self.store.outbox_next(10_000, &[]).await.unwrap();
        let messages: Vec<_> = items.iter().filter(|i| i.part == Part::Message).collect();
        room.say(messages.iter().map(|i| (i.topic.clone(), i.payload.to_vec())).collect()).await;
        let ids: Vec<i64> = items.iter().map(|i| i.id).collect();
        self.store.mark_delivered(&ids, gatewatch::clock::utc_now()).await.unwrap();
        messages.iter().map(|i| serde_json::from_slice(&i.payload).unwrap()).collect()
    }

    async fn copy_to(&self, dir: &Path) {
        let database = dir.join("gatewatch.db");
        let settings = sqlx::sqlite::SqliteConnectOptions::new().filename(self.store.dir().join("gatewatch.db"));
        let mut conn = sqlx::SqliteConnection::connect_with(&settings).await.unwrap();
        sqlx::query("VACUUM INTO ?").bind(database.to_str().unwrap()).execute(&mut conn).await.unwrap();
        std::fs::create_dir_all(dir.join("keys")).unwrap();
        std::fs::copy(self.store.dir().join("keys/box.pk8"), dir.join("keys/box.pk8")).unwrap();
    }
}

async fn chain_of(person: &mut Browser) -> Value {
    let boxes: Value = serde_json::from_str(&person.get("/api/boxes").await.expect_status(200).text).unwrap();
    boxes["boxes"][0]["chain"].clone()
}

/// Waits until the desk's word about the chain is as wanted.
async fn until_chain(person: &mut Browser, what: &str, good: impl Fn(&Value) -> bool) -> Value {
    until(what, async || Some(chain_of(person).await).filter(&good)).await
}

/// A room with its people, a box that is there, and the folder of its store.
async fn begin(database: DatabaseConfig) -> (Room, Boxes, Browser, tempfile::TempDir) {
    let room = Room::start(database, |_| {}).await;
    let boxes = Boxes::start(&room, json!({"ok": true, "result": {}})).await;
    let mut admin = room.administrator().await;
    let leader = room.account(&mut admin, "binh", "shift_leader", "*").await;
    let state = ("gatewatch/v1/15BB/gate-01/state".to_owned(), br#"{"online": true}"#.to_vec());
    room.say(vec![state]).await;
    (room, boxes, leader, tempfile::tempdir().unwrap())
}

async fn alert_says(leader: &mut Browser, words: &str) {
    let page = leader.sees("/alerts", words).await;
    let card = page.text.split("<article").find(|card| card.contains(words)).unwrap();
    assert!(card.contains("data-severity=\"4\""), "it is critical: {card}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_continue_over_a_new_key_and_a_store_put_back_is_noticed_on_sqlite() {
    put_back(DatabaseConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_continue_over_a_new_key_and_a_store_put_back_is_noticed_on_postgresql() {
    if let Some((_server, database)) = postgres() {
        put_back(database).await;
    }
}

async fn put_back(database: DatabaseConfig) {
    let (room, _boxes, mut leader, dir) = begin(database).await;
    let gate = Gate::open(dir.path()).await;
    for _ in 0..2 {
        gate.goes_on().await;
    }
    gate.sends(&room).await;
    let first = until_chain(&mut leader, "two heads", |c| c["heads"] == 2).await;
    // The old key vouches for the new one.
    let who = Who { operator: "An".into(), reason: "hằng năm, theo kế hoạch".into() };
    gate.signer.handle(&Request::new(who, Action::RotateKey)).await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    gate.copy_to(copy.path()).await;
    gate.goes_on().await;
    let sent = gate.sends(&room).await;
    let head = sent.iter().find(|m| m["type"] == "gatewatch.chain.head.v1").unwrap();
    assert_eq!(head["data"]["keys"].as_array().unwrap().len(), 1, "the hand-over goes with it: {head}");
    let third = until_chain(&mut leader, "a third head", |c| c["heads"] == 3).await;
    assert!(third["fault"].is_null() && third["key"] != first["key"], "{third}");
    let devices = leader.get("/devices").await;
    assert!(devices.has("nối tiếp, chữ ký đúng"), "{}", devices.text);

    // The store is put back to what it was: its numbers come again, with other content.
    let back = Gate::open(copy.path()).await;
    back.goes_on().await;
    back.sends(&room).await;
    alert_says(&mut leader, "Trạm camera dùng một số thứ tự cho hai tin").await;
    // However long it goes on: it does not know the head that was published last.
    back.goes_on().await;
    back.goes_on().await;
    back.sends(&room).await;
    let broken = until_chain(&mut leader, "a fault", |c| c["fault"].is_string()).await;
    let words = ["Chuỗi bằng chứng KHÔNG NỐI TIẾP", "Chuỗi bằng chứng bị VIẾT LẠI", "Chuỗi bằng chứng bị CẮT NGẮN"];
    let noticed = async || Some(leader.get("/alerts").await).filter(|page| words.iter().any(|w| page.has(w)));
    until(&format!("the heads to be noticed too, not only the numbers: {broken}"), noticed).await;
    assert!(!leader.get("/devices").await.has("nối tiếp, chữ ký đúng"));
    room.desk.stop().await;
}

/// A head in the form of the box, signed by the key in `dir`.
fn head_message(dir: &Path, epoch: i64, seq: i64, head: &Head, change: impl FnOnce(&mut Value)) -> (String, Vec<u8>) {
    let key = KeyFolder::of_store(dir).current().unwrap().unwrap();
    let origin = serde_json::from_value(json!({"office": "15BB", "box": "gate-01", "epoch": epoch})).unwrap();
    let signed = head.clone().sign(&origin, &key);
    let mut body = json!({
        "specversion": "1.0", "id": ulid::Ulid::generate().to_string(), "source": "/office/15BB/box/gate-01",
        "type": "gatewatch.chain.head.v1", "subject": "chain", "time": "2026-03-02T03:17:45.212Z",
        "data": {"revision": 1, "severity": 1, "epoch": epoch, "head": signed, "office": "15BB", "box": "gate-01",
            "sequence": {"epoch": epoch, "seq": seq, "historical": false}}
    });
    change(&mut body);
    (topics().chain(), body.to_string().into_bytes())
}

fn head(n: i64, text: &str) -> Head {
    Head { n, sha256: Sum::of(text.as_bytes()), at: UtcMillis(1_772_000_000_000 + n) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_written_anew_and_heads_of_others_are_noticed() {
    let (room, _boxes, mut leader, dir) = begin(DatabaseConfig::default()).await;
    KeyFolder::of_store(dir.path()).make_next().unwrap();
    KeyFolder::of_store(dir.path()).adopt_next().unwrap();
    let stranger = tempfile::tempdir().unwrap();
    KeyFolder::of_store(stranger.path()).make_next().unwrap();
    KeyFolder::of_store(stranger.path()).adopt_next().unwrap();
    let say = |seq, head: &Head| head_message(dir.path(), 7, seq, head, |_| {});
    // Out of order, and twice: no alarm.
    let second = say(2, &head(20, "b"));
    room.say(vec![say(1, &head(10, "a")), say(3, &head(30, "c")), second.clone(), second]).await;
    let good = until_chain(&mut leader, "three heads", |c| c["heads"] == 3).await;
    assert_eq!((&good["n"], &good["fault"]), (&json!(30), &Value::Null), "{good}");
    assert!(!leader.get("/alerts").await.has("huỗi bằng chứng"));
    // Somebody changes a head on its way.
    let forged = head_message(dir.path(), 7, 4, &head(40, "d"), |b| b["data"]["head"]["n"] = json!(41));
    room.say(vec![forged]).await;
    alert_says(&mut leader, "Chữ ký đầu chuỗi bằng chứng SAI").await;
    assert_eq!(chain_of(&mut leader).await["n"], 30, "what nobody signed moves nothing");
    // Another key that nobody hands over to.
    room.say(vec![head_message(stranger.path(), 7, 5, &head(50, "e"), |_| {})]).await;
    alert_says(&mut leader, "Khóa ký chuỗi bằng chứng bị thay").await;
    // The same entry with another digest; then fewer entries than before.
    room.say(vec![say(6, &head(30, "another past"))]).await;
    alert_says(&mut leader, "Chuỗi bằng chứng bị VIẾT LẠI").await;
    room.say(vec![say(7, &head(12, "short"))]).await;
    alert_says(&mut leader, "Chuỗi bằng chứng bị CẮT NGẮN").await;
    // The store begins anew.
    room.say(vec![head_message(dir.path(), 8, 1, &head(3, "new"), |_| {})]).await;
    alert_says(&mut leader, "Kho dữ liệu của trạm camera bị làm mới").await;
    let page = leader.get("/alerts?q=viet+lai").await;
    let id = page.text.split("id=\"a-chain-").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let detail = leader.get(&format!("/alerts/chain-{id}")).await.expect_status(200);
    assert!(detail.has("Hệ thống đã biết") && detail.has(&Sum::of(b"another past").to_string()), "{}", detail.text);
    room.desk.stop().await;
}
