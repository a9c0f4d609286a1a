//! The scripted set: what goes wrong, on every scene and hour that it makes sense for, and what only looks like it.

use super::play::{Filled, Script};
use super::views::{View, cloth, clouds, fade, glare, insect, largest, low_gate, plain, shaking};
use crate::camera::Codec;
use crate::camera::health::Condition;
use crate::simulate::light::Hour;
use crate::simulate::misbehave::Misbehaviour;
use crate::simulate::scenarios::Scenario;
use crate::simulate::scene::Scene;

/// Seconds of undisturbed pictures in front of what goes wrong.
const QUIET: f64 = 50.0;
/// How long it lasts, and what is played after it.
const LASTS: f64 = 24.0;
const AFTER: f64 = 24.0;
const STEP: f64 = 0.5;
/// The same where only keyframes are decoded, so many pictures and four seconds apart: it takes longer until a view is known.
/// What goes wrong does so between two of them.
const KEYFRAMES: u64 = 40;
const QUIET_FAR: f64 = 121.0;

const SCENARIOS: [Scenario; 4] = [Scenario::Lane, Scenario::Bay, Scenario::Sampling, Scenario::Yard];
const HOURS: [Hour; 3] = [Hour::Day, Hour::Dusk, Hour::Night];

/// Something goes wrong.
pub struct Case {
    /// Words for it.
    pub name: String,
    /// What is wrong, and when.
    pub truth: Wrong,
    /// Draws and orders.
    pub script: Script,
}

/// The truth of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrong {
    /// What must be said.
    pub condition: Condition,
    /// From when, milliseconds.
    pub from_ms: i64,
    /// Until when; `None` = an instant, or it stays.
    pub to_ms: Option<i64>,
}

/// Who tells health of vehicles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracked {
    /// Nobody: there is no detector.
    Nobody,
    /// A tracker that finds nothing.
    Nothing,
    /// A tracker that finds every thing as it is.
    Truly,
}

impl Tracked {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nobody, Self::Nothing, Self::Truly];

    /// What is said of such a scene.
    pub(super) fn filled(self, scene: impl FnOnce() -> Scene) -> Result<Option<Filled>, String> {
        match self {
            Self::Nobody => Ok(None),
            Self::Nothing => Ok(Some(Box::new(|_| 0.0))),
            Self::Truly => largest(scene()).map(Some),
        }
    }
}

/// Nothing goes wrong with the camera.
pub struct Harmless {
    /// Words for it.
    pub name: String,
    /// Draws.
    pub script: Script,
}

/// Everything that goes wrong.
///
/// # Errors
/// When a scene cannot be drawn.
pub fn faults() -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    for scenario in SCENARIOS {
        for hour in HOURS {
            cases.extend(picture_faults(scenario, hour)?);
        }
    }
    for scenario in [Scenario::Bay, Scenario::Yard] {
        cases.extend(stream_faults(scenario)?);
        cases.extend(clock_faults(scenario)?);
    }
    for scenario in SCENARIOS {
        cases.extend(far_faults(scenario)?);
    }
    Ok(cases)
}

fn case(name: String, condition: Condition, lasting: bool, view: View, orders: Vec<(f64, Misbehaviour)>) -> Case {
    let ms = |s: f64| (s * 1000.0) as i64;
    Case {
        name,
        truth: Wrong { condition, from_ms: ms(QUIET), to_ms: lasting.then_some(ms(QUIET + LASTS)) },
        script: Script { orders, ..Script::of(view, QUIET + LASTS + AFTER, STEP) },
    }
}

fn picture_faults(scenario: Scenario, hour: Hour) -> Result<Vec<Case>, String> {
    let scene = || plain(scenario.scene(7, hour, false));
    let ms = (LASTS * 1000.0) as u64;
    let back =
        |dx, dy| vec![(QUIET, Misbehaviour::Shift { dx, dy }), (QUIET + LASTS, Misbehaviour::Shift { dx: 0, dy: 0 })];
    let one = |what| vec![(QUIET, what)];
    let name = |what: &str| format!("{what}, {scenario:?}, {hour:?}").to_lowercase();
    let other = SCENARIOS[(SCENARIOS.iter().position(|s| *s == scenario).unwrap_or(0) + 1) % SCENARIOS.len()];
    let away = fade(scene()?, plain(other.scene(9, hour, false))?, QUIET, QUIET);
    let turned = fade(away, scene()?, QUIET + LASTS, QUIET + LASTS);
    let grey = cloth(scene()?, if hour == Hour::Night { 45.0 } else { 110.0 }, QUIET, QUIET + LASTS);
    let mut cases = vec![
        case(name("bag over the lens"), Condition::Covered, true, scene()?, one(Misbehaviour::Cover { ms })),
        case(name("cloth in front"), Condition::Covered, true, grey, Vec::new()),
        case(name("out of focus"), Condition::Defocused, true, scene()?, one(Misbehaviour::Blur { ms })),
        case(name("knocked 4 %"), Condition::Moved, true, scene()?, back(20, 0)),
        case(name("knocked 12 %"), Condition::Moved, true, scene()?, back(-50, 24)),
        case(name("turned away"), Condition::Moved, true, turned, Vec::new()),
        case(name("same picture"), Condition::Frozen, true, scene()?, one(Misbehaviour::Freeze { ms })),
        case(name("no light"), Condition::TooDark, true, scene()?, one(Misbehaviour::Dark { ms })),
    ];
    if hour != Hour::Night {
        cases.push(case(name("exposure"), Condition::TooBright, true, scene()?, one(Misbehaviour::Bright { ms })));
    }
    Ok(cases)
}

