//! How well the rules report what really happened: drills with truth, played through tracker, rules and life of events
//! with the true boxes, spoilt on order; compared with the truth by rule, area and time.
//!
//! `play` draws no picture and runs no model: it measures the rules, not the detector. `live` plays the same drills in real
//! time through camera, decoder, detector and all that follows.

mod drills;
mod facts;
mod live;
mod play;
mod table;
mod truth;

pub use drills::{Drill, START, Windows, all};
pub use live::{Live, Played, play_live};
pub use play::{Outcome, Spoil, play};
pub use table::{Row, score, table};
pub use truth::{Happened, Sample, Seen, samples, truth};

/// Analysed pictures a second when none is left out, as the agent's default.
pub const FPS: u32 = 5;

/// Time between two analysed pictures when only every `nth` is, milliseconds.
#[must_use]
pub fn interval_ms(nth: u32) -> i64 {
    i64::from(1000 / FPS * nth)
}
