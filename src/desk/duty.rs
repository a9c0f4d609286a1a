//! What people decide, in one transaction each: the step, its history, its audit and what is published. Which steps
//! there are is in `alert.rs` and `tip.rs`; who may take them in `access.rs`.

use super::access::User;
use super::alert::{self, Step};
use super::db::DbError;
use super::db::alerts::AlertRow;
use super::db::audit::Act;
use super::room::{Room, new_id};
use crate::clock::{UtcMillis, utc_now};

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DutyError {
    /// There is no such thing, or it is another office's.
    #[error("not found")]
    NotFound,
    /// The step is not allowed now; key of a sentence in `words.rs`.
    #[error("{0}")]
    Refused(&'static str),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for DutyError {
    fn from(e: sqlx::Error) -> Self {
        Self::Db(e.into())
    }
}

/// Takes a step with an alert.
pub(crate) async fn alert_step(room: &Room, user: &User, id: &str, step: &Step) -> Result<AlertRow, DutyError> {
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let mut row = tx.alert(id).await?.filter(|a| user.scope.holds(&a.office)).ok_or(DutyError::NotFound)?;
    let next = alert::step(&row.core(), step, &user.name, now).map_err(|r| DutyError::Refused(r.key()))?;
    let Some((core, entry)) = next else { return Ok(row) };
    row.set_core(&core);
    tx.change_alert(&row).await?;
    row.version += 1;
    tx.add_alert_action(&new_id(now), id, now, &user.name, &entry).await?;
    let detail = [entry.reason.as_str(), entry.note.as_str()].join(" ");
    let action = format!("alert.{}", entry.action);
    tx.audit(Act { account: &user.name, office: &row.office, action: &action, object: id, detail: detail.trim() })
        .await?;
    tx.touch(id, false).await?;
    tx.commit().await?;
    room.hub.nudge();
    Ok(row)
}

/// Alerts that nobody looked at go to the shift leader; those of an earlier duty day are counted as unseen.
pub(crate) async fn escalate_by_time(room: &Room) -> Result<(), DbError> {
    let now = utc_now().0;
    let after = &room.config.alerts;
    let before = now - i64::from(after.escalate_after_s) * 1000;
    let critical = now - i64::from(after.escalate_critical_after_s) * 1000;
    let today = room.zone.duty_day(UtcMillis(now));
    let due = room.db.alerts_due(before, critical, &today).await?;
    if due.is_empty() {
        return Ok(());
    }
    let mut tx = room.db.write().await?;
    for id in due {
        // Read inside the transaction: somebody may have looked meanwhile.
        let Some(mut row) = tx.alert(&id).await? else { continue };
        let step = if row.duty_day < today { Step::EndOfDay } else { Step::EscalateByTime };
        let Ok(Some((core, entry))) = alert::step(&row.core(), &step, "", now) else { continue };
        row.set_core(&core);
        tx.change_alert(&row).await?;
        tx.add_alert_action(&new_id(now), &row.id, now, "", &entry).await?;
        tx.touch(&row.id, entry.action == "escalate_time").await?;
    }
    tx.commit().await?;
    room.hub.nudge();
    Ok(())
}
