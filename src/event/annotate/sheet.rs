//! Contact sheets: small pictures of a time side by side, each with its time of day, so that a person finds the moment.

use tiny_skia::Color;

use super::picture::Picture;
use super::{AnnotateError, Annotator, jpeg, masked, shapes};
use crate::camera::Frame;
use crate::geometry::Polygon;

/// JPEG quality of small pictures.
const QUALITY: u8 = 80;

impl Annotator {
    /// The frames in rows of `columns`, each `width` pixels wide, as one JPEG. Privacy masks cover what they cover in
    /// every picture that leaves the box.
    ///
    /// # Errors
    /// When a frame is not whole, there is none, or the sheet is too large for JPEG.
    pub fn sheet(
        &self,
        frames: &[Frame],
        masks: &[Polygon],
        columns: u32,
        width: u32,
    ) -> Result<Vec<u8>, AnnotateError> {
        let first = frames.first().ok_or_else(|| AnnotateError::BadFrame("none".into()))?;
        let count = frames.len();
        let columns = (columns as usize).clamp(1, count);
        // Even, so that every picture begins with a pair of pixels.
        let width = (width as usize).next_multiple_of(2);
        let height = (width as u64 * u64::from(first.height) / u64::from(first.width.max(1))).max(1);
        let height = usize::try_from(height).unwrap_or(usize::MAX - 1).next_multiple_of(2);
        let size = (width.saturating_mul(columns), height.saturating_mul(count.div_ceil(columns)));
        if size.0 > usize::from(u16::MAX) || size.1 > usize::from(u16::MAX) {
            return Err(jpeg::too_large(size));
        }
        let mut sheet = Picture::black(size.0, size.1);
        for (i, frame) in frames.iter().enumerate() {
            sheet.put(&self.small(frame, masks, (width, height))?, (i % columns * width, i / columns * height));
        }
        jpeg::encode(&sheet, QUALITY)
    }

    fn small(&self, frame: &Frame, masks: &[Polygon], size: (usize, usize)) -> Result<Picture, AnnotateError> {
        let bad = || AnnotateError::BadFrame(format!("{frame:?}"));
        let mut picture = Picture::of(frame).ok_or_else(bad)?;
        if !masks.is_empty() {
            picture.draw(picture.all(), 0, |band| masked::cover(band, (frame.width, frame.height), masks));
        }
        let mut small = picture.scaled(size.0, size.1).ok_or_else(bad)?;
        let text = (size.0 as f32 / 18.0).clamp(10.0, 20.0);
        let label = self.text.fit(&self.zone.label(frame.time.utc), text, size.0 as f32 - 6.0);
        let (width, height) = (self.text.width(&label, text) + 6.0, text * 1.25);
        small.draw([0.0, 0.0, width, height], 0, |band| {
            shapes::fill(band, [0.0, 0.0, width, height], Color::BLACK);
            self.text.draw(band, &label, (3.0, text * 0.1), text, Color::WHITE);
        });
        Ok(small)
    }
}
