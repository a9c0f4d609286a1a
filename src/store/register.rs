//! Declarations and bookings over restarts. What they mean is in `customs/register.rs`.

use sqlx::{Connection, SqliteConnection};

use super::{Store, StoreError};
use crate::clock::UtcMillis;
use crate::customs::register::{Fact, Outcome};
use crate::customs::{Booking, Declaration};

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
        let mut writer = self.inner.writer.lock().await;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        for (fact, outcome) in facts {
            let state = match outcome {
                Outcome::Applied => "current",
                Outcome::Stale { .. } => "stale",
                Outcome::Conflict => "conflict",
                Outcome::Duplicate => continue,
            };
            self.save_fact(&mut tx, fact, state, now).await?;
        }
        if let Some(heard) = heard {
            let feed = sqlx::query("UPDATE meta SET last_feed_ms = ?").bind(heard.0);
            feed.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        }
        tx.commit().await.map_err(|e| self.sql(e))
    }

    async fn save_fact(
        &self,
        tx: &mut SqliteConnection,
        fact: &Fact,
        state: &str,
        heard: UtcMillis,
    ) -> Result<(), StoreError> {
        let (kind, key, version, body) = match fact {
            Fact::Declaration(d) => ("declaration", &d.key().0, d.version, self.to_json(d)?),
            Fact::Booking(b) => ("booking", &b.id, b.version, self.to_json(b)?),
        };
        if state == "current" {
            let old = "UPDATE fact SET state = 'superseded' WHERE kind = ? AND key = ? AND state = 'current'";
            sqlx::query(old).bind(kind).bind(key).execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        }
        let insert = "INSERT OR IGNORE INTO fact (kind, key, version, state, body, heard_ms) VALUES (?, ?, ?, ?, ?, ?)";
        let insert = sqlx::query(insert).bind(kind).bind(key).bind(version).bind(state).bind(body).bind(heard.0);
        insert.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        Ok(())
    }

    /// The facts in force and when the feed was last heard, for [`crate::customs::Register::restore`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn load_register(&self) -> Result<(Vec<Fact>, Option<UtcMillis>), StoreError> {
        let select = "SELECT kind, body FROM fact WHERE state = 'current' ORDER BY id";
        let rows: Vec<(String, String)> =
            sqlx::query_as(select).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let mut facts = Vec::with_capacity(rows.len());
        for (kind, body) in rows {
            match read_fact(&kind, body.as_bytes()) {
                Ok(fact) => facts.push(fact),
                // One row an older version wrote must not keep the box from starting.
                Err(why) => {
                    tracing::error!(kind, why, "a recorded fact of the clearance side cannot be read, left out")
                }
            }
        }
        let feed = sqlx::query_scalar("SELECT last_feed_ms FROM meta");
        let last: Option<i64> = feed.fetch_one(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok((facts, last.map(UtcMillis)))
    }

    /// Forgets what no event to come can be about: bookings that ended before `bookings_before`, and declarations not
    /// heard of since `declarations_before` that no booking left names. Returns how many.
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
        let gone = self.execute(sqlx::query(bookings).bind(bookings_before.0)).await?;
        let declarations = "DELETE FROM fact WHERE kind = 'declaration' AND state = 'current' AND heard_ms < ?
                            AND key NOT IN (SELECT substr(k.value, 1, 11) FROM fact b, json_each(b.body, '$.decl_keys') k
                                            WHERE b.kind = 'booking' AND b.state = 'current')";
        Ok(gone + self.execute(sqlx::query(declarations).bind(declarations_before.0)).await?)
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

fn read_fact(kind: &str, body: &[u8]) -> Result<Fact, String> {
    let fact = match kind {
        "declaration" => Declaration::from_json(body).map(|p| Fact::Declaration(p.value)),
        _ => Booking::from_json(body).map(|p| Fact::Booking(p.value)),
    };
    fact.map_err(|e| e.to_string())
}
