//! Areas and lines over HTTP: what is drawn, and the way of a new drawing into the configuration file. The text is made in
//! `config/drawn`; here it is checked, written whole or not at all, and never over somebody else's change.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::api::{ApiState, items, refuse};
use super::api_footage::{Refused, bad};
use super::windows::LookError;
use crate::camera::CameraId;
use crate::config::drawn::{Drawn, DrawnError, draw, part};
use crate::config::{self, CameraConfig, Config};

/// The routes; the router's guard is put around them.
pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/api/cameras/{id}/picture", get(picture))
        .route("/api/cameras/{id}/areas", get(areas).put(put_areas))
}

/// Which configuration runs, and from which file.
pub struct Running {
    /// Configuration.
    pub config: Config,
    /// Its file; `None` where it is built in.
    pub file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    #[serde(default)]
    notes: bool,
}

async fn picture(
    State(state): State<ApiState>,
    UrlPath(id): UrlPath<String>,
    look: Result<Query<Look>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Query(look) = match look {
        Ok(look) => look,
        Err(e) => return *bad(&format!("{e}; known is `notes`, true or false")),
    };
    let Some(windows) = &state.windows else { return *bad("pictures cannot be drawn here") };
    match windows.look(&CameraId(id), look.notes).await {
        Ok(drawing) => {
            let head = [
                (header::CONTENT_TYPE, "image/jpeg".to_owned()),
                (header::CACHE_CONTROL, "no-store".to_owned()),
                (header::HeaderName::from_static("gatewatch-captured"), drawing.captured.to_rfc3339()),
            ];
            (head, drawing.jpeg).into_response()
        }
        Err(error @ LookError::Unknown(_)) => refuse(StatusCode::NOT_FOUND, "unknown_camera", &error.to_string()),
        Err(error @ LookError::Dark(_)) => refuse(StatusCode::SERVICE_UNAVAILABLE, "no_picture", &error.to_string()),
        Err(LookError::Draw(error)) => {
            tracing::error!(%error, "a picture for the page could not be drawn");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "not_drawn", "the picture cannot be drawn; the log says why")
        }
    }
}

/// A drawing that is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    /// SHA-256 of the file that the drawing began with.
    digest: String,
    /// Also write it; else it is only checked and shown.
    #[serde(default)]
    write: bool,
    #[serde(flatten)]
    drawn: Drawn,
}

fn running(state: &ApiState) -> Result<&Running, Refused> {
    state.running.as_deref().ok_or_else(|| bad("no configuration is known here"))
}

fn camera<'a>(config: &'a Config, id: &str) -> Result<&'a CameraConfig, Refused> {
    let none = || {
        let message = format!("the configuration has no camera {id}");
        Box::new(refuse(StatusCode::NOT_FOUND, "unknown_camera", &message))
    };
    config.cameras.iter().find(|c| c.id.0 == id).ok_or_else(none)
}

/// What the file says now, which may be more than what runs.
async fn areas(State(state): State<ApiState>, UrlPath(id): UrlPath<String>) -> Response {
    let answer = async {
        let running = running(&state)?;
        let runs = camera(&running.config, &id)?;
        let runs = Drawn::of(&runs.areas, &runs.lines);
        let Some(file) = running.file.clone() else {
            let body = json!({"drawn": runs, "file": null, "digest": "", "may_write": false, "restart_needed": false});
            return Ok(Json(body).into_response());
        };
        let text = read(file.clone()).await?;
        let known = config::parse(&text, &file.display().to_string()).map_err(|e| invalid(&e))?;
        let now = camera(&known, &id)?;
        let now = Drawn::of(&now.areas, &now.lines);
        let restart_needed = now != runs;
        let body = json!({"drawn": now, "file": file, "digest": digest(&text), "may_write": state.token.is_some(),
            "restart_needed": restart_needed});
        Ok(Json(body).into_response())
    };
    answer.await.unwrap_or_else(|refused: Refused| *refused)
}

