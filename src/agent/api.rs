//! The HTTP API of the agent: health, metrics, status, declarations and bookings; coverage is in `api_coverage`. The only part that knows status
//! codes. What it answers from is handed in by [`ApiState`]; a router is a function, tested without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Secret;
use crate::telemetry::health::Health;

/// Largest request body, bytes: some thousand bookings.
pub const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;
/// Most items in one request.
pub const MAX_ITEMS: usize = 5_000;

/// What became of one declaration or booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// New or newer than what was known.
    Stored,
    /// Known already, word for word.
    Unchanged,
    /// Older than what is known; left as it was.
    Older,
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Path of the field, e.g. `containers[0]`; empty for the item as a whole.
    pub field: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// Why an item was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The sender must change it.
    #[error("{} field(s) are wrong", .0.len())]
    Invalid(Vec<FieldError>),
    /// The register cannot be reached now; the same request may succeed later. The text is for the log.
    #[error("the register is not available: {0}")]
    Unavailable(String),
}

/// Which bookings are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BookingQuery {
    /// Only of this area.
    pub area: Option<String>,
    /// Only those that cover this time, RFC 3339.
    pub at: Option<String>,
}

/// Where declarations and bookings go. A trait because the router's tests have no store.
pub trait RegisterSink: Send + Sync {
    /// Applies declarations or bookings as they came; answers in the order given.
    fn take(&self, kind: FactKind, items: Vec<Value>) -> BoxFuture<'_, Answers>;
    /// Known bookings as a JSON array.
    fn bookings(&self, query: BookingQuery) -> BoxFuture<'_, Result<Value, SinkError>>;
}

pub use crate::customs::FactKind;

/// What became of each item, or why none could be kept.
pub type Answers = Result<Vec<Result<Applied, SinkError>>, SinkError>;

/// All the router answers from. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// Parts and loops.
    pub health: Arc<Health>,
    /// Text for Prometheus.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Cameras, outbox and so on, as a JSON object.
    pub status: Arc<dyn Fn() -> BoxFuture<'static, Value> + Send + Sync>,
    /// Register.
    pub register: Arc<dyn RegisterSink>,
    /// What was watched and what happened.
    pub coverage: Arc<dyn super::api_coverage::CoverageSource>,
    /// Recorded video. `None` in the router's tests.
    pub footage: Option<Arc<crate::footage::Footage>>,
    /// Draws contact sheets. `None` in the router's tests.
    pub annotator: Option<Arc<crate::event::Annotator>>,
    /// Held while one is made.
    pub sheets: Arc<tokio::sync::Mutex<()>>,
    /// Makes clips of cameras with privacy masks. `None` in the router's tests.
    pub masks: Option<Arc<crate::footage::mask_desk::MaskDesk>>,
    /// Where it is written down who saw an original. `None` in the router's tests.
    pub views: Option<Arc<dyn super::api_masked::ViewLog>>,
    /// Tips and holds; `None` where there is no store.
    pub tips: Option<super::api_register::TipDesk>,
    /// Shows what cameras see. `None` in the router's tests.
    pub windows: Option<Arc<super::windows::Windows>>,
    /// What runs, for the page and for drawing areas. `None` in the router's tests.
    pub running: Option<Arc<super::api_areas::Running>>,
    /// Held while the configuration file is written.
    pub drawing: Arc<tokio::sync::Mutex<()>>,
    /// Bearer token; `None` = not asked for (loopback only, the configuration sees to that).
    pub token: Option<Secret>,
}

/// The routes. `/livez` and `/readyz` never ask for the token: service managers and probes hold none, and name the box as they like.
pub fn router(state: ApiState) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/declarations", post(declarations))
        .route("/api/bookings", get(bookings).post(book))
        .merge(super::api_coverage::routes())
        .merge(super::api_footage::routes())
        .merge(super::api_register::routes())
        .merge(super::api_areas::routes())
        .route_layer(middleware::from_fn_with_state(state.clone(), authorise))
        .route_layer(middleware::from_fn_with_state(state.clone(), super::page::own_host));
    guarded
        .merge(super::page::routes())
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take that method")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(state)
}

pub(super) fn refuse(status: StatusCode, error: &str, message: &str) -> Response {
    (status, Json(json!({"error": error, "message": message}))).into_response()
}

