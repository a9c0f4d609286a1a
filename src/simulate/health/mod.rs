//! How well camera health notices what goes wrong, and how well it holds still when nothing does: scripted cases and a
//! whole day with their truth, played through the very monitor of the agent in compressed time.
//!
//! Pictures are drawn and spoilt as the simulated cameras do it, but not coded: what coding does to them is tested over
//! RTSP in the suite.

mod cases;
mod day;
mod play;
mod table;
mod views;

pub use cases::{Case, Harmless, Wrong, faults, harmless};
pub use day::{Day, day};
pub use play::{Said, Script, play};
pub use table::{Outcome, Row, judge, judge_harmless, table};

/// Pixels of the drawn pictures.
pub const SIZE: (u32, u32) = (480, 270);
/// A condition must have begun this soon after it is there, milliseconds.
pub const IN_TIME_MS: i64 = 10_000;
