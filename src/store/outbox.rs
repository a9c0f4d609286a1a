//! The outbox as delivery sees it: what to send next, and what became of it.

use std::sync::PoisonError;

use bytes::Bytes;
use sqlx::Connection;

use super::{Store, StoreError};
use crate::clock::{UtcMillis, mono_now, utc_now};
use crate::event::EventMessage;

/// Which half of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The annotated picture; before its message.
    Picture,
    /// The JSON.
    Message,
}

/// One thing to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxItem {
    /// Row; smaller is older.
    pub id: i64,
    /// 0 first.
    pub lane: u8,
    /// Sequence number of its message.
    pub seq: i64,
    /// Which half.
    pub part: Part,
    /// Full topic.
    pub topic: String,
    /// Body.
    pub payload: Bytes,
    /// MQTT content type.
    pub content_type: &'static str,
    /// MQTT user properties: `event_id`, `sev`, `subject`, `historical`.
    pub user_properties: Vec<(String, String)>,
}

/// How full the outbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxStats {
    /// Things to publish: messages and pictures.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Age of the oldest, milliseconds.
    pub oldest_age_ms: Option<i64>,
    /// Messages dropped since start because it was full.
    pub dropped: u64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    lane: u8,
    seq: i64,
    part: i64,
    replay: bool,
    event_id: String,
    severity: u8,
    subject: String,
    best_ms: i64,
    topic: String,
    snapshot_topic: Option<String>,
    annotated_path: Option<String>,
}

