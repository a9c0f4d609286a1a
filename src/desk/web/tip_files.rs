//! Files of a tip on its page: listed, taken in, given out to be kept, withdrawn. None is ever shown in a page of ours. What may be
//! attached and taken back is decided in `desk/attachment.rs`.

use axum::Extension;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::alerts::escaped;
use super::form::{Post, Upload};
use super::page::{Answer, Ctx, OrProblem, Problem, token};
use super::parts;
use super::tip::{back, not_taken};
use crate::desk::attachment::{self, Kind, MAX_BYTES, MAX_FILES};
use crate::desk::db::attachments::FileRow;
use crate::desk::db::tips::{TipAction, TipRow};
use crate::desk::tips_duty::{enters, is_seen};

/// The files, and the form for another one.
pub(crate) fn part(ctx: &Ctx, t: &TipRow, files: &[FileRow], history: &[TipAction]) -> Markup {
    let may = enters(&ctx.user, t);
    let settled = history.iter().filter(|a| a.action == "settle").map(|a| a.at_ms).max();
    let there = files.iter().filter(|f| f.withdrawn_ms.is_none()).count();
    let withdrawn = |f: &FileRow| may && attachment::may_withdraw(f, t.settled_ms.is_some(), settled);
    html! {
        @if may || !files.is_empty() {
            h2 { (ctx.t("files")) }
            @if !files.is_empty() { div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
                thead { tr { th scope="col" { (ctx.t("file.name")) } th.num scope="col" { (ctx.t("file.bytes")) } th scope="col" { "SHA-256" }
                    th scope="col" { (ctx.t("file.by")) } th scope="col" { (ctx.t("note")) } } }
                tbody { @for f in files { (row(ctx, t, f, withdrawn(f))) } }
            } } }
            @if may && there < MAX_FILES { (upload_form(ctx, t)) }
        }
    }
}

fn row(ctx: &Ctx, t: &TipRow, f: &FileRow, may_withdraw: bool) -> Markup {
    let late = t.settled_ms.is_some_and(|settled| f.at_ms > settled);
    html! {
        tr { td.wrap { @if f.withdrawn_ms.is_some() { s { (f.name) } } @else { a href={ "/tips/" (t.id) "/files/" (f.id) } download=(f.name) { (f.name) } } }
            td.num { (parts::grouped(f.bytes)) } td.wrap { code { (f.sha256) } } td { (parts::time(ctx, f.at_ms)) " · " (f.account) }
            td.wrap { (f.note) @if late { " " (ctx.t("money.late")) }
                @if let Some(at) = f.withdrawn_ms {
                    p.up { (ctx.t("file.withdrawn")) " " (parts::time(ctx, at)) " · " (f.withdrawn_by.as_deref().unwrap_or_default()) " · "
                        q { (f.withdrawn_why.as_deref().unwrap_or_default()) } }
                }
                @if may_withdraw {
                    details.noprint { summary { (ctx.t("file.withdraw")) }
                        form.filters method="post" action={ "/tips/" (t.id) "/files/" (f.id) "/withdraw" } {
                            (token(ctx))
                            label { (ctx.t("reason")) input name="note" required maxlength="1000"; } button { (ctx.t("file.withdraw")) }
                        } }
                } } }
    }
}

/// The token stands before the file: what nobody vouches for is not read.
fn upload_form(ctx: &Ctx, t: &TipRow) -> Markup {
    let kinds = Kind::ALL.map(Kind::media_type).join(",");
    html! {
        form.filters.noprint method="post" enctype="multipart/form-data" action={ "/tips/" (t.id) "/files" } {
            (token(ctx))
            label { (ctx.t("note")) input name="note" maxlength="1000" autocomplete="off"; }
            label { (ctx.t("file.choose")) input type="file" name="file" accept=(kinds) required data-max=(MAX_BYTES) data-large=(ctx.t("refusal.file_large")); }
            button { (ctx.t("file.add")) }
        }
    }
}

