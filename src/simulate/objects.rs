//! The things that move at a gate, built from [`Solid`]s in metres.

use serde::{Deserialize, Serialize};

use super::solids::{Finish, Finishes, PLAIN, Rgb, Solid};
use super::view::v3;

/// Kind of an object; names are the detector's class names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// On foot.
    Person,
    /// Motorcycle or bicycle with its rider.
    TwoWheeler,
    /// Passenger car.
    Car,
    /// Bus or coach.
    Bus,
    /// Lorry with whatever it carries.
    Truck,
    /// Container standing on the ground.
    Container,
    /// Forklift.
    Forklift,
}

/// All kinds in the order of the detector's classes.
pub const KINDS: [Kind; 7] =
    [Kind::Person, Kind::TwoWheeler, Kind::Car, Kind::Bus, Kind::Truck, Kind::Container, Kind::Forklift];

impl Kind {
    /// Class name.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::TwoWheeler => "two_wheeler",
            Self::Car => "car",
            Self::Bus => "bus",
            Self::Truck => "truck",
            Self::Container => "container",
            Self::Forklift => "forklift",
        }
    }

    /// Half length and half width on the ground, metres, for keeping objects apart.
    #[must_use]
    pub fn footprint(self) -> (f32, f32) {
        match self {
            Self::Person => (0.4, 0.4),
            Self::TwoWheeler => (1.0, 0.45),
            Self::Car => (2.3, 1.0),
            Self::Bus => (5.5, 1.4),
            Self::Truck => (7.8, 1.4),
            Self::Container => (3.1, 1.3),
            Self::Forklift => (1.9, 0.8),
        }
    }
}

/// How one object looks, constant over its life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Looks {
    /// Main colour.
    pub paint: Rgb,
    /// Colour of the load, clothes, second part.
    pub second: Rgb,
    /// Picks a variant of the kind.
    pub variant: u32,
}

/// How it moves now.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Motion {
    /// Seconds of walking or riding, for limbs; 0 = stands.
    pub stride: f32,
    /// Rear doors, 0 closed .. 1 open.
    pub doors: f32,
}

const GLASS: Rgb = [0.10, 0.13, 0.16];
const STEEL: Rgb = [0.20, 0.20, 0.22];
const SKIN: Rgb = [0.72, 0.54, 0.43];
const LIGHT: Rgb = [1.0, 0.95, 0.8];
const RED: Rgb = [0.75, 0.08, 0.06];
const BOXY: Finishes = Finishes { sides: Finish::Ribs(26), front: Finish::Ribs(8), back: Finish::Doors };

/// Builds an object in its own coordinates.
#[must_use]
pub fn build(kind: Kind, looks: &Looks, motion: Motion) -> Solid {
    let mut s = Solid::default();
    match kind {
        Kind::Person => person(&mut s, looks, motion, 0.0),
        Kind::TwoWheeler => two_wheeler(&mut s, looks),
        Kind::Car => car(&mut s, looks),
        Kind::Bus => bus(&mut s, looks),
        Kind::Truck => truck(&mut s, looks, motion),
        Kind::Container => container(&mut s, looks, motion),
        Kind::Forklift => forklift(&mut s, looks),
    }
    s
}

fn lamps(s: &mut Solid, half_width: f32, y: f32, z: f32, color: Rgb) {
    for x in [-half_width * 0.75, half_width * 0.75] {
        let quad = vec![v3(x - 0.14, y, z), v3(x + 0.14, y, z), v3(x + 0.14, y, z + 0.16), v3(x - 0.14, y, z + 0.16)];
        s.sheet(quad, color, Finish::Lamp);
    }
}

fn person(s: &mut Solid, looks: &Looks, motion: Motion, lift: f32) {
    let swing = (motion.stride * 6.0).sin() * 0.32;
    let (hip, shoulder) = (0.88 + lift, 1.42 + lift);
    for (x, sign) in [(-0.11, 1.0), (0.11, -1.0)] {
        s.limb(v3(x, sign * swing, 0.02 + lift), v3(x, 0.0, hip), 0.075, looks.second);
        s.limb(v3(x * 2.1, -sign * swing * 0.8, hip - 0.02), v3(x * 1.9, 0.0, shoulder), 0.05, looks.paint);
    }
    s.frustum(v3(-0.2, -0.12, hip - 0.05), v3(0.2, 0.12, shoulder + 0.06), v3(0.03, 0.0, 0.0), looks.paint, PLAIN);
    if looks.variant % 3 == 0 {
        // A reflective vest, as officers and yard workers wear.
        s.frustum(v3(-0.215, -0.135, hip + 0.12), v3(0.215, 0.135, hip + 0.24), v3(0.0, 0.0, 0.0), [0.9, 0.9, 0.82], PLAIN);
    }
    s.ball(v3(0.0, 0.02, shoulder + 0.24), 0.13, SKIN);
    let hat = if looks.variant % 2 == 0 { [0.12, 0.1, 0.09] } else { looks.paint };
    s.frustum(v3(-0.13, -0.13, shoulder + 0.27), v3(0.13, 0.13, shoulder + 0.39), v3(0.04, 0.04, 0.04), hat, PLAIN);
}

