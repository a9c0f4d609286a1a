//! What each camera of a worker may cost when there is more to look at than time. Pure: what cameras ask for in, how often
//! and how wide each is looked at out.
//!
//! Rate goes before recall, and cameras with a rule or an expected tip of severity 4 come last: first the others are
//! looked at less often, all at one rate; then only in their planned regions, at the rate that this leaves; then the same
//! for those with severity 4. What is still too much then is lost frame by frame in the mailbox, which takes turns.

use crate::clock::MonoMillis;

/// Share of a worker's time that is dealt out; the rest is for what was not foreseen.
pub const CAPACITY: f32 = 0.9;
/// Nothing is looked at less often on purpose, milliseconds: longer pauses count as not watched.
pub const SLOWEST_MS: f32 = 800.0;

/// What one camera asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Between two looks as configured, milliseconds.
    pub interval_ms: f32,
    /// Between two of its pictures, milliseconds: many in a camera that idles.
    pub comes_ms: f32,
    /// What looking at its planned regions takes, milliseconds.
    pub planned_ms: f32,
    /// What looking more widely takes beside it, milliseconds a picture.
    pub wider_ms: f32,
    /// It has a rule of severity 4, or goods are expected that a tip makes so.
    pub critical: bool,
}

/// How a camera is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// Between two looks at least, milliseconds.
    pub interval_ms: f32,
    /// Also around what the planned regions cut off.
    pub wider: bool,
}

/// How much is taken away, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing.
    Full,
    /// Cameras without severity 4 are looked at less often.
    Slower,
    /// And only in their planned regions.
    Narrower,
    /// Those with severity 4 are looked at less often too.
    CriticalSlower,
    /// And only in their planned regions.
    CriticalNarrower,
}

impl Stage {
    const ALL: [Self; 5] = [Self::Full, Self::Slower, Self::Narrower, Self::CriticalSlower, Self::CriticalNarrower];

    /// What it means, for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Full => "every camera as configured",
            Self::Slower => "cameras without severity 4 less often",
            Self::Narrower => "cameras without severity 4 less often and in planned regions only",
            Self::CriticalSlower => "all cameras less often, those without severity 4 in planned regions only",
            Self::CriticalNarrower => "all cameras less often and in planned regions only",
        }
    }

    /// How a camera is looked at when `share` (0..=1) of what this stage may take is taken.
    fn allow(self, demand: &Demand, share: f32) -> Allowance {
        let (slower, narrower) = if demand.critical {
            (Self::CriticalSlower, Self::CriticalNarrower)
        } else {
            (Self::Slower, Self::Narrower)
        };
        // What is saved by looking in planned regions only is given back as rate, as far as it goes.
        let share = match self {
            _ if self < slower => 0.0,
            _ if self == slower || self == narrower => share,
            _ => 1.0,
        };
        let interval_ms = demand.interval_ms + share * (SLOWEST_MS - demand.interval_ms).max(0.0);
        Allowance { interval_ms, wider: self < narrower }
    }
}

/// Share of a worker's time that looking so takes.
#[must_use]
pub fn load(demands: &[Demand], allowances: &[Allowance]) -> f32 {
    let cost = |(d, a): (&Demand, &Allowance)| {
        (d.planned_ms + if a.wider { d.wider_ms } else { 0.0 }) / a.interval_ms.max(d.comes_ms).max(1.0)
    };
    demands.iter().zip(allowances).map(cost).sum()
}

/// Everything as configured.
#[must_use]
pub fn allot_all(demands: &[Demand]) -> Vec<Allowance> {
    demands.iter().map(|d| Stage::Full.allow(d, 0.0)).collect()
}

