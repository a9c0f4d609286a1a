//! Styles, script and icon from the binary; pictures of events from the folder of the desk.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Path, Query};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::page::{Answer, Ctx, OrProblem};
use crate::desk::pictures;

/// Styles, script, icon.
pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    let found = match name.as_str() {
        "desk.css" => ("text/css; charset=utf-8", include_str!("../asset/desk.css")),
        "desk.js" => ("text/javascript; charset=utf-8", include_str!("../asset/desk.js")),
        "icon.svg" => ("image/svg+xml", include_str!("../asset/icon.svg")),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([(header::CONTENT_TYPE, found.0), (header::CACHE_CONTROL, "no-cache")], found.1).into_response()
}

/// A picture of an alert that the reader may see. Only one that a message of the event names is shown at all. Who looks at it is
/// written down, once in a while; as a part of a list (`list`) that is written down itself it is not, where it is the newest, which the card
/// of that very alert shows that he was shown just now. A browser keeps what was written down no longer than that holds, so that who looks again later asks again; the
/// small picture of a list it keeps for a day, since each list that shows it is written down.
pub(crate) async fn picture(
    Extension(ctx): Extension<Ctx>,
    Path((event, sha256)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Response> {
    let alert = ctx.room.db.alert(&event).await.or_problem(&ctx)?.filter(|a| ctx.user.scope.holds(&a.office));
    let alert = alert.or_problem(&ctx)?;
    pictures::is_digest(&sha256).then_some(()).or_problem(&ctx)?;
    // The one of the newest message, as all cards ask for, needs no more.
    let newest = alert.pictured != 0 && alert.picture.as_ref() == Some(&sha256);
    let named = newest || ctx.room.db.names_picture(&event, &sha256).await.or_problem(&ctx)?;
    named.then_some(()).or_problem(&ctx)?;
    let file = tokio::fs::read(pictures::path(&ctx.room.config.desk.dir, &sha256)).await.ok().or_problem(&ctx)?;
    // The mark is the browser's word: what was shown, the desk knows itself.
    let in_list = newest && query.contains_key("list") && ctx.room.watched.showed(&ctx.user.name, &event);
    if !in_list {
        super::audit::watched_of(&ctx, &alert.office, "picture.view", &event, &sha256).await.or_problem(&ctx)?;
    }
    let kept = if in_list { "private, max-age=86400, immutable" } else { "private, max-age=600, immutable" };
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, kept)];
    Ok((headers, file).into_response())
}