fn two_wheeler(s: &mut Solid, looks: &Looks) {
    for y in [-0.62, 0.62] {
        s.wheel(v3(0.03, y, 0.3), 0.3);
    }
    s.frustum(v3(-0.15, -0.55, 0.35), v3(0.15, 0.35, 0.72), v3(0.05, 0.1, 0.05), looks.paint, PLAIN);
    s.limb(v3(0.0, 0.62, 0.3), v3(0.0, 0.42, 1.0), 0.05, STEEL);
    s.limb(v3(-0.34, 0.38, 1.02), v3(0.34, 0.38, 1.02), 0.03, STEEL);
    for x in [-0.16, 0.16] {
        s.limb(v3(x, 0.22, 0.35), v3(x, 0.05, 0.8), 0.075, [0.15, 0.17, 0.25]);
        s.limb(v3(x * 1.6, 0.36, 1.05), v3(x * 1.2, -0.1, 1.3), 0.05, looks.second);
    }
    s.frustum(v3(-0.2, -0.3, 0.72), v3(0.2, 0.02, 1.36), v3(0.03, 0.0, 0.0), looks.second, PLAIN);
    s.ball(v3(0.0, -0.1, 1.55), 0.15, if looks.variant % 2 == 0 { looks.paint } else { [0.9, 0.9, 0.9] });
    lamps(s, 0.1, 0.5, 0.85, LIGHT);
}

fn car(s: &mut Solid, looks: &Looks) {
    let (roof, tail) = match looks.variant % 3 {
        0 => (1.46, 0.75),
        1 => (1.72, 0.35),
        _ => (1.5, 0.2),
    };
    s.frustum(v3(-0.9, -2.15, 0.32), v3(0.9, 2.15, 0.88), v3(0.05, 0.08, 0.06), looks.paint, PLAIN);
    s.frustum(v3(-0.84, -1.7, 0.88), v3(0.84, 0.95, roof - 0.06), v3(0.16, 0.6, tail), GLASS, PLAIN);
    s.frustum(v3(-0.69, -1.7 + tail, roof - 0.06), v3(0.69, 0.36, roof), v3(0.03, 0.06, 0.06), looks.paint, PLAIN);
    for y in [-0.42, 0.28] {
        s.limb(v3(-0.86, y, 0.88), v3(-0.7, y, roof - 0.05), 0.04, looks.paint);
        s.limb(v3(0.86, y, 0.88), v3(0.7, y, roof - 0.05), 0.04, looks.paint);
    }
    s.axles(0.91, &[-1.35, 1.35], 0.33);
    lamps(s, 0.85, 2.16, 0.62, LIGHT);
    lamps(s, 0.85, -2.16, 0.68, RED);
}

fn bus(s: &mut Solid, looks: &Looks) {
    s.cuboid(v3(-1.25, -5.3, 0.4), v3(1.25, 5.3, 3.15), looks.paint, PLAIN);
    s.cuboid(v3(-1.26, -5.0, 1.45), v3(1.26, 4.9, 2.5), GLASS, PLAIN);
    for i in 0..8 {
        let y = -4.6 + i as f32 * 1.3;
        s.limb(v3(-1.27, y, 1.45), v3(-1.27, y, 2.5), 0.05, looks.paint);
        s.limb(v3(1.27, y, 1.45), v3(1.27, y, 2.5), 0.05, looks.paint);
    }
    s.cuboid(v3(-1.27, -5.2, 0.75), v3(1.27, 5.2, 1.0), looks.second, PLAIN);
    let glass = |y: f32| vec![v3(-1.1, y, 1.25), v3(1.1, y, 1.25), v3(1.1, y, 2.75), v3(-1.1, y, 2.75)];
    s.sheet(glass(5.32), GLASS, Finish::Plain);
    s.sheet(glass(-5.32), GLASS, Finish::Plain);
    s.axles(1.28, &[-3.0, 3.4], 0.48);
    lamps(s, 1.1, 5.33, 0.8, LIGHT);
    lamps(s, 1.1, -5.33, 0.95, RED);
}

fn cab(s: &mut Solid, looks: &Looks, y: f32) {
    let paint = looks.paint;
    s.frustum(v3(-1.2, y, 0.55), v3(1.2, y + 2.0, 1.7), v3(0.0, 0.05, 0.0), paint, PLAIN);
    s.frustum(v3(-1.2, y, 1.7), v3(1.2, y + 1.95, 2.6), v3(0.08, 0.3, 0.0), GLASS, PLAIN);
    s.frustum(v3(-1.12, y, 2.6), v3(1.12, y + 1.65, 3.05), v3(0.1, 0.35, 0.0), paint, PLAIN);
    for (x, ahead) in [(-1.16, 0.6), (1.16, 0.6), (-1.16, 1.85), (1.16, 1.85)] {
        s.limb(v3(x, y + ahead, 1.7), v3(x * 0.95, y + ahead - 0.2, 2.62), 0.06, paint);
    }
    s.cuboid(v3(-1.22, y + 1.9, 0.4), v3(1.22, y + 2.06, 0.8), STEEL, PLAIN);
    lamps(s, 1.05, y + 2.08, 0.78, LIGHT);
}

