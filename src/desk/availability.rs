//! How much of the time cameras are analysed, for reports. A box says of each camera which part of the last hour was; at each full
//! hour that is noted, for cameras of boxes that are there and of which both were heard just before. Of other hours nothing is known here, and
//! a report says of how many it knows. Rows: `db/availability.rs`.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::db::availability::{Noted, Standing};
use super::db::places::BoxRow;
use super::db::{DbError, Scope};
use super::message::text;
use super::outage::STEP_MS;
use super::room::Room;
use crate::clock::UtcMillis;

/// An hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// So long after the full hour what a box says is of that hour still.
const LATE_MS: i64 = 120_000;
/// A box that is there says something every minute.
const HEARD_MS: i64 = 180_000;
/// Cameras that are noted in one transaction.
const AT_ONCE: usize = 200;

/// The full hour that is to be noted now, after the one that was noted last.
pub(crate) fn due(now: i64, noted: i64) -> Option<i64> {
    let hour = now - now.rem_euclid(HOUR_MS);
    (hour > noted && now - hour <= LATE_MS).then_some(hour)
}

/// Notes the hour that ended then; `false` where what came before is not stored yet, so that it is not known.
pub(crate) async fn note(room: &Room, hour_ms: i64, now: i64) -> Result<bool, DbError> {
    let storing = room.storing.load(Ordering::Relaxed);
    if storing > 0 && now - storing > LATE_MS {
        // What stands here is older than the hour.
        return Ok(false);
    }
    // What was heard since this look began, or by a worker whose clock is ahead, is of now.
    let standing = room.db.standing_cameras((now - HEARD_MS, now + STEP_MS)).await?;
    let boxes = room.db.boxes(&Scope::all()).await?;
    let cameras = cameras_of(&boxes);
    let has =
        |s: &Standing| cameras.get(&(s.office.as_str(), s.box_id.as_str())).is_some_and(|of| of.contains(&s.camera));
    let noted = |s: &Standing| permille(s, now).filter(|_| has(s));
    let noted: Vec<Noted<'_>> = standing
        .iter()
        .filter_map(|s| Some(Noted { office: &s.office, box_id: &s.box_id, camera: &s.camera, permille: noted(s)? }))
        .collect();
    let duty_day = room.zone.duty_day(UtcMillis(hour_ms - 1));
    // Not all in one go: who writes waits for it. What is noted already is not noted again.
    for some in noted.chunks(AT_ONCE) {
        let mut tx = room.db.write().await?;
        tx.add_camera_hours(some, &duty_day, hour_ms).await?;
        tx.commit().await?;
    }
    Ok(true)
}

/// Ids of the cameras that boxes named when they connected, by office and box.
pub(crate) fn cameras_of(boxes: &[BoxRow]) -> HashMap<(&str, &str), BTreeSet<String>> {
    let ids = |b: &BoxRow| {
        let birth: Option<Value> = b.birth.as_ref().and_then(|birth| serde_json::from_str(birth).ok());
        let cameras = birth.as_ref().and_then(|birth| birth.get("cameras")).and_then(Value::as_array);
        cameras.into_iter().flatten().filter_map(|c| text(c, "/id")).collect()
    };
    boxes.iter().map(|b| ((b.office.as_str(), b.id.as_str()), ids(b))).collect()
}

