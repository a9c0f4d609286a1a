//! One shift: roster, focus, what is open now, and the hand-over with its two signatures.

use axum::Extension;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts::{self, Offices};
use super::shifts::{People, fields, read};
use crate::desk::access::{Need, Role};
use crate::desk::db::shifts::{HandoverRow, Member, ShiftRow};
use crate::desk::shift::{self, Item, Open, Plan, Standing, standing};

/// The page.
pub(crate) async fn detail(Extension(ctx): Extension<Ctx>, Path(id): Path<String>) -> Answer {
    let db = &ctx.room.db;
    let row = db.shift(&id).await.or_problem(&ctx)?.or_problem(&ctx)?;
    super::audit::viewed(&ctx, "shift.view", &format!("shift {id}"), "").await.or_problem(&ctx)?;
    let members = db.members(&id).await.or_problem(&ctx)?;
    let handovers = db.handovers(&id).await.or_problem(&ctx)?;
    let people = People::load(&ctx).await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let next = db.shifts(60).await.or_problem(&ctx)?;
    let stands = standing(&handovers);
    let now_open = if stands == Standing::Running { Some(shift::open_items(db).await.or_problem(&ctx)?) } else { None };
    let content = html! {
        div.detail {
            div.main-column {
                (facts(&ctx, &people, &row, &members))
                @for h in handovers.iter().rev() { (handover(&ctx, &people, &offices, h)) }
                @if let Some(open) = &now_open { section.card { h2 { (ctx.t("handover.open_now")) } (list(&ctx, &offices, open)) } }
            }
            div.side-column { (steps(&ctx, &people, &row, &members, &handovers, &next)) }
        }
    };
    Ok(page(&ctx, &format!("{} {}", ctx.t("shift"), parts::day(&row.duty_day)), "/shifts", &content))
}

fn facts(ctx: &Ctx, people: &People, row: &ShiftRow, members: &[Member]) -> Markup {
    html! {
        dl.facts {
            dt { (ctx.t("duty_day")) } dd { (parts::day(&row.duty_day)) " · " (ctx.t("unit")) " " (row.unit) }
            dt { (ctx.t("when")) } dd { (parts::time(ctx, row.from_ms)) " – " (parts::time(ctx, row.to_ms)) }
            dt { (ctx.t("shift.leader")) } dd { strong { (people.name(&row.leader)) } }
            dt { (ctx.t("shift.focus")) } dd { @if row.focus.is_empty() { "–" } @else { (row.focus) } }
            dt { (ctx.t("shift.members")) }
            dd { @if members.is_empty() { "–" } @for m in members { (m.name) " – " (ctx.value("duty", &m.duty)) br; } }
        }
    }
}

/// What is open, of the offices that the reader sees; the others are only counted.
fn list(ctx: &Ctx, offices: &Offices, open: &Open) -> Markup {
    let counts: Vec<String> = open.counts.iter().map(|(kind, n)| format!("{}: {n}", ctx.value("open", kind))).collect();
    let seen: Vec<&Item> = open.items.iter().filter(|i| ctx.user.scope.holds(&i.office)).collect();
    html! {
        @if open.items.is_empty() { p.good { (ctx.t("handover.nothing")) } } @else { p { strong { (counts.join(" · ")) } } }
        @if !seen.is_empty() { div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            thead { tr { th scope="col" { (ctx.t("what")) } th scope="col" { (ctx.t("open.item")) } th scope="col" { (ctx.t("office")) } th scope="col" { (ctx.t("when")) } } }
            tbody { @for i in seen { tr {
                td { (ctx.value("open", &i.kind)) @if i.severity > 0 { " " (parts::severity(ctx, i.severity)) } }
                td.wrap { (what(ctx, i)) } td { (offices.name(&i.office)) }
                td { @if i.at_ms > 0 { (parts::time(ctx, i.at_ms)) } @else { "–" } }
            } } }
        } } }
    }
}

fn what(ctx: &Ctx, i: &Item) -> Markup {
    let two = |text: &str| text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap_or_default();
    match i.kind.as_str() {
        "alert" => html! { a href={ "/alerts/" (i.id) } { (ctx.value("rule", &i.what)) } },
        "tip" => {
            html! { @let (number, state) = two(&i.what); a href={ "/tips/" (i.id) } { (number) } " " (ctx.value("tip_state", &state)) }
        }
        "stop" => html! { a href={ "/tips/" (i.id) } { (i.what) } },
        "camera" => {
            html! { @let (place, state) = i.what.rsplit_once(' ').unwrap_or((&i.what, "")); (place) " " (ctx.value("camera_state", state)) }
        }
        "hold" => match i.id.strip_prefix("camera:") {
            Some(camera) => html! { a href={ "/footage?camera=" (super::alerts::escaped(camera)) } { (i.what) } },
            None => html! { a href={ "/alerts/" (i.id) } { (i.what) } },
        },
        "chain" => {
            html! { @let (name, fault) = two(&i.what); (name) " " (ctx.value("rule", &format!("chain_{fault}"))) }
        }
        _ => html! { (i.what) },
    }
}