/// Takes a file in.
pub(crate) async fn upload(Path(id): Path<String>, upload: Upload) -> Answer<Response> {
    let ctx = &upload.post.ctx;
    let (name, bytes) = upload.file.as_ref().ok_or_else(|| Problem::refused(ctx.language, "refusal.file"))?;
    let note: String = upload.post.get("note").chars().take(1000).collect();
    match attachment::attach(&ctx.room, &ctx.user, &id, name, bytes, &note).await {
        Ok(()) => Ok(back(&id)),
        Err(error) => not_taken(&upload.post, &id, "file", &error).await,
    }
}

/// Takes a file back.
pub(crate) async fn withdraw(Path((id, file)): Path<(String, String)>, post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let why: String = post.get("note").chars().take(1000).collect();
    match attachment::withdraw(&ctx.room, &ctx.user, &id, &file, &why).await {
        Ok(()) => Ok(back(&id)),
        Err(error) => not_taken(&post, &id, "file_withdraw", &error).await,
    }
}

/// Gives a file out, to be kept and never to be shown: what is in it is not ours.
pub(crate) async fn download(
    Extension(ctx): Extension<Ctx>,
    Path((id, file)): Path<(String, String)>,
) -> Answer<Response> {
    let db = &ctx.room.db;
    let t = db.tip(&id).await.or_problem(&ctx)?.filter(|t| is_seen(&ctx.user, t)).or_problem(&ctx)?;
    let found = db.files(&id).await.or_problem(&ctx)?.into_iter().find(|f| f.id == file && f.withdrawn_ms.is_none());
    let found = found.or_problem(&ctx)?;
    let kept = db.file_content(&file).await.or_problem(&ctx)?.or_problem(&ctx)?;
    let kind = Kind::parse(&found.kind).or_problem(&ctx)?;
    let Some(bytes) = attachment::content(&found, &kept) else {
        tracing::error!(tip = t.number, file, "a file of a tip is not what was attached: the database was changed");
        return Err(Problem::internal(ctx.language));
    };
    let detail = format!("{} SHA-256 {}", found.name, found.sha256);
    super::audit::viewed_of(&ctx, &t.office, "tip.file_save", &format!("tip {}", t.number), &detail)
        .await
        .or_problem(&ctx)?;
    let headers =
        [(header::CONTENT_TYPE, kind.media_type().to_owned()), (header::CONTENT_DISPOSITION, disposition(&found.name))];
    Ok((headers, bytes).into_response())
}

