//! The frame of all pages, and what is answered instead of a page.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::calls::{self, Glance};
use super::guard::cookie;
use crate::desk::access::{Need, User};
use crate::desk::db::DbError;
use crate::desk::duty::DutyError;
use crate::desk::room::Room;
use crate::desk::words;

/// Cookie with the chosen language.
pub(crate) const LANGUAGE_COOKIE: &str = "gw-language";

/// Who asks, in which language.
#[derive(Debug, Clone)]
pub(crate) struct Ctx {
    pub room: Arc<Room>,
    pub user: User,
    pub language: &'static str,
    /// Tips that call for him, where he is shown a page and any may.
    pub calls: Option<Glance>,
}

impl Ctx {
    /// The word for a key.
    pub(crate) fn t(&self, key: &str) -> &'static str {
        words::term(self.language, key)
    }

    /// The word for a value of a family, or the value itself when it is not known here.
    pub(crate) fn value(&self, family: &str, value: &str) -> String {
        let word = words::find(self.language, &format!("{family}.{value}"));
        word.map_or_else(|| value.replace('_', " "), str::to_owned)
    }

    pub(crate) fn may(&self, need: Need) -> bool {
        self.user.role.may(need)
    }
}

/// The language a browser asked for, or the configured one.
pub(crate) fn language_of(room: &Room, headers: &HeaderMap) -> &'static str {
    match cookie(headers, LANGUAGE_COOKIE) {
        Some("en") => "en",
        Some("vi") => "vi",
        _ => words::code(room.config.desk.language),
    }
}

/// The pages in the order of the menu.
const MENU: &[(&str, &str, Need)] = &[
    ("/alerts", "alerts", Need::ViewAlerts),
    ("/tips", "tips", Need::ViewTips),
    ("/declarations", "declarations", Need::ViewAlerts),
    ("/yard", "yard", Need::ViewAlerts),
    ("/footage", "footage", Need::Footage),
    ("/shifts", "shifts", Need::Shifts),
    ("/reports", "reports", Need::Reports),
    ("/devices", "devices", Need::Devices),
    ("/audit", "audit", Need::Audit),
    ("/accounts", "accounts", Need::Accounts),
];

/// A page of somebody who is signed in.
pub(crate) fn page(ctx: &Ctx, title: &str, here: &str, content: &Markup) -> Markup {
    let menu = html! {
        nav aria-label=(ctx.t("nav")) {
            @for (path, key, need) in MENU {
                @if ctx.may(*need) {
                    a href=(path) aria-current=[(*path == here).then_some("page")] { (ctx.t(key)) }
                    @if *path == "/tips" { (calls::badge(ctx)) }
                }
            }
        }
        div.who {
            span { (ctx.user.display) " · " (ctx.value("role", ctx.user.role.as_str())) }
            @if ctx.may(Need::ViewAlerts) {
                button #sound type="button" aria-pressed="false" title=(ctx.t("alerts.sound_why"))
                    data-on=(ctx.t("alerts.sound_on")) data-off=(ctx.t("alerts.sound_off")) { (ctx.t("alerts.sound_on")) }
            }
            a href="/password" { (ctx.t("password")) }
            (switch(ctx.language))
            form method="post" action="/logout" { (token(ctx)) button.plain { (ctx.t("sign_out")) } }
        }
    };
    let broker = *ctx.room.connected.borrow();
    let lamp = html! {
        p #broker .alarm role="alert" hidden[broker] { (ctx.t("no_broker")) }
        p #storing .alarm role="alert" hidden[ctx.room.keeps_up()] { (ctx.t("no_storing")) }
        p #pictures .alarm role="alert" hidden[ctx.room.pictures.works()] { (ctx.t("no_pictures")) }
        p #lost .alarm role="alert" hidden { (ctx.t("lost_page")) }
        (calls::place(ctx))
    };
    document(ctx.language, title, &menu, &html! { (lamp) main #main tabindex="-1" { h1 { (title) } (content) } })
}

/// The hidden field that every form needs.
pub(crate) fn token(ctx: &Ctx) -> Markup {
    html! { input type="hidden" name="csrf" value=(ctx.user.csrf); }
}

/// The other language.
pub(crate) fn switch(language: &str) -> Markup {
    let other = if language == "en" { "vi" } else { "en" };
    html! {
        form method="post" action="/language" {
            input type="hidden" name="language" value=(other);
            button.plain lang=(other) { (words::term(language, "other_language")) }
        }
    }
}

/// Any page.
pub(crate) fn document(language: &str, title: &str, menu: &Markup, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(language) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – gatewatch" }
                link rel="stylesheet" href="/asset/desk.css";
                link rel="icon" href="/asset/icon.svg" type="image/svg+xml";
                script src="/asset/desk.js" defer {}
            }
            body {
                a.skip href="#main" { (words::term(language, "skip")) }
                header.top { a.brand href="/" { (words::term(language, "app")) } (menu) }
                (content)
            }
        }
    }
}

