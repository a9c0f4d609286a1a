//! Heads of boxes' chains as rows, and where each chain ends. Whether a head fits is decided in `desk/chain.rs`.

use super::{Db, DbError, Scope, Tx};

/// A head that a box published.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct HeadRow {
    pub n: i64,
    pub sha256: String,
    pub seq: i64,
    pub at_ms: i64,
    /// Public key.
    pub signer: String,
    pub signature: String,
    pub received_ms: i64,
    /// What does not fit.
    pub fault: Option<String>,
}

/// Where the chain of a box ends.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct StateRow {
    pub source: String,
    pub office: String,
    #[sqlx(rename = "box")]
    pub box_id: String,
    pub epoch: i64,
    pub n: i64,
    pub sha256: String,
    pub seq: i64,
    pub at_ms: i64,
    /// Public key in force.
    pub signer: String,
    /// Heads that fitted.
    pub heads: i64,
    /// The first thing that did not.
    pub fault: Option<String>,
    pub fault_ms: Option<i64>,
}

const HEAD: &str = "n, sha256, seq, at_ms, signer, signature, received_ms, fault";
const STATE: &str = "source, office, box, epoch, n, sha256, seq, at_ms, signer, heads, fault, fault_ms";

fn head(rest: &str) -> sqlx::AssertSqlSafe<String> {
    // Only texts of this file are put together.
    sqlx::AssertSqlSafe(format!("SELECT {HEAD} FROM chain_head {rest}"))
}

fn state(rest: &str) -> sqlx::AssertSqlSafe<String> {
    // Only texts of this file are put together.
    sqlx::AssertSqlSafe(format!("SELECT {STATE} FROM chain_state {rest}"))
}

impl Db {
    pub(crate) async fn chain_states(&self, scope: &Scope) -> Result<Vec<StateRow>, DbError> {
        let rest = "WHERE $1 = '*' OR $1 LIKE '%,' || office || ',%' ORDER BY office, box";
        Ok(sqlx::query_as(state(rest)).bind(&scope.0).fetch_all(&self.pool).await?)
    }

    /// Every key that signed a head of this box which fitted.
    pub(crate) async fn chain_keys_of(&self, source: &str) -> Result<Vec<String>, DbError> {
        let select = "SELECT DISTINCT signer FROM chain_head WHERE source = $1 AND fault IS NULL";
        Ok(sqlx::query_scalar(select).bind(source).fetch_all(&self.pool).await?)
    }
}

impl Tx {
    pub(crate) async fn chain_state(&mut self, source: &str) -> Result<Option<StateRow>, DbError> {
        Ok(sqlx::query_as(state("WHERE source = $1")).bind(source).fetch_optional(&mut **self).await?)
    }

    /// Writes where the chain ends.
    pub(crate) async fn set_chain_state(&mut self, s: &StateRow) -> Result<(), DbError> {
        let upsert = "INSERT INTO chain_state (source, office, box, epoch, n, sha256, seq, at_ms, signer, heads, fault, fault_ms)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
                      ON CONFLICT (source) DO UPDATE SET epoch = excluded.epoch, n = excluded.n, sha256 = excluded.sha256,
                        seq = excluded.seq, at_ms = excluded.at_ms, signer = excluded.signer, heads = excluded.heads,
                        fault = excluded.fault, fault_ms = excluded.fault_ms";
        let q = sqlx::query(upsert).bind(&s.source).bind(&s.office).bind(&s.box_id).bind(s.epoch).bind(s.n);
        let q = q.bind(&s.sha256).bind(s.seq).bind(s.at_ms).bind(&s.signer).bind(s.heads).bind(&s.fault);
        q.bind(s.fault_ms).execute(&mut **self).await?;
        Ok(())
    }

    /// The heads that tell whether another one fits: the last before it in the box's sequence, the first after it, and
    /// those of the same entry. Only ones signed by a key that is known to be the box's.
    pub(crate) async fn chain_neighbours(
        &mut self,
        source: &str,
        epoch: i64,
        seq: i64,
        n: i64,
    ) -> Result<(Option<HeadRow>, Option<HeadRow>, Vec<HeadRow>), DbError> {
        let signed = "WHERE source = $1 AND epoch = $2
                      AND (fault IS NULL OR fault NOT IN ('signature', 'key', 'unvouched'))";
        let before = head(&format!("{signed} AND seq < $3 ORDER BY seq DESC LIMIT 1"));
        let before = sqlx::query_as(before).bind(source).bind(epoch).bind(seq).fetch_optional(&mut **self).await?;
        let after = head(&format!("{signed} AND seq > $3 ORDER BY seq LIMIT 1"));
        let after = sqlx::query_as(after).bind(source).bind(epoch).bind(seq).fetch_optional(&mut **self).await?;
        let same = head(&format!("{signed} AND n = $3"));
        let same = sqlx::query_as(same).bind(source).bind(epoch).bind(n).fetch_all(&mut **self).await?;
        Ok((before, after, same))
    }

    /// Keys that signed heads which fitted.
    pub(crate) async fn chain_signers(&mut self, source: &str, epoch: i64) -> Result<Vec<String>, DbError> {
        let select = "SELECT DISTINCT signer FROM chain_head WHERE source = $1 AND epoch = $2 AND fault IS NULL";
        Ok(sqlx::query_scalar(select).bind(source).bind(epoch).fetch_all(&mut **self).await?)
    }

    pub(crate) async fn add_head(&mut self, source: &str, epoch: i64, h: &HeadRow) -> Result<(), DbError> {
        let insert =
            "INSERT INTO chain_head (source, epoch, n, sha256, seq, at_ms, signer, signature, received_ms, fault)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
        let q = sqlx::query(insert).bind(source).bind(epoch).bind(h.n).bind(&h.sha256).bind(h.seq).bind(h.at_ms);
        let q = q.bind(&h.signer).bind(&h.signature).bind(h.received_ms).bind(&h.fault);
        q.execute(&mut **self).await?;
        Ok(())
    }
}
