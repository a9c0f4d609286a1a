//! Footage by camera and time: which camera, from when to when; what its box has of that time and why not the rest, the
//! clip, a sheet of stills and the picture of this moment, all handed through from the box; holds on it, and the alerts of
//! the camera in that time.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Path, Query};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::future::try_join_all;
use maud::{Markup, html};
use serde_json::Value;

use super::alerts::escaped;
use super::declaration::key_of;
use super::footage::{Saved, gaps, handed_through, played, player, refused, save_form, saved, stem};
use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts::{self, Offices};
use super::recorded::Recorded;
use super::span::{self, ASKED_MS, MINUTES, PLAYED_MS, Place, Span};
use super::stored;
use crate::clock::{UtcMillis, utc_now};
use crate::desk::access::Need;
use crate::desk::boxes::BoxError;
use crate::desk::clips::Wanted;
use crate::desk::db::DbError;
use crate::desk::db::alerts::AlertRow;
use crate::desk::db::orders::OrderRow;
use crate::desk::db::places::BoxRow;
use crate::desk::message::{moment, text};
use crate::desk::orders::{self, Ask};

/// Longest hold that boxes take, milliseconds.
const MAX_HOLD_MS: i64 = 7 * 86_400_000;
/// Alerts on the page.
const SHOWN_ALERTS: usize = 60;
/// Width of the drawing of a time; its height does not matter.
const DRAWN: i64 = 1000;

type At = Path<(String, String, String)>;

/// A camera that somebody may choose.
struct Known {
    place: Place,
    name: String,
    masked: bool,
    /// Its box is in use, so that somebody chooses it.
    used: bool,
    /// And neither offline nor silent for long.
    there: bool,
}

impl Known {
    /// Name and id, or the id alone.
    fn words(&self) -> String {
        if self.name.is_empty() || self.name == self.place.camera {
            self.place.camera.clone()
        } else {
            format!("{} ({})", self.name, self.place.camera)
        }
    }
}

/// Cameras of the reader's offices: those that boxes name when they connect, and those that were ever heard of.
async fn known(ctx: &Ctx) -> Result<Vec<Known>, DbError> {
    let (db, scope) = (&ctx.room.db, &ctx.user.scope);
    let rows = db.cameras(scope).await?;
    let mut all = Vec::new();
    for b in db.boxes(scope).await? {
        let mut here = of_birth(&b);
        for row in rows.iter().filter(|c| c.office == b.office && c.box_id == b.id) {
            if !here.iter().any(|k| k.place.camera == row.id) {
                let place = Place::new(&b.office, &b.id, &row.id);
                here.push(Known { place, name: String::new(), masked: false, used: b.is_used(), there: b.is_there() });
            }
        }
        here.sort_by(|a, b| a.place.camera.cmp(&b.place.camera));
        all.extend(here);
    }
    Ok(all)
}

fn of_birth(b: &BoxRow) -> Vec<Known> {
    let birth: Value = b.birth.as_ref().and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null);
    let cameras = birth["cameras"].as_array().into_iter().flatten();
    let masked = |c: &Value| c["areas"].as_array().into_iter().flatten().any(|a| a["kind"] == "privacy_mask");
    let one = |c: &Value| {
        let place = Place::new(&b.office, &b.id, &text(c, "/id")?);
        let name = text(c, "/name").unwrap_or_default();
        Some(Known { place, name, masked: masked(c), used: b.is_used(), there: b.is_there() })
    };
    cameras.filter_map(one).collect()
}

