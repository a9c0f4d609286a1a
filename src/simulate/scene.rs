//! A scene: where the camera hangs, what stands still, what moves along which script, which areas and lines matter.
//! The scripts of the named scenarios are in `scenarios`; drawing is in `render`.

use super::light::Light;
use super::mesh::{Actor, Kind, Rgb};
use super::space::{V3, View};
use crate::geometry::{Line, Point, Polygon};

/// A place at a time of the script.
pub type Key = (f32, f32, f32);

/// One moving thing: exists from its first to its last key, straight between keys.
#[derive(Debug, Clone)]
pub struct Script {
    /// What it is.
    pub kind: Kind,
    /// Container, body or vest.
    pub colour: Rgb,
    /// Cab, trousers.
    pub second: Rgb,
    /// (seconds, x, y), rising in time, at least one.
    pub keys: Vec<Key>,
    /// Doors, load or barrier: (seconds, 0..1), rising in time; empty = closed.
    pub open: Vec<(f32, f32)>,
    /// Heading while it has never moved, radians.
    pub rest: f32,
}

/// Where and how the camera hangs; angles in radians.
#[derive(Debug, Clone, Copy)]
pub struct Mount {
    /// Metres.
    pub eye: V3,
    /// To the right of +y.
    pub yaw: f32,
    /// Down from the horizon.
    pub pitch: f32,
    /// Horizontal field of view.
    pub fov: f32,
}

/// A flat patch of paint on the ground.
#[derive(Debug, Clone)]
pub struct Marking {
    /// Corners, metres.
    pub corners: Vec<(f32, f32)>,
    /// Paint.
    pub colour: Rgb,
}

/// An area or line as a configuration needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct SceneArea {
    /// Id, e.g. `bay-1`.
    pub id: &'static str,
    /// Kind of area in words of the configuration, or a line.
    pub shape: AreaShape,
}

/// Shape in fractions of the picture.
#[derive(Debug, Clone, PartialEq)]
pub enum AreaShape {
    /// An area.
    Area(Polygon),
    /// A line to cross.
    Line(Line),
}

/// Something on the ground that rules look at, metres.
#[derive(Debug, Clone)]
pub enum Zone {
    /// x0, y0, x1, y1.
    Rect(&'static str, [f32; 4]),
    /// From x, y to x, y.
    Line(&'static str, [f32; 4]),
}

/// Everything a renderer needs.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Camera.
    pub mount: Mount,
    /// Light.
    pub light: Light,
    /// Streaks in the air, wet ground.
    pub rain: bool,
    /// Things that stand still.
    pub props: Vec<Actor>,
    /// Paint.
    pub markings: Vec<Marking>,
    /// Paved ground: x0, y0, x1, y1; grass beyond.
    pub paved: [f32; 4],
    /// Moving things.
    pub scripts: Vec<Script>,
    /// Length of a round, seconds.
    pub period: f32,
    /// Areas and lines.
    pub zones: Vec<Zone>,
    /// Noise and textures.
    pub seed: u64,
}

/// Value at `t` of a piecewise linear curve; 0 without points.
fn curve(points: &[(f32, f32)], t: f32) -> f32 {
    let next = points.partition_point(|p| p.0 <= t);
    match (next.checked_sub(1).map(|i| points[i]), points.get(next)) {
        (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (t - a.0) / (b.0 - a.0),
        (Some(a), None) => a.1,
        (None, Some(b)) => b.1,
        (None, None) => 0.0,
    }
}

impl Script {
    fn place(&self, t: f32) -> (f32, f32) {
        let axis = |f: fn(&Key) -> f32| curve(&self.keys.iter().map(|k| (k.0, f(k))).collect::<Vec<_>>(), t);
        (axis(|k| k.1), axis(|k| k.2))
    }

    /// Direction of travel: where it goes now, else where it last went, else where it will go.
    fn heading(&self, t: f32) -> f32 {
        let (a, b) = (self.place(t - 0.4), self.place(t + 0.4));
        if (b.0 - a.0).hypot(b.1 - a.1) > 0.05 {
            return (b.1 - a.1).atan2(b.0 - a.0);
        }
        let moves = |w: &&[Key]| (w[1].1 - w[0].1).hypot(w[1].2 - w[0].2) > 0.01;
        let before = self.keys.windows(2).filter(|w| w[1].0 <= t + 0.4).rfind(moves);
        let step = before.or_else(|| self.keys.windows(2).find(moves));
        step.map_or(self.rest, |w| (w[1].2 - w[0].2).atan2(w[1].1 - w[0].1))
    }

    /// Metres travelled until `t`.
    fn travelled(&self, t: f32) -> f32 {
        let leg = |w: &[Key]| {
            let share = ((t - w[0].0) / (w[1].0 - w[0].0).max(1e-3)).clamp(0.0, 1.0);
            (w[1].1 - w[0].1).hypot(w[1].2 - w[0].2) * share
        };
        self.keys.windows(2).map(leg).sum()
    }

    fn actor(&self, id: u32, t: f32) -> Option<Actor> {
        let (first, last) = (self.keys.first()?, self.keys.last()?);
        let alive = self.keys.len() == 1 || (t >= first.0 && t <= last.0);
        alive.then(|| Actor {
            id,
            kind: self.kind,
            at: self.place(t),
            heading: self.heading(t),
            colour: self.colour,
            second: self.second,
            phase: self.travelled(t) * 4.2,
            open: curve(&self.open, t),
            scale: 1.0,
        })
    }
}

/// Ids of one round; scripts of a scene are fewer.
const IDS_PER_ROUND: u32 = 64;

impl Scene {
    /// Moving things and furniture `seconds` after the start. Things that move have new ids each round; what always
    /// stands there keeps its id.
    #[must_use]
    pub fn actors(&self, seconds: f64) -> Vec<Actor> {
        let round = (seconds / f64::from(self.period)).floor().max(0.0);
        let t = (seconds - round * f64::from(self.period)) as f32;
        let scripted = self.scripts.iter().enumerate().filter_map(|(i, s)| {
            let round = if s.keys.len() == 1 { 0 } else { round as u32 };
            s.actor(round * IDS_PER_ROUND + i as u32 + 1, t)
        });
        scripted.chain(self.props.iter().copied()).collect()
    }

    /// The camera for a picture of this size, in pixels.
    #[must_use]
    pub fn view(&self, size: (u32, u32)) -> View {
        View::new(self.mount.eye, self.mount.yaw, self.mount.pitch, self.mount.fov, size)
    }

    /// Areas and lines in fractions of a 16:9 picture.
    #[must_use]
    pub fn areas(&self) -> Vec<SceneArea> {
        let view = self.view((1600, 900));
        let spot = |x: f32, y: f32| {
            let p = view.pixel(V3(x, y, 0.0)).unwrap_or(Point { x: 0.0, y: 900.0 });
            Point { x: (p.x / 1600.0).clamp(0.0, 1.0), y: (p.y / 900.0).clamp(0.0, 1.0) }
        };
        let area = |zone: &Zone| match zone {
            Zone::Rect(id, [x0, y0, x1, y1]) => {
                let corners = vec![spot(*x0, *y0), spot(*x1, *y0), spot(*x1, *y1), spot(*x0, *y1)];
                SceneArea { id, shape: AreaShape::Area(Polygon(corners)) }
            }
            Zone::Line(id, [x0, y0, x1, y1]) => {
                SceneArea { id, shape: AreaShape::Line(Line { from: spot(*x0, *y0), to: spot(*x1, *y1) }) }
            }
        };
        self.zones.iter().map(area).collect()
    }
}
