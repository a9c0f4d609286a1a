//! Output layouts: recognising which one a model speaks, and boxes out of its numbers. One file per family.

mod end_to_end;
mod grid;
mod yolov8;

use super::letterbox::Placement;
use super::preprocess::PixelFormat;
use crate::config::LayoutChoice;
use crate::geometry::Rect;

/// How a model writes its boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[1, N, 5+C]`, offsets to a grid of strides 8, 16, 32.
    Yolox,
    /// `[1, N, 5+C]`, boxes in input pixels (fractions of the input when channels come last), with objectness.
    Yolov5,
    /// `[1, 4+C, N]`, boxes in input pixels, no objectness (YOLOv8, YOLO11).
    Yolov8,
    /// `[1, N, 6]`: corners, score, class; already suppressed.
    EndToEnd,
}

/// One box before suppression, in input pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawBox {
    /// Index of the class.
    pub class: usize,
    /// 0..1.
    pub score: f32,
    /// Input pixels.
    pub rect: Rect,
}

/// The network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputSpec {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// `[1, H, W, 3]`.
    pub channels_last: bool,
}

impl InputSpec {
    /// Cells of strides 8, 16 and 32 together.
    #[must_use]
    pub fn cells(&self) -> usize {
        [8, 16, 32].iter().map(|s| (self.width / s) as usize * (self.height / s) as usize).sum()
    }
}

impl Layout {
    /// Which layout the shape `[1, a, b]` of the output is, `None` when it is none of them.
    #[must_use]
    pub fn recognise(choice: LayoutChoice, metadata: Option<&str>, shape: &[i64], input: &InputSpec) -> Option<Self> {
        let &[1, a, b] = shape else { return None };
        let (a, b) = (usize::try_from(a).ok()?, usize::try_from(b).ok()?);
        let wanted = match (choice, metadata) {
            (LayoutChoice::Yolox, _) | (LayoutChoice::Auto, Some("yolox")) => Some(Self::Yolox),
            (LayoutChoice::Yolov8, _) | (LayoutChoice::Auto, Some("yolov8")) => Some(Self::Yolov8),
            (LayoutChoice::Auto, _) => None,
        };
        let cells = input.cells();
        let fits = |layout: &Self| match layout {
            Self::Yolox => a == cells && b >= 6,
            Self::Yolov8 => b == cells && a >= 5,
            Self::Yolov5 => a == 3 * cells && b >= 6,
            Self::EndToEnd => b == 6,
        };
        let all = [Self::Yolox, Self::Yolov8, Self::Yolov5, Self::EndToEnd];
        wanted.map_or_else(|| all.into_iter().find(fits), |w| fits(&w).then_some(w))
    }

    /// Classes by the shape of the output; `None` where the shape does not say.
    #[must_use]
    pub fn classes(self, shape: &[i64]) -> Option<usize> {
        let side = |i: usize, less: usize| usize::try_from(*shape.get(i)?).ok()?.checked_sub(less);
        match self {
            Self::Yolox | Self::Yolov5 => side(2, 5),
            Self::Yolov8 => side(1, 4),
            Self::EndToEnd => None,
        }
    }

