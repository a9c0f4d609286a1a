//! What the live page shows: one card per event, pictures by digest, states of boxes and cameras. Bounded. Values in,
//! values out; serving is in `live.rs`.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::event::{EventId, EventMessage};
use crate::mqtt::SeenMessage;
use crate::rules::Phase;

/// Events kept; the oldest go first, with their pictures.
pub(super) const MAX_CARDS: usize = 200;
/// Pictures of events that were not seen yet, kept at most.
const MAX_EARLY: usize = 32;
/// Bytes of all pictures kept; the oldest cards lose theirs first.
const MAX_PICTURE_BYTES: usize = 96 * 1024 * 1024;

/// How the picture of a card stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PictureState {
    /// Its SHA-256 is the one the event names.
    Ok,
    /// Named by the event, not here yet (an earlier one of the same event may be shown).
    Waiting,
    /// A picture came whose SHA-256 no message of the event names: not shown.
    Mismatch,
    /// The event says it has none.
    None,
}

/// One event as the page gets it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Card {
    /// Event id.
    pub id: EventId,
    /// Grows by one for every new event: newest first by this.
    pub order: u64,
    /// Came on the alert topic.
    pub alert: bool,
    /// Latest message.
    pub event: EventMessage,
    /// Digest of the picture to show.
    pub shown: Option<String>,
    /// How it stands.
    pub picture: PictureState,
}

/// Something the page must hear.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Change {
    /// New or changed card.
    Card { card: Box<Card> },
    /// A card was dropped to stay within bounds.
    Gone { id: EventId },
    /// State of a box.
    Box { name: String, body: Value },
    /// State of a camera.
    Camera { name: String, body: Value },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Board {
    cards: HashMap<EventId, Kept>,
    order: VecDeque<EventId>,
    next_order: u64,
    early: VecDeque<(EventId, String, Bytes)>,
    picture_bytes: usize,
    boxes: BTreeMap<String, Value>,
    cameras: BTreeMap<String, Value>,
}

#[derive(Debug)]
struct Kept {
    card: Card,
    named: HashSet<String>,
    stranger: bool,
    picture: Option<(String, Bytes)>,
}

impl Board {
    /// Takes a message; says what changed.
    pub(super) fn apply(&mut self, seen: &SeenMessage) -> Vec<Change> {
        match seen {
            SeenMessage::Event { message, topic, .. } => self.event(message, topic.ends_with("/alert")),
            SeenMessage::Snapshot { event_id, jpeg, sha256 } => self.picture(*event_id, sha256, jpeg),
            SeenMessage::State { box_id, body } => {
                self.boxes.insert(box_id.clone(), body.clone());
                vec![Change::Box { name: box_id.clone(), body: body.clone() }]
            }
            SeenMessage::Birth { .. }
            | SeenMessage::Status { .. }
            | SeenMessage::Dropped { .. }
            | SeenMessage::Notice { .. } => Vec::new(),
            SeenMessage::Camera { box_id, camera, body } => {
                let name = format!("{box_id}/{camera}");
                self.cameras.insert(name.clone(), body.clone());
                vec![Change::Camera { name, body: body.clone() }]
            }
        }
    }

    /// Everything, oldest card first, as changes for a page that just opened.
    pub(super) fn snapshot(&self) -> Vec<Change> {
        let boxes = self.boxes.iter().map(|(n, b)| Change::Box { name: n.clone(), body: b.clone() });
        let cameras = self.cameras.iter().map(|(n, b)| Change::Camera { name: n.clone(), body: b.clone() });
        let cards = self.order.iter().filter_map(|id| self.cards.get(id)).map(Kept::change);
        boxes.chain(cameras).chain(cards).collect()
    }

    /// The picture with this digest.
    pub(super) fn jpeg(&self, sha256: &str) -> Option<Bytes> {
        self.cards.values().filter_map(|k| k.picture.as_ref()).find(|(d, _)| d == sha256).map(|(_, b)| b.clone())
    }

