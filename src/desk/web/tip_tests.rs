//! Tips through their pages, without a socket: whose tip it is, what two people decide at once, and what boxes are told; and how alerts
//! are found. Reports: `report_tests.rs`.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::router;
use super::tests::room;
use crate::clock::utc_now;
use crate::desk::access::{Role, User};
use crate::desk::db::Scope;
use crate::desk::db::accounts::Account;
use crate::desk::db::tips::TipRow;
use crate::desk::message;
use crate::desk::room::{Room, digest};
use crate::desk::tip::{Money, Step};
use crate::desk::tips_duty::{self, Draft};

/// Fields of a form.
type Form<'a> = &'a [(&'a str, &'a str)];

/// An answer of a page.
pub(super) struct Page {
    pub status: StatusCode,
    pub to: String,
    pub text: String,
}

/// Somebody with a session: his token is his name, his form token `form-{name}`.
pub(super) async fn sign_in(room: &Room, name: &str, role: Role, offices: &str) -> User {
    let account = Account {
        name: name.into(),
        display: name.into(),
        password: "none".into(),
        must_change: 0,
        role: role.as_str().into(),
        offices: Scope::parse(offices).0,
        disabled: 0,
    };
    let mut tx = room.db.write().await.unwrap();
    tx.add_account(&account, 0).await.unwrap();
    tx.add_session(&digest(name), name, &format!("form-{name}"), utc_now().0).await.unwrap();
    tx.commit().await.unwrap();
    User {
        name: name.into(),
        display: name.into(),
        role,
        scope: Scope::parse(offices),
        csrf: String::new(),
        session: String::new(),
        must_change: false,
    }
}

async fn send(room: &Arc<Room>, who: &str, request: axum::http::request::Builder, form: String) -> Page {
    let request = request.header(header::COOKIE, format!("gw-session={who}"));
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(Body::from(form));
    let answer = router(room.clone()).oneshot(request.unwrap()).await.unwrap();
    let to = answer.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let status = answer.status();
    let text = String::from_utf8_lossy(&to_bytes(answer.into_body(), usize::MAX).await.unwrap()).into_owned();
    Page { status, to, text }
}

pub(super) async fn get(room: &Arc<Room>, who: &str, path: &str) -> Page {
    send(room, who, Request::get(path), String::new()).await
}

pub(super) async fn post(room: &Arc<Room>, who: &str, path: &str, form: Form<'_>) -> Page {
    let token = format!("form-{who}");
    let fields = [("csrf", token.as_str())].into_iter().chain(form.iter().copied());
    let form = fields.map(|(k, v)| format!("{k}={}", super::alerts::escaped(v))).collect::<Vec<_>>().join("&");
    send(room, who, Request::post(path), form).await
}

/// A draft about a declaration, for an office.
pub(super) fn draft(office: &str) -> Draft {
    Draft {
        office: office.into(),
        decl_key: Some("10000001234".into()),
        subject: "Số lượng không khớp".into(),
        suspicion: "quantity".into(),
        due_ms: Some(utc_now().0 + 1000),
        ..Draft::default()
    }
}

/// Takes a step with the tip as it is.
pub(super) async fn step(room: &Room, who: &User, tip: &TipRow, step: Step) -> TipRow {
    let version = room.db.tip(&tip.id).await.unwrap().unwrap().version;
    tips_duty::step(room, who, &tip.id, version, step).await.unwrap()
}

fn reason() -> String {
    "lý do".into()
}

/// A tip of unit A1K2 to an office, that `maker` brought to a state.
pub(super) async fn tip_in(room: &Room, maker: &User, office: &str, state: &str) -> TipRow {
    let mut tip = tips_duty::create(room, maker, draft(office), None).await.unwrap();
    let settle =
        Step::Settle { result: "violation".into(), text: reason(), basis: "Điều 9".into(), no_amount: false };
    let way = [
        ("issued", Step::Issue),
        ("received", Step::Receive),
        ("checking", Step::Start),
        ("reported", Step::Report { text: reason() }),
        ("settled", settle),
    ];
    let steps = way.iter().position(|(s, _)| *s == state).map_or(0, |n| n + 1);
    for (reached, taken) in way.into_iter().take(steps) {
        // Who reported does not settle.
        let who = if reached == "settled" { User { name: "another".into(), ..maker.clone() } } else { maker.clone() };
        tip = step(room, &who, &tip, taken).await;
    }
    tip
}

pub(super) async fn maker(room: &Room) -> User {
    sign_in(room, "maker", Role::Supervisor, "*").await
}

/// What waits for the broker: topic and content.
async fn waiting(room: &Room) -> Vec<(String, Value)> {
    let rows = room.db.waiting(10_000).await.unwrap();
    rows.into_iter().map(|m| (m.topic, serde_json::from_str(&m.payload).unwrap())).collect()
}

