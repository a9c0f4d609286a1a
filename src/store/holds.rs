//! Holds: footage that no clean-up may delete. Placed by a tip or by command, released by command only; both stay on
//! record, and in the chain of evidence. Which files that means is the business of footage.

use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use sqlx::{Connection, SqliteConnection};

use super::{Store, StoreError};
use crate::clock::{UtcMillis, mono_now, utc_now};

/// How much of what is held is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// Not looked at yet: its time is not over, or its video is still being written.
    Requested,
    /// All of it.
    Applied,
    /// With gaps.
    Partly,
    /// Nothing.
    Failed,
    /// Given free again.
    Released,
}

/// One hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Hold {
    /// ULID, or the id the sender gave.
    pub id: String,
    /// Camera.
    pub camera: String,
    /// First moment.
    pub from: UtcMillis,
    /// First moment after it.
    pub to: UtcMillis,
    /// Why.
    pub reason: String,
    /// The tip behind it.
    pub tip_id: Option<String>,
    /// Who placed it; `tip` when a tip did.
    pub placed_by: String,
    /// When.
    pub placed_at: UtcMillis,
    /// How much of it is there.
    pub state: HoldState,
    /// Missing times, as far as known.
    pub gaps: Vec<(UtcMillis, UtcMillis)>,
    /// When it was given free.
    pub released_at: Option<UtcMillis>,
    /// By whom.
    pub released_by: Option<String>,
    /// Why.
    pub release_why: Option<String>,
}

/// A hold to place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHold {
    /// Given by the sender, so that it can ask twice; made when missing.
    pub id: Option<String>,
    /// Camera.
    pub camera: String,
    /// First moment.
    pub from: UtcMillis,
    /// First moment after it.
    pub to: UtcMillis,
    /// Why.
    pub reason: String,
    /// The tip behind it.
    pub tip_id: Option<String>,
    /// Who.
    pub by: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    camera: String,
    from_ms: i64,
    to_ms: i64,
    reason: String,
    tip_id: Option<String>,
    placed_by: String,
    placed_ms: i64,
    state: String,
    gaps: String,
    released_ms: Option<i64>,
    released_by: Option<String>,
    release_why: Option<String>,
}

const COLUMNS: &str = "id, camera, from_ms, to_ms, reason, tip_id, placed_by, placed_ms, state, gaps, released_ms,
                       released_by, release_why";

impl From<Row> for Hold {
    fn from(r: Row) -> Self {
        let state = serde_json::from_value(r.state.clone().into()).unwrap_or(HoldState::Requested);
        let gaps: Vec<(i64, i64)> = serde_json::from_str(&r.gaps).unwrap_or_default();
        Self {
            id: r.id,
            camera: r.camera,
            from: UtcMillis(r.from_ms),
            to: UtcMillis(r.to_ms),
            reason: r.reason,
            tip_id: r.tip_id,
            placed_by: r.placed_by,
            placed_at: UtcMillis(r.placed_ms),
            state: if r.released_ms.is_some() { HoldState::Released } else { state },
            gaps: gaps.into_iter().map(|(from, to)| (UtcMillis(from), UtcMillis(to))).collect(),
            released_at: r.released_ms.map(UtcMillis),
            released_by: r.released_by,
            release_why: r.release_why,
        }
    }
}

