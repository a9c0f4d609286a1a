//! What was found about tips, as last published, and what footage there is of a time.

use sqlx::Connection;

use super::footage::LONGEST_MS;
use super::notice::NewNotice;
use super::{Store, StoreError};
use crate::clock::UtcMillis;

/// A correlation as last published.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptCorrelation {
    /// ULID of its messages.
    pub notice_id: String,
    /// Revision of the last one.
    pub revision: u32,
    /// What it said.
    pub body: serde_json::Value,
}

/// A piece of footage, or of one that is no more.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Piece {
    /// First moment, unix milliseconds.
    pub start_ms: i64,
    /// End, unix milliseconds.
    pub end_ms: i64,
    /// `writing`, `kept`, `expired` or `lost`.
    pub state: String,
}

impl Store {
    /// What was last published about a tip.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn correlation(&self, tip_id: &str) -> Result<Option<KeptCorrelation>, StoreError> {
        let select = sqlx::query_as("SELECT notice_id, revision, body FROM correlation WHERE tip_id = ?").bind(tip_id);
        let row: Option<(String, u32, String)> =
            select.fetch_optional(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let read = |(notice_id, revision, body): (String, u32, String)| {
            let body =
                serde_json::from_str(&body).map_err(|e| self.content(format!("correlation of {tip_id}: {e}")))?;
            Ok(KeptCorrelation { notice_id, revision, body })
        };
        row.map(read).transpose()
    }

    /// Publishes what was found about a tip and keeps it, in one transaction.
    ///
    /// # Errors
    /// When the database cannot be written; then neither is done.
    pub async fn record_correlation(&self, tip_id: &str, notice: &NewNotice) -> Result<i64, StoreError> {
        let body = self.to_json(&notice.data)?;
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let seq = self.record_notice_in(&mut tx, notice).await?;
        let keep =
            "INSERT OR REPLACE INTO correlation (tip_id, notice_id, revision, body, at_ms) VALUES (?, ?, ?, ?, ?)";
        let keep = sqlx::query(keep).bind(tip_id).bind(&notice.id).bind(notice.revision).bind(body).bind(notice.at.0);
        keep.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        self.enforce_bound(&mut tx).await?;
        tx.commit().await.map_err(|e| self.sql(e))?;
        drop(writer);
        self.inner.work.notify_one();
        Ok(seq)
    }

    /// Footage of a camera that shares a moment with a time, also what is no more; oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pieces(&self, camera: &str, from: UtcMillis, to: UtcMillis) -> Result<Vec<Piece>, StoreError> {
        let mut all = Vec::new();
        // By stream, so that the index on camera, stream and start serves.
        for stream in ["main", "sub"] {
            let select = "SELECT start_ms, end_ms, state FROM segment
                          WHERE camera = ? AND stream = ? AND start_ms BETWEEN ? AND ? AND end_ms > ?";
            let select =
                sqlx::query_as(select).bind(camera).bind(stream).bind(from.0 - LONGEST_MS).bind(to.0).bind(from.0);
            let rows: Vec<Piece> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
            all.extend(rows);
        }
        all.sort_by_key(|p| (p.start_ms, p.end_ms));
        Ok(all)
    }

    /// Whether a file of a camera that began before `at` is still being written: what is in it is not known yet.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn is_being_written(&self, camera: &str, at: UtcMillis) -> Result<bool, StoreError> {
        let select = "SELECT EXISTS (SELECT 1 FROM segment WHERE camera = ? AND stream IN ('main', 'sub')
                      AND start_ms BETWEEN ? AND ? AND state = 'writing')";
        let select = sqlx::query_scalar(select).bind(camera).bind(at.0 - LONGEST_MS).bind(at.0);
        select.fetch_one(&self.inner.readers).await.map_err(|e| self.sql(e))
    }

    /// Whether anything was ever recorded of a camera.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn was_recorded(&self, camera: &str) -> Result<bool, StoreError> {
        let select = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM segment WHERE camera = ?)").bind(camera);
        select.fetch_one(&self.inner.readers).await.map_err(|e| self.sql(e))
    }
}
