//! One alert: picture, what is known and how surely, history, and the steps one may take.

use axum::Extension;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::Value;

use super::alerts::{declarations, dismiss_form, escalate_form, facts_field, how};
use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts::{self, Offices};
use super::span::{Place, Span};
use crate::desk::access::Need;
use crate::desk::alert::{State, Step};
use crate::desk::db::alerts::{ActionRow, AlertRow};
use crate::desk::duty;
use crate::desk::message::{moment, text};
use crate::desk::orders;

/// Messages of the box on the page: an event that lasts says something every minute.
const SHOWN_MESSAGES: i64 = 20;

/// The page. Looking at it is a step of its own for those who may act.
pub(crate) async fn detail(Extension(ctx): Extension<Ctx>, Path(id): Path<String>) -> Answer {
    let found = ctx.room.db.alert(&id).await.or_problem(&ctx)?.filter(|a| ctx.user.scope.holds(&a.office));
    let mut row = found.or_problem(&ctx)?;
    if ctx.may(Need::ActAlerts) {
        row = duty::alert_step(&ctx.room, &ctx.user, &id, &Step::Look, None).await.or_problem(&ctx)?;
    }
    super::audit::viewed_of(&ctx, &row.office, "alert.view", &id, "").await.or_problem(&ctx)?;
    let db = &ctx.room.db;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let history = db.alert_history(&id).await.or_problem(&ctx)?;
    let pictures = db.pictures(&id).await.or_problem(&ctx)?;
    let revisions = db.revisions(&id, SHOWN_MESSAGES).await.or_problem(&ctx)?;
    let said = db.revision_count(&id).await.or_problem(&ctx)?;
    let given = db.orders(&id).await.or_problem(&ctx)?;
    let body: Value = serde_json::from_str(&row.body).unwrap_or(Value::Null);
    let content = html! {
        div.detail data-severity=(row.severity) data-units=(super::alerts::units(&ctx)) {
            div.main-column {
                p.line { (parts::severity(&ctx, row.severity)) span.state data-state=(row.state) { (ctx.value("state", &row.state)) }
                    @if let Some(outcome) = &row.outcome { span { (ctx.value("outcome", outcome)) } }
                    @if row.escalated_ms.is_some() { span.up { (ctx.t("escalated")) } }
                    span.soft { (ctx.t("age")) " " (parts::age(&ctx, row.at_ms)) } }
                (picture(&ctx, &row, &pictures))
                (video(&ctx, &row, &body))
                (declarations(&ctx, &body))
                p.line { (parts::answer(&ctx, &body)) }
                (parts::away(&ctx, &body))
                @if row.rule == "box_away" && ctx.may(Need::Devices) { p { a href="/devices" { (ctx.t("devices.title")) } } }
                (facts(&ctx, &row, &offices, &body))
                (candidates(&ctx, &body))
                (messages(&ctx, &revisions, said))
            }
            div.side-column { (steps(&ctx, &row, &body)) (super::orders::part(&ctx, &row, &body, &given)) (history_list(&ctx, &history)) }
        }
    };
    Ok(page(&ctx, &ctx.value("rule", &row.rule), "/alerts", &content))
}

fn picture(ctx: &Ctx, row: &AlertRow, pictures: &[String]) -> Markup {
    let named = row.picture.as_ref();
    let here = named.filter(|p| pictures.contains(p));
    html! {
        figure.picture {
            @match (here, named) {
                (Some(sha), _) => {
                    a href={ "/pictures/" (row.id) "/" (sha) } {
                        img src={ "/pictures/" (row.id) "/" (sha) } alt={ (ctx.value("rule", &row.rule)) ", " (row.camera) };
                    }
                    figcaption { "SHA-256 " code { (sha) } }
                },
                (None, Some(_)) => p.hint { (ctx.t("picture.waiting")) },
                (None, None) => p.hint { (ctx.t("picture.none")) },
            }
        }
    }
}

