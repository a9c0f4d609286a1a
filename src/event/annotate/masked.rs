//! A kept picture with privacy masks burnt in, for a copy that may be shown to third parties.

use tiny_skia::ColorU8;

use super::picture::Picture;
use super::shapes::Layer;
use super::{AnnotateError, jpeg, shapes};
use crate::geometry::{Point, Polygon};

/// Quality of the copy.
const QUALITY: u8 = 90;

/// The JPEG with `masks` (fractions of the picture) filled in black. The same picture and masks give the same bytes.
///
/// # Errors
/// When it is no JPEG.
pub fn masked(picture: &[u8], masks: &[Polygon]) -> Result<Vec<u8>, AnnotateError> {
    let unreadable = |e: image::ImageError| AnnotateError::Jpeg(format!("it cannot be read: {e}"));
    let rgb = image::load_from_memory_with_format(picture, image::ImageFormat::Jpeg).map_err(unreadable)?.to_rgb8();
    let (width, height) = rgb.dimensions();
    let (wide, high) = (width as usize, height as usize);
    let mut layer = Layer::whole((wide, high)).ok_or(AnnotateError::TooLarge { width, height })?;
    for y in 0..height.next_multiple_of(2) {
        for x in 0..width.next_multiple_of(2) {
            let [r, g, b] = rgb.get_pixel(x.min(width - 1), y.min(height - 1)).0;
            if let Some(pixel) = layer.pixel(x as i32, y as i32) {
                *pixel = ColorU8::from_rgba(r, g, b, 255).premultiply();
            }
        }
    }
    cover(&mut layer, (width, height), masks);
    let mut picture = Picture::black(wide, high);
    picture.lay(&layer, 0);
    jpeg::encode(&picture, QUALITY)
}

/// Which pixels of a picture of this size `masks` cover, row by row; `None` when there can be no such picture.
#[must_use]
pub fn covered(width: u32, height: u32, masks: &[Polygon]) -> Option<Vec<bool>> {
    let (wide, high) = (width as usize, height as usize);
    let mut layer = Layer::whole((wide, high))?;
    cover(&mut layer, (width, height), masks);
    let rows = layer.pixels().chunks_exact(layer.columns()).take(high);
    Some(rows.flat_map(|row| row[..wide].iter().map(|p| p.alpha() > 0)).collect())
}

/// Blackens masks of fractions of a picture.
pub(super) fn cover(layer: &mut Layer, (width, height): (u32, u32), masks: &[Polygon]) {
    for mask in masks {
        let scaled = |p: &Point| Point { x: p.x * width as f32, y: p.y * height as f32 };
        let corners: Vec<Point> = mask.0.iter().map(scaled).collect();
        shapes::cover(layer, &corners);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_masked_is_black_and_the_rest_stays() {
        let white = image::RgbImage::from_pixel(64, 32, image::Rgb([250, 250, 250]));
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new(&mut jpeg).encode_image(&white).unwrap();
        let left = Polygon([[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]].map(Point::from).to_vec());
        let copy = masked(&jpeg, std::slice::from_ref(&left)).unwrap();
        assert_eq!(copy, masked(&jpeg, &[left]).unwrap());
        let seen = image::load_from_memory(&copy).unwrap().to_rgb8();
        assert!(seen.get_pixel(10, 16).0[0] < 10 && seen.get_pixel(54, 16).0[0] > 240);
        assert!(masked(b"no picture", &[]).is_err());
    }
}
