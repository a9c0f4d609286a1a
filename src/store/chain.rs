//! The chain in the database: appended within the transaction of what an entry is about, signed heads beside it, and the
//! check of what is written. What an entry is stands in `evidence/chain.rs`.

use sqlx::{Connection, SqliteConnection};

use super::{LANE_EVENT, NewNotice, Store, StoreError};
use crate::clock::{UtcMillis, utc_now};
use crate::evidence::chain::{Entry, Kind, Sum};
use crate::evidence::keys::{BoxKey, PublicKey, Signature};
use crate::evidence::statement::{Head, KeyItem, Origin, SignedHead};

/// CloudEvents type of published heads.
pub const HEAD_KIND: &str = "gatewatch.chain.head.v1";
/// Columns of an entry.
pub(super) const COLUMNS: &str = "n, at_ms, kind, ref, item_sha256, prev_sha256, sha256, item";

/// An entry as a row.
#[derive(sqlx::FromRow)]
pub(super) struct EntryRow {
    n: i64,
    at_ms: i64,
    kind: String,
    #[sqlx(rename = "ref")]
    reference: String,
    item_sha256: Vec<u8>,
    prev_sha256: Vec<u8>,
    sha256: Vec<u8>,
    item: Option<String>,
}

impl EntryRow {
    /// `None` when a later version wrote it, or nobody of ours.
    pub(super) fn entry(self) -> Option<Entry> {
        let sum = |b: Vec<u8>| b.try_into().ok().map(Sum);
        Some(Entry {
            n: self.n,
            at: UtcMillis(self.at_ms),
            kind: Kind::parse(&self.kind)?,
            reference: self.reference,
            item_sha256: sum(self.item_sha256)?,
            prev_sha256: sum(self.prev_sha256)?,
            sha256: sum(self.sha256)?,
            item: self.item,
        })
    }
}

/// A signed head as a row: n, digest of that entry, when, key, signature.
pub(super) type HeadRow = (i64, Vec<u8>, i64, Vec<u8>, Vec<u8>);

pub(super) fn signed_head((n, sha256, at_ms, key, signature): HeadRow) -> Option<SignedHead> {
    let head = Head { n, sha256: Sum(sha256.try_into().ok()?), at: UtcMillis(at_ms) };
    Some(SignedHead { head, key: PublicKey(key.try_into().ok()?), signature: Signature(signature) })
}

/// Appends an entry about `item` within the transaction of `tx`: both are kept, or neither.
pub(super) async fn append(
    tx: &mut SqliteConnection,
    kind: Kind,
    reference: &str,
    item: &str,
) -> Result<Entry, sqlx::Error> {
    let last = last(tx).await?;
    let entry = Entry::after(last.map(|h| (h.n, h.sha256)), utc_now(), kind, reference, item);
    let insert = "INSERT INTO chain (n, at_ms, kind, ref, item_sha256, prev_sha256, sha256, item)
                  VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(insert)
        .bind(entry.n)
        .bind(entry.at.0)
        .bind(kind.as_str())
        .bind(reference)
        .bind(entry.item_sha256.0.as_slice())
        .bind(entry.prev_sha256.0.as_slice())
        .bind(entry.sha256.0.as_slice())
        .bind(entry.item.as_deref())
        .execute(tx)
        .await?;
    Ok(entry)
}

/// The end of the chain; its `at` is that of the last entry.
async fn last(tx: &mut SqliteConnection) -> Result<Option<Head>, sqlx::Error> {
    let select = "SELECT n, sha256, at_ms FROM chain ORDER BY n DESC LIMIT 1";
    let row: Option<(i64, Vec<u8>, i64)> = sqlx::query_as(select).fetch_optional(tx).await?;
    // A digest of another length cannot be there: the table refuses it.
    Ok(row.and_then(|(n, sum, at)| Some(Head { n, sha256: Sum(sum.try_into().ok()?), at: UtcMillis(at) })))
}

