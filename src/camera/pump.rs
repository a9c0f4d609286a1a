//! From access units to the sink: gate, decoder, and the thread that hands out its frames. Rebuilds the decoder when the
//! coding changes or it fails; a broken unit costs the pictures up to the next keyframe, never the camera.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::decoder::{Decoder, Feed, Output, Pulled, Pushed, candidates};
use super::gate::{Decision, Gate, SkipReason};
use super::ingest::Received;
use super::report::Report;
use super::{Attention, CameraError, Codec, FrameSink};
use crate::clock::mono_now;
use crate::config::CameraConfig;

/// How often a waiting frame thread looks whether it shall end; a decoder that is stopped wakes it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a frame of the past waits for the one before it to be looked at.
const IN_TURN: Duration = Duration::from_secs(1);

/// Values before any time: nobody looks in time; no frame waits for its turn.
const HURRY: i64 = i64::MIN;
const NONE_HELD: i64 = i64::MIN + 1;

/// Decoding side of one connection.
pub(super) struct Pump {
    gate: Gate,
    live: Option<Live>,
    configured: Option<String>,
    /// Elements that failed before they gave a picture: a driver without its device.
    useless: Vec<String>,
    shared: Shared,
}

/// What frame threads need; also what outlives one decoder.
#[derive(Clone)]
pub(super) struct Shared {
    pub report: Arc<Report>,
    pub sink: Arc<dyn FrameSink>,
    pub attention: Arc<Attention>,
    /// Frames taken no later than this, on the monotonic clock, were held or came while those went first: none of them
    /// displaces another. [`HURRY`]: nobody looked at such a frame in time; until the camera is as far as its stream, what
    /// comes now counts more.
    pub in_turn_until: Arc<AtomicI64>,
    /// Frames decoded by this camera since the process started.
    pub number: Arc<AtomicU64>,
}

impl Pump {
    pub fn new(camera: &CameraConfig, shared: Shared) -> Self {
        let configured = camera.decoder.clone();
        let gate = Gate::new(camera.decode, Arc::clone(&shared.attention));
        shared.in_turn_until.store(NONE_HELD, Ordering::Relaxed);
        Self { gate, live: None, configured, useless: Vec::new(), shared }
    }

    /// Takes the next unit.
    ///
    /// # Errors
    /// When no decoder of this machine can decode the stream.
    pub fn feed(&mut self, received: &Received) -> Result<(), CameraError> {
        if received.discontinuity {
            self.gate.gap();
        }
        self.look_after_decoder();
        self.look_at_pace();
        let unit = &received.unit;
        if self.live.as_ref().is_some_and(|l| l.decoder.codec() != unit.codec) {
            self.live = None;
            self.lost();
        }
        if let Decision::Skip(reason) = self.gate.offer(unit, mono_now()) {
            self.shared.report.dropped(reason.label(), 1);
        }
        self.shared.report.dropped(SkipReason::Idle.label(), self.gate.take_idled());
        if let Some(reason) = self.gate.take_woke() {
            self.shared.report.woke(reason);
        }
        self.shared.report.idles(self.shared.attention.is_idle());
        self.give()
    }

    /// Gives the decoder what is ready, as much as it takes.
    ///
    /// # Errors
    /// As [`Pump::feed`].
    pub fn turn(&mut self) -> Result<(), CameraError> {
        self.look_at_pace();
        self.gate.settle_late(mono_now());
        self.give()
    }

    fn give(&mut self) -> Result<(), CameraError> {
        while let Some((unit, idled)) = self.gate.take_ready() {
            if self.live.is_none() {
                self.live = Some(self.start(unit.codec)?);
            }
            if self.gate.is_catching_up() {
                let later = |until| (until != HURRY).then(|| unit.time.mono.0.max(until));
                // An error is that it hurries.
                let _ = self.shared.in_turn_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
            }
            match self.live.as_ref().map(|l| l.decoder.push(&unit, idled)) {
                Some(Ok(Pushed::Full)) => {
                    let given_up = self.gate.put_back((unit, idled));
                    self.shared.report.dropped("decoder_behind", given_up);
                    break;
                }
                Some(Err(e)) => self.give_up(&e),
                Some(Ok(Pushed::Taken)) | None => {}
            }
        }
        Ok(())
    }

