//! The signed heads that boxes publish, checked as they come: is each the box's own word, and does it continue the one
//! before? What was deleted or written anew on a box shows here, since what it published it cannot take back. A head that
//! does not fit is an alert of severity 4 which the desk itself raises. What a head is: `evidence/statement.rs`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::db::chain::{HeadRow, StateRow};
use super::db::messages::Message;
use super::db::{DbError, Tx};
use super::duty;
use super::room::Room;
use crate::clock::UtcMillis;
use crate::evidence::chain::Sum;
use crate::evidence::keys::PublicKey;
use crate::evidence::statement::{KeyItem, Origin, SignedHead};

/// CloudEvents type of published heads.
pub(crate) const HEAD_KIND: &str = crate::store::HEAD_KIND;

/// Instead of a fault, for a head that may be older than all known keys.
const UNVOUCHED: &str = "unvouched";

/// What does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It cannot be read, or is not of this box and store.
    Unreadable,
    /// The signature is not that of the key it names.
    Signature,
    /// Signed by a key that no earlier key vouches for.
    Key,
    /// Another digest for an entry that was published before.
    Fork,
    /// The chain is shorter than it was.
    Rollback,
    /// The box does not know the head it published last.
    NotContinued,
    /// A number of the box's sequence was used for two messages.
    NumberTwice,
    /// A message has the revision, or the event's id, of another one: nobody sees it but those who look for it.
    SetAside,
    /// The box's store began anew: everything before is gone there.
    NewStore,
}

impl Fault {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 9] = [
        Self::Unreadable,
        Self::Signature,
        Self::Key,
        Self::Fork,
        Self::Rollback,
        Self::NotContinued,
        Self::NumberTwice,
        Self::SetAside,
        Self::NewStore,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Signature => "signature",
            Self::Key => "key",
            Self::Fork => "fork",
            Self::Rollback => "rollback",
            Self::NotContinued => "not_continued",
            Self::NumberTwice => "number_twice",
            Self::SetAside => "set_aside",
            Self::NewStore => "new_store",
        }
    }
}

/// A head named by another message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Named {
    n: i64,
    sha256: Sum,
}

/// What a message says of its box's chain.
#[derive(Debug)]
struct Said {
    origin: Origin,
    signed: SignedHead,
    /// The head published before it; outer `None` where the box is too old to say.
    previous: Option<Option<Named>>,
    /// Hand-overs of the key.
    keys: Vec<KeyItem>,
}

fn read(m: &Message) -> Option<Said> {
    let data = m.body.get("data")?;
    let of = |key: &str| data.get(key).cloned();
    let origin = Origin { office: m.office.clone(), box_id: m.box_id.clone(), epoch: m.epoch };
    if data.get("epoch").and_then(Value::as_i64) != Some(m.epoch) {
        return None;
    }
    let previous = match of("previous") {
        None => None,
        Some(Value::Null) => Some(None),
        Some(named) => Some(Some(serde_json::from_value(named).ok()?)),
    };
    let keys = of("keys").map_or(Ok(Vec::new()), serde_json::from_value).ok()?;
    Some(Said { origin, signed: serde_json::from_value(of("head")?).ok()?, previous, keys })
}

/// What is known around a head.
#[derive(Debug, Default)]
struct Known {
    before: Option<HeadRow>,
    after: Option<HeadRow>,
    same: Vec<HeadRow>,
    /// Keys that signed heads which fitted; the one in force last.
    signers: Vec<String>,
}

/// Whether a head fits to what is known.
fn judge(said: &Said, known: &Known) -> Result<(), Fault> {
    let head = &said.signed.head;
    if !said.signed.holds(&said.origin) {
        return Err(Fault::Signature);
    }
    // Before anything else: what a stranger's head says is no word of the box, so that nothing may be told from it.
    is_vouched_for(said, known)?;
    let sum = head.sha256.to_string();
    if known.same.iter().any(|h| h.sha256 != sum) {
        return Err(Fault::Fork);
    }
    if known.before.as_ref().is_some_and(|h| h.n > head.n) || known.after.as_ref().is_some_and(|h| h.n < head.n) {
        return Err(Fault::Rollback);
    }
    if let (Some(previous), Some(before)) = (&said.previous, &known.before) {
        continues(previous.as_ref(), before)?;
    }
    Ok(())
}

