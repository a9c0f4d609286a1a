//! How much of the time cameras are analysed, for reports. A box says of each camera which part of the last hour was; at each full
//! hour that is noted, for cameras of boxes that are there and were heard just before. Of other hours nothing is known here, and
//! a report says of how many it knows. Rows: `db/availability.rs`.

use std::sync::atomic::Ordering;

use serde_json::Value;

use super::db::DbError;
use super::db::availability::Standing;
use super::message::text;
use super::room::Room;
use crate::clock::UtcMillis;

/// An hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// So long after the full hour what a box says is of that hour still.
const LATE_MS: i64 = 120_000;
/// A box that is there says something every minute.
const HEARD_MS: i64 = 180_000;

/// The full hour that is to be noted now, after the one that was noted last.
pub(crate) fn due(now: i64, noted: i64) -> Option<i64> {
    let hour = now - now.rem_euclid(HOUR_MS);
    (hour > noted && now - hour <= LATE_MS).then_some(hour)
}

/// Notes the hour that ended then.
pub(crate) async fn note(room: &Room, hour_ms: i64, now: i64) -> Result<(), DbError> {
    let storing = room.storing.load(Ordering::Relaxed);
    if storing > 0 && now - storing > LATE_MS {
        // What stands here is older than the hour.
        return Ok(());
    }
    let standing = room.db.standing_cameras(now - HEARD_MS).await?;
    let said: Vec<(&Standing, i64)> = standing.iter().filter_map(|s| Some((s, permille(s)?))).collect();
    if said.is_empty() {
        return Ok(());
    }
    let duty_day = room.zone.duty_day(UtcMillis(hour_ms - 1));
    let mut tx = room.db.write().await?;
    for (camera, permille) in said {
        tx.add_camera_hour(camera, &duty_day, permille, hour_ms).await?;
    }
    tx.commit().await
}

/// What part of the last hour was analysed; `None` where the box does not say, or has the camera no more.
fn permille(s: &Standing) -> Option<i64> {
    let birth: Value = serde_json::from_str(&s.birth).ok()?;
    let has = birth.get("cameras")?.as_array()?.iter().any(|c| text(c, "/id").as_deref() == Some(&s.camera));
    let body: Value = serde_json::from_str(&s.body).ok()?;
    let share = body.pointer("/coverage/last_hour")?.as_f64().filter(|share| (0.0..=1.0).contains(share) && has)?;
    #[allow(clippy::cast_possible_truncation, reason = "0 to 1000")]
    Some((share * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::desk::db::Scope;
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

    async fn says(room: &Room, camera: &str, last_hour: f64, heard_ms: i64) {
        let mut tx = room.db.write().await.unwrap();
        tx.boxes_seen(&BTreeMap::from([(("15BB", "gate-01"), Some(heard_ms))]), heard_ms, heard_ms).await.unwrap();
        tx.box_birth("15BB", "gate-01", r#"{"cameras": [{"id": "gate"}, {"id": "bay"}]}"#).await.unwrap();
        let body = json!({"state": "running", "coverage": {"last_hour": last_hour}}).to_string();
        tx.camera_state("15BB", "gate-01", camera, &body, heard_ms).await.unwrap();
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
        note(&room, EIGHT, EIGHT + 1000).await.unwrap();
        note(&room, EIGHT, EIGHT + 9000).await.unwrap();
        assert_eq!(
            known(&room, ["2026-03-01", "2026-03-02"]).await,
            [("bay".into(), 1, 250), ("gate".into(), 1, 1000)]
        );
        assert!(
            known(&room, ["2026-03-02", "2026-03-03"]).await.is_empty(),
            "the hour before eight is of the day before"
        );
        says(&room, "gate", 0.5, EIGHT + HOUR_MS).await;
        note(&room, EIGHT + HOUR_MS, EIGHT + HOUR_MS + 1000).await.unwrap();
        let day = ["2026-03-02", "2026-03-03"];
        assert_eq!(known(&room, day).await, [("bay".into(), 1, 250), ("gate".into(), 1, 500)]);
        // The box is silent, then the desk is behind with what came: nothing is known of these hours.
        note(&room, EIGHT + 2 * HOUR_MS, EIGHT + 2 * HOUR_MS).await.unwrap();
        says(&room, "gate", 1.0, EIGHT + 3 * HOUR_MS).await;
        room.storing.store(EIGHT + 3 * HOUR_MS - LATE_MS - 1, Ordering::Relaxed);
        note(&room, EIGHT + 3 * HOUR_MS, EIGHT + 3 * HOUR_MS).await.unwrap();
        assert_eq!(known(&room, day).await, [("bay".into(), 1, 250), ("gate".into(), 1, 500)]);
        room.storing.store(0, Ordering::Relaxed);
        note(&room, EIGHT + 3 * HOUR_MS, EIGHT + 3 * HOUR_MS).await.unwrap();
        assert_eq!(
            known(&room, ["2026-03-01", "2026-03-03"]).await,
            [("bay".into(), 3, 750), ("gate".into(), 3, 2500)]
        );
        let other = Scope::parse("20BB");
        let counted = Counted { scope: &other, office: "", from: "2026-03-01", to: "2026-03-03" };
        assert!(room.db.camera_shares(&counted).await.unwrap().is_empty(), "another office");
    }
}