/// The way to the video, which the script plays in this place, and to what was before and after.
fn video(ctx: &Ctx, row: &AlertRow, body: &Value) -> Markup {
    let about = super::footage::around(row, body).filter(|_| ctx.may(Need::Footage));
    html! {
        @if let Some((camera, _, _)) = about {
            section #footage data-place="" { p { a.button href={ "/alerts/" (row.id) "/footage" } data-footage="" { (ctx.t("clip.play")) } } }
            @let place = Place::new(&row.office, &row.box_id, &camera);
            p { a href=(place.address(ctx, Span::around(row.at_ms))) { (ctx.t("camera.around")) } }
            (super::camera::now(ctx, &place, &row.camera))
        }
    }
}

fn facts(ctx: &Ctx, row: &AlertRow, offices: &Offices, body: &Value) -> Markup {
    let data = |p: &str| text(body, &format!("/data{p}"));
    let number = |p: &str| body.pointer(&format!("/data{p}")).and_then(Value::as_i64);
    let basis =
        body.pointer("/data/check/basis").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let basis: Vec<&str> = basis.collect();
    // By the box's clock; of an event that lasts, the best picture comes later.
    let best = moment(body, "/data/capture/best").map(|t| t.0);
    let best = best.filter(|at| (at - row.at_ms).abs() >= 1000);
    let object = data("/object/label").map(|l| {
        let score = body.pointer("/data/object/score").and_then(Value::as_f64).unwrap_or(0.0);
        format!("{} {:.0} %", parts::object(ctx, &l), score * 100.0)
    });
    html! {
        dl.facts {
            @if !row.camera.is_empty() { dt { (ctx.t("camera")) } dd { (row.camera) } }
            @if !row.place.is_empty() { dt { (ctx.t("area")) } dd { (row.place) } }
            dt { (ctx.t("office")) } dd { (offices.name(&row.office)) " · " (ctx.t("box")) " " (row.box_id) }
            @if let Some(at) = best { dt { (ctx.t("picture.at")) } dd { (parts::time(ctx, at)) } }
            dt { (ctx.t("happened")) } dd { (parts::time(ctx, row.at_ms)) @if row.historical != 0 { " · " (ctx.t("historical")) } }
            dt { (ctx.t("duty_day")) } dd { (parts::day(&row.duty_day)) }
            dt { (ctx.t("phase")) } dd { (ctx.value("phase", &row.phase))
                @if let Some(ms) = number("/dwell_ms") { " · " (ctx.t("lasted")) " " (parts::duration(ctx, ms)) } }
            @if let Some(object) = object { dt { (ctx.t("object")) } dd { (object) } }
            @if let Some(source) = data("/capture/time_source") {
                dt { (ctx.t("time_source")) }
                dd { (ctx.value("time_source", &source))
                    @if let Some(ms) = number("/capture/uncertainty_ms") { " · " (ctx.t("uncertainty")) " ±" (ms) " ms" }
                    @if let Some(ms) = number("/capture/clock_offset_ms") { " · " (ctx.t("clock_offset")) " " (ms) " ms" } }
            }
            @if !basis.is_empty() { dt { (ctx.t("basis")) } dd { @for b in &basis { (parts::said(ctx, b)) br; } } }
            @if let Some(reason) = data("/link/reason") { dt { (ctx.t("method")) } dd { (parts::said(ctx, &reason)) } }
            @for why in ["/reason", "/problem"].iter().filter_map(|p| data(p)) { dt { (ctx.t("reason")) } dd { (parts::said(ctx, &why)) } }
            @if let Some(model) = data("/model/name") { dt { (ctx.t("model")) } dd { (model) } }
            (head(ctx, body, "/data/known", "chain.known"))
            (head(ctx, body, "/data/said/head", "chain.said"))
            (head(ctx, body, "/data/said/previous", "chain.previous"))
        }
    }
}

/// A head of the box's chain that an alert of the desk itself is about.
fn head(ctx: &Ctx, body: &Value, place: &str, key: &str) -> Markup {
    let of = |p: &str| text(body, &format!("{place}{p}"));
    let n = body.pointer(&format!("{place}/n")).and_then(Value::as_i64);
    html! {
        @if let Some(n) = n {
            dt { (ctx.t(key)) }
            dd { (ctx.t("chain.entry")) " " (n) @if let Some(at) = of("/at") { " · " (at) } br; code { (of("/sha256").unwrap_or_default()) } }
        }
    }
}

