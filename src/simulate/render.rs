//! Draws one moment of a scene: shadows, then things from far to near, rain and sensor noise; tells the truth of the
//! very same picture. The still background is in `ground`, what is where in `scene`.

use tiny_skia::{BlendMode, Pixmap};

use super::ground::{background, fill};
use super::light::Hour;
use super::mesh::{Actor, Face, Kind, UNDER, faces};
use super::scene::Scene;
use super::space::{Rng, V3, View};
use super::truth::{TruthFrame, Watch, hull, objects};
use crate::clock::UtcMillis;
use crate::geometry::Point;

/// Noise values kept ready; rows start at random places in it.
const NOISE: usize = 1 << 16;

/// Draws pictures of one scene in one size.
pub struct Renderer {
    scene: Scene,
    view: View,
    still: Pixmap,
    noise: Vec<i8>,
    watch: Watch,
    canvas: Pixmap,
    rng: Rng,
}

/// A thing ready to be painted.
pub(super) struct Solid {
    pub actor: Actor,
    pub faces: Vec<Face>,
    /// Metres along the optical axis to its middle.
    pub depth: f32,
}

impl Renderer {
    /// Prepares a scene for pictures of `size` pixels.
    ///
    /// # Errors
    /// When the size is zero, odd or larger than 8192 in a direction.
    pub fn new(scene: Scene, size: (u32, u32)) -> Result<Self, String> {
        let fits = |v: u32| v > 0 && v <= 8192 && v.is_multiple_of(2);
        let refuse = || format!("cannot draw pictures of {}x{}: use even sizes from 2 to 8192", size.0, size.1);
        if !fits(size.0) || !fits(size.1) {
            return Err(refuse());
        }
        let view = scene.view(size);
        let still = background(&scene, &view).ok_or_else(refuse)?;
        let mut rng = Rng(scene.seed ^ 0x5eed);
        let strength = match scene.light.hour {
            Hour::Day => 3.0,
            Hour::Dusk => 5.0,
            Hour::Night => 7.0,
        };
        let noise = (0..NOISE).map(|_| ((0..3).map(|_| rng.range(-1.0, 1.0)).sum::<f32>() * strength) as i8).collect();
        let watch = Watch::new(scene.areas());
        Ok(Self { canvas: still.clone(), scene, view, still, noise, watch, rng })
    }

