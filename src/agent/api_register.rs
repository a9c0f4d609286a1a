//! The part of the HTTP API about visits, bindings, stop orders, readings, tips and holds; the same holds come by `cmd/hold`
//! and `cmd/release`.

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;

use super::api::{ApiState, FactKind, FieldError, SinkError, apply_all, items, refuse, sink_error};
use super::correlate::standing;
use super::tips::look_at_hold;
use crate::clock::{UtcMillis, utc_now};
use crate::customs::Register;
use crate::store::{NewHold, Store, StoreError};

/// A hold covers at most this much, milliseconds: a week of one camera.
const MAX_HOLD_MS: i64 = 7 * 86_400_000;

/// Tips and holds, for people.
#[derive(Debug, Clone)]
pub struct TipDesk {
    /// Holds and correlations.
    pub store: Store,
    /// Tips.
    pub register: Arc<Register>,
    /// Cameras there are.
    pub cameras: Vec<String>,
    /// `register.tip_days`.
    pub tip_days: u32,
}

impl TipDesk {
    /// All tips with where they stand and how much footage there is, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn tips(&self) -> Result<Value, SinkError> {
        let register = self.register.snapshot();
        let mut tips: Vec<_> = register.tips().cloned().collect();
        tips.sort_by(|a, b| (b.issued_at, &b.id).cmp(&(a.issued_at, &a.id)));
        let now = utc_now();
        let mut out = Vec::with_capacity(tips.len());
        for tip in tips {
            let kept = self.store.correlation(&tip.id).await.map_err(unavailable)?;
            let answer = kept.map(|k| {
                json!({"revision": k.revision, "footage": k.body["footage"],
                "events_total": k.body["events_total"], "run_at": k.body["run_at"]})
            });
            let stands = standing(&tip, now, self.tip_days);
            out.push(json!({"tip": tip.as_ref(), "standing": stands, "ends_at": tip.ends(self.tip_days), "correlation": answer}));
        }
        Ok(Value::Array(out))
    }

    /// Places a hold: `{"camera", "from", "to", "reason", "by", "id"?, "tip_id"?}`. Asking twice holds once.
    ///
    /// # Errors
    /// What is wrong with which field, or that the store refuses.
    pub async fn hold(&self, body: &Value) -> Result<Value, SinkError> {
        let mut wrong = Vec::new();
        let camera = text(body, "camera", &mut wrong);
        if let Some(camera) = camera.as_ref().filter(|c| !self.cameras.contains(c)) {
            let allowed = self.cameras.join(", ");
            wrong.push(field("camera", &format!("there is no camera {camera:?}; there are: {allowed}")));
        }
        let (from, to) = (time(body, "from", &mut wrong), time(body, "to", &mut wrong));
        if let (Some(from), Some(to)) = (from, to)
            && (to <= from || to.since(from) > MAX_HOLD_MS)
        {
            wrong.push(field("to", "must be after `from`, at most 7 days"));
        }
        let (reason, by) = (text(body, "reason", &mut wrong), text(body, "by", &mut wrong));
        let (Some(camera), Some(from), Some(to), Some(reason), Some(by), true) =
            (camera, from, to, reason, by, wrong.is_empty())
        else {
            return Err(SinkError::Invalid(wrong));
        };
        let optional = |name: &str| body[name].as_str().filter(|t| !t.is_empty() && t.len() <= 100).map(str::to_owned);
        let new = NewHold { id: optional("id"), camera, from, to, reason, tip_id: optional("tip_id"), by };
        let ids = self.store.place_holds(std::slice::from_ref(&new)).await.map_err(unavailable)?;
        if let Some(hold) = self.store.hold(&ids[0]).await.map_err(unavailable)? {
            look_at_hold(&self.store, &hold, utc_now()).await.map_err(unavailable)?;
        }
        let hold = self.store.hold(&ids[0]).await.map_err(unavailable)?;
        tracing::info!(hold = ids[0], camera = new.camera, by = new.by, reason = new.reason, "footage held");
        Ok(json!(hold))
    }

    /// Gives a hold free: `{"id", "by", "reason"}`.
    ///
    /// # Errors
    /// What is wrong with which field, or that the store refuses.
    pub async fn release(&self, body: &Value) -> Result<Value, SinkError> {
        let mut wrong = Vec::new();
        let (id, by) = (text(body, "id", &mut wrong), text(body, "by", &mut wrong));
        let why = text(body, "reason", &mut wrong);
        let (Some(id), Some(by), Some(why)) = (id, by, why) else { return Err(SinkError::Invalid(wrong)) };
        match self.store.release_hold(&id, &by, &why).await.map_err(unavailable)? {
            Some(hold) => {
                tracing::info!(hold = id, by, why, "footage given free");
                Ok(json!(hold))
            }
            None => Err(SinkError::Invalid(vec![field("id", "there is no hold of this id")])),
        }
    }
}

