//! Footage over HTTP: manifests, clips with byte ranges, clips of events. Routes only; what there is to see is decided in
//! `footage/`. The guard of `api` applies to all of them.

use std::ops::Range;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;

use super::api::{ApiState, refuse};
use super::api_masked::{self, Wish};
use crate::camera::CameraId;
use crate::clock::{UtcMillis, utc_now};
use crate::footage::masked::Masked;
use crate::footage::{ClipPlan, Footage, MAX_CLIP_MS, Manifest, Span};
use crate::http_range;
use crate::store::StoreError;

/// Small pictures in a contact sheet.
const MAX_STILLS: u32 = 100;
/// Gaps named in the header; the manifest has all of them.
const MAX_HEADER_GAPS: usize = 40;
const FROM: HeaderName = HeaderName::from_static("gatewatch-footage-from");
const TO: HeaderName = HeaderName::from_static("gatewatch-footage-to");
const GAPS: HeaderName = HeaderName::from_static("gatewatch-footage-gaps");
const MASKED: HeaderName = HeaderName::from_static("gatewatch-footage-masked");
const GROWING: HeaderName = HeaderName::from_static("gatewatch-footage-growing");

/// The routes.
pub fn routes() -> Router<ApiState> {
    Router::new()
        .route("/api/footage", get(clip))
        .route("/api/footage/manifest", get(manifest))
        .route("/api/footage/sheet", get(sheet))
        .route("/api/events/{id}/sheet", get(event_sheet))
        .route("/api/events/{id}/clip", get(event_clip))
        .route("/api/events/{id}/footage", get(event_manifest))
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    camera: CameraId,
    from: String,
    to: String,
}

/// A clip.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedClip {
    camera: CameraId,
    from: String,
    to: String,
    original: Option<bool>,
    operator: Option<String>,
    reason: Option<String>,
}

pub(super) type Refused = Box<Response>;

pub(super) fn bad(message: &str) -> Refused {
    Box::new(refuse(StatusCode::BAD_REQUEST, "invalid", message))
}

fn failed(error: &StoreError) -> Refused {
    tracing::error!(%error, "footage could not be read");
    let message = "footage cannot be read now; the log of the box says why";
    Box::new(refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message))
}

fn recorder(state: &ApiState) -> Result<&Arc<Footage>, Refused> {
    let none = || refuse(StatusCode::NOT_FOUND, "not_recorded", "this box records no video: `footage.record` is off");
    state.footage.as_ref().ok_or_else(|| Box::new(none()))
}

fn span(asked: Result<Query<Asked>, QueryRejection>) -> Result<(CameraId, Span), Refused> {
    let Query(asked) = asked.map_err(|e| bad(&format!("{e}; needed are `camera`, `from` and `to`")))?;
    let time = |name: &str, text: &str| {
        // A plus sign that was not escaped arrives as a space.
        UtcMillis::parse_rfc3339(&text.replace(' ', "+")).map_err(|e| bad(&format!("`{name}`: {e}")))
    };
    let span = Span { from: time("from", &asked.from)?, to: time("to", &asked.to)? };
    match span.to.since(span.from) {
        ms if ms < 0 => Err(bad("`to` is before `from`")),
        ms if ms > MAX_CLIP_MS => Err(bad(&format!("at most {} hours at once", MAX_CLIP_MS / 3_600_000))),
        _ => Ok((asked.camera, span)),
    }
}

async fn of_event(footage: &Footage, id: &str) -> Result<(CameraId, Span), Refused> {
    match footage.event_range(id).await.map_err(|e| failed(&e))? {
        Some(range) => {
            // An event may last longer than a clip may be: its last hours.
            let from = range.from.max(range.to.plus_ms(-MAX_CLIP_MS));
            Ok((range.camera, Span { from, to: range.to }))
        }
        None => {
            let message = "no event of this id is known to have footage on this box";
            Err(Box::new(refuse(StatusCode::NOT_FOUND, "unknown_event", message)))
        }
    }
}

async fn manifest(State(state): State<ApiState>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let found = async {
        let footage = recorder(&state)?;
        let (camera, span) = span(asked)?;
        footage.manifest(&camera, span, utc_now()).await.map_err(|e| failed(&e))
    };
    found.await.map_or_else(|refused| *refused, |manifest| Json(manifest).into_response())
}

async fn event_manifest(State(state): State<ApiState>, Path(id): Path<String>) -> Response {
    let found = async {
        let footage = recorder(&state)?;
        let (camera, span) = of_event(footage, &id).await?;
        footage.manifest(&camera, span, utc_now()).await.map_err(|e| failed(&e))
    };
    found.await.map_or_else(|refused| *refused, |manifest| Json(manifest).into_response())
}

