//! Messages of boxes as rows: each once, with the holes in their numbers. What a message means is in `ingest.rs`.

use serde_json::Value;

use super::{Db, DbError, Scope, Tx};

/// A message, as far as it must be understood to be kept in its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub source: String,
    pub epoch: i64,
    pub seq: i64,
    pub id: String,
    pub revision: i64,
    pub kind: String,
    pub subject: String,
    pub office: String,
    pub box_id: String,
    pub severity: i64,
    /// When it happened.
    pub at_ms: i64,
    pub body: Value,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    New,
    /// Known, word for word.
    Known,
    /// Another one has its number. Kept aside.
    NumberTwice,
    /// Another one has its revision. Kept aside.
    RevisionTwice,
    /// Another box's event has its id. Kept aside.
    Foreign,
}

/// Numbers that are missing.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Gap {
    pub source: String,
    pub epoch: i64,
    pub from_seq: i64,
    pub to_seq: i64,
    pub found_ms: i64,
    pub asked_ms: Option<i64>,
    pub tries: i64,
    pub lost: i64,
}

/// A gap with the box to ask.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct DueGap {
    pub source: String,
    pub epoch: i64,
    pub from_seq: i64,
    pub to_seq: i64,
    pub office: String,
    #[sqlx(rename = "box")]
    pub box_id: String,
}

impl Tx {
    /// Keeps a message unless it is known, and keeps book of its number.
    pub(crate) async fn keep(&mut self, m: &Message, now_ms: i64) -> Result<Kept, DbError> {
        if self.is_anothers(m).await? {
            self.put_aside(m, now_ms).await?;
            self.count(m, now_ms).await?;
            return Ok(Kept::Foreign);
        }
        let insert = "INSERT INTO message (source, epoch, seq, id, revision, kind, office, box, severity, at_ms, received_ms, body)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING";
        let query = sqlx::query(insert).bind(&m.source).bind(m.epoch).bind(m.seq).bind(&m.id).bind(m.revision);
        let query = query.bind(&m.kind).bind(&m.office).bind(&m.box_id).bind(m.severity).bind(m.at_ms).bind(now_ms);
        let new = query.bind(m.body.to_string()).execute(&mut **self).await?.rows_affected() == 1;
        if !new {
            return self.known_or_twice(m, now_ms).await;
        }
        self.count(m, now_ms).await?;
        Ok(Kept::New)
    }

    async fn known_or_twice(&mut self, m: &Message, now_ms: i64) -> Result<Kept, DbError> {
        let select = "SELECT body FROM message WHERE source = $1 AND epoch = $2 AND seq = $3";
        let found: Option<String> =
            sqlx::query_scalar(select).bind(&m.source).bind(m.epoch).bind(m.seq).fetch_optional(&mut **self).await?;
        let body = |b: &String| serde_json::from_str::<Value>(b).ok();
        if found.as_ref().and_then(body).is_some_and(|b| live(b) == live(m.body.clone())) {
            return Ok(Kept::Known);
        }
        self.put_aside(m, now_ms).await?;
        if found.is_some() {
            return Ok(Kept::NumberTwice);
        }
        // Its number was used, so nobody must ask the box for it.
        self.count(m, now_ms).await?;
        Ok(Kept::RevisionTwice)
    }

