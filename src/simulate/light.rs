//! What shines on a scene: sun, sky, lamp posts, by the hour. No drawing.

use super::mesh::Rgb;
use super::space::V3;

/// Time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hour {
    /// Sun and shadows.
    Day,
    /// Grey, before the lamps win.
    Dusk,
    /// Lamps and headlamps only.
    Night,
}

/// Light of one scene.
#[derive(Debug, Clone)]
pub struct Light {
    /// Time of day.
    pub hour: Hour,
    ambient: f32,
    sun: f32,
    /// Direction towards the sun.
    pub toward: V3,
    tint: Rgb,
    lamps: Vec<(f32, f32)>,
}

impl Light {
    /// The light of an hour; `turn` (radians) says where the sun stands, `lamps` where posts stand.
    #[must_use]
    pub fn of(hour: Hour, turn: f32, lamps: Vec<(f32, f32)>) -> Self {
        let (ambient, sun, tint) = match hour {
            Hour::Day => (0.62, 0.45, [1.0, 0.99, 0.95]),
            Hour::Dusk => (0.42, 0.12, [0.95, 0.9, 0.95]),
            Hour::Night => (0.13, 0.0, [0.92, 0.9, 1.0]),
        };
        let toward = V3(turn.cos(), turn.sin(), 1.3).unit();
        Self { hour, ambient, sun, toward, tint, lamps }
    }

    /// Light that arrives from all sides at a place, about 0.1..1.2.
    #[must_use]
    pub fn around(&self, x: f32, y: f32) -> f32 {
        let strength = match self.hour {
            Hour::Day => return self.ambient,
            Hour::Dusk => 0.18,
            Hour::Night => 0.55,
        };
        let lamps: f32 = self.lamps.iter().map(|l| 1.0 / (1.0 + ((x - l.0).powi(2) + (y - l.1).powi(2)) / 60.0)).sum();
        self.ambient + strength * lamps.min(1.3)
    }

    /// A surface colour as seen, for a surface at (x, y) with this normal.
    #[must_use]
    pub fn shade(&self, colour: Rgb, at: V3, normal: V3) -> Rgb {
        // Without sun a little difference between sides still shows the shape.
        let shape = 0.86 + 0.14 * normal.2.max(0.0) - 0.08 * normal.1.abs();
        let k = self.around(at.0, at.1) * shape + self.sun * normal.dot(self.toward).max(0.0);
        [0, 1, 2].map(|i| (colour[i] * k * self.tint[i]).clamp(0.0, 1.0))
    }

    /// Sky colour at a height above the horizon, 0..1.
    #[must_use]
    pub fn sky(&self, height: f32) -> Rgb {
        let (low, high) = match self.hour {
            Hour::Day => ([0.82, 0.87, 0.91], [0.45, 0.63, 0.84]),
            Hour::Dusk => ([0.66, 0.5, 0.42], [0.25, 0.28, 0.4]),
            Hour::Night => ([0.06, 0.06, 0.09], [0.02, 0.02, 0.04]),
        };
        [0, 1, 2].map(|i| low[i] + (high[i] - low[i]) * height.clamp(0.0, 1.0).sqrt())
    }

    /// How dark a cast shadow is, 0..1.
    #[must_use]
    pub fn shadow(&self) -> f32 {
        match self.hour {
            Hour::Day => 0.42,
            Hour::Dusk => 0.25,
            Hour::Night => 0.3,
        }
    }
}
