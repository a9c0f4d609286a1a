//! Three-dimensional points, a pinhole camera over a ground plane, and a small repeatable random source.
//! World: x to the right, y away from the camera, z up, metres. No drawing here.

use crate::geometry::Point;

/// A point or direction in metres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct V3(pub f32, pub f32, pub f32);

impl V3 {
    /// Difference.
    #[must_use]
    pub fn minus(self, o: Self) -> Self {
        Self(self.0 - o.0, self.1 - o.1, self.2 - o.2)
    }
    /// Scalar product.
    #[must_use]
    pub fn dot(self, o: Self) -> f32 {
        self.0 * o.0 + self.1 * o.1 + self.2 * o.2
    }
    /// Vector product.
    #[must_use]
    pub fn cross(self, o: Self) -> Self {
        Self(self.1 * o.2 - self.2 * o.1, self.2 * o.0 - self.0 * o.2, self.0 * o.1 - self.1 * o.0)
    }
    /// Length in metres.
    #[must_use]
    pub fn len(self) -> f32 {
        self.dot(self).sqrt()
    }
    /// Same direction, length one; a zero vector stays zero.
    #[must_use]
    pub fn unit(self) -> Self {
        let l = self.len().max(1e-6);
        Self(self.0 / l, self.1 / l, self.2 / l)
    }
    /// The point a fraction `t` of the way to `o`.
    #[must_use]
    pub fn toward(self, o: Self, t: f32) -> Self {
        Self(self.0 + (o.0 - self.0) * t, self.1 + (o.1 - self.1) * t, self.2 + (o.2 - self.2) * t)
    }
}

/// Nearer than this (metres) nothing is drawn.
const NEAR: f32 = 0.4;

/// A pinhole camera without lens distortion.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Where it hangs.
    pub eye: V3,
    right: V3,
    up: V3,
    forward: V3,
    focal: f32,
    /// Picture size in pixels.
    pub size: (f32, f32),
}

impl View {
    /// Camera `eye` looking `yaw` radians to the right of +y and `pitch` radians down, horizontal field `fov` radians.
    #[must_use]
    pub fn new(eye: V3, yaw: f32, pitch: f32, fov: f32, size: (u32, u32)) -> Self {
        let forward = V3(yaw.sin() * pitch.cos(), yaw.cos() * pitch.cos(), -pitch.sin());
        let right = V3(yaw.cos(), -yaw.sin(), 0.0);
        let size = (size.0 as f32, size.1 as f32);
        Self { eye, right, up: right.cross(forward), forward, focal: size.0 / 2.0 / (fov / 2.0).tan(), size }
    }

    /// Distance along the optical axis, metres.
    #[must_use]
    pub fn depth(&self, p: V3) -> f32 {
        p.minus(self.eye).dot(self.forward)
    }

    /// Pixel of a point in front of the camera.
    #[must_use]
    pub fn pixel(&self, p: V3) -> Option<Point> {
        let d = p.minus(self.eye);
        let z = d.dot(self.forward);
        (z >= NEAR * 0.99).then(|| Point {
            x: self.size.0 / 2.0 + d.dot(self.right) * self.focal / z,
            y: self.size.1 / 2.0 - d.dot(self.up) * self.focal / z,
        })
    }

    /// Outline of a flat polygon in the picture, cut at the near plane; empty when all is behind.
    #[must_use]
    pub fn outline(&self, pts: &[V3]) -> Vec<Point> {
        let mut out = Vec::with_capacity(pts.len() + 2);
        for (i, &a) in pts.iter().enumerate() {
            let b = pts[(i + 1) % pts.len()];
            let (da, db) = (self.depth(a), self.depth(b));
            if da >= NEAR {
                out.extend(self.pixel(a));
            }
            if (da >= NEAR) != (db >= NEAR) {
                out.extend(self.pixel(a.toward(b, (NEAR - da) / (db - da))));
            }
        }
        out
    }

    /// Where the ray through a pixel meets the ground, `None` above the horizon.
    #[must_use]
    pub fn ground(&self, x: f32, y: f32) -> Option<(f32, f32)> {
        let (u, v) = ((x - self.size.0 / 2.0) / self.focal, (self.size.1 / 2.0 - y) / self.focal);
        let dir = |r: f32, up: f32, f: f32| f + r * u + up * v;
        let dz = dir(self.right.2, self.up.2, self.forward.2);
        if dz > -1e-3 {
            return None;
        }
        let t = -self.eye.2 / dz;
        let gx = self.eye.0 + t * dir(self.right.0, self.up.0, self.forward.0);
        Some((gx, self.eye.1 + t * dir(self.right.1, self.up.1, self.forward.1)))
    }
}

/// SplitMix64: the same numbers on every machine and in every version, which a general crate does not promise.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// Uniform in `lo..hi`.
    pub fn range(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * ((self.bits() >> 40) as f32 / (1u32 << 24) as f32)
    }
    /// Uniform in `0..n`; `n` above 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }
    /// True with this probability.
    pub fn chance(&mut self, p: f32) -> bool {
        self.range(0.0, 1.0) < p
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ground_point_comes_back_through_its_pixel() {
        let view = View::new(V3(1.0, -2.0, 6.0), 0.2, 0.4, 1.1, (640, 360));
        let p = view.pixel(V3(3.0, 12.0, 0.0)).unwrap();
        let (x, y) = view.ground(p.x, p.y).unwrap();
        assert!((x - 3.0).abs() < 0.01 && (y - 12.0).abs() < 0.01, "{x} {y}");
        assert!(view.pixel(V3(0.0, -20.0, 0.0)).is_none(), "behind the camera");
    }
}