/// Something other than the page that was asked for.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    language: &'static str,
    key: &'static str,
}

impl Problem {
    fn new(status: StatusCode, language: &'static str, key: &'static str) -> Self {
        Self { status, language, key }
    }

    pub(crate) fn denied(language: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, language, "error.denied")
    }

    pub(crate) fn signed_out(language: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, language, "login.title")
    }

    pub(crate) fn no_account(language: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, language, "login.no_account")
    }

    pub(crate) fn csrf(language: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, language, "error.csrf")
    }

    pub(crate) fn bad_form(language: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, language, "error.form")
    }

    pub(crate) fn not_found(language: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, language, "error.not_found")
    }

    pub(crate) fn refused(language: &'static str, key: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, language, key)
    }

    pub(crate) fn internal(language: &'static str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, language, "error.internal")
    }

    /// A form with a file that could not be read to its end.
    pub(crate) fn bad_upload(language: &'static str, status: StatusCode) -> Self {
        let key = if status == StatusCode::PAYLOAD_TOO_LARGE { "refusal.file_large" } else { "error.form" };
        Self::new(status, language, key)
    }

    /// Why something was not taken, where that is all: the key of the sentence.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        (self.status == StatusCode::CONFLICT).then_some(self.key)
    }

    /// The log gets what happened, the reader what to do.
    pub(crate) fn from_db(language: &'static str, error: &DbError) -> Self {
        if matches!(error, DbError::Changed(_)) {
            return Self::refused(language, "error.changed");
        }
        tracing::error!(%error, "a page could not be made");
        Self::internal(language)
    }

    pub(crate) fn from_duty(language: &'static str, error: &DutyError) -> Self {
        match error {
            DutyError::NotFound => Self::not_found(language),
            DutyError::Refused(key) => Self::refused(language, key),
            DutyError::Db(e) => Self::from_db(language, e),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let t = |key| words::term(self.language, key);
        let content = html! {
            main #main tabindex="-1" {
                h1 { (t("error.title")) }
                p role="alert" { (t(self.key)) }
                p { a href="/" { (t("back")) } }
            }
        };
        (self.status, document(self.language, t("error.title"), &html! {}, &content)).into_response()
    }
}

/// What a page handler returns.
pub(crate) type Answer<T = Markup> = Result<T, Problem>;

/// Turns errors into answers in the reader's language.
pub(crate) trait OrProblem<T> {
    fn or_problem(self, ctx: &Ctx) -> Answer<T>;
}

impl<T> OrProblem<T> for Result<T, DbError> {
    fn or_problem(self, ctx: &Ctx) -> Answer<T> {
        self.map_err(|e| Problem::from_db(ctx.language, &e))
    }
}

impl<T> OrProblem<T> for Result<T, DutyError> {
    fn or_problem(self, ctx: &Ctx) -> Answer<T> {
        self.map_err(|e| Problem::from_duty(ctx.language, &e))
    }
}

impl<T> OrProblem<T> for Option<T> {
    fn or_problem(self, ctx: &Ctx) -> Answer<T> {
        self.ok_or_else(|| Problem::not_found(ctx.language))
    }
}

/// For addresses that are none.
pub(crate) async fn no_such_page(State(room): State<Arc<Room>>, headers: HeaderMap) -> Problem {
    Problem::not_found(language_of(&room, &headers))
}