impl Store {
    /// Places holds in one transaction; gives the ids that cover them, in order. The same again changes nothing: a hold of
    /// the same tip and camera grows to cover what touches it, and what was released by command stays released.
    ///
    /// # Errors
    /// When the database cannot be written; then none is placed.
    pub async fn place_holds(&self, holds: &[NewHold]) -> Result<Vec<String>, StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let mut ids = Vec::with_capacity(holds.len());
        for hold in holds {
            ids.push(self.place_hold(&mut tx, hold).await?);
        }
        tx.commit().await.map_err(|e| self.sql(e))?;
        Ok(ids)
    }

    async fn place_hold(&self, tx: &mut SqliteConnection, new: &NewHold) -> Result<String, StoreError> {
        let select =
            format!("SELECT {COLUMNS} FROM hold WHERE camera = ? AND (id = ? OR tip_id IS ?) ORDER BY from_ms");
        let known = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(&new.camera).bind(&new.id).bind(&new.tip_id);
        let known: Vec<Row> = known.fetch_all(&mut *tx).await.map_err(|e| self.sql(e))?;
        let (from, to) = (new.from.0, new.to.0);
        let same_id = |r: &&Row| new.id.as_deref() == Some(&r.id);
        let covers = |r: &&Row| r.from_ms <= from && to <= r.to_ms;
        // A tip that runs again must not undo a release; a person who asks anew may hold the same time again.
        let same = |r: &&Row| {
            same_id(r)
                || (covers(r)
                    && (new.tip_id.is_some()
                        || (r.released_ms.is_none()
                            && new.id.is_none()
                            && r.tip_id.is_none()
                            && r.from_ms == from
                            && r.to_ms == to)))
        };
        if let Some(row) = known.iter().find(same) {
            return Ok(row.id.clone());
        }
        let touches = |r: &&Row| r.released_ms.is_none() && r.from_ms <= to && from <= r.to_ms;
        if let Some(row) = known.iter().filter(|_| new.tip_id.is_some()).find(touches) {
            let grow = "UPDATE hold SET from_ms = MIN(from_ms, ?), to_ms = MAX(to_ms, ?), state = 'requested',
                            clips_done = 0 WHERE id = ?";
            let grow = sqlx::query(grow).bind(from).bind(to).bind(&row.id);
            grow.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
            self.chain_hold(tx, &row.id).await?;
            return Ok(row.id.clone());
        }
        self.insert_hold(tx, new).await
    }

    async fn insert_hold(&self, tx: &mut SqliteConnection, new: &NewHold) -> Result<String, StoreError> {
        let now = utc_now();
        let id = new.id.clone().unwrap_or_else(|| crate::ids::IdSource::random().next_id(now).to_string());
        let insert = "INSERT INTO hold (id, camera, from_ms, to_ms, reason, tip_id, placed_by, placed_ms)
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(insert)
            .bind(&id)
            .bind(&new.camera)
            .bind(new.from.0)
            .bind(new.to.0)
            .bind(&new.reason)
            .bind(&new.tip_id)
            .bind(&new.by)
            .bind(now.0)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        self.chain_hold(tx, &id).await?;
        Ok(id)
    }

    /// Says how much of a hold is there.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_hold_state(
        &self,
        id: &str,
        state: HoldState,
        gaps: &[(UtcMillis, UtcMillis)],
    ) -> Result<(), StoreError> {
        let gaps: Vec<(i64, i64)> = gaps.iter().map(|(from, to)| (from.0, to.0)).collect();
        let name = super::record::name_of(&state);
        let update = "UPDATE hold SET state = ?, gaps = ? WHERE id = ? AND released_ms IS NULL";
        self.execute(sqlx::query(update).bind(name).bind(self.to_json(&gaps)?).bind(id)).await?;
        Ok(())
    }

    /// Gives a hold free. `None`: there is none of that id; a second release leaves the first as it is.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn release_hold(&self, id: &str, by: &str, why: &str) -> Result<Option<Hold>, StoreError> {
        let update =
            "UPDATE hold SET released_ms = ?, released_by = ?, release_why = ? WHERE id = ? AND released_ms IS NULL";
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let update = sqlx::query(update).bind(utc_now().0).bind(by).bind(why).bind(id);
        if update.execute(&mut *tx).await.map_err(|e| self.sql(e))?.rows_affected() > 0 {
            self.chain_hold(&mut tx, id).await?;
        }
        tx.commit().await.map_err(|e| self.sql(e))?;
        drop(writer);
        self.hold(id).await
    }

    /// One hold.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn hold(&self, id: &str) -> Result<Option<Hold>, StoreError> {
        let select = format!("SELECT {COLUMNS} FROM hold WHERE id = ?");
        let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(id)
            .fetch_optional(&self.inner.readers)
            .await
            .map_err(|e| self.sql(e))?;
        Ok(row.map(Hold::from))
    }

    /// Holds, newest first; those of a tip where one is named; released ones too where asked for.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn holds(&self, tip_id: Option<&str>, released: bool) -> Result<Vec<Hold>, StoreError> {
        let select = format!(
            "SELECT {COLUMNS} FROM hold WHERE (?1 IS NULL OR tip_id = ?1) AND (?2 OR released_ms IS NULL)
             ORDER BY placed_ms DESC, id DESC LIMIT 5000"
        );
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(tip_id).bind(released);
        let rows: Vec<Row> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(rows.into_iter().map(Hold::from).collect())
    }

    /// When the box last knew that it had taken every tip and hold sent to it. Out of touch since then, it may delete nothing
    /// newer than that less a day, since a tip about it may wait at the broker. `None`: never yet.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn holds_synced_at(&self) -> Result<Option<UtcMillis>, StoreError> {
        let select = sqlx::query_scalar("SELECT at_ms FROM moment WHERE name = 'holds_synced'");
        let at: Option<i64> = select.fetch_optional(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(at.map(UtcMillis))
    }

    /// When the box was last in step with the source of holds, where it is out of touch with it: for longer than `for_ms` by
    /// either clock, or since before this start, when something may have been sent that it does not know of. `None`: it is in
    /// step, or there never was a source. Never later than `now`: a mark of a clock that went wrong is none of the future.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn holds_silent_since(&self, now: UtcMillis, for_ms: i64) -> Result<Option<UtcMillis>, StoreError> {
        let heard_now = *self.inner.holds_heard.lock().unwrap_or_else(PoisonError::into_inner);
        let long_ago = heard_now.is_none_or(|at| mono_now().since(at) > for_ms);
        let heard = self.holds_synced_at().await?;
        Ok(heard.map(|heard| heard.min(now)).filter(|heard| long_ago || now.since(*heard) > for_ms))
    }

    /// The broker has nothing left for the box, and what came is kept and held.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn mark_holds_synced(&self, at: UtcMillis) -> Result<(), StoreError> {
        let mark = "INSERT INTO moment (name, at_ms) VALUES ('holds_synced', ?1)
                    ON CONFLICT (name) DO UPDATE SET at_ms = ?1";
        self.execute(sqlx::query(mark).bind(at.0)).await?;
        *self.inner.holds_heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(mono_now());
        Ok(())
    }
}
