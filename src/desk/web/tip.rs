//! One tip: what it is about, its next step, samples, money, and its history. Measures, stops and holds: `tip_measures.rs`; its
//! files: `tip_files.rs`; what the boxes answer: `tip_footage.rs`. A form that is not taken comes back with what was typed, on the
//! page as it is now.

use axum::Extension;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::declaration::key_of;
use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts::{self, Offices};
use super::{tip_files, tip_footage, tip_measures};
use crate::clock::utc_now;
use crate::desk::access::Need;
use crate::desk::db::tips::{Sample, TipAction, TipRow};
use crate::desk::duty::DutyError;
use crate::desk::room::new_id;
use crate::desk::tip::{self, MONEY, Money, RESULTS, State, Step};
use crate::desk::tip_measures as measures;
use crate::desk::tips_duty::{self, Draft, enters, is_seen, may_step};

/// Fields of forms that take long to write.
const WRITTEN: [&str; 13] = [
    "text", "reason", "basis", "note", "outcome", "subject", "amount", "decision", "decl", "code", "seal", "lab",
    "result",
];

/// A form that was not taken.
pub(crate) struct Kept<'a> {
    /// Step that it was for.
    step: &'a str,
    post: &'a Post,
    /// Why not; key of a sentence.
    why: &'static str,
}

/// What stands in a field: what was typed into it, or else what the desk has.
pub(crate) fn typed<'a>(kept: Option<&'a Kept<'a>>, step: &str, name: &str, otherwise: &'a str) -> &'a str {
    kept.filter(|k| k.step == step).map_or(otherwise, |k| k.post.get(name))
}

/// The page.
pub(crate) async fn detail(Extension(ctx): Extension<Ctx>, Path(id): Path<String>) -> Answer {
    shown(&ctx, &id, None).await
}

/// The page again after a form that was not taken, with what was typed: nobody writes a report twice.
pub(crate) async fn not_taken(post: &Post, id: &str, step: &str, error: &DutyError) -> Answer<Response> {
    let problem = Problem::from_duty(post.ctx.language, error);
    let Some(why) = problem.refusal() else { return Err(problem) };
    let page = shown(&post.ctx, id, Some(&Kept { step, post, why })).await?;
    Ok((StatusCode::CONFLICT, page).into_response())
}

async fn shown(ctx: &Ctx, id: &str, kept: Option<&Kept<'_>>) -> Answer {
    let db = &ctx.room.db;
    let t = db.tip(id).await.or_problem(ctx)?.filter(|t| is_seen(&ctx.user, t)).or_problem(ctx)?;
    super::audit::viewed_of(ctx, &t.office, "tip.view", &format!("tip {}", t.number), "").await.or_problem(ctx)?;
    let offices = Offices::load(ctx).await.or_problem(ctx)?;
    let samples = db.samples(id).await.or_problem(ctx)?;
    let money = db.money(id).await.or_problem(ctx)?;
    let measures = db.measures(id).await.or_problem(ctx)?;
    let orders = db.orders_of_tip(id).await.or_problem(ctx)?;
    let answers = db.answers(id).await.or_problem(ctx)?;
    let alerts = tip_footage::alerts_of(ctx, &answers).await.or_problem(ctx)?;
    let history = db.tip_history(id).await.or_problem(ctx)?;
    let files = db.files(id).await.or_problem(ctx)?;
    let merged = match &t.merged_into {
        Some(into) => db.tip(into).await.or_problem(ctx)?,
        None => None,
    };
    let content = html! {
        @if let Some(kept) = kept { (refused(ctx, &t, kept)) }
        div.detail {
            div.main-column {
                p.line { span.state { (ctx.value("tip_state", &t.state)) } (super::tips::late(ctx, &t))
                    @if let Some(result) = &t.result { strong { (ctx.value("result", result)) } }
                    @if let Some(into) = &merged { a href={ "/tips/" (into.id) } { (into.number) } } }
                (facts(ctx, &offices, &t))
                (tip_measures::part(ctx, &t, &measures, &orders))
                (samples_part(ctx, &t, &samples))
                (money_part(ctx, &t, &money))
                (tip_files::part(ctx, &t, &files, &history))
                (tip_footage::part(ctx, &t, &answers, &alerts, &orders))
            }
            div.side-column { (steps(ctx, &offices, &t, kept)) (history_part(ctx, &history)) }
        }
    };
    Ok(page(ctx, &format!("{} {}", ctx.t("tip"), t.number), "/tips", &content))
}

