//! What objects are made of: coloured flat faces, built from boxes, prisms and wheels in object coordinates
//! (x right of the heading, y ahead, z up, origin on the ground in the middle).

use super::view::{V3, v3};

/// Colour, 0..1 each.
pub type Rgb = [f32; 3];

/// What is drawn on a face beside its colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finish {
    /// Flat.
    Plain,
    /// Vertical ribs of corrugated steel, so many.
    Ribs(u16),
    /// Two leaves with locking bars, as the doors of a container.
    Doors,
    /// Shines by itself at night (lamps).
    Lamp,
}

/// A convex flat polygon.
#[derive(Debug, Clone)]
pub struct Face {
    /// Corners, counter-clockwise seen from outside.
    pub points: Vec<V3>,
    /// Colour in full light.
    pub color: Rgb,
    /// Pattern.
    pub finish: Finish,
    /// Drawn from both sides (door leaves, discs).
    pub two_sided: bool,
}

/// A heap of faces.
#[derive(Debug, Clone, Default)]
pub struct Solid {
    /// All faces, any order.
    pub faces: Vec<Face>,
}

/// Finishes of a box: sides, front, back.
#[derive(Debug, Clone, Copy)]
pub struct Finishes {
    /// Left and right.
    pub sides: Finish,
    /// Ahead.
    pub front: Finish,
    /// Behind.
    pub back: Finish,
}

/// Nothing special on any side.
pub const PLAIN: Finishes = Finishes { sides: Finish::Plain, front: Finish::Plain, back: Finish::Plain };

impl Solid {
    /// A box from `min` to `max`.
    pub fn cuboid(&mut self, min: V3, max: V3, color: Rgb, finishes: Finishes) {
        self.frustum(min, max, v3(0.0, 0.0, 0.0), color, finishes);
    }

    /// A box whose top is smaller: `inset.x` on each side, `inset.y` at the front, `inset.z` at the back.
    pub fn frustum(&mut self, min: V3, max: V3, inset: V3, color: Rgb, f: Finishes) {
        let lo = |x, y| v3(x, y, min.z);
        let (l, r) = (min.x + inset.x, max.x - inset.x);
        let (front, back) = (max.y - inset.y, min.y + inset.z);
        let hi = |x, y| v3(x, y, max.z);
        let b = [lo(min.x, min.y), lo(max.x, min.y), lo(max.x, max.y), lo(min.x, max.y)];
        let t = [hi(l, back), hi(r, back), hi(r, front), hi(l, front)];
        self.face(vec![b[0], b[1], t[1], t[0]], color, f.back);
        self.face(vec![b[1], b[2], t[2], t[1]], color, f.sides);
        self.face(vec![b[2], b[3], t[3], t[2]], color, f.front);
        self.face(vec![b[3], b[0], t[0], t[3]], color, f.sides);
        self.face(vec![t[0], t[1], t[2], t[3]], color, Finish::Plain);
    }

    /// One face seen from outside only.
    pub fn face(&mut self, points: Vec<V3>, color: Rgb, finish: Finish) {
        self.faces.push(Face { points, color, finish, two_sided: false });
    }

    /// One face seen from both sides.
    pub fn sheet(&mut self, points: Vec<V3>, color: Rgb, finish: Finish) {
        self.faces.push(Face { points, color, finish, two_sided: true });
    }

    /// A wheel: a dark disc with a lighter hub, in the plane x = `at.x`, axle height `at.z`.
    pub fn wheel(&mut self, at: V3, radius: f32) {
        for (r, color, out) in [(radius, [0.06, 0.06, 0.07], 0.0), (radius * 0.5, [0.45, 0.45, 0.47], 0.02)] {
            let x = at.x + out * at.x.signum();
            let ring = (0..12).map(|i| {
                let (s, c) = (i as f32 * std::f32::consts::TAU / 12.0).sin_cos();
                v3(x, at.y + r * c, at.z + r * s)
            });
            self.sheet(ring.collect(), color, Finish::Plain);
        }
    }

    /// Wheels left and right at each `y`.
    pub fn axles(&mut self, half_width: f32, ys: &[f32], radius: f32) {
        for y in ys {
            self.wheel(v3(-half_width, *y, radius), radius);
            self.wheel(v3(half_width, *y, radius), radius);
        }
    }

    /// A round post or limb between two points, as a four-sided prism.
    pub fn limb(&mut self, a: V3, b: V3, half: f32, color: Rgb) {
        let axis = b.minus(a).unit();
        let help = if axis.z.abs() > 0.9 { v3(1.0, 0.0, 0.0) } else { v3(0.0, 0.0, 1.0) };
        let u = axis.cross(help).unit();
        let w = axis.cross(u).unit();
        let at = |p: V3, i: usize| {
            let (s, t) = [(1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0)][i % 4];
            p.plus(v3(
                (u.x * s + w.x * t) * half,
                (u.y * s + w.y * t) * half,
                (u.z * s + w.z * t) * half,
            ))
        };
        for i in 0..4 {
            self.sheet(vec![at(a, i), at(a, i + 1), at(b, i + 1), at(b, i)], color, Finish::Plain);
        }
        self.sheet((0..4).map(|i| at(b, i)).collect(), color, Finish::Plain);
    }

    /// A ball of eight sides.
    pub fn ball(&mut self, at: V3, radius: f32, color: Rgb) {
        let ring = |z: f32, r: f32| -> Vec<V3> {
            (0..8)
                .map(|i| {
                    let (s, c) = (i as f32 * std::f32::consts::TAU / 8.0).sin_cos();
                    v3(at.x + r * c, at.y + r * s, at.z + z)
                })
                .collect()
        };
        let rings = [ring(-radius, 0.3 * radius), ring(0.0, radius), ring(radius, 0.35 * radius)];
        for pair in rings.windows(2) {
            for i in 0..8 {
                let j = (i + 1) % 8;
                self.sheet(vec![pair[0][i], pair[0][j], pair[1][j], pair[1][i]], color, Finish::Plain);
            }
        }
        self.sheet(rings[2].clone(), color, Finish::Plain);
    }

    /// This solid turned by `heading` (radians, 0 = +y, positive to the right) and moved to the ground point.
    #[must_use]
    pub fn placed(&self, x: f32, y: f32, heading: f32) -> Self {
        let (s, c) = heading.sin_cos();
        let put = |p: &V3| v3(x + p.x * c + p.y * s, y - p.x * s + p.y * c, p.z);
        let faces = self.faces.iter().map(|f| Face { points: f.points.iter().map(put).collect(), ..f.clone() });
        Self { faces: faces.collect() }
    }
}