fn handover(ctx: &Ctx, people: &People, offices: &Offices, h: &HandoverRow) -> Markup {
    let open: Open = serde_json::from_str(&h.items).unwrap_or_default();
    html! {
        section.card {
            h2 { (ctx.t("handover")) " " (parts::time(ctx, h.given_ms)) }
            p { (ctx.t("handover.given")) ": " strong { (people.name(&h.given_by)) } " · " (parts::time(ctx, h.given_ms)) }
            @if let (Some(by), Some(at)) = (&h.taken_by, h.taken_ms) {
                p { @if h.refused != 0 { span.up { (ctx.t("handover.sent_back")) } } @else { (ctx.t("handover.taken")) } ": " strong { (people.name(by)) } " · " (parts::time(ctx, at))
                    @if !h.taken_note.is_empty() { " · " q { (h.taken_note) } } }
            } @else { p.up { (ctx.t("handover.waits")) } }
            @if !h.note.is_empty() { p { (ctx.t("note")) ": " (h.note) } }
            @if shift::is_whole(h) { p.hint { "SHA-256 " code { (h.sha256) } } } @else { p.alarm role="alert" { (ctx.t("handover.changed")) } }
            @if let Some(to) = &h.to_shift_id { p { a href={ "/shifts/" (to) } { (ctx.t("handover.next")) } } }
            details { summary { (ctx.t("handover.items")) " (" (open.items.len()) ")" } (list(ctx, offices, &open)) }
        }
    }
}

fn steps(
    ctx: &Ctx,
    people: &People,
    row: &ShiftRow,
    members: &[Member],
    handovers: &[HandoverRow],
    shifts: &[ShiftRow],
) -> Markup {
    let leads = row.leader == ctx.user.name || ctx.user.role == Role::Supervisor;
    let later = shifts.iter().filter(|s| s.id != row.id && s.from_ms >= row.from_ms);
    let later: Vec<_> =
        later.map(|s| (s.id.clone(), format!("{} {}", parts::day(&s.duty_day), people.name(&s.leader)))).collect();
    let form = |step: &str, fields: Markup, key: &str| {
        html! {
            form.stack method="post" action={ "/shifts/" (row.id) "/" (step) } { (token(ctx)) (fields) p.line { button.main { (ctx.t(key)) } } }
        }
    };
    let seen = html! { input type="hidden" name="version" value=[handovers.last().map(|h| h.id.as_str())]; };
    let note = html! { label { (ctx.t("note")) textarea name="note" rows="3" maxlength="2000" {} } };
    html! {
        section.steps.noprint {
            @match (standing(handovers), ctx.may(Need::LeadShifts)) {
                (Standing::Running, true) => {
                    @if leads { h2 { (ctx.t("handover")) } (form("give", html! { (note) p.hint { (ctx.t("handover.hint")) } }, "handover.give")) }
                    details { summary data-act="change" { (ctx.t("shift.change")) } (form("change", html! { input type="hidden" name="version" value=(row.version); (fields(ctx, people, &plan(row, members))) }, "save")) }
                },
                (Standing::Given, true) => {
                    h2 { (ctx.t("handover.take")) }
                    (form("take", html! { (seen) label { (ctx.t("handover.next")) (parts::select("to", later.last().map_or("", |(id, _)| id), Some("–"), &later)) } (note) }, "handover.sign"))
                    details { summary data-act="send_back" { (ctx.t("handover.send_back")) } (form("send_back", html! { (seen) label { (ctx.t("reason")) textarea name="note" rows="3" maxlength="2000" required {} } }, "handover.send_back")) }
                },
                _ => {},
            }
        }
    }
}

fn plan(row: &ShiftRow, members: &[Member]) -> Plan {
    Plan {
        duty_day: row.duty_day.clone(),
        from_ms: row.from_ms,
        to_ms: row.to_ms,
        leader: row.leader.clone(),
        focus: row.focus.clone(),
        members: members.to_vec(),
    }
}

/// Changes, gives, takes, or sends back.
pub(crate) async fn take_step(Path((id, step)): Path<(String, String)>, post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let note: String = post.get("note").chars().take(2000).collect();
    let to = Some(post.get("to")).filter(|t| !t.is_empty());
    let (room, user) = (&ctx.room, &ctx.user);
    let done = match step.as_str() {
        "change" => {
            let plan = read(&post).map_err(|key| Problem::refused(ctx.language, key))?;
            // Without one nothing is overwritten: no shift has it.
            let version = post.get("version").parse().unwrap_or(0);
            shift::change(room, user, &id, version, plan).await
        }
        "give" => shift::give(room, user, &id, &note).await,
        "take" => shift::take(room, user, (&id, post.get("version")), to, &note, false).await,
        "send_back" => shift::take(room, user, (&id, post.get("version")), None, &note, true).await,
        _ => return Err(Problem::not_found(ctx.language)),
    };
    done.or_problem(ctx)?;
    Ok(Redirect::to(&format!("/shifts/{id}")).into_response())
}