    /// Whether the id is that of another box's event, or of an alert that the desk itself raised about another box.
    async fn is_anothers(&mut self, m: &Message) -> Result<bool, DbError> {
        let select = "SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM message WHERE id = $1 AND source <> $2)
                                         OR EXISTS (SELECT 1 FROM alert WHERE id = $1 AND (office <> $3 OR box <> $4))
                                       THEN 1 ELSE 0 END AS BIGINT)";
        let query = sqlx::query_scalar(select).bind(&m.id).bind(&m.source).bind(&m.office).bind(&m.box_id);
        let found: i64 = query.fetch_one(&mut **self).await?;
        Ok(found != 0)
    }

    /// Keeps a message aside that the database would not have: its number is used, so nobody must ask the box for it.
    pub(crate) async fn refuse(&mut self, m: &Message, now_ms: i64) -> Result<(), DbError> {
        self.put_aside(m, now_ms).await?;
        self.count(m, now_ms).await
    }

    async fn put_aside(&mut self, m: &Message, now_ms: i64) -> Result<(), DbError> {
        let insert = "INSERT INTO clash (source, epoch, seq, received_ms, body) VALUES ($1, $2, $3, $4, $5)";
        let query = sqlx::query(insert).bind(&m.source).bind(m.epoch).bind(m.seq).bind(now_ms);
        query.bind(m.body.to_string()).execute(&mut **self).await?;
        Ok(())
    }

    /// A number was seen: the highest of its stream moves up, or a hole closes.
    async fn count(&mut self, m: &Message, now_ms: i64) -> Result<(), DbError> {
        let select = "SELECT epoch, high FROM stream WHERE source = $1";
        let streams: Vec<(i64, i64)> = sqlx::query_as(select).bind(&m.source).fetch_all(&mut **self).await?;
        let high = streams.iter().find(|(epoch, _)| *epoch == m.epoch).map(|(_, high)| *high);
        match high {
            // A box that is new to us: what it said before is not ours. A new store of a known box begins at 1.
            None => {
                self.start_stream(m).await?;
                if streams.is_empty() || m.seq <= 1 { Ok(()) } else { self.open_gap(m, 1, m.seq - 1, now_ms).await }
            }
            Some(high) if m.seq > high => {
                let update = "UPDATE stream SET high = $3 WHERE source = $1 AND epoch = $2";
                sqlx::query(update).bind(&m.source).bind(m.epoch).bind(m.seq).execute(&mut **self).await?;
                if m.seq == high + 1 { Ok(()) } else { self.open_gap(m, high + 1, m.seq - 1, now_ms).await }
            }
            Some(_) => self.close_gap(m).await,
        }
    }

    async fn start_stream(&mut self, m: &Message) -> Result<(), DbError> {
        let insert = "INSERT INTO stream (source, epoch, office, box, high) VALUES ($1, $2, $3, $4, $5)";
        let query = sqlx::query(insert).bind(&m.source).bind(m.epoch).bind(&m.office).bind(&m.box_id).bind(m.seq);
        query.execute(&mut **self).await?;
        Ok(())
    }

    async fn open_gap(&mut self, m: &Message, from: i64, to: i64, now_ms: i64) -> Result<(), DbError> {
        let gap = Gap {
            source: m.source.clone(),
            epoch: m.epoch,
            from_seq: from,
            to_seq: to,
            found_ms: now_ms,
            asked_ms: None,
            tries: 0,
            lost: 0,
        };
        self.insert_gap(&gap).await
    }

    async fn insert_gap(&mut self, g: &Gap) -> Result<(), DbError> {
        let insert = "INSERT INTO gap (source, epoch, from_seq, to_seq, found_ms, asked_ms, tries, lost)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let query = sqlx::query(insert).bind(&g.source).bind(g.epoch).bind(g.from_seq).bind(g.to_seq);
        let query = query.bind(g.found_ms).bind(g.asked_ms).bind(g.tries).bind(g.lost);
        query.execute(&mut **self).await?;
        Ok(())
    }

    async fn close_gap(&mut self, m: &Message) -> Result<(), DbError> {
        let select = "SELECT source, epoch, from_seq, to_seq, found_ms, asked_ms, tries, lost FROM gap
                      WHERE source = $1 AND epoch = $2 AND from_seq <= $3 AND to_seq >= $3";
        let found = sqlx::query_as::<_, Gap>(select).bind(&m.source).bind(m.epoch).bind(m.seq);
        let Some(gap) = found.fetch_optional(&mut **self).await? else { return Ok(()) };
        let delete = "DELETE FROM gap WHERE source = $1 AND epoch = $2 AND from_seq = $3";
        sqlx::query(delete).bind(&gap.source).bind(gap.epoch).bind(gap.from_seq).execute(&mut **self).await?;
        for part in split(&gap, m.seq) {
            self.insert_gap(&part).await?;
        }
        Ok(())
    }

    /// The box was asked for a gap.
    pub(crate) async fn gap_asked(&mut self, g: &DueGap, now_ms: i64) -> Result<(), DbError> {
        let update =
            "UPDATE gap SET asked_ms = $4, tries = tries + 1 WHERE source = $1 AND epoch = $2 AND from_seq = $3";
        let query = sqlx::query(update).bind(&g.source).bind(g.epoch).bind(g.from_seq).bind(now_ms);
        query.execute(&mut **self).await?;
        Ok(())
    }

    /// The box has nothing in `from..=to` any more; a hole that reaches beyond is split. Returns the holes given up.
    pub(crate) async fn lose(&mut self, source: &str, epoch: i64, from: i64, to: i64) -> Result<usize, DbError> {
        let select = "SELECT source, epoch, from_seq, to_seq, found_ms, asked_ms, tries, lost FROM gap
                      WHERE source = $1 AND epoch = $2 AND lost = 0 AND from_seq >= $3 AND from_seq <= $4";
        let query = sqlx::query_as(select).bind(source).bind(epoch).bind(from).bind(to);
        let gaps: Vec<Gap> = query.fetch_all(&mut **self).await?;
        for gap in &gaps {
            let update = "UPDATE gap SET lost = 1, to_seq = $4 WHERE source = $1 AND epoch = $2 AND from_seq = $3";
            let query = sqlx::query(update).bind(source).bind(epoch).bind(gap.from_seq).bind(gap.to_seq.min(to));
            query.execute(&mut **self).await?;
            if gap.to_seq > to {
                self.insert_gap(&Gap { from_seq: to + 1, ..gap.clone() }).await?;
            }
        }
        Ok(gaps.len())
    }

    /// Highest revision of an event that is stored; 0 when there is none.
    pub(crate) async fn newest_revision(&mut self, event: &str) -> Result<i64, DbError> {
        let select = "SELECT COALESCE(MAX(revision), 0) FROM message WHERE id = $1";
        Ok(sqlx::query_scalar(select).bind(event).fetch_one(&mut **self).await?)
    }

    /// Newest message of an event that is stored.
    pub(crate) async fn newest_body(&mut self, event: &str) -> Result<String, DbError> {
        let select = "SELECT body FROM message WHERE id = $1 ORDER BY revision DESC LIMIT 1";
        Ok(sqlx::query_scalar(select).bind(event).fetch_one(&mut **self).await?)
    }

    pub(crate) async fn keep_picture(&mut self, event: &str, sha: &str, bytes: i64, now: i64) -> Result<(), DbError> {
        let insert =
            "INSERT INTO picture (event_id, sha256, bytes, received_ms) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        sqlx::query(insert).bind(event).bind(sha).bind(bytes).bind(now).execute(&mut **self).await?;
        Ok(())
    }
}

