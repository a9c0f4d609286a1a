//! From the broker into the database: each message once, in its place, and acknowledged only when it is stored. Holes in
//! a box's numbers are asked back. What a message means is in `message.rs`; the connection is `mqtt/desk.rs`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::alert::{self, Step};
use super::chain;
use super::config::is_office;
use super::db::messages::{DueGap, Kept, Message};
use super::db::outgoing::Outgoing;
use super::db::{DbError, Tx};
use super::message;
use super::orders;
use super::pictures;
use super::room::{Room, new_id};
use crate::clock::utc_now;
use crate::mqtt::desk::Arrived;

/// Messages stored in one transaction, at most: a backlog of thousands must not cost a disk flush each.
const BATCH: usize = 200;
/// Wait before a batch that the database refused is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// A gap is asked for again after this.
const ASK_AGAIN_MS: i64 = 60_000;

/// Topic of answers to this desk. `desk` is no office code, so no box has it.
pub(crate) fn reply_topic(prefix: &str, client_id: &str) -> String {
    format!("{prefix}/desk/{client_id}/reply")
}

/// What the desk listens to: boxes of these offices, or all; and answers. With `share`, what comes once is dealt out among
/// the workers of that name. Retained states are not: a broker sends them to nobody who shares.
pub(crate) fn filters(prefix: &str, offices: &[String], client_id: &str, share: Option<&str>) -> Vec<String> {
    let any = ["+".to_owned()];
    let offices = if offices.is_empty() { &any[..] } else { offices };
    let states = ["state", "birth", "camera/+/state"];
    let once = ["event", "alert", "correlation", "chain", "snapshot/+"];
    let dealt = share.map_or(String::new(), |group| format!("$share/{group}/"));
    let mut all = vec![reply_topic(prefix, client_id)];
    for office in offices {
        all.extend(states.map(|kind| format!("{prefix}/{office}/+/{kind}")));
        all.extend(once.map(|kind| format!("{dealt}{prefix}/{office}/+/{kind}")));
    }
    all
}

/// Stores what arrives until the connection's side of the queue is gone.
pub(crate) async fn run(room: Arc<Room>, mut arrived: mpsc::Receiver<Arrived>) {
    let mut batch = Vec::new();
    while arrived.recv_many(&mut batch, BATCH).await > 0 {
        while let Err(error) = store(&room, &batch).await {
            tracing::warn!(%error, messages = batch.len(), "messages cannot be stored now; trying again");
            tokio::time::sleep(AGAIN).await;
        }
        room.stored.fetch_add(batch.len() as u64, Ordering::Relaxed);
        batch.drain(..).for_each(|a| a.acknowledge());
        room.hub.nudge();
    }
}

/// One transaction for all of them.
async fn store(room: &Room, batch: &[Arrived]) -> Result<(), DbError> {
    let mut tx = room.db.write().await?;
    let mut seen = HashSet::new();
    for one in batch {
        take(room, &mut tx, &mut seen, one).await?;
    }
    tx.commit().await
}

/// `seen`: boxes that had a word in this transaction already.
async fn take<'a>(
    room: &Room,
    tx: &mut Tx,
    seen: &mut HashSet<(&'a str, &'a str)>,
    one: &'a Arrived,
) -> Result<(), DbError> {
    let prefix = &room.prefix;
    if one.topic == reply_topic(prefix, &room.config.mqtt.client_id) {
        return answer(tx, one).await;
    }
    let Some((office, box_id, kind)) = levels(prefix, &one.topic) else { return Ok(()) };
    let now = utc_now().0;
    if seen.insert((office, box_id)) {
        tx.box_seen(office, box_id, now).await?;
    }
    match kind.as_slice() {
        ["state"] => {
            let online = json_of(one).pointer("/online").and_then(Value::as_bool).unwrap_or(false);
            tx.box_online(office, box_id, online, now).await?;
        }
        ["birth"] => tx.box_birth(office, box_id, &json_of(one).to_string()).await?,
        ["camera", camera, "state"] if is_local_id(camera) => {
            tx.camera_state(office, box_id, camera, &json_of(one).to_string(), now).await?;
        }
        ["snapshot", event] => return picture(room, tx, event, one).await,
        // All that shares the box's sequence: what is not taken looks like a hole in it.
        ["event" | "alert" | "correlation" | "chain"] => match message::read(&one.payload, office, box_id) {
            Ok(m) => return keep(room, tx, &m, now).await,
            Err(why) => tracing::warn!(topic = one.topic, why, bytes = one.payload.len(), "message cannot be read"),
        },
        _ => {}
    }
    Ok(())
}

