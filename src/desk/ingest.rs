//! From the broker into the database: each message once, in its place, and acknowledged only when it is stored. Holes in
//! a box's numbers are asked back. What a message means is in `message.rs`, what is plainly new is collected in `plain.rs`, what
//! the clearance side says is in `fact.rs`; the connection is `mqtt/desk.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::alert::{self, Step};
use super::chain;
use super::config::is_office;
use super::db::alerts::AlertRow;
use super::db::messages::{DueGap, Kept, Message};
use super::db::outgoing::Outgoing;
use super::db::{DbError, Tx, within};
use super::fact;
use super::message;
use super::orders;
use super::pictures;
use super::plain::Plain;
use super::room::{Room, digest, new_id};
use super::status;
use crate::clock::utc_now;
use crate::customs::{Fact, Outcome};
use crate::mqtt::desk::Arrived;

/// Messages stored in one transaction, at most: a backlog of thousands must not cost a disk flush each.
const BATCH: usize = 256;
/// Wait before a batch that the database refused is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// A batch is stored within this, or the database is gone.
const STORED_WITHIN: Duration = Duration::from_secs(120);
/// What arrives waits for the folder of pictures this long at most.
const PICTURES_WITHIN: Duration = Duration::from_secs(5);
/// A gap is asked for again after this.
const ASK_AGAIN_MS: i64 = 60_000;

/// Topic of answers to this desk. `desk` is no office code, so no box has it.
pub(crate) fn reply_topic(prefix: &str, client_id: &str) -> String {
    format!("{prefix}/desk/{client_id}/reply")
}

/// The level of these offices in topics; all where none is named.
pub(super) fn offices_or_all(offices: &[String]) -> Vec<&str> {
    if offices.is_empty() { vec!["+"] } else { offices.iter().map(String::as_str).collect() }
}

/// What stands in front of a topic that is dealt out among workers.
pub(super) fn dealt(share: Option<&str>) -> String {
    share.map_or(String::new(), |group| format!("$share/{group}/"))
}

/// What the desk listens to: boxes of these offices, or all; and answers. With `share`, what comes once is dealt out among
/// the workers of that name. Retained states are not: a broker sends them to nobody who shares.
pub(crate) fn filters(prefix: &str, offices: &[String], client_id: &str, share: Option<&str>) -> Vec<String> {
    let states = ["state", "birth", "camera/+/state"];
    let once = ["event", "alert", "correlation", "chain", "snapshot/+"];
    let dealt = dealt(share);
    let mut all = vec![reply_topic(prefix, client_id)];
    for office in offices_or_all(offices) {
        all.extend(states.map(|kind| format!("{prefix}/{office}/+/{kind}")));
        all.extend(once.map(|kind| format!("{dealt}{prefix}/{office}/+/{kind}")));
    }
    all
}

/// What the desk glances at: said every minute, and only the newest counts. A broker keeps none of it for a desk that is away, so
/// that it does not take the room of what comes once.
pub(crate) fn glances(prefix: &str, offices: &[String]) -> Vec<String> {
    offices_or_all(offices).iter().map(|office| format!("{prefix}/{office}/+/status")).collect()
}

/// Stores what arrives until the connection's side of the queue is gone.
pub(crate) async fn run(room: Arc<Room>, mut arrived: mpsc::Receiver<Arrived>) {
    let mut batch = Vec::new();
    while arrived.recv_many(&mut batch, BATCH).await > 0 {
        let oldest = batch.first().map_or(0, |one| one.at.0);
        room.storing.store(oldest, Ordering::Relaxed);
        store_all(&room, &batch).await;
        if arrived.is_empty() {
            room.storing.store(0, Ordering::Relaxed);
        }
        room.stored.fetch_add(batch.len() as u64, Ordering::Relaxed);
        batch.drain(..).for_each(|a| a.acknowledge());
        room.hub.nudge();
    }
}

