//! Which clips are to be kept outside the box, and which are there already. How they get there is `agent/uploader.rs`.

use std::collections::HashSet;

use super::{Store, StoreError};
use crate::camera::CameraId;
use crate::clock::{UtcMillis, utc_now};
use crate::objects::clip::{ClipKind, ClipName, MAX_MS};

/// A clip that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DueClip {
    /// Of which camera.
    pub camera: CameraId,
    /// What of it, and what for.
    pub name: ClipName,
}

/// The clips of an event or a hold: at most [`MAX_MS`] each. A hold may grow, so its clips begin at whole multiples of that, where it
/// is long; an event has grown when this is asked.
fn pieces(kind: ClipKind, from: i64, to: i64) -> impl Iterator<Item = (i64, i64)> {
    let aligned = kind == ClipKind::Hold && to - from > MAX_MS;
    let next = move |at: i64| (if aligned { (at.div_euclid(MAX_MS) + 1) * MAX_MS } else { at + MAX_MS }).min(to);
    let starts = std::iter::successors(Some(from), move |at| Some(next(*at)));
    starts.take_while(move |at| *at < to).map(move |at| (at, next(at)))
}

impl Store {
    /// Clips that are due at `now` and not dealt with: what is held before events of at least `min_severity`, the oldest first; `limit`
    /// at most. Nothing whose end is less than `settle_ms` ago. Also how many there are in all, events longer than [`MAX_MS`] counted
    /// once.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn due_clips(
        &self,
        now: UtcMillis,
        min_severity: u8,
        settle_ms: i64,
        limit: usize,
    ) -> Result<(Vec<DueClip>, u64), StoreError> {
        let mut due = self.due_of_holds(now.plus_ms(-settle_ms)).await?;
        let held = due.len() as u64;
        let select = "SELECT e.event_id, e.camera, e.from_ms, e.to_ms, COUNT(*) OVER () FROM footage_event e
                      WHERE e.ended = 1 AND e.severity >= ?1 AND e.to_ms <= ?2 AND e.from_ms < e.to_ms
                        AND NOT EXISTS (SELECT 1 FROM stored_clip s WHERE s.kind = 'event' AND s.id = e.event_id AND s.to_ms = e.to_ms)
                      ORDER BY e.to_ms LIMIT ?3";
        let select = sqlx::query_as(select).bind(min_severity).bind(now.plus_ms(-settle_ms).0);
        let select = select.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows: Vec<(String, String, i64, i64, i64)> =
            select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let events = rows.first().map_or(0, |r| u64::try_from(r.4).unwrap_or(0));
        for (id, camera, from, to, _) in rows {
            let done = self.dealt_with(ClipKind::Event, &id).await?;
            due.extend(of(ClipKind::Event, &id, &camera, (from, to), |piece| !done.contains(&piece)));
        }
        due.truncate(limit);
        Ok((due, held + events))
    }

    async fn due_of_holds(&self, until: UtcMillis) -> Result<Vec<DueClip>, StoreError> {
        let select = "SELECT s.id, s.from_ms, s.to_ms FROM stored_clip s JOIN hold h ON h.id = s.id
                      WHERE s.kind = 'hold' AND h.released_ms IS NULL";
        let done: Vec<(String, i64, i64)> =
            sqlx::query_as(select).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let done: HashSet<(String, i64, i64)> = done.into_iter().collect();
        let mut due = Vec::new();
        for h in self.holds(None, false).await? {
            let open = |(from, to): (i64, i64)| to <= until.0 && !done.contains(&(h.id.clone(), from, to));
            due.extend(of(ClipKind::Hold, &h.id, &h.camera, (h.from.0, h.to.0), open));
        }
        due.sort_by_key(|d| d.name.from);
        Ok(due)
    }

    async fn dealt_with(&self, kind: ClipKind, id: &str) -> Result<HashSet<(i64, i64)>, StoreError> {
        let select = "SELECT from_ms, to_ms FROM stored_clip WHERE kind = ? AND id = ?";
        let select = sqlx::query_as(select).bind(kind.as_str()).bind(id);
        let rows: Vec<(i64, i64)> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(rows.into_iter().collect())
    }

    /// A clip lies in the store of objects, or never will, and `why_not`.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn clip_dealt_with(&self, clip: &ClipName, why_not: Option<&str>) -> Result<(), StoreError> {
        let insert = "INSERT INTO stored_clip (kind, id, from_ms, to_ms, at_ms, why_not) VALUES (?, ?, ?, ?, ?, ?)
                      ON CONFLICT DO NOTHING";
        let insert = sqlx::query(insert).bind(clip.kind.as_str()).bind(&clip.id).bind(clip.from.0).bind(clip.to.0);
        self.execute(insert.bind(utc_now().0).bind(why_not)).await.map(|_| ())
    }
}

