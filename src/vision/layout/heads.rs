//! Which outputs of a run a layout reads: by their names and shapes, or as the side-car names them.

use super::{InputSpec, Layout, Output};
use crate::config::LayoutChoice;
use crate::vision::sidecar::SideCar;

/// Strides of models with three levels, and with four.
pub(super) const STRIDES: [u32; 4] = [8, 16, 32, 64];
/// Distances a side of a NanoDet-Plus model is a distribution over.
pub(super) const BINS: usize = 8;
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

pub(super) fn named(choice: LayoutChoice) -> Option<Layout> {
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
pub(super) fn guess(said: &SideCar, seen: &Seen<'_>) -> Option<Layout> {
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
pub(super) fn heads(layout: Layout, said: &SideCar, seen: &Seen<'_>) -> Option<Vec<usize>> {
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
