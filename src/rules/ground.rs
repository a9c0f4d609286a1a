//! Where the ground was seen since the camera came: what stands where nobody has seen it bare stood there before, also when
//! it stood behind something else.

use super::crowd::Picture;
use super::presence::Sight;
use crate::clock::MonoMillis;
use crate::geometry::{Point, Rect};

/// Patches across and down the picture.
const ACROSS: usize = 48;
const DOWN: usize = 27;
/// A patch that nothing covers for so long, milliseconds, is seen bare: it takes a moment until what stands there is found.
const BARE_MS: i64 = 2000;

/// The patches of one camera's picture, row by row; none before the first picture.
#[derive(Debug, Clone, Default)]
pub(super) struct Ground(Vec<Patch>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Patch {
    /// Something has stood in front of it from the first picture on.
    Covered,
    /// Nothing does, since then.
    Bare(MonoMillis),
    /// It was seen bare.
    Seen,
}

impl Ground {
    /// Takes what was seen in a frame.
    pub fn see(&mut self, picture: &Picture, now: Sight) {
        self.0.resize(ACROSS * DOWN, Patch::Covered);
        for (i, patch) in self.0.iter_mut().enumerate().filter(|(_, p)| **p != Patch::Seen) {
            let middle = middle(i, picture.size);
            let is_covered = picture.boxes.iter().any(|(_, r)| holds(r, middle));
            *patch = match *patch {
                _ if is_covered => Patch::Covered,
                Patch::Bare(since) if now.mono.since(since) >= BARE_MS => Patch::Seen,
                Patch::Covered => Patch::Bare(now.mono),
                other => other,
            };
        }
    }

    /// Whether most of a place, pixels of a picture of `size`, was never seen bare.
    pub fn is_unseen(&self, place: &Rect, size: (u32, u32)) -> bool {
        let patches: Vec<bool> = self
            .0
            .iter()
            .enumerate()
            .filter(|(i, _)| holds(place, middle(*i, size)))
            .map(|(_, patch)| *patch != Patch::Seen)
            .collect();
        match patches.len() {
            // Smaller than a patch.
            0 => self.nearest(place.center(), size).is_none_or(|p| p != Patch::Seen),
            n => patches.into_iter().filter(|unseen| *unseen).count() * 2 > n,
        }
    }

    fn nearest(&self, p: Point, (width, height): (u32, u32)) -> Option<Patch> {
        let index = |v: f32, of: u32, count: usize| {
            let share = (v / of.max(1) as f32).clamp(0.0, 1.0);
            ((share * count as f32) as usize).min(count - 1)
        };
        self.0.get(index(p.y, height, DOWN) * ACROSS + index(p.x, width, ACROSS)).copied()
    }
}

fn middle(i: usize, (width, height): (u32, u32)) -> Point {
    let at = |n: usize, of: u32, count: usize| (n as f32 + 0.5) / count as f32 * of as f32;
    Point { x: at(i % ACROSS, width, ACROSS), y: at(i / ACROSS, height, DOWN) }
}

fn holds(r: &Rect, p: Point) -> bool {
    (r.x0..r.x1).contains(&p.x) && (r.y0..r.y1).contains(&p.y)
}
