//! The picture without anything that moves: sky, hills, grass, asphalt and its paint. Drawn once per camera.

use tiny_skia::{BlendMode, FillRule, Paint, PathBuilder, Pixmap, Transform};

use super::light::Hour;
use super::mesh::Rgb;
use super::scene::Scene;
use super::space::{V3, View};
use crate::geometry::Point;

/// Fills a closed outline.
pub fn fill(canvas: &mut Pixmap, outline: &[Point], colour: Rgb, alpha: f32, blend: BlendMode) {
    let [first, rest @ ..] = outline else { return };
    let mut path = PathBuilder::new();
    path.move_to(first.x, first.y);
    rest.iter().for_each(|p| path.line_to(p.x, p.y));
    path.close();
    let Some(path) = path.finish() else { return };
    // Edge-on faces have no area; the canvas would warn of each.
    if path.bounds().width() < 1e-3 || path.bounds().height() < 1e-3 {
        return;
    }
    let mut paint = Paint { blend_mode: blend, ..Paint::default() };
    let byte = |v: f32| (v.clamp(0.0, 1.0) * 255.0) as u8;
    paint.set_color_rgba8(byte(colour[0]), byte(colour[1]), byte(colour[2]), byte(alpha));
    canvas.fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
}

/// Repeatable noise of a grid cell, 0..1.
fn cell(x: i32, y: i32, seed: u32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x8da6_b343) ^ (y as u32).wrapping_mul(0xd816_3841) ^ seed;
    h = (h ^ (h >> 13)).wrapping_mul(0x5bd1_e995);
    ((h ^ (h >> 15)) & 0xffff) as f32 / 65535.0
}

/// Smooth noise, 0..1.
fn smooth(x: f32, y: f32, seed: u32) -> f32 {
    let (ix, iy) = (x.floor(), y.floor());
    let ease = |f: f32| f * f * (3.0 - 2.0 * f);
    let (fx, fy) = (ease(x - ix), ease(y - iy));
    let c = |dx: i32, dy: i32| cell(ix as i32 + dx, iy as i32 + dy, seed);
    let low = c(0, 0) + (c(1, 0) - c(0, 0)) * fx;
    let high = c(0, 1) + (c(1, 1) - c(0, 1)) * fx;
    low + (high - low) * fy
}

/// The whole background.
#[must_use]
pub fn background(scene: &Scene, view: &View) -> Option<Pixmap> {
    let (w, h) = (view.size.0 as u32, view.size.1 as u32);
    let mut canvas = Pixmap::new(w, h)?;
    for y in 0..h {
        for x in 0..w {
            let c = pixel(scene, view, x as f32 + 0.5, y as f32 + 0.5);
            let at = ((y * w + x) * 4) as usize;
            let out = &mut canvas.data_mut()[at..at + 4];
            (0..3).for_each(|i| out[i] = (c[i].clamp(0.0, 1.0) * 255.0) as u8);
            out[3] = 255;
        }
    }
    paint_markings(scene, view, &mut canvas);
    fence(scene, view, &mut canvas);
    Some(canvas)
}

fn pixel(scene: &Scene, view: &View, x: f32, y: f32) -> Rgb {
    match view.ground(x, y) {
        Some((gx, gy)) if (gx - view.eye.0).hypot(gy - view.eye.1) < 160.0 => surface(scene, view, gx, gy),
        other => {
            let up = if other.is_some() { 0.0 } else { view.ground(x, y + view.size.1 * 0.5).map_or(0.8, |_| 0.35) };
            let seed = scene.seed as u32;
            let hill =
                0.1 * smooth(x / view.size.0 * 6.0, 0.0, seed) + 0.04 * smooth(x / view.size.0 * 23.0, 9.0, seed);
            let below = view.ground(x, y + view.size.1 * hill).is_some();
            if below {
                scene.light.shade([0.33, 0.42, 0.36], V3(0.0, 200.0, 0.0), V3(0.0, 0.0, 1.0))
            } else {
                scene.light.sky(up)
            }
        }
    }
}

fn surface(scene: &Scene, view: &View, gx: f32, gy: f32) -> Rgb {
    let seed = scene.seed as u32;
    let [x0, y0, x1, y1] = scene.paved;
    let fine = smooth(gx * 9.0, gy * 9.0, seed) - 0.5;
    let broad = smooth(gx * 0.35, gy * 0.35, seed ^ 7) - 0.5;
    let colour = if gx < x0 || gx > x1 || gy < y0 || gy > y1 {
        let edge = (x0 - gx).max(gx - x1).max(gy - y1);
        let kerb = if edge < 0.4 { [0.62, 0.61, 0.58] } else { [0.3, 0.38, 0.2] };
        kerb.map(|v| v + 0.12 * fine + 0.1 * broad)
    } else {
        let seam = if gy.rem_euclid(6.0) < 0.07 || gx.rem_euclid(7.0) < 0.06 { -0.05 } else { 0.0 };
        let oil = (smooth(gx * 0.9, gy * 0.5, seed ^ 99) - 0.72).max(0.0) * -0.5;
        let wet = if scene.rain { 0.75 } else { 1.0 };
        [0.42, 0.42, 0.41].map(|v| (v + 0.09 * fine + 0.09 * broad + seam + oil) * wet)
    };
    let lit = scene.light.shade(colour, V3(gx, gy, 0.0), V3(0.0, 0.0, 1.0));
    let far = ((gx - view.eye.0).hypot(gy - view.eye.1) / 160.0).clamp(0.0, 1.0).powi(2) * 0.6;
    let haze = scene.light.sky(0.0);
    [0, 1, 2].map(|i| lit[i] + (haze[i] - lit[i]) * far)
}

fn paint_markings(scene: &Scene, view: &View, canvas: &mut Pixmap) {
    for m in &scene.markings {
        let pts: Vec<V3> = m.corners.iter().map(|c| V3(c.0, c.1, 0.0)).collect();
        let colour = scene.light.shade(m.colour, pts[0], V3(0.0, 0.0, 1.0));
        fill(canvas, &view.outline(&pts), colour, 0.8, BlendMode::SourceOver);
    }
}

/// Posts and rails behind the paved ground.
fn fence(scene: &Scene, view: &View, canvas: &mut Pixmap) {
    let [x0, _, x1, y1] = scene.paved;
    let dim = if scene.light.hour == Hour::Night { 0.6 } else { 1.0 };
    let colour = scene.light.shade([0.55 * dim, 0.56 * dim, 0.58 * dim], V3(0.0, y1, 0.0), V3(0.0, -1.0, 0.0));
    let mut wall = |a: (f32, f32), b: (f32, f32), alpha: f32| {
        let quad = [V3(a.0, y1 + 1.0, a.1), V3(b.0, y1 + 1.0, a.1), V3(b.0, y1 + 1.0, b.1), V3(a.0, y1 + 1.0, b.1)];
        fill(canvas, &view.outline(&quad), colour, alpha, BlendMode::SourceOver);
    };
    wall((x0, 0.0), (x1, 2.4), 0.35);
    wall((x0, 2.3), (x1, 2.45), 0.9);
    let posts = ((x1 - x0) / 3.0) as i32;
    (0..=posts).map(|i| x0 + i as f32 * 3.0).for_each(|x| wall((x - 0.06, 0.0), (x + 0.06, 2.6), 1.0));
}
