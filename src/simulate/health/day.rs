//! A whole day at a gate in compressed time: night, dawn, day, dusk and night again, traffic all the while, headlamps,
//! clouds, two rains, and every twenty minutes trucks that fill the picture: passing, in stop and go, parked. Nothing is
//! wrong with the camera; whatever is said is a false alarm.

use super::cases::Tracked;
use super::play::Script;
use super::views::{View, clouds, glare, low_gate, plain};
use crate::simulate::light::Hour;

/// What the day is made of, to be printed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Day {
    /// Hours played, from midnight.
    pub hours: f64,
    /// Seconds from picture to picture.
    pub step: f64,
    /// What is known of vehicles.
    pub tracked: Tracked,
}

/// Length of a round of traffic, seconds.
const ROUND: f64 = 1200.0;

/// The script of a day.
///
/// # Errors
/// When the scene cannot be drawn.
pub fn day(what: Day) -> Result<Script, String> {
    // Passing, in stop and go, parked for five minutes.
    let trucks = [
        vec![(100.0, -22.0), (118.0, 22.0)],
        vec![(400.0, -22.0), (410.0, -4.0), (450.0, -4.0), (455.0, 0.0), (500.0, 0.0), (515.0, 22.0)],
        vec![(700.0, -22.0), (708.0, -0.5), (1000.0, -0.5), (1010.0, 22.0)],
    ];
    let at = |hour, rain| plain(low_gate(7, hour, rain, &trucks, ROUND as f32));
    let mut lights = Lights {
        night: at(Hour::Night, false)?,
        dusk: at(Hour::Dusk, false)?,
        day: clouds(at(Hour::Day, false)?, 0.25),
        wet_night: at(Hour::Night, true)?,
        wet_day: at(Hour::Day, true)?,
    };
    let pictures: View = Box::new(move |t| lights.draw(t));
    // Lamps of vehicles that come towards the camera, or the sun on a windscreen.
    let view = glare(pictures, 0.3, 300.0, 7.0);
    let filled = what.tracked.filled(|| low_gate(7, Hour::Day, false, &trucks, ROUND as f32))?;
    Ok(Script { filled, ..Script::of(view, what.hours * 3600.0, what.step) })
}

struct Lights {
    night: View,
    dusk: View,
    day: View,
    wet_night: View,
    wet_day: View,
}

impl Lights {
    fn draw(&mut self, t: f64) -> Vec<u8> {
        let hour = t / 3600.0 % 24.0;
        let within = |from: f64, to: f64| (from..to).contains(&hour);
        let share = |from: f64, to: f64| ((hour - from) / (to - from)).clamp(0.0, 1.0);
        match () {
            () if within(2.0, 3.0) => (self.wet_night)(t),
            () if within(14.0, 15.5) => (self.wet_day)(t),
            () if within(5.25, 5.75) => mix(&(self.night)(t), &(self.dusk)(t), share(5.25, 5.75)),
            () if within(5.75, 6.25) => mix(&(self.dusk)(t), &(self.day)(t), share(5.75, 6.25)),
            () if within(17.5, 18.0) => mix(&(self.day)(t), &(self.dusk)(t), share(17.5, 18.0)),
            () if within(18.0, 18.5) => mix(&(self.dusk)(t), &(self.night)(t), share(18.0, 18.5)),
            () if within(6.25, 17.5) => (self.day)(t),
            () => (self.night)(t),
        }
    }
}

fn mix(a: &[u8], b: &[u8], share: f64) -> Vec<u8> {
    let weight = (share * 256.0) as u32;
    let one = |(a, b): (&u8, &u8)| ((u32::from(*a) * (256 - weight) + u32::from(*b) * weight) / 256) as u8;
    a.iter().zip(b).map(one).collect()
}
