//! The motion model: centre and size of a box, each with its speed, each a filter of its own. Time in seconds, lengths
//! in pixels; uncertainties grow with the size of the box.

use crate::geometry::Rect;

/// How much smaller a side is guessed at most at the next sight.
const SHRINKS: f32 = 0.75;
/// How much larger.
const GROWS: f32 = 1.35;

/// One measured length and its speed.
#[derive(Debug, Clone, Copy)]
struct Axis {
    at: f32,
    speed: f32,
    p: [f32; 3],
}

impl Axis {
    fn new(at: f32, deviation: f32, speed_deviation: f32) -> Self {
        Self { at, speed: 0.0, p: [deviation * deviation, 0.0, speed_deviation * speed_deviation] }
    }

    fn predict(&mut self, dt: f32, acceleration: f32) {
        self.at += self.speed * dt;
        let [a, b, c] = self.p;
        let q = acceleration * acceleration;
        self.p =
            [a + 2.0 * dt * b + dt * dt * c + q * dt.powi(4) / 4.0, b + dt * c + q * dt.powi(3) / 2.0, c + q * dt * dt];
    }

    fn update(&mut self, measured: f32, deviation: f32) {
        let [a, b, c] = self.p;
        let s = a + deviation * deviation;
        let (k, l) = (a / s, b / s);
        let off = measured - self.at;
        self.at += k * off;
        self.speed += l * off;
        self.p = [(1.0 - k) * a, (1.0 - k) * b, c - l * b];
    }
}

/// Filter of one box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Motion {
    x: Axis,
    y: Axis,
    w: Axis,
    h: Axis,
}

impl Motion {
    /// A box just seen, speed unknown: up to some of its own sizes a second.
    pub(super) fn new(r: &Rect) -> Self {
        let (c, s) = (r.center(), size(r));
        let (deviation, speed) = (0.08 * s, 2.5 * s);
        Self {
            x: Axis::new(c.x, deviation, speed),
            y: Axis::new(c.y, deviation, speed),
            w: Axis::new(r.width(), deviation, 0.3 * s),
            h: Axis::new(r.height(), deviation, 0.3 * s),
        }
    }

    /// Moves on by `dt` seconds. A box not seen keeps its size: a shrinking guess matches nothing. Nor does one that is
    /// seen change its size much until the next sight: people swing their arms and legs, and would be guessed away.
    pub(super) fn predict(&mut self, dt: f32, seen: bool) {
        let s = size(&self.rect());
        let (w, h) = (self.w.at, self.h.at);
        if !seen {
            (self.w.speed, self.h.speed) = (0.0, 0.0);
        }
        self.x.predict(dt, 1.5 * s);
        self.y.predict(dt, 1.5 * s);
        self.w.predict(dt, 0.5 * s);
        self.h.predict(dt, 0.5 * s);
        self.w.at = self.w.at.clamp(w * SHRINKS, w * GROWS).max(1.0);
        self.h.at = self.h.at.clamp(h * SHRINKS, h * GROWS).max(1.0);
    }

    /// Takes in a measured box; a weak one counts less.
    pub(super) fn update(&mut self, r: &Rect, score: f32) {
        let (c, s) = (r.center(), size(r));
        let deviation = 0.05 * s * (2.0 - score.clamp(0.0, 1.0));
        self.x.update(c.x, deviation);
        self.y.update(c.y, deviation);
        self.w.update(r.width(), deviation);
        self.h.update(r.height(), deviation);
        self.w.at = self.w.at.max(1.0);
        self.h.at = self.h.at.max(1.0);
    }

    /// How fast its middle moves, pixels a second.
    pub(super) fn speed(&self) -> f32 {
        self.x.speed.hypot(self.y.speed)
    }

    /// The box as the filter sees it.
    pub(super) fn rect(&self) -> Rect {
        let (w, h) = (self.w.at / 2.0, self.h.at / 2.0);
        Rect { x0: self.x.at - w, y0: self.y.at - h, x1: self.x.at + w, y1: self.y.at + h }
    }
}

/// Side of the square of the same area, at least a pixel.
pub(super) fn size(r: &Rect) -> f32 {
    r.area().sqrt().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_movement_is_learnt_in_a_few_uneven_steps() {
        let at = |t: f32| Rect::from([100.0 * t, 0.0, 100.0 * t + 50.0, 50.0]);
        let mut m = Motion::new(&at(0.0));
        let mut t = 0.0;
        for dt in [0.2, 0.25, 0.15, 0.2, 0.4, 0.2] {
            t += dt;
            m.predict(dt, true);
            m.update(&at(t), 0.9);
        }
        m.predict(0.5, true);
        assert!(m.rect().iou(&at(t + 0.5)) > 0.8, "{:?}", m.rect());
    }
}
