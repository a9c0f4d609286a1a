//! Output layouts: boxes out of a model's numbers. One file a family; `recognise` says which one a model speaks, `family`
//! how its pictures are prepared, `scores` how class scores become one class with one probability.

mod detr;
mod end_to_end;
mod family;
mod fastestdet;
mod grid;
mod heads;
mod nanodet;
mod recognise;
mod scores;
mod ssd;
mod yolov8;

use std::borrow::Cow;

pub use family::Preparation;
pub use heads::Seen;
pub use recognise::Reading;

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
    /// `[N, 6]`: class, score, corners; already suppressed.
    Paddle,
    /// Labels, boxes and scores, one each a query; needs no suppression.
    Detr,
    /// Logits `[1, N, C]` and boxes `[1, N, 4]` of queries; needs no suppression.
    DetrLogits,
    /// `[1, N, 4+C]` in fractions; needs no suppression.
    DetrRows,
    /// Classes and distances to the four sides, an output each for strides 8, 16, 32.
    NanoDet,
    /// `[1, N, C+4·bins]`, strides 8, 16, 32, 64.
    NanoDetPlus,
    /// As `NanoDet` with strides 8, 16, 32, 64 and centres in the middle of cells.
    PicoDet,
    /// `[1, 5+C, H/16, W/16]`.
    FastestDet,
    /// Boxes, classes, scores and their number; already suppressed.
    SsdSuppressed,
    /// Boxes, or offsets to anchors, and scores of every class.
    Ssd,
}

/// One box before suppression, in input pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawBox {
    /// Index of the class, a background class not counted.
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
    /// Columns and rows of cells of one stride.
    #[must_use]
    pub fn grid(&self, stride: u32) -> (usize, usize) {
        (self.width.div_ceil(stride) as usize, self.height.div_ceil(stride) as usize)
    }

    /// Cells of some strides together.
    #[must_use]
    pub fn cells(&self, strides: &[u32]) -> usize {
        strides.iter().map(|&s| self.grid(s)).map(|(w, h)| w * h).sum()
    }
}

/// One output of a run.
#[derive(Debug, Clone)]
pub struct Output<'a> {
    /// Name in the graph.
    pub name: &'a str,
    /// Its true shape.
    pub shape: Vec<usize>,
    /// Its numbers, whatever type the graph gives them in.
    pub data: Cow<'a, [f32]>,
}

impl Layout {
    /// Name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Yolox => "YOLOX (grid and stride)",
            Self::Yolov5 => "YOLOv5 (objectness)",
            Self::Yolov8 => "YOLOv8/11",
            Self::EndToEnd => "end-to-end (x0, y0, x1, y1, score, class)",
            Self::Paddle => "PaddleDetection (class, score, x0, y0, x1, y1)",
            Self::Detr => "DETR family (labels, boxes, scores)",
            Self::DetrLogits => "DETR family (logits and boxes)",
            Self::DetrRows => "DETR family (rows of box and scores)",
            Self::NanoDet => "NanoDet (classes and distances)",
            Self::NanoDetPlus => "NanoDet-Plus (classes and distances in rows)",
            Self::PicoDet => "PicoDet (classes and distances)",
            Self::FastestDet => "FastestDet",
            Self::SsdSuppressed => "SSD with suppression (boxes, classes, scores, number)",
            Self::Ssd => "SSD without suppression",
        }
    }

    /// Each thing is reported once by the model itself; boxes of one run are not suppressed against each other.
    #[must_use]
    pub fn is_suppressed(self) -> bool {
        matches!(
            self,
            Self::EndToEnd | Self::Paddle | Self::Detr | Self::DetrLogits | Self::DetrRows | Self::SsdSuppressed
        )
    }
}

/// A box by its centre and size.
fn centred(x: f32, y: f32, w: f32, h: f32) -> Rect {
    Rect { x0: x - w / 2.0, y0: y - h / 2.0, x1: x + w / 2.0, y1: y + h / 2.0 }
}

#[cfg(test)]
mod tests;
