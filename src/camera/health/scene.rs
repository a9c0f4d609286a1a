//! Does the camera still look at what it was hung up to look at? Learns where edges usually are and compares each
//! picture with that. Edges, not brightness: they stay where they are from day to night.
//!
//! Three things take the known edges away. A *knock* moves them: the picture fits again at another place. A *cover*
//! replaces them by nothing: it hangs in front of the lens, out of focus, so no edge is left. A *truck* replaces them by
//! its own edges. A camera turned right round shows other edges, too; it is told from a truck by time: it is another
//! picture from one look to the next and then stands still, while a truck that is to stop in front of the lens comes in
//! over several looks and still rolls. Where that is not enough, the tracker knows that a vehicle fills the picture.

use std::collections::VecDeque;

use super::PICTURE_OLD_MS;
use super::luma::{self, Luma};
use crate::clock::MonoMillis;

const W: usize = luma::WIDTH / 2;
const H: usize = luma::HEIGHT / 2;
/// Edges of this size, levels, count half; more in a picture of strong contrast.
const HALF_EDGE: f32 = 3.0;
const HALF_EDGE_OF_SPREAD: f32 = 0.15;
/// Looks that make a reference.
const LEARN_LOOKS: u32 = 20;
/// The reference follows slowly: shadows wander, goods are put down.
const FOLLOW_MS: f32 = 120_000.0;
/// A likeness, as a share of the usual one, from which the picture is the known one.
const KNOWN: f32 = 0.6;
/// And below which it is another one: horizons and poles are alike everywhere.
const GONE: f32 = 0.45;
/// A picture this much darker or brighter than before is in another light: then edges are others too.
const RELIT: std::ops::Range<f32> = 0.65..1.55;
/// With this share of the usual edges or fewer nothing is left either: correlation would still find what shines through.
const EMPTY: f32 = 0.15;
/// From whole to gone within this time is abrupt, and from one look to the next where looks are further apart.
const WHOLE: f32 = 0.8;
const ABRUPT_MS: i64 = 1100;
/// But not when it still moves in this time after it was gone.
const ROLLS_MS: std::ops::RangeInclusive<i64> = 600..=2600;
/// Share of the picture that is motion: more than traffic in a wide view, less than a container's side that rolls by.
pub const ROLLS: f32 = 0.2;
/// Furthest shift looked for, as a share of the picture.
const FURTHEST: f32 = 0.25;
/// A picture that was another one for so long, without an alarm, is the known one from then on.
const ACCEPT_MS: i64 = 1_800_000;
/// A level difference that is motion, as a share of the picture's spread, and within these levels.
const MOTION_OF_SPREAD: f32 = 0.2;
const MOTION: (f32, f32) = (5.0, 12.0);

/// Strength of edges, 0..1, on a grid of half the grey picture's size.
#[derive(Debug, Clone, PartialEq)]
struct Edges(Vec<f32>);

impl Edges {
    fn of(luma: &Luma) -> Self {
        let half = halved(&luma.light);
        let strong = HALF_EDGE.max(HALF_EDGE_OF_SPREAD * luma.spread());
        let mut out = vec![0.0; W * H];
        for y in 1..H - 1 {
            for x in 1..W - 1 {
                let i = y * W + x;
                let g = ((half[i + 1] - half[i - 1]).abs() + (half[i + W] - half[i - W]).abs()) / 2.0;
                out[i] = g / (g + strong);
            }
        }
        Self(out)
    }

    /// Correlation with `known` when this picture is taken as shifted by (dx, dy), -1..1.
    fn alike(&self, known: &Self, dx: i32, dy: i32) -> f32 {
        let span = |d: i32, len: usize| {
            let d = d.unsigned_abs() as usize;
            len.saturating_sub(d + 2)
        };
        let (w, h) = (span(dx, W), span(dy, H));
        let start = |d: i32| 1 + usize::try_from(d.max(0)).unwrap_or(0);
        let (here_x, here_y, known_x, known_y) = (start(dx), start(dy), start(-dx), start(-dy));
        let (mut a1, mut b1, mut a2, mut b2, mut ab) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
        for y in 0..h {
            let here = &self.0[(here_y + y) * W + here_x..][..w];
            let there = &known.0[(known_y + y) * W + known_x..][..w];
            for (a, b) in here.iter().zip(there) {
                a1 += a;
                b1 += b;
                a2 += a * a;
                b2 += b * b;
                ab += a * b;
            }
        }
        let n = (w * h).max(1) as f32;
        let (va, vb) = (a2 - a1 * a1 / n, b2 - b1 * b1 / n);
        if va <= 1e-3 || vb <= 1e-3 { 0.0 } else { (ab - a1 * b1 / n) / (va * vb).sqrt() }
    }