async fn authorise(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let Some(token) = &state.token else { return next.run(request).await };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if given.and_then(bearer).is_some_and(|given| same(given, token.expose())) {
        return next.run(request).await;
    }
    let mut response = refuse(StatusCode::UNAUTHORIZED, "unauthorized", "send `Authorization: Bearer TOKEN`");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    response
}

/// The scheme's name is case-insensitive (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares digests in constant time, so that neither content nor length of the token shows in the answer's time.
fn same(a: &str, b: &str) -> bool {
    Sha256::digest(a).ct_eq(&Sha256::digest(b)).into()
}

async fn livez(State(state): State<ApiState>) -> Response {
    let stuck = state.health.stuck();
    if stuck.is_empty() {
        return Json(json!({"live": true})).into_response();
    }
    let loops: Vec<_> = stuck.iter().map(|(name, ms)| json!({"loop": name, "silent_ms": ms})).collect();
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"live": false, "stuck": loops}))).into_response()
}

async fn readyz(State(state): State<ApiState>) -> Response {
    let readiness = state.health.readiness();
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness)).into_response()
}

async fn metrics(State(state): State<ApiState>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, (state.metrics)()).into_response()
}

async fn status(State(state): State<ApiState>) -> Json<Value> {
    Json((state.status)().await)
}

async fn bookings(State(state): State<ApiState>, query: Result<Query<BookingQuery>, QueryRejection>) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(e) => return refuse(StatusCode::BAD_REQUEST, "invalid", &format!("{e}; known are `area` and `at`")),
    };
    match state.register.bookings(query).await {
        Ok(found) => Json(found).into_response(),
        Err(e) => sink_error(&e),
    }
}

pub(super) fn sink_error(error: &SinkError) -> Response {
    match error {
        SinkError::Invalid(fields) => {
            let body = json!({"error": "invalid", "message": error.to_string(), "fields": fields});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
        SinkError::Unavailable(why) => {
            tracing::error!(why, "the register could not be used");
            refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the register cannot be used now; send it again later",
            )
        }
    }
}

async fn declarations(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    apply_all(&headers, body, FactKind::Declaration, &state).await
}

async fn book(State(state): State<ApiState>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    apply_all(&headers, body, FactKind::Booking, &state).await
}

/// Applies one object or each of an array, in order. What fits is applied even when another item is refused; the
/// answer says which is which, so the same request may safely be sent again.
pub(super) async fn apply_all(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    kind: FactKind,
    state: &ApiState,
) -> Response {
    let items = match items(headers, body) {
        Ok(items) => items,
        Err(response) => return *response,
    };
    let answers = match state.register.take(kind, items).await {
        Ok(answers) => answers,
        Err(e) => return sink_error(&e),
    };
    let (mut results, mut refused) = (Vec::with_capacity(answers.len()), 0);
    for (index, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(result) => results.push(json!({"index": index, "result": result})),
            Err(SinkError::Invalid(fields)) => {
                refused += 1;
                results.push(json!({"index": index, "result": "invalid", "fields": fields}));
            }
            Err(e @ SinkError::Unavailable(_)) => return sink_error(&e),
        }
    }
    if refused == 0 {
        return Json(json!({"results": results})).into_response();
    }
    let message = format!("{refused} of {} items are refused; the others are applied", results.len());
    let body = json!({"error": "invalid", "message": message, "results": results});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

pub(super) fn items(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Vec<Value>, Box<Response>> {
    // Asking for JSON by name keeps pages of other sites from posting through an officer's browser.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json")) {
        let message = "send `Content-Type: application/json`";
        return Err(Box::new(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)));
    }
    let body = body.map_err(|e| {
        let message = format!("the body cannot be read or is larger than {MAX_BODY_BYTES} bytes; send fewer items");
        Box::new(refuse(e.status(), "body", &message))
    })?;
    let bad = |message: &str| Box::new(refuse(StatusCode::BAD_REQUEST, "invalid", message));
    match serde_json::from_slice(&body) {
        Ok(Value::Array(items)) if items.len() <= MAX_ITEMS => Ok(items),
        Ok(Value::Array(_)) => Err(bad(&format!("at most {MAX_ITEMS} items at once"))),
        Ok(item @ Value::Object(_)) => Ok(vec![item]),
        Ok(_) => Err(bad("send one object or an array of objects")),
        Err(e) => Err(bad(&format!("not valid JSON: {e}"))),
    }
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