impl Tx {
    /// Keeps a picture, as text, until its file can be written.
    pub(crate) async fn put_picture_aside(
        &mut self,
        event: &str,
        sha: &str,
        base64: &str,
        now: i64,
    ) -> Result<(), DbError> {
        let insert = "INSERT INTO picture_aside (event_id, sha256, base64, at_ms) VALUES ($1, $2, $3, $4)
                      ON CONFLICT DO NOTHING";
        sqlx::query(insert).bind(event).bind(sha).bind(base64).bind(now).execute(&mut **self).await?;
        Ok(())
    }

    /// Its file is written.
    pub(crate) async fn forget_aside(&mut self, event: &str, sha: &str) -> Result<(), DbError> {
        let delete = "DELETE FROM picture_aside WHERE event_id = $1 AND sha256 = $2";
        sqlx::query(delete).bind(event).bind(sha).execute(&mut **self).await?;
        Ok(())
    }
}

/// A message as if it had come in time: a repeat differs in this flag only.
fn live(mut body: Value) -> Value {
    if let Some(flag) = body.pointer_mut("/data/sequence/historical") {
        *flag = Value::Bool(false);
    }
    body
}

/// What is left of a gap when `seq` has come.
fn split(gap: &Gap, seq: i64) -> Vec<Gap> {
    let part = |from_seq, to_seq| Gap { from_seq, to_seq, ..gap.clone() };
    let parts = [part(gap.from_seq, seq - 1), part(seq + 1, gap.to_seq)];
    parts.into_iter().filter(|g| g.from_seq <= g.to_seq).collect()
}

