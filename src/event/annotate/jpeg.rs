//! Pictures to JPEG, within a number of bytes.

use tiny_skia::{FilterQuality, Pixmap, PixmapPaint, Transform};
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use super::AnnotateError;

/// Below this quality, size is given up instead.
const MIN_QUALITY: u8 = 45;
/// Narrower than this a picture says nothing any more, pixels.
const MIN_WIDTH: u32 = 160;

/// Longest side that the format has room for, pixels (ITU-T T.81 B.2.2).
const MAX_SIDE: u32 = 65_535;

/// One JPEG with chroma at half resolution, as the camera had it. `quality`: 1..=100.
pub(super) fn encode(pixmap: &Pixmap, quality: u8) -> Result<Vec<u8>, AnnotateError> {
    let (width, height) = (pixmap.width(), pixmap.height());
    if width.max(height) > MAX_SIDE {
        return Err(AnnotateError::TooLarge { width, height });
    }
    let (width, height) = (width as usize, height as usize);
    let image = Image { pixels: pixmap.data(), width, pitch: width * 4, height, format: PixelFormat::RGBA };
    let encode = || {
        let mut compressor = Compressor::new()?;
        compressor.set_quality(quality.into())?;
        compressor.set_subsamp(Subsamp::Sub2x2)?;
        compressor.compress_to_vec(image)
    };
    encode().map_err(|e: turbojpeg::Error| AnnotateError::Jpeg(e.to_string()))
}

/// The best JPEG of at most `max_bytes`: quality goes first, then size. If even the smallest is too large, that one.
pub(super) fn encode_within(pixmap: Pixmap, quality: u8, max_bytes: usize) -> Result<Vec<u8>, AnnotateError> {
    let mut pixmap = pixmap;
    loop {
        let mut quality = quality;
        loop {
            let bytes = encode(&pixmap, quality)?;
            if bytes.len() <= max_bytes {
                return Ok(bytes);
            }
            if quality <= MIN_QUALITY {
                break;
            }
            quality = quality.saturating_sub(15).max(MIN_QUALITY);
        }
        match smaller(&pixmap) {
            Some(next) => pixmap = next,
            None => return encode(&pixmap, MIN_QUALITY / 2),
        }
    }
}

/// Three quarters of the size; `None` when it would be too small to be of use.
fn smaller(pixmap: &Pixmap) -> Option<Pixmap> {
    let width = pixmap.width() * 3 / 4;
    let height = (pixmap.height() * 3 / 4).max(1);
    if width < MIN_WIDTH {
        return None;
    }
    let mut out = Pixmap::new(width, height)?;
    let scale = Transform::from_scale(width as f32 / pixmap.width() as f32, height as f32 / pixmap.height() as f32);
    let paint = PixmapPaint { quality: FilterQuality::Bilinear, ..PixmapPaint::default() };
    // The border is blended with nothing: fill first, so that the picture stays opaque.
    out.fill(tiny_skia::Color::BLACK);
    out.draw_pixmap(0, 0, pixmap.as_ref(), &paint, scale, None);
    Some(out)
}