    fn event(&mut self, message: &EventMessage, alert: bool) -> Vec<Change> {
        let id = message.id;
        let mut changes = Vec::new();
        if !self.cards.contains_key(&id) {
            self.next_order += 1;
            self.order.push_back(id);
            self.cards.insert(id, Kept::new(message, self.next_order));
            changes.extend(self.drop_oldest());
        }
        let Some(kept) = self.cards.get_mut(&id) else { return changes };
        kept.named.extend(message.data.snapshot.as_ref().map(|s| s.sha256.clone()));
        kept.card.alert |= alert;
        // Messages of one event may overtake each other (an alert its own first message): the newest revision stays.
        if message.data.revision >= kept.card.event.data.revision {
            kept.card.event = message.clone();
        }
        let early: Vec<_> = self.early.iter().filter(|e| e.0 == id).cloned().collect();
        self.early.retain(|e| e.0 != id);
        for (_, sha256, jpeg) in early {
            self.keep_picture(id, &sha256, &jpeg);
        }
        changes.extend(self.refreshed(id));
        changes
    }

    fn picture(&mut self, id: EventId, sha256: &str, jpeg: &Bytes) -> Vec<Change> {
        if !self.cards.contains_key(&id) {
            self.early.push_back((id, sha256.to_owned(), jpeg.clone()));
            if self.early.len() > MAX_EARLY {
                self.early.pop_front();
            }
            return Vec::new();
        }
        let named = self.keep_picture(id, sha256, jpeg);
        let changes: Vec<_> = self.refreshed(id).into_iter().collect();
        if !named {
            // It may belong to a message that is still on its way.
            self.early.push_back((id, sha256.to_owned(), jpeg.clone()));
            if self.early.len() > MAX_EARLY {
                self.early.pop_front();
            }
        }
        changes
    }

    /// Keeps a picture if a message of its event names it; `false` if none does.
    fn keep_picture(&mut self, id: EventId, sha256: &str, jpeg: &Bytes) -> bool {
        let Some(kept) = self.cards.get_mut(&id) else { return false };
        if !kept.named.contains(sha256) {
            kept.stranger = true;
            return false;
        }
        self.picture_bytes += jpeg.len();
        if let Some((_, old)) = kept.picture.replace((sha256.to_owned(), jpeg.clone())) {
            self.picture_bytes -= old.len();
        }
        self.bound_pictures();
        true
    }

    fn bound_pictures(&mut self) {
        for id in &self.order {
            if self.picture_bytes <= MAX_PICTURE_BYTES {
                return;
            }
            if let Some((_, old)) = self.cards.get_mut(id).and_then(|k| k.picture.take()) {
                self.picture_bytes -= old.len();
            }
        }
    }

    fn drop_oldest(&mut self) -> Option<Change> {
        if self.order.len() <= MAX_CARDS {
            return None;
        }
        // An event that still lasts is worth more than one that is over.
        let over = |id: &EventId| self.cards.get(id).is_none_or(|k| k.card.event.data.phase == Phase::End);
        let at = self.order.iter().position(over).unwrap_or(0).min(self.order.len() - 2);
        let id = self.order.remove(at)?;
        if let Some((_, old)) = self.cards.remove(&id).and_then(|k| k.picture) {
            self.picture_bytes -= old.len();
        }
        Some(Change::Gone { id })
    }

    fn refreshed(&mut self, id: EventId) -> Option<Change> {
        let kept = self.cards.get_mut(&id)?;
        let wanted = kept.card.event.data.snapshot.as_ref().map(|s| s.sha256.as_str());
        let have = kept.picture.as_ref().map(|(d, _)| d.as_str());
        kept.card.picture = match (wanted, have) {
            (Some(w), Some(h)) if w == h => PictureState::Ok,
            (None, None) => PictureState::None,
            (None, Some(_)) => PictureState::Ok,
            _ if kept.stranger => PictureState::Mismatch,
            _ => PictureState::Waiting,
        };
        if kept.card.picture == PictureState::Ok {
            kept.stranger = false;
        }
        kept.card.shown = have.map(str::to_owned);
        Some(kept.change())
    }
}

impl Kept {
    fn new(message: &EventMessage, order: u64) -> Self {
        let card = Card {
            id: message.id,
            order,
            alert: false,
            event: message.clone(),
            shown: None,
            picture: PictureState::Waiting,
        };
        Self { card, named: HashSet::new(), stranger: false, picture: None }
    }

