//! SSD: what four numbers of a box mean, and boxes from offsets to prior boxes.

use super::scores::Scores;
use super::{InputSpec, RawBox, centred};
use crate::geometry::Rect;
use crate::vision::sidecar::{Anchors, BoxForm, BoxUnits};

/// How four numbers are a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BoxReader {
    pub(super) form: BoxForm,
    /// Input pixels in one unit, across and down.
    unit: (f32, f32),
}

impl BoxReader {
    pub(super) fn new(form: BoxForm, units: BoxUnits, input: &InputSpec) -> Self {
        let unit = match units {
            BoxUnits::Pixels => (1.0, 1.0),
            BoxUnits::Fractions => (input.width as f32, input.height as f32),
        };
        Self { form, unit }
    }

    pub(super) fn rect(&self, v: &[f32]) -> Rect {
        let (sx, sy) = self.unit;
        match self.form {
            BoxForm::Corners => Rect { x0: v[0] * sx, y0: v[1] * sy, x1: v[2] * sx, y1: v[3] * sy },
            BoxForm::CornersYx => Rect { x0: v[1] * sx, y0: v[0] * sy, x1: v[3] * sx, y1: v[2] * sy },
            BoxForm::Center => centred(v[0] * sx, v[1] * sy, v[2] * sx, v[3] * sy),
        }
    }
}

/// Prior boxes as centre and size in input pixels, in the order of the outputs.
pub(super) fn priors(anchors: &Anchors, input: &InputSpec) -> Vec<[f32; 4]> {
    let mut all = Vec::new();
    for (&stride, sizes) in anchors.strides.iter().zip(&anchors.sizes) {
        let (columns, rows) = input.grid(stride);
        for cell in 0..columns * rows {
            let centre = |n: usize| (n as f32 + 0.5) * stride as f32;
            let (x, y) = (centre(cell % columns), centre(cell / columns));
            all.extend(sizes.iter().map(|[w, h]| [x, y, *w, *h]));
        }
    }
    all
}

/// Offsets to prior boxes, and scores of every class.
pub(super) fn offsets(
    (scores, classes): (&[f32], usize),
    (offsets, priors): (&[f32], &[[f32; 4]]),
    [centre, size]: [f32; 2],
    kind: Scores,
    floor: f32,
    out: &mut Vec<RawBox>,
) -> usize {
    let mut bad = 0;
    for ((scores, v), [x, y, w, h]) in scores.chunks_exact(classes.max(1)).zip(offsets.chunks_exact(4)).zip(priors) {
        match kind.best(scores.iter().copied(), floor) {
            Ok(Some((class, score))) => {
                let (x, y) = (x + v[0] * centre * w, y + v[1] * centre * h);
                let rect = centred(x, y, w * (v[2] * size).exp(), h * (v[3] * size).exp());
                out.push(RawBox { class, score, rect });
            }
            Ok(None) => {}
            Err(()) => bad += 1,
        }
    }
    bad
}