async fn clip(
    State(state): State<ApiState>,
    headers: HeaderMap,
    asked: Result<Query<AskedClip>, QueryRejection>,
) -> Response {
    let answer = async {
        let footage = recorder(&state)?;
        let Query(a) = asked.map_err(|e| bad(&format!("{e}; needed are `camera`, `from` and `to`")))?;
        let wish = Wish { original: a.original, operator: a.operator, reason: a.reason };
        let (camera, span) = span(Ok(Query(Asked { camera: a.camera, from: a.from, to: a.to })))?;
        send(&state, footage, (&camera, span), &wish, &headers).await
    };
    answer.await.unwrap_or_else(|refused| *refused)
}

async fn event_clip(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Path(id): Path<String>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    let answer = async {
        let footage = recorder(&state)?;
        let Query(wish) = wish.map_err(|e| bad(&format!("{e}; known are `original`, `operator` and `reason`")))?;
        let (camera, span) = of_event(footage, &id).await?;
        let span = api_masked::of_event(&state, &camera, span, &wish);
        send(&state, footage, (&camera, span), &wish, &headers).await
    };
    answer.await.unwrap_or_else(|refused| *refused)
}

async fn send(
    state: &ApiState,
    footage: &Footage,
    (camera, span): (&CameraId, Span),
    wish: &Wish,
    headers: &HeaderMap,
) -> Result<Response, Refused> {
    let masked = api_masked::is_masked(state, camera, span, wish).await?;
    if masked {
        api_masked::short(span)?;
    }
    let manifest = footage.manifest(camera, span, utc_now()).await.map_err(|e| failed(&e))?;
    let Some(plan) = footage.clip(&manifest).await.map_err(|e| failed(&e))? else {
        return Err(Box::new(nothing(&manifest)));
    };
    let copy = if masked { Some(api_masked::copy(state, camera, plan.clone()).await?) } else { None };
    let plan = copy.as_ref().map_or(plan, |copy| copy.plan.clone());
    let wanted = match http_range::wanted(headers, &plan.etag, plan.bytes) {
        Ok(wanted) => wanted,
        Err(()) => {
            let mut response = refuse(StatusCode::RANGE_NOT_SATISFIABLE, "range", "the clip has fewer bytes");
            put(&mut response, header::CONTENT_RANGE, &format!("bytes */{}", plan.bytes));
            return Err(Box::new(response));
        }
    };
    Ok(respond(plan, copy, wanted, &manifest))
}

