//! Facts over restarts, and found again by what they name. What they mean is in `customs/`.

use sqlx::{Connection, SqliteConnection};

use super::{Store, StoreError};
use crate::clock::UtcMillis;
use crate::customs::register::{Fact, FactKind, Outcome};

/// Facts of one kind that are read back at a start, at most: the newest. Somewhat more than the register holds.
const MAX_LOADED: i64 = 60_000;
/// Visits that ended, and readings, are of no use to events to come after this, milliseconds; searches find them in the
/// store.
const LIVE_MS: i64 = 72 * 3_600_000;
const DAY_MS: i64 = 86_400_000;

impl Store {
    /// Keeps facts with what the register made of them, in one transaction. Stale and conflicting ones are kept beside
    /// the one in force. `heard` is the feed's last word from now on, if given.
    ///
    /// # Errors
    /// When the database cannot be written; then none is kept.
    pub async fn save_facts(
        &self,
        facts: &[(Fact, Outcome)],
        now: UtcMillis,
        heard: Option<UtcMillis>,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        for (fact, outcome) in facts {
            let state = match outcome {
                Outcome::Applied => "current",
                Outcome::Stale { .. } => "stale",
                Outcome::Conflict => "conflict",
                Outcome::Duplicate => {
                    self.heard_again(&mut tx, fact, now).await?;
                    continue;
                }
            };
            self.save_fact(&mut tx, fact, state, now).await?;
        }
        if let Some(heard) = heard {
            let feed = sqlx::query("UPDATE meta SET last_feed_ms = ?").bind(heard.0);
            feed.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        }
        tx.commit().await.map_err(|e| self.sql(e))
    }

    /// A fact that is repeated is not forgotten. Noted once a day: a feed may repeat all it has every minute.
    async fn heard_again(&self, tx: &mut SqliteConnection, fact: &Fact, heard: UtcMillis) -> Result<(), StoreError> {
        let update = "UPDATE fact SET heard_ms = ? WHERE kind = ? AND key = ? AND state = 'current' AND heard_ms < ?";
        let update = sqlx::query(update).bind(heard.0).bind(fact.kind().as_str()).bind(fact.key());
        update.bind(heard.plus_ms(-DAY_MS).0).execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        Ok(())
    }

    async fn save_fact(
        &self,
        tx: &mut SqliteConnection,
        fact: &Fact,
        state: &str,
        heard: UtcMillis,
    ) -> Result<(), StoreError> {
        let (kind, key, body) = (fact.kind().as_str(), fact.key(), self.to_json(&fact.to_value())?);
        if state == "current" {
            let old = "UPDATE fact SET state = 'superseded' WHERE kind = ? AND key = ? AND state = 'current'";
            sqlx::query(old).bind(kind).bind(key).execute(&mut *tx).await.map_err(|e| self.sql(e))?;
            self.save_handles(tx, fact).await?;
        }
        let insert = "INSERT OR IGNORE INTO fact (kind, key, version, state, body, heard_ms) VALUES (?, ?, ?, ?, ?, ?)";
        let insert = sqlx::query(insert).bind(kind).bind(key).bind(fact.version()).bind(state).bind(body).bind(heard.0);
        insert.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        Ok(())
    }

    async fn save_handles(&self, tx: &mut SqliteConnection, fact: &Fact) -> Result<(), StoreError> {
        let (kind, key) = (fact.kind().as_str(), fact.key());
        let old = sqlx::query("DELETE FROM fact_handle WHERE kind = ? AND key = ?").bind(kind).bind(key);
        old.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        for handle in fact.handles() {
            let insert = sqlx::query("INSERT OR IGNORE INTO fact_handle (handle, kind, key) VALUES (?, ?, ?)");
            insert.bind(handle).bind(kind).bind(key).execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        }
        Ok(())
    }

