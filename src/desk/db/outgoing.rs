//! What the desk has to publish, as rows: made in the transaction that decided it, done when the broker acknowledged.

use super::{Db, DbError, Tx};
use crate::clock::utc_now;

/// One message to publish.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Outgoing {
    pub id: String,
    pub topic: String,
    pub payload: String,
    /// Empty = no answer wanted.
    pub reply_topic: String,
    /// Comes back with the answer.
    pub correlation: String,
}

impl Tx {
    pub(crate) async fn publish(&mut self, message: &Outgoing) -> Result<(), DbError> {
        let insert = "INSERT INTO outgoing (id, topic, payload, reply_topic, correlation, queued_ms)
                      VALUES ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(insert).bind(&message.id).bind(&message.topic).bind(&message.payload);
        let query = query.bind(&message.reply_topic).bind(&message.correlation).bind(utc_now().0);
        query.execute(&mut **self).await?;
        Ok(())
    }
}

impl Db {
    /// The oldest messages that wait.
    pub(crate) async fn waiting(&self, limit: i64) -> Result<Vec<Outgoing>, DbError> {
        let select = "SELECT id, topic, payload, reply_topic, correlation FROM outgoing
                      WHERE sent_ms IS NULL ORDER BY queued_ms, id LIMIT $1";
        Ok(sqlx::query_as(select).bind(limit).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn sent(&self, messages: &[Outgoing]) -> Result<(), DbError> {
        let mut tx = self.write().await?;
        for message in messages {
            let update = sqlx::query("UPDATE outgoing SET sent_ms = $2 WHERE id = $1");
            update.bind(&message.id).bind(utc_now().0).execute(&mut *tx).await?;
        }
        tx.commit().await
    }
}