/// What part of the last hour was analysed; `None` where the box does not say, or not any more. One of which nothing was analysed
/// has nothing new to say.
fn permille(s: &Standing, now: i64) -> Option<i64> {
    let body: Value = serde_json::from_str(&s.body).ok()?;
    let share = body.pointer("/coverage/last_hour")?.as_f64().filter(|share| (0.0..=1.0).contains(share))?;
    #[allow(clippy::cast_possible_truncation, reason = "0 to 1000")]
    let permille = (share * 1000.0).round() as i64;
    (permille == 0 || s.seen_ms > now - HEARD_MS).then_some(permille)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::desk::db::alert_figures::Counted;

    /// 08:00 in Vietnam.
    const EIGHT: i64 = 1_772_413_200_000;

    #[test]
    fn a_full_hour_is_due_once_and_only_just_after() {
        assert_eq!(due(EIGHT - 1, 0), None);
        assert_eq!(due(EIGHT, 0), Some(EIGHT));
        assert_eq!(due(EIGHT + LATE_MS, EIGHT - HOUR_MS), Some(EIGHT));
        assert_eq!(due(EIGHT + 5, EIGHT), None);
        assert_eq!(due(EIGHT + LATE_MS + 1, 0), None);
    }

    #[tokio::test]
    async fn a_camera_of_which_only_what_lay_at_the_broker_is_known_is_not_noted() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        says(&room, "gate", 1.0, EIGHT - 30_000).await;
        let mut tx = room.db.write().await.unwrap();
        let body = json!({"state": "running", "coverage": {"last_hour": 1.0}}).to_string();
        tx.camera_state("15BB", "gate-01", "bay", &body, None, EIGHT).await.unwrap();
        tx.camera_state("15BB", "gate-01", "gate", &body, None, EIGHT).await.unwrap();
        tx.commit().await.unwrap();
        assert!(note(&room, EIGHT, EIGHT + 1000).await.unwrap());
        let heard = [("gate".into(), 1, 1000)];
        assert_eq!(known(&room, ["2026-03-01", "2026-03-02"]).await, heard, "heard before, and again from the broker");
    }

    async fn says(room: &Room, camera: &str, last_hour: f64, heard_ms: i64) {
        let mut tx = room.db.write().await.unwrap();
        tx.boxes_seen(&BTreeMap::from([(("15BB", "gate-01"), Some(heard_ms))]), heard_ms, heard_ms).await.unwrap();
        tx.box_birth("15BB", "gate-01", r#"{"cameras": [{"id": "gate"}, {"id": "bay"}]}"#).await.unwrap();
        let body = json!({"state": "running", "coverage": {"last_hour": last_hour}}).to_string();
        tx.camera_state("15BB", "gate-01", camera, &body, Some(heard_ms), heard_ms).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Camera, hours that are known, sum of what was analysed, over two duty days.
    async fn known(room: &Room, days: [&str; 2]) -> Vec<(String, i64, i64)> {
        let scope = Scope::parse("15BB");
        let counted = Counted { scope: &scope, office: "", from: days[0], to: days[1] };
        let shares = room.db.camera_shares(&counted).await.unwrap();
        shares.into_iter().map(|s| (s.camera, s.hours, s.permille)).collect()
    }

    #[tokio::test]
    async fn hours_are_noted_once_for_cameras_that_a_box_has_and_only_while_it_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        says(&room, "gate", 1.0, EIGHT - 30_000).await;
        says(&room, "bay", 0.25, EIGHT - 30_000).await;
        // The box had it once; what it said of it last stands for ever.
        says(&room, "old", 1.0, EIGHT - 30_000).await;
        assert!(note(&room, EIGHT, EIGHT + 1000).await.unwrap());
        assert!(note(&room, EIGHT, EIGHT + 9000).await.unwrap());
        assert_eq!(
            known(&room, ["2026-03-01", "2026-03-02"]).await,
            [("bay".into(), 1, 250), ("gate".into(), 1, 1000)]
        );
        assert!(
            known(&room, ["2026-03-02", "2026-03-03"]).await.is_empty(),
            "the hour before eight is of the day before"
        );
        let next = async |n: i64| note(&room, EIGHT + n * HOUR_MS, EIGHT + n * HOUR_MS + 1000).await.unwrap();
        says(&room, "gate", 0.5, EIGHT + HOUR_MS).await;
        let day = ["2026-03-02", "2026-03-03"];
        assert!(next(1).await);
        assert_eq!(
            known(&room, day).await,
            [("gate".into(), 1, 500)],
            "of the other one the box says nothing any more"
        );
        // The box is silent, then the desk is behind with what came: nothing is known of these hours.
        assert!(next(2).await);
        says(&room, "gate", 1.0, EIGHT + 3 * HOUR_MS).await;
        room.storing.store(EIGHT + 3 * HOUR_MS - LATE_MS, Ordering::Relaxed);
        assert!(!next(3).await, "it is tried again");
        assert_eq!(known(&room, day).await, [("gate".into(), 1, 500)]);
        room.storing.store(0, Ordering::Relaxed);
        assert!(next(3).await);
        // Of what is not analysed at all there is nothing new to say.
        says(&room, "bay", 0.0, EIGHT + 3 * HOUR_MS).await;
        says(&room, "gate", 1.0, EIGHT + 4 * HOUR_MS).await;
        assert!(next(4).await);
        assert_eq!(known(&room, day).await, [("bay".into(), 1, 0), ("gate".into(), 3, 2500)]);
        // What was heard is of a time to come: the clock was set back.
        assert!(next(-48).await);
        assert!(known(&room, ["2026-02-26", "2026-03-01"]).await.is_empty());
        let other = Scope::parse("20BB");
        let counted = Counted { scope: &other, office: "", from: "2026-03-01", to: "2026-03-03" };
        assert!(room.db.camera_shares(&counted).await.unwrap().is_empty(), "another office");
    }
}
