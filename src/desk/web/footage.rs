//! Video handed through from the box while somebody watches or saves it, and the footage of an alert: what there is of it and
//! why not. Nothing of it is kept here. Where the box cannot give it, the store of clips may (`stored.rs`). By camera and
//! time: `camera.rs`.

use std::collections::HashMap;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use maud::{Markup, html};
use serde_json::Value;

use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts;
use super::recorded::Recorded;
use super::{span, stored};
use crate::clock::UtcMillis;
use crate::desk::boxes::BoxError;
use crate::desk::clips::{ClipError, Wanted};
use crate::desk::db::alerts::AlertRow;
use crate::desk::message::{moment, text};

/// Video around a moment that is no event of its own, milliseconds.
const AROUND_MS: i64 = 15_000;
/// What of the player's request the box must know.
const ASKED: [HeaderName; 2] = [header::RANGE, header::IF_RANGE];
/// What of the box's answer the player must know.
const ANSWERED: [HeaderName; 9] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ACCEPT_RANGES,
    header::ETAG,
    HeaderName::from_static("gatewatch-footage-from"),
    HeaderName::from_static("gatewatch-footage-to"),
    HeaderName::from_static("gatewatch-footage-gaps"),
    HeaderName::from_static("gatewatch-footage-growing"),
];
/// Gaps named on the page.
const SHOWN_GAPS: usize = 20;

/// Where the footage of an alert is at its box.
struct Place {
    clip: String,
    manifest: String,
    query: Vec<(&'static str, String)>,
}

/// `None` when the alert is about no camera.
fn place(row: &AlertRow) -> Option<Place> {
    let body: Value = serde_json::from_str(&row.body).unwrap_or(Value::Null);
    if body.pointer("/data/footage").is_some_and(Value::is_object) {
        let event = format!("/api/events/{}", row.id);
        return Some(Place { clip: format!("{event}/clip"), manifest: format!("{event}/footage"), query: Vec::new() });
    }
    let (camera, from, to) = around(row, &body)?;
    let query = vec![("camera", camera), ("from", from.to_rfc3339()), ("to", to.to_rfc3339())];
    Some(Place { clip: "/api/footage".into(), manifest: "/api/footage/manifest".into(), query })
}

/// Camera and time of an alert, with what its event names.
pub(crate) fn around(row: &AlertRow, body: &Value) -> Option<(String, UtcMillis, UtcMillis)> {
    let time = |p: &str| moment(body, p);
    let named = (text(body, "/data/footage/camera"), time("/data/footage/from"), time("/data/footage/to"));
    if let (Some(camera), Some(from), Some(to)) = named {
        return Some((camera, from, to));
    }
    let camera = text(body, "/data/camera/id").or_else(|| text(body, "/data/camera"))?;
    let at = UtcMillis(row.at_ms);
    let end = time("/data/capture/end").unwrap_or(at).max(at);
    Some((camera, at.plus_ms(-AROUND_MS), end.plus_ms(AROUND_MS)))
}

/// What is looked for in the store.
fn wanted(row: &AlertRow) -> Option<Wanted> {
    let body: Value = serde_json::from_str(&row.body).unwrap_or(Value::Null);
    let (camera, from, to) = around(row, &body)?;
    let (office, box_id, event) = (row.office.clone(), row.box_id.clone(), Some(row.id.clone()));
    Some(Wanted { office, box_id, camera, from: from.0, to: to.0, event })
}

async fn alert(ctx: &Ctx, id: &str) -> Answer<AlertRow> {
    let found = ctx.room.db.alert(id).await.or_problem(ctx)?.filter(|a| ctx.user.scope.holds(&a.office));
    found.or_problem(ctx)
}

/// What there is to see, with the player. Stands for itself, and is taken into other pages by the script.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>, Path(id): Path<String>) -> Answer {
    let row = alert(&ctx, &id).await?;
    super::audit::viewed_of(&ctx, &row.office, "footage.view", &id, "").await.or_problem(&ctx)?;
    let manifest = match place(&row) {
        Some(p) => ctx.room.boxes.json(&row.office, &row.box_id, &p.manifest, &p.query).await,
        None => Err(BoxError::NotRecorded),
    };
    let lacks = match &manifest {
        Ok(m) => !m["found"].is_object(),
        Err(error) => error.may_be_elsewhere(),
    };
    let found = stored::instead(&ctx, lacks, wanted(&row).as_ref(), None).await;
    let content = html! {
        p { a href={ "/alerts/" (id) } { (ctx.t("back")) } }
        (section(&ctx, &row, &manifest, &found))
    };
    Ok(page(&ctx, &format!("{} – {}", ctx.t("clip"), ctx.value("rule", &row.rule)), "/alerts", &content))
}

