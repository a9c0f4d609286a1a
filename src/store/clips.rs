//! Which clips are to be kept outside the box, and which are there already. How they get there is `agent/uploader.rs`.

use std::collections::HashSet;

use sqlx::{Connection, SqliteConnection};

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

/// Events with clips that are not dealt with, the oldest first, and how many there are.
const EVENTS: &str = "SELECT event_id, camera, from_ms, to_ms, COUNT(*) OVER () FROM footage_event
                      WHERE ended = 1 AND clips_done = 0 AND severity >= ?1 AND to_ms <= ?2 AND from_ms < to_ms
                      ORDER BY to_ms, event_id LIMIT ?3";
/// Holds with such clips, also those that reach on.
const HOLDS: &str = "SELECT id, camera, from_ms, to_ms FROM hold
                     WHERE released_ms IS NULL AND clips_done = 0 AND from_ms < ?1 ORDER BY from_ms, id";

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
        let until = now.plus_ms(-settle_ms).0;
        let mut due = self.due_of_holds(until).await?;
        let held = due.len() as u64;
        let select = sqlx::query_as(EVENTS).bind(min_severity).bind(until);
        let select = select.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows: Vec<(String, String, i64, i64, i64)> =
            select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let events = rows.first().map_or(0, |r| u64::try_from(r.4).unwrap_or(0));
        for (id, camera, from, to, _) in rows {
            // What is one clip is not dealt with, or the event would be done.
            let done = match to - from > MAX_MS {
                true => self.dealt_with(&self.inner.readers, ClipKind::Event, &id).await?,
                false => HashSet::new(),
            };
            due.extend(of(ClipKind::Event, &id, &camera, (from, to), |piece| !done.contains(&piece)));
        }
        due.truncate(limit);
        Ok((due, held + events))
    }

    async fn due_of_holds(&self, until: i64) -> Result<Vec<DueClip>, StoreError> {
        let rows = sqlx::query_as(HOLDS).bind(until).fetch_all(&self.inner.readers).await;
        let rows: Vec<(String, String, i64, i64)> = rows.map_err(|e| self.sql(e))?;
        let select = "SELECT s.id, s.from_ms, s.to_ms FROM hold h JOIN stored_clip s ON s.kind = 'hold' AND s.id = h.id
                      WHERE h.released_ms IS NULL AND h.clips_done = 0";
        let done = sqlx::query_as(select).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let done: HashSet<(String, i64, i64)> = done.into_iter().collect();
        let mut due = Vec::new();
        for (id, camera, from, to) in rows {
            let open = |(from, to): (i64, i64)| to <= until && !done.contains(&(id.clone(), from, to));
            due.extend(of(ClipKind::Hold, &id, &camera, (from, to), open));
        }
        due.sort_by_key(|d| d.name.from);
        Ok(due)
    }

    async fn dealt_with<'e>(
        &self,
        place: impl sqlx::SqliteExecutor<'e>,
        kind: ClipKind,
        id: &str,
    ) -> Result<HashSet<(i64, i64)>, StoreError> {
        let select = "SELECT from_ms, to_ms FROM stored_clip WHERE kind = ? AND id = ?";
        let select = sqlx::query_as(select).bind(kind.as_str()).bind(id);
        let rows: Vec<(i64, i64)> = select.fetch_all(place).await.map_err(|e| self.sql(e))?;
        Ok(rows.into_iter().collect())
    }

    /// A clip lies in the store of objects, or never will, and `why_not`. With the last one of an event or a hold all of it is done.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn clip_dealt_with(&self, clip: &ClipName, why_not: Option<&str>) -> Result<(), StoreError> {
        let insert = "INSERT INTO stored_clip (kind, id, from_ms, to_ms, at_ms, why_not) VALUES (?, ?, ?, ?, ?, ?)
                      ON CONFLICT DO NOTHING";
        let insert = sqlx::query(insert).bind(clip.kind.as_str()).bind(&clip.id).bind(clip.from.0).bind(clip.to.0);
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        insert.bind(utc_now().0).bind(why_not).execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        self.note_done(&mut tx, clip.kind, &clip.id).await?;
        tx.commit().await.map_err(|e| self.sql(e))
    }

    async fn note_done(&self, tx: &mut SqliteConnection, kind: ClipKind, id: &str) -> Result<(), StoreError> {
        let (select, update) = match kind {
            ClipKind::Event => (
                "SELECT from_ms, to_ms FROM footage_event WHERE event_id = ?",
                "UPDATE footage_event SET clips_done = 1 WHERE event_id = ?",
            ),
            ClipKind::Hold => {
                ("SELECT from_ms, to_ms FROM hold WHERE id = ?", "UPDATE hold SET clips_done = 1 WHERE id = ?")
            }
        };
        let span = sqlx::query_as(select).bind(id).fetch_optional(&mut *tx).await;
        let span: Option<(i64, i64)> = span.map_err(|e| self.sql(e))?;
        let done = self.dealt_with(&mut *tx, kind, id).await?;
        if span.is_some_and(|(from, to)| pieces(kind, from, to).all(|piece| done.contains(&piece))) {
            sqlx::query(update).bind(id).execute(tx).await.map_err(|e| self.sql(e))?;
        }
        Ok(())
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

    async fn store(dir: &std::path::Path) -> Store {
        let mut config = Config::default();
        config.store.dir = dir.to_owned();
        Store::open(StoreOptions::of(&config, "unused".into())).await.unwrap()
    }

    async fn event(store: &Store, id: &str, severity: i64, ended: bool, to: i64) {
        let insert = "INSERT INTO footage_event (event_id, camera, from_ms, to_ms, ended, severity) VALUES (?, 'bay', 1000, ?, ?, ?)";
        store.execute(sqlx::query(insert).bind(id).bind(to).bind(ended).bind(severity)).await.unwrap();
    }

    fn held(id: &str, tip: Option<&str>, from: i64, to: i64) -> NewHold {
        NewHold {
            id: tip.is_none().then(|| id.into()),
            camera: "bay".into(),
            from: UtcMillis(from),
            to: UtcMillis(to),
            reason: "x".into(),
            tip_id: tip.map(Into::into),
            by: "x".into(),
        }
    }

    async fn due(store: &Store, now: i64, limit: usize) -> (Vec<ClipName>, u64) {
        let (due, all) = store.due_clips(UtcMillis(now), 3, 2000, limit).await.unwrap();
        (due.into_iter().map(|d| d.name).collect(), all)
    }

    async fn ids(store: &Store, now: i64, limit: usize) -> (Vec<String>, u64) {
        let (due, all) = due(store, now, limit).await;
        (due.into_iter().map(|name| name.id).collect(), all)
    }

    #[tokio::test]
    async fn holds_come_first_and_what_is_dealt_with_not_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        event(&store, "late", 3, true, 60_000).await;
        event(&store, "grave", 4, true, 30_000).await;
        event(&store, "minor", 2, true, 9000).await;
        event(&store, "lasts", 4, false, 9000).await;
        store.place_holds(&[held("h", None, 40_000, 50_000)]).await.unwrap();
        assert_eq!(ids(&store, 100_000, 9).await, (vec!["h".into(), "grave".into(), "late".into()], 3));
        assert_eq!(ids(&store, 100_000, 2).await, (vec!["h".into(), "grave".into()], 3));
        assert_eq!(ids(&store, 32_000, 9).await, (vec!["grave".into()], 1), "what is not over yet waits");
        let (all, _) = due(&store, 102_000, 9).await;
        store.clip_dealt_with(&all[0], None).await.unwrap();
        store.clip_dealt_with(&all[1], Some("no_footage")).await.unwrap();
        store.clip_dealt_with(&all[1], None).await.unwrap();
        assert_eq!(ids(&store, 100_000, 9).await, (vec!["late".into()], 1));
        store.release_hold("h", "x", "x").await.unwrap();
        store.forget_footage(UtcMillis(i64::MAX)).await.unwrap();
        let left: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM stored_clip").fetch_one(&store.inner.readers).await.unwrap();
        assert_eq!(left, 1, "the hold's; of events that are forgotten nothing is left");
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_long_event_is_done_with_the_last_of_its_clips_whichever_that_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        event(&store, "long", 4, true, 1000 + 2 * MAX_MS + 5).await;
        let (mut open, all) = due(&store, 10 * MAX_MS, 9).await;
        assert_eq!((open.len(), all), (3, 1));
        // The last one first.
        while let Some(clip) = open.pop() {
            store.clip_dealt_with(&clip, None).await.unwrap();
            assert_eq!(due(&store, 10 * MAX_MS, 9).await, (open.clone(), u64::from(!open.is_empty())));
        }
        let done = "SELECT clips_done FROM footage_event";
        let done: bool = sqlx::query_scalar(done).fetch_one(&store.inner.readers).await.unwrap();
        assert!(done, "it is not looked at again");
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_grows_is_looked_at_again_and_brings_only_what_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        store.place_holds(&[held("", Some("t"), 100, MAX_MS + 500)]).await.unwrap();
        let (first, _) = due(&store, 10 * MAX_MS, 9).await;
        for clip in &first {
            store.clip_dealt_with(clip, None).await.unwrap();
        }
        assert_eq!(due(&store, 10 * MAX_MS, 9).await.0, []);
        store.place_holds(&[held("", Some("t"), 400, 2 * MAX_MS)]).await.unwrap();
        let (grown, _) = due(&store, 10 * MAX_MS, 9).await;
        let spans: Vec<(i64, i64)> = grown.iter().map(|n| (n.from.0, n.to.0)).collect();
        assert_eq!(spans, [(MAX_MS, 2 * MAX_MS)]);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn every_hold_comes_to_its_turn_however_many_were_placed_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let insert = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
                      INSERT INTO hold (id, camera, from_ms, to_ms, reason, placed_by, placed_ms)
                      SELECT 'h' || i, 'bay', 10 * i, 10 * i + 5, 'x', 'x', i FROM n";
        store.execute(sqlx::query(insert)).await.unwrap();
        let (due, count) = due(&store, 1_000_000, 2).await;
        assert_eq!((due[0].id.as_str(), due[1].id.as_str(), count), ("h0", "h1", 5_001));
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_done_is_not_looked_through() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        for (select, index) in [(EVENTS, "footage_event_clips"), (HOLDS, "hold_clips")] {
            let plan = sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {select}")));
            let plan: Vec<(i64, i64, i64, String)> =
                plan.bind(3).bind(9).bind(9).fetch_all(&store.inner.readers).await.unwrap();
            assert!(plan.iter().any(|step| step.3.contains(index)), "{plan:?}");
        }
        store.close().await.unwrap();
    }
}
