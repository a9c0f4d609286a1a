//! Contact sheets: small pictures of a time side by side, each with its time of day, so that a person finds the moment.

use tiny_skia::{Color, FilterQuality, Pixmap, PixmapPaint, Transform};

use super::{AnnotateError, Annotator, jpeg, rgb, shapes};
use crate::camera::Frame;
use crate::geometry::{Point, Polygon};

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
        let columns = columns.clamp(1, u32::try_from(frames.len()).unwrap_or(1));
        let height = (u64::from(width) * u64::from(first.height) / u64::from(first.width.max(1))).max(1);
        let height = u32::try_from(height).unwrap_or(u32::MAX);
        let rows = u32::try_from(frames.len()).unwrap_or(u32::MAX).div_ceil(columns);
        let size = (width.saturating_mul(columns), height.saturating_mul(rows));
        let too_large = || AnnotateError::TooLarge { width: size.0, height: size.1 };
        if size.0 > u32::from(u16::MAX) || size.1 > u32::from(u16::MAX) {
            return Err(too_large());
        }
        let mut sheet = Pixmap::new(size.0, size.1).ok_or_else(too_large)?;
        sheet.fill(Color::BLACK);
        for (i, frame) in (0..).zip(frames) {
            let at = ((i % columns) * width, (i / columns) * height);
            self.put(&mut sheet, frame, masks, at, (width, height))?;
        }
        jpeg::encode(&sheet, QUALITY)
    }

    fn put(
        &self,
        sheet: &mut Pixmap,
        frame: &Frame,
        masks: &[Polygon],
        (x, y): (u32, u32),
        (width, height): (u32, u32),
    ) -> Result<(), AnnotateError> {
        let mut picture = rgb::to_pixmap(frame).ok_or_else(|| AnnotateError::BadFrame(format!("{frame:?}")))?;
        let (w, h) = (picture.width() as f32, picture.height() as f32);
        for mask in masks {
            let corners: Vec<Point> = mask.0.iter().map(|p| Point { x: p.x * w, y: p.y * h }).collect();
            shapes::cover(&mut picture, &corners);
        }
        let place = Transform::from_scale(width as f32 / w, height as f32 / h).post_translate(x as f32, y as f32);
        let paint = PixmapPaint { quality: FilterQuality::Bilinear, ..PixmapPaint::default() };
        sheet.draw_pixmap(0, 0, picture.as_ref(), &paint, place, None);
        let size = (width as f32 / 18.0).clamp(10.0, 20.0);
        let label = self.text.fit(&self.zone.label(frame.time.utc), size, width as f32 - 6.0);
        let room = [x as f32, y as f32, self.text.width(&label, size) + 6.0, size * 1.25];
        shapes::fill(sheet, room, Color::BLACK);
        self.text.draw(sheet, &label, (x as f32 + 3.0, y as f32 + size * 0.1), size, Color::WHITE);
        Ok(())
    }
}