    /// Name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Yolox => "YOLOX (grid and stride)",
            Self::Yolov5 => "YOLOv5 (objectness)",
            Self::Yolov8 => "YOLOv8/11",
            Self::EndToEnd => "end-to-end (x0, y0, x1, y1, score, class)",
        }
    }

    /// Where the picture goes in the input.
    #[must_use]
    pub fn placement(self) -> Placement {
        if self == Self::Yolox { Placement::TopLeft } else { Placement::Center }
    }

    /// Colours and scale the family was trained with.
    #[must_use]
    pub fn pixels(self, input: &InputSpec) -> PixelFormat {
        let yolox = self == Self::Yolox;
        let scale = if yolox { 1.0 } else { 1.0 / 255.0 };
        PixelFormat { rgb: !yolox, channels_last: input.channels_last, mean: [0.0; 3], scale: [scale; 3] }
    }

    /// Appends the boxes with `score >= floor` to `out`, the best class of each. Returns how many were left out because
    /// their numbers are not finite.
    pub fn decode(self, shape: &[i64], data: &[f32], input: &InputSpec, floor: f32, out: &mut Vec<RawBox>) -> usize {
        let side = |i: usize| shape.get(i).and_then(|&n| usize::try_from(n).ok()).unwrap_or(0);
        let (a, b) = (side(1), side(2));
        if a == 0 || b == 0 || data.len() < a * b {
            return 0;
        }
        let bad = match self {
            Self::Yolox => grid::yolox(b, data, input, floor, out),
            Self::Yolov5 => grid::yolov5(b, data, input, floor, out),
            Self::Yolov8 => yolov8::decode(a, b, data, floor, out),
            Self::EndToEnd => end_to_end::decode(data, floor, out),
        };
        let before = out.len();
        out.retain(|r| [r.rect.x0, r.rect.y0, r.rect.x1, r.rect.y1].iter().all(|v| v.is_finite()));
        bad + before - out.len()
    }
}

/// A box by its centre and size.
fn centred(x: f32, y: f32, w: f32, h: f32) -> Rect {
    Rect { x0: x - w / 2.0, y0: y - h / 2.0, x1: x + w / 2.0, y1: y + h / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: InputSpec = InputSpec { width: 64, height: 32, channels_last: false };

    #[test]
    fn layouts_are_told_apart_by_shape() {
        let of = |shape: &[i64]| Layout::recognise(LayoutChoice::Auto, None, shape, &INPUT);
        assert_eq!(INPUT.cells(), 32 + 8 + 2);
        assert_eq!(of(&[1, 42, 12]), Some(Layout::Yolox));
        assert_eq!(of(&[1, 84, 42]), Some(Layout::Yolov8));
        assert_eq!(of(&[1, 126, 85]), Some(Layout::Yolov5));
        assert_eq!(of(&[1, 300, 6]), Some(Layout::EndToEnd));
        assert_eq!(of(&[1, 300, 7]), None);
        assert_eq!(Layout::recognise(LayoutChoice::Yolov8, None, &[1, 42, 12], &INPUT), None, "asked for another");
    }

    #[test]
    fn yolox_cells_are_decoded_with_their_stride_and_bad_numbers_counted() {
        let mut data = vec![0.0; 42 * 7];
        // Cell (1, 2) of stride 16: after the 32 cells of stride 8, row 1 of width 4.
        data[38 * 7..39 * 7].copy_from_slice(&[0.5, 0.25, 2f32.ln(), 0.0, 0.9, 0.1, 0.8]);
        data[0..7].copy_from_slice(&[0.0, 0.0, 200.0, 0.0, 0.9, 0.9, 0.0]);
        data[7..14].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.9, 0.0]);
        let mut out = Vec::new();
        assert_eq!(Layout::Yolox.decode(&[1, 42, 7], &data, &INPUT, 0.3, &mut out), 2);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].class, 1);
        assert!((out[0].score - 0.72).abs() < 1e-6);
        let expected = Rect::from([40.0 - 16.0, 20.0 - 8.0, 40.0 + 16.0, 20.0 + 8.0]);
        assert!(out[0].rect.iou(&expected) > 0.999, "{:?}", out[0].rect);
    }

    #[test]
    fn yolov8_columns_are_decoded_by_their_best_class() {
        let mut data = vec![0.0; 6 * 42];
        for (row, v) in [20.0, 10.0, 8.0, 4.0, 0.3, 0.6].into_iter().enumerate() {
            data[row * 42 + 5] = v;
        }
        data[5 * 42 + 6] = f32::INFINITY;
        let mut out = Vec::new();
        assert_eq!(Layout::Yolov8.decode(&[1, 6, 42], &data, &INPUT, 0.5, &mut out), 1);
        assert_eq!(out, vec![RawBox { class: 1, score: 0.6, rect: Rect::from([16.0, 8.0, 24.0, 12.0]) }]);
    }
}
