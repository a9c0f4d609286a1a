//! Which clip or sheet of a camera with privacy masks somebody gets over HTTP: the masked copy, unless the original is asked for by
//! name, with the token, by a person and for a reason that go into the chain first. Of a camera whose masks nobody knows there is
//! only the original. Making copies is `footage/mask_desk`'s.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::api::{ApiState, refuse};
use super::api_footage::{Refused, bad};
use super::evidence::Evidence;
use crate::camera::CameraId;
use crate::evidence::request::{Action, Request, Who};
use crate::footage::mask_desk::{MAX_MASKED_MS, MaskDesk, MaskError, Privacy, View, last_of};
use crate::footage::masked::Masked;
use crate::footage::{ClipPlan, Span};
use crate::geometry::Polygon;

/// Seconds after which it may be asked for again.
const RETRY_AFTER_S: &str = "10";

/// Where views of originals are written down. A trait because the router's tests have no store.
pub trait ViewLog: Send + Sync {
    /// Writes one into the chain.
    fn note(&self, request: Request) -> BoxFuture<'_, Result<(), String>>;
}

impl ViewLog for Evidence {
    fn note(&self, request: Request) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { Self::note(self, &request).await })
    }
}

/// The original instead of the masked copy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    pub original: Option<bool>,
    pub operator: Option<String>,
    pub reason: Option<String>,
}

fn desk(state: &ApiState) -> Result<&Arc<MaskDesk>, Refused> {
    let message = "it is not known here which cameras have privacy masks, so no picture is given";
    let none = || Box::new(refuse(StatusCode::SERVICE_UNAVAILABLE, "masks_unknown", message));
    state.masks.as_ref().ok_or_else(none)
}

/// Whether a clip of this camera must be masked for this wish. Where it need not be although the camera has masks, or may
/// have had some, that is written down now.
pub(super) async fn is_masked(state: &ApiState, camera: &CameraId, span: Span, wish: &Wish) -> Result<bool, Refused> {
    match (desk(state)?.privacy(camera, span), wish.original == Some(true)) {
        (Privacy::Open, _) => Ok(false),
        (Privacy::Masked, false) => Ok(true),
        (Privacy::Unknown, false) => {
            let message = format!(
                "the configuration has no camera {camera}, or what its privacy masks were then was lost, so they are not \
                 known: its video is given as the original only, with `original=true`, `operator` and `reason`"
            );
            Err(Box::new(refuse(StatusCode::FORBIDDEN, "masks_unknown", &message)))
        }
        (Privacy::Masked | Privacy::Unknown, true) => original(state, camera, span, wish).await.map(|()| false),
    }
}

/// Whether a contact sheet may be drawn, and with which masks: of a camera that the configuration does not have with none.
pub(super) async fn may_draw(
    state: &ApiState,
    camera: &CameraId,
    span: Span,
    wish: &Wish,
) -> Result<Vec<Polygon>, Refused> {
    match desk(state)?.privacy(camera, span) {
        Privacy::Unknown => is_masked(state, camera, span, wish).await.map(|_| Vec::new()),
        Privacy::Masked if wish.original == Some(true) => {
            Err(bad("contact sheets of this camera always have its privacy masks; ask for a clip as the original"))
        }
        Privacy::Open | Privacy::Masked => Ok(desk(state)?.masks(camera, span).unwrap_or_default()),
    }
}

async fn original(state: &ApiState, camera: &CameraId, span: Span, wish: &Wish) -> Result<(), Refused> {
    if state.token.is_none() {
        let message =
            "the original of a camera with privacy masks is given to holders of the token only: set `http.token`";
        return Err(Box::new(refuse(StatusCode::FORBIDDEN, "token_needed", message)));
    }
    let text = |v: &Option<String>| v.as_deref().unwrap_or_default().trim().to_owned();
    let who = Who { operator: text(&wish.operator), reason: text(&wish.reason) };
    note(state, View { operator: who.operator, reason: who.reason, camera: camera.clone(), span }).await
}

async fn note(state: &ApiState, view: View) -> Result<(), Refused> {
    let desk = desk(state)?;
    if desk.is_noted(&view) {
        return Ok(());
    }
    let who = Who { operator: view.operator.clone(), reason: view.reason.clone() };
    let action = Action::ViewOriginal { camera: view.camera.0.clone(), from: view.span.from, to: view.span.to };
    let request = Request::new(who, action);
    // The words are those of the command line.
    request.check().map_err(|e| bad(&e.replace("--operator", "`operator`").replace("--reason", "`reason`")))?;
    let written = match &state.views {
        Some(log) => log.note(request).await,
        None => Err("there is no chain to write it into".to_owned()),
    };
    if let Err(why) = written {
        tracing::error!(why, camera = %view.camera, "a view of original video could not be written down, so it is refused");
        let message =
            "the original is not given while it cannot be written down who saw it; the log of the box says why";
        return Err(Box::new(refuse(StatusCode::SERVICE_UNAVAILABLE, "not_written_down", message)));
    }
    desk.noted(view);
    Ok(())
}

/// A time that was asked for, if it is not too long for a masked clip.
pub(super) fn short(span: Span) -> Result<(), Refused> {
    if span.to.since(span.from) <= MAX_MASKED_MS {
        return Ok(());
    }
    let minutes = MAX_MASKED_MS / 60_000;
    Err(bad(&format!("this camera has privacy masks: its clips are made anew, at most {minutes} minutes at once")))
}

/// The time of an event, which may last longer than a masked clip may be: its last minutes.
pub(super) fn of_event(state: &ApiState, camera: &CameraId, span: Span, wish: &Wish) -> Span {
    let has_masks = |desk: &Arc<MaskDesk>| desk.privacy(camera, span) == Privacy::Masked;
    let masked = wish.original != Some(true) && state.masks.as_ref().is_some_and(has_masks);
    if masked { last_of(span) } else { span }
}

/// The masked copy of a clip.
pub(super) async fn copy(state: &ApiState, camera: &CameraId, plan: ClipPlan) -> Result<Arc<Masked>, Refused> {
    desk(state)?.clip(camera, plan).await.map_err(|error| {
        let (error, message) = match error {
            MaskError::Busy => ("busy", error.to_string()),
            MaskError::Failed(why) => {
                tracing::error!(why, %camera, "no masked clip could be made");
                ("not_masked", "the masked clip cannot be made now; the log of the box says why".to_owned())
            }
        };
        let mut response: Response = refuse(StatusCode::SERVICE_UNAVAILABLE, error, &message);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        Box::new(response)
    })
}