fn of(
    kind: ClipKind,
    id: &str,
    camera: &str,
    (from, to): (i64, i64),
    open: impl Fn((i64, i64)) -> bool,
) -> Vec<DueClip> {
    let due = pieces(kind, from, to).filter(|piece| open(*piece)).map(|(from, to)| DueClip {
        camera: CameraId(camera.to_owned()),
        name: ClipName { kind, id: id.to_owned(), from: UtcMillis(from), to: UtcMillis(to) },
    });
    due.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::store::{NewHold, StoreOptions};

    #[test]
    fn clips_of_a_hold_keep_their_bounds_while_it_grows() {
        let of = |kind, from, to| pieces(kind, from, to).collect::<Vec<_>>();
        assert_eq!(of(ClipKind::Event, 5, 40_005), [(5, 40_005)]);
        assert_eq!(of(ClipKind::Event, 5, MAX_MS + 9), [(5, MAX_MS + 5), (MAX_MS + 5, MAX_MS + 9)]);
        assert_eq!(of(ClipKind::Hold, 100, MAX_MS + 100), [(100, MAX_MS + 100)]);
        let short = of(ClipKind::Hold, 100, 2 * MAX_MS + 50);
        assert_eq!(short, [(100, MAX_MS), (MAX_MS, 2 * MAX_MS), (2 * MAX_MS, 2 * MAX_MS + 50)]);
        assert_eq!(of(ClipKind::Hold, 100, 3 * MAX_MS)[..2], short[..2]);
        assert!(of(ClipKind::Hold, 9, 9).is_empty());
    }

    #[tokio::test]
    async fn holds_come_first_and_what_is_dealt_with_not_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.dir = dir.path().to_owned();
        let store = Store::open(StoreOptions::of(&config, "unused".into())).await.unwrap();
        let event = |id: &'static str, severity: i64, ended: i64, to: i64| {
            let insert = "INSERT INTO footage_event (event_id, camera, from_ms, to_ms, ended, severity) VALUES (?, 'bay', 1000, ?, ?, ?)";
            sqlx::query(insert).bind(id).bind(to).bind(ended).bind(severity)
        };
        for row in [
            event("late", 3, 1, 60_000),
            event("grave", 4, 1, 30_000),
            event("minor", 2, 1, 9000),
            event("lasts", 4, 0, 9000),
        ] {
            store.execute(row).await.unwrap();
        }
        let held = NewHold {
            id: Some("h".into()),
            camera: "bay".into(),
            from: UtcMillis(40_000),
            to: UtcMillis(50_000),
            reason: "x".into(),
            tip_id: None,
            by: "x".into(),
        };
        store.place_holds(&[held]).await.unwrap();
        let due = async |now: i64, limit: usize| {
            let (due, all) = store.due_clips(UtcMillis(now), 3, 2000, limit).await.unwrap();
            (due.into_iter().map(|d| d.name.id).collect::<Vec<_>>(), all)
        };
        assert_eq!(due(100_000, 9).await, (vec!["h".into(), "grave".into(), "late".into()], 3));
        assert_eq!(due(100_000, 2).await, (vec!["h".into(), "grave".into()], 3));
        assert_eq!(due(32_000, 9).await, (vec!["grave".into()], 1), "what is not over yet waits");
        let (all, _) = store.due_clips(UtcMillis(100_000), 3, 0, 9).await.unwrap();
        store.clip_dealt_with(&all[0].name, None).await.unwrap();
        store.clip_dealt_with(&all[1].name, Some("no_footage")).await.unwrap();
        store.clip_dealt_with(&all[1].name, None).await.unwrap();
        assert_eq!(due(100_000, 9).await, (vec!["late".into()], 1));
        store.release_hold("h", "x", "x").await.unwrap();
        store.forget_footage(UtcMillis(i64::MAX)).await.unwrap();
        let left: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM stored_clip").fetch_one(&store.inner.readers).await.unwrap();
        assert_eq!(left, 1, "the hold's; of events that are forgotten nothing is left");
        store.close().await.unwrap();
    }
}