/// Stores a batch, however long the database takes. Where it will not have one of the messages, halves are stored until
/// that one is found: it is kept aside, and the others do not wait for it.
async fn store_all(room: &Room, batch: &[Arrived]) {
    while let Err(error) = within(STORED_WITHIN, store(room, batch)).await {
        match batch {
            [one] if error.is_of_content() => {
                tracing::error!(%error, topic = one.topic, bytes = one.payload.len(), "the database will not have a message");
                match refuse(room, one).await {
                    Ok(()) => return,
                    Err(error) if error.is_of_content() => {
                        return tracing::error!(%error, topic = one.topic, "nor can it be kept aside: it is lost here");
                    }
                    Err(error) => tracing::warn!(%error, "it cannot be kept aside now; trying again"),
                }
            }
            // Of what takes too long, less at once: the database may be slow and not gone.
            [_, _, ..] if error.is_of_content() || matches!(error, DbError::Gone) => {
                let (first, second) = batch.split_at(batch.len() / 2);
                Box::pin(store_all(room, first)).await;
                return Box::pin(store_all(room, second)).await;
            }
            _ => tracing::warn!(%error, messages = batch.len(), "messages cannot be stored now; trying again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// One transaction for all of them.
pub(super) async fn store(room: &Room, batch: &[Arrived]) -> Result<(), DbError> {
    let mut words: Vec<Word> = batch.iter().map(|one| Word::of(room, one)).collect();
    // Before it begins: nobody writes into the database while a folder does not answer.
    write_pictures(room, &mut words).await;
    let messages: Vec<&Message> = words.iter().filter_map(|w| w.message.as_ref()).collect();
    let mut boxes: BTreeMap<_, Option<i64>> = BTreeMap::new();
    for (word, (office, box_id, _)) in words.iter().filter_map(|w| Some((w, w.place.as_ref()?))) {
        let heard = boxes.entry((*office, *box_id)).or_default();
        *heard = word.heard_ms().max(*heard);
    }
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let first = batch.iter().map(|one| one.at.0).min().unwrap_or(now).min(now);
    tx.boxes_seen(&boxes, first, now).await?;
    // One message alone is not worth it. It is also how a batch ends up that could not be stored as one.
    let mut plain = if batch.len() > 1 { Some(Plain::new(tx.known(&messages).await?)) } else { None };
    for word in &words {
        match (&word.message, &mut plain) {
            (None, _) => take(room, &mut tx, word, now).await?,
            (Some(m), None) => keep(room, &mut tx, m, now).await?,
            (Some(m), Some(plain)) if plain.fits(m) => plain.take(room, &mut tx, m, now).await?,
            (Some(m), Some(plain)) => {
                plain.write(&mut tx, now).await?;
                keep(room, &mut tx, m, now).await?;
                plain.passed(m);
            }
        }
    }
    if let Some(mut plain) = plain {
        plain.write(&mut tx, now).await?;
    }
    tx.commit().await
}

/// Writes the pictures among what came. Where that fails they are put aside, and no other word waits for them.
async fn write_pictures(room: &Room, words: &mut [Word<'_>]) {
    let write = async {
        for (one, picture) in words.iter_mut().filter_map(|w| Some((w.arrived, w.picture.as_mut()?))) {
            if !room.pictures.works() {
                return;
            }
            match pictures::write(&room.config.desk.dir, &picture.sha256, &one.payload).await {
                Ok(()) => picture.written = true,
                Err(error) => room.pictures.broke(&error),
            }
        }
    };
    if tokio::time::timeout(PICTURES_WITHIN, write).await.is_err() {
        room.pictures.broke(&"the folder does not answer in time");
    }
}

/// The database will not have it as what it is: its number counts as seen, and somebody hears of it.
async fn refuse(room: &Room, one: &Arrived) -> Result<(), DbError> {
    let word = Word::of(room, one);
    let Some(m) = &word.message else {
        tracing::error!(topic = one.topic, "it is no message of a box, so it is not kept aside: it is lost here");
        return Ok(());
    };
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    tx.refuse(m, now).await?;
    chain::set_aside(room, &mut tx, m, now).await?;
    tx.commit().await
}

/// What came, read as far as it can be without the database.
struct Word<'a> {
    arrived: &'a Arrived,
    /// Office, box and the levels after them; `None` = an answer, a fact, or no topic of a box.
    place: Option<(&'a str, &'a str, Vec<&'a str>)>,
    message: Option<Message>,
    /// What the clearance side says, with the office of the topic.
    fact: Option<(&'a str, Fact)>,
    picture: Option<Picture<'a>>,
}

/// A picture of an event.
struct Picture<'a> {
    event: &'a str,
    sha256: String,
    /// Its file is there.
    written: bool,
}

impl<'a> Picture<'a> {
    fn of(event: &'a str, one: &Arrived) -> Option<Self> {
        if !one.payload.starts_with(&[0xff, 0xd8, 0xff]) {
            tracing::warn!(topic = one.topic, "a picture that is no JPEG is not kept");
            return None;
        }
        Some(Self { event, sha256: digest(&one.payload), written: false })
    }
}

impl<'a> Word<'a> {
    fn of(room: &Room, arrived: &'a Arrived) -> Self {
        if let Some((office, kind)) = fact::of_topic(&room.prefix, &arrived.topic) {
            let unreadable = |why: &String| {
                tracing::warn!(topic = arrived.topic, why, bytes = arrived.payload.len(), "a fact cannot be read");
            };
            let fact = fact::read(kind, &arrived.payload).inspect_err(unreadable).ok().map(|fact| (office, fact));
            return Self { arrived, place: None, message: None, fact, picture: None };
        }
        let place = levels(&room.prefix, &arrived.topic);
        // All that shares the box's sequence: what is not taken looks like a hole in it.
        let message = place.as_ref().and_then(|(office, box_id, kind)| match kind.as_slice() {
            ["event" | "alert" | "correlation" | "chain"] => Some(message::read(&arrived.payload, office, box_id)),
            _ => None,
        });
        let message = message.and_then(|read| {
            let unreadable = |why: &String| {
                tracing::warn!(topic = arrived.topic, why, bytes = arrived.payload.len(), "message cannot be read");
            };
            read.inspect_err(unreadable).ok()
        });
        let picture = place.as_ref().and_then(|(_, _, kind)| match kind.as_slice() {
            ["snapshot", event] => Picture::of(event, arrived),
            _ => None,
        });
        Self { arrived, place, message, fact: None, picture }
    }

    /// When its box itself said it. Its status no broker keeps for a desk that is away. All else may have waited there for hours, or is sent
    /// again, and counts from the time that it says. What lies at the broker proves nothing, nor does a topic that is emptied.
    fn heard_ms(&self) -> Option<i64> {
        let one = self.arrived;
        let (_, _, kind) = self.place.as_ref().filter(|_| is_live(one))?;
        match (kind.as_slice(), &self.message) {
            (["status"], _) => Some(one.at.0),
            (["state"], _) if is_online(one) => own_ms(one, &json_of(one)),
            (["camera", camera, "state"], _) if is_local_id(camera) => own_ms(one, &json_of(one)),
            (_, Some(m)) => own_ms(one, &m.body),
            _ => None,
        }
    }
}

/// What is no message of a box's sequence.
async fn take(room: &Room, tx: &mut Tx, word: &Word<'_>, now: i64) -> Result<(), DbError> {
    let one = word.arrived;
    if let Some(picture) = &word.picture {
        return keep_picture(tx, picture, one, now).await;
    }
    if let Some((office, said)) = &word.fact {
        return keep_fact(tx, office, said, now).await;
    }
    if one.topic == reply_topic(&room.prefix, &room.config.mqtt.client_id) {
        return answer(tx, one).await;
    }
    let Some((office, box_id, kind)) = &word.place else { return Ok(()) };
    match kind.as_slice() {
        // Whoever puts a box out of use takes its state from the broker.
        ["state"] if one.payload.is_empty() => tx.box_gone(office, box_id, one.at.0).await?,
        ["state"] => {
            let online = is_online(one);
            // That it is gone the broker says, in words that the box left there when it came.
            let since = own_ms(one, &json_of(one)).filter(|_| online).unwrap_or(one.at.0);
            let turned = tx.box_online(office, box_id, online, (since, one.at.0), now).await?;
            if turned && online && is_live(one) {
                tx.box_came(office, box_id, one.at.0).await?;
            }
        }
        ["status"] => status::take(tx, office, box_id, one).await?,
        ["birth"] => tx.box_birth(office, box_id, &json_of(one).to_string()).await?,
        ["camera", camera, "state"] if is_local_id(camera) => {
            let body = json_of(one);
            // It may have waited at the broker: of when it is, only the box knows, by a clock that may be known to be off.
            let said_ms = message::moment(&body, "/time").filter(|_| is_live(one)).map(|said| said.0);
            let off_ms = if said_ms.is_some() { tx.box_clock(office, box_id).await? } else { 0 };
            let heard_ms = said_ms.map(|said| said.saturating_sub(off_ms).min(one.at.0));
            tx.camera_state(office, box_id, camera, &body.to_string(), heard_ms, now).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Keeps a fact. One that contradicts the fact in force is kept beside it: the boxes say so to their sender and to the duty room.
async fn keep_fact(tx: &mut Tx, office: &str, said: &Fact, now: i64) -> Result<(), DbError> {
    let (kind, key, version) = (said.kind().as_str(), said.key(), said.version());
    match tx.keep_fact(office, said, now).await? {
        Outcome::Conflict => {
            tracing::warn!(
                office,
                kind,
                key,
                version,
                "this version is known with other content; the first stays in force"
            );
        }
        Outcome::Stale { have } => tracing::debug!(office, kind, key, version, have, "an older version came late"),
        Outcome::Applied | Outcome::Duplicate => {}
    }
    Ok(())
}

/// Office, box and the levels after them. Not the box's own parser: a box may speak on topics that it does not know. What is said
/// to boxes is no word of theirs.
fn levels<'a>(prefix: &str, topic: &'a str) -> Option<(&'a str, &'a str, Vec<&'a str>)> {
    let mut levels = topic.strip_prefix(prefix)?.strip_prefix('/')?.split('/');
    let (office, box_id) = (levels.next()?, levels.next()?);
    let levels: Vec<&str> = levels.collect();
    let of_box = is_office(office) && is_local_id(box_id) && box_id != "in" && levels.first() != Some(&"in");
    of_box.then_some((office, box_id, levels))
}

fn json_of(one: &Arrived) -> Value {
    serde_json::from_slice(&one.payload).unwrap_or(Value::Null)
}

/// Whether a box says something, now or while the desk was away: nothing that lay at the broker, nor a topic that is emptied.
fn is_live(one: &Arrived) -> bool {
    !one.retained && !one.payload.is_empty()
}

/// When a box said it by its own word, never after it came; `None`: it does not say when.
fn own_ms(one: &Arrived, body: &Value) -> Option<i64> {
    message::moment(body, "/time").map(|said| said.0.min(one.at.0))
}

/// Whether a state says that its box is there.
fn is_online(state: &Arrived) -> bool {
    json_of(state).pointer("/online").and_then(Value::as_bool).unwrap_or(false)
}

fn is_local_id(id: &str) -> bool {
    (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

async fn keep_picture(tx: &mut Tx, picture: &Picture<'_>, one: &Arrived, now: i64) -> Result<(), DbError> {
    let (event, sha256) = (picture.event, &picture.sha256);
    if !picture.written {
        return tx.put_picture_aside(event, sha256, &pictures::as_text(&one.payload), now).await;
    }
    let bytes = i64::try_from(one.payload.len()).unwrap_or(i64::MAX);
    tx.keep_picture(event, sha256, bytes, now).await?;
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
    let newest = tx.newest_revision(&m.id).await? <= m.revision;
    hear(tx, m, newest).await?;
    if newest {
        tx.set_links(&m.id, &m.office, message::happened(m, now), &message::links(m)).await?;
    }
    match tx.alert(&m.id).await? {
        Some(row) if m.revision > row.revision => renew(room, tx, row, m, now).await,
        None if message::is_alert(m) => open(room, tx, m, newest, now).await,
        _ => Ok(()),
    }
}

/// What a message says about tips, and about a bay where it is the newest of its event.
pub(super) async fn hear(tx: &mut Tx, m: &Message, newest: bool) -> Result<(), DbError> {
    for tip in message::tips(m) {
        tx.tip_answer(&tip, m).await?;
    }
    if let Some(word) = message::bay(m).filter(|_| newest) {
        tx.bay_word(m, &word).await?;
    }
    Ok(())
}

/// After how long by its box's clock a message is history: a clock that is known to be behind makes nothing older than it is.
pub(super) async fn live_limit_of(room: &Room, tx: &mut Tx, m: &Message) -> Result<i64, DbError> {
    Ok(room.live_limit_ms().saturating_sub(tx.box_clock(&m.office, &m.box_id).await?))
}

/// A new alert.
async fn open(room: &Room, tx: &mut Tx, m: &Message, newest: bool, now: i64) -> Result<(), DbError> {
    let mut row = message::alert(m, &room.zone, now, live_limit_of(room, tx, m).await?);
    if !newest {
        // It was overtaken by what happened after it.
        let body = tx.newest_body(&m.id).await?;
        message::read(body.as_bytes(), &m.office, &m.box_id).iter().for_each(|m| message::describe(&mut row, m));
    }
    tx.add_alert(&row).await?;
    tx.touch(&row.id, row.historical == 0).await
}

/// A known alert hears something new.
async fn renew(room: &Room, tx: &mut Tx, mut row: AlertRow, m: &Message, now: i64) -> Result<(), DbError> {
    let before: Value = serde_json::from_str(&row.body).unwrap_or(Value::Null);
    let matters = message::matters(&before, &m.body);
    let news = Step::News { severity: m.severity, matters, of_tip: is_of_tip(tx, &row, m).await? };
    message::describe(&mut row, m);
    let mut fresh = false;
    if let Ok(Some((core, entry))) = alert::step(&row.core(), &news, "", now) {
        row.set_core(&core);
        if matches!(entry.action, "reopen" | "raised") {
            row.opened_ms = now;
            if !message::is_late(m, now, live_limit_of(room, tx, m).await?) {
                row.historical = 0;
            }
            fresh = row.historical == 0;
        }
        tx.add_alert_action(&new_id(now), &row.id, now, "", &entry).await?;
    }
    tx.change_alert(&row).await?;
    tx.touch(&row.id, fresh).await
}

/// Whether the tip that was raised from the alert is what gives its event this severity.
async fn is_of_tip(tx: &mut Tx, row: &AlertRow, m: &Message) -> Result<bool, DbError> {
    let behind = message::tips_behind(m);
    if row.outcome.as_deref() != Some("tip") || behind.is_empty() {
        return Ok(false);
    }
    let raised = tx.raised_tips(&row.id).await?;
    Ok(behind.iter().any(|(id, severity)| m.severity <= *severity && raised.contains(id)))
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
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// A message of a box about an event.
    fn said(kind: &str, box_id: &str, id: &str, seq: i64, revision: i64, severity: i64) -> Arrived {
        let mut body = message::tests::body(id, seq, revision, severity);
        body["source"] = format!("/office/15BB/box/{box_id}").into();
        body["data"]["box"] = box_id.into();
        body["data"]["link"]["links"][0]["decl_key"] = format!("{severity}0000001234").into();
        match kind {
            "alert" => {}
            "chain" => body["type"] = chain::HEAD_KIND.into(),
            "correlation" => body["data"]["tip_id"] = format!("tip-{severity}").into(),
            other => body["type"] = format!("gatewatch.event.{other}.v1").into(),
        }
        let topic = if matches!(kind, "alert" | "chain" | "correlation") { kind } else { "event" };
        Arrived::unheard(&format!("gatewatch/v1/15BB/{box_id}/{topic}"), body.to_string().into_bytes())
    }

    fn picture_of(event: &str, n: u8) -> Arrived {
        let topic = format!("gatewatch/v1/15BB/gate-00/snapshot/{event}");
        Arrived::unheard(&topic, vec![0xff, 0xd8, 0xff, n])
    }

    /// All that messages leave behind, but the times at which they came and what is made of them.
    async fn rows(room: &Room) -> Vec<String> {
        let mut all = Vec::new();
        for (table, columns) in [
            ("message", "source, epoch, seq, id, revision, kind, office, box, severity, at_ms, body"),
            ("stream", "source, epoch, office, box, high"),
            ("gap", "source, epoch, from_seq, to_seq, lost"),
            ("clash", "source, epoch, seq, body"),
            ("event_link", "event_id, decl_key, office, at_ms, state, method, permille, channel"),
            (
                "alert",
                "id, office, box, rule, severity, revision, phase, duty_day, historical, group_key, picture, state, version",
            ),
            ("alert", "id, CASE WHEN id LIKE 'chain-%' THEN '' ELSE body END"),
            ("alert", "id, touched > 0, rang > 0"),
            ("alert_action", "alert_id, action"),
            ("bay", "office, box, area, name, event_id, since_ms, epoch, seq, body"),
            ("tip_answer", "tip_id, source, kind, id, at_ms, body"),
            ("picture", "event_id, sha256, bytes"),
            ("box", "office, id, online"),
            ("office", "code"),
        ] {
            let select = format!("SELECT '{table} ' || json_array({columns}) AS row FROM {table} ORDER BY row");
            let found = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(select)).fetch_all(&room.db.pool).await;
            all.extend(found.unwrap());
        }
        all
    }

    async fn one(room: &Room, select: &'static str) -> i64 {
        sqlx::query_scalar(select).fetch_one(&room.db.pool).await.unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Boxes that skip numbers, repeat and contradict themselves and each other.
        #[test]
        fn a_batch_leaves_what_its_messages_leave_one_by_one(
            says in proptest::collection::vec((0..3_usize, 0..14_u8, 0..12_i64, 1..4_i64, 0..10_usize, 1..5_i64), 1..70),
            size in 2..40_usize,
        ) {
            let mut high = [0_i64; 3];
            let batch: Vec<Arrived> = says.into_iter().map(|(n, event, step, revision, kind, severity)| {
                // Mostly the next number, at times a hole, the same one, or an earlier one.
                high[n] = (high[n] + [1, 1, 1, 1, 1, 1, 1, 1, 3, 0, -1, -2][usize::try_from(step).unwrap()]).max(1);
                let kind = ["alert", "alert", "alert", "alert", "gate_out", "gate_out", "bay_occupied", "correlation", "chain", ""][kind];
                // Most events are of one box only.
                let id = if event == 0 { "E0".to_owned() } else { format!("E{n}-{event}") };
                match kind {
                    "" => picture_of(&id, event),
                    kind => said(kind, &format!("gate-0{n}"), &id, high[n], revision, severity),
                }
            }).collect();
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let (together, alone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
                let open = async |dir: &Path| super::super::web::tests::room(dir).await;
                let (together, alone) = (open(together.path()).await, open(alone.path()).await);
                for part in batch.chunks(size) {
                    store(&together, part).await.unwrap();
                }
                for one in &batch {
                    store(&alone, std::slice::from_ref(one)).await.unwrap();
                }
                assert_eq!(rows(&together).await, rows(&alone).await);
            });
        }
    }

    #[tokio::test]
    async fn what_was_stored_and_not_acknowledged_comes_again_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let batch: Vec<Arrived> =
            (1..=40).map(|n| said("alert", &format!("gate-0{}", n % 4), &format!("E{n}"), (n + 3) / 4, 1, 4)).collect();
        store(&room, &batch).await.unwrap();
        let before = rows(&room).await;
        assert_eq!(one(&room, "SELECT COUNT(*) FROM alert").await, 40);
        // The power fails here: nothing was acknowledged, the broker sends it all again, in any pieces.
        for part in batch.chunks(15) {
            store(&room, part).await.unwrap();
        }
        store(&room, &batch[7..8]).await.unwrap();
        assert_eq!(rows(&room).await, before);
    }

    #[tokio::test]
    async fn a_message_that_the_database_will_not_have_is_kept_aside_and_the_others_are_stored() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON message WHEN NEW.id = 'E23'
                      BEGIN SELECT RAISE(ABORT, 'not this one'); END";
        sqlx::query(refuse).execute(&room.db.pool).await.unwrap();
        let batch: Vec<Arrived> = (1..=60).map(|n| said("alert", "gate-01", &format!("E{n}"), n, 1, 3)).collect();
        store_all(&room, &batch).await;
        assert_eq!(one(&room, "SELECT COUNT(*) FROM message").await, 59);
        assert_eq!(one(&room, "SELECT COUNT(*) FROM alert WHERE rule <> 'chain_set_aside'").await, 59);
        assert_eq!(one(&room, "SELECT high FROM stream").await, 60);
        assert_eq!(one(&room, "SELECT COUNT(*) FROM gap").await, 0, "it is not asked for again");
        assert_eq!(one(&room, "SELECT seq FROM clash").await, 23);
        assert_eq!(
            one(&room, "SELECT severity FROM alert WHERE rule = 'chain_set_aside'").await,
            4,
            "somebody hears of it"
        );
    }

    #[tokio::test]
    async fn no_alert_waits_for_a_picture_that_cannot_be_written_and_the_picture_comes_later() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let folder = dir.path().join("pictures");
        std::fs::write(&folder, "in its way").unwrap();
        let batch =
            [said("alert", "gate-01", "E1", 1, 1, 3), picture_of("E1", 7), said("alert", "gate-01", "E2", 2, 1, 3)];
        store(&room, &batch).await.unwrap();
        assert_eq!(one(&room, "SELECT COUNT(*) FROM alert").await, 2);
        assert_eq!(one(&room, "SELECT COUNT(*) FROM picture").await, 0, "no page shows what is not there");
        assert!(!room.pictures.works(), "somebody hears of it");
        pictures::bring_in_once(&room).await.unwrap_err();
        std::fs::remove_file(&folder).unwrap();
        pictures::bring_in_once(&room).await.unwrap();
        assert_eq!((one(&room, "SELECT COUNT(*) FROM picture").await, room.pictures.works()), (1, true));
        assert_eq!(one(&room, "SELECT COUNT(*) FROM picture_aside").await, 0);
        let sha256 = digest(&batch[1].payload);
        assert_eq!(std::fs::read(pictures::path(dir.path(), &sha256)).unwrap(), &batch[1].payload[..]);
    }

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
        assert_eq!(room.db.revisions("E1", 9).await.unwrap().len(), 2, "the page shows the words of its box only");
        let aside = "SELECT COUNT(*) FROM clash WHERE source = '/office/15BB/box/gate-02'";
        let aside: i64 = sqlx::query_scalar(aside).fetch_one(&room.db.pool).await.unwrap();
        let holes: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM gap").fetch_one(&room.db.pool).await.unwrap();
        assert_eq!((aside, holes), (2, 0), "kept aside, and not asked for again");
        let told = "SELECT COUNT(*) FROM alert WHERE rule = 'chain_set_aside' AND box = 'gate-02' AND severity = 4";
        let told: i64 = sqlx::query_scalar(told).fetch_one(&room.db.pool).await.unwrap();
        assert_eq!(told, 1, "somebody hears of it, once a day");
    }

    /// What `gate-01` says of `E1`, `age_ms` ago and of a picture of then.
    async fn told(room: &Room, revision: i64, severity: i64, age_ms: i64, change: impl FnOnce(&mut Value)) -> AlertRow {
        let mut body = message::tests::body("E1", revision, revision, severity);
        let at = crate::clock::UtcMillis(utc_now().0 - age_ms).to_rfc3339();
        body["time"] = at.clone().into();
        body["data"]["capture"]["best"] = at.into();
        change(&mut body);
        let m = message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
        let mut tx = room.db.write().await.unwrap();
        keep(room, &mut tx, &m, utc_now().0).await.unwrap();
        tx.commit().await.unwrap();
        room.db.alert("E1").await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn what_a_box_says_now_is_live_also_when_its_clock_is_known_to_be_behind() {
        let half_an_hour = 1_800_000;
        for together in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let room = super::super::web::tests::room(dir.path()).await;
            let now = utc_now().0;
            let at = |ms: i64| crate::clock::UtcMillis(ms).to_rfc3339();
            let says = |id: &str, seq, age_ms: i64| {
                let mut word = said("alert", "gate-01", id, seq, 1, 4);
                let mut body: Value = serde_json::from_slice(&word.payload).unwrap();
                let said = at(now - age_ms - half_an_hour);
                body["time"] = said.clone().into();
                body["data"]["capture"]["best"] = said.into();
                word.payload = body.to_string().into_bytes().into();
                word
            };
            let status = json!({"time": at(now - half_an_hour)}).to_string().into_bytes();
            let status = Arrived::unheard("gatewatch/v1/15BB/gate-01/status", status);
            let batch = [status, says("E1", 1, 1000), says("E2", 2, 4 * half_an_hour)];
            for part in batch.chunks(if together { 3 } else { 1 }) {
                store(&room, part).await.unwrap();
            }
            let late = async |id: &str| room.db.alert(id).await.unwrap().unwrap().historical;
            assert_eq!((late("E1").await, late("E2").await), (0, 1), "together: {together}");
            assert_eq!(one(&room, RINGS).await, 1, "it sounds");
            // What late became graver is told now by the same clock.
            let mut graver: Value = serde_json::from_slice(&says("E2", 3, 0).payload).unwrap();
            (graver["data"]["revision"], graver["data"]["check"]["answer"]) = (2.into(), "unknown".into());
            decide(&room, "severity = 2").await;
            let graver = graver.to_string().into_bytes();
            store(&room, &[Arrived::unheard("gatewatch/v1/15BB/gate-01/alert", graver)]).await.unwrap();
            assert_eq!(late("E2").await, 0);
        }
    }

    async fn decide(room: &Room, set: &'static str) {
        let update = sqlx::AssertSqlSafe(format!("UPDATE alert SET {set}, version = version + 1"));
        sqlx::query(update).execute(&room.db.pool).await.unwrap();
    }

    const RINGS: &str = "SELECT COUNT(*) FROM alert WHERE rang = touched";

    #[tokio::test]
    async fn what_gets_graver_after_somebody_looked_rings_and_goes_up_also_when_it_had_come_late() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let hours = 3 * 3_600_000;
        let row = told(&room, 1, 2, hours, |_| {}).await;
        assert_eq!((row.historical, one(&room, RINGS).await), (1, 0), "it came late");
        decide(&room, "state = 'acked', asked_by = 'an', opened_ms = 1").await;
        let row = told(&room, 2, 2, 0, |_| {}).await;
        assert_eq!((row.state.as_str(), row.historical, row.opened_ms, one(&room, RINGS).await), ("acked", 1, 1, 0));
        // Customs answers: the box says so now, of a picture that is as old as it was.
        let row = told(&room, 3, 4, 0, |b| b["data"]["sequence"]["historical"] = true.into()).await;
        assert_eq!((row.state.as_str(), row.severity, row.historical, row.asked_by), ("new", 4, 0, None));
        assert!(row.opened_ms > 1 && one(&room, RINGS).await == 1);
        assert_eq!(one(&room, "SELECT COUNT(*) FROM alert_action WHERE action = 'raised'").await, 1);
        decide(&room, "state = 'closed', outcome = 'dismissed'").await;
        assert_eq!(told(&room, 4, 4, hours, |_| {}).await.state, "closed");
    }

    #[tokio::test]
    async fn a_tip_does_not_open_the_alert_again_that_it_was_raised_from() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        told(&room, 1, 2, 0, |_| {}).await;
        decide(&room, "state = 'closed', outcome = 'tip'").await;
        let tip = "INSERT INTO tip (id, number, unit, office, alert_id, containers, plates, subject, suspicion, state,
                     version, created_by, created_ms, result_text, basis, no_amount, search)
                   VALUES ('T1', 'A1K2/2026/00001', 'A1K2', '15BB', 'E1', '', '', '', '', 'issued', 1, 'an', 0, '', '', 0, '')";
        sqlx::query(tip).execute(&room.db.pool).await.unwrap();
        let of = |id: &'static str| move |b: &mut Value| b["data"]["link"]["tips"] = json!([{"id": id, "severity": 3}]);
        let row = told(&room, 2, 3, 0, of("T1")).await;
        assert_eq!((row.state.as_str(), row.severity, one(&room, RINGS).await), ("closed", 3, 0));
        assert_eq!(told(&room, 3, 4, 0, of("T1")).await.state, "new", "graver than by its tip");
        decide(&room, "state = 'closed', outcome = 'tip', severity = 2").await;
        assert_eq!(told(&room, 4, 3, 0, of("T2")).await.state, "new", "another tip");
    }

    #[tokio::test]
    async fn a_fact_is_kept_and_no_box_is_there_because_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let said =
            |topic: &str, body: &str| Arrived::unheard(&format!("gatewatch/v1/15BB/{topic}"), body.as_bytes().to_vec());
        let declared = |version: i64, channel: i64| {
            format!(r#"{{"decl_no": "100000012340", "version": {version}, "channel": {channel}}}"#)
        };
        let stop = r#"{"id": "S-4", "decl_no": "10000001234", "from": "2026-03-02T03:00:00Z"}"#;
        let batch = [
            said("in/declaration", &declared(2, 3)),
            said("gate-07/in/declaration", &declared(2, 3)),
            said("in/declaration", "{"),
            said("in/declaration", r#"{"decl_no": "1", "version": 1}"#),
            said("in/declaration", &declared(2, 1)),
            said("in/declaration", &declared(1, 1)),
            said("gate-07/in/stop", stop),
            said("in/observation", "{}"),
            self::said("alert", "gate-01", "E1", 1, 1, 4),
        ];
        store_all(&room, &batch).await;
        store_all(&room, &batch[..8]).await;
        let count = async |select| one(&room, select).await;
        assert_eq!(count("SELECT COUNT(*) FROM fact WHERE state = 'current'").await, 2, "the declaration and the stop");
        assert_eq!(count("SELECT version FROM fact WHERE kind = 'declaration' AND state = 'current'").await, 2);
        assert_eq!(
            count("SELECT COUNT(*) FROM fact WHERE state IN ('conflict', 'stale')").await,
            2,
            "kept beside, once"
        );
        assert_eq!(count("SELECT COUNT(*) FROM alert").await, 1, "a bad one holds up no other");
        let of_boxes =
            "SELECT (SELECT COUNT(*) FROM box) * 100 + (SELECT COUNT(*) FROM stream) * 10 + (SELECT COUNT(*) FROM gap)";
        assert_eq!(count(of_boxes).await, 110, "only the box that said something");
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

    #[tokio::test]
    async fn a_box_is_heard_by_what_it_says_itself_as_it_says_it() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let heard = async |kind: &str, payload: &str, at: i64, retained: bool| {
            let mut one = Arrived::unheard(&format!("gatewatch/v1/15BB/gate-01/{kind}"), payload.as_bytes().to_vec());
            (one.at, one.retained) = (crate::clock::UtcMillis(at), retained);
            store(&room, &[one]).await.unwrap();
            room.db.presences().await.unwrap()[0].heard_ms
        };
        assert_eq!(heard("status", "{}", 1, true).await, None, "it lay at the broker");
        assert_eq!(heard("state", r#"{"online": false}"#, 2, false).await, None, "the broker's word");
        assert_eq!(heard("state", r#"{"online": true}"#, 3, false).await, None, "it may have waited for the desk");
        assert_eq!(heard("camera/gate/state", "{}", 3, false).await, None, "so may that");
        let says_when = r#"{"online": true, "time": "1970-01-01T00:00:00.002Z"}"#;
        assert_eq!(heard("state", says_when, 3, true).await, None, "it lay at the broker");
        assert_eq!(heard("state", says_when, 3, false).await, Some(2), "then it came");
        assert_eq!(heard("status", "", 4, false).await, Some(2), "somebody takes it from the broker");
        assert_eq!(heard("status", "{}", 5, false).await, Some(5));
        assert_eq!(heard("status", "{}", 9, true).await, Some(5));
        assert_eq!(heard("status", "{}", 4, false).await, Some(5), "heard by a slower worker");
        // Its state is taken from the broker: it is out of use until it says something.
        let gone = async || room.db.presences().await.unwrap()[0].gone_ms;
        assert_eq!((heard("state", "", 6, false).await, gone().await), (Some(5), Some(6)));
        assert_eq!((heard("status", "{}", 9, true).await, gone().await), (Some(5), Some(6)), "what lies at the broker");
        assert_eq!((heard("status", "{}", 10, false).await, gone().await), (Some(10), None));
    }

    #[tokio::test]
    async fn what_waited_for_the_desk_is_of_when_it_was_said_and_what_lay_at_the_broker_of_no_time() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let (said, came) = (1_772_420_000_000, 1_772_430_000_000);
        let at = |ms: i64| crate::clock::UtcMillis(ms);
        let says = async |kind: &str, body: Value, came: i64, retained: bool| {
            let topic = format!("gatewatch/v1/15BB/gate-01/{kind}");
            let mut one = Arrived::unheard(&topic, body.to_string().into_bytes());
            (one.at, one.retained) = (at(came), retained);
            store(&room, &[one]).await.unwrap();
        };
        let scope = crate::desk::db::Scope::all();
        let since = async || room.db.boxes(&scope).await.unwrap()[0].changed_ms;
        says("state", json!({"online": false}), said - 1, false).await;
        says("state", json!({"online": true, "time": at(said)}), came, false).await;
        assert_eq!(since().await, said);
        // The broker's word is as old as the connection that it is about.
        says("state", json!({"online": false, "time": at(said)}), came + 1, false).await;
        assert_eq!(since().await, came + 1);
        says("state", json!({"online": true, "time": at(came + 9_000)}), came + 2, false).await;
        assert_eq!(since().await, came + 2, "its clock is ahead");
        let seen = async || room.db.cameras(&scope).await.unwrap()[0].seen_ms;
        let camera = |time: i64| json!({"state": "running", "time": at(time)});
        says("camera/gate/state", camera(said), came, true).await;
        assert_eq!(seen().await, 0);
        says("camera/gate/state", json!({"state": "lost"}), came, false).await;
        assert_eq!(seen().await, 0, "of a box that does not say when");
        says("camera/gate/state", camera(said), came, false).await;
        assert_eq!(seen().await, said, "it waited for the desk");
        says("camera/gate/state", camera(came + 9_000), came + 5, false).await;
        assert_eq!(seen().await, came + 5, "its clock is ahead");
        says("camera/gate/state", camera(came + 6), came + 7, true).await;
        assert_eq!(seen().await, came + 5);
        says("camera/gate/state", json!({"state": "lost", "time": at(said)}), came + 8, false).await;
        let known = room.db.cameras(&scope).await.unwrap().remove(0);
        assert!(known.seen_ms == came + 5 && known.body.contains("running"), "another worker was slower: {known:?}");
        // Its clock is ten minutes behind, as its status shows.
        says("status", json!({"time": at(came - 600_000)}), came, false).await;
        says("camera/gate/state", camera(came - 600_000 + 8), came + 10, false).await;
        assert_eq!(seen().await, came + 8);
    }

    #[tokio::test]
    async fn a_box_is_heard_by_its_messages_of_when_it_said_them() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let came = 1_772_430_000_000;
        let at = |ms: i64| crate::clock::UtcMillis(ms);
        let mut seq = 0;
        let mut heard = async |kind: &str, time: i64, historical: bool, retained: bool| {
            seq += 1;
            let mut one = said(kind, "gate-01", &format!("E{seq}"), seq, 1, 2);
            let mut body: Value = serde_json::from_slice(&one.payload).unwrap();
            body["time"] = json!(at(time));
            body["data"]["sequence"]["historical"] = historical.into();
            one.payload = body.to_string().into_bytes().into();
            (one.at, one.retained) = (at(came), retained);
            store(&room, &[one]).await.unwrap();
            room.db.presences().await.unwrap()[0].heard_ms
        };
        assert_eq!(heard("alert", came - 9, false, true).await, None, "it lay at the broker");
        assert_eq!(heard("alert", came - 3_600_000, true, false).await, Some(came - 3_600_000), "sent again");
        for (n, kind) in ["alert", "gate_out", "correlation", "chain"].into_iter().enumerate() {
            let time = came - 100 + i64::try_from(n).unwrap();
            assert_eq!(heard(kind, time, false, false).await, Some(time), "{kind}");
        }
        assert_eq!(heard("alert", came - 3_600_000, true, false).await, Some(came - 97), "no later by what is old");
        assert_eq!(heard("alert", came + 9_000, false, false).await, Some(came), "its clock is ahead");
    }

    #[tokio::test]
    async fn what_a_box_said_before_it_was_put_out_of_use_puts_it_into_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let came = 1_772_430_000_000;
        let says = async |kind: &str, body: &str, came: i64| {
            let mut one = Arrived::unheard(&format!("gatewatch/v1/15BB/gate-01/{kind}"), body.as_bytes().to_vec());
            one.at = crate::clock::UtcMillis(came);
            store(&room, &[one]).await.unwrap();
            room.db.presences().await.unwrap()[0].gone_ms
        };
        says("status", "{}", came - 60_000).await;
        assert_eq!(says("state", "", came).await, Some(came));
        let camera = |ms: i64| json!({"state": "lost", "time": crate::clock::UtcMillis(ms)}).to_string();
        assert_eq!(says("camera/gate/state", &camera(came - 9_000), came + 5).await, Some(came), "it waited");
        assert_eq!(says("camera/gate/state", &camera(came + 9_000), came + 10_000).await, None);
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
            "gatewatch/v1/15BB/in/observation",
            "gatewatch/v1/15BB/gate-01/in/tip",
            "other/15BB/gate-01/alert",
            "gatewatch/v1/15BB",
            "gatewatch/v15BB/g/alert",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(filters("p", &["15BB".into()], "desk", None).len(), 9);
        assert_eq!(glances("p", &["15BB".into(), "20BB".into()]), ["p/15BB/+/status", "p/20BB/+/status"]);
        assert_eq!(glances("p", &[]), ["p/+/+/status"]);
        assert!(filters("p", &[], "desk", None).contains(&"p/+/+/alert".to_owned()));
        let shared = filters("p", &[], "desk-1", Some("duty"));
        for filter in ["$share/duty/p/+/+/alert", "$share/duty/p/+/+/chain", "p/+/+/state", "p/desk/desk-1/reply"] {
            assert!(shared.contains(&filter.to_owned()), "{filter}: {shared:?}");
        }
    }
}
