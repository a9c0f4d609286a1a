//! What people ask of a box about an alert, or about a camera and a time, in one transaction each: the order, its history,
//! its audit and the message; and the orders that `tip_measures.rs` gives. A declaration is bound by the fact `in/bind`, goods are stopped by `in/stop`,
//! footage is held and given free by `cmd/hold` and `cmd/release`. An order
//! without an answer is sent again when the box is there, ever less often but never given up, and at once where another box stands
//! in its place; so is a hold that is not known to be complete, for how much it holds. Boxes take the same order twice as once.

use serde_json::{Value, json};

use super::access::User;
use super::alert::Entry;
use super::db::audit::Act;
use super::db::orders::OrderRow;
use super::db::outgoing::Outgoing;
use super::db::{DbError, Tx};
use super::duty::DutyError;
use super::ingest::reply_topic;
use super::message::text;
use super::room::{Room, new_id};
use crate::clock::{UtcMillis, utc_now};

/// An order is sent again after this, milliseconds; an old one later.
const AGAIN_MS: i64 = 60_000;
/// Longest reason that boxes take, characters.
pub(crate) const MAX_REASON: usize = 100;

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The event, or the whole visit, belongs to the declaration, or does not (`reject`).
    Bind { decl_key: String, reject: bool, visit: Option<String>, note: String },
    /// Keep this footage.
    Hold { camera: String, from: UtcMillis, to: UtcMillis, note: String },
    /// Give a hold free.
    Release { hold: String, note: String },
    /// Stop goods at the exit, or lift that.
    Stop(Stop),
}

/// A stop of goods, as it stands or as it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    /// The same for a stop and its end.
    pub id: String,
    pub decl_key: String,
    pub from_ms: i64,
    /// `None` = until further notice.
    pub to_ms: Option<i64>,
    pub note: String,
}

impl Ask {
    fn kind(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind",
            Self::Hold { .. } => "hold",
            Self::Release { .. } => "release",
            Self::Stop(_) => "stop",
        }
    }

    /// As in the history: a rejection is another act than a binding.
    fn action(&self) -> &'static str {
        match self {
            Self::Bind { reject: true, .. } => "reject_decl",
            other => other.kind(),
        }
    }

    fn note(&self) -> &str {
        let (Self::Bind { note, .. }
        | Self::Hold { note, .. }
        | Self::Release { note, .. }
        | Self::Stop(Stop { note, .. })) = self;
        note
    }

    fn about(&self) -> &str {
        match self {
            Self::Bind { decl_key, .. } => decl_key,
            Self::Hold { camera, .. } => camera,
            Self::Release { hold, .. } => hold,
            Self::Stop(stop) => &stop.id,
        }
    }
}

/// The visit that an alert's event belongs to, as its links say.
pub(crate) fn visit_of(body: &Value) -> Option<String> {
    let links = body.pointer("/data/link/links").and_then(Value::as_array).into_iter().flatten();
    let sources = links.filter_map(|l| l.get("sources").and_then(Value::as_array)).flatten();
    sources.filter_map(Value::as_str).find_map(|s| s.strip_prefix("visit:")).map(str::to_owned)
}

/// Gives an order about an alert.
pub(crate) async fn ask(room: &Room, user: &User, alert_id: &str, ask: &Ask) -> Result<(), DutyError> {
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let alert = tx.alert(alert_id).await?.filter(|a| user.scope.holds(&a.office)).ok_or(DutyError::NotFound)?;
    let earlier = tx.orders(alert_id).await?;
    let to = Addressee { office: &alert.office, box_id: &alert.box_id, about: About::Alert(alert_id) };
    let note = give(room, &mut tx, &user.name, to, ask, &earlier, now).await?;
    let entry = Entry { action: ask.action(), reason: String::new(), note: note.clone() };
    tx.add_alert_action(&new_id(now), alert_id, now, &user.name, &entry).await?;
    let action = format!("alert.{}", ask.action());
    tx.audit(Act { account: &user.name, office: &alert.office, action: &action, object: alert_id, detail: &note })
        .await?;
    tx.commit().await?;
    room.outgoing.notify_one();
    Ok(())
}