/// Why it was not taken; and what was written, where its form is no longer on the page.
fn refused(ctx: &Ctx, t: &TipRow, kept: &Kept<'_>) -> Markup {
    let draft = t.state == State::Draft.as_str() && ctx.may(Need::DraftTips);
    let offered = offered(ctx, t).contains(&kept.step)
        || (kept.step == "edit" && draft)
        || (kept.step == "measure" && enters(&ctx.user, t));
    let written = WRITTEN.map(|name| kept.post.get(name)).into_iter().filter(|text| !offered && !text.is_empty());
    html! {
        p.alarm role="alert" { (ctx.t(kept.why)) }
        @for text in written { p.hint { (ctx.t("typed")) } blockquote { (text) } }
    }
}

fn facts(ctx: &Ctx, offices: &Offices, t: &TipRow) -> Markup {
    html! {
        dl.facts {
            dt { (ctx.t("tip.subject")) } dd { (t.subject) }
            dt { (ctx.t("tip.suspicion")) } dd { (ctx.value("suspicion", &t.suspicion)) }
            dt { (ctx.t("unit")) } dd { (offices.name(&t.unit)) }
            dt { (ctx.t("tip.target")) } dd { (offices.name(&t.office)) }
            @if let Some(key) = &t.decl_key { dt { (ctx.t("declaration")) } dd { (parts::declaration(key)) } }
            @if !t.containers.is_empty() { dt { (ctx.t("containers")) } dd { (t.containers) } }
            @if !t.plates.is_empty() { dt { (ctx.t("plates")) } dd { (t.plates) } }
            @if t.from_ms.is_some() || t.to_ms.is_some() {
                dt { (ctx.t("tip.from")) } dd { (parts::maybe_time(ctx, t.from_ms)) " " (ctx.t("until")) " " (parts::maybe_time(ctx, t.to_ms)) }
            }
            @if let Some(alert) = &t.alert_id { dt { (ctx.t("tip.alert")) } dd { a href={ "/alerts/" (alert) } { (ctx.t("act.open")) }
                @if ctx.may(Need::Footage) { " " (tip_footage::play(ctx, &format!("/alerts/{alert}/footage"), "of-alert")) } } }
            dt { (ctx.t("tip.created")) } dd { (parts::time(ctx, t.created_ms)) " · " (t.created_by) }
            dt { (ctx.t("tip.issued")) } dd { (parts::maybe_time(ctx, t.issued_ms)) }
            dt { (ctx.t("tip.due")) } dd { (parts::maybe_time(ctx, t.due_ms)) }
            @if !t.result_text.is_empty() { dt { (ctx.t("result.text")) } dd { (t.result_text) } }
            @if t.settled_ms.is_some() {
                dt { (ctx.t("tip.settled")) } dd { (parts::maybe_time(ctx, t.settled_ms)) }
                @if !t.basis.is_empty() { dt { (ctx.t("basis.legal")) } dd { (t.basis) } }
                @if t.no_amount != 0 { dt { (ctx.t("money")) } dd { (ctx.t("no_amount")) } }
            }
        }
    }
}

/// Steps that the reader may take now.
fn offered(ctx: &Ctx, t: &TipRow) -> Vec<&'static str> {
    let all = State::parse(&t.state).map(tip::steps).unwrap_or_default();
    all.iter().copied().filter(|step| may_step(&ctx.user, t, step)).collect()
}

fn steps(ctx: &Ctx, offices: &Offices, t: &TipRow, kept: Option<&Kept<'_>>) -> Markup {
    let any = State::parse(&t.state).is_some_and(|s| !tip::steps(s).is_empty());
    let mine = offered(ctx, t);
    let draft = t.state == State::Draft.as_str() && ctx.may(Need::DraftTips);
    let is = |step: &str| kept.is_some_and(|k| k.step == step);
    html! {
        section.steps.noprint {
            @if any { h2 { (ctx.t("tip.next")) } }
            @if mine.is_empty() && any && !draft { p.hint { (ctx.t("tip.wait_other")) } }
            @for (i, step) in mine.iter().enumerate() { (step_form(ctx, t, step, i == 0, kept)) }
            @if draft { details open[is("edit")] { summary data-act="edit" { (ctx.t("tip.edit")) } (edit_form(ctx, offices, t, kept)) } }
            @if enters(&ctx.user, t) { details open[is("measure")] { summary data-act="measure" { (ctx.t("actions")) } (tip_measures::form(ctx, t, kept)) } }
        }
    }
}