/// The first entry of a store says whose it is and from which message on the chain knows them.
pub(super) async fn begin(writer: &mut SqliteConnection, office: &str, box_id: &str) -> Result<(), sqlx::Error> {
    let mut tx = writer.begin().await?;
    if last(&mut tx).await?.is_none() {
        let meta: (i64, i64) = sqlx::query_as("SELECT epoch, last_seq FROM meta").fetch_one(&mut *tx).await?;
        let item = serde_json::json!({"office": office, "box": box_id, "epoch": meta.0, "after_seq": meta.1});
        append(&mut tx, Kind::Genesis, &format!("{office}/{box_id}"), &item.to_string()).await?;
    }
    tx.commit().await
}

/// The head published last, from its message: receivers compare it with what they heard.
async fn last_published(tx: &mut SqliteConnection) -> Result<Option<serde_json::Value>, sqlx::Error> {
    let select = "SELECT payload FROM message WHERE kind = ? ORDER BY seq DESC LIMIT 1";
    let body: Option<String> = sqlx::query_scalar(select).bind(HEAD_KIND).fetch_optional(&mut *tx).await?;
    let head = body.and_then(|b| serde_json::from_str::<serde_json::Value>(&b).ok()).map(|b| b["data"]["head"].clone());
    if let Some(head) = head.filter(serde_json::Value::is_object) {
        return Ok(Some(serde_json::json!({"n": head["n"], "sha256": head["sha256"]})));
    }
    // The message is pruned: nothing was appended for as long as messages are kept.
    let select = "SELECT h.n, c.sha256 FROM chain_head h JOIN chain c ON c.n = h.n ORDER BY h.n DESC LIMIT 1";
    let row: Option<(i64, Vec<u8>)> = sqlx::query_as(select).fetch_optional(tx).await?;
    Ok(row.map(|(n, sum)| serde_json::json!({"n": n, "sha256": hex::encode(sum)})))
}

/// Hand-overs of the key after the first, oldest first, as they stand in the chain.
async fn handovers(tx: &mut SqliteConnection) -> Result<Vec<serde_json::Value>, sqlx::Error> {
    let select = "SELECT item FROM chain WHERE kind = 'key' ORDER BY n";
    let items: Vec<String> = sqlx::query_scalar(select).fetch_all(tx).await?;
    Ok(items.iter().skip(1).filter_map(|t| serde_json::from_str(t).ok()).collect())
}