fn respond(plan: ClipPlan, copy: Option<Arc<Masked>>, wanted: Option<Range<u64>>, manifest: &Manifest) -> Response {
    let masked = copy.is_some();
    let range = wanted.clone().unwrap_or(0..plan.bytes);
    let (total, etag, from, to) = (plan.bytes, plan.etag.clone(), plan.from, plan.to);
    let left_out = plan.left_out.clone();
    let mut response = Response::new(Body::from_stream(stream_of(plan, copy, range.clone())));
    *response.status_mut() = if wanted.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    if wanted.is_some() {
        put(&mut response, header::CONTENT_RANGE, &format!("bytes {}-{}/{total}", range.start, range.end - 1));
    }
    put(&mut response, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    put(&mut response, header::CONTENT_TYPE, "video/mp4");
    put(&mut response, header::ACCEPT_RANGES, "bytes");
    put(&mut response, header::ETAG, &format!("\"{etag}\""));
    put(&mut response, header::CACHE_CONTROL, "private, no-cache");
    let stamp: String = from.to_rfc3339().chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let name = format!("inline; filename=\"{}_{stamp}.mp4\"", manifest.camera);
    put(&mut response, header::CONTENT_DISPOSITION, &name);
    put(&mut response, FROM, &from.to_rfc3339());
    put(&mut response, TO, &to.to_rfc3339());
    put(&mut response, MASKED, if masked { "true" } else { "false" });
    put(&mut response, GROWING, if manifest.growing { "true" } else { "false" });
    put(&mut response, GAPS, &gaps_header(manifest, &left_out));
    response
}

/// `from/to;reason`, separated by commas; empty when nothing is missing.
fn gaps_header(manifest: &Manifest, left_out: &[(UtcMillis, UtcMillis)]) -> String {
    let gap = |from: UtcMillis, to: UtcMillis, why: &str| format!("{}/{};{why}", from.to_rfc3339(), to.to_rfc3339());
    let mut all: Vec<String> = manifest.gaps.iter().map(|g| gap(g.from, g.to, &g.reason)).collect();
    all.extend(left_out.iter().map(|(from, to)| gap(*from, *to, "other_coding")));
    let more = all.len().saturating_sub(MAX_HEADER_GAPS);
    all.truncate(MAX_HEADER_GAPS);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all.join(", ")
}

fn nothing(manifest: &Manifest) -> Response {
    let why = manifest.gaps.first().map_or("not_recorded", |g| g.reason.as_str());
    let message = format!("camera {} has no video of this time: {why}", manifest.camera);
    let body = json!({"error": "no_footage", "message": message, "gaps": manifest.gaps});
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

fn put(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// How a contact sheet looks.
#[derive(Debug, Deserialize)]
struct Look {
    /// Small pictures at most; 1 = a thumbnail.
    count: Option<u32>,
    columns: Option<u32>,
    /// Of each, pixels.
    width: Option<u32>,
    original: Option<bool>,
    operator: Option<String>,
    reason: Option<String>,
}

impl Look {
    fn wish(&self) -> Wish {
        Wish { original: self.original, operator: self.operator.clone(), reason: self.reason.clone() }
    }
}

/// Also says which time is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedSheet {
    camera: CameraId,
    from: String,
    to: String,
    count: Option<u32>,
    columns: Option<u32>,
    width: Option<u32>,
    original: Option<bool>,
    operator: Option<String>,
    reason: Option<String>,
}

async fn sheet(State(state): State<ApiState>, asked: Result<Query<AskedSheet>, QueryRejection>) -> Response {
    let answer = async {
        let footage = recorder(&state)?;
        let Query(a) = asked.map_err(|e| bad(&format!("{e}; needed are `camera`, `from` and `to`")))?;
        let (original, operator, reason) = (a.original, a.operator, a.reason);
        let look = Look { count: a.count, columns: a.columns, width: a.width, original, operator, reason };
        let (camera, span) = span(Ok(Query(Asked { camera: a.camera, from: a.from, to: a.to })))?;
        draw(&state, footage, &camera, span, &look).await
    };
    answer.await.unwrap_or_else(|refused| *refused)
}

async fn event_sheet(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    look: Result<Query<Look>, QueryRejection>,
) -> Response {
    let answer = async {
        let footage = recorder(&state)?;
        let Query(look) = look.map_err(|e| bad(&format!("{e}; known are `count`, `columns` and `width`")))?;
        let (camera, span) = of_event(footage, &id).await?;
        draw(&state, footage, &camera, span, &look).await
    };
    answer.await.unwrap_or_else(|refused| *refused)
}

async fn draw(
    state: &ApiState,
    footage: &Footage,
    camera: &CameraId,
    span: Span,
    look: &Look,
) -> Result<Response, Refused> {
    let (count, columns) = (look.count.unwrap_or(12), look.columns.unwrap_or(4));
    let width = look.width.unwrap_or(320);
    if !(1..=MAX_STILLS).contains(&count) || !(1..=MAX_STILLS).contains(&columns) || !(64..=1920).contains(&width) {
        return Err(bad(&format!("`count` and `columns` are 1 to {MAX_STILLS}, `width` is 64 to 1920")));
    }
    let Some(annotator) = &state.annotator else { return Err(bad("pictures cannot be drawn here")) };
    let masks = api_masked::may_draw(state, camera, span, &look.wish()).await?;
    // Each sheet has a decoder of its own: one at a time, so that nobody can load the box with them.
    let _turn = state.sheets.lock().await;
    let manifest = footage.manifest(camera, span, utc_now()).await.map_err(|e| failed(&e))?;
    let unreadable = |why: String| {
        tracing::error!(why, %camera, "no contact sheet could be made");
        Box::new(refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the video cannot be decoded now"))
    };
    let frames = footage.stills(&manifest, count as usize).await.map_err(unreadable)?;
    if frames.is_empty() {
        return Err(Box::new(nothing(&manifest)));
    }
    let annotator = Arc::clone(annotator);
    let drawn = tokio::task::spawn_blocking(move || annotator.sheet(&frames, &masks, columns, width)).await;
    let jpeg = drawn.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    let jpeg = jpeg.map_err(|e| bad(&e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response())
}

/// One fragment at a time, read when the receiver takes it. A file deleted meanwhile breaks the connection off, so that
/// nobody takes a part for the whole. A masked copy stays until it is sent.
fn stream_of(
    plan: ClipPlan,
    copy: Option<Arc<Masked>>,
    range: Range<u64>,
) -> impl futures_util::Stream<Item = std::io::Result<Vec<u8>>> {
    let first = plan.part_of(range.start);
    stream::unfold((Arc::new(plan), copy, range, first), |(plan, copy, range, part)| async move {
        if part >= plan.parts() || plan.start_of(part) >= range.end {
            return None;
        }
        let (source, wanted) = (Arc::clone(&plan), range.clone());
        let bytes = tokio::task::spawn_blocking(move || source.read(part, &wanted)).await;
        let bytes = bytes.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        let next = if bytes.is_ok() { part + 1 } else { plan.parts() };
        Some((bytes, (plan, copy, range, next)))
    })
}