#[tokio::test]
async fn the_unit_leads_its_tips_and_the_office_checks_them_whatever_else_somebody_sees() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    let people = [
        ("unit-leader", Role::ShiftLeader, "A1K2"),
        ("office-leader", Role::ShiftLeader, "15BB"),
        ("office-field", Role::Field, "15BB"),
        ("unit-field", Role::Field, "A1K2"),
        ("office-officer", Role::Officer, "15BB"),
        ("supervisor", Role::Supervisor, "*"),
        ("auditor", Role::Auditor, "*"),
    ];
    for (name, role, offices) in people {
        sign_in(&room, name, role, offices).await;
    }
    let into = tip_in(&room, &maker, "15BB", "issued").await.number;
    let steps: [(&str, &str, Form<'_>); 12] = [
        ("draft", "lead/issue", &[]),
        ("reported", "lead/return", &[("reason", "x")]),
        ("reported", "lead/settle", &[("result", "no_violation")]),
        ("settled", "lead/reopen", &[("reason", "x")]),
        ("issued", "lead/cancel", &[("reason", "x")]),
        ("issued", "lead/merge", &[("into", into.as_str())]),
        ("issued", "work/receive", &[]),
        ("received", "work/start", &[]),
        ("checking", "work/report", &[("text", "x")]),
        ("issued", "work/measure", &[("action", "inspect")]),
        ("checking", "work/sample", &[("code", "M-1")]),
        ("settled", "work/money", &[("kind", "fine"), ("amount", "5")]),
    ];
    for (state, path, form) in steps {
        let may: &[&str] = match path {
            p if p.starts_with("lead") => &["unit-leader", "supervisor"],
            "work/receive" | "work/start" | "work/report" => &["office-leader", "office-field", "supervisor"],
            _ => &["unit-leader", "office-leader", "office-field", "supervisor"],
        };
        for (name, ..) in people {
            let tip = tip_in(&room, &maker, "15BB", state).await;
            let version = tip.version.to_string();
            let form: Vec<_> = form.iter().copied().chain([("version", version.as_str())]).collect();
            let page = post(&room, name, &format!("/tips/{}/{path}", tip.id), &form).await;
            assert_eq!(page.status == StatusCode::SEE_OTHER, may.contains(&name), "{name} {path}: {}", page.status);
            let after = room.db.tip(&tip.id).await.unwrap().unwrap();
            assert!(may.contains(&name) || after == tip, "{name} {path} changed it all the same");
            let shown = get(&room, name, &format!("/tips/{}", tip.id)).await.text;
            let offered = shown.contains(&format!("/tips/{}/lead/", tip.id));
            assert!(!offered || ["unit-leader", "supervisor"].contains(&name), "{name} is offered a leader's step");
        }
    }
    // A tip to another office.
    let other = tip_in(&room, &maker, "20BB", "issued").await;
    for (name, _, offices) in people {
        let status = get(&room, name, &format!("/tips/{}", other.id)).await.status;
        assert_eq!(status == StatusCode::OK, offices != "15BB", "{name}: {status}");
        let form = [("version", "2")];
        let taken = post(&room, name, &format!("/tips/{}/work/receive", other.id), &form).await.status;
        assert_eq!(taken == StatusCode::SEE_OTHER, name == "supervisor", "{name}: {taken}");
    }
}

#[tokio::test]
async fn who_reported_does_not_settle() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    sign_in(&room, "second", Role::ShiftLeader, "*").await;
    let tip = tip_in(&room, &maker, "15BB", "reported").await;
    let version = tip.version.to_string();
    let form = [("version", version.as_str()), ("result", "violation"), ("basis", "Điều 9 Nghị định 128")];
    let path = format!("/tips/{}/lead/settle", tip.id);
    let refused = post(&room, "maker", &path, &form).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text.contains("không tự thanh khoản"), "{}", refused.text);
    assert_eq!(post(&room, "second", &path, &form).await.status, StatusCode::SEE_OTHER);
    let page = get(&room, "second", &format!("/tips/{}", tip.id)).await.text;
    assert!(page.contains("Có vi phạm · <q>Điều 9"), "no code");
}

