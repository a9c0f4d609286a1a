//! Pictures of scenes, and what light, weather and vehicles make of them without anything being wrong with the camera.
//! A view draws the packed I420 picture of a second; views are put around each other.

use super::SIZE;
use super::play::Filled;
use crate::clock::UtcMillis;
use crate::simulate::Renderer;
use crate::simulate::light::Hour;
use crate::simulate::mesh::Kind;
use crate::simulate::scenarios::Scenario;
use crate::simulate::scene::{Key, Scene, Script};
use crate::simulate::space::{Rng, V3};

/// Draws the picture of a second.
pub type View = Box<dyn FnMut(f64) -> Vec<u8>>;

/// A scene as it is drawn.
pub(super) fn plain(scene: Scene) -> Result<View, String> {
    let mut renderer = Renderer::new(scene, SIZE)?;
    Ok(Box::new(move |t| {
        renderer.draw(t, UtcMillis(0));
        renderer.i420()
    }))
}

/// What a tracker that finds every thing of a scene says of how much of the picture the largest one covers.
pub(super) fn largest(scene: Scene) -> Result<Filled, String> {
    let mut renderer = Renderer::new(scene, SIZE)?;
    Ok(Box::new(move |t| {
        let all = renderer.truth(t, UtcMillis(0)).objects;
        all.iter().map(|o| o.rect.area() / (SIZE.0 * SIZE.1) as f32).fold(0.0, f32::max)
    }))
}

/// A camera low beside a lane in front of which trucks pass so near that they fill the picture: (seconds, x) of each.
pub(super) fn low_gate(seed: u64, hour: Hour, rain: bool, trucks: &[Vec<(f32, f32)>], period: f32) -> Scene {
    let mut scene = Scenario::Lane.scene(seed, hour, rain);
    (scene.mount.eye, scene.mount.pitch) = (V3(-5.5, 0.0, 2.6), 0.05);
    let rounds = (period / scene.period).ceil() as usize;
    let (once, length) = (scene.scripts.clone(), scene.period);
    scene.scripts = (0..rounds).flat_map(|r| once.iter().map(move |s| later(s, r as f32 * length))).collect();
    scene.scripts.extend(trucks.iter().enumerate().map(|(i, way)| near_truck(i, way)));
    scene.period = period;
    scene
}

fn later(script: &Script, by: f32) -> Script {
    let mut later = script.clone();
    later.keys.iter_mut().for_each(|k| k.0 += by);
    later.open.iter_mut().for_each(|k| k.0 += by);
    later
}

fn near_truck(i: usize, way: &[(f32, f32)]) -> Script {
    let keys: Vec<Key> = way.iter().map(|(t, x)| (*t, *x, 5.2)).collect();
    let colour = [[0.55, 0.16, 0.12], [0.16, 0.3, 0.5], [0.75, 0.74, 0.7]][i % 3];
    Script { kind: Kind::Truck, colour, second: [0.3, 0.3, 0.35], keys, open: Vec::new(), rest: 0.0 }
}

/// From one view to another between two seconds; at once when they are the same.
pub(super) fn fade(mut before: View, mut after: View, from: f64, to: f64) -> View {
    Box::new(move |t| {
        let share = if to > from { ((t - from) / (to - from)).clamp(0.0, 1.0) } else { f64::from(u8::from(t >= from)) };
        match share {
            s if s <= 0.0 => before(t),
            s if s >= 1.0 => after(t),
            s => {
                let weight = (s * 256.0) as u32;
                let (a, b) = (before(t), after(t));
                let mix = |(a, b): (&u8, &u8)| ((u32::from(*a) * (256 - weight) + u32::from(*b) * weight) / 256) as u8;
                a.iter().zip(&b).map(mix).collect()
            }
        }
    })
}

/// Clouds: the light of the whole picture wanders by `share` up and down.
pub(super) fn clouds(mut view: View, share: f64) -> View {
    Box::new(move |t| {
        let factor = 1.0 + share * ((t / 17.0).sin() + (t / 5.3).sin()) / 2.0;
        let mut picture = view(t);
        for p in luma(&mut picture) {
            *p = (16.0 + (f64::from(*p) - 16.0) * factor).clamp(16.0, 235.0) as u8;
        }
        picture
    })
}

/// Headlamps that shine into the camera: a white spot with a wide glow, of `size` (share of the picture's width), for
/// `lasts` seconds every `every`.
pub(super) fn glare(mut view: View, size: f64, every: f64, lasts: f64) -> View {
    Box::new(move |t| {
        let mut picture = view(t);
        let phase = t % every;
        if phase >= lasts {
            return picture;
        }
        let (w, h) = (SIZE.0 as usize, SIZE.1 as usize);
        // Comes nearer: grows to its size.
        let radius = size * w as f64 * (0.3 + 0.7 * phase / lasts);
        let (cx, cy) = (w as f64 * (0.35 + 0.2 * phase / lasts), h as f64 * 0.5);
        for (i, p) in luma(&mut picture).iter_mut().enumerate() {
            let far = ((i % w) as f64 - cx).hypot((i / w) as f64 - cy) / radius;
            *p = (f64::from(*p) + 300.0 * (-far * far).exp()).min(235.0) as u8;
        }
        picture
    })
}

/// Wind in the pole: the picture shakes by a pixel or two.
pub(super) fn shaking(mut view: View) -> View {
    let mut rng = Rng(77);
    Box::new(move |t| {
        let mut picture = view(t);
        let (w, by) = (SIZE.0 as usize, rng.below(3));
        for row in luma(&mut picture).chunks_exact_mut(w) {
            row.copy_within(..w - by, by);
        }
        picture
    })
}

/// Something close in front of the lens from `from` on: grey, without an edge.
pub(super) fn cloth(mut view: View, level: f64, from: f64, to: f64) -> View {
    Box::new(move |t| {
        let mut picture = view(t);
        if t >= from && t < to {
            let w = SIZE.0 as usize;
            for (i, p) in luma(&mut picture).iter_mut().enumerate() {
                let slope = (i % w) as f64 / w as f64 * 30.0;
                *p = (level + slope + (f64::from(*p) - 100.0) / 40.0 + f64::from((i * 7919 % 5) as u8)) as u8;
            }
        }
        picture
    })
}

/// An insect on the lens: a dark blurred spot that wanders about.
pub(super) fn insect(mut view: View) -> View {
    Box::new(move |t| {
        let mut picture = view(t);
        let (w, h) = (SIZE.0 as usize, SIZE.1 as usize);
        let (cx, cy) = ((0.5 + 0.3 * (t / 9.0).sin()) * w as f64, (0.5 + 0.3 * (t / 7.0).cos()) * h as f64);
        for (i, p) in luma(&mut picture).iter_mut().enumerate() {
            let far = ((i % w) as f64 - cx).hypot((i / w) as f64 - cy) / (w as f64 * 0.12);
            *p = (16.0 + (f64::from(*p) - 16.0) * (1.0 - 0.9 * (-far * far).exp())) as u8;
        }
        picture
    })
}

fn luma(picture: &mut [u8]) -> &mut [u8] {
    &mut picture[..(SIZE.0 * SIZE.1) as usize]
}