fn stream_faults(scenario: Scenario) -> Result<Vec<Case>, String> {
    let ms = (LASTS * 1000.0) as u64;
    let name = |what: &str| format!("{what}, {scenario:?}").to_lowercase();
    let size = Misbehaviour::ChangeResolution { width: 640, height: 360 };
    let lasting = [
        ("cut", Condition::SignalLost, Misbehaviour::Cut { ms }),
        ("password refused", Condition::SignalLost, Misbehaviour::RefusePassword { ms }),
        ("no packets", Condition::Stalled, Misbehaviour::Stall { ms }),
        ("one picture a second", Condition::LowFrameRate, Misbehaviour::Slow { fps: 1, ms }),
        ("three pictures a second", Condition::LowFrameRate, Misbehaviour::Slow { fps: 3, ms }),
        ("damaged packets", Condition::DecodeErrors, Misbehaviour::CorruptPackets { ms }),
    ];
    let instants = [
        ("another size", Condition::PictureChanged, size),
        ("another coding", Condition::PictureChanged, Misbehaviour::ChangeCodec { codec: Codec::H265 }),
        ("clock 30 s late", Condition::ClockJump, Misbehaviour::Clock { off_ms: -30_000 }),
        ("clock 1.5 s early", Condition::ClockJump, Misbehaviour::Clock { off_ms: 1500 }),
    ];
    let each = |(what, condition, order), lasting| -> Result<Case, String> {
        let view = plain(scenario.scene(7, Hour::Day, false))?;
        Ok(case(name(what), condition, lasting, view, vec![(QUIET, order)]))
    };
    let all = lasting.into_iter().map(|l| each(l, true)).chain(instants.into_iter().map(|i| each(i, false)));
    all.collect()
}

/// What a clock does takes long to see: a minute until it is suspect, half an hour and more until it is known to run away.
fn clock_faults(scenario: Scenario) -> Result<Vec<Case>, String> {
    let name = |what: &str| format!("{what}, {scenario:?}").to_lowercase();
    let late = (Condition::ClockSuspect, Misbehaviour::Clock { off_ms: -30_000 }, 200.0, STEP);
    let fast = (Condition::ClockDrift, Misbehaviour::Drift { ms_per_hour: 600 }, 2.0 * 3600.0, 10.0);
    let each =
        [("clock stays late", late), ("clock runs away", fast)].map(|(what, (condition, order, seconds, step))| {
            let view = plain(scenario.scene(7, Hour::Day, false))?;
            let one = case(name(what), condition, false, view, vec![(QUIET, order)]);
            Ok(Case { script: Script { seconds, step, ..one.script }, ..one })
        });
    each.into_iter().collect()
}

/// The view is lost where pictures are four seconds apart.
fn far_faults(scenario: Scenario) -> Result<Vec<Case>, String> {
    let scene = || plain(scenario.scene(7, Hour::Day, false));
    let other = SCENARIOS[(SCENARIOS.iter().position(|s| *s == scenario).unwrap_or(0) + 1) % SCENARIOS.len()];
    let until = QUIET_FAR + 40.0;
    let away = fade(scene()?, plain(other.scene(9, Hour::Day, false))?, QUIET_FAR, QUIET_FAR);
    let bag = vec![(QUIET_FAR, Misbehaviour::Cover { ms: 40_000 })];
    let lost = [
        ("bag over the lens", Condition::Covered, scene()?, bag),
        ("cloth in front", Condition::Covered, cloth(scene()?, 110.0, QUIET_FAR, until), Vec::new()),
        ("turned away", Condition::Moved, fade(away, scene()?, until, until), Vec::new()),
    ];
    let each = lost.map(|(what, condition, view, orders)| Case {
        name: format!("{what}, keyframes only, {scenario:?}").to_lowercase(),
        truth: Wrong { condition, from_ms: (QUIET_FAR * 1000.0) as i64, to_ms: Some((until * 1000.0) as i64) },
        script: Script {
            orders,
            filled: Some(Box::new(|_| 0.0)),
            keyframes: Some(KEYFRAMES),
            ..Script::of(view, until + 60.0, STEP)
        },
    });
    Ok(each.into())
}