#[tokio::test]
async fn a_draft_that_is_not_taken_changes_nothing_and_comes_back_as_it_was_typed() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    sign_in(&room, "an", Role::Officer, "15BB").await;
    let body = message::tests::body("E1", 1, 1, 4);
    let m = message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
    let alert = message::alert(&m, &room.zone, m.at_ms, 60_000);
    let mut tx = room.db.write().await.unwrap();
    tx.add_alert(&alert).await.unwrap();
    tx.commit().await.unwrap();
    let typed = "Một đoạn dài mà không ai muốn viết lần thứ hai";
    let form = |office, decl| {
        [("alert", "E1"), ("office", office), ("suspicion", "quantity"), ("decl", decl), ("subject", typed)]
    };
    for (office, decl, says) in [("20BB", "10000001234", "phạm vi của tài khoản"), ("15BB", "12", "11 hoặc 12")]
    {
        let page = post(&room, "an", "/tips/new", &form(office, decl)).await;
        assert_eq!(page.status, StatusCode::CONFLICT);
        assert!(page.text.contains(says) && page.text.contains(typed), "{}", page.text);
        assert!(page.text.contains(r#"name="alert" value="E1""#) && page.text.contains(&format!("value=\"{decl}\"")));
    }
    assert_eq!(room.db.alert("E1").await.unwrap().unwrap().state, alert.state, "another office's tip is none of his");
    assert_eq!(post(&room, "an", "/tips/new", &form("15BB", "10000001234")).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn what_another_one_decided_meanwhile_is_not_overwritten_and_nothing_typed_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    sign_in(&room, "leader", Role::ShiftLeader, "A1K2").await;
    let seen = tip_in(&room, &maker, "15BB", "reported").await;
    let returned = step(&room, &maker, &seen, Step::Return { reason: reason() }).await;
    step(&room, &maker, &returned, Step::Report { text: "Đếm lại: đủ hàng".into() }).await;
    let version = seen.version.to_string();
    let form = [("version", version.as_str()), ("result", "violation"), ("basis", "Điều 9, viết rất lâu")];
    for form in [&form[..], &form[1..]] {
        let page = post(&room, "leader", &format!("/tips/{}/lead/settle", seen.id), form).await;
        assert_eq!(page.status, StatusCode::CONFLICT);
        for text in ["Người khác vừa thay đổi", "Đếm lại: đủ hàng", "Điều 9, viết rất lâu"] {
            assert!(page.text.contains(text), "{text}: {}", page.text);
        }
    }
    let now = room.db.tip(&seen.id).await.unwrap().unwrap();
    assert_eq!((now.state.as_str(), now.result_text.as_str()), ("reported", "Đếm lại: đủ hàng"));
    // Two change one draft.
    let draft = tip_in(&room, &maker, "15BB", "draft").await;
    let edit = format!("/tips/{}/edit", draft.id);
    let form = |subject| {
        let about = [("decl", "10000001234"), ("due", "2099-03-03T10:00"), ("subject", subject)];
        [&[("version", "1"), ("office", "15BB"), ("suspicion", "value")], &about[..]].concat()
    };
    assert_eq!(post(&room, "maker", &edit, &form("của người thứ nhất")).await.status, StatusCode::SEE_OTHER);
    let page = post(&room, "leader", &edit, &form("của người thứ hai")).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(page.text.contains("của người thứ nhất") && page.text.contains("của người thứ hai"), "{}", page.text);
    assert_eq!(room.db.tip(&draft.id).await.unwrap().unwrap().subject, "của người thứ nhất");
    // A form that is no longer on the page.
    step(&room, &maker, &draft, Step::Issue).await;
    let page = post(&room, "leader", &edit, &form("của người thứ ba")).await;
    assert!(page.status == StatusCode::CONFLICT && page.text.contains("của người thứ ba"), "{}", page.text);
}

#[tokio::test]
async fn a_merge_is_into_what_stands_now_and_loses_no_money() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    let (a, b) = (tip_in(&room, &maker, "15BB", "issued").await, tip_in(&room, &maker, "15BB", "issued").await);
    let merge = async |from: &TipRow, into: &str| {
        let version = room.db.tip(&from.id).await.unwrap().unwrap().version.to_string();
        let form = [("version", version.as_str()), ("into", into)];
        post(&room, "maker", &format!("/tips/{}/lead/merge", from.id), &form).await
    };
    let refused = async |from: &TipRow, into: &str, says: &str| {
        let page = merge(from, into).await;
        assert!(page.status == StatusCode::CONFLICT && page.text.contains(says), "{says}: {}", page.text);
    };
    refused(&a, &tip_in(&room, &maker, "15BB", "draft").await.number, "không gộp được").await;
    refused(&a, &tip_in(&room, &maker, "15BB", "settled").await.number, "không gộp được").await;
    refused(&a, &a.number, "không gộp được").await;
    let line = Money {
        id: String::new(),
        kind: "recovery".into(),
        amount_vnd: 5_000_000,
        decision: "12/QĐ".into(),
        decl_key: None,
        at_ms: 0,
        account: String::new(),
        reverses: None,
    };
    tips_duty::money(&room, &maker, &a.id, line).await.unwrap();
    refused(&a, &b.number, "còn số tiền").await;
    let cancel =
        post(&room, "maker", &format!("/tips/{}/lead/cancel", a.id), &[("version", "2"), ("reason", "x")]).await;
    assert_eq!(cancel.status, StatusCode::CONFLICT, "money of a cancelled tip counts nowhere either");
    let entry = room.db.money(&a.id).await.unwrap()[0].id.clone();
    tips_duty::reverse(&room, &maker, &a.id, &entry, "ghi sang tin báo kia").await.unwrap();
    assert_eq!(merge(&a, &b.number).await.status, StatusCode::SEE_OTHER);
    refused(&b, &a.number, "không gộp được").await;
    let history = async |tip: &TipRow| get(&room, "maker", &format!("/tips/{}", tip.id)).await.text;
    let (of_a, of_b) = (history(&a).await, history(&b).await);
    assert!(of_b.contains(&format!("nhận gộp tin báo · {}<", a.number)), "{of_b}");
    assert!(of_a.contains(&format!(" · {}<", b.number)), "by its number: {of_a}");
    assert!(of_a.contains("Truy thu thuế 5.000.000 · <q>12/QĐ</q>"), "in words: {of_a}");
}

#[tokio::test]
async fn a_stop_goes_to_every_box_of_the_office_until_it_is_lifted() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    let mut tx = room.db.write().await.unwrap();
    tx.boxes_seen(&[("15BB", "gate-01"), ("15BB", "gate-02"), ("20BB", "gate-01")].map(|b| (b, None)).into(), 0, 0)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let bare = Draft { decl_key: None, containers: "CSQU3054383".into(), ..draft("15BB") };
    let bare = tips_duty::create(&room, &maker, bare, None).await.unwrap();
    let bare = step(&room, &maker, &bare, Step::Issue).await;
    let tip = tip_in(&room, &maker, "15BB", "checking").await;
    let measure = async |tip: &TipRow, note: &str| {
        post(&room, "maker", &format!("/tips/{}/work/measure", tip.id), &[("action", "stop"), ("note", note)]).await
    };
    let stops = async || {
        let of = |(topic, body): (String, Value)| topic.strip_suffix("/in/stop").map(|place| (place.to_owned(), body));
        let mut stops: Vec<(String, Value)> = waiting(&room).await.into_iter().filter_map(of).collect();
        stops.sort_by_key(|(place, body)| (body["version"].as_i64(), place.clone()));
        stops
    };
    let refused = measure(&bare, "nghi vấn").await;
    assert!(refused.status == StatusCode::CONFLICT && refused.text.contains("cần số tờ khai"), "{}", refused.text);
    assert_eq!(measure(&tip, "").await.status, StatusCode::CONFLICT, "a reason");
    assert!(stops().await.is_empty() && room.db.measures(&bare.id).await.unwrap().is_empty());
    assert_eq!(measure(&tip, "nghi vấn số lượng").await.status, StatusCode::SEE_OTHER);
    let sent = stops().await;
    let places: Vec<&str> = sent.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, ["gatewatch/v1/15BB/gate-01", "gatewatch/v1/15BB/gate-02"]);
    let first = &sent[0].1;
    assert_eq!((&first["decl_no"], &first["tip_id"]), (&json!("10000001234"), &json!(tip.id)));
    assert_eq!((&first["version"], &first["to"]), (&json!(1), &Value::Null));
    assert_eq!(measure(&tip, "lần nữa").await.status, StatusCode::CONFLICT, "it stands already");
    let version = room.db.tip(&tip.id).await.unwrap().unwrap().version.to_string();
    let cancel = [("version", version.as_str()), ("reason", "x")];
    let cancel = post(&room, "maker", &format!("/tips/{}/lead/cancel", tip.id), &cancel).await;
    assert!(cancel.status == StatusCode::CONFLICT && cancel.text.contains("bỏ dừng trước"), "{}", cancel.text);
    let page = get(&room, "maker", &format!("/tips/{}", tip.id)).await.text;
    assert!(page.contains("ĐANG DỪNG") && page.contains("gate-02") && page.contains("chờ trạm trả lời"), "{page}");
    let open = crate::desk::shift::open_items(&room.db).await.unwrap();
    assert_eq!(open.counts.get("stop"), Some(&1), "who comes on duty is told");
    // Another exit is opened, and its box is heard for the first time.
    let mut tx = room.db.write().await.unwrap();
    tx.boxes_seen(&[(("15BB", "gate-03"), None)].into(), 0, 0).await.unwrap();
    tx.commit().await.unwrap();
    for told in [3, 3] {
        crate::desk::tip_measures::tell_new_boxes(&room).await.unwrap();
        let sent = stops().await;
        assert_eq!((sent.len(), sent[told - 1].0.as_str()), (told, "gatewatch/v1/15BB/gate-03"), "once");
        assert_eq!(sent[told - 1].1, *first, "the same words");
    }
    let id = room.db.measures(&tip.id).await.unwrap()[0].id.clone();
    let done = format!("/tips/{}/work/done", tip.id);
    assert_eq!(post(&room, "maker", &done, &[("measure", &id)]).await.status, StatusCode::CONFLICT, "a reason");
    let lift = [("measure", id.as_str()), ("outcome", "đã kiểm đủ")];
    assert_eq!(post(&room, "maker", &done, &lift).await.status, StatusCode::SEE_OTHER);
    assert_eq!(post(&room, "maker", &done, &lift).await.status, StatusCode::CONFLICT, "once");
    let sent = stops().await;
    let last = &sent.last().unwrap().1;
    assert_eq!((sent.len(), &last["id"], &last["version"]), (6, &first["id"], &json!(2)));
    assert!(last["to"].is_string() && last["reason"] == "đã kiểm đủ", "{last}");
    let page = get(&room, "maker", &format!("/tips/{}", tip.id)).await.text;
    assert!(page.contains("Bỏ dừng đưa hàng qua KVGS") && !page.contains("ĐANG DỪNG"), "{page}");
    crate::desk::tip_measures::tell_new_boxes(&room).await.unwrap();
    assert_eq!(stops().await.len(), 6, "what is lifted is told to nobody new");
}

