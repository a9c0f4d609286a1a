//! What a model's outputs mean, from what is said of it and a first run, and reading them. What is left open is asked for by
//! the key of the side-car that would say it. Which output is which is found in `heads`.

use super::heads::{BINS, STRIDES, Seen, guess, heads, named};
use super::nanodet::{Form, Level};
use super::scores::Scores;
use super::ssd::{BoxReader, offsets, priors};
use super::{InputSpec, Layout, Output, RawBox, detr, end_to_end, fastestdet, grid, yolov8};
use crate::config::LayoutChoice;
use crate::vision::sidecar::{Activation, Background, BoxForm, BoxUnits, SideCar};

/// Classes of COCO when its own numbers are kept: 1 to 90, and 0 or 91 for nothing.
const COCO_IDS: usize = 91;

/// A layout with everything needed to read a run's outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Which.
    pub layout: Layout,
    /// Classes without background, where the shapes say.
    pub classes: Option<usize>,
    /// A DETR whose pictures are prepared with the means of ImageNet (RF-DETR, the first DETR).
    pub(super) imagenet: bool,
    heads: Vec<usize>,
    input: InputSpec,
    scores: Scores,
    boxes: BoxReader,
    priors: Vec<[f32; 4]>,
    variances: [f32; 2],
}

impl Reading {
    /// Recognises the layout.
    ///
    /// # Errors
    /// When it is none of the known ones, or something cannot be told; the message names the key that says it.
    pub fn recognise(said: &SideCar, seen: &Seen<'_>) -> Result<Self, String> {
        let layout = match said.layout {
            None | Some(LayoutChoice::Auto) => guess(said, seen).ok_or("no known output layout; set `layout`")?,
            Some(choice) => named(choice).ok_or("no known output layout; set `layout`")?,
        };
        let heads = heads(layout, said, seen).ok_or_else(|| {
            format!("its outputs are not those of {}; set `layout`, or name them in `[outputs]`", layout.name())
        })?;
        let mut reading = Self {
            layout,
            classes: None,
            imagenet: false,
            heads,
            input: seen.input,
            scores: Scores { activation: Activation::None, background: Background::None },
            boxes: BoxReader::new(BoxForm::Corners, BoxUnits::Pixels, &seen.input),
            priors: Vec::new(),
            variances: [0.1, 0.2],
        };
        reading.set_scores(said, seen);
        reading.set_boxes(said, seen)?;
        Ok(reading)
    }

    /// What makes probabilities of its scores.
    #[must_use]
    pub fn activation(&self) -> Activation {
        self.scores.activation
    }

    /// Where its class for "nothing" stands.
    #[must_use]
    pub fn background(&self) -> Background {
        self.scores.background
    }

    fn head<'a>(&self, outputs: &'a [Output<'a>], which: usize) -> Option<&'a Output<'a>> {
        outputs.get(*self.heads.get(which)?)
    }

