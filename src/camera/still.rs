//! Single pictures out of recorded video: keyframes, each decoded for itself.

use std::time::Duration;

use super::decoder::{Pulled, Pushed};
use super::file::start_decoder;
use super::{AccessUnit, CameraError, CameraId, Frame, Idled, elements};

/// A decoder that gives nothing for so long will not.
const PATIENCE: Duration = Duration::from_secs(10);

/// Decodes keyframes of one coding, in order. What cannot be decoded is left out.
///
/// # Errors
/// When the machine has no decoder, or it fails.
pub fn decode_stills(units: &[AccessUnit], camera: &CameraId) -> Result<Vec<Frame>, CameraError> {
    elements::init()?;
    let Some(first) = units.first() else { return Ok(Vec::new()) };
    let decoder = start_decoder(first.codec, camera)?;
    let output = decoder.output();
    let mut frames = Vec::with_capacity(units.len());
    for (i, unit) in (0..).zip(units) {
        // Their own order instead of their own times, which may repeat after a reconnection.
        let unit = AccessUnit { pts_ns: i * 1_000_000_000, ..unit.clone() };
        while decoder.push(&unit, Idled::default())? == Pushed::Full {
            match output.pull(PATIENCE) {
                Pulled::Frame(frame) => frames.push(frame),
                Pulled::Unreadable => {}
                Pulled::Nothing | Pulled::Ended => return Ok(frames),
            }
        }
        decoder.check()?;
    }
    decoder.finish();
    loop {
        match output.pull(PATIENCE) {
            Pulled::Frame(frame) => frames.push(frame),
            Pulled::Unreadable => {}
            Pulled::Nothing | Pulled::Ended => return Ok(frames),
        }
    }
}
