//! What really was in a frame: boxes from the geometry itself and how much of each is hidden.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::mesh::Kind;
use super::render::Solid;
use super::scene::{AreaShape, SceneArea};
use super::space::View;
use crate::clock::UtcMillis;
use crate::geometry::{CrossDirection, Point, Rect};

/// One thing in one frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TruthObject {
    /// Same thing, same id; a new round of the script has new ids.
    pub id: u32,
    /// Detector class.
    pub label: String,
    /// Pixels, clipped to the picture.
    pub rect: Rect,
    /// Fraction hidden behind nearer things, 0..1.
    pub occluded: f32,
    /// Bottom centre of the whole, unclipped box, pixels; may lie outside the picture.
    pub foot: Point,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TruthFrame {
    /// When it was drawn.
    pub utc: UtcMillis,
    /// Seconds in the script.
    pub t: f64,
    /// Picture size in pixels.
    pub size: [u32; 2],
    /// Everything of which a part is in the picture.
    pub objects: Vec<TruthObject>,
    /// What happened since the frame before.
    #[serde(default)]
    pub happened: Vec<Happening>,
}

/// Something that happened at an area or line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Happening {
    /// `enter`, `exit`, `cross_left_to_right` or `cross_right_to_left`.
    pub what: String,
    /// Area or line.
    pub area: String,
    /// Thing.
    pub object: u32,
    /// Its class.
    pub label: String,
}

/// One mark of the visibility grid stands for this many pixels squared.
const GRID: usize = 4;

/// Convex hull, in order.
pub(super) fn hull(mut pts: Vec<Point>) -> Vec<Point> {
    pts.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    let turn = |o: Point, a: Point, b: Point| (a.x - o.x) * (b.y - o.y) - (a.y - o.y) * (b.x - o.x);
    let chain = |it: &mut dyn Iterator<Item = Point>| {
        let mut out: Vec<Point> = Vec::new();
        for p in it {
            while out.len() >= 2 && turn(out[out.len() - 2], out[out.len() - 1], p) <= 0.0 {
                out.pop();
            }
            out.push(p);
        }
        out.pop();
        out
    };
    let mut low = chain(&mut pts.iter().copied());
    low.extend(chain(&mut pts.iter().rev().copied()));
    low
}

/// Which cells are already covered by nearer things.
struct Cover {
    w: usize,
    h: usize,
    taken: Vec<bool>,
}

impl Cover {
    /// Covers a convex outline; returns its cells and how many of them were free.
    fn put(&mut self, outline: &[Point]) -> (usize, usize) {
        let (mut all, mut free) = (0, 0);
        for gy in 0..self.h {
            let y = ((gy * GRID) + GRID / 2) as f32;
            let Some((x0, x1)) = span(outline, y) else { continue };
            let cell = |x: f32| ((x / GRID as f32).round().max(0.0) as usize).min(self.w);
            for taken in &mut self.taken[gy * self.w + cell(x0)..gy * self.w + cell(x1)] {
                all += 1;
                free += usize::from(!*taken);
                *taken = true;
            }
        }
        (all, free)
    }
}

/// Where a convex outline is cut by the row `y`.
fn span(outline: &[Point], y: f32) -> Option<(f32, f32)> {
    let mut found: Option<(f32, f32)> = None;
    for (i, a) in outline.iter().enumerate() {
        let b = outline[(i + 1) % outline.len()];
        if (a.y <= y) != (b.y <= y) {
            let x = a.x + (b.x - a.x) * (y - a.y) / (b.y - a.y);
            found = Some(found.map_or((x, x), |(l, r)| (l.min(x), r.max(x))));
        }
    }
    found
}

/// Truth of things sorted from far to near. Furniture hides but is not listed; things wholly outside are not listed.
pub(super) fn objects(view: &View, far_to_near: &[Solid]) -> Vec<TruthObject> {
    let (w, h) = view.size;
    let (gw, gh) = ((w as usize).div_ceil(GRID), (h as usize).div_ceil(GRID));
    let mut cover = Cover { w: gw, h: gh, taken: vec![false; gw * gh] };
    let frame = Rect { x0: 0.0, y0: 0.0, x1: w, y1: h };
    let mut out = Vec::new();
    for s in far_to_near.iter().rev() {
        let pts: Vec<Point> = s.faces.iter().flat_map(|f| view.outline(&f.pts)).collect();
        let Some(whole) = Rect::around(&pts) else { continue };
        let (all, free) = hide(&mut cover, s, view, pts);
        let rect = whole.intersection(&frame);
        let Some(label) = s.actor.kind.label() else { continue };
        if rect.area() > 0.0 && all > 0 {
            let occluded = 1.0 - free as f32 / all as f32;
            out.push(TruthObject { id: s.actor.id, label: label.into(), rect, occluded, foot: whole.foot() });
        }
    }
    out
}

/// A barrier or a lamp post is no solid block: its hull would hide too much, so each face counts alone.
fn hide(cover: &mut Cover, s: &Solid, view: &View, pts: Vec<Point>) -> (usize, usize) {
    if matches!(s.actor.kind, Kind::Barrier | Kind::Lamp | Kind::Table) {
        s.faces.iter().map(|f| cover.put(&view.outline(&f.pts))).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    } else {
        cover.put(&hull(pts))
    }
}

/// Remembers where things were, to say what happened.
pub(super) struct Watch {
    areas: Vec<SceneArea>,
    last: BTreeMap<u32, (String, Point)>,
}

impl Watch {
    pub fn new(areas: Vec<SceneArea>) -> Self {
        Self { areas, last: BTreeMap::new() }
    }

    /// What happened between the frame before and this one, by foot points. A thing that vanishes has left.
    pub fn step(&mut self, objects: &[TruthObject], size: (u32, u32)) -> Vec<Happening> {
        let share = |p: Point| Point { x: p.x / size.0 as f32, y: p.y / size.1 as f32 };
        let now: BTreeMap<u32, (String, Point)> =
            objects.iter().map(|o| (o.id, (o.label.clone(), share(o.foot)))).collect();
        let mut ids: Vec<u32> = self.last.keys().chain(now.keys()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let mut out = Vec::new();
        for id in ids {
            let (was, is) = (self.last.get(&id), now.get(&id));
            let Some((label, _)) = is.or(was) else { continue };
            for area in &self.areas {
                if let Some(what) = judge(&area.shape, was.map(|w| w.1), is.map(|i| i.1)) {
                    out.push(Happening { what: what.into(), area: area.id.into(), object: id, label: label.clone() });
                }
            }
        }
        self.last = now;
        out
    }
}

fn judge(shape: &AreaShape, was: Option<Point>, is: Option<Point>) -> Option<&'static str> {
    match shape {
        AreaShape::Area(p) => match (was.is_some_and(|w| p.contains(w)), is.is_some_and(|i| p.contains(i))) {
            (false, true) => Some("enter"),
            (true, false) => Some("exit"),
            _ => None,
        },
        AreaShape::Line(l) => l.crossed_by(was?, is?).map(|d| match d {
            CrossDirection::LeftToRight => "cross_left_to_right",
            CrossDirection::RightToLeft => "cross_right_to_left",
        }),
    }
}