impl Db {
    /// Gaps found before `found_before` and not asked for after `asked_before`, of boxes that are there.
    pub(crate) async fn gaps_due(&self, found_before: i64, asked_before: i64) -> Result<Vec<DueGap>, DbError> {
        let select = "SELECT g.source, g.epoch, g.from_seq, g.to_seq, s.office, s.box FROM gap g
                      JOIN stream s ON s.source = g.source AND s.epoch = g.epoch
                      JOIN box b ON b.office = s.office AND b.id = s.box
                      WHERE g.lost = 0 AND b.online = 1 AND g.found_ms <= $1
                        AND (g.asked_ms IS NULL OR g.asked_ms <= $2)
                      ORDER BY g.found_ms LIMIT 50";
        Ok(sqlx::query_as(select).bind(found_before).bind(asked_before).fetch_all(&self.pool).await?)
    }

    /// The newest messages of an event, newest first: revision, time it came, body.
    pub(crate) async fn revisions(&self, event: &str, limit: i64) -> Result<Vec<(i64, i64, String)>, DbError> {
        let select =
            "SELECT revision, received_ms, body FROM message WHERE id = $1 ORDER BY revision DESC, seq DESC LIMIT $2";
        Ok(sqlx::query_as(select).bind(event).bind(limit).fetch_all(&self.pool).await?)
    }

    /// How many messages of an event there are.
    pub(crate) async fn revision_count(&self, event: &str) -> Result<i64, DbError> {
        Ok(sqlx::query_scalar("SELECT COUNT(*) FROM message WHERE id = $1").bind(event).fetch_one(&self.pool).await?)
    }