fn section(ctx: &Ctx, row: &AlertRow, manifest: &Result<Value, BoxError>, found_stored: &stored::Found) -> Markup {
    let path = format!("/alerts/{}", row.id);
    let camera = wanted(row).map_or_else(|| row.camera.clone(), |w| w.camera);
    let place = span::Place::new(&row.office, &row.box_id, &camera);
    let instead = |error: &BoxError| {
        html! { (refused(ctx, error, &row.box_id)) (stored::part(ctx, &place, &path, "", found_stored)) }
    };
    html! {
        section.footage aria-label=(ctx.t("clip")) {
            h2 { (ctx.t("clip")) " " small { (ctx.value("rule", &row.rule)) " · " (parts::time(ctx, row.at_ms)) } }
            @match manifest {
                Ok(m) if m["found"].is_object() => {
                    (player(ctx, &format!("{path}/clip"), &row.camera))
                    (found(ctx, m))
                    (save_form(ctx, &format!("{path}/save")))
                },
                Ok(m) => (instead(&BoxError::NoFootage(m["gaps"].clone()))),
                Err(error) => (instead(error)),
            }
        }
    }
}

/// The player with the time of the picture that is shown, and buttons that go by seconds; both are the script's.
pub(crate) fn player(ctx: &Ctx, address: &str, camera: &str) -> Markup {
    let step = |seconds: i64| {
        html! { button type="button" data-seek=(seconds) aria-label={ (format!("{seconds:+}")) " " (ctx.t("unit.second")) } { (format!("{seconds:+}").replace('-', "−")) " s" } }
    };
    html! {
        video controls playsinline controlslist="nodownload" preload="metadata" src=(address) aria-label={ (ctx.t("clip")) ", " (camera) } {}
        p.alarm role="alert" data-unplayable="" hidden { (ctx.t("clip.unplayable")) }
        p.line.seek data-seeks="" hidden { (step(-10)) (step(-1)) (step(1)) (step(10))
            span { (ctx.t("clip.clock")) ": " strong data-clock="" data-zone=(ctx.room.config.desk.time_zone) { "–" } } }
        p.hint { (ctx.t("clip.privacy")) }
    }
}

/// Saving needs a reason, which goes into the audit.
pub(crate) fn save_form(ctx: &Ctx, action: &str) -> Markup {
    html! {
        details { summary data-act="save" { (ctx.t("clip.save")) }
            form.stack method="post" action=(action) { (token(ctx))
                label { (ctx.t("clip.save_why")) textarea name="note" rows="2" maxlength="1000" required {} }
                p.line { button.main { (ctx.t("clip.save")) } button type="button" data-close="" { (ctx.t("back")) } } }
        }
    }
}

fn found(ctx: &Ctx, manifest: &Value) -> Markup {
    let time = |p: &str| moment(manifest, p).map(|t| t.0);
    html! {
        p.line.soft { (ctx.t("footage.range")) ": " (parts::maybe_time(ctx, time("/found/from"))) " " (ctx.t("until")) " " (parts::maybe_time(ctx, time("/found/to")))
            @if manifest["complete"] == true { span.good { (ctx.t("footage.complete")) } }
            @else if manifest["growing"] == true { span.up { (ctx.t("clip.growing")) } }
            @else { span.up { (ctx.t("footage.partial")) } } }
        (gaps(ctx, &Recorded::read(std::slice::from_ref(manifest))))
    }
}