async fn put_areas(
    State(state): State<ApiState>,
    UrlPath(id): UrlPath<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let answer = async {
        let running = running(&state)?;
        let sent = items(&headers, body)?.into_iter().next().unwrap_or_default();
        let sent: Sent = serde_json::from_value(sent).map_err(|e| bad(&e.to_string()))?;
        let Some(file) = running.file.clone() else {
            return Err(conflict("no_file", "this agent has no configuration file to write into"));
        };
        if sent.write && state.token.is_none() {
            let message = "the file is written for holders of the token only: set `http.token`, or copy the text";
            return Err(Box::new(refuse(StatusCode::FORBIDDEN, "token_needed", message)));
        }
        let _one = state.drawing.lock().await;
        let text = read(file.clone()).await?;
        if digest(&text) != sent.digest {
            let message = "the configuration file was changed meanwhile; load the drawing again";
            return Err(conflict("changed", message));
        }
        let made = draw(&text, &id, &sent.drawn).map_err(|e| not_drawn(&e))?;
        let toml = part(&made, &id).map_err(|e| not_drawn(&e))?;
        let checked = config::parse(&made, &file.display().to_string()).map_err(|e| invalid(&e))?;
        camera(&checked, &id)?;
        if sent.write && made != text {
            let (path, bytes) = (file.clone(), made.clone());
            let written = tokio::task::spawn_blocking(move || put(&path, bytes.as_bytes())).await;
            written.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())).map_err(|e| unwritable(&file, &e))?;
            tracing::info!(file = %file.display(), camera = id, "areas were drawn anew and written; a restart uses them");
        }
        let body = json!({"written": sent.write, "file": file, "digest": digest(&made), "toml": toml});
        Ok(Json(body).into_response())
    };
    answer.await.unwrap_or_else(|refused: Refused| *refused)
}

async fn read(file: PathBuf) -> Result<String, Refused> {
    tokio::fs::read_to_string(&file).await.map_err(|error| {
        tracing::error!(%error, file = %file.display(), "the configuration file cannot be read");
        let message = format!("the configuration file {} cannot be read: {error}", file.display());
        Box::new(refuse(StatusCode::SERVICE_UNAVAILABLE, "unreadable", &message))
    })
}

fn not_drawn(error: &DrawnError) -> Refused {
    match error {
        DrawnError::NoCamera(_) => Box::new(refuse(StatusCode::NOT_FOUND, "unknown_camera", &error.to_string())),
        _ => conflict("not_editable", &error.to_string()),
    }
}

fn conflict(error: &str, message: &str) -> Refused {
    Box::new(refuse(StatusCode::CONFLICT, error, message))
}

fn invalid(problems: &config::Problems) -> Refused {
    let lines: Vec<String> = problems.list.iter().map(ToString::to_string).collect();
    let body = json!({"error": "invalid", "message": problems.to_string(), "problems": lines});
    Box::new((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response())
}

fn unwritable(file: &Path, error: &io::Error) -> Refused {
    tracing::warn!(%error, file = %file.display(), "the configuration file cannot be written");
    let file = file.display();
    let message = format!("{file} cannot be written by the agent ({error}); copy the text into it as its owner");
    conflict("unwritable", &message)
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// Whole or not at all, with the rights that the file had; what was there stays beside it as `NAME.bak`.
fn put(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = file.canonicalize()?;
    let (mut tmp, mut kept) = (file.clone().into_os_string(), file.clone().into_os_string());
    tmp.push(".tmp");
    kept.push(".bak");
    let mut out = File::create(&tmp)?;
    out.set_permissions(fs::metadata(&file)?.permissions())?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::copy(&file, &kept)?;
    fs::rename(&tmp, &file)?;
    File::open(file.parent().unwrap_or(&file))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_its_former_self_kept() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("a.toml"), dir.path().join("link.toml"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        put(&link, b"new").unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!((read("a.toml"), read("a.toml.bak")), ("new".into(), "old".into()));
        assert!(link.is_symlink() && fs::metadata(&real).unwrap().permissions().mode() & 0o777 == 0o640);
        assert!(!dir.path().join("a.toml.tmp").exists());
    }
}