    /// The facts in force and when the feed was last heard, for [`crate::customs::Register::restore`]. Of each kind the
    /// newest that fit into memory, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn load_register(&self) -> Result<(Vec<Fact>, Option<UtcMillis>), StoreError> {
        let mut facts = Vec::new();
        let recent = crate::clock::utc_now().plus_ms(-LIVE_MS);
        for kind in FactKind::ALL {
            let since = if kind == FactKind::Observation { recent.0 } else { 0 };
            let select = "SELECT body FROM (SELECT id, body FROM fact WHERE kind = ? AND state = 'current' AND
                          heard_ms >= ? ORDER BY id DESC LIMIT ?) ORDER BY id";
            let select = sqlx::query_scalar(select).bind(kind.as_str()).bind(since).bind(MAX_LOADED);
            let rows: Vec<String> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
            facts.extend(rows.iter().filter_map(|body| read_fact(kind, body)));
        }
        let feed = sqlx::query_scalar("SELECT last_feed_ms FROM meta");
        let last: Option<i64> = feed.fetch_one(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok((facts, last.map(UtcMillis)))
    }

    /// Facts in force of one kind that can be found by any of these handles, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn facts_by(&self, kind: FactKind, handles: &[String], limit: i64) -> Result<Vec<Fact>, StoreError> {
        let select = "SELECT f.body FROM fact f WHERE f.kind = ?1 AND f.state = 'current' AND f.key IN
                      (SELECT h.key FROM fact_handle h WHERE h.kind = ?1 AND h.handle IN (SELECT value FROM json_each(?2)))
                      ORDER BY f.id DESC LIMIT ?3";
        let select = sqlx::query_scalar(select).bind(kind.as_str()).bind(self.to_json(&handles)?).bind(limit);
        let rows: Vec<String> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(rows.iter().filter_map(|body| read_fact(kind, body)).collect())
    }

    /// Every version of one fact with what became of it, oldest first: nothing is overwritten.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn fact_history(
        &self,
        kind: FactKind,
        key: &str,
    ) -> Result<Vec<(String, serde_json::Value)>, StoreError> {
        let select = sqlx::query_as("SELECT state, body FROM fact WHERE kind = ? AND key = ? ORDER BY id");
        let rows: Vec<(String, String)> =
            select.bind(kind.as_str()).bind(key).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(rows.into_iter().map(|(state, body)| (state, serde_json::from_str(&body).unwrap_or_default())).collect())
    }

    /// Forgets what no event to come can be about: bookings that ended before `bookings_before`, visits and readings of
    /// before then, and declarations not heard of since `declarations_before` that no booking left and no stop order names. Tips,
    /// bindings and stop orders stay as long as declarations; those that end later stay until then, and stop orders without an end
    /// until somebody ends them: goods may stand for years. Returns how many.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn prune_facts(
        &self,
        bookings_before: UtcMillis,
        declarations_before: UtcMillis,
    ) -> Result<u64, StoreError> {
        let bookings = "DELETE FROM fact WHERE kind = 'booking' AND state = 'current' AND heard_ms < ?1
                        AND unixepoch(json_extract(body, '$.end')) * 1000 < ?1";
        let mut gone = self.execute(sqlx::query(bookings).bind(bookings_before.0)).await?;
        let seen = "DELETE FROM fact WHERE kind IN ('visit', 'observation') AND state = 'current' AND heard_ms < ?";
        gone += self.execute(sqlx::query(seen).bind(bookings_before.0)).await?;
        let said = "DELETE FROM fact WHERE kind IN ('tip', 'stop', 'bind') AND state = 'current' AND heard_ms < ?1
                    AND NOT (kind = 'stop' AND coalesce(unixepoch(json_extract(body, '$.to')) * 1000, ?1) >= ?1)
                    AND NOT (kind = 'tip' AND coalesce(unixepoch(json_extract(body, '$.expires_at')) * 1000, 0) >= ?1)";
        gone += self.execute(sqlx::query(said).bind(declarations_before.0)).await?;
        let declarations = "DELETE FROM fact WHERE kind = 'declaration' AND state = 'current' AND heard_ms < ?
                            AND key NOT IN (SELECT substr(k.value, 1, 11) FROM fact b, json_each(b.body, '$.decl_keys') k
                                            WHERE b.kind = 'booking' AND b.state = 'current')
                            AND key NOT IN (SELECT substr(json_extract(s.body, '$.decl_no'), 1, 11) FROM fact s
                                            WHERE s.kind = 'stop' AND s.state = 'current')";
        gone += self.execute(sqlx::query(declarations).bind(declarations_before.0)).await?;
        let handles = "DELETE FROM fact_handle WHERE NOT EXISTS (SELECT 1 FROM fact f WHERE f.kind = fact_handle.kind
                       AND f.key = fact_handle.key AND f.state = 'current')";
        if gone > 0 {
            self.execute(sqlx::query(handles)).await?;
        }
        Ok(gone)
    }

    /// Bodies of the facts that contradicted one in force with the same version, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn conflicts(&self) -> Result<Vec<String>, StoreError> {
        let select = sqlx::query_scalar("SELECT body FROM fact WHERE state = 'conflict' ORDER BY id");
        select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))
    }
}

/// One row an older version wrote must not keep the box from starting.
fn read_fact(kind: FactKind, body: &str) -> Option<Fact> {
    match Fact::from_json(kind, body.as_bytes()) {
        Ok(parsed) => Some(parsed.value),
        Err(why) => {
            tracing::error!(kind = kind.as_str(), %why, "a recorded fact of the clearance side cannot be read, left out");
            None
        }
    }
}