/// Holds footage of a camera, or gives it free, without an alert. `object`: what the audit calls it.
pub(crate) async fn ask_box(
    room: &Room,
    user: &User,
    (office, box_id): (&str, &str),
    object: &str,
    ask: &Ask,
) -> Result<(), DutyError> {
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let earlier = tx.free_orders(office, box_id).await?;
    let to = Addressee { office, box_id, about: About::Camera };
    let said = give(room, &mut tx, &user.name, to, ask, &earlier, now).await?;
    let action = format!("footage.{}", ask.action());
    let detail = match ask {
        Ask::Hold { from, to, note, .. } => format!("{} – {}: {note}", from.to_rfc3339(), to.to_rfc3339()),
        Ask::Bind { .. } | Ask::Release { .. } | Ask::Stop(_) => said,
    };
    tx.audit(Act { account: &user.name, office, action: &action, object, detail: &detail }).await?;
    tx.commit().await?;
    room.outgoing.notify_one();
    Ok(())
}

/// Tells every box of an office that goods are stopped, or no longer: each is asked until it has answered, since the exit of any
/// of them may be theirs. That they are stopped, only boxes in use hear. `(tip, office)`.
pub(crate) async fn stop(
    room: &Room,
    tx: &mut Tx,
    by: &str,
    (tip, office): (&str, &str),
    stop: Stop,
) -> Result<(), DutyError> {
    check(&Ask::Stop(stop.clone()), About::Tip(tip), &[])?;
    for box_id in tx.boxes_of(office, &stop.id).await? {
        stop_at(room, tx, by, tip, (office, &box_id), stop.clone()).await?;
    }
    Ok(())
}

/// Tells one box. `(office, box)`.
pub(crate) async fn stop_at(
    room: &Room,
    tx: &mut Tx,
    by: &str,
    tip: &str,
    (office, box_id): (&str, &str),
    stop: Stop,
) -> Result<(), DutyError> {
    let to = Addressee { office, box_id, about: About::Tip(tip) };
    give(room, tx, by, to, &Ask::Stop(stop), &[], utc_now().0).await.map(drop)
}

/// Gives free what a box held for a tip.
pub(crate) async fn release_for_tip(
    room: &Room,
    tx: &mut Tx,
    user: &User,
    tip: &str,
    (office, box_id): (&str, &str),
    hold: &str,
    note: &str,
) -> Result<(), DutyError> {
    let earlier = tx.orders_of_tip(tip).await?;
    let to = Addressee { office, box_id, about: About::Tip(tip) };
    let ask = Ask::Release { hold: hold.into(), note: note.into() };
    give(room, tx, &user.name, to, &ask, &earlier, utc_now().0).await.map(drop)
}

/// Whom an order goes to, and what it is about.
#[derive(Clone, Copy)]
struct Addressee<'a> {
    office: &'a str,
    box_id: &'a str,
    about: About<'a>,
}

/// What an order is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About<'a> {
    Alert(&'a str),
    Tip(&'a str),
    /// A camera and a time alone.
    Camera,
}

impl<'a> About<'a> {
    fn alert(self) -> Option<&'a str> {
        if let Self::Alert(id) = self { Some(id) } else { None }
    }

    fn tip(self) -> Option<&'a str> {
        if let Self::Tip(id) = self { Some(id) } else { None }
    }
}

/// Writes an order and what is to be published; says in words what it was about.
async fn give(
    room: &Room,
    tx: &mut Tx,
    by: &str,
    to: Addressee<'_>,
    ask: &Ask,
    earlier: &[OrderRow],
    now: i64,
) -> Result<String, DutyError> {
    check(ask, to.about, earlier)?;
    let id = new_id(now);
    let order = OrderRow {
        kind: ask.kind().into(),
        alert_id: to.about.alert().map(str::to_owned),
        tip_id: to.about.tip().map(str::to_owned),
        office: to.office.into(),
        box_id: to.box_id.into(),
        about: ask.about().into(),
        note: ask.note().into(),
        account: by.to_owned(),
        at_ms: now,
        topic: format!("{}/{}/{}/{}", room.prefix, to.office, to.box_id, levels(ask)),
        body: body(ask, &id, by, to.about, earlier, now).to_string(),
        asked_ms: now,
        answered_ms: None,
        ok: None,
        answer: None,
        id,
    };
    tx.add_order(&order).await?;
    tx.publish(&outgoing(room, &order, now)).await?;
    Ok([ask.about(), ask.note()].join(" ").trim().to_owned())
}

