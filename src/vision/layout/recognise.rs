//! Which layout a model speaks: from what is said of it, the names of its outputs and the shapes of a first run. What is
//! left open is asked for by the key of the side-car that would say it.

use super::nanodet::{Form, Level};
use super::scores::Scores;
use super::ssd::{BoxReader, offsets, priors};
use super::{InputSpec, Layout, Output, RawBox, detr, end_to_end, fastestdet, grid, yolov8};
use crate::config::LayoutChoice;
use crate::vision::sidecar::{Activation, Background, BoxForm, BoxUnits, SideCar};

/// Strides of models with three levels, and with four.
const STRIDES: [u32; 4] = [8, 16, 32, 64];
/// Distances a side of a NanoDet-Plus model is a distribution over.
const BINS: usize = 8;
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

/// What a first run showed.
pub struct Seen<'a> {
    /// Outputs of the run.
    pub outputs: &'a [Output<'a>],
    /// The picture's input.
    pub input: InputSpec,
    /// Names of the other inputs.
    pub more_inputs: &'a [String],
    /// The model's own description of itself, if it has one.
    pub description: &'a str,
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

fn named(choice: LayoutChoice) -> Option<Layout> {
    Some(match choice {
        LayoutChoice::Auto => return None,
        LayoutChoice::Yolox => Layout::Yolox,
        LayoutChoice::Yolov5 => Layout::Yolov5,
        LayoutChoice::Yolov8 => Layout::Yolov8,
        LayoutChoice::EndToEnd => Layout::EndToEnd,
        LayoutChoice::Paddle => Layout::Paddle,
        LayoutChoice::Detr => Layout::Detr,
        LayoutChoice::DetrLogits => Layout::DetrLogits,
        LayoutChoice::DetrRows => Layout::DetrRows,
        LayoutChoice::Nanodet => Layout::NanoDet,
        LayoutChoice::NanodetPlus => Layout::NanoDetPlus,
        LayoutChoice::Picodet => Layout::PicoDet,
        LayoutChoice::Fastestdet => Layout::FastestDet,
        LayoutChoice::SsdSuppressed => Layout::SsdSuppressed,
        LayoutChoice::Ssd => Layout::Ssd,
    })
}

/// The first layout whose outputs are there.
fn guess(said: &SideCar, seen: &Seen<'_>) -> Option<Layout> {
    let queries = seen.description.to_lowercase();
    let rows = queries.contains("rtdetr") || queries.contains("rt-detr");
    let all = [
        Layout::Yolox,
        Layout::Yolov8,
        Layout::Yolov5,
        Layout::NanoDetPlus,
        Layout::FastestDet,
        Layout::Paddle,
        Layout::EndToEnd,
        Layout::NanoDet,
        Layout::PicoDet,
        Layout::SsdSuppressed,
        Layout::Detr,
        Layout::DetrLogits,
        Layout::Ssd,
    ];
    let rows = rows.then_some(Layout::DetrRows);
    rows.into_iter().chain(all).find(|l| heads(*l, said, seen).is_some())
}

