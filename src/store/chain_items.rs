//! What the chain says of holds and segments: their rows as JSON at the moment of the change. Called by the parts that
//! change them, within the same transaction.

use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use super::{Store, StoreError};
use crate::clock::UtcMillis;
use crate::evidence::chain::{Entry, Kind, Sum};

/// A finished segment: item of a `segment` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SegmentItem {
    /// Camera.
    pub camera: String,
    /// `main` or `sub`.
    pub stream: String,
    /// Relative to the footage folder.
    pub path: String,
    /// `h264` or `h265`.
    pub codec: String,
    /// First picture.
    pub start: UtcMillis,
    /// End of the last picture.
    pub end: UtcMillis,
    /// Size of the file.
    pub bytes: i64,
    /// How many.
    pub pictures: i64,
    /// SHA-256 of the file.
    pub sha256: Sum,
    /// 0 = follows the one before; `None` = nothing is known of what was before.
    pub gap_before_ms: Option<i64>,
    /// Whose clock.
    pub time_source: String,
    /// Camera clock minus box clock.
    pub clock_offset_ms: Option<i64>,
}

#[derive(sqlx::FromRow)]
pub(super) struct SegmentRow {
    pub camera: String,
    pub stream: String,
    pub path: String,
    pub codec: String,
    pub start_ms: i64,
    pub end_ms: i64,
    pub bytes: i64,
    pub pictures: i64,
    pub sha256: Option<String>,
    pub gap_before_ms: Option<i64>,
    pub time_source: String,
    pub clock_offset_ms: Option<i64>,
}

/// Columns of [`SegmentRow`].
pub(super) const SEGMENT_COLUMNS: &str = "camera, stream, path, codec, start_ms, end_ms, bytes, pictures, sha256, \
     gap_before_ms, time_source, clock_offset_ms";

impl SegmentRow {
    /// `None` while it is written.
    pub(super) fn item(self) -> Option<SegmentItem> {
        Some(SegmentItem {
            camera: self.camera,
            stream: self.stream,
            path: self.path,
            codec: self.codec,
            start: UtcMillis(self.start_ms),
            end: UtcMillis(self.end_ms),
            bytes: self.bytes,
            pictures: self.pictures,
            sha256: Sum::parse(self.sha256.as_deref()?).ok()?,
            gap_before_ms: self.gap_before_ms,
            time_source: self.time_source,
            clock_offset_ms: self.clock_offset_ms,
        })
    }
}

/// A hold after a change: item of a `hold` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HoldItem {
    /// Id.
    pub id: String,
    /// Camera.
    pub camera: String,
    /// First moment held.
    pub from: UtcMillis,
    /// Last.
    pub to: UtcMillis,
    /// Why.
    pub reason: String,
    /// For which tip.
    pub tip_id: Option<String>,
    /// For which event.
    pub event_id: Option<String>,
    /// By whom.
    pub placed_by: String,
    /// When.
    pub placed: UtcMillis,
    /// When it ended; `None` = in force.
    pub released: Option<UtcMillis>,
    /// By whom.
    pub released_by: Option<String>,
    /// Why.
    pub release_why: Option<String>,
}

#[derive(sqlx::FromRow)]
struct HoldRow {
    id: String,
    camera: String,
    from_ms: i64,
    to_ms: i64,
    reason: String,
    tip_id: Option<String>,
    event_id: Option<String>,
    placed_by: String,
    placed_ms: i64,
    released_ms: Option<i64>,
    released_by: Option<String>,
    release_why: Option<String>,
}

impl Store {
    /// Appends the finished segment at `path` to the chain, within the transaction that finishes it.
    ///
    /// # Errors
    /// When the database refuses, or the segment is not there or not finished.
    pub async fn chain_segment(&self, tx: &mut SqliteConnection, path: &str) -> Result<Entry, StoreError> {
        let what = || self.content(format!("segment {path} is not there or not finished"));
        let item = self.segment_item(tx, path).await?.ok_or_else(what)?;
        let text = self.to_json(&item)?;
        self.chain_append(tx, Kind::Segment, &item.path, &text).await
    }

    /// Appends that the segment at `path` is deleted, within the transaction that says so in its row and before it does. One
    /// that was never finished was never in the chain and is left out.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn chain_segment_deleted(
        &self,
        tx: &mut SqliteConnection,
        path: &str,
        why: &str,
    ) -> Result<Option<Entry>, StoreError> {
        let Some(item) = self.segment_item(tx, path).await? else { return Ok(None) };
        let text = serde_json::json!({"path": item.path, "camera": item.camera, "start": item.start, "end": item.end,
            "sha256": item.sha256, "why": why});
        self.chain_append(tx, Kind::SegmentDeleted, &item.path, &text.to_string()).await.map(Some)
    }

    async fn segment_item(&self, tx: &mut SqliteConnection, path: &str) -> Result<Option<SegmentItem>, StoreError> {
        let select = format!("SELECT {SEGMENT_COLUMNS} FROM segment WHERE path = ?");
        let row = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(path).fetch_optional(&mut *tx).await;
        let row: Option<SegmentRow> = row.map_err(|e| self.sql(e))?;
        Ok(row.and_then(SegmentRow::item))
    }

    /// Appends how the hold `id` stands now, within the transaction that places, changes or releases it.
    ///
    /// # Errors
    /// When the database refuses or there is no such hold.
    pub async fn chain_hold(&self, tx: &mut SqliteConnection, id: &str) -> Result<Entry, StoreError> {
        let select = "SELECT id, camera, from_ms, to_ms, reason, tip_id, event_id, placed_by, placed_ms, released_ms,
                      released_by, release_why FROM hold WHERE id = ?";
        let row: Option<HoldRow> =
            sqlx::query_as(select).bind(id).fetch_optional(&mut *tx).await.map_err(|e| self.sql(e))?;
        let r = row.ok_or_else(|| self.content(format!("there is no hold {id}")))?;
        let item = HoldItem {
            id: r.id,
            camera: r.camera,
            from: UtcMillis(r.from_ms),
            to: UtcMillis(r.to_ms),
            reason: r.reason,
            tip_id: r.tip_id,
            event_id: r.event_id,
            placed_by: r.placed_by,
            placed: UtcMillis(r.placed_ms),
            released: r.released_ms.map(UtcMillis),
            released_by: r.released_by,
            release_why: r.release_why,
        };
        let text = self.to_json(&item)?;
        self.chain_append(tx, Kind::Hold, id, &text).await
    }
}