fn levels(ask: &Ask) -> &'static str {
    match ask {
        Ask::Bind { .. } => "in/bind",
        Ask::Hold { .. } => "cmd/hold",
        Ask::Release { .. } => "cmd/release",
        Ask::Stop(_) => "in/stop",
    }
}

/// What must be there: a correction, a hold, a release and a stop have a reason, and what is released was held and is released once.
/// What a box held for a tip is no order of this desk: whoever asks looked in the box's answer.
fn check(ask: &Ask, about: About<'_>, earlier: &[OrderRow]) -> Result<(), DutyError> {
    let lacks_reason = ask.note().trim().is_empty();
    let placed =
        |hold: &str| matches!(about, About::Tip(_)) || earlier.iter().any(|o| o.kind == "hold" && o.id == hold);
    match ask {
        Ask::Bind { decl_key, reject, .. }
            if lacks_reason && (*reject || corrected(decl_key, *reject, earlier).is_some()) =>
        {
            Err(DutyError::Refused("refusal.correction"))
        }
        Ask::Bind { .. } => Ok(()),
        _ if lacks_reason => Err(DutyError::Refused("refusal.note")),
        Ask::Release { hold, .. } if !placed(hold) => Err(DutyError::NotFound),
        Ask::Release { hold, .. } if is_released(hold, earlier) => Err(DutyError::Refused("refusal.released")),
        Ask::Hold { .. } | Ask::Release { .. } | Ask::Stop(_) => Ok(()),
    }
}

/// Whether somebody gave a hold free, and the box did not refuse that.
pub(crate) fn is_released(hold: &str, orders: &[OrderRow]) -> bool {
    orders.iter().any(|o| o.kind == "release" && o.about == hold && o.ok != Some(0))
}

/// Bindings and rejections that stand, oldest first, with whether each rejects: no box refused them, and no later one that
/// a box did not refuse corrected them.
fn standing(earlier: &[OrderRow]) -> Vec<(&OrderRow, bool)> {
    let taken = earlier.iter().filter(|o| o.kind == "bind" && o.ok != Some(0));
    let said: Vec<(&OrderRow, Value)> =
        taken.map(|o| (o, serde_json::from_str(&o.body).unwrap_or(Value::Null))).collect();
    let gone: Vec<String> = said.iter().filter_map(|(_, body)| text(body, "/supersedes")).collect();
    let stands = said.iter().filter(|(o, _)| !gone.contains(&o.id));
    stands.map(|(o, body)| (*o, body["action"] == "reject")).collect()
}

/// The order that a new one corrects. A rejection takes back what was bound to the same declaration, and nothing else. A
/// binding takes back the rejection of its declaration, or else the binding in its place.
fn corrected<'a>(decl_key: &str, reject: bool, earlier: &'a [OrderRow]) -> Option<&'a OrderRow> {
    let standing = standing(earlier);
    let same = standing.iter().rev().find(|(o, _)| o.about == decl_key);
    let before = match (reject, same) {
        (true, same) => same.filter(|(_, rejects)| !rejects),
        (false, Some(same)) if same.1 => Some(same),
        (false, _) => standing.iter().rev().find(|(_, rejects)| !rejects),
    };
    before.map(|(o, _)| *o)
}