fn candidates(ctx: &Ctx, body: &Value) -> Markup {
    let links = body.pointer("/data/link/links").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let containers = |l: &Value| {
        let list = l.get("containers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        list.collect::<Vec<_>>().join(", ")
    };
    html! {
        @if !links.is_empty() {
            h2 { (ctx.t("candidates")) }
            div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
                thead { tr { th scope="col" { (ctx.t("declaration")) } th scope="col" { (ctx.t("method")) }
                    th scope="col" { (ctx.t("containers")) } th scope="col" { (ctx.t("reason")) } } }
                tbody { @for l in links {
                    tr { td { @if let Some(key) = text(l, "/decl_key") { (parts::declaration(&key)) } " "
                            (parts::channel(ctx, l.get("channel").and_then(Value::as_i64))) }
                        td { (how(ctx, l)) } td { (containers(l)) } td.wrap { (parts::said(ctx, &text(l, "/reason").unwrap_or_default())) } }
                } }
            } }
        }
    }
}

/// The newest of all that the box `said`.
fn messages(ctx: &Ctx, revisions: &[(i64, i64, String)], said: i64) -> Markup {
    let more = usize::try_from(said).unwrap_or(0) > revisions.len();
    html! {
        details { summary { (ctx.t("messages")) " (" (said) ")" }
            @if more { p.hint { (ctx.t("messages.newest")) " " (revisions.len()) } }
            @for (revision, at, body) in revisions {
                p.line.soft { (ctx.t("revision")) " " (revision) " · " (parts::time(ctx, *at)) }
                pre { (pretty(body)) }
            }
        }
    }
}

fn pretty(body: &str) -> String {
    let parsed = serde_json::from_str::<Value>(body).and_then(|v| serde_json::to_string_pretty(&v));
    parsed.unwrap_or_else(|_| body.to_owned())
}

fn steps(ctx: &Ctx, row: &AlertRow, body: &Value) -> Markup {
    let open = row.state != State::Closed.as_str();
    let known = duty::facts(row, body);
    let button = |step: &str, key: &str, mark: &str| {
        html! {
            form method="post" action={ "/alerts/" (row.id) "/" (step) } { (token(ctx)) (facts_field(&known)) button data-act=(step) { (ctx.t(key)) @if !mark.is_empty() { kbd { (mark) } } } }
        }
    };
    html! {
        @if open && ctx.may(Need::ActAlerts) {
            section.steps data-keys="" {
                @if row.state != State::Acked.as_str() { (button("ack", "act.ack", "A")) }
                @else if row.severity < 4 { (button("close", "act.close", "")) }
                @else { details { summary data-act="close" { (ctx.t("act.close")) } (close_form(ctx, &row.id, &known)) } }
                a.button href={ "/tips/new?alert=" (row.id) } data-act="tip" { (ctx.t("act.tip")) kbd { "T" } }
                @if let Some(who) = &row.asked_by { p.up { (ctx.t("asked_by")) " " (who) } }
                details #dismiss { summary data-act="dismiss" { (ctx.t(if row.asked_by.is_some() { "act.dismiss_second" } else { "act.dismiss" })) kbd { "D" } } (dismiss_form(ctx, &row.id, &known)) }
                details #escalate { summary data-act="escalate" { (ctx.t("act.escalate")) kbd { "E" } } (escalate_form(ctx, &row.id)) }
            }
        }
    }
}

/// What is critical ends with words, and with a second person.
fn close_form(ctx: &Ctx, id: &str, known: &str) -> Markup {
    html! {
        form.stack method="post" action={ "/alerts/" (id) "/close" } {
            (token(ctx)) (facts_field(known))
            label { (ctx.t("note")) textarea name="note" rows="2" maxlength="1000" required {} }
            p.hint { (ctx.t("act.needs_second")) }
            p.line { button.main { (ctx.t("act.close")) } button type="button" data-close="" { (ctx.t("back")) } }
        }
    }
}