    /// Whether a picture of this digest has come for an event, and a message of the event names it.
    pub(crate) async fn names_picture(&self, event: &str, sha256: &str) -> Result<bool, DbError> {
        // A digest has nothing in it that LIKE takes for something else.
        let select = "SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM picture WHERE event_id = $1 AND sha256 = $2)
                                         AND EXISTS (SELECT 1 FROM message WHERE id = $1 AND body LIKE '%' || $2 || '%')
                                       THEN 1 ELSE 0 END AS BIGINT)";
        let named: i64 = sqlx::query_scalar(select).bind(event).bind(sha256).fetch_one(&self.pool).await?;
        Ok(named != 0)
    }

    /// Digests of an event's pictures that have come, oldest first.
    pub(crate) async fn pictures(&self, event: &str) -> Result<Vec<String>, DbError> {
        let select = "SELECT sha256 FROM picture WHERE event_id = $1 ORDER BY received_ms, sha256";
        Ok(sqlx::query_scalar(select).bind(event).fetch_all(&self.pool).await?)
    }

    /// Events and digests of pictures whose files are not written yet, newest first.
    pub(crate) async fn pictures_aside(&self, limit: i64) -> Result<Vec<(String, String)>, DbError> {
        let select = "SELECT event_id, sha256 FROM picture_aside ORDER BY at_ms DESC LIMIT $1";
        Ok(sqlx::query_as(select).bind(limit).fetch_all(&self.pool).await?)
    }

    /// One of them as text.
    pub(crate) async fn picture_aside(&self, event: &str, sha: &str) -> Result<Option<String>, DbError> {
        let select = "SELECT base64 FROM picture_aside WHERE event_id = $1 AND sha256 = $2";
        Ok(sqlx::query_scalar(select).bind(event).bind(sha).fetch_optional(&self.pool).await?)
    }

    /// Newest messages of the newest events that a declaration is linked to and `scope` sees, in the order they happened: time,
    /// office, body.
    pub(crate) async fn of_declaration(&self, key: &str, scope: &Scope) -> Result<Vec<(i64, String, String)>, DbError> {
        let select = "SELECT l.at_ms, l.office, m.body FROM event_link l
                      JOIN message m ON m.id = l.event_id
                      WHERE l.decl_key = $1 AND ($2 = '*' OR $2 LIKE '%,' || l.office || ',%')
                        AND m.revision = (SELECT MAX(x.revision) FROM message x WHERE x.id = l.event_id)
                      ORDER BY l.at_ms DESC LIMIT 1000";
        let query = sqlx::query_as(select).bind(key).bind(&scope.0);
        let mut newest: Vec<_> = query.fetch_all(&self.pool).await?;
        newest.reverse();
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_comes_late_splits_its_hole() {
        let gap = Gap {
            source: "s".into(),
            epoch: 1,
            from_seq: 5,
            to_seq: 9,
            found_ms: 0,
            asked_ms: None,
            tries: 2,
            lost: 0,
        };
        let parts = |seq| split(&gap, seq).iter().map(|g| (g.from_seq, g.to_seq)).collect::<Vec<_>>();
        assert_eq!(parts(5), [(6, 9)]);
        assert_eq!(parts(9), [(5, 8)]);
        assert_eq!(parts(7), [(5, 6), (8, 9)]);
        assert!(split(&Gap { to_seq: 5, ..gap }, 5).is_empty());
    }

    #[tokio::test]
    async fn a_declaration_shows_its_newest_events_of_the_offices_that_somebody_sees() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&crate::desk::config::DatabaseConfig::default(), dir.path()).await.unwrap();
        let mut tx = db.write().await.unwrap();
        for n in 1..=1010 {
            let office = if n > 1005 { "20BB" } else { "15BB" };
            let mut body = crate::desk::message::tests::body(&format!("E{n}"), n, 1, 1);
            body["source"] = format!("/office/{office}/box/gate-01").into();
            let mut m = crate::desk::message::read(body.to_string().as_bytes(), office, "gate-01").unwrap();
            m.at_ms = n;
            tx.keep(&m, 0).await.unwrap();
            tx.set_links(&m.id, office, n, &crate::desk::message::links(&m)).await.unwrap();
        }
        tx.commit().await.unwrap();
        let times = async |scope: &str| {
            let all = db.of_declaration("10000001234", &Scope::parse(scope)).await.unwrap();
            (all.first().unwrap().0, all.last().unwrap().0, all.len())
        };
        assert_eq!(times("*").await, (11, 1010, 1000));
        assert_eq!(times("15BB").await, (6, 1005, 1000));
        assert_eq!(times("20BB").await, (1006, 1010, 5));
    }

    #[tokio::test]
    async fn a_picture_is_an_events_when_it_came_for_it_and_one_of_its_messages_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&crate::desk::config::DatabaseConfig::default(), dir.path()).await.unwrap();
        let digest = |n: u8| hex::encode([n; 32]);
        let mut tx = db.write().await.unwrap();
        for revision in 1..=30 {
            let mut body = crate::desk::message::tests::body("E1", revision, revision, 4);
            body["data"]["snapshot"] = serde_json::json!({"sha256": digest(u8::try_from(revision).unwrap())});
            let m = crate::desk::message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
            tx.keep(&m, 0).await.unwrap();
        }
        for n in [3, 40] {
            tx.keep_picture("E1", &digest(n), 9, 0).await.unwrap();
        }
        tx.commit().await.unwrap();
        let named = async |n: u8| db.names_picture("E1", &digest(n)).await.unwrap();
        assert_eq!((named(3).await, named(4).await, named(40).await), (true, false, false));
        let newest: Vec<i64> =
            db.revisions("E1", 3).await.unwrap().into_iter().map(|(revision, ..)| revision).collect();
        assert_eq!((newest, db.revision_count("E1").await.unwrap()), (vec![30, 29, 28], 30));
    }

    #[tokio::test]
    async fn a_revision_told_twice_under_two_numbers_is_no_hole_and_no_number_used_twice() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&crate::desk::config::DatabaseConfig::default(), dir.path()).await.unwrap();
        let said = |seq, revision, severity| {
            let body = crate::desk::message::tests::body("E1", seq, revision, severity);
            crate::desk::message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap()
        };
        let mut tx = db.write().await.unwrap();
        for (message, kept) in [
            (said(1, 1, 3), Kept::New),
            (said(1, 1, 3), Kept::Known),
            (said(2, 1, 4), Kept::RevisionTwice),
            (said(1, 2, 4), Kept::NumberTwice),
            (said(3, 2, 4), Kept::New),
        ] {
            assert_eq!(tx.keep(&message, 0).await.unwrap(), kept, "{message:?}");
        }
        let holes: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM gap").fetch_one(&mut *tx).await.unwrap();
        assert_eq!(holes, 0, "number 2 is there, although its message says nothing new");
    }
}