/// The version that a form is about goes with it.
fn version(t: &TipRow) -> Markup {
    html! { input type="hidden" name="version" value=(t.version); }
}

fn step_form(ctx: &Ctx, t: &TipRow, step: &str, first: bool, kept: Option<&Kept<'_>>) -> Markup {
    let kind = if tip::is_work(step) { "work" } else { "lead" };
    let label = ctx.value("step", step);
    let was = |name: &str| typed(kept, step, name, "");
    let area = |name: &str, key: &str, given: &str| {
        html! {
            label { (ctx.t(key)) textarea name=(name) rows="2" maxlength="4000" { (typed(kept, step, name, given)) } }
        }
    };
    let fields = match step {
        "report" => area("text", "result.text", &t.result_text),
        "return" | "reopen" | "cancel" => area("reason", "reason", ""),
        "merge" => {
            html! { label { (ctx.t("step.merge_into")) input name="into" value=(was("into")) autocomplete="off"; } }
        }
        "settle" => html! {
            label { (ctx.t("result")) (parts::select("result", was("result"), Some(ctx.t("choose")), &parts::options(ctx, "result", &RESULTS))) }
            (area("text", "result.text", &t.result_text))
            (area("basis", "basis.legal", &t.basis))
            label.tick { input type="checkbox" name="no_amount" value="1" checked[!was("no_amount").is_empty()]; (ctx.t("no_amount")) }
        },
        _ => html! {},
    };
    let bare = matches!(step, "issue" | "receive" | "start");
    html! {
        @if bare {
            form method="post" action={ "/tips/" (t.id) "/" (kind) "/" (step) } { (token(ctx)) (version(t)) button.main[first] { (label) } }
        } @else {
            details open[first || kept.is_some_and(|k| k.step == step)] {
                summary data-act=(step) { (label) }
                form.stack method="post" action={ "/tips/" (t.id) "/" (kind) "/" (step) } { (token(ctx)) (version(t)) (fields) p { button.main { (label) } } }
            }
        }
    }
}

fn edit_form(ctx: &Ctx, offices: &Offices, t: &TipRow, kept: Option<&Kept<'_>>) -> Markup {
    let draft = Draft {
        unit: t.unit.clone(),
        office: t.office.clone(),
        decl_key: t.decl_key.clone(),
        containers: t.containers.clone(),
        plates: t.plates.clone(),
        subject: t.subject.clone(),
        suspicion: t.suspicion.clone(),
        from_ms: t.from_ms,
        to_ms: t.to_ms,
        due_ms: t.due_ms,
    };
    let has = super::tip_edit::of_draft(ctx, &draft);
    let value = |name: &str| typed(kept, "edit", name, &has(name)).to_owned();
    html! {
        form method="post" action={ "/tips/" (t.id) "/edit" } {
            (token(ctx)) (version(t)) (super::tip_edit::fields(ctx, offices, &value)) p { button.main { (ctx.t("save")) } }
        }
    }
}

fn samples_part(ctx: &Ctx, t: &TipRow, samples: &[Sample]) -> Markup {
    let may = enters(&ctx.user, t);
    html! {
        @if may || !samples.is_empty() {
            h2 { (ctx.t("samples")) }
            @if !samples.is_empty() { div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
                thead { tr { th scope="col" { (ctx.t("sample.code")) } th scope="col" { (ctx.t("sample.seal")) } th scope="col" { (ctx.t("sample.lab")) }
                    th scope="col" { (ctx.t("sample.taken")) } th scope="col" { (ctx.t("sample.result")) } } }
                tbody { @for s in samples {
                    tr { td { (s.code) } td { (s.seal) } td { (s.lab) } td { (parts::time(ctx, s.taken_ms)) }
                        td.wrap { (s.result) " " @if s.result_ms.is_some() { small { (parts::maybe_time(ctx, s.result_ms)) } }
                            @if may && s.result_ms.is_none() { (result_form(ctx, t, s)) } } }
                } }
            } } }
            @if may { (sample_form(ctx, t)) }
        }
    }
}

fn result_form(ctx: &Ctx, t: &TipRow, s: &Sample) -> Markup {
    html! {
        form.filters.noprint method="post" action={ "/tips/" (t.id) "/work/sample_result" } {
            (token(ctx)) input type="hidden" name="sample" value=(s.id);
            input name="result" required aria-label=(ctx.t("sample.result")); button { (ctx.t("save")) }
        }
    }
}

