//! What a box says of itself every minute: the newest one is kept as it came. Another version may say it otherwise, so nothing
//! is asked of it but that it is an object; how it is read and shown is in `web/box_status.rs`.

use serde_json::Value;

use super::db::{DbError, Tx};
use super::message::text;
use crate::clock::{UtcMillis, utc_now};
use crate::mqtt::desk::Arrived;

/// The largest that is taken, bytes: three times what a box of this version can say.
const MAX_BYTES: usize = 64 * 1024;

/// Keeps it, unless something newer is known.
pub(super) async fn take(tx: &mut Tx, office: &str, box_id: &str, one: &Arrived) -> Result<(), DbError> {
    let read = serde_json::from_slice(&one.payload).ok().filter(|v: &Value| v.is_object());
    let Some(body) = read.filter(|_| one.payload.len() <= MAX_BYTES) else {
        tracing::warn!(topic = one.topic, bytes = one.payload.len(), "a status that cannot be read is not taken");
        return Ok(());
    };
    let said = said(&body);
    let (known, known_ms) = tx.box_status(office, box_id).await?;
    // What lay at the broker comes again with every connection. Several workers hear the same, one perhaps later.
    let newer = match (&known, one.retained) {
        (None, _) => true,
        (Some(known), true) => said > serde_json::from_str(known).ok().and_then(|known| self::said(&known)),
        // A time that is still to come is of a clock that was set back since.
        (Some(_), false) => known_ms.is_none_or(|known| known <= one.at.0 || known > utc_now().0),
    };
    if !newer {
        return Ok(());
    }
    let (at, clock) = match said {
        Some(said) if one.retained => (Some(said.min(one.at).0), None),
        None if one.retained => (None, None),
        Some(said) => (Some(one.at.0), Some(said.since(one.at))),
        None => (Some(one.at.0), None),
    };
    tx.set_box_status(office, box_id, &body.to_string(), at, clock).await
}

fn said(body: &Value) -> Option<UtcMillis> {
    UtcMillis::parse_rfc3339(&text(body, "/time")?).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::desk::db::Scope;
    use crate::desk::room::Room;

    const NOW: i64 = 1_772_420_000_000;

    /// A status that reached the desk at `at`.
    fn word(body: &[u8], at: i64, retained: bool) -> Arrived {
        let mut one = Arrived::unheard("gatewatch/v1/15BB/gate-01/status", body.to_vec());
        (one.at, one.retained) = (UtcMillis(at), retained);
        one
    }

    fn of(time_ms: i64, waiting: u64) -> Vec<u8> {
        json!({"time": UtcMillis(time_ms), "outbox": {"waiting": waiting}}).to_string().into_bytes()
    }

    /// What is known after it: how much waits, since when, and the difference of the clocks.
    async fn after(room: &Room, one: Arrived) -> (Option<u64>, Option<i64>, Option<i64>) {
        let mut tx = room.db.write().await.unwrap();
        tx.boxes_seen(&BTreeMap::from([(("15BB", "gate-01"), None)]), NOW, NOW).await.unwrap();
        take(&mut tx, "15BB", "gate-01", &one).await.unwrap();
        tx.commit().await.unwrap();
        let known = room.db.boxes(&Scope::all()).await.unwrap().remove(0);
        let body: Option<Value> = known.status.map(|s| serde_json::from_str(&s).unwrap());
        (body.and_then(|b| b["outbox"]["waiting"].as_u64()), known.status_ms, known.clock_ms)
    }

    #[tokio::test]
    async fn the_newest_word_of_a_box_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let room = crate::desk::web::tests::room(dir.path()).await;
        // It lay at the broker: of what time it is, only the box knows.
        let first = (Some(1), Some(NOW - 9000), None);
        assert_eq!(after(&room, word(&of(NOW - 9000, 1), NOW, true)).await, first);
        assert_eq!(
            after(&room, word(&of(NOW - 9000, 1), NOW + 5000, true)).await,
            first,
            "again with a new connection"
        );
        // Heard as it is said: of now, whatever the box's clock shows.
        let live = (Some(2), Some(NOW + 60_000), Some(-700_000));
        assert_eq!(after(&room, word(&of(NOW - 640_000, 2), NOW + 60_000, false)).await, live);
        assert_eq!(
            after(&room, word(&of(NOW + 50_000, 3), NOW + 50_000, false)).await,
            live,
            "a worker that is behind"
        );
        assert_eq!(
            after(&room, word(&of(NOW - 700_000, 4), NOW + 70_000, true)).await,
            live,
            "older by the box's clock"
        );
        let next = (Some(5), Some(NOW + 120_000), Some(250));
        assert_eq!(after(&room, word(&of(NOW + 120_250, 5), NOW + 120_000, false)).await, next);
        // From the future, by a desk whose clock was wrong then.
        let ahead = utc_now().0 + 86_400_000;
        assert_eq!(after(&room, word(&of(ahead, 6), ahead, false)).await.0, Some(6));
        assert_eq!(after(&room, word(&of(NOW, 7), NOW, false)).await.0, Some(7));
    }

    #[tokio::test]
    async fn what_cannot_be_read_changes_nothing_and_what_says_little_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let room = crate::desk::web::tests::room(dir.path()).await;
        let good = (Some(1), Some(NOW), Some(0));
        assert_eq!(after(&room, word(&of(NOW, 1), NOW, false)).await, good);
        let long = json!({"outbox": "x".repeat(MAX_BYTES)}).to_string();
        for bad in [&b""[..], b"not JSON", b"null", b"[1, 2]", b"\"text\"", b"{\"time\": ", long.as_bytes()] {
            assert_eq!(after(&room, word(bad, NOW + 1, false)).await, good);
        }
        for odd in [&b"{}"[..], br#"{"time": 5, "outbox": "full"}"#, br#"{"time": "yesterday \u0000"}"#] {
            assert_eq!(after(&room, word(odd, NOW + 2, false)).await, (None, Some(NOW + 2), None));
        }
    }
}
