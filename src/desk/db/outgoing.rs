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
    /// Queues a message, unless the very same waits already: what is asked again while the broker does not take it stays
    /// one row.
    pub(crate) async fn publish(&mut self, message: &Outgoing) -> Result<(), DbError> {
        let insert = "INSERT INTO outgoing (id, topic, payload, reply_topic, correlation, queued_ms)
                      SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (
                        SELECT 1 FROM outgoing WHERE sent_ms IS NULL AND topic = $2 AND payload = $3
                          AND reply_topic = $4 AND correlation = $5)";
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

    /// The broker took some, and will not have others: these go to the end of the line.
    pub(crate) async fn published(&self, taken: &[Outgoing], refused: &[Outgoing]) -> Result<(), DbError> {
        if taken.is_empty() && refused.is_empty() {
            return Ok(());
        }
        let mut tx = self.write().await?;
        let (sent, back) =
            ("UPDATE outgoing SET sent_ms = $2 WHERE id = $1", "UPDATE outgoing SET queued_ms = $2 WHERE id = $1");
        for (update, messages) in [(sent, taken), (back, refused)] {
            for message in messages {
                sqlx::query(update).bind(&message.id).bind(utc_now().0).execute(&mut *tx).await?;
            }
        }
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_broker_refuses_waits_behind_the_others_and_is_not_queued_twice() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&crate::desk::config::DatabaseConfig::default(), dir.path()).await.unwrap();
        let message = |id: &str, topic: &str| Outgoing {
            id: id.into(),
            topic: topic.into(),
            payload: "{}".into(),
            reply_topic: String::new(),
            correlation: String::new(),
        };
        let queue = async |m: &Outgoing| {
            let mut tx = db.write().await.unwrap();
            tx.publish(m).await.unwrap();
            tx.commit().await.unwrap();
        };
        let waiting = async || db.waiting(9).await.unwrap().into_iter().map(|m| m.id).collect::<Vec<_>>();
        let (a, b) = (message("1", "a"), message("2", "b"));
        for m in [&a, &b, &message("3", "a")] {
            queue(m).await;
        }
        assert_eq!(waiting().await, ["1", "2"]);
        let queued = utc_now();
        while utc_now() == queued {
            std::hint::spin_loop();
        }
        db.published(&[], std::slice::from_ref(&a)).await.unwrap();
        assert_eq!(waiting().await, ["2", "1"]);
        db.published(&[b, a], &[]).await.unwrap();
        assert!(waiting().await.is_empty());
        queue(&message("4", "a")).await;
        assert_eq!(waiting().await, ["4"], "sent before, and wanted again");
    }
}