#[tokio::test]
async fn a_stop_is_told_anew_to_a_box_in_the_place_of_another_and_to_none_out_of_use() {
    use crate::desk::{orders, tip_measures};
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    // A box that connects, and by which store.
    let born = async |epoch: i64| {
        let mut tx = room.db.write().await.unwrap();
        tx.boxes_seen(&[("15BB", "gate-01"), ("15BB", "gate-02")].map(|b| (b, None)).into(), 0, 0).await.unwrap();
        tx.box_birth("15BB", "gate-01", &json!({"epoch": epoch}).to_string()).await.unwrap();
        tx.commit().await.unwrap();
    };
    let used = async |used: bool, at: i64| {
        let mut tx = room.db.write().await.unwrap();
        match used {
            true => drop(tx.box_online("15BB", "gate-02", true, (at, at), at).await.unwrap()),
            false => tx.box_gone("15BB", "gate-02", at).await.unwrap(),
        }
        tx.commit().await.unwrap();
    };
    born(7).await;
    used(false, 1).await;
    let tip = tip_in(&room, &maker, "15BB", "checking").await;
    tip_measures::begin(&room, &maker, &tip.id, "stop", "nghi vấn").await.unwrap();
    // Orders of each box, and how many of them are answered.
    let told = async |box_id: &str| {
        tip_measures::tell_new_boxes(&room).await.unwrap();
        let all = room.db.orders_of_tip(&tip.id).await.unwrap();
        let of_box = || all.iter().filter(|o| o.box_id == box_id);
        (of_box().count(), of_box().filter(|o| o.answered_ms.is_some()).count())
    };
    let answers = async || {
        let all = room.db.orders_of_tip(&tip.id).await.unwrap();
        let waits = all.iter().find(|o| o.answered_ms.is_none()).unwrap();
        let mut tx = room.db.write().await.unwrap();
        orders::answered(&mut tx, &waits.id, &json!({"ok": true})).await.unwrap();
        tx.commit().await.unwrap();
    };
    let due = async || room.db.orders_due(0).await.unwrap().len();
    assert_eq!((told("gate-01").await, told("gate-02").await), ((1, 0), (0, 0)));
    // Another box is there before the first one answered: it is asked without waiting.
    assert_eq!(due().await, 0);
    born(8).await;
    assert_eq!((told("gate-01").await, due().await), ((1, 0), 1));
    orders::ask_again(&room).await.unwrap();
    assert_eq!(due().await, 0);
    answers().await;
    assert_eq!(told("gate-01").await, (1, 1));
    // And another one after it answered, which knows nothing of it.
    born(9).await;
    for _ in 0..2 {
        assert_eq!(told("gate-01").await, (2, 1), "once");
    }
    answers().await;
    for epoch in [9, 8, 9] {
        born(epoch).await;
        assert_eq!(told("gate-01").await, (2, 2), "both know it");
    }
    used(true, 5).await;
    assert_eq!(told("gate-02").await, (1, 0), "it is in use again");
    used(false, 9).await;
    let measure = room.db.measures(&tip.id).await.unwrap().remove(0);
    tip_measures::done(&room, &maker, &tip.id, &measure.id, "đã kiểm đủ").await.unwrap();
    assert_eq!((told("gate-01").await, told("gate-02").await), ((3, 2), (2, 0)), "who was told hears of its end");
}