/// The least that must be taken away so that the rest fits into [`CAPACITY`], but no less than `least`.
#[must_use]
pub fn allot(demands: &[Demand], least: Stage) -> (Stage, Vec<Allowance>) {
    let allow =
        |stage: Stage, share: f32| -> Vec<Allowance> { demands.iter().map(|d| stage.allow(d, share)).collect() };
    let fits = |stage: Stage, share: f32| load(demands, &allow(stage, share)) <= CAPACITY;
    let stage = Stage::ALL.into_iter().find(|s| *s >= least && fits(*s, 1.0)).unwrap_or(Stage::CriticalNarrower);
    let (mut enough, mut too_little) = (1.0_f32, 0.0_f32);
    if fits(stage, 0.0) {
        enough = 0.0;
    }
    // Halved ten times: a thousandth of the way is more exact than any cost is known.
    for _ in 0..10 {
        let middle = f32::midpoint(enough, too_little);
        if fits(stage, middle) { enough = middle } else { too_little = middle }
    }
    (stage, allow(stage, enough))
}

/// Regions of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Planned for the areas.
    pub planned: usize,
    /// Around what those cut off.
    pub wider: usize,
}

/// Of a camera of which nothing was taken for so long no more pictures come, milliseconds; an idle one has keyframes at
/// longer distances, which is known.
const SILENT_MS: f32 = 2000.0;
/// Share of a new measurement in what is known.
const NEW: f32 = 0.1;

/// What was seen of one camera's cost.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// The last picture that came: when taken, which one.
    last: Option<(MonoMillis, u64)>,
    /// When one was looked at last, on the box's clock however late it was.
    looked: Option<MonoMillis>,
    comes_ms: Option<f32>,
    planned_ms: Option<f32>,
    wider_ms: Option<f32>,
}

impl Meter {
    /// A picture came, whether it is looked at or not. `number` counts those of the camera, also the ones that never came
    /// here because the worker was busy.
    pub fn came(&mut self, at: MonoMillis, number: u64) {
        if let Some((last, before)) = self.last.replace((at, number)) {
            let pictures = number.saturating_sub(before).max(1);
            blend(&mut self.comes_ms, at.since(last).max(0) as f32 / pictures as f32);
        }
    }

    /// One was looked at in `took_ms` at `now`; for the next one as many regions as `asked_wider` are asked for beside the
    /// planned ones, which costs nothing where it is not allowed, but would.
    pub fn looked(&mut self, now: MonoMillis, took_ms: f32, looked: Looked, asked_wider: usize) {
        self.looked = Some(now);
        // The first picture is looked at before anything is planned.
        if looked.planned > 0 {
            let each = took_ms / (looked.planned + looked.wider) as f32;
            blend(&mut self.planned_ms, each * looked.planned as f32);
            blend(&mut self.wider_ms, each * asked_wider as f32);
        }
    }

    /// When a picture was looked at last, on the box's monotonic clock.
    #[must_use]
    pub fn last_looked(&self) -> Option<MonoMillis> {
        self.looked
    }

    /// What the camera asks for at `now`.
    #[must_use]
    pub fn demand(&self, interval_ms: f32, critical: bool, now: MonoMillis) -> Demand {
        // A busy worker takes the next picture late.
        let silent_ms = self.last.map_or(f32::INFINITY, |(last, _)| now.since(last) as f32);
        let silent_ms = if silent_ms > SILENT_MS { silent_ms } else { 0.0 };
        Demand {
            interval_ms,
            comes_ms: self.comes_ms.unwrap_or(0.0).max(silent_ms),
            planned_ms: self.planned_ms.unwrap_or(0.0),
            wider_ms: self.wider_ms.unwrap_or(0.0),
            critical,
        }
    }
}

fn blend(known: &mut Option<f32>, new: f32) {
    *known = Some(known.map_or(new, |k| k + NEW * (new - k)));
}

/// A change for the worse counts at once, one for the better when it has lasted so long, milliseconds.
const BETTER_AFTER_MS: i64 = 10_000;

/// Which stage is in force, without going back and forth.
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    stage: Stage,
    /// Since when less would do.
    better_since: Option<MonoMillis>,
}

impl Default for Hold {
    fn default() -> Self {
        Self { stage: Stage::Full, better_since: None }
    }
}

