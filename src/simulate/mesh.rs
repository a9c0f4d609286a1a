//! Shapes of the moving things, built from boxes and prisms in metres. No scripts, no drawing.

use serde::{Deserialize, Serialize};

use super::space::V3;

/// What a thing is. The first seven are detector classes, the rest are furniture without truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// On foot.
    Person,
    /// Motorcycle with rider.
    TwoWheeler,
    /// Passenger car.
    Car,
    /// Coach.
    Bus,
    /// Tractor with a container, as one thing.
    Truck,
    /// Container on the ground.
    Container,
    /// Forklift with driver.
    Forklift,
    /// Barrier arm; `open` lifts it.
    Barrier,
    /// Sampling table.
    Table,
    /// Booth or building.
    Booth,
    /// Lamp post.
    Lamp,
}

/// Detector classes in the order of their 1-based ids.
pub const CLASSES: [Kind; 7] =
    [Kind::Person, Kind::TwoWheeler, Kind::Car, Kind::Bus, Kind::Truck, Kind::Container, Kind::Forklift];

impl Kind {
    /// Class name; `None` for furniture.
    #[must_use]
    pub fn label(self) -> Option<&'static str> {
        const NAMES: [&str; 7] = ["person", "two_wheeler", "car", "bus", "truck", "container", "forklift"];
        CLASSES.iter().position(|k| *k == self).map(|i| NAMES[i])
    }
}

/// Red, green, blue as displayed, 0..1.
pub type Rgb = [f32; 3];

/// One thing at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Actor {
    /// Unique while the script runs.
    pub id: u32,
    /// Shape.
    pub kind: Kind,
    /// Middle on the ground, metres.
    pub at: (f32, f32),
    /// Radians from +x towards +y.
    pub heading: f32,
    /// Container, body or vest.
    pub colour: Rgb,
    /// Cab, trousers.
    pub second: Rgb,
    /// Phase of the walk, radians; wheels too.
    pub phase: f32,
    /// Doors or barrier, 0 closed .. 1 open.
    pub open: f32,
    /// Size factor.
    pub scale: f32,
}

/// A flat polygon.
#[derive(Debug, Clone)]
pub struct Face {
    /// Corners in world metres, counter-clockwise seen from outside.
    pub pts: Vec<V3>,
    /// Own colour.
    pub colour: Rgb,
    /// Shines at night.
    pub glow: bool,
    /// Groups the faces of one convex part, so that parts are painted far to near.
    pub part: u16,
}

const DARK: Rgb = [0.06, 0.06, 0.07];
const GLASS: Rgb = [0.13, 0.19, 0.25];
const STEEL: Rgb = [0.45, 0.46, 0.48];
const SKIN: Rgb = [0.72, 0.52, 0.4];
const LAMP: Rgb = [1.0, 0.96, 0.8];
const TAIL: Rgb = [0.75, 0.06, 0.05];

/// Faces of an actor in world coordinates.
#[must_use]
pub fn faces(a: &Actor) -> Vec<Face> {
    let mut b = Builder { faces: Vec::with_capacity(80), part: 0 };
    match a.kind {
        Kind::Person => person(&mut b, a),
        Kind::TwoWheeler => two_wheeler(&mut b, a),
        Kind::Car => car(&mut b, a),
        Kind::Bus => bus(&mut b, a),
        Kind::Truck => truck(&mut b, a),
        Kind::Container => container(&mut b, a, 0.0, -3.0, 3.0),
        Kind::Forklift => forklift(&mut b, a),
        Kind::Barrier => barrier(&mut b, a),
        Kind::Table => table(&mut b, a),
        Kind::Booth => booth(&mut b, a),
        Kind::Lamp => {
            b.block([-0.08, 0.08], [-0.08, 0.08], [0.0, 7.0], STEEL);
            b.block([-0.1, 1.2], [-0.12, 0.12], [7.0, 7.15], [0.95, 0.93, 0.8]);
        }
    }
    b.placed(a)
}

/// Parts from this number on are painted before the others of the same thing.
pub const UNDER: u16 = 1000;

struct Builder {
    faces: Vec<Face>,
    part: u16,
}