fn unavailable(error: StoreError) -> SinkError {
    SinkError::Unavailable(error.to_string())
}

fn field(field: &str, message: &str) -> FieldError {
    FieldError { field: field.into(), message: message.into() }
}

fn text(body: &Value, name: &str, wrong: &mut Vec<FieldError>) -> Option<String> {
    let given = body[name].as_str().map(str::trim).filter(|t| !t.is_empty() && t.chars().count() <= 200);
    if given.is_none() {
        wrong.push(field(name, "is needed: text of 1 to 200 characters"));
    }
    given.map(str::to_owned)
}

fn time(body: &Value, name: &str, wrong: &mut Vec<FieldError>) -> Option<UtcMillis> {
    let given = body[name].as_str().and_then(|t| UtcMillis::parse_rfc3339(t).ok());
    if given.is_none() {
        wrong.push(field(name, "is needed: a time with offset like 2026-03-02T10:17:45+07:00"));
    }
    given
}

/// Routes, guarded by whoever merges them.
pub fn routes() -> Router<ApiState> {
    Router::new()
        .route("/api/visits", post(take_visits))
        .route("/api/bindings", post(take_bindings))
        .route("/api/stops", post(take_stops))
        .route("/api/observations", post(take_observations))
        .route("/api/tips", get(tips).post(take_tips))
        .route("/api/tips/{id}/correlation", get(correlation))
        .route("/api/holds", get(holds).post(hold))
        .route("/api/holds/{id}/release", post(release))
}

macro_rules! takes {
    ($name:ident, $kind:expr) => {
        async fn $name(
            State(state): State<ApiState>,
            headers: HeaderMap,
            body: Result<Bytes, BytesRejection>,
        ) -> Response {
            apply_all(&headers, body, $kind, &state).await
        }
    };
}

takes!(take_visits, FactKind::Visit);
takes!(take_bindings, FactKind::Bind);
takes!(take_stops, FactKind::Stop);
takes!(take_observations, FactKind::Observation);
takes!(take_tips, FactKind::Tip);

fn desk(state: &ApiState) -> Result<&TipDesk, Box<Response>> {
    let none = || Box::new(refuse(StatusCode::NOT_FOUND, "not_found", "there are no tips and holds here"));
    state.tips.as_ref().ok_or_else(none)
}

async fn tips(State(state): State<ApiState>) -> Response {
    match desk(&state) {
        Ok(desk) => answer(desk.tips().await),
        Err(response) => *response,
    }
}

async fn correlation(State(state): State<ApiState>, Path(id): Path<String>) -> Response {
    let desk = match desk(&state) {
        Ok(desk) => desk,
        Err(response) => return *response,
    };
    match desk.store.correlation(&id).await {
        Ok(Some(kept)) => Json(json!({"revision": kept.revision, "correlation": kept.body})).into_response(),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "not_found", "nothing was found about a tip of this id (yet)"),
        Err(error) => sink_error(&unavailable(error)),
    }
}

async fn holds(State(state): State<ApiState>, query: axum::extract::RawQuery) -> Response {
    let desk = match desk(&state) {
        Ok(desk) => desk,
        Err(response) => return *response,
    };
    let query = query.0.unwrap_or_default();
    let tip = query.split('&').find_map(|p| p.strip_prefix("tip=")).map(str::to_owned);
    let released = query.split('&').any(|p| p == "released=true");
    answer(desk.store.holds(tip.as_deref(), released).await.map(|h| json!(h)).map_err(unavailable))
}

async fn hold(State(state): State<ApiState>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let (desk, items) = match (desk(&state), items(&headers, body)) {
        (Ok(desk), Ok(items)) => (desk, items),
        (Err(response), _) | (_, Err(response)) => return *response,
    };
    let mut placed = Vec::with_capacity(items.len());
    for item in &items {
        match desk.hold(item).await {
            Ok(hold) => placed.push(hold),
            Err(error) => return sink_error(&error),
        }
    }
    Json(Value::Array(placed)).into_response()
}

async fn release(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (desk, items) = match (desk(&state), items(&headers, body)) {
        (Ok(desk), Ok(items)) => (desk, items),
        (Err(response), _) | (_, Err(response)) => return *response,
    };
    let Some(mut item) = items.into_iter().next() else {
        return refuse(StatusCode::BAD_REQUEST, "invalid", "send an object with `by` and `reason`");
    };
    item["id"] = Value::from(id);
    answer(desk.release(&item).await)
}

fn answer(result: Result<Value, SinkError>) -> Response {
    match result {
        Ok(body) => Json(body).into_response(),
        Err(error) => sink_error(&error),
    }
}