/// The message, in the form of the agent.
fn body(ask: &Ask, id: &str, by: &str, about: About<'_>, earlier: &[OrderRow], now: i64) -> Value {
    let cut = |t: &str| t.trim().chars().take(MAX_REASON).collect::<String>();
    match ask {
        Ask::Bind { decl_key, reject, visit, note } => {
            let action = if *reject { "reject" } else { "bind" };
            let at = UtcMillis(now).to_rfc3339();
            let mut body =
                json!({"id": id, "version": 1, "decl_no": decl_key, "action": action, "officer": by, "at": at});
            match visit {
                Some(visit) => body["visit_id"] = visit.clone().into(),
                None => body["event_id"] = about.alert().into(),
            }
            if !note.trim().is_empty() {
                body["reason"] = cut(note).into();
            }
            if let Some(before) = corrected(decl_key, *reject, earlier) {
                body["supersedes"] = before.id.clone().into();
            }
            body
        }
        Ask::Hold { camera, from, to, note } => {
            json!({"id": id, "camera": camera, "from": from.to_rfc3339(), "to": to.to_rfc3339(), "reason": cut(note), "by": by})
        }
        Ask::Release { hold, note } => json!({"id": hold, "by": by, "reason": cut(note)}),
        Ask::Stop(stop) => {
            let mut body = json!({"id": stop.id, "version": 1, "decl_no": stop.decl_key, "from": UtcMillis(stop.from_ms).to_rfc3339(),
                "by": by, "reason": cut(&stop.note), "tip_id": about.tip()});
            if let Some(to) = stop.to_ms {
                (body["version"], body["to"]) = (2.into(), UtcMillis(to).to_rfc3339().into());
            }
            body
        }
    }
}

fn outgoing(room: &Room, order: &OrderRow, now: i64) -> Outgoing {
    Outgoing {
        id: new_id(now),
        topic: order.topic.clone(),
        payload: order.body.clone(),
        reply_topic: reply_topic(&room.prefix, &room.config.mqtt.client_id),
        correlation: json!({"order": order.id}).to_string(),
    }
}

/// A box answers. What it says of a hold that it has not looked at is not its last word.
pub(crate) async fn answered(tx: &mut Tx, order: &str, body: &Value) -> Result<(), DbError> {
    let ok = body["ok"] == true;
    let answer = if ok { body["result"].to_string() } else { text(body, "/error").unwrap_or_default() };
    if !ok {
        tracing::warn!(order, error = answer, "a box refuses an order");
    }
    let last_ms = Some(utc_now().0).filter(|_| !ok || body["result"]["state"] != "requested");
    if let Some(alert) = tx.order_answered(order, last_ms, ok, &answer).await? {
        tx.touch(&alert, false).await?;
    }
    Ok(())
}