    /// Columns of class scores, background included; `None` where the layout has none.
    fn columns(&self, outputs: &[Output<'_>]) -> Option<usize> {
        let first = self.head(outputs, 0)?;
        let last = |less: usize| first.shape.last()?.checked_sub(less);
        match self.layout {
            Layout::Yolox | Layout::Yolov5 => last(5),
            Layout::Yolov8 => first.shape.get(first.shape.len().checked_sub(2)?)?.checked_sub(4),
            Layout::DetrRows => last(4),
            Layout::NanoDetPlus => last(4 * BINS),
            Layout::FastestDet => first.shape.get(first.shape.len().checked_sub(3)?)?.checked_sub(5),
            Layout::NanoDet | Layout::PicoDet | Layout::DetrLogits => last(0),
            Layout::Ssd => self.head(outputs, 1)?.shape.last().copied(),
            Layout::EndToEnd | Layout::Paddle | Layout::Detr | Layout::SsdSuppressed => None,
        }
    }

    fn set_scores(&mut self, said: &SideCar, seen: &Seen<'_>) {
        let columns = self.columns(seen.outputs);
        let known = said.names.as_ref().map(Vec::len);
        let detr = self.layout == Layout::DetrLogits && columns == Some(COCO_IDS + 1);
        let background = said.background.unwrap_or(match self.layout {
            Layout::SsdSuppressed => Background::First,
            Layout::DetrLogits if detr => Background::Last,
            Layout::DetrLogits if columns == Some(COCO_IDS) && known != columns => Background::First,
            Layout::Ssd if columns == Some(COCO_IDS) || known.map(|n| n + 1) == columns => Background::First,
            _ => Background::None,
        });
        let logits = self.class_numbers(seen.outputs).any(|v| !(-0.001..=1.001).contains(&v));
        let softmax = detr || (self.layout == Layout::Ssd && background != Background::None);
        let activation = said.activation.unwrap_or(match (logits, softmax) {
            (false, _) => Activation::None,
            (true, true) => Activation::Softmax,
            (true, false) => Activation::Sigmoid,
        });
        self.scores = Scores { activation, background };
        let hidden = usize::from(background != Background::None);
        self.classes = columns.map(|n| n.saturating_sub(hidden));
        self.imagenet = self.layout == Layout::DetrLogits && matches!(columns, Some(COCO_IDS | 92))
            || self.head(seen.outputs, 1).is_some_and(|o| o.name == "dets");
    }

    /// Numbers that are class scores, of the layouts that leave open whether they are probabilities.
    fn class_numbers<'a>(&self, outputs: &'a [Output<'a>]) -> Box<dyn Iterator<Item = f32> + 'a> {
        let all = |i: usize| self.head(outputs, i).map(|o| o.data.iter().copied()).into_iter().flatten();
        let columns = self.columns(outputs).unwrap_or(0);
        match self.layout {
            Layout::NanoDet | Layout::PicoDet | Layout::DetrLogits => Box::new(all(0)),
            Layout::Ssd => Box::new(all(1)),
            Layout::NanoDetPlus => {
                Box::new(all(0).enumerate().filter(move |(i, _)| i % (columns + 4 * BINS) < columns).map(|(_, v)| v))
            }
            Layout::DetrRows => {
                Box::new(all(0).enumerate().filter(move |(i, _)| i % (columns + 4) >= 4).map(|(_, v)| v))
            }
            _ => Box::new(std::iter::empty()),
        }
    }

    fn set_boxes(&mut self, said: &SideCar, seen: &Seen<'_>) -> Result<(), String> {
        if let Some(anchors) = said.anchors.as_ref().filter(|_| self.layout == Layout::Ssd) {
            self.priors = priors(anchors, &self.input);
            self.variances = anchors.variances;
            let boxes = self.head(seen.outputs, 0).map_or(0, |o| o.data.len() / 4);
            let priors = self.priors.len();
            return if priors == boxes {
                Ok(())
            } else {
                Err(format!("has {boxes} boxes, but `anchors` makes {priors}; correct `anchors.strides` or `sizes`"))
            };
        }
        let form = said.box_form.unwrap_or(match self.layout {
            Layout::DetrLogits | Layout::DetrRows => BoxForm::Center,
            Layout::SsdSuppressed => BoxForm::CornersYx,
            _ => BoxForm::Corners,
        });
        let units = match (said.box_units, self.layout) {
            (Some(units), _) => units,
            (None, Layout::DetrLogits | Layout::DetrRows | Layout::SsdSuppressed) => BoxUnits::Fractions,
            (None, Layout::Ssd) => {
                return Err("its boxes are offsets to anchors, or boxes in a unit the graph does not tell; \
                            set `[anchors]`, or `box_units` to \"pixels\" or \"fractions\""
                    .into());
            }
            (None, Layout::Detr) if !seen.more_inputs.iter().any(|n| n.contains("size")) => {
                return Err("its boxes are in a unit the graph does not tell; \
                            set `box_units` to \"pixels\" (of the input) or \"fractions\""
                    .into());
            }
            (None, _) => BoxUnits::Pixels,
        };
        self.boxes = BoxReader::new(form, units, &self.input);
        Ok(())
    }

    /// Appends the boxes with `score >= floor` to `out`, the best class of each. Returns how many were left out because
    /// their numbers are not finite.
    pub fn decode(&self, outputs: &[Output<'_>], floor: f32, out: &mut Vec<RawBox>) -> usize {
        let before = out.len();
        let bad = self.numbers(outputs, floor, out).unwrap_or(0);
        let read = out.len();
        let finite = |r: &RawBox| [r.rect.x0, r.rect.y0, r.rect.x1, r.rect.y1].iter().all(|v| v.is_finite());
        let mut index = 0;
        out.retain(|r| {
            index += 1;
            index <= before || finite(r)
        });
        bad + read - out.len()
    }

    fn numbers(&self, outputs: &[Output<'_>], floor: f32, out: &mut Vec<RawBox>) -> Option<usize> {
        let first = self.head(outputs, 0)?;
        let data: &[f32] = &first.data;
        let last = *first.shape.last()?;
        let second = || self.head(outputs, 1).map(|o| o.data.as_ref());
        let columns = self.columns(outputs).unwrap_or(0);
        if last == 0 || data.is_empty() {
            return Some(0);
        }
        Some(match self.layout {
            Layout::Yolox => grid::yolox(last, data, &self.input, floor, out),
            Layout::Yolov5 => grid::yolov5(last, data, &self.input, floor, out),
            Layout::Yolov8 => yolov8::decode(columns + 4, last, data, floor, out),
            Layout::EndToEnd => end_to_end::decode(data, false, floor, out),
            Layout::Paddle => end_to_end::decode(data, true, floor, out),
            Layout::FastestDet => {
                let rows = *first.shape.get(first.shape.len() - 2)?;
                fastestdet::decode((rows, last), data, &self.input, floor, out)
            }
            Layout::Detr => {
                let first = f32::from(u8::from(self.scores.background == Background::First));
                let scores = &self.head(outputs, 2)?.data;
                detr::read((data, second()?, scores), &self.boxes, first, floor, out)
            }
            Layout::SsdSuppressed => {
                let count = self.head(outputs, 3).and_then(|o| o.data.first().copied()).unwrap_or(f32::MAX);
                if count.is_nan() {
                    return Some(1);
                }
                let classes = &self.head(outputs, 2)?.data;
                let count = (count.max(0.0) as usize).min(classes.len());
                let first = f32::from(u8::from(self.scores.background == Background::First));
                detr::read((&classes[..count], data, second()?), &self.boxes, first, floor, out)
            }
            Layout::DetrLogits => detr::logits((data, last), second()?, &self.boxes, self.scores, floor, out),
            Layout::DetrRows => self.rows(data, last, floor, out),
            Layout::Ssd if !self.priors.is_empty() => {
                let (boxes, kind) = ((data, self.priors.as_slice()), self.scores);
                offsets((second()?, columns), boxes, self.variances, kind, floor, out)
            }
            Layout::Ssd => detr::logits((second()?, columns), data, &self.boxes, self.scores, floor, out),
            Layout::NanoDet | Layout::PicoDet | Layout::NanoDetPlus => self.distances(outputs, columns, floor, out)?,
        })
    }

    /// Queries whose box and scores stand in one row.
    fn rows(&self, data: &[f32], row: usize, floor: f32, out: &mut Vec<RawBox>) -> usize {
        let one = |v: &[f32]| match self.scores.best(v[4..].iter().copied(), floor) {
            Ok(best) => Ok(best.map(|(class, score)| RawBox { class, score, rect: self.boxes.rect(&v[..4]) })),
            Err(()) => Err(()),
        };
        let mut bad = 0;
        for v in data.chunks_exact(row) {
            match one(v) {
                Ok(found) => out.extend(found),
                Err(()) => bad += 1,
            }
        }
        bad
    }

    fn distances(&self, outputs: &[Output<'_>], classes: usize, floor: f32, out: &mut Vec<RawBox>) -> Option<usize> {
        let centre = match self.layout {
            Layout::NanoDet => (0.5, 0.5),
            Layout::PicoDet => (0.5, 0.0),
            _ => (0.0, 0.0),
        };
        let mut form = Form { classes, bins: BINS, centre, scores: self.scores };
        if self.layout == Layout::NanoDetPlus {
            let (row, mut rest) = (classes + 4 * BINS, self.head(outputs, 0)?.data.as_ref());
            let mut bad = 0;
            for stride in STRIDES {
                let (columns, rows) = self.input.grid(stride);
                let (level, after) = rest.split_at_checked(columns * rows * row)?;
                let level = Level { stride, classes: (level, row), distances: (level.get(classes..)?, row) };
                bad += form.decode(&level, &self.input, floor, out);
                rest = after;
            }
            return Some(bad);
        }
        let levels = self.heads.len() / 2;
        let mut bad = 0;
        for (i, stride) in STRIDES.into_iter().enumerate().take(levels) {
            let (scores, sides) = (self.head(outputs, i)?, self.head(outputs, levels + i)?);
            let wide = *sides.shape.last()?;
            form.bins = wide / 4;
            let level =
                Level { stride, classes: (&scores.data, classes.max(1)), distances: (&sides.data, wide.max(1)) };
            bad += form.decode(&level, &self.input, floor, out);
        }
        Some(bad)
    }
}