/// To be kept under this name; one in plain letters for who cannot read the other (RFC 6266).
fn disposition(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    format!(
        "attachment; filename=\"{}\"; filename*=UTF-8''{}",
        name.chars().map(plain).collect::<String>(),
        escaped(name)
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::{Body, to_bytes};
    use axum::http::{HeaderMap, Request, StatusCode};
    use tower::ServiceExt;

    use super::*;
    use crate::desk::access::{Role, User};
    use crate::desk::db::Scope;
    use crate::desk::room::Room;
    use crate::desk::tip::Step;
    use crate::desk::tips_duty::{self, Draft};
    use crate::desk::web::router;
    use crate::desk::web::tests::{room, sign_in_as};

    fn leader() -> User {
        User { name: "binh".into(), role: Role::ShiftLeader, ..crate::desk::access::tests::user() }
    }

    /// A tip that is being checked.
    async fn checking(room: &Room) -> String {
        let draft = Draft {
            office: "15BB".into(),
            decl_key: Some("10000001234".into()),
            subject: "x".into(),
            suspicion: "other".into(),
            due_ms: Some(i64::MAX),
            ..Draft::default()
        };
        let tip = tips_duty::create(room, &leader(), draft, None).await.unwrap();
        for step in [Step::Issue, Step::Receive, Step::Start] {
            go(room, &leader(), &tip.id, step).await;
        }
        tip.id
    }

    async fn go(room: &Room, who: &User, tip: &str, step: Step) {
        let version = room.db.tip(tip).await.unwrap().unwrap().version;
        tips_duty::step(room, who, tip, version, step).await.unwrap();
    }

    /// Parts of a form: name, name of a file, content.
    type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

    fn form(parts: &[Part<'_>]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, file, content) in parts {
            let file = file.map_or(String::new(), |f| format!("; filename=\"{f}\"\r\nContent-Type: text/html"));
            body.extend(format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
            body.extend(*content);
            body.extend(b"\r\n");
        }
        body.extend(b"--b--\r\n");
        body
    }

    async fn ask(
        room: &Arc<Room>,
        who: &str,
        method: &str,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> (StatusCode, HeaderMap, Vec<u8>) {
        let request = Request::builder().method(method).uri(path).header(header::COOKIE, format!("gw-session={who}"));
        let request = request.header(header::CONTENT_TYPE, kind).body(Body::from(body)).unwrap();
        let answer = router(room.clone()).oneshot(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, to_bytes(answer.into_body(), usize::MAX).await.unwrap().to_vec())
    }

    async fn send(room: &Arc<Room>, who: &str, tip: &str, parts: &[Part<'_>]) -> StatusCode {
        let (path, kind) = (format!("/tips/{tip}/files"), "multipart/form-data; boundary=b");
        ask(room, who, "POST", &path, kind, form(parts)).await.0
    }

    async fn attach(room: &Arc<Room>, who: &str, tip: &str, name: &str, content: &[u8]) -> StatusCode {
        let token = format!("form-{who}");
        send(
            room,
            who,
            tip,
            &[("csrf", None, token.as_bytes()), ("note", None, "QĐ".as_bytes()), ("file", Some(name), content)],
        )
        .await
    }

    async fn withdraw(room: &Arc<Room>, who: &str, tip: &str, file: &str, note: &str) -> StatusCode {
        let (path, kind) = (format!("/tips/{tip}/files/{file}/withdraw"), "application/x-www-form-urlencoded");
        ask(room, who, "POST", &path, kind, format!("csrf=form-{who}&note={note}").into_bytes()).await.0
    }

    #[tokio::test]
    async fn a_file_is_taken_in_listed_given_out_and_withdrawn_until_the_settlement() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        let who = sign_in_as(&room, Role::Field, "cuong", 0).await;
        let auditor = sign_in_as(&room, Role::Auditor, "dung", 0).await;
        let tip = checking(&room).await;
        let pdf = b"%PDF-1.7 <script>alert(1)</script>";
        assert_eq!(attach(&room, &who, &tip, "Quyết định.html", pdf).await, StatusCode::SEE_OTHER);
        assert_eq!(attach(&room, &who, &tip, "again.pdf", pdf).await, StatusCode::CONFLICT, "twice");
        assert_eq!(attach(&room, &who, &tip, "page.pdf", b"<html>").await, StatusCode::CONFLICT, "no PDF");
        assert_eq!(attach(&room, &auditor, &tip, "a.pdf", b"%PDF-2").await, StatusCode::FORBIDDEN);
        assert_eq!(attach(&room, &who, "none", "a.pdf", b"%PDF-2").await, StatusCode::NOT_FOUND);
        let files = room.db.files(&tip).await.unwrap();
        assert_eq!((files.len(), files[0].name.as_str(), files[0].note.as_str()), (1, "Quyết định.html.pdf", "QĐ"));
        let path = format!("/tips/{tip}/files/{}", files[0].id);
        let (status, headers, content) = ask(&room, &auditor, "GET", &path, "", Vec::new()).await;
        assert_eq!((status, content.as_slice()), (StatusCode::OK, &pdf[..]));
        let kept = headers[header::CONTENT_DISPOSITION].to_str().unwrap();
        assert!(
            kept.starts_with("attachment; filename=\"Quy_t___nh.html.pdf\"; filename*=UTF-8''Quy%E1%BA%BFt"),
            "{kept}"
        );
        assert_eq!(
            (&headers[header::X_CONTENT_TYPE_OPTIONS], &headers[header::CONTENT_TYPE]),
            (&"nosniff".parse().unwrap(), &"application/pdf".parse().unwrap())
        );
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        let page = ask(&room, &who, "GET", &format!("/tips/{tip}"), "", Vec::new()).await.2;
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains(&files[0].sha256) && page.contains("/withdraw") && page.contains(">34<"), "{page}");

        assert_eq!(withdraw(&room, &who, &tip, &files[0].id, "").await, StatusCode::CONFLICT, "no reason");
        assert_eq!(withdraw(&room, &who, &tip, &files[0].id, "nham").await, StatusCode::SEE_OTHER);
        assert_eq!(ask(&room, &auditor, "GET", &path, "", Vec::new()).await.0, StatusCode::NOT_FOUND, "withdrawn");
        assert_eq!(attach(&room, &who, &tip, "again.pdf", pdf).await, StatusCode::SEE_OTHER, "it is not there twice");
        let files = room.db.files(&tip).await.unwrap();
        let settle =
            Step::Settle { result: "no_violation".into(), text: String::new(), basis: String::new(), no_amount: true };
        go(&room, &User { name: "an".into(), ..leader() }, &tip, Step::Report { text: "x".into() }).await;
        go(&room, &leader(), &tip, settle).await;
        assert_eq!(withdraw(&room, &who, &tip, &files[1].id, "nham").await, StatusCode::CONFLICT, "settled");
        assert_eq!(attach(&room, &who, &tip, "late.png", b"\x89PNG\r\n\x1a\nx").await, StatusCode::SEE_OTHER, "late");
        go(&room, &leader(), &tip, Step::Reopen { reason: "x".into() }).await;
        assert_eq!(
            withdraw(&room, &who, &tip, &files[1].id, "nham").await,
            StatusCode::CONFLICT,
            "it was settled on this"
        );
        let rows = room.db.audit_rows(&Scope::all(), "tip.file", i64::MAX).await.unwrap().rows;
        let acts: Vec<&str> = rows.iter().rev().map(|r| r.action.as_str()).collect();
        assert_eq!(acts, ["tip.file", "tip.file_save", "tip.file_withdraw", "tip.file", "tip.file"]);
        assert!(rows.iter().all(|r| r.office == "15BB" && r.detail.contains("SHA-256")));
    }

    #[tokio::test]
    async fn no_file_is_taken_without_the_token_before_it_nor_one_that_is_too_large_or_one_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).await;
        let who = sign_in_as(&room, Role::Field, "cuong", 0).await;
        let tip = checking(&room).await;
        let (token, file) = (("csrf", None, &b"form-cuong"[..]), ("file", Some("a.pdf"), &b"%PDF-1"[..]));
        for parts in [vec![file], vec![file, token], vec![("csrf", None, &b"form-other"[..]), file]] {
            assert_eq!(send(&room, &who, &tip, &parts).await, StatusCode::FORBIDDEN, "{parts:?}");
        }
        assert_eq!(send(&room, &who, &tip, &[token]).await, StatusCode::CONFLICT, "no file");
        assert_eq!(
            send(&room, &who, &tip, &[token, ("file", Some(""), b"")]).await,
            StatusCode::CONFLICT,
            "none chosen"
        );
        let mut large = b"%PDF-".to_vec();
        large.resize(MAX_BYTES + 1, b' ');
        assert_eq!(attach(&room, &who, &tip, "a.pdf", &large).await, StatusCode::CONFLICT);
        large.resize(2 * MAX_BYTES, b' ');
        assert_eq!(attach(&room, &who, &tip, "a.pdf", &large).await, StatusCode::PAYLOAD_TOO_LARGE);
        large.truncate(MAX_BYTES);
        assert_eq!(attach(&room, &who, &tip, "a.pdf", &large).await, StatusCode::SEE_OTHER);
        let id = &room.db.files(&tip).await.unwrap()[0].id.clone();
        let (_, _, content) = ask(&room, &who, "GET", &format!("/tips/{tip}/files/{id}"), "", Vec::new()).await;
        assert!(content == large, "every byte comes back");
        for n in 1..MAX_FILES {
            assert_eq!(
                attach(&room, &who, &tip, "a.pdf", format!("%PDF-{n}").as_bytes()).await,
                StatusCode::SEE_OTHER,
                "{n}"
            );
        }
        assert_eq!(attach(&room, &who, &tip, "a.pdf", b"%PDF-x").await, StatusCode::CONFLICT, "one too many");
        sqlx::query("UPDATE tip_file_content SET base64 = 'JVBERi0='").execute(&room.db.pool).await.unwrap();
        let (status, ..) = ask(&room, &who, "GET", &format!("/tips/{tip}/files/{id}"), "", Vec::new()).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "what was changed in the database is not given out");
    }
}