/// Gaps by time and reason.
pub(crate) fn gaps(ctx: &Ctx, recorded: &Recorded) -> Markup {
    let more = recorded.gaps.len().saturating_sub(SHOWN_GAPS);
    html! {
        @if !recorded.gaps.is_empty() {
            ul.gaps { @for g in recorded.gaps.iter().take(SHOWN_GAPS) {
                li { (parts::time(ctx, g.from)) " – " (parts::time(ctx, g.to)) ": " (ctx.value("gap", &g.reason)) }
            } @if more > 0 { li { "+ " (more) } } }
        }
    }
}

/// Why there is nothing.
pub(crate) fn refused(ctx: &Ctx, error: &BoxError, box_id: &str) -> Markup {
    html! {
        p.up role="status" { (ctx.t(error.key())) " (" (box_id) ")" }
        @if let BoxError::NoFootage(why) = error { (gaps(ctx, &Recorded::read(&[serde_json::json!({"gaps": why})]))) }
    }
}

/// The clip.
pub(crate) async fn clip(
    Extension(ctx): Extension<Ctx>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Answer<Response> {
    let row = alert(&ctx, &id).await?;
    let (Some(place), Some(wanted)) = (place(&row), wanted(&row)) else {
        return Ok(not_given(&ctx, &BoxError::NotRecorded));
    };
    let detail = format!("{} {}", row.box_id, row.camera);
    played(&ctx, &wanted, (&place.clip, &place.query), stem(&query), &headers, (&id, &detail)).await
}

/// The clip of the store that is asked for by name.
pub(crate) fn stem(query: &HashMap<String, String>) -> Option<&str> {
    query.get("stored").map(String::as_str)
}

/// What the box gives at `(path, query)`, or what the store has of it where the box cannot; a clip of the store at once where it is
/// named. `look` says for the audit what is asked for, and of what: written down once in a while, not with every piece that the player
/// asks for, and again with the clip of the store, which may show more.
pub(crate) async fn played(
    ctx: &Ctx,
    wanted: &Wanted,
    (path, query): (&str, &[(&str, String)]),
    stem: Option<&str>,
    headers: &HeaderMap,
    (object, asked_for): (&str, &str),
) -> Answer<Response> {
    let written = async |detail: &str| {
        super::audit::watched_of(ctx, &wanted.office, "clip.view", object, detail).await.or_problem(ctx)
    };
    let mut why = None;
    if stem.is_none() {
        written(asked_for).await?;
        let answer = ctx.room.boxes.get(&wanted.office, &wanted.box_id, path, query, asked(headers)).await;
        match answer {
            Ok(answer) => return Ok(passed_on(answer, "video/mp4")),
            Err(error) if error.may_be_elsewhere() => why = Some(error),
            Err(error) => return Ok(not_given(ctx, &error)),
        }
    }
    let given = match stored::open(ctx, wanted, stem).await {
        Ok(clip) => {
            written(&stored::said(ctx, asked_for, &clip)).await?;
            stored::given(clip, headers).await
        }
        Err(error) => Err(error),
    };
    Ok(match (given, why) {
        (Ok(response), _) => response,
        (Err(ClipError::NotThere), Some(error)) => not_given(ctx, &error),
        (Err(error), _) => stored::not_given(ctx, error),
    })
}

/// The clip as a file, for a reason.
pub(crate) async fn save(
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    post: Post,
) -> Answer<Response> {
    let ctx = &post.ctx;
    let row = alert(ctx, &id).await?;
    let place = place(&row).or_problem(ctx)?;
    let wanted = wanted(&row).or_problem(ctx)?;
    let about = Saved { wanted, stem: stem(&query), object: &id, name: &id, detail: row.camera.clone() };
    saved(&post, &about, &place.clip, &place.query).await
}

/// What is saved: whose it is, the clip of the store where one is named, what the audit calls it, and the file's name without its
/// ending.
pub(crate) struct Saved<'a> {
    pub wanted: Wanted,
    pub stem: Option<&'a str>,
    pub object: &'a str,
    pub name: &'a str,
    pub detail: String,
}