    /// Where this picture fits best, and how well.
    fn best_shift(&self, known: &Self) -> (i32, i32, f32) {
        let (far_x, far_y) = ((W as f32 * FURTHEST) as i32, (H as f32 * FURTHEST) as i32);
        let all = (-far_y..=far_y).flat_map(|dy| (-far_x..=far_x).map(move |dx| (dx, dy)));
        let tried = all.map(|(dx, dy)| (dx, dy, self.alike(known, dx, dy)));
        tried.max_by(|a, b| a.2.total_cmp(&b.2)).unwrap_or((0, 0, 0.0))
    }

    fn follow(&mut self, now: &Self, share: f32) {
        self.0.iter_mut().zip(&now.0).for_each(|(k, n)| *k += (n - *k) * share);
    }
}

fn halved(light: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(W * H);
    for y in 0..H {
        let (a, b) = (&light[2 * y * luma::WIDTH..], &light[(2 * y + 1) * luma::WIDTH..]);
        out.extend((0..W).map(|x| (a[2 * x] + a[2 * x + 1] + b[2 * x] + b[2 * x + 1]) / 4.0));
    }
    out
}

/// What the picture is, beside the known one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SceneReading {
    /// How well it fits, as a share of how well it usually fits; 1 is usual.
    pub alike: f32,
    /// It is another picture, or none.
    pub gone: bool,
    /// Next to no edges are left.
    pub empty: bool,
    /// It was gone from one look to the next, and has not come back.
    pub abrupt: bool,
    /// And so long ago; 0 when not.
    pub abrupt_ms: i64,
    /// These looks were so far apart that a truck may have come in and stopped between them.
    pub far: bool,
    /// And it is in another light since.
    pub relit: bool,
    /// Where it fits again, in shares of the picture's width and height.
    pub shift: Option<(f32, f32)>,
    /// Tiles with edges, as a share of the usual number.
    pub busy: f32,
    /// Share of the picture that moves.
    pub moving: f32,
    /// It has been another picture for so long.
    pub unlike_ms: i64,
}

/// It is another picture at once.
#[derive(Debug, Clone, Copy)]
struct Abrupt {
    since: MonoMillis,
    /// Mean level before.
    before: f32,
    /// The look before was longer ago than a truck needs.
    far: bool,
}

/// Learns and compares; one per camera.
#[derive(Debug, Default)]
pub struct SceneWatch {
    known: Option<Edges>,
    looks: u32,
    usual_alike: f32,
    usual_busy: f32,
    /// Time, how much of the view is left, mean level.
    recent: VecDeque<(MonoMillis, f32, f32)>,
    abrupt: Option<Abrupt>,
    unlike_since: Option<MonoMillis>,
    before: Option<(MonoMillis, Vec<f32>)>,
}

impl SceneWatch {
    /// Looks at a picture with something in it; `None` while the reference is learnt. `smallest` is the shift that counts,
    /// as a share of the width. `learn`: nothing is wrong with the camera.
    pub fn look(&mut self, now: MonoMillis, luma: &Luma, smallest: f32, learn: bool) -> Option<SceneReading> {
        let edges = Edges::of(luma);
        let busy = luma.busy();
        let (moving, gone_ms) = self.motion(now, luma);
        if self.looks < LEARN_LOOKS {
            self.begin(edges, busy, learn);
            return None;
        }
        let known = self.known.as_ref()?;
        let raw = edges.alike(known, 0, 0);
        let alike = raw / self.usual_alike.max(0.05);
        let shift = (alike < 0.8 && moving < 0.15).then(|| self.shifted(&edges, raw, smallest)).flatten();
        let share = busy / self.usual_busy;
        let empty = share <= EMPTY;
        let left = if empty { 0.0 } else { alike };
        self.note(now, left, moving, luma.mean());
        let unlike_ms = self.unlike_since.map_or(0, |since| now.since(since));
        // Once it was another view at once, it is until it is the known one again: likenesses waver about the limit.
        let abrupt = self.abrupt.is_some();
        let gone = abrupt || left < GONE;
        let relit = self.abrupt.is_some_and(|a| !RELIT.contains(&(luma.mean() / a.before.max(1.0))));
        let abrupt_ms = self.abrupt.map_or(0, |a| now.since(a.since));
        let far = self.abrupt.is_some_and(|a| a.far);
        let reading =
            SceneReading { alike, gone, empty, abrupt, abrupt_ms, far, relit, shift, busy: share, moving, unlike_ms };
        tracing::trace!(?reading, mean = luma.mean(), "the view beside the known one");
        if learn && shift.is_none() {
            self.follow(now, edges, busy, raw, alike, gone_ms);
        }
        Some(reading)
    }