fn sample_form(ctx: &Ctx, t: &TipRow) -> Markup {
    html! {
        form.filters.noprint method="post" action={ "/tips/" (t.id) "/work/sample" } {
            (token(ctx))
            label { (ctx.t("sample.code")) input name="code" required autocomplete="off"; }
            label { (ctx.t("sample.seal")) input name="seal" autocomplete="off"; }
            label { (ctx.t("sample.lab")) input name="lab" autocomplete="off"; }
            button { (ctx.t("sample.add")) }
        }
    }
}

fn money_part(ctx: &Ctx, t: &TipRow, money: &[Money]) -> Markup {
    let may = enters(&ctx.user, t);
    let sum = |kind: &str| money.iter().filter(|m| m.kind == kind).map(|m| m.amount_vnd).sum::<i64>();
    html! {
        @if may || !money.is_empty() {
            h2 { (ctx.t("money")) }
            @if !money.is_empty() { div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
                thead { tr { th scope="col" { (ctx.t("when")) } th scope="col" { (ctx.t("money.kind")) } th.num scope="col" { (ctx.t("money.amount")) }
                    th scope="col" { (ctx.t("money.decision")) } th scope="col" { (ctx.t("declaration")) } th scope="col" { (ctx.t("note")) } } }
                tbody { @for m in money { (money_row(ctx, t, m, money, may)) } }
                tfoot { @for kind in MONEY.iter().filter(|k| money.iter().any(|m| m.kind == **k)) {
                    tr { td colspan="2" { (ctx.t("money.sum")) " " (ctx.value("money", kind)) } td.num { (parts::grouped(sum(kind))) } td colspan="3" {} }
                } }
            } } }
            @if may { (money_form(ctx, t)) }
        }
    }
}

fn money_row(ctx: &Ctx, t: &TipRow, m: &Money, all: &[Money], may: bool) -> Markup {
    let late = t.settled_ms.is_some_and(|settled| m.at_ms > settled);
    html! {
        tr { td { (parts::time(ctx, m.at_ms)) " · " (m.account) } td { (ctx.value("money", &m.kind)) } td.num { (parts::grouped(m.amount_vnd)) }
            td { (m.decision) } td { @if let Some(key) = &m.decl_key { (parts::declaration(key)) } }
            td { @if m.reverses.is_some() { (ctx.t("money.reversal")) " " } @if late { (ctx.t("money.late")) }
                @if may && tip::reversal(m, all).is_ok() {
                    details.noprint { summary { (ctx.t("money.reverse")) }
                        form.filters method="post" action={ "/tips/" (t.id) "/work/reverse" } {
                            (token(ctx)) input type="hidden" name="entry" value=(m.id);
                            input name="note" required aria-label=(ctx.t("reason")) placeholder=(ctx.t("reason")); button { (ctx.t("money.reverse")) }
                        } }
                } } }
    }
}

fn money_form(ctx: &Ctx, t: &TipRow) -> Markup {
    html! {
        form.filters.noprint method="post" action={ "/tips/" (t.id) "/work/money" } {
            (token(ctx)) input type="hidden" name="once" value=(new_id(utc_now().0));
            label { (ctx.t("money.kind")) (parts::select("kind", "", Some(ctx.t("choose")), &parts::options(ctx, "money", &MONEY))) }
            label { (ctx.t("money.amount")) input name="amount" inputmode="numeric" required autocomplete="off"; }
            label { (ctx.t("money.decision")) input name="decision" autocomplete="off"; }
            label { (ctx.t("money.decl")) input name="decl" inputmode="numeric" autocomplete="off"; }
            button { (ctx.t("money.add")) }
        }
    }
}

fn history_part(ctx: &Ctx, history: &[TipAction]) -> Markup {
    html! {
        h2 { (ctx.t("history")) }
        ol.history { @for a in history {
            @let (about, note) = note(ctx, a);
            li { (parts::time(ctx, a.at_ms)) " · " strong { @if a.account.is_empty() { (ctx.t("desk_itself")) } @else { (a.account) } } " " (ctx.value("tip_did", &a.action))
                @if !about.is_empty() { " · " (about) }
                @if !note.is_empty() { " · " q { (note) } } }
        } }
    }
}