impl Builder {
    fn face(&mut self, pts: Vec<V3>, colour: Rgb, glow: bool) {
        self.faces.push(Face { pts, colour, glow, part: self.part });
    }

    /// A prism over a polygon in the x-z plane (counter-clockwise seen from -y), from y0 to y1.
    fn prism(&mut self, side: &[(f32, f32)], y: [f32; 2], colour: Rgb) {
        self.part += 1;
        self.face(side.iter().map(|p| V3(p.0, y[0], p.1)).collect(), colour, false);
        self.face(side.iter().rev().map(|p| V3(p.0, y[1], p.1)).collect(), colour, false);
        for (i, a) in side.iter().enumerate() {
            let c = side[(i + 1) % side.len()];
            let quad = vec![V3(a.0, y[0], a.1), V3(a.0, y[1], a.1), V3(c.0, y[1], c.1), V3(c.0, y[0], c.1)];
            self.face(quad, colour, false);
        }
    }

    fn block(&mut self, x: [f32; 2], y: [f32; 2], z: [f32; 2], colour: Rgb) {
        self.prism(&[(x[0], z[0]), (x[1], z[0]), (x[1], z[1]), (x[0], z[1])], y, colour);
    }

    fn wheel(&mut self, x: f32, y: [f32; 2], r: f32) {
        let first = self.faces.len();
        let ring = |radius: f32| -> Vec<(f32, f32)> {
            (0..10).map(|i| i as f32 * 0.628).map(|t| (x + radius * t.cos(), r + radius * t.sin())).collect()
        };
        self.prism(&ring(r), y, DARK);
        let hub = ring(r * 0.5);
        self.face(hub.iter().map(|p| V3(p.0, y[0] - 0.01, p.1)).collect(), STEEL, false);
        self.face(hub.iter().rev().map(|p| V3(p.0, y[1] + 0.01, p.1)).collect(), STEEL, false);
        self.under(first);
    }

    /// Faces from `first` on lie under the body: the camera looks from above, so they are painted before it.
    fn under(&mut self, first: usize) {
        self.faces[first..].iter_mut().for_each(|f| f.part += UNDER);
    }

    /// A patch lying on the +x (front) or -x (rear) side of the current part.
    fn patch_x(&mut self, x: f32, y: [f32; 2], z: [f32; 2], colour: Rgb, glow: bool, front: bool) {
        let (l, r) = if front { (y[0], y[1]) } else { (y[1], y[0]) };
        self.face(vec![V3(x, l, z[0]), V3(x, r, z[0]), V3(x, r, z[1]), V3(x, l, z[1])], colour, glow);
    }

    /// A patch on both long sides of the current part.
    fn patch_sides(&mut self, x: [f32; 2], y: f32, z: [f32; 2], colour: Rgb) {
        self.face(vec![V3(x[0], -y, z[0]), V3(x[1], -y, z[0]), V3(x[1], -y, z[1]), V3(x[0], -y, z[1])], colour, false);
        self.face(vec![V3(x[1], y, z[0]), V3(x[0], y, z[0]), V3(x[0], y, z[1]), V3(x[1], y, z[1])], colour, false);
    }

    /// Headlamps and tail lamps on the current part.
    fn lamps(&mut self, front: f32, rear: f32, half: f32, z: [f32; 2]) {
        for s in [-1.0, 1.0] {
            let y = [s * half - 0.17, s * half + 0.17];
            self.patch_x(front, y, z, LAMP, true, true);
            self.patch_x(rear, y, z, TAIL, true, false);
        }
    }

    fn placed(mut self, a: &Actor) -> Vec<Face> {
        let (s, c) = a.heading.sin_cos();
        for p in self.faces.iter_mut().flat_map(|f| f.pts.iter_mut()) {
            let (x, y, z) = (p.0 * a.scale, p.1 * a.scale, p.2 * a.scale);
            *p = V3(a.at.0 + x * c - y * s, a.at.1 + x * s + y * c, z);
        }
        self.faces
    }
}

fn shade(c: Rgb, k: f32) -> Rgb {
    c.map(|v| (v * k).min(1.0))
}

