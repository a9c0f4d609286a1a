//! How well camera health notices what goes wrong, and how well it holds still when nothing does: scripted cases and a
//! whole day with their truth, played through the very monitor of the agent in compressed time.
//!
//! Pictures are drawn and spoilt as the simulated cameras do it, but not coded: what coding does to them is tested over
//! RTSP in the suite.

use crate::camera::health::Condition;

mod cases;
mod day;
mod play;
mod table;
mod views;

pub use cases::{Case, Harmless, Tracked, Wrong, faults, harmless};
pub use day::{Day, day};
pub use play::{Filled, Said, Script, play};
pub use table::{Outcome, Row, judge, judge_harmless, table};

/// Pixels of the drawn pictures.
pub const SIZE: (u32, u32) = (480, 270);
/// A condition must have begun this soon after it is there, milliseconds.
#[must_use]
pub fn in_time_ms(condition: Condition) -> i64 {
    match condition {
        // A minute makes it suspect; a clock that runs away is told from one that trembles within an hour.
        Condition::ClockSuspect => 70_000,
        Condition::ClockDrift => 3_600_000,
        _ => 10_000,
    }
}
