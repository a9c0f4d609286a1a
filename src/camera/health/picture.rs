//! What the picture itself says: covered, out of focus, moved, too dark, too bright, frozen. Puts the measures together
//! and decides which of them may be asked at all: a black picture has no focus, a truck in front of the lens is no cover.

use super::luma::{Luma, TILES_X, TILES_Y};
use super::repeat::{RepeatReading, RepeatWatch};
use super::scene::{ROLLS, SceneReading, SceneWatch};
use super::still::{StillReading, StillWatch};
use super::{Condition, Figure, Sight};
use crate::clock::MonoMillis;
use crate::config::HealthConfig;

/// Below this spread, levels, and with next to no edges there is nothing in the picture.
const NOTHING_SPREAD: f32 = 3.0;
const NOTHING_BUSY: f32 = 0.02;
/// A picture without anything is a cover when it came at once, and else after so long.
const SLOW_COVER_MS: i64 = 60_000;
/// Washed out: nothing above this level can be told apart.
const WHITE: f32 = 250.0;
/// In a picture that is too dark next to nothing is above this level.
const DIM: f32 = 60.0;
const DIM_SHARE: f32 = 0.02;
/// A black picture that still shows the view this well, and with this spread, lacks light; else it is covered.
const ECHO: f32 = 0.5;
const ECHO_SPREAD: f32 = 0.8;
/// Of the usual edges so few are left under a cover, and so many when the camera only looks elsewhere.
const COVER_BUSY: f32 = 0.15;
const VIEW_BUSY: f32 = 0.4;
/// As long as what is left is as like the known view as this, the view is there: a lens out of focus leaves next to no
/// edges at night.
const COVER_ALIKE: f32 = 0.7;
/// Another view that came little by little counts after so long, where the tracker says that no vehicle is in it.
const SLOW_TURN_MS: i64 = 300_000;
/// Looks at a tile until its steepness is known.
const FOCUS_LOOKS: u32 = 20;
/// Tiles that must be known and have edges now.
const FOCUS_TILES: usize = 5;
/// What to do about a frozen picture.
const FROZEN: &str = "pictures arrive, but it is the same one again and again; restart the camera";
/// A vehicle that fills this share of the picture explains a strange view.
pub const FILLS: f32 = 0.35;

/// What one look brings besides the picture.
#[derive(Debug, Clone, Copy)]
pub struct Around {
    /// Keyframes so far.
    pub keyframes: u64,
    /// Share of the picture that the largest tracked thing covers; `None` = nobody tracks.
    pub filled: Option<f32>,
    /// Some condition of the picture is open: nothing is learnt from it.
    pub wrong: bool,
}

/// One camera's picture checks.
#[derive(Debug, Default)]
pub struct PictureWatch {
    scene: SceneWatch,
    still: StillWatch,
    repeat: RepeatWatch,
    focus: Focus,
    /// The last picture with something in it.
    last_view: Option<Vec<f32>>,
    nothing_since: Option<MonoMillis>,
}

impl PictureWatch {
    /// Takes the fingerprint of a keyframe's pixels.
    pub fn keyframe(&mut self, at: MonoMillis, fingerprint: u64) {
        self.repeat.keyframe(at, fingerprint);
    }

    /// Looks at one picture and says what is seen of each condition.
    pub fn look(&mut self, now: MonoMillis, luma: &Luma, around: Around, limits: &HealthConfig) -> Vec<Sight> {
        let (mean, white) = (luma.mean(), luma.share_from(WHITE));
        let dark_limit = limits.dark_level * 255.0;
        let dark = mean <= dark_limit && luma.share_from(DIM) <= DIM_SHARE;
        let bright = white >= limits.bright_share;
        let spread = luma.spread();
        let nothing = spread < NOTHING_SPREAD && luma.busy() <= NOTHING_BUSY;
        let still = self.still.look(now, luma, around.keyframes);
        // Of a picture that is black all over two exposures may be the same.
        let repeat = self.repeat.reading(now).filter(|_| !dark);
        let mut sights = vec![bright_sight(bright, white, limits), frozen_sight(still, repeat, nothing, limits)];
        if nothing {
            let lacks_light = dark && spread >= ECHO_SPREAD && self.echo(luma) >= ECHO;
            let covered = !bright && !lacks_light && self.covered_by_nothing(now, mean, dark);
            let ago_ms = self.nothing_since.map_or(0, |since| now.since(since));
            sights.push(dark_sight(dark && !covered, mean, dark_limit));
            sights.push(Sight { ago_ms, ..cover_sight(Some(covered), spread, 0.0, 0.0) });
            sights.extend([Sight::unknown(Condition::Moved), Sight::unknown(Condition::Defocused)]);
            return sights;
        }
        self.nothing_since = None;
        let explained = around.filled.is_some_and(|share| share >= FILLS);
        let learn = !around.wrong && !dark && !bright && !explained;
        let scene = self.scene.look(now, luma, limits.shift_share, learn);
        if !dark {
            self.last_view = Some(luma.light.clone());
        }
        sights.push(dark_sight(dark, mean, dark_limit));
        sights.push(self.cover(scene, explained || bright, spread));
        let slow = around.filled.is_some() && scene.is_some_and(|s| s.unlike_ms >= SLOW_TURN_MS);
        sights.push(moved(scene, explained || bright || dark, slow, around.filled.is_some()));
        let blurred = scene.is_none_or(|s| s.moving > 0.3 && s.alike < 0.6) || bright || dark;
        sights.push(self.focus.look(luma, !blurred, learn, limits.sharpness));
        sights
    }