/// The page to choose on. A camera in the address leads to its page, words lead to where they are found.
pub(crate) async fn choose(
    Extension(ctx): Extension<Ctx>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Response> {
    let get = |name: &str| query.get(name).map_or("", |v| v.trim());
    if let Some(to) = found(get("q")) {
        return Ok(Redirect::to(&to).into_response());
    }
    let asked = span::of_query(&ctx, &query);
    let place = Place::parse(get("camera"));
    if let (Some(place), Ok(span)) = (&place, asked) {
        return Ok(Redirect::to(&place.address(&ctx, span)).into_response());
    }
    super::audit::viewed(&ctx, "footage", "", "").await.or_problem(&ctx)?;
    let cameras = known(&ctx).await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let span = asked.unwrap_or_else(|_| Span::last(10));
    let content = html! {
        @if let Err(key) = asked { p.alarm role="alert" { (ctx.t(key)) } }
        @if !cameras.iter().any(|c| c.used) { p.hint { (ctx.t("nothing")) } } @else { (picker(&ctx, &offices, &cameras, place.as_ref(), span)) }
        h2 { (ctx.t("camera.find")) }
        form.filters method="get" action="/footage" role="search" {
            label { (ctx.t("camera.find_what")) input type="search" name="q"; }
            button { (ctx.t("search")) }
        }
        p.hint { (ctx.t("camera.find_hint")) }
    };
    Ok(page(&ctx, ctx.t("footage"), "/footage", &content).into_response())
}

/// A declaration has its time line; containers, plates and everything else are found among alerts. Both lead on to footage.
fn found(words: &str) -> Option<String> {
    match (words.is_empty(), key_of(words)) {
        (true, _) => None,
        (false, Some(key)) => Some(format!("/declarations/{key}")),
        (false, None) => Some(format!("/alerts?view=all&similar=show&q={}", escaped(words))),
    }
}

fn picker(ctx: &Ctx, offices: &Offices, cameras: &[Known], place: Option<&Place>, span: Span) -> Markup {
    // Of a box out of use only the camera that is shown.
    let chosen: Vec<&Known> = cameras.iter().filter(|c| c.used || place == Some(&c.place)).collect();
    let same_box = |a: &&Known, b: &&Known| a.place.office == b.place.office && a.place.box_id == b.place.box_id;
    let exact = span.length() % 60_000 == 0 && MINUTES.contains(&(span.length() / 60_000));
    let minutes = if exact { span.length() / 60_000 } else { 10 };
    html! {
        form.filters method="get" action="/footage" {
            label { (ctx.t("camera")) select name="camera" required {
                @for of_box in chosen.chunk_by(same_box) {
                    optgroup label={ (offices.name(&of_box[0].place.office)) " · " (of_box[0].place.box_id) } {
                        @for c in of_box {
                            option value=(c.place) selected[place == Some(&c.place)] { (c.place.office) " " (c.place.box_id) " – " (c.words())
                                @if !c.there { " · " (ctx.t(if c.used { "device.offline" } else { "device.gone" })) } }
                        }
                    }
                } } }
            label { (ctx.t("camera.from")) input name="from" value=(parts::time_text(ctx, span.from)) placeholder="dd/MM/yyyy HH:mm" size="19" autocomplete="off"; }
            label { (ctx.t("camera.length")) select name="minutes" {
                @for m in MINUTES { option value=(m) selected[m == minutes] { (parts::duration(ctx, m * 60_000)) } } } }
            button.main { (ctx.t("camera.show")) }
        }
        p.hint { (ctx.t("camera.zone")) ": " (ctx.room.config.desk.time_zone) ". " (ctx.t("camera.form")) }
    }
}

/// Short ways to times that are often wanted.
fn shortcuts(ctx: &Ctx, place: &Place, span: Span) -> Markup {
    let link = |span: Span, words: Markup| html! { a.button href=(place.address(ctx, span)) { (words) } };
    let day = |ago: i64, key: &str| {
        Span::duty_day(ctx, ago)
            .map(|(day, span)| link(span, html! { (ctx.t(key)) " (" (parts::day(&day)) ")" }))
            .unwrap_or_default()
    };
    html! {
        nav.line aria-label=(ctx.t("camera.shortcuts")) {
            (link(Span::last(10), html! { (ctx.t("camera.newest")) " " (parts::duration(ctx, 600_000)) }))
            (link(Span::last(60), html! { (ctx.t("camera.newest")) " " (parts::duration(ctx, 3_600_000)) }))
            (day(0, "camera.today")) (day(1, "camera.yesterday"))
            @if let Some(wider) = span.wider() { (link(wider, html! { (ctx.t("camera.wider")) })) }
        }
    }
}

/// The camera of an address, if it is the reader's and its box is known.
async fn place(ctx: &Ctx, Path((office, box_id, camera)): At) -> Answer<Place> {
    let place = Place::new(&office, &box_id, &camera);
    let boxes = ctx.room.db.boxes(&ctx.user.scope).await.or_problem(ctx)?;
    let there = boxes.iter().any(|b| b.office == place.office && b.id == place.box_id);
    // It becomes a part of addresses at the box.
    let named = place.camera.len() <= 100 && !matches!(place.camera.as_str(), "." | "..");
    (there && named).then_some(place).or_problem(ctx)
}

fn span_of(ctx: &Ctx, query: &HashMap<String, String>) -> Answer<Span> {
    span::of_query(ctx, query).map_err(|key| Problem::refused(ctx.language, key))
}

/// What a box has of a time.
async fn recorded(ctx: &Ctx, place: &Place, span: Span) -> Result<Recorded, BoxError> {
    let ask = |piece: Span| async move {
        let query = piece.asked(&place.camera);
        ctx.room.boxes.json(&place.office, &place.box_id, "/api/footage/manifest", &query).await
    };
    let manifests: Vec<Value> = try_join_all(span.pieces().into_iter().map(ask)).await?;
    Ok(Recorded::read(&manifests))
}

/// What is looked for in the store.
fn wanted(place: &Place, span: Span) -> Wanted {
    let Place { office, box_id, camera } = place.clone();
    Wanted { office, box_id, camera, from: span.from, to: span.to, event: None }
}

/// The page of a camera and a time.
pub(crate) async fn show(
    Extension(ctx): Extension<Ctx>,
    at: At,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let place = place(&ctx, at).await?;
    let span = span_of(&ctx, &query)?;
    super::audit::viewed_of(&ctx, &place.office, "footage.view", &place.to_string(), &span.words(&ctx))
        .await
        .or_problem(&ctx)?;
    let db = &ctx.room.db;
    let cameras = known(&ctx).await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let there = recorded(&ctx, &place, span).await;
    let lacks = there.as_ref().map_or_else(BoxError::may_be_elsewhere, |there| !there.any);
    let found = stored::instead(&ctx, lacks, Some(&wanted(&place, span)), stem(&query)).await;
    let alerts = db.alerts_between(&place.office, &place.box_id, span.from, span.to).await.or_problem(&ctx)?;
    let alerts: Vec<AlertRow> = alerts.into_iter().filter(|a| is_of(a, &place.camera)).collect();
    let given = db.holds_of(&place.office, &place.box_id, &place.camera).await.or_problem(&ctx)?;
    let this = cameras.iter().find(|c| c.place == place);
    let name = this.map_or_else(|| place.camera.clone(), Known::words);
    let masked = this.is_some_and(|c| c.masked);
    let content = html! {
        (picker(&ctx, &offices, &cameras, Some(&place), span))
        (shortcuts(&ctx, &place, span))
        div.detail {
            div.main-column { (section(&ctx, &place, &name, span, (&there, &found), &alerts, masked)) }
            div.side-column {
                (acts(&ctx, &place, span))
                (now(&ctx, &place, &name))
                (alert_list(&ctx, &alerts))
                (holds(&ctx, &place, span, &given))
            }
        }
    };
    let title = format!("{name} · {} · {}", offices.name(&place.office), place.box_id);
    Ok(page(&ctx, &title, "/footage", &content))
}

/// Whether an alert is about a camera; see `message::describe`.
fn is_of(alert: &AlertRow, camera: &str) -> bool {
    alert.group_key.split('|').nth(2) == Some(camera)
}

/// What there is of the time, and the clip when it is short enough. Stands for itself, and is taken into other pages by
/// the script: whose links then lead on within that place.
fn section(
    ctx: &Ctx,
    place: &Place,
    name: &str,
    span: Span,
    (there, found): (&Result<Recorded, BoxError>, &stored::Found),
    alerts: &[AlertRow],
    masked: bool,
) -> Markup {
    let step = |steps: i64, key: &str, way: &str, mark: &str| {
        html! { a.button href=(place.address(ctx, span.step(steps))) data-footage="" data-step=(way) { (ctx.t(key)) kbd { (mark) } } }
    };
    let path = place.path();
    let query = span.query(ctx);
    html! {
        section.footage aria-label={ (ctx.t("footage")) " " (name) } {
            h2 { (name) " · " (span.words(ctx)) }
            p.line { (step(-1, "camera.before", "back", "−")) (step(1, "camera.after", "on", "+")) }
            @match there {
                Err(error) => (refused(ctx, error, &place.box_id)),
                Ok(there) => {
                    (bar(ctx, place, span, there, alerts))
                    (words(ctx, span, there))
                    @if there.any && span.is_played() { (player(ctx, &format!("{path}/clip?{query}"), name)) }
                    (gaps(ctx, there))
                    @if there.any {
                        @if !span.is_played() { p.hint { (ctx.t("camera.choose_cell")) " " (parts::duration(ctx, PLAYED_MS)) "." } }
                        @if span.length() <= ASKED_MS { (sheet(ctx, place, name, span)) }
                        @if span.is_played() || (span.length() <= ASKED_MS && !masked) { (save_form(ctx, &format!("{path}/save?{query}"))) }
                    }
                },
            }
            (stored::part(ctx, place, &path, &format!("{query}&"), found))
        }
    }
}

fn words(ctx: &Ctx, span: Span, there: &Recorded) -> Markup {
    let amount = there.amount(span);
    let class = if amount == super::recorded::Amount::Complete { "good" } else { "up" };
    html! {
        p.line { span class=(class) { (amount.mark()) " " (ctx.t("footage")) ": " (ctx.value("footage", amount.as_str())) }
            @if there.growing { span.up { (ctx.t("clip.growing")) } }
            @if !there.held.is_empty() { span.good { (ctx.t("camera.held")) } } }
    }
}

/// The time as a drawing for the eye, and as a list of its parts that lead closer.
fn bar(ctx: &Ctx, place: &Place, span: Span, there: &Recorded, alerts: &[AlertRow]) -> Markup {
    let x = |at: i64| ((at - span.from).clamp(0, span.length())) * DRAWN / span.length();
    let piece = |class: &str, y: i64, height: i64, from: i64, to: i64| {
        html! { rect class=(class) x=(x(from)) y=(y) width=((x(to) - x(from)).max(2)) height=(height) {} }
    };
    html! {
        svg.strip viewBox={ "0 0 " (DRAWN) " 30" } preserveAspectRatio="none" aria-hidden="true" {
            (piece(if there.any { "have" } else { "lack" }, 6, 18, span.from, span.to))
            @for g in &there.gaps { (piece("lack", 6, 18, g.from, g.to)) }
            @for (from, to) in &there.held { (piece("held", 25, 5, *from, *to)) }
            @for a in alerts { rect.mark data-severity=(a.severity) x=(x(a.at_ms)) y="0" width="4" height="24" {} }
        }
        ol.cells aria-label=(ctx.t("camera.parts")) {
            @for cell in span.cells() { li { (part(ctx, place, span, cell, there, alerts)) } }
        }
    }
}

fn part(ctx: &Ctx, place: &Place, whole: Span, cell: Span, there: &Recorded, alerts: &[AlertRow]) -> Markup {
    let amount = there.amount(cell);
    let here = alerts.iter().filter(|a| cell.from <= a.at_ms && a.at_ms < cell.to).count();
    let mut said = vec![cell.words(ctx), ctx.value("footage", amount.as_str())];
    said.extend(there.reasons(cell).iter().map(|r| ctx.value("gap", r)));
    if here > 0 {
        said.push(format!("{here} {}", ctx.t("camera.alerts_here")));
    }
    let clock = parts::time_text(ctx, cell.from);
    let clock = clock.split(' ').nth(1).unwrap_or_default();
    let clock = if cell.length() % 60_000 == 0 { clock.get(..5).unwrap_or(clock) } else { clock };
    html! {
        a href=(place.address(ctx, cell)) data-footage="" data-at=[whole.is_played().then_some(cell.from)]
            data-amount=(amount.as_str()) title=(said.join(", ")) {
            span aria-hidden="true" { (clock) " " (amount.mark()) @if here > 0 { " ⚑" (here) } }
            span.unseen { (said.join(", ")) }
        }
    }
}

/// Stills of the time, drawn by the box when somebody opens them.
fn sheet(ctx: &Ctx, place: &Place, name: &str, span: Span) -> Markup {
    html! {
        details.sheet open[!span.is_played()] { summary { (ctx.t("camera.sheet")) }
            img src={ (place.path()) "/sheet?" (span.query(ctx)) } loading="lazy" width="1280" height="540" data-fetched=""
                alt={ (ctx.t("camera.sheet")) ", " (name) ", " (span.words(ctx)) };
            p.up role="status" data-unshown="" hidden { (ctx.t("camera.no_sheet")) }
        }
    }
}

/// What the camera sees now, taken anew while somebody looks.
pub(crate) fn now(ctx: &Ctx, place: &Place, name: &str) -> Markup {
    html! {
        details.live-picture { summary { (ctx.t("camera.now")) }
            img src={ (place.path()) "/now" } loading="lazy" width="640" height="360" data-fetched="" data-live=""
                alt={ (ctx.t("camera.now")) ", " (name) };
            p.up role="status" data-unshown="" hidden { (ctx.t("camera.no_picture")) }
        }
    }
}

fn acts(ctx: &Ctx, place: &Place, span: Span) -> Markup {
    let time = |name: &str, key: &str, at: i64| {
        html! { label { (ctx.t(key)) input name=(name) value=(parts::time_text(ctx, at)) required autocomplete="off"; } }
    };
    html! {
        @if ctx.may(Need::ActAlerts) {
            section.steps.noprint {
                a.button href={ "/tips/new?camera=" (escaped(&place.to_string())) "&" (span.query(ctx)) } data-act="tip" { (ctx.t("act.tip")) }
                details #hold { summary data-act="hold" { (ctx.t("act.hold")) }
                    form.stack method="post" action={ (place.path()) "/hold" } { (token(ctx))
                        (time("from", "tip.from", span.from)) (time("to", "tip.to", span.to))
                        label { (ctx.t("reason")) textarea name="note" rows="2" maxlength="1000" required {} }
                        p.line { button.main { (ctx.t("act.hold")) } button type="button" data-close="" { (ctx.t("back")) } } } }
            }
        }
    }
}

