//! Forms: fields by name, taken only with the session's own token, so that no other site can send them.

use std::collections::HashMap;

use axum::extract::multipart::MultipartError;
use axum::extract::{Form, FromRequest, Multipart, Request};
use axum::http::header;
use bytes::Bytes;
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
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let ctx = ctx_of(&request)?;
        let language = ctx.language;
        let Form(fields) = Form::<HashMap<String, String>>::from_request(request, state)
            .await
            .map_err(|_| Problem::bad_form(language))?;
        Self::signed(ctx, fields)
    }
}

impl Post {
    fn signed(ctx: Ctx, fields: HashMap<String, String>) -> Result<Self, Problem> {
        let fields: HashMap<String, String> =
            fields.into_iter().map(|(k, v)| (k, v.chars().filter(|c| *c != '\0').collect())).collect();
        check_token(&ctx, &fields)?;
        Ok(Self { ctx, fields })
    }
}

fn ctx_of(request: &Request) -> Result<Ctx, Problem> {
    request.extensions().get::<Ctx>().cloned().ok_or_else(|| Problem::denied("vi"))
}

fn check_token(ctx: &Ctx, fields: &HashMap<String, String>) -> Result<(), Problem> {
    let sent = fields.get("csrf").map_or("", String::as_str);
    if bool::from(sent.as_bytes().ct_eq(ctx.user.csrf.as_bytes())) { Ok(()) } else { Err(Problem::csrf(ctx.language)) }
}

/// A form with a file. The token stands before the file, which is not read without it.
#[derive(Debug)]
pub(crate) struct Upload {
    pub post: Post,
    /// Its name as sent, and what is in it; `None` when none was chosen.
    pub file: Option<(String, Bytes)>,
}

impl<S: Send + Sync> FromRequest<S> for Upload {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("multipart/form-data") {
            return Ok(Self { post: Post::from_request(request, state).await?, file: None });
        }
        let ctx = ctx_of(&request)?;
        let bad = |e: MultipartError| Problem::bad_upload(ctx.language, e.status());
        let parts = Multipart::from_request(request, state).await;
        let mut parts = parts.map_err(|_| Problem::bad_form(ctx.language))?;
        let (mut fields, mut file) = (HashMap::new(), None);
        while let Some(part) = parts.next_field().await.map_err(bad)? {
            let name = part.name().unwrap_or_default().to_owned();
            if let Some(called) = part.file_name().map(str::to_owned) {
                check_token(&ctx, &fields)?;
                let bytes = part.bytes().await.map_err(bad)?;
                file = file.or(Some((called, bytes)).filter(|(called, bytes)| !called.is_empty() || !bytes.is_empty()));
            } else {
                fields.insert(name, part.text().await.map_err(bad)?);
            }
        }
        Ok(Self { post: Post::signed(ctx, fields)?, file })
    }
}
