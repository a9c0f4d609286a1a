//! How the pictures of a model are prepared: what is said of it, else what its family was trained with.

use super::{InputSpec, Layout, Reading};
use crate::vision::letterbox::Placement;
use crate::vision::preprocess::PixelFormat;
use crate::vision::sidecar::{Colors, Resize, SideCar};

/// Means and deviations of ImageNet's pictures, for values of 0..1, red first.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// The same, rounded as usual, for grey levels, blue first.
const IMAGENET_BGR: ([f32; 3], [f32; 3]) = ([103.53, 116.28, 123.675], [57.375, 57.12, 58.395]);
const PLAIN: ([f32; 3], [f32; 3]) = ([0.0; 3], [1.0; 3]);
const UNIT: f32 = 1.0 / 255.0;
/// Grey of the padding that detectors are trained with.
const PADDING: f32 = 114.0;

/// From a picture to the numbers of the input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preparation {
    /// Where the picture lies.
    pub placement: Placement,
    /// Colours and numbers.
    pub pixels: PixelFormat,
    /// (value · `scale` − `mean`) / `std`, as a person would write it.
    pub scale: f32,
    /// See `scale`.
    pub mean: [f32; 3],
    /// See `scale`.
    pub std: [f32; 3],
}

/// A family's way: placement, red first, scale, mean, std; `None` where nothing is usual.
type Usual = (Resize, Option<Colors>, Option<f32>, Option<([f32; 3], [f32; 3])>);

impl Reading {
    /// How this model's pictures are prepared. `bytes`: the input takes whole grey levels.
    ///
    /// # Errors
    /// When something is neither said nor usual in the family; the message names the key.
    pub fn preparation(&self, said: &SideCar, input: &InputSpec, bytes: bool) -> Result<Preparation, String> {
        let (resize, colors, scale, normal) = self.usual(bytes);
        let ask = |key: &str| format!("how its pictures are prepared is not told by the graph; set `{key}`");
        let colors = said.colors.or(colors).ok_or_else(|| ask("colors"))?;
        let scale = said.scale.or(scale).ok_or_else(|| ask("scale"))?;
        let (mean, std) = normal.unwrap_or(PLAIN);
        let mean = said.mean.or(normal.map(|_| mean)).ok_or_else(|| ask("mean"))?;
        let std = said.std.unwrap_or(std);
        if scale == 0.0 || std.contains(&0.0) {
            return Err("`scale` and `std` must not be 0".into());
        }
        let pixels = PixelFormat {
            rgb: colors == Colors::Rgb,
            channels_last: input.channels_last,
            mean: mean.map(|m| m / scale),
            scale: std.map(|s| scale / s),
            padding: said.padding.unwrap_or(PADDING),
        };
        let placement = match said.resize.unwrap_or(resize) {
            Resize::Letterbox => Placement::Center,
            Resize::LetterboxTopLeft => Placement::TopLeft,
            Resize::Stretch => Placement::Stretch,
        };
        Ok(Preparation { placement, pixels, scale, mean, std })
    }

    fn usual(&self, bytes: bool) -> Usual {
        let (rgb, bgr) = (Some(Colors::Rgb), Some(Colors::Bgr));
        match self.layout {
            _ if bytes => (self.placement(), rgb, Some(1.0), Some(PLAIN)),
            Layout::Yolox => (Resize::LetterboxTopLeft, bgr, Some(1.0), Some(PLAIN)),
            Layout::Yolov5 | Layout::Yolov8 | Layout::EndToEnd => (Resize::Letterbox, rgb, Some(UNIT), Some(PLAIN)),
            Layout::DetrLogits if self.imagenet => (Resize::Stretch, rgb, Some(UNIT), Some(IMAGENET)),
            Layout::Detr | Layout::DetrLogits | Layout::DetrRows => (Resize::Stretch, rgb, Some(UNIT), Some(PLAIN)),
            Layout::NanoDet | Layout::NanoDetPlus => (Resize::Stretch, bgr, Some(1.0), Some(IMAGENET_BGR)),
            Layout::PicoDet => (Resize::Stretch, rgb, Some(UNIT), Some(IMAGENET)),
            Layout::FastestDet => (Resize::Stretch, bgr, Some(UNIT), Some(PLAIN)),
            // Families whose members differ: what is not said is asked for.
            Layout::Paddle => (Resize::Stretch, rgb, Some(UNIT), None),
            Layout::SsdSuppressed => (Resize::Stretch, rgb, None, None),
            Layout::Ssd => (Resize::Stretch, None, None, None),
        }
    }

    fn placement(&self) -> Resize {
        match self.layout {
            Layout::Yolox => Resize::LetterboxTopLeft,
            Layout::Yolov5 | Layout::Yolov8 | Layout::EndToEnd => Resize::Letterbox,
            _ => Resize::Stretch,
        }
    }
}