    /// The stream is another one: what was learnt of its noise does not hold. The view is the same.
    pub fn stream_changed(&mut self) {
        self.still.forget();
        self.repeat.forget();
        self.focus = Focus::default();
    }

    fn covered_by_nothing(&mut self, now: MonoMillis, mean: f32, dark: bool) -> bool {
        let abrupt = self.scene.look_at_nothing(now, mean);
        let since = *self.nothing_since.get_or_insert(now);
        abrupt || (!dark && now.since(since) >= SLOW_COVER_MS)
    }

    /// How well the brightness, not the edges, of this picture follows that of the last one with something in it.
    fn echo(&self, luma: &Luma) -> f32 {
        let Some(view) = &self.last_view else { return 0.0 };
        let n = view.len() as f32;
        let (mean_a, mean_b) = (luma.mean(), view.iter().sum::<f32>() / n);
        let (mut ab, mut aa, mut bb) = (0.0f32, 0.0f32, 0.0f32);
        for (a, b) in luma.light.iter().zip(view) {
            let (a, b) = (a - mean_a, b - mean_b);
            (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
        }
        ab / (aa * bb).sqrt().max(1e-3)
    }

    fn cover(&self, scene: Option<SceneReading>, explained: bool, spread: f32) -> Sight {
        let Some(s) = scene else { return Sight::unknown(Condition::Covered) };
        let hidden = s.empty && s.alike < COVER_ALIKE;
        let seen = match () {
            () if hidden && s.abrupt && !explained => Some(true),
            () if hidden => None,
            () => Some(false),
        };
        Sight { ago_ms: s.abrupt_ms, ..cover_sight(seen, spread, s.alike, s.busy) }
    }
}

/// `slow`: it is another view for long, and no vehicle is there. `tracked`: somebody knows of vehicles at all; between looks far
/// apart a truck comes in and stops unseen.
fn moved(scene: Option<SceneReading>, explained: bool, slow: bool, tracked: bool) -> Sight {
    let Some(s) = scene else { return Sight::unknown(Condition::Moved) };
    let at_once = s.abrupt && !s.relit && (tracked || !s.far);
    // Two looks far apart differ all over where the view is another one; whether it stands the next one says.
    let stands = s.moving < ROLLS || (s.far && s.abrupt_ms == 0);
    let elsewhere = s.gone && (at_once || slow) && s.busy >= VIEW_BUSY && stands;
    let seen = match () {
        () if explained => None,
        () if s.shift.is_some() || elsewhere => Some(true),
        () if s.alike >= 0.6 => Some(false),
        () => None,
    };
    let mut sight = Sight::of(Condition::Moved, seen);
    if seen == Some(true) {
        sight.ago_ms = match s.shift {
            Some(_) => 0,
            None if at_once => s.abrupt_ms,
            None => s.unlike_ms,
        };
        sight.reason = match s.shift {
            Some((x, y)) => format!(
                "the view is shifted by {:.1} % of the width and {:.1} % of the height; point the camera back, or draw areas \
                 and lines anew and restart the agent",
                x * 100.0,
                y * 100.0
            ),
            None => {
                "the camera looks at something else since a moment; point it back, or draw areas and lines anew and \
                     restart the agent"
                    .into()
            }
        };
        sight.figures = vec![Figure::against("likeness", s.alike, 0.6, "of usual")];
        if let Some((x, y)) = s.shift {
            sight.figures.push(Figure::measured("shift_x", x, "of width"));
            sight.figures.push(Figure::measured("shift_y", y, "of height"));
        }
    }
    sight
}

fn cover_sight(seen: Option<bool>, spread: f32, alike: f32, busy: f32) -> Sight {
    let mut sight = Sight::of(Condition::Covered, seen);
    if seen == Some(true) {
        sight.reason =
            "nothing is left of the view: something hangs over the lens, it is painted over, or all light went \
                        at once; look at the camera"
                .into();
        sight.figures = vec![
            Figure::against("spread", spread, NOTHING_SPREAD, "levels"),
            Figure::against("likeness", alike, COVER_ALIKE, "of usual"),
            Figure::against("edges", busy, COVER_BUSY, "of usual"),
        ];
    }
    sight
}

fn dark_sight(dark: bool, mean: f32, limit: f32) -> Sight {
    let mut sight = Sight::of(Condition::TooDark, Some(dark));
    if dark {
        sight.reason =
            "the picture is too dark to see anything; look at lamps, infrared light and exposure of the camera".into();
        sight.figures = vec![Figure::against("mean", mean, limit, "levels")];
    }
    sight
}

fn bright_sight(bright: bool, white: f32, limits: &HealthConfig) -> Sight {
    let mut sight = Sight::of(Condition::TooBright, Some(bright));
    if bright {
        sight.reason =
            "most of the picture is washed out; look at the exposure of the camera and at what shines into it".into();
        sight.figures = vec![Figure::against("white", white, limits.bright_share, "of picture")];
    }
    sight
}

fn frozen_sight(
    still: Option<StillReading>,
    repeat: Option<RepeatReading>,
    nothing: bool,
    limits: &HealthConfig,
) -> Sight {
    // The same pixels again say more than little that is new: half of the time will do.
    let repeat = repeat.filter(|r| !nothing && r.still_ms * 2 >= i64::from(limits.frozen_ms));
    if let Some(r) = repeat {
        let mut sight = Sight::of(Condition::Frozen, Some(true));
        sight.reason = FROZEN.into();
        sight.ago_ms = r.ago_ms;
        sight.figures = vec![Figure::measured("repeats", r.repeats, "keyframes")];
        return sight;
    }
    let Some(s) = still.filter(|_| !nothing) else { return Sight::unknown(Condition::Frozen) };
    let needed = if s.was_alive { limits.frozen_ms } else { limits.frozen_still_ms };
    let frozen = s.proven && s.still_ms >= i64::from(needed);
    let mut sight = Sight::of(Condition::Frozen, Some(frozen));
    if frozen {
        sight.reason = FROZEN.into();
        sight.ago_ms = s.still_ms;
        sight.figures = vec![Figure::against("newness", s.newness, s.limit, "levels")];
    }
    sight
}

/// How steep edges usually are, tile by tile.
#[derive(Debug)]
struct Focus {
    usual: Vec<(f32, u32)>,
}

impl Default for Focus {
    fn default() -> Self {
        Self { usual: vec![(0.0, 0); TILES_X * TILES_Y] }
    }
}

impl Focus {
    /// The median over the tiles: a truck or a lamp changes some, the lens changes all.
    fn look(&mut self, luma: &Luma, may_judge: bool, learn: bool, limit: f32) -> Sight {
        let pairs = self.usual.iter().zip(&luma.tiles).filter(|((_, n), t)| *n >= FOCUS_LOOKS && t.edges >= 0.4);
        let mut shares: Vec<f32> = pairs.map(|((usual, _), t)| t.steepness / usual.max(0.01)).collect();
        let judged = may_judge && shares.len() >= FOCUS_TILES;
        let share = if judged {
            let middle = shares.len() / 2;
            *shares.select_nth_unstable_by(middle, f32::total_cmp).1
        } else {
            1.0
        };
        if learn && share > limit {
            self.follow(luma);
        }
        let seen = match () {
            () if !judged => None,
            () if share < limit => Some(true),
            () if share > limit * 1.15 => Some(false),
            () => None,
        };
        let mut sight = Sight::of(Condition::Defocused, seen);
        if seen == Some(true) {
            sight.reason = "the picture lost its sharpness; clean the lens and look at its focus".into();
            sight.figures = vec![Figure::against("sharpness", share, limit, "of usual")];
        }
        sight
    }

    fn follow(&mut self, luma: &Luma) {
        for ((usual, n), tile) in self.usual.iter_mut().zip(&luma.tiles) {
            if tile.edges < 0.4 {
                continue;
            }
            *n = n.saturating_add(1);
            let share = (1.0 / *n as f32).max(0.004);
            *usual += (tile.steepness - *usual) * share;
        }
    }
}