/// What the box says it published last must be what the desk heard last, or something later that has not come yet.
fn continues(previous: Option<&Named>, before: &HeadRow) -> Result<(), Fault> {
    match previous {
        Some(p) if p.n == before.n && p.sha256.to_string() == before.sha256 => Ok(()),
        Some(p) if p.n == before.n => Err(Fault::Fork),
        Some(p) if p.n > before.n => Ok(()),
        _ => Err(Fault::NotContinued),
    }
}

/// The key is one that signed before, or the one before it handed over to it. The first key that is seen is taken.
fn is_vouched_for(said: &Said, known: &Known) -> Result<(), Fault> {
    let key = said.signed.key.to_string();
    let Some(in_force) = known.signers.last() else { return Ok(()) };
    if known.signers.contains(&key) || is_unvouched(said, known) {
        return Ok(());
    }
    let mut now = PublicKey::parse(in_force).map_err(|_| Fault::Key)?;
    for item in &said.keys {
        if item.previous == Some(now) && item.fault(&said.origin, Some(now)).is_none() {
            now = item.key;
        }
    }
    if now == said.signed.key { Ok(()) } else { Err(Fault::Key) }
}

/// A head that comes late may be older than all keys that are known: no alarm, but nobody says that it is the box's own.
fn is_unvouched(said: &Said, known: &Known) -> bool {
    let key = said.signed.key.to_string();
    known.before.is_none() && !known.signers.is_empty() && !known.signers.contains(&key)
}

/// Takes a head: keeps it, judges it, and raises an alert when it does not fit.
pub(crate) async fn take(room: &Room, tx: &mut Tx, m: &Message, now: i64) -> Result<(), DbError> {
    let Some(said) = read(m) else { return raise(room, tx, m, Fault::Unreadable, None, now).await };
    let head = &said.signed.head;
    let state = tx.chain_state(&m.source).await?;
    let (before, after, same) = tx.chain_neighbours(&m.source, m.epoch, m.seq, head.n).await?;
    let mut signers = tx.chain_signers(&m.source, m.epoch).await?;
    if let Some(state) = state.as_ref().filter(|s| s.epoch == m.epoch) {
        signers.retain(|s| *s != state.signer);
        signers.push(state.signer.clone());
    }
    let known = Known { before, after, same, signers };
    let judged = judge(&said, &known);
    let forged = matches!(judged, Err(Fault::Signature | Fault::Key));
    // Also where it contradicts what is known: it is told, and no other head is measured by it.
    let unvouched = !forged && is_unvouched(&said, &known);
    let anew = state.as_ref().is_some_and(|s| s.epoch < m.epoch);
    let fault = match judged {
        Err(fault) => Some(fault),
        Ok(()) if anew => Some(Fault::NewStore),
        Ok(()) => None,
    };
    let row = HeadRow {
        n: head.n,
        sha256: head.sha256.to_string(),
        seq: m.seq,
        at_ms: head.at.0,
        signer: said.signed.key.to_string(),
        signature: hex::encode(&said.signed.signature.0),
        received_ms: now,
        // A new store begins well; it is the old one that is missed.
        fault: if unvouched { Some(UNVOUCHED) } else { judged.err().map(Fault::as_str) }.map(str::to_owned),
    };
    tx.add_head(&m.source, m.epoch, &row).await?;
    move_on(tx, m, &row, state.as_ref(), fault, now).await?;
    match fault {
        Some(fault) => raise(room, tx, m, fault, state.as_ref(), now).await,
        None => Ok(()),
    }
}

