//! Recording: pictures to disk, then message, open event and outbox in one transaction.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, SqliteConnection};

use super::{LANE_CRITICAL, Store, StoreError, Timing, pictures};
use crate::clock::{MonoMillis, UtcMillis, mono_now, utc_now};
use crate::event::message::{Sequence, SnapshotRef};
use crate::event::{EventData, EventMessage};
use crate::evidence::chain::Kind;
use crate::rules::Phase;
use crate::telemetry::metrics::{FRAME_TO_STORED, OUTBOX_DROPPED};

/// Timings kept for messages that are not acknowledged yet, at most; beyond it no figure is kept for new ones.
const MAX_TIMINGS: usize = 100_000;
/// Messages named in one `outbox_dropped` message, at most, so that it stays small; more make several of them.
const MAX_DROPPED_PER_REPORT: usize = 1000;

/// CloudEvents type of the report about what was dropped; such a report is never dropped itself.
const OUTBOX_DROPPED_KIND: &str = "gatewatch.alert.outbox_dropped.v1";

/// The two pictures of a message, JPEG.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// As the camera gave it; stays on the box.
    pub clean: Bytes,
    /// With boxes and names; published.
    pub annotated: Bytes,
}

/// A message to record.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Complete but for `sequence` and, when `pictures` is there, `snapshot`. Without pictures `snapshot` stays as given.
    pub event: EventMessage,
    /// To keep and publish.
    pub pictures: Option<Pictures>,
    /// Topic of the message.
    pub topic: String,
    /// Topic of the annotated picture.
    pub snapshot_topic: String,
    /// 0 = first; see the `LANE_` constants.
    pub lane: u8,
    /// When the frame had been received, for the latency figures.
    pub received: Option<MonoMillis>,
}

/// A recorded message.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its place in the stream.
    pub sequence: Sequence,
    /// The message as recorded, with sequence and snapshot.
    pub event: EventMessage,
}

/// CloudEvents message: what was dropped from the outbox because it was full, or can never be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OutboxDropped {
    /// Always `1.0`.
    pub specversion: String,
    /// ULID.
    pub id: String,
    /// `/office/{office}/box/{box}`.
    pub source: String,
    /// Always `gatewatch.alert.outbox_dropped.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Always `outbox`.
    pub subject: String,
    /// When.
    pub time: UtcMillis,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// What.
    pub data: DroppedData,
}

/// What was dropped. The messages themselves stay on the box: `cmd/resync` with the ranges brings them back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DroppedData {
    /// Always 3: a person must know.
    pub severity: u8,
    /// Office code.
    pub office: String,
    /// Box id.
    #[serde(rename = "box")]
    pub box_id: String,
    /// Messages not sent.
    pub messages: u64,
    /// Pictures not sent.
    pub pictures: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// By lane, lowest priority first.
    pub lanes: Vec<DroppedLane>,
    /// The limit that was reached, bytes.
    pub outbox_max_bytes: u64,
    /// Place of this message in the stream.
    pub sequence: Sequence,
}

/// What one lane lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DroppedLane {
    /// Lane.
    pub lane: u8,
    /// First and last sequence numbers of unbroken runs.
    pub seq_ranges: Vec<(i64, i64)>,
}

impl Store {
    /// Records one message. When it returns, message and pictures survive a power cut. Recording the same event id
    /// and revision again gives the first record back, so a failed call may be repeated.
    ///
    /// # Errors
    /// When the disk is full or refuses; then nothing was recorded and no sequence number used.
    pub async fn record(&self, message: NewMessage) -> Result<Recorded, StoreError> {
        let mut out = self.record_all(vec![message]).await?;
        Ok(out.pop().expect("one in, one out"))
    }

