//! Text on a picture: one font, kerning, Vietnamese letters in their composed form.

use std::path::{Path, PathBuf};

use ab_glyph::{Font, FontVec, PxScale, ScaleFont, point};
use tiny_skia::{Color, ColorU8, PremultipliedColorU8};
use unicode_normalization::UnicodeNormalization;

use super::AnnotateError;
use super::shapes::Layer;

/// Where Debian's package fonts-dejavu-core puts it.
const DEFAULT_FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";

/// A font at any size.
pub(super) struct Text {
    font: FontVec,
}

impl Text {
    /// Reads the font file and checks that it can write Vietnamese.
    pub fn load(path: Option<&Path>) -> Result<Self, AnnotateError> {
        let path = path.map_or_else(|| PathBuf::from(DEFAULT_FONT), Path::to_path_buf);
        let bytes =
            std::fs::read(&path).map_err(|source| AnnotateError::FontUnreadable { path: path.clone(), source })?;
        let font = FontVec::try_from_vec(bytes).map_err(|_| AnnotateError::NotAFont { path: path.clone() })?;
        match "ắếộựĐđỹ".chars().find(|c| font.glyph_id(*c).0 == 0) {
            Some(letter) => Err(AnnotateError::FontWithoutLetter { path, letter }),
            None => Ok(Self { font }),
        }
    }

    /// Width in pixels at `size` pixels of height.
    pub fn width(&self, text: &str, size: f32) -> f32 {
        self.layout(text, size).1
    }

    /// The text, or as much of it as fits with an ellipsis.
    pub fn fit(&self, text: &str, size: f32, max_width: f32) -> String {
        if self.width(text, size) <= max_width {
            return text.into();
        }
        let mut chars: Vec<char> = text.nfc().collect();
        while chars.pop().is_some() {
            let shorter = format!("{}…", chars.iter().collect::<String>().trim_end());
            if self.width(&shorter, size) <= max_width {
                return shorter;
            }
        }
        String::new()
    }

    /// Draws with the top left of the line at `x`, `y`; what falls outside the layer is left out.
    pub fn draw(&self, layer: &mut Layer, text: &str, (x, y): (f32, f32), size: f32, color: Color) {
        let font = self.font.as_scaled(PxScale::from(size));
        let ascent = font.ascent();
        // Marks of capital letters may stand above the ascent.
        if layer.misses(y - size / 2.0, y + ascent - font.descent() + size / 2.0) {
            return;
        }
        let color = color.to_color_u8();
        for (id, dx) in self.layout(text, size).0 {
            let glyph = id.with_scale_and_position(size, point(x + dx, y + ascent));
            let Some(outline) = self.font.outline_glyph(glyph) else { continue };
            let origin = outline.px_bounds().min;
            outline.draw(|px, py, coverage| {
                if let Some(pixel) = layer.pixel(origin.x as i32 + px as i32, origin.y as i32 + py as i32) {
                    *pixel = blended(*pixel, color, coverage);
                }
            });
        }
    }

    /// Glyphs with their distance from the start, and the width of all.
    fn layout(&self, text: &str, size: f32) -> (Vec<(ab_glyph::GlyphId, f32)>, f32) {
        let font = self.font.as_scaled(PxScale::from(size));
        let mut x = 0.0;
        let mut glyphs: Vec<(ab_glyph::GlyphId, f32)> = Vec::new();
        for c in text.nfc() {
            let id = font.glyph_id(c);
            if let Some((before, _)) = glyphs.last() {
                x += font.kern(*before, id);
            }
            glyphs.push((id, x));
            x += font.h_advance(id);
        }
        (glyphs, x)
    }
}

/// A colour without transparency over so much of a pixel.
fn blended(pixel: PremultipliedColorU8, color: ColorU8, coverage: f32) -> PremultipliedColorU8 {
    let mix = |under: u8, over: u8| {
        let under = f32::from(under);
        (under + (f32::from(over) - under) * coverage.clamp(0.0, 1.0)).round() as u8
    };
    let (red, green) = (mix(pixel.red(), color.red()), mix(pixel.green(), color.green()));
    let (blue, alpha) = (mix(pixel.blue(), color.blue()), mix(pixel.alpha(), 255));
    // No colour is more than its alpha, before and after.
    PremultipliedColorU8::from_rgba(red, green, blue, alpha).unwrap_or(pixel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composed_and_decomposed_vietnamese_are_the_same_on_the_picture() {
        let text = Text::load(None).unwrap();
        let picture = |s: &str| {
            let mut layer = Layer::whole((300, 40)).unwrap();
            text.draw(&mut layer, s, (2.0, 2.0), 24.0, Color::WHITE);
            layer.pixels().to_vec()
        };
        let composed = "chưa gắn tờ khai";
        let decomposed: String = composed.nfd().collect();
        assert_ne!(composed, decomposed);
        assert_eq!(picture(composed), picture(&decomposed));
        assert_ne!(picture(composed), picture("chua gan to khai"), "the marks are drawn");
    }

    #[test]
    fn what_does_not_fit_is_cut_with_an_ellipsis() {
        let text = Text::load(None).unwrap();
        let cut = text.fit("Cửa khẩu quốc tế Hữu Nghị", 20.0, 120.0);
        assert!(cut.ends_with('…') && text.width(&cut, 20.0) <= 120.0, "{cut}");
        assert_eq!(text.fit("Bãi 1", 20.0, 500.0), "Bãi 1");
    }

    #[test]
    fn a_missing_font_names_the_package() {
        let error = Text::load(Some(Path::new("/nonexistent/font.ttf"))).err().unwrap().to_string();
        assert!(error.contains("/nonexistent/font.ttf") && error.contains("fonts-dejavu-core"), "{error}");
    }
}