/// Which outputs a layout reads, in the order it reads them; `None` when they are not there.
fn heads(layout: Layout, said: &SideCar, seen: &Seen<'_>) -> Option<Vec<usize>> {
    let outputs = seen.outputs;
    let only = match outputs {
        [one] => Some(one.shape.as_slice()),
        _ => None,
    };
    let row = |fits: &dyn Fn(usize, usize) -> bool| match only {
        Some(&[1, a, b]) => fits(a, b).then(|| vec![0]),
        _ => None,
    };
    let (three, four) = (seen.input.cells(&STRIDES[..3]), seen.input.cells(&STRIDES));
    match layout {
        Layout::Yolox => row(&|a, b| a == three && b >= 6),
        Layout::Yolov8 => row(&|a, b| b == three && a >= 5),
        Layout::Yolov5 => row(&|a, b| a == 3 * three && b >= 6),
        Layout::NanoDetPlus => row(&|a, b| a == four && b > 4 * BINS),
        Layout::EndToEnd => row(&|_, b| b == 6),
        Layout::DetrRows => row(&|_, b| b >= 5),
        Layout::FastestDet => match only {
            Some(&[1, planes, rows, columns]) => {
                ((columns, rows) == seen.input.grid(16) && planes >= 6).then(|| vec![0])
            }
            _ => None,
        },
        Layout::Paddle => {
            let extra = seen.more_inputs.iter().any(|n| n.contains("scale_factor"));
            let rows = outputs.iter().position(|o| o.shape.len() == 2 && o.shape[1] == 6)?;
            (extra || outputs.len() == 2).then(|| vec![rows])
        }
        Layout::NanoDet => levels(outputs, &seen.input, 3),
        Layout::PicoDet => levels(outputs, &seen.input, 4),
        Layout::Detr => roles(said, outputs, &["labels", "boxes", "scores"]),
        Layout::SsdSuppressed => {
            let mut found = roles(said, outputs, &["boxes", "scores", "classes"])?;
            found.extend(outputs.iter().position(|o| o.data.len() == 1 && o.name.contains("num")));
            (outputs.len() >= 4 || said.outputs.is_some()).then_some(found)
        }
        Layout::DetrLogits => {
            roles(said, outputs, &["logits", "pred_boxes"]).or_else(|| roles(said, outputs, &["labels", "dets"]))
        }
        Layout::Ssd => roles(said, outputs, &["boxes", "scores"]).or_else(|| roles(said, outputs, &["loc", "conf"])),
    }
}

/// Outputs by their roles: as named in the side-car, else the first whose name holds the role. Boxes have four columns.
fn roles(said: &SideCar, outputs: &[Output<'_>], roles: &[&str]) -> Option<Vec<usize>> {
    let named = said.outputs.clone().unwrap_or_default();
    let mut found = Vec::with_capacity(roles.len());
    for role in roles {
        let boxes = matches!(*role, "boxes" | "pred_boxes" | "dets" | "loc");
        let given = match *role {
            _ if boxes => &named.boxes,
            "classes" | "labels" if roles.len() > 2 => &named.classes,
            _ => &named.scores,
        };
        let fits = |o: &Output<'_>| !boxes || o.shape.last() == Some(&4);
        let at = match given {
            Some(name) => outputs.iter().position(|o| o.name == name),
            None => outputs.iter().position(|o| o.name.to_lowercase().contains(role) && fits(o)),
        };
        found.push(at?);
    }
    Some(found)
}

/// Class scores and distances of each stride: those with a row per cell, classes first.
fn levels(outputs: &[Output<'_>], input: &InputSpec, count: usize) -> Option<Vec<usize>> {
    if outputs.len() != 2 * count {
        return None;
    }
    let (mut classes, mut sides) = (Vec::new(), Vec::new());
    for stride in &STRIDES[..count] {
        let cells = input.cells(&[*stride]);
        let here = |o: &Output<'_>| o.shape.len() >= 2 && o.shape[o.shape.len() - 2] == cells;
        let both: Vec<usize> = (0..outputs.len()).filter(|&i| here(&outputs[i])).collect();
        let &[a, b] = both.as_slice() else { return None };
        let wide = |i: usize| outputs[i].shape.last().copied().unwrap_or(0);
        let is_distance = |i: usize| ["dis", "reg", "bbox"].iter().any(|word| outputs[i].name.contains(word));
        let by_name = (is_distance(a) != is_distance(b)).then(|| is_distance(a));
        let first = by_name.unwrap_or(wide(a) == 4 * BINS && wide(b) != 4 * BINS);
        let (class, side) = if first { (b, a) } else { (a, b) };
        if wide(side) < 8 || wide(side) % 4 != 0 {
            return None;
        }
        classes.push(class);
        sides.push(side);
    }
    classes.extend(sides);
    Some(classes)
}