#[tokio::test]
async fn a_form_that_is_sent_twice_counts_once_and_what_is_refused_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    let tip = tip_in(&room, &maker, "15BB", "checking").await;
    let page = get(&room, "maker", &format!("/tips/{}", tip.id)).await.text;
    let once = page.split("name=\"once\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let pay = async |amount: &str| {
        let form = [("once", once.as_str()), ("kind", "fine"), ("amount", amount), ("decision", "QĐ 12")];
        post(&room, "maker", &format!("/tips/{}/work/money", tip.id), &form).await
    };
    let refused = pay("457 triệu").await;
    assert!(refused.status == StatusCode::CONFLICT && refused.text.contains("457 triệu"), "{}", refused.text);
    for (amount, lines) in [("457.000.000", 1), ("457.000.000", 1), ("45.000.000", 2)] {
        assert_eq!(pay(amount).await.status, StatusCode::SEE_OTHER);
        assert_eq!(room.db.money(&tip.id).await.unwrap().len(), lines, "{amount}");
    }
    // A laboratory speaks once.
    let work = async |step: &str, form: Form<'_>| {
        post(&room, "maker", &format!("/tips/{}/work/{step}", tip.id), form).await.status
    };
    assert_eq!(work("sample", &[("code", "M1")]).await, StatusCode::SEE_OTHER);
    let sample = room.db.samples(&tip.id).await.unwrap()[0].id.clone();
    let says = |result| [("sample", sample.clone()), ("result", result)];
    for (result, status) in [("HS 3901", StatusCode::SEE_OTHER), ("chưa rõ", StatusCode::CONFLICT)] {
        let [(a, id), (b, word)] = says(result.to_owned());
        assert_eq!(work("sample_result", &[(a, &id), (b, &word)]).await, status, "{result}");
    }
    assert_eq!(room.db.samples(&tip.id).await.unwrap()[0].result, "HS 3901");
}

