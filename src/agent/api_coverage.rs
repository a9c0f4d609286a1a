//! `GET /api/coverage`: what was watched, and whether anything happened.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;

use super::api::{ApiState, refuse};
use super::coverage::{AskError, CoverageKeeper, Question};
use crate::coverage::Answer;

/// Where questions about coverage go. A trait because the router's tests have no store.
pub trait CoverageSource: Send + Sync {
    /// Answers one.
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Answer, AskError>>;
}

impl CoverageSource for CoverageKeeper {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Answer, AskError>> {
        Box::pin(async move { Self::ask(self, &question).await })
    }
}

/// The route; the router's guard is put around it.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/api/coverage", get(coverage))
}

async fn coverage(State(state): State<ApiState>, question: Result<Query<Question>, QueryRejection>) -> Response {
    let question = match question {
        Ok(Query(question)) => question,
        Err(e) => {
            let known = format!("{e}; known are `camera`, `area`, `from` and `to`");
            return refuse(StatusCode::BAD_REQUEST, "invalid", &known);
        }
    };
    match state.coverage.ask(question).await {
        Ok(answer) => Json(answer).into_response(),
        Err(AskError::Invalid(why)) => refuse(StatusCode::BAD_REQUEST, "invalid", &why),
        Err(error @ AskError::Store(_)) => {
            tracing::error!(%error, "coverage could not be read");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the store cannot be read now; ask again later")
        }
    }
}