fn truck(s: &mut Solid, looks: &Looks, motion: Motion) {
    match looks.variant % 4 {
        // Rigid lorry with a box.
        0 => {
            cab(s, looks, 1.9);
            s.cuboid(v3(-1.0, -3.9, 0.6), v3(1.0, 1.9, 0.95), STEEL, PLAIN);
            load(s, v3(-1.22, -3.9, 0.95), v3(1.22, 1.75, 3.35), looks.second, motion);
            s.axles(1.15, &[-2.6, 2.9], 0.5);
        }
        // Flatbed with low sides.
        1 => {
            cab(s, looks, 1.9);
            s.cuboid(v3(-1.2, -3.9, 0.8), v3(1.2, 1.75, 1.5), looks.second, PLAIN);
            s.cuboid(v3(-1.0, -3.2, 1.5), v3(1.0, 0.9, 2.2), [0.5, 0.42, 0.3], PLAIN);
            s.axles(1.15, &[-3.0, -1.9, 2.9], 0.5);
        }
        // Tractor with a container on a semi-trailer.
        _ => {
            cab(s, looks, 5.4);
            s.cuboid(v3(-0.9, -6.9, 0.75), v3(0.9, 6.2, 1.15), STEEL, PLAIN);
            load(s, v3(-1.22, -7.2, 1.15), v3(1.22, 4.95, 3.75), looks.second, motion);
            s.axles(1.2, &[-6.0, -4.8, 3.6, 6.5], 0.5);
        }
    }
    let tail = if looks.variant % 4 <= 1 { -3.95 } else { -7.25 };
    lamps(s, 1.0, tail, 0.75, RED);
}

/// A container body with doors at the rear, which may stand open.
fn load(s: &mut Solid, min: super::view::V3, max: super::view::V3, color: Rgb, motion: Motion) {
    if motion.doors <= 0.01 {
        s.cuboid(min, max, color, BOXY);
        return;
    }
    let dark: Rgb = [0.05, 0.05, 0.05];
    s.cuboid(min, max, color, BOXY);
    s.sheet(
        vec![
            v3(min.x + 0.1, min.y - 0.01, min.z + 0.1),
            v3(max.x - 0.1, min.y - 0.01, min.z + 0.1),
            v3(max.x - 0.1, min.y - 0.01, max.z - 0.1),
            v3(min.x + 0.1, min.y - 0.01, max.z - 0.1),
        ],
        dark,
        Finish::Plain,
    );
    let leaf = (max.x - min.x) / 2.0;
    let angle = motion.doors * 2.0;
    for (hinge, side) in [(min.x, -1.0_f32), (max.x, 1.0_f32)] {
        let tip_x = hinge - side * leaf * angle.cos();
        let tip_y = min.y - leaf * angle.sin();
        let quad =
            vec![v3(hinge, min.y, min.z), v3(tip_x, tip_y, min.z), v3(tip_x, tip_y, max.z), v3(hinge, min.y, max.z)];
        s.sheet(quad, color, Finish::Ribs(5));
    }
}

fn container(s: &mut Solid, looks: &Looks, motion: Motion) {
    let half = if looks.variant % 2 == 0 { 3.03 } else { 6.06 };
    load(s, v3(-1.22, -half, 0.0), v3(1.22, half, 2.6), looks.paint, motion);
}

fn forklift(s: &mut Solid, looks: &Looks) {
    s.frustum(v3(-0.6, -1.2, 0.25), v3(0.6, 0.7, 1.1), v3(0.03, 0.3, 0.05), looks.paint, PLAIN);
    s.cuboid(v3(-0.62, -1.3, 0.3), v3(0.62, -0.8, 1.25), STEEL, PLAIN);
    for x in [-0.52, 0.52] {
        s.limb(v3(x, -0.9, 1.1), v3(x, -0.7, 2.1), 0.04, STEEL);
        s.limb(v3(x, 0.55, 1.0), v3(x, 0.3, 2.1), 0.04, STEEL);
        s.limb(v3(x * 0.7, 0.85, 0.1), v3(x * 0.7, 0.85, 2.3), 0.07, [0.15, 0.15, 0.15]);
        s.limb(v3(x * 0.7, 0.85, 0.15), v3(x * 0.7, 1.95, 0.12), 0.05, [0.15, 0.15, 0.15]);
    }
    s.cuboid(v3(-0.58, -0.8, 2.08), v3(0.58, 0.4, 2.16), STEEL, PLAIN);
    s.frustum(v3(-0.22, -0.5, 1.1), v3(0.22, -0.2, 1.65), v3(0.03, 0.0, 0.0), looks.second, PLAIN);
    s.ball(v3(0.0, -0.35, 1.82), 0.14, [0.9, 0.75, 0.1]);
    s.axles(0.62, &[-0.9, 0.5], 0.32);
}