impl Hold {
    /// Deals out at `now`.
    pub fn allot(&mut self, demands: &[Demand], now: MonoMillis) -> (Stage, Vec<Allowance>) {
        let (wanted, allowances) = allot(demands, Stage::Full);
        if wanted >= self.stage {
            *self = Self { stage: wanted, better_since: None };
            return (wanted, allowances);
        }
        let since = *self.better_since.get_or_insert(now);
        if now.since(since) >= BETTER_AFTER_MS {
            *self = Self { stage: wanted, better_since: None };
            return (wanted, allowances);
        }
        allot(demands, self.stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn camera(critical: bool) -> Demand {
        Demand { interval_ms: 200.0, comes_ms: 40.0, planned_ms: 10.0, wider_ms: 10.0, critical }
    }

    fn cameras(ordinary: usize, critical: usize) -> Vec<Demand> {
        [vec![camera(false); ordinary], vec![camera(true); critical]].concat()
    }

    #[test]
    fn rate_goes_before_recall_and_severity_four_last() {
        let mut seen = Vec::new();
        for n in 1..120 {
            let demands = cameras(n, 2);
            let (stage, allowances) = allot(&demands, Stage::Full);
            let (ordinary, critical) = (allowances[0], allowances[n]);
            seen.push(stage);
            assert!(ordinary.interval_ms >= critical.interval_ms && ordinary.wider <= critical.wider, "{n}");
            assert!(critical.interval_ms <= 200.0 || (ordinary.interval_ms >= SLOWEST_MS && !ordinary.wider), "{n}");
            let slow: Vec<Allowance> = demands.iter().map(|d| Stage::Slower.allow(d, 1.0)).collect();
            assert!(ordinary.wider || load(&demands, &slow) > CAPACITY, "{n}: rate first");
            assert!(stage == Stage::CriticalNarrower || load(&demands, &allowances) <= CAPACITY, "{n}");
        }
        assert!(seen.is_sorted());
        seen.dedup();
        assert_eq!(seen, Stage::ALL);
    }

    #[test]
    fn no_more_is_taken_than_must_be() {
        let demands = cameras(10, 0);
        let (stage, allowances) = allot(&demands, Stage::Full);
        assert_eq!(stage, Stage::Slower);
        // Ten cameras at 20 ms a look: every 222 ms is 0.9 of the time.
        assert!((allowances[0].interval_ms - 222.2).abs() < 1.0, "{allowances:?}");
        assert!(allowances.iter().all(|a| a.wider && a.interval_ms == allowances[0].interval_ms), "all at one rate");
        assert_eq!(allot(&cameras(4, 4), Stage::Full).0, Stage::Full);
    }

    #[test]
    fn a_camera_whose_pictures_come_rarely_asks_for_little() {
        let idle = Demand { comes_ms: 4000.0, ..camera(false) };
        let demands = [vec![idle; 40], cameras(5, 0)].concat();
        let (stage, allowances) = allot(&demands, Stage::Full);
        assert_eq!((stage, allowances[0].interval_ms), (Stage::Full, 200.0), "it may wake up");
    }

    #[test]
    fn it_is_worse_at_once_and_better_after_ten_seconds() {
        let mut hold = Hold::default();
        let (few, many) = (cameras(2, 0), cameras(20, 0));
        assert_eq!(hold.allot(&few, MonoMillis(0)).0, Stage::Full);
        assert_eq!(hold.allot(&many, MonoMillis(2000)).0, Stage::Slower);
        assert_eq!(hold.allot(&few, MonoMillis(4000)).0, Stage::Slower);
        assert_eq!(hold.allot(&few, MonoMillis(13_999)).0, Stage::Slower);
        assert_eq!(hold.allot(&many, MonoMillis(14_000)).0, Stage::Slower);
        assert_eq!(hold.allot(&few, MonoMillis(16_000)).0, Stage::Slower, "counted anew");
        assert_eq!(hold.allot(&few, MonoMillis(26_000)).0, Stage::Full);
    }

    #[test]
    fn what_narrow_looking_saves_is_given_back_as_rate() {
        let demands = vec![Demand { planned_ms: 20.0, wider_ms: 50.0, ..camera(true) }; 12];
        let (stage, allowances) = allot(&demands, Stage::Full);
        assert_eq!(stage, Stage::CriticalNarrower);
        // Twelve at 20 ms a look: every 267 ms is 0.9 of the time.
        assert!((allowances[0].interval_ms - 266.7).abs() < 2.0, "{allowances:?}");
    }

    #[test]
    fn a_rush_that_is_over_is_known_to_be_over_though_nobody_looks_widely() {
        let (mut hold, mut meters) = (Hold::default(), vec![Meter::default(); 16]);
        let mut stages = Vec::new();
        for at_ms in (0..60_000).step_by(200) {
            let now = MonoMillis(at_ms);
            let demands: Vec<Demand> = meters.iter().map(|m| m.demand(200.0, false, now)).collect();
            let (stage, allowances) = hold.allot(&demands, now);
            stages.push(stage);
            // Things are cut off in the first half minute.
            let asked = if at_ms < 30_000 { 2 } else { 0 };
            for (meter, allowed) in meters.iter_mut().zip(allowances) {
                meter.came(now, now.0.unsigned_abs() / 40);
                let looked = Looked { planned: 1, wider: if allowed.wider { asked } else { 0 } };
                meter.looked(now, 25.0 * (looked.planned + looked.wider) as f32, looked, asked);
            }
        }
        assert_eq!(stages.iter().max(), Some(&Stage::Narrower));
        assert_eq!(stages.last(), Some(&Stage::Slower), "16 looks of 25 ms in 200 are still too many");
    }

    #[test]
    fn what_is_measured_is_asked_for_and_silence_asks_for_nothing() {
        let mut meter = Meter::default();
        assert!(
            load(&[meter.demand(200.0, false, MonoMillis(0))], &[Allowance { interval_ms: 200.0, wider: true }]) <= 0.0
        );
        // The very first one is looked at as a whole.
        meter.looked(MonoMillis(0), 90.0, Looked { planned: 0, wider: 0 }, 0);
        // Every second picture never comes here.
        for at in (0..100).step_by(2) {
            meter.came(MonoMillis(at * 40), at.cast_unsigned());
            meter.looked(MonoMillis(at * 40), 30.0, Looked { planned: 1, wider: 2 }, 2);
        }
        meter.looked(MonoMillis(4000), 12.0, Looked { planned: 1, wider: 0 }, 2);
        let demand = meter.demand(200.0, true, MonoMillis(4400));
        assert!((demand.planned_ms - 10.2).abs() < 0.01 && (demand.wider_ms - 20.4).abs() < 0.01, "{demand:?}");
        assert!((demand.comes_ms - 40.0).abs() < 0.5 && demand.critical);
        assert!(meter.demand(200.0, true, MonoMillis(64_000)).comes_ms >= 60_000.0);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_fits_or_all_is_taken_away(
            each in prop::collection::vec((0.5f32..200.0, 0.0f32..200.0, 20.0f32..6000.0, 20.0f32..6000.0, any::<bool>()), 0..40),
        ) {
            let demands: Vec<Demand> = each.into_iter()
                .map(|(planned_ms, wider_ms, interval_ms, comes_ms, critical)| {
                    Demand { interval_ms, comes_ms, planned_ms, wider_ms, critical }
                })
                .collect();
            let (stage, allowances) = allot(&demands, Stage::Full);
            let load = load(&demands, &allowances);
            prop_assert!(load <= CAPACITY || stage == Stage::CriticalNarrower, "{stage:?} {load}");
            for (d, a) in demands.iter().zip(&allowances) {
                prop_assert!(a.interval_ms >= d.interval_ms && a.interval_ms <= d.interval_ms.max(SLOWEST_MS) + 0.1);
            }
        }
    }
}