    /// The decoder lost its references.
    fn lost(&mut self) {
        let units = self.gate.lost();
        self.shared.report.dropped(SkipReason::WaitingForKeyframe.label(), units);
    }

    fn look_at_pace(&mut self) {
        if self.live.as_ref().is_none_or(|l| l.decoder.is_drained()) {
            self.gate.drained();
        }
        if !self.gate.is_catching_up() {
            // An error is that it did not hurry.
            let _ = self.shared.in_turn_until.compare_exchange(HURRY, NONE_HELD, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn look_after_decoder(&mut self) {
        match self.live.as_ref().map(|l| l.decoder.check()) {
            None | Some(Ok(0)) => {}
            Some(Ok(count)) => {
                self.shared.report.decode_errors(count);
                // Pictures in front of the keyframe that refer behind it are expected to fail there.
                if !self.gate.is_catching_up() {
                    self.lost();
                }
            }
            Some(Err(e)) => self.give_up(&e),
        }
    }

    /// Drops a failed decoder; the next keyframe gets a new one, of another kind if this one never worked.
    fn give_up(&mut self, error: &CameraError) {
        self.shared.report.decode_errors(1);
        self.lost();
        if let Some(live) = self.live.take() {
            let element = live.decoder.element().to_owned();
            tracing::warn!(camera = %self.shared.report.camera(), decoder = element, %error, "decoder failed");
            if !live.gave_frames.load(Ordering::Relaxed) {
                self.useless.push(element);
            }
        }
    }

    fn start(&mut self, codec: Codec) -> Result<Live, CameraError> {
        let mut last = None;
        for element in candidates(codec, self.configured.as_deref())? {
            if self.useless.contains(&element) {
                continue;
            }
            let camera = self.shared.report.camera().clone();
            match Decoder::start(codec, &element, Feed::Live, camera, Arc::clone(&self.shared.number)) {
                Ok(decoder) => {
                    self.shared.report.decoder(&element);
                    return Live::new(decoder, &self.shared);
                }
                Err(e) => {
                    tracing::warn!(camera = %self.shared.report.camera(), decoder = element, error = %e, "not usable");
                    self.useless.push(element);
                    last = Some(e);
                }
            }
        }
        Err(CameraError::Unsupported(match last {
            Some(e) => format!("no decoder for {codec:?} works: {e}"),
            None => format!("no decoder for {codec:?} works; tried {}", self.useless.join(", ")),
        }))
    }
}

/// A decoder and the thread that hands out its frames.
struct Live {
    decoder: Decoder,
    gave_frames: Arc<AtomicBool>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    fn new(decoder: Decoder, shared: &Shared) -> Result<Self, CameraError> {
        let (gave_frames, closing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::Builder::new().name(format!("dec-{}", shared.report.camera())).spawn({
            let (output, shared) = (decoder.output(), shared.clone());
            let (gave_frames, closing) = (Arc::clone(&gave_frames), Arc::clone(&closing));
            move || hand_out(&output, &shared, &gave_frames, &closing)
        });
        let thread = thread.map_err(|e| CameraError::Pipeline(format!("no thread for frames: {e}")))?;
        Ok(Self { decoder, gave_frames, closing, thread: Some(thread) })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.decoder.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the frame thread panicked");
        }
    }
}

fn hand_out(output: &Output, shared: &Shared, gave_frames: &AtomicBool, closing: &AtomicBool) {
    while !closing.load(Ordering::Relaxed) {
        match output.pull(LOOK_EVERY) {
            Pulled::Frame(frame) => {
                gave_frames.store(true, Ordering::Relaxed);
                shared.report.decoded(&frame);
                shared.report.undecodable(output.take_lost());
                if frame.time.mono.0 > shared.in_turn_until.load(Ordering::Relaxed) {
                    shared.sink.frame(frame);
                } else if !shared.sink.frame_in_turn(frame, IN_TURN) {
                    shared.in_turn_until.store(HURRY, Ordering::Relaxed);
                }
            }
            Pulled::Unreadable => shared.report.decode_errors(1),
            Pulled::Nothing => {}
            Pulled::Ended => return,
        }
    }
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