/// Sends orders without an answer again.
pub(crate) async fn ask_again(room: &Room) -> Result<(), DbError> {
    let now = utc_now().0;
    let due = room.db.orders_due(now - AGAIN_MS).await?;
    if due.is_empty() {
        return Ok(());
    }
    let mut tx = room.db.write().await?;
    for order in &due {
        tx.publish(&outgoing(room, order, now)).await?;
        tx.order_asked(&order.id, now).await?;
    }
    tx.commit().await?;
    room.outgoing.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::access::tests::user;
    use crate::desk::db::alerts::AlertRow;

    fn alert() -> AlertRow {
        let body = crate::desk::message::tests::body("E1", 1, 1, 4);
        let m = crate::desk::message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
        crate::desk::message::alert(&m, &crate::event::zone::Zone::new("Asia/Ho_Chi_Minh").unwrap(), m.at_ms, 60_000)
    }

    fn bind(note: &str, reject: bool) -> Ask {
        Ask::Bind { decl_key: "10000001234".into(), reject, visit: None, note: note.into() }
    }

    fn order(id: &str, ask: &Ask, body: &Value) -> OrderRow {
        OrderRow {
            id: id.into(),
            kind: ask.kind().into(),
            alert_id: Some("E1".into()),
            tip_id: None,
            office: "15BB".into(),
            box_id: "gate-01".into(),
            about: ask.about().into(),
            note: String::new(),
            account: "an".into(),
            at_ms: 0,
            topic: String::new(),
            body: body.to_string(),
            asked_ms: 0,
            answered_ms: None,
            ok: None,
            answer: None,
        }
    }

    #[test]
    fn what_is_sent_is_what_the_agent_reads() {
        use crate::customs::Binding;
        let first = body(&bind("", false), "o1", &user().name, About::Alert("E1"), &[], 0);
        let read = Binding::from_json(first.to_string().as_bytes()).unwrap().value;
        assert_eq!((read.event_id.as_deref(), read.officer.as_str(), read.supersedes), (Some("E1"), "an", None));
        let before = [order("o1", &bind("", false), &first)];
        let long = "lý do ".repeat(40);
        let second = body(&bind(&long, false), "o2", &user().name, About::Alert("E1"), &before, 0);
        let read = Binding::from_json(second.to_string().as_bytes()).unwrap().value;
        assert_eq!(read.supersedes.as_deref(), Some("o1"), "a correction names what it corrects");
        let visit =
            Ask::Bind { decl_key: "10000001234".into(), reject: false, visit: Some("V-7".into()), note: String::new() };
        let read =
            Binding::from_json(body(&visit, "o3", &user().name, About::Alert("E1"), &[], 0).to_string().as_bytes())
                .unwrap();
        assert_eq!((read.value.visit_id.as_deref(), read.value.event_id), (Some("V-7"), None));
    }

    #[test]
    fn a_stop_stands_until_the_same_order_ends_it() {
        use crate::customs::binding::StopOrder;
        let stop = |to_ms| Stop {
            id: "S-1".into(),
            decl_key: "10000001234".into(),
            from_ms: 1000,
            to_ms,
            note: "lý do ".repeat(40),
        };
        let read = |stop: Stop| {
            let body = body(&Ask::Stop(stop), "o1", &user().name, About::Tip("t1"), &[], 0);
            StopOrder::from_json(body.to_string().as_bytes()).unwrap().value
        };
        let (stands, ended) = (read(stop(None)), read(stop(Some(5000))));
        assert_eq!((stands.id == ended.id, stands.version, ended.version), (true, 1, 2));
        assert_eq!((stands.tip_id.as_deref(), stands.by.as_deref()), (Some("t1"), Some("an")));
        let holds = |order: &StopOrder, at| order.holds(UtcMillis(at), &[]);
        assert!(holds(&stands, 9000) && holds(&ended, 4000) && !holds(&ended, 9000) && !holds(&stands, 0));
    }

    /// Gives orders one after the other, `(declaration, rejects)`, and says which of them a box then leaves in force.
    fn in_force_at_the_box(asked: &[(&str, bool)]) -> Vec<String> {
        use crate::customs::register::Fact;
        use crate::customs::{Binding, Register};
        let register = Register::default();
        let (mut given, mut bindings) = (Vec::new(), Vec::new());
        for (n, (decl, reject)) in asked.iter().enumerate() {
            let ask = Ask::Bind { decl_key: (*decl).into(), reject: *reject, visit: None, note: "lý do".into() };
            let id = format!("o{n}");
            let body = body(&ask, &id, &user().name, About::Alert("E1"), &given, 0);
            given.push(order(&id, &ask, &body));
            let binding = Binding::from_json(body.to_string().as_bytes()).unwrap().value;
            register.apply(Fact::Bind(binding.clone()), UtcMillis(0));
            bindings.push(binding);
        }
        let snapshot = register.snapshot();
        bindings.iter().filter(|b| !snapshot.is_superseded(b)).map(|b| b.id.clone()).collect()
    }

    #[test]
    fn a_rejection_takes_back_its_own_declaration_only_and_can_be_taken_back() {
        let (d1, d2) = ("10000001234", "20000001234");
        assert_eq!(in_force_at_the_box(&[(d1, false), (d2, true)]), ["o0", "o1"], "another declaration stays bound");
        assert_eq!(in_force_at_the_box(&[(d1, false), (d1, true)]), ["o1"]);
        assert_eq!(in_force_at_the_box(&[(d1, false), (d1, true), (d1, false)]), ["o2"], "bound again");
        assert_eq!(in_force_at_the_box(&[(d1, false), (d2, false)]), ["o1"], "a correction");
        assert_eq!(in_force_at_the_box(&[(d1, false), (d2, false), (d1, true)]), ["o1", "o2"], "already corrected");
        // What a box refused corrects nothing, and is not corrected.
        let first = body(&bind("", false), "o1", &user().name, About::Alert("E1"), &[], 0);
        let refused = OrderRow { ok: Some(0), ..order("o1", &bind("", false), &first) };
        assert_eq!(
            body(&bind("x", true), "o2", &user().name, About::Alert("E1"), &[refused], 0)["supersedes"],
            Value::Null
        );
    }

    /// A room with an alert of a box that is there, and an order about it which was given and last asked then.
    async fn ordered(room: &Room, ask: &Ask, at_ms: i64) {
        let mut tx = room.db.write().await.unwrap();
        tx.boxes_seen(&[(("15BB", "gate-01"), None)].into(), at_ms, at_ms).await.unwrap();
        tx.box_online("15BB", "gate-01", true, (at_ms, at_ms), at_ms).await.unwrap();
        tx.add_alert(&alert()).await.unwrap();
        let body = body(ask, "o1", &user().name, About::Alert("E1"), &[], at_ms);
        tx.add_order(&OrderRow { at_ms, asked_ms: at_ms, ..order("o1", ask, &body) }).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn says(room: &Room, said: Value) -> OrderRow {
        let mut tx = room.db.write().await.unwrap();
        answered(&mut tx, "o1", &said).await.unwrap();
        tx.commit().await.unwrap();
        room.db.orders("E1").await.unwrap().remove(0)
    }

    async fn asked_in_all(room: &Room) -> usize {
        ask_again(room).await.unwrap();
        room.db.waiting(100).await.unwrap().len()
    }

    #[tokio::test]
    async fn an_order_is_asked_until_it_is_answered_however_old_but_an_old_one_seldom() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let (now, day) = (utc_now().0, 86_400_000);
        ordered(&room, &bind("", false), now - 30 * day).await;
        assert_eq!(asked_in_all(&room).await, 1, "not given up after a month");
        let due = async |after: i64| room.db.orders_due(now + after - AGAIN_MS).await.unwrap().len();
        assert_eq!((due(day).await, due(4 * day).await), (0, 1), "a tenth of its age");
        let row = says(&room, json!({"ok": true, "result": {}})).await;
        assert!(row.answered_ms.is_some_and(|at| at >= now) && row.ok == Some(1));
        assert_eq!(due(400 * day).await, 0);
        let again = says(&room, json!({"ok": false, "error": "known"})).await;
        assert_eq!(again, row, "the first last word stays");
    }

    #[tokio::test]
    async fn a_hold_is_asked_for_again_until_its_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let at = utc_now().0 - 2 * AGAIN_MS;
        let hold =
            Ask::Hold {
                camera: "gate".into(), from: UtcMillis(at), to: UtcMillis(at + 1000), note: "nghi vấn".into()
            };
        ordered(&room, &hold, at).await;
        let held = |state: &str| json!({"ok": true, "result": {"id": "o1", "state": state}});
        let row = says(&room, held("requested")).await;
        assert_eq!((row.ok, row.answered_ms), (Some(1), None));
        assert_eq!(asked_in_all(&room).await, 1);
        let row = says(&room, json!({"ok": false, "error": "there is no camera"})).await;
        assert_eq!(row.ok, Some(1), "it is held all the same");
        let row = says(&room, held("partly")).await;
        assert!(row.answered_ms.is_some() && row.answer.unwrap().contains("partly"));
    }

    #[test]
    fn corrections_holds_and_releases_need_a_reason() {
        let refused = |ask: &Ask, earlier: &[OrderRow]| match check(ask, About::Alert("E1"), earlier) {
            Err(DutyError::Refused(key)) => key,
            Err(_) => "not found",
            Ok(()) => "",
        };
        let before = [order("o1", &bind("", false), &json!({"action": "bind"}))];
        assert_eq!(refused(&bind("", false), &[]), "");
        assert_eq!(refused(&bind("", false), &before), "refusal.correction");
        assert_eq!(refused(&bind("", true), &[]), "refusal.correction");
        let hold = Ask::Hold { camera: "gate".into(), from: UtcMillis(0), to: UtcMillis(1), note: " ".into() };
        assert_eq!(refused(&hold, &[]), "refusal.note");
        let release = Ask::Release { hold: "h".into(), note: "xong".into() };
        assert_eq!(refused(&release, &[]), "not found");
        let held = [order("h", &hold, &json!({})), order("r", &release, &json!({}))];
        assert_eq!(refused(&release, &held[..1]), "");
        assert_eq!(refused(&release, &held), "refusal.released");
    }

    #[test]
    fn the_visit_is_found_among_the_sources_of_the_links() {
        let body = json!({"data": {"link": {"links": [{"sources": ["booking:b1"]}, {"sources": ["visit:V-7"]}]}}});
        assert_eq!(visit_of(&body).as_deref(), Some("V-7"));
        assert_eq!(visit_of(&json!({})), None);
    }
}