/// Everything that only looks wrong.
///
/// # Errors
/// When a scene cannot be drawn.
pub fn harmless(tracked: Tracked) -> Result<Vec<Harmless>, String> {
    let mut cases = Vec::new();
    for scenario in SCENARIOS {
        cases.extend(weather(scenario, tracked)?);
    }
    for hour in [Hour::Day, Hour::Night] {
        cases.extend(trucks(hour, tracked, None)?);
        // To a tracker that finds nothing a truck that came between two pictures far apart is another view.
        if tracked != Tracked::Nothing {
            cases.extend(trucks(hour, tracked, Some(KEYFRAMES))?);
        }
    }
    Ok(cases)
}

fn weather(scenario: Scenario, tracked: Tracked) -> Result<Vec<Harmless>, String> {
    let at = |hour| plain(scenario.scene(7, hour, false));
    let harmless = |what: &str, seconds: f64, view| -> Result<Harmless, String> {
        let filled = tracked.filled(|| scenario.scene(7, Hour::Day, false))?;
        let name = format!("{what}, {scenario:?}").to_lowercase();
        Ok(Harmless { name, script: Script { filled, ..Script::of(view, seconds, STEP) } })
    };
    let evening = fade(at(Hour::Day)?, at(Hour::Dusk)?, 60.0, 240.0);
    let rain = |hour| plain(scenario.scene(7, hour, true));
    let mut odd = harmless("one odd keyframe", 200.0, cloth(at(Hour::Day)?, 100.0, 119.0, 121.0))?;
    odd.script.keyframes = Some(KEYFRAMES);
    let all = [
        harmless("nightfall", 480.0, fade(evening, at(Hour::Night)?, 240.0, 420.0)),
        harmless("night at once", 200.0, fade(at(Hour::Day)?, at(Hour::Night)?, 100.0, 100.0)),
        harmless("day at once", 200.0, fade(at(Hour::Night)?, at(Hour::Day)?, 100.0, 100.0)),
        harmless("lamps on at dusk", 200.0, fade(at(Hour::Dusk)?, at(Hour::Night)?, 100.0, 100.0)),
        harmless("rain begins", 200.0, fade(at(Hour::Day)?, rain(Hour::Day)?, 100.0, 104.0)),
        harmless("rain at night", 200.0, fade(at(Hour::Night)?, rain(Hour::Night)?, 100.0, 104.0)),
        harmless("headlamps into the lens", 300.0, glare(at(Hour::Night)?, 0.35, 45.0, 8.0)),
        harmless("headlamps very near", 300.0, glare(at(Hour::Night)?, 0.8, 60.0, 4.0)),
        harmless("clouds", 300.0, clouds(at(Hour::Day)?, 0.45)),
        harmless("wind in the pole", 200.0, shaking(at(Hour::Day)?)),
        harmless("insect", 200.0, insect(at(Hour::Night)?)),
        harmless("hand waved", 200.0, cloth(at(Hour::Day)?, 100.0, 100.0, 102.0)),
        Ok(odd),
    ];
    all.into_iter().collect()
}

/// Vehicles that fill the picture, at different speeds.
fn trucks(hour: Hour, tracked: Tracked, keyframes: Option<u64>) -> Result<Vec<Harmless>, String> {
    let ways = [
        ("truck passes slowly", 140.0, vec![(70.0, -22.0), (100.0, 22.0)]),
        ("truck passes fast", 120.0, vec![(70.0, -22.0), (73.0, 22.0)]),
        ("truck stops for minutes", 420.0, vec![(70.0, -22.0), (80.0, -1.0), (350.0, -1.0), (360.0, 22.0)]),
        (
            "truck brakes hard",
            240.0,
            vec![(70.0, -22.0), (72.0, -6.0), (73.0, -2.0), (74.0, -0.5), (75.0, 0.0), (180.0, 0.0), (183.0, 22.0)],
        ),
        (
            "stop and go",
            240.0,
            vec![(70.0, -22.0), (76.0, -4.0), (100.0, -4.0), (103.0, -1.0), (140.0, -1.0), (150.0, 3.0), (170.0, 22.0)],
        ),
    ];
    let parked = ("truck parked", 1100.0, vec![(70.0, -22.0), (80.0, -1.0), (980.0, -1.0), (990.0, 22.0)]);
    // Whoever tracks and does not find it has nothing to explain it with.
    let parked = Some(parked).filter(|_| tracked != Tracked::Nothing);
    let each = ways.into_iter().chain(parked).map(|(what, seconds, way)| {
        let scene = || low_gate(7, hour, false, std::slice::from_ref(&way), seconds as f32);
        let (view, filled) = (plain(scene())?, tracked.filled(scene)?);
        let far = if keyframes.is_some() { "keyframes only, " } else { "" };
        let name = format!("{what}, {far}{hour:?}").to_lowercase();
        Ok(Harmless { name, script: Script { filled, keyframes, ..Script::of(view, seconds, STEP) } })
    });
    each.collect()
}
