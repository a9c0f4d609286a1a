//! The mapping between a region of the frame and the network input: one scale and the rest padded, or stretched. Only the arithmetic;
//! the pixels move in `preprocess`.

use super::regions::Region;
use crate::geometry::Rect;

/// Where the picture lies within the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Padding right and below (YOLOX).
    TopLeft,
    /// Padding on both sides (Ultralytics).
    Center,
    /// No padding: the picture is pulled to the shape of the input (NanoDet, DETR).
    Stretch,
}

impl Placement {
    /// Name as in a side-car.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TopLeft => "letterbox_top_left",
            Self::Center => "letterbox",
            Self::Stretch => "stretch",
        }
    }
}

/// A region placed in the network input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    /// The part of the frame.
    pub region: Region,
    /// Size of the input.
    pub input: (u32, u32),
    /// Size of the picture within the input.
    pub inner: (u32, u32),
    /// Left and top of the picture within the input.
    pub offset: (u32, u32),
}

impl Letterbox {
    /// Fits the region into the input, keeping its shape unless it is stretched.
    #[must_use]
    pub fn new(region: Region, input: (u32, u32), placement: Placement) -> Self {
        let scale = (f64::from(input.0) / f64::from(region.width)).min(f64::from(input.1) / f64::from(region.height));
        let inner = match placement {
            Placement::Stretch => input,
            _ => (fit(region.width, scale, input.0), fit(region.height, scale, input.1)),
        };
        let offset = match placement {
            Placement::TopLeft | Placement::Stretch => (0, 0),
            Placement::Center => ((input.0 - inner.0) / 2, (input.1 - inner.1) / 2),
        };
        Self { region, input, inner, offset }
    }

    /// Region pixels per input pixel, across and down. Almost the same; exact, since the inner size is rounded.
    #[must_use]
    pub fn step(&self) -> (f32, f32) {
        (self.region.width as f32 / self.inner.0 as f32, self.region.height as f32 / self.inner.1 as f32)
    }

    /// A box in input pixels as a box in frame pixels, not clipped.
    #[must_use]
    pub fn to_frame(&self, r: &Rect) -> Rect {
        let (sx, sy) = self.step();
        let (ox, oy, rx, ry) = self.origins();
        Rect {
            x0: (r.x0 - ox) * sx + rx,
            y0: (r.y0 - oy) * sy + ry,
            x1: (r.x1 - ox) * sx + rx,
            y1: (r.y1 - oy) * sy + ry,
        }
    }

    /// A box in frame pixels as a box in input pixels.
    #[must_use]
    pub fn to_input(&self, r: &Rect) -> Rect {
        let (sx, sy) = self.step();
        let (ox, oy, rx, ry) = self.origins();
        Rect {
            x0: (r.x0 - rx) / sx + ox,
            y0: (r.y0 - ry) / sy + oy,
            x1: (r.x1 - rx) / sx + ox,
            y1: (r.y1 - ry) / sy + oy,
        }
    }

    fn origins(&self) -> (f32, f32, f32, f32) {
        (self.offset.0 as f32, self.offset.1 as f32, self.region.x as f32, self.region.y as f32)
    }
}

fn fit(side: u32, scale: f64, most: u32) -> u32 {
    ((f64::from(side) * scale).round() as u32).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_wide_frame_is_padded_below_or_on_both_sides() {
        let frame = Region::whole(1280, 720);
        let top_left = Letterbox::new(frame, (640, 640), Placement::TopLeft);
        assert_eq!((top_left.inner, top_left.offset), ((640, 360), (0, 0)));
        assert_eq!(Letterbox::new(frame, (640, 640), Placement::Center).offset, (0, 140));
        let pulled = Letterbox::new(frame, (640, 640), Placement::Stretch);
        assert_eq!((pulled.inner, pulled.offset, pulled.step()), ((640, 640), (0, 0), (2.0, 1.125)));
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same_box(
            x in 0u32..2000, y in 0u32..2000, width in 8u32..4000, height in 8u32..4000,
            iw in 4u32..40, ih in 4u32..40, which in 0usize..3,
            bx in -50.0f32..4000.0, by in -50.0f32..4000.0, bw in 0.0f32..500.0, bh in 0.0f32..500.0,
        ) {
            let placement = [Placement::Center, Placement::TopLeft, Placement::Stretch][which];
            let lb = Letterbox::new(Region { x, y, width, height }, (iw * 16, ih * 16), placement);
            prop_assert!(lb.offset.0 + lb.inner.0 <= iw * 16 && lb.offset.1 + lb.inner.1 <= ih * 16);
            let r = Rect { x0: bx, y0: by, x1: bx + bw, y1: by + bh };
            let back = lb.to_frame(&lb.to_input(&r));
            for (a, b) in [(r.x0, back.x0), (r.y0, back.y0), (r.x1, back.x1), (r.y1, back.y1)] {
                prop_assert!((a - b).abs() < 0.5, "{r:?} {back:?}");
            }
        }
    }
}