impl Store {
    /// At most `limit` things to publish, lowest lane first, oldest first within a lane, without those in `in_flight`.
    /// What cannot be read (a picture file that is gone or on a bad sector) is refused here and not returned, so that
    /// it holds nothing up; fewer than `limit` then does not mean that the outbox is empty, and
    /// [`Store::wait_for_work`] resolves.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn outbox_next(&self, limit: usize, in_flight: &[i64]) -> Result<Vec<OutboxItem>, StoreError> {
        let select =
            "SELECT o.id, o.lane, o.seq, o.part, o.replay, m.event_id, m.severity, m.subject, m.best_ms, m.topic,
                      p.topic AS snapshot_topic, p.annotated_path
                      FROM outbox o JOIN message m ON m.seq = o.seq LEFT JOIN picture p ON p.seq = o.seq
                      WHERE o.id NOT IN (SELECT value FROM json_each(?)) ORDER BY o.lane, o.id LIMIT ?";
        let select = sqlx::query_as(select).bind(self.to_json(&in_flight)?);
        let select = select.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows: Vec<Row> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(item) = self.item(row).await? {
                out.push(item);
            }
        }
        Ok(out)
    }

    async fn item(&self, row: Row) -> Result<Option<OutboxItem>, StoreError> {
        let historical = row.replay || utc_now().since(UtcMillis(row.best_ms)) > self.inner.options.live_limit_ms;
        let part = if row.part == 0 { Part::Picture } else { Part::Message };
        let payload = match part {
            Part::Picture => self.picture_bytes(&row).await?,
            Part::Message => self.message_bytes(row.seq, historical).await?,
        };
        let Some(payload) = payload else { return Ok(None) };
        let mut user_properties = vec![
            ("event_id".to_owned(), row.event_id),
            ("sev".to_owned(), row.severity.to_string()),
            ("subject".to_owned(), row.subject),
        ];
        if historical {
            user_properties.push(("historical".to_owned(), "true".to_owned()));
        }
        let (topic, content_type) = match part {
            Part::Picture => (row.snapshot_topic.unwrap_or_default(), "image/jpeg"),
            Part::Message => (row.topic, "application/cloudevents+json"),
        };
        Ok(Some(OutboxItem {
            id: row.id,
            lane: row.lane,
            seq: row.seq,
            part,
            topic,
            payload,
            content_type,
            user_properties,
        }))
    }

    async fn picture_bytes(&self, row: &Row) -> Result<Option<Bytes>, StoreError> {
        let Some(relative) = &row.annotated_path else {
            self.undeliverable(row.id, "its picture was pruned").await?;
            return Ok(None);
        };
        let path = self.dir().join(relative);
        match tokio::fs::read(&path).await {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(e) => {
                let why = format!("picture file {} cannot be read: {e}", path.display());
                self.undeliverable(row.id, &why).await?;
                Ok(None)
            }
        }
    }

    async fn message_bytes(&self, seq: i64, historical: bool) -> Result<Option<Bytes>, StoreError> {
        let find = sqlx::query_scalar("SELECT payload FROM message WHERE seq = ?").bind(seq);
        let text: Option<String> = find.fetch_optional(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let Some(text) = text else { return Ok(None) };
        if !historical {
            return Ok(Some(text.into()));
        }
        let mut json: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| self.content(format!("message {seq}: {e}")))?;
        json["data"]["sequence"]["historical"] = true.into();
        Ok(Some(self.to_json(&json)?.into()))
    }

    /// The broker acknowledged these. Idempotent.
    ///
    /// # Errors
    /// When the database cannot be written; then none is marked.
    pub async fn mark_delivered(&self, ids: &[i64], acked_at: UtcMillis) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let mut done = Vec::with_capacity(ids.len());
        for id in ids {
            let take = sqlx::query_as("DELETE FROM outbox WHERE id = ? RETURNING seq, part").bind(id);
            let taken: Option<(i64, i64)> = take.fetch_optional(&mut *tx).await.map_err(|e| self.sql(e))?;
            let Some((seq, 1)) = taken else { continue };
            let timing = self.timing(seq);
            let mark = "UPDATE message SET acked_ms = COALESCE(acked_ms, ?2),
                        frame_to_stored_ms = COALESCE(frame_to_stored_ms, ?3),
                        frame_to_acked_ms = COALESCE(frame_to_acked_ms, ?4) WHERE seq = ?1";
            sqlx::query(mark)
                .bind(seq)
                .bind(acked_at.0)
                .bind(timing.map(|t| t.0))
                .bind(timing.map(|t| t.1))
                .execute(&mut *tx)
                .await
                .map_err(|e| self.sql(e))?;
            done.push(seq);
        }
        tx.commit().await.map_err(|e| self.sql(e))?;
        let mut timing = self.inner.timing.lock().unwrap_or_else(PoisonError::into_inner);
        for seq in done {
            timing.remove(&seq);
        }
        Ok(())
    }

    /// Milliseconds from frame to stored and from frame to now.
    pub(super) fn timing(&self, seq: i64) -> Option<(i64, i64)> {
        let timing = self.inner.timing.lock().unwrap_or_else(PoisonError::into_inner);
        timing.get(&seq).map(|t| (t.stored_ms, mono_now().since(t.received)))
    }

    /// This one can never be sent: takes it out of the outbox, keeps the reason, and says so to the receivers. The
    /// message itself stays.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn undeliverable(&self, id: i64, why: &str) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let take = sqlx::query_as("DELETE FROM outbox WHERE id = ? RETURNING lane, seq, part, bytes").bind(id);
        let taken: Option<(u8, i64, i64, i64)> = take.fetch_optional(&mut *tx).await.map_err(|e| self.sql(e))?;
        if let Some((lane, seq, part, bytes)) = taken {
            let keep = sqlx::query("INSERT OR REPLACE INTO refused (seq, part, at_ms, why) VALUES (?, ?, ?, ?)");
            let keep = keep.bind(seq).bind(part).bind(utc_now().0).bind(why);
            keep.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
            metrics::counter!("gatewatch_outbox_refused_total").increment(1);
            tracing::error!(seq, part, why, "a message can never be sent, taken out of the outbox");
            self.report_missing(&mut tx, lane, seq, (part, bytes)).await?;
        }
        tx.commit().await.map_err(|e| self.sql(e))?;
        self.inner.work.notify_one();
        Ok(())
    }

    /// Resolves when there may be new work. May resolve too often; never misses work added after the last call of
    /// [`Store::outbox_next`]. For one waiter.
    pub async fn wait_for_work(&self) {
        self.inner.work.notified().await;
    }

    /// How full the outbox is.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        let select = "SELECT outbox_rows, outbox_bytes,
                      (SELECT MIN(queued_ms) FROM (SELECT queued_ms FROM outbox ORDER BY id LIMIT 1)) FROM meta";
        let (rows, bytes, oldest): (i64, i64, Option<i64>) =
            sqlx::query_as(select).fetch_one(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(OutboxStats {
            rows: u64::try_from(rows).unwrap_or(0),
            bytes: u64::try_from(bytes).unwrap_or(0),
            oldest_age_ms: oldest.map(|t| utc_now().since(UtcMillis(t)).max(0)),
            dropped: self.inner.dropped.load(std::sync::atomic::Ordering::Relaxed),
        })
    }

    /// Latest message of every event that has begun and not ended, oldest first: for closing them after a restart.
    /// One that this version cannot read is named in the log and no longer held open.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open_events(&self) -> Result<Vec<EventMessage>, StoreError> {
        let select = "SELECT o.event_id, m.payload FROM open_event o JOIN message m ON m.seq = o.seq ORDER BY o.seq";
        let rows: Vec<(String, String)> =
            sqlx::query_as(select).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let mut open = Vec::with_capacity(rows.len());
        for (event, payload) in rows {
            match self.read_event(&payload) {
                Ok(message) => open.push(message),
                Err(error) => {
                    tracing::error!(event, %error, "an open event of another version cannot be ended");
                    self.execute(sqlx::query("DELETE FROM open_event WHERE event_id = ?").bind(event)).await?;
                }
            }
        }
        Ok(open)
    }
}