/// A corrugated box between x0 and x1, doors at x0.
fn container(b: &mut Builder, a: &Actor, lift: f32, x0: f32, x1: f32) {
    let (y, z) = (1.22, [lift + 0.02, lift + 2.6]);
    b.block([x0, x1], [-y, y], z, a.colour);
    let n = ((x1 - x0) / 0.6) as usize;
    for i in 0..n {
        let x = x0 + 0.3 + i as f32 * 0.6;
        b.patch_sides([x, x + 0.22], y + 0.005, [z[0] + 0.15, z[1] - 0.12], shade(a.colour, 0.7));
    }
    b.patch_sides([x0 + 0.8, x0 + 2.4], y + 0.01, [z[1] - 0.9, z[1] - 0.55], [0.8, 0.8, 0.78]);
    if a.open > 0.02 {
        b.patch_x(x0 - 0.01, [-y + 0.1, y - 0.1], [z[0] + 0.1, z[1] - 0.1], DARK, false, false);
        b.patch_x(x0 - 0.02, [-0.9, 0.9], [z[0] + 0.1, z[0] + 1.5], [0.5, 0.38, 0.24], false, false);
        door_leaves(b, a, x0, y, z);
    } else {
        for s in [-0.9, -0.35, 0.35, 0.9] {
            b.patch_x(x0 - 0.01, [s - 0.04, s + 0.04], [z[0] + 0.1, z[1] - 0.1], shade(a.colour, 0.45), false, false);
        }
        b.patch_x(x0 - 0.01, [-0.03, 0.03], z, DARK, false, false);
    }
}

fn door_leaves(b: &mut Builder, a: &Actor, x0: f32, y: f32, z: [f32; 2]) {
    let angle = a.open * 2.0;
    for s in [-1.0f32, 1.0] {
        b.part += 1;
        let (hx, hy) = (x0, s * y);
        let (ex, ey) = (x0 - 1.2 * angle.sin(), s * (y - 1.2 * angle.cos()));
        let quad = vec![V3(hx, hy, z[0]), V3(ex, ey, z[0]), V3(ex, ey, z[1]), V3(hx, hy, z[1])];
        b.face(quad.iter().rev().copied().collect(), shade(a.colour, 0.8), false);
        b.face(quad, shade(a.colour, 0.8), false);
    }
}

fn truck(b: &mut Builder, a: &Actor) {
    b.block([-6.2, 5.2], [-0.5, 0.5], [0.7, 1.1], DARK);
    b.under(0);
    for x in [-5.4, -4.2, 2.0, 5.0] {
        b.wheel(x, [-1.2, -0.75], 0.52);
        b.wheel(x, [0.75, 1.2], 0.52);
    }
    container(b, a, 1.15, -6.3, 2.6);
    if a.open <= 0.02 {
        b.lamps(0.0, -6.34, 0.95, [1.2, 1.4]);
    }
    b.prism(&[(3.5, 0.55), (6.0, 0.55), (6.0, 1.9), (5.7, 3.2), (3.5, 3.3)], [-1.22, 1.22], a.second);
    b.patch_sides([4.4, 5.6], 1.23, [1.9, 2.75], GLASS);
    let shield = |y: f32, x: f32, z: f32| V3(x + 0.01, y, z);
    b.face(
        vec![shield(-1.1, 5.99, 1.95), shield(1.1, 5.99, 1.95), shield(1.1, 5.76, 2.95), shield(-1.1, 5.76, 2.95)],
        GLASS,
        false,
    );
    b.patch_x(6.01, [-0.7, 0.7], [0.9, 1.7], shade(a.second, 0.4), false, true);
    b.patch_x(6.02, [-1.2, 1.2], [0.55, 0.8], [0.3, 0.3, 0.32], false, true);
    b.lamps(6.03, 3.4, 0.95, [0.85, 1.1]);
}

