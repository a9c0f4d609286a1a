//! Random pictures with boxes for training a detector: every picture another place, hour, weather and mix of things.

use std::f32::consts::{FRAC_PI_2, TAU};
use std::fs;
use std::path::Path;

use anyhow::Context;
use image::codecs::jpeg::JpegEncoder;
use serde_json::{Value, json};

use super::light::{Hour, Light};
use super::mesh::{Actor, CLASSES, Kind, Rgb};
use super::render::Renderer;
use super::scene::{Marking, Mount, Scene, Script};
use super::space::{Rng, V3};
use crate::clock::UtcMillis;

/// Things hidden more than this are not annotated.
const HIDDEN: f32 = 0.85;

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// Pictures.
    pub images: u32,
    /// Same seed, same pictures.
    pub seed: u64,
    /// Pixels, even.
    pub size: (u32, u32),
}

/// Writes `images/000001.jpg`… and `annotations.json` (COCO boxes, classes with ids from 1) into `dir`.
///
/// # Errors
/// When the folder cannot be written or the size is not drawable.
pub fn write(dir: &Path, order: Order) -> anyhow::Result<()> {
    fs::create_dir_all(dir.join("images")).with_context(|| format!("cannot make {}", dir.display()))?;
    let (mut images, mut boxes) = (Vec::new(), Vec::<Value>::new());
    for n in 1..=order.images {
        let mut rng = Rng(order.seed.wrapping_mul(0x1_0000_0001).wrapping_add(u64::from(n)));
        let mut renderer = Renderer::new(random_scene(&mut rng), order.size).map_err(anyhow::Error::msg)?;
        let truth = renderer.draw(0.0, UtcMillis(0));
        let name = format!("images/{n:06}.jpg");
        let file = fs::File::create(dir.join(&name)).with_context(|| format!("cannot write {name}"))?;
        let quality = 55 + rng.below(40) as u8;
        let mut coder = JpegEncoder::new_with_quality(std::io::BufWriter::new(file), quality);
        coder.encode(&renderer.rgb(), order.size.0, order.size.1, image::ExtendedColorType::Rgb8)?;
        images.push(json!({"id": n, "file_name": name, "width": order.size.0, "height": order.size.1}));
        for o in truth.objects.iter().filter(|o| o.occluded < HIDDEN && o.rect.width() > 3.0 && o.rect.height() > 3.0) {
            let Some(class) = CLASSES.iter().position(|k| k.label() == Some(o.label.as_str())) else { continue };
            let r = [o.rect.x0, o.rect.y0, o.rect.width(), o.rect.height()];
            boxes.push(json!({"id": boxes.len() + 1, "image_id": n, "category_id": class + 1, "bbox": r,
                "area": o.rect.area(), "iscrowd": 0, "occluded": o.occluded}));
        }
    }
    let classes: Vec<Value> =
        CLASSES.iter().enumerate().map(|(i, k)| json!({"id": i + 1, "name": k.label()})).collect();
    let all = json!({"images": images, "annotations": boxes, "categories": classes});
    fs::write(dir.join("annotations.json"), serde_json::to_vec(&all)?).context("cannot write annotations.json")
}

/// Paint of containers, bodies and vests.
pub const PAINTS: [Rgb; 10] = [
    [0.62, 0.14, 0.12],
    [0.13, 0.28, 0.55],
    [0.16, 0.42, 0.26],
    [0.78, 0.42, 0.1],
    [0.82, 0.82, 0.8],
    [0.45, 0.46, 0.48],
    [0.2, 0.5, 0.58],
    [0.72, 0.64, 0.22],
    [0.16, 0.16, 0.18],
    [0.42, 0.24, 0.18],
];

fn random_scene(rng: &mut Rng) -> Scene {
    let hour = [Hour::Day, Hour::Day, Hour::Dusk, Hour::Night][rng.below(4)];
    let height = rng.range(2.8, 10.0);
    let lamps = vec![(rng.range(-12.0, -3.0), rng.range(8.0, 20.0)), (rng.range(3.0, 14.0), rng.range(14.0, 35.0))];
    let mut props: Vec<Actor> = lamps.iter().map(|l| prop(Kind::Lamp, *l, 0.0, [0.5; 3])).collect();
    for kind in [Kind::Booth, Kind::Barrier, Kind::Table] {
        if rng.chance(0.4) {
            props.push(prop(
                kind,
                (rng.range(-14.0, 14.0), rng.range(10.0, 40.0)),
                rng.range(0.0, TAU),
                PAINTS[rng.below(10)],
            ));
        }
    }
    let mut scripts: Vec<Script> = Vec::new();
    for _ in 0..1 + rng.below(9) {
        let near = rng.range(0.0, 1.0).powf(1.6);
        let y = 4.0 + height * 0.5 + near * 38.0;
        let (x, kind) = (rng.range(-0.55, 0.55) * (y + 4.0), CLASSES[rng.below(CLASSES.len())]);
        let room = |k: Kind| match k {
            Kind::Truck | Kind::Bus => 5.5,
            Kind::Container => 3.4,
            Kind::Car => 2.2,
            _ => 0.6,
        };
        let close = |s: &Script| (s.keys[0].1 - x).hypot(s.keys[0].2 - y) < room(s.kind) + room(kind);
        if !scripts.iter().any(close) && y > room(kind) + 3.0 {
            scripts.push(standing(rng, kind, x, y));
        }
    }
    let markings = (0..rng.below(5)).map(|_| stripe(rng)).collect();
    let mount = Mount {
        eye: V3(0.0, 0.0, height),
        yaw: rng.range(-0.25, 0.25),
        pitch: (height / rng.range(11.0, 24.0)).atan(),
        fov: rng.range(0.8, 1.45),
    };
    let light = Light::of(hour, rng.range(0.0, TAU), lamps);
    let paved = [rng.range(-40.0, -12.0), -30.0, rng.range(12.0, 40.0), rng.range(35.0, 80.0)];
    let rain = rng.chance(0.15);
    let seed = rng.bits();
    let beside: Vec<Script> = scripts.iter().filter_map(|s| beside(rng, s)).collect();
    scripts.extend(beside);
    Scene { mount, light, rain, props, markings, paved, scripts, period: 1.0, zones: Vec::new(), seed }
}

