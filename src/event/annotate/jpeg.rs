//! Pictures to JPEG, within a number of bytes.

use turbojpeg::Compressor;

use super::AnnotateError;
use super::picture::Picture;

/// Below this quality, size is given up instead.
const MIN_QUALITY: u8 = 45;
/// Quality given up at a time.
const STEP: u8 = 15;
/// Narrower than this a picture says nothing any more, pixels.
const MIN_WIDTH: usize = 160;

/// Longest side that the format has room for, pixels (ITU-T T.81 B.2.2).
const MAX_SIDE: usize = 65_535;

/// One JPEG with chroma at half resolution, as the camera had it. `quality`: 1..=100.
pub(super) fn encode(picture: &Picture, quality: u8) -> Result<Vec<u8>, AnnotateError> {
    let (width, height) = (picture.width(), picture.height());
    if width.max(height) > MAX_SIDE {
        return Err(too_large((width, height)));
    }
    let encode = || {
        let mut compressor = Compressor::new()?;
        compressor.set_quality(quality.into())?;
        compressor.compress_yuv_to_vec(picture.yuv())
    };
    encode().map_err(|e: turbojpeg::Error| AnnotateError::Jpeg(e.to_string()))
}

/// For a picture of so many pixels.
pub(super) fn too_large((width, height): (usize, usize)) -> AnnotateError {
    let number = |side| u32::try_from(side).unwrap_or(u32::MAX);
    AnnotateError::TooLarge { width: number(width), height: number(height) }
}

/// The best JPEG of at most `max_bytes`: quality goes first, then size. If even the smallest is too large, that one.
/// `like`: bytes of a JPEG of much the same picture at this quality, where there is one; it saves what cannot fit.
pub(super) fn encode_within(
    picture: &Picture,
    quality: u8,
    max_bytes: usize,
    like: Option<usize>,
) -> Result<Vec<u8>, AnnotateError> {
    let mut scaled: Option<Picture> = None;
    let mut at = like.map_or(quality, |bytes| promising(quality, bytes, max_bytes));
    loop {
        let picture = scaled.as_ref().unwrap_or(picture);
        loop {
            let bytes = encode(picture, at)?;
            if bytes.len() <= max_bytes {
                return Ok(bytes);
            }
            if at <= MIN_QUALITY {
                break;
            }
            at = at.saturating_sub(STEP).max(MIN_QUALITY);
        }
        match smaller(picture) {
            Some(next) => (scaled, at) = (Some(next), quality),
            None => return encode(picture, MIN_QUALITY / 2),
        }
    }
}

/// The first quality at which something of `bytes` at `quality` may well have `max_bytes`: bytes shrink less than the steps of
/// quantisation grow, but for weak noise a little more.
fn promising(quality: u8, bytes: usize, max_bytes: usize) -> u8 {
    // Percent of the standard's tables (libjpeg's `jpeg_quality_scaling`).
    let steps =
        |quality: u8| if quality < 50 { 5000 / usize::from(quality.max(1)) } else { 200 - 2 * usize::from(quality) };
    let mut at = quality;
    let shrunk = |at: u8| if at < quality { bytes * 4 / 5 } else { bytes };
    while at > MIN_QUALITY && shrunk(at) * steps(quality).max(1) / steps(at).max(1) > max_bytes {
        at = at.saturating_sub(STEP).max(MIN_QUALITY);
    }
    at
}

/// Three quarters of the size; `None` when it would be too small to be of use.
fn smaller(picture: &Picture) -> Option<Picture> {
    let width = picture.width() * 3 / 4;
    if width < MIN_WIDTH {
        return None;
    }
    picture.scaled(width, (picture.height() * 3 / 4).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_not_tried() {
        assert_eq!(promising(90, 500, 500), 90);
        assert_eq!(promising(90, 501, 500), 75, "the same picture and more");
        assert_eq!(promising(90, 900, 500), 75, "weak noise");
        assert_eq!(promising(90, 700, 500), 75);
        assert_eq!(promising(90, 2400, 500), 60);
        assert_eq!(promising(90, 9000, 500), 45);
        assert_eq!(promising(30, 3000, 500), 30);
    }
}
