//! Clips of the store of objects in place of what a box cannot give: on pages, and with byte ranges as boxes give theirs. Asked for by
//! those who have decided that the reader may see the camera and the time, and have written it down.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use maud::{Markup, html};
use serde_json::json;

use super::footage::{gaps, player, save_form};
use super::page::Ctx;
use super::parts;
use super::recorded::Recorded;
use super::span::{Place, Span};
use crate::desk::clips::{Clip, ClipError, Wanted};
use crate::http_range;
use crate::objects::clip::ClipName;

/// Further clips named on a page.
const SHOWN: usize = 20;
/// Clips that are opened in search of a sound one.
const TRIED: usize = 10;
/// Where a clip comes from, where it is not the box.
const SOURCE: HeaderName = HeaderName::from_static("gatewatch-footage-source");

/// The best clip of the store that is sound, and the names of others.
pub(crate) struct Best {
    clip: Clip,
    others: Vec<ClipName>,
    /// A better one is not what the box put there.
    wrong: bool,
}

/// What is found.
pub(crate) type Found = Result<Best, ClipError>;

/// What the store has, where the box `lacks` it: the clip `stem` before all others.
pub(crate) async fn instead(ctx: &Ctx, lacks: bool, wanted: Option<&Wanted>, stem: Option<&str>) -> Found {
    match wanted.filter(|_| lacks) {
        Some(wanted) => find(ctx, wanted, stem).await,
        None => Err(ClipError::NotThere),
    }
}

/// One that is damaged hides no sound one.
async fn find(ctx: &Ctx, wanted: &Wanted, stem: Option<&str>) -> Found {
    let clips = &ctx.room.clips;
    let mut names = clips.find(wanted).await?;
    // In order otherwise.
    names.sort_by_key(|name| stem != Some(name.stem().as_str()));
    let (mut names, mut wrong) = (names.into_iter(), false);
    for name in names.by_ref().take(TRIED) {
        match clips.open(&ctx.room.db, wanted, &name.stem()).await {
            Ok(clip) => return Ok(Best { clip, others: names.collect(), wrong }),
            Err(ClipError::Wrong) => wrong = true,
            Err(ClipError::NotThere) => {}
            Err(ClipError::Away) => return Err(ClipError::Away),
        }
    }
    Err(if wrong { ClipError::Wrong } else { ClipError::NotThere })
}

/// The clip `stem`, or the best there is.
pub(crate) async fn open(ctx: &Ctx, wanted: &Wanted, stem: Option<&str>) -> Result<Clip, ClipError> {
    match stem {
        Some(stem) => ctx.room.clips.open(&ctx.room.db, wanted, stem).await,
        None => find(ctx, wanted, None).await.map(|best| best.clip),
    }
}

/// For the audit: what was asked for, and which clip with which time is given, since all of it can be seen.
pub(crate) fn said(ctx: &Ctx, asked: &str, clip: &Clip) -> String {
    let (first, last) = (parts::time_text(ctx, clip.note.first.0), parts::time_text(ctx, clip.note.last.0));
    format!("{asked} [{}: {first} – {last}]", clip.name.stem())
}

/// A clip of the store with its player, below the word of why it is not the box's. `path` ends where `clip` and `save` begin;
/// `query` ends with `&` or is empty.
pub(crate) fn part(ctx: &Ctx, place: &Place, path: &str, query: &str, found: &Found) -> Markup {
    let Best { clip, others, wrong } = match found {
        Ok(best) => best,
        Err(ClipError::NotThere) => return html! {},
        Err(error) => return html! { p.alarm role="alert" { (ctx.t(error.key())) } },
    };
    let note = &clip.note;
    let lacking: Vec<_> = note.gaps.iter().map(|g| json!({"from": g.from, "to": g.to, "reason": g.reason})).collect();
    let stem = clip.name.stem();
    html! {
        @if *wrong { p.alarm role="alert" { (ctx.t("clip.store_wrong_too")) } }
        p.line.stored role="status" { span.good { (ctx.t("clip.store_from")) } " "
            span { (parts::time(ctx, note.first.0)) " " (ctx.t("until")) " " (parts::time(ctx, note.last.0)) }
            @if note.masks.is_some() { span.state { (ctx.t("clip.store_masked")) } }
            @if !clip.vouched { span.up { (ctx.t("clip.store_unsigned")) } } }
        (player(ctx, &format!("{path}/clip?{query}stored={stem}"), &place.camera))
        p.hint.wrap { "SHA-256 " code { (note.sha256) } }
        (gaps(ctx, &Recorded::read(&[json!({ "gaps": lacking })])))
        (save_form(ctx, &format!("{path}/save?{query}stored={stem}")))
        @if !others.is_empty() {
            p.hint { (ctx.t("clip.store_more")) }
            ul { @for other in others.iter().take(SHOWN) {
                li { a href={ (place.address(ctx, Span::new(other.from.0, other.to.0))) "&stored=" (other.stem()) } data-footage="" {
                    (parts::time(ctx, other.from.0)) " – " (parts::time(ctx, other.to.0)) } }
            } @if others.len() > SHOWN { li { "+ " (others.len() - SHOWN) } } }
        }
    }
}

/// A clip as a player asks for it.
pub(crate) async fn given(clip: Clip, headers: &HeaderMap) -> Result<Response, ClipError> {
    let total = clip.note.bytes;
    let Ok(range) = http_range::wanted(headers, &clip.etag(), total) else {
        let range = HeaderValue::from_str(&format!("bytes */{total}"));
        let range = range.unwrap_or(HeaderValue::from_static("bytes */0"));
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, range)]).into_response());
    };
    let (from, to) = range.as_ref().map_or((0, total), |r| (r.start, r.end));
    // What is wrong from the start is a word and no broken video.
    let first = clip.bytes(from, to).await?;
    let mut put = vec![
        (header::CONTENT_TYPE, "video/mp4".to_owned()),
        (header::CONTENT_LENGTH, (to - from).to_string()),
        (header::ACCEPT_RANGES, "bytes".into()),
        (header::ETAG, format!("\"{}\"", clip.etag())),
        (header::CACHE_CONTROL, "private, no-store".into()),
        (HeaderName::from_static("gatewatch-footage-from"), clip.note.first.to_rfc3339()),
        (HeaderName::from_static("gatewatch-footage-to"), clip.note.last.to_rfc3339()),
        (SOURCE, "store".into()),
    ];
    if range.is_some() {
        put.push((header::CONTENT_RANGE, format!("bytes {from}-{}/{total}", to - 1)));
    }
    // A block is read when the browser took the one before; one that is wrong breaks the answer off.
    let rest = stream::try_unfold((clip, from + first.len() as u64), move |(clip, at)| async move {
        if at >= to {
            return Ok(None);
        }
        let bytes = clip.bytes(at, to).await.map_err(|e| std::io::Error::other(e.key()))?;
        let next = at + bytes.len() as u64;
        Ok(Some((bytes, (clip, next))))
    });
    let first = stream::once(async { Ok::<_, std::io::Error>(first) });
    let mut response = Response::new(Body::from_stream(futures_util::StreamExt::chain(first, rest)));
    *response.status_mut() = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    for (name, value) in put {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Why there is none.
pub(crate) fn not_given(ctx: &Ctx, error: ClipError) -> Response {
    let status = match error {
        ClipError::NotThere => StatusCode::NOT_FOUND,
        ClipError::Away | ClipError::Wrong => StatusCode::BAD_GATEWAY,
    };
    (status, ctx.t(error.key())).into_response()
}
