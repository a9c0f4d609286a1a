//! Notices: messages that are not about something in an area but about the box, its cameras, its footage or its
//! declarations. They travel as events do (one sequence, one outbox, one transaction); what one kind of notice says is
//! the business of the part that makes it.

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use super::record::MessageRow;
use super::{Store, StoreError};
use crate::clock::{UtcMillis, utc_now};
use crate::event::message::Sequence;

/// A notice to record. Its JSON becomes a CloudEvents message; to `data` the store adds `office`, `box`, `revision`,
/// `severity` and `sequence`.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotice {
    /// ULID, the same over all revisions of one notice.
    pub id: String,
    /// 1 for the first message, then one more each.
    pub revision: u32,
    /// CloudEvents type, e.g. `gatewatch.alert.camera_covered.v1`.
    pub kind: String,
    /// CloudEvents subject, e.g. `camera/lane-1`.
    pub subject: String,
    /// 1 information, 2 notice, 3 serious, 4 critical.
    pub severity: u8,
    /// When what it tells happened, for the live limit.
    pub at: UtcMillis,
    /// It lasts: a further revision is to come, and after a restart [`Store::open_notices`] knows it.
    pub open: bool,
    /// Full topic.
    pub topic: String,
    /// 0 = first; see the `LANE_` constants.
    pub lane: u8,
    /// What it says: a JSON object.
    pub data: Value,
}

impl Store {
    /// Records notices in one transaction, all or none, and gives their sequence numbers in the order given. The same id
    /// and revision again gives the number of the first record, so a failed call may be repeated.
    ///
    /// # Errors
    /// When the disk is full or refuses; then nothing was recorded and no sequence number used.
    pub async fn record_notices(&self, notices: Vec<NewNotice>) -> Result<Vec<i64>, StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let mut seqs = Vec::with_capacity(notices.len());
        for notice in &notices {
            seqs.push(self.record_notice_in(&mut tx, notice).await?);
        }
        self.enforce_bound(&mut tx).await?;
        tx.commit().await.map_err(|e| self.sql(e))?;
        drop(writer);
        self.inner.work.notify_one();
        Ok(seqs)
    }

    /// Records a notice within a transaction of the caller, who wakes delivery after the commit.
    pub(super) async fn record_notice_in(&self, tx: &mut SqliteConnection, n: &NewNotice) -> Result<i64, StoreError> {
        let known = sqlx::query_scalar("SELECT seq FROM message WHERE event_id = ? AND revision = ?");
        let known: Option<i64> =
            known.bind(&n.id).bind(n.revision).fetch_optional(&mut *tx).await.map_err(|e| self.sql(e))?;
        if let Some(seq) = known {
            return Ok(seq);
        }
        let seq = self.next_seq(tx).await?;
        let payload = self.to_json(&self.envelope(n, seq)?)?;
        let row = MessageRow {
            seq,
            event_id: &n.id,
            revision: n.revision,
            kind: &n.kind,
            subject: &n.subject,
            severity: n.severity,
            of_event: None,
            topic: &n.topic,
            payload: &payload,
            best: n.at,
        };
        self.insert_message(tx, &row).await?;
        self.queue(tx, seq, 1, n.lane, i64::try_from(payload.len()).unwrap_or(i64::MAX)).await?;
        let change = if n.open {
            "INSERT INTO open_notice (notice_id, seq) VALUES (?1, ?2) ON CONFLICT (notice_id) DO UPDATE SET seq = ?2"
        } else {
            "DELETE FROM open_notice WHERE notice_id = ?1 AND ?2 > 0"
        };
        sqlx::query(change).bind(&n.id).bind(seq).execute(tx).await.map_err(|e| self.sql(e))?;
        Ok(seq)
    }

    fn envelope(&self, n: &NewNotice, seq: i64) -> Result<Value, StoreError> {
        let o = &self.inner.options;
        let Value::Object(mut data) = n.data.clone() else {
            return Err(self.content(format!("a notice of type {} says no JSON object", n.kind)));
        };
        let sequence = Sequence { epoch: self.inner.epoch, seq, historical: false };
        data.insert("revision".into(), n.revision.into());
        data.insert("severity".into(), n.severity.into());
        data.insert("office".into(), o.office.clone().into());
        data.insert("box".into(), o.box_id.clone().into());
        data.insert("sequence".into(), json!(sequence));
        Ok(json!({
            "specversion": "1.0", "id": n.id, "source": format!("/office/{}/box/{}", o.office, o.box_id),
            "type": n.kind, "subject": n.subject, "time": utc_now(), "datacontenttype": "application/json", "data": data,
        }))
    }

    /// The latest message of every notice that lasts and whose type begins with `kind_prefix`, oldest first: to be ended
    /// or taken up again after a restart.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open_notices(&self, kind_prefix: &str) -> Result<Vec<Value>, StoreError> {
        let select = "SELECT m.payload FROM open_notice o JOIN message m ON m.seq = o.seq
                      WHERE substr(m.kind, 1, length(?1)) = ?1 ORDER BY o.seq";
        let select = sqlx::query_scalar(select).bind(kind_prefix);
        let texts: Vec<String> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let read = |t: String| serde_json::from_str(&t).map_err(|e| self.content(format!("a recorded notice: {e}")));
        texts.into_iter().map(read).collect()
    }

    /// A notice that nobody will end: it is no longer held open, so that what is newer may be pruned.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn forget_notice(&self, id: &str) -> Result<(), StoreError> {
        self.execute(sqlx::query("DELETE FROM open_notice WHERE notice_id = ?").bind(id)).await?;
        Ok(())
    }
}
