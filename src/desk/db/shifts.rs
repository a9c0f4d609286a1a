//! Shifts, their members and hand-overs as rows. Who may do what with them is in `desk/shift.rs`.

use super::{Db, DbError, Tx};

/// A shift.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct ShiftRow {
    pub id: String,
    pub unit: String,
    pub duty_day: String,
    pub from_ms: i64,
    pub to_ms: i64,
    /// Account of the shift leader.
    pub leader: String,
    pub focus: String,
    pub version: i64,
    pub created_by: String,
    pub created_ms: i64,
}

/// Somebody on a shift.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Member {
    pub name: String,
    pub duty: String,
}

/// A hand-over.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct HandoverRow {
    pub id: String,
    pub shift_id: String,
    pub to_shift_id: Option<String>,
    /// What was open, as JSON.
    pub items: String,
    pub note: String,
    /// Of what is signed.
    pub sha256: String,
    pub given_by: String,
    pub given_ms: i64,
    pub taken_by: Option<String>,
    pub taken_ms: Option<i64>,
    pub taken_note: String,
    /// 1 = sent back with `taken_note`.
    pub refused: i64,
}

const SHIFT: &str = "id, unit, duty_day, from_ms, to_ms, leader, focus, version, created_by, created_ms";
const HANDOVER: &str =
    "id, shift_id, to_shift_id, items, note, sha256, given_by, given_ms, taken_by, taken_ms, taken_note, refused";

fn shift(rest: &str) -> sqlx::AssertSqlSafe<String> {
    // Only texts of this file are put together.
    sqlx::AssertSqlSafe(format!("SELECT {SHIFT} FROM shift {rest}"))
}

fn handover(rest: &str) -> sqlx::AssertSqlSafe<String> {
    // Only texts of this file are put together.
    sqlx::AssertSqlSafe(format!("SELECT {HANDOVER} FROM handover {rest}"))
}

impl Db {
    /// Newest first.
    pub(crate) async fn shifts(&self, limit: i64) -> Result<Vec<ShiftRow>, DbError> {
        let select = shift("ORDER BY from_ms DESC, id DESC LIMIT $1");
        Ok(sqlx::query_as(select).bind(limit).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn shift(&self, id: &str) -> Result<Option<ShiftRow>, DbError> {
        Ok(sqlx::query_as(shift("WHERE id = $1")).bind(id).fetch_optional(&self.pool).await?)
    }

    pub(crate) async fn members(&self, shift: &str) -> Result<Vec<Member>, DbError> {
        let select = "SELECT name, duty FROM shift_member WHERE shift_id = $1 ORDER BY place";
        Ok(sqlx::query_as(select).bind(shift).fetch_all(&self.pool).await?)
    }

    /// Oldest first.
    pub(crate) async fn handovers(&self, shift: &str) -> Result<Vec<HandoverRow>, DbError> {
        let select = handover("WHERE shift_id = $1 ORDER BY given_ms, id");
        Ok(sqlx::query_as(select).bind(shift).fetch_all(&self.pool).await?)
    }

    /// The newest hand-over of each shift that has one.
    pub(crate) async fn newest_handovers(&self) -> Result<Vec<HandoverRow>, DbError> {
        let select = handover(
            "WHERE id = (SELECT x.id FROM handover x WHERE x.shift_id = handover.shift_id
                         ORDER BY x.given_ms DESC, x.id DESC LIMIT 1)",
        );
        Ok(sqlx::query_as(select).fetch_all(&self.pool).await?)
    }

    /// Open alerts, the worst and newest first: id, office, rule, severity, time.
    pub(crate) async fn alerts_to_hand_over(
        &self,
        limit: i64,
    ) -> Result<Vec<(String, String, String, i64, i64)>, DbError> {
        let select = "SELECT id, office, rule, severity, at_ms FROM alert WHERE state <> 'closed'
                      ORDER BY severity DESC, at_ms DESC LIMIT $1";
        Ok(sqlx::query_as(select).bind(limit).fetch_all(&self.pool).await?)
    }
}

impl Tx {
    pub(crate) async fn shift(&mut self, id: &str) -> Result<Option<ShiftRow>, DbError> {
        Ok(sqlx::query_as(shift("WHERE id = $1")).bind(id).fetch_optional(&mut **self).await?)
    }