fn alert_list(ctx: &Ctx, alerts: &[AlertRow]) -> Markup {
    html! {
        h2 { (ctx.t("camera.alerts")) " (" (alerts.len()) ")" }
        @if alerts.is_empty() { p.hint { (ctx.t("none")) } }
        ol.history { @for a in alerts.iter().take(SHOWN_ALERTS) {
            li data-severity=(a.severity) { (parts::time(ctx, a.at_ms)) " " (parts::severity(ctx, a.severity)) " "
                a href={ "/alerts/" (a.id) } { (ctx.value("rule", &a.rule)) } " · " (ctx.value("state", &a.state)) }
        } @if alerts.len() > SHOWN_ALERTS { li { "+ " (alerts.len() - SHOWN_ALERTS) } } }
    }
}

/// Holds that stand or that lie in the time, with what released them.
fn holds(ctx: &Ctx, place: &Place, span: Span, given: &[OrderRow]) -> Markup {
    let shown: Vec<_> = given.iter().filter_map(|o| hold(ctx, place, span, o, given)).collect();
    html! {
        h2 { (ctx.t("camera.holds")) }
        @if shown.is_empty() { p.hint { (ctx.t("none")) } }
        ol.history { @for one in &shown { li { (one) } } }
        p.hint { (ctx.t("camera.tip_holds")) }
    }
}