    /// Size in pixels.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.canvas.width(), self.canvas.height())
    }

    /// The scene that is drawn.
    #[must_use]
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// Draws the moment `seconds` after the start and tells what is in it; `utc` is the time written in the truth.
    /// What happened since is counted from the call before, so call in order of time.
    pub fn draw(&mut self, seconds: f64, utc: UtcMillis) -> TruthFrame {
        let solids = self.solids(seconds);
        self.canvas.data_mut().copy_from_slice(self.still.data());
        // The same moment looks the same, whatever was drawn before.
        self.rng = Rng(self.scene.seed ^ seconds.to_bits());
        solids.iter().for_each(|s| self.cast_shadow(s));
        if self.scene.light.hour != Hour::Day {
            solids.iter().for_each(|s| self.headlights(&s.actor));
        }
        solids.iter().for_each(|s| self.paint(s));
        if self.scene.rain {
            self.fall_rain();
        }
        self.tell(&solids, seconds, utc)
    }

    /// Tells what is in the picture of this moment without drawing it; else as [`Self::draw`].
    pub fn truth(&mut self, seconds: f64, utc: UtcMillis) -> TruthFrame {
        let solids = self.solids(seconds);
        self.tell(&solids, seconds, utc)
    }

    fn tell(&mut self, far_to_near: &[Solid], seconds: f64, utc: UtcMillis) -> TruthFrame {
        let objects = objects(&self.view, far_to_near);
        let happened = self.watch.step(&objects, self.size());
        TruthFrame { utc, t: seconds, size: self.size().into(), objects, happened }
    }

    /// What stands and moves at this moment, from far to near.
    fn solids(&self, seconds: f64) -> Vec<Solid> {
        let solid = |actor: Actor| {
            let depth = self.view.depth(V3(actor.at.0, actor.at.1, 0.5));
            Solid { faces: faces(&actor), actor, depth }
        };
        let mut solids: Vec<Solid> = self.scene.actors(seconds).into_iter().map(solid).collect();
        solids.sort_by(|a, b| b.depth.total_cmp(&a.depth));
        solids
    }

    fn cast_shadow(&mut self, s: &Solid) {
        let sun = if self.scene.light.hour == Hour::Day { self.scene.light.toward } else { V3(0.0, 0.0, 1.0) };
        let fall = |p: &V3| V3(p.0 - sun.0 / sun.2 * p.2, p.1 - sun.1 / sun.2 * p.2, 0.0);
        let flat: Vec<Point> =
            s.faces.iter().flat_map(|f| &f.pts).map(fall).map(|p| Point { x: p.0, y: p.1 }).collect();
        let ground: Vec<V3> = hull(flat).into_iter().map(|p| V3(p.x, p.y, 0.0)).collect();
        let strength = self.scene.light.shadow();
        fill(&mut self.canvas, &self.view.outline(&ground), [0.0; 3], strength, BlendMode::SourceOver);
    }

    /// Two cones of light on the ground in front of a vehicle.
    fn headlights(&mut self, a: &Actor) {
        let front = match a.kind {
            Kind::Truck => 6.2,
            Kind::Bus => 5.8,
            Kind::Car => 2.4,
            Kind::TwoWheeler => 1.0,
            _ => return,
        };
        let (s, c) = a.heading.sin_cos();
        let spot = |x: f32, y: f32| V3(a.at.0 + x * c - y * s, a.at.1 + x * s + y * c, 0.02);
        for step in 1..=8u8 {
            let length = f32::from(step) * 1.5;
            let half = 0.7 + length * 0.17;
            let cone = [spot(front, -0.6), spot(front + length, -half), spot(front + length, half), spot(front, 0.6)];
            fill(&mut self.canvas, &self.view.outline(&cone), [0.05, 0.048, 0.038], 1.0, BlendMode::Plus);
        }
    }

    fn paint(&mut self, s: &Solid) {
        let eye = self.view.eye;
        let mut order: Vec<(bool, f32, usize)> = Vec::with_capacity(s.faces.len());
        let mut i = 0;
        while i < s.faces.len() {
            let part = s.faces[i].part;
            let end = i + s.faces[i..].iter().take_while(|f| f.part == part).count();
            let far = middle(s.faces[i..end].iter().flat_map(|f| &f.pts)).minus(eye).len();
            order.extend((i..end).map(|k| (part < UNDER, far, k)));
            i = end;
        }
        order.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
        for (_, _, k) in order {
            self.paint_face(&s.faces[k], eye);
        }
    }

    fn paint_face(&mut self, f: &Face, eye: V3) {
        let normal = f.pts[1].minus(f.pts[0]).cross(f.pts[2].minus(f.pts[0])).unit();
        if normal.dot(eye.minus(f.pts[0])) <= 0.0 {
            return;
        }
        let shining = f.glow && self.scene.light.hour != Hour::Day;
        let colour = if shining { f.colour } else { self.scene.light.shade(f.colour, f.pts[0], normal) };
        fill(&mut self.canvas, &self.view.outline(&f.pts), colour, 1.0, BlendMode::SourceOver);
    }

    fn fall_rain(&mut self) {
        let (w, h) = (self.view.size.0, self.view.size.1);
        for _ in 0..140 {
            let (x, y) = (self.rng.range(0.0, w), self.rng.range(0.0, h));
            let l = self.rng.range(0.015, 0.05) * h;
            let p = |dx: f32, dy: f32| Point { x: x + dx, y: y + dy };
            let streak = [p(0.0, 0.0), p(1.1, 0.0), p(1.1 - l * 0.12, l), p(-l * 0.12, l)];
            fill(&mut self.canvas, &streak, [0.75, 0.78, 0.82], 0.3, BlendMode::SourceOver);
        }
    }

    /// The picture drawn last with sensor noise, packed RGB.
    pub fn rgb(&mut self) -> Vec<u8> {
        let w = self.canvas.width() as usize;
        let mut out = Vec::with_capacity(w * self.canvas.height() as usize * 3);
        for row in self.canvas.data().chunks_exact(w * 4) {
            let start = self.rng.below(NOISE);
            for (i, px) in row.chunks_exact(4).enumerate() {
                let n = i16::from(self.noise[(start + i) % NOISE]);
                out.extend(px[..3].iter().map(|v| (i16::from(*v) + n).clamp(0, 255) as u8));
            }
        }
        out
    }

    /// The picture drawn last with sensor noise, packed I420 in studio range: BT.601 matrix up to 576 lines, BT.709
    /// above.
    pub fn i420(&mut self) -> Vec<u8> {
        let (w, h) = (self.canvas.width() as usize, self.canvas.height() as usize);
        // Weights of 0.859 (219/255) in 16 bit fixed point; chroma scaled by 224/255.
        let (kr, kb): (f32, f32) = if h > 576 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let fixed = |v: f32| (v * 65536.0) as i32;
        let y_of = [kr, 1.0 - kr - kb, kb].map(|k| fixed(k * 219.0 / 255.0));
        let (cb, cr) = (fixed(224.0 / 255.0 / (2.0 * (1.0 - kb))), fixed(224.0 / 255.0 / (2.0 * (1.0 - kr))));
        let grey = [kr, 1.0 - kr - kb, kb].map(fixed);
        let mut out = vec![0u8; w * h + w * h / 2];
        let (luma, chroma) = out.split_at_mut(w * h);
        let (us, vs) = chroma.split_at_mut(w * h / 4);
        let data = self.canvas.data();
        for y in 0..h {
            let row = &data[y * w * 4..(y + 1) * w * 4];
            let start = self.rng.below(NOISE);
            for (i, (px, out)) in row.chunks_exact(4).zip(&mut luma[y * w..(y + 1) * w]).enumerate() {
                let v = y_of[0] * i32::from(px[0]) + y_of[1] * i32::from(px[1]) + y_of[2] * i32::from(px[2]);
                *out = ((v >> 16) + 16 + i32::from(self.noise[(start + i) & (NOISE - 1)])).clamp(16, 235) as u8;
            }
            if y % 2 == 0 {
                for (i, px) in row.chunks_exact(8).enumerate() {
                    let [r, g, b] = [px[0], px[1], px[2]].map(i32::from);
                    let l = (grey[0] * r + grey[1] * g + grey[2] * b) >> 16;
                    us[y / 2 * (w / 2) + i] = ((((b - l) * cb) >> 16) + 128).clamp(16, 240) as u8;
                    vs[y / 2 * (w / 2) + i] = ((((r - l) * cr) >> 16) + 128).clamp(16, 240) as u8;
                }
            }
        }
        out
    }
}

fn middle<'a>(pts: impl Iterator<Item = &'a V3>) -> V3 {
    let (sum, n) = pts.fold((V3(0.0, 0.0, 0.0), 0.0f32), |(s, n), p| (V3(s.0 + p.0, s.1 + p.1, s.2 + p.2), n + 1.0));
    V3(sum.0 / n.max(1.0), sum.1 / n.max(1.0), sum.2 / n.max(1.0))
}