    /// A picture without anything in it: nothing to compare, but whether it came at once is known.
    pub fn look_at_nothing(&mut self, now: MonoMillis, mean: f32) -> bool {
        self.before = None;
        if self.looks >= LEARN_LOOKS {
            self.note(now, 0.0, 0.0, mean);
        }
        self.abrupt.is_some()
    }

    fn begin(&mut self, edges: Edges, busy: f32, learn: bool) {
        if !learn {
            return;
        }
        self.looks += 1;
        let share = 1.0 / self.looks as f32;
        match &mut self.known {
            Some(known) => {
                let alike = edges.alike(known, 0, 0);
                known.follow(&edges, share);
                self.usual_alike += (alike - self.usual_alike) * share * 2.0;
                self.usual_busy += (busy - self.usual_busy) * share;
            }
            None => (self.known, self.usual_busy, self.usual_alike) = (Some(edges), busy, 0.7),
        }
        self.usual_busy = self.usual_busy.max(0.01);
    }

    /// Share of the picture that is another than at the look before, and the time between.
    fn motion(&mut self, now: MonoMillis, luma: &Luma) -> (f32, i64) {
        let light = halved(&luma.light);
        let limit = (MOTION_OF_SPREAD * luma.spread()).clamp(MOTION.0, MOTION.1);
        let found = self.before.as_ref().map_or((0.0, 0), |(at, before)| {
            let moved = light.iter().zip(before).filter(|(a, b)| (*a - *b).abs() > limit).count();
            (moved as f32 / light.len() as f32, now.since(*at))
        });
        self.before = Some((now, light));
        found
    }

    fn shifted(&self, edges: &Edges, raw: f32, smallest: f32) -> Option<(f32, f32)> {
        let (dx, dy, best) = edges.best_shift(self.known.as_ref()?);
        let (x, y) = (dx as f32 / W as f32, dy as f32 / H as f32);
        let fits = best >= 0.55 * self.usual_alike && best - raw >= 0.2 * self.usual_alike;
        (fits && x.hypot(y) >= smallest).then_some((x, y))
    }

    fn note(&mut self, now: MonoMillis, left: f32, moving: f32, mean: f32) {
        let is_older =
            |recent: &VecDeque<(MonoMillis, f32, f32)>, ms| recent.front().is_some_and(|r| now.since(r.0) > ms);
        // The look before counts however long ago it was: where only keyframes are decoded, all are far apart.
        while (self.recent.len() > 1 && is_older(&self.recent, ABRUPT_MS)) || is_older(&self.recent, PICTURE_OLD_MS) {
            self.recent.pop_front();
        }
        if left >= KNOWN {
            (self.abrupt, self.unlike_since) = (None, None);
        } else {
            self.unlike_since.get_or_insert(now);
            let whole = self.recent.iter().find(|(_, before, _)| *before >= WHOLE);
            if let (true, Some((at, _, before)), None) = (left < GONE, whole, self.abrupt) {
                self.abrupt = Some(Abrupt { since: now, before: *before, far: now.since(*at) > ABRUPT_MS });
            }
        }
        if moving >= ROLLS && self.abrupt.is_some_and(|a| ROLLS_MS.contains(&now.since(a.since))) {
            self.abrupt = None;
        }
        self.recent.push_back((now, left, mean));
    }