/// The note of a history line: where it begins with values of the desk, those in words, and what somebody wrote.
fn note<'a>(ctx: &Ctx, a: &'a TipAction) -> (String, &'a str) {
    let (first, rest) = a.note.split_once(' ').unwrap_or((&a.note, ""));
    match a.action.as_str() {
        "settle" => (ctx.value("result", first), rest),
        "done" => (ctx.value("action", first), rest),
        "money" | "reverse" => {
            let (amount, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let amount = amount.parse().map_or_else(|_| amount.to_owned(), parts::grouped);
            (format!("{} {amount}", ctx.value("money", first)).trim_end().to_owned(), rest)
        }
        // The hold is named by its id alone, which tells a reader nothing.
        "release_hold" => (first.to_owned(), rest.split_once(' ').map_or("", |(_, note)| note)),
        "file" | "file_withdraw" => {
            let note =
                a.note.split_once(" SHA-256 ").and_then(|(_, rest)| rest.split_once(' ')).map_or("", |(_, note)| note);
            (a.note.strip_suffix(note).unwrap_or(&a.note).trim_end().to_owned(), note)
        }
        "merge" | "merged_in" => (a.note.clone(), ""),
        _ => (String::new(), &a.note),
    }
}

pub(crate) fn back(id: &str) -> Response {
    Redirect::to(&format!("/tips/{id}")).into_response()
}

/// Steps of the unit that issues.
pub(crate) async fn lead(Path((id, name)): Path<(String, String)>, post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let text = |name: &str| post.get(name).chars().take(4000).collect::<String>();
    let step = match name.as_str() {
        "issue" => Step::Issue,
        "return" => Step::Return { reason: text("reason") },
        "reopen" => Step::Reopen { reason: text("reason") },
        "cancel" => Step::Cancel { reason: text("reason") },
        "settle" => Step::Settle {
            result: text("result"),
            text: text("text"),
            basis: text("basis"),
            no_amount: post.is_ticked("no_amount"),
        },
        "merge" => Step::Merge { into: text("into") },
        "release_hold" => return tip_measures::release(&id, &post).await,
        _ => return Err(Problem::not_found(ctx.language)),
    };
    match tips_duty::step(&ctx.room, &ctx.user, &id, version_of(&post), step).await {
        Ok(_) => Ok(back(&id)),
        Err(error) => not_taken(&post, &id, &name, &error).await,
    }
}

/// The version that a form was about; 0 where it does not say, which no tip has.
pub(crate) fn version_of(post: &Post) -> i64 {
    post.get("version").parse().unwrap_or(0)
}

/// Steps and entries of the office that checks.
pub(crate) async fn work(Path((id, name)): Path<(String, String)>, post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let (room, user) = (&ctx.room, &ctx.user);
    let text = |name: &str| post.get(name).chars().take(4000).collect::<String>();
    let (tip, version) = (id.as_str(), version_of(&post));
    let step = |step| async move { tips_duty::step(room, user, tip, version, step).await.map(drop) };
    let done = match name.as_str() {
        "receive" => step(Step::Receive).await,
        "start" => step(Step::Start).await,
        "report" => step(Step::Report { text: text("text") }).await,
        "measure" => measures::begin(room, user, &id, post.get("action"), &text("note")).await,
        "done" => measures::done(room, user, &id, post.get("measure"), &text("outcome")).await,
        "sample" => tips_duty::sample(room, user, &id, read_sample(&post)).await,
        "sample_result" => tips_duty::sample_result(room, user, &id, post.get("sample"), &text("result")).await,
        "money" => match read_money(&post) {
            Ok(line) => tips_duty::money(room, user, &id, line).await,
            Err(key) => Err(DutyError::Refused(key)),
        },
        "reverse" => tips_duty::reverse(room, user, &id, post.get("entry"), &text("note")).await,
        _ => Err(DutyError::NotFound),
    };
    match done {
        Ok(()) => Ok(back(&id)),
        Err(error) => not_taken(&post, &id, &name, &error).await,
    }
}

fn read_sample(post: &Post) -> Sample {
    let short = |name: &str| post.get(name).chars().take(200).collect::<String>();
    Sample {
        id: String::new(),
        code: short("code"),
        seal: short("seal"),
        lab: short("lab"),
        taken_ms: utc_now().0,
        result: String::new(),
        result_ms: None,
    }
}

fn read_money(post: &Post) -> Result<Money, &'static str> {
    let typed = post.get("decl");
    let decl_key = if typed.is_empty() { None } else { Some(key_of(typed).ok_or("refusal.decl")?) };
    Ok(Money {
        id: post.get("once").into(),
        kind: post.get("kind").into(),
        amount_vnd: tip::read_amount(post.get("amount")).map_err(tip::Refusal::key)?,
        decision: post.get("decision").chars().take(200).collect(),
        decl_key,
        at_ms: 0,
        account: String::new(),
        reverses: None,
    })
}