    /// Records several messages in one transaction: one wait for the disk's commit instead of many. All or none.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub async fn record_all(&self, messages: Vec<NewMessage>) -> Result<Vec<Recorded>, StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let mut out = Vec::with_capacity(messages.len());
        let mut received = Vec::with_capacity(messages.len());
        for message in messages {
            received.push(message.received);
            out.push(self.record_in(&mut tx, message).await?);
        }
        self.enforce_bound(&mut tx).await?;
        tx.commit().await.map_err(|e| self.sql(e))?;
        drop(writer);
        self.note_timings(&out, &received);
        self.inner.work.notify_one();
        Ok(out)
    }

    async fn record_in(&self, tx: &mut SqliteConnection, m: NewMessage) -> Result<Recorded, StoreError> {
        if let Some(known) = self.already_recorded(tx, &m.event).await? {
            return Ok(known);
        }
        let mut event = m.event;
        let written = match m.pictures {
            Some(p) => Some(self.write_pictures(&mut event, p, m.snapshot_topic).await?),
            None => None,
        };
        let seq = self.next_seq(tx).await?;
        event.data.sequence = Sequence { epoch: self.inner.epoch, seq, historical: false };
        let payload = self.to_json(&event)?;
        let id = event.id.to_string();
        self.insert_message(tx, &MessageRow::of(&event, &id, &m.topic, &payload)).await?;
        if let Some((clean, annotated)) = written {
            self.insert_picture(tx, &event, &clean, &annotated).await?;
            let bytes = event.data.snapshot.as_ref().map_or(0, |s| s.bytes);
            self.queue(tx, seq, 0, m.lane, i64::try_from(bytes).unwrap_or(i64::MAX)).await?;
        }
        self.queue(tx, seq, 1, m.lane, i64::try_from(payload.len()).unwrap_or(i64::MAX)).await?;
        self.set_open(tx, &event).await?;
        self.keep_footage(tx, &event).await?;
        self.trace_event(tx, &event).await?;
        Ok(Recorded { sequence: event.data.sequence, event })
    }

    async fn already_recorded(
        &self,
        tx: &mut SqliteConnection,
        event: &EventMessage,
    ) -> Result<Option<Recorded>, StoreError> {
        let find = "SELECT payload FROM message WHERE event_id = ? AND revision = ?";
        let find = sqlx::query_scalar(find).bind(event.id.to_string()).bind(event.data.revision);
        let known: Option<String> = find.fetch_optional(tx).await.map_err(|e| self.sql(e))?;
        known
            .map(|payload| {
                let event = self.read_event(&payload)?;
                Ok(Recorded { sequence: event.data.sequence, event })
            })
            .transpose()
    }

    async fn write_pictures(
        &self,
        event: &mut EventMessage,
        p: Pictures,
        topic: String,
    ) -> Result<(pictures::Written, pictures::Written), StoreError> {
        let (dir, at) = (self.dir().to_owned(), event.data.capture.best);
        let stem = format!("{}-{}", event.id, event.data.revision);
        let bytes = p.annotated.len() as u64;
        let write = move || {
            let files =
                [(format!("{stem}-clean.jpg"), &p.clean[..]), (format!("{stem}-annotated.jpg"), &p.annotated[..])];
            pictures::write_all(&dir, at, &files)
        };
        // Waiting for the disk must not hold up the sockets.
        let written = tokio::task::spawn_blocking(write).await.expect("writing files does not panic")?;
        let [clean, annotated] = <[_; 2]>::try_from(written).unwrap_or_else(|_| unreachable!("two in, two out"));
        event.data.snapshot =
            Some(SnapshotRef { topic, sha256: annotated.sha256.clone(), bytes, clean_sha256: clean.sha256.clone() });
        event.data.snapshot_missing = None;
        Ok((clean, annotated))
    }

    pub(super) async fn next_seq(&self, tx: &mut SqliteConnection) -> Result<i64, StoreError> {
        let next = sqlx::query_scalar("UPDATE meta SET last_seq = last_seq + 1 RETURNING last_seq");
        next.fetch_one(tx).await.map_err(|e| self.sql(e))
    }

    /// The one place where messages are written down, and chained.
    pub(super) async fn insert_message(&self, tx: &mut SqliteConnection, m: &MessageRow<'_>) -> Result<(), StoreError> {
        let of = m.of_event.as_ref();
        let insert =
            "INSERT INTO message (seq, event_id, revision, kind, subject, severity, rule, phase, verdict, method,
                      topic, payload, best_ms, recorded_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(insert)
            .bind(m.seq)
            .bind(m.event_id)
            .bind(m.revision)
            .bind(m.kind)
            .bind(m.subject)
            .bind(m.severity)
            .bind(of.map(|d| d.rule.as_str()))
            .bind(of.and_then(|d| name_of(&d.phase)))
            .bind(of.and_then(|d| name_of(&d.link.verdict)))
            .bind(of.and_then(|d| d.link.links.first()).map(|l| l.method.as_str()))
            .bind(m.topic)
            .bind(m.payload)
            .bind(m.best.0)
            .bind(utc_now().0)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        self.chain_append(tx, Kind::Message, &format!("{}/{}", m.event_id, m.revision), m.payload).await?;
        Ok(())
    }

    async fn insert_picture(
        &self,
        tx: &mut SqliteConnection,
        event: &EventMessage,
        clean: &pictures::Written,
        annotated: &pictures::Written,
    ) -> Result<(), StoreError> {
        let snapshot = event.data.snapshot.as_ref().expect("set when the pictures were written");
        let insert =
            "INSERT INTO picture (seq, best_ms, topic, clean_path, clean_sha256, annotated_path, annotated_sha256,
                      annotated_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(insert)
            .bind(event.data.sequence.seq)
            .bind(event.data.capture.best.0)
            .bind(&snapshot.topic)
            .bind(&clean.path)
            .bind(&clean.sha256)
            .bind(&annotated.path)
            .bind(&annotated.sha256)
            .bind(i64::try_from(snapshot.bytes).unwrap_or(i64::MAX))
            .execute(tx)
            .await
            .map_err(|e| self.sql(e))?;
        Ok(())
    }

    pub(super) async fn queue(
        &self,
        tx: &mut SqliteConnection,
        seq: i64,
        part: i64,
        lane: u8,
        bytes: i64,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO outbox (seq, part, lane, bytes, queued_ms, replay) VALUES (?, ?, ?, ?, ?, 0)";
        let insert = sqlx::query(insert).bind(seq).bind(part).bind(lane).bind(bytes).bind(utc_now().0);
        insert.execute(tx).await.map_err(|e| self.sql(e))?;
        Ok(())
    }

    /// An event is open from its first message until one with an end; an instant never is.
    async fn set_open(&self, tx: &mut SqliteConnection, event: &EventMessage) -> Result<(), StoreError> {
        let open = event.data.phase != Phase::End && event.data.capture.end.is_none();
        let change = if open {
            "INSERT INTO open_event (event_id, seq) VALUES (?1, ?2) ON CONFLICT (event_id) DO UPDATE SET seq = ?2"
        } else {
            "DELETE FROM open_event WHERE event_id = ?1 AND ?2 > 0"
        };
        let change = sqlx::query(change).bind(event.id.to_string()).bind(event.data.sequence.seq);
        change.execute(tx).await.map_err(|e| self.sql(e))?;
        Ok(())
    }

    /// Makes room when the outbox is over its bound: down to 95 % of it, so that one report covers many messages.
    pub(super) async fn enforce_bound(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let max = self.inner.options.config.outbox_max_bytes;
        let goal = i64::try_from(max - max / 20).unwrap_or(i64::MAX);
        if self.outbox_bytes(tx).await? <= i64::try_from(max).unwrap_or(i64::MAX) {
            return Ok(());
        }
        loop {
            let dropped = self.drop_until(tx, goal).await?;
            if dropped.is_empty() {
                return Ok(());
            }
            self.report_dropped(tx, &dropped).await?;
        }
    }

    async fn outbox_bytes(&self, tx: &mut SqliteConnection) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT outbox_bytes FROM meta").fetch_one(tx).await.map_err(|e| self.sql(e))
    }

    /// Takes out whole messages (with their pictures) until the goal or the limit of a report is reached. Reports
    /// about earlier drops are never dropped.
    async fn drop_until(&self, tx: &mut SqliteConnection, goal: i64) -> Result<Vec<DroppedRow>, StoreError> {
        let worst = "SELECT o.lane, o.seq FROM outbox o JOIN message m ON m.seq = o.seq
                     WHERE o.lane = (SELECT MAX(x.lane) FROM outbox x JOIN message y ON y.seq = x.seq
                                     WHERE y.kind <> ?1) AND m.kind <> ?1
                     ORDER BY o.id LIMIT 1";
        let take = "DELETE FROM outbox WHERE seq = ? RETURNING part, bytes";
        let mut out = Vec::new();
        while out.len() < MAX_DROPPED_PER_REPORT && self.outbox_bytes(tx).await? > goal {
            let row: Option<(u8, i64)> = sqlx::query_as(worst)
                .bind(OUTBOX_DROPPED_KIND)
                .fetch_optional(&mut *tx)
                .await
                .map_err(|e| self.sql(e))?;
            let Some((lane, seq)) = row else { break };
            let parts: Vec<(i64, i64)> =
                sqlx::query_as(take).bind(seq).fetch_all(&mut *tx).await.map_err(|e| self.sql(e))?;
            out.push(DroppedRow { lane, seq, parts });
        }
        Ok(out)
    }

    /// Tells of one message or picture that will never arrive; not of a report itself.
    pub(super) async fn report_missing(
        &self,
        tx: &mut SqliteConnection,
        lane: u8,
        seq: i64,
        part: (i64, i64),
    ) -> Result<(), StoreError> {
        let kind = sqlx::query_scalar("SELECT kind FROM message WHERE seq = ?").bind(seq);
        let kind: Option<String> = kind.fetch_optional(&mut *tx).await.map_err(|e| self.sql(e))?;
        if kind.is_none_or(|kind| kind == OUTBOX_DROPPED_KIND) {
            return Ok(());
        }
        self.report_dropped(tx, &[DroppedRow { lane, seq, parts: vec![part] }]).await
    }

    async fn report_dropped(&self, tx: &mut SqliteConnection, rows: &[DroppedRow]) -> Result<(), StoreError> {
        let seq = self.next_seq(tx).await?;
        let report = self.dropped_message(seq, rows);
        let payload = self.to_json(&report)?;
        let row = MessageRow {
            seq,
            event_id: &report.id,
            revision: 1,
            kind: &report.kind,
            subject: &report.subject,
            severity: report.data.severity,
            of_event: None,
            topic: &self.inner.options.alert_topic,
            payload: &payload,
            best: report.time,
        };
        self.insert_message(tx, &row).await?;
        self.queue(tx, seq, 1, LANE_CRITICAL, i64::try_from(payload.len()).unwrap_or(i64::MAX)).await?;
        self.inner.dropped.fetch_add(report.data.messages, Ordering::Relaxed);
        metrics::counter!(OUTBOX_DROPPED).increment(report.data.messages);
        tracing::error!(
            messages = report.data.messages,
            bytes = report.data.bytes,
            seq,
            "outbox full: messages dropped"
        );
        Ok(())
    }

    fn dropped_message(&self, seq: i64, rows: &[DroppedRow]) -> OutboxDropped {
        let o = &self.inner.options;
        let now = utc_now();
        let parts = || rows.iter().flat_map(|r| &r.parts);
        let count = |part| parts().filter(|p| p.0 == part).count() as u64;
        OutboxDropped {
            specversion: "1.0".into(),
            id: crate::ids::IdSource::random().next_id(now).to_string(),
            source: format!("/office/{}/box/{}", o.office, o.box_id),
            kind: OUTBOX_DROPPED_KIND.into(),
            subject: "outbox".into(),
            time: now,
            datacontenttype: "application/json".into(),
            data: DroppedData {
                severity: 3,
                office: o.office.clone(),
                box_id: o.box_id.clone(),
                messages: count(1),
                pictures: count(0),
                bytes: parts().map(|p| u64::try_from(p.1).unwrap_or(0)).sum(),
                lanes: by_lane(rows),
                outbox_max_bytes: o.config.outbox_max_bytes,
                sequence: Sequence { epoch: self.inner.epoch, seq, historical: false },
            },
        }
    }

    fn note_timings(&self, recorded: &[Recorded], received: &[Option<MonoMillis>]) {
        let now = mono_now();
        let mut timing = self.inner.timing.lock().unwrap_or_else(PoisonError::into_inner);
        for (r, received) in recorded.iter().zip(received) {
            let Some(received) = *received else { continue };
            let stored_ms = now.since(received);
            metrics::histogram!(FRAME_TO_STORED).record(stored_ms as f64 / 1000.0);
            if timing.len() < MAX_TIMINGS {
                timing.insert(r.sequence.seq, Timing { received, stored_ms });
            }
        }
    }

    pub(super) fn to_json<T: Serialize>(&self, value: &T) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|e| self.content(format!("message cannot be written as JSON: {e}")))
    }

    pub(super) fn read_event(&self, payload: &str) -> Result<EventMessage, StoreError> {
        serde_json::from_str(payload).map_err(|e| self.content(format!("recorded event cannot be read: {e}")))
    }

    pub(super) fn content(&self, what: String) -> StoreError {
        StoreError::Content { path: self.inner.db_path.clone(), what }
    }
}

