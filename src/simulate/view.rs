//! A pinhole camera over a ground plane: world metres (x right, y forward, z up) to pixels.

use crate::geometry::Point;

/// Nothing nearer than this is drawn, metres.
const NEAR: f32 = 0.4;

/// A point or direction in world metres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct V3 {
    /// Right.
    pub x: f32,
    /// Forward.
    pub y: f32,
    /// Up.
    pub z: f32,
}

/// Shorthand.
#[must_use]
pub const fn v3(x: f32, y: f32, z: f32) -> V3 {
    V3 { x, y, z }
}

impl V3 {
    /// Component by component.
    #[must_use]
    pub fn plus(self, o: Self) -> Self {
        v3(self.x + o.x, self.y + o.y, self.z + o.z)
    }

    /// Component by component.
    #[must_use]
    pub fn minus(self, o: Self) -> Self {
        v3(self.x - o.x, self.y - o.y, self.z - o.z)
    }

    /// Towards `o` by the fraction `f`.
    #[must_use]
    pub fn lerp(self, o: Self, f: f32) -> Self {
        v3(self.x + (o.x - self.x) * f, self.y + (o.y - self.y) * f, self.z + (o.z - self.z) * f)
    }

    /// Scalar product.
    #[must_use]
    pub fn dot(self, o: Self) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }

    /// Vector product.
    #[must_use]
    pub fn cross(self, o: Self) -> Self {
        v3(self.y * o.z - self.z * o.y, self.z * o.x - self.x * o.z, self.x * o.y - self.y * o.x)
    }

    /// Length 1, or zero if it was zero.
    #[must_use]
    pub fn unit(self) -> Self {
        let n = self.dot(self).sqrt();
        if n > 0.0 { v3(self.x / n, self.y / n, self.z / n) } else { self }
    }
}

/// Where a camera stands and how it looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Position; `z` is the height of the mast.
    pub eye: V3,
    /// Turned to the right, radians; 0 looks along +y.
    pub yaw: f32,
    /// Tilted down, radians.
    pub pitch: f32,
    /// Focal length in picture heights.
    pub focal: f32,
    /// Picture size, pixels.
    pub width: u32,
    /// Picture size, pixels.
    pub height: u32,
}

impl View {
    /// Camera coordinates: x right, y down, z forward.
    #[must_use]
    pub fn to_camera(&self, p: V3) -> V3 {
        let d = p.minus(self.eye);
        let (sy, cy) = self.yaw.sin_cos();
        let (right, ahead) = (d.x * cy - d.y * sy, d.x * sy + d.y * cy);
        let (sp, cp) = self.pitch.sin_cos();
        v3(right, -d.z * cp - ahead * sp, ahead * cp - d.z * sp)
    }

    fn on_picture(&self, c: V3) -> Point {
        let f = self.focal * self.height as f32;
        Point { x: self.width as f32 / 2.0 + f * c.x / c.z, y: self.height as f32 / 2.0 + f * c.y / c.z }
    }

    /// Pixel position and depth in metres of a world point; `None` behind the camera.
    #[must_use]
    pub fn project(&self, p: V3) -> Option<(Point, f32)> {
        let c = self.to_camera(p);
        (c.z > NEAR).then(|| (self.on_picture(c), c.z))
    }

    /// A polygon cut at the near plane (Sutherland-Hodgman), in pixels. Empty when all of it is behind.
    #[must_use]
    pub fn polygon(&self, points: &[V3]) -> Vec<Point> {
        let cam: Vec<V3> = points.iter().map(|p| self.to_camera(*p)).collect();
        let mut out = Vec::with_capacity(cam.len() + 1);
        for (i, a) in cam.iter().enumerate() {
            let b = cam[(i + 1) % cam.len()];
            if a.z > NEAR {
                out.push(self.on_picture(*a));
            }
            if (a.z > NEAR) != (b.z > NEAR) {
                out.push(self.on_picture(a.lerp(b, (NEAR - a.z) / (b.z - a.z))));
            }
        }
        out
    }

    /// The point of the ground under a pixel; `None` at and above the horizon.
    #[must_use]
    pub fn ground_at(&self, px: f32, py: f32) -> Option<V3> {
        let f = self.focal * self.height as f32;
        let (x, y) = ((px - self.width as f32 / 2.0) / f, (py - self.height as f32 / 2.0) / f);
        let (sp, cp) = self.pitch.sin_cos();
        let (down, ahead) = (y * cp + sp, cp - y * sp);
        if down <= 1e-4 {
            return None;
        }
        let k = self.eye.z / down;
        let (sy, cy) = self.yaw.sin_cos();
        Some(v3(self.eye.x + k * (x * cy + ahead * sy), self.eye.y + k * (ahead * cy - x * sy), 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ground_and_projection_are_inverse() {
        let view = View { eye: v3(1.0, -2.0, 6.0), yaw: 0.3, pitch: 0.4, focal: 1.1, width: 960, height: 540 };
        let (p, depth) = view.project(v3(3.0, 12.0, 0.0)).unwrap();
        let back = view.ground_at(p.x, p.y).unwrap();
        assert!((back.x - 3.0).abs() < 1e-2 && (back.y - 12.0).abs() < 1e-2, "{back:?}");
        assert!(depth > 10.0);
        assert_eq!(view.ground_at(480.0, -2000.0), None, "the sky has no ground");
    }

    #[test]
    fn a_polygon_reaching_behind_the_camera_is_cut_not_mirrored() {
        let view = View { eye: v3(0.0, 0.0, 5.0), yaw: 0.0, pitch: 0.3, focal: 1.0, width: 100, height: 100 };
        let strip = view.polygon(&[v3(-1., -10., 0.), v3(1., -10., 0.), v3(1., 30., 0.), v3(-1., 30., 0.)]);
        assert!(strip.len() >= 4 && strip.iter().all(|p| p.x.is_finite() && p.y.is_finite()));
        assert!(view.polygon(&[v3(0., -9., 0.), v3(1., -9., 0.), v3(0., -8., 0.)]).is_empty());
    }
}