/// Hands a clip through as a file to keep. It is written down first, with the reason.
pub(crate) async fn saved(post: &Post, about: &Saved<'_>, path: &str, query: &[(&str, String)]) -> Answer<Response> {
    let ctx = &post.ctx;
    let why: String = post.get("note").chars().take(1000).collect();
    if why.is_empty() {
        return Err(Problem::refused(ctx.language, "refusal.note"));
    }
    let wanted = &about.wanted;
    let refused = |error: ClipError| Problem::refused(ctx.language, error.key());
    let clip = match about.stem {
        Some(_) => Some(stored::open(ctx, wanted, about.stem).await.map_err(refused)?),
        None => None,
    };
    let given = clip.as_ref().map_or_else(|| about.detail.clone(), |clip| stored::said(ctx, &about.detail, clip));
    let detail = format!("{given}: {why}");
    super::audit::viewed_of(ctx, &wanted.office, "clip.save", about.object, &detail).await.or_problem(ctx)?;
    let none = HeaderMap::new();
    let mut response = if let Some(clip) = clip {
        stored::given(clip, &none).await.map_err(refused)?
    } else {
        let answer = ctx.room.boxes.get(&wanted.office, &wanted.box_id, path, query, none).await;
        passed_on(answer.map_err(|error| Problem::refused(ctx.language, error.key()))?, "video/mp4")
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let name: String = about.name.chars().map(plain).collect();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}.mp4\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// What a box `(office, id)` gives, as `kind`.
pub(crate) async fn handed_through(
    ctx: &Ctx,
    (office, box_id): (&str, &str),
    path: &str,
    query: &[(&str, String)],
    headers: &HeaderMap,
    kind: &'static str,
) -> Response {
    match ctx.room.boxes.get(office, box_id, path, query, asked(headers)).await {
        Ok(answer) => passed_on(answer, kind),
        Err(error) => not_given(ctx, &error),
    }
}

fn asked(headers: &HeaderMap) -> HeaderMap {
    let named = |name: HeaderName| headers.get(&name).map(|value| (name, value.clone()));
    ASKED.into_iter().filter_map(named).collect()
}

fn passed_on(answer: reqwest::Response, kind: &'static str) -> Response {
    let (status, headers) = (answer.status(), answer.headers().clone());
    // A chunk is read when the browser took the one before; a box that breaks off breaks the answer off.
    let chunks = stream::unfold(Some(answer), |answer| async {
        let mut answer = answer?;
        match answer.chunk().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(answer))),
            Ok(None) => None,
            Err(error) => Some((Err(std::io::Error::other(error)), None)),
        }
    });
    let mut response = Response::new(Body::from_stream(chunks));
    *response.status_mut() = status;
    for name in ANSWERED {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    // Whatever a box says, a browser takes it for nothing else.
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}

fn not_given(ctx: &Ctx, error: &BoxError) -> Response {
    let status = match error {
        BoxError::Away | BoxError::Refused | BoxError::Trouble => StatusCode::BAD_GATEWAY,
        BoxError::MasksUnknown => StatusCode::FORBIDDEN,
        BoxError::Range(range) => {
            let range = HeaderValue::from_str(range).unwrap_or(HeaderValue::from_static("bytes */0"));
            return (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, range)]).into_response();
        }
        BoxError::NoAddress | BoxError::NotRecorded | BoxError::NoFootage(_) | BoxError::UnknownEvent => {
            StatusCode::NOT_FOUND
        }
    };
    (status, ctx.t(error.key())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_of_an_event_has_its_clip_and_another_one_the_time_around() {
        let body = crate::desk::message::tests::body("01JC0000000000000000000001", 1, 1, 4);
        let m = crate::desk::message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
        let zone = crate::event::zone::Zone::new("Asia/Ho_Chi_Minh").unwrap();
        let mut row = crate::desk::message::alert(&m, &zone, m.at_ms, 60_000);
        let at = place(&row).unwrap();
        assert_eq!((at.clip.as_str(), at.query[0].1.as_str()), ("/api/footage", "gate"));
        let mut with = body.clone();
        with["data"]["footage"] =
            serde_json::json!({"camera": "gate", "from": "2026-03-02T03:17:30Z", "to": "2026-03-02T03:17:50Z"});
        row.body = with.to_string();
        assert_eq!(place(&row).unwrap().clip, "/api/events/01JC0000000000000000000001/clip");
        row.body = "{}".into();
        assert!(place(&row).is_none());
    }
}