fn car(b: &mut Builder, a: &Actor) {
    for x in [-1.35, 1.35] {
        b.wheel(x, [-0.9, -0.68], 0.33);
        b.wheel(x, [0.68, 0.9], 0.33);
    }
    b.prism(&[(-2.2, 0.3), (2.2, 0.3), (2.2, 0.7), (1.1, 0.95), (-2.1, 0.98)], [-0.88, 0.88], a.colour);
    b.lamps(2.21, -2.21, 0.62, [0.5, 0.7]);
    b.prism(&[(-1.8, 0.95), (1.15, 0.93), (0.45, 1.45), (-1.2, 1.48)], [-0.78, 0.78], a.colour);
    b.patch_sides([-1.2, 0.5], 0.79, [1.02, 1.38], GLASS);
    b.face(vec![V3(1.13, -0.7, 0.98), V3(1.13, 0.7, 0.98), V3(0.52, 0.7, 1.43), V3(0.52, -0.7, 1.43)], GLASS, false);
    b.face(vec![V3(-1.79, 0.7, 1.0), V3(-1.79, -0.7, 1.0), V3(-1.27, -0.7, 1.45), V3(-1.27, 0.7, 1.45)], GLASS, false);
}

fn bus(b: &mut Builder, a: &Actor) {
    for x in [-3.4, 3.4] {
        b.wheel(x, [-1.24, -0.9], 0.5);
        b.wheel(x, [0.9, 1.24], 0.5);
    }
    b.block([-5.6, 5.6], [-1.22, 1.22], [0.4, 3.2], a.colour);
    b.patch_sides([-5.4, 5.4], 1.23, [0.9, 1.2], a.second);
    for i in 0..7 {
        let x = -5.2 + i as f32 * 1.5;
        b.patch_sides([x, x + 1.3], 1.235, [1.6, 2.6], GLASS);
    }
    b.patch_x(5.61, [-1.1, 1.1], [1.4, 2.8], GLASS, false, true);
    b.patch_x(-5.61, [-1.0, 1.0], [1.8, 2.7], GLASS, false, false);
    b.lamps(5.62, -5.62, 0.9, [0.7, 0.95]);
}

/// A limb that swings about its upper end by `swing` metres at its lower end.
fn limb(b: &mut Builder, top: (f32, f32), low: (f32, f32), y: [f32; 2], w: f32, colour: Rgb) {
    b.prism(&[(low.0 - w, low.1), (low.0 + w, low.1), (top.0 + w, top.1), (top.0 - w, top.1)], y, colour);
}

fn person(b: &mut Builder, a: &Actor) {
    let swing = a.phase.sin() * 0.32;
    limb(b, (0.0, 0.86), (swing, 0.0), [-0.17, -0.02], 0.09, a.second);
    limb(b, (0.0, 0.86), (-swing, 0.0), [0.02, 0.17], 0.09, a.second);
    body(b, a, 0.84);
    limb(b, (0.0, 1.42), (-swing, 0.8), [-0.32, -0.22], 0.06, shade(a.colour, 0.85));
    limb(b, (0.0, 1.42), (swing, 0.8), [0.22, 0.32], 0.06, shade(a.colour, 0.85));
}

/// Torso and head above the hip at height `z`.
fn body(b: &mut Builder, a: &Actor, z: f32) {
    b.block([-0.13, 0.13], [-0.22, 0.22], [z, z + 0.62], a.colour);
    b.patch_sides([-0.13, 0.13], 0.225, [z + 0.2, z + 0.28], [0.85, 0.85, 0.8]);
    for front in [true, false] {
        let x = if front { 0.135 } else { -0.135 };
        b.patch_x(x, [-0.22, 0.22], [z + 0.2, z + 0.28], [0.85, 0.85, 0.8], false, front);
    }
    let head: Vec<(f32, f32)> =
        (0..8).map(|i| i as f32 * 0.785).map(|t| (0.12 * t.cos(), z + 0.77 + 0.14 * t.sin())).collect();
    b.prism(&head, [-0.1, 0.1], SKIN);
    b.block([-0.13, 0.13], [-0.11, 0.11], [z + 0.83, z + 0.92], shade(a.second, 0.8));
}