    fn change(&self) -> Change {
        Change::Card { card: Box::new(self.card.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn message(n: u64, revision: u32, phase: &str, sha: Option<&str>) -> EventMessage {
        let id = ulid::Ulid::from_parts(1, u128::from(n));
        let at = "2026-03-02T03:17:45.212Z";
        let snapshot = sha.map(|s| serde_json::json!({"topic": "t", "sha256": s, "bytes": 1, "clean_sha256": "c"}));
        let rect = serde_json::to_value(crate::geometry::Rect::from([0.1, 0.1, 0.2, 0.2])).unwrap();
        let outline = serde_json::to_value(crate::geometry::Polygon(Vec::new())).unwrap();
        serde_json::from_value(serde_json::json!({
            "specversion": "1.0", "id": id.to_string(), "source": "/office/15BB/box/gate-01",
            "type": "gatewatch.event.enter.v1", "subject": "area/bay", "time": at, "datacontenttype": "application/json",
            "data": {
                "revision": revision, "phase": phase, "severity": 3, "rule": "enter", "office": "15BB", "box": "gate-01",
                "camera": {"id": "bay-1", "name": "Bãi 1", "width": 1280, "height": 720},
                "area": {"id": "bay", "name": "Ô kiểm hoá", "kind": "inspection_bay", "outline": outline},
                "capture": {"start": at, "best": at, "end": null, "time_source": "arrival", "uncertainty_ms": 500, "clock_offset_ms": null},
                "duty_day": "2026-03-02", "dwell_ms": 100, "direction": null, "end_reason": null,
                "object": {"track_id": id.to_string(), "label": "truck", "score": 0.9, "box_px": rect, "box_frac": rect, "path": []},
                "link": {"verdict": "unlinked", "links": [], "reason": "no booking", "feed_age_s": null, "feed_stale": false},
                "snapshot": snapshot, "snapshot_missing": null, "model": {"name": "m", "sha256": "m"},
                "config_digest": "0", "sequence": {"epoch": 1, "seq": n, "historical": false}
            }
        }))
        .unwrap()
    }

    fn seen(m: EventMessage) -> SeenMessage {
        SeenMessage::Event { message: Box::new(m), topic: "p/alert".into(), raw: Bytes::new() }
    }

    fn picture(n: u64, sha: &str) -> SeenMessage {
        let id = EventId(ulid::Ulid::from_parts(1, u128::from(n)));
        SeenMessage::Snapshot { event_id: id, jpeg: Bytes::from_static(b"jpeg"), sha256: sha.into() }
    }

    fn last_card(changes: &[Change]) -> Card {
        match changes.last() {
            Some(Change::Card { card }) => (**card).clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_card_per_event_updated_in_place_and_never_backwards() {
        let mut b = Board::default();
        b.apply(&seen(message(1, 1, "new", None)));
        b.apply(&seen(message(1, 3, "end", None)));
        let card = last_card(&b.apply(&seen(message(1, 2, "update", None))));
        assert_eq!((card.event.data.revision, b.snapshot().len()), (3, 1));
    }

    #[test]
    fn a_picture_is_shown_only_when_its_digest_is_the_events() {
        let mut b = Board::default();
        assert!(b.apply(&picture(1, "aa")).is_empty(), "before its event");
        let card = last_card(&b.apply(&seen(message(1, 1, "new", Some("aa")))));
        assert_eq!((card.picture, card.shown.as_deref()), (PictureState::Ok, Some("aa")));
        let card = last_card(&b.apply(&seen(message(1, 2, "update", Some("bb")))));
        assert_eq!((card.picture, card.shown.as_deref()), (PictureState::Waiting, Some("aa")));
        let card = last_card(&b.apply(&picture(1, "xx")));
        assert_eq!((card.picture, card.shown.as_deref()), (PictureState::Mismatch, Some("aa")));
        assert!(b.jpeg("xx").is_none() && b.jpeg("aa").is_some());
        let card = last_card(&b.apply(&picture(1, "bb")));
        assert_eq!((card.picture, card.shown.as_deref()), (PictureState::Ok, Some("bb")));
    }

    #[test]
    fn memory_is_bounded_and_lasting_events_stay_longest() {
        let mut b = Board::default();
        b.apply(&seen(message(1, 1, "new", None)));
        for n in 2..=MAX_CARDS as u64 + 50 {
            b.apply(&seen(message(n, 1, "end", Some("aa"))));
            b.apply(&picture(n, "aa"));
        }
        assert_eq!(b.snapshot().len(), MAX_CARDS);
        assert!(b.cards.contains_key(&EventId(ulid::Ulid::from_parts(1, 1))), "still lasting");
        assert_eq!(b.picture_bytes, 4 * (MAX_CARDS - 1));
    }
}
