//! Forms: fields by name, taken only with the session's own token, so that no other site can send them.

use std::collections::HashMap;

use axum::extract::{Form, FromRequest, Request};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::page::{Ctx, Problem};

/// A form of somebody who is signed in. Every handler of a POST takes one of these.
#[derive(Debug)]
pub(crate) struct Post {
    pub ctx: Ctx,
    fields: HashMap<String, String>,
}

impl Post {
    /// A field without blanks around it; empty when it was not sent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |v| v.trim())
    }

    /// As [`Post::get`], with nothing taken off.
    pub(crate) fn raw(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// Whether a box is ticked.
    pub(crate) fn is_ticked(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }
}

impl<S: Send + Sync> FromRequest<S> for Post {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let ctx = request.extensions().get::<Ctx>().cloned();
        let ctx = ctx.ok_or_else(|| Problem::denied("vi").into_response())?;
        let language = ctx.language;
        let Form(fields) = Form::<HashMap<String, String>>::from_request(request, state)
            .await
            .map_err(|_| Problem::bad_form(language).into_response())?;
        let fields: HashMap<String, String> =
            fields.into_iter().map(|(k, v)| (k, v.chars().filter(|c| *c != '\0').collect())).collect();
        let sent = fields.get("csrf").map_or("", String::as_str);
        if !bool::from(sent.as_bytes().ct_eq(ctx.user.csrf.as_bytes())) {
            return Err(Problem::csrf(language).into_response());
        }
        Ok(Self { ctx, fields })
    }
}