/// Half the length and half the width of what people work at, metres.
fn half_size(kind: Kind) -> Option<(f32, f32)> {
    match kind {
        Kind::Truck => Some((6.3, 1.25)),
        Kind::Bus => Some((5.6, 1.25)),
        Kind::Container => Some((3.0, 1.22)),
        Kind::Car => Some((2.2, 0.9)),
        _ => None,
    }
}

/// Somebody close to the side of a vehicle or container: an inspection is nothing else, and a detector that never saw it takes
/// legs for a part of the wheels.
fn beside(rng: &mut Rng, at: &Script) -> Option<Script> {
    let (length, width) = half_size(at.kind)?;
    if !rng.chance(0.6) {
        return None;
    }
    let kind = if rng.chance(0.85) { Kind::Person } else { [Kind::TwoWheeler, Kind::Forklift][rng.below(2)] };
    let gap = if kind == Kind::Forklift { rng.range(1.0, 2.5) } else { rng.range(0.35, 1.6) };
    let (along, aside) = (rng.range(-length, length), (width + gap) * if rng.chance(0.5) { 1.0 } else { -1.0 });
    let (_, x, y) = at.keys[0];
    let (sin, cos) = at.rest.sin_cos();
    let (x, y) = (x + along * cos - aside * sin, y + along * sin + aside * cos);
    // Not in the camera's face.
    (y > 3.5).then(|| standing(rng, kind, x, y))
}

fn standing(rng: &mut Rng, kind: Kind, x: f32, y: f32) -> Script {
    // The phase of a walk comes from the way travelled, so a walker gets a short way behind it.
    let colour = match kind {
        Kind::Person if rng.chance(0.4) => [[0.85, 0.9, 0.15], [0.95, 0.5, 0.1]][rng.below(2)],
        Kind::Forklift => [[0.9, 0.65, 0.1], [0.8, 0.3, 0.1], [0.3, 0.5, 0.3]][rng.below(3)],
        _ => PAINTS[rng.below(10)],
    };
    let rest =
        if rng.chance(0.6) { rng.below(4) as f32 * FRAC_PI_2 + rng.range(-0.15, 0.15) } else { rng.range(0.0, TAU) };
    let way = rng.range(0.05, 1.5);
    let keys = match kind {
        Kind::Person | Kind::TwoWheeler => vec![
            (-1.0, x - rest.cos() * way, y - rest.sin() * way),
            (0.0, x, y),
            (1.0, x + rest.cos() * way, y + rest.sin() * way),
        ],
        _ => vec![(0.0, x, y)],
    };
    let open = if rng.chance(0.25) { vec![(0.0, rng.range(0.3, 1.0))] } else { Vec::new() };
    Script { kind, colour, second: PAINTS[rng.below(10)], keys, open, rest }
}

fn stripe(rng: &mut Rng) -> Marking {
    let (x, y, w, l) = (rng.range(-10.0, 10.0), rng.range(4.0, 25.0), rng.range(0.12, 0.4), rng.range(3.0, 40.0));
    let (dx, dy) = if rng.chance(0.6) { (w, l) } else { (l * 0.4, w) };
    let colour = if rng.chance(0.7) { [0.85, 0.85, 0.82] } else { [0.85, 0.68, 0.12] };
    Marking { corners: vec![(x, y), (x + dx, y), (x + dx, y + dy), (x, y + dy)], colour }
}

/// A thing that stands still.
#[must_use]
pub fn prop(kind: Kind, at: (f32, f32), heading: f32, colour: Rgb) -> Actor {
    Actor { id: 0, kind, at, heading, colour, second: [0.35, 0.36, 0.4], phase: 0.0, open: 0.0, scale: 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_seen_close_to_vehicles_in_some_pictures() {
        let scenes: Vec<Scene> = (0..200).map(|n| random_scene(&mut Rng(n))).collect();
        let near = |s: &Scene| {
            let vehicles = s.scripts.iter().filter(|v| matches!(v.kind, Kind::Truck | Kind::Bus));
            let close = |v: &Script| {
                let people = s.scripts.iter().filter(|p| p.kind == Kind::Person);
                let (sin, cos) = v.rest.sin_cos();
                people.map(|p| (p.keys[0].1 - v.keys[0].1, p.keys[0].2 - v.keys[0].2)).any(|(dx, dy)| {
                    let (along, aside) = (dx * cos + dy * sin, dy * cos - dx * sin);
                    along.abs() < 8.0 && (1.2..5.0).contains(&aside.abs())
                })
            };
            vehicles.into_iter().any(close)
        };
        let with = scenes.iter().filter(|s| near(s)).count();
        assert!(with > 40, "{with} of 200");
    }
}