/// A message as it is written down.
pub(super) struct MessageRow<'a> {
    pub seq: i64,
    pub event_id: &'a str,
    pub revision: u32,
    pub kind: &'a str,
    pub subject: &'a str,
    pub severity: u8,
    /// For a message about an event in an area, what it says.
    pub of_event: Option<&'a EventData>,
    pub topic: &'a str,
    pub payload: &'a str,
    /// Capture time, for the live limit.
    pub best: UtcMillis,
}

impl<'a> MessageRow<'a> {
    fn of(event: &'a EventMessage, id: &'a str, topic: &'a str, payload: &'a str) -> Self {
        let data = &event.data;
        Self {
            seq: data.sequence.seq,
            event_id: id,
            revision: data.revision,
            kind: &event.kind,
            subject: &event.subject,
            severity: data.severity,
            of_event: Some(data),
            topic,
            payload,
            best: data.capture.best,
        }
    }
}

struct DroppedRow {
    lane: u8,
    seq: i64,
    /// Part and bytes.
    parts: Vec<(i64, i64)>,
}

/// Lanes with their sequence numbers as unbroken runs.
fn by_lane(rows: &[DroppedRow]) -> Vec<DroppedLane> {
    let mut out: Vec<DroppedLane> = Vec::new();
    for row in rows {
        if out.last().is_none_or(|l| l.lane != row.lane) {
            out.push(DroppedLane { lane: row.lane, seq_ranges: Vec::new() });
        }
        let ranges = &mut out.last_mut().expect("pushed above").seq_ranges;
        match ranges.last_mut() {
            Some(run) if run.1 + 1 == row.seq => run.1 = row.seq,
            _ => ranges.push((row.seq, row.seq)),
        }
    }
    out
}

/// The name a unit enum has in messages.
pub(super) fn name_of<T: Serialize>(value: &T) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}