#[tokio::test]
async fn what_is_asked_for_is_done_with_an_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    sign_in(&room, "field", Role::Field, "15BB").await;
    let tip = tip_in(&room, &maker, "15BB", "received").await;
    let (ask, done) = (format!("/tips/{}/work/measure", tip.id), format!("/tips/{}/work/done", tip.id));
    post(&room, "maker", &ask, &[("action", "request_sample"), ("note", "2 mẫu")]).await;
    post(&room, "maker", &ask, &[("action", "comment"), ("note", "gọi điện")]).await;
    let measures = room.db.measures(&tip.id).await.unwrap();
    assert_eq!(measures.len(), 1, "a comment is done when it is written");
    assert!(get(&room, "field", &format!("/tips/{}", tip.id)).await.text.contains("chưa thực hiện"));
    let form = [("measure", measures[0].id.as_str()), ("outcome", "M-01 và M-02")];
    assert_eq!(post(&room, "field", &done, &form).await.status, StatusCode::SEE_OTHER);
    let page = get(&room, "maker", &format!("/tips/{}", tip.id)).await.text;
    assert!(page.contains("Yêu cầu lấy mẫu · <q>M-01 và M-02</q>") && !page.contains("chưa thực hiện"), "{page}");
}

#[tokio::test]
async fn a_tip_reaches_the_boxes_however_much_is_written_and_not_where_they_cannot_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    let long = Draft {
        subject: "Ra cổng khi chưa được phép – Cổng ra số 2, Vạch Đông Đăng. ".repeat(9),
        ..draft("15BB")
    };
    let tip = tips_duty::create(&room, &maker, long, None).await.unwrap();
    step(&room, &maker, &tip, Step::Issue).await;
    let (topic, body) = waiting(&room).await.pop().unwrap();
    assert_eq!(topic, "gatewatch/v1/15BB/in/tip");
    let read = crate::customs::Tip::from_json(body.to_string().as_bytes()).unwrap().value;
    assert!(read.reason.unwrap().starts_with(&tip.number));
    let wrong = Draft { plates: "X".into(), ..draft("15BB") };
    let wrong = tips_duty::create(&room, &maker, wrong, None).await.unwrap();
    let page = post(&room, "maker", &format!("/tips/{}/lead/issue", wrong.id), &[("version", "1")]).await;
    assert!(page.status == StatusCode::CONFLICT && page.text.contains("không đọc được"), "{}", page.text);
}