/// The state follows the newest head, also one that does not fit: so that one break is told once. What is not signed by a
/// key of the box moves nothing, else the key of a stranger would be the one in force.
async fn move_on(
    tx: &mut Tx,
    m: &Message,
    row: &HeadRow,
    state: Option<&StateRow>,
    fault: Option<Fault>,
    now: i64,
) -> Result<(), DbError> {
    let known = state.cloned().unwrap_or_else(|| StateRow {
        source: m.source.clone(),
        office: m.office.clone(),
        box_id: m.box_id.clone(),
        epoch: m.epoch,
        n: 0,
        sha256: String::new(),
        seq: 0,
        at_ms: 0,
        signer: String::new(),
        heads: 0,
        fault: None,
        fault_ms: None,
    });
    let forged = matches!(fault, Some(Fault::Signature | Fault::Key));
    let newest = m.epoch > known.epoch || (m.epoch == known.epoch && m.seq >= known.seq);
    let mut next = if newest && !forged {
        let (n, seq, at_ms) = (row.n, row.seq, row.at_ms);
        StateRow { epoch: m.epoch, n, sha256: row.sha256.clone(), seq, at_ms, signer: row.signer.clone(), ..known }
    } else {
        known
    };
    next.heads += i64::from(fault.is_none() && row.fault.is_none());
    if let Some(fault) = fault.filter(|_| next.fault.is_none()) {
        (next.fault, next.fault_ms) = (Some(fault.as_str().into()), Some(now));
    }
    if state.is_none() && forged {
        return Ok(());
    }
    tx.set_chain_state(&next).await
}

/// Two messages of a box have one number: it goes on from an older copy of its store, or somebody speaks in its name.
pub(crate) async fn number_twice(room: &Room, tx: &mut Tx, m: &Message, now: i64) -> Result<(), DbError> {
    let state = tx.chain_state(&m.source).await?;
    if let Some(state) = state.clone().filter(|s| s.fault.is_none()) {
        let fault = Some(Fault::NumberTwice.as_str().to_owned());
        tx.set_chain_state(&StateRow { fault, fault_ms: Some(now), ..state }).await?;
    }
    raise(room, tx, m, Fault::NumberTwice, state.as_ref(), now).await
}

/// A message of a box is kept aside: it may be the word of an event, so somebody must hear of it.
pub(crate) async fn set_aside(room: &Room, tx: &mut Tx, m: &Message, now: i64) -> Result<(), DbError> {
    raise(room, tx, m, Fault::SetAside, None, now).await
}

