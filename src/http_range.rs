//! The one byte range that a request asks for, as RFC 9110 has it.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, header};

/// The range of `total` bytes that is asked for, if it is of this very content; `Err` when it lies behind the end. Several ranges at
/// once are answered with the whole, as RFC 9110 allows.
///
/// # Errors
/// When the range lies behind the end.
pub(crate) fn wanted(headers: &HeaderMap, etag: &str, total: u64) -> Result<Option<Range<u64>>, ()> {
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    if text(header::IF_RANGE).is_some_and(|tag| tag.trim_matches('"') != etag) {
        return Ok(None);
    }
    text(header::RANGE).map_or(Ok(None), |range| byte_range(range, total))
}

fn byte_range(text: &str, total: u64) -> Result<Option<Range<u64>>, ()> {
    let Some((first, last)) = text.strip_prefix("bytes=").filter(|r| !r.contains(',')).and_then(|r| r.split_once('-'))
    else {
        return Ok(None);
    };
    let (first, last) = (first.trim(), last.trim());
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if last >= first => first..last.saturating_add(1).min(total),
        (Ok(first), Err(_)) if last.is_empty() => first..total,
        (Err(_), Ok(count)) if first.is_empty() => total.saturating_sub(count)..total,
        _ => return Ok(None),
    };
    if range.start < range.end { Ok(Some(range)) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        assert_eq!(byte_range("bytes=0-9", 100), Ok(Some(0..10)));
        assert_eq!(byte_range("bytes=90-", 100), Ok(Some(90..100)));
        assert_eq!(byte_range("bytes=-5", 100), Ok(Some(95..100)));
        assert_eq!(byte_range("bytes=50-500", 100), Ok(Some(50..100)));
        assert_eq!(byte_range("bytes=100-", 100), Err(()));
        assert_eq!(byte_range("bytes=-0", 100), Err(()));
        for whole in ["bytes=9-3", "bytes=0-1,5-6", "lines=0-3", "bytes=a-b"] {
            assert_eq!(byte_range(whole, 100), Ok(None), "{whole}");
        }
    }
}