/// A box's answer about a tip, with a hold.
pub(super) async fn answered(room: &Room, tip: &TipRow, footage: &str) {
    let mut body = message::tests::body("C1", 5, 1, 2);
    body["type"] = json!("gatewatch.correlation.v1");
    body["data"]["tip_id"] = json!(tip.id);
    body["data"]["footage"] = json!(footage);
    body["data"]["ranges"] = json!([{"camera": "bay", "from": "2026-03-02T02:55:00Z", "to": "2026-03-02T04:10:00Z",
        "footage": footage, "gaps": [], "hold_id": "H1"}]);
    let m = message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
    let mut tx = room.db.write().await.unwrap();
    tx.tip_answer(&tip.id, &m).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_leader_of_the_unit_gives_the_holds_of_a_tip_free_once_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    sign_in(&room, "leader", Role::ShiftLeader, "A1K2").await;
    sign_in(&room, "office", Role::ShiftLeader, "15BB").await;
    let (open, over) = (tip_in(&room, &maker, "15BB", "issued").await, tip_in(&room, &maker, "15BB", "settled").await);
    for tip in [&open, &over] {
        answered(&room, tip, "partial").await;
    }
    let source = "/office/15BB/box/gate-01";
    let release = async |who: &str, tip: &TipRow, hold: &str, note: &str| {
        let form = [("source", source), ("hold", hold), ("note", note)];
        post(&room, who, &format!("/tips/{}/lead/release_hold", tip.id), &form).await.status
    };
    assert_eq!(release("leader", &open, "H1", "xong").await, StatusCode::CONFLICT, "it is worked on");
    assert_eq!(release("office", &over, "H1", "xong").await, StatusCode::CONFLICT, "not his unit's");
    assert_eq!(release("leader", &over, "H9", "xong").await, StatusCode::NOT_FOUND, "no box named it");
    assert_eq!(release("leader", &over, "H1", "").await, StatusCode::CONFLICT, "a reason");
    let offers = async |who| get(&room, who, &format!("/tips/{}", over.id)).await.text.contains("release_hold");
    assert!(offers("leader").await && !offers("office").await);
    assert_eq!(release("leader", &over, "H1", "đã thanh khoản").await, StatusCode::SEE_OTHER);
    assert_eq!(release("leader", &over, "H1", "lần nữa").await, StatusCode::CONFLICT, "once");
    let sent =
        waiting(&room).await.into_iter().filter(|(topic, _)| topic.ends_with("/cmd/release")).collect::<Vec<_>>();
    let order = json!({"id": "H1", "by": "leader", "reason": "đã thanh khoản"});
    assert_eq!(sent, [("gatewatch/v1/15BB/gate-01/cmd/release".to_owned(), order)]);
    let page = get(&room, "leader", &format!("/tips/{}", over.id)).await.text;
    assert!(page.contains("chờ trạm trả lời") && page.contains("bỏ giữ"), "{page}");
    let states = get(&room, "leader", &format!("/tips/{}/holds/15BB/gate-01", over.id)).await;
    assert!(states.status == StatusCode::OK && states.text.contains("Chưa khai báo địa chỉ"), "{}", states.text);
    assert_eq!(
        get(&room, "leader", &format!("/tips/{}/holds/20BB/gate-01", over.id)).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn plates_offices_and_words_in_any_order_find_an_alert_and_its_page_speaks_vietnamese() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    sign_in(&room, "leader", Role::ShiftLeader, "*").await;
    let mut body = message::tests::body("E1", 1, 1, 4);
    body["data"]["link"]["links"][0]["reason"] =
        json!("plate 15C12345 read at 2026-03-02T03:10:00Z, the booked vehicle");
    body["data"]["link"]["reason"] = json!("plate (observation:x) of out, the only one that fits");
    body["data"]["check"] = json!({"question": "right_vehicle", "answer": "no",
        "basis": ["10000001234: not released, stored or cleared; the clearance feed is stale"]});
    let m = message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
    let mut tx = room.db.write().await.unwrap();
    let name = |code: &str, name: &str| crate::desk::config::OfficeConfig {
        code: code.into(),
        name: name.into(),
        name_en: None,
    };
    tx.name_offices(&[name("15BB", "Hữu Nghị"), name("20BB", "Móng Cái")]).await.unwrap();
    tx.add_alert(&message::alert(&m, &room.zone, m.at_ms, 60_000)).await.unwrap();
    tx.commit().await.unwrap();
    let found = async |q: &str| {
        let path = format!("/alerts?q={}", super::alerts::escaped(q));
        get(&room, "leader", &path).await.text.contains("id=\"a-E1\"")
    };
    for q in ["15C-123.45", "15c12345", "huu nghi", "vạch cổng", "csqu3054383 15BB", "CSQU305438-3", "Đông hữu"]
    {
        assert!(found(q).await, "{q}");
    }
    for q in ["15C-123.46", "móng cái", "vạch 20BB"] {
        assert!(!found(q).await, "{q}");
    }
    let page = get(&room, "leader", "/alerts/E1").await.text;
    for text in [
        "biển số 15C12345 đọc lúc 02/03/2026 10:10:00, xe đã đặt lịch",
        "phương án duy nhất phù hợp",
        "KHÔNG phải xe đã đặt lịch",
        "chưa giải phóng, chưa đưa về bảo quản, chưa thông quan; dữ liệu thông quan đã cũ",
        "xe tải 90 %",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[tokio::test]
async fn the_history_of_a_tip_says_what_was_done_and_quotes_only_what_somebody_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    let tip = tip_in(&room, &maker, "15BB", "settled").await;
    let mut tx = room.db.write().await.unwrap();
    let digest = "7".repeat(64);
    let (file, withdrawn) = (format!("Biên bản 1.pdf SHA-256 {digest}"), format!("Ảnh.jpg SHA-256 {digest} nhầm tệp"));
    let ours = [
        ("money", "fine 2500000 QĐ 12"),
        ("release_hold", "gate-01 01JHOLD hết nghi vấn"),
        ("inspect", "mở cont"),
        ("merged_in", "TB-2"),
        ("file", &*file),
        ("file_withdraw", &*withdrawn),
    ];
    for (n, (action, note)) in ours.into_iter().enumerate() {
        tx.add_tip_action(&format!("a{n}"), &tip.id, 5, "maker", action, note).await.unwrap();
    }
    tx.commit().await.unwrap();
    let shown =
        |page: String| page.split("class=\"history\"").nth(1).unwrap().split("</ol>").next().unwrap().to_owned();
    let history = shown(get(&room, "maker", &format!("/tips/{}", tip.id)).await.text);
    for line in [
        "</strong> phát tin báo<",
        "</strong> báo cáo kết quả · <q>lý do</q>",
        "</strong> thanh khoản tin báo · Có vi phạm · <q>",
        " 2.500.000 · <q>QĐ 12</q>",
        "</strong> bỏ giữ hình ảnh · gate-01 · <q>hết nghi vấn</q>",
        "</strong> cho kiểm tra thực tế hàng hóa · <q>mở cont</q>",
        "</strong> nhận gộp tin báo · TB-2</li>",
        &format!(" · {file}</li>"),
        &format!(" · Ảnh.jpg SHA-256 {digest} · <q>nhầm tệp</q>"),
    ] {
        assert!(history.contains(line), "{line}: {history}");
    }
    assert!(!history.contains("Phát tin báo"), "the button's label: {history}");
    let english = Request::get(format!("/tips/{}", tip.id)).header(header::COOKIE, "gw-language=en");
    let english = shown(send(&room, "maker", english, String::new()).await.text);
    for line in ["</strong> issued the tip<", "</strong> settled the tip · ", "</strong> received it<"] {
        assert!(english.contains(line), "{line}: {english}");
    }
}

#[tokio::test]
async fn a_tip_about_footage_is_about_every_second_that_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let an = sign_in(&room, "an", Role::Officer, "15BB").await;
    let seen = |from: &str, to: &str| format!("/tips/new?camera=15BB/gate-01/gate&from={from}&to={to}");
    for (from, to) in [("03:10:30", "03:19:59"), ("03:10:30", "03:10:40")] {
        let times = [from, to].map(|time| format!("2026-03-02T{time}"));
        let form = get(&room, "an", &seen(&times[0], &times[1])).await;
        let said = |name: &str| {
            let (_, rest) = form.text.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        let (from, to) = (said("from"), said("to"));
        assert_eq!([&from, &to], [&times[0], &times[1]]);
        let fields = [
            ("office", "15BB"),
            ("suspicion", "quantity"),
            ("subject", "Xe dừng lâu"),
            ("due", "2099-03-03T10:00"),
            ("from", from.as_str()),
            ("to", to.as_str()),
        ];
        let made = post(&room, "an", "/tips/new", &fields).await;
        assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text);
        let tip = room.db.tip(made.to.rsplit('/').next().unwrap()).await.unwrap().unwrap();
        let shown = get(&room, "an", &made.to).await;
        assert!(shown.text.contains(&format!("step=\"1\" name=\"from\" value=\"{from}\"")), "the draft keeps them");
        let leader = User { role: Role::ShiftLeader, scope: Scope::all(), ..an.clone() };
        assert_eq!(step(&room, &leader, &tip, Step::Issue).await.state, "issued");
    }
}

#[tokio::test]
async fn nobody_signs_a_hand_over_that_another_list_has_replaced() {
    use crate::desk::shift::{self, Plan};
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let binh = sign_in(&room, "binh", Role::ShiftLeader, "*").await;
    sign_in(&room, "chi", Role::ShiftLeader, "*").await;
    let (from_ms, to_ms) = (utc_now().0, utc_now().0 + 3_600_000);
    let (leader, duty_day) = ("binh".to_owned(), "2026-03-02".to_owned());
    let plan = Plan { duty_day, from_ms, to_ms, leader, focus: String::new(), members: vec![] };
    let id = shift::add(&room, &binh, plan).await.unwrap();
    let page = format!("/shifts/{id}");
    let given = async |note: &str| {
        shift::give(&room, &binh, &id, note).await.unwrap();
        let text = get(&room, "chi", &page).await.text;
        text.split_once("name=\"version\" value=\"").unwrap().1.split('"').next().unwrap().to_owned()
    };
    let says = async |step: &str, version: &str| {
        let fields = [("version", version), ("note", "Thiếu tin báo")];
        post(&room, "chi", &format!("{page}/{step}"), &fields).await.status
    };
    let first = given("Ô số 1").await;
    assert_eq!(says("send_back", &first).await, StatusCode::SEE_OTHER);
    let second = given("Ô số 1 và 2").await;
    for step in ["take", "send_back"] {
        assert_eq!((says(step, &first).await, says(step, "").await), (StatusCode::CONFLICT, StatusCode::CONFLICT));
    }
    assert_eq!(says("take", &second).await, StatusCode::SEE_OTHER);
}