fn hold(ctx: &Ctx, place: &Place, span: Span, o: &OrderRow, all: &[OrderRow]) -> Option<Markup> {
    if o.kind != "hold" {
        return None;
    }
    let body: Value = serde_json::from_str(&o.body).unwrap_or(Value::Null);
    let time = |p: &str| moment(&body, p).map(|t| t.0);
    let (from, to) = (time("/from")?, time("/to")?);
    let releases = || all.iter().filter(|r| r.kind == "release" && r.about == o.id);
    let stands = o.ok != Some(0) && releases().all(|r| r.ok == Some(0));
    let touches = from < span.to && span.from < to;
    (stands || touches).then(|| {
        html! {
            a href=(place.address(ctx, Span::new(from, to))) { (parts::time(ctx, from)) " – " (parts::time(ctx, to)) } " "
            @if touches { span.state { (ctx.t("camera.in_time")) } }
            br; strong { (o.account) } " " q { (o.note) } " " (super::orders::answer(ctx, o))
            @if let Some(alert) = &o.alert_id { " · " a href={ "/alerts/" (alert) } { (ctx.t("tip.alert")) } }
            @for r in releases() { br; (ctx.value("order", "release")) " " strong { (r.account) } " " q { (r.note) } " " (super::orders::answer(ctx, r)) }
            @if stands && o.alert_id.is_none() && ctx.may(Need::IssueTips) { (release_form(ctx, place, o)) }
        }
    })
}