/// Office, box and the levels after them. Not the box's own parser: a box may speak on topics that it does not know.
fn levels<'a>(prefix: &str, topic: &'a str) -> Option<(&'a str, &'a str, Vec<&'a str>)> {
    let mut levels = topic.strip_prefix(prefix)?.strip_prefix('/')?.split('/');
    let (office, box_id) = (levels.next()?, levels.next()?);
    (is_office(office) && is_local_id(box_id)).then(|| (office, box_id, levels.collect()))
}

fn json_of(one: &Arrived) -> Value {
    serde_json::from_slice(&one.payload).unwrap_or(Value::Null)
}

fn is_local_id(id: &str) -> bool {
    (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

async fn picture(room: &Room, tx: &mut Tx, event: &str, one: &Arrived) -> Result<(), DbError> {
    if !one.payload.starts_with(&[0xff, 0xd8, 0xff]) {
        tracing::warn!(topic = one.topic, "a picture that is no JPEG is not kept");
        return Ok(());
    }
    let sha256 = hex::encode(Sha256::digest(&one.payload));
    pictures::write(&room.config.desk.dir, &sha256, &one.payload).await?;
    let bytes = i64::try_from(one.payload.len()).unwrap_or(i64::MAX);
    tx.keep_picture(event, &sha256, bytes, utc_now().0).await?;
    tx.touch(event, false).await
}

/// Keeps a message; what is new becomes links, an alert, a bay's state, a head of the box's chain, and a box's word about
/// tips.
async fn keep(room: &Room, tx: &mut Tx, m: &Message, now: i64) -> Result<(), DbError> {
    let kept = tx.keep(m, now).await?;
    let aside = match kept {
        Kept::New => None,
        Kept::Known => return Ok(()),
        Kept::NumberTwice => Some("another message has its number"),
        Kept::RevisionTwice => Some("another message has its revision"),
        Kept::Foreign => Some("another box's event has its id"),
    };
    if let Some(why) = aside {
        tracing::error!(source = m.source, epoch = m.epoch, seq = m.seq, id = m.id, why, "a message is kept aside");
        return match kept {
            Kept::NumberTwice => chain::number_twice(room, tx, m, now).await,
            _ => chain::set_aside(room, tx, m, now).await,
        };
    }
    if m.kind == chain::HEAD_KIND {
        return chain::take(room, tx, m, now).await;
    }
    for tip in message::tips(m) {
        tx.tip_answer(&tip, &m.source, &m.kind, &m.id, m.at_ms, &m.body.to_string()).await?;
    }
    let newest = tx.newest_revision(&m.id).await? <= m.revision;
    if newest {
        tx.set_links(&m.id, &m.office, m.at_ms, &message::links(m)).await?;
        if let Some(word) = message::bay(m) {
            tx.bay_word(m, &word).await?;
        }
    }
    match tx.alert(&m.id).await? {
        Some(row) if m.revision > row.revision => renew(tx, row, m, now).await,
        None if message::is_alert(m) => open(room, tx, m, newest, now).await,
        _ => Ok(()),
    }
}

/// A new alert.
async fn open(room: &Room, tx: &mut Tx, m: &Message, newest: bool, now: i64) -> Result<(), DbError> {
    let mut row = message::alert(m, &room.zone, now, i64::from(room.config.alerts.live_limit_s) * 1000);
    if !newest {
        // It was overtaken by what happened after it.
        let body = tx.newest_body(&m.id).await?;
        message::read(body.as_bytes(), &m.office, &m.box_id).iter().for_each(|m| message::describe(&mut row, m));
    }
    tx.add_alert(&row).await?;
    tx.touch(&row.id, row.historical == 0).await
}

/// A known alert hears something new.
async fn renew(tx: &mut Tx, mut row: super::db::alerts::AlertRow, m: &Message, now: i64) -> Result<(), DbError> {
    let before: Value = serde_json::from_str(&row.body).unwrap_or(Value::Null);
    let news = Step::News { severity: m.severity, matters: message::matters(&before, &m.body) };
    message::describe(&mut row, m);
    let mut fresh = false;
    if let Ok(Some((core, entry))) = alert::step(&row.core(), &news, "", now) {
        fresh = entry.action == "reopen" && row.historical == 0;
        row.set_core(&core);
        if entry.action == "reopen" {
            row.opened_ms = now;
        }
        tx.add_alert_action(&new_id(now), &row.id, now, "", &entry).await?;
    }
    tx.change_alert(&row).await?;
    tx.touch(&row.id, fresh).await
}

/// Asks boxes for the numbers that are missing; returns how many holes were asked for.
pub(crate) async fn ask_back(room: &Room) -> Result<usize, DbError> {
    let now = utc_now().0;
    let found_before = now - i64::from(room.config.mqtt.gap_after_s) * 1000;
    let due = room.db.gaps_due(found_before, now - ASK_AGAIN_MS).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let mut tx = room.db.write().await?;
    for gap in &due {
        tracing::info!(
            source = gap.source,
            from = gap.from_seq,
            to = gap.to_seq,
            "messages are missing; asking the box"
        );
        tx.publish(&resync(room, gap, now)).await?;
        tx.gap_asked(gap, now).await?;
    }
    tx.commit().await?;
    room.outgoing.notify_one();
    Ok(due.len())
}

fn resync(room: &Room, gap: &DueGap, now: i64) -> Outgoing {
    Outgoing {
        id: new_id(now),
        topic: format!("{}/{}/{}/cmd/resync", room.prefix, gap.office, gap.box_id),
        payload: json!({"from_seq": gap.from_seq, "to_seq": gap.to_seq, "epoch": gap.epoch}).to_string(),
        reply_topic: reply_topic(&room.prefix, &room.config.mqtt.client_id),
        correlation: json!([gap.source, gap.epoch, gap.from_seq, gap.to_seq]).to_string(),
    }
}

/// A box answers an order, or a request for missing numbers: what it has no more is lost, and that is said.
async fn answer(tx: &mut Tx, one: &Arrived) -> Result<(), DbError> {
    let body = json_of(one);
    let asked: Value = one.correlation.as_ref().and_then(|c| serde_json::from_slice(c).ok()).unwrap_or(Value::Null);
    if let Some(order) = asked.get("order").and_then(Value::as_str) {
        return orders::answered(tx, order, &body).await;
    }
    let Ok((source, epoch, from, to)) = serde_json::from_value::<(String, i64, i64, i64)>(asked) else {
        return Ok(());
    };
    let Some(result) = body.get("result").filter(|_| body["ok"] == true) else {
        tracing::warn!(source, error = %body["error"], "the box cannot repeat its messages");
        return Ok(());
    };
    let Some(lost_to) = lost_to(result, epoch, from) else { return Ok(()) };
    let lost = tx.lose(&source, epoch, from, lost_to.min(to)).await?;
    if lost > 0 {
        tracing::error!(source, from, to = lost_to.min(to), "the box no longer has these messages: they are lost");
    }
    Ok(())
}

/// Up to which number a box that was asked for messages from `from` on has them no more, by its answer.
fn lost_to(result: &Value, epoch: i64, from: i64) -> Option<i64> {
    let number = |key: &str| result.get(key).and_then(Value::as_i64);
    match (number("epoch") == Some(epoch), number("first_seq")) {
        (false, _) | (true, None) => Some(i64::MAX),
        (true, Some(first)) if first > from => Some(first - 1),
        // It says where to go on when its outbox is full of what was asked for before: then it has them still.
        _ if number("next_from").is_some() => None,
        _ if number("queued") == Some(0) && number("already_pending") == Some(0) => Some(i64::MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_alert_of_a_box_is_changed_by_that_box_only() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let says = async |box_id: &str, seq, revision, severity| {
            let mut body = message::tests::body("E1", seq, revision, severity);
            body["source"] = format!("/office/15BB/box/{box_id}").into();
            body["data"]["link"]["links"][0]["decl_key"] = format!("{severity}0000001234").into();
            let m = message::read(body.to_string().as_bytes(), "15BB", box_id).unwrap();
            let mut tx = room.db.write().await.unwrap();
            keep(&room, &mut tx, &m, 0).await.unwrap();
            tx.commit().await.unwrap();
            let row = room.db.alert("E1").await.unwrap().unwrap();
            let links = "SELECT decl_key FROM event_link WHERE event_id = 'E1'";
            let link: String = sqlx::query_scalar(links).fetch_one(&room.db.pool).await.unwrap();
            (row.box_id, row.revision, row.severity, link)
        };
        let of = |revision, severity| ("gate-01".to_owned(), revision, severity, format!("{severity}0000001234"));
        assert_eq!(says("gate-01", 1, 1, 4).await, of(1, 4));
        for (seq, revision) in [(1, 9), (2, 10)] {
            assert_eq!(says("gate-02", seq, revision, 1).await, of(1, 4), "another box");
        }
        assert_eq!(says("gate-01", 2, 2, 3).await.1, 2, "its own next word, whatever the other one said");
        assert_eq!(room.db.revisions("E1").await.unwrap().len(), 2, "the page shows the words of its box only");
        let aside = "SELECT COUNT(*) FROM clash WHERE source = '/office/15BB/box/gate-02'";
        let aside: i64 = sqlx::query_scalar(aside).fetch_one(&room.db.pool).await.unwrap();
        let holes: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM gap").fetch_one(&room.db.pool).await.unwrap();
        assert_eq!((aside, holes), (2, 0), "kept aside, and not asked for again");
        let told = "SELECT COUNT(*) FROM alert WHERE rule = 'chain_set_aside' AND box = 'gate-02' AND severity = 4";
        let told: i64 = sqlx::query_scalar(told).fetch_one(&room.db.pool).await.unwrap();
        assert_eq!(told, 1, "somebody hears of it, once a day");
    }

    #[test]
    fn what_a_box_has_no_room_to_repeat_now_is_not_lost() {
        let answer = |first_seq, queued, next_from: Option<i64>| {
            let result = json!({"epoch": 7, "first_seq": first_seq, "last_seq": 90, "queued": queued, "already_pending": 0,
                "next_from": next_from});
            lost_to(&result, 7, 20)
        };
        assert_eq!(answer(Some(1), 0, Some(20)), None, "its outbox is full of what was asked for before");
        assert_eq!(answer(Some(1), 5, None), None);
        assert_eq!(answer(Some(1), 0, None), Some(i64::MAX), "it has none of them");
        assert_eq!(answer(Some(25), 3, None), Some(24));
        assert_eq!(answer(None, 0, None), Some(i64::MAX));
    }

    #[test]
    fn only_topics_of_boxes_are_read() {
        let read = |t| levels("gatewatch/v1", t);
        assert_eq!(
            read("gatewatch/v1/15BB/gate-01/camera/a/state"),
            Some(("15BB", "gate-01", vec!["camera", "a", "state"]))
        );
        for other in [
            "gatewatch/v1/desk/desk/reply",
            "gatewatch/v1/15BB/Gate/alert",
            "other/15BB/gate-01/alert",
            "gatewatch/v1/15BB",
            "gatewatch/v15BB/g/alert",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(filters("p", &["15BB".into()], "desk", None).len(), 9);
        assert!(filters("p", &[], "desk", None).contains(&"p/+/+/alert".to_owned()));
        let shared = filters("p", &[], "desk-1", Some("duty"));
        for filter in ["$share/duty/p/+/+/alert", "$share/duty/p/+/+/chain", "p/+/+/state", "p/desk/desk-1/reply"] {
            assert!(shared.contains(&filter.to_owned()), "{filter}: {shared:?}");
        }
    }
}