/// An alert of the desk's own. One a duty day for each fault of a box: a box that is broken says so in every message.
async fn raise(
    room: &Room,
    tx: &mut Tx,
    m: &Message,
    fault: Fault,
    known: Option<&StateRow>,
    now: i64,
) -> Result<(), DbError> {
    let day = room.zone.duty_day(UtcMillis(now));
    let sum = Sum::of(format!("{} {} {} {day}", m.source, m.epoch, fault.as_str()).as_bytes()).to_string();
    let id = format!("chain-{}", &sum[..24]);
    tracing::error!(
        source = m.source,
        epoch = m.epoch,
        seq = m.seq,
        fault = fault.as_str(),
        "a box's chain of evidence does not continue"
    );
    if tx.alert(&id).await?.is_some() {
        return Ok(());
    }
    let at = UtcMillis(now).to_rfc3339();
    let known = known.map(|s| json!({"epoch": s.epoch, "n": s.n, "sha256": s.sha256, "at": UtcMillis(s.at_ms).to_rfc3339(), "key": s.signer}));
    let body = json!({
        "specversion": "1.0", "id": id, "source": m.source, "type": format!("gatewatch.alert.chain_{}.v1", fault.as_str()),
        "subject": "chain", "time": at,
        "data": {"revision": 1, "severity": 4, "office": m.office, "box": m.box_id, "duty_day": day, "known": known,
            "said": {"seq": m.seq, "epoch": m.epoch, "id": m.id, "head": m.body.pointer("/data/head"), "previous": m.body.pointer("/data/previous")},
            "sequence": {"epoch": m.epoch, "seq": m.seq, "historical": false}}
    });
    // What cannot be told is in the log; the message itself is kept all the same.
    duty::raise(room, tx, (&m.office, &m.box_id), &body, true, now).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::message;
    use crate::evidence::keys::{BoxKey, KeyFolder};
    use crate::evidence::statement::Head;

    fn origin() -> Origin {
        Origin { office: "15BB".into(), box_id: "gate-01".into(), epoch: 7 }
    }

    fn key() -> (tempfile::TempDir, BoxKey) {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyFolder::of_store(dir.path()).make_next().unwrap();
        (dir, key)
    }

    fn head(n: i64, text: &str) -> Head {
        Head { n, sha256: Sum::of(text.as_bytes()), at: UtcMillis(n * 1000) }
    }

    fn said(head: Head, key: &BoxKey, previous: Option<Option<Named>>) -> Said {
        Said { origin: origin(), signed: head.sign(&origin(), key), previous, keys: Vec::new() }
    }

    fn row(h: &Head, seq: i64, key: &BoxKey) -> HeadRow {
        HeadRow {
            n: h.n,
            sha256: h.sha256.to_string(),
            seq,
            at_ms: 0,
            signer: key.public().to_string(),
            signature: String::new(),
            received_ms: 0,
            fault: None,
        }
    }

    fn after(h: &Head, key: &BoxKey) -> Known {
        Known { before: Some(row(h, 1, key)), signers: vec![key.public().to_string()], ..Known::default() }
    }

    fn named(h: &Head) -> Option<Option<Named>> {
        Some(Some(Named { n: h.n, sha256: h.sha256 }))
    }

    #[test]
    fn a_head_continues_the_one_before_or_it_is_said_how_not() {
        let (_dir, key) = key();
        let first = head(10, "a");
        let next = || said(head(20, "b"), &key, named(&first));
        assert_eq!(judge(&next(), &Known::default()), Ok(()), "the first one seen");
        assert_eq!(judge(&next(), &after(&first, &key)), Ok(()));
        let old = said(head(20, "b"), &key, None);
        assert_eq!(judge(&old, &after(&first, &key)), Ok(()), "a box that does not say what it published before");
        let missed = said(head(30, "c"), &key, named(&head(20, "b")));
        assert_eq!(judge(&missed, &after(&first, &key)), Ok(()), "one between has not come yet");
        // Written anew, cut off, and a store copied back.
        let fork = said(head(10, "other"), &key, None);
        let known = Known { same: vec![row(&first, 1, &key)], ..after(&first, &key) };
        assert_eq!(judge(&fork, &known), Err(Fault::Fork));
        let anew = said(head(20, "b"), &key, named(&head(10, "other")));
        assert_eq!(judge(&anew, &after(&first, &key)), Err(Fault::Fork));
        assert_eq!(judge(&said(head(9, "x"), &key, None), &after(&first, &key)), Err(Fault::Rollback));
        let back = said(head(20, "b"), &key, named(&head(5, "x")));
        assert_eq!(judge(&back, &after(&first, &key)), Err(Fault::NotContinued));
        assert_eq!(judge(&said(head(20, "b"), &key, Some(None)), &after(&first, &key)), Err(Fault::NotContinued));
        // Late, but in its place.
        let late = Known {
            after: Some(row(&head(30, "c"), 9, &key)),
            signers: vec![key.public().to_string()],
            ..Known::default()
        };
        assert_eq!(judge(&next(), &late), Ok(()));
    }

    /// A published head as a message.
    fn message(seq: i64, head: &Head, key: &BoxKey) -> Message {
        let signed = head.clone().sign(&origin(), key);
        let body = json!({
            "specversion": "1.0", "id": format!("H{seq}"), "source": "/office/15BB/box/gate-01", "type": HEAD_KIND,
            "subject": "chain", "time": "2026-03-02T03:17:45.212Z",
            "data": {"revision": 1, "severity": 1, "epoch": 7, "head": signed, "office": "15BB", "box": "gate-01",
                "sequence": {"epoch": 7, "seq": seq, "historical": false}}
        });
        message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap()
    }

    #[tokio::test]
    async fn the_key_of_a_stranger_is_trusted_neither_late_nor_after_its_alarm() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let ((_a, own), (_b, stranger)) = (key(), key());
        let alarms = async || room.db.alert_counts(&crate::desk::db::Scope::all()).await.unwrap().len();
        let says = async |seq, head: Head, key: &BoxKey| {
            let mut tx = room.db.write().await.unwrap();
            take(&room, &mut tx, &message(seq, &head, key), 1_000).await.unwrap();
            tx.commit().await.unwrap();
            room.db.chain_states(&crate::desk::db::Scope::all()).await.unwrap().remove(0)
        };
        let first = says(10, head(100, "a"), &own).await;
        // Older than all that is known: kept without an alarm, and nobody trusts its key for that.
        for seq in [3, 4] {
            let late = says(seq, head(seq * 10, "x"), &stranger).await;
            assert_eq!((late.heads, late.fault, late.signer), (1, None, first.signer.clone()));
        }
        assert_eq!(alarms().await, 0);
        // Also not where it contradicts what is known, or goes back behind it.
        for (seq, n) in [(11, 110), (12, 120), (13, 100), (14, 50)] {
            let state = says(seq, head(n, "x"), &stranger).await;
            assert_eq!(state.fault.as_deref(), Some("key"));
            assert_eq!((state.n, state.heads, state.signer), (100, 1, first.signer.clone()), "it moves nothing");
        }
        assert_eq!(alarms().await, 1);
        // The box itself goes on as if nothing had been.
        let next = says(15, head(130, "b"), &own).await;
        assert_eq!((next.n, next.heads, next.signer), (130, 2, first.signer.clone()));
        // A late head of a stranger that contradicts is told; what the box says late is not measured by it.
        says(2, head(100, "x"), &stranger).await;
        let faults = "SELECT COUNT(*) FROM alert WHERE rule = 'chain_fork'";
        let faults: i64 = sqlx::query_scalar(faults).fetch_one(&room.db.pool).await.unwrap();
        assert_eq!(faults, 1);
        let late = says(5, head(40, "c"), &own).await;
        assert_eq!((late.heads, late.signer), (3, first.signer));
    }

    #[test]
    fn only_the_box_speaks_for_itself() {
        let (_dir, key) = key();
        let mut forged = said(head(20, "b"), &key, None);
        forged.signed.head.n = 21;
        assert_eq!(judge(&forged, &Known::default()), Err(Fault::Signature));
        let mut other = said(head(20, "b"), &key, None);
        other.origin.box_id = "gate-02".into();
        assert_eq!(judge(&other, &Known::default()), Err(Fault::Signature));
    }

    #[test]
    fn a_new_key_is_vouched_for_by_the_old_one() {
        let ((_a, old), (_b, new), (_c, thief)) = (key(), key(), key());
        let first = head(10, "a");
        let text = KeyItem::statement(&origin(), new.public(), Some(old.public()), UtcMillis(5));
        let item = KeyItem {
            key: new.public(),
            previous: Some(old.public()),
            at: UtcMillis(5),
            operator: "an".into(),
            reason: "yearly".into(),
            signature: new.sign(&text),
            previous_signature: Some(old.sign(&text)),
        };
        let mut handed = said(head(20, "b"), &new, named(&first));
        assert_eq!(judge(&handed, &after(&first, &old)), Err(Fault::Key), "nobody vouches");
        handed.keys = vec![item.clone()];
        assert_eq!(judge(&handed, &after(&first, &old)), Ok(()));
        let mut lost = said(head(20, "b"), &new, named(&first));
        lost.keys = vec![KeyItem { previous_signature: None, ..item.clone() }];
        assert_eq!(judge(&lost, &after(&first, &old)), Err(Fault::Key));
        let mut stolen = said(head(20, "b"), &thief, named(&first));
        stolen.keys = vec![item];
        assert_eq!(judge(&stolen, &after(&first, &old)), Err(Fault::Key));
    }
}