fn release_form(ctx: &Ctx, place: &Place, o: &OrderRow) -> Markup {
    html! {
        details { summary data-act="release" { (ctx.t("release")) }
            form.stack method="post" action={ (place.path()) "/release" } { (token(ctx)) input type="hidden" name="hold" value=(o.id);
                label { (ctx.t("reason")) textarea name="note" rows="2" maxlength="1000" required {} }
                p.line { button.main { (ctx.t("release")) } } } }
    }
}

/// Writes down that somebody looked, once in a while.
async fn looked(ctx: &Ctx, place: &Place, action: &str, detail: &str) -> Answer<()> {
    super::audit::watched_of(ctx, &place.office, action, &place.to_string(), detail).await.or_problem(ctx)
}

/// The clip of a short time.
pub(crate) async fn clip(
    Extension(ctx): Extension<Ctx>,
    at: At,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Answer<Response> {
    let place = place(&ctx, at).await?;
    let span = span_of(&ctx, &query)?;
    let (asked, wanted) = (span.asked(&place.camera), wanted(&place, span));
    let look = (&*place.to_string(), &*span.words(&ctx));
    played(&ctx, &wanted, ("/api/footage", &asked), stem(&query), &headers, look).await
}

/// Stills of a time on one picture.
pub(crate) async fn stills(
    Extension(ctx): Extension<Ctx>,
    at: At,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Response> {
    let place = place(&ctx, at).await?;
    let span = span_of(&ctx, &query)?;
    looked(&ctx, &place, "sheet.view", &span.words(&ctx)).await?;
    let mut asked = span.asked(&place.camera);
    asked.extend([("count", "12".to_owned()), ("columns", "4".into()), ("width", "320".into())]);
    let of_box = (place.office.as_str(), place.box_id.as_str());
    Ok(handed_through(&ctx, of_box, "/api/footage/sheet", &asked, &HeaderMap::new(), "image/jpeg").await)
}

/// The picture of this moment.
pub(crate) async fn picture(Extension(ctx): Extension<Ctx>, at: At) -> Answer<Response> {
    let place = place(&ctx, at).await?;
    looked(&ctx, &place, "camera.view", "").await?;
    let path = format!("/api/cameras/{}/picture", escaped(&place.camera));
    let of_box = (place.office.as_str(), place.box_id.as_str());
    Ok(handed_through(&ctx, of_box, &path, &[], &HeaderMap::new(), "image/jpeg").await)
}

/// The clip as a file, for a reason.
pub(crate) async fn save(at: At, Query(query): Query<HashMap<String, String>>, post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let place = place(ctx, at).await?;
    let span = span_of(ctx, &query)?;
    if span.length() > ASKED_MS {
        return Err(Problem::refused(ctx.language, "refusal.too_long"));
    }
    let object = place.to_string();
    let name = format!("{object}_{}", parts::address_time(ctx, span.from));
    let about = Saved {
        wanted: wanted(&place, span),
        stem: stem(&query),
        object: &object,
        name: &name,
        detail: span.words(ctx),
    };
    saved(&post, &about, "/api/footage", &span.asked(&place.camera)).await
}

/// Holds the time, or gives a hold free.
pub(crate) async fn take_step(
    Path((office, box_id, camera, step)): Path<(String, String, String, String)>,
    post: Post,
) -> Answer<Response> {
    let ctx = &post.ctx;
    let place = place(ctx, Path((office, box_id, camera))).await?;
    let note: String = post.get("note").chars().take(1000).collect();
    let refused = |key| Problem::refused(ctx.language, key);
    let (ask, back) = match step.as_str() {
        "hold" => {
            let time = |name: &str| parts::read_time(ctx, post.get(name)).ok().flatten();
            let (Some(from), Some(to)) = (time("from"), time("to")) else { return Err(refused("refusal.time")) };
            if to <= from || to - from > MAX_HOLD_MS {
                return Err(refused("refusal.range"));
            }
            let ask = Ask::Hold { camera: place.camera.clone(), from: UtcMillis(from), to: UtcMillis(to), note };
            (ask, Span::new(from, to))
        }
        "release" if !ctx.may(Need::IssueTips) => return Err(Problem::denied(ctx.language)),
        "release" => {
            (Ask::Release { hold: post.get("hold").to_owned(), note }, Span::new(utc_now().0 - PLAYED_MS, utc_now().0))
        }
        _ => return Err(Problem::not_found(ctx.language)),
    };
    let of_box = (place.office.as_str(), place.box_id.as_str());
    orders::ask_box(&ctx.room, &ctx.user, of_box, &place.to_string(), &ask).await.or_problem(ctx)?;
    Ok(Redirect::to(&place.address(ctx, back)).into_response())
}

#[cfg(test)]
mod tests {
    use super::found;

    #[test]
    fn words_lead_to_a_declaration_or_to_alerts() {
        assert_eq!(found(""), None);
        assert_eq!(found("1000 0001 2345").as_deref(), Some("/declarations/10000001234"));
        assert_eq!(found("CSQU3054383").as_deref(), Some("/alerts?view=all&similar=show&q=CSQU3054383"));
    }
}
