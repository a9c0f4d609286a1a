//! Tips that call for somebody: for the office that must receive one or check it again, and for the leaders of both sides when
//! nobody received it in time. What a step calls for is in `tip.rs`, rows are in `db/calls.rs`, pages in `web/calls.rs`.

use super::access::{Need, User};
use super::db::DbError;
use super::db::audit::Act;
use super::db::calls::Called;
use super::room::{Room, new_id};
use crate::clock::utc_now;

/// As whom somebody is called; `None` where no tip ever calls for him.
pub(crate) fn called(user: &User) -> Option<Called<'_>> {
    let (works, leads) = (user.role.may(Need::WorkTips), user.role.may(Need::IssueTips));
    (works || leads).then_some(Called { name: &user.name, scope: &user.scope, works, leads })
}

/// Tells leaders of tips that were not received in time, each once.
pub(crate) async fn tell_late(room: &Room) -> Result<(), DbError> {
    tell_late_at(room, utc_now().0).await
}

async fn tell_late_at(room: &Room, now: i64) -> Result<(), DbError> {
    let late = room.db.tips_late(now - i64::from(room.config.tips.receive_within_minutes) * 60_000).await?;
    if late.is_empty() {
        return Ok(());
    }
    let mut tx = room.db.write().await?;
    for id in late {
        let Some(tip) = tx.tip_is_late(&id, now).await? else { continue };
        tracing::warn!(tip = tip.number, office = tip.office, "a tip was not received in time");
        tx.add_tip_action(&new_id(now), &id, now, "", "late", "").await?;
        let object = format!("tip {}", tip.number);
        tx.audit(Act { account: "", office: &tip.office, action: "tip.late", object: &object, detail: "" }).await?;
    }
    tx.commit().await?;
    room.hub.nudge();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::access::Role;
    use crate::desk::access::tests::user;
    use crate::desk::db::Scope;
    use crate::desk::db::tips::TipRow;
    use crate::desk::tip::Step;
    use crate::desk::tips_duty::{self, Draft};

    fn person(name: &str, role: Role, offices: &str) -> User {
        User { name: name.into(), role, scope: Scope::parse(offices), ..user() }
    }

    async fn issued(room: &Room, office: &str, by: &User) -> TipRow {
        let draft = Draft {
            office: office.into(),
            containers: "CSQU3054383".into(),
            subject: "Khai sai mã hàng".into(),
            suspicion: "name_code".into(),
            due_ms: Some(1),
            ..Draft::default()
        };
        let tip = tips_duty::create(room, by, draft, None).await.unwrap();
        tips_duty::step(room, by, &tip.id, tip.version, Step::Issue).await.unwrap()
    }

    /// How many tips call for somebody, and what he is told that is newer than `after`.
    async fn hears(room: &Room, who: &User, after: i64) -> (i64, Vec<String>) {
        let who = called(who).unwrap();
        let told = room.db.called_since(&who, after, 9).await.unwrap();
        let count = room.db.calling(&who).await.unwrap();
        assert_eq!(room.db.tips_calling(&who, 99).await.unwrap().len(), usize::try_from(count).unwrap(), "the list");
        (count, told.into_iter().map(|c| c.called).collect())
    }

    fn heard(count: i64, told: &[&str]) -> (i64, Vec<String>) {
        (count, told.iter().map(|t| (*t).to_owned()).collect())
    }

    #[tokio::test]
    async fn a_tip_calls_for_who_must_receive_it_until_he_does_and_again_when_it_is_returned() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let unit = person("binh", Role::ShiftLeader, "A1K2");
        let field = person("cuong", Role::Field, "15BB");
        let other = person("giang", Role::Field, "20BB");
        let own = person("dao", Role::Supervisor, "*");
        assert!(called(&person("an", Role::Officer, "15BB")).is_none(), "who receives none");
        let mut tip = issued(&room, "15BB", &own).await;
        assert_eq!(hears(&room, &field, 0).await, heard(1, &["new"]));
        assert_eq!(hears(&room, &other, 0).await, heard(0, &[]), "another office");
        assert_eq!(hears(&room, &unit, 0).await, heard(0, &[]), "the unit waits for the office");
        assert_eq!(hears(&room, &own, 0).await, heard(1, &[]), "he did it himself");
        let seen = room.db.newest_write().await.unwrap();
        assert_eq!(hears(&room, &field, seen).await, heard(1, &[]), "told, and it still calls");
        for step in [Step::Receive, Step::Start] {
            tip = tips_duty::step(&room, &field, &tip.id, tip.version, step).await.unwrap();
            assert_eq!(hears(&room, &field, 0).await, heard(0, &[]));
        }
        let report = Step::Report { text: "đúng khai báo".into() };
        tip = tips_duty::step(&room, &field, &tip.id, tip.version, report).await.unwrap();
        let back = Step::Return { reason: "chưa cân hàng".into() };
        tip = tips_duty::step(&room, &unit, &tip.id, tip.version, back).await.unwrap();
        assert_eq!(hears(&room, &field, seen).await, heard(1, &["returned"]));
        let report = Step::Report { text: "thừa 2 tấn".into() };
        tip = tips_duty::step(&room, &field, &tip.id, tip.version, report).await.unwrap();
        assert_eq!(hears(&room, &field, 0).await, heard(0, &[]));
        let settle =
            Step::Settle { result: "no_violation".into(), text: String::new(), basis: String::new(), no_amount: false };
        tip = tips_duty::step(&room, &unit, &tip.id, tip.version, settle).await.unwrap();
        let again = Step::Reopen { reason: "có chứng từ mới".into() };
        tips_duty::step(&room, &unit, &tip.id, tip.version, again).await.unwrap();
        assert_eq!(hears(&room, &field, seen).await, heard(1, &["returned"]));
    }

    #[tokio::test]
    async fn what_is_not_received_in_time_is_told_to_the_leaders_of_both_sides_once() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let unit = person("binh", Role::ShiftLeader, "A1K2");
        let office = person("chi", Role::ShiftLeader, "15BB");
        let field = person("cuong", Role::Field, "15BB");
        let stranger = person("giang", Role::ShiftLeader, "20BB");
        let tip = issued(&room, "15BB", &unit).await;
        let at = tip.issued_ms.unwrap();
        let seen = room.db.newest_write().await.unwrap();
        tell_late_at(&room, at + 30 * 60_000 - 1).await.unwrap();
        assert_eq!(hears(&room, &unit, seen).await, heard(0, &[]));
        tell_late_at(&room, at + 30 * 60_000).await.unwrap();
        assert_eq!(hears(&room, &unit, seen).await, heard(1, &["late"]));
        assert_eq!(hears(&room, &office, seen).await, heard(1, &["late"]), "once counted, though it is both");
        assert_eq!(hears(&room, &field, seen).await, heard(1, &[]), "he was told when it came");
        assert_eq!(hears(&room, &stranger, seen).await, heard(0, &[]));
        // Who was away since before it came hears that it is new; leaders, that it is late already.
        assert_eq!(hears(&room, &field, 0).await, heard(1, &["new"]));
        assert_eq!(hears(&room, &office, 0).await, heard(1, &["late"]));
        assert_eq!(hears(&room, &unit, 0).await, heard(1, &["late"]));
        let told = room.db.newest_write().await.unwrap();
        tell_late_at(&room, at + 90 * 60_000).await.unwrap();
        assert_eq!(hears(&room, &unit, told).await, heard(1, &[]), "told once, counted until it is received");
        let did = room.db.tip_history(&tip.id).await.unwrap();
        assert_eq!(did.iter().filter(|d| d.action == "late").count(), 1);
        // Nobody's form is refused because of it.
        tips_duty::step(&room, &field, &tip.id, tip.version, Step::Receive).await.unwrap();
        for who in [&unit, &office, &field] {
            assert_eq!(hears(&room, who, 0).await, heard(0, &[]));
        }
        tell_late_at(&room, at + 999 * 60_000).await.unwrap();
        assert_eq!(hears(&room, &unit, 0).await, heard(0, &[]));
    }
}
