//! The outbox as delivery sees it: what to send next, and what became of it.

use std::path::PathBuf;
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
    payload: Option<String>,
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
        // `+ 0`: SQLite plans a statement anew for every value of a bare `LIMIT ?`, which cost a fifth of its time here.
        let select =
            "SELECT o.id, o.lane, o.seq, o.part, o.replay, m.event_id, m.severity, m.subject, m.best_ms, m.topic,
                      p.topic AS snapshot_topic, p.annotated_path, CASE WHEN o.part = 1 THEN m.payload END AS payload
                      FROM outbox o JOIN message m ON m.seq = o.seq LEFT JOIN picture p ON p.seq = o.seq
                      WHERE o.id NOT IN (SELECT value FROM json_each(?)) ORDER BY o.lane, o.id LIMIT ? + 0";
        let select = sqlx::query_as(select).bind(self.to_json(&in_flight)?);
        let select = select.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows: Vec<Row> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let pictures = self.pictures_of(&rows).await;
        let mut out = Vec::with_capacity(rows.len());
        for (mut row, picture) in rows.into_iter().zip(pictures) {
            let age_ms = utc_now().since(UtcMillis(row.best_ms));
            let historical = row.replay || age_ms > self.inner.options.live_limit_ms;
            let payload = match picture {
                None => self.message_bytes(row.seq, row.payload.take().unwrap_or_default(), historical)?,
                Some(Ok(bytes)) => bytes.into(),
                Some(Err(why)) => {
                    self.undeliverable(row.id, &why).await?;
                    continue;
                }
            };
            out.push(item(row, payload, historical));
        }
        Ok(out)
    }

    /// What the files of those rows hold that are pictures, or why one cannot be read. All in one go off the runtime: a
    /// hand-over to another thread costs more than reading a picture does.
    async fn pictures_of(&self, rows: &[Row]) -> Vec<Option<Result<Vec<u8>, String>>> {
        let wanted = |row: &Row| (row.part == 0).then(|| row.annotated_path.as_ref().map(|path| self.dir().join(path)));
        let paths: Vec<Option<Option<PathBuf>>> = rows.iter().map(wanted).collect();
        let none = paths.iter().all(Option::is_none);
        let read = move || {
            let one = |path: Option<PathBuf>| {
                let path = path.ok_or_else(|| "its picture was pruned".to_owned())?;
                std::fs::read(&path).map_err(|e| format!("picture file {} cannot be read: {e}", path.display()))
            };
            paths.into_iter().map(|path| path.map(one)).collect()
        };
        if none {
            return read();
        }
        tokio::task::spawn_blocking(read).await.expect("reading a file does not panic")
    }

    fn message_bytes(&self, seq: i64, text: String, historical: bool) -> Result<Bytes, StoreError> {
        if !historical {
            return Ok(text.into());
        }
        let mut json: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| self.content(format!("message {seq}: {e}")))?;
        json["data"]["sequence"]["historical"] = true.into();
        Ok(self.to_json(&json)?.into())
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
        let take = "DELETE FROM outbox WHERE id IN (SELECT value FROM json_each(?)) RETURNING seq, part";
        let take = sqlx::query_as(take).bind(self.to_json(&ids)?);
        let taken: Vec<(i64, i64)> = take.fetch_all(&mut *tx).await.map_err(|e| self.sql(e))?;
        let whole = taken.into_iter().filter(|(_, part)| *part == 1);
        let done: Vec<(i64, Option<(i64, i64)>)> = whole.map(|(seq, _)| (seq, self.timing(seq))).collect();
        let mark = "UPDATE message SET acked_ms = COALESCE(acked_ms, ?1),
                    frame_to_stored_ms = COALESCE(frame_to_stored_ms, d.value ->> '$[1][0]'),
                    frame_to_acked_ms = COALESCE(frame_to_acked_ms, d.value ->> '$[1][1]')
                    FROM json_each(?2) d WHERE message.seq = d.value ->> '$[0]'";
        let mark = sqlx::query(mark).bind(acked_at.0).bind(self.to_json(&done)?);
        mark.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        tx.commit().await.map_err(|e| self.sql(e))?;
        let mut timing = self.inner.timing.lock().unwrap_or_else(PoisonError::into_inner);
        for (seq, _) in done {
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
    /// One that this version cannot read is named in the log and no longer held open: it ended here when it was last written.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open_events(&self) -> Result<Vec<EventMessage>, StoreError> {
        let select = "SELECT o.event_id, m.payload, m.recorded_ms FROM open_event o JOIN message m ON m.seq = o.seq
                      ORDER BY o.seq";
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as(select).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let mut open = Vec::with_capacity(rows.len());
        for (event, payload, recorded_ms) in rows {
            match self.read_event(&payload) {
                Ok(message) => open.push(message),
                Err(error) => {
                    tracing::error!(event, %error, "an open event of another version cannot be ended");
                    // Else its area would be one in which something goes on for ever.
                    let end = "UPDATE event_place SET end_ms = MAX(start_ms, ?) WHERE event_id = ? AND end_ms IS NULL";
                    self.execute(sqlx::query(end).bind(recorded_ms).bind(&event)).await?;
                    self.execute(sqlx::query("DELETE FROM open_event WHERE event_id = ?").bind(event)).await?;
                }
            }
        }
        Ok(open)
    }
}

fn item(row: Row, payload: Bytes, historical: bool) -> OutboxItem {
    let mut user_properties = vec![
        ("event_id".to_owned(), row.event_id),
        ("sev".to_owned(), row.severity.to_string()),
        ("subject".to_owned(), row.subject),
    ];
    if historical {
        user_properties.push(("historical".to_owned(), "true".to_owned()));
    }
    let (part, topic, content_type) = if row.part == 0 {
        (Part::Picture, row.snapshot_topic.unwrap_or_default(), "image/jpeg")
    } else {
        (Part::Message, row.topic, "application/cloudevents+json")
    };
    OutboxItem { id: row.id, lane: row.lane, seq: row.seq, part, topic, payload, content_type, user_properties }
}
