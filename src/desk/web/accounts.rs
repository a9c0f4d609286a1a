//! Accounts: making them, their role and offices, and one-time passwords that are shown once.

use axum::Extension;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts;
use crate::clock::utc_now;
use crate::desk::access::Role;
use crate::desk::db::accounts::Account;
use crate::desk::db::audit::{self, Act};
use crate::desk::db::{DbError, Scope};
use crate::desk::password;
use crate::desk::room::digest;

/// What the page has to say above the list.
enum Say {
    Nothing,
    Problem(&'static str),
    Once { name: String, password: String },
}

/// The page.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>) -> Answer {
    super::audit::viewed(&ctx, "accounts", "", "").await.or_problem(&ctx)?;
    accounts_page(&ctx, &Say::Nothing).await
}

async fn accounts_page(ctx: &Ctx, say: &Say) -> Answer {
    let accounts = ctx.room.db.accounts().await.or_problem(ctx)?;
    let content = html! {
        @match say {
            Say::Nothing => {},
            Say::Problem(key) => p.alarm role="alert" { (ctx.t(key)) },
            Say::Once { name, password } => p.good role="status" { strong { (name) } ": " (ctx.t("account.once")) " " code.once { (password) } },
        }
        @for account in &accounts { (account_form(ctx, account)) }
        section.card {
            h2 { (ctx.t("account.add")) }
            form.filters method="post" action="/accounts" {
                (token(ctx))
                label { (ctx.t("login.name")) input name="name" required autocomplete="off"; }
                (fields(ctx, "", "", ""))
                button.main { (ctx.t("account.add")) }
            }
        }
    };
    Ok(page(ctx, ctx.t("accounts"), "/accounts", &content))
}

fn account_form(ctx: &Ctx, a: &Account) -> Markup {
    html! {
        section.card {
            h2 { (a.name) @if a.must_change != 0 { " " small.up { (ctx.t("account.must_change")) } } }
            form.filters method="post" action={ "/accounts/" (a.name) } {
                (token(ctx))
                input type="hidden" name="version" value=(version(a));
                (fields(ctx, &a.display, &a.role, &Scope(a.offices.clone()).shown()))
                label.tick { input type="checkbox" name="disabled" value="1" checked[a.disabled != 0]; (ctx.t("account.disabled")) }
                button name="what" value="save" { (ctx.t("save")) }
                button name="what" value="reset" { (ctx.t("account.reset")) }
            }
        }
    }
}

/// What a form of it may change, as it was then: who saves an older one is told so.
fn version(a: &Account) -> String {
    digest(serde_json::json!([a.display, a.role, a.offices, a.disabled]).to_string())
}

fn fields(ctx: &Ctx, display: &str, role: &str, offices: &str) -> Markup {
    let roles = Role::ALL.map(Role::as_str);
    html! {
        label { (ctx.t("account.display")) input name="display" value=(display) required autocomplete="off"; }
        label { (ctx.t("role")) (parts::select("role", role, Some(ctx.t("choose")), &parts::options(ctx, "role", &roles))) }
        label { (ctx.t("account.offices")) input name="offices" value=(offices) required autocomplete="off"; }
    }
}

fn read(post: &Post, name: &str) -> Result<Account, &'static str> {
    let role = Role::parse(post.get("role")).ok_or("account.bad_role")?;
    Ok(Account {
        name: name.to_owned(),
        display: post.get("display").chars().take(100).collect(),
        password: String::new(),
        must_change: 1,
        role: role.as_str().into(),
        offices: Scope::parse(&post.get("offices").to_uppercase()).0,
        disabled: i64::from(post.is_ticked("disabled")),
    })
}

/// What an account may be called.
pub(crate) fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    (2..=32).contains(&name.len()) && name.bytes().all(good)
}

async fn refused(ctx: &Ctx, key: &'static str) -> Answer<Response> {
    Ok((StatusCode::BAD_REQUEST, accounts_page(ctx, &Say::Problem(key)).await?).into_response())
}

/// A one-time password with its hash.
async fn one_time(ctx: &Ctx) -> Answer<(String, String)> {
    let once = password::one_time();
    let hash = password::hash(once.clone()).await.map_err(|error| {
        tracing::error!(error, "a password cannot be hashed");
        Problem::bad_form(ctx.language)
    })?;
    Ok((once, hash))
}

/// Makes an account.
pub(crate) async fn add(post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let name = post.get("name").to_lowercase();
    if !is_name(&name) {
        return refused(ctx, "account.bad_name").await;
    }
    let mut account = match read(&post, &name) {
        Ok(account) => account,
        Err(key) => return refused(ctx, key).await,
    };
    let (once, hash) = one_time(ctx).await?;
    account.password = hash;
    let mut tx = ctx.room.db.write().await.or_problem(ctx)?;
    if !tx.add_account(&account, utc_now().0).await.or_problem(ctx)? {
        drop(tx);
        return refused(ctx, "account.taken").await;
    }
    let detail = format!("{} {}", account.role, account.offices);
    let act = Act { account: &ctx.user.name, office: "", action: "account.add", object: &name, detail: &detail };
    tx.audit(act).await.or_problem(ctx)?;
    tx.commit().await.or_problem(ctx)?;
    Ok(accounts_page(ctx, &Say::Once { name, password: once }).await?.into_response())
}

/// Changes an account, or gives it a one-time password. Its sessions end.
pub(crate) async fn change(Path(name): Path<String>, post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    ctx.room.db.account(&name).await.or_problem(ctx)?.or_problem(ctx)?;
    if name == ctx.user.name {
        return refused(ctx, "account.self").await;
    }
    let account = match read(&post, &name) {
        Ok(account) => account,
        Err(key) => return refused(ctx, key).await,
    };
    let reset = if post.get("what") == "reset" { Some(one_time(ctx).await?) } else { None };
    let mut tx = ctx.room.db.write().await.or_problem(ctx)?;
    let (action, detail) = match &reset {
        Some((_, hash)) => {
            tx.set_password(&name, hash, true, "").await.or_problem(ctx)?;
            ("account.reset", String::new())
        }
        None => {
            let before = tx.account(&name).await.or_problem(ctx)?.or_problem(ctx)?;
            // A form that was opened before somebody disabled it would let him in again.
            if post.get("version") != version(&before) {
                return Err(Problem::from_db(ctx.language, &DbError::Changed(format!("account {name}"))));
            }
            tx.change_account(&account).await.or_problem(ctx)?;
            tx.end_sessions(&name, "").await.or_problem(ctx)?;
            let changes = audit::changes(&[
                ("display", before.display, account.display),
                ("role", before.role, account.role),
                ("offices", before.offices, account.offices),
                ("disabled", before.disabled.to_string(), account.disabled.to_string()),
            ]);
            ("account.change", changes)
        }
    };
    let act = Act { account: &ctx.user.name, office: "", action, object: &name, detail: &detail };
    tx.audit(act).await.or_problem(ctx)?;
    tx.commit().await.or_problem(ctx)?;
    let say = reset.map_or(Say::Nothing, |(password, _)| Say::Once { name, password });
    Ok(accounts_page(ctx, &say).await?.into_response())
}