fn two_wheeler(b: &mut Builder, a: &Actor) {
    b.wheel(-0.62, [-0.06, 0.06], 0.3);
    b.wheel(0.62, [-0.06, 0.06], 0.3);
    b.prism(&[(-0.8, 0.45), (0.2, 0.3), (0.7, 0.6), (0.55, 1.0), (0.1, 0.62), (-0.8, 0.75)], [-0.14, 0.14], a.second);
    b.block([0.42, 0.5], [-0.34, 0.34], [0.98, 1.05], DARK);
    limb(b, (-0.1, 0.85), (0.15, 0.3), [-0.25, -0.13], 0.09, DARK);
    limb(b, (-0.1, 0.85), (0.15, 0.3), [0.13, 0.25], 0.09, DARK);
    body(b, a, 0.75);
    limb(b, (0.0, 1.3), (0.42, 1.02), [-0.32, -0.22], 0.06, a.colour);
    limb(b, (0.0, 1.3), (0.42, 1.02), [0.22, 0.32], 0.06, a.colour);
}

fn forklift(b: &mut Builder, a: &Actor) {
    for x in [-0.8, 0.8] {
        b.wheel(x, [-0.6, -0.38], 0.32);
        b.wheel(x, [0.38, 0.6], 0.32);
    }
    b.block([-1.3, 0.2], [-0.55, 0.55], [0.3, 1.1], a.colour);
    b.block([-1.35, -1.0], [-0.55, 0.55], [0.4, 1.3], DARK);
    body(b, a, 0.95);
    for x in [-0.95, 0.55] {
        b.block([x, x + 0.08], [-0.55, -0.47], [1.0, 2.2], DARK);
        b.block([x, x + 0.08], [0.47, 0.55], [1.0, 2.2], DARK);
    }
    b.block([-1.0, 0.7], [-0.58, 0.58], [2.2, 2.28], DARK);
    b.block([1.0, 1.12], [-0.42, -0.3], [0.1, 2.5], STEEL);
    b.block([1.0, 1.12], [0.3, 0.42], [0.1, 2.5], STEEL);
    b.block([1.12, 2.2], [-0.4, -0.25], [0.15, 0.22], STEEL);
    b.block([1.12, 2.2], [0.25, 0.4], [0.15, 0.22], STEEL);
    if a.open > 0.5 {
        b.block([1.15, 2.15], [-0.5, 0.5], [0.25, 1.2], [0.55, 0.4, 0.25]);
    }
}

fn barrier(b: &mut Builder, a: &Actor) {
    b.block([-0.2, 0.2], [-0.2, 0.2], [0.0, 1.1], [0.8, 0.5, 0.08]);
    let (s, c) = (a.open * 1.35).sin_cos();
    for i in 0..8 {
        let (r0, r1) = (i as f32 * 0.6, (i + 1) as f32 * 0.6);
        let colour = if i % 2 == 0 { [0.8, 0.08, 0.06] } else { [0.92, 0.92, 0.9] };
        let p = |r: f32, dz: f32| (r * c, 1.0 + r * s + dz);
        b.prism(&[p(r0, 0.0), p(r1, 0.0), p(r1, 0.14), p(r0, 0.14)], [-0.05, 0.05], colour);
    }
}

fn table(b: &mut Builder, a: &Actor) {
    for (x, y) in [(-1.1, -0.4), (1.0, -0.4), (-1.1, 0.35), (1.0, 0.35)] {
        b.block([x, x + 0.08], [y, y + 0.08], [0.0, 0.8], DARK);
    }
    b.block([-1.2, 1.2], [-0.5, 0.5], [0.8, 0.88], a.colour);
    b.block([-0.8, -0.3], [-0.2, 0.2], [0.88, 1.15], [0.6, 0.45, 0.28]);
    b.block([0.3, 0.5], [-0.1, 0.1], [0.88, 1.1], [0.85, 0.87, 0.9]);
}

fn booth(b: &mut Builder, a: &Actor) {
    b.block([-1.6, 1.6], [-1.3, 1.3], [0.0, 2.8], a.colour);
    b.patch_sides([-1.2, 1.2], 1.31, [1.1, 2.2], GLASS);
    b.patch_x(1.61, [-0.9, 0.9], [1.1, 2.2], GLASS, false, true);
    b.patch_x(-1.61, [-0.9, 0.9], [1.1, 2.2], GLASS, false, false);
    b.block([-1.9, 1.9], [-1.6, 1.6], [2.8, 3.0], a.second);
}