    pub(crate) async fn add_shift(&mut self, s: &ShiftRow) -> Result<(), DbError> {
        let insert =
            "INSERT INTO shift (id, unit, duty_day, from_ms, to_ms, leader, focus, version, created_by, created_ms)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let q = sqlx::query(insert).bind(&s.id).bind(&s.unit).bind(&s.duty_day).bind(s.from_ms).bind(s.to_ms);
        let q = q.bind(&s.leader).bind(&s.focus).bind(s.version).bind(&s.created_by).bind(s.created_ms);
        q.execute(&mut **self).await?;
        Ok(())
    }

    /// Writes what may change, if nobody else did since it was read.
    pub(crate) async fn change_shift(&mut self, s: &ShiftRow) -> Result<(), DbError> {
        let update =
            "UPDATE shift SET duty_day = $2, from_ms = $3, to_ms = $4, leader = $5, focus = $6, version = version + 1
                      WHERE id = $1 AND version = $7";
        let q = sqlx::query(update).bind(&s.id).bind(&s.duty_day).bind(s.from_ms).bind(s.to_ms).bind(&s.leader);
        let done = q.bind(&s.focus).bind(s.version).execute(&mut **self).await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(DbError::Changed("the shift".into())) }
    }

    pub(crate) async fn set_members(&mut self, shift: &str, members: &[Member]) -> Result<(), DbError> {
        sqlx::query("DELETE FROM shift_member WHERE shift_id = $1").bind(shift).execute(&mut **self).await?;
        let insert = "INSERT INTO shift_member (shift_id, place, name, duty) VALUES ($1, $2, $3, $4)";
        for (place, m) in (0_i64..).zip(members) {
            let query = sqlx::query(insert).bind(shift).bind(place).bind(&m.name).bind(&m.duty);
            query.execute(&mut **self).await?;
        }
        Ok(())
    }

    pub(crate) async fn handovers(&mut self, shift: &str) -> Result<Vec<HandoverRow>, DbError> {
        let select = handover("WHERE shift_id = $1 ORDER BY given_ms, id");
        Ok(sqlx::query_as(select).bind(shift).fetch_all(&mut **self).await?)
    }

    pub(crate) async fn add_handover(&mut self, h: &HandoverRow) -> Result<(), DbError> {
        // Only texts of this file are put together.
        let insert = sqlx::AssertSqlSafe(format!(
            "INSERT INTO handover ({HANDOVER}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        ));
        let q = sqlx::query(insert).bind(&h.id).bind(&h.shift_id).bind(&h.to_shift_id).bind(&h.items).bind(&h.note);
        let q = q.bind(&h.sha256).bind(&h.given_by).bind(h.given_ms).bind(&h.taken_by).bind(h.taken_ms);
        q.bind(&h.taken_note).bind(h.refused).execute(&mut **self).await?;
        Ok(())
    }

    /// The second signature, or a refusal; only where there is none yet.
    pub(crate) async fn take_handover(&mut self, h: &HandoverRow) -> Result<(), DbError> {
        let update = "UPDATE handover SET to_shift_id = $2, taken_by = $3, taken_ms = $4, taken_note = $5, refused = $6
                      WHERE id = $1 AND taken_ms IS NULL";
        let q = sqlx::query(update).bind(&h.id).bind(&h.to_shift_id).bind(&h.taken_by).bind(h.taken_ms);
        let done = q.bind(&h.taken_note).bind(h.refused).execute(&mut **self).await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(DbError::Changed("the hand-over".into())) }
    }
}