    fn follow(&mut self, now: MonoMillis, edges: Edges, busy: f32, raw: f32, alike: f32, gone_ms: i64) {
        if alike >= KNOWN {
            let share = (gone_ms as f32 / FOLLOW_MS).clamp(0.0, 0.05);
            if let Some(known) = &mut self.known {
                known.follow(&edges, share);
            }
            self.usual_alike += (raw - self.usual_alike) * share;
            self.usual_busy = (self.usual_busy + (busy - self.usual_busy) * share).max(0.01);
        } else if self.unlike_since.is_some_and(|since| now.since(since) > ACCEPT_MS) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::health::luma::{HEIGHT, TILES_X, TILES_Y, Tile, WIDTH};
    use crate::simulate::space::Rng;

    /// Blocks of random levels, each 7 by 5.
    fn view(seed: u64, dx: usize, contrast: f32) -> Luma {
        let level = |x: usize, y: usize| {
            let mut rng = Rng(seed ^ ((x as u64 / 7) << 20) ^ ((y as u64 / 5) << 40) ^ 0x55);
            rng.bits();
            100.0 + contrast * rng.range(-1.0, 1.0)
        };
        let light = (0..WIDTH * HEIGHT).map(|i| level(i % WIDTH + dx, i / WIDTH)).collect();
        Luma { light, tiles: vec![Tile { steepness: 0.5, edges: 1.0 }; TILES_X * TILES_Y] }
    }

    fn learnt() -> SceneWatch {
        let mut watch = SceneWatch::default();
        for i in 0..40 {
            watch.look(MonoMillis(i * 500), &view(1, 50, 60.0), 0.02, true);
        }
        watch
    }

    fn look(watch: &mut SceneWatch, at_ms: i64, luma: &Luma) -> SceneReading {
        watch.look(MonoMillis(at_ms), luma, 0.02, false).expect("learnt")
    }

    #[test]
    fn the_same_view_is_known_in_another_light() {
        let mut watch = learnt();
        let dim = look(&mut watch, 20_000, &view(1, 50, 12.0));
        assert!(dim.alike > 0.8 && !dim.gone && dim.shift.is_none(), "{dim:?}");
    }

    #[test]
    fn a_knock_is_measured() {
        let mut watch = learnt();
        look(&mut watch, 20_000, &view(1, 58, 60.0));
        let moved = look(&mut watch, 20_500, &view(1, 58, 60.0));
        let (x, y) = moved.shift.expect("it fits elsewhere");
        assert!((x + 0.05).abs() < 0.015 && y == 0.0, "8 of 160 columns to the left: {x} {y}");
    }

    #[test]
    fn another_view_at_once_is_abrupt_until_the_old_one_is_back() {
        let mut watch = learnt();
        let other = look(&mut watch, 20_000, &view(2, 0, 60.0));
        assert!(other.gone && other.abrupt && other.shift.is_none(), "{other:?}");
        assert!(look(&mut watch, 60_000, &view(2, 0, 60.0)).abrupt);
        assert!(!look(&mut watch, 60_500, &view(1, 50, 60.0)).abrupt);
    }

    #[test]
    fn another_view_is_abrupt_where_looks_are_far_apart_too_unless_they_are_of_another_time() {
        let after = |gap_ms: i64| {
            let mut watch = SceneWatch::default();
            for i in 0..40 {
                watch.look(MonoMillis(i * 10_000), &view(1, 50, 60.0), 0.02, true);
            }
            look(&mut watch, 390_000 + gap_ms, &view(2, 0, 60.0))
        };
        let other = after(10_000);
        assert!(other.gone && other.abrupt && other.far, "{other:?}");
        assert!(!after(500).far && !after(70_000).abrupt);
    }

    #[test]
    fn what_covers_the_view_step_by_step_is_not_abrupt() {
        let mut watch = learnt();
        for step in 0..=10 {
            let mut luma = view(1, 50, 60.0);
            let other = view(3, 0, 60.0);
            let until = WIDTH * step / 10;
            for (i, v) in luma.light.iter_mut().enumerate() {
                if i % WIDTH < until {
                    *v = other.light[i];
                }
            }
            let reading = look(&mut watch, 20_000 + step as i64 * 500, &luma);
            assert!(!reading.abrupt, "{step}: {reading:?}");
        }
    }
}