fn history_list(ctx: &Ctx, history: &[ActionRow]) -> Markup {
    html! {
        h2 { (ctx.t("history")) }
        @if history.is_empty() { p.hint { (ctx.t("none")) } }
        ol.history { @for a in history {
            li { (parts::time(ctx, a.at_ms)) " · "
                @let (about, note) = about(a);
                strong { @if a.account.is_empty() { (ctx.t("desk_itself")) } @else { (a.account) } } " " (ctx.value("did", &a.action))
                @match (a.action.as_str(), about) {
                    ("hold", Some(camera)) => { " · " (ctx.t("camera")) " " code { (camera) } },
                    (_, Some(key)) => { " " (parts::declaration(key)) },
                    (_, None) => {},
                }
                @if !a.reason.is_empty() { " · " (ctx.value("dismiss", &a.reason)) }
                @if !note.is_empty() { " · " q { (note) } } }
        } }
    }
}

/// What an order is about, as far as it tells a reader something, and what its officer wrote: `orders::ask` puts the one before the other.
/// The hold that is released is named by its id alone.
fn about(a: &ActionRow) -> (Option<&str>, &str) {
    let (first, rest) = a.note.split_once(' ').unwrap_or((&a.note, ""));
    match a.action.as_str() {
        "bind" | "reject_decl" | "hold" => (Some(first), rest),
        "release" => (None, rest),
        _ => (None, &a.note),
    }
}

/// Takes a step; back to the alert, or to the list where it was taken.
pub(crate) async fn take_step(Path((id, step)): Path<(String, String)>, post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let note = post.get("note").chars().take(1000).collect::<String>();
    let step = match step.as_str() {
        "ack" => Step::Acknowledge,
        "dismiss" => Step::Dismiss { reason: post.get("reason").into(), note },
        "escalate" => Step::Escalate { note },
        "close" => Step::Close { note },
        "release" if !ctx.may(Need::IssueTips) => return Err(Problem::denied(ctx.language)),
        "bind" | "hold" | "release" => {
            let ask = super::orders::read(&post, &step, &id, note).await?;
            orders::ask(&ctx.room, &ctx.user, &id, &ask).await.or_problem(ctx)?;
            return Ok(Redirect::to(&format!("/alerts/{id}")).into_response());
        }
        _ => return Err(Problem::not_found(ctx.language)),
    };
    // Without any it is no form of ours, and he who sent it knows nothing.
    let known = matches!(step, Step::Dismiss { .. } | Step::Close { .. }).then(|| post.get("facts"));
    duty::alert_step(&ctx.room, &ctx.user, &id, &step, known).await.or_problem(ctx)?;
    let back = if post.get("back") == "list" { "/alerts".to_owned() } else { format!("/alerts/{id}") };
    Ok(Redirect::to(&back).into_response())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{page, room, sign_in_as};
    use crate::desk::access::Role;
    use crate::desk::alert::Entry;

    #[tokio::test]
    async fn the_history_quotes_what_an_officer_wrote_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        sign_in_as(&room, Role::Auditor, "dung", 0).await;
        let body = crate::desk::message::tests::body("E1", 1, 1, 4).to_string();
        let m = crate::desk::message::read(body.as_bytes(), "15BB", "gate-01").unwrap();
        let mut tx = room.db.write().await.unwrap();
        tx.add_alert(&crate::desk::message::alert(&m, &room.zone, m.at_ms, 60_000)).await.unwrap();
        let did = [
            ("hold", "bay nghi vấn hàng hóa"),
            ("bind", "10000001234"),
            ("reject_decl", "20000001234 nhầm tờ khai"),
            ("release", "01JHOLD đã xong"),
            ("escalate", "bay vào xem"),
        ];
        for (n, (action, note)) in did.into_iter().enumerate() {
            let entry = Entry { action, reason: String::new(), note: note.into() };
            tx.add_alert_action(&format!("a{n}"), "E1", 5, "an", &entry).await.unwrap();
        }
        tx.commit().await.unwrap();
        let shown = page(&room, "/alerts/E1", "dung").await;
        for line in [
            "giữ hình ảnh · Camera <code>bay</code> · <q>nghi vấn hàng hóa</q>",
            "bác bỏ tờ khai <",
            " · <q>nhầm tờ khai</q>",
            "bỏ giữ hình ảnh · <q>đã xong</q>",
            "chuyển cấp trên · <q>bay vào xem</q>",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        assert!(
            !shown.contains("01JHOLD") && !shown.contains("<q>10000001234") && !shown.contains("<q>2000"),
            "{shown}"
        );
    }
}
