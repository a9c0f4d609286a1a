//! Shifts: who is on duty now with what focus, the roster, and the form of a new shift.

use axum::Extension;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts;
use crate::clock::{UtcMillis, utc_now};
use crate::desk::access::{Need, Role};
use crate::desk::db::DbError;
use crate::desk::db::shifts::{Member, ShiftRow};
use crate::desk::shift::{self, DUTIES, MAX_MEMBERS, Plan};

/// Shifts on the page.
const SHOWN: i64 = 60;
/// A duty lasts a day.
const DAY_MS: i64 = 86_400_000;

/// The page.
pub(crate) async fn list(Extension(ctx): Extension<Ctx>) -> Answer {
    super::audit::viewed(&ctx, "shifts", "", "").await.or_problem(&ctx)?;
    let db = &ctx.room.db;
    let shifts = db.shifts(SHOWN).await.or_problem(&ctx)?;
    let handed = db.newest_handovers().await.or_problem(&ctx)?;
    let people = People::load(&ctx).await.or_problem(&ctx)?;
    let now = utc_now().0;
    let last_end = shifts.iter().map(|s| s.to_ms).max();
    let newest = |s: &ShiftRow| handed.iter().find(|h| h.shift_id == s.id);
    let content = html! {
        @for s in shifts.iter().filter(|s| s.from_ms <= now && now < s.to_ms) {
            section.card { h2 { (ctx.t("shift.now")) ": " a href={ "/shifts/" (s.id) } { (people.name(&s.leader)) } }
                p.line { (parts::time(&ctx, s.from_ms)) " – " (parts::time(&ctx, s.to_ms)) }
                @if !s.focus.is_empty() { p { strong { (ctx.t("shift.focus")) ": " } (s.focus) } } }
        }
        @if shifts.is_empty() { p.hint { (ctx.t("nothing")) } } @else { div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            thead { tr { th scope="col" { (ctx.t("duty_day")) } th scope="col" { (ctx.t("shift.from")) } th scope="col" { (ctx.t("shift.to")) }
                th scope="col" { (ctx.t("shift.leader")) } th scope="col" { (ctx.t("shift.focus")) } th scope="col" { (ctx.t("handover")) } } }
            tbody { @for s in &shifts { tr {
                td { a href={ "/shifts/" (s.id) } { (parts::day(&s.duty_day)) } }
                td { (parts::time(&ctx, s.from_ms)) } td { (parts::time(&ctx, s.to_ms)) } td { (people.name(&s.leader)) }
                td.wrap { (s.focus) }
                td { @match newest(s) {
                    Some(h) if h.taken_ms.is_none() => span.up { (ctx.t("handover.waits")) },
                    Some(h) if h.refused != 0 => span.up { (ctx.t("handover.sent_back")) },
                    Some(_) => span.good { (ctx.t("handover.taken")) },
                    None if s.to_ms < now => span.up { (ctx.t("handover.missing")) },
                    None => "–",
                } }
            } } }
        } } }
        @if ctx.may(Need::LeadShifts) {
            details.card { summary data-act="shift" { (ctx.t("shift.add")) }
                form method="post" action="/shifts" { (token(&ctx)) (fields(&ctx, &people, &suggested(&ctx, last_end, now))) p { button.main { (ctx.t("save")) } } } }
        }
    };
    Ok(page(&ctx, ctx.t("shifts"), "/shifts", &content))
}

/// The next shift begins where the last one ends.
fn suggested(ctx: &Ctx, last_end: Option<i64>, now: i64) -> Plan {
    let from_ms = last_end.filter(|end| *end > now - DAY_MS).unwrap_or(now);
    let duty_day = ctx.room.zone.duty_day(UtcMillis(from_ms));
    let (leader, focus) = (String::new(), String::new());
    Plan { duty_day, from_ms, to_ms: from_ms + DAY_MS, leader, focus, members: Vec::new() }
}

/// Accounts by name.
pub(crate) struct People(Vec<(String, String, String)>);

impl People {
    pub(crate) async fn load(ctx: &Ctx) -> Result<Self, DbError> {
        let all = ctx.room.db.accounts().await?;
        Ok(Self(all.into_iter().filter(|a| a.disabled == 0).map(|a| (a.name, a.display, a.role)).collect()))
    }

    pub(crate) fn name(&self, account: &str) -> String {
        self.0.iter().find(|(n, _, _)| n == account).map_or_else(|| account.to_owned(), |(_, d, _)| d.clone())
    }

    fn leaders(&self) -> Vec<(String, String)> {
        let leads = |role: &str| matches!(Role::parse(role), Some(Role::ShiftLeader | Role::Supervisor));
        self.0.iter().filter(|(_, _, r)| leads(r)).map(|(n, d, _)| (n.clone(), d.clone())).collect()
    }
}

/// The fields of a roster entry.
pub(crate) fn fields(ctx: &Ctx, people: &People, plan: &Plan) -> Markup {
    let duties = parts::options(ctx, "duty", &DUTIES);
    html! {
        div.pairs {
            label { (ctx.t("shift.from")) input type="datetime-local" name="from" value=(parts::input_time(ctx, Some(plan.from_ms))) required; }
            label { (ctx.t("shift.to")) input type="datetime-local" name="to" value=(parts::input_time(ctx, Some(plan.to_ms))) required; }
            label { (ctx.t("shift.leader")) (parts::select("leader", &plan.leader, Some(ctx.t("choose")), &people.leaders())) }
            label.wide { (ctx.t("shift.focus")) textarea name="focus" rows="3" maxlength="2000" { (plan.focus) } }
        }
        fieldset.members { legend { (ctx.t("shift.members")) }
            @for i in 0..MAX_MEMBERS {
                @let m = plan.members.get(i);
                div.line {
                    label { span.unseen { (ctx.t("shift.duty")) " " (i + 1) } (parts::select(&format!("duty{i}"), m.map_or("", |m| &m.duty), Some("–"), &duties)) }
                    label { span.unseen { (ctx.t("account.display")) " " (i + 1) } input name={ "name" (i) } value=(m.map_or("", |m| &m.name)) maxlength="100" autocomplete="off"; }
                }
            }
        }
    }
}

/// Reads them. The duty day is that of the beginning.
pub(crate) fn read(post: &Post) -> Result<Plan, &'static str> {
    let ctx = &post.ctx;
    let time = |name: &str| parts::read_time(ctx, post.get(name)).ok().flatten().ok_or("refusal.time");
    let (from_ms, to_ms) = (time("from")?, time("to")?);
    let member = |i: usize| {
        let (duty, name) = (post.get(&format!("duty{i}")), post.get(&format!("name{i}")));
        let good = !name.is_empty() && DUTIES.contains(&duty);
        good.then(|| Member { name: name.chars().take(100).collect(), duty: duty.into() })
    };
    Ok(Plan {
        duty_day: ctx.room.zone.duty_day(UtcMillis(from_ms)),
        from_ms,
        to_ms,
        leader: post.get("leader").into(),
        focus: post.get("focus").chars().take(2000).collect(),
        members: (0..MAX_MEMBERS).filter_map(member).collect(),
    })
}

/// Writes a new shift.
pub(crate) async fn add(post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let plan = read(&post).map_err(|key| Problem::refused(ctx.language, key))?;
    let id = shift::add(&ctx.room, &ctx.user, plan).await.or_problem(ctx)?;
    Ok(Redirect::to(&format!("/shifts/{id}")).into_response())
}