impl Store {
    /// Whose statements this store's are.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let o = &self.inner.options;
        Origin { office: o.office.clone(), box_id: o.box_id.clone(), epoch: self.inner.epoch }
    }

    /// Appends an entry about `item` (for all kinds but messages: a JSON text, which the chain keeps) within the caller's
    /// transaction: both are kept, or neither. Messages are appended where they are written down, nowhere else.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn chain_append(
        &self,
        tx: &mut SqliteConnection,
        kind: Kind,
        reference: &str,
        item: &str,
    ) -> Result<Entry, StoreError> {
        append(tx, kind, reference, item).await.map_err(|e| self.sql(e))
    }

    /// Appends an entry in a transaction of its own. The same kind, reference and item again give the entry there is, so a
    /// failed call may be repeated.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn chain_append_once(&self, kind: Kind, reference: &str, item: &str) -> Result<Entry, StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let find = format!("SELECT {COLUMNS} FROM chain WHERE kind = ? AND ref = ? AND item_sha256 = ?");
        let find = sqlx::query_as(sqlx::AssertSqlSafe(find)).bind(kind.as_str()).bind(reference);
        let sum = Sum::of(item.as_bytes());
        let known: Option<EntryRow> =
            find.bind(sum.0.as_slice()).fetch_optional(&mut *tx).await.map_err(|e| self.sql(e))?;
        if let Some(entry) = known.and_then(EntryRow::entry) {
            return Ok(entry);
        }
        let entry = self.chain_append(&mut tx, kind, reference, item).await?;
        tx.commit().await.map_err(|e| self.sql(e))?;
        Ok(entry)
    }

    /// The end of the chain now, with the time of its last entry.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn chain_last(&self) -> Result<Option<Head>, StoreError> {
        let mut conn = self.inner.readers.acquire().await.map_err(|e| self.sql(e))?;
        last(&mut conn).await.map_err(|e| self.sql(e))
    }

    /// The digest of entry `n`; `None` when there is no such entry.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn chain_sum(&self, n: i64) -> Result<Option<Sum>, StoreError> {
        let select = sqlx::query_scalar("SELECT sha256 FROM chain WHERE n = ?").bind(n);
        let sum: Option<Vec<u8>> = select.fetch_optional(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(sum.and_then(|s| s.try_into().ok()).map(Sum))
    }

    /// The keys that came into force, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read or holds something else.
    pub async fn chain_keys(&self) -> Result<Vec<KeyItem>, StoreError> {
        let select = sqlx::query_scalar("SELECT item FROM chain WHERE kind = 'key' ORDER BY n");
        let items: Vec<String> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let read = |t: String| serde_json::from_str(&t).map_err(|e| self.content(format!("a key in the chain: {e}")));
        items.into_iter().map(read).collect()
    }

    /// Signs the end of the chain as it is now and keeps the signature.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn sign_head(&self, key: &BoxKey) -> Result<SignedHead, StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let signed = self.sign_head_in(&mut tx, key).await?;
        tx.commit().await.map_err(|e| self.sql(e))?;
        Ok(signed)
    }

    async fn sign_head_in(&self, tx: &mut SqliteConnection, key: &BoxKey) -> Result<SignedHead, StoreError> {
        let head = last(tx).await.map_err(|e| self.sql(e))?;
        let head = head.ok_or_else(|| self.content("the chain has no first entry".into()))?;
        // The time is that of the entry: so the same head is always the same text with the same signature.
        let signed = head.sign(&self.origin(), key);
        let insert = "INSERT OR IGNORE INTO chain_head (n, at_ms, key, signature) VALUES (?, ?, ?, ?)";
        sqlx::query(insert)
            .bind(signed.head.n)
            .bind(signed.head.at.0)
            .bind(signed.key.0.as_slice())
            .bind(signed.signature.0.as_slice())
            .execute(tx)
            .await
            .map_err(|e| self.sql(e))?;
        Ok(signed)
    }

    /// Signs the end of the chain and puts it into the outbox for `topic`, in one transaction. `None` when nothing was
    /// appended since the last time but that very message.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn publish_head(&self, key: &BoxKey, topic: &str) -> Result<Option<SignedHead>, StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let news = "SELECT NOT EXISTS (SELECT 1 FROM chain c JOIN message m
                        ON m.event_id = substr(c.ref, 1, instr(c.ref, '/') - 1)
                        AND m.revision = CAST(substr(c.ref, instr(c.ref, '/') + 1) AS INTEGER)
                    WHERE c.n = (SELECT MAX(n) FROM chain) AND c.kind = 'message' AND m.kind = ?)";
        let news: bool = sqlx::query_scalar(news).bind(HEAD_KIND).fetch_one(&mut *tx).await.map_err(|e| self.sql(e))?;
        if !news {
            return Ok(None);
        }
        let previous = last_published(&mut tx).await.map_err(|e| self.sql(e))?;
        let signed = self.sign_head_in(&mut tx, key).await?;
        let keys = handovers(&mut tx).await.map_err(|e| self.sql(e))?;
        let now = utc_now();
        let mut data = serde_json::json!({"epoch": self.inner.epoch, "head": signed, "previous": previous});
        if !keys.is_empty() {
            data["keys"] = keys.into();
        }
        let notice = NewNotice {
            id: crate::ids::IdSource::random().next_id(now).to_string(),
            revision: 1,
            kind: HEAD_KIND.into(),
            subject: "chain".into(),
            severity: 1,
            at: now,
            open: false,
            topic: topic.into(),
            lane: LANE_EVENT,
            data,
        };
        self.record_notice_in(&mut tx, &notice).await?;
        self.enforce_bound(&mut tx).await?;
        tx.commit().await.map_err(|e| self.sql(e))?;
        drop(writer);
        self.inner.work.notify_one();
        Ok(Some(signed))
    }
}
