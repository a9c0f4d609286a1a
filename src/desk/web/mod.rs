//! The pages: a router, the guard in front of it, and the server. The only part of the desk that knows status codes.
//! Each page is a file beside this one; who may reach which is the table in `desk/access.rs`.

mod accounts;
mod alert;
mod alerts;
mod api;
mod assets;
mod audit;
mod box_status;
mod calls;
mod camera;
mod declaration;
pub(super) mod declaration_facts;
mod devices;
mod footage;
mod form;
mod guard;
mod login;
mod openapi;
mod orders;
mod page;
mod parts;
mod recorded;
mod report_cameras;
mod report_figures;
mod report_printed;
#[cfg(test)]
mod report_tests;
mod reports;
mod server;
mod sheet;
mod shift;
mod shifts;
mod span;
mod stored;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod tip;
mod tip_edit;
mod tip_files;
mod tip_footage;
mod tip_measures;
#[cfg(test)]
mod tip_tests;
mod tips;
mod yard;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};

use super::attachment;
use super::room::Room;

pub use openapi::api_document;
pub(crate) use server::serve;

/// Largest form, bytes.
const MAX_FORM_BYTES: usize = 64 * 1024;
/// Largest form with a file: somewhat more than a file may have, so that one a little too large is told so in words.
const MAX_UPLOAD_BYTES: usize = attachment::MAX_BYTES + 1024 * 1024;

/// All routes behind the guard.
pub(crate) fn router(room: Arc<Room>) -> Router {
    let routes = Router::new()
        .route("/asset/{name}", get(assets::asset))
        .route("/login", get(login::form).post(login::sign_in))
        .route("/language", post(login::language))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(login::ready))
        .route("/", get(login::home))
        .route("/logout", post(login::sign_out))
        .route("/password", get(login::password_form).post(login::change_password))
        .route("/alerts", get(alerts::list))
        .route("/alerts/stream", get(stream::stream))
        .route("/alerts/{id}", get(alert::detail))
        .route("/alerts/{id}/footage", get(footage::show))
        .route("/alerts/{id}/clip", get(footage::clip))
        .route("/alerts/{id}/save", post(footage::save))
        .route("/alerts/{id}/{step}", post(alert::take_step))
        .route("/footage", get(camera::choose))
        .route("/footage/{office}/{box}/{camera}", get(camera::show))
        .route("/footage/{office}/{box}/{camera}/clip", get(camera::clip))
        .route("/footage/{office}/{box}/{camera}/sheet", get(camera::stills))
        .route("/footage/{office}/{box}/{camera}/now", get(camera::picture))
        .route("/footage/{office}/{box}/{camera}/save", post(camera::save))
        .route("/footage/{office}/{box}/{camera}/{step}", post(camera::take_step))
        .route("/pictures/{event}/{sha256}", get(assets::picture))
        .route("/declarations", get(declaration::find))
        .route("/declarations/{key}", get(declaration::show))
        .route("/tips", get(tips::list))
        .route("/tips/stream", get(calls::stream))
        .route("/tips/new", get(tip_edit::blank).post(tip_edit::create))
        .route("/tips/{id}", get(tip::detail))
        .route("/tips/{id}/holds/{office}/{box}", get(tip_measures::holds))
        .route("/tips/{id}/edit", post(tip_edit::change))
        .route("/tips/{id}/files", post(tip_files::upload).layer(DefaultBodyLimit::max(MAX_UPLOAD_BYTES)))
        .route("/tips/{id}/files/{file}", get(tip_files::download))
        .route("/tips/{id}/files/{file}/withdraw", post(tip_files::withdraw))
        .route("/tips/{id}/lead/{step}", post(tip::lead))
        .route("/tips/{id}/work/{step}", post(tip::work))
        .route("/yard", get(yard::show))
        .route("/shifts", get(shifts::list).post(shifts::add))
        .route("/shifts/{id}", get(shift::detail))
        .route("/shifts/{id}/{step}", post(shift::take_step))
        .route("/reports", get(reports::show))
        .route("/reports/tips", get(reports::list))
        .route("/reports/alerts", get(reports::alert_list))
        .route("/reports/cameras", get(report_cameras::list))
        .route("/reports/csv", post(reports::csv))
        .route("/reports/xlsx", post(reports::xlsx))
        .route("/reports/print", post(report_printed::print))
        .route("/reports/printed/{id}", get(report_printed::show))
        .route("/devices", get(devices::show))
        .route("/audit", get(audit::show))
        .route("/accounts", get(accounts::show).post(accounts::add))
        .route("/accounts/{name}", post(accounts::change))
        .route("/openapi.json", get(openapi::serve))
        .route("/api/alerts", get(api::alerts))
        .route("/api/alerts/{id}", get(api::alert))
        .route("/api/tips", get(api::tips))
        .route("/api/bays", get(api::bays))
        .route("/api/boxes", get(api::boxes));
    routes
        .route_layer(middleware::from_fn_with_state(room.clone(), guard::guard))
        .fallback(page::no_such_page)
        .layer(middleware::from_fn_with_state(room.clone(), guard::headers))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .with_state(room)
}
